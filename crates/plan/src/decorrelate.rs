//! From plans that may be correlated to plans that dataflows run.

use repr::SqlError;

use crate::RelationExpr;
use crate::hir::HirRelationExpr;

/// Removes outer columns and subqueries: each subquery becomes a join against the distinct outer keys it uses.
pub fn decorrelate(_query: HirRelationExpr) -> Result<RelationExpr, SqlError> {
    Err(SqlError::internal("not yet"))
}
