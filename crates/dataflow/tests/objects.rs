//! Indexes, views over views, subscriptions, errors and drops, through the commands that coord sends.

mod harness;

use std::sync::Arc;

use dataflow::{Command, Output};
use harness::*;
use plan::func::{FuncRef, ScalarFunc, TableFunc, TableFuncRef, ids};
use plan::mfp::Mfp;
use plan::{RelationExpr, ScalarExpr};
use repr::{Datum, Diff, EvalError, Origin, Row, RowBlock, ScalarType, error::code};

const VIEW: Output = Output::Materialized { arrange: false, reconcile: false };

fn index(on: u64, key: &[usize]) -> Output {
    Output::Index { on: id(on), key: key.iter().map(|c| ScalarExpr::Column(*c)).collect() }
}

fn rows(rows: &[&[i64]]) -> Vec<(Row, Diff)> {
    rows.iter().map(|r| (ints(r), 1)).collect()
}

fn sums(of: RelationExpr) -> RelationExpr {
    of.reduce(vec![column(0)], vec![aggregate(&SUM, column(1), ScalarType::Int64)])
}

/// 10 divided by the argument, which panics for 13.
static TEN_BY: ScalarFunc = ScalarFunc {
    id: "t_ten_by",
    strict: true,
    can_fail: true,
    never_null: true,
    volatile: false,
    eval: |args, _, _| match args[0].int() {
        0 => Err(EvalError::new(code::DIVISION_BY_ZERO, "division by zero")),
        13 => panic!("unlucky"),
        n => Ok(Datum::Int64(10 / n)),
    },
};

fn ten_by(of: ScalarExpr) -> ScalarExpr {
    ScalarExpr::call(FuncRef(&TEN_BY), vec![of], ScalarType::Int64)
}

#[test]
fn an_index_is_read_by_key_or_whole_at_any_time_since() {
    for workers in [1, 2] {
        let mut h = Harness::new(workers);
        h.create(id(1), vec![int8(); 2], false);
        h.tick(&[(id(1), rows(&[&[1, 10], &[2, 20], &[3, 30]]))]);
        h.install(id(5), get(1, 2), index(1, &[0]));
        let first = h.now;
        let second = h.tick(&[(id(1), vec![(ints(&[2, 20]), -1), (ints(&[2, 21]), 1), (ints(&[2, 22]), 1)])]);
        assert_eq!(h.peek(id(5), first, 2).unwrap(), sum(rows(&[&[1, 10], &[2, 20], &[3, 30]])));
        let whole = sum(rows(&[&[1, 10], &[2, 21], &[2, 22], &[3, 30]]));
        assert_eq!(h.peek(id(5), second, 2).unwrap(), whole);
        let keys = Some(vec![ints(&[3]), ints(&[2]), ints(&[9]), ints(&[3])]);
        let found = h.peek_with(id(5), second, keys, Mfp::identity(2), None).unwrap();
        assert_eq!(found, sum(rows(&[&[2, 21], &[2, 22], &[3, 30]])));
        let mut only_value = Mfp::identity(2);
        only_value.project(&[1]);
        let found = h.peek_with(id(5), second, Some(vec![ints(&[1])]), only_value, Some(1)).unwrap();
        assert_eq!(found, sum(rows(&[&[10]])));

        h.send(Command::AllowCompaction { id: id(5), since: second });
        let error = h.peek(id(5), first, 2).unwrap_err();
        assert_eq!(error.code().as_str(), "55000");
        assert_eq!(h.peek(id(5), second, 2).unwrap(), whole);
        assert!(h.peek(id(99), second, 2).is_err());
    }
}

#[test]
fn a_peek_waits_for_its_time_and_can_be_cancelled() {
    let mut h = Harness::new(2);
    h.create(id(1), vec![int8(); 2], false);
    h.install(id(5), get(1, 2), index(1, &[0]));
    let later = h.now + 10;
    let peek = |n| Command::Peek {
        peek: n,
        id: id(5),
        time: later,
        keys: None,
        mfp: Box::new(Mfp::identity(2)),
        limit: None,
    };
    h.send(peek(1000));
    h.send(peek(1001));
    h.send(Command::CancelPeek(1000));
    h.tick(&[(id(1), rows(&[&[1, 10]]))]);
    // Peeks are answered in the order of their numbers.
    h.until(|h| h.answered(1001));
    assert!(!h.answered(1000));
    assert_eq!(h.peek(id(5), later, 2).unwrap(), sum(rows(&[&[1, 10]])));
}

#[test]
fn a_join_uses_indexes_instead_of_history() {
    for workers in [1, 2] {
        let mut h = Harness::new(workers);
        h.create(id(1), vec![int8(); 2], false);
        h.create(id(2), vec![int8(); 2], false);
        h.tick(&[
            (id(1), rows(&[&[1, 10], &[2, 20], &[NULL, 1]])),
            (id(2), rows(&[&[7, 1], &[8, 2], &[9, NULL]])),
        ]);
        h.install(id(5), get(1, 2), index(1, &[0]));
        h.install(id(6), get(2, 2), index(2, &[1]));
        h.tick(&[(id(1), rows(&[&[1, 11]]))]);
        let plan = || RelationExpr::join(vec![get(1, 2), get(2, 2)], vec![vec![column(0), column(3)]]);
        h.install(id(7), plan(), VIEW);
        assert_eq!(h.installed[&id(7)], []);
        let time = h.now;
        h.wait(id(7), time);
        let expected = sum(rows(&[&[1, 10, 7, 1], &[1, 11, 7, 1], &[2, 20, 8, 2]]));
        assert_eq!(h.changes[&id(7)].at(time), expected);
        let time = h.tick(&[(id(2), vec![(ints(&[7, 1]), -1)])]);
        h.wait(id(7), time);
        assert_eq!(h.changes[&id(7)].at(time), sum(rows(&[&[2, 20, 8, 2]])));

        // The index is dropped, but lives on for the view.
        h.send(Command::Drop(id(5)));
        let time = h.tick(&[(id(1), rows(&[&[2, 21]]))]);
        h.wait(id(7), time);
        assert_eq!(h.changes[&id(7)].at(time), sum(rows(&[&[2, 20, 8, 2], &[2, 21, 8, 2]])));
        assert!(h.dropped.is_empty());
        assert!(h.peek(id(5), time, 2).is_err());
        h.send(Command::Drop(id(7)));
        h.until(|h| h.dropped.len() == 2);
        h.dropped.sort();
        assert_eq!(h.dropped, [id(5), id(7)]);
    }
}

#[test]
fn views_over_views_follow_by_themselves() {
    for workers in [1, 2] {
        let mut h = Harness::new(workers);
        h.create(id(1), vec![int8(); 2], true);
        for n in [2, 3] {
            h.create(id(n), vec![int8(); 2], false);
        }
        h.install(id(2), sums(get(1, 2)), VIEW);
        h.install(
            id(3),
            get(2, 2).reduce(vec![column(1)], vec![aggregate(&COUNT, column(0), ScalarType::Int64)]),
            VIEW,
        );
        let mut now = 0;
        for i in 0..5 {
            now = h.tick(&[(id(1), rows(&[&[i % 2, 1], &[i, 2]]))]);
        }
        h.wait(id(3), now);
        // Sums: 0 → 5, 1 → 4, 2 → 2, 3 → 2, 4 → 2.
        assert_eq!(h.changes[&id(3)].at(now), sum(rows(&[&[5, 1], &[4, 1], &[2, 3]])));

        // A later reader gets the view's history from storage.
        let stored = h.changes[&id(2)].rows.clone();
        let blocks = stored.into_iter().map(|(t, row, n)| {
            let mut block = RowBlock::default();
            block.push(row.as_ref(), n);
            (t, Arc::new(block))
        });
        h.stored.insert(id(2), blocks.collect());
        h.install(id(4), get(2, 2), index(2, &[1]));
        let twos = Some(vec![ints(&[2])]);
        let found = h.peek_with(id(4), now, twos.clone(), Mfp::identity(2), None).unwrap();
        assert_eq!(found, sum(rows(&[&[2, 2], &[3, 2], &[4, 2]])));
        let now = h.tick(&[(id(1), rows(&[&[2, 1], &[8, 2]]))]);
        let found = h.peek_with(id(4), now, twos, Mfp::identity(2), None).unwrap();
        assert_eq!(found, sum(rows(&[&[3, 2], &[4, 2], &[8, 2]])));
    }
}

#[test]
fn live_ticks_during_hydration_are_not_lost() {
    let mut h = Harness::new(2);
    h.create(id(1), vec![int8(); 2], false);
    h.tick(&[(id(1), rows(&[&[1, 1]]))]);
    let as_of = h.now;
    h.send(Command::Install(Box::new(dataflow::DataflowDesc {
        id: id(5),
        name: "view".into(),
        plan: sums(get(1, 2)),
        as_of,
        until: None,
        output: VIEW,
        resume_after: None,
        dropped: Default::default(),
    })));
    let history = h.stored[&id(1)].clone();
    let time = h.tick(&[(id(1), rows(&[&[1, 2], &[2, 5]]))]);
    h.stored.insert(id(1), history);
    h.hydrate(id(5), id(1));
    h.wait(id(5), time);
    assert_eq!(h.changes[&id(5)].at(as_of), sum(rows(&[&[1, 1]])));
    assert_eq!(h.changes[&id(5)].at(time), sum(rows(&[&[1, 3], &[2, 5]])));
}

#[test]
fn a_dataflow_as_of_an_earlier_time_gets_the_ticks_since() {
    for workers in [1, 2] {
        let mut h = Harness::new(workers);
        h.create(id(1), vec![int8(); 2], false);
        h.tick(&[(id(1), rows(&[&[1, 1]]))]);
        let as_of = h.tick(&[(id(1), rows(&[&[1, 2]]))]);
        let next = h.tick(&[(id(1), rows(&[&[2, 5]]))]);
        h.install_with(id(5), get(1, 2), Output::Subscribe { snapshot: true }, |d| d.as_of = as_of);
        let last = h.tick(&[(id(1), rows(&[&[3, 7]]))]);
        h.wait(id(5), last);
        let mut found = h.changes[&id(5)].rows.clone();
        found.sort();
        let one = |t, row: &[i64]| (t, ints(row), 1);
        assert_eq!(found, [one(as_of, &[1, 1]), one(as_of, &[1, 2]), one(next, &[2, 5]), one(last, &[3, 7])]);
    }
}

#[test]
fn errors_name_their_record_and_heal_when_it_goes() {
    for workers in [1, 2] {
        let mut h = Harness::new(workers);
        // partition, offset, value
        let typ = vec![ScalarType::Int32.nullable(false), ScalarType::Int64.nullable(false), int8()];
        h.create_with_origin(id(1), typ.clone(), false, Some((0, 1)));
        let record = |offset, value| Row::pack([Datum::Int32(3), Datum::Int64(offset), Datum::Int64(value)]);
        let plan = || {
            RelationExpr::Get { id: id(1), typ: typ.clone() }
                .map([ten_by(column(2))])
                .reduce(vec![], vec![aggregate(&SUM, column(3), ScalarType::Int64)])
        };
        h.install(id(5), plan(), Output::Materialized { arrange: true, reconcile: false });
        let bad = h.tick(&[(id(1), vec![(record(1, 5), 1), (record(2, 0), 1), (record(3, 13), 1)])]);
        h.wait(id(5), bad);
        let errors = h.changes[&id(5)].errors_at(bad);
        let place = |offset| Some(Origin { partition: 3, offset });
        assert_eq!(errors.iter().map(EvalError::origin).collect::<Vec<_>>(), [place(2), place(3)]);
        assert_eq!(errors[0].message(), "division by zero");
        assert!(errors[1].message().contains("unlucky"), "{}", errors[1]);
        // A read gives one of them, even of a key that is fine.
        assert_eq!(h.peek(id(5), bad, 1).unwrap_err(), errors[0]);
        let any = Some(vec![ints(&[2])]);
        assert_eq!(h.peek_with(id(5), bad, any, Mfp::identity(1), None).unwrap_err(), errors[0]);
        assert_eq!(h.once(plan()).unwrap_err(), errors[0]);

        let good = h.tick(&[(id(1), vec![(record(2, 0), -1), (record(3, 13), -1)])]);
        assert_eq!(h.peek(id(5), good, 1).unwrap(), sum(rows(&[&[2]])));
        h.wait(id(5), good);
        assert_eq!(h.changes[&id(5)].errors_at(good), []);
    }
}

#[test]
fn errors_pass_through_views_indexes_and_joins() {
    let mut h = Harness::new(2);
    h.create(id(1), vec![int8(); 2], false);
    h.create(id(2), vec![int8(); 2], false);
    h.install(id(2), get(1, 2).map([ten_by(column(1))]).project([0, 2]), VIEW);
    h.install(id(3), get(2, 2), index(2, &[0]));
    h.install(id(4), RelationExpr::join(vec![get(1, 2), get(2, 2)], vec![vec![column(0), column(2)]]), VIEW);
    let time = h.tick(&[(id(1), rows(&[&[1, 5], &[2, 0]]))]);
    assert_eq!(h.peek(id(3), time, 2).unwrap_err().message(), "division by zero");
    h.wait(id(4), time);
    assert_eq!(h.changes[&id(4)].errors_at(time).len(), 1);
    let time = h.tick(&[(id(1), vec![(ints(&[2, 0]), -1)])]);
    assert_eq!(h.peek(id(3), time, 2).unwrap(), sum(rows(&[&[1, 2]])));
    h.wait(id(4), time);
    assert_eq!(h.changes[&id(4)].errors_at(time), []);
}

#[test]
fn a_sum_out_of_range_is_an_error_of_its_group_alone() {
    let mut h = Harness::new(1);
    h.create(id(1), vec![int8(); 2], false);
    h.install(id(5), sums(get(1, 2)), VIEW);
    let over = h.tick(&[(id(1), rows(&[&[1, i64::MAX], &[1, 1], &[2, 2]]))]);
    let back = h.tick(&[(id(1), vec![(ints(&[1, 1]), -1)])]);
    h.wait(id(5), back);
    assert_eq!(h.changes[&id(5)].at(over), sum(rows(&[&[2, 2]])));
    assert_eq!(h.changes[&id(5)].errors_at(over)[0].message(), "bigint out of range");
    assert_eq!(h.changes[&id(5)].at(back), sum(rows(&[&[1, i64::MAX], &[2, 2]])));
    assert_eq!(h.changes[&id(5)].errors_at(back), []);
}

#[test]
fn a_subscription_gives_a_snapshot_then_changes_until_its_end() {
    for snapshot in [true, false] {
        let mut h = Harness::new(2);
        h.create(id(1), vec![int8(); 2], false);
        h.tick(&[(id(1), rows(&[&[1, 1], &[2, 2]]))]);
        h.tick(&[(id(1), vec![(ints(&[2, 2]), -1)])]);
        let start = h.now;
        h.install_with(id(5), get(1, 2), Output::Subscribe { snapshot }, |d| d.until = Some(start + 25));
        let time = h.tick(&[(id(1), vec![(ints(&[1, 1]), -1), (ints(&[3, 3]), 1), (ints(&[4, 4]), 0)])]);
        h.tick(&[]);
        h.tick(&[(id(1), rows(&[&[5, 5]]))]);
        h.until(|h| h.dropped == [id(5)]);
        let changes = &h.changes[&id(5)];
        let mut expected =
            vec![(start, ints(&[1, 1]), 1), (time, ints(&[1, 1]), -1), (time, ints(&[3, 3]), 1)];
        if !snapshot {
            expected.remove(0);
        }
        let mut found = changes.rows.clone();
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(changes.upto, start + 25);
    }
}

#[test]
fn a_reconciled_view_emits_only_what_storage_lacks() {
    for workers in [1, 2] {
        let mut h = Harness::new(workers);
        h.create(id(1), vec![int8(); 2], false);
        h.create(id(5), vec![int8(); 2], false);
        h.tick(&[(id(1), rows(&[&[1, 1], &[1, 2], &[2, 2], &[3, 3]]))]);
        let as_of = h.now;
        let mut stored = RowBlock::default();
        for row in [ints(&[1, 3]), ints(&[2, 9]), ints(&[3, 3])] {
            stored.push(row.as_ref(), 1);
        }
        h.stored.insert(id(5), vec![(as_of, Arc::new(stored))]);
        h.install(id(5), sums(get(1, 2)), Output::Materialized { arrange: true, reconcile: true });
        let time = h.tick(&[(id(1), rows(&[&[3, 1]]))]);
        h.wait(id(5), time);
        let mut found = h.changes[&id(5)].rows.clone();
        found.sort();
        let mut expected = vec![
            (as_of, ints(&[2, 2]), 1),
            (as_of, ints(&[2, 9]), -1),
            (time, ints(&[3, 3]), -1),
            (time, ints(&[3, 4]), 1),
        ];
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(h.peek(id(5), time, 2).unwrap(), sum(rows(&[&[1, 3], &[2, 2], &[3, 4]])));
    }
}

#[test]
fn a_resumed_view_says_nothing_twice() {
    let mut h = Harness::new(2);
    h.create(id(1), vec![int8(); 2], true);
    h.tick(&[(id(1), rows(&[&[1, 1]]))]);
    let stored = h.now;
    let missed = h.tick(&[(id(1), rows(&[&[2, 2]]))]);
    h.install_with(id(5), get(1, 2), VIEW, |d| d.resume_after = Some(stored));
    // All of history is sent; what the view has already is left out.
    let time = h.tick(&[(id(1), rows(&[&[3, 3]]))]);
    h.wait(id(5), time);
    let mut found = h.changes[&id(5)].rows.clone();
    found.sort();
    assert_eq!(found, [(missed, ints(&[2, 2]), 1), (time, ints(&[3, 3]), 1)]);
}

#[test]
fn dropped_objects_are_gone_and_can_come_again() {
    for workers in [1, 2] {
        let mut h = Harness::new(workers);
        h.create(id(1), vec![int8(); 2], false);
        h.tick(&[(id(1), rows(&[&[1, 1]]))]);
        for round in 0..3 {
            h.frontiers.clear();
            h.install(id(5), sums(get(1, 2)), index(1, &[0]));
            let now = h.now;
            assert_eq!(h.peek(id(5), now, 2).unwrap().len(), 1);
            h.send(Command::Drop(id(5)));
            h.until(|h| h.dropped.len() == round + 1);
        }
        // A dataflow that is dropped before its history came.
        h.send(Command::Install(Box::new(dataflow::DataflowDesc {
            id: id(6),
            name: "never".into(),
            plan: get(1, 2),
            as_of: h.now,
            until: None,
            output: VIEW,
            resume_after: None,
            dropped: Default::default(),
        })));
        h.send(Command::Drop(id(6)));
        h.until(|h| h.dropped.contains(&id(6)));
        h.tick(&[(id(1), rows(&[&[1, 1]]))]);
        assert_eq!(h.once(get(1, 2)).unwrap(), sum([(ints(&[1, 1]), 2)]));
        h.send(Command::DropCollection(id(1)));
    }
}

#[test]
fn a_view_over_constants_is_complete_forever() {
    let mut h = Harness::new(2);
    h.install(id(5), RelationExpr::constant([ints(&[1])], vec![int8()]), VIEW);
    h.wait(id(5), u64::MAX - 1);
    assert_eq!(h.changes[&id(5)].at(0), sum(rows(&[&[1]])));
}

#[test]
fn table_functions_add_rows_and_their_errors() {
    /// 0, 1, … below the argument; an error after them for 3.
    static BELOW: TableFunc = TableFunc {
        id: "t_below",
        strict: true,
        eval: |args, _, emit| {
            (0..args[0].int()).for_each(|n| emit(&[Datum::Int64(n)]));
            if args[0].int() == 3 {
                Err(EvalError::new(code::INVALID_PARAMETER_VALUE, "three"))
            } else {
                Ok(())
            }
        },
    };
    let mut h = Harness::new(2);
    h.create(id(1), vec![int8(); 2], true);
    let plan = get(1, 2).flat_map(TableFuncRef(&BELOW), vec![column(1)], vec![int8()]);
    h.install(id(5), plan, VIEW);
    let fine = h.tick(&[(id(1), rows(&[&[7, 2], &[8, 0], &[9, NULL]]))]);
    let bad = h.tick(&[(id(1), rows(&[&[6, 3]]))]);
    h.wait(id(5), bad);
    assert_eq!(h.changes[&id(5)].at(bad), sum(rows(&[&[7, 2, 0], &[7, 2, 1]])));
    assert_eq!(h.changes[&id(5)].errors_at(fine), []);
    assert_eq!(h.changes[&id(5)].errors_at(bad)[0].message(), "three");
}

#[test]
fn rows_come_and_go_by_the_clock() {
    let mut h = Harness::new(2);
    let at = ScalarType::MzTimestamp.nullable(true);
    h.create(id(1), vec![int8(), at.clone(), at.clone()], true);
    let row = |n, from, until| {
        let time = |t| if t == 0 { Datum::Null } else { Datum::MzTimestamp(t) };
        (Row::pack([Datum::Int64(n), time(from), time(until)]), 1)
    };
    let now = ScalarExpr::Context(plan::scalar::Context::MzNow);
    let compare = |op, i| ScalarExpr::call(FuncRef::of(op), vec![now.clone(), column(i)], ScalarType::Bool);
    let plan = RelationExpr::Get { id: id(1), typ: vec![int8(), at.clone(), at] }
        .filter([compare(ids::GE, 1), compare(ids::LT, 2)])
        .project([0]);
    h.install(id(5), plan, VIEW);
    let mut last =
        h.tick(&[(id(1), vec![row(1, 15, 35), row(2, 1, 5), row(3, 5, 20), row(4, 30, 30), row(5, 0, 90)])]);
    // The first tick that is needed for the clock alone; then the next one; then none.
    for (deadline, ticks) in [(Some(15), 1), (Some(35), 3), (None, 0)] {
        h.wait(id(5), last);
        h.until(|h| h.deadline == deadline);
        (0..ticks).for_each(|_| last = h.tick(&[]));
    }
    let mut found = h.changes[&id(5)].rows.clone();
    found.sort();
    let expected = [(10, ints(&[3]), 1), (15, ints(&[1]), 1), (20, ints(&[3]), -1), (35, ints(&[1]), -1)];
    assert_eq!(found, expected);
}

/// Numbers from 0 on, by one more in each round.
fn counting(limit: Option<(u64, bool)>) -> RelationExpr {
    let all = plan::LocalId(1);
    let own = || RelationExpr::LocalGet { id: all, typ: vec![int8()] };
    let one_more =
        plan::func::resolve::operator("+", &[Some(ScalarType::Int64), Some(ScalarType::Int64)]).unwrap();
    let plan::func::resolve::Implementation::Scalar(plus) = one_more.imp else { panic!("+ is a function") };
    let one = ScalarExpr::literal(Datum::Int64(1), ScalarType::Int64);
    let next = ScalarExpr::call(plus, vec![column(0), one], ScalarType::Int64);
    let zero = RelationExpr::constant([ints(&[0])], vec![int8()]);
    let value = zero.union(own().map([next]).project([1])).distinct();
    RelationExpr::LetRec { bindings: vec![(all, value, vec![int8()])], limit, body: Box::new(own()) }
}

#[test]
fn a_recursion_stops_at_its_limit() {
    let mut h = Harness::new(2);
    let found = h.once(counting(Some((4, false)))).unwrap();
    assert_eq!(found, sum(rows(&[&[0], &[1], &[2], &[3]])));
    let error = h.once(counting(Some((4, true)))).unwrap_err();
    assert_eq!(
        (error.code().as_str(), error.message()),
        ("54000", "recursive query exceeded the recursion limit 4")
    );
}

#[test]
fn a_join_of_one_key_with_many_rows_lets_others_go_on_and_ends_when_it_is_dropped() {
    let mut h = Harness::new(1);
    h.create(id(1), vec![int8(); 2], false);
    h.create(id(2), vec![int8(); 2], false);
    let many: Vec<(Row, Diff)> = (0..100_000).map(|i| (ints(&[i, i]), 1)).collect();
    h.tick(&[(id(1), many), (id(2), rows(&[&[1, 10], &[2, 20]]))]);
    h.install(id(5), get(2, 2), index(2, &[0]));
    // 10^10 pairs, each of which is tested and counted: hours of work.
    let far = ScalarExpr::call(FuncRef::of(ids::GE), vec![column(0), column(3)], ScalarType::Bool);
    let pairs = RelationExpr::join(vec![get(1, 2), get(1, 2)], vec![]).filter(vec![far]);
    h.install(id(6), pairs.reduce(vec![], vec![aggregate(&COUNT, column(0), ScalarType::Int64)]), VIEW);
    for i in 0..50 {
        let time = h.tick(&[(id(2), rows(&[&[3, i]]))]);
        let found = h.peek_with(id(5), time, Some(vec![ints(&[3])]), Mfp::identity(2), None).unwrap();
        assert_eq!(found.len() as i64, i + 1);
    }
    assert!(h.changes.get(&id(6)).is_none_or(|c| c.rows.is_empty()), "the join still runs");
    h.send(Command::Drop(id(6)));
    h.until(|h| h.dropped.contains(&id(6)));
    let time = h.tick(&[(id(2), rows(&[&[4, 40]]))]);
    assert_eq!(h.peek_with(id(5), time, Some(vec![ints(&[4])]), Mfp::identity(2), None).unwrap().len(), 1);
}
