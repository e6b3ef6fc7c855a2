//! Every operator under random changes gives what a computation from nothing gives, with one worker and with two, whether
//! its rows came before it or after.

mod harness;

use std::collections::BTreeMap;

use dataflow::Output;
use harness::*;
use plan::func::{FuncRef, ids};
use plan::{ColumnOrder, LocalId, RelationExpr, ScalarExpr};
use repr::{Datum, Diff, Row, ScalarType};

/// Runs a plan over two tables of three columns: one table is changed at random, or only grows.
fn check(plan: impl Fn() -> RelationExpr, append_only: bool) {
    for workers in [1, 2] {
        let mut h = Harness::new(workers);
        for n in [1, 2] {
            h.create(id(n), vec![int8(); 3], append_only);
        }
        let mut random = Random(workers as u64 * 7 + u64::from(append_only));
        let mut present: [Vec<Row>; 2] = [vec![], vec![]];
        let mut tick = |h: &mut Harness| {
            let mut rows = vec![];
            for (n, present) in present.iter_mut().enumerate() {
                let mut changes: Vec<(Row, Diff)> = vec![];
                for _ in 0..random.below(12) {
                    if !append_only && !present.is_empty() && random.below(3) == 0 {
                        let gone = present.swap_remove(random.below(present.len() as u64) as usize);
                        changes.push((gone, -1));
                    } else {
                        let value =
                            |r: &mut Random, n| if r.below(8) == 0 { NULL } else { r.below(n) as i64 };
                        let row =
                            ints(&[value(&mut random, 4), value(&mut random, 6), value(&mut random, 50)]);
                        present.push(row.clone());
                        changes.push((row, 1));
                    }
                }
                rows.push((id(n as u64 + 1), changes));
            }
            h.tick(&rows)
        };
        // Two views, one before all rows and one after some.
        h.install(id(10), plan(), Output::Materialized { arrange: false, reconcile: false });
        let mut times = vec![];
        for _ in 0..6 {
            times.push((tick(&mut h), [1, 2].map(|n| (id(n), h.contents(id(n))))));
        }
        h.install(id(11), plan(), Output::Materialized { arrange: true, reconcile: false });
        let middle = h.now;
        for _ in 0..6 {
            times.push((tick(&mut h), [1, 2].map(|n| (id(n), h.contents(id(n))))));
        }
        let last = h.now;
        for n in [10, 11] {
            h.wait(id(n), last);
        }
        for (time, stored) in &times {
            let expected = naive(&plan(), &BTreeMap::from(stored.clone()));
            assert_eq!(
                h.changes[&id(10)].at(*time),
                expected,
                "view before its rows, {workers} workers, {time}"
            );
            if *time >= middle {
                assert_eq!(h.changes[&id(11)].at(*time), expected, "view after its rows, {workers} workers");
            }
        }
        let expected = naive(&plan(), &BTreeMap::from(times.last().unwrap().1.clone()));
        let arity = plan().arity();
        assert_eq!(h.peek(id(11), last, arity).unwrap(), expected, "read from the view's arrangement");
        assert_eq!(h.once(plan()).unwrap(), expected, "one-off query");
    }
}

fn check_both(plan: impl Fn() -> RelationExpr) {
    check(&plan, false);
    check(&plan, true);
}

fn by(column: usize, desc: bool) -> ColumnOrder {
    ColumnOrder { column, desc, nulls_first: desc }
}

fn equal(a: ScalarExpr, b: ScalarExpr) -> ScalarExpr {
    ScalarExpr::call(FuncRef::of(ids::EQ), vec![a, b], ScalarType::Bool)
}

fn three() -> ScalarExpr {
    ScalarExpr::literal(Datum::Int64(3), ScalarType::Int64)
}

#[test]
fn map_filter_project() {
    check_both(|| {
        get(1, 3).map([equal(column(0), three())]).filter([equal(column(1), three())]).project([3, 2, 2])
    });
}

#[test]
fn accumulated_aggregates() {
    check_both(|| {
        get(1, 3).reduce(
            vec![column(0)],
            vec![
                aggregate(&COUNT, ScalarExpr::bool(true), ScalarType::Int64),
                aggregate(&COUNT, column(1), ScalarType::Int64),
                aggregate(&SUM, column(2), ScalarType::Int64),
                aggregate(&AVG, column(2), ScalarType::Numeric { scale: None }),
            ],
        )
    });
}

#[test]
fn aggregates_without_groups() {
    check_both(|| get(1, 3).reduce(vec![], vec![aggregate(&SUM, column(2), ScalarType::Int64)]));
}

#[test]
fn least_and_greatest() {
    check_both(|| {
        let of = |func| aggregate(func, column(2), ScalarType::Int64);
        get(1, 3).reduce(vec![column(0)], vec![of(&MIN), of(&MAX)])
    });
}

#[test]
fn distinct_rows() {
    check_both(|| get(1, 3).project([0, 1]).distinct());
}

#[test]
fn distinct_arguments() {
    check_both(|| {
        let distinct = |func, ty| {
            let mut a = aggregate(func, column(1), ty);
            a.distinct = true;
            a
        };
        get(1, 3).reduce(
            vec![column(0)],
            vec![
                distinct(&COUNT, ScalarType::Int64),
                distinct(&SUM, ScalarType::Int64),
                aggregate(&SUM, column(1), ScalarType::Int64),
                distinct(&MAX, ScalarType::Int64),
                distinct(&LIST, ScalarType::List(Box::new(ScalarType::Int64))),
            ],
        )
    });
}

#[test]
fn collected_arguments_in_order() {
    check_both(|| {
        let ty = ScalarType::List(Box::new(ScalarType::Int64));
        let mut ordered = aggregate(&LIST, column(2), ty.clone());
        ordered.order_by = vec![(column(1), by(0, true))];
        let mut filtered = aggregate(&LIST, column(2), ty);
        filtered.filter = Some(equal(column(1), three()));
        get(1, 3).reduce(vec![column(0)], vec![ordered, filtered])
    });
}

#[test]
fn first_rows() {
    for (limit, offset) in [(Some(1), 0), (Some(3), 0), (Some(2), 3), (None, 2)] {
        check_both(|| RelationExpr::TopK {
            input: Box::new(get(1, 3)),
            group_key: vec![0],
            order_key: vec![by(2, true), by(1, false)],
            limit,
            offset,
        });
    }
}

#[test]
fn joins_of_two() {
    check_both(|| RelationExpr::join(vec![get(1, 3), get(2, 3)], vec![vec![column(0), column(3)]]));
    check_both(|| {
        let classes = vec![vec![column(0), column(3)], vec![column(1), column(4)]];
        RelationExpr::join(vec![get(1, 3), get(2, 3)], classes)
            .filter([equal(column(0), three())])
            .project([5, 2])
    });
}

#[test]
fn joins_of_three_with_tests_on_the_way() {
    check_both(|| {
        let inputs = vec![get(1, 3), get(2, 3), get(1, 3)];
        let classes = vec![vec![column(0), column(3), column(6)], vec![column(1), column(2), column(7)]];
        RelationExpr::join(inputs, classes).project([0, 1, 5, 8])
    });
    check_both(|| {
        // The last is joined on something of the first that the second does not have.
        let inputs = vec![get(1, 3), get(2, 3), get(2, 3)];
        let classes = vec![vec![column(0), column(3)], vec![column(2), column(8)]];
        RelationExpr::join(inputs, classes).project([8, 1, 5])
    });
}

#[test]
fn cross_joins() {
    check_both(|| {
        let small = get(2, 3).reduce(vec![column(0)], vec![]);
        RelationExpr::join(vec![get(1, 3), small], vec![]).project([3, 0])
    });
}

#[test]
fn unions_and_differences() {
    check_both(|| get(1, 3).union(get(2, 3).project([2, 1, 0])));
    check_both(|| get(1, 3).project([0]).union(get(2, 3).project([0]).negate()).threshold());
}

#[test]
fn bindings_are_used_more_than_once() {
    check_both(|| {
        let local = LocalId(1);
        let value = get(1, 3).reduce(vec![column(0)], vec![aggregate(&SUM, column(2), ScalarType::Int64)]);
        let uses = || RelationExpr::LocalGet { id: local, typ: vec![int8(), int8()] };
        RelationExpr::join(vec![uses(), uses()], vec![vec![column(0), column(2)]]).let_in(local, value)
    });
}

#[test]
fn reductions_of_reductions() {
    check_both(|| {
        get(1, 3)
            .reduce(vec![column(0), column(1)], vec![aggregate(&MAX, column(2), ScalarType::Int64)])
            .reduce(vec![column(1)], vec![aggregate(&SUM, column(2), ScalarType::Int64)])
    });
}

#[test]
fn constants_join_with_tables() {
    check_both(|| {
        let rows = RelationExpr::constant([ints(&[1, 7]), ints(&[2, 8])], vec![int8(), int8()]);
        RelationExpr::join(vec![get(1, 3), rows], vec![vec![column(0), column(3)]])
    });
}

#[test]
fn recursion_reaches_what_can_be_reached() {
    // Pairs that are joined by a path of the edges of both tables; the table itself is filtered on its way in.
    check_both(|| {
        let (paths, edges) = (LocalId(7), LocalId(8));
        let pair = || vec![int8(), int8()];
        let get_local = |id| RelationExpr::LocalGet { id, typ: pair() };
        let step =
            RelationExpr::join(vec![get_local(paths), get_local(edges)], vec![vec![column(1), column(2)]])
                .project([0, 3]);
        let value = get_local(edges).union(step).distinct();
        let both =
            get(1, 3).project([0, 1]).union(get(2, 3).filter([equal(column(0), three())]).project([1, 2]));
        let body =
            get_local(paths).reduce(vec![column(0)], vec![aggregate(&COUNT, column(1), ScalarType::Int64)]);
        RelationExpr::LetRec { bindings: vec![(paths, value, pair())], limit: None, body: Box::new(body) }
            .let_in(edges, both)
    });
}

#[test]
fn mutual_recursion_with_what_is_not_recursive() {
    check_both(|| {
        let (even, odd) = (LocalId(1), LocalId(2));
        let own = |id| RelationExpr::LocalGet { id, typ: vec![int8()] };
        let next = |from| {
            RelationExpr::join(vec![own(from), get(1, 3)], vec![vec![column(0), column(1)]]).project([2])
        };
        let roots = get(2, 3).top_k(vec![], vec![by(2, false)], Some(2), 0).project([0]);
        let bindings = vec![
            (even, roots.union(next(odd)).distinct(), vec![int8()]),
            (odd, next(even).distinct(), vec![int8()]),
        ];
        let body = own(even).union(own(odd).negate()).threshold();
        RelationExpr::LetRec { bindings, limit: None, body: Box::new(body) }
    });
}
