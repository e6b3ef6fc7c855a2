//! A disk in memory that can lose power, fill up and fail, all decided by the test.
//!
//! ```text
//!   write ──► what the process reads back      (the page cache)
//!   sync  ──► what a power cut leaves          (the platter)
//! ```
//!
//! [`SimFs::power_cut`] makes the disk that the next start would find: of each file what was synced, and of each write
//! since then any of its sectors or none, in any combination, as a real disk may leave it. Names that were created or
//! removed without [`Fs::sync_dir`] may or may not be there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::fs::{File, Fs};

/// What a disk writes whole.
const SECTOR: usize = 512;

/// A simulated file system. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimFs(Arc<(Mutex<Disk>, Condvar)>);

/// An operation that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// [`File::write_at`].
    Write,
    /// [`File::sync`].
    Sync,
    /// [`File::set_len`].
    SetLen,
    /// [`Fs::open`] with `create`.
    Create,
    /// [`Fs::sync_dir`].
    SyncDir,
}

#[derive(Default)]
struct Disk {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    locks: BTreeSet<PathBuf>,
    next_inode: u64,
    /// The most bytes that all files together may have.
    capacity: Option<u64>,
    /// How often each operation was called.
    calls: BTreeMap<Op, u64>,
    /// The call (by count) from which on an operation fails, whether once only, and how.
    faults: BTreeMap<Op, (u64, bool, io::ErrorKind)>,
    /// While set, syncs wait.
    hold_syncs: bool,
    /// How many syncs wait.
    held: usize,
    /// How many of them need not wait any longer.
    passes: usize,
}

#[derive(Clone, Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Pending {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl SimFs {
    /// An empty disk without limits.
    pub fn new() -> SimFs {
        SimFs::default()
    }

    /// The disk as a start after a power cut at this moment finds it. The same seed decides the same.
    pub fn power_cut(&self, seed: u64) -> SimFs {
        let disk = self.disk();
        let mut random = Random::new(seed);
        let mut after = Disk { next_inode: disk.next_inode, ..Disk::default() };
        let paths: BTreeSet<&PathBuf> = disk.names.keys().chain(disk.durable_names.keys()).collect();
        for path in paths {
            let (now, durable) = (disk.names.get(path), disk.durable_names.get(path));
            let kept = if now == durable || random.below(2) == 0 { now } else { durable };
            if let Some(inode) = kept {
                after.names.insert(path.clone(), *inode);
            }
        }
        after.durable_names = after.names.clone();
        for number in after.names.values() {
            let data = disk.inodes[number].after_power_cut(&mut random);
            after.inodes.insert(*number, Inode { durable: data.clone(), data, pending: Vec::new() });
        }
        SimFs(Arc::new((Mutex::new(after), Condvar::new())))
    }

    /// The disk as a start after the process was killed finds it: all that was written is there.
    pub fn kill(&self) -> SimFs {
        let disk = self.disk();
        let copy = Disk {
            inodes: disk.inodes.clone(),
            names: disk.names.clone(),
            durable_names: disk.durable_names.clone(),
            next_inode: disk.next_inode,
            ..Disk::default()
        };
        SimFs(Arc::new((Mutex::new(copy), Condvar::new())))
    }

    /// Limits the bytes of all files together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes
    }

    /// The bytes of all files together.
    pub fn used(&self) -> u64 {
        self.disk().used()
    }

    /// Makes the `nth` call from now (0: the next one) of an operation fail, once or from then on.
    pub fn inject(&self, op: Op, nth: u64, once: bool, error: io::ErrorKind) {
        let mut disk = self.disk();
        let at = disk.calls.get(&op).copied().unwrap_or(0) + nth;
        disk.faults.insert(op, (at, once, error));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.disk().faults.clear()
    }

    /// How often an operation was called.
    pub fn calls(&self, op: Op) -> u64 {
        self.disk().calls.get(&op).copied().unwrap_or(0)
    }

    /// Lets syncs wait (or go on).
    pub fn hold_syncs(&self, hold: bool) {
        self.disk().hold_syncs = hold;
        self.0.1.notify_all();
    }

    /// Whether a sync waits.
    pub fn holds_sync(&self) -> bool {
        let disk = self.disk();
        disk.held > disk.passes
    }

    /// Lets one of the syncs that wait go on.
    pub fn pass_sync(&self) {
        self.disk().passes += 1;
        self.0.1.notify_all();
    }

    /// Waits until a sync waits.
    pub fn await_held_sync(&self) {
        let mut disk = self.disk();
        while disk.held == 0 {
            disk = self.0.1.wait(disk).expect("no test panics while it holds the disk");
        }
    }

    /// A file's bytes as the process sees them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.names.get(path).map(|inode| disk.inodes[inode].data.clone())
    }

    /// Changes a file's bytes behind the process's back, durably.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let number = disk.names[path];
        let inode = disk.inodes.get_mut(&number).expect("names have inodes");
        change(&mut inode.data);
        inode.durable = inode.data.clone();
        inode.pending.clear();
    }

    /// The files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.disk().names.keys().cloned().collect()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.0.lock().expect("no test panics while it holds the disk")
    }
}

impl Disk {
    fn used(&self) -> u64 {
        self.names.values().map(|i| self.inodes[i].data.len() as u64).sum()
    }

    fn call(&mut self, op: Op) -> io::Result<()> {
        let count = self.calls.entry(op).or_insert(0);
        let this = *count;
        *count += 1;
        match self.faults.get(&op) {
            Some((at, true, error)) if this == *at => Err((*error).into()),
            Some((at, false, error)) if this >= *at => Err((*error).into()),
            _ => Ok(()),
        }
    }
}

impl Inode {
    fn after_power_cut(&self, random: &mut Random) -> Vec<u8> {
        let mut data = self.durable.clone();
        for pending in &self.pending {
            match (pending, random.below(4)) {
                (_, 0) => {}
                (Pending::SetLen(len), _) => data.resize(*len, 0),
                (Pending::Write(at, bytes), choice) => {
                    let end = at + bytes.len();
                    if data.len() < end {
                        data.resize(end, 0);
                    }
                    // The parts of a write that share a sector are written together.
                    let mut from = *at;
                    while from < end {
                        let to = end.min((from / SECTOR + 1) * SECTOR);
                        if choice == 1 || random.below(2) == 0 {
                            data[from..to].copy_from_slice(&bytes[from - at..to - at]);
                        }
                        from = to;
                    }
                }
            }
        }
        data
    }
}

struct SimFile {
    fs: SimFs,
    inode: u64,
}

impl SimFile {
    fn with<T>(&self, f: impl FnOnce(&mut Inode) -> T) -> T {
        f(self.fs.disk().inodes.get_mut(&self.inode).expect("inodes are not reused"))
    }
}

impl Fs for SimFs {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk();
        if create {
            disk.call(Op::Create)?;
            if disk.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let number = disk.next_inode;
            disk.next_inode += 1;
            disk.inodes.insert(number, Inode::default());
            disk.names.insert(path.to_owned(), number);
        }
        let inode = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { fs: self.clone(), inode }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        let names = disk.names.keys().filter(|p| p.parent() == Some(dir));
        Ok(names.filter_map(|p| p.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk().names.remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call(Op::SyncDir)?;
        disk.durable_names.retain(|path, _| path.parent() != Some(dir));
        let here = disk.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let here: Vec<_> = here.map(|(path, inode)| (path.clone(), *inode)).collect();
        disk.durable_names.extend(here);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        if !self.disk().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock(self.clone(), path.to_owned())))
    }

    fn real_path(&self, _path: &Path) -> Option<PathBuf> {
        None
    }
}

struct SimLock(SimFs, PathBuf);

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.disk().locks.remove(&self.1);
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|inode| inode.data.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        Ok(self.with(|inode| {
            let rest = inode.data.get(position as usize..).unwrap_or(&[]);
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            n
        }))
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let mut disk = self.fs.disk();
        disk.call(Op::Write)?;
        let free = disk.capacity.map_or(u64::MAX, |c| c.saturating_sub(disk.used()));
        let inode = disk.inodes.get_mut(&self.inode).expect("inodes are not reused");
        let at = position as usize;
        let room = (inode.data.len().saturating_sub(at) as u64).saturating_add(free);
        let n = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        if n == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if inode.data.len() < at + n {
            inode.data.resize(at + n, 0);
        }
        inode.data[at..at + n].copy_from_slice(&bytes[..n]);
        inode.pending.push(Pending::Write(at, bytes[..n].to_vec()));
        Ok(n)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.disk().call(Op::SetLen)?;
        self.with(|inode| {
            inode.data.resize(len as usize, 0);
            inode.pending.push(Pending::SetLen(len as usize));
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.fs.disk();
        disk.held += 1;
        self.fs.0.1.notify_all();
        while disk.hold_syncs && disk.passes == 0 {
            disk = self.fs.0.1.wait(disk).expect("no test panics while it holds the disk");
        }
        disk.held -= 1;
        disk.passes = disk.passes.saturating_sub(1);
        disk.call(Op::Sync)?;
        let inode = disk.inodes.get_mut(&self.inode).expect("inodes are not reused");
        // What was written since, not the whole file: tests append to large ones.
        for pending in std::mem::take(&mut inode.pending) {
            match pending {
                Pending::SetLen(len) => inode.durable.resize(len, 0),
                Pending::Write(at, bytes) => {
                    let end = at + bytes.len();
                    if inode.durable.len() < end {
                        inode.durable.resize(end, 0);
                    }
                    inode.durable[at..end].copy_from_slice(&bytes);
                }
            }
        }
        Ok(())
    }
}

/// Numbers that a seed decides (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next_u64() % n
    }
}
