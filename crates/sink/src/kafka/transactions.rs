//! A sink into a topic, exactly once.
//!
//! ```text
//!   stored changes, time by time ──► messages ─┐
//!                                              ├─ one transaction ──► committed ──► progress in our own log
//!   key: the sink's id, value: the time ───────┘
//! ```
//!
//! One transaction holds the messages of whole times and, in the progress topic, a record of the last of these times. What
//! Kafka has committed is the truth: at each start the sink takes its transactional id over, which ends what a former
//! self left open and shuts that self out, and goes on after the last committed record. A reader that reads committed
//! messages sees every change once, whenever we, the broker or the connection die: as exactly as the broker's transactions
//! are. Our own log holds the record's offset, so that a progress topic that was emptied or made anew is noticed.
//!
//! There is one answer to every fault: say why, forget the producer, begin again.

use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use source::KafkaConnection;

use super::message::{Encoder, Record};
use super::topics::{self, NewTopic, PATIENCE, Reasons};
use crate::feed::{self, Said, SinkHandle, Start, Stopped};

/// A broker ends a transaction that stays open for longer, ms.
const TRANSACTION_TIMEOUT: &str = "300000";

/// A transaction is closed at the first whole time after so many bytes,
const BATCH_BYTES: u64 = 64 << 20;

/// or so long.
const BATCH_TIME: Duration = Duration::from_secs(5);

/// The header with the time of a change. Its name is Materialize's, whose readers are ours.
const TIME_HEADER: &str = "materialize-timestamp";

/// A sink into a topic, to be started.
pub struct KafkaSink {
    /// The cluster.
    pub connection: KafkaConnection,
    /// Where messages go.
    pub topic: NewTopic,
    /// Where progress goes: a topic of one partition.
    pub progress: NewTopic,
    /// The transactional id, and the key of progress records: no other sink has it, in any engine.
    pub id: String,
    /// The consumer group that reads the progress topic.
    pub group: String,
    /// As Kafka names it.
    pub compression: String,
    /// How rows become messages.
    pub encoder: Encoder,
    /// The offset of the last progress record that is known to be committed.
    pub committed: Option<i64>,
    /// What any sink needs.
    pub start: Start,
}

impl KafkaSink {
    /// Starts the sink's thread.
    pub fn start(self) -> std::io::Result<SinkHandle> {
        feed::spawn(|wake, stop| Sink { sink: self, wake, stop, readable: 0, unknown: None }.run())
    }
}

struct Sink {
    sink: KafkaSink,
    wake: Receiver<u64>,
    stop: Receiver<()>,
    /// All changes up to this time can be read,
    readable: u64,
    /// and up to this one there were errors among them.
    unknown: Option<u64>,
}

/// Why a session with the broker ended.
enum End {
    Stopped,
    /// Another try may work.
    Broken(String),
    /// Going on could lose or repeat something: a person has to look.
    Lost(String),
    /// The object's rows are not known: later ones may be.
    Unknown(String),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> End {
        End::Stopped
    }
}

/// Polled by this thread alone: a second one would take the news that a commit waits for.
type Producer = BaseProducer<Context>;

/// What librdkafka tells of messages.
struct Context {
    progress: String,
    /// The offset of the last progress record that was written.
    offset: AtomicI64,
    reasons: Reasons,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reasons.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reasons.error(error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) if message.topic() == self.progress => {
                self.offset.store(message.offset(), Ordering::Relaxed);
            }
            Ok(_) => {}
            // Messages that go with the transaction say nothing new.
            Err((e, _))
                if matches!(
                    e.rdkafka_error_code(),
                    Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
                ) => {}
            Err((e, message)) => {
                self.reasons.note(format!("topic \"{}\": {}", message.topic(), topics::code_text(e)))
            }
        }
    }
}

impl Sink {
    fn run(mut self) {
        let mut pause = Duration::from_millis(100);
        loop {
            let mut begun = None;
            let (why, wait) = match self.session(&mut begun) {
                Err(End::Stopped) => return,
                Err(End::Broken(why)) => {
                    pause = if begun.is_some() { Duration::from_millis(100) } else { pause * 2 };
                    pause = pause.min(Duration::from_secs(2));
                    (why, pause)
                }
                // A person may repair it without a word to us.
                Err(End::Lost(why) | End::Unknown(why)) => (why, Duration::from_secs(10)),
                Ok(never) => match never {},
            };
            if self.say(Said::Status(Some(why))).is_err() || self.wait(wait).is_err() {
                return;
            }
        }
    }

    fn say(&mut self, said: Said) -> Result<(), Stopped> {
        if (self.sink.start.say)(said) { Ok(()) } else { Err(Stopped) }
    }

    fn wait(&self, time: Duration) -> Result<(), Stopped> {
        match self.stop.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(Stopped),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.try_recv() != Err(TryRecvError::Empty)
    }

    /// From the first word with the broker until something fails. `begun` is set once all is in place.
    fn session(&mut self, begun: &mut Option<()>) -> Result<Infallible, End> {
        let config = self.sink.connection.client_config().map_err(|e| End::Broken(e.to_string()))?;
        let config = topics::patient(config);
        let partitions = topics::ensure(&config, &self.sink.topic).map_err(End::Broken)?;
        topics::ensure(&config, &self.sink.progress).map_err(End::Broken)?;
        let producer = self.producer(&config)?;
        self.initialize(&producer)?;
        self.resume(&config)?;
        *begun = Some(());
        self.say(Said::Status(None))?;
        loop {
            self.next_readable()?;
            match self.deliver(&producer, partitions) {
                Ok(()) if self.unknown.take().is_some() => self.say(Said::Status(None))?,
                Ok(()) => {}
                Err(End::Unknown(why)) => {
                    self.unknown = Some(self.readable);
                    self.say(Said::Status(Some(why)))?;
                }
                Err(end) => {
                    // What a reader of the topic would wait for otherwise.
                    let _ = producer.abort_transaction(Duration::from_secs(1));
                    return Err(end);
                }
            }
        }
    }

    fn producer(&self, config: &ClientConfig) -> Result<Producer, End> {
        let mut config = config.clone();
        config
            .set("transactional.id", &self.sink.id)
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT)
            .set("compression.type", &self.sink.compression)
            .set("linger.ms", "2")
            // The topic's own limit says what is too large.
            .set("message.max.bytes", "1000000000")
            // All can be sent again: sooner a new session, which sees what has become of topics and brokers.
            .set("message.timeout.ms", "10000")
            .set("queue.buffering.max.messages", "500000")
            .set("topic.metadata.propagation.max.ms", "2000");
        let context = Context {
            progress: self.sink.progress.name.clone(),
            offset: AtomicI64::new(-1),
            reasons: Reasons::default(),
        };
        config
            .create_with_context(context)
            .map_err(|e| End::Broken(format!("no producer could be made: {e}")))
    }

    /// Takes the transactional id over: what a former self left open is aborted, and it can commit nothing more.
    fn initialize(&mut self, producer: &Producer) -> Result<(), End> {
        loop {
            match producer.init_transactions(PATIENCE) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(e)) if e.is_retriable() => {
                    let why = producer.context().reasons.explain(&KafkaError::Transaction(e));
                    self.say(Said::Status(Some(why)))?;
                }
                Err(e) => return Err(End::Broken(producer.context().reasons.explain(&e))),
            }
            if self.stopped() {
                return Err(End::Stopped);
            }
        }
    }

    /// Finds out what is committed.
    fn resume(&mut self, config: &ClientConfig) -> Result<(), End> {
        let KafkaSink { id, progress, committed, group, .. } = &self.sink;
        let mut last = None;
        let take = |offset: i64, key: Option<&[u8]>, value: Option<&[u8]>| {
            if key == Some(id.as_bytes()) {
                last = Some((offset, value.map(<[u8]>::to_vec)));
            }
        };
        let from = committed.unwrap_or(0);
        topics::read_to_end(config, group, &progress.name, from, take, || self.stopped())
            .map_err(|e| if self.stopped() { End::Stopped } else { End::Broken(e) })?;
        match (last, *committed) {
            (None, None) => Ok(()),
            (Some((offset, value)), known) if known.is_none_or(|known| offset >= known) => {
                let time = value.as_deref().and_then(progress_time);
                let time = time.ok_or_else(|| {
                    End::Lost(format!(
                        "topic \"{}\" holds what is no progress at offset {offset}",
                        progress.name
                    ))
                })?;
                self.sink.committed = Some(offset);
                let after = self.sink.start.after.map_or(time, |after| after.max(time));
                self.sink.start.after = Some(after);
                Ok(())
            }
            (found, _) => Err(End::Lost(format!(
                "topic \"{}\" has lost the progress of this sink (offset {}, {}): drop the sink and create it again, \
                 with SNAPSHOT = false if its topic holds what was sent",
                progress.name,
                committed.unwrap_or(-1),
                found.map_or("no record".into(), |(offset, _)| format!("the last record is at {offset}")),
            ))),
        }
    }

    /// Waits until there may be something to send.
    fn next_readable(&mut self) -> Result<(), Stopped> {
        loop {
            self.readable = self.wake.try_iter().fold(self.readable, u64::max);
            let next = self.sink.start.after.map_or(self.sink.start.first, |after| after + 1);
            let wanted = next.max(self.unknown.map_or(0, |unknown| unknown + 1));
            if self.readable >= wanted {
                return Ok(());
            }
            crossbeam_channel::select! {
                recv(self.wake) -> time => self.readable = self.readable.max(time.map_err(|_| Stopped)?),
                recv(self.stop) -> _ => return Err(Stopped),
            }
        }
    }

    /// Sends what can be read, in one transaction or several.
    fn deliver(&mut self, producer: &Producer, partitions: i32) -> Result<(), End> {
        let first = self.sink.start.first;
        if self.sink.start.after.is_none() {
            // Where there were errors then, the first rows are those of now.
            let first = if self.unknown.is_some() { self.readable } else { first };
            let rows = feed::whole(&self.sink.start.feed, first).map_err(End::Unknown)?;
            self.transaction(producer, partitions, &mut [Ok((first, rows))].into_iter())?;
        }
        let after = self.sink.start.after.unwrap_or(first);
        if self.readable > after {
            let groups = (self.sink.start.feed)(after, self.readable).map_err(End::Unknown)?;
            let mut groups = groups.peekable();
            while groups.peek().is_some() {
                self.transaction(producer, partitions, &mut groups)?;
            }
            // What comes after the last change is complete too, and needs no transaction.
            self.sink.start.after = Some(self.readable);
        }
        Ok(())
    }

    /// One transaction: some of the times, whole, and where it stops.
    fn transaction(
        &mut self,
        producer: &Producer,
        partitions: i32,
        groups: &mut dyn Iterator<Item = Result<feed::Group, String>>,
    ) -> Result<(), End> {
        let begun = Instant::now();
        let broken = |e: KafkaError| End::Broken(producer.context().reasons.explain(&e));
        let (mut upto, mut messages, mut bytes) = (None, 0, 0);
        let (mut open, mut unknown) = (false, None);
        for group in groups {
            let (time, rows) = match group {
                Ok(group) => group,
                Err(why) => {
                    unknown = Some(why);
                    break;
                }
            };
            let records = self.sink.encoder.records(rows).map_err(End::Lost)?;
            if !records.is_empty() && !open {
                producer.begin_transaction().map_err(broken)?;
                open = true;
            }
            for (i, record) in records.iter().enumerate() {
                if i % 1_000 == 999 {
                    producer.poll(Duration::ZERO);
                }
                bytes += self.send(producer, partitions, time, record)?;
                messages += 1;
            }
            upto = Some(time);
            if bytes >= BATCH_BYTES || begun.elapsed() >= BATCH_TIME {
                break;
            }
        }
        if let Some(upto) = upto {
            if open {
                self.send_progress(producer, upto)?;
                self.commit(producer)?;
                self.sink.committed = Some(producer.context().offset.load(Ordering::Relaxed));
            }
            self.sink.start.after = Some(upto);
            let offset = self.sink.committed;
            self.say(Said::Delivered { upto: Some(upto), messages, bytes, dead: vec![], offset })?;
        }
        unknown.map_or(Ok(()), |why| Err(End::Unknown(why)))
    }

    fn send(&self, producer: &Producer, partitions: i32, time: u64, record: &Record) -> Result<u64, End> {
        let text = time.to_string();
        let mut headers = OwnedHeaders::new();
        let mut bytes = 0;
        for (key, value) in &record.headers {
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        headers = headers.insert(Header { key: TIME_HEADER, value: Some(&text) });
        let partition = record.partition % u64::try_from(partitions).unwrap_or(1).max(1);
        let mut message = BaseRecord::<[u8], [u8]>::to(&self.sink.topic.name)
            .partition(i32::try_from(partition).unwrap_or(0))
            .timestamp(i64::try_from(time).unwrap_or(i64::MAX))
            .headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        bytes += record.key.as_ref().map_or(0, Vec::len) + record.value.as_ref().map_or(0, Vec::len);
        self.enqueue(producer, message)?;
        Ok(bytes as u64)
    }

    fn send_progress(&self, producer: &Producer, upto: u64) -> Result<(), End> {
        let value = format!("{{\"timestamp\":{upto}}}");
        let message = BaseRecord::to(&self.sink.progress.name)
            .partition(0)
            .key(self.sink.id.as_bytes())
            .payload(value.as_bytes());
        self.enqueue(producer, message)
    }

    /// Hands a message to librdkafka, waiting while its queue is full.
    fn enqueue(&self, producer: &Producer, mut message: BaseRecord<'_, [u8], [u8]>) -> Result<(), End> {
        loop {
            match producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => message = back,
                Err((e, _)) => return Err(End::Broken(producer.context().reasons.explain(&e))),
            }
            producer.poll(Duration::from_millis(10));
            if self.stopped() {
                return Err(End::Stopped);
            }
        }
    }

    fn commit(&mut self, producer: &Producer) -> Result<(), End> {
        let (begun, mut stalled) = (Instant::now(), false);
        loop {
            // The library's own flush looks every 100 ms; a poll lasts as long as it is told to.
            while producer.in_flight_count() > 0 && begun.elapsed() < Duration::from_secs(5) {
                producer.poll(Duration::from_millis(1));
            }
            match producer.commit_transaction(Duration::from_secs(5)) {
                Ok(()) if stalled => return Ok(self.say(Said::Status(None))?),
                Ok(()) => return Ok(()),
                // After a minute nobody knows whether it was committed: a new session will ask.
                Err(e) if may_be_retried(&e) && begun.elapsed() < Duration::from_secs(60) => {
                    let why = producer.context().reasons.explain(&e);
                    self.say(Said::Status(Some(why)))?;
                    stalled = true;
                }
                Err(e) => {
                    let context = producer.context();
                    let why = context.reasons.explain(&e);
                    return Err(End::Broken(context.reasons.last().unwrap_or(why)));
                }
            }
            if self.stopped() {
                return Err(End::Stopped);
            }
        }
    }
}

/// Whether the same call may work later.
fn may_be_retried(e: &KafkaError) -> bool {
    match e {
        KafkaError::Transaction(e) => e.is_retriable(),
        // The messages are on their way.
        KafkaError::Flush(code) => *code == RDKafkaErrorCode::OperationTimedOut,
        _ => false,
    }
}

/// `{"timestamp":1700000000000}`
fn progress_time(value: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(value).ok()?.get("timestamp")?.as_u64()
}
