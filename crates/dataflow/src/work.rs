//! How much operators do and keep, in rows: figures that are the same on every machine and in every run.
//!
//! Each worker counts for itself and adds its counts to those of the process when an operator has applied a time.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

static TOUCHED: AtomicU64 = AtomicU64::new(0);
static KEPT: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static COUNTED: Cell<(u64, i64)> = const { Cell::new((0, 0)) };
}

/// Rows, groups and pairs that operators of this process have looked at.
pub fn touched() -> u64 {
    TOUCHED.load(Ordering::Relaxed)
}

/// Rows and groups that operators of this process have taken into their states, less those that they let go. What ends
/// with its dataflow is not taken off.
pub fn kept() -> i64 {
    KEPT.load(Ordering::Relaxed)
}

/// So many more were looked at.
#[inline]
pub(crate) fn touch(rows: usize) {
    COUNTED.with(|c| c.set((c.get().0 + rows as u64, c.get().1)));
}

/// So many more are kept.
#[inline]
pub(crate) fn keep(rows: i64) {
    COUNTED.with(|c| c.set((c.get().0, c.get().1 + rows)));
}

/// Adds this thread's counts to those of the process.
pub(crate) fn publish() {
    let (touched, kept) = COUNTED.with(|c| c.replace((0, 0)));
    if touched != 0 {
        TOUCHED.fetch_add(touched, Ordering::Relaxed);
    }
    if kept != 0 {
        KEPT.fetch_add(kept, Ordering::Relaxed);
    }
}
