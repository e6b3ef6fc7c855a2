//! The Postgres protocol: misuse is answered as Postgres answers it, and never ends the server; real clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::support::{Server, have, repository, rows, text};

/// A raw connection that has started up.
struct Raw(TcpStream);

impl Raw {
    fn connect(server: &Server) -> Raw {
        let mut raw = Raw::open(server);
        let mut body = 196_608u32.to_be_bytes().to_vec();
        body.extend(b"user\0materialize\0database\0materialize\0\0");
        raw.0.write_all(&(body.len() as u32 + 4).to_be_bytes()).expect("written");
        raw.0.write_all(&body).expect("written");
        while raw.next().0 != b'Z' {}
        raw
    }

    fn open(server: &Server) -> Raw {
        let stream = TcpStream::connect(&server.sql).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        Raw(stream)
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let mut message = vec![kind];
        message.extend((body.len() as u32 + 4).to_be_bytes());
        message.extend(body);
        self.0.write_all(&message).expect("written");
    }

    fn next(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).expect("a message");
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize - 4;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("its body");
        (head[0], body)
    }

    /// The SQLSTATE of the next error; everything before it is skipped.
    fn error(&mut self) -> String {
        loop {
            let (kind, body) = self.next();
            if kind == b'E' {
                let fields = body.split(|b| *b == 0);
                let code = fields.filter(|f| f.first() == Some(&b'C')).map(|f| text(&f[1..])).next();
                return code.expect("an error has a code");
            }
        }
    }

    /// Whether it still answers.
    fn lives(&mut self) {
        while self.next().0 != b'Z' {}
        self.send(b'Q', b"SELECT 1\0");
        while self.next().0 != b'Z' {}
    }

    fn is_closed(&mut self) -> bool {
        let mut rest = vec![];
        self.0.read_to_end(&mut rest).is_ok()
    }
}

#[test]
fn misuse_is_answered_as_postgres_does() {
    let server = Server::start(&["--ephemeral"]);
    // Start-up.
    for packet in [&b"\0\0\0\x03"[..], b"\xff\xff\xff\xff", b"\0\x01\0\0\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut raw = Raw::open(&server);
        raw.0.write_all(packet).expect("written");
        raw.0.shutdown(std::net::Shutdown::Write).expect("half closed");
        assert!(raw.is_closed(), "{packet:?}");
    }
    // A length that cannot be is refused at once, long before the time for starting up is over.
    for length in [3u32, 0, 7, 20_000, u32::MAX] {
        let mut raw = Raw::open(&server);
        raw.0.set_read_timeout(Some(Duration::from_secs(3))).expect("set");
        raw.0.write_all(&length.to_be_bytes()).expect("written");
        assert!(raw.is_closed(), "{length}");
    }
    let mut raw = Raw::open(&server);
    raw.0.write_all(b"\0\0\0\x09\0\x03\0\0\0").expect("written");
    assert_eq!(raw.error(), "28000");
    // Messages after which the session lives.
    let bad: [(u8, &[u8], &str); 8] = [
        (b'Q', b"SELECT 1", "08P01"),
        (b'Q', b"SELECT\0 1\0", "08P01"),
        (b'Q', b"SELECT '\xff'\0", "22021"),
        (b'B', b"\0\0", "08P01"),
        (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff", "08P01"),
        (b'P', b"\0SELECT 1\0\xff\xff", "08P01"),
        (b'D', b"X\0", "08P01"),
        (b'D', b"", "08P01"),
    ];
    for (kind, body, code) in bad {
        let mut raw = Raw::connect(&server);
        raw.send(kind, body);
        assert_eq!(raw.error(), code, "{} {body:?}", kind as char);
        raw.send(b'S', b"");
        raw.lives();
    }
    // The extended protocol.
    let steps: [(&[(u8, &[u8])], &str); 5] = [
        (&[(b'B', b"\0nope\0\0\0\0\0\0\0")], "26000"),
        (&[(b'E', b"nope\0\0\0\0\0")], "34000"),
        (&[(b'P', b"a\0SELECT 1\0\0\0"), (b'P', b"a\0SELECT 2\0\0\0")], "42P05"),
        (&[(b'P', b"\0SELECT 1; SELECT 2\0\0\0")], "42601"),
        (&[(b'P', b"\0SELECT $1::int4\0\0\0"), (b'B', b"\0\0\0\0\0\0\0\0")], "08P01"),
    ];
    for (messages, code) in steps {
        let mut raw = Raw::connect(&server);
        messages.iter().for_each(|(kind, body)| raw.send(*kind, body));
        assert_eq!(raw.error(), code, "{messages:?}");
        raw.send(b'S', b"");
        raw.lives();
    }
    // Messages after which it ends.
    for (kind, length) in [(b'Q', -1i32), (b'Q', 0x7fff_ffff), (1, 4), (b'p', 4)] {
        let mut raw = Raw::connect(&server);
        raw.0.write_all(&[kind]).expect("written");
        raw.0.write_all(&length.to_be_bytes()).expect("written");
        assert_eq!(raw.error(), "08P01");
        assert!(raw.is_closed());
    }
    assert_eq!(server.rows("SELECT 1"), ["1"]);
}

/// A reproducible sequence of numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize
    }

    /// Some bytes of it are others, missing, or there twice.
    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + self.next() % 4 {
            let at = self.next() % bytes.len();
            match self.next() % 4 {
                0 => bytes[at] ^= 1 << (self.next() % 8),
                1 => bytes[at] = self.next() as u8,
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        bytes
    }
}

/// R-14 of the reliability page: 20,000 sessions with broken bytes, some of them before the login, while others are
/// served as if nothing were.
#[test]
fn garbage_never_ends_the_server() {
    const THREADS: usize = 4;
    const SESSIONS: usize = 20_000;
    let server = Server::start(&["--ephemeral"]);
    let session: Vec<u8> = {
        let mut s = vec![];
        for (kind, body) in [
            (b'P', &b"\0SELECT $1::int8 + 1\0\0\x01\0\0\0\x14"[..]),
            (b'B', b"\0\0\0\x01\0\x01\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x07\0\0"),
            (b'D', b"P\0"),
            (b'E', b"\0\0\0\0\0"),
            (b'S', b""),
            (b'Q', b"SELECT 1\0"),
        ] {
            s.push(kind);
            s.extend((body.len() as u32 + 4).to_be_bytes());
            s.extend(body);
        }
        s
    };
    let mut startup = b"\0\0\0\x2b\0\x03\0\0user\0materialize\0database\0x\0\0".to_vec();
    startup[3] = startup.len() as u8;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let broken = |thread: usize| {
            let (server, session, startup) = (&server, &session, &startup);
            move || {
                let mut random = Random(thread as u64 + 5);
                for i in 0..SESSIONS / THREADS {
                    let before_login = i % 10 == 0;
                    let mut raw = if before_login { Raw::open(server) } else { Raw::connect(server) };
                    let bytes = random.mutate(if before_login { startup } else { session });
                    // The server may close while we write.
                    let _ = raw.0.write_all(&bytes);
                    let _ = raw.0.shutdown(std::net::Shutdown::Write);
                    let _ = raw.0.read_to_end(&mut vec![]);
                }
            }
        };
        let workers: Vec<_> = (0..THREADS).map(|thread| scope.spawn(broken(thread))).collect();
        let others = scope.spawn(|| {
            let (mut client, mut took) = (server.client(), vec![]);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let begun = std::time::Instant::now();
                assert_eq!(rows(&mut client, "SELECT 1"), Ok(vec!["1".into()]));
                took.push(begun.elapsed());
            }
            took.sort();
            // Nine in ten: the machine of a test has other work, too.
            assert!(took[took.len() * 9 / 10] <= Duration::from_millis(100), "{:?}", took.last());
        });
        workers.into_iter().for_each(|w| w.join().expect("a client"));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        others.join().expect("the others are served");
    });
    assert_eq!(server.rows("SELECT 1"), ["1"]);
}

#[test]
fn there_is_a_greatest_number_of_connections() {
    let server = Server::start(&["--ephemeral"]);
    let most = serve::pg::MAX_CONNECTIONS;
    let mut all: Vec<Raw> = (0..most).map(|_| Raw::connect(&server)).collect();
    let mut body = 196_608u32.to_be_bytes().to_vec();
    body.extend(b"user\0materialize\0\0");
    let mut one_more = Raw::open(&server);
    one_more.0.write_all(&(body.len() as u32 + 4).to_be_bytes()).expect("written");
    one_more.0.write_all(&body).expect("written");
    assert_eq!(one_more.error(), "53300");
    assert!(one_more.is_closed());
    all.last_mut().expect("there are some").send(b'Q', b"SELECT 1\0");
    drop(all);
    // The places are free again once the server has seen them go.
    let start = std::time::Instant::now();
    let (host, port) = server.sql.rsplit_once(':').expect("host:port");
    let target = format!("host={host} port={port} user=materialize");
    while postgres::Client::connect(&target, postgres::NoTls).is_err() {
        assert!(start.elapsed() < crate::support::PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn texts_that_nest_or_run_on_are_refused() {
    let server = Server::start(&["--ephemeral"]);
    let sum = format!("SELECT {}1", "1+".repeat(500_000));
    let deep = format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let list = format!("SELECT 1 IN ({}1)", "1,".repeat(300_000));
    for sql in [sum, deep] {
        assert!(server.error(&sql).starts_with("54001"), "{}", &sql[..20]);
    }
    // A long list is no depth: answered or refused, the server lives.
    let _ = rows(&mut server.client(), &list);
    assert_eq!(server.rows("SELECT 1"), ["1"]);
}

#[test]
fn cancel_ends_a_statement_and_leaves_the_session() {
    let server = Server::start(&["--ephemeral"]);
    server.rows("CREATE TABLE t (a int4)");
    let mut client = server.client();
    let token = client.cancel_token();
    let waiting = std::thread::spawn(move || {
        let result = rows(&mut client, "SUBSCRIBE t");
        (client, result)
    });
    let start = std::time::Instant::now();
    while !waiting.is_finished() {
        token.cancel_query(postgres::NoTls).expect("the request is taken");
        std::thread::sleep(Duration::from_millis(20));
        assert!(start.elapsed() < crate::support::PATIENCE);
    }
    let (mut client, result) = waiting.join().expect("it ends");
    assert!(result.as_ref().is_err_and(|e| e.starts_with("57014")), "{result:?}");
    assert_eq!(rows(&mut client, "SELECT 1"), Ok(vec!["1".into()]));
}

#[test]
fn prepared_statements_portals_and_copy() {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    client.batch_execute("CREATE TABLE t (a int8, b text)").expect("created");
    let insert = client.prepare("INSERT INTO t VALUES ($1, $2)").expect("prepared");
    for i in 0..20i64 {
        client.execute(&insert, &[&i, &format!("row {i}")]).expect("inserted");
    }
    let mut transaction = client.transaction().expect("begun");
    let portal = transaction.bind("SELECT a, b FROM t WHERE a >= $1 ORDER BY a", &[&5i64]).expect("bound");
    let first = transaction.query_portal(&portal, 10).expect("rows");
    let second = transaction.query_portal(&portal, 10).expect("rows");
    assert_eq!((first.len(), second.len()), (10, 5));
    assert_eq!(second[4].get::<_, i64>(0), 19);
    assert_eq!(second[4].get::<_, &str>(1), "row 19");
    transaction.commit().expect("committed");
    let mut copy = client.copy_in("COPY t FROM STDIN").expect("begun");
    copy.write_all(b"100\t\\N\n101\ttab\\there\n").expect("written");
    assert_eq!(copy.finish().expect("done"), 2);
    let mut out = String::new();
    client
        .copy_out("COPY (SELECT * FROM t WHERE a >= 100 ORDER BY a) TO STDOUT")
        .expect("begun")
        .read_to_string(&mut out)
        .expect("text");
    assert_eq!(out, "100\t\\N\n101\ttab\\there\n");
    let error = client.query("SELECT $1::int4 / 0", &[&1i32]).expect_err("a division by zero");
    assert_eq!(error.code().map(|c| c.code()), Some("22012"));
}

#[test]
fn http_answers_programs_and_no_web_pages() {
    let server = Server::start(&["--ephemeral"]);
    let request = |head: &str, body: &str| {
        let mut stream = TcpStream::connect(&server.http).expect("a connection");
        let length = body.len();
        write!(stream, "{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let host = format!("Host: {}", server.http);
    let post = |headers: &str| {
        request(&format!("POST /api/sql HTTP/1.1\r\n{headers}"), "{\"query\": \"SELECT 1 AS a, 'x' AS b\"}")
    };
    let json = "Content-Type: application/json";
    assert!(request(&format!("GET /api/readyz HTTP/1.1\r\n{host}"), "").starts_with("HTTP/1.1 200"));
    assert!(request(&format!("GET /metrics HTTP/1.1\r\n{host}"), "").contains("deltamill_ticks_total"));
    let good = post(&format!("{host}\r\n{json}"));
    assert!(good.contains("\"rows\":[[\"1\",\"x\"]]"), "{good}");
    assert!(post(&format!("{host}\r\nContent-Type: text/plain")).starts_with("HTTP/1.1 415"));
    assert!(post(&format!("Host: evil.example\r\n{json}")).starts_with("HTTP/1.1 403"));
    assert!(post(&format!("{host}\r\n{json}\r\nOrigin: http://evil.example")).starts_with("HTTP/1.1 403"));
}

/// psycopg 3: prepared reads, cursors, COPY.
#[test]
fn psycopg_works() {
    if !have("python3", "psycopg is a Python driver") {
        return;
    }
    let probe = Command::new("python3").args(["-c", "import psycopg"]).output().expect("python runs");
    if !probe.status.success() {
        assert!(std::env::var_os("DELTAMILL_REQUIRE").is_none(), "psycopg is required");
        return eprintln!("skipped, psycopg is not installed");
    }
    let server = Server::start(&["--ephemeral"]);
    let script = repository("tests/clients/psycopg_client.py");
    let out = Command::new("python3").arg(script).arg(&server.sql).output().expect("python runs");
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
}

/// node-postgres: prepared reads, cursors, COPY.
#[test]
fn node_postgres_works() {
    if !have("node", "node-postgres is a JavaScript driver") {
        return;
    }
    let folder = repository("tests/clients");
    if !folder.join("node_modules/pg").is_dir() {
        assert!(
            std::env::var_os("DELTAMILL_REQUIRE").is_none(),
            "node-postgres is required: npm ci in tests/clients"
        );
        return eprintln!("skipped, node-postgres is not installed");
    }
    let server = Server::start(&["--ephemeral"]);
    let out =
        Command::new("node").arg(folder.join("pg_client.js")).arg(&server.sql).output().expect("node runs");
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
}

#[test]
fn who_says_goodbye_in_the_middle_of_a_subscription_is_let_go() {
    let server = Server::start(&["--ephemeral"]);
    server.rows("CREATE TABLE t (a int)");
    let mut raw = Raw::connect(&server);
    raw.send(b'Q', b"COPY (SUBSCRIBE t) TO STDOUT\0");
    while raw.next().0 != b'H' {}
    raw.send(b'X', b"");
    assert!(raw.is_closed());
}
