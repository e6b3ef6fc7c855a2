//! The thread that reads a source: what it sends, how it is slowed down and stopped.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use repr::RowBlock;

/// What a reader has to say.
#[derive(Debug)]
pub enum Event {
    /// Records, and how far they reach.
    Batch(Batch),
    /// How the reader is; sent when it changes.
    Status(Status),
    /// Partitions and their ends as the outside knows them (the offset after the last record): what is still to come.
    Known(Vec<(i32, i64)>),
    /// Partitions whose next record is not there any more; sent when that changes, empty when all is well again.
    Gaps(Vec<Gap>),
    /// All is read and nothing more will come; the thread ends.
    Finished,
}

/// Records that were removed outside before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The partition.
    pub partition: i32,
    /// The offset that was to be read next.
    pub next: i64,
    /// The first offset that is there; greater than `next`.
    pub first: i64,
}

/// Raw records and the offsets that they reach. Both belong in one durable frame.
#[derive(Debug)]
pub struct Batch {
    /// Rows of [`crate::raw_desc`], each once.
    pub block: RowBlock,
    /// The next offset of each partition that has records here.
    pub progress: Vec<(i32, i64)>,
    /// What the last record of each partition is, for the next start; see [`crate::kafka::Mark`]. Stored with the
    /// offsets, under keys that no partition has.
    pub marks: Vec<(i32, i64)>,
    /// The memory that the rows take.
    pub bytes: usize,
    /// Called when it is durable.
    pub durable: Option<Durable>,
    /// Somebody waits for that.
    pub urgent: bool,
}

/// What happens once something is durable; dropped if it never will be.
pub struct Durable(Box<dyn FnOnce() + Send>);

impl Durable {
    /// Calls this.
    pub fn new(f: impl FnOnce() + Send + 'static) -> Durable {
        Durable(Box::new(f))
    }

    /// It is durable.
    pub fn call(self) {
        (self.0)();
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Durable(…)")
    }
}

/// How a reader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// In a word.
    pub state: State,
    /// Why it is not running.
    pub cause: Option<String>,
}

/// A reader's state in a word, as `mz_source_statuses` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not heard from its source yet.
    Starting,
    /// All is well.
    Running,
    /// Something outside keeps it from reading; it goes on by itself once that is repaired.
    Stalled,
    /// It gave up and must be made anew.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Stalled => "stalled",
            State::Failed => "failed",
        })
    }
}

/// Where events go. It blocks while there is no room and may ask, by its second argument, whether the reader is to stop
/// meanwhile. False: stop.
pub type Emit = Box<dyn FnMut(Event, &dyn Fn() -> bool) -> bool + Send>;

/// Something that reads, on a thread of its own.
pub trait Reader: Send {
    /// Reads until all is read or `out` says to stop. What goes wrong outside is told by [`Output::status`] and tried again.
    fn run(self: Box<Self>, out: &mut Output);
}

/// Starts a reader's thread.
pub fn start_reader(reader: Box<dyn Reader>, emit: Emit) -> ReaderHandle {
    let stop = Arc::new(Stop::default());
    let mut out = Output { emit, stop: Arc::clone(&stop), last: None };
    let body = move || {
        out.status(State::Starting, None);
        if catch_unwind(AssertUnwindSafe(|| reader.run(&mut out))).is_err() {
            out.status(State::Failed, Some("the reader ended by a fault of this program".into()));
        }
    };
    let thread = std::thread::Builder::new().name("source".into()).spawn(body);
    if let Err(e) = &thread {
        tracing::error!(error = %e, "no thread could be started for a source");
    }
    ReaderHandle { stop, thread: thread.ok() }
}

/// A running reader. Dropping it tells the reader to stop, and does not wait.
#[derive(Debug)]
pub struct ReaderHandle {
    stop: Arc<Stop>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ReaderHandle {
    /// Whether the reader's thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(|t| t.is_finished())
    }

    /// Tells the reader to stop and waits for it. Whoever takes its events must not wait here.
    pub fn stop(mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // A panic was caught inside.
            let _ = thread.join();
        }
    }
}

impl Drop for ReaderHandle {
    fn drop(&mut self) {
        self.stop.set();
    }
}

/// What a reader sends to, and asks whether to go on.
pub struct Output {
    emit: Emit,
    stop: Arc<Stop>,
    last: Option<Status>,
}

impl Output {
    /// Sends an event, waiting for room. False: stop.
    pub fn send(&mut self, event: Event) -> bool {
        if matches!(event, Event::Batch(_)) {
            fail::point("source-batch");
        }
        let stop = Arc::clone(&self.stop);
        let more = !stop.is_set() && (self.emit)(event, &|| stop.is_set());
        if !more {
            self.stop.set();
        }
        more
    }

    /// Sends a status, unless nothing has changed. False: stop.
    pub fn status(&mut self, state: State, cause: Option<String>) -> bool {
        let status = Status { state, cause };
        if self.last.as_ref() == Some(&status) {
            return !self.stopped();
        }
        self.last = Some(status.clone());
        self.send(Event::Status(status))
    }

    /// Whether to stop.
    pub fn stopped(&self) -> bool {
        self.stop.is_set()
    }

    /// Waits, or less if told to stop. False: stop.
    pub fn wait(&self, time: Duration) -> bool {
        self.stop.wait(time)
    }

    /// An output without a thread.
    #[cfg(test)]
    pub(crate) fn for_test(emit: Emit) -> Output {
        Output { emit, stop: Arc::default(), last: None }
    }

    /// For a second thread of the reader: the same stop.
    pub(crate) fn stop_signal(&self) -> Arc<Stop> {
        Arc::clone(&self.stop)
    }
}

/// A flag that wakes who waits.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    flag: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn set(&self) {
        // Under the lock, so that nobody falls asleep between looking and waiting.
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.flag.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Waits for the time or the flag. False: the flag is set.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, time, |_| !self.is_set());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        !self.is_set()
    }
}
