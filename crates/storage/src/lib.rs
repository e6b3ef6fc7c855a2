//! What survives a restart: the log, its sled index, recovery.

pub mod error;
pub mod fs;
pub mod segment;
pub mod sim;

pub use error::StorageError;
pub use fs::{File, Fs, RealFs};
