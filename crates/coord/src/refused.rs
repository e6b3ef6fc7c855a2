//! Requests that a source has refused, as durable rows of its errors relation, so that a wrong secret is found in a minute.
//!
//! A flood must not fill the disk: of each source the last [`KEPT`] stay, older ones leave by retraction, and in a second
//! at most [`A_SECOND`] are stored; a row says how many more there were.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use repr::{Arena, Datum, GlobalId, Row, RowBlock};
use storage::BlockKind;

use crate::coordinator::{State, shard_of};
use crate::push::Refused;

/// Of each source so many stay,
const KEPT: usize = 1_000;
/// and so many are stored in a second,
const A_SECOND: usize = 20;
/// with headers of so many bytes.
const HEADERS: usize = 4 << 10;

/// What is not stored yet.
#[derive(Default)]
pub(crate) struct Fresh {
    of: BTreeMap<GlobalId, (VecDeque<Refused>, u64)>,
    /// The loop is told, or will be.
    told: bool,
    last: Option<Instant>,
}

impl Fresh {
    /// One more; after which time the loop is to be told, if nobody does it yet.
    pub fn add(&mut self, refused: Refused, now: Instant) -> Option<Duration> {
        let (rows, more) = self.of.entry(refused.source).or_default();
        if rows.len() == A_SECOND {
            rows.pop_front();
            *more += 1;
        }
        rows.push_back(refused);
        let second = Duration::from_secs(1);
        let wait = self.last.map_or(Duration::ZERO, |last| second.saturating_sub(now - last));
        (!std::mem::replace(&mut self.told, true)).then_some(wait)
    }

    /// All of it.
    pub fn take(&mut self, now: Instant) -> BTreeMap<GlobalId, (VecDeque<Refused>, u64)> {
        (self.told, self.last) = (false, Some(now));
        std::mem::take(&mut self.of)
    }
}

/// The stored ones of a source, the oldest first.
pub(crate) struct Stored {
    collection: GlobalId,
    rows: VecDeque<Row>,
}

impl State {
    /// A source that is posted to is there; `recovered`: is there again.
    pub(crate) fn add_refused(&mut self, source: GlobalId, collection: GlobalId, recovered: bool) {
        self.add_collection(collection, sql::plan::refused_desc().types(), false, None);
        let mut sums: BTreeMap<Row, i64> = BTreeMap::new();
        if recovered {
            match self.storage.scan(shard_of(collection), 0, u64::MAX) {
                Ok(scan) => {
                    for (_, _, block) in scan.flatten().filter(|b| matches!(b.1, BlockKind::Rows)) {
                        for (row, diff) in block.iter() {
                            *sums.entry(row.to_row()).or_default() += diff;
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "old refused requests stay: they cannot be read"),
            }
        }
        // A row begins with its time.
        let mut rows: Vec<Row> = sums.into_iter().filter(|(_, n)| *n > 0).map(|(row, _)| row).collect();
        rows.sort_by(|a, b| a.iter().next().cmp(&b.iter().next()));
        self.refused.insert(source, Stored { collection, rows: rows.into() });
    }

    /// The source is gone.
    pub(crate) fn drop_refused(&mut self, source: GlobalId) {
        if let Some(stored) = self.refused.remove(&source) {
            self.drop_collection(stored.collection);
        }
    }

    /// Stores what is fresh.
    pub(crate) fn store_refused(&mut self) {
        let fresh = self.shared.push.take_fresh(self.instant());
        if self.journal.full().is_some() {
            return;
        }
        let mut writes = vec![];
        for (source, (refused, more)) in fresh {
            let Some(stored) = self.refused.get_mut(&source) else { continue };
            let mut block = RowBlock::default();
            let mut rows: Vec<Row> = refused.iter().map(row).collect();
            if let Some(last) = refused.back().filter(|_| more > 0) {
                let reason = format!("and {more} more requests were refused in the same second");
                rows.push(packed(last, Datum::Null, &reason, Datum::Null, Datum::Null));
            }
            for row in rows {
                // Equal rows count once: what leaves must have come.
                if !stored.rows.contains(&row) {
                    block.push(row.as_ref(), 1);
                    stored.rows.push_back(row);
                }
            }
            while stored.rows.len() > KEPT {
                stored.rows.pop_front().into_iter().for_each(|row| block.push(row.as_ref(), -1));
            }
            writes.push((stored.collection, block));
        }
        self.write(writes);
    }
}

fn row(refused: &Refused) -> Row {
    let arena = Arena::new();
    let mut left = HEADERS;
    let mut headers = vec![];
    for (name, value) in &refused.headers {
        let Some(rest) = left.checked_sub(name.len() + value.len()) else { break };
        left = rest;
        headers.push(arena.record([Datum::Text(name), Datum::Bytes(value)]));
    }
    let headers = arena.list(headers);
    packed(
        refused,
        Datum::Int32(refused.status.into()),
        &refused.reason,
        headers,
        Datum::Bytes(&refused.body),
    )
}

fn packed(of: &Refused, status: Datum<'_>, reason: &str, headers: Datum<'_>, body: Datum<'_>) -> Row {
    let micros = i64::try_from(of.at).unwrap_or(i64::MAX).saturating_mul(1_000);
    Row::pack([Datum::TimestampTz(micros), status, Datum::Text(reason), headers, body])
}
