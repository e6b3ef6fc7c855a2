//! `INSERT`, `UPDATE`, `DELETE`.

use repr::SqlError;
use sqlparser::ast::{Delete, Insert, Statement as Sql, Update};

use crate::ast::Statement;
use crate::parse::Heads;
use crate::plan::Plan;
use crate::planner::Planner;

/// From the first word.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let insert = p.is("insert");
    let update = p.is("update");
    let token = p.next();
    let statement = if insert {
        p.sql(|p| p.parse_insert(token))?
    } else if update {
        p.sql(|p| p.parse_update(token))?
    } else {
        p.sql(|p| p.parse_delete(token))?
    };
    match statement {
        Sql::Insert(s) => Ok(Statement::Insert(Box::new(s))),
        Sql::Update(s) => Ok(Statement::Update(Box::new(s))),
        Sql::Delete(s) => Ok(Statement::Delete(Box::new(s))),
        _ => Err(p.error("INSERT, UPDATE or DELETE")),
    }
}

pub(crate) fn plan_insert(_planner: &Planner<'_>, _statement: Insert) -> Result<Plan, SqlError> {
    Err(SqlError::internal("not yet"))
}

pub(crate) fn plan_update(_planner: &Planner<'_>, _statement: Update) -> Result<Plan, SqlError> {
    Err(SqlError::internal("not yet"))
}

pub(crate) fn plan_delete(_planner: &Planner<'_>, _statement: Delete) -> Result<Plan, SqlError> {
    Err(SqlError::internal("not yet"))
}
