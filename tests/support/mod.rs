//! A server to test, its clients, and waiting for conditions.

#[path = "../../benches/support/w1.rs"]
pub mod w1_loop;

pub mod segment_api;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls, SimpleQueryMessage};

/// The program.
pub const DELTAMILL: &str = env!("CARGO_BIN_EXE_deltamill");

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Where SQL is served.
    pub sql: String,
    /// Where HTTP is served.
    pub http: String,
    /// Where the embedded Kafka listens.
    pub kafka: Option<String>,
    /// All its listeners, `PROTOCOL://address`.
    pub kafka_listeners: Vec<String>,
}

impl Server {
    /// Starts `deltamill serve` with these flags on free ports.
    pub fn start(arguments: &[&str]) -> Server {
        Server::start_with(arguments, &[])
    }

    /// As [`Server::start`], with these variables in its environment.
    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Server {
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let arguments: Vec<String> = arguments.iter().map(|a| a.to_string()).collect();
        let mut child = Command::new(DELTAMILL)
            .args(["--json", "serve", "--sql-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(&arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line comes");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("the server says where it listens");
        assert_eq!(ready["type"], "ready", "{line}");
        let address = |name: &str| ready[name].as_str().map(str::to_string);
        let (sql, http, kafka) = (address("sql"), address("http"), address("kafka"));
        let listeners = ready["kafka_listeners"].as_array().into_iter().flatten();
        let kafka_listeners = listeners.filter_map(|l| l.as_str().map(str::to_string)).collect();
        let (sql, http) = (sql.expect("SQL"), http.expect("HTTP"));
        Server { child, arguments, environment, sql, http, kafka, kafka_listeners }
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Ends it as a crash would, and starts it again on the same data.
    pub fn crash_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// Starts it again on the same data, once it has ended.
    pub fn restart(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        *self = Server::start_with(&arguments, &environment);
    }

    /// Tells it to end.
    pub fn terminate(&self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(told.is_ok_and(|s| s.success()), "a signal is sent");
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_none()
    }

    /// Whether it ends by itself in time.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() > time {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Posts over a connection of its own; status and body of the answer.
    pub fn post(&self, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let answer = Http::connect(&self.http).and_then(|mut http| http.request("POST", path, headers, body));
        let (status, _, body) = answer.unwrap_or_else(|e| panic!("POST {path}: {e}"));
        (status, body)
    }

    /// A connection.
    pub fn client(&self) -> Client {
        let (host, port) = self.sql.rsplit_once(':').expect("host:port");
        Client::connect(&format!("host={host} port={port} user=materialize dbname=materialize"), NoTls)
            .expect("the server takes connections")
    }

    /// Runs statements; the rows of the last one, cells joined by `|`.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        rows(&mut self.client(), sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// Runs statements that must fail; SQLSTATE and message.
    pub fn error(&self, sql: &str) -> String {
        match rows(&mut self.client(), sql) {
            Ok(rows) => panic!("{sql} should fail, but gave {rows:?}"),
            Err(e) => e,
        }
    }

    /// Waits until a query gives these rows.
    pub fn wait_for(&self, sql: &str, expected: &[&str]) {
        let mut client = self.client();
        let start = Instant::now();
        loop {
            let got = rows(&mut client, sql);
            if got.as_ref().is_ok_and(|rows| rows == expected) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{sql}: waited for {expected:?}, have {got:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Processor time that it has used, in steps of 10 ms.
    #[allow(dead_code, reason = "what is measured is in benches")]
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        // The name, in parentheses, may hold blanks; user and system time are the 12th and 13th numbers behind it.
        let numbers = stat.rsplit_once(')').expect("a name").1.split_whitespace().skip(11).take(2);
        let ticks: u64 = numbers.map(|n| n.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Runs psql with these arguments.
    pub fn psql(&self, arguments: &[&str]) -> Output {
        let (host, port) = self.sql.rsplit_once(':').expect("host:port");
        Command::new("psql")
            .args(["-X", "-h", host, "-p", port, "-U", "materialize", "-d", "materialize"])
            .args(arguments)
            .output()
            .expect("psql runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection over HTTP.
pub struct Http(std::net::TcpStream);

impl Http {
    /// Connects.
    pub fn connect(address: &str) -> std::io::Result<Http> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Http(stream))
    }

    /// Sends a request; `headers` are whole lines. Status, head and body of the answer.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> std::io::Result<(u16, String, String)> {
        use std::io::{Error, Read, Write};
        let length = body.len();
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n")
                .into_bytes();
        request.extend_from_slice(body);
        self.0.write_all(&request)?;
        let mut got = vec![];
        let head = loop {
            if let Some(end) = got.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            let mut part = [0; 4096];
            match self.0.read(&mut part)? {
                0 => return Err(Error::other("the connection was closed")),
                n => got.extend_from_slice(&part[..n]),
            }
        };
        let text = text(&got[..head]);
        let length = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok();
        let length = text.lines().find_map(length).unwrap_or(0);
        let mut body = got[head..].to_vec();
        let have = body.len().min(length);
        body.resize(length, 0);
        self.0.read_exact(&mut body[have..])?;
        let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.ok_or_else(|| Error::other(format!("not HTTP: {text}")))?;
        Ok((status, text, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// The rows of the last statement of a text, or SQLSTATE and message.
pub fn rows(client: &mut Client, sql: &str) -> Result<Vec<String>, String> {
    let messages = client.simple_query(sql).map_err(|e| error_text(&e))?;
    let mut rows = vec![];
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => {
                let cells: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL")).collect();
                rows.push(cells.join("|"));
            }
            SimpleQueryMessage::RowDescription(_) => rows.clear(),
            _ => {}
        }
    }
    Ok(rows)
}

/// SQLSTATE and message of an error.
pub fn error_text(e: &postgres::Error) -> String {
    match e.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => e.to_string(),
    }
}

/// Runs the program to its end.
pub fn deltamill(arguments: &[&str]) -> Output {
    Command::new(DELTAMILL).args(arguments).output().expect("the program runs")
}

/// What a command printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file in the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether a program is there; if not, says so, and in CI fails.
pub fn have(program: &str, why: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !found {
        assert!(std::env::var_os("DELTAMILL_REQUIRE").is_none(), "{program} is required: {why}");
        eprintln!("skipped, {program} is not installed: {why}");
    }
    found
}

/// Segment events of the repository's own generator, one line each.
pub fn events(seed: u64, n: usize) -> Vec<Vec<u8>> {
    events_of(source::generator::Traffic::clean(seed), n)
}

/// Events of some traffic, one line each.
pub fn events_of(traffic: source::generator::Traffic, n: usize) -> Vec<Vec<u8>> {
    let mut generator = source::generator::SegmentEvents::new(traffic);
    let mut line = || {
        let mut line = vec![];
        generator.fill(&mut line);
        line
    };
    (0..n).map(|_| line()).collect()
}

/// Writes lines to a file.
pub fn write_lines(path: &Path, lines: &[Vec<u8>]) {
    let mut text = lines.join(&b'\n');
    text.push(b'\n');
    std::fs::write(path, text).expect("the file can be written");
}

/// Produces messages round-robin over partitions, and waits until the broker has them.
pub fn produce(brokers: &str, topic: &str, partitions: i32, messages: &[Vec<u8>]) {
    use rdkafka::error::KafkaError;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::types::RDKafkaErrorCode::QueueFull;
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .create()
        .expect("a producer");
    for (i, message) in messages.iter().enumerate() {
        let partition = i as i32 % partitions;
        loop {
            let record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(message);
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(QueueFull), _)) => {
                    producer.poll(Duration::from_millis(10));
                }
                Err((e, _)) => panic!("{e}"),
            }
        }
        if i % 1_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE).expect("the broker takes the messages");
}

/// Creates a topic.
pub fn create_topic(brokers: &str, topic: &str, partitions: i32) {
    admin::create_topic(brokers, topic, partitions);
}

/// What is done to topics.
pub mod admin {
    use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
    use rdkafka::client::DefaultClientContext;
    use rdkafka::{Offset, TopicPartitionList};

    type Admin = AdminClient<DefaultClientContext>;

    fn ask<T>(brokers: &str, question: impl AsyncFnOnce(&Admin, &AdminOptions) -> T) -> T {
        let admin: Admin =
            rdkafka::ClientConfig::new().set("bootstrap.servers", brokers).create().expect("an admin client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(question(&admin, &AdminOptions::new()))
    }

    /// Creates a topic.
    pub fn create_topic(brokers: &str, topic: &str, partitions: i32) {
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let results = ask(brokers, async |admin, options| admin.create_topics([&topic], options).await);
        results.expect("an answer").into_iter().for_each(|r| drop(r.expect("the topic is created")));
    }

    /// Deletes a topic.
    pub fn delete_topic(brokers: &str, topic: &str) {
        let results = ask(brokers, async |admin, options| admin.delete_topics(&[topic], options).await);
        results.expect("an answer").into_iter().for_each(|r| drop(r.expect("the topic is deleted")));
    }

    /// Gives a topic more partitions.
    pub fn add_partitions(brokers: &str, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let results = ask(brokers, async |admin, options| admin.create_partitions([&new], options).await);
        results.expect("an answer").into_iter().for_each(|r| drop(r.expect("partitions are added")));
    }

    /// Deletes the records of a partition before an offset.
    pub fn delete_records(brokers: &str, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("a place");
        ask(brokers, async |admin, options| admin.delete_records(&list, options).await).expect("an answer");
    }
}
