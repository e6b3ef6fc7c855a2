//! Changes of a view as calls to Segment's Tracking API.
//!
//! ```text
//!   stored changes, time by time ──► calls ──► lane of the user ──► batches ──► POST /v1/batch ──► progress: the time up
//!        ▲                             │                       │ 429, 5xx, no answer: the same        to which all is sent
//!        │ from the stored progress    └── dead letters ◄──────┤ batch again, later
//!        │                                       │             │ other 4xx: halves, down to the
//!        │                                       └─ REPLAY ───►┘ call that is not taken
//! ```
//!
//! A lane has one request on its way at a time, so that nothing of a user is overtaken. Ids of messages follow from the
//! change itself: what is sent again after a crash, a timeout or a lost answer is the same message to Segment, which
//! keeps the first.
//!
//! | module | is the only home of |
//! |---|---|
//! | `event` | rows → calls, and what Segment would drop without a word |
//! | `lane` | batches, retries, what is on its way |
//! | `gate` | rates and pauses |
//! | `api` | one request and its answer |
//! | `letters` | dead letters into a topic |

mod api;
mod event;
mod gate;
mod lane;
mod letters;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use repr::Row;

pub use event::{CALLS, Call, DeadLetter, Event, Mapping};
pub use gate::Gate;
pub use letters::Letters;

use crate::feed::{self, Feed, Said, SinkHandle, Start, Stopped};
use api::Api;
use lane::{Book, Item, Lane, Origin, Shared};

/// A call may have so many bytes.
pub const EVENT_BYTES: usize = 32 << 10;
/// So many calls may wait in a lane.
const WAITING: usize = 1_000;

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
    /// So many requests are sent in a second at most,
    pub rate: f64,
    /// and so many by all sinks of the connection,
    pub connection_rate: f64,
    /// which pass this gate.
    pub gate: Arc<Gate>,
    /// So many requests are on their way at a time, each of other users.
    pub lanes: usize,
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
            connection_rate: 1_000.0,
            gate: Arc::default(),
            lanes: 4,
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
    /// Nothing is sent: calls are told ([`Said::Shown`]).
    pub dry_run: bool,
    /// Where dead letters go beside.
    pub letters: Option<Letters>,
    /// What any sink needs.
    pub start: Start,
}

impl SegmentSink {
    /// Starts the sink's threads.
    pub fn start(self) -> std::io::Result<SinkHandle> {
        let (replay, letters) = crossbeam_channel::unbounded();
        let handle = feed::spawn(|wake, stop| {
            // Ends only by being told to.
            if let Ok(mut sink) = Sink::new(self, wake, letters, stop) {
                let Err(Stopped) = sink.deliver();
            }
        })?;
        Ok(handle.with_replay(replay))
    }
}

/// Reads changes and hands their calls to lanes.
struct Sink {
    mapping: Mapping,
    feed: Feed,
    /// All up to this time was handed on; none: the first rows were not.
    after: Option<u64>,
    /// When the sink was created.
    first: u64,
    wake: Receiver<u64>,
    replay: Receiver<Vec<(Row, Event)>>,
    shared: Arc<Shared>,
    /// Of a dry run none.
    lanes: Vec<Sender<Item>>,
}

impl Sink {
    fn new(
        sink: SegmentSink,
        wake: Receiver<u64>,
        replay: Receiver<Vec<(Row, Event)>>,
        stop: Receiver<()>,
    ) -> Result<Sink, Stopped> {
        let SegmentSink { mapping, delivery, dry_run, letters, start } = sink;
        let Start { feed, after, first, now, say } = start;
        let mut book = Book::new(say, after);
        book.say(Said::Status(None))?;
        let api = Api::new(&delivery.url, &delivery.write_key);
        let (rate, lanes) = (Gate::default(), if dry_run { 0 } else { delivery.lanes.max(1) });
        let shared = Arc::new(Shared { delivery, api, rate, letters, now, stop, book: Mutex::new(book) });
        let mut senders = vec![];
        for number in 0..lanes {
            let (sender, items) = crossbeam_channel::bounded(WAITING);
            let lane = Lane { number, shared: shared.clone(), items, next: None, first };
            let started = std::thread::Builder::new().name("sink-lane".into()).spawn(move || lane.run());
            if let Err(e) = started {
                let why = format!("no thread could be started: {e}");
                shared.book().say(Said::Status(Some(why)))?;
                return Err(Stopped);
            }
            senders.push(sender);
        }
        Ok(Sink { mapping, feed, after, first, wake, replay, shared, lanes: senders })
    }

    fn deliver(&mut self) -> Result<std::convert::Infallible, Stopped> {
        // Up to where changes can be read; there are errors among those before `unknown`.
        let (mut readable, mut unknown) = (0, 0);
        loop {
            crossbeam_channel::select! {
                recv(self.wake) -> time => readable = readable.max(time.map_err(|_| Stopped)?),
                recv(self.replay) -> letters => self.replay(letters.map_err(|_| Stopped)?)?,
                recv(self.shared.stop) -> _ => return Err(Stopped),
            }
            readable = self.wake.try_iter().fold(readable, u64::max);
            if readable < unknown {
                continue;
            }
            // Beside the lanes, and who writes letters.
            let place = self.lanes.len() + 1;
            match self.read(readable, unknown > 0) {
                Ok(()) if unknown > 0 => {
                    unknown = 0;
                    self.shared.book().stalled(place, None)?;
                }
                Ok(()) => {}
                Err(Trouble::Stopped) => return Err(Stopped),
                Err(Trouble::Unknown(why)) => {
                    unknown = readable + 1;
                    self.shared.book().stalled(place, Some(why))?;
                }
            }
        }
    }

    /// Makes calls of what can be read; `again`: there were errors among it before.
    fn read(&mut self, readable: u64, again: bool) -> Result<(), Trouble> {
        if self.after.is_none() && readable >= self.first {
            // Where there were errors then, the first rows are those of now.
            let first = if again { readable } else { self.first };
            let rows = feed::whole(&self.feed, first)?;
            self.take(first, rows)?;
        }
        let Some(after) = self.after.filter(|after| *after < readable) else { return Ok(()) };
        for group in (self.feed)(after, readable)? {
            let (time, rows) = group?;
            self.take(time, rows)?;
        }
        self.after = Some(readable);
        let mut book = self.shared.book();
        book.complete = Some(readable);
        Ok(book.tell(self.first)?)
    }

    /// The calls of one time.
    fn take(&mut self, time: u64, rows: Vec<(Row, i64)>) -> Result<(), Stopped> {
        let (mut calls, mut dead) = (vec![], vec![]);
        for event in self.mapping.events(time, rows) {
            match event {
                Ok(event) => calls.push(event),
                Err(letter) => dead.push(letter),
            }
        }
        self.after = Some(time);
        if self.lanes.is_empty() {
            return self.shared.book().say(Said::Shown { upto: time, calls, dead });
        }
        if let Some(letters) = &self.shared.letters {
            // Where no lane is.
            dead.iter().try_for_each(|d| letters.write(&self.shared, self.lanes.len(), d))?;
            self.shared.book().stalled(self.lanes.len(), None)?;
        }
        {
            let mut book = self.shared.book();
            book.begin(time, calls.len(), dead);
            book.tell(self.first)?;
        }
        calls.into_iter().try_for_each(|event| self.hand(Item { origin: Origin::Change(time), event }))
    }

    fn replay(&mut self, letters: Vec<(Row, Event)>) -> Result<(), Stopped> {
        let mut letters = letters.into_iter();
        letters.try_for_each(|(row, event)| self.hand(Item { origin: Origin::Letter(row), event }))
    }

    /// To the lane of its user.
    fn hand(&self, item: Item) -> Result<(), Stopped> {
        let mut hash = DefaultHasher::new();
        item.event.user.hash(&mut hash);
        let Some(lane) = self.lanes.get(hash.finish() as usize % self.lanes.len().max(1)) else {
            return Ok(());
        };
        crossbeam_channel::select! {
            send(lane, item) -> sent => sent.map_err(|_| Stopped),
            recv(self.shared.stop) -> _ => Err(Stopped),
        }
    }
}

/// Why nothing more can be read.
enum Trouble {
    Stopped,
    /// The object's rows are not known: later ones may be.
    Unknown(String),
}

impl From<Stopped> for Trouble {
    fn from(_: Stopped) -> Trouble {
        Trouble::Stopped
    }
}

impl From<String> for Trouble {
    fn from(why: String) -> Trouble {
        Trouble::Unknown(why)
    }
}
