//! What any sink works with: where changes come from, what it says, and its thread.

use crossbeam_channel::{Receiver, Sender};
use repr::Row;

use crate::segment::{DeadLetter, Event};

/// The changes of one time.
pub type Group = (u64, Vec<(Row, i64)>);

/// Where changes come from: those after a time and up to another, in the order of times, each time once. Where the object
/// has errors its rows are not known: those times are missing if the errors go within, and come as one with what followed;
/// else there is an error in their place, the last thing that comes.
pub type Feed =
    Box<dyn Fn(u64, u64) -> Result<Box<dyn Iterator<Item = Result<Group, String>>>, String> + Send>;

/// All rows as of a time.
pub(crate) fn whole(feed: &Feed, as_of: u64) -> Result<Vec<(Row, i64)>, String> {
    let mut rows = vec![];
    for group in feed(0, as_of)? {
        rows.extend(group?.1);
    }
    Ok(rows)
}

/// What a sink has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Messages are delivered, or dead.
    Delivered {
        /// All up to this time; none while the first rows are not all delivered.
        upto: Option<u64>,
        /// How many were taken since the last time,
        messages: u64,
        /// and their bytes.
        bytes: u64,
        /// Those that were not.
        dead: Vec<DeadLetter>,
        /// Where a topic holds the record of it.
        offset: Option<i64>,
    },
    /// Letters that were to be sent again, as their relation has them.
    Replayed {
        /// Those that were taken,
        sent: Vec<Row>,
        /// and those that were not, with what they have become.
        returned: Vec<(Row, DeadLetter)>,
    },
    /// What a dry run would have sent.
    Shown {
        /// All up to this time is said.
        upto: u64,
        /// The calls,
        calls: Vec<Event>,
        /// and what could not have been sent.
        dead: Vec<DeadLetter>,
    },
    /// Whether it is running, or stalled and why.
    Status(Option<String>),
}

/// Where it says so; false: stop.
pub type Say = Box<dyn FnMut(Said) -> bool + Send>;

/// What any sink needs to start.
pub struct Start {
    /// The changes.
    pub feed: Feed,
    /// All up to this time is delivered; none: nothing is yet, and the rows as of `first` come first, as if all had come
    /// at that time.
    pub after: Option<u64>,
    /// When it was created.
    pub first: u64,
    /// The clock, ms.
    pub now: Box<dyn Fn() -> u64 + Send + Sync>,
    /// What it says.
    pub say: Say,
}

/// A running sink; dropping it stops it.
#[derive(Debug)]
pub struct SinkHandle {
    readable: Sender<u64>,
    replay: Option<Sender<Vec<(Row, Event)>>>,
    _running: Sender<()>,
}

impl SinkHandle {
    /// All changes up to this time can be read.
    pub fn readable(&self, time: u64) {
        let _ = self.readable.send(time);
    }

    /// Whether it can send letters again.
    pub fn replays(&self) -> bool {
        self.replay.is_some()
    }

    /// Sends letters again: each as its relation has it, and as a call.
    pub fn replay(&self, letters: Vec<(Row, Event)>) {
        if let Some(replay) = &self.replay {
            let _ = replay.send(letters);
        }
    }

    pub(crate) fn with_replay(self, replay: Sender<Vec<(Row, Event)>>) -> SinkHandle {
        SinkHandle { replay: Some(replay), ..self }
    }
}

/// Starts a sink's thread. It gets the times up to which it can read, and a channel that closes when it is to stop.
pub(crate) fn spawn(
    run: impl FnOnce(Receiver<u64>, Receiver<()>) + Send + 'static,
) -> std::io::Result<SinkHandle> {
    let (readable, wake) = crossbeam_channel::unbounded();
    let (running, stop) = crossbeam_channel::bounded(0);
    std::thread::Builder::new().name("sink".into()).spawn(move || run(wake, stop))?;
    Ok(SinkHandle { readable, replay: None, _running: running })
}

/// It was told to stop.
pub(crate) struct Stopped;
