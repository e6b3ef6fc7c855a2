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
use crate::state::{Committed, Indexed, Partition, State, Topic, indexed};

/// How much one sync may wait for.
const GROUP_JOBS: usize = 1_024;
const GROUP_BYTES: usize = 64 << 20;
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
    Create { name: String, partitions: i32, reply: oneshot::Sender<Result<Uuid, Code>> },
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
    next_number: u32,
    /// Bytes in memory, where there is no log.
    held: usize,
    changes: Vec<Change>,
    answers: Vec<Answer>,
}

struct Ahead {
    number: u32,
    id: Uuid,
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
            return Ok(None);
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
        if header.producer < 0 {
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
    next_number: u32,
}

/// A topic's id, name, and first and next offset of each partition, as its entry says.
type Named = (Uuid, String, Vec<(i64, i64)>);
/// The batches of a partition.
type Found = Vec<(Header, Position, usize)>;

/// Reads a log.
pub fn recover(log: &SegmentLog) -> Result<Recovered, StorageError> {
    // Entries of a topic may stand before the entry that names it, where the log's beginning was cut off.
    let mut names: BTreeMap<u32, Named> = BTreeMap::new();
    let mut batches: HashMap<(u32, i32), Found> = HashMap::new();
    let mut committed: BTreeMap<(String, u32, i32), Committed> = BTreeMap::new();
    let mut next_number = 1;
    for record in log.iter_prefix(BATCH_AT + batch::HEADER) {
        let mut record = record?;
        let damaged = |position: Position| StorageError::Io {
            attempt: "read",
            path: "the broker's log".into(),
            reason: format!("the entry at {} is not one that this program knows", position.0),
        };
        if record.bytes.first() != Some(&1) && record.bytes.len() < record.len {
            record.bytes = log.read(record.position, record.len)?;
        }
        match Entry::decode(&record.bytes).ok_or_else(|| damaged(record.position))? {
            Entry::Batch { topic, partition, batch } => {
                let header = Header::read(batch).ok_or_else(|| damaged(record.position))?;
                batches.entry((topic, partition)).or_default().push((
                    header,
                    record.position,
                    record.len - BATCH_AT,
                ));
                next_number = next_number.max(topic + 1);
            }
            Entry::Topic { topic, id, name, partitions } => {
                names.insert(topic, (id, name.to_string(), partitions));
                next_number = next_number.max(topic + 1);
            }
            Entry::Deleted { topic } => {
                names.remove(&topic);
                next_number = next_number.max(topic + 1);
            }
            Entry::Committed { topic, partition, group, offset, epoch, metadata } => {
                let value = Committed { offset, epoch, metadata: metadata.map(Into::into) };
                committed.insert((group.to_string(), topic, partition), value);
            }
        }
    }
    let (mut state, mut topics) = (State::default(), BTreeMap::new());
    for ((group, number, partition), value) in committed {
        if let Some((_, name, _)) = names.get(&number) {
            state.committed.entry(group).or_default().insert((name.clone(), partition), value);
        }
    }
    for (number, (id, name, ends)) in names {
        let (mut visible, mut ahead) = (vec![], vec![]);
        for (partition, (start, end)) in ends.into_iter().enumerate() {
            let mut place = Partition { start, end, ..Partition::default() };
            let mut next = AheadPartition { start, end, ..AheadPartition::default() };
            for (header, position, len) in batches.remove(&(number, partition as i32)).unwrap_or_default() {
                next.note(&header);
                if header.last() >= start {
                    place.batches.push_back(indexed(&header, position, len, None));
                    place.end = place.end.max(header.last() + 1);
                }
            }
            visible.push(place);
            ahead.push(next);
        }
        state.topics.insert(name.clone(), Topic { number, id, partitions: visible });
        topics.insert(name, Ahead { number, id, partitions: ahead });
    }
    Ok(Recovered { state, topics, next_number })
}

impl Recovered {
    /// Nothing yet.
    pub fn empty() -> Recovered {
        let mut state = State::default();
        state.in_memory = true;
        Recovered { state, topics: BTreeMap::new(), next_number: 1 }
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
            next_number: recovered.next_number,
            held: 0,
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
            Job::Create { name, partitions, reply } => {
                let made = self.create(name, partitions);
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
        let number = found.number;
        let index = usize::try_from(partition).ok().filter(|i| *i < found.partitions.len());
        let index = index.ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let place = &found.partitions[index];
        let (start, end) = (place.start, place.end);
        if header.producer >= 0
            && let Some(base) = place.check(&header)?
        {
            return Ok(Placed { base, start });
        }
        if self.log.is_none() && self.held + bytes.len() > self.shared.memory_limit {
            return Err(codes::POLICY_VIOLATION);
        }
        header.base = end;
        // A copy on purpose: a slice would keep the whole request in memory.
        let mut entry = Entry::Batch { topic: number, partition, batch: &bytes }.encode();
        batch::place(&mut entry[BATCH_AT..], end);
        let entries = [entry];
        let position = self.append(&entries)?[0];
        let [entry] = entries;
        let stored = Bytes::from(entry).slice(BATCH_AT..);
        self.held += if self.log.is_none() { stored.len() } else { 0 };
        if let Some(ahead) = self.topics.get_mut(&topic) {
            ahead.partitions[index].note(&header);
        }
        let batch: Indexed = indexed(&header, position, stored.len(), Some(stored));
        self.changes.push(Box::new(move |state| state.append(&topic, partition, batch)));
        Ok(Placed { base: end, start })
    }

    fn create(&mut self, name: String, partitions: i32) -> Result<Uuid, Code> {
        if self.topics.contains_key(&name) {
            return Err(codes::TOPIC_ALREADY_EXISTS);
        }
        let all: usize = self.topics.values().map(|t| t.partitions.len()).sum();
        if !(1..=MAX_PARTITIONS).contains(&partitions) || all + partitions as usize > ALL_PARTITIONS {
            return Err(codes::INVALID_PARTITIONS);
        }
        let (number, id, n) = (self.next_number, Uuid::new_v4(), partitions as usize);
        let entry = Entry::Topic { topic: number, id, name: &name, partitions: vec![(0, 0); n] };
        self.append(&[entry.encode()])?;
        self.next_number += 1;
        let ahead = Ahead { number, id, partitions: (0..n).map(|_| AheadPartition::default()).collect() };
        self.topics.insert(name.clone(), ahead);
        self.changes.push(Box::new(move |state| {
            let partitions = (0..n).map(|_| Partition::default()).collect();
            state.topics.insert(name, Topic { number, id, partitions });
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
        let mut ends: Vec<_> = found.partitions.iter().map(|p| (p.start, p.end)).collect();
        ends.resize(n, (0, 0));
        let entry = Entry::Topic { topic: found.number, id: found.id, name: &name, partitions: ends };
        self.append(&[entry.encode()])?;
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
        // What the topic held in memory is free once it is gone from sight.
        let shared = Arc::clone(&self.shared);
        self.finish();
        let freed = shared.state().remove(&name);
        self.held = self.held.saturating_sub(freed);
        self.trim();
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

    /// Gives back the files at the log's beginning that hold no record of any topic. What they say about topics and groups
    /// is written again first.
    fn trim(&mut self) {
        let Some(log) = self.log.clone() else { return };
        let shared = Arc::clone(&self.shared);
        let (first, entries) = {
            let state = shared.state();
            let batches = state.topics.values().flat_map(|t| &t.partitions).flat_map(|p| p.batches.front());
            let first = batches.map(|b| b.position).min().unwrap_or(log.end());
            if first.0.saturating_sub(log.start().0) < MIN_TRIM {
                return;
            }
            let topics = state.topics.iter().map(|(name, topic)| {
                let partitions = topic.partitions.iter().map(|p| (p.start, p.end)).collect();
                Entry::Topic { topic: topic.number, id: topic.id, name, partitions }.encode()
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
            (first, topics.chain(committed).collect::<Vec<_>>())
        };
        // Deleted topics need no word once their batches are gone, but batches of theirs may stand behind `first`: without
        // a topic entry nobody misses them.
        let end = log.end();
        let trimmed = self
            .append(&entries)
            .and_then(|_| log.sync().map_err(|_| codes::STORAGE_ERROR))
            .and_then(|_| log.remove_before(first.min(end)).map_err(|_| codes::STORAGE_ERROR));
        match trimmed {
            Ok(bytes) => tracing::debug!(bytes, "space of deleted topics was given back"),
            Err(code) => tracing::warn!(code, "space of deleted topics could not be given back"),
        }
    }
}

/// Less is not worth writing the topics again.
const MIN_TRIM: u64 = 16 << 20;

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
}
