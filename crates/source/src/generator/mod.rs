//! Records out of a seed: Segment traffic for demos, tests and benches, and a counter.

mod law;
mod segment;
mod text;

use std::time::{Duration, Instant};

pub use law::Dice;
pub use segment::{SegmentEvents, Traffic};

use crate::reader::{Event, Output, Reader, State};
use crate::record::{RecordBatch, RecordRef};

/// `FROM LOAD GENERATOR SEGMENT`.
#[derive(Clone, Debug)]
pub struct SegmentGenerator {
    /// Equal seeds give equal streams.
    pub seed: u64,
    /// Events a second; none: as fast as they are taken.
    pub rate: Option<u64>,
    /// How many in all; none: without end.
    pub events: Option<u64>,
}

/// `FROM LOAD GENERATOR COUNTER`: 1, 2, 3 … as text.
#[derive(Clone, Debug)]
pub struct CounterGenerator {
    /// Between two.
    pub interval: Duration,
}

/// Gives out the Segment traffic of a seed.
#[derive(Debug)]
pub struct SegmentReader {
    config: SegmentGenerator,
    next: u64,
}

impl SegmentReader {
    /// A reader that begins at event `from`, counted from 0.
    pub fn new(config: SegmentGenerator, from: u64) -> SegmentReader {
        SegmentReader { config, next: from }
    }
}

impl Reader for SegmentReader {
    fn run(mut self: Box<Self>, out: &mut Output) {
        let mut events = SegmentEvents::new(Traffic::new(self.config.seed)).starting_at(self.next);
        let end = self.config.events.unwrap_or(u64::MAX);
        let mut pace = Pace::new(self.config.rate.map(|r| r as f64));
        let (mut batch, mut json) = (RecordBatch::default(), Vec::new());
        if self.config.events.is_some() && !out.send(Event::Known(vec![(0, end.min(i64::MAX as u64) as i64)]))
        {
            return;
        }
        if !out.status(State::Running, None) {
            return;
        }
        while self.next < end {
            let due = pace.due(out);
            if due == 0 {
                return;
            }
            for _ in 0..due.min(end - self.next) {
                json.clear();
                let received = events.fill(&mut json);
                let timestamp = Some(received as i64);
                batch.push(RecordRef {
                    offset: self.next as i64,
                    timestamp,
                    value: Some(&json),
                    ..RecordRef::default()
                });
                self.next += 1;
                if batch.is_full() && !out.send(Event::Batch(batch.take())) {
                    return;
                }
            }
            if !batch.is_empty() && !out.send(Event::Batch(batch.take())) {
                return;
            }
        }
        out.send(Event::Finished);
    }
}

/// Counts.
#[derive(Debug)]
pub struct CounterReader {
    config: CounterGenerator,
    next: u64,
}

impl CounterReader {
    /// A reader that has given out `from` numbers before.
    pub fn new(config: CounterGenerator, from: u64) -> CounterReader {
        CounterReader { config, next: from }
    }
}

impl Reader for CounterReader {
    fn run(mut self: Box<Self>, out: &mut Output) {
        let mut batch = RecordBatch::default();
        if !out.status(State::Running, None) {
            return;
        }
        loop {
            let value = (self.next + 1).to_string();
            batch.push(RecordRef {
                offset: self.next as i64,
                value: Some(value.as_bytes()),
                ..RecordRef::default()
            });
            self.next += 1;
            if !out.send(Event::Batch(batch.take())) || !out.wait(self.config.interval) {
                return;
            }
        }
    }
}

/// Lets records go at a rate.
struct Pace {
    rate: Option<f64>,
    begun: Instant,
    given: u64,
}

impl Pace {
    /// Records that are given out between two looks at the clock, when there is no rate.
    const UNPACED: u64 = 4_096;
    /// How often a rate is served.
    const STEP: Duration = Duration::from_millis(5);

    fn new(rate: Option<f64>) -> Pace {
        Pace { rate, begun: Instant::now(), given: 0 }
    }

    /// Waits until some are due and says how many; 0: stop.
    fn due(&mut self, out: &Output) -> u64 {
        let Some(rate) = self.rate else { return if out.stopped() { 0 } else { Self::UNPACED } };
        loop {
            let due = (self.begun.elapsed().as_secs_f64() * rate) as u64;
            if due > self.given {
                // Who was held up does not make up for it in one burst without bound.
                let n = (due - self.given).min(Self::UNPACED);
                self.given = if due - self.given > 16 * Self::UNPACED { due } else { self.given + n };
                return n;
            }
            if !out.wait(Self::STEP) {
                return 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use repr::Datum;

    use super::*;
    use crate::{SourceConfig, start};

    fn values(config: SourceConfig, from: i64, enough: usize) -> Vec<(i64, String)> {
        let (events, queue) = crossbeam_channel::unbounded();
        let handle = start(config, [(0, from)].into(), Box::new(move |e, _| events.send(e).is_ok()));
        let mut values = vec![];
        while values.len() < enough {
            match queue.recv_timeout(Duration::from_secs(20)).expect("the reader goes on") {
                Event::Batch(batch) => values.extend(batch.block.iter().map(|(row, _)| {
                    let datums: Vec<_> = row.iter().collect();
                    let Datum::Bytes(value) = datums[0] else { panic!("{row:?}") };
                    (datums[3].int(), String::from_utf8(value.to_vec()).expect("text"))
                })),
                Event::Finished => break,
                Event::Status(_) | Event::Known(_) | Event::Gaps(_) => {}
            }
        }
        handle.stop();
        values
    }

    #[test]
    fn a_generator_goes_on_where_it_stopped() {
        let config =
            |events| SourceConfig::Segment(SegmentGenerator { seed: 7, rate: None, events: Some(events) });
        let all = values(config(9_000), 0, usize::MAX);
        assert_eq!(all.len(), 9_000);
        assert_eq!(values(config(9_000), 5_000, usize::MAX), all[5_000..]);
        assert_eq!(values(config(9_000), 9_000, usize::MAX), []);
    }

    #[test]
    fn a_rate_is_kept_and_the_counter_counts() {
        let paced = SegmentGenerator { seed: 7, rate: Some(2_000), events: Some(200) };
        let begun = Instant::now();
        assert_eq!(values(SourceConfig::Segment(paced), 0, usize::MAX).len(), 200);
        assert!(begun.elapsed() >= Duration::from_millis(95));
        let counter = CounterGenerator { interval: Duration::from_millis(1) };
        assert_eq!(
            values(SourceConfig::Counter(counter), 4, 3)[..3],
            [(4, "5".to_string()), (5, "6".into()), (6, "7".into())]
        );
    }
}
