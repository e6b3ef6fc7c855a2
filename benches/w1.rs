//! W1: six views over a stream of Segment events, engine ÷ the hand-written loop in `support/w1.rs`, in events per
//! CPU-second (user and system, all threads), in one run on one machine.
//!
//! `cargo bench --bench w1`; `DELTAMILL_EVENTS` sets the number of events (default 300,000), `DELTAMILL_ROUNDS` how often
//! everything runs in turn (default 3; medians are printed).

#[path = "support/w1.rs"]
mod w1;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use deltamill::{Config, Engine, Session};
use repr::Datum;
use source::generator::{SegmentEvents, Traffic};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CPU time of the process, in seconds.
fn cpu() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Events per CPU-second, and per second of wall time.
struct Figure {
    cpu: f64,
    wall: f64,
}

fn run_loop(file: &Path, events: u64) -> (Figure, Vec<String>) {
    let (wall, start) = (Instant::now(), cpu());
    let mut views = w1::Views::default();
    let mut lines =
        std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(file).expect("the stream"));
    let mut line = vec![];
    while std::io::BufRead::read_until(&mut lines, b'\n', &mut line).expect("readable") > 0 {
        views.line(line.strip_suffix(b"\n").unwrap_or(&line));
        line.clear();
    }
    let figure =
        Figure { cpu: events as f64 / (cpu() - start), wall: events as f64 / wall.elapsed().as_secs_f64() };
    (figure, views.lines())
}

fn count(session: &mut Session, sql: &str) -> i64 {
    let result = session.query(sql).expect("it answers");
    match result.rows.first().and_then(|r| r.iter().next()) {
        Some(Datum::Numeric(n)) => n.to_i64().unwrap_or(0),
        Some(Datum::Int64(n)) => n,
        _ => 0,
    }
}

fn run_engine(file: &Path, events: u64, expected: &[String], config: Config) -> Figure {
    let stream = tempfile::NamedTempFile::new().expect("a file");
    let engine = Engine::start(config).expect("the engine starts");
    let mut session = engine.session();
    let path = stream.path().display();
    session
        .run(&format!("CREATE SOURCE segment_events FROM FILE '{path}' WITH (tail = true) FORMAT BYTES"))
        .expect("created");
    let views = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/w1/views.sql"));
    session.run(&views.expect("the views")).expect("created");
    let (wall, start) = (Instant::now(), cpu());
    // Another process writes, so that its time is not ours.
    let mut cat = std::process::Command::new("cat")
        .arg(file)
        .stdout(stream.reopen().expect("opened"))
        .spawn()
        .expect("cat");
    while count(&mut session, "SELECT sum(events) FROM w1_a") < events as i64 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // All views at the time that the first one has reached.
    let rows = session.query("SELECT line FROM w1_lines").expect("the views answer").rows;
    let figure =
        Figure { cpu: events as f64 / (cpu() - start), wall: events as f64 / wall.elapsed().as_secs_f64() };
    cat.wait().expect("it ends");
    let mut lines: Vec<String> =
        rows.iter().map(|r| r.iter().next().expect("a column").text().to_string()).collect();
    lines.sort();
    assert_eq!(lines, expected, "the engine's rows are those of the loop");
    figure
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let (events, rounds) = (number("DELTAMILL_EVENTS", 300_000), number("DELTAMILL_ROUNDS", 3));
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("events.jsonl");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).expect("created"));
    let mut generator = SegmentEvents::new(Traffic::clean(1));
    let mut line = vec![];
    for _ in 0..events {
        line.clear();
        generator.fill(&mut line);
        line.push(b'\n');
        out.write_all(&line).expect("written");
    }
    out.flush().expect("written");
    let cases: [(&str, usize, bool); 4] = [
        ("memory, 1 worker", 1, false),
        ("memory, 2 workers", 2, false),
        ("durable, 1 worker", 1, true),
        ("durable, 2 workers", 2, true),
    ];
    let mut ratios: Vec<Vec<f64>> = vec![vec![]; cases.len()];
    let mut walls: Vec<Vec<f64>> = vec![vec![]; cases.len()];
    let mut loops = vec![];
    // Once unmeasured: the first run of a process pays for its memory.
    let (_, expected) = run_loop(&file, events);
    run_engine(&file, events, &expected, Config::ephemeral());
    for _ in 0..rounds {
        for (i, (_, workers, durable)) in cases.iter().enumerate() {
            // The loop just before and just after: a shared machine changes its speed.
            let (before, expected) = run_loop(&file, events);
            let data = tempfile::tempdir().expect("a folder");
            let base = if *durable { Config::durable(data.path()) } else { Config::ephemeral() };
            let engine = run_engine(&file, events, &expected, Config { workers: *workers, ..base });
            let (after, _) = run_loop(&file, events);
            let h = (before.cpu + after.cpu) / 2.0;
            loops.push(h);
            ratios[i].push(engine.cpu / h);
            walls[i].push(engine.wall);
        }
    }
    println!(
        "w1, {events} events, {rounds} rounds; H = {:.0} events per CPU-second of the loop",
        median(loops)
    );
    for (i, (name, ..)) in cases.iter().enumerate() {
        let (h, wall) = (median(ratios[i].clone()), median(walls[i].clone()));
        println!("w1 {name}: {h:.2} H, {wall:.0} events/s of wall time");
    }
    println!("w1 2 workers / 1, wall, memory: {:.2}", median(walls[1].clone()) / median(walls[0].clone()));
}
