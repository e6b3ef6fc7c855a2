//! Topics as the writer knows them, ahead of what is visible by what is being synced: the next offsets, and the last batches
//! of idempotent producers, so that a repeated one is known.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use crate::batch::Header;
use crate::codes::{self, Code};
use crate::entry::Entry;
use crate::settings::Settings;

/// The batches of a producer that are remembered, to know a repeated one; a client has at most five under way.
const REMEMBERED: usize = 5;
/// The idempotent producers that are remembered for a partition.
const PRODUCERS: usize = 1_000;

/// A topic.
pub(super) struct Ahead {
    pub number: u32,
    pub id: Uuid,
    pub settings: Arc<Settings>,
    pub partitions: Vec<AheadPartition>,
}

#[derive(Default)]
/// A partition.
pub(super) struct AheadPartition {
    pub start: i64,
    pub end: i64,
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
    /// One with these first and next offsets.
    pub(super) fn at(start: i64, end: i64) -> AheadPartition {
        AheadPartition { start, end, ..AheadPartition::default() }
    }

    /// Whether an idempotent batch is the next one: a repeated one gives the offset that it got.
    pub(super) fn check(&self, header: &Header) -> Result<Option<i64>, Code> {
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
    pub(super) fn note(&mut self, header: &Header) {
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

impl Ahead {
    /// What the log says of the topic.
    pub(super) fn entry<'a>(&self, name: &'a str) -> Entry<'a> {
        let partitions = self.partitions.iter().map(|p| (p.start, p.end)).collect();
        let settings = self.settings.given().clone();
        Entry::Topic { topic: self.number, id: self.id, name, partitions, settings }
    }
}

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
}
