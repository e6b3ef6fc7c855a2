//! Conditions go down, as far as they can be said of the rows there; equalities over a join become its keys.

use std::collections::BTreeSet;

use crate::{RelationExpr, ScalarExpr, known, walk};

/// Top down: a condition may go through several operators in one run.
pub(super) fn run(plan: &mut RelationExpr) {
    if let RelationExpr::Filter { input, predicates } = plan {
        let (input, predicates) = (input.take(), std::mem::take(predicates));
        *plan = push(input, predicates);
    }
    plan.for_each_child_mut(&mut run);
}

/// `input` with the conditions on it or in it.
fn push(input: RelationExpr, predicates: Vec<ScalarExpr>) -> RelationExpr {
    match input {
        RelationExpr::Filter { input, predicates: below } => {
            let mut all = below;
            all.extend(predicates);
            let mut seen = BTreeSet::new();
            all.retain(|p| seen.insert(p.clone()));
            push(*input, all)
        }
        RelationExpr::Project { input, columns } => {
            let below = predicates.iter().map(|p| walk::renumbered(p, &|c| columns[c])).collect();
            RelationExpr::Project { input: Box::new(push(*input, below)), columns }
        }
        RelationExpr::Map { input, scalars } => through_map(*input, scalars, predicates),
        RelationExpr::Union { inputs } => {
            let inputs = inputs.into_iter().map(|i| push(i, predicates.clone())).collect();
            RelationExpr::Union { inputs }
        }
        RelationExpr::Negate { input } => push(*input, predicates).negate(),
        RelationExpr::Threshold { input } => push(*input, predicates).threshold(),
        RelationExpr::FlatMap { input, func, args, typ } => {
            let width = input.arity();
            let (below, above) = split(predicates, |p| p.columns().iter().all(|c| *c < width));
            RelationExpr::FlatMap { input: Box::new(push_some(*input, below)), func, args, typ }.filter(above)
        }
        RelationExpr::TopK { input, group_key, order_key, limit, offset } => {
            let whole_groups = |p: &ScalarExpr| {
                let used = p.columns();
                !used.is_empty() && used.iter().all(|c| group_key.contains(c))
            };
            let (below, above) = split(predicates, whole_groups);
            RelationExpr::TopK {
                input: Box::new(push_some(*input, below)),
                group_key,
                order_key,
                limit,
                offset,
            }
            .filter(above)
        }
        RelationExpr::Reduce { input, group_key, aggregates } => {
            let n = group_key.len();
            let whole_groups = |p: &ScalarExpr| {
                let used = p.columns();
                !used.is_empty() && used.iter().all(|c| *c < n)
            };
            let (below, above) = split(predicates, whole_groups);
            let over_input = below.into_iter().map(|mut p| {
                p.substitute(&mut |c| Some(group_key[c].clone()));
                p
            });
            let input = push_some(*input, over_input.collect());
            input.reduce(group_key, aggregates).filter(above)
        }
        RelationExpr::Join { inputs, equivalences } => into_join(inputs, equivalences, predicates),
        other => other.filter(predicates),
    }
}

fn push_some(input: RelationExpr, predicates: Vec<ScalarExpr>) -> RelationExpr {
    if predicates.is_empty() { input } else { push(input, predicates) }
}

fn split(all: Vec<ScalarExpr>, is_first: impl Fn(&ScalarExpr) -> bool) -> (Vec<ScalarExpr>, Vec<ScalarExpr>) {
    all.into_iter().partition(is_first)
}

/// Written out over the input's columns, unless that makes a condition much longer.
fn through_map(input: RelationExpr, scalars: Vec<ScalarExpr>, predicates: Vec<ScalarExpr>) -> RelationExpr {
    const MAX_SIZE: usize = 200;
    let width = input.arity();
    let (mut below, mut above) = (vec![], vec![]);
    for p in predicates {
        let mut written_out = p.clone();
        while written_out.columns().last().is_some_and(|c| *c >= width) && written_out.size() <= MAX_SIZE {
            written_out.substitute(&mut |c| c.checked_sub(width).map(|i| scalars[i].clone()));
        }
        if written_out.columns().iter().all(|c| *c < width) && written_out.size() <= MAX_SIZE {
            below.push(written_out);
        } else {
            above.push(p);
        }
    }
    push_some(input, below).map(scalars).filter(above)
}

fn into_join(
    inputs: Vec<RelationExpr>,
    mut equivalences: Vec<Vec<ScalarExpr>>,
    predicates: Vec<ScalarExpr>,
) -> RelationExpr {
    let sides = super::join::Sides::of(&inputs);
    let mut below: Vec<Vec<ScalarExpr>> = vec![vec![]; inputs.len()];
    let (classes, predicates): (Vec<_>, Vec<_>) =
        predicates.into_iter().map(|p| as_class(&p, &sides).ok_or(p)).partition(Result::is_ok);
    equivalences.extend(classes.into_iter().flatten());
    let mut above = vec![];
    for p in predicates.into_iter().filter_map(Result::err) {
        if let Some(side) = sides.only(&p) {
            // Also said of other sides, where an equal column stands there.
            for (other, p) in super::join::elsewhere(&p, side, &equivalences, &sides) {
                below[other].push(sides.local(&p, other));
            }
            below[side].push(sides.local(&p, side));
        } else {
            above.push(p);
        }
    }
    let inputs = inputs.into_iter().zip(below).map(|(i, b)| push_some(i, b)).collect();
    RelationExpr::Join { inputs, equivalences }.filter(above)
}

/// The two equal expressions, if the condition says that two are, each of one side.
fn as_class(p: &ScalarExpr, sides: &super::join::Sides) -> Option<Vec<ScalarExpr>> {
    let class = match known::eq_args(p) {
        Some((a, b)) => vec![a.clone(), b.clone()],
        None => {
            let [a, b] = known::args_of(p, crate::func::ids::IS_NOT_DISTINCT)? else { return None };
            vec![known::null_safe(a.clone()), known::null_safe(b.clone())]
        }
    };
    let sides: Option<Vec<usize>> = class.iter().map(|e| sides.only(e)).collect();
    sides.is_some_and(|s| s[0] != s[1]).then_some(class)
}
