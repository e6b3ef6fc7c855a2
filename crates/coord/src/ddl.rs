//! What runs for the objects of the catalog: started and stopped with its changes, and brought back by a restart.

use std::hash::{BuildHasher, Hasher};

use dataflow::Output;
use plan::RelationExpr;
use repr::{ColumnType, GlobalId, RelationDesc, ScalarType, SqlError};
use sql::ItemKind;
use sql::plan::{CreateItem, CreatePlan, RAW_SELF, SecretValue, SourceFrom};
use storage::ShardId;

use crate::catalog::{self, Record, SessionCatalog, SourceItem, TEMPORARY_SCHEMA};
use crate::change::{self, Changed, Dropped};
use crate::command::Ddl;
use crate::coordinator::{Object, ObjectKind, State, shard_of};
use crate::variables::Variables;

impl State {
    /// Changes the catalog and everything that runs for it, all of it or nothing. Durable with the next tick.
    pub(crate) fn change(&mut self, changes: Vec<Ddl>) -> Result<(), SqlError> {
        // What cannot be done shows on a draft, before anything has happened.
        if changes.len() > 1 {
            let mut draft = self.catalog.clone();
            changes.iter().try_for_each(|change| draft.change(change).map(|_| ()))?;
        }
        changes.into_iter().try_for_each(|change| self.ddl(change))
    }

    fn ddl(&mut self, mut ddl: Ddl) -> Result<(), SqlError> {
        // A sink sends what comes from now on.
        if let Ddl::Create { plan, start_offsets, .. } = &mut ddl
            && matches!(plan.item, CreateItem::Sink(_))
        {
            *start_offsets = crate::sinks::made(self.last_tick);
        }
        // What can be refused comes before anything has changed.
        if let Ddl::SkipGap(id) = ddl {
            self.skip_gap(id)?;
        }
        let Changed { dropped, mut records } = self.catalog.change(&ddl)?;
        fail::point("catalog-change");
        dropped.into_iter().for_each(|dropped| self.stop(dropped));
        match ddl {
            Ddl::Create { plan, .. } => {
                let record = records.pop().ok_or_else(|| SqlError::internal("a new object has no record"))?;
                let record = self.start(*plan, record, None)?;
                self.persist(&record);
            }
            Ddl::CreateSchema { database, schema } => {
                self.pending.catalog.push((format!("schema/{database}/{schema}"), Some(vec![])));
            }
            Ddl::Drop { schema: Some((database, schema)), .. } => {
                self.pending.catalog.push((format!("schema/{database}/{schema}"), None));
            }
            Ddl::Drop { schema: None, .. } => {}
            Ddl::AlterSecret { id, value } => {
                self.persist_secret(id, &value);
                // Running readers take the new value up at once. What is pushed to asks for it with each request.
                let reads = |id: &GlobalId| matches!(self.catalog.sources[id].from, SourceFrom::Kafka { .. });
                let sources: Vec<GlobalId> = self.readers.keys().copied().filter(reads).collect();
                sources.into_iter().for_each(|source| self.restart_reader(source));
                self.restart_sinks();
            }
            Ddl::SkipGap(_) => {}
            Ddl::Comment { .. } | Ddl::Rename { .. } | Ddl::AlterSource { .. } => {
                records.iter().for_each(|record| self.persist(record))
            }
        }
        Ok(())
    }

    fn persist(&mut self, record: &Record) {
        let bytes = serde_json::to_vec(record).expect("records always serialize");
        self.pending.catalog.push((Record::key(record.id), Some(bytes)));
    }

    fn persist_secret(&mut self, id: GlobalId, value: &SecretValue) {
        let GlobalId::User(number) = id else { unreachable!("secrets are user objects") };
        self.pending.catalog.push((format!("secret/{number:012}"), Some(catalog::encode_secret(value))));
    }

    /// Starts what an object of the catalog runs. `recovered`: what is stored of a view that comes back.
    fn start(
        &mut self,
        plan: CreatePlan,
        mut record: Record,
        recovered: Option<u64>,
    ) -> Result<Record, SqlError> {
        let id = GlobalId::User(record.id);
        let as_of = self.last_tick;
        let name = plan.name.to_string();
        match plan.item {
            CreateItem::Secret(value) => {
                if recovered.is_none() {
                    self.persist_secret(id, &value);
                }
            }
            CreateItem::Source(source) => {
                let SourceItem { raw, retention, refused, .. } = self.catalog.sources[&id];
                if let Some(refused) = refused {
                    self.add_refused(id, refused, recovered.is_some());
                }
                self.add_collection(raw, source::raw_desc().types(), retention.is_none(), Some((2, 3)));
                if let Some(retention) = retention {
                    self.keeper.add(raw, retention);
                }
                if let Some(mut relation) = source.stored {
                    relation.replace_ids(&|id| if id == RAW_SELF { raw } else { id });
                    let types = plan.desc.as_ref().map(RelationDesc::types).unwrap_or_default();
                    self.start_view(id, &name, relation, types, &mut record, recovered);
                }
                if recovered.is_none() {
                    let ends = match self.catalog.sources[&id].from {
                        SourceFrom::Kafka { .. } => true,
                        SourceFrom::File { tail, .. } => !tail,
                        _ => false,
                    };
                    if ends && !self.is_offline() {
                        let now = self.instant();
                        self.first.begin(id, now);
                    }
                    self.start_reader(id, record.start_offsets.clone());
                }
            }
            CreateItem::Table { .. } => {
                let types = plan.desc.as_ref().map(RelationDesc::types).unwrap_or_default();
                self.add_collection(id, types, false, None);
            }
            CreateItem::MaterializedView { relation, .. } => {
                let types = plan.desc.as_ref().map(RelationDesc::types).unwrap_or_default();
                self.start_view(id, &name, relation, types, &mut record, recovered);
            }
            CreateItem::Index { on, key, relation } => {
                let kind = ObjectKind::Index { on, key: key.clone() };
                let object = Object {
                    kind,
                    frontier: 0,
                    caught_up: false,
                    stored_upper: 0,
                    since: as_of,
                    hydration: vec![],
                };
                self.objects.insert(id, object);
                self.install(id, &name, relation, as_of, None, Output::Index { on, key });
            }
            CreateItem::Sink(sink) => {
                let raw = record.raw.ok_or_else(|| SqlError::internal("a sink has no errors shard"))?;
                let second = record.second.map(GlobalId::User);
                let progress = recovered.map(|_| self.storage.progress(record.id)).unwrap_or_default();
                self.add_sink(
                    record.id,
                    GlobalId::User(raw),
                    second,
                    *sink,
                    &record.start_offsets,
                    &progress,
                )?;
                if recovered.is_none() {
                    self.start_sink(id);
                }
            }
            CreateItem::Connection { .. } | CreateItem::View { .. } | CreateItem::Type => {}
        }
        Ok(record)
    }

    /// Starts what computes stored rows: of a materialized view, or of a source that keeps its rows.
    fn start_view(
        &mut self,
        id: GlobalId,
        name: &str,
        relation: RelationExpr,
        typ: Vec<ColumnType>,
        record: &mut Record,
        recovered: Option<u64>,
    ) {
        let as_of = self.last_tick;
        let fingerprint = fingerprint(&relation);
        let stateless = is_stateless(&relation);
        let append_only = relation.monotonic(&|id| self.is_append_only(id));
        self.dataflows.send(dataflow::Command::CreateCollection { id, typ, append_only, origin: None });
        let same = record.fingerprint.as_ref() == Some(&fingerprint);
        let resume_after = recovered.filter(|_| stateless && same).map(|upper| upper.saturating_sub(1));
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
        self.install_from(id, name, relation, as_of, None, output, resume_after);
        if !same {
            record.fingerprint = Some(fingerprint);
            self.catalog.records.insert(id, record.clone());
            if recovered.is_some() {
                self.persist(record);
            }
        }
    }

    /// Whether the collection only grows.
    pub(crate) fn is_append_only(&self, id: GlobalId) -> bool {
        let source = self.catalog.source_of_raw(id);
        source.is_some_and(|source| self.catalog.sources[&source].retention.is_none())
    }

    pub(crate) fn add_collection(
        &mut self,
        id: GlobalId,
        typ: Vec<ColumnType>,
        append_only: bool,
        origin: Option<(usize, usize)>,
    ) {
        self.dataflows.send(dataflow::Command::CreateCollection { id, typ, append_only, origin });
        self.raws.insert(id);
    }

    /// Ends what ran for an object that has left the catalog.
    fn stop(&mut self, dropped: Dropped) {
        let Dropped { item, source } = dropped;
        let (id, GlobalId::User(number)) = (item.id, item.id) else { return };
        self.pending.catalog.push((Record::key(number), None));
        match item.kind {
            ItemKind::Secret => self.pending.catalog.push((format!("secret/{number:012}"), None)),
            ItemKind::Source => {
                self.readers.remove(&id);
                self.shared.push.close(id);
                self.drop_refused(id);
                self.statuses.remove(&id);
                self.pending.drop_progress.push(number);
                if self.objects.contains_key(&id) {
                    self.stop_view(id);
                }
                if let Some(source) = source {
                    self.drop_collection(source.raw);
                }
            }
            ItemKind::Table => self.drop_collection(id),
            ItemKind::MaterializedView => self.stop_view(id),
            ItemKind::Index => {
                self.objects.remove(&id);
                self.drop_dataflow(id);
            }
            ItemKind::Sink => self.drop_sink(id, number),
            ItemKind::View | ItemKind::Connection | ItemKind::Type => {}
        }
    }

    fn stop_view(&mut self, id: GlobalId) {
        self.objects.remove(&id);
        self.drop_dataflow(id);
        self.drop_collection(id);
    }

    pub(crate) fn drop_collection(&mut self, id: GlobalId) {
        self.raws.remove(&id);
        self.keeper.remove(id);
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
            tracing::warn!("{note}");
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
        let last = records.iter().flat_map(|r| [Some(r.id), r.raw, r.second]).flatten().max();
        self.catalog.next_id = self.catalog.next_id.max(last.map_or(0, |last| last + 1));
        for mut record in records {
            // Its session is gone.
            if record.object_name().schema.starts_with(TEMPORARY_SCHEMA) {
                self.pending.catalog.push((Record::key(record.id), None));
                self.pending.drop_shards.push(ShardId(record.id));
                continue;
            }
            let what = format!("{} (u{})", record.object_name(), record.id);
            let upper = recovered.shards.get(&ShardId(record.id)).map_or(0, |s| s.upper);
            let created = self.plan_again(&record, &recovered, &variables).and_then(|plan| {
                // Made by a version that had none.
                if change::has_second(&plan.item) && record.second.is_none() {
                    record.second = Some(self.catalog.allocate());
                    self.persist(&record);
                }
                self.catalog.add(&plan, &record)?;
                self.start(plan, record, Some(upper))
            });
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
        self.restart_sinks();
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
                retain_history: None,
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

/// Whether each output row depends on one input row only, so that stored output can be continued without its history.
fn is_stateless(relation: &RelationExpr) -> bool {
    // What leaves by the clock must be remembered.
    let mut stateless = !crate::read::wants_now(relation);
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
