//! `DROP …` of objects, schemas and what has no effect here.

use std::collections::BTreeSet;

use repr::error::code;
use repr::{GlobalId, SqlError, SqlState};
use sqlparser::ast::Spanned;

use super::names::kind_name;
use crate::ast::{DropObjects, Statement};
use crate::catalog::{CatalogItem, ItemKind};
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
    if p.word("owned by") {
        while !p.at_end() {
            p.next();
        }
        return Ok(Statement::NoOp("DROP OWNED"));
    }
    if p.word("cluster replica") {
        p.word("if exists");
        p.comma_separated(|p| p.object_name())?;
        return Ok(Statement::NoOp("DROP CLUSTER REPLICA"));
    }
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

pub(crate) fn plan(planner: &Planner<'_>, s: DropObjects) -> Result<Plan, SqlError> {
    let kind = match s.kind {
        "TABLE" => ItemKind::Table,
        "VIEW" => ItemKind::View,
        "MATERIALIZED VIEW" => ItemKind::MaterializedView,
        "INDEX" => ItemKind::Index,
        "SOURCE" => ItemKind::Source,
        "SINK" => ItemKind::Sink,
        "CONNECTION" => ItemKind::Connection,
        "SECRET" => ItemKind::Secret,
        "TYPE" => ItemKind::Type,
        "SCHEMA" => return plan_schema(planner, s),
        "DATABASE" => {
            let instead = "There is one database; drop its schemas.";
            return Err(planner.unsupported(s.names[0].span(), "DROP DATABASE", instead));
        }
        other => {
            planner.no_effect(&format!("DROP {other}"));
            return Ok(Plan::NoOp(if other == "CLUSTER" { "DROP CLUSTER" } else { "DROP ROLE" }));
        }
    };
    let what = kind_name(kind);
    let mut roots = vec![];
    for name in &s.names {
        let Some(item) = planner.find(name)? else {
            if s.if_exists {
                let shown = planner.parts(name)?.join(".");
                let message = format!("{what} \"{shown}\" does not exist, skipping");
                planner.notice(SqlError::new(SqlState::new("00000"), message));
                continue;
            }
            return Err(planner.unknown_object(name, what));
        };
        if item.kind != kind {
            let message = format!("\"{}\" is not a {what}", item.name.item);
            let error = planner.error(name.span(), code::WRONG_OBJECT_TYPE, message);
            let actual = kind_name(item.kind);
            return Err(error.with_hint(format!("Use DROP {} to remove a {actual}.", actual.to_uppercase())));
        }
        if matches!(item.id, GlobalId::System(_)) {
            let message = format!(
                "cannot drop {what} {} because it is required by the database system",
                item.name.item
            );
            return Err(planner.error(name.span(), code::INSUFFICIENT_PRIVILEGE, message));
        }
        roots.push(item);
    }
    if !s.cascade {
        for item in &roots {
            let others = dependants(planner, &[item.id]);
            let rest = |i: &&CatalogItem| holds(i) && !roots.iter().any(|r| r.id == i.id);
            if others.iter().any(&rest) {
                return Err(in_use(item, what, others.into_iter().filter(|i| rest(i)).collect()));
            }
        }
    }
    let ids: Vec<GlobalId> = roots.iter().map(|i| i.id).collect();
    Ok(Plan::Drop { ids: in_order(planner, &ids), kind: s.kind })
}

fn plan_schema(planner: &Planner<'_>, s: DropObjects) -> Result<Plan, SqlError> {
    let [name] = &s.names[..] else {
        return Err(planner.unsupported(
            s.names[1].span(),
            "dropping several schemas at once",
            "Use a DROP for each.",
        ));
    };
    let parts = planner.parts(name)?;
    let (database, schema) = match &parts[..] {
        [schema] => (planner.catalog.current_database().to_string(), schema.clone()),
        [database, schema] => (database.clone(), schema.clone()),
        _ => {
            return Err(planner.error(
                name.span(),
                code::SYNTAX_ERROR,
                "a schema's name has at most two parts",
            ));
        }
    };
    if !planner.catalog.schema_exists(&database, &schema) {
        let message = format!("schema \"{schema}\" does not exist");
        if s.if_exists {
            planner.notice(SqlError::new(SqlState::new("00000"), format!("{message}, skipping")));
            return Ok(Plan::Drop { ids: vec![], kind: "SCHEMA" });
        }
        return Err(planner.error(name.span(), code::INVALID_SCHEMA_NAME, message));
    }
    if schema.starts_with("pg_") || schema.starts_with("mz_") || schema == "information_schema" {
        let message = format!("cannot drop schema {schema} because it is required by the database system");
        return Err(planner.error(name.span(), code::INSUFFICIENT_PRIVILEGE, message));
    }
    let inside: Vec<GlobalId> = planner
        .catalog
        .items()
        .values()
        .filter(|i| {
            i.name.database == database && i.name.schema == schema && matches!(i.id, GlobalId::User(_))
        })
        .map(|i| i.id)
        .collect();
    if !s.cascade && !inside.is_empty() {
        let message = format!("cannot drop schema {schema} because other objects depend on it");
        let items = inside.iter().filter_map(|id| planner.catalog.item_by_id(*id));
        let lines: Vec<String> = items
            .map(|i| format!("{} {} depends on schema {schema}", kind_name(i.kind), i.name.item))
            .collect();
        return Err(planner
            .error(name.span(), code::DEPENDENT_OBJECTS_STILL_EXIST, message)
            .with_detail(lines.join("\n"))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    Ok(Plan::DropSchema { database, schema, ids: in_order(planner, &inside) })
}

/// Everything that uses one of these, directly or not, in the order of identities.
fn dependants<'a>(planner: &Planner<'a>, of: &[GlobalId]) -> Vec<&'a CatalogItem> {
    let mut found: BTreeSet<GlobalId> = of.iter().copied().collect();
    // An object is made after what it uses, but OR REPLACE may have changed that: repeat until nothing is new.
    loop {
        let before = found.len();
        for item in planner.catalog.items().values() {
            if item.uses.iter().any(|u| found.contains(u)) {
                found.insert(item.id);
            }
        }
        if found.len() == before {
            break;
        }
    }
    // What belongs to another object goes with it.
    let others = found.iter().filter(|id| !of.contains(id) && matches!(id, GlobalId::User(_)));
    others.filter_map(|id| planner.catalog.item_by_id(*id)).collect()
}

/// These and all that depends on them, dependants first.
fn in_order(planner: &Planner<'_>, roots: &[GlobalId]) -> Vec<GlobalId> {
    let mut rest: BTreeSet<GlobalId> = roots.iter().copied().collect();
    rest.extend(dependants(planner, roots).iter().map(|i| i.id));
    let mut out = vec![];
    while !rest.is_empty() {
        let used: BTreeSet<GlobalId> = rest
            .iter()
            .filter_map(|id| planner.catalog.item_by_id(*id))
            .flat_map(|i| i.uses.iter().copied().filter(|u| *u != i.id))
            .collect();
        // What nothing left uses goes now; the newest first.
        let now: Vec<GlobalId> = rest.iter().rev().copied().filter(|id| !used.contains(id)).collect();
        if now.is_empty() {
            out.extend(rest.iter().rev());
            break;
        }
        now.iter().for_each(|id| drop_one(&mut rest, &mut out, *id));
    }
    out
}

fn drop_one(rest: &mut BTreeSet<GlobalId>, out: &mut Vec<GlobalId>, id: GlobalId) {
    rest.remove(&id);
    out.push(id);
}

/// Whether a dependant must be named to be dropped: not an index, and not what comes and goes with its object by itself
/// (`<source>_progress`).
fn holds(item: &CatalogItem) -> bool {
    item.kind != ItemKind::Index && matches!(item.id, GlobalId::User(_))
}

/// Nothing but indexes may depend on the object.
pub(crate) fn refuse_dependants(
    planner: &Planner<'_>,
    item: &CatalogItem,
    what: &str,
) -> Result<(), SqlError> {
    let others: Vec<_> = dependants(planner, &[item.id]).into_iter().filter(|i| holds(i)).collect();
    if others.is_empty() { Ok(()) } else { Err(in_use(item, what, others)) }
}

fn in_use(item: &CatalogItem, what: &str, others: Vec<&CatalogItem>) -> SqlError {
    let message = format!("cannot drop {what} {} because other objects depend on it", item.name.item);
    let lines: Vec<String> = others
        .iter()
        .map(|i| format!("{} {} depends on {what} {}", kind_name(i.kind), i.name.item, item.name.item))
        .collect();
    SqlError::new(code::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .with_detail(lines.join("\n"))
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
}
