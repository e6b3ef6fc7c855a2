//! The writing end of the log: groups into frames, frames into files, one file after the other.
//!
//! ```text
//!   open file   [header][checkpoint][data][data][commit] … [data][commit]
//!   sealed      [header][checkpoint][data][data][commit] … [data][commit][footer][trailer]
//! ```
//!
//! A file that is full is *sealed* (footer and trailer, synced), then the next one is *begun* (header and checkpoint,
//! synced, then its name). A crash between the two leaves only a sealed file, and the next start begins the next one.
//! The checkpoint names the sealed files that are needed. A commit that drops the last shard of a file, or a swap frame
//! that puts a run in its place, takes it off that list; the file is removed once the frame is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::StorageError;
use crate::compact::Written;
use crate::frame::{self, FILE_HEADER, FRAME_HEADER, Header, Kind};
use crate::fs::{File, Fs};
use crate::group::{FrameGroup, ShardId};
use crate::index::Index;
use crate::recovery::Replayed;
use crate::scan::{Block, Place};
use crate::state::{self, Entry, Sealed, State};
use crate::storage::{Done, Options};

/// What readers see and the log thread changes, always by whole groups that are durable.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) state: State,
    /// The blocks of each shard that are not in sealed files, by time.
    pub(crate) blocks: BTreeMap<ShardId, Vec<Block>>,
    /// The files of the manifest, and the open one.
    pub(crate) files: BTreeMap<u64, LogFile>,
    /// Files of the manifest that cannot be read, and why.
    pub(crate) damaged: BTreeMap<u64, StorageError>,
    /// Files of the manifest of which a block cannot be read: background work leaves them alone.
    pub(crate) unmovable: BTreeSet<u64>,
    pub(crate) compaction: Compaction,
}

/// What background work has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compaction {
    /// How often it ran.
    pub jobs: u64,
    /// Bytes of blocks that it read.
    pub bytes_read: u64,
    /// Bytes of runs that it wrote.
    pub bytes_written: u64,
    /// What its thread has used of processors.
    pub cpu: std::time::Duration,
}

/// A file of the log.
#[derive(Clone)]
pub(crate) struct LogFile {
    pub(crate) path: Arc<Path>,
    pub(crate) file: Arc<dyn File>,
}

/// Where the chain of frames stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Of the last frame.
    pub(crate) sequence: u64,
    /// Of the last frame's header.
    pub(crate) hash: u64,
}

/// The file that is written to.
pub(crate) struct Active {
    pub(crate) number: u64,
    pub(crate) file: LogFile,
    pub(crate) len: u64,
    /// Its data frames.
    pub(crate) entries: Vec<Entry>,
    /// Where its checkpoint ends.
    pub(crate) start: u64,
    /// The checkpoint's sequence number.
    pub(crate) sequence: u64,
}

/// A file of more frames is sealed: a start reads the header of each, and each block of an open file has a place in memory.
const FRAMES: u64 = 1 << 16;

/// The writing end. Lives on the log thread.
pub(crate) struct Log {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) contents: Arc<Mutex<Contents>>,
    /// None between sealing a file and beginning the next, which a full disk can make long.
    pub(crate) active: Option<Active>,
    /// Of files; background work takes numbers too.
    pub(crate) next_number: Arc<AtomicU64>,
    /// The open file is sealed before it grows beyond.
    pub(crate) file_bytes: u64,
    pub(crate) chain: Chain,
    /// None where there is no sled (a simulated disk) or it failed.
    pub(crate) index: Option<Index>,
    /// Whether the index is behind by more than rows and progress.
    pub(crate) index_behind: bool,
    /// Whether something has changed that may make space come free.
    pub(crate) look_for_space: bool,
}

/// A group as bytes; headers are filled in when its place in the log is known.
pub(crate) struct Encoded {
    buffer: Vec<u8>,
    /// Where in the buffer each frame begins, the commit last.
    frames: Vec<(usize, Header)>,
    /// Without its updates.
    group: FrameGroup,
    pub(crate) done: Option<Done>,
    pub(crate) epoch: u64,
}

impl Encoded {
    /// Compresses and checks a group's rows. Runs beside the log thread.
    pub(crate) fn new(mut group: FrameGroup, block_bytes: usize, done: Done, epoch: u64) -> Encoded {
        let updates = std::mem::take(&mut group.updates);
        let raw: usize = updates.iter().map(|u| u.block.byte_len()).sum();
        let (mut buffer, mut frames) = (Vec::with_capacity(raw / 2 + 1024), Vec::new());
        for update in &updates {
            let (_, ends, _) = update.block.parts();
            let mut from = 0;
            while from < ends.len() {
                let to = frame::cut(ends, from, block_bytes);
                let mut header = Header::new(Kind::Data);
                header.shard = update.shard;
                header.block = update.kind;
                (header.lower, header.upper) = (group.time, group.time);
                frames.push((buffer.len(), header.clone()));
                buffer.resize(buffer.len() + FRAME_HEADER, 0);
                frame::put_block(&mut buffer, &mut header, &update.block, from, to);
                frames.last_mut().expect("just pushed").1 = header;
                from = to;
            }
        }
        let mut commit = Header::new(Kind::Commit);
        commit.rows = frames.len().try_into().expect("fewer frames than rows");
        (commit.lower, commit.upper) = (group.time, group.time);
        let at = buffer.len();
        buffer.resize(at + FRAME_HEADER, 0);
        frame::put_plain(&mut buffer, &mut commit, &state::encode_commit(&group));
        frames.push((at, commit));
        Encoded { buffer, frames, group, done: Some(done), epoch }
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Gives the frames their places after `chain`.
    fn link(&mut self, chain: &mut Chain, durable: u64) {
        for (at, header) in &mut self.frames {
            header.durable = durable;
            let bytes = chain.link(header);
            self.buffer[*at..*at + FRAME_HEADER].copy_from_slice(&bytes);
        }
    }
}

impl Chain {
    /// Makes a header the next in the chain and encodes it.
    fn link(&mut self, header: &mut Header) -> [u8; FRAME_HEADER] {
        header.sequence = self.sequence + 1;
        header.previous = self.hash;
        let bytes = header.encode();
        *self = Chain { sequence: header.sequence, hash: frame::hash(&bytes) };
        bytes
    }
}

impl Contents {
    /// What a start has found, the tail's file last.
    pub(crate) fn new(
        tail: u64,
        replayed: &Replayed,
        mut files: BTreeMap<u64, LogFile>,
        file: &LogFile,
        damaged: BTreeMap<u64, StorageError>,
    ) -> Contents {
        let mut contents = Contents { state: replayed.state.clone(), damaged, ..Contents::default() };
        match &replayed.sealed {
            Some(sealed) => contents.state.seal(sealed.clone()),
            None => {
                for entry in &replayed.entries {
                    if contents.state.is_live(entry.shard, entry.sequence) {
                        contents.add(entry.shard, block(entry, tail));
                    }
                }
            }
        }
        files.insert(tail, file.clone());
        contents.files = files;
        contents
    }

    /// Adds a data frame's block.
    pub(crate) fn add(&mut self, shard: ShardId, block: Block) {
        let blocks = self.blocks.entry(shard).or_default();
        match blocks.last() {
            Some(last) if last.time > block.time => {
                let at = blocks.partition_point(|b| b.time <= block.time);
                blocks.insert(at, block);
            }
            _ => blocks.push(block),
        }
    }

    /// Applies the rest of a group, after its blocks.
    pub(crate) fn apply(&mut self, group: &FrameGroup, sequence: u64) {
        self.state.apply(group, sequence);
        for shard in &group.drop_shards {
            self.blocks.remove(shard);
        }
    }

    /// Bytes of blocks on disk that belong to shards, in the open file.
    fn open_bytes(&self) -> u64 {
        let blocks = self.blocks.values().flatten();
        blocks.map(|b| if let Place::Disk { len, .. } = b.place { len } else { 0 }).sum()
    }
}

pub(crate) fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().expect("nothing panics under this lock")
}

/// The block of a data frame.
pub(crate) fn block(entry: &Entry, file: u64) -> Block {
    Block {
        time: entry.upper,
        kind: entry.kind,
        rows: entry.rows,
        place: Place::Disk { file, offset: entry.offset, len: entry.len },
    }
}

pub(crate) fn file_name(number: u64, run: bool) -> String {
    format!("{number:06}.{}", if run { "run" } else { "log" })
}

impl Log {
    /// Makes groups durable, then visible: a write each, one sync for all. On an error none of them is applied.
    pub(crate) fn commit(&mut self, groups: &mut [Encoded]) -> Result<(), StorageError> {
        let bytes: usize = groups.iter().map(Encoded::len).sum();
        self.make_room(bytes as u64)?;
        let before = self.chain;
        let active = self.active.as_mut().expect("made room");
        let start = active.len;
        let mut end = start;
        fail::point("storage-write");
        for group in &mut *groups {
            group.link(&mut self.chain, start);
            if let Err(e) = active.file.file.write_all_at(&group.buffer, end) {
                self.chain = before;
                return Err(undo(&active.file, start, &e));
            }
            end += group.buffer.len() as u64;
        }
        fail::point("storage-sync");
        active.file.file.sync().map_err(|e| StorageError::sync(&active.file.path, &e))?;
        active.len = end;

        let mut contents = lock(&self.contents);
        let mut base = start;
        let mut dropped = false;
        for group in groups {
            for (at, header) in &group.frames {
                if header.kind == Kind::Data {
                    let entry = Entry::new(header, base + *at as u64);
                    contents.state.add_block(header);
                    contents.add(header.shard, block(&entry, active.number));
                    active.entries.push(entry);
                } else {
                    contents.apply(&group.group, header.sequence);
                }
            }
            base += group.buffer.len() as u64;
            dropped |= !group.group.drop_shards.is_empty();
            self.look_for_space |= dropped || !group.group.sinces.is_empty();
            self.index_behind |= dropped || !group.group.catalog.is_empty();
        }
        drop(contents);
        if dropped {
            self.give_back_space()?;
        }
        fail::point("storage-acknowledge");
        Ok(())
    }

    /// Puts runs in the place of what they were made from: durable, then visible.
    pub(crate) fn publish(&mut self, written: Written) -> Result<(), StorageError> {
        let Written { swap, files, .. } = written;
        if let Err(e) = self.append_swap(&swap) {
            // After a failed sync the frame may be durable nevertheless: the next start decides.
            if !e.is_fatal() {
                files.iter().for_each(|(_, file)| self.remove(&file.path));
            }
            return Err(e);
        }
        let mut contents = lock(&self.contents);
        contents.files.extend(files);
        contents.state.swap(&swap);
        drop(contents);
        self.index_behind = true;
        self.look_for_space = true;
        self.remove_dead();
        Ok(())
    }

    fn append_swap(&mut self, swap: &state::Swap) -> Result<(), StorageError> {
        let mut header = Header::new(Kind::Swap);
        let mut bytes = vec![0; FRAME_HEADER];
        frame::put_plain(&mut bytes, &mut header, &swap.encode());
        self.make_room(bytes.len() as u64)?;
        let active = self.active.as_mut().expect("made room");
        header.durable = active.len;
        let mut chain = self.chain;
        bytes[..FRAME_HEADER].copy_from_slice(&chain.link(&mut header));
        let LogFile { file, path } = &active.file;
        file.write_all_at(&bytes, active.len).map_err(|e| undo(&active.file, active.len, &e))?;
        file.sync().map_err(|e| StorageError::sync(path, &e))?;
        active.len += bytes.len() as u64;
        self.chain = chain;
        Ok(())
    }

    /// Writes the index if what it mirrors has changed. A failure costs the index, not the log.
    pub(crate) fn write_index(&mut self) {
        if !std::mem::take(&mut self.index_behind) {
            return;
        }
        let Some(index) = &self.index else { return };
        let state = lock(&self.contents).state.clone();
        if let Err(reason) = index.write(self.chain, &state) {
            tracing::warn!(%reason, "the index cannot be written; the next start rebuilds it from the log");
            self.index = None;
        }
    }

    /// After a drop: removes files that hold nothing any more. An open file of which most has gone is sealed, so that
    /// background work can have the rest of it.
    fn give_back_space(&mut self) -> Result<(), StorageError> {
        self.remove_dead();
        let live = lock(&self.contents).open_bytes();
        let Some(active) = &self.active else { return Ok(()) };
        let own = active.len - active.start;
        if own < self.options.slack() || live > own / 2 {
            return Ok(());
        }
        match self.seal().and_then(|()| self.begin()) {
            // The group itself is durable; the next one will meet the full disk.
            Err(StorageError::DiskFull { .. }) => Ok(()),
            other => other,
        }
    }

    /// Removes the files that neither the manifest names nor the log is written to. What took them off the manifest is
    /// durable in the open file.
    fn remove_dead(&mut self) {
        let Some(active) = &self.active else { return };
        let mut contents = lock(&self.contents);
        let Contents { state, files, damaged, unmovable, .. } = &mut *contents;
        let needed = |number: &u64| state.sealed.contains_key(number) || *number == active.number;
        damaged.retain(|number, _| needed(number));
        unmovable.retain(needed);
        let dead: Vec<(u64, LogFile)> = files.extract_if(.., |number, _| !needed(number)).collect();
        drop(contents);
        for (_, file) in dead {
            self.remove(&file.path);
        }
    }

    fn remove(&self, path: &Path) {
        if let Err(e) = self.fs.remove(path) {
            // The manifest does not name it, so the next start tries again.
            tracing::warn!(path = %path.display(), error = %e, "cannot remove a file that is not needed");
        }
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), StorageError> {
        if let Some(active) = &self.active {
            let frames = self.chain.sequence - active.sequence;
            if active.len == active.start || active.len + bytes <= self.file_bytes && frames < FRAMES {
                return Ok(());
            }
            self.seal()?;
        }
        self.begin()
    }

    /// Closes the open file with its footer.
    pub(crate) fn seal(&mut self) -> Result<(), StorageError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let contents = lock(&self.contents);
        active.entries.retain(|e| contents.state.is_live(e.shard, e.sequence));
        drop(contents);
        let payload = state::encode_footer(&mut active.entries);
        let mut header = Header::new(Kind::Footer);
        header.durable = active.len;
        let mut bytes = vec![0; FRAME_HEADER];
        frame::put_plain(&mut bytes, &mut header, &payload);
        let mut chain = self.chain;
        bytes[..FRAME_HEADER].copy_from_slice(&chain.link(&mut header));
        bytes.extend_from_slice(&frame::trailer(active.len, chain.hash));
        let LogFile { file, path } = &active.file;
        file.write_all_at(&bytes, active.len).map_err(|e| undo(&active.file, active.len, &e))?;
        file.sync().map_err(|e| StorageError::sync(path, &e))?;
        self.chain = chain;
        let mut contents = lock(&self.contents);
        contents.state.seal(Sealed {
            number: active.number,
            run: false,
            len: active.len + bytes.len() as u64,
            sequence: chain.sequence,
            hash: chain.hash,
            parts: state::parts(&active.entries),
        });
        // From now on they are looked up in the footer.
        contents.blocks.clear();
        drop(contents);
        self.active = None;
        self.look_for_space = true;
        Ok(())
    }

    /// Begins the next file with a checkpoint. There is no open file.
    pub(crate) fn begin(&mut self) -> Result<(), StorageError> {
        let number = self.next_number.fetch_add(1, Ordering::SeqCst);
        let (payload, live) = {
            let contents = lock(&self.contents);
            let parts = contents.state.sealed.values().flat_map(|s| &s.parts);
            (contents.state.encode(), parts.map(|p| p.stored).sum::<u64>())
        };
        let mut bytes = frame::file_header(number, false).to_vec();
        bytes.resize(FILE_HEADER + FRAME_HEADER, 0);
        let mut header = Header::new(Kind::Checkpoint);
        frame::put_plain(&mut bytes, &mut header, &payload);
        let mut chain = self.chain;
        bytes[FILE_HEADER..FILE_HEADER + FRAME_HEADER].copy_from_slice(&chain.link(&mut header));

        let file = create(&*self.fs, &self.dir, &file_name(number, false), &bytes)?;
        self.chain = chain;
        let start = bytes.len() as u64;
        lock(&self.contents).files.insert(number, file.clone());
        let sequence = chain.sequence;
        self.active = Some(Active { number, file, len: start, entries: Vec::new(), start, sequence });
        // What is dead in the open file cannot be given back, so that it stays small beside what is stored.
        self.file_bytes = (live / 8).clamp(self.options.slack(), self.options.segment_bytes);
        self.index_behind = true;
        self.remove_dead();
        Ok(())
    }
}

/// Takes a refused write back, durably: it was not acknowledged, so it must not come back.
fn undo(file: &LogFile, len: u64, error: &std::io::Error) -> StorageError {
    let refused = StorageError::io("write", &file.path, error);
    match file.file.set_len(len).and_then(|()| file.file.sync()) {
        Ok(()) if matches!(refused, StorageError::DiskFull { .. }) => refused,
        Ok(()) => StorageError::sync(&file.path, error),
        Err(e) => StorageError::sync(&file.path, &e),
    }
}

/// A new file with content, durable with its name.
fn create(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> Result<LogFile, StorageError> {
    let path = dir.join(name);
    let io = |e: std::io::Error| StorageError::io("create", &path, &e);
    let file = match fs.open(&path, true) {
        // Left over from an attempt on a full disk.
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            fs.remove(&path).map_err(io)?;
            fs.open(&path, true).map_err(io)?
        }
        other => other.map_err(io)?,
    };
    if let Err(e) = file.write_all_at(bytes, 0) {
        let error = StorageError::io("write", &path, &e);
        if !matches!(error, StorageError::DiskFull { .. }) {
            return Err(StorageError::sync(&path, &e));
        }
        fs.remove(&path).map_err(io)?;
        return Err(error);
    }
    file.sync().map_err(|e| StorageError::sync(&path, &e))?;
    fs.sync_dir(dir).map_err(|e| StorageError::sync(dir, &e))?;
    Ok(LogFile { path: path.into(), file })
}
