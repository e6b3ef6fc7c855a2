//! Subscriptions: what dataflows say of changes, kept until it is durable and its reader takes it.
//!
//! A reader that is slower than the changes first fills its channel, then a queue here. One that is [`LAG_BYTES`] behind is
//! cut off: a subscription must not fill the memory, and must not slow down intake either. What was there at the start
//! does not count, however long it takes to read.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use dataflow::Output;
use repr::error::code;
use repr::{GlobalId, RowBlock, SqlError, Timestamp};
use tokio::sync::mpsc;

use crate::command::{Changes, Subscribe, Subscribed};
use crate::coordinator::State;

/// How often a subscription with progress gives a sign of life, ms.
pub(crate) const PROGRESS: Timestamp = 1_000;

/// A subscriber may lag by so many bytes of changes before it is cut off.
const LAG_BYTES: usize = 64 << 20;

/// A running subscription.
pub(crate) struct Subscription {
    to: mpsc::Sender<Changes>,
    /// Not yet durable, or not yet taken by the reader.
    queue: VecDeque<(Timestamp, RowBlock)>,
    lag: Arc<Lag>,
    errors: Option<(Timestamp, repr::EvalError)>,
    /// What came at this time does not count as lag.
    as_of: Timestamp,
    upto: Timestamp,
    /// Nothing from this time on is wanted.
    until: Timestamp,
    sent: Timestamp,
    /// Whether its reader wants to hear of time that passes.
    pub progress: bool,
}

/// How far a reader is behind; shared with it.
#[derive(Debug, Default)]
pub struct Lag {
    /// Bytes of changes in the queue and the channel.
    bytes: AtomicUsize,
    /// Why the subscription has ended, if not by itself.
    cut: OnceLock<SqlError>,
}

impl Lag {
    /// The reader has taken these.
    pub(crate) fn taken(&self, changes: &Changes) {
        self.bytes.fetch_sub(changes.counted, Ordering::Relaxed);
    }

    /// Why nothing more comes.
    pub(crate) fn cut(&self) -> Option<SqlError> {
        self.cut.get().cloned()
    }
}

impl Subscription {
    /// Takes in what workers say.
    pub fn push(
        &mut self,
        rows: Vec<(Timestamp, RowBlock)>,
        errors: &[(Timestamp, RowBlock)],
        upto: Timestamp,
    ) {
        for (time, block) in rows {
            self.lag.bytes.fetch_add(self.counted(time, &block), Ordering::Relaxed);
            self.queue.push_back((time, block));
        }
        let first = errors.iter().find_map(|(t, b)| {
            b.iter().find(|(_, d)| *d > 0).map(|(row, _)| (*t, repr::EvalError::from_row(row)))
        });
        self.errors = self.errors.take().or(first);
        self.upto = self.upto.max(upto);
    }

    fn counted(&self, time: Timestamp, block: &RowBlock) -> usize {
        if time > self.as_of { block.byte_len() } else { 0 }
    }

    /// Whether there are rows that were not yet sent.
    pub fn is_behind(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Ends it with an error that its reader gets in any case.
    pub fn end(self, error: SqlError) {
        let _ = self.lag.cut.set(error);
    }

    /// Sends what is durable. True: it has come to its end.
    fn release(&mut self, durable: Timestamp, last_tick: Timestamp, shown: &mut Timestamp) -> bool {
        // All that is complete, once everything up to the last tick is durable; a finished one completes at the end.
        let upto =
            if self.upto == u64::MAX && durable > last_tick { self.upto } else { self.upto.min(durable) };
        let upto = if upto >= self.until { u64::MAX } else { upto };
        if self.to.is_closed() {
            return true;
        }
        if self.lag.bytes.load(Ordering::Relaxed) > LAG_BYTES {
            let error = SqlError::new(
                code::CONFIGURATION_LIMIT_EXCEEDED,
                format!(
                    "the subscription was cut off: its reader is more than {} MiB behind",
                    LAG_BYTES >> 20
                ),
            );
            let _ = self.lag.cut.set(error.with_hint("Read faster, or subscribe to less."));
            return true;
        }
        if upto <= self.sent {
            return false;
        }
        if let Some((_, error)) = self.errors.take_if(|(t, _)| *t < upto) {
            let _ = self.lag.cut.set(error.into());
            return true;
        }
        let Ok(permit) = self.to.try_reserve() else { return false };
        let (mut rows, mut counted) = (vec![], 0);
        while let Some((time, block)) = self.queue.pop_front_if(|(time, _)| *time < upto) {
            counted += if time > self.as_of { block.byte_len() } else { 0 };
            *shown = (*shown).max(time);
            rows.push((time, block));
        }
        self.sent = upto;
        if upto != u64::MAX {
            *shown = (*shown).max(upto - 1);
        }
        permit.send(Changes { rows, counted, upto });
        upto == u64::MAX
    }
}

impl State {
    pub(crate) fn subscribe(&mut self, subscribe: Subscribe) {
        if subscribe.version != self.catalog.version {
            let _ = subscribe.reply.send(Ok(None));
            return;
        }
        let Subscribe { mut relation, snapshot, progress, as_of, up_to, session, reply, .. } = subscribe;
        self.fill_built_in(&mut relation, &session);
        let ids: Vec<GlobalId> = relation.depends_on().into_iter().collect();
        let time = match self.read_time(&ids, as_of, false) {
            Ok(time) => time,
            Err(e) => return drop(reply.send(Err(e))),
        };
        if up_to.is_some_and(|u| u < time) {
            let e = SqlError::new(
                code::INVALID_PARAMETER_VALUE,
                format!(
                    "subscription lower bound (\"AS OF\") {time} is greater than its upper bound (\"UP TO\")"
                ),
            );
            return drop(reply.send(Err(e)));
        }
        self.await_time(time);
        up_to.iter().for_each(|upper| self.await_time(upper.saturating_sub(1)));
        let id = self.transient();
        let (to, changes) = mpsc::channel(64);
        let lag = Arc::new(Lag::default());
        let subscribed = Subscribed { id, as_of: time, changes, lag: lag.clone() };
        if reply.send(Ok(Some(subscribed))).is_err() {
            return;
        }
        let subscription = Subscription {
            to,
            queue: VecDeque::new(),
            lag,
            errors: None,
            as_of: time,
            upto: time,
            until: up_to.unwrap_or(u64::MAX),
            sent: time,
            progress,
        };
        self.subscriptions.insert(id, subscription);
        self.install(id, "subscribe", relation, time, up_to, Output::Subscribe { snapshot });
        self.start_waiting();
    }

    /// Sends subscribers what is durable; cuts off who does not take it.
    pub(crate) fn release_subscriptions(&mut self) {
        let (durable, last_tick) = (self.durable() + 1, self.last_tick);
        let mut shown = self.last_shown;
        let ended = self
            .subscriptions
            .iter_mut()
            .filter_map(|(id, s)| s.release(durable, last_tick, &mut shown).then_some(*id));
        let ended: Vec<GlobalId> = ended.collect();
        self.last_shown = shown;
        ended.into_iter().for_each(|id| self.unsubscribe(id));
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&mut self, id: GlobalId) {
        if self.subscriptions.remove(&id).is_some() {
            self.drop_dataflow(id);
        }
    }
}
