//! Webhooks over real HTTP: what is taken, what is refused and why, and what survives kill −9.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Http, Server, create_topic, rows};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(body).expect("written to memory");
    encoder.finish().expect("written to memory")
}

#[test]
fn bodies_become_rows_by_their_format() {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    for statement in [
        "CREATE SOURCE texts FROM WEBHOOK BODY FORMAT TEXT",
        "CREATE SOURCE blobs FROM WEBHOOK BODY FORMAT BYTES INCLUDE HEADERS",
        "CREATE SOURCE docs FROM WEBHOOK BODY FORMAT JSON INCLUDE HEADER 'X-Event' AS event INCLUDE HEADER 'x-raw' AS raw BYTES",
        "CREATE SOURCE items FROM WEBHOOK BODY FORMAT JSON ARRAY INCLUDE HEADERS (NOT 'host', NOT 'content-length')",
        "CREATE SCHEMA other",
        "CREATE SOURCE other.\"a b\" FROM WEBHOOK BODY FORMAT TEXT INCLUDE HEADERS ('x-a') INCLUDE HEADER 'x-b' AS b",
    ] {
        rows(&mut client, statement).unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
    let post = |source: &str, headers: &str, body: &[u8]| {
        server.post(&format!("/api/webhook/materialize/public/{source}"), headers, body)
    };
    let ok = (200, String::new());
    assert_eq!(post("texts", "", "grüß\n".as_bytes()), ok);
    assert_eq!(post("blobs", "X-One: 1\r\n", b"\x00\xff"), ok);
    assert_eq!(post("docs", "X-Event: a\r\nX-Raw: ÿ\r\n", b"{\"n\":1}\n{\"n\":2} [3]\n"), ok);
    assert_eq!(post("items", "X-A: b\r\n", b"[{\"n\":1}, {\"n\":12345678901234567890}] \"x\""), ok);
    let zipped = gzip(b"[1,2]");
    assert_eq!(post("items", "Content-Encoding: gzip\r\n", &zipped), ok);
    assert_eq!(
        server.post("/api/webhook/materialize/other/a%20b", "X-A: 1\r\nX-B: 2\r\nX-C: 3\r\n", b"x"),
        ok
    );
    // Who was answered sees its own write: no waiting here.
    assert_eq!(server.rows("SELECT body FROM texts"), ["grüß\n"]);
    assert_eq!(
        server.rows("SELECT body, headers->'x-one', headers ? 'content-length' FROM blobs"),
        ["\\x00ff|1|t"]
    );
    assert_eq!(
        server.rows("SELECT body, event, raw IS NULL FROM docs ORDER BY body::text"),
        ["[3]|a|f", "{\"n\":1}|a|f", "{\"n\":2}|a|f"]
    );
    assert_eq!(
        server.rows("SELECT body, headers FROM items ORDER BY body::text"),
        [
            "\"x\"|{x-a=>b}",
            "1|{content-encoding=>gzip}",
            "2|{content-encoding=>gzip}",
            "{\"n\":12345678901234567890}|{x-a=>b}",
            "{\"n\":1}|{x-a=>b}",
        ]
    );
    assert_eq!(server.rows("SELECT * FROM other.\"a b\""), ["x|{x-a=>1}|2"]);
    let url = format!("http://{}/api/webhook/materialize/other/a%20b", server.http);
    assert_eq!(server.rows("SELECT url FROM mz_internal.mz_webhook_sources WHERE name = 'a b'"), [url]);
    assert_eq!(
        server.rows("SELECT type, status FROM mz_internal.mz_source_statuses WHERE name = 'texts'"),
        ["webhook|running"]
    );
    assert_eq!(
        server.rows("SELECT messages_received FROM mz_internal.mz_source_statistics WHERE name = 'docs'"),
        ["3"]
    );
    let shown = server.rows("SHOW CREATE SOURCE docs").concat();
    assert!(shown.contains("INCLUDE HEADER 'x-raw' AS raw BYTES"), "{shown}");
}

#[test]
fn what_is_refused_says_why() {
    let server = Server::start(&["--ephemeral"]);
    server.rows(
        "CREATE SECRET shared AS 'abc123';
         CREATE SOURCE signed FROM WEBHOOK BODY FORMAT JSON ARRAY
           CHECK (WITH (BODY BYTES, HEADERS, SECRET shared AS key BYTES)
                  segment_signature_valid(body, headers->'x-signature', key));
         CREATE SOURCE fresh FROM WEBHOOK BODY FORMAT TEXT
           CHECK (WITH (BODY, HEADERS AS h, SECRET shared)
                  h->'x-key' = shared AND body::timestamptz > now() - INTERVAL '1 minute')",
    );
    let post = |source: &str, headers: &str, body: &[u8]| {
        server.post(&format!("/api/webhook/materialize/public/{source}"), headers, body)
    };
    // Made with `printf '{"userId":"u1"}' | openssl dgst -sha1 -hmac abc123`.
    let signature =
        server.rows("SELECT encode(hmac('{\"userId\":\"u1\"}', 'abc123', 'sha1'), 'hex')").concat();
    let signed = format!("X-Signature: {signature}\r\n");
    assert_eq!(post("signed", &signed, b"{\"userId\":\"u1\"}").0, 200);
    assert_eq!(post("signed", &signed, b"[{\"userId\":\"u1\"},{\"userId\":\"u2\"}]").0, 200);
    let invalid = (400, "failed to validate the request".to_string());
    assert_eq!(post("signed", &signed, b"{\"userId\":\"u3\"}"), invalid);
    assert_eq!(post("signed", "", b"{\"userId\":\"u1\"}"), invalid);
    assert_eq!(server.rows("SELECT body->>'userId' FROM signed ORDER BY 1"), ["u1", "u1", "u2"]);
    assert_eq!(post("fresh", "X-Key: abc123\r\n", b"2100-01-01").0, 200);
    assert_eq!(post("fresh", "X-Key: abc123\r\n", b"1999-01-01"), invalid);
    assert_eq!(post("fresh", "X-Key: abc123\r\nAuthorization: Basic eHg6\r\n", b"yesterday?"), invalid);
    assert_eq!(post("fresh", "X-Key: a\r\nx-key: b\r\n", b"").0, 401);
    server.rows("ALTER SECRET shared AS 'new'");
    assert_eq!(post("fresh", "X-Key: new\r\n", b"2100-01-01").0, 200);
    assert_eq!(post("nowhere", "", b"").0, 404);
    assert_eq!(post("signed", "Content-Encoding: br\r\n", b"x").0, 415);
    assert_eq!(post("signed", "Content-Encoding: gzip\r\n", b"this is not gzip").0, 400);
    let bomb = gzip(&vec![b' '; 40 << 20]);
    assert!(bomb.len() < 1 << 20);
    assert_eq!(post("signed", "Content-Encoding: gzip\r\n", &bomb).0, 413);
    let reasons = "SELECT source_name, status, count(*), reason FROM mz_internal.mz_refused_requests
                   WHERE status = 400 GROUP BY 1, 2, 4 ORDER BY 1, 4";
    assert_eq!(
        server.rows(reasons),
        [
            "fresh|400|1|failed to validate the request: invalid input syntax for type timestamp with time zone: \"yesterday?\"",
            "fresh|400|1|failed to validate the request: the CHECK is not true",
            "signed|400|2|failed to validate the request: the CHECK is not true",
            "signed|400|1|the body is not valid gzip: invalid gzip header",
        ]
    );
    assert_eq!(
        server.rows("SELECT convert_from(body, 'utf8'), headers->>'authorization' FROM mz_internal.mz_refused_requests WHERE headers ? 'authorization'"),
        ["yesterday?|(not shown)"]
    );
    server.rows("CREATE SOURCE plain FROM WEBHOOK BODY FORMAT JSON");
    for bad in [&b"{\"a\":NaN}"[..], b"{\"a\":1} {", b"\"\xff\"", b"\"\\u0000\""] {
        assert_eq!(post("plain", "", bad).0, 400, "{bad:?}");
    }
    // Nothing of a refused request is there, and nothing keeps the source from being read.
    assert_eq!(server.rows("SELECT count(*) FROM plain"), ["0"]);
    assert!(
        server
            .error("CREATE SOURCE s FROM WEBHOOK BODY FORMAT TEXT CHECK (WITH (BODY) true)")
            .starts_with("22023")
    );
    assert!(
        server
            .error("CREATE SOURCE s FROM WEBHOOK BODY FORMAT TEXT CHECK (WITH (BODY) body)")
            .starts_with("42804")
    );
    assert!(server.error("CREATE SOURCE s FROM WEBHOOK BODY FORMAT TEXT FORMAT JSON").starts_with("42601"));
    server.rows("CREATE VIEW reached AS SELECT \"offset\" FROM plain_progress");
    assert!(server.error("DROP SOURCE plain").starts_with("2BP01"));
    server.rows("DROP VIEW reached; DROP SOURCE plain");
    assert_eq!(post("plain", "", b"1").0, 404);
}

/// What a source refused stands in its errors, through kill −9; of a flood only so much that it cannot fill the disk.
#[test]
fn refused_requests_are_kept_but_not_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let mut server = Server::start(&["--data-dir", &data]);
    server.rows(
        "CREATE SECRET shared AS 'abc123';
         CREATE SOURCE signed FROM WEBHOOK BODY FORMAT JSON INCLUDE HEADERS
           CHECK (WITH (BODY BYTES, HEADERS, SECRET shared AS key BYTES)
                  segment_signature_valid(body, headers->'x-signature', key));
         CREATE SOURCE api FROM SEGMENT (WRITE KEY = SECRET shared);
         CREATE MATERIALIZED VIEW wrong AS
           SELECT status, reason, header_text(headers, 'x-signature') AS signature, convert_from(value, 'utf8') AS body
           FROM signed_errors",
    );
    let post = |server: &Server, body: &str| {
        server.post("/api/webhook/materialize/public/signed", "X-Signature: aa\r\n", body.as_bytes()).0
    };
    assert_eq!(post(&server, "{\"n\":0}"), 400);
    assert_eq!(server.post("/v1/track", "Authorization: Basic d3Jvbmc6\r\n", b"{}").0, 401);
    let first = ["400|failed to validate the request: the CHECK is not true|aa|{\"n\":0}"];
    server.wait_for("SELECT * FROM wrong", &first);
    server.wait_for("SELECT status, reason FROM api_errors", &["401|no source takes this write key"]);
    server.crash_and_restart();
    assert_eq!(server.rows("SELECT * FROM wrong"), first);
    assert_eq!(server.rows("SELECT count(*), count(\"time\") FROM api_errors"), ["1|1"]);
    let mut http = Http::connect(&server.http).expect("a connection");
    for n in 1..=3_000 {
        let answer = http.request(
            "POST",
            "/api/webhook/materialize/public/signed",
            "X-Signature: aa\r\n",
            format!("{{\"n\":{n}}}").as_bytes(),
        );
        assert_eq!(answer.expect("an answer").0, 400);
    }
    // The last is there; all others are counted.
    server.wait_for("SELECT count(*) FROM wrong WHERE body = '{\"n\":3000}'", &["1"]);
    let counted = "SELECT count(body) + sum(coalesce(substring(reason FROM '^and ([0-9]+) more')::int8, 0)), count(*) < 1000 FROM wrong";
    server.wait_for(counted, &["3001|t"]);
    server.rows("DROP MATERIALIZED VIEW wrong; DROP SOURCE signed; DROP SOURCE api");
}

/// Large bodies, slow ones and a thousand connections at a time are refused one by one, and hold up nothing else.
#[test]
fn floods_are_refused_and_hold_up_nothing() {
    use std::io::Read;
    let server = Server::start(&["--ephemeral"]);
    server.rows("CREATE SOURCE hook FROM WEBHOOK BODY FORMAT TEXT");
    let path = "/api/webhook/materialize/public/hook";
    assert_eq!(server.post(path, "", &vec![b'x'; (16 << 20) + 1]).0, 413);
    let open = |body: &str| {
        let mut stream = std::net::TcpStream::connect(&server.http).expect("a connection");
        stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("a socket");
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{body}");
        stream.write_all(head.as_bytes()).expect("it is taken");
        stream
    };
    let begun = std::time::Instant::now();
    let mut waiting: Vec<_> = (0..1_000).map(|_| open("half")).collect();
    // Half of them have a place; the others are told at once that there is none.
    let status = |stream: &mut std::net::TcpStream| {
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        String::from_utf8_lossy(&head[9..]).parse::<u16>().expect("a status")
    };
    server.wait_for("SELECT count(*) FROM mz_internal.mz_refused_requests WHERE status = 429", &["500"]);
    assert_eq!(server.rows("SELECT 1"), ["1"], "SQL goes on");
    assert_eq!(server.post(path, "", b"x").0, 429);
    // Those that never end are let go after 30 s, and there is place again.
    let mut by_status = std::collections::BTreeMap::new();
    for stream in &mut waiting {
        *by_status.entry(status(stream)).or_insert(0) += 1;
    }
    assert_eq!(by_status, [(408, 500), (429, 500)].into());
    assert!((29..60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(server.post(path, "", b"x").0, 200);
    assert_eq!(server.rows("SELECT count(*) FROM hook"), ["1"]);
}

/// Posts batches from several connections while the server is killed: every batch that was answered 200 is there, once
/// where it was sent once, and none is there in part. `DELTAMILL_POSTS=20000 DELTAMILL_KILLS=10` makes it longer.
#[test]
fn what_was_answered_survives_kills() {
    let kills: u64 = std::env::var("DELTAMILL_KILLS").ok().and_then(|v| v.parse().ok()).unwrap_or(5);
    let posts: u64 = std::env::var("DELTAMILL_POSTS").ok().and_then(|v| v.parse().ok()).unwrap_or(500);
    const BATCH: u64 = 3;
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let mut server = Server::start(&["--data-dir", &data]);
    server.rows("CREATE SOURCE posted FROM WEBHOOK BODY FORMAT JSON ARRAY");
    server.rows(
        "CREATE MATERIALIZED VIEW batches AS SELECT body->>'b' AS b, count(*) AS n FROM posted GROUP BY 1",
    );
    let address = Arc::new(Mutex::new(server.http.clone()));
    let (stop, next, answered) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(vec![])));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (address, stop, next, answered) =
                (address.clone(), stop.clone(), next.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut connection: Option<Http> = None;
                while !stop.load(Ordering::Relaxed) {
                    // Each batch is sent once, so that it can be there once at most.
                    let to = address.lock().expect("no panic").clone();
                    let Some(mut http) = connection.take().or_else(|| Http::connect(&to).ok()) else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let records: Vec<String> =
                        (0..BATCH).map(|i| format!("{{\"b\":{n},\"i\":{i}}}")).collect();
                    let body = format!("[{}]", records.join(","));
                    if let Ok((200, ..)) =
                        http.request("POST", "/api/webhook/materialize/public/posted", "", body.as_bytes())
                    {
                        answered.lock().expect("no panic").push(n);
                        connection = Some(http);
                    }
                }
            })
        })
        .collect();
    for _ in 0..kills {
        let before = answered.lock().expect("no panic").len();
        while answered.lock().expect("no panic").len() < before + (posts / kills) as usize {
            std::thread::sleep(Duration::from_millis(5));
        }
        server.crash_and_restart();
        *address.lock().expect("no panic") = server.http.clone();
    }
    stop.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|s| s.join().expect("a sender ends well"));
    let there = server.rows("SELECT b::int8, n FROM batches");
    let whole = format!("|{BATCH}");
    let there: std::collections::HashSet<u64> = there
        .iter()
        .map(|row| {
            row.strip_suffix(&whole)
                .and_then(|b| b.parse().ok())
                .unwrap_or_else(|| panic!("half a batch: {row}"))
        })
        .collect();
    let answered = answered.lock().expect("no panic");
    let lost: Vec<_> = answered.iter().filter(|n| !there.contains(n)).collect();
    assert!(lost.is_empty(), "of {} answered, lost {lost:?}", answered.len());
    let offsets = server.rows("SELECT \"offset\" FROM posted_progress");
    assert_eq!(offsets, [(there.len() as u64 * BATCH).to_string()]);
}

/// The guide's path without any cloud: a webhook writes into a topic, the topic is a source, the source has a view.
#[test]
fn the_topics_own_webhook_writes_into_kafka() {
    let server = Server::start(&["--ephemeral", "--kafka-listen", "127.0.0.1:0"]);
    let brokers = server.kafka.clone().expect("the embedded Kafka");
    create_topic(&brokers, "segment", 1);
    let (status, body) = server.post("/webhook?topic=segment", "", b"x");
    assert_eq!(
        (status, &body[..]),
        (404, r#"{"error":"there is no Kafka connection: see CREATE CONNECTION","status":404}"#)
    );
    server.rows(&format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
         CREATE SOURCE segment_events FROM KAFKA CONNECTION k (TOPIC 'segment')
           FORMAT BYTES INCLUDE OFFSET, HEADERS;
         CREATE MATERIALIZED VIEW segment_events_json AS
           SELECT convert_from(data, 'utf8')::jsonb AS data, \"offset\",
                  header_text(headers, 'x-signature') AS signature FROM segment_events"
    ));
    let headers = "X-Signature: abc\r\nContent-Type: application/json\r\nUser-Agent: Segment.io/1.0\r\n";
    for i in 0..3 {
        let path = if i == 2 { "/webhook?topic=segment&connection=k" } else { "/webhook?topic=segment" };
        let (status, body) = server.post(path, headers, format!("{{\"userId\":\"u{i}\"}}").as_bytes());
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(status, 200, "{body}");
        assert_eq!(
            (&body["topic"], &body["partition"], &body["offset"]),
            (&"segment".into(), &0.into(), &i.into())
        );
        assert!(body["timestamp"].as_i64().is_some_and(|t| t > 1_600_000_000_000), "{body}");
    }
    server.wait_for(
        "SELECT data->>'userId', \"offset\", signature FROM segment_events_json ORDER BY 2",
        &["u0|0|abc", "u1|1|abc", "u2|2|abc"],
    );
    let status = |path: &str, headers: &str| server.post(path, headers, b"x").0;
    assert_eq!(status("/webhook", ""), 400);
    assert_eq!(status("/webhook?topic=bad/name", ""), 404);
    assert_eq!(status("/webhook?topic=segment&connection=other", ""), 404);
    assert_eq!(status("/webhook?topic=segment", "Origin: http://evil.example\r\n"), 403);
    assert_eq!(status("/webhook?topic=segment", "Sec-Fetch-Site: cross-site\r\n"), 403);
    // A connection with a user takes only what that user sends.
    server.rows(&format!(
        "CREATE SECRET p AS 'pw';
         CREATE CONNECTION s TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL 'SASL_PLAINTEXT', SASL MECHANISMS 'PLAIN',
           SASL USERNAME 'u', SASL PASSWORD SECRET p) WITH (VALIDATE = false)"
    ));
    assert_eq!(status("/webhook?topic=segment", ""), 400);
    assert_eq!(status("/webhook?topic=segment&connection=s", ""), 401);
    assert_eq!(status("/webhook?topic=segment&connection=s&user=u&pass=no", ""), 401);
    assert_eq!(server.rows("SELECT count(*) FROM segment_events"), ["3"]);
}
