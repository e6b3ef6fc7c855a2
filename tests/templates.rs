//! The projects that `deltamill init` writes, from end to end: the embedded Kafka on one side, a mock of Segment on the
//! other. And `deltamill send`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::segment_api::{Do, Mock};
use crate::support::{DELTAMILL, Server, create_topic, deltamill, text};

fn works(arguments: &[&str]) -> String {
    let out = deltamill(arguments);
    assert!(out.status.success(), "{arguments:?}: {}{}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout).to_string()
}

/// A project of this template, applied: with its topics made, and calls sent to `segment`.
fn project(template: &str, dir: &Path, server: &Server, segment: &str) {
    let path = dir.join(template).display().to_string();
    let said = works(&["--json", "init", &path, "--template", template]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let kafka = server.kafka.clone().unwrap_or_default();
    for topic in said["topics"].as_array().expect("topics") {
        create_topic(&kafka, topic.as_str().expect("a name"), 1);
    }
    for file in std::fs::read_dir(&path).expect("the folder") {
        let file = file.expect("a file").path();
        let sql = std::fs::read_to_string(&file).expect("text");
        let sql = sql.replace("127.0.0.1:9092", &kafka).replace("http://127.0.0.1:6876", segment);
        std::fs::write(file, sql).expect("written");
    }
    let url = format!("postgres://materialize@{}/materialize", server.sql);
    works(&["apply", &path, "--url", &url]);
    assert_eq!(works(&["apply", &path, "--url", &url]), "nothing to do\n");
}

/// Keys and values into a topic.
fn produce(kafka: &str, topic: &str, messages: &[(Option<&str>, Option<&str>)]) {
    let mut child = Command::new(DELTAMILL)
        .args(["topic", "--broker", kafka, "produce", topic])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut input = child.stdin.take().expect("it is piped");
    for (key, payload) in messages {
        writeln!(input, "{}", json!({"key": key, "payload": payload})).expect("it reads");
    }
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

/// What the mock has taken, without what is different each time, by message id.
fn calls(mock: &Mock) -> Vec<Value> {
    let mut calls = mock.deduped();
    calls.sort_by_key(|c| (c["messageId"].to_string(), c["type"].to_string()));
    for call in &mut calls {
        let call = call.as_object_mut().expect("an object");
        call.remove("timestamp");
    }
    calls
}

fn comes_to(mock: &Mock, expected: &[Value]) {
    let start = std::time::Instant::now();
    while calls(mock).len() < expected.len() && start.elapsed() < crate::support::PATIENCE {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(calls(mock), expected);
}

fn start() -> (tempfile::TempDir, Server, Mock) {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(&["--ephemeral", "--kafka-listen", "127.0.0.1:0"]);
    (dir, server, Mock::start(|_, _| Do::Take))
}

#[test]
fn segment_in_and_out_with_send() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(&["--ephemeral"]);
    let url = format!("http://{}", server.http);
    let send = |arguments: &[&str]| deltamill(&[&["send", "--url", &url], arguments].concat());
    let refused = send(&["--track", "Early"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("CREATE SOURCE events FROM SEGMENT"), "{}", text(&refused.stderr));
    project("segment", dir.path(), &server, &url);
    let properties = r#"{"revenue": 12.5}"#;
    assert!(
        send(&["--track", "Order Completed", "--user", "u1", "--properties", properties]).status.success()
    );
    assert!(send(&["--identify", "--user", "u1", "--traits", r#"{"plan":"pro"}"#]).status.success());
    assert!(send(&["--page", "Home"]).status.success());
    assert!(send(&["--group", "g1", "--user", "u1", "--traits", "{}"]).status.success());
    assert!(send(&["--alias", "old", "--user", "u1"]).status.success());
    assert_eq!(
        server
            .rows("SELECT type, user_id, anonymous_id, event, body->'properties' FROM events ORDER BY type"),
        [
            "alias|u1|NULL|NULL|NULL",
            "group|u1|NULL|NULL|NULL",
            "identify|u1|NULL|NULL|NULL",
            "page|NULL|deltamill-send|NULL|NULL",
            "track|u1|NULL|Order Completed|{\"revenue\":12.5}",
        ]
    );
    // And leaves again, as traits.
    server.wait_for(
        "SELECT type, user_id, body->'traits'->'calls', body->'traits'->'orders' FROM sent ORDER BY body->'traits'->'calls' DESC LIMIT 1",
        &["identify|u1|4|1"],
    );
    assert_eq!(server.rows("SELECT count(*) FROM events"), ["5"], "what was sent is not taken for new");
    for (arguments, why) in [
        (&["--track", "E", "--properties", "[1]"][..], "must be a JSON object"),
        (&["--track", "E", "--traits", "{}"], "--traits does not belong to track"),
        (&["--user", "u"], "required"),
    ] {
        let out = send(arguments);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        assert!(text(&out.stderr).contains(why), "{}", text(&out.stderr));
    }
    let nobody = deltamill(&["send", "--url", "http://127.0.0.1:9", "--track", "E"]);
    assert_eq!(nobody.status.code(), Some(4));
    let path = dir.path().join("segment").display().to_string();
    assert_eq!(deltamill(&["init", &path]).status.code(), Some(2), "what is there is not overwritten");
}

/// The line that `init` prints, but for free ports.
#[test]
fn a_project_is_served_as_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("p").display().to_string();
    let said = works(&["init", &path, "--template", "segment"]);
    assert!(said.contains(&format!("deltamill serve --apply {path}\n")), "{said}");
    let server = Server::start(&["--ephemeral", "--apply", &path]);
    assert_eq!(server.rows("SELECT count(*) FROM events"), ["0"]);
    let topics = ["--ephemeral", "--kafka-listen", "127.0.0.1:0", "--kafka-topic", "a", "--kafka-topic", "b"];
    let server = Server::start(&topics);
    let broker = server.kafka.clone().expect("the embedded Kafka");
    let list = works(&["topic", "--broker", &broker, "list"]);
    assert!(list.contains('a') && list.contains('b'), "{list}");
}

#[test]
fn a_topic_becomes_track_calls() {
    let (dir, server, mock) = start();
    project("topic-to-track", dir.path(), &server, &mock.url);
    let messages = [
        r#"{"user":"u1","name":"button_clicked","at":"2026-01-02T03:04:05+01:00","details":{"button":"buy","empty":null}}"#,
        r#"{"name":"nobody"}"#,
        "not JSON",
        r#"{"user":"u2","name":"Page left"}"#,
    ];
    produce(server.kafka.as_deref().expect("Kafka"), "app_events", &messages.map(|m| (None, Some(m))));
    comes_to(
        &mock,
        &[
            json!({"type": "track", "userId": "u1", "event": "Button Clicked", "messageId": "app_events-0-0",
                   "properties": {"button": "buy"}}),
            json!({"type": "track", "userId": "u2", "event": "Page Left", "messageId": "app_events-0-3", "properties": {}}),
        ],
    );
    let first = mock.taken().into_iter().find(|c| c["userId"] == "u1").expect("it came");
    assert_eq!(first["timestamp"], "2026-01-02T02:04:05.000Z");
    server.wait_for("SELECT count(*) FROM app_events_errors", &["1"]);
}

#[test]
fn users_become_identify_calls() {
    let (dir, server, mock) = start();
    project("users-to-identify", dir.path(), &server, &mock.url);
    let kafka = server.kafka.as_deref().expect("Kafka");
    produce(kafka, "users", &[(Some("u1"), Some(r#"{"email":" A@Example.com ","first_name":"Ann"}"#))]);
    let plan = |mock: &Mock| calls(mock).last().map(|c| c["traits"]["plan"].clone());
    let start = std::time::Instant::now();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        while !done() {
            assert!(start.elapsed() < crate::support::PATIENCE, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    wait("the first traits", &|| plan(&mock).is_some());
    assert_eq!(
        calls(&mock)[0]["traits"],
        json!({"email": "a@example.com", "first_name": "Ann", "plan": "free", "created_at": null})
    );
    produce(
        kafka,
        "users",
        &[(Some("u1"), Some(r#"{"email":"a@example.com","plan":"pro"}"#)), (Some("u1"), None)],
    );
    wait("u1 is gone", &|| server.rows("SELECT count(*) FROM traits") == ["0"]);
    // One of them may have come and gone in one tick.
    assert!(calls(&mock).iter().all(|c| c["userId"] == "u1" && c["type"] == "identify"));
}

#[test]
fn orders_and_refunds_become_track_calls() {
    let (dir, server, mock) = start();
    project("orders-to-track", dir.path(), &server, &mock.url);
    let kafka = server.kafka.as_deref().expect("Kafka");
    // The refund comes before its order.
    produce(kafka, "refunds", &[(None, Some(r#"{"order":"o1","amount":"5.25"}"#))]);
    let order = r#"{"id":"o1","customer":"u1","placed_at":"2026-01-02","currency":"EUR","lines":
                    [{"sku":"b","price":1,"quantity":2},{"sku":"a","name":"A","price":"9.50"}]}"#;
    produce(
        kafka,
        "orders",
        &[(None, Some(order)), (None, Some(r#"{"id":"o2","customer":"u2","lines":[]}"#))],
    );
    comes_to(
        &mock,
        &[
            json!({"type": "track", "userId": "u1", "event": "Order Completed", "messageId": "order-o1", "properties": {
                "order_id": "o1", "revenue": 11.5, "currency": "EUR",
                "products": [{"sku": "a", "name": "A", "price": 9.5, "quantity": 1}, {"sku": "b", "price": 1, "quantity": 2}]}}),
            json!({"type": "track", "userId": "u1", "event": "Order Refunded", "messageId": "refund-o1",
                   "properties": {"order_id": "o1", "total": 5.25, "currency": "EUR"}}),
        ],
    );
}

#[test]
fn an_audience_goes_into_a_topic_and_to_segment_and_another_comes_from_one() {
    let (dir, server, mock) = start();
    project("audience", dir.path(), &server, &mock.url);
    let kafka = server.kafka.as_deref().expect("Kafka");
    let track = |event: &str, user: &str, id: &str| {
        let body = format!(r#"{{"event":"{event}","userId":"{user}","messageId":"{id}"}}"#);
        assert_eq!(server.post("/v1/track", "", body.as_bytes()).0, 200);
    };
    let told = |of: &'static str| {
        let mock = &mock;
        move || {
            let calls = mock.deduped();
            let of_audience = calls.iter().filter(|c| c["properties"]["audience_key"] == of);
            of_audience.map(|c| format!("{}: {}", c["userId"], c["event"])).collect::<Vec<_>>()
        }
    };
    let comes = |what: &dyn Fn() -> Vec<String>, expected: &[&str]| {
        let start = std::time::Instant::now();
        while what() != expected {
            assert!(start.elapsed() < crate::support::PATIENCE, "{:?} instead of {expected:?}", what());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    track("Order Completed", "u1", "1");
    track("Order Completed", "u1", "1");
    let buyers = told("buyers");
    comes(&buyers, &["\"u1\": \"Audience Entered\""]);
    track("Order Refunded", "u1", "2");
    comes(&buyers, &["\"u1\": \"Audience Entered\"", "\"u1\": \"Audience Exited\""]);
    let consumed = works(&["topic", "--broker", kafka, "consume", "buyers", "--count", "2", "--follow"]);
    let messages: Vec<Value> = consumed.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert!(messages.iter().all(|m| m["key"].as_str().is_some_and(|k| k.contains("u1"))), "{consumed}");
    assert!(messages[0]["payload"].as_str().is_some_and(|p| p.contains("buyers")), "{consumed}");
    assert_eq!(messages[1]["payload"], Value::Null, "who leaves is a tombstone");
    // And the other way.
    let newsletter = told("newsletter");
    produce(kafka, "newsletter", &[(Some("u7"), Some("{}"))]);
    comes(&newsletter, &["\"u7\": \"Audience Entered\""]);
    produce(kafka, "newsletter", &[(Some("u7"), None)]);
    comes(&newsletter, &["\"u7\": \"Audience Entered\"", "\"u7\": \"Audience Exited\""]);
}

#[test]
fn several_topics_become_calls_of_all_kinds() {
    let (dir, server, mock) = start();
    project("topics-to-calls", dir.path(), &server, &mock.url);
    let kafka = server.kafka.as_deref().expect("Kafka");
    produce(kafka, "accounts", &[(None, Some(r#"{"account":"a1","name":"Acme","owner":"u1"}"#))]);
    produce(kafka, "profiles", &[(None, Some(r#"{"userId":"u1","emailAddress":"a@b.c"}"#))]);
    produce(kafka, "clicks", &[(None, Some(r#"{"uid":"u1","href":"/x","ts":"2026-01-02 03:04:05Z"}"#))]);
    comes_to(
        &mock,
        &[
            json!({"type": "group", "userId": "u1", "groupId": "a1", "messageId": "accounts-0-0", "traits": {"name": "Acme"}}),
            json!({"type": "track", "userId": "u1", "event": "Link Clicked", "messageId": "clicks-0-0", "properties": {"url": "/x"}}),
            json!({"type": "identify", "userId": "u1", "messageId": "profiles-0-0", "traits": {"email": "a@b.c"}}),
        ],
    );
}

#[test]
fn dead_letters_are_corrected_and_sent_again() {
    let (dir, server, mock) = start();
    project("dead-letters", dir.path(), &server, &mock.url);
    let kafka = server.kafka.as_deref().expect("Kafka");
    let messages =
        [r#"{"user":"u1","name":"Signed Up"}"#, r#"{"device":"d1","name":"Signed Up"}"#, r#"{"user":"u2"}"#];
    produce(kafka, "signups", &messages.map(|m| (None, Some(m))));
    comes_to(
        &mock,
        &[
            json!({"type": "track", "userId": "u1", "event": "Signed Up", "messageId": "signups-0-0", "properties": {"device": null}}),
            json!({"type": "track", "anonymousId": "d1", "event": "Signed Up", "messageId": "signups-0-1", "properties": {"device": "d1"}}),
            json!({"type": "track", "userId": "u2", "event": "Unknown Event", "messageId": "signups-0-2", "properties": {"device": null}}),
        ],
    );
    assert_eq!(
        server.rows("SELECT message_id, reason FROM calls_to_segment_errors ORDER BY 1"),
        ["signups-0-1|user_id and anonymous_id missing", "signups-0-2|event missing"]
    );
    // The times are the first ones.
    let times = server.rows("SELECT body->>'timestamp' FROM calls_to_segment_errors ORDER BY message_id");
    let mut sent = mock.deduped();
    sent.sort_by_key(|c| c["messageId"].to_string());
    let sent: Vec<&str> = sent[1..].iter().map(|c| c["timestamp"].as_str().expect("a time")).collect();
    assert_eq!(sent, times);
}
