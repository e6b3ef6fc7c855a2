//! The catalog: every object, by identity and by name, and what of it survives a restart.
//!
//! What is stored of an object is its statement. A restart plans the statements again in the order of identities, so
//! that there is one way from SQL to a running object. Secrets are stored apart and never leave but to readers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use repr::error::code;
use repr::{GlobalId, SqlError};
use serde::{Deserialize, Serialize};
use sql::plan::{ConnectionPlan, KafkaConnectionPlan, SecretValue, SourceFrom, StringOrSecret};
use sql::{CatalogItem, ItemKind, ObjectName};

use crate::introspection;
use crate::kafka::LocalKafka;

/// What is stored of an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its number; as [`GlobalId::User`] and as the number of its shard.
    pub id: u64,
    /// Database, schema, name.
    pub name: (String, String, String),
    /// What it is.
    pub kind: ItemKind,
    /// The canonical statement.
    pub create_sql: String,
    /// For a source: the number of its raw records' shard.
    pub raw: Option<u64>,
    /// The number of another shard: of the calls of a sink's dry run, of the requests a source has refused.
    #[serde(default)]
    pub second: Option<u64>,
    /// For a Kafka source: where each partition starts, resolved when it was created.
    #[serde(default)]
    pub start_offsets: BTreeMap<i32, i64>,
    /// For a materialized view: what its stored rows were computed by.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// The `apply` that made it, if one did, and the hash of its text there.
    #[serde(default)]
    pub applied: Option<(String, String)>,
    /// `COMMENT ON`.
    #[serde(default)]
    pub comment: Option<String>,
    /// `COMMENT ON COLUMN`, by position.
    #[serde(default)]
    pub column_comments: BTreeMap<usize, String>,
}

impl Record {
    /// The key in storage's catalog.
    pub fn key(id: u64) -> String {
        format!("item/{id:012}")
    }

    /// The name.
    pub fn object_name(&self) -> ObjectName {
        let (database, schema, item) = self.name.clone();
        ObjectName { database, schema, item }
    }
}

/// The parts of a source that run.
#[derive(Clone, Debug)]
pub struct SourceItem {
    /// The collection of its raw records.
    pub raw: GlobalId,
    /// Where they come from.
    pub from: SourceFrom,
    /// The collection of the requests that it refused, if it is posted to.
    pub refused: Option<GlobalId>,
    /// Whether headers are kept.
    pub headers: bool,
    /// Where each partition starts.
    pub start_offsets: BTreeMap<i32, i64>,
    /// The name of its progress relation.
    pub progress_name: String,
    /// How much of it is kept; none: all.
    pub retention: Option<sql::plan::Retention>,
}

/// Before the number of a session, the schema of its temporary tables.
pub const TEMPORARY_SCHEMA: &str = "pg_temp_";

/// The default database.
pub const DATABASE: &str = "materialize";
/// Schemas that exist from the start and hold the built-in relations.
pub const SYSTEM_SCHEMAS: [&str; 5] =
    ["pg_catalog", "information_schema", "mz_catalog", "mz_internal", "mz_temp"];

/// A consistent state of the catalog; shared as an `Arc`, replaced whole on every change.
#[derive(Clone, Debug)]
pub struct CatalogState {
    /// Grows with every change.
    pub version: u64,
    /// The next user number.
    pub next_id: u64,
    /// (database, schema).
    pub schemas: BTreeSet<(String, String)>,
    /// As planning sees them; built-in relations included.
    pub items: BTreeMap<GlobalId, CatalogItem>,
    /// Full name to identity.
    pub names: BTreeMap<ObjectName, GlobalId>,
    /// What is stored of user objects.
    pub records: BTreeMap<GlobalId, Record>,
    /// Sources.
    pub sources: BTreeMap<GlobalId, SourceItem>,
    /// Secrets.
    pub secrets: BTreeMap<GlobalId, SecretValue>,
    /// `RETAIN HISTORY FOR`, ms.
    pub retain: BTreeMap<GlobalId, u64>,
    /// The Kafka of this process.
    pub local_kafka: Option<Arc<LocalKafka>>,
    /// Definitions of views that are read from an index.
    pub hidden_definitions: BTreeMap<GlobalId, plan::hir::HirRelationExpr>,
}

impl CatalogState {
    /// The built-in objects only.
    pub fn new() -> CatalogState {
        let mut state = CatalogState {
            version: 0,
            next_id: 1,
            schemas: BTreeSet::from([(DATABASE.into(), "public".into())]),
            items: BTreeMap::new(),
            names: BTreeMap::new(),
            records: BTreeMap::new(),
            sources: BTreeMap::new(),
            secrets: BTreeMap::new(),
            retain: BTreeMap::new(),
            local_kafka: None,
            hidden_definitions: BTreeMap::new(),
        };
        for schema in SYSTEM_SCHEMAS {
            state.schemas.insert((DATABASE.into(), schema.into()));
        }
        for item in introspection::items() {
            state.names.insert(item.name.clone(), item.id);
            state.items.insert(item.id, item);
        }
        state
    }

    /// A new user number.
    pub fn allocate(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Adds an object.
    pub fn insert(&mut self, item: CatalogItem, record: Option<Record>) {
        self.version += 1;
        self.names.insert(item.name.clone(), item.id);
        if let Some(record) = record {
            self.records.insert(item.id, record);
        }
        self.items.insert(item.id, item);
    }

    /// Takes an object away.
    pub fn remove(&mut self, id: GlobalId) -> Option<CatalogItem> {
        self.version += 1;
        let item = self.items.remove(&id)?;
        self.names.remove(&item.name);
        self.records.remove(&id);
        self.sources.remove(&id);
        self.secrets.remove(&id);
        self.retain.remove(&id);
        Some(item)
    }

    /// The source whose raw records this collection is.
    pub fn source_of_raw(&self, raw: GlobalId) -> Option<GlobalId> {
        self.sources.iter().find(|(_, s)| s.raw == raw).map(|(id, _)| *id)
    }

    /// The sources below these objects, and among them.
    pub fn sources_below(&self, ids: impl IntoIterator<Item = GlobalId>) -> BTreeSet<GlobalId> {
        let (mut seen, mut rest): (BTreeSet<GlobalId>, Vec<GlobalId>) =
            (BTreeSet::new(), ids.into_iter().collect());
        while let Some(id) = rest.pop() {
            let id = self.source_of_raw(id).unwrap_or(id);
            if seen.insert(id) {
                rest.extend(self.items.get(&id).into_iter().flat_map(|i| i.uses.iter().copied()));
            }
        }
        seen.retain(|id| self.sources.contains_key(id));
        seen
    }

    /// The objects that use this one directly.
    pub fn used_by(&self, id: GlobalId) -> Vec<GlobalId> {
        let raw = self.sources.get(&id).map(|s| s.raw);
        let uses = |i: &&CatalogItem| i.uses.iter().any(|u| *u == id || Some(*u) == raw);
        self.items.values().filter(uses).map(|i| i.id).collect()
    }

    /// The bytes of a secret.
    pub fn secret(&self, id: GlobalId) -> Result<Vec<u8>, SqlError> {
        let name = self.items.get(&id).map_or_else(String::new, |i| i.name.item.clone());
        let missing = |what: String| {
            SqlError::new(code::OBJECT_NOT_IN_PREREQUISITE_STATE, format!("secret \"{name}\" cannot be read"))
                .with_detail(what)
        };
        match self.secrets.get(&id) {
            None => Err(missing("The secret does not exist.".into())),
            Some(SecretValue::Literal(bytes)) => Ok(bytes.clone()),
            Some(SecretValue::Env(variable)) => std::env::var(variable)
                .map(String::into_bytes)
                .map_err(|_| missing(format!("The environment variable {variable} is not set."))),
            Some(SecretValue::File(path)) => {
                std::fs::read(path).map_err(|e| missing(format!("The file {path} cannot be read: {e}.")))
            }
        }
    }

    fn string_or_secret(&self, value: &Option<StringOrSecret>) -> Result<Option<String>, SqlError> {
        match value {
            None => Ok(None),
            Some(StringOrSecret::String(s)) => Ok(Some(s.clone())),
            Some(StringOrSecret::Secret(id)) => {
                let text = String::from_utf8(self.secret(*id)?).map_err(|_| {
                    SqlError::new(code::CHARACTER_NOT_IN_REPERTOIRE, "the secret is not valid UTF-8 text")
                })?;
                Ok(Some(text.trim_end_matches(['\n', '\r']).to_string()))
            }
        }
    }

    /// A connection with its secrets filled in, for readers.
    pub fn kafka_connection(&self, plan: &KafkaConnectionPlan) -> Result<source::KafkaConnection, SqlError> {
        // Files that name a user run on clusters with and without authentication: the protocol decides.
        let sasl = plan.security_protocol.starts_with("SASL");
        let of_sasl = |value| if sasl { self.string_or_secret(value) } else { Ok(None) };
        let given = self.string_or_secret(&plan.ssl_ca)?;
        let named = given.is_some() || plan.extra.iter().any(|(name, _)| name.ends_with("ca.location"));
        let local = self.local_kafka.as_ref().filter(|k| !named && plan.brokers.iter().all(|b| k.is(b)));
        Ok(source::KafkaConnection {
            brokers: plan.brokers.join(","),
            security_protocol: plan.security_protocol.clone(),
            sasl_mechanism: plan.sasl_mechanism.clone().filter(|_| sasl),
            username: of_sasl(&plan.sasl_username)?,
            password: of_sasl(&plan.sasl_password)?.map(Into::into),
            ca_pem: given.or_else(|| local.and_then(|k| k.authority.clone())),
            certificate_pem: self.string_or_secret(&plan.ssl_certificate)?,
            key_pem: self.string_or_secret(&plan.ssl_key)?.map(Into::into),
            extra: plan.extra.clone(),
        })
    }

    /// The Kafka connection that a source names or holds.
    pub fn source_connection(
        &self,
        connection: Option<GlobalId>,
        inline: Option<&KafkaConnectionPlan>,
    ) -> Result<source::KafkaConnection, SqlError> {
        let named = connection.and_then(|id| self.items.get(&id)).and_then(|i| i.connection.as_ref());
        match (named, inline) {
            (Some(ConnectionPlan::Kafka(plan)), _) | (None, Some(plan)) => self.kafka_connection(plan),
            _ => Err(SqlError::internal("a Kafka source has no connection to Kafka")),
        }
    }
}

impl Default for CatalogState {
    fn default() -> Self {
        CatalogState::new()
    }
}

/// How a secret is stored.
#[derive(Serialize, Deserialize)]
enum StoredSecret {
    Literal(Vec<u8>),
    Env(String),
    File(String),
}

/// A secret as it goes to storage.
pub fn encode_secret(value: &SecretValue) -> Vec<u8> {
    let stored = match value.clone() {
        SecretValue::Literal(b) => StoredSecret::Literal(b),
        SecretValue::Env(v) => StoredSecret::Env(v),
        SecretValue::File(p) => StoredSecret::File(p),
    };
    serde_json::to_vec(&stored).expect("strings and bytes always serialize")
}

/// A secret as it comes from storage.
pub fn decode_secret(bytes: &[u8]) -> Option<SecretValue> {
    Some(match serde_json::from_slice(bytes).ok()? {
        StoredSecret::Literal(b) => SecretValue::Literal(b),
        StoredSecret::Env(v) => SecretValue::Env(v),
        StoredSecret::File(p) => SecretValue::File(p),
    })
}

/// What a session adds to the catalog when it plans.
pub struct SessionCatalog<'a> {
    /// The objects.
    pub state: &'a CatalogState,
    /// The session's settings.
    pub variables: &'a crate::variables::Variables,
}

impl sql::Catalog for SessionCatalog<'_> {
    fn current_database(&self) -> &str {
        self.variables.database()
    }

    fn search_path(&self) -> Vec<String> {
        let own = self.temporary_schema().to_string();
        let mut path = vec![own, "mz_temp".into(), "mz_catalog".into(), "pg_catalog".into()];
        path.extend(self.variables.search_path());
        path
    }

    fn schema_exists(&self, database: &str, schema: &str) -> bool {
        self.state.schemas.contains(&(database.into(), schema.into()))
    }

    fn temporary_schema(&self) -> &str {
        &self.variables.temporary_schema
    }

    fn item(&self, database: &str, schema: &str, item: &str) -> Option<&CatalogItem> {
        if ["pg_temp", "mz_temp"].contains(&schema)
            && let Some(own) = self.item(database, self.temporary_schema(), item)
        {
            return Some(own);
        }
        let schema = if schema == "pg_temp" { "mz_temp" } else { schema };
        // The built-in schemas are in every database.
        let database = if SYSTEM_SCHEMAS.contains(&schema) { DATABASE } else { database };
        let name = ObjectName { database: database.into(), schema: schema.into(), item: item.into() };
        self.state.items.get(self.state.names.get(&name)?)
    }

    fn item_by_id(&self, id: GlobalId) -> Option<&CatalogItem> {
        self.state.items.get(&id)
    }

    fn item_names(&self) -> Vec<ObjectName> {
        self.state.names.keys().cloned().collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).ok()
    }

    fn items(&self) -> &BTreeMap<GlobalId, CatalogItem> {
        &self.state.items
    }
}
