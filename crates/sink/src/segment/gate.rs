//! When a request may go: not more often than a rate, and not while the API has asked to wait.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One for each connection, whatever number of sinks and lanes send over it.
#[derive(Debug, Default)]
pub struct Gate(Mutex<Option<Instant>>);

impl Gate {
    /// How long until a request may go; none: it goes now, and the next one so much later that `rate` requests go in a
    /// second.
    pub(super) fn enter(&self, rate: f64, now: Instant) -> Option<Duration> {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = next.and_then(|next| next.checked_duration_since(now)).filter(|w| !w.is_zero()) {
            return Some(wait);
        }
        *next = Some(now + Duration::from_secs_f64(1.0 / rate.max(0.001)));
        None
    }

    /// Nothing goes for this time.
    pub(super) fn close(&self, time: Duration, now: Instant) {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(Some(now + time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_at_a_rate_and_not_while_it_is_closed() {
        let (gate, start) = (Gate::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(gate.enter(10.0, start), None);
        assert_eq!(gate.enter(10.0, at(40)), ms(60), "whoever asks");
        assert_eq!(gate.enter(10.0, at(100)), None);
        gate.close(Duration::from_secs(2), at(150));
        gate.close(Duration::from_millis(1), at(160));
        assert_eq!(gate.enter(10.0, at(250)), ms(1_900), "the longer pause counts");
        assert_eq!(gate.enter(10.0, at(2_150)), None);
    }
}
