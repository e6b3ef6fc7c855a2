//! What a user feels of the engine beside throughput: `cargo bench --bench engine [kafka_ingest|freshness|peek|restart|churn]`.
//! Each prints ratios or times of one run. `DELTAMILL_EVENTS` sets how many events are read (default 300,000).

use std::time::{Duration, Instant};

use deltamill::{Config, Engine, Session};
use postgres::{Client, NoTls};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use repr::Datum;
use source::generator::{SegmentEvents, Traffic};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn events() -> u64 {
    std::env::var("DELTAMILL_EVENTS").ok().and_then(|v| v.parse().ok()).unwrap_or(300_000)
}

/// An embedded Kafka on any free port.
fn kafka() -> Option<deltamill::broker::BrokerConfig> {
    Some(deltamill::broker::BrokerConfig::default())
}

fn number(session: &mut Session, sql: &str) -> i64 {
    match session.query(sql).expect("it answers").rows.first().and_then(|r| r.iter().next()) {
        Some(Datum::Numeric(n)) => n.to_i64().unwrap_or(0),
        Some(Datum::Int64(n)) => n,
        _ => 0,
    }
}

fn wait_for(session: &mut Session, sql: &str, n: i64) {
    while number(session, sql) < n {
        std::thread::sleep(Duration::from_millis(2));
    }
}

struct Events {
    producer: BaseProducer,
    generator: SegmentEvents,
    line: Vec<u8>,
}

impl Events {
    fn new(brokers: &str) -> Events {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("linger.ms", "2")
            .create()
            .expect("a producer");
        Events { producer, generator: SegmentEvents::new(Traffic::clean(1)), line: vec![] }
    }

    fn produce(&mut self, n: u64) {
        for _ in 0..n {
            self.line.clear();
            self.generator.fill(&mut self.line);
            while self
                .producer
                .send(BaseRecord::<(), [u8]>::to("segment").partition(0).payload(&self.line[..]))
                .is_err()
            {
                self.producer.poll(Duration::from_millis(5));
            }
        }
        self.producer.poll(Duration::ZERO);
    }

    fn flush(&self) {
        self.producer.flush(Duration::from_secs(60)).expect("the broker takes them")
    }
}

fn source(session: &mut Session, brokers: &str) {
    session
        .run(&format!(
            "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
             CREATE SOURCE s FROM KAFKA CONNECTION k (TOPIC 'segment') FORMAT BYTES"
        ))
        .expect("created");
}

/// From the broker to disk, against a consumer that throws everything away.
fn kafka_ingest() {
    let (dir, n) = (tempfile::tempdir().expect("a folder"), events());
    let broker = Engine::start(Config { kafka: kafka(), ..Config::durable(dir.path().join("broker")) });
    let broker = broker.expect("the broker starts");
    let brokers = broker.kafka_address().expect("it listens").to_string();
    let mut producer = Events::new(&brokers);
    producer.produce(n);
    producer.flush();
    let mut ratios = vec![];
    for round in 0..3 {
        let start = Instant::now();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset("segment", 0, rdkafka::Offset::Beginning).expect("added");
        consumer.assign(&list).expect("assigned");
        let mut got = 0;
        while got < n {
            if let Some(message) = consumer.poll(Duration::from_secs(1)) {
                message.expect("a message");
                got += 1;
            }
        }
        let bare = n as f64 / start.elapsed().as_secs_f64();
        let data = dir.path().join(format!("engine-{round}"));
        let engine = Engine::start(Config::durable(data)).expect("the engine starts");
        let mut session = engine.session();
        let start = Instant::now();
        source(&mut session, &brokers);
        wait_for(&mut session, "SELECT sum(\"offset\") FROM s_progress", n as i64);
        let ours = n as f64 / start.elapsed().as_secs_f64();
        println!(
            "kafka_ingest: source to durable {ours:.0} events/s, bare consumer {bare:.0}, ratio {:.2}",
            ours / bare
        );
        ratios.push(ours / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("kafka_ingest median ratio: {:.2}", ratios[1]);
}

/// Produced → seen by a subscriber, at 10,000 events a second.
fn freshness() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = Engine::start(Config { kafka: kafka(), ..Config::durable(dir.path()) });
    let engine = engine.expect("the engine starts");
    let brokers = engine.kafka_address().expect("it listens").to_string();
    let mut producer = Events::new(&brokers);
    producer.produce(1);
    producer.flush();
    let mut session = engine.session();
    source(&mut session, &brokers);
    session.run("CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM s").expect("created");
    wait_for(&mut session, "SELECT n FROM n", 1);
    let mut changes = engine.session().subscribe("SUBSCRIBE n").expect("followed");
    let seen = std::thread::spawn(move || {
        let mut seen: Vec<(i64, Instant)> = vec![];
        while seen.last().is_none_or(|(n, _)| *n < 50_001) {
            let row = changes.next().expect("a change").expect("a row");
            let datums = row.unpack();
            if let (Datum::Int64(1), Datum::Int64(n)) = (datums[1], datums[2]) {
                seen.push((n, Instant::now()));
            }
        }
        seen
    });
    let mut sent: Vec<(i64, Instant)> = vec![];
    let start = Instant::now();
    for i in 1..=1_000u32 {
        producer.produce(50);
        sent.push((1 + 50 * i64::from(i), Instant::now()));
        let due = start + Duration::from_millis(5) * i;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    producer.flush();
    let seen = seen.join().expect("all are seen");
    let mut lag: Vec<f64> = sent
        .iter()
        .filter_map(|(n, at)| {
            let (_, when) = seen.iter().find(|(s, _)| s >= n)?;
            Some(when.saturating_duration_since(*at).as_secs_f64() * 1e3)
        })
        .collect();
    lag.sort_by(f64::total_cmp);
    let p = |q: usize| lag[(lag.len() - 1) * q / 100];
    println!("freshness at 10,000 events/s: p50 {:.1} ms, p99 {:.1} ms", p(50), p(99));
}

/// A point read through an index, against a statement that reads nothing, both prepared and over the wire.
fn peek() {
    let engine =
        Engine::start(Config { sql_listen: Some(([127, 0, 0, 1], 0).into()), ..Config::ephemeral() })
            .expect("the engine starts");
    let address = engine.sql_address().expect("it listens");
    let (host, port) = (address.ip(), address.port());
    let url = format!("host={host} port={port} user=materialize dbname=materialize");
    let mut client = Client::connect(&url, NoTls).expect("connected");
    client
        .batch_execute(
            "CREATE TABLE t (k int8, v text);
             INSERT INTO t SELECT n, 'value ' || n FROM generate_series(1, 100000) AS g(n);
             CREATE INDEX i ON t (k)",
        )
        .expect("created");
    let point = client.prepare("SELECT v FROM t WHERE k = $1").expect("prepared");
    let nothing = client.prepare("SELECT $1::int8").expect("prepared");
    let mut time = |statement: &postgres::Statement| {
        let start = Instant::now();
        for i in 0..3_000i64 {
            assert_eq!(client.query(statement, &[&(i * 31 % 100_000 + 1)]).expect("a row").len(), 1);
        }
        start.elapsed().as_secs_f64() / 3_000.0 * 1e6
    };
    time(&point);
    let (empty, read) = (time(&nothing), time(&point));
    println!(
        "peek: point read {read:.0} us, a statement that reads nothing {empty:.0} us, ratio {:.2}",
        empty / read
    );
}

/// Start to ready: empty, and with stored events and views.
fn restart() {
    let (dir, n) = (tempfile::tempdir().expect("a folder"), events());
    let start = Instant::now();
    let engine = Engine::start(Config::durable(dir.path())).expect("the engine starts");
    println!("restart: empty, ready in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let mut session = engine.session();
    session
        .run(&format!(
            "CREATE SOURCE s FROM LOAD GENERATOR SEGMENT (EVENTS {n}) FORMAT BYTES;
             CREATE MATERIALIZED VIEW json AS SELECT CAST(convert_from(data, 'utf8') AS jsonb) AS data FROM s;
             CREATE MATERIALIZED VIEW types AS SELECT data ->> 'type' AS type, count(*) AS n FROM json GROUP BY 1"
        ))
        .expect("created");
    wait_for(&mut session, "SELECT sum(n) FROM types", n as i64);
    drop(session);
    drop(engine);
    let start = Instant::now();
    let engine = Engine::start(Config::durable(dir.path())).expect("the engine starts");
    let ready = start.elapsed();
    let mut session = engine.session();
    wait_for(&mut session, "SELECT count(*) FROM json WHERE data IS NULL", 0);
    let stored = start.elapsed();
    wait_for(&mut session, "SELECT sum(n) FROM types", n as i64);
    println!(
        "restart: {n} events, ready in {:.0} ms; a scan of the stored view answers after {:.0} ms, the stateful one after {:.0} ms",
        ready.as_secs_f64() * 1e3,
        stored.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3
    );
}

/// A stored view of 100,000 rows that change all the time: what background work costs, and what it keeps the disk to.
fn churn() {
    use storage::{BlockKind, FrameGroup, Location, Options, RealFs, ShardId, ShardUpdate, Storage};
    const ROWS: u64 = 100_000;
    const A_TICK: u64 = 1_000;
    let dir = tempfile::tempdir().expect("a folder");
    let location = Location::Directory(dir.path().to_owned());
    let (storage, _) =
        Storage::open(location, std::sync::Arc::new(RealFs), Options::default()).expect("a new directory");
    let shard = ShardId(1);
    // Hashes keep lz4 from making the rows smaller than those of a real view.
    let text = |version: u64| {
        let hash = |n: u64| (version * 7 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        (0..8).map(|n| format!("{:016x}", hash(n).wrapping_mul(0xbf58_476d_1ce4_e5b9))).collect::<String>()
    };
    let mut version_of = vec![0u64; ROWS as usize];
    let used = || {
        let files = std::fs::read_dir(dir.path()).expect("there").filter_map(|e| e.ok()?.metadata().ok());
        files.filter(|m| m.is_file()).map(|m| m.len()).sum::<u64>()
    };
    let (mut most, mut appends, mut version) = (0, vec![], 0);
    let start = Instant::now();
    let ticks = ROWS / A_TICK + events() * 4 / A_TICK;
    for time in 1..=ticks {
        let mut block = repr::RowBlock::default();
        for _ in 0..A_TICK {
            let key =
                if version < ROWS { version } else { version.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 }
                    % ROWS;
            let old = std::mem::replace(&mut version_of[key as usize], version + 1);
            if old > 0 {
                block.push_datums([Datum::Int64(key as i64), Datum::Text(&text(old))], -1);
            }
            block.push_datums([Datum::Int64(key as i64), Datum::Text(&text(version + 1))], 1);
            version += 1;
        }
        let update = ShardUpdate { shard, kind: BlockKind::Rows, block: std::sync::Arc::new(block) };
        let sinces = vec![(shard, time.saturating_sub(50))];
        let append = Instant::now();
        storage
            .append_wait(FrameGroup { time, updates: vec![update], sinces, ..FrameGroup::default() })
            .expect("appended");
        appends.push(append.elapsed());
        if time.is_multiple_of(20) && time > ROWS / A_TICK {
            most = most.max(used());
        }
    }
    let took = start.elapsed();
    storage.settle();
    let (done, stats) = (storage.compaction(), storage.shard_stats(shard).expect("has rows"));
    let live = stats.stored_bytes as f64 * stats.rows as f64 / stats.updates.max(1) as f64;
    appends.sort();
    println!(
        "churn: {:.0} changes/s; append p50 {:.1} ms, p99 {:.1} ms; background work {} times, {:.1} % of a core, wrote {:.1} MB; \
         at most {:.0} MB on disk, {:.1} times what is live, {:.0} MB at rest",
        version as f64 / took.as_secs_f64(),
        appends[appends.len() / 2].as_secs_f64() * 1e3,
        appends[appends.len() * 99 / 100].as_secs_f64() * 1e3,
        done.jobs,
        done.cpu.as_secs_f64() / took.as_secs_f64() * 100.0,
        done.bytes_written as f64 / 1e6,
        most as f64 / 1e6,
        most as f64 / live,
        used() as f64 / 1e6
    );
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let all: [(&str, fn()); 5] = [
        ("kafka_ingest", kafka_ingest),
        ("freshness", freshness),
        ("peek", peek),
        ("restart", restart),
        ("churn", churn),
    ];
    for (name, run) in all {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            run();
        }
    }
}
