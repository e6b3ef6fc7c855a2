//! `CREATE SINK …`.

use repr::SqlError;

use crate::parse::Heads;
use crate::plan::Plan;
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {}

pub(crate) fn parse(_p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    Err(crate::plan::unsupported("CREATE SINK", "Follow the view with SUBSCRIBE for now."))
}

pub(crate) fn plan(_planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    match statement {}
}
