//! What can go wrong between the engine and its disk, told apart by what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why storage could not do what it was asked. Cloned to all that wait for one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// Another process, or another handle in this one, has the directory.
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as the lock file tells.
        pid: Option<u32>,
    },
    /// Bytes that were durable are not what was written. Never repaired by guessing.
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it the damage was noticed, in bytes from its start.
        offset: u64,
        /// What does not fit.
        what: String,
    },
    /// The file was written by another version of the format.
    Version {
        /// The file.
        file: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// No space: nothing of the write is kept, and a later one may succeed.
    DiskFull {
        /// The file that could not grow.
        file: PathBuf,
    },
    /// A write or an fsync failed. What the disk holds is unknown until the next start replays it, so nothing more is
    /// accepted, and the process should end.
    SyncFailed {
        /// The file.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Any other failure of the file system.
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The storage was closed.
    Closed,
}

impl StorageError {
    /// The process's exit code if it cannot go on: 5 locked or damaged, 74 the disk failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } | Self::Damaged { .. } | Self::Version { .. } => 5,
            Self::DiskFull { .. } | Self::SyncFailed { .. } | Self::Io { .. } | Self::Closed => 74,
        }
    }

    /// Whether nothing more can be written until the process is started again.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::DiskFull { .. })
    }

    /// An error of the system while attempting something on a file.
    pub(crate) fn io(attempt: &'static str, path: &Path, e: &io::Error) -> StorageError {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { file: path.to_owned() }
            }
            _ => Self::Io { attempt, path: path.to_owned(), reason: e.to_string() },
        }
    }

    /// Like [`StorageError::io`] where a failure leaves the file's content unknown.
    pub(crate) fn sync(path: &Path, e: &io::Error) -> StorageError {
        Self::SyncFailed { file: path.to_owned(), reason: e.to_string() }
    }

    pub(crate) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> StorageError {
        Self::Damaged { file: path.to_owned(), offset, what: what.into() }
    }
}

impl std::error::Error for StorageError {}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path, pid: Some(pid) } => {
                write!(
                    f,
                    "{} is locked by process {pid}: one process at a time may use a data directory",
                    path.display()
                )
            }
            Self::Locked { path, pid: None } => {
                write!(f, "{} is locked: one process at a time may use a data directory", path.display())
            }
            Self::Damaged { file, offset, what } => {
                write!(f, "{} is damaged at byte {offset}: {what}", file.display())
            }
            Self::Version { file, found, known } => {
                write!(
                    f,
                    "{} has format version {found}, this program knows versions up to {known}",
                    file.display()
                )
            }
            Self::DiskFull { file } => write!(f, "no space left to write {}", file.display()),
            Self::SyncFailed { file, reason } => {
                write!(
                    f,
                    "writing {} failed: {reason}; what is durable is decided at the next start",
                    file.display()
                )
            }
            Self::Io { attempt, path, reason } => write!(f, "cannot {attempt} {}: {reason}", path.display()),
            Self::Closed => write!(f, "storage is closed"),
        }
    }
}
