//! Changes of a view as calls to Segment's Tracking API.
//!
//! ```text
//!   stored changes, time by time ──► calls ──► batches ──► POST /v1/batch ──► progress: the time up to which all is sent
//!        ▲                             │                       │ 429, 5xx, no answer: the same batch again, later
//!        │ from the stored progress    └── dead letters ◄──────┘ other 4xx: halves, down to the call that is not taken
//! ```
//!
//! One request is on its way at a time, so that nothing is overtaken. Ids of messages follow from the change itself: what
//! is sent again after a crash, a timeout or a lost answer is the same message to Segment, which keeps the first.

mod event;

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use repr::Row;
use sha1::{Digest, Sha1};

pub use event::{CALLS, Call, DeadLetter, Event, Mapping};

use crate::feed::{self, Said, SinkHandle, Start, Stopped};

/// A call may have so many bytes.
pub const EVENT_BYTES: usize = 32 << 10;

/// How calls are sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The API: `https://api.segment.io`.
    pub url: String,
    /// The source's key.
    pub write_key: String,
    /// How long a call may wait for others.
    pub flush_interval: Duration,
    /// A batch has at most so many bytes,
    pub batch_bytes: usize,
    /// and so many calls.
    pub batch_events: usize,
    /// So many requests are sent in a second at most.
    pub rate: f64,
    /// For so long the same batch is tried again.
    pub retry_for: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Delivery {
            url: "https://api.segment.io".into(),
            write_key: String::new(),
            flush_interval: Duration::from_millis(100),
            batch_bytes: 475_000,
            batch_events: 2_500,
            rate: 1_000.0,
            retry_for: Duration::from_secs(12 * 3600),
        }
    }
}

/// A sink into Segment, to be started.
pub struct SegmentSink {
    /// Which row becomes which call.
    pub mapping: Mapping,
    /// How they are sent.
    pub delivery: Delivery,
    /// What any sink needs.
    pub start: Start,
}

impl SegmentSink {
    /// Starts the sink's thread.
    pub fn start(self) -> std::io::Result<SinkHandle> {
        feed::spawn(|wake, stop| Sink::new(self, wake, stop).run())
    }
}

struct Sink {
    mapping: Mapping,
    delivery: Delivery,
    start: Start,
    agent: ureq::Agent,
    wake: Receiver<u64>,
    stop: Receiver<()>,
    /// Each with the time of its change.
    batch: Vec<(u64, Event)>,
    batch_bytes: usize,
    /// When the batch's first call came.
    since: Instant,
    /// Told once all of their time is delivered: until then a restart would make them again.
    dead: Vec<(u64, DeadLetter)>,
    /// All changes up to here are calls of the batch or of an earlier one.
    complete: u64,
    messages: u64,
    bytes: u64,
    last_request: Option<Instant>,
}

impl Sink {
    fn new(sink: SegmentSink, wake: Receiver<u64>, stop: Receiver<()>) -> Sink {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("deltamill/", env!("CARGO_PKG_VERSION")))
            .build();
        let SegmentSink { mapping, delivery, start } = sink;
        Sink {
            mapping,
            delivery,
            complete: start.after.unwrap_or(0),
            start,
            agent: agent.into(),
            wake,
            stop,
            batch: vec![],
            batch_bytes: 0,
            since: Instant::now(),
            dead: vec![],
            messages: 0,
            bytes: 0,
            last_request: None,
        }
    }

    fn run(mut self) {
        if !(self.start.say)(Said::Status(None)) {
            return;
        }
        // Ends only by being told to.
        let Err(Stopped) = self.deliver();
    }

    fn deliver(&mut self) -> Result<std::convert::Infallible, Stopped> {
        let mut readable = 0;
        loop {
            let wait = if self.batch.is_empty() && self.dead.is_empty() {
                Duration::from_secs(3600)
            } else {
                self.delivery.flush_interval.saturating_sub(self.since.elapsed())
            };
            crossbeam_channel::select! {
                recv(self.wake) -> time => readable = readable.max(time.map_err(|_| Stopped)?),
                recv(self.stop) -> _ => return Err(Stopped),
                default(wait) => self.flush(self.complete)?,
            }
            readable = self.wake.try_iter().fold(readable, u64::max);
            let first = self.start.first;
            if self.start.after.is_none() && readable >= first {
                let whole = (self.start.feed)(0, first).and_then(|groups| {
                    let rows = groups.map(|g| g.map(|(_, rows)| rows)).collect::<Result<Vec<_>, _>>()?;
                    Ok(rows.into_iter().flatten().collect::<Vec<_>>())
                });
                match whole {
                    Ok(rows) => self.take(first, rows)?,
                    Err(e) => self.stalled(&e)?,
                }
                self.start.after = Some(first);
                self.complete = first;
            }
            if self.start.after.is_some() && readable > self.complete {
                match (self.start.feed)(self.complete, readable) {
                    Ok(groups) => {
                        for group in groups {
                            match group {
                                Ok((time, rows)) => self.take(time, rows)?,
                                Err(e) => return self.stalled(&e),
                            }
                        }
                    }
                    Err(e) => return self.stalled(&e),
                }
                self.complete = readable;
            }
        }
    }

    /// What is stored cannot be read: going on would lose it.
    fn stalled<T>(&mut self, why: &str) -> Result<T, Stopped> {
        (self.start.say)(Said::Status(Some(why.into())));
        Err(Stopped)
    }

    /// The calls of one time.
    fn take(&mut self, time: u64, rows: Vec<(Row, i64)>) -> Result<(), Stopped> {
        // Until the last call of this time is sent, all before it is what is delivered.
        let before = self.complete;
        for event in self.mapping.events(time, rows) {
            match event {
                Err(dead) => {
                    self.begin();
                    self.dead.push((time, dead));
                }
                Ok(event) => {
                    let d = &self.delivery;
                    let full = self.batch_bytes + event.json.len() + 200 > d.batch_bytes;
                    if !self.batch.is_empty() && (full || self.batch.len() >= d.batch_events) {
                        self.flush(before)?;
                    }
                    self.begin();
                    self.batch_bytes += event.json.len() + 1;
                    self.batch.push((time, event));
                }
            }
        }
        self.complete = time;
        Ok(())
    }

    fn begin(&mut self) {
        if self.batch.is_empty() && self.dead.is_empty() {
            self.since = Instant::now();
        }
    }

    /// Sends the batch and tells how far all is delivered then.
    fn flush(&mut self, upto: u64) -> Result<(), Stopped> {
        if self.batch.is_empty() && self.dead.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            self.send(&batch)?;
        }
        let said = Said::Delivered {
            upto: self.start.after.map(|_| upto),
            messages: std::mem::take(&mut self.messages),
            bytes: std::mem::take(&mut self.bytes),
            dead: self.dead.extract_if(.., |(time, _)| *time <= upto).map(|(_, d)| d).collect(),
        };
        if (self.start.say)(said) { Ok(()) } else { Err(Stopped) }
    }

    /// Sends events until they are taken or dead.
    fn send(&mut self, events: &[(u64, Event)]) -> Result<(), Stopped> {
        let begun = Instant::now();
        let (mut attempts, mut failures, mut stalled) = (0, 0, false);
        loop {
            self.keep_rate()?;
            attempts += 1;
            let answer = self.post(events, attempts - 1);
            let (wait, why) = match answer {
                Answer::Taken => {
                    self.messages += events.len() as u64;
                    self.bytes += events.iter().map(|(_, e)| e.json.len() as u64).sum::<u64>();
                    if stalled && !(self.start.say)(Said::Status(None)) {
                        return Err(Stopped);
                    }
                    return Ok(());
                }
                // One of them is wrong, or all are too large together: smaller parts find out.
                Answer::Refused(400 | 413, _) if events.len() > 1 => {
                    let (left, right) = events.split_at(events.len() / 2);
                    self.send(left)?;
                    return self.send(right);
                }
                Answer::Refused(status @ (401 | 403), why) => {
                    let hint = format!("{why} ({status}): is the write key right?");
                    (Duration::from_secs(10), hint)
                }
                Answer::Refused(status, why) => return self.bury(events, Some(status), attempts, &why),
                Answer::Later { status, after, why } => {
                    if begun.elapsed() > self.delivery.retry_for {
                        return self.bury(events, status, attempts, &why);
                    }
                    failures += u32::from(after.is_none());
                    (after.unwrap_or_else(|| backoff(failures, &events[0].1.id)), why)
                }
            };
            stalled = true;
            if !(self.start.say)(Said::Status(Some(why))) {
                return Err(Stopped);
            }
            self.wait(wait)?;
        }
    }

    fn bury(
        &mut self,
        events: &[(u64, Event)],
        status: Option<u16>,
        attempts: u32,
        why: &str,
    ) -> Result<(), Stopped> {
        let dead = |(time, e): &(u64, Event)| {
            let (message_id, body) = (e.id.clone(), e.json.clone());
            (*time, DeadLetter { message_id, reason: why.into(), status, attempts, body })
        };
        self.dead.extend(events.iter().map(dead));
        Ok(())
    }

    fn wait(&self, time: Duration) -> Result<(), Stopped> {
        match self.stop.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(Stopped),
        }
    }

    fn keep_rate(&mut self) -> Result<(), Stopped> {
        let gap = Duration::from_secs_f64(1.0 / self.delivery.rate.max(0.001));
        if let Some(last) = self.last_request {
            self.wait(gap.saturating_sub(last.elapsed()))?;
        }
        self.last_request = Some(Instant::now());
        Ok(())
    }

    fn post(&self, events: &[(u64, Event)], retries: u32) -> Answer {
        let Delivery { url, write_key, .. } = &self.delivery;
        let micros = i64::try_from((self.start.now)()).unwrap_or(i64::MAX).saturating_mul(1_000);
        let sent = repr::time::to_char_tz(micros, "YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"");
        let batch: Vec<&str> = events.iter().map(|(_, e)| e.json.as_str()).collect();
        let key = serde_json::Value::from(write_key.as_str());
        let body = format!("{{\"batch\":[{}],\"sentAt\":\"{sent}\",\"writeKey\":{key}}}", batch.join(","));
        let mut request = self
            .agent
            .post(format!("{}/v1/batch", url.trim_end_matches('/')))
            .header("content-type", "application/json")
            .header("authorization", format!("Basic {}", STANDARD.encode(format!("{write_key}:"))));
        if retries > 0 {
            request = request.header("x-retry-count", retries.to_string());
        }
        let mut response = match request.send(&body) {
            Ok(response) => response,
            // It may have been taken; the ids make a second time harmless.
            Err(e) => return Answer::Later { status: None, after: None, why: e.to_string() },
        };
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Answer::Taken;
        }
        let after = response.headers().get("retry-after").and_then(|v| v.to_str().ok());
        let after = after.and_then(|v| retry_after(v, micros));
        let text = response.body_mut().with_config().limit(4 << 10).read_to_string().unwrap_or_default();
        let why = format!("Segment answered {status}: {}", text.trim());
        match status {
            408 | 410 | 429 | 460 => Answer::Later { status: Some(status), after, why },
            501 | 505 | 511 => Answer::Refused(status, why),
            500.. => Answer::Later { status: Some(status), after, why },
            _ => Answer::Refused(status, why),
        }
    }
}

enum Answer {
    Taken,
    /// Not now; after this time, if the server says when.
    Later {
        status: Option<u16>,
        after: Option<Duration>,
        why: String,
    },
    /// Never.
    Refused(u16, String),
}

/// Seconds, or a date; five minutes at most.
fn retry_after(value: &str, now_micros: i64) -> Option<Duration> {
    let seconds = match value.trim().parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let micros = repr::time::parse_timestamptz(value).ok()?.saturating_sub(now_micros);
            u64::try_from(micros.div_euclid(1_000_000)).unwrap_or(0) + 1
        }
    };
    Some(Duration::from_secs(seconds.min(300)))
}

/// Half a second, twice as long each time, a minute at most; a quarter of it by chance, so that senders spread.
fn backoff(failures: u32, salt: &str) -> Duration {
    let base = 500u64.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(60_000);
    let hash = Sha1::new().chain_update(salt).chain_update(failures.to_be_bytes()).finalize();
    Duration::from_millis(base * 3 / 4 + base / 4 * u64::from(hash[0]) / 255)
}
