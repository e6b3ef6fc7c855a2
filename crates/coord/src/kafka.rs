//! The Kafka of this process, as far as the engine knows it: where it listens, and what it says of its topics and groups.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A Kafka in this process.
#[derive(Clone)]
pub struct LocalKafka {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// The certificate (PEM) of its authority, if nobody else has signed its own: connections to it trust it by themselves.
    pub authority: Option<String>,
    /// What it holds now. Must not wait for anything.
    pub report: Arc<dyn Fn() -> KafkaReport + Send + Sync>,
}

impl fmt::Debug for LocalKafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKafka").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl LocalKafka {
    /// Whether `host:port` is one of its listeners.
    pub(crate) fn is(&self, broker: &str) -> bool {
        let Some((host, port)) = broker.rsplit_once(':') else { return false };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let ip = host.parse::<IpAddr>().ok();
        let here = ip.map_or(host == "localhost", |ip| ip.is_loopback());
        self.addresses.iter().any(|a| port == a.port().to_string() && (here || ip == Some(a.ip())))
    }
}

/// What a Kafka holds.
#[derive(Clone, Debug, Default)]
pub struct KafkaReport {
    /// By name.
    pub topics: Vec<KafkaTopic>,
    /// By name.
    pub groups: Vec<KafkaGroup>,
    /// The clients that are connected.
    pub connections: usize,
    /// Whether its log cannot be written any more.
    pub failed: bool,
}

/// A topic.
#[derive(Clone, Debug, Default)]
pub struct KafkaTopic {
    /// Its id, as Kafka's clients show it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// In order.
    pub partitions: Vec<KafkaPartition>,
    /// `cleanup.policy`.
    pub cleanup_policy: String,
    /// How old records may become, ms; none: any age.
    pub retention_ms: Option<i64>,
    /// How many bytes a partition may have; none: any.
    pub retention_bytes: Option<i64>,
}

/// A partition: the offsets from `start` to below `end` can be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct KafkaPartition {
    /// The first offset.
    pub start: i64,
    /// The next offset.
    pub end: i64,
    /// Below here every transaction is decided.
    pub stable: i64,
    /// The bytes of its batches.
    pub bytes: u64,
}

/// A consumer group.
#[derive(Clone, Debug, Default)]
pub struct KafkaGroup {
    /// Its name.
    pub name: String,
    /// `Stable`, `Empty` …, as Kafka calls it.
    pub state: String,
    /// `consumer`, for consumers.
    pub protocol_type: String,
    /// How many are in it.
    pub members: usize,
    /// How far it has read: topic, partition, next offset, note.
    pub offsets: Vec<(String, i32, i64, Option<String>)>,
}

impl KafkaReport {
    /// The end of a partition, if it is there.
    pub(crate) fn end(&self, topic: &str, partition: i32) -> Option<i64> {
        let found = self.topics.binary_search_by(|t| t.name.as_str().cmp(topic)).ok()?;
        Some(self.topics[found].partitions.get(usize::try_from(partition).ok()?)?.end)
    }

    /// How many offsets of what it has read a group has still before it.
    pub(crate) fn lag(&self, group: &KafkaGroup) -> i64 {
        let behind = |(topic, partition, offset, _): &(String, i32, i64, Option<String>)| {
            self.end(topic, *partition).map_or(0, |end| (end - offset).max(0))
        };
        group.offsets.iter().map(behind).sum()
    }
}
