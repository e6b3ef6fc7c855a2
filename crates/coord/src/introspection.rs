//! Built-in relations: `pg_catalog`, `information_schema`, `mz_catalog`, `mz_internal`. One description each: name,
//! columns, and how its rows are made from the state of the engine.

use std::collections::{BTreeMap, BTreeSet};

use repr::{Datum, GlobalId, RelationDesc, Row, ScalarType, Timestamp};
use sql::{CatalogItem, ItemKind, ObjectName};

use crate::catalog::{CatalogState, DATABASE};

/// What a session says of itself.
#[derive(Clone, Debug, Default)]
pub struct SessionInfo {
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The number of the connection.
    pub pid: u32,
    /// All settings.
    pub settings: Vec<(String, String)>,
}

/// What a source does.
#[derive(Clone, Debug, Default)]
pub struct SourceStatus {
    /// `created`, `starting`, `running`, `stalled`, `failed` …
    pub status: String,
    /// Why, where there is a reason.
    pub error: Option<String>,
    /// Since when, ms.
    pub since: Timestamp,
    /// Messages stored since the start of the process.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Per partition: the next offset that is not yet durable here.
    pub committed: BTreeMap<i32, i64>,
    /// Per partition: the end of the topic as far as it is known.
    pub known: BTreeMap<i32, i64>,
}

/// The state that rows are made from.
pub struct State<'a> {
    /// The catalog.
    pub catalog: &'a CatalogState,
    /// Who asks.
    pub session: &'a SessionInfo,
    /// The wall clock, ms.
    pub now: Timestamp,
    /// Sources.
    pub statuses: &'a BTreeMap<GlobalId, SourceStatus>,
    /// Per object with a frontier: complete before this time, and whether it has caught up once.
    pub frontiers: &'a BTreeMap<GlobalId, (Timestamp, bool)>,
}

/// A built-in relation.
pub struct Builtin {
    /// Its schema.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its columns.
    pub desc: RelationDesc,
    /// Its rows.
    pub rows: fn(&State<'_>) -> Vec<Row>,
}

/// All built-in relations, in the order of their identities (`s1`, `s2` …). New ones go to the end.
pub fn builtins() -> Vec<Builtin> {
    vec![]
}

/// The built-in relations as catalog items.
pub fn items() -> Vec<CatalogItem> {
    let builtins = builtins().into_iter().enumerate();
    builtins.map(|(i, b)| relation_item(GlobalId::System(i as u64 + 1), b.schema, b.name, b.desc)).collect()
}

fn relation_item(id: GlobalId, schema: &str, name: &str, desc: RelationDesc) -> CatalogItem {
    CatalogItem {
        id,
        name: ObjectName { database: DATABASE.into(), schema: schema.into(), item: name.into() },
        kind: ItemKind::View,
        desc: Some(desc),
        definition: None,
        create_sql: String::new(),
        uses: vec![],
        index: None,
        defaults: vec![],
        connection: None,
    }
}

/// The identity of the progress relation of source `u<number>`: system numbers from a million on.
pub fn progress_id(number: u64) -> GlobalId {
    GlobalId::System(PROGRESS + number)
}

const PROGRESS: u64 = 1_000_000;

/// The progress relation of a source: one row a partition, with the next offset that is not yet durable here.
pub fn progress_item(number: u64, name: ObjectName, source: GlobalId) -> CatalogItem {
    let desc = RelationDesc::new([
        ("partition", ScalarType::Int32.nullable(false)),
        ("offset", ScalarType::UInt64.nullable(true)),
        ("offset_known", ScalarType::UInt64.nullable(true)),
    ]);
    let mut item = relation_item(progress_id(number), "", "", desc);
    item.name = name;
    item.uses = vec![source];
    item
}

/// The rows of a relation that belongs to a user's object (`<source>_progress`), if `id` is one.
pub fn virtual_rows(id: GlobalId, state: &State<'_>) -> Option<Vec<Row>> {
    let GlobalId::System(n) = id else { return None };
    let source = GlobalId::User(n.checked_sub(PROGRESS)?);
    let Some(status) = state.statuses.get(&source) else { return Some(vec![]) };
    let partitions: BTreeSet<i32> = status.committed.keys().chain(status.known.keys()).copied().collect();
    let offset = |map: &BTreeMap<i32, i64>, p| map.get(&p).map_or(Datum::Null, |o| Datum::UInt64(*o as u64));
    let row = |p| Row::pack([Datum::Int32(p), offset(&status.committed, p), offset(&status.known, p)]);
    Some(partitions.into_iter().map(row).collect())
}
