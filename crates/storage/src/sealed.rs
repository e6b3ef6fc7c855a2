//! Reads sealed files, those of the log and runs alike: which blocks they hold, and whether they are what the manifest says.

use std::io;

use crate::StorageError;
use crate::frame::{self, FILE_HEADER, FRAME_HEADER, FileHeader, Header, Kind, TRAILER};
use crate::log::LogFile;
use crate::recovery;
use crate::scan::read_frame;
use crate::state::{self, Entry, Sealed};

/// Whether this is the file that the manifest names: by its length and its two ends. The text says what is wrong but can
/// be made up for.
pub(crate) fn check(sealed: &Sealed, file: &LogFile) -> Result<Option<String>, StorageError> {
    let len = file.file.len().map_err(|e| StorageError::io("read", &file.path, &e))?;
    if len != sealed.len {
        let what = format!("the file has {len} bytes, {} were written", sealed.len);
        return Err(StorageError::damaged(&file.path, len.min(sealed.len), what));
    }
    check_header(sealed.number, sealed.run, file)?;
    match footer_payload(sealed, file)? {
        Some(_) => Ok(None),
        None => {
            frames(sealed, file)?;
            let path = file.path.display();
            Ok(Some(format!("the footer of {path} is damaged: its frames are read instead")))
        }
    }
}

/// The blocks of a sealed file: from its footer, else from its frames.
pub(crate) fn entries(sealed: &Sealed, file: &LogFile) -> Result<Vec<Entry>, StorageError> {
    let footer = footer_payload(sealed, file)?.and_then(|p| state::decode_footer(&p));
    footer.map_or_else(|| frames(sealed, file), Ok)
}

/// The version of a file's header, if it is that of this number and kind.
pub(crate) fn check_header(number: u64, run: bool, file: &LogFile) -> Result<u32, StorageError> {
    let mut bytes = [0; FILE_HEADER];
    file.file.read_exact_at(&mut bytes, 0).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            StorageError::damaged(&file.path, 0, "the file ends within its header")
        }
        _ => StorageError::io("read", &file.path, &e),
    })?;
    match frame::check_file_header(&bytes, number, run) {
        FileHeader::Good(version) => Ok(version),
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
pub(crate) fn read_header(file: &LogFile, offset: u64) -> Result<Option<(Header, u64)>, StorageError> {
    let mut bytes = [0; FRAME_HEADER];
    match file.file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Header::decode(&bytes).map(|header| (header, frame::hash(&bytes)))),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(StorageError::io("read", &file.path, &e)),
    }
}

/// The payload of a footer frame, if its entries can be read.
pub(crate) fn read_footer(file: &LogFile, offset: u64, header: &Header) -> Result<Vec<u8>, StorageError> {
    let (header, stored) = read_frame(file, offset, header.frame_len())?;
    let payload = frame::take_plain(&header, &stored).filter(|p| state::decode_footer(p).is_some());
    payload.ok_or_else(|| StorageError::damaged(&file.path, offset, "the footer cannot be unpacked"))
}

/// The footer's payload, if trailer and footer are sound and those that the manifest names.
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

/// The blocks by reading all headers.
fn frames(sealed: &Sealed, file: &LogFile) -> Result<Vec<Entry>, StorageError> {
    if sealed.run {
        return run_frames(sealed, file);
    }
    let (_, start, chain, _) = recovery::read_checkpoint(sealed.number, file, sealed.len)?;
    let walk = recovery::walk(file, start, sealed.len, chain)?;
    if walk.chain.sequence + 1 < sealed.sequence {
        let (offset, what) = walk.broken.unwrap_or((sealed.len, "frames are missing at the end".into()));
        return Err(StorageError::damaged(&file.path, offset, what));
    }
    let frames = walk.groups.iter().flat_map(|g| &g.frames);
    Ok(frames.map(|(offset, header)| Entry::new(header, *offset)).collect())
}

fn run_frames(sealed: &Sealed, file: &LogFile) -> Result<Vec<Entry>, StorageError> {
    let (mut offset, mut previous, mut entries) = (FILE_HEADER as u64, 0, Vec::new());
    while let Some((header, hash)) = read_header(file, offset)?.filter(|(h, _)| h.previous == previous) {
        if header.kind != Kind::Data {
            break;
        }
        entries.push(Entry::new(&header, offset));
        offset += header.frame_len();
        previous = hash;
    }
    let blocks: u64 = sealed.parts.iter().map(|p| p.blocks).sum();
    // Parts that have gone are in the file still.
    if (entries.len() as u64) < blocks {
        return Err(StorageError::damaged(&file.path, offset, "no frame of the run begins here"));
    }
    Ok(entries)
}
