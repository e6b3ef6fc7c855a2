//! `COMMENT ON …`.

use repr::SqlError;
use repr::error::code;
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use super::names;
use crate::parse::{Heads, fold};
use crate::plan::Plan;
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Object {
        name: ObjectName,
        text: Option<String>,
    },
    Column {
        object: ObjectName,
        column: Ident,
        text: Option<String>,
    },
    /// On something that has no comments here.
    NoOp,
}

/// Behind `COMMENT ON`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let kinds = [
        "materialized view",
        "view",
        "table",
        "source",
        "sink",
        "index",
        "connection",
        "secret",
        "column",
        "schema",
        "database",
        "cluster",
        "role",
        "type",
        "network policy",
        "cluster replica",
    ];
    let Some(kind) = p.one_of(&kinds) else { return Err(p.error("the kind of object")) };
    let mut name = p.object_name()?;
    p.expect("is")?;
    let text = if p.word("null") { None } else { Some(p.string()?) };
    match kind {
        "schema" | "database" | "cluster" | "role" | "network policy" | "cluster replica" => {
            Ok(Statement::NoOp)
        }
        "column" => match name.0.pop() {
            Some(ObjectNamePart::Identifier(column)) if !name.0.is_empty() => {
                Ok(Statement::Column { object: name, column, text })
            }
            _ => Err(SqlError::new(code::SYNTAX_ERROR, "column name must be qualified")),
        },
        _ => Ok(Statement::Object { name, text }),
    }
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    let find = |name: &ObjectName| {
        names::find(planner, name)?.ok_or_else(|| {
            let shown = names::parts(name).join(".");
            SqlError::new(code::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"))
        })
    };
    match statement {
        Statement::NoOp => {
            super::source::no_effect(planner, "COMMENT ON this kind of object");
            Ok(Plan::NoOp("COMMENT"))
        }
        Statement::Object { name, text } => Ok(Plan::Comment { id: find(&name)?.id, column: None, text }),
        Statement::Column { object, column, text } => {
            let item = find(&object)?;
            let name = fold(&column);
            let position = item.desc.as_ref().and_then(|d| d.columns.iter().position(|c| c.name == name));
            let position = position.ok_or_else(|| {
                SqlError::new(
                    code::UNDEFINED_COLUMN,
                    format!("column \"{name}\" of relation \"{}\" does not exist", item.name.item),
                )
            })?;
            Ok(Plan::Comment { id: item.id, column: Some(position), text })
        }
    }
}
