//! The bars of reliability that take the whole program: each at CI's size, and longer by a variable of the environment. The
//! table in `crates/RELIABILITY.md` says which is which. Seeds are printed; `DELTAMILL_SEED` gives another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};

use crate::support::{Server, create_topic, events, produce, rows};

/// How long a form is: from the environment, or CI's.
fn size(name: &str, ci: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(ci)
}

/// Numbers that one seed always gives.
struct Random(u64);

impl Random {
    fn seeded(default: u64) -> Random {
        Random(size("DELTAMILL_SEED", default))
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A connection, if the server takes one just now.
fn connect(address: &str) -> Option<Client> {
    let (host, port) = address.rsplit_once(':')?;
    Client::connect(&format!("host={host} port={port} user=materialize connect_timeout=5"), NoTls).ok()
}

// ---- R-09: bad input

/// Texts that are no JSON, each with the SQLSTATE that says so.
fn bad_texts() -> Vec<(Vec<u8>, &'static str)> {
    let mut bad: Vec<(Vec<u8>, &'static str)> = vec![];
    // Every beginning of a document but the whole.
    let whole = br#"{"type":"track","properties":{"price":12.5e1,"tags":["a",null,true],"name":"x\u00e9"}}"#;
    bad.extend((0..whole.len()).map(|n| (whole[..n].to_vec(), "22P02")));
    let within = |bytes: &[u8]| [&b"{\"a\": \""[..], bytes, b"\"}"].concat();
    // Bytes that are no UTF-8: bytes that go on nothing, that begin nothing, overlong forms, halves of surrogates, beyond the
    // last character, cut off.
    bad.extend((0x80..=0xbf_u8).step_by(3).map(|b| (within(&[b]), "22021")));
    bad.extend((0xf5..=0xff_u8).map(|b| (within(&[b]), "22021")));
    for bytes in [
        &[0xc0, 0xaf][..],
        &[0xc1, 0xbf],
        &[0xe0, 0x80, 0x80],
        &[0xe0, 0x9f, 0xbf],
        &[0xed, 0xa0, 0x80],
        &[0xed, 0xbf, 0xbf],
        &[0xf0, 0x80, 0x80, 0x80],
        &[0xf4, 0x90, 0x80, 0x80],
        &[0xc3],
        &[0xe2, 0x82],
        &[0xf0, 0x9f, 0x92],
        &[0xc3, 0x28],
        &[0x00],
    ] {
        bad.push((within(bytes), "22021"));
    }
    // Control characters in a string.
    bad.extend((1..0x20_u8).map(|b| (within(&[b]), "22P02")));
    for escape in [
        r"\x41",
        r"\a",
        r"\'",
        r"\0",
        r"\u",
        r"\u1",
        r"\u12",
        r"\u123",
        r"\uzzzz",
        r"\u12g4",
        r"\ud800",
        r"\udbff x",
        r"\udc00",
        r"\ud800\u0041",
        r"\U0041",
        r"\",
        r"\u{41}",
    ] {
        bad.push((within(escape.as_bytes()), "22P02"));
    }
    bad.push((within(br"\u0000"), "22P05"));
    for number in [
        "01",
        "-01",
        "1.",
        ".5",
        "-.5",
        "+1",
        "1e",
        "1e+",
        "1E-",
        "0x10",
        "1_000",
        "--1",
        "-",
        "+",
        "1.2.3",
        "1e1.5",
        "1,5",
        "NaN",
        "nan",
        "Infinity",
        "-Infinity",
        "inf",
        "1f",
        "1L",
        "0b1",
        "0o7",
        "1..2",
        "e5",
        "1e5e5",
        "\u{ff11}",
    ] {
        bad.push((format!("{{\"a\": {number}}}").into_bytes(), "22P02"));
    }
    for word in [
        "True",
        "FALSE",
        "nul",
        "nulll",
        "tru",
        "truefalse",
        "undefined",
        "None",
        "nil",
        "yes",
        "'a'",
        "a",
        "<xml/>",
        "\u{feff}1",
        "\u{feff}{\"a\": 1}",
        "\u{a0}1",
        "\u{2028}",
        "/* c */ 1",
        "1 // c",
        "# 1",
        "=1",
        "%PDF",
        "SELECT 1",
        "a=b&c=d",
        "---",
    ] {
        bad.push((word.as_bytes().to_vec(), "22P02"));
    }
    for shape in [
        " ",
        "\t\n\r",
        "[1,]",
        "[,1]",
        "[,]",
        "[1,,2]",
        "[1 2]",
        "[1:2]",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,\"a\":1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\",1}",
        "{a:1}",
        "{'a':1}",
        "{1:2}",
        "{null:1}",
        "{\"a\":1}}",
        "{\"a\":1}{",
        "{\"a\":1}{\"b\":2}",
        "{\"a\":1},",
        "1 2",
        "\"a\" \"b\"",
        "[",
        "]",
        "{",
        "}",
        "[[",
        "]]",
        "[}",
        "{]",
        "[1}",
        "{\"a\":[}",
        "\"",
        "\"a",
        "a\"",
        "\"\"\"",
        "\"a\"b",
        ",",
        ":",
        "null null",
        "true,",
        "[1]]",
        "[[1]",
        "{\"a\":{}",
        "{\"a\":{\"b\":1}",
        "[\"a]",
        "{\"a:1}",
    ] {
        bad.push((shape.as_bytes().to_vec(), "22P02"));
    }
    // Deeper than anything is taken.
    for depth in [600, 10_000, 100_000] {
        bad.push((b"[".repeat(depth), "54001"));
        bad.push(([b"[".repeat(depth), b"]".repeat(depth)].concat(), "54001"));
        bad.push(([b"{\"a\":".repeat(depth), b"1".to_vec(), b"}".repeat(depth)].concat(), "54001"));
    }
    bad
}

#[test]
fn bad_input_is_named_and_hinders_nothing() {
    let bad = bad_texts();
    assert!(bad.len() >= 250, "{}", bad.len());
    let mut random = Random::seeded(9);
    let seed = random.0;
    let rounds = size("DELTAMILL_BAD_ROUNDS", 1) as usize;
    let n = bad.len() * rounds * 100;
    let server = Server::start(&["--ephemeral", "--kafka-listen", "127.0.0.1:0", "--workers", "2"]);
    let brokers = server.kafka.clone().expect("the embedded Kafka");
    let good = events(seed, n);
    // One bad text among a hundred good ones, at any place.
    let (mut mixed, mut expected) = (vec![], BTreeMap::new());
    for (i, chunk) in good.chunks(100).enumerate() {
        let at = random.below(100) as usize;
        for (j, line) in chunk.iter().enumerate() {
            if j == at {
                let (text, code) = &bad[i % bad.len()];
                expected.insert(mixed.len(), *code);
                mixed.push(text.clone());
            }
            mixed.push(line.clone());
        }
    }
    let read = |topic: &str, messages: &[Vec<u8>], good: usize| {
        create_topic(&brokers, topic, 1);
        produce(&brokers, topic, 1, messages);
        let start = Instant::now();
        server.rows(&format!(
            "CREATE SOURCE {topic} FROM KAFKA CONNECTION k (TOPIC '{topic}') FORMAT JSON INCLUDE OFFSET
               WITH (ON ERROR = QUARANTINE);
             CREATE MATERIALIZED VIEW {topic}_types AS
               SELECT data ->> 'type' AS type, count(*) AS n FROM {topic} GROUP BY 1"
        ));
        server.wait_for(&format!("SELECT sum(n) FROM {topic}_types"), &[&good.to_string()]);
        start.elapsed()
    };
    server.rows(&format!("CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT)"));
    let clean = read("clean", &good, good.len());
    let took = read("mixed", &mixed, good.len());
    assert_eq!(
        server.rows("SELECT * FROM mixed_types ORDER BY 1"),
        server.rows("SELECT * FROM clean_types ORDER BY 1")
    );
    // Each bad one is there with its place and reason, and nothing else is.
    let errors = server.rows("SELECT \"offset\", sqlstate FROM mixed_errors ORDER BY 1");
    let differ: Vec<_> = expected
        .iter()
        .map(|(o, code)| format!("{o}|{code}"))
        .zip(&errors)
        .filter(|(a, b)| a != *b)
        .collect();
    let text = |row: &str| {
        let offset: usize = row.split('|').next().and_then(|o| o.parse().ok()).unwrap_or(0);
        String::from_utf8_lossy(&mixed[offset]).chars().take(40).collect::<String>()
    };
    let differ: Vec<_> = differ.iter().map(|(a, b)| format!("{a} but {b}: {}", text(a))).collect();
    assert!(differ.is_empty(), "{differ:#?}");
    assert_eq!(errors.len(), expected.len());
    let offsets = "SELECT (SELECT count(*) FROM mixed) + (SELECT count(*) FROM mixed_errors)";
    assert_eq!(server.rows(offsets), [mixed.len().to_string()]);
    println!(
        "R-09: {} bad texts of {} kinds among {} good ones, seed {seed}: 0 lost, 0 with another reason, 0 crashes; read in {:.0} % of \
         the time of the clean topic",
        expected.len(),
        bad.len(),
        good.len(),
        100.0 * took.as_secs_f64() / clean.as_secs_f64()
    );
}

// ---- R-19, R-03: failpoints

/// A server with failpoints, and rows in it.
fn with_failpoints(dir: &tempfile::TempDir) -> Server {
    let server = Server::start_with(
        &["--data-dir", &dir.path().display().to_string(), "--workers", "1"],
        &[(fail::VARIABLE, "")],
    );
    server.rows(
        "CREATE TABLE IF NOT EXISTS t (a int);
         CREATE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT count(*) AS n, sum(a) AS s FROM t",
    );
    server
}

#[test]
fn a_panic_anywhere_costs_one_statement_or_restarts_clean() {
    let times = size("DELTAMILL_PANICS", 1);
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = with_failpoints(&dir);
    let (mut acknowledged, mut contained, mut ended) = (0u64, 0, 0);
    for (site, survives) in fail::SITES {
        for _ in 0..times {
            let mut other = server.client();
            let mut client = server.client();
            client
                .batch_execute(&format!(
                    "SET failpoints = '{site}={}'",
                    if site == "storage-rewrite" { "off" } else { "panic@1" }
                ))
                .expect("it is armed");
            let start = Instant::now();
            // What passes all sites: a statement that is planned, a dataflow, a write; HTTP; a source.
            let mut wrote = 0;
            if client.batch_execute("INSERT INTO t VALUES (1)").is_ok() {
                wrote += 1;
            }
            let _ = client
                .batch_execute("CREATE MATERIALIZED VIEW IF NOT EXISTS w AS SELECT a FROM t WHERE a > 0");
            let _ = crate::support::Http::connect(&server.http).and_then(|mut http| {
                http.request(
                    "POST",
                    "/api/sql",
                    "Content-Type: application/json\r\n",
                    b"{\"query\": \"SELECT 1\"}",
                )
            });
            let _ = client.batch_execute(
                "CREATE SOURCE IF NOT EXISTS c FROM LOAD GENERATOR COUNTER (TICK INTERVAL '1ms')",
            );
            acknowledged += wrote;
            if survives {
                // Others do not notice.
                let answer = rows(&mut other, "SELECT 1").expect("the server lives");
                assert_eq!(answer, ["1"], "{site}");
                assert!(server.is_running(), "{site}");
                server.rows("SET failpoints = ''");
                contained += 1;
            } else if site != "storage-rewrite" {
                assert!(server.ends_within(Duration::from_secs(5)), "{site}: it hangs");
                assert!(start.elapsed() < Duration::from_secs(20), "{site}: {:?}", start.elapsed());
                server.restart();
                ended += 1;
            }
            let cleared = "DROP MATERIALIZED VIEW IF EXISTS w; DROP SOURCE IF EXISTS c";
            server.rows(cleared);
            // What was acknowledged is there; what was not may be.
            let n: u64 = server.rows("SELECT n FROM v")[0].parse().expect("a number");
            assert!(n >= acknowledged, "{site}: {n} of {acknowledged}");
            assert_eq!(
                server.rows("SELECT count(*), sum(a) FROM t"),
                server.rows("SELECT n, s FROM v"),
                "{site}"
            );
            acknowledged = n;
        }
    }
    println!("R-19: {contained} panics contained, {ended} restarts, 0 hung, 0 acknowledged rows lost");
}

#[test]
fn an_end_at_any_site_leaves_whole_statements() {
    let times = size("DELTAMILL_ABORTS", 2);
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = with_failpoints(&dir);
    let (mut acknowledged, mut ends) = (0u64, 0);
    for site in
        ["tick", "tick-durable", "catalog-change", "storage-write", "storage-sync", "storage-acknowledge"]
    {
        for n in 1..=times {
            let mut client = server.client();
            client.batch_execute(&format!("SET failpoints = '{site}=abort@{n}'")).expect("it is armed");
            // One statement, one row in each of two tables: both or none.
            for i in 0..200 {
                let name = format!("x{i}");
                let made = client.batch_execute(&format!(
                    "BEGIN; CREATE TABLE {name} (a int); COMMIT; INSERT INTO t VALUES (1); DROP TABLE {name}"
                ));
                if made.is_err() {
                    break;
                }
                acknowledged += 1;
            }
            assert!(server.ends_within(Duration::from_secs(5)), "{site}: it goes on");
            ends += 1;
            server.restart();
            let found: u64 = server.rows("SELECT n FROM v")[0].parse().expect("a number");
            assert!(
                (acknowledged..=acknowledged + 1).contains(&found),
                "{site}@{n}: {found} of {acknowledged}"
            );
            assert_eq!(
                server.rows("SELECT count(*), sum(a) FROM t"),
                server.rows("SELECT n, s FROM v"),
                "{site}@{n}"
            );
            acknowledged = found;
            // A table that was made may be left over, but whole.
            for table in server.rows("SELECT name FROM mz_tables WHERE name LIKE 'x%'") {
                server.rows(&format!("INSERT INTO {table} VALUES (1); DROP TABLE {table}"));
            }
        }
    }
    println!("R-03: {ends} ends at 6 sites: 0 acknowledged rows lost, 0 halves");
}

// ---- R-07: all objects agree, and time does not go back

#[test]
fn readers_agree_while_data_come_and_the_server_restarts() {
    const READERS: usize = 16;
    let (reads, restarts) = (size("DELTAMILL_READS", 400), size("DELTAMILL_RESTARTS", 3));
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(&["--data-dir", &dir.path().display().to_string(), "--workers", "2"]);
    server.rows(
        "CREATE TABLE accounts (id int, cents int);
         INSERT INTO accounts SELECT i, 0 FROM generate_series(0, 19) AS g (i);
         CREATE SOURCE c FROM LOAD GENERATOR COUNTER (TICK INTERVAL '20ms');
         CREATE MATERIALIZED VIEW one AS SELECT id % 3 AS k, sum(cents) AS s FROM accounts GROUP BY 1;
         CREATE MATERIALIZED VIEW two AS SELECT id % 3 AS k, sum(cents) AS s FROM accounts GROUP BY 1;
         CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM c;
         CREATE VIEW indexed AS SELECT sum(s) AS s FROM one; CREATE INDEX ON indexed (s)",
    );
    let address = Arc::new(std::sync::Mutex::new(server.sql.clone()));
    let (stop, done, refused) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let seen = Arc::new((AtomicI64::new(0), AtomicI64::new(0)));
    let run = |work: fn(&mut Client, &(AtomicI64, AtomicI64), u64) -> Result<(), postgres::Error>,
               count: bool| {
        let (address, stop, seen) = (address.clone(), stop.clone(), seen.clone());
        let (done, refused) = (done.clone(), refused.clone());
        std::thread::spawn(move || {
            let mut round = 0;
            while !stop.load(Ordering::SeqCst) {
                let at = address.lock().expect("whole").clone();
                let Some(mut client) = connect(&at) else {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                };
                while !stop.load(Ordering::SeqCst) {
                    round += 1;
                    if work(&mut client, &seen, round).is_err() {
                        refused.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                    if count {
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        })
    };
    let read = |client: &mut Client, seen: &(AtomicI64, AtomicI64), round: u64| {
        // What was seen by anyone before this read began is a lower bound of what it sees.
        let (time, n) = (seen.0.load(Ordering::SeqCst), seen.1.load(Ordering::SeqCst));
        let query = if round.is_multiple_of(2) {
            "SELECT mz_now()::text, (SELECT n FROM n), (SELECT sum(cents) FROM accounts),
               (SELECT count(*) FROM one FULL JOIN two USING (k, s) WHERE one.k IS NULL OR two.k IS NULL),
               (SELECT count(*) FROM c) - (SELECT n FROM n), (SELECT s FROM indexed)"
        } else {
            "SELECT mz_now()::text, (SELECT count(*) FROM c), (SELECT sum(s) FROM two), 0::int8, 0::int8, (SELECT sum(s) FROM one)"
        };
        let row = client.simple_query(query)?;
        let Some(postgres::SimpleQueryMessage::Row(row)) =
            row.iter().find(|m| matches!(m, postgres::SimpleQueryMessage::Row(_)))
        else {
            panic!("a row comes");
        };
        let number = |i: usize| row.get(i).and_then(|v| v.parse::<i64>().ok()).unwrap_or(0);
        assert!(number(0) >= time, "time went back: {} after {time}", number(0));
        assert!(number(1) >= n, "rows went away: {} after {n}", number(1));
        assert_eq!([2, 3, 4, 5].map(number), [0; 4], "objects differ at one time");
        seen.0.fetch_max(number(0), Ordering::SeqCst);
        seen.1.fetch_max(number(1), Ordering::SeqCst);
        Ok(())
    };
    let transfer = |client: &mut Client, _: &(AtomicI64, AtomicI64), round: u64| {
        let (from, to) = (round % 20, (round * 7 + 3) % 20);
        client.batch_execute(&format!("INSERT INTO accounts VALUES ({from}, -{round}), ({to}, {round})"))
    };
    let mut threads: Vec<_> = (0..READERS).map(|_| run(read, true)).collect();
    threads.push(run(transfer, false));
    for i in 1..=restarts {
        let goal = reads * i / (restarts + 1);
        while done.load(Ordering::SeqCst) < goal {
            std::thread::sleep(Duration::from_millis(10));
            assert!(threads.iter().all(|t| !t.is_finished()), "a reader found something wrong");
        }
        server.crash_and_restart();
        *address.lock().expect("whole") = server.sql.clone();
    }
    while done.load(Ordering::SeqCst) < reads {
        std::thread::sleep(Duration::from_millis(10));
        assert!(threads.iter().all(|t| !t.is_finished()), "a reader found something wrong");
    }
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|t| t.join().expect("no reader found anything wrong"));
    let (done, refused) = (done.load(Ordering::SeqCst), refused.load(Ordering::SeqCst));
    println!(
        "R-07: {done} reads by {READERS} clients, {restarts} restarts, {refused} cut off by them: 0 different, 0 back in time"
    );
}

// ---- R-13: clocks

#[test]
fn a_clock_that_is_set_back_or_stands_still_takes_no_time_back() {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    if !std::path::Path::new(library).exists() {
        eprintln!("skipped, libfaketime is not installed: clocks that are set back");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let flags = ["--data-dir", &data, "--workers", "1"];
    let mut server = Server::start(&flags);
    server.rows("CREATE TABLE t (at timestamp); CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t");
    let now = |server: &Server| server.rows("SELECT mz_now()::text")[0].parse::<u64>().expect("a time");
    let (mut last, mut n) = (now(&server), 0);
    let clocks = ["-1h", "+1d", "-30d", "@2030-01-01 00:00:00", "+0"];
    for clock in clocks {
        server.kill();
        let environment =
            [("LD_PRELOAD", library), ("FAKETIME", clock), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        server = Server::start_with(&flags, &environment);
        for _ in 0..20 {
            server.rows("INSERT INTO t VALUES (now()::timestamp)");
            n += 1;
            assert_eq!(server.rows("SELECT n FROM v"), [n.to_string()], "{clock}");
            let time = now(&server);
            assert!(time > last, "{clock}: {time} after {last}");
            last = time;
        }
    }
    // A jump ahead and back is the worst: a day passes before the clock has caught up, and nothing waits for that.
    println!("R-13: {} clocks over restarts, {n} writes: 0 times back, 0 hung", clocks.len());
}

// ---- R-27: shutdown

#[test]
fn a_shutdown_is_quick_and_nothing_is_read_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let broker =
        Server::start(&["--data-dir", &path("broker"), "--kafka-listen", "127.0.0.1:0", "--workers", "1"]);
    let brokers = broker.kafka.clone().expect("the embedded Kafka");
    create_topic(&brokers, "events", 2);
    produce(&brokers, "events", 2, &events(27, 20_000));
    let mut server = Server::start(&["--data-dir", &path("engine"), "--workers", "2"]);
    server.rows(&format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
         CREATE SOURCE s FROM KAFKA CONNECTION k (TOPIC 'events') FORMAT BYTES;
         CREATE MATERIALIZED VIEW v AS SELECT convert_from(data, 'utf8')::jsonb ->> 'type' AS type, count(*) AS n FROM s GROUP BY 1"
    ));
    server.wait_for("SELECT sum(n) FROM v", &["20000"]);
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        let start = Instant::now();
        server.terminate();
        assert!(server.ends_within(Duration::from_secs(2)), "a shutdown takes longer than 2 s");
        slowest = slowest.max(start.elapsed());
        server.restart();
        let running = "SELECT status FROM mz_internal.mz_source_statuses WHERE name = 's'";
        server.wait_for(running, &["running"]);
        server.wait_for("SELECT sum(n) FROM v", &["20000"]);
        let read = "SELECT messages_received, offset_known, offset_committed FROM mz_internal.mz_source_statistics WHERE name = 's'";
        server.wait_for(read, &["0|20000|20000"]);
    }
    println!("R-27: 3 shutdowns, the slowest {slowest:?}: 0 records read again");
}

// ---- R-21: a restart between any two steps

/// Each: made, changed, changed again, and the query with what it must give then.
const STEPS: [[&str; 4]; 12] = [
    ["CREATE TABLE a (x int)", "INSERT INTO a VALUES (1)", "UPDATE a SET x = x + 1", "SELECT x FROM a = 2"],
    [
        "CREATE TABLE b (x int); CREATE VIEW bv AS SELECT x * 2 AS y FROM b",
        "INSERT INTO b VALUES (4)",
        "CREATE INDEX bi ON bv (y)",
        "SELECT y FROM bv WHERE y = 8 = 8",
    ],
    [
        "CREATE TABLE d (k text, v int); CREATE MATERIALIZED VIEW dm AS SELECT k, sum(v) AS s FROM d GROUP BY k",
        "INSERT INTO d VALUES ('p', 1), ('q', 2)",
        "DELETE FROM d WHERE k = 'p'",
        "SELECT k, s FROM dm = q|2",
    ],
    [
        "CREATE SOURCE e FROM LOAD GENERATOR SEGMENT (EVENTS 500) FORMAT BYTES",
        "CREATE MATERIALIZED VIEW em AS SELECT count(*) AS n FROM e",
        "CREATE VIEW en AS SELECT n + 1 AS n FROM em",
        "SELECT n FROM en = 501",
    ],
    [
        "CREATE TABLE f (x text); CREATE MATERIALIZED VIEW fm WITH (ON ERROR = QUARANTINE) AS SELECT x::int AS x FROM f",
        "INSERT INTO f VALUES ('1'), ('no')",
        "INSERT INTO f VALUES ('2')",
        "SELECT (SELECT sum(x) FROM fm), (SELECT count(*) FROM fm_errors) = 3|1",
    ],
    ["CREATE SCHEMA g", "CREATE TABLE g.t (x int)", "INSERT INTO g.t VALUES (7)", "SELECT x FROM g.t = 7"],
    [
        "CREATE SECRET h AS 'one'",
        "ALTER SECRET h AS 'two'",
        "COMMENT ON SECRET h IS 'c'",
        "SELECT count(*) FROM mz_secrets WHERE name = 'h' = 1",
    ],
    [
        "CREATE TABLE i (x int)",
        "ALTER TABLE i RENAME TO i2",
        "INSERT INTO i2 VALUES (5)",
        "SELECT x FROM i2 = 5",
    ],
    [
        "CREATE TABLE j (x int); CREATE MATERIALIZED VIEW jm AS SELECT DISTINCT x FROM j",
        "INSERT INTO j VALUES (1), (1), (2)",
        "DELETE FROM j WHERE x = 2",
        "SELECT x FROM jm = 1",
    ],
    [
        "CREATE TABLE k (x int, y int); CREATE MATERIALIZED VIEW km AS SELECT a.x FROM k a JOIN k b ON a.x = b.y",
        "INSERT INTO k VALUES (1, 2), (2, 3)",
        "INSERT INTO k VALUES (3, 9)",
        "SELECT x FROM km ORDER BY x = 2,3",
    ],
    [
        "CREATE TABLE l (x int); CREATE MATERIALIZED VIEW lm AS SELECT x FROM l ORDER BY x DESC LIMIT 2",
        "INSERT INTO l VALUES (1), (5), (3)",
        "DELETE FROM l WHERE x = 5",
        "SELECT x FROM lm ORDER BY x = 1,3",
    ],
    [
        "CREATE TABLE m (x int)",
        "CREATE MATERIALIZED VIEW mm AS SELECT count(*) AS n FROM m",
        "DROP MATERIALIZED VIEW mm",
        "SELECT count(*) FROM mz_materialized_views WHERE name = 'mm' = 0",
    ],
];

#[test]
fn a_restart_between_any_two_steps_changes_nothing() {
    for clean in [false, true] {
        let dir = tempfile::tempdir().expect("a folder");
        let mut server = Server::start(&["--data-dir", &dir.path().display().to_string(), "--workers", "1"]);
        let again = |server: &mut Server| {
            if clean {
                server.terminate();
                assert!(server.ends_within(Duration::from_secs(5)));
                server.restart();
            } else {
                server.crash_and_restart();
            }
        };
        for step in 0..3 {
            STEPS.iter().for_each(|s| drop(server.rows(s[step])));
            again(&mut server);
        }
        for _ in 0..2 {
            for s in &STEPS {
                let (query, expected) = s[3].rsplit_once(" = ").expect("a query and its rows");
                let expected: Vec<&str> = expected.split(',').collect();
                server.wait_for(query, &expected);
            }
            again(&mut server);
        }
    }
    println!("R-21: {} features, 2 ways to restart, 10 restarts: 0 different", STEPS.len());
}

// ---- R-20: everything together

#[test]
fn any_sequence_of_actions_gives_what_a_model_gives() {
    let actions = size("DELTAMILL_ACTIONS", 300);
    let mut random = Random::seeded(20);
    let seed = random.0;
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let broker =
        Server::start(&["--data-dir", &path("broker"), "--kafka-listen", "127.0.0.1:0", "--workers", "1"]);
    let brokers = broker.kafka.clone().expect("the embedded Kafka");
    create_topic(&brokers, "topic", 3);
    let mut server = Server::start(&["--data-dir", &path("engine"), "--workers", "2"]);
    server.rows(&format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
         CREATE SOURCE s FROM KAFKA CONNECTION k (TOPIC 'topic') FORMAT TEXT;
         CREATE TABLE t (id int, k int, v int)"
    ));
    let mut table: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let (mut produced, mut next, mut kills) = (0u64, 0u64, 0);
    let mut views: BTreeMap<u64, bool> = BTreeMap::new();
    for step in 0..actions {
        let context = format!("seed {seed}, action {step}");
        match random.below(20) {
            0..=5 => {
                let rows: Vec<String> = (0..=random.below(30))
                    .map(|_| {
                        let (k, v) = (random.below(5), random.below(1_000));
                        next += 1;
                        table.insert(next, (k, v));
                        format!("({next}, {k}, {v})")
                    })
                    .collect();
                server.rows(&format!("INSERT INTO t VALUES {}", rows.join(", ")));
            }
            6 | 7 => {
                let k = random.below(5);
                let below = random.below(1_000);
                table.retain(|_, (tk, v)| *tk != k || *v >= below);
                server.rows(&format!("DELETE FROM t WHERE k = {k} AND v < {below}"));
            }
            8 => {
                let k = random.below(5);
                table.values_mut().filter(|(tk, _)| *tk == k).for_each(|(_, v)| *v += 1);
                server.rows(&format!("UPDATE t SET v = v + 1 WHERE k = {k}"));
            }
            9 | 10 => {
                let n = random.below(6);
                match views.remove(&n) {
                    Some(_) => drop(server.rows(&format!("DROP MATERIALIZED VIEW v{n} CASCADE"))),
                    None => {
                        let of_source = random.below(2) == 1;
                        let query = if of_source {
                            "SELECT length(text) AS k, count(*) AS n FROM s GROUP BY 1"
                        } else {
                            "SELECT k, sum(v) AS n FROM t GROUP BY k"
                        };
                        server.rows(&format!("CREATE MATERIALIZED VIEW v{n} AS {query}"));
                        views.insert(n, of_source);
                    }
                }
            }
            11 => {
                if let Some(n) = views.keys().next() {
                    server.rows(&format!("CREATE INDEX IF NOT EXISTS i{n} ON v{n} (k)"));
                }
            }
            12..=14 => {
                let n = random.below(200);
                produce(
                    &brokers,
                    "topic",
                    3,
                    &(0..n).map(|i| format!("{}", produced + i).into_bytes()).collect::<Vec<_>>(),
                );
                produced += n;
            }
            15 => {
                kills += 1;
                server.crash_and_restart();
            }
            16 => {
                // One who comes, asks for too much and goes.
                let mut client = server.client();
                let token = client.cancel_token();
                let asking = std::thread::spawn(move || {
                    rows(
                        &mut client,
                        "SELECT count(*) FROM generate_series(1, 3000000) a, generate_series(1, 1000) b",
                    )
                });
                std::thread::sleep(Duration::from_millis(30));
                while !asking.is_finished() {
                    let _ = token.cancel_query(NoTls);
                    std::thread::sleep(Duration::from_millis(10));
                }
                let error = asking.join().expect("it ends").expect_err("it is cancelled");
                assert!(error.starts_with("57014"), "{context}: {error}");
            }
            _ => {
                let sum = |k: u64| table.values().filter(|(tk, _)| *tk == k).map(|(_, v)| v).sum::<u64>();
                let of_table: Vec<String> = (0..5)
                    .filter(|k| table.values().any(|(tk, _)| tk == k))
                    .map(|k| format!("{k}|{}", sum(k)))
                    .collect();
                let mut lengths: BTreeMap<usize, u64> = BTreeMap::new();
                (0..produced).for_each(|i| *lengths.entry(i.to_string().len()).or_default() += 1);
                let of_source: Vec<String> = lengths.iter().map(|(k, n)| format!("{k}|{n}")).collect();
                let mut client = server.client();
                client.batch_execute("SET real_time_recency = on").expect("a setting");
                for (n, source) in &views {
                    let expected = if *source { &of_source } else { &of_table };
                    let got = rows(&mut client, &format!("SELECT k, n FROM v{n} ORDER BY k"));
                    assert_eq!(got.as_ref(), Ok(expected), "{context}");
                }
                let got = rows(&mut client, "SELECT count(*), count(DISTINCT text) FROM s");
                assert_eq!(got, Ok(vec![format!("{produced}|{produced}")]), "{context}");
            }
        }
    }
    println!(
        "R-20: {actions} actions, {kills} kills, {produced} records, seed {seed}: 0 lost, 0 doubled, 0 different"
    );
}
