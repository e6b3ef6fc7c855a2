//! Results: rows as they come, and cursors over them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use repr::error::code;
use repr::{Diff, GlobalId, RelationDesc, Row, SqlError};
use sql::plan::{CopyFormat, Finishing};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::command::Command;
use crate::coordinator::Handle;
use crate::read;
use crate::subscribe::SubscribeRows;
use crate::waits::Wait;

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
    /// `COPY … FROM STDIN`: the client sends data, which then goes to [`crate::session::Session::copy_in`].
    CopyIn(CopyIn),
    /// Done; the command tag.
    Done(String),
    /// An empty statement.
    Empty,
}

/// A `COPY … FROM STDIN` that waits for its data.
#[derive(Clone, Debug)]
pub struct CopyIn {
    pub(crate) table: GlobalId,
    pub(crate) columns: Vec<usize>,
    pub(crate) defaults: Vec<(usize, plan::ScalarExpr)>,
    pub(crate) desc: RelationDesc,
    pub(crate) format: CopyFormat,
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
    /// When the statement's time is up.
    deadline: Option<Instant>,
    _guard: Option<Guard>,
}

/// The error of a statement that takes longer than `statement_timeout`.
pub(crate) fn timed_out() -> SqlError {
    SqlError::new(code::QUERY_CANCELED, "canceling statement due to statement timeout")
}

enum RowsKind {
    Ready(Vec<Row>),
    Stream {
        rows: mpsc::Receiver<Result<Vec<(Row, Diff)>, SqlError>>,
        finishing: Finishing,
        limit: ResultLimit,
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
pub(crate) struct Guard {
    pub handle: Handle,
    pub what: Running,
}

pub(crate) enum Running {
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
    /// Rows that are there.
    pub(crate) fn ready(desc: Arc<RelationDesc>, rows: Vec<Row>) -> Rows {
        Rows { desc, kind: RowsKind::Ready(rows), deadline: None, _guard: None }
    }

    /// Rows that the read with this number brings, in any order.
    pub(crate) fn stream(
        desc: Arc<RelationDesc>,
        rows: mpsc::Receiver<Result<Vec<(Row, Diff)>, SqlError>>,
        finishing: Finishing,
        limit: ResultLimit,
        wait: Wait,
        guard: Guard,
    ) -> Rows {
        let kind = RowsKind::Stream { rows, finishing, limit, wait: Some(wait) };
        Rows { desc, kind, deadline: None, _guard: Some(guard) }
    }

    /// Without a limit: for readers that take rows as they come and keep none.
    pub(crate) fn unlimited(mut self) -> Rows {
        if let RowsKind::Stream { limit, .. } = &mut self.kind {
            limit.left = usize::MAX;
        }
        self
    }

    /// Changes as they come.
    pub(crate) fn subscription(desc: Arc<RelationDesc>, rows: SubscribeRows, guard: Guard) -> Rows {
        Rows { desc, kind: RowsKind::Subscribe(Box::new(rows)), deadline: None, _guard: Some(guard) }
    }

    /// Whether rows come for as long as the client listens.
    pub fn is_endless(&self) -> bool {
        matches!(self.kind, RowsKind::Subscribe(_))
    }

    /// Lets an error come in the place of what has not come by then, unless rows come without end.
    pub(crate) fn end_by(&mut self, deadline: Instant) {
        self.deadline = Some(deadline).filter(|_| !self.is_endless());
    }

    /// The next rows, one batch after the other; none at the end.
    pub async fn next(&mut self) -> Option<Result<Vec<Row>, SqlError>> {
        match self.deadline {
            None => self.next_batch().await,
            Some(deadline) => tokio::time::timeout_at(deadline, self.next_batch())
                .await
                .unwrap_or_else(|_| Some(Err(timed_out()))),
        }
    }

    async fn next_batch(&mut self) -> Option<Result<Vec<Row>, SqlError>> {
        match &mut self.kind {
            RowsKind::Ready(rows) if rows.is_empty() => None,
            RowsKind::Ready(rows) => Some(Ok(std::mem::take(rows))),
            RowsKind::Subscribe(rows) => rows.next().await,
            RowsKind::Stream { rows, finishing, limit, wait } => {
                let Some(first) = wait else {
                    return Some(rows.recv().await?.and_then(|batch| stream_batch(batch, finishing, limit)));
                };
                let batch = first.first(rows).await?;
                *wait = None;
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(e) => return Some(Err(e)),
                };
                // One batch and no more, as mostly: in a fixed order. More: as they come.
                match rows.recv().await {
                    None => Some(read::finish(batch, finishing, limit)),
                    Some(Err(e)) => Some(Err(e)),
                    Some(Ok(mut second)) => {
                        let mut both = batch;
                        both.append(&mut second);
                        Some(stream_batch(both, finishing, limit))
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

/// `max_query_result_size`, and how much of it is left.
#[derive(Clone, Debug)]
pub struct ResultLimit {
    left: usize,
    /// As the setting says it.
    size: String,
}

impl ResultLimit {
    pub(crate) fn new((left, size): (usize, String)) -> ResultLimit {
        ResultLimit { left, size }
    }

    /// Counts rows that are held for, or go to, the client.
    pub(crate) fn count<'a>(&mut self, rows: impl IntoIterator<Item = &'a Row>) -> Result<(), SqlError> {
        let bytes = rows.into_iter().map(|row| row.bytes().len()).sum();
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| {
            SqlError::new(
                code::CONFIGURATION_LIMIT_EXCEEDED,
                format!("result exceeds max size of {}", self.size),
            )
            .with_hint("Take fewer rows, read them with a cursor or COPY, or raise max_query_result_size.")
        })?;
        Ok(())
    }
}

/// A batch of an unordered stream: counted out, within what is left of offset and limit.
fn stream_batch(
    batch: Vec<(Row, Diff)>,
    finishing: &mut Finishing,
    limit: &mut ResultLimit,
) -> Result<Vec<Row>, SqlError> {
    let mut out = Vec::with_capacity(batch.len());
    for (row, diff) in read::mapped(batch, &finishing.map)? {
        for _ in 0..diff {
            if finishing.offset > 0 {
                finishing.offset -= 1;
            } else if finishing.limit != Some(0) {
                finishing.limit = finishing.limit.map(|l| l - 1);
                let row = read::project_row(&row, &finishing.project);
                limit.count([&row])?;
                out.push(row);
            }
        }
    }
    Ok(out)
}

/// A cursor: rows, and those that were taken from them and not yet fetched.
pub(crate) struct Cursor {
    pub rows: Rows,
    buffer: VecDeque<Row>,
    done: bool,
}

impl Cursor {
    pub fn new(rows: Rows) -> Cursor {
        Cursor { rows, buffer: VecDeque::new(), done: false }
    }

    /// Up to `count` rows. Without a timeout waits for the first; with one, takes what comes in that time.
    pub async fn fetch(&mut self, count: u64, timeout: Option<Duration>) -> Result<Vec<Row>, SqlError> {
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
