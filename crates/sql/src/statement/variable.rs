//! `SET`, `RESET`, `DISCARD` (from the first word).

use repr::SqlError;
use sqlparser::tokenizer::Token;

use crate::parse::{Heads, fold};
use crate::plan::Plan;
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Set {
        name: String,
        value: Option<String>,
        local: bool,
    },
    /// `SET TRANSACTION …`.
    Transaction,
    Discard,
}

pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    if p.word("discard") {
        if p.one_of(&["all", "plans", "sequences", "temporary", "temp"]).is_none() {
            return Err(p.error("ALL"));
        }
        return Ok(Statement::Discard);
    }
    if p.word("reset") {
        let name = name(p)?;
        return Ok(Statement::Set { name, value: None, local: false });
    }
    p.expect("set")?;
    if p.word("transaction") || p.word("session characteristics as transaction") {
        super::transaction::modes(p)?;
        return Ok(Statement::Transaction);
    }
    let local = p.word("local");
    if !local {
        p.word("session");
    }
    if p.word("time zone") {
        let value = value(p)?;
        return Ok(Statement::Set { name: "timezone".into(), value, local });
    }
    if p.word("names") {
        let value = value(p)?;
        return Ok(Statement::Set { name: "client_encoding".into(), value, local });
    }
    if p.word("schema") {
        let value = value(p)?;
        return Ok(Statement::Set { name: "search_path".into(), value, local });
    }
    let name = name(p)?;
    if !p.token(&Token::Eq) {
        p.expect("to")?;
    }
    let value = value(p)?;
    Ok(Statement::Set { name, value, local })
}

fn name(p: &mut Heads<'_>) -> Result<String, SqlError> {
    let mut name = fold(&p.ident()?);
    while p.token(&Token::Period) {
        name = format!("{name}.{}", fold(&p.ident()?));
    }
    Ok(name)
}

/// Words, strings and numbers with commas between, as one text; none for DEFAULT.
fn value(p: &mut Heads<'_>) -> Result<Option<String>, SqlError> {
    if p.word("default") {
        return Ok(None);
    }
    let parts = p.comma_separated(|p| match p.peek() {
        Token::Word(_) => Ok(fold(&p.ident()?)),
        Token::Number(..) | Token::Minus => p.number(),
        _ => p.string(),
    })?;
    Ok(Some(parts.join(", ")))
}

pub(crate) fn plan(_planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    Ok(match statement {
        Statement::Set { name, value, local } => Plan::SetVariable { name, value, local },
        Statement::Transaction => Plan::NoOp("SET"),
        Statement::Discard => Plan::Discard,
    })
}
