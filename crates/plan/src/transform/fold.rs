//! Constants are computed, relations that cannot have rows go, nested operators of a kind become one.

use std::collections::BTreeMap;

use repr::{Arena, ColumnType, Datum, Diff, EvalError, Row};

use crate::func::{FuncRef, ids};
use crate::mfp::Mfp;
use crate::scalar::guarded;
use crate::{RelationExpr, ScalarExpr, known, walk};

/// Constant relations are computed up to so many rows.
const MAX_ROWS: usize = 1_000;

/// Bottom up, so that a constant rises as far as it can.
pub(super) fn run(plan: &mut RelationExpr) {
    plan.for_each_child_mut(&mut run);
    scalars(plan);
    relation(plan);
}

/// Folds the expressions of one operator.
fn scalars(plan: &mut RelationExpr) {
    plan.for_each_scalar_mut(&mut |e| e.walk_mut(&mut normalize));
    match plan {
        RelationExpr::Map { input, scalars } => {
            let mut typ = input.typ();
            for s in scalars {
                s.fold(&typ);
                let t = s.typ(&typ);
                typ.push(t);
            }
        }
        RelationExpr::Filter { input, predicates } => {
            let typ = input.typ();
            let mut all = vec![];
            for mut p in std::mem::take(predicates) {
                p.fold(&typ);
                simplify_predicate(&mut p, &typ);
                walk::conjuncts(p, &mut all);
            }
            all.retain(|p| !p.is_literal_true());
            *predicates = all;
        }
        RelationExpr::FlatMap { input, args, .. } => {
            let typ = input.typ();
            args.iter_mut().for_each(|a| a.fold(&typ));
        }
        RelationExpr::Reduce { input, group_key, aggregates } => {
            let typ = input.typ();
            group_key.iter_mut().for_each(|k| k.fold(&typ));
            aggregates.iter_mut().for_each(|a| a.for_each_scalar_mut(&mut |e| e.fold(&typ)));
        }
        RelationExpr::Join { inputs, equivalences } => {
            let typ: Vec<ColumnType> = inputs.iter().flat_map(RelationExpr::typ).collect();
            equivalences.iter_mut().flatten().for_each(|e| e.fold(&typ));
        }
        _ => {}
    }
}

/// One form for what can be said in several: NOT goes inwards, nested ANDs and ORs become one.
fn normalize(e: &mut ScalarExpr) {
    let is_and = matches!(e, ScalarExpr::And(_));
    if let ScalarExpr::And(args) | ScalarExpr::Or(args) = e {
        let same = |a: &ScalarExpr| match a {
            ScalarExpr::And(_) => is_and,
            ScalarExpr::Or(_) => !is_and,
            _ => false,
        };
        if args.iter().any(same) {
            for a in std::mem::take(args) {
                match a {
                    ScalarExpr::And(inner) if is_and => args.extend(inner),
                    ScalarExpr::Or(inner) if !is_and => args.extend(inner),
                    other => args.push(other),
                }
            }
        }
        return;
    }
    let ScalarExpr::Call { func, args, .. } = e else { return };
    if func.0.id == ids::NOT
        && let Some(opposite) = args.first().and_then(opposite)
    {
        *e = opposite;
    }
}

/// What `NOT e` is without NOT: also for NULLs and errors.
fn opposite(e: &ScalarExpr) -> Option<ScalarExpr> {
    let negated = |args: &[ScalarExpr]| -> Vec<ScalarExpr> {
        args.iter().map(|a| opposite(a).unwrap_or_else(|| known::not(a.clone()))).collect()
    };
    match e {
        ScalarExpr::And(args) => Some(ScalarExpr::Or(negated(args))),
        ScalarExpr::Or(args) => Some(ScalarExpr::And(negated(args))),
        ScalarExpr::Call { func, args, ty } => {
            let id = match func.0.id {
                ids::NOT => return args.first().cloned(),
                ids::EQ => ids::NE,
                ids::NE => ids::EQ,
                ids::LT => ids::GE,
                ids::LE => ids::GT,
                ids::GT => ids::LE,
                ids::GE => ids::LT,
                ids::IS_NULL => ids::IS_NOT_NULL,
                ids::IS_NOT_NULL => ids::IS_NULL,
                ids::IS_TRUE => ids::IS_NOT_TRUE,
                ids::IS_NOT_TRUE => ids::IS_TRUE,
                ids::IS_FALSE => ids::IS_NOT_FALSE,
                ids::IS_NOT_FALSE => ids::IS_FALSE,
                ids::IS_DISTINCT => ids::IS_NOT_DISTINCT,
                ids::IS_NOT_DISTINCT => ids::IS_DISTINCT,
                _ => return None,
            };
            Some(ScalarExpr::Call { func: FuncRef::of(id), args: args.clone(), ty: ty.clone() })
        }
        _ => None,
    }
}

/// What is known from nullability alone; NULL is as good as false in a condition.
fn simplify_predicate(p: &mut ScalarExpr, typ: &[ColumnType]) {
    if let Some([x]) = known::args_of(p, ids::IS_TRUE) {
        *p = x.clone();
    }
    if let Some(x) = known::is_not_null_of(p)
        && !x.nullable(typ)
        && !x.can_fail()
    {
        *p = ScalarExpr::bool(true);
    } else if let Some(x) = known::is_null_of(p)
        && !x.nullable(typ)
        && !x.can_fail()
    {
        *p = ScalarExpr::bool(false);
    } else if let Some((a, b)) = known::eq_args(p)
        && a == b
        && !a.can_fail()
    {
        *p = known::is_not_null(a.clone());
        simplify_predicate(p, typ);
    } else if let ScalarExpr::Or(args) = p {
        args.iter_mut().for_each(|a| simplify_predicate(a, typ));
        if args.iter().any(ScalarExpr::is_literal_true) {
            *p = ScalarExpr::bool(true);
        } else if args.iter().any(|a| !walk::is_never_true(a)) {
            args.retain(|a| !walk::is_never_true(a));
            if args.len() == 1 {
                *p = args.remove(0);
            }
        } else {
            *p = ScalarExpr::bool(false);
        }
    }
}

fn relation(plan: &mut RelationExpr) {
    match plan {
        RelationExpr::Map { .. } | RelationExpr::Filter { .. } | RelationExpr::Project { .. } => pass(plan),
        RelationExpr::FlatMap { input, .. } if input.is_empty() => empty(plan),
        RelationExpr::FlatMap { .. } => flat_map(plan),
        RelationExpr::Join { .. } => join(plan),
        RelationExpr::Reduce { input, aggregates, .. } => match &**input {
            RelationExpr::Constant { rows: Err(e), .. } => {
                let e = e.clone();
                error(plan, e)
            }
            RelationExpr::Constant { rows: Ok(rows), .. } if rows.is_empty() => empty(plan),
            RelationExpr::Constant { .. } if aggregates.is_empty() => distinct(plan),
            _ => {}
        },
        RelationExpr::TopK { input, limit, offset, .. } => {
            if *limit == Some(0) || input.is_empty() {
                empty(plan);
            } else if limit.is_none() && *offset == 0 {
                *plan = input.take();
            }
        }
        RelationExpr::Negate { input } => match &mut **input {
            RelationExpr::Negate { input } => *plan = input.take(),
            RelationExpr::Constant { rows: Ok(rows), .. } => {
                rows.iter_mut().for_each(|r| r.1 = -r.1);
                *plan = input.take();
            }
            RelationExpr::Constant { .. } => *plan = input.take(),
            _ => {}
        },
        RelationExpr::Threshold { input } => match &mut **input {
            RelationExpr::Constant { rows: Ok(rows), .. } => {
                *rows = consolidated(std::mem::take(rows));
                rows.retain(|r| r.1 > 0);
                *plan = input.take();
            }
            RelationExpr::Constant { .. } => *plan = input.take(),
            _ => {}
        },
        RelationExpr::Union { .. } => union(plan),
        _ => {}
    }
}

fn empty(plan: &mut RelationExpr) {
    *plan = RelationExpr::empty(plan.typ());
}

fn error(plan: &mut RelationExpr, e: EvalError) {
    *plan = RelationExpr::Constant { rows: Err(e), typ: plan.typ() };
}

fn consolidated(rows: Vec<(Row, Diff)>) -> Vec<(Row, Diff)> {
    let mut sums: BTreeMap<Row, Diff> = BTreeMap::new();
    for (row, diff) in rows {
        *sums.entry(row).or_default() += diff;
    }
    sums.into_iter().filter(|r| r.1 != 0).collect()
}

/// Whether an expression has a value before the statement runs.
fn is_ready(e: &ScalarExpr) -> bool {
    let mut ready = true;
    e.walk(&mut |e| ready &= !matches!(e, ScalarExpr::Context(_) | ScalarExpr::Parameter(..)));
    ready
}

/// A Map, Filter or Project.
fn pass(plan: &mut RelationExpr) {
    if let RelationExpr::Filter { predicates, .. } = plan
        && predicates.iter().any(walk::is_never_true)
    {
        return empty(plan);
    }
    match plan {
        RelationExpr::Filter { input, predicates } if predicates.is_empty() => return *plan = input.take(),
        RelationExpr::Map { input, scalars } if scalars.is_empty() => return *plan = input.take(),
        _ => {}
    }
    let (mfp, input) = Mfp::extract_as_written(plan);
    match input {
        RelationExpr::Constant { rows: Err(e), .. } => {
            let e = e.clone();
            error(plan, e)
        }
        RelationExpr::Constant { rows: Ok(rows), .. } if rows.is_empty() => empty(plan),
        RelationExpr::Constant { rows: Ok(rows), .. }
            if rows.len() <= MAX_ROWS
                && mfp.maps.iter().chain(mfp.filters.iter().map(|f| &f.1)).all(is_ready) =>
        {
            let typ = plan.typ();
            let arena = Arena::new();
            let computed = guarded(|| {
                let mut out = vec![];
                for (row, diff) in rows {
                    let mut datums = row.unpack();
                    let mut new = Row::default();
                    if mfp.eval_into(&mut datums, &arena, &mut new)? {
                        out.push((new, *diff));
                    }
                }
                Ok(out)
            });
            *plan = RelationExpr::Constant { rows: computed, typ };
        }
        _ => {}
    }
}

/// A table function over constant rows, if it gives few.
fn flat_map(plan: &mut RelationExpr) {
    let RelationExpr::FlatMap { input, func, args, .. } = plan else { return };
    let RelationExpr::Constant { rows, .. } = &**input else { return };
    let rows = match rows {
        Err(e) => {
            let e = e.clone();
            return error(plan, e);
        }
        Ok(rows) => rows,
    };
    if rows.len() > 16 || !args.iter().all(is_ready) {
        return;
    }
    // Only what is certain to give few rows: a function over long or many arguments is left to run.
    if args.iter().any(|a| !matches!(a, ScalarExpr::Literal(..))) || !known_small(func.0.id, args) {
        return;
    }
    let arena = Arena::new();
    let mut out: Vec<(Row, Diff)> = vec![];
    let computed = guarded(|| {
        for (row, diff) in rows {
            let datums = row.unpack();
            let values = args.iter().map(|a| a.eval(&datums, &arena)).collect::<Result<Vec<_>, _>>()?;
            if func.0.strict && values.iter().any(Datum::is_null) {
                continue;
            }
            (func.0.eval)(&values, &arena, &mut |more| {
                out.push((Row::pack(datums.iter().chain(more).copied()), *diff));
            })?;
        }
        Ok(())
    });
    match computed {
        Err(e) => error(plan, e),
        Ok(()) => *plan = RelationExpr::Constant { rows: Ok(out), typ: plan.typ() },
    }
}

fn known_small(id: &str, args: &[ScalarExpr]) -> bool {
    let ints: Option<Vec<i64>> = args
        .iter()
        .map(|a| match a.as_literal()? {
            Datum::Int16(n) => Some(n.into()),
            Datum::Int32(n) => Some(n.into()),
            Datum::Int64(n) => Some(n),
            _ => None,
        })
        .collect();
    match ints.as_deref() {
        Some([from, to, ..]) if id.starts_with("generate_series") => {
            to.checked_sub(*from).is_some_and(|n| n.unsigned_abs() < 100)
        }
        _ => false,
    }
}

fn join(plan: &mut RelationExpr) {
    let typ = plan.typ();
    let RelationExpr::Join { inputs, equivalences } = plan else { return };
    if inputs.iter().any(RelationExpr::is_empty) {
        *plan = RelationExpr::empty(typ);
        return;
    }
    inputs.retain(|i| !i.is_unit());
    match inputs.len() {
        0 => *plan = RelationExpr::unit(),
        1 => {
            let input = inputs.remove(0);
            let classes = std::mem::take(equivalences);
            *plan = input.filter(classes.iter().flat_map(|c| super::join::as_conditions(c)));
        }
        _ => {}
    }
}

fn distinct(plan: &mut RelationExpr) {
    let RelationExpr::Reduce { input, group_key, .. } = plan else { return };
    let RelationExpr::Constant { rows: Ok(rows), .. } = &**input else { return };
    if rows.len() > MAX_ROWS || !group_key.iter().all(is_ready) {
        return;
    }
    let arena = Arena::new();
    let computed = guarded(|| {
        let mut groups: BTreeMap<Row, Diff> = BTreeMap::new();
        for (row, diff) in rows {
            let datums = row.unpack();
            let mut key = Row::default();
            for k in group_key.iter() {
                key.push(k.eval(&datums, &arena)?);
            }
            *groups.entry(key).or_default() += diff;
        }
        Ok(groups.into_iter().filter(|g| g.1 > 0).map(|g| (g.0, 1)).collect())
    });
    *plan = RelationExpr::Constant { rows: computed, typ: plan.typ() };
}

fn union(plan: &mut RelationExpr) {
    let typ = plan.typ();
    let RelationExpr::Union { inputs } = plan else { return };
    let mut flat = vec![];
    let mut rows: Vec<(Row, Diff)> = vec![];
    let mut stack: Vec<RelationExpr> = std::mem::take(inputs).into_iter().rev().collect();
    while let Some(input) = stack.pop() {
        match input {
            RelationExpr::Union { inputs } => stack.extend(inputs.into_iter().rev()),
            RelationExpr::Constant { rows: Ok(more), .. } => rows.extend(more),
            other => flat.push(other),
        }
    }
    let rows = consolidated(rows);
    if !rows.is_empty() {
        flat.push(RelationExpr::Constant { rows: Ok(rows), typ: typ.clone() });
    }
    *plan = match flat.len() {
        0 => RelationExpr::empty(typ),
        1 => flat.remove(0),
        _ => RelationExpr::Union { inputs: flat },
    };
}
