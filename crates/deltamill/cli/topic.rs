//! `deltamill topic`: a look into Kafka topics, the embedded broker's or any other's, for machines without kcat.
//!
//! Messages are JSON lines in the shape of `kcat -J`, so that what one prints the other reads:
//!
//! ```text
//!   {"topic":"t","partition":0,"offset":7,"tstype":"create","ts":1700000000000,"headers":["name","value"],"key":null,"payload":"…"}
//! ```
//!
//! A key or payload that is no UTF-8 text stands under `key_base64`, `payload_base64`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use super::{Failure, output};

/// The flags of `topic`.
#[derive(Args)]
pub(crate) struct Topic {
    #[command(flatten)]
    broker: BrokerFlags,
    #[command(subcommand)]
    command: Command,
}

/// Which Kafka, and who we are there.
#[derive(Args)]
struct BrokerFlags {
    /// The broker; several with commas between.
    #[arg(long, global = true, env = "DELTAMILL_KAFKA_BROKER", default_value = "127.0.0.1:9092")]
    broker: String,
    /// PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; default: PLAINTEXT, or SASL_SSL with a user.
    #[arg(long, global = true, env = "DELTAMILL_KAFKA_PROTOCOL")]
    protocol: Option<String>,
    /// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    #[arg(long, global = true, env = "DELTAMILL_KAFKA_MECHANISM", default_value = "SCRAM-SHA-256")]
    mechanism: String,
    /// The user.
    #[arg(long, global = true, env = "DELTAMILL_KAFKA_USERNAME")]
    username: Option<String>,
    /// The user's password.
    #[arg(long, global = true, env = "DELTAMILL_KAFKA_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// The authority (PEM) that signed the broker's certificate; the embedded broker's is kafka/tls/ca.pem in its data
    /// directory. Default: those of the system.
    #[arg(long, global = true, env = "DELTAMILL_KAFKA_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// List topics with their partitions and messages.
    List,
    /// Make a topic.
    Create {
        /// Its name.
        name: String,
        /// How many partitions; default: the broker's.
        #[arg(long)]
        partitions: Option<i32>,
        /// A setting, such as retention.ms=86400000. May come several times.
        #[arg(long = "config", value_name = "NAME=VALUE")]
        configs: Vec<String>,
    },
    /// Show the partitions of a topic with their offsets, and its settings.
    Describe {
        /// Its name.
        name: String,
    },
    /// Remove a topic with all its messages.
    Delete {
        /// Its name.
        name: String,
    },
    /// Produce JSON lines into a topic.
    Produce {
        /// The topic.
        name: String,
        /// A file; `-` or nothing: standard input.
        file: Option<PathBuf>,
        /// Every line is a payload as it is, and not an object with key, payload, headers, partition and ts.
        #[arg(long)]
        lines: bool,
    },
    /// Print the messages of a topic as JSON lines.
    Consume {
        /// The topic.
        name: String,
        /// Where to begin: beginning, end, an offset, or -N for the last N of each partition.
        #[arg(long, default_value = "beginning", allow_hyphen_values = true)]
        from: String,
        /// Only this partition.
        #[arg(long)]
        partition: Option<i32>,
        /// End after so many messages.
        #[arg(long)]
        count: Option<u64>,
        /// Wait for more at the end.
        #[arg(long)]
        follow: bool,
        /// Read as a member of a consumer group, from where it stopped, and commit.
        #[arg(long, conflicts_with_all = ["from", "partition"])]
        group: Option<String>,
    },
}

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Topic {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let config = self.broker.config()?;
        let broker = self.broker.broker;
        let done = match self.command {
            Command::List => list(&config, json),
            Command::Create { name, partitions, configs } => create(&config, &name, partitions, &configs),
            Command::Describe { name } => describe(&config, &name, json),
            Command::Delete { name } => delete(&config, &name),
            Command::Produce { name, file, lines } => produce(&config, &name, file, lines),
            Command::Consume { name, from, partition, count, follow, group } => {
                let wanted = Wanted { name, partition, count: count.unwrap_or(u64::MAX), follow };
                match group {
                    Some(group) => consume_as(&config, &group, &wanted),
                    None => consume(&config, &from, &wanted),
                }
            }
        };
        done.map_err(|e| match e {
            Trouble::Failure(failure) => failure,
            Trouble::Kafka(e) => Failure::new(4, format!("the broker at {broker}: {e}")),
        })
    }
}

enum Trouble {
    Failure(Failure),
    Kafka(KafkaError),
}

impl From<KafkaError> for Trouble {
    fn from(e: KafkaError) -> Trouble {
        Trouble::Kafka(e)
    }
}

impl From<Failure> for Trouble {
    fn from(e: Failure) -> Trouble {
        Trouble::Failure(e)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(e: std::io::Error) -> Trouble {
        Trouble::Failure(e.into())
    }
}

impl BrokerFlags {
    fn config(&self) -> Result<ClientConfig, Failure> {
        let sasl = self.username.is_some();
        let protocol =
            self.protocol.clone().unwrap_or_else(|| if sasl { "SASL_SSL" } else { "PLAINTEXT" }.into());
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|e| Failure::new(2, format!("{}: {e}", path.display())))
        };
        let connection = source::KafkaConnection {
            brokers: self.broker.clone(),
            security_protocol: protocol,
            sasl_mechanism: sasl.then(|| self.mechanism.clone()),
            username: self.username.clone(),
            password: self.password.clone().map(Into::into),
            ca_pem: self.ca.as_ref().map(read).transpose()?,
            ..source::KafkaConnection::default()
        };
        let mut config = connection.client_config().map_err(|e| Failure::new(2, e.to_string()))?;
        // What goes wrong is said once, by us.
        config.set("log_level", "0");
        Ok(config)
    }
}

fn reader(config: &ClientConfig, group: &str) -> Result<BaseConsumer, KafkaError> {
    let mut config = config.clone();
    config.set("group.id", group).set("enable.partition.eof", "true").set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "earliest").set("allow.auto.create.topics", "false");
    config.create()
}

fn list(config: &ClientConfig, json: bool) -> Result<(), Trouble> {
    let client = reader(config, "deltamill-topic")?;
    let metadata = client.fetch_metadata(None, PATIENCE)?;
    let mut rows = vec![];
    for topic in metadata.topics() {
        let mut messages = 0;
        for partition in topic.partitions() {
            let (low, high) = client.fetch_watermarks(topic.name(), partition.id(), PATIENCE)?;
            messages += high - low;
        }
        rows.push((topic.name().to_string(), topic.partitions().len(), messages));
    }
    rows.sort();
    let mut out = std::io::stdout().lock();
    if json {
        for (name, partitions, messages) in rows {
            let fields =
                [("topic", json!(name)), ("partitions", json!(partitions)), ("messages", json!(messages))];
            writeln!(out, "{}", output::json_line("topic", &fields))?;
        }
    } else {
        let cells: Vec<Vec<String>> =
            rows.into_iter().map(|(n, p, m)| vec![n, p.to_string(), m.to_string()]).collect();
        let names = ["topic", "partitions", "messages"].map(String::from);
        out.write_all(output::table(&names, &[false, true, true], &cells).as_bytes())?;
    }
    Ok(())
}

fn create(
    config: &ClientConfig,
    name: &str,
    partitions: Option<i32>,
    configs: &[String],
) -> Result<(), Trouble> {
    let mut topic = NewTopic::new(name, partitions.unwrap_or(-1), TopicReplication::Fixed(-1));
    for config in configs {
        let Some((setting, value)) = config.split_once('=') else {
            return Err(Failure::new(2, format!("--config {config}: a setting is NAME=VALUE")).into());
        };
        topic = topic.set(setting, value);
    }
    match make(config, topic)? {
        Some(RDKafkaErrorCode::TopicAlreadyExists) => {
            Err(Failure::new(1, format!("topic '{name}' already exists")).into())
        }
        Some(e) => Err(Failure::new(1, format!("topic '{name}': {e}")).into()),
        None => Ok(()),
    }
}

/// Makes topics that are not there.
pub(super) fn ensure(broker: &str, names: &[String]) -> Result<(), Failure> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    for name in names {
        match make(&config, NewTopic::new(name, -1, TopicReplication::Fixed(-1))) {
            Ok(None | Some(RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Ok(Some(e)) => return Err(Failure::new(1, format!("topic '{name}': {e}"))),
            Err(Trouble::Failure(e)) => return Err(e),
            Err(Trouble::Kafka(e)) => return Err(Failure::new(4, format!("topic '{name}': {e}"))),
        }
    }
    Ok(())
}

/// Makes a topic; what the broker says against it.
fn make(config: &ClientConfig, topic: NewTopic<'_>) -> Result<Option<RDKafkaErrorCode>, Trouble> {
    let (admin, options, runtime) = admin(config)?;
    let results = runtime.block_on(admin.create_topics(&[topic], &options))?;
    Ok(results.into_iter().find_map(|r| r.err()).map(|(_, e)| e))
}

/// A client for what is done to topics, and what makes it wait.
fn admin(
    config: &ClientConfig,
) -> Result<(AdminClient<DefaultClientContext>, AdminOptions, Runtime), Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok((config.create()?, AdminOptions::new().request_timeout(Some(PATIENCE)), runtime))
}

/// Partitions first, one a line, then the settings that somebody set and, in JSON, all.
fn describe(config: &ClientConfig, name: &str, json: bool) -> Result<(), Trouble> {
    let client = reader(config, "deltamill-topic")?;
    let partitions = partitions(&client, name)?;
    let (admin, options, runtime) = admin(config)?;
    let described = runtime.block_on(admin.describe_configs(&[ResourceSpecifier::Topic(name)], &options))?;
    let failed = |e| Trouble::from(Failure::new(1, format!("topic '{name}': {e}")));
    let settings = described.into_iter().next().transpose().map_err(failed)?;
    let mut settings = settings.map_or_else(Vec::new, |s| s.entries);
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = std::io::stdout().lock();
    let mut cells = vec![];
    for partition in partitions {
        let (low, high) = client.fetch_watermarks(name, partition, PATIENCE)?;
        if json {
            let fields = [("partition", json!(partition)), ("first", json!(low)), ("next", json!(high))];
            writeln!(out, "{}", output::json_line("partition", &fields))?;
        }
        cells.push([partition.into(), low, high].map(|n: i64| n.to_string()).to_vec());
    }
    if !json {
        let names = ["partition", "first offset", "next offset"].map(String::from);
        out.write_all(output::table(&names, &[true; 3], &cells).as_bytes())?;
    }
    for setting in settings {
        let value = setting.value.unwrap_or_default();
        if json {
            let fields = [
                ("name", json!(setting.name)),
                ("value", json!(value)),
                ("default", json!(setting.is_default)),
            ];
            writeln!(out, "{}", output::json_line("setting", &fields))?;
        } else if !setting.is_default {
            writeln!(out, "{}={value}", setting.name)?;
        }
    }
    Ok(())
}

fn delete(config: &ClientConfig, name: &str) -> Result<(), Trouble> {
    let (admin, options, runtime) = admin(config)?;
    match runtime.block_on(admin.delete_topics(&[name], &options))?.into_iter().next() {
        Some(Err((name, e))) => Err(Failure::new(1, format!("topic '{name}': {e}")).into()),
        _ => Ok(()),
    }
}

/// The partitions of a topic; an error if it is not there.
fn partitions(client: &BaseConsumer, name: &str) -> Result<BTreeSet<i32>, Trouble> {
    let metadata = client.fetch_metadata(Some(name), PATIENCE)?;
    let topic = metadata.topics().first();
    if let Some(e) = topic.and_then(|t| t.error()) {
        let e = RDKafkaErrorCode::from(e);
        return Err(Failure::new(1, format!("topic '{name}': {e}")).into());
    }
    Ok(topic.into_iter().flat_map(|t| t.partitions()).map(|p| p.id()).collect())
}

/// A message as it was read from a line.
#[derive(Default)]
struct Line {
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    partition: Option<i32>,
    timestamp: Option<i64>,
}

impl Line {
    fn parse(text: &str) -> Result<Line, String> {
        let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let Value::Object(mut object) = value else { return Err("a message is an object".into()) };
        if !object.contains_key("payload") && !object.contains_key("payload_base64") {
            return Err("the object has no \"payload\"; with --lines each line is one".into());
        }
        let whole = |object: &Map<String, Value>, name: &str| match object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(n) => n.as_i64().map(Some).ok_or_else(|| format!("\"{name}\" is no whole number")),
        };
        let partition = whole(&object, "partition")?;
        let partition = partition.map(|n| i32::try_from(n).map_err(|_| "no such \"partition\"".to_string()));
        let mut line = Line {
            partition: partition.transpose()?,
            timestamp: whole(&object, "ts")?,
            key: bytes(&mut object, "key")?,
            payload: bytes(&mut object, "payload")?,
            headers: vec![],
        };
        let words = match object.remove("headers") {
            None | Some(Value::Null) => vec![],
            Some(Value::Array(words)) => words,
            Some(_) => return Err("\"headers\" is no list of names and values".into()),
        };
        for pair in words.chunks(2) {
            match pair {
                [Value::String(name), Value::Null] => line.headers.push((name.clone(), None)),
                [Value::String(name), Value::String(value)] => {
                    line.headers.push((name.clone(), Some(value.clone().into_bytes())));
                }
                _ => return Err("\"headers\" is no list of names and values".into()),
            }
        }
        Ok(line)
    }
}

/// Text as it is, other JSON as its text; or bytes in base64.
fn bytes(object: &mut Map<String, Value>, name: &str) -> Result<Option<Vec<u8>>, String> {
    let encoded = format!("{name}_base64");
    if let Some(value) = object.remove(&encoded) {
        let decoded = value.as_str().and_then(|s| BASE64.decode(s).ok());
        return decoded.map(Some).ok_or_else(|| format!("\"{encoded}\" is no base64"));
    }
    Ok(match object.remove(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.into_bytes()),
        Some(other) => Some(other.to_string().into_bytes()),
    })
}

fn produce(config: &ClientConfig, name: &str, file: Option<PathBuf>, lines: bool) -> Result<(), Trouble> {
    let (input, shown): (Box<dyn BufRead>, String) = match file.filter(|f| f.as_os_str() != "-") {
        None => (Box::new(std::io::stdin().lock()), "stdin".into()),
        Some(path) => {
            let shown = path.display().to_string();
            let file = std::fs::File::open(&path).map_err(|e| Failure::new(2, format!("{shown}: {e}")))?;
            (Box::new(BufReader::new(file)), shown)
        }
    };
    let mut config = config.clone();
    config.set("enable.idempotence", "true").set("linger.ms", "5").set("message.timeout.ms", "30000");
    let producer: ThreadedProducer<Failed> = config.create_with_context(Failed::default())?;
    // A topic that cannot be had is said at once, and not after all lines.
    let metadata = producer.client().fetch_metadata(Some(name), PATIENCE)?;
    if let Some(e) = metadata.topics().first().and_then(|t| t.error()) {
        let e = RDKafkaErrorCode::from(e);
        // One that is just being made is not an error.
        if e != RDKafkaErrorCode::LeaderNotAvailable {
            return Err(Failure::new(4, format!("topic '{name}': {e}")).into());
        }
    }
    for (n, line) in input.lines().enumerate() {
        let text = line?;
        if text.is_empty() {
            continue;
        }
        let line = match lines {
            true => Line { payload: Some(text.into_bytes()), ..Line::default() },
            false => Line::parse(&text).map_err(|e| Failure::new(1, format!("{shown}:{}: {e}", n + 1)))?,
        };
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(name);
        (record.key, record.payload) = (line.key.as_deref(), line.payload.as_deref());
        (record.partition, record.timestamp) = (line.partition, line.timestamp);
        if !line.headers.is_empty() {
            let all = OwnedHeaders::new_with_capacity(line.headers.len());
            let add = |all: OwnedHeaders, (key, value): &(String, Option<Vec<u8>>)| {
                all.insert(Header { key, value: value.as_ref() })
            };
            record.headers = Some(line.headers.iter().fold(all, add));
        }
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err((e, _)) => return Err(e.into()),
            }
        }
    }
    producer.flush(Duration::from_secs(60))?;
    match producer.context().0.lock().ok().and_then(|mut f| f.take()) {
        Some(e) => Err(Failure::new(4, format!("topic '{name}': {e}")).into()),
        None => Ok(()),
    }
}

/// The first message that was not taken.
#[derive(Default)]
struct Failed(std::sync::Mutex<Option<KafkaError>>);

impl rdkafka::ClientContext for Failed {}

impl rdkafka::producer::ProducerContext for Failed {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, _: ()) {
        if let (Err((e, _)), Ok(mut first)) = (result, self.0.lock()) {
            first.get_or_insert_with(|| e.clone());
        }
    }
}

/// What is to be printed.
struct Wanted {
    name: String,
    partition: Option<i32>,
    count: u64,
    follow: bool,
}

/// Where a partition is begun.
fn start(text: &str) -> Result<Offset, Failure> {
    let wrong = || Failure::new(2, format!("--from {text}: say beginning, end, an offset, or -N"));
    Ok(match text {
        "beginning" => Offset::Beginning,
        "end" => Offset::End,
        _ => match text.parse::<i64>().map_err(|_| wrong())? {
            n if n < 0 => Offset::OffsetTail(-n),
            n => Offset::Offset(n),
        },
    })
}

fn consume(config: &ClientConfig, from: &str, wanted: &Wanted) -> Result<(), Trouble> {
    let from = start(from)?;
    let mut config = config.clone();
    config.set("auto.offset.reset", "error");
    let consumer = reader(&config, "deltamill-topic")?;
    let mut partitions = partitions(&consumer, &wanted.name)?;
    partitions.retain(|p| wanted.partition.is_none_or(|wanted| *p == wanted));
    if let Some(partition) = wanted.partition.filter(|p| !partitions.contains(p)) {
        let missing = format!("topic '{}' has no partition {partition}", wanted.name);
        return Err(Failure::new(1, missing).into());
    }
    let mut list = TopicPartitionList::new();
    for partition in &partitions {
        list.add_partition_offset(&wanted.name, *partition, from)?;
    }
    consumer.assign(&list)?;
    print(&consumer, wanted, |ended| ended.len() == partitions.len(), |_| Ok(()))
}

fn consume_as(config: &ClientConfig, group: &str, wanted: &Wanted) -> Result<(), Trouble> {
    let consumer = reader(config, group)?;
    consumer.subscribe(&[&wanted.name])?;
    let all = |ended: &BTreeSet<i32>| {
        let assigned = consumer.assignment().map_or(0, |list| list.count());
        assigned > 0 && ended.len() >= assigned
    };
    print(&consumer, wanted, all, |message| {
        consumer.store_offset_from_message(message)?;
        Ok(())
    })?;
    match consumer.commit_consumer_state(CommitMode::Sync) {
        // Nothing was read.
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
        done => Ok(done?),
    }
}

fn print(
    consumer: &BaseConsumer,
    wanted: &Wanted,
    all_ended: impl Fn(&BTreeSet<i32>) -> bool,
    printed: impl Fn(&BorrowedMessage<'_>) -> Result<(), KafkaError>,
) -> Result<(), Trouble> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut ended, mut left) = (BTreeSet::new(), wanted.count);
    while left > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            None => out.flush()?,
            Some(Ok(message)) => {
                ended.remove(&message.partition());
                writeln!(out, "{}", line(&message))?;
                printed(&message)?;
                left -= 1;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                out.flush()?;
                ended.insert(partition);
                if !wanted.follow && all_ended(&ended) {
                    break;
                }
            }
            Some(Err(e)) => {
                out.flush()?;
                return Err(e.into());
            }
        }
    }
    Ok(out.flush()?)
}

/// A message as a line.
fn line(message: &BorrowedMessage<'_>) -> String {
    let mut object = Map::new();
    object.insert("topic".into(), json!(message.topic()));
    object.insert("partition".into(), json!(message.partition()));
    object.insert("offset".into(), json!(message.offset()));
    let (kind, time) = match message.timestamp() {
        Timestamp::NotAvailable => ("unknown", 0),
        Timestamp::CreateTime(time) => ("create", time),
        Timestamp::LogAppendTime(time) => ("logappend", time),
    };
    object.insert("tstype".into(), json!(kind));
    object.insert("ts".into(), json!(time));
    if let Some(headers) = message.headers().filter(|h| h.count() > 0) {
        let pair = |h: Header<'_, &[u8]>| [json!(h.key), json!(h.value.map(String::from_utf8_lossy))];
        object.insert("headers".into(), headers.iter().flat_map(pair).collect());
    }
    for (name, bytes) in [("key", message.key()), ("payload", message.payload())] {
        match bytes.map(|b| std::str::from_utf8(b).map_err(|_| b)) {
            None => object.insert(name.into(), Value::Null),
            Some(Ok(text)) => object.insert(name.into(), json!(text)),
            Some(Err(bytes)) => object.insert(format!("{name}_base64"), json!(BASE64.encode(bytes))),
        };
    }
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_kcats_shape() {
        let read = |text| Line::parse(text).map(|l| (l.key, l.payload, l.headers, l.partition, l.timestamp));
        let bytes = |s: &str| Some(s.as_bytes().to_vec());
        let whole = r#"{"topic":"t","partition":2,"offset":7,"tstype":"create","ts":5,"broker":1,
            "headers":["a","1","b",null],"key":"k","payload":"p"}"#;
        let headers = vec![("a".to_string(), bytes("1")), ("b".to_string(), None)];
        assert_eq!(read(whole), Ok((bytes("k"), bytes("p"), headers, Some(2), Some(5))));
        assert_eq!(read(r#"{"payload":{"a":[1]}}"#), Ok((None, bytes(r#"{"a":[1]}"#), vec![], None, None)));
        assert_eq!(
            read(r#"{"key_base64":"/w==","payload":null}"#),
            Ok((Some(vec![255]), None, vec![], None, None))
        );
        for (wrong, why) in [
            ("nope", "expected"),
            ("[1]", "object"),
            (r#"{"type":"track"}"#, "--lines"),
            (r#"{"payload":"","partition":"x"}"#, "partition"),
            (r#"{"payload":"","headers":["a"]}"#, "headers"),
            (r#"{"payload_base64":"?"}"#, "base64"),
        ] {
            let e = Line::parse(wrong).err().unwrap_or_default();
            assert!(e.contains(why), "{wrong}: {e}");
        }
    }
}
