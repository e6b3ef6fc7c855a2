//! Each pass on the plans that it is for, before and after.

use repr::{Datum, GlobalId, ScalarType};

use super::*;
use crate::testing::{agg, call, col, eq, get, int, ints, lt, row, shown};
use crate::{ColumnOrder, LocalId, ScalarExpr};

const BOOL: ScalarType = ScalarType::Bool;

fn after(pass: &str, mut plan: RelationExpr) -> String {
    assert!(run_pass(pass, &mut plan), "there is a pass {pass}");
    shown(&plan)
}

fn lines(lines: &[&str]) -> String {
    lines.iter().map(|l| format!("{l}\n")).collect()
}

fn is_null(e: ScalarExpr) -> ScalarExpr {
    call("is_null", vec![e], BOOL)
}

fn local(id: u64, n: usize) -> RelationExpr {
    RelationExpr::LocalGet { id: LocalId(id), typ: ints(n) }
}

fn join(inputs: Vec<RelationExpr>, equal: &[(usize, usize)]) -> RelationExpr {
    RelationExpr::join(inputs, equal.iter().map(|(a, b)| vec![col(*a), col(*b)]).collect())
}

#[test]
fn fold_computes_constants() {
    let plan = RelationExpr::constant([row(&[1, 2]), row(&[3, 4])], ints(2))
        .map([call("int8_add", vec![col(0), col(1)], ScalarType::Int64)])
        .filter([lt(int(3), col(2))])
        .project([2]);
    assert_eq!(after("fold", plan), lines(&["Constant (7)"]));
}

#[test]
fn fold_keeps_an_error_for_where_it_is_evaluated() {
    let quotient = || call("int8_div", vec![int(1), int(0)], ScalarType::Int64);
    let plan = get(1, 1).map([quotient()]);
    assert_eq!(after("fold", plan), lines(&["Map error(22012 \"division by zero\")", "  Get u1"]));
    let none = RelationExpr::empty(ints(1)).map([quotient()]);
    assert_eq!(after("fold", none), lines(&["Constant (no rows)"]));
}

#[test]
fn fold_spreads_emptiness() {
    let none = || get(1, 2).filter([ScalarExpr::null(BOOL)]);
    let plan = join(vec![none(), get(2, 1)], &[]).union(get(3, 3)).union(none().project([0, 0, 0]));
    assert_eq!(after("fold", plan), lines(&["Get u3"]));
    let grouped = none().reduce(vec![], vec![agg("count", col(0))]);
    assert_eq!(after("fold", grouped), lines(&["Constant (no rows)"]));
}

#[test]
fn fold_knows_columns_that_are_never_null() {
    let counts = get(1, 1).reduce(vec![col(0)], vec![agg("count", col(0))]);
    let plan = counts.filter([is_null(col(1))]);
    assert_eq!(after("fold", plan), lines(&["Constant (no rows)"]));
}

#[test]
fn fold_brings_not_inwards() {
    let not = |e| call("not", vec![e], BOOL);
    let plan = get(1, 2).filter([not(ScalarExpr::Or(vec![
        lt(col(0), col(1)),
        not(eq(col(0), int(1))),
        ScalarExpr::Or(vec![is_null(col(1)), eq(col(1), int(5))]),
    ]))]);
    assert_eq!(
        after("fold", plan),
        lines(&["Filter (#0 >= #1) AND (#0 = 1) AND (#1 IS NOT NULL) AND (#1 <> 5)", "  Get u1"])
    );
}

#[test]
fn chain_puts_filters_first_and_drops_what_is_not_projected() {
    let plan = get(1, 2)
        .map([call("int8_add", vec![col(0), int(1)], ScalarType::Int64), int(7)])
        .filter([lt(col(2), int(5))]);
    let plan = plan.project([2, 1]);
    assert_eq!(
        after("chain", plan),
        lines(&["Project #2, #1", "  Map #0 + 1", "    Filter (#0 + 1) < 5", "      Get u1"])
    );
}

#[test]
fn pushdown_moves_conditions_to_every_side_they_can_be_said_of() {
    let plan = join(vec![get(1, 2), get(2, 2)], &[]).filter([
        lt(col(1), int(5)),
        lt(col(0), int(9)),
        eq(col(0), col(2)),
        lt(col(1), col(3)),
    ]);
    assert_eq!(
        after("pushdown", plan),
        lines(&[
            "Filter #1 < #3",
            "  Join on #0 = #2",
            "    Filter (#1 < 5) AND (#0 < 9)",
            "      Get u1",
            "    Filter #0 < 9",
            "      Get u2"
        ])
    );
}

#[test]
fn pushdown_does_not_say_elsewhere_what_can_fail() {
    let fails = lt(call("int8_div", vec![int(1), col(0)], ScalarType::Int64), int(9));
    let plan = join(vec![get(1, 2), get(2, 2)], &[(0, 2)]).filter([fails]);
    assert_eq!(
        after("pushdown", plan),
        lines(&["Join on #0 = #2", "  Filter (1 / #0) < 9", "    Get u1", "  Get u2"])
    );
}

#[test]
fn pushdown_goes_through_groups_only_by_their_keys() {
    let groups = get(1, 2).reduce(vec![col(1)], vec![agg("count", col(0))]);
    let plan = groups.filter([eq(col(0), int(1)), lt(int(5), col(1))]);
    assert_eq!(
        after("pushdown", plan),
        lines(&["Filter 5 < #1", "  Reduce by #1 → count(#0)", "    Filter #1 = 1", "      Get u1"])
    );
    let order = vec![ColumnOrder { column: 1, desc: false, nulls_first: false }];
    let plan = get(1, 2).top_k(vec![0], order, Some(1), 0).filter([eq(col(0), int(1)), eq(col(1), int(2))]);
    assert_eq!(
        after("pushdown", plan),
        lines(&["Filter #1 = 2", "  TopK by #0 order #1 limit 1", "    Filter #0 = 1", "      Get u1"])
    );
}

#[test]
fn pushdown_goes_into_every_branch_of_a_union() {
    let plan = get(1, 1).union(get(2, 1).negate()).threshold().filter([eq(col(0), int(1))]);
    assert_eq!(
        after("pushdown", plan),
        lines(&[
            "Threshold",
            "  Union",
            "    Filter #0 = 1",
            "      Get u1",
            "    Negate",
            "      Filter #0 = 1",
            "        Get u2"
        ])
    );
}

#[test]
fn join_flattens_and_merges_classes() {
    let inner = join(vec![get(1, 2), get(2, 2)], &[(0, 2)]).project([0, 1, 3]);
    let plan = join(vec![inner, get(3, 1)], &[(0, 3)]);
    assert_eq!(
        after("join", plan),
        lines(&[
            "Project #0, #1, #3, #4",
            "  Join on #0 = #2 = #4",
            "    Get u1",
            "    Get u2",
            "    Get u3"
        ])
    );
}

#[test]
fn join_leaves_constants_and_equal_columns_of_one_side_to_filters() {
    let plan = RelationExpr::join(vec![get(1, 2), get(2, 1)], vec![vec![col(0), col(1), col(2), int(5)]]);
    assert_eq!(
        after("join", plan),
        lines(&[
            "Join on #0 = #2",
            "  Filter (#0 = 5) AND (#1 = 5)",
            "    Get u1",
            "  Filter #0 = 5",
            "    Get u2"
        ])
    );
}

#[test]
fn join_of_keys_that_may_be_null_is_plain_where_one_side_is_not() {
    let not_null = get(2, 1).reduce(vec![col(0)], vec![agg("count", col(0))]).project([1]);
    let safe = |c| crate::known::null_safe(col(c));
    let plan = RelationExpr::join(vec![get(1, 1), not_null], vec![vec![safe(0), safe(1)]]);
    assert!(after("join", plan).starts_with("Join on #0 = #1\n"));
    let plan = RelationExpr::join(vec![get(1, 1), get(2, 1)], vec![vec![safe(0), safe(1)]]);
    assert!(after("join", plan).starts_with("Join on null_safe(#0) = null_safe(#1)\n"));
}

#[test]
fn joins_are_ordered_so_that_each_input_is_connected() {
    let mut plan = join(vec![get(1, 1), get(2, 1), get(3, 2)], &[(0, 2), (1, 3)]);
    join::order(&mut plan);
    assert_eq!(
        shown(&plan),
        lines(&[
            "Project #0, #3, #1, #2",
            "  Join on #0 = #1 AND #2 = #3",
            "    Get u1",
            "    Get u3",
            "    Get u2"
        ])
    );
}

#[test]
fn demand_drops_columns_down_to_what_is_stored() {
    let plan = join(vec![get(1, 3), get(2, 3)], &[(0, 3)])
        .reduce(vec![col(1)], vec![agg("count", col(5)), agg("max", col(4))]);
    assert_eq!(
        after("demand", plan.project([1, 0])),
        lines(&[
            "Project #1, #0",
            "  Reduce by #0 → count(#1)",
            "    Project #1, #3",
            "      Join on #0 = #2",
            "        Project #0, #1",
            "          Get u1",
            "        Project #0, #2",
            "          Get u2"
        ])
    );
}

#[test]
fn demand_leaves_alone_what_counts_whole_rows() {
    let plan = get(1, 2).union(get(2, 2).negate()).threshold().project([0]);
    assert_eq!(
        after("demand", plan),
        lines(&["Project #0", "  Threshold", "    Union", "      Get u1", "      Negate", "        Get u2"])
    );
}

#[test]
fn reduce_drops_what_changes_nothing() {
    let distinct = || get(1, 2).distinct();
    let twice = distinct().distinct();
    assert_eq!(after("reduce", twice), lines(&["Distinct #0, #1", "  Get u1"]));
    assert_eq!(after("reduce", distinct().threshold()), lines(&["Distinct #0, #1", "  Get u1"]));
    let limited = distinct().top_k(vec![0, 1], vec![], Some(1), 0);
    assert_eq!(after("reduce", limited), lines(&["Distinct #0, #1", "  Get u1"]));
    // What may have negative counts keeps its threshold.
    let except = get(1, 2).union(get(2, 2).negate()).threshold();
    assert!(after("reduce", except).starts_with("Threshold\n"));
}

#[test]
fn reduce_sees_through_groups_of_one_row() {
    let groups = get(1, 2).reduce(vec![col(0)], vec![agg("max", col(1))]);
    let plan = groups.reduce(vec![col(0)], vec![agg("count", ScalarExpr::bool(true)), agg("max", col(1))]);
    assert_eq!(
        optimize_text(plan),
        lines(&["Project #0, #2, #1", "  Map 1", "    Reduce by #0 → max(#1)", "      Get u1"])
    );
}

fn optimize_text(plan: RelationExpr) -> String {
    shown(&optimize(plan))
}

#[test]
fn reduce_groups_by_no_constant_and_by_nothing_twice() {
    let plan = get(1, 1).reduce(vec![int(5), col(0), col(0)], vec![agg("count", col(0))]);
    assert_eq!(
        after("reduce", plan),
        lines(&["Project #2, #0, #0, #1", "  Map 5", "    Reduce by #0 → count(#0)", "      Get u1"])
    );
}

#[test]
fn reduce_fuses_limits() {
    let order = || vec![ColumnOrder { column: 0, desc: true, nulls_first: true }];
    let plan = get(1, 1).top_k(vec![], order(), Some(10), 2).top_k(vec![], order(), Some(5), 3);
    assert_eq!(after("reduce", plan), lines(&["TopK order #0 desc limit 5 offset 5", "  Get u1"]));
    let none = get(1, 1).top_k(vec![], order(), Some(2), 0).top_k(vec![], order(), Some(5), 3);
    assert_eq!(optimize_text(none), lines(&["Constant (no rows)"]));
}

#[test]
fn union_cancels_opposites() {
    let plan = RelationExpr::Union { inputs: vec![get(1, 1), get(2, 1), get(1, 1).negate()] };
    assert_eq!(optimize_text(plan), lines(&["Get u2"]));
}

/// `SELECT *, row_number() OVER (PARTITION BY #0 ORDER BY #1 DESC, #2)` over three columns, the number last.
fn numbered() -> RelationExpr {
    use crate::func::window::{self, Bound, Call, Exclude, Frame, Units};
    let exclude = Exclude::NoOthers;
    let frame =
        Frame { units: Units::Range, start: Bound::UnboundedPreceding, end: Bound::CurrentRow, exclude };
    let number = Call {
        name: "row_number".into(),
        aggregate: false,
        args: 0,
        filter: false,
        ignore_nulls: false,
        frame,
        desc: false,
    };
    let text = window::description(&[number], 2);
    let own: Vec<_> = ints(3).into_iter().map(|t| ("f".to_string(), t)).collect();
    let mut fields = own.clone();
    fields.push(("w".into(), ScalarType::Int64.nullable(true)));
    let aggregate = crate::AggregateExpr {
        func: window::window(),
        args: vec![
            ScalarExpr::literal(Datum::Text(&text), ScalarType::Text),
            call("row", vec![col(0), col(1), col(2)], ScalarType::Record(own)),
            col(1),
            col(2),
        ],
        distinct: false,
        order_by: vec![
            (col(1), ColumnOrder { column: 0, desc: true, nulls_first: true }),
            (col(2), ColumnOrder { column: 1, desc: false, nulls_first: false }),
        ],
        filter: None,
        ty: ScalarType::List(Box::new(ScalarType::Record(fields))),
    };
    let groups = get(1, 3).reduce(vec![col(0)], vec![aggregate]);
    groups.flat_map(window::window_rows(), vec![col(1)], ints(4)).project([2, 3, 4, 5])
}

#[test]
fn window_of_the_first_rows_is_a_limit() {
    let deduplicated = numbered().filter([eq(col(3), int(1))]).project([0, 1]);
    assert_eq!(
        optimize_text(deduplicated),
        lines(&["Project #0, #1", "  TopK by #0 order #1 desc, #2 limit 1", "    Get u1"])
    );
    let few = numbered().filter([lt(col(3), int(3)), lt(int(7), col(1))]).project([0, 3]);
    let text = optimize_text(few);
    assert!(text.contains("TopK by #0 order #1 desc, #2 limit 2\n"), "{text}");
    // The columns that nobody reads do not go through the window.
    assert!(text.contains("row(#0, #1, NULL)"), "{text}");
}

#[test]
fn windows_give_the_same_rows_limited_and_pruned() {
    use crate::testing::{Dice, run};
    let conditions = [
        vec![eq(col(3), int(1))],
        vec![lt(col(3), int(3)), lt(int(1), col(1))],
        vec![lt(int(1), col(3))],
        vec![eq(col(3), int(2)), eq(col(0), int(1))],
        vec![eq(col(3), int(0))],
    ];
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let data = [(GlobalId::User(1), dice.rows(3, 8))].into();
        for condition in &conditions {
            for columns in [vec![0, 1, 2, 3], vec![0, 1], vec![3]] {
                let plan = numbered().filter(condition.clone()).project(columns);
                let optimized = optimize(plan.clone());
                assert_eq!(run(&optimized, &data), run(&plan, &data), "seed {seed}\n{}", shown(&optimized));
            }
        }
    }
}

#[test]
fn bindings_are_kept_only_where_they_save_work() {
    let groups = || get(1, 2).distinct();
    let once = local(1, 2).project([0]).let_in(LocalId(1), groups());
    assert_eq!(after("bindings", once), lines(&["Project #0", "  Distinct #0, #1", "    Get u1"]));
    let cheap = local(1, 1).union(local(1, 1)).let_in(LocalId(1), get(1, 1).filter([lt(col(0), int(1))]));
    assert!(!after("bindings", cheap).contains("With"));
    let twice = local(7, 2).union(local(7, 2)).let_in(LocalId(7), groups());
    assert_eq!(
        after("bindings", twice),
        lines(&[
            "With",
            "  l1 =",
            "    Distinct #0, #1",
            "      Get u1",
            "Return",
            "  Union",
            "    Get l1",
            "    Get l1"
        ])
    );
}

#[test]
fn bindings_take_over_what_all_their_uses_have_in_common() {
    let use_of = |more| local(1, 3).filter([eq(col(0), int(1)), more]).project([1]);
    let plan =
        use_of(lt(col(1), int(2))).union(use_of(lt(int(2), col(1)))).let_in(LocalId(1), get(1, 3).distinct());
    assert_eq!(
        after("bindings", plan),
        lines(&[
            "With",
            "  l1 =",
            "    Project #1",
            "      Filter #0 = 1",
            "        Distinct #0, #1, #2",
            "          Get u1",
            "Return",
            "  Union",
            "    Filter #0 < 2",
            "      Get l1",
            "    Filter 2 < #0",
            "      Get l1"
        ])
    );
}

#[test]
fn equal_parts_are_shared() {
    let part = || get(1, 2).reduce(vec![col(0)], vec![agg("count", col(1))]);
    let plan = join(vec![part(), part()], &[(1, 3)]);
    assert_eq!(
        optimize_text(plan),
        lines(&[
            "With",
            "  l1 =",
            "    Reduce by #0 → count(#1)",
            "      Get u1",
            "Return",
            "  Join on #1 = #3",
            "    Get l1",
            "    Get l1"
        ])
    );
}

#[test]
fn recursion_stays_a_recursion() {
    let step = join(vec![local(1, 2), get(1, 2)], &[(1, 2)]).project([0, 3]);
    let value = get(1, 2).union(step).distinct();
    let plan = RelationExpr::LetRec {
        bindings: vec![(LocalId(1), value, ints(2))],
        limit: None,
        body: Box::new(local(1, 2).filter([eq(col(0), int(1))])),
    };
    assert_eq!(
        optimize_text(plan),
        lines(&[
            "With Mutually Recursive",
            "  l1 =",
            "    Distinct #0, #1",
            "      Union",
            "        Get u1",
            "        Project #0, #3",
            "          Join on #1 = #2",
            "            Get l1",
            "            Get u1",
            "Return",
            "  Filter #0 = 1",
            "    Get l1"
        ])
    );
}

#[test]
fn thirty_joins_are_planned_in_no_time() {
    let plan = (1..30).fold(get(0, 3), |plan, i| {
        let n = 3 * i as usize;
        join(vec![plan, get(i, 3)], &[]).filter([eq(col(n - 2), col(n)), lt(col(n - 1), int(9))])
    });
    // Counted in visits, since a clock would depend on the machine: a plan that does not settle would have run all rounds.
    let mut rounds = plan.clone();
    let mut n = 0;
    loop {
        let before = rounds.clone();
        PASSES.iter().for_each(|p| (p.1)(&mut rounds));
        n += 1;
        if rounds == before {
            break;
        }
        assert!(n < MAX_ROUNDS, "the plan settles");
    }
    assert!(n <= 6, "{n} rounds");
    let RelationExpr::Join { inputs, equivalences } = &optimize(plan) else { panic!("one join") };
    assert_eq!((inputs.len(), equivalences.len()), (30, 29));
}

#[test]
fn a_filter_that_rejects_nulls_makes_an_outer_join_an_inner_one() {
    use crate::hir::{HirScalarExpr, JoinKind};
    use crate::testing::hir;
    let on = hir::eq(hir::col(0), hir::col(2));
    let query = hir::filter(
        hir::join(hir::get(1, 2), hir::get(2, 2), on, JoinKind::LeftOuter),
        HirScalarExpr::And(vec![hir::eq(hir::col(3), hir::int(7))]),
    );
    assert_eq!(
        optimize_text(crate::decorrelate::decorrelate(query).unwrap()),
        lines(&["Join on #0 = #2", "  Get u1", "  Filter #1 = 7", "    Get u2"])
    );
}

#[test]
fn names_and_literals_are_shown_as_sql_has_them() {
    let typ = vec![ScalarType::Text.nullable(true), ScalarType::Int64.nullable(true)];
    let text = |s| ScalarExpr::literal(Datum::Text(s), ScalarType::Text);
    let plan = RelationExpr::get(GlobalId::User(1), typ)
        .filter([ScalarExpr::Or(vec![eq(col(0), text("it's")), is_null(col(0))])])
        .reduce(vec![col(0)], vec![agg("count", ScalarExpr::bool(true)), agg("sum", col(1))])
        .filter([call("not", vec![eq(col(1), int(-1))], BOOL)]);
    let names = |_| vec!["kind".to_string(), "n".to_string()];
    assert_eq!(
        crate::explain::explain(&plan, &|_| "events".into(), &names),
        lines(&[
            "Filter NOT (#1 = -1)",
            "  Reduce by #0{kind} → count(*), sum(#1{n})",
            "    Filter (#0{kind} = 'it''s') OR (#0{kind} IS NULL)",
            "      Get events"
        ])
    );
}
