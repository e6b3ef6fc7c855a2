//! What the loop is told, by sessions and by everything that runs.

use std::sync::Arc;
use std::time::Instant;

use plan::RelationExpr;
use repr::{Diff, GlobalId, RelationDesc, Row, RowBlock, SqlError, Timestamp};
use sql::plan::{CreatePlan, SecretValue};
use tokio::sync::{mpsc, oneshot};

/// The one queue of the loop.
pub enum Command {
    /// The tables in this schema of a session go.
    DropTemporary(String),
    /// A reader says something. `epoch` tells readers of one source apart.
    Source {
        /// The source.
        id: GlobalId,
        /// Which of its readers.
        epoch: u64,
        /// What.
        event: source::Event,
    },
    /// A sink says something.
    Sink {
        /// The sink.
        id: GlobalId,
        /// Which of its runs.
        epoch: u64,
        /// What.
        said: sink::feed::Said,
    },
    /// Requests were refused, and are to be stored.
    Refused,
    /// Rows of a sink's errors relation are sent again; the answer: how many go, and how many cannot.
    Replay {
        /// The sink.
        id: GlobalId,
        /// The rows.
        letters: Vec<Row>,
        /// Before they were read.
        began: Instant,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(usize, usize), SqlError>>,
    },
    /// A worker says something.
    Dataflow(dataflow::Response),
    /// Storage's answer about the oldest group that it had not answered.
    Appended(Result<(), storage::StorageError>),
    /// A query.
    Read(Box<Read>),
    /// Its asker has gone.
    CancelRead(u64),
    /// Somebody has waited for a read: why?
    WhyWaiting {
        /// What it reads.
        ids: Vec<GlobalId>,
        /// When.
        time: Timestamp,
        /// Notices.
        reply: oneshot::Sender<Vec<SqlError>>,
    },
    /// How far sources are durable.
    Offsets(Vec<GlobalId>, oneshot::Sender<Vec<std::collections::BTreeMap<i32, i64>>>),
    /// Tells when sources are durable up to these offsets, or are gone.
    AwaitOffsets(crate::recency::Targets, oneshot::Sender<()>),
    /// `EXPLAIN WHY` of an object.
    Why(GlobalId, oneshot::Sender<Vec<crate::why::Part>>),
    /// New rows of a table.
    Write {
        /// The table and its rows.
        rows: Vec<(GlobalId, RowBlock)>,
        /// When it is durable: at which time.
        reply: oneshot::Sender<Result<Timestamp, SqlError>>,
    },
    /// A subscription.
    Subscribe(Box<Subscribe>),
    /// Its reader has gone.
    CancelSubscribe(GlobalId),
    /// Changes of the catalog, and rows that come with them: all at one time, or none.
    Ddl {
        /// The version they were planned against.
        version: u64,
        /// What to do, in order.
        changes: Vec<Ddl>,
        /// New rows of tables.
        rows: Vec<(GlobalId, RowBlock)>,
        /// When all is durable: true. False: the catalog is no longer of this version, and nothing was done.
        reply: oneshot::Sender<Result<bool, SqlError>>,
    },
    /// A transaction holds this time readable (or lets it go).
    Hold(Timestamp, bool),
    /// A table of what runs, for introspection outside a query (metrics).
    Metrics(oneshot::Sender<Vec<(String, f64)>>),
    /// The end.
    Shutdown(oneshot::Sender<()>),
}

/// Changes of the catalog.
#[derive(Debug)]
pub enum Ddl {
    /// A new object. `start_offsets`: resolved for a Kafka source.
    Create {
        /// The plan.
        plan: Box<CreatePlan>,
        /// Where partitions start.
        start_offsets: std::collections::BTreeMap<i32, i64>,
        /// The `apply` that makes it: its name and the hash of the text.
        applied: Option<(String, String)>,
    },
    /// A new schema.
    CreateSchema {
        /// Where.
        database: String,
        /// Its name.
        schema: String,
    },
    /// Objects go, dependants first; then the schema, if one goes.
    Drop {
        /// The objects.
        ids: Vec<GlobalId>,
        /// (database, schema).
        schema: Option<(String, String)>,
    },
    /// A new value of a secret.
    AlterSecret {
        /// Which.
        id: GlobalId,
        /// The value.
        value: SecretValue,
    },
    /// Objects get other names, and their statements and those of their dependants are as they must be then.
    Rename {
        /// The objects, with what belongs to them.
        names: Vec<(GlobalId, sql::ObjectName)>,
        /// Statements.
        statements: Vec<(GlobalId, String)>,
    },
    /// A source gets another definition of its rows over the same records.
    AlterSource {
        /// Which.
        id: GlobalId,
        /// As it would be created.
        plan: Box<CreatePlan>,
    },
    /// A source goes on behind records that are gone.
    SkipGap(GlobalId),
    /// `COMMENT ON`.
    Comment {
        /// Of what.
        id: GlobalId,
        /// Of which column.
        column: Option<usize>,
        /// None removes it.
        text: Option<String>,
    },
}

/// A query that is ready to run but for its timestamp.
pub struct Read {
    /// Chosen by [`crate::coordinator::Handle::next_number`]; cancels it.
    pub number: u64,
    /// The catalog's version when it was planned.
    pub version: u64,
    /// What to read; may hold [`plan::scalar::Context::MzNow`].
    pub relation: RelationExpr,
    /// Exactly this time, or at least it.
    pub as_of: Option<(Timestamp, bool)>,
    /// No more than so many rows are needed, in any order.
    pub limit: Option<usize>,
    /// What built-in relations say of the session that asks.
    pub session: Arc<crate::introspection::SessionInfo>,
    /// The answer: the time, and rows with counts as they come. `None`: plan again, the catalog has changed.
    pub reply: oneshot::Sender<Result<Option<Answer>, SqlError>>,
}

/// A query's answer.
pub struct Answer {
    /// The time it was read at.
    pub time: Timestamp,
    /// What of it may be out of date: sources that get nothing.
    pub notices: Vec<SqlError>,
    /// Rows with counts, in batches, without order; ends with an error or just ends.
    pub rows: mpsc::Receiver<Result<Vec<(Row, Diff)>, SqlError>>,
}

/// A subscription that is ready to run.
pub struct Subscribe {
    /// The catalog's version when it was planned.
    pub version: u64,
    /// What to follow.
    pub relation: RelationExpr,
    /// Its columns.
    pub desc: RelationDesc,
    /// Whether the rows at the start come.
    pub snapshot: bool,
    /// Whether the reader wants to hear of time that passes without changes.
    pub progress: bool,
    /// From exactly this time, or at least it.
    pub as_of: Option<(Timestamp, bool)>,
    /// Until this time, exclusive.
    pub up_to: Option<Timestamp>,
    /// What built-in relations say of the session that asks.
    pub session: Arc<crate::introspection::SessionInfo>,
    /// The answer: its identity (to cancel it), its first time, and its changes. `None`: plan again.
    pub reply: oneshot::Sender<Result<Option<Subscribed>, SqlError>>,
}

/// A running subscription.
pub struct Subscribed {
    /// To cancel it.
    pub id: GlobalId,
    /// The time of its snapshot.
    pub as_of: Timestamp,
    /// Changes, time by time. Ends when the subscription does.
    pub changes: mpsc::Receiver<Changes>,
    /// How far the reader is behind, and why the subscription ended.
    pub lag: Arc<crate::subscriptions::Lag>,
}

/// The changes of some times, and the promise that no more come for them.
#[derive(Debug)]
pub struct Changes {
    /// Rows with diffs, per time, consolidated.
    pub rows: Vec<(Timestamp, RowBlock)>,
    /// How many bytes of them count as lag until they are taken.
    pub counted: usize,
    /// All times before this are complete; `u64::MAX` at the end of a finite subscription.
    pub upto: Timestamp,
}
