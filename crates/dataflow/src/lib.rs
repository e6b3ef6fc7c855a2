//! Plans to running operators: workers, arrangements, peeks, subscriptions.
//!
//! Timely's types do not leave this crate. Nothing above knows how many workers there are: commands go to all workers in
//! one order, responses come back merged.
//!
//! ```text
//!            Command ─► client ─► worker ─► render: operators ─► output ─► worker ─► client: merged ─► Response
//!                                   │  ▲                            │
//!   Tick, History ─► hub: one scan ─┘  └───── materialized views ───┘
//! ```
//!
//! | module | does |
//! |---|---|
//! | `client` | starts workers, sends commands to all, merges their responses |
//! | `worker` | a worker's loop: commands, peeks, steps |
//! | `hub` | stored collections outside the dataflows: one scan of a tick for all readers |
//! | `render` | plans to operators |
//! | `output` | what becomes of a dataflow's output |
//! | `arrangement` | rows by key in contiguous memory |
//! | `work` | how much operators do and keep, in rows |
//! | `guard` | panics: of an expression an error, of anything else the end |

mod arrangement;
mod client;
mod guard;
mod hub;
mod output;
mod render;
pub mod work;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plan::mfp::Mfp;
use plan::{RelationExpr, ScalarExpr};
use repr::{ColumnType, Diff, EvalError, GlobalId, Row, RowBlock, Timestamp};

/// The running workers. Dropping it stops them.
pub struct Dataflows(client::Workers);

/// What is asked of the workers. Every worker gets every command, in one order.
pub enum Command {
    /// Announces a stored collection (a source's raw records, a table, a materialized view): opens its hub.
    CreateCollection {
        /// Its identity.
        id: GlobalId,
        /// Its columns.
        typ: Vec<ColumnType>,
        /// Whether it only grows.
        append_only: bool,
        /// For raw records of a source: the columns that say where a record came from (partition, offset).
        origin: Option<(usize, usize)>,
    },
    /// Builds a dataflow. Each stored input that it needs is announced by [`Response::Installed`]… its history comes by
    /// [`Command::History`], its future by [`Command::Tick`] (the ticks that are sent after the dataflow is installed).
    Install(Box<DataflowDesc>),
    /// History of one input of one dataflow: blocks of times up to its `as_of`, or up to the last tick that was sent before
    /// the dataflow was installed, if that is later. Shared out among workers.
    History {
        /// The dataflow.
        dataflow: GlobalId,
        /// The stored collection.
        input: GlobalId,
        /// Rows (or error rows) and their time.
        blocks: Vec<(Timestamp, bool, Arc<RowBlock>)>,
        /// No more is to come.
        done: bool,
    },
    /// One tick: new data of stored collections that come from outside (sources and tables), and the promise that all
    /// times up to `time` are complete for them. Materialized views follow by themselves.
    Tick {
        /// Its timestamp, greater than every one before.
        time: Timestamp,
        /// New rows, block by block.
        blocks: Vec<(GlobalId, Arc<RowBlock>)>,
    },
    /// Reads an arrangement at a time; answered by [`Response::Peek`] once its frontier has passed that time.
    Peek {
        /// Chosen by the asker.
        peek: u64,
        /// An object with an arrangement (index, or materialized view with an arranged output).
        id: GlobalId,
        /// When.
        time: Timestamp,
        /// Only these keys of the arrangement (packed as its key); none: all.
        keys: Option<Vec<Row>>,
        /// Applied to the row (arranged columns as the object's own columns).
        mfp: Box<Mfp>,
        /// No more than so many rows are needed (before any ordering).
        limit: Option<usize>,
    },
    /// Forgets a peek.
    CancelPeek(u64),
    /// Times before `since` need no longer be told apart in this object's arrangement.
    AllowCompaction {
        /// The object.
        id: GlobalId,
        /// The new least readable time.
        since: Timestamp,
    },
    /// Takes a dataflow down (its objects are gone, nobody imports it).
    Drop(GlobalId),
    /// Forgets a stored collection.
    DropCollection(GlobalId),
}

/// A dataflow to build: one plan, one output.
pub struct DataflowDesc {
    /// The object that it computes; its name in all commands.
    pub id: GlobalId,
    /// For errors and logs.
    pub name: String,
    /// What it computes. Every `Get` names a stored collection or an object with an arrangement.
    pub plan: RelationExpr,
    /// The time from which its output is right. History is collapsed to it.
    pub as_of: Timestamp,
    /// Stop after times before this (one-off queries: `as_of + 1`).
    pub until: Option<Timestamp>,
    /// What becomes of the output.
    pub output: Output,
    /// Of stateless resumed views: emit nothing at or before this time; the input's history begins after it.
    pub resume_after: Option<Timestamp>,
    /// Set when it is dropped.
    pub dropped: Dropped,
}

/// Tells operators in the middle of a long piece of work that nobody wants it any more: they then make nothing more. The
/// worker takes the command that drops the dataflow only behind that work.
#[derive(Clone, Debug, Default)]
pub struct Dropped(Arc<AtomicBool>);

impl Dropped {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What becomes of a dataflow's output.
pub enum Output {
    /// Arranged in memory by a key; read by peeks and imported by other dataflows.
    Index {
        /// The object that is indexed.
        on: GlobalId,
        /// The key over its columns.
        key: Vec<ScalarExpr>,
    },
    /// A materialized view: its changes feed the dataflows that read it, and go to storage by [`Response::Changes`].
    /// `arrange`: also hold the rows in memory, for peeks.
    Materialized {
        /// Whether the output is arranged.
        arrange: bool,
        /// What storage already holds at `as_of`, so that only the difference is emitted: blocks of its shard come by
        /// [`Command::History`] with `input` = the view itself.
        reconcile: bool,
    },
    /// Changes to a subscriber by [`Response::Changes`], `as_of` collapsed to one snapshot if wanted.
    Subscribe {
        /// Whether the rows at `as_of` come too.
        snapshot: bool,
    },
    /// The rows at `as_of`, by [`Response::Peek`] with this number; then the dataflow is gone.
    Once(u64),
}

/// What workers say, merged over all of them. Called on a worker's thread: must not block.
pub type OnResponse = Box<dyn Fn(Response) + Send + Sync>;

/// What comes back.
pub enum Response {
    /// The outputs (arrangement, materialized view, subscription) are complete for all times before these.
    Frontiers(Vec<(GlobalId, Timestamp)>),
    /// The answer to a peek or a one-off query: rows with their counts, or the least of the errors.
    Peek(u64, Result<Vec<(Row, Diff)>, EvalError>),
    /// Changes of a materialized view or subscription: complete for all times before `upto`, consolidated per time.
    Changes {
        /// The view or subscription.
        id: GlobalId,
        /// Rows by time.
        rows: Vec<(Timestamp, RowBlock)>,
        /// Error rows (see [`EvalError::to_row`]) by time.
        errors: Vec<(Timestamp, RowBlock)>,
        /// The frontier.
        upto: Timestamp,
    },
    /// The dataflow is built on every worker. Once for each install, before anything else of it.
    Installed {
        /// The dataflow.
        id: GlobalId,
        /// The stored collections whose history it waits for: for each send [`Command::History`] until `done`. Others
        /// are read from arrangements that exist. (History of a collection that is not listed is ignored.) A
        /// reconciled view lists itself.
        needs: Vec<GlobalId>,
    },
    /// The next time at which rows come or go by the clock alone: a tick is needed then. None: not as far as is known.
    Deadline(Option<Timestamp>),
    /// The dataflow is gone.
    Dropped(GlobalId),
}
