//! What the world does to a broker: kills, power cuts, full disks, crowds, and clients that ask for too much.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use broker::{Broker, BrokerConfig};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use storage::sim::SimFs;

const LONG: Duration = Duration::from_secs(20);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
}

fn config(address: SocketAddr, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string()).set("log_level", "0");
    for (k, v) in settings {
        config.set(*k, *v);
    }
    config
}

fn create(runtime: &tokio::runtime::Runtime, address: SocketAddr, topics: &[(String, i32)]) {
    let admin: AdminClient<DefaultClientContext> = config(address, &[]).create().expect("a client");
    let topics: Vec<_> =
        topics.iter().map(|(name, n)| NewTopic::new(name, *n, TopicReplication::Fixed(1))).collect();
    let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).expect("an answer");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, value: &str) {
    loop {
        let record = BaseRecord::<str, str>::to(topic).partition(partition).payload(value);
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(10));
            }
            Err((e, _)) => panic!("{e}"),
        }
    }
}

/// The values of a partition, in order.
fn values(address: SocketAddr, topic: &str, partition: i32) -> Vec<u64> {
    read(address, topic, partition).into_iter().map(|(_, _, value)| value).collect()
}

/// Offset, key and value of the committed records of a partition.
fn read(address: SocketAddr, topic: &str, partition: i32) -> Vec<(i64, String, u64)> {
    let settings = [
        ("group.id", "reader"),
        ("enable.partition.eof", "true"),
        ("check.crcs", "true"),
        ("isolation.level", "read_committed"),
    ];
    let consumer: BaseConsumer = config(address, &settings).create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Beginning).expect("a place");
    consumer.assign(&list).expect("a list");
    let mut records = vec![];
    loop {
        match consumer.poll(LONG) {
            Some(Ok(m)) => {
                let key = String::from_utf8_lossy(m.key().unwrap_or_default()).into_owned();
                records.push((m.offset(), key, number(&m)));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return records,
            other => panic!("{other:?}"),
        }
    }
}

fn number(m: &impl Message) -> u64 {
    let text = std::str::from_utf8(m.payload().expect("a value")).expect("text");
    text.parse().expect("a number")
}

/// Another process that is a broker, on this port or any.
fn spawn(dir: &Path, port: u16) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().expect("this file"))
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("BROKER_TEST_DIR", dir)
        .env("BROKER_TEST_PORT", port.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("listening ") {
        line.clear();
        assert!(out.read_line(&mut line).expect("text") > 0, "the broker did not start");
    }
    let address = line.split("listening ").nth(1).and_then(|a| a.trim().parse().ok()).expect("an address");
    (child, address)
}

#[test]
#[ignore = "started by the test of kills"]
fn child() {
    let Some(dir) = std::env::var_os("BROKER_TEST_DIR") else { return };
    let port = std::env::var("BROKER_TEST_PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(0);
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], port)).into()];
    let config = BrokerConfig { dir: Some(dir.into()), listen, ..BrokerConfig::default() };
    let broker = runtime().block_on(async {
        let broker = Broker::start(config).await.expect("it starts");
        println!("listening {}", broker.listeners()[0].address);
        tokio::time::sleep(Duration::from_secs(1_200)).await;
        broker
    });
    drop(broker);
}

const PARTITIONS: i32 = 4;

/// A member of a group that reads until it has seen all, and sees nothing again that it has committed.
fn read_all(address: SocketAddr, group: &str, all: u64, seen: &AtomicU64) -> BTreeSet<u64> {
    let settings = [
        ("group.id", group),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("reconnect.backoff.max.ms", "200"),
        ("session.timeout.ms", "6000"),
    ];
    let consumer: BaseConsumer = config(address, &settings).create().expect("a client");
    consumer.subscribe(&["t"]).expect("a topic");
    let mut numbers = BTreeSet::new();
    let (mut committed, mut uncommitted) = (BTreeMap::new(), 0);
    let start = Instant::now();
    while (numbers.len() as u64) < all {
        assert!(start.elapsed() < 20 * LONG, "{group}: {} of {all}", numbers.len());
        if let Some(Ok(m)) = consumer.poll(Duration::from_millis(100)) {
            let kept = committed.get(&m.partition()).copied().unwrap_or(0);
            assert!(m.offset() >= kept, "{group}: {} of {} again", m.offset(), m.partition());
            numbers.insert(number(&m));
            uncommitted += 1;
        }
        if uncommitted >= COMMIT_EVERY {
            uncommitted = 0;
            // A broker that is away takes no commit; what follows is committed with the next.
            if consumer.commit_consumer_state(CommitMode::Sync).is_ok()
                && let Ok(list) = consumer.committed(LONG)
            {
                committed = list
                    .elements()
                    .iter()
                    .map(|e| (e.partition(), e.offset().to_raw().unwrap_or(0)))
                    .collect();
            }
        }
        seen.store(numbers.len() as u64, Ordering::Relaxed);
    }
    numbers
}

const COMMIT_EVERY: u32 = 500;

/// An idempotent producer and two groups, while the broker is killed again and again: every message once and in order in
/// the topic, and at each group until it is committed. `BROKER_KILLS=20 BROKER_MESSAGES=200000` is the large size.
#[test]
fn nothing_is_lost_or_written_twice_though_the_broker_is_killed() {
    let size =
        |name: &str, small: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(small);
    let (kills, all) = (size("BROKER_KILLS", 3), size("BROKER_MESSAGES", 12_000));
    let dir = tempfile::tempdir().expect("a directory");
    let (mut child, address) = spawn(dir.path(), 0);
    create(&runtime(), address, &[("t".into(), PARTITIONS)]);
    let (seen, done) = ([AtomicU64::new(0), AtomicU64::new(0)], AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let settings = [
                ("enable.idempotence", "true"),
                ("message.timeout.ms", "300000"),
                ("reconnect.backoff.max.ms", "200"),
                ("linger.ms", "2"),
            ];
            let producer: BaseProducer = config(address, &settings).create().expect("a client");
            let start = Instant::now();
            for n in 0..all {
                send(&producer, "t", (n % PARTITIONS as u64) as i32, &n.to_string());
                if n % 100 == 0 {
                    // Not faster than the readers, so that kills find all of them at work.
                    while n > seen[0].load(Ordering::Relaxed) + all / 10 && start.elapsed() < 20 * LONG {
                        producer.poll(Duration::from_millis(5));
                    }
                    producer.poll(Duration::ZERO);
                }
            }
            producer.flush(5 * LONG).expect("all are acknowledged");
            done.store(true, Ordering::Relaxed);
        });
        let readers: Vec<_> = ["a", "b"]
            .into_iter()
            .zip(&seen)
            .map(|(group, seen)| scope.spawn(move || read_all(address, group, all, seen)))
            .collect();
        for kill in 1..=kills {
            let start = Instant::now();
            while seen[0].load(Ordering::Relaxed) < kill * all / (kills + 1) {
                assert!(start.elapsed() < 10 * LONG, "it goes on after kill {}", kill - 1);
                std::thread::sleep(Duration::from_millis(5));
            }
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            child = spawn(dir.path(), address.port()).0;
        }
        for reader in readers {
            assert!(reader.join().expect("a reader").into_iter().eq(0..all));
        }
    });
    assert!(done.load(Ordering::Relaxed));
    for partition in 0..PARTITIONS {
        let expected = (0..all).filter(|n| n % PARTITIONS as u64 == partition as u64);
        assert!(values(address, "t", partition).into_iter().eq(expected), "partition {partition}");
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

fn simulated(fs: &SimFs) -> (Arc<SimFs>, BrokerConfig) {
    let config = BrokerConfig { dir: Some(PathBuf::from("/kafka")), ..BrokerConfig::default() };
    (Arc::new(fs.clone()), config)
}

/// Power cuts at any moment of writing: what was acknowledged is there, in order, and nothing half.
#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let runtime = runtime();
    let mut disk = SimFs::new();
    let mut acknowledged = 0;
    for round in 0..8 {
        let (fs, config_) = simulated(&disk);
        let broker = runtime.block_on(Broker::start_on(fs, config_)).expect("it starts");
        let address = broker.listeners()[0].address;
        let before = if round == 0 { vec![] } else { values(address, "t", 0) };
        let n = before.len() as u64;
        assert!(n >= acknowledged && before.into_iter().eq(0..n), "round {round}: {n}, {acknowledged}");
        let producer: BaseProducer = config(address, &[("linger.ms", "0")]).create().expect("a client");
        (n..n + 50).for_each(|n| send(&producer, "t", 0, &n.to_string()));
        producer.flush(LONG).expect("all are acknowledged");
        acknowledged = n + 50;
        (acknowledged..acknowledged + 100).for_each(|n| send(&producer, "t", 0, &n.to_string()));
        producer.poll(Duration::from_millis(round % 4));
        let cut = disk.power_cut(round);
        drop(producer);
        runtime.block_on(broker.shutdown());
        disk = cut;
    }
}

/// Waits until it is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Power cuts while transactions end, old records go and a topic is compacted. A transaction holds in both partitions and
/// with its offsets, or not at all; what was let go makes no hole; no key falls back behind what was acknowledged.
/// `BROKER_CUTS` says how often the power goes.
#[test]
fn transactions_retention_and_compaction_survive_power_cuts() {
    const ABORTED: u64 = 1_000_000;
    let runtime = runtime();
    let mut disk = SimFs::new();
    // What was acknowledged: the last transaction, how many records of the log, the last value of each key.
    let (mut committed, mut logged, mut keyed) = (Vec::<u64>::new(), 0, BTreeMap::<String, u64>::new());
    let mut next = 0;
    let cuts = std::env::var("BROKER_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(3u64);
    for round in 0..=cuts {
        let (fs, config_) = simulated(&disk);
        let broker = runtime.block_on(Broker::start_on(fs, config_)).expect("it starts");
        let address = broker.listeners()[0].address;
        if round == 0 {
            let admin: AdminClient<DefaultClientContext> = config(address, &[]).create().expect("a client");
            let topic = |name, n| NewTopic::new(name, n, TopicReplication::Fixed(1));
            let topics = [
                topic("out", 2),
                topic("log", 1).set("retention.bytes", "2000"),
                topic("kept", 1).set("cleanup.policy", "compact").set("min.cleanable.dirty.ratio", "0"),
            ];
            let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new()));
            assert!(made.expect("an answer").iter().all(Result::is_ok));
        }
        let exact: BaseProducer =
            config(address, &[("transactional.id", "x"), ("linger.ms", "0")]).create().expect("a client");
        exact.init_transactions(LONG).expect("what was under way is decided");
        let [one, two] = [0, 1].map(|p| values(address, "out", p));
        assert_eq!(one, two, "round {round}");
        // The one that was being committed when the power went may be there.
        assert!(one.starts_with(&committed) && one.len() <= committed.len() + 1, "{one:?}, {committed:?}");
        committed = one;
        let consumer: BaseConsumer = config(address, &[("group.id", "g")]).create().expect("a client");
        let mut list = TopicPartitionList::new();
        list.add_partition("out", 0);
        let kept = consumer.committed_offsets(list, LONG).expect("an answer");
        let expected = committed.last().map_or(Offset::Invalid, |n| Offset::Offset(*n as i64 + 1));
        assert_eq!(kept.elements()[0].offset(), expected, "round {round}");
        let log = read(address, "log", 0);
        assert!(log.iter().all(|(offset, _, value)| *offset as u64 == *value), "{log:?}");
        assert!(log.windows(2).all(|pair| pair[0].2 + 1 == pair[1].2), "round {round}: {log:?}");
        let end = log.last().map_or(logged, |l| l.2 + 1);
        assert!(end >= logged, "round {round}: {end}, {logged}");
        let now: BTreeMap<_, _> = read(address, "kept", 0).into_iter().map(|(_, k, v)| (k, v)).collect();
        for (key, value) in &keyed {
            assert!(now.get(key) >= Some(value), "round {round}: {key} {value}, {now:?}");
        }

        let start = consumer.fetch_watermarks("log", 0, LONG).expect("an answer").0;
        // Each a batch: the last one of a partition is not compacted.
        let settings = [("linger.ms", "0"), ("batch.num.messages", "1")];
        let plain: BaseProducer = config(address, &settings).create().expect("a client");
        logged = end;
        let write = |n: u64, key: u64| {
            send(&plain, "log", 0, &n.to_string());
            let (key, value) = (format!("k{key}"), n.to_string());
            let record = BaseRecord::to("kept").partition(0).key(&key).payload(&value);
            plain.send(record).map_err(|e| e.0).expect("room");
            (key, n)
        };
        for n in 0..60 {
            keyed.extend([write(logged, n % 5)]);
            logged += 1;
        }
        let both = |value: u64| (0..2).for_each(|p| send(&exact, "out", p, &value.to_string()));
        let group = consumer.group_metadata().expect("a group");
        let begin = |n: u64| {
            exact.begin_transaction().expect("begun");
            both(n);
            let mut list = TopicPartitionList::new();
            list.add_partition_offset("out", 0, Offset::Offset(n as i64 + 1)).expect("a place");
            exact.send_offsets_to_transaction(&list, &group, LONG).expect("they wait");
        };
        for n in 0..4 {
            exact.begin_transaction().expect("begun");
            both(ABORTED + n);
            exact.flush(LONG).expect("written");
            exact.abort_transaction(LONG).expect("aborted");
            begin(next);
            exact.commit_transaction(LONG).expect("committed");
            committed.push(next);
            next += 1;
        }
        plain.flush(LONG).expect("all are acknowledged");
        until("old records go and keys are compacted", || {
            let low = consumer.fetch_watermarks("log", 0, LONG).expect("an answer").0;
            low > start && read(address, "kept", 0).len() < 30
        });
        begin(next);
        (0..40).for_each(|n| drop(write(logged + n, n % 5)));
        let cut = std::thread::scope(|scope| {
            let commit = scope.spawn(|| exact.commit_transaction(LONG));
            plain.poll(Duration::from_millis(round % 4));
            let cut = disk.power_cut(round);
            commit.join().expect("no panic").expect("committed, where the power did not go");
            cut
        });
        next += 1;
        drop((exact, plain, consumer));
        runtime.block_on(broker.shutdown());
        disk = cut;
    }
}

/// Requests of nearly 100 MB are served, several at once; what is longer than its topic allows is refused by name.
#[test]
fn long_messages_are_served_and_longer_ones_refused() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let config_ = BrokerConfig { dir: Some(dir.path().into()), ..BrokerConfig::default() };
    let broker = runtime.block_on(Broker::start(config_)).expect("a free port");
    let address = broker.listeners()[0].address;
    let admin: AdminClient<DefaultClientContext> = config(address, &[]).create().expect("a client");
    let topic = NewTopic::new("long", 4, TopicReplication::Fixed(1)).set("max.message.bytes", "60000000");
    let made = runtime.block_on(admin.create_topics(&[topic], &AdminOptions::new())).expect("an answer");
    assert!(made[0].is_ok(), "{made:?}");
    let settings = [("message.max.bytes", "100000000"), ("linger.ms", "0"), ("message.timeout.ms", "60000")];
    let long = vec![b'x'; 50_000_000];
    let put = |partition: i32, bytes: &[u8]| {
        let producer: BaseProducer<Kept> =
            config(address, &settings).create_with_context(Kept::default()).expect("a client");
        let record = BaseRecord::<str, [u8]>::to("long").partition(partition).payload(bytes);
        producer.send(record).map_err(|e| e.0).expect("room");
        producer.flush(3 * LONG).expect("an answer");
        producer.context().0.lock().expect("kept").take()
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|p| {
                scope.spawn({
                    let (put, long) = (&put, &long);
                    move || put(p, long)
                })
            })
            .collect();
        all.into_iter().for_each(|p| assert_eq!(p.join().expect("no panic"), None));
    });
    let refused = put(0, &[&long[..], &long[..12_000_000]].concat()).expect("it is refused");
    assert_eq!(refused.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageSizeTooLarge));
    let settings = [
        ("group.id", "g"),
        ("fetch.message.max.bytes", "60000000"),
        ("receive.message.max.bytes", "200000000"),
    ];
    let consumer: BaseConsumer = config(address, &settings).create().expect("a client");
    let mut list = TopicPartitionList::new();
    (0..4).for_each(|p| drop(list.add_partition_offset("long", p, Offset::Beginning)));
    consumer.assign(&list).expect("a list");
    for _ in 0..4 {
        let m = consumer.poll(3 * LONG).expect("a message").expect("sound");
        assert!(m.payload() == Some(&long[..]));
    }
}

/// Who asks for much and takes nothing holds memory for a while; the others get their records all the same.
#[test]
fn slow_consumers_do_not_stop_the_others() {
    use kafka_protocol::messages::{ApiKey, FetchRequest, RequestHeader, TopicName, fetch_request};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let config_ = BrokerConfig { dir: Some(dir.path().into()), ..BrokerConfig::default() };
    let broker = runtime.block_on(Broker::start(config_)).expect("a free port");
    let address = broker.listeners()[0].address;
    create(&runtime, address, &[("t".into(), 1)]);
    let producer: BaseProducer = config(address, &[]).create().expect("a client");
    let padding = "0".repeat(200_000);
    (0..300).for_each(|n| send(&producer, "t", 0, &format!("{padding}{n}")));
    producer.flush(LONG).expect("all are acknowledged");
    let partition = fetch_request::FetchPartition::default().with_partition_max_bytes(i32::MAX);
    let topic = fetch_request::FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("t")))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default().with_max_bytes(i32::MAX).with_topics(vec![topic]);
    let mut frame = bytes::BytesMut::new();
    let header =
        RequestHeader::default().with_request_api_key(ApiKey::Fetch as i16).with_request_api_version(4);
    header.encode(&mut frame, ApiKey::Fetch.request_header_version(4)).expect("a header");
    request.encode(&mut frame, 4).expect("a request");
    let slow: Vec<_> = (0..12)
        .map(|_| {
            let mut socket = TcpStream::connect(address).expect("it listens");
            socket.write_all(&(frame.len() as i32).to_be_bytes()).expect("sent");
            socket.write_all(&frame).expect("sent");
            // The answer begins, and nobody takes the rest.
            socket.read_exact(&mut [0; 4]).expect("a length");
            socket
        })
        .collect();
    assert!(values(address, "t", 0).into_iter().eq(0..300));
    drop(slow);
}

#[test]
fn a_full_disk_refuses_records_and_serves_them() {
    let runtime = runtime();
    let disk = SimFs::new();
    let (fs, config_) = simulated(&disk);
    let broker = runtime.block_on(Broker::start_on(fs, config_)).expect("it starts");
    let address = broker.listeners()[0].address;
    let settings = [("retries", "0"), ("linger.ms", "0")];
    let producer: BaseProducer<Kept> =
        config(address, &settings).create_with_context(Kept::default()).expect("a client");
    let send = |value: &str| {
        let record = BaseRecord::<str, str>::to("t").partition(0).payload(value);
        producer.send(record).map_err(|e| e.0).expect("room");
        producer.flush(LONG).expect("an answer");
        producer.context().0.lock().expect("kept").take()
    };
    assert_eq!(send("1"), None);
    disk.set_capacity(Some(disk.used()));
    for _ in 0..3 {
        let refused = send("2").expect("it is refused");
        assert_eq!(refused.rdkafka_error_code(), Some(RDKafkaErrorCode::KafkaStorageError));
    }
    assert_eq!(values(address, "t", 0), [1], "reading goes on");
    assert!(!broker.has_failed());
    disk.set_capacity(None);
    assert_eq!(send("3"), None);
    assert_eq!(values(address, "t", 0), [1, 3]);
}

/// A small disk of its own; gone when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// None: this user may not mount one.
    fn mount(megabytes: u32) -> Option<Tmpfs> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]).arg(dir.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|s| s.success());
        mounted.then_some(Tmpfs(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// The same on a real file system that fills up, with big records.
#[test]
fn a_full_tmpfs_refuses_records_and_serves_them() {
    let Some(disk) = Tmpfs::mount(80) else {
        eprintln!("skipped: no tmpfs can be mounted here");
        return;
    };
    let runtime = runtime();
    let config_ = BrokerConfig { dir: Some(disk.0.path().join("kafka")), ..BrokerConfig::default() };
    let broker = runtime.block_on(Broker::start(config_)).expect("it starts");
    let address = broker.listeners()[0].address;
    let settings = [("retries", "0"), ("linger.ms", "0")];
    let producer: BaseProducer<Kept> =
        config(address, &settings).create_with_context(Kept::default()).expect("a client");
    let padding = "0".repeat(900_000);
    let send = |topic: &str, n: u64| {
        let value = format!("{padding}{n}");
        let record = BaseRecord::<str, str>::to(topic).partition(0).payload(&value);
        producer.send(record).map_err(|e| e.0).expect("room");
        producer.flush(LONG).expect("an answer");
        producer.context().0.lock().expect("kept").take()
    };
    assert_eq!(send("kept", 0), None);
    let mut n = 0;
    let refused = loop {
        match send("flood", n) {
            None => n += 1,
            Some(refused) => break refused,
        }
        assert!(n < 100, "it is never full");
    };
    assert_eq!(refused.rdkafka_error_code(), Some(RDKafkaErrorCode::KafkaStorageError));
    assert!(n > 60 && values(address, "flood", 0).into_iter().eq(0..n), "{n}");
    assert_eq!(values(address, "kept", 0), [0]);
    assert!(!broker.has_failed());
    runtime.block_on(broker.shutdown());
}

/// The last refusal.
#[derive(Default)]
struct Kept(std::sync::Mutex<Option<KafkaError>>);

impl rdkafka::ClientContext for Kept {}

impl rdkafka::producer::ProducerContext for Kept {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, _: ()) {
        if let Err((e, _)) = result {
            *self.0.lock().expect("kept") = Some(e.clone());
        }
    }
}

/// ApiVersions, version 0: the smallest question.
fn alive(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(LONG)).expect("a time");
    let question = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let mut length = [0; 4];
    if socket.write_all(&question).is_err() || socket.read_exact(&mut length).is_err() {
        return false;
    }
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer).is_ok() && answer[..4] == [0, 0, 0, 1]
}

/// The most memory that a process has had, in bytes.
fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let most = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("a line");
    most.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Every request in every version, cut off at every byte, with bytes changed, put in and claimed: some answer or none, and the
/// broker lives with the memory that it had. `BROKER_FUZZ` says how many changes are made to each.
#[test]
fn damaged_requests_harm_nobody() {
    let rounds = std::env::var("BROKER_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let unhex = |hex: &str| -> Vec<u8> {
        let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex");
        (0..hex.len()).step_by(2).map(byte).collect()
    };
    let corpus: Vec<_> =
        include_str!("corpus.txt").lines().map(|l| unhex(l.rsplit(' ').next().expect("a frame"))).collect();
    assert!(corpus.len() > 150, "{}", corpus.len());
    let dir = tempfile::tempdir().expect("a directory");
    let (mut child, address) = spawn(dir.path(), 0);
    let mut random = storage::sim::Random::new(42);
    let mut below = |n: usize| random.below(n as u64) as usize;
    let mut socket = TcpStream::connect(address).expect("it listens");
    let put = |socket: &mut TcpStream, length: i32, frame: &[u8]| {
        // Whoever was sent garbage may be gone by now.
        if socket.write_all(&[&length.to_be_bytes(), frame].concat()).is_err() {
            *socket = TcpStream::connect(address).expect("it listens");
        }
    };
    for frame in &corpus {
        for n in 0..frame.len() {
            put(&mut socket, n as i32, &frame[..n]);
        }
        for round in 0..rounds {
            let mut bytes = frame.clone();
            // The key and version stay in most: what is no request at all goes by the first check.
            let at = if round % 8 == 7 { below(bytes.len()) } else { 4 + below(bytes.len() - 4) };
            match round % 4 {
                0 => bytes[at] ^= 1 << below(8),
                1 => {
                    let claim =
                        [[0x7f, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0x0f], [0x80, 0, 0, 0]][below(3)];
                    (at..bytes.len().min(at + 4)).for_each(|i| bytes[i] = claim[i - at]);
                }
                2 => drop(bytes.splice(at..at, (0..below(9)).map(|_| 0xff).collect::<Vec<_>>())),
                _ => drop(bytes.splice(at.., (0..below(40)).map(|_| below(256) as u8).collect::<Vec<_>>())),
            }
            put(&mut socket, bytes.len() as i32, &bytes);
        }
        // A frame that claims to be long, and ends.
        put(&mut socket, [i32::MAX, i32::MIN, 100 << 20, -1][below(4)], frame);
        socket = TcpStream::connect(address).expect("it listens");
    }
    let mut socket = TcpStream::connect(address).expect("it listens");
    assert!(alive(&mut socket));
    let most = most_memory(child.id());
    assert!(most < 160 << 20, "{most} bytes");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn crowds_are_served_and_too_much_is_refused() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let config_ = BrokerConfig { dir: Some(dir.path().into()), ..BrokerConfig::default() };
    let broker = runtime.block_on(Broker::start(config_)).expect("a free port");
    let address = broker.listeners()[0].address;
    // 500 connections, all at once.
    let mut crowd: Vec<_> = (0..500).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    assert!(crowd.iter_mut().all(alive));
    // Requests that claim to be long and never come leave room for the others.
    for socket in crowd.iter_mut().take(20) {
        socket.write_all(&(100i32 << 20).to_be_bytes()).expect("sent");
    }
    assert!(crowd.iter_mut().skip(20).all(alive));
    let mut greedy = TcpStream::connect(address).expect("it listens");
    greedy.write_all(&((100i32 << 20) + 1).to_be_bytes()).expect("sent");
    assert_eq!(greedy.read(&mut [0; 1]).unwrap_or(0), 0, "longer than any request");
    drop(crowd);
    // 10,000 partitions, and one too many of a topic.
    let topics: Vec<_> = (0..10).map(|n| (format!("t{n}"), 1_000)).collect();
    create(&runtime, address, &topics);
    let admin: AdminClient<DefaultClientContext> = config(address, &[]).create().expect("a client");
    let wide = NewTopic::new("wide", 1_001, TopicReplication::Fixed(1));
    let refused = runtime.block_on(admin.create_topics(&[wide], &AdminOptions::new())).expect("an answer");
    assert_eq!(refused[0].as_ref().map_err(|e| e.1), Err(RDKafkaErrorCode::InvalidPartitions));
    let producer: BaseProducer = config(address, &[]).create().expect("a client");
    (0..1_000).for_each(|n| send(&producer, "t9", n, &n.to_string()));
    producer.flush(LONG).expect("all are acknowledged");
    drop((producer, admin));
    runtime.block_on(broker.shutdown());
    let config_ = BrokerConfig { dir: Some(dir.path().into()), ..BrokerConfig::default() };
    let broker = runtime.block_on(Broker::start(config_)).expect("a free port");
    let address = broker.listeners()[0].address;
    let consumer: BaseConsumer = config(address, &[("group.id", "g")]).create().expect("a client");
    let metadata = consumer.fetch_metadata(None, LONG).expect("an answer");
    assert_eq!(metadata.topics().iter().map(|t| t.partitions().len()).sum::<usize>(), 10_000);
    assert_eq!(values(address, "t9", 999), [999]);
}
