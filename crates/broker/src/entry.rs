//! What the broker's log holds: entries and their bytes. `FORMAT.md` beside this crate draws them and says how they are
//! replayed.

use std::collections::BTreeMap;

use storage::segment::Position;
use uuid::Uuid;

/// The bytes of a batch entry before the batch.
pub const BATCH_AT: usize = 9;

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Records, with their base offset in them.
    Batch { topic: u32, partition: i32, batch: &'a [u8] },
    /// What compaction left of a batch.
    Compacted { topic: u32, partition: i32, batch: &'a [u8] },
    /// A topic as it is from now on; (first offset, next offset) of each partition.
    Topic {
        topic: u32,
        id: Uuid,
        name: &'a str,
        partitions: Vec<(i64, i64)>,
        settings: BTreeMap<String, String>,
    },
    /// A topic is gone.
    Deleted { topic: u32 },
    /// How far a consumer group has read.
    Committed {
        topic: u32,
        partition: i32,
        group: &'a str,
        offset: i64,
        epoch: i32,
        metadata: Option<&'a str>,
    },
    /// Batches were replaced; (base offset, time from which marks of deleted keys may go).
    Compaction { topic: u32, partition: i32, from: i64, to: i64, before: Position, horizons: Vec<(i64, i64)> },
    /// A partition's records begin here.
    Begin { topic: u32, partition: i32, offset: i64 },
    /// Nobody knows any more how far a group has read a partition.
    Forgotten { topic: u32, partition: i32, group: &'a str },
    /// A transactional id belongs to a producer.
    Owner { producer: i64, epoch: i16, timeout_ms: i32, id: &'a str },
    /// How far a consumer group will have read.
    Waiting {
        topic: u32,
        partition: i32,
        group: &'a str,
        offset: i64,
        epoch: i32,
        metadata: Option<&'a str>,
        producer: i64,
    },
    /// A transaction is over; the places of its markers.
    Ended { producer: i64, epoch: i16, committed: bool, time: i64, markers: Vec<(u32, i32, i64)> },
}

impl<'a> Entry<'a> {
    /// The bytes for the log.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Entry::Batch { topic, partition, batch } | Entry::Compacted { topic, partition, batch } => {
                out.reserve(batch.len());
                out.push(if matches!(self, Entry::Batch { .. }) { 1 } else { 6 });
                out.extend(topic.to_le_bytes());
                out.extend(partition.to_le_bytes());
                out.extend_from_slice(batch);
            }
            Entry::Topic { topic, id, name, partitions, settings } => {
                out.push(5);
                out.extend(topic.to_le_bytes());
                out.extend(id.as_bytes());
                text(&mut out, name);
                out.extend((partitions.len() as u32).to_le_bytes());
                for (first, next) in partitions {
                    out.extend(first.to_le_bytes());
                    out.extend(next.to_le_bytes());
                }
                out.extend((settings.len() as u32).to_le_bytes());
                for (name, value) in settings {
                    text(&mut out, name);
                    text(&mut out, value);
                }
            }
            Entry::Compaction { topic, partition, from, to, before, horizons } => {
                out.push(7);
                out.extend(topic.to_le_bytes());
                out.extend(partition.to_le_bytes());
                out.extend(from.to_le_bytes());
                out.extend(to.to_le_bytes());
                out.extend(before.0.to_le_bytes());
                out.extend((horizons.len() as u32).to_le_bytes());
                for (base, horizon) in horizons {
                    out.extend(base.to_le_bytes());
                    out.extend(horizon.to_le_bytes());
                }
            }
            Entry::Begin { topic, partition, offset } => {
                out.push(8);
                out.extend(topic.to_le_bytes());
                out.extend(partition.to_le_bytes());
                out.extend(offset.to_le_bytes());
            }
            Entry::Forgotten { topic, partition, group } => {
                out.push(9);
                out.extend(topic.to_le_bytes());
                out.extend(partition.to_le_bytes());
                text(&mut out, group);
            }
            Entry::Deleted { topic } => {
                out.push(3);
                out.extend(topic.to_le_bytes());
            }
            Entry::Committed { topic, partition, group, offset, epoch, metadata }
            | Entry::Waiting { topic, partition, group, offset, epoch, metadata, .. } => {
                out.push(if matches!(self, Entry::Committed { .. }) { 4 } else { 11 });
                out.extend(topic.to_le_bytes());
                out.extend(partition.to_le_bytes());
                out.extend(offset.to_le_bytes());
                out.extend(epoch.to_le_bytes());
                text(&mut out, group);
                out.push(u8::from(metadata.is_some()));
                if let Some(metadata) = metadata {
                    text(&mut out, metadata);
                }
                if let Entry::Waiting { producer, .. } = self {
                    out.extend(producer.to_le_bytes());
                }
            }
            Entry::Owner { producer, epoch, timeout_ms, id } => {
                out.push(10);
                out.extend([0; 4]);
                out.extend(producer.to_le_bytes());
                out.extend(epoch.to_le_bytes());
                out.extend(timeout_ms.to_le_bytes());
                text(&mut out, id);
            }
            Entry::Ended { producer, epoch, committed, time, markers } => {
                out.push(12);
                out.extend([0; 4]);
                out.extend(producer.to_le_bytes());
                out.extend(epoch.to_le_bytes());
                out.push(u8::from(*committed));
                out.extend(time.to_le_bytes());
                out.extend((markers.len() as u32).to_le_bytes());
                for (topic, partition, offset) in markers {
                    out.extend(topic.to_le_bytes());
                    out.extend(partition.to_le_bytes());
                    out.extend(offset.to_le_bytes());
                }
            }
        }
        out
    }

    /// The topic that it is about.
    pub fn topic(&self) -> u32 {
        match self {
            Entry::Batch { topic, .. }
            | Entry::Compacted { topic, .. }
            | Entry::Topic { topic, .. }
            | Entry::Deleted { topic }
            | Entry::Committed { topic, .. }
            | Entry::Compaction { topic, .. }
            | Entry::Begin { topic, .. }
            | Entry::Waiting { topic, .. }
            | Entry::Forgotten { topic, .. } => *topic,
            Entry::Owner { .. } | Entry::Ended { .. } => 0,
        }
    }

    /// Reads an entry; of a batch, the beginning is enough. None: these bytes are no entry.
    pub fn decode(bytes: &'a [u8]) -> Option<Entry<'a>> {
        let (kind, mut rest) = bytes.split_first()?;
        let r = &mut rest;
        let topic = u32::from_le_bytes(take(r)?);
        Some(match kind {
            1 => Entry::Batch { topic, partition: i32::from_le_bytes(take(r)?), batch: rest },
            6 => Entry::Compacted { topic, partition: i32::from_le_bytes(take(r)?), batch: rest },
            2 | 5 => {
                let id = Uuid::from_bytes(take(r)?);
                let name = take_text(r)?;
                let partitions = take_pairs(r)?;
                let mut settings = BTreeMap::new();
                if *kind == 5 {
                    for _ in 0..u32::from_le_bytes(take(r)?) {
                        settings.insert(take_text(r)?.to_string(), take_text(r)?.to_string());
                    }
                }
                Entry::Topic { topic, id, name, partitions, settings }
            }
            7 => Entry::Compaction {
                topic,
                partition: i32::from_le_bytes(take(r)?),
                from: i64::from_le_bytes(take(r)?),
                to: i64::from_le_bytes(take(r)?),
                before: Position(u64::from_le_bytes(take(r)?)),
                horizons: take_pairs(r)?,
            },
            8 => Entry::Begin {
                topic,
                partition: i32::from_le_bytes(take(r)?),
                offset: i64::from_le_bytes(take(r)?),
            },
            9 => Entry::Forgotten { topic, partition: i32::from_le_bytes(take(r)?), group: take_text(r)? },
            3 => Entry::Deleted { topic },
            4 | 11 => {
                let partition = i32::from_le_bytes(take(r)?);
                let (offset, epoch) = (i64::from_le_bytes(take(r)?), i32::from_le_bytes(take(r)?));
                let group = take_text(r)?;
                let metadata = match take(r)? {
                    [0] => None,
                    _ => Some(take_text(r)?),
                };
                match kind {
                    4 => Entry::Committed { topic, partition, group, offset, epoch, metadata },
                    _ => {
                        let producer = i64::from_le_bytes(take(r)?);
                        Entry::Waiting { topic, partition, group, offset, epoch, metadata, producer }
                    }
                }
            }
            10 => Entry::Owner {
                producer: i64::from_le_bytes(take(r)?),
                epoch: i16::from_le_bytes(take(r)?),
                timeout_ms: i32::from_le_bytes(take(r)?),
                id: take_text(r)?,
            },
            12 => {
                let (producer, epoch) = (i64::from_le_bytes(take(r)?), i16::from_le_bytes(take(r)?));
                let (committed, time) = (take(r)? != [0], i64::from_le_bytes(take(r)?));
                let n = u32::from_le_bytes(take(r)?);
                let place = |r: &mut &[u8]| {
                    let (topic, partition) = (u32::from_le_bytes(take(r)?), i32::from_le_bytes(take(r)?));
                    Some((topic, partition, i64::from_le_bytes(take(r)?)))
                };
                let markers = (0..n).map(|_| place(r)).collect::<Option<Vec<_>>>()?;
                Entry::Ended { producer, epoch, committed, time, markers }
            }
            _ => return None,
        })
    }
}

fn text(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u32).to_le_bytes());
    out.extend_from_slice(s.as_bytes());
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

/// A count and so many pairs of numbers.
fn take_pairs(bytes: &mut &[u8]) -> Option<Vec<(i64, i64)>> {
    let n = u32::from_le_bytes(take(bytes)?);
    (0..n).map(|_| Some((i64::from_le_bytes(take(bytes)?), i64::from_le_bytes(take(bytes)?)))).collect()
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let n = u32::from_le_bytes(take(bytes)?) as usize;
    let (head, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    std::str::from_utf8(head).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_cut_ones_do_not() {
        let entries = [
            Entry::Batch { topic: 1, partition: 2, batch: b"batch" },
            Entry::Topic {
                topic: 7,
                id: Uuid::from_u128(9),
                name: "events",
                partitions: vec![(0, 5), (3, 3)],
                settings: [("retention.ms".into(), "5".into())].into(),
            },
            Entry::Compacted { topic: 1, partition: 2, batch: b"batch" },
            Entry::Compaction {
                topic: 1,
                partition: 2,
                from: 3,
                to: 9,
                before: Position(77),
                horizons: vec![(4, 1_000)],
            },
            Entry::Begin { topic: 1, partition: 2, offset: 12 },
            Entry::Forgotten { topic: 1, partition: 2, group: "g" },
            Entry::Owner { producer: 1 << 40, epoch: 3, timeout_ms: 60_000, id: "sink" },
            Entry::Waiting {
                topic: 1,
                partition: 0,
                group: "g",
                offset: 12,
                epoch: -1,
                metadata: None,
                producer: 1 << 40,
            },
            Entry::Ended {
                producer: 1 << 40,
                epoch: 3,
                committed: true,
                time: 5,
                markers: vec![(1, 0, 9), (7, 2, 1 << 33)],
            },
            Entry::Deleted { topic: 7 },
            Entry::Committed {
                topic: 1,
                partition: 0,
                group: "g",
                offset: 12,
                epoch: -1,
                metadata: Some("m"),
            },
            Entry::Committed { topic: 1, partition: 0, group: "", offset: 12, epoch: 3, metadata: None },
        ];
        for entry in entries {
            let bytes = entry.encode();
            assert_eq!(Entry::decode(&bytes), Some(entry.clone()));
            if !matches!(entry, Entry::Batch { .. } | Entry::Compacted { .. }) {
                assert!((0..bytes.len()).all(|n| Entry::decode(&bytes[..n]).is_none()), "{entry:?}");
            }
        }
    }
}
