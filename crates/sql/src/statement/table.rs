//! `CREATE TABLE`.

use repr::SqlError;
use sqlparser::tokenizer::Token;

use super::CreateModifiers;
use crate::ast::CreateTable;
use crate::parse::Heads;
use crate::plan::Plan;
use crate::planner::Planner;

/// Behind `TABLE`.
pub(crate) fn parse(p: &mut Heads<'_>, modifiers: CreateModifiers) -> Result<CreateTable, SqlError> {
    let if_not_exists = p.if_not_exists();
    let name = p.object_name()?;
    let from = p.here();
    let mut columns = vec![];
    let mut query = None;
    if p.word("as") {
        query = Some(p.query()?);
    } else {
        if *p.peek() != Token::LParen {
            return Err(p.error("\"(\""));
        }
        let (cols, constraints) = p.sql(|p| p.parse_columns())?;
        if !constraints.is_empty() {
            return Err(crate::plan::unsupported(
                "a constraint of a table",
                "NOT NULL of a column is supported.",
            ));
        }
        columns = cols;
    }
    let to = p.behind();
    let options = p.with_options()?;
    Ok(CreateTable { name, columns, temporary: modifiers.temporary, if_not_exists, options, query, from, to })
}

pub(crate) fn plan(_planner: &Planner<'_>, _statement: CreateTable) -> Result<Plan, SqlError> {
    Err(SqlError::internal("not yet"))
}
