//! Raw records as rows: what every source stores, before any format is looked at.

use std::collections::BTreeMap;

use repr::{Arena, Datum, RelationDesc, Row, RowBlock, ScalarType};

use crate::reader::Batch;

/// The columns of a raw record: `value`, `key`, `partition`, `offset`, `timestamp`, `headers`.
///
/// A source without partitions has partition 0; the offset of a line or a generated record is its number, from 0.
/// `headers` is NULL unless the source keeps headers.
pub fn raw_desc() -> RelationDesc {
    let header = ScalarType::Record(vec![
        ("key".into(), ScalarType::Text.nullable(false)),
        ("value".into(), ScalarType::Bytes.nullable(true)),
    ]);
    RelationDesc::new([
        ("value", ScalarType::Bytes.nullable(true)),
        ("key", ScalarType::Bytes.nullable(true)),
        ("partition", ScalarType::Int32.nullable(false)),
        ("offset", ScalarType::Int64.nullable(false)),
        ("timestamp", ScalarType::TimestampTz { precision: None }.nullable(true)),
        ("headers", ScalarType::List(Box::new(header)).nullable(true)),
    ])
}

/// A header's name and value.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// A record where the client library or a buffer has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordRef<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// When it was made or received, ms since the epoch.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, if the source keeps them.
    pub headers: Option<&'a [Header<'a>]>,
}

/// Collects records until they are handed over.
#[derive(Debug, Default)]
pub struct RecordBatch {
    block: RowBlock,
    progress: BTreeMap<i32, i64>,
    /// One row's bytes; its memory serves all rows of a batch and the next.
    row: Row,
    arena: Arena,
}

impl RecordBatch {
    /// A batch is handed over with this many records,
    pub const MAX_RECORDS: usize = 10_000;
    /// or when it has grown beyond this many bytes.
    pub const MAX_BYTES: usize = 4 << 20;

    /// How much longer than the last one a block may be without being moved.
    const ROOM: usize = 64 << 10;
    /// The memory of one row that is kept for the next.
    const KEPT: usize = 1 << 20;

    /// Copies a record into the batch.
    pub fn push(&mut self, record: RecordRef<'_>) {
        let bytes = |b: Option<&[u8]>, row: &mut Row| row.push(b.map_or(Datum::Null, Datum::Bytes));
        self.row.clear();
        bytes(record.value, &mut self.row);
        bytes(record.key, &mut self.row);
        self.row.push(Datum::Int32(record.partition));
        self.row.push(Datum::Int64(record.offset));
        // Milliseconds that no clock can mean do not fit into microseconds.
        let micros = record.timestamp.and_then(|ms| ms.checked_mul(1000));
        self.row.push(micros.map_or(Datum::Null, Datum::TimestampTz));
        match record.headers {
            None => self.row.push(Datum::Null),
            Some(headers) => {
                self.arena.reset();
                let arena = &self.arena;
                let fields = headers.iter().map(|(name, value)| {
                    arena.record([Datum::Text(name), value.map_or(Datum::Null, Datum::Bytes)])
                });
                self.row.push(arena.list(fields));
            }
        }
        self.block.push(self.row.as_ref(), 1);
        if self.row.bytes().len() > Self::KEPT {
            self.row = Row::default();
        }
        self.progress.insert(record.partition, record.offset + 1);
    }

    /// How many records are in it.
    pub fn len(&self) -> usize {
        self.block.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// Whether it should be handed over.
    pub fn is_full(&self) -> bool {
        self.block.len() >= Self::MAX_RECORDS || self.block.byte_len() >= Self::MAX_BYTES
    }

    /// Takes what has been collected; the batch is empty then.
    pub fn take(&mut self) -> Batch {
        // A full batch is followed by another, most likely; one that is not full may be kept for long as it is.
        let full = self.is_full();
        let room = if full { self.block.byte_len() + Self::ROOM } else { 0 };
        let mut block = std::mem::replace(&mut self.block, RowBlock::with_capacity(room));
        if !full {
            block.shrink_to_fit();
        }
        let progress = std::mem::take(&mut self.progress).into_iter().collect();
        let bytes = block.byte_len();
        Batch { block, progress, marks: vec![], bytes, durable: None, urgent: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_becomes_a_row_of_the_raw_relation() {
        let mut batch = RecordBatch::default();
        let headers: [Header<'_>; 2] = [("a", Some(b"1")), ("b", None)];
        batch.push(RecordRef {
            partition: 3,
            offset: 41,
            timestamp: Some(1_700_000_000_123),
            key: Some(b"k"),
            value: Some(b"v"),
            headers: Some(&headers),
        });
        batch.push(RecordRef { partition: 3, offset: 44, timestamp: Some(i64::MAX), ..RecordRef::default() });
        let batch = batch.take();
        assert_eq!(batch.progress, [(3, 45)]);
        let rows: Vec<_> = batch.block.iter().map(|(row, diff)| (row.to_row(), diff)).collect();
        let arena = Arena::new();
        let list = arena.list([
            arena.record([Datum::Text("a"), Datum::Bytes(b"1")]),
            arena.record([Datum::Text("b"), Datum::Null]),
        ]);
        let full = [
            Datum::Bytes(b"v"),
            Datum::Bytes(b"k"),
            Datum::Int32(3),
            Datum::Int64(41),
            Datum::TimestampTz(1_700_000_000_123_000),
            list,
        ];
        let empty = [Datum::Null, Datum::Null, Datum::Int32(3), Datum::Int64(44), Datum::Null, Datum::Null];
        assert_eq!(rows, [(Row::pack(full), 1), (Row::pack(empty), 1)]);
        assert_eq!(raw_desc().arity(), full.len());
    }
}
