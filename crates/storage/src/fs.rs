//! The files that storage stands on, behind a trait so that tests can pull the plug.
//!
//! Reads and writes name their position; there is no cursor and no buffering. What a method returns says nothing about
//! durability, except for [`File::sync`] (the file's bytes and length) and [`Fs::sync_dir`] (names that were created,
//! renamed or removed in a directory).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system, as far as a log needs one.
pub trait Fs: Send + Sync {
    /// Creates a directory and its parents, readable by the owner only. It may exist.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Opens a file for reading and writing; with `create`, a new one that must not exist yet.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>>;

    /// Opens a file that is there and will not be changed.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path, false)
    }

    /// The names of the files and directories in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Removes a file. Who has it open can read it still.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes an exclusive lock that ends with the guard or the process; `WouldBlock` when somebody has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// Keeps others from taking the lock, without a trace on disk; `WouldBlock` when somebody has it.
    fn lock_to_read(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.lock(path)
    }

    /// Where the path is for code that opens files by itself (sled), if it is anywhere.
    fn real_path(&self, path: &Path) -> Option<PathBuf>;
}

/// Makes a directory's own name durable, in its parent.
pub(crate) fn sync_parent(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => fs.sync_dir(Path::new(".")),
        Some(parent) => fs.sync_dir(parent),
        None => Ok(()),
    }
}

/// An open file.
pub trait File: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads up to `buffer.len()` bytes at a position; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes some of the bytes at a position and says how many.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize>;

    /// Cuts the file off, or extends it by zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes bytes and length durable (`fdatasync`). After an error nothing is known about what was written.
    fn sync(&self) -> io::Result<()>;

    /// Reads exactly `buffer.len()` bytes; `UnexpectedEof` where the file is shorter.
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], position + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes all bytes: one system call, unless the system takes less.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match self.write_at(&bytes[done..], position + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// The machine's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(create).mode(0o600).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(fs::File::open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // Names that are not UTF-8 are not ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        // Who holds the lock is told to whom it is refused.
        file.set_len(0)?;
        file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)?;
        Ok(Box::new(file))
    }

    fn lock_to_read(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        match fs::File::open(path) {
            Ok(file) => {
                rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared)?;
                Ok(Box::new(file))
            }
            // A copy need not have it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Box::new(())),
            Err(e) => Err(e),
        }
    }

    fn real_path(&self, path: &Path) -> Option<PathBuf> {
        Some(path.to_owned())
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        FileExt::write_at(&self.0, bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
