//! From plans that may be correlated to plans that dataflows run.
//!
//! A subquery that uses columns of the query around it is computed for all rows of that query at once: over the
//! *distinct keys*, the different values of just the columns it uses, and then joined back on them.
//!
//! ```text
//!   SELECT …, (SELECT max(y) FROM s WHERE s.x = r.c) FROM r
//!
//!   keys   = distinct r.c
//!   values = for each key: max(y) of keys ⋈ s, NULL where that has no row       (key, value), one row a key
//!   result = r ⋈ values on r.c = key
//! ```
//!
//! Inside, `lower(query, outer)` gives the columns of `outer` followed by those of the query: all rows that the query
//! has for each row of `outer`. A query that uses nothing of its surroundings is lowered by itself, with `outer` the one
//! row without columns, and multiplied by the real `outer` where it is needed. So plain queries come out plain.
//!
//! Keys may be NULL, and a join does not match NULLs: such columns are joined as values that are equal also for NULLs.

use std::collections::{BTreeMap, BTreeSet};

use repr::error::code;
use repr::{ColumnType, Datum, EvalError, Row, ScalarType, SqlError};

use crate::func::{AggKind, FuncRef, ids};
use crate::hir::{ColumnRef, HirAggregateExpr, HirRelationExpr, HirScalarExpr, JoinKind};
use crate::{AggregateExpr, ColumnOrder, LocalId, RelationExpr, ScalarExpr, Side, known, walk};

/// Removes outer columns and subqueries: each subquery becomes a join against the distinct outer keys it uses.
///
/// Errors: the query refers to an outer query that is not there (our fault), or recursion in a correlated subquery.
pub fn decorrelate(mut query: HirRelationExpr) -> Result<RelationExpr, SqlError> {
    inline_correlated_bindings(&mut query)?;
    if !free_columns(&query).is_empty() {
        return Err(SqlError::internal("a column of an outer query in a query without one"));
    }
    let mut lowering = Lowering { next: 0, locals: BTreeMap::new() };
    lowering.lower(query, &Outer::none())
}

/// [`decorrelate`] for a scalar expression over rows of these types (a default, a CHECK): without subqueries.
pub fn decorrelate_scalar(expr: HirScalarExpr) -> Result<ScalarExpr, SqlError> {
    let mut lowering = Lowering { next: 0, locals: BTreeMap::new() };
    let mut rows = Rows { plan: RelationExpr::empty(vec![]), arity: 0 };
    if has_subquery(&expr) {
        return Err(SqlError::unsupported("a subquery in this place", ""));
    }
    lowering.scalar(expr, &mut rows, 0, &BTreeMap::new())
}

/// The rows around a query: one for each way in which its outer columns can be filled.
struct Outer {
    /// Cheap to repeat: a binding, or the one row without columns. Its rows are distinct.
    keys: RelationExpr,
    arity: usize,
    /// Where the columns (of level 1 and more) that the query uses are in `keys`.
    columns: BTreeMap<ColumnRef, usize>,
}

impl Outer {
    fn none() -> Outer {
        Outer { keys: RelationExpr::unit(), arity: 0, columns: BTreeMap::new() }
    }
}

/// Rows that expressions are computed over; subqueries append columns.
struct Rows {
    plan: RelationExpr,
    arity: usize,
}

struct Lowering {
    next: u64,
    /// What a binding is called now, and its columns.
    locals: BTreeMap<LocalId, (LocalId, Vec<ColumnType>)>,
}

impl Lowering {
    fn fresh(&mut self) -> LocalId {
        self.next += 1;
        LocalId(self.next)
    }

    /// `outer`'s columns, then the query's: its rows for each row of `outer`.
    fn lower(&mut self, query: HirRelationExpr, outer: &Outer) -> Result<RelationExpr, SqlError> {
        if outer.arity > 0 && free_columns(&query).is_empty() {
            let alone = self.lower(query, &Outer::none())?;
            return Ok(outer.keys.clone().product(alone));
        }
        let k = outer.arity;
        Ok(match query {
            HirRelationExpr::Constant { rows, typ } => {
                outer.keys.clone().product(RelationExpr::Constant { rows, typ })
            }
            HirRelationExpr::Get { id, typ } => outer.keys.clone().product(RelationExpr::Get { id, typ }),
            HirRelationExpr::LocalGet { id, .. } => {
                let (id, typ) = self
                    .locals
                    .get(&id)
                    .cloned()
                    .ok_or_else(|| SqlError::internal("an unbound name in a plan"))?;
                outer.keys.clone().product(RelationExpr::LocalGet { id, typ })
            }
            HirRelationExpr::Let { id, value, body } => {
                let value = self.lower(*value, &Outer::none())?;
                let new = self.fresh();
                let hidden = self.locals.insert(id, (new, value.typ()));
                let body = self.lower(*body, outer)?;
                self.restore(id, hidden);
                body.let_in(new, value)
            }
            HirRelationExpr::LetRec { bindings, limit, body } => {
                let mut hidden = vec![];
                let mut names = vec![];
                for (id, _, typ) in &bindings {
                    // A round may give NULL where the types promise none.
                    let typ: Vec<_> = typ.iter().map(|t| t.scalar.clone().nullable(true)).collect();
                    let new = self.fresh();
                    hidden.push((*id, self.locals.insert(*id, (new, typ.clone()))));
                    names.push((new, typ));
                }
                let mut lowered = vec![];
                for ((_, value, _), (new, typ)) in bindings.into_iter().zip(names) {
                    lowered.push((new, self.lower(value, &Outer::none())?, typ));
                }
                let body = self.lower(*body, outer)?;
                hidden.into_iter().rev().for_each(|(id, h)| self.restore(id, h));
                RelationExpr::LetRec { bindings: lowered, limit, body: Box::new(body) }
            }
            HirRelationExpr::Project { input, columns } => {
                let input = self.lower(*input, outer)?;
                input.project((0..k).chain(columns.into_iter().map(|c| c + k)))
            }
            HirRelationExpr::Map { input, scalars } => {
                let plan = self.lower(*input, outer)?;
                let mut rows = Rows { arity: plan.arity(), plan };
                for s in scalars {
                    let before = rows.arity;
                    let s = self.scalar(s, &mut rows, k, &outer.columns)?;
                    // The columns that subqueries appended go again.
                    let plan = rows.plan.map([s]);
                    rows.plan = plan.project((0..before).chain([rows.arity]));
                    rows.arity = before + 1;
                }
                rows.plan
            }
            HirRelationExpr::Filter { input, predicates } => {
                let plan = self.lower(*input, outer)?;
                let mut rows = Rows { arity: plan.arity(), plan };
                self.filter(predicates.into_iter().flat_map(hir_conjuncts).collect(), &mut rows, outer)?;
                rows.plan
            }
            HirRelationExpr::FlatMap { input, func, args, typ } => {
                let plan = self.lower(*input, outer)?;
                let arity = plan.arity();
                let mut rows = Rows { plan, arity };
                let args = args.into_iter().map(|a| self.scalar(a, &mut rows, k, &outer.columns));
                let args = args.collect::<Result<Vec<_>, _>>()?;
                let (from, to) = (rows.arity, rows.arity + typ.len());
                rows.plan.flat_map(func, args, typ).project((0..arity).chain(from..to))
            }
            HirRelationExpr::Join { left, right, on, kind } => self.join(*left, *right, *on, kind, outer)?,
            HirRelationExpr::Reduce { input, group_key, aggregates } => {
                let plan = self.lower(*input, outer)?;
                let mut rows = Rows { arity: plan.arity(), plan };
                let aggregates = aggregates.into_iter().map(|a| self.aggregate(a, &mut rows, outer));
                let aggregates = aggregates.collect::<Result<Vec<_>, _>>()?;
                let keys = (0..k).chain(group_key.iter().map(|c| c + k)).map(ScalarExpr::Column).collect();
                let defaults = aggregates.iter().map(AggregateExpr::over_nothing).collect();
                let groups = rows.plan.reduce(keys, aggregates);
                if group_key.is_empty() { self.add_missing(groups, &outer.keys, k, defaults) } else { groups }
            }
            HirRelationExpr::Distinct { input } => self.lower(*input, outer)?.distinct(),
            HirRelationExpr::TopK { input, group_key, order_key, limit, offset } => {
                let input = self.lower(*input, outer)?;
                let group_key = (0..k).chain(group_key.into_iter().map(|c| c + k)).collect();
                let shift = |o: ColumnOrder| ColumnOrder { column: o.column + k, ..o };
                input.top_k(group_key, order_key.into_iter().map(shift).collect(), limit, offset)
            }
            HirRelationExpr::Negate { input } => self.lower(*input, outer)?.negate(),
            HirRelationExpr::Threshold { input } => self.lower(*input, outer)?.threshold(),
            // An object of the catalog, so without outer columns.
            HirRelationExpr::Catch { input, side } => self.lower(*input, &Outer::none())?.catch(side),
            HirRelationExpr::Union { inputs } => {
                let inputs =
                    inputs.into_iter().map(|i| self.lower(i, outer)).collect::<Result<Vec<_>, _>>()?;
                RelationExpr::Union { inputs }
            }
        })
    }

    fn restore(&mut self, id: LocalId, hidden: Option<(LocalId, Vec<ColumnType>)>) {
        match hidden {
            Some(h) => self.locals.insert(id, h),
            None => self.locals.remove(&id),
        };
    }

    /// A row of `values` for each of `keys` (distinct, the first `k` columns of `found`) that `found` lacks.
    fn add_missing(
        &mut self,
        found: RelationExpr,
        keys: &RelationExpr,
        k: usize,
        values: Vec<ScalarExpr>,
    ) -> RelationExpr {
        self.bind(found, |_, found| {
            let missing = keys.clone().union(found.clone().project(0..k).negate());
            found.union(missing.map(values))
        })
    }

    /// Gives `body` something cheap to repeat that stands for `value`.
    fn bind(
        &mut self,
        value: RelationExpr,
        body: impl FnOnce(&mut Self, RelationExpr) -> RelationExpr,
    ) -> RelationExpr {
        match value {
            RelationExpr::Get { .. } | RelationExpr::LocalGet { .. } | RelationExpr::Constant { .. } => {
                body(self, value)
            }
            value => {
                let id = self.fresh();
                let get = RelationExpr::LocalGet { id, typ: value.typ() };
                body(self, get).let_in(id, value)
            }
        }
    }

    fn aggregate(
        &mut self,
        a: HirAggregateExpr,
        rows: &mut Rows,
        outer: &Outer,
    ) -> Result<AggregateExpr, SqlError> {
        let k = outer.arity;
        let mut args = vec![];
        for arg in a.args {
            args.push(self.scalar(arg, rows, k, &outer.columns)?);
        }
        let mut order_by = vec![];
        for (e, order) in a.order_by {
            order_by.push((self.scalar(e, rows, k, &outer.columns)?, order));
        }
        let mut filter = match a.filter {
            Some(f) => Some(self.scalar(f, rows, k, &outer.columns)?),
            None => None,
        };
        // All but those that collect leave NULLs out, so a NULL is as good as no row.
        if !matches!(a.func.0.kind, AggKind::Collect)
            && !args.is_empty()
            && let Some(cond) = filter.take()
        {
            let typ = rows.plan.typ();
            let first = args.remove(0);
            let null = ScalarExpr::literal(Datum::Null, first.typ(&typ).scalar);
            args.insert(
                0,
                ScalarExpr::If { cond: Box::new(cond), then: Box::new(first), els: Box::new(null) },
            );
        }
        Ok(AggregateExpr { func: a.func, args, distinct: a.distinct, order_by, filter, ty: a.ty })
    }

    /// Outer columns are at `columns`, the query's own begin at `k`. Subqueries append columns to `rows`.
    fn scalar(
        &mut self,
        e: HirScalarExpr,
        rows: &mut Rows,
        k: usize,
        columns: &BTreeMap<ColumnRef, usize>,
    ) -> Result<ScalarExpr, SqlError> {
        let mut all = |this: &mut Self, args: Vec<HirScalarExpr>| {
            args.into_iter().map(|a| this.scalar(a, rows, k, columns)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match e {
            HirScalarExpr::Column(ColumnRef { level: 0, column }) => ScalarExpr::Column(k + column),
            HirScalarExpr::Column(r) => ScalarExpr::Column(
                *columns
                    .get(&r)
                    .ok_or_else(|| SqlError::internal("a column of an outer query that is not there"))?,
            ),
            HirScalarExpr::Literal(value, typ) => ScalarExpr::Literal(value, typ),
            HirScalarExpr::Call { func, args, ty } => ScalarExpr::Call { func, args: all(self, args)?, ty },
            HirScalarExpr::And(args) => ScalarExpr::And(all(self, args)?),
            HirScalarExpr::Or(args) => ScalarExpr::Or(all(self, args)?),
            HirScalarExpr::Coalesce(args) => ScalarExpr::Coalesce(all(self, args)?),
            HirScalarExpr::If { cond, then, els } => ScalarExpr::If {
                cond: Box::new(self.scalar(*cond, rows, k, columns)?),
                then: Box::new(self.scalar(*then, rows, k, columns)?),
                els: Box::new(self.scalar(*els, rows, k, columns)?),
            },
            HirScalarExpr::Try(inner) => ScalarExpr::Try(Box::new(self.scalar(*inner, rows, k, columns)?)),
            HirScalarExpr::Context(c) => ScalarExpr::Context(c),
            HirScalarExpr::Parameter(n, ty) => ScalarExpr::Parameter(n, ty),
            HirScalarExpr::Exists(query) => {
                self.append(*query, rows, k, columns, |found, width| Found {
                    plan: found.project(0..width).distinct().map([ScalarExpr::bool(true)]),
                    otherwise: vec![ScalarExpr::bool(false)],
                    total: false,
                })?;
                ScalarExpr::Column(rows.arity - 1)
            }
            HirScalarExpr::Scalar(query) => return self.scalar_subquery(*query, rows, k, columns),
        })
    }

    /// The one value of a subquery.
    fn scalar_subquery(
        &mut self,
        query: HirRelationExpr,
        rows: &mut Rows,
        k: usize,
        columns: &BTreeMap<ColumnRef, usize>,
    ) -> Result<ScalarExpr, SqlError> {
        let query = match aggregate_over_all(query) {
            Ok((mut values, groups, otherwise)) => {
                // What is computed of the aggregates is computed where the value is wanted.
                let first = rows.arity;
                self.append(groups, rows, k, columns, |plan, _| Found { plan, otherwise, total: false })?;
                return self.of_aggregates(values.swap_remove(0), rows, first, k, columns);
            }
            Err(query) => query,
        };
        let (one_row, total) = (at_most_one_row(&query), exactly_one_row(&query));
        let mut checked = false;
        self.append(query, rows, k, columns, |found, width| {
            let ty = found.typ()[width].scalar.clone();
            let null = ScalarExpr::literal(Datum::Null, ty.clone());
            if one_row || found.keys().iter().any(|key| key.iter().all(|c| *c < width)) {
                return Found { plan: found, otherwise: vec![null], total };
            }
            checked = true;
            let aggregate = |func, arg, ty| AggregateExpr {
                func,
                args: vec![arg],
                distinct: false,
                order_by: vec![],
                filter: None,
                ty,
            };
            let count = aggregate(known::count(), ScalarExpr::bool(true), ScalarType::Int64);
            let value = aggregate(known::any_value(), ScalarExpr::Column(width), ty);
            let plan = found.reduce((0..width).map(ScalarExpr::Column).collect(), vec![count, value]);
            let none = ScalarExpr::literal(Datum::Int64(0), ScalarType::Int64);
            Found { plan, otherwise: vec![none, null], total: false }
        })?;
        let value = ScalarExpr::Column(rows.arity - 1);
        if !checked {
            return Ok(value);
        }
        // More than one row is an error only where the value is asked for: under CASE perhaps never.
        let ty = rows.plan.typ().pop().map_or(ScalarType::Text, |t| t.scalar);
        let message = "more than one row returned by a subquery used as an expression";
        let error = EvalError::new(code::CARDINALITY_VIOLATION, message);
        let one = ScalarExpr::literal(Datum::Int64(1), ScalarType::Int64);
        let many = ScalarExpr::Call {
            func: FuncRef::of(ids::GT),
            args: vec![ScalarExpr::Column(rows.arity - 2), one],
            ty: ScalarType::Bool,
        };
        Ok(ScalarExpr::If {
            cond: Box::new(many),
            then: Box::new(known::error(error, ty)),
            els: Box::new(value),
        })
    }

    /// Appends to each row a subquery's row that is computed from aggregates (see [`aggregate_over_all`]).
    fn aggregates(
        &mut self,
        values: Vec<HirScalarExpr>,
        groups: HirRelationExpr,
        otherwise: Vec<ScalarExpr>,
        rows: &mut Rows,
        k: usize,
        columns: &BTreeMap<ColumnRef, usize>,
    ) -> Result<(), SqlError> {
        let before = rows.arity;
        self.append(groups, rows, k, columns, |plan, _| Found { plan, otherwise, total: false })?;
        let values = values.into_iter().map(|v| self.of_aggregates(v, rows, before, k, columns));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let n = values.len();
        rows.plan = rows.plan.take().map(values).project((0..before).chain(rows.arity..rows.arity + n));
        rows.arity = before + n;
        Ok(())
    }

    /// An expression over aggregates that were appended at `first`: a constant, then they.
    fn of_aggregates(
        &mut self,
        value: HirScalarExpr,
        rows: &mut Rows,
        first: usize,
        k: usize,
        columns: &BTreeMap<ColumnRef, usize>,
    ) -> Result<ScalarExpr, SqlError> {
        let mut around = BTreeMap::new();
        for r in free_columns_of(&value) {
            around.insert(r, outer_place(r, k, columns)?);
        }
        self.scalar(value, rows, first + 1, &around)
    }

    /// Appends to each row what `make` finds for its key in a subquery's rows (the key's columns come first).
    fn append(
        &mut self,
        query: HirRelationExpr,
        rows: &mut Rows,
        k: usize,
        columns: &BTreeMap<ColumnRef, usize>,
        make: impl FnOnce(RelationExpr, usize) -> Found,
    ) -> Result<(), SqlError> {
        let plan = rows.plan.take();
        let arity = rows.arity;
        let mut appended = 0;
        rows.plan = self.with_keys(plan, query, k, columns, |this, rows, keys, on, found| {
            let width = on.len();
            let Found { plan, otherwise, total } = make(found, width);
            appended = plan.arity() - width;
            let project = (0..arity).chain(arity + width..arity + width + appended).collect();
            if total {
                return join_keys(rows, plan, on, project);
            }
            match detach(&plan, keys, width) {
                Some(plan) => {
                    let both = join_keys(rows.clone(), plan, on, project);
                    this.bind(both, |_, both| {
                        let missing = rows.union(both.clone().project(0..arity).negate());
                        both.union(missing.map(otherwise))
                    })
                }
                None => {
                    let plan = this.add_missing(plan, keys, width, otherwise);
                    join_keys(rows, plan, on, project)
                }
            }
        })?;
        rows.arity = arity + appended;
        Ok(())
    }

    /// Lowers a subquery over the distinct keys that it uses of `plan`. `then` gets the rows, the keys, which columns of
    /// the rows they are, and the subquery's rows behind the keys.
    fn with_keys(
        &mut self,
        plan: RelationExpr,
        query: HirRelationExpr,
        k: usize,
        columns: &BTreeMap<ColumnRef, usize>,
        then: impl FnOnce(&mut Self, RelationExpr, &RelationExpr, &[usize], RelationExpr) -> RelationExpr,
    ) -> Result<RelationExpr, SqlError> {
        let free = free_columns(&query);
        if free.is_empty() {
            let found = self.lower(query, &Outer::none())?;
            return Ok(then(self, plan, &RelationExpr::unit(), &[], found));
        }
        let mut places = BTreeMap::new();
        for r in free {
            places.insert(r, outer_place(r, k, columns)?);
        }
        let on: Vec<usize> = places.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let rows_id = self.fresh();
        let rows = RelationExpr::LocalGet { id: rows_id, typ: plan.typ() };
        let distinct = rows.clone().project(on.iter().copied()).distinct();
        let keys_id = self.fresh();
        let keys = RelationExpr::LocalGet { id: keys_id, typ: distinct.typ() };
        let place = |p: usize| on.binary_search(&p).expect("every place is among the keys");
        let columns = places.into_iter().map(|(r, p)| (r, place(p))).collect();
        let outer = Outer { keys: keys.clone(), arity: on.len(), columns };
        let found = self.lower(query, &outer)?;
        Ok(then(self, rows, &keys, &on, found).let_in(keys_id, distinct).let_in(rows_id, plan))
    }

    /// Keeps the rows for which a condition with subqueries is true. (NOT) EXISTS needs no column of its own.
    fn filter_by_subquery(
        &mut self,
        p: HirScalarExpr,
        rows: &mut Rows,
        outer: &Outer,
    ) -> Result<(), SqlError> {
        let k = outer.arity;
        let (query, wanted) = match p {
            HirScalarExpr::Exists(query) => (query, true),
            HirScalarExpr::Call { func, args, .. }
                if func.0.id == ids::NOT && matches!(&args[..], [HirScalarExpr::Exists(_)]) =>
            {
                let Some(HirScalarExpr::Exists(query)) = args.into_iter().next() else {
                    unreachable!("just matched")
                };
                (query, false)
            }
            other => {
                let p = self.scalar(other, rows, k, &outer.columns)?;
                rows.plan = rows.plan.take().filter([p]);
                return Ok(());
            }
        };
        let plan = rows.plan.take();
        let arity = rows.arity;
        rows.plan = self.with_keys(plan, *query, k, &outer.columns, |_, rows, keys, on, found| {
            let found = found.project(0..on.len()).distinct();
            let detached = detach(&found, keys, on.len());
            let all = (0..arity).collect();
            match (wanted, detached) {
                (true, Some(found)) => join_keys(rows, found, on, all),
                (true, None) => join_keys(rows, found, on, all),
                (false, Some(found)) => rows.clone().union(join_keys(rows, found, on, all).negate()),
                (false, None) => join_keys(rows, keys.clone().union(found.negate()), on, all),
            }
        })?;
        Ok(())
    }

    fn join(
        &mut self,
        left: HirRelationExpr,
        right: HirRelationExpr,
        on: HirScalarExpr,
        kind: JoinKind,
        outer: &Outer,
    ) -> Result<RelationExpr, SqlError> {
        let k = outer.arity;
        let left = self.lower(left, outer)?;
        let l = left.arity();
        let keeps_right = matches!(kind, JoinKind::RightOuter | JoinKind::FullOuter);
        let free = free_columns(&right);
        let right = if free.is_empty() || keeps_right || (kind != JoinKind::Inner && !hir_is_true(&on)) {
            right
        } else {
            match aggregate_over_all(right) {
                Ok((values, groups, otherwise)) => {
                    let mut rows = Rows { plan: left, arity: l };
                    self.aggregates(values, groups, otherwise, &mut rows, k, &outer.columns)?;
                    self.filter(hir_conjuncts(on), &mut rows, outer)?;
                    return Ok(rows.plan);
                }
                Err(right) => right,
            }
        };
        let mut bindings = vec![];
        // The right side comes with keys in front if it depends on the left or on outer rows: these columns of the left.
        let (left, right, keys) = if keeps_right {
            // Its rows without a partner stay, so it is computed for every outer row and for no left row.
            if free.iter().any(|r| r.level == 1) {
                let message = "the combining JOIN type must be INNER or LEFT for a LATERAL reference";
                return Err(SqlError::new(code::FEATURE_NOT_SUPPORTED, message));
            }
            let mut right = right;
            shift(&mut right, -1);
            (left, self.lower(right, outer)?, (0..k).collect())
        } else {
            let mut parts = None;
            let mut wrapped =
                self.with_keys(left, right, k, &outer.columns, |_, rows, keys, on, found| {
                    let found = detach(&found, keys, on.len()).unwrap_or(found);
                    parts = Some((rows, found, on.to_vec()));
                    RelationExpr::unit()
                })?;
            while let RelationExpr::Let { id, value, body } = wrapped {
                bindings.push((id, *value));
                wrapped = *body;
            }
            parts.ok_or_else(|| SqlError::internal("a join without its sides"))?
        };
        let keyed = keys.len();
        let r = right.arity() - keyed;
        let width = l + r;

        if kind == JoinKind::Inner {
            let project = (0..l).chain(l + keyed..l + keyed + r).collect();
            let plan = join_keys(left, right, &keys, project);
            let mut rows = Rows { plan, arity: width };
            self.filter(hir_conjuncts(on), &mut rows, outer)?;
            return Ok(wrap(rows.plan, bindings));
        }

        // Both sides are used more than once.
        let mut name = |this: &mut Self, plan: RelationExpr| match plan {
            RelationExpr::Get { .. } | RelationExpr::LocalGet { .. } | RelationExpr::Constant { .. } => plan,
            plan => {
                let id = this.fresh();
                let get = RelationExpr::LocalGet { id, typ: plan.typ() };
                bindings.push((id, plan));
                get
            }
        };
        let left = name(self, left);
        let right = name(self, right);

        // The condition, taken apart: equalities between the sides, what concerns one side, all else.
        let (left_typ, right_typ) = (left.typ(), right.typ());
        let mut equal: Vec<(ScalarExpr, ScalarExpr)> = vec![];
        for (i, c) in keys.iter().enumerate() {
            let (a, b) = (ScalarExpr::Column(*c), ScalarExpr::Column(i));
            let exact = !left_typ[*c].nullable || !right_typ[i].nullable;
            equal.push(if exact { (a, b) } else { (known::null_safe(a), known::null_safe(b)) });
        }
        let (mut left_only, mut right_only, mut mixed, mut nested) = (vec![], vec![], vec![], vec![]);
        let to_right = |e: &ScalarExpr| walk::renumbered(e, &|c| c - l + keyed);
        for p in hir_conjuncts(on) {
            if has_subquery(&p) {
                nested.push(p);
                continue;
            }
            let p = self.scalar(p, &mut Rows { plan: RelationExpr::unit(), arity: 0 }, k, &outer.columns)?;
            let side = |e: &ScalarExpr| {
                let used = e.columns();
                (
                    !used.is_empty() && used.iter().all(|c| *c < l),
                    !used.is_empty() && used.iter().all(|c| *c >= l),
                )
            };
            let sides = known::eq_args(&p).map(|(a, b)| (a, b, side(a), side(b)));
            match (sides, side(&p)) {
                (Some((a, b, (true, _), (_, true))), _) => equal.push((a.clone(), to_right(b))),
                (Some((a, b, (_, true), (true, _))), _) => equal.push((b.clone(), to_right(a))),
                (_, (true, _)) => left_only.push(p),
                (_, (_, true)) => right_only.push(to_right(&p)),
                _ if p.is_literal_true() => {}
                _ => mixed.push(p),
            }
        }
        let exact = mixed.is_empty() && nested.is_empty();

        let left_ok = left.clone().filter(left_only);
        let right_ok = right.clone().filter(right_only);
        let classes = equal.iter().map(|(a, b)| vec![a.clone(), walk::renumbered(b, &|c| c + l)]).collect();
        let both = if equal.is_empty() {
            left_ok.clone().product(right_ok.clone())
        } else {
            RelationExpr::join(vec![left_ok.clone(), right_ok.clone()], classes)
        };
        let both = both.project((0..l).chain(l + keyed..l + keyed + r)).filter(mixed);
        let mut rows = Rows { plan: both, arity: width };
        self.filter(nested, &mut rows, outer)?;
        let both = name(self, rows.plan);

        // The rows of one side that have a partner; the rest get NULLs.
        let (from_left, from_right): (Vec<_>, Vec<_>) = equal.into_iter().unzip();
        let null = |t: &ColumnType| ScalarExpr::literal(Datum::Null, t.scalar.clone());
        let mut inputs = vec![both.clone()];
        if matches!(kind, JoinKind::LeftOuter | JoinKind::FullOuter) {
            let place: Vec<usize> = (0..l).collect();
            let matched = if exact {
                matched_by(&left_ok, &from_left, &right_ok, &from_right, &both, &place)
            } else {
                matched_rows(&left, &both, &place)
            };
            let missing = left.clone().union(matched.negate());
            inputs.push(missing.map(right_typ[keyed..].iter().map(null)));
        }
        if keeps_right {
            let place: Vec<usize> = keys.iter().copied().chain(l..width).collect();
            let matched = if exact {
                matched_by(&right_ok, &from_right, &left_ok, &from_left, &both, &place)
            } else {
                matched_rows(&right, &both, &place)
            };
            let missing = right.clone().union(matched.negate());
            let nulls = keyed + r..keyed + r + l - k;
            let padded = missing.map(left_typ[k..].iter().map(null));
            inputs.push(padded.project((0..keyed).chain(nulls).chain(keyed..keyed + r)));
        }
        Ok(wrap(RelationExpr::Union { inputs }, bindings))
    }

    /// Keeps the rows for which all conditions are true.
    fn filter(
        &mut self,
        predicates: Vec<HirScalarExpr>,
        rows: &mut Rows,
        outer: &Outer,
    ) -> Result<(), SqlError> {
        let arity = rows.arity;
        let predicates = predicates.into_iter().flat_map(|p| match has_subquery(&p) {
            true => hir_conjuncts(when_true(p)),
            false => vec![p],
        });
        let (nested, plain): (Vec<_>, Vec<_>) = predicates.partition(has_subquery);
        let plain = plain.into_iter().map(|p| self.scalar(p, rows, outer.arity, &outer.columns));
        let plain = plain.collect::<Result<Vec<_>, _>>()?;
        rows.plan = rows.plan.take().filter(plain.into_iter().filter(|p| !p.is_literal_true()));
        for p in nested {
            self.filter_by_subquery(p, rows, outer)?;
            rows.plan = rows.plan.take().project(0..arity);
            rows.arity = arity;
        }
        Ok(())
    }
}

/// What a subquery gives for each key.
struct Found {
    /// The key, then values; at most one row a key.
    plan: RelationExpr,
    /// The values for a key that has no row.
    otherwise: Vec<ScalarExpr>,
    /// Whether every key has its row.
    total: bool,
}

/// Where a column that a subquery uses is in the rows around it: those of level 1 begin at `k`, others are `columns`.
fn outer_place(r: ColumnRef, k: usize, columns: &BTreeMap<ColumnRef, usize>) -> Result<usize, SqlError> {
    if r.level == 1 {
        return Ok(k + r.column);
    }
    let place = columns.get(&ColumnRef { level: r.level - 1, ..r });
    place.copied().ok_or_else(|| SqlError::internal("a column of an outer query that is not there"))
}

/// The same rows and perhaps those for other keys, without reading `keys` (the first `width` columns): where a condition
/// says that each key column equals something of the subquery's own, that takes the column's place. Only if nothing can
/// fail for the rows that come in addition. Whoever joins on the keys sees no difference, and nothing has to hold them.
fn detach(plan: &RelationExpr, keys: &RelationExpr, width: usize) -> Option<RelationExpr> {
    let RelationExpr::LocalGet { id: keys, .. } = keys else { return None };
    let detached = detach_from(plan, *keys, width)?;
    (!detached.free_locals().contains(keys)).then_some(detached)
}

fn detach_from(plan: &RelationExpr, keys: LocalId, width: usize) -> Option<RelationExpr> {
    let safe = |e: &ScalarExpr| !e.can_fail();
    match plan {
        RelationExpr::Filter { input, predicates } => {
            if let RelationExpr::Join { inputs, equivalences } = &**input
                && equivalences.is_empty()
                && let [RelationExpr::LocalGet { id, .. }, own] = &inputs[..]
                && *id == keys
            {
                return detach_product(own, predicates, width);
            }
            if !predicates.iter().all(safe) {
                return None;
            }
            Some(detach_from(input, keys, width)?.filter(predicates.iter().cloned()))
        }
        RelationExpr::Map { input, scalars } if scalars.iter().all(safe) => {
            Some(detach_from(input, keys, width)?.map(scalars.iter().cloned()))
        }
        RelationExpr::Project { input, columns } if columns.iter().take(width).copied().eq(0..width) => {
            Some(detach_from(input, keys, width)?.project(columns.iter().copied()))
        }
        RelationExpr::Reduce { input, group_key, aggregates } => {
            let mut all_safe = group_key.iter().all(safe);
            aggregates.iter().for_each(|a| a.for_each_scalar(&mut |e| all_safe &= safe(e)));
            let by_key = group_key.iter().take(width).cloned().eq((0..width).map(ScalarExpr::Column));
            if !all_safe || !by_key {
                return None;
            }
            Some(detach_from(input, keys, width)?.reduce(group_key.clone(), aggregates.clone()))
        }
        RelationExpr::TopK { input, group_key, order_key, limit, offset }
            if (0..width).all(|c| group_key.contains(&c)) =>
        {
            let input = detach_from(input, keys, width)?;
            Some(input.top_k(group_key.clone(), order_key.clone(), *limit, *offset))
        }
        _ => None,
    }
}

/// [`detach`] of conditions over the product of the keys and `own`.
fn detach_product(own: &RelationExpr, predicates: &[ScalarExpr], width: usize) -> Option<RelationExpr> {
    let mut rest: Vec<ScalarExpr> = predicates.to_vec();
    let mut values = vec![];
    for i in 0..width {
        let other = |p: &ScalarExpr| {
            let (a, b) = known::eq_args(p)?;
            let other = match (a, b) {
                (ScalarExpr::Column(c), other) | (other, ScalarExpr::Column(c)) if *c == i => other,
                _ => return None,
            };
            let used = other.columns();
            (!used.is_empty() && used.iter().all(|c| *c >= width) && !other.can_fail()).then(|| other.clone())
        };
        let (at, value) = rest.iter().enumerate().find_map(|(at, p)| Some((at, other(p)?)))?;
        rest.remove(at);
        values.push(walk::renumbered(&value, &|c| c - width));
    }
    if rest.iter().any(ScalarExpr::can_fail) {
        return None;
    }
    let n = own.arity();
    let not_null = values.iter().map(|v| known::is_not_null(v.clone()));
    let moved = own.clone().filter(not_null).map(values.iter().cloned());
    Some(moved.project((n..n + width).chain(0..n)).filter(rest))
}

/// If a query computes one row from aggregates over all its input: the expressions of that row, the aggregates by a
/// constant (so that no input gives no row), and their values over nothing, the constant's first.
#[allow(clippy::type_complexity)]
fn aggregate_over_all(
    query: HirRelationExpr,
) -> Result<(Vec<HirScalarExpr>, HirRelationExpr, Vec<ScalarExpr>), HirRelationExpr> {
    fn is_one(query: &HirRelationExpr) -> bool {
        match query {
            HirRelationExpr::Project { input, .. } => is_one(input),
            HirRelationExpr::Map { input, scalars } => !scalars.iter().any(has_subquery) && is_one(input),
            HirRelationExpr::Reduce { group_key, .. } => group_key.is_empty(),
            _ => false,
        }
    }
    if !is_one(&query) {
        return Err(query);
    }
    let mut chain = vec![];
    let mut below = query;
    loop {
        match below {
            HirRelationExpr::Project { input, columns } => {
                chain.push(Ok(columns));
                below = *input;
            }
            HirRelationExpr::Map { input, scalars } => {
                chain.push(Err(scalars));
                below = *input;
            }
            other => {
                below = other;
                break;
            }
        }
    }
    let HirRelationExpr::Reduce { input, aggregates, .. } = below else { return Err(below) };
    let column = |column| HirScalarExpr::Column(ColumnRef { level: 0, column });
    let mut values: Vec<HirScalarExpr> = (0..aggregates.len()).map(column).collect();
    for step in chain.into_iter().rev() {
        match step {
            Ok(columns) => values = columns.into_iter().map(|c| values[c].clone()).collect(),
            Err(scalars) => {
                for mut s in scalars {
                    put_in_scalar(&mut s, &values);
                    values.push(s);
                }
            }
        }
    }
    let mut otherwise = vec![ScalarExpr::bool(true)];
    otherwise.extend(aggregates.iter().map(|a| ScalarExpr::literal(a.func.over_nothing(), a.ty.clone())));
    let constant =
        HirScalarExpr::Literal(Ok(Row::pack([Datum::Bool(true)])), ScalarType::Bool.nullable(false));
    let width = hir_arity(&input);
    let input = HirRelationExpr::Map { input, scalars: vec![constant] };
    let groups = HirRelationExpr::Reduce { input: Box::new(input), group_key: vec![width], aggregates };
    Ok((values, groups, otherwise))
}

/// Puts expressions in the place of a query's own columns, in an expression without subqueries.
fn put_in_scalar(e: &mut HirScalarExpr, values: &[HirScalarExpr]) {
    match e {
        HirScalarExpr::Column(ColumnRef { level: 0, column }) => *e = values[*column].clone(),
        HirScalarExpr::Column(_)
        | HirScalarExpr::Literal(..)
        | HirScalarExpr::Context(_)
        | HirScalarExpr::Parameter(..)
        | HirScalarExpr::Exists(_)
        | HirScalarExpr::Scalar(_) => {}
        HirScalarExpr::Call { args, .. }
        | HirScalarExpr::And(args)
        | HirScalarExpr::Or(args)
        | HirScalarExpr::Coalesce(args) => args.iter_mut().for_each(|a| put_in_scalar(a, values)),
        HirScalarExpr::If { cond, then, els } => {
            put_in_scalar(cond, values);
            put_in_scalar(then, values);
            put_in_scalar(els, values);
        }
        HirScalarExpr::Try(inner) => put_in_scalar(inner, values),
    }
}

pub(crate) fn hir_arity(query: &HirRelationExpr) -> usize {
    match query {
        HirRelationExpr::Constant { typ, .. }
        | HirRelationExpr::Get { typ, .. }
        | HirRelationExpr::LocalGet { typ, .. } => typ.len(),
        HirRelationExpr::Let { body, .. } | HirRelationExpr::LetRec { body, .. } => hir_arity(body),
        HirRelationExpr::Project { columns, .. } => columns.len(),
        HirRelationExpr::Map { input, scalars } => hir_arity(input) + scalars.len(),
        HirRelationExpr::FlatMap { input, typ, .. } => hir_arity(input) + typ.len(),
        HirRelationExpr::Join { left, right, .. } => hir_arity(left) + hir_arity(right),
        HirRelationExpr::Reduce { group_key, aggregates, .. } => group_key.len() + aggregates.len(),
        HirRelationExpr::Filter { input, .. }
        | HirRelationExpr::Distinct { input }
        | HirRelationExpr::TopK { input, .. }
        | HirRelationExpr::Negate { input }
        | HirRelationExpr::Threshold { input } => hir_arity(input),
        HirRelationExpr::Catch { input, side: Side::Rows } => hir_arity(input),
        HirRelationExpr::Catch { side: Side::Errors, .. } => repr::EvalError::desc().arity(),
        HirRelationExpr::Union { inputs } => inputs.first().map_or(0, hir_arity),
    }
}

/// The rows of `own` for which `other` has a row with equal expressions. `both` is their join, in which `own`'s columns
/// are at `place`.
fn matched_by(
    own: &RelationExpr,
    own_exprs: &[ScalarExpr],
    other: &RelationExpr,
    other_exprs: &[ScalarExpr],
    both: &RelationExpr,
    place: &[usize],
) -> RelationExpr {
    let known = |c: &usize| {
        other_exprs
            .iter()
            .any(|e| matches!(known::null_safe_of(e).unwrap_or(e), ScalarExpr::Column(x) if x == c))
    };
    if other.keys().iter().any(|key| key.iter().all(known)) {
        // No row has two partners.
        return both.clone().project(place.iter().copied());
    }
    let (n, width) = (own.arity(), other.arity());
    let values =
        other.clone().map(other_exprs.iter().cloned()).project(width..width + other_exprs.len()).distinct();
    if own_exprs.is_empty() {
        return own.clone().product(values);
    }
    let classes =
        own_exprs.iter().enumerate().map(|(i, e)| vec![e.clone(), ScalarExpr::Column(n + i)]).collect();
    RelationExpr::join(vec![own.clone(), values], classes).project(0..n)
}

/// The rows of `own` that occur in `both`, where their columns are at `place`.
fn matched_rows(own: &RelationExpr, both: &RelationExpr, place: &[usize]) -> RelationExpr {
    let n = own.arity();
    let key = own.keys().into_iter().next().unwrap_or_else(|| (0..n).collect());
    let found = both.clone().project(key.iter().map(|c| place[*c])).distinct();
    join_keys(own.clone(), found, &key, (0..n).collect())
}

/// `rows` and `values` joined: columns `on` of the rows with the first columns of `values`, NULLs too. Then a
/// projection of all their columns end to end.
fn join_keys(rows: RelationExpr, values: RelationExpr, on: &[usize], project: Vec<usize>) -> RelationExpr {
    if on.is_empty() {
        return rows.product(values).project(project);
    }
    let n = rows.arity();
    let (rows_typ, values_typ) = (rows.typ(), values.typ());
    let class = |(i, c): (usize, &usize)| {
        let (a, b) = (ScalarExpr::Column(*c), ScalarExpr::Column(n + i));
        let exact = !rows_typ[*c].nullable || !values_typ[i].nullable;
        if exact { vec![a, b] } else { vec![known::null_safe(a), known::null_safe(b)] }
    };
    let classes = on.iter().enumerate().map(class).collect();
    RelationExpr::join(vec![rows, values], classes).project(project)
}

fn wrap(plan: RelationExpr, bindings: Vec<(LocalId, RelationExpr)>) -> RelationExpr {
    bindings.into_iter().rev().fold(plan, |plan, (id, value)| plan.let_in(id, value))
}

/// Whether a query gives one row or none, whatever the data.
fn at_most_one_row(query: &HirRelationExpr) -> bool {
    match query {
        HirRelationExpr::Reduce { group_key, .. } => group_key.is_empty(),
        HirRelationExpr::TopK { group_key, limit, input, .. } => {
            (group_key.is_empty() && limit.is_some_and(|n| n <= 1)) || at_most_one_row(input)
        }
        HirRelationExpr::Constant { rows: Ok(rows), .. } => {
            rows.is_empty() || (rows.len() == 1 && rows[0].1 == 1)
        }
        HirRelationExpr::Project { input, .. }
        | HirRelationExpr::Map { input, .. }
        | HirRelationExpr::Filter { input, .. }
        | HirRelationExpr::Distinct { input } => at_most_one_row(input),
        HirRelationExpr::Let { body, .. } => at_most_one_row(body),
        _ => false,
    }
}

/// Whether a query gives exactly one row, whatever the data.
fn exactly_one_row(query: &HirRelationExpr) -> bool {
    match query {
        HirRelationExpr::Reduce { group_key, .. } => group_key.is_empty(),
        HirRelationExpr::Constant { rows: Ok(rows), .. } => rows.len() == 1 && rows[0].1 == 1,
        HirRelationExpr::Project { input, .. }
        | HirRelationExpr::Map { input, .. }
        | HirRelationExpr::Distinct { input } => exactly_one_row(input),
        HirRelationExpr::Let { body, .. } => exactly_one_row(body),
        _ => false,
    }
}

fn hir_conjuncts(e: HirScalarExpr) -> Vec<HirScalarExpr> {
    match e {
        HirScalarExpr::And(args) => args.into_iter().flat_map(hir_conjuncts).collect(),
        other => vec![other],
    }
}

/// A condition that is true exactly when `e` is (else it may be false or NULL, in other cases than `e`). So that what a
/// filter asks of `IN` and `NOT IN` is EXISTS again: their forms give NULL in some cases, which a filter does not need.
fn when_true(e: HirScalarExpr) -> HirScalarExpr {
    match e {
        HirScalarExpr::And(args) => hir_and(args.into_iter().map(when_true)),
        HirScalarExpr::Or(args) => hir_or(args.into_iter().map(when_true)),
        HirScalarExpr::Literal(Ok(row), t) => {
            let is_true = row.iter().next() == Some(Datum::Bool(true));
            if is_true { HirScalarExpr::Literal(Ok(row), t) } else { hir_bool(false) }
        }
        HirScalarExpr::Call { func, mut args, .. } if func.0.id == ids::NOT && args.len() == 1 => {
            when_false(args.remove(0))
        }
        HirScalarExpr::If { cond, then, els } => match (hir_truth(&then), hir_truth(&els)) {
            (Some(true), _) => hir_or([when_true(*cond), when_true(*els)]),
            (Some(false), _) => hir_and([when_not_true(*cond), when_true(*els)]),
            (_, Some(false)) => hir_and([when_true(*cond), when_true(*then)]),
            _ => HirScalarExpr::If { cond, then, els },
        },
        other => other,
    }
}

/// A condition that is true exactly when `e` is false.
fn when_false(e: HirScalarExpr) -> HirScalarExpr {
    match e {
        HirScalarExpr::And(args) => hir_or(args.into_iter().map(when_false)),
        HirScalarExpr::Or(args) => hir_and(args.into_iter().map(when_false)),
        HirScalarExpr::Literal(Ok(row), _) => hir_bool(row.iter().next() == Some(Datum::Bool(false))),
        HirScalarExpr::Call { func, mut args, .. } if func.0.id == ids::NOT && args.len() == 1 => {
            when_true(args.remove(0))
        }
        HirScalarExpr::If { cond, then, els } => {
            let is_false = |e: &HirScalarExpr| match e {
                HirScalarExpr::Literal(Ok(row), _) => Some(row.iter().next() == Some(Datum::Bool(false))),
                _ => None,
            };
            match (is_false(&then), is_false(&els)) {
                (Some(true), _) => hir_or([when_true(*cond), when_false(*els)]),
                (Some(false), _) => hir_and([when_not_true(*cond), when_false(*els)]),
                (_, Some(false)) => hir_and([when_true(*cond), when_false(*then)]),
                _ => hir_call(ids::NOT, HirScalarExpr::If { cond, then, els }),
            }
        }
        other => hir_call(ids::NOT, other),
    }
}

/// A condition that is true exactly when `e` is false or NULL, and else false.
fn when_not_true(e: HirScalarExpr) -> HirScalarExpr {
    match e {
        HirScalarExpr::And(args) => hir_or(args.into_iter().map(when_not_true)),
        HirScalarExpr::Or(args) => hir_and(args.into_iter().map(when_not_true)),
        HirScalarExpr::Literal(Ok(row), _) => hir_bool(row.iter().next() != Some(Datum::Bool(true))),
        HirScalarExpr::Exists(query) => hir_call(ids::NOT, HirScalarExpr::Exists(query)),
        HirScalarExpr::Call { func, args, ty } if func.0.id == ids::IS_NULL => {
            HirScalarExpr::Call { func: FuncRef::of(ids::IS_NOT_NULL), args, ty }
        }
        other => hir_call(ids::IS_NOT_TRUE, other),
    }
}

fn hir_is_true(e: &HirScalarExpr) -> bool {
    hir_truth(e) == Some(true)
}

/// Whether a constant is true; false or NULL.
fn hir_truth(e: &HirScalarExpr) -> Option<bool> {
    match e {
        HirScalarExpr::Literal(Ok(row), _) => Some(row.iter().next() == Some(Datum::Bool(true))),
        _ => None,
    }
}

fn hir_bool(b: bool) -> HirScalarExpr {
    HirScalarExpr::Literal(Ok(Row::pack([Datum::Bool(b)])), ScalarType::Bool.nullable(false))
}

fn hir_call(id: &'static str, arg: HirScalarExpr) -> HirScalarExpr {
    HirScalarExpr::Call { func: FuncRef::of(id), args: vec![arg], ty: ScalarType::Bool }
}

fn hir_and(args: impl IntoIterator<Item = HirScalarExpr>) -> HirScalarExpr {
    let mut args: Vec<_> = args.into_iter().filter(|a| hir_truth(a) != Some(true)).collect();
    match args.len() {
        0 => hir_bool(true),
        1 => args.remove(0),
        _ => HirScalarExpr::And(args),
    }
}

/// Of conditions of which only it matters whether one is true.
fn hir_or(args: impl IntoIterator<Item = HirScalarExpr>) -> HirScalarExpr {
    let mut args: Vec<_> = args.into_iter().filter(|a| hir_truth(a) != Some(false)).collect();
    match args.len() {
        0 => hir_bool(false),
        1 => args.remove(0),
        _ => HirScalarExpr::Or(args),
    }
}

fn has_subquery(e: &HirScalarExpr) -> bool {
    let mut found = false;
    walk_scalar(e, 0, &mut |part, _| found |= matches!(part, Part::Query));
    found
}

/// The columns of queries around this one that it uses, as levels inside it: 1 is the query next to it.
fn free_columns(query: &HirRelationExpr) -> BTreeSet<ColumnRef> {
    let mut free = BTreeSet::new();
    walk_relation(query, 0, &mut |part, depth| {
        if let Part::Column(r) = part
            && r.level > depth
        {
            free.insert(ColumnRef { level: r.level - depth, ..r });
        }
    });
    free
}

/// The same of an expression without subqueries: what is not of its own query.
fn free_columns_of(e: &HirScalarExpr) -> BTreeSet<ColumnRef> {
    let mut free = BTreeSet::new();
    walk_scalar(e, 0, &mut |part, _| {
        if let Part::Column(r) = part
            && r.level > 0
        {
            free.insert(r);
        }
    });
    free
}

/// What [`walk_relation`] meets.
enum Part {
    Column(ColumnRef),
    Query,
}

/// Meets every column reference, with the number of queries between it and `query`.
fn walk_relation(query: &HirRelationExpr, depth: usize, f: &mut dyn FnMut(Part, usize)) {
    match query {
        HirRelationExpr::Constant { .. } | HirRelationExpr::Get { .. } | HirRelationExpr::LocalGet { .. } => {
        }
        HirRelationExpr::Let { value, body, .. } => {
            walk_relation(value, depth, f);
            walk_relation(body, depth, f);
        }
        HirRelationExpr::LetRec { bindings, body, .. } => {
            bindings.iter().for_each(|b| walk_relation(&b.1, depth, f));
            walk_relation(body, depth, f);
        }
        HirRelationExpr::Map { input, scalars } => {
            walk_relation(input, depth, f);
            scalars.iter().for_each(|s| walk_scalar(s, depth, f));
        }
        HirRelationExpr::Filter { input, predicates } => {
            walk_relation(input, depth, f);
            predicates.iter().for_each(|s| walk_scalar(s, depth, f));
        }
        HirRelationExpr::FlatMap { input, args, .. } => {
            walk_relation(input, depth, f);
            args.iter().for_each(|s| walk_scalar(s, depth, f));
        }
        HirRelationExpr::Join { left, right, on, .. } => {
            walk_relation(left, depth, f);
            walk_relation(right, depth + 1, f);
            walk_scalar(on, depth, f);
        }
        HirRelationExpr::Reduce { input, aggregates, .. } => {
            walk_relation(input, depth, f);
            for a in aggregates {
                let parts = a.args.iter().chain(a.order_by.iter().map(|o| &o.0)).chain(&a.filter);
                parts.for_each(|s| walk_scalar(s, depth, f));
            }
        }
        HirRelationExpr::Project { input, .. }
        | HirRelationExpr::Distinct { input }
        | HirRelationExpr::TopK { input, .. }
        | HirRelationExpr::Negate { input }
        | HirRelationExpr::Catch { input, .. }
        | HirRelationExpr::Threshold { input } => walk_relation(input, depth, f),
        HirRelationExpr::Union { inputs } => inputs.iter().for_each(|i| walk_relation(i, depth, f)),
    }
}

fn walk_scalar(e: &HirScalarExpr, depth: usize, f: &mut dyn FnMut(Part, usize)) {
    match e {
        HirScalarExpr::Column(r) => f(Part::Column(*r), depth),
        HirScalarExpr::Literal(..) | HirScalarExpr::Context(_) | HirScalarExpr::Parameter(..) => {}
        HirScalarExpr::Call { args, .. }
        | HirScalarExpr::And(args)
        | HirScalarExpr::Or(args)
        | HirScalarExpr::Coalesce(args) => args.iter().for_each(|a| walk_scalar(a, depth, f)),
        HirScalarExpr::If { cond, then, els } => {
            walk_scalar(cond, depth, f);
            walk_scalar(then, depth, f);
            walk_scalar(els, depth, f);
        }
        HirScalarExpr::Try(inner) => walk_scalar(inner, depth, f),
        HirScalarExpr::Exists(query) | HirScalarExpr::Scalar(query) => {
            f(Part::Query, depth);
            walk_relation(query, depth + 1, f);
        }
    }
}

/// Moves a query `by` levels deeper: its outer columns are then that much further out.
fn shift(query: &mut HirRelationExpr, by: isize) {
    change_relation(query, 0, &mut |query, depth| {
        let moved = |e: &mut HirScalarExpr, depth: usize| {
            if let HirScalarExpr::Column(r) = e
                && r.level > depth
            {
                r.level = r.level.checked_add_signed(by).expect("no reference to a level that is taken away");
            }
        };
        for_each_scalar_mut(query, &mut |e| change_scalar(e, depth, &mut |e, depth| moved(e, depth)));
    });
}

/// Changes every part of a query that is not inside a scalar expression, inputs last.
pub(crate) fn change_relation(
    query: &mut HirRelationExpr,
    depth: usize,
    f: &mut dyn FnMut(&mut HirRelationExpr, usize),
) {
    f(query, depth);
    for_each_input_mut(query, &mut |input, inner| change_relation(input, depth + inner, f));
}

/// Each direct input with the number of levels that it lies deeper.
fn for_each_input_mut(query: &mut HirRelationExpr, f: &mut dyn FnMut(&mut HirRelationExpr, usize)) {
    match query {
        HirRelationExpr::Constant { .. } | HirRelationExpr::Get { .. } | HirRelationExpr::LocalGet { .. } => {
        }
        HirRelationExpr::Let { value, body, .. } => {
            f(value, 0);
            f(body, 0);
        }
        HirRelationExpr::LetRec { bindings, body, .. } => {
            bindings.iter_mut().for_each(|b| f(&mut b.1, 0));
            f(body, 0);
        }
        HirRelationExpr::Join { left, right, .. } => {
            f(left, 0);
            f(right, 1);
        }
        HirRelationExpr::Project { input, .. }
        | HirRelationExpr::Map { input, .. }
        | HirRelationExpr::Filter { input, .. }
        | HirRelationExpr::FlatMap { input, .. }
        | HirRelationExpr::Reduce { input, .. }
        | HirRelationExpr::Distinct { input }
        | HirRelationExpr::TopK { input, .. }
        | HirRelationExpr::Negate { input }
        | HirRelationExpr::Catch { input, .. }
        | HirRelationExpr::Threshold { input } => f(input, 0),
        HirRelationExpr::Union { inputs } => inputs.iter_mut().for_each(|i| f(i, 0)),
    }
}

fn for_each_scalar_mut(query: &mut HirRelationExpr, f: &mut dyn FnMut(&mut HirScalarExpr)) {
    match query {
        HirRelationExpr::Map { scalars, .. } => scalars.iter_mut().for_each(f),
        HirRelationExpr::Filter { predicates, .. } => predicates.iter_mut().for_each(f),
        HirRelationExpr::FlatMap { args, .. } => args.iter_mut().for_each(f),
        HirRelationExpr::Join { on, .. } => f(on),
        HirRelationExpr::Reduce { aggregates, .. } => {
            for a in aggregates {
                let order = a.order_by.iter_mut().map(|o| &mut o.0);
                a.args.iter_mut().chain(order).chain(&mut a.filter).for_each(&mut *f);
            }
        }
        _ => {}
    }
}

/// Changes every part of an expression, also inside its subqueries.
fn change_scalar(e: &mut HirScalarExpr, depth: usize, f: &mut dyn FnMut(&mut HirScalarExpr, usize)) {
    f(e, depth);
    match e {
        HirScalarExpr::Column(_)
        | HirScalarExpr::Literal(..)
        | HirScalarExpr::Context(_)
        | HirScalarExpr::Parameter(..) => {}
        HirScalarExpr::Call { args, .. }
        | HirScalarExpr::And(args)
        | HirScalarExpr::Or(args)
        | HirScalarExpr::Coalesce(args) => args.iter_mut().for_each(|a| change_scalar(a, depth, f)),
        HirScalarExpr::If { cond, then, els } => {
            change_scalar(cond, depth, f);
            change_scalar(then, depth, f);
            change_scalar(els, depth, f);
        }
        HirScalarExpr::Try(inner) => change_scalar(inner, depth, f),
        HirScalarExpr::Exists(query) | HirScalarExpr::Scalar(query) => {
            change_relation(query, depth + 1, &mut |query, depth| {
                for_each_scalar_mut(query, &mut |e| change_scalar(e, depth, f));
            });
        }
    }
}

/// Writes out bindings (CTEs inside subqueries) whose value uses outer columns, so that all others stand alone.
fn inline_correlated_bindings(query: &mut HirRelationExpr) -> Result<(), SqlError> {
    let mut error = None;
    inline_in(query, &mut error);
    error.map_or(Ok(()), Err)
}

fn inline_in(query: &mut HirRelationExpr, error: &mut Option<SqlError>) {
    for_each_scalar_mut(query, &mut |e| inline_in_scalar(e, error));
    for_each_input_mut(query, &mut |input, _| inline_in(input, error));
    if let HirRelationExpr::LetRec { bindings, .. } = query
        && bindings.iter().any(|b| !free_columns(&b.1).is_empty())
    {
        *error = Some(SqlError::unsupported(
            "WITH MUTUALLY RECURSIVE that refers to an outer query",
            "Join the outer query's columns outside of the recursion.",
        ));
    }
    if let HirRelationExpr::Let { id, value, body } = query
        && !free_columns(value).is_empty()
    {
        let (id, value) = (*id, std::mem::replace(&mut **value, HirRelationExpr::Union { inputs: vec![] }));
        let mut body = std::mem::replace(&mut **body, HirRelationExpr::Union { inputs: vec![] });
        put_in(&mut body, 0, id, &value);
        *query = body;
    }
}

fn inline_in_scalar(e: &mut HirScalarExpr, error: &mut Option<SqlError>) {
    change_scalar_top(e, &mut |query| inline_in(query, error));
}

/// The subqueries of an expression, not those inside them.
fn change_scalar_top(e: &mut HirScalarExpr, f: &mut dyn FnMut(&mut HirRelationExpr)) {
    match e {
        HirScalarExpr::Column(_)
        | HirScalarExpr::Literal(..)
        | HirScalarExpr::Context(_)
        | HirScalarExpr::Parameter(..) => {}
        HirScalarExpr::Call { args, .. }
        | HirScalarExpr::And(args)
        | HirScalarExpr::Or(args)
        | HirScalarExpr::Coalesce(args) => args.iter_mut().for_each(|a| change_scalar_top(a, f)),
        HirScalarExpr::If { cond, then, els } => {
            change_scalar_top(cond, f);
            change_scalar_top(then, f);
            change_scalar_top(els, f);
        }
        HirScalarExpr::Try(inner) => change_scalar_top(inner, f),
        HirScalarExpr::Exists(query) | HirScalarExpr::Scalar(query) => f(query),
    }
}

/// Puts a binding's value where it is used, each time as deep as it is there.
fn put_in(query: &mut HirRelationExpr, depth: usize, id: LocalId, value: &HirRelationExpr) {
    match query {
        HirRelationExpr::LocalGet { id: used, .. } if *used == id => {
            let mut value = value.clone();
            shift(&mut value, depth as isize);
            *query = value;
            return;
        }
        // Bound anew below.
        HirRelationExpr::Let { id: bound, value: inner, .. } if *bound == id => {
            put_in(inner, depth, id, value);
            return;
        }
        HirRelationExpr::LetRec { bindings, .. } if bindings.iter().any(|b| b.0 == id) => return,
        _ => {}
    }
    for_each_scalar_mut(query, &mut |e| {
        change_scalar_top(e, &mut |query| put_in(query, depth + 1, id, value));
    });
    for_each_input_mut(query, &mut |input, inner| put_in(input, depth + inner, id, value));
}

#[cfg(test)]
mod tests;
