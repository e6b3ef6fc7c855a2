//! `deltamill run`: statements over a file of events, computed once, in memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use deltamill::{Config, Engine};

use super::{Failure, Format, apply, output};

/// The flags of `run`.
#[derive(Args)]
pub(crate) struct Run {
    /// The statements; `-`: standard input.
    file: PathBuf,
    /// A file of one event a line (also .gz, .zst), readable as source `input` (column `data bytea`).
    #[arg(long, env = "DELTAMILL_INPUT")]
    input: Option<PathBuf>,
    /// How rows are printed.
    #[arg(long, env = "DELTAMILL_FORMAT", value_enum, default_value_t = Format::Table)]
    format: Format,
    /// A variable for the statements: `name=value`.
    #[arg(long = "set", env = "DELTAMILL_SET", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl Run {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let (name, text) = super::statements(&self.file)?;
        let (file, text) = apply::File::new(&name, &text, &apply::variables(&self.set)?)?;
        let engine = Engine::start(Config { workers: 1, ..Config::ephemeral() })?;
        let mut session = engine.session();
        if let Some(input) = &self.input {
            let path = input.display().to_string().replace('\'', "''");
            session.run(&format!("CREATE SOURCE input FROM FILE '{path}' FORMAT BYTES"))?;
            wait_for_source(&mut session, "input", json)?;
        }
        let format = if json { Format::Json } else { self.format };
        let mut out = std::io::stdout().lock();
        let mut failed = None;
        let result = session.each(&text, |result| {
            if let Err(e) = output::print(&result, format, &mut out) {
                failed = Some(e);
                return Err(repr::SqlError::internal("stdout is closed"));
            }
            Ok(())
        });
        if let Some(e) = failed {
            return Err(e.into());
        }
        result.map_err(|e| file.error(e))
    }
}

/// Waits until a source that comes to an end has come there.
fn wait_for_source(session: &mut deltamill::Session, name: &str, json: bool) -> Result<(), Failure> {
    let bar = output::progress("reading", None, json);
    let mut shown = Instant::now();
    let query = format!("SELECT status, error FROM mz_internal.mz_source_statuses WHERE name = '{name}'");
    loop {
        let result = session.query(&query)?;
        let row = result.rows.first().ok_or_else(|| Failure::new(1, "the input has no status"))?;
        let mut datums = row.iter();
        match datums.next() {
            Some(repr::Datum::Text("finished")) => return Ok(()),
            Some(repr::Datum::Text("stalled" | "failed")) => {
                let why = match datums.next() {
                    Some(repr::Datum::Text(why)) => why.to_string(),
                    _ => "no reason is known".into(),
                };
                return Err(Failure::new(4, format!("the input cannot be read: {why}")));
            }
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
        if !bar.is_hidden() && shown.elapsed() > Duration::from_millis(100) {
            let read = session.query(&format!("SELECT sum(\"offset\") FROM {name}_progress"))?;
            if let Some(repr::Datum::Numeric(n)) = read.rows.first().and_then(|r| r.iter().next()) {
                bar.set_position(n.to_i64().unwrap_or(0).unsigned_abs());
            }
            shown = Instant::now();
        }
    }
}
