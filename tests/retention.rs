//! `RETENTION` of sources: what is not to be kept leaves, and views follow.

use crate::support::Server;

#[test]
fn old_records_leave_and_views_follow() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let mut server = Server::start(&["--data-dir", &data, "--workers", "1"]);
    server.rows(
        "CREATE SOURCE ticks FROM LOAD GENERATOR COUNTER (TICK INTERVAL '5ms') WITH (RETENTION = '500 ms');
         CREATE MATERIALIZED VIEW span AS SELECT min(counter) AS first, count(*) AS n FROM ticks",
    );
    for _ in 0..2 {
        // The first have gone, and there are fewer than ever came.
        server.wait_for("SELECT first > 100 AND n < 400 FROM span", &["t"]);
        let same = "SELECT s.n = t.n AND s.first = t.first
                    FROM span s, (SELECT min(counter) AS first, count(*) AS n FROM ticks) t";
        server.wait_for(same, &["t"]);
        // A view that is made later gives the same answer.
        server.rows("CREATE MATERIALIZED VIEW later AS SELECT min(counter) AS first FROM ticks");
        server.wait_for("SELECT l.first = s.first FROM later l, span s", &["t"]);
        server.rows("DROP MATERIALIZED VIEW later");
        server.crash_and_restart();
    }
}

#[test]
fn a_source_of_a_size_keeps_the_newest() {
    let server = Server::start(&["--ephemeral", "--workers", "1"]);
    server.rows(
        "CREATE SOURCE s FROM LOAD GENERATOR SEGMENT (EVENTS 3000) FORMAT BYTES INCLUDE OFFSET
           WITH (RETENTION = '300 kB');
         CREATE MATERIALIZED VIEW v AS SELECT max(\"offset\") AS newest, sum(length(data)) AS bytes, count(*) AS n FROM s",
    );
    server.wait_for("SELECT newest = 2999 AND bytes BETWEEN 100000 AND 330000 FROM v", &["t"]);
    // No record is missing among those that are left.
    server.wait_for("SELECT max(\"offset\") - min(\"offset\") + 1 = count(*) FROM s", &["t"]);
    for (option, message) in [
        ("RETENTION = 'soon'", "neither an interval nor a number of bytes"),
        ("RETENTION = '0 GB'", "neither an interval nor a number of bytes"),
    ] {
        let sql = format!("CREATE SOURCE x FROM LOAD GENERATOR SEGMENT FORMAT BYTES WITH ({option})");
        let error = server.error(&sql);
        assert!(error.starts_with("22023") && error.contains(message), "{error}");
    }
}
