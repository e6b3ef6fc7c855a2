//! What a read waits for, in words for the one who asked.
//!
//! A read at a time waits until all it reads is complete there. That is a matter of milliseconds, but for a view that is
//! still being built, a time that has not come, a disk that hangs. A session that has waited for a while asks the loop
//! why, and passes the answer on as a notice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use repr::{GlobalId, SqlError, SqlState, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::command::Command;
use crate::coordinator::{Handle, Object, ObjectKind, State};

/// After how long a read says what it waits for; then each time four times as long.
const FIRST: Duration = Duration::from_millis(300);
/// The longest silence of one that waits.
const LONGEST: Duration = Duration::from_secs(60);

/// Notices on their way from a session, and from reads that it has started, to its client.
#[derive(Debug, Default)]
pub struct Notices {
    queue: Mutex<VecDeque<SqlError>>,
    silent: AtomicBool,
    urgent: Notify,
}

impl Notices {
    /// Goes out with the end of the statement.
    pub(crate) fn push(&self, notice: SqlError) {
        if !self.silent.load(Ordering::Relaxed) {
            self.queue.lock().expect("nothing panics under this lock").push_back(notice);
        }
    }

    /// Goes out at once.
    fn push_now(&self, notice: SqlError) {
        self.push(notice);
        self.urgent.notify_one();
    }

    /// What `client_min_messages` says.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// Those since the last call.
    pub fn take(&self) -> Vec<SqlError> {
        self.queue.lock().expect("nothing panics under this lock").drain(..).collect()
    }

    /// Returns when there is a notice that should not wait for the end of its statement.
    pub async fn urgent(&self) {
        self.urgent.notified().await
    }
}

/// A read that may have to wait for its first rows.
pub(crate) struct Wait {
    pub handle: Handle,
    pub notices: Arc<Notices>,
    pub ids: Vec<GlobalId>,
    pub time: Timestamp,
}

impl Wait {
    /// The first that comes.
    pub async fn first<T>(&self, from: &mut mpsc::Receiver<T>) -> Option<T> {
        self.on(from.recv()).await
    }

    /// What work gives, with notices while it does not.
    pub async fn on<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let (mut patience, mut last) = (FIRST, vec![]);
        loop {
            if let Ok(result) = tokio::time::timeout(patience, &mut work).await {
                return result;
            }
            let (reply, answer) = oneshot::channel();
            let ask = Command::WhyWaiting { ids: self.ids.clone(), time: self.time, reply };
            if self.handle.send(ask).is_err() {
                return work.await;
            }
            let reasons = answer.await.unwrap_or_default();
            if reasons != last {
                reasons.iter().cloned().for_each(|notice| self.notices.push_now(notice));
                last = reasons;
            }
            patience = (patience * 4).min(LONGEST);
        }
    }
}

/// How much of an input's stored rows has gone into a dataflow that is being built.
#[derive(Debug)]
pub(crate) struct Hydration {
    pub input: GlobalId,
    pub read: Arc<AtomicU64>,
    pub total: u64,
}

fn notice(message: String, detail: String) -> SqlError {
    SqlError::new(SqlState::new("00000"), message).with_detail(detail)
}

impl State {
    /// Why a read of these at this time has no rows yet: one notice for each cause.
    pub(crate) fn why_waiting(&self, ids: &[GlobalId], time: Timestamp) -> Vec<SqlError> {
        let mut notices = vec![];
        if time > self.last_tick {
            let detail = format!("The read is at {time}, the newest data is at {}.", self.last_tick);
            notices.push(notice("the read waits for a time that has not come yet".into(), detail));
        } else if time > self.durable() {
            let detail = format!("The read is at {time}, the disk has all up to {}.", self.durable());
            notices.push(notice("the read waits for the disk".into(), detail));
        }
        for id in ids {
            let indexes = self
                .objects
                .iter()
                .filter(|(_, o)| matches!(&o.kind, ObjectKind::Index { on, .. } if on == id));
            let own = self.objects.get(id).map(|o| (id, o));
            for (object, o) in own.into_iter().chain(indexes) {
                if o.frontier <= time.min(self.last_tick) {
                    notices.push(self.behind(*object, o, time));
                }
            }
        }
        notices.extend(self.stalled(ids));
        notices
    }

    fn behind(&self, id: GlobalId, object: &Object, time: Timestamp) -> SqlError {
        let kind = match object.kind {
            ObjectKind::View { .. } => "materialized view",
            ObjectKind::Index { .. } => "index",
        };
        let what = format!("{kind} \"{}\"", self.name(id));
        if object.caught_up {
            let detail = format!("It is complete before {}, the read is at {time}.", object.frontier);
            return notice(format!("the read waits for {what}, which is behind"), detail);
        }
        let inputs: Vec<String> = object
            .hydration
            .iter()
            .map(|h| {
                let read = h.read.load(Ordering::Relaxed).min(h.total);
                format!("{read} of {} stored changes of \"{}\"", h.total, self.name(h.input))
            })
            .collect();
        let detail = match inputs.is_empty() {
            true => "It has not begun to read its inputs.".into(),
            false => format!("It has read {}.", inputs.join(", ")),
        };
        notice(format!("the read waits for {what}, which is still being built"), detail)
    }

    /// Sources below these objects that get nothing.
    pub(crate) fn stalled(&self, ids: &[GlobalId]) -> Vec<SqlError> {
        let seen = self.catalog.sources_below(ids.iter().copied());
        let stalled = seen.iter().filter_map(|id| Some((id, self.statuses.get(id)?)));
        stalled
            .filter(|(_, s)| s.status == "stalled")
            .map(|(id, s)| {
                let detail = s.error.clone().unwrap_or_else(|| "The cause is not known.".into());
                let message = format!("source \"{}\" is stalled: newer data may be missing", self.name(*id));
                notice(message, detail)
            })
            .collect()
    }

    fn name(&self, id: GlobalId) -> String {
        let id = self.catalog.source_of_raw(id).unwrap_or(id);
        self.catalog.items.get(&id).map_or_else(|| id.to_string(), |i| i.name.item.clone())
    }
}
