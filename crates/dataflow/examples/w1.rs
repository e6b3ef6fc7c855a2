//! The six views of the W1 workload with plans written by hand, over this crate alone: what the operators cost without
//! SQL, storage and wire. usage: w1 FILE.jsonl [workers] [batch]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use dataflow::{Command, DataflowDesc, Dataflows, Output, Response};
use plan::mfp::Mfp;
use repr::{Datum, GlobalId, RowBlock};

#[path = "../tests/w1/plans.rs"]
mod plans;

fn main() {
    let mut args = std::env::args().skip(1);
    let file = args.next().expect("a file of events, one a line");
    let workers: usize = args.next().map_or(1, |n| n.parse().expect("workers"));
    let batch: usize = args.next().map_or(10_000, |n| n.parse().expect("batch"));
    let data = std::fs::read(&file).expect("the file can be read");
    let lines: Vec<&[u8]> = data.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    let blocks: Vec<Arc<RowBlock>> = lines
        .chunks(batch)
        .map(|lines| {
            let mut block = RowBlock::default();
            lines.iter().for_each(|l| block.push_datums([Datum::Bytes(l)], 1));
            Arc::new(block)
        })
        .collect();

    let (sender, responses) = channel();
    let dataflows = Dataflows::start(workers, Box::new(move |r| drop(sender.send(r))));
    let views = plans::views();
    dataflows.send(Command::CreateCollection {
        id: plans::SOURCE,
        typ: plans::source(),
        append_only: true,
        origin: None,
    });
    for (id, name, plan) in &views {
        let typ = plan.typ();
        dataflows.send(Command::CreateCollection { id: *id, typ, append_only: false, origin: None });
        dataflows.send(Command::Install(Box::new(DataflowDesc {
            id: *id,
            name: (*name).into(),
            plan: plan.clone(),
            as_of: 0,
            until: None,
            output: Output::Materialized { arrange: true, reconcile: false },
            resume_after: None,
            dropped: Default::default(),
        })));
        for input in plan.depends_on() {
            dataflows.send(Command::History { dataflow: *id, input, blocks: vec![], done: true });
        }
    }
    let mut upto: BTreeMap<GlobalId, u64> = BTreeMap::new();
    let mut wait = |time: u64| {
        while views.iter().any(|(id, ..)| upto.get(id).is_none_or(|t| *t <= time)) {
            if let Response::Frontiers(frontiers) = responses.recv().expect("workers live") {
                upto.extend(frontiers);
            }
        }
    };
    let (start, before) = (Instant::now(), cpu());
    for (i, block) in blocks.iter().enumerate() {
        let time = i as u64 + 1;
        dataflows.send(Command::Tick { time, blocks: vec![(plans::SOURCE, block.clone())] });
        // Two ticks may wait for the workers, as credits would have it.
        wait(time.saturating_sub(2));
        for (id, ..) in &views {
            dataflows.send(Command::AllowCompaction { id: *id, since: time.saturating_sub(2) });
        }
    }
    wait(blocks.len() as u64);
    let n = lines.len() as f64;
    println!(
        "{n} events, {workers} workers, batches of {batch}: {:.0} events per second, {:.0} per CPU-second",
        n / start.elapsed().as_secs_f64(),
        n / (cpu() - before)
    );
    for (i, (id, name, plan)) in views.iter().enumerate() {
        let mfp = Box::new(Mfp::identity(plan.arity()));
        let peek = i as u64;
        dataflows.send(Command::Peek {
            peek,
            id: *id,
            time: blocks.len() as u64,
            keys: None,
            mfp,
            limit: None,
        });
        let answer = loop {
            if let Ok(Response::Peek(_, answer)) = responses.recv() {
                break answer;
            }
        };
        match answer {
            Ok(rows) => {
                println!("{name}: {} rows, such as {:?}", rows.len(), rows.iter().take(2).collect::<Vec<_>>())
            }
            Err(e) => println!("{name}: {e}"),
        }
    }
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
