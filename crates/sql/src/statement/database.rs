//! `CREATE DATABASE, SCHEMA, CLUSTER, ROLE` and `GRANT`: much of it accepted without effect.

use repr::SqlError;
use repr::error::code;
use sqlparser::ast::ObjectName;

use super::names;
use super::source::no_effect;
use crate::parse::Heads;
use crate::plan::{Plan, unsupported};
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Schema {
        name: ObjectName,
        if_not_exists: bool,
    },
    /// Accepted, no effect: its command tag.
    NoOp(&'static str),
}

/// From the kind of object.
pub(crate) fn parse_create(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    if p.word("schema") {
        let if_not_exists = p.if_not_exists();
        let name = p.object_name()?;
        if p.word("authorization") {
            p.ident()?;
        }
        return Ok(Statement::Schema { name, if_not_exists });
    }
    if p.is("database") {
        return Err(unsupported("CREATE DATABASE", "There is one database, materialize. Use CREATE SCHEMA."));
    }
    let tag = if p.word("cluster") { "CREATE CLUSTER" } else { "CREATE ROLE" };
    rest(p);
    Ok(Statement::NoOp(tag))
}

/// From `GRANT`, `REVOKE`, `REASSIGN`.
pub(crate) fn parse_grant(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let tag = match p.one_of(&["grant", "revoke", "reassign"]) {
        Some("grant") => "GRANT",
        Some("revoke") => "REVOKE",
        _ => "REASSIGN OWNED",
    };
    rest(p);
    Ok(Statement::NoOp(tag))
}

/// Whatever else the statement says.
fn rest(p: &mut Heads<'_>) {
    while !p.at_end() {
        p.next();
    }
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    match statement {
        Statement::NoOp(tag) => {
            no_effect(planner, tag);
            Ok(Plan::NoOp(tag))
        }
        Statement::Schema { name, if_not_exists } => {
            let (database, schema) = match names::parts(&name).as_slice() {
                [schema] => (planner.catalog.current_database().to_string(), schema.clone()),
                [database, schema] => (database.clone(), schema.clone()),
                _ => return Err(SqlError::new(code::SYNTAX_ERROR, "improper schema name")),
            };
            if schema.starts_with("pg_") || schema.starts_with("mz_") {
                return Err(SqlError::new(
                    repr::SqlState::new("42939"),
                    format!("unacceptable schema name \"{schema}\""),
                )
                .with_detail("The prefixes \"mz_\" and \"pg_\" are reserved for system schemas."));
            }
            Ok(Plan::CreateSchema { database, schema, if_not_exists })
        }
    }
}
