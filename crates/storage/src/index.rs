//! The log's index in sled: a mirror of manifest, catalog, progress and shards.
//!
//! Nothing here is needed to be right, only to be quick and to be looked at: each entry carries a checksum, the whole
//! carries the (sequence, hash) of the log frame that it mirrors, and whoever finds a doubt throws it away and writes it
//! anew from the log. sled panics on damaged files, and its `flush` leaves file metadata to chance, so it is opened on a
//! thread of its own, called under `catch_unwind`, and its file is synced by us.
//!
//! ```text
//!   "m" 0  part u32      sequence u64, hash u64 of the mirrored frame
//!   "s" 0  part          checkpoint payload without the catalog: sealed files, progress, shards, marks
//!   "c/" key 0  part     catalog entry
//! ```
//!
//! A value is `crc32c u32, bytes`, cut into parts of 16 KiB, since sled puts large values into files of their own.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::frame;
use crate::log::Chain;
use crate::state::State;

const PART: usize = 16 << 10;

/// The open index.
pub(crate) struct Index {
    db: sled::Db,
    /// sled's file, to sync it.
    file: fs::File,
}

impl Index {
    /// Opens or creates the index; the error is a reason for a person to read.
    pub(crate) fn open(dir: &Path) -> Result<Index, String> {
        let path = dir.to_owned();
        let opening = std::thread::Builder::new().name("storage-index".into()).spawn(move || open(path));
        opening.map_err(|e| e.to_string())?.join().unwrap_or_else(|p| Err(panic_text(&*p)))
    }

    /// Removes an index from disk.
    pub(crate) fn discard(dir: &Path) -> Result<(), String> {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.to_string()),
            _ => Ok(()),
        }
    }

    /// The frame that the index mirrors; none in a new one.
    pub(crate) fn mirrored(&self) -> Option<Chain> {
        let value = self.get(b"m\0")?;
        let (sequence, rest) = value.split_first_chunk()?;
        let (hash, _) = rest.split_first_chunk()?;
        Some(Chain { sequence: u64::from_le_bytes(*sequence), hash: u64::from_le_bytes(*hash) })
    }

    /// All but the catalog, as it was at that frame.
    pub(crate) fn state(&self) -> Option<State> {
        State::decode(&self.get(b"s\0")?, frame::VERSION)
    }

    /// The catalog, if all of its entries are sound.
    pub(crate) fn catalog(&self) -> Option<BTreeMap<String, Vec<u8>>> {
        guarded(|| {
            let mut catalog = BTreeMap::new();
            for key in self.names(b"c/") {
                let value = self.get(&key)?;
                let name = key.strip_prefix(b"c/")?.strip_suffix(b"\0")?.to_vec();
                catalog.insert(String::from_utf8(name).ok()?, value);
            }
            Some(catalog)
        })
        .ok()
        .flatten()
    }

    /// Brings the index up to a frame and makes it durable.
    pub(crate) fn write(&self, Chain { sequence, hash }: Chain, state: &State) -> Result<(), String> {
        guarded(|| {
            let mut batch = sled::Batch::default();
            self.put(&mut batch, b"m\0", &[sequence.to_le_bytes(), hash.to_le_bytes()].concat());
            let rest = State { catalog: BTreeMap::new(), ..state.clone() };
            self.put(&mut batch, b"s\0", &rest.encode());
            for name in self.names(b"c/") {
                let key = name.strip_prefix(b"c/").and_then(|n| n.strip_suffix(b"\0"));
                let known = key.and_then(|k| std::str::from_utf8(k).ok());
                if !known.is_some_and(|k| state.catalog.contains_key(k)) {
                    self.remove(&mut batch, &name, 0);
                }
            }
            for (key, value) in &state.catalog {
                let name = [b"c/", key.as_bytes(), b"\0"].concat();
                if self.get(&name).as_ref() != Some(value) {
                    self.put(&mut batch, &name, value);
                }
            }
            // Format 1 kept footers here.
            for name in self.names(b"f/") {
                self.remove(&mut batch, &name, 0);
            }
            self.db.apply_batch(batch).map_err(|e| e.to_string())?;
            self.db.flush().map_err(|e| e.to_string())?;
            self.file.sync_data().map_err(|e| e.to_string())
        })?
    }

    /// The names that have values below a prefix.
    fn names(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        let keys = self.db.scan_prefix(prefix).keys().map_while(Result::ok);
        let mut names: Vec<_> = keys.map(|k| k[..k.len().saturating_sub(4)].to_vec()).collect();
        names.dedup();
        names
    }

    fn get(&self, name: &[u8]) -> Option<Vec<u8>> {
        guarded(|| {
            let mut value = Vec::new();
            for (i, part) in self.db.scan_prefix(name).enumerate() {
                let (key, bytes) = part.ok()?;
                if key.strip_prefix(name)? != (i as u32).to_be_bytes() {
                    return None;
                }
                value.extend_from_slice(&bytes);
            }
            let (crc, bytes) = value.split_first_chunk()?;
            (u32::from_le_bytes(*crc) == crc32c::crc32c(bytes)).then(|| bytes.to_vec())
        })
        .ok()
        .flatten()
    }

    fn put(&self, batch: &mut sled::Batch, name: &[u8], value: &[u8]) {
        let value = [&crc32c::crc32c(value).to_le_bytes()[..], value].concat();
        let mut parts = 0u32;
        for part in value.chunks(PART) {
            batch.insert([name, &parts.to_be_bytes()[..]].concat(), part);
            parts += 1;
        }
        self.remove(batch, name, parts);
    }

    /// Removes a value's parts from one on.
    fn remove(&self, batch: &mut sled::Batch, name: &[u8], from: u32) {
        for key in self.db.scan_prefix(name).keys().map_while(Result::ok) {
            if key[name.len()..] >= from.to_be_bytes()[..] {
                batch.remove(key);
            }
        }
    }
}

fn open(dir: PathBuf) -> Result<Index, String> {
    let config = sled::Config::new()
        .path(&dir)
        .cache_capacity(1 << 20)
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace);
    let db = config.open().map_err(|e| e.to_string())?;
    let file =
        fs::OpenOptions::new().read(true).write(true).open(dir.join("db")).map_err(|e| e.to_string())?;
    if !db.was_recovered() {
        let sync = |dir: &Path| fs::File::open(dir)?.sync_all();
        file.sync_all().map_err(|e| e.to_string())?;
        sync(&dir).map_err(|e| e.to_string())?;
        dir.parent().map_or(Ok(()), sync).map_err(|e| e.to_string())?;
    }
    Ok(Index { db, file })
}

/// sled's panics as errors.
fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|p| panic_text(&*p))
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    format!("sled gave up: {}", text.unwrap_or("no reason given").lines().next().unwrap_or_default())
}
