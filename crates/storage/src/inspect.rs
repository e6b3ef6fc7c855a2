//! Looks at a data directory from outside, and changes nothing: what is there, whether it is sound, what a start would do.
//!
//! The same code that recovers reads the files here; only that nothing is cut off, removed or begun. The index is looked
//! at in a copy, since sled writes when it opens.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repr::Timestamp;

use crate::StorageError;
use crate::frame::{self, FILE_HEADER, Header, Kind};
use crate::fs::{File, Fs};
use crate::group::{BlockKind, FrameGroup, ShardId};
use crate::index::Index;
use crate::log::{Contents, LogFile};
use crate::recovery::{self, Found, Survey};
use crate::scan::{Scan, read_frame};
use crate::sealed;
use crate::state::{self, Entry, Sealed, ShardState, State, Swap};

/// What is in a data directory.
#[derive(Debug, Default)]
pub struct Report {
    /// Its files, by name.
    pub files: Vec<FileReport>,
    /// Catalog entries.
    pub catalog: BTreeMap<String, Vec<u8>>,
    /// The next offset to read, by source and partition.
    pub progress: BTreeMap<u64, BTreeMap<i32, i64>>,
    /// Shards.
    pub shards: BTreeMap<ShardId, ShardState>,
    /// The newest time of a group.
    pub last_time: Timestamp,
    /// No timestamp at or above was ever given out.
    pub oracle_mark: Timestamp,
    /// What the next start repairs by itself.
    pub repairs: Vec<String>,
    /// What is damaged.
    pub damages: Vec<String>,
}

/// A file of the log, or a run.
#[derive(Debug)]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// What it is to the log.
    pub role: Role,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes of blocks in it that are needed.
    pub live_bytes: u64,
    /// Shards that have blocks in it that are needed.
    pub shards: Vec<ShardId>,
}

/// What a file is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A log file that is no longer written to.
    Sealed,
    /// What background work made of older files.
    Run,
    /// The file that is written to.
    Tail,
    /// Not needed: the next start removes it.
    Leftover,
}

/// Something that [`dump`] meets.
pub enum Item<'a> {
    /// A file.
    File(&'a str),
    /// A frame of it: where it begins, and what it says.
    Frame(u64, String),
    /// A row of the shard that was asked for.
    Row(Timestamp, BlockKind, repr::RowRef<'a>, i64),
}

/// Looks at a directory; with `blocks` also at every block of rows. Only what makes the directory impossible to look at is
/// an error: that it is not there, that somebody is using it, or that the disk fails. Damage is part of the report.
pub fn inspect(fs: Arc<dyn Fs>, dir: &Path, blocks: bool) -> Result<Report, StorageError> {
    let fs: Arc<dyn Fs> = Arc::new(ReadOnly(fs));
    let _lock = recovery::take_lock(&*fs, dir)?;
    let mut report = Report::default();
    let index = IndexCopy::open(&*fs, dir, &mut report.repairs);
    let surveyed = recovery::survey(&*fs, dir, index.as_ref().and_then(|i| i.index.as_ref()));
    let survey = match surveyed {
        Ok(survey) => survey,
        Err(e @ (StorageError::Damaged { .. } | StorageError::Version { .. })) => {
            report.damages.push(format!(
                "{e}; the log cannot be followed to its end, so a start refuses the directory"
            ));
            list_files(&*fs, dir, &mut report)?;
            return Ok(report);
        }
        Err(e) => return Err(e),
    };
    let aside = |note: &String| survey.damaged.values().any(|e| note.starts_with(&e.to_string()));
    let (damages, repairs) = survey.notes.iter().cloned().partition::<Vec<_>, _>(aside);
    report.repairs.extend(repairs);
    report.damages.extend(damages);
    for path in &survey.leftovers {
        let bytes = fs.open(path, false).and_then(|f| f.len()).unwrap_or(0);
        let (name, role) = (name_of(path), Role::Leftover);
        report.files.push(FileReport { name, role, bytes, live_bytes: 0, shards: Vec::new() });
    }
    let Some(found) = survey.found else { return Ok(report) };
    for sealed in found.replayed.state.sealed.values() {
        report.files.push(FileReport {
            name: crate::log::file_name(sealed.number, sealed.run),
            role: if sealed.run { Role::Run } else { Role::Sealed },
            bytes: sealed.len,
            live_bytes: sealed.parts.iter().map(|p| p.stored).sum(),
            shards: sealed.parts.iter().map(|p| p.shard).collect(),
        });
    }
    let Found { tail, replayed, files } = &found;
    let State { catalog, progress, shards, last_time, oracle_mark, .. } = &replayed.state;
    let live: Vec<&Entry> =
        replayed.entries.iter().filter(|e| replayed.state.is_live(e.shard, e.sequence)).collect();
    report.files.push(FileReport {
        name: name_of(&tail.file.path),
        role: Role::Tail,
        bytes: tail.len,
        live_bytes: live.iter().map(|e| e.len).sum(),
        shards: state::parts(&live.iter().map(|e| **e).collect::<Vec<_>>()).iter().map(|p| p.shard).collect(),
    });
    report.files.sort_by(|a, b| a.name.cmp(&b.name));
    (report.catalog, report.progress, report.shards) = (catalog.clone(), progress.clone(), shards.clone());
    (report.last_time, report.oracle_mark) = (*last_time, *oracle_mark);
    if blocks {
        let mut check = BlockCheck { state: &replayed.state, sums: BTreeMap::new(), damages: Vec::new() };
        for sealed in replayed.state.sealed.values().filter(|s| !survey.damaged.contains_key(&s.number)) {
            let file = &files[&sealed.number];
            for entry in sealed::entries(sealed, file)? {
                if sealed.part(entry.shard).is_some() {
                    check.block(file, &entry)?;
                }
            }
        }
        for entry in live {
            check.block(&tail.file, entry)?;
        }
        if check.damages.is_empty() && survey.damaged.is_empty() {
            check.sums();
        }
        report.damages.extend(check.damages);
    }
    Ok(report)
}

/// Reads blocks, and compares what they come to with what is known of their shards.
struct BlockCheck<'a> {
    state: &'a State,
    /// Rows, errors, updates.
    sums: BTreeMap<ShardId, (i64, i64, u64)>,
    damages: Vec<String>,
}

impl BlockCheck<'_> {
    fn block(&mut self, file: &LogFile, entry: &Entry) -> Result<(), StorageError> {
        if !self.state.is_live(entry.shard, entry.sequence) {
            return Ok(());
        }
        let read = read_frame(file, entry.offset, entry.len).and_then(|(header, payload)| {
            let fits = header.kind == Kind::Data && Entry::new(&header, entry.offset) == *entry;
            let rows = frame::take_block(&header, &payload).filter(|_| fits);
            let rows = rows.filter(|r| r.iter().map(|(_, d)| d).fold(0, i64::saturating_add) == header.net);
            let damaged = || StorageError::damaged(&file.path, entry.offset, "a block does not fit");
            rows.map(|_| header).ok_or_else(damaged)
        });
        match read {
            Ok(header) => {
                let sums = self.sums.entry(entry.shard).or_default();
                match header.block {
                    BlockKind::Rows => sums.0 += header.net,
                    BlockKind::Errors => sums.1 += header.net,
                }
                sums.2 += u64::from(header.rows);
                Ok(())
            }
            Err(e @ StorageError::Damaged { .. }) => {
                let (shard, rows, time) = (entry.shard, entry.rows, entry.upper);
                self.damages
                    .push(format!("{e}: {rows} updates of shard {shard} at time {time} cannot be read"));
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn sums(&mut self) {
        for (id, shard) in &self.state.shards {
            let found = self.sums.get(id).copied().unwrap_or_default();
            let known = (shard.rows, shard.errors, shard.updates);
            if found != known {
                self.damages.push(format!(
                    "shard {id} has {} rows and {} errors in {} updates, but {} and {} in {} are known of it",
                    found.0, found.1, found.2, known.0, known.1, known.2
                ));
            }
        }
    }
}

/// Shows the frames of all files, or the rows of one shard, until `show` has seen enough.
pub fn dump(
    fs: Arc<dyn Fs>,
    dir: &Path,
    shard: Option<ShardId>,
    show: &mut dyn FnMut(Item<'_>) -> bool,
) -> Result<(), StorageError> {
    let fs: Arc<dyn Fs> = Arc::new(ReadOnly(fs));
    let _lock = recovery::take_lock(&*fs, dir)?;
    let Some(shard) = shard else { return frames(&*fs, dir, show) };
    let Survey { found, damaged, .. } = recovery::survey(&*fs, dir, None)?;
    let Some(found) = found else { return Ok(()) };
    let contents = Contents::new(found.tail.number, &found.replayed, found.files, &found.tail.file, damaged);
    for block in Scan::new(&contents, shard, 0, Timestamp::MAX) {
        let (time, kind, rows) = block?;
        for (row, diff) in rows.iter() {
            if !show(Item::Row(time, kind, row, diff)) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// All frames of all files, sound ones without regard to those before.
fn frames(fs: &dyn Fs, dir: &Path, show: &mut dyn FnMut(Item<'_>) -> bool) -> Result<(), StorageError> {
    for ((number, run), file) in recovery::find_files(fs, dir)? {
        let len = file.file.len().map_err(|e| StorageError::io("read", &file.path, &e))?;
        if !show(Item::File(&name_of(&file.path))) {
            return Ok(());
        }
        let version = match sealed::check_header(number, run, &file) {
            Ok(version) => version,
            Err(e @ (StorageError::Damaged { .. } | StorageError::Version { .. })) => {
                if !show(Item::Frame(0, e.to_string())) {
                    return Ok(());
                }
                continue;
            }
            Err(e) => return Err(e),
        };
        let mut offset = FILE_HEADER as u64;
        while offset < len {
            let Some((header, _)) = sealed::read_header(&file, offset)? else {
                let rest = len - offset;
                let what = if rest == frame::TRAILER as u64 { "trailer" } else { "no frame begins here" };
                if !show(Item::Frame(offset, format!("{what}: {rest} bytes"))) {
                    return Ok(());
                }
                break;
            };
            let text = match read_frame(&file, offset, header.frame_len()) {
                Ok((header, payload)) => describe(&header, &payload, version),
                Err(StorageError::Damaged { what, .. }) => {
                    format!("{:?} #{}: {what}", header.kind, header.sequence)
                }
                Err(e) => return Err(e),
            };
            if !show(Item::Frame(offset, text)) {
                return Ok(());
            }
            offset += header.frame_len();
        }
    }
    Ok(())
}

/// A frame in a line.
fn describe(header: &Header, payload: &[u8], version: u32) -> String {
    let plain = || frame::take_plain(header, payload);
    let text = match header.kind {
        Kind::Data => Some(format!(
            "shard {} {:?}: {} updates, sum {}, times {} to {}, {} bytes stored for {}",
            header.shard,
            header.block,
            header.rows,
            header.net,
            header.lower,
            header.upper,
            header.length,
            header.raw
        )),
        Kind::Commit => plain().and_then(|p| state::decode_commit(&p)).map(|g| describe_commit(&g)),
        Kind::Checkpoint => plain().and_then(|p| State::decode(&p, version)).map(|s| {
            let files = s.sealed.len();
            let (entries, shards) = (s.catalog.len(), s.shards.len());
            format!("time {}, {files} sealed files, {shards} shards, {entries} catalog entries", s.last_time)
        }),
        Kind::Footer => plain().and_then(|p| state::decode_footer(&p)).map(|e| format!("{} blocks", e.len())),
        Kind::Swap => plain().and_then(|p| Swap::decode(&p)).map(|s| {
            let mut text = String::from("parts go:");
            for (number, shards) in &s.gone {
                let shards: Vec<_> = shards.iter().map(ShardId::to_string).collect();
                let _ = write!(text, " file {number} shards {};", shards.join(" "));
            }
            for Sealed { number, len, .. } in &s.new {
                let _ = write!(text, " run {number} of {len} bytes comes;");
            }
            text
        }),
    };
    let text = text.unwrap_or_else(|| "cannot be unpacked".into());
    format!("{:?} #{}: {text}", header.kind, header.sequence)
}

fn describe_commit(group: &FrameGroup) -> String {
    let mut text = format!("time {}", group.time);
    let mut add = |part: String| text.push_str(&part);
    for (source, partitions) in &group.progress {
        let offsets: Vec<_> = partitions.iter().map(|(p, o)| format!("{p}:{o}")).collect();
        add(format!(", source {source} at {}", offsets.join(" ")));
    }
    for (shard, upper) in &group.uppers {
        add(format!(", shard {shard} upper {upper}"));
    }
    for (shard, since) in &group.sinces {
        add(format!(", shard {shard} since {since}"));
    }
    for (key, value) in &group.catalog {
        match value {
            // A catalog entry may be a secret.
            Some(value) => add(format!(", catalog {key} set to {} bytes", value.len())),
            None => add(format!(", catalog {key} removed")),
        }
    }
    for shard in &group.drop_shards {
        add(format!(", shard {shard} dropped"));
    }
    for source in &group.drop_progress {
        add(format!(", progress of source {source} dropped"));
    }
    if let Some(mark) = group.oracle_mark {
        add(format!(", times below {mark}"));
    }
    text
}

/// The files of a log that cannot be followed.
fn list_files(fs: &dyn Fs, dir: &Path, report: &mut Report) -> Result<(), StorageError> {
    for ((_, run), file) in recovery::find_files(fs, dir)? {
        let bytes = file.file.len().map_err(|e| StorageError::io("read", &file.path, &e))?;
        let (name, role) = (name_of(&file.path), if run { Role::Run } else { Role::Sealed });
        report.files.push(FileReport { name, role, bytes, live_bytes: 0, shards: Vec::new() });
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A copy of the index, removed when dropped.
struct IndexCopy {
    index: Option<Index>,
    dir: PathBuf,
}

impl IndexCopy {
    fn open(fs: &dyn Fs, dir: &Path, repairs: &mut Vec<String>) -> Option<IndexCopy> {
        let from = fs.real_path(&dir.join(recovery::INDEX))?;
        if !from.exists() {
            repairs.push("the index is missing and is rebuilt from the log".into());
            return None;
        }
        let to = std::env::temp_dir().join(format!("deltamill-index-{}-{:p}", std::process::id(), &from));
        let mut copy = IndexCopy { index: None, dir: to };
        match copy_files(&from, &copy.dir).map_err(|e| e.to_string()).and_then(|()| Index::open(&copy.dir)) {
            Ok(index) => copy.index = Some(index),
            Err(reason) => repairs.push(format!("the index cannot be opened and is rebuilt: {reason}")),
        }
        Some(copy)
    }
}

impl Drop for IndexCopy {
    fn drop(&mut self) {
        self.index = None;
        // What is left is in the system's folder for what may go.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A file system on which nothing can be changed.
struct ReadOnly(Arc<dyn Fs>);

struct ReadOnlyFile(Arc<dyn File>);

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Fs for ReadOnly {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        refused()
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>> {
        if create {
            return refused();
        }
        Ok(Arc::new(ReadOnlyFile(self.0.open_to_read(path)?)))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path, false)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        refused()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.0.lock_to_read(path)
    }

    fn lock_to_read(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.0.lock_to_read(path)
    }

    fn real_path(&self, path: &Path) -> Option<PathBuf> {
        self.0.real_path(path)
    }
}

impl File for ReadOnlyFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn write_at(&self, _bytes: &[u8], _position: u64) -> io::Result<usize> {
        refused()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }
}
