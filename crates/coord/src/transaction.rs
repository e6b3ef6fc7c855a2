//! The transaction of a session: one time for its reads, and what it does at its end, all of it or nothing.
//!
//! Writes and changes of the catalog gather here. Once there is a change, statements are planned against a *draft*: a
//! copy of the catalog with the changes made. COMMIT sends everything to the loop, which does it in one tick, if the
//! catalog is still the one that the draft was copied from.
//!
//! Temporary views live in the session alone, as a layer over the catalog that is planned again when the catalog changes.

use std::sync::Arc;

use plan::RelationExpr;
use repr::error::code;
use repr::{GlobalId, RowBlock, SqlError, SqlState, Timestamp};
use sql::plan::CreatePlan;
use tokio::sync::oneshot;

use crate::catalog::{CatalogState, SessionCatalog};
use crate::change::is_temporary;
use crate::command::{Command, Ddl};
use crate::coordinator::shutting_down;
use crate::rows::Outcome;
use crate::session::Session;
use crate::variables::Variables;

/// The transaction that a session is in.
#[derive(Debug, Default)]
pub(crate) enum Transaction {
    /// Each statement is one.
    #[default]
    None,
    /// Between BEGIN and COMMIT.
    Open(Open),
    /// A statement in it has failed: only its end is taken, or a way back to a savepoint.
    Failed(Open),
}

/// What ReadyForQuery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// In none.
    Idle,
    /// In one.
    Open,
    /// In one that has failed.
    Failed,
}

#[derive(Debug, Default)]
pub(crate) struct Open {
    /// The time of all its reads, once there was one.
    pub time: Option<Timestamp>,
    /// When it began, ms.
    pub began: Timestamp,
    pub(crate) writes: Vec<(GlobalId, RowBlock)>,
    changes: Vec<Ddl>,
    draft: Option<Layer>,
    /// Settings to go back to.
    before: Variables,
    /// Settings that stay after COMMIT: those of SET LOCAL do not.
    after: Variables,
    savepoints: Vec<Savepoint>,
}

/// How far a transaction had come.
#[derive(Debug)]
struct Savepoint {
    name: String,
    writes: usize,
    changes: usize,
    draft: Option<Layer>,
    now: Variables,
    after: Variables,
}

/// A catalog that only this session sees.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The version of the catalog that it lies over.
    base: u64,
    /// Its own version is that of no other catalog.
    catalog: Arc<CatalogState>,
}

/// A catalog changed while a transaction relied on it.
fn overtaken() -> SqlError {
    let message = "could not serialize access: another session has changed the catalog";
    SqlError::new(SqlState::new("40001"), message).with_hint("Run the transaction again.")
}

impl Session {
    /// What ReadyForQuery says.
    pub fn transaction_status(&self) -> TransactionStatus {
        match self.transaction {
            Transaction::None => TransactionStatus::Idle,
            Transaction::Open(_) => TransactionStatus::Open,
            Transaction::Failed(_) => TransactionStatus::Failed,
        }
    }

    /// A statement of this session has failed: an open transaction fails with it.
    pub fn failed(&mut self) {
        match std::mem::take(&mut self.transaction) {
            Transaction::Open(mut open) => {
                // With a savepoint it may go on.
                if open.savepoints.is_empty() {
                    self.cursors.clear();
                    self.release_hold(open.time.take());
                    open.writes.clear();
                }
                self.transaction = Transaction::Failed(open);
            }
            other => self.transaction = other,
        }
    }

    pub(crate) fn begin(&mut self) {
        if !matches!(self.transaction, Transaction::None) {
            let message = "there is already a transaction in progress";
            return self.notices.push(SqlError::new(code::ACTIVE_SQL_TRANSACTION, message));
        }
        self.transaction = Transaction::Open(Open {
            began: self.handle.shared.clock.now(),
            before: self.variables.clone(),
            after: self.variables.clone(),
            ..Open::default()
        });
    }

    pub(crate) async fn commit(&mut self) -> Result<Outcome, SqlError> {
        let open = match std::mem::take(&mut self.transaction) {
            Transaction::Open(open) => open,
            none_or_failed => {
                let failed = matches!(none_or_failed, Transaction::Failed(_));
                self.transaction = none_or_failed;
                self.rollback();
                return Ok(Outcome::Done(if failed { "ROLLBACK" } else { "COMMIT" }.into()));
            }
        };
        self.release_hold(open.time);
        self.cursors.clear();
        self.restore(open.after);
        let result = match open.draft {
            Some(draft) => self.make(draft, open.changes, open.writes).await,
            None if open.writes.is_empty() => Ok(()),
            None => self.write_now(open.writes).await,
        };
        if let Err(e) = result {
            self.restore(open.before);
            return Err(e);
        }
        Ok(Outcome::Done("COMMIT".into()))
    }

    pub(crate) fn rollback(&mut self) {
        self.cursors.clear();
        match std::mem::take(&mut self.transaction) {
            Transaction::None => {
                let message = "there is no transaction in progress";
                self.notices.push(SqlError::new(code::NO_ACTIVE_SQL_TRANSACTION, message));
            }
            Transaction::Open(open) | Transaction::Failed(open) => {
                self.release_hold(open.time);
                self.restore(open.before);
            }
        }
    }

    /// As at the end of the connection.
    pub(crate) fn abandon(&mut self) {
        if let Transaction::Open(open) | Transaction::Failed(open) = std::mem::take(&mut self.transaction) {
            self.release_hold(open.time);
        }
    }

    fn release_hold(&self, time: Option<Timestamp>) {
        if let Some(time) = time {
            let _ = self.handle.send(Command::Hold(time, false));
        }
    }

    pub(crate) fn savepoint(&mut self, name: &str) -> Result<(), SqlError> {
        let now = self.variables.clone();
        let open = self.open("SAVEPOINT")?;
        open.savepoints.push(Savepoint {
            name: name.into(),
            writes: open.writes.len(),
            changes: open.changes.len(),
            draft: open.draft.clone(),
            now,
            after: open.after.clone(),
        });
        Ok(())
    }

    pub(crate) fn rollback_to(&mut self, name: &str) -> Result<(), SqlError> {
        let open = self.open("ROLLBACK TO SAVEPOINT")?;
        let at = open.find(name)?;
        open.savepoints.truncate(at + 1);
        let savepoint = &open.savepoints[at];
        open.writes.truncate(savepoint.writes);
        open.changes.truncate(savepoint.changes);
        open.draft = savepoint.draft.clone();
        open.after = savepoint.after.clone();
        let now = savepoint.now.clone();
        self.transaction = match std::mem::take(&mut self.transaction) {
            Transaction::Open(open) | Transaction::Failed(open) => Transaction::Open(open),
            Transaction::None => Transaction::None,
        };
        self.restore(now);
        Ok(())
    }

    pub(crate) fn release(&mut self, name: &str) -> Result<(), SqlError> {
        let open = self.open("RELEASE SAVEPOINT")?;
        let at = open.find(name)?;
        open.savepoints.truncate(at);
        Ok(())
    }

    /// The transaction, also a failed one.
    fn open(&mut self, what: &str) -> Result<&mut Open, SqlError> {
        match &mut self.transaction {
            Transaction::Open(open) | Transaction::Failed(open) => Ok(open),
            Transaction::None => Err(SqlError::new(
                code::NO_ACTIVE_SQL_TRANSACTION,
                format!("{what} can only be used in transaction blocks"),
            )),
        }
    }

    // ---- settings

    /// Goes back to earlier settings.
    fn restore(&mut self, variables: Variables) {
        let before = self.variables.reported();
        self.variables = variables;
        let now = self.variables.reported();
        self.changed_parameters.extend(now.into_iter().filter(|p| !before.contains(p)));
        self.notices.set_silent(self.variables.is_silent());
    }

    pub(crate) fn set_variable(
        &mut self,
        name: &str,
        value: Option<&str>,
        local: bool,
    ) -> Result<(), SqlError> {
        match &mut self.transaction {
            Transaction::None if local => {
                let message = "SET LOCAL can only be used in transaction blocks";
                self.notices.push(SqlError::new(code::NO_ACTIVE_SQL_TRANSACTION, message));
                return Ok(());
            }
            Transaction::Open(open) if !local => drop(open.after.set(name, value)?),
            _ => {}
        }
        if name == "failpoints" {
            let invalid = |e| SqlError::new(code::INVALID_PARAMETER_VALUE, e);
            fail::set(value.unwrap_or_default()).map_err(invalid)?;
        }
        let changed = self.variables.set(name, value)?;
        self.changed_parameters.extend(changed);
        self.notices.set_silent(self.variables.is_silent());
        Ok(())
    }

    // ---- the catalog as this session sees it

    /// The catalog that statements are planned against.
    pub(crate) fn catalog(&self) -> Arc<CatalogState> {
        self.layer().map_or_else(|| self.handle.catalog(), |layer| layer.catalog.clone())
    }

    fn layer(&self) -> Option<&Layer> {
        let draft = match &self.transaction {
            Transaction::Open(open) => open.draft.as_ref(),
            _ => None,
        };
        draft.or(self.overlay.as_ref())
    }

    /// Plans temporary views again if the catalog below them has changed. Those whose objects are gone go too.
    pub(crate) async fn refresh(&mut self) -> Result<(), SqlError> {
        let shared = self.handle.catalog();
        let drafting = matches!(&self.transaction, Transaction::Open(open) if open.draft.is_some());
        let fresh = self.overlay.as_ref().is_some_and(|layer| layer.base == shared.version);
        if self.temporary.is_empty() {
            self.overlay = None;
            return Ok(());
        }
        if drafting || fresh {
            return Ok(());
        }
        let (base, version) = (shared.version, self.next_version());
        let (old, variables) = (self.temporary.clone(), self.variables.clone());
        let (catalog, temporary) = self
            .handle
            .shared
            .planner
            .run(move || {
                let mut catalog = (*shared).clone();
                let mut kept = vec![];
                for view in old {
                    let seen = SessionCatalog { state: &catalog, variables: &variables };
                    let planned = sql::parse(&view.create_sql).and_then(|s| {
                        let statement = s.first().ok_or_else(|| SqlError::internal("an empty statement"))?;
                        sql::plan(statement, &seen, &[])
                    });
                    if let Ok(sql::Planned { plan: sql::Plan::Create(plan), .. }) = planned {
                        catalog.add_temporary(&plan);
                        kept.push(*plan);
                    }
                }
                Ok((catalog, kept))
            })
            .await?;
        self.temporary = temporary;
        self.overlay = Some(Layer { base, catalog: Arc::new(CatalogState { version, ..catalog }) });
        Ok(())
    }

    /// A version that no other catalog has.
    fn next_version(&self) -> u64 {
        1 << 63 | self.handle.next_number()
    }

    /// The version of the loop's catalog for a query that was planned against this session's.
    pub(crate) fn base(&self, version: u64, relation: &RelationExpr) -> Result<u64, SqlError> {
        let Some(layer) = self.layer().filter(|layer| layer.catalog.version == version) else {
            return Ok(version);
        };
        let shared = self.handle.catalog();
        let inlined = |catalog: &CatalogState, id| catalog.items.get(&id).map(|i| i.definition.is_some());
        for id in relation.depends_on().into_iter().filter(|id| matches!(id, GlobalId::User(_))) {
            let known = shared.source_of_raw(id).is_some() || shared.items.contains_key(&id);
            if !known || inlined(&shared, id) != inlined(&layer.catalog, id) {
                return Err(SqlError::unsupported(
                    "reading an object in the transaction that creates or indexes it",
                    "Read it after COMMIT.",
                ));
            }
        }
        if self.is_drafting() && layer.base != shared.version {
            return Err(overtaken());
        }
        Ok(layer.base)
    }

    /// Whether a plan that the loop finds outdated cannot be made again.
    pub(crate) fn is_drafting(&self) -> bool {
        matches!(&self.transaction, Transaction::Open(open) if open.draft.is_some())
    }

    // ---- changes

    /// Changes the catalog: now, or when the transaction commits. `None`: it is no longer of this version.
    pub(crate) async fn ddl(
        &mut self,
        change: Ddl,
        version: u64,
        tag: &str,
    ) -> Result<Option<Outcome>, SqlError> {
        self.ddl_all(vec![change], version, tag).await
    }

    /// The same for several changes, which are made as one.
    pub(crate) async fn ddl_all(
        &mut self,
        changes: Vec<Ddl>,
        version: u64,
        tag: &str,
    ) -> Result<Option<Outcome>, SqlError> {
        let layer = self.layer().cloned();
        let layer = match layer.filter(|layer| layer.catalog.version == version) {
            Some(layer) => layer,
            None => {
                let catalog = self.handle.catalog();
                if catalog.version != version {
                    return Ok(None);
                }
                Layer { base: version, catalog }
            }
        };
        let done = Ok(Some(Outcome::Done(tag.into())));
        if matches!(self.transaction, Transaction::Open(_)) {
            let mut catalog = (*layer.catalog).clone();
            for change in &changes {
                catalog.change(change)?;
            }
            catalog.version = self.next_version();
            let open = self.open(tag)?;
            open.changes.extend(changes);
            open.draft = Some(Layer { base: layer.base, catalog: Arc::new(catalog) });
            return done;
        }
        match self.make(layer, changes, vec![]).await {
            Err(e) if e.code == overtaken().code => Ok(None),
            result => result.and(done),
        }
    }

    /// Carries changes out in one step. False: the catalog is no longer of this version, and nothing was done.
    pub(crate) async fn change_all(
        &mut self,
        catalog: Arc<CatalogState>,
        version: u64,
        changes: Vec<Ddl>,
    ) -> Result<bool, SqlError> {
        // Temporary views are planned again by themselves.
        let base = self.layer().filter(|l| l.catalog.version == version).map_or(version, |l| l.base);
        match self.make(Layer { base, catalog }, changes, vec![]).await {
            Err(e) if e.code == overtaken().code => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// For what cannot be part of a transaction.
    pub(crate) fn outside_transaction(&self, what: &str) -> Result<(), SqlError> {
        match self.transaction {
            Transaction::None => Ok(()),
            _ => Err(SqlError::new(
                code::ACTIVE_SQL_TRANSACTION,
                format!("{what} cannot run inside a transaction block"),
            )),
        }
    }

    /// Carries changes and writes out, in one step.
    async fn make(
        &mut self,
        layer: Layer,
        changes: Vec<Ddl>,
        rows: Vec<(GlobalId, RowBlock)>,
    ) -> Result<(), SqlError> {
        let (mut stored, mut temporary) = (vec![], self.temporary.clone());
        for change in changes {
            match change {
                Ddl::Create { plan, .. } if plan.temporary => {
                    temporary.retain(|view| view.name != plan.name);
                    temporary.push(*plan);
                }
                Ddl::Drop { ids, schema } => {
                    let (own, ids): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| is_temporary(*id));
                    if !own.is_empty() {
                        let named = |view: &CreatePlan| layer.catalog.names.get(&view.name).copied();
                        temporary.retain(|view| named(view).is_some_and(|id| !own.contains(&id)));
                    }
                    if !ids.is_empty() || schema.is_some() {
                        stored.push(Ddl::Drop { ids, schema });
                    }
                }
                change => stored.push(change),
            }
        }
        if !stored.is_empty() || !rows.is_empty() {
            let (reply, answer) = oneshot::channel();
            self.handle.send(Command::Ddl { version: layer.base, changes: stored, rows, reply })?;
            if !answer.await.map_err(|_| shutting_down())?? {
                return Err(overtaken());
            }
        }
        self.temporary = temporary;
        self.overlay = None;
        Ok(())
    }

    /// Writes now, or when the transaction commits.
    pub(crate) async fn write(&mut self, rows: Vec<(GlobalId, RowBlock)>) -> Result<(), SqlError> {
        match &mut self.transaction {
            Transaction::Open(open) => {
                open.writes.extend(rows);
                Ok(())
            }
            _ => self.write_now(rows).await,
        }
    }

    async fn write_now(&self, rows: Vec<(GlobalId, RowBlock)>) -> Result<(), SqlError> {
        let (reply, answer) = oneshot::channel();
        self.handle.send(Command::Write { rows, reply })?;
        answer.await.map_err(|_| shutting_down())?.map(|_| ())
    }
}

impl Open {
    fn find(&self, name: &str) -> Result<usize, SqlError> {
        self.savepoints.iter().rposition(|s| s.name == name).ok_or_else(|| {
            SqlError::new(SqlState::new("3B001"), format!("savepoint \"{name}\" does not exist"))
        })
    }
}
