//! What becomes of a dataflow's output: arranged in memory, or held until its time is complete and then sent on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::AsCollection;
use differential_dataflow::consolidation::consolidate;
use plan::ScalarExpr;
use repr::{Diff, GlobalId, Row, RowBlock, Timestamp};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::arrangement::{Arrangement, RowArranged, arrange, hash};
use crate::client::Tick;
use crate::hub::{ScanBatch, ScanInput};
use crate::render::{Context, Flow, Updates, by_key, pass::operator};
use crate::{DataflowDesc, Output};

/// Which dataflows have news; filled by their last operators, emptied after each step.
pub type News = Rc<RefCell<Vec<GlobalId>>>;

/// What the worker's loop keeps of a dataflow's output.
#[derive(Default)]
pub struct Outputs {
    /// How far its arrangement is complete.
    pub arranged: Option<Rc<Cell<Timestamp>>>,
    /// What it sends on.
    pub sink: Option<Rc<RefCell<Sink>>>,
    /// Where the stored rows of a view that is to be reconciled go in.
    pub stored: Option<ScanInput>,
}

impl Outputs {
    /// All output before this is complete on this worker.
    pub fn frontier(&self) -> Timestamp {
        let arranged = self.arranged.as_ref().map_or(Timestamp::MAX, |f| f.get());
        arranged.min(self.sink.as_ref().map_or(Timestamp::MAX, |s| s.borrow().frontier))
    }
}

/// A time, its rows and its errors.
type Ready = (Timestamp, Vec<(Row, Diff)>, Vec<(Row, Diff)>);

/// Updates whose time is complete, until the loop takes them.
#[derive(Default)]
pub struct Sink {
    /// By time, consolidated: rows and errors.
    pub ready: Vec<Ready>,
    /// All before this is in `ready`, or was taken.
    pub frontier: Timestamp,
}

impl Sink {
    /// Takes what is ready, as blocks.
    pub fn take(&mut self) -> Vec<Tick> {
        let block = |rows: Vec<(Row, Diff)>| {
            let mut block = RowBlock::default();
            rows.iter().for_each(|(row, diff)| block.push(row.as_ref(), *diff));
            Arc::new(block)
        };
        self.ready.drain(..).map(|(time, rows, errs)| (time, block(rows), block(errs))).collect()
    }
}

/// Which times of the output count.
#[derive(Clone, Copy)]
struct Window {
    /// Not these and those before.
    after: Option<Timestamp>,
    /// Not these and those later.
    until: Timestamp,
}

/// Renders a dataflow: its plan and its output.
pub fn build(context: &mut Context<'_, '_>, desc: &DataflowDesc, news: &News) -> Outputs {
    let flow = context.render(&desc.plan);
    let id = desc.id;
    match &desc.output {
        Output::Index { on, key } => {
            let arity = desc.plan.arity();
            let values: Vec<usize> = (0..arity).collect();
            let rows = by_key(context, flow, key, &values, false);
            let rows = arrange(rows, "Index");
            let errs = context.take_errs();
            let arranged = keep(context, id, *on, Some(key.clone()), rows, errs, news);
            Outputs { arranged: Some(arranged), ..Outputs::default() }
        }
        Output::Materialized { arrange: arranged, reconcile } => {
            let (mut rows, mut errs) = collect(context, flow);
            let arranged = arranged.then(|| {
                let columns: Vec<usize> = (0..desc.plan.arity()).collect();
                let key: Vec<ScalarExpr> = columns.iter().map(|c| ScalarExpr::Column(*c)).collect();
                let whole = Flow::new(rows.clone(), columns.len(), false);
                let by_row = by_key(context, whole, &key, &[], false);
                let by_row = arrange(by_row, "Materialized");
                keep(context, id, id, None, by_row, errs.clone(), news)
            });
            let stored = reconcile.then(|| {
                let mut input = ScanInput::new();
                let (less, less_errs) = negated(input.to_stream(context.scope), context.as_of);
                // A row and what is stored of it must meet to cancel.
                let by_row = |u: &(Row, Timestamp, Diff)| hash(u.0.as_ref());
                rows = rows.clone().concat(less).exchange(by_row);
                errs = errs.clone().concat(less_errs).exchange(by_row);
                input
            });
            let window = Window { after: desc.resume_after, until: desc.until.unwrap_or(Timestamp::MAX) };
            let sink = Some(sink(context, rows, errs, id, window, news));
            Outputs { arranged, sink, stored }
        }
        Output::Subscribe { snapshot } => {
            let (rows, errs) = collect(context, flow);
            let snapshot = if *snapshot { None } else { Some(desc.as_of) };
            let window = Window {
                after: snapshot.max(desc.resume_after),
                until: desc.until.unwrap_or(Timestamp::MAX),
            };
            Outputs { sink: Some(sink(context, rows, errs, id, window, news)), ..Outputs::default() }
        }
        Output::Once(_) => {
            let (rows, errs) = collect(context, flow);
            let window = Window { after: None, until: desc.as_of.saturating_add(1) };
            Outputs { sink: Some(sink(context, rows, errs, id, window, news)), ..Outputs::default() }
        }
    }
}

fn collect<'s>(context: &mut Context<'_, 's>, flow: Flow<'s>) -> (Updates<'s>, Updates<'s>) {
    let rows = flow.rows(context);
    (rows, context.take_errs())
}

/// Makes an arrangement known under the dataflow's name. Gives how far it is complete.
fn keep<'s>(
    context: &mut Context<'_, 's>,
    id: GlobalId,
    on: GlobalId,
    key: Option<Vec<ScalarExpr>>,
    rows: RowArranged<'s>,
    errs: Updates<'s>,
    news: &News,
) -> Rc<Cell<Timestamp>> {
    let (errs, _) = operator(errs, "Errors", |errs, out, _: &mut Vec<_>| {
        out.extend(errs.drain(..).map(|(row, time, diff)| ((row, Row::default()), time, diff)));
    });
    let errs = arrange(errs.as_collection(), "Arrange errors");
    let mut arrangement =
        Arrangement { on, key, rows: rows.trace.clone(), errs: errs.trace.clone(), since: 0, closed: false };
    arrangement.compact(context.as_of);
    context.arrangements.insert(id, arrangement);

    // The arrangement's frontier moves only after its trace has the batch.
    let frontier = Rc::new(Cell::new(0));
    let mut builder = OperatorBuilder::new("Watch".to_owned(), context.scope);
    let mut rows = builder.new_input(rows.stream, Pipeline);
    let mut errs = builder.new_input(errs.stream, Pipeline);
    let (said, news) = (frontier.clone(), news.clone());
    builder.build(move |_| {
        move |frontiers| {
            rows.for_each(|_, _| {});
            errs.for_each(|_, _| {});
            let upper = least(frontiers);
            if upper > said.get() {
                said.set(upper);
                news.borrow_mut().push(id);
            }
        }
    });
    frontier
}

fn least(frontiers: &[timely::progress::frontier::MutableAntichain<Timestamp>]) -> Timestamp {
    frontiers.iter().filter_map(|f| f.frontier().first().copied()).min().unwrap_or(Timestamp::MAX)
}

/// What is stored, taken away at `as_of`.
fn negated<'s>(
    stored: Stream<'s, Timestamp, Vec<Rc<ScanBatch>>>,
    as_of: Timestamp,
) -> (Updates<'s>, Updates<'s>) {
    operator(stored, "Stored", move |batches, rows, errs| {
        for batch in batches.drain(..) {
            let updates = (0..batch.len()).map(|i| (batch.row(i).to_row(), as_of, -batch.diff(i)));
            if batch.errors { errs.extend(updates) } else { rows.extend(updates) }
        }
    })
}

/// Holds updates until their time is complete.
fn sink<'s>(
    context: &Context<'_, 's>,
    rows: Updates<'s>,
    errs: Updates<'s>,
    id: GlobalId,
    window: Window,
    news: &News,
) -> Rc<RefCell<Sink>> {
    let sink = Rc::new(RefCell::new(Sink::default()));
    let mut builder = OperatorBuilder::new("Sink".to_owned(), context.scope);
    let mut rows = builder.new_input(rows, Pipeline);
    let mut errs = builder.new_input(errs, Pipeline);
    let (out, news) = (sink.clone(), news.clone());
    // Rows and errors by time, and how many were left when the time's rows were last consolidated.
    type Held = (Vec<(Row, Diff)>, Vec<(Row, Diff)>, usize);
    let mut pending: BTreeMap<Timestamp, Held> = BTreeMap::new();
    builder.build(move |_| {
        move |frontiers| {
            let counts = |t: &Timestamp| *t < window.until && window.after.is_none_or(|after| *t > after);
            rows.for_each(|_, updates| {
                for (row, time, diff) in updates.drain(..).filter(|u| counts(&u.1)) {
                    let held = pending.entry(time).or_default();
                    held.0.push((row, diff));
                    if held.0.len() > (2 * held.2).max(1 << 18) {
                        consolidate(&mut held.0);
                        held.2 = held.0.len();
                    }
                }
            });
            errs.for_each(|_, updates| {
                for (row, time, diff) in updates.drain(..).filter(|u| counts(&u.1)) {
                    pending.entry(time).or_default().1.push((row, diff));
                }
            });
            let upper = least(frontiers);
            let mut sink = out.borrow_mut();
            if upper <= sink.frontier {
                return;
            }
            sink.frontier = upper;
            while let Some(first) = pending.first_entry().filter(|e| *e.key() < upper) {
                let (time, (mut rows, mut errs, _)) = first.remove_entry();
                consolidate(&mut rows);
                consolidate(&mut errs);
                if !rows.is_empty() || !errs.is_empty() {
                    sink.ready.push((time, rows, errs));
                }
            }
            news.borrow_mut().push(id);
        }
    });
    sink
}
