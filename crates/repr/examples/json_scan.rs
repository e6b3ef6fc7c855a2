//! How long the scanner takes per document: `json_scan FILE [ROUNDS]`, one document a line, with the paths of the
//! six-view workload; also the parser, and the scanner for one whole object.

use std::time::Instant;

use repr::json::{Scanner, SlotColumn, SlotKind, SlotPath, Step, parse};
use repr::{Arena, Jsonb};

fn path(text: &str, kind: SlotKind) -> SlotPath {
    SlotPath { steps: text.split('.').map(|k| Step::Key(k.into())).collect(), kind }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let file = args.next().expect("usage: json_scan FILE [ROUNDS]");
    let rounds: usize = args.next().map_or(5, |n| n.parse().expect("rounds are a number"));
    let data = std::fs::read(&file).expect("the file is readable");
    let lines: Vec<&[u8]> = data.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    let names = "type event userId timestamp messageId properties.revenue traits.plan traits.logins";
    let paths: Vec<SlotPath> = names.split(' ').map(|p| path(p, SlotKind::Text)).collect();
    let mut with_object = paths.clone();
    with_object.push(path("context", SlotKind::Jsonb));

    for round in 0..rounds {
        for (name, paths) in [("8 text slots", &paths), ("8 and context as jsonb", &with_object)] {
            let mut scanner = Scanner::new(paths);
            let mut columns = SlotColumn::for_paths(paths);
            let start = Instant::now();
            let mut held = 0;
            for batch in lines.chunks(10_000) {
                columns.iter_mut().for_each(SlotColumn::clear);
                for line in batch {
                    scanner.scan(line, &mut columns);
                }
                held += columns.iter().map(|c| c.byte_len()).sum::<usize>();
            }
            let ns = start.elapsed().as_nanos() as usize / lines.len();
            println!(
                "{round} scan, {name}: {ns} ns a document, {} bytes held a document",
                held / lines.len()
            );
        }
        let start = Instant::now();
        let valid = lines.iter().filter(|l| std::str::from_utf8(l).is_ok()).count();
        println!(
            "{round} UTF-8 alone: {} ns a document ({valid} valid)",
            start.elapsed().as_nanos() as usize / lines.len()
        );
        let (mut arena, mut packed) = (Arena::new(), 0);
        let start = Instant::now();
        for line in &lines {
            if let Ok(j) = parse(std::str::from_utf8(line).expect("the file is UTF-8"), &arena) {
                packed += j.jsonb().bytes().len();
            }
            arena.reset();
        }
        let ns = start.elapsed().as_nanos() as usize / lines.len();
        println!("{round} parse: {ns} ns a document, {} bytes each", packed / lines.len());
        let arena2 = Arena::new();
        let parsed: Vec<Jsonb<'_>> = lines
            .iter()
            .take(10_000)
            .filter_map(|l| Some(parse(std::str::from_utf8(l).ok()?, &arena2).ok()?.jsonb()))
            .collect();
        let start = Instant::now();
        let mut out = String::new();
        let mut printed = 0;
        for j in &parsed {
            out.clear();
            j.write_json(&mut out);
            printed += out.len();
        }
        let ns = start.elapsed().as_nanos() as usize / parsed.len().max(1);
        println!("{round} print: {ns} ns a document, {} bytes each", printed / parsed.len().max(1));
    }
}
