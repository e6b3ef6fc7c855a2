//! Sources that are read for the first time.
//!
//! A statement behind CREATE SOURCE should see what was in the topic then, and not whatever has come so far. So reads of a new
//! source, and of what is made of it, are put off until it is durable up to the ends that were last seen outside, has come to
//! its end, or says that it cannot read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use repr::{GlobalId, SqlError};

use crate::command::Read;
use crate::coordinator::State;

/// Reads are put off no longer: a topic may be huge, or end in marks of transactions, which are no records.
const PATIENCE: Duration = Duration::from_secs(10);

/// New sources, and the reads that wait for them.
#[derive(Default)]
pub(crate) struct FirstReads {
    begun: BTreeMap<GlobalId, Instant>,
    parked: Vec<Read>,
}

impl FirstReads {
    /// A source that was just made.
    pub(crate) fn begin(&mut self, source: GlobalId, now: Instant) {
        self.begun.insert(source, now);
    }

    /// A read whose asker has gone.
    pub(crate) fn cancel(&mut self, number: u64) {
        self.parked.retain(|read| read.number != number);
    }

    /// Whether any read waits.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.parked.is_empty()
    }
}

impl State {
    /// Puts a read off if it has to wait for a new source; gives it back if not.
    pub(crate) fn put_off(&mut self, read: Read) -> Option<Read> {
        if self.first.begun.is_empty() || read.as_of.is_some() {
            return Some(read);
        }
        let waits = !self.unread(&read.relation.depends_on()).is_empty();
        if waits {
            self.first.parked.push(read);
            return None;
        }
        Some(read)
    }

    /// Runs the reads whose sources have come far enough.
    pub(crate) fn take_up(&mut self) {
        for read in std::mem::take(&mut self.first.parked) {
            self.read(read);
        }
    }

    /// The new sources below these objects that are not read yet.
    pub(crate) fn unread(&mut self, ids: &BTreeSet<GlobalId>) -> Vec<GlobalId> {
        self.forget_read();
        if self.first.begun.is_empty() {
            return vec![];
        }
        let below = self.catalog.sources_below(ids.iter().copied());
        self.first.begun.keys().copied().filter(|source| below.contains(source)).collect()
    }

    /// Forgets sources that are new no longer.
    fn forget_read(&mut self) {
        let now = self.instant();
        let mut complete = false;
        let statuses = &self.statuses;
        self.first.begun.retain(|source, since| {
            let Some(status) = statuses.get(source) else { return false };
            let reached = |(p, end): (&i32, &i64)| status.committed.get(p).copied().unwrap_or(0) >= *end;
            let read = !status.known.is_empty() && status.known.iter().all(reached);
            let ended = ["stalled", "failed", "finished"].contains(&status.status.as_str());
            complete |= read || ended;
            !read && !ended && now.duration_since(*since) < PATIENCE
        });
        if complete {
            // As a write that was acknowledged: what is read from now on has it.
            self.acknowledged(self.durable());
        }
    }

    /// What a read that is put off waits for.
    pub(crate) fn first_notices(&mut self, ids: &[GlobalId]) -> Vec<SqlError> {
        let sources = self.unread(&ids.iter().copied().collect());
        let named = |id: &GlobalId| {
            let item = self.catalog.items.get(id)?;
            let message =
                format!("the read waits for source \"{}\" to be read for the first time", item.name.item);
            Some(SqlError::new(repr::SqlState::new("00000"), message))
        };
        sources.iter().filter_map(named).collect()
    }
}
