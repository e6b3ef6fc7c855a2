//! A plain append-only log of byte records on segment files, for whoever needs one beside the engine's own log.
//!
//! A *position* is a record's address in the whole log: files follow each other without a gap, so the file of a position
//! is the last one that begins at or before it.
//!
//! ```text
//!   00000000000000000000.segment      00000000000000001048.segment
//!   [header][record][record]…         [header][record]…
//!   0       32                        1048    1080
//!
//!   header  32 bytes: "DMSEGMNT", version u32, 0 u32, position of the file u64, 0 u32, crc32c of the 28 before u32
//!   record  20 bytes and the payload:
//!           length u32 │ crc32c of the payload u32 │ durable u64 │ crc32c of the 16 before and the position u64, u32
//! ```
//!
//! All integers are little endian. *durable* is the position up to which everything was synced when the record was
//! appended. It tells a torn tail (bytes that a power cut took before they were ever promised) from damage: broken bytes
//! below the `durable` of any valid record were promised once. The first is cut off, the second is reported.
//!
//! Appends may go on while a [`SegmentLog::sync`] runs: one sync serves all that were appended before it began.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::StorageError;
use crate::fs::{self, File, Fs};

const MAGIC: &[u8; 8] = b"DMSEGMNT";
const VERSION: u32 = 1;
const FILE_HEADER: u64 = 32;
const RECORD_HEADER: usize = 20;

/// The address of a record, or the end of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// How a log behaves.
#[derive(Clone, Copy, Debug)]
pub struct SegmentOptions {
    /// A file that would grow beyond this many bytes is closed and the next one begun.
    pub segment_bytes: u64,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        SegmentOptions { segment_bytes: 64 << 20 }
    }
}

/// An append-only log of byte records in one directory. Clones are the same log; all methods may run at once.
#[derive(Clone)]
pub struct SegmentLog(Arc<Inner>);

struct Inner {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: SegmentOptions,
    /// Held for index work and appends, not while a sync runs.
    state: Mutex<State>,
}

struct State {
    /// By position, without gaps; the last one is written to. Never empty.
    segments: Vec<Segment>,
    /// The end of the last segment.
    end: u64,
    /// Everything below survives a power cut.
    durable: u64,
    /// Set once a write or a sync failed: nothing more is accepted.
    failed: Option<StorageError>,
}

#[derive(Clone)]
struct Segment {
    base: u64,
    path: PathBuf,
    file: Arc<dyn File>,
}

impl SegmentLog {
    /// Opens the log of a directory, or makes one. Cuts off a torn tail; the notes say what was done. The caller sees to
    /// it that nobody else has the directory open.
    pub fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: SegmentOptions,
    ) -> Result<(SegmentLog, Vec<String>), StorageError> {
        let mut notes = Vec::new();
        fs.create_dir(dir).map_err(|e| StorageError::io("create", dir, &e))?;
        let mut segments = find_segments(&*fs, dir)?;
        let mut next_base = segments.first().map_or(0, |s| s.base);
        let last = segments.len().saturating_sub(1);
        let mut end = next_base;
        let mut removed = None;
        for (i, segment) in segments.iter().enumerate() {
            if segment.base != next_base {
                let what =
                    format!("the log goes on at {}: bytes {next_base} to there are missing", segment.base);
                return Err(StorageError::damaged(&segment.path, 0, what));
            }
            let len = segment.file.len().map_err(|e| StorageError::io("read", &segment.path, &e))?;
            if i < last {
                segment.check_header()?;
                next_base = segment.base + len;
            } else if let Some(valid) = segment.recover(len, &mut notes)? {
                end = segment.base + valid;
            } else {
                // A file whose very header was not yet durable holds nothing that was promised.
                notes.push(format!(
                    "removed {}: it had been created, but not written",
                    segment.path.display()
                ));
                fs.remove(&segment.path).map_err(|e| StorageError::io("remove", &segment.path, &e))?;
                fs.sync_dir(dir).map_err(|e| StorageError::sync(dir, &e))?;
                removed = Some(segment.base);
                end = segment.base;
            }
        }
        if removed.is_some() {
            segments.pop();
        }
        // A kill may have come between the creation of a file and the sync that makes its name durable.
        fs::sync_parent(&*fs, dir).map_err(|e| StorageError::sync(dir, &e))?;
        fs.sync_dir(dir).map_err(|e| StorageError::sync(dir, &e))?;
        if segments.is_empty() {
            let segment = Segment::create(&*fs, dir, removed.unwrap_or(0))?;
            end = segment.base + FILE_HEADER;
            segments.push(segment);
        }
        let state = State { segments, end, durable: end, failed: None };
        Ok((
            SegmentLog(Arc::new(Inner { fs, dir: dir.to_owned(), options, state: Mutex::new(state) })),
            notes,
        ))
    }

    /// Writes records with one system call and says where they are. They survive a kill at once, a power cut after the
    /// next [`SegmentLog::sync`]. On [`StorageError::DiskFull`] none of them is kept and the log stays usable.
    pub fn append(&self, records: &[&[u8]]) -> Result<Vec<Position>, StorageError> {
        let bytes: usize = records.iter().map(|r| r.len() + RECORD_HEADER).sum();
        let mut state = self.state()?;
        let active = state.active();
        if state.end > active.base + FILE_HEADER
            && state.end - active.base + bytes as u64 > self.0.options.segment_bytes
        {
            self.roll(&mut state)?;
        }
        let (mut buffer, mut positions) = (Vec::with_capacity(bytes), Vec::with_capacity(records.len()));
        for record in records {
            let position = state.end + buffer.len() as u64;
            let length = u32::try_from(record.len()).expect("records are far below 4 GiB");
            buffer.extend_from_slice(&encode_header(length, crc32c::crc32c(record), state.durable, position));
            buffer.extend_from_slice(record);
            positions.push(Position(position));
        }
        let active = state.active().clone();
        let offset = state.end - active.base;
        if let Err(e) = active.file.write_all_at(&buffer, offset) {
            let error = StorageError::io("write", &active.path, &e);
            let full = matches!(error, StorageError::DiskFull { .. });
            // The part that was written goes away, durably: it was refused, so it must not come back.
            let undone = active.file.set_len(offset).and_then(|()| active.file.sync());
            return Err(match undone {
                Ok(()) if full => error,
                Ok(()) => state.fail(StorageError::sync(&active.path, &e)),
                Err(e) => state.fail(StorageError::sync(&active.path, &e)),
            });
        }
        state.end += buffer.len() as u64;
        Ok(positions)
    }

    /// Makes all that was appended before the call durable, and says up to where. After an error the log accepts nothing
    /// more, and the process should end: the system may have dropped what it could not write.
    pub fn sync(&self) -> Result<Position, StorageError> {
        let (active, end) = {
            let state = self.state()?;
            if state.durable == state.end {
                return Ok(Position(state.end));
            }
            (state.active().clone(), state.end)
        };
        let result = active.file.sync();
        let mut state = self.state()?;
        match result {
            // Files before the active one were synced when they were closed.
            Ok(()) => {
                state.durable = state.durable.max(end);
                Ok(Position(state.durable))
            }
            Err(e) => Err(state.fail(StorageError::sync(&active.path, &e))),
        }
    }

    /// Reads the record at a position that [`SegmentLog::append`] or an iterator gave, with its length.
    pub fn read(&self, position: Position, len: usize) -> Result<Vec<u8>, StorageError> {
        let segment = self.segment_of(position)?;
        let mut buffer = vec![0; RECORD_HEADER + len];
        let offset = position.0 - segment.base;
        let read = segment.file.read_exact_at(&mut buffer, offset);
        read.map_err(|e| StorageError::io("read", &segment.path, &e))?;
        let header =
            decode_header(&buffer, position.0).filter(|h| h.length as usize == len).ok_or_else(|| {
                StorageError::damaged(&segment.path, offset, "no record of that length begins here")
            })?;
        // In place: a record may be long, and a second one beside it would double what a reader needs.
        buffer.drain(..RECORD_HEADER);
        let payload = buffer;
        if crc32c::crc32c(&payload) != header.crc {
            return Err(StorageError::damaged(&segment.path, offset, "a record's checksum does not fit"));
        }
        Ok(payload)
    }

    /// All records from the first on, up to the end as it is now.
    pub fn iter(&self) -> Records {
        self.records(None)
    }

    /// Like [`SegmentLog::iter`], but reads (and does not check) only the first bytes of each payload: enough to build an
    /// index in a fraction of the time.
    pub fn iter_prefix(&self, bytes: usize) -> Records {
        self.records(Some(bytes))
    }

    fn records(&self, prefix: Option<usize>) -> Records {
        let state = self.0.state.lock().expect("nothing panics under this lock");
        let segments = state.segments.clone();
        Records { position: segments[0].base + FILE_HEADER, segments, current: 0, end: state.end, prefix }
    }

    /// Removes the files that end at or before a position; gives back how many bytes became free. The file that is
    /// written to stays.
    pub fn remove_before(&self, position: Position) -> Result<u64, StorageError> {
        let mut state = self.state()?;
        let mut freed = 0;
        while state.segments.len() > 1 && state.segments[1].base <= position.0 {
            let path = &state.segments[0].path;
            // One by one and oldest first, so that no crash leaves a hole in the middle.
            self.0.fs.remove(path).map_err(|e| StorageError::io("remove", path, &e))?;
            self.0.fs.sync_dir(&self.0.dir).map_err(|e| StorageError::io("sync", &self.0.dir, &e))?;
            freed += state.segments[1].base - state.segments[0].base;
            state.segments.remove(0);
        }
        Ok(freed)
    }

    /// The position of the first record, if there is one.
    pub fn start(&self) -> Position {
        let state = self.0.state.lock().expect("nothing panics under this lock");
        Position(state.segments[0].base + FILE_HEADER)
    }

    /// The end of the last record.
    pub fn end(&self) -> Position {
        Position(self.0.state.lock().expect("nothing panics under this lock").end)
    }

    /// Everything below survives a power cut.
    pub fn durable(&self) -> Position {
        Position(self.0.state.lock().expect("nothing panics under this lock").durable)
    }

    /// Where the first file ends; none: it is the one that is written to.
    pub fn first_file_end(&self) -> Option<Position> {
        let state = self.0.state.lock().expect("nothing panics under this lock");
        state.segments.get(1).map(|s| Position(s.base))
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        let state = self.0.state.lock().expect("nothing panics under this lock");
        state.end - state.segments[0].base
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, StorageError> {
        let state = self.0.state.lock().expect("nothing panics under this lock");
        match &state.failed {
            Some(e) => Err(e.clone()),
            None => Ok(state),
        }
    }

    fn segment_of(&self, position: Position) -> Result<Segment, StorageError> {
        let state = self.0.state.lock().expect("nothing panics under this lock");
        let after = state.segments.partition_point(|s| s.base <= position.0);
        match after.checked_sub(1) {
            Some(i) if position.0 < state.end => Ok(state.segments[i].clone()),
            _ => Err(StorageError::Io {
                attempt: "read",
                path: self.0.dir.clone(),
                reason: format!("position {} is not in the log (any more)", position.0),
            }),
        }
    }

    fn roll(&self, state: &mut State) -> Result<(), StorageError> {
        let active = state.active().clone();
        if let Err(e) = active.file.sync() {
            return Err(state.fail(StorageError::sync(&active.path, &e)));
        }
        state.durable = state.end;
        match Segment::create(&*self.0.fs, &self.0.dir, state.end) {
            Ok(segment) => {
                state.end = segment.base + FILE_HEADER;
                state.durable = state.end;
                state.segments.push(segment);
                Ok(())
            }
            Err(e @ StorageError::DiskFull { .. }) => Err(e),
            Err(e) => Err(state.fail(e)),
        }
    }
}

impl State {
    fn active(&self) -> &Segment {
        self.segments.last().expect("a log has a segment")
    }

    fn fail(&mut self, error: StorageError) -> StorageError {
        self.failed.get_or_insert(error).clone()
    }
}

/// A record that an iterator found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it is.
    pub position: Position,
    /// The length of its payload.
    pub len: usize,
    /// The payload, or as much of it as was asked for.
    pub bytes: Vec<u8>,
}

/// The records of a log in order. After an error there are no more.
pub struct Records {
    segments: Vec<Segment>,
    current: usize,
    position: u64,
    end: u64,
    prefix: Option<usize>,
}

impl Iterator for Records {
    type Item = Result<Record, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.end {
            return None;
        }
        if self.segments.get(self.current + 1).is_some_and(|next| self.position == next.base) {
            self.current += 1;
            self.position += FILE_HEADER;
            return self.next();
        }
        let segment = &self.segments[self.current];
        let limit = self.segments.get(self.current + 1).map_or(self.end, |next| next.base);
        let offset = self.position - segment.base;
        match read_record(segment, offset, limit - segment.base, self.prefix) {
            Ok((header, bytes)) => {
                let record = Record { position: Position(self.position), len: header.length as usize, bytes };
                self.position += (RECORD_HEADER + record.len) as u64;
                Some(Ok(record))
            }
            Err(e) => {
                self.position = self.end;
                Some(Err(e))
            }
        }
    }
}

struct Header {
    length: u32,
    crc: u32,
    durable: u64,
}

fn encode_header(length: u32, crc: u32, durable: u64, position: u64) -> [u8; RECORD_HEADER] {
    let mut h = [0; RECORD_HEADER];
    h[..4].copy_from_slice(&length.to_le_bytes());
    h[4..8].copy_from_slice(&crc.to_le_bytes());
    h[8..16].copy_from_slice(&durable.to_le_bytes());
    let check = crc32c::crc32c_append(crc32c::crc32c(&h[..16]), &position.to_le_bytes());
    h[16..].copy_from_slice(&check.to_le_bytes());
    h
}

/// The header at the front of `bytes`, if one for this position is there.
fn decode_header(bytes: &[u8], position: u64) -> Option<Header> {
    let h: &[u8; RECORD_HEADER] = bytes.first_chunk()?;
    let u32_at = |i: usize| u32::from_le_bytes([h[i], h[i + 1], h[i + 2], h[i + 3]]);
    let check = crc32c::crc32c_append(crc32c::crc32c(&h[..16]), &position.to_le_bytes());
    let durable = u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32;
    (u32_at(16) == check).then(|| Header { length: u32_at(0), crc: u32_at(4), durable })
}

/// Reads the record at an offset of a file whose content ends at `limit`.
fn read_record(
    segment: &Segment,
    offset: u64,
    limit: u64,
    prefix: Option<usize>,
) -> Result<(Header, Vec<u8>), StorageError> {
    let io = |e: io::Error| StorageError::io("read", &segment.path, &e);
    let damaged = |what: &str| StorageError::damaged(&segment.path, offset, what);
    let room = usize::try_from(limit - offset).unwrap_or(usize::MAX);
    let first = RECORD_HEADER + prefix.unwrap_or(4096 - RECORD_HEADER);
    let mut buffer = vec![0; first.min(room)];
    segment.file.read_exact_at(&mut buffer, offset).map_err(io)?;
    let header =
        decode_header(&buffer, segment.base + offset).ok_or_else(|| damaged("no record begins here"))?;
    let length = header.length as usize;
    if length > room - RECORD_HEADER {
        return Err(damaged("a record is longer than its file"));
    }
    let mut payload = buffer.split_off(RECORD_HEADER);
    let have = payload.len();
    payload.resize(prefix.unwrap_or(length).min(length), 0);
    if payload.len() > have {
        let rest = offset + (RECORD_HEADER + have) as u64;
        segment.file.read_exact_at(&mut payload[have..], rest).map_err(io)?;
    }
    if prefix.is_none() && crc32c::crc32c(&payload) != header.crc {
        return Err(damaged("a record's checksum does not fit"));
    }
    Ok((header, payload))
}

fn find_segments(fs: &dyn Fs, dir: &Path) -> Result<Vec<Segment>, StorageError> {
    let names = fs.list(dir).map_err(|e| StorageError::io("list", dir, &e))?;
    let mut segments = Vec::new();
    for name in names {
        let Some(base) = name.strip_suffix(".segment").and_then(|n| n.parse().ok()) else { continue };
        let path = dir.join(name);
        let file = fs.open(&path, false).map_err(|e| StorageError::io("open", &path, &e))?;
        segments.push(Segment { base, path, file });
    }
    segments.sort_by_key(|s| s.base);
    Ok(segments)
}

impl Segment {
    /// A new file, durable with its name.
    fn create(fs: &dyn Fs, dir: &Path, base: u64) -> Result<Segment, StorageError> {
        let path = dir.join(format!("{base:020}.segment"));
        let file = fs.open(&path, true).map_err(|e| StorageError::io("create", &path, &e))?;
        if let Err(e) = file.write_all_at(&Self::header(base), 0) {
            let error = StorageError::io("write", &path, &e);
            // What stays behind if this fails too is removed at the next start.
            let _ = fs.remove(&path);
            return Err(error);
        }
        file.sync().map_err(|e| StorageError::sync(&path, &e))?;
        fs.sync_dir(dir).map_err(|e| StorageError::sync(dir, &e))?;
        Ok(Segment { base, path, file })
    }

    fn header(base: u64) -> [u8; FILE_HEADER as usize] {
        let mut h = [0; FILE_HEADER as usize];
        h[..8].copy_from_slice(MAGIC);
        h[8..12].copy_from_slice(&VERSION.to_le_bytes());
        h[16..24].copy_from_slice(&base.to_le_bytes());
        let crc = crc32c::crc32c(&h[..28]);
        h[28..].copy_from_slice(&crc.to_le_bytes());
        h
    }

    fn check_header(&self) -> Result<(), StorageError> {
        let mut h = [0; FILE_HEADER as usize];
        let read = self.file.read_exact_at(&mut h, 0);
        if read.is_ok() && h == Self::header(self.base) {
            return Ok(());
        }
        let version = u32::from_le_bytes([h[8], h[9], h[10], h[11]]);
        if read.is_ok() && h[..8] == *MAGIC && version > VERSION {
            return Err(StorageError::Version { file: self.path.clone(), found: version, known: VERSION });
        }
        Err(StorageError::damaged(&self.path, 0, "the file header does not fit"))
    }

    /// Finds the end of the last whole record of the last file, cuts off what lies behind and makes the rest durable.
    /// None: the file's header was never written.
    fn recover(&self, len: u64, notes: &mut Vec<String>) -> Result<Option<u64>, StorageError> {
        let mut valid = FILE_HEADER;
        if let Err(e) = self.check_header() {
            return match (&e, self.find_promise(0, len)?) {
                (StorageError::Damaged { .. }, None) => Ok(None),
                _ => Err(e),
            };
        }
        while valid < len {
            let error = match read_record(self, valid, len, None) {
                Ok((header, _)) => {
                    valid += (RECORD_HEADER + header.length as usize) as u64;
                    continue;
                }
                Err(StorageError::Io { reason, attempt, path }) => {
                    // A header that is cut off reads as the end of the file, which is no failure of the disk.
                    if len - valid >= RECORD_HEADER as u64 {
                        return Err(StorageError::Io { reason, attempt, path });
                    }
                    None
                }
                Err(e) => Some(e),
            };
            if let (Some(error), Some(_)) = (error, self.find_promise(valid, len)?) {
                return Err(error);
            }
            notes.push(format!(
                "cut {} bytes off {}: a write that was never finished",
                len - valid,
                self.path.display()
            ));
            self.file.set_len(valid).map_err(|e| StorageError::sync(&self.path, &e))?;
            break;
        }
        // After a kill the system may still hold what was read here in memory only.
        self.file.sync().map_err(|e| StorageError::sync(&self.path, &e))?;
        Ok(Some(valid))
    }

    /// A valid record behind `broken` that was appended when `broken` was already durable.
    fn find_promise(&self, broken: u64, len: u64) -> Result<Option<u64>, StorageError> {
        let mut rest = vec![0; usize::try_from(len.saturating_sub(broken)).unwrap_or(0)];
        self.file.read_exact_at(&mut rest, broken).map_err(|e| StorageError::io("read", &self.path, &e))?;
        for at in 1..rest.len() {
            let position = self.base + broken + at as u64;
            let Some(header) = decode_header(&rest[at..], position) else { continue };
            if header.durable > self.base + broken {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Op, SimFs};

    fn open(fs: &SimFs) -> (SegmentLog, Vec<String>) {
        try_open(fs).expect("the log is sound")
    }

    fn try_open(fs: &SimFs) -> Result<(SegmentLog, Vec<String>), StorageError> {
        SegmentLog::open(Arc::new(fs.clone()), Path::new("/log"), SegmentOptions { segment_bytes: 1000 })
    }

    fn all(log: &SegmentLog) -> Vec<Vec<u8>> {
        log.iter().map(|r| r.expect("the log is sound").bytes).collect()
    }

    fn record(i: u64) -> Vec<u8> {
        format!("record {i} {}", "x".repeat((i * 37 % 200) as usize)).into_bytes()
    }

    #[test]
    fn records_come_back_in_order_and_by_position() {
        let fs = SimFs::new();
        let (log, _) = open(&fs);
        let records: Vec<_> = (0..50).map(record).collect();
        let mut positions = Vec::new();
        for pair in records.chunks(2) {
            positions.extend(log.append(&pair.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("room"));
        }
        log.sync().expect("healthy");
        assert!(fs.files().len() > 3, "it rolled");
        for log in [log, open(&fs.kill()).0] {
            assert_eq!(all(&log), records);
            for (position, record) in positions.iter().zip(&records) {
                assert_eq!(log.read(*position, record.len()).expect("sound"), *record);
            }
            let prefixes: Vec<_> = log.iter_prefix(6).map(|r| r.expect("sound")).collect();
            assert_eq!(prefixes.iter().map(|r| r.position).collect::<Vec<_>>(), positions);
            assert!(prefixes.iter().all(|r| r.bytes == b"record"));
        }
    }

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        for seed in 0..300 {
            let fs = SimFs::new();
            let (log, _) = open(&fs);
            let synced = 3 + seed % 9;
            for i in 0..synced {
                log.append(&[&record(i)]).expect("room");
            }
            log.sync().expect("healthy");
            for i in synced..synced + 4 {
                log.append(&[&record(i)]).expect("room");
            }
            let (log, _) = open(&fs.power_cut(seed));
            let found = all(&log);
            assert!(found.len() as u64 >= synced, "seed {seed}: lost a synced record");
            assert_eq!(found, (0..found.len() as u64).map(record).collect::<Vec<_>>(), "seed {seed}");
            log.append(&[b"after"]).expect("room");
            assert_eq!(all(&log).last().expect("appended"), b"after");
        }
    }

    #[test]
    fn many_lives_lose_nothing_synced() {
        for seed in 0..200 {
            let mut random = crate::sim::Random::new(seed);
            let mut fs = SimFs::new();
            // Records are numbered; `first` to `synced` must be there, up to `next` may be.
            let (mut first, mut synced, mut next) = (0, 0, 0);
            for life in 0..6 {
                let context = format!("seed {seed}, life {life}");
                let (log, _) = try_open(&fs).unwrap_or_else(|e| panic!("{context}: {e}"));
                let found: Vec<_> = log.iter().map(|r| r.expect("the log is sound")).collect();
                let start = (first..=next).find(|i| found.first().is_none_or(|r| r.bytes == record(*i)));
                first = start.unwrap_or_else(|| panic!("{context}: unknown records"));
                let end = first + found.len() as u64;
                assert!(found.iter().zip(first..).all(|(r, i)| r.bytes == record(i)), "{context}");
                assert!(found.is_empty() && first == synced || (synced..=next).contains(&end), "{context}");
                // What a start has shown stays, too.
                (synced, next) = (end, end);
                let op = [Op::Write, Op::Sync, Op::SyncDir, Op::Create][random.below(4) as usize];
                fs.inject(op, 2 + random.below(20), false, io::ErrorKind::Other);
                for _ in 0..40 {
                    next += 1;
                    let appended = log.append(&[&record(next - 1)]);
                    if appended.is_err() || random.below(3) == 0 && log.sync().map(|_| synced = next).is_err()
                    {
                        break;
                    }
                }
                if random.below(3) == 0 && found.len() > 10 {
                    // After a failure nothing is removed either.
                    let _ = log.remove_before(found[10].position);
                }
                fs = if random.below(4) == 0 { fs.kill() } else { fs.power_cut(random.next_u64()) };
            }
        }
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_off() {
        let fs = SimFs::new();
        let (log, _) = open(&fs);
        log.append(&[b"first"]).expect("room");
        let end = log.end().0;
        log.append(&[b"second"]).expect("room");
        let path = PathBuf::from("/log/00000000000000000000.segment");
        for len in end..log.end().0 {
            let torn = fs.kill();
            torn.damage(&path, |bytes| bytes.truncate(len as usize));
            let (log, notes) = open(&torn);
            assert_eq!(all(&log), [b"first"]);
            assert_eq!(notes.len(), usize::from(len > end));
            assert_eq!(torn.contents(&path).expect("there").len() as u64, end);
        }
    }

    #[test]
    fn damage_in_the_middle_is_named() {
        let fs = SimFs::new();
        let (log, _) = open(&fs);
        log.append(&[b"first"]).expect("room");
        log.sync().expect("healthy");
        log.append(&[b"second"]).expect("room");
        let path = PathBuf::from("/log/00000000000000000000.segment");
        for at in 32..32 + 25 {
            let damaged = fs.kill();
            damaged.damage(&path, |bytes| bytes[at] ^= 1);
            match try_open(&damaged).map(|_| ()) {
                Err(StorageError::Damaged { file, offset, .. }) => {
                    assert_eq!((file, offset), (path.clone(), 32))
                }
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_full_disk_refuses_and_recovers() {
        let fs = SimFs::new();
        let (log, _) = open(&fs);
        log.append(&[b"first"]).expect("room");
        fs.set_capacity(Some(fs.used() + 30));
        let refused = log.append(&[b"a record that is longer than the space"]);
        assert!(matches!(refused, Err(StorageError::DiskFull { .. })), "{refused:?}");
        fs.set_capacity(None);
        log.append(&[b"second"]).expect("room again");
        assert_eq!(all(&log), [&b"first"[..], b"second"]);
        assert_eq!(all(&open(&fs.kill()).0), [&b"first"[..], b"second"]);
    }

    #[test]
    fn a_failed_sync_ends_the_log() {
        let fs = SimFs::new();
        let (log, _) = open(&fs);
        log.append(&[b"first"]).expect("room");
        fs.inject(Op::Sync, 0, true, io::ErrorKind::Other);
        assert!(matches!(log.sync(), Err(StorageError::SyncFailed { .. })));
        assert!(matches!(log.append(&[b"second"]), Err(StorageError::SyncFailed { .. })));
    }

    #[test]
    fn old_segments_go_and_the_rest_stays() {
        let fs = SimFs::new();
        let (log, _) = open(&fs);
        let positions: Vec<_> = (0..60).map(|i| log.append(&[&record(i)]).expect("room")[0]).collect();
        let before = log.bytes();
        let freed = log.remove_before(positions[40]).expect("healthy");
        assert_eq!(log.bytes(), before - freed);
        assert!(freed > 0 && log.start() <= positions[40]);
        let left = all(&log);
        assert!(left.len() >= 20 && left.len() < 60);
        assert_eq!(left, (60 - left.len() as u64..60).map(record).collect::<Vec<_>>());
        log.sync().expect("healthy");
        assert_eq!(all(&open(&fs.power_cut(1)).0), left);
    }
}
