//! Columns that nobody reads go, from the top of the plan down to what is stored.

use std::collections::BTreeSet;

use crate::func::window;
use crate::{RelationExpr, ScalarExpr, walk};

/// The plan keeps its columns; its inputs lose those that it does not need.
pub(super) fn run(plan: &mut RelationExpr) {
    if let RelationExpr::Let { value, body, .. } = plan {
        run(value);
        run(body);
        return;
    }
    let all: BTreeSet<usize> = (0..plan.arity()).collect();
    let new = exactly(plan.take(), &all);
    *plan = new;
}

/// The plan with only these columns, in their order.
fn exactly(plan: RelationExpr, needed: &BTreeSet<usize>) -> RelationExpr {
    let (plan, columns) = prune(plan, needed);
    let place = |c: &usize| columns.binary_search(c).expect("what is needed is kept");
    let project: Vec<usize> = needed.iter().map(place).collect();
    plan.project(project)
}

/// The plan with at least the needed columns, and which of the old columns (rising) it has now.
fn prune(plan: RelationExpr, needed: &BTreeSet<usize>) -> (RelationExpr, Vec<usize>) {
    let new_place = |columns: &[usize], c: usize| columns.binary_search(&c).expect("what is needed is kept");
    match plan {
        RelationExpr::Project { input, columns } => {
            let below: BTreeSet<usize> = needed.iter().map(|c| columns[*c]).collect();
            let (input, kept) = prune(*input, &below);
            let project = needed.iter().map(|c| new_place(&kept, columns[*c])).collect::<Vec<_>>();
            (input.project(project), needed.iter().copied().collect())
        }
        RelationExpr::Map { input, scalars } => {
            let width = input.arity();
            let mut all = needed.clone();
            for (i, s) in scalars.iter().enumerate().rev() {
                if all.contains(&(width + i)) {
                    walk::add_columns(s, &mut all);
                }
            }
            let below: BTreeSet<usize> = all.iter().copied().filter(|c| *c < width).collect();
            let (input, mut kept) = prune(*input, &below);
            let mut new = vec![];
            for (i, mut s) in scalars.into_iter().enumerate() {
                if all.contains(&(width + i)) {
                    s.map_columns(&mut |c| new_place(&kept, c));
                    new.push(s);
                    kept.push(width + i);
                }
            }
            (input.map(new), kept)
        }
        RelationExpr::Filter { input, mut predicates } => {
            let mut below = needed.clone();
            predicates.iter().for_each(|p| walk::add_columns(p, &mut below));
            let (input, kept) = prune(*input, &below);
            predicates.iter_mut().for_each(|p| p.map_columns(&mut |c| new_place(&kept, c)));
            (input.filter(predicates), kept)
        }
        RelationExpr::FlatMap { mut input, func, mut args, mut typ } => {
            let width = input.arity();
            if func == window::window_rows()
                && let [ScalarExpr::Column(list)] = args[..]
            {
                if let Some(plan) = super::window::prune(&mut input, list, needed) {
                    return prune(plan, needed);
                }
                for (i, t) in typ.iter_mut().enumerate() {
                    t.nullable |= !needed.contains(&(width + i));
                }
            }
            let mut below: BTreeSet<usize> = needed.iter().copied().filter(|c| *c < width).collect();
            args.iter().for_each(|a| walk::add_columns(a, &mut below));
            let (input, mut kept) = prune(*input, &below);
            args.iter_mut().for_each(|a| a.map_columns(&mut |c| new_place(&kept, c)));
            kept.extend(width..width + typ.len());
            (input.flat_map(func, args, typ), kept)
        }
        RelationExpr::Join { inputs, mut equivalences } => {
            let mut all = needed.clone();
            equivalences.iter().flatten().for_each(|e| walk::add_columns(e, &mut all));
            let mut kept = vec![];
            let mut start = 0;
            let mut new = vec![];
            for input in inputs {
                let arity = input.arity();
                let mine: BTreeSet<usize> = all.range(start..start + arity).map(|c| c - start).collect();
                kept.extend(mine.iter().map(|c| c + start));
                new.push(exactly(input, &mine));
                start += arity;
            }
            equivalences.iter_mut().flatten().for_each(|e| e.map_columns(&mut |c| new_place(&kept, c)));
            (RelationExpr::Join { inputs: new, equivalences }, kept)
        }
        RelationExpr::Reduce { input, mut group_key, aggregates } => {
            let n = group_key.len();
            let mut kept: Vec<usize> = (0..n).collect();
            let mut new = vec![];
            for (i, a) in aggregates.into_iter().enumerate() {
                if needed.contains(&(n + i)) {
                    new.push(a);
                    kept.push(n + i);
                }
            }
            let mut below = BTreeSet::new();
            group_key.iter().for_each(|k| walk::add_columns(k, &mut below));
            new.iter().for_each(|a| a.for_each_scalar(&mut |e| walk::add_columns(e, &mut below)));
            let columns: Vec<usize> = below.iter().copied().collect();
            let input = exactly(*input, &below);
            group_key.iter_mut().for_each(|k| k.map_columns(&mut |c| new_place(&columns, c)));
            for a in &mut new {
                a.for_each_scalar_mut(&mut |e| e.map_columns(&mut |c| new_place(&columns, c)));
            }
            (input.reduce(group_key, new), kept)
        }
        RelationExpr::TopK { input, mut group_key, mut order_key, limit, offset } => {
            // Rows that tie are told apart by their bytes: of the columns that are left, so what comes out is the same.
            let mut below = needed.clone();
            below.extend(group_key.iter().copied());
            below.extend(order_key.iter().map(|o| o.column));
            let kept: Vec<usize> = below.iter().copied().collect();
            let input = exactly(*input, &below);
            group_key.iter_mut().for_each(|c| *c = new_place(&kept, *c));
            order_key.iter_mut().for_each(|o| o.column = new_place(&kept, o.column));
            (input.top_k(group_key, order_key, limit, offset), kept)
        }
        RelationExpr::Negate { input } => {
            let (input, kept) = prune(*input, needed);
            (input.negate(), kept)
        }
        RelationExpr::Union { inputs } => {
            let inputs = inputs.into_iter().map(|i| exactly(i, needed)).collect();
            (RelationExpr::Union { inputs }, needed.iter().copied().collect())
        }
        RelationExpr::Let { id, mut value, body } => {
            run(&mut value);
            let (body, kept) = prune(*body, needed);
            (body.let_in(id, *value), kept)
        }
        RelationExpr::LetRec { mut bindings, limit, body } => {
            bindings.iter_mut().for_each(|b| run(&mut b.1));
            let (body, kept) = prune(*body, needed);
            (RelationExpr::LetRec { bindings, limit, body: Box::new(body) }, kept)
        }
        // Rows are counted with all their columns.
        mut other @ (RelationExpr::Threshold { .. } | RelationExpr::ArrangeBy { .. }) => {
            other.for_each_child_mut(&mut run);
            let all = (0..other.arity()).collect();
            (other, all)
        }
        other @ (RelationExpr::Get { .. }
        | RelationExpr::LocalGet { .. }
        | RelationExpr::Constant { .. }
        | RelationExpr::Catch { .. }) => {
            (other.project(needed.iter().copied()), needed.iter().copied().collect())
        }
    }
}
