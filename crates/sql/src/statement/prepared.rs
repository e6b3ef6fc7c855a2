//! `PREPARE`, `EXECUTE`, `DEALLOCATE` (from the first word).

use repr::SqlError;
use sqlparser::ast::{DataType, Expr};
use sqlparser::tokenizer::Token;

use crate::parse::{Heads, fold};
use crate::plan::Plan;
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Prepare { name: String, types: Vec<DataType>, text: String },
    Execute { name: String, arguments: Vec<Expr> },
    Deallocate(Option<String>),
}

pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    if p.word("prepare") {
        let name = fold(&p.ident()?);
        let types = if *p.peek() == Token::LParen { p.parenthesized(|p| p.data_type())? } else { vec![] };
        p.expect("as")?;
        let from = p.here();
        super::parse(p)?;
        return Ok(Statement::Prepare { name, types, text: p.since(from).to_string() });
    }
    if p.word("execute") {
        if p.is("unit test") {
            return Err(crate::plan::unsupported("EXECUTE UNIT TEST", ""));
        }
        let name = fold(&p.ident()?);
        let arguments = if *p.peek() == Token::LParen { p.parenthesized(|p| p.expr())? } else { vec![] };
        return Ok(Statement::Execute { name, arguments });
    }
    p.expect("deallocate")?;
    p.word("prepare");
    Ok(Statement::Deallocate(if p.word("all") { None } else { Some(fold(&p.ident()?)) }))
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    Ok(match statement {
        Statement::Prepare { name, types, text } => {
            let types = types.iter().map(|t| planner.plan_type(t)).collect::<Result<_, _>>()?;
            Plan::Prepare { name, statement: crate::Statement { text, offset: 0 }, types }
        }
        Statement::Execute { name, arguments } => {
            let arguments = arguments.iter().map(|e| planner.plan_constant(e)).collect::<Result<_, _>>()?;
            Plan::Execute { name, arguments }
        }
        Statement::Deallocate(name) => Plan::Deallocate(name),
    })
}
