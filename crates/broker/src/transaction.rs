//! Transactions: who has a transactional id, what is under way, and how it ends.
//!
//! ```text
//!   InitProducerId ─► id has a producer and an epoch; what was under way is aborted, who had the id before is fenced off
//!   AddPartitionsToTxn, AddOffsetsToTxn ─► under way: only what was added takes records
//!   Produce, TxnOffsetCommit ─► partitions with records, offsets that wait
//!   EndTxn ─► one entry of the log decides, a marker goes to each partition, the offsets that waited are committed
//! ```
//!
//! The writer does all of it, one thing after the other, so that nothing is ever half prepared: no transaction is
//! concurrent with its own end. A partition needs a marker only if it has records of the transaction; which has, is seen
//! from the records themselves after a restart. What was added is not in the log: records that come late, when their
//! transaction has ended, are refused, but who had an id before a restart is believed until its transaction ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::codes::{self, Code};
use crate::state::Committed;

/// More ids than this are not remembered: the one that was idle for longest goes for a new one.
const MAX_IDS: usize = 10_000;
/// The longest time that a transaction may take; Kafka's number.
pub const MAX_TIMEOUT_MS: i32 = 900_000;

/// All transactional ids.
#[derive(Default)]
pub struct Transactions {
    ids: BTreeMap<String, Transaction>,
    by_producer: HashMap<i64, String>,
    /// Counts what was given.
    given: u64,
}

/// A group, a topic and a partition.
pub type Place = (String, String, i32);

/// A transactional id, and what is under way.
#[derive(Clone, Default)]
pub struct Transaction {
    /// Who has it.
    pub producer: i64,
    /// Since when: an older epoch is fenced off.
    pub epoch: i16,
    /// Who had it before and asked for this epoch by that name: it may ask again, if the answer was lost. None: the id was
    /// taken from who had it.
    pub before: Option<(i64, i16)>,
    /// How long a transaction may take.
    pub timeout_ms: i32,
    /// When the one under way began.
    pub begun: Option<i64>,
    /// The partitions that it may write to.
    pub added: BTreeSet<(String, i32)>,
    /// Whether it may write to all, since what it has added is not known after a restart.
    pub recovered: bool,
    /// The partitions with records of it.
    pub partitions: BTreeSet<(String, i32)>,
    /// How far groups will have read when it is committed.
    pub offsets: BTreeMap<Place, Committed>,
    /// How the last one ended.
    pub last: Option<bool>,
    /// When it was given to its producer, counted.
    pub given: u64,
}

impl Transactions {
    /// Makes room for an id. False: all others have something under way.
    pub fn make_room_for(&mut self, id: &str) -> bool {
        if self.ids.len() < MAX_IDS || self.ids.contains_key(id) {
            return true;
        }
        let idle = self.ids.iter().filter(|(_, t)| t.begun.is_none());
        let Some(oldest) = idle.min_by_key(|(_, t)| t.given).map(|(id, _)| id.clone()) else { return false };
        if let Some(gone) = self.ids.remove(&oldest) {
            self.by_producer.remove(&gone.producer);
        }
        true
    }

    /// Gives an id to a producer.
    pub fn set(&mut self, id: &str, transaction: Transaction) {
        let producer = transaction.producer;
        self.given += 1;
        let transaction = Transaction { given: self.given, ..transaction };
        if let Some(before) = self.ids.insert(id.to_string(), transaction) {
            self.by_producer.remove(&before.producer);
        }
        self.by_producer.insert(producer, id.to_string());
    }

    /// The transaction of an id.
    pub fn get(&self, id: &str) -> Option<&Transaction> {
        self.ids.get(id)
    }

    /// The transaction of an id.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Transaction> {
        self.ids.get_mut(id)
    }

    /// The transaction of a producer.
    pub fn of(&mut self, producer: i64) -> Option<&mut Transaction> {
        self.ids.get_mut(self.by_producer.get(&producer)?)
    }

    /// The transaction of an id, for the producer that has it.
    pub fn owned(&mut self, id: &str, producer: i64, epoch: i16) -> Result<&mut Transaction, Code> {
        let found = self.ids.get_mut(id).filter(|t| t.producer == producer);
        let found = found.ok_or(codes::INVALID_PRODUCER_ID_MAPPING)?;
        if found.epoch == epoch { Ok(found) } else { Err(codes::PRODUCER_FENCED) }
    }

    /// Whether a producer may write a batch to a partition; none: any.
    pub fn may_write(&self, producer: i64, epoch: i16, place: Option<&(String, i32)>) -> Result<(), Code> {
        match (self.by_producer.get(&producer).and_then(|id| self.ids.get(id)), place) {
            (Some(t), _) if t.epoch != epoch => Err(codes::INVALID_PRODUCER_EPOCH),
            (Some(t), Some(place)) if !t.recovered && !t.added.contains(place) => {
                Err(codes::INVALID_TXN_STATE)
            }
            (None, Some(_)) => Err(codes::INVALID_PRODUCER_ID_MAPPING),
            _ => Ok(()),
        }
    }

    /// The ids whose transaction has taken too long.
    pub fn late(&self, now: i64) -> Vec<String> {
        let late = |t: &Transaction| t.begun.is_some_and(|b| b + i64::from(t.timeout_ms) < now);
        self.ids.iter().filter(|(_, t)| late(t)).map(|(id, _)| id.clone()).collect()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Transaction)> {
        self.ids.iter()
    }
}

impl Transaction {
    /// It is over.
    pub fn ended(&mut self, committed: bool) {
        self.begun = None;
        self.recovered = false;
        self.added.clear();
        self.partitions.clear();
        self.offsets.clear();
        self.last = Some(committed);
    }

    /// Whether the log knows of anything under way.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty() && self.offsets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_were_idle_for_longest_make_room() {
        let mut all = Transactions::default();
        let owner = |producer| Transaction { producer, ..Transaction::default() };
        for n in 0..MAX_IDS as i64 {
            assert!(all.make_room_for(&n.to_string()));
            all.set(&n.to_string(), owner(n));
        }
        all.get_mut("0").expect("known").begun = Some(1);
        all.set("1", owner(1_000_000));
        assert!(all.make_room_for("new") && all.make_room_for("5"));
        let known = ["0", "1", "2", "3"].map(|id| all.get(id).is_some());
        assert_eq!(known, [true, true, false, true]);
        assert_eq!(all.may_write(2, 0, Some(&("t".into(), 0))), Err(codes::INVALID_PRODUCER_ID_MAPPING));
        all.set("new", owner(2_000_000));
        all.ids.values_mut().for_each(|t| t.begun = Some(1));
        assert!(!all.make_room_for("another"));
    }
}
