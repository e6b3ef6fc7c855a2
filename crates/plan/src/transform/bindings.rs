//! Bindings: all at the top of the plan, none that does not save work; equal parts of a plan are bound and shared.

use std::collections::{BTreeMap, BTreeSet};

use repr::ColumnType;

use crate::mfp::Mfp;
use crate::{LocalId, RelationExpr, ScalarExpr};

/// Brings all bindings to the top (of the plan, or of the recursive definition they are in) under new numbers, and
/// writes out those that are used once or cost next to nothing. Conditions that all uses have in common move into the
/// bound value, columns that no use reads are dropped.
pub(super) fn run(plan: &mut RelationExpr) {
    let mut hoist = Hoist { next: 0, names: BTreeMap::new() };
    hoist.all(plan);
    inline(plan);
    narrow(plan);
}

/// Binds parts of the plan that occur more than once.
pub(super) fn share(plan: &mut RelationExpr) {
    let mut next = 0;
    plan.visit_pre(&mut |e| {
        if let RelationExpr::Let { id, .. } | RelationExpr::LocalGet { id, .. } = e {
            next = next.max(id.0);
        }
        if let RelationExpr::LetRec { bindings, .. } = e {
            next = bindings.iter().fold(next, |n, b| n.max(b.0.0));
        }
    });
    share_scope(plan, &mut next);
    inline(plan);
}

/// Whether to write a plan out where it is used, however often: reading stored rows through conditions and simple
/// columns is cheaper than passing rows on, and lets each use keep its own conditions.
fn is_cheap(plan: &RelationExpr) -> bool {
    let (mfp, input) = Mfp::extract_as_written(plan);
    let size: usize = mfp.maps.iter().chain(mfp.filters.iter().map(|f| &f.1)).map(ScalarExpr::size).sum();
    match input {
        RelationExpr::Get { .. } => size <= 200,
        RelationExpr::LocalGet { .. } => size <= 8,
        RelationExpr::Constant { rows, .. } => size <= 8 && rows.as_ref().map_or(0, Vec::len) <= 8,
        _ => false,
    }
}

struct Hoist {
    next: u64,
    names: BTreeMap<LocalId, LocalId>,
}

impl Hoist {
    fn fresh(&mut self, id: LocalId) -> LocalId {
        self.next += 1;
        self.names.insert(id, LocalId(self.next));
        LocalId(self.next)
    }

    /// Collects the bindings of a scope and puts them around it.
    fn all(&mut self, plan: &mut RelationExpr) {
        let mut bound = vec![];
        self.collect(plan, &mut bound);
        let body = plan.take();
        *plan = bound.into_iter().rev().fold(body, |body, (id, value)| body.let_in(id, value));
    }

    fn collect(&mut self, plan: &mut RelationExpr, bound: &mut Vec<(LocalId, RelationExpr)>) {
        match plan {
            RelationExpr::Let { id, value, body } => {
                self.collect(value, bound);
                let value = value.take();
                let id = self.fresh(*id);
                bound.push((id, value));
                self.collect(body, bound);
                *plan = body.take();
            }
            RelationExpr::LetRec { bindings, body, .. } => {
                for (id, _, _) in bindings.iter_mut() {
                    *id = self.fresh(*id);
                }
                for (_, value, _) in bindings.iter_mut() {
                    self.all(value);
                }
                self.all(body);
            }
            RelationExpr::LocalGet { id, .. } => {
                if let Some(new) = self.names.get(id) {
                    *id = *new;
                }
            }
            other => other.for_each_child_mut(&mut |c| self.collect(c, bound)),
        }
    }
}

/// Writes out what is used once, and what is cheap; forgets what is not used.
fn inline(plan: &mut RelationExpr) {
    let mut uses = Uses::new();
    count(plan, 0, &mut uses);
    write_out(plan, &mut BTreeMap::new(), &uses);
}

/// Of each binding: within how many recursions it stands, how often it is read, and whether from within more of them
/// (where writing it out would repeat its work every round).
type Uses = BTreeMap<LocalId, (usize, usize, bool)>;

fn count(plan: &RelationExpr, depth: usize, uses: &mut Uses) {
    match plan {
        RelationExpr::LocalGet { id, .. } => {
            if let Some((bound_at, n, deeper)) = uses.get_mut(id) {
                *n += 1;
                *deeper |= depth > *bound_at;
            }
        }
        RelationExpr::Let { id, value, body } => {
            count(value, depth, uses);
            uses.insert(*id, (depth, 0, false));
            count(body, depth, uses);
        }
        RelationExpr::LetRec { bindings, body, .. } => {
            bindings.iter().for_each(|b| count(&b.1, depth + 1, uses));
            count(body, depth, uses);
        }
        other => other.for_each_child(&mut |c| count(c, depth, uses)),
    }
}

fn write_out(plan: &mut RelationExpr, values: &mut BTreeMap<LocalId, RelationExpr>, uses: &Uses) {
    match plan {
        RelationExpr::Let { id, value, body } => {
            write_out(value, values, uses);
            let (_, n, deeper) = uses.get(id).copied().unwrap_or_default();
            if n == 0 || (n == 1 && !deeper) || is_cheap(value) {
                values.insert(*id, value.take());
                let mut body = body.take();
                write_out(&mut body, values, uses);
                *plan = body;
            } else {
                let typ = value.typ();
                let id = *id;
                retype(body, id, &typ);
                write_out(body, values, uses);
            }
        }
        RelationExpr::LocalGet { id, .. } => {
            if let Some(value) = values.get(id) {
                *plan = value.clone();
            }
        }
        other => other.for_each_child_mut(&mut |c| write_out(c, values, uses)),
    }
}

/// Uses learn what their binding's columns are now.
fn retype(plan: &mut RelationExpr, of: LocalId, new: &[ColumnType]) {
    plan.visit_pre_mut(&mut |e| {
        if let RelationExpr::LocalGet { id, typ } = e
            && *id == of
        {
            *typ = new.to_vec();
        }
    });
}

/// What all uses of each binding have in common moves into its value.
fn narrow(plan: &mut RelationExpr) {
    let mut plan = plan;
    while let RelationExpr::Let { id, value, body } = plan {
        let mut uses = vec![];
        let whole = !collect_uses(body, *id, false, &mut uses);
        if whole && !uses.is_empty() {
            let arity = value.arity();
            let conditions = |m: &Mfp| -> BTreeSet<ScalarExpr> {
                let over_input = m.filters.iter().map(|f| &f.1);
                over_input.filter(|f| f.columns().iter().all(|c| *c < arity)).cloned().collect()
            };
            let mut common = conditions(&uses[0]);
            let mut demand: BTreeSet<usize> = BTreeSet::new();
            for m in &uses {
                common = common.intersection(&conditions(m)).cloned().collect();
            }
            for m in &uses {
                let mut m = m.clone();
                m.filters.retain(|f| !common.contains(&f.1));
                demand.extend(m.demand());
            }
            let columns: Vec<usize> = demand.into_iter().collect();
            if !common.is_empty() || columns.len() < arity {
                let narrowed = value.take().filter(common.iter().cloned()).project(columns.iter().copied());
                let typ = narrowed.typ();
                **value = narrowed;
                rewrite_uses(body, *id, &common, &columns, &typ);
            }
        }
        plan = body;
    }
}

/// The passes over each use of a binding; true if one is inside a recursion, where nothing is changed.
fn collect_uses(plan: &RelationExpr, id: LocalId, in_recursion: bool, out: &mut Vec<Mfp>) -> bool {
    let (mfp, input) = Mfp::extract_as_written(plan);
    match input {
        RelationExpr::LocalGet { id: used, .. } if *used == id => {
            out.push(mfp);
            in_recursion
        }
        RelationExpr::LetRec { bindings, body, .. } => {
            let inside = bindings.iter().any(|b| collect_uses(&b.1, id, true, out));
            inside | collect_uses(body, id, in_recursion, out)
        }
        other => {
            let mut inside = false;
            other.for_each_child(&mut |c| inside |= collect_uses(c, id, in_recursion, out));
            inside
        }
    }
}

fn rewrite_uses(
    plan: &mut RelationExpr,
    id: LocalId,
    done: &BTreeSet<ScalarExpr>,
    columns: &[usize],
    typ: &[ColumnType],
) {
    let (mut mfp, input) = Mfp::extract_as_written(plan);
    if matches!(input, RelationExpr::LocalGet { id: used, .. } if *used == id) {
        mfp.filters.retain(|f| !done.contains(&f.1));
        let get = RelationExpr::LocalGet { id, typ: typ.to_vec() };
        *plan = mfp.over_columns(columns).into_plan(get);
        return;
    }
    plan.for_each_child_mut(&mut |c| rewrite_uses(c, id, done, columns, typ));
}

/// Binds every part of a scope; [`inline`] then writes out what occurs once.
fn share_scope(plan: &mut RelationExpr, next: &mut u64) {
    let mut bound: Vec<(LocalId, RelationExpr)> = vec![];
    let mut known: BTreeMap<RelationExpr, RelationExpr> = BTreeMap::new();
    let mut names: BTreeMap<LocalId, RelationExpr> = BTreeMap::new();
    bind_parts(plan, next, &mut bound, &mut known, &mut names);
    let body = plan.take();
    *plan = bound.into_iter().rev().fold(body, |body, (id, value)| body.let_in(id, value));
}

fn bind_parts(
    plan: &mut RelationExpr,
    next: &mut u64,
    bound: &mut Vec<(LocalId, RelationExpr)>,
    known: &mut BTreeMap<RelationExpr, RelationExpr>,
    names: &mut BTreeMap<LocalId, RelationExpr>,
) {
    match plan {
        RelationExpr::Get { .. } | RelationExpr::Constant { .. } => return,
        RelationExpr::LocalGet { id, .. } => {
            if let Some(value) = names.get(id) {
                *plan = value.clone();
            }
            return;
        }
        RelationExpr::Let { id, value, body } => {
            bind_parts(value, next, bound, known, names);
            names.insert(*id, value.take());
            bind_parts(body, next, bound, known, names);
            *plan = body.take();
            return;
        }
        RelationExpr::LetRec { bindings, body, .. } => {
            // Names bound around are known inside by their replacements.
            let replace = |e: &mut RelationExpr| {
                e.visit_pre_mut(&mut |e| {
                    if let RelationExpr::LocalGet { id, .. } = e
                        && let Some(value) = names.get(id)
                    {
                        *e = value.clone();
                    }
                })
            };
            for (_, value, _) in bindings.iter_mut() {
                replace(value);
                share_scope(value, next);
            }
            replace(body);
            share_scope(body, next);
        }
        // A chain over stored rows is one thing: it is written out anyway.
        other if is_cheap(other) => {
            other.for_each_child_mut(&mut |c| bind_parts(c, next, bound, known, names));
            return;
        }
        _ => plan.for_each_child_mut(&mut |c| bind_parts(c, next, bound, known, names)),
    }
    if let Some(get) = known.get(plan) {
        *plan = get.clone();
        return;
    }
    *next += 1;
    let get = RelationExpr::LocalGet { id: LocalId(*next), typ: plan.typ() };
    let value = std::mem::replace(plan, get.clone());
    known.insert(value.clone(), get);
    bound.push((LocalId(*next), value));
}
