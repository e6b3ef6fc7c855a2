//! Reading the log at a start: what every entry means is said in `FORMAT.md`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use storage::StorageError;
use storage::segment::{Position, SegmentLog};
use uuid::Uuid;

use super::ahead::{Ahead, AheadPartition};
use super::now;
use crate::batch::{self, Header};
use crate::entry::{BATCH_AT, Entry};
use crate::settings::Settings;
use crate::state::{Committed, Indexed, NEVER, Partition, State, Topic, indexed};
use crate::transaction::{Transaction, Transactions};

/// What a log holds, and the writer that goes on with it.
pub struct Recovered {
    pub state: State,
    pub(super) topics: BTreeMap<String, Ahead>,
    pub(super) transactions: Transactions,
    pub(super) next_number: u32,
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
            let mut next = AheadPartition::at(start, end);
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
