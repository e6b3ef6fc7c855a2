//! The files of `sql/models` and `sql/warehouse`: kept up to date as events come they say the same as computed at once,
//! and what can be counted by hand is as counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::support::{Server, events_of, repository, rows, write_lines};

/// In an order in which each finds what it reads.
const FILES: [&str; 25] = [
    "views/segment_events_json",
    "models/deduped",
    "models/sessions",
    "models/identity",
    "models/touches",
    "models/attribution",
    "models/timeline",
    "models/funnel_ordered",
    "models/retention",
    "models/audience_buyers",
    "models/rfm",
    "models/alerts",
    "models/tracking_plan",
    "models/violations",
    "warehouse/schema",
    "warehouse/calls",
    "warehouse/tracks",
    "warehouse/identifies",
    "warehouse/pages",
    "warehouse/screens",
    "warehouse/groups",
    "warehouse/aliases",
    "warehouse/order_completed",
    "warehouse/users",
    "warehouse/accounts",
];

const PLAN: &str = r#"INSERT INTO tracking_plan VALUES ('Order Completed',
    '{"properties":{"properties":{"required":["order_id","coupon_code"],"properties":{"currency":{"enum":["EUR"]}}}}}')"#;

/// A server with all files over a file of events that may grow.
fn server(lines: &Path) -> Server {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    let source = format!("CREATE SOURCE segment FROM FILE '{}' FORMAT BYTES WITH (TAIL)", lines.display());
    rows(&mut client, &source).expect("a source");
    for file in FILES {
        let text = std::fs::read_to_string(repository(&format!("sql/{file}.sql"))).expect(file);
        rows(&mut client, &text).unwrap_or_else(|e| panic!("{file}: {e}"));
    }
    rows(&mut client, PLAN).expect("a plan");
    server
}

/// The views among the files, by the name that reads them.
fn views() -> Vec<String> {
    let not_views = ["views/segment_events_json", "models/tracking_plan", "warehouse/schema"];
    let name = |f: &&str| f.trim_start_matches("models/").replace('/', ".");
    FILES.iter().filter(|f| !not_views.contains(f)).map(name).collect()
}

#[test]
fn models_kept_say_what_models_computed_say() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("events.jsonl");
    // With events that come twice, and aliases.
    let all = events_of(source::generator::Traffic::new(7), 12_000);
    let first = all[..8_000].to_vec();
    write_lines(&path, &first);
    let kept = server(&path);
    kept.wait_for("SELECT count(*) FROM segment_events_json", &["8000"]);
    for view in views() {
        kept.rows(&format!("CREATE DEFAULT INDEX ON {view}"));
    }
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("the file is there");
    let rest: Vec<u8> = all[first.len()..].iter().flat_map(|l| [l, &b"\n"[..]].concat()).collect();
    file.write_all(&rest).expect("it grows");
    kept.wait_for("SELECT count(*) FROM segment_events_json", &[&all.len().to_string()]);
    let computed = server(&path);
    computed.wait_for("SELECT count(*) FROM segment_events_json", &[&all.len().to_string()]);
    for view in views() {
        let sorted = |server: &Server| {
            let mut rows = server.rows(&format!("SELECT * FROM {view}"));
            rows.sort();
            rows
        };
        let (a, b) = (sorted(&kept), sorted(&computed));
        assert!(!b.is_empty(), "{view} has no rows");
        assert_eq!(a.len(), b.len(), "{view}");
        for (a, b) in a.iter().zip(&b) {
            assert_eq!(a, b, "{view}");
        }
    }
    counted_by_hand(&computed, &all);
}

fn counted_by_hand(server: &Server, lines: &[Vec<u8>]) {
    let mut seen = BTreeSet::new();
    let all: Vec<Value> = lines.iter().map(|l| serde_json::from_slice(l).expect("JSON")).collect();
    let once: Vec<&Value> =
        all.iter().filter(|e| seen.insert(e["messageId"].as_str().expect("an id").to_string())).collect();
    let count = |sql: &str| server.rows(sql).concat();
    assert_eq!(count("SELECT count(*) FROM deduped"), once.len().to_string());
    let by_type = |t: &str| once.iter().filter(|e| e["type"] == t).count().to_string();
    for (table, kind) in
        [("tracks", "track"), ("pages", "page"), ("identifies", "identify"), ("groups", "group")]
    {
        assert_eq!(count(&format!("SELECT count(*) FROM warehouse.{table}")), by_type(kind));
    }
    assert_eq!(
        count("SELECT DISTINCT event, event_text FROM warehouse.order_completed"),
        "order_completed|Order Completed"
    );
    // Sessions: gaps of more than half an hour begin one. ISO texts of one length sort as their times do.
    let mut calls: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for e in &once {
        if let Some(id) = e["anonymousId"].as_str() {
            let at = e["timestamp"].as_str().expect("a time");
            calls.entry(id).or_default().push(repr::time::parse_timestamptz(at).expect("a time"));
        }
    }
    let sessions: usize = calls
        .values_mut()
        .map(|times| {
            times.sort_unstable();
            1 + times.windows(2).filter(|w| w[1] - w[0] > 1_800_000_000).count()
        })
        .sum();
    assert_eq!(count("SELECT count(*) FROM sessions"), sessions.to_string());
    // Identity: a union-find over the same links.
    let mut parent: HashMap<String, String> = HashMap::new();
    fn root(parent: &mut HashMap<String, String>, id: &str) -> String {
        let up = parent.entry(id.to_string()).or_insert_with(|| id.to_string()).clone();
        if up == id { up } else { root(parent, &up) }
    }
    for e in &once {
        let Some(user) = e["userId"].as_str().map(|u| format!("user:{u}")) else { continue };
        let anonymous = e["anonymousId"].as_str().filter(|_| e["type"] == "identify" || e["type"] == "alias");
        let previous = e["previousId"].as_str().filter(|_| e["type"] == "alias");
        for other in anonymous.into_iter().chain(previous) {
            let (a, b) = (root(&mut parent, &user), root(&mut parent, &format!("anonymous:{other}")));
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            parent.insert(high, low);
        }
    }
    let ids: Vec<String> = parent.keys().cloned().collect();
    let mut persons: Vec<String> = ids.iter().map(|id| format!("{id}|{}", root(&mut parent, id))).collect();
    persons.sort();
    let mut got = server.rows("SELECT id, person FROM identity");
    got.sort();
    assert_eq!(got, persons);
    // Whoever gets the revenue, it is the same revenue.
    assert_eq!(
        count(
            "SELECT sum(first_touch) = sum(last_touch), abs(sum(first_touch) - sum(linear)) < 0.1 FROM attribution"
        ),
        "t|t"
    );
    let orders = once.iter().filter(|e| e["event"] == "Order Completed").count();
    let missing =
        r#"SELECT count(*), min("violationDescription") FROM violations WHERE "violationType" = 'required'"#;
    assert_eq!(count(missing), format!("{orders}|\"coupon_code\" is required"));
    let foreign =
        once.iter().filter(|e| e["event"] == "Order Completed" && e["properties"]["currency"] != "EUR");
    let found = r#"SELECT count(*) FROM violations WHERE "violationField" = '/properties/currency'"#;
    assert_eq!(count(found), foreign.count().to_string());
    assert_eq!(
        count("SELECT sum(users) FROM retention WHERE week = 0"),
        count("SELECT count(DISTINCT user_id) FROM deduped")
    );
}
