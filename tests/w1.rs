//! The six views of the speed workload: exactly the rows of a plain computation, whatever the order of things.

use crate::support::{Server, events, repository, rows, w1_loop::Views, write_lines};

/// What the views must hold after these events.
fn expected(lines: &[Vec<u8>]) -> Vec<String> {
    let mut views = Views::default();
    lines.iter().for_each(|line| views.line(line));
    views.lines()
}

fn views() -> String {
    std::fs::read_to_string(repository("tests/w1/views.sql")).expect("the kit's views")
}

fn check(server: &Server, expected: &[String]) {
    let mut got = rows(&mut server.client(), "SELECT line FROM w1_lines").expect("the views answer");
    got.sort();
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert_eq!(got, expected);
    }
}

fn wait_for_source(server: &Server) {
    server.wait_for(
        "SELECT status FROM mz_internal.mz_source_statuses WHERE name = 'segment_events'",
        &["finished"],
    );
}

fn run(workers: &str, before: bool, crash: bool) {
    let dir = tempfile::tempdir().expect("a folder");
    let lines = events(7, 60_000);
    let file = dir.path().join("events.jsonl");
    write_lines(&file, &lines);
    let data = dir.path().join("data").display().to_string();
    let mut server = Server::start(&["--data-dir", &data, "--workers", workers]);
    let source = format!("CREATE SOURCE segment_events FROM FILE '{}' FORMAT BYTES", file.display());
    if before {
        // Nothing is in the file yet when the views come.
        let empty = dir.path().join("events.part");
        std::fs::rename(&file, &empty).expect("moved");
        std::fs::write(&file, b"").expect("written");
        let tail = source.replace("FORMAT", "WITH (tail = true) FORMAT");
        server.rows(&tail);
        server.rows(&views());
        let text = std::fs::read(&empty).expect("read");
        let mut out = std::fs::OpenOptions::new().append(true).open(&file).expect("opened");
        let half = text.len() / 2;
        std::io::Write::write_all(&mut out, &text[..half]).expect("written");
        if crash {
            server.wait_for("SELECT count(*) > 1000 FROM segment_events", &["t"]);
            server.crash_and_restart();
        }
        std::io::Write::write_all(&mut out, &text[half..]).expect("written");
        let n = lines.len().to_string();
        server.wait_for("SELECT count(*) FROM segment_events", &[n.as_str()]);
    } else {
        server.rows(&source);
        wait_for_source(&server);
        server.rows(&views());
        if crash {
            server.crash_and_restart();
        }
    }
    check(&server, &expected(&lines));
}

#[test]
fn views_before_the_data_one_worker_and_a_crash() {
    run("1", true, true)
}

#[test]
fn views_before_the_data_two_workers() {
    run("2", true, false)
}

#[test]
fn views_after_the_data_two_workers_and_a_crash() {
    run("2", false, true)
}

#[test]
fn views_after_the_data_one_worker() {
    run("1", false, false)
}
