//! `EXPLAIN`.

use repr::SqlError;
use sqlparser::tokenizer::Token;

use crate::ast::{Explain, ExplainStage, Explained};
use crate::parse::Heads;
use crate::plan::Plan;
use crate::planner::Planner;

/// Behind `EXPLAIN`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Explain, SqlError> {
    let stage = match p.one_of(&["raw", "decorrelated", "locally optimized", "optimized", "physical"]) {
        Some("raw") => ExplainStage::Raw,
        Some("decorrelated") => ExplainStage::Decorrelated,
        Some("physical") => ExplainStage::Physical,
        _ => ExplainStage::Optimized,
    };
    p.word("analyze");
    p.word("verbose");
    if p.word("plan") {
        p.with_options()?;
    } else if *p.peek() == Token::LParen
        && !p.nth_is(1, "select")
        && !p.nth_is(1, "with")
        && !p.nth_is(1, "values")
    {
        // Postgres' options say nothing that is of use here.
        p.options()?;
    }
    if p.word("as") {
        p.word("verbose");
        if p.word("json") {
            return Err(crate::plan::unsupported("EXPLAIN … AS JSON", "Use AS TEXT."));
        }
        p.expect("text")?;
    }
    let explicit = p.word("for");
    let of = match p.one_of(&["materialized view", "view", "index"]) {
        Some("materialized view") if explicit => Explained::MaterializedView(p.object_name()?),
        Some("view") if explicit => Explained::View(p.object_name()?),
        Some("index") if explicit => Explained::Index(p.object_name()?),
        Some(_) => return Err(p.error("FOR")),
        None if p.word("explain") => return Err(p.error("a statement that has a plan")),
        None => Explained::Statement(Box::new(super::parse(p)?)),
    };
    Ok(Explain { stage, of })
}

pub(crate) fn plan(_planner: &Planner<'_>, _statement: Explain) -> Result<Plan, SqlError> {
    Err(SqlError::internal("not yet"))
}
