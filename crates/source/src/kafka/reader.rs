//! Reads a topic: what comes is collected into batches, what goes wrong becomes a status.
//!
//! ```text
//!   watcher thread ── what partitions there are, where they end ──► reader thread ── batches, statuses ──► out
//!        └────────────────────── one librdkafka client ─────────────────┘
//! ```
//!
//! Questions to the broker block, so they have a thread of their own; all decisions are made on the reader's thread, in
//! the order in which it hears of things.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::client::{Client, Live, Polled, Trouble};
use super::{KafkaSource, valid_topic};
use crate::reader::{Durable, Event, Output, Reader, State, Stop};
use crate::record::RecordBatch;

/// How often the topic is looked at unless the source says otherwise, and while something is wrong.
const REFRESH: Duration = Duration::from_secs(3);
const REFRESH_IN_TROUBLE: Duration = Duration::from_millis(300);
/// How long an answer of the broker is waited for.
const ANSWER: Duration = Duration::from_secs(2);
/// A batch is handed over when nothing came for this long,
const LINGER: Duration = Duration::from_millis(2);
/// or this long after its first record. The engine's ticks gather small batches.
const MAX_LINGER: Duration = Duration::from_millis(8);
/// How long one wait for records is: a stop or a new partition is noticed after that.
const IDLE: Duration = Duration::from_millis(40);
/// How many partitions are asked for their ends in one look.
const ENDS_A_LOOK: usize = 64;
/// No topic has a partition beyond this number.
const MAX_PARTITION: i32 = 1 << 20;

/// Reads a topic.
#[derive(Debug)]
pub struct KafkaReader {
    source: KafkaSource,
    from: BTreeMap<i32, i64>,
}

impl KafkaReader {
    /// A reader that begins each partition at the offset in `from`, or at its first record.
    pub fn new(source: KafkaSource, from: BTreeMap<i32, i64>) -> KafkaReader {
        KafkaReader { source, from }
    }
}

impl Reader for KafkaReader {
    fn run(self: Box<Self>, out: &mut Output) {
        let KafkaReader { source, from } = *self;
        if !valid_topic(&source.topic) {
            let cause = format!("\"{}\" is not a name that a Kafka topic can have", source.topic);
            out.status(State::Failed, Some(cause));
            return;
        }
        let refresh = source.metadata_refresh.unwrap_or(REFRESH);
        let client = match Live::new(&source, refresh) {
            Ok(client) => Arc::new(client),
            Err(e) => {
                out.status(State::Failed, Some(e.to_string()));
                return;
            }
        };
        let hurry = Arc::new(AtomicBool::new(false));
        let (looks, seen) = bounded(1);
        let durable = Durables::default();
        let watcher = Watcher {
            client: Arc::clone(&client),
            durable: Arc::clone(&durable),
            hurry: Arc::clone(&hurry),
            refresh,
            stop: out.stop_signal(),
            looks,
        };
        let watching = std::thread::Builder::new().name("source-watch".into()).spawn(move || watcher.run());
        if let Err(e) = watching {
            out.status(State::Failed, Some(format!("no thread could be started: {e}")));
            return;
        }
        Session::new(&*client, &source.topic, from, &hurry, durable).run(&seen, out);
    }
}

/// How far each partition is durable here, as far as the consumer group does not know it yet.
type Durables = Arc<Mutex<BTreeMap<i32, i64>>>;

fn lock(durable: &Durables) -> MutexGuard<'_, BTreeMap<i32, i64>> {
    durable.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the watcher saw of the topic.
#[derive(Clone, Debug)]
struct Look {
    partitions: Result<Vec<i32>, Trouble>,
    /// Partition, first offset, end.
    ends: Vec<(i32, i64, i64)>,
}

struct Watcher {
    client: Arc<Live>,
    durable: Durables,
    hurry: Arc<AtomicBool>,
    refresh: Duration,
    stop: Arc<Stop>,
    looks: Sender<Look>,
}

impl Watcher {
    fn run(self) {
        let mut first = 0;
        loop {
            let durable: Vec<(i32, i64)> = std::mem::take(&mut *lock(&self.durable)).into_iter().collect();
            if !durable.is_empty() {
                self.client.commit(&durable);
            }
            let partitions = self.client.partitions(ANSWER);
            let mut ends = vec![];
            if let Ok(all) = &partitions {
                let n = all.len().min(ENDS_A_LOOK);
                for partition in all.iter().cycle().skip(first).take(n) {
                    if let Ok((low, high)) = self.client.ends(*partition, ANSWER) {
                        ends.push((*partition, low, high));
                    }
                    if self.stop.is_set() {
                        return;
                    }
                }
                first = if all.is_empty() { 0 } else { (first + n) % all.len() };
            }
            // The other end goes when the reader ends.
            if self.looks.send(Look { partitions, ends }).is_err() {
                return;
            }
            let pause = if self.hurry.load(Ordering::Relaxed) { REFRESH_IN_TROUBLE } else { self.refresh };
            if !self.stop.wait(pause.min(self.refresh)) {
                return;
            }
        }
    }
}

/// The state of one reading.
struct Session<'a> {
    client: &'a dyn Client,
    topic: &'a str,
    hurry: &'a AtomicBool,
    /// The next offset of each partition, -1 where nothing was read or stored.
    next: Vec<i64>,
    assigned: BTreeSet<i32>,
    /// Partitions whose next record is not there, and what to say about them.
    gaps: BTreeMap<i32, String>,
    /// Why nothing can be read at all.
    trouble: Option<String>,
    /// Whether the broker has answered yet.
    heard: bool,
    batch: RecordBatch,
    durable: Durables,
}

impl<'a> Session<'a> {
    fn new(
        client: &'a dyn Client,
        topic: &'a str,
        from: BTreeMap<i32, i64>,
        hurry: &'a AtomicBool,
        durable: Durables,
    ) -> Session<'a> {
        let mut session = Session {
            client,
            topic,
            hurry,
            next: vec![],
            assigned: BTreeSet::new(),
            gaps: BTreeMap::new(),
            trouble: None,
            heard: false,
            batch: RecordBatch::default(),
            durable,
        };
        for (partition, offset) in from {
            if let Some(next) = next_of(&mut session.next, partition) {
                *next = offset;
            }
        }
        session
    }

    fn run(&mut self, looks: &Receiver<Look>, out: &mut Output) {
        while self.step(looks, out) {}
    }

    /// Reads one batch, or waits for a while. False: stop.
    fn step(&mut self, looks: &Receiver<Look>, out: &mut Output) -> bool {
        while let Ok(look) = looks.try_recv() {
            if !self.look(look, out) {
                return false;
            }
        }
        if out.stopped() {
            return false;
        }
        // What can be read lies in the client's queue already; so nothing is waited for as long as something is there.
        let mut wait = if self.assigned.is_empty() { LINGER } else { IDLE };
        let mut begun = None;
        let mut records = 0u32;
        loop {
            let (next, batch) = (&mut self.next, &mut self.batch);
            let polled = self.client.poll(wait, &mut |record| {
                // A record that was read before comes again when a partition is assigned anew.
                if let Some(next) = next_of(next, record.partition)
                    && record.offset >= *next
                {
                    *next = record.offset + 1;
                    batch.push(record);
                }
            });
            match polled {
                Polled::Record => {
                    wait = Duration::ZERO;
                    records += 1;
                    let begun = *begun.get_or_insert_with(Instant::now);
                    if self.batch.is_full() || (records.is_multiple_of(256) && begun.elapsed() >= MAX_LINGER)
                    {
                        return self.hand_over(out);
                    }
                }
                Polled::Nothing => match begun {
                    Some(begun) if wait.is_zero() && begun.elapsed() < LINGER => wait = LINGER / 2,
                    _ => return self.hand_over(out),
                },
                Polled::Gap => return self.hand_over(out) && self.find_gaps(out),
                Polled::Down(trouble) => {
                    self.trouble = Some(trouble.text());
                    return self.hand_over(out) && self.tell(out);
                }
            }
        }
    }

    fn hand_over(&mut self, out: &mut Output) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let mut batch = self.batch.take();
        let (durable, progress) = (Arc::clone(&self.durable), batch.progress.clone());
        batch.durable = Some(Durable::new(move || lock(&durable).extend(progress)));
        self.heard = true;
        self.trouble = None;
        self.tell(out) && out.send(Event::Batch(batch))
    }

    fn look(&mut self, look: Look, out: &mut Output) -> bool {
        let partitions = match look.partitions {
            Ok(partitions) => partitions,
            Err(Trouble::NoTopic) => {
                self.trouble = Some(format!("topic \"{}\" does not exist", self.topic));
                return self.tell(out);
            }
            Err(trouble) => {
                let reason = self.client.reason().unwrap_or(trouble);
                self.trouble = Some(reason.text());
                return self.tell(out);
            }
        };
        (self.heard, self.trouble) = (true, None);
        let mut new = vec![];
        for partition in partitions.into_iter().filter(|p| !self.assigned.contains(p)) {
            if let Some(next) = next_of(&mut self.next, partition) {
                new.push((partition, (*next >= 0).then_some(*next)));
            }
        }
        if !new.is_empty() {
            match self.client.assign(&new) {
                Ok(()) => self.assigned.extend(new.iter().map(|(p, _)| *p)),
                Err(trouble) => self.trouble = Some(trouble.text()),
            }
        }
        for (partition, low, high) in &look.ends {
            // What was missing is there again, after a restore perhaps.
            let next = next_of(&mut self.next, *partition).map_or(-1, |n| *n);
            if self.gaps.contains_key(partition)
                && (*low..=*high).contains(&next)
                && self.client.reassign(*partition, Some(next)).is_ok()
            {
                self.gaps.remove(partition);
            }
        }
        let known: Vec<_> = look.ends.iter().map(|(partition, _, high)| (*partition, *high)).collect();
        self.tell(out) && (known.is_empty() || out.send(Event::Known(known)))
    }

    /// Some partition does not have its next record: finds out which, and what there is instead.
    fn find_gaps(&mut self, out: &mut Output) -> bool {
        for partition in self.assigned.clone() {
            let next = next_of(&mut self.next, partition).map_or(-1, |n| *n);
            let Ok((low, high)) = self.client.ends(partition, ANSWER) else { continue };
            let remedy = "drop and create the source to read what is there";
            if next < 0 {
                // Retention was faster than our first question. Nothing was read, so nothing is lost.
                if low > 0 && self.client.reassign(partition, None).is_err() {
                    self.trouble =
                        Some(format!("partition {partition} cannot be read from its first record"));
                }
            } else if next < low {
                let (last, n) = (low - 1, low - next);
                let gap = format!(
                    "partition {partition}: records {next} to {last} ({n}) were removed by the broker before they were \
                     read; {remedy}"
                );
                self.gaps.insert(partition, gap);
            } else if next > high {
                let gap = format!(
                    "partition {partition} ends at {high}, but was read up to {next}: the topic was recreated or cut \
                     off; {remedy}"
                );
                self.gaps.insert(partition, gap);
            }
            if out.stopped() {
                return false;
            }
        }
        self.tell(out)
    }

    /// Says how the reader is.
    fn tell(&mut self, out: &mut Output) -> bool {
        let gaps = self.gaps.values().map(String::as_str).collect::<Vec<_>>().join("; ");
        let cause = self.trouble.clone().or((!gaps.is_empty()).then_some(gaps));
        self.hurry.store(cause.is_some(), Ordering::Relaxed);
        match cause {
            Some(cause) => out.status(State::Stalled, Some(cause)),
            None if self.heard => out.status(State::Running, None),
            None => !out.stopped(),
        }
    }
}

/// The place of a partition's next offset. None for numbers that no partition has.
fn next_of(next: &mut Vec<i64>, partition: i32) -> Option<&mut i64> {
    let i = usize::try_from(partition).ok().filter(|_| partition < MAX_PARTITION)?;
    if i >= next.len() {
        next.resize(i + 1, -1);
    }
    next.get_mut(i)
}

#[cfg(test)]
mod tests;
