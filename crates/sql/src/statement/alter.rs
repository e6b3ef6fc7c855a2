//! `ALTER …`.

use repr::SqlError;
use sqlparser::ast::ObjectName;

use super::{names, secret};
use crate::catalog::ItemKind;
use crate::parse::Heads;
use crate::plan::{Plan, unsupported};
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Secret { name: ObjectName, if_exists: bool, value: secret::Value },
    NoOp(&'static str),
}

/// Behind `ALTER`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    if p.word("secret") {
        let if_exists = p.word("if exists");
        let name = p.object_name()?;
        return Ok(Statement::Secret { name, if_exists, value: secret::parse_value(p)? });
    }
    for (word, tag) in [
        ("system", "ALTER SYSTEM"),
        ("cluster", "ALTER CLUSTER"),
        ("role", "ALTER ROLE"),
        ("default privileges", "ALTER DEFAULT PRIVILEGES"),
    ] {
        if p.word(word) {
            while !p.at_end() {
                p.next();
            }
            return Ok(Statement::NoOp(tag));
        }
    }
    Err(unsupported("this ALTER", "ALTER SECRET is supported; drop and create other objects."))
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    match statement {
        Statement::NoOp(tag) => {
            super::source::no_effect(planner, tag);
            Ok(Plan::NoOp(tag))
        }
        Statement::Secret { name, if_exists, value } => {
            if if_exists && names::find(planner, &name)?.is_none() {
                let shown = names::parts(&name).join(".");
                planner.notice(SqlError::new(
                    repr::SqlState::new("00000"),
                    format!("secret \"{shown}\" does not exist, skipping"),
                ));
                return Ok(Plan::NoOp("ALTER SECRET"));
            }
            let id = names::existing(planner, &name, ItemKind::Secret)?.id;
            Ok(Plan::AlterSecret { id, value: secret::plan_value(planner, value)? })
        }
    }
}
