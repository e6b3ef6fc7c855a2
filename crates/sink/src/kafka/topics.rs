//! Topics: made where they are missing, looked at, and read to their end.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic as AdminTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use source::{KafkaConnection, SourceError};

/// An answer of a broker is waited for so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A topic as it is made when it is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its partitions; none: as many as the broker's default.
    pub partitions: Option<i32>,
    /// Copies of each; none: the broker's default.
    pub replication: Option<i32>,
    /// Its settings.
    pub config: Vec<(String, String)>,
}

/// Keeps the last reason that librdkafka gave beside its answers.
#[derive(Default)]
pub(super) struct Reasons(Mutex<Option<String>>);

impl Reasons {
    pub(super) fn note(&self, reason: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    pub(super) fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a person should read of an error: the reason behind it, where the error itself says only that time ran out.
    pub(super) fn explain(&self, e: &KafkaError) -> String {
        let text = match e {
            KafkaError::Transaction(e) => e.string(),
            e => code_text(e),
        };
        let vague = matches!(
            e.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::RequestTimedOut
                    | RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::MessageTimedOut
                    | RDKafkaErrorCode::PurgeQueue
                    | RDKafkaErrorCode::PurgeInflight
            )
        );
        match self.last() {
            Some(reason) if vague => reason,
            _ => text,
        }
    }
}

/// An error's code in words, and what to do where that is not plain.
pub(super) fn code_text(e: &KafkaError) -> String {
    match e.rdkafka_error_code() {
        Some(code @ RDKafkaErrorCode::MessageSizeTooLarge) => {
            format!("{code}: raise the topic's max.message.bytes, or make the row smaller")
        }
        Some(code) => code.to_string(),
        None => e.to_string(),
    }
}

impl ClientContext for Reasons {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AllBrokersDown) => {}
            _ => self.note(source::kafka::essence(reason).to_string()),
        }
    }
}

impl ConsumerContext for Reasons {}

/// Whether a sink could write here: makes the topics that are not there.
pub fn prepare(connection: &KafkaConnection, topics: &[NewTopic]) -> Result<(), SourceError> {
    let config = patient(connection.client_config()?);
    for topic in topics {
        if !source::kafka::valid_topic(&topic.name) {
            return Err(SourceError::Option(format!(
                "invalid TOPIC: \"{}\" (1 to 249 ASCII letters, digits, dots, underscores and hyphens are allowed)",
                topic.name
            )));
        }
        ensure(&config, topic).map_err(SourceError::Broker)?;
    }
    Ok(())
}

/// A topic's partitions. It is made if it is not there.
pub(super) fn ensure(config: &ClientConfig, topic: &NewTopic) -> Result<i32, String> {
    // One that asks for a topic as a producer makes it, with the broker's defaults.
    let asking: BaseConsumer<Reasons> = config
        .clone()
        .set("allow.auto.create.topics", "false")
        .create_with_context(Reasons::default())
        .map_err(|e| e.to_string())?;
    let failed = |e: KafkaError| asking.context().explain(&e);
    let start = Instant::now();
    let mut made = false;
    loop {
        let metadata = asking.fetch_metadata(Some(&topic.name), PATIENCE).map_err(failed)?;
        let found = metadata.topics().iter().find(|t| t.name() == topic.name);
        // The list of partitions must not be touched where there is an error: it is a null pointer then.
        match found.map(|t| t.error().map(RDKafkaErrorCode::from).ok_or_else(|| t.partitions().len())) {
            Some(Err(n)) if n > 0 => return Ok(i32::try_from(n).unwrap_or(i32::MAX)),
            Some(Ok(
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::InvalidTopic),
            )) => return Err(format!("topic \"{}\": {code}", topic.name)),
            _ if start.elapsed() > PATIENCE => {
                return Err(format!("topic \"{}\" is not ready", topic.name));
            }
            _ if made => std::thread::sleep(Duration::from_millis(20)),
            _ => {
                create(config, topic).map_err(|e| format!("topic \"{}\" cannot be made: {e}", topic.name))?;
                made = true;
            }
        }
    }
}

fn create(config: &ClientConfig, topic: &NewTopic) -> Result<(), String> {
    let admin: AdminClient<Reasons> =
        config.create_with_context(Reasons::default()).map_err(|e| e.to_string())?;
    let mut new = AdminTopic::new(
        &topic.name,
        topic.partitions.unwrap_or(-1),
        TopicReplication::Fixed(topic.replication.unwrap_or(-1)),
    );
    for (key, value) in &topic.config {
        new = new.set(key, value);
    }
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let answers = futures::executor::block_on(admin.create_topics([&new], &options));
    match answers.map_err(|e| admin.inner().context().explain(&e))?.pop() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code @ RDKafkaErrorCode::InvalidConfig))) => {
            let names: Vec<&str> = topic.config.iter().map(|(name, _)| name.as_str()).collect();
            Err(format!("{code} (TOPIC CONFIG {})", names.join(", ")))
        }
        Some(Err((_, code))) => Err(code.to_string()),
    }
}

/// Gives every committed message of a topic's only partition, from an offset on, to `take`, up to what is its end now.
/// Transactions of others that are still open there are waited for.
pub(super) fn read_to_end(
    config: &ClientConfig,
    group: &str,
    topic: &str,
    from: i64,
    mut take: impl FnMut(i64, Option<&[u8]>, Option<&[u8]>),
    mut stop: impl FnMut() -> bool,
) -> Result<(), String> {
    let consumer = |isolation: &str| -> Result<BaseConsumer<Reasons>, String> {
        let mut config = config.clone();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", isolation);
        config.create_with_context(Reasons::default()).map_err(|e| e.to_string())
    };
    let all = consumer("read_uncommitted")?;
    let (first, end) = all.fetch_watermarks(topic, 0, PATIENCE).map_err(|e| all.context().explain(&e))?;
    let committed = consumer("read_committed")?;
    let failed = |e: KafkaError| committed.context().explain(&e);
    let start = Instant::now();
    // What lies behind an open transaction cannot be seen yet.
    while committed.fetch_watermarks(topic, 0, PATIENCE).map_err(failed)?.1 < end {
        if stop() || start.elapsed() > PATIENCE {
            return Err(format!("topic \"{topic}\" has an open transaction of another sink"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if first >= end {
        return Ok(());
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(from.max(first))).map_err(failed)?;
    committed.assign(&list).map_err(failed)?;
    loop {
        match committed.poll(PATIENCE) {
            Some(Ok(m)) => {
                take(m.offset(), m.key(), m.payload());
                // While others write, no answer says that this is the end.
                if m.offset() + 1 >= end {
                    return Ok(());
                }
            }
            // The last offsets may be no messages but ends of transactions.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(e)) => match e.rdkafka_error_code() {
                Some(RDKafkaErrorCode::BrokerTransportFailure) => {}
                _ => return Err(failed(e)),
            },
            None => {
                let why = committed.context().last().unwrap_or_else(|| "no answer".into());
                return Err(format!("topic \"{topic}\" cannot be read: {why}"));
            }
        }
        if stop() {
            return Err("stopped".into());
        }
    }
}

/// Reconnects soon: the default of 10 s makes every restart of a broker a long one.
pub(super) fn patient(mut config: ClientConfig) -> ClientConfig {
    config
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("socket.keepalive.enable", "true");
    config
}
