//! A session: settings, a transaction, prepared statements, cursors; and how a statement is carried out for it.
//!
//! Statements that concern only the session end here. What touches data goes to the loop as a command. A plan that the
//! loop finds outdated is made again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plan::{RelationExpr, ScalarExpr};
use repr::error::code;
use repr::{Arena, Column, Datum, GlobalId, RelationDesc, Row, RowBlock, ScalarType, SqlError};
use sql::plan::{CreatePlan, SelectPlan, SubscribePlan};
use sql::{Plan, Planned, Statement};
use tokio::sync::oneshot;

use crate::bind::convert;
use crate::catalog::{SessionCatalog, TEMPORARY_SCHEMA};
use crate::command::{Command, Ddl, Read, Subscribe};
use crate::coordinator::{Handle, shutting_down};
use crate::introspection::SessionInfo;
use crate::read;
use crate::rows::{CopyIn, Cursor, Guard, Outcome, ResultLimit, Rows, Running, timed_out};
use crate::subscribe::{SubscribeRows, subscribe_desc};
use crate::transaction::{Layer, Open, Transaction};
use crate::variables::Variables;
use crate::waits::{Notices, Wait};

/// A connection's state.
pub struct Session {
    pub(crate) handle: Handle,
    pub(crate) number: u64,
    pub(crate) user: String,
    pub(crate) variables: Variables,
    pub(crate) transaction: Transaction,
    /// Temporary views, and the catalog with them.
    pub(crate) temporary: Vec<CreatePlan>,
    pub(crate) overlay: Option<Layer>,
    prepared: BTreeMap<String, Prepared>,
    pub(crate) cursors: BTreeMap<String, Cursor>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) changed_parameters: Vec<(String, String)>,
}

/// A statement with its plan.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The statement.
    pub statement: Statement,
    /// Parameter types that the client declared.
    pub types: Vec<Option<ScalarType>>,
    /// The plan, and what it returns and takes.
    pub planned: Arc<Planned>,
    version: u64,
}

impl Handle {
    /// Opens a session. `settings`: what the client said when it connected.
    pub fn session(&self, user: &str, database: Option<&str>, settings: &[(String, String)]) -> Session {
        let number = self.next_number();
        let temporary_schema = format!("{TEMPORARY_SCHEMA}{number}");
        let mut session = Session {
            handle: self.clone(),
            number,
            user: user.into(),
            variables: Variables::of_session(temporary_schema),
            transaction: Transaction::None,
            temporary: vec![],
            overlay: None,
            prepared: BTreeMap::new(),
            cursors: BTreeMap::new(),
            notices: Arc::default(),
            changed_parameters: vec![],
        };
        if let Some(database) = database.filter(|d| !d.is_empty()) {
            let _ = session.variables.set("database", Some(database));
        }
        for (name, value) in settings {
            if let Err(e) = session.variables.set(name, Some(value)) {
                session.notices.push(e);
            }
        }
        session.notices.set_silent(session.variables.is_silent());
        session
    }
}

impl Session {
    /// A number that no other connection of this process has.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What the client is told when it connects.
    pub fn reported_parameters(&self) -> Vec<(String, String)> {
        self.variables.reported()
    }

    /// Parameters that have changed since the last call.
    pub fn take_changed_parameters(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.changed_parameters)
    }

    /// Notices since the last call.
    pub fn take_notices(&mut self) -> Vec<SqlError> {
        self.notices.take()
    }

    /// Notices as they come, also while a statement runs.
    pub fn notices(&self) -> Arc<Notices> {
        self.notices.clone()
    }

    /// Splits a text into statements.
    pub async fn parse(&self, text: &str) -> Result<Vec<Statement>, SqlError> {
        let text = text.to_string();
        self.handle.shared.planner.run(move || sql::parse(&text)).await
    }

    /// Plans a statement. `types[i]`: the type that the client declared for `$i+1`.
    pub async fn prepare(
        &mut self,
        statement: Statement,
        types: Vec<Option<ScalarType>>,
    ) -> Result<Prepared, SqlError> {
        self.refresh().await?;
        let catalog = self.catalog();
        let version = catalog.version;
        let variables = self.variables.clone();
        let (for_plan, for_types) = (statement.clone(), types.clone());
        let planned = self
            .handle
            .shared
            .planner
            .run(move || {
                let catalog = SessionCatalog { state: &catalog, variables: &variables };
                sql::plan(&for_plan, &catalog, &for_types)
            })
            .await?;
        Ok(Prepared { statement, types, planned: Arc::new(planned), version })
    }

    /// The columns of a cursor: to drivers a cursor is a portal.
    pub fn cursor_columns(&self, name: &str) -> Option<Arc<RelationDesc>> {
        self.cursors.get(name).map(|c| c.rows.desc.clone())
    }

    /// The columns that a statement returns in this session: those of a cursor for FETCH.
    pub fn columns(&self, prepared: &Prepared) -> Option<Arc<RelationDesc>> {
        match &prepared.planned.plan {
            Plan::Fetch { name, .. } => self.cursors.get(name).map(|c| c.rows.desc.clone()),
            Plan::Execute { name, .. } => self.prepared.get(name).and_then(|p| self.columns(p)),
            Plan::Subscribe(plan) => Some(Arc::new(subscribe_desc(plan))),
            _ => prepared.planned.columns.clone().map(Arc::new),
        }
    }

    /// Runs every statement of a text and returns what the last one gives. For simple uses; servers go step by step.
    pub async fn run(&mut self, text: &str) -> Result<Outcome, SqlError> {
        let mut last = Outcome::Empty;
        for statement in self.parse(text).await? {
            if let Outcome::Rows { rows, .. } = last
                && !rows.is_endless()
            {
                rows.collect().await?;
            }
            let result = match self.prepare(statement, vec![]).await {
                Ok(mut prepared) => self.execute(&mut prepared, &[]).await,
                Err(e) => Err(e),
            };
            last = result.inspect_err(|_| self.failed())?;
        }
        Ok(last)
    }

    /// Carries a statement out. `parameters`: one row of one datum each, of the planned types.
    pub async fn execute(
        &mut self,
        prepared: &mut Prepared,
        parameters: &[Row],
    ) -> Result<Outcome, SqlError> {
        if matches!(self.transaction, Transaction::Failed(_))
            && !matches!(prepared.planned.plan, Plan::Rollback | Plan::RollbackTo(_) | Plan::Commit)
        {
            return Err(SqlError::new(
                code::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        let Some(timeout) = self.statement_timeout() else {
            return self.execute_planned(prepared, parameters).await;
        };
        let deadline = tokio::time::Instant::now() + timeout;
        let outcome = tokio::time::timeout_at(deadline, self.execute_planned(prepared, parameters)).await;
        let mut outcome = outcome.unwrap_or_else(|_| Err(timed_out()))?;
        // What it gives counts, too, as long as it can end.
        if let Outcome::Rows { rows, .. } | Outcome::CopyOut { rows, .. } = &mut outcome {
            rows.end_by(deadline);
        }
        Ok(outcome)
    }

    fn statement_timeout(&self) -> Option<Duration> {
        let text = self.variables.get("statement_timeout").ok()?;
        crate::variables::duration(&text).filter(|time| !time.is_zero())
    }

    async fn execute_planned(
        &mut self,
        prepared: &mut Prepared,
        parameters: &[Row],
    ) -> Result<Outcome, SqlError> {
        // The catalog may change between planning and running; each change starts over.
        for _ in 0..100 {
            self.refresh().await?;
            if prepared.version != self.catalog().version {
                let old = prepared.planned.columns.clone();
                *prepared = self.prepare(prepared.statement.clone(), prepared.types.clone()).await?;
                if prepared.planned.columns != old {
                    return Err(SqlError::new(
                        code::FEATURE_NOT_SUPPORTED,
                        "cached plan must not change result type",
                    ));
                }
            }
            let planned = prepared.planned.clone();
            if let Some(outcome) = self.execute_once(&planned.plan, prepared.version, parameters).await? {
                planned.notices.iter().cloned().for_each(|n| self.notices.push(n));
                return Ok(outcome);
            }
            if self.is_drafting() {
                break;
            }
        }
        Err(SqlError::new(repr::SqlState::new("40001"), "the catalog changes too fast for this statement"))
    }

    /// `None`: the catalog has changed.
    async fn execute_once(
        &mut self,
        plan: &Plan,
        version: u64,
        parameters: &[Row],
    ) -> Result<Option<Outcome>, SqlError> {
        let done = |tag: &str| Ok(Some(Outcome::Done(tag.into())));
        match plan {
            Plan::Select(select) => {
                let Some(rows) = self.select(select, version, parameters).await? else { return Ok(None) };
                Ok(Some(Outcome::Rows { tag: "SELECT", rows }))
            }
            Plan::Subscribe(subscribe) => {
                let Some(rows) = self.subscribe(subscribe, version, parameters).await? else {
                    return Ok(None);
                };
                Ok(Some(Outcome::Rows { tag: "SUBSCRIBE", rows }))
            }
            Plan::CopyTo { from, format } => {
                let rows = match &**from {
                    Plan::Select(select) => self.select(select, version, parameters).await?,
                    Plan::Subscribe(subscribe) => self.subscribe(subscribe, version, parameters).await?,
                    _ => return Err(SqlError::internal("COPY of something that has no rows")),
                };
                Ok(rows.map(|rows| Outcome::CopyOut { format: format.clone(), rows: rows.unlimited() }))
            }
            Plan::CopyFrom { table, columns, defaults, format } => {
                let catalog = self.catalog();
                let desc = catalog.items.get(table).and_then(|i| i.desc.clone());
                let desc =
                    desc.ok_or_else(|| SqlError::new(code::UNDEFINED_TABLE, "the table was dropped"))?;
                let bound = defaults.iter().map(|(i, e)| Ok((*i, self.bind_constant(e, parameters)?)));
                Ok(Some(Outcome::CopyIn(CopyIn {
                    table: *table,
                    columns: columns.clone(),
                    defaults: bound.collect::<Result<_, SqlError>>()?,
                    desc,
                    format: format.clone(),
                })))
            }
            Plan::Insert { table, rows, returning } => {
                let Some(new) = self.select(rows, version, parameters).await? else { return Ok(None) };
                let new = new.collect().await?;
                self.check_not_null(*table, &new)?;
                let mut block = RowBlock::default();
                new.iter().for_each(|row| block.push(row.as_ref(), 1));
                let out = self.returned(returning, &new, parameters)?;
                self.write(vec![(*table, block)]).await?;
                match returning {
                    None => done(&format!("INSERT 0 {}", new.len())),
                    Some((_, desc)) => {
                        let rows = Rows::ready(Arc::new(desc.clone()), out);
                        Ok(Some(Outcome::Rows { tag: "INSERT 0", rows }))
                    }
                }
            }
            Plan::ReadThenWrite { table, selection, update, returning } => {
                if matches!(self.transaction, Transaction::Open(_)) {
                    return Err(SqlError::new(
                        code::ACTIVE_SQL_TRANSACTION,
                        "UPDATE and DELETE cannot be run inside a transaction block",
                    ));
                }
                let lock = {
                    let mut locks =
                        self.handle.shared.table_locks.lock().expect("nothing panics under this lock");
                    locks.entry(*table).or_default().clone()
                };
                let _locked = lock.lock().await;
                let Some(rows) = self.select(selection, version, parameters).await? else { return Ok(None) };
                let rows = rows.collect().await?;
                let mut block = RowBlock::default();
                let mut new_rows = vec![];
                let mut shown = vec![];
                let catalog = self.catalog();
                let desc = catalog.items.get(table).and_then(|i| i.desc.as_ref());
                let arity = desc.map_or(0, RelationDesc::arity);
                for row in &rows {
                    let datums = row.unpack();
                    let (old, rest) = datums.split_at(arity);
                    let (new, partner) = rest.split_at(if *update { arity } else { 0 });
                    block.push_datums(old.iter().copied(), -1);
                    if *update {
                        new_rows.push(Row::pack(new.iter().copied()));
                    }
                    if returning.is_some() {
                        let own = if *update { new } else { old };
                        shown.push(Row::pack(own.iter().chain(partner).copied()));
                    }
                }
                self.check_not_null(*table, &new_rows)?;
                new_rows.iter().for_each(|row| block.push(row.as_ref(), 1));
                let out = self.returned(returning, &shown, parameters)?;
                self.write(vec![(*table, block)]).await?;
                let tag = if *update { "UPDATE" } else { "DELETE" };
                match returning {
                    None => done(&format!("{tag} {}", rows.len())),
                    Some((_, desc)) => {
                        Ok(Some(Outcome::Rows { tag, rows: Rows::ready(Arc::new(desc.clone()), out) }))
                    }
                }
            }
            Plan::Truncate(tables) => {
                if matches!(self.transaction, Transaction::Open(_)) {
                    return Err(SqlError::new(
                        code::ACTIVE_SQL_TRANSACTION,
                        "TRUNCATE cannot be run inside a transaction block",
                    ));
                }
                let mut ids: Vec<GlobalId> = tables.iter().map(|(id, _)| *id).collect();
                // In one order for all, so that no two wait for each other.
                ids.sort();
                let mut locked = vec![];
                for id in ids {
                    let lock = {
                        let locks = self.handle.shared.table_locks.lock();
                        locks.expect("nothing panics under this lock").entry(id).or_default().clone()
                    };
                    locked.push(lock.lock_owned().await);
                }
                let mut blocks = vec![];
                for (id, all) in tables {
                    let Some(rows) = self.select(all, version, parameters).await? else { return Ok(None) };
                    let mut block = RowBlock::default();
                    rows.collect().await?.iter().for_each(|row| block.push(row.as_ref(), -1));
                    blocks.push((*id, block));
                }
                self.write(blocks).await?;
                done("TRUNCATE TABLE")
            }
            Plan::Sleep(seconds, desc) => {
                let arena = Arena::new();
                let bound = self.bind_constant(seconds, parameters)?;
                let seconds = match bound.eval(&[], &arena)? {
                    Datum::Float64(s) if s > 0.0 => s.min(1e9),
                    _ => 0.0,
                };
                tokio::time::sleep(std::time::Duration::from_secs_f64(seconds)).await;
                let row = Row::pack([Datum::Text("")]);
                Ok(Some(Outcome::Rows {
                    tag: "SELECT",
                    rows: Rows::ready(Arc::new(desc.clone()), vec![row]),
                }))
            }
            Plan::ResetAll => {
                for (name, _) in self.variables.all() {
                    self.variables.set(&name, None).ok();
                }
                self.notices.set_silent(false);
                done("RESET")
            }
            Plan::Create(create) => self.create(create, version, parameters).await,
            Plan::CreateTableAs { create, rows } => {
                // The rows first: where they fail there is no table.
                let new = match rows {
                    Some(rows) if !self.catalog().names.contains_key(&create.name) => {
                        let Some(new) = self.select(rows, version, parameters).await? else {
                            return Ok(None);
                        };
                        Some(new.collect().await?)
                    }
                    _ => None,
                };
                let exists = self.catalog().names.contains_key(&create.name);
                let Some(_) = self.create(create, version, parameters).await? else { return Ok(None) };
                let Some(new) = new.filter(|_| !exists) else { return done("CREATE TABLE AS") };
                let table = self.catalog().names.get(&create.name).copied();
                let table =
                    table.ok_or_else(|| SqlError::new(code::UNDEFINED_TABLE, "the table was dropped"))?;
                let mut block = RowBlock::default();
                new.iter().for_each(|row| block.push(row.as_ref(), 1));
                self.write(vec![(table, block)]).await?;
                done(&format!("SELECT {}", new.len()))
            }
            Plan::CreateSchema { database, schema, if_not_exists } => {
                let key = (database.clone(), schema.clone());
                if self.catalog().schemas.contains(&key) {
                    let e =
                        SqlError::new(code::DUPLICATE_SCHEMA, format!("schema \"{schema}\" already exists"));
                    if !if_not_exists {
                        return Err(e);
                    }
                    self.notices.push(SqlError { message: format!("{}, skipping", e.message), ..e });
                    return done("CREATE SCHEMA");
                }
                let ddl = Ddl::CreateSchema { database: database.clone(), schema: schema.clone() };
                self.ddl(ddl, version, "CREATE SCHEMA").await
            }
            Plan::Drop { ids, kind } => {
                let tag = format!("DROP {kind}");
                if ids.is_empty() {
                    return done(&tag);
                }
                self.ddl(Ddl::Drop { ids: ids.clone(), schema: None }, version, &tag).await
            }
            Plan::DropSchema { database, schema, ids } => {
                let schema = Some((database.clone(), schema.clone()));
                self.ddl(Ddl::Drop { ids: ids.clone(), schema }, version, "DROP SCHEMA").await
            }
            Plan::Rename { renames, tag } => {
                let rename = self.rename(renames).await?;
                self.ddl(rename, version, tag).await
            }
            Plan::RenameSchema { database, from, to, renames } => {
                let (rename, key) = (self.rename(renames).await?, (database.clone(), to.clone()));
                if self.catalog().schemas.contains(&key) {
                    let message = format!("schema \"{to}\" already exists");
                    return Err(SqlError::new(code::DUPLICATE_SCHEMA, message));
                }
                let create = Ddl::CreateSchema { database: database.clone(), schema: to.clone() };
                let drop = Ddl::Drop { ids: vec![], schema: Some((database.clone(), from.clone())) };
                self.ddl_all(vec![create, rename, drop], version, "ALTER SCHEMA").await
            }
            Plan::AlterSecret { id, value } => {
                self.ddl(Ddl::AlterSecret { id: *id, value: value.clone() }, version, "ALTER SECRET").await
            }
            Plan::ReplayErrors { sink, letters } => {
                if matches!(self.transaction, Transaction::Open(_)) {
                    let message = "ALTER SINK … REPLAY ERRORS cannot be run inside a transaction block";
                    return Err(SqlError::new(code::ACTIVE_SQL_TRANSACTION, message));
                }
                let began = self.handle.shared.clock.instant();
                let Some(rows) = self.select(letters, version, parameters).await? else { return Ok(None) };
                let letters = rows.collect().await?;
                let (reply, answer) = oneshot::channel();
                self.handle.send(Command::Replay { id: *sink, letters, began, reply })?;
                let answer = answer.await.map_err(|_| shutting_down())?;
                self.notices.push(crate::sinks::replay_notice(answer?));
                done("ALTER SINK")
            }
            Plan::SkipGap(id) => {
                self.outside_transaction("ALTER SOURCE … SKIP GAP")?;
                self.ddl(Ddl::SkipGap(*id), version, "ALTER SOURCE").await
            }
            Plan::DecodeAgain { id, change } => self.replay_errors(*id, change.as_deref(), version).await,
            Plan::ValidateConnection(id) => {
                self.validate_connection_object(*id).await?;
                done("VALIDATE CONNECTION")
            }
            Plan::Comment { id, column, text } => {
                let ddl = Ddl::Comment { id: *id, column: *column, text: text.clone() };
                self.ddl(ddl, version, "COMMENT").await
            }
            Plan::Begin => {
                self.begin();
                done("BEGIN")
            }
            Plan::Commit => self.commit().await.map(Some),
            Plan::Rollback => {
                self.rollback();
                done("ROLLBACK")
            }
            Plan::Savepoint(name) => self.savepoint(name).and_then(|()| done("SAVEPOINT")),
            Plan::RollbackTo(name) => self.rollback_to(name).and_then(|()| done("ROLLBACK")),
            Plan::Release(name) => self.release(name).and_then(|()| done("RELEASE")),
            Plan::SetConfig(settings, desc) => {
                let mut values = vec![];
                for setting in settings {
                    let mut bound = vec![];
                    for e in setting {
                        bound.push(self.bind_constant(e, parameters)?);
                    }
                    let arena = Arena::new();
                    let [name, value, local] = [&bound[0], &bound[1], &bound[2]];
                    let Datum::Text(name) = name.eval(&[], &arena)? else {
                        return Err(SqlError::new(
                            repr::SqlState::new("22004"),
                            "SET requires parameter name",
                        ));
                    };
                    let value = match value.eval(&[], &arena)? {
                        Datum::Text(value) => Some(value.to_string()),
                        _ => None,
                    };
                    let local = matches!(local.eval(&[], &arena)?, Datum::Bool(true));
                    self.set_variable(&name.to_lowercase(), value.as_deref(), local)?;
                    values.push(self.variables.get(&name.to_lowercase())?);
                }
                let row = Row::pack(values.iter().map(|v| Datum::Text(v)));
                Ok(Some(Outcome::Rows {
                    tag: "SELECT",
                    rows: Rows::ready(Arc::new(desc.clone()), vec![row]),
                }))
            }
            Plan::SetVariable { name, value, local } => {
                self.set_variable(name, value.as_deref(), *local)?;
                done(if value.is_some() { "SET" } else { "RESET" })
            }
            Plan::ShowVariable(name) => {
                let value = self.variables.get(name)?;
                let desc = RelationDesc::new([(name.as_str(), ScalarType::Text.nullable(false))]);
                let rows = Rows::ready(Arc::new(desc), vec![Row::pack([Datum::Text(&value)])]);
                Ok(Some(Outcome::Rows { tag: "SHOW", rows }))
            }
            Plan::ShowAllVariables => {
                let text = || ScalarType::Text.nullable(false);
                let desc =
                    RelationDesc::new([("name", text()), ("setting", text()), ("description", text())]);
                let row =
                    |(n, v): (String, String)| Row::pack([Datum::Text(&n), Datum::Text(&v), Datum::Text("")]);
                let rows = Rows::ready(Arc::new(desc), self.variables.all().into_iter().map(row).collect());
                Ok(Some(Outcome::Rows { tag: "SHOW", rows }))
            }
            Plan::Declare { name, query, desc: _ } => {
                if !matches!(self.transaction, Transaction::Open(_)) {
                    return Err(SqlError::new(
                        code::NO_ACTIVE_SQL_TRANSACTION,
                        "DECLARE CURSOR can only be used in transaction blocks",
                    ));
                }
                if self.cursors.contains_key(name) {
                    return Err(SqlError::new(
                        code::DUPLICATE_CURSOR,
                        format!("cursor \"{name}\" already exists"),
                    ));
                }
                let rows = match &**query {
                    Plan::Select(select) => self.select(select, version, parameters).await?,
                    Plan::Subscribe(subscribe) => self.subscribe(subscribe, version, parameters).await?,
                    _ => return Err(SqlError::internal("a cursor over something that has no rows")),
                };
                let Some(rows) = rows else { return Ok(None) };
                self.cursors.insert(name.clone(), Cursor::new(rows.unlimited()));
                done("DECLARE CURSOR")
            }
            Plan::Fetch { name, count, timeout } => {
                let cursor = self.cursors.get_mut(name).ok_or_else(|| {
                    SqlError::new(code::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
                })?;
                let rows = cursor.fetch(count.unwrap_or(u64::MAX), *timeout).await?;
                let desc = cursor.rows.desc.clone();
                let rows = Rows::ready(desc, rows);
                Ok(Some(Outcome::Rows { tag: "FETCH", rows }))
            }
            Plan::Close(None) => {
                self.cursors.clear();
                done("CLOSE CURSOR ALL")
            }
            Plan::Close(Some(name)) => match self.cursors.remove(name) {
                Some(_) => done("CLOSE CURSOR"),
                None => {
                    Err(SqlError::new(code::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist")))
                }
            },
            Plan::Prepare { name, statement, types } => {
                if self.prepared.contains_key(name) {
                    return Err(SqlError::new(
                        code::DUPLICATE_PREPARED_STATEMENT,
                        format!("prepared statement \"{name}\" already exists"),
                    ));
                }
                let types = types.iter().cloned().map(Some).collect();
                let prepared = self.prepare(statement.clone(), types).await?;
                self.prepared.insert(name.clone(), prepared);
                done("PREPARE")
            }
            Plan::Execute { name, arguments } => {
                let mut prepared = self.prepared_statement(name)?.clone();
                let want = &prepared.planned.parameters;
                if want.len() != arguments.len() {
                    return Err(SqlError::new(
                        code::SYNTAX_ERROR,
                        format!("wrong number of parameters for prepared statement \"{name}\""),
                    )
                    .with_detail(format!(
                        "Expected {} parameters but got {}.",
                        want.len(),
                        arguments.len()
                    )));
                }
                let arena = Arena::new();
                let mut values = vec![];
                for (argument, ty) in arguments.iter().zip(want) {
                    let value = argument.eval(&[], &arena)?;
                    let from = argument.typ(&[]).scalar;
                    values.push(Row::pack([convert(value, &from, ty, &arena)?]));
                }
                let outcome = Box::pin(self.execute_planned(&mut prepared, &values)).await?;
                Ok(Some(outcome))
            }
            Plan::Deallocate(None) => {
                self.prepared.clear();
                done("DEALLOCATE ALL")
            }
            Plan::Deallocate(Some(name)) => {
                self.prepared_statement(name)?;
                self.prepared.remove(name);
                done("DEALLOCATE")
            }
            Plan::Discard => {
                if !matches!(self.transaction, Transaction::None) {
                    return Err(SqlError::new(
                        code::ACTIVE_SQL_TRANSACTION,
                        "DISCARD ALL cannot run inside a transaction block",
                    ));
                }
                self.prepared.clear();
                self.cursors.clear();
                self.temporary.clear();
                self.drop_temporary_tables();
                let temporary_schema = std::mem::take(&mut self.variables.temporary_schema);
                self.variables = Variables::of_session(temporary_schema);
                self.notices.set_silent(false);
                done("DISCARD ALL")
            }
            Plan::Explain(text) => {
                let desc = RelationDesc::new([("Optimized Plan", ScalarType::Text.nullable(false))]);
                let rows = Rows::ready(Arc::new(desc), vec![Row::pack([Datum::Text(text)])]);
                Ok(Some(Outcome::Rows { tag: "EXPLAIN", rows }))
            }
            Plan::ExplainWhy(id) => {
                let lines = self.why(*id).await?;
                let desc = RelationDesc::new([("why", ScalarType::Text.nullable(false))]);
                let rows = lines.iter().map(|line| Row::pack([Datum::Text(line)])).collect();
                Ok(Some(Outcome::Rows { tag: "EXPLAIN", rows: Rows::ready(Arc::new(desc), rows) }))
            }
            Plan::ExplainTimestamp { select, json } => {
                let Some(text) = self.explain_timestamp(select, *json, version, parameters).await? else {
                    return Ok(None);
                };
                let desc = RelationDesc::new([("Timestamp", ScalarType::Text.nullable(false))]);
                let rows = Rows::ready(Arc::new(desc), vec![Row::pack([Datum::Text(&text)])]);
                Ok(Some(Outcome::Rows { tag: "EXPLAIN", rows }))
            }
            Plan::NoOp(tag) => done(tag),
            Plan::Empty => Ok(Some(Outcome::Empty)),
        }
    }

    /// What RETURNING gives for these rows.
    fn returned(
        &self,
        returning: &Option<(Vec<ScalarExpr>, RelationDesc)>,
        rows: &[Row],
        parameters: &[Row],
    ) -> Result<Vec<Row>, SqlError> {
        let Some((exprs, _)) = returning else { return Ok(vec![]) };
        let exprs = exprs.iter().map(|e| self.bind_constant(e, parameters));
        let exprs = exprs.collect::<Result<Vec<_>, SqlError>>()?;
        let mut arena = Arena::new();
        let mut out = vec![];
        for row in rows {
            arena.reset();
            let datums = row.unpack();
            let values = exprs.iter().map(|e| e.eval(&datums, &arena)).collect::<Result<Vec<_>, _>>()?;
            out.push(Row::pack(values));
        }
        Ok(out)
    }

    fn prepared_statement(&self, name: &str) -> Result<&Prepared, SqlError> {
        self.prepared.get(name).ok_or_else(|| {
            SqlError::new(
                code::INVALID_SQL_STATEMENT_NAME,
                format!("prepared statement \"{name}\" does not exist"),
            )
        })
    }

    /// Takes this session's temporary tables away, soon.
    fn drop_temporary_tables(&self) {
        let schema = &self.variables.temporary_schema;
        if self.handle.catalog().items.values().any(|i| i.name.schema == *schema) {
            let _ = self.handle.send(Command::DropTemporary(schema.clone()));
        }
    }

    fn info(&self) -> Arc<SessionInfo> {
        Arc::new(SessionInfo {
            user: self.user.clone(),
            database: self.variables.database().into(),
            pid: self.number as u32,
            settings: self.variables.all(),
        })
    }

    /// When a query would be read, and of what. It is begun, for the loop to choose the time, and given up.
    async fn explain_timestamp(
        &mut self,
        select: &SelectPlan,
        json: bool,
        version: u64,
        parameters: &[Row],
    ) -> Result<Option<String>, SqlError> {
        let version = self.base(version, &select.relation)?;
        let relation = self.bind(&select.relation, parameters)?;
        let ids: Vec<GlobalId> = relation.depends_on().into_iter().collect();
        let mut time = None;
        if !matches!(relation, RelationExpr::Constant { .. }) {
            let mut as_of = self.as_of(&select.as_of, parameters)?;
            if let (None, Transaction::Open(Open { time: Some(time), .. })) = (&as_of, &self.transaction) {
                as_of = Some((*time, false));
            }
            let number = self.handle.next_number();
            let wait_for = ids.clone();
            let wait =
                Wait { handle: self.handle.clone(), notices: self.notices.clone(), ids: wait_for, time: 0 };
            let (reply, answer) = oneshot::channel();
            let session = self.info();
            let read = Read { number, version, relation, as_of, limit: Some(0), session, reply };
            self.handle.send(Command::Read(Box::new(read)))?;
            let _guard = Guard { handle: self.handle.clone(), what: Running::Read(number) };
            let answer = wait.on(answer).await;
            let Some(answer) = answer.map_err(|_| shutting_down())?? else { return Ok(None) };
            time = Some(answer.time);
        }
        let catalog = self.catalog();
        let names = ids.iter().map(|id| {
            let name = catalog.items.get(id).map_or_else(|| id.to_string(), |i| i.name.to_string());
            (name, id.to_string())
        });
        let shown = time.map(|t| {
            let mut at = String::new();
            repr::time::print_timestamp(
                i64::try_from(t).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000),
                &mut at,
            );
            at
        });
        if json {
            let sources: Vec<_> =
                names.map(|(name, id)| serde_json::json!({ "name": name, "id": id })).collect();
            let all = serde_json::json!({ "query_timestamp": time, "sources": sources });
            return Ok(Some(serde_json::to_string_pretty(&all).expect("JSON values always serialize")));
        }
        let mut out = match (time, shown) {
            (Some(time), Some(at)) => {
                format!("query timestamp: {time} ({at})\ntimeline: milliseconds of the clock\n")
            }
            _ => "query timestamp: any, the query is constant\n".to_string(),
        };
        for (name, id) in names {
            out.push_str(&format!("\nsource {name} ({id})"));
        }
        Ok(Some(out))
    }

    async fn select(
        &mut self,
        select: &SelectPlan,
        version: u64,
        parameters: &[Row],
    ) -> Result<Option<Rows>, SqlError> {
        let version = self.base(version, &select.relation)?;
        if matches!(&self.transaction, Transaction::Open(open) if !open.writes.is_empty())
            && select.relation.depends_on().iter().any(|id| matches!(id, GlobalId::User(_)))
        {
            // Its own rows are in no collection yet: an answer without them would be wrong.
            return Err(SqlError::new(repr::SqlState::new("25000"), "transaction in write-only mode")
                .with_detail(
                    "A transaction that has written cannot read; its rows are there once it commits.",
                )
                .with_hint("Read before the first write, or COMMIT."));
        }
        let relation = self.bind(&select.relation, parameters)?;
        let mut as_of = self.as_of(&select.as_of, parameters)?;
        if as_of.is_none()
            && let Transaction::Open(Open { time: Some(time), .. }) = &self.transaction
        {
            as_of = Some((*time, false));
        }
        let mut finishing = select.finishing.clone();
        for e in &mut finishing.map {
            *e = self.bind_constant(e, parameters)?;
        }
        if let Some(e) = finishing.limit_expr.take() {
            finishing.limit = self.row_count(&e, parameters, "LIMIT")?;
        }
        if let Some(e) = finishing.offset_expr.take() {
            finishing.offset = self.row_count(&e, parameters, "OFFSET")?.unwrap_or(0);
        }
        let desc = Arc::new(select.desc.clone());
        let mut size = ResultLimit::new(self.variables.max_result());
        if let RelationExpr::Constant { rows, .. } = &relation {
            let rows = read::finish(rows.clone()?, &finishing, &mut size)?;
            return Ok(Some(Rows::ready(desc, rows)));
        }
        if as_of.is_none()
            && let Some(patience) = self.variables.recency()
        {
            self.await_recency(&relation, patience).await?;
        }
        let unordered = finishing.order_by.is_empty();
        let limit = finishing.limit.filter(|_| unordered).map(|l| (l + finishing.offset) as usize);
        let number = self.handle.next_number();
        let ids = relation.depends_on().into_iter().collect();
        let mut wait = Wait { handle: self.handle.clone(), notices: self.notices.clone(), ids, time: 0 };
        let (reply, answer) = oneshot::channel();
        let session = self.info();
        let read = Read { number, version, relation, as_of, limit, session, reply };
        self.handle.send(Command::Read(Box::new(read)))?;
        let guard = Guard { handle: self.handle.clone(), what: Running::Read(number) };
        let answer = wait.on(answer).await;
        let Some(answer) = answer.map_err(|_| shutting_down())?? else { return Ok(None) };
        if let Transaction::Open(open) = &mut self.transaction
            && open.time.is_none()
            && select.as_of.is_none()
        {
            open.time = Some(answer.time);
            self.handle.send(Command::Hold(answer.time, true))?;
        }
        answer.notices.into_iter().for_each(|n| self.notices.push(n));
        wait.time = answer.time;
        let mut rows = answer.rows;
        if unordered {
            return Ok(Some(Rows::stream(desc, rows, finishing, size, wait, guard)));
        }
        // What must be held to be put in order: all, or some more than the first ones that are wanted.
        let first = finishing.limit.filter(|_| finishing.map.is_empty());
        let first = first.map(|l| usize::try_from(l + finishing.offset).unwrap_or(usize::MAX));
        let (mut all, mut held) = (vec![], size.clone());
        let mut next = wait.first(&mut rows).await;
        while let Some(batch) = next {
            let mut batch = batch?;
            let over = held.count(batch.iter().map(|(row, _)| row)).err();
            all.append(&mut batch);
            let many =
                |n: &usize| all.len() > if over.is_some() { *n } else { 2 * (*n).min(1 << 40) + 1_024 };
            match (first.filter(many), over) {
                (Some(n), _) => {
                    read::keep_first(&mut all, &finishing.order_by, n);
                    held = size.clone();
                    held.count(all.iter().map(|(row, _)| row))?;
                }
                (None, Some(e)) => return Err(e),
                (None, None) => {}
            }
            next = rows.recv().await;
        }
        let rows = read::finish(all, &finishing, &mut size)?;
        Ok(Some(Rows::ready(desc, rows)))
    }

    async fn subscribe(
        &mut self,
        plan: &SubscribePlan,
        version: u64,
        parameters: &[Row],
    ) -> Result<Option<Rows>, SqlError> {
        let version = self.base(version, &plan.relation)?;
        let relation = self.bind(&plan.relation, parameters)?;
        let as_of = self.as_of(&plan.as_of, parameters)?;
        let up_to = plan.up_to.as_ref().map(|e| self.constant_time(e, parameters)).transpose()?;
        let (reply, answer) = oneshot::channel();
        let desc = plan.desc.clone();
        let session = self.info();
        let snapshot = plan.snapshot;
        let progress = plan.progress;
        let subscribe =
            Subscribe { version, relation, desc, snapshot, progress, as_of, up_to, session, reply };
        self.handle.send(Command::Subscribe(Box::new(subscribe)))?;
        let Some(subscribed) = answer.await.map_err(|_| shutting_down())?? else { return Ok(None) };
        let guard = Guard { handle: self.handle.clone(), what: Running::Subscribe(subscribed.id) };
        let rows = SubscribeRows::new(subscribed, plan);
        let desc = Arc::new(subscribe_desc(plan));
        Ok(Some(Rows::subscription(desc, rows, guard)))
    }

    fn check_not_null(&self, table: GlobalId, rows: &[Row]) -> Result<(), SqlError> {
        let catalog = self.catalog();
        let Some(item) = catalog.items.get(&table) else { return Ok(()) };
        let Some(desc) = &item.desc else { return Ok(()) };
        if desc.columns.iter().all(|c| c.ty.nullable) {
            return Ok(());
        }
        for row in rows {
            for (Column { name, ty }, datum) in desc.columns.iter().zip(row.iter()) {
                if datum.is_null() && !ty.nullable {
                    let relation = &item.name.item;
                    return Err(SqlError::new(
                        code::NOT_NULL_VIOLATION,
                        format!(
                            "null value in column \"{name}\" of relation \"{relation}\" violates not-null constraint"
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Takes the data of a `COPY … FROM STDIN`. Returns the number of rows.
    pub async fn copy_in(&mut self, copy: &CopyIn, data: &[u8]) -> Result<u64, SqlError> {
        let rows = crate::copy::read_rows(data, &copy.format, &copy.columns, &copy.defaults, &copy.desc)?;
        self.check_not_null(copy.table, &rows)?;
        let mut block = RowBlock::default();
        rows.iter().for_each(|row| block.push(row.as_ref(), 1));
        self.write(vec![(copy.table, block)]).await?;
        Ok(rows.len() as u64)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.abandon();
        self.drop_temporary_tables();
    }
}
