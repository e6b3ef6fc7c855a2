//! The reader against a scripted client, and against librdkafka's mock cluster.

use std::collections::VecDeque;
use std::sync::Mutex;

use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use repr::Datum;

use super::*;
use crate::record::RecordRef;
use crate::{Batch, KafkaConnection, SourceConfig, SourceError, Status, reader, start};

/// A record's partition and offset, or what comes instead.
type Poll = Result<(i32, i64), Polled>;

/// A client whose polls and ends are a script.
#[derive(Default)]
struct Script {
    polls: Mutex<VecDeque<Poll>>,
    ends: Mutex<BTreeMap<i32, (i64, i64)>>,
    assigned: Mutex<Vec<(i32, Option<i64>)>>,
}

impl Client for Script {
    fn partitions(&self, _: Duration) -> Result<Vec<i32>, Trouble> {
        Ok(vec![])
    }
    fn ends(&self, partition: i32, _: Duration) -> Result<(i64, i64), Trouble> {
        self.ends.lock().expect("whole").get(&partition).copied().ok_or(Trouble::NoTopic)
    }
    fn assign(&self, partitions: &[(i32, Option<i64>)]) -> Result<(), Trouble> {
        self.assigned.lock().expect("whole").extend(partitions);
        Ok(())
    }
    fn reassign(&self, partition: i32, offset: Option<i64>) -> Result<(), Trouble> {
        self.assign(&[(partition, offset)])
    }
    fn unassign(&self, partitions: &[i32]) -> Result<(), Trouble> {
        self.assigned.lock().expect("whole").retain(|(p, _)| !partitions.contains(p));
        Ok(())
    }
    fn poll(&self, _: Duration, take: &mut dyn FnMut(RecordRef<'_>)) -> Polled {
        match self.polls.lock().expect("whole").pop_front() {
            None => Polled::Nothing,
            Some(Err(polled)) => polled,
            Some(Ok((partition, offset))) => {
                take(RecordRef { partition, offset, value: Some(b"x"), ..RecordRef::default() });
                Polled::Record
            }
        }
    }
    fn reason(&self) -> Option<Trouble> {
        None
    }
}

/// What a session sends, one line an event.
fn told(events: &[Event]) -> Vec<String> {
    let line = |e: &Event| match e {
        Event::Batch(Batch { block, progress, .. }) => format!("{} records to {progress:?}", block.len()),
        Event::Status(Status { state, cause }) => format!("{state} {}", cause.as_deref().unwrap_or("")),
        Event::Known(ends) => format!("known {ends:?}"),
        Event::Gaps(gaps) => {
            format!("gaps {:?}", gaps.iter().map(|g| (g.partition, g.next, g.first)).collect::<Vec<_>>())
        }
        Event::Finished => "finished".into(),
    };
    events.iter().map(line).collect()
}

/// Runs a session over a script: each element is a look of the watcher and the polls after it.
fn play(script: &Script, from: BTreeMap<i32, i64>, acts: Vec<(Option<Look>, Vec<Poll>)>) -> Vec<String> {
    let (events, queue) = crossbeam_channel::unbounded();
    let mut out = reader::Output::for_test(Box::new(move |e, _| events.send(e).is_ok()));
    let (looks, seen) = bounded(1);
    let hurry = AtomicBool::new(false);
    let mut session = Session::new(script, "t", from, &hurry, Durables::default(), Arc::default());
    for (look, polls) in acts {
        if let Some(look) = look {
            looks.send(look).expect("room");
        }
        *script.polls.lock().expect("whole") = polls.into();
        while session.step(&seen, &mut out) && !script.polls.lock().expect("whole").is_empty() {}
    }
    told(&queue.try_iter().collect::<Vec<_>>())
}

fn look(ends: &[(i32, i64, i64)]) -> Option<Look> {
    Some(Look { partitions: Ok(ends.iter().map(|e| e.0).collect()), ends: ends.to_vec(), topic: Topic::Same })
}

#[test]
fn partitions_start_at_stored_offsets_and_new_ones_at_their_first_record() {
    let script = Script::default();
    let told = play(
        &script,
        [(1, 7)].into(),
        vec![
            (look(&[(0, 0, 5), (1, 0, 9)]), vec![Ok((0, 0)), Ok((1, 7)), Ok((0, 1))]),
            (look(&[(0, 0, 5), (1, 0, 9), (2, 0, 1)]), vec![Ok((2, 0))]),
        ],
    );
    assert_eq!(*script.assigned.lock().expect("whole"), [(0, None), (1, Some(7)), (2, None)]);
    let expected = [
        "running ",
        "known [(0, 5), (1, 9)]",
        "3 records to [(0, 2), (1, 8)]",
        "known [(0, 5), (1, 9), (2, 1)]",
        "1 records to [(2, 1)]",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_record_that_comes_again_is_dropped() {
    let told = play(
        &Script::default(),
        [(0, 3)].into(),
        vec![(look(&[(0, 0, 9)]), vec![Ok((0, 2)), Ok((0, 3)), Ok((0, 3)), Ok((0, 4))])],
    );
    assert_eq!(told[2..], ["2 records to [(0, 5)]"]);
}

#[test]
fn a_gap_is_told_with_its_size_and_never_jumped() {
    let script = Script::default();
    *script.ends.lock().expect("whole") = [(0, (100, 200)), (1, (0, 3)), (2, (0, 51))].into();
    let told = play(
        &script,
        [(0, 40), (1, 10), (2, 50)].into(),
        vec![
            (look(&[(0, 100, 200), (1, 0, 3), (2, 0, 50)]), vec![Ok((2, 50)), Err(Polled::Gap)]),
            // The records are there again.
            (look(&[(0, 0, 200), (1, 0, 10)]), vec![Ok((0, 40))]),
        ],
    );
    assert!(told.contains(&"1 records to [(2, 51)]".to_string()), "{told:?}");
    assert!(told.contains(&"gaps [(0, 40, 100)]".to_string()), "{told:?}");
    let stalled = told.iter().find(|t| t.starts_with("stalled")).expect("it is told");
    for part in [
        "stalled gap of 60 offsets in partition 0: 40 to 99 were removed",
        "partition 1 ends at 3, but was read up to 10",
    ] {
        assert!(stalled.contains(part), "{stalled}");
    }
    assert_eq!(script.assigned.lock().expect("whole")[3..], [(0, Some(40)), (1, Some(10))]);
    let end: Vec<&str> = told.iter().rev().take(4).rev().map(String::as_str).collect();
    assert_eq!(end, ["gaps []", "running ", "known [(0, 200), (1, 10)]", "1 records to [(0, 41)]"]);
}

#[test]
fn trouble_is_told_once_and_ends_with_the_next_record() {
    let down = || {
        let code = RDKafkaErrorCode::AllBrokersDown;
        Err(Polled::Down(Trouble::Kafka(code, "1/1 brokers are down".into())))
    };
    let told = play(
        &Script::default(),
        BTreeMap::new(),
        vec![
            (look(&[(0, 0, 9)]), vec![Ok((0, 0)), down(), down()]),
            (None, vec![Ok((0, 1))]),
            (Some(Look { partitions: Err(Trouble::NoTopic), ends: vec![], topic: Topic::Same }), vec![]),
        ],
    );
    let expected = [
        "running ",
        "known [(0, 9)]",
        "1 records to [(0, 1)]",
        "stalled 1/1 brokers are down",
        "running ",
        "1 records to [(0, 2)]",
        "stalled topic \"t\" does not exist",
    ];
    assert_eq!(told, expected);
}

// ---- librdkafka's mock cluster ----

fn produce(servers: &str, topic: &str, partition: i32, values: std::ops::Range<i32>) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("linger.ms", "1")
        .create()
        .expect("a client");
    for n in values {
        let value = n.to_string();
        let headers = OwnedHeaders::new().insert(Header { key: "n", value: Some(&value) });
        let record = BaseRecord::to(topic)
            .partition(partition)
            .key("k")
            .payload(&value)
            .timestamp(1_000)
            .headers(headers);
        producer.send(record).map_err(|e| e.0).expect("room");
    }
    producer.flush(Duration::from_secs(20)).expect("the mock answers");
}

fn config(servers: &str, topic: &str) -> KafkaSource {
    KafkaSource {
        connection: KafkaConnection::plaintext(servers),
        topic: topic.into(),
        headers: true,
        group_id: "deltamill-test".into(),
        metadata_refresh: Some(Duration::from_millis(200)),
    }
}

#[test]
fn a_topic_is_read_from_stored_offsets_and_survives_its_broker() {
    let cluster = MockCluster::new(1).expect("a port");
    let servers = cluster.bootstrap_servers();
    cluster.create_topic("events", 2, 1).expect("a topic");
    produce(&servers, "events", 0, 0..50);
    produce(&servers, "events", 1, 100..130);

    let (events, queue) = crossbeam_channel::unbounded();
    let emit: crate::Emit = Box::new(move |e, _| events.send(e).is_ok());
    let handle = start(SourceConfig::Kafka(config(&servers, "events")), [(0, 45)].into(), emit);
    let wait = || queue.recv_timeout(Duration::from_secs(30)).expect("the reader goes on");
    let mut rows = BTreeMap::new();
    let mut read = |until: usize| {
        while rows.len() < until {
            if let Event::Batch(batch) = wait() {
                for (row, diff) in batch.block.iter() {
                    let d: Vec<_> = row.iter().collect();
                    let Datum::Bytes(value) = d[0] else { panic!("{row:?}") };
                    assert_eq!((d[1], d[4], diff), (Datum::Bytes(b"k"), Datum::TimestampTz(1_000_000), 1));
                    let Datum::List(headers) = d[5] else { panic!("{row:?}") };
                    let Some(Datum::Record(header)) = headers.iter().next() else { panic!("{row:?}") };
                    assert_eq!(header.iter().collect::<Vec<_>>(), [Datum::Text("n"), Datum::Bytes(value)]);
                    let before = rows.insert((d[2].int(), d[3].int()), value.to_vec());
                    assert_eq!(before, None, "a record came twice");
                }
            }
        }
        rows.clone()
    };
    let rows = read(35);
    assert_eq!(rows.keys().next(), Some(&(0, 45)));
    assert_eq!(rows[&(0, 45)], b"45");
    assert_eq!(rows[&(1, 29)], b"129");

    cluster.broker_down(1).expect("it was up");
    loop {
        if let Event::Status(Status { state: State::Stalled, cause }) = wait() {
            assert!(cause.is_some_and(|c| !c.is_empty()));
            break;
        }
    }
    cluster.broker_up(1).expect("it was down");
    loop {
        if let Event::Status(Status { state: State::Running, .. }) = wait() {
            break;
        }
    }
    produce(&servers, "events", 0, 50..60);
    assert_eq!(read(45)[&(0, 59)], b"59");
    handle.stop();
}

#[test]
fn what_is_wrong_at_creation_is_said() {
    use crate::{StartPosition, resolve_start, validate_connection, validate_topic};
    let cluster = MockCluster::new(1).expect("a port");
    let connection = KafkaConnection::plaintext(cluster.bootstrap_servers());
    cluster.create_topic("events", 2, 1).expect("a topic");
    produce(&connection.brokers, "events", 0, 0..5);
    let (long, short) = (Duration::from_secs(20), Duration::from_secs(5));

    assert_eq!(validate_connection(&connection, long), Ok(()));
    assert_eq!(validate_topic(&connection, "events", long), Ok(vec![0, 1]));
    assert!(matches!(validate_topic(&connection, "a b", long), Err(SourceError::Option(_))));
    let start = |s| resolve_start(&connection, "events", &s, 1_000_000, long);
    assert_eq!(start(StartPosition::Earliest), Ok(BTreeMap::new()));
    assert_eq!(start(StartPosition::Offsets(vec![3])), Ok([(0, 3)].into()));
    assert!(matches!(start(StartPosition::Offsets(vec![6])), Err(SourceError::Option(_))));
    let e = start(StartPosition::Offsets(vec![0, 0, 0])).expect_err("two partitions");
    assert_eq!(e.to_string(), "START OFFSET has 3 offsets, but topic \"events\" has 2 partitions");

    let wrong =
        |brokers: &str| validate_connection(&KafkaConnection::plaintext(brokers), short).expect_err("wrong");
    let refused = wrong("127.0.0.1:1");
    assert!(matches!(&refused, SourceError::Unreachable(s) if s.contains("refused")), "{refused}");
    let unknown = wrong("no-such-host.invalid:9092");
    assert!(matches!(&unknown, SourceError::Unreachable(s) if s.contains("resolve")), "{unknown}");
    let ssl = KafkaConnection { security_protocol: "SSL".into(), ..connection.clone() };
    let e = validate_connection(&ssl, short).expect_err("the mock speaks plaintext");
    // Whether librdkafka sees the handshake fail or the mock hang up is a race between the two.
    assert!(matches!(&e, SourceError::Tls(_) | SourceError::Unreachable(_)), "{e:?}");
    assert!(e.to_string().contains("SSL") || e.to_string().contains("reset by peer"), "{e}");
}

#[test]
fn the_group_hears_of_what_is_durable_and_only_of_that() {
    let cluster = MockCluster::new(1).expect("a port");
    let servers = cluster.bootstrap_servers();
    cluster.create_topic("events", 1, 1).expect("a topic");
    let (events, queue) = crossbeam_channel::unbounded();
    let emit: crate::Emit = Box::new(move |e, _| events.send(e).is_ok());
    let handle = start(SourceConfig::Kafka(config(&servers, "events")), BTreeMap::new(), emit);
    let batch = || loop {
        if let Event::Batch(batch) = queue.recv_timeout(Duration::from_secs(30)).expect("the reader goes on")
        {
            return batch;
        }
    };
    let monitor =
        super::super::client::consumer(&KafkaConnection::plaintext(&servers), "deltamill-test", &[])
            .expect("a client");
    let committed = || {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition("events", 0);
        let list = rdkafka::consumer::Consumer::committed_offsets(&monitor, list, Duration::from_secs(20));
        list.expect("an answer").elements()[0].offset().to_raw()
    };
    // Each batch as it comes is one record here.
    produce(&servers, "events", 0, 0..1);
    let first = batch();
    produce(&servers, "events", 0, 1..2);
    let second = batch();
    first.durable.expect("somebody wants to know").call();
    let begun = Instant::now();
    while committed() != Some(1) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", committed());
        std::thread::sleep(Duration::from_millis(50));
    }
    second.durable.expect("somebody wants to know").call();
    while committed() != Some(2) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", committed());
        std::thread::sleep(Duration::from_millis(50));
    }
    handle.stop();
}

#[test]
fn a_topic_that_was_made_anew_is_not_read() {
    let mock = MockCluster::new(1).expect("a port");
    let servers = mock.bootstrap_servers();
    mock.create_topic("events", 1, 1).expect("a topic");
    produce(&servers, "events", 0, 0..5);
    let live = Live::new(&config(&servers, "events"), Duration::from_secs(1)).expect("a client");
    let wait = Duration::from_secs(20);
    let mark = live.mark_at(0, 4, wait).expect("it is there");
    assert_eq!(live.mark_at(0, 4, wait), Some(mark));
    assert_eq!(live.mark_at(0, 9, wait), None);

    let stored = |sum| [(0, 5), (Mark::key(0), Mark { sum, ..mark }.encode())].into();
    let begin = |sum| {
        let (events, queue) = crossbeam_channel::unbounded();
        let emit: crate::Emit = Box::new(move |e, _| events.send(e).is_ok());
        (start(SourceConfig::Kafka(config(&servers, "events")), stored(sum), emit), queue)
    };
    let (other, told) = begin(!mark.sum);
    let (same, read) = begin(mark.sum);
    produce(&servers, "events", 0, 5..9);
    loop {
        match told.recv_timeout(wait).expect("the reader goes on") {
            Event::Batch(_) => panic!("records of another topic"),
            Event::Status(Status { state: State::Stalled, cause: Some(cause) }) => {
                assert!(cause.contains("made anew: the record at offset 4 of partition 0"), "{cause}");
                break;
            }
            _ => {}
        }
    }
    let mut n = 0;
    while n < 4 {
        if let Event::Batch(batch) = read.recv_timeout(wait).expect("the reader goes on") {
            n += batch.block.len();
            assert_eq!(batch.marks.len(), 1);
        }
    }
    other.stop();
    same.stop();
}
