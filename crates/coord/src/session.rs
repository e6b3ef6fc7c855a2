//! A session: settings, a transaction, prepared statements, cursors; and how a statement is carried out for it.
//!
//! Statements that concern only the session end here. What touches data goes to the loop as a command. A plan that the
//! loop finds outdated is made again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use plan::scalar::Context;
use plan::{RelationExpr, ScalarExpr};
use repr::error::code;
use repr::{
    Arena, Column, Datum, Diff, GlobalId, RelationDesc, Row, RowBlock, ScalarType, SqlError, Timestamp,
};
use sql::plan::{
    AsOf, ConnectionPlan, CopyFormat, CreateItem, CreatePlan, Finishing, SelectPlan, SourceFrom,
    SubscribeOutput, SubscribePlan,
};
use sql::{Plan, Planned, Statement};
use tokio::sync::{mpsc, oneshot};

use crate::catalog::{CatalogState, SessionCatalog};
use crate::command::{Command, Ddl, Read, Subscribe};
use crate::coordinator::{Handle, shutting_down};
use crate::introspection::SessionInfo;
use crate::read;
use crate::subscribe::SubscribeRows;
use crate::transaction::{Layer, Open, Transaction};
use crate::variables::Variables;
use crate::waits::{Notices, Wait};

/// How long talking to something outside may take while a statement waits.
const OUTSIDE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time zone's now and other things that belong to one execution.
const VERSION: &str = concat!("PostgreSQL 15.0 (deltamill ", env!("CARGO_PKG_VERSION"), ")");

/// A connection's state.
pub struct Session {
    pub(crate) handle: Handle,
    number: u64,
    user: String,
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

pub(crate) struct Cursor {
    rows: Rows,
    buffer: VecDeque<Row>,
    done: bool,
}

/// What a statement gives back.
#[derive(Debug)]
pub enum Outcome {
    /// Rows; the command tag is made of `tag` and their number.
    Rows {
        /// `SELECT`, `FETCH`, `INSERT 0`, `SHOW` …
        tag: &'static str,
        /// Them.
        rows: Rows,
    },
    /// `COPY … TO STDOUT`.
    CopyOut {
        /// How rows are written.
        format: CopyFormat,
        /// Them.
        rows: Rows,
    },
    /// `COPY … FROM STDIN`: the client sends data, which then goes to [`Session::copy_in`].
    CopyIn(CopyIn),
    /// Done; the command tag.
    Done(String),
    /// An empty statement.
    Empty,
}

/// A `COPY … FROM STDIN` that waits for its data.
#[derive(Clone, Debug)]
pub struct CopyIn {
    table: GlobalId,
    columns: Vec<usize>,
    desc: RelationDesc,
    format: CopyFormat,
}

impl CopyIn {
    /// How many columns the data has.
    pub fn arity(&self) -> usize {
        self.columns.len()
    }
}

/// Rows of a result, as they come. Dropping it cancels what makes them.
pub struct Rows {
    /// Their columns.
    pub desc: Arc<RelationDesc>,
    kind: RowsKind,
    _guard: Option<Guard>,
}

enum RowsKind {
    Ready(Vec<Row>),
    Stream {
        rows: mpsc::Receiver<Result<Vec<(Row, Diff)>, SqlError>>,
        finishing: Finishing,
        /// Until the first batch has come.
        wait: Option<Wait>,
    },
    Subscribe(Box<SubscribeRows>),
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("desc", &self.desc).finish_non_exhaustive()
    }
}

/// Cancels a read or subscription when dropped.
struct Guard {
    handle: Handle,
    what: Running,
}

enum Running {
    Read(u64),
    Subscribe(GlobalId),
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = match self.what {
            Running::Read(number) => self.handle.send(Command::CancelRead(number)),
            Running::Subscribe(id) => self.handle.send(Command::CancelSubscribe(id)),
        };
    }
}

impl Rows {
    fn ready(desc: RelationDesc, rows: Vec<Row>) -> Rows {
        Rows { desc: Arc::new(desc), kind: RowsKind::Ready(rows), _guard: None }
    }

    /// Whether rows come for as long as the client listens.
    pub fn is_endless(&self) -> bool {
        matches!(self.kind, RowsKind::Subscribe(_))
    }

    /// The next rows, one batch after the other; none at the end.
    pub async fn next(&mut self) -> Option<Result<Vec<Row>, SqlError>> {
        match &mut self.kind {
            RowsKind::Ready(rows) if rows.is_empty() => None,
            RowsKind::Ready(rows) => Some(Ok(std::mem::take(rows))),
            RowsKind::Subscribe(rows) => rows.next().await,
            RowsKind::Stream { rows, finishing, wait } => {
                let Some(first) = wait else {
                    return Some(rows.recv().await?.and_then(|batch| stream_batch(batch, finishing)));
                };
                let batch = first.first(rows).await?;
                *wait = None;
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(e) => return Some(Err(e)),
                };
                // One batch and no more, as mostly: in a fixed order. More: as they come.
                match rows.recv().await {
                    None => Some(read::finish(batch, finishing)),
                    Some(Err(e)) => Some(Err(e)),
                    Some(Ok(mut second)) => {
                        let mut both = batch;
                        both.append(&mut second);
                        Some(stream_batch(both, finishing))
                    }
                }
            }
        }
    }

    /// All rows.
    pub async fn collect(mut self) -> Result<Vec<Row>, SqlError> {
        let mut all = vec![];
        while let Some(batch) = self.next().await {
            all.append(&mut batch?);
        }
        Ok(all)
    }
}

/// A batch of an unordered stream: counted out, within what is left of offset and limit.
fn stream_batch(batch: Vec<(Row, Diff)>, finishing: &mut Finishing) -> Result<Vec<Row>, SqlError> {
    let mut out = Vec::with_capacity(batch.len());
    for (row, diff) in batch {
        for _ in 0..diff {
            if finishing.offset > 0 {
                finishing.offset -= 1;
            } else if finishing.limit != Some(0) {
                finishing.limit = finishing.limit.map(|l| l - 1);
                out.push(read::project_row(&row, &finishing.project));
            }
        }
    }
    Ok(out)
}

impl Handle {
    /// Opens a session. `settings`: what the client said when it connected.
    pub fn session(&self, user: &str, database: Option<&str>, settings: &[(String, String)]) -> Session {
        let mut session = Session {
            handle: self.clone(),
            number: self.next_number(),
            user: user.into(),
            variables: Variables::default(),
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
        let timeout = self.statement_timeout();
        match timeout {
            None => self.execute_planned(prepared, parameters).await,
            Some(timeout) => tokio::time::timeout(timeout, self.execute_planned(prepared, parameters))
                .await
                .unwrap_or_else(|_| {
                    Err(SqlError::new(code::QUERY_CANCELED, "canceling statement due to statement timeout"))
                }),
        }
    }

    fn statement_timeout(&self) -> Option<Duration> {
        let text = self.variables.get("statement_timeout").ok()?;
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let n: u64 = digits.parse().ok().filter(|n| *n > 0)?;
        Some(match unit.trim() {
            "s" => Duration::from_secs(n),
            "min" => Duration::from_secs(60 * n),
            _ => Duration::from_millis(n),
        })
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
                Ok(rows.map(|rows| Outcome::CopyOut { format: format.clone(), rows }))
            }
            Plan::CopyFrom { table, columns, format } => {
                let catalog = self.catalog();
                let desc = catalog.items.get(table).and_then(|i| i.desc.clone());
                let desc =
                    desc.ok_or_else(|| SqlError::new(code::UNDEFINED_TABLE, "the table was dropped"))?;
                Ok(Some(Outcome::CopyIn(CopyIn {
                    table: *table,
                    columns: columns.clone(),
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
                self.write(vec![(*table, block)]).await?;
                match returning {
                    None => done(&format!("INSERT 0 {}", new.len())),
                    Some((exprs, desc)) => {
                        let arena = Arena::new();
                        let eval = |row: &Row| {
                            let datums = row.unpack();
                            let values =
                                exprs.iter().map(|e| e.eval(&datums, &arena).map_err(SqlError::from));
                            Ok(Row::pack(values.collect::<Result<Vec<_>, SqlError>>()?))
                        };
                        let out = new.iter().map(eval).collect::<Result<Vec<Row>, SqlError>>()?;
                        Ok(Some(Outcome::Rows { tag: "INSERT 0", rows: Rows::ready(desc.clone(), out) }))
                    }
                }
            }
            Plan::ReadThenWrite { table, selection, update } => {
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
                for row in &rows {
                    let datums = row.unpack();
                    let (old, new) = datums.split_at(if *update { datums.len() / 2 } else { datums.len() });
                    block.push_datums(old.iter().copied(), -1);
                    if *update {
                        new_rows.push(Row::pack(new.iter().copied()));
                    }
                }
                self.check_not_null(*table, &new_rows)?;
                new_rows.iter().for_each(|row| block.push(row.as_ref(), 1));
                self.write(vec![(*table, block)]).await?;
                done(&format!("{} {}", if *update { "UPDATE" } else { "DELETE" }, rows.len()))
            }
            Plan::Create(create) => self.create(create, version, parameters).await,
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
            Plan::Rename { .. } => Err(SqlError::unsupported(
                "ALTER … RENAME",
                "Create the object under its new name and drop the old one.",
            )),
            Plan::AlterSecret { id, value } => {
                self.ddl(Ddl::AlterSecret { id: *id, value: value.clone() }, version, "ALTER SECRET").await
            }
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
            Plan::SetVariable { name, value, local } => {
                self.set_variable(name, value.as_deref(), *local)?;
                done(if value.is_some() { "SET" } else { "RESET" })
            }
            Plan::ShowVariable(name) => {
                let value = self.variables.get(name)?;
                let desc = RelationDesc::new([(name.as_str(), ScalarType::Text.nullable(false))]);
                let rows = Rows::ready(desc, vec![Row::pack([Datum::Text(&value)])]);
                Ok(Some(Outcome::Rows { tag: "SHOW", rows }))
            }
            Plan::ShowAllVariables => {
                let text = || ScalarType::Text.nullable(false);
                let desc =
                    RelationDesc::new([("name", text()), ("setting", text()), ("description", text())]);
                let row =
                    |(n, v): (String, String)| Row::pack([Datum::Text(&n), Datum::Text(&v), Datum::Text("")]);
                let rows = Rows::ready(desc, self.variables.all().into_iter().map(row).collect());
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
                self.cursors.insert(name.clone(), Cursor { rows, buffer: VecDeque::new(), done: false });
                done("DECLARE CURSOR")
            }
            Plan::Fetch { name, count, timeout } => {
                let cursor = self.cursors.get_mut(name).ok_or_else(|| {
                    SqlError::new(code::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
                })?;
                let rows = cursor.fetch(count.unwrap_or(u64::MAX), *timeout).await?;
                let desc = cursor.rows.desc.clone();
                let rows = Rows { desc, kind: RowsKind::Ready(rows), _guard: None };
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
                self.variables = Variables::default();
                self.notices.set_silent(false);
                done("DISCARD ALL")
            }
            Plan::Explain(text) => {
                let desc = RelationDesc::new([("Optimized Plan", ScalarType::Text.nullable(false))]);
                let rows = Rows::ready(desc, vec![Row::pack([Datum::Text(text)])]);
                Ok(Some(Outcome::Rows { tag: "EXPLAIN", rows }))
            }
            Plan::NoOp(tag) => done(tag),
            Plan::Empty => Ok(Some(Outcome::Empty)),
        }
    }

    fn prepared_statement(&self, name: &str) -> Result<&Prepared, SqlError> {
        self.prepared.get(name).ok_or_else(|| {
            SqlError::new(
                code::INVALID_SQL_STATEMENT_NAME,
                format!("prepared statement \"{name}\" does not exist"),
            )
        })
    }

    fn info(&self) -> Arc<SessionInfo> {
        Arc::new(SessionInfo {
            user: self.user.clone(),
            database: self.variables.database().into(),
            pid: self.number as u32,
            settings: self.variables.all(),
        })
    }

    /// Puts parameters and what belongs to this execution in their places.
    fn bind(&self, relation: &RelationExpr, parameters: &[Row]) -> Result<RelationExpr, SqlError> {
        let mut relation = relation.clone();
        let mut changed = false;
        let mut failed = None;
        relation.visit_scalars_mut(&mut |s| {
            s.walk_mut(&mut |e| match self.bound(e, parameters) {
                Ok(None) => {}
                Ok(Some(literal)) => {
                    *e = literal;
                    changed = true;
                }
                Err(error) => failed = Some(error),
            })
        });
        match failed {
            Some(e) => Err(e),
            None if changed => Ok(plan::transform::optimize(relation)),
            None => Ok(relation),
        }
    }

    /// The literal that an expression stands for in this execution, if it is one that stands for something.
    fn bound(&self, e: &ScalarExpr, parameters: &[Row]) -> Result<Option<ScalarExpr>, SqlError> {
        let text = |s: &str| ScalarExpr::literal(Datum::Text(s), ScalarType::Text);
        let name = |s: &str| ScalarExpr::literal(Datum::Text(s), ScalarType::Name);
        Ok(Some(match e {
            ScalarExpr::Parameter(i, ty) => {
                let row = parameters.get(*i).ok_or_else(|| {
                    SqlError::new(code::UNDEFINED_PARAMETER, format!("there is no parameter ${}", i + 1))
                })?;
                let datum = row.iter().next().unwrap_or(Datum::Null);
                ScalarExpr::literal(datum, ty.clone())
            }
            ScalarExpr::Context(context) => match context {
                Context::MzNow => return Ok(None),
                Context::Now => {
                    let began = match &self.transaction {
                        Transaction::Open(open) => open.began,
                        _ => self.handle.shared.clock.now(),
                    };
                    let ty = ScalarType::TimestampTz { precision: None };
                    ScalarExpr::literal(Datum::TimestampTz(began as i64 * 1_000), ty)
                }
                Context::CurrentUser => name(&self.user),
                Context::CurrentDatabase => name(self.variables.database()),
                Context::CurrentSchema => match self.variables.search_path().first() {
                    Some(schema) => name(schema),
                    None => ScalarExpr::literal(Datum::Null, ScalarType::Name),
                },
                Context::CurrentSchemas => {
                    let path = self.variables.search_path();
                    let mut schemas = vec![Datum::Text("mz_catalog"), Datum::Text("pg_catalog")];
                    schemas.extend(path.iter().map(|s| Datum::Text(s)));
                    let arena = Arena::new();
                    ScalarExpr::literal(arena.array1(&schemas), ScalarType::Array(Box::new(ScalarType::Name)))
                }
                Context::BackendPid => {
                    ScalarExpr::literal(Datum::Int32(self.number as i32), ScalarType::Int32)
                }
                Context::Version => text(VERSION),
                Context::MzVersion => text(concat!("v", env!("CARGO_PKG_VERSION"), " (deltamill)")),
            },
            _ => return Ok(None),
        }))
    }

    /// An expression without columns, with what belongs to this execution in its place.
    fn bind_constant(&self, e: &ScalarExpr, parameters: &[Row]) -> Result<ScalarExpr, SqlError> {
        let mut e = e.clone();
        let mut failed = None;
        e.walk_mut(&mut |e| match self.bound(e, parameters) {
            Ok(Some(literal)) => *e = literal,
            Ok(None) => {}
            Err(error) => failed = Some(error),
        });
        failed.map_or(Ok(e), Err)
    }

    /// A LIMIT or OFFSET that only the execution knows; NULL is none.
    fn row_count(&self, e: &ScalarExpr, parameters: &[Row], what: &str) -> Result<Option<u64>, SqlError> {
        let e = self.bind_constant(e, parameters)?;
        match e.eval(&[], &Arena::new())? {
            Datum::Null => Ok(None),
            Datum::Int64(n) if n >= 0 => Ok(Some(n as u64)),
            Datum::Int32(n) if n >= 0 => Ok(Some(n as u64)),
            _ => Err(SqlError::new(
                repr::SqlState::new(if what == "LIMIT" { "2201W" } else { "2201X" }),
                format!("{what} must not be negative"),
            )),
        }
    }

    fn constant_time(&self, e: &ScalarExpr, parameters: &[Row]) -> Result<Timestamp, SqlError> {
        let e = self.bind_constant(e, parameters)?;
        let arena = Arena::new();
        let invalid = || SqlError::new(code::INVALID_PARAMETER_VALUE, "the time is not a valid timestamp");
        let ms = match e.eval(&[], &arena)? {
            Datum::MzTimestamp(t) | Datum::UInt64(t) => Some(t),
            Datum::Timestamp(us) | Datum::TimestampTz(us) => u64::try_from(us.div_euclid(1_000)).ok(),
            Datum::Numeric(n) => n.to_i64().and_then(|n| u64::try_from(n).ok()),
            Datum::Int64(n) => u64::try_from(n).ok(),
            Datum::Int32(n) => u64::try_from(n).ok(),
            Datum::Text(s) => s.parse().ok(),
            _ => None,
        };
        ms.ok_or_else(invalid)
    }

    fn as_of(&self, as_of: &Option<AsOf>, parameters: &[Row]) -> Result<Option<(Timestamp, bool)>, SqlError> {
        let resolve = |a: &AsOf| Ok((self.constant_time(&a.time, parameters)?, a.at_least));
        as_of.as_ref().map(resolve).transpose()
    }

    async fn select(
        &mut self,
        select: &SelectPlan,
        version: u64,
        parameters: &[Row],
    ) -> Result<Option<Rows>, SqlError> {
        let version = self.base(version, &select.relation)?;
        let relation = self.bind(&select.relation, parameters)?;
        let mut as_of = self.as_of(&select.as_of, parameters)?;
        if as_of.is_none()
            && let Transaction::Open(Open { time: Some(time), .. }) = &self.transaction
        {
            as_of = Some((*time, false));
        }
        let mut finishing = select.finishing.clone();
        if let Some(e) = finishing.limit_expr.take() {
            finishing.limit = self.row_count(&e, parameters, "LIMIT")?;
        }
        if let Some(e) = finishing.offset_expr.take() {
            finishing.offset = self.row_count(&e, parameters, "OFFSET")?.unwrap_or(0);
        }
        let desc = Arc::new(select.desc.clone());
        if let RelationExpr::Constant { rows, .. } = &relation {
            let rows = read::finish(rows.clone()?, &finishing)?;
            return Ok(Some(Rows { desc, kind: RowsKind::Ready(rows), _guard: None }));
        }
        let unordered = finishing.order_by.is_empty();
        let limit = finishing.limit.filter(|_| unordered).map(|l| (l + finishing.offset) as usize);
        let number = self.handle.next_number();
        let ids = relation.depends_on().into_iter().collect();
        let (reply, answer) = oneshot::channel();
        let session = self.info();
        let read = Read { number, version, relation, as_of, limit, session, reply };
        self.handle.send(Command::Read(Box::new(read)))?;
        let guard = Guard { handle: self.handle.clone(), what: Running::Read(number) };
        let Some(answer) = answer.await.map_err(|_| shutting_down())?? else { return Ok(None) };
        if let Transaction::Open(open) = &mut self.transaction
            && open.time.is_none()
        {
            open.time = Some(answer.time);
            self.handle.send(Command::Hold(answer.time, true))?;
        }
        answer.notices.into_iter().for_each(|n| self.notices.push(n));
        let wait =
            Wait { handle: self.handle.clone(), notices: self.notices.clone(), ids, time: answer.time };
        let mut rows = answer.rows;
        if unordered {
            let kind = RowsKind::Stream { rows, finishing, wait: Some(wait) };
            return Ok(Some(Rows { desc, kind, _guard: Some(guard) }));
        }
        let mut all = vec![];
        let mut next = wait.first(&mut rows).await;
        while let Some(batch) = next {
            all.append(&mut batch?);
            next = rows.recv().await;
        }
        let rows = read::finish(all, &finishing)?;
        Ok(Some(Rows { desc, kind: RowsKind::Ready(rows), _guard: None }))
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
        let subscribe = Subscribe { version, relation, desc, snapshot, as_of, up_to, session, reply };
        self.handle.send(Command::Subscribe(Box::new(subscribe)))?;
        let Some(subscribed) = answer.await.map_err(|_| shutting_down())?? else { return Ok(None) };
        let guard = Guard { handle: self.handle.clone(), what: Running::Subscribe(subscribed.id) };
        let rows = SubscribeRows::new(subscribed, plan);
        let desc = Arc::new(subscribe_desc(plan));
        Ok(Some(Rows { desc, kind: RowsKind::Subscribe(Box::new(rows)), _guard: Some(guard) }))
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
        let rows = crate::copy::read_rows(data, &copy.format, &copy.columns, &copy.desc)?;
        self.check_not_null(copy.table, &rows)?;
        let mut block = RowBlock::default();
        rows.iter().for_each(|row| block.push(row.as_ref(), 1));
        self.write(vec![(copy.table, block)]).await?;
        Ok(rows.len() as u64)
    }

    async fn create(
        &mut self,
        create: &CreatePlan,
        version: u64,
        _parameters: &[Row],
    ) -> Result<Option<Outcome>, SqlError> {
        let catalog = self.catalog();
        let kind = match create.item {
            CreateItem::Secret(_) => "SECRET",
            CreateItem::Connection { .. } => "CONNECTION",
            CreateItem::Source(_) => "SOURCE",
            CreateItem::Table { .. } => "TABLE",
            CreateItem::View { .. } => "VIEW",
            CreateItem::MaterializedView { .. } => "MATERIALIZED VIEW",
            CreateItem::Index { .. } => "INDEX",
            CreateItem::Sink => "SINK",
            CreateItem::Type => "TYPE",
        };
        let tag = format!("CREATE {kind}");
        if create.temporary && !matches!(create.item, CreateItem::View { .. }) {
            return Err(SqlError::unsupported(
                "a temporary table",
                "Use CREATE TEMPORARY VIEW or CREATE TABLE.",
            ));
        }
        if create.replace.is_none() && catalog.names.contains_key(&create.name) {
            let name = &create.name.item;
            let e = SqlError::new(code::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"));
            let e = match kind {
                "SECRET" | "CONNECTION" | "TYPE" => SqlError::new(
                    code::DUPLICATE_OBJECT,
                    format!("{} \"{name}\" already exists", kind.to_lowercase()),
                ),
                _ => e,
            };
            if !create.if_not_exists {
                return Err(e);
            }
            self.notices.push(SqlError { message: format!("{}, skipping", e.message), ..e });
            return Ok(Some(Outcome::Done(tag)));
        }
        let mut start_offsets = BTreeMap::new();
        match &create.item {
            _ if self.handle.shared.offline => {}
            CreateItem::Connection { connection: ConnectionPlan::Kafka(plan), validate: true } => {
                let connection = catalog.kafka_connection(plan)?;
                outside(move || source::validate_connection(&connection, OUTSIDE_TIMEOUT)).await?;
            }
            CreateItem::Source(source) => {
                start_offsets = self.validate_source(&catalog, &source.from).await?
            }
            _ => {}
        }
        let applied =
            match (self.variables.get("deltamill.apply_set"), self.variables.get("deltamill.apply_hash")) {
                (Ok(set), Ok(hash)) => Some((set, hash)),
                _ => None,
            };
        let ddl = Ddl::Create { plan: Box::new(create.clone()), start_offsets, applied };
        let created = self.ddl(ddl, version, &tag).await?;
        if let (Some(_), CreateItem::Source(source)) = (&created, &create.item) {
            let push = &self.handle.shared.push;
            // Where requests to it go.
            let text = match source.from {
                SourceFrom::Webhook(_) => Some(format!("URL to POST data is '{}'", push.url(&create.name))),
                SourceFrom::Segment(_) => {
                    Some(format!("Segment's libraries send here when their host is '{}'", push.host()))
                }
                _ => None,
            };
            text.into_iter()
                .for_each(|text| self.notices.push(SqlError::new(repr::SqlState::new("00000"), text)));
        }
        Ok(created)
    }

    /// Talks to what the source reads, so that a mistake shows now and not later. Returns where partitions start.
    async fn validate_source(
        &self,
        catalog: &CatalogState,
        from: &SourceFrom,
    ) -> Result<BTreeMap<i32, i64>, SqlError> {
        match from {
            SourceFrom::Kafka { connection, inline, topic, start_offsets, start_timestamp, .. } => {
                let connection = catalog.source_connection(*connection, inline.as_ref())?;
                let start = match start_timestamp {
                    Some(ms) => source::StartPosition::Timestamp(*ms),
                    None if start_offsets.is_empty() => source::StartPosition::Earliest,
                    None => source::StartPosition::Offsets(start_offsets.clone()),
                };
                let (topic, now) = (topic.clone(), self.handle.shared.clock.now());
                outside(move || source::resolve_start(&connection, &topic, &start, now, OUTSIDE_TIMEOUT))
                    .await
            }
            SourceFrom::File { path, .. } => match std::fs::metadata(path) {
                Ok(m) if m.is_file() => Ok(BTreeMap::new()),
                Ok(_) => Err(SqlError::new(code::WRONG_OBJECT_TYPE, format!("\"{path}\" is not a file"))),
                Err(e) => Err(SqlError::new(
                    repr::SqlState::new("58P01"),
                    format!("could not open file \"{path}\": {e}"),
                )),
            },
            SourceFrom::GeneratorSegment { .. }
            | SourceFrom::GeneratorCounter { .. }
            | SourceFrom::Webhook(_)
            | SourceFrom::Segment(_) => Ok(BTreeMap::new()),
        }
    }

    async fn validate_connection_object(&self, id: GlobalId) -> Result<(), SqlError> {
        let catalog = self.catalog();
        let connection = catalog.items.get(&id).and_then(|i| i.connection.as_ref());
        let Some(ConnectionPlan::Kafka(plan)) = connection else {
            return Err(SqlError::new(code::WRONG_OBJECT_TYPE, "only connections can be validated"));
        };
        let connection = catalog.kafka_connection(plan)?;
        outside(move || source::validate_connection(&connection, OUTSIDE_TIMEOUT)).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Cursor {
    /// Up to `count` rows. Without a timeout waits for the first; with one, takes what comes in that time.
    async fn fetch(&mut self, count: u64, timeout: Option<Duration>) -> Result<Vec<Row>, SqlError> {
        let deadline = timeout.map(|t| tokio::time::Instant::now() + t);
        let endless = self.rows.is_endless();
        while (self.buffer.len() as u64) < count && !self.done {
            // A subscription has no end: what is there is an answer.
            if endless && deadline.is_none() && !self.buffer.is_empty() {
                break;
            }
            let next = match deadline {
                Some(deadline) if endless => {
                    match tokio::time::timeout_at(deadline, self.rows.next()).await {
                        Ok(next) => next,
                        Err(_) => break,
                    }
                }
                _ => self.rows.next().await,
            };
            match next {
                Some(batch) => self.buffer.extend(batch?),
                None => self.done = true,
            }
        }
        let n = self.buffer.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(self.buffer.drain(..n).collect())
    }
}

/// A value as another type, by the assignment cast.
fn convert<'a>(
    value: Datum<'a>,
    from: &ScalarType,
    to: &ScalarType,
    arena: &'a Arena,
) -> Result<Datum<'a>, SqlError> {
    use plan::func::resolve::{Cast, CastContext, cast};
    if value.is_null() || from == to {
        return Ok(value);
    }
    match cast(from, to, CastContext::Assignment) {
        Some(Cast::Same) => Ok(value),
        Some(Cast::Func(func)) => Ok((func.0.eval)(&[value], to, arena)?),
        None => Err(SqlError::new(
            code::DATATYPE_MISMATCH,
            format!("parameter of type {from} cannot be coerced to the expected type {to}"),
        )),
    }
}

/// The columns of a subscription's rows.
fn subscribe_desc(plan: &SubscribePlan) -> RelationDesc {
    let mut columns = vec![("mz_timestamp".to_string(), crate::ddl::timestamp_type().nullable(false))];
    if plan.progress {
        columns.push(("mz_progressed".into(), ScalarType::Bool.nullable(false)));
    }
    let nullable = |c: &Column| (c.name.clone(), c.ty.scalar.clone().nullable(true));
    match &plan.output {
        SubscribeOutput::Diffs | SubscribeOutput::WithinTimestampOrderBy(_) => {
            columns.push(("mz_diff".into(), ScalarType::Int64.nullable(plan.progress)));
            columns.extend(plan.desc.columns.iter().map(nullable));
        }
        SubscribeOutput::Upsert(key) | SubscribeOutput::Debezium(key) => {
            columns.push(("mz_state".into(), ScalarType::Text.nullable(plan.progress)));
            columns.extend(key.iter().map(|k| nullable(&plan.desc.columns[*k])));
            let rest = || (0..plan.desc.arity()).filter(|i| !key.contains(i)).map(|i| &plan.desc.columns[i]);
            if matches!(plan.output, SubscribeOutput::Upsert(_)) {
                columns.extend(rest().map(nullable));
            } else {
                for side in ["before", "after"] {
                    columns.extend(rest().map(|c| {
                        let (name, ty) = nullable(c);
                        (format!("{side}_{name}"), ty)
                    }));
                }
            }
        }
    }
    RelationDesc::new(columns)
}

/// Runs something that talks to the outside on a thread where it may block.
async fn outside<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, source::SourceError> + Send + 'static,
) -> Result<T, SqlError> {
    let result = tokio::task::spawn_blocking(f).await;
    result
        .map_err(|_| SqlError::internal("a check of something outside was cut off"))?
        .map_err(SqlError::from)
}
