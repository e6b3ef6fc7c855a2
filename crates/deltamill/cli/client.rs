//! `deltamill sql`: a small client for machines without psql.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use postgres::{Client, NoTls, SimpleQueryMessage};
use repr::{SqlError, SqlState};
use serde_json::{Map, Value};

use super::{Failure, Format, output};

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
            (None, Some(path)) if path.as_os_str() != "-" => {
                let name = path.display().to_string();
                (
                    name.clone(),
                    std::fs::read_to_string(path).map_err(|e| Failure::new(2, format!("{name}: {e}")))?,
                )
            }
            _ => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                ("stdin".to_string(), text)
            }
        };
        let mut client = connect(&self.url)?;
        let format = if json { Format::Json } else { self.format };
        let messages = client.simple_query(&text);
        let messages = messages
            .map_err(|e| Failure::new(1, output::error_text(&sql_error(&e), Some((&name, &text)))))?;
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
                    print(&std::mem::take(&mut names), &std::mem::take(&mut rows), format, &mut out);
                }
                _ => {}
            }
        }
        use std::io::Write;
        std::io::stdout().write_all(out.as_bytes())?;
        Ok(())
    }
}

/// Prints rows of text.
fn print(names: &[String], rows: &[Vec<Option<String>>], format: Format, out: &mut String) {
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
            out.push_str(&line(names.iter().map(|n| quote(n)).collect()));
            for row in rows {
                out.push_str(&line(row.iter().map(|c| c.as_deref().map_or(String::new(), quote)).collect()));
            }
        }
        Format::Table => {
            let cells: Vec<Vec<String>> =
                rows.iter().map(|r| r.iter().map(|c| c.clone().unwrap_or_default()).collect()).collect();
            out.push_str(&output::table(names, &vec![false; names.len()], &cells));
        }
    }
}
