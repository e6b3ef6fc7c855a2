//! Relational and scalar plans, functions, evaluation, rewrites, EXPLAIN.
//!
//! ```text
//!   sql ──► hir (typed, may be correlated) ──► decorrelate ──► relation ──► transform ──► dataflow, or one-off evaluation
//! ```
//!
//! | module | is the only home of |
//! |---|---|
//! | [`func`] | the one table of functions, operators, casts and aggregates, with their implementations |
//! | [`scalar`] | scalar expressions and the one evaluator |
//! | [`relation`] | relational expressions, as dataflows run them |
//! | [`hir`] | relational expressions as SQL means them: with outer columns and subqueries |
//! | [`decorrelate`] | hir → relation |
//! | [`mfp`] | map, filter and project fused into one pass over a row |
//! | [`transform`] | the optimizer's passes |
//! | [`explain`] | plans as text |
//! | `walk`, `known` | looking into scalar expressions; the functions that planning itself recognises |

pub mod decorrelate;
pub mod explain;
pub mod func;
pub mod hir;
mod known;
pub mod mfp;
pub mod relation;
pub mod scalar;
#[cfg(test)]
mod testing;
pub mod transform;
mod walk;

pub use relation::{AggregateExpr, ColumnOrder, LocalId, RelationExpr, Side};
pub use scalar::ScalarExpr;
