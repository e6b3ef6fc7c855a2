//! Reads a shard's rows, block by block.

use std::collections::BTreeMap;
use std::sync::Arc;

use repr::{RowBlock, Timestamp};

use crate::StorageError;
use crate::frame::{self, FRAME_HEADER, Header, Kind};
use crate::group::{BlockKind, ShardId};
use crate::log::{Contents, LogFile};

/// A block of rows that a shard holds.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) time: Timestamp,
    pub(crate) kind: BlockKind,
    pub(crate) rows: u32,
    pub(crate) place: Place,
}

/// Where a block is.
#[derive(Clone)]
pub(crate) enum Place {
    /// A data frame in a file of the log.
    Disk { file: u64, offset: u64, len: u64 },
    /// Nowhere but here.
    Memory(Arc<RowBlock>),
}

/// The blocks of a shard with their times, times rising. Holds no lock; what is appended, dropped or removed after the
/// scan began does not change it. After an error there are no more blocks.
pub struct Scan {
    shard: ShardId,
    blocks: std::vec::IntoIter<Block>,
    files: BTreeMap<u64, LogFile>,
    rows: u64,
}

impl Scan {
    pub(crate) fn new(contents: &Contents, shard: ShardId, from: Timestamp, as_of: Timestamp) -> Scan {
        let all = contents.blocks.get(&shard).map_or(&[][..], Vec::as_slice);
        let first = all.partition_point(|b| b.time < from);
        let end = all.partition_point(|b| b.time <= as_of).max(first);
        let blocks = all[first..end].to_vec();
        let mut files = BTreeMap::new();
        for block in &blocks {
            if let Place::Disk { file, .. } = block.place {
                let open = || contents.files.get(&file).expect("files with blocks are kept").clone();
                files.entry(file).or_insert_with(open);
            }
        }
        let rows = blocks.iter().map(|b| u64::from(b.rows)).sum();
        Scan { shard, blocks: blocks.into_iter(), files, rows }
    }

    /// How many updates are still to come: for progress bars and capacities.
    pub fn remaining_rows(&self) -> u64 {
        self.rows
    }

    fn read(&self, block: &Block) -> Result<Arc<RowBlock>, StorageError> {
        let (file, offset, len) = match &block.place {
            Place::Memory(rows) => return Ok(rows.clone()),
            Place::Disk { file, offset, len } => (&self.files[file], *offset, *len),
        };
        let (header, payload) = read_frame(file, offset, len)?;
        if header.kind != Kind::Data || header.shard != self.shard || header.lower != block.time {
            let what = format!("the block of shard {} at time {} is not here", self.shard, block.time);
            return Err(StorageError::damaged(&file.path, offset, what));
        }
        let rows = frame::take_block(&header, &payload);
        rows.map(Arc::new)
            .ok_or_else(|| StorageError::damaged(&file.path, offset, "a block cannot be unpacked"))
    }
}

impl Iterator for Scan {
    type Item = Result<(Timestamp, BlockKind, Arc<RowBlock>), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.blocks.next()?;
        self.rows -= u64::from(block.rows);
        let read = self.read(&block);
        if read.is_err() {
            self.blocks = Vec::new().into_iter();
        }
        Some(read.map(|rows| (block.time, block.kind, rows)))
    }
}

/// Reads a frame whose place and length are known, and checks it.
pub(crate) fn read_frame(file: &LogFile, offset: u64, len: u64) -> Result<(Header, Vec<u8>), StorageError> {
    let damaged = |what: &str| StorageError::damaged(&file.path, offset, what);
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| damaged("a frame is too long"))?];
    file.file.read_exact_at(&mut bytes, offset).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged("the file ends within a frame"),
        _ => StorageError::io("read", &file.path, &e),
    })?;
    let header = Header::decode(&bytes).filter(|h| h.frame_len() == len);
    let header = header.ok_or_else(|| damaged("a frame's header does not fit"))?;
    bytes.drain(..FRAME_HEADER);
    if crc32c::crc32c(&bytes) != header.crc {
        return Err(damaged("a frame's checksum does not fit"));
    }
    Ok((header, bytes))
}
