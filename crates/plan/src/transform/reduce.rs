//! DISTINCT, thresholds and limits that change nothing go.

use std::collections::BTreeMap;

use repr::Datum;

use crate::func::{AggKind, ids};
use crate::mfp::Mfp;
use crate::{AggregateExpr, LocalId, RelationExpr, ScalarExpr, known};

/// What is known of bindings.
#[derive(Default)]
struct Bound {
    keys: BTreeMap<LocalId, Vec<Vec<usize>>>,
    positive: BTreeMap<LocalId, bool>,
}

/// Bottom up.
pub(super) fn run(plan: &mut RelationExpr) {
    go(plan, &mut Bound::default());
}

fn go(plan: &mut RelationExpr, bound: &mut Bound) {
    if let RelationExpr::Let { id, value, body } = plan {
        go(value, bound);
        let keys = value.keys_within(&mut bound.keys);
        let positive = is_positive(value, bound);
        bound.keys.insert(*id, keys);
        bound.positive.insert(*id, positive);
        go(body, bound);
        return;
    }
    plan.for_each_child_mut(&mut |c| go(c, bound));
    match plan {
        RelationExpr::Reduce { .. } => {
            constants(plan);
            keys(plan);
            singletons(plan, bound);
        }
        RelationExpr::Threshold { input } if is_positive(input, bound) => *plan = input.take(),
        RelationExpr::TopK { .. } => top_k(plan, bound),
        _ => {}
    }
}

/// Whether no row can occur a negative number of times.
fn is_positive(plan: &RelationExpr, bound: &Bound) -> bool {
    match plan {
        RelationExpr::Constant { rows, .. } => rows.as_ref().map_or(true, |r| r.iter().all(|(_, d)| *d >= 0)),
        RelationExpr::Get { .. }
        | RelationExpr::Reduce { .. }
        | RelationExpr::TopK { .. }
        | RelationExpr::Threshold { .. } => true,
        RelationExpr::LocalGet { id, .. } => bound.positive.get(id).copied().unwrap_or(false),
        RelationExpr::Negate { .. } | RelationExpr::Let { .. } | RelationExpr::LetRec { .. } => false,
        other => {
            let mut all = true;
            other.for_each_child(&mut |c| all &= is_positive(c, bound));
            all
        }
    }
}

/// Columns that are constants are written as such.
fn constants(plan: &mut RelationExpr) {
    let RelationExpr::Reduce { input, group_key, aggregates } = plan else { return };
    let (mfp, _) = Mfp::extract_as_written(input);
    let constant = |c: usize| {
        let map = mfp.maps.get(mfp.project[c].checked_sub(mfp.arity)?)?;
        map.as_literal().is_some().then(|| map.clone())
    };
    group_key.iter_mut().for_each(|k| k.substitute(&mut |c| constant(c)));
    for a in aggregates {
        a.for_each_scalar_mut(&mut |e| e.substitute(&mut |c| constant(c)));
    }
}

/// Grouping by a constant, or twice by the same, makes no other groups.
fn keys(plan: &mut RelationExpr) {
    let RelationExpr::Reduce { input, group_key, aggregates } = plan else { return };
    let is_constant = |k: &ScalarExpr| k.as_literal().is_some();
    let repeated = (1..group_key.len()).any(|i| group_key[..i].contains(&group_key[i]));
    if !repeated && !group_key.iter().any(is_constant) {
        return;
    }
    let mut kept: Vec<ScalarExpr> = vec![];
    let mut constants: Vec<ScalarExpr> = vec![];
    enum From {
        Key(usize),
        Constant(usize),
    }
    let mut from = vec![];
    for k in group_key.drain(..) {
        if is_constant(&k) {
            from.push(From::Constant(constants.len()));
            constants.push(k);
        } else if let Some(i) = kept.iter().position(|x| *x == k) {
            from.push(From::Key(i));
        } else {
            from.push(From::Key(kept.len()));
            kept.push(k);
        }
    }
    let (n, m) = (kept.len(), aggregates.len());
    let project: Vec<usize> = from
        .iter()
        .map(|f| match f {
            From::Key(i) => *i,
            From::Constant(i) => n + m + i,
        })
        .chain(n..n + m)
        .collect();
    *plan = input.take().reduce(kept, std::mem::take(aggregates)).map(constants).project(project);
}

/// Groups of one row need no reduction, if each aggregate of one row is plain to see.
fn singletons(plan: &mut RelationExpr, bound: &mut Bound) {
    let RelationExpr::Reduce { input, group_key, aggregates } = plan else { return };
    let given = |c: &usize| group_key.contains(&ScalarExpr::Column(*c));
    if !input.keys_within(&mut bound.keys).iter().any(|key| key.iter().all(given)) {
        return;
    }
    let typ = input.typ();
    let of_one = |a: &AggregateExpr| -> Option<ScalarExpr> {
        let arg = a.args.first().cloned();
        if a.filter.is_some() {
            return None;
        }
        match a.func.0.kind {
            AggKind::Count if a.func.0.id == ids::COUNT => {
                let number = |n| ScalarExpr::literal(Datum::Int64(n), a.ty.clone());
                match arg {
                    Some(arg) if arg.nullable(&typ) => Some(ScalarExpr::If {
                        cond: Box::new(known::is_null(arg)),
                        then: Box::new(number(0)),
                        els: Box::new(number(1)),
                    }),
                    _ => Some(number(1)),
                }
            }
            AggKind::Min | AggKind::Max | AggKind::BoolAnd | AggKind::BoolOr => {
                arg.filter(|e| e.typ(&typ).scalar == a.ty)
            }
            _ => None,
        }
    };
    let Some(values) = aggregates.iter().map(of_one).collect::<Option<Vec<_>>>() else { return };
    let width = typ.len();
    let mut maps = vec![];
    let mut project = vec![];
    for e in group_key.drain(..).chain(values) {
        match e {
            ScalarExpr::Column(c) => project.push(c),
            e => {
                project.push(width + maps.len());
                maps.push(e);
            }
        }
    }
    *plan = input.take().map(maps).project(project);
}

/// A limit within a limit; a limit on groups of one row.
fn top_k(plan: &mut RelationExpr, bound: &mut Bound) {
    let RelationExpr::TopK { input, group_key, order_key, limit, offset } = plan else { return };
    let one_each =
        input.keys_within(&mut bound.keys).iter().any(|key| key.iter().all(|c| group_key.contains(c)));
    if one_each {
        if *offset > 0 {
            *plan = RelationExpr::empty(plan.typ());
        } else if limit.is_none_or(|n| n > 0) {
            *plan = input.take();
        }
        return;
    }
    if let RelationExpr::TopK {
        input: below,
        group_key: inner_groups,
        order_key: inner_order,
        limit: inner_limit,
        offset: inner_offset,
    } = &mut **input
        && group_key == inner_groups
        && (order_key == inner_order || order_key.is_empty())
    {
        // Rows offset.. of the inner rows inner_offset..inner_offset + inner_limit.
        let left = inner_limit.map(|n| n.saturating_sub(*offset));
        let limit = match (left, *limit) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let offset = inner_offset.saturating_add(*offset);
        *plan = below.take().top_k(std::mem::take(inner_groups), std::mem::take(inner_order), limit, offset);
    }
}
