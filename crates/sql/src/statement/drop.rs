//! `DROP …` of objects, schemas and what has no effect here.

use repr::SqlError;

use crate::ast::{DropObjects, Statement};
use crate::parse::Heads;
use crate::plan::Plan;
use crate::planner::Planner;

/// The kinds, as written and as in the command tag.
const KINDS: [(&str, &str); 14] = [
    ("materialized view", "MATERIALIZED VIEW"),
    ("view", "VIEW"),
    ("table", "TABLE"),
    ("index", "INDEX"),
    ("source", "SOURCE"),
    ("sink", "SINK"),
    ("connection", "CONNECTION"),
    ("secret", "SECRET"),
    ("schema", "SCHEMA"),
    ("database", "DATABASE"),
    ("cluster", "CLUSTER"),
    ("role", "ROLE"),
    ("user", "ROLE"),
    ("type", "TYPE"),
];

/// Behind `DROP`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let Some((_, kind)) = KINDS.iter().find(|(word, _)| p.word(word)) else {
        return Err(p.error("the kind of object to drop"));
    };
    let if_exists = p.word("if exists");
    let names = p.comma_separated(|p| p.object_name())?;
    let cascade = p.word("cascade");
    if !cascade {
        p.word("restrict");
    }
    Ok(Statement::Drop(DropObjects { kind, if_exists, names, cascade }))
}

pub(crate) fn plan(_planner: &Planner<'_>, _statement: DropObjects) -> Result<Plan, SqlError> {
    Err(SqlError::internal("not yet"))
}
