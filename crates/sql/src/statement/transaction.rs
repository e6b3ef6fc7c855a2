//! `BEGIN`, `START TRANSACTION`, `COMMIT`, `END`, `ROLLBACK`, `ABORT`, `SAVEPOINT`, `RELEASE` (from the first word).

use repr::SqlError;

use crate::parse::{Heads, fold};
use crate::plan::{Plan, unsupported};
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Begin,
    Commit,
    Rollback,
    Savepoint(String),
    RollbackTo(String),
    Release(String),
}

pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    if p.word("savepoint") {
        return Ok(Statement::Savepoint(fold(&p.ident()?)));
    }
    if p.word("release") {
        p.word("savepoint");
        return Ok(Statement::Release(fold(&p.ident()?)));
    }
    if p.word("begin") || p.word("start transaction") {
        let _ = p.word("work") || p.word("transaction");
        modes(p)?;
        return Ok(Statement::Begin);
    }
    let commit = p.word("commit") || p.word("end");
    if !commit && !p.word("rollback") {
        p.expect("abort")?;
    }
    if p.is("prepared") {
        return Err(unsupported("two-phase commit", ""));
    }
    let _ = p.word("work") || p.word("transaction");
    if !commit && p.word("to") {
        p.word("savepoint");
        return Ok(Statement::RollbackTo(fold(&p.ident()?)));
    }
    if p.word("and") {
        let no = p.word("no");
        p.expect("chain")?;
        if !no {
            return Err(unsupported("AND CHAIN", "Begin the next transaction with BEGIN."));
        }
    }
    Ok(if commit { Statement::Commit } else { Statement::Rollback })
}

/// Isolation and access modes: reads are strictly serializable whatever is asked for, which is never less.
pub(super) fn modes(p: &mut Heads<'_>) -> Result<(), SqlError> {
    loop {
        if p.word("isolation level") {
            let levels = [
                "strict serializable",
                "serializable",
                "repeatable read",
                "read committed",
                "read uncommitted",
            ];
            if p.one_of(&levels).is_none() {
                return Err(p.error("an isolation level"));
            }
        } else if p.one_of(&["read only", "read write", "not deferrable", "deferrable"]).is_none() {
            return Ok(());
        }
        p.token(&sqlparser::tokenizer::Token::Comma);
    }
}

pub(crate) fn plan(_planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    Ok(match statement {
        Statement::Begin => Plan::Begin,
        Statement::Commit => Plan::Commit,
        Statement::Rollback => Plan::Rollback,
        Statement::Savepoint(name) => Plan::Savepoint(name),
        Statement::RollbackTo(name) => Plan::RollbackTo(name),
        Statement::Release(name) => Plan::Release(name),
    })
}
