//! The broker as its clients see it: librdkafka for the main road, hand-made frames for the edges.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use broker::{Broker, BrokerConfig, BrokerError};
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const LONG: Duration = Duration::from_secs(30);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
}

fn start(runtime: &tokio::runtime::Runtime, dir: Option<&Path>) -> Broker {
    let config = BrokerConfig { dir: dir.map(Into::into), ..BrokerConfig::default() };
    runtime.block_on(Broker::start(config)).expect("a free port")
}

fn config(address: SocketAddr, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string());
    for (k, v) in settings {
        config.set(*k, *v);
    }
    config
}

fn produce(address: SocketAddr, topic: &str, settings: &[(&str, &str)], values: std::ops::Range<u32>) {
    let producer: BaseProducer = config(address, settings).set("linger.ms", "2").create().expect("a client");
    for n in values {
        let value = format!("value {n}");
        let headers = OwnedHeaders::new().insert(rdkafka::message::Header { key: "n", value: Some(&value) });
        let record = BaseRecord::to(topic)
            .partition(0)
            .key("key")
            .payload(&value)
            .timestamp((i64::from(n) + 1) * 1_000)
            .headers(headers);
        producer.send(record).map_err(|e| e.0).expect("room");
    }
    producer.flush(LONG).expect("all are acknowledged");
}

/// All records of a partition, in order.
fn consume(address: SocketAddr, topic: &str, partition: i32, from: Offset) -> Vec<(i64, String)> {
    let settings = [("group.id", "reader"), ("enable.partition.eof", "true"), ("check.crcs", "true")];
    let consumer: BaseConsumer = config(address, &settings).create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, from).expect("a place");
    consumer.assign(&list).expect("a list");
    let mut records = vec![];
    loop {
        match consumer.poll(LONG) {
            Some(Ok(m)) => {
                let value = String::from_utf8_lossy(m.payload().expect("a value")).into_owned();
                assert_eq!(m.key(), Some(&b"key"[..]));
                let headers = m.headers().expect("a header");
                assert_eq!(headers.get(0).value, Some(value.as_bytes()));
                records.push((m.offset(), value));
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return records,
            other => panic!("{other:?}"),
        }
    }
}

fn expected(values: std::ops::Range<u32>) -> Vec<(i64, String)> {
    values.map(|n| (i64::from(n), format!("value {n}"))).collect()
}

#[test]
fn what_is_produced_is_consumed_whatever_the_codec() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    for dir in [None, Some(dir.path())] {
        let broker = start(&runtime, dir);
        for codec in ["none", "lz4", "zstd", "gzip", "snappy"] {
            let settings = [("compression.type", codec), ("enable.idempotence", "true")];
            produce(broker.listeners()[0].address, codec, &settings, 0..500);
            assert_eq!(
                consume(broker.listeners()[0].address, codec, 0, Offset::Beginning),
                expected(0..500),
                "{codec}"
            );
        }
        assert_eq!(
            consume(broker.listeners()[0].address, "lz4", 0, Offset::Offset(490)),
            expected(0..500)[490..]
        );
        runtime.block_on(broker.shutdown());
    }
}

#[test]
fn offsets_are_found_by_time() {
    let runtime = runtime();
    let broker = start(&runtime, None);
    produce(broker.listeners()[0].address, "t", &[], 0..100);
    let consumer: BaseConsumer =
        config(broker.listeners()[0].address, &[("group.id", "g")]).create().expect("a client");
    assert_eq!(consumer.fetch_watermarks("t", 0, LONG).expect("an answer"), (0, 100));
    for (time, offset) in [(1, Offset::Offset(0)), (41_500, Offset::Offset(41)), (100_001, Offset::End)] {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("t", 0, Offset::Offset(time)).expect("a place");
        let found = consumer.offsets_for_times(list, LONG).expect("an answer");
        assert_eq!(found.elements()[0].offset(), offset, "{time}");
    }
}

#[test]
fn a_restart_keeps_topics_records_and_groups() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let broker = start(&runtime, Some(dir.path()));
    // A second broker on the same directory is refused.
    let second = BrokerConfig { dir: Some(dir.path().into()), ..BrokerConfig::default() };
    let refused = runtime.block_on(Broker::start(second));
    assert!(
        matches!(refused, Err(BrokerError::Storage(storage::StorageError::Locked { .. }))),
        "{refused:?}"
    );

    let admin: AdminClient<DefaultClientContext> =
        config(broker.listeners()[0].address, &[]).create().expect("a client");
    let topics = [
        NewTopic::new("wide", 3, TopicReplication::Fixed(1)),
        NewTopic::new("gone", 1, TopicReplication::Fixed(1)),
    ];
    let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).expect("an answer");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let again = runtime.block_on(admin.create_topics(&topics[..1], &AdminOptions::new())).expect("an answer");
    assert_eq!(again[0].as_ref().map_err(|e| e.1), Err(RDKafkaErrorCode::TopicAlreadyExists));
    let shred = NewTopic::new("shred", 1, TopicReplication::Fixed(1)).set("cleanup.policy", "shred");
    let refused = runtime.block_on(admin.create_topics(&[shred], &AdminOptions::new())).expect("an answer");
    assert_eq!(refused[0].as_ref().map_err(|e| e.1), Err(RDKafkaErrorCode::InvalidConfig));
    produce(broker.listeners()[0].address, "gone", &[], 0..10);
    produce(broker.listeners()[0].address, "wide", &[("enable.idempotence", "true")], 0..300);
    let grown =
        runtime.block_on(admin.create_partitions(&[NewPartitions::new("wide", 5)], &AdminOptions::new()));
    assert!(grown.expect("an answer")[0].is_ok());
    let deleted = runtime.block_on(admin.delete_topics(&["gone"], &AdminOptions::new())).expect("an answer");
    assert!(deleted[0].is_ok(), "{deleted:?}");

    let consumer: BaseConsumer =
        config(broker.listeners()[0].address, &[("group.id", "g")]).create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("wide", 0, Offset::Offset(123)).expect("a place");
    consumer.commit(&list, CommitMode::Sync).expect("kept");
    drop((consumer, admin));
    runtime.block_on(broker.shutdown());

    let broker = start(&runtime, Some(dir.path()));
    assert_eq!(consume(broker.listeners()[0].address, "wide", 0, Offset::Beginning), expected(0..300));
    let consumer: BaseConsumer =
        config(broker.listeners()[0].address, &[("group.id", "g")]).create().expect("a client");
    let metadata = consumer.fetch_metadata(None, LONG).expect("an answer");
    let topics: BTreeMap<_, _> = metadata.topics().iter().map(|t| (t.name(), t.partitions().len())).collect();
    assert_eq!(topics, [("wide", 5)].into());
    let mut list = TopicPartitionList::new();
    list.add_partition("wide", 0);
    let kept = consumer.committed_offsets(list, LONG).expect("an answer");
    assert_eq!(kept.elements()[0].offset(), Offset::Offset(123));
    produce(broker.listeners()[0].address, "wide", &[], 300..310);
    assert_eq!(
        consume(broker.listeners()[0].address, "wide", 0, Offset::Offset(295)),
        expected(0..310)[295..]
    );
}

#[test]
fn a_deleted_topic_gives_its_space_back() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let size = || -> u64 {
        let files = std::fs::read_dir(dir.path()).expect("there");
        files.map(|f| f.expect("a file").metadata().expect("its length").len()).sum()
    };
    let broker = start(&runtime, Some(dir.path()));
    let producer: BaseProducer = config(broker.listeners()[0].address, &[]).create().expect("a client");
    let value = "x".repeat(900_000);
    for _ in 0..150 {
        while producer.send(BaseRecord::<str, str>::to("big").payload(&value)).is_err() {
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(LONG).expect("all are acknowledged");
    produce(broker.listeners()[0].address, "kept", &[], 0..100);
    let consumer: BaseConsumer =
        config(broker.listeners()[0].address, &[("group.id", "g")]).create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("kept", 0, Offset::Offset(7)).expect("a place");
    consumer.commit(&list, CommitMode::Sync).expect("kept");
    let before = size();
    let admin: AdminClient<DefaultClientContext> =
        config(broker.listeners()[0].address, &[]).create().expect("a client");
    let deleted = runtime.block_on(admin.delete_topics(&["big"], &AdminOptions::new())).expect("an answer");
    assert!(deleted[0].is_ok(), "{deleted:?}");
    assert!(before > 130_000_000 && size() < 40_000_000, "{before} became {}", size());
    drop((producer, consumer, admin));
    runtime.block_on(broker.shutdown());

    let broker = start(&runtime, Some(dir.path()));
    assert_eq!(consume(broker.listeners()[0].address, "kept", 0, Offset::Beginning), expected(0..100));
    let consumer: BaseConsumer =
        config(broker.listeners()[0].address, &[("group.id", "g")]).create().expect("a client");
    assert_eq!(consumer.fetch_metadata(None, LONG).expect("an answer").topics().len(), 1);
    let mut list = TopicPartitionList::new();
    list.add_partition("kept", 0);
    let kept = consumer.committed_offsets(list, LONG).expect("an answer");
    assert_eq!(kept.elements()[0].offset(), Offset::Offset(7));
}

#[test]
fn a_group_shares_partitions_and_goes_on_where_it_committed() {
    let runtime = runtime();
    let broker = start(&runtime, None);
    produce(broker.listeners()[0].address, "t", &[], 0..50);
    let settings = [("group.id", "g"), ("auto.offset.reset", "earliest"), ("enable.auto.commit", "false")];
    let read = |n: usize| {
        let consumer: BaseConsumer =
            config(broker.listeners()[0].address, &settings).create().expect("a client");
        consumer.subscribe(&["t"]).expect("a topic");
        let mut offsets = vec![];
        while offsets.len() < n {
            if let Some(m) = consumer.poll(LONG) {
                let m = m.expect("a record");
                offsets.push(m.offset());
                consumer.commit_message(&m, CommitMode::Sync).expect("kept");
            }
        }
        offsets
    };
    assert_eq!(read(20), (0..20).collect::<Vec<_>>());
    assert_eq!(read(5), (20..25).collect::<Vec<_>>());
}

fn transactional(address: SocketAddr, id: &str, more: &[(&str, &str)]) -> BaseProducer {
    let settings = [&[("transactional.id", id)], more].concat();
    let producer: BaseProducer = config(address, &settings).create().expect("a client");
    producer.init_transactions(LONG).expect("a number");
    producer
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, value: &str) {
    let record = BaseRecord::<str, str>::to(topic).partition(partition).payload(value);
    producer.send(record).map_err(|e| e.0).expect("room");
}

/// The values of partition 0 that a reader sees.
fn seen(address: SocketAddr, topic: &str, isolation: &str) -> Vec<String> {
    let settings = [("group.id", "reader"), ("enable.partition.eof", "true"), ("isolation.level", isolation)];
    let consumer: BaseConsumer = config(address, &settings).create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("a place");
    consumer.assign(&list).expect("a list");
    let mut values = vec![];
    loop {
        match consumer.poll(LONG) {
            Some(Ok(m)) => values.push(String::from_utf8_lossy(m.payload().expect("a value")).into_owned()),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return values,
            other => panic!("{other:?}"),
        }
    }
}

const BOTH: [&str; 2] = ["read_committed", "read_uncommitted"];

#[test]
fn transactions_show_all_or_nothing() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    for dir in [None, Some(dir.path())] {
        let broker = start(&runtime, dir);
        let address = broker.listeners()[0].address;
        create(&runtime, address, "t", &[]);
        let producer = transactional(address, "a", &[]);
        producer.begin_transaction().expect("begun");
        send(&producer, "t", 0, "one");
        producer.flush(LONG).expect("written");
        assert_eq!(BOTH.map(|i| seen(address, "t", i).len()), [0, 1], "it is not decided yet");
        producer.commit_transaction(LONG).expect("committed");
        producer.begin_transaction().expect("begun");
        send(&producer, "t", 0, "two");
        producer.flush(LONG).expect("written");
        producer.abort_transaction(LONG).expect("aborted");
        producer.begin_transaction().expect("begun");
        send(&producer, "t", 0, "three");
        // Offsets are committed with it, or not at all.
        let consumer: BaseConsumer = config(address, &[("group.id", "g")]).create().expect("a client");
        let kept = || {
            let client: BaseConsumer = config(address, &[("group.id", "g")]).create().expect("a client");
            let mut list = TopicPartitionList::new();
            list.add_partition("t", 0);
            client.committed_offsets(list, LONG).map(|l| l.elements()[0].offset())
        };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("t", 0, Offset::Offset(5)).expect("a place");
        let group = consumer.group_metadata().expect("a group");
        producer.send_offsets_to_transaction(&list, &group, LONG).expect("they wait");
        producer.commit_transaction(LONG).expect("committed");
        assert_eq!(kept(), Ok(Offset::Offset(5)));
        // A second one with the same name fences the first off, and aborts what it had under way.
        producer.begin_transaction().expect("begun");
        send(&producer, "t", 0, "four");
        producer.flush(LONG).expect("written");
        let second = transactional(address, "a", &[]);
        let fenced = producer.commit_transaction(LONG).expect_err("it is fenced off");
        assert!(matches!(fenced, rdkafka::error::KafkaError::Transaction(ref e) if e.is_fatal()), "{fenced}");
        second.begin_transaction().expect("begun");
        send(&second, "t", 0, "five");
        second.commit_transaction(LONG).expect("committed");
        let all = vec!["one", "two", "three", "four", "five"];
        let committed = vec!["one", "three", "five"];
        assert_eq!(BOTH.map(|i| seen(address, "t", i)), [committed.clone(), all.clone()]);
        // What is under way when the broker stops goes on after it.
        second.begin_transaction().expect("begun");
        send(&second, "t", 0, "six");
        second.flush(LONG).expect("written");
        let Some(dir) = dir else { continue };
        runtime.block_on(broker.shutdown());
        let listen = vec![address.into()];
        let config_ = BrokerConfig { dir: Some(dir.into()), listen, ..BrokerConfig::default() };
        let broker = runtime.block_on(Broker::start(config_)).expect("the same port");
        assert_eq!(BOTH.map(|i| seen(address, "t", i).len()), [3, 6]);
        send(&second, "t", 0, "seven");
        second.commit_transaction(LONG).expect("committed");
        assert_eq!(seen(address, "t", BOTH[0]), [&committed[..], &["six", "seven"]].concat());
        assert_eq!(kept(), Ok(Offset::Offset(5)));
        runtime.block_on(broker.shutdown());
    }
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let runtime = runtime();
    let broker = start(&runtime, None);
    let address = broker.listeners()[0].address;
    create(&runtime, address, "t", &[]);
    let slow = transactional(address, "slow", &[("transaction.timeout.ms", "1000")]);
    slow.begin_transaction().expect("begun");
    send(&slow, "t", 0, "slow");
    slow.flush(LONG).expect("written");
    produce(address, "t", &[], 0..1);
    until("what comes after it can be read", || seen(address, "t", BOTH[0]) == ["value 0"]);
    assert!(slow.commit_transaction(LONG).is_err());
}

/// A compacted topic: what was aborted is not the last record of its key.
#[test]
fn compaction_does_not_count_what_was_aborted() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let broker = start(&runtime, Some(dir.path()));
    let address = broker.listeners()[0].address;
    create(&runtime, address, "t", &[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")]);
    let producer = transactional(address, "a", &[]);
    let write = |value: &str, commit: bool| {
        producer.begin_transaction().expect("begun");
        let record = BaseRecord::to("t").partition(0).key("k").payload(value);
        producer.send(record).map_err(|e| e.0).expect("room");
        producer.flush(LONG).expect("written");
        match commit {
            true => producer.commit_transaction(LONG).expect("committed"),
            false => producer.abort_transaction(LONG).expect("aborted"),
        }
    };
    write("1", true);
    write("2", true);
    write("3", false);
    until("the older goes", || seen(address, "t", BOTH[1]) == ["2"]);
    assert_eq!(seen(address, "t", BOTH[0]), ["2"]);
    runtime.block_on(broker.shutdown());
    let broker = start(&runtime, Some(dir.path()));
    assert_eq!(BOTH.map(|i| seen(broker.listeners()[0].address, "t", i)), [["2"], ["2"]]);
}

#[test]
fn other_machines_cannot_reach_it() {
    let config =
        BrokerConfig { listen: vec![SocketAddr::from(([0, 0, 0, 0], 0)).into()], ..BrokerConfig::default() };
    assert!(matches!(runtime().block_on(Broker::start(config)), Err(BrokerError::NotLoopback(_))));
}

#[test]
fn memory_has_a_limit() {
    let runtime = runtime();
    let config_ = BrokerConfig { memory_limit: 50_000, ..BrokerConfig::default() };
    let broker = runtime.block_on(Broker::start(config_)).expect("a free port");
    produce(broker.listeners()[0].address, "t", &[], 0..100);
    let producer: BaseProducer = config(broker.listeners()[0].address, &[]).create().expect("a client");
    let big = "x".repeat(50_000);
    producer.send(BaseRecord::<str, str>::to("t").payload(&big)).map_err(|e| e.0).expect("room");
    producer.flush(LONG).expect("an answer, and no retries");
    assert_eq!(consume(broker.listeners()[0].address, "t", 0, Offset::Beginning), expected(0..100));
}

/// A topic with these settings.
fn create(runtime: &tokio::runtime::Runtime, address: SocketAddr, topic: &str, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = config(address, &[]).create().expect("a client");
    let new =
        settings.iter().fold(NewTopic::new(topic, 1, TopicReplication::Fixed(1)), |t, (k, v)| t.set(k, v));
    let made = runtime.block_on(admin.create_topics(&[new], &AdminOptions::new())).expect("an answer");
    assert!(made[0].is_ok(), "{made:?}");
}

/// Produces (key, value) to partition 0, one batch each; no value marks the key as deleted.
fn produce_keyed(address: SocketAddr, topic: &str, codec: &str, records: &[(String, Option<String>)]) {
    let settings = [("compression.type", codec), ("batch.num.messages", "50")];
    let producer: BaseProducer = config(address, &settings).set("linger.ms", "2").create().expect("a client");
    for (key, value) in records {
        let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(0).key(key);
        record.payload = value.as_deref();
        producer.send(record).map_err(|e| e.0).expect("room");
    }
    producer.flush(LONG).expect("all are acknowledged");
}

/// Offset, key and value of all records of partition 0.
fn keyed(address: SocketAddr, topic: &str) -> Vec<(i64, String, Option<String>)> {
    let settings = [("group.id", "reader"), ("enable.partition.eof", "true"), ("check.crcs", "true")];
    let consumer: BaseConsumer = config(address, &settings).create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("a place");
    consumer.assign(&list).expect("a list");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let mut records = vec![];
    loop {
        match consumer.poll(LONG) {
            Some(Ok(m)) => {
                records.push((m.offset(), m.key().map(text).unwrap_or_default(), m.payload().map(text)))
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return records,
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until it is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn compaction_keeps_the_last_record_of_a_key_whatever_the_codec() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    for dir in [None, Some(dir.path())] {
        let broker = start(&runtime, dir);
        let address = broker.listeners()[0].address;
        let mut expected = BTreeMap::new();
        for codec in ["none", "lz4", "zstd", "gzip", "snappy"] {
            let settings = [
                ("cleanup.policy", "compact"),
                ("min.cleanable.dirty.ratio", "0.01"),
                ("delete.retention.ms", "300"),
            ];
            create(&runtime, address, codec, &settings);
            let key = |n: u32| format!("key {}", n % 70);
            let records: Vec<_> = (0..1_000).map(|n| (key(n), Some(format!("value {n}")))).collect();
            produce_keyed(address, codec, codec, &records);
            let gone: Vec<_> = (0..35).map(|n| (key(n), None)).collect();
            produce_keyed(address, codec, codec, &gone);
            // The last batch stays as it is, so that readers see where the partition ends.
            produce_keyed(address, codec, codec, &[("end".to_string(), Some("end".to_string()))]);
            let mut last: Vec<_> = (930..1_000)
                .filter(|n| n % 70 >= 35)
                .map(|n| (n, key(n as u32), Some(format!("value {n}"))))
                .collect();
            last.push((1_035, "end".to_string(), Some("end".to_string())));
            expected.insert(codec, last);
        }
        for (codec, expected) in &expected {
            until("deleted keys go, and all but the last of the others", || {
                keyed(address, codec) == *expected
            });
        }
        // A record without a key has no place there.
        let producer: BaseProducer = config(address, &[]).create().expect("a client");
        producer.send(BaseRecord::<str, str>::to("none").payload("x")).map_err(|e| e.0).expect("room");
        producer.flush(LONG).expect("an answer, and no retries");
        let consumer: BaseConsumer = config(address, &[("group.id", "g")]).create().expect("a client");
        assert_eq!(consumer.fetch_watermarks("none", 0, LONG).expect("an answer"), (0, 1_036));
        runtime.block_on(broker.shutdown());
        if dir.is_some() {
            let broker = start(&runtime, dir);
            let address = broker.listeners()[0].address;
            for (codec, expected) in &expected {
                assert_eq!(keyed(address, codec), *expected, "{codec}");
            }
            let more = [("new".to_string(), Some("value".to_string()))];
            produce_keyed(address, "lz4", "lz4", &more);
            assert_eq!(keyed(address, "lz4").last().map(|r| r.0), Some(1_036), "offsets are not given again");
        }
    }
}

#[test]
fn old_records_go_by_age_and_size_and_by_request() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let broker = start(&runtime, Some(dir.path()));
    let address = broker.listeners()[0].address;
    let admin: AdminClient<DefaultClientContext> = config(address, &[]).create().expect("a client");
    let start_of = |address, topic: &str| {
        let consumer: BaseConsumer = config(address, &[("group.id", "g")]).create().expect("a client");
        consumer.fetch_watermarks(topic, 0, LONG).expect("an answer")
    };
    // The records of this producer are from 1970.
    create(&runtime, address, "old", &[("message.timestamp.type", "CreateTime")]);
    produce(address, "old", &[], 0..300);
    assert_eq!(start_of(address, "old"), (0, 300));
    let set = AlterConfig::new(ResourceSpecifier::Topic("old")).set("retention.ms", "60000");
    let done = runtime.block_on(admin.alter_configs(&[set], &AdminOptions::new())).expect("an answer");
    assert!(done[0].is_ok(), "{done:?}");
    until("old records go", || start_of(address, "old") == (300, 300));
    create(
        &runtime,
        address,
        "arrived",
        &[("message.timestamp.type", "LogAppendTime"), ("retention.ms", "60000")],
    );
    produce(address, "arrived", &[], 0..300);
    create(&runtime, address, "big", &[("retention.bytes", "20000")]);
    let batches = [("batch.num.messages", "100")];
    produce(address, "big", &batches, 0..2_000);
    until("more records than are kept go", || start_of(address, "big").0 > 1_000);
    let kept = start_of(address, "big");
    assert!(kept.0 < 2_000 && kept.1 == 2_000, "{kept:?}");
    assert_eq!(consume(address, "big", 0, Offset::Beginning), expected(0..2_000)[kept.0 as usize..]);
    produce(address, "cut", &batches, 0..500);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("cut", 0, Offset::Offset(250)).expect("a place");
    runtime.block_on(admin.delete_records(&list, &AdminOptions::new())).expect("an answer");
    assert_eq!(start_of(address, "cut"), (250, 500));
    assert_eq!(consume(address, "cut", 0, Offset::Beginning), expected(0..500)[250..]);

    let described = runtime
        .block_on(admin.describe_configs(&[ResourceSpecifier::Topic("old")], &AdminOptions::new()))
        .expect("an answer");
    let described = described[0].as_ref().expect("it is there");
    assert_eq!(described.get("retention.ms").and_then(|e| e.value.as_deref()), Some("60000"));
    assert!(described.get("cleanup.policy").expect("known").is_default);
    runtime.block_on(broker.shutdown());

    let broker = start(&runtime, Some(dir.path()));
    let address = broker.listeners()[0].address;
    assert_eq!(start_of(address, "old"), (300, 300));
    assert_eq!(start_of(address, "big").0, kept.0);
    assert_eq!(start_of(address, "cut"), (250, 500));
    assert_eq!(start_of(address, "arrived"), (0, 300), "these are as old as their arrival");
    // Offsets by time count from the arrival too.
    let consumer: BaseConsumer = config(address, &[("group.id", "g")]).create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("arrived", 0, Offset::Offset(1_600_000_000_000)).expect("a place");
    let found = consumer.offsets_for_times(list, LONG).expect("an answer");
    assert_eq!(found.elements()[0].offset(), Offset::Offset(0));
}

/// One topic keeps its first records for ever, another lets them go: the space comes back all the same.
#[test]
fn space_comes_back_though_the_oldest_records_stay() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let size = || -> u64 {
        let files = std::fs::read_dir(dir.path()).expect("there");
        files.map(|f| f.expect("a file").metadata().map_or(0, |m| m.len())).sum()
    };
    let broker = start(&runtime, Some(dir.path()));
    let address = broker.listeners()[0].address;
    produce(address, "kept", &[], 0..1_000);
    create(&runtime, address, "flood", &[("retention.bytes", "1000000")]);
    let producer: BaseProducer = config(address, &[]).create().expect("a client");
    let value = "x".repeat(900_000);
    for _ in 0..300 {
        while producer.send(BaseRecord::<str, str>::to("flood").payload(&value)).is_err() {
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(LONG).expect("all are acknowledged");
    until("space comes back", || size() < 140 << 20);
    assert_eq!(consume(address, "kept", 0, Offset::Beginning), expected(0..1_000));
    runtime.block_on(broker.shutdown());
    let broker = start(&runtime, Some(dir.path()));
    assert_eq!(consume(broker.listeners()[0].address, "kept", 0, Offset::Beginning), expected(0..1_000));
}

#[test]
fn groups_are_listed_described_and_deleted() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let broker = start(&runtime, Some(dir.path()));
    let address = broker.listeners()[0].address;
    produce(address, "t", &[], 0..10);
    let admin: AdminClient<DefaultClientContext> = config(address, &[]).create().expect("a client");
    let settings = [("group.id", "g"), ("auto.offset.reset", "earliest"), ("client.id", "reader")];
    let consumer: BaseConsumer = config(address, &settings).create().expect("a client");
    consumer.subscribe(&["t"]).expect("a topic");
    // Assignments come through polls too.
    let m = (0..10).find_map(|_| consumer.poll(LONG)).expect("a record").expect("sound");
    consumer.commit_message(&m, CommitMode::Sync).expect("kept");
    let state = |address| {
        let client: BaseConsumer = config(address, &[("group.id", "other")]).create().expect("a client");
        let groups = client.fetch_group_list(Some("g"), LONG).expect("an answer");
        groups.groups().iter().map(|g| (g.state().to_string(), g.members().len())).collect::<Vec<_>>()
    };
    assert_eq!(state(address), [("Stable".to_string(), 1)]);
    let refused = runtime.block_on(admin.delete_groups(&["g"], &AdminOptions::new())).expect("an answer");
    assert_eq!(refused[0].as_ref().map_err(|e| e.1), Err(RDKafkaErrorCode::NonEmptyGroup));
    drop(m);
    drop(consumer);
    until("the member leaves", || state(address) == [("Empty".to_string(), 0)]);
    let deleted = runtime.block_on(admin.delete_groups(&["g"], &AdminOptions::new())).expect("an answer");
    assert!(deleted[0].is_ok(), "{deleted:?}");
    let again = runtime.block_on(admin.delete_groups(&["g"], &AdminOptions::new())).expect("an answer");
    assert_eq!(again[0].as_ref().map_err(|e| e.1), Err(RDKafkaErrorCode::GroupIdNotFound));
    runtime.block_on(broker.shutdown());
    let broker = start(&runtime, Some(dir.path()));
    let consumer: BaseConsumer =
        config(broker.listeners()[0].address, &[("group.id", "g")]).create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition("t", 0);
    let kept = consumer.committed_offsets(list, LONG).expect("an answer");
    assert_eq!(kept.elements()[0].offset(), Offset::Invalid);
}

// ---- bytes ----

/// Sends a frame and gives the answer; none: the connection was closed.
fn exchange(address: SocketAddr, frame: &[u8]) -> Option<Vec<u8>> {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(LONG)).expect("a time");
    socket.write_all(&(frame.len() as i32).to_be_bytes()).ok()?;
    socket.write_all(frame).ok()?;
    let mut length = [0; 4];
    socket.read_exact(&mut length).ok()?;
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn garbage_closes_its_connection_only() {
    let runtime = runtime();
    let broker = start(&runtime, None);
    let address = broker.listeners()[0].address;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 2, 0, 1], &[0xff; 64], &[0, 0, 0, 2, 1, 1]] {
        let mut socket = TcpStream::connect(address).expect("it listens");
        socket.write_all(bytes).expect("sent");
        assert!(matches!(socket.read(&mut [0; 16]), Ok(0) | Err(_)), "{bytes:?}");
    }
    // Lists that claim billions of elements, at every place of a Metadata request of version 1.
    let claims = |n: i32| [&[0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff][..], &n.to_be_bytes()].concat();
    for n in [i32::MAX, i32::MIN, 1 << 30, 1] {
        assert_eq!(exchange(address, &claims(n)), None, "{n}");
    }
    assert!(exchange(address, &claims(-1)).is_some());
    // Everything else: random bytes after each header.
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u8
    };
    for key in 0..70u8 {
        for version in 0..14u8 {
            let mut frame = vec![0, key, 0, version, 0, 0, 0, 1, 0xff, 0xff];
            // Join, sync and long polls may take their time: what counts is that nobody falls.
            if matches!(key, 1 | 11 | 14) {
                frame.truncate(9);
            }
            let n = usize::from(random()) % 60;
            frame.extend((0..n).map(|_| random() & 0x83));
            let mut socket = TcpStream::connect(address).expect("it listens");
            socket.write_all(&(frame.len() as i32).to_be_bytes()).expect("sent");
            let _ = socket.write_all(&frame);
        }
    }
    produce(address, "t", &[], 0..10);
    assert_eq!(consume(address, "t", 0, Offset::Beginning), expected(0..10));
}

/// Not a test: the broker of the one below, in a process that can be killed.
#[test]
#[ignore = "started by the test of kills"]
fn child() {
    let Some(dir) = std::env::var_os("BROKER_TEST_DIR") else { return };
    let runtime = runtime();
    let broker = start(&runtime, Some(Path::new(&dir)));
    println!("listening {}", broker.listeners()[0].address);
    std::thread::sleep(Duration::from_secs(120));
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let spawn = || {
        let mut child = Command::new(std::env::current_exe().expect("this file"))
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env("BROKER_TEST_DIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let mut out = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("listening ") {
            line.clear();
            assert!(
                std::io::BufRead::read_line(&mut out, &mut line).expect("text") > 0,
                "the broker did not start"
            );
        }
        let address: SocketAddr =
            line.split("listening ").nth(1).and_then(|a| a.trim().parse().ok()).expect("an address");
        (child, address)
    };
    let mut acknowledged = 0u32;
    for round in 0..4 {
        let (mut child, address) = spawn();
        let before = if round == 0 { vec![] } else { consume(address, "t", 0, Offset::Beginning) };
        assert!(before.len() as u32 >= acknowledged, "round {round}: {} < {acknowledged}", before.len());
        let numbers: Vec<_> = before.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(numbers, (0..numbers.len() as i64).collect::<Vec<_>>(), "round {round}");
        // Each flush is an acknowledgement; the kill comes while the next records are under way.
        let from = before.len() as u32;
        produce(address, "t", &[], from..from + 200);
        acknowledged = from + 200;
        let producer: BaseProducer = config(address, &[("linger.ms", "0")]).create().expect("a client");
        for n in acknowledged..acknowledged + 100 {
            let value = format!("value {n}");
            let headers =
                OwnedHeaders::new().insert(rdkafka::message::Header { key: "n", value: Some(&value) });
            let record = BaseRecord::to("t").partition(0).key("key").payload(&value).headers(headers);
            let _ = producer.send(record);
            producer.poll(Duration::ZERO);
        }
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    let (mut child, address) = spawn();
    let all = consume(address, "t", 0, Offset::Beginning);
    assert_eq!(all, expected(0..all.len() as u32));
    assert!(all.len() as u32 >= acknowledged);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}
