//! Tells a topic that was deleted and made anew from the one that was read.
//!
//! The new topic has the old one's name and, once enough was produced, its offsets: reading on would skip what is new and mix
//! two topics. What cannot be the same is the record itself. So a source stores, beside each partition's next offset, a
//! checksum of the record before it, and compares that record with the broker's: at each start, after each outage, and now and
//! then while records come. A record that is gone (retention, compaction) proves nothing and is taken for the same.

use repr::{Datum, RowBlock};

use crate::record::RecordRef;

/// The last record of a partition that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its offset.
    pub offset: i64,
    /// A checksum of its offset, timestamp, key and value.
    pub sum: u32,
}

impl Mark {
    /// The key of a partition's mark among the offsets that storage keeps: negative, as no partition is.
    pub fn key(partition: i32) -> i32 {
        -1 - partition
    }

    /// The mark as a number: the lower half of the offset, then the checksum.
    pub fn encode(self) -> i64 {
        (self.offset << 32) | i64::from(self.sum)
    }

    /// What was stored. `next`: the partition's next offset; a mark of another record is none.
    pub fn decode(encoded: i64, next: i64) -> Option<Mark> {
        let offset = next - 1;
        let same = (encoded >> 32) as u32 == offset as u32;
        same.then_some(Mark { offset, sum: encoded as u32 })
    }

    /// Of a record as Kafka has it.
    pub(super) fn of_record(record: &RecordRef<'_>) -> Mark {
        let micros = record.timestamp.and_then(|ms| ms.checked_mul(1000));
        Mark { offset: record.offset, sum: sum(record.offset, micros, record.key, record.value) }
    }

    /// The marks of a batch: of the last row of each partition in `progress`, which holds next offsets.
    pub(super) fn of_block(block: &RowBlock, progress: &[(i32, i64)]) -> Vec<(i32, Mark)> {
        let mut found: Vec<(i32, Mark)> = Vec::with_capacity(progress.len());
        for i in (0..block.len()).rev() {
            if found.len() == progress.len() {
                break;
            }
            let mut datums = block.row(i).iter();
            let (value, key) = (bytes(datums.next()), bytes(datums.next()));
            let (Some(Datum::Int32(partition)), Some(Datum::Int64(offset))) = (datums.next(), datums.next())
            else {
                continue;
            };
            if found.iter().any(|(p, _)| *p == partition) {
                continue;
            }
            let micros = match datums.next() {
                Some(Datum::TimestampTz(micros)) => Some(micros),
                _ => None,
            };
            found.push((partition, Mark { offset, sum: sum(offset, micros, key, value) }));
        }
        found
    }
}

fn bytes(datum: Option<Datum<'_>>) -> Option<&[u8]> {
    match datum {
        Some(Datum::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

fn sum(offset: i64, micros: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) -> u32 {
    let mut sum = crc32c::crc32c(&offset.to_le_bytes());
    sum = crc32c::crc32c_append(sum, &micros.unwrap_or(i64::MIN).to_le_bytes());
    for part in [key, value] {
        // The length keeps the two apart, and nothing from an empty one.
        let length = part.map_or(-1, |p| p.len() as i64);
        sum = crc32c::crc32c_append(sum, &length.to_le_bytes());
        sum = crc32c::crc32c_append(sum, part.unwrap_or_default());
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordBatch;

    #[test]
    fn a_mark_is_the_same_from_the_record_and_from_its_row() {
        let mut batch = RecordBatch::default();
        let record = |partition, offset, value| RecordRef {
            partition,
            offset,
            timestamp: Some(1_700_000_000_123),
            key: Some(b"k"),
            value,
            headers: None,
        };
        let (first, last, other) =
            (record(0, 7, Some(&b"a"[..])), record(0, 9, None), record(1, 3, Some(&b"b"[..])));
        [first, last, other].into_iter().for_each(|r| batch.push(r));
        let batch = batch.take();
        let mut marks = Mark::of_block(&batch.block, &batch.progress);
        marks.sort_by_key(|(p, _)| *p);
        assert_eq!(marks, [(0, Mark::of_record(&last)), (1, Mark::of_record(&other))]);
        assert_ne!(Mark::of_record(&last).sum, Mark::of_record(&record(0, 9, Some(&b""[..]))).sum);
    }

    #[test]
    fn a_mark_of_another_offset_is_none() {
        let mark = Mark { offset: (5 << 32) + 41, sum: 0xffff_fff0 };
        assert_eq!(Mark::decode(mark.encode(), mark.offset + 1), Some(mark));
        assert_eq!(Mark::decode(mark.encode(), mark.offset + 2), None);
    }
}
