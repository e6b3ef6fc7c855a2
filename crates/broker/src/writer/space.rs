//! Letting records go, and giving their space back.

use std::sync::atomic::Ordering;

use storage::segment::SegmentLog;

use super::{Writer, now};
use crate::codes::{self, Code};
use crate::entry::{BATCH_AT, Entry};
use crate::state::{Indexed, Living};

/// How much of the log may be dead before anything is moved.
const MIN_DEAD: u64 = 128 << 20;
/// How much is moved at a time: producers wait meanwhile.
const MAX_MOVED: usize = 16 << 20;

impl Writer {
    /// Lets records go that are older, or more, than their topic keeps.
    pub(super) fn retain(&mut self) {
        let now = now();
        let mut begins = vec![];
        {
            let state = self.shared.state();
            for (name, topic) in state.topics.iter().filter(|(_, t)| t.settings.delete) {
                let (age, bytes) = (topic.settings.retention_ms, topic.settings.retention_bytes);
                for (i, place) in topic.partitions.iter().enumerate() {
                    let old = |b: &&Indexed| age >= 0 && b.max_timestamp < now - age;
                    let mut begin = place.batches.iter().take_while(old).last().map(|b| b.last + 1);
                    // As many as can go while what is kept is still enough.
                    let mut left = place.bytes;
                    for batch in place.batches.iter().take_while(|_| bytes >= 0) {
                        left -= u64::from(batch.len);
                        if left < bytes as u64 {
                            break;
                        }
                        begin = begin.max(Some(batch.last + 1));
                    }
                    begins.extend(begin.map(|offset| (name.clone(), i as i32, offset)));
                }
            }
        }
        for (topic, partition, offset) in begins {
            if let Err(code) = self.begin(&topic, partition, offset) {
                tracing::warn!(topic, partition, code, "old records could not be let go");
            }
        }
    }

    /// Gives back the files at the log's beginning that hold no record of any topic. What they say about topics and groups
    /// is written again first; and where most of the log is dead, what lives in its first file is moved to its end.
    pub(super) fn give_back(&mut self) {
        let Some(log) = self.log.clone() else { return };
        let mut moved = 0;
        loop {
            let Some(file_end) = log.first_file_end() else { return };
            let live = self.shared.state().living(file_end);
            if !live.is_empty() {
                let (kept, all) = (self.shared.state().bytes, log.bytes());
                let bytes: usize = live.iter().map(|(.., len)| len).sum();
                if all < MIN_DEAD + 2 * kept || moved + bytes > MAX_MOVED && moved > 0 {
                    return;
                }
                moved += bytes;
                if let Err(code) = self.move_to_end(&log, live) {
                    tracing::warn!(code, "the broker's log cannot be tidied");
                    return;
                }
            }
            let entries = self.standing_entries();
            let done = self
                .append(&entries)
                .and_then(|_| log.sync().map_err(|_| codes::STORAGE_ERROR))
                .and_then(|_| log.remove_before(file_end).map_err(|_| codes::STORAGE_ERROR));
            match done {
                Ok(bytes) => tracing::debug!(bytes, "space of records that are gone was given back"),
                Err(code) => {
                    tracing::warn!(code, "space of records that are gone could not be given back");
                    return;
                }
            }
        }
    }

    /// What the log's beginning says beside records, as it is now. Deleted topics need no word: their files go oldest first.
    pub(super) fn standing_entries(&self) -> Vec<Vec<u8>> {
        let state = self.shared.state();
        let topics = state.topics.iter().map(|(name, topic)| {
            let partitions = topic.partitions.iter().map(|p| (p.start, p.end)).collect();
            let settings = topic.settings.given().clone();
            Entry::Topic { topic: topic.number, id: topic.id, name, partitions, settings }.encode()
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
        let names = |topic: &str| state.topics.get(topic).map(|t| t.number);
        let transactions = self.transactions.iter().flat_map(|(id, t)| {
            let (producer, epoch, timeout_ms) = (t.producer, t.epoch, t.timeout_ms);
            let owner = Entry::Owner { producer, epoch, timeout_ms, id }.encode();
            let waiting = t.offsets.iter().filter_map(move |((group, topic, partition), c)| {
                let (partition, offset, epoch) = (*partition, c.offset, c.epoch);
                let (topic, metadata) = (names(topic)?, c.metadata.as_deref());
                Some(Entry::Waiting { topic, partition, group, offset, epoch, metadata, producer }.encode())
            });
            std::iter::once(owner).chain(waiting)
        });
        topics.chain(committed).chain(transactions).collect()
    }

    /// Writes batches again, as they are, and lets readers read them there.
    pub(super) fn move_to_end(&mut self, log: &SegmentLog, live: Vec<Living>) -> Result<(), Code> {
        for (topic, partition, base, position, len) in live {
            let mut entry = log.read(position, len + BATCH_AT).map_err(|e| {
                tracing::error!(error = %e, "a stored batch cannot be read");
                codes::STORAGE_ERROR
            })?;
            // What compaction left counts by itself now.
            entry[0] = 1;
            let position = self.append(&[entry])?[0];
            self.changes.push(Box::new(move |state| state.moved(&topic, partition, base, position)));
        }
        self.finish();
        match self.shared.failed.load(Ordering::Relaxed) {
            true => Err(codes::STORAGE_ERROR),
            false => Ok(()),
        }
    }
}
