//! What clients can see: topics, where their records are, how far groups have read. All of it is durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use storage::segment::{Position, SegmentLog};
use uuid::Uuid;

use crate::batch;
use crate::codes::{self, Code};
use crate::entry::BATCH_AT;

/// Recent batches that are kept in memory beside the log, for those who read along.
const CACHE_BYTES: usize = 32 << 20;

/// Everything that was made durable.
#[derive(Default)]
pub struct State {
    /// By name.
    pub topics: BTreeMap<String, Topic>,
    /// How far each group has read; by group, then topic and partition.
    pub committed: BTreeMap<String, BTreeMap<(String, i32), Committed>>,
    /// Whether batches stay in memory because there is no log.
    pub in_memory: bool,
    /// The batches that are in memory and in the log, oldest first.
    cache: VecDeque<(Arc<str>, u32, i32, i64)>,
    cached: usize,
}

/// A topic.
pub struct Topic {
    /// Its number in the log.
    pub number: u32,
    /// Its id on the wire.
    pub id: Uuid,
    /// In order.
    pub partitions: Vec<Partition>,
}

/// A partition and its batches.
#[derive(Default)]
pub struct Partition {
    /// By offset, without gaps in order.
    pub batches: VecDeque<Indexed>,
    /// The first offset that can be read.
    pub start: i64,
    /// The next offset, the high watermark: everything below is durable.
    pub end: i64,
}

/// Where a batch is.
#[derive(Clone)]
pub struct Indexed {
    /// The offset of its first record.
    pub base: i64,
    /// The offset of its last record.
    pub last: i64,
    /// The greatest timestamp in it.
    pub max_timestamp: i64,
    /// Its place in the log.
    pub position: Position,
    /// Its bytes.
    pub len: usize,
    /// Its bytes, if they are in memory.
    pub bytes: Option<Bytes>,
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
    fn of(batch: &Indexed) -> Piece {
        match &batch.bytes {
            Some(bytes) => Piece::Here(bytes.clone()),
            None => Piece::There(batch.position, batch.len),
        }
    }

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

impl State {
    /// A partition, if there is one.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    /// Adds a batch at the end of a partition.
    pub fn append(&mut self, topic: &str, partition: i32, batch: Indexed) {
        let Some(found) = self.topics.get_mut(topic) else { return };
        let (number, index) = (found.number, partition as usize);
        let Some(place) = found.partitions.get_mut(index) else { return };
        place.end = batch.last + 1;
        if batch.bytes.is_some() && !self.in_memory {
            self.cached += batch.len;
            self.cache.push_back((topic.into(), number, partition, batch.base));
        }
        place.batches.push_back(batch);
        while self.cached > CACHE_BYTES
            && let Some((topic, number, partition, base)) = self.cache.pop_front()
        {
            self.forget(&topic, number, partition, base);
        }
    }

    /// Takes a batch out of memory; it is in the log.
    fn forget(&mut self, topic: &str, number: u32, partition: i32, base: i64) {
        let found = self.topics.get_mut(topic).filter(|t| t.number == number);
        let batch = found.and_then(|t| {
            let batches = &mut t.partitions.get_mut(partition as usize)?.batches;
            let i = batches.binary_search_by_key(&base, |b| b.base).ok()?;
            batches.get_mut(i)
        });
        if let Some(batch) = batch
            && batch.bytes.take().is_some()
        {
            self.cached -= batch.len;
        }
    }

    /// Removes a topic and what groups have read of it. Gives back the bytes that it held.
    pub fn remove(&mut self, name: &str) -> usize {
        let Some(topic) = self.topics.remove(name) else { return 0 };
        for committed in self.committed.values_mut() {
            committed.retain(|(topic, _), _| topic != name);
        }
        self.committed.retain(|_, c| !c.is_empty());
        let batches = || topic.partitions.iter().flat_map(|p| &p.batches);
        if !self.in_memory {
            self.cached -= batches().filter(|b| b.bytes.is_some()).map(|b| b.len).sum::<usize>();
        }
        batches().map(|b| b.len).sum()
    }
}

impl Partition {
    /// The batches from `offset` on, at most `max` bytes but never less than one. The first may begin before `offset`:
    /// clients skip.
    pub fn pieces(&self, offset: i64, max: usize) -> Vec<Piece> {
        let first = self.batches.partition_point(|b| b.last < offset);
        let mut bytes = 0;
        let fits = |b: &&Indexed| {
            bytes += b.len;
            bytes == b.len || bytes <= max
        };
        self.batches.range(first..).take_while(fits).map(Piece::of).collect()
    }

    /// The batch that holds the first record not older than `timestamp`, if there is one.
    pub fn batch_at_time(&self, timestamp: i64) -> Option<Piece> {
        self.batches.iter().find(|b| b.max_timestamp >= timestamp).map(Piece::of)
    }

    /// The greatest timestamp, and the batch that holds it.
    pub fn newest(&self) -> Option<(i64, Piece)> {
        // Of equals the first, as Kafka does.
        let newest = self.batches.iter().reduce(|a, b| if b.max_timestamp > a.max_timestamp { b } else { a });
        newest.map(|b| (b.max_timestamp, Piece::of(b)))
    }
}

/// The index entry of a batch at a position.
pub fn indexed(header: &batch::Header, position: Position, len: usize, bytes: Option<Bytes>) -> Indexed {
    Indexed {
        base: header.base,
        last: header.last(),
        max_timestamp: header.max_timestamp,
        position,
        len,
        bytes,
    }
}
