//! What Segment's senders and receivers feel: `cargo bench --bench segment [segment_out|webhook_in]`.
//!
//! `segment_out`: from the moment an event is posted until a mock of Segment's API has its call, at 1,000 events a second.
//! `webhook_in`: durable POSTs a second, beside a bare axum handler that syncs a file for all that came meanwhile.
//! `DELTAMILL_EVENTS` sets how many events are posted (default 10,000).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use deltamill::{Config, Engine};
use tokio::sync::oneshot;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn events() -> usize {
    std::env::var("DELTAMILL_EVENTS").ok().and_then(|v| v.parse().ok()).unwrap_or(10_000)
}

fn engine(dir: &tempfile::TempDir) -> Engine {
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = Config { data_dir: Some(dir.path().into()), http_listen: any, ..Config::ephemeral() };
    Engine::start(config).expect("it starts")
}

/// A connection that posts, and waits for each answer.
struct Poster {
    address: SocketAddr,
    reader: BufReader<TcpStream>,
}

impl Poster {
    fn new(address: SocketAddr) -> Poster {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        Poster { address, reader: BufReader::new(stream) }
    }

    fn post(&mut self, path: &str, body: &str) {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.reader.get_mut().write_all(request.as_bytes()).expect("it reads");
        let (head, _) = message(&mut self.reader).expect("an answer");
        assert!(head.starts_with("http/1.1 200"), "{head}");
    }
}

/// Head, in lower case, and body of what comes next.
fn message(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    head.make_ascii_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or("0", str::trim);
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// A mock of Segment's API: says when each event came, by its number.
fn mock() -> (SocketAddr, mpsc::Receiver<(usize, Instant)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (came, seen) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let came = came.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                while let Some((_, body)) = message(&mut reader) {
                    let now = Instant::now();
                    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                    for event in body["batch"].as_array().into_iter().flatten() {
                        let n = event["properties"]["n"].as_u64().expect("a number");
                        let _ = came.send((n as usize, now));
                    }
                    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"success\":true}";
                    if reader.get_mut().write_all(ok).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, seen)
}

fn segment_out() {
    const RATE: usize = 1_000;
    const SENDERS: usize = 8;
    let dir = tempfile::tempdir().expect("a folder");
    let engine = engine(&dir);
    let (segment, seen) = mock();
    let sql = format!(
        "CREATE SOURCE events FROM SEGMENT;
         CREATE MATERIALIZED VIEW tracks AS
           SELECT user_id, event, \"timestamp\", body->'properties' AS properties FROM events WHERE type = 'track';
         CREATE SECRET k AS 'k';
         CREATE CONNECTION seg TO SEGMENT (WRITE KEY = SECRET k, URL = 'http://{segment}');
         CREATE SINK s FROM tracks INTO SEGMENT CONNECTION seg (CALL TRACK)"
    );
    engine.session().run(&sql).expect("it is made");
    let address = engine.http_address().expect("HTTP");
    let n = events();
    let posted = Arc::new(Mutex::new(HashMap::new()));
    let start = Instant::now();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let posted = posted.clone();
            std::thread::spawn(move || {
                let mut poster = Poster::new(address);
                for i in (sender..n).step_by(SENDERS) {
                    let due = start + Duration::from_secs(1) * i as u32 / RATE as u32;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    posted.lock().expect("no panic").insert(i, Instant::now());
                    let user = i % 1_000;
                    let body = format!(
                        r#"{{"userId":"u{user}","event":"Clicked","messageId":"m{i}","properties":{{"n":{i},"page":"/home"}}}}"#
                    );
                    poster.post("/v1/track", &body);
                }
            })
        })
        .collect();
    let mut came = HashMap::new();
    while came.len() < n {
        let (i, at) = seen.recv().expect("calls come");
        came.entry(i).or_insert(at);
    }
    senders.into_iter().for_each(|s| s.join().expect("a sender ends well"));
    let posted = posted.lock().expect("no panic");
    let mut times: Vec<Duration> = came.iter().map(|(i, at)| *at - posted[i]).collect();
    times.sort();
    let of = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_millis();
    let rate = n as f64 / start.elapsed().as_secs_f64();
    println!("segment_out: {n} events, {rate:.0}/s; posted → call: p50 {} ms, p99 {} ms", of(0.5), of(0.99));
}

/// POSTs a second from many connections, for some seconds.
fn posts(address: SocketAddr, path: &'static str) -> f64 {
    const CONNECTIONS: usize = 64;
    let body = format!("{{\"n\":1,\"pad\":\"{}\"}}", "x".repeat(480));
    let end = Instant::now() + Duration::from_secs(4);
    let start = Instant::now();
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let body = body.clone();
            std::thread::spawn(move || {
                let (mut poster, mut n) = (Poster::new(address), 0u64);
                while Instant::now() < end {
                    poster.post(path, &body);
                    n += 1;
                }
                n
            })
        })
        .collect();
    let n: u64 = threads.into_iter().map(|t| t.join().expect("a poster ends well")).sum();
    n as f64 / start.elapsed().as_secs_f64()
}

/// A handler that appends bodies to a file and answers once they are synced, those that came meanwhile together.
fn bare(dir: &tempfile::TempDir, runtime: &tokio::runtime::Runtime) -> SocketAddr {
    let mut file = std::fs::File::create(dir.path().join("bodies")).expect("a file");
    let (queue, bodies) = mpsc::channel::<(Bytes, oneshot::Sender<()>)>();
    std::thread::spawn(move || {
        while let Ok(first) = bodies.recv() {
            let mut all = vec![first];
            all.extend(bodies.try_iter());
            let joined: Vec<u8> = all.iter().flat_map(|(body, _)| body.iter().copied()).collect();
            file.write_all(&joined).expect("written");
            file.sync_data().expect("synced");
            all.into_iter().for_each(|(_, done)| done.send(()).unwrap_or_default());
        }
    });
    let handler = move |body: Bytes| {
        let queue = queue.clone();
        async move {
            let (done, synced) = oneshot::channel();
            queue.send((body, done)).expect("the thread lives");
            synced.await.expect("it is synced");
        }
    };
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let router = Router::new().route("/", post(handler));
    runtime.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    address
}

fn webhook_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let bare = bare(&dir, &runtime);
    let data = tempfile::tempdir().expect("a folder");
    let engine = engine(&data);
    engine.session().run("CREATE SOURCE hook FROM WEBHOOK BODY FORMAT JSON").expect("it is made");
    let address = engine.http_address().expect("HTTP");
    let mut ratios = vec![];
    for _ in 0..3 {
        let theirs = posts(bare, "/");
        let ours = posts(address, "/api/webhook/materialize/public/hook");
        println!("webhook_in: {ours:.0} POSTs/s, a bare handler {theirs:.0}: {:.2}", ours / theirs);
        ratios.push(ours / theirs);
    }
    ratios.sort_by(f64::total_cmp);
    println!("webhook_in ÷ bare handler, median of three: {:.2}", ratios[1]);
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let all: [(&str, fn()); 2] = [("segment_out", segment_out), ("webhook_in", webhook_in)];
    for (name, run) in all {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            run();
        }
    }
}
