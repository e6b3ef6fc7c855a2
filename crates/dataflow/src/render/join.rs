//! Joins: a chain of joins of two arrangements, in the order of the inputs.
//!
//! The inputs so far, arranged by what the next one is joined on, meet the next one arranged by the same. Each step keeps
//! only the columns that a later one or the result reads; what the join's keys do not cover is tested as soon as its
//! columns are there. An input for which an index with the wanted key exists is not arranged again.

use std::collections::BTreeSet;
use std::ops::Range;

use differential_dataflow::AsCollection;
use plan::func::{FuncRef, ids};
use plan::mfp::Mfp;
use plan::{RelationExpr, ScalarExpr};
use repr::{Arena, Row, RowRef, ScalarType, Timestamp};
use timely::dataflow::Stream;

use super::pairs::{self, Piece};
use super::pass::operator;
use super::{Context, Flow, Updates, by_key};
use crate::arrangement::{KeyedRows, RowArranged, arrange};

/// How an input joins those before it. All expressions are over the columns of the whole join.
#[derive(Default)]
pub struct Step {
    /// What the inputs before are arranged by.
    pub left: Vec<ScalarExpr>,
    /// What the input is arranged by.
    pub right: Vec<ScalarExpr>,
    /// What is to be tested then.
    pub tests: Vec<ScalarExpr>,
}

/// Renders a join, and `mfp` over its columns.
pub fn join<'s>(
    context: &mut Context<'_, 's>,
    inputs: &[RelationExpr],
    equivalences: &[Vec<ScalarExpr>],
    mfp: Mfp,
) -> Flow<'s> {
    let ranges = ranges(inputs);
    let steps = plan(&ranges, equivalences);
    let mut mfp = mfp;
    if let [input] = inputs {
        let mut flow = context.render(input);
        flow.filter(steps.into_iter().flat_map(|s| s.tests));
        flow.then(&mfp);
        return flow;
    }
    if inputs.is_empty() {
        let mut flow = context.constant(&Ok(vec![(Row::default(), 1)]), 0);
        flow.then(&mfp);
        return flow;
    }

    // What depends on the time is left to the next operator.
    let mut after = Mfp::identity(mfp.project.len());
    if mfp.filters.iter().any(|f| f.1.has_context()) || mfp.maps.iter().any(ScalarExpr::has_context) {
        after = std::mem::replace(&mut mfp, Mfp::identity(ranges.last().map_or(0, |r| r.end)));
    }

    // What is read after step i, beside the key of the next one.
    let read_after = |i: usize| -> BTreeSet<usize> {
        let mut all = mfp.demand();
        let later = |s: &Step| -> Vec<ScalarExpr> { s.left.iter().chain(&s.tests).cloned().collect() };
        let next_tests = steps.get(i + 1).map(|s| s.tests.clone()).unwrap_or_default();
        let exprs = steps.iter().skip(i + 2).flat_map(later).chain(next_tests);
        exprs.for_each(|e| all.extend(e.columns()));
        all
    };

    let mut monotonic = true;
    let (mut left, mut held) = {
        let demand: BTreeSet<usize> = read_after(0).union(&columns_of(&steps[0].tests)).copied().collect();
        let wanted: Vec<usize> = demand.into_iter().filter(|c| ranges[0].contains(c)).collect();
        side(context, &inputs[0], ranges[0].clone(), &steps[1].left, wanted, &mut monotonic)
    };
    // Tests of the first input alone are made with those of the second.
    let mut tests = steps[0].tests.clone();
    let mut result = None;
    for i in 1..inputs.len() {
        let step = &steps[i];
        tests.extend(step.tests.iter().cloned());
        let mut demand = read_after(i);
        demand.extend(columns_of(&tests));
        steps.get(i + 1).into_iter().for_each(|s| demand.extend(columns_of(&s.left)));
        let wanted: Vec<usize> = demand.into_iter().filter(|c| ranges[i].contains(c)).collect();
        let (right, more) = side(context, &inputs[i], ranges[i].clone(), &step.right, wanted, &mut monotonic);
        // Where each column of the join is, of those that both sides hold.
        let columns: Vec<usize> = held.iter().chain(&more).copied().collect();
        let total = ranges.last().map_or(0, |r| r.end);
        let mut over = Mfp::identity(total);
        over.filter(std::mem::take(&mut tests));
        let (key, next) = match steps.get(i + 1) {
            Some(next) => {
                let keep: Vec<usize> = read_after(i).into_iter().filter(|c| columns.contains(c)).collect();
                over.map(next.left.iter().cloned());
                let out: Vec<usize> = (total..total + next.left.len()).chain(keep.iter().copied()).collect();
                over.project(&out);
                (next.left.len(), keep)
            }
            None => {
                over = over.then(&mfp);
                (0, vec![])
            }
        };
        over.optimize();
        let mut closure = Closure { mfp: over.over_columns(&columns), key, arena: Arena::new() };
        let pair = move |left: RowRef<'_>, right: RowRef<'_>| closure.apply(left, right);
        let joined = pairs::join(left, right, context.as_of, context.dropped.clone(), pair);
        held = next;
        if i + 1 < inputs.len() {
            let (rows, errs) = split_keyed(joined);
            context.errs.push(errs);
            left = arrange(rows, "Arrange joined");
        } else {
            let (rows, errs) = split_rows(joined);
            context.errs.push(errs);
            result = Some(rows);
            break;
        }
    }
    let rows = result.expect("a join of two or more inputs has a last step");
    let mut flow = Flow::new(rows, mfp.project.len(), monotonic);
    flow.then(&after);
    flow
}

fn columns_of(exprs: &[ScalarExpr]) -> BTreeSet<usize> {
    exprs.iter().flat_map(|e| e.columns()).collect()
}

/// The columns of each input in the join.
pub fn ranges(inputs: &[RelationExpr]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = vec![];
    for input in inputs {
        let start = ranges.last().map_or(0, |r| r.end);
        ranges.push(start..start + input.arity());
    }
    ranges
}

/// Which equalities each step uses as its key and which it tests.
pub fn plan(ranges: &[Range<usize>], equivalences: &[Vec<ScalarExpr>]) -> Vec<Step> {
    let equal = |a: &ScalarExpr, b: &ScalarExpr| {
        ScalarExpr::call(FuncRef::of(ids::EQ), vec![a.clone(), b.clone()], ScalarType::Bool)
    };
    let mut steps: Vec<Step> = ranges.iter().map(|_| Step::default()).collect();
    for class in equivalences {
        // The member that all others are compared with, once its columns are there.
        let mut known: Option<&ScalarExpr> = class.iter().find(|e| e.columns().is_empty());
        for (step, range) in steps.iter_mut().zip(ranges) {
            let mut used: Option<&ScalarExpr> = None;
            for member in class {
                let columns = member.columns();
                let (Some(first), Some(last)) = (columns.first(), columns.last()) else { continue };
                // Its columns are all there now, and were not before.
                if !range.contains(last) {
                    continue;
                }
                let own = range.contains(first);
                match known {
                    None => known = Some(member),
                    Some(k) if own && used.is_none() && range.start > 0 && before(k, range.start) => {
                        step.left.push(k.clone());
                        step.right.push(member.clone());
                        used = Some(member);
                        known = Some(member);
                    }
                    Some(k) => step.tests.push(equal(k, member)),
                }
            }
        }
    }
    steps
}

/// Whether an expression reads only columns before `start`.
fn before(e: &ScalarExpr, start: usize) -> bool {
    e.columns().last().is_none_or(|c| *c < start)
}

/// An input by a key: from an index, or arranged here. Also which columns of the join its values are.
fn side<'s>(
    context: &mut Context<'_, 's>,
    input: &RelationExpr,
    range: Range<usize>,
    key: &[ScalarExpr],
    wanted: Vec<usize>,
    monotonic: &mut bool,
) -> (RowArranged<'s>, Vec<usize>) {
    let local = |e: &ScalarExpr| {
        let mut e = e.clone();
        // Literals have no columns and stay as they are.
        e.map_columns(&mut |c| c - range.start);
        e
    };
    let key: Vec<ScalarExpr> = key.iter().map(local).collect();
    let mut object = input;
    while let RelationExpr::ArrangeBy { input, .. } = object {
        object = input;
    }
    if let RelationExpr::Get { id, .. } = object
        && !key.is_empty()
        && let Some(holder) = context.holder(*id, |a| a.key.as_ref() == Some(&key))
    {
        *monotonic = false;
        return (context.import(holder), range.collect());
    }
    let flow = context.render(input);
    *monotonic &= flow.monotonic;
    let values: Vec<usize> = wanted.iter().map(|c| c - range.start).collect();
    let rows = by_key(context, flow, &key, &values, true);
    (arrange(rows, "Arrange"), wanted)
}

/// What becomes of a pair of rows.
struct Closure {
    /// Over the columns of the left value, then of the right.
    mfp: Mfp,
    /// How many of the columns that come out are the next key.
    key: usize,
    arena: Arena,
}

type Joined = Result<(Row, Row), Row>;

impl Closure {
    fn apply(&mut self, left: RowRef<'_>, right: RowRef<'_>) -> Option<Joined> {
        self.arena.reset();
        let (mfp, arena, key) = (&self.mfp, &self.arena, self.key);
        let result = plan::scalar::guarded(|| {
            let mut columns = Vec::with_capacity(mfp.arity + mfp.maps.len());
            columns.extend(left.iter().chain(right.iter()));
            if !mfp.eval(&mut columns, arena)? {
                return Ok(None);
            }
            let (key, value) = mfp.project.split_at(key);
            if key.iter().any(|c| columns[*c].is_null()) {
                return Ok(None);
            }
            let pack = |part: &[usize]| Row::pack(part.iter().map(|c| columns[*c]));
            Ok(Some((pack(key), pack(value))))
        });
        match result {
            Ok(rows) => rows.map(Ok),
            Err(e) => Some(Err(e.to_row())),
        }
    }
}

/// Rows by the next key, and errors.
fn split_keyed(joined: Stream<'_, Timestamp, Piece<Joined>>) -> (KeyedRows<'_>, Updates<'_>) {
    let (rows, errs) = operator(joined, "Joined", |piece: &mut Piece<Joined>, rows, errs| {
        for (result, time, diff) in piece.take() {
            match result {
                Ok(row) => rows.push((row, time, diff)),
                Err(e) => errs.push((e, time, diff)),
            }
        }
    });
    (rows.as_collection(), errs)
}

/// The same after the last step.
fn split_rows(joined: Stream<'_, Timestamp, Piece<Joined>>) -> (Updates<'_>, Updates<'_>) {
    operator(joined, "Joined", |piece: &mut Piece<Joined>, rows, errs| {
        for (result, time, diff) in piece.take() {
            match result {
                Ok((_, row)) => rows.push((row, time, diff)),
                Err(e) => errs.push((e, time, diff)),
            }
        }
    })
}
