//! Reads a shard's rows, block by block.
//!
//! A shard lies in *parts*: one in each sealed file that holds blocks of it, and the blocks of the open file. Only the
//! latter are known one by one; those of a sealed file are looked up in its footer when the scan comes to it. Parts whose
//! times overlap (a run may hold what is older and newer than a file in between) are read together.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use repr::{RowBlock, Timestamp};

use crate::StorageError;
use crate::frame::{self, FRAME_HEADER, Header, Kind};
use crate::group::{BlockKind, ShardId};
use crate::log::{self, Contents, LogFile};
use crate::sealed;
use crate::state::{Part, Sealed};

/// A block of rows that a shard holds.
#[derive(Clone)]
pub(crate) struct Block {
    /// The time of its rows; where times were merged, the greatest.
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

/// The blocks of a shard with their times, times rising. Holds no lock; what is appended, dropped, merged or removed after
/// the scan began does not change it. After an error there are no more blocks.
pub struct Scan {
    shard: ShardId,
    /// Frames before belong to a shard that had this number earlier.
    born: u64,
    from: Timestamp,
    as_of: Timestamp,
    /// Parts of sealed files that are still to come, by least time.
    parts: VecDeque<(Part, Result<Sealed, StorageError>)>,
    /// Blocks of the open file that are still to come.
    open: VecDeque<Block>,
    /// Blocks to read next.
    blocks: VecDeque<Block>,
    files: BTreeMap<u64, LogFile>,
    rows: u64,
}

impl Scan {
    pub(crate) fn new(contents: &Contents, shard: ShardId, from: Timestamp, as_of: Timestamp) -> Scan {
        let all = contents.blocks.get(&shard).map_or(&[][..], Vec::as_slice);
        let first = all.partition_point(|b| b.time < from);
        let end = all.partition_point(|b| b.time <= as_of).max(first);
        let open: VecDeque<Block> = all[first..end].iter().cloned().collect();
        let mut files = BTreeMap::new();
        let mut keep = |number: &u64| {
            if let Some(file) = contents.files.get(number) {
                files.entry(*number).or_insert_with(|| file.clone());
            }
        };
        for block in &open {
            if let Place::Disk { file, .. } = &block.place {
                keep(file);
            }
        }
        let mut parts = Vec::new();
        for sealed in contents.state.sealed.values() {
            let Some(part) = sealed.part(shard).filter(|p| p.upper >= from && p.lower <= as_of) else {
                continue;
            };
            keep(&sealed.number);
            let readable = match contents.damaged.get(&sealed.number) {
                None => Ok(Sealed { parts: vec![*part], ..*sealed }),
                Some(error) => Err(error.clone()),
            };
            parts.push((*part, readable));
        }
        parts.sort_by_key(|(p, _)| (p.lower, p.upper));
        let rows = parts.iter().map(|(p, _)| p.rows).sum::<u64>()
            + open.iter().map(|b| u64::from(b.rows)).sum::<u64>();
        let born = contents.state.shards.get(&shard).map_or(0, |s| s.born);
        let blocks = VecDeque::new();
        Scan { shard, born, from, as_of, parts: parts.into(), open, blocks, files, rows }
    }

    /// How many updates are still to come, at most: for progress bars and capacities.
    pub fn remaining_rows(&self) -> u64 {
        self.rows
    }

    /// Looks up the blocks of the next part, and of those that overlap it.
    fn fill(&mut self) -> Result<(), StorageError> {
        let Some((first, _)) = self.parts.front() else {
            self.blocks = std::mem::take(&mut self.open);
            return Ok(());
        };
        let mut upper = first.upper;
        let mut blocks = Vec::new();
        while let Some((part, sealed)) = self.parts.pop_front_if(|(p, _)| p.lower <= upper) {
            upper = upper.max(part.upper);
            let sealed = sealed?;
            let wanted = self.from..=self.as_of;
            let entries = sealed::entries(&sealed, &self.files[&sealed.number])?;
            let own = entries
                .iter()
                .filter(|e| e.shard == self.shard && e.sequence >= self.born && wanted.contains(&e.upper));
            let before = blocks.len();
            blocks.extend(own.map(|e| log::block(e, sealed.number)));
            let found: u64 = blocks[before..].iter().map(|b| u64::from(b.rows)).sum();
            // What lies outside the times that are asked for does not come.
            self.rows -= part.rows.saturating_sub(found);
        }
        let open = self.open.partition_point(|b| b.time < upper);
        blocks.extend(self.open.drain(..open));
        blocks.sort_by_key(|b| b.time);
        self.blocks = blocks.into();
        Ok(())
    }

    fn read(&self, block: &Block) -> Result<Arc<RowBlock>, StorageError> {
        let (file, offset, len) = match &block.place {
            Place::Memory(rows) => return Ok(rows.clone()),
            Place::Disk { file, offset, len } => (&self.files[file], *offset, *len),
        };
        let (header, payload) = read_frame(file, offset, len)?;
        if header.kind != Kind::Data || header.shard != self.shard || header.upper != block.time {
            let what = format!("the block of shard {} at time {} is not here", self.shard, block.time);
            return Err(StorageError::damaged(&file.path, offset, what));
        }
        let rows = frame::take_block(&header, &payload);
        rows.map(Arc::new)
            .ok_or_else(|| StorageError::damaged(&file.path, offset, "a block cannot be unpacked"))
    }

    fn next_block(&mut self) -> Result<Option<(Block, Arc<RowBlock>)>, StorageError> {
        while self.blocks.is_empty() {
            if self.parts.is_empty() && self.open.is_empty() {
                return Ok(None);
            }
            self.fill()?;
        }
        let Some(block) = self.blocks.pop_front() else { return Ok(None) };
        self.rows = self.rows.saturating_sub(u64::from(block.rows));
        let rows = self.read(&block)?;
        Ok(Some((block, rows)))
    }
}

impl Iterator for Scan {
    type Item = Result<(Timestamp, BlockKind, Arc<RowBlock>), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_block();
        if next.is_err() {
            self.parts.clear();
            self.open.clear();
            self.blocks.clear();
        }
        Some(next.transpose()?.map(|(block, rows)| (block.time, block.kind, rows)))
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
