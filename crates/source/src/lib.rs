//! Brings records from outside: Kafka topics, files, generators.
//!
//! A *reader* is a thread that hands over batches of raw records, each batch with the offsets that it reaches. It starts
//! at offsets that the caller stored, so that a batch and its offsets written in one frame make a source exact: nothing
//! is lost, nothing comes twice. No format is decoded here; all readers give rows of [`raw_desc`].
//!
//! ```text
//!   start(config, stored offsets) ─► thread ─► emit(Batch | Status | Known | Finished) ─► storage
//!                                      ▲            │ blocks: back-pressure; false: stop
//!                                      └────────────┘
//! ```
//!
//! | module | is the only home of |
//! |---|---|
//! | [`reader`] | the thread, how it is stopped, what it sends |
//! | [`record`] | raw records as rows |
//! | [`kafka`] | librdkafka's consumer, checks of connections and topics |
//! | [`file`](mod@file) | files of lines, compressed or growing |
//! | [`generator`] | seeded Segment traffic, a counter |
//! | [`push`] | records that others push over HTTP |
//! | [`segment`] | what Segment's servers make of a call |

pub mod error;
pub mod file;
pub mod generator;
pub mod kafka;
pub mod push;
pub mod reader;
pub mod record;
pub mod segment;

use std::collections::BTreeMap;

pub use error::SourceError;
pub use file::{Compression, FileSource, validate_file};
pub use generator::{CounterGenerator, SegmentGenerator};
pub use kafka::{
    KafkaConnection, KafkaSource, Secret, StartPosition, last_records, resolve_start, validate_connection,
    validate_topic,
};
pub use push::{PushSender, PushSource, Pushed, PushedRecord, push_channel};
pub use reader::{
    Batch, Durable, Emit, Event, Gap, Output, Reader, ReaderHandle, State, Status, start_reader,
};
pub use record::{RecordBatch, RecordRef, raw_desc};

/// Where a source's records come from.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each source, made once")]
pub enum SourceConfig {
    /// A topic.
    Kafka(KafkaSource),
    /// A file of lines.
    File(FileSource),
    /// Segment traffic out of a seed.
    Segment(SegmentGenerator),
    /// 1, 2, 3 …
    Counter(CounterGenerator),
    /// What others push.
    Push(PushSource),
}

/// Starts a reader after what is stored of its source: `from` holds the next offset of each partition, and their marks
/// ([`Batch::marks`]). Partitions that it lacks are read from their first record. What is wrong with the source is told by its [`Status`].
pub fn start(config: SourceConfig, from: BTreeMap<i32, i64>, emit: Emit) -> ReaderHandle {
    let reader: Box<dyn Reader> = match config {
        SourceConfig::Kafka(config) => Box::new(kafka::KafkaReader::new(config, from)),
        SourceConfig::File(config) => Box::new(file::FileReader::new(config, first(&from))),
        SourceConfig::Segment(config) => Box::new(generator::SegmentReader::new(config, first(&from))),
        SourceConfig::Counter(config) => Box::new(generator::CounterReader::new(config, first(&from))),
        SourceConfig::Push(config) => Box::new(push::PushReader::new(config, first(&from))),
    };
    start_reader(reader, emit)
}

/// The next record of a source that has one partition.
fn first(from: &BTreeMap<i32, i64>) -> u64 {
    from.get(&0).map_or(0, |n| u64::try_from(*n).unwrap_or(0))
}
