//! What planning asks of the catalog.

use std::collections::BTreeMap;

use repr::{GlobalId, RelationDesc};

/// The full name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// `materialize` unless said otherwise.
    pub database: String,
    /// `public`, `pg_catalog`, `mz_internal` …
    pub schema: String,
    /// The object's own.
    pub item: String,
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.database, self.schema, self.item)
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum ItemKind {
    Table,
    Source,
    View,
    MaterializedView,
    Index,
    Sink,
    Connection,
    Secret,
    Type,
}

/// An object, as planning sees it.
#[derive(Clone, Debug)]
pub struct CatalogItem {
    /// Its identity.
    pub id: GlobalId,
    /// Its full name.
    pub name: ObjectName,
    /// What it is.
    pub kind: ItemKind,
    /// Its columns, if it has rows.
    pub desc: Option<RelationDesc>,
    /// For a view or a decoding source: its definition, to be inlined where it is used.
    pub definition: Option<plan::hir::HirRelationExpr>,
    /// The text that made it, with full names, secrets redacted.
    pub create_sql: String,
    /// What it uses.
    pub uses: Vec<GlobalId>,
    /// For an index: the object it is on and its key.
    pub index: Option<(GlobalId, Vec<plan::ScalarExpr>)>,
    /// For a table: each column's default, as SQL text.
    pub defaults: Vec<Option<String>>,
    /// For what is stored: sets of columns by each of which no two of its rows agree, as far as they are known.
    pub keys: Vec<Vec<usize>>,
    /// For a sink: where its changes go.
    pub sink: Option<crate::plan::SinkInto>,
    /// For a connection: its resolved options, for sources and sinks.
    pub connection: Option<crate::plan::ConnectionPlan>,
}

/// The number by which Postgres clients know an object: the same for its whole life. Built-in objects are below 16384, as
/// in Postgres.
pub fn oid(id: GlobalId) -> u32 {
    let (base, n) = match id {
        GlobalId::System(n) if n < 3_000 => (13_000, n),
        GlobalId::System(n) => (1_000_000_000, n),
        GlobalId::User(n) => (20_000, n),
        GlobalId::Transient(n) => (2_000_000_000, n),
    };
    u32::try_from(n).unwrap_or(u32::MAX).saturating_add(base)
}

/// Read access to the catalog and to what the session has set.
pub trait Catalog {
    /// The database of names that give none.
    fn current_database(&self) -> &str;

    /// The schemas, in order, of names that give none (built-in ones included).
    fn search_path(&self) -> Vec<String>;

    /// The schema of this session's own tables.
    fn temporary_schema(&self) -> &str {
        "mz_temp"
    }

    /// Whether the schema exists.
    fn schema_exists(&self, database: &str, schema: &str) -> bool;

    /// The schemas of a database that users made, and `public`.
    fn schema_names(&self, _database: &str) -> Vec<String> {
        vec!["public".into()]
    }

    /// The object with this full name.
    fn item(&self, database: &str, schema: &str, item: &str) -> Option<&CatalogItem>;

    /// The object with this identity.
    fn item_by_id(&self, id: GlobalId) -> Option<&CatalogItem>;

    /// Every name in reach, to suggest near ones.
    fn item_names(&self) -> Vec<ObjectName>;

    /// A session variable's value (`timezone`, `cluster`, …), for functions that read them.
    fn variable(&self, name: &str) -> Option<String>;

    /// Everything, by identity (for SHOW and CASCADE).
    fn items(&self) -> &BTreeMap<GlobalId, CatalogItem>;
}
