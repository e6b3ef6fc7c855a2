//! How long the scanner takes per document: `json_scan FILE [ROUNDS] [WHAT]`, one document a line, with the paths of the
//! six-view workload. Prints the fastest and the middle round of each measurement whose name begins with WHAT: `scan`
//! (eight text slots), `scan+object` (and one whole object as jsonb), `utf8`, `parse`, `print`.

use std::time::Instant;

use repr::json::{Scanner, SlotColumn, SlotKind, SlotPath, Step, parse};
use repr::{Arena, Jsonb};

fn path(text: &str, kind: SlotKind) -> SlotPath {
    SlotPath { steps: text.split('.').map(|k| Step::Key(k.into())).collect(), kind }
}

/// Runs `work` over all documents `rounds` times.
fn measure(name: &str, what: &str, rounds: usize, documents: usize, mut work: impl FnMut() -> usize) {
    if !name.starts_with(what) {
        return;
    }
    let mut bytes = 0;
    let mut times: Vec<usize> = (0..rounds.max(1))
        .map(|_| {
            let start = Instant::now();
            bytes = work();
            start.elapsed().as_nanos() as usize / documents
        })
        .collect();
    times.sort_unstable();
    let (least, middle) = (times[0], times[times.len() / 2]);
    println!(
        "{name:12} {least:5} ns a document at least, {middle:5} mostly, {:4} bytes each",
        bytes / documents
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let file = args.next().expect("usage: json_scan FILE [ROUNDS] [WHAT]");
    let rounds: usize = args.next().map_or(9, |n| n.parse().expect("rounds are a number"));
    let what = args.next().unwrap_or_default();
    let data = std::fs::read(&file).expect("the file is readable");
    let lines: Vec<&str> = data
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| std::str::from_utf8(l).expect("the file is UTF-8"))
        .collect();
    let names = "type event userId timestamp messageId properties.revenue traits.plan traits.logins";
    let mut paths: Vec<SlotPath> = names.split(' ').map(|p| path(p, SlotKind::Text)).collect();

    for name in ["scan", "scan+object"] {
        let mut scanner = Scanner::new(&paths);
        let mut columns = SlotColumn::for_paths(&paths);
        measure(name, &what, rounds, lines.len(), || {
            let mut held = 0;
            for batch in lines.chunks(10_000) {
                columns.iter_mut().for_each(SlotColumn::clear);
                batch.iter().for_each(|line| scanner.scan(line.as_bytes(), &mut columns));
                held += columns.iter().map(|c| c.byte_len()).sum::<usize>();
            }
            held
        });
        paths.push(path("context", SlotKind::Jsonb));
    }
    measure("utf8", &what, rounds, lines.len(), || {
        lines.iter().filter_map(|l| Some(std::str::from_utf8(l.as_bytes()).ok()?.len())).sum()
    });
    let mut arena = Arena::new();
    measure("parse", &what, rounds, lines.len(), || {
        let mut packed = 0;
        for line in &lines {
            packed += parse(line, &arena).map_or(0, |j| j.jsonb().bytes().len());
            arena.reset();
        }
        packed
    });
    let arena = Arena::new();
    let parsed: Vec<Jsonb<'_>> = lines.iter().filter_map(|l| Some(parse(l, &arena).ok()?.jsonb())).collect();
    let mut out = String::new();
    measure("print", &what, rounds, lines.len(), || {
        let mut printed = 0;
        for j in &parsed {
            out.clear();
            j.write_json(&mut out);
            printed += out.len();
        }
        printed
    });
}
