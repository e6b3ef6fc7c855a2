//! Lanes: each sends the calls of its users, one request at a time, so that no user's call is overtaken by a later one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use repr::Row;

use super::api::{Answer, Api, backoff};
use super::letters::Letters;
use super::{DeadLetter, Delivery, Event, Gate};
use crate::feed::{Said, Say, Stopped};

/// What a call comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// A change at this time.
    Change(u64),
    /// A dead letter that is sent again, as its relation has it.
    Letter(Row),
}

/// A call on its way.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub origin: Origin,
    pub event: Event,
}

/// What the lanes of a sink share.
pub(super) struct Shared {
    pub delivery: Delivery,
    pub api: Api,
    /// The sink's own rate; its connection has another.
    pub rate: Gate,
    pub letters: Option<Letters>,
    pub now: Box<dyn Fn() -> u64 + Send + Sync>,
    pub stop: Receiver<()>,
    pub book: Mutex<Book>,
}

/// What is on its way, and what is to be told.
pub(super) struct Book {
    pub say: Say,
    /// Calls that are neither taken nor dead, by the times of their changes.
    outstanding: BTreeMap<u64, usize>,
    /// The calls of all changes up to here are in lanes, or were; none while the first rows are not.
    pub complete: Option<u64>,
    /// What was told last.
    told: Option<u64>,
    /// Told once all of their time is delivered: until then a restart would make them again.
    dead: Vec<(u64, DeadLetter)>,
    messages: u64,
    bytes: u64,
    /// Letters that were sent again: those that were taken,
    sent: Vec<Row>,
    /// and those that were not.
    returned: Vec<(Row, DeadLetter)>,
    /// Which lanes stand still, and why.
    stalled: BTreeMap<usize, String>,
}

/// So often it is told how far the changes have been read where no calls come of them, in ms.
const QUIET: u64 = 60_000;

impl Book {
    pub fn new(say: Say, complete: Option<u64>) -> Book {
        Book {
            say,
            outstanding: BTreeMap::new(),
            complete,
            told: complete,
            dead: vec![],
            messages: 0,
            bytes: 0,
            sent: vec![],
            returned: vec![],
            stalled: BTreeMap::new(),
        }
    }

    /// The changes of a time are calls that go, and calls that do not.
    pub fn begin(&mut self, time: u64, calls: usize, dead: Vec<DeadLetter>) {
        if calls > 0 {
            *self.outstanding.entry(time).or_default() += calls;
        }
        self.dead.extend(dead.into_iter().map(|d| (time, d)));
        self.complete = Some(time);
    }

    /// A call has come to its end.
    fn end(&mut self, item: &Item, dead: Option<DeadLetter>) {
        if dead.is_none() {
            self.messages += 1;
            self.bytes += item.event.json.len() as u64;
        }
        match (&item.origin, dead) {
            (Origin::Letter(row), None) => self.sent.push(row.clone()),
            (Origin::Letter(row), Some(dead)) => self.returned.push((row.clone(), dead)),
            (Origin::Change(time), dead) => {
                if let Some(left) = self.outstanding.get_mut(time) {
                    *left -= 1;
                    if *left == 0 {
                        self.outstanding.remove(time);
                    }
                }
                self.dead.extend(dead.map(|d| (*time, d)));
            }
        }
    }

    /// Tells what there is to tell.
    pub fn tell(&mut self, first: u64) -> Result<(), Stopped> {
        let upto = match (self.complete, self.outstanding.first_key_value()) {
            (Some(complete), None) => Some(complete),
            // Before the first rows are all delivered nothing is.
            (Some(complete), Some((time, _))) => {
                Some(complete.min(time.saturating_sub(1))).filter(|t| *t >= first || self.told.is_some())
            }
            (None, _) => None,
        };
        let dead = self.dead.extract_if(.., |(time, _)| upto.is_some_and(|upto| *time <= upto));
        let dead: Vec<DeadLetter> = dead.map(|(_, d)| d).collect();
        let quiet = upto.is_some_and(|upto| upto >= self.told.unwrap_or(0) + QUIET);
        if self.messages > 0 || !dead.is_empty() || quiet {
            self.told = upto;
            let (messages, bytes) = (std::mem::take(&mut self.messages), std::mem::take(&mut self.bytes));
            self.say(Said::Delivered { upto, messages, bytes, dead, offset: None })?;
        }
        if !(self.sent.is_empty() && self.returned.is_empty()) {
            let (sent, returned) = (std::mem::take(&mut self.sent), std::mem::take(&mut self.returned));
            self.say(Said::Replayed { sent, returned })?;
        }
        Ok(())
    }

    /// A lane stands still, or goes on.
    pub fn stalled(&mut self, lane: usize, why: Option<String>) -> Result<(), Stopped> {
        let before = self.stalled.first_key_value().map(|(_, why)| why.clone());
        match why {
            Some(why) => drop(self.stalled.insert(lane, why)),
            None => drop(self.stalled.remove(&lane)),
        }
        let now = self.stalled.first_key_value().map(|(_, why)| why.clone());
        if now == before { Ok(()) } else { self.say(Said::Status(now)) }
    }

    /// Says it, unless nobody listens.
    pub fn say(&mut self, said: Said) -> Result<(), Stopped> {
        if (self.say)(said) { Ok(()) } else { Err(Stopped) }
    }
}

impl Shared {
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, unless it is to stop.
    pub fn wait(&self, time: Duration) -> Result<(), Stopped> {
        match self.stop.recv_timeout(time) {
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(Stopped),
        }
    }
}

/// A lane.
pub(super) struct Lane {
    pub number: usize,
    pub shared: Arc<Shared>,
    pub items: Receiver<Item>,
    /// The call that did not fit into the last batch.
    pub next: Option<Item>,
    /// When the sink was created.
    pub first: u64,
}

impl Lane {
    /// Sends what comes until it is told to stop.
    pub fn run(mut self) {
        let Err(Stopped) = self.deliver();
    }

    fn deliver(&mut self) -> Result<std::convert::Infallible, Stopped> {
        loop {
            let batch = self.gather()?;
            self.send(&batch)?;
        }
    }

    /// The calls of the next request: as many as come until the first has waited long enough, or as fit.
    fn gather(&mut self) -> Result<Vec<Item>, Stopped> {
        let Shared { delivery, stop, .. } = &*self.shared;
        let first = match self.next.take() {
            Some(item) => item,
            None => crossbeam_channel::select! {
                recv(self.items) -> item => item.map_err(|_| Stopped)?,
                recv(stop) -> _ => return Err(Stopped),
            },
        };
        let due = Instant::now() + delivery.flush_interval;
        // What stands around the calls.
        let mut bytes = 200 + first.event.json.len();
        let mut batch = vec![first];
        while batch.len() < delivery.batch_events {
            let item = crossbeam_channel::select! {
                recv(self.items) -> item => item.map_err(|_| Stopped)?,
                recv(stop) -> _ => return Err(Stopped),
                default(due.saturating_duration_since(Instant::now())) => break,
            };
            bytes += item.event.json.len() + 1;
            if bytes > delivery.batch_bytes {
                self.next = Some(item);
                break;
            }
            batch.push(item);
        }
        Ok(batch)
    }

    /// Sends calls until they are taken or dead.
    fn send(&self, items: &[Item]) -> Result<(), Stopped> {
        let Shared { delivery, api, now, .. } = &*self.shared;
        let begun = Instant::now();
        let (mut attempts, mut failures) = (0, 0);
        loop {
            self.pass_gates()?;
            attempts += 1;
            let calls = items.iter().map(|i| i.event.json.as_str());
            let (wait, why) = match api.post(calls, attempts - 1, now()) {
                Answer::Taken => {
                    let mut book = self.shared.book();
                    items.iter().for_each(|item| book.end(item, None));
                    book.stalled(self.number, None)?;
                    return book.tell(self.first);
                }
                // One of them is wrong, or all are too large together: smaller parts find out.
                Answer::Refused(400 | 413, _) if items.len() > 1 => {
                    let (left, right) = items.split_at(items.len() / 2);
                    self.send(left)?;
                    return self.send(right);
                }
                Answer::Refused(status @ (401 | 403), why) => {
                    let hint = format!("{why} ({status}): is the write key right?");
                    (Duration::from_secs(10), hint)
                }
                Answer::Refused(status, why) => return self.bury(items, Some(status), attempts, &why),
                Answer::Later { status, after, why } => {
                    if begun.elapsed() > delivery.retry_for {
                        return self.bury(items, status, attempts, &why);
                    }
                    failures += u32::from(after.is_none());
                    if let Some(after) = after {
                        // Nobody sends over this connection before.
                        delivery.gate.close(after, Instant::now());
                    }
                    let own = || backoff(failures, &items[0].event.id);
                    (after.unwrap_or_else(own), why)
                }
            };
            self.shared.book().stalled(self.number, Some(why))?;
            self.shared.wait(wait)?;
        }
    }

    /// Waits for the sink's own turn, then for the connection's.
    fn pass_gates(&self) -> Result<(), Stopped> {
        let Shared { delivery, rate, .. } = &*self.shared;
        for (gate, rate) in [(rate, delivery.rate), (&*delivery.gate, delivery.connection_rate)] {
            while let Some(wait) = gate.enter(rate, Instant::now()) {
                self.shared.wait(wait)?;
            }
        }
        Ok(())
    }

    fn bury(&self, items: &[Item], status: Option<u16>, attempts: u32, why: &str) -> Result<(), Stopped> {
        for item in items {
            let (message_id, body) = (item.event.id.clone(), item.event.json.clone());
            let dead = DeadLetter { message_id, reason: why.into(), status, attempts, body };
            if let Some(letters) = &self.shared.letters {
                letters.write(&self.shared, self.number, &dead)?;
            }
            self.shared.book().end(item, Some(dead));
        }
        let mut book = self.shared.book();
        book.stalled(self.number, None)?;
        book.tell(self.first)
    }
}
