//! The optimizer: small named passes.

use crate::RelationExpr;

/// Runs all passes.
pub fn optimize(plan: RelationExpr) -> RelationExpr {
    plan
}
