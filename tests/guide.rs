//! The guide's way over the embedded broker: bytes from Kafka, jsonb, views; what bad records do.

use std::process::Command;

use crate::support::{Server, create_topic, events, have, produce, text};

fn server() -> (Server, String) {
    let server = Server::start(&["--ephemeral", "--kafka-listen", "127.0.0.1:0", "--workers", "2"]);
    let brokers = server.kafka.clone().expect("the embedded Kafka");
    (server, brokers)
}

#[test]
fn the_guide_in_todays_syntax() {
    let (server, brokers) = server();
    create_topic(&brokers, "segment", 1);
    produce(&brokers, "segment", 1, &events(3, 1_000));
    server.rows(&format!(
        "CREATE SECRET kafka_password AS 'unused';
         CREATE CONNECTION upstash_kafka_connection TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL = PLAINTEXT);
         CREATE SOURCE upstash_segment FROM KAFKA CONNECTION upstash_kafka_connection (TOPIC 'segment')
           FORMAT BYTES WITH (SIZE = '3xsmall');
         CREATE MATERIALIZED VIEW segment_events_json AS
           SELECT CAST(data AS jsonb) AS data
           FROM (SELECT convert_from(data, 'utf8') AS data FROM upstash_segment);"
    ));
    server.wait_for("SELECT count(*) FROM segment_events_json", &["1000"]);
    let types = "SELECT data ->> 'type', count(*) > 0 FROM segment_events_json GROUP BY 1 ORDER BY 1";
    assert_eq!(server.rows(types)[0], "group|t");
    produce(&brokers, "segment", 1, &events(4, 500));
    server.wait_for("SELECT count(*) FROM segment_events_json", &["1500"]);
    server.wait_for("SELECT \"offset\", offset_known FROM upstash_segment_progress", &["1500|1500"]);
}

#[test]
fn the_guide_in_the_old_binarys_syntax() {
    let (server, brokers) = server();
    create_topic(&brokers, "segment", 2);
    produce(&brokers, "segment", 2, &events(3, 100));
    server.rows(&format!(
        "CREATE MATERIALIZED SOURCE upstash_segment FROM KAFKA BROKER '{brokers}' TOPIC 'segment'
           WITH (security_protocol = 'plaintext') FORMAT BYTES"
    ));
    server.wait_for("SELECT count(*) FROM upstash_segment", &["100"]);
    let missing =
        server.error(&format!("CREATE SOURCE x FROM KAFKA BROKER '{brokers}' TOPIC 'nope' FORMAT BYTES"));
    assert!(missing.contains("nope"), "{missing}");
    let unreachable =
        server.error("CREATE CONNECTION c TO KAFKA (BROKER '127.0.0.1:1', SECURITY PROTOCOL PLAINTEXT)");
    assert!(unreachable.starts_with("08"), "{unreachable}");
    let no_sasl = server.error(&format!(
        "CREATE SECRET p AS 'x';
         CREATE CONNECTION c TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL SASL_PLAINTEXT,
           SASL MECHANISMS 'PLAIN', SASL USERNAME 'u', SASL PASSWORD SECRET p)"
    ));
    assert!(no_sasl.starts_with("28000 the broker takes no login here"), "{no_sasl}");
}

#[test]
fn formats_and_included_columns() {
    let (server, brokers) = server();
    create_topic(&brokers, "t", 1);
    let messages = [b"{\"a\": 1}".to_vec(), b"{\"a\": [2]}".to_vec()];
    produce(&brokers, "t", 1, &messages);
    let k = format!("CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);");
    server.rows(&k);
    server.rows(
        "CREATE SOURCE j FROM KAFKA CONNECTION k (TOPIC 't') FORMAT JSON INCLUDE PARTITION, OFFSET AS o",
    );
    server.wait_for("SELECT data, partition, o FROM j ORDER BY o", &["{\"a\":1}|0|0", "{\"a\":[2]}|0|1"]);
    server.rows("CREATE SOURCE x FROM KAFKA CONNECTION k (TOPIC 't', START OFFSET (1)) FORMAT TEXT");
    server.wait_for("SELECT text FROM x", &["{\"a\": [2]}"]);
    create_topic(&brokers, "csv", 1);
    produce(&brokers, "csv", 1, &[b"1,\"x, y\"".to_vec()]);
    server.rows("CREATE SOURCE c FROM KAFKA CONNECTION k (TOPIC 'csv') FORMAT CSV WITH 2 COLUMNS");
    server.wait_for("SELECT column1, column2 FROM c", &["1|x, y"]);
}

#[test]
fn a_bad_record_is_named_and_others_are_not_lost() {
    let (server, brokers) = server();
    create_topic(&brokers, "t", 1);
    server.rows(&format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
         CREATE SOURCE s FROM KAFKA CONNECTION k (TOPIC 't') FORMAT BYTES;
         CREATE MATERIALIZED VIEW v AS SELECT CAST(convert_from(data, 'utf8') AS jsonb) AS data FROM s;
         CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM s;"
    ));
    let bad: [&[u8]; 4] = [b"{\"a\": 1}", b"not json", b"\xff\xfe", b"{\"a\": \"\\u0000\"}"];
    produce(&brokers, "t", 1, &bad.map(<[u8]>::to_vec));
    server.wait_for("SELECT n FROM n", &["4"]);
    let error = server.client().simple_query("SELECT * FROM v").expect_err("a bad record fails the view");
    let error = error.as_db_error().expect("an error of the server");
    let detail = error.detail().unwrap_or_default();
    assert!(detail.contains("partition 0, offset "), "{error:?}");
    assert_eq!(server.rows("SELECT count(*) FROM s"), ["4"]);
}

#[test]
fn subscribe_shows_each_change_as_it_comes() {
    let (server, _) = server();
    server.rows("CREATE TABLE t (a int4); CREATE MATERIALIZED VIEW v AS SELECT sum(a) AS n FROM t");
    let mut client = server.client();
    let step = |sql: &str, client: &mut postgres::Client| crate::support::rows(client, sql).expect("it runs");
    step("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE v", &mut client);
    let without_time = |rows: Vec<String>| -> Vec<String> {
        rows.iter().map(|r| r.split_once('|').expect("a time").1.to_string()).collect()
    };
    server.rows("INSERT INTO t VALUES (1)");
    let first = without_time(step("FETCH ALL c WITH (timeout = '2s')", &mut client));
    assert_eq!(first.last().map(String::as_str), Some("1|1"), "{first:?}");
    server.rows("INSERT INTO t VALUES (4)");
    let second = without_time(step("FETCH 2 c WITH (timeout = '5s')", &mut client));
    assert_eq!(second, ["-1|1", "1|5"]);
    step("COMMIT", &mut client);
}

#[test]
fn psql_describes_what_is_there() {
    if !have("psql", "the guide is followed with psql") {
        return;
    }
    let (server, _) = server();
    server.rows(
        "CREATE TABLE orders (id int8 NOT NULL, total numeric(10, 2));
         CREATE VIEW big AS SELECT * FROM orders WHERE total > 100;
         CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM orders;
         CREATE INDEX by_id ON orders (id)",
    );
    for (command, found) in [
        ("\\d", "totals"),
        ("\\dt", "orders"),
        ("\\dv", "big"),
        ("\\dm", "totals"),
        ("\\di", "by_id"),
        ("\\l", "materialize"),
        ("\\dn", "public"),
        ("\\d orders", "bigint"),
    ] {
        let out = server.psql(&["-c", command]);
        assert!(out.status.success(), "{command}: {}", text(&out.stderr));
        assert!(text(&out.stdout).contains(found), "{command}: {}", text(&out.stdout));
    }
    let (host, port) = server.sql.rsplit_once(':').expect("host:port");
    let mut child = Command::new("stdbuf")
        // Line by line, as on a terminal: into a pipe psql would gather pages.
        .args(["-oL", "psql", "-X", "-h", host, "-p", port, "-U", "materialize", "-d", "materialize"])
        .args(["-c", "COPY (SUBSCRIBE totals) TO STDOUT"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    let first = lines.next().expect("a line").expect("text");
    assert!(first.ends_with("\t1\t0"), "{first}");
    server.rows("INSERT INTO orders VALUES (1, 5)");
    let next: Vec<String> = lines.by_ref().take(2).map(|l| l.expect("text")).collect();
    assert!(next[0].ends_with("\t-1\t0") && next[1].ends_with("\t1\t1"), "{next:?}");
    child.kill().expect("psql ends");
    child.wait().expect("psql ends");
}

/// The guide's connection word for word: SASL_SSL and SCRAM, and no word of whom to trust.
#[test]
fn the_guides_connection_reaches_the_embedded_broker() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().display().to_string();
    let users = dir.path().join("users");
    std::fs::write(&users, "# name:password\nguide:pass:word\n").expect("written");
    let server = Server::start(&[
        "--data-dir",
        &data,
        "--kafka-listen",
        "PLAINTEXT://127.0.0.1:0",
        "--kafka-listen",
        "SASL_SSL://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0",
        "--kafka-user",
        "other:x",
        "--kafka-users",
        &users.display().to_string(),
    ]);
    let plain = server.kafka.clone().expect("the embedded Kafka");
    create_topic(&plain, "segment", 1);
    produce(&plain, "segment", 1, &events(3, 1_000));
    let listener = |protocol: &str| {
        let found = server.kafka_listeners.iter().find_map(|l| l.strip_prefix(&format!("{protocol}://")));
        found.unwrap_or_else(|| panic!("{protocol}: {:?}", server.kafka_listeners)).to_string()
    };
    let secure = listener("SASL_SSL");
    server.rows("CREATE SECRET kafka_password AS 'pass:word'; CREATE SECRET wrong AS 'password'");
    let connection = |name: &str, broker: &str, secret: &str, more: &str| {
        format!(
            "CREATE CONNECTION {name} TO KAFKA (BROKER '{broker}', SECURITY PROTOCOL = 'SASL_SSL',
               SASL MECHANISMS = 'SCRAM-SHA-256', SASL USERNAME = 'guide', SASL PASSWORD = SECRET {secret}{more})"
        )
    };
    let wrong = server.error(&connection("c", &secure, "wrong", ""));
    assert!(wrong.contains("Invalid username or password"), "{wrong}");
    // Another broker's authority is not trusted, though ours would be without a word.
    let other = include_str!("kafka/other-ca.pem");
    let wrong = server.error(&connection(
        "c",
        &secure,
        "kafka_password",
        &format!(", SSL CERTIFICATE AUTHORITY = '{other}'"),
    ));
    assert!(wrong.to_lowercase().contains("certificate"), "{wrong}");
    server.rows(&connection("upstash_kafka_connection", &secure, "kafka_password", ""));
    server.rows(
        "CREATE SOURCE upstash_segment FROM KAFKA CONNECTION upstash_kafka_connection (TOPIC 'segment')
           FORMAT BYTES WITH (SIZE = '3xsmall')",
    );
    server.wait_for("SELECT count(*) FROM upstash_segment", &["1000"]);
    // By name and with the certificate that other programs use; and the other mechanisms without TLS.
    let pem = std::fs::read_to_string(dir.path().join("kafka/tls/ca.pem")).expect("for clients");
    let named = secure.replace("127.0.0.1", "localhost");
    let trust = format!(", SSL CERTIFICATE AUTHORITY = '{pem}'");
    server.rows(&connection("named", &named, "kafka_password", &trust));
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        server.rows(&format!(
            "CREATE CONNECTION \"{mechanism}\" TO KAFKA (BROKER '{}', SECURITY PROTOCOL = 'SASL_PLAINTEXT',
               SASL MECHANISMS = '{mechanism}', SASL USERNAME = 'guide', SASL PASSWORD = SECRET kafka_password)",
            listener("SASL_PLAINTEXT")
        ));
    }
    let unknown = format!(
        "CREATE CONNECTION x TO KAFKA (BROKER '{}', SECURITY PROTOCOL = 'PLAINTEXT')",
        listener("SASL_PLAINTEXT")
    );
    assert!(server.error(&unknown).starts_with("08"), "strangers get no answer");
}

#[test]
fn a_kafka_listener_for_other_machines_must_ask_who_comes() {
    for (flags, why) in [
        (&["--kafka-listen", "0.0.0.0:0"][..], "may listen on loopback only"),
        (&["--kafka-listen", "SSL://0.0.0.0:0"], "may listen on loopback only"),
        (&["--kafka-listen", "SASL_SSL://127.0.0.1:0"], "asks for a user, and there is none"),
        (&["--kafka-listen", "SASL://127.0.0.1:0"], "none of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        (&["--kafka-listen", "127.0.0.1:0", "--kafka-user", "alice"], "a user is name:password"),
    ] {
        let out = Command::new(crate::support::DELTAMILL)
            .args(["serve", "--ephemeral", "--sql-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(flags)
            .output()
            .expect("the program runs");
        assert!(text(&out.stderr).contains(why), "{flags:?}: {}", text(&out.stderr));
        assert!(matches!(out.status.code(), Some(2 | 3)), "{:?}", out.status);
    }
}

/// Produces records with keys, in order; none is NULL.
fn produce_keyed(brokers: &str, topic: &str, records: &[(Option<&str>, Option<&str>)]) {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let mut config = rdkafka::ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", brokers).create().expect("a producer");
    for (key, value) in records {
        let mut record = BaseRecord::<str, str>::to(topic).partition(0);
        (record.key, record.payload) = (*key, *value);
        assert!(producer.send(record).is_ok());
    }
    producer.flush(crate::support::PATIENCE).expect("the broker takes the messages");
}

#[test]
fn upserts_keep_the_newest_record_of_each_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let broker = Server::start(&["--ephemeral", "--kafka-listen", "127.0.0.1:0"]);
    let brokers = broker.kafka.clone().expect("the embedded Kafka");
    let mut server = Server::start(&["--data-dir", &dir.path().display().to_string(), "--workers", "2"]);
    create_topic(&brokers, "users", 1);
    let (ada, bob) = (Some("ada"), Some("bob"));
    produce_keyed(
        &brokers,
        "users",
        &[(ada, Some("{\"n\":1}")), (bob, Some("{\"n\":2}")), (ada, Some("{\"n\":3}")), (bob, None)],
    );
    server.rows(&format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
         CREATE SOURCE users FROM KAFKA CONNECTION k (TOPIC 'users')
           KEY FORMAT TEXT VALUE FORMAT JSON INCLUDE KEY AS name, OFFSET ENVELOPE UPSERT;
         CREATE MATERIALIZED VIEW total AS SELECT count(*) AS users, sum((data ->> 'n')::int) AS n FROM users"
    ));
    server.wait_for("SELECT name, data, \"offset\" FROM users", &["ada|{\"n\":3}|2"]);
    server.wait_for("SELECT * FROM total", &["1|3"]);
    server.crash_and_restart();
    server.wait_for("SELECT * FROM total", &["1|3"]);
    produce_keyed(&brokers, "users", &[(bob, Some("{\"n\":10}")), (ada, Some("{"))]);
    server.wait_for("SELECT sqlstate FROM users_errors", &["22P02"]);
    assert!(server.error("SELECT * FROM total").starts_with("22P02"));
    // A newer record heals it; one without a key is an error until a newer one takes it back.
    produce_keyed(&brokers, "users", &[(ada, Some("{\"n\":4}")), (None, Some("{}"))]);
    server.wait_for(
        "SELECT sqlstate, reason FROM users_errors",
        &["22004|record with NULL key in UPSERT source"],
    );
    produce_keyed(&brokers, "users", &[(None, None)]);
    server.wait_for("SELECT * FROM total", &["2|14"]);
    server.wait_for("SELECT name, data FROM users ORDER BY 1", &["ada|{\"n\":4}", "bob|{\"n\":10}"]);
    // Values that do not decode, beside the others.
    produce_keyed(&brokers, "users", &[(Some("eve"), Some("{"))]);
    for (name, inline, column) in [("i", "INLINE", "error"), ("j", "(INLINE AS why)", "why")] {
        server.rows(&format!(
            "CREATE SOURCE {name} FROM KAFKA CONNECTION k (TOPIC 'users')
               KEY FORMAT TEXT VALUE FORMAT JSON ENVELOPE UPSERT (VALUE DECODING ERRORS = {inline})"
        ));
        server.wait_for(
            &format!("SELECT key, data ->> 'n', ({column}).description FROM {name} ORDER BY 1"),
            &["ada|4|NULL", "bob|10|NULL", "eve|NULL|the value does not decode as JSON"],
        );
        server.wait_for(&format!("SELECT sqlstate FROM {name}_errors"), &["22P02"]);
    }
    produce_keyed(&brokers, "users", &[(Some("eve"), None)]);
    server.wait_for("SELECT key FROM i ORDER BY 1", &["ada", "bob"]);
    let bare = server.error(
        "CREATE SOURCE x FROM KAFKA CONNECTION k (TOPIC 'users') FORMAT JSON ENVELOPE NONE (VALUE DECODING ERRORS = INLINE)",
    );
    assert!(bare.starts_with("0A000"), "{bare}");
    server.rows("DROP SOURCE users CASCADE");
    assert!(server.error("SELECT * FROM users").starts_with("42P01"));
    let bare =
        server.error("CREATE SOURCE x FROM KAFKA CONNECTION k (TOPIC 'users') FORMAT JSON ENVELOPE UPSERT");
    assert!(bare.starts_with("42601 ENVELOPE UPSERT requires specifying KEY FORMAT"), "{bare}");
}

#[test]
fn changes_of_debezium_become_the_rows_of_their_table() {
    let dir = tempfile::tempdir().expect("a folder");
    let broker = Server::start(&["--ephemeral", "--kafka-listen", "127.0.0.1:0"]);
    let brokers = broker.kafka.clone().expect("the embedded Kafka");
    let mut server = Server::start(&["--data-dir", &dir.path().display().to_string(), "--workers", "2"]);
    create_topic(&brokers, "rows", 1);
    let key = |id: &'static str| Some(id);
    produce_keyed(
        &brokers,
        "rows",
        &[
            (key("{\"id\":1}"), Some("{\"before\":null,\"after\":{\"id\":1,\"v\":\"a\"},\"op\":\"c\"}")),
            (
                key("{\"id\":2}"),
                Some("{\"payload\":{\"before\":null,\"after\":{\"id\":2,\"v\":\"b\"},\"op\":\"r\"}}"),
            ),
            (
                key("{\"id\":1}"),
                Some("{\"before\":{\"id\":1},\"after\":{\"id\":1,\"v\":\"c\"},\"op\":\"u\"}"),
            ),
            (key("{\"id\":3}"), Some("{\"before\":null,\"after\":{\"id\":3,\"v\":\"d\"},\"op\":\"c\"}")),
            (key("{\"id\":3}"), Some("{\"before\":{\"id\":3},\"after\":null,\"op\":\"d\"}")),
            (key("{\"id\":3}"), None),
        ],
    );
    server.rows(&format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
         CREATE SOURCE r FROM KAFKA CONNECTION k (TOPIC 'rows')
           KEY FORMAT JSON VALUE FORMAT JSON ENVELOPE DEBEZIUM;
         CREATE MATERIALIZED VIEW v AS SELECT data ->> 'v' AS v FROM r"
    ));
    for _ in 0..2 {
        server.wait_for("SELECT v FROM v ORDER BY 1", &["b", "c"]);
        assert_eq!(server.rows("SELECT key ->> 'id' FROM r ORDER BY 1"), ["1", "2"]);
        server.crash_and_restart();
    }
    produce_keyed(&brokers, "rows", &[(key("{\"id\":9}"), Some("{\"hello\":1}"))]);
    let reason = "not a change of Debezium: the record has no \"after\"";
    server.wait_for("SELECT sqlstate, reason FROM r_errors", &[&format!("22004|{reason}")]);
    server.wait_for("SELECT reason FROM v_errors", &[reason]);
    produce_keyed(&brokers, "rows", &[(key("{\"id\":9}"), None)]);
    server.wait_for("SELECT v FROM v ORDER BY 1", &["b", "c"]);
    let text = "CREATE SOURCE x FROM KAFKA CONNECTION k (TOPIC 'rows') KEY FORMAT TEXT VALUE FORMAT TEXT ENVELOPE DEBEZIUM";
    assert!(server.error(text).starts_with("0A000"), "other formats have no changes");
}

#[test]
fn single_headers_become_columns() {
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let server = Server::start(&["--ephemeral", "--kafka-listen", "127.0.0.1:0"]);
    let brokers = server.kafka.clone().expect("it listens");
    create_topic(&brokers, "h", 1);
    let producer: BaseProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("a producer");
    let header = |key, value| Header { key, value: Some(value) };
    let all = [
        OwnedHeaders::new().insert(header("id", &b"a"[..])).insert(header("sig", &b"\xff\x00"[..])),
        OwnedHeaders::new().insert(header("id", &b"b"[..])).insert(header("id", &b"it's c"[..])),
        OwnedHeaders::new(),
    ];
    for headers in all {
        let record = BaseRecord::<(), [u8]>::to("h").payload(b"x").headers(headers);
        producer.send(record).map_err(|e| e.0).expect("room");
    }
    producer.flush(crate::support::PATIENCE).expect("the broker takes the messages");
    server.rows(&format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL = 'PLAINTEXT');
         CREATE SOURCE s FROM KAFKA CONNECTION k (TOPIC 'h') FORMAT TEXT
             INCLUDE OFFSET, HEADER 'id' AS id, HEADER 'sig' AS sig BYTES"
    ));
    server.wait_for("SELECT count(*) FROM s", &["3"]);
    let expected = ["0|a|\\xff00", "1|it's c|NULL", "2|NULL|NULL"];
    assert_eq!(server.rows("SELECT \"offset\", id, sig FROM s ORDER BY 1"), expected);
}

#[test]
fn a_read_right_behind_create_sees_what_was_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let (server, brokers) = server();
    create_topic(&brokers, "t", 3);
    produce(&brokers, "t", 3, &events(3, 20_000));
    create_topic(&brokers, "empty", 1);
    let file = dir.path().join("lines");
    std::fs::write(&file, "x\n".repeat(10_000)).expect("written");
    let rows = server.rows(&format!(
        "CREATE CONNECTION k TO KAFKA (BROKER '{brokers}', SECURITY PROTOCOL PLAINTEXT);
         CREATE SOURCE s FROM KAFKA CONNECTION k (TOPIC 't') FORMAT BYTES;
         CREATE SOURCE nothing FROM KAFKA CONNECTION k (TOPIC 'empty') FORMAT BYTES;
         CREATE SOURCE lines FROM FILE '{}' FORMAT TEXT;
         CREATE VIEW v AS SELECT data FROM s;
         CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM v;
         SELECT m.n, (SELECT count(*) FROM lines), (SELECT count(*) FROM nothing) FROM m",
        file.display()
    ));
    assert_eq!(rows, ["20000|10000|0"]);
}
