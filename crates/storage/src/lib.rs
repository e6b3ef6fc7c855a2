//! What survives a restart: the log, its sled index, recovery.
//!
//! Whatever the engine must not forget goes through [`Storage::append`] as a [`FrameGroup`]: the rows that one tick
//! brought to each *shard* (the stored content of a source, table or materialized view), the offsets they came from, and
//! what changed in the catalog. A group is written whole or not at all.
//!
//! ```text
//!   append ──► encode thread ──► log thread ─────────────► done(Ok)
//!   (a tick)   rows → blocks,    one write a group, one
//!              lz4, checksums    fdatasync for all that queued up meanwhile
//!                                     │
//!                                     ▼
//!   000001.log  [checkpoint][data][data][commit][data][commit]…[footer]      sealed: read by its footer
//!   000002.run  [data][data]…[footer]                                        what was left of older files
//!   000003.log  [checkpoint][data][commit]…[swap]…                           written to
//!   index/      sled: manifest, catalog, progress                            rebuilt from the log when in doubt
//! ```
//!
//! The log is the truth. Every log file begins with a *checkpoint* of all that is not rows, so a start reads the last one
//! only: its checkpoint, the headers of its frames, its commits. Rows are read when somebody scans them. What drops and
//! retractions leave behind is given back by background work (`compact.rs`), which writes *runs* beside the log.
//!
//! What always holds: nothing is acknowledged, visible to [`Storage::scan`] or counted in a shard's `upper` before it is
//! durable; bytes that once were durable and no longer fit are reported as [`StorageError::Damaged`], never skipped;
//! after a failed write or sync nothing more is accepted until the next start has looked at what the disk really holds.
//!
//! The byte layout is drawn in `FORMAT.md` beside this crate. SQL, plans and dataflows are unknown here.

mod codec;
mod compact;
pub mod error;
mod frame;
pub mod fs;
mod group;
mod index;
pub mod inspect;
mod log;
mod recovery;
mod scan;
mod sealed;
pub mod segment;
pub mod sim;
mod state;
mod storage;

pub use error::StorageError;
pub use frame::VERSION as FORMAT_VERSION;
pub use fs::{File, Fs, RealFs};
pub use group::{BlockKind, FrameGroup, ShardId, ShardUpdate};
pub use log::Compaction;
pub use scan::Scan;
pub use state::ShardState;
pub use storage::{Location, Options, Recovered, Storage};
