//! What statements mean, ready to be carried out.

use std::time::Duration;

use plan::{ColumnOrder, RelationExpr, ScalarExpr};
use repr::{GlobalId, RelationDesc, ScalarType, SqlError};

use crate::catalog::{ItemKind, ObjectName};

/// A statement, resolved.
#[derive(Clone, Debug)]
pub enum Plan {
    /// A query whose rows go to the client.
    Select(SelectPlan),
    /// `SUBSCRIBE`, `TAIL`.
    Subscribe(SubscribePlan),
    /// `COPY (…) TO STDOUT`, of a query or a subscription.
    CopyTo {
        /// `Select` or `Subscribe`.
        from: Box<Plan>,
        /// How rows are written.
        format: CopyFormat,
    },
    /// `COPY t FROM STDIN`.
    CopyFrom {
        /// The table.
        table: GlobalId,
        /// For each column of the input: its position in the table.
        columns: Vec<usize>,
        /// What the table's other columns are, where they have a default.
        defaults: Vec<(usize, ScalarExpr)>,
        /// What is to be read.
        format: CopyFormat,
    },
    /// `INSERT`: rows in the table's column order.
    Insert {
        /// The table.
        table: GlobalId,
        /// What to insert, already cast, with defaults, in the table's column order.
        rows: Box<SelectPlan>,
        /// Columns to return, over the inserted row.
        returning: Option<(Vec<ScalarExpr>, RelationDesc)>,
    },
    /// `UPDATE` and `DELETE`: for each row of `selection` (the table's columns, then the new row's columns if
    /// `update`, then those of a partner that `returning` may show), the old one goes and the new one comes.
    ReadThenWrite {
        /// The table.
        table: GlobalId,
        /// The rows it concerns.
        selection: Box<SelectPlan>,
        /// Whether new values follow the old ones.
        update: bool,
        /// Columns to return, over the new row, or the deleted one, and the partner's columns.
        returning: Option<(Vec<ScalarExpr>, RelationDesc)>,
    },
    /// `TRUNCATE`: tables, and all their rows.
    Truncate(Vec<(GlobalId, Box<SelectPlan>)>),
    /// Any `CREATE` of an object.
    Create(Box<CreatePlan>),
    /// `CREATE TABLE … AS`: the table, then its rows.
    CreateTableAs {
        /// Its name, columns and text.
        create: Box<CreatePlan>,
        /// The rows; none: `WITH NO DATA`.
        rows: Option<Box<SelectPlan>>,
    },
    /// `CREATE SCHEMA`.
    CreateSchema {
        /// Where.
        database: String,
        /// Its name.
        schema: String,
        /// Whether an existing one is fine.
        if_not_exists: bool,
    },
    /// `DROP` of objects (dependants included if CASCADE was said, in an order in which they can go).
    Drop {
        /// What to drop, dependants first.
        ids: Vec<GlobalId>,
        /// The kind, for the command tag.
        kind: &'static str,
    },
    /// `DROP SCHEMA`.
    DropSchema {
        /// Where.
        database: String,
        /// Its name.
        schema: String,
        /// The objects to go with it, dependants first.
        ids: Vec<GlobalId>,
    },
    /// `ALTER … RENAME TO | SET SCHEMA | SWAP WITH`: objects, and their new names.
    Rename {
        /// Each once; a name may be one that another of them has now.
        renames: Vec<(GlobalId, ObjectName)>,
        /// The command tag.
        tag: String,
    },
    /// `ALTER SCHEMA … RENAME TO`.
    RenameSchema {
        /// Where.
        database: String,
        /// The name now.
        from: String,
        /// The new name.
        to: String,
        /// Its objects, and their new names.
        renames: Vec<(GlobalId, ObjectName)>,
    },
    /// `SELECT pg_sleep(seconds)`, or `mz_sleep`, without anything else.
    Sleep(ScalarExpr, RelationDesc),
    /// `RESET ALL`.
    ResetAll,
    /// `ALTER SECRET`: the new value.
    AlterSecret {
        /// Which.
        id: GlobalId,
        /// The value.
        value: SecretValue,
    },
    /// `ALTER SINK … REPLAY ERRORS`: these rows of its errors relation.
    ReplayErrors {
        /// The sink.
        sink: GlobalId,
        /// Which.
        letters: Box<SelectPlan>,
    },
    /// `ALTER SOURCE … SKIP GAP`.
    SkipGap(GlobalId),
    /// `ALTER SOURCE … REPLAY ERRORS`.
    DecodeAgain {
        /// The source.
        id: GlobalId,
        /// The source with its new format or way with errors, if one is given.
        change: Option<Box<CreatePlan>>,
    },
    /// `VALIDATE CONNECTION`.
    ValidateConnection(GlobalId),
    /// `COMMENT ON`: recorded.
    Comment {
        /// Of what.
        id: GlobalId,
        /// Of which column, from 0.
        column: Option<usize>,
        /// None removes it.
        text: Option<String>,
    },
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `SAVEPOINT`.
    Savepoint(String),
    /// `RELEASE SAVEPOINT`.
    Release(String),
    /// `ROLLBACK TO SAVEPOINT`.
    RollbackTo(String),
    /// `SELECT set_config(name, value, is_local), …`: constants each.
    SetConfig(Vec<[ScalarExpr; 3]>, RelationDesc),
    /// `SET name = value`; none: its default.
    SetVariable {
        /// Lower case.
        name: String,
        /// As text.
        value: Option<String>,
        /// Until the transaction ends.
        local: bool,
    },
    /// `SHOW name`.
    ShowVariable(String),
    /// `SHOW ALL`.
    ShowAllVariables,
    /// `DECLARE name CURSOR FOR …`.
    Declare {
        /// The cursor.
        name: String,
        /// `Select` or `Subscribe`.
        query: Box<Plan>,
        /// Its columns.
        desc: RelationDesc,
    },
    /// `FETCH`.
    Fetch {
        /// The cursor.
        name: String,
        /// How many rows; none: all there are.
        count: Option<u64>,
        /// How long to wait for the first.
        timeout: Option<Duration>,
    },
    /// `CLOSE`; none: all.
    Close(Option<String>),
    /// `PREPARE`: the statement's text.
    Prepare {
        /// Its name.
        name: String,
        /// The statement.
        statement: crate::Statement,
        /// Declared parameter types.
        types: Vec<repr::ScalarType>,
    },
    /// `EXECUTE`, with constant arguments.
    Execute {
        /// The prepared statement.
        name: String,
        /// The arguments.
        arguments: Vec<ScalarExpr>,
    },
    /// `DEALLOCATE`; none: all.
    Deallocate(Option<String>),
    /// `DISCARD ALL` and kin.
    Discard,
    /// `EXPLAIN`: a text that is ready.
    Explain(String),
    /// `EXPLAIN WHY` of an object.
    ExplainWhy(GlobalId),
    /// `EXPLAIN TIMESTAMP`: when the query would be read.
    ExplainTimestamp {
        /// The query.
        select: Box<SelectPlan>,
        /// As JSON.
        json: bool,
    },
    /// Accepted, no effect; the notice says so. Carries the command tag.
    NoOp(&'static str),
    /// An empty statement.
    Empty,
}

/// A query, from which the coordinator makes a peek, a scan or a one-off dataflow.
#[derive(Clone, Debug)]
pub struct SelectPlan {
    /// Optimized but for what depends on execution ([`plan::scalar::Context`], parameters).
    pub relation: RelationExpr,
    /// What follows after the rows are there.
    pub finishing: Finishing,
    /// Names and types of the result (after `finishing.project`).
    pub desc: RelationDesc,
    /// `AS OF`: milliseconds.
    pub as_of: Option<AsOf>,
}

/// `AS OF [AT LEAST]`.
#[derive(Clone, Debug)]
pub struct AsOf {
    /// A constant (numeric, timestamp, mz_timestamp); may be a parameter or `now()`.
    pub time: ScalarExpr,
    /// At that time or later.
    pub at_least: bool,
}

/// The end of a query: order, limit, projection; done on the rows, outside the dataflow.
#[derive(Clone, Debug, Default)]
pub struct Finishing {
    /// Columns to append to each row, once for each time it occurs: calls that give another result each time.
    pub map: Vec<ScalarExpr>,
    /// In turn.
    pub order_by: Vec<ColumnOrder>,
    /// At most so many.
    pub limit: Option<u64>,
    /// After so many.
    pub offset: u64,
    /// Which columns the client sees.
    pub project: Vec<usize>,
    /// `LIMIT` where only the execution knows it (a parameter): a constant int8, NULL for none. `limit` is then none.
    pub limit_expr: Option<ScalarExpr>,
    /// The same for `OFFSET`.
    pub offset_expr: Option<ScalarExpr>,
}

/// A subscription.
#[derive(Clone, Debug)]
pub struct SubscribePlan {
    /// What is followed.
    pub relation: RelationExpr,
    /// Its columns (without `mz_timestamp` and the like).
    pub desc: RelationDesc,
    /// Whether the rows that are there come first.
    pub snapshot: bool,
    /// Whether progress rows are sent.
    pub progress: bool,
    /// From when.
    pub as_of: Option<AsOf>,
    /// Until when, exclusive: constant.
    pub up_to: Option<ScalarExpr>,
    /// In which form.
    pub output: SubscribeOutput,
}

/// How changes are shown.
#[derive(Clone, Debug)]
pub enum SubscribeOutput {
    /// `mz_timestamp, [mz_progressed,] mz_diff, columns`.
    Diffs,
    /// The same, each timestamp's rows in this order.
    WithinTimestampOrderBy(Vec<ColumnOrder>),
    /// `ENVELOPE UPSERT (KEY (…))`: positions of the key.
    Upsert(Vec<usize>),
    /// `ENVELOPE DEBEZIUM (KEY (…))`.
    Debezium(Vec<usize>),
}

/// How COPY writes or reads rows.
#[derive(Clone, Debug, PartialEq)]
pub enum CopyFormat {
    /// Postgres' text.
    Text {
        /// Between columns.
        delimiter: char,
        /// What NULL is.
        null: String,
    },
    /// CSV.
    Csv {
        /// Between columns.
        delimiter: char,
        /// Around values.
        quote: char,
        /// Before a quote inside.
        escape: char,
        /// What NULL is.
        null: String,
        /// Whether the first line is names.
        header: bool,
    },
    /// Postgres' binary.
    Binary,
}

/// A `CREATE`.
#[derive(Clone, Debug)]
pub struct CreatePlan {
    /// Its full name.
    pub name: ObjectName,
    /// The statement, canonical: full names, no `OR REPLACE`, `IF NOT EXISTS`; plans again to the same object.
    pub create_sql: String,
    /// An object of the name is to be replaced.
    pub replace: Option<GlobalId>,
    /// An object of the name is fine (then there is nothing to do, with a notice).
    pub if_not_exists: bool,
    /// Temporary: goes with the session.
    pub temporary: bool,
    /// What it uses, directly.
    pub uses: Vec<GlobalId>,
    /// `RETAIN HISTORY FOR`: how far back it can be read.
    pub retain_history: Option<std::time::Duration>,
    /// Its columns, if it has rows.
    pub desc: Option<RelationDesc>,
    /// What it is.
    pub item: CreateItem,
}

impl CreatePlan {
    /// The kind of object.
    pub fn kind(&self) -> ItemKind {
        match &self.item {
            CreateItem::Secret(_) => ItemKind::Secret,
            CreateItem::Connection { .. } => ItemKind::Connection,
            CreateItem::Source(_) => ItemKind::Source,
            CreateItem::Table { .. } => ItemKind::Table,
            CreateItem::View { .. } => ItemKind::View,
            CreateItem::MaterializedView { .. } => ItemKind::MaterializedView,
            CreateItem::Index { .. } => ItemKind::Index,
            CreateItem::Sink(_) => ItemKind::Sink,
            CreateItem::Type => ItemKind::Type,
        }
    }
}

/// The parts that differ by kind.
#[derive(Clone, Debug)]
pub enum CreateItem {
    /// A secret.
    Secret(SecretValue),
    /// A connection, and whether to try it now.
    Connection {
        /// Its options.
        connection: ConnectionPlan,
        /// `WITH (VALIDATE = …)`.
        validate: bool,
    },
    /// A source.
    Source(Box<SourcePlan>),
    /// A table.
    Table {
        /// Each column's default, as SQL text.
        defaults: Vec<Option<String>>,
    },
    /// A view: inlined where used.
    View {
        /// Its query, as SQL means it (to be inlined).
        hir: plan::hir::HirRelationExpr,
    },
    /// A materialized view: kept up to date and stored.
    MaterializedView {
        /// Its query, as SQL means it.
        hir: plan::hir::HirRelationExpr,
        /// Decorrelated and optimized, columns as in `desc`.
        relation: RelationExpr,
        /// Columns that must never be NULL (`ASSERT NOT NULL`).
        assert_not_null: Vec<usize>,
        /// What happens with rows that cannot be computed (`WITH (ON ERROR = …)`).
        on_error: OnError,
        /// Its errors relation over [`RAW_SELF`], which stands for the view itself.
        errors: (plan::hir::HirRelationExpr, RelationDesc),
    },
    /// An index.
    Index {
        /// On what.
        on: GlobalId,
        /// Its key over the object's columns.
        key: Vec<ScalarExpr>,
        /// The object's rows: a `Get` of a stored object, or the view's definition, optimized.
        relation: RelationExpr,
    },
    /// A sink.
    Sink(Box<SinkPlan>),
    /// A type. (The SQL issue fills it.)
    Type,
}

/// What happens with rows that cannot be computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Reading the object reports the error.
    #[default]
    Fail,
    /// They are left out and stand in the errors relation.
    Quarantine,
    /// The columns that cannot be computed are NULL.
    Null,
}

/// Where a secret's bytes come from.
#[derive(Clone)]
pub enum SecretValue {
    /// From the statement.
    Literal(Vec<u8>),
    /// From an environment variable, read when used.
    Env(String),
    /// From a file, read when used.
    File(String),
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// A text that may stand in a secret.
#[derive(Clone, Debug, PartialEq)]
pub enum StringOrSecret {
    /// As written.
    String(String),
    /// The secret with this identity.
    Secret(GlobalId),
}

/// A connection's options.
#[derive(Clone, Debug)]
pub enum ConnectionPlan {
    /// To a Kafka cluster.
    Kafka(KafkaConnectionPlan),
    /// To Segment's Tracking API.
    Segment(SegmentConnectionPlan),
}

/// `CREATE CONNECTION … TO SEGMENT`.
#[derive(Clone, Debug)]
pub struct SegmentConnectionPlan {
    /// The API; none: Segment's own.
    pub url: Option<String>,
    /// The secret that holds the write key.
    pub write_key: GlobalId,
    /// All its sinks together send so many requests in a second at most.
    pub rate: f64,
}

/// A sink: changes of a stored object go elsewhere.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// Whose changes.
    pub from: GlobalId,
    /// The connection.
    pub connection: GlobalId,
    /// Whether the rows that are there come first.
    pub snapshot: bool,
    /// Where to, and as what.
    pub into: SinkInto,
}

/// Where a sink's changes go.
#[derive(Clone, Debug)]
pub enum SinkInto {
    /// To Segment, as calls.
    Segment(SegmentSinkPlan),
    /// To a topic of Kafka, as messages.
    Kafka(KafkaSinkPlan),
}

impl SinkInto {
    /// As `SHOW SINKS` and `mz_sinks` name it.
    pub fn type_name(&self) -> &'static str {
        match self {
            SinkInto::Segment(_) => "segment",
            SinkInto::Kafka(_) => "kafka",
        }
    }
}

/// How changes become messages in a topic.
#[derive(Clone, Debug)]
pub struct KafkaSinkPlan {
    /// The topic; it is created when it is missing.
    pub topic: String,
    /// The key's columns and how they are written.
    pub key: Option<(Vec<usize>, MessageFormat)>,
    /// How the other part is written: all columns but that of the headers.
    pub value: MessageFormat,
    /// A column of type `map[text=>text]` or `map[text=>bytea]`, whose entries become headers.
    pub headers: Option<usize>,
    /// What a change looks like.
    pub envelope: SinkEnvelope,
    /// As Kafka names it.
    pub compression: &'static str,
    /// An integer over the row, by which its partition is chosen; without it the key's hash is.
    pub partition_by: Option<ScalarExpr>,
    /// Partitions of a topic that is created; none: the broker's default.
    pub partitions: Option<i32>,
    /// Copies of a topic that is created; none: the broker's default.
    pub replication: Option<i32>,
    /// Settings of a topic that is created.
    pub topic_config: Vec<(String, String)>,
    /// What stands before the sink's own transactional id.
    pub transactional_id_prefix: Option<String>,
    /// What stands before the name of the consumer group that reads the progress topic.
    pub group_id_prefix: Option<String>,
}

/// How a message's key or value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFormat {
    /// A JSON object of columns.
    Json,
    /// One column's text.
    Text,
    /// One column's bytes.
    Bytes,
}

/// What a change looks like as a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkEnvelope {
    /// The key's row as it is now; no value when there is none any more.
    Upsert,
    /// The rows before and after.
    Debezium,
}

/// How changes become calls to Segment, and how they are sent.
#[derive(Clone, Debug)]
pub struct SegmentSinkPlan {
    /// Which calls.
    pub call: SinkCall,
    /// The key's columns.
    pub key: Vec<usize>,
    /// How long a call may wait for others.
    pub flush_interval: Duration,
    /// A batch has at most so many bytes,
    pub batch_bytes: usize,
    /// and so many calls.
    pub batch_events: usize,
    /// So many requests are sent in a second at most.
    pub rate: f64,
    /// So many are on their way at a time, each of other users.
    pub lanes: usize,
    /// For so long a batch is tried again.
    pub retry_for: Duration,
    /// Where dead letters go beside: a connection to Kafka, and a topic.
    pub dead_letters: Option<(GlobalId, String)>,
    /// Nothing is sent: `<sink>_calls` shows the calls.
    pub dry_run: bool,
}

/// Which call a row becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkCall {
    /// The same for all.
    Always(&'static str),
    /// What a column says.
    Column(usize),
    /// A row that comes enters the audience of this name, one that goes leaves it.
    Audience(String),
}

/// `CREATE CONNECTION … TO KAFKA`, or the same things said in the old `WITH (…)`.
#[derive(Clone, Debug, Default)]
pub struct KafkaConnectionPlan {
    /// `host:port` each.
    pub brokers: Vec<String>,
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT`, `SASL_SSL`, by the rules of the syntax card when not given.
    pub security_protocol: String,
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`.
    pub sasl_mechanism: Option<String>,
    /// The user.
    pub sasl_username: Option<StringOrSecret>,
    /// The password.
    pub sasl_password: Option<StringOrSecret>,
    /// PEM text of the authority.
    pub ssl_ca: Option<StringOrSecret>,
    /// PEM text of the client's certificate.
    pub ssl_certificate: Option<StringOrSecret>,
    /// PEM text of the client's key.
    pub ssl_key: Option<StringOrSecret>,
    /// librdkafka settings that the old form names by path (`ssl.ca.location` …).
    pub extra: Vec<(String, String)>,
    /// The topic in which sinks note how far they are; none: one named after the connection.
    pub progress_topic: Option<String>,
    /// Copies of that topic when it is created; none: the broker's default.
    pub progress_replication: Option<i32>,
}

/// A source: raw records come in, are stored as they are, and `definition` makes columns of them.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// Where records come from.
    pub from: SourceFrom,
    /// The source's columns over its raw records: the hir `Get`s the source's own raw shard, whose columns are
    /// `value bytea, key bytea, partition int4, offset int8, timestamp timestamptz, headers record list`.
    /// The id in that `Get` is [`RAW_SELF`]; the coordinator replaces it by the source's own.
    pub definition: plan::hir::HirRelationExpr,
    /// The same, optimized, if the source keeps its rows as a materialized view does: `ENVELOPE UPSERT`, whose rows
    /// are the newest records of their keys.
    pub stored: Option<RelationExpr>,
    /// Whether headers must be kept.
    pub headers: bool,
    /// The records that do not decode, over the same raw records; see [`crate::errors_name`].
    pub errors: (plan::hir::HirRelationExpr, RelationDesc),
    /// `EXPOSE PROGRESS AS`, else `<name>_progress`.
    pub progress_name: String,
    /// How much of it is kept; none: all.
    pub retention: Option<Retention>,
}

/// `WITH (RETENTION = …)` of a source. What is not kept leaves by retraction, so that views follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Records that are no older, by their timestamps.
    Age(std::time::Duration),
    /// The newest, up to so many bytes before compression.
    Bytes(u64),
}

/// Stands for the raw records of the source being planned, or for the view being planned.
pub const RAW_SELF: GlobalId = GlobalId::Transient(u64::MAX);

/// Stands for the requests that the source being planned has refused, if it is posted to.
pub const REFUSED_SELF: GlobalId = GlobalId::Transient(u64::MAX - 1);

/// The columns of refused requests: when, the status of the answer, why, the headers, the beginning of the body.
pub fn refused_desc() -> RelationDesc {
    let header = ScalarType::Record(vec![
        ("key".into(), ScalarType::Text.nullable(false)),
        ("value".into(), ScalarType::Bytes.nullable(true)),
    ]);
    RelationDesc::new([
        ("time", ScalarType::TimestampTz { precision: None }.nullable(false)),
        ("status", ScalarType::Int32.nullable(true)),
        ("reason", ScalarType::Text.nullable(false)),
        ("headers", ScalarType::List(Box::new(header)).nullable(true)),
        ("body", ScalarType::Bytes.nullable(true)),
    ])
}

/// Where records come from.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one a source")]
pub enum SourceFrom {
    /// A topic, over a connection of the catalog or one given in place.
    Kafka {
        /// The connection object.
        connection: Option<GlobalId>,
        /// Given in place (the old form).
        inline: Option<KafkaConnectionPlan>,
        /// The topic.
        topic: String,
        /// Where to start in each partition; empty: at 0.
        start_offsets: Vec<i64>,
        /// Or at this time, ms (negative: before now).
        start_timestamp: Option<i64>,
        /// `GROUP ID PREFIX`.
        group_id_prefix: Option<String>,
        /// How often new partitions are looked for.
        metadata_refresh: Option<Duration>,
    },
    /// What others post.
    Webhook(std::sync::Arc<WebhookPlan>),
    /// Calls to Segment's Tracking API.
    Segment(SegmentPlan),
    /// A file of lines.
    File {
        /// Where.
        path: String,
        /// Follow it as it grows.
        tail: bool,
        /// `GZIP`, `ZSTD`; none: by the file's name.
        compression: Option<String>,
    },
    /// Segment traffic out of a seed.
    GeneratorSegment {
        /// The seed.
        seed: u64,
        /// Events a second; none: as fast as they are taken.
        rate: Option<u64>,
        /// How many; none: without end.
        events: Option<u64>,
    },
    /// 1, 2, 3 …
    GeneratorCounter {
        /// Between two.
        interval: Duration,
        /// How many at most are there; older ones go.
        max_cardinality: Option<u64>,
    },
}

/// A webhook: how requests become records, and which are taken.
#[derive(Clone, Debug)]
pub struct WebhookPlan {
    /// What a body holds.
    pub format: BodyFormat,
    /// The headers of the `headers` column.
    pub headers: HeaderFilter,
    /// The headers with columns of their own, in lower case.
    pub mapped: Vec<String>,
    /// What a request must fulfil.
    pub check: Option<Check>,
}

/// `FROM SEGMENT (…)`: which calls are taken, and how they are answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SegmentPlan {
    /// Secrets that hold the write keys; without any, every key is good.
    pub write_keys: Vec<GlobalId>,
    /// Refuse what is over the live API's limits, as that does.
    pub strict: bool,
    /// How calls go wrong, for who tests a sender.
    pub faults: SegmentFaults,
}

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SegmentFaults {
    /// The share of calls that fail, of a million.
    pub failing: u32,
    /// The status they are answered with.
    pub status: u16,
    /// What `Retry-After` of these answers says, in seconds.
    pub retry_after: Option<u64>,
    /// How long every answer waits.
    pub delay: Duration,
}

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// A text.
    Text,
    /// JSON documents, one record each.
    Json {
        /// Whether each element of an array is a record.
        array: bool,
    },
    /// Bytes.
    Bytes,
}

/// Which headers are kept. Names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderFilter {
    /// None; there is no column for them.
    None,
    /// These.
    Only(Vec<String>),
    /// All but these.
    Except(Vec<String>),
}

impl HeaderFilter {
    /// Whether a header is kept.
    pub fn admits(&self, name: &str) -> bool {
        match self {
            HeaderFilter::None => false,
            HeaderFilter::Only(names) => names.iter().any(|n| n == name),
            HeaderFilter::Except(names) => names.iter().all(|n| n != name),
        }
    }
}

/// The condition of a webhook, over one row.
#[derive(Clone, Debug)]
pub struct Check {
    /// The columns of the row.
    pub inputs: Vec<CheckInput>,
    /// Whether the request is taken; may ask for `now()`.
    pub condition: ScalarExpr,
}

/// A column of the row that a webhook's condition is over.
#[derive(Clone, Copy, Debug)]
pub enum CheckInput {
    /// The body as it came, as text or bytes.
    Body {
        /// As bytes.
        bytes: bool,
    },
    /// All headers, names in lower case.
    Headers {
        /// Values as bytes.
        bytes: bool,
    },
    /// A secret.
    Secret {
        /// Which.
        id: GlobalId,
        /// As bytes.
        bytes: bool,
    },
}

/// Errors of planning carry positions; this makes one for a feature and says what to use.
pub fn unsupported(what: &str, instead: &str) -> SqlError {
    SqlError::unsupported(what, instead)
}
