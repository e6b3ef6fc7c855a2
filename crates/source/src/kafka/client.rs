//! librdkafka's consumer, reduced to what a reader needs, and a trait in its place for tests without a broker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::util::Timeout;

use super::{KafkaConnection, KafkaSource, Mark};
use crate::SourceError;
use crate::record::{Header, RecordRef};

/// What a reader asks of Kafka.
pub(super) trait Client: Send + Sync {
    /// The partitions of the topic.
    fn partitions(&self, timeout: Duration) -> Result<Vec<i32>, Trouble>;
    /// The first offset of a partition and the one after its last readable record.
    fn ends(&self, partition: i32, timeout: Duration) -> Result<(i64, i64), Trouble>;
    /// From now on reads these partitions too, each from an offset or (none) its first record.
    fn assign(&self, partitions: &[(i32, Option<i64>)]) -> Result<(), Trouble>;
    /// Moves a partition that was assigned to another offset, or (none) to its first record.
    fn reassign(&self, partition: i32, offset: Option<i64>) -> Result<(), Trouble>;
    /// Reads these partitions no longer.
    fn unassign(&self, partitions: &[i32]) -> Result<(), Trouble>;
    /// Waits for a record and gives it to `take`.
    fn poll(&self, wait: Duration, take: &mut dyn FnMut(RecordRef<'_>)) -> Polled;
    /// The last reason that the client library gave for having no connection.
    fn reason(&self) -> Option<Trouble>;
}

/// What came of a poll.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Polled {
    /// A record was given.
    Record,
    /// Nothing came in time.
    Nothing,
    /// Some partition does not have the offset that we want.
    Gap,
    /// No broker can be reached, or none lets us in.
    Down(Trouble),
}

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no such topic.
    NoTopic,
    /// The client library's code and words.
    Kafka(RDKafkaErrorCode, String),
}

impl Trouble {
    /// Without the prefixes that name the connection inside the library, which are noise to a reader of a status.
    pub(super) fn text(&self) -> String {
        match self {
            Trouble::NoTopic => "the topic does not exist".into(),
            Trouble::Kafka(_, text) => text.clone(),
        }
    }

    /// How much the reason says: a reason is kept until a better or newer one comes.
    fn rank(&self) -> u8 {
        match self {
            Trouble::Kafka(RDKafkaErrorCode::AllBrokersDown, _) => 0,
            Trouble::Kafka(RDKafkaErrorCode::BrokerTransportFailure, _) => 1,
            Trouble::Kafka(RDKafkaErrorCode::Resolve, _) => 2,
            _ => 3,
        }
    }

    fn of(e: &KafkaError) -> Trouble {
        match e.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition,
            ) => Trouble::NoTopic,
            Some(code) => Trouble::Kafka(code, code.to_string()),
            None => Trouble::Kafka(RDKafkaErrorCode::Fail, e.to_string()),
        }
    }
}

/// Keeps what librdkafka says beside its answers.
#[derive(Default)]
pub(super) struct Context {
    reason: Mutex<Option<Trouble>>,
    down: std::sync::atomic::AtomicBool,
}

impl Context {
    fn note(&self, trouble: Trouble) {
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if reason.as_ref().is_none_or(|r| r.rank() <= trouble.rank()) {
            *reason = Some(trouble);
        }
    }

    fn forget(&self) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.down.store(false, std::sync::atomic::Ordering::Relaxed);
    }

    pub(super) fn reason(&self) -> Option<Trouble> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether all brokers were given up since the last answer of one.
    pub(super) fn all_down(&self) -> bool {
        self.down.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        match code {
            RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AutoOffsetReset => {}
            RDKafkaErrorCode::AllBrokersDown => {
                self.down.store(true, std::sync::atomic::Ordering::Relaxed);
                self.note(Trouble::Kafka(
                    code,
                    format!("{reason} (the broker gave no reason: does it expect another security protocol, or SASL?)"),
                ));
            }
            _ => self.note(Trouble::Kafka(code, essence(reason).to_string())),
        }
    }
}

impl ConsumerContext for Context {
    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(100))
    }
}

/// Without the thread, the connection and the time that librdkafka puts around a reason: they change with each attempt,
/// and a status would change with them. `ssl://h:1/bootstrap: X (after 5ms in state S, …)` becomes `X`.
pub fn essence(reason: &str) -> &str {
    let reason = match reason.strip_prefix("[thrd:").and_then(|r| r.split_once("]: ")) {
        Some((_, rest)) => rest,
        None => reason,
    };
    let reason = match reason.split_once(": ") {
        Some((prefix, rest)) if prefix.contains('/') && !prefix.contains(' ') => rest,
        _ => reason,
    };
    match reason.rfind(" (after ") {
        Some(at) if reason.ends_with(')') => &reason[..at],
        _ => reason,
    }
}

/// A consumer without a topic, for questions.
pub(super) fn consumer(
    connection: &KafkaConnection,
    group: &str,
    settings: &[(&str, &str)],
) -> Result<BaseConsumer<Context>, SourceError> {
    let mut config = connection.client_config()?;
    config.set("group.id", group);
    for (name, value) in [
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        // A gap is reported, not jumped.
        ("auto.offset.reset", "error"),
        ("isolation.level", "read_committed"),
        ("allow.auto.create.topics", "false"),
        // The default of 10 s makes every restart of a broker a long one.
        ("reconnect.backoff.ms", "50"),
        ("reconnect.backoff.max.ms", "500"),
        // The default of 1 s is slept whenever the local queue is full, which halves the throughput.
        ("fetch.queue.backoff.ms", "5"),
        ("socket.keepalive.enable", "true"),
    ]
    .iter()
    .chain(settings)
    {
        config.set(*name, *value);
    }
    // The words of a configuration error hold names and files, not secrets; PEM texts that do not parse are not repeated.
    config.create_with_context(Context::default()).map_err(|e| match &e {
        KafkaError::ClientCreation(what) if what.contains("ssl") => SourceError::Tls(what.clone()),
        e => SourceError::Option(e.to_string()),
    })
}

/// The partitions of a topic.
pub(super) fn partitions_of(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    timeout: Duration,
) -> Result<Vec<i32>, Trouble> {
    let metadata = consumer.fetch_metadata(Some(topic), timeout).map_err(|e| Trouble::of(&e))?;
    let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else {
        return Err(Trouble::NoTopic);
    };
    // The list of partitions must not be touched where there is an error: it is a null pointer then.
    if let Some(e) = found.error() {
        let code = RDKafkaErrorCode::from(e);
        return Err(match code {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => Trouble::NoTopic,
            code => Trouble::Kafka(code, code.to_string()),
        });
    }
    let mut partitions: Vec<i32> = found.partitions().iter().map(|p| p.id()).collect();
    partitions.sort_unstable();
    Ok(partitions)
}

/// The consumer of a source.
pub(super) struct Live {
    consumer: BaseConsumer<Context>,
    topic: String,
    headers: bool,
    source: KafkaSource,
}

impl Live {
    pub(super) fn new(source: &KafkaSource, refresh: Duration) -> Result<Live, SourceError> {
        let refresh = refresh.as_millis().clamp(100, 3_600_000).to_string();
        let settings = [("topic.metadata.refresh.interval.ms", refresh.as_str())];
        let consumer = consumer(&source.connection, &source.group_id, &settings)?;
        Ok(Live { consumer, topic: source.topic.clone(), headers: source.headers, source: source.clone() })
    }

    fn list(&self, partitions: &[(i32, Option<i64>)]) -> Result<TopicPartitionList, Trouble> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in partitions {
            let offset = offset.map_or(Offset::Beginning, Offset::Offset);
            list.add_partition_offset(&self.topic, *partition, offset).map_err(|e| Trouble::of(&e))?;
        }
        Ok(list)
    }
}

impl Live {
    /// Tells the consumer group how far the source is, for those who watch its lag. It is never asked: where that is not
    /// allowed, nothing is missing but the figure.
    pub(super) fn commit(&self, offsets: &[(i32, i64)]) {
        let offsets: Vec<_> = offsets.iter().map(|(partition, offset)| (*partition, Some(*offset))).collect();
        let told = self.list(&offsets).map(|list| self.consumer.commit(&list, CommitMode::Async));
        if let Ok(Err(e)) = told {
            tracing::debug!(error = %e, "the consumer group was not told how far the source is");
        }
    }
}

impl Live {
    /// What the broker has at this offset now, if it says so in time. On a connection of its own: reading goes on.
    pub(super) fn mark_at(&self, partition: i32, offset: i64, timeout: Duration) -> Option<Mark> {
        // One record is wanted, not a queue full of them.
        let settings =
            [("queued.min.messages", "1"), ("fetch.message.max.bytes", "1024"), ("fetch.wait.max.ms", "100")];
        let looker = consumer(&self.source.connection, &self.source.group_id, &settings).ok()?;
        let deadline = std::time::Instant::now() + timeout;
        // Reading begins at once where the metadata is known.
        partitions_of(&looker, &self.topic, timeout).ok()?;
        looker.assign(&self.list(&[(partition, Some(offset))]).ok()?).ok()?;
        loop {
            let left = deadline.checked_duration_since(std::time::Instant::now())?;
            match looker.poll(left) {
                Some(Ok(message)) => {
                    let record = RecordRef {
                        partition,
                        offset: message.offset(),
                        timestamp: message.timestamp().to_millis(),
                        key: message.key(),
                        value: message.payload(),
                        headers: None,
                    };
                    return (record.offset == offset).then(|| Mark::of_record(&record));
                }
                // The offset is not there.
                Some(Err(e))
                    if matches!(
                        e.rdkafka_error_code(),
                        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
                    ) =>
                {
                    return None;
                }
                Some(Err(_)) | None => {}
            }
        }
    }
}

impl Client for Live {
    fn partitions(&self, timeout: Duration) -> Result<Vec<i32>, Trouble> {
        let found = partitions_of(&self.consumer, &self.topic, timeout);
        if found.is_ok() {
            self.consumer.context().forget();
        }
        found
    }

    fn ends(&self, partition: i32, timeout: Duration) -> Result<(i64, i64), Trouble> {
        self.consumer.fetch_watermarks(&self.topic, partition, timeout).map_err(|e| Trouble::of(&e))
    }

    fn assign(&self, partitions: &[(i32, Option<i64>)]) -> Result<(), Trouble> {
        self.consumer.incremental_assign(&self.list(partitions)?).map_err(|e| Trouble::of(&e))
    }

    fn reassign(&self, partition: i32, offset: Option<i64>) -> Result<(), Trouble> {
        let list = self.list(&[(partition, offset)])?;
        self.consumer.incremental_unassign(&list).map_err(|e| Trouble::of(&e))?;
        self.consumer.incremental_assign(&list).map_err(|e| Trouble::of(&e))
    }

    fn unassign(&self, partitions: &[i32]) -> Result<(), Trouble> {
        let list: Vec<_> = partitions.iter().map(|p| (*p, None)).collect();
        self.consumer.incremental_unassign(&self.list(&list)?).map_err(|e| Trouble::of(&e))
    }

    fn poll(&self, wait: Duration, take: &mut dyn FnMut(RecordRef<'_>)) -> Polled {
        let message = match self.consumer.poll(wait) {
            None => return Polled::Nothing,
            Some(Ok(message)) => message,
            Some(Err(e)) => {
                return match e.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                        Polled::Gap
                    }
                    Some(
                        RDKafkaErrorCode::AllBrokersDown
                        | RDKafkaErrorCode::Authentication
                        | RDKafkaErrorCode::SSL
                        | RDKafkaErrorCode::TopicAuthorizationFailed,
                    ) => Polled::Down(self.reason().unwrap_or_else(|| Trouble::of(&e))),
                    // One broker of several went away, or something that the library repairs by itself.
                    _ => Polled::Nothing,
                };
            }
        };
        let mut record = RecordRef {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: None,
        };
        if !self.headers {
            take(record);
            return Polled::Record;
        }
        let found: Vec<Header<'_>> = message.headers().map_or_else(Vec::new, |headers| {
            // The binding panics on a name that is not UTF-8; a producer must not be able to end us.
            let get = |i| catch_unwind(AssertUnwindSafe(|| headers.get(i))).ok();
            let header = |i| get(i).map_or(("\u{fffd}", None), |h| (h.key, h.value));
            (0..headers.count()).map(header).collect()
        });
        record.headers = Some(&found);
        take(record);
        Polled::Record
    }

    fn reason(&self) -> Option<Trouble> {
        self.consumer.context().reason()
    }
}

#[cfg(test)]
mod tests {
    use super::essence;

    #[test]
    fn a_reason_is_the_same_at_each_attempt() {
        for (said, meant) in [
            (
                "ssl://h:9093/bootstrap: SSL handshake failed: x: y (after 5ms in state SSL_HANDSHAKE)",
                "SSL handshake failed: x: y",
            ),
            (
                "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT, 1 identical error(s) suppressed)",
                "Connect to ipv4#127.0.0.1:1 failed: Connection refused",
            ),
            ("[thrd:sasl_ssl://h:1/1]: sasl_ssl://h:1/1: Disconnected", "Disconnected"),
            ("1/1 brokers are down", "1/1 brokers are down"),
        ] {
            assert_eq!(essence(said), meant);
        }
    }
}
