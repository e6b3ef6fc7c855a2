//! `ALTER …`.

use repr::error::code;
use repr::{GlobalId, SqlError};
use sqlparser::ast::{Expr, Ident, ObjectName, Spanned};
use sqlparser::tokenizer::Token;

use super::{names, secret, source};
use crate::catalog::{CatalogItem, ItemKind, ObjectName as CatalogName};
use crate::parse::{Heads, fold};
use crate::plan::{Plan, unsupported};
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Secret {
        name: ObjectName,
        if_exists: bool,
        value: secret::Value,
    },
    Rename {
        kind: ItemKind,
        name: ObjectName,
        if_exists: bool,
        to: Change,
    },
    Schema {
        name: ObjectName,
        to: Change,
    },
    Replay {
        sink: ObjectName,
        selection: Option<Box<Expr>>,
    },
    Source {
        name: ObjectName,
        if_exists: bool,
        action: source::Alter,
    },
    /// Accepted, no effect: what is said to have none, and the command tag.
    NoOp(String, &'static str),
}

/// What becomes of a name.
#[derive(Debug)]
pub(crate) enum Change {
    Rename(Ident),
    Schema(Ident),
    Swap(Ident),
}

/// `RENAME TO x`, `SET SCHEMA x`, `SWAP WITH x`.
fn change(p: &mut Heads<'_>) -> Result<Option<Change>, SqlError> {
    Ok(Some(match p.one_of(&["rename to", "set schema", "swap with"]) {
        Some("rename to") => Change::Rename(p.ident()?),
        Some("set schema") => Change::Schema(p.ident()?),
        Some(_) => Change::Swap(p.ident()?),
        None => return Ok(None),
    }))
}

/// The command tag of `ALTER kind`.
fn tag(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::MaterializedView => "ALTER MATERIALIZED VIEW",
        ItemKind::View => "ALTER VIEW",
        ItemKind::Table => "ALTER TABLE",
        ItemKind::Source => "ALTER SOURCE",
        ItemKind::Sink => "ALTER SINK",
        ItemKind::Index => "ALTER INDEX",
        ItemKind::Connection => "ALTER CONNECTION",
        ItemKind::Secret => "ALTER SECRET",
        ItemKind::Type => "ALTER TYPE",
    }
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
        ("sink", ItemKind::Sink),
        ("type", ItemKind::Type),
    ];
    if let Some((_, kind)) = kinds.into_iter().find(|(word, _)| p.word(word)) {
        let if_exists = p.word("if exists");
        let name = p.object_name()?;
        if kind == ItemKind::Sink && p.word("replay errors") {
            let selection = if p.word("where") { Some(Box::new(p.sql(|p| p.parse_expr())?)) } else { None };
            return Ok(Statement::Replay { sink: name, selection });
        }
        if kind == ItemKind::Source
            && let Some(action) = source::parse_alter(p)?
        {
            return Ok(Statement::Source { name, if_exists, action });
        }
        if let Some(to) = change(p)? {
            return Ok(Statement::Rename { kind, name, if_exists, to });
        }
        // Owners, histories and clusters mean nothing here.
        let idle = ["owner to", "set (", "reset (", "set cluster", "set enabled", "enable", "cluster on"];
        let parenthesis = |p: &Heads<'_>| p.nth_is_token(1, &Token::LParen);
        let is_idle = |p: &Heads<'_>| {
            idle.iter().any(|w| match w.strip_suffix(" (") {
                Some(word) => p.is(word) && parenthesis(p),
                None => p.is(w),
            })
        };
        if is_idle(p) && !matches!(kind, ItemKind::Connection | ItemKind::Sink if !p.is("owner to")) {
            let what = p.rest();
            return Ok(Statement::NoOp(format!("{} … {what}", tag(kind)), tag(kind)));
        }
        if kind == ItemKind::Sink {
            return Err(unsupported(
                "this ALTER SINK",
                "ALTER SINK … REPLAY ERRORS [WHERE …] is supported; drop and create the sink.",
            ));
        }
        if kind != ItemKind::Secret {
            return Err(unsupported(
                "this ALTER",
                "RENAME TO, SET SCHEMA, SWAP WITH and OWNER TO are supported; drop and create the object.",
            ));
        }
        return Ok(Statement::Secret { name, if_exists, value: secret::parse_value(p)? });
    }
    if p.word("schema") {
        let name = p.object_name()?;
        return match change(p)? {
            Some(to @ (Change::Rename(_) | Change::Swap(_))) => Ok(Statement::Schema { name, to }),
            _ if p.is("owner to") => {
                Ok(Statement::NoOp(format!("ALTER SCHEMA … {}", p.rest()), "ALTER SCHEMA"))
            }
            _ => Err(p.error("RENAME TO or SWAP WITH")),
        };
    }
    for (word, tag) in [
        ("database", "ALTER DATABASE"),
        ("user", "ALTER ROLE"),
        ("system", "ALTER SYSTEM"),
        ("cluster", "ALTER CLUSTER"),
        ("role", "ALTER ROLE"),
        ("default privileges", "ALTER DEFAULT PRIVILEGES"),
    ] {
        if p.word(word) {
            p.rest();
            return Ok(Statement::NoOp(tag.into(), tag));
        }
    }
    Err(unsupported(
        "this ALTER",
        "ALTER SECRET and ALTER … RENAME TO are supported; drop and create other objects.",
    ))
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    match statement {
        Statement::NoOp(what, tag) => {
            super::source::no_effect(planner, &what);
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
            let own = |item: &CatalogItem| match item.id {
                GlobalId::User(_) => Ok(()),
                _ => {
                    let message = format!("\"{}\" cannot be renamed", item.name.item);
                    Err(planner.error(name.span(), code::INSUFFICIENT_PRIVILEGE, message))
                }
            };
            own(item)?;
            let free = |new: &CatalogName, at: &Ident| match planner.catalog.item(
                &new.database,
                &new.schema,
                &new.item,
            ) {
                None => Ok(()),
                Some(_) => {
                    let message = format!("relation \"{}\" already exists", new.item);
                    Err(planner.error(at.span, code::DUPLICATE_TABLE, message))
                }
            };
            let renames = match &to {
                Change::Rename(to) => {
                    let new = CatalogName { item: fold(to), ..item.name.clone() };
                    free(&new, to)?;
                    vec![(item.id, new)]
                }
                Change::Schema(schema) => {
                    let new = CatalogName { schema: fold(schema), ..item.name.clone() };
                    user_schema(planner, &new.database, schema)?;
                    if new != item.name {
                        free(&new, schema)?;
                    }
                    vec![(item.id, new)]
                }
                Change::Swap(with) => {
                    let of_other = CatalogName { item: fold(with), ..item.name.clone() };
                    let other = planner.catalog.item(&of_other.database, &of_other.schema, &of_other.item);
                    let Some(other) = other.filter(|o| o.kind == kind) else {
                        let message =
                            format!("{} \"{}\" does not exist", names::kind_name(kind), of_other.item);
                        return Err(planner.error(with.span, code::UNDEFINED_OBJECT, message));
                    };
                    own(other)?;
                    vec![(item.id, other.name.clone()), (other.id, item.name.clone())]
                }
            };
            Ok(Plan::Rename { renames, tag: tag(kind).into() })
        }
        Statement::Schema { name, to } => {
            let parts = planner.parts(&name)?;
            let (database, from) = match &parts[..] {
                [schema] => (planner.catalog.current_database().to_string(), schema.clone()),
                [database, schema] => (database.clone(), schema.clone()),
                _ => return Err(SqlError::new(code::SYNTAX_ERROR, "improper schema name")),
            };
            let (Change::Rename(to) | Change::Swap(to), swap) = (&to, matches!(to, Change::Swap(_))) else {
                return Err(SqlError::internal("a schema has no schema"));
            };
            user_schema(
                planner,
                &database,
                &Ident { value: from.clone(), quote_style: Some('"'), span: name.span() },
            )?;
            let new = fold(to);
            let moved = |from: &str, to: &str| {
                let inside = |i: &&CatalogItem| {
                    i.name.database == database && i.name.schema == from && matches!(i.id, GlobalId::User(_))
                };
                let items = planner.catalog.items().values().filter(inside);
                items.map(|i| (i.id, CatalogName { schema: to.into(), ..i.name.clone() })).collect::<Vec<_>>()
            };
            let mut renames = moved(&from, &new);
            if swap {
                user_schema(planner, &database, to)?;
                renames.extend(moved(&new, &from));
                return Ok(Plan::Rename { renames, tag: "ALTER SCHEMA".into() });
            }
            if new.starts_with("pg_") || new.starts_with("mz_") {
                let message = format!("unacceptable schema name \"{new}\"");
                return Err(planner.error(to.span, repr::SqlState::new("42939"), message));
            }
            Ok(Plan::RenameSchema { database, from, to: new, renames })
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

/// The schema must exist, and be the users' own.
fn user_schema(planner: &Planner<'_>, database: &str, schema: &Ident) -> Result<(), SqlError> {
    let name = fold(schema);
    if !planner.catalog.schema_exists(database, &name) {
        let message = format!("schema \"{name}\" does not exist");
        return Err(planner.error(schema.span, code::INVALID_SCHEMA_NAME, message));
    }
    if name.starts_with("pg_") || name.starts_with("mz_") || name == "information_schema" {
        let message = format!("permission denied for schema {name}");
        return Err(planner.error(schema.span, code::INSUFFICIENT_PRIVILEGE, message));
    }
    Ok(())
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
