//! What the broker says of itself: topics, groups and how far they have read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::group::{Listed, text};
use crate::{Broker, Shared};

/// The kind of groups that nobody is in now; only consumers commit offsets here.
pub(crate) const CONSUMER: &str = "consumer";

/// What a broker holds at a moment. All of it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By name.
    pub topics: Vec<TopicReport>,
    /// By name.
    pub groups: Vec<GroupReport>,
    /// The clients that are connected.
    pub connections: usize,
    /// Whether the log could not be written: reads go on, and nothing is accepted until a restart.
    pub failed: bool,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicReport {
    /// Its id, as Kafka's clients show it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// In order.
    pub partitions: Vec<PartitionReport>,
    /// `cleanup.policy`.
    pub cleanup_policy: String,
    /// `retention.ms`; none: any age.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; none: any.
    pub retention_bytes: Option<i64>,
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionReport {
    /// The first offset that can be read.
    pub start: i64,
    /// The next offset that will be given.
    pub end: i64,
    /// Below here every transaction is decided.
    pub stable: i64,
    /// The bytes of its batches.
    pub bytes: u64,
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// As Kafka calls it: `Stable`, `Empty` …
    pub state: String,
    /// `consumer`, for consumers.
    pub protocol_type: String,
    /// How many members it has.
    pub members: usize,
    /// Topic, partition, next offset, and the client's note.
    pub offsets: Vec<(String, i32, i64, Option<String>)>,
}

/// Whom to ask for reports; it keeps no broker alive.
#[derive(Clone, Debug)]
pub struct Reporter(Arc<Shared>);

impl Broker {
    /// Whom to ask what the broker holds.
    pub fn reporter(&self) -> Reporter {
        Reporter(Arc::clone(&self.shared))
    }
}

impl Reporter {
    /// What the broker holds now. Waits for nothing but a lock that nobody holds for long.
    pub fn report(&self) -> Report {
        let shared = &self.0;
        let groups = shared.list_groups();
        let state = shared.state();
        let limit = |n: i64| (n >= 0).then_some(n);
        let topics = state.topics.iter().map(|(name, topic)| TopicReport {
            id: URL_SAFE_NO_PAD.encode(topic.id),
            name: name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|p| PartitionReport { start: p.start, end: p.end, stable: p.stable(), bytes: p.bytes })
                .collect(),
            cleanup_policy: match (topic.settings.delete, topic.settings.compact) {
                (true, true) => "compact,delete".into(),
                (false, true) => "compact".into(),
                _ => "delete".into(),
            },
            retention_ms: limit(topic.settings.retention_ms),
            retention_bytes: limit(topic.settings.retention_bytes),
        });
        let groups = groups.into_iter().map(|(name, listed)| {
            let committed = state.committed.get(&name).into_iter().flatten();
            let offsets = committed.map(|((topic, partition), c)| {
                (topic.clone(), *partition, c.offset, c.metadata.clone().filter(|m| !m.is_empty()))
            });
            GroupReport {
                state: listed.state.to_string(),
                protocol_type: listed.kind.to_string(),
                members: listed.members,
                offsets: offsets.collect(),
                name,
            }
        });
        Report {
            topics: topics.collect(),
            groups: groups.collect(),
            connections: shared.connections.load(Ordering::Relaxed),
            failed: shared.failed.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    /// All groups: those with members, and those that have committed offsets.
    pub(crate) fn list_groups(&self) -> BTreeMap<String, Listed> {
        let mut all = self.groups.list();
        for group in self.state().committed.keys() {
            let empty = || Listed { kind: text(CONSUMER), state: "Empty", members: 0 };
            all.entry(group.clone()).or_insert_with(empty);
        }
        all
    }
}
