//! The programs that people have, against the embedded broker and against Apache Kafka: each does the same on both and
//! prints the same. `crates/broker/CLIENTS.md` says who can do what, and is held to it here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::kafka::Kafka;
use crate::support::{Server, create_topic, have, repository, text};

/// Where a client finds a Kafka.
struct Place {
    plain: String,
    secure: String,
    ca: String,
}

/// Column of the table, and how the client is run.
fn clients(jars: &str) -> Vec<(&'static str, Vec<String>)> {
    let script = |name: &str| repository("tests/clients").join(name).display().to_string();
    let command = |words: &[&str]| words.iter().map(|w| w.to_string()).collect::<Vec<_>>();
    vec![
        ("kcat 1.7", command(&["bash", &script("kafka_kcat.sh")])),
        ("confluent-kafka", command(&["python3", &script("kafka_confluent.py")])),
        ("kafka-python", command(&["python3", &script("kafka_python.py")])),
        ("kafkajs", command(&["node", &script("kafka_js.js")])),
        (
            "Java 4.4",
            command(&[
                "java",
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Dlog4j2.level=OFF",
                "-cp",
                jars,
                &script("KafkaClient.java"),
            ]),
        ),
    ]
}

fn run(command: &[String], place: &Place) -> String {
    let out = Command::new(&command[0])
        .args(&command[1..])
        .args([&place.plain, &place.secure, &place.ca, "alice", "alice-secret"])
        .output()
        .expect("the client runs");
    assert!(
        out.status.success(),
        "{command:?} at {}: {}{}",
        place.plain,
        text(&out.stdout),
        text(&out.stderr)
    );
    text(&out.stdout)
}

/// The table of the docs: operations by client.
fn promised() -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(repository("crates/broker/CLIENTS.md")).expect("the page");
    let mut rows = page
        .lines()
        .filter(|l| l.starts_with('|'))
        .map(|l| l.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect::<Vec<_>>());
    let names = rows.next().expect("a head");
    let mut promised: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for row in rows.skip(1) {
        for (name, cell) in names.iter().zip(&row).skip(1).filter(|(_, cell)| !cell.is_empty()) {
            assert_eq!(cell, "✓", "{row:?}");
            promised.entry(name.clone()).or_default().insert(row[0].clone());
        }
    }
    promised
}

#[test]
fn clients_do_the_same_here_as_with_apache_kafka() {
    let programs = ["kcat", "java", "mvn", "node", "python3"];
    if !programs.iter().all(|p| have(p, "Kafka clients of several languages are tried")) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let server = Server::start(&[
        "--data-dir",
        &data.display().to_string(),
        "--kafka-listen",
        "127.0.0.1:0,SASL_SSL://127.0.0.1:0",
        "--kafka-user",
        "alice:alice-secret",
        "--kafka-auto-create",
        "false",
    ]);
    let secure = server.kafka_listeners[1].strip_prefix("SASL_SSL://").expect("in order").to_string();
    let ours = Place {
        plain: server.kafka.clone().expect("the embedded Kafka"),
        secure,
        ca: data.join("kafka/tls/ca.pem").display().to_string(),
    };
    let kafka = Kafka::start(dir.path(), &["19192", "19193", "19194", "19195"]);
    let get = |name| kafka.get(&[name]).to_string();
    let theirs = Place { plain: get("KAFKA_PLAINTEXT"), secure: get("KAFKA_SASL_SSL"), ca: get("KAFKA_CA") };
    for place in [&ours, &theirs] {
        create_topic(&place.plain, "kcat", 3);
    }
    let jars = Command::new("bash").arg(repository("tests/kafka/kafka-up.sh")).arg("jars").output();
    let jars = text(&jars.expect("bash").stdout);
    let mut promised = promised();
    let clients = clients(jars.trim());
    let printed: Vec<_> = std::thread::scope(|scope| {
        let at = |command, place| scope.spawn(move || run(command, place));
        let both = |command| (at(command, &ours), at(command, &theirs));
        let running: Vec<_> = clients.iter().map(|(_, command)| both(command)).collect();
        let printed =
            running.into_iter().map(|(a, b)| (a.join().expect("it runs"), b.join().expect("it runs")));
        printed.collect()
    });
    for ((client, _), (here, there)) in clients.iter().zip(printed) {
        assert_eq!(here, there, "{client}");
        let done: BTreeSet<String> =
            here.lines().filter_map(|l| Some(l.split_once('\t')?.0.to_string())).collect();
        assert_eq!(done, promised.remove(*client).unwrap_or_default(), "{client} against CLIENTS.md");
    }
    assert!(promised.is_empty(), "nobody tries {promised:?}");
}
