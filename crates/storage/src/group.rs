//! What one tick hands over to be made durable.

use std::fmt;
use std::sync::Arc;

use repr::{RowBlock, Timestamp};

/// The stored content of one source, table or view. Numbers are given by the caller and may be used again after a drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u64);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which of a collection's two halves a block belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockKind {
    /// Rows.
    Rows,
    /// Rows that stand for errors.
    Errors,
}

/// New rows of one shard.
#[derive(Clone, Debug)]
pub struct ShardUpdate {
    /// Where they belong.
    pub shard: ShardId,
    /// Rows or errors.
    pub kind: BlockKind,
    /// The rows with their diffs. Large blocks are cut into several.
    pub block: Arc<RowBlock>,
}

/// Everything that becomes durable at once: all of it, or after a crash nothing of it.
#[derive(Clone, Debug, Default)]
pub struct FrameGroup {
    /// The time of the updates.
    pub time: Timestamp,
    /// New rows. A shard's times should not fall from group to group. `upper` of each rises to `time + 1`.
    pub updates: Vec<ShardUpdate>,
    /// How far each source had read: the next offset to read, by partition. Others keep theirs.
    pub progress: Vec<(u64, Vec<(i32, i64)>)>,
    /// Shards that are complete below a time, beyond those that `updates` names. Creates shards.
    pub uppers: Vec<(ShardId, Timestamp)>,
    /// Shards that nobody will read before a time again.
    pub sinces: Vec<(ShardId, Timestamp)>,
    /// Catalog entries that are set, or (none) removed.
    pub catalog: Vec<(String, Option<Vec<u8>>)>,
    /// Shards that go, after the updates of the group.
    pub drop_shards: Vec<ShardId>,
    /// Sources whose progress is forgotten, before `progress` of the group counts.
    pub drop_progress: Vec<u64>,
    /// All timestamps given out lie below this mark.
    pub oracle_mark: Option<Timestamp>,
}
