//! deltamill: a streaming-view engine to embed, or to run as a server.
//!
//! An [`Engine`] reads event bytes (Kafka, files, a generator), keeps them durably, and keeps SQL views over them up to
//! date. Sessions run SQL and return typed rows; no port is needed:
//!
//! ```
//! use deltamill::{Config, Engine};
//! use deltamill::repr::Datum;
//!
//! let engine = Engine::start(Config::ephemeral())?;
//! let mut session = engine.session();
//! session.run("CREATE TABLE orders (customer text, cents int8)")?;
//! session.run("CREATE MATERIALIZED VIEW revenue AS SELECT customer, sum(cents) AS cents FROM orders GROUP BY customer")?;
//! session.run("INSERT INTO orders VALUES ('ada', 250), ('ada', 50), ('bob', 10)")?;
//! let result = session.query("SELECT customer, cents FROM revenue ORDER BY customer")?;
//! assert_eq!(result.desc.columns[0].name, "customer");
//! assert_eq!(result.rows[0].iter().next(), Some(Datum::Text("ada")));
//! assert_eq!(result.rows.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Changes can be followed, too:
//!
//! ```
//! # use deltamill::{Config, Engine};
//! let engine = Engine::start(Config::ephemeral())?;
//! let mut session = engine.session();
//! session.run("CREATE TABLE t (n int8)")?;
//! let mut changes = engine.session().subscribe("SUBSCRIBE t")?;
//! session.run("INSERT INTO t VALUES (7)")?;
//! let row = changes.next().expect("a change comes")?;
//! // mz_timestamp, mz_diff, then the row.
//! assert_eq!(row.iter().nth(1), Some(deltamill::repr::Datum::Int64(1)));
//! assert_eq!(row.iter().nth(2), Some(deltamill::repr::Datum::Int64(7)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use broker;
pub use coord::Outcome;
pub use repr;
use repr::{RelationDesc, Row, SqlError};
use tokio::runtime::Runtime;

/// How an engine runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where data is kept; none: in memory, gone with the engine.
    pub data_dir: Option<PathBuf>,
    /// Dataflow workers.
    pub workers: usize,
    /// The least time between two ticks under load.
    pub tick: Duration,
    /// Where SQL is served, if anywhere. Port 0: any free one.
    pub sql_listen: Option<SocketAddr>,
    /// Where HTTP is served, if anywhere.
    pub http_listen: Option<SocketAddr>,
    /// The embedded Kafka, if there is one. Its topics are kept under the data directory.
    pub kafka: Option<broker::BrokerConfig>,
    /// Talk to nothing outside: connections and sources are taken as written, and read nothing.
    pub offline: bool,
}

impl Config {
    /// In memory, one worker, no ports.
    pub fn ephemeral() -> Config {
        Config {
            data_dir: None,
            workers: 1,
            tick: Duration::from_millis(20),
            sql_listen: None,
            http_listen: None,
            kafka: None,
            offline: false,
        }
    }

    /// Kept in a directory, one worker, no ports.
    pub fn durable(data_dir: impl Into<PathBuf>) -> Config {
        Config { data_dir: Some(data_dir.into()), ..Config::ephemeral() }
    }
}

/// Why an engine did not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener could not be bound: the configuration is wrong or the port taken.
    Listen(SocketAddr, std::io::Error),
    /// Storage is locked, damaged or cannot be read.
    Storage(storage::StorageError),
    /// The Kafka listener could not start.
    Broker(String),
    /// What is stored cannot be brought back.
    Engine(coord::StartError),
    /// Threads could not be made.
    Runtime(std::io::Error),
}

impl StartError {
    /// The exit code of the command line for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Listen(..) | StartError::Broker(_) => 3,
            StartError::Storage(e) => e.exit_code(),
            StartError::Engine(_) => 5,
            StartError::Runtime(_) => 1,
        }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Listen(address, e) => write!(f, "cannot listen on {address}: {e}"),
            StartError::Storage(e) => e.fmt(f),
            StartError::Broker(e) => write!(f, "the Kafka listener cannot start: {e}"),
            StartError::Engine(e) => e.fmt(f),
            StartError::Runtime(e) => write!(f, "threads cannot be started: {e}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A running engine. It ends when dropped; what was acknowledged is durable before that.
pub struct Engine {
    // In the order in which they end: first what takes new work, the loop last.
    broker: Option<broker::Broker>,
    runtime: Option<Runtime>,
    coordinator: Option<coord::Coordinator>,
    sql_address: Option<SocketAddr>,
    http_address: Option<SocketAddr>,
}

impl Engine {
    /// Opens the data, brings back what is stored, and starts. Returns once statements are answered.
    pub fn start(config: Config) -> Result<Engine, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("net")
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let location = match &config.data_dir {
            Some(dir) => storage::Location::Directory(dir.join("engine")),
            None => storage::Location::Memory,
        };
        let (storage, recovered) =
            storage::Storage::open(location, Arc::new(storage::RealFs), storage::Options::default())
                .map_err(StartError::Storage)?;
        // The broker comes before the sources that read from it.
        let broker = match config.kafka {
            None => None,
            Some(kafka) => {
                let dir = config.data_dir.as_ref().map(|d| d.join("kafka"));
                let broker = runtime.block_on(broker::Broker::start(broker::BrokerConfig { dir, ..kafka }));
                Some(broker.map_err(|e| StartError::Broker(e.to_string()))?)
            }
        };
        let local_kafka = broker.as_ref().map(|broker| {
            let reporter = broker.reporter();
            coord::LocalKafka {
                addresses: broker.listeners().iter().map(|l| l.address).collect(),
                authority: broker.authority().map(String::from),
                report: Arc::new(move || kafka_report(reporter.report())),
            }
        });
        let loop_config = coord::Config {
            workers: config.workers,
            tick: config.tick,
            offline: config.offline,
            local_kafka,
            ..coord::Config::default()
        };
        let coordinator =
            coord::Coordinator::start(loop_config, Arc::new(coord::WallClock), storage, recovered)
                .map_err(StartError::Engine)?;
        let handle = coordinator.handle();
        let mut engine = Engine {
            broker,
            runtime: None,
            coordinator: Some(coordinator),
            sql_address: None,
            http_address: None,
        };
        if let Some(address) = config.sql_listen {
            let failed = |e| StartError::Listen(address, e);
            let server =
                runtime.block_on(serve::pg::PgServer::bind(address, handle.clone())).map_err(failed)?;
            engine.sql_address = Some(server.local_addr().map_err(failed)?);
            runtime.spawn(server.run());
        }
        if let Some(address) = config.http_listen {
            let failed = |e| StartError::Listen(address, e);
            let server = runtime.block_on(serve::http::HttpServer::bind(address, handle)).map_err(failed)?;
            engine.http_address = Some(server.local_addr().map_err(failed)?);
            runtime.spawn(server.run());
        }
        engine.runtime = Some(runtime);
        Ok(engine)
    }

    /// Where SQL is served.
    pub fn sql_address(&self) -> Option<SocketAddr> {
        self.sql_address
    }

    /// Where HTTP is served.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Where the embedded Kafka listens.
    pub fn kafka_listeners(&self) -> &[broker::Listener] {
        self.broker.as_ref().map_or(&[], broker::Broker::listeners)
    }

    /// Where the embedded Kafka speaks plain text; else its first address.
    pub fn kafka_address(&self) -> Option<SocketAddr> {
        let plain = |l: &&broker::Listener| l.protocol == broker::Protocol::Plaintext;
        let listeners = self.kafka_listeners();
        listeners.iter().find(plain).or(listeners.first()).map(|l| l.address)
    }

    /// Opens a session.
    pub fn session(&self) -> Session {
        let runtime = self.runtime.as_ref().expect("it is there while the engine is");
        let coordinator = self.coordinator.as_ref().expect("it is there while the engine is");
        Session {
            session: coordinator.handle().session("materialize", None, &[]),
            runtime: runtime.handle().clone(),
        }
    }
}

/// What the embedded Kafka says of itself, in the engine's words.
fn kafka_report(report: broker::Report) -> coord::KafkaReport {
    let partition = |p: broker::PartitionReport| coord::KafkaPartition {
        start: p.start,
        end: p.end,
        stable: p.stable,
        bytes: p.bytes,
    };
    let topic = |t: broker::TopicReport| coord::KafkaTopic {
        id: t.id,
        name: t.name,
        partitions: t.partitions.into_iter().map(partition).collect(),
        cleanup_policy: t.cleanup_policy,
        retention_ms: t.retention_ms,
        retention_bytes: t.retention_bytes,
    };
    let group = |g: broker::GroupReport| coord::KafkaGroup {
        name: g.name,
        state: g.state,
        protocol_type: g.protocol_type,
        members: g.members,
        offsets: g.offsets,
    };
    coord::KafkaReport {
        topics: report.topics.into_iter().map(topic).collect(),
        groups: report.groups.into_iter().map(group).collect(),
        connections: report.connections,
        failed: report.failed,
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            if let Some(broker) = self.broker.take() {
                runtime.block_on(broker.shutdown());
            }
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        if let Some(coordinator) = self.coordinator.take() {
            coordinator.shutdown();
        }
    }
}

/// A session in the program's own process. Calls wait for their answers; they must not be made on a thread of an
/// asynchronous runtime.
pub struct Session {
    session: coord::Session,
    runtime: tokio::runtime::Handle,
}

/// A whole result.
#[derive(Clone, Debug)]
pub struct QueryResult {
    /// Names and types of the columns.
    pub desc: Arc<RelationDesc>,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Session {
    /// Runs every statement of a text; stops at the first error. Rows are thrown away.
    pub fn run(&mut self, sql: &str) -> Result<(), SqlError> {
        self.each(sql, |_| Ok(()))
    }

    /// Runs every statement of a text and hands the result of each that has rows to `on_rows`.
    pub fn each(
        &mut self,
        sql: &str,
        mut on_rows: impl FnMut(QueryResult) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        for statement in self.runtime.block_on(self.session.parse(sql))? {
            if let Some(result) = self.one(statement)? {
                on_rows(result)?;
            }
        }
        Ok(())
    }

    /// Runs one statement; its rows, if it has some.
    pub fn one(&mut self, statement: sql::Statement) -> Result<Option<QueryResult>, SqlError> {
        let run = async {
            let mut prepared = self.session.prepare(statement, vec![]).await?;
            match self.session.execute(&mut prepared, &[]).await? {
                Outcome::Rows { rows, .. } | Outcome::CopyOut { rows, .. } => {
                    let desc = rows.desc.clone();
                    Ok(Some(QueryResult { desc, rows: rows.collect().await? }))
                }
                Outcome::CopyIn(_) => {
                    Err(SqlError::unsupported("COPY FROM STDIN here", "Use the Postgres protocol."))
                }
                Outcome::Done(_) | Outcome::Empty => Ok(None),
            }
        };
        let result = self.runtime.block_on(run);
        result.inspect_err(|_| self.session.failed())
    }

    /// Runs one query.
    pub fn query(&mut self, sql: &str) -> Result<QueryResult, SqlError> {
        let mut last = None;
        self.each(sql, |result| {
            last = Some(result);
            Ok(())
        })?;
        last.ok_or_else(|| {
            SqlError::new(repr::error::code::WRONG_OBJECT_TYPE, "the statement returns no rows")
        })
    }

    /// Runs a `SUBSCRIBE`; its rows come one by one, as they happen.
    pub fn subscribe(mut self, sql: &str) -> Result<Subscription, SqlError> {
        match self.runtime.block_on(self.session.run(sql))? {
            Outcome::Rows { rows, .. } => Ok(Subscription { rows, buffer: VecDeque::new(), session: self }),
            _ => Err(SqlError::new(repr::error::code::WRONG_OBJECT_TYPE, "the statement is no subscription")),
        }
    }

    /// Notices since the last call.
    pub fn take_notices(&mut self) -> Vec<SqlError> {
        self.session.take_notices()
    }
}

/// The rows of a subscription, for as long as somebody asks.
pub struct Subscription {
    rows: coord::Rows,
    buffer: VecDeque<Row>,
    session: Session,
}

impl Subscription {
    /// Names and types of its columns.
    pub fn desc(&self) -> &RelationDesc {
        &self.rows.desc
    }
}

impl Iterator for Subscription {
    type Item = Result<Row, SqlError>;

    /// Waits for the next row. None: the subscription has come to its end.
    fn next(&mut self) -> Option<Self::Item> {
        while self.buffer.is_empty() {
            match self.session.runtime.block_on(self.rows.next())? {
                Ok(batch) => self.buffer.extend(batch),
                Err(e) => return Some(Err(e)),
            }
        }
        self.buffer.pop_front().map(Ok)
    }
}
