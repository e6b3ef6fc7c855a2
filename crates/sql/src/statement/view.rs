//! `CREATE VIEW` and `CREATE MATERIALIZED VIEW`.

use repr::SqlError;

use super::CreateModifiers;
use crate::ast::CreateView;
use crate::parse::Heads;
use crate::plan::Plan;
use crate::planner::Planner;

/// Behind `VIEW`.
pub(crate) fn parse(
    p: &mut Heads<'_>,
    modifiers: CreateModifiers,
    materialized: bool,
) -> Result<CreateView, SqlError> {
    let if_not_exists = p.if_not_exists();
    let name = p.object_name()?;
    let columns = if *p.peek() == sqlparser::tokenizer::Token::LParen {
        p.parenthesized(|p| p.ident())?
    } else {
        vec![]
    };
    let cluster = if p.word("in cluster") { Some(p.ident()?) } else { None };
    let options = p.with_options()?;
    p.expect("as")?;
    let query = p.query()?;
    Ok(CreateView {
        name,
        columns,
        replace: modifiers.replace,
        temporary: modifiers.temporary,
        if_not_exists,
        materialized,
        cluster,
        options,
        query,
    })
}

pub(crate) fn plan(_planner: &Planner<'_>, _statement: CreateView) -> Result<Plan, SqlError> {
    Err(SqlError::internal("not yet"))
}
