//! What operators keep and look at, against the table in `OPERATORS.md`. One test, as the counts are those of the process.

mod harness;

use dataflow::{Output, work};
use harness::*;
use plan::func::window::{self, Bound, Call, Exclude, Frame, Units};
use plan::func::{FuncRef, aggregate as aggregate_of, ids};
use plan::{AggregateExpr, ColumnOrder, LocalId, RelationExpr, ScalarExpr};
use repr::{Datum, Diff, Row, ScalarType};

const VIEW: Output = Output::Materialized { arrange: false, reconcile: false };

/// Rows that are kept with n rows (id, group, value) in each of two tables, and rows looked at when one more comes to the
/// first, at the end of its group.
fn measure(n: i64, append_only: bool, plan: RelationExpr) -> (i64, u64) {
    let mut h = Harness::new(1);
    let rows = || -> Vec<(Row, Diff)> { (0..n).map(|i| (ints(&[i, i % (n / 10), i]), 1)).collect() };
    for table in [1, 2] {
        h.create(id(table), vec![int8(); 3], append_only);
    }
    h.tick(&[(id(1), rows()), (id(2), rows())]);
    let before = work::kept();
    h.install(id(5), plan, VIEW);
    let now = h.now;
    h.wait(id(5), now);
    let (kept, touched) = (work::kept() - before, work::touched());
    let time = h.tick(&[(id(1), vec![(ints(&[n, 5, n]), 1)])]);
    h.wait(id(5), time);
    (kept, work::touched() - touched)
}

fn by(column: usize) -> ColumnOrder {
    ColumnOrder { column, desc: false, nulls_first: false }
}

fn grouped(aggregate: AggregateExpr) -> RelationExpr {
    get(1, 3).reduce(vec![column(1)], vec![aggregate])
}

fn of_value(func: &'static plan::func::AggFunc) -> AggregateExpr {
    aggregate(func, column(2), ScalarType::Int64)
}

/// A call over the values in the order of their ids, by partition.
fn windowed(name: &str, partition: &[usize], start: Bound, end: Bound) -> RelationExpr {
    let sum = name == "sum";
    assert!(!sum || aggregate_of(name).is_some(), "it is an aggregate of the table");
    let call = Call {
        name: name.into(),
        aggregate: sum,
        args: 1,
        filter: false,
        ignore_nulls: false,
        frame: Frame { units: Units::Rows, start, end, exclude: Exclude::NoOthers },
        desc: false,
    };
    let of = if sum { ScalarType::Numeric { scale: None } } else { ScalarType::Int64 };
    let fields = vec![(String::new(), int8()), (String::new(), of.nullable(true))];
    let record = ScalarType::Record(vec![(String::new(), int8())]);
    let text = ScalarExpr::literal(Datum::Text(&window::description(&[call], 1)), ScalarType::Text);
    let row = ScalarExpr::call(FuncRef::of(ids::ROW), vec![column(0)], record);
    let list = AggregateExpr {
        func: window::window(),
        args: vec![text, row, column(2), column(0)],
        distinct: false,
        order_by: vec![(column(0), by(0))],
        filter: None,
        ty: ScalarType::List(Box::new(ScalarType::Record(fields.clone()))),
    };
    let keys = partition.len();
    let input = get(1, 3).reduce(partition.iter().map(|c| column(*c)).collect(), vec![list]);
    let typ = fields.into_iter().map(|f| f.1).collect();
    RelationExpr::FlatMap {
        input: Box::new(input),
        func: window::window_rows(),
        args: vec![column(keys)],
        typ,
    }
    .project([keys + 1, keys + 2])
}

/// What can be reached from the group 0, where each row leads from its group to its value.
fn reached() -> RelationExpr {
    let all = LocalId(1);
    let own = RelationExpr::LocalGet { id: all, typ: vec![int8()] };
    let first = RelationExpr::constant([ints(&[0])], vec![int8()]);
    let next =
        RelationExpr::join(vec![own.clone(), get(1, 3)], vec![vec![column(0), column(2)]]).project([3]);
    let value = first.union(next).distinct();
    RelationExpr::LetRec { bindings: vec![(all, value, vec![int8()])], limit: None, body: Box::new(own) }
}

#[test]
fn operators_keep_and_look_at_what_the_table_says() {
    let distinct = AggregateExpr { distinct: true, ..of_value(&COUNT) };
    let current = Bound::CurrentRow;
    let cases: Vec<(&str, bool, RelationExpr)> = vec![
        ("map, filter, project", false, get(1, 3).project([2, 0])),
        ("count, sum, avg by group", false, grouped(of_value(&SUM))),
        ("min, max by group, rows only come", true, grouped(of_value(&MIN))),
        ("min, max by group", false, grouped(of_value(&MIN))),
        ("count (DISTINCT) by group", false, grouped(distinct)),
        ("array_agg by group", false, grouped(of_value(&LIST))),
        ("DISTINCT", false, get(1, 3).project([0]).distinct()),
        ("EXCEPT ALL", false, get(1, 3).union(get(2, 3).negate()).threshold()),
        ("first 3 of each group, rows only come", true, get(1, 3).top_k(vec![1], vec![by(2)], Some(3), 0)),
        ("first 3 of each group", false, get(1, 3).top_k(vec![1], vec![by(2)], Some(3), 0)),
        (
            "join by a key",
            false,
            RelationExpr::join(vec![get(1, 3), get(2, 3)], vec![vec![column(1), column(4)]]),
        ),
        ("cross join", false, RelationExpr::join(vec![get(1, 3).filter([small()]), get(2, 3)], vec![])),
        ("lag over one partition", false, windowed("lag", &[], current, current)),
        (
            "sum of ROWS 3 PRECEDING over one partition",
            false,
            windowed("sum", &[], Bound::Preceding(3), current),
        ),
        (
            "running sum over one partition, at its end",
            false,
            windowed("sum", &[], Bound::UnboundedPreceding, current),
        ),
        (
            "sum over each partition",
            false,
            windowed("sum", &[1], Bound::UnboundedPreceding, Bound::UnboundedFollowing),
        ),
        ("recursion", false, reached()),
    ];
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/OPERATORS.md")).expect("the page");
    let rows: Vec<Vec<&str>> =
        (page.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| operator ")))
            .map(|l| l.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
    assert_eq!(rows.len(), cases.len(), "each operator of the table is measured");
    let (mut right, mut measured) = (true, String::new());
    for ((name, append_only, plan), row) in cases.into_iter().zip(rows) {
        assert_eq!(row[0], name);
        let [small, large] = [1_000, 4_000].map(|n| measure(n, append_only, plan.clone()));
        let [kept, touched] = [format!("{} / {}", small.0, large.0), format!("{} / {}", small.1, large.1)];
        right &= row[3] == kept && row[4] == touched;
        measured.push_str(&format!("| {} | {} | {} | {kept} | {touched} |\n", row[0], row[1], row[2]));
    }
    assert!(right, "the table is to say:\n{measured}");
}

/// Few of the rows, and the one that comes.
fn small() -> ScalarExpr {
    let five = ScalarExpr::literal(Datum::Int64(5), ScalarType::Int64);
    let own = ScalarExpr::call(FuncRef::of(ids::EQ), vec![column(1), five], ScalarType::Bool);
    ScalarExpr::Or(vec![own])
}
