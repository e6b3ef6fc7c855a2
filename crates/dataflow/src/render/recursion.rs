//! `WITH MUTUALLY RECURSIVE`: bindings that name each other, computed to their fixed point.
//!
//! What does not depend on the bindings is rendered like everything else and comes in as rows. The rest is computed on
//! one worker, over plain multisets, again for each time at which something came in; only differences to the time before
//! go out. That costs as much as the whole recursion each time, which suits the sizes of graphs and hierarchies, and not
//! those of event streams.
//!
//! ```text
//!   inputs ──► [input number, row] ──► Fixpoint ──► [binding number, row] ──► a filter each ──► body
//! ```

use std::collections::BTreeSet;
use std::rc::Rc;

use differential_dataflow::Hashable;
use hashbrown::HashMap;
use plan::func::{FuncRef, ids};
use plan::mfp::Mfp;
use plan::{AggregateExpr, LocalId, RelationExpr, ScalarExpr, Side};
use repr::{Arena, ColumnType, Datum, Diff, EvalError, Row, ScalarType, Timestamp, error::code};
use serde::{Deserialize, Serialize};

use super::accumulate::{Aggregate, State};
use super::bag::RowOrder;
use super::keyed::{Keyed, keyed};
use super::pass::operator;
use super::{Context, Flow, Updates, join};
use crate::work;

/// Rows with how often each occurs, none zero.
type Bag = HashMap<Row, Diff>;

/// Rounds after which a recursion without a limit of its own is taken for one that has no end.
const MAX_ROUNDS: u64 = 100_000;

/// Rows made in all rounds of one time together, for the same reason.
const MAX_WORK: u64 = 200_000_000;

/// A binding: its name, what it stands for, its columns.
pub type Binding = (LocalId, RelationExpr, Vec<ColumnType>);

/// Renders the bindings, and `body` over them.
pub fn let_rec<'s>(
    context: &mut Context<'_, 's>,
    bindings: &[Binding],
    limit: Option<(u64, bool)>,
    body: &RelationExpr,
) -> Flow<'s> {
    let mut recursive: BTreeSet<LocalId> = bindings.iter().map(|b| b.0).collect();
    let mut next = names(bindings, body).last().map_or(0, |id| id.0 + 1);
    // What does not depend on the recursion becomes an input, under a name of its own.
    let mut inputs: Vec<(LocalId, RelationExpr)> = vec![];
    let mut bound = bindings.to_vec();
    for (_, plan, _) in &mut bound {
        take_inputs(plan, &mut recursive, &mut |plan| {
            if let Some((id, _)) = inputs.iter().find(|(_, p)| p == plan) {
                return *id;
            }
            inputs.push((LocalId(next), plan.clone()));
            next += 1;
            LocalId(next - 1)
        });
    }

    let place = context.dataflow.hashed();
    let mut streams = vec![];
    let mut given = vec![];
    for (number, (id, plan)) in inputs.into_iter().enumerate() {
        let rows = context.render(&plan).rows(context);
        streams.push(numbered(rows, number as u32, place));
        given.push((id, Bag::new()));
    }
    let state = Fixpoint {
        bindings: bound,
        limit,
        inputs: given,
        shown: bindings.iter().map(|_| Rc::default()).collect(),
        error: None,
    };
    use timely::dataflow::operators::Concatenate;
    let scope = context.scope;
    let (rows, errs) = keyed(scope.concatenate(streams), "Recursion", state);
    context.errs.push(errs);

    let mut shadowed = vec![];
    for (number, (id, _, typ)) in bindings.iter().enumerate() {
        let mut flow = Flow::new(rows.clone(), typ.len() + 1, false);
        let number = ScalarExpr::literal(Datum::Int64(number as i64), ScalarType::Int64);
        let own =
            ScalarExpr::call(FuncRef::of(ids::EQ), vec![ScalarExpr::Column(0), number], ScalarType::Bool);
        flow.filter([own]);
        flow.project(&(1..=typ.len()).collect::<Vec<_>>());
        shadowed.push((*id, context.bind(*id, Some(flow))));
    }
    let flow = context.render(body);
    for (id, before) in shadowed {
        context.bind(id, before);
    }
    flow
}

/// All names that occur.
fn names(bindings: &[Binding], body: &RelationExpr) -> BTreeSet<LocalId> {
    let mut all: BTreeSet<LocalId> = bindings.iter().map(|b| b.0).collect();
    let plans = bindings.iter().map(|b| &b.1).chain([body]);
    plans.for_each(|plan| {
        plan.visit_pre(&mut |part| match part {
            RelationExpr::Let { id, .. } | RelationExpr::LocalGet { id, .. } => {
                all.insert(*id);
            }
            RelationExpr::LetRec { bindings, .. } => all.extend(bindings.iter().map(|b| b.0)),
            _ => {}
        });
    });
    all
}

/// Replaces the largest parts that read none of `bound` by names.
fn take_inputs(
    plan: &mut RelationExpr,
    bound: &mut BTreeSet<LocalId>,
    name: &mut dyn FnMut(&RelationExpr) -> LocalId,
) {
    if plan.free_locals().is_disjoint(bound) {
        *plan = RelationExpr::LocalGet { id: name(plan), typ: plan.typ() };
        return;
    }
    // Names that are bound further in have no meaning outside.
    let own: Vec<LocalId> = match plan {
        RelationExpr::Let { id, .. } => vec![*id],
        RelationExpr::LetRec { bindings, .. } => bindings.iter().map(|b| b.0).collect(),
        _ => vec![],
    };
    let added: Vec<LocalId> = own.into_iter().filter(|id| bound.insert(*id)).collect();
    plan.for_each_child_mut(&mut |child| take_inputs(child, bound, name));
    bound.retain(|id| !added.contains(id));
}

/// An update of an input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Update {
    place: u64,
    time: Timestamp,
    input: u32,
    row: Row,
    diff: Diff,
}

fn numbered<'s>(
    rows: Updates<'s>,
    input: u32,
    place: u64,
) -> timely::dataflow::Stream<'s, Timestamp, Vec<Update>> {
    let (updates, _) = operator(rows, "To recursion", move |rows, out, _: &mut Vec<_>| {
        out.extend(rows.drain(..).map(|(row, time, diff)| Update { place, time, input, row, diff }));
    });
    updates
}

/// The inputs as they are, and what came of them.
struct Fixpoint {
    bindings: Vec<Binding>,
    limit: Option<(u64, bool)>,
    inputs: Vec<(LocalId, Bag)>,
    shown: Vec<Rc<Bag>>,
    error: Option<EvalError>,
}

impl Keyed for Fixpoint {
    type In = Update;

    fn hash(update: &Update) -> u64 {
        update.place
    }

    fn time(update: &Update) -> Timestamp {
        update.time
    }

    fn shrink(&self, updates: &mut Vec<Update>) {
        updates.sort_unstable_by(|a, b| (a.input, &a.row).cmp(&(b.input, &b.row)));
        updates.dedup_by(|more, kept| {
            let same = more.input == kept.input && more.row == kept.row;
            if same {
                kept.diff += more.diff;
            }
            same
        });
        updates.retain(|u| u.diff != 0);
    }

    fn apply(
        &mut self,
        time: Timestamp,
        updates: Vec<Update>,
        rows: &mut Vec<(Row, Timestamp, Diff)>,
        errs: &mut Vec<(Row, Timestamp, Diff)>,
    ) {
        for Update { input, row, diff, .. } in updates {
            work::keep(diff);
            add(&mut self.inputs[input as usize].1, row, diff);
        }
        let mut run = Run { known: HashMap::new(), work: 0 };
        for (id, bag) in &self.inputs {
            run.known.insert(*id, Rc::new(bag.clone()));
        }
        let bindings = &self.bindings;
        let result = plan::scalar::guarded(|| run.fix(bindings, self.limit));
        work::touch(run.work as usize);
        let (shown, error) = match result {
            Ok(()) => (bindings.iter().map(|b| run.known[&b.0].clone()).collect(), None),
            Err(e) => (bindings.iter().map(|_| Rc::default()).collect::<Vec<_>>(), Some(e)),
        };
        for (number, (before, after)) in self.shown.iter().zip(&shown).enumerate() {
            let mut emit = |row: &Row, diff: Diff| {
                let mut out = Row::pack([Datum::Int64(number as i64)]);
                out.extend_packed(row.as_ref());
                rows.push((out, time, diff));
            };
            for (row, n) in after.iter() {
                match n - before.get(row).copied().unwrap_or(0) {
                    0 => {}
                    diff => emit(row, diff),
                }
            }
            before.iter().filter(|(row, _)| !after.contains_key(*row)).for_each(|(row, n)| emit(row, -n));
        }
        if self.error != error {
            errs.extend(self.error.take().map(|e| (e.to_row(), time, -1)));
            errs.extend(error.as_ref().map(|e| (e.to_row(), time, 1)));
        }
        (self.shown, self.error) = (shown, error);
    }
}

fn add(bag: &mut Bag, row: Row, diff: Diff) {
    use hashbrown::hash_map::Entry;
    match bag.entry(row) {
        Entry::Occupied(mut place) => {
            *place.get_mut() += diff;
            if *place.get() == 0 {
                place.remove();
            }
        }
        Entry::Vacant(free) => {
            if diff != 0 {
                free.insert(diff);
            }
        }
    }
}

fn collected(rows: impl IntoIterator<Item = (Row, Diff)>) -> Rc<Bag> {
    let mut bag = Bag::new();
    rows.into_iter().for_each(|(row, n)| add(&mut bag, row, n));
    Rc::new(bag)
}

/// A computation over multisets.
struct Run {
    known: HashMap<LocalId, Rc<Bag>>,
    work: u64,
}

impl Run {
    /// Computes all bindings in order, again and again until none changes.
    fn fix(&mut self, bindings: &[Binding], limit: Option<(u64, bool)>) -> Result<(), EvalError> {
        for (id, ..) in bindings {
            self.known.insert(*id, Rc::default());
        }
        let mut rounds = 0;
        loop {
            let mut changed = false;
            for (id, plan, _) in bindings {
                let new = self.bag(plan)?;
                changed |= self.known[id] != new;
                self.known.insert(*id, new);
            }
            rounds += 1;
            match limit {
                _ if !changed => return Ok(()),
                Some((n, false)) if rounds >= n => return Ok(()),
                Some((n, true)) if rounds >= n => {
                    let message = format!("recursive query exceeded the recursion limit {n}");
                    return Err(EvalError::new(code::PROGRAM_LIMIT_EXCEEDED, message)
                        .with_hint("RETURN AT RECURSION LIMIT gives the rows as they are then."));
                }
                _ if rounds >= MAX_ROUNDS => return Err(endless()),
                _ => {}
            }
        }
    }

    fn bag(&mut self, plan: &RelationExpr) -> Result<Rc<Bag>, EvalError> {
        let (mfp, input) = Mfp::extract(plan);
        let bag = self.operator(input)?;
        self.work += bag.len() as u64 + 1;
        if self.work > MAX_WORK {
            return Err(endless());
        }
        if mfp.is_identity() {
            return Ok(bag);
        }
        Ok(collected(through(&mfp, bag.iter().map(|(row, n)| (row, *n)))?))
    }

    fn operator(&mut self, plan: &RelationExpr) -> Result<Rc<Bag>, EvalError> {
        Ok(match plan {
            RelationExpr::LocalGet { id, .. } => match self.known.get(id) {
                Some(bag) => bag.clone(),
                None => {
                    return Err(EvalError::new(
                        code::INTERNAL_ERROR,
                        "a recursion reads a name that it does not have",
                    ));
                }
            },
            RelationExpr::Constant { rows, .. } => collected(rows.clone()?),
            RelationExpr::Get { id, .. } => {
                return Err(EvalError::new(
                    code::INTERNAL_ERROR,
                    format!("a recursion reads {id} by itself"),
                ));
            }
            RelationExpr::Let { id, value, body } => {
                let value = self.bag(value)?;
                self.known.insert(*id, value);
                self.bag(body)?
            }
            RelationExpr::LetRec { bindings, limit, body } => {
                self.fix(bindings, *limit)?;
                self.bag(body)?
            }
            RelationExpr::Project { .. } | RelationExpr::Map { .. } | RelationExpr::Filter { .. } => {
                self.bag(plan)?
            }
            RelationExpr::FlatMap { input, func, args, .. } => {
                let input = self.bag(input)?;
                let mut out = vec![];
                let mut arena = Arena::new();
                for (row, n) in input.iter() {
                    arena.reset();
                    let columns = row.unpack();
                    let args =
                        args.iter().map(|a| a.eval(&columns, &arena)).collect::<Result<Vec<_>, _>>()?;
                    if func.0.strict && args.iter().any(Datum::is_null) {
                        continue;
                    }
                    (func.0.eval)(&args, &arena, &mut |more| {
                        let mut row = row.clone();
                        more.iter().for_each(|d| row.push(*d));
                        out.push((row, *n));
                    })?;
                }
                collected(out)
            }
            RelationExpr::Join { inputs, equivalences } => self.join(inputs, equivalences)?,
            RelationExpr::Reduce { input, group_key, aggregates } => {
                let input = self.bag(input)?;
                reduce(&input, group_key, aggregates)?
            }
            RelationExpr::TopK { input, group_key, order_key, limit, offset } => {
                let input = self.bag(input)?;
                let order = RowOrder::new(order_key.clone());
                let mut groups: HashMap<Row, Vec<(&Row, Diff)>> = HashMap::new();
                for (row, n) in input.iter() {
                    let columns = row.unpack();
                    let key = Row::pack(group_key.iter().map(|c| columns[*c]));
                    groups.entry(key).or_default().push((row, *n));
                }
                let mut out = vec![];
                for rows in groups.values_mut() {
                    rows.sort_unstable_by(|a, b| order.cmp(a.0.as_ref(), b.0.as_ref()));
                    let skip = i64::try_from(*offset).unwrap_or(i64::MAX);
                    let end =
                        limit.map_or(i64::MAX, |n| skip.saturating_add(i64::try_from(n).unwrap_or(i64::MAX)));
                    let mut at = 0i64;
                    for (row, n) in rows.iter() {
                        let from = at.max(skip);
                        at = at.saturating_add(*n);
                        let n = at.min(end) - from;
                        if n > 0 {
                            out.push(((*row).clone(), n));
                        }
                    }
                }
                collected(out)
            }
            RelationExpr::Negate { input } => {
                let input = self.bag(input)?;
                collected(input.iter().map(|(row, n)| (row.clone(), -n)))
            }
            RelationExpr::Catch { input, side } => match (side, self.bag(input)) {
                (Side::Rows, bag) => bag.unwrap_or_default(),
                (Side::Errors, Ok(_)) => Rc::default(),
                (Side::Errors, Err(e)) => collected([(e.to_row(), 1)]),
            },
            RelationExpr::Threshold { input } => {
                let input = self.bag(input)?;
                collected(input.iter().filter(|(_, n)| **n > 0).map(|(row, n)| (row.clone(), *n)))
            }
            RelationExpr::Union { inputs } => {
                let mut all = Bag::new();
                for input in inputs {
                    let bag = self.bag(input)?;
                    bag.iter().for_each(|(row, n)| add(&mut all, row.clone(), *n));
                }
                Rc::new(all)
            }
            RelationExpr::ArrangeBy { input, .. } => self.bag(input)?,
        })
    }

    fn join(
        &mut self,
        inputs: &[RelationExpr],
        equivalences: &[Vec<ScalarExpr>],
    ) -> Result<Rc<Bag>, EvalError> {
        let ranges = join::ranges(inputs);
        let steps = join::plan(&ranges, equivalences);
        let mut left: Vec<(Row, Diff)> = vec![(Row::default(), 1)];
        for ((input, range), step) in inputs.iter().zip(&ranges).zip(steps) {
            let right = self.bag(input)?;
            let mut by_key: HashMap<Row, Vec<(&Row, Diff)>> = HashMap::new();
            for (row, n) in right.iter() {
                if let Some(key) = key_of(row, &step.right, range.start)? {
                    by_key.entry(key).or_default().push((row, *n));
                }
            }
            let mut joined = vec![];
            for (row, n) in &left {
                let Some(key) = key_of(row, &step.left, 0)? else { continue };
                for (other, m) in by_key.get(&key).into_iter().flatten() {
                    let mut row = row.clone();
                    row.extend_packed(other.as_ref());
                    joined.push((row, n * m));
                }
            }
            self.work += joined.len() as u64;
            if self.work > MAX_WORK {
                return Err(endless());
            }
            if !step.tests.is_empty() {
                let mut tests = Mfp::identity(range.end);
                tests.filter(step.tests);
                joined = through(&tests, joined.iter().map(|(row, n)| (row, *n)))?;
            }
            left = joined;
        }
        Ok(collected(left))
    }
}

fn endless() -> EvalError {
    EvalError::new(code::PROGRAM_LIMIT_EXCEEDED, "the recursion does not come to an end")
        .with_hint("Give it one: OPTIONS (RETURN AT RECURSION LIMIT n), or a condition that more rows can no longer meet.")
}

/// Rows after a pass.
fn through<'r>(
    mfp: &Mfp,
    rows: impl Iterator<Item = (&'r Row, Diff)>,
) -> Result<Vec<(Row, Diff)>, EvalError> {
    let mut out = vec![];
    let mut arena = Arena::new();
    for (row, n) in rows {
        arena.reset();
        let mut columns = row.unpack();
        let mut made = Row::default();
        if mfp.eval_into(&mut columns, &arena, &mut made)? {
            out.push((made, n));
        }
    }
    Ok(out)
}

/// The values of expressions over columns from `start` on; none if one is NULL.
fn key_of(row: &Row, exprs: &[ScalarExpr], start: usize) -> Result<Option<Row>, EvalError> {
    if exprs.is_empty() {
        return Ok(Some(Row::default()));
    }
    let arena = Arena::new();
    let mut columns = vec![Datum::Null; start];
    columns.extend(row.iter());
    let mut key = Row::default();
    for e in exprs {
        match e.eval(&columns, &arena)? {
            Datum::Null => return Ok(None),
            datum => key.push(datum),
        }
    }
    Ok(Some(key))
}

fn reduce(input: &Bag, key: &[ScalarExpr], aggregates: &[AggregateExpr]) -> Result<Rc<Bag>, EvalError> {
    let plans: Vec<Aggregate> = aggregates.iter().map(|a| Aggregate::new(a, false)).collect();
    let columns: Vec<Vec<ScalarExpr>> = plans.iter().zip(aggregates).map(|(p, a)| p.columns(a)).collect();
    let mut groups: HashMap<Row, (Diff, Vec<State>)> = HashMap::new();
    let mut arena = Arena::new();
    for (row, n) in input {
        arena.reset();
        let datums = row.unpack();
        let mut group = Row::default();
        for e in key {
            group.push(e.eval(&datums, &arena)?);
        }
        let entry =
            groups.entry(group).or_insert_with(|| (0, plans.iter().map(Aggregate::nothing).collect()));
        entry.0 += n;
        for ((plan, columns), state) in plans.iter().zip(&columns).zip(&mut entry.1) {
            let values = columns.iter().map(|e| e.eval(&datums, &arena)).collect::<Result<Vec<_>, _>>()?;
            plan.add(state, |i| values[i], *n);
        }
    }
    let mut out = vec![];
    for (mut row, (rows, states)) in groups {
        if rows == 0 {
            continue;
        }
        for (plan, more) in plans.iter().zip(states) {
            let mut state = plan.start();
            plan.merge(&mut state, more);
            row.extend_packed(plan.read(&state, rows)?.as_ref());
        }
        out.push((row, 1));
    }
    Ok(collected(out))
}
