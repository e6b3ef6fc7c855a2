//! A worker's loop: commands, peeks, one step, and what came out of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use differential_dataflow::trace::Cursor;
use plan::mfp::Mfp;
use repr::{Arena, Diff, EvalError, GlobalId, Row, RowBlock, RowRef, Timestamp, error::code};
use timely::worker::Worker as Timely;

use crate::arrangement::{Arrangement, snapshot, too_old};
use crate::client::{Key, Merger, Message, Tick};
use crate::hub::{Hub, ScanBatch};
use crate::output::{News, Outputs, build};
use crate::render::Context;
use crate::render::pass::Deadlines;
use crate::{Command, DataflowDesc, Output};

/// A dataflow that runs.
struct Running {
    key: Key,
    outputs: Outputs,
    /// What becomes of the output.
    kind: Kind,
    until: Option<Timestamp>,
    /// The stored collections that feed it.
    inputs: Vec<GlobalId>,
    /// The objects whose arrangements it reads.
    imports: Vec<GlobalId>,
    /// The frontier that was last reported.
    said: Timestamp,
    /// Of a one-off query: what came out.
    once: Vec<Tick>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Materialized,
    Subscribe,
    Once(u64),
}

/// A peek that waits for its time.
struct Peek {
    id: GlobalId,
    time: Timestamp,
    command: Arc<Command>,
}

struct Worker<'w> {
    timely: &'w mut Timely,
    merger: &'w Merger,
    hubs: BTreeMap<GlobalId, Hub>,
    arrangements: BTreeMap<GlobalId, Arrangement>,
    running: BTreeMap<GlobalId, Running>,
    /// Dropped, but still imported by others.
    lingering: Vec<Running>,
    peeks: BTreeMap<u64, Peek>,
    /// History that is not yet fed: the commands, and of the first one the next block.
    history: VecDeque<Arc<Command>>,
    next_block: usize,
    news: News,
    deadlines: Deadlines,
    /// The first of them, as it was last reported.
    next_deadline: Option<Timestamp>,
    /// All times before have ticked.
    now: Timestamp,
}

/// How many rows of history are fed before the operators run.
const HISTORY_ROWS: usize = 1 << 14;

/// Runs a worker until it is told to quit.
pub(crate) fn serve(timely: &mut Timely, commands: &Receiver<Message>, merger: &Merger) {
    let mut worker = Worker {
        timely,
        merger,
        hubs: BTreeMap::new(),
        arrangements: BTreeMap::new(),
        running: BTreeMap::new(),
        lingering: vec![],
        peeks: BTreeMap::new(),
        history: VecDeque::new(),
        next_block: 0,
        news: News::default(),
        deadlines: Deadlines::default(),
        next_deadline: None,
        now: 0,
    };
    loop {
        while let Ok(message) = commands.try_recv() {
            match message {
                Message::Quit => return worker.stop(),
                Message::Command(command) => {
                    worker.command(&command);
                    // A tick is worked off before the next is taken in.
                    if matches!(*command, Command::Tick { .. }) {
                        break;
                    }
                }
            }
        }
        worker.feed_history();
        worker.report();
        worker.answer_peeks();
        if commands.is_empty() && worker.history.is_empty() {
            worker.timely.step_or_park(None);
        } else {
            worker.timely.step();
        }
        worker.report();
    }
}

impl Worker<'_> {
    fn command(&mut self, command: &Arc<Command>) {
        match &**command {
            Command::CreateCollection { id, append_only, origin, .. } => {
                let hub = Hub::new(*append_only, *origin, self.now);
                self.hubs.insert(*id, hub);
            }
            Command::Install(desc) => {
                fail::point("worker-command");
                self.install(desc);
            }
            Command::History { .. } => self.history.push_back(command.clone()),
            Command::Tick { time, blocks } => {
                for (id, block) in blocks {
                    let share = self.share(block);
                    if let Some(hub) = self.hubs.get_mut(id) {
                        hub.offer(*time, block, share, false);
                    }
                }
                self.now = time.saturating_add(1);
                self.hubs.values_mut().filter(|h| !h.computed).for_each(|h| h.advance(self.now));
            }
            Command::Peek { peek, id, time, .. } => {
                self.peeks.insert(*peek, Peek { id: *id, time: *time, command: command.clone() });
            }
            Command::CancelPeek(peek) => {
                if self.peeks.remove(peek).is_some() {
                    self.merger.cancel_peek(*peek);
                }
            }
            Command::AllowCompaction { id, since } => {
                if let Some(arrangement) = self.arrangements.get_mut(id) {
                    arrangement.compact(*since);
                }
            }
            Command::Drop(id) => self.drop_dataflow(*id),
            Command::DropCollection(id) => {
                self.hubs.remove(id);
            }
        }
    }

    /// This worker's part of a block.
    fn share(&self, block: &RowBlock) -> Range<usize> {
        let (n, worker, workers) = (block.len(), self.timely.index(), self.timely.peers());
        n * worker / workers..n * (worker + 1) / workers
    }

    fn install(&mut self, desc: &DataflowDesc) {
        // A command for an object that is there already replaces it.
        if self.running.contains_key(&desc.id) {
            self.drop_dataflow(desc.id);
        }
        let key = Key { id: desc.id, index: self.timely.next_dataflow_index() };
        let kind = match desc.output {
            Output::Index { .. } => Kind::Index,
            Output::Materialized { .. } => Kind::Materialized,
            Output::Subscribe { .. } => Kind::Subscribe,
            Output::Once(peek) => Kind::Once(peek),
        };
        if kind == Kind::Materialized
            && let Some(hub) = self.hubs.get_mut(&desc.id)
        {
            hub.computed = true;
        }
        let until = match kind {
            Kind::Once(_) => Some(desc.as_of.saturating_add(1)),
            _ => desc.until,
        };
        let first = self.timely.index() == 0;
        let live_after = self.now.saturating_sub(1);
        let (hubs, arrangements, news) = (&mut self.hubs, &mut self.arrangements, &self.news);
        let deadlines = self.deadlines.clone();
        let (outputs, inputs, imports) =
            self.timely.dataflow_named::<Timestamp, _, _>(&format!("{} {}", desc.id, desc.name), |scope| {
                let mut context = Context::new(scope, desc, live_after, first, hubs, arrangements, deadlines);
                let outputs = build(&mut context, desc, news);
                let inputs: Vec<GlobalId> = context.inputs.keys().copied().collect();
                let imports: Vec<GlobalId> = context.imports.keys().copied().collect();
                (outputs, inputs, imports)
            });
        let mut needs = inputs.clone();
        if outputs.stored.is_some() {
            needs.push(desc.id);
        }
        self.merger.installed(key, needs);
        let running = Running { key, outputs, kind, until, inputs, imports, said: 0, once: vec![] };
        self.running.insert(desc.id, running);
    }

    /// Feeds some history, not all at once: commands and peeks are served in between.
    fn feed_history(&mut self) {
        let mut rows = 0;
        while rows < HISTORY_ROWS {
            let Some(command) = self.history.front().cloned() else { return };
            let Command::History { dataflow, input, blocks, done } = &*command else { return };
            match blocks.get(self.next_block) {
                Some((time, errors, block)) => {
                    self.history_block(*dataflow, *input, *time, block, *errors);
                    self.next_block += 1;
                    rows += block.len();
                }
                None => {
                    self.history.pop_front();
                    self.next_block = 0;
                    if *done {
                        self.hydrated(*dataflow, *input);
                    }
                }
            }
        }
    }

    fn history_block(
        &mut self,
        dataflow: GlobalId,
        input: GlobalId,
        time: Timestamp,
        block: &Arc<RowBlock>,
        errors: bool,
    ) {
        let share = self.share(block);
        if dataflow == input {
            let running = self.running.get_mut(&dataflow);
            if let Some(stored) =
                running.and_then(|r| r.outputs.stored.as_mut()).filter(|_| !share.is_empty())
            {
                let batch = ScanBatch::new(time, block.clone(), share, errors);
                stored.send_batch(&mut vec![Rc::new(batch)]);
            }
        } else if let Some(hub) = self.hubs.get_mut(&input) {
            hub.history(dataflow, time, block, share, errors);
        }
    }

    fn hydrated(&mut self, dataflow: GlobalId, input: GlobalId) {
        if dataflow == input {
            if let Some(running) = self.running.get_mut(&dataflow) {
                running.outputs.stored = None;
            }
        } else if let Some(hub) = self.hubs.get_mut(&input) {
            hub.hydrated(dataflow);
        }
    }

    /// Takes a dataflow down, or lets it live on unseen while others import its arrangement.
    fn drop_dataflow(&mut self, id: GlobalId) {
        let Some(running) = self.running.remove(&id) else { return };
        if let Some(arrangement) = self.arrangements.get_mut(&id) {
            arrangement.closed = true;
        }
        self.lingering.push(running);
        self.drop_unused();
    }

    fn drop_unused(&mut self) {
        loop {
            let used: BTreeSet<GlobalId> = self
                .running
                .values()
                .chain(&self.lingering)
                .flat_map(|r| r.imports.iter().copied())
                .collect();
            let Some(at) = self.lingering.iter().position(|r| !used.contains(&r.key.id)) else { return };
            let gone = self.lingering.swap_remove(at);
            let id = gone.key.id;
            for input in &gone.inputs {
                if let Some(hub) = self.hubs.get_mut(input) {
                    hub.unsubscribe(id);
                }
            }
            if self.arrangements.get(&id).is_some_and(|a| a.closed) {
                self.arrangements.remove(&id);
            }
            self.timely.drop_dataflow(gone.key.index);
            self.merger.dropped(gone.key);
        }
    }

    /// Passes on what dataflows have put out.
    fn report(&mut self) {
        let deadline = {
            let mut deadlines = self.deadlines.borrow_mut();
            while deadlines.first().is_some_and(|first| *first < self.now) {
                deadlines.pop_first();
            }
            deadlines.first().copied()
        };
        if deadline != self.next_deadline {
            self.next_deadline = deadline;
            self.merger.deadline(self.timely.index(), deadline);
        }
        let mut news = std::mem::take(&mut *self.news.borrow_mut());
        if news.is_empty() {
            return;
        }
        news.sort_unstable();
        news.dedup();
        let (mut frontiers, mut ended) = (vec![], vec![]);
        for id in news {
            let Some(running) = self.running.get_mut(&id) else { continue };
            if let Some(sink) = &running.outputs.sink {
                let (ticks, upper) = {
                    let mut sink = sink.borrow_mut();
                    (sink.take(), sink.frontier)
                };
                match running.kind {
                    Kind::Once(peek) => {
                        let as_of_passed = running.until.is_none_or(|until| upper >= until);
                        running.once.extend(ticks);
                        if as_of_passed {
                            self.merger.peek(peek, answer_of(&running.once));
                            ended.push(id);
                        }
                        continue;
                    }
                    Kind::Materialized => {
                        if let Some(hub) = self.hubs.get_mut(&id) {
                            for (time, rows, errs) in &ticks {
                                hub.offer(*time, rows, 0..rows.len(), false);
                                hub.offer(*time, errs, 0..errs.len(), true);
                            }
                            hub.advance(upper);
                        }
                    }
                    Kind::Index | Kind::Subscribe => {}
                }
                let until = running.until.unwrap_or(Timestamp::MAX);
                self.merger.changes(self.timely.index(), running.key, ticks, upper.min(until));
                if running.kind == Kind::Subscribe && upper >= until {
                    ended.push(id);
                }
            }
            let upper = running.outputs.frontier();
            if upper > running.said {
                running.said = upper;
                if let Some(arrangement) = self.arrangements.get_mut(&id) {
                    arrangement.merge();
                }
                frontiers.push((running.key, upper));
            }
        }
        if !frontiers.is_empty() {
            self.merger.frontiers(self.timely.index(), &frontiers);
        }
        ended.into_iter().for_each(|id| self.drop_dataflow(id));
    }

    fn answer_peeks(&mut self) {
        let arrangements = &mut self.arrangements;
        let merger = self.merger;
        self.peeks.retain(|number, peek| {
            let Some(arrangement) = arrangements.get_mut(&peek.id).filter(|a| !a.closed) else {
                let message = format!("{} has no arrangement to read", peek.id);
                merger.peek(*number, Err(EvalError::new(code::INTERNAL_ERROR, message)));
                return false;
            };
            if peek.time < arrangement.since {
                merger.peek(*number, Err(too_old(peek.time, arrangement.since)));
                return false;
            }
            if !arrangement.complete_at(peek.time) {
                return true;
            }
            let Command::Peek { keys, mfp, limit, .. } = &*peek.command else { return false };
            merger.peek(*number, read(arrangement, peek.time, keys.as_deref(), mfp, *limit));
            false
        });
    }

    fn stop(self) {
        for running in self.running.into_values().chain(self.lingering) {
            self.timely.drop_dataflow(running.key.index);
        }
    }
}

/// The answer to a one-off query.
fn answer_of(ticks: &[Tick]) -> Result<Vec<(Row, Diff)>, EvalError> {
    let errors = ticks.iter().flat_map(|(_, _, errs)| errs.iter());
    match errors.map(|(row, _)| EvalError::from_row(row)).min() {
        Some(e) => Err(e),
        None => {
            Ok(ticks.iter().flat_map(|(_, rows, _)| rows.iter()).map(|(row, n)| (row.to_row(), n)).collect())
        }
    }
}

/// The rows of an arrangement at a time, or the least error.
fn read(
    arrangement: &mut Arrangement,
    time: Timestamp,
    keys: Option<&[Row]>,
    mfp: &Mfp,
    limit: Option<usize>,
) -> Result<Vec<(Row, Diff)>, EvalError> {
    let (mut cursor, batches) = snapshot(&mut arrangement.errs);
    let mut least: Option<EvalError> = None;
    while let Some(error) = cursor.get_key(&batches) {
        let mut count = 0;
        while cursor.get_val(&batches).is_some() {
            cursor.map_times(&batches, |t, diff| count += if *t <= time { *diff } else { 0 });
            cursor.step_val(&batches);
        }
        if count != 0 {
            let error = EvalError::from_row(error);
            least = Some(least.map_or(error.clone(), |l| l.min(error)));
        }
        cursor.step_key(&batches);
    }
    if let Some(error) = least {
        return Err(error);
    }

    let by_row = arrangement.key.is_none();
    let (mut cursor, batches) = snapshot(&mut arrangement.rows);
    let mut reading = Reading { mfp, limit, found: 0, rows: vec![], arena: Arena::new() };
    match keys {
        Some(keys) => {
            let mut keys: Vec<&Row> = keys.iter().collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                cursor.seek_key(&batches, key.as_ref());
                if cursor.get_key(&batches) == Some(key.as_ref()) {
                    read_key(&mut cursor, &batches, time, by_row, &mut reading)?;
                }
                if reading.is_full() {
                    break;
                }
            }
        }
        None => {
            while cursor.get_key(&batches).is_some() && !reading.is_full() {
                read_key(&mut cursor, &batches, time, by_row, &mut reading)?;
                cursor.step_key(&batches);
            }
        }
    }
    Ok(reading.rows)
}

/// The rows of the cursor's key.
fn read_key<C>(
    cursor: &mut C,
    batches: &C::Storage,
    time: Timestamp,
    by_row: bool,
    reading: &mut Reading<'_>,
) -> Result<(), EvalError>
where
    C: for<'a> Cursor<
            Key<'a> = RowRef<'a>,
            Val<'a> = RowRef<'a>,
            TimeGat<'a> = &'a Timestamp,
            DiffGat<'a> = &'a Diff,
        >,
{
    while let (Some(key), Some(value)) = (cursor.get_key(batches), cursor.get_val(batches)) {
        let mut count = 0;
        cursor.map_times(batches, |t, diff| count += if *t <= time { *diff } else { 0 });
        if count != 0 {
            reading.row(if by_row { key } else { value }, count)?;
        }
        cursor.step_val(batches);
    }
    Ok(())
}

/// Rows that are found, after the peek's own pass.
struct Reading<'a> {
    mfp: &'a Mfp,
    limit: Option<usize>,
    found: usize,
    rows: Vec<(Row, Diff)>,
    arena: Arena,
}

impl Reading<'_> {
    fn is_full(&self) -> bool {
        self.limit.is_some_and(|n| self.found >= n)
    }

    fn row(&mut self, packed: RowRef<'_>, count: Diff) -> Result<(), EvalError> {
        if self.is_full() {
            return Ok(());
        }
        self.arena.reset();
        let (mfp, arena) = (self.mfp, &self.arena);
        let row = if mfp.is_identity() {
            Some(packed.to_row())
        } else {
            plan::scalar::guarded(|| {
                let mut columns = packed.iter().collect();
                let mut row = Row::default();
                Ok(mfp.eval_into(&mut columns, arena, &mut row)?.then_some(row))
            })?
        };
        if let Some(row) = row {
            self.found += usize::try_from(count).unwrap_or(0);
            self.rows.push((row, count));
        }
        Ok(())
    }
}
