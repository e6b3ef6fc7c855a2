//! What the broker's log holds, byte by byte.
//!
//! ```text
//!   entry = kind u8, then
//!     1 batch       topic u32 │ partition i32 │ record batch as produced
//!     2 topic       topic u32 │ id 16 bytes │ name │ partitions u32 │ (first offset i64, next offset i64) of each
//!     3 deleted     topic u32
//!     4 committed   topic u32 │ partition i32 │ offset i64 │ leader epoch i32 │ group │ 0 or (1, metadata)
//!   text = length u32 │ UTF-8
//! ```
//!
//! All integers are little endian, except inside record batches. A topic entry replaces an earlier one of the same topic
//! (partitions were added, or the log's beginning is about to be cut off). Numbers of topics are never used twice.

use uuid::Uuid;

/// The bytes of a batch entry before the batch.
pub const BATCH_AT: usize = 9;

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Records, with their base offset in them.
    Batch { topic: u32, partition: i32, batch: &'a [u8] },
    /// A topic as it is from now on; (first offset, next offset) of each partition.
    Topic { topic: u32, id: Uuid, name: &'a str, partitions: Vec<(i64, i64)> },
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
}

impl<'a> Entry<'a> {
    /// The bytes for the log.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Entry::Batch { topic, partition, batch } => {
                out.reserve(batch.len());
                out.push(1);
                out.extend(topic.to_le_bytes());
                out.extend(partition.to_le_bytes());
                out.extend_from_slice(batch);
            }
            Entry::Topic { topic, id, name, partitions } => {
                out.push(2);
                out.extend(topic.to_le_bytes());
                out.extend(id.as_bytes());
                text(&mut out, name);
                out.extend((partitions.len() as u32).to_le_bytes());
                for (first, next) in partitions {
                    out.extend(first.to_le_bytes());
                    out.extend(next.to_le_bytes());
                }
            }
            Entry::Deleted { topic } => {
                out.push(3);
                out.extend(topic.to_le_bytes());
            }
            Entry::Committed { topic, partition, group, offset, epoch, metadata } => {
                out.push(4);
                out.extend(topic.to_le_bytes());
                out.extend(partition.to_le_bytes());
                out.extend(offset.to_le_bytes());
                out.extend(epoch.to_le_bytes());
                text(&mut out, group);
                out.push(u8::from(metadata.is_some()));
                if let Some(metadata) = metadata {
                    text(&mut out, metadata);
                }
            }
        }
        out
    }

    /// Reads an entry; of a batch, the beginning is enough. None: these bytes are no entry.
    pub fn decode(bytes: &'a [u8]) -> Option<Entry<'a>> {
        let (kind, mut rest) = bytes.split_first()?;
        let r = &mut rest;
        let topic = u32::from_le_bytes(take(r)?);
        Some(match kind {
            1 => Entry::Batch { topic, partition: i32::from_le_bytes(take(r)?), batch: rest },
            2 => {
                let id = Uuid::from_bytes(take(r)?);
                let name = take_text(r)?;
                let n = u32::from_le_bytes(take(r)?);
                let ends = (0..n).map(|_| Some((i64::from_le_bytes(take(r)?), i64::from_le_bytes(take(r)?))));
                Entry::Topic { topic, id, name, partitions: ends.collect::<Option<Vec<_>>>()? }
            }
            3 => Entry::Deleted { topic },
            4 => {
                let partition = i32::from_le_bytes(take(r)?);
                let (offset, epoch) = (i64::from_le_bytes(take(r)?), i32::from_le_bytes(take(r)?));
                let group = take_text(r)?;
                let metadata = match take(r)? {
                    [0] => None,
                    _ => Some(take_text(r)?),
                };
                Entry::Committed { topic, partition, group, offset, epoch, metadata }
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
            if !matches!(entry, Entry::Batch { .. }) {
                assert!((0..bytes.len()).all(|n| Entry::decode(&bytes[..n]).is_none()), "{entry:?}");
            }
        }
    }
}
