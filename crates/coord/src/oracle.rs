//! Hands out the timestamps of ticks: one sequence for all sources and tables, which never goes back.
//!
//! The clock may be set back, also between a crash and a restart. So a *mark* lies ahead of every timestamp given: it is
//! made durable before timestamps below it are used, and after a restart the next one is not below the mark.
//!
//! ```text
//!   ──── given ────►│                    │ mark (durable)
//!                   next                 next + BLOCK when it comes near
//! ```

use repr::Timestamp;

/// How far ahead timestamps are reserved, in milliseconds.
const BLOCK: Timestamp = 10_000;

/// The sequence of timestamps.
#[derive(Debug)]
pub struct Oracle {
    /// The last one given.
    last: Timestamp,
    /// All that are given lie below; durable once a frame with it is.
    mark: Timestamp,
}

impl Oracle {
    /// Goes on after a durable mark (0: a new log).
    pub fn new(durable_mark: Timestamp) -> Oracle {
        Oracle { last: durable_mark, mark: durable_mark }
    }

    /// The last timestamp given.
    pub fn last(&self) -> Timestamp {
        self.last
    }

    /// The next timestamp: now, or just after the last one where the clock has not moved on.
    pub fn next(&mut self, now: Timestamp) -> Timestamp {
        self.last = now.max(self.last + 1);
        self.last
    }

    /// The mark that must become durable with the frame of the last timestamp given, if the present one is used up.
    pub fn reserve(&mut self) -> Option<Timestamp> {
        if self.last < self.mark {
            return None;
        }
        self.mark = self.last + BLOCK;
        Some(self.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_does_not_set_time_back() {
        let mut oracle = Oracle::new(0);
        assert_eq!(oracle.next(1_000), 1_000);
        assert_eq!(oracle.reserve(), Some(11_000));
        assert_eq!(oracle.next(500), 1_001);
        assert_eq!(oracle.reserve(), None);
        let mut restarted = Oracle::new(11_000);
        assert_eq!(restarted.next(600), 11_001);
    }
}
