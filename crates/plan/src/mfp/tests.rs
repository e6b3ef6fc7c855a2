//! What a pass computes, tests and shares, and when; documents as slots.

use repr::json::{Scanner, SlotColumn};
use repr::{GlobalId, ScalarType};

use super::*;
use crate::explain::explain_mfp;
use crate::testing::{Dice, agg, call, col, eq, get, int, lt, text};

const BOOL: ScalarType = ScalarType::Bool;
const INT: ScalarType = ScalarType::Int64;
const TEXT: ScalarType = ScalarType::Text;

fn div(a: ScalarExpr, b: ScalarExpr) -> ScalarExpr {
    call("int8_div", vec![a, b], INT)
}

fn add(a: ScalarExpr, b: ScalarExpr) -> ScalarExpr {
    call("int8_add", vec![a, b], INT)
}

fn lower(e: ScalarExpr) -> ScalarExpr {
    call("lower", vec![e], TEXT)
}

fn if_(cond: ScalarExpr, then: ScalarExpr, els: ScalarExpr) -> ScalarExpr {
    ScalarExpr::If { cond: Box::new(cond), then: Box::new(then), els: Box::new(els) }
}

fn shown(plan: RelationExpr) -> String {
    explain_mfp(&Mfp::extract(&plan).0, &[])
}

fn outcome(mfp: &Mfp, row: &[Datum<'_>]) -> Result<Option<Row>, String> {
    let arena = Arena::new();
    let mut columns = row.to_vec();
    let mut out = Row::default();
    match mfp.eval_into(&mut columns, &arena, &mut out) {
        Ok(keep) => Ok(keep.then_some(out)),
        Err(e) => Err(e.message().to_string()),
    }
}

#[test]
fn an_expression_of_several_filters_is_computed_once_and_filters_come_first() {
    let kind = || lower(col(0));
    let plan = get(1, 2)
        .map([add(col(1), int(1)), kind()])
        .filter([ScalarExpr::Or(vec![eq(col(3), text("a")), eq(col(3), text("b"))])])
        .filter([call("ne", vec![kind(), text("c")], BOOL)])
        .project([2, 3]);
    assert_eq!(
        shown(plan),
        "compute #2 = lower(#0)\n\
         test #2 <> 'c'\n\
         test (#2 = 'a') OR (#2 = 'b')\n\
         compute #3 = #1 + 1\n\
         return #3, #2\n"
    );
}

#[test]
fn what_is_not_returned_is_not_computed() {
    let plan = get(1, 2).map([div(col(0), col(1)), add(col(0), col(1))]).project([3]);
    assert_eq!(shown(plan), "compute #2 = #0 + #1\nreturn #2\n");
}

#[test]
fn what_case_guards_is_not_computed_ahead() {
    let quotient = || div(col(0), col(1));
    let guarded = || if_(lt(int(0), col(1)), quotient(), int(0));
    let plan = get(1, 2).map([guarded(), add(guarded(), quotient())]).filter([lt(int(0), col(0))]);
    // The quotient is computed only where the second column needs it anyway, after the filter.
    assert_eq!(
        shown(plan),
        "test 0 < #0\n\
         compute #2 = CASE WHEN 0 < #1 THEN #0 / #1 ELSE 0 END\n\
         compute #3 = #0 / #1\n\
         compute #4 = #2 + #3\n\
         return #0, #1, #2, #4\n"
    );
    let only_guarded = get(1, 2).map([if_(lt(int(0), col(1)), add(quotient(), quotient()), int(0))]);
    let mfp = Mfp::extract(&only_guarded).0;
    assert_eq!(outcome(&mfp, &[Datum::Int64(1), Datum::Int64(0)]).map(|o| o.is_some()), Ok(true));
}

#[test]
fn a_row_that_a_filter_rejects_has_no_error() {
    let fails = || lt(div(int(1), col(0)), int(5));
    let plan = get(1, 2).filter([fails(), eq(div(col(1), int(2)), int(3))]);
    let mfp = Mfp::extract(&plan).0;
    let row = |a, b| [Datum::Int64(a), Datum::Int64(b)];
    assert_eq!(outcome(&mfp, &row(0, 1)), Ok(None));
    assert_eq!(outcome(&mfp, &row(0, 6)), Err("division by zero".into()));
    assert_eq!(outcome(&mfp, &row(1, 6)).map(|o| o.is_some()), Ok(true));
    // So too if it is what a filter reads that fails.
    let plan = get(1, 2).filter([fails(), lt(div(int(1), col(0)), int(7)), eq(col(1), int(3))]);
    let mfp = Mfp::extract(&plan).0;
    assert_eq!(outcome(&mfp, &row(0, 1)), Ok(None));
    assert_eq!(outcome(&mfp, &row(0, 3)), Err("division by zero".into()));
}

#[test]
fn big_shared_expressions_are_not_written_out() {
    // Written out, the last would have 2^20 parts.
    let mut plan = get(1, 1);
    for i in 0..20 {
        plan = plan.map([add(col(i), col(i))]);
    }
    let mfp = Mfp::extract(&plan.project([20])).0;
    assert_eq!(mfp.maps.len(), 20);
    let out = outcome(&mfp, &[Datum::Int64(1)]).unwrap().unwrap();
    assert_eq!(out.unpack(), [Datum::Int64(1 << 20)]);
}

#[test]
fn conditions_on_the_time_become_bounds() {
    let now = || ScalarExpr::Context(Context::MzNow);
    let compare = |id, a, b| call(id, vec![a, b], BOOL);
    let plan = get(1, 2).map([add(col(0), int(1))]).filter([
        compare("ge", now(), col(2)),
        compare("gt", col(1), now()),
        eq(col(1), int(1)),
    ]);
    let (rest, bounds) = Mfp::extract(&plan).0.split_temporal().unwrap();
    assert_eq!(explain_mfp(&rest, &[]), "test #1 = 1\ncompute #2 = #0 + 1\nreturn #0, #1, #2\n");
    assert_eq!(
        bounds,
        [
            TemporalBound { until: true, after: false, at: col(1) },
            TemporalBound { until: false, after: false, at: add(col(0), int(1)) },
        ]
    );
    let odd = get(1, 2).filter([ScalarExpr::Or(vec![compare("ge", now(), col(0)), eq(col(1), int(1))])]);
    let e = Mfp::extract(&odd).0.split_temporal().unwrap_err();
    assert_eq!(e.message, "mz_now() in this place of a maintained view is not supported");
}

/// Chains of maps, filters and projections whose columns are numbers, some of which fail.
fn random_chain(dice: &mut Dice) -> RelationExpr {
    let mut plan = get(1, 3);
    for _ in 0..dice.roll(8) {
        let n = plan.arity();
        plan = match dice.roll(3) {
            0 => plan.map([random_number(dice, n, 3)]),
            1 => plan.filter([lt(random_number(dice, n, 2), random_number(dice, n, 2))]),
            _ => {
                let columns: Vec<usize> = (0..1 + dice.roll(4)).map(|_| dice.roll(n)).collect();
                plan.project(columns)
            }
        };
    }
    plan
}

fn random_number(dice: &mut Dice, n: usize, depth: usize) -> ScalarExpr {
    if depth == 0 {
        return if dice.roll(4) == 0 { int(dice.roll(3) as i64) } else { col(dice.roll(n)) };
    }
    let a = random_number(dice, n, depth - 1);
    let b = random_number(dice, n, depth - 1);
    match dice.roll(5) {
        0 | 1 => div(a, b),
        2 => add(a, b),
        3 => if_(lt(a.clone(), b.clone()), div(b, a), int(0)),
        _ => ScalarExpr::Coalesce(vec![a, b]),
    }
}

#[test]
fn optimized_passes_give_the_same_rows_and_no_more_errors() {
    for seed in 0..5_000 {
        let mut dice = Dice::new(seed);
        let plan = random_chain(&mut dice);
        let mfp = Mfp::extract(&plan).0;
        assert!(mfp.filters.is_sorted_by_key(|f| f.0), "seed {seed}");
        let again = Mfp::extract(&mfp.clone().into_plan(get(1, 3))).0;
        for _ in 0..5 {
            let row: Vec<Datum<'_>> = (0..3)
                .map(|_| match dice.roll(5) {
                    0 => Datum::Null,
                    n => Datum::Int64(n as i64 - 2),
                })
                .collect();
            let data = [(GlobalId::User(1), [(Row::pack(row.iter().copied()), 1)].into())].into();
            let found = outcome(&mfp, &row);
            if let Ok(expected) = crate::testing::run(&plan, &data) {
                assert_eq!(found, Ok(expected.into_keys().next()), "seed {seed}");
            }
            assert_eq!(outcome(&again, &row), found, "seed {seed}, as a plan and back");
        }
    }
}

fn document() -> ScalarExpr {
    call("cast_text_jsonb", vec![call("convert_from", vec![col(0), text("UTF8")], TEXT)], ScalarType::Jsonb)
}

fn field(from: ScalarExpr, key: &str) -> ScalarExpr {
    call("jsonb_get", vec![from, text(key)], ScalarType::Jsonb)
}

fn field_text(from: ScalarExpr, key: &str) -> ScalarExpr {
    call("jsonb_get_text", vec![from, text(key)], TEXT)
}

fn path(steps: &[&str], kind: SlotKind) -> (usize, SlotPath) {
    (0, SlotPath { steps: steps.iter().map(|s| Step::Key(s.to_string())).collect(), kind })
}

/// (data bytea, partition int4)
fn source() -> RelationExpr {
    let typ = vec![ScalarType::Bytes.nullable(true), ScalarType::Int32.nullable(false)];
    RelationExpr::get(GlobalId::User(1), typ)
}

#[test]
fn paths_into_documents_become_slots() {
    let kind = || field_text(document(), "type");
    let plan = source()
        .filter([eq(kind(), text("track"))])
        .map([kind(), field_text(field(document(), "properties"), "revenue"), field(document(), "context")])
        .project([1, 2, 3, 4]);
    let scan = Scan::new(&Mfp::extract(&plan).0).unwrap();
    assert_eq!(scan.raw, [1]);
    assert_eq!(
        scan.slots,
        [
            path(&["type"], SlotKind::Text),
            path(&["properties", "revenue"], SlotKind::Text),
            path(&["context"], SlotKind::Jsonb)
        ]
    );
    assert_eq!(explain_mfp(&scan.mfp, &[]), "test #1 = 'track'\nreturn #0, #1, #2, #3\n");
}

#[test]
fn a_whole_document_is_a_slot_and_other_uses_of_the_bytes_are_not() {
    let scan = Scan::new(&Mfp::extract(&source().map([document()]).project([2])).0).unwrap();
    assert_eq!((scan.raw.len(), &scan.slots[..]), (0, &[path(&[], SlotKind::Jsonb)][..]));
    let length = call("octet_length", vec![col(0)], ScalarType::Int32);
    assert_eq!(Scan::new(&Mfp::extract(&source().map([length])).0), None);
    // A key that is computed reads the document.
    let by_row = call("jsonb_get_text", vec![document(), field_text(document(), "key")], TEXT);
    let scan = Scan::new(&Mfp::extract(&source().map([by_row]).project([2])).0).unwrap();
    assert_eq!(scan.slots, [path(&[], SlotKind::Jsonb), path(&["key"], SlotKind::Text)]);
}

/// Runs a scan as its documentation says.
fn run_scan(scan: &Scan, document: Option<&[u8]>) -> Result<Option<Row>, String> {
    let paths: Vec<SlotPath> = scan.slots.iter().map(|s| s.1.clone()).collect();
    let mut columns: Vec<SlotColumn> = SlotColumn::for_paths(&paths);
    match document {
        Some(d) => Scanner::new(&paths).scan(d, &mut columns),
        None => columns.iter_mut().for_each(SlotColumn::push_null),
    }
    let raw = [document.map_or(Datum::Null, Datum::Bytes), Datum::Int32(7)];
    let slots: Result<Vec<Datum<'_>>, _> = columns.iter().map(|c| c.get(0)).collect();
    match slots {
        Ok(slots) => {
            let row: Vec<Datum<'_>> = scan.raw.iter().map(|c| raw[*c]).chain(slots).collect();
            outcome(&scan.mfp, &row)
        }
        Err(_) => outcome(&scan.full, &raw),
    }
}

#[test]
fn errors_of_documents_surface_where_they_are_evaluated() {
    let kind = || field_text(document(), "type");
    let is_seven = || eq(col(1), ScalarExpr::literal(Datum::Int32(7), ScalarType::Int32));
    let plain = Scan::new(&Mfp::extract(&source().map([kind()]).project([2])).0).unwrap();
    let guarded = source().map([if_(is_seven(), text("seven"), kind())]).project([2]);
    let guarded = Scan::new(&Mfp::extract(&guarded).0).unwrap();
    let tried = source().map([ScalarExpr::Try(Box::new(kind()))]).project([2]);
    let tried = Scan::new(&Mfp::extract(&tried).0).unwrap();
    let row = |d| Ok(Some(Row::pack([d])));

    assert_eq!(run_scan(&plain, Some(br#"{"type": "track"}"#)), row(Datum::Text("track")));
    assert_eq!(run_scan(&plain, Some(b"{}")), row(Datum::Null));
    assert_eq!(run_scan(&plain, None), row(Datum::Null));
    for bad in [&b"{\"type\": "[..], b"\xff", b"", b"{\"type\": \"a\"} x"] {
        assert!(run_scan(&plain, Some(bad)).is_err(), "{bad:?}");
        assert_eq!(run_scan(&guarded, Some(bad)), row(Datum::Text("seven")), "{bad:?}");
        assert_eq!(run_scan(&tried, Some(bad)), row(Datum::Null), "{bad:?}");
    }
}

#[test]
fn columns_of_aggregates_are_not_touched() {
    // Only a chain over the raw records is a scan; what lies above an aggregate is another pass.
    let plan = source().map([document()]).reduce(vec![col(2)], vec![agg("count", int(1))]).map([col(0)]);
    let (mfp, input) = Mfp::extract(&plan);
    assert!(matches!(input, RelationExpr::Reduce { .. }) && Scan::new(&mfp).is_none());
}
