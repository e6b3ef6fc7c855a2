//! The first thing that happens to rows: one fused pass of map, filter and project over a batch, straight into whatever
//! the next operator wants of them.
//!
//! Only columns that are read are decoded, and nothing is allocated for a row that the pass rejects. Errors of a row go
//! aside, with the record that it came from.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use plan::mfp::{Mfp, Scan, TemporalBound};
use repr::json::SlotPath;
use repr::{Arena, Datum, Diff, EvalError, Row, RowRef, SqlError, Timestamp};
use timely::Container;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use super::Updates;
use crate::hub::{ScanBatch, origin_of};

/// Takes the rows that a pass lets through.
pub trait Consumer: 'static {
    /// What it makes of them.
    type Out: Clone + 'static;

    /// One row: `project` of `columns`.
    fn row<'a>(
        &mut self,
        columns: &[Datum<'a>],
        project: &[usize],
        arena: &'a Arena,
        time: Timestamp,
        diff: Diff,
    ) -> Result<(), EvalError>;

    /// Whether it holds so much that others should have it before there is more.
    fn is_full(&self) -> bool {
        false
    }

    /// Gives what it made since the last time.
    fn flush(&mut self, out: &mut Vec<Self::Out>);
}

/// Keeps the rows as they are.
#[derive(Default)]
pub struct Collect(Vec<(Row, Timestamp, Diff)>);

impl Consumer for Collect {
    type Out = (Row, Timestamp, Diff);

    fn row<'a>(
        &mut self,
        columns: &[Datum<'a>],
        project: &[usize],
        _: &'a Arena,
        time: Timestamp,
        diff: Diff,
    ) -> Result<(), EvalError> {
        self.0.push((Row::pack(project.iter().map(|c| columns[*c])), time, diff));
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Self::Out>) {
        std::mem::swap(out, &mut self.0)
    }
}

/// Times to come at which rows come or go by the clock alone.
pub type Deadlines = Rc<RefCell<BTreeSet<Timestamp>>>;

/// A pass, ready to run.
pub struct Pass {
    /// Over the columns `raw`, then the slots.
    mfp: Mfp,
    /// The columns of the row that are decoded, ascending.
    raw: Vec<usize>,
    /// The numbers of the slots.
    slots: Vec<usize>,
    /// Where a document cannot be read: the pass over all columns.
    full: Option<Mfp>,
    /// Over the same columns as `mfp`'s output: where in it the bounds of a row's life are, after its own columns.
    bounds: Vec<TemporalBound>,
    /// How many of the outputs are the row's own.
    width: usize,
    sign: Diff,
    origin: Option<(usize, usize)>,
    deadlines: Deadlines,
}

/// Gives a slot of a column its number.
pub type NumberSlot<'a> = &'a mut dyn FnMut(usize, &SlotPath) -> usize;

/// How many rows are evaluated between two resets of the arena.
const RUN: usize = 256;

impl Pass {
    /// Prepares a pass. `slot` gives a slot its number; without it documents are parsed by expressions.
    /// `mz_now()` is taken out as bounds of each row's life; where that is not possible it is an error.
    pub fn new(
        mfp: Mfp,
        sign: Diff,
        origin: Option<(usize, usize)>,
        slot: Option<NumberSlot<'_>>,
        deadlines: Deadlines,
    ) -> Result<Pass, SqlError> {
        let temporal = mfp.maps.iter().chain(mfp.filters.iter().map(|f| &f.1)).any(|e| e.has_context());
        let (mut mfp, bounds) = if temporal { mfp.split_temporal()? } else { (mfp, vec![]) };
        let width = mfp.project.len();
        for bound in &bounds {
            // A bound is over the input's columns, as computed columns may be.
            mfp.project.push(mfp.arity + mfp.maps.len());
            mfp.maps.push(bound.at.clone());
        }
        mfp.optimize();
        if let Some(scan) = slot.as_ref().and_then(|_| Scan::new(&mfp))
            && let Some(slot) = slot
        {
            let slots = scan.slots.iter().map(|(column, path)| slot(*column, path)).collect();
            let Scan { raw, mfp, full, .. } = scan;
            return Ok(Pass { mfp, raw, slots, full: Some(full), bounds, width, sign, origin, deadlines });
        }
        let raw: Vec<usize> = mfp.demand().into_iter().collect();
        let mfp = mfp.over_columns(&raw);
        Ok(Pass { mfp, raw, slots: vec![], full: None, bounds, width, sign, origin, deadlines })
    }

    /// Runs over the rows behind `next`, of `n`, until the consumer is full, and moves `next` on.
    fn run<'b, C: Consumer>(
        &self,
        next: &mut usize,
        n: usize,
        batch: Option<&'b ScanBatch>,
        row: impl Fn(usize) -> (RowRef<'b>, Timestamp, Diff),
        consumer: &mut C,
        errs: &mut Vec<(Row, Timestamp, Diff)>,
    ) {
        let mut arena = Arena::new();
        while *next < n && !consumer.is_full() {
            let end = n.min(*next + RUN);
            let at = Cell::new(*next);
            let outcome = plan::scalar::guarded(|| {
                let mut columns = Vec::with_capacity(self.mfp.arity + self.mfp.maps.len());
                while at.get() < end && !consumer.is_full() {
                    let i = at.get();
                    let (packed, time, diff) = row(i);
                    columns.clear();
                    let result =
                        self.row(packed, batch.map(|b| (b, i)), time, diff, &mut columns, &arena, consumer);
                    if let Err(e) = result {
                        errs.push((self.name_row(e, packed).to_row(), time, diff));
                    }
                    at.set(i + 1);
                }
                Ok(())
            });
            *next = match outcome {
                Ok(()) => at.get(),
                Err(e) => {
                    // Evaluation panicked at this row: a fault of the program that costs the row, not the process.
                    let (packed, time, diff) = row(at.get());
                    errs.push((self.name_row(e, packed).to_row(), time, diff));
                    at.get() + 1
                }
            };
            arena.reset();
        }
    }

    #[cold]
    fn name_row(&self, e: EvalError, row: RowRef<'_>) -> EvalError {
        match self.origin.and_then(|columns| origin_of(row, columns)) {
            Some(origin) => e.with_origin(origin),
            None => e,
        }
    }

    #[inline]
    #[allow(clippy::too_many_arguments)]
    fn row<'a, C: Consumer>(
        &'a self,
        packed: RowRef<'a>,
        slots: Option<(&'a ScanBatch, usize)>,
        time: Timestamp,
        diff: Diff,
        columns: &mut Vec<Datum<'a>>,
        arena: &'a Arena,
        consumer: &mut C,
    ) -> Result<(), EvalError> {
        let mut mfp = &self.mfp;
        let mut datums = packed.iter();
        let mut at = 0;
        for &column in &self.raw {
            while at < column {
                datums.skip_one();
                at += 1;
            }
            columns.push(datums.next().unwrap_or(Datum::Null));
            at += 1;
        }
        if let Some((batch, i)) = slots {
            for &slot in &self.slots {
                match (batch.slots[slot].get(i), &self.full) {
                    (Ok(datum), _) => columns.push(datum),
                    (Err(_), Some(full)) => {
                        columns.clear();
                        columns.extend(packed.iter());
                        mfp = full;
                        break;
                    }
                    (Err(e), None) => return Err(e.clone()),
                }
            }
        }
        if !mfp.eval(columns, arena)? {
            return Ok(());
        }
        let diff = diff * self.sign;
        let project = &mfp.project[..self.width];
        if self.bounds.is_empty() {
            return consumer.row(columns, project, arena, time, diff);
        }
        let (mut from, mut until) = (time, Timestamp::MAX);
        for (bound, column) in self.bounds.iter().zip(&mfp.project[self.width..]) {
            let Datum::MzTimestamp(t) = columns[*column] else { return Ok(()) };
            let t = t.saturating_add(u64::from(bound.after));
            match bound.until {
                true => until = until.min(t),
                false => from = from.max(t),
            }
        }
        if from < until && from < Timestamp::MAX {
            consumer.row(columns, project, arena, from, diff)?;
            let mut deadlines = self.deadlines.borrow_mut();
            if from > time {
                deadlines.insert(from);
            }
            if until < Timestamp::MAX {
                deadlines.insert(until);
                consumer.row(columns, project, arena, until, -diff)?;
            }
        }
        Ok(())
    }
}

/// Renders a pass over batches of a stored collection.
pub fn over_batches<'s, C: Consumer>(
    stream: Stream<'s, Timestamp, Vec<Rc<ScanBatch>>>,
    name: &str,
    pass: Pass,
    mut consumer: C,
) -> (Stream<'s, Timestamp, Vec<C::Out>>, Updates<'s>) {
    in_pieces(stream, name, move |batches: &mut Vec<Rc<ScanBatch>>, at, out, errs| {
        while let Some(batch) = batches.first() {
            if batch.errors {
                let rows = (0..batch.len()).map(|i| (batch.row(i).to_row(), batch.time, batch.diff(i)));
                errs.extend(rows);
            } else {
                let row = |i| (batch.row(i), batch.time, batch.diff(i));
                pass.run(at, batch.len(), Some(batch), row, &mut consumer, errs);
                if *at < batch.len() {
                    break;
                }
            }
            batches.remove(0);
            *at = 0;
        }
        consumer.flush(out);
        batches.is_empty()
    })
}

/// Renders a pass over rows.
pub fn over_rows<'s, C: Consumer>(
    stream: Updates<'s>,
    name: &str,
    pass: Pass,
    mut consumer: C,
) -> (Stream<'s, Timestamp, Vec<C::Out>>, Updates<'s>) {
    in_pieces(stream, name, move |rows: &mut Vec<(Row, Timestamp, Diff)>, at, out, errs| {
        let row = |i: usize| {
            let (row, time, diff) = &rows[i];
            (row.as_ref(), *time, *diff)
        };
        pass.run(at, rows.len(), None, row, &mut consumer, errs);
        consumer.flush(out);
        *at == rows.len()
    })
}

/// An operator whose messages may give far more than they hold. `logic` gives some of it and moves the place in the message
/// on; until it says that the message is done it is asked again, after others had their turn.
fn in_pieces<'s, C: Container + Default, O: Clone + 'static>(
    stream: Stream<'s, Timestamp, C>,
    name: &str,
    mut logic: impl FnMut(&mut C, &mut usize, &mut Vec<O>, &mut Vec<(Row, Timestamp, Diff)>) -> bool + 'static,
) -> (Stream<'s, Timestamp, Vec<O>>, Updates<'s>) {
    let scope = stream.scope();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let mut input = builder.new_input(stream, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (out, out_stream) = builder.new_output();
    let (errs, errs_stream) = builder.new_output();
    let mut out = OutputBuilder::<_, CapacityContainerBuilder<Vec<O>>>::from(out);
    let mut errs = OutputBuilder::<_, CapacityContainerBuilder<Vec<(Row, Timestamp, Diff)>>>::from(errs);
    builder.build(move |_| {
        let (mut made, mut failed) = (vec![], vec![]);
        // Messages that are not done, the first of them from a place on.
        let (mut waiting, mut at) = (VecDeque::new(), 0);
        move |_| {
            if let Some((data, of_rows, of_errors)) = waiting.front_mut() {
                let done = logic(data, &mut at, &mut made, &mut failed);
                if !made.is_empty() {
                    out.activate().session(&*of_rows).give_container(&mut made);
                    made.clear();
                }
                if !failed.is_empty() {
                    errs.activate().session(&*of_errors).give_container(&mut failed);
                    failed.clear();
                }
                if done {
                    waiting.pop_front();
                    at = 0;
                }
            }
            input.for_each(|cap, data| {
                if waiting.is_empty() {
                    let done = logic(data, &mut at, &mut made, &mut failed);
                    if !made.is_empty() {
                        out.activate().session(&cap).give_container(&mut made);
                        made.clear();
                    }
                    if !failed.is_empty() {
                        errs.activate().session(&cap).give_container(&mut failed);
                        failed.clear();
                    }
                    if done {
                        at = 0;
                        return;
                    }
                }
                waiting.push_back((std::mem::take(data), cap.retain_stamp(0), cap.retain_stamp(1)));
            });
            if !waiting.is_empty() {
                activator.activate();
            }
        }
    });
    (out_stream, errs_stream)
}

/// An operator without memory: each message gives rows and errors.
pub fn operator<'s, C: Container, O: Clone + 'static>(
    stream: Stream<'s, Timestamp, C>,
    name: &str,
    mut logic: impl FnMut(&mut C, &mut Vec<O>, &mut Vec<(Row, Timestamp, Diff)>) + 'static,
) -> (Stream<'s, Timestamp, Vec<O>>, Updates<'s>) {
    in_pieces(stream, name, move |data: &mut C, _, made, failed| {
        logic(data, made, failed);
        true
    })
}
