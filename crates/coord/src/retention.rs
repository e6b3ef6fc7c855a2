//! Removes what a source is told not to keep: `RETENTION = '7 days'` by the records' timestamps, `'10 GB'` by size.
//!
//! Rows leave by retraction, at a tick, as if somebody had deleted them: views follow, and a view that is built later gives
//! the same answer. Now and then, on a thread of its own, the source's stored rows are read; those that are too old, or the
//! oldest beyond the size, and are not yet retracted, come back as a write. What was retracted is gone from disk once storage
//! has merged it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use repr::{Datum, GlobalId, Row, RowBlock, RowRef, Timestamp};
use sql::plan::Retention;
use storage::BlockKind;
use tokio::sync::oneshot;

use crate::command::Command;

/// The column of a raw record that says when it was made.
const TIMESTAMP: usize = 4;
/// So many bytes are removed at one tick.
const A_TICK: usize = 32 << 20;

/// What is to be removed when; by the collections of raw records.
#[derive(Default)]
pub(crate) struct Keeper(BTreeMap<GlobalId, Kept>);

struct Kept {
    retention: Retention,
    /// When to look again, in milliseconds of the clock.
    next: Timestamp,
    /// At which tick it was looked last.
    tick: Timestamp,
    /// Somebody is looking.
    running: Arc<AtomicBool>,
}

impl Kept {
    /// How long between two looks. Each reads all that is stored.
    fn period(&self) -> Timestamp {
        match self.retention {
            Retention::Age(age) => (age / 20)
                .clamp(Duration::from_millis(100), Duration::from_secs(3600))
                .as_millis() as Timestamp,
            Retention::Bytes(_) => 1_000,
        }
    }
}

impl Keeper {
    /// A source is there, or is there again.
    pub(crate) fn add(&mut self, raw: GlobalId, retention: Retention) {
        self.0.insert(raw, Kept { retention, next: 0, tick: 0, running: Arc::default() });
    }

    /// A source is gone.
    pub(crate) fn remove(&mut self, raw: GlobalId) {
        self.0.remove(&raw);
    }

    /// How long nothing is to be done.
    pub(crate) fn patience(&self, now: Timestamp, last_tick: Timestamp) -> Option<Duration> {
        let by_size = |k: &&Kept| matches!(k.retention, Retention::Age(_)) || k.tick < last_tick;
        let next = self.0.values().filter(by_size).map(|k| k.next.saturating_sub(now)).min()?;
        Some(Duration::from_millis(next.max(10)))
    }

    /// Starts what is due. `stored` says how many bytes a collection has, by estimate; `scan` gives its rows.
    pub(crate) fn start(
        &mut self,
        now: Timestamp,
        last_tick: Timestamp,
        commands: &Sender<Command>,
        stored: impl Fn(GlobalId) -> u64,
        scan: impl Fn(GlobalId) -> Option<storage::Scan>,
    ) {
        for (raw, kept) in &mut self.0 {
            if kept.next > now || kept.running.load(Ordering::SeqCst) {
                continue;
            }
            kept.next = now + kept.period();
            let last_look = std::mem::replace(&mut kept.tick, last_tick);
            let due = match kept.retention {
                Retention::Age(_) => true,
                Retention::Bytes(bytes) => {
                    // A little more may be there, so that not every record costs a look at all.
                    last_look < last_tick && stored(*raw) > bytes.saturating_add(bytes / 20)
                }
            };
            let Some(first) = due.then(|| scan(*raw)).flatten() else { continue };
            // By size the rows are read twice: how many there are decides which go.
            let second = if matches!(kept.retention, Retention::Bytes(_)) { scan(*raw) } else { None };
            let (raw, retention, commands) = (*raw, kept.retention, commands.clone());
            let running = kept.running.clone();
            running.store(true, Ordering::SeqCst);
            let run = move || {
                match expired(retention, now, first, second) {
                    Ok(blocks) => {
                        for block in blocks {
                            let (reply, durable) = oneshot::channel();
                            let _ = commands.send(Command::Write { rows: vec![(raw, block)], reply });
                            // An error: the source was dropped, or the engine ends.
                            if !matches!(durable.blocking_recv(), Ok(Ok(_))) {
                                break;
                            }
                        }
                    }
                    Err(error) => tracing::error!(%error, "old records cannot be found, and stay"),
                }
                running.store(false, Ordering::SeqCst);
            };
            if let Err(error) = std::thread::Builder::new().name("retention".into()).spawn(run) {
                tracing::error!(%error, "old records stay: a thread could not start");
            }
        }
    }
}

/// The retractions of what is not to be kept.
fn expired(
    retention: Retention,
    now: Timestamp,
    first: storage::Scan,
    second: Option<storage::Scan>,
) -> Result<Vec<RowBlock>, storage::StorageError> {
    let mut found = Found { order: vec![], sums: HashMap::new() };
    match (retention, second) {
        (Retention::Bytes(keep), Some(second)) => {
            // (all, retracted) bytes
            let (mut all, mut gone) = (0i64, 0i64);
            for block in first {
                for (row, diff) in block?.2.iter() {
                    let bytes = row.bytes().len() as i64 * diff;
                    all += bytes;
                    gone -= bytes.min(0);
                }
            }
            let keep = i64::try_from(keep).unwrap_or(i64::MAX);
            if all <= keep {
                return Ok(vec![]);
            }
            // The oldest come first; those that are retracted already do not count.
            let mut left = all - keep + gone;
            for block in second {
                let (_, kind, block) = block?;
                found.add(kind, &block, |row, diff| {
                    let wanted = left > 0;
                    left -= row.bytes().len() as i64 * diff;
                    wanted
                });
            }
        }
        (Retention::Age(age), _) => {
            let cutoff =
                i64::try_from(now).unwrap_or(i64::MAX) - i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            for block in first {
                let (time, kind, block) = block?;
                let arrived = i64::try_from(time).unwrap_or(i64::MAX);
                found.add(kind, &block, |row, _| match row.iter().nth(TIMESTAMP) {
                    Some(Datum::TimestampTz(micros)) => micros.div_euclid(1_000) < cutoff,
                    _ => arrived < cutoff,
                });
            }
        }
        (Retention::Bytes(_), None) => {}
    }
    Ok(found.retractions())
}

/// Rows that may have to go, in the order in which they came, with the sums of their diffs.
struct Found {
    order: Vec<Row>,
    sums: HashMap<Row, i64>,
}

impl Found {
    fn add(&mut self, kind: BlockKind, block: &RowBlock, mut wanted: impl FnMut(RowRef<'_>, i64) -> bool) {
        if kind != BlockKind::Rows {
            return;
        }
        for (row, diff) in block.iter() {
            if diff < 0 {
                if let Some(sum) = self.sums.get_mut(&row.to_row()) {
                    *sum += diff;
                }
            } else if wanted(row, diff) {
                let row = row.to_row();
                let sum = self.sums.entry(row.clone()).or_default();
                if *sum == 0 {
                    self.order.push(row);
                }
                *sum += diff;
            }
        }
    }

    fn retractions(mut self) -> Vec<RowBlock> {
        let (mut blocks, mut block) = (vec![], RowBlock::default());
        for row in self.order {
            if let Some(sum) = self.sums.remove(&row).filter(|sum| *sum > 0) {
                block.push(row.as_ref(), -sum);
            }
            if block.byte_len() >= A_TICK {
                blocks.push(std::mem::take(&mut block));
            }
        }
        if !block.is_empty() {
            blocks.push(block);
        }
        blocks
    }
}
