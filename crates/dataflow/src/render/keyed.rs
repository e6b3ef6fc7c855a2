//! Operators that keep a state by key over totally ordered times.
//!
//! Updates wait until the frontier passes their time; then each time, in order, is applied to the state as a whole, and
//! only what changed comes out. No trace of the input and none of the output is kept.

use std::collections::BTreeMap;

use repr::{Diff, Row, Timestamp};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::Updates;
use crate::work;

/// A state by key.
pub trait Keyed: 'static {
    /// An update.
    type In: Clone + serde::Serialize + for<'a> serde::Deserialize<'a> + Send + 'static;

    /// Where the update's key lives.
    fn hash(update: &Self::In) -> u64;

    /// When it happens.
    fn time(update: &Self::In) -> Timestamp;

    /// Puts updates of one time with equal keys together, so that no key is left twice.
    fn shrink(&self, updates: &mut Vec<Self::In>);

    /// Applies the updates of one time, no key twice, and says how the output changes.
    fn apply(
        &mut self,
        time: Timestamp,
        updates: Vec<Self::In>,
        rows: &mut Vec<(Row, Timestamp, Diff)>,
        errs: &mut Vec<(Row, Timestamp, Diff)>,
    );
}

/// Updates of a time that is still open.
struct Pending<I> {
    rows: Capability<Timestamp>,
    errs: Capability<Timestamp>,
    updates: Vec<I>,
    /// How many messages they came in since they were last put together.
    messages: usize,
    /// How many there were when they were last put together.
    shrunk: usize,
}

/// While fewer updates than this wait, they are not put together before their time comes.
const SMALL: usize = 1 << 16;

/// Renders a state over a stream of updates. Gives the changes of rows and of errors.
pub fn keyed<'s, K: Keyed>(
    stream: Stream<'s, Timestamp, Vec<K::In>>,
    name: &str,
    state: K,
) -> (Updates<'s>, Updates<'s>) {
    let mut builder = OperatorBuilder::new(name.to_owned(), stream.scope());
    let mut input = builder.new_input(stream, Exchange::new(|u: &K::In| K::hash(u)));
    let (rows_out, rows_stream) = builder.new_output();
    let (errs_out, errs_stream) = builder.new_output();
    let mut rows_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<(Row, Timestamp, Diff)>>>::from(rows_out);
    let mut errs_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<(Row, Timestamp, Diff)>>>::from(errs_out);
    let mut pending: BTreeMap<Timestamp, Pending<K::In>> = BTreeMap::new();
    let mut state = Some(state);
    builder.build(move |_| {
        move |frontiers| {
            let Some(keyed) = &mut state else { return };
            input.for_each(|cap, updates| {
                let (Some(rows), Some(errs)) = (cap.retain_least(0), cap.retain_least(1)) else { return };
                let mut updates = std::mem::take(updates);
                while let Some(time) = updates.last().map(K::time) {
                    // Nearly always the whole message.
                    let first = updates.iter().rposition(|u| K::time(u) != time).map_or(0, |i| i + 1);
                    let run = updates.split_off(first);
                    let open = pending.entry(time).or_insert_with(|| Pending {
                        rows: rows.delayed(&time),
                        errs: errs.delayed(&time),
                        updates: vec![],
                        messages: 0,
                        shrunk: 0,
                    });
                    open.messages += 1;
                    if open.updates.is_empty() {
                        open.updates = run;
                    } else {
                        open.updates.extend(run);
                    }
                    if open.updates.len() > SMALL.max(2 * open.shrunk) {
                        keyed.shrink(&mut open.updates);
                        open.shrunk = open.updates.len();
                    }
                }
            });
            let frontier = frontiers[0].frontier();
            let (mut rows, mut errs) = (vec![], vec![]);
            while let Some(first) = pending.first_entry().filter(|e| !frontier.less_equal(e.key())) {
                let (time, mut open) = first.remove_entry();
                // One message of one worker has each key once.
                if open.messages > 1 {
                    keyed.shrink(&mut open.updates);
                }
                keyed.apply(time, open.updates, &mut rows, &mut errs);
                work::publish();
                if !rows.is_empty() {
                    rows_out.activate().session(&open.rows).give_container(&mut rows);
                    rows.clear();
                }
                if !errs.is_empty() {
                    errs_out.activate().session(&open.errs).give_container(&mut errs);
                    errs.clear();
                }
            }
            if frontier.is_empty() && pending.is_empty() {
                // Nothing can come any more.
                state = None;
            }
        }
    });
    (rows_stream, errs_stream)
}
