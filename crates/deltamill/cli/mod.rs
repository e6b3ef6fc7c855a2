//! Commands, their flags and what they do.

mod apply;
mod client;
mod demo;
mod doctor;
mod init;
mod kafka;
pub(crate) mod output;
mod run;
mod send;
mod serve;
mod signal;
mod topic;
mod views;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// A streaming-view engine: Kafka and Segment bytes in, live SQL views out.
#[derive(Parser)]
#[command(name = "deltamill", version)]
pub(crate) struct Cli {
    /// Print one JSON object a line, with a stable `type`.
    #[arg(long, global = true, env = "DELTAMILL_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// See it work with nothing else installed: embedded Kafka, Segment events, live views.
    Demo(demo::Demo),
    /// Run the server.
    Serve(serve::Serve),
    /// Make the server's objects those of a folder of SQL files.
    Apply(apply::Apply),
    /// Check a folder of SQL files, without server or network.
    Check(apply::Check),
    /// Make a folder of SQL files to begin with.
    Init(init::Init),
    /// Send a call to Segment's Tracking API, this program's or Segment's own.
    Send(send::Send),
    /// Run a file of statements in memory and print the rows of its queries.
    Run(run::Run),
    /// Run statements on a server and print their rows.
    Sql(client::Sql),
    /// List, make, fill and read Kafka topics, the embedded broker's or any other's.
    Topic(topic::Topic),
    /// Say what is in a data directory, whether it is sound, and what a start would repair. Changes nothing.
    Doctor(doctor::Doctor),
    /// Print a data directory as text: frames, or the rows of an object. Changes nothing.
    Dump(doctor::Dump),
}

/// Why a command failed.
pub(crate) struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    pub fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }
}

impl From<deltamill::StartError> for Failure {
    fn from(e: deltamill::StartError) -> Failure {
        Failure::new(e.exit_code(), e.to_string())
    }
}

impl From<repr::SqlError> for Failure {
    fn from(e: repr::SqlError) -> Failure {
        let unreachable = e.code.as_str().starts_with("08");
        Failure::new(if unreachable { 4 } else { 1 }, output::error_text(&e, None))
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Failure {
        // A reader of ours that has seen enough is no failure worth a word.
        if e.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::new(0, "");
        }
        Failure::new(1, e.to_string())
    }
}

/// How the engine runs; shared by `serve` and `demo`.
#[derive(Args)]
struct EngineFlags {
    /// Where data is kept.
    #[arg(long, env = "DELTAMILL_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where SQL is served (Postgres protocol); port 0: any free one.
    #[arg(long, env = "DELTAMILL_SQL_LISTEN")]
    sql_listen: Option<SocketAddr>,
    /// Where HTTP is served; port 0: any free one.
    #[arg(long, env = "DELTAMILL_HTTP_LISTEN")]
    http_listen: Option<SocketAddr>,
    #[command(flatten)]
    kafka: kafka::KafkaFlags,
    /// Dataflow workers; default: the number of cores.
    #[arg(long, env = "DELTAMILL_WORKERS")]
    workers: Option<usize>,
    /// The least time between two ticks under load, in milliseconds.
    #[arg(long, env = "DELTAMILL_TICK", default_value_t = 20)]
    tick: u64,
}

impl EngineFlags {
    fn config(&self) -> Result<deltamill::Config, Failure> {
        let workers = match self.workers {
            Some(0) => return Err(Failure::new(3, "--workers must be at least 1")),
            Some(n) => n,
            None => std::thread::available_parallelism().map_or(1, |n| n.get()),
        };
        if let Some(dir) = self.data_dir.as_ref().filter(|dir| dir.exists() && !dir.is_dir()) {
            return Err(Failure::new(3, format!("--data-dir {} is not a directory", dir.display())));
        }
        Ok(deltamill::Config {
            data_dir: self.data_dir.clone(),
            workers,
            tick: Duration::from_millis(self.tick),
            sql_listen: self.sql_listen,
            http_listen: self.http_listen,
            kafka: self.kafka.config()?,
            offline: false,
        })
    }
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns.
    Table,
    /// A JSON object a row.
    Json,
    /// Comma-separated, with a header.
    Csv,
}

/// A file of statements, or what comes in for `-`, with what it is called in errors.
fn statements(file: &Path) -> Result<(String, String), Failure> {
    if file.as_os_str() == "-" {
        return Ok(("stdin".into(), std::io::read_to_string(std::io::stdin())?));
    }
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| Failure::new(2, format!("{name}: {e}")))?;
    Ok((name, text))
}

impl Cli {
    /// Whether output is for programs.
    pub fn json(&self) -> bool {
        self.json
    }

    pub fn run(self) -> Result<(), Failure> {
        let json = self.json;
        match self.command {
            Command::Demo(demo) => demo.run(json),
            Command::Serve(serve) => serve.run(json),
            Command::Apply(apply) => apply.run(json),
            Command::Check(check) => check.run(json),
            Command::Init(init) => init.run(json),
            Command::Send(send) => send.run(json),
            Command::Run(run) => run.run(json),
            Command::Sql(sql) => sql.run(json),
            Command::Topic(topic) => topic.run(json),
            Command::Doctor(doctor) => doctor.run(json),
            Command::Dump(dump) => dump.run(json),
        }
    }
}
