//! FROM: tables, subqueries, functions that return rows, and joins of them.

use std::rc::Rc;

use plan::func::resolve::{self, CastContext};
use plan::func::rows_from;
use plan::hir::{HirRelationExpr, HirScalarExpr, JoinKind};
use repr::error::code;
use repr::{ColumnType, Datum, ScalarType, SqlError};
use sqlparser::ast::{
    self as sp, Expr, FunctionArg, FunctionArguments, JoinConstraint, JoinOperator, Spanned, TableFactor,
};
use sqlparser::tokenizer::Span;

use crate::catalog::{CatalogItem, ItemKind};
use crate::dialect;
use crate::expr::{Calls, Ctx, Ex, SETS, SetCall, strip};
use crate::hirs::{self, column};
use crate::parse::fold;
use crate::planner::Planner;
use crate::scope::{Env, Scope, ScopeColumn, ScopeTable};

/// A FROM clause, or a part of it. Every column of `rel` is in `scope`.
#[derive(Clone, Debug)]
pub(crate) struct From {
    pub rel: HirRelationExpr,
    pub arity: usize,
    pub scope: Scope,
}

/// How many items a FROM clause may have.
const MAX_ITEMS: usize = 500;

impl Planner<'_> {
    /// The rows of an object: a view's are those of its definition.
    pub fn get(&self, item: &CatalogItem) -> Result<HirRelationExpr, SqlError> {
        let Some(desc) = &item.desc else {
            let kind = match item.kind {
                ItemKind::Index => "an index",
                ItemKind::Sink => "a sink",
                ItemKind::Connection => "a connection",
                ItemKind::Secret => "a secret",
                ItemKind::Type => "a type",
                _ => "not a relation",
            };
            let message = format!("\"{}\" is {kind}", item.name.item);
            return Err(SqlError::new(code::WRONG_OBJECT_TYPE, message));
        };
        Ok(match &item.definition {
            Some(definition) => {
                let mut rel = definition.clone();
                hirs::rename_locals(&mut rel, &mut || self.fresh_local());
                rel
            }
            None => HirRelationExpr::Get { id: item.id, typ: desc.types() },
        })
    }

    /// Plans a FROM clause; without items it is one row without columns.
    pub fn plan_from(&self, from: &[sp::TableWithJoins], env: &Env) -> Result<From, SqlError> {
        if from.len() > MAX_ITEMS {
            return Err(SqlError::new(code::STATEMENT_TOO_COMPLEX, "statement is too complex")
                .with_detail(format!("FROM has more than {MAX_ITEMS} items.")));
        }
        let base = env.frames.len();
        let mut out: Option<From> = None;
        for item in from {
            out = Some(match out {
                None => self.plan_joined(item, env, base)?,
                Some(left) => {
                    let env_right = env.within(Rc::new(left.scope.clone()), true);
                    let right = self.plan_joined(item, &env_right, base)?;
                    self.at(item, self.join(left, right, JoinKind::Inner, &Condition::None, env))?
                }
            });
        }
        Ok(out.unwrap_or_else(|| From { rel: hirs::unit(), arity: 0, scope: Scope::default() }))
    }

    fn plan_joined(&self, item: &sp::TableWithJoins, env: &Env, base: usize) -> Result<From, SqlError> {
        let mut left = self.plan_factor(&item.relation, env, base)?;
        for join in &item.joins {
            let (kind, constraint) = match &join.join_operator {
                JoinOperator::Join(c) | JoinOperator::Inner(c) => (JoinKind::Inner, c),
                JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (JoinKind::LeftOuter, c),
                JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (JoinKind::RightOuter, c),
                JoinOperator::FullOuter(c) => (JoinKind::FullOuter, c),
                JoinOperator::CrossJoin(c) => (JoinKind::Inner, c),
                _ => {
                    return Err(self.unsupported(
                        join.span(),
                        "this kind of join",
                        "Use INNER, LEFT, RIGHT, FULL or CROSS JOIN.",
                    ));
                }
            };
            let lateral = matches!(kind, JoinKind::Inner | JoinKind::LeftOuter);
            let env_right = env.within(Rc::new(left.scope.clone()), lateral);
            let right = self.plan_factor(&join.relation, &env_right, base)?;
            let condition = match constraint {
                JoinConstraint::On(e) => Condition::On(e),
                JoinConstraint::Using(names) => {
                    let mut columns = vec![];
                    for name in names {
                        columns.push((self.parts(name)?.pop().unwrap_or_default(), name.span()));
                    }
                    Condition::Using(columns)
                }
                JoinConstraint::Natural => Condition::Natural,
                JoinConstraint::None if matches!(join.join_operator, JoinOperator::CrossJoin(_)) => {
                    Condition::None
                }
                JoinConstraint::None => {
                    let error = self.error(join.span(), code::SYNTAX_ERROR, "JOIN needs ON or USING");
                    return Err(error.with_hint("Use CROSS JOIN for all combinations."));
                }
            };
            left = self.at(&join.relation, self.join(left, right, kind, &condition, env))?;
        }
        Ok(left)
    }

    fn join(
        &self,
        left: From,
        right: From,
        kind: JoinKind,
        condition: &Condition<'_>,
        env: &Env,
    ) -> Result<From, SqlError> {
        let (la, ra) = (left.arity, right.arity);
        let mut scope = left.scope.clone().join(right.scope.clone(), la)?;
        let mut predicates = vec![];
        let mut merged: Vec<(String, usize, usize)> = vec![];
        match condition {
            Condition::None => {}
            Condition::On(e) => {
                let ctx_scope = Rc::new(scope.clone());
                let ctx = Ctx::plain(&ctx_scope, env, "JOIN conditions");
                predicates.push(self.plan_bool(&ctx, e, "JOIN/ON")?);
            }
            Condition::Using(columns) => {
                for (name, span) in columns {
                    let l =
                        self.using_column(&left.scope, name, "left").map_err(|e| self.text.at(*span, e))?;
                    let r =
                        self.using_column(&right.scope, name, "right").map_err(|e| self.text.at(*span, e))?;
                    merged.push((name.clone(), l, r + la));
                }
            }
            Condition::Natural => {
                let names: Vec<String> = left.scope.all().map(|c| c.name.clone()).collect();
                for name in names {
                    if right.scope.all().any(|c| c.name == name) {
                        let l = self.using_column(&left.scope, &name, "left")?;
                        let r = self.using_column(&right.scope, &name, "right")?;
                        merged.push((name, l, r + la));
                    }
                }
            }
        }
        let type_at = |scope: &Scope, position: usize| {
            let found = scope.columns.iter().find(|c| c.position == position);
            found.map_or_else(|| ScalarType::Text.nullable(true), |c| c.ty.clone())
        };
        for (_, l, r) in &merged {
            let (lt, rt) = (type_at(&scope, *l), type_at(&scope, *r));
            let eq = self.operator("=", vec![Ex::Known(column(*l), lt), Ex::Known(column(*r), rt)])?;
            predicates.push(self.settle(eq)?.0);
        }
        // Rows without a partner have NULLs on the other side.
        for c in &mut scope.columns {
            let is_left = c.position < la;
            let nulls = match kind {
                JoinKind::Inner => false,
                JoinKind::LeftOuter => !is_left,
                JoinKind::RightOuter => is_left,
                JoinKind::FullOuter => true,
            };
            c.ty.nullable |= nulls;
        }
        let on = hirs::as_condition(hirs::and(predicates));
        let mut rel = match (kind, right.rel) {
            // A function of the left row needs no join.
            (JoinKind::Inner, HirRelationExpr::FlatMap { input, func, mut args, typ })
                if hirs::is_unit(&input) =>
            {
                args.iter_mut().for_each(hirs::outwards);
                let rel = HirRelationExpr::FlatMap { input: Box::new(left.rel), func, args, typ };
                hirs::filter(rel, vec![on])
            }
            (JoinKind::Inner, HirRelationExpr::Map { input, mut scalars })
                if hirs::is_unit(&input) && !scalars.iter().any(hirs::uses_own_level) =>
            {
                scalars.iter_mut().for_each(hirs::outwards);
                hirs::filter(hirs::map(left.rel, scalars), vec![on])
            }
            (kind, right) => HirRelationExpr::Join {
                left: Box::new(left.rel),
                right: Box::new(right),
                on: Box::new(on),
                kind,
            },
        };
        let mut arity = la + ra;
        // USING: one column in the place of two, in front of the others.
        let mut front = vec![];
        let mut maps = vec![];
        for (name, l, r) in merged {
            let (lt, rt) = (type_at(&scope, l), type_at(&scope, r));
            let common =
                resolve::common_type(&[Some(lt.scalar.clone()), Some(rt.scalar.clone())], "JOIN/USING")?;
            let nullable = match kind {
                JoinKind::Inner => lt.nullable && rt.nullable,
                JoinKind::LeftOuter => lt.nullable,
                JoinKind::RightOuter => rt.nullable,
                JoinKind::FullOuter => lt.nullable && rt.nullable,
            };
            let (position, e) = match kind {
                JoinKind::FullOuter => {
                    let l = self.coerce(Ex::Known(column(l), lt), &common, CastContext::Implicit)?.0;
                    let r = self.coerce(Ex::Known(column(r), rt), &common, CastContext::Implicit)?.0;
                    (arity + maps.len(), Some(HirScalarExpr::Coalesce(vec![l, r])))
                }
                JoinKind::RightOuter if rt.scalar == common => (r, None),
                JoinKind::Inner | JoinKind::LeftOuter if lt.scalar == common => (l, None),
                _ => {
                    let from = if kind == JoinKind::RightOuter { (r, rt) } else { (l, lt) };
                    let e = self.coerce(Ex::Known(column(from.0), from.1), &common, CastContext::Implicit)?.0;
                    (arity + maps.len(), Some(e))
                }
            };
            maps.extend(e);
            for c in &mut scope.columns {
                c.bare &= c.name != name;
            }
            front.push(ScopeColumn {
                table: None,
                name,
                position,
                ty: common.nullable(nullable),
                bare: true,
            });
        }
        arity += maps.len();
        rel = hirs::map(rel, maps);
        front.extend(scope.columns);
        scope.columns = front;
        Ok(From { rel, arity, scope })
    }

    fn using_column(&self, scope: &Scope, name: &str, side: &str) -> Result<usize, SqlError> {
        let mut found = scope.all().filter(|c| c.name == name);
        let Some(c) = found.next() else {
            let message =
                format!("column \"{name}\" specified in USING clause does not exist in {side} table");
            return Err(SqlError::new(code::UNDEFINED_COLUMN, message));
        };
        if found.next().is_some() {
            let message = format!("common column name \"{name}\" appears more than once in {side} table");
            return Err(SqlError::new(code::AMBIGUOUS_COLUMN, message));
        }
        Ok(c.position)
    }

    fn plan_factor(&self, factor: &TableFactor, env: &Env, base: usize) -> Result<From, SqlError> {
        self.deeper(|| self.plan_factor_inner(factor, env, base))
    }

    fn plan_factor_inner(&self, factor: &TableFactor, env: &Env, base: usize) -> Result<From, SqlError> {
        match factor {
            TableFactor::Table { name, alias, args: None, sample: None, with_ordinality: false, .. } => {
                self.plan_table(name, alias.as_ref(), env)
            }
            TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
                self.plan_functions(name, &args.args, *with_ordinality, alias.as_ref(), env)
            }
            TableFactor::Function { name, args, with_ordinality, alias, .. } => {
                self.plan_functions(name, args, *with_ordinality, alias.as_ref(), env)
            }
            TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality, .. } => {
                let args: Vec<FunctionArg> = array_exprs
                    .iter()
                    .map(|e| FunctionArg::Unnamed(sp::FunctionArgExpr::Expr(e.clone())))
                    .collect();
                let name = sp::ObjectName::from(vec![sp::Ident::new("unnest")]);
                self.plan_functions(&name, &args, *with_ordinality, alias.as_ref(), env)
            }
            TableFactor::TableFunction { expr: Expr::Function(f), alias } => {
                let (args, ..) = self.function_args(f)?;
                self.plan_functions(&f.name, args, false, alias.as_ref(), env)
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                let mut env = env.clone();
                if !lateral {
                    env.frames[base..].iter_mut().for_each(|f| f.visible = false);
                }
                let plan = self.plan_query(subquery, &env)?;
                let mut columns = plan.columns.clone();
                let (rel, _) = self.relation_of(plan)?;
                let arity = columns.len();
                let table = match alias {
                    Some(a) => {
                        self.rename_columns(&fold(&a.name), a, &mut columns)?;
                        fold(&a.name)
                    }
                    // No name finds it.
                    None => String::new(),
                };
                let table = ScopeTable { alias: table, schema: None, scalar: false, hidden: None };
                Ok(From { rel, arity, scope: Scope::of(table, columns) })
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let inner = self.plan_joined(table_with_joins, env, base)?;
                let Some(alias) = alias else { return Ok(inner) };
                let places: Vec<usize> = inner.scope.all().map(|c| c.position).collect();
                let mut columns: Vec<(String, ColumnType)> =
                    inner.scope.all().map(|c| (c.name.clone(), c.ty.clone())).collect();
                let name = fold(&alias.name);
                self.rename_columns(&name, alias, &mut columns)?;
                let arity = columns.len();
                let rel = hirs::project(inner.rel, places, inner.arity);
                let table = ScopeTable { alias: name, schema: None, scalar: false, hidden: None };
                Ok(From { rel, arity, scope: Scope::of(table, columns) })
            }
            other => Err(self.unsupported(other.span(), "this kind of FROM item", "")),
        }
    }

    fn plan_table(
        &self,
        name: &sp::ObjectName,
        alias: Option<&sp::TableAlias>,
        env: &Env,
    ) -> Result<From, SqlError> {
        let parts = self.parts(name)?;
        if let Some(show) = parts.first().and_then(|p| p.strip_prefix(dialect::SHOW)) {
            return self.plan_show(name, show, alias);
        }
        let cte = match &parts[..] {
            [one] => env.ctes.iter().rev().find(|c| c.name == *one),
            _ => None,
        };
        let (rel, mut columns, schema, own_name) = match cte {
            Some(cte) => {
                let typ = cte.columns.iter().map(|c| c.1.clone()).collect();
                (HirRelationExpr::LocalGet { id: cte.id, typ }, cte.columns.clone(), None, cte.name.clone())
            }
            None => {
                let item = self.resolve(name)?;
                if alias.is_none() {
                    self.note_table(name, &item.name);
                }
                let rel = self.get(item).map_err(|e| self.text.at(name.span(), e))?;
                let desc = item.desc.as_ref().expect("`get` wants one");
                let columns = desc.columns.iter().map(|c| (c.name.clone(), c.ty.clone())).collect();
                let schema = (item.name.database.clone(), item.name.schema.clone());
                (rel, columns, Some(schema), item.name.item.clone())
            }
        };
        let arity = columns.len();
        let table = match alias {
            Some(a) => {
                self.rename_columns(&fold(&a.name), a, &mut columns)?;
                ScopeTable { alias: fold(&a.name), schema: None, scalar: false, hidden: Some(own_name) }
            }
            None => ScopeTable { alias: own_name, schema, scalar: false, hidden: None },
        };
        Ok(From { rel, arity, scope: Scope::of(table, columns) })
    }

    /// `(SHOW …)`: what it gives now.
    fn plan_show(
        &self,
        name: &sp::ObjectName,
        show: &str,
        alias: Option<&sp::TableAlias>,
    ) -> Result<From, SqlError> {
        if self.outlives_statement() {
            let instead = "Read mz_catalog's relations.";
            return Err(self.unsupported(name.span(), "SHOW in a view", instead));
        }
        let text = crate::text::Text::new(show, 0);
        let plan = match crate::parse::parse(&text).map_err(|e| self.text.at(name.span(), e))? {
            crate::ast::Statement::Show(s) => crate::statement::show::plan(self, s)?,
            _ => return Err(SqlError::internal("SHOW is SHOW")),
        };
        let crate::plan::Plan::Select(crate::plan::SelectPlan {
            relation: plan::RelationExpr::Constant { rows, typ },
            desc,
            ..
        }) = plan
        else {
            return Err(self.unsupported(name.span(), "this SHOW in FROM", ""));
        };
        let rel = HirRelationExpr::Constant { rows, typ };
        let mut columns: Vec<(String, ColumnType)> =
            desc.columns.into_iter().map(|c| (c.name, c.ty)).collect();
        let table = match alias {
            Some(a) => {
                self.rename_columns(&fold(&a.name), a, &mut columns)?;
                fold(&a.name)
            }
            None => String::new(),
        };
        let table = ScopeTable { alias: table, schema: None, scalar: false, hidden: None };
        Ok(From { rel, arity: columns.len(), scope: Scope::of(table, columns) })
    }

    /// `AS t (a, b)`: the first columns take these names.
    pub fn rename_columns(
        &self,
        table: &str,
        alias: &sp::TableAlias,
        columns: &mut [(String, ColumnType)],
    ) -> Result<(), SqlError> {
        if alias.columns.len() > columns.len() {
            let message = format!(
                "table \"{table}\" has {} columns available but {} columns specified",
                columns.len(),
                alias.columns.len()
            );
            return Err(self.error(alias.name.span, repr::SqlState::new("42P10"), message));
        }
        for (column, new) in columns.iter_mut().zip(&alias.columns) {
            column.0 = fold(&new.name);
        }
        Ok(())
    }

    // ---- functions

    /// `f(…)`, `ROWS FROM (f(…), g(…))`, `unnest(a, b)`, each maybe WITH ORDINALITY.
    fn plan_functions(
        &self,
        name: &sp::ObjectName,
        args: &[FunctionArg],
        ordinality: bool,
        alias: Option<&sp::TableAlias>,
        env: &Env,
    ) -> Result<From, SqlError> {
        let function_name = self.function_name(name)?;
        let of = |name: &sp::ObjectName, args: &[FunctionArg]| {
            Expr::Function(sp::Function {
                name: name.clone(),
                uses_odbc_syntax: false,
                parameters: FunctionArguments::None,
                args: FunctionArguments::List(sp::FunctionArgumentList {
                    duplicate_treatment: None,
                    args: args.to_vec(),
                    clauses: vec![],
                }),
                filter: None,
                null_treatment: None,
                over: None,
                within_group: vec![],
            })
        };
        let calls: Vec<Expr> = if function_name == dialect::ROWS_FROM {
            let mut calls = vec![];
            for arg in args {
                let FunctionArg::Unnamed(sp::FunctionArgExpr::Expr(e)) = arg else {
                    return Err(self.error(name.span(), code::SYNTAX_ERROR, "ROWS FROM takes functions"));
                };
                calls.push(strip(e).clone());
            }
            calls
        } else if function_name == "unnest" && args.len() > 1 {
            args.iter().map(|a| of(name, std::slice::from_ref(a))).collect()
        } else {
            vec![of(name, args)]
        };
        if let ([Expr::Function(f)], Some(alias)) = (&calls[..], alias)
            && alias.columns.iter().any(|c| c.data_type.is_some())
        {
            return self.plan_record_function(f, alias, env);
        }
        if let ([Expr::Function(f)], "regexp_extract" | "csv_extract", false) =
            (&calls[..], function_name.as_str(), ordinality)
        {
            return self.plan_extract(f, &function_name, alias, env);
        }
        let scope = Rc::new(Scope::default());
        let collected = Rc::new(Calls::default());
        let ctx = Ctx {
            scope: &scope,
            env,
            clause: "functions in FROM",
            calls: Some(&collected),
            projection: true,
            in_aggregate: false,
            windows: &[],
        };
        // Each call gives its columns: those of a table function, or one value in one row.
        let mut items: Vec<(Vec<(String, ColumnType)>, Item)> = vec![];
        for call in &calls {
            let before = collected.sets.borrow().len();
            let (e, ty) = self.plan_known(&ctx, call)?;
            if !collected.aggregates.borrow().is_empty() {
                let message = "aggregate functions are not allowed in functions in FROM";
                return Err(self.error(call.span(), code::GROUPING_ERROR, message));
            }
            let sets = collected.sets.borrow();
            let outermost = sets.last().filter(|s| sets.len() > before && is_call_itself(&e, s));
            match outermost {
                Some(s) => {
                    let columns =
                        s.columns.iter().map(|(n, t)| (n.clone(), t.clone().nullable(true))).collect();
                    items.push((columns, Item::Set(sets.len() - 1)));
                }
                None => {
                    let column = (crate::query::column_name(call), ty);
                    items.push((vec![column], Item::Scalar(e)));
                }
            }
        }
        let sets = collected.sets.take();
        let single = items.len() == 1;
        let named_out = single && {
            let (columns, _) = &items[0];
            // Without OUT parameters the function's name is its column's, and an alias replaces both.
            !(columns.len() == 1 && columns[0].0 == crate::query::column_name(&calls[0]))
        };
        let mut columns: Vec<(String, ColumnType)> = items.iter().flat_map(|i| i.0.clone()).collect();
        let nested = sets.len() > items.iter().filter(|i| matches!(i.1, Item::Set(_))).count();
        let (rel, arity) = match &items[..] {
            [(_, Item::Scalar(e))] if !ordinality && sets.is_empty() => {
                (hirs::map(hirs::unit(), vec![e.clone()]), 1)
            }
            [(_, Item::Set(0))] if !ordinality && !nested => {
                (flat_map(hirs::unit(), sets, false), columns.len())
            }
            _ => self.plan_functions_in_step(items, sets, ordinality)?,
        };
        if ordinality {
            columns.push(("ordinality".into(), ScalarType::Int64.nullable(false)));
        }
        let scalar = single && !ordinality && columns.len() == 1;
        let table = match alias {
            Some(a) => {
                let name = fold(&a.name);
                if single && !named_out {
                    columns[0].0 = name.clone();
                }
                self.rename_columns(&name, a, &mut columns)?;
                ScopeTable { alias: name, schema: None, scalar, hidden: None }
            }
            None => {
                ScopeTable { alias: crate::query::column_name(&calls[0]), schema: None, scalar, hidden: None }
            }
        };
        Ok(From { rel, arity, scope: Scope::of(table, columns) })
    }

    /// Several calls side by side, or one whose rows are numbered.
    fn plan_functions_in_step(
        &self,
        items: Vec<(Vec<(String, ColumnType)>, Item)>,
        sets: Vec<SetCall>,
        ordinality: bool,
    ) -> Result<(HirRelationExpr, usize), SqlError> {
        // First what other functions' arguments need, then the outermost ones together.
        let outermost: Vec<usize> =
            items.iter().filter_map(|i| if let Item::Set(n) = i.1 { Some(n) } else { None }).collect();
        let width: usize = sets.iter().map(|s| s.columns.len()).sum();
        let mut places = vec![usize::MAX; width];
        let mut rel = hirs::unit();
        let mut arity = 0;
        for (n, s) in sets.iter().enumerate() {
            if outermost.contains(&n) {
                continue;
            }
            let mut s = s.clone();
            s.args.iter_mut().for_each(|a| crate::query::replace(a, SETS, &|i| places[i]));
            for i in 0..s.columns.len() {
                places[s.first + i] = arity + i;
            }
            arity += s.columns.len();
            rel = flat_map(rel, vec![s], false);
        }
        let mut together = vec![];
        let mut columns = 0;
        for (types, item) in items {
            columns += types.len();
            together.push(match item {
                Item::Set(n) => {
                    let mut s = sets[n].clone();
                    s.args.iter_mut().for_each(|a| crate::query::replace(a, SETS, &|i| places[i]));
                    s
                }
                Item::Scalar(mut e) => {
                    crate::query::replace(&mut e, SETS, &|i| places[i]);
                    let columns = types.into_iter().map(|(n, t)| (n, t.scalar)).collect();
                    SetCall { func: rows_from::one_row(), args: vec![e], columns, first: 0 }
                }
            });
        }
        rel = flat_map(rel, together, ordinality);
        let width = columns + usize::from(ordinality);
        let places: Vec<usize> = (arity..arity + width).collect();
        Ok((hirs::project(rel, places, arity + width), width))
    }

    /// `regexp_extract(pattern, text)`: a column for each group of the first match. `csv_extract(n, text)`: n columns
    /// for each line that has as many fields. The first argument says what the columns are, so it is a constant.
    fn plan_extract(
        &self,
        f: &sp::Function,
        name: &str,
        alias: Option<&sp::TableAlias>,
        env: &Env,
    ) -> Result<From, SqlError> {
        let span = f.name.span();
        let (args, ..) = self.function_args(f)?;
        let [first, text] = args else {
            return Err(self.error(
                span,
                code::UNDEFINED_FUNCTION,
                format!("function {name} takes two arguments"),
            ));
        };
        let (
            FunctionArg::Unnamed(sp::FunctionArgExpr::Expr(first)),
            FunctionArg::Unnamed(sp::FunctionArgExpr::Expr(text)),
        ) = (first, text)
        else {
            return Err(self.unsupported(span, "this kind of argument", ""));
        };
        let csv = name == "csv_extract";
        let of = if csv { ScalarType::Int64 } else { ScalarType::Text };
        let constant = self.plan_constant_of(first, &of, "FROM")?;
        let constant = match hirs::evaluate(&constant) {
            Some(Ok(row)) => row,
            Some(Err(e)) => return Err(self.text.at(first.span(), e.into())),
            None => {
                return Err(self.unsupported(
                    first.span(),
                    &format!("{name} of anything but a constant"),
                    "",
                ));
            }
        };
        let names: Vec<Option<String>> = match constant.iter().next() {
            Some(Datum::Int64(n @ 1..=1_600)) => vec![None; n as usize],
            Some(Datum::Text(pattern)) => {
                plan::func::group_names(pattern).map_err(|e| self.text.at(first.span(), e.into()))?
            }
            _ => vec![],
        };
        if names.is_empty() {
            let what = if csv { "from 1 to 1600 columns" } else { "a pattern with at least one group" };
            let message = format!("{name} takes {what}");
            return Err(self.error(first.span(), code::INVALID_PARAMETER_VALUE, message));
        }
        let scope = Rc::new(Scope::default());
        let (text_ex, at) = (self.plan_expr(&Ctx::plain(&scope, env, "functions in FROM"), text)?, text);
        let text = self.at(at, self.coerce(text_ex, &ScalarType::Text, CastContext::Implicit))?.0;
        let mut args = vec![text];
        if !csv {
            args.push(HirScalarExpr::Literal(Ok(constant), ScalarType::Text.nullable(false)));
        }
        let function = if csv { "csv_fields" } else { "regexp_matches" };
        let resolve::Implementation::Table(func, columns) =
            resolve::function(function, &vec![Some(ScalarType::Text); args.len()])?.imp
        else {
            return Err(SqlError::internal("they are table functions"));
        };
        let fields = Ex::known(column(0), ScalarType::Array(Box::new(ScalarType::Text)), false);
        let mut rel = flat_map(hirs::unit(), vec![SetCall { func, args, columns, first: 0 }], false);
        let int8 = |n: usize| {
            Ex::known(hirs::literal(Datum::Int64(n as i64), ScalarType::Int64), ScalarType::Int64, false)
        };
        if csv {
            let length = self.named_call("cardinality", vec![fields.clone()])?;
            let fits = self.operator("=", vec![length, int8(names.len())])?;
            rel = hirs::filter(rel, vec![self.to_bool(fits, "csv_extract")?]);
        }
        let n = names.len();
        let mut scalars = vec![];
        let mut columns = vec![];
        for (i, name) in names.into_iter().enumerate() {
            let field = self.subscripted(fields.clone(), int8(i + 1))?;
            scalars.push(self.settle(field)?.0);
            columns
                .push((name.unwrap_or_else(|| format!("column{}", i + 1)), ScalarType::Text.nullable(true)));
        }
        let rel = hirs::project(hirs::map(rel, scalars), (1..=n).collect(), n + 1);
        let table = match alias {
            Some(a) => {
                self.rename_columns(&fold(&a.name), a, &mut columns)?;
                fold(&a.name)
            }
            None => name.to_string(),
        };
        let table = ScopeTable { alias: table, schema: None, scalar: false, hidden: None };
        Ok(From { rel, arity: n, scope: Scope::of(table, columns) })
    }

    /// `jsonb_to_record(j) AS t (a int, b text)` and `jsonb_to_recordset`: each column is a field of the object, cast.
    fn plan_record_function(
        &self,
        f: &sp::Function,
        alias: &sp::TableAlias,
        env: &Env,
    ) -> Result<From, SqlError> {
        let name = self.function_name(&f.name)?;
        let set = match name.trim_start_matches("jsonb_").trim_start_matches("json_") {
            "to_record" => false,
            "to_recordset" => true,
            _ => {
                let message = "a column definition list is only allowed for functions returning \"record\"";
                return Err(self.error(f.name.span(), code::SYNTAX_ERROR, message));
            }
        };
        let (args, ..) = self.function_args(f)?;
        let [FunctionArg::Unnamed(sp::FunctionArgExpr::Expr(arg))] = args else {
            return Err(self.error(
                f.name.span(),
                code::UNDEFINED_FUNCTION,
                format!("function {name} takes one argument"),
            ));
        };
        let scope = Rc::new(Scope::default());
        let ctx = Ctx::plain(&scope, env, "functions in FROM");
        let document = self.plan_expr(&ctx, arg)?;
        let document = self.at(arg, self.coerce(document, &ScalarType::Jsonb, CastContext::Implicit))?.0;
        let rel = if set {
            let r = resolve::function("jsonb_array_elements", &[Some(ScalarType::Jsonb)])?;
            let resolve::Implementation::Table(func, columns) = r.imp else {
                return Err(SqlError::internal("jsonb_array_elements is a table function"));
            };
            flat_map(hirs::unit(), vec![SetCall { func, args: vec![document], columns, first: 0 }], false)
        } else {
            hirs::map(hirs::unit(), vec![document])
        };
        let mut scalars = vec![];
        let mut columns = vec![];
        for c in &alias.columns {
            let Some(ty) = &c.data_type else {
                return Err(self.error(c.name.span, code::SYNTAX_ERROR, "every column needs a type"));
            };
            let ty = self.data_type(ty)?;
            let key = fold(&c.name);
            let whole = Ex::known(column(0), ScalarType::Jsonb, true);
            let op = if ty == ScalarType::Jsonb { "->" } else { "->>" };
            let field = self.operator(
                op,
                vec![
                    whole,
                    Ex::known(hirs::literal(Datum::Text(&key), ScalarType::Text), ScalarType::Text, false),
                ],
            )?;
            let (e, _) =
                self.coerce(field, &ty, CastContext::Explicit).map_err(|e| self.text.at(c.name.span, e))?;
            scalars.push(e);
            columns.push((key, ty.nullable(true)));
        }
        let n = columns.len();
        let rel = hirs::project(hirs::map(rel, scalars), (1..=n).collect(), n + 1);
        let table = ScopeTable { alias: fold(&alias.name), schema: None, scalar: false, hidden: None };
        Ok(From { rel, arity: n, scope: Scope::of(table, columns) })
    }
}

enum Condition<'c> {
    None,
    On(&'c Expr),
    Using(Vec<(String, Span)>),
    Natural,
}

/// One call in FROM.
enum Item {
    /// The index among the collected set-returning calls.
    Set(usize),
    Scalar(HirScalarExpr),
}

/// Whether an expression is nothing but this call's columns.
fn is_call_itself(e: &HirScalarExpr, s: &SetCall) -> bool {
    let is_column = |e: &HirScalarExpr, i: usize| *e == column(SETS + s.first + i);
    match e {
        HirScalarExpr::Column(_) => s.columns.len() == 1 && is_column(e, 0),
        HirScalarExpr::Call { func, args, .. } => {
            func.0.id == plan::func::ids::ROW
                && args.len() == s.columns.len()
                && args.iter().enumerate().all(|(i, a)| is_column(a, i))
        }
        _ => false,
    }
}

/// Appends the columns of calls that run in step; then maybe the number of the row.
pub(crate) fn flat_map(rel: HirRelationExpr, mut calls: Vec<SetCall>, ordinality: bool) -> HirRelationExpr {
    let nullable = |c: &SetCall| c.columns.iter().map(|(_, t)| t.clone().nullable(true)).collect::<Vec<_>>();
    if calls.len() == 1 && !ordinality {
        let call = calls.remove(0);
        let typ = nullable(&call);
        return HirRelationExpr::FlatMap { input: Box::new(rel), func: call.func, args: call.args, typ };
    }
    let parts: Vec<_> = calls.iter().map(|c| (c.func, c.args.len(), c.columns.len())).collect();
    let description = rows_from::description(&parts, ordinality);
    let mut typ: Vec<ColumnType> = calls.iter().flat_map(nullable).collect();
    if ordinality {
        typ.push(ScalarType::Int64.nullable(false));
    }
    let mut args = vec![hirs::literal(Datum::Text(&description), ScalarType::Text)];
    args.extend(calls.into_iter().flat_map(|c| c.args));
    HirRelationExpr::FlatMap { input: Box::new(rel), func: rows_from::rows_from(), args, typ }
}
