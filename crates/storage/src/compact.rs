//! Background work: gives space back, and puts many small blocks together.
//!
//! Sealed files are never changed. Where enough of what they hold is of no use, the rest is written to new files, *runs*,
//! which a swap frame in the log then puts in their place. Space is lost in three ways:
//!
//! ```text
//!   dropped shards       000004.log  [▒▒▒▒▒▒▒▒▒▒▒▒][x      ]     x is copied as it is
//!   rows that left       +a +b -a +c -b                    → +c, once nobody reads the times between
//!   headers              [h a][h b][h c] …                 → [h abc…], once nobody reads the times between
//! ```
//!
//! So blocks are only unpacked where that shrinks them; of a shard that only grows, large blocks are copied as they are, and
//! only if much of their file has gone. Times up to the shard's `since` are merged into the greatest of them, which a read at
//! or after `since` cannot tell apart. The rows of a shard are summed a share of the hash values at a time, so that memory
//! stays bounded.
//!
//! [`pick`] decides on the log thread, from the manifest alone; [`run`] works on a thread of its own and touches nothing but
//! new files, which count once the log thread has published them. A crash before that leaves files that no manifest names;
//! the next start removes them.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use repr::{RowBlock, Timestamp};

use crate::StorageError;
use crate::frame::{self, FRAME_HEADER, Header, Kind};
use crate::fs::Fs;
use crate::group::{BlockKind, ShardId};
use crate::log::{Contents, LogFile, file_name};
use crate::scan::read_frame;
use crate::sealed;
use crate::state::{self, Change, Entry, Part, Sealed, ShardState, Swap};
use crate::storage::Options;

/// Blocks of fewer bytes are put together.
const SMALL: u64 = 64 << 10;
/// To blocks of so many bytes before compression.
const TARGET: usize = 256 << 10;
/// So many bytes of rows are summed at once.
const SUMMED: u64 = 64 << 20;
/// So many bytes are written between two syncs, so that those of the log do not wait for long.
const SYNC_EVERY: u64 = 16 << 20;
/// What a frame costs besides its rows: its own header, and its share of a commit.
const FRAME_COST: u64 = FRAME_HEADER as u64 + 32;

/// What to read, and what to make of it.
pub(crate) struct Job {
    /// Files, each with the parts that go.
    files: Vec<(Sealed, LogFile)>,
    /// The shards of these parts.
    shards: BTreeMap<ShardId, ShardState>,
}

/// What a job has written.
pub(crate) struct Written {
    pub(crate) swap: Swap,
    pub(crate) files: Vec<(u64, LogFile)>,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
}

/// What a rewrite of the parts of a shard would bring.
#[derive(Default)]
struct Shrink {
    files: Vec<u64>,
    stored: u64,
    gain: u64,
}

/// Chooses what is worth rewriting, if anything is: together at least `slack` bytes have to come free, and a third of what
/// has to be written. So what is of no use stays below about half of what is, and writing costs at most three times as much
/// as it frees.
pub(crate) fn pick(contents: &Contents, options: &Options) -> Option<Job> {
    let manifest = &contents.state.sealed;
    let readable = |n: &u64| !contents.damaged.contains_key(n) && !contents.unmovable.contains(n);
    let mut by_shard: BTreeMap<ShardId, Vec<(&Sealed, &Part)>> = BTreeMap::new();
    for sealed in manifest.values().filter(|s| readable(&s.number)) {
        for part in &sealed.parts {
            by_shard.entry(part.shard).or_default().push((sealed, part));
        }
    }
    let (mut gain, mut cost) = (0, 0);
    let mut chosen: BTreeMap<u64, BTreeSet<ShardId>> = BTreeMap::new();
    for (shard, parts) in &by_shard {
        let state = &contents.state.shards[shard];
        let shrink = shrink(state, parts);
        if shrink.gain * 5 > shrink.stored {
            gain += shrink.gain;
            cost += shrink.stored - shrink.gain;
            for number in shrink.files {
                chosen.entry(number).or_default().insert(*shard);
            }
        }
    }
    for sealed in manifest.values().filter(|s| readable(&s.number)) {
        let going = chosen.get(&sealed.number);
        let stays = |p: &&Part| going.is_none_or(|g| !g.contains(&p.shard));
        let live: u64 = sealed.parts.iter().filter(stays).map(|p| p.stored).sum();
        if live * 10 < sealed.len * 7 {
            gain += sealed.len - sealed.parts.iter().map(|p| p.stored).sum::<u64>().min(sealed.len);
            cost += live;
            chosen.entry(sealed.number).or_default().extend(sealed.parts.iter().map(|p| p.shard));
        }
    }
    if gain < options.slack() || gain * 3 < cost {
        return None;
    }
    let mut shards = BTreeMap::new();
    let files = chosen.iter().map(|(number, going)| {
        let sealed = &manifest[number];
        let parts: Vec<Part> = sealed.parts.iter().filter(|p| going.contains(&p.shard)).copied().collect();
        for part in &parts {
            shards.insert(part.shard, contents.state.shards[&part.shard].clone());
        }
        (Sealed { parts, ..*sealed }, contents.files[number].clone())
    });
    let files = files.collect();
    Some(Job { files, shards })
}

/// What rewriting a shard would bring, by estimate: as many updates remain as it has rows.
fn shrink(state: &ShardState, parts: &[(&Sealed, &Part)]) -> Shrink {
    let past = parts.iter().copied().filter(|(_, part)| part.upper <= state.since);
    let (runs, young): (Vec<_>, Vec<_>) = past.partition(|(sealed, _)| sealed.run);
    let bytes = |parts: &[(&Sealed, &Part)]| parts.iter().map(|(_, p)| p.stored).sum::<u64>();
    let blocks: u64 = young.iter().map(|(_, p)| p.blocks).sum();
    let (old, new) = (bytes(&runs), bytes(&young));
    // Headers of small blocks.
    let mut shrink = Shrink { files: young.iter().map(|(s, _)| s.number).collect(), stored: new, gain: 0 };
    if blocks > 1 && new < blocks * SMALL {
        shrink.gain = (blocks - new / SMALL) * FRAME_COST;
        shrink.gain = shrink.gain.min(new);
    }
    if state.append_only || new == 0 {
        return shrink;
    }
    let rows = state.rows.unsigned_abs().saturating_add(state.errors.unsigned_abs()).min(state.updates);
    let stored = old + new;
    let live = (u128::from(stored) * u128::from(rows) / u128::from(state.updates.max(1))) as u64;
    // An update takes at most one other with it.
    let gone = (stored - live.min(stored)).min(2 * new);
    let summed = gone + shrink.gain / 2;
    if summed > shrink.gain {
        shrink.files.extend(runs.iter().map(|(s, _)| s.number));
        return Shrink { files: shrink.files, stored, gain: summed.min(stored) };
    }
    shrink
}

/// Does a job. `Closed` if `stop` was set before it was done. Whatever goes wrong, nothing of it remains.
pub(crate) fn run(
    job: &Job,
    fs: &Arc<dyn Fs>,
    dir: &std::path::Path,
    options: &Options,
    next_number: &Arc<AtomicU64>,
    stop: &AtomicBool,
) -> Result<Written, StorageError> {
    fail::point("storage-rewrite");
    let mut writer = Writer {
        fs: fs.clone(),
        dir: dir.to_owned(),
        file_bytes: options.segment_bytes,
        next_number: next_number.clone(),
        open: None,
        done: Vec::new(),
        bytes: 0,
    };
    let result = rewrite(job, options, &mut writer, stop).and_then(|(changes, bytes_read)| {
        writer.finish()?;
        if !writer.done.is_empty() {
            writer.fs.sync_dir(dir).map_err(|e| StorageError::sync(dir, &e))?;
        }
        Ok((changes, bytes_read))
    });
    match result {
        Ok((changes, bytes_read)) => {
            let gone = job.files.iter().map(|(s, _)| (s.number, s.parts.iter().map(|p| p.shard).collect()));
            let swap = Swap {
                gone: gone.collect(),
                new: writer.done.iter().map(|(s, _)| s.clone()).collect(),
                changes,
            };
            let files = writer.done.into_iter().map(|(s, file)| (s.number, file)).collect();
            Ok(Written { swap, files, bytes_read, bytes_written: writer.bytes })
        }
        Err(e) => {
            let open = writer.open.map(|o| o.file.path);
            for path in open.into_iter().chain(writer.done.into_iter().map(|(_, file)| file.path)) {
                // What remains is removed at the next start.
                let _ = fs.remove(&path);
            }
            Err(e)
        }
    }
}

fn rewrite(
    job: &Job,
    options: &Options,
    writer: &mut Writer,
    stop: &AtomicBool,
) -> Result<(Vec<Change>, u64), StorageError> {
    let mut entries: BTreeMap<ShardId, Vec<(Entry, usize)>> = BTreeMap::new();
    for (at, (sealed, file)) in job.files.iter().enumerate() {
        for entry in sealed::entries(sealed, file)? {
            let live = job.shards.get(&entry.shard).is_some_and(|s| s.born <= entry.sequence);
            if live && sealed.part(entry.shard).is_some() {
                entries.entry(entry.shard).or_default().push((entry, at));
            }
        }
    }
    let (mut changes, mut bytes_read) = (Vec::new(), 0);
    for (shard, mut entries) in entries {
        entries.sort_by_key(|(e, _)| (e.upper, e.sequence));
        let state = &job.shards[&shard];
        let mut merge = Merge {
            job,
            shard,
            state,
            target: TARGET.min(options.block_bytes),
            writer,
            stop,
            read: Tally::default(),
            wrote: Tally::default(),
        };
        merge.run(&entries)?;
        bytes_read += merge.read.stored;
        let (read, wrote) = (merge.read, merge.wrote);
        let difference = |new: u64, old: u64| new as i64 - old as i64;
        changes.push(Change {
            shard,
            born: state.born,
            updates: difference(wrote.updates, read.updates),
            bytes: difference(wrote.bytes, read.bytes),
            stored_bytes: difference(wrote.stored, read.stored),
        });
    }
    Ok((changes, bytes_read))
}

/// Sums over blocks.
#[derive(Clone, Copy, Default)]
struct Tally {
    updates: u64,
    bytes: u64,
    stored: u64,
}

impl Tally {
    fn add(&mut self, header: &Header) {
        self.updates += u64::from(header.rows);
        self.bytes += u64::from(header.raw);
        self.stored += header.frame_len();
    }
}

/// The rewriting of one shard.
struct Merge<'a> {
    job: &'a Job,
    shard: ShardId,
    state: &'a ShardState,
    target: usize,
    writer: &'a mut Writer,
    stop: &'a AtomicBool,
    read: Tally,
    wrote: Tally,
}

/// Rows that are put together, with the greatest of their times.
#[derive(Default)]
struct Gathered {
    rows: RowBlock,
    lower: Timestamp,
    upper: Timestamp,
    sequence: u64,
}

impl Merge<'_> {
    /// All blocks of the shard in the job, by time.
    fn run(&mut self, entries: &[(Entry, usize)]) -> Result<(), StorageError> {
        let past = entries.partition_point(|(e, _)| e.upper <= self.state.since);
        let (past, recent) = entries.split_at(past);
        if self.state.append_only {
            self.put_together(past)?;
        } else {
            for kind in [BlockKind::Rows, BlockKind::Errors] {
                let of_kind: Vec<_> = past.iter().filter(|(e, _)| e.kind == kind).copied().collect();
                self.sum(kind, &of_kind)?;
            }
        }
        for entry in recent {
            let (header, payload) = self.load(entry)?;
            self.read.add(&header);
            self.copy(header, &payload)?;
        }
        Ok(())
    }

    fn load(&self, (entry, at): &(Entry, usize)) -> Result<(Header, Vec<u8>), StorageError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(StorageError::Closed);
        }
        let file = &self.job.files[*at].1;
        let (header, payload) = read_frame(file, entry.offset, entry.len)?;
        if header.kind != Kind::Data || header.shard != entry.shard || header.upper != entry.upper {
            let what = format!("the block of shard {} at time {} is not here", entry.shard, entry.upper);
            return Err(StorageError::damaged(&file.path, entry.offset, what));
        }
        Ok((header, payload))
    }

    fn unpack(
        &self,
        entry: &(Entry, usize),
        header: &Header,
        payload: &[u8],
    ) -> Result<RowBlock, StorageError> {
        frame::take_block(header, payload).ok_or_else(|| {
            let path = &self.job.files[entry.1].1.path;
            StorageError::damaged(path, entry.0.offset, "a block cannot be unpacked")
        })
    }

    fn copy(&mut self, header: Header, payload: &[u8]) -> Result<(), StorageError> {
        self.wrote.add(&header);
        self.writer.frame(header, payload)
    }

    /// A shard that only grows: small blocks become large ones.
    fn put_together(&mut self, entries: &[(Entry, usize)]) -> Result<(), StorageError> {
        for kind in [BlockKind::Rows, BlockKind::Errors] {
            let mut gathered = Gathered::default();
            for entry in entries.iter().filter(|(e, _)| e.kind == kind) {
                let (header, payload) = self.load(entry)?;
                self.read.add(&header);
                if entry.0.len >= SMALL {
                    self.flush(kind, &mut gathered)?;
                    self.copy(header, &payload)?;
                    continue;
                }
                let rows = self.unpack(entry, &header, &payload)?;
                gathered.widen(&header);
                rows.iter().for_each(|(row, diff)| gathered.rows.push(row, diff));
                if gathered.rows.byte_len() >= self.target {
                    self.flush(kind, &mut gathered)?;
                }
            }
            self.flush(kind, &mut gathered)?;
        }
        Ok(())
    }

    /// Sums equal rows, a share of the hash values at a time.
    fn sum(&mut self, kind: BlockKind, entries: &[(Entry, usize)]) -> Result<(), StorageError> {
        let rows = self.state.rows.unsigned_abs().saturating_add(self.state.errors.unsigned_abs());
        let live = u128::from(self.state.bytes) * u128::from(rows.min(self.state.updates))
            / u128::from(self.state.updates.max(1));
        let shares = (live / u128::from(SUMMED)) as u64 + 1;
        for share in 0..shares {
            let mut gathered = Gathered::default();
            let mut limit = 2 * SUMMED as usize;
            for entry in entries {
                let (header, payload) = self.load(entry)?;
                let rows = self.unpack(entry, &header, &payload)?;
                if share == 0 {
                    self.read.add(&header);
                }
                gathered.widen(&header);
                for (row, diff) in rows.iter() {
                    if shares == 1 || hash(row.bytes()) % shares == share {
                        gathered.rows.push(row, diff);
                    }
                }
                if gathered.rows.byte_len() > limit {
                    gathered.rows = consolidate(&gathered.rows);
                    limit = limit.max(2 * gathered.rows.byte_len());
                }
                // Sums of a part are right too.
                if gathered.rows.byte_len() > RowBlock::MAX_BYTES / 2 {
                    self.flush(kind, &mut gathered)?;
                }
            }
            gathered.rows = consolidate(&gathered.rows);
            self.flush(kind, &mut gathered)?;
        }
        Ok(())
    }

    /// Writes what was gathered, in blocks of the usual size.
    fn flush(&mut self, kind: BlockKind, gathered: &mut Gathered) -> Result<(), StorageError> {
        let Gathered { rows, lower, upper, sequence } = std::mem::take(gathered);
        let (_, ends, _) = rows.parts();
        let mut from = 0;
        while from < ends.len() {
            let to = frame::cut(ends, from, self.target);
            let mut header = Header::new(Kind::Data);
            (header.block, header.lower, header.upper, header.sequence) = (kind, lower, upper, sequence);
            header.shard = self.shard;
            let mut payload = Vec::new();
            frame::put_block(&mut payload, &mut header, &rows, from, to);
            self.copy(header, &payload)?;
            from = to;
        }
        Ok(())
    }
}

impl Gathered {
    fn widen(&mut self, header: &Header) {
        self.lower = if self.upper == 0 { header.lower } else { self.lower.min(header.lower) };
        self.upper = self.upper.max(header.upper);
        self.sequence = self.sequence.max(header.sequence);
    }
}

fn hash(bytes: &[u8]) -> u64 {
    // The same on every machine and in every run.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Each row once, with the sum of its diffs, where it first was; none whose sum is 0.
fn consolidate(block: &RowBlock) -> RowBlock {
    let mut order: Vec<(u64, u32)> =
        (0..).zip(block.iter()).map(|(i, (row, _))| (hash(row.bytes()), i)).collect();
    order.sort_unstable();
    let mut sums = vec![0i64; block.len()];
    let row = |i: u32| block.row(i as usize).bytes();
    for same_hash in order.chunk_by_mut(|a, b| a.0 == b.0) {
        if same_hash.len() > 1 {
            same_hash.sort_unstable_by(|a, b| row(a.1).cmp(row(b.1)).then(a.1.cmp(&b.1)));
        }
        for same in same_hash.chunk_by(|a, b| row(a.1) == row(b.1)) {
            let diffs = same.iter().map(|(_, i)| block.diff(*i as usize));
            sums[same[0].1 as usize] = diffs.fold(0, i64::saturating_add);
        }
    }
    let mut out = RowBlock::default();
    for ((row, _), sum) in block.iter().zip(sums) {
        if sum != 0 {
            out.push(row, sum);
        }
    }
    out
}

/// Writes runs.
struct Writer {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    file_bytes: u64,
    next_number: Arc<AtomicU64>,
    open: Option<Open>,
    done: Vec<(Sealed, LogFile)>,
    bytes: u64,
}

/// A run that is being written.
struct Open {
    number: u64,
    file: LogFile,
    buffer: Vec<u8>,
    /// Bytes before the buffer.
    written: u64,
    synced: u64,
    chain: u64,
    entries: Vec<Entry>,
}

impl Writer {
    /// Appends a frame. Its sequence number stays what it was, or becomes that of a later frame of the shard: they rise.
    fn frame(&mut self, mut header: Header, payload: &[u8]) -> Result<(), StorageError> {
        let full = self.open.as_ref().is_some_and(|o| o.end() + header.frame_len() > self.file_bytes);
        if full {
            self.finish()?;
        }
        if self.open.is_none() {
            self.begin()?;
        }
        let open = self.open.as_mut().expect("just begun");
        if let Some(last) = open.entries.last().filter(|e| e.shard == header.shard) {
            header.sequence = header.sequence.max(last.sequence);
        }
        header.previous = open.chain;
        header.durable = 0;
        let bytes = header.encode();
        open.chain = frame::hash(&bytes);
        open.entries.push(Entry::new(&header, open.end()));
        open.buffer.extend_from_slice(&bytes);
        open.buffer.extend_from_slice(payload);
        if open.buffer.len() >= 1 << 20 {
            open.write()?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), StorageError> {
        let number = self.next_number.fetch_add(1, Ordering::SeqCst);
        let path = self.dir.join(file_name(number, true));
        let file = self.fs.open(&path, true).map_err(|e| StorageError::io("create", &path, &e))?;
        let file = LogFile { path: path.into(), file };
        let buffer = frame::file_header(number, true).to_vec();
        self.open = Some(Open { number, file, buffer, written: 0, synced: 0, chain: 0, entries: Vec::new() });
        Ok(())
    }

    /// Closes the open run: footer, trailer, sync.
    fn finish(&mut self) -> Result<(), StorageError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let footer = open.end();
        let mut header = Header::new(Kind::Footer);
        header.previous = open.chain;
        header.sequence = open.entries.iter().map(|e| e.sequence).max().unwrap_or(0);
        let at = open.buffer.len();
        open.buffer.resize(at + FRAME_HEADER, 0);
        frame::put_plain(&mut open.buffer, &mut header, &state::encode_footer(&mut open.entries));
        let bytes = header.encode();
        let hash = frame::hash(&bytes);
        open.buffer[at..at + FRAME_HEADER].copy_from_slice(&bytes);
        open.buffer.extend_from_slice(&frame::trailer(footer, hash));
        open.write()?;
        open.file.file.sync().map_err(|e| StorageError::sync(&open.file.path, &e))?;
        let open = self.open.take().expect("checked above");
        self.bytes += open.written;
        let sealed = Sealed {
            number: open.number,
            run: true,
            len: open.written,
            sequence: header.sequence,
            hash,
            parts: state::parts(&open.entries),
        };
        self.done.push((sealed, open.file));
        Ok(())
    }
}

impl Open {
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn write(&mut self) -> Result<(), StorageError> {
        let path = &self.file.path;
        self.file
            .file
            .write_all_at(&self.buffer, self.written)
            .map_err(|e| StorageError::io("write", path, &e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.synced >= SYNC_EVERY {
            self.file.file.sync().map_err(|e| StorageError::sync(path, &e))?;
            self.synced = self.written;
        }
        Ok(())
    }
}
