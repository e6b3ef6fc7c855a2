//! `INSERT`, `UPDATE`, `DELETE`.

use std::rc::Rc;

use plan::ScalarExpr;
use plan::func::resolve::CastContext;
use plan::hir::{HirRelationExpr, HirScalarExpr, JoinKind};
use repr::error::code;
use repr::{ColumnType, Datum, GlobalId, RelationDesc, ScalarType, SqlError};
use sqlparser::ast::{
    self as sp, AssignmentTarget, Delete, Expr, FromTable, Insert, SetExpr, Spanned, Statement as Sql,
    TableFactor, TableObject, Update, UpdateTableFromKind,
};

use super::names::kind_name;
use crate::ast::Statement;
use crate::catalog::{CatalogItem, ItemKind};
use crate::expr::{Ctx, Ex, strip};
use crate::from::From;
use crate::hirs;
use crate::parse::{Heads, fold};
use crate::plan::{Finishing, Plan, SelectPlan};
use crate::planner::Planner;
use crate::scope::{Env, Scope, ScopeTable, near};
use crate::text::Text;

/// From the first word.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let insert = p.is("insert");
    let update = p.is("update");
    let token = p.next();
    let statement = if insert {
        p.sql(|p| p.parse_insert(token))?
    } else if update {
        p.sql(|p| p.parse_update(token))?
    } else {
        p.sql(|p| p.parse_delete(token))?
    };
    match statement {
        Sql::Insert(s) => Ok(Statement::Insert(Box::new(s))),
        Sql::Update(s) => Ok(Statement::Update(Box::new(s))),
        Sql::Delete(s) => Ok(Statement::Delete(Box::new(s))),
        _ => Err(p.error("INSERT, UPDATE or DELETE")),
    }
}

/// The table that is written to.
fn table<'a>(planner: &Planner<'a>, name: &sp::ObjectName, verb: &str) -> Result<&'a CatalogItem, SqlError> {
    let item = planner.resolve(name)?;
    if item.kind != ItemKind::Table {
        let message = format!("cannot {verb} {} \"{}\"", kind_name(item.kind), item.name.item);
        return Err(planner.error(name.span(), code::WRONG_OBJECT_TYPE, message));
    }
    if !matches!(item.id, GlobalId::User(_)) {
        let message = format!("permission denied for table {}", item.name.item);
        return Err(planner.error(name.span(), code::INSUFFICIENT_PRIVILEGE, message));
    }
    Ok(item)
}

/// The table's columns under its alias.
fn table_scope(item: &CatalogItem, alias: Option<&sp::Ident>) -> Scope {
    let columns = desc_of(item).columns.iter().map(|c| (c.name.clone(), c.ty.clone())).collect::<Vec<_>>();
    let table = match alias {
        Some(a) => ScopeTable { alias: fold(a), schema: None, scalar: false, hidden: None },
        None => ScopeTable {
            alias: item.name.item.clone(),
            schema: Some((item.name.database.clone(), item.name.schema.clone())),
            scalar: false,
            hidden: None,
        },
    };
    Scope::of(table, columns)
}

fn desc_of(item: &CatalogItem) -> &RelationDesc {
    item.desc.as_ref().expect("a table has columns")
}

/// Storing a value of another type says which column.
pub(crate) fn assignment_error(error: SqlError, column: &str, ty: &ScalarType) -> SqlError {
    let found = error.message.strip_prefix("cannot cast type ").and_then(|m| m.split_once(" to "));
    match found {
        Some((from, _)) if error.code == code::DATATYPE_MISMATCH => SqlError {
            message: format!("column \"{column}\" is of type {} but expression is of type {from}", ty.name()),
            ..error
        }
        .with_hint("You will need to rewrite or cast the expression."),
        _ => error,
    }
}

/// A column's default, or NULL.
pub(crate) fn default(
    planner: &Planner<'_>,
    item: &CatalogItem,
    column: usize,
) -> Result<HirScalarExpr, SqlError> {
    let ty = &desc_of(item).columns[column].ty.scalar;
    let Some(text) = item.defaults.get(column).and_then(Option::as_ref) else {
        return Ok(hirs::literal(Datum::Null, ty.clone()));
    };
    let text = Text::new(text, 0);
    let e = crate::parse::parse_expr(&text)?;
    Planner::new(planner.catalog, &text, &[]).plan_constant_of(&e, ty, "DEFAULT expressions")
}

fn is_default(e: &Expr) -> bool {
    matches!(e, Expr::Identifier(i) if i.quote_style.is_none() && i.value.eq_ignore_ascii_case("default"))
}

fn column_of(planner: &Planner<'_>, item: &CatalogItem, name: &sp::ObjectName) -> Result<usize, SqlError> {
    let column = planner.parts(name)?.pop().unwrap_or_default();
    let desc = desc_of(item);
    desc.columns.iter().position(|c| c.name == column).ok_or_else(|| {
        let message = format!("column \"{column}\" of relation \"{}\" does not exist", item.name.item);
        let error = planner.error(name.span(), code::UNDEFINED_COLUMN, message);
        match near(&column, desc.columns.iter().map(|c| c.name.clone())) {
            Some(n) => error.with_hint(format!("Perhaps you meant the column \"{n}\".")),
            None => error,
        }
    })
}

pub(crate) fn plan_insert(planner: &Planner<'_>, s: Insert) -> Result<Plan, SqlError> {
    let TableObject::TableName(name) = &s.table else {
        return Err(crate::plan::unsupported("INSERT into a function or query", "Name a table."));
    };
    if s.on.is_some() {
        let instead = "Rows are a multiset here: use DISTINCT ON in a view, or UPDATE.";
        return Err(planner.unsupported(name.span(), "ON CONFLICT", instead));
    }
    if s.or.is_some() || s.overwrite || s.replace_into || !s.assignments.is_empty() || s.partitioned.is_some()
    {
        return Err(planner.unsupported(name.span(), "this form of INSERT", "Use INSERT INTO t (columns) …"));
    }
    let item = table(planner, name, "insert into")?;
    let desc = desc_of(item);
    let mut targets = vec![];
    for c in &s.columns {
        let i = column_of(planner, item, c)?;
        if targets.contains(&i) {
            let message = format!("column \"{}\" specified more than once", desc.columns[i].name);
            return Err(planner.error(c.span(), code::DUPLICATE_COLUMN, message));
        }
        targets.push(i);
    }
    let all = s.columns.is_empty();
    if all {
        targets = (0..desc.arity()).collect();
    }
    let (rel, found) = match &s.source {
        None => (hirs::unit(), vec![]),
        Some(source) => insert_source(planner, item, &targets, source)?,
    };
    // Without a list of columns the first ones are meant, as many as there are values.
    if s.source.is_none() {
        targets.clear();
    } else if found.len() > targets.len() {
        let message = "INSERT has more expressions than target columns";
        return Err(planner.error(name.span(), code::SYNTAX_ERROR, message));
    } else if found.len() < targets.len() {
        if !all {
            let message = "INSERT has more target columns than expressions";
            return Err(planner.error(s.columns[found.len()].span(), code::SYNTAX_ERROR, message));
        }
        targets.truncate(found.len());
    }
    let arity = found.len();
    let mut scalars = vec![];
    let mut places = vec![];
    for (i, column) in desc.columns.iter().enumerate() {
        let ty = &column.ty.scalar;
        let e = match targets.iter().position(|t| *t == i) {
            Some(p) if found[p].scalar == *ty => {
                places.push(p);
                continue;
            }
            Some(p) => {
                let ex = Ex::Known(hirs::column(p), found[p].clone());
                let cast = planner.coerce(ex, ty, CastContext::Assignment);
                cast.map_err(|e| planner.text.at(name.span(), assignment_error(e, &column.name, ty)))?.0
            }
            None => default(planner, item, i)?,
        };
        places.push(arity + scalars.len());
        scalars.push(e);
    }
    let width = arity + scalars.len();
    let rel = hirs::project(hirs::map(rel, scalars), places, width);
    let scope = table_scope(item, s.table_alias.as_ref().map(|a| &a.alias));
    let returning = returning(planner, scope, &s.returning)?;
    let rows = Box::new(select_all(rel, desc.clone())?);
    Ok(Plan::Insert { table: item.id, rows, returning })
}

/// What comes back, over a row of the table and, where there is one, of its partner.
fn returning(
    planner: &Planner<'_>,
    scope: Scope,
    items: &Option<Vec<sp::SelectItem>>,
) -> Result<Option<(Vec<ScalarExpr>, RelationDesc)>, SqlError> {
    let Some(items) = items else { return Ok(None) };
    let (scope, env) = (Rc::new(scope), Env::default());
    let ctx = Ctx::plain(&scope, &env, "RETURNING");
    let mut outputs = vec![];
    for i in items {
        planner.plan_item(&ctx, i, &mut outputs)?;
    }
    let mut exprs = vec![];
    let mut columns = vec![];
    for (name, ex) in outputs {
        let (e, ty) = planner.settle(ex)?;
        exprs.push(hirs::to_scalar(e)?);
        columns.push((name, ty));
    }
    Ok(Some((exprs, RelationDesc::new(columns))))
}

/// The rows to insert, and their types.
fn insert_source(
    planner: &Planner<'_>,
    item: &CatalogItem,
    targets: &[usize],
    source: &sp::Query,
) -> Result<(HirRelationExpr, Vec<ColumnType>), SqlError> {
    let desc = desc_of(item);
    let types: Vec<_> = targets.iter().map(|i| Some(desc.columns[*i].ty.scalar.clone())).collect();
    let SetExpr::Values(values) = &*source.body else {
        let plan = planner.plan_query_into(source, &Env::default(), &types)?;
        return planner.relation_of(plan);
    };
    if source.with.is_some()
        || source.limit_clause.is_some()
        || source.order_by.is_some()
        || source.fetch.is_some()
    {
        let plan = planner.plan_query_into(source, &Env::default(), &types)?;
        return planner.relation_of(plan);
    }
    // Each cell takes its column's type by itself, so that a DEFAULT, a NULL and a literal go together.
    let (scope, env) = (Rc::new(Scope::default()), Env::default());
    let ctx = Ctx::plain(&scope, &env, "VALUES");
    let width = values.rows.first().map_or(0, |r| r.content.len());
    if width > targets.len() {
        let at = values.rows[0].content[targets.len()].span();
        return Err(planner.error(at, code::SYNTAX_ERROR, "INSERT has more expressions than target columns"));
    }
    let mut rows = vec![];
    for row in &values.rows {
        if row.content.len() != width {
            let at = row.content.first().map_or_else(|| source.span(), Spanned::span);
            return Err(planner.error(at, code::SYNTAX_ERROR, "VALUES lists must all be the same length"));
        }
        let mut cells = vec![];
        for (e, target) in row.content.iter().zip(targets) {
            let column = &desc.columns[*target];
            let ty = &column.ty.scalar;
            if is_default(e) {
                cells.push(default(planner, item, *target)?);
                continue;
            }
            let ex = planner.plan_expr(&ctx, e)?;
            let cast = planner.coerce(ex, ty, CastContext::Assignment);
            let (cell, ty) = planner.at(e, cast.map_err(|err| assignment_error(err, &column.name, ty)))?;
            cells.push(hirs::folded(cell, &ty));
        }
        rows.push(cells);
    }
    let types: Vec<ColumnType> =
        targets[..width].iter().map(|i| desc.columns[*i].ty.scalar.clone().nullable(true)).collect();
    Ok((crate::query::values(rows, &types), types))
}

/// All of a relation's columns as they are.
fn select_all(rel: HirRelationExpr, desc: RelationDesc) -> Result<SelectPlan, SqlError> {
    let (rel, map, project) = hirs::take_volatile(rel, desc.arity());
    let map = crate::query::finishing_map(map)?;
    let finishing = Finishing { map, project, ..Finishing::default() };
    Ok(SelectPlan { relation: crate::query::lower(rel)?, finishing, desc, as_of: None })
}

pub(crate) fn plan_update(planner: &Planner<'_>, s: Update) -> Result<Plan, SqlError> {
    let (name, alias) = target(planner, &s.table)?;
    if s.limit.is_some() || !s.order_by.is_empty() || s.or.is_some() {
        return Err(planner.unsupported(name.span(), "this form of UPDATE", "Use UPDATE t SET … WHERE …"));
    }
    let item = table(planner, name, "update")?;
    let desc = desc_of(item);
    let arity = desc.arity();
    let env = Env::default();
    let from = match &s.from {
        None => None,
        Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => {
            Some(planner.plan_from(from, &env)?)
        }
    };
    let mut scope = table_scope(item, alias);
    if let Some(from) = &from {
        scope = scope.join(from.scope.clone(), arity).map_err(|e| planner.text.at(name.span(), e))?;
    }
    let scope = Rc::new(scope);
    let predicate = match &s.selection {
        Some(e) => vec![planner.plan_bool(&Ctx::plain(&scope, &env, "WHERE"), e, "WHERE")?],
        None => vec![],
    };
    let ctx = Ctx::plain(&scope, &env, "UPDATE");
    let mut new: Vec<Option<HirScalarExpr>> = vec![None; arity];
    for a in &s.assignments {
        let mut pairs: Vec<(&sp::ObjectName, &Expr, Option<Ex>)> = vec![];
        match &a.target {
            AssignmentTarget::ColumnName(name) => pairs.push((name, &a.value, None)),
            AssignmentTarget::Tuple(names) => {
                let differ = || {
                    let message = "number of columns does not match number of values";
                    planner.error(a.value.span(), code::SYNTAX_ERROR, message)
                };
                match strip(&a.value) {
                    Expr::Tuple(values) if values.len() == names.len() => {
                        pairs.extend(names.iter().zip(values).map(|(n, v)| (n, v, None)))
                    }
                    Expr::Subquery(query) => {
                        let values = planner.row_of_subquery(&ctx, query)?;
                        if values.len() != names.len() {
                            return Err(differ());
                        }
                        pairs.extend(names.iter().zip(values).map(|(n, v)| (n, &a.value, Some(v))));
                    }
                    value if names.len() == 1 => pairs.push((&names[0], value, None)),
                    _ => return Err(differ()),
                }
            }
        }
        for (name, value, planned) in pairs {
            let i = column_of(planner, item, name)?;
            let column = &desc.columns[i];
            if new[i].is_some() {
                let message = format!("multiple assignments to same column \"{}\"", column.name);
                return Err(planner.error(name.span(), code::SYNTAX_ERROR, message));
            }
            let ty = &column.ty.scalar;
            new[i] = Some(if is_default(value) {
                default(planner, item, i)?
            } else {
                let ex = planned.map_or_else(|| planner.plan_expr(&ctx, value), Ok)?;
                let cast = planner.coerce(ex, ty, CastContext::Assignment);
                planner.at(value, cast.map_err(|e| assignment_error(e, &column.name, ty)))?.0
            });
        }
    }
    let mut scalars = vec![];
    let mut places: Vec<usize> = (0..arity).collect();
    for (i, e) in new.into_iter().enumerate() {
        match e {
            None => places.push(i),
            Some(e) => {
                places.push(arity + scalars.len());
                scalars.push(e);
            }
        }
    }
    let mut width = arity + scalars.len();
    let own = planner.get(item)?;
    let mut shown = vec![];
    let rel = match from {
        None => hirs::map(hirs::filter(own, predicate), scalars),
        Some(from) => {
            let partner = if s.returning.is_some() { hirs::types_in(&from.rel, &env) } else { vec![] };
            places.extend(width..width + partner.len());
            width += partner.len();
            shown = partner;
            with_partner(own, arity, from, predicate, scalars, !shown.is_empty())
        }
    };
    let rel = hirs::project(rel, places, width);
    let returning = returning(planner, (*scope).clone(), &s.returning)?;
    let both = desc.columns.iter().chain(&desc.columns).map(|c| (c.name.clone(), c.ty.clone()));
    let both = both.chain(shown.into_iter().map(|ty| ("partner".to_string(), ty)));
    let selection = Box::new(select_all(rel, RelationDesc::new(both))?);
    Ok(Plan::ReadThenWrite { table: item.id, selection, update: true, returning })
}

/// Moves an expression over the table's `arity` columns and a partner's into a query over the partners, to which the
/// table's columns are one level out.
fn into_partners(e: &mut HirScalarExpr, arity: usize) {
    hirs::rewrite(e, 0, &mut |e, depth| {
        if let HirScalarExpr::Column(c) = e
            && c.level == depth
        {
            match c.column.checked_sub(arity) {
                Some(column) => c.column = column,
                None => c.level += 1,
            }
        }
        false
    });
}

/// Rows of the table and what `scalars` are for one partner of each that meets the predicate; those without partners go.
/// Both are planned over the table's columns followed by the partner's. `shown`: the partner's own columns come too.
fn with_partner(
    own: HirRelationExpr,
    arity: usize,
    from: From,
    mut predicate: Vec<HirScalarExpr>,
    mut scalars: Vec<HirScalarExpr>,
    shown: bool,
) -> HirRelationExpr {
    predicate.iter_mut().chain(&mut scalars).for_each(|e| into_partners(e, arity));
    let n = scalars.len();
    let partners = hirs::map(hirs::filter(from.rel, predicate), scalars);
    let mut columns: Vec<usize> = (from.arity..from.arity + n).collect();
    columns.extend(0..if shown { from.arity } else { 0 });
    let values = hirs::project(partners, columns, from.arity + n);
    let one = HirRelationExpr::TopK {
        input: Box::new(values),
        group_key: vec![],
        order_key: vec![],
        limit: Some(1),
        offset: 0,
    };
    HirRelationExpr::Join {
        left: Box::new(own),
        right: Box::new(one),
        on: Box::new(hirs::boolean(true)),
        kind: JoinKind::Inner,
    }
}

/// The one table that is named.
fn target<'s>(
    planner: &Planner<'_>,
    table: &'s sp::TableWithJoins,
) -> Result<(&'s sp::ObjectName, Option<&'s sp::Ident>), SqlError> {
    match &table.relation {
        TableFactor::Table { name, alias, args: None, .. } if table.joins.is_empty() => {
            Ok((name, alias.as_ref().map(|a| &a.name)))
        }
        other => Err(planner.unsupported(other.span(), "changing anything but one table", "Name one table.")),
    }
}

/// The rows of a relation that fulfil a condition.
pub(crate) fn rows_where(
    planner: &Planner<'_>,
    item: &CatalogItem,
    selection: Option<&Expr>,
) -> Result<SelectPlan, SqlError> {
    let (scope, env) = (Rc::new(table_scope(item, None)), Env::default());
    let mut rel = planner.get(item)?;
    if let Some(selection) = selection {
        let predicate = planner.plan_bool(&Ctx::plain(&scope, &env, "WHERE"), selection, "WHERE")?;
        rel = hirs::filter(rel, vec![predicate]);
    }
    select_all(rel, desc_of(item).clone())
}

pub(crate) fn plan_delete(planner: &Planner<'_>, s: Delete) -> Result<Plan, SqlError> {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &s.from;
    let [one] = &from[..] else {
        return Err(crate::plan::unsupported("DELETE from several tables", "Name one table."));
    };
    let (name, alias) = target(planner, one)?;
    if s.limit.is_some() || !s.order_by.is_empty() || !s.tables.is_empty() {
        return Err(planner.unsupported(name.span(), "this form of DELETE", "Use DELETE FROM t WHERE …"));
    }
    let item = table(planner, name, "delete from")?;
    let desc = desc_of(item);
    let (scope, env) = (Rc::new(table_scope(item, alias)), Env::default());
    let mut rel = planner.get(item)?;
    match (&s.using, &s.selection) {
        (None, None) => {}
        (None, Some(selection)) => {
            let predicate = planner.plan_bool(&Ctx::plain(&scope, &env, "WHERE"), selection, "WHERE")?;
            rel = hirs::filter(rel, vec![predicate]);
        }
        (Some(using), selection) => {
            // A row goes if any row of USING goes with it.
            let from = planner.plan_from(using, &env)?;
            if s.returning.is_some() {
                let both = table_scope(item, alias).join(from.scope.clone(), desc.arity());
                let both = both.map_err(|e| planner.text.at(name.span(), e))?;
                let predicate = match selection {
                    Some(selection) => {
                        let scope = Rc::new(both.clone());
                        vec![planner.plan_bool(&Ctx::plain(&scope, &env, "WHERE"), selection, "WHERE")?]
                    }
                    None => vec![],
                };
                let partner = hirs::types_in(&from.rel, &env).into_iter();
                let names = desc.columns.iter().map(|c| (c.name.clone(), c.ty.clone()));
                let all = RelationDesc::new(names.chain(partner.map(|ty| ("partner".to_string(), ty))));
                let rel = with_partner(rel, desc.arity(), from, predicate, vec![], true);
                let returning = returning(planner, both, &s.returning)?;
                let selection = Box::new(select_all(rel, all)?);
                return Ok(Plan::ReadThenWrite { table: item.id, selection, update: false, returning });
            }
            let mut partners = from.rel;
            if let Some(selection) = selection {
                let both = table_scope(item, alias).join(from.scope, desc.arity());
                let both = Rc::new(both.map_err(|e| planner.text.at(name.span(), e))?);
                let ctx = Ctx::plain(&both, &env, "WHERE");
                let mut predicate = planner.plan_bool(&ctx, selection, "WHERE")?;
                into_partners(&mut predicate, desc.arity());
                partners = hirs::filter(partners, vec![predicate]);
            }
            rel = hirs::filter(rel, vec![HirScalarExpr::Exists(Box::new(partners))]);
        }
    }
    let selection = Box::new(select_all(rel, desc.clone())?);
    let returning = returning(planner, table_scope(item, alias), &s.returning)?;
    Ok(Plan::ReadThenWrite { table: item.id, selection, update: false, returning })
}

/// All rows of the tables go.
pub(crate) fn plan_truncate(planner: &Planner<'_>, names: &[sp::ObjectName]) -> Result<Plan, SqlError> {
    let mut tables: Vec<(repr::GlobalId, Box<SelectPlan>)> = vec![];
    for name in names {
        let item = table(planner, name, "truncate")?;
        if tables.iter().all(|(id, _)| *id != item.id) {
            tables.push((item.id, Box::new(select_all(planner.get(item)?, desc_of(item).clone())?)));
        }
    }
    Ok(Plan::Truncate(tables))
}
