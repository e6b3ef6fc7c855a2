//! `ALTER SOURCE`: gaps that are given up, and records that are decoded again.
//!
//! What a source stores are raw records; its columns are a query over them. So another format, or another way with errors,
//! makes other rows of the same records, at one time: the statement is changed, and what is made of the source is made anew
//! in the same tick. Records that decode now leave the errors relation and are in the source, and those that do not are
//! still there.

use std::collections::BTreeSet;
use std::sync::Arc;

use repr::error::code;
use repr::{Datum, GlobalId, SqlError, SqlState};
use sql::plan::{CreatePlan, SourceFrom};
use sql::{ItemKind, Plan};

use crate::catalog::{CatalogState, SessionCatalog};
use crate::command::Ddl;
use crate::coordinator::{Acknowledge, State};
use crate::rows::Outcome;
use crate::session::Session;

fn notice(message: String) -> SqlError {
    SqlError::new(SqlState::new("00000"), message)
}

impl Session {
    /// `ALTER SOURCE … REPLAY ERRORS`. `None`: the catalog has changed meanwhile.
    pub(crate) async fn replay_errors(
        &mut self,
        id: GlobalId,
        change: Option<&CreatePlan>,
        version: u64,
    ) -> Result<Option<Outcome>, SqlError> {
        let catalog = self.catalog();
        let name = catalog.items.get(&id).map(|i| i.name.clone());
        let mut name = name.ok_or_else(|| SqlError::new(code::UNDEFINED_OBJECT, "the source was dropped"))?;
        name.item = sql::errors_name(&name.item);
        let count = format!("SELECT count(*) FROM {}", sql::quoted(&name));
        let before = self.count(&count).await?;
        if let Some(change) = change {
            self.outside_transaction("ALTER SOURCE … REPLAY ERRORS")?;
            let (catalog, variables, change) = (self.catalog(), self.variables.clone(), change.clone());
            let work = move || {
                let changes = altered(&catalog, &variables, id, change)?;
                Ok((catalog, changes))
            };
            let (catalog, changes) = self.handle.shared.planner.run(work).await?;
            if !self.change_all(catalog, version, changes).await? {
                return Ok(None);
            }
        }
        let after = self.count(&count).await?;
        let (replayed, s) = (before.saturating_sub(after), if before == 1 { "" } else { "s" });
        let text =
            format!("{replayed} of {before} record{s} with errors decode now, {after} do not: see {name}");
        let hint = "Give another FORMAT, or WITH (ON ERROR = QUARANTINE) to leave them out.";
        let notice = notice(text);
        self.notices.push(if after > 0 && change.is_none() { notice.with_hint(hint) } else { notice });
        Ok(Some(Outcome::Done("ALTER SOURCE".into())))
    }

    /// The number that a query of this program gives.
    async fn count(&mut self, query: &str) -> Result<i64, SqlError> {
        let outcome = Box::pin(self.run(query)).await?;
        let Outcome::Rows { rows, .. } = outcome else { return Err(SqlError::internal("a count has a row")) };
        let rows = rows.collect().await?;
        match rows.first().and_then(|row| row.iter().next()) {
            Some(Datum::Int64(n)) => Ok(n),
            _ => Err(SqlError::internal("a count is a number")),
        }
    }
}

/// The changes that give a source another definition: it, and what is made of it, in one step.
fn altered(
    catalog: &Arc<CatalogState>,
    variables: &crate::variables::Variables,
    id: GlobalId,
    change: CreatePlan,
) -> Result<Vec<Ddl>, SqlError> {
    let (mut dependants, mut rest) = (BTreeSet::new(), vec![id]);
    while let Some(used) = rest.pop() {
        let indexes = catalog.items.values().filter(|i| i.index.as_ref().is_some_and(|(on, _)| *on == used));
        for by in catalog.used_by(used).into_iter().chain(indexes.map(|i| i.id)) {
            if dependants.insert(by) {
                rest.push(by);
            }
        }
    }
    // Errors and progress relations follow their objects by themselves; views over them do not.
    dependants.retain(|d| matches!(d, GlobalId::User(_)));
    if let Some(sink) = dependants.iter().find(|d| catalog.items[*d].kind == ItemKind::Sink) {
        let (source, sink) = (&catalog.items[&id].name.item, &catalog.items[sink].name.item);
        let message = format!("cannot decode source \"{source}\" again because a sink depends on it");
        return Err(SqlError::new(code::DEPENDENT_OBJECTS_STILL_EXIST, message)
            .with_detail(format!("Sink \"{sink}\" has sent what was made of the records before."))
            .with_hint("Drop the sink, and create it again afterwards."));
    }
    let mut draft = (**catalog).clone();
    let mut changes = vec![];
    let mut add = |draft: &mut CatalogState, change: Ddl| -> Result<(), SqlError> {
        draft.change(&change)?;
        changes.push(change);
        Ok(())
    };
    let ids: Vec<GlobalId> = dependants.iter().rev().copied().collect();
    add(&mut draft, Ddl::Drop { ids, schema: None })?;
    add(&mut draft, Ddl::AlterSource { id, plan: Box::new(change) })?;
    for old in dependants {
        let record =
            catalog.records.get(&old).ok_or_else(|| SqlError::internal("an object has no record"))?;
        let seen = SessionCatalog { state: &draft, variables };
        let statements = sql::parse(&record.create_sql)?;
        let statement = statements.first().ok_or_else(|| SqlError::internal("its statement is empty"))?;
        let planned = sql::plan(statement, &seen, &[]).map_err(|e| {
            let detail = format!("{} cannot be made of it: {}", record.object_name(), e.message);
            SqlError::new(e.code, "the source's new columns do not fit what is made of it")
                .with_detail(detail)
        })?;
        let Plan::Create(plan) = planned.plan else {
            return Err(SqlError::internal("its statement creates nothing"));
        };
        let name = plan.name.clone();
        let applied = record.applied.clone();
        add(&mut draft, Ddl::Create { plan, start_offsets: Default::default(), applied })?;
        let Some(new) = draft.names.get(&name).copied() else { continue };
        let columns = record.column_comments.iter().map(|(c, text)| (Some(*c), text.clone()));
        for (column, text) in record.comment.iter().map(|text| (None, text.clone())).chain(columns) {
            add(&mut draft, Ddl::Comment { id: new, column, text: Some(text) })?;
        }
    }
    Ok(changes)
}

impl State {
    /// Gives up the records of a source that are gone: it goes on with what is there.
    pub(crate) fn skip_gap(&mut self, id: GlobalId) -> Result<(), SqlError> {
        let GlobalId::User(number) = id else { return Err(SqlError::internal("sources are user objects")) };
        let name = self.catalog.items.get(&id).map_or_else(String::new, |i| i.name.item.clone());
        let status = self.statuses.get(&id);
        let gaps = status.map(|s| s.gaps.clone()).unwrap_or_default();
        if gaps.is_empty() {
            let e = SqlError::new(
                code::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("source \"{name}\" has no gap that could be skipped"),
            );
            let how = status.and_then(|s| s.error.clone().map(|e| format!("It is {}: {e}.", s.status)));
            return Err(match how {
                Some(how) => e.with_detail(how),
                None => e,
            });
        }
        let kafka = matches!(self.catalog.sources.get(&id).map(|s| &s.from), Some(SourceFrom::Kafka { .. }));
        debug_assert!(kafka, "only topics lose records");
        let progress: Vec<(i32, i64)> = gaps.iter().map(|g| (g.partition, g.first)).collect();
        for gap in &gaps {
            tracing::warn!(
                source = name,
                partition = gap.partition,
                from = gap.next,
                upto = gap.first,
                "gap skipped"
            );
        }
        // Durable with the statement; the reader goes on from there at once.
        self.pending.progress.entry(number).or_default().extend(progress.iter().copied());
        self.pending.acknowledge.push(Acknowledge::Progress(id, progress, 0, 0, None));
        if let Some(status) = self.statuses.get_mut(&id) {
            status.gaps.clear();
        }
        self.restart_reader(id);
        Ok(())
    }
}
