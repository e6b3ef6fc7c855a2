//! For tests: short ways to write plans, the plainest way to compute them, random queries.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use repr::{Arena, ColumnType, Datum, Diff, EvalError, GlobalId, Row, ScalarType};

use crate::func::{AggRef, FuncRef};
use crate::hir::{ColumnRef, HirAggregateExpr, HirRelationExpr, HirScalarExpr, JoinKind};
use crate::{AggregateExpr, ColumnOrder, LocalId, RelationExpr, ScalarExpr, Side, explain};

/// Stored rows of `n` columns of bigint that may be NULL: object `u{id}`.
pub(crate) fn get(id: u64, n: usize) -> RelationExpr {
    RelationExpr::get(GlobalId::User(id), vec![ScalarType::Int64.nullable(true); n])
}

pub(crate) fn col(i: usize) -> ScalarExpr {
    ScalarExpr::Column(i)
}

pub(crate) fn int(n: i64) -> ScalarExpr {
    ScalarExpr::literal(Datum::Int64(n), ScalarType::Int64)
}

pub(crate) fn text(s: &str) -> ScalarExpr {
    ScalarExpr::literal(Datum::Text(s), ScalarType::Text)
}

/// A call by id, returning what its name promises well enough for tests.
pub(crate) fn call(id: &'static str, args: Vec<ScalarExpr>, ty: ScalarType) -> ScalarExpr {
    ScalarExpr::Call { func: FuncRef::of(id), args, ty }
}

pub(crate) fn eq(a: ScalarExpr, b: ScalarExpr) -> ScalarExpr {
    call("eq", vec![a, b], ScalarType::Bool)
}

pub(crate) fn lt(a: ScalarExpr, b: ScalarExpr) -> ScalarExpr {
    call("lt", vec![a, b], ScalarType::Bool)
}

pub(crate) fn agg(id: &'static str, arg: ScalarExpr) -> AggregateExpr {
    AggregateExpr {
        func: AggRef::of(id),
        args: vec![arg],
        distinct: false,
        order_by: vec![],
        filter: None,
        ty: ScalarType::Int64,
    }
}

pub(crate) fn row(values: &[i64]) -> Row {
    Row::pack(values.iter().map(|n| Datum::Int64(*n)))
}

pub(crate) fn ints(n: usize) -> Vec<ColumnType> {
    vec![ScalarType::Int64.nullable(true); n]
}

/// The plan as text; objects by their ids, columns without names.
pub(crate) fn shown(plan: &RelationExpr) -> String {
    explain::explain(plan, &|id| id.to_string(), &|_| vec![])
}

/// The same for queries as SQL means them.
pub(crate) mod hir {
    use super::*;

    pub(crate) fn get(id: u64, n: usize) -> HirRelationExpr {
        HirRelationExpr::Get { id: GlobalId::User(id), typ: ints(n) }
    }

    pub(crate) fn col(column: usize) -> HirScalarExpr {
        outer(0, column)
    }

    pub(crate) fn outer(level: usize, column: usize) -> HirScalarExpr {
        HirScalarExpr::Column(ColumnRef { level, column })
    }

    pub(crate) fn int(n: i64) -> HirScalarExpr {
        HirScalarExpr::Literal(Ok(row(&[n])), ScalarType::Int64.nullable(false))
    }

    pub(crate) fn truth(b: Option<bool>) -> HirScalarExpr {
        let datum = b.map_or(Datum::Null, Datum::Bool);
        HirScalarExpr::Literal(Ok(Row::pack([datum])), ScalarType::Bool.nullable(b.is_none()))
    }

    pub(crate) fn call(id: &'static str, args: Vec<HirScalarExpr>, ty: ScalarType) -> HirScalarExpr {
        HirScalarExpr::Call { func: FuncRef::of(id), args, ty }
    }

    pub(crate) fn eq(a: HirScalarExpr, b: HirScalarExpr) -> HirScalarExpr {
        call("eq", vec![a, b], ScalarType::Bool)
    }

    pub(crate) fn filter(input: HirRelationExpr, p: HirScalarExpr) -> HirRelationExpr {
        HirRelationExpr::Filter { input: Box::new(input), predicates: vec![p] }
    }

    pub(crate) fn map(input: HirRelationExpr, scalars: Vec<HirScalarExpr>) -> HirRelationExpr {
        HirRelationExpr::Map { input: Box::new(input), scalars }
    }

    pub(crate) fn project(input: HirRelationExpr, columns: &[usize]) -> HirRelationExpr {
        HirRelationExpr::Project { input: Box::new(input), columns: columns.to_vec() }
    }

    pub(crate) fn join(
        left: HirRelationExpr,
        right: HirRelationExpr,
        on: HirScalarExpr,
        kind: JoinKind,
    ) -> HirRelationExpr {
        HirRelationExpr::Join { left: Box::new(left), right: Box::new(right), on: Box::new(on), kind }
    }

    pub(crate) fn agg(id: &'static str, arg: HirScalarExpr, ty: ScalarType) -> HirAggregateExpr {
        HirAggregateExpr {
            func: AggRef::of(id),
            args: vec![arg],
            distinct: false,
            order_by: vec![],
            filter: None,
            ty,
        }
    }

    pub(crate) fn reduce(
        input: HirRelationExpr,
        group_key: &[usize],
        aggregates: Vec<HirAggregateExpr>,
    ) -> HirRelationExpr {
        HirRelationExpr::Reduce { input: Box::new(input), group_key: group_key.to_vec(), aggregates }
    }

    pub(crate) fn exists(query: HirRelationExpr) -> HirScalarExpr {
        HirScalarExpr::Exists(Box::new(query))
    }

    pub(crate) fn scalar(query: HirRelationExpr) -> HirScalarExpr {
        HirScalarExpr::Scalar(Box::new(query))
    }
}

/// Rows with how often each occurs, never 0.
pub(crate) type Rows = BTreeMap<Row, Diff>;

/// What stored collections hold.
pub(crate) type Data = BTreeMap<GlobalId, Rows>;

fn consolidated(rows: impl IntoIterator<Item = (Row, Diff)>) -> Rows {
    let mut sums = Rows::new();
    for (row, diff) in rows {
        *sums.entry(row).or_default() += diff;
    }
    sums.retain(|_, d| *d != 0);
    sums
}

fn joined(a: &Row, b: &Row) -> Row {
    let mut row = a.clone();
    row.extend_packed(b.as_ref());
    row
}

fn projected(row: &Row, columns: &[usize]) -> Row {
    let datums = row.unpack();
    Row::pack(columns.iter().map(|c| datums[*c]))
}

fn value(e: &ScalarExpr, row: &Row) -> Result<Row, EvalError> {
    let arena = Arena::new();
    Ok(Row::pack([e.eval(&row.unpack(), &arena)?]))
}

fn is_true(e: &ScalarExpr, row: &Row) -> Result<bool, EvalError> {
    Ok(value(e, row)?.unpack() == [Datum::Bool(true)])
}

/// Two rows by sort keys, then by their bytes.
fn compare(a: &Row, b: &Row, order_key: &[ColumnOrder]) -> Ordering {
    let (x, y) = (a.unpack(), b.unpack());
    for o in order_key {
        let (x, y) = (x[o.column], y[o.column]);
        let order = match (x.is_null(), y.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) if o.nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if o.nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ if o.desc => y.cmp(&x),
            _ => x.cmp(&y),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.cmp(b)
}

fn aggregated(a: &AggregateExpr, rows: &Rows) -> Result<Row, EvalError> {
    let order: Vec<ColumnOrder> = a.order_by.iter().map(|o| o.1).collect();
    let mut args: Vec<(Row, Row)> = vec![];
    for (row, diff) in rows {
        if let Some(f) = &a.filter
            && !is_true(f, row)?
        {
            continue;
        }
        let (mut arg, mut keys) = (Row::default(), Row::default());
        for e in &a.args {
            arg.extend_packed(value(e, row)?.as_ref());
        }
        for (e, _) in &a.order_by {
            keys.extend_packed(value(e, row)?.as_ref());
        }
        let copies = usize::try_from(*diff).expect("groups have no negative rows");
        args.extend(std::iter::repeat_n((keys, arg), copies));
    }
    args.sort_by(|x, y| compare(&x.0, &y.0, &order).then_with(|| x.1.cmp(&y.1)));
    if a.distinct {
        args.dedup();
    }
    a.func.evaluate(&args.into_iter().map(|a| a.1).collect::<Vec<_>>(), &a.ty)
}

fn top(rows: &Rows, group_key: &[usize], order_key: &[ColumnOrder], limit: Option<u64>, offset: u64) -> Rows {
    let mut groups: BTreeMap<Row, Vec<&Row>> = BTreeMap::new();
    for (row, diff) in rows {
        let copies = usize::try_from(*diff).expect("no negative rows below a limit");
        groups.entry(projected(row, group_key)).or_default().extend(std::iter::repeat_n(row, copies));
    }
    let mut out = vec![];
    for mut group in groups.into_values() {
        group.sort_by(|a, b| compare(a, b, order_key));
        let kept = group.into_iter().skip(offset as usize).take(limit.map_or(usize::MAX, |n| n as usize));
        out.extend(kept.map(|r| (r.clone(), 1)));
    }
    consolidated(out)
}

/// Computes a plan in the plainest way.
pub(crate) fn run(plan: &RelationExpr, data: &Data) -> Result<Rows, EvalError> {
    run_within(plan, data, &mut BTreeMap::new())
}

fn run_within(
    plan: &RelationExpr,
    data: &Data,
    bound: &mut BTreeMap<LocalId, Rows>,
) -> Result<Rows, EvalError> {
    Ok(match plan {
        RelationExpr::Constant { rows, .. } => consolidated(rows.clone()?),
        RelationExpr::Get { id, .. } => data[id].clone(),
        RelationExpr::LocalGet { id, .. } => bound[id].clone(),
        RelationExpr::Let { id, value, body } => {
            let value = run_within(value, data, bound)?;
            bound.insert(*id, value);
            run_within(body, data, bound)?
        }
        RelationExpr::LetRec { bindings, body, .. } => {
            bindings.iter().for_each(|b| drop(bound.insert(b.0, Rows::new())));
            loop {
                let mut changed = false;
                for (id, value, _) in bindings {
                    let new = run_within(value, data, bound)?;
                    changed |= bound[id] != new;
                    bound.insert(*id, new);
                }
                if !changed {
                    break;
                }
            }
            run_within(body, data, bound)?
        }
        RelationExpr::Project { input, columns } => {
            let rows = run_within(input, data, bound)?;
            consolidated(rows.iter().map(|(r, d)| (projected(r, columns), *d)))
        }
        RelationExpr::Map { input, scalars } => {
            let mut out = vec![];
            for (mut row, diff) in run_within(input, data, bound)? {
                for s in scalars {
                    row = joined(&row, &value(s, &row)?);
                }
                out.push((row, diff));
            }
            consolidated(out)
        }
        RelationExpr::Filter { input, predicates } => {
            let mut out = vec![];
            for (row, diff) in run_within(input, data, bound)? {
                if predicates
                    .iter()
                    .map(|p| is_true(p, &row))
                    .collect::<Result<Vec<_>, _>>()?
                    .iter()
                    .all(|t| *t)
                {
                    out.push((row, diff));
                }
            }
            consolidated(out)
        }
        RelationExpr::FlatMap { input, func, args, .. } => {
            let mut out = vec![];
            for (row, diff) in run_within(input, data, bound)? {
                let arena = Arena::new();
                let datums = row.unpack();
                let args = args.iter().map(|a| a.eval(&datums, &arena)).collect::<Result<Vec<_>, _>>()?;
                if func.0.strict && args.iter().any(Datum::is_null) {
                    continue;
                }
                (func.0.eval)(&args, &arena, &mut |more| {
                    out.push((Row::pack(datums.iter().chain(more).copied()), diff))
                })?;
            }
            consolidated(out)
        }
        RelationExpr::Join { inputs, equivalences } => {
            let mut all = Rows::from([(Row::default(), 1)]);
            for i in inputs {
                let rows = run_within(i, data, bound)?;
                let pairs =
                    all.iter().flat_map(|(a, d)| rows.iter().map(move |(b, e)| (joined(a, b), d * e)));
                all = consolidated(pairs);
            }
            let mut out = vec![];
            'rows: for (row, diff) in all {
                for class in equivalences {
                    let values = class.iter().map(|e| value(e, &row)).collect::<Result<Vec<_>, _>>()?;
                    if values.iter().any(|v| *v != values[0] || v.unpack()[0].is_null()) {
                        continue 'rows;
                    }
                }
                out.push((row, diff));
            }
            consolidated(out)
        }
        RelationExpr::Reduce { input, group_key, aggregates } => {
            let mut groups: BTreeMap<Row, Rows> = BTreeMap::new();
            for (row, diff) in run_within(input, data, bound)? {
                let mut key = Row::default();
                for k in group_key {
                    key.extend_packed(value(k, &row)?.as_ref());
                }
                groups.entry(key).or_default().insert(row, diff);
            }
            let mut out = vec![];
            for (mut row, group) in groups {
                for a in aggregates {
                    row = joined(&row, &aggregated(a, &group)?);
                }
                out.push((row, 1));
            }
            consolidated(out)
        }
        RelationExpr::TopK { input, group_key, order_key, limit, offset } => {
            top(&run_within(input, data, bound)?, group_key, order_key, *limit, *offset)
        }
        RelationExpr::Negate { input } => {
            run_within(input, data, bound)?.into_iter().map(|(r, d)| (r, -d)).collect()
        }
        RelationExpr::Catch { input, side } => match (side, run_within(input, data, bound)) {
            (Side::Rows, rows) => rows.unwrap_or_default(),
            (Side::Errors, Ok(_)) => Rows::new(),
            (Side::Errors, Err(e)) => Rows::from([(e.to_row(), 1)]),
        },
        RelationExpr::Threshold { input } => {
            let mut rows = run_within(input, data, bound)?;
            rows.retain(|_, d| *d > 0);
            rows
        }
        RelationExpr::Union { inputs } => {
            let mut out = vec![];
            for i in inputs {
                out.extend(run_within(i, data, bound)?);
            }
            consolidated(out)
        }
        RelationExpr::ArrangeBy { input, .. } => run_within(input, data, bound)?,
    })
}

/// Computes a query as SQL means it: subqueries anew for every row around them, `outer` from the inside out.
pub(crate) fn run_hir(query: &HirRelationExpr, data: &Data, outer: &[Row]) -> Result<Rows, EvalError> {
    let plain = |e: &HirScalarExpr, row: &Row| plain(e, data, row, outer);
    let holds = |e: &HirScalarExpr, row: &Row| is_true(&plain(e, row)?, row);
    Ok(match query {
        HirRelationExpr::Constant { rows, .. } => consolidated(rows.clone()?),
        HirRelationExpr::Get { id, .. } => data[id].clone(),
        HirRelationExpr::LocalGet { .. } | HirRelationExpr::Let { .. } | HirRelationExpr::LetRec { .. } => {
            panic!("bindings have tests of their own")
        }
        HirRelationExpr::Project { input, columns } => {
            consolidated(run_hir(input, data, outer)?.iter().map(|(r, d)| (projected(r, columns), *d)))
        }
        HirRelationExpr::Map { input, scalars } => {
            let mut out = vec![];
            for (mut row, diff) in run_hir(input, data, outer)? {
                for s in scalars {
                    row = joined(&row, &value(&plain(s, &row)?, &row)?);
                }
                out.push((row, diff));
            }
            consolidated(out)
        }
        HirRelationExpr::Filter { input, predicates } => {
            let mut out = vec![];
            for (row, diff) in run_hir(input, data, outer)? {
                let mut all = true;
                for p in predicates {
                    all &= holds(p, &row)?;
                }
                if all {
                    out.push((row, diff));
                }
            }
            consolidated(out)
        }
        HirRelationExpr::FlatMap { .. } => panic!("not in these tests"),
        HirRelationExpr::Join { left, right, on, kind } => {
            let keep_left = matches!(kind, JoinKind::LeftOuter | JoinKind::FullOuter);
            let keep_right = matches!(kind, JoinKind::RightOuter | JoinKind::FullOuter);
            let nulls = |query: &HirRelationExpr| Row::pack(vec![Datum::Null; arity(query)]);
            let mut out = vec![];
            let mut matched = BTreeSet::new();
            for (l, d) in run_hir(left, data, outer)? {
                let mut inside = vec![l.clone()];
                inside.extend_from_slice(outer);
                let mut any = false;
                for (r, e) in run_hir(right, data, &inside)? {
                    let row = joined(&l, &r);
                    if holds(on, &row)? {
                        any = true;
                        matched.insert(r);
                        out.push((row, d * e));
                    }
                }
                if !any && keep_left {
                    out.push((joined(&l, &nulls(right)), d));
                }
            }
            if keep_right {
                let mut inside = vec![nulls(left)];
                inside.extend_from_slice(outer);
                for (r, e) in run_hir(right, data, &inside)? {
                    if !matched.contains(&r) {
                        out.push((joined(&nulls(left), &r), e));
                    }
                }
            }
            consolidated(out)
        }
        HirRelationExpr::Reduce { input, group_key, aggregates } => {
            let mut groups: BTreeMap<Row, Rows> = BTreeMap::new();
            if group_key.is_empty() {
                groups.insert(Row::default(), Rows::new());
            }
            // Arguments with subqueries differ from row to row, so each is computed into the row first.
            let width = arity(input);
            for (row, diff) in run_hir(input, data, outer)? {
                let key = projected(&row, group_key);
                let mut wide = row.clone();
                for a in aggregates {
                    wide = joined(&wide, &value(&plain(&a.args[0], &row)?, &row)?);
                }
                groups.entry(key).or_default().insert(wide, diff);
            }
            let mut out = vec![];
            for (mut row, group) in groups {
                for (i, a) in aggregates.iter().enumerate() {
                    let a = AggregateExpr {
                        func: a.func,
                        args: vec![ScalarExpr::Column(width + i)],
                        distinct: a.distinct,
                        order_by: vec![],
                        filter: None,
                        ty: a.ty.clone(),
                    };
                    row = joined(&row, &aggregated(&a, &group)?);
                }
                out.push((row, 1));
            }
            consolidated(out)
        }
        HirRelationExpr::Distinct { input } => {
            run_hir(input, data, outer)?.into_keys().map(|r| (r, 1)).collect()
        }
        HirRelationExpr::TopK { input, group_key, order_key, limit, offset } => {
            top(&run_hir(input, data, outer)?, group_key, order_key, *limit, *offset)
        }
        HirRelationExpr::Negate { input } => {
            run_hir(input, data, outer)?.into_iter().map(|(r, d)| (r, -d)).collect()
        }
        HirRelationExpr::Catch { input, side } => match (side, run_hir(input, data, outer)) {
            (Side::Rows, rows) => rows.unwrap_or_default(),
            (Side::Errors, Ok(_)) => Rows::new(),
            (Side::Errors, Err(e)) => Rows::from([(e.to_row(), 1)]),
        },
        HirRelationExpr::Threshold { input } => {
            let mut rows = run_hir(input, data, outer)?;
            rows.retain(|_, d| *d > 0);
            rows
        }
        HirRelationExpr::Union { inputs } => {
            let mut out = vec![];
            for i in inputs {
                out.extend(run_hir(i, data, outer)?);
            }
            consolidated(out)
        }
    })
}

/// How many columns a query has.
pub(crate) fn arity(query: &HirRelationExpr) -> usize {
    crate::decorrelate::hir_arity(query)
}

/// An expression without subqueries and outer columns: their values for this row.
fn plain(e: &HirScalarExpr, data: &Data, row: &Row, outer: &[Row]) -> Result<ScalarExpr, EvalError> {
    let all = |args: &[HirScalarExpr]| {
        args.iter().map(|a| plain(a, data, row, outer)).collect::<Result<Vec<_>, _>>()
    };
    let inside = || {
        let mut inside = vec![row.clone()];
        inside.extend_from_slice(outer);
        inside
    };
    Ok(match e {
        HirScalarExpr::Column(ColumnRef { level: 0, column }) => ScalarExpr::Column(*column),
        HirScalarExpr::Column(r) => {
            ScalarExpr::literal(outer[r.level - 1].unpack()[r.column], ScalarType::Int64)
        }
        HirScalarExpr::Literal(v, t) => ScalarExpr::Literal(v.clone(), t.clone()),
        HirScalarExpr::Call { func, args, ty } => {
            ScalarExpr::Call { func: *func, args: all(args)?, ty: ty.clone() }
        }
        HirScalarExpr::And(args) => ScalarExpr::And(all(args)?),
        HirScalarExpr::Or(args) => ScalarExpr::Or(all(args)?),
        HirScalarExpr::Coalesce(args) => ScalarExpr::Coalesce(all(args)?),
        HirScalarExpr::If { cond, then, els } => ScalarExpr::If {
            cond: Box::new(plain(cond, data, row, outer)?),
            then: Box::new(plain(then, data, row, outer)?),
            els: Box::new(plain(els, data, row, outer)?),
        },
        HirScalarExpr::Try(inner) => ScalarExpr::Try(Box::new(plain(inner, data, row, outer)?)),
        HirScalarExpr::Context(c) => ScalarExpr::Context(*c),
        HirScalarExpr::Parameter(n, t) => ScalarExpr::Parameter(*n, t.clone()),
        HirScalarExpr::Exists(query) => ScalarExpr::bool(!run_hir(query, data, &inside())?.is_empty()),
        HirScalarExpr::Scalar(query) => {
            let rows = run_hir(query, data, &inside())?;
            match rows.values().sum::<Diff>() {
                0 => ScalarExpr::null(ScalarType::Int64),
                1 => {
                    let row = rows.into_keys().next().expect("one row");
                    ScalarExpr::Literal(Ok(row), ScalarType::Int64.nullable(true))
                }
                _ => ScalarExpr::Literal(
                    Err(EvalError::new(repr::error::code::CARDINALITY_VIOLATION, "more than one row")),
                    ScalarType::Int64.nullable(true),
                ),
            }
        }
    })
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to `n` − 1.
    pub(crate) fn roll(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    /// A few rows of `n` small numbers and NULLs, some twice.
    pub(crate) fn rows(&mut self, n: usize, most: usize) -> Rows {
        let mut rows = Rows::new();
        for _ in 0..self.roll(most + 1) {
            let datum = |d: usize| if d == 0 { Datum::Null } else { Datum::Int64(d as i64) };
            let row = Row::pack((0..n).map(|_| datum(self.roll(4))).collect::<Vec<_>>());
            *rows.entry(row).or_default() += 1;
        }
        rows
    }

    /// A query with `around` (arities from the inside out) around it.
    pub(crate) fn query(&mut self, around: &[usize], depth: usize) -> HirRelationExpr {
        let table = |d: &mut Dice| hir::get(1 + d.roll(3) as u64, 2);
        if depth == 0 {
            return table(self);
        }
        let order = |n: usize, d: &mut Dice| -> Vec<ColumnOrder> {
            (0..n)
                .map(|column| ColumnOrder { column, desc: d.roll(2) == 0, nulls_first: d.roll(2) == 0 })
                .collect()
        };
        match self.roll(12) {
            0 => table(self),
            1..=3 => {
                let input = self.query(around, depth - 1);
                let n = arity(&input);
                hir::filter(input, self.condition(n, around, depth - 1))
            }
            4 => {
                let input = self.query(around, depth - 1);
                let n = arity(&input);
                let s = self.number(n, around, depth - 1);
                let t = self.number(n + 1, around, depth - 1);
                hir::project(hir::map(input, vec![s, t]), &[n, self.roll(n), n + 1])
            }
            5..=7 => {
                let left = self.query(around, depth - 1);
                let l = arity(&left);
                let kinds = [JoinKind::Inner, JoinKind::LeftOuter, JoinKind::RightOuter, JoinKind::FullOuter];
                let kind = kinds[self.roll(4)];
                let lateral = matches!(kind, JoinKind::Inner | JoinKind::LeftOuter) && self.roll(2) == 0;
                let right = if lateral {
                    let mut inside = vec![l];
                    inside.extend_from_slice(around);
                    self.query(&inside, depth - 1)
                } else {
                    // It has no outer columns of its own, as its level 1 would be the left side.
                    self.query(&[], depth - 1)
                };
                let n = l + arity(&right);
                let on = match self.roll(3) {
                    0 => self.condition(n, around, depth - 1),
                    1 => hir::eq(hir::col(self.roll(l)), hir::col(l + self.roll(n - l))),
                    _ => HirScalarExpr::And(vec![
                        hir::eq(hir::col(self.roll(l)), hir::col(l + self.roll(n - l))),
                        self.condition(n, around, 0),
                    ]),
                };
                let join = hir::join(left, right, on, kind);
                if n > 3 { hir::project(join, &[0, l, n - 1]) } else { join }
            }
            8 => {
                let input = self.query(around, depth - 1);
                let n = arity(&input);
                let keys = if self.roll(2) == 0 { vec![] } else { vec![self.roll(n)] };
                let count = hir::agg("count", self.number(n, around, depth - 1), ScalarType::Int64);
                let max = hir::agg("max", hir::col(self.roll(n)), ScalarType::Int64);
                hir::reduce(input, &keys, vec![max, count])
            }
            9 => HirRelationExpr::Distinct { input: Box::new(self.query(around, depth - 1)) },
            10 => {
                let input = self.query(around, depth - 1);
                let n = arity(&input);
                HirRelationExpr::TopK {
                    input: Box::new(input),
                    group_key: if self.roll(2) == 0 { vec![] } else { vec![self.roll(n)] },
                    order_key: order(n, self),
                    limit: Some(1 + self.roll(2) as u64),
                    offset: self.roll(2) as u64,
                }
            }
            _ => {
                let (a, b) = (self.query(around, depth - 1), self.query(around, depth - 1));
                let n = arity(&a).min(arity(&b));
                let columns: Vec<usize> = (0..n).collect();
                let (a, b) = (hir::project(a, &columns), hir::project(b, &columns));
                if self.roll(2) == 0 {
                    return HirRelationExpr::Union { inputs: vec![a, b] };
                }
                let inputs = vec![a, HirRelationExpr::Negate { input: Box::new(b) }];
                HirRelationExpr::Threshold { input: Box::new(HirRelationExpr::Union { inputs }) }
            }
        }
    }

    fn inside(n: usize, around: &[usize]) -> Vec<usize> {
        let mut inside = vec![n];
        inside.extend_from_slice(around);
        inside
    }

    fn column(&mut self, n: usize, around: &[usize]) -> HirScalarExpr {
        let level = self.roll(around.len() + 1);
        match level {
            0 => hir::col(self.roll(n)),
            level => hir::outer(level, self.roll(around[level - 1])),
        }
    }

    fn number(&mut self, n: usize, around: &[usize], depth: usize) -> HirScalarExpr {
        match self.roll(5) {
            0 => hir::int(1 + self.roll(3) as i64),
            1 if depth > 0 => {
                let query = self.query(&Dice::inside(n, around), depth - 1);
                let m = arity(&query);
                let max = hir::agg("max", hir::col(self.roll(m)), ScalarType::Int64);
                let count = hir::agg("count", hir::col(self.roll(m)), ScalarType::Int64);
                let groups = hir::reduce(query, &[], vec![max, count]);
                hir::scalar(hir::project(groups, &[self.roll(2)]))
            }
            2 => HirScalarExpr::If {
                cond: Box::new(self.condition(n, around, depth.saturating_sub(1))),
                then: Box::new(self.column(n, around)),
                els: Box::new(hir::int(2)),
            },
            3 if depth > 0 => {
                // At most one row, but not to be seen from its form.
                let query = self.query(&Dice::inside(n, around), depth - 1);
                let m = arity(&query);
                let one = hir::agg("max", hir::col(self.roll(m)), ScalarType::Int64);
                let groups = hir::reduce(query, &[], vec![one]);
                let both = HirRelationExpr::Union { inputs: vec![groups] };
                hir::scalar(hir::filter(both, hir::eq(hir::col(0), hir::outer(1, self.roll(n)))))
            }
            _ => self.column(n, around),
        }
    }

    fn condition(&mut self, n: usize, around: &[usize], depth: usize) -> HirScalarExpr {
        match self.roll(10) {
            8 if depth > 0 => {
                // What `x IN (SELECT …)` and `x NOT IN (SELECT …)` are.
                let query = self.query(&Dice::inside(n, around), depth - 1);
                let null = HirScalarExpr::If {
                    cond: Box::new(self.condition(n, around, depth - 1)),
                    then: Box::new(hir::truth(None)),
                    els: Box::new(hir::truth(Some(false))),
                };
                let within = HirScalarExpr::If {
                    cond: Box::new(hir::exists(query)),
                    then: Box::new(hir::truth(Some(true))),
                    els: Box::new(null),
                };
                let negated = self.roll(2) == 0;
                if negated { hir::call("not", vec![within], ScalarType::Bool) } else { within }
            }

            0 => {
                hir::call("lt", vec![self.column(n, around), self.number(n, around, depth)], ScalarType::Bool)
            }
            1 => hir::call("is_null", vec![self.column(n, around)], ScalarType::Bool),
            2 if depth > 0 => HirScalarExpr::Or(vec![
                self.condition(n, around, depth - 1),
                self.condition(n, around, depth - 1),
            ]),
            3 if depth > 0 => hir::call("not", vec![self.condition(n, around, depth - 1)], ScalarType::Bool),
            4 | 5 if depth > 0 => {
                let query = self.query(&Dice::inside(n, around), depth - 1);
                hir::exists(query)
            }
            6 => HirScalarExpr::And(vec![
                hir::eq(self.column(n, around), self.column(n, around)),
                hir::call("is_not_null", vec![self.column(n, around)], ScalarType::Bool),
            ]),
            _ => hir::eq(self.column(n, around), self.number(n, around, depth)),
        }
    }
}
