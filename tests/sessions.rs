//! What a session sees of transactions, of time, and of what it waits for.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};

use crate::support::{PATIENCE, Server, deltamill, rows, text};

/// A connection, and the notices that it gets.
fn listening(server: &Server) -> (Client, Arc<Mutex<Vec<String>>>) {
    let (host, port) = server.sql.rsplit_once(':').expect("host:port");
    let notices = Arc::new(Mutex::new(vec![]));
    let to = notices.clone();
    let mut config = Config::new();
    config.host(host).port(port.parse().expect("a number")).user("materialize").dbname("materialize");
    config.notice_callback(move |n| {
        let text = format!("{} {}", n.message(), n.detail().unwrap_or_default());
        to.lock().expect("nothing panics under this lock").push(text);
    });
    (config.connect(NoTls).expect("the server takes connections"), notices)
}

#[test]
fn a_read_that_waits_says_for_what() {
    let server = Server::start(&["--ephemeral"]);
    let (mut client, notices) = listening(&server);
    let setup = "CREATE TABLE t (a int4); INSERT INTO t SELECT generate_series(1, 1500);
        CREATE MATERIALIZED VIEW pairs AS SELECT count(*) FROM t a, t b WHERE a.a + b.a > 0";
    client.batch_execute(setup).expect("created");
    assert_eq!(rows(&mut client, "SELECT * FROM pairs"), Ok(vec!["2250000".into()]));
    let got = notices.lock().expect("nothing panics under this lock").clone();
    let expected = "the read waits for materialized view \"pairs\", which is still being built It has read 1500 of \
                    1500 stored changes of \"t\"";
    assert!(got.iter().any(|n| n.starts_with(expected)), "{got:?}");
    // Somebody who wants no notices gets none.
    notices.lock().expect("nothing panics under this lock").clear();
    let quiet = "SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS t (a int4)";
    client.batch_execute(quiet).expect("nothing to do");
    assert!(notices.lock().expect("nothing panics under this lock").is_empty());
}

#[test]
fn a_stalled_source_is_named_by_reads_above_it() {
    let server = Server::start(&["--ephemeral"]);
    let (mut client, notices) = listening(&server);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events");
    std::fs::write(&path, "a\n").expect("written");
    let path = path.display();
    let setup = format!(
        "CREATE SOURCE s FROM FILE '{path}' WITH (tail = true) FORMAT TEXT;
         CREATE MATERIALIZED VIEW v AS SELECT count(*) FROM s"
    );
    client.batch_execute(&setup).expect("created");
    server.wait_for("SELECT * FROM v", &["1"]);
    std::fs::remove_file(folder.path().join("events")).expect("removed");
    let start = Instant::now();
    loop {
        rows(&mut client, "SELECT * FROM v").expect("rows");
        let got = notices.lock().expect("nothing panics under this lock").clone();
        if got.iter().any(|n| n.starts_with("source \"s\" is stalled: newer data may be missing ")) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{got:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn changes_of_a_transaction_take_effect_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(&["--data-dir", folder.path().to_str().expect("UTF-8")]);
    let names = "SELECT name FROM mz_objects WHERE id LIKE 'u%' ORDER BY name";
    let mut client = server.client();
    let open = "BEGIN; CREATE TABLE t (a int4); INSERT INTO t VALUES (1), (2);
        CREATE MATERIALIZED VIEW v AS SELECT sum(a) FROM t; CREATE INDEX i ON v (sum)";
    client.batch_execute(open).expect("planned");
    assert_eq!(server.rows(names), [""; 0], "nobody else sees them");
    assert!(rows(&mut client, "SELECT * FROM v").is_err_and(|e| e.starts_with("0A000")));
    // The failure ends the transaction, and nothing is left.
    assert!(rows(&mut client, "SELECT 1").is_err_and(|e| e.starts_with("25P02")));
    client.batch_execute("ROLLBACK").expect("rolled back");
    assert_eq!(server.rows(names), [""; 0]);
    client.batch_execute(open).expect("planned");
    server.crash_and_restart();
    assert_eq!(server.rows(names), [""; 0], "a crash before COMMIT leaves nothing");
    let mut client = server.client();
    client.batch_execute(open).expect("planned");
    client.batch_execute("COMMIT").expect("committed");
    assert_eq!(rows(&mut client, "SELECT * FROM v"), Ok(vec!["3".into()]));
    server.crash_and_restart();
    assert_eq!(server.rows(names), ["i", "t", "v"]);
    assert_eq!(server.rows("SELECT * FROM v"), ["3"]);
    // Replacing and dropping, too.
    let mut client = server.client();
    client.batch_execute("BEGIN; DROP TABLE t CASCADE; CREATE TABLE t (a text)").expect("planned");
    assert_eq!(server.rows("SELECT * FROM v"), ["3"]);
    client.batch_execute("INSERT INTO t VALUES ('x'); COMMIT").expect("committed");
    assert_eq!(server.rows(names), ["t"]);
    assert_eq!(server.rows("SELECT * FROM t"), ["x"]);
}

#[test]
fn a_transaction_that_was_overtaken_fails_whole() {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    client.batch_execute("BEGIN; CREATE TABLE a (x int4)").expect("planned");
    server.rows("CREATE TABLE b (x int4)");
    let error = rows(&mut client, "COMMIT").expect_err("the catalog is another one");
    assert!(error.starts_with("40001"), "{error}");
    assert_eq!(server.rows("SHOW TABLES"), ["b|"]);
}

#[test]
fn savepoints_take_back_a_part() {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    client
        .batch_execute("CREATE TABLE t (a int4); BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s")
        .expect("open");
    client.batch_execute("CREATE VIEW v AS SELECT 1; INSERT INTO t VALUES (2)").expect("open");
    client.batch_execute("SET application_name = 'x'").expect("set");
    assert!(rows(&mut client, "SELECT nothing").is_err_and(|e| e.starts_with("42703")));
    client.batch_execute("ROLLBACK TO s; INSERT INTO t VALUES (3)").expect("it goes on");
    assert!(rows(&mut client, "ROLLBACK TO other").is_err_and(|e| e.starts_with("3B001")));
    client.batch_execute("ROLLBACK TO SAVEPOINT s; INSERT INTO t VALUES (4); COMMIT").expect("committed");
    assert_eq!(rows(&mut client, "SELECT a FROM t ORDER BY a"), Ok(vec!["1".into(), "4".into()]));
    assert_eq!(rows(&mut client, "SHOW VIEWS"), Ok(vec![]));
    assert_eq!(rows(&mut client, "SHOW application_name"), Ok(vec!["".into()]));
    assert!(rows(&mut client, "SAVEPOINT s").is_err_and(|e| e.starts_with("25P01")));
}

#[test]
fn settings_follow_their_transaction() {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    let mut shown = |sql: &str| {
        let _ = client.batch_execute(sql);
        rows(&mut client, "SHOW application_name").expect("a value").join("")
    };
    assert_eq!(shown("SET application_name = 'a'"), "a");
    assert_eq!(shown("SET LOCAL application_name = 'b'"), "a", "outside of a transaction it does nothing");
    assert_eq!(shown("BEGIN; SET LOCAL application_name = 'b'"), "b");
    assert_eq!(shown("COMMIT"), "a");
    assert_eq!(shown("BEGIN; SET application_name = 'c'; SET LOCAL application_name = 'd'"), "d");
    assert_eq!(shown("COMMIT"), "c");
    assert_eq!(shown("BEGIN; SET application_name = 'e'"), "e");
    assert_eq!(shown("ROLLBACK"), "c");
    client.batch_execute("BEGIN; SET application_name = 'e'; SELECT 1/0").expect_err("a division by zero");
    client.batch_execute("COMMIT").expect("which is a ROLLBACK");
    assert_eq!(rows(&mut client, "SHOW application_name"), Ok(vec!["c".into()]));
}

#[test]
fn temporary_views_belong_to_their_session() {
    let server = Server::start(&["--ephemeral"]);
    let (mut one, mut two) = (server.client(), server.client());
    one.batch_execute("CREATE TABLE t (a int4); INSERT INTO t VALUES (1), (2)").expect("created");
    one.batch_execute("CREATE TEMPORARY VIEW v AS SELECT sum(a) FROM t").expect("created");
    two.batch_execute("CREATE TEMP VIEW v AS SELECT count(*) + 10 FROM t").expect("another of the name");
    // One that hides a table of the name, and one over another.
    one.batch_execute("CREATE TEMP VIEW w AS SELECT sum + 1 AS n FROM v").expect("created");
    assert_eq!(rows(&mut one, "SELECT * FROM v, w"), Ok(vec!["3|4".into()]));
    assert_eq!(rows(&mut two, "SELECT * FROM v"), Ok(vec!["12".into()]));
    assert!(server.error("SELECT * FROM v").starts_with("42P01"));
    assert!(rows(&mut one, "CREATE VIEW x AS SELECT * FROM v").is_err_and(|e| e.starts_with("42P16")));
    // They follow the catalog below them, and go with what they read.
    two.batch_execute("CREATE TABLE other (a int4)").expect("created");
    assert_eq!(rows(&mut one, "SELECT * FROM w"), Ok(vec!["4".into()]));
    two.batch_execute("DROP VIEW v").expect("dropped");
    assert!(rows(&mut two, "SELECT * FROM v").is_err_and(|e| e.starts_with("42P01")));
    assert_eq!(rows(&mut one, "SELECT * FROM v"), Ok(vec!["3".into()]));
    one.batch_execute("BEGIN; CREATE TEMP VIEW z AS SELECT 1; ROLLBACK").expect("rolled back");
    assert!(rows(&mut one, "SELECT * FROM z").is_err_and(|e| e.starts_with("42P01")));
    two.batch_execute("DROP TABLE t").expect("nobody else's views hold it");
    assert!(rows(&mut one, "SELECT * FROM w").is_err_and(|e| e.starts_with("42P01")));
}

#[test]
fn apply_is_one_step() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
    let server = Server::start(&["--ephemeral"]);
    let url = format!("postgres://materialize@{}/materialize", server.sql);
    let folder = dir.path().display().to_string();
    let apply = || deltamill(&["apply", &folder, "--url", &url]);
    write("a.sql", "CREATE TABLE t (n int4);\nCREATE MATERIALIZED VIEW v AS SELECT sum(n) AS n FROM t;");
    assert!(apply().status.success());
    server.rows("INSERT INTO t VALUES (1), (2)");
    // The first file is right and would replace the view, the second one fails when its statement runs.
    write("a.sql", "CREATE TABLE t (n int4);\nCREATE MATERIALIZED VIEW v AS SELECT max(n) AS n FROM t;");
    write("b.sql", "CREATE SOURCE s FROM FILE '/nowhere/at/all' FORMAT TEXT;");
    let out = apply();
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("b.sql:1:1: 58P01"), "{}", text(&out.stderr));
    assert_eq!(server.rows("SELECT n FROM v"), ["3"], "the old view is there");
    write("b.sql", "CREATE VIEW w AS SELECT n + 1 AS n FROM v;");
    assert!(apply().status.success());
    assert_eq!(server.rows("SELECT v.n, w.n FROM v, w"), ["2|3"]);
}

/// Milliseconds since the epoch, by the server's clock.
fn now(client: &mut Client) -> u64 {
    let now = rows(client, "SELECT mz_now()").expect("a time");
    now[0].parse().expect("a number")
}

#[test]
fn rows_leave_by_the_clock_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(&["--data-dir", folder.path().to_str().expect("UTF-8")]);
    let mut client = server.client();
    let setup = "CREATE TABLE t (a int4, at timestamptz);
        CREATE MATERIALIZED VIEW recent AS SELECT a FROM t WHERE mz_now() <= at + INTERVAL '700 milliseconds';
        CREATE VIEW counted AS SELECT count(*) AS n FROM t WHERE mz_now() < at + INTERVAL '600 milliseconds';
        CREATE DEFAULT INDEX ON counted";
    client.batch_execute(setup).expect("created");
    let mut follower = server.client();
    let copy = "COPY (SUBSCRIBE recent) TO STDOUT";
    let mut changes = std::io::BufReader::new(follower.copy_out(copy).expect("subscribed"));
    client
        .batch_execute("INSERT INTO t VALUES (1, now()), (2, now() + INTERVAL '1 hour')")
        .expect("inserted");
    assert_eq!(rows(&mut client, "SELECT a FROM recent ORDER BY a"), Ok(vec!["1".into(), "2".into()]));
    // Nothing more comes in.
    let mut lines = vec![];
    for _ in 0..3 {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut changes, &mut line).expect("a change");
        lines.push(line.split_once('\t').expect("a time first").1.trim().to_string());
    }
    lines[..2].sort();
    assert_eq!(lines, ["1\t1", "1\t2", "-1\t1"]);
    assert_eq!(rows(&mut client, "SELECT a FROM recent"), Ok(vec!["2".into()]));
    assert_eq!(rows(&mut client, "SELECT n FROM counted"), Ok(vec!["1".into()]));
    drop(changes);
    // What was stored of rows that leave while nobody runs is taken back.
    client.batch_execute("INSERT INTO t VALUES (3, now())").expect("inserted");
    assert_eq!(rows(&mut client, "SELECT a FROM recent ORDER BY a"), Ok(vec!["2".into(), "3".into()]));
    let due = now(&mut client) + 800;
    server.kill();
    while std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis() < u128::from(due) {
        std::thread::sleep(Duration::from_millis(20));
    }
    server.crash_and_restart();
    server.wait_for("SELECT a FROM recent", &["2"]);
}

#[test]
fn times_to_come_come() {
    let server = Server::start(&["--ephemeral"]);
    let (mut client, notices) = listening(&server);
    client.batch_execute("CREATE TABLE t (a int4); INSERT INTO t VALUES (1)").expect("created");
    let soon = now(&mut client) + 900;
    assert_eq!(rows(&mut client, &format!("SELECT a FROM t AS OF {soon}")), Ok(vec!["1".into()]));
    assert!(now(&mut client) >= soon);
    let got = notices.lock().expect("nothing panics under this lock").clone();
    assert!(got.iter().any(|n| n.starts_with("the read waits for a time that has not come yet")), "{got:?}");
    let soon = now(&mut client) + 300;
    let count = format!("SELECT count(*) FROM t AS OF AT LEAST {soon}");
    assert_eq!(rows(&mut client, &count), Ok(vec!["1".into()]));
    // A subscription up to a time ends then, also if nothing comes any more.
    let upper = now(&mut client) + 300;
    let followed = rows(&mut client, &format!("SUBSCRIBE t UP TO {upper}")).expect("rows");
    assert_eq!(followed.len(), 1, "{followed:?}");
    assert!(now(&mut client) >= upper - 1);
    // One that wants progress hears of time that passes.
    let begin = "BEGIN; DECLARE c CURSOR FOR SUBSCRIBE t WITH (PROGRESS, SNAPSHOT = false)";
    client.batch_execute(begin).expect("declared");
    let mut times = std::collections::BTreeSet::new();
    while times.len() < 3 {
        for row in rows(&mut client, "FETCH ALL c WITH (timeout = '5s')").expect("rows") {
            let (time, rest) = row.split_once('|').expect("columns");
            assert_eq!(rest, "t|NULL|NULL");
            times.insert(time.parse::<u64>().expect("a time"));
        }
    }
}

#[test]
fn a_transaction_reads_at_one_time() {
    let server = Server::start(&["--ephemeral"]);
    let (mut one, mut two) = (server.client(), server.client());
    let setup = "CREATE TABLE a (n int4); CREATE TABLE b (n int4); INSERT INTO a VALUES (1);
        CREATE MATERIALIZED VIEW v AS SELECT count(*) FROM b; CREATE INDEX i ON b (n)";
    one.batch_execute(setup).expect("created");
    one.batch_execute("BEGIN").expect("begun");
    assert_eq!(rows(&mut one, "SELECT n FROM a"), Ok(vec!["1".into()]));
    // Enough ticks for arrangements to forget what nobody holds.
    for i in 0..200 {
        two.batch_execute(&format!("INSERT INTO a VALUES ({i}); INSERT INTO b VALUES ({i})"))
            .expect("written");
    }
    assert_eq!(rows(&mut one, "SELECT n FROM a"), Ok(vec!["1".into()]));
    assert_eq!(rows(&mut one, "SELECT n FROM b"), Ok(vec![]));
    assert_eq!(rows(&mut one, "SELECT * FROM v"), Ok(vec!["0".into()]));
    assert_eq!(rows(&mut one, "SELECT count(*) FROM a, b"), Ok(vec!["0".into()]));
    one.batch_execute("COMMIT").expect("committed");
    assert_eq!(rows(&mut one, "SELECT * FROM v"), Ok(vec!["200".into()]));
}

#[test]
fn results_have_a_greatest_size() {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    let setup = "CREATE TABLE t (a int4, b text); INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 5000) n;
        SET max_query_result_size = '100kB'";
    client.batch_execute(setup).expect("created");
    for query in ["SELECT * FROM t", "SELECT * FROM t ORDER BY a", "SELECT u.b FROM t, t u WHERE t.a = u.a"] {
        let error = rows(&mut client, query).expect_err("too large");
        assert_eq!(error, "53400 result exceeds max size of 100kB", "{query}");
    }
    assert_eq!(rows(&mut client, "SELECT a FROM t ORDER BY a DESC LIMIT 1"), Ok(vec!["5000".into()]));
    assert_eq!(rows(&mut client, "SELECT count(*) FROM t"), Ok(vec!["5000".into()]));
    let mut out = String::new();
    let mut copy = client.copy_out("COPY (SELECT * FROM t) TO STDOUT").expect("begun");
    copy.read_to_string(&mut out).expect("text");
    drop(copy);
    assert_eq!(out.lines().count(), 5000);
    assert!(rows(&mut client, "SET max_query_result_size = 'much'").is_err_and(|e| e.starts_with("22023")));
    client.batch_execute("SET max_query_result_size = '10MB'").expect("set");
    assert_eq!(rows(&mut client, "SELECT * FROM t").map(|r| r.len()), Ok(5000));
}

/// A figure of `/metrics`.
fn metric(server: &Server, name: &str) -> f64 {
    let mut stream = std::net::TcpStream::connect(&server.http).expect("a connection");
    let host = &server.http;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let value = answer.lines().find_map(|l| l.strip_prefix(name)).expect("the figure is there");
    value.trim().parse().expect("a number")
}

/// Waits for a figure of `/metrics`.
fn wait_for_metric(server: &Server, name: &str, wanted: f64, within: Duration) {
    let start = Instant::now();
    while metric(server, name) != wanted {
        assert!(start.elapsed() < within, "{name} is {}, not {wanted}", metric(server, name));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_off() {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    client.batch_execute("CREATE TABLE t (a text)").expect("created");
    let mut slow = server.client();
    let mut changes = slow.copy_out("COPY (SUBSCRIBE t) TO STDOUT").expect("subscribed");
    wait_for_metric(&server, "deltamill_subscriptions", 1.0, PATIENCE);
    // More than the sockets and the queue take.
    let start = Instant::now();
    while metric(&server, "deltamill_subscriptions") > 0.0 {
        let write = "INSERT INTO t SELECT repeat(chr(n), 100000) FROM generate_series(33, 122) n";
        client.batch_execute(write).expect("others go on");
        client.batch_execute("DELETE FROM t").expect("others go on");
        assert!(start.elapsed() < PATIENCE, "it is never cut off");
    }
    // What was on its way still comes, then the reason.
    let error = std::io::copy(&mut changes, &mut std::io::sink()).expect_err("it was cut off");
    let source = error.into_inner().expect("a cause").downcast::<postgres::Error>().expect("the server's");
    assert_eq!(source.code().map(|c| c.code()), Some("53400"), "{source}");
}

#[test]
fn renamed_objects_keep_their_dependants() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(&["--data-dir", folder.path().to_str().expect("UTF-8")]);
    let path = folder.path().join("events");
    std::fs::write(&path, "a\nb\n").expect("written");
    let path = path.display();
    server.rows(&format!(
        "CREATE TABLE t (a int4); INSERT INTO t VALUES (1), (2);
         CREATE VIEW v AS SELECT t.a + 1 AS a, 't' AS s FROM t WHERE t.a > 0;
         CREATE MATERIALIZED VIEW m AS SELECT sum(x.a) AS n FROM v x JOIN t ON x.a > t.a;
         CREATE INDEX i ON m (n);
         CREATE SOURCE s FROM FILE '{path}' FORMAT TEXT;
         CREATE VIEW progress AS SELECT count(*) AS n FROM s_progress;
         CREATE VIEW qualified AS SELECT public.t.a FROM t"
    ));
    server.wait_for("SELECT count(*) FROM s", &["2"]);
    let error = server.error("ALTER TABLE t RENAME TO numbers");
    assert!(error.starts_with("0A000") && error.contains("qualified"), "{error}");
    server.rows("DROP VIEW qualified");
    server.rows(
        "ALTER TABLE t RENAME TO numbers; ALTER VIEW v RENAME TO \"Some View\";
         ALTER MATERIALIZED VIEW m RENAME TO total; ALTER INDEX i RENAME TO j; ALTER SOURCE s RENAME TO lines",
    );
    let check = |server: &Server| {
        assert_eq!(server.rows("SELECT n FROM total"), ["8"]);
        assert_eq!(server.rows("SELECT a, s FROM \"Some View\" ORDER BY a"), ["2|t", "3|t"]);
        assert_eq!(server.rows("SELECT count(*), (SELECT n FROM progress) FROM lines"), ["2|1"]);
        assert_eq!(server.rows("SELECT count(*) FROM lines_errors"), ["0"]);
        assert_eq!(server.rows("SHOW INDEXES"), ["j|total|quickstart|{n}|"]);
        for gone in ["t", "v", "m", "s", "s_progress"] {
            assert!(server.error(&format!("SELECT * FROM {gone}")).starts_with("42P01"), "{gone}");
        }
    };
    check(&server);
    server.crash_and_restart();
    check(&server);
    server.rows("INSERT INTO numbers VALUES (10)");
    assert_eq!(server.rows("SELECT n FROM total"), ["41"]);
    assert!(server.error("ALTER TABLE numbers RENAME TO total").starts_with("42P07"));
    assert!(server.error("ALTER VIEW numbers RENAME TO x").starts_with("42809"));
    server.rows("ALTER TABLE IF EXISTS nothing RENAME TO x");
    // In a transaction that ends otherwise.
    let mut client = server.client();
    client.batch_execute("BEGIN; ALTER TABLE numbers RENAME TO x; ROLLBACK").expect("rolled back");
    assert_eq!(server.rows("SELECT count(*) FROM numbers"), ["3"]);
}

#[test]
fn show_takes_conditions() {
    let server = Server::start(&["--ephemeral"]);
    let setup = "CREATE TABLE a (x int4 NOT NULL, y text); CREATE TABLE b (x int4); CREATE INDEX i ON a (x)";
    server.rows(setup);
    assert_eq!(server.rows("SHOW TABLES WHERE name > 'a'"), ["b|"]);
    assert_eq!(server.rows("SHOW COLUMNS FROM a WHERE nullable"), ["y|t|text|"]);
    assert_eq!(
        server.rows("SHOW INDEXES ON a WHERE \"on\" = 'a' AND key LIKE '{x%'"),
        ["i|a|quickstart|{x}|"]
    );
    assert_eq!(server.rows("SHOW SCHEMAS WHERE name = 'public'"), ["public|"]);
    assert!(server.error("SHOW TABLES WHERE nope = 1").starts_with("42703"));
    assert!(server.error("SHOW TABLES WHERE name").starts_with("42804"));
}

#[test]
fn a_read_that_runs_away_ends_with_its_time_and_lets_others_go_on() {
    let server = Server::start(&["--ephemeral", "--workers", "1"]);
    server.rows("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let (mut client, second) = (server.client(), Duration::from_secs(1));
    client.batch_execute("SET statement_timeout = '1s'").expect("set");
    for query in [
        "SELECT count(*) FROM generate_series(1, 10000) a, generate_series(1, 10000) b WHERE a * b > 0",
        "SELECT count(*) FROM t, generate_series(1, 30000000)",
        "SELECT count(*) FROM generate_series(1, 30000) a, LATERAL generate_series(1, 30000) b",
    ] {
        let start = Instant::now();
        let error = rows(&mut client, query).expect_err("too long");
        assert_eq!(error, "57014 canceling statement due to statement timeout", "{query}");
        assert!(start.elapsed() >= second, "{query}");
        server.wait_for("SELECT a FROM t", &["1"]);
    }
    // What a table function makes of many rows is never all there at once.
    let before = metric(&server, "process_resident_memory_bytes ");
    let n =
        server.rows("SELECT count(*) FROM generate_series(1, 4000) a, LATERAL generate_series(1, 5000) b");
    assert_eq!(n, ["20000000"]);
    let grown = metric(&server, "process_resident_memory_bytes ") - before;
    assert!(grown < 200e6, "{grown} bytes more");
}
