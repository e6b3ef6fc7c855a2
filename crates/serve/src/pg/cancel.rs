//! Cancel requests: another connection names a running one by its number and secret.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// The connections that can be cancelled.
#[derive(Default)]
pub(super) struct Cancels {
    running: Mutex<HashMap<i32, (i32, Arc<Notify>)>>,
    random: RandomState,
}

impl Cancels {
    /// Registers a connection; returns its secret and what wakes when it is to stop.
    pub fn register(&self, pid: i32) -> (i32, Arc<Notify>) {
        let secret = self.random.hash_one(pid) as i32;
        let notify = Arc::new(Notify::new());
        self.lock().insert(pid, (secret, notify.clone()));
        (secret, notify)
    }

    /// Forgets a connection.
    pub fn remove(&self, pid: i32) {
        self.lock().remove(&pid);
    }

    /// Wakes the connection, if the secret is right.
    pub fn cancel(&self, pid: i32, secret: i32) {
        if let Some((right, notify)) = self.lock().get(&pid)
            && *right == secret
        {
            // Only who runs something right now listens; a request between statements has no effect, as in Postgres.
            notify.notify_waiters();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, (i32, Arc<Notify>)>> {
        self.running.lock().expect("nothing panics under this lock")
    }
}
