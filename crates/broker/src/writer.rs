//! The one thread that changes anything: it gives offsets, writes the log, syncs it, and only then shows what it did.
//!
//! ```text
//!   connections ── jobs ──► take all that wait ─► check, number, append each ─► one fdatasync ─► show ─► answer all
//! ```
//!
//! While a sync runs the next jobs gather, so the more producers there are, the more of them one sync serves. Nobody reads
//! what a power cut could take back, since [`State`] changes after the sync.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use storage::StorageError;
use storage::segment::{Position, SegmentLog};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::Shared;
use crate::batch::{self, Header};
use crate::codes::{self, Code};
use crate::entry::{BATCH_AT, Entry};
use crate::settings::Settings;
use crate::state::{Committed, Indexed, Living, NEVER, Partition, State, Topic, indexed};
use crate::transaction::{Place, Transaction, Transactions};

/// How much one sync may wait for.
const GROUP_JOBS: usize = 1_024;
const GROUP_BYTES: usize = 8 << 20;
/// The batches of a producer that are remembered, to know a repeated one; a client has at most five under way.
const REMEMBERED: usize = 5;
/// The idempotent producers that are remembered for a partition.
const PRODUCERS: usize = 1_000;
/// The partitions of one topic, and of all.
pub const MAX_PARTITIONS: i32 = 1_000;
const ALL_PARTITIONS: usize = 20_000;

/// Something to do.
pub enum Job {
    /// Append checked batches; one answer each.
    Produce { batches: Vec<Produced>, reply: oneshot::Sender<Vec<Result<Placed, Code>>> },
    /// Make a topic. One that is there already is an error, with its partitions.
    Create { name: String, partitions: i32, settings: Settings, reply: oneshot::Sender<Result<Uuid, Code>> },
    /// Set what is set of a topic.
    Configure { name: String, settings: Settings, reply: oneshot::Sender<Result<(), Code>> },
    /// Begin a partition at an offset; -1: at its end. The answer is where it begins.
    Begin { topic: String, partition: i32, offset: i64, reply: oneshot::Sender<Result<i64, Code>> },
    /// Put what compaction left of batches in their place, and say that everything below `cleaned` is compacted.
    Compact {
        topic: u32,
        name: String,
        partition: i32,
        runs: Vec<Run>,
        cleaned: Option<i64>,
        reply: oneshot::Sender<Result<(), Code>>,
    },
    /// Forget how far a group has read; one answer each.
    Forget { group: String, offsets: Vec<(String, i32)>, reply: oneshot::Sender<Vec<Result<(), Code>>> },
    /// Give a transactional id to a producer, which may have had it before.
    Own {
        id: String,
        timeout_ms: i32,
        before: Option<(i64, i16)>,
        reply: oneshot::Sender<Result<(i64, i16), Code>>,
    },
    /// Something of a transaction begins.
    Begun { owner: Owner, begun: Begun, reply: oneshot::Sender<Result<(), Code>> },
    /// Say what transactional ids there are, and what is under way.
    Transactions { reply: oneshot::Sender<Vec<(String, Transaction)>> },
    /// End a transaction.
    End { owner: Owner, committed: bool, reply: oneshot::Sender<Result<(), Code>> },
    /// Let old records go, end what takes too long, and give space back.
    Tidy,
    /// Raise the number of partitions.
    Grow { name: String, partitions: i32, reply: oneshot::Sender<Result<(), Code>> },
    /// Remove a topic.
    Delete { name: String, reply: oneshot::Sender<Result<(), Code>> },
    /// Keep how far a group has read; one answer each.
    Commit {
        group: String,
        offsets: Vec<(String, i32, Committed)>,
        reply: oneshot::Sender<Vec<Result<(), Code>>>,
    },
}

/// Who says that a transactional id is its own.
pub struct Owner {
    pub id: String,
    pub producer: i64,
    pub epoch: i16,
}

/// What begins.
pub enum Begun {
    /// Records of these partitions may follow.
    Partitions(Vec<(String, i32)>),
    /// Offsets may follow.
    Group,
    /// Groups will have read so far.
    Offsets(Vec<(Place, Committed)>),
}

/// Neighbouring batches that compaction made smaller.
pub struct Run {
    /// From which offset.
    pub from: i64,
    /// To below which offset.
    pub to: i64,
    /// What is left, and from when on marks of deleted keys in it may go.
    pub batches: Vec<(Header, Bytes, i64)>,
}

/// A batch that was checked.
pub struct Produced {
    pub topic: String,
    pub partition: i32,
    pub header: Header,
    pub bytes: Bytes,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The offset of its first record.
    pub base: i64,
    /// The first offset of the partition.
    pub start: i64,
    /// The time that its records got, or -1.
    pub time: i64,
}

/// What becomes visible once it is durable.
type Change = Box<dyn FnOnce(&mut State) + Send>;
/// What is sent once it is durable, or has failed for good.
type Answer = Box<dyn FnOnce(Result<(), Code>) + Send>;

/// The writer's own view, ahead of what is visible by what is being synced.
pub struct Writer {
    shared: Arc<Shared>,
    log: Option<SegmentLog>,
    topics: BTreeMap<String, Ahead>,
    transactions: Transactions,
    next_number: u32,
    /// Bytes that are about to be shown.
    coming: u64,
    changes: Vec<Change>,
    answers: Vec<Answer>,
}

struct Ahead {
    number: u32,
    id: Uuid,
    settings: Arc<Settings>,
    partitions: Vec<AheadPartition>,
}

#[derive(Default)]
struct AheadPartition {
    start: i64,
    end: i64,
    producers: HashMap<i64, Producer>,
    used: u64,
}

#[derive(Default)]
struct Producer {
    epoch: i16,
    /// First and last number and base offset of the last batches.
    batches: VecDeque<(i32, i32, i64)>,
    used: u64,
}

impl AheadPartition {
    /// Whether an idempotent batch is the next one: a repeated one gives the offset that it got.
    fn check(&self, header: &Header) -> Result<Option<i64>, Code> {
        let Some(known) = self.producers.get(&header.producer) else { return Ok(None) };
        if header.epoch < known.epoch {
            return Err(codes::INVALID_PRODUCER_EPOCH);
        }
        if header.epoch > known.epoch {
            // A new epoch counts from 0, and what comes after its first batch must not come before it.
            return if header.sequence == 0 { Ok(None) } else { Err(codes::OUT_OF_ORDER_SEQUENCE) };
        }
        let (first, last) = (header.sequence, header.last_sequence());
        if let Some((_, _, base)) = known.batches.iter().find(|b| (b.0, b.1) == (first, last)) {
            return Ok(Some(*base));
        }
        match known.batches.back() {
            Some((_, before, _)) if before.wrapping_add(1) & i32::MAX != first => {
                Err(codes::OUT_OF_ORDER_SEQUENCE)
            }
            _ => Ok(None),
        }
    }

    /// Remembers a batch that was appended.
    fn note(&mut self, header: &Header) {
        self.end = self.end.max(header.last() + 1);
        if header.producer < 0 || header.is_control() {
            return;
        }
        self.used += 1;
        let producer = self.producers.entry(header.producer).or_default();
        if producer.epoch != header.epoch {
            *producer = Producer { epoch: header.epoch, ..Producer::default() };
        }
        producer.used = self.used;
        if producer.batches.len() == REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back((header.sequence, header.last_sequence(), header.base));
        if self.producers.len() > 2 * PRODUCERS {
            let mut used: Vec<u64> = self.producers.values().map(|p| p.used).collect();
            used.sort_unstable();
            let oldest = used[used.len() - PRODUCERS];
            self.producers.retain(|_, p| p.used >= oldest);
        }
    }
}

/// What a log holds, and the writer that goes on with it.
pub struct Recovered {
    pub state: State,
    topics: BTreeMap<String, Ahead>,
    transactions: Transactions,
    next_number: u32,
}

/// A topic's id, name, first and next offset of each partition, and settings, as its entry says.
type Named = (Uuid, String, Vec<(i64, i64)>, Settings);

/// What the log has said of a partition so far.
#[derive(Default)]
struct Found {
    batches: BTreeMap<i64, (Header, Indexed)>,
    /// Those that count once a compaction says so.
    pending: Vec<(Header, Indexed)>,
    /// The markers among the batches, and whether they say that a transaction was committed.
    markers: BTreeMap<i64, bool>,
    start: i64,
    /// Everything below was once given.
    end: i64,
    cleaned: i64,
}

impl Found {
    fn compacted(&mut self, (from, to): (i64, i64), before: Position, horizons: &[(i64, i64)]) {
        let range = |h: &Header| (from..to).contains(&h.base);
        self.batches.retain(|_, (h, b)| !range(h) || b.position >= before);
        for (header, mut batch) in self.pending.drain(..).filter(|(h, b)| range(h) && b.position >= before) {
            let horizon = horizons.iter().find(|(base, _)| *base == batch.base);
            batch.horizon = horizon.map_or(NEVER, |(_, time)| *time);
            self.batches.insert(header.base, (header, batch));
        }
        self.cleaned = self.cleaned.max(to);
        self.end = self.end.max(to);
    }
}

/// Reads a log.
pub fn recover(log: &SegmentLog) -> Result<Recovered, StorageError> {
    // Entries of a topic may stand before the entry that names it, where the log's beginning was cut off.
    let mut names: BTreeMap<u32, Named> = BTreeMap::new();
    let mut found: HashMap<(u32, i32), Found> = HashMap::new();
    let mut committed: BTreeMap<(String, u32, i32), Committed> = BTreeMap::new();
    let mut owners: BTreeMap<String, Transaction> = BTreeMap::new();
    let mut waiting: BTreeMap<(i64, String, u32, i32), Committed> = BTreeMap::new();
    let mut decided = vec![];
    let mut next_number = 1;
    for record in log.iter_prefix(BATCH_AT + batch::HEADER + batch::MARKER) {
        let mut record = record?;
        let damaged = |position: Position| StorageError::Io {
            attempt: "read",
            path: "the broker's log".into(),
            reason: format!("the entry at {} is not one that this program knows", position.0),
        };
        if !matches!(record.bytes.first(), Some(1 | 6)) && record.bytes.len() < record.len {
            record.bytes = log.read(record.position, record.len)?;
        }
        let entry = Entry::decode(&record.bytes).ok_or_else(|| damaged(record.position))?;
        next_number = next_number.max(entry.topic() + 1);
        match entry {
            Entry::Batch { topic, partition, batch } | Entry::Compacted { topic, partition, batch } => {
                let slice = batch;
                let header = Header::read(slice).ok_or_else(|| damaged(record.position))?;
                let found = found.entry((topic, partition)).or_default();
                let batch = indexed(&header, record.position, record.len - BATCH_AT);
                found.end = found.end.max(header.last() + 1);
                if header.is_control() {
                    found.markers.insert(header.base, batch::committed(slice).unwrap_or(false));
                }
                if record.bytes.first() == Some(&1) {
                    // What was moved keeps what compaction knew of it.
                    let horizon = found.batches.get(&header.base).map_or(NEVER, |(_, b)| b.horizon);
                    found.batches.insert(header.base, (header, Indexed { horizon, ..batch }));
                } else {
                    found.pending.push((header, batch));
                }
            }
            Entry::Compaction { topic, partition, from, to, before, horizons } => {
                found.entry((topic, partition)).or_default().compacted((from, to), before, &horizons);
            }
            Entry::Begin { topic, partition, offset } => {
                let found = found.entry((topic, partition)).or_default();
                found.start = found.start.max(offset);
                found.end = found.end.max(offset);
            }
            Entry::Topic { topic, id, name, partitions, settings } => {
                // A later program may know settings that this one does not.
                let settings = Settings::new(settings).unwrap_or_else(|e| {
                    tracing::warn!(
                        topic = name,
                        reason = e,
                        "a topic's settings are not known; defaults are used"
                    );
                    Settings::default()
                });
                names.insert(topic, (id, name.to_string(), partitions, settings));
            }
            Entry::Deleted { topic } => {
                names.remove(&topic);
            }
            Entry::Committed { topic, partition, group, offset, epoch, metadata } => {
                let value = Committed { offset, epoch, metadata: metadata.map(Into::into) };
                committed.insert((group.to_string(), topic, partition), value);
            }
            Entry::Forgotten { topic, partition, group } => {
                committed.remove(&(group.to_string(), topic, partition));
            }
            Entry::Owner { producer, epoch, timeout_ms, id } => {
                let recovered = true;
                let owner = Transaction { producer, epoch, timeout_ms, recovered, ..Transaction::default() };
                owners.insert(id.to_string(), owner);
            }
            Entry::Waiting { topic, partition, group, offset, epoch, metadata, producer } => {
                let value = Committed { offset, epoch, metadata: metadata.map(Into::into) };
                waiting.insert((producer, group.to_string(), topic, partition), value);
            }
            Entry::Ended { producer, epoch, committed: done, time, markers } => {
                let (ended, rest) = waiting.into_iter().partition(|((p, ..), _)| *p == producer);
                waiting = rest;
                for ((_, group, topic, partition), value) in ended {
                    if done {
                        committed.insert((group, topic, partition), value);
                    }
                }
                decided.extend(markers.into_iter().map(|place| (place, producer, epoch, done, time)));
            }
        }
    }
    // A crash may have come between a decision and its markers.
    for ((topic, partition, offset), producer, epoch, done, time) in decided {
        let found = found.entry((topic, partition)).or_default();
        if offset < found.end || offset < found.start || !names.contains_key(&topic) {
            continue;
        }
        let (header, bytes) = batch::marker(producer, epoch, done, time, offset);
        let entry = Entry::Batch { topic, partition, batch: &bytes }.encode();
        let position = log.append(&[&entry])?[0];
        log.sync()?;
        found.end = offset + 1;
        found.markers.insert(offset, done);
        found.batches.insert(offset, (header, indexed(&header, position, bytes.len())));
    }
    let (mut state, mut topics) = (State::default(), BTreeMap::new());
    for ((group, number, partition), value) in committed {
        if let Some((_, name, ..)) = names.get(&number) {
            state.committed.entry(group).or_default().insert((name.clone(), partition), value);
        }
    }
    for (number, (id, name, ends, settings)) in names {
        let (mut visible, mut ahead) = (vec![], vec![]);
        for (partition, (start, end)) in ends.into_iter().enumerate() {
            let found = found.remove(&(number, partition as i32)).unwrap_or_default();
            let (start, end) = (start.max(found.start), end.max(found.end));
            let mut place = Partition { start, end, cleaned: found.cleaned, ..Partition::default() };
            let mut next = AheadPartition { start, end, ..AheadPartition::default() };
            for (header, batch) in found.batches.into_values() {
                next.note(&header);
                match found.markers.get(&header.base) {
                    Some(committed) => place.close(header.producer, *committed, header.base),
                    None if header.is_transactional() => {
                        place.open.entry(header.producer).or_insert(header.base);
                    }
                    None => {}
                }
                if batch.last >= start {
                    place.bytes += u64::from(batch.len);
                    place.batches.push_back(batch);
                }
            }
            state.bytes += place.bytes;
            visible.push(place);
            ahead.push(next);
        }
        let settings = Arc::new(settings);
        let topic = Topic { number, id, settings: Arc::clone(&settings), partitions: visible };
        state.topics.insert(name.clone(), topic);
        topics.insert(name, Ahead { number, id, settings, partitions: ahead });
    }
    let transactions = under_way(&mut state, owners, waiting);
    Ok(Recovered { state, topics, transactions, next_number })
}

/// Brings transactions back that were under way, and gives them their time again.
fn under_way(
    state: &mut State,
    owners: BTreeMap<String, Transaction>,
    waiting: BTreeMap<(i64, String, u32, i32), Committed>,
) -> Transactions {
    let (mut transactions, now) = (Transactions::default(), now());
    for (id, owner) in owners {
        transactions.set(&id, owner);
    }
    for (name, topic) in &state.topics {
        for (i, place) in topic.partitions.iter().enumerate() {
            for producer in place.open.keys() {
                if let Some(t) = transactions.of(*producer) {
                    t.partitions.insert((name.clone(), i as i32));
                    t.begun = Some(now);
                }
            }
        }
    }
    for ((producer, group, number, partition), value) in waiting {
        let name = state.topics.iter().find(|(_, t)| t.number == number).map(|(name, _)| name.clone());
        if let (Some(name), Some(t)) = (name, transactions.of(producer)) {
            let place = (group, name, partition);
            state.waiting.insert(place.clone(), producer);
            t.offsets.insert(place, value);
            t.begun = Some(now);
        }
    }
    transactions
}

impl Recovered {
    /// Nothing yet.
    pub fn empty() -> Recovered {
        let state = State::default();
        Recovered { state, topics: BTreeMap::new(), transactions: Transactions::default(), next_number: 1 }
    }

    /// Takes the visible part out, and leaves the writer's.
    pub fn take_state(&mut self) -> State {
        std::mem::take(&mut self.state)
    }
}

impl Writer {
    /// A writer that goes on with what was recovered.
    pub fn new(shared: Arc<Shared>, recovered: Recovered) -> Writer {
        Writer {
            log: shared.log.clone(),
            shared,
            topics: recovered.topics,
            transactions: recovered.transactions,
            next_number: recovered.next_number,
            coming: 0,
            changes: vec![],
            answers: vec![],
        }
    }

    /// Works until nobody can send jobs any more.
    pub fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            let mut bytes = self.take(job);
            for _ in 1..GROUP_JOBS {
                if bytes >= GROUP_BYTES {
                    break;
                }
                let Ok(job) = jobs.try_recv() else { break };
                bytes += self.take(job);
            }
            self.finish();
        }
    }

    /// Makes durable what was appended, shows it, and answers.
    fn finish(&mut self) {
        let synced = match &self.log {
            Some(log) => log.sync().map(|_| ()),
            None => Ok(()),
        };
        let result = match synced {
            Ok(()) => {
                let mut state = self.shared.state();
                self.changes.drain(..).for_each(|change| change(&mut state));
                Ok(())
            }
            Err(e) => {
                self.fail(&e);
                self.changes.clear();
                Err(codes::STORAGE_ERROR)
            }
        };
        self.coming = 0;
        self.shared.appended.notify_waiters();
        self.answers.drain(..).for_each(|answer| answer(result));
    }

    fn fail(&self, e: &StorageError) {
        if e.is_fatal() && !self.shared.failed.swap(true, Ordering::Relaxed) {
            tracing::error!(error = %e, "the broker's log cannot be written; nothing more is accepted until a restart");
        } else if !e.is_fatal() {
            tracing::warn!(error = %e, "the broker refuses records");
        }
    }

    fn append(&self, entries: &[Vec<u8>]) -> Result<Vec<Position>, Code> {
        let Some(log) = &self.log else { return Ok(vec![Position(0); entries.len()]) };
        let slices: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        log.append(&slices).map_err(|e| {
            self.fail(&e);
            codes::STORAGE_ERROR
        })
    }

    /// Answers after the sync.
    fn answer<T: Send + 'static>(
        &mut self,
        reply: oneshot::Sender<T>,
        value: T,
        failed: impl FnOnce(&T, Code) -> T + Send + 'static,
    ) {
        // A client that has gone needs no answer.
        self.answers.push(Box::new(move |result| {
            let value = match result {
                Ok(()) => value,
                Err(code) => failed(&value, code),
            };
            let _ = reply.send(value);
        }));
    }

    /// Does a job as far as it can be done before the sync, and says how many bytes it wrote.
    fn take(&mut self, job: Job) -> usize {
        match job {
            Job::Produce { batches, reply } => {
                let bytes = batches.iter().map(|b| b.bytes.len()).sum();
                let placed: Vec<_> = batches.into_iter().map(|b| self.produce(b)).collect();
                self.answer(reply, placed, |placed, code| vec![Err(code); placed.len()]);
                return bytes;
            }
            Job::Create { name, partitions, settings, reply } => {
                let made = self.create(name, partitions, settings);
                self.answer(reply, made, |_, code| Err(code));
            }
            Job::Grow { name, partitions, reply } => {
                let grown = self.grow(name, partitions);
                self.answer(reply, grown, |_, code| Err(code));
            }
            Job::Delete { name, reply } => {
                let deleted = self.delete(name);
                self.answer(reply, deleted, |_, code| Err(code));
            }
            Job::Configure { name, settings, reply } => {
                let done = self.configure(name, settings);
                self.answer(reply, done, |_, code| Err(code));
            }
            Job::Begin { topic, partition, offset, reply } => {
                let begun = self.begin(&topic, partition, offset);
                self.answer(reply, begun, |_, code| Err(code));
            }
            Job::Compact { topic, name, partition, runs, cleaned, reply } => {
                let bytes = runs.iter().flat_map(|r| &r.batches).map(|(_, b, _)| b.len()).sum();
                let done = runs.into_iter().try_for_each(|run| self.compact(topic, &name, partition, run));
                let done = done.and_then(|()| match cleaned {
                    Some(to) => self.compact(topic, &name, partition, Run { from: to, to, batches: vec![] }),
                    None => Ok(()),
                });
                self.answer(reply, done, |_, code| Err(code));
                return bytes;
            }
            Job::Forget { group, offsets, reply } => {
                let done = offsets.into_iter().map(|(t, p)| self.forget(&group, t, p)).collect();
                self.answer(reply, done, |done: &Vec<_>, code| vec![Err(code); done.len()]);
            }
            Job::Own { id, timeout_ms, before, reply } => {
                let owned = self.own(&id, timeout_ms, before);
                self.answer(reply, owned, |_, code| Err(code));
            }
            Job::Begun { owner, begun, reply } => {
                let done = self.begun(&owner, begun);
                self.answer(reply, done, |_, code| Err(code));
            }
            Job::End { owner, committed, reply } => {
                let done = self.end(&owner, committed);
                self.answer(reply, done, |_, code| Err(code));
            }
            Job::Transactions { reply } => {
                let all = self.transactions.iter().map(|(id, t)| (id.clone(), t.clone())).collect();
                self.answer(reply, all, |all, _| all.clone());
            }
            Job::Tidy => {
                self.retain();
                self.abort_late();
                self.finish();
                self.give_back();
            }
            Job::Commit { group, offsets, reply } => {
                let done = offsets.into_iter().map(|(t, p, c)| self.commit(&group, t, p, c)).collect();
                self.answer(reply, done, |done: &Vec<_>, code| vec![Err(code); done.len()]);
            }
        }
        256
    }

    fn produce(&mut self, produced: Produced) -> Result<Placed, Code> {
        let Produced { topic, partition, mut header, bytes } = produced;
        let found = self.topics.get_mut(&topic).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let (number, append_time) = (found.number, found.settings.append_time);
        let index = usize::try_from(partition).ok().filter(|i| *i < found.partitions.len());
        let index = index.ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let place = &found.partitions[index];
        let (start, end) = (place.start, place.end);
        let transactional = header.is_transactional();
        if header.producer >= 0 {
            let place = transactional.then(|| (topic.clone(), partition));
            self.transactions.may_write(header.producer, header.epoch, place.as_ref())?;
        }
        if header.producer >= 0
            && let Some(base) = place.check(&header)?
        {
            return Ok(Placed { base, start, time: -1 });
        }
        if self.log.is_none() {
            let held = self.shared.state().bytes + self.coming;
            if held + bytes.len() as u64 > self.shared.memory_limit as u64 {
                return Err(codes::POLICY_VIOLATION);
            }
        }
        header.base = end;
        // A copy on purpose: a slice would keep the whole request in memory.
        let mut entry = Entry::Batch { topic: number, partition, batch: &bytes }.encode();
        batch::place(&mut entry[BATCH_AT..], end);
        let time = if append_time { now() } else { -1 };
        if append_time {
            batch::stamp(&mut entry[BATCH_AT..], time);
            header.max_timestamp = time;
        }
        let entries = [entry];
        let position = self.append(&entries)?[0];
        let [entry] = entries;
        let len = entry.len() - BATCH_AT;
        let held = self.log.is_none().then(|| Bytes::from(entry).slice(BATCH_AT..));
        self.coming += len as u64;
        if let Some(ahead) = self.topics.get_mut(&topic) {
            ahead.partitions[index].note(&header);
        }
        let batch = indexed(&header, position, len);
        let producer = header.producer;
        if transactional && let Some(t) = self.transactions.of(producer) {
            t.begun.get_or_insert_with(now);
            t.partitions.insert((topic.clone(), partition));
        }
        self.changes.push(Box::new(move |state| {
            state.append(&topic, partition, batch, held);
            if transactional {
                state.opened(&topic, partition, producer, end);
            }
        }));
        Ok(Placed { base: end, start, time })
    }

    fn create(&mut self, name: String, partitions: i32, settings: Settings) -> Result<Uuid, Code> {
        if self.topics.contains_key(&name) {
            return Err(codes::TOPIC_ALREADY_EXISTS);
        }
        let all: usize = self.topics.values().map(|t| t.partitions.len()).sum();
        if !(1..=MAX_PARTITIONS).contains(&partitions) || all + partitions as usize > ALL_PARTITIONS {
            return Err(codes::INVALID_PARTITIONS);
        }
        let (number, id, n) = (self.next_number, Uuid::new_v4(), partitions as usize);
        let given = settings.given().clone();
        let entry =
            Entry::Topic { topic: number, id, name: &name, partitions: vec![(0, 0); n], settings: given };
        self.append(&[entry.encode()])?;
        self.next_number += 1;
        let settings = Arc::new(settings);
        let partitions = (0..n).map(|_| AheadPartition::default()).collect();
        let ahead = Ahead { number, id, settings: Arc::clone(&settings), partitions };
        self.topics.insert(name.clone(), ahead);
        self.changes.push(Box::new(move |state| {
            let partitions = (0..n).map(|_| Partition::default()).collect();
            state.topics.insert(name, Topic { number, id, settings, partitions });
        }));
        Ok(id)
    }

    fn grow(&mut self, name: String, partitions: i32) -> Result<(), Code> {
        let found = self.topics.get(&name).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let (before, all): (usize, usize) =
            (found.partitions.len(), self.topics.values().map(|t| t.partitions.len()).sum());
        let n = usize::try_from(partitions).unwrap_or(0);
        if n <= before || partitions > MAX_PARTITIONS || all + n - before > ALL_PARTITIONS {
            return Err(codes::INVALID_PARTITIONS);
        }
        let mut entry = found.entry(&name);
        if let Entry::Topic { partitions, .. } = &mut entry {
            partitions.resize(n, (0, 0));
        }
        let entry = entry.encode();
        self.append(&[entry])?;
        if let Some(ahead) = self.topics.get_mut(&name) {
            ahead.partitions.resize_with(n, AheadPartition::default);
        }
        self.changes.push(Box::new(move |state| {
            if let Some(topic) = state.topics.get_mut(&name) {
                topic.partitions.resize_with(n, Partition::default);
            }
        }));
        Ok(())
    }

    fn delete(&mut self, name: String) -> Result<(), Code> {
        let number = self.topics.get(&name).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?.number;
        self.append(&[Entry::Deleted { topic: number }.encode()])?;
        self.topics.remove(&name);
        // What the topic held is free once it is gone from sight.
        self.changes.push(Box::new(move |state| state.remove(&name)));
        self.finish();
        self.give_back();
        Ok(())
    }

    fn configure(&mut self, name: String, settings: Settings) -> Result<(), Code> {
        let found = self.topics.get_mut(&name).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let before = std::mem::replace(&mut found.settings, Arc::new(settings));
        let (entry, settings) = (found.entry(&name).encode(), Arc::clone(&found.settings));
        if let Err(code) = self.append(&[entry]) {
            if let Some(found) = self.topics.get_mut(&name) {
                found.settings = before;
            }
            return Err(code);
        }
        self.changes.push(Box::new(move |state| {
            if let Some(topic) = state.topics.get_mut(&name) {
                topic.settings = settings;
            }
        }));
        Ok(())
    }

    fn place(&mut self, topic: &str, partition: i32) -> Result<(u32, &mut AheadPartition), Code> {
        let found = self.topics.get_mut(topic).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let number = found.number;
        let place = usize::try_from(partition).ok().and_then(|i| found.partitions.get_mut(i));
        Ok((number, place.ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?))
    }

    fn begin(&mut self, name: &str, partition: i32, offset: i64) -> Result<i64, Code> {
        let (topic, place) = self.place(name, partition)?;
        let (start, offset) = (place.start, if offset == -1 { place.end } else { offset });
        if !(0..=place.end).contains(&offset) {
            return Err(codes::OFFSET_OUT_OF_RANGE);
        }
        if offset <= start {
            return Ok(start);
        }
        self.append(&[Entry::Begin { topic, partition, offset }.encode()])?;
        self.place(name, partition)?.1.start = offset;
        let name = name.to_string();
        self.changes.push(Box::new(move |state| state.begin(&name, partition, offset)));
        Ok(offset)
    }

    fn compact(&mut self, number: u32, name: &str, partition: i32, run: Run) -> Result<(), Code> {
        // The topic may have been deleted meanwhile, or another have its name.
        if self.place(name, partition)?.0 != number {
            return Err(codes::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let Run { from, to, batches } = run;
        let before = self.log.as_ref().map_or(Position(0), SegmentLog::end);
        let entry = |bytes| Entry::Compacted { topic: number, partition, batch: bytes }.encode();
        let entries: Vec<_> = batches.iter().map(|(_, bytes, _)| entry(bytes)).collect();
        let positions = self.append(&entries)?;
        let horizons = batches.iter().map(|(h, _, time)| (h.base, *time)).filter(|h| h.1 != NEVER).collect();
        let entry = Entry::Compaction { topic: number, partition, from, to, before, horizons };
        self.append(&[entry.encode()])?;
        let left = batches.iter().zip(positions).map(|((header, bytes, horizon), position)| Indexed {
            horizon: *horizon,
            ..indexed(header, position, bytes.len())
        });
        let (name, left) = (name.to_string(), left.collect());
        let held = match self.log {
            None => batches.into_iter().map(|(_, bytes, _)| bytes).collect(),
            Some(_) => vec![],
        };
        self.changes.push(Box::new(move |state| state.replace(&name, partition, (from, to), left, held)));
        Ok(())
    }

    fn forget(&mut self, group: &str, topic: String, partition: i32) -> Result<(), Code> {
        let (number, _) = self.place(&topic, partition)?;
        self.append(&[Entry::Forgotten { topic: number, partition, group }.encode()])?;
        let group = group.to_string();
        self.changes.push(Box::new(move |state| {
            if let Some(committed) = state.committed.get_mut(&group) {
                committed.remove(&(topic, partition));
                if committed.is_empty() {
                    state.committed.remove(&group);
                }
            }
        }));
        Ok(())
    }

    fn own(&mut self, id: &str, timeout_ms: i32, before: Option<(i64, i16)>) -> Result<(i64, i16), Code> {
        if !self.transactions.has_room_for(id) {
            return Err(codes::POLICY_VIOLATION);
        }
        let found = self.transactions.get(id);
        let known = found.map(|t| (t.producer, t.epoch));
        // A producer that goes on after an error names itself; one that was fenced off meanwhile is told so.
        if let (Some(known), Some(_)) = (known, before)
            && Some(known) != before
        {
            // It asked before, and the answer was lost. Who was fenced off by another also has the epoch before.
            let again = found.is_some_and(|t| t.before == before);
            return if again { Ok(known) } else { Err(codes::PRODUCER_FENCED) };
        }
        let (producer, epoch) = match known {
            Some((producer, epoch)) if epoch < i16::MAX - 1 => (producer, epoch + 1),
            _ => (self.shared.next_producer.fetch_add(1, Ordering::Relaxed), 0),
        };
        // One write: what was under way is not aborted without its producer being fenced off.
        self.finish_transaction(id, false, Some(Entry::Owner { producer, epoch, timeout_ms, id }))?;
        let owner = Transaction { producer, epoch, timeout_ms, before, ..Transaction::default() };
        self.transactions.set(id, owner);
        Ok((producer, epoch))
    }

    fn begun(&mut self, owner: &Owner, begun: Begun) -> Result<(), Code> {
        let transaction = self.transactions.owned(&owner.id, owner.producer, owner.epoch)?;
        let offsets = match begun {
            Begun::Partitions(partitions) => {
                transaction.added.extend(partitions);
                vec![]
            }
            Begun::Group => vec![],
            // They come late: the transaction that they belong to has ended.
            Begun::Offsets(_) if transaction.begun.is_none() && !transaction.recovered => {
                return Err(codes::INVALID_TXN_STATE);
            }
            Begun::Offsets(offsets) => offsets,
        };
        let mut entries = vec![];
        for ((group, topic, partition), c) in &offsets {
            let (number, _) = self.place(topic, *partition)?;
            let metadata = c.metadata.as_deref();
            let (partition, offset, epoch, producer) = (*partition, c.offset, c.epoch, owner.producer);
            entries.push(
                Entry::Waiting { topic: number, partition, group, offset, epoch, metadata, producer }
                    .encode(),
            );
        }
        if !entries.is_empty() {
            self.append(&entries)?;
        }
        let transaction = self.transactions.owned(&owner.id, owner.producer, owner.epoch)?;
        transaction.begun.get_or_insert_with(now);
        for (place, value) in offsets {
            let (producer, shown) = (owner.producer, place.clone());
            transaction.offsets.insert(place, value);
            self.changes.push(Box::new(move |state| {
                state.waiting.insert(shown, producer);
            }));
        }
        Ok(())
    }

    fn end(&mut self, owner: &Owner, committed: bool) -> Result<(), Code> {
        let transaction = self.transactions.owned(&owner.id, owner.producer, owner.epoch)?;
        if transaction.begun.is_none() {
            // It was asked before, and the answer was lost.
            transaction.recovered = false;
            let same = transaction.last.is_none_or(|last| last == committed);
            return if same { Ok(()) } else { Err(codes::INVALID_TXN_STATE) };
        }
        self.finish_transaction(&owner.id, committed, None)
    }

    /// Decides, writes the markers and one more entry, and commits the offsets that waited.
    fn finish_transaction(&mut self, id: &str, committed: bool, and: Option<Entry<'_>>) -> Result<(), Code> {
        let transaction = self.transactions.get(id).cloned().unwrap_or_default();
        let (producer, epoch, time) = (transaction.producer, transaction.epoch, now());
        let and = and.map(|entry| entry.encode());
        if transaction.is_empty() {
            self.append(&Vec::from_iter(and))?;
        } else {
            // Topics that were deleted meanwhile need no marker.
            let places: Vec<_> = transaction
                .partitions
                .iter()
                .filter_map(|(name, partition)| {
                    let (number, place) = self.place(name, *partition).ok()?;
                    Some((name.clone(), number, *partition, place.end))
                })
                .collect();
            let markers =
                places.iter().map(|(_, number, partition, end)| (*number, *partition, *end)).collect();
            let mut entries = vec![Entry::Ended { producer, epoch, committed, time, markers }.encode()];
            let mut batches = vec![];
            for (_, number, partition, end) in &places {
                let (header, bytes) = batch::marker(producer, epoch, committed, time, *end);
                entries.push(Entry::Batch { topic: *number, partition: *partition, batch: &bytes }.encode());
                batches.push((header, bytes));
            }
            entries.extend(and);
            // One write: all of it, or nothing.
            let positions = self.append(&entries)?;
            for (((name, _, partition, end), (header, bytes)), position) in
                places.into_iter().zip(batches).zip(positions.into_iter().skip(1))
            {
                if let Ok((_, place)) = self.place(&name, partition) {
                    place.note(&header);
                }
                self.coming += bytes.len() as u64;
                let batch = indexed(&header, position, bytes.len());
                let held = self.log.is_none().then_some(bytes);
                self.changes.push(Box::new(move |state| {
                    state.append(&name, partition, batch, held);
                    state.closed(&name, partition, producer, committed, end);
                }));
            }
            self.changes.push(Box::new(move |state| {
                for (place, value) in transaction.offsets {
                    state.waiting.remove(&place);
                    let (group, topic, partition) = place;
                    if committed && state.topics.contains_key(&topic) {
                        state.committed.entry(group).or_default().insert((topic, partition), value);
                    }
                }
            }));
        }
        if let Some(transaction) = self.transactions.get_mut(id) {
            transaction.ended(committed);
        }
        Ok(())
    }

    /// Aborts what takes too long, and fences its producer off.
    fn abort_late(&mut self) {
        for id in self.transactions.late(now()) {
            let Some(timeout_ms) = self.transactions.get(&id).map(|t| t.timeout_ms) else { continue };
            tracing::warn!(id, timeout_ms, "a transaction took too long and is aborted");
            if let Err(code) = self.own(&id, timeout_ms, None) {
                tracing::warn!(id, code, "a transaction could not be aborted");
            }
        }
    }

    /// Lets records go that are older, or more, than their topic keeps.
    fn retain(&mut self) {
        let now = now();
        let mut begins = vec![];
        {
            let state = self.shared.state();
            for (name, topic) in state.topics.iter().filter(|(_, t)| t.settings.delete) {
                let (age, bytes) = (topic.settings.retention_ms, topic.settings.retention_bytes);
                for (i, place) in topic.partitions.iter().enumerate() {
                    let old = |b: &&Indexed| age >= 0 && b.max_timestamp < now - age;
                    let mut begin = place.batches.iter().take_while(old).last().map(|b| b.last + 1);
                    // As many as can go while what is kept is still enough.
                    let mut left = place.bytes;
                    for batch in place.batches.iter().take_while(|_| bytes >= 0) {
                        left -= u64::from(batch.len);
                        if left < bytes as u64 {
                            break;
                        }
                        begin = begin.max(Some(batch.last + 1));
                    }
                    begins.extend(begin.map(|offset| (name.clone(), i as i32, offset)));
                }
            }
        }
        for (topic, partition, offset) in begins {
            if let Err(code) = self.begin(&topic, partition, offset) {
                tracing::warn!(topic, partition, code, "old records could not be let go");
            }
        }
    }

    fn commit(&mut self, group: &str, topic: String, partition: i32, value: Committed) -> Result<(), Code> {
        let found = self.topics.get(&topic).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        if usize::try_from(partition).ok().is_none_or(|p| p >= found.partitions.len()) {
            return Err(codes::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let entry = Entry::Committed {
            topic: found.number,
            partition,
            group,
            offset: value.offset,
            epoch: value.epoch,
            metadata: value.metadata.as_deref(),
        };
        self.append(&[entry.encode()])?;
        let group = group.to_string();
        self.changes.push(Box::new(move |state| {
            state.committed.entry(group).or_default().insert((topic, partition), value);
        }));
        Ok(())
    }

    /// Gives back the files at the log's beginning that hold no record of any topic. What they say about topics and groups
    /// is written again first; and where most of the log is dead, what lives in its first file is moved to its end.
    fn give_back(&mut self) {
        let Some(log) = self.log.clone() else { return };
        let mut moved = 0;
        loop {
            let Some(file_end) = log.first_file_end() else { return };
            let live = self.shared.state().living(file_end);
            if !live.is_empty() {
                let (kept, all) = (self.shared.state().bytes, log.bytes());
                let bytes: usize = live.iter().map(|(.., len)| len).sum();
                if all < MIN_DEAD + 2 * kept || moved + bytes > MAX_MOVED && moved > 0 {
                    return;
                }
                moved += bytes;
                if let Err(code) = self.move_to_end(&log, live) {
                    tracing::warn!(code, "the broker's log cannot be tidied");
                    return;
                }
            }
            let entries = self.standing_entries();
            let done = self
                .append(&entries)
                .and_then(|_| log.sync().map_err(|_| codes::STORAGE_ERROR))
                .and_then(|_| log.remove_before(file_end).map_err(|_| codes::STORAGE_ERROR));
            match done {
                Ok(bytes) => tracing::debug!(bytes, "space of records that are gone was given back"),
                Err(code) => {
                    tracing::warn!(code, "space of records that are gone could not be given back");
                    return;
                }
            }
        }
    }

    /// What the log's beginning says beside records, as it is now. Deleted topics need no word: their files go oldest first.
    fn standing_entries(&self) -> Vec<Vec<u8>> {
        let state = self.shared.state();
        let topics = state.topics.iter().map(|(name, topic)| {
            let partitions = topic.partitions.iter().map(|p| (p.start, p.end)).collect();
            let settings = topic.settings.given().clone();
            Entry::Topic { topic: topic.number, id: topic.id, name, partitions, settings }.encode()
        });
        let committed = state.committed.iter().flat_map(|(group, offsets)| {
            let state = &state;
            offsets.iter().filter_map(move |((topic, partition), c)| {
                let topic = state.topics.get(topic)?.number;
                let metadata = c.metadata.as_deref();
                let (partition, offset, epoch) = (*partition, c.offset, c.epoch);
                Some(Entry::Committed { topic, partition, group, offset, epoch, metadata }.encode())
            })
        });
        let names = |topic: &str| state.topics.get(topic).map(|t| t.number);
        let transactions = self.transactions.iter().flat_map(|(id, t)| {
            let (producer, epoch, timeout_ms) = (t.producer, t.epoch, t.timeout_ms);
            let owner = Entry::Owner { producer, epoch, timeout_ms, id }.encode();
            let waiting = t.offsets.iter().filter_map(move |((group, topic, partition), c)| {
                let (partition, offset, epoch) = (*partition, c.offset, c.epoch);
                let (topic, metadata) = (names(topic)?, c.metadata.as_deref());
                Some(Entry::Waiting { topic, partition, group, offset, epoch, metadata, producer }.encode())
            });
            std::iter::once(owner).chain(waiting)
        });
        topics.chain(committed).chain(transactions).collect()
    }

    /// Writes batches again, as they are, and lets readers read them there.
    fn move_to_end(&mut self, log: &SegmentLog, live: Vec<Living>) -> Result<(), Code> {
        for (topic, partition, base, position, len) in live {
            let mut entry = log.read(position, len + BATCH_AT).map_err(|e| {
                tracing::error!(error = %e, "a stored batch cannot be read");
                codes::STORAGE_ERROR
            })?;
            // What compaction left counts by itself now.
            entry[0] = 1;
            let position = self.append(&[entry])?[0];
            self.changes.push(Box::new(move |state| state.moved(&topic, partition, base, position)));
        }
        self.finish();
        match self.shared.failed.load(Ordering::Relaxed) {
            true => Err(codes::STORAGE_ERROR),
            false => Ok(()),
        }
    }
}

impl Ahead {
    /// What the log says of the topic.
    fn entry<'a>(&self, name: &'a str) -> Entry<'a> {
        let partitions = self.partitions.iter().map(|p| (p.start, p.end)).collect();
        let settings = self.settings.given().clone();
        Entry::Topic { topic: self.number, id: self.id, name, partitions, settings }
    }
}

/// The broker's clock: Kafka's records carry the time of day.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// How much of the log may be dead before anything is moved.
const MIN_DEAD: u64 = 128 << 20;
/// How much is moved at a time: producers wait meanwhile.
const MAX_MOVED: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: i32, records: i32, epoch: i16, base: i64) -> Header {
        let last_delta = records - 1;
        Header {
            base,
            last_delta,
            attributes: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            producer: 9,
            epoch,
            sequence,
            records,
        }
    }

    #[test]
    fn a_repeated_batch_gets_the_offset_that_it_had() {
        let mut place = AheadPartition::default();
        for i in 0..7 {
            let h = header(10 * i, 10, 0, 100 + 10 * i64::from(i));
            assert_eq!(place.check(&h), Ok(None));
            place.note(&h);
        }
        assert_eq!(place.check(&header(60, 10, 0, 0)), Ok(Some(160)));
        assert_eq!(place.check(&header(20, 10, 0, 0)), Ok(Some(120)));
        // Longer ago than a client may have under way: it is out of order, and not appended again.
        assert_eq!(place.check(&header(10, 10, 0, 0)), Err(codes::OUT_OF_ORDER_SEQUENCE));
        assert_eq!(place.check(&header(80, 10, 0, 0)), Err(codes::OUT_OF_ORDER_SEQUENCE));
        assert_eq!(place.check(&header(70, 10, 0, 0)), Ok(None));
        // A new epoch begins anew, and the old one is over.
        assert_eq!(place.check(&header(0, 1, 1, 0)), Ok(None));
        assert_eq!(place.check(&header(1, 1, 1, 0)), Err(codes::OUT_OF_ORDER_SEQUENCE));
        place.note(&header(0, 1, 1, 170));
        assert_eq!(place.check(&header(70, 10, 0, 0)), Err(codes::INVALID_PRODUCER_EPOCH));
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut place = AheadPartition::default();
        place.note(&header(i32::MAX - 1, 3, 0, 0));
        assert_eq!(place.check(&header(1, 5, 0, 0)), Ok(None));
        assert_eq!(place.check(&header(0, 5, 0, 0)), Err(codes::OUT_OF_ORDER_SEQUENCE));
    }

    #[test]
    fn producers_are_forgotten_oldest_first() {
        let mut place = AheadPartition::default();
        for id in 0..5_000 {
            place.note(&Header { producer: id, ..header(0, 1, 0, id) });
        }
        assert!(place.producers.len() <= 2 * PRODUCERS);
        assert_eq!(place.check(&Header { producer: 4_999, ..header(0, 1, 0, 0) }), Ok(Some(4_999)));
    }

    /// The decision stands in the log before its markers. Wherever a crash cuts the log: it holds in all partitions or none.
    #[test]
    fn a_decision_holds_though_a_crash_cut_off_its_markers() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads");
        let dir = tempfile::tempdir().expect("a directory");
        let config = crate::BrokerConfig { dir: Some(dir.path().into()), ..crate::BrokerConfig::default() };
        let broker = runtime.block_on(crate::Broker::start(config)).expect("a free port");
        let shared = Arc::clone(&broker.shared);
        runtime.block_on(async {
            let (reply, done) = oneshot::channel();
            let settings = Settings::default();
            shared.job(Job::Create { name: "t".into(), partitions: 3, settings, reply }).await;
            done.await.expect("an answer").expect("made");
            let (reply, done) = oneshot::channel();
            shared.job(Job::Own { id: "x".into(), timeout_ms: 60_000, before: None, reply }).await;
            let (producer, epoch) = done.await.expect("an answer").expect("given");
            let begin = async |begun| {
                let (reply, done) = oneshot::channel();
                let owner = Owner { id: "x".into(), producer, epoch };
                shared.job(Job::Begun { owner, begun, reply }).await;
                done.await.expect("an answer").expect("it is begun");
            };
            for (round, committed) in [(0, true), (1, false)] {
                begin(Begun::Partitions((0..3).map(|p| ("t".into(), p)).collect())).await;
                let batches = (0..3).map(|partition| {
                    let mut bytes = batch::tests::batch(&[(1, b"v")], producer, round);
                    batch::tests::make_transactional(&mut bytes);
                    let header = Header::check(&bytes).expect("sound");
                    Produced { topic: "t".into(), partition, header, bytes: bytes.into() }
                });
                let (reply, done) = oneshot::channel();
                shared.job(Job::Produce { batches: batches.collect(), reply }).await;
                done.await.expect("an answer").into_iter().for_each(|r| assert!(r.is_ok(), "{r:?}"));
                let place = ("g".to_string(), "t".to_string(), 0);
                let value = Committed { offset: i64::from(round), epoch: -1, metadata: None };
                begin(Begun::Offsets(vec![(place, value)])).await;
                let (reply, done) = oneshot::channel();
                let owner = Owner { id: "x".into(), producer, epoch };
                shared.job(Job::End { owner, committed, reply }).await;
                done.await.expect("an answer").expect("ended");
            }
        });
        drop(shared);
        runtime.block_on(broker.shutdown());
        let open = |dir: &std::path::Path| {
            let options = storage::segment::SegmentOptions::default();
            SegmentLog::open(Arc::new(storage::RealFs), dir, options).expect("a log").0
        };
        let mut files = std::fs::read_dir(dir.path()).expect("there").map(|f| f.expect("a file").path());
        let file = files.find(|p| p.extension().is_some_and(|e| e == "segment")).expect("one");
        let bytes = std::fs::read(&file).expect("read");
        let log = open(dir.path());
        let mut ends: Vec<_> = log.iter().map(|r| r.expect("sound").position.0).skip(1).collect();
        ends.push(log.end().0);
        let mut decisions = vec![];
        for (record, end) in log.iter().map(|r| r.expect("sound")).zip(ends) {
            if let Entry::Ended { committed, markers, .. } = Entry::decode(&record.bytes).expect("an entry") {
                assert_eq!(markers.len(), 3);
                decisions.push(committed);
            }
            let cut = tempfile::tempdir().expect("a directory");
            let copy = cut.path().join(file.file_name().expect("named"));
            std::fs::write(copy, &bytes[..end as usize]).expect("written");
            let cut = open(cut.path());
            // Twice: what recovery writes is found by the next.
            for _ in 0..2 {
                let mut recovered = recover(&cut).expect("recovered");
                let under_way = recovered.transactions.get("x").is_some_and(|t| t.begun.is_some());
                let state = recovered.take_state();
                let Some(topic) = state.topics.get("t") else { continue };
                let open = topic.partitions.iter().any(|p| !p.open.is_empty()) || !state.waiting.is_empty();
                assert_eq!(open, under_way, "cut at {end}");
                for place in &topic.partitions {
                    let markers =
                        place.batches.iter().filter(|b| b.len as usize == batch::HEADER + batch::MARKER);
                    assert_eq!(markers.count(), decisions.len(), "cut at {end}");
                    assert_eq!(place.aborted.len(), decisions.iter().filter(|c| !**c).count());
                }
                let kept = state.committed.get("g").map(|c| c.values().map(|c| c.offset).collect::<Vec<_>>());
                assert_eq!(kept, (!decisions.is_empty()).then(|| vec![0]), "cut at {end}");
            }
        }
        assert_eq!(decisions, [true, false]);
    }
}
