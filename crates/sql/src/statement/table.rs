//! `CREATE TABLE`.

use repr::error::code;
use repr::{ColumnType, RelationDesc, ScalarType, SqlError};
use sqlparser::ast::{ColumnOption, Expr, Ident, Spanned, TableConstraint};
use sqlparser::tokenizer::Token;

use super::CreateModifiers;
use crate::ast::{CreateTable, TableQuery};
use crate::catalog::ObjectName;
use crate::parse::{Heads, fold, quote};
use crate::plan::{CreateItem, CreatePlan, Plan};
use crate::planner::{Planner, full_name};

/// Behind `TABLE`.
pub(crate) fn parse(p: &mut Heads<'_>, modifiers: CreateModifiers) -> Result<CreateTable, SqlError> {
    let if_not_exists = p.if_not_exists();
    let name = p.object_name()?;
    let (mut columns, mut keys) = (vec![], vec![]);
    let names = column_names(p)?;
    if names.is_some() || p.is("as") || p.is("with") {
        let options = p.with_options()?;
        p.expect("as")?;
        let query = p.query()?;
        let no_data = p.word("with no data");
        let _ = no_data || p.word("with data");
        let query = Some(TableQuery { names: names.unwrap_or_default(), query, data: !no_data });
        return Ok(CreateTable {
            name,
            columns,
            keys,
            temporary: modifiers.temporary,
            if_not_exists,
            options,
            query,
        });
    } else {
        if *p.peek() != Token::LParen {
            return Err(p.error("\"(\""));
        }
        let (cols, constraints) = p.sql(|p| p.parse_columns())?;
        keys = constraints;
        columns = cols;
    }
    let options = p.with_options()?;
    Ok(CreateTable {
        name,
        columns,
        keys,
        temporary: modifiers.temporary,
        if_not_exists,
        options,
        query: None,
    })
}

/// `(name, …) AS`; nothing is taken if it is something else.
fn column_names(p: &mut Heads<'_>) -> Result<Option<Vec<Ident>>, SqlError> {
    let mark = p.mark();
    if *p.peek() == Token::LParen
        && let Ok(names) = p.parenthesized(|p| p.ident())
        && (p.is("as") || p.is("with"))
    {
        let with = p.mark();
        if p.with_options().is_ok() && p.is("as") {
            p.back(with);
            return Ok(Some(names));
        }
    }
    p.back(mark);
    Ok(None)
}

pub(crate) fn plan(planner: &Planner<'_>, s: CreateTable) -> Result<Plan, SqlError> {
    if let Some(query) = &s.query {
        return plan_as(planner, &s, query);
    }
    planner.forbid_parameters();
    let name = table_name(planner, &s)?;
    let (retain_history, with) = super::source::history(planner, &s.options)?;
    let mut primary: Vec<String> = vec![];
    for key in &s.keys {
        match key {
            TableConstraint::PrimaryKey(k) => {
                for c in &k.columns {
                    let Expr::Identifier(column) = &c.column.expr else { continue };
                    let name = fold(column);
                    if !s.columns.iter().any(|c| fold(&c.name) == name) {
                        let message = format!("column \"{name}\" named in key does not exist");
                        return Err(planner.error(column.span, code::UNDEFINED_COLUMN, message));
                    }
                    primary.push(name);
                }
                unenforced(planner, "PRIMARY KEY");
            }
            TableConstraint::Unique(_) => unenforced(planner, "UNIQUE"),
            TableConstraint::ForeignKey(_) => unenforced(planner, "FOREIGN KEY"),
            other => {
                let instead = "NOT NULL of a column is supported.";
                return Err(planner.unsupported(other.span(), "this constraint of a table", instead));
            }
        }
    }
    let mut columns = vec![];
    let mut defaults = vec![];
    let mut texts = vec![];
    for c in &s.columns {
        let column = fold(&c.name);
        if columns.iter().any(|(n, _)| *n == column) {
            let message = format!("column \"{column}\" specified more than once");
            return Err(planner.error(c.name.span, code::DUPLICATE_COLUMN, message));
        }
        let ty = planner.data_type(&c.data_type).map_err(|e| planner.text.at(c.name.span, e))?;
        let mut nullable = !primary.contains(&column);
        let mut default = None;
        for o in &c.options {
            match &o.option {
                ColumnOption::Null => {}
                ColumnOption::NotNull => nullable = false,
                ColumnOption::Default(e) => {
                    // Checked now, planned again at each INSERT.
                    planner
                        .plan_constant_of(e, &ty, "DEFAULT expressions")
                        .map_err(|error| super::write::assignment_error(error, &column, &ty))?;
                    default = Some(e.to_string());
                }
                ColumnOption::PrimaryKey(_) => {
                    nullable = false;
                    unenforced(planner, "PRIMARY KEY");
                }
                ColumnOption::Unique(_) => unenforced(planner, "UNIQUE"),
                ColumnOption::ForeignKey(_) => unenforced(planner, "REFERENCES"),
                ColumnOption::Collation(_) => {}
                other => {
                    let instead = "NOT NULL and DEFAULT are supported.";
                    return Err(planner.unsupported(
                        c.name.span,
                        &format!("the column option {other}"),
                        instead,
                    ));
                }
            }
        }
        let mut text = format!("{} {}", quote(&column), planner.type_text(&c.data_type, &ty)?);
        if !nullable {
            text.push_str(" NOT NULL");
        }
        if let Some(d) = &default {
            text.push_str(&format!(" DEFAULT {d}"));
        }
        texts.push(text);
        columns.push((column, ty.nullable(nullable)));
        defaults.push(default);
    }
    let create_sql = format!("CREATE TABLE {} ({}){with}", full_name(&name), texts.join(", "));
    Ok(Plan::Create(Box::new(CreatePlan {
        name,
        create_sql,
        replace: None,
        if_not_exists: s.if_not_exists,
        temporary: false,
        uses: planner.uses(),
        retain_history,
        desc: Some(RelationDesc::new(columns)),
        item: CreateItem::Table { defaults },
    })))
}

/// A temporary table is a table in a schema of the session, which goes with it.
fn table_name(planner: &Planner<'_>, s: &CreateTable) -> Result<ObjectName, SqlError> {
    let mut name = planner.new_name(&s.name, s.temporary)?;
    if s.temporary {
        name.schema = planner.catalog.temporary_schema().into();
    }
    Ok(name)
}

/// Rows are a multiset: a key says what the writer knows, and is not checked.
fn unenforced(planner: &Planner<'_>, what: &str) {
    let notice = SqlError::new(repr::SqlState::new("00000"), format!("{what} is not enforced"));
    planner.notice(notice.with_hint("To have one row a key, use DISTINCT ON in a view."));
}

/// `CREATE TABLE … AS`.
fn plan_as(planner: &Planner<'_>, s: &CreateTable, query: &TableQuery) -> Result<Plan, SqlError> {
    let name = table_name(planner, s)?;
    let (retain_history, with) = super::source::history(planner, &s.options)?;
    let mut rows = planner.plan_select(&query.query)?;
    if query.names.len() > rows.desc.arity() {
        let at = query.names[rows.desc.arity()].span;
        return Err(planner.error(at, code::SYNTAX_ERROR, "too many column names were specified"));
    }
    let mut columns: Vec<(String, ColumnType)> = vec![];
    for (i, c) in rows.desc.columns.iter().enumerate() {
        let name = query.names.get(i).map_or_else(|| c.name.clone(), fold);
        if columns.iter().any(|(n, _)| *n == name) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(planner.error(s.name.span(), code::DUPLICATE_COLUMN, message));
        }
        columns.push((name, c.ty.scalar.clone().nullable(true)));
    }
    let texts: Vec<String> =
        columns.iter().map(|(n, ty)| format!("{} {}", quote(n), type_text(&ty.scalar))).collect();
    let create_sql = format!("CREATE TABLE {} ({}){with}", full_name(&name), texts.join(", "));
    let defaults = vec![None; columns.len()];
    let desc = RelationDesc::new(columns);
    rows.desc = desc.clone();
    let create = Box::new(CreatePlan {
        name,
        create_sql,
        replace: None,
        if_not_exists: s.if_not_exists,
        temporary: false,
        uses: vec![],
        retain_history,
        desc: Some(desc),
        item: CreateItem::Table { defaults },
    });
    Ok(Plan::CreateTableAs { create, rows: query.data.then(|| Box::new(rows)) })
}

/// A type as text that reads back as the same type.
pub(crate) fn type_text(ty: &ScalarType) -> String {
    match ty {
        ScalarType::Numeric { scale: Some(s) } => format!("numeric(38, {s})"),
        other => other.to_string(),
    }
}
