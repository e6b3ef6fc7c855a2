//! Sinks into Kafka: what changes look like as messages, and that a reader of committed ones sees each once, whatever is
//! killed when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::kafka::Kafka;
use crate::support::{PATIENCE, Server, deltamill, have, repository, rows, text};

/// A committed message.
#[derive(Clone, Debug, PartialEq)]
struct Message {
    partition: i32,
    offset: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, String)>,
}

/// All committed messages of a topic, partition by partition.
fn committed(brokers: &str, topic: &str) -> Result<Vec<Message>, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(20))?;
    let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(|p| p.id()).collect();
    let mut list = TopicPartitionList::new();
    for p in &partitions {
        list.add_partition_offset(topic, *p, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    // While others write no answer says that this is the end.
    let end = |p: &i32| consumer.fetch_watermarks(topic, *p, PATIENCE).map(|(_, end)| (*p, end));
    let ends = partitions.iter().map(end).collect::<Result<BTreeMap<i32, i64>, _>>()?;
    let (mut all, mut ended) = (vec![], BTreeSet::new());
    let utf8 = |bytes: Option<&[u8]>| bytes.map(text);
    while ended.len() < partitions.len() {
        match consumer.poll(PATIENCE).expect("the broker answers") {
            Ok(m) => {
                if m.offset() + 1 >= ends[&m.partition()] {
                    ended.insert(m.partition());
                }
                let header = |h: rdkafka::message::Header<'_, &[u8]>| {
                    (h.key.to_string(), utf8(h.value).unwrap_or_else(|| "NULL".into()))
                };
                all.push(Message {
                    partition: m.partition(),
                    offset: m.offset(),
                    key: utf8(m.key()),
                    value: utf8(m.payload()),
                    headers: m.headers().map(|h| h.iter().map(header).collect()).unwrap_or_default(),
                });
            }
            Err(KafkaError::PartitionEOF(p)) => drop(ended.insert(p)),
            Err(e) => return Err(e),
        }
    }
    all.sort_by_key(|m| m.partition);
    Ok(all)
}

/// Waits until a topic has so many committed messages.
fn wait_for(brokers: &str, topic: &str, n: usize) -> Vec<Message> {
    let start = Instant::now();
    loop {
        let got = committed(brokers, topic);
        if let Ok(got) = &got
            && got.len() >= n
        {
            return got.clone();
        }
        assert!(start.elapsed() < PATIENCE, "{topic}: {n} messages wanted, have {got:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Without the header that every message has.
fn plain(messages: &[Message]) -> Vec<String> {
    let shown = |m: &Message| {
        let mut text = format!("{} {}", m.key.as_deref().unwrap_or("-"), m.value.as_deref().unwrap_or("-"));
        let (time, others) = m.headers.split_last().expect("the time is there");
        assert_eq!(time.0, "materialize-timestamp");
        assert!(time.1.parse::<u64>().is_ok_and(|t| t > 1_600_000_000_000), "{time:?}");
        others.iter().for_each(|(name, value)| text.push_str(&format!(" {name}:{value}")));
        text
    };
    messages.iter().map(shown).collect()
}

fn engine_with_broker() -> (Server, String) {
    let server = Server::start(&["--ephemeral", "--kafka-listen", "127.0.0.1:0"]);
    let brokers = server.kafka.clone().expect("the embedded Kafka");
    server.rows(&format!("CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT)"));
    (server, brokers)
}

#[test]
fn changes_become_messages() {
    let (server, brokers) = engine_with_broker();
    server.rows(
        "CREATE TABLE t (id int4, a text, n numeric, at timestamptz);
         INSERT INTO t VALUES (0, 'before', 0.50, '2026-01-01 00:00:00.0015Z');
         CREATE MATERIALIZED VIEW per_a AS SELECT a, count(*) AS n, sum(n) AS total, max(at) AS last FROM t GROUP BY a;
         CREATE SINK upserts FROM per_a INTO KAFKA CONNECTION k (TOPIC 'upserts') KEY (a) FORMAT JSON ENVELOPE UPSERT;
         CREATE SINK debezium FROM t INTO KAFKA CONNECTION k (TOPIC 'debezium') KEY (id)
           KEY FORMAT TEXT VALUE FORMAT JSON ENVELOPE DEBEZIUM WITH (SNAPSHOT = false);
         CREATE SINK keyless FROM t INTO KAFKA CONNECTION k (TOPIC 'keyless') FORMAT JSON ENVELOPE DEBEZIUM;",
    );
    server.rows("INSERT INTO t VALUES (1, 'x', 1.5, NULL)");
    server.rows("UPDATE t SET n = 2 WHERE id = 1");
    server.rows("DELETE FROM t WHERE id = 1");
    let x = |n: &str| format!("{{\"a\":\"x\",\"n\":1,\"total\":\"{n}\",\"last\":null}}");
    assert_eq!(
        plain(&wait_for(&brokers, "upserts", 4)),
        [
            "{\"a\":\"before\"} {\"a\":\"before\",\"n\":1,\"total\":\"0.5\",\"last\":\"1767225600001.500\"}"
                .into(),
            format!("{{\"a\":\"x\"}} {}", x("1.5")),
            format!("{{\"a\":\"x\"}} {}", x("2")),
            "{\"a\":\"x\"} -".into(),
        ]
    );
    let row = |n: &str| format!("{{\"id\":1,\"a\":\"x\",\"n\":\"{n}\",\"at\":null}}");
    assert_eq!(
        plain(&wait_for(&brokers, "debezium", 3)),
        [
            format!("1 {{\"before\":null,\"after\":{}}}", row("1.5")),
            format!("1 {{\"before\":{},\"after\":{}}}", row("1.5"), row("2")),
            format!("1 {{\"before\":{},\"after\":null}}", row("2")),
        ]
    );
    // Without a key an update is a row that goes and one that comes.
    assert_eq!(wait_for(&brokers, "keyless", 5).len(), 5);
    assert_eq!(
        server.rows("SELECT name, type, envelope_type, key_format, value_format FROM mz_sinks ORDER BY 1"),
        [
            "debezium|kafka|debezium|text|json",
            "keyless|kafka|debezium|NULL|json",
            "upserts|kafka|upsert|json|json",
        ]
    );
    assert_eq!(
        server.rows("SELECT topic FROM mz_kafka_sinks ORDER BY 1"),
        ["debezium", "keyless", "upserts"]
    );
    server.wait_for(
        "SELECT messages_committed FROM mz_internal.mz_sink_statistics JOIN mz_sinks USING (id) WHERE name = 'upserts'",
        &["4"],
    );
    // What goes in comes out: the topic of a sink is a source.
    server.rows(
        "CREATE SOURCE back FROM KAFKA CONNECTION k (TOPIC 'upserts') KEY FORMAT JSON VALUE FORMAT JSON
           INCLUDE KEY AS key ENVELOPE UPSERT",
    );
    server.wait_for("SELECT data->>'a' FROM back", &["before"]);
}

#[test]
fn values_keys_headers_and_partitions() {
    let (server, brokers) = engine_with_broker();
    server.rows(
        "CREATE TABLE t (id int4, p int4);
         CREATE MATERIALIZED VIEW v AS SELECT id, p, true AS b, 1.5::float8 AS f, 'NaN'::float8 AS nan, 12345678901234567890.10::numeric AS n,
           'q\"\\é'::text AS s, '\\x00ff'::bytea AS y, '{\"k\":[1,null]}'::jsonb AS j, DATE '2026-02-03' AS d,
           TIMESTAMP '1969-12-31 23:59:59.5' AS ts, INTERVAL '1 day' AS i, ARRAY[[1,2],[3,NULL]] AS a, LIST[1,2] AS l,
           ROW(1, 'x') AS r, '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid AS u, NULL::text AS none FROM t;
         CREATE SINK types FROM v INTO KAFKA CONNECTION k (TOPIC 'types', COMPRESSION TYPE gzip) KEY (id) NOT ENFORCED
           FORMAT JSON ENVELOPE UPSERT;
         CREATE MATERIALIZED VIEW keys AS SELECT 'key' || id::text AS body, MAP['source' => 'test', 'none' => NULL] AS h FROM t;
         CREATE SINK texts FROM keys INTO KAFKA CONNECTION k (TOPIC = 'texts', COMPRESSION TYPE = 'none') KEY (body) NOT ENFORCED
           HEADERS h FORMAT TEXT ENVELOPE UPSERT;
         CREATE SINK placed FROM t INTO KAFKA CONNECTION k (TOPIC 'placed', TOPIC PARTITION COUNT 4, PARTITION BY = p,
           TOPIC CONFIG MAP['retention.ms' => '86400000']) KEY (id) NOT ENFORCED FORMAT JSON ENVELOPE UPSERT;
         CREATE SINK hashed FROM t INTO KAFKA CONNECTION k (TOPIC 'hashed', TOPIC PARTITION COUNT 4) KEY (id) NOT ENFORCED
           KEY FORMAT TEXT VALUE FORMAT JSON ENVELOPE UPSERT;",
    );
    server.rows("INSERT INTO t VALUES (7, 2)");
    assert_eq!(
        plain(&wait_for(&brokers, "types", 1)),
        [
            "{\"id\":7} {\"id\":7,\"p\":2,\"b\":true,\"f\":1.5,\"nan\":\"NaN\",\"n\":\"12345678901234567890.1\",\
           \"s\":\"q\\\"\\\\é\",\"y\":\"\\\\x00ff\",\"j\":{\"k\":[1,null]},\"d\":\"2026-02-03\",\"ts\":\"-500.000\",\
           \"i\":\"1 day\",\"a\":[[1,2],[3,null]],\"l\":[1,2],\"r\":{\"f1\":1,\"f2\":\"x\"},\
           \"u\":\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\",\"none\":null}"
        ]
    );
    assert_eq!(plain(&wait_for(&brokers, "texts", 1)), ["key7 key7 none:NULL source:test"]);
    server.rows("INSERT INTO t SELECT n, n FROM generate_series(10, 17) n");
    for m in wait_for(&brokers, "placed", 9) {
        let value: serde_json::Value = serde_json::from_str(&m.value.expect("a row")).expect("JSON");
        assert_eq!(i64::from(m.partition), value["p"].as_i64().expect("a number") % 4);
    }
    for m in wait_for(&brokers, "hashed", 9) {
        let hash = server.rows(&format!("SELECT seahash('{}') % 4", m.key.expect("a key")));
        assert_eq!(hash, [m.partition.to_string()]);
    }
}

#[test]
fn what_cannot_be_a_sink_is_said_at_once() {
    let (server, _) = engine_with_broker();
    server.rows(
        "CREATE TABLE t (k text, v int4); CREATE VIEW plain AS SELECT * FROM t;
         CREATE MATERIALIZED VIEW grouped AS SELECT k, count(*) AS n FROM t GROUP BY k;
         CREATE SECRET s AS 'x'; CREATE CONNECTION seg TO SEGMENT (WRITE KEY = SECRET s);
         CREATE CONNECTION nobody TO KAFKA (BROKER '127.0.0.1:1', SECURITY PROTOCOL PLAINTEXT) WITH (VALIDATE = false)",
    );
    let sink = |from: &str, options: &str, rest: &str| {
        format!("CREATE SINK x FROM {from} INTO KAFKA CONNECTION k ({options}) {rest}")
    };
    for (sql, expected) in [
        (sink("plain", "TOPIC 'x'", "FORMAT JSON ENVELOPE DEBEZIUM"), "42809 plain is a view"),
        (
            sink("t", "TOPIC 'x'", "FORMAT JSON ENVELOPE UPSERT"),
            "42601 ENVELOPE UPSERT requires that KEY (...) be specified",
        ),
        (
            sink("t", "TOPIC 'x'", "KEY (k) FORMAT JSON ENVELOPE UPSERT"),
            "22023 upsert key could not be validated as unique",
        ),
        (
            sink("t", "TOPIC 'x'", "KEY (nope) FORMAT JSON ENVELOPE UPSERT"),
            "42703 column \"nope\" does not exist in t",
        ),
        (sink("t", "TOPIC 'x'", "KEY (k) FORMAT JSON"), "42601 a sink into Kafka needs ENVELOPE"),
        (sink("t", "TOPIC 'x'", "ENVELOPE DEBEZIUM"), "42601 a sink into Kafka needs FORMAT"),
        (sink("t", "TOPIC 'x'", "FORMAT PROTOBUF ENVELOPE DEBEZIUM"), "0A000 FORMAT PROTOBUF"),
        (sink("t", "TOPIC 'x'", "FORMAT TEXT ENVELOPE DEBEZIUM"), "0A000 ENVELOPE DEBEZIUM with this FORMAT"),
        (
            sink("grouped", "TOPIC 'x'", "KEY (k) FORMAT TEXT ENVELOPE UPSERT"),
            "22023 FORMAT TEXT needs one column for the value",
        ),
        (
            sink("grouped", "TOPIC 'x'", "KEY (k) HEADERS n FORMAT JSON ENVELOPE UPSERT"),
            "42804 HEADERS column \"n\" is not",
        ),
        (sink("t", "COMPRESSION TYPE gzip", "FORMAT JSON ENVELOPE DEBEZIUM"), "22023 must specify TOPIC"),
        (
            sink("t", "TOPIC 'x', COMPRESSION TYPE lzma", "FORMAT JSON ENVELOPE DEBEZIUM"),
            "22023 invalid COMPRESSION TYPE: lzma",
        ),
        (
            sink("t", "TOPIC 'x', PARTITION BY = k", "FORMAT JSON ENVELOPE DEBEZIUM"),
            "42804 PARTITION BY must be an integer",
        ),
        (sink("t", "TOPIC 'no such name'", "FORMAT JSON ENVELOPE DEBEZIUM"), "22023 invalid TOPIC"),
        (sink("t", "TOPIC 'x', NOPE 1", "FORMAT JSON ENVELOPE DEBEZIUM"), "NOPE"),
        (
            "CREATE SINK x FROM t INTO KAFKA CONNECTION seg (TOPIC 'x') FORMAT JSON ENVELOPE DEBEZIUM".into(),
            "42809 \"seg\" is not a connection to Kafka",
        ),
        (
            "CREATE SINK x FROM t INTO KAFKA CONNECTION nobody (TOPIC 'x') FORMAT JSON ENVELOPE DEBEZIUM"
                .into(),
            "08006 ",
        ),
    ] {
        let error = server.error(&sql);
        assert!(error.contains(expected), "{sql}: {error}");
    }
    assert_eq!(server.rows("SHOW SINKS"), Vec::<String>::new());
    server.rows(&sink("grouped", "TOPIC 'x'", "KEY (k) FORMAT JSON ENVELOPE UPSERT"));
    // What is unique in a view is so in views of it.
    server.rows(
        "CREATE MATERIALIZED VIEW of_grouped AS SELECT n + 1 AS m, k FROM grouped WHERE n > 0; DROP SINK x",
    );
    server.rows(&sink("of_grouped", "TOPIC 'x'", "KEY (k) FORMAT JSON ENVELOPE UPSERT"));
}

#[test]
fn an_error_in_the_view_stops_the_sink_until_it_goes() {
    let (server, brokers) = engine_with_broker();
    server.rows(
        "CREATE TABLE t (k int4, d int4); INSERT INTO t VALUES (1, 1);
         CREATE MATERIALIZED VIEW v AS SELECT k, 10 / d AS q FROM t;
         CREATE SINK s FROM v INTO KAFKA CONNECTION k (TOPIC 'out') KEY (k) NOT ENFORCED FORMAT JSON ENVELOPE UPSERT",
    );
    wait_for(&brokers, "out", 1);
    server.rows("INSERT INTO t VALUES (2, 0), (3, 5)");
    let status = "SELECT status, error LIKE '%division by zero%' FROM mz_internal.mz_sink_statuses";
    server.wait_for(status, &["stalled|t"]);
    server.rows("INSERT INTO t VALUES (4, 2)");
    assert_eq!(committed(&brokers, "out").expect("messages").len(), 1, "rows that may be wrong were sent");
    server.rows("DELETE FROM t WHERE k = 2");
    server.wait_for("SELECT status, error FROM mz_internal.mz_sink_statuses", &["running|NULL"]);
    let got: Vec<_> = wait_for(&brokers, "out", 3).into_iter().filter_map(|m| m.value).collect();
    assert_eq!(got, ["{\"k\":1,\"q\":10}", "{\"k\":3,\"q\":2}", "{\"k\":4,\"q\":5}"]);
    // Two rows of one key at one time are no upsert.
    server.rows("INSERT INTO t VALUES (9, 1), (9, 2)");
    let status = "SELECT status, error LIKE '%2 rows at one time%' FROM mz_internal.mz_sink_statuses";
    server.wait_for(status, &["stalled|t"]);
    assert_eq!(committed(&brokers, "out").expect("messages").len(), 3);
}

#[test]
fn rows_may_be_as_large_as_their_topic_takes() {
    let (server, brokers) = engine_with_broker();
    server.rows(
        "CREATE TABLE t (k int4, v text);
         CREATE SINK small FROM t INTO KAFKA CONNECTION k (TOPIC 'small') KEY (k) NOT ENFORCED FORMAT JSON ENVELOPE UPSERT;
         CREATE SINK large FROM t INTO KAFKA CONNECTION k (TOPIC 'large', TOPIC CONFIG MAP['max.message.bytes' => '4000000'])
           KEY (k) NOT ENFORCED FORMAT JSON ENVELOPE UPSERT;
         INSERT INTO t SELECT 1, string_agg(md5(n::text), '') FROM generate_series(1, 80000) n",
    );
    assert_eq!(wait_for(&brokers, "large", 1)[0].value.as_ref().map(String::len), Some(80_000 * 32 + 14));
    let status = "SELECT name, error LIKE '%max.message.bytes%' FROM mz_internal.mz_sink_statuses WHERE status = 'stalled'";
    server.wait_for(status, &["small|t"]);
    server.rows("DROP SINK small");
}

fn delete_topic(brokers: &str, topic: &str) {
    let out = deltamill(&["topic", "--broker", brokers, "delete", topic]);
    assert!(out.status.success(), "{}", text(&out.stderr));
}

#[test]
fn a_topic_that_goes_is_made_again_and_lost_progress_is_said() {
    let (server, brokers) = engine_with_broker();
    server.rows(
        "CREATE TABLE t (k int4);
         CREATE SINK s FROM t INTO KAFKA CONNECTION k (TOPIC 'out') KEY (k) NOT ENFORCED FORMAT JSON ENVELOPE UPSERT",
    );
    server.rows("INSERT INTO t VALUES (1)");
    wait_for(&brokers, "out", 1);
    delete_topic(&brokers, "out");
    server.rows("INSERT INTO t VALUES (2)");
    assert_eq!(plain(&wait_for(&brokers, "out", 1)), ["{\"k\":2} {\"k\":2}"]);
    let progress = &server.rows("SELECT sink_progress_topic FROM mz_kafka_connections")[0];
    delete_topic(&brokers, progress);
    server.rows("INSERT INTO t VALUES (3)");
    let status =
        "SELECT status, error LIKE '%lost the progress of this sink%' FROM mz_internal.mz_sink_statuses";
    server.wait_for(status, &["stalled|t"]);
    server.rows("DROP SINK s");
    server.rows(
        "CREATE SINK s FROM t INTO KAFKA CONNECTION k (TOPIC 'again') KEY (k) NOT ENFORCED FORMAT JSON ENVELOPE UPSERT",
    );
    assert_eq!(wait_for(&brokers, "again", 3).len(), 3);
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// A port that is free now, for a server that must come back where it was.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// What the sinks of [`stream`] sent: each number once and in order; of each key its counts in order, none twice.
fn check(brokers: &str, upto: u64) -> u64 {
    let start = Instant::now();
    let numbers = loop {
        match committed(brokers, "numbers") {
            Ok(numbers) if numbers.len() as u64 >= upto => break numbers,
            got => assert!(start.elapsed() < PATIENCE, "{upto} wanted, {:?}", got.map(|g| g.len())),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    for (i, m) in numbers.iter().enumerate() {
        let expected = format!("{{\"before\":null,\"after\":{{\"n\":{}}}}}", i + 1);
        let near = || &numbers[i.saturating_sub(2)..(i + 2).min(numbers.len())];
        assert_eq!(m.value.as_ref(), Some(&expected), "lost, doubled or out of order: {:#?}", near());
    }
    let mut keys: BTreeMap<i64, (i32, i64)> = BTreeMap::new();
    for m in committed(brokers, "counts").expect("messages") {
        let value: serde_json::Value = serde_json::from_str(&m.value.expect("a row")).expect("JSON");
        let field = |name: &str| value[name].as_i64().expect("a number");
        let (k, n) = (field("k"), field("count"));
        let last = if k == 0 { 100 * n } else { k + 100 * (n - 1) };
        assert_eq!(field("last"), last, "{value}");
        if let Some((partition, before)) = keys.insert(k, (m.partition, n)) {
            assert_eq!(partition, m.partition, "key {k} moved");
            assert!(before < n, "key {k}: {n} came after {before}");
        }
    }
    numbers.len() as u64
}

/// A source of numbers, each a millisecond after the other, and two sinks of what is made of them.
fn stream(server: &Server, brokers: &str) {
    server.rows(&format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
         CREATE SOURCE c FROM LOAD GENERATOR COUNTER (TICK INTERVAL '1ms');
         CREATE MATERIALIZED VIEW numbers AS SELECT counter AS n FROM c;
         CREATE MATERIALIZED VIEW counts AS
           SELECT counter % 100 AS k, count(*) AS count, max(counter) AS last FROM c GROUP BY 1;
         CREATE SINK numbers_out FROM numbers INTO KAFKA CONNECTION k (TOPIC 'numbers') FORMAT JSON ENVELOPE DEBEZIUM;
         CREATE SINK counts_out FROM counts INTO KAFKA CONNECTION k (TOPIC 'counts', TOPIC PARTITION COUNT 4) KEY (k)
           FORMAT JSON ENVELOPE UPSERT"
    ));
}

fn counted(server: &Server) -> u64 {
    rows(&mut server.client(), "SELECT count(*) FROM numbers").expect("rows")[0].parse().expect("a number")
}

/// Kills of the engine and of the broker inside, by turns, at random times.
#[test]
fn exactly_once_through_kills() {
    let (kills, seed) = (number("DELTAMILL_KILLS", 12), number("DELTAMILL_SEED", 5));
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let listen = format!("127.0.0.1:{}", free_port());
    let mut broker =
        Server::start(&["--data-dir", &path("broker"), "--kafka-listen", &listen, "--workers", "1"]);
    let mut server = Server::start(&["--data-dir", &path("engine"), "--workers", "1"]);
    stream(&server, &listen);
    let mut random = seed;
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(100 + (random >> 33) % 900));
        match kill % 3 {
            2 => broker.crash_and_restart(),
            _ => server.crash_and_restart(),
        }
    }
    let n = check(&listen, counted(&server) + 200);
    println!("{kills} kills, {n} rows, seed {seed}: 0 lost, 0 doubled, 0 out of order");
}

/// The same on Apache Kafka.
#[test]
fn exactly_once_on_a_real_kafka() {
    if !have("java", "real Kafka runs on a JDK") || !have("mvn", "Kafka's jars come through Maven") {
        return;
    }
    let (kills, seed) = (number("DELTAMILL_KILLS", 6), number("DELTAMILL_SEED", 6));
    let dir = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(dir.path(), &["19892", "19893", "19894", "19895"]);
    let brokers = kafka.get(&["KAFKA_PLAINTEXT", "KAFKA_UP_PLAINTEXT", "PLAINTEXT"]).to_string();
    let data = dir.path().join("engine").display().to_string();
    let mut server = Server::start(&["--data-dir", &data, "--workers", "1"]);
    stream(&server, &brokers);
    let folder = dir.path().join("kafka").display().to_string();
    let kafka_up = |what: &str| {
        let up =
            Command::new("bash").arg(repository("tests/kafka/kafka-up.sh")).args([what, &folder]).output();
        assert!(up.expect("bash").status.success(), "{what}");
    };
    let mut random = seed;
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(300 + (random >> 33) % 1_500));
        match kill % 3 {
            2 => {
                kafka_up("kill");
                kafka_up("start");
            }
            _ => server.crash_and_restart(),
        }
    }
    let n = check(&brokers, counted(&server) + 200);
    println!("{kills} kills, {n} rows, seed {seed}: 0 lost, 0 doubled, 0 out of order");
}
