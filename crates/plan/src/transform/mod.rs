//! The optimizer: small named passes.
//!
//! ```text
//!   bindings   all bindings at the top; what is used once or costs nothing is written out; equal parts are bound
//!   fold       constants are computed, what cannot have rows goes, nested operators of a kind become one
//!   chain      Map, Filter and Project over each other become Filter, Map, Project
//!   pushdown   conditions go down, through joins to every side that they can be said of; equalities make join keys
//!   join       nested joins become one, classes of equal expressions are merged, then (at the end) ordered
//!   window     few row numbers need few rows
//!   demand     columns that nobody reads go
//!   reduce     DISTINCT, thresholds and limits that change nothing go
//!   union      branches that cancel each other go
//! ```
//!
//! The passes are repeated until nothing changes, ten times at most.
//!
//! **What a pass may do.** The rows stay the same multiset. Errors may get fewer (a row that a condition drops, a column
//! that nobody reads, a side of a join that has no partner), never more; but as in Postgres a condition on one side of a
//! join is tried before the join, so it may fail for a row that would have had no partner.

mod bindings;
mod chain;
mod demand;
mod fold;
mod join;
mod pushdown;
mod reduce;
mod union;
mod window;

use std::collections::BTreeMap;

use repr::GlobalId;

use crate::RelationExpr;

/// A pass that changes a plan in place.
type Pass = fn(&mut RelationExpr);

/// The passes of a round, in order.
const PASSES: &[(&str, Pass)] = &[
    ("bindings", bindings::run),
    ("fold", fold::run),
    ("chain", chain::run),
    ("pushdown", pushdown::run),
    ("join", join::run),
    ("union", union::run),
    ("reduce", reduce::run),
    ("window", window::run),
    ("demand", demand::run),
];

/// Plans settle after three or four rounds; a pair of passes that undo each other's work is cut off here.
const MAX_ROUNDS: usize = 10;

/// Runs all passes. The result has the same columns.
///
/// What is below a [`RelationExpr::Catch`] is optimized alone: a condition or a binding that crossed it would take its
/// errors along.
pub fn optimize(mut plan: RelationExpr) -> RelationExpr {
    let mut caught = BTreeMap::new();
    take_caught(&mut plan, &mut caught);
    let mut plan = optimize_one(plan);
    if !caught.is_empty() {
        plan.visit_pre_mut(&mut |e| {
            if let RelationExpr::Get { id, .. } = e
                && let Some(catch) = caught.get(id)
            {
                *e = catch.clone();
            }
        });
    }
    plan
}

/// Puts a name in the place of each `Catch`, whose input is optimized.
fn take_caught(plan: &mut RelationExpr, caught: &mut BTreeMap<GlobalId, RelationExpr>) {
    if let RelationExpr::Catch { input, side } = plan {
        let typ = side.typ(|| input.typ());
        let catch = optimize(input.take()).catch(*side);
        let known = caught.iter().find(|(_, c)| **c == catch).map(|(id, _)| *id);
        let id = known.unwrap_or(GlobalId::Transient(CAUGHT + caught.len() as u64));
        caught.insert(id, catch);
        *plan = RelationExpr::Get { id, typ };
        return;
    }
    plan.for_each_child_mut(&mut |child| take_caught(child, caught));
}

/// The first of the names that stand for caught parts while the rest is optimized: far from those of queries.
const CAUGHT: u64 = 1 << 61;

fn optimize_one(mut plan: RelationExpr) -> RelationExpr {
    for _ in 0..MAX_ROUNDS {
        let before = plan.clone();
        for (_, pass) in PASSES {
            pass(&mut plan);
        }
        if plan == before {
            break;
        }
    }
    bindings::share(&mut plan);
    join::order(&mut plan);
    fold::run(&mut plan);
    chain::run(&mut plan);
    bindings::run(&mut plan);
    plan
}

/// Runs the pass of this name, as listed above, over a plan (for EXPLAIN and tests); false: there is none.
pub fn run_pass(name: &str, plan: &mut RelationExpr) -> bool {
    match PASSES.iter().find(|p| p.0 == name) {
        Some((_, pass)) => {
            pass(plan);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests;
