//! What a session sees of transactions, of time, and of what it waits for.

use std::sync::{Arc, Mutex};

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
    let start = std::time::Instant::now();
    loop {
        rows(&mut client, "SELECT * FROM v").expect("rows");
        let got = notices.lock().expect("nothing panics under this lock").clone();
        if got.iter().any(|n| n.starts_with("source \"s\" is stalled: newer data may be missing ")) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{got:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
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
