//! What one change costs views of each family at 10⁴, 10⁵ and 10⁶ rows, beside Postgres computing them anew, and how long
//! a join of thirty tables takes to plan: `cargo bench --bench sql [family]`.
//!
//! Costs are processor time of the server a change, the statement included, over [`CHANGES`] changes after [`CHANGES`] to
//! warm up; the first line is what a change costs without any view. `DELTAMILL_SQL_ROWS` sets the largest table.

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/support/mod.rs"]
mod support;

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/oracle/postgres.rs"]
mod postgres_15;

use std::time::{Duration, Instant};

use postgres::Client;
use support::{Server, rows};

/// Changes of one measurement.
const CHANGES: u64 = 300;

/// Ten rows a group; the table `s` has a row a group.
const TABLES: &str = "CREATE TABLE t (id int8, g int8, v int8); CREATE TABLE s (g int8, name text)";

/// Families of operators: a name, and a query.
const FAMILIES: &[(&str, &str)] = &[
    ("filter, project", "SELECT id, v + 1 AS w FROM t WHERE v % 2 = 0"),
    ("sum by group", "SELECT g, sum(v), count(*) FROM t GROUP BY g"),
    ("min by group", "SELECT g, min(v) FROM t GROUP BY g"),
    ("array_agg by group", "SELECT g, array_agg(v ORDER BY id) FROM t GROUP BY g"),
    ("distinct", "SELECT DISTINCT v % 1000 AS w, g FROM t"),
    ("join", "SELECT t.id, s.name FROM t JOIN s ON s.g = t.g"),
    ("outer join", "SELECT t.id, s.name FROM t LEFT JOIN s ON s.g = t.g AND s.g % 2 = 0"),
    ("exists", "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM s WHERE s.g = t.g AND s.name <> 'n7')"),
    ("not exists", "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM s WHERE s.g = t.g AND s.g % 2 = 0)"),
    ("correlated", "SELECT s.g, (SELECT max(t.v) FROM t WHERE t.g = s.g) AS best FROM s"),
    ("except", "SELECT g FROM t EXCEPT SELECT g FROM s WHERE g % 2 = 0"),
    (
        "top 3 of a group",
        "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY g ORDER BY v DESC, id) AS n FROM t) x WHERE n <= 3",
    ),
    ("top 10 of all", "SELECT id, v FROM t ORDER BY v DESC, id LIMIT 10"),
    ("sum over a partition", "SELECT id, sum(v) OVER (PARTITION BY g) AS total FROM t"),
    ("lag over all", "SELECT id, v - lag(v) OVER (ORDER BY id) AS step FROM t"),
    ("running sum over all", "SELECT id, sum(v) OVER (ORDER BY id) AS total FROM t"),
];

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let most: u64 =
        std::env::var("DELTAMILL_SQL_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let sizes: Vec<u64> = [10_000, 100_000, 1_000_000].into_iter().filter(|n| *n <= most).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| name.contains(c.as_str()));

    if wanted("planning") {
        planning();
    }
    let postgres = postgres_15::Postgres::start();
    println!("\n| view | µs a change at {} rows | ratios | Postgres anew, µs | ÷ |", titles(&sizes));
    println!("|---|---|---|---|---|");
    let none = sizes.iter().map(|n| maintained(*n, None)).collect::<Vec<_>>();
    println!("| no view | {} | {} | | |", times(&none), ratios(&none));
    for (name, query) in FAMILIES.iter().filter(|f| wanted(f.0)) {
        let ours: Vec<Duration> = sizes.iter().map(|n| maintained(*n, Some(query))).collect();
        let theirs: Vec<Duration> = match &postgres {
            Some(p) => sizes.iter().map(|n| anew(&mut p.client(), *n, query)).collect(),
            None => vec![],
        };
        let factor: Vec<String> = theirs
            .iter()
            .zip(&ours)
            .map(|(t, o)| format!("{:.0}", t.as_secs_f64() / o.as_secs_f64()))
            .collect();
        println!(
            "| {name} | {} | {} | {} | {} |",
            times(&ours),
            ratios(&ours),
            times(&theirs),
            factor.join(" / ")
        );
    }
}

fn titles(sizes: &[u64]) -> String {
    sizes.iter().map(|n| format!("10^{}", n.ilog10())).collect::<Vec<_>>().join(" / ")
}

fn times(all: &[Duration]) -> String {
    all.iter().map(|d| format!("{}", d.as_micros())).collect::<Vec<_>>().join(" / ")
}

/// Each size against the one before.
fn ratios(all: &[Duration]) -> String {
    let ratio = |w: &[Duration]| format!("{:.1}", w[1].as_secs_f64() / w[0].as_secs_f64());
    all.windows(2).map(ratio).collect::<Vec<_>>().join(" / ")
}

fn fill(client: &mut Client, n: u64) {
    run(
        client,
        &format!("INSERT INTO s SELECT g, 'n' || (g % 100) FROM generate_series(0, {}) g", n / 10 - 1),
    );
    run(
        client,
        &format!("INSERT INTO t SELECT i, i % {}, i * 7919 % 1000003 FROM generate_series(1, {n}) i", n / 10),
    );
}

fn run(client: &mut Client, sql: &str) -> Vec<String> {
    rows(client, sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// Processor time of the server for one change of a table of `n` rows, with a view over it.
fn maintained(n: u64, query: Option<&str>) -> Duration {
    let server = Server::start(&["--ephemeral", "--workers", "1"]);
    let mut client = server.client();
    run(&mut client, TABLES);
    fill(&mut client, n);
    if let Some(query) = query {
        run(&mut client, &format!("CREATE MATERIALIZED VIEW seen AS {query}"));
        run(&mut client, "SELECT count(*) FROM seen");
    }
    let mut next = n;
    let mut change = |client: &mut Client| {
        next += 1;
        run(
            client,
            &format!("INSERT INTO t VALUES ({next}, {}, {})", next * 31 % (n / 10), next * 7919 % 1000003),
        );
        if query.is_some() {
            // Answered when the view has the change.
            run(client, "SELECT 1 FROM seen LIMIT 0");
        }
    };
    (0..CHANGES).for_each(|_| change(&mut client));
    let before = server.processor_time();
    (0..CHANGES).for_each(|_| change(&mut client));
    (server.processor_time() - before) / CHANGES as u32
}

/// How long Postgres takes for the whole query, the best of three.
fn anew(client: &mut Client, n: u64, query: &str) -> Duration {
    run(client, "DROP TABLE IF EXISTS t, s");
    run(client, TABLES);
    fill(client, n);
    run(client, "CREATE INDEX ON t (g); CREATE INDEX ON t (id); CREATE INDEX ON s (g); ANALYZE t; ANALYZE s");
    let once = |_| {
        let start = Instant::now();
        run(client, &format!("SELECT count(*) FROM ({query} OFFSET 0) x"));
        start.elapsed()
    };
    (0..3).map(once).min().unwrap_or_default()
}

/// The time from a text to a plan, of a chain and of a star of thirty tables.
fn planning() {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    let mut sql = String::new();
    (0..30).for_each(|i| sql.push_str(&format!("CREATE TABLE t{i} (a int8, b int8);")));
    run(&mut client, &sql);
    for (name, chain) in [("chain", true), ("star", false)] {
        let on = |i: usize| if chain { i - 1 } else { 0 };
        let joins: String = (1..30).map(|i| format!(" JOIN t{i} ON t{i}.a = t{}.b", on(i))).collect();
        let query = format!("EXPLAIN SELECT count(*) FROM t0{joins} WHERE t0.a > 5");
        let once = |_| {
            let start = Instant::now();
            run(&mut client, &query);
            start.elapsed()
        };
        let best = (0..5).map(once).min().unwrap_or_default();
        println!("planning a {name} of 30 tables: {} ms", best.as_millis());
    }
}
