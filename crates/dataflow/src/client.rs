//! The side of the program: starts the workers, passes each command to all of them, and merges what they say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Sender, unbounded};
use differential_dataflow::consolidation::consolidate;
use repr::{Diff, EvalError, GlobalId, Row, RowBlock, Timestamp};
use timely::communication::WorkerGuards;

use crate::{Command, Dataflows, Dropped, OnResponse, Response, guard, worker};

/// What a worker is sent.
pub(crate) enum Message {
    Command(Arc<Command>),
    Quit,
}

/// Channels to the workers, and their threads.
pub(crate) struct Workers {
    senders: Vec<(Sender<Message>, std::thread::Thread)>,
    /// Behind a lock only so that commands can be sent from several threads.
    guards: Mutex<Option<WorkerGuards<()>>>,
    /// What is installed, to reach operators that are in the middle of their work.
    installed: Mutex<BTreeMap<GlobalId, Dropped>>,
}

/// How much of a spine's merging an idle worker does at a time, in rows: it settles to few batches without slowing loads.
const IDLE_MERGE_EFFORT: isize = 1_000;

impl Dataflows {
    /// Starts that many worker threads. `on_response` is called on them, never by two at once.
    ///
    /// Panics when threads cannot be started, which leaves nothing to go on with.
    pub fn start(workers: usize, on_response: OnResponse) -> Dataflows {
        guard::install();
        let workers = workers.max(1);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded()).unzip();
        let merger = Arc::new(Merger::new(workers, on_response));
        let mut config = timely::Config::process(workers);
        let options = differential_dataflow::Config::default().idle_merge_effort(Some(IDLE_MERGE_EFFORT));
        differential_dataflow::configure(&mut config.worker, &options);
        let guards = timely::execute(config, move |timely| {
            let commands = receivers[timely.index()].clone();
            worker::serve(timely, &commands, &merger)
        })
        .expect("worker threads start");
        let threads = guards.guards().iter().map(|g| g.thread().clone());
        let senders = senders.into_iter().zip(threads).collect();
        Dataflows(Workers { senders, guards: Mutex::new(Some(guards)), installed: Mutex::default() })
    }

    /// Passes a command to all workers and wakes them. Never blocks.
    pub fn send(&self, command: Command) {
        let installed = || self.0.installed.lock().unwrap_or_else(PoisonError::into_inner);
        match &command {
            Command::Install(desc) => drop(installed().insert(desc.id, desc.dropped.clone())),
            Command::Drop(id) => installed().remove(id).iter().for_each(Dropped::set),
            _ => {}
        }
        let command = Arc::new(command);
        self.0.send(|| Message::Command(command.clone()))
    }
}

impl Workers {
    fn send(&self, message: impl Fn() -> Message) {
        for (sender, thread) in &self.senders {
            // A worker that is gone took the process with it, or is stopping.
            let _ = sender.send(message());
            thread.unpark();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.send(|| Message::Quit);
        if let Some(guards) = self.guards.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            guards.join().into_iter().for_each(drop);
        }
    }
}

/// A dataflow and which one of that name: the number timely gave it, the same on every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub id: GlobalId,
    pub index: usize,
}

/// Rows and errors.
type Blocks = (Arc<RowBlock>, Arc<RowBlock>);

/// Updates of rows and errors at one time.
pub(crate) type Tick = (Timestamp, Arc<RowBlock>, Arc<RowBlock>);

/// Turns what single workers say into what all of them say.
pub(crate) struct Merger {
    workers: usize,
    on_response: OnResponse,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    installed: BTreeMap<Key, usize>,
    frontiers: BTreeMap<Key, Progress>,
    changes: BTreeMap<Key, Changes>,
    peeks: BTreeMap<u64, Answer>,
    dropped: BTreeMap<Key, usize>,
    /// Of each worker that has one.
    deadlines: BTreeMap<usize, Timestamp>,
}

/// How far each worker is, and what was said of it.
struct Progress {
    uppers: Vec<Timestamp>,
    said: Timestamp,
}

struct Changes {
    progress: Progress,
    ticks: BTreeMap<Timestamp, Vec<Blocks>>,
}

struct Answer {
    workers: usize,
    cancelled: bool,
    rows: Result<Vec<(Row, Diff)>, EvalError>,
}

impl Progress {
    fn new(workers: usize) -> Progress {
        Progress { uppers: vec![0; workers], said: 0 }
    }

    /// Moves one worker; the new least frontier if it moved.
    fn advance(&mut self, worker: usize, upper: Timestamp) -> Option<Timestamp> {
        let own = &mut self.uppers[worker];
        *own = upper.max(*own);
        let least = self.uppers.iter().copied().min().unwrap_or_default();
        (least > self.said).then(|| {
            self.said = least;
            least
        })
    }
}

impl Merger {
    fn new(workers: usize, on_response: OnResponse) -> Merger {
        Merger { workers, on_response, state: Mutex::default() }
    }

    /// Responses are given while this is held, so that they keep their order.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn installed(&self, key: Key, needs: Vec<GlobalId>) {
        let mut state = self.lock();
        let count = state.installed.entry(key).or_default();
        *count += 1;
        if *count == self.workers {
            state.installed.remove(&key);
            (self.on_response)(Response::Installed { id: key.id, needs });
        }
    }

    pub fn frontiers(&self, worker: usize, uppers: &[(Key, Timestamp)]) {
        let mut state = self.lock();
        let mut moved = Vec::new();
        for (key, upper) in uppers {
            let progress = state.frontiers.entry(*key).or_insert_with(|| Progress::new(self.workers));
            moved.extend(progress.advance(worker, *upper).map(|t| (key.id, t)));
        }
        if !moved.is_empty() {
            (self.on_response)(Response::Frontiers(moved));
        }
    }

    pub fn changes(&self, worker: usize, key: Key, ticks: Vec<Tick>, upper: Timestamp) {
        let mut state = self.lock();
        let entry = state
            .changes
            .entry(key)
            .or_insert_with(|| Changes { progress: Progress::new(self.workers), ticks: BTreeMap::new() });
        for (time, rows, errors) in ticks {
            entry.ticks.entry(time).or_default().push((rows, errors));
        }
        let Some(upto) = entry.progress.advance(worker, upper) else { return };
        let later = match upto {
            Timestamp::MAX => BTreeMap::new(),
            _ => entry.ticks.split_off(&upto),
        };
        let (mut rows, mut errors) = (vec![], vec![]);
        for (time, parts) in std::mem::replace(&mut entry.ticks, later) {
            let (r, e): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            rows.extend(merge_blocks(r).map(|b| (time, b)));
            errors.extend(merge_blocks(e).map(|b| (time, b)));
        }
        (self.on_response)(Response::Changes { id: key.id, rows, errors, upto });
    }

    pub fn peek(&self, peek: u64, rows: Result<Vec<(Row, Diff)>, EvalError>) {
        self.answer(peek, rows, false)
    }

    pub fn cancel_peek(&self, peek: u64) {
        self.answer(peek, Ok(vec![]), true)
    }

    fn answer(&self, peek: u64, rows: Result<Vec<(Row, Diff)>, EvalError>, cancelled: bool) {
        let mut state = self.lock();
        let answer = state.peeks.entry(peek).or_insert_with(|| Answer {
            workers: 0,
            cancelled: false,
            rows: Ok(vec![]),
        });
        answer.workers += 1;
        answer.cancelled |= cancelled;
        match (&mut answer.rows, rows) {
            (Ok(all), Ok(more)) if all.is_empty() => *all = more,
            (Ok(all), Ok(more)) => all.extend(more),
            (Err(least), Err(e)) if e < *least => *least = e,
            (all @ Ok(_), Err(e)) => *all = Err(e),
            (Err(_), _) => {}
        }
        if answer.workers == self.workers {
            let answer = state.peeks.remove(&peek).expect("it was just there");
            if !answer.cancelled {
                let rows = answer.rows.map(|mut rows| {
                    consolidate(&mut rows);
                    rows
                });
                (self.on_response)(Response::Peek(peek, rows));
            }
        }
    }

    pub fn deadline(&self, worker: usize, deadline: Option<Timestamp>) {
        let mut state = self.lock();
        let before = state.deadlines.values().min().copied();
        match deadline {
            Some(deadline) => state.deadlines.insert(worker, deadline),
            None => state.deadlines.remove(&worker),
        };
        let now = state.deadlines.values().min().copied();
        if now != before {
            (self.on_response)(Response::Deadline(now));
        }
    }

    pub fn dropped(&self, key: Key) {
        let mut state = self.lock();
        let count = state.dropped.entry(key).or_default();
        *count += 1;
        if *count == self.workers {
            state.dropped.remove(&key);
            state.frontiers.remove(&key);
            state.changes.remove(&key);
            (self.on_response)(Response::Dropped(key.id));
        }
    }
}

/// One block of the sum of several; none if nothing is left.
fn merge_blocks(mut blocks: Vec<Arc<RowBlock>>) -> Option<RowBlock> {
    blocks.retain(|b| !b.is_empty());
    if blocks.len() <= 1 {
        // Each worker's block is consolidated already.
        return blocks.pop().map(|b| Arc::try_unwrap(b).unwrap_or_else(|b| (*b).clone()));
    }
    let mut updates: Vec<_> = blocks.iter().flat_map(|b| b.iter()).collect();
    consolidate(&mut updates);
    let mut out = RowBlock::default();
    updates.iter().for_each(|(row, diff)| out.push(*row, *diff));
    (!out.is_empty()).then_some(out)
}
