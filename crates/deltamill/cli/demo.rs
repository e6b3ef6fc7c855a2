//! `deltamill demo`: everything in one process. Embedded Kafka, Segment events into it, the repository's views over it.

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use clap::Args;
use deltamill::broker::{BrokerConfig, Protocol};
use deltamill::{Config, Engine, Session};
use indicatif::ProgressBar;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use repr::Datum;
use source::generator::{SegmentEvents, Traffic};

use super::signal::{self, Signal};
use super::{EngineFlags, Failure, Format, apply, output, serve, views};

/// The flags of `demo`.
#[derive(Args)]
pub(crate) struct Demo {
    /// How many events; without it they never end.
    #[arg(long, env = "DELTAMILL_EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// Events a second; 0: as fast as possible. Default: 500, or with --exit as fast as possible.
    #[arg(long, env = "DELTAMILL_RATE")]
    rate: Option<u64>,
    /// End when all events are in, and print each view's rows.
    #[arg(long, requires = "events")]
    exit: bool,
    /// Makes other events.
    #[arg(long, env = "DELTAMILL_SEED", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    engine: EngineFlags,
}

const TOPIC: &str = "segment";

/// How often the views are shown.
const REFRESH: Duration = Duration::from_secs(1);

impl Demo {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let mut config = self.engine.config()?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, serve::SQL_PORT));
        // The usual port, where it is free, so that the usual psql line works.
        let free = TcpListener::bind(usual).is_ok();
        config.sql_listen.get_or_insert(if free && !self.exit { usual } else { any });
        config.http_listen.get_or_insert(any);
        // The demo's own producer needs one that asks nothing.
        let listen = &mut config
            .kafka
            .get_or_insert_with(|| BrokerConfig { listen: vec![], ..Default::default() })
            .listen;
        if !listen.iter().any(|l| l.protocol == Protocol::Plaintext) {
            listen.push(any.into());
        }
        let signals = signal::listen()?;
        let engine = Engine::start(Config { ..config })?;
        let kafka =
            engine.kafka_address().ok_or_else(|| Failure::new(3, "the embedded Kafka did not start"))?;
        let mut session = engine.session();
        let mut producer = Events::new(kafka, self.seed)?;
        // The topic comes to be with its first message; the source wants it to be there.
        let total = self.events.unwrap_or(u64::MAX);
        producer.produce(total.min(1))?;
        producer.flush()?;
        let variables = apply::Variables::from([
            ("broker".into(), kafka.to_string()),
            ("protocol".into(), "PLAINTEXT".into()),
            ("username".into(), String::new()),
            ("password".into(), String::new()),
            ("topic".into(), TOPIC.into()),
        ]);
        let files = views::FILES.map(|(name, text)| (name.to_string(), text.to_string()));
        // The source may be replaced: its Kafka, whose port is another with each run, has all that it holds.
        apply::apply_files(&mut session, "demo", &files, &variables, false, true)?;
        if let Some(sql) = engine.sql_address() {
            eprintln!("Look inside:  psql -h {} -p {} -U materialize materialize", sql.ip(), sql.port());
            eprintln!("Follow live:  … -c \"COPY (SUBSCRIBE funnel) TO STDOUT\"");
            eprintln!("Kafka:        {kafka}, topic {TOPIC}\n");
        }
        let rate = self.rate.unwrap_or(if self.exit { 0 } else { 500 });
        let start = Instant::now();
        let mut shown = start;
        let bar =
            if self.exit { output::progress("producing", Some(total), json) } else { ProgressBar::hidden() };
        while producer.sent < total {
            if let Ok(signal) = signals.try_recv() {
                return ended(signal);
            }
            let due = if rate == 0 {
                producer.sent + 10_000
            } else {
                (start.elapsed().as_secs_f64() * rate as f64) as u64 + 1
            };
            let behind = due.min(total).saturating_sub(producer.sent);
            producer.produce(behind.min(10_000))?;
            bar.set_position(producer.sent);
            if behind == 0 {
                std::thread::sleep(Duration::from_millis(10));
            }
            if !self.exit && shown.elapsed() >= REFRESH {
                producer.flush()?;
                show(&mut session, producer.sent, json)?;
                shown = Instant::now();
            }
        }
        producer.flush()?;
        bar.finish_and_clear();
        if self.exit {
            wait_for(&mut session, producer.stored)?;
            return rows(&mut session, json);
        }
        show(&mut session, producer.sent, json)?;
        eprintln!("All events are in. Ctrl-C ends the demo.");
        match signals.recv() {
            Ok(signal) => ended(signal),
            Err(_) => Ok(()),
        }
    }
}

fn ended(signal: Signal) -> Result<(), Failure> {
    match signal {
        Signal::Interrupt => Err(Failure::new(130, "")),
        Signal::Terminate => Ok(()),
    }
}

/// Segment traffic into the topic.
struct Events {
    producer: BaseProducer,
    events: SegmentEvents,
    buffer: Vec<u8>,
    sent: u64,
    /// Messages in the topic, those of earlier runs on the same data included.
    stored: u64,
}

impl Events {
    fn new(kafka: SocketAddr, seed: u64) -> Result<Events, Failure> {
        let failed = |e: KafkaError| Failure::new(4, format!("the embedded Kafka does not answer: {e}"));
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", kafka.to_string())
            .set("linger.ms", "5")
            .set("queue.buffering.max.kbytes", "65536")
            .create()
            .map_err(failed)?;
        let timeout = Duration::from_secs(10);
        // What is there from an earlier run goes first. A topic that is not there yet has nothing.
        let marks = producer.client().fetch_watermarks(TOPIC, 0, timeout);
        let stored = marks.map_or(0, |(low, high)| (high - low).max(0) as u64);
        Ok(Events {
            producer,
            events: SegmentEvents::new(Traffic::new(seed)),
            buffer: vec![],
            sent: 0,
            stored,
        })
    }

    fn produce(&mut self, n: u64) -> Result<(), Failure> {
        for _ in 0..n {
            self.buffer.clear();
            self.events.fill(&mut self.buffer);
            loop {
                match self
                    .producer
                    .send(BaseRecord::<(), [u8]>::to(TOPIC).partition(0).payload(&self.buffer[..]))
                {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                        self.producer.poll(Duration::from_millis(10));
                    }
                    Err((e, _)) => {
                        return Err(Failure::new(4, format!("an event could not be produced: {e}")));
                    }
                }
            }
            self.sent += 1;
            self.stored += 1;
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.producer
            .flush(Duration::from_secs(30))
            .map_err(|e| Failure::new(4, format!("the embedded Kafka does not take events: {e}")))
    }
}

/// Waits until so many messages are stored by the source. What is read after that sees them all.
fn wait_for(session: &mut Session, messages: u64) -> Result<(), Failure> {
    loop {
        let result = session.query("SELECT sum(\"offset\") FROM segment_progress")?;
        let committed = match result.rows.first().and_then(|r| r.iter().next()) {
            Some(Datum::Numeric(n)) => n.to_i64().unwrap_or(0),
            _ => 0,
        };
        if committed as u64 >= messages {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Each view's rows as JSON lines.
fn rows(session: &mut Session, _json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for (view, order) in views::SHOWN {
        let result = session.query(&format!("SELECT * FROM {view} ORDER BY {order}"))?;
        for row in &result.rows {
            let row = output::json_row(row, &result.desc);
            writeln!(out, "{{\"type\":\"row\",\"view\":\"{view}\",\"row\":{row}}}")?;
        }
    }
    out.flush()?;
    Ok(())
}

/// The views as they are now: a table on a terminal, else a line each.
fn show(session: &mut Session, sent: u64, json: bool) -> Result<(), Failure> {
    let mut text = vec![];
    let terminal = std::io::stdout().is_terminal() && !json;
    if terminal {
        // Clear, and begin at the top.
        text.extend_from_slice(b"\x1b[2J\x1b[H");
    }
    for (view, order) in views::SHOWN.iter().filter(|(view, _)| *view != "users") {
        let result = session.query(&format!("SELECT * FROM {view} ORDER BY {order} LIMIT 10"))?;
        if terminal {
            writeln!(text, "{view}")?;
            output::print(&result, Format::Table, &mut text)?;
        } else {
            for row in &result.rows {
                let row = output::json_row(row, &result.desc);
                writeln!(text, "{{\"type\":\"row\",\"view\":\"{view}\",\"row\":{row}}}")?;
            }
        }
    }
    if terminal {
        writeln!(text, "{sent} events sent")?;
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&text)?;
    out.flush()?;
    Ok(())
}
