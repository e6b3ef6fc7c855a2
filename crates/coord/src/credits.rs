//! Bounds what readers have handed over and the engine has not digested.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Bytes in flight, against a limit. A reader waits while it is spent.
#[derive(Debug)]
pub struct Credits {
    limit: usize,
    used: Mutex<(usize, bool)>,
    freed: Condvar,
}

impl Credits {
    /// So many bytes may be in flight.
    pub fn new(limit: usize) -> Credits {
        Credits { limit, used: Mutex::new((0, false)), freed: Condvar::new() }
    }

    /// Takes `bytes`, waiting until something is free (one batch may overdraw). False once closed or when `stopped`.
    pub fn acquire(&self, bytes: usize, stopped: impl Fn() -> bool) -> bool {
        let mut used = self.used.lock().expect("nothing panics under this lock");
        while used.0 >= self.limit && !used.1 {
            if stopped() {
                return false;
            }
            let waited = self.freed.wait_timeout(used, Duration::from_millis(100));
            used = waited.expect("nothing panics under this lock").0;
        }
        used.0 += bytes;
        !used.1
    }

    /// Gives `bytes` back.
    pub fn release(&self, bytes: usize) {
        if bytes > 0 {
            let mut used = self.used.lock().expect("nothing panics under this lock");
            used.0 = used.0.saturating_sub(bytes);
            self.freed.notify_all();
        }
    }

    /// Lets everybody who waits go; nothing can be taken any more.
    pub fn close(&self) {
        self.used.lock().expect("nothing panics under this lock").1 = true;
        self.freed.notify_all();
    }
}
