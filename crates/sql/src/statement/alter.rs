//! `ALTER …`.

use repr::error::code;
use repr::{GlobalId, SqlError};
use sqlparser::ast::{Expr, ObjectName, Spanned};

use super::{names, secret, source};
use crate::catalog::{ItemKind, ObjectName as CatalogName};
use crate::parse::{Heads, fold};
use crate::plan::{Plan, unsupported};
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Secret { name: ObjectName, if_exists: bool, value: secret::Value },
    Rename { kind: ItemKind, name: ObjectName, if_exists: bool, to: sqlparser::ast::Ident },
    Replay { sink: ObjectName, selection: Option<Box<Expr>> },
    Source { name: ObjectName, if_exists: bool, action: source::Alter },
    NoOp(&'static str),
}

/// Behind `ALTER`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let kinds = [
        ("materialized view", ItemKind::MaterializedView),
        ("view", ItemKind::View),
        ("table", ItemKind::Table),
        ("source", ItemKind::Source),
        ("index", ItemKind::Index),
        ("connection", ItemKind::Connection),
        ("secret", ItemKind::Secret),
    ];
    if let Some((_, kind)) = kinds.into_iter().find(|(word, _)| p.word(word)) {
        let if_exists = p.word("if exists");
        let name = p.object_name()?;
        if p.word("rename to") {
            return Ok(Statement::Rename { kind, name, if_exists, to: p.ident()? });
        }
        if kind == ItemKind::Source
            && let Some(action) = source::parse_alter(p)?
        {
            return Ok(Statement::Source { name, if_exists, action });
        }
        if kind != ItemKind::Secret {
            return Err(unsupported(
                "this ALTER",
                "ALTER … RENAME TO and ALTER SOURCE … REPLAY ERRORS or SKIP GAP are supported; drop and create the object.",
            ));
        }
        return Ok(Statement::Secret { name, if_exists, value: secret::parse_value(p)? });
    }
    if p.word("sink") {
        let sink = p.object_name()?;
        if !p.word("replay errors") {
            return Err(unsupported(
                "this ALTER SINK",
                "ALTER SINK … REPLAY ERRORS [WHERE …] is supported; drop and create the sink.",
            ));
        }
        let selection = if p.word("where") { Some(Box::new(p.sql(|p| p.parse_expr())?)) } else { None };
        return Ok(Statement::Replay { sink, selection });
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
    Err(unsupported(
        "this ALTER",
        "ALTER SECRET and ALTER … RENAME TO are supported; drop and create other objects.",
    ))
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    match statement {
        Statement::NoOp(tag) => {
            super::source::no_effect(planner, tag);
            Ok(Plan::NoOp(tag))
        }
        Statement::Replay { sink, selection } => {
            let item = names::existing(planner, &sink, ItemKind::Sink)?;
            let name = CatalogName { item: super::errors::errors_name(&item.name.item), ..item.name.clone() };
            let errors = planner.catalog.item(&name.database, &name.schema, &name.item);
            let errors = errors.ok_or_else(|| SqlError::internal("a sink has no errors relation"))?;
            let letters = super::write::rows_where(planner, errors, selection.as_deref())?;
            Ok(Plan::ReplayErrors { sink: item.id, letters: Box::new(letters) })
        }
        Statement::Rename { kind, name, if_exists, to } => {
            if if_exists && skipped(planner, kind, &name)? {
                return Ok(Plan::NoOp("ALTER"));
            }
            let item = names::existing(planner, &name, kind)?;
            if !matches!(item.id, GlobalId::User(_)) {
                let message = format!("\"{}\" cannot be renamed", item.name.item);
                return Err(planner.error(name.span(), code::INSUFFICIENT_PRIVILEGE, message));
            }
            let new = CatalogName { item: fold(&to), ..item.name.clone() };
            if planner.catalog.item(&new.database, &new.schema, &new.item).is_some() {
                let message = format!("relation \"{}\" already exists", new.item);
                return Err(planner.error(to.span, code::DUPLICATE_TABLE, message));
            }
            Ok(Plan::Rename { id: item.id, to: new })
        }
        Statement::Source { name, if_exists, action } => {
            if if_exists && skipped(planner, ItemKind::Source, &name)? {
                return Ok(Plan::NoOp("ALTER SOURCE"));
            }
            source::plan_alter(planner, names::existing(planner, &name, ItemKind::Source)?, action)
        }
        Statement::Secret { name, if_exists, value } => {
            if if_exists && skipped(planner, ItemKind::Secret, &name)? {
                return Ok(Plan::NoOp("ALTER SECRET"));
            }
            let id = names::existing(planner, &name, ItemKind::Secret)?.id;
            Ok(Plan::AlterSecret { id, value: secret::plan_value(planner, value)? })
        }
    }
}

/// For `IF EXISTS`: whether there is no such object, with a notice.
fn skipped(planner: &Planner<'_>, kind: ItemKind, name: &ObjectName) -> Result<bool, SqlError> {
    if names::find(planner, name)?.is_some() {
        return Ok(false);
    }
    let (kind, shown) = (names::kind_name(kind), names::parts(name).join("."));
    let message = format!("{kind} \"{shown}\" does not exist, skipping");
    planner.notice(SqlError::new(repr::SqlState::new("00000"), message));
    Ok(true)
}
