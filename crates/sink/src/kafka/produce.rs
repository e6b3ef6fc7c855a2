//! Messages into Kafka topics.

use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use source::{KafkaConnection, SourceError};

/// Writes to a cluster; each message is there for good (`acks=all`) before it is said to be.
pub struct Producer(ThreadedProducer<Context>);

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its time, ms since the epoch.
    pub timestamp: i64,
}

/// Where a message was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub partition: i32,
    /// The offset there.
    pub offset: i64,
}

/// Why a message was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProduceError {
    /// There is no such topic.
    NoTopic,
    /// The cluster cannot be reached, or does not take it now; another try may work.
    Unavailable(String),
    /// The cluster does not take this message.
    Refused(String),
}

impl std::fmt::Display for ProduceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ProduceError::NoTopic => f.write_str("the topic does not exist"),
            ProduceError::Unavailable(why) | ProduceError::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ProduceError {}

impl From<&KafkaError> for ProduceError {
    fn from(e: &KafkaError) -> Self {
        use RDKafkaErrorCode::*;
        let text = e.rdkafka_error_code().map_or_else(|| e.to_string(), |code| code.to_string());
        match e.rdkafka_error_code() {
            Some(UnknownTopic | UnknownTopicOrPartition | UnknownPartition | InvalidTopic) => {
                ProduceError::NoTopic
            }
            Some(MessageSizeTooLarge | TopicAuthorizationFailed | InvalidRecord | PolicyViolation) => {
                ProduceError::Refused(text)
            }
            _ => ProduceError::Unavailable(text),
        }
    }
}

/// What is told of a message once its fate is known.
type Told = Box<dyn FnOnce(Result<Place, ProduceError>) + Send + Sync>;

struct Context;

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Told>;

    fn delivery(&self, result: &DeliveryResult<'_>, told: Self::DeliveryOpaque) {
        (*told)(match result {
            Ok(message) => Ok(Place { partition: message.partition(), offset: message.offset() }),
            Err((e, _)) => Err(e.into()),
        });
    }
}

impl Producer {
    /// Connects in the background; that a cluster is not there is told by its first messages.
    pub fn new(connection: &KafkaConnection) -> Result<Producer, SourceError> {
        let mut config = connection.client_config()?;
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .set("message.timeout.ms", "10000")
            .set("topic.metadata.propagation.max.ms", "2000");
        config
            .create_with_context(Context)
            .map(Producer)
            .map_err(|e| SourceError::Option(format!("no producer could be made: {e}")))
    }

    /// Writes a message and says later, on another thread, where it is.
    pub fn send(
        &self,
        message: &Message,
        told: impl FnOnce(Result<Place, ProduceError>) + Send + Sync + 'static,
    ) {
        let told: Box<Told> = Box::new(Box::new(told));
        if !source::kafka::valid_topic(&message.topic) {
            return told(Err(ProduceError::NoTopic));
        }
        let headers = message
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
        let mut record = BaseRecord::<[u8], [u8], Box<Told>>::with_opaque_to(&message.topic, told)
            .timestamp(message.timestamp)
            .headers(headers);
        record.key = message.key.as_deref();
        record.payload = message.value.as_deref();
        if let Err((e, record)) = self.0.send(record) {
            (*record.delivery_opaque)(Err((&e).into()));
        }
    }

    /// Waits until all that was sent is written or has failed.
    pub fn flush(&self, patience: std::time::Duration) -> bool {
        self.0.flush(patience).is_ok()
    }
}
