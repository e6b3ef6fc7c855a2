//! Files of lines: each line is a record.
//!
//! A line ends with LF or CRLF, which are not part of the record; an empty line is an empty record; what follows the
//! last line end is a record too, unless the file is followed as it grows (its writer may not be done with it). The
//! offset of a record is the number of its line, from 0. A restart reads the file again and passes over what is stored.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::SourceError;
use crate::reader::{Event, Output, Reader, State};
use crate::record::{RecordBatch, RecordRef};

/// How often a growing or missing file is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// A line may not be longer: it would have to be in memory whole.
const MAX_LINE: usize = 256 << 20;

/// A file of lines.
#[derive(Clone, Debug)]
pub struct FileSource {
    /// Where.
    pub path: PathBuf,
    /// Follow it as it grows, without end. Not for compressed files.
    pub tail: bool,
    /// How it is compressed.
    pub compression: Compression,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As the name says: `.gz`, `.zst`, else not at all.
    #[default]
    ByName,
    /// Not at all.
    None,
    /// gzip, of one or more members.
    Gzip,
    /// Zstandard, of one or more frames.
    Zstd,
}

impl Compression {
    /// From the word of a statement (`GZIP`, `ZSTD`, `NONE`, in any case); without one, or with another, by the file's name.
    pub fn from_name(name: Option<&str>) -> Compression {
        match name.map(str::to_ascii_uppercase).as_deref() {
            Some("GZIP") => Compression::Gzip,
            Some("ZSTD") => Compression::Zstd,
            Some("NONE") => Compression::None,
            _ => Compression::ByName,
        }
    }

    /// What it comes to for this file; never [`Compression::ByName`].
    fn of(self, path: &Path) -> Compression {
        match (self, path.extension().and_then(|e| e.to_str())) {
            (Compression::ByName, Some("gz")) => Compression::Gzip,
            (Compression::ByName, Some("zst")) => Compression::Zstd,
            (Compression::ByName, _) => Compression::None,
            (chosen, _) => chosen,
        }
    }
}

/// Checks, when a source is created, that its file can be read at all.
pub fn validate_file(config: &FileSource) -> Result<(), SourceError> {
    let path = config.path.display();
    if config.tail && config.compression.of(&config.path) != Compression::None {
        return Err(SourceError::Option(format!("{path} is compressed: it cannot be followed as it grows")));
    }
    let file = File::open(&config.path).map_err(|e| SourceError::File(format!("cannot open {path}: {e}")))?;
    match file.metadata() {
        Ok(m) if m.is_dir() => Err(SourceError::File(format!("{path} is a directory"))),
        Ok(_) => Ok(()),
        Err(e) => Err(SourceError::File(format!("cannot read {path}: {e}"))),
    }
}

/// Reads a file of lines.
#[derive(Debug)]
pub struct FileReader {
    config: FileSource,
    /// The number of the next line to send.
    next: u64,
}

/// Why a file was left.
enum Left {
    /// All is read.
    End,
    /// Told to stop.
    Stopped,
    /// Something is wrong outside.
    Trouble(String),
}

impl FileReader {
    /// A reader that begins at line `from` (0 is the first).
    pub fn new(config: FileSource, from: u64) -> FileReader {
        FileReader { config, next: from }
    }

    /// Reads the file from its start.
    fn read(&mut self, out: &mut Output) -> Left {
        let path = &self.config.path.clone();
        let trouble =
            |what: &str, e: io::Error| Left::Trouble(format!("cannot {what} {}: {e}", path.display()));
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) => return trouble("open", e),
        };
        let compression = self.config.compression.of(path);
        let follow = match (self.config.tail, file.try_clone()) {
            (false, _) => None,
            (true, _) if compression != Compression::None => {
                return Left::Trouble(format!(
                    "{} is compressed: it cannot be followed as it grows",
                    path.display()
                ));
            }
            (true, Ok(file)) => Some(file),
            (true, Err(e)) => return trouble("open", e),
        };
        let mut lines: Box<dyn BufRead> = match compression {
            Compression::Gzip => Box::new(buffered(flate2::read::MultiGzDecoder::new(buffered(file)))),
            Compression::Zstd => match zstd::stream::read::Decoder::new(file) {
                Ok(decoder) => Box::new(buffered(decoder)),
                Err(e) => return trouble("read", e),
            },
            Compression::None | Compression::ByName => Box::new(buffered(file)),
        };
        if !out.status(State::Running, None) {
            return Left::Stopped;
        }

        let (mut number, mut line, mut batch) = (0u64, Vec::new(), RecordBatch::default());
        // How many bytes of the file were taken, to notice that it became shorter.
        let mut taken = 0u64;
        loop {
            let room = (MAX_LINE + 1 - line.len().min(MAX_LINE)) as u64;
            match lines.by_ref().take(room).read_until(b'\n', &mut line) {
                Ok(n) => taken += n as u64,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return trouble("read", e),
            }
            let complete = line.last() == Some(&b'\n');
            if !complete && line.len() > MAX_LINE {
                let mib = MAX_LINE >> 20;
                return Left::Trouble(format!(
                    "line {} of {} is longer than {mib} MiB",
                    number + 1,
                    path.display()
                ));
            }
            if complete || (!line.is_empty() && follow.is_none()) {
                if number >= self.next {
                    let value = Some(content(&line));
                    batch.push(RecordRef { offset: number as i64, value, ..RecordRef::default() });
                }
                number += 1;
                line.clear();
                if batch.is_full() && !self.hand_over(&mut batch, number, out) {
                    return Left::Stopped;
                }
                if number % 65_536 == 0 && out.stopped() {
                    return Left::Stopped;
                }
                continue;
            }
            // The end, for now at least.
            if !self.hand_over(&mut batch, number, out) {
                return Left::Stopped;
            }
            let Some(follow) = &follow else {
                let (name, want) = (path.display(), self.next);
                return match number {
                    n if n < want => {
                        Left::Trouble(format!("{name} has {n} lines, of which {want} were read before"))
                    }
                    _ => Left::End,
                };
            };
            if !out.wait(LOOK) {
                return Left::Stopped;
            }
            // A file that was cut off or replaced is another file.
            let now = follow.metadata().map(|m| m.len()).unwrap_or(0);
            if now < taken || number_of(path) != number_of_file(follow) {
                let name = path.display();
                return Left::Trouble(format!(
                    "{name} was replaced or cut off after {number} lines; lines of the new file beyond these will be read"
                ));
            }
        }
    }

    fn hand_over(&mut self, batch: &mut RecordBatch, number: u64, out: &mut Output) -> bool {
        if batch.is_empty() {
            return !out.stopped();
        }
        self.next = number;
        out.send(Event::Batch(batch.take()))
    }
}

impl Reader for FileReader {
    fn run(mut self: Box<Self>, out: &mut Output) {
        let mut pause = Duration::from_millis(250);
        loop {
            match self.read(out) {
                Left::Stopped => return,
                Left::End => {
                    let known = vec![(0, self.next as i64)];
                    let _ = out.send(Event::Known(known)) && out.send(Event::Finished);
                    return;
                }
                Left::Trouble(cause) => {
                    if !out.status(State::Stalled, Some(cause)) || !out.wait(pause) {
                        return;
                    }
                    // What is wrong may stand behind gigabytes that are read again.
                    pause = (2 * pause).min(Duration::from_secs(8));
                }
            }
        }
    }
}

fn buffered<R: Read>(r: R) -> BufReader<R> {
    BufReader::with_capacity(256 << 10, r)
}

/// A line without its end.
fn content(line: &[u8]) -> &[u8] {
    match line {
        [rest @ .., b'\r', b'\n'] | [rest @ .., b'\n'] => rest,
        rest => rest,
    }
}

/// What tells a file from one that took its name.
fn number_of_file(file: &File) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    file.metadata().ok().map(|m| (m.dev(), m.ino()))
}

fn number_of(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use repr::Datum;

    use super::*;
    use crate::{SourceConfig, start};

    type Lines = Vec<(i64, Vec<u8>)>;

    /// What a reader sends until it finishes, or `enough` is reached; 0: until it says what is wrong.
    fn lines(config: FileSource, from: i64, enough: usize) -> (Lines, Vec<String>, bool) {
        let (events, queue) = crossbeam_channel::unbounded();
        let from = if from == 0 { Default::default() } else { [(0, from)].into() };
        let handle = start(SourceConfig::File(config), from, Box::new(move |e, _| events.send(e).is_ok()));
        let (mut lines, mut causes, mut finished) = (vec![], vec![], false);
        while !finished && (lines.len() < enough || enough == 0) {
            match queue.recv_timeout(Duration::from_secs(20)).expect("the reader goes on") {
                Event::Batch(batch) => {
                    for (row, _) in batch.block.iter() {
                        let datums: Vec<_> = row.iter().collect();
                        let Datum::Bytes(value) = datums[0] else { panic!("{row:?}") };
                        lines.push((datums[3].int(), value.to_vec()));
                    }
                }
                Event::Status(s) => causes.extend(s.cause),
                Event::Known(_) | Event::Gaps(_) => {}
                Event::Finished => finished = true,
            }
            if enough == 0 && !causes.is_empty() {
                break;
            }
        }
        handle.stop();
        (lines, causes, finished)
    }

    fn file(path: PathBuf) -> FileSource {
        FileSource { path, tail: false, compression: Compression::ByName }
    }

    const TEXT: &[u8] = b"one\r\n\ntwo\xff\nlast";

    fn expected() -> Lines {
        vec![(0, b"one".to_vec()), (1, vec![]), (2, b"two\xff".to_vec()), (3, b"last".to_vec())]
    }

    #[test]
    fn each_line_is_a_record_however_it_is_compressed() {
        let dir = tempfile::tempdir().expect("a directory");
        let gzip = |bytes: &[u8]| {
            let mut e = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
            e.write_all(bytes).and_then(|()| e.finish()).expect("in memory")
        };
        // Two members in one file, cut within a line.
        let members = [gzip(&TEXT[..7]), gzip(&TEXT[7..])].concat();
        let zstd = zstd::encode_all(TEXT, 1).expect("in memory");
        for (name, bytes) in [("a.txt", TEXT.to_vec()), ("a.gz", members), ("a.zst", zstd)] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).expect("room");
            assert_eq!(lines(file(path), 0, usize::MAX), (expected(), vec![], true), "{name}");
        }
    }

    #[test]
    fn a_restart_goes_on_after_what_is_stored() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        std::fs::write(&path, TEXT).expect("room");
        assert_eq!(lines(file(path.clone()), 2, usize::MAX).0, expected()[2..]);
        assert_eq!(lines(file(path.clone()), 4, usize::MAX).0, []);
        let (_, causes, _) = lines(file(path), 9, 0);
        assert!(causes[0].contains("has 4 lines, of which 9 were read before"), "{causes:?}");
    }

    #[test]
    fn a_growing_file_is_followed_by_whole_lines() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        std::fs::write(&path, "one\nha").expect("room");
        let (events, queue) = crossbeam_channel::unbounded();
        let config = FileSource { tail: true, ..file(path.clone()) };
        let _handle = start(
            SourceConfig::File(config),
            Default::default(),
            Box::new(move |e, _| events.send(e).is_ok()),
        );
        let next = || loop {
            if let Event::Batch(b) = queue.recv_timeout(Duration::from_secs(20)).expect("goes on") {
                return b.block.iter().map(|(row, _)| format!("{:?}", row.iter().next())).collect::<Vec<_>>();
            }
        };
        assert_eq!(next(), [format!("{:?}", Some(Datum::Bytes(b"one")))]);
        let mut f = std::fs::OpenOptions::new().append(true).open(&path).expect("there");
        f.write_all(b"lf\n").expect("room");
        assert_eq!(next(), [format!("{:?}", Some(Datum::Bytes(b"half")))]);
    }

    #[test]
    fn a_missing_file_stalls_with_its_name() {
        let (_, causes, _) = lines(file("/nonexistent/events.jsonl".into()), 0, 0);
        assert!(causes[0].starts_with("cannot open /nonexistent/events.jsonl: "), "{causes:?}");
        let e = validate_file(&file("/nonexistent/events.jsonl".into())).expect_err("missing");
        assert!(e.to_string().contains("No such file"), "{e}");
    }
}
