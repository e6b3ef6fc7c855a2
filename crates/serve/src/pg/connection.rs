//! One connection: start-up, the simple and the extended protocol, COPY, and the end.
//!
//! While a statement runs, three things are listened to at once: the statement, a cancel request, and the socket, so that
//! a client that goes away takes its work along. What streams is flushed as it comes; everything else when the client has
//! nothing more to say.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use coord::rows::CopyIn;
use coord::session::Prepared;
use coord::waits::Notices;
use coord::{Handle, Outcome, Rows, Session, TransactionStatus};
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::copy::{CopyDone, CopyInResponse, CopyOutResponse};
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    self as extended, BindComplete, CloseComplete, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus as Status,
};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};
use repr::error::code;
use repr::{Arena, Datum, RelationDesc, Row, ScalarType, SqlError};
use sql::plan::CopyFormat;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use super::cancel::Cancels;
use super::encode::{self, Formats};
use super::frame::{FrameError, FrameReader, Startup, invalid_utf8};

/// Output is flushed at this size, even if more is to come.
const FLUSH_BYTES: usize = 64 << 10;

/// How long a client may take to say who it is.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes of a `COPY … FROM STDIN`.
const COPY_BYTES: usize = 1 << 30;

/// The connection cannot go on.
struct Gone;

/// Why a statement did not come to its end.
enum Stop {
    Error(SqlError),
    Gone,
}

impl From<SqlError> for Stop {
    fn from(e: SqlError) -> Stop {
        Stop::Error(e)
    }
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Stop {
        Stop::Gone
    }
}

struct Connection {
    reader: FrameReader<OwnedReadHalf>,
    output: Output,
    session: Session,
    statements: HashMap<String, Prepared>,
    portals: HashMap<String, Portal>,
    signals: Signals,
}

/// What may interrupt a statement.
struct Signals {
    cancelled: Arc<Notify>,
    notices: Arc<Notices>,
}

/// What goes to the client.
struct Output {
    socket: OwnedWriteHalf,
    buffer: BytesMut,
    text: String,
    binary: Vec<u8>,
}

impl Output {
    /// Writes all out. Where it is given up in the middle, the rest stays to be written.
    async fn flush(&mut self) -> Result<(), Gone> {
        while !self.buffer.is_empty() {
            match self.socket.write_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Gone),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// As [`Output::flush`], for rows of a statement: one who does not read can still cancel it.
    async fn flush_rows(&mut self, signals: &Signals) -> Result<(), Stop> {
        tokio::select! {
            biased;
            flushed = self.flush() => Ok(flushed?),
            () = signals.cancelled.notified() => Err(cancelled().into()),
        }
    }

    fn row(&mut self, row: &Row, desc: &RelationDesc, formats: &Formats) {
        encode::data_row(&mut self.buffer, row.as_ref(), desc, formats, &mut self.text, &mut self.binary)
    }
}

struct Portal {
    prepared: Prepared,
    parameters: Vec<Row>,
    formats: Formats,
    running: Option<Running>,
    /// It has run to its end.
    done: bool,
}

/// A portal that has given some of its rows.
struct Running {
    rows: Rows,
    tag: &'static str,
    buffer: VecDeque<Row>,
    ended: bool,
}

/// Serves a connection until it ends.
pub(super) async fn serve(socket: TcpStream, handle: Handle, cancels: Arc<Cancels>, full: bool) {
    let (read, write) = socket.into_split();
    let mut reader = FrameReader::new(read);
    let mut output = Output { socket: write, buffer: BytesMut::new(), text: String::new(), binary: vec![] };
    let started = tokio::time::timeout(STARTUP_TIMEOUT, start(&mut reader, &mut output)).await;
    let (parameters, newer) = match started {
        Ok(Ok(Some(Startup::Start { parameters, newer }))) => (parameters, newer),
        Ok(Ok(Some(Startup::Cancel { pid, secret }))) => return cancels.cancel(pid, secret),
        Ok(Err(e)) => return farewell(&mut output, &e).await,
        _ => return,
    };
    if full {
        let e = SqlError::new(code::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
        return farewell(&mut output, &e).await;
    }
    let get = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let Some(user) = get("user").filter(|u| !u.is_empty()) else {
        let e = SqlError::new(
            repr::SqlState::new("28000"),
            "no PostgreSQL user name specified in startup packet",
        );
        return farewell(&mut output, &e).await;
    };
    let not_settings = ["user", "database", "replication", "options"];
    let settings: Vec<(String, String)> = parameters
        .iter()
        .filter(|(n, _)| !not_settings.contains(&n.as_str()) && !n.starts_with("_pq_."))
        .cloned()
        .chain(options(get("options").unwrap_or_default()))
        .collect();
    let session = handle.session(user, get("database").or(Some("materialize")), &settings);
    let pid = session.number() as i32;
    let (secret, cancelled) = cancels.register(pid);
    let signals = Signals { cancelled, notices: session.notices() };
    let mut connection =
        Connection { reader, output, session, statements: HashMap::new(), portals: HashMap::new(), signals };
    connection.greet(pid, secret, newer);
    let _ = connection.run().await;
    cancels.remove(pid);
}

/// Start-up packets, until one says what is wanted.
async fn start(
    reader: &mut FrameReader<OwnedReadHalf>,
    output: &mut Output,
) -> Result<Option<Startup>, SqlError> {
    loop {
        match reader.startup().await {
            Ok(Startup::Encryption) => {
                output.buffer.put_u8(b'N');
                if output.flush().await.is_err() {
                    return Ok(None);
                }
            }
            Ok(other) => return Ok(Some(other)),
            Err(FrameError::Fatal(e) | FrameError::Bad(e)) => return Err(e),
            Err(FrameError::Closed) => return Ok(None),
        }
    }
}

/// `-c name=value` and `--name=value` of the `options` parameter.
fn options(text: &str) -> Vec<(String, String)> {
    let words = text.split_whitespace().filter(|w| *w != "-c").map(|w| w.strip_prefix("-c").unwrap_or(w));
    let pairs = words.filter_map(|w| w.trim_start_matches('-').split_once('='));
    pairs.map(|(n, v)| (n.replace('-', "_"), v.to_string())).collect()
}

async fn farewell(output: &mut Output, e: &SqlError) {
    encode::error(&mut output.buffer, e, true);
    let _ = output.flush().await;
}

fn cancelled() -> SqlError {
    SqlError::new(code::QUERY_CANCELED, "canceling statement due to user request")
}

/// Runs `work` unless the client cancels it or goes. What it has to say while it waits goes out at once.
async fn interruptible<T>(
    reader: &mut FrameReader<OwnedReadHalf>,
    output: &mut Output,
    signals: &Signals,
    work: impl Future<Output = T>,
) -> Result<T, Stop> {
    tokio::pin!(work);
    let cancel = signals.cancelled.notified();
    tokio::pin!(cancel);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return Ok(result),
            () = &mut cancel => {
                return Err(cancelled().into());
            }
            () = signals.notices.urgent() => {
                signals.notices.take().iter().for_each(|e| encode::notice(&mut output.buffer, e));
                output.flush().await?;
            }
            more = reader.wait_for_more() => if !more { return Err(Stop::Gone) },
        }
    }
}

impl Connection {
    fn greet(&mut self, pid: i32, secret: i32, newer: bool) {
        let out = &mut self.output.buffer;
        if newer {
            encode::message(out, &NegotiateProtocolVersion::new(0, vec![]));
        }
        encode::message(out, &Authentication::Ok);
        for (name, value) in self.session.reported_parameters() {
            encode::message(out, &ParameterStatus::new(name, value));
        }
        encode::message(out, &BackendKeyData::new(pid, SecretKey::I32(secret)));
        self.ready();
    }

    fn ready(&mut self) {
        self.report();
        let status = match self.session.transaction_status() {
            TransactionStatus::Idle => Status::Idle,
            TransactionStatus::Open => Status::Transaction,
            TransactionStatus::Failed => Status::Error,
        };
        encode::message(&mut self.output.buffer, &ReadyForQuery::new(status));
    }

    /// Notices and changed parameters go out before what they belong to ends.
    fn report(&mut self) {
        for e in self.session.take_notices() {
            encode::notice(&mut self.output.buffer, &e);
        }
        for (name, value) in self.session.take_changed_parameters() {
            encode::message(&mut self.output.buffer, &ParameterStatus::new(name, value));
        }
    }

    fn error(&mut self, e: &SqlError) {
        self.session.failed();
        self.report();
        encode::error(&mut self.output.buffer, e, false);
    }

    async fn run(&mut self) -> Result<(), Gone> {
        // After an error in the extended protocol everything is skipped up to Sync.
        let mut skipping = false;
        loop {
            if self.reader.is_empty() {
                self.output.flush().await?;
            }
            let message = match self.reader.message().await {
                Ok(message) => message,
                Err(FrameError::Closed) => return Err(Gone),
                Err(FrameError::Fatal(e)) => {
                    farewell(&mut self.output, &e).await;
                    return Err(Gone);
                }
                Err(FrameError::Bad(e)) => {
                    if !skipping {
                        self.error(&e);
                        // Which of the two protocols it belonged to is not known; a Sync follows in the one, and in the
                        // other the client waits for this.
                        self.ready();
                    }
                    continue;
                }
            };
            fail::point("pg-statement");
            match message {
                Message::Terminate(_) => return Ok(()),
                Message::Sync(_) => {
                    skipping = false;
                    if self.session.transaction_status() == TransactionStatus::Idle {
                        self.portals.clear();
                    }
                    self.ready();
                    self.output.flush().await?;
                }
                Message::Query(query) => {
                    skipping = false;
                    self.portals.remove("");
                    match self.simple_query(&query.query).await {
                        Ok(()) => {}
                        Err(Stop::Error(e)) => self.error(&e),
                        Err(Stop::Gone) => return Err(Gone),
                    }
                    self.ready();
                }
                _ if skipping => {}
                Message::Flush(_) => self.output.flush().await?,
                message => match self.extended(message).await {
                    Ok(()) => {}
                    Err(Stop::Error(e)) => {
                        self.error(&e);
                        skipping = true;
                    }
                    Err(Stop::Gone) => return Err(Gone),
                },
            }
            if self.output.buffer.len() > FLUSH_BYTES {
                self.output.flush().await?;
            }
        }
    }

    async fn simple_query(&mut self, text: &str) -> Result<(), Stop> {
        let statements = self.session.parse(text).await?;
        if statements.is_empty() {
            encode::message(&mut self.output.buffer, &EmptyQueryResponse::new());
            return Ok(());
        }
        let formats = Formats::new(vec![]);
        for statement in statements {
            let outcome = {
                let session = &mut self.session;
                let work = async move {
                    let mut prepared = session.prepare(statement, vec![]).await?;
                    session.execute(&mut prepared, &[]).await
                };
                interruptible(&mut self.reader, &mut self.output, &self.signals, work).await??
            };
            self.report();
            match outcome {
                Outcome::Empty => encode::message(&mut self.output.buffer, &EmptyQueryResponse::new()),
                Outcome::Done(tag) => encode::message(&mut self.output.buffer, &CommandComplete::new(tag)),
                Outcome::Rows { tag, rows } => {
                    encode::row_description(&mut self.output.buffer, &rows.desc, &formats);
                    let mut running = Running { rows, tag, buffer: VecDeque::new(), ended: false };
                    let count = self.send_rows(&mut running, &formats, u64::MAX).await?;
                    encode::message(&mut self.output.buffer, &CommandComplete::new(complete(tag, count)));
                }
                Outcome::CopyOut { format, rows } => self.copy_out(format, rows).await?,
                Outcome::CopyIn(copy) => self.copy_in(copy).await?,
            }
        }
        Ok(())
    }

    /// Sends up to `limit` rows of a result; what it has beyond them stays in `running`.
    async fn send_rows(&mut self, running: &mut Running, formats: &Formats, limit: u64) -> Result<u64, Stop> {
        let desc = running.rows.desc.clone();
        let mut sent = 0;
        loop {
            while sent < limit {
                let Some(row) = running.buffer.pop_front() else { break };
                self.output.row(&row, &desc, formats);
                sent += 1;
                if self.output.buffer.len() > FLUSH_BYTES {
                    self.output.flush_rows(&self.signals).await?;
                }
            }
            if sent == limit || running.ended {
                return Ok(sent);
            }
            if running.rows.is_endless() {
                self.output.flush_rows(&self.signals).await?;
            }
            match interruptible(&mut self.reader, &mut self.output, &self.signals, running.rows.next())
                .await?
            {
                Some(batch) => running.buffer.extend(batch?),
                None => running.ended = true,
            }
        }
    }

    async fn copy_out(&mut self, format: CopyFormat, mut rows: Rows) -> Result<(), Stop> {
        let desc = rows.desc.clone();
        let binary = i16::from(format == CopyFormat::Binary);
        let columns = desc.arity() as i16;
        let response = CopyOutResponse::new(binary as i8, columns, vec![binary; desc.arity()]);
        encode::message(&mut self.output.buffer, &response);
        let mut line = String::new();
        let mut count = 0;
        // The header goes with what comes first, as Postgres sends it: psycopg counts on that.
        let mut header: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
        coord::copy::write_header(&desc, &format, &mut line);
        if !line.is_empty() {
            copy_data(&mut self.output.buffer, line.as_bytes());
        }
        loop {
            if rows.is_endless() {
                self.output.flush_rows(&self.signals).await?;
            }
            let Some(batch) =
                interruptible(&mut self.reader, &mut self.output, &self.signals, rows.next()).await?
            else {
                break;
            };
            for row in batch? {
                count += 1;
                if binary == 1 {
                    let mut tuple = BytesMut::from(std::mem::take(&mut header));
                    tuple.put_i16(columns);
                    for (datum, column) in row.iter().zip(&desc.columns) {
                        let Output { text, binary, .. } = &mut self.output;
                        encode::field(&mut tuple, datum, &column.ty.scalar, true, text, binary);
                    }
                    copy_data(&mut self.output.buffer, &tuple);
                } else {
                    line.clear();
                    coord::copy::write_row(&row, &desc, &format, &mut line);
                    copy_data(&mut self.output.buffer, line.as_bytes());
                }
                if self.output.buffer.len() > FLUSH_BYTES {
                    self.output.flush_rows(&self.signals).await?;
                }
            }
        }
        if binary == 1 {
            copy_data(&mut self.output.buffer, &[header, &(-1i16).to_be_bytes()].concat());
        }
        encode::message(&mut self.output.buffer, &CopyDone::default());
        encode::message(&mut self.output.buffer, &CommandComplete::new(format!("COPY {count}")));
        Ok(())
    }

    async fn copy_in(&mut self, copy: CopyIn) -> Result<(), Stop> {
        let columns = copy.arity();
        let response = CopyInResponse::new(0, columns as i16, vec![0; columns]);
        encode::message(&mut self.output.buffer, &response);
        self.output.flush().await?;
        let mut data = vec![];
        loop {
            match self.reader.message().await {
                Ok(Message::CopyData(chunk)) => {
                    if data.len() + chunk.data.len() > COPY_BYTES {
                        return Err(SqlError::new(
                            code::PROGRAM_LIMIT_EXCEEDED,
                            "the data of one COPY is too long",
                        )
                        .into());
                    }
                    data.extend_from_slice(&chunk.data);
                }
                Ok(Message::CopyDone(_)) => break,
                Ok(Message::CopyFail(fail)) => {
                    let message = format!("COPY from stdin failed: {}", fail.message);
                    return Err(SqlError::new(code::QUERY_CANCELED, message).into());
                }
                Ok(Message::Flush(_) | Message::Sync(_)) => {}
                Ok(_) => {
                    let e =
                        SqlError::new(code::PROTOCOL_VIOLATION, "unexpected message during COPY from stdin");
                    return Err(e.into());
                }
                Err(FrameError::Bad(e)) => return Err(e.into()),
                Err(_) => return Err(Stop::Gone),
            }
        }
        let session = &mut self.session;
        let count =
            interruptible(&mut self.reader, &mut self.output, &self.signals, session.copy_in(&copy, &data))
                .await??;
        encode::message(&mut self.output.buffer, &CommandComplete::new(format!("COPY {count}")));
        Ok(())
    }

    async fn extended(&mut self, message: Message) -> Result<(), Stop> {
        match message {
            Message::Parse(parse) => self.parse(parse).await,
            Message::Bind(bind) => self.bind(bind),
            Message::Describe(describe) => self.describe(describe),
            Message::Execute(execute) => self.execute_portal(execute).await,
            Message::Close(close) => {
                let name = close.name.unwrap_or_default();
                if close.target_type == extended::TARGET_TYPE_BYTE_STATEMENT {
                    self.statements.remove(&name);
                } else {
                    self.portals.remove(&name);
                }
                encode::message(&mut self.output.buffer, &CloseComplete::new());
                Ok(())
            }
            // What is left of a COPY that has failed.
            Message::CopyData(_) | Message::CopyDone(_) | Message::CopyFail(_) => Ok(()),
            _ => Err(SqlError::new(code::PROTOCOL_VIOLATION, "unexpected message").into()),
        }
    }

    async fn parse(&mut self, parse: extended::Parse) -> Result<(), Stop> {
        let name = parse.name.unwrap_or_default();
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(SqlError::new(
                code::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            )
            .into());
        }
        let mut statements = self.session.parse(&parse.query).await?;
        if statements.len() > 1 {
            let e = SqlError::new(
                code::SYNTAX_ERROR,
                "cannot insert multiple commands into a prepared statement",
            );
            return Err(e.into());
        }
        let statement = statements.pop().unwrap_or_else(|| sql::Statement { text: String::new(), offset: 0 });
        let types = parse.type_oids.iter().map(|oid| type_of_oid(*oid)).collect();
        let session = &mut self.session;
        let work = session.prepare(statement, types);
        let prepared = interruptible(&mut self.reader, &mut self.output, &self.signals, work).await??;
        self.statements.insert(name, prepared);
        encode::message(&mut self.output.buffer, &ParseComplete::new());
        Ok(())
    }

    fn statement(&self, name: &str) -> Result<&Prepared, SqlError> {
        self.statements.get(name).ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_string()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            SqlError::new(code::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    fn bind(&mut self, bind: extended::Bind) -> Result<(), Stop> {
        let name = bind.statement_name.unwrap_or_default();
        let prepared = self.statement(&name)?.clone();
        let types = &prepared.planned.parameters;
        if bind.parameters.len() != types.len() {
            return Err(SqlError::new(
                code::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {} parameters, but prepared statement \"{name}\" requires {}",
                    bind.parameters.len(),
                    types.len()
                ),
            )
            .into());
        }
        let codes = bind.parameter_format_codes;
        if codes.len() > 1 && codes.len() != bind.parameters.len() {
            let message = format!(
                "bind message has {} parameter formats but {} parameters",
                codes.len(),
                bind.parameters.len()
            );
            return Err(SqlError::new(code::PROTOCOL_VIOLATION, message).into());
        }
        if let Some(bad) =
            codes.iter().chain(&bind.result_column_format_codes).find(|c| !(0..=1).contains(*c))
        {
            return Err(SqlError::new(
                code::INVALID_PARAMETER_VALUE,
                format!("unsupported format code: {bad}"),
            )
            .into());
        }
        let formats = Formats::new(codes);
        let values = bind.parameters.iter().zip(types).enumerate();
        let parameters = values
            .map(|(i, (value, ty))| parameter(value.as_ref(), ty, formats.binary(i)))
            .collect::<Result<Vec<Row>, SqlError>>()?;
        let portal_name = bind.portal_name.unwrap_or_default();
        if !portal_name.is_empty() && self.portals.contains_key(&portal_name) {
            let e = SqlError::new(code::DUPLICATE_CURSOR, format!("cursor \"{portal_name}\" already exists"));
            return Err(e.into());
        }
        let formats = Formats::new(bind.result_column_format_codes);
        self.portals
            .insert(portal_name, Portal { prepared, parameters, formats, running: None, done: false });
        encode::message(&mut self.output.buffer, &BindComplete::new());
        Ok(())
    }

    fn describe(&mut self, describe: extended::Describe) -> Result<(), Stop> {
        let name = describe.name.unwrap_or_default();
        let (columns, formats) = if describe.target_type == extended::TARGET_TYPE_BYTE_STATEMENT {
            let prepared = self.statement(&name)?;
            let types = prepared.planned.parameters.iter().map(ScalarType::oid).collect();
            let columns = self.session.columns(prepared);
            encode::message(&mut self.output.buffer, &ParameterDescription::new(types));
            (columns, Formats::new(vec![]))
        } else {
            match (self.portals.get(&name), self.session.cursor_columns(&name)) {
                (Some(portal), _) => (self.session.columns(&portal.prepared), portal.formats.clone()),
                (None, Some(columns)) => (Some(columns), Formats::new(vec![])),
                (None, None) => return Err(no_portal(&name).into()),
            }
        };
        match columns {
            Some(desc) => encode::row_description(&mut self.output.buffer, &desc, &formats),
            None => encode::message(&mut self.output.buffer, &NoData::new()),
        }
        Ok(())
    }

    async fn execute_portal(&mut self, execute: extended::Execute) -> Result<(), Stop> {
        let name = execute.name.unwrap_or_default();
        let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        let result = self.run_portal(&mut portal, execute.max_rows).await;
        if result.is_ok() {
            self.portals.insert(name, portal);
        }
        result
    }

    async fn run_portal(&mut self, portal: &mut Portal, max_rows: i32) -> Result<(), Stop> {
        let limit = if max_rows > 0 { max_rows as u64 } else { u64::MAX };
        if portal.running.is_none() && !portal.done {
            let session = &mut self.session;
            let work = session.execute(&mut portal.prepared, &portal.parameters);
            let outcome = interruptible(&mut self.reader, &mut self.output, &self.signals, work).await??;
            self.report();
            match outcome {
                Outcome::Empty => {
                    portal.done = true;
                    encode::message(&mut self.output.buffer, &EmptyQueryResponse::new());
                    return Ok(());
                }
                Outcome::Done(tag) => {
                    portal.done = true;
                    encode::message(&mut self.output.buffer, &CommandComplete::new(tag));
                    return Ok(());
                }
                Outcome::CopyOut { format, rows } => {
                    portal.done = true;
                    return self.copy_out(format, rows).await;
                }
                Outcome::CopyIn(copy) => {
                    portal.done = true;
                    return self.copy_in(copy).await;
                }
                Outcome::Rows { tag, rows } => {
                    portal.running = Some(Running { rows, tag, buffer: VecDeque::new(), ended: false });
                }
            }
        }
        let Some(running) = &mut portal.running else {
            encode::message(&mut self.output.buffer, &CommandComplete::new("SELECT 0".into()));
            return Ok(());
        };
        let tag = running.tag;
        let count = self.send_rows(running, &portal.formats, limit).await?;
        if count == limit && !(running.ended && running.buffer.is_empty()) {
            encode::message(&mut self.output.buffer, &PortalSuspended::new());
        } else {
            portal.running = None;
            portal.done = true;
            encode::message(&mut self.output.buffer, &CommandComplete::new(complete(tag, count)));
        }
        Ok(())
    }
}

fn no_portal(name: &str) -> SqlError {
    SqlError::new(code::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}

/// The command tag: with the number of rows, where Postgres gives one.
fn complete(tag: &str, count: u64) -> String {
    match tag {
        "SHOW" | "EXPLAIN" => tag.to_string(),
        _ => format!("{tag} {count}"),
    }
}

fn copy_data(out: &mut BytesMut, data: &[u8]) {
    out.put_u8(b'd');
    out.put_i32(data.len() as i32 + 4);
    out.put_slice(data);
}

/// A parameter's value as a row of one datum.
fn parameter(value: Option<&Bytes>, ty: &ScalarType, binary: bool) -> Result<Row, SqlError> {
    let Some(bytes) = value else { return Ok(Row::pack([Datum::Null])) };
    let arena = Arena::new();
    let datum = if binary {
        repr::binary::read(bytes, ty, &arena)?
    } else {
        let text = std::str::from_utf8(bytes).map_err(|e| invalid_utf8(bytes, e))?;
        if text.contains('\0') {
            return Err(SqlError::new(
                code::CHARACTER_NOT_IN_REPERTOIRE,
                "invalid byte sequence for encoding \"UTF8\": 0x00",
            ));
        }
        repr::text::parse(text, ty, &arena)?
    };
    Ok(Row::pack([datum]))
}

/// The type that a client names by its oid; none for those to be inferred and those we do not know.
fn type_of_oid(oid: u32) -> Option<ScalarType> {
    use ScalarType::*;
    let simple = [
        Bool,
        Bytes,
        PgChar,
        Name,
        Int64,
        Int16,
        Int32,
        Text,
        Oid,
        Float32,
        Float64,
        Date,
        Time,
        Interval,
        Uuid,
        Jsonb,
        VarChar { length: None },
        Char { length: None },
        Numeric { scale: None },
        Timestamp { precision: None },
        TimestampTz { precision: None },
        RegClass,
        RegProc,
        RegType,
        UInt16,
        UInt32,
        UInt64,
        MzTimestamp,
    ];
    if oid == 114 {
        return Some(Jsonb);
    }
    simple.into_iter().find_map(|ty| {
        let array = Array(Box::new(ty.clone()));
        match oid {
            o if o == ty.oid() => Some(ty),
            o if o == array.oid() => Some(array),
            _ => None,
        }
    })
}
