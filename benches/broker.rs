//! The embedded broker against Apache Kafka, in the same run on the same machine: `cargo bench --bench broker`.
//!
//! Messages of 960 bytes, one partition, acks=all; each broker is a process of its own. `BENCH_MESSAGES` says how many. Without
//! a JDK and Maven there is no Apache Kafka here, and only the embedded broker is measured.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

const BYTES: usize = 960;
const TOPIC: &str = "bench";
const LONG: Duration = Duration::from_secs(120);

/// What one broker did.
struct Measured {
    produced: f64,
    consumed: f64,
    /// Produce to consume of single messages, half of them faster.
    idle: Duration,
    /// The most memory that it had, in MB: when a tenth of the messages was written, and when all were written and read.
    early: f64,
    memory: f64,
}

/// The most memory that a process has had, in MB.
fn most_memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let most = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kilobytes = most.and_then(|l| l.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1_024.0
}

fn config(broker: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    config
}

/// A consumer at a place of the topic.
fn consumer(broker: &str, from: Offset) -> BaseConsumer {
    let consumer: BaseConsumer = config(broker)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "500")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, from).expect("added");
    consumer.assign(&list).expect("assigned");
    consumer
}

fn next(consumer: &BaseConsumer) {
    consumer.poll(LONG).expect("a message").expect("a message");
}

fn measure(broker: &str, pid: u32, n: u64) -> Measured {
    let admin: AdminClient<DefaultClientContext> = config(broker).create().expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(1));
    let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new())).expect("an answer");
    made.into_iter().for_each(|r| drop(r.expect("the topic is made")));
    let producer: BaseProducer =
        config(broker).set("linger.ms", "5").set("acks", "all").create().expect("a producer");
    let value = [b'x'; BYTES];
    let send = || {
        while producer.send(BaseRecord::<(), [u8]>::to(TOPIC).partition(0).payload(&value)).is_err() {
            producer.poll(Duration::from_millis(1));
        }
    };
    // Connections, topic and, on the other side, compiled code.
    (0..n / 10).for_each(|_| send());
    producer.flush(LONG).expect("taken");
    let early = most_memory(pid);
    let start = Instant::now();
    (0..n).for_each(|_| send());
    producer.flush(LONG).expect("taken");
    let produced = n as f64 / start.elapsed().as_secs_f64();

    let reader = consumer(broker, Offset::Offset((n / 10) as i64));
    // The first message after an assignment takes librdkafka half a second, with any broker.
    next(&reader);
    let start = Instant::now();
    (1..n).for_each(|_| next(&reader));
    let consumed = (n - 1) as f64 / start.elapsed().as_secs_f64();

    let quick: BaseProducer =
        config(broker).set("linger.ms", "0").set("acks", "all").create().expect("a producer");
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let start = Instant::now();
            let record = BaseRecord::<(), [u8]>::to(TOPIC).partition(0).payload(&value);
            quick.send(record).map_err(|e| e.0).expect("room");
            quick.poll(Duration::ZERO);
            next(&reader);
            start.elapsed()
        })
        .collect();
    quick.flush(LONG).expect("taken");
    times.sort();
    Measured { produced, consumed, idle: times[100], early, memory: most_memory(pid) }
}

/// Ends when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ours(dir: &Path, n: u64) -> Measured {
    let child = Command::new(env!("CARGO_BIN_EXE_deltamill"))
        .args(["--json", "serve", "--sql-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
        .args(["--workers", "1", "--kafka-listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.join("ours"))
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Process(child.expect("the program starts"));
    let mut line = String::new();
    let out = child.0.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("a line");
    let ready: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    measure(ready["kafka"].as_str().expect("an address"), child.0.id(), n)
}

/// Apache Kafka's own; none: it cannot run here.
fn theirs(dir: &Path, n: u64) -> Option<Measured> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/kafka-up.sh");
    let dir = dir.join("theirs");
    let run = |arguments: &[&str]| {
        Command::new("bash")
            .arg(&script)
            .arg(arguments[0])
            .arg(&dir)
            .args(&arguments[1..])
            .env("KAFKA_UP_HEAP", "1g")
            .output()
    };
    let out = run(&["start", "19292", "19293", "19294", "19295"]).ok()?;
    if !out.status.success() {
        eprintln!("no Apache Kafka: {}", String::from_utf8_lossy(&out.stderr).trim());
        return None;
    }
    let pid = std::fs::read_to_string(dir.join("broker.pid")).ok()?.trim().parse().ok()?;
    let measured = measure("127.0.0.1:19292", pid, n);
    let _ = run(&["kill"]);
    Some(measured)
}

fn main() {
    let n = std::env::var("BENCH_MESSAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(500_000);
    let dir = tempfile::tempdir().expect("a folder");
    let show = |name: &str, m: &Measured| {
        println!(
            "{name}: produce {:.0} messages/s, consume {:.0} messages/s, idle p50 {:.2} ms, memory {:.0} MB \
             ({:.0} MB after a tenth)",
            m.produced,
            m.consumed,
            m.idle.as_secs_f64() * 1_000.0,
            m.memory,
            m.early
        );
    };
    let ours = ours(dir.path(), n);
    show("embedded", &ours);
    if let Some(theirs) = theirs(dir.path(), n) {
        show("Apache Kafka", &theirs);
        println!(
            "embedded ÷ Apache Kafka: produce {:.2}, consume {:.2}, idle p50 {:.2}, memory {:.2}",
            ours.produced / theirs.produced,
            ours.consumed / theirs.consumed,
            ours.idle.as_secs_f64() / theirs.idle.as_secs_f64(),
            ours.memory / theirs.memory
        );
    }
}
