//! Built-in relations: `pg_catalog`, `information_schema`, `mz_catalog`, `mz_internal`. One description each: name,
//! columns, and how its rows are made from the state of the engine.
//!
//! A description is a line of SQL-like text: `"oid oid, relname name, relacl text[]?, relpages int4 = 0"`. `?` is a column
//! that can be NULL, `= value` one that has the same value in every row; rows are made of the other columns, in order.

mod information_schema;
mod mz_catalog;
mod mz_internal;
mod pg_catalog;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use repr::{Arena, Datum, GlobalId, RelationDesc, Row, ScalarType, Timestamp};
use sql::{CatalogItem, ItemKind, ObjectName};

use crate::catalog::{CatalogState, DATABASE, SYSTEM_SCHEMAS};

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
    /// The marks of the last records, under keys that no partition has: for the next reader.
    pub marks: BTreeMap<i32, i64>,
    /// Records that were removed outside before they were read.
    pub gaps: Vec<source::Gap>,
    /// When a trouble was last written to the log, ms.
    pub logged: Timestamp,
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
    /// What is stored of an object.
    pub stored: &'a dyn Fn(GlobalId) -> Option<storage::ShardState>,
    /// Sources that are pushed to.
    pub push: &'a crate::push::Push,
    /// Sinks.
    pub sinks: &'a BTreeMap<GlobalId, crate::sinks::SinkStatus>,
}

/// A built-in relation.
pub struct Builtin {
    /// Its schema.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its columns.
    pub desc: RelationDesc,
    /// The columns that are the same in every row.
    constants: Vec<Option<Row>>,
    /// The other columns of its rows.
    varying: fn(&State<'_>) -> Vec<Row>,
}

impl Builtin {
    /// Its rows.
    pub fn rows(&self, state: &State<'_>) -> Vec<Row> {
        let varying = (self.varying)(state);
        if self.constants.iter().all(Option::is_none) {
            return varying;
        }
        let whole = |row: Row| {
            let mut datums = row.iter();
            let mut out = Row::default();
            for constant in &self.constants {
                match constant {
                    Some(constant) => out.extend_packed(constant.as_ref()),
                    None => out.push(datums.next().expect("a row has every column that is not constant")),
                }
            }
            out
        };
        varying.into_iter().map(whole).collect()
    }
}

/// All built-in relations, in the order of their identities (`s1`, `s2` …).
pub fn builtins() -> &'static [Builtin] {
    static ALL: LazyLock<Vec<Builtin>> = LazyLock::new(|| {
        let mut all = pg_catalog::relations();
        all.extend(information_schema::relations());
        all.extend(mz_catalog::relations());
        all.extend(mz_internal::relations());
        all
    });
    &ALL
}

/// The built-in relations as catalog items.
pub fn items() -> Vec<CatalogItem> {
    let item = |(i, b): (usize, &Builtin)| relation_item(builtin_id(i), b.schema, b.name, b.desc.clone());
    builtins().iter().enumerate().map(item).collect()
}

fn builtin_id(position: usize) -> GlobalId {
    GlobalId::System(position as u64 + 1)
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
        keys: vec![],
        sink: None,
        connection: None,
    }
}

/// The identity of the progress relation of source `u<number>`: system numbers from a million on.
pub fn progress_id(number: u64) -> GlobalId {
    GlobalId::System(PROGRESS + number)
}

const PROGRESS: u64 = 1_000_000;

/// The identity of the errors relation of a source or view `u<number>`.
pub fn errors_id(number: u64) -> GlobalId {
    GlobalId::System(ERRORS + number)
}

const ERRORS: u64 = 500_000_000;

fn is_errors(id: GlobalId) -> bool {
    matches!(id, GlobalId::System(n) if n >= ERRORS)
}

/// Whether this relation belongs to a user's object and comes and goes with it.
fn is_companion(id: GlobalId) -> bool {
    matches!(id, GlobalId::System(n) if n >= PROGRESS)
}

/// The errors relation of a source or view; see `sql::errors_name`.
pub fn errors_item(
    number: u64,
    name: ObjectName,
    owner: GlobalId,
    definition: plan::hir::HirRelationExpr,
    desc: RelationDesc,
) -> CatalogItem {
    let mut item = relation_item(errors_id(number), "", "", desc);
    item.name = name;
    item.uses = vec![owner];
    item.definition = Some(definition);
    item
}

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

// ---- descriptions

/// A relation from its description.
fn relation(
    schema: &'static str,
    name: &'static str,
    columns: &str,
    rows: fn(&State<'_>) -> Vec<Row>,
) -> Builtin {
    let mut desc = RelationDesc::default();
    let mut constants = vec![];
    for column in columns.split(',') {
        let (column, value) = match column.split_once('=') {
            Some((column, value)) => (column, Some(value.trim())),
            None => (column, None),
        };
        let mut words = column.split_whitespace();
        let (column, ty) = words.next().zip(words.next()).expect("a column has a name and a type");
        let nullable = ty.ends_with('?') || value == Some("null");
        let ty = column_type(ty.trim_end_matches('?'));
        constants.push(value.map(|v| constant(v, &ty)));
        desc.columns.push(repr::Column { name: column.trim_matches('"').into(), ty: ty.nullable(nullable) });
    }
    Builtin { schema, name, desc, constants, varying: rows }
}

/// A relation of things that are not here, for clients that ask.
fn empty(schema: &'static str, name: &'static str, columns: &str) -> Builtin {
    relation(schema, name, columns, |_| vec![])
}

fn column_type(name: &str) -> ScalarType {
    if let Some(element) = name.strip_suffix("[]") {
        return ScalarType::Array(Box::new(column_type(element)));
    }
    match name {
        "bool" => ScalarType::Bool,
        "int2" => ScalarType::Int16,
        "int4" => ScalarType::Int32,
        "int8" => ScalarType::Int64,
        "uint4" => ScalarType::UInt32,
        "uint8" => ScalarType::UInt64,
        "float4" => ScalarType::Float32,
        "float8" => ScalarType::Float64,
        "oid" => ScalarType::Oid,
        "regproc" => ScalarType::RegProc,
        "name" => ScalarType::Name,
        "text" => ScalarType::Text,
        "char" => ScalarType::PgChar,
        "bytea" => ScalarType::Bytes,
        "jsonb" => ScalarType::Jsonb,
        "interval" => ScalarType::Interval,
        "timestamptz" => ScalarType::TimestampTz { precision: None },
        "mz_timestamp" => ScalarType::MzTimestamp,
        "int2vector" => ScalarType::Int2Vector,
        "oidvector" => ScalarType::Array(Box::new(ScalarType::Oid)),
        other => panic!("no column of a built-in relation has the type {other}"),
    }
}

fn constant(value: &str, ty: &ScalarType) -> Row {
    let arena = Arena::new();
    let value = if value == "''" { "" } else { value };
    let datum = match value {
        "null" => Datum::Null,
        _ => repr::text::parse(value, ty, &arena).expect("constants are written in their types' text form"),
    };
    Row::pack([datum])
}

// ---- parts of rows

fn opt_text(text: Option<&str>) -> Datum<'_> {
    text.map_or(Datum::Null, Datum::Text)
}

fn millis(time: Timestamp) -> Datum<'static> {
    Datum::TimestampTz(i64::try_from(time).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000))
}

fn texts<'a>(arena: &'a Arena, texts: impl IntoIterator<Item = &'a str>) -> Datum<'a> {
    let elements: Vec<Datum<'a>> = texts.into_iter().map(Datum::Text).collect();
    arena.array1(&elements)
}

fn oids(arena: &Arena, oids: impl IntoIterator<Item = u32>) -> Datum<'_> {
    let elements: Vec<Datum<'_>> = oids.into_iter().map(Datum::UInt32).collect();
    arena.array1(&elements)
}

/// An `int2vector`: counted from 0.
fn numbers(arena: &Arena, numbers: impl IntoIterator<Item = i16>) -> Datum<'_> {
    let elements: Vec<Datum<'_>> = numbers.into_iter().map(Datum::Int16).collect();
    let dims = [(elements.len() as i32, 0)];
    arena.array(if elements.is_empty() { &[] } else { &dims }, elements)
}

// ---- what all four schemas know of the catalog

/// The one user who owns everything.
const OWNER: &str = "materialize";
const OWNER_OID: u32 = 10;
const OWNER_ID: &str = "u1";
/// The one cluster and its replica.
const CLUSTER: &str = "quickstart";
const CLUSTER_ID: &str = "u1";
const REPLICA: &str = "r1";
const REPLICA_ID: &str = "u1";
/// How big they are.
const SIZE: &str = "local";

/// A schema as it is shown.
struct Schema<'a> {
    database: &'a str,
    name: &'a str,
    oid: u32,
    id: String,
    system: bool,
}

/// A column and where it stands, from 1.
struct ColumnOf<'a> {
    item: &'a CatalogItem,
    position: i16,
    column: &'a repr::Column,
}

impl<'a> State<'a> {
    /// The database of the session.
    fn database(&self) -> &'a str {
        if self.session.database.is_empty() { DATABASE } else { &self.session.database }
    }

    /// The databases: those with schemas, and the one the session believes to be in.
    fn databases(&self) -> BTreeSet<&'a str> {
        let of_schemas = self.catalog.schemas.iter().map(|(d, _)| d.as_str());
        of_schemas.chain([DATABASE, self.database()]).collect()
    }

    /// The schemas of all databases; those of the system once.
    fn all_schemas(&self) -> impl Iterator<Item = Schema<'a>> {
        self.catalog.schemas.iter().map(|(database, name)| {
            let oid = schema_oid(database, name);
            let system = SYSTEM_SCHEMAS.contains(&name.as_str());
            // Temporary objects have the schema 0, which is no row's.
            let id = if name == "mz_temp" { "0".into() } else { schema_id(database, name) };
            Schema { database, name, oid, id, system }
        })
    }

    /// The schemas that names can be in here.
    fn schemas(&self) -> impl Iterator<Item = Schema<'a>> {
        let here = self.database();
        self.all_schemas().filter(move |s| s.system || s.database == here)
    }

    /// The objects that names can mean here: those of the system and of this database, in the order of identities.
    fn items(&self) -> impl Iterator<Item = &'a CatalogItem> {
        let here = self.database();
        let system = |name: &ObjectName| SYSTEM_SCHEMAS.contains(&name.schema.as_str());
        self.all_items().filter(move |i| system(&i.name) || i.name.database == here)
    }

    /// The objects of all databases. Not the errors relations of views that fail with their errors: there is one a view,
    /// and lists would only be twice as long.
    fn all_items(&self) -> impl Iterator<Item = &'a CatalogItem> {
        let items = &self.catalog.items;
        let fails = |o: &CatalogItem| o.kind == ItemKind::MaterializedView && o.definition.is_none();
        let strict = move |owner: &GlobalId| items.get(owner).is_some_and(fails);
        let hidden = move |i: &CatalogItem| is_errors(i.id) && i.uses.first().is_some_and(strict);
        items.values().filter(move |i| !hidden(i))
    }

    /// Those with rows.
    fn relations(&self) -> impl Iterator<Item = &'a CatalogItem> {
        self.items().filter(|i| i.desc.is_some() && i.kind != ItemKind::Index)
    }

    /// What users made, in the order of identities.
    fn user_items(&self) -> impl Iterator<Item = &'a CatalogItem> {
        self.items().filter(|i| matches!(i.id, GlobalId::User(_)))
    }

    /// All columns of all relations.
    fn columns(&self) -> impl Iterator<Item = ColumnOf<'a>> {
        self.relations().flat_map(|item| {
            let columns = item.desc.iter().flat_map(|d| &d.columns).enumerate();
            columns.map(move |(i, column)| ColumnOf { item, position: i as i16 + 1, column })
        })
    }

    /// Indexes with what they are on.
    fn indexes(&self) -> impl Iterator<Item = (&'a CatalogItem, &'a CatalogItem, &'a [plan::ScalarExpr])> {
        let catalog = self.catalog;
        self.items().filter_map(|i| {
            let (on, key) = i.index.as_ref()?;
            Some((i, catalog.items.get(on)?, key.as_slice()))
        })
    }

    /// Objects and what they use directly; the raw records of a source stand for the source.
    fn dependencies(&self) -> Vec<(&'a CatalogItem, &'a CatalogItem)> {
        let mut all = vec![];
        for item in self.items() {
            let used = item.uses.iter().chain(item.index.iter().map(|(on, _)| on)).filter_map(|used| {
                let id = if self.catalog.items.contains_key(used) {
                    Some(*used)
                } else {
                    self.catalog.source_of_raw(*used)
                };
                id.filter(|id| *id != item.id)
            });
            let used: BTreeSet<GlobalId> = used.collect();
            all.extend(used.iter().filter_map(|id| Some((item, self.catalog.items.get(id)?))));
        }
        all
    }

    /// The roles: the owner of everything, and who asks.
    fn roles(&self) -> Vec<(&'a str, u32, &'static str)> {
        let mut roles = vec![(OWNER, OWNER_OID, OWNER_ID)];
        if !self.session.user.is_empty() && self.session.user != OWNER {
            roles.push((&self.session.user, 16_400, "u2"));
        }
        roles
    }

    /// The comment on an object and those on its columns, by position from 1.
    fn comments(&self) -> impl Iterator<Item = (&'a CatalogItem, Option<i32>, &'a str)> {
        self.items().filter_map(|i| Some((i, self.catalog.records.get(&i.id)?))).flat_map(|(item, record)| {
            let own = record.comment.iter().map(move |c| (item, None, c.as_str()));
            let columns = record.column_comments.iter();
            own.chain(columns.map(move |(i, c)| (item, Some(*i as i32 + 1), c.as_str())))
        })
    }
}

/// A number for a name that has none of its own: the same everywhere, far from other numbers.
fn named_oid(name: &str) -> u32 {
    // FNV-1a: short, and will never change.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    0x6000_0000 | (hash & 0x0fff_ffff)
}

fn database_oid(database: &str) -> u32 {
    if database == DATABASE { 5 } else { named_oid(database) }
}

fn database_id(database: &str) -> String {
    if database == DATABASE { "u1".into() } else { format!("u{}", database_oid(database)) }
}

fn schema_oid(database: &str, schema: &str) -> u32 {
    match schema {
        "pg_catalog" => 11,
        "information_schema" => 12_000,
        "mz_catalog" => 12_001,
        "mz_internal" => 12_002,
        "mz_temp" => 12_003,
        "public" if database == DATABASE => 2_200,
        _ => named_oid(&format!("{database}.{schema}")),
    }
}

fn schema_id(database: &str, schema: &str) -> String {
    match schema {
        "mz_catalog" => "s1".into(),
        "pg_catalog" => "s2".into(),
        "mz_internal" => "s4".into(),
        "information_schema" => "s5".into(),
        "mz_temp" => "0".into(),
        "public" if database == DATABASE => "u3".into(),
        _ => format!("u{}", schema_oid(database, schema)),
    }
}

fn item_schema_oid(item: &CatalogItem) -> u32 {
    schema_oid(&item.name.database, &item.name.schema)
}

fn item_schema_id(item: &CatalogItem) -> String {
    schema_id(&item.name.database, &item.name.schema)
}

/// The kind as Materialize's relations name it.
fn object_type(item: &CatalogItem) -> &'static str {
    if is_companion(item.id) {
        return "source";
    }
    match item.kind {
        ItemKind::MaterializedView => "materialized-view",
        other => sql::kind_name(other),
    }
}

/// The statement that made it, fit to be shown.
fn create_sql(item: &CatalogItem) -> Option<String> {
    (!item.create_sql.is_empty()).then(|| sql::redacted(&item.create_sql))
}

/// The query of a view's statement, with a semicolon, as Postgres shows it.
fn view_definition(item: &CatalogItem) -> Option<String> {
    if !matches!(item.kind, ItemKind::View | ItemKind::MaterializedView) {
        return None;
    }
    let after = word_at_top(&item.create_sql, "as")?;
    Some(format!("{};", item.create_sql[after..].trim().trim_end_matches(';')))
}

/// The key of an index, a text for each part.
fn key_texts(index: &CatalogItem, on: &CatalogItem, key: &[plan::ScalarExpr]) -> Vec<String> {
    let written = || {
        let after = word_at_top(&index.create_sql, "on")?;
        let open = after + index.create_sql[after..].find('(')?;
        let parts = split_at_commas(&index.create_sql[open..])?;
        (parts.len() == key.len()).then_some(parts)
    };
    let written = written();
    let part = |(i, key): (usize, &plan::ScalarExpr)| {
        let named = match key {
            plan::ScalarExpr::Column(c) => {
                on.desc.as_ref().and_then(|d| d.columns.get(*c)).map(|c| quote_ident(&c.name))
            }
            _ => None,
        };
        named.unwrap_or_else(|| written.as_ref().map_or_else(|| "expr".into(), |w| w[i].clone()))
    };
    key.iter().enumerate().map(part).collect()
}

/// An index' statement as Postgres shows it.
fn index_definition(index: &CatalogItem, on: &CatalogItem, key: &[plan::ScalarExpr]) -> String {
    format!(
        "CREATE INDEX {} ON {}.{} USING btree ({})",
        quote_ident(&index.name.item),
        quote_ident(&on.name.schema),
        quote_ident(&on.name.item),
        key_texts(index, on, key).join(", ")
    )
}

/// A name as it can be written in SQL.
fn quote_ident(name: &str) -> String {
    let plain = |(i, c): (usize, char)| c == '_' || c.is_ascii_lowercase() || (i > 0 && c.is_ascii_digit());
    if !name.is_empty() && name.chars().enumerate().all(plain) {
        name.into()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Where a piece of SQL that means one thing ends: a name, a quoted text, a comment, a sign.
fn piece(sql: &str) -> usize {
    let mut chars = sql.char_indices();
    let Some((_, first)) = chars.next() else { return 0 };
    let until =
        |close: &str, from: usize| sql[from..].find(close).map_or(sql.len(), |i| from + i + close.len());
    match first {
        '\'' | '"' => until(&first.to_string(), 1),
        '-' if sql.starts_with("--") => until("\n", 2),
        '/' if sql.starts_with("/*") => until("*/", 2),
        c if c.is_alphanumeric() || c == '_' => {
            chars.find(|(_, c)| !c.is_alphanumeric() && *c != '_' && *c != '$').map_or(sql.len(), |(i, _)| i)
        }
        c => c.len_utf8(),
    }
}

/// Where the first such word outside of parentheses ends.
fn word_at_top(sql: &str, word: &str) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    while at < sql.len() {
        let end = at + piece(&sql[at..]);
        match &sql[at..end] {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            p if depth == 0 && p.eq_ignore_ascii_case(word) => return Some(end),
            _ => {}
        }
        at = end;
    }
    None
}

/// The parts of a list in parentheses.
fn split_at_commas(list: &str) -> Option<Vec<String>> {
    let (mut at, mut depth, mut from) = (0, 0_usize, 1);
    let mut parts = vec![];
    while at < list.len() {
        let end = at + piece(&list[at..]);
        match &list[at..end] {
            "(" | "[" => depth += 1,
            ")" | "]" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    parts.push(list[from..at].trim().to_string());
                    return Some(parts);
                }
            }
            "," if depth == 1 => {
                parts.push(list[from..at].trim().to_string());
                from = end;
            }
            _ => {}
        }
        at = end;
    }
    None
}

/// What a type's modifier is in `pg_attribute`: −1 for none.
fn type_modifier(ty: &ScalarType) -> i32 {
    match ty {
        ScalarType::Numeric { scale: Some(scale) } => (39 << 16 | i32::from(*scale)) + 4,
        ScalarType::VarChar { length: Some(n) } | ScalarType::Char { length: Some(n) } => {
            i32::try_from(*n).map_or(-1, |n| n.saturating_add(4))
        }
        ScalarType::Timestamp { precision: Some(p) } | ScalarType::TimestampTz { precision: Some(p) } => {
            i32::from(*p)
        }
        ScalarType::Array(element) | ScalarType::List(element) => type_modifier(element),
        _ => -1,
    }
}

#[cfg(test)]
mod tests;
