//! What clients can see: topics, where their records are, how far groups have read. All of it is durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use storage::segment::{Position, SegmentLog};
use uuid::Uuid;

use crate::batch;
use crate::codes::{self, Code};
use crate::entry::BATCH_AT;
use crate::settings::Settings;
use crate::transaction::Place;

/// A time that never comes.
pub const NEVER: i64 = i64::MAX;

/// Everything that was made durable.
#[derive(Default)]
pub struct State {
    /// By name.
    pub topics: BTreeMap<String, Topic>,
    /// How far each group has read; by group, then topic and partition.
    pub committed: BTreeMap<String, BTreeMap<(String, i32), Committed>>,
    /// Offsets that wait for the end of a producer's transaction.
    pub waiting: BTreeMap<Place, i64>,
    /// The bytes of all batches.
    pub bytes: u64,
    /// Grows whenever batches have gone or moved.
    pub version: u64,
}

/// A topic.
pub struct Topic {
    /// Its number in the log.
    pub number: u32,
    /// Its id on the wire.
    pub id: Uuid,
    /// What is set of it.
    pub settings: Arc<Settings>,
    /// In order.
    pub partitions: Vec<Partition>,
}

/// A partition and its batches.
#[derive(Default)]
pub struct Partition {
    /// By offset. Compaction leaves gaps.
    pub batches: VecDeque<Indexed>,
    /// Where there is no log: the batches themselves, by the offset of their first record.
    pub held: BTreeMap<i64, Bytes>,
    /// Their bytes.
    pub bytes: u64,
    /// The transactions under way: producer, and the offset of its first record.
    pub open: BTreeMap<i64, i64>,
    /// The transactions that were aborted, by their end.
    pub aborted: Vec<Aborted>,
    /// Up to here it is compacted.
    pub cleaned: i64,
    /// The first offset that can be read.
    pub start: i64,
    /// The next offset, the high watermark: everything below is durable.
    pub end: i64,
}

/// A transaction that was aborted, in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Whose it was.
    pub producer: i64,
    /// The offset of its first record.
    pub first: i64,
    /// The offset of its marker.
    pub last: i64,
}

/// Where a batch is. There is one of these for each batch in memory, and nothing else of it: recent ones are read from the
/// log too, that is, from the system's cache.
#[derive(Clone)]
pub struct Indexed {
    /// The offset of its first record.
    pub base: i64,
    /// The offset of its last record.
    pub last: i64,
    /// The greatest timestamp in it.
    pub max_timestamp: i64,
    /// From when on its marks of deleted keys may go.
    pub horizon: i64,
    /// Its place in the log.
    pub position: Position,
    /// Its bytes.
    pub len: u32,
}

/// How far a group has read a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset.
    pub offset: i64,
    /// As the client gave it.
    pub epoch: i32,
    /// As the client gave it.
    pub metadata: Option<String>,
}

/// A batch to read.
#[derive(Clone)]
pub enum Piece {
    /// It is in memory.
    Here(Bytes),
    /// It is in the log.
    There(Position, usize),
}

impl Piece {
    /// Its length.
    pub fn len(&self) -> usize {
        match self {
            Piece::Here(bytes) => bytes.len(),
            Piece::There(_, len) => *len,
        }
    }

    /// Its bytes. May read from the disk.
    pub fn read(self, log: Option<&SegmentLog>) -> Result<Bytes, Code> {
        match self {
            Piece::Here(bytes) => Ok(bytes),
            Piece::There(position, len) => {
                let log = log.ok_or(codes::STORAGE_ERROR)?;
                let entry = log.read(position, len + BATCH_AT).map_err(|e| {
                    tracing::error!(error = %e, "a stored batch cannot be read");
                    codes::STORAGE_ERROR
                })?;
                Ok(Bytes::from(entry).slice(BATCH_AT..))
            }
        }
    }
}

/// A batch in a part of the log: topic, partition, first offset, place, bytes.
pub type Living = (String, i32, i64, Position, usize);

impl State {
    /// The batches that stand in the log before a position.
    pub fn living(&self, before: Position) -> Vec<Living> {
        let mut all = vec![];
        for (name, topic) in &self.topics {
            for (i, place) in topic.partitions.iter().enumerate() {
                let here = place.batches.iter().filter(|b| b.position < before);
                all.extend(here.map(|b| (name.clone(), i as i32, b.base, b.position, b.len as usize)));
            }
        }
        all
    }

    /// A partition, if there is one.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    /// Adds a batch at the end of a partition; with its bytes, if there is no log.
    pub fn append(&mut self, topic: &str, partition: i32, batch: Indexed, bytes: Option<Bytes>) {
        let Some(place) = self.partition_mut(topic, partition) else { return };
        place.end = batch.last + 1;
        place.bytes += u64::from(batch.len);
        let (base, len) = (batch.base, u64::from(batch.len));
        place.held.extend(bytes.map(|bytes| (base, bytes)));
        place.batches.push_back(batch);
        self.bytes += len;
    }

    /// Notes that a batch is part of a transaction.
    pub fn opened(&mut self, topic: &str, partition: i32, producer: i64, base: i64) {
        if let Some(place) = self.partition_mut(topic, partition) {
            place.open.entry(producer).or_insert(base);
        }
    }

    /// Notes the end of a transaction in a partition.
    pub fn closed(&mut self, topic: &str, partition: i32, producer: i64, committed: bool, last: i64) {
        if let Some(place) = self.partition_mut(topic, partition) {
            place.close(producer, committed, last);
        }
    }

    /// Removes a topic and what groups have read of it.
    pub fn remove(&mut self, name: &str) {
        let Some(topic) = self.topics.remove(name) else { return };
        for committed in self.committed.values_mut() {
            committed.retain(|(topic, _), _| topic != name);
        }
        self.committed.retain(|_, c| !c.is_empty());
        self.gone(topic.partitions.iter().map(|p| p.bytes).sum());
    }

    /// Begins a partition at an offset.
    pub fn begin(&mut self, topic: &str, partition: i32, offset: i64) {
        let Some(place) = self.partition_mut(topic, partition) else { return };
        place.start = place.start.max(offset);
        let start = place.start;
        place.aborted.retain(|a| a.last >= start);
        let n = place.batches.partition_point(|b| b.last < place.start);
        let old = place.batches.drain(..n).map(|b| u64::from(b.len)).sum();
        let first = place.batches.front().map_or(i64::MAX, |b| b.base);
        place.held = place.held.split_off(&first);
        place.bytes -= old;
        self.gone(old);
    }

    /// Puts batches where those with offsets from `from` to below `to` were; with their bytes, if there is no log.
    pub fn replace(
        &mut self,
        topic: &str,
        partition: i32,
        (from, to): (i64, i64),
        batches: Vec<Indexed>,
        bytes: Vec<Bytes>,
    ) {
        let Some(place) = self.partition_mut(topic, partition) else { return };
        place.cleaned = place.cleaned.max(to);
        let first = place.batches.partition_point(|b| b.base < from);
        let last = place.batches.partition_point(|b| b.base < to).max(first);
        let mut after = place.batches.split_off(last);
        let old = place.batches.split_off(first);
        let start = place.start;
        place.held.retain(|base, _| !(from..to).contains(base));
        let held = batches.iter().zip(bytes).filter(|(b, _)| b.last >= start);
        place.held.extend(held.map(|(b, bytes)| (b.base, bytes)));
        place.batches.extend(batches.into_iter().filter(|b| b.last >= start));
        let new: u64 = place.batches.range(first..).map(|b| u64::from(b.len)).sum();
        let old = old.iter().map(|b| u64::from(b.len)).sum();
        place.batches.append(&mut after);
        place.bytes = place.bytes + new - old;
        self.bytes += new;
        self.gone(old);
    }

    /// A batch has another place in the log now.
    pub fn moved(&mut self, topic: &str, partition: i32, base: i64, position: Position) {
        let Some(place) = self.partition_mut(topic, partition) else { return };
        if let Ok(i) = place.batches.binary_search_by_key(&base, |b| b.base) {
            place.batches[i].position = position;
        }
        self.version += 1;
    }

    /// Counts bytes that are no more.
    fn gone(&mut self, bytes: u64) {
        self.version += 1;
        self.bytes -= bytes;
    }

    fn partition_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.topics.get_mut(topic)?.partitions.get_mut(usize::try_from(partition).ok()?)
    }
}

impl Partition {
    /// Notes the end of a transaction.
    pub fn close(&mut self, producer: i64, committed: bool, last: i64) {
        if let Some(first) = self.open.remove(&producer)
            && !committed
        {
            self.aborted.push(Aborted { producer, first, last });
        }
    }

    /// Where a batch is to be read.
    pub fn piece(&self, batch: &Indexed) -> Piece {
        match self.held.get(&batch.base) {
            Some(bytes) => Piece::Here(bytes.clone()),
            None => Piece::There(batch.position, batch.len as usize),
        }
    }

    /// Below here every transaction is decided.
    pub fn stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// The batches from `offset` on that begin below `below`, at most `max` bytes but never less than one, and the offset
    /// after them. The first may begin before `offset`: clients skip.
    pub fn pieces(&self, offset: i64, below: i64, max: usize) -> (Vec<Piece>, i64) {
        let first = self.batches.partition_point(|b| b.last < offset);
        let (mut pieces, mut bytes, mut end) = (vec![], 0, offset);
        for batch in self.batches.range(first..).take_while(|b| b.base < below) {
            bytes += batch.len as usize;
            if bytes > max && !pieces.is_empty() {
                break;
            }
            pieces.push(self.piece(batch));
            end = batch.last + 1;
        }
        (pieces, end)
    }

    /// The aborted transactions whose records a reader of the offsets from `from` to below `to` must leave out.
    pub fn aborted_within(&self, from: i64, to: i64) -> impl Iterator<Item = &Aborted> {
        let first = self.aborted.partition_point(|a| a.last < from);
        self.aborted[first..].iter().filter(move |a| a.first < to)
    }

    /// The batch that holds the first record not older than `timestamp`, if there is one.
    pub fn batch_at_time(&self, timestamp: i64, below: i64) -> Option<Piece> {
        let batches = self.batches.iter().take_while(|b| b.base < below);
        batches.clone().find(|b| b.max_timestamp >= timestamp).map(|b| self.piece(b))
    }

    /// The greatest timestamp, and the batch that holds it.
    pub fn newest(&self) -> Option<(i64, Piece)> {
        // Of equals the first, as Kafka does.
        let newest = self.batches.iter().reduce(|a, b| if b.max_timestamp > a.max_timestamp { b } else { a });
        newest.map(|b| (b.max_timestamp, self.piece(b)))
    }
}

/// The index entry of a batch at a position.
pub fn indexed(header: &batch::Header, position: Position, len: usize) -> Indexed {
    Indexed {
        base: header.base,
        last: header.last(),
        max_timestamp: header.max_timestamp,
        horizon: NEVER,
        position,
        // Batches are far below 4 GiB.
        len: u32::try_from(len).unwrap_or(u32::MAX),
    }
}
