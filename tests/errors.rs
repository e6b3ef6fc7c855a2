//! Errors are data: what an object does with rows that cannot be computed, and where they are found.

use std::io::Write;
use std::path::Path;

use crate::support::Server;

/// Good and bad lines: JSON, no JSON, no UTF-8, a number that is none.
const LINES: [&[u8]; 5] =
    [b"{\"n\": \"1\"}", b"{\"n\": ", b"\xff\xfe", b"{\"n\": \"many\"}", b"{\"n\": \"4\", \"e\": 1}"];

fn write(path: &Path, lines: &[&[u8]]) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).expect("opened");
    for line in lines {
        file.write_all(line).and_then(|()| file.write_all(b"\n")).expect("written");
    }
}

fn source(server: &Server, name: &str, path: &Path, format: &str) {
    let path = path.display();
    server.rows(&format!("CREATE SOURCE {name} FROM FILE '{path}' FORMAT {format}"));
    server.wait_for(
        &format!("SELECT status FROM mz_internal.mz_source_statuses WHERE name = '{name}'"),
        &["finished"],
    );
}

/// A source that was given the wrong format: its records are decoded again under another one, and all that is made of it
/// follows in one step.
#[test]
fn records_are_decoded_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("lines");
    write(&path, &LINES);
    let mut server =
        Server::start(&["--data-dir", &dir.path().join("data").display().to_string(), "--workers", "1"]);
    source(&server, "s", &path, "JSON INCLUDE OFFSET");
    server.rows(
        "CREATE VIEW plain AS SELECT \"offset\" AS o, length(data::text) AS l FROM s;
         CREATE MATERIALIZED VIEW v AS SELECT count(*) FILTER (WHERE l >= 0) AS n FROM plain;
         COMMENT ON MATERIALIZED VIEW v IS 'how many';
         CREATE INDEX i ON plain (o);
         CREATE VIEW bad AS SELECT count(*) AS n FROM s_errors",
    );
    let failing = server.error("SELECT * FROM v");
    assert!(failing.starts_with("22"), "{failing}");
    let word = "SELECT status, error FROM mz_internal.mz_source_statuses WHERE name = 's'";
    server.wait_for(word, &["finished|2 rows of \"v\" cannot be computed: v_errors lists them"]);
    let counts = "SELECT o.name, c.count FROM mz_internal.mz_compute_error_counts c JOIN mz_objects o ON o.id = c.object_id";
    server.wait_for(counts, &["v|2"]);
    let why = server.rows("EXPLAIN WHY v").join("\n");
    for part in [
        "failing: 2 errors",
        "offset 1)",
        "22P02 invalid input syntax for type json",
        "v_errors lists the records",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    // The same bytes under the same format are the same errors.
    server.rows("ALTER SOURCE s REPLAY ERRORS");
    assert_eq!(server.rows("SELECT count(*) FROM s_errors"), ["2"]);
    server.rows("ALTER SOURCE s REPLAY ERRORS WITH (ON ERROR = QUARANTINE)");
    for _ in 0..2 {
        assert_eq!(server.rows("SELECT n FROM v"), ["3"]);
        assert_eq!(server.rows("SELECT o FROM plain ORDER BY 1"), ["0", "3", "4"]);
        assert_eq!(server.rows("SELECT n FROM bad"), ["2"]);
        assert_eq!(server.rows(counts), Vec::<String>::new());
        server.crash_and_restart();
    }
    assert_eq!(server.rows("SELECT comment FROM mz_internal.mz_comments"), ["how many"]);
    server.rows("ALTER SOURCE s REPLAY ERRORS FORMAT BYTES");
    assert_eq!(server.rows("SELECT n, (SELECT n FROM bad) FROM v"), ["5|0"]);
    let shown = server.rows("SHOW CREATE SOURCE s").join("");
    assert!(shown.contains("FORMAT BYTES INCLUDE OFFSET WITH (ON ERROR = 'QUARANTINE')"), "{shown}");
    // What does not fit what is made of it changes nothing.
    server.rows("CREATE MATERIALIZED VIEW sizes AS SELECT get_byte(data, 0) AS n FROM s");
    let error = server.error("ALTER SOURCE s REPLAY ERRORS FORMAT JSON");
    assert!(error.starts_with("42883 ") && error.contains("do not fit"), "{error}");
    assert_eq!(server.rows("SELECT count(*) FROM sizes"), ["5"]);
    for (sql, code) in [
        ("ALTER SOURCE s REPLAY ERRORS WITH (SIZE = '1')", "42601"),
        ("ALTER SOURCE nope REPLAY ERRORS", "42704"),
        ("BEGIN; ALTER SOURCE s REPLAY ERRORS FORMAT TEXT", "25001"),
        ("EXPLAIN WHY nope", "42P01"),
    ] {
        let error = server.error(sql);
        assert!(error.starts_with(code), "{sql}: {error}");
    }
}

const ERRORS: &str = "SELECT \"offset\", sqlstate, reason, encode(value, 'escape')";

#[test]
fn a_source_fails_quarantines_or_gives_null() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("lines");
    write(&path, &LINES);
    let mut server = Server::start(&["--data-dir", &dir.path().join("data").display().to_string()]);
    source(&server, "fails", &path, "JSON");
    source(&server, "sets_aside", &path, "JSON INCLUDE OFFSET WITH (ON ERROR = QUARANTINE)");
    source(&server, "nulls", &path, "JSON INCLUDE OFFSET WITH (ON ERROR = NULL)");
    source(&server, "fields", &path, "CSV WITH 1 COLUMNS WITH (ON ERROR = QUARANTINE)");
    server.rows("CREATE MATERIALIZED VIEW kept AS SELECT count(*) AS n FROM sets_aside");
    for _ in 0..2 {
        let error = server.error("SELECT * FROM fails");
        assert!(error.contains("22P02") || error.contains("22021"), "{error}");
        assert_eq!(
            server.rows("SELECT data, \"offset\" FROM sets_aside ORDER BY 2"),
            ["{\"n\":\"1\"}|0", "{\"n\":\"many\"}|3", "{\"e\":1,\"n\":\"4\"}|4"]
        );
        server.wait_for("SELECT n FROM kept", &["3"]);
        assert_eq!(
            server.rows("SELECT \"offset\", data IS NULL FROM nulls ORDER BY 1"),
            ["0|f", "1|t", "2|t", "3|f", "4|f"]
        );
        for name in ["fails", "sets_aside", "nulls"] {
            let rows = server.rows(&format!("{ERRORS} FROM {name}_errors ORDER BY 1"));
            assert_eq!(rows.len(), 2, "{name}: {rows:?}");
            assert!(rows[0].starts_with("1|22P02|invalid input syntax for type json"), "{rows:?}");
            assert!(rows[0].ends_with("|{\"n\": "), "{rows:?}");
            assert!(rows[1].starts_with("2|22021|invalid byte sequence"), "{rows:?}");
            assert!(rows[1].ends_with("|\\377\\376"), "{rows:?}");
        }
        assert_eq!(server.rows("SELECT count(*) FROM fields"), ["4"]);
        server.crash_and_restart();
    }
    // They come and go with their source.
    server.rows("CREATE VIEW bad AS SELECT count(*) AS n FROM sets_aside_errors");
    assert_eq!(server.rows("SELECT n FROM bad"), ["2"]);
    let error = server.error("DROP SOURCE sets_aside");
    assert!(error.starts_with("2BP01 "), "{error}");
    server.rows("DROP SOURCE sets_aside CASCADE; DROP SOURCE fails");
    assert!(server.error("SELECT * FROM fails_errors").contains("42P01"));
}

#[test]
fn a_view_fails_quarantines_or_gives_null_and_heals() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(&["--data-dir", &dir.path().join("data").display().to_string()]);
    server.rows(
        "CREATE TABLE t (k int, v text);
         INSERT INTO t VALUES (1, '10'), (2, 'two'), (3, '30');
         CREATE MATERIALIZED VIEW strict AS SELECT k, v::int AS n FROM t;
         CREATE MATERIALIZED VIEW aside WITH (ON ERROR = QUARANTINE) AS SELECT k, v::int AS n FROM t;
         CREATE MATERIALIZED VIEW sums WITH (ON ERROR = QUARANTINE) AS
           SELECT k % 2 AS odd, sum(v::int) AS n FROM t GROUP BY 1;
         CREATE MATERIALIZED VIEW nulls WITH (ON ERROR = NULL) AS SELECT k, v::int AS n FROM t;
         CREATE MATERIALIZED VIEW over AS SELECT sum(n) AS n FROM aside;
         CREATE INDEX i ON aside (k);",
    );
    for _ in 0..2 {
        assert!(server.error("SELECT * FROM strict").contains("22P02"));
        server.wait_for("SELECT k, n FROM aside ORDER BY k", &["1|10", "3|30"]);
        assert_eq!(server.rows("SELECT n FROM aside WHERE k = 3"), ["30"]);
        assert_eq!(server.rows("SELECT odd, n FROM sums"), ["1|40"]);
        assert_eq!(server.rows("SELECT k, n FROM nulls ORDER BY k"), ["1|10", "2|NULL", "3|30"]);
        server.wait_for("SELECT n FROM over", &["40"]);
        for view in ["strict", "aside", "sums"] {
            assert_eq!(
                server.rows(&format!("SELECT sqlstate, reason FROM {view}_errors")),
                ["22P02|invalid input syntax for type integer: \"two\""],
                "{view}"
            );
        }
        assert_eq!(server.rows("SELECT count(*) FROM nulls_errors"), ["0"]);
        server.crash_and_restart();
    }
    assert!(server.rows("SHOW CREATE MATERIALIZED VIEW aside")[0].contains("ON ERROR = QUARANTINE"));
    server.rows("DELETE FROM t WHERE k = 2");
    server.wait_for("SELECT count(*) FROM strict", &["2"]);
    server.wait_for("SELECT count(*) FROM aside_errors", &["0"]);
    server.wait_for("SELECT count(*) FROM nulls", &["2"]);
    let error = server.error("CREATE MATERIALIZED VIEW x WITH (ON ERROR = SKIP) AS SELECT k FROM t");
    assert!(error.starts_with("22023 "), "{error}");
    let error = server.error("CREATE VIEW x WITH (ON ERROR = NULL) AS SELECT k FROM t");
    assert!(error.contains("0A000"), "{error}");
}

#[test]
fn errors_of_a_view_over_records_name_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("lines");
    write(&path, &LINES);
    let server = Server::start(&["--ephemeral", "--workers", "2"]);
    source(&server, "s", &path, "BYTES");
    server.rows(
        "CREATE MATERIALIZED VIEW events WITH (ON ERROR = QUARANTINE) AS
           SELECT CAST(convert_from(data, 'utf8') AS jsonb) AS data FROM s;
         CREATE MATERIALIZED VIEW numbers AS SELECT (data ->> 'n')::int AS n FROM events",
    );
    server.wait_for("SELECT count(*) FROM events", &["3"]);
    server.wait_for("SELECT \"offset\", sqlstate FROM events_errors ORDER BY 1", &["1|22P02", "2|22021"]);
    server.wait_for("SELECT sqlstate FROM numbers_errors", &["22P02"]);
}
