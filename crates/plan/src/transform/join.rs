//! Joins: nested ones become one, classes of equal expressions are merged, inputs are put in a good order.

use std::collections::{BTreeMap, BTreeSet};

use repr::ColumnType;

use crate::mfp::Mfp;
use crate::{RelationExpr, ScalarExpr, known, walk};

/// Which column belongs to which input.
pub(super) struct Sides {
    /// Where each input's columns begin; the end at last.
    starts: Vec<usize>,
}

impl Sides {
    pub(super) fn of(inputs: &[RelationExpr]) -> Sides {
        let mut starts = vec![0];
        for i in inputs {
            starts.push(starts[starts.len() - 1] + i.arity());
        }
        Sides { starts }
    }

    /// The input that a column belongs to.
    pub(super) fn side(&self, column: usize) -> usize {
        self.starts.partition_point(|s| *s <= column) - 1
    }

    /// The one input whose columns an expression uses; none if it uses those of several, or no column at all.
    pub(super) fn only(&self, e: &ScalarExpr) -> Option<usize> {
        let used = e.columns();
        let (first, last) = (self.side(*used.first()?), self.side(*used.last()?));
        (first == last).then_some(first)
    }

    /// The expression over the input's own columns.
    pub(super) fn local(&self, e: &ScalarExpr, side: usize) -> ScalarExpr {
        walk::renumbered(e, &|c| c - self.starts[side])
    }
}

/// A condition of one side, said of equal columns of other sides. Only what cannot fail: over there it meets rows that
/// have no partner.
pub(super) fn elsewhere(
    p: &ScalarExpr,
    side: usize,
    equivalences: &[Vec<ScalarExpr>],
    sides: &Sides,
) -> Vec<(usize, ScalarExpr)> {
    let used: Vec<usize> = p.columns().into_iter().collect();
    let [column] = used[..] else { return vec![] };
    if p.can_fail() || walk::is_temporal(p) {
        return vec![];
    }
    let Some(class) = equivalences.iter().find(|c| c.contains(&ScalarExpr::Column(column))) else {
        return vec![];
    };
    let mut out = vec![];
    for e in class {
        if let Some(other) = sides.only(e)
            && other != side
            && !e.can_fail()
        {
            let mut p = p.clone();
            p.substitute(&mut |_| Some(e.clone()));
            out.push((other, p));
        }
    }
    out
}

/// That all of a class are equal and not NULL, as conditions.
pub(super) fn as_conditions(class: &[ScalarExpr]) -> Vec<ScalarExpr> {
    let Some((first, rest)) = class.split_first() else { return vec![] };
    rest.iter().map(|e| known::eq(first.clone(), e.clone())).collect()
}

/// Bottom up.
pub(super) fn run(plan: &mut RelationExpr) {
    plan.for_each_child_mut(&mut run);
    if matches!(plan, RelationExpr::Join { .. }) {
        flatten(plan);
        classes(plan);
    }
}

/// Inputs that are joins themselves are taken in, also from under a projection.
fn flatten(plan: &mut RelationExpr) {
    let RelationExpr::Join { inputs, equivalences } = plan else { return };
    let is_join = |i: &RelationExpr| match i {
        RelationExpr::Join { .. } => true,
        RelationExpr::Project { input, .. } => matches!(**input, RelationExpr::Join { .. }),
        _ => false,
    };
    if !inputs.iter().any(is_join) {
        return;
    }
    let (mut flat, mut all): (Vec<RelationExpr>, Vec<Vec<ScalarExpr>>) = (vec![], vec![]);
    // Where each old column is now.
    let mut places: Vec<usize> = vec![];
    let mut width = 0;
    for input in std::mem::take(inputs) {
        let (columns, input) = match input {
            RelationExpr::Project { input, columns } if matches!(*input, RelationExpr::Join { .. }) => {
                (Some(columns), *input)
            }
            other => (None, other),
        };
        let arity = input.arity();
        places.extend(columns.unwrap_or_else(|| (0..arity).collect()).into_iter().map(|c| c + width));
        match input {
            RelationExpr::Join { inputs, equivalences } => {
                flat.extend(inputs);
                let moved = equivalences.into_iter().map(|class| {
                    class.iter().map(|e| walk::renumbered(e, &|c| c + width)).collect::<Vec<_>>()
                });
                all.extend(moved);
            }
            other => flat.push(other),
        }
        width += arity;
    }
    for class in std::mem::take(equivalences) {
        all.push(class.iter().map(|e| walk::renumbered(e, &|c| places[c])).collect());
    }
    *plan = RelationExpr::Join { inputs: flat, equivalences: all }.project(places);
}

/// Merges classes that share an expression; what they say of one input alone becomes a condition there.
fn classes(plan: &mut RelationExpr) {
    let (mut join, columns) = match plan.take() {
        RelationExpr::Project { input, columns } => (*input, Some(columns)),
        other => (other, None),
    };
    let RelationExpr::Join { inputs, equivalences } = &mut join else { return };
    let typ: Vec<ColumnType> = inputs.iter().flat_map(RelationExpr::typ).collect();
    let sides = Sides::of(inputs);
    let mut all: Vec<Vec<ScalarExpr>> = vec![];
    for class in std::mem::take(equivalences) {
        add_class(&mut all, exact(class, &typ));
    }
    // Equal for NULLs too says nothing new of what is equal.
    let merged = all.clone();
    all.retain(|class| {
        let inner: Option<Vec<&ScalarExpr>> = class.iter().map(known::null_safe_of).collect();
        !inner.is_some_and(|inner| merged.iter().any(|other| inner.iter().all(|e| other.contains(e))))
    });
    let mut below: Vec<Vec<ScalarExpr>> = vec![vec![]; inputs.len()];
    let mut above = vec![];
    for class in &mut all {
        // Constants are conditions on all the others.
        let (constants, others): (Vec<_>, Vec<_>) =
            std::mem::take(class).into_iter().partition(|e| e.columns().is_empty());
        *class = others;
        let (one_sided, mixed): (Vec<_>, Vec<_>) =
            std::mem::take(class).into_iter().partition(|e| sides.only(e).is_some());
        *class = one_sided;
        if class.is_empty() {
            above.extend(as_conditions(&constants.into_iter().chain(mixed).collect::<Vec<_>>()));
            continue;
        }
        for (i, constant) in constants.iter().enumerate() {
            if i > 0 {
                above.push(known::eq(constants[0].clone(), constant.clone()));
            }
        }
        for e in class.iter() {
            let side = sides.only(e).expect("only these are left");
            if let Some(constant) = constants.first() {
                below[side].push(known::eq(sides.local(e, side), constant.clone()));
            }
        }
        above.extend(mixed.into_iter().map(|e| known::eq(class[0].clone(), e)));
        // One expression a side; others of the same side are conditions there.
        let mut first: BTreeMap<usize, ScalarExpr> = BTreeMap::new();
        for e in std::mem::take(class) {
            let side = sides.only(&e).expect("only these are left");
            match first.get(&side) {
                None => {
                    first.insert(side, e.clone());
                    class.push(e);
                }
                Some(_) if !constants.is_empty() => {}
                Some(same) => below[side].push(known::eq(sides.local(same, side), sides.local(&e, side))),
            }
        }
        if let [only] = &class[..] {
            let side = sides.only(only).expect("only these are left");
            below[side].push(known::is_not_null(sides.local(only, side)));
            class.clear();
        }
    }
    all.retain(|c| !c.is_empty());
    all.sort();
    *equivalences = all;
    for (input, conditions) in inputs.iter_mut().zip(below) {
        *input = input.take().filter(conditions);
    }
    let join = join.filter(above);
    *plan = match columns {
        Some(columns) => join.project(columns),
        None => join,
    };
}

fn add_class(all: &mut Vec<Vec<ScalarExpr>>, class: Vec<ScalarExpr>) {
    let mut merged: BTreeSet<ScalarExpr> = class.into_iter().collect();
    while let Some(i) = all.iter().position(|c| c.iter().any(|e| merged.contains(e))) {
        merged.extend(all.swap_remove(i));
    }
    all.push(merged.into_iter().collect());
}

/// Equality that holds for NULLs too is plain equality where one side is never NULL.
fn exact(class: Vec<ScalarExpr>, typ: &[ColumnType]) -> Vec<ScalarExpr> {
    let inner: Option<Vec<ScalarExpr>> = class.iter().map(|e| known::null_safe_of(e).cloned()).collect();
    match inner {
        Some(inner) if inner.iter().any(|e| !e.nullable(typ)) => inner,
        _ => class,
    }
}

/// Puts the inputs of every join in an order in which each is connected to those before it, as far as that goes; among
/// those, one whose key is given comes first (it multiplies nothing), then one with conditions, then as written.
pub(super) fn order(plan: &mut RelationExpr) {
    let mut keys = BTreeMap::new();
    order_within(plan, &mut keys);
}

fn order_within(plan: &mut RelationExpr, bound: &mut BTreeMap<crate::LocalId, Vec<Vec<usize>>>) {
    if let RelationExpr::Let { id, value, body } = plan {
        order_within(value, bound);
        let keys = value.keys_within(bound);
        bound.insert(*id, keys);
        order_within(body, bound);
        return;
    }
    plan.for_each_child_mut(&mut |c| order_within(c, bound));
    let RelationExpr::Join { inputs, equivalences } = plan else { return };
    if inputs.len() < 2 {
        return;
    }
    let sides = Sides::of(inputs);
    let keys: Vec<Vec<Vec<usize>>> = inputs.iter().map(|i| i.keys_within(bound)).collect();
    let filtered: Vec<bool> = inputs.iter().map(has_equality).collect();
    let mut order: Vec<usize> = vec![];
    // Two inputs need no start but the first: either way both are arranged.
    let start = if inputs.len() == 2 { 0 } else { (0..inputs.len()).find(|i| filtered[*i]).unwrap_or(0) };
    order.push(start);
    while order.len() < inputs.len() {
        let rank = |i: usize| {
            let connected: BTreeSet<usize> = equivalences
                .iter()
                .filter(|class| class.iter().any(|e| sides.only(e).is_some_and(|s| order.contains(&s))))
                .flatten()
                .filter(|e| sides.only(e) == Some(i))
                .map(|e| match known::null_safe_of(e).unwrap_or(e) {
                    ScalarExpr::Column(c) => c - sides.starts[i],
                    // Connected, but by no column.
                    _ => usize::MAX,
                })
                .collect();
            let unique = keys[i].iter().any(|k| k.iter().all(|c| connected.contains(c)));
            (connected.is_empty(), !unique, !filtered[i], i)
        };
        let next = (0..inputs.len()).filter(|i| !order.contains(i)).min_by_key(|i| rank(*i));
        order.extend(next);
    }
    if order.iter().copied().eq(0..inputs.len()) {
        return;
    }
    // Old columns in the new order, and where each old one is.
    let moved: Vec<usize> = order.iter().flat_map(|i| sides.starts[*i]..sides.starts[*i + 1]).collect();
    let mut places = vec![0; moved.len()];
    moved.iter().enumerate().for_each(|(new, old)| places[*old] = new);
    let mut old: Vec<Option<RelationExpr>> = std::mem::take(inputs).into_iter().map(Some).collect();
    let inputs = order.iter().filter_map(|i| old[*i].take()).collect();
    let mut equivalences = std::mem::take(equivalences);
    equivalences.iter_mut().flatten().for_each(|e| e.map_columns(&mut |c| places[c]));
    equivalences.iter_mut().for_each(|c| c.sort());
    equivalences.sort();
    *plan = RelationExpr::Join { inputs, equivalences }.project(places);
}

/// Whether an input is cut down by an equality with a constant.
fn has_equality(plan: &RelationExpr) -> bool {
    let (mfp, _) = Mfp::extract_as_written(plan);
    mfp.filters.iter().any(|f| {
        known::eq_args(&f.1).is_some_and(|(a, b)| a.as_literal().is_some() || b.as_literal().is_some())
    })
}
