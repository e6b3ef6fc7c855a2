//! Groups and their aggregates: rows of a batch are put together before they travel, and a hash table holds each
//! group's state. No row of the input is kept unless an aggregate asks for it.

use std::rc::Rc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use plan::{AggregateExpr, ScalarExpr};
use repr::{Arena, Datum, Diff, EvalError, Row, Timestamp, error::code};
use serde::{Deserialize, Serialize};

use super::accumulate::{Aggregate, State};
use super::keyed::{Keyed, keyed};
use super::pass::Consumer;
use super::{Context, Flow};
use crate::arrangement::hash;
use crate::work;

/// What rows of one time add to a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Partial {
    hash: u64,
    time: Timestamp,
    key: Row,
    rows: Diff,
    states: Box<[State]>,
}

/// What comes out for a group of n rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    /// The key and the aggregates, once, if there are rows.
    Group,
    /// The key, as often as there are rows.
    Positive,
}

/// Renders a reduction. Without aggregates: DISTINCT over the keys.
pub fn reduce<'s>(
    context: &mut Context<'_, 's>,
    mut flow: Flow<'s>,
    key: &[ScalarExpr],
    aggregates: &[AggregateExpr],
) -> Flow<'s> {
    let monotonic = flow.monotonic;
    let plans: Vec<Aggregate> = aggregates.iter().map(|a| Aggregate::new(a, monotonic)).collect();
    let columns = plans.iter().zip(aggregates).flat_map(|(plan, expr)| plan.columns(expr));
    flow.apply(key.iter().cloned().chain(columns));
    let arity = key.len() + aggregates.len();
    let distinct_of_monotonic = monotonic && aggregates.is_empty();
    run(context, flow, "Reduce", key.len(), plans, Output::Group, arity, distinct_of_monotonic)
}

/// Renders a threshold: rows that occur a positive number of times.
pub fn threshold<'s>(context: &mut Context<'_, 's>, flow: Flow<'s>) -> Flow<'s> {
    let arity = flow.arity();
    if flow.monotonic {
        return flow;
    }
    run(context, flow, "Threshold", arity, vec![], Output::Positive, arity, false)
}

#[allow(clippy::too_many_arguments)]
fn run<'s>(
    context: &mut Context<'_, 's>,
    flow: Flow<'s>,
    name: &str,
    key_columns: usize,
    plans: Vec<Aggregate>,
    output: Output,
    arity: usize,
    monotonic: bool,
) -> Flow<'s> {
    let plans = Rc::new(plans);
    let gather = Gather {
        key_columns,
        plans: plans.clone(),
        scratch: Row::default(),
        table: HashTable::new(),
        partials: vec![],
        open: 0,
    };
    let partials = flow.feed(context, name, gather);
    let costly = plans.iter().any(Aggregate::is_costly);
    let state = Groups { plans, output, costly, groups: HashTable::new() };
    let (rows, errs) = keyed(partials, name, state);
    context.errs.push(errs);
    Flow::new(rows, arity, monotonic)
}

/// Puts the rows of a batch together by group.
struct Gather {
    key_columns: usize,
    plans: Rc<Vec<Aggregate>>,
    scratch: Row,
    /// Places in `partials` of the groups since `open`.
    table: HashTable<usize>,
    partials: Vec<Partial>,
    /// Where the groups of the current time begin.
    open: usize,
}

impl Consumer for Gather {
    type Out = Partial;

    fn row<'a>(
        &mut self,
        columns: &[Datum<'a>],
        project: &[usize],
        _arena: &'a Arena,
        time: Timestamp,
        diff: Diff,
    ) -> Result<(), EvalError> {
        if self.partials.get(self.open).is_some_and(|p| p.time != time) {
            self.table.clear();
            self.open = self.partials.len();
        }
        let scratch = &mut self.scratch;
        scratch.clear();
        project[..self.key_columns].iter().for_each(|c| scratch.push(columns[*c]));
        let hash = hash(scratch.as_ref());
        let partials = &mut self.partials;
        let found = self.table.entry(hash, |i| partials[*i].key == *scratch, |i| partials[*i].hash);
        let place = match found {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(free) => {
                free.insert(partials.len());
                let states = self.plans.iter().map(Aggregate::nothing).collect();
                partials.push(Partial { hash, time, key: scratch.clone(), rows: 0, states });
                partials.len() - 1
            }
        };
        let partial = &mut partials[place];
        partial.rows += diff;
        let mut at = self.key_columns;
        for (plan, state) in self.plans.iter().zip(&mut partial.states) {
            plan.add(state, |i| columns[project[at + i]], diff);
            at += plan.width();
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Partial>) {
        self.table.clear();
        self.open = 0;
        std::mem::swap(out, &mut self.partials);
        out.iter_mut().flat_map(|p| &mut p.states).for_each(Aggregate::shrink);
    }
}

struct Group {
    hash: u64,
    key: Row,
    rows: Diff,
    states: Box<[State]>,
    /// The last output, where making it again would cost.
    shown: Option<Result<Row, EvalError>>,
}

/// The state of all groups.
struct Groups {
    plans: Rc<Vec<Aggregate>>,
    output: Output,
    costly: bool,
    groups: HashTable<Group>,
}

/// What is shown for a group, and how often.
fn show(plans: &[Aggregate], output: Output, group: &Group) -> (Option<Result<Row, EvalError>>, Diff) {
    match (group.rows, output) {
        (0, _) | (i64::MIN..0, Output::Positive) => (None, 0),
        (rows, Output::Positive) => (Some(Ok(group.key.clone())), rows),
        (i64::MIN..0, Output::Group) => {
            let message = "a group has a negative number of rows";
            (Some(Err(EvalError::new(code::INTERNAL_ERROR, message))), 1)
        }
        (rows, Output::Group) => {
            let make = || {
                let mut row = group.key.clone();
                for (plan, state) in plans.iter().zip(&group.states) {
                    row.extend_packed(plan.read(state, rows)?.as_ref());
                }
                Ok(row)
            };
            (Some(plan::scalar::guarded(make)), 1)
        }
    }
}

impl Keyed for Groups {
    type In = Partial;

    fn hash(partial: &Partial) -> u64 {
        partial.hash
    }

    fn time(partial: &Partial) -> Timestamp {
        partial.time
    }

    fn shrink(&self, partials: &mut Vec<Partial>) {
        partials.sort_unstable_by(|a, b| (a.hash, &a.key).cmp(&(b.hash, &b.key)));
        partials.dedup_by(|more, kept| {
            let same = more.hash == kept.hash && more.key == kept.key;
            if same {
                kept.rows += more.rows;
                for ((plan, a), b) in self.plans.iter().zip(&mut kept.states).zip(&mut more.states) {
                    plan.merge(a, std::mem::replace(b, State::None));
                }
            }
            same
        });
        partials.iter_mut().flat_map(|p| &mut p.states).for_each(Aggregate::shrink);
    }

    fn apply(
        &mut self,
        time: Timestamp,
        partials: Vec<Partial>,
        rows: &mut Vec<(Row, Timestamp, Diff)>,
        errs: &mut Vec<(Row, Timestamp, Diff)>,
    ) {
        let mut emit = |shown: Result<Row, EvalError>, diff: Diff| match shown {
            Ok(row) => rows.push((row, time, diff)),
            Err(e) => errs.push((e.to_row(), time, diff)),
        };
        let Groups { plans, output, costly, groups } = self;
        for Partial { hash, key, rows, states, .. } in partials {
            let found = groups.entry(hash, |g| g.hash == hash && g.key == key, |g| g.hash);
            work::touch(1);
            let mut place = match found {
                Entry::Occupied(place) => place,
                Entry::Vacant(free) => {
                    work::keep(1);
                    let states = plans.iter().map(Aggregate::start).collect();
                    free.insert(Group { hash, key, rows: 0, states, shown: None })
                }
            };
            let group = place.get_mut();
            let (before, times) = match group.shown.take() {
                Some(shown) => (Some(shown), 1),
                None => show(plans, *output, group),
            };
            group.rows += rows;
            for ((plan, state), more) in plans.iter().zip(&mut group.states).zip(states) {
                plan.merge(state, more);
            }
            let (after, now) = show(plans, *output, group);
            group.shown = after.clone().filter(|_| *costly);
            if group.rows == 0 {
                place.remove();
                work::keep(-1);
            }
            match (before, after) {
                (Some(before), Some(after)) if before == after => {
                    if now != times {
                        emit(after, now - times)
                    }
                }
                (before, after) => {
                    before.into_iter().for_each(|row| emit(row, -times));
                    after.into_iter().for_each(|row| emit(row, now));
                }
            }
        }
    }
}
