//! `deltamill sql`: a small client for machines without psql.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use postgres::{Client, NoTls, SimpleQueryMessage};
use repr::{SqlError, SqlState};
use serde_json::{Map, Value};

use super::{Failure, Format, apply, output};

/// Where a server usually is.
pub(super) const DEFAULT_URL: &str = "postgres://materialize@127.0.0.1:6875/materialize";

/// The flags of `sql`.
#[derive(Args)]
pub(crate) struct Sql {
    /// The statements.
    #[arg(short = 'c', long = "command", value_name = "SQL", conflicts_with = "file")]
    command: Option<String>,
    /// A file of statements; `-` or nothing: standard input.
    file: Option<PathBuf>,
    /// The server.
    #[arg(long, env = "DELTAMILL_URL", default_value = DEFAULT_URL)]
    url: String,
    /// How rows are printed.
    #[arg(long, env = "DELTAMILL_FORMAT", value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Connects, or says why not.
pub(super) fn connect(url: &str) -> Result<Client, Failure> {
    let shown = without_password(url);
    let config: postgres::Config = url.parse().map_err(|e| Failure::new(2, format!("--url {shown}: {e}")))?;
    config.connect(NoTls).map_err(|e| match e.as_db_error() {
        Some(db) => Failure::new(4, format!("the server at {shown} refuses: {}", db.message())),
        None => {
            let hint = "Start one with `deltamill serve`, or name it with --url.";
            Failure::new(4, format!("no server answers at {shown}: {e}\n  hint: {hint}"))
        }
    })
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.contains("password") { "(not shown: it holds a password)".into() } else { url.into() };
    };
    match rest.rsplit_once('@') {
        Some((login, host)) if login.contains(':') => {
            format!("{scheme}://{}:…@{host}", login.split(':').next().unwrap_or_default())
        }
        _ => url.into(),
    }
}

/// A server's error as ours.
pub(super) fn sql_error(e: &postgres::Error) -> SqlError {
    let Some(db) = e.as_db_error() else {
        return SqlError::new(repr::error::code::CONNECTION_FAILURE, e.to_string());
    };
    let code =
        <[u8; 5]>::try_from(db.code().code().as_bytes()).map_or(repr::error::code::INTERNAL_ERROR, SqlState);
    let mut error = SqlError::new(code, db.message());
    error.detail = db.detail().map(Into::into);
    error.hint = db.hint().map(Into::into);
    error.position = db.position().and_then(|p| match p {
        postgres::error::ErrorPosition::Original(p) => Some(*p as usize),
        postgres::error::ErrorPosition::Internal { .. } => None,
    });
    error
}

impl Sql {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let (name, text) = match (&self.command, &self.file) {
            (Some(text), _) => ("-c".to_string(), text.clone()),
            (None, file) => super::statements(file.as_deref().unwrap_or("-".as_ref()))?,
        };
        let mut client = connect(&self.url)?;
        let format = if json { Format::Json } else { self.format };
        let failed = |e: postgres::Error, at: usize| {
            let mut e = sql_error(&e);
            e.position = e.position.map(|p| p + at);
            Failure::new(1, output::error_text(&e, Some((&name, &text))))
        };
        // What streams is a statement of its own; the rest goes as it is, so that it is one transaction.
        let statements = apply::on_big_stack(text.clone())?.unwrap_or_default();
        if !statements.iter().any(|s| streams(&s.text).is_some()) {
            let messages = client.simple_query(&text).map_err(|e| failed(e, 0))?;
            return show(messages, format);
        }
        for statement in statements {
            let fail = |e| failed(e, statement.offset);
            match streams(&statement.text) {
                None => show(client.simple_query(&statement.text).map_err(fail)?, format)?,
                Some(Stream::CopyIn) => {
                    let mut copy = client.copy_in(&statement.text).map_err(fail)?;
                    std::io::copy(&mut std::io::stdin().lock(), &mut copy)?;
                    copy.finish().map_err(fail)?;
                }
                Some(Stream::CopyOut) => {
                    let mut rows = client.copy_out(&statement.text).map_err(fail)?;
                    let mut out = std::io::stdout().lock();
                    loop {
                        let part = match rows.fill_buf() {
                            Ok([]) => break,
                            Ok(part) => part,
                            Err(e) => return Err(copy_failure(e, &fail)),
                        };
                        out.write_all(part)?;
                        out.flush()?;
                        let n = part.len();
                        rows.consume(n);
                    }
                }
                Some(Stream::Subscribe) => follow(&mut client, &statement.text, format, &fail)?,
            }
        }
        Ok(())
    }
}

/// Statements whose rows come or go as they are made.
enum Stream {
    CopyIn,
    CopyOut,
    Subscribe,
}

fn streams(statement: &str) -> Option<Stream> {
    let clean = apply::without_comments(statement).to_uppercase();
    let mut words = clean.split_whitespace();
    match words.next()? {
        "COPY" if words.clone().any(|w| w.trim_end_matches(';') == "STDIN") => Some(Stream::CopyIn),
        "COPY" if words.any(|w| w.trim_end_matches(';') == "STDOUT") => Some(Stream::CopyOut),
        "SUBSCRIBE" | "TAIL" => Some(Stream::Subscribe),
        _ => None,
    }
}

/// An error in the middle of a COPY.
fn copy_failure(e: std::io::Error, fail: &dyn Fn(postgres::Error) -> Failure) -> Failure {
    match e.downcast::<postgres::Error>() {
        Ok(e) => fail(e),
        Err(e) => e.into(),
    }
}

/// Prints the changes of a subscription as they come, until it ends.
fn follow(
    client: &mut Client,
    subscribe: &str,
    format: Format,
    fail: &dyn Fn(postgres::Error) -> Failure,
) -> Result<(), Failure> {
    let subscribe = subscribe.trim().trim_end_matches(';');
    client.batch_execute(&format!("BEGIN; DECLARE changes CURSOR FOR {subscribe}")).map_err(fail)?;
    let mut header = true;
    loop {
        let (fetch, start) = ("FETCH 1000 changes WITH (timeout = '1s')", Instant::now());
        let messages = client.simple_query(fetch).map_err(fail)?;
        let rows = messages.iter().filter(|m| matches!(m, SimpleQueryMessage::Row(_))).count();
        if rows > 0 || header {
            show_rows(messages, format, header)?;
            header = false;
        }
        // One that has come to its end answers at once.
        if rows == 0 && start.elapsed() < Duration::from_millis(900) {
            return Ok(());
        }
    }
}

/// Prints the rows of statements.
fn show(messages: Vec<SimpleQueryMessage>, format: Format) -> Result<(), Failure> {
    show_rows(messages, format, true)
}

fn show_rows(messages: Vec<SimpleQueryMessage>, format: Format, header: bool) -> Result<(), Failure> {
    let mut out = String::new();
    let (mut names, mut rows): (Vec<String>, Vec<Vec<Option<String>>>) = (vec![], vec![]);
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                names = columns.iter().map(|c| c.name().to_string()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|i| row.get(i).map(str::to_string)).collect());
            }
            SimpleQueryMessage::CommandComplete(_) if !names.is_empty() => {
                print(&std::mem::take(&mut names), &std::mem::take(&mut rows), format, header, &mut out);
            }
            _ => {}
        }
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(out.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Prints rows of text.
fn print(names: &[String], rows: &[Vec<Option<String>>], format: Format, header: bool, out: &mut String) {
    match format {
        Format::Json => {
            for row in rows {
                let cell = |v: &Option<String>| v.clone().map_or(Value::Null, Value::String);
                let object: Map<String, Value> = names.iter().cloned().zip(row.iter().map(cell)).collect();
                out.push_str(&format!("{}\n", Value::Object(object)));
            }
        }
        Format::Csv => {
            let quote = |s: &str| {
                if s.contains([',', '"', '\n', '\r']) {
                    format!("\"{}\"", s.replace('"', "\"\""))
                } else {
                    s.into()
                }
            };
            let line = |cells: Vec<String>| format!("{}\n", cells.join(","));
            if header {
                out.push_str(&line(names.iter().map(|n| quote(n)).collect()));
            }
            for row in rows {
                out.push_str(&line(row.iter().map(|c| c.as_deref().map_or(String::new(), quote)).collect()));
            }
        }
        Format::Table => {
            let cells: Vec<Vec<String>> =
                rows.iter().map(|r| r.iter().map(|c| c.clone().unwrap_or_default()).collect()).collect();
            let table = output::table(names, &vec![false; names.len()], &cells);
            // The names and the line below them stand once.
            let body = if header { &table[..] } else { table.splitn(3, '\n').nth(2).unwrap_or_default() };
            out.push_str(body);
        }
    }
}
