//! The command line: flags, output, exit codes.

use crate::support::{Server, deltamill, events, text, write_lines};

#[test]
fn run_computes_over_a_file_of_events() {
    let dir = tempfile::tempdir().expect("a folder");
    let (input, file) = (dir.path().join("events.jsonl"), dir.path().join("q.sql"));
    write_lines(&input, &events(5, 300));
    std::fs::write(
        &file,
        "CREATE VIEW e AS SELECT CAST(convert_from(data, 'utf8') AS jsonb) AS data FROM input;
         SELECT count(*) AS n, count(*) FILTER (WHERE data ->> 'type' = 'track') > 0 AS tracks FROM e;",
    )
    .expect("written");
    let arguments =
        ["run", &file.display().to_string(), "--input", &input.display().to_string()].map(String::from);
    let run = |format: &str| {
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(["--format", format]);
        let out = deltamill(&arguments);
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    assert_eq!(run("json"), "{\"n\":300,\"tracks\":true}\n");
    assert_eq!(run("csv"), "n,tracks\n300,t\n");
    assert!(run("table").contains(" 300 | t\n(1 row)"));
}

#[test]
fn mistakes_are_pointed_at() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("q.sql");
    std::fs::write(&file, "SELECT 1;\nSELECT\n  nope").expect("written");
    let out = deltamill(&["run", &file.display().to_string()]);
    assert_eq!(out.status.code(), Some(1));
    let error = text(&out.stderr);
    assert!(error.contains("q.sql:3:3: 42703: column \"nope\" does not exist\n    nope\n    ^"), "{error}");
    assert_eq!(deltamill(&["run"]).status.code(), Some(2));
    assert_eq!(
        deltamill(&["sql", "-c", "SELECT 1", "--url", "postgres://x@127.0.0.1:1/x"]).status.code(),
        Some(4)
    );
    let open = deltamill(&["serve", "--ephemeral", "--sql-listen", "0.0.0.0:0"]);
    assert_eq!(open.status.code(), Some(3), "a bind that others can reach is refused");
}

#[test]
fn demo_ends_by_itself_with_the_views_rows() {
    let out = deltamill(&["demo", "--events", "3000", "--exit"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let rows: Vec<serde_json::Value> =
        text(&out.stdout).lines().map(|l| serde_json::from_str(l).expect("JSON lines")).collect();
    let calls: i64 = rows
        .iter()
        .filter(|r| r["view"] == "active_users")
        .map(|r| r["row"]["calls"].as_i64().expect("a count"))
        .sum();
    assert_eq!(calls, 3_000);
    for view in ["funnel", "revenue", "top_pages", "users"] {
        assert!(rows.iter().any(|r| r["type"] == "row" && r["view"] == view), "{view}");
    }
}

#[test]
fn apply_creates_changes_nothing_again_and_replaces() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
    // The order of files is not the order of needs.
    write("a.sql", "CREATE MATERIALIZED VIEW a AS SELECT sum(n) AS n FROM b WHERE n > :least;");
    write("b.sql", "CREATE VIEW b AS SELECT n FROM t;\nCREATE TABLE t (n int4);");
    let server = Server::start(&["--ephemeral"]);
    let url = format!("postgres://materialize@{}/materialize", server.sql);
    let folder = dir.path().display().to_string();
    let apply = |more: &[&str]| {
        let mut arguments = vec!["apply", &folder, "--url", &url];
        arguments.extend(more);
        let out = deltamill(&arguments);
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (code, done, error) = apply(&["--set", "least=1", "--dry-run"]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(done.lines().count(), 3, "{done}");
    let (code, _, error) = apply(&["--set", "least=1"]);
    assert_eq!(code, Some(0), "{error}");
    server.rows("INSERT INTO t VALUES (1), (2), (3)");
    assert_eq!(server.rows("SELECT n FROM a"), ["5"]);
    assert_eq!(apply(&["--set", "least=1"]).1, "nothing to do\n");
    let (_, done, _) = apply(&["--set", "least=2"]);
    assert_eq!(done, "replace materialized view a\n");
    assert_eq!(server.rows("SELECT n FROM a"), ["3"]);
    write("b.sql", "CREATE VIEW b AS SELECT n FROM t;\nCREATE TABLE t (n int8);");
    let (code, _, error) = apply(&["--set", "least=2"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("--replace-data"), "{error}");
    write("c.sql", "CREATE VIEW c AS\nSELECT nope FROM t;");
    write("b.sql", "CREATE VIEW b AS SELECT n FROM t;\nCREATE TABLE t (n int4);");
    let out = deltamill(&["check", &folder, "--set", "least=1"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("c.sql:2:8: 42703"), "{}", text(&out.stderr));
}

#[test]
fn the_repositorys_views_check() {
    let folder = crate::support::repository("sql").display().to_string();
    let sets = ["broker=b:9092", "protocol=SASL_SSL", "username=u", "password=p", "topic=t"];
    let mut arguments = vec!["check", &folder];
    sets.iter().for_each(|s| arguments.extend(["--set", s]));
    let out = deltamill(&arguments);
    assert!(out.status.success(), "{}", text(&out.stderr));
}
