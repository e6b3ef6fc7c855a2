//! Any query gives the same rows before and after decorrelation and optimization; some plans to look at.

use repr::GlobalId;

use super::*;
use crate::testing::hir::*;
use crate::testing::{Data, Dice, run, run_hir, shown};
use crate::transform::optimize;

#[test]
fn random_queries_give_the_same_rows_decorrelated_and_optimized() {
    for seed in 0..3_000 {
        let mut dice = Dice::new(seed);
        let query = dice.query(&[], 1 + (seed % 4) as usize);
        let plan = decorrelate(query.clone()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let optimized = optimize(plan.clone());
        for _ in 0..2 {
            let data: Data = (1..=3).map(|id| (GlobalId::User(id), dice.rows(2, 4))).collect();
            // An error that a later condition would have hidden may come or not; these queries have none.
            let Ok(expected) = run_hir(&query, &data, &[]) else { continue };
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
