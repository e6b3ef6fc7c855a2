//! Changes of the catalog alone, without what runs for them: for the loop, and for drafts of transactions.

use std::collections::BTreeMap;

use plan::hir::HirRelationExpr;
use plan::{LocalId, RelationExpr, Side};
use repr::error::code;
use repr::{GlobalId, RelationDesc, SqlError, SqlState};
use sql::plan::{CreateItem, CreatePlan, OnError, RAW_SELF, REFUSED_SELF, SourceFrom};
use sql::{CatalogItem, ItemKind, ObjectName};

use crate::catalog::{CatalogState, Record, SourceItem, TEMPORARY_SCHEMA};
use crate::command::Ddl;
use crate::{introspection, sinks};

/// What a change has done, for those who run and store objects.
#[derive(Default)]
pub struct Changed {
    /// What is gone, in order.
    pub dropped: Vec<Dropped>,
    /// The records that are new or have changed.
    pub records: Vec<Record>,
}

/// An object that has left the catalog.
pub struct Dropped {
    /// It.
    pub item: CatalogItem,
    /// Its part that runs, of a source.
    pub source: Option<SourceItem>,
}

impl CatalogState {
    /// Makes a change. The same changes on equal catalogs give the same identities.
    pub fn change(&mut self, change: &Ddl) -> Result<Changed, SqlError> {
        let mut changed = Changed::default();
        match change {
            Ddl::Create { plan, start_offsets, applied } => {
                if plan.temporary {
                    plan.replace.into_iter().for_each(|old| drop(self.drop_all(&[old])));
                    self.add_temporary(plan);
                    self.version += 1;
                    return Ok(changed);
                }
                let of_session = |id: &GlobalId| {
                    let used = self.items.get(id).map(|i| &i.name.schema);
                    used.is_some_and(|s| s.starts_with(TEMPORARY_SCHEMA) && *s != plan.name.schema)
                };
                if let Some(own) = plan.uses.iter().find(|id| is_temporary(**id) || of_session(id)) {
                    let name = self.items.get(own).map_or_else(|| own.to_string(), |i| i.name.item.clone());
                    let message = "non-temporary items cannot depend on temporary item";
                    return Err(SqlError::new(SqlState::new("42P16"), message).with_detail(name));
                }
                if let Some(old) = plan.replace {
                    // Its indexes go with it.
                    let of_old = |i: &&CatalogItem| i.index.as_ref().is_some_and(|(on, _)| *on == old);
                    let mut ids: Vec<GlobalId> = self.items.values().filter(of_old).map(|i| i.id).collect();
                    ids.push(old);
                    changed.dropped = self.drop_all(&ids);
                }
                let id = self.allocate();
                let raw =
                    matches!(plan.item, CreateItem::Source(_) | CreateItem::Sink(_)).then(|| self.allocate());
                let second = has_second(&plan.item).then(|| self.allocate());
                let name = plan.name.clone();
                let record = Record {
                    id,
                    name: (name.database, name.schema, name.item),
                    kind: plan.kind(),
                    create_sql: plan.create_sql.clone(),
                    raw,
                    second,
                    start_offsets: start_offsets.clone(),
                    fingerprint: None,
                    applied: applied.clone(),
                    comment: None,
                    column_comments: BTreeMap::new(),
                };
                self.add(plan, &record)?;
                changed.records.push(record);
            }
            Ddl::CreateSchema { database, schema } => {
                self.schemas.insert((database.clone(), schema.clone()));
            }
            Ddl::Drop { ids, schema } => {
                changed.dropped = self.drop_all(ids);
                self.schemas.retain(|name| schema.as_ref() != Some(name));
            }
            Ddl::AlterSecret { id, value } => drop(self.secrets.insert(*id, value.clone())),
            Ddl::SkipGap(_) => {}
            Ddl::AlterSource { id, plan } => {
                let mut record = self
                    .records
                    .get(id)
                    .cloned()
                    .ok_or_else(|| SqlError::new(code::UNDEFINED_OBJECT, "the source was dropped"))?;
                record.create_sql.clone_from(&plan.create_sql);
                if let GlobalId::User(number) = id {
                    self.remove(introspection::errors_id(*number));
                    self.remove(introspection::progress_id(*number));
                }
                self.add(plan, &record)?;
                changed.records.push(record);
            }
            Ddl::Rename { names, statements } => {
                // All old names go first: two objects may take each other's.
                for (id, _) in names {
                    if let Some(item) = self.items.get(id) {
                        self.names.remove(&item.name);
                    }
                }
                for (id, name) in names {
                    let Some(item) = self.items.get_mut(id) else { continue };
                    self.names.insert(name.clone(), *id);
                    item.name = name.clone();
                    if let Some(record) = self.records.get_mut(id) {
                        let name = name.clone();
                        record.name = (name.database, name.schema, name.item);
                    }
                }
                for (id, statement) in statements {
                    self.items.entry(*id).and_modify(|item| item.create_sql = statement.clone());
                    if let Some(record) = self.records.get_mut(id) {
                        record.create_sql = statement.clone();
                        changed.records.push(record.clone());
                    }
                }
            }
            Ddl::Comment { id, column, text } => {
                let record = self.records.get_mut(id).ok_or_else(|| {
                    SqlError::new(code::INSUFFICIENT_PRIVILEGE, "system objects cannot be commented on")
                })?;
                match (column, text.clone()) {
                    (None, text) => record.comment = text,
                    (Some(c), Some(text)) => drop(record.column_comments.insert(*c, text)),
                    (Some(c), None) => drop(record.column_comments.remove(c)),
                }
                changed.records.push(record.clone());
            }
        }
        self.version += 1;
        Ok(changed)
    }

    /// Adds an object under the identity of its record.
    pub fn add(&mut self, plan: &CreatePlan, record: &Record) -> Result<(), SqlError> {
        let id = GlobalId::User(record.id);
        let mut item = item(plan, id, None);
        item.keys = self.keys(plan);
        if let Some(history) = plan.retain_history {
            self.retain.insert(id, u64::try_from(history.as_millis()).unwrap_or(u64::MAX));
        }
        let (mut progress, mut second) = (None, None);
        // What its errors relation reads, and that relation.
        let mut errors = None;
        match &plan.item {
            CreateItem::Secret(value) => drop(self.secrets.insert(id, value.clone())),
            CreateItem::Connection { connection, .. } => item.connection = Some(connection.clone()),
            CreateItem::Source(source) => {
                let raw = record.raw.ok_or_else(|| SqlError::internal("a source has no raw shard"))?;
                let raw = GlobalId::User(raw);
                let mut definition = source.definition.clone();
                definition.replace_id(RAW_SELF, raw);
                // What is stored is read as it is.
                item.definition = Some(definition).filter(|_| source.stored.is_none());
                self.sources.insert(
                    id,
                    SourceItem {
                        raw,
                        refused: record.second.map(GlobalId::User),
                        from: source.from.clone(),
                        headers: source.headers,
                        start_offsets: record.start_offsets.clone(),
                        progress_name: source.progress_name.clone(),
                        retention: source.retention,
                    },
                );
                // The relation that says how far the source has come.
                let mut name = plan.name.clone();
                name.item = source.progress_name.clone();
                errors = Some((raw, record.second.map(GlobalId::User), &source.errors));
                progress = Some(introspection::progress_item(record.id, name, id));
            }
            CreateItem::Table { defaults } => item.defaults = defaults.clone(),
            CreateItem::View { hir } => item.definition = Some(hir.clone()),
            CreateItem::Index { on, key, .. } => {
                item.index = Some((*on, key.clone()));
                // A view with an index is read from the index, no longer inlined.
                if let Some(view) = self.items.get_mut(on)
                    && view.kind == ItemKind::View
                    && let Some(definition) = view.definition.take()
                {
                    self.hidden_definitions.insert(*on, definition);
                }
            }
            CreateItem::MaterializedView { on_error, errors: of_view, .. } => {
                if *on_error == OnError::Quarantine {
                    let types = plan.desc.as_ref().map(RelationDesc::types).unwrap_or_default();
                    let stored = HirRelationExpr::Get { id, typ: types };
                    item.definition =
                        Some(HirRelationExpr::Catch { input: Box::new(stored), side: Side::Rows });
                }
                errors = Some((id, None, of_view));
            }
            CreateItem::Sink(sink) => {
                item.sink = Some(sink.into.clone());
                let raw = record.raw.ok_or_else(|| SqlError::internal("a sink has no errors shard"))?;
                if let Some(calls) = record.second {
                    let calls = sinks::calls_item(record.id, plan.name.clone(), GlobalId::User(calls));
                    if self.names.contains_key(&calls.name) {
                        let message = format!("relation \"{}\" already exists", calls.name.item);
                        return Err(SqlError::new(code::DUPLICATE_TABLE, message)
                            .with_detail("A dry run's calls are shown under this name."));
                    }
                    second = Some(calls);
                }
                progress = Some(sinks::errors_item(record.id, plan.name.clone(), GlobalId::User(raw)));
            }
            CreateItem::Type => {}
        }
        self.insert(item, Some(record.clone()));
        if let Some((of, refused, (definition, desc))) = errors {
            self.add_errors(record.id, &plan.name, (of, refused), definition, desc);
        }
        progress.into_iter().chain(second).for_each(|item| self.insert(item, None));
        Ok(())
    }

    /// By which columns no two rows of a stored object agree, given those of what it reads.
    fn keys(&self, plan: &CreatePlan) -> Vec<Vec<usize>> {
        let relation = match &plan.item {
            CreateItem::MaterializedView { relation, .. } => Some(relation),
            CreateItem::Source(source) => source.stored.as_ref(),
            _ => None,
        };
        let Some(mut relation) = relation.cloned() else { return vec![] };
        let mut known = BTreeMap::new();
        relation.visit_post_mut(&mut |r| {
            if let RelationExpr::Get { id: GlobalId::User(n), typ } = r {
                // The plan's own names are numbered from 0.
                let name = LocalId(u64::MAX - *n);
                let keys = self.items.get(&GlobalId::User(*n)).map(|i| i.keys.clone());
                known.insert(name, keys.unwrap_or_default());
                *r = RelationExpr::LocalGet { id: name, typ: std::mem::take(typ) };
            }
        });
        relation.keys_within(&mut known)
    }

    /// The relation that shows what a source or view cannot compute, unless an object of the user has its name.
    fn add_errors(
        &mut self,
        owner: u64,
        name: &ObjectName,
        (of, refused): (GlobalId, Option<GlobalId>),
        definition: &HirRelationExpr,
        desc: &RelationDesc,
    ) {
        let mut name = name.clone();
        name.item = sql::errors_name(&name.item);
        if self.names.contains_key(&name) {
            tracing::warn!("{name} is an object already: the errors of u{owner} have no relation");
            return;
        }
        let mut definition = definition.clone();
        definition.replace_id(RAW_SELF, of);
        refused.into_iter().for_each(|refused| definition.replace_id(REFUSED_SELF, refused));
        let owned = GlobalId::User(owner);
        self.insert(introspection::errors_item(owner, name, owned, definition, desc.clone()), None);
    }

    /// Adds a view that is this session's own. Its identity is none that the loop could know.
    pub fn add_temporary(&mut self, plan: &CreatePlan) {
        let CreateItem::View { hir } = &plan.item else { return };
        let taken = self.items.keys().filter(|id| is_temporary(**id)).count() as u64;
        // One may have been dropped: the next free identity.
        let free = (TEMPORARY + taken..).map(GlobalId::Transient).find(|id| !self.items.contains_key(id));
        let Some(id) = free else { return };
        self.insert(item(plan, id, Some(hir.clone())), None);
    }

    /// Takes objects away, dependants first.
    fn drop_all(&mut self, ids: &[GlobalId]) -> Vec<Dropped> {
        let mut dropped = vec![];
        for id in ids {
            let source = self.sources.get(id).cloned();
            let Some(item) = self.remove(*id) else { continue };
            if let GlobalId::User(number) = *id {
                self.remove(introspection::errors_id(number));
                self.remove(introspection::progress_id(number));
            }
            self.hidden_definitions.remove(id);
            // The last index of a view gone, the view is inlined again.
            if let Some((on, _)) = &item.index {
                let others = self.items.values().any(|i| i.index.as_ref().is_some_and(|x| x.0 == *on));
                if !others && let Some(definition) = self.hidden_definitions.remove(on) {
                    self.items.entry(*on).and_modify(|i| i.definition = Some(definition));
                }
            }
            dropped.push(Dropped { item, source });
        }
        dropped
    }
}

/// Whether an object has a second collection: see [`Record::second`].
pub fn has_second(item: &CreateItem) -> bool {
    match item {
        CreateItem::Sink(sink) => sinks::is_dry_run(sink),
        CreateItem::Source(s) => matches!(s.from, SourceFrom::Webhook(_) | SourceFrom::Segment(_)),
        _ => false,
    }
}

/// Whether the object is a temporary view.
pub fn is_temporary(id: GlobalId) -> bool {
    matches!(id, GlobalId::Transient(n) if (TEMPORARY..u64::MAX).contains(&n))
}

/// The identities of temporary views start here.
const TEMPORARY: u64 = 1 << 62;

/// What planning sees of a new object.
fn item(plan: &CreatePlan, id: GlobalId, definition: Option<HirRelationExpr>) -> CatalogItem {
    CatalogItem {
        id,
        name: plan.name.clone(),
        kind: plan.kind(),
        desc: plan.desc.clone(),
        definition,
        create_sql: plan.create_sql.clone(),
        uses: plan.uses.clone(),
        index: None,
        defaults: vec![],
        keys: vec![],
        sink: None,
        connection: None,
    }
}
