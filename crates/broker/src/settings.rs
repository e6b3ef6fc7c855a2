//! What can be set of a topic: names, defaults and what is allowed, as in Kafka.
//!
//! What changes nothing here that a client could see is accepted and given back as it came (sizes of segments, flushes):
//! the log is one for all topics, and everything that is acknowledged is flushed.

use std::collections::BTreeMap;

/// How a setting's value is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A whole number from here on.
    Number(i64),
    /// From 0 to 1.
    Ratio,
    /// One of these.
    Word(&'static [&'static str]),
    /// Some of these, with commas between.
    Words(&'static [&'static str]),
    /// True or false.
    Bool,
}
use Kind::{Bool, Number, Ratio, Word, Words};

const DAY: &str = "86400000";

/// Name, default, and what is allowed; sorted.
const TABLE: [(&str, &str, Kind); 18] = [
    ("cleanup.policy", "delete", Words(&["delete", "compact"])),
    ("compression.type", "producer", Word(&["producer"])),
    ("delete.retention.ms", DAY, Number(0)),
    ("flush.messages", "9223372036854775807", Number(1)),
    ("flush.ms", "9223372036854775807", Number(0)),
    ("index.interval.bytes", "4096", Number(0)),
    ("max.compaction.lag.ms", "9223372036854775807", Number(1)),
    ("max.message.bytes", "1048588", Number(0)),
    ("message.timestamp.type", "CreateTime", Word(&["CreateTime", "LogAppendTime"])),
    ("min.cleanable.dirty.ratio", "0.5", Ratio),
    ("min.compaction.lag.ms", "0", Number(0)),
    ("min.insync.replicas", "1", Word(&["1"])),
    ("preallocate", "false", Bool),
    ("retention.bytes", "-1", Number(-1)),
    ("retention.ms", "-1", Number(-1)),
    ("segment.bytes", "67108864", Number(1)),
    ("segment.ms", "604800000", Number(1)),
    ("unclean.leader.election.enable", "false", Bool),
];

/// What is set of a topic. Made only of what [`Settings::new`] has checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    given: BTreeMap<String, String>,
    /// Old records go.
    pub delete: bool,
    /// Only the last record of a key stays.
    pub compact: bool,
    /// How old records may become; -1: any age.
    pub retention_ms: i64,
    /// How many bytes a partition may have; -1: any.
    pub retention_bytes: i64,
    /// The largest batch.
    pub max_message_bytes: usize,
    /// Records get the time of their arrival.
    pub append_time: bool,
    /// How long the mark of a deleted key stays.
    pub delete_retention_ms: i64,
    /// The share of bytes not yet compacted from which compaction begins.
    pub dirty_ratio: f64,
    /// Records younger than this are not compacted.
    pub compaction_lag_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings::new(BTreeMap::new()).expect("the defaults are allowed")
    }
}

/// A setting as it is described.
pub struct Described<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: &'a str,
    /// Whether somebody set it.
    pub given: bool,
    /// Its type on the wire.
    pub kind: i8,
}

impl Settings {
    /// Checks settings; an error says which and why.
    pub fn new(given: BTreeMap<String, String>) -> Result<Settings, String> {
        for (name, value) in &given {
            let found = TABLE.iter().find(|(known, ..)| known == name);
            let (_, _, kind) = found.ok_or_else(|| format!("Unknown topic config name: {name}"))?;
            let fine = match kind {
                Number(least) => value.parse().is_ok_and(|n: i64| n >= *least),
                Ratio => value.parse().is_ok_and(|r: f64| (0.0..=1.0).contains(&r)),
                Word(words) => words.contains(&value.as_str()),
                Words(words) => value.split(',').all(|w| words.contains(&w.trim())),
                Bool => matches!(value.as_str(), "true" | "false"),
            };
            if !fine {
                let allowed = match kind {
                    Number(least) => format!("a number of at least {least}"),
                    Ratio => "a number from 0 to 1".into(),
                    Word(words) | Words(words) => words.join(" or "),
                    Bool => "true or false".into(),
                };
                return Err(format!("Invalid value {value} for configuration {name}: it must be {allowed}"));
            }
        }
        let value = |name: &str| {
            let default = TABLE.iter().find(|(known, ..)| *known == name).map_or("", |(_, value, _)| value);
            given.get(name).map_or(default, String::as_str)
        };
        let number = |name: &str| value(name).parse::<i64>().unwrap_or(-1);
        let policy = |wanted: &str| value("cleanup.policy").split(',').any(|p| p.trim() == wanted);
        Ok(Settings {
            delete: policy("delete"),
            compact: policy("compact"),
            retention_ms: number("retention.ms"),
            retention_bytes: number("retention.bytes"),
            max_message_bytes: usize::try_from(number("max.message.bytes")).unwrap_or(0),
            append_time: value("message.timestamp.type") == "LogAppendTime",
            delete_retention_ms: number("delete.retention.ms"),
            dirty_ratio: value("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
            compaction_lag_ms: number("min.compaction.lag.ms"),
            given,
        })
    }

    /// What was set, as it came.
    pub fn given(&self) -> &BTreeMap<String, String> {
        &self.given
    }

    /// All settings, those that nobody set with their defaults.
    pub fn all(&self) -> impl Iterator<Item = Described<'_>> {
        TABLE.iter().map(|(name, default, kind)| Described {
            name,
            value: self.given.get(*name).map_or(default, String::as_str),
            given: self.given.contains_key(*name),
            kind: match kind {
                Bool => 1,
                Word(_) => 2,
                Number(_) => 5,
                Ratio => 6,
                Words(_) => 7,
            },
        })
    }

    /// The default of a setting.
    pub fn default_of(name: &str) -> Option<&'static str> {
        TABLE.iter().find(|(known, ..)| *known == name).map(|(_, value, _)| *value)
    }

    /// Whether a setting is a list.
    pub fn is_list(name: &str) -> bool {
        TABLE.iter().any(|(known, _, kind)| *known == name && matches!(kind, Words(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_by_name_and_value() {
        let new = |name: &str, value: &str| Settings::new([(name.to_string(), value.to_string())].into());
        assert!(new("retention.ms", "1000").is_ok_and(|s| s.retention_ms == 1_000 && s.delete));
        assert!(new("cleanup.policy", "compact, delete").is_ok_and(|s| s.compact && s.delete));
        assert!(new("cleanup.policy", "compact").is_ok_and(|s| s.compact && !s.delete));
        for (name, value) in [
            ("retention.ms", "-2"),
            ("retention.ms", "soon"),
            ("cleanup.policy", "shred"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("min.insync.replicas", "2"),
            ("preallocate", "maybe"),
            ("retention", "1"),
        ] {
            assert!(new(name, value).is_err_and(|e| e.contains(name)), "{name} = {value}");
        }
        assert!(TABLE.is_sorted_by_key(|(name, ..)| *name));
    }
}
