//! Any query gives the same rows before and after decorrelation and optimization; some plans to look at.

use repr::GlobalId;

use super::*;
use crate::testing::hir::*;
use crate::testing::{Data, Dice, run, run_hir, shown};
use crate::transform::optimize;

#[test]
fn random_queries_give_the_same_rows_decorrelated_and_optimized() {
    let mut with_rows = 0;
    for seed in 0..3_000 {
        let mut dice = Dice::new(seed);
        let query = dice.query(&[], 1 + (seed % 4) as usize);
        let plan = decorrelate(query.clone()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let optimized = optimize(plan.clone());
        for _ in 0..2 {
            let data: Data = (1..=3).map(|id| (GlobalId::User(id), dice.rows(2, 4))).collect();
            // An error that a later condition would have hidden may come or not; these queries have none.
            let Ok(expected) = run_hir(&query, &data, &[]) else { continue };
            with_rows += usize::from(!expected.is_empty());
            let found = run(&plan, &data);
            assert_eq!(
                found.as_ref(),
                Ok(&expected),
                "seed {seed} decorrelated, over {data:?}\n{}",
                shown(&plan)
            );
            let found = run(&optimized, &data);
            assert_eq!(
                found.as_ref(),
                Ok(&expected),
                "seed {seed} optimized, over {data:?}\n{}was\n{}",
                shown(&optimized),
                shown(&plan)
            );
            for (plan, what) in [(&plan, "decorrelated"), (&optimized, "optimized")] {
                check_promises(plan, &expected, &format!("seed {seed} {what}\n{}", shown(plan)));
            }
        }
    }
    assert!(with_rows > 2_000, "only {with_rows} runs have rows");
}

/// Nullability and keys that a plan promises of its rows hold.
fn check_promises(plan: &RelationExpr, rows: &crate::testing::Rows, what: &str) {
    for (i, t) in plan.typ().iter().enumerate() {
        assert!(t.nullable || rows.keys().all(|r| !r.unpack()[i].is_null()), "column {i} has NULLs: {what}");
    }
    for key in plan.keys() {
        let mut seen = BTreeSet::new();
        for (row, diff) in rows {
            let datums = row.unpack();
            let value = Row::pack(key.iter().map(|c| datums[*c]));
            assert!(*diff == 1 && seen.insert(value), "{key:?} is no key: {what}");
        }
    }
}

fn planned(query: HirRelationExpr) -> String {
    shown(&optimize(decorrelate(query).unwrap()))
}

fn lines(lines: &[&str]) -> String {
    lines.iter().map(|l| format!("{l}\n")).collect()
}

#[test]
fn a_query_without_subqueries_comes_out_as_it_is() {
    let query =
        reduce(filter(get(1, 2), eq(col(0), int(1))), &[1], vec![agg("count", col(0), ScalarType::Int64)]);
    let expected = lines(&["Reduce by #1 → count(#0)", "  Filter #0 = 1", "    Get u1"]);
    assert_eq!(shown(&decorrelate(query).unwrap()), expected);
}

#[test]
fn exists_is_a_join_with_distinct_keys_and_not_exists_takes_that_away() {
    let same = || exists(filter(get(2, 2), eq(col(0), outer(1, 1))));
    assert_eq!(
        planned(filter(get(1, 2), same())),
        lines(&[
            "Project #0, #1",
            "  Join on #1 = #2",
            "    Get u1",
            "    Distinct #0",
            "      Project #0",
            "        Filter #0 IS NOT NULL",
            "          Get u2"
        ])
    );
    assert_eq!(
        planned(filter(get(1, 2), call("not", vec![same()], ScalarType::Bool))),
        lines(&[
            "Union",
            "  Get u1",
            "  Project #0, #1",
            "    Negate",
            "      Join on #1 = #2",
            "        Get u1",
            "        Distinct #0",
            "          Project #0",
            "            Filter #0 IS NOT NULL",
            "              Get u2"
        ])
    );
}

/// `#1 [NOT] IN (SELECT #0 FROM u2)`, as SQL means it where both may be NULL.
fn within(negated: bool) -> HirScalarExpr {
    use crate::testing::hir::truth;
    let bool_call = |id, e| call(id, vec![e], ScalarType::Bool);
    let case = |cond, then, els| HirScalarExpr::If {
        cond: Box::new(cond),
        then: Box::new(then),
        els: Box::new(els),
    };
    let unknown = HirScalarExpr::Or(vec![
        HirScalarExpr::And(vec![bool_call("is_null", col(1)), exists(get(2, 1))]),
        exists(filter(get(2, 1), bool_call("is_null", col(0)))),
    ]);
    let found = exists(filter(get(2, 1), eq(col(0), outer(1, 1))));
    let e = case(found, truth(Some(true)), case(unknown, truth(None), truth(Some(false))));
    if negated { bool_call("not", e) } else { e }
}

#[test]
fn in_is_exists_where_only_its_truth_matters() {
    assert_eq!(
        planned(filter(get(1, 2), within(false))),
        lines(&[
            "Project #0, #1",
            "  Join on #1 = #2",
            "    Get u1",
            "    Distinct #0",
            "      Filter #0 IS NOT NULL",
            "        Get u2"
        ])
    );
    let plan = planned(filter(get(1, 2), within(true)));
    assert!(!plan.contains("CASE"), "{plan}");
}

#[test]
fn a_correlated_aggregate_groups_before_it_joins() {
    let max = agg("max", col(1), ScalarType::Int64);
    let query =
        map(get(1, 2), vec![scalar(reduce(filter(get(2, 2), eq(col(0), outer(1, 1))), &[], vec![max]))]);
    assert_eq!(
        planned(query),
        lines(&[
            "With",
            "  l1 =",
            "    Project #0, #1, #3",
            "      Join on #1 = #2",
            "        Get u1",
            "        Reduce by #0 → max(#1)",
            "          Filter #0 IS NOT NULL",
            "            Get u2",
            "Return",
            "  Union",
            "    Get l1",
            "    Map NULL",
            "      Union",
            "        Get u1",
            "        Negate",
            "          Project #0, #1",
            "            Get l1"
        ])
    );
}

#[test]
fn an_aggregate_over_everything_has_a_row_also_over_nothing() {
    let query = reduce(
        get(1, 1),
        &[],
        vec![agg("count", col(0), ScalarType::Int64), agg("max", col(0), ScalarType::Int64)],
    );
    let plan = optimize(decorrelate(query).unwrap());
    let found = run(&plan, &[(GlobalId::User(1), Default::default())].into()).unwrap();
    assert_eq!(found, [(Row::pack([Datum::Int64(0), Datum::Null]), 1)].into());
}

#[test]
fn a_second_row_of_a_scalar_subquery_is_an_error_only_where_the_value_is_wanted() {
    let all = || scalar(project(get(2, 1), &[0]));
    let guarded = HirScalarExpr::If {
        cond: Box::new(eq(col(0), int(1))),
        then: Box::new(int(0)),
        els: Box::new(all()),
    };
    let rows = |values: &[i64]| values.iter().map(|v| (crate::testing::row(&[*v]), 1)).collect();
    let data =
        |one: &[i64], two: &[i64]| [(GlobalId::User(1), rows(one)), (GlobalId::User(2), rows(two))].into();
    let plan = optimize(decorrelate(map(get(1, 1), vec![guarded])).unwrap());
    assert_eq!(run(&plan, &data(&[1], &[5, 6])), Ok([(crate::testing::row(&[1, 0]), 1)].into()));
    assert_eq!(run(&plan, &data(&[2], &[5])), Ok([(crate::testing::row(&[2, 5]), 1)].into()));
    let e = run(&plan, &data(&[2], &[5, 6])).unwrap_err();
    assert_eq!(
        (e.code().as_str(), e.message()),
        ("21000", "more than one row returned by a subquery used as an expression")
    );
}

#[test]
fn an_outer_join_of_equal_columns_looks_for_keys_only() {
    let query = join(get(1, 2), get(2, 2), eq(col(0), col(2)), JoinKind::LeftOuter);
    assert_eq!(
        planned(query),
        lines(&[
            "Union",
            "  Join on #0 = #2",
            "    Get u1",
            "    Get u2",
            "  Project #0, #1, #2, #2",
            "    Map NULL",
            "      Union",
            "        Get u1",
            "        Project #0, #1",
            "          Negate",
            "            Join on #0 = #2",
            "              Get u1",
            "              Distinct #0",
            "                Project #0",
            "                  Get u2"
        ])
    );
}

#[test]
fn bindings_that_use_outer_columns_are_written_out_where_they_are_used() {
    // SELECT (WITH x AS (SELECT u2.#1 FROM u2 WHERE u2.#0 = u1.#0)
    //         SELECT count(*) FROM x WHERE EXISTS (SELECT FROM x AS y WHERE y.#0 = x.#0 + …)) FROM u1
    let id = LocalId(9);
    let local = || HirRelationExpr::LocalGet { id, typ: vec![ScalarType::Int64.nullable(true)] };
    let value = || project(filter(get(2, 2), eq(col(0), outer(1, 0))), &[1]);
    let deeper = || {
        // The same seen from one query further inside.
        project(filter(get(2, 2), eq(col(0), outer(2, 0))), &[1])
    };
    let body = |x: HirRelationExpr, y: HirRelationExpr| {
        let same = exists(filter(y, eq(col(0), outer(1, 0))));
        reduce(filter(x, same), &[], vec![agg("count", col(0), ScalarType::Int64)])
    };
    let bound = HirRelationExpr::Let { id, value: Box::new(value()), body: Box::new(body(local(), local())) };
    let with = map(get(1, 1), vec![scalar(bound)]);
    let without = map(get(1, 1), vec![scalar(body(value(), deeper()))]);
    assert_eq!(decorrelate(with), decorrelate(without));
}

#[test]
fn an_outer_column_without_an_outer_query_is_refused() {
    let e = decorrelate(filter(get(1, 1), eq(col(0), outer(1, 0)))).unwrap_err();
    assert_eq!(e.code.as_str(), "XX000");
}

#[test]
fn a_right_side_that_stays_whole_cannot_be_lateral() {
    let right = filter(get(2, 1), eq(col(0), outer(1, 0)));
    let e = decorrelate(join(get(1, 1), right, eq(col(0), col(1)), JoinKind::FullOuter)).unwrap_err();
    assert_eq!(e.message, "the combining JOIN type must be INNER or LEFT for a LATERAL reference");
}
