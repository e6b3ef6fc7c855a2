//! What changes the catalog, and how a restart brings it back.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

use dataflow::Output;
use plan::hir::HirRelationExpr;
use plan::{RelationExpr, Side};
use repr::error::code;
use repr::{ColumnType, GlobalId, RelationDesc, ScalarType, SqlError};
use sql::plan::{CreateItem, CreatePlan, OnError, RAW_SELF, SourceFrom};
use sql::{CatalogItem, ItemKind, ObjectName};
use storage::ShardId;

use crate::catalog::{self, Record, SessionCatalog, SourceItem};
use crate::command::Ddl;
use crate::coordinator::{Object, ObjectKind, State, shard_of};
use crate::introspection;
use crate::variables::Variables;

impl State {
    /// Changes the catalog and everything that runs for it. Durable with the next tick.
    pub(crate) fn ddl(&mut self, ddl: Ddl) -> Result<Vec<SqlError>, SqlError> {
        match ddl {
            Ddl::Create { plan, start_offsets, applied } => {
                if let Some(old) = plan.replace {
                    self.drop_objects(&[old]);
                }
                let number = self.catalog.allocate();
                let raw = matches!(plan.item, CreateItem::Source(_)).then(|| self.catalog.allocate());
                let name = plan.name.clone();
                let record = Record {
                    id: number,
                    name: (name.database, name.schema, name.item),
                    kind: plan.kind(),
                    create_sql: plan.create_sql.clone(),
                    raw,
                    start_offsets,
                    fingerprint: None,
                    applied,
                    comment: None,
                    column_comments: BTreeMap::new(),
                };
                let record = self.add(*plan, record, None)?;
                self.persist(&record);
                Ok(self.url_notice(&record).into_iter().collect())
            }
            Ddl::CreateSchema { database, schema } => {
                let key = format!("schema/{database}/{schema}");
                self.pending.catalog.push((key, Some(vec![])));
                self.catalog.schemas.insert((database, schema));
                self.catalog.version += 1;
                Ok(vec![])
            }
            Ddl::Drop { ids, schema } => {
                self.drop_objects(&ids);
                if let Some((database, schema)) = schema {
                    self.pending.catalog.push((format!("schema/{database}/{schema}"), None));
                    self.catalog.schemas.remove(&(database, schema));
                    self.catalog.version += 1;
                }
                Ok(vec![])
            }
            Ddl::AlterSecret { id, value } => {
                let GlobalId::User(number) = id else { return Err(SqlError::internal("not a secret")) };
                self.pending
                    .catalog
                    .push((format!("secret/{number:012}"), Some(catalog::encode_secret(&value))));
                self.catalog.secrets.insert(id, value);
                self.catalog.version += 1;
                // Running readers take the new value up at once. What is pushed to asks for it with each request.
                let reads = |id: &GlobalId| matches!(self.catalog.sources[id].from, SourceFrom::Kafka { .. });
                let sources: Vec<GlobalId> = self.readers.keys().copied().filter(reads).collect();
                for source in sources {
                    self.readers.remove(&source);
                    let stored = self.statuses.get(&source).map(|s| s.committed.clone()).unwrap_or_default();
                    self.start_reader(source, stored);
                }
                Ok(vec![])
            }
            Ddl::Comment { id, column, text } => {
                let Some(mut record) = self.catalog.records.get(&id).cloned() else {
                    return Err(SqlError::new(
                        code::INSUFFICIENT_PRIVILEGE,
                        "system objects cannot be commented on",
                    ));
                };
                match (column, text) {
                    (None, text) => record.comment = text,
                    (Some(c), Some(text)) => drop(record.column_comments.insert(c, text)),
                    (Some(c), None) => drop(record.column_comments.remove(&c)),
                }
                self.persist(&record);
                self.catalog.records.insert(id, record);
                self.catalog.version += 1;
                Ok(vec![])
            }
        }
    }

    /// Where requests to a new source go.
    fn url_notice(&self, record: &Record) -> Option<SqlError> {
        let source = self.catalog.sources.get(&GlobalId::User(record.id))?;
        let notice = |text| SqlError::new(repr::SqlState::new("00000"), text);
        match source.from {
            SourceFrom::Webhook(_) => {
                let url = self.shared.push.url(&record.object_name());
                Some(notice(format!("URL to POST data is '{url}'")))
            }
            SourceFrom::Segment(_) => {
                let host = self.shared.push.host();
                Some(notice(format!("Segment's libraries send here when their host is '{host}'")))
            }
            _ => None,
        }
    }

    fn persist(&mut self, record: &Record) {
        let bytes = serde_json::to_vec(record).expect("records always serialize");
        self.pending.catalog.push((Record::key(record.id), Some(bytes)));
    }

    /// Puts an object into the catalog and starts what it runs. `stored_upper`: of a view that comes back.
    fn add(
        &mut self,
        plan: CreatePlan,
        mut record: Record,
        recovered: Option<u64>,
    ) -> Result<Record, SqlError> {
        let id = GlobalId::User(record.id);
        let mut item = CatalogItem {
            id,
            name: plan.name.clone(),
            kind: plan.kind(),
            desc: plan.desc.clone(),
            definition: None,
            create_sql: plan.create_sql.clone(),
            uses: plan.uses.clone(),
            index: None,
            defaults: vec![],
            connection: None,
        };
        let as_of = self.last_tick;
        let mut run = Run::Nothing;
        // What its errors relation reads, and that relation.
        let mut errors = None;
        match plan.item {
            CreateItem::Secret(value) => {
                if recovered.is_none() {
                    let bytes = catalog::encode_secret(&value);
                    self.pending.catalog.push((format!("secret/{:012}", record.id), Some(bytes)));
                }
                self.catalog.secrets.insert(id, value);
            }
            CreateItem::Connection { connection, .. } => item.connection = Some(connection),
            CreateItem::Source(source) => {
                let raw = GlobalId::User(
                    record.raw.ok_or_else(|| SqlError::internal("a source has no raw shard"))?,
                );
                let mut definition = source.definition;
                definition.replace_id(RAW_SELF, raw);
                item.definition = Some(definition);
                errors = Some((raw, source.errors));
                let from = source.from;
                self.catalog.sources.insert(
                    id,
                    SourceItem {
                        raw,
                        from,
                        headers: source.headers,
                        start_offsets: record.start_offsets.clone(),
                        progress_name: source.progress_name.clone(),
                    },
                );
                self.add_collection(raw, source::raw_desc().types(), true, Some((2, 3)));
                run = Run::Reader { progress_name: source.progress_name };
            }
            CreateItem::Table { defaults } => {
                item.defaults = defaults;
                let types = plan.desc.as_ref().map(RelationDesc::types).unwrap_or_default();
                self.add_collection(id, types, false, None);
            }
            CreateItem::View { hir } => item.definition = Some(hir),
            CreateItem::MaterializedView { relation, on_error, errors: of_view, .. } => {
                let types = plan.desc.as_ref().map(RelationDesc::types).unwrap_or_default();
                if on_error == OnError::Quarantine {
                    let stored = HirRelationExpr::Get { id, typ: types.clone() };
                    item.definition =
                        Some(HirRelationExpr::Catch { input: Box::new(stored), side: Side::Rows });
                }
                errors = Some((id, of_view));
                run = Run::View { relation, types };
            }
            CreateItem::Index { on, key, relation } => {
                item.index = Some((on, key.clone()));
                run = Run::Index { on, key, relation };
            }
            CreateItem::Sink => {
                return Err(SqlError::unsupported("CREATE SINK", "Sinks come with the next release."));
            }
            CreateItem::Type => return Err(SqlError::unsupported("CREATE TYPE", "")),
        }
        let name = item.name.clone();
        self.catalog.insert(item, Some(record.clone()));
        if let Some((of, (definition, desc))) = errors {
            self.add_errors(id, &name, of, definition, desc);
        }
        match run {
            Run::Nothing => {}
            Run::Reader { progress_name } => {
                if recovered.is_none() {
                    self.start_reader(id, record.start_offsets.clone());
                }
                self.add_progress(id, &name, &progress_name);
            }
            Run::View { relation, types } => {
                let fingerprint = fingerprint(&relation);
                let stateless = is_stateless(&relation);
                let append_only = relation.monotonic(&|id| self.is_append_only(id));
                self.dataflows.send(dataflow::Command::CreateCollection {
                    id,
                    typ: types,
                    append_only,
                    origin: None,
                });
                let same = record.fingerprint.as_ref() == Some(&fingerprint);
                let resume_after =
                    recovered.filter(|_| stateless && same).map(|upper| upper.saturating_sub(1));
                let reconcile = recovered.is_some() && resume_after.is_none();
                self.objects.insert(
                    id,
                    Object {
                        kind: ObjectKind::View { arranged: !stateless },
                        frontier: 0,
                        caught_up: false,
                        stored_upper: recovered.unwrap_or(0),
                        since: as_of,
                        hydration: vec![],
                    },
                );
                let output = Output::Materialized { arrange: !stateless, reconcile };
                self.install_from(id, &name.to_string(), relation, as_of, None, output, resume_after);
                if !same {
                    record.fingerprint = Some(fingerprint);
                    self.catalog.records.insert(id, record.clone());
                    if recovered.is_some() {
                        self.persist(&record);
                    }
                }
            }
            Run::Index { on, key, relation } => {
                let kind = ObjectKind::Index { on, key: key.clone() };
                self.objects.insert(
                    id,
                    Object {
                        kind,
                        frontier: 0,
                        caught_up: false,
                        stored_upper: 0,
                        since: as_of,
                        hydration: vec![],
                    },
                );
                self.install(id, &name.to_string(), relation, as_of, None, Output::Index { on, key });
                self.hide_definition(on);
            }
        }
        Ok(record)
    }

    /// A view with an index is read from the index, no longer inlined.
    fn hide_definition(&mut self, on: GlobalId) {
        if let Some(item) = self.catalog.items.get_mut(&on)
            && item.kind == ItemKind::View
            && let Some(definition) = item.definition.take()
        {
            self.hidden_definitions.insert(on, definition);
        }
    }

    /// Whether the collection only grows.
    pub(crate) fn is_append_only(&self, id: GlobalId) -> bool {
        self.catalog.source_of_raw(id).is_some()
    }

    fn add_collection(
        &mut self,
        id: GlobalId,
        typ: Vec<ColumnType>,
        append_only: bool,
        origin: Option<(usize, usize)>,
    ) {
        self.dataflows.send(dataflow::Command::CreateCollection { id, typ, append_only, origin });
        self.raws.insert(id);
    }

    /// The relation that says how far a source has come.
    fn add_progress(&mut self, source: GlobalId, name: &ObjectName, progress_name: &str) {
        let GlobalId::User(number) = source else { return };
        let mut name = name.clone();
        name.item = progress_name.into();
        self.catalog.insert(introspection::progress_item(number, name, source), None);
    }

    /// The relation that shows what a source or view cannot compute, unless an object of the user has its name.
    fn add_errors(
        &mut self,
        owner: GlobalId,
        name: &ObjectName,
        of: GlobalId,
        mut definition: HirRelationExpr,
        desc: RelationDesc,
    ) {
        let GlobalId::User(number) = owner else { return };
        let mut name = name.clone();
        name.item = sql::errors_name(&name.item);
        if self.catalog.names.contains_key(&name) {
            tracing::warn!("{name} is an object already: the errors of {owner} have no relation");
            return;
        }
        definition.replace_id(RAW_SELF, of);
        self.catalog.insert(introspection::errors_item(number, name, owner, definition, desc), None);
    }

    /// Takes objects away, dependants first, with all that runs for them.
    fn drop_objects(&mut self, ids: &[GlobalId]) {
        for id in ids {
            let source = self.catalog.sources.get(id).cloned();
            let Some(item) = self.catalog.remove(*id) else { continue };
            let GlobalId::User(number) = *id else { continue };
            self.pending.catalog.push((Record::key(number), None));
            self.catalog.remove(introspection::errors_id(number));
            match item.kind {
                ItemKind::Secret => self.pending.catalog.push((format!("secret/{number:012}"), None)),
                ItemKind::Source => {
                    self.readers.remove(id);
                    self.shared.push.close(*id);
                    self.statuses.remove(id);
                    self.catalog.remove(introspection::progress_id(number));
                    self.pending.drop_progress.push(number);
                    if let Some(source) = source {
                        self.drop_collection(source.raw);
                    }
                }
                ItemKind::Table => self.drop_collection(*id),
                ItemKind::MaterializedView => {
                    self.objects.remove(id);
                    self.drop_dataflow(*id);
                    self.drop_collection(*id);
                }
                ItemKind::Index => {
                    self.objects.remove(id);
                    self.drop_dataflow(*id);
                    if let Some((on, _)) = item.index {
                        let others =
                            self.catalog.items.values().any(|i| i.index.as_ref().is_some_and(|x| x.0 == on));
                        if !others && let Some(definition) = self.hidden_definitions.remove(&on) {
                            self.catalog.items.entry(on).and_modify(|i| i.definition = Some(definition));
                        }
                    }
                }
                ItemKind::View => drop(self.hidden_definitions.remove(id)),
                ItemKind::Connection | ItemKind::Sink | ItemKind::Type => {}
            }
        }
    }

    fn drop_collection(&mut self, id: GlobalId) {
        self.raws.remove(&id);
        self.dataflows.send(dataflow::Command::DropCollection(id));
        self.forget_view_frames(shard_of(id));
        self.pending.drop_shards.push(shard_of(id));
        self.pending.blocks.retain(|(b, _)| *b != id);
    }

    /// What the reader of a source needs to know.
    pub(crate) fn source_config(&self, id: GlobalId) -> Result<source::SourceConfig, SqlError> {
        let source = &self.catalog.sources[&id];
        Ok(match source.from.clone() {
            SourceFrom::Kafka { connection, inline, topic, group_id_prefix, metadata_refresh, .. } => {
                source::SourceConfig::Kafka(source::KafkaSource {
                    connection: self.catalog.source_connection(connection, inline.as_ref())?,
                    topic,
                    headers: source.headers,
                    group_id: format!("{}deltamill-{id}", group_id_prefix.unwrap_or_default()),
                    metadata_refresh,
                })
            }
            SourceFrom::File { path, tail, compression } => source::SourceConfig::File(source::FileSource {
                path: path.into(),
                tail,
                compression: source::Compression::from_name(compression.as_deref()),
            }),
            SourceFrom::GeneratorSegment { seed, rate, events } => {
                source::SourceConfig::Segment(source::SegmentGenerator { seed, rate, events })
            }
            SourceFrom::Webhook(_) | SourceFrom::Segment(_) => {
                source::SourceConfig::Push(self.shared.push.open(id))
            }
            SourceFrom::GeneratorCounter { interval, max_cardinality: _ } => {
                source::SourceConfig::Counter(source::CounterGenerator { interval })
            }
        })
    }

    /// Plans what is stored of the catalog and starts it again.
    pub(crate) fn recover(&mut self, recovered: storage::Recovered) -> Result<(), String> {
        for note in &recovered.notes {
            tracing::info!("{note}");
        }
        let mut records = vec![];
        for (key, value) in &recovered.catalog {
            if let Some(schema) = key.strip_prefix("schema/").and_then(|s| s.split_once('/')) {
                self.catalog.schemas.insert((schema.0.into(), schema.1.into()));
            } else if key.starts_with("item/") {
                let record: Record = serde_json::from_slice(value).map_err(|e| format!("{key}: {e}"))?;
                records.push(record);
            }
        }
        let variables = Variables::default();
        for record in records {
            self.catalog.next_id =
                self.catalog.next_id.max(record.id + 1).max(record.raw.map_or(0, |r| r + 1));
            let what = format!("{} (u{})", record.object_name(), record.id);
            let upper = recovered.shards.get(&ShardId(record.id)).map_or(0, |s| s.upper);
            let created = self
                .plan_again(&record, &recovered, &variables)
                .and_then(|plan| self.add(plan, record, Some(upper)));
            if let Err(e) = created {
                return Err(format!("{what} cannot be brought back: {e}"));
            }
        }
        // Readers start last: what they bring must find everything in place.
        let sources: Vec<GlobalId> = self.catalog.sources.keys().copied().collect();
        for id in sources {
            let GlobalId::User(number) = id else { continue };
            let mut from = self.catalog.sources[&id].start_offsets.clone();
            from.extend(recovered.progress.get(&number).into_iter().flatten().map(|(p, o)| (*p, *o)));
            self.start_reader(id, from);
        }
        self.publish_catalog();
        Ok(())
    }

    fn plan_again(
        &self,
        record: &Record,
        recovered: &storage::Recovered,
        variables: &Variables,
    ) -> Result<CreatePlan, SqlError> {
        if record.kind == ItemKind::Secret {
            let value = recovered.catalog.get(&format!("secret/{:012}", record.id));
            let value = value.and_then(|v| catalog::decode_secret(v));
            let value = value.ok_or_else(|| SqlError::internal("its value is not stored"))?;
            return Ok(CreatePlan {
                name: record.object_name(),
                create_sql: record.create_sql.clone(),
                replace: None,
                if_not_exists: false,
                temporary: false,
                uses: vec![],
                desc: None,
                item: CreateItem::Secret(value),
            });
        }
        let catalog = SessionCatalog { state: &self.catalog, variables };
        let statements = sql::parse(&record.create_sql)?;
        let statement = statements.first().ok_or_else(|| SqlError::internal("its statement is empty"))?;
        match sql::plan(statement, &catalog, &[])?.plan {
            sql::Plan::Create(plan) => Ok(*plan),
            _ => Err(SqlError::internal("its statement creates nothing")),
        }
    }
}

enum Run {
    Nothing,
    Reader { progress_name: String },
    View { relation: RelationExpr, types: Vec<ColumnType> },
    Index { on: GlobalId, key: Vec<plan::ScalarExpr>, relation: RelationExpr },
}

/// Whether each output row depends on one input row only, so that stored output can be continued without its history.
fn is_stateless(relation: &RelationExpr) -> bool {
    let mut stateless = true;
    relation.visit_pre(&mut |r| {
        stateless &= !matches!(
            r,
            RelationExpr::Join { .. }
                | RelationExpr::Reduce { .. }
                | RelationExpr::TopK { .. }
                | RelationExpr::Threshold { .. }
                | RelationExpr::LetRec { .. }
                | RelationExpr::Constant { .. }
        )
    });
    stateless
}

/// What a view's stored rows were computed by: the plan and this program's version.
fn fingerprint(relation: &RelationExpr) -> String {
    let mut hasher = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
    hasher.write(format!("{relation:?}").as_bytes());
    format!("{}-{:016x}", env!("CARGO_PKG_VERSION"), hasher.finish())
}

/// The type of `mz_timestamp` columns of subscriptions, as Materialize has it.
pub(crate) fn timestamp_type() -> ScalarType {
    ScalarType::Numeric { scale: Some(0) }
}
