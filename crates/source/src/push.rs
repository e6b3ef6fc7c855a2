//! Records that others push: each request's are stored together and acknowledged when they are durable.
//!
//! ```text
//!   requests ──► queue ──► thread: all that has come ──► one batch ──► durable ──► each request is acknowledged
//!                  ▲                                                      │
//!                  └────────────── meanwhile the next ones gather ◄───────┘
//! ```
//!
//! One batch is on its way at a time, so that a sync is shared by all that came during the one before. A request whose
//! acknowledgement is dropped was not stored.

use crossbeam_channel::{Receiver, Sender};

use crate::reader::{Durable, Event, Output, Reader, State};
use crate::record::{RecordBatch, RecordRef};

/// The records of one request.
#[derive(Debug)]
pub struct Pushed {
    /// Each with its headers.
    pub records: Vec<PushedRecord>,
    /// When they came, ms since the epoch.
    pub received: i64,
    /// Called when they are durable; dropped when they are not stored.
    pub durable: Durable,
}

/// A record of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushedRecord {
    /// Its value.
    pub value: Vec<u8>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Where requests are handed in. The reader ends when the last of its senders goes.
pub type PushSender = Sender<Pushed>;

/// A source that is pushed to.
#[derive(Clone, Debug)]
pub struct PushSource {
    requests: Receiver<Pushed>,
}

/// A source, and where its requests are handed in.
pub fn push_channel() -> (PushSender, PushSource) {
    let (sender, requests) = crossbeam_channel::unbounded();
    (sender, PushSource { requests })
}

pub(crate) struct PushReader {
    source: PushSource,
    offset: i64,
}

impl PushReader {
    pub(crate) fn new(source: PushSource, first: u64) -> PushReader {
        PushReader { source, offset: i64::try_from(first).unwrap_or(i64::MAX) }
    }

    fn push(&mut self, batch: &mut RecordBatch, request: &Pushed) {
        for record in &request.records {
            let headers: Vec<_> =
                record.headers.iter().map(|(k, v)| (k.as_str(), Some(v.as_slice()))).collect();
            batch.push(RecordRef {
                offset: self.offset,
                timestamp: Some(request.received),
                value: Some(&record.value),
                headers: Some(&headers),
                ..RecordRef::default()
            });
            self.offset += 1;
        }
    }
}

impl Reader for PushReader {
    fn run(mut self: Box<Self>, out: &mut Output) {
        let mut batch = RecordBatch::default();
        out.status(State::Running, None);
        while let Ok(first) = self.source.requests.recv() {
            let mut acknowledge = vec![];
            let mut next = Some(first);
            while let Some(request) = next {
                self.push(&mut batch, &request);
                acknowledge.push(request.durable);
                next = if batch.is_full() { None } else { self.source.requests.try_recv().ok() };
            }
            let (done, stored) = crossbeam_channel::bounded::<()>(1);
            let mut batch = batch.take();
            batch.urgent = true;
            batch.durable = Some(Durable::new(move || {
                acknowledge.into_iter().for_each(Durable::call);
                drop(done);
            }));
            if !out.send(Event::Batch(batch)) {
                return;
            }
            // Nothing is ever sent: it ends when the batch is stored, or thrown away.
            let _ = stored.recv();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::start_reader;

    #[test]
    fn requests_that_come_during_a_sync_share_the_next() {
        let (sender, source) = push_channel();
        let (events, batches) = crossbeam_channel::unbounded();
        let emit = Box::new(move |event, _: &dyn Fn() -> bool| match event {
            Event::Batch(batch) => events.send(batch).is_ok(),
            _ => true,
        });
        let (acknowledged, told) = crossbeam_channel::unbounded();
        let push = |n: u8, records: usize| {
            let acknowledged = acknowledged.clone();
            let record = PushedRecord { value: vec![n], headers: vec![("n".into(), vec![n])] };
            let durable = Durable::new(move || acknowledged.send(n).expect("the test waits"));
            sender.send(Pushed { records: vec![record; records], received: 5, durable }).expect("it reads");
        };
        let handle = start_reader(Box::new(PushReader::new(source, 7)), emit);
        push(1, 2);
        let mut first = batches.recv().expect("a batch");
        assert_eq!((first.block.len(), first.progress), (2, vec![(0, 9)]));
        push(2, 1);
        push(3, 3);
        assert!(told.try_recv().is_err(), "nothing is durable yet");
        assert!(batches.try_recv().is_err(), "one batch at a time");
        first.durable.take().expect("it is asked for").call();
        let mut second = batches.recv().expect("a batch");
        assert_eq!((second.block.len(), second.progress), (4, vec![(0, 13)]));
        second.durable.take().expect("it is asked for").call();
        assert_eq!(told.iter().take(3).collect::<Vec<_>>(), [1, 2, 3]);
        // A batch that is thrown away acknowledges nothing, and does not hold up what follows.
        push(4, 1);
        drop(batches.recv().expect("a batch"));
        push(5, 1);
        batches.recv().expect("a batch").durable.take().expect("it is asked for").call();
        assert_eq!(told.recv(), Ok(5));
        drop(sender);
        handle.stop();
    }
}
