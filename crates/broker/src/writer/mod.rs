//! The one thread that changes anything: it gives offsets, writes the log, syncs it, and only then shows what it did.
//!
//! ```text
//!   connections ── jobs ──► take all that wait ─► check, number, append each ─► one fdatasync ─► show ─► answer all
//! ```
//!
//! While a sync runs the next jobs gather, so the more producers there are, the more of them one sync serves. Nobody reads
//! what a power cut could take back, since [`State`] changes after the sync.
//!
//! | module | is the only home of |
//! |---|---|
//! | [`ahead`] | the next offsets, and which batches of idempotent producers were seen |
//! | [`ending`] | transactions: who gets an id, what begins, the decision and its markers |
//! | [`space`] | letting records go, giving space back |
//! | [`recover`](mod@recover) | reading the log at a start |

mod ahead;
mod ending;
mod recover;
mod space;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use storage::StorageError;
use storage::segment::{Position, SegmentLog};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use self::ahead::{Ahead, AheadPartition};
pub use self::recover::{Recovered, recover};
use crate::Shared;
use crate::batch::{self, Header};
use crate::codes::{self, Code};
use crate::entry::{BATCH_AT, Entry};
use crate::settings::Settings;
use crate::state::{Committed, Indexed, NEVER, Partition, State, Topic, indexed};
use crate::transaction::{Place, Transaction, Transactions};

/// How much one sync may wait for.
const GROUP_JOBS: usize = 1_024;
const GROUP_BYTES: usize = 8 << 20;
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
}

/// The broker's clock: Kafka's records carry the time of day.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
