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

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::StorageError;
use crate::frame::{self, FILE_HEADER, FRAME_HEADER, Header, Kind, TRAILER};
use crate::fs::{self, Fs};
use crate::group::FrameGroup;
use crate::index::Index;
use crate::log::{Active, Chain, Contents, Log, LogFile, file_name, lock};
use crate::scan::read_frame;
use crate::sealed::{self, read_footer, read_header};
use crate::state::{self, Entry, Sealed, State, Swap};
use crate::storage::{Options, Recovered};

const LOCK: &str = "LOCK";
pub(crate) const INDEX: &str = "index";

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
    let surveyed = survey(&*fs, dir, index.as_ref())?;
    let Survey { next_number, found, leftovers, damaged, notes: more } = surveyed;
    notes.extend(more);

    let contents = Arc::new(Mutex::new(Contents::default()));
    let mut log = Log {
        fs: fs.clone(),
        dir: dir.to_owned(),
        options,
        contents: contents.clone(),
        active: None,
        next_number: Arc::new(AtomicU64::new(next_number)),
        file_bytes: options.slack(),
        chain: Chain::default(),
        index: None,
        index_behind: true,
        look_for_space: true,
    };
    // A kill may have come between the creation of the tail and the sync that makes its name durable.
    fs::sync_parent(&*fs, dir).map_err(|e| StorageError::sync(dir, &e))?;
    fs.sync_dir(dir).map_err(|e| StorageError::sync(dir, &e))?;
    if let Some(Found { tail, replayed, .. }) = &found {
        if replayed.sealed.is_none() && replayed.end < tail.len {
            tail.file.file.set_len(replayed.end).map_err(|e| StorageError::sync(&tail.file.path, &e))?;
        }
        // After a kill the system may still hold what was read here in memory only.
        tail.file.file.sync().map_err(|e| StorageError::sync(&tail.file.path, &e))?;
    }
    for path in &leftovers {
        fs.remove(path).map_err(|e| StorageError::io("remove", path, &e))?;
    }
    if !leftovers.is_empty() {
        fs.sync_dir(dir).map_err(|e| StorageError::sync(dir, &e))?;
    }
    let Some(Found { tail, replayed, files }) = found else {
        log.index = index;
        log.begin()?;
        return Ok((log, lock_guard, Recovered { notes, ..Recovered::default() }));
    };

    // What the index says counts only if the log confirms the frame that it mirrors.
    let mirrored = index.as_ref().and_then(Index::mirrored);
    if let Some(opened) = &index
        && mirrored.is_some()
        && replayed.mirrored.as_ref().is_none_or(|catalog| opened.catalog().as_ref() != Some(catalog))
    {
        if mirrored.is_none_or(|mirrored| mirrored.sequence >= tail.chain.sequence) {
            notes.push("the index does not agree with the log: it is rebuilt".into());
        }
        // sled's own lock goes first.
        drop(index.take());
        index = new_index(&*fs, dir, &mut notes);
    } else if replayed.index_is_current {
        log.index_behind = false;
    }

    *lock(&contents) = Contents::new(tail.number, &replayed, files, &tail.file, damaged);
    let state = &replayed.state;
    let recovered = Recovered {
        catalog: state.catalog.clone(),
        progress: state.progress.clone(),
        shards: state.shards.clone(),
        oracle_mark: state.oracle_mark,
        last_time: state.last_time,
        notes: Vec::new(),
    };
    log.index = index;
    log.chain = replayed.chain;
    let sealed_tail = replayed.sealed.is_some();
    if !sealed_tail {
        log.active = Some(Active {
            number: tail.number,
            file: tail.file,
            len: replayed.end,
            entries: replayed.entries,
            start: tail.end,
            sequence: tail.chain.sequence,
        });
    }
    if sealed_tail || tail.version < frame::VERSION {
        match log.seal().and_then(|()| log.begin()) {
            // What is there can be read; writing meets the full disk by itself.
            Err(e @ StorageError::DiskFull { .. }) => notes.push(e.to_string()),
            other => other?,
        }
    }
    Ok((log, lock_guard, Recovered { notes, ..recovered }))
}

/// What is in a directory, and what a start makes of it. To look changes nothing.
pub(crate) struct Survey {
    /// No file has this number or a greater one.
    pub(crate) next_number: u64,
    /// None: the directory is new.
    pub(crate) found: Option<Found>,
    /// Files that are not needed: begun but never promised, or replaced.
    pub(crate) leftovers: Vec<PathBuf>,
    /// Files of the manifest that are missing or not what was written.
    pub(crate) damaged: BTreeMap<u64, StorageError>,
    /// What a start repairs, and what it cannot.
    pub(crate) notes: Vec<String>,
}

/// The log of a directory.
pub(crate) struct Found {
    pub(crate) tail: Tail,
    pub(crate) replayed: Replayed,
    /// The files of the manifest.
    pub(crate) files: BTreeMap<u64, LogFile>,
}

/// Reads the directory's files. An error means that the log itself cannot be followed to its end.
pub(crate) fn survey(fs: &dyn Fs, dir: &Path, index: Option<&Index>) -> Result<Survey, StorageError> {
    let mirrored = index.and_then(Index::mirrored);
    let mut files = find_files(fs, dir)?;
    let next_number = files.keys().next_back().map_or(1, |(number, _)| number + 1);
    let (mut leftovers, mut notes) = (Vec::new(), Vec::new());
    let tail = loop {
        let last = files.iter().rev().find(|((_, run), _)| !run);
        let Some((&(number, _), file)) = last else { break None };
        if let Some(tail) = Tail::read(number, file)? {
            break Some(tail);
        }
        // Begun, but nothing in it was ever promised.
        notes.push(format!("removed {}: it had been begun, but not written", file.path.display()));
        leftovers.push(file.path.to_path_buf());
        files.remove(&(number, false));
    };
    let Some(mut tail) = tail else {
        let known = mirrored.map(|m| format!("the index knows of {} frames", m.sequence));
        let known = known.or_else(|| files.values().next().map(|f| format!("{} is", f.path.display())));
        if let Some(known) = known {
            return Err(StorageError::damaged(dir, 0, format!("no log file is here, but {known}")));
        }
        return Ok(Survey { next_number, found: None, leftovers, damaged: BTreeMap::new(), notes });
    };
    if tail.version == 1 {
        tail.add_parts(dir, &files)?;
    }
    let replayed = tail.replay(mirrored, &mut notes)?;
    if let Some(index) = index {
        missing_tail(dir, index, &tail, &replayed)?;
    }
    let mut damaged = BTreeMap::new();
    let mut needed = BTreeMap::new();
    files.remove(&(tail.number, false));
    for sealed in replayed.state.sealed.values() {
        let checked = match files.remove(&(sealed.number, sealed.run)) {
            None => {
                let path = dir.join(file_name(sealed.number, sealed.run));
                Err(StorageError::damaged(&path, 0, "the file is missing"))
            }
            Some(file) => {
                let checked = sealed::check(sealed, &file);
                needed.insert(sealed.number, file);
                checked
            }
        };
        match checked {
            Ok(note) => notes.extend(note),
            Err(error @ (StorageError::Damaged { .. } | StorageError::Version { .. })) => {
                let shards: Vec<_> = sealed.parts.iter().map(|p| p.shard.to_string()).collect();
                let shards = shards.join(", ");
                notes.push(format!(
                    "{error}; it is set aside: reads of shards {shards} fail, all others go on"
                ));
                damaged.insert(sealed.number, error);
            }
            Err(e) => return Err(e),
        }
    }
    for file in files.values() {
        let path = file.path.display();
        if damaged.is_empty() {
            notes.push(format!("removed {path}: nothing in it is needed"));
            leftovers.push(file.path.to_path_buf());
        } else {
            // If damage took the frame that names it, it holds what is missed.
            notes.push(format!("left {path} where it is: nothing names it, but something is missed"));
        }
    }
    let found = Some(Found { tail, replayed, files: needed });
    Ok(Survey { next_number, found, leftovers, damaged, notes })
}

/// An index of this very log that knows of more than the log holds: files are missing at its end.
fn missing_tail(dir: &Path, index: &Index, tail: &Tail, replayed: &Replayed) -> Result<(), StorageError> {
    let Some(mirrored) = index.mirrored().filter(|m| m.sequence > replayed.chain.sequence) else {
        return Ok(());
    };
    let Some(known) = index.state() else { return Ok(()) };
    let mut own = replayed.sealed.iter().chain(replayed.state.sealed.values());
    if !own.any(|s| known.sealed.get(&s.number).is_some_and(|k| k.hash == s.hash)) {
        return Ok(());
    }
    let what = format!(
        "log files are missing after {}: it ends at frame {}, the index knows of {}",
        file_name(tail.number, false),
        replayed.chain.sequence,
        mirrored.sequence
    );
    Err(StorageError::damaged(dir, 0, what))
}

pub(crate) fn take_lock(fs: &dyn Fs, dir: &Path) -> Result<Lock, StorageError> {
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

/// Log files and runs, by number and whether they are runs.
pub(crate) fn find_files(fs: &dyn Fs, dir: &Path) -> Result<BTreeMap<(u64, bool), LogFile>, StorageError> {
    let names = fs.list(dir).map_err(|e| StorageError::io("list", dir, &e))?;
    let mut files = BTreeMap::new();
    for name in names {
        let Some((number, kind)) = name.split_once('.') else { continue };
        let Ok(number) = number.parse() else { continue };
        let run = kind == "run";
        if name != file_name(number, run) {
            continue;
        }
        let path = dir.join(name);
        let file = fs.open(&path, false).map_err(|e| StorageError::io("open", &path, &e))?;
        files.insert((number, run), LogFile { path: path.into(), file });
    }
    Ok(files)
}

/// The last file up to its checkpoint.
pub(crate) struct Tail {
    pub(crate) number: u64,
    pub(crate) version: u32,
    pub(crate) file: LogFile,
    pub(crate) len: u64,
    pub(crate) checkpoint: State,
    /// Where the checkpoint ends.
    pub(crate) end: u64,
    /// Up to the checkpoint.
    pub(crate) chain: Chain,
}

/// What the tail's groups made of the checkpoint.
pub(crate) struct Replayed {
    pub(crate) state: State,
    pub(crate) chain: Chain,
    pub(crate) entries: Vec<Entry>,
    pub(crate) end: u64,
    /// The catalog as it was at the frame that the index mirrors, if that frame is here.
    mirrored: Option<BTreeMap<String, Vec<u8>>>,
    /// Whether nothing happened since that the index should know.
    index_is_current: bool,
    /// The file turned out to be sealed.
    pub(crate) sealed: Option<Sealed>,
}

impl Tail {
    /// None: the file was begun, but a crash came before its first sync.
    fn read(number: u64, file: &LogFile) -> Result<Option<Tail>, StorageError> {
        let len = file.file.len().map_err(|e| StorageError::io("read", &file.path, &e))?;
        let error = match read_checkpoint(number, file, len) {
            Ok((checkpoint, end, chain, version)) => {
                return Ok(Some(Tail { number, version, file: file.clone(), len, checkpoint, end, chain }));
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

    /// Checkpoints of version 1 do not say what the sealed files hold.
    fn add_parts(&mut self, dir: &Path, files: &BTreeMap<(u64, bool), LogFile>) -> Result<(), StorageError> {
        for sealed in std::mem::take(&mut self.checkpoint.sealed).into_values() {
            let path = dir.join(file_name(sealed.number, false));
            let file = files.get(&(sealed.number, false));
            let file = file.ok_or_else(|| StorageError::damaged(&path, 0, "the file is missing"))?;
            sealed::check(&sealed, file)?;
            let mut entries = sealed::entries(&sealed, file)?;
            entries.retain(|e| self.checkpoint.is_live(e.shard, e.sequence));
            self.checkpoint.seal(Sealed { parts: state::parts(&entries), ..sealed });
        }
        Ok(())
    }

    fn replay(&self, mirrored: Option<Chain>, notes: &mut Vec<String>) -> Result<Replayed, StorageError> {
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
                Some((header.sequence, *hash))
            }
            _ => None,
        };
        if sealed.is_none() && end < self.len {
            let (cut, path) = (self.len - end, self.file.path.display());
            notes.push(format!("cut {cut} bytes off {path}: a write that was never finished"));
        }

        let mut state = self.checkpoint.clone();
        let mut chain = self.chain;
        let at = |chain: Chain| mirrored == Some(chain);
        let mut catalog = at(chain).then(|| state.catalog.clone());
        let mut index_is_current = at(chain);
        let mut entries = Vec::new();
        for group in walk.groups {
            chain = group.chain;
            match group.closing {
                Closing::Commit(commit) => {
                    for (offset, header) in &group.frames {
                        state.add_block(header);
                        entries.push(Entry::new(header, *offset));
                    }
                    state.apply(&commit, chain.sequence);
                    index_is_current &= commit.catalog.is_empty() && commit.drop_shards.is_empty();
                }
                Closing::Swap(swap) => {
                    state.swap(&swap);
                    index_is_current = false;
                }
            }
            if at(chain) {
                catalog = Some(state.catalog.clone());
                index_is_current = true;
            }
        }
        let sealed = sealed.map(|(sequence, hash)| {
            chain = Chain { sequence, hash };
            index_is_current = false;
            if at(chain) {
                catalog = Some(state.catalog.clone());
            }
            entries.retain(|e: &Entry| state.is_live(e.shard, e.sequence));
            let (number, len, parts) = (self.number, self.len, state::parts(&entries));
            Sealed { number, run: false, len, sequence, hash, parts }
        });
        Ok(Replayed { state, chain, entries, end, mirrored: catalog, index_is_current, sealed })
    }
}

/// (checkpoint, where it ends, the chain up to it, the version) of a file.
pub(crate) fn read_checkpoint(
    number: u64,
    file: &LogFile,
    len: u64,
) -> Result<(State, u64, Chain, u32), StorageError> {
    let damaged = |offset, what: &str| StorageError::damaged(&file.path, offset, what);
    if len < (FILE_HEADER + FRAME_HEADER) as u64 {
        return Err(damaged(0, "the file ends within its header"));
    }
    let version = sealed::check_header(number, false, file)?;
    let at = FILE_HEADER as u64;
    let (header, hash) = read_header(file, at)?.ok_or_else(|| damaged(at, "no frame begins here"))?;
    if header.kind != Kind::Checkpoint || at + header.frame_len() > len {
        return Err(damaged(at, "the checkpoint does not fit"));
    }
    let (header, stored) = read_frame(file, at, header.frame_len())?;
    let payload = frame::take_plain(&header, &stored);
    let checkpoint = payload.and_then(|p| State::decode(&p, version));
    let checkpoint = checkpoint.ok_or_else(|| damaged(at, "the checkpoint cannot be unpacked"))?;
    Ok((checkpoint, at + header.frame_len(), Chain { sequence: header.sequence, hash }, version))
}

/// The groups of a file.
pub(crate) struct Walk {
    pub(crate) groups: Vec<Group>,
    /// Offset, header and hash of the footer frame, where one follows the groups.
    footer: Option<(u64, Header, u64)>,
    /// Where the frames stop to fit, and how, if that is before the end of the file.
    pub(crate) broken: Option<(u64, String)>,
    /// Up to the last frame that fits.
    pub(crate) chain: Chain,
    /// The greatest `durable` of the frames that fit.
    promised: u64,
}

pub(crate) struct Group {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Its data frames.
    pub(crate) frames: Vec<(u64, Header)>,
    pub(crate) closing: Closing,
    /// Up to its last frame.
    pub(crate) chain: Chain,
}

/// What the last frame of a group says.
pub(crate) enum Closing {
    Commit(FrameGroup),
    /// Without data frames.
    Swap(Swap),
}

/// Reads headers and commits, not rows.
pub(crate) fn walk(file: &LogFile, from: u64, len: u64, chain: Chain) -> Result<Walk, StorageError> {
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
            Kind::Commit | Kind::Swap if header.rows as usize == frames.len() => {
                let payload = match read_frame(file, offset, header.frame_len()) {
                    Ok((header, stored)) => frame::take_plain(&header, &stored),
                    Err(StorageError::Damaged { .. }) => None,
                    Err(e) => return Err(e),
                };
                let closing = payload.and_then(|p| match header.kind {
                    Kind::Swap => Swap::decode(&p).map(Closing::Swap),
                    _ => state::decode_commit(&p).map(Closing::Commit),
                });
                let Some(closing) = closing else {
                    walk.broken = Some((offset, "a commit cannot be read".into()));
                    break;
                };
                let frames = std::mem::take(&mut frames);
                walk.groups.push(Group { start, end, frames, closing, chain: next });
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
