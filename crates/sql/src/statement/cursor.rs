//! `DECLARE`, `FETCH`, `CLOSE` (from the first word).

use repr::SqlError;

use super::subscribe;
use crate::ast::{Query, WithOption};
use crate::parse::{Heads, fold};
use crate::plan::{Plan, unsupported};
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Declare { name: String, of: Of },
    Fetch { name: String, count: Option<u64>, with: Vec<WithOption> },
    Close(Option<String>),
}

/// What a cursor is over.
#[derive(Debug)]
pub(crate) enum Of {
    Query(Box<Query>),
    Subscribe(subscribe::Statement),
}

pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    if p.word("declare") {
        let name = fold(&p.ident()?);
        for word in ["binary", "insensitive", "asensitive", "no scroll"] {
            p.word(word);
        }
        if p.is("scroll") {
            return Err(unsupported("a cursor that scrolls", "Use NO SCROLL."));
        }
        p.expect("cursor")?;
        if p.word("with hold") {
            return Err(unsupported("WITH HOLD", "Fetch within the transaction."));
        }
        p.word("without hold");
        p.expect("for")?;
        let of = if p.word("subscribe") || p.word("tail") {
            Of::Subscribe(subscribe::parse(p)?)
        } else {
            Of::Query(Box::new(p.query()?))
        };
        return Ok(Statement::Declare { name, of });
    }
    if p.word("fetch") {
        let mut count = Some(1);
        if p.word("forward all") || p.word("all") {
            count = None;
        } else {
            let forward = p.word("forward") || p.word("next");
            if let Some(word) = p.one_of(&["backward", "prior", "first", "last", "absolute", "relative"]) {
                return Err(unsupported(
                    &format!("FETCH {}", word.to_uppercase()),
                    "Cursors only go forward.",
                ));
            }
            if let sqlparser::tokenizer::Token::Number(..) = p.peek() {
                let number = p.number()?;
                count = Some(number.parse().map_err(|_| p.error("a number of rows"))?);
            } else if forward && p.word("all") {
                count = None;
            }
        }
        if !p.word("from") {
            p.word("in");
        }
        let name = fold(&p.ident()?);
        return Ok(Statement::Fetch { name, count, with: p.with_options()? });
    }
    p.expect("close")?;
    Ok(Statement::Close(if p.word("all") { None } else { Some(fold(&p.ident()?)) }))
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    match statement {
        Statement::Declare { name, of } => {
            let query = match of {
                Of::Query(query) => Plan::Select(planner.plan_select(&query)?),
                Of::Subscribe(subscribe) => subscribe::plan(planner, subscribe)?,
            };
            let desc = match &query {
                Plan::Select(select) => select.desc.clone(),
                Plan::Subscribe(subscribe) => subscribe.desc.clone(),
                _ => return Err(SqlError::internal("a cursor is over a query")),
            };
            Ok(Plan::Declare { name, query: Box::new(query), desc })
        }
        Statement::Fetch { name, count, with } => {
            let mut timeout = None;
            for option in &with {
                match option.name.as_str() {
                    "TIMEOUT" => timeout = Some(super::source::interval(option)?),
                    _ => return Err(super::connection::unknown_option(option)),
                }
            }
            Ok(Plan::Fetch { name, count, timeout })
        }
        Statement::Close(name) => Ok(Plan::Close(name)),
    }
}
