//! Kafka topics.
//!
//! A reader assigns itself all partitions of its topic and starts each one at the offset that was stored with the records
//! before. The consumer group is never asked; it is told what is durable, so that its lag can be watched. Whatever the broker
//! does, a reader goes on by itself once it can, and says meanwhile what it waits for:
//!
//! | happens | told as |
//! |---|---|
//! | broker down, refuses, changes its certificate | stalled, with librdkafka's words; running again when it answers |
//! | topic deleted | stalled; found by asking for it, since librdkafka says nothing |
//! | records gone before they were read, topic recreated shorter | stalled, with partition, offsets and how many; never jumped over |
//! | topic recreated and already longer | not noticed: offsets look the same, and librdkafka shows no topic ids |
//! | partitions added | read from their first record |

mod client;
mod connection;
mod mark;
mod reader;
mod validate;

use std::time::Duration;

pub use client::essence;
pub use connection::{KafkaConnection, Secret};
pub use mark::Mark;
pub use reader::KafkaReader;
pub use validate::{StartPosition, last_records, resolve_start, validate_connection, validate_topic};

/// A topic and how it is read.
#[derive(Clone, Debug)]
pub struct KafkaSource {
    /// The cluster.
    pub connection: KafkaConnection,
    /// The topic.
    pub topic: String,
    /// Whether headers are kept.
    pub headers: bool,
    /// The name of a consumer group for the broker's access rules and logs; its offsets are never read, and
    /// written for lag monitors only.
    pub group_id: String,
    /// How often the topic is looked at: new partitions, ends, whether it still exists. None: every 3 s.
    pub metadata_refresh: Option<Duration>,
}

/// Whether Kafka allows the name. (librdkafka's binding would panic on some that it does not.)
pub fn valid_topic(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && name.chars().all(valid) && name != "." && name != ".."
}
