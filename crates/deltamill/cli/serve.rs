//! `deltamill serve`.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;
use deltamill::Engine;
use serde_json::{Value, json};

use super::signal::{self, Signal};
use super::{EngineFlags, Failure, apply, output, topic};

/// The flags of `serve`.
#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    engine: EngineFlags,
    /// Keep everything in memory; it is gone when the server ends.
    #[arg(long, env = "DELTAMILL_EPHEMERAL", value_parser = FalseyValueParser::new())]
    ephemeral: bool,
    /// A topic to make in the embedded Kafka at the start, if it is not there. May come several times. Needs a PLAINTEXT
    /// listener.
    #[arg(long, env = "DELTAMILL_KAFKA_TOPIC", value_name = "NAME", value_delimiter = ',')]
    kafka_topic: Vec<String>,
    /// Apply a folder of SQL files at the start.
    #[arg(long, env = "DELTAMILL_APPLY", value_name = "DIR")]
    apply: Option<PathBuf>,
    /// A variable for the files: `name=value`.
    #[arg(long = "set", env = "DELTAMILL_SET", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

/// The ports that Materialize's users know.
pub(super) const SQL_PORT: u16 = 6875;
const HTTP_PORT: u16 = 6876;

impl Serve {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let mut config = self.engine.config()?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        config.sql_listen.get_or_insert(local(SQL_PORT));
        config.http_listen.get_or_insert(local(HTTP_PORT));
        if self.ephemeral {
            config.data_dir = None;
        } else {
            config.data_dir.get_or_insert_with(|| PathBuf::from("deltamill-data"));
        }
        let signals = signal::listen()?;
        let data_dir = config.data_dir.clone();
        let engine = Engine::start(config)?;
        let address = |a: Option<SocketAddr>| a.map_or(Value::Null, |a| json!(a.to_string()));
        if !self.kafka_topic.is_empty() {
            let plain = engine.kafka_listeners().iter().map(|l| l.to_string()).collect::<Vec<_>>();
            let plain = plain.iter().find_map(|l| l.strip_prefix("PLAINTEXT://"));
            let missing = || Failure::new(3, "--kafka-topic needs --kafka-listen with a PLAINTEXT address");
            topic::ensure(plain.ok_or_else(missing)?, &self.kafka_topic)?;
        }
        if let Some(dir) = &self.apply {
            let variables = apply::variables(&self.set)?;
            let done = apply::apply_folder(&mut engine.session(), dir, &variables, false, false)?;
            done.iter().for_each(|line| eprintln!("{line}"));
        }
        if json {
            let ready = [
                ("pid", json!(std::process::id())),
                ("sql", address(engine.sql_address())),
                ("http", address(engine.http_address())),
                ("kafka", address(engine.kafka_address())),
                ("kafka_listeners", engine.kafka_listeners().iter().map(|l| l.to_string()).collect()),
            ];
            writeln!(std::io::stdout(), "{}", output::json_line("ready", &ready))?;
        } else {
            let shown = |a: Option<SocketAddr>| a.map_or("-".into(), |a| a.to_string());
            eprintln!("deltamill {} is ready", env!("CARGO_PKG_VERSION"));
            if let Some(sql) = engine.sql_address() {
                eprintln!("  SQL    psql -h {} -p {} -U materialize materialize", sql.ip(), sql.port());
            }
            eprintln!("  HTTP   {}", shown(engine.http_address()));
            for listener in engine.kafka_listeners() {
                eprintln!("  Kafka  {listener}");
            }
            match data_dir {
                Some(dir) => eprintln!("  data   {}", dir.display()),
                None => eprintln!("  data   in memory"),
            }
        }
        let signal = signals.recv();
        drop(engine);
        match signal {
            Ok(Signal::Interrupt) => Err(Failure::new(130, "")),
            _ => Ok(()),
        }
    }
}
