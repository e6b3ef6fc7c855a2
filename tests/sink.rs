//! Sinks into Segment against a mock of its API that answers by a script: 200, 400, 413, 429, 500, 503, resets, lost
//! answers; and through kill −9.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::segment_api::{Do, Mock};
use crate::support::{Server, create_topic, rows};

fn connect(server: &Server, mock: &Mock) {
    server.rows(&format!(
        "CREATE SECRET wk AS 'key1'; CREATE CONNECTION seg TO SEGMENT (WRITE KEY = SECRET wk, URL = '{}')",
        mock.url
    ));
}

fn wait(what: &str, condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < crate::support::PATIENCE, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn changes_become_calls() {
    let mock = Mock::start(|_, _| Do::Take);
    let server = Server::start(&["--ephemeral"]);
    connect(&server, &mock);
    server.rows(
        "CREATE TABLE orders (user_id text, order_id text, cents int8, at timestamptz, context jsonb);
         INSERT INTO orders VALUES ('u1', 'o1', 1250, '2026-01-02 03:04:05.678+00', '{\"ip\": \"1.2.3.4\"}');
         CREATE MATERIALIZED VIEW completed AS
           SELECT user_id, 'Order Completed' AS event, at AS \"timestamp\", order_id, cents / 100.0 AS revenue, context FROM orders;
         CREATE MATERIALIZED VIEW customers AS
           SELECT user_id, count(*) AS orders, sum(cents) >= 2000 AS big FROM orders GROUP BY user_id;
         CREATE MATERIALIZED VIEW big AS SELECT user_id FROM customers WHERE big;
         CREATE TABLE mixed (kind text, user_id text, anonymous_id text, name text, previous_id text, group_id text,
                             event text, properties jsonb, message_id text);
         CREATE SINK tracks FROM completed INTO SEGMENT CONNECTION seg (CALL TRACK);
         CREATE SINK traits FROM customers INTO SEGMENT CONNECTION seg (CALL IDENTIFY) KEY (user_id) ENVELOPE UPSERT;
         CREATE SINK vips FROM big INTO SEGMENT CONNECTION seg (CALL AUDIENCE, AUDIENCE KEY 'vip');
         CREATE SINK all_kinds FROM mixed INTO SEGMENT CONNECTION seg (CALL FROM COLUMN kind, FLUSH INTERVAL = '20 ms')",
    );
    let of = |kind: &str| mock.taken().into_iter().filter(|e| e["type"] == kind).collect::<Vec<_>>();
    wait("the first order comes", || of("track").len() == 1 && of("identify").len() == 1);
    let track = &of("track")[0];
    assert_eq!(track["event"], "Order Completed");
    assert_eq!(track["userId"], "u1");
    assert_eq!(track["timestamp"], "2026-01-02T03:04:05.678Z");
    assert_eq!(track["context"]["ip"], "1.2.3.4");
    assert_eq!(track["properties"], serde_json::json!({"order_id": "o1", "revenue": 12.5}));
    assert_eq!(of("identify")[0]["traits"], serde_json::json!({"orders": 1, "big": false}));
    let request = &mock.requests()[0];
    assert!(request.head.starts_with("post /v1/batch http/1.1\r\n"), "{}", request.head);
    assert!(request.head.contains("authorization: basic a2v5mto=\r\n"), "{}", request.head);
    assert_eq!(request.body["writeKey"], "key1");
    assert!(request.body["sentAt"].is_string());
    // Traits follow; entering and leaving the audience are calls, and only those.
    server.rows("INSERT INTO orders VALUES ('u1', 'o2', 1000, NULL, NULL)");
    wait("u1 enters", || of("track").iter().any(|e| e["event"] == "Audience Entered"));
    server.rows("DELETE FROM orders WHERE order_id = 'o1'");
    wait("u1 leaves", || of("track").iter().any(|e| e["event"] == "Audience Exited"));
    wait("traits follow", || of("identify").len() == 5);
    let vip: Vec<Value> = of("identify").iter().filter_map(|e| e["traits"].get("vip").cloned()).collect();
    assert_eq!(vip, [true, false]);
    let orders: Vec<Value> =
        of("identify").iter().filter_map(|e| e["traits"].get("orders").cloned()).collect();
    assert_eq!(orders, [1, 2, 1]);
    // What Segment would take and drop is not sent: it stands in the errors.
    server.rows(
        "INSERT INTO mixed VALUES
           ('page', 'u', NULL, 'Home', NULL, NULL, NULL, '{\"path\": \"/\"}', 'm1'),
           ('alias', 'u', NULL, NULL, 'old', NULL, NULL, NULL, 'm2'),
           ('group', 'u', NULL, 'Acme', NULL, 'g', NULL, NULL, 'm3'),
           ('track', NULL, 'a', NULL, NULL, NULL, 'E', '[1]', 'bad1'),
           ('track', 'u', NULL, NULL, NULL, NULL, NULL, NULL, 'bad2'),
           ('dance', 'u', NULL, NULL, NULL, NULL, NULL, NULL, 'bad3'),
           ('page', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'bad4'),
           ('page', 'u', NULL, NULL, NULL, NULL, NULL, NULL, repeat('x', 101)),
           ('page', 'u', NULL, NULL, NULL, NULL, NULL, jsonb_build_object('x', repeat('x', 40000)), 'bad6')",
    );
    server.wait_for(
        "SELECT message_id, reason, status, attempts, body->>'type' FROM all_kinds_errors WHERE message_id LIKE 'bad%' ORDER BY 1",
        &[
            "bad1|properties must be an object|NULL|0|track",
            "bad2|event missing|NULL|0|track",
            "bad3|\"dance\" is not a type of calls|NULL|0|dance",
            "bad4|user_id and anonymous_id missing|NULL|0|page",
            "bad6|the call has 40108 bytes, 32768 are allowed|NULL|0|page",
        ],
    );
    assert_eq!(server.rows("SELECT count(*) FROM all_kinds_errors"), ["6"]);
    wait("the good ones come", || {
        mock.taken().iter().filter(|e| e["messageId"].as_str().is_some_and(|m| m.len() == 2)).count() == 3
    });
    let by_id: BTreeMap<String, Value> =
        mock.taken().into_iter().map(|e| (e["messageId"].as_str().expect("an id").to_string(), e)).collect();
    assert_eq!((&by_id["m1"]["name"], &by_id["m1"]["properties"]["path"]), (&"Home".into(), &"/".into()));
    assert_eq!(by_id["m2"]["previousId"], "old");
    assert_eq!((&by_id["m3"]["groupId"], &by_id["m3"]["traits"]["name"]), (&"g".into(), &"Acme".into()));
    assert_eq!(
        server.rows("SELECT name, status FROM mz_internal.mz_sink_statuses ORDER BY 1"),
        ["all_kinds|running", "tracks|running", "traits|running", "vips|running"]
    );
    server.wait_for(
        "SELECT messages_committed FROM mz_internal.mz_sink_statistics s JOIN mz_catalog.mz_sinks k ON k.id = s.id WHERE k.name = 'vips'",
        &["4"],
    );
    server.rows("DROP SINK all_kinds");
    assert!(server.error("SELECT * FROM all_kinds_errors").starts_with("42P01"));
    for (sink, error) in [
        ("FROM completed INTO SEGMENT CONNECTION seg ()", "42601"),
        ("FROM completed INTO SEGMENT CONNECTION seg (CALL DANCE)", "22023 invalid CALL"),
        (
            "FROM completed INTO SEGMENT CONNECTION seg (CALL AUDIENCE)",
            "42601 CALL AUDIENCE needs AUDIENCE KEY",
        ),
        ("FROM completed INTO SEGMENT CONNECTION nowhere (CALL TRACK)", "42704"),
        ("FROM completed INTO SEGMENT CONNECTION seg (CALL TRACK) KEY (nothing)", "42703"),
    ] {
        let got = server.error(&format!("CREATE SINK s {sink}"));
        assert!(got.starts_with(error), "{sink}: {got}");
    }
}

/// Rows of many users with everything going wrong, and the engine killed in between: each message arrives, each once
/// after Segment's own removal of repeats, those of a user in order; nothing over the limits; and what the API refuses
/// is a dead letter. `DELTAMILL_EVENTS=10000 DELTAMILL_KILLS=10` makes it longer.
#[test]
fn nothing_is_lost_doubled_or_overtaken() {
    let n: u64 = std::env::var("DELTAMILL_EVENTS").ok().and_then(|v| v.parse().ok()).unwrap_or(1_200);
    let mock = Mock::start(|i, body| {
        let poisoned =
            body["batch"].as_array().is_some_and(|b| b.iter().any(|e| e["properties"]["poison"] == true));
        match i % 9 {
            1 => Do::Later(0),
            8 if i < 20 => Do::Half,
            3 if !poisoned => Do::LoseAnswer,
            5 => Do::Answer(if i % 2 == 0 { 500 } else { 503 }),
            7 => Do::Reset,
            _ if poisoned => Do::Answer(400),
            _ => Do::Take,
        }
    });
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let mut server = Server::start(&["--data-dir", &data]);
    connect(&server, &mock);
    server.rows(
        "CREATE TABLE raw (n int8, poison bool);
         CREATE MATERIALIZED VIEW calls AS
           SELECT 'u' || (n % 7)::text AS user_id, 'Counted' AS event, n, poison, repeat('x', 1000) AS pad FROM raw;
         INSERT INTO raw SELECT i, false FROM generate_series(0, 99) AS i;
         CREATE SINK s FROM calls INTO SEGMENT CONNECTION seg (CALL TRACK, MAX BATCH EVENTS = 40, MAX BATCH BYTES = 60000)",
    );
    let kills: u64 = std::env::var("DELTAMILL_KILLS").ok().and_then(|v| v.parse().ok()).unwrap_or(2);
    let mut at = 100;
    let mut killed = 0;
    while at < n {
        let to = (at + 100).min(n);
        let poison = if at % 500 == 0 { at + 7 } else { u64::MAX >> 1 };
        let insert =
            format!("INSERT INTO raw SELECT i, i = {poison} FROM generate_series({at}, {}) AS i", to - 1);
        rows(&mut server.client(), &insert).expect("inserted");
        at = to;
        if at % 500 == 0 && killed < kills {
            let sent = mock.taken().len();
            wait("something is sent", || mock.taken().len() > sent);
            server.crash_and_restart();
            killed += 1;
        }
    }
    let poisoned = (100..n).filter(|i| i % 500 == 0).count();
    wait("all is there", || mock.deduped().len() + poisoned >= n as usize);
    server.wait_for("SELECT count(*) FROM s_errors", &[&poisoned.to_string()]);
    let dead = server.rows(
        "SELECT body->'properties'->>'n', status, attempts >= 1, reason FROM s_errors ORDER BY (body->'properties'->>'n')::int8",
    );
    let expected: Vec<String> = (100..n)
        .filter(|i| i % 500 == 0)
        .map(|i| format!("{}|400|t|Segment answered 400: nope", i + 7))
        .collect();
    assert_eq!(dead, expected);
    let deduped = mock.deduped();
    assert_eq!(deduped.len() + poisoned, n as usize);
    // Rows of one insert have one time, and come in the order of their values: user, event, number.
    let mut of_user: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for e in &deduped {
        let user = e["userId"].as_str().expect("a user").to_string();
        of_user.entry(user).or_default().push(e["properties"]["n"].as_i64().expect("a number"));
    }
    for (user, numbers) in &of_user {
        assert!(numbers.is_sorted(), "{user}: {numbers:?}");
    }
    let requests = mock.requests();
    for r in &requests {
        assert!(
            r.bytes <= 60_000 + 200 && r.body["batch"].as_array().is_some_and(|b| b.len() <= 40),
            "{}",
            r.bytes
        );
    }
    assert!(requests.iter().any(|r| r.head.contains("x-retry-count: ")));
    server.wait_for("SELECT status FROM mz_internal.mz_sink_statuses", &["running"]);
}

/// Calls that the API refused, and what it takes later: again with the same id and time, and gone from the errors.
#[test]
fn dead_letters_are_sent_again() {
    let refuse = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let refusing = refuse.clone();
    let mock = Mock::start(move |_, body| {
        let bad = body["batch"].as_array().is_some_and(|b| b.iter().any(|e| e["event"] != "Good"));
        if bad && refusing.load(std::sync::atomic::Ordering::SeqCst) { Do::Answer(400) } else { Do::Take }
    });
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let mut server = Server::start(&["--data-dir", &data, "--kafka-listen", "127.0.0.1:0"]);
    let brokers = server.kafka.clone().expect("the embedded Kafka");
    create_topic(&brokers, "dlq", 1);
    connect(&server, &mock);
    server.rows(&format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
         CREATE TABLE t (user_id text, event text, n int);
         CREATE SINK s FROM t INTO SEGMENT CONNECTION seg
           (CALL TRACK, FLUSH INTERVAL = '5 ms', DEAD LETTER TOPIC = 'dlq', DEAD LETTER CONNECTION = k);
         INSERT INTO t VALUES ('a', 'Good', 1), ('a', 'Bad', 2), ('b', 'Worse', 3), ('b', NULL, 4)"
    ));
    let letters = "SELECT body->>'event', status, attempts >= 1 FROM s_errors ORDER BY 1";
    let three = ["Bad|400|t", "Worse|400|t", "NULL|NULL|f"];
    server.wait_for(letters, &three);
    // The topic has them too, keyed by user, with reasons.
    server
        .rows("CREATE SOURCE dead FROM KAFKA CONNECTION k (TOPIC 'dlq') KEY FORMAT TEXT VALUE FORMAT JSON INCLUDE KEY AS user_key");
    server.wait_for(
        "SELECT user_key, data->>'sink', data->>'status', data->'body'->'properties'->>'n', data->>'reason'
         FROM dead ORDER BY 4",
        &[
            "a|s|400|2|Segment answered 400: nope",
            "b|s|400|3|Segment answered 400: nope",
            "b|s|NULL|4|event missing",
        ],
    );
    let ids =
        server.rows("SELECT message_id, body->>'timestamp' FROM s_errors WHERE status = 400 ORDER BY 1");
    // Refused once more: they stay, with their attempt.
    server.rows("ALTER SINK s REPLAY ERRORS WHERE body->>'event' = 'Bad'");
    // Whoever reads what is just leaving sends nothing twice.
    for _ in 0..20 {
        server.rows("ALTER SINK s REPLAY ERRORS WHERE body->>'event' = 'Bad'");
    }
    wait("it is tried again", || {
        mock.requests().iter().filter(|r| r.body["batch"][0]["event"] == "Bad").count() >= 2
    });
    server.wait_for(letters, &three);
    refuse.store(false, std::sync::atomic::Ordering::SeqCst);
    // One that is still on its way is not sent twice: asked for until it has gone.
    wait("Bad is taken", || {
        server.rows("ALTER SINK s REPLAY ERRORS WHERE status = 400 AND body->>'event' = 'Bad'");
        server.rows(letters) == three[1..]
    });
    wait("all that was refused is taken", || {
        server.rows("ALTER SINK s REPLAY ERRORS");
        server.rows(letters) == three[2..]
    });
    let mut sent: Vec<String> = mock
        .taken()
        .iter()
        .filter(|e| e["event"] != "Good")
        .map(|e| {
            format!(
                "{}|{}",
                e["messageId"].as_str().expect("an id"),
                e["timestamp"].as_str().expect("a time")
            )
        })
        .collect();
    sent.sort();
    assert_eq!(sent, ids);
    server.crash_and_restart();
    assert_eq!(server.rows(letters), three[2..]);
    assert!(server.error("ALTER SINK s REPLAY ERRORS WHERE nothing = 1").starts_with("42703"));
    assert!(server.error("ALTER SINK nothing REPLAY ERRORS").starts_with("42704"));
    assert!(
        server
            .error("CREATE SINK x FROM t INTO SEGMENT CONNECTION seg (CALL TRACK, DEAD LETTER TOPIC = 'd')")
            .starts_with("42601")
    );
}

#[test]
fn a_dry_run_shows_calls_and_sends_none() {
    let mock = Mock::start(|_, _| Do::Take);
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let mut server = Server::start(&["--data-dir", &data]);
    connect(&server, &mock);
    server.rows(
        "CREATE TABLE t (user_id text, plan text);
         INSERT INTO t VALUES ('a', 'free');
         CREATE SINK s FROM t INTO SEGMENT CONNECTION seg (CALL IDENTIFY) KEY (user_id) ENVELOPE UPSERT WITH (DRY RUN)",
    );
    let calls = "SELECT body->>'type', body->>'userId', body->'traits', body->>'messageId' = message_id
                 FROM s_calls ORDER BY body->'traits'->>'plan'";
    server.wait_for(calls, &["identify|a|{\"plan\":\"free\"}|t"]);
    server.crash_and_restart();
    server.rows("UPDATE t SET plan = 'pro'; INSERT INTO t VALUES (NULL, 'none')");
    let both = ["identify|a|{\"plan\":\"free\"}|t", "identify|a|{\"plan\":\"pro\"}|t"];
    server.wait_for(calls, &both);
    server.wait_for("SELECT reason FROM s_errors", &["user_id and anonymous_id missing"]);
    assert_eq!(server.rows("SELECT count(*) FROM s_calls"), ["2"], "each once, through a kill");
    assert!(server.error("ALTER SINK s REPLAY ERRORS").starts_with("55000"));
    assert!(mock.requests().is_empty());
    server.rows("DROP SINK s");
    assert!(server.error("SELECT * FROM s_calls").starts_with("42P01"));
}

/// Of each user one request at a time, of others at the same time; what the API asks to wait all sinks of the connection
/// wait, and they share its rate.
#[test]
fn lanes_sinks_and_pauses_of_one_connection() {
    let mock = Mock::start(|i, _| if i == 3 { Do::Later(1) } else { Do::Take });
    let server = Server::start(&["--ephemeral"]);
    server.rows(&format!(
        "CREATE SECRET wk AS 'key1';
         CREATE CONNECTION seg TO SEGMENT (WRITE KEY = SECRET wk, URL = '{}', RATE LIMIT = 40);
         CREATE TABLE t (user_id text, event text, n int);
         CREATE SINK one FROM t INTO SEGMENT CONNECTION seg (CALL TRACK, FLUSH INTERVAL = '1 ms', LANES = 3);
         CREATE SINK two FROM t INTO SEGMENT CONNECTION seg (CALL IDENTIFY, FLUSH INTERVAL = '1 ms')",
        mock.url
    ));
    for i in 0..10 {
        server
            .rows(&format!("INSERT INTO t SELECT 'u' || u::text, 'E', {i} FROM generate_series(1, 6) AS u"));
    }
    wait("all is there", || mock.deduped().len() == 120);
    let requests = mock.requests();
    let later = requests.iter().find(|r| !r.taken).and_then(|r| r.answered).expect("one is answered 429");
    // One may have been on its way; after that nothing goes for a second.
    let resumed = later + Duration::from_secs(1);
    let early = requests.iter().filter(|r| r.came > later + Duration::from_millis(100) && r.came < resumed);
    assert_eq!(early.count(), 0);
    let taken: Vec<Instant> = requests.iter().filter(|r| r.came >= resumed).map(|r| r.came).collect();
    let over = taken.windows(10).filter(|w| w[9] - w[0] < Duration::from_millis(9 * 25 - 60)).count();
    assert_eq!(over, 0, "40 requests a second");
    let mut of_user: BTreeMap<(String, String), Vec<i64>> = BTreeMap::new();
    for e in mock.deduped() {
        let text = |name: &str| e[name].as_str().expect("text").to_string();
        let inside = if e["type"] == "track" { "properties" } else { "traits" };
        of_user.entry((text("type"), text("userId"))).or_default().push(e[inside]["n"].as_i64().expect("n"));
    }
    assert_eq!(of_user.len(), 12);
    for (who, numbers) in of_user {
        assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "{who:?}");
    }
}

/// An answer that does not come within ten seconds is not waited for.
#[test]
fn a_stalled_answer_is_given_up() {
    let mock = Mock::start(|i, _| if i == 0 { Do::Stall } else { Do::Take });
    let server = Server::start(&["--ephemeral"]);
    connect(&server, &mock);
    server.rows(
        "CREATE TABLE t (user_id text);
         CREATE SINK s FROM t INTO SEGMENT CONNECTION seg (CALL IDENTIFY);
         INSERT INTO t VALUES ('u')",
    );
    wait("it is sent again", || mock.taken().len() == 1);
    let requests = mock.requests();
    let waited = requests[1].came - requests[0].came;
    assert!((Duration::from_secs(10)..Duration::from_secs(15)).contains(&waited), "{waited:?}");
    assert_eq!(requests[0].body["batch"], requests[1].body["batch"]);
}
