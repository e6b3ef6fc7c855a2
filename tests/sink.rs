//! Sinks into Segment against a mock of its API that answers by a script: 200, 400, 413, 429, 500, 503, resets, lost
//! answers; and through kill −9.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::{Server, rows};

/// What the mock does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Do {
    Take,
    Answer(u16),
    /// 429 with `Retry-After: 0`.
    Later,
    /// The connection closes, nothing is taken.
    Reset,
    /// The events are taken, the answer is lost.
    LoseAnswer,
}

/// A request as it came.
#[derive(Clone, Debug)]
struct Request {
    head: String,
    body: Value,
    bytes: usize,
    taken: bool,
}

struct Mock {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Mock {
    /// `script`: what is done with the n-th request.
    fn start(script: impl Fn(usize, &Value) -> Do + Send + Sync + 'static) -> Mock {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let requests = Arc::new(Mutex::new(vec![]));
        let (all, script) = (requests.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, script) = (all.clone(), script.clone());
                std::thread::spawn(move || serve(stream, &all, &*script));
            }
        });
        Mock { url, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }

    /// The events that were taken, in order.
    fn taken(&self) -> Vec<Value> {
        let taken = self.requests().into_iter().filter(|r| r.taken);
        taken.flat_map(|r| r.body["batch"].as_array().expect("a batch").clone()).collect()
    }

    /// Of each message the first that was taken, as Segment does it, in order.
    fn deduped(&self) -> Vec<Value> {
        let mut seen = std::collections::HashSet::new();
        self.taken()
            .into_iter()
            .filter(|e| seen.insert(e["messageId"].as_str().expect("an id").to_string()))
            .collect()
    }
}

fn serve(stream: TcpStream, all: &Mutex<Vec<Request>>, script: &dyn Fn(usize, &Value) -> Do) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: "))?.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let what = {
            let mut all = all.lock().expect("no panic");
            let what = script(all.len(), &body);
            let taken = matches!(what, Do::Take | Do::LoseAnswer);
            all.push(Request { head, body, bytes: length, taken });
            what
        };
        let answer = match what {
            Do::Take => "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"success\":true}".to_string(),
            Do::Later => "HTTP/1.1 429 Slow\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n".to_string(),
            Do::Answer(status) => format!("HTTP/1.1 {status} No\r\nContent-Length: 4\r\n\r\nnope"),
            Do::Reset | Do::LoseAnswer => return None,
        };
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

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
            "bad6|the call has 40140 bytes, 32768 are allowed|NULL|0|page",
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
        ("FROM completed INTO KAFKA CONNECTION seg (TOPIC 't')", "0A000"),
    ] {
        let got = server.error(&format!("CREATE SINK s {sink}"));
        assert!(got.starts_with(error), "{sink}: {got}");
    }
}

/// Rows of many users with everything going wrong, and the engine killed in between: each message arrives, each once
/// after Segment's own removal of repeats, those of a user in order; nothing over the limits; and what the API refuses
/// is a dead letter.
#[test]
fn nothing_is_lost_doubled_or_overtaken() {
    let n: u64 = std::env::var("DELTAMILL_EVENTS").ok().and_then(|v| v.parse().ok()).unwrap_or(1_200);
    let mock = Mock::start(|i, body| {
        let poisoned =
            body["batch"].as_array().is_some_and(|b| b.iter().any(|e| e["properties"]["poison"] == true));
        match i % 9 {
            1 => Do::Later,
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
    let mut at = 100;
    let mut killed = 0;
    while at < n {
        let to = (at + 100).min(n);
        let poison = if at % 500 == 0 { at + 7 } else { u64::MAX >> 1 };
        let insert =
            format!("INSERT INTO raw SELECT i, i = {poison} FROM generate_series({at}, {}) AS i", to - 1);
        rows(&mut server.client(), &insert).expect("inserted");
        at = to;
        if at % 500 == 0 && killed < 2 {
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
