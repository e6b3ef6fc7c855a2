//! Kafka in its moods: what becomes of topics under a running source, seen in its status, and what brings it back.

use std::time::Instant;

use crate::support::{Server, admin, create_topic, produce, rows};

/// How long a trouble may stay untold, and how long a repair may stay without effect, in seconds: reliability's R-10.
const TOLD: u64 = 30;
const REPAIRED: u64 = 10;

struct Mood {
    dir: tempfile::TempDir,
    broker: Server,
    brokers: String,
    engine: Server,
}

impl Mood {
    /// A broker and an engine, and a source on a topic with so many partitions.
    fn start(partitions: i32) -> Mood {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let broker = Server::start(&[
            "--data-dir",
            &path("broker"),
            "--kafka-listen",
            "127.0.0.1:0",
            "--workers",
            "1",
        ]);
        let brokers = broker.kafka.clone().expect("the embedded Kafka");
        let engine = Server::start(&["--data-dir", &path("engine"), "--workers", "1"]);
        create_topic(&brokers, "t", partitions);
        let mood = Mood { dir, broker, brokers, engine };
        mood.engine.rows(&format!(
            "CREATE CONNECTION k TO KAFKA (BROKER '{}', SECURITY PROTOCOL PLAINTEXT)",
            mood.brokers
        ));
        mood.create_source("s");
        mood.engine.rows("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, max(text) AS last FROM s");
        mood
    }

    fn create_source(&self, name: &str) {
        self.engine.rows(&format!(
            "CREATE SOURCE {name} FROM KAFKA CONNECTION k (TOPIC 't') FORMAT TEXT INCLUDE OFFSET"
        ));
    }

    fn produce(&self, partitions: i32, values: &[&str]) {
        let values: Vec<Vec<u8>> = values.iter().map(|v| v.as_bytes().to_vec()).collect();
        produce(&self.brokers, "t", partitions, &values);
    }

    /// Waits for a status with a cause that has this in it.
    fn told(&self, status: &str, cause: &str, within: u64) {
        let start = Instant::now();
        let mut client = self.engine.client();
        loop {
            let query =
                "SELECT status, coalesce(error, '') FROM mz_internal.mz_source_statuses WHERE name = 's'";
            let got = rows(&mut client, query).expect("statuses can be read")[0].clone();
            if got.starts_with(status) && got.contains(cause) {
                return;
            }
            assert!(
                start.elapsed().as_secs() < within,
                "{status}, {cause}: not within {within} s, but {got}"
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

#[test]
fn a_topic_is_deleted_and_made_anew_with_more_records_than_before() {
    let mut mood = Mood::start(1);
    mood.produce(1, &["a0", "a1", "a2"]);
    mood.engine.wait_for("SELECT n, last FROM v", &["3|a2"]);
    admin::delete_topic(&mood.brokers, "t");
    mood.told("stalled", "does not exist", TOLD);
    // What was read stays readable.
    assert_eq!(mood.engine.rows("SELECT n FROM v"), ["3"]);
    // The new topic has the old one's offsets and goes on after them: nothing of it must be mixed in.
    create_topic(&mood.brokers, "t", 1);
    mood.produce(1, &["b0", "b1", "b2", "b3", "b4"]);
    for _ in 0..2 {
        mood.told("stalled", "deleted and made anew", TOLD);
        assert_eq!(mood.engine.rows("SELECT text FROM s ORDER BY 1"), ["a0", "a1", "a2"]);
        let why = mood.engine.rows("EXPLAIN WHY v").join("\n");
        for part in [
            "materialized view",
            "made anew",
            "do: DROP and CREATE the source",
            "offset known",
            "committed 3",
        ] {
            assert!(why.contains(part), "{part}: {why}");
        }
        // A start that finds another topic sees it, too.
        mood.engine.crash_and_restart();
    }
    let error = mood.engine.error("ALTER SOURCE s SKIP GAP");
    assert!(error.starts_with("55000 "), "{error}");
    mood.engine.rows("DROP SOURCE s CASCADE");
    mood.create_source("s");
    mood.engine.wait_for("SELECT text FROM s ORDER BY 1", &["b0", "b1", "b2", "b3", "b4"]);
}

#[test]
fn offsets_that_aged_out_are_a_gap_until_it_is_skipped() {
    let mut mood = Mood::start(1);
    mood.produce(1, &["0", "1"]);
    mood.engine.wait_for("SELECT n FROM v", &["2"]);
    let error = mood.engine.error("ALTER SOURCE s SKIP GAP");
    assert!(error.starts_with("55000 source \"s\" has no gap"), "{error}");
    mood.engine.kill();
    mood.produce(1, &["2", "3", "4", "5"]);
    admin::delete_records(&mood.brokers, "t", 0, 5);
    mood.engine.crash_and_restart();
    mood.told("stalled", "gap of 3 offsets in partition 0: 2 to 4", TOLD);
    assert_eq!(mood.engine.rows("SELECT n FROM v"), ["2"]);
    let why = mood.engine.rows("EXPLAIN WHY s").join("\n");
    assert!(why.contains("partition 0: offset known 6, committed 2"), "{why}");
    mood.engine.rows("ALTER SOURCE s SKIP GAP");
    mood.told("running", "", REPAIRED);
    mood.engine.wait_for("SELECT text, \"offset\" FROM s ORDER BY 2", &["0|0", "1|1", "5|5"]);
    mood.engine.crash_and_restart();
    mood.produce(1, &["6"]);
    mood.engine.wait_for("SELECT n, last FROM v", &["4|6"]);
}

#[test]
fn partitions_that_are_added_are_read_from_their_first_record() {
    let mood = Mood::start(1);
    mood.produce(1, &["a"]);
    mood.engine.wait_for("SELECT n FROM v", &["1"]);
    admin::add_partitions(&mood.brokers, "t", 3);
    mood.produce(3, &["x", "y", "z"]);
    let start = Instant::now();
    mood.engine.wait_for("SELECT n, last FROM v", &["4|z"]);
    assert!(start.elapsed().as_secs() < REPAIRED, "{:?}", start.elapsed());
    mood.told("running", "", REPAIRED);
}

#[test]
fn a_broker_that_dies_and_comes_back_loses_and_repeats_nothing() {
    let mut mood = Mood::start(1);
    mood.produce(1, &["0", "1"]);
    mood.engine.wait_for("SELECT n FROM v", &["2"]);
    mood.broker.kill();
    mood.told("stalled", "", TOLD);
    let listen = mood.brokers.clone();
    let data = mood.dir.path().join("broker").display().to_string();
    mood.broker = Server::start(&["--data-dir", &data, "--kafka-listen", &listen, "--workers", "1"]);
    mood.told("running", "", REPAIRED);
    mood.produce(1, &["2"]);
    mood.engine.wait_for("SELECT n, last FROM v", &["3|2"]);
    // One that comes back empty is another one.
    mood.broker.kill();
    mood.told("stalled", "", TOLD);
    std::fs::remove_dir_all(&data).expect("the broker's data go");
    mood.broker = Server::start(&["--data-dir", &data, "--kafka-listen", &listen, "--workers", "1"]);
    mood.told("stalled", "does not exist", TOLD);
    create_topic(&mood.brokers, "t", 1);
    mood.produce(1, &["n0", "n1", "n2", "n3"]);
    mood.told("stalled", "deleted and made anew", TOLD);
    assert_eq!(mood.engine.rows("SELECT text FROM s ORDER BY 1"), ["0", "1", "2"]);
}

#[test]
fn a_read_waits_for_what_was_produced_before_it() {
    let mood = Mood::start(3);
    let mut client = mood.engine.client();
    client
        .batch_execute("SET real_time_recency = on; SET real_time_recency_timeout = '20s'")
        .expect("settings");
    for round in 1..=20 {
        let values: Vec<String> = (0..5).map(|i| format!("{round}-{i}")).collect();
        mood.produce(3, &values.iter().map(String::as_str).collect::<Vec<_>>());
        let n = format!("{}", round * 5);
        assert_eq!(rows(&mut client, "SELECT n FROM v").expect("it answers"), [n.as_str()]);
        assert_eq!(rows(&mut client, "SELECT count(*) FROM s").expect("it answers"), [n]);
    }
    // What does not come in time is an error, not an older answer.
    mood.engine.rows("SELECT 1");
    client.batch_execute("SET real_time_recency_timeout = '300ms'").expect("a setting");
    admin::delete_topic(&mood.brokers, "t");
    let error = rows(&mut client, "SELECT n FROM v").expect_err("there is no topic");
    assert!(
        error.starts_with("57014") || error.contains("does not exist") || error.contains("not told"),
        "{error}"
    );
    client.batch_execute("SET real_time_recency = off").expect("a setting");
    assert_eq!(rows(&mut client, "SELECT n FROM v").expect("it answers"), ["100"]);
}
