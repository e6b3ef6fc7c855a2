//! A real Apache Kafka over SASL_SSL with SCRAM-SHA-256: the guide in both syntaxes, and what is wrong when it is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Server, events, have, produce, repository, text};

/// One broker in a folder; stopped when dropped.
pub struct Kafka {
    dir: PathBuf,
    env: BTreeMap<String, String>,
}

fn kafka_up(arguments: &[&str]) -> String {
    let out = Command::new("bash")
        .arg(repository("tests/kafka/kafka-up.sh"))
        .args(arguments)
        .output()
        .expect("bash");
    assert!(out.status.success(), "{}", text(&out.stderr));
    text(&out.stdout)
}

impl Kafka {
    /// Starts one on these ports, or else on the usual ones.
    pub fn start(dir: &Path, ports: &[&str]) -> Kafka {
        kafka_up(&["fetch"]);
        let dir = dir.join("kafka");
        let printed = kafka_up(&[&["start", &dir.display().to_string()], ports].concat());
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_string(), value.trim_matches('\'').to_string()))
        };
        Kafka { dir, env: printed.lines().filter_map(pair).collect() }
    }

    /// What it printed under one of these names.
    pub fn get(&self, names: &[&str]) -> &str {
        let found = names.iter().find_map(|n| self.env.get(*n));
        found.unwrap_or_else(|| panic!("kafka-up prints one of {names:?}: {:?}", self.env))
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        kafka_up(&["kill", &self.dir.display().to_string()]);
    }
}

#[test]
fn the_guide_over_sasl_ssl() {
    if !have("java", "real Kafka runs on a JDK") || !have("mvn", "Kafka's jars come through Maven") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(dir.path(), &[]);
    let plain = kafka.get(&["KAFKA_PLAINTEXT", "KAFKA_UP_PLAINTEXT", "PLAINTEXT"]).to_string();
    let secure = kafka.get(&["KAFKA_SASL_SSL", "KAFKA_UP_SASL_SSL", "SASL_SSL"]).to_string();
    let ca = kafka.get(&["KAFKA_CA", "KAFKA_UP_CA", "CA"]).to_string();
    let (user, password) = ("alice", "alice-secret");
    kafka_up(&["topic", &kafka.dir.display().to_string(), "segment", "3"]);
    produce(&plain, "segment", 3, &events(9, 3_000));
    let server = Server::start(&["--ephemeral"]);
    let pem = std::fs::read_to_string(&ca).expect("the authority's certificate");
    server.rows(&format!(
        "CREATE SECRET kafka_password AS '{password}';
         CREATE SECRET wrong_password AS 'wrong';
         CREATE SECRET ca AS '{pem}';"
    ));
    let connection = |name: &str, secret: &str, ca: &str| {
        format!(
            "CREATE CONNECTION {name} TO KAFKA (BROKER '{secure}', SECURITY PROTOCOL = 'SASL_SSL',
               SASL MECHANISMS = 'SCRAM-SHA-256', SASL USERNAME = '{user}', SASL PASSWORD = SECRET {secret},
               SSL CERTIFICATE AUTHORITY = {ca})"
        )
    };
    let wrong = server.error(&connection("x", "wrong_password", "SECRET ca"));
    assert!(wrong.contains("Invalid username or password") || wrong.contains("uthentication"), "{wrong}");
    let other = include_str!("kafka/other-ca.pem");
    let wrong = server.error(&connection("x", "kafka_password", &format!("'{other}'")));
    assert!(wrong.to_lowercase().contains("certificate"), "{wrong}");
    server.rows(&connection("upstash_kafka_connection", "kafka_password", "SECRET ca"));
    server.rows("VALIDATE CONNECTION upstash_kafka_connection");
    let missing = server
        .error("CREATE SOURCE y FROM KAFKA CONNECTION upstash_kafka_connection (TOPIC 'nope') FORMAT BYTES");
    assert!(missing.contains("nope"), "{missing}");
    server.rows(
        "CREATE SOURCE upstash_segment FROM KAFKA CONNECTION upstash_kafka_connection (TOPIC 'segment')
           FORMAT BYTES WITH (SIZE = '3xsmall');
         CREATE MATERIALIZED VIEW segment_events_json AS
           SELECT CAST(data AS jsonb) AS data FROM (SELECT convert_from(data, 'utf8') AS data FROM upstash_segment)",
    );
    server.wait_for("SELECT count(*) FROM segment_events_json", &["3000"]);
    server.rows(&format!(
        "CREATE SOURCE old FROM KAFKA BROKER '{secure}' TOPIC 'segment' WITH (security_protocol = 'SASL_SSL',
           sasl_mechanisms = 'SCRAM-SHA-256', sasl_username = '{user}', sasl_password = '{password}',
           ssl_ca_location = '{ca}') FORMAT BYTES"
    ));
    server.wait_for("SELECT count(*) FROM old", &["3000"]);
    let shown = server.rows("SHOW CREATE SOURCE old").join("");
    assert!(!shown.contains(password), "{shown}");
    produce(&plain, "segment", 3, &events(10, 1_000));
    server.wait_for("SELECT count(*) FROM segment_events_json", &["4000"]);
    if have("psql", "the guide is followed with psql") {
        let out = server.psql(&["-Atc", "SELECT count(*) FROM segment_events_json"]);
        assert_eq!(text(&out.stdout), "4000\n");
    }
}
