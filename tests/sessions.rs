//! What a session sees of transactions, of time, and of what it waits for.

use std::sync::{Arc, Mutex};

use postgres::{Client, Config, NoTls};

use crate::support::{PATIENCE, Server, rows};

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
    let waits = |n: &String| {
        n.starts_with(
            "the read waits for materialized view \"pairs\", which is still being built It has read ",
        ) && n.contains(" of 1500 stored changes of \"t\"")
    };
    assert!(got.iter().any(waits), "{got:?}");
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
