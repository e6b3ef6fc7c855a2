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
use super::{KafkaSource, Mark, valid_topic};
use crate::reader::{Durable, Event, Gap, Output, Reader, State, Stop};
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
/// How often the last record is compared with the broker's while records come, and while it is another one.
const SAME_TOPIC: Duration = Duration::from_secs(15);
const SAME_TOPIC_IN_TROUBLE: Duration = Duration::from_secs(2);
/// So many partitions are asked for their last record; all of a topic are made anew together.
const MARKS_ASKED: usize = 4;
/// No topic has a partition beyond this number.
const MAX_PARTITION: i32 = 1 << 20;

/// Reads a topic.
#[derive(Debug)]
pub struct KafkaReader {
    source: KafkaSource,
    from: BTreeMap<i32, i64>,
    marks: BTreeMap<i32, Mark>,
}

impl KafkaReader {
    /// A reader that begins each partition at the offset in `stored`, or at its first record. Marks lie among the offsets.
    pub fn new(source: KafkaSource, stored: BTreeMap<i32, i64>) -> KafkaReader {
        let (from, marks): (BTreeMap<i32, i64>, BTreeMap<i32, i64>) =
            stored.into_iter().partition(|(p, _)| *p >= 0);
        let mark = |(p, next): (&i32, &i64)| Some((*p, Mark::decode(*marks.get(&Mark::key(*p))?, *next)?));
        let marks = from.iter().filter_map(mark).collect();
        KafkaReader { source, from, marks }
    }
}

impl Reader for KafkaReader {
    fn run(self: Box<Self>, out: &mut Output) {
        let KafkaReader { source, from, marks } = *self;
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
        let marks = Arc::new(Mutex::new(Marks { last: marks, suspect: true, short: false }));
        let watcher = Watcher {
            client: Arc::clone(&client),
            durable: Arc::clone(&durable),
            marks: Arc::clone(&marks),
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
        Session::new(&*client, &source.topic, from, &hurry, durable, marks).run(&seen, out);
    }
}

/// How far each partition is durable here, as far as the consumer group does not know it yet.
type Durables = Arc<Mutex<BTreeMap<i32, i64>>>;

/// What is needed to tell whether the topic is still the one that was read.
#[derive(Debug, Default)]
struct Marks {
    /// The last record of each partition.
    last: BTreeMap<i32, Mark>,
    /// The topic may have been made anew since it was compared last: nothing is read before it was compared again.
    suspect: bool,
    /// A partition ends before its next record: it is read again only when the topic is known to be the same.
    short: bool,
}

/// What a comparison of the last records with the broker's gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Topic {
    /// It was not made just now, or there is nothing to compare.
    #[default]
    Unknown,
    /// It has the record that was read.
    Same,
    /// It has another record at this partition and offset.
    Other(i32, i64),
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the watcher saw of the topic.
#[derive(Clone, Debug)]
struct Look {
    partitions: Result<Vec<i32>, Trouble>,
    /// Partition, first offset, end.
    ends: Vec<(i32, i64, i64)>,
    /// Whether it is the topic that was read.
    topic: Topic,
}

struct Watcher {
    client: Arc<Live>,
    durable: Durables,
    marks: Arc<Mutex<Marks>>,
    hurry: Arc<AtomicBool>,
    refresh: Duration,
    stop: Arc<Stop>,
    looks: Sender<Look>,
}

impl Watcher {
    fn run(self) {
        let mut first = 0;
        let mut compare = Compare::default();
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
            let topic = match &partitions {
                Ok(there) => self.compare(&mut compare, there),
                Err(_) => {
                    lock(&self.marks).suspect = true;
                    Topic::Unknown
                }
            };
            // The other end goes when the reader ends.
            if self.looks.send(Look { partitions, ends, topic }).is_err() {
                return;
            }
            // Trouble that comes up meanwhile makes the pause short.
            let mut waited = Duration::ZERO;
            while waited < self.refresh {
                let pause = REFRESH_IN_TROUBLE.min(self.refresh - waited);
                if !self.stop.wait(pause) {
                    return;
                }
                waited += pause;
                if self.hurry.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    }

    /// Whether the topic is still the one that was read.
    fn compare(&self, state: &mut Compare, partitions: &[i32]) -> Topic {
        let (suspect, short, marks) = {
            let mut shared = lock(&self.marks);
            let marks: Vec<(i32, Mark)> = shared.last.iter().map(|(p, m)| (*p, *m)).collect();
            (std::mem::take(&mut shared.suspect), shared.short, marks)
        };
        let rested = |pause| state.at.is_none_or(|at| at.elapsed() >= pause);
        let other = matches!(state.last, Topic::Other(..));
        let due = match other || short {
            true => (suspect && !other) || rested(SAME_TOPIC_IN_TROUBLE),
            false => suspect || (marks != state.seen && rested(SAME_TOPIC)),
        };
        if !due {
            return if other { state.last } else { Topic::Unknown };
        }
        (state.at, state.last) = (Some(Instant::now()), Topic::Unknown);
        for (partition, mark) in marks.iter().filter(|(p, _)| partitions.contains(p)).take(MARKS_ASKED) {
            let found = self.client.mark_at(*partition, mark.offset, ANSWER);
            state.last = match found {
                Some(found) if found == *mark => Topic::Same,
                Some(_) => Topic::Other(*partition, mark.offset),
                None => Topic::Unknown,
            };
            if found.is_some() || self.stop.is_set() {
                break;
            }
        }
        state.seen = marks;
        state.last
    }
}

/// What is known of the topic being the same.
#[derive(Default)]
struct Compare {
    /// When it was compared last, with which marks, and what came of it.
    at: Option<Instant>,
    seen: Vec<(i32, Mark)>,
    last: Topic,
}

/// The state of one reading.
struct Session<'a> {
    client: &'a dyn Client,
    topic: &'a str,
    hurry: &'a AtomicBool,
    /// The next offset of each partition, -1 where nothing was read or stored.
    next: Vec<i64>,
    assigned: BTreeSet<i32>,
    /// Partitions whose next record is not there.
    gaps: BTreeMap<i32, Missing>,
    /// What was told of them.
    told: Vec<Gap>,
    /// A record that is another one than the one that was read: nothing is read from this topic.
    other: Option<(i32, i64)>,
    /// Why nothing can be read at all.
    trouble: Option<String>,
    /// Whether the broker has answered yet.
    heard: bool,
    batch: RecordBatch,
    durable: Durables,
    marks: Arc<Mutex<Marks>>,
}

/// Why a partition's next record is not there.
#[derive(Clone, Copy, Debug)]
enum Missing {
    /// The broker has removed it.
    Removed(Gap),
    /// The partition ends before it: `(end, next)`.
    CutOff(i64, i64),
}

impl Missing {
    fn text(self, partition: i32) -> String {
        match self {
            Missing::Removed(Gap { next, first, .. }) => {
                let (n, last) = (first - next, first - 1);
                let s = if n == 1 { "" } else { "s" };
                format!(
                    "gap of {n} offset{s} in partition {partition}: {next} to {last} were removed by the broker before they \
                     were read; ALTER SOURCE … SKIP GAP goes on after them"
                )
            }
            Missing::CutOff(end, next) => format!(
                "partition {partition} ends at {end}, but was read up to {next}: the topic was recreated or cut off; drop \
                 and create the source to read what is there"
            ),
        }
    }
}

impl<'a> Session<'a> {
    fn new(
        client: &'a dyn Client,
        topic: &'a str,
        from: BTreeMap<i32, i64>,
        hurry: &'a AtomicBool,
        durable: Durables,
        marks: Arc<Mutex<Marks>>,
    ) -> Session<'a> {
        let mut session = Session {
            client,
            topic,
            hurry,
            next: vec![],
            assigned: BTreeSet::new(),
            gaps: BTreeMap::new(),
            told: vec![],
            other: None,
            trouble: None,
            heard: false,
            batch: RecordBatch::default(),
            durable,
            marks,
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
                    let handed = self.hand_over(out);
                    // What comes back may be another topic: it is read again once it was compared.
                    lock(&self.marks).suspect = true;
                    self.trouble.get_or_insert_with(|| trouble.text());
                    self.unassign();
                    return handed && self.tell(out);
                }
            }
        }
    }

    fn unassign(&mut self) {
        let all: Vec<i32> = std::mem::take(&mut self.assigned).into_iter().collect();
        if !all.is_empty()
            && let Err(trouble) = self.client.unassign(&all)
        {
            self.trouble = Some(trouble.text());
        }
    }

    fn hand_over(&mut self, out: &mut Output) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let mut batch = self.batch.take();
        let (durable, progress) = (Arc::clone(&self.durable), batch.progress.clone());
        let marks = Mark::of_block(&batch.block, &batch.progress);
        batch.marks = marks.iter().map(|(p, mark)| (Mark::key(*p), mark.encode())).collect();
        lock(&self.marks).last.extend(marks);
        batch.durable = Some(Durable::new(move || lock(&durable).extend(progress)));
        self.heard = true;
        self.trouble = None;
        self.tell(out) && out.send(Event::Batch(batch))
    }

    fn look(&mut self, look: Look, out: &mut Output) -> bool {
        let partitions = match look.partitions {
            Ok(partitions) => partitions,
            Err(Trouble::NoTopic) => {
                self.unassign();
                self.trouble = Some(format!("topic \"{}\" does not exist", self.topic));
                return self.tell(out);
            }
            Err(trouble) => {
                self.unassign();
                let reason = self.client.reason().unwrap_or(trouble);
                self.trouble = Some(reason.text());
                return self.tell(out);
            }
        };
        (self.heard, self.trouble) = (true, None);
        self.other = match look.topic {
            Topic::Other(partition, offset) => Some((partition, offset)),
            Topic::Same | Topic::Unknown => None,
        };
        if self.other.is_some() {
            self.gaps.clear();
            self.unassign();
            return self.tell(out);
        }
        let mut new = vec![];
        // A look that is older than the last trouble is not enough to read on.
        let partitions = if lock(&self.marks).suspect { vec![] } else { partitions };
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
            let repaired = match self.gaps.get(partition) {
                None => false,
                Some(Missing::Removed(_)) => true,
                // Records came, but of which topic?
                Some(Missing::CutOff(..)) => look.topic == Topic::Same,
            };
            if repaired
                && (*low..=*high).contains(&next)
                && self.client.reassign(*partition, Some(next)).is_ok()
            {
                self.gaps.remove(partition);
            }
        }
        // Ends that were asked for may be older than what has been read since: ask again before saying so.
        let short =
            |(p, _, high): &(i32, i64, i64)| self.next.get(*p as usize).is_some_and(|next| next > high);
        if look.ends.iter().any(short) && !self.find_gaps(out) {
            return false;
        }
        let known: Vec<_> = look.ends.iter().map(|(partition, _, high)| (*partition, *high)).collect();
        self.tell(out) && (known.is_empty() || out.send(Event::Known(known)))
    }

    /// Some partition does not have its next record: finds out which, and what there is instead.
    fn find_gaps(&mut self, out: &mut Output) -> bool {
        for partition in self.assigned.clone() {
            let next = next_of(&mut self.next, partition).map_or(-1, |n| *n);
            let Ok((low, high)) = self.client.ends(partition, ANSWER) else { continue };
            if next < 0 {
                // Retention was faster than our first question. Nothing was read, so nothing is lost.
                if low > 0 && self.client.reassign(partition, None).is_err() {
                    self.trouble =
                        Some(format!("partition {partition} cannot be read from its first record"));
                }
            } else if next < low {
                let gap = Gap { partition, next, first: low };
                self.gaps.insert(partition, Missing::Removed(gap));
            } else if next > high {
                self.gaps.insert(partition, Missing::CutOff(high, next));
            }
            if out.stopped() {
                return false;
            }
        }
        self.tell(out)
    }

    /// Says how the reader is.
    fn tell(&mut self, out: &mut Output) -> bool {
        let gaps = self.gaps.iter().map(|(p, m)| m.text(*p)).collect::<Vec<_>>().join("; ");
        let other = self.other.map(|(partition, offset)| {
            format!(
                "topic \"{}\" was deleted and made anew: the record at offset {offset} of partition {partition} is not the \
                 one that was read; what was read stays; drop and create the source to read the new topic",
                self.topic
            )
        });
        let cause = self.trouble.clone().or(other).or((!gaps.is_empty()).then_some(gaps));
        self.hurry.store(cause.is_some(), Ordering::Relaxed);
        lock(&self.marks).short = self.gaps.values().any(|m| matches!(m, Missing::CutOff(..)));
        let removed = |m: &Missing| match m {
            Missing::Removed(gap) => Some(*gap),
            Missing::CutOff(..) => None,
        };
        let gaps: Vec<Gap> = self.gaps.values().filter_map(removed).collect();
        if gaps != self.told {
            self.told.clone_from(&gaps);
            if !out.send(Event::Gaps(gaps)) {
                return false;
            }
        }
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
