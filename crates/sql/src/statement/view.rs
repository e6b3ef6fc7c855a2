//! `CREATE VIEW` and `CREATE MATERIALIZED VIEW`.

use plan::func::ids;
use plan::hir::HirRelationExpr;
use repr::error::code;
use repr::{Datum, GlobalId, RelationDesc, ScalarType, SqlError, SqlState};
use sqlparser::ast::Spanned;
use sqlparser::tokenizer::{Location, Span};

use super::names::kind_name;
use super::{CreateModifiers, errors};
use crate::ast::{CreateView, OptionValue};
use crate::catalog::{ItemKind, ObjectName};
use crate::hirs;
use crate::parse::{Heads, fold, quote};
use crate::plan::{CreateItem, CreatePlan, OnError, Plan};
use crate::planner::{Planner, full_name};

/// Behind `VIEW`.
pub(crate) fn parse(
    p: &mut Heads<'_>,
    modifiers: CreateModifiers,
    materialized: bool,
) -> Result<CreateView, SqlError> {
    let if_not_exists = p.if_not_exists();
    let name = p.object_name()?;
    let columns = if *p.peek() == sqlparser::tokenizer::Token::LParen {
        p.parenthesized(|p| p.ident())?
    } else {
        vec![]
    };
    let cluster = if p.word("in cluster") { Some(p.ident()?) } else { None };
    let options = p.with_options()?;
    p.expect("as")?;
    let query = p.query()?;
    Ok(CreateView {
        name,
        columns,
        replace: modifiers.replace,
        temporary: modifiers.temporary,
        if_not_exists,
        materialized,
        cluster,
        options,
        query,
    })
}

pub(crate) fn plan(planner: &Planner<'_>, s: CreateView) -> Result<Plan, SqlError> {
    planner.forbid_parameters();
    if s.materialized && s.temporary {
        let instead = "Use CREATE TEMPORARY VIEW or CREATE MATERIALIZED VIEW.";
        return Err(planner.unsupported(s.name.span(), "a temporary materialized view", instead));
    }
    let name = planner.new_name(&s.name, s.temporary)?;
    let kind = if s.materialized { ItemKind::MaterializedView } else { ItemKind::View };
    let replace = if s.replace { replaced(planner, &s, &name, kind)? } else { None };
    if s.cluster.is_some() {
        planner.no_effect("IN CLUSTER");
    }
    let options = options(planner, &s)?;
    let (mut hir, mut desc) = planner.plan_view_query(&s.query)?;
    if s.columns.len() > desc.arity() {
        let what = if s.materialized { "CREATE MATERIALIZED VIEW" } else { "CREATE VIEW" };
        let message = format!("{what} specifies more column names than columns");
        return Err(planner.error(s.columns[desc.arity()].span, code::SYNTAX_ERROR, message));
    }
    for (column, new) in desc.columns.iter_mut().zip(&s.columns) {
        column.name = fold(new);
    }
    for (i, column) in desc.columns.iter().enumerate() {
        if desc.columns[..i].iter().any(|c| c.name == column.name) {
            let message = format!("column \"{}\" specified more than once", column.name);
            let at = s.columns.get(i).map_or_else(|| s.name.span(), |c| c.span);
            return Err(planner.error(at, code::DUPLICATE_COLUMN, message));
        }
    }
    let uses = planner.uses();
    if let Some(old) = replace
        && uses.contains(&old)
    {
        let message = format!("{} \"{}\" cannot be defined by itself", kind_name(kind), name.item);
        return Err(planner.error(s.name.span(), SqlState::new("42P17"), message));
    }
    let assert_not_null = positions(planner, &options.assert_not_null, &desc)?;
    let columns = match s.columns.is_empty() {
        true => String::new(),
        false => format!(" ({})", s.columns.iter().map(|c| quote(&fold(c))).collect::<Vec<_>>().join(", ")),
    };
    let body = planner.canonical(s.query.from, s.query.to);
    let full = full_name(&name);
    let (create_sql, item) = if s.materialized {
        if options.on_error == OnError::Null {
            errors::null_on_error(&mut hir, &mut desc);
        }
        hir = never_null(hir, &assert_not_null, &mut desc);
        let errors = errors::of_view(planner, &desc)?;
        planner.check_maintained(&hir, &format!("materialized view \"{}\"", name.item))?;
        let relation = crate::query::lower(hir.clone())?;
        let mut with: Vec<String> = assert_not_null
            .iter()
            .map(|i| format!("ASSERT NOT NULL = {}", quote(&desc.columns[*i].name)))
            .collect();
        match options.on_error {
            OnError::Fail => {}
            OnError::Quarantine => with.push("ON ERROR = QUARANTINE".into()),
            OnError::Null => with.push("ON ERROR = NULL".into()),
        }
        if let Some((text, _)) = &options.history {
            with.push(format!("RETAIN HISTORY FOR {}", crate::parse::quote_string(text)));
        }
        let with = if with.is_empty() { String::new() } else { format!(" WITH ({})", with.join(", ")) };
        let on_error = options.on_error;
        let item = CreateItem::MaterializedView { hir, relation, assert_not_null, on_error, errors };
        (format!("CREATE MATERIALIZED VIEW {full}{columns}{with} AS {body}"), item)
    } else {
        let temporary = if s.temporary { "TEMPORARY " } else { "" };
        (format!("CREATE {temporary}VIEW {full}{columns} AS {body}"), CreateItem::View { hir })
    };
    Ok(Plan::Create(Box::new(CreatePlan {
        name,
        create_sql,
        replace,
        if_not_exists: s.if_not_exists,
        temporary: s.temporary,
        uses,
        retain_history: options.history.map(|(_, time)| time),
        desc: Some(desc),
        item,
    })))
}

/// The object that OR REPLACE takes the place of. Nothing may depend on it but its indexes, which go with it.
fn replaced(
    planner: &Planner<'_>,
    s: &CreateView,
    name: &ObjectName,
    kind: ItemKind,
) -> Result<Option<GlobalId>, SqlError> {
    let Some(old) = planner.catalog.item(&name.database, &name.schema, &name.item) else { return Ok(None) };
    if old.kind != kind {
        let message = format!("\"{}\" is not a {}", name.item, kind_name(kind));
        return Err(planner.error(s.name.span(), code::WRONG_OBJECT_TYPE, message));
    }
    super::drop::refuse_dependants(planner, old, kind_name(kind))?;
    Ok(Some(old.id))
}

#[derive(Default)]
struct Options {
    assert_not_null: Vec<(String, Location)>,
    on_error: OnError,
    /// How far back it can be read, as written and as it is.
    history: Option<(String, std::time::Duration)>,
}

fn options(planner: &Planner<'_>, s: &CreateView) -> Result<Options, SqlError> {
    let mut out = Options::default();
    for o in &s.options {
        let words: Vec<&str> = o.name.split(' ').collect();
        match (&words[..], &o.value) {
            (["ASSERT", "NOT", "NULL"], Some(OptionValue::Word(w) | OptionValue::String(w))) => {
                out.assert_not_null.push((w.clone(), o.at))
            }
            // Without `=` the column's name is part of the option's.
            (["ASSERT", "NOT", "NULL", column], None) => {
                out.assert_not_null.push((column.to_lowercase(), o.at))
            }
            (["ON", "ERROR"], Some(OptionValue::Word(w) | OptionValue::String(w))) => {
                out.on_error = errors::on_error(w)?
            }
            (["ON", "ERROR", w], None) => out.on_error = errors::on_error(w)?,
            _ if super::source::is_history(o) && s.materialized => {
                let text = super::connection::text(o)?;
                out.history = Some((text, super::source::interval(o)?));
            }
            (["RETAIN", "HISTORY", ..] | ["REFRESH", ..] | ["PARTITION", ..] | ["SIZE", ..], _) => {
                planner.no_effect(&o.name)
            }
            _ => {
                let message = format!("unrecognized parameter \"{}\"", o.name.to_lowercase());
                return Err(planner.error(Span::new(o.at, o.at), code::INVALID_PARAMETER_VALUE, message));
            }
        }
    }
    if !s.materialized && (out.on_error != OnError::Fail || !out.assert_not_null.is_empty()) {
        return Err(crate::plan::unsupported("this option of a view", "Use CREATE MATERIALIZED VIEW."));
    }
    Ok(out)
}

fn positions(
    planner: &Planner<'_>,
    names: &[(String, Location)],
    desc: &RelationDesc,
) -> Result<Vec<usize>, SqlError> {
    let mut out = vec![];
    for (name, at) in names {
        let Some(i) = desc.columns.iter().position(|c| c.name == *name) else {
            let message = format!("column \"{name}\" in ASSERT NOT NULL option not found");
            return Err(planner.error(Span::new(*at, *at), code::UNDEFINED_COLUMN, message));
        };
        out.push(i);
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

/// Makes NULL in these columns an error.
fn never_null(hir: HirRelationExpr, columns: &[usize], desc: &mut RelationDesc) -> HirRelationExpr {
    let arity = desc.arity();
    let mut scalars = vec![];
    let mut places: Vec<usize> = (0..arity).collect();
    for &i in columns {
        let ty = desc.columns[i].ty.scalar.clone();
        let text = |s: &str| hirs::literal(Datum::Text(s), ScalarType::Text);
        let message = format!("column \"{}\" must not be null", desc.columns[i].name);
        let raise = hirs::call(ids::RAISE, vec![text("23502"), text(&message)], ty.clone());
        places[i] = arity + scalars.len();
        scalars.push(hirs::if_then(hirs::is_null(hirs::column(i)), raise, hirs::column(i)));
        desc.columns[i].ty.nullable = false;
    }
    let total = arity + scalars.len();
    hirs::project(hirs::map(hir, scalars), places, total)
}
