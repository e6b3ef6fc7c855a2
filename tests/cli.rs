//! The command line: flags, output, exit codes.

use crate::support::{Server, deltamill, events, have, text, write_lines};

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

#[test]
fn topics_are_made_filled_and_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(&[
        "--ephemeral",
        "--kafka-listen",
        "127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0",
        "--kafka-user",
        "ada:secret",
        "--kafka-auto-create",
        "false",
    ]);
    let broker = server.kafka.clone().expect("the embedded Kafka");
    let topic = |arguments: &[&str]| {
        let all: Vec<&str> = [&["topic", "--broker", &broker], arguments].concat();
        let out = deltamill(&all);
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    assert_eq!(topic(&["create", "a", "--partitions", "2"]).0, Some(0));
    assert_eq!(topic(&["create", "b", "--config", "cleanup.policy=compact"]).0, Some(0));
    let again = topic(&["create", "a"]);
    assert!(again.0 == Some(1) && again.2.contains("already exists"), "{again:?}");
    assert_eq!(topic(&["create", "c", "--config", "retention.ms=soon"]).0, Some(1));
    let file = dir.path().join("lines").display().to_string();
    let lines = [
        r#"{"key":"k","payload":"one","headers":["h","v"],"partition":1,"ts":1000}"#,
        r#"{"key_base64":"/w==","payload":{"n":2},"partition":1,"ts":2000}"#,
        r#"{"payload":null,"partition":0,"ts":3000}"#,
    ];
    std::fs::write(&file, lines.join("\n")).expect("written");
    assert_eq!(topic(&["produce", "a", &file]), (Some(0), String::new(), String::new()));
    let (code, out, err) = topic(&["consume", "a", "--partition", "1"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let rows: Vec<serde_json::Value> = out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(
        rows[0],
        serde_json::json!({"topic": "a", "partition": 1, "offset": 0, "tstype": "create", "ts": 1000,
            "headers": ["h", "v"], "key": "k", "payload": "one"})
    );
    assert_eq!(
        (&rows[1]["key_base64"], &rows[1]["payload"]),
        (&serde_json::json!("/w=="), &serde_json::json!("{\"n\":2}"))
    );
    assert_eq!(rows.len(), 2);
    assert_eq!(topic(&["consume", "a"]).1.lines().count(), 3);
    assert_eq!(topic(&["consume", "a", "--from", "-1"]).1.lines().count(), 2);
    assert_eq!(topic(&["consume", "a", "--from", "end"]).1, "");
    // A group goes on where it stopped.
    assert_eq!(topic(&["consume", "a", "--group", "g", "--count", "2"]).1.lines().count(), 2);
    assert_eq!(topic(&["consume", "a", "--group", "g"]).1.lines().count(), 1);
    // Lines as they are, over SASL.
    let secure = server.kafka_listeners[1].strip_prefix("SASL_PLAINTEXT://").expect("in order").to_string();
    let login = ["--broker", &secure, "--protocol", "SASL_PLAINTEXT", "--username", "ada", "--password"];
    let out = deltamill(&[&["topic", "produce", "a", &file, "--lines"], &login[..], &["secret"]].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out = deltamill(&[&["topic", "list"], &login[..], &["wrong"]].concat());
    assert_eq!(out.status.code(), Some(4), "{}", text(&out.stderr));
    let listed = topic(&["list"]).1;
    assert!(listed.contains(" a     |          2 |        6") && listed.contains(" b "), "{listed}");
    // The same by SQL, and on the page of figures.
    let shown = |sql: &str| server.rows(sql);
    assert_eq!(
        shown(
            "SELECT name, partitions, messages, cleanup_policy FROM mz_internal.mz_kafka_broker_topics ORDER BY name"
        ),
        ["a|2|6|delete", "b|1|0|compact"]
    );
    let bytes =
        shown("SELECT topic FROM mz_internal.mz_kafka_broker_partitions WHERE bytes > 0 GROUP BY topic");
    assert_eq!(bytes, ["a"]);
    let lag = "SELECT g.name, g.state, g.lag, sum(o.committed_offset) FROM mz_internal.mz_kafka_broker_groups g
        JOIN mz_internal.mz_kafka_broker_group_offsets o ON o.group_name = g.name GROUP BY g.name, g.state, g.lag";
    assert_eq!(shown(lag), ["g|Empty|3|3"]);
    assert_eq!(
        shown("SHOW KAFKA TOPICS LIKE 'a%'").join(""),
        shown("SHOW KAFKA TOPICS WHERE messages > 5").join("")
    );
    assert_eq!(shown("SHOW KAFKA GROUPS"), ["g|Empty|0|3"]);
    assert_eq!(shown("SHOW KAFKA OFFSETS").len(), 2);
    assert_eq!(shown("SHOW KAFKA PARTITIONS WHERE topic = 'a'").len(), 2);
    let mut http = crate::support::Http::connect(&server.http).expect("it listens");
    let (_, _, figures) = http.request("GET", "/metrics", "", b"").expect("an answer");
    for figure in ["deltamill_kafka_topics 2", "deltamill_kafka_messages 6", "deltamill_kafka_group_lag 3"] {
        assert!(figures.lines().any(|l| l == figure), "{figure} in {figures}");
    }
    let described = topic(&["describe", "b"]).1;
    assert!(
        described.contains("next offset") && described.ends_with("cleanup.policy=compact\n"),
        "{described}"
    );
    assert!(topic(&["describe", "a", "--json"]).1.contains("\"partition\":1,"));
    assert_eq!((topic(&["delete", "b"]).0, topic(&["delete", "b"]).0), (Some(0), Some(1)));
    assert_eq!((topic(&["describe", "b"]).0, shown("SHOW KAFKA TOPICS LIKE 'b'").len()), (Some(1), 0));
    let wrong = topic(&["consume", "none"]);
    assert!(wrong.0 == Some(1) && wrong.2.contains("none"), "{wrong:?}");
    assert_eq!(topic(&["consume", "a", "--partition", "7"]).0, Some(1));
    std::fs::write(&file, "{\"payload\": 1}\n{\"type\": 2}\n").expect("written");
    let wrong = topic(&["produce", "a", &file]);
    assert!(wrong.0 == Some(1) && wrong.2.contains(":2:"), "{wrong:?}");
    assert_eq!(deltamill(&["topic", "list", "--broker", "127.0.0.1:1"]).status.code(), Some(4));
}

#[test]
fn doctor_and_dump_read_a_data_directory_and_leave_it_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let doctor = |more: &[&str]| deltamill(&[&["doctor", &data], more].concat());
    let server = Server::start(&["--data-dir", &data]);
    server.rows(
        "CREATE TABLE people (id int4, name text); CREATE TABLE empty (n int4);
         CREATE MATERIALIZED VIEW long AS SELECT name FROM people WHERE length(name) > 3;
         INSERT INTO people VALUES (1, 'Ada'), (2, 'Grace'), (3, NULL)",
    );
    server.wait_for("SELECT name FROM long", &["Grace"]);
    let used = doctor(&[]);
    assert_eq!(used.status.code(), Some(5), "{}", text(&used.stdout));
    assert!(text(&used.stderr).contains("is locked by process"), "{}", text(&used.stderr));
    drop(server);

    let sound = doctor(&[]);
    assert!(sound.status.success(), "{}", text(&sound.stderr));
    let said = text(&sound.stdout);
    assert!(said.contains("materialize.public.people: 3 rows") && said.ends_with("sound\n"), "{said}");
    assert!(
        text(&doctor(&["--json", "--quick"]).stdout).ends_with("{\"sound\":true,\"type\":\"verdict\"}\n")
    );
    let dump = |object: &str| deltamill(&["dump", &data, object]);
    let rows = text(&dump("people").stdout);
    let mut rows: Vec<&str> =
        rows.lines().map(|line| line.split_once("  ").expect("a time first").1).collect();
    rows.sort();
    assert_eq!(rows, ["+1  1  \"Ada\"", "+1  2  \"Grace\"", "+1  3  null"]);
    assert!(text(&dump("public.long").stdout).contains("\"Grace\""));
    let unknown = dump("nobody");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("materialize.public.people"), "{}", text(&unknown.stderr));
    let frames = text(&deltamill(&["dump", &data]).stdout);
    assert!(frames.contains("Checkpoint #1") && frames.contains("Commit #"), "{frames}");

    // A flipped bit in the middle of what was durable.
    let log = dir.path().join("engine/000001.log");
    let mut bytes = std::fs::read(&log).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&log, &bytes).expect("written");
    let damaged = doctor(&[]);
    assert_eq!(damaged.status.code(), Some(5));
    assert!(text(&damaged.stdout).contains("damaged: "), "{}", text(&damaged.stdout));
    assert_eq!(std::fs::read(&log).expect("there"), bytes, "to look changes nothing");
    assert_eq!(deltamill(&["doctor", "/nowhere/at/all"]).status.code(), Some(3));
}

#[test]
fn the_small_client_streams() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};
    let server = Server::start(&["--ephemeral"]);
    let url = format!("postgres://materialize:secret@{}/materialize", server.sql);
    let sql = |statements: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deltamill"));
        command.args(["sql", "--url", &url, "--format", "csv", "-c", statements]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    };
    let mut load = sql("CREATE TABLE t (a int, b text); COPY t FROM STDIN");
    load.stdin.take().expect("piped").write_all(b"1\tx\n2\ty\n").expect("written");
    assert!(load.wait_with_output().expect("it ends").status.success());
    let out = sql("COPY (SELECT * FROM t ORDER BY a) TO STDOUT; SELECT count(*) FROM t");
    assert_eq!(text(&out.wait_with_output().expect("it ends").stdout), "1\tx\n2\ty\ncount\n2\n");
    let mut follow = sql("SUBSCRIBE (SELECT sum(a) AS n FROM t)");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines().map(|l| l.expect("a line"));
    assert_eq!(lines.next().as_deref(), Some("mz_timestamp,mz_diff,n"));
    assert!(lines.next().expect("the sum").ends_with(",1,3"));
    server.rows("INSERT INTO t VALUES (4, 'z')");
    let changes = [lines.next().expect("a change"), lines.next().expect("a change")];
    for end in [",-1,3", ",1,7"] {
        assert!(changes.iter().any(|l| l.ends_with(end)), "{changes:?}");
    }
    follow.kill().expect("killed");
    let _ = follow.wait();
    let ended = sql("SUBSCRIBE (VALUES (1))").wait_with_output().expect("it ends");
    assert!(ended.status.success() && text(&ended.stdout).ends_with(",1,1\n"), "{}", text(&ended.stdout));
    // A password is shown by no error.
    let refused = sql("SELECT nothing").wait_with_output().expect("it ends");
    assert!(!text(&refused.stderr).contains("secret"));
}

#[test]
fn files_are_judged_by_what_is_wrong_in_them() {
    let server = Server::start(&["--ephemeral", "--kafka-listen", "127.0.0.1:0"]);
    let url = format!("postgres://materialize@{}/materialize", server.sql);
    let dir = tempfile::tempdir().expect("a folder");
    let folder = |name: &str, files: &[(&str, &str)]| {
        let folder = dir.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        files.iter().for_each(|(file, text)| std::fs::write(folder.join(file), text).expect("written"));
        folder.display().to_string()
    };
    let apply = |folder: &str, more: &[&str]| {
        let out = deltamill(&[&["apply", folder, "--url", &url], more].concat());
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    // A schema that is there is right.
    let schema = folder("schema", &[("a.sql", "CREATE SCHEMA wh; CREATE VIEW wh.v AS SELECT 1 AS a;")]);
    assert_eq!(apply(&schema, &[]).0, Some(0));
    assert_eq!(apply(&schema, &[]), (Some(0), "nothing to do\n".into(), String::new()));
    // The root of a mistake is shown, not what follows from it.
    let brokers = server.kafka.clone().expect("Kafka");
    let source = format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
         CREATE SOURCE s FROM KAFKA CONNECTION k (TOPIC 'nosuch') FORMAT TEXT;"
    );
    let topic = folder("topic", &[("a.sql", "CREATE VIEW v AS SELECT text FROM s;"), ("b.sql", &source)]);
    let (code, _, error) = apply(&topic, &[]);
    assert!(code == Some(1) && error.contains("b.sql:2:") && error.contains("topic \"nosuch\""), "{error}");
    let cycle =
        folder("cycle", &[("a.sql", "CREATE VIEW v AS SELECT * FROM w; CREATE VIEW w AS SELECT * FROM v;")]);
    let (_, _, error) = apply(&cycle, &[]);
    assert!(error.contains("These need each other: v, w"), "{error}");
    // Errors stand where they stand in the file, and show no value of a variable.
    let secret = folder(
        "secret",
        &[("a.sql", "CREATE SECRET s AS :'password';\nCREATE VIEW v AS SELECT :'password' AS p, nope;")],
    );
    let (_, _, error) = apply(&secret, &["--set", "password=hunter2"]);
    assert!(error.contains("a.sql:2:43: 42703") && !error.contains("hunter2"), "{error}");
    for (name, file, says) in [
        ("temporary", "CREATE TEMPORARY VIEW tv AS SELECT 1;", "a temporary object"),
        ("bom", "\u{feff}CREATE VIEW bom AS SELEC 1;", "a.sql:1:20: 42601"),
    ] {
        let (code, _, error) = apply(&folder(name, &[("a.sql", file)]), &[]);
        assert!(code == Some(1) && error.contains(says), "{name}: {error}");
    }
    assert_eq!(apply(&folder("empty", &[]), &[]).0, Some(2));
}

#[test]
fn long_work_shows_how_far_it_is_on_a_terminal_only() {
    if !have("script", "a terminal for a program") {
        return;
    }
    let demo = format!("{} demo --events 20000 --exit", env!("CARGO_BIN_EXE_deltamill"));
    let seen =
        std::process::Command::new("script").args(["-qec", &demo, "/dev/null"]).output().expect("it runs");
    assert!(text(&seen.stdout).contains("20,000 of 20,000"), "{}", text(&seen.stdout));
    let plain = deltamill(&["demo", "--events", "20000", "--exit"]);
    assert!(!text(&plain.stderr).contains(" of 20,000") && !text(&plain.stdout).contains(" of 20,000"));
}

#[test]
fn statements_come_in_and_errors_go_out_for_programs() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let run = |arguments: &[&str], statements: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deltamill"));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        child.stdin.take().expect("piped").write_all(statements.as_bytes()).expect("written");
        let out = child.wait_with_output().expect("it ends");
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let out = run(&["run", "-", "--format", "csv"], "SELECT 1 AS a, 'x' AS b");
    assert_eq!(out, (Some(0), "a,b\n1,x\n".into(), String::new()));
    // An error that comes from a row has no place in the text.
    let (code, _, error) = run(&["run", "-"], "SELECT 1 / x FROM (VALUES (0)) AS v (x)");
    assert_eq!((code, error.as_str()), (Some(1), "deltamill: stdin: 22012: division by zero\n"));
    let (code, _, error) = run(&["--json", "run", "-"], "SELECT a");
    let error: serde_json::Value = serde_json::from_str(&error).expect("one line of JSON");
    assert_eq!((code, &error["type"], &error["exit_code"]), (Some(1), &"error".into(), &1.into()));
    assert!(error["message"].as_str().is_some_and(|m| m.starts_with("stdin:1:8: 42703: ")), "{error}");
}
