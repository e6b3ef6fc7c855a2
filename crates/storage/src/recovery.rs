//! Opens a data directory: finds what is durable and whole, repairs what a crash left unfinished, reports what is damaged.
//!
//! The *tail* is the last file. Its checkpoint says what was known when it was begun and which sealed files belong to
//! the log; its groups are replayed on top. Of a sealed file only the footer is read (from sled, where that has it).
//!
//! A crash may leave the tail's last write in any state: missing, in part, its end without its beginning. All of that is
//! cut off, since it was never acknowledged. The frames themselves tell how far that may go: each says up to which offset
//! the file was durable when it was written.
//!
//! ```text
//!   [group 1][group 2]│[group 3: broken][group 4]        one write: 3 and 4 say "durable up to here" │
//!                                                        → cut off from group 3 on
//!   [group 1: broken][group 2]│[group 3]                 group 3 says that group 1 was durable
//!                                                        → damage, reported and left as it is
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::StorageError;
use crate::frame::{self, FILE_HEADER, FRAME_HEADER, FileHeader, Header, Kind, TRAILER};
use crate::fs::{self, Fs};
use crate::group::FrameGroup;
use crate::index::{Footer, Index};
use crate::log::{Active, Chain, Contents, Log, LogFile, block, file_name, lock};
use crate::scan::read_frame;
use crate::state::{self, Checkpoint, Entry, Sealed, State};
use crate::storage::{Options, Recovered};

const LOCK: &str = "LOCK";
const INDEX: &str = "index";

/// How far after the last sound frame a sequence number is believed.
const SEQUENCE_WINDOW: u64 = 1 << 32;

type Lock = Box<dyn Send + Sync>;

/// Opens or begins the log of a directory.
pub(crate) fn open(
    fs: Arc<dyn Fs>,
    dir: &Path,
    options: Options,
) -> Result<(Log, Lock, Recovered), StorageError> {
    fs.create_dir(dir).map_err(|e| StorageError::io("create", dir, &e))?;
    let lock_guard = take_lock(&*fs, dir)?;
    let mut notes = Vec::new();
    let mut index = open_index(&*fs, dir, &mut notes);
    let mirrored = index.as_ref().and_then(Index::mirrored);
    let mut files = find_files(&*fs, dir)?;

    let tail = loop {
        let Some((number, file)) = files.last() else { break None };
        if let Some(tail) = Tail::read(*number, file)? {
            break Some(tail);
        }
        // Begun, but nothing in it was ever promised.
        notes.push(format!("removed {}: it had been begun, but not written", file.path.display()));
        fs.remove(&file.path).map_err(|e| StorageError::io("remove", &file.path, &e))?;
        fs.sync_dir(dir).map_err(|e| StorageError::sync(dir, &e))?;
        files.pop();
    };

    let contents = Arc::new(Mutex::new(Contents::default()));
    let mut log = Log {
        fs: fs.clone(),
        dir: dir.to_owned(),
        options,
        contents: contents.clone(),
        sealed: Vec::new(),
        active: None,
        next_number: 1,
        chain: Chain::default(),
        index: None,
        new_footers: Vec::new(),
        index_behind: true,
    };
    let Some(tail) = tail else {
        if let Some((sequence, _)) = mirrored {
            let what = format!("no log file is here, but the index knows of {sequence} frames");
            return Err(StorageError::damaged(dir, 0, what));
        }
        fs::sync_parent(&*log.fs, dir).map_err(|e| StorageError::sync(dir, &e))?;
        log.index = index;
        log.begin()?;
        return Ok((log, lock_guard, Recovered { notes, ..Recovered::default() }));
    };

    // A kill may have come between the creation of the tail and the sync that makes its name durable.
    fs::sync_parent(&*log.fs, dir).map_err(|e| StorageError::sync(dir, &e))?;
    log.fs.sync_dir(dir).map_err(|e| StorageError::sync(dir, &e))?;
    log.next_number = tail.number + 1;
    log.sealed = tail.checkpoint.sealed.clone();
    remove_leftovers(&*fs, &files, &tail, &mut notes)?;
    let replayed = tail.replay(mirrored, &mut notes)?;
    let state = replayed.state;

    // What the index says counts only if the log confirms the frame that it mirrors.
    if let Some(opened) = &index
        && mirrored.is_some()
        && replayed.mirrored.as_ref().is_none_or(|catalog| opened.catalog().as_ref() != Some(catalog))
    {
        if mirrored.is_none_or(|(sequence, _)| sequence >= tail.chain.sequence) {
            notes.push("the index does not agree with the log: it is rebuilt".into());
        }
        // sled's own lock goes first.
        drop(index.take());
        index = new_index(&*fs, dir, &mut notes);
    } else if replayed.index_is_current {
        log.index_behind = false;
    }

    // Sealed files first: a shard's blocks come in the order of the log.
    let mut blocks = Vec::new();
    let mut all_files = Vec::new();
    for sealed in &log.sealed {
        let found = files.iter().find(|(number, _)| *number == sealed.number);
        let Some((number, file)) = found else {
            let path = dir.join(file_name(sealed.number));
            return Err(StorageError::damaged(&path, 0, "the file is missing"));
        };
        let entries = sealed_entries(sealed, file, index.as_ref(), &mut log.new_footers, &mut notes)?;
        blocks.extend(entries.into_iter().map(|e| (*number, e)));
        all_files.push((*number, file.clone()));
    }
    blocks.extend(replayed.entries.iter().map(|e| (tail.number, *e)));
    all_files.push((tail.number, tail.file.clone()));

    let recovered = Recovered {
        catalog: state.catalog.clone(),
        progress: state.progress.clone(),
        shards: state.shards.clone(),
        oracle_mark: state.oracle_mark,
        last_time: state.last_time,
        notes: Vec::new(),
    };
    {
        let mut contents = lock(&contents);
        for (number, entry) in blocks {
            if state.shards.get(&entry.shard).is_some_and(|s| s.born <= entry.sequence) {
                contents.add(entry.shard, block(&entry, number));
            }
        }
        contents.state = state;
        contents.files = all_files.into_iter().collect();
    }
    log.index_behind |= !log.new_footers.is_empty();
    log.index = index;
    log.chain = replayed.chain;
    match replayed.sealed {
        None => {
            log.active = Some(Active {
                number: tail.number,
                file: tail.file,
                len: replayed.end,
                entries: replayed.entries,
                start: tail.end,
            });
        }
        Some((sealed, footer)) => {
            log.new_footers.push(Footer { number: sealed.number, hash: sealed.hash, payload: footer });
            log.sealed.push(sealed);
            match log.begin() {
                // What is there can be read; writing meets the full disk by itself.
                Err(e @ StorageError::DiskFull { .. }) => notes.push(e.to_string()),
                other => other?,
            }
        }
    }
    Ok((log, lock_guard, Recovered { notes, ..recovered }))
}

fn take_lock(fs: &dyn Fs, dir: &Path) -> Result<Lock, StorageError> {
    let path = dir.join(LOCK);
    fs.lock(&path).map_err(|e| {
        if e.kind() != io::ErrorKind::WouldBlock {
            return StorageError::io("lock", &path, &e);
        }
        let mut pid = [0; 20];
        let read = fs.open(&path, false).and_then(|file| file.read_at(&mut pid, 0));
        let text = read.ok().and_then(|n| std::str::from_utf8(&pid[..n]).ok());
        StorageError::Locked { path: path.clone(), pid: text.and_then(|t| t.trim().parse().ok()) }
    })
}

fn open_index(fs: &dyn Fs, dir: &Path, notes: &mut Vec<String>) -> Option<Index> {
    let path = fs.real_path(&dir.join(INDEX))?;
    match Index::open(&path) {
        Ok(index) => Some(index),
        Err(reason) => {
            notes.push(format!("the index cannot be opened and is rebuilt: {reason}"));
            new_index(fs, dir, notes)
        }
    }
}

/// Throws the index away and makes an empty one.
fn new_index(fs: &dyn Fs, dir: &Path, notes: &mut Vec<String>) -> Option<Index> {
    let path = fs.real_path(&dir.join(INDEX))?;
    let index = Index::discard(&path).and_then(|()| Index::open(&path));
    index.map_err(|reason| notes.push(format!("storage goes on without an index: {reason}"))).ok()
}

fn find_files(fs: &dyn Fs, dir: &Path) -> Result<Vec<(u64, LogFile)>, StorageError> {
    let names = fs.list(dir).map_err(|e| StorageError::io("list", dir, &e))?;
    let mut files = Vec::new();
    for name in names {
        let Some(number) = name.strip_suffix(".log").and_then(|n| n.parse().ok()) else { continue };
        let path = dir.join(name);
        let file = fs.open(&path, false).map_err(|e| StorageError::io("open", &path, &e))?;
        files.push((number, LogFile { path: path.into(), file }));
    }
    files.sort_by_key(|(number, _)| *number);
    Ok(files)
}

/// Removes files that a checkpoint no longer names: a crash came between the checkpoint and their removal.
fn remove_leftovers(
    fs: &dyn Fs,
    files: &[(u64, LogFile)],
    tail: &Tail,
    notes: &mut Vec<String>,
) -> Result<(), StorageError> {
    let named: BTreeSet<u64> = tail.checkpoint.sealed.iter().map(|s| s.number).collect();
    for (number, file) in files {
        if *number < tail.number && !named.contains(number) {
            notes.push(format!("removed {}: nothing in it is needed", file.path.display()));
            fs.remove(&file.path).map_err(|e| StorageError::io("remove", &file.path, &e))?;
        }
    }
    Ok(())
}

/// The last file up to its checkpoint.
struct Tail {
    number: u64,
    file: LogFile,
    len: u64,
    checkpoint: Checkpoint,
    /// Where the checkpoint ends.
    end: u64,
    /// Up to the checkpoint.
    chain: Chain,
}

/// What the tail's groups made of the checkpoint.
struct Replayed {
    state: State,
    chain: Chain,
    entries: Vec<Entry>,
    end: u64,
    /// The catalog as it was at the frame that the index mirrors, if that frame is here.
    mirrored: Option<BTreeMap<String, Vec<u8>>>,
    /// Whether nothing happened since that the index should know.
    index_is_current: bool,
    /// The file turned out to be sealed: as the next checkpoint will name it, with its footer's payload.
    sealed: Option<(Sealed, Vec<u8>)>,
}

impl Tail {
    /// None: the file was begun, but a crash came before its first sync.
    fn read(number: u64, file: &LogFile) -> Result<Option<Tail>, StorageError> {
        let len = file.file.len().map_err(|e| StorageError::io("read", &file.path, &e))?;
        let error = match read_checkpoint(number, file, len) {
            Ok((checkpoint, end, chain)) => {
                return Ok(Some(Tail { number, file: file.clone(), len, checkpoint, end, chain }));
            }
            Err(e @ StorageError::Damaged { .. }) => e,
            Err(e) => return Err(e),
        };
        // Whatever follows a checkpoint says that the checkpoint was durable.
        match find_promise(file, 0, len, 0..u64::MAX)? {
            0 => Ok(None),
            _ => Err(error),
        }
    }

    fn replay(
        &self,
        mirrored: Option<(u64, u64)>,
        notes: &mut Vec<String>,
    ) -> Result<Replayed, StorageError> {
        let mut walk = walk(&self.file, self.end, self.len, self.chain)?;
        let mut promised = walk.promised;
        if let Some((offset, what)) = &walk.broken {
            let after = walk.chain.sequence + 1;
            promised =
                promised.max(find_promise(&self.file, *offset, self.len, after..after + SEQUENCE_WINDOW)?);
            if promised > *offset {
                return Err(StorageError::damaged(&self.file.path, *offset, what.clone()));
            }
        }
        // Of the last write the rows may be missing although the headers are there.
        let unproven = walk.groups.iter().position(|g| g.start >= promised).unwrap_or(walk.groups.len());
        for i in unproven..walk.groups.len() {
            let group = &walk.groups[i];
            let torn = group.frames.iter().any(|(offset, header)| {
                matches!(
                    read_frame(&self.file, *offset, header.frame_len()),
                    Err(StorageError::Damaged { .. })
                )
            });
            if torn {
                walk.groups.truncate(i);
                walk.footer = None;
                break;
            }
        }
        let end = walk.groups.last().map_or(self.end, |g| g.end);
        let sealed = match &walk.footer {
            Some((offset, header, hash)) if sealed_at(&self.file, *offset, header, *hash, self.len) => {
                let payload = read_footer(&self.file, *offset, header)?;
                let sealed =
                    Sealed { number: self.number, len: self.len, sequence: header.sequence, hash: *hash };
                Some((sealed, payload))
            }
            _ => None,
        };
        if sealed.is_none() && end < self.len {
            let (cut, path) = (self.len - end, self.file.path.display());
            notes.push(format!("cut {cut} bytes off {path}: a write that was never finished"));
            self.file.file.set_len(end).map_err(|e| StorageError::sync(&self.file.path, &e))?;
        }
        // After a kill the system may still hold what was read here in memory only.
        self.file.file.sync().map_err(|e| StorageError::sync(&self.file.path, &e))?;

        let mut state = self.checkpoint.state.clone();
        let mut chain = self.chain;
        let at = |chain: Chain| mirrored == Some((chain.sequence, chain.hash));
        let mut catalog = at(chain).then(|| state.catalog.clone());
        let mut index_is_current = at(chain);
        let mut entries = Vec::new();
        for group in walk.groups {
            for (offset, header) in &group.frames {
                state.add_block(header);
                entries.push(Entry::new(header, *offset));
            }
            chain = group.chain;
            state.apply(&group.commit, chain.sequence);
            index_is_current &= group.commit.catalog.is_empty() && group.commit.drop_shards.is_empty();
            if at(chain) {
                catalog = Some(state.catalog.clone());
                index_is_current = true;
            }
        }
        if let Some((sealed, _)) = &sealed {
            chain = Chain { sequence: sealed.sequence, hash: sealed.hash };
            index_is_current = false;
            if at(chain) {
                catalog = Some(state.catalog.clone());
            }
        }
        Ok(Replayed { state, chain, entries, end, mirrored: catalog, index_is_current, sealed })
    }
}

/// (checkpoint, where it ends, the chain up to it) of a file.
fn read_checkpoint(number: u64, file: &LogFile, len: u64) -> Result<(Checkpoint, u64, Chain), StorageError> {
    let damaged = |offset, what: &str| StorageError::damaged(&file.path, offset, what);
    if len < (FILE_HEADER + FRAME_HEADER) as u64 {
        return Err(damaged(0, "the file ends within its header"));
    }
    check_file_header(number, file)?;
    let at = FILE_HEADER as u64;
    let (header, hash) = read_header(file, at)?.ok_or_else(|| damaged(at, "no frame begins here"))?;
    if header.kind != Kind::Checkpoint || at + header.frame_len() > len {
        return Err(damaged(at, "the checkpoint does not fit"));
    }
    let (header, stored) = read_frame(file, at, header.frame_len())?;
    let payload = frame::take_plain(&header, &stored);
    let checkpoint = payload.and_then(|p| Checkpoint::decode(&p));
    let checkpoint = checkpoint.ok_or_else(|| damaged(at, "the checkpoint cannot be unpacked"))?;
    Ok((checkpoint, at + header.frame_len(), Chain { sequence: header.sequence, hash }))
}

fn check_file_header(number: u64, file: &LogFile) -> Result<(), StorageError> {
    let mut bytes = [0; FILE_HEADER];
    file.file.read_exact_at(&mut bytes, 0).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            StorageError::damaged(&file.path, 0, "the file ends within its header")
        }
        _ => StorageError::io("read", &file.path, &e),
    })?;
    match frame::check_file_header(&bytes, number) {
        FileHeader::Good => Ok(()),
        FileHeader::Bad => Err(StorageError::damaged(&file.path, 0, "this is not a log file")),
        FileHeader::Number(other) => {
            Err(StorageError::damaged(&file.path, 0, format!("this is log file {other}, not {number}")))
        }
        FileHeader::Version(found) => {
            Err(StorageError::Version { file: file.path.to_path_buf(), found, known: frame::VERSION })
        }
    }
}

/// The header at an offset and its hash, if a sound one is there.
fn read_header(file: &LogFile, offset: u64) -> Result<Option<(Header, u64)>, StorageError> {
    let mut bytes = [0; FRAME_HEADER];
    match file.file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Header::decode(&bytes).map(|header| (header, frame::hash(&bytes)))),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(StorageError::io("read", &file.path, &e)),
    }
}

/// The groups of a file.
struct Walk {
    groups: Vec<Group>,
    /// Offset, header and hash of the footer frame, where one follows the groups.
    footer: Option<(u64, Header, u64)>,
    /// Where the frames stop to fit, and how, if that is before the end of the file.
    broken: Option<(u64, String)>,
    /// Up to the last frame that fits.
    chain: Chain,
    /// The greatest `durable` of the frames that fit.
    promised: u64,
}

struct Group {
    start: u64,
    end: u64,
    /// Its data frames.
    frames: Vec<(u64, Header)>,
    commit: FrameGroup,
    /// Up to its commit frame.
    chain: Chain,
}

/// Reads headers and commits, not rows.
fn walk(file: &LogFile, from: u64, len: u64, chain: Chain) -> Result<Walk, StorageError> {
    let mut walk = Walk { groups: Vec::new(), footer: None, broken: None, chain, promised: from };
    let (mut offset, mut start, mut frames) = (from, from, Vec::new());
    while offset < len {
        let Some((header, hash)) = read_header(file, offset)? else {
            walk.broken = Some((offset, "no frame begins here".into()));
            break;
        };
        if header.sequence != walk.chain.sequence + 1 || header.previous != walk.chain.hash {
            let what = format!("frame {} does not follow frame {}", header.sequence, walk.chain.sequence);
            walk.broken = Some((offset, what));
            break;
        }
        let end = offset + header.frame_len();
        if end > len {
            walk.broken = Some((offset, "the file ends within a frame".into()));
            break;
        }
        let next = Chain { sequence: header.sequence, hash };
        walk.promised = walk.promised.max(header.durable);
        match header.kind {
            Kind::Data => frames.push((offset, header)),
            Kind::Commit if header.rows as usize == frames.len() => {
                let payload = match read_frame(file, offset, header.frame_len()) {
                    Ok((header, stored)) => frame::take_plain(&header, &stored),
                    Err(StorageError::Damaged { .. }) => None,
                    Err(e) => return Err(e),
                };
                let Some(commit) = payload.and_then(|p| state::decode_commit(&p)) else {
                    walk.broken = Some((offset, "a commit cannot be read".into()));
                    break;
                };
                let frames = std::mem::take(&mut frames);
                walk.groups.push(Group { start, end, frames, commit, chain: next });
                start = end;
            }
            Kind::Footer if frames.is_empty() => {
                walk.footer = Some((offset, header, hash));
                walk.chain = next;
                break;
            }
            _ => {
                walk.broken = Some((offset, format!("frame {} does not belong here", header.sequence)));
                break;
            }
        }
        walk.chain = next;
        offset = end;
    }
    Ok(walk)
}

/// The greatest `durable` that any sound frame behind `offset` states: everything below had been made durable. Only
/// frames with these sequence numbers count, so that rows which look like frames do not.
fn find_promise(
    file: &LogFile,
    offset: u64,
    len: u64,
    sequences: std::ops::Range<u64>,
) -> Result<u64, StorageError> {
    const CHUNK: usize = 1 << 20;
    let mut promised = 0;
    let mut at = offset;
    let mut bytes = vec![0; CHUNK + FRAME_HEADER - 1];
    while at < len {
        let n = usize::try_from(len - at).unwrap_or(usize::MAX).min(bytes.len());
        let read = file.file.read_exact_at(&mut bytes[..n], at);
        read.map_err(|e| StorageError::io("read", &file.path, &e))?;
        for i in 0..n.min(CHUNK) {
            let here = at + i as u64;
            if let Some(header) = Header::decode(&bytes[i..n])
                && sequences.contains(&header.sequence)
                && header.durable <= here
            {
                promised = promised.max(header.durable);
            }
        }
        at += CHUNK as u64;
    }
    Ok(promised)
}

/// Whether a sound footer and trailer end the file.
fn sealed_at(file: &LogFile, offset: u64, header: &Header, hash: u64, len: u64) -> bool {
    let mut bytes = [0; TRAILER];
    offset + header.frame_len() + TRAILER as u64 == len
        && file.file.read_exact_at(&mut bytes, len - TRAILER as u64).is_ok()
        && frame::check_trailer(&bytes) == Some((offset, hash))
        && read_footer(file, offset, header).is_ok()
}

fn read_footer(file: &LogFile, offset: u64, header: &Header) -> Result<Vec<u8>, StorageError> {
    let (header, stored) = read_frame(file, offset, header.frame_len())?;
    let payload = frame::take_plain(&header, &stored).filter(|p| state::decode_footer(p).is_some());
    payload.ok_or_else(|| StorageError::damaged(&file.path, offset, "the footer cannot be unpacked"))
}

/// The blocks of a sealed file: from the index, else from its footer, else from its frames.
fn sealed_entries(
    sealed: &Sealed,
    file: &LogFile,
    index: Option<&Index>,
    new_footers: &mut Vec<Footer>,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>, StorageError> {
    let len = file.file.len().map_err(|e| StorageError::io("read", &file.path, &e))?;
    if len != sealed.len {
        let what = format!("the file has {len} bytes, {} were written", sealed.len);
        return Err(StorageError::damaged(&file.path, len.min(sealed.len), what));
    }
    check_file_header(sealed.number, file)?;
    let known =
        index.and_then(|i| i.footer(sealed.number, sealed.hash)).and_then(|p| state::decode_footer(&p));
    if let Some(entries) = known {
        return Ok(entries);
    }
    let footer = footer_payload(sealed, file)?;
    let payload = match footer {
        Some(payload) => payload,
        None => {
            let (_, start, chain) = read_checkpoint(sealed.number, file, len)?;
            let walk = walk(file, start, len, chain)?;
            if walk.chain.sequence + 1 < sealed.sequence {
                let (offset, what) = walk.broken.unwrap_or((len, "frames are missing at the end".into()));
                return Err(StorageError::damaged(&file.path, offset, what));
            }
            notes.push(format!(
                "the footer of {} is damaged: its frames were read instead",
                file.path.display()
            ));
            let frames = walk.groups.iter().flat_map(|g| &g.frames);
            let mut entries: Vec<_> = frames.map(|(offset, header)| Entry::new(header, *offset)).collect();
            state::encode_footer(&mut entries)
        }
    };
    let entries = state::decode_footer(&payload).expect("checked or just encoded");
    new_footers.push(Footer { number: sealed.number, hash: sealed.hash, payload });
    Ok(entries)
}

/// The footer's payload, if trailer and footer are sound and those that the checkpoint names.
fn footer_payload(sealed: &Sealed, file: &LogFile) -> Result<Option<Vec<u8>>, StorageError> {
    let mut bytes = [0; TRAILER];
    let Some(at) = sealed.len.checked_sub(TRAILER as u64) else { return Ok(None) };
    file.file.read_exact_at(&mut bytes, at).map_err(|e| StorageError::io("read", &file.path, &e))?;
    let Some((offset, hash)) = frame::check_trailer(&bytes) else { return Ok(None) };
    match read_header(file, offset)? {
        Some((header, found)) if hash == sealed.hash && found == hash && header.kind == Kind::Footer => {
            match read_footer(file, offset, &header) {
                Ok(payload) => Ok(Some(payload)),
                Err(StorageError::Damaged { .. }) => Ok(None),
                Err(e) => Err(e),
            }
        }
        _ => Ok(None),
    }
}
