//! The loop: one thread that takes commands one after the other and never waits inside one.
//!
//! **Ticks.** New data (records, writes, changes of the catalog) gathers until the next tick: at once when the engine was
//! idle, else every [`Config::tick`]. A tick gives everything one timestamp, sends it to the workers and to storage's
//! thread, and goes on; it is *durable* when storage says so.
//!
//! **What a read sees.** Its time is the greatest of: the last acknowledged write, the last time shown to anyone, and the
//! latest time at which all that it reads is complete and durable. So a client never sees time go back, and sees its own
//! writes; and since nothing newer than the durable time is shown, what was shown survives a crash.
//!
//! **Materialized views** run ahead of storage: their changes go to dependants in memory at once and are appended a frame
//! later. Whoever needs their stored rows at some time (a scan, a new dataflow) waits in `Waiting` until they are there.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use dataflow::{DataflowDesc, Dataflows, Output, Response};
use plan::mfp::Mfp;
use plan::{RelationExpr, ScalarExpr};
use repr::error::code;
use repr::{GlobalId, Row, RowBlock, SqlError, Timestamp};
use storage::{BlockKind, FrameGroup, ShardId, ShardUpdate, Storage};
use tokio::sync::{mpsc, oneshot};

use crate::catalog::CatalogState;
use crate::clock::Clock;
use crate::command::{Answer, Command, Ddl, Read};
use crate::credits::Credits;
use crate::first::FirstReads;
use crate::introspection::{self, SourceStatus};
use crate::journal::{Journal, Then};
use crate::kafka::LocalKafka;
use crate::oracle::Oracle;
use crate::planner::Planner;
use crate::read;
use crate::retention::Keeper;
use crate::subscriptions::{PROGRESS, Subscription};
use crate::waits::Hydration;

/// How the engine runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Dataflow workers.
    pub workers: usize,
    /// The least time between two ticks under load.
    pub tick: Duration,
    /// How many bytes of records may be on their way from readers to views.
    pub intake_bytes: usize,
    /// Talk to nothing outside: sources read nothing.
    pub offline: bool,
    /// The Kafka of this process, if it has one with TLS.
    pub local_kafka: Option<LocalKafka>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            workers: 1,
            tick: Duration::from_millis(20),
            intake_bytes: 64 << 20,
            offline: false,
            local_kafka: None,
        }
    }
}

/// Why the engine did not start.
#[derive(Debug)]
pub enum StartError {
    /// A thread could not be made.
    Thread(std::io::Error),
    /// A stored object cannot be brought back.
    Catalog(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Thread(e) => write!(f, "a thread could not be started: {e}"),
            StartError::Catalog(e) => f.write_str(e),
        }
    }
}

impl std::error::Error for StartError {}

/// What sessions share.
pub(crate) struct Shared {
    /// The catalog as of the last change.
    pub catalog: RwLock<Arc<CatalogState>>,
    /// Numbers for reads and sessions.
    numbers: AtomicU64,
    /// Parses and plans.
    pub planner: Planner,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Talk to nothing outside.
    pub offline: bool,
    /// Locks of tables for `UPDATE` and `DELETE`.
    pub table_locks: std::sync::Mutex<HashMap<GlobalId, Arc<tokio::sync::Mutex<()>>>>,
    /// Sources that are pushed to.
    pub push: crate::push::Push,
    /// Ways into Kafka.
    pub producers: crate::produce::Producers,
}

/// The way to the loop; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) commands: Sender<Command>,
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// A number that no other read or session of this process has.
    pub fn next_number(&self) -> u64 {
        self.shared.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The catalog now.
    pub fn catalog(&self) -> Arc<CatalogState> {
        self.shared.catalog.read().expect("nothing panics under this lock").clone()
    }

    /// Sends a command; an error means that the engine is shutting down.
    pub(crate) fn send(&self, command: Command) -> Result<(), SqlError> {
        self.commands.send(command).map_err(|_| shutting_down())
    }

    /// Figures for `/metrics`: name and value, in order.
    pub async fn metrics(&self) -> Vec<(String, f64)> {
        let (reply, answer) = oneshot::channel();
        let _ = self.send(Command::Metrics(reply));
        answer.await.unwrap_or_default()
    }
}

/// The error of everything that comes too late.
pub(crate) fn shutting_down() -> SqlError {
    SqlError::new(code::ADMIN_SHUTDOWN, "the server is shutting down")
}

/// A running engine.
pub struct Coordinator {
    handle: Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Coordinator {
    /// Brings back what storage recovered and starts the loop.
    pub fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        storage: Storage,
        recovered: storage::Recovered,
    ) -> Result<Coordinator, StartError> {
        let (commands, queue) = crossbeam_channel::unbounded();
        let planner = Planner::start().map_err(StartError::Thread)?;
        let catalog =
            CatalogState { local_kafka: config.local_kafka.clone().map(Arc::new), ..CatalogState::new() };
        let shared = Arc::new(Shared {
            catalog: RwLock::new(Arc::new(catalog.clone())),
            numbers: AtomicU64::new(1),
            planner,
            clock: clock.clone(),
            offline: config.offline,
            table_locks: Default::default(),
            push: Default::default(),
            producers: Default::default(),
        });
        let handle = Handle { commands: commands.clone(), shared: shared.clone() };
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("coordinator".into())
            .stack_size(sql::STACK_BYTES)
            .spawn(move || {
                let to_loop = commands.clone();
                let on_response = Box::new(move |r| drop(to_loop.send(Command::Dataflow(r))));
                let mut state = State {
                    dataflows: Arc::new(Dataflows::start(config.workers, on_response)),
                    oracle: Oracle::new(recovered.oracle_mark),
                    credits: Arc::new(Credits::new(config.intake_bytes)),
                    catalog,
                    last_tick: recovered.last_time.max(1),
                    last_tick_at: clock.instant(),
                    last_shown: 0,
                    last_acknowledged: 0,
                    journal: Journal::new(storage.clone(), commands.clone()),
                    config,
                    clock,
                    storage,
                    commands,
                    shared,
                    pending: Pending::default(),
                    undurable: BTreeMap::new(),
                    in_flight: VecDeque::new(),
                    objects: BTreeMap::new(),
                    raws: BTreeSet::new(),
                    view_updates: BTreeMap::new(),
                    view_uppers: BTreeMap::new(),
                    view_groups_out: 0,
                    waiting: vec![],
                    installing: HashMap::new(),
                    answers: HashMap::new(),
                    subscriptions: BTreeMap::new(),
                    readers: BTreeMap::new(),
                    statuses: BTreeMap::new(),
                    refused: BTreeMap::new(),
                    sinks: BTreeMap::new(),
                    sink_statuses: BTreeMap::new(),
                    holds: BTreeMap::new(),
                    next_transient: 1,
                    next_epoch: 1,
                    ticks: 0,
                    deadline: None,
                    awaited: BTreeSet::new(),
                    compacted: 0,
                    keeper: Keeper::default(),
                    first: FirstReads::default(),
                    recency: vec![],
                    stored_since: recovered.shards.values().map(|s| s.since).max().unwrap_or(0),
                };
                match state.recover(recovered) {
                    Ok(()) => {
                        let _ = ready.send(Ok(()));
                        let run = std::panic::AssertUnwindSafe(move || state.run(queue));
                        if std::panic::catch_unwind(run).is_err() {
                            // The panic is printed already. A server that takes connections and answers nothing would
                            // be worse than one that ends; a restart goes on from what is durable.
                            eprintln!("deltamill: a fault in the engine's loop; the process ends");
                            std::process::abort();
                        }
                    }
                    Err(e) => drop(ready.send(Err(e))),
                }
            })
            .map_err(StartError::Thread)?;
        match started.recv() {
            Ok(Ok(())) => Ok(Coordinator { handle, thread: Some(thread) }),
            Ok(Err(e)) => Err(StartError::Catalog(e)),
            Err(_) => Err(StartError::Catalog("the engine's loop ended while it started".into())),
        }
    }

    /// The way to the loop.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops readers, makes durable what has come, and ends the loop.
    pub fn shutdown(mut self) {
        let (reply, done) = oneshot::channel();
        if self.handle.commands.send(Command::Shutdown(reply)).is_ok() {
            let _ = done.blocking_recv();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What waits for the next tick.
#[derive(Default)]
pub(crate) struct Pending {
    pub blocks: Vec<(GlobalId, Arc<RowBlock>)>,
    pub progress: BTreeMap<u64, BTreeMap<i32, i64>>,
    pub catalog: Vec<(String, Option<Vec<u8>>)>,
    pub drop_shards: Vec<ShardId>,
    pub drop_progress: Vec<u64>,
    /// What is stored can be forgotten up to this time. Waits for a tick, and is no reason for one.
    pub since: Option<Timestamp>,
    pub bytes: usize,
    /// Somebody waits: do not wait for the tick's interval.
    pub urgent: bool,
    pub acknowledge: Vec<Acknowledge>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.blocks.is_empty()
            && self.progress.is_empty()
            && self.catalog.is_empty()
            && self.drop_shards.is_empty()
    }
}

/// What happens when a tick is durable.
pub(crate) enum Acknowledge {
    Write(oneshot::Sender<Result<Timestamp, SqlError>>),
    /// Changes of the catalog, and whether rows came with them.
    Ddl(oneshot::Sender<Result<bool, SqlError>>, bool),
    /// A source's offsets, and who waits for them.
    Progress(GlobalId, Vec<(i32, i64)>, u64, u64, Option<source::Durable>),
    /// A source has come to its end.
    Finished(GlobalId),
}

/// A dataflow with an output that others read.
pub(crate) struct Object {
    pub kind: ObjectKind,
    /// All times before this are complete in its output.
    pub frontier: Timestamp,
    /// Whether it has once caught up; only then does intake wait for it.
    pub caught_up: bool,
    /// For a materialized view: what storage has.
    pub stored_upper: Timestamp,
    /// The least time at which its arrangement can be read.
    pub since: Timestamp,
    /// What it reads before it has caught up.
    pub hydration: Vec<Hydration>,
}

impl Object {
    /// Whether its rows are held in memory.
    fn is_arranged(&self) -> bool {
        !matches!(self.kind, ObjectKind::View { arranged: false })
    }
}

#[derive(Clone)]
pub(crate) enum ObjectKind {
    /// Stored; `arranged`: also in memory.
    View { arranged: bool },
    /// In memory.
    Index { on: GlobalId, key: Vec<ScalarExpr> },
}

/// The stored rows that a dataflow starts with.
#[derive(Clone, Copy)]
struct History {
    from: Timestamp,
    upto: Timestamp,
    /// Times up to this one do not matter to it.
    as_of: Timestamp,
}

/// Work that starts once stored rows are there at a time.
struct Waiting {
    needs: Vec<GlobalId>,
    time: Timestamp,
    work: Work,
}

enum Work {
    /// Rows of a stored collection for an answer.
    Scan { read: read::Scan, to: mpsc::Sender<Result<Vec<(Row, i64)>, SqlError>> },
    /// The history of one input of a dataflow.
    History { dataflow: GlobalId, input: GlobalId, history: History },
    /// A peek of an arrangement.
    Peek { number: u64, id: GlobalId, keys: Option<Vec<Row>>, mfp: Box<Mfp>, limit: Option<usize> },
}

pub(crate) struct State {
    config: Config,
    clock: Arc<dyn Clock>,
    pub(crate) storage: Storage,
    /// What is on its way there.
    pub(crate) journal: Journal,
    pub(crate) dataflows: Arc<Dataflows>,
    pub(crate) commands: Sender<Command>,
    pub(crate) shared: Arc<Shared>,
    credits: Arc<Credits>,
    oracle: Oracle,
    pub(crate) catalog: CatalogState,

    /// The last timestamp given to data.
    pub(crate) last_tick: Timestamp,
    last_tick_at: Instant,
    pub(crate) last_shown: Timestamp,
    last_acknowledged: Timestamp,
    ticks: u64,
    /// When the clock alone changes rows, as workers say.
    deadline: Option<Timestamp>,
    /// Times to come that somebody waits for.
    awaited: BTreeSet<Timestamp>,
    /// At which tick arrangements were last told to forget.
    compacted: u64,
    /// The least time at which stored rows can be read.
    stored_since: Timestamp,
    pub(crate) keeper: Keeper,
    pub(crate) first: FirstReads,
    pub(crate) recency: Vec<crate::recency::Waiting>,

    pub(crate) pending: Pending,
    /// Ticks that storage has not confirmed, with what to do then.
    undurable: BTreeMap<Timestamp, Vec<Acknowledge>>,
    /// Ticks that are not yet digested, with their bytes.
    in_flight: VecDeque<(Timestamp, usize)>,

    /// Materialized views and indexes, by the identity of their catalog item.
    pub(crate) objects: BTreeMap<GlobalId, Object>,
    /// Collections that ticks bring: raw records and tables.
    pub(crate) raws: BTreeSet<GlobalId>,
    /// What views have computed and storage does not have yet, by time.
    view_updates: BTreeMap<Timestamp, Vec<ShardUpdate>>,
    view_uppers: BTreeMap<GlobalId, Timestamp>,
    view_groups_out: usize,

    waiting: Vec<Waiting>,
    /// Dataflows that are being built, and the history that they need.
    installing: HashMap<GlobalId, History>,
    answers: HashMap<u64, PendingAnswer>,
    pub(crate) subscriptions: BTreeMap<GlobalId, Subscription>,
    pub(crate) readers: BTreeMap<GlobalId, (u64, source::ReaderHandle)>,
    pub(crate) statuses: BTreeMap<GlobalId, SourceStatus>,
    /// Of sources that are posted to: the stored requests that they refused.
    pub(crate) refused: BTreeMap<GlobalId, crate::refused::Stored>,
    pub(crate) sinks: crate::sinks::Sinks,
    pub(crate) sink_statuses: BTreeMap<GlobalId, crate::sinks::SinkStatus>,
    holds: BTreeMap<Timestamp, usize>,
    next_transient: u64,
    next_epoch: u64,
}

/// A read that workers answer.
struct PendingAnswer {
    to: mpsc::Sender<Result<Vec<(Row, i64)>, SqlError>>,
    /// The one-off dataflow, if it is one.
    dataflow: Option<GlobalId>,
}

impl State {
    fn run(mut self, queue: Receiver<Command>) {
        // A first tick makes everything that was recovered readable at one time of this process.
        self.tick();
        loop {
            match queue.recv_timeout(self.patience()) {
                Ok(Command::Shutdown(reply)) => {
                    self.shutdown(&queue);
                    let _ = reply.send(());
                    return;
                }
                Ok(command) => {
                    self.handle(command);
                    // What has gathered meanwhile belongs to the same tick. Bounded, so that a flood does not starve ticks.
                    for command in queue.try_iter().take(256).collect::<Vec<_>>() {
                        if let Command::Shutdown(reply) = command {
                            self.shutdown(&queue);
                            let _ = reply.send(());
                            return;
                        }
                        self.handle(command);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if (!self.pending.is_empty() && self.tick_is_due()) || self.clock_is_due() {
                self.tick();
            }
            self.flush_views(false);
            self.start_waiting();
            self.wake_sinks();
            self.release_subscriptions();
            self.release_credits();
            self.expire();
            self.journal.retry(self.clock.instant());
            self.release_recency();
            if self.first.is_waiting() {
                self.take_up();
            }
        }
    }

    /// How long nothing can happen without a command.
    fn patience(&self) -> Duration {
        let queued = self.subscriptions.values().any(Subscription::is_behind);
        let idle = self.keeper.patience(self.clock.now(), self.last_tick);
        if let Some(patience) = self.journal.patience(self.clock.instant()) {
            patience.max(Duration::from_millis(10))
        } else if !self.pending.is_empty() {
            // At least a moment: what a tick waits for besides time wakes the loop by itself.
            self.config.tick.saturating_sub(self.last_tick_at.elapsed()).max(Duration::from_millis(1))
        } else if queued {
            Duration::from_millis(10)
        } else if self.first.is_waiting() {
            Duration::from_millis(100)
        } else {
            idle.map_or_else(|| self.until_clock(), |idle| idle.min(self.until_clock()))
        }
    }

    /// Looks for what sources are not to keep.
    fn expire(&mut self) {
        let storage = &self.storage;
        let stored = |raw| {
            let live = |s: storage::ShardState| s.bytes / s.updates.max(1) * s.rows.unsigned_abs();
            storage.shard_stats(shard_of(raw)).map_or(0, live)
        };
        let scan = |raw| storage.scan(shard_of(raw), 0, Timestamp::MAX).ok();
        self.keeper.start(self.clock.now(), self.last_tick, &self.commands, stored, scan);
    }

    /// While earlier ticks are still being worked on, a small one would only cost: what comes gathers until they are done
    /// or there is enough for a full batch.
    fn tick_is_due(&self) -> bool {
        const BEHIND: usize = 2;
        const FULL: usize = 8 << 20;
        if self.journal.full().is_some() {
            return false;
        }
        let waited = self.last_tick_at.elapsed() >= self.config.tick && self.in_flight.len() < BEHIND;
        self.pending.urgent || self.pending.bytes >= FULL || waited
    }

    /// The next time at which something changes by the clock alone: rows of temporal filters, a read or the end of a
    /// subscription at a time to come, the next sign of life of a subscription that wants them.
    fn next_by_clock(&self) -> Option<Timestamp> {
        let later = |t: &Timestamp| *t > self.last_tick;
        let awaited = self.awaited.iter().copied().find(later);
        let alive = self.subscriptions.values().any(|s| s.progress).then(|| self.last_tick + PROGRESS);
        self.deadline.filter(later).into_iter().chain(awaited).chain(alive).min()
    }

    fn until_clock(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(3600);
        let wait = |t: Timestamp| Duration::from_millis(t.saturating_sub(self.clock.now()).max(1));
        let rest = self.config.tick.saturating_sub(self.last_tick_at.elapsed());
        self.next_by_clock().map_or(LONGEST, |t| wait(t).max(rest)).min(LONGEST)
    }

    /// Whether a tick is needed, if only an empty one.
    fn clock_is_due(&self) -> bool {
        self.next_by_clock().is_some_and(|t| t <= self.clock.now())
            && self.last_tick_at.elapsed() >= self.config.tick
            && self.journal.full().is_none()
    }

    /// Gives everything that is pending one timestamp.
    fn tick(&mut self) -> Timestamp {
        fail::point("tick");
        let time = self.oracle.next(self.clock.now().max(self.last_tick + 1));
        let oracle_mark = self.oracle.reserve();
        self.flush_views(true);
        let pending = std::mem::take(&mut self.pending);
        self.last_tick = time;
        self.awaited = self.awaited.split_off(&(time + 1));
        self.last_tick_at = self.clock.instant();
        self.ticks += 1;
        let durable = pending.is_empty() && oracle_mark.is_none() && self.undurable.is_empty();
        if !durable {
            let update = |(id, block): &(GlobalId, Arc<RowBlock>)| ShardUpdate {
                shard: shard_of(*id),
                kind: BlockKind::Rows,
                block: block.clone(),
            };
            let updates = pending.blocks.iter().map(update).collect();
            let (sinces, uppers) = pending.since.map(|since| self.stored_times(since)).unwrap_or_default();
            let group = FrameGroup {
                time,
                updates,
                progress: pending.progress.into_iter().map(|(s, p)| (s, p.into_iter().collect())).collect(),
                catalog: pending.catalog,
                drop_shards: pending.drop_shards,
                drop_progress: pending.drop_progress,
                oracle_mark,
                sinces,
                uppers,
            };
            self.undurable.insert(time, pending.acknowledge);
            self.journal.append(group, Then::Tick(time));
        }
        self.in_flight.push_back((time, pending.bytes));
        self.dataflows.send(dataflow::Command::Tick { time, blocks: pending.blocks });
        time
    }

    /// Appends what views have computed, in the order of times. Where a tick is about to be written anyway it goes just
    /// before it, so that both share a sync.
    fn flush_views(&mut self, before_tick: bool) {
        if self.view_uppers.is_empty() {
            return;
        }
        // An upper alone must not be known before the rows below it, which may still be on their way.
        if self.view_updates.is_empty() && self.view_groups_out > 0 {
            return;
        }
        // One batch at a time: what comes meanwhile gathers for the next one.
        if !before_tick
            && (self.view_groups_out > 0 || !self.pending.is_empty() || self.journal.full().is_some())
        {
            return;
        }
        let uppers: Vec<(GlobalId, Timestamp)> = std::mem::take(&mut self.view_uppers).into_iter().collect();
        let mut groups = std::mem::take(&mut self.view_updates);
        // Nobody needs an upper alone to be durable: a restart computes the view from what is stored.
        if groups.is_empty() {
            for (id, upper) in uppers {
                if let Some(object) = self.objects.get_mut(&id) {
                    object.stored_upper = object.stored_upper.max(upper);
                }
            }
            return;
        }
        let (last_time, last_updates) = groups.pop_last().expect("checked above");
        for (time, updates) in groups {
            let group = FrameGroup { time, updates, ..FrameGroup::default() };
            self.journal.append(group, Then::Nothing);
        }
        let group = FrameGroup {
            time: last_time,
            updates: last_updates,
            uppers: uppers.iter().map(|(id, upper)| (shard_of(*id), *upper)).collect(),
            ..FrameGroup::default()
        };
        self.view_groups_out += 1;
        self.journal.append(group, Then::Views(uppers));
    }

    /// Frames of a shard that is dropped must not follow it.
    pub(crate) fn forget_view_frames(&mut self, shard: ShardId) {
        self.view_updates.values_mut().for_each(|updates| updates.retain(|u| u.shard != shard));
        self.view_uppers.retain(|id, _| shard_of(*id) != shard);
    }

    /// The last time up to which all ticks are durable.
    pub(crate) fn durable(&self) -> Timestamp {
        self.undurable.first_key_value().map_or(self.last_tick, |(first, _)| first - 1)
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Source { id, epoch, event } => self.source_event(id, epoch, event),
            Command::Sink { id, epoch, said } => self.sink_said(id, epoch, said),
            Command::Refused => self.store_refused(),
            Command::Replay { id, letters, began, reply } => {
                drop(reply.send(self.replay(id, letters, began)));
            }
            Command::Dataflow(response) => self.response(response),
            Command::Appended(result) => self.appended(result),
            Command::Read(read) => self.read(*read),
            Command::CancelRead(number) => {
                self.first.cancel(number);
                if let Some(answer) = self.answers.remove(&number) {
                    self.dataflows.send(dataflow::Command::CancelPeek(number));
                    if let Some(id) = answer.dataflow {
                        self.drop_dataflow(id);
                    }
                }
            }
            Command::WhyWaiting { ids, time, reply } => {
                let mut notices = self.why_waiting(&ids, time);
                notices.extend(self.first_notices(&ids));
                drop(reply.send(notices));
            }
            Command::Offsets(ids, reply) => drop(reply.send(self.offsets(&ids))),
            Command::AwaitOffsets(targets, reply) => {
                self.recency.push(crate::recency::Waiting { targets, reply })
            }
            Command::Why(id, reply) => drop(reply.send(self.why(id))),
            Command::Write { rows, reply } => {
                if let Some(e) = self.journal.full() {
                    return drop(reply.send(Err(e)));
                }
                if rows.iter().any(|(id, _)| !self.raws.contains(id)) {
                    let e = SqlError::new(code::UNDEFINED_TABLE, "the table was dropped");
                    return drop(reply.send(Err(e)));
                }
                self.write(rows);
                // A write of no rows still is one: its acknowledgement orders what comes after.
                self.pending.progress.entry(0).or_default();
                self.pending.acknowledge.push(Acknowledge::Write(reply));
            }
            Command::Subscribe(subscribe) => self.subscribe(*subscribe),
            Command::CancelSubscribe(id) => self.unsubscribe(id),
            Command::Ddl { version, changes, rows, reply } => {
                if version != self.catalog.version {
                    let _ = reply.send(Ok(false));
                    return;
                }
                if let Some(e) = self.journal.full() {
                    return drop(reply.send(Err(e)));
                }
                match self.change(changes) {
                    Ok(()) => {
                        // Rows of a table that the same transaction has dropped go with it.
                        let wrote = !rows.is_empty();
                        self.write(rows.into_iter().filter(|(id, _)| self.raws.contains(id)).collect());
                        self.publish_catalog();
                        self.pending.acknowledge.push(Acknowledge::Ddl(reply, wrote));
                    }
                    Err(e) => drop(reply.send(Err(e))),
                }
            }
            Command::DropTemporary(schema) => {
                let own = self.catalog.items.values().filter(|i| i.name.schema == schema);
                let (mut ids, tables): (Vec<_>, Vec<_>) = own.partition(|i| i.kind == sql::ItemKind::Index);
                ids.extend(tables);
                let ids = ids.into_iter().map(|i| i.id).collect();
                match self.change(vec![Ddl::Drop { ids, schema: None }]) {
                    Ok(()) => self.publish_catalog(),
                    Err(e) => tracing::warn!("temporary tables of {schema} stay until the next start: {e}"),
                }
            }
            Command::Hold(time, true) => *self.holds.entry(time).or_default() += 1,
            Command::Hold(time, false) => {
                if let Some(n) = self.holds.get_mut(&time) {
                    *n -= 1;
                    if *n == 0 {
                        self.holds.remove(&time);
                    }
                }
            }
            Command::Metrics(reply) => drop(reply.send(self.metrics())),
            Command::Shutdown(_) => unreachable!("the loop takes it"),
        }
    }

    /// Rows of tables, for the next tick.
    pub(crate) fn write(&mut self, rows: Vec<(GlobalId, RowBlock)>) {
        for (id, block) in rows {
            self.pending.bytes += block.byte_len();
            self.pending.blocks.push((id, Arc::new(block)));
        }
        self.pending.urgent = true;
    }

    /// How far a source has been read: what is durable, and what is on its way there.
    pub(crate) fn reached(&self, source: GlobalId) -> BTreeMap<i32, i64> {
        let mut reached = self.statuses.get(&source).map(|s| s.committed.clone()).unwrap_or_default();
        for acknowledge in self.undurable.values().flatten().chain(&self.pending.acknowledge) {
            if let Acknowledge::Progress(id, progress, ..) = acknowledge
                && *id == source
            {
                reached.extend(progress.iter().copied());
            }
        }
        reached
    }

    fn source_event(&mut self, id: GlobalId, epoch: u64, event: source::Event) {
        // A reader that was stopped may still have had something in the queue.
        if self.readers.get(&id).is_none_or(|(current, _)| *current != epoch) {
            if let source::Event::Batch(batch) = event {
                self.credits.release(batch.bytes);
            }
            return;
        }
        let status = self.statuses.entry(id).or_default();
        match event {
            source::Event::Batch(batch) => {
                let raw = self.catalog.sources[&id].raw;
                let GlobalId::User(number) = id else { unreachable!("sources are user objects") };
                let progress = self.pending.progress.entry(number).or_default();
                progress.extend(batch.progress.iter().chain(&batch.marks).copied());
                status.marks.extend(batch.marks);
                self.pending.bytes += batch.bytes;
                self.pending.urgent |= batch.urgent;
                self.pending.acknowledge.push(Acknowledge::Progress(
                    id,
                    batch.progress,
                    batch.block.len() as u64,
                    batch.bytes as u64,
                    batch.durable,
                ));
                if !batch.block.is_empty() {
                    self.pending.blocks.push((raw, Arc::new(batch.block)));
                }
            }
            source::Event::Known(ends) => status.known.extend(ends),
            source::Event::Gaps(gaps) => status.gaps = gaps,
            source::Event::Status(new) => {
                let name = new.state.to_string();
                if status.status != name || status.error != new.cause {
                    // A broker that comes and goes must not fill the log.
                    const A_LINE: Timestamp = 60_000;
                    let now = self.clock.now();
                    if let Some(cause) = &new.cause
                        && now >= status.logged.saturating_add(A_LINE)
                    {
                        status.logged = now;
                        let object = self.catalog.items.get(&id).map_or("", |i| &i.name.item);
                        tracing::warn!(source = object, status = name, "{cause}");
                    }
                    status.status = name;
                    status.error = new.cause;
                    status.since = self.clock.now();
                }
            }
            source::Event::Finished => {
                // It counts once all that came before it does.
                self.pending.urgent = true;
                self.pending.acknowledge.push(Acknowledge::Finished(id));
                let GlobalId::User(number) = id else { unreachable!("sources are user objects") };
                self.pending.progress.entry(number).or_default();
            }
        }
    }

    /// Storage has answered about the oldest group that it had.
    fn appended(&mut self, result: Result<(), storage::StorageError>) {
        let before = self.journal.full();
        match self.journal.answered(result, self.clock.instant()) {
            Some(Then::Tick(time)) => self.tick_durable(time),
            Some(Then::Views(uppers)) => {
                self.view_groups_out = self.view_groups_out.saturating_sub(1);
                for (id, upper) in uppers {
                    if let Some(object) = self.objects.get_mut(&id) {
                        object.stored_upper = object.stored_upper.max(upper);
                    }
                }
            }
            Some(Then::Nothing) | None => {}
        }
        self.shared.push.set_disk_full(self.journal.full().is_some());
        // Sources say why they read no further.
        let now = self.clock.now();
        for status in self.statuses.values_mut() {
            match (&before, self.journal.full()) {
                (None, Some(full)) if status.status == "running" => {
                    (status.status, status.error) = ("stalled".into(), Some(full.message));
                    status.since = now;
                }
                (Some(full), None) if status.error.as_ref() == Some(&full.message) => {
                    (status.status, status.error) = ("running".into(), None);
                    status.since = now;
                }
                _ => {}
            }
        }
    }

    fn tick_durable(&mut self, time: Timestamp) {
        fail::point("tick-durable");
        for acknowledge in self.undurable.remove(&time).unwrap_or_default() {
            match acknowledge {
                Acknowledge::Write(reply) => {
                    self.last_acknowledged = self.last_acknowledged.max(time);
                    let _ = reply.send(Ok(time));
                }
                Acknowledge::Ddl(reply, wrote) => {
                    if wrote {
                        self.last_acknowledged = self.last_acknowledged.max(time);
                    }
                    let _ = reply.send(Ok(true));
                }
                Acknowledge::Finished(id) => {
                    let now = self.clock.now();
                    if let Some(status) = self.statuses.get_mut(&id) {
                        status.status = "finished".into();
                        status.error = None;
                        status.since = now;
                    }
                }
                Acknowledge::Progress(id, progress, messages, bytes, durable) => {
                    // It was acknowledged to somebody: who reads now sees it.
                    if durable.is_some() {
                        self.last_acknowledged = self.last_acknowledged.max(time);
                    }
                    if let Some(status) = self.statuses.get_mut(&id) {
                        status.messages_received += messages;
                        status.bytes_received += bytes;
                        status.committed.extend(progress);
                    }
                    if let Some(durable) = durable {
                        durable.call();
                    }
                }
            }
        }
    }

    fn response(&mut self, response: Response) {
        match response {
            Response::Frontiers(frontiers) => {
                for (id, frontier) in frontiers {
                    self.frontier(id, frontier);
                }
            }
            Response::Peek(number, result) => {
                if let Some(answer) = self.answers.remove(&number) {
                    // The channel has room for one message and nothing was sent before.
                    let _ = answer.to.try_send(result.map_err(SqlError::from));
                    if let Some(id) = answer.dataflow {
                        self.drop_dataflow(id);
                    }
                }
            }
            Response::Changes { id, rows, errors, upto } => {
                if let Some(subscription) = self.subscriptions.get_mut(&id) {
                    return subscription.push(rows, &errors, upto);
                }
                if !self.objects.contains_key(&id) {
                    return;
                }
                let shard = shard_of(id);
                let rows = rows.into_iter().map(|(time, block)| (time, BlockKind::Rows, block));
                let errors = errors.into_iter().map(|(time, block)| (time, BlockKind::Errors, block));
                for (time, kind, block) in rows.chain(errors).filter(|(.., block)| !block.is_empty()) {
                    let update = ShardUpdate { shard, kind, block: Arc::new(block) };
                    self.view_updates.entry(time).or_default().push(update);
                }
                let upper = self.view_uppers.entry(id).or_default();
                *upper = (*upper).max(upto);
                self.frontier(id, upto);
            }
            Response::Installed { id, needs } => self.installed(id, needs),
            Response::Deadline(deadline) => self.deadline = deadline,
            Response::Dropped(_) => {}
        }
    }

    fn frontier(&mut self, id: GlobalId, frontier: Timestamp) {
        let last_tick = self.last_tick;
        if let Some(object) = self.objects.get_mut(&id) {
            object.frontier = object.frontier.max(frontier);
            object.caught_up |= object.frontier > last_tick;
        }
    }

    /// Gives back the credits of ticks that are durable and have passed all dataflows that had caught up.
    fn release_credits(&mut self) {
        let views = self.objects.values().filter(|o| o.caught_up).map(|o| o.frontier).min();
        let passed = views.unwrap_or(u64::MAX).min(self.durable().saturating_add(1));
        let mut bytes = 0;
        while let Some((_, b)) = self.in_flight.pop_front_if(|(time, _)| *time < passed) {
            bytes += b;
        }
        self.credits.release(bytes);
        self.compact();
    }

    /// Lets arrangements forget times that nobody can ask for any more. Now and then: it is a command for every worker.
    fn compact(&mut self) {
        const EVERY: u64 = 64;
        if self.ticks < self.compacted + EVERY {
            return;
        }
        self.compacted = self.ticks;
        let held = self.holds.first_key_value().map_or(u64::MAX, |(t, _)| *t);
        let readable = self.last_shown.max(self.last_acknowledged).min(self.durable());
        for (id, object) in &mut self.objects {
            // A second of history, so that a read that was sent when time moved on finds its own; more if it says so.
            let history = self.catalog.retain.get(id).map_or(1_000, |ms| (*ms).max(1_000));
            let since = object.frontier.saturating_sub(history).min(readable).min(held);
            if object.is_arranged() && since > object.since {
                object.since = since;
                self.dataflows.send(dataflow::Command::AllowCompaction { id: *id, since });
            }
        }
        // What is stored forgets the same way, all of it at once. It must not pass what a view has stored: from there the
        // view goes on after a restart.
        let stored = self.objects.values().filter(|o| matches!(o.kind, ObjectKind::View { .. }));
        let stored = stored.map(|o| o.stored_upper.saturating_sub(1));
        let installing = self.installing.values().map(|h| h.as_of);
        let waiting = self.waiting.iter().map(|w| match &w.work {
            Work::History { history, .. } => history.as_of,
            _ => w.time,
        });
        let needed = stored.chain(installing).chain(waiting).min().unwrap_or(u64::MAX);
        let needed = needed.min(self.unsent().unwrap_or(u64::MAX));
        // The longest history that anything retains: all that is stored can be read as far back.
        let history = self.catalog.retain.values().max().map_or(1_000, |ms| (*ms).max(1_000));
        let since = self.last_tick.saturating_sub(history).min(readable).min(held).min(needed);
        if since > self.stored_since {
            self.stored_since = since;
            self.pending.since = Some(since);
        }
    }

    /// From when on what is stored can be read at a time, once the tick that takes this along is durable, and how far views
    /// have come by then.
    fn stored_times(&self, since: Timestamp) -> (Vec<(ShardId, Timestamp)>, Vec<(ShardId, Timestamp)>) {
        let views = self.objects.iter().filter(|(_, o)| matches!(o.kind, ObjectKind::View { .. }));
        let uppers: Vec<_> = views.map(|(id, o)| (shard_of(*id), o.stored_upper)).collect();
        let raws = self.raws.iter().map(|id| shard_of(*id));
        let sinces = raws.chain(uppers.iter().map(|(shard, _)| *shard)).map(|shard| (shard, since));
        (sinces.collect(), uppers)
    }

    /// The arrangements that may answer for the object: its own, and those of its indexes.
    fn arrangements(&self, id: GlobalId) -> impl Iterator<Item = &Object> {
        let of = move |(object, o): (&GlobalId, &Object)| match &o.kind {
            ObjectKind::Index { on, .. } => *on == id,
            ObjectKind::View { .. } => *object == id && o.is_arranged(),
        };
        self.objects.iter().filter(move |x| of(*x)).map(|(_, o)| o)
    }

    /// All times before this are complete for the object: as it is stored, else as it is arranged.
    fn upper(&self, id: GlobalId) -> Timestamp {
        match self.objects.get(&id) {
            Some(object) if !object.is_arranged() => object.stored_upper,
            Some(object) => object.frontier,
            None if self.raws.contains(&id) => self.durable() + 1,
            None => self.arrangements(id).map(|o| o.frontier).min().unwrap_or(self.durable() + 1),
        }
    }

    /// Up to which time the stored rows of a view or table are complete.
    pub(crate) fn stored_upto(&self, id: GlobalId) -> Timestamp {
        match self.objects.get(&id) {
            Some(Object { kind: ObjectKind::View { .. }, stored_upper, .. }) => {
                stored_upper.saturating_sub(1).min(self.durable())
            }
            _ => self.durable(),
        }
    }

    /// A number for a run of a reader or sink.
    pub(crate) fn epoch(&mut self) -> u64 {
        self.next_epoch += 1;
        self.next_epoch - 1
    }

    /// The time that only goes on.
    pub(crate) fn instant(&self) -> Instant {
        self.clock.instant()
    }

    /// Whoever reads from now on sees all up to this time.
    pub(crate) fn acknowledged(&mut self, time: Timestamp) {
        self.last_acknowledged = self.last_acknowledged.max(time);
    }

    /// The wall clock, ms.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether nothing outside is talked to.
    pub(crate) fn is_offline(&self) -> bool {
        self.config.offline
    }

    /// Whether stored rows of all these are there at this time.
    fn stored(&self, needs: &[GlobalId], time: Timestamp) -> bool {
        needs.iter().all(|id| match self.objects.get(id) {
            Some(Object { kind: ObjectKind::View { .. }, stored_upper, .. }) => *stored_upper > time,
            _ => self.durable() >= time,
        })
    }

    /// Chooses the time of a read; see the module's text.
    pub(crate) fn read_time(
        &mut self,
        ids: &[GlobalId],
        as_of: Option<(Timestamp, bool)>,
        wants_now: bool,
    ) -> Result<Timestamp, SqlError> {
        if let Some((time, at_least)) = as_of {
            let since = self.least_in_history(ids);
            if !at_least && time < since {
                return Err(SqlError::new(
                    code::INVALID_PARAMETER_VALUE,
                    format!(
                        "timestamp ({time}) is not valid for all inputs: the earliest that can be read is {since}"
                    ),
                ));
            }
            if !at_least {
                return Ok(time);
            }
        }
        let complete =
            ids.iter().map(|id| self.upper(*id)).min().unwrap_or(self.durable() + 1).min(self.durable() + 1);
        let least = self.least_readable(ids);
        let mut time = complete.saturating_sub(1).max(self.last_acknowledged).max(self.last_shown).max(least);
        if wants_now && time < self.clock.now() && self.journal.full().is_none() {
            time = self.tick();
        }
        if let Some((least, _)) = as_of {
            time = time.max(least);
        }
        // A time that no tick has given yet can be named, but shown only once it has passed.
        if time <= self.last_tick {
            self.last_shown = self.last_shown.max(time);
        }
        Ok(time)
    }

    /// Sees to it that a time to come gets its tick.
    pub(crate) fn await_time(&mut self, time: Timestamp) {
        if time > self.last_tick {
            self.awaited.insert(time);
        }
    }

    /// The earliest time at which all of these can still be read.
    fn least_readable(&self, ids: &[GlobalId]) -> Timestamp {
        let arranged = ids.iter().flat_map(|id| self.arrangements(*id)).map(|o| o.since).max().unwrap_or(0);
        arranged.max(self.stored_since)
    }

    /// The earliest time at which rows of all these can be told: from storage, or where they are only in memory from there.
    fn least_in_history(&self, ids: &[GlobalId]) -> Timestamp {
        let of = |id: &GlobalId| {
            let stored = self.raws.contains(id)
                || matches!(self.objects.get(id), Some(Object { kind: ObjectKind::View { .. }, .. }));
            match stored {
                true => {
                    let since = self.storage.shard_stats(shard_of(*id)).map_or(0, |s| s.since);
                    since.max(self.stored_since)
                }
                false => self.arrangements(*id).map(|o| o.since).max().unwrap_or(0),
            }
        };
        ids.iter().map(of).max().unwrap_or(0)
    }

    /// Puts the rows of built-in relations in the place of their names.
    pub(crate) fn fill_built_in(&self, relation: &mut RelationExpr, session: &introspection::SessionInfo) {
        let frontiers = self.objects.iter().map(|(id, o)| (*id, (o.frontier, o.caught_up))).collect();
        let state = introspection::State {
            catalog: &self.catalog,
            session,
            now: self.clock.now(),
            statuses: &self.statuses,
            frontiers: &frontiers,
            stored: &|id| self.storage.shard_stats(shard_of(id)),
            push: &self.shared.push,
            sinks: &self.sink_statuses,
        };
        read::fill_built_in(relation, &state);
    }

    pub(crate) fn read(&mut self, read: Read) {
        if read.version != self.catalog.version {
            let _ = read.reply.send(Ok(None));
            return;
        }
        let Some(read) = self.put_off(read) else { return };
        let Read { number, mut relation, as_of, limit, session, reply, .. } = read;
        self.fill_built_in(&mut relation, &session);
        let ids: Vec<GlobalId> = relation.depends_on().into_iter().collect();
        let wants_now = read::wants_now(&relation);
        let time = match self.read_time(&ids, as_of, wants_now) {
            Ok(time) => time,
            Err(e) => return drop(reply.send(Err(e))),
        };
        if wants_now {
            read::replace_mz_now(&mut relation, time);
        }
        self.await_time(time);
        let (to, rows) = mpsc::channel(4);
        let notices = self.stalled(&ids);
        if reply.send(Ok(Some(Answer { time, notices, rows }))).is_err() {
            return;
        }
        match read::route(&relation, &self.objects, time) {
            read::Route::Constant(result) => drop(to.try_send(result.map_err(SqlError::from))),
            read::Route::Arranged { id, keys, mfp } => {
                self.answers.insert(number, PendingAnswer { to, dataflow: None });
                let work = Work::Peek { number, id, keys, mfp, limit };
                self.waiting.push(Waiting { needs: vec![], time, work });
            }
            read::Route::Stored { id, side, mfp } => {
                let origin = self.catalog.source_of_raw(id).map(|_| (2, 3));
                let scan = read::Scan { shard: shard_of(id), as_of: time, side, mfp, limit, origin };
                self.waiting.push(Waiting { needs: vec![id], time, work: Work::Scan { read: scan, to } });
            }
            read::Route::Dataflow => {
                let id = self.transient();
                self.answers.insert(number, PendingAnswer { to, dataflow: Some(id) });
                self.install(id, "query", relation, time, Some(time + 1), Output::Once(number));
            }
        }
        self.start_waiting();
    }

    pub(crate) fn transient(&mut self) -> GlobalId {
        self.next_transient += 1;
        GlobalId::Transient(self.next_transient)
    }

    /// Builds a dataflow and asks for the history of what it reads.
    pub(crate) fn install(
        &mut self,
        id: GlobalId,
        name: &str,
        plan: RelationExpr,
        as_of: Timestamp,
        until: Option<Timestamp>,
        output: Output,
    ) {
        self.install_from(id, name, plan, as_of, until, output, None)
    }

    /// As [`State::install`]; with `resume_after` only what came after that time is computed.
    #[allow(clippy::too_many_arguments, reason = "the parts of one description")]
    pub(crate) fn install_from(
        &mut self,
        id: GlobalId,
        name: &str,
        plan: RelationExpr,
        as_of: Timestamp,
        until: Option<Timestamp>,
        output: Output,
        resume_after: Option<Timestamp>,
    ) {
        // The dataflow gets the ticks that are sent after it; those before come with its history.
        let history = if matches!(output, Output::Once(_)) { as_of } else { as_of.max(self.last_tick) };
        let from = resume_after.map_or(0, |t| t + 1);
        self.installing.insert(id, History { from, upto: history, as_of: resume_after.unwrap_or(as_of) });
        let (name, dropped) = (name.into(), Default::default());
        let desc = DataflowDesc { id, name, plan, as_of, until, output, resume_after, dropped };
        self.dataflows.send(dataflow::Command::Install(Box::new(desc)));
    }

    /// A dataflow stands and says whose history it needs.
    fn installed(&mut self, id: GlobalId, inputs: Vec<GlobalId>) {
        let Some(history) = self.installing.remove(&id) else { return };
        for input in inputs {
            // What a view has stored itself is there as it is; of others the whole history must be.
            let needs = if input == id { vec![] } else { vec![input] };
            let work = Work::History { dataflow: id, input, history };
            self.waiting.push(Waiting { needs, time: history.upto, work });
        }
    }

    pub(crate) fn drop_dataflow(&mut self, id: GlobalId) {
        self.waiting.retain(|w| !matches!(w.work, Work::History { dataflow, .. } if dataflow == id));
        self.installing.remove(&id);
        self.dataflows.send(dataflow::Command::Drop(id));
    }

    /// Starts what has waited for stored rows that are there now.
    pub(crate) fn start_waiting(&mut self) {
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| {
                let durable = self.durable() >= w.time
                    || w.time > self.last_tick
                    || matches!(w.work, Work::History { .. });
                durable && self.stored(&w.needs, w.time)
            });
        self.waiting = waiting;
        for Waiting { time, work, .. } in ready {
            match work {
                Work::Scan { read, to } => read::start_scan(&self.storage, read, to),
                Work::Peek { number, id, keys, mfp, limit } => {
                    self.dataflows.send(dataflow::Command::Peek { peek: number, id, time, keys, mfp, limit })
                }
                Work::History { dataflow, input, history: History { from, upto, .. } } => {
                    let shard = shard_of(input);
                    let read = Arc::default();
                    if let Some(object) = self.objects.get_mut(&dataflow) {
                        let total = self.storage.shard_stats(shard).map_or(0, |s| s.updates);
                        object.hydration.push(Hydration { input, read: Arc::clone(&read), total });
                    }
                    // Which blocks it reads is decided here, before storage may forget its time.
                    match self.storage.scan(shard, from, upto) {
                        Ok(scan) => read::start_history(scan, self.dataflows.clone(), dataflow, input, read),
                        Err(e) => read::history_failed(&e),
                    }
                }
            }
        }
    }

    pub(crate) fn publish_catalog(&mut self) {
        *self.shared.catalog.write().expect("nothing panics under this lock") =
            Arc::new(self.catalog.clone());
    }

    /// Starts the reader of a source anew, after all that has come from it.
    pub(crate) fn restart_reader(&mut self, id: GlobalId) {
        self.readers.remove(&id);
        let mut reached = self.reached(id);
        reached
            .extend(self.statuses.get(&id).into_iter().flat_map(|s| s.marks.iter().map(|(k, v)| (*k, *v))));
        self.start_reader(id, reached);
    }

    /// Starts the reader of a source after what is stored of it: offsets, and marks among them.
    pub(crate) fn start_reader(&mut self, id: GlobalId, stored: BTreeMap<i32, i64>) {
        let epoch = self.epoch();
        let config = self.source_config(id);
        let status = self.statuses.entry(id).or_default();
        // Of a source that is read anew what is durable is known.
        if status.committed.is_empty() {
            let parts: (BTreeMap<i32, i64>, _) = stored.clone().into_iter().partition(|(p, _)| *p >= 0);
            (status.committed, status.marks) = parts;
        }
        status.status = "starting".into();
        status.since = self.clock.now();
        let config = match config {
            Ok(config) => config,
            Err(e) => {
                status.status = "stalled".into();
                status.error = Some(e.message);
                return;
            }
        };
        if self.config.offline {
            return;
        }
        let (credits, commands) = (self.credits.clone(), self.commands.clone());
        let emit = Box::new(move |event: source::Event, stopped: &dyn Fn() -> bool| {
            if let source::Event::Batch(batch) = &event
                && !credits.acquire(batch.bytes, stopped)
            {
                return false;
            }
            commands.send(Command::Source { id, epoch, event }).is_ok()
        });
        let handle = source::start(config, stored, emit);
        self.readers.insert(id, (epoch, handle));
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let sum = |f: fn(&SourceStatus) -> u64| self.statuses.values().map(f).sum::<u64>() as f64;
        let mut all: Vec<(String, f64)> = vec![
            ("deltamill_ticks_total".into(), self.ticks as f64),
            ("deltamill_messages_received_total".into(), sum(|s| s.messages_received)),
            ("deltamill_bytes_received_total".into(), sum(|s| s.bytes_received)),
            ("deltamill_subscriptions".into(), self.subscriptions.len() as f64),
            ("deltamill_objects".into(), self.objects.len() as f64),
            ("deltamill_disk_full".into(), f64::from(u8::from(self.journal.full().is_some()))),
            ("deltamill_last_tick_timestamp_ms".into(), self.last_tick as f64),
            ("deltamill_durable_timestamp_ms".into(), self.durable() as f64),
        ];
        if let Some(kafka) = &self.catalog.local_kafka {
            let report = (kafka.report)();
            let partitions = || report.topics.iter().flat_map(|t| &t.partitions);
            let messages: i64 = partitions().map(|p| p.end - p.start).sum();
            let lag: i64 = report.groups.iter().map(|g| report.lag(g)).sum();
            let produced: i64 = partitions().map(|p| p.end).sum();
            all.extend([
                ("deltamill_kafka_connections".into(), report.connections as f64),
                ("deltamill_kafka_topics".into(), report.topics.len() as f64),
                ("deltamill_kafka_partitions".into(), partitions().count() as f64),
                ("deltamill_kafka_offsets_given".into(), produced as f64),
                ("deltamill_kafka_messages".into(), messages as f64),
                ("deltamill_kafka_bytes".into(), partitions().map(|p| p.bytes).sum::<u64>() as f64),
                ("deltamill_kafka_groups".into(), report.groups.len() as f64),
                ("deltamill_kafka_group_lag".into(), lag as f64),
                ("deltamill_kafka_failed".into(), f64::from(u8::from(report.failed))),
            ]);
        }
        all
    }

    /// Stops readers and writes out what has come.
    fn shutdown(&mut self, queue: &Receiver<Command>) {
        self.credits.close();
        self.readers.clear();
        self.sinks.clear();
        self.shared.push.close_all();
        if !self.pending.is_empty() && self.journal.full().is_none() {
            self.tick();
        }
        let deadline = self.clock.instant() + Duration::from_secs(10);
        while (!self.undurable.is_empty() || self.view_groups_out > 0) && self.journal.full().is_none() {
            match queue.recv_deadline(deadline) {
                Ok(Command::Appended(result)) => self.appended(result),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        std::mem::take(&mut self.subscriptions).into_values().for_each(|s| s.end(shutting_down()));
        self.storage.clone().close();
    }
}

/// The number of a collection's shard is that of its identity.
pub(crate) fn shard_of(id: GlobalId) -> ShardId {
    match id {
        GlobalId::User(n) => ShardId(n),
        other => unreachable!("{other} is not stored"),
    }
}
