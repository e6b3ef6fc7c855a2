//! `BEGIN`, `START TRANSACTION`, `COMMIT`, `END`, `ROLLBACK`, `ABORT` (from the first word).

use repr::SqlError;

use crate::parse::Heads;
use crate::plan::Plan;
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {}

pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    Err(p.error("a supported statement"))
}

pub(crate) fn plan(_planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    match statement {}
}
