//! Segment's Tracking API over real HTTP: routes, keys, limits and faults; the libraries of Segment and RudderStack,
//! unmodified, also through kill −9; and Segment's own Webhooks destination.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::{Http, Server, have, repository, text};

/// Forwards connections to wherever the server is now, so that a library keeps one host through restarts.
struct Proxy {
    address: String,
    to: Arc<Mutex<String>>,
}

impl Proxy {
    fn start(to: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let to = Arc::new(Mutex::new(to.to_string()));
        let current = to.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let to = current.lock().expect("no panic").clone();
                // A server that is not there closes the connection, as a balancer would.
                let Ok(server) = TcpStream::connect(&to) else { continue };
                let copies = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
                for (from, to) in copies {
                    if let (Ok(mut from), Ok(mut to)) = (from, to) {
                        std::thread::spawn(move || {
                            let mut part = [0; 16 << 10];
                            while let Ok(n @ 1..) = from.read(&mut part) {
                                if to.write_all(&part[..n]).is_err() {
                                    break;
                                }
                            }
                            let _ = to.shutdown(Shutdown::Both);
                            let _ = from.shutdown(Shutdown::Both);
                        });
                    }
                }
            }
        });
        Proxy { address, to }
    }
}

/// Whether a client's packages are there.
fn installed(program: &str, probe: &[&str], what: &str) -> bool {
    if !have(program, what) {
        return false;
    }
    let found = Command::new(program).args(probe).current_dir(repository("tests/clients")).output();
    if found.is_ok_and(|out| out.status.success()) {
        return true;
    }
    assert!(std::env::var_os("DELTAMILL_REQUIRE").is_none(), "{what} is required: see tests/run.sh");
    eprintln!("skipped, {what} is not installed");
    false
}

fn node() -> bool {
    let probe = "require('@segment/analytics-node'); require('@rudderstack/rudder-sdk-node'); \
                 require('@segment/action-destinations/dist/destinations/webhook'); \
                 require.resolve('@segment/analytics-next/package.json'); require.resolve('jsdom')";
    installed("node", &["-e", probe], "Segment's and RudderStack's libraries for Node")
}

fn python() -> bool {
    let probe = "import segment.analytics, rudderstack.analytics";
    installed("python3", &["-c", probe], "Segment's and RudderStack's libraries for Python")
}

/// Runs a client of `tests/clients`.
fn client(script: &str, arguments: &[&str]) -> Child {
    let program = if script.ends_with(".py") { "python3" } else { "node" };
    Command::new(program)
        .arg(script)
        .args(arguments)
        .current_dir(repository("tests/clients"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts")
}

fn ends_well(client: Child, what: &str) {
    let out = client.wait_with_output().expect("it ends");
    assert!(out.status.success(), "{what}: {}{}", text(&out.stdout), text(&out.stderr));
}

const EVENTS: &str = "SELECT type, user_id, anonymous_id, event, message_id FROM events ORDER BY message_id";

#[test]
fn calls_are_taken_on_every_path_and_with_every_key() {
    let server = Server::start(&["--ephemeral"]);
    let mut http = Http::connect(&server.http).expect("a connection");
    let mut call = |method: &str, path: &str, headers: &str, body: &str| {
        http.request(method, path, headers, body.as_bytes()).expect("an answer")
    };
    let missing = call("POST", "/v1/track", "", "{}");
    assert_eq!(missing.0, 404);
    assert_eq!(
        missing.2,
        r#"{"code":"not_found","message":"there is no source FROM SEGMENT","success":false}"#
    );
    server.rows("CREATE SECRET wk AS 'key1'; CREATE SOURCE events FROM SEGMENT (WRITE KEY = SECRET wk)");
    let basic = "Authorization: Basic a2V5MTo=\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let ok = r#"{"success":true}"#;
    let paths = ["track", "identify", "page", "screen", "group", "alias", "t", "i", "p", "s", "g", "a"];
    for (i, path) in paths.iter().enumerate() {
        let body = format!(r#"{{"userId":"u","messageId":"m{i:02}"}}"#);
        let (status, head, body) = call("POST", &format!("/v1/{path}"), basic, &body);
        assert_eq!((status, body.as_str()), (200, ok), "{path}");
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
    }
    let batch =
        r#"{"batch":[{"type":"track","event":"A","messageId":"n1","anonymousId":"a"}],"writeKey":"key1"}"#;
    for path in ["/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"] {
        assert_eq!(call("POST", path, "Content-Type: text/plain\r\n", batch).0, 200, "{path}");
    }
    assert_eq!(call("POST", "/api/s/track", "X-Write-Key: key1\r\n", r#"{"messageId":"o1"}"#).0, 200);
    assert_eq!(call("POST", "/v1/t?writeKey=key1", "", r#"{"messageId":"o2"}"#).0, 200);
    assert_eq!(
        call("POST", "/v1/t", "Authorization: Bearer x\r\n", r#"{"messageId":"o3","writeKey":"key1"}"#).0,
        200
    );
    assert_eq!(call("POST", "/v1/m", basic, r#"{"series":[]}"#).0, 200);
    let kinds = ["track", "identify", "page", "screen", "group", "alias"];
    let mut expected: Vec<String> =
        (0..12).map(|i| format!("{}|u|NULL|NULL|m{i:02}", kinds[i % 6])).collect();
    expected.extend(vec!["track|NULL|a|A|n1".to_string(); 4]);
    expected.extend((1..4).map(|i| format!("track|NULL|NULL|NULL|o{i}")));
    assert_eq!(server.rows(EVENTS), expected);
    let wrong = call("POST", "/v1/track", "", r#"{"writeKey":"other"}"#);
    assert_eq!(wrong.0, 401);
    assert!(wrong.2.contains(r#""code":"invalid_write_key""#), "{}", wrong.2);
    let invalid = call("POST", "/v1/batch", basic, r#"{"batch":[{"a":NaN}]}"#);
    assert_eq!(invalid.0, 400);
    assert!(invalid.2.contains(r#""code":"bad_request""#), "{}", invalid.2);
    assert_eq!(call("POST", "/v1/nothing", basic, "{}").0, 404);
    let preflight =
        call("OPTIONS", "/v1/t", "Origin: http://page\r\nAccess-Control-Request-Method: POST\r\n", "");
    assert_eq!(preflight.0, 200);
    assert!(
        preflight.1.contains("access-control-allow-headers: authorization, content-type"),
        "{}",
        preflight.1
    );
    let settings = call("GET", "/v1/projects/key1/settings", "", "");
    let settings: serde_json::Value = serde_json::from_str(&settings.2).expect("JSON");
    assert_eq!(settings["integrations"]["Segment.io"]["apiKey"], "key1");
    assert_eq!(settings["integrations"]["Segment.io"]["apiHost"], "x/v1");
    assert_eq!(
        server.rows("SELECT status, reason LIKE 'the body is not valid JSON%' FROM mz_internal.mz_refused_requests ORDER BY 1"),
        ["400|t", "401|f"]
    );
}

#[test]
fn times_are_corrected_limits_noted_and_faults_made() {
    let server = Server::start(&["--ephemeral"]);
    server.rows("CREATE SOURCE events FROM SEGMENT");
    let track = r#"{"event":"Ä","userId":7,"timestamp":"2020-01-01T00:00:00.250Z","sentAt":"2020-01-01T00:00:01Z","n":1e2}"#;
    assert_eq!(server.post("/v1/track", "", track.as_bytes()).0, 200);
    assert_eq!(
        server.rows(
            "SELECT event, user_id, received_at - \"timestamp\", sent_at - original_timestamp,
                    body->'n', body->>'receivedAt' = to_char(received_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
                    length(message_id), over_limits FROM events"
        ),
        ["Ä|7|00:00:00.75|00:00:00.75|100|t|36|NULL"]
    );
    let long = format!(r#"{{"messageId":"long","p":"{}"}}"#, "x".repeat(33_000));
    assert_eq!(server.post("/v1/track", "", long.as_bytes()).0, 200);
    assert_eq!(
        server.rows("SELECT over_limits FROM events WHERE message_id = 'long'"),
        ["event of 33027 bytes"]
    );
    server.rows("DROP SOURCE events; CREATE SOURCE strict FROM SEGMENT (STRICT)");
    assert_eq!(server.post("/v1/track", "", long.as_bytes()).0, 400);
    assert_eq!(server.rows("SELECT count(*) FROM strict"), ["0"]);
    server.rows(
        "DROP SOURCE strict;
         CREATE SOURCE events FROM SEGMENT (FAIL RATE = 0.25, STATUS = 429, RETRY AFTER = '2 seconds')",
    );
    let mut http = Http::connect(&server.http).expect("a connection");
    let answers: Vec<_> =
        (0..8).map(|_| http.request("POST", "/v1/t", "", b"{}").expect("an answer")).collect();
    let failed: Vec<_> = answers.iter().filter(|a| a.0 == 429).collect();
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|a| a.1.contains("retry-after: 2\r\n") && a.2.contains("\"rate_limited\"")));
    assert_eq!(server.rows("SELECT count(*) FROM events"), ["6"]);
    for (options, error) in [
        ("FAIL RATE = 2", "22023 invalid FAIL RATE"),
        ("WRITE KEY = 'plain'", "22023 invalid WRITE KEY"),
        ("STATUS = 99", "22023 invalid STATUS"),
        ("COLOUR = red", "42601 unknown option COLOUR"),
    ] {
        let got = server.error(&format!("CREATE SOURCE s FROM SEGMENT ({options})"));
        assert!(got.starts_with(error), "{got}");
    }
}

/// Five libraries send at once, one of them in a browser (Chromium where it is installed, else jsdom), while the server is
/// killed and comes back: every message at least once, and exactly once in a view that keeps the first of each.
#[test]
fn libraries_deliver_through_kills() {
    if !node() || !python() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let mut server = Server::start(&["--data-dir", &data]);
    server.rows(
        "CREATE SOURCE events FROM SEGMENT;
         CREATE MATERIALIZED VIEW deduped AS
           SELECT DISTINCT ON (message_id) message_id, type, event, user_id, body FROM events
           ORDER BY message_id, received_at",
    );
    let proxy = Proxy::start(&server.http);
    let n = 300;
    let count = n.to_string();
    // It keeps its page open for as long as its input.
    let browser = client("browser_client.js", &[&proxy.address, &count]);
    let clients: Vec<(Child, &str)> = [
        ("segment_client.js", "segment"),
        ("segment_client.js", "rudder"),
        ("segment_client.py", "segment"),
        ("segment_client.py", "rudder"),
    ]
    .map(|(script, library)| (client(script, &[&proxy.address, library, &count]), script))
    .into();
    for part in [1, 3] {
        let at_least = format!("SELECT count(*) >= {} FROM deduped", part * 100);
        server.wait_for(&at_least, &["t"]);
        server.crash_and_restart();
        *proxy.to.lock().expect("no panic") = server.http.clone();
    }
    clients.into_iter().for_each(|(client, script)| ends_well(client, script));
    let per_library =
        "SELECT substring(message_id FROM '^[a-z]+-[a-z]+'), count(*), count(DISTINCT message_id)
                       FROM deduped WHERE type = 'track' GROUP BY 1 ORDER BY 1";
    let of_browser = "SELECT count(*) FROM deduped WHERE message_id LIKE 'ajs-next-%'";
    server.wait_for(of_browser, &[&(n + 3).to_string()]);
    ends_well(browser, "the browser");
    let all = ["ajs-next", "rudder-node", "rudder-python", "segment-node", "segment-python"];
    let expected = all.map(|library| format!("{library}|{n}|{n}"));
    assert_eq!(server.rows(per_library), expected);
    assert_eq!(
        server.rows("SELECT type, count(*) FROM deduped WHERE type <> 'track' GROUP BY 1 ORDER BY 1"),
        ["alias|1", "group|2", "identify|5", "page|2", "screen|1"]
    );
    assert_eq!(server.rows("SELECT count(*) FROM deduped WHERE body ? 'writeKey'"), ["0"]);
    assert_eq!(
        server.rows(
            "SELECT DISTINCT body->'properties'->>'big' FROM deduped WHERE message_id LIKE '%-python-%'"
        ),
        ["12345678901234567890"]
    );
}

/// Segment's published Webhooks destination, one by one and in batches, signed.
#[test]
fn segments_webhooks_destination_delivers() {
    if !node() {
        return;
    }
    let server = Server::start(&["--ephemeral"]);
    server.rows(
        "CREATE SECRET shared AS 'abc123';
         CREATE SOURCE hook FROM WEBHOOK BODY FORMAT JSON ARRAY
           CHECK (WITH (BODY BYTES, HEADERS, SECRET shared AS key BYTES)
                  segment_signature_valid(body, headers->'x-signature', key))",
    );
    let url = server.rows("SELECT url FROM mz_internal.mz_webhook_sources").concat();
    ends_well(client("webhook_sender.js", &[&url, "abc123"]), "the destination");
    let expected: Vec<String> = (0..7).map(|i| format!("message-{i}|grüße, \"日本\"")).collect();
    assert_eq!(
        server.rows("SELECT body->>'messageId', body->'properties'->>'note' FROM hook ORDER BY 1"),
        expected
    );
    let out = client("webhook_sender.js", &[&url, "wrong"]).wait_with_output().expect("it ends");
    assert!(!out.status.success());
    assert_eq!(
        server.rows("SELECT DISTINCT status, reason FROM mz_internal.mz_refused_requests"),
        ["400|failed to validate the request: the CHECK is not true"]
    );
}
