//! Nothing lost, nothing doubled, whatever is killed when.

use std::path::Path;
use std::process::Command;

use crate::support::{Server, create_topic, events, produce, rows, w1_loop::Views, write_lines};

/// Kills at random times while events stream into four partitions of a broker: every event exactly once, and the views
/// equal to a recomputation. `DELTAMILL_KILLS` and `DELTAMILL_EVENTS` make it longer.
#[test]
fn every_event_exactly_once_through_kills() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (kills, n) = (number("DELTAMILL_KILLS", 30), number("DELTAMILL_EVENTS", 500_000));
    let seed = number("DELTAMILL_SEED", 11);
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let broker =
        Server::start(&["--data-dir", &path("broker"), "--kafka-listen", "127.0.0.1:0", "--workers", "1"]);
    let brokers = broker.kafka.clone().expect("the embedded Kafka");
    create_topic(&brokers, "events", 4);
    let mut server = Server::start(&["--data-dir", &path("engine"), "--workers", "2"]);
    server.rows(&format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
         CREATE SOURCE segment_events FROM KAFKA CONNECTION k (TOPIC 'events') FORMAT BYTES INCLUDE PARTITION, OFFSET;"
    ));
    let views =
        std::fs::read_to_string(crate::support::repository("tests/w1/views.sql")).expect("the kit's views");
    server.rows(&views);
    let lines = events(seed, n as usize);
    let mut expected = Views::default();
    lines.iter().for_each(|line| expected.line(line));
    let producer = std::thread::spawn(move || {
        let slice = lines.len().div_ceil(40).max(1);
        for chunk in lines.chunks(slice) {
            produce(&brokers, "events", 4, chunk);
        }
    });
    // A small generator of its own, so that a seed names a run.
    let mut random = seed;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    for _ in 0..kills {
        std::thread::sleep(std::time::Duration::from_millis(50 + next() % 900));
        server.crash_and_restart();
    }
    producer.join().expect("all is produced");
    let all = n.to_string();
    server.wait_for("SELECT count(*) FROM segment_events", &[&all]);
    let exact = "SELECT count(*), count(DISTINCT \"offset\"), min(\"offset\"), max(\"offset\") + 1
                 FROM segment_events GROUP BY partition ORDER BY partition";
    let of_partitions: Vec<String> = (0..4)
        .map(|p| {
            let of = n / 4 + u64::from(p < n % 4);
            format!("{of}|{of}|0|{of}")
        })
        .collect();
    let expected_partitions: Vec<&str> = of_partitions.iter().map(String::as_str).collect();
    server.wait_for(exact, &expected_partitions);
    let mut got = rows(&mut server.client(), "SELECT line FROM w1_lines").expect("the views answer");
    got.sort();
    assert_eq!(got, expected.lines());
    println!("{kills} kills, {n} events, seed {seed}: 0 lost, 0 doubled, 0 different");
}

#[test]
fn objects_rows_and_secrets_survive_a_crash() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let mut server = Server::start(&["--data-dir", &data]);
    server.rows(
        "CREATE SCHEMA s; CREATE SECRET pw AS 'hidden';
         CREATE TABLE s.t (a int4 NOT NULL, b text);
         CREATE VIEW v AS SELECT b, sum(a) AS n FROM s.t GROUP BY b;
         CREATE MATERIALIZED VIEW mv AS SELECT * FROM v;
         CREATE INDEX i ON v (b);
         INSERT INTO s.t VALUES (1, 'x'), (2, 'x'), (3, NULL)",
    );
    let before = server.rows("SELECT b, n FROM mv ORDER BY b");
    assert_eq!(before, ["x|3", "NULL|3"]);
    for _ in 0..3 {
        server.crash_and_restart();
        assert_eq!(server.rows("SELECT b, n FROM mv ORDER BY b"), before);
        assert_eq!(server.rows("SELECT n FROM v WHERE b = 'x'"), ["3"]);
        assert_eq!(server.rows("SHOW SECRETS"), ["pw|"]);
    }
    server.rows("INSERT INTO s.t VALUES (4, 'x')");
    assert_eq!(server.rows("SELECT n FROM mv WHERE b = 'x'"), ["7"]);
    server.rows("DROP MATERIALIZED VIEW mv");
    server.crash_and_restart();
    assert!(server.error("SELECT * FROM mv").starts_with("42P01"));
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let _server = Server::start(&["--data-dir", &data]);
    let second = crate::support::deltamill(&["serve", "--data-dir", &data, "--sql-listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(5), "{}", crate::support::text(&second.stderr));
}

/// A small file system of its own, unmounted when dropped. None: this user may not mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<SmallDisk> {
        std::fs::create_dir_all(at).expect("a folder");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(at).output();
        if mount.is_ok_and(|o| o.status.success()) {
            return Some(SmallDisk(at.to_owned()));
        }
        // Not every machine that runs the tests gives this right, so CI does not insist on it.
        eprintln!("skipped, no right to mount a small disk: the full disk");
        None
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,{size}");
        let mount = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(mount.expect("mount runs").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_intake_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk"), "size=10m") else { return };
    let file = dir.path().join("events.jsonl");
    let lines = events(11, 60_000);
    write_lines(&file, &lines);
    let data = disk.0.join("data").display().to_string();
    let mut server = Server::start(&["--data-dir", &data, "--workers", "2"]);
    server.rows(&format!(
        "CREATE TABLE t (a int);
         CREATE SOURCE hook FROM WEBHOOK BODY FORMAT TEXT;
         CREATE SOURCE s FROM FILE '{}' FORMAT BYTES;
         CREATE MATERIALIZED VIEW types AS
           SELECT (convert_from(data, 'utf8')::jsonb) ->> 'type' AS type, count(*) AS n FROM s GROUP BY 1;",
        file.display()
    ));
    let state =
        "SELECT status, error LIKE 'no space left%' FROM mz_internal.mz_source_statuses WHERE name = 's'";
    server.wait_for(state, &["stalled|t"]);
    // Reads go on, at one time for all; writes are refused at once.
    let stored: u64 = server.rows("SELECT count(*) FROM s")[0].parse().expect("a number");
    assert!(stored > 0 && stored < 60_000, "{stored}");
    let both = server.rows("SELECT sum(n), (SELECT count(*) FROM s) FROM types");
    assert_eq!(both, [format!("{stored}|{stored}")]);
    assert!(server.error("INSERT INTO t VALUES (1)").starts_with("53100 no space left"));
    assert!(server.error("CREATE TABLE u (a int)").starts_with("53100 no space left"));
    let hook = "/api/webhook/materialize/public/hook";
    assert_eq!(server.post(hook, "", b"1").0, 507);
    // A crash now loses nothing, and the disk is still full.
    server.crash_and_restart();
    server.wait_for(state, &["stalled|t"]);
    // With room again it goes on by itself.
    disk.resize("size=200m");
    server.wait_for("SELECT count(*), count(DISTINCT data) FROM s", &["60000|60000"]);
    server.wait_for("SELECT sum(n) FROM types", &["60000"]);
    server.rows("INSERT INTO t VALUES (1)");
    assert_eq!(server.post(hook, "", b"2").0, 200);
    server.crash_and_restart();
    server.wait_for("SELECT sum(n), (SELECT count(*) FROM t) FROM types", &["60000|1"]);
    assert_eq!(server.rows("SELECT body FROM hook"), ["2"]);
}

/// A subscriber that goes on from the last time it saw misses nothing and gets nothing twice, whoever was restarted meanwhile.
#[test]
fn a_subscription_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(&["--data-dir", &dir.path().display().to_string(), "--workers", "2"]);
    server.rows(
        "CREATE TABLE t (k int, v int);
         CREATE MATERIALIZED VIEW sums WITH (RETAIN HISTORY FOR '1 hour') AS SELECT k, sum(v) AS s FROM t GROUP BY k;
         INSERT INTO t VALUES (0, 0), (1, 0)",
    );
    let now = |server: &Server| {
        server.rows("SELECT mz_now()::text, count(*) FROM sums")[0].split('|').next().map(str::to_string)
    };
    let mut seen = now(&server).expect("a time");
    let mut state: std::collections::BTreeMap<String, i64> =
        server.rows("SELECT k || '|' || s FROM sums").into_iter().map(|row| (row, 1)).collect();
    let mut total = 0;
    for round in 0..4 {
        // Many more ticks than what is kept without being told.
        for i in 0..80 {
            server.rows(&format!("INSERT INTO t VALUES ({}, 1)", i % 2));
            total += 1;
        }
        server.wait_for("SELECT sum(s) FROM sums", &[&total.to_string()]);
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        server.rows("INSERT INTO t VALUES (0, 0)");
        if round % 2 == 0 {
            server.crash_and_restart();
        }
        let upto = now(&server).expect("a time");
        let changes = server.rows(&format!(
            "BEGIN; DECLARE c CURSOR FOR SUBSCRIBE sums WITH (SNAPSHOT = false) AS OF {seen} UP TO {upto};
             FETCH ALL c"
        ));
        let mut times = vec![];
        for change in changes {
            let cells: Vec<&str> = change.split('|').collect();
            times.push(cells[0].parse::<u64>().expect("a time"));
            *state.entry(format!("{}|{}", cells[2], cells[3])).or_default() +=
                cells[1].parse::<i64>().expect("a diff");
        }
        let first = seen.parse::<u64>().expect("a time");
        assert!(times.iter().all(|t| *t > first), "{first}: {times:?}");
        state.retain(|_, n| *n != 0);
        let expected: std::collections::BTreeMap<String, i64> = server
            .rows(&format!(
                "SELECT k || '|' || s FROM sums AS OF {}",
                upto.parse::<u64>().expect("a time") - 1
            ))
            .into_iter()
            .map(|row| (row, 1))
            .collect();
        assert_eq!(state, expected, "round {round}");
        // The next part begins with the time after the last that was complete.
        seen = (upto.parse::<u64>().expect("a time") - 1).to_string();
    }
    let error = server.error("SELECT * FROM sums AS OF 1");
    assert!(error.contains("the earliest that can be read is"), "{error}");
    let shown = server.rows("SHOW CREATE MATERIALIZED VIEW sums").join("");
    assert!(shown.contains("RETAIN HISTORY FOR '1 hour'"), "{shown}");
}
