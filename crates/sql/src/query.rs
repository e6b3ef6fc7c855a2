//! Queries: FROM, WHERE, GROUP BY, SELECT, set operations, ORDER BY, WITH.

use std::collections::BTreeSet;
use std::rc::Rc;

use plan::func::ids;
use plan::func::resolve::{self, CastContext};
use plan::func::window::{Bound, Exclude, Frame, Units};
use plan::hir::{ColumnRef, HirRelationExpr, HirScalarExpr};
use plan::{ColumnOrder, LocalId, RelationExpr};
use repr::error::code;
use repr::{ColumnType, Datum, RelationDesc, Row, ScalarType, SqlError, SqlState};
use sqlparser::ast::{self as sp, Expr, GroupByExpr, SelectItem, SetExpr, Spanned, Value};

use sqlparser::tokenizer::Span;

use crate::expr::{AGGREGATES, Calls, Ctx, Ex, GROUPINGS, SETS, WINDOWS, WindowCall, WindowFunc, strip};
use crate::hirs::{self, column, literal};
use crate::parse::fold;
use crate::plan::{AsOf, Finishing, SelectPlan};
use crate::planner::Planner;
use crate::scope::{Cte, Env, Scope};

/// A planned query: its rows, and how they are to be shown.
#[derive(Clone, Debug)]
pub(crate) struct QueryPlan {
    /// May have columns beyond the visible ones, to sort by.
    pub rel: HirRelationExpr,
    pub arity: usize,
    /// The visible columns.
    pub columns: Vec<(String, ColumnType)>,
    /// Where each visible column is.
    pub project: Vec<usize>,
    pub order_by: Vec<ColumnOrder>,
    pub limit: Option<u64>,
    pub offset: u64,
    /// Limits that only the execution knows.
    pub limit_expr: Option<HirScalarExpr>,
    pub offset_expr: Option<HirScalarExpr>,
}

/// As many columns as Postgres can return, group or sort by; and as many queries a WITH can name.
const MAX_COLUMNS: usize = 1_664;

fn too_many_columns() -> SqlError {
    let message = format!("target lists can have at most {MAX_COLUMNS} entries");
    SqlError::new(repr::SqlState::new("54011"), message)
}

/// A query's body before the types of its open columns are settled.
enum Body {
    Select(Box<SelectBody>),
    Values(Vec<Vec<Ex>>, Span),
    Set { op: sp::SetOperator, all: bool, left: Box<Body>, right: Box<Body>, at: Span },
    Planned { rel: HirRelationExpr, columns: Vec<(String, ColumnType)> },
}

/// A SELECT but for its last projection.
struct SelectBody {
    rel: HirRelationExpr,
    arity: usize,
    outputs: Vec<(String, Ex)>,
    order: Vec<(Target, ColumnOrder)>,
    /// Where the keys of ORDER BY and DISTINCT ON stand.
    order_at: Vec<Span>,
    on_at: Vec<Span>,
    distinct: Distinct,
}

enum Distinct {
    No,
    All,
    On(Vec<Target>),
}

/// What is sorted by.
#[derive(Clone, Debug, PartialEq)]
enum Target {
    Output(usize),
    Expr(HirScalarExpr),
}

/// A relation with its rows, types and order.
struct Finished {
    rel: HirRelationExpr,
    arity: usize,
    project: Vec<usize>,
    types: Vec<ColumnType>,
    order_by: Vec<ColumnOrder>,
}

impl QueryPlan {
    /// Takes volatile calls out of the rows, for the finishing to append.
    pub fn take_volatile(&mut self) -> Vec<HirScalarExpr> {
        let rel = std::mem::replace(&mut self.rel, hirs::unit());
        let (rel, taken, places) = hirs::take_volatile(rel, self.arity);
        self.rel = rel;
        self.project.iter_mut().for_each(|c| *c = places[*c]);
        self.order_by.iter_mut().for_each(|o| o.column = places[o.column]);
        self.arity = hirs::types(&self.rel, &[]).len() + taken.len();
        taken
    }
}

impl QueryPlan {
    /// Leaves out columns that are neither shown nor sorted by.
    fn narrow(&mut self) {
        let sorted = self.order_by.iter().map(|o| o.column);
        let kept: BTreeSet<usize> = self.project.iter().copied().chain(sorted).collect();
        if kept.len() == self.arity {
            return;
        }
        let place = |column: usize| kept.range(..column).count();
        self.project.iter_mut().for_each(|c| *c = place(*c));
        self.order_by.iter_mut().for_each(|o| o.column = place(o.column));
        let rel = std::mem::replace(&mut self.rel, hirs::unit());
        self.rel = hirs::project(rel, kept.iter().copied().collect(), self.arity);
        self.arity = kept.len();
    }
}

fn error(code: SqlState, message: impl Into<String>) -> SqlError {
    SqlError::new(code, message)
}

const INVALID_COLUMN_REFERENCE: SqlState = SqlState::new("42P10");
const INVALID_RECURSION: SqlState = SqlState::new("42P19");

impl Planner<'_> {
    /// A query for a client: its rows by the optimizer's hand, the rest as finishing.
    pub fn plan_select(&self, query: &crate::ast::Query) -> Result<SelectPlan, SqlError> {
        let mut plan = self.plan_query(&query.body, &Env::default())?;
        self.name_registered(&mut plan)?;
        self.select_plan(plan, query.as_of.as_ref())
    }

    /// Values of `regtype`, `regclass` and `regproc` are numbers; who reads a query's rows sees names.
    fn name_registered(&self, plan: &mut QueryPlan) -> Result<(), SqlError> {
        let mut names = vec![];
        for (i, (_, ty)) in plan.columns.iter().enumerate() {
            if matches!(ty.scalar, ScalarType::RegType | ScalarType::RegClass | ScalarType::RegProc) {
                let number = hirs::column(plan.project[i]);
                names.push((i, self.reg_to_text(number, &ty.scalar, &ScalarType::Text)?.0));
            }
        }
        if !names.is_empty() {
            let mut scalars = vec![];
            for (i, name) in names {
                plan.project[i] = plan.arity + scalars.len();
                scalars.push(name);
            }
            plan.arity += scalars.len();
            let rel = std::mem::replace(&mut plan.rel, hirs::unit());
            plan.rel = hirs::map(rel, scalars);
        }
        Ok(())
    }

    /// Makes a plan to run of a planned query.
    pub fn select_plan(
        &self,
        mut plan: QueryPlan,
        as_of: Option<&crate::ast::AsOf>,
    ) -> Result<SelectPlan, SqlError> {
        let desc = RelationDesc::new(plan.columns.clone());
        let map = plan.take_volatile();
        if map.is_empty() {
            plan.narrow();
        }
        let finishing = Finishing {
            map: finishing_map(map)?,
            order_by: plan.order_by.clone(),
            limit: plan.limit,
            offset: plan.offset,
            project: plan.project.clone(),
            limit_expr: plan.limit_expr.map(hirs::to_scalar).transpose()?,
            offset_expr: plan.offset_expr.map(hirs::to_scalar).transpose()?,
        };
        let as_of = as_of.map(|a| self.plan_as_of(a)).transpose()?;
        Ok(SelectPlan { relation: lower(plan.rel)?, finishing, desc, as_of })
    }

    /// `AS OF`.
    pub fn plan_as_of(&self, as_of: &crate::ast::AsOf) -> Result<AsOf, SqlError> {
        let (scope, env) = (Rc::default(), Env::default());
        let ex = self.plan_expr(&Ctx::plain(&scope, &env, "AS OF"), &as_of.time)?;
        let e = match ex {
            Ex::Str(ref s, _) if s.bytes().all(|b| b.is_ascii_digit()) => {
                self.coerce(ex, &ScalarType::MzTimestamp, CastContext::Explicit)
            }
            Ex::Str(..) => {
                self.coerce(ex, &ScalarType::TimestampTz { precision: None }, CastContext::Explicit)
            }
            Ex::Param(_) => self.coerce(ex, &ScalarType::MzTimestamp, CastContext::Explicit),
            other => self.settle(other),
        };
        let (e, _) = self.at(&as_of.time, e)?;
        Ok(AsOf { time: self.at(&as_of.time, hirs::to_scalar(e))?, at_least: as_of.at_least })
    }

    /// Plans a query in its surroundings.
    pub fn plan_query(&self, query: &sp::Query, env: &Env) -> Result<QueryPlan, SqlError> {
        self.plan_query_into(query, env, &[])
    }

    /// The same; open columns take the types of `targets` where there are any.
    pub fn plan_query_into(
        &self,
        query: &sp::Query,
        env: &Env,
        targets: &[Option<ScalarType>],
    ) -> Result<QueryPlan, SqlError> {
        self.deeper(|| self.plan_query_inner(query, env, targets))
    }

    fn plan_query_inner(
        &self,
        query: &sp::Query,
        env: &Env,
        targets: &[Option<ScalarType>],
    ) -> Result<QueryPlan, SqlError> {
        if !query.locks.is_empty() {
            return Err(self.unsupported(
                query.span(),
                "FOR UPDATE",
                "Reads here are consistent without locks.",
            ));
        }
        let head = match query.with.as_ref().map(|w| &w.with_token.0.token) {
            Some(sqlparser::tokenizer::Token::Word(w)) => w.value.as_str(),
            _ => "",
        };
        if let (Some(with), Some(limit)) = (&query.with, head.strip_prefix(crate::parse::MUTUALLY)) {
            return self.plan_mutually_recursive(query, with, limit, env, targets);
        }
        let recursive = query.with.as_ref().is_some_and(|w| w.recursive);
        let mut env = env.clone();
        let mut lets = vec![];
        if let Some(with) = &query.with {
            let mut seen = BTreeSet::new();
            if with.cte_tables.len() > MAX_COLUMNS {
                let message = format!("WITH can name at most {MAX_COLUMNS} queries");
                return Err(SqlError::new(code::STATEMENT_TOO_COMPLEX, message));
            }
            for cte in &with.cte_tables {
                let name = fold(&cte.alias.name);
                if !seen.insert(name.clone()) {
                    let message = format!("WITH query name \"{name}\" specified more than once");
                    return Err(self.error(cte.alias.name.span, code::DUPLICATE_ALIAS, message));
                }
                let id = self.fresh_local();
                let (columns, binding) =
                    match recursive.then(|| self.plan_recursive(cte, id, &env)).transpose()? {
                        Some((columns, binding)) => (columns, binding),
                        None => {
                            let plan = self.plan_query(&cte.query, &env)?;
                            let mut columns = plan.columns.clone();
                            let (rel, _) = self.relation_of(plan)?;
                            self.rename_columns(&name, &cte.alias, &mut columns)?;
                            (columns, Binding::Once(rel))
                        }
                    };
                lets.push((id, binding));
                env.ctes.push(Rc::new(Cte { name, id, columns }));
            }
        }
        let mut plan = self.plan_body(query, &env, targets)?;
        let enough = rounds_that_are_enough(query, &plan);
        for (id, binding) in lets.into_iter().rev() {
            let body = Box::new(plan.rel);
            plan.rel = match binding {
                Binding::Once(value) => HirRelationExpr::Let { id, value: Box::new(value), body },
                Binding::Recursive(value, typ) => {
                    HirRelationExpr::LetRec { bindings: vec![(id, value, typ)], limit: enough, body }
                }
            };
        }
        Ok(plan)
    }

    /// A query of `WITH RECURSIVE`: `first UNION [ALL] step`, where `step` sees the rows so far. Because it sees them
    /// once, row by row, the fixed point is what Postgres' rounds over the newest rows add up to.
    fn plan_recursive(
        &self,
        cte: &sp::Cte,
        id: LocalId,
        env: &Env,
    ) -> Result<(Vec<(String, ColumnType)>, Binding), SqlError> {
        let name = fold(&cte.alias.name);
        let refused = |message: String| self.error(cte.alias.name.span, INVALID_RECURSION, message);
        let plain = |env: &Env| -> Result<_, SqlError> {
            let plan = self.plan_query(&cte.query, env)?;
            let mut columns = plan.columns.clone();
            let (rel, _) = self.relation_of(plan)?;
            self.rename_columns(&name, &cte.alias, &mut columns)?;
            Ok((columns, rel))
        };
        let unknown = |e: &SqlError| {
            e.code == code::UNDEFINED_TABLE && e.message == format!("relation \"{name}\" does not exist")
        };
        let SetExpr::SetOperation { op: sp::SetOperator::Union, set_quantifier, left, right } =
            &*cte.query.body
        else {
            let (columns, rel) = plain(env).map_err(|e| match unknown(&e) {
                true => refused(format!(
                    "recursive query \"{name}\" does not have the form non-recursive-term UNION [ALL] recursive-term"
                )),
                false => e,
            })?;
            return Ok((columns, Binding::Once(rel)));
        };
        let all = *set_quantifier == sp::SetQuantifier::All;
        let mut inner = env.clone();
        let mut lets = vec![];
        if let Some(with) = &cte.query.with {
            for nested in &with.cte_tables {
                let plan = self.plan_query(&nested.query, &inner)?;
                let mut columns = plan.columns.clone();
                let (rel, _) = self.relation_of(plan)?;
                let name = fold(&nested.alias.name);
                self.rename_columns(&name, &nested.alias, &mut columns)?;
                let id = self.fresh_local();
                lets.push((id, rel));
                inner.ctes.push(Rc::new(Cte { name, id, columns }));
            }
        }
        let first = self.plan_set_expr(left, &inner).and_then(|body| {
            let names: Vec<String> = body_columns(&body).into_iter().map(|c| c.0).collect();
            Ok((names, self.finish(body, &[])?))
        });
        let (names, first) = first.map_err(|e| match unknown(&e) {
            true => refused(format!(
                "recursive reference to query \"{name}\" must not appear within its non-recursive term"
            )),
            false => e,
        })?;
        let types: Vec<ColumnType> = first.types.iter().map(|t| t.scalar.clone().nullable(true)).collect();
        let mut columns: Vec<(String, ColumnType)> = names.into_iter().zip(types.iter().cloned()).collect();
        self.rename_columns(&name, &cte.alias, &mut columns)?;
        let found = first.types.clone();
        let first = hirs::project(first.rel, first.project, first.arity);
        inner.ctes.push(Rc::new(Cte { name: name.clone(), id, columns: columns.clone() }));
        let targets: Vec<_> = types.iter().map(|t| Some(t.scalar.clone())).collect();
        let step = self.finish(self.plan_set_expr(right, &inner)?, &targets)?;
        if step.types.len() != types.len() {
            let message = "each UNION query must have the same number of columns";
            return Err(self.error(right.span(), code::SYNTAX_ERROR, message));
        }
        for (i, (own, other)) in types.iter().zip(&step.types).enumerate() {
            let both = [Some(own.scalar.clone()), Some(other.scalar.clone())];
            let common = resolve::common_type(&both, "UNION").map_err(|e| self.text.at(right.span(), e))?;
            if common.without_modifier() != own.scalar.without_modifier() {
                let message = format!(
                    "recursive query \"{name}\" column {} has type {} in non-recursive term but type {} overall",
                    i + 1,
                    own.scalar.name(),
                    common.name()
                );
                let hint = "Cast the output of the non-recursive term to the correct type.";
                return Err(self.error(left.span(), code::DATATYPE_MISMATCH, message).with_hint(hint));
            }
        }
        let wanted: Vec<ScalarType> = types.iter().map(|t| t.scalar.clone()).collect();
        let step_rel = hirs::project(step.rel, step.project, step.arity);
        let step = self.cast_relation(step_rel, &step.types, &wanted, CastContext::Implicit)?;
        let refers = hirs::count_local(&step, id) > 0;
        if refers && let Some(what) = hirs::beyond_linear(&step, id, all) {
            return Err(match what {
                hirs::Beyond::Twice => {
                    refused(format!("recursive reference to query \"{name}\" must not appear more than once"))
                }
                hirs::Beyond::Subquery => refused(format!(
                    "recursive reference to query \"{name}\" must not appear within a subquery"
                )),
                hirs::Beyond::OuterJoin => refused(format!(
                    "recursive reference to query \"{name}\" must not appear within an outer join"
                )),
                hirs::Beyond::Except => {
                    refused(format!("recursive reference to query \"{name}\" must not appear within EXCEPT"))
                }
                hirs::Beyond::Aggregate => refused(
                    "aggregate functions are not allowed in a recursive query's recursive term".into(),
                ),
                hirs::Beyond::Rows => self.unsupported(
                    right.span(),
                    "DISTINCT, LIMIT or a window over a recursive reference",
                    "Use it in the query around, or WITH MUTUALLY RECURSIVE.",
                ),
            });
        }
        let odd =
            cte.query.order_by.is_some() || cte.query.limit_clause.is_some() || cte.query.fetch.is_some();
        if refers && odd {
            let what = if cte.query.order_by.is_some() { "ORDER BY" } else { "LIMIT" };
            let message = format!("{what} in a recursive query is not implemented");
            return Err(self.error(cte.alias.name.span, code::FEATURE_NOT_SUPPORTED, message));
        }
        if !refers && odd {
            let (columns, rel) = plain(env)?;
            return Ok((columns, Binding::Once(rel)));
        }
        let first = self.cast_relation(first, &found, &wanted, CastContext::Implicit)?;
        let mut rel = HirRelationExpr::Union { inputs: vec![first, step] };
        if !all {
            rel = HirRelationExpr::Distinct { input: Box::new(rel) };
        }
        for (id, value) in lets.into_iter().rev() {
            rel = HirRelationExpr::Let { id, value: Box::new(value), body: Box::new(rel) };
        }
        Ok((columns, if refers { Binding::Recursive(rel, types) } else { Binding::Once(rel) }))
    }

    /// `WITH MUTUALLY RECURSIVE`: every binding sees all of them, by the types it declares.
    fn plan_mutually_recursive(
        &self,
        query: &sp::Query,
        with: &sp::With,
        limit: &str,
        env: &Env,
        targets: &[Option<ScalarType>],
    ) -> Result<QueryPlan, SqlError> {
        let limit = limit.trim().split_once(' ');
        let limit = limit.map(|(kind, n)| (n.trim().parse::<u64>().unwrap_or(0), kind == "error"));
        let mut env = env.clone();
        let mut declared = vec![];
        for cte in &with.cte_tables {
            let mut columns = vec![];
            for c in &cte.alias.columns {
                let Some(ty) = &c.data_type else {
                    let message = format!("column \"{}\" of a recursive query needs a type", fold(&c.name));
                    return Err(self.error(c.name.span, code::SYNTAX_ERROR, message));
                };
                columns.push((fold(&c.name), self.data_type(ty)?.nullable(true)));
            }
            let id = self.fresh_local();
            declared.push((id, columns.clone()));
            env.ctes.push(Rc::new(Cte { name: fold(&cte.alias.name), id, columns }));
        }
        let mut bindings = vec![];
        for (cte, (id, columns)) in with.cte_tables.iter().zip(declared) {
            let types: Vec<_> = columns.iter().map(|c| Some(c.1.scalar.clone())).collect();
            let plan = self.plan_query_into(&cte.query, &env, &types)?;
            let (rel, found) = self.relation_of(plan)?;
            if found.len() != columns.len() {
                let message = format!(
                    "recursive query \"{}\" declares {} columns and has {}",
                    fold(&cte.alias.name),
                    columns.len(),
                    found.len()
                );
                return Err(self.error(cte.alias.name.span, code::DATATYPE_MISMATCH, message));
            }
            let wanted: Vec<ScalarType> = columns.iter().map(|c| c.1.scalar.clone()).collect();
            let rel = self
                .cast_relation(rel, &found, &wanted, CastContext::Assignment)
                .map_err(|e| self.text.at(cte.alias.name.span, e))?;
            bindings.push((id, rel, columns.into_iter().map(|c| c.1).collect()));
        }
        let mut plan = self.plan_body(query, &env, targets)?;
        plan.rel = HirRelationExpr::LetRec { bindings, limit, body: Box::new(plan.rel) };
        Ok(plan)
    }

    /// The query without its WITH.
    fn plan_body(
        &self,
        query: &sp::Query,
        env: &Env,
        targets: &[Option<ScalarType>],
    ) -> Result<QueryPlan, SqlError> {
        let order: &[sp::OrderByExpr] = match &query.order_by {
            None => &[],
            Some(sp::OrderBy { kind: sp::OrderByKind::Expressions(es), .. }) => es,
            Some(o) => return Err(self.unsupported(o.span(), "ORDER BY ALL", "Name the columns.")),
        };
        let body = match &*query.body {
            SetExpr::Select(select) => Body::Select(Box::new(self.plan_select_body(select, env, order)?)),
            other => self.plan_set_expr(other, env)?,
        };
        let names: Vec<String> = body_columns(&body).into_iter().map(|c| c.0).collect();
        let is_select = matches!(body, Body::Select(_));
        let mut done = self.finish(body, targets)?;
        if !is_select {
            for o in order {
                let place = match strip(&o.expr) {
                    Expr::Value(v) => self
                        .ordinal(&v.value, names.len(), "ORDER BY")
                        .map_err(|e| self.text.at(v.span, e))?,
                    Expr::Identifier(ident) => {
                        let name = fold(ident);
                        let found = names.iter().position(|n| *n == name);
                        Some(found.ok_or_else(|| {
                            let e = format!("column \"{name}\" does not exist");
                            self.error(ident.span, code::UNDEFINED_COLUMN, e)
                        })?)
                    }
                    _ => None,
                };
                let Some(place) = place else {
                    return Err(self
                        .error(o.expr.span(), code::FEATURE_NOT_SUPPORTED, "invalid UNION/INTERSECT/EXCEPT ORDER BY clause")
                        .with_detail("Only result column names can be used, not expressions or functions.")
                        .with_hint("Add the expression/function to every SELECT, or move the UNION into a FROM clause."));
                };
                done.order_by.push(self.column_order(done.project[place], &o.options)?);
            }
        }
        let mut plan = QueryPlan {
            columns: names.into_iter().zip(done.types).collect(),
            rel: done.rel,
            arity: done.arity,
            project: done.project,
            order_by: done.order_by,
            limit: None,
            offset: 0,
            limit_expr: None,
            offset_expr: None,
        };
        let (limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(sp::LimitClause::LimitOffset { limit, offset, .. }) => {
                (limit.as_ref(), offset.as_ref().map(|o| &o.value))
            }
            Some(sp::LimitClause::OffsetCommaLimit { offset, limit }) => (Some(limit), Some(offset)),
        };
        let one = Expr::Value(Value::Number("1".into(), false).into());
        let fetch = match &query.fetch {
            Some(f) if f.percent => {
                return Err(self.unsupported(query.span(), "FETCH … PERCENT", "Use percent_rank()."));
            }
            Some(f) => Some(f.quantity.as_ref().unwrap_or(&one)),
            None => None,
        };
        if let Some(limit) = limit.or(fetch) {
            (plan.limit, plan.limit_expr) = self.plan_count(limit, env, "LIMIT", "2201W")?;
        }
        if let Some(offset) = offset {
            let (n, e) = self.plan_count(offset, env, "OFFSET", "2201X")?;
            (plan.offset, plan.offset_expr) = (n.unwrap_or(0), e);
        }
        let ties = query.fetch.as_ref().is_some_and(|f| f.with_ties);
        if ties && plan.order_by.is_empty() {
            let message = "WITH TIES cannot be specified without ORDER BY clause";
            return Err(self.error(query.span(), code::SYNTAX_ERROR, message));
        }
        // What a finishing or a TopK cannot count out, row numbers do.
        let reads =
            |e: &Option<HirScalarExpr>| e.as_ref().is_some_and(|e| hirs::to_scalar(e.clone()).is_err());
        let open = plan.limit_expr.is_some() || plan.offset_expr.is_some();
        if ties || reads(&plan.limit_expr) || reads(&plan.offset_expr) || (open && !env.frames.is_empty()) {
            return self.limit_by_numbers(plan, ties, env);
        }
        Ok(plan)
    }

    /// LIMIT and OFFSET as conditions on the number of a row; `ties`: also the rows that sort like the last.
    fn limit_by_numbers(&self, mut plan: QueryPlan, ties: bool, env: &Env) -> Result<QueryPlan, SqlError> {
        let int8 = |n: u64| literal(Datum::Int64(i64::try_from(n).unwrap_or(i64::MAX)), ScalarType::Int64);
        // NULL is no limit, less than nothing an error.
        let checked = |e: HirScalarExpr, none: u64, what: &str, code: &str| -> HirScalarExpr {
            let text = |s: &str| literal(Datum::Text(s), ScalarType::Text);
            let message = text(&format!("{what} must not be negative"));
            let raise = hirs::call(ids::RAISE, vec![text(code), message], ScalarType::Int64);
            let negative = hirs::call(ids::LT, vec![e.clone(), int8(0)], ScalarType::Bool);
            hirs::if_then(negative, raise, HirScalarExpr::Coalesce(vec![e, int8(none)]))
        };
        let limit = match (plan.limit_expr.take(), plan.limit.take()) {
            (Some(e), _) => Some(checked(e, u64::MAX, "LIMIT", "2201W")),
            (None, n) => n.map(int8),
        };
        let offset = match (plan.offset_expr.take(), std::mem::take(&mut plan.offset)) {
            (Some(e), _) => Some(checked(e, 0, "OFFSET", "2201X")),
            (None, 0) => None,
            (None, n) => Some(int8(n)),
        };
        let call = |name: &'static str| WindowCall {
            func: WindowFunc::Pure(name),
            args: vec![],
            arg_types: vec![],
            filter: None,
            partition_by: vec![],
            order_by: (plan.order_by.iter().enumerate())
                .map(|(i, o)| (column(o.column), ColumnOrder { column: i, ..*o }))
                .collect(),
            frame: Frame {
                units: Units::Range,
                start: Bound::UnboundedPreceding,
                end: Bound::CurrentRow,
                exclude: Exclude::NoOthers,
            },
            limits: vec![],
            ignore_nulls: false,
            ty: ScalarType::Int64,
        };
        let mut calls = vec![call("row_number")];
        if ties {
            calls.push(call("rank"));
        }
        let (rel, arity, places) = self.plan_windows(plan.rel, plan.arity, calls, env)?;
        let number = |i: usize| Ex::known(column(places[i]), ScalarType::Int64, false);
        let mut conditions = vec![];
        if let Some(limit) = limit {
            let mut n = number(usize::from(ties));
            if let Some(offset) = &offset {
                n = self.operator("-", vec![n, Ex::known(offset.clone(), ScalarType::Int64, false)])?;
            }
            conditions.push(hirs::call(ids::LE, vec![self.settle(n)?.0, limit], ScalarType::Bool));
        }
        if let Some(offset) = offset {
            conditions.push(hirs::call(ids::GT, vec![self.settle(number(0))?.0, offset], ScalarType::Bool));
        }
        (plan.rel, plan.arity) = (hirs::filter(rel, conditions), arity);
        Ok(plan)
    }

    /// A number of rows: known now, or an expression that the execution knows. NULL is none.
    fn plan_count(
        &self,
        e: &Expr,
        env: &Env,
        what: &'static str,
        code: &'static str,
    ) -> Result<(Option<u64>, Option<HirScalarExpr>), SqlError> {
        let scope = Rc::default();
        let ex = self.plan_expr(&Ctx::plain(&scope, env, what), e)?;
        let (planned, _) = self.at(e, self.coerce(ex, &ScalarType::Int64, CastContext::Assignment))?;
        match hirs::evaluate(&planned) {
            None => Ok((None, Some(planned))),
            Some(Err(err)) => Err(self.text.at(e.span(), err.into())),
            Some(Ok(row)) => match row.iter().next() {
                Some(Datum::Int64(n)) => match u64::try_from(n) {
                    Ok(n) => Ok((Some(n), None)),
                    Err(_) => {
                        Err(self.error(e.span(), SqlState::new(code), format!("{what} must not be negative")))
                    }
                },
                _ => Ok((None, None)),
            },
        }
    }

    /// The visible columns alone; limits are applied, order is not kept.
    pub fn relation_of(&self, mut plan: QueryPlan) -> Result<(HirRelationExpr, Vec<ColumnType>), SqlError> {
        if plan.limit_expr.is_some() || plan.offset_expr.is_some() {
            // Inside other queries this has been done when it was planned.
            plan = self.limit_by_numbers(plan, false, &Env::default())?;
        }
        let mut rel = plan.rel;
        if plan.limit.is_some() || plan.offset > 0 {
            rel = HirRelationExpr::TopK {
                input: Box::new(rel),
                group_key: vec![],
                order_key: plan.order_by,
                limit: plan.limit,
                offset: plan.offset,
            };
        }
        let types = plan.columns.into_iter().map(|c| c.1).collect();
        Ok((hirs::project(rel, plan.project, plan.arity), types))
    }

    /// Casts columns to these types.
    pub fn cast_relation(
        &self,
        rel: HirRelationExpr,
        found: &[ColumnType],
        wanted: &[ScalarType],
        context: CastContext,
    ) -> Result<HirRelationExpr, SqlError> {
        let arity = found.len();
        let mut scalars = vec![];
        let mut places = vec![];
        for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            if found.scalar == *wanted {
                places.push(i);
            } else {
                places.push(arity + scalars.len());
                scalars.push(self.coerce(Ex::Known(column(i), found.clone()), wanted, context)?.0);
            }
        }
        let total = arity + scalars.len();
        Ok(hirs::project(hirs::map(rel, scalars), places, total))
    }

    // ---- set operations and VALUES

    fn plan_set_expr(&self, body: &SetExpr, env: &Env) -> Result<Body, SqlError> {
        self.deeper(|| match body {
            SetExpr::Select(select) => Ok(Body::Select(Box::new(self.plan_select_body(select, env, &[])?))),
            SetExpr::Query(q) => {
                if q.with.is_none() && q.order_by.is_none() && q.limit_clause.is_none() && q.fetch.is_none() {
                    return self.plan_set_expr(&q.body, env);
                }
                let plan = self.plan_query(q, env)?;
                let columns = plan.columns.clone();
                let (rel, _) = self.relation_of(plan)?;
                Ok(Body::Planned { rel, columns })
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let all = match set_quantifier {
                    sp::SetQuantifier::All => true,
                    sp::SetQuantifier::Distinct | sp::SetQuantifier::None => false,
                    other => return Err(self.unsupported(body.span(), &format!("{op} {other}"), "")),
                };
                let at = right.span();
                let left = Box::new(self.plan_set_expr(left, env)?);
                let right = Box::new(self.plan_set_expr(right, env)?);
                let (l, r) = (body_columns(&left).len(), body_columns(&right).len());
                if l != r {
                    let message = format!("each {op} query must have the same number of columns");
                    return Err(self.error(at, code::SYNTAX_ERROR, message));
                }
                Ok(Body::Set { op: *op, all, left, right, at })
            }
            SetExpr::Values(values) => {
                let scope = Rc::new(Scope::default());
                let ctx = Ctx::plain(&scope, env, "VALUES");
                let mut rows = vec![];
                for row in &values.rows {
                    let exs =
                        row.content.iter().map(|e| self.plan_expr(&ctx, e)).collect::<Result<Vec<_>, _>>()?;
                    if rows.first().is_some_and(|first: &Vec<Ex>| first.len() != exs.len()) {
                        let at = row.content.first().map_or_else(|| values.span(), Spanned::span);
                        return Err(self.error(
                            at,
                            code::SYNTAX_ERROR,
                            "VALUES lists must all be the same length",
                        ));
                    }
                    rows.push(exs);
                }
                Ok(Body::Values(rows, values.span()))
            }
            SetExpr::Table(_) => Err(self.unsupported(body.span(), "TABLE here", "Use SELECT * FROM.")),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => Err(self
                .unsupported(
                    body.span(),
                    "a statement that changes data inside a query",
                    "Run it on its own.",
                )),
        })
    }

    /// Settles the types of a body: open columns take `targets`, or what the other arms have, or text.
    fn finish(&self, body: Body, targets: &[Option<ScalarType>]) -> Result<Finished, SqlError> {
        match body {
            Body::Select(select) => self.finish_select(*select, targets),
            Body::Planned { rel, columns } => {
                let arity = columns.len();
                let types: Vec<ColumnType> = columns.into_iter().map(|c| c.1).collect();
                Ok(Finished { rel, arity, project: (0..arity).collect(), types, order_by: vec![] })
            }
            Body::Values(rows, at) => {
                let arity = rows.first().map_or(0, Vec::len);
                let mut types = vec![];
                let mut columns: Vec<Vec<HirScalarExpr>> = rows.iter().map(|_| vec![]).collect();
                for i in 0..arity {
                    let mut cells: Vec<Ex> = rows.iter().map(|r| r[i].clone()).collect();
                    // A target settles what is open in every row.
                    if let Some(Some(target)) = targets.get(i)
                        && cells.iter().all(|c| c.ty().is_none())
                    {
                        cells = cells
                            .into_iter()
                            .map(|c| {
                                self.coerce(c, target, CastContext::Assignment).map(|(e, t)| Ex::Known(e, t))
                            })
                            .collect::<Result<_, _>>()
                            .map_err(|e| self.text.at(at, e))?;
                    }
                    let (cells, ty) = self.unify(cells, "VALUES").map_err(|e| self.text.at(at, e))?;
                    for (row, cell) in columns.iter_mut().zip(cells) {
                        row.push(hirs::folded(cell, &ty));
                    }
                    types.push(ty);
                }
                Ok(Finished {
                    rel: values(columns, &types),
                    arity,
                    project: (0..arity).collect(),
                    types,
                    order_by: vec![],
                })
            }
            Body::Set { .. } => {
                let arity = body_columns(&body).len();
                let mut open = vec![vec![]; arity];
                leaf_types(&body, &mut open);
                let what = if let Body::Set { op, .. } = &body { op.to_string() } else { String::new() };
                let at = if let Body::Set { at, .. } = &body { *at } else { Span::empty() };
                let mut wanted = vec![];
                for (i, types) in open.iter().enumerate() {
                    let target = targets.get(i).cloned().flatten();
                    wanted.push(match target {
                        Some(t) if types.iter().all(Option::is_none) => t,
                        _ => resolve::common_type(types, &what).map_err(|e| self.text.at(at, e))?,
                    });
                }
                let (rel, types) = self.finish_set(body, &wanted)?;
                Ok(Finished { rel, arity, project: (0..arity).collect(), types, order_by: vec![] })
            }
        }
    }

    fn finish_set(
        &self,
        body: Body,
        wanted: &[ScalarType],
    ) -> Result<(HirRelationExpr, Vec<ColumnType>), SqlError> {
        let (op, all, left, right) = match body {
            Body::Set { op, all, left, right, .. } => (op, all, left, right),
            leaf => {
                let targets: Vec<_> = wanted.iter().cloned().map(Some).collect();
                let done = self.finish(leaf, &targets)?;
                let rel = hirs::project(done.rel, done.project, done.arity);
                let rel = self.cast_relation(rel, &done.types, wanted, CastContext::Implicit)?;
                let types =
                    done.types.iter().zip(wanted).map(|(f, w)| w.clone().nullable(f.nullable)).collect();
                return Ok((rel, types));
            }
        };
        let (l, lt) = self.finish_set(*left, wanted)?;
        let (r, rt) = self.finish_set(*right, wanted)?;
        let either =
            || lt.iter().zip(&rt).map(|(l, r)| l.scalar.clone().nullable(l.nullable || r.nullable)).collect();
        let distinct = |rel: HirRelationExpr| HirRelationExpr::Distinct { input: Box::new(rel) };
        let negate = |rel: HirRelationExpr| HirRelationExpr::Negate { input: Box::new(rel) };
        let threshold = |rel: HirRelationExpr| HirRelationExpr::Threshold { input: Box::new(rel) };
        let union = |a: HirRelationExpr, b: HirRelationExpr| {
            let mut inputs = match a {
                HirRelationExpr::Union { inputs } => inputs,
                other => vec![other],
            };
            match b {
                HirRelationExpr::Union { inputs: more } => inputs.extend(more),
                other => inputs.push(other),
            }
            HirRelationExpr::Union { inputs }
        };
        Ok(match op {
            sp::SetOperator::Union if all => (union(l, r), either()),
            sp::SetOperator::Union => {
                // UNION of UNION is one DISTINCT.
                let l = if let HirRelationExpr::Distinct { input } = l { *input } else { l };
                (distinct(union(l, r)), either())
            }
            sp::SetOperator::Except | sp::SetOperator::Minus => {
                let (l, r) = if all { (l, r) } else { (distinct(l), distinct(r)) };
                (threshold(union(l, negate(r))), lt)
            }
            sp::SetOperator::Intersect => {
                let (l, r) = if all { (l, r) } else { (distinct(l), distinct(r)) };
                // l − (l − r)
                let id = self.fresh_local();
                let get = || HirRelationExpr::LocalGet { id, typ: lt.clone() };
                let rest = threshold(union(get(), negate(r)));
                let body = union(get(), negate(rest));
                (HirRelationExpr::Let { id, value: Box::new(l), body: Box::new(body) }, lt)
            }
        })
    }

    // ---- SELECT

    fn plan_select_body(
        &self,
        select: &sp::Select,
        env: &Env,
        order: &[sp::OrderByExpr],
    ) -> Result<SelectBody, SqlError> {
        self.refuse_odd_clauses(select)?;
        let from = self.plan_from(&select.from, env)?;
        let scope = Rc::new(from.scope);
        let mut rel = from.rel;
        if let Some(selection) = &select.selection {
            let predicate = self.plan_bool(&Ctx::plain(&scope, env, "WHERE"), selection, "WHERE")?;
            rel = hirs::filter(rel, vec![predicate]);
        }
        let calls = Rc::new(Calls::default());
        let ctx = Ctx {
            scope: &scope,
            env,
            clause: "SELECT",
            calls: Some(&calls),
            projection: true,
            in_aggregate: false,
            windows: &select.named_window,
        };
        let mut outputs = vec![];
        for item in &select.projection {
            self.plan_item(&ctx, item, &mut outputs)?;
            if outputs.len() > MAX_COLUMNS {
                return Err(too_many_columns());
            }
        }
        let grouped = match &select.group_by {
            sp::GroupByExpr::Expressions(es, _) => es.len(),
            sp::GroupByExpr::All(_) => 0,
        };
        if grouped.max(order.len()) > MAX_COLUMNS {
            return Err(too_many_columns());
        }
        let grouping = self.plan_group_by(&select.group_by, &ctx, &outputs)?;
        let having = match &select.having {
            Some(e) => {
                Some(self.plan_bool(&Ctx { projection: false, clause: "HAVING", ..ctx }, e, "HAVING")?)
            }
            None => None,
        };
        let mut targets = vec![];
        for o in order {
            let target = self.plan_target(&ctx, &o.expr, &outputs, "ORDER BY")?;
            targets.push((target, self.column_order(0, &o.options)?));
        }
        let mut distinct = match &select.distinct {
            None | Some(sp::Distinct::All) => Distinct::No,
            Some(sp::Distinct::Distinct) => Distinct::All,
            Some(sp::Distinct::On(es)) => {
                let on = es.iter().map(|e| self.plan_target(&ctx, e, &outputs, "DISTINCT ON"));
                Distinct::On(on.collect::<Result<_, _>>()?)
            }
        };
        let mut arity = from.arity;
        let (mut grouping, mut having) = (grouping, having);
        // From here on every expression over the FROM clause moves over what it becomes.
        let apply = |outputs: &mut Vec<(String, Ex)>,
                     targets: &mut Vec<(Target, ColumnOrder)>,
                     distinct: &mut Distinct,
                     f: &mut dyn FnMut(&mut HirScalarExpr)| {
            outputs.iter_mut().for_each(|(_, ex)| on_ex(ex, f));
            targets.iter_mut().for_each(|(t, _)| on_target(t, f));
            if let Distinct::On(on) = distinct {
                on.iter_mut().for_each(|t| on_target(t, f));
            }
        };
        // Grouping by what a set-returning function gives: it runs before.
        if grouping.iter().flat_map(|g| &g.keys).any(|k| refers_to_sets(&k.0)) {
            let places;
            (rel, arity, places) = self.plan_sets(rel, arity, calls.sets.take())?;
            let mut f = |e: &mut HirScalarExpr| replace(e, SETS, &|i| places[i]);
            apply(&mut outputs, &mut targets, &mut distinct, &mut f);
            grouping.iter_mut().flat_map(|g| &mut g.keys).for_each(|k| f(&mut k.0));
            having.iter_mut().for_each(&mut f);
        }
        let grouped = grouping.is_some() || !calls.aggregates.borrow().is_empty() || having.is_some();
        if grouped {
            let grouping = grouping.unwrap_or_default();
            let aggregates = calls.aggregates.borrow().clone();
            let groupings = calls.groupings.borrow().clone();
            let keys: Vec<HirScalarExpr> = grouping.keys.iter().map(|k| k.0.clone()).collect();
            (rel, arity) = self.reduce(rel, arity, &grouping, aggregates, env);
            let mut rewriter = GroupRewriter {
                keys: &keys,
                groupings: &groupings,
                with_sets: grouping.sets.len() > 1,
                arity,
                failed: None,
            };
            let mut f = |e: &mut HirScalarExpr| rewriter.rewrite(e);
            apply(&mut outputs, &mut targets, &mut distinct, &mut f);
            for w in calls.windows.borrow_mut().iter_mut() {
                w.parts_mut().for_each(&mut f);
            }
            for s in calls.sets.borrow_mut().iter_mut() {
                s.args.iter_mut().for_each(&mut f);
            }
            let having = having.map(|mut e| {
                f(&mut e);
                e
            });
            if let Some((position, in_subquery)) = rewriter.failed {
                let named = calls.named.borrow();
                let (place, name) = match named.get(&position) {
                    Some((place, name)) => (*place, name.clone()),
                    None => (None, self.column_name(&scope, position)),
                };
                let message = if in_subquery {
                    format!("subquery uses ungrouped column \"{name}\" from outer query")
                } else {
                    format!(
                        "column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"
                    )
                };
                let e = error(code::GROUPING_ERROR, message);
                return Err(match place {
                    Some(place) => e.at(place),
                    None => e,
                });
            }
            if let Some(having) = having {
                rel = hirs::filter(rel, vec![having]);
            }
        }
        let windows = calls.windows.take();
        if !windows.is_empty() {
            let places;
            (rel, arity, places) = self.plan_windows(rel, arity, windows, env)?;
            let mut f = |e: &mut HirScalarExpr| replace(e, WINDOWS, &|i| places[i]);
            apply(&mut outputs, &mut targets, &mut distinct, &mut f);
            for s in calls.sets.borrow_mut().iter_mut() {
                s.args.iter_mut().for_each(&mut f);
            }
        }
        let sets = calls.sets.take();
        if !sets.is_empty() {
            let places;
            (rel, arity, places) = self.plan_sets(rel, arity, sets)?;
            apply(&mut outputs, &mut targets, &mut distinct, &mut |e| replace(e, SETS, &|i| places[i]));
        }
        let order_at = order.iter().map(|o| o.expr.span()).collect();
        let on_at = match &select.distinct {
            Some(sp::Distinct::On(es)) => es.iter().map(Spanned::span).collect(),
            _ => vec![],
        };
        Ok(SelectBody { rel, arity, outputs, order: targets, order_at, on_at, distinct })
    }

    fn refuse_odd_clauses(&self, select: &sp::Select) -> Result<(), SqlError> {
        let at = select.select_token.0.span;
        let odd = [
            (select.top.is_some(), "TOP", "Use LIMIT."),
            (select.into.is_some(), "SELECT INTO", "Use CREATE MATERIALIZED VIEW."),
            (!select.lateral_views.is_empty(), "LATERAL VIEW", "Use LATERAL."),
            (select.prewhere.is_some(), "PREWHERE", "Use WHERE."),
            (!select.connect_by.is_empty(), "CONNECT BY", "Use WITH MUTUALLY RECURSIVE."),
            (!select.cluster_by.is_empty(), "CLUSTER BY", ""),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY", ""),
            (!select.sort_by.is_empty(), "SORT BY", "Use ORDER BY."),
            (select.qualify.is_some(), "QUALIFY", "Filter in a query around this one."),
            (select.value_table_mode.is_some(), "SELECT AS", ""),
        ];
        match odd.iter().find(|o| o.0) {
            Some((_, what, instead)) => Err(self.unsupported(at, what, instead)),
            None => Ok(()),
        }
    }

    /// One item of a SELECT list; a star is many columns.
    pub fn plan_item(
        &self,
        ctx: &Ctx<'_>,
        item: &SelectItem,
        out: &mut Vec<(String, Ex)>,
    ) -> Result<(), SqlError> {
        let mut push = |level: usize, c: &crate::scope::ScopeColumn| {
            if let (0, Some(calls)) = (level, ctx.calls) {
                let place =
                    || (self.text.position(item.span().start), self.column_name(ctx.scope, c.position));
                calls.named.borrow_mut().entry(c.position).or_insert_with(place);
            }
            let e = HirScalarExpr::Column(ColumnRef { level, column: c.position });
            out.push((c.name.clone(), Ex::Known(e, c.ty.clone())));
        };
        match item {
            SelectItem::UnnamedExpr(Expr::CompoundFieldAccess { root, access_chain })
                if let Some((sp::AccessExpr::Dot(Expr::Identifier(star)), rest)) =
                    access_chain.split_last()
                    && star.value == crate::dialect::STAR =>
            {
                let (record, ty) = match rest {
                    [] => self.plan_known(ctx, root)?,
                    rest => {
                        let access_chain = rest.to_vec();
                        self.plan_known(ctx, &Expr::CompoundFieldAccess { root: root.clone(), access_chain })?
                    }
                };
                self.plan_record_star(root.span(), record, ty.scalar, out)?;
            }
            SelectItem::UnnamedExpr(e) => {
                let ex = self.plan_expr(ctx, e)?;
                out.push((column_name(e), ex));
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                let ex = self.plan_expr(ctx, expr)?;
                out.push((fold(alias), ex));
            }
            SelectItem::Wildcard(options) => {
                self.refuse_star_options(options)?;
                if ctx.scope.tables.is_empty() {
                    let message = "SELECT * with no tables specified is not valid";
                    return Err(self.error(item.span(), code::SYNTAX_ERROR, message));
                }
                ctx.scope.all().for_each(|c| push(0, c));
            }
            SelectItem::QualifiedWildcard(sp::SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                self.refuse_star_options(options)?;
                let path = self.parts(name)?;
                let found = crate::scope::resolve_star(ctx.scope, ctx.env, &path);
                let (level, columns) = found.map_err(|e| self.text.at(name.span(), e))?;
                columns.into_iter().for_each(|c| push(level, c));
            }
            SelectItem::QualifiedWildcard(sp::SelectItemQualifiedWildcardKind::Expr(e), options) => {
                self.refuse_star_options(options)?;
                let (record, ty) = self.plan_known(ctx, e)?;
                self.plan_record_star(e.span(), record, ty.scalar, out)?;
            }
            SelectItem::ExprWithAliases { expr, .. } => {
                return Err(self.unsupported(expr.span(), "several aliases of one expression", ""));
            }
        }
        Ok(())
    }

    /// `(record).*`: its fields.
    fn plan_record_star(
        &self,
        at: Span,
        record: HirScalarExpr,
        ty: ScalarType,
        out: &mut Vec<(String, Ex)>,
    ) -> Result<(), SqlError> {
        let ScalarType::Record(fields) = ty else {
            let message = format!("type {} is not composite", ty.name());
            return Err(self.error(at, code::WRONG_OBJECT_TYPE, message));
        };
        for (i, (name, ty)) in fields.into_iter().enumerate() {
            let n = literal(Datum::Int32(i as i32), ScalarType::Int32);
            let field = hirs::call(ids::RECORD_GET, vec![record.clone(), n], ty.scalar.clone());
            out.push((name, Ex::known(field, ty.scalar, true)));
        }
        Ok(())
    }

    fn refuse_star_options(&self, o: &sp::WildcardAdditionalOptions) -> Result<(), SqlError> {
        let odd = o.opt_ilike.is_some()
            || o.opt_exclude.is_some()
            || o.opt_except.is_some()
            || o.opt_replace.is_some()
            || o.opt_rename.is_some();
        if odd {
            return Err(self.unsupported(o.wildcard_token.0.span, "an option of *", "Name the columns."));
        }
        Ok(())
    }

    /// A position in the SELECT list, if the literal is a number.
    fn ordinal(&self, value: &Value, columns: usize, clause: &str) -> Result<Option<usize>, SqlError> {
        match value {
            Value::Number(n, _) => match n.parse::<usize>() {
                Ok(i) if (1..=columns).contains(&i) => Ok(Some(i - 1)),
                Ok(_) => Err(error(
                    INVALID_COLUMN_REFERENCE,
                    format!("{clause} position {n} is not in select list"),
                )),
                Err(_) => Err(error(code::SYNTAX_ERROR, format!("non-integer constant in {clause}"))),
            },
            Value::SingleQuotedString(_) | Value::Boolean(_) | Value::Null => {
                Err(error(code::SYNTAX_ERROR, format!("non-integer constant in {clause}")))
            }
            _ => Ok(None),
        }
    }

    /// What ORDER BY and DISTINCT ON name: an output by position or name, else an expression over the input.
    fn plan_target(
        &self,
        ctx: &Ctx<'_>,
        e: &Expr,
        outputs: &[(String, Ex)],
        clause: &'static str,
    ) -> Result<Target, SqlError> {
        match strip(e) {
            Expr::Value(v) => {
                if let Some(i) =
                    self.ordinal(&v.value, outputs.len(), clause).map_err(|e| self.text.at(v.span, e))?
                {
                    return Ok(Target::Output(i));
                }
            }
            Expr::Identifier(ident) => {
                let name = fold(ident);
                let mut found = outputs.iter().enumerate().filter(|(_, o)| o.0 == name);
                if let Some((i, first)) = found.next() {
                    for (_, other) in found {
                        let same = match (&first.1, &other.1) {
                            (Ex::Known(a, _), Ex::Known(b, _)) => a == b,
                            _ => false,
                        };
                        if !same {
                            let message = format!("{clause} \"{name}\" is ambiguous");
                            return Err(self.error(ident.span, code::AMBIGUOUS_COLUMN, message));
                        }
                    }
                    return Ok(Target::Output(i));
                }
            }
            _ => {}
        }
        let ctx = Ctx { clause, ..*ctx };
        let (planned, _) = self.plan_known(&ctx, e)?;
        let same = outputs.iter().position(|(_, ex)| matches!(ex, Ex::Known(o, _) if *o == planned));
        Ok(same.map_or(Target::Expr(planned), Target::Output))
    }

    /// GROUP BY; none: there is no such clause.
    fn plan_group_by(
        &self,
        group_by: &GroupByExpr,
        ctx: &Ctx<'_>,
        outputs: &[(String, Ex)],
    ) -> Result<Option<Grouping>, SqlError> {
        let exprs = match group_by {
            GroupByExpr::Expressions(es, modifiers) if modifiers.is_empty() => es,
            _ => {
                return Err(self.unsupported(
                    group_by.span(),
                    "this form of GROUP BY",
                    "Name the expressions.",
                ));
            }
        };
        if exprs.is_empty() {
            return Ok(None);
        }
        let mut grouping = Grouping { keys: vec![], sets: vec![vec![]] };
        for e in exprs {
            // Each item is a list of sets; the whole is their product.
            let sets = self.grouping_item(e, ctx, outputs, &mut grouping.keys)?;
            let mut product = vec![];
            for left in &grouping.sets {
                for right in &sets {
                    product.push(left.iter().chain(right).copied().collect::<Vec<usize>>());
                }
            }
            if product.len() > 4_096 {
                return Err(self.error(
                    e.span(),
                    SqlState::new("54011"),
                    "too many grouping sets present (maximum 4096)",
                ));
            }
            grouping.sets = product;
        }
        Ok(Some(grouping))
    }

    fn grouping_item(
        &self,
        e: &Expr,
        ctx: &Ctx<'_>,
        outputs: &[(String, Ex)],
        keys: &mut Vec<(HirScalarExpr, ColumnType)>,
    ) -> Result<Vec<Vec<usize>>, SqlError> {
        let list = |es: &[Expr], keys: &mut Vec<_>| -> Result<Vec<usize>, SqlError> {
            let mut set = vec![];
            for e in es {
                for one in self.grouping_item(e, ctx, outputs, keys)? {
                    set.extend(one);
                }
            }
            Ok(set)
        };
        match e {
            Expr::GroupingSets(sets) => {
                let mut out = vec![];
                for set in sets {
                    match &set[..] {
                        [inner @ (Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_))] => {
                            out.extend(self.grouping_item(inner, ctx, outputs, keys)?)
                        }
                        es => out.push(list(es, keys)?),
                    }
                }
                Ok(out)
            }
            Expr::Rollup(parts) => {
                let parts = parts.iter().map(|p| list(p, keys)).collect::<Result<Vec<_>, _>>()?;
                Ok((0..=parts.len()).rev().map(|n| parts[..n].concat()).collect())
            }
            Expr::Cube(parts) => {
                if parts.len() > 12 {
                    return Err(self.error(
                        e.span(),
                        SqlState::new("54011"),
                        "CUBE is limited to 12 elements",
                    ));
                }
                let parts = parts.iter().map(|p| list(p, keys)).collect::<Result<Vec<_>, _>>()?;
                let pick = |mask: usize| {
                    let bit = |i: &usize| mask & (1 << (parts.len() - 1 - i)) != 0;
                    (0..parts.len()).filter(bit).flat_map(|i| parts[i].clone()).collect()
                };
                Ok((0..1usize << parts.len()).rev().map(pick).collect())
            }
            Expr::Tuple(es) => Ok(vec![list(es, keys)?]),
            Expr::Nested(inner) => self.grouping_item(inner, ctx, outputs, keys),
            e => {
                let plain = Ctx { calls: None, projection: false, clause: "GROUP BY", ..*ctx };
                let output = |i: usize| -> Result<(HirScalarExpr, ColumnType), SqlError> {
                    let ex = outputs[i].1.clone();
                    let (key, ty) = self.settle(ex)?;
                    let mut aggregate = false;
                    hirs::rewrite(&mut key.clone(), 0, &mut |e, depth| {
                        aggregate |= matches!(e, HirScalarExpr::Column(c) if c.level == depth && (AGGREGATES..SETS).contains(&c.column));
                        false
                    });
                    if aggregate {
                        return Err(error(
                            code::GROUPING_ERROR,
                            "aggregate functions are not allowed in GROUP BY",
                        ));
                    }
                    Ok((key, ty))
                };
                let key = match e {
                    Expr::Value(v) => {
                        let i = self
                            .ordinal(&v.value, outputs.len(), "GROUP BY")
                            .map_err(|e| self.text.at(v.span, e))?;
                        match i {
                            Some(i) => self.at(e, output(i))?,
                            None => self.plan_known(&plain, e)?,
                        }
                    }
                    Expr::Identifier(ident) => {
                        // A column of the input wins over an alias.
                        let name = fold(ident);
                        let of_input = ctx.scope.columns.iter().any(|c| c.bare && c.name == name);
                        match outputs.iter().position(|o| o.0 == name) {
                            Some(i) if !of_input => self.at(e, output(i))?,
                            _ => self.plan_known(&plain, e)?,
                        }
                    }
                    _ => self.plan_known(&plain, e)?,
                };
                let index = keys.iter().position(|k| k.0 == key.0).unwrap_or_else(|| {
                    keys.push(key);
                    keys.len() - 1
                });
                Ok(vec![vec![index]])
            }
        }
    }

    /// Groups: keys, then aggregates; with several sets also whether each key is missing (0 or 1, int4).
    fn reduce(
        &self,
        rel: HirRelationExpr,
        arity: usize,
        grouping: &Grouping,
        aggregates: Vec<plan::hir::HirAggregateExpr>,
        env: &Env,
    ) -> (HirRelationExpr, usize) {
        let mut maps = vec![];
        let mut places = vec![];
        for (key, _) in &grouping.keys {
            match key {
                HirScalarExpr::Column(ColumnRef { level: 0, column }) => places.push(*column),
                other => {
                    places.push(arity + maps.len());
                    maps.push(other.clone());
                }
            }
        }
        let input = hirs::map(rel, maps);
        let (k, a) = (grouping.keys.len(), aggregates.len());
        if let [] | [_] = &grouping.sets[..] {
            let rel = HirRelationExpr::Reduce { input: Box::new(input), group_key: places, aggregates };
            return (rel, k + a);
        }
        let id = self.fresh_local();
        let typ = hirs::types_in(&input, env);
        let mut arms = vec![];
        for set in &grouping.sets {
            let present: Vec<usize> = (0..k).filter(|i| set.contains(i)).collect();
            let get = HirRelationExpr::LocalGet { id, typ: typ.clone() };
            let reduce = HirRelationExpr::Reduce {
                input: Box::new(get),
                group_key: present.iter().map(|i| places[*i]).collect(),
                aggregates: aggregates.clone(),
            };
            let width = present.len() + a;
            let mut scalars = vec![];
            let mut columns = vec![];
            for (i, (_, ty)) in grouping.keys.iter().enumerate() {
                columns.push(match present.iter().position(|p| *p == i) {
                    Some(p) => p,
                    None => {
                        scalars.push(literal(Datum::Null, ty.scalar.clone()));
                        width + scalars.len() - 1
                    }
                });
            }
            columns.extend((0..a).map(|i| present.len() + i));
            for i in 0..k {
                scalars.push(literal(Datum::Int32(i32::from(!present.contains(&i))), ScalarType::Int32));
                columns.push(width + scalars.len() - 1);
            }
            let total = width + scalars.len();
            arms.push(hirs::project(hirs::map(reduce, scalars), columns, total));
        }
        let body = HirRelationExpr::Union { inputs: arms };
        let rel = HirRelationExpr::Let { id, value: Box::new(input), body: Box::new(body) };
        (rel, k + a + k)
    }

    /// The last projection of a SELECT, its DISTINCT and its order.
    fn finish_select(&self, body: SelectBody, targets: &[Option<ScalarType>]) -> Result<Finished, SqlError> {
        let SelectBody { rel, mut arity, outputs, order, order_at, on_at, distinct } = body;
        let mut scalars: Vec<HirScalarExpr> = vec![];
        let base = arity;
        let mut place = |e: HirScalarExpr| match e {
            HirScalarExpr::Column(ColumnRef { level: 0, column }) => column,
            e => match scalars.iter().position(|s| *s == e && hirs::volatile(&e).is_none()) {
                Some(i) => base + i,
                None => {
                    scalars.push(e);
                    base + scalars.len() - 1
                }
            },
        };
        let mut project = vec![];
        let mut types = vec![];
        for (i, (_, ex)) in outputs.into_iter().enumerate() {
            let (e, ty) = match (&ex, targets.get(i)) {
                (Ex::Str(..) | Ex::Null | Ex::Param(_), Some(Some(target))) => {
                    self.coerce(ex, target, CastContext::Assignment)?
                }
                _ => self.settle(ex)?,
            };
            project.push(place(e));
            types.push(ty);
        }
        let mut order_by = vec![];
        for ((target, o), at) in order.iter().zip(order_at) {
            let column = match target {
                Target::Output(i) => project[*i],
                Target::Expr(e) => place(e.clone()),
            };
            if matches!(distinct, Distinct::All) && !project.contains(&column) {
                let message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
                return Err(self.error(at, INVALID_COLUMN_REFERENCE, message));
            }
            order_by.push(ColumnOrder { column, ..*o });
        }
        let on: Vec<usize> = match &distinct {
            Distinct::On(on) => on
                .iter()
                .map(|t| match t {
                    Target::Output(i) => project[*i],
                    Target::Expr(e) => place(e.clone()),
                })
                .collect(),
            _ => vec![],
        };
        arity = base + scalars.len();
        let mut rel = hirs::map(rel, scalars);
        match distinct {
            Distinct::No => {}
            Distinct::All => {
                let places = project.clone();
                rel =
                    HirRelationExpr::Distinct { input: Box::new(hirs::project(rel, places.clone(), arity)) };
                arity = places.len();
                for o in &mut order_by {
                    o.column = places.iter().position(|p| *p == o.column).expect("it was checked above");
                }
                project = (0..arity).collect();
            }
            Distinct::On(_) => {
                let keys: BTreeSet<usize> = on.iter().copied().collect();
                let mut left = keys.clone();
                for o in &order_by {
                    if left.is_empty() {
                        break;
                    }
                    if !keys.contains(&o.column) {
                        let message =
                            "SELECT DISTINCT ON expressions must match initial ORDER BY expressions";
                        let at =
                            on.iter().position(|c| left.contains(c)).map_or_else(Span::empty, |i| on_at[i]);
                        return Err(self.error(at, INVALID_COLUMN_REFERENCE, message));
                    }
                    left.remove(&o.column);
                }
                rel = HirRelationExpr::TopK {
                    input: Box::new(rel),
                    group_key: keys.iter().copied().collect(),
                    order_key: order_by.iter().filter(|o| !keys.contains(&o.column)).copied().collect(),
                    limit: Some(1),
                    offset: 0,
                };
            }
        }
        Ok(Finished { rel, arity, project, types, order_by })
    }

    /// Set-returning functions of a SELECT list: those side by side run in step, those inside others first.
    pub fn plan_sets(
        &self,
        mut rel: HirRelationExpr,
        mut arity: usize,
        sets: Vec<crate::expr::SetCall>,
    ) -> Result<(HirRelationExpr, usize, Vec<usize>), SqlError> {
        let mut places: Vec<usize> = vec![];
        let total: usize = sets.iter().map(|s| s.columns.len()).sum();
        places.resize(total, usize::MAX);
        let mut rest = sets;
        while !rest.is_empty() {
            let ready = |s: &crate::expr::SetCall, places: &[usize]| {
                let mut ok = true;
                for a in &s.args {
                    hirs::rewrite(&mut a.clone(), 0, &mut |e, depth| {
                        if let HirScalarExpr::Column(c) = e
                            && c.level == depth
                            && (SETS..GROUPINGS).contains(&c.column)
                        {
                            ok &= places[c.column - SETS] != usize::MAX;
                        }
                        false
                    });
                }
                ok
            };
            let (now, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(|s| ready(s, &places));
            if now.is_empty() {
                return Err(SqlError::internal("set-returning functions that wait for each other"));
            }
            rest = later;
            let mut calls = vec![];
            let before = places.clone();
            for mut s in now {
                s.args.iter_mut().for_each(|a| replace(a, SETS, &|i| before[i]));
                for i in 0..s.columns.len() {
                    places[s.first + i] = arity + i;
                }
                arity += s.columns.len();
                calls.push(s);
            }
            rel = crate::from::flat_map(rel, calls, false);
        }
        Ok((rel, arity, places))
    }
}

/// What WITH binds a name to.
enum Binding {
    Once(HirRelationExpr),
    Recursive(HirRelationExpr, Vec<ColumnType>),
}

/// `SELECT … FROM recursive LIMIT n`: each round but the last gives a row, so n rounds are enough, also where there would
/// be no end to them.
fn rounds_that_are_enough(query: &sp::Query, plan: &QueryPlan) -> Option<(u64, bool)> {
    let with = query.with.as_ref()?;
    let SetExpr::Select(select) = &*query.body else { return None };
    let ([cte], [from]) = (&with.cte_tables[..], &select.from[..]) else { return None };
    let named = matches!(&from.relation, sp::TableFactor::Table { name, args: None, .. }
        if matches!(&name.0[..], [sp::ObjectNamePart::Identifier(i)] if fold(i) == fold(&cte.alias.name)));
    let plain = from.joins.is_empty()
        && select.selection.is_none()
        && select.distinct.is_none()
        && select.having.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(es, _) if es.is_empty())
        && query.order_by.is_none();
    // Projections keep the number of rows; aggregates and windows do not go by rows.
    let mut rel = &plan.rel;
    while let HirRelationExpr::Project { input, .. } | HirRelationExpr::Map { input, .. } = rel {
        rel = input;
    }
    let rows = matches!(rel, HirRelationExpr::LocalGet { .. });
    (named && plain && rows).then_some((plan.limit?.checked_add(plan.offset)?.max(1), false))
}

/// GROUP BY: keys, and which of them make up each set.
#[derive(Default)]
struct Grouping {
    keys: Vec<(HirScalarExpr, ColumnType)>,
    sets: Vec<Vec<usize>>,
}

/// Moves expressions from before a grouping to after it.
struct GroupRewriter<'k> {
    keys: &'k [HirScalarExpr],
    groupings: &'k [Vec<HirScalarExpr>],
    with_sets: bool,
    /// Of the grouped relation.
    arity: usize,
    /// The first column that is neither grouped nor in an aggregate, and whether a subquery names it.
    failed: Option<(usize, bool)>,
}

impl GroupRewriter<'_> {
    fn rewrite(&mut self, e: &mut HirScalarExpr) {
        let keys: Vec<Vec<HirScalarExpr>> = vec![self.keys.to_vec()];
        let mut by_depth = keys;
        let (k, arity, with_sets) = (self.keys.len(), self.arity, self.with_sets);
        let groupings = self.groupings;
        let own_keys = self.keys;
        let failed = &mut self.failed;
        hirs::rewrite(e, 0, &mut |e, depth| {
            while by_depth.len() <= depth {
                let next = by_depth[by_depth.len() - 1].iter().map(|k| hirs::inwards(k.clone(), 1)).collect();
                by_depth.push(next);
            }
            if let Some(i) = by_depth[depth].iter().position(|key| key == e) {
                *e = HirScalarExpr::Column(ColumnRef { level: depth, column: i });
                return true;
            }
            if let HirScalarExpr::Column(c) = e
                && c.level == depth
            {
                match c.column {
                    n if n >= GROUPINGS => {
                        // A bit an argument, the last the lowest.
                        let mut sum = literal(Datum::Int32(0), ScalarType::Int32);
                        if with_sets {
                            let args = &groupings[n - GROUPINGS];
                            for (i, arg) in args.iter().enumerate() {
                                let Some(key) = own_keys.iter().position(|key| key == arg) else { continue };
                                let bit = HirScalarExpr::Column(ColumnRef {
                                    level: depth,
                                    column: arity - k + key,
                                });
                                let weight =
                                    literal(Datum::Int32(1 << (args.len() - 1 - i)), ScalarType::Int32);
                                let zero = literal(Datum::Int32(0), ScalarType::Int32);
                                let set = hirs::call(
                                    ids::EQ,
                                    vec![bit, literal(Datum::Int32(1), ScalarType::Int32)],
                                    ScalarType::Bool,
                                );
                                let value = hirs::if_then(set, weight, zero);
                                sum = add_int4(sum, value);
                            }
                        }
                        *e = sum;
                    }
                    n if n >= WINDOWS => {}
                    n if n >= AGGREGATES => c.column = k + (n - AGGREGATES),
                    n => {
                        failed.get_or_insert((n, depth > 0));
                    }
                }
                return true;
            }
            false
        });
    }
}

fn add_int4(a: HirScalarExpr, b: HirScalarExpr) -> HirScalarExpr {
    match resolve::operator("+", &[Some(ScalarType::Int32), Some(ScalarType::Int32)]) {
        Ok(resolve::Resolved { imp: resolve::Implementation::Scalar(func), .. }) => {
            HirScalarExpr::Call { func, args: vec![a, b], ty: ScalarType::Int32 }
        }
        _ => a,
    }
}

/// Whether an expression reads what a set-returning function gives.
fn refers_to_sets(e: &HirScalarExpr) -> bool {
    let mut found = false;
    hirs::rewrite(&mut e.clone(), 0, &mut |e, depth| {
        found |= matches!(e, HirScalarExpr::Column(c) if c.level == depth && (SETS..GROUPINGS).contains(&c.column));
        false
    });
    found
}

/// Puts columns in the place of those that stand for calls, from `base` on.
pub(crate) fn replace(e: &mut HirScalarExpr, base: usize, place: &dyn Fn(usize) -> usize) {
    hirs::rewrite(e, 0, &mut |e, depth| {
        if let HirScalarExpr::Column(c) = e
            && c.level == depth
            && c.column >= base
            && c.column < base + AGGREGATES
        {
            c.column = place(c.column - base);
        }
        false
    });
}

fn on_ex(ex: &mut Ex, f: &mut dyn FnMut(&mut HirScalarExpr)) {
    match ex {
        Ex::Known(e, _) => f(e),
        Ex::Row(parts) => parts.iter_mut().for_each(|p| on_ex(p, f)),
        _ => {}
    }
}

fn on_target(t: &mut Target, f: &mut dyn FnMut(&mut HirScalarExpr)) {
    if let Target::Expr(e) = t {
        f(e);
    }
}

/// Names, and types where they are settled.
fn body_columns(body: &Body) -> Vec<(String, Option<ScalarType>)> {
    match body {
        Body::Select(s) => s.outputs.iter().map(|(n, ex)| (n.clone(), ex.ty())).collect(),
        Body::Values(rows, _) => {
            let first = rows.first().map_or(&[][..], |r| r);
            first.iter().enumerate().map(|(i, ex)| (format!("column{}", i + 1), ex.ty())).collect()
        }
        Body::Set { left, .. } => body_columns(left),
        Body::Planned { columns, .. } => {
            columns.iter().map(|(n, t)| (n.clone(), Some(t.scalar.clone()))).collect()
        }
    }
}

/// For each column the types of all leaves.
fn leaf_types(body: &Body, out: &mut [Vec<Option<ScalarType>>]) {
    match body {
        Body::Set { left, right, .. } => {
            leaf_types(left, out);
            leaf_types(right, out);
        }
        Body::Values(rows, _) => {
            for row in rows {
                out.iter_mut().zip(row).for_each(|(o, ex)| o.push(ex.ty()));
            }
        }
        leaf => out.iter_mut().zip(body_columns(leaf)).for_each(|(o, c)| o.push(c.1)),
    }
}

/// Rows of expressions: a constant if they all are.
pub(crate) fn values(rows: Vec<Vec<HirScalarExpr>>, types: &[ColumnType]) -> HirRelationExpr {
    let literal_row = |row: &Vec<HirScalarExpr>| {
        let mut out = Row::default();
        for e in row {
            match e {
                HirScalarExpr::Literal(Ok(r), _) => out.extend_packed(r.as_ref()),
                _ => return None,
            }
        }
        Some((out, 1))
    };
    if let Some(rows) = rows.iter().map(literal_row).collect::<Option<Vec<_>>>() {
        return HirRelationExpr::Constant { rows: Ok(rows), typ: types.to_vec() };
    }
    if rows.len() > 1 && rows.iter().flatten().any(|e| hirs::volatile(e).is_some()) {
        return volatile_values(rows);
    }
    let mut inputs: Vec<HirRelationExpr> = rows.into_iter().map(|row| hirs::map(hirs::unit(), row)).collect();
    if inputs.len() == 1 { inputs.remove(0) } else { HirRelationExpr::Union { inputs } }
}

/// Rows of which some call volatile functions: the rows' numbers, and for each column a choice by them.
fn volatile_values(rows: Vec<Vec<HirScalarExpr>>) -> HirRelationExpr {
    let number = |i: usize| literal(Datum::Int64(i as i64), ScalarType::Int64);
    let width = rows.first().map_or(0, Vec::len);
    let numbers = (0..rows.len()).map(|i| (Row::pack([Datum::Int64(i as i64)]), 1)).collect();
    let mut columns: Vec<Vec<HirScalarExpr>> = vec![vec![]; width];
    rows.into_iter().for_each(|row| columns.iter_mut().zip(row).for_each(|(c, e)| c.push(e)));
    let choose = |cells: Vec<HirScalarExpr>| {
        if cells.iter().all(|c| *c == cells[0]) {
            return cells.into_iter().next().expect("there are rows");
        }
        let mut cells = cells.into_iter().enumerate().rev();
        let last = cells.next().expect("there are rows").1;
        cells.fold(last, |rest, (i, cell)| {
            let here = hirs::call(ids::EQ, vec![column(0), number(i)], ScalarType::Bool);
            hirs::if_then(here, cell, rest)
        })
    };
    let input = HirRelationExpr::Constant { rows: Ok(numbers), typ: vec![ScalarType::Int64.nullable(false)] };
    let scalars = columns.into_iter().map(choose).collect();
    hirs::project(hirs::map(input, scalars), (1..=width).collect(), width + 1)
}

/// Expressions that the finishing appends.
pub(crate) fn finishing_map(map: Vec<HirScalarExpr>) -> Result<Vec<plan::ScalarExpr>, SqlError> {
    let one = |e: HirScalarExpr| {
        let name = hirs::volatile(&e).unwrap_or("random");
        hirs::to_scalar(e).map_err(|_| misplaced(name))
    };
    map.into_iter().map(one).collect()
}

fn misplaced(name: &str) -> SqlError {
    SqlError::unsupported(
        format!("{name}() here"),
        "Call it in the SELECT list, VALUES, SET or ORDER BY of the outermost query.",
    )
}

/// From HIR to what runs.
pub(crate) fn lower(rel: HirRelationExpr) -> Result<RelationExpr, SqlError> {
    if let Some(name) = hirs::volatile_in(&rel) {
        return Err(misplaced(name));
    }
    Ok(plan::transform::optimize(plan::decorrelate::decorrelate(rel)?))
}

/// The name that Postgres gives an unnamed output.
pub(crate) fn column_name(e: &Expr) -> String {
    name_of(e).map_or_else(|| "?column?".into(), |n| n.0)
}

/// The name, and whether it holds against a cast's type.
fn name_of(e: &Expr) -> Option<(String, bool)> {
    let weak = |s: &str| Some((s.to_string(), false));
    let strong = |s: &str| Some((s.to_string(), true));
    match e {
        Expr::Nested(e) => name_of(e),
        Expr::Identifier(i) => Some((fold(i), true)),
        Expr::CompoundIdentifier(is) => is.last().map(|i| (fold(i), true)),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|a| match a {
                sp::AccessExpr::Dot(Expr::Identifier(i)) => Some((fold(i), true)),
                _ => None,
            });
            field.or_else(|| name_of(root))
        }
        Expr::Function(f) => {
            let name = f.name.0.last().and_then(|p| p.as_ident()).map(fold)?;
            match name.as_str() {
                crate::dialect::BETWEEN_SYMMETRIC | crate::dialect::NOT_BETWEEN_SYMMETRIC => None,
                crate::dialect::LIST => strong("list"),
                crate::dialect::MAP => strong("map"),
                _ => Some((name, true)),
            }
        }
        Expr::Cast { expr, data_type, .. } => match name_of(expr) {
            Some((name, true)) => Some((name, true)),
            _ => Some((type_name(data_type), false)),
        },
        Expr::TypedString(t) => Some((type_name(&t.data_type), false)),
        Expr::Interval(_) => weak("interval"),
        Expr::Value(v) if matches!(v.value, Value::Boolean(_)) => weak("bool"),
        Expr::Case { else_result, .. } => match else_result.as_ref().and_then(|e| name_of(e)) {
            Some((name, true)) => Some((name, true)),
            _ => weak("case"),
        },
        Expr::Collate { expr, .. } => name_of(expr),
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::Subquery(q) => match &*q.body {
            SetExpr::Select(s) => match s.projection.first()? {
                SelectItem::UnnamedExpr(e) => name_of(e).map(|n| (n.0, true)),
                SelectItem::ExprWithAlias { alias, .. } => Some((fold(alias), true)),
                _ => None,
            },
            SetExpr::Values(_) => strong("column1"),
            _ => None,
        },
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(sp::TrimWhereField::Leading) => "ltrim",
            Some(sp::TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        _ => None,
    }
}

/// The type's name as Postgres' catalog has it.
fn type_name(ty: &sp::DataType) -> String {
    if let sp::DataType::Array(
        sp::ArrayElemTypeDef::AngleBracket(t)
        | sp::ArrayElemTypeDef::SquareBracket(t, _)
        | sp::ArrayElemTypeDef::Parenthesis(t)
        | sp::ArrayElemTypeDef::Qualified(t, _),
    ) = ty
    {
        return type_name(t);
    }
    let text = ty.to_string().to_lowercase();
    let base = text.split('(').next().unwrap_or(&text).trim();
    let base = base.rsplit('.').next().unwrap_or(base);
    match base {
        "integer" | "int" => "int4".into(),
        "bigint" => "int8".into(),
        "smallint" => "int2".into(),
        "boolean" => "bool".into(),
        "real" => "float4".into(),
        "double precision" | "double" | "float" => "float8".into(),
        "decimal" | "dec" => "numeric".into(),
        "character varying" | "char varying" => "varchar".into(),
        "character" | "char" => "bpchar".into(),
        "string" => "text".into(),
        "bytes" => "bytea".into(),
        "json" => "jsonb".into(),
        _ if base.starts_with("timestamp") => {
            if text.contains("with time zone") || base == "timestamptz" {
                "timestamptz".into()
            } else {
                "timestamp".into()
            }
        }
        _ if base.starts_with("time") => "time".into(),
        other => other.trim_matches('"').to_string(),
    }
}
