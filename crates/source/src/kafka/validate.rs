//! Checks of a connection or topic at the time a statement names it, with the broker's own reason in the error.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Context, Trouble, consumer, partitions_of};
use super::{KafkaConnection, valid_topic};
use crate::SourceError;

/// librdkafka waits the whole time for an answer even when it knows better, so it is asked in slices.
const SLICE: Duration = Duration::from_millis(250);

/// The group under which questions are asked; it never holds anything.
const GROUP: &str = "deltamill-check";

/// Where a source begins in its topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartPosition {
    /// At the first record of every partition.
    #[default]
    Earliest,
    /// `START OFFSET`: at these offsets, in the order of partitions; those without one from their first record.
    Offsets(Vec<i64>),
    /// `START TIMESTAMP`: at the first record that is not older, ms since the epoch; negative: before now.
    Timestamp(i64),
}

/// Checks that a broker answers and lets us in.
pub fn validate_connection(connection: &KafkaConnection, timeout: Duration) -> Result<(), SourceError> {
    let consumer = consumer(connection, GROUP, &[])?;
    connected(&consumer, connection, timeout)
}

/// Checks that a topic is there and gives its partitions, ascending.
pub fn validate_topic(
    connection: &KafkaConnection,
    topic: &str,
    timeout: Duration,
) -> Result<Vec<i32>, SourceError> {
    let consumer = consumer(connection, GROUP, &[])?;
    partitions(&consumer, connection, topic, timeout)
}

/// Turns a start into offsets, once, when a source is created: what it gives belongs into the source's stored progress.
/// `now` is the time in ms since the epoch. Partitions that are missing in the answer begin at their first record.
pub fn resolve_start(
    connection: &KafkaConnection,
    topic: &str,
    start: &StartPosition,
    now: u64,
    timeout: Duration,
) -> Result<BTreeMap<i32, i64>, SourceError> {
    let deadline = Instant::now() + timeout;
    let left = || deadline.saturating_duration_since(Instant::now()).max(SLICE);
    let consumer = consumer(connection, GROUP, &[])?;
    let partitions = partitions(&consumer, connection, topic, timeout)?;
    let broker = |e: rdkafka::error::KafkaError| {
        SourceError::Broker(format!("the offsets of topic \"{topic}\" could not be read: {e}"))
    };
    match start {
        StartPosition::Earliest => Ok(BTreeMap::new()),
        StartPosition::Offsets(offsets) => {
            if offsets.len() > partitions.len() {
                return Err(SourceError::Option(format!(
                    "START OFFSET has {} offsets, but topic \"{topic}\" has {} partitions",
                    offsets.len(),
                    partitions.len()
                )));
            }
            let mut starts = BTreeMap::new();
            for (partition, offset) in partitions.iter().zip(offsets) {
                let (low, high) = consumer.fetch_watermarks(topic, *partition, left()).map_err(broker)?;
                if *offset < 0 || *offset > high {
                    return Err(SourceError::Option(format!(
                        "START OFFSET {offset} is not in partition {partition} of topic \"{topic}\", which ends at {high}"
                    )));
                }
                // What retention took before is no gap: nobody was reading yet.
                starts.insert(*partition, (*offset).max(low));
            }
            Ok(starts)
        }
        StartPosition::Timestamp(ms) => {
            let ms = if *ms < 0 { (now as i64).saturating_add(*ms).max(0) } else { *ms };
            let mut list = TopicPartitionList::new();
            for partition in &partitions {
                list.add_partition_offset(topic, *partition, Offset::Offset(ms)).map_err(broker)?;
            }
            let found = consumer.offsets_for_times(list, left()).map_err(broker)?;
            let mut starts = BTreeMap::new();
            for element in found.elements() {
                let offset = match element.offset() {
                    Offset::Offset(offset) => offset,
                    // Nothing is that young: begin with what comes next.
                    _ => consumer.fetch_watermarks(topic, element.partition(), left()).map_err(broker)?.1,
                };
                starts.insert(element.partition(), offset);
            }
            Ok(starts)
        }
    }
}

/// The offset behind the last record of each partition that a source with these next offsets has not read yet. Where the
/// end of a partition is marks of transactions or aborted records, which are no records, it is not that end.
pub fn last_records(
    connection: &KafkaConnection,
    topic: &str,
    next: &BTreeMap<i32, i64>,
    timeout: Duration,
) -> Result<BTreeMap<i32, i64>, SourceError> {
    /// How many offsets before its end a partition is read from, to find its last record; more if there is none.
    const WINDOW: i64 = 64;
    let deadline = Instant::now() + timeout;
    let left = || deadline.saturating_duration_since(Instant::now()).max(SLICE);
    let consumer =
        consumer(connection, GROUP, &[("enable.partition.eof", "true"), ("fetch.wait.max.ms", "50")])?;
    let broker = |e: rdkafka::error::KafkaError| {
        SourceError::Broker(format!("the end of topic \"{topic}\" could not be read: {e}"))
    };
    let mut found = BTreeMap::new();
    // Partition: the first offset, where it is read from, the end.
    let mut open: BTreeMap<i32, (i64, i64, i64)> = BTreeMap::new();
    for partition in partitions(&consumer, connection, topic, timeout)? {
        let (low, high) = consumer.fetch_watermarks(topic, partition, left()).map_err(broker)?;
        let low = low.max(next.get(&partition).copied().unwrap_or(0));
        if low < high {
            open.insert(partition, (low, (high - WINDOW).max(low), high));
        }
    }
    let assign = |from: &BTreeMap<i32, (i64, i64, i64)>| {
        let mut list = TopicPartitionList::new();
        for (partition, (_, from, _)) in from {
            list.add_partition_offset(topic, *partition, Offset::Offset(*from)).map_err(broker)?;
        }
        consumer.assign(&list).map_err(broker)
    };
    assign(&open)?;
    while !open.is_empty() {
        match consumer.poll(deadline.saturating_duration_since(Instant::now())) {
            Some(Ok(message)) => drop(found.insert(message.partition(), message.offset() + 1)),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                let Some((low, from, high)) = open.remove(&partition) else { continue };
                // Nothing but marks in the window: further back, unless that is all.
                if !found.contains_key(&partition) && from > low {
                    let window = (high - from).saturating_mul(16);
                    open.insert(partition, (low, (high - window).max(low), high));
                    assign(&open)?;
                }
            }
            Some(Err(_)) | None if Instant::now() >= deadline => {
                return Err(SourceError::Unreachable(format!(
                    "the end of topic \"{topic}\" was not told in time"
                )));
            }
            Some(Err(_)) | None => {}
        }
    }
    Ok(found)
}

fn partitions(
    consumer: &BaseConsumer<Context>,
    connection: &KafkaConnection,
    topic: &str,
    timeout: Duration,
) -> Result<Vec<i32>, SourceError> {
    if !valid_topic(topic) {
        return Err(SourceError::Option(format!("\"{topic}\" is not a name that a Kafka topic can have")));
    }
    let deadline = Instant::now() + timeout;
    connected(consumer, connection, timeout)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(SLICE);
        match partitions_of(consumer, topic, left) {
            Ok(partitions) if partitions.is_empty() => {
                return Err(SourceError::NoTopic(format!(
                    "topic \"{topic}\" does not exist: it has no partitions"
                )));
            }
            Ok(partitions) => return Ok(partitions),
            Err(Trouble::NoTopic) => {
                return Err(SourceError::NoTopic(format!("topic \"{topic}\" does not exist")));
            }
            // Just created: its partitions have no leader yet.
            Err(Trouble::Kafka(RDKafkaErrorCode::LeaderNotAvailable, _)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(trouble) => {
                return Err(SourceError::Broker(format!(
                    "topic \"{topic}\" cannot be read: {}",
                    trouble.text()
                )));
            }
        }
    }
}

/// Waits for a first answer; a reason that waiting cannot cure ends it early.
fn connected(
    consumer: &BaseConsumer<Context>,
    connection: &KafkaConnection,
    timeout: Duration,
) -> Result<(), SourceError> {
    let deadline = Instant::now() + timeout;
    let one_broker = !connection.brokers.contains(',');
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = consumer.fetch_metadata(None, left.clamp(Duration::from_millis(50), SLICE));
        let error = match answer {
            Ok(_) => return Ok(()),
            Err(e) => e,
        };
        // Reasons come by the queue of events.
        while let Some(e) = consumer.poll(Duration::from_millis(5)) {
            drop(e);
        }
        let context = consumer.context();
        let reason = context.reason();
        let decided = match &reason {
            // Each of several brokers may be the one that works.
            Some(_) if !one_broker && !context.all_down() => false,
            Some(Trouble::Kafka(
                RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL | RDKafkaErrorCode::Resolve,
                _,
            )) => true,
            _ => context.all_down(),
        };
        if decided || Instant::now() >= deadline {
            return Err(match reason {
                Some(Trouble::Kafka(RDKafkaErrorCode::Authentication, text)) => {
                    SourceError::Authentication(text)
                }
                Some(Trouble::Kafka(RDKafkaErrorCode::SSL, text)) => SourceError::Tls(text),
                Some(trouble) => SourceError::Unreachable(trouble.text()),
                None => SourceError::Unreachable(format!("{}: {error}", connection.brokers)),
            });
        }
    }
}
