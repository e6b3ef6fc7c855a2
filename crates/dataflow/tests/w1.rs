//! The W1 views: JSON that is read once for all of them, wrong documents, and readers that come later.

mod harness;
#[path = "w1/plans.rs"]
mod plans;

use dataflow::{Command, Output};
use harness::*;
use plan::RelationExpr;
use repr::{Datum, Row};

fn record(json: &str) -> (Row, i64) {
    (Row::pack([Datum::Bytes(json.as_bytes())]), 1)
}

fn text_of(h: &Harness, id: repr::GlobalId, time: u64) -> Vec<String> {
    let rows = h.changes[&id].at(time);
    rows.iter().flat_map(|(row, n)| std::iter::repeat_n(format!("{row:?}"), *n as usize)).collect()
}

const EVENTS: [&str; 8] = [
    r#"{"type":"identify","userId":"u1","timestamp":"2026-01-01T00:00:01","messageId":"m1","traits":{"plan":"free","logins":1}}"#,
    r#"{"type":"track","event":"Order Completed","userId":"u1","timestamp":"2026-01-01T00:00:02","messageId":"m2","properties":{"revenue":10.50}}"#,
    r#"{"type":"track","event":"Order Completed","userId":"u1","timestamp":"2026-01-01T00:01:02","messageId":"m3","properties":{"revenue":"0.25"}}"#,
    r#"{"type":"track","event":"Product Viewed","userId":"u2","timestamp":"2026-01-01T00:00:02","messageId":"m4","properties":null}"#,
    r#"{"messageId":"m5","timestamp":"2026-01-01T00:00:09","traits":{"logins":5,"plan":"pro"},"userId":"u1","type":"identify"}"#,
    r#"{"type":"page","timestamp":"2026-01-01T00:00:02","messageId":"m6"}"#,
    r#"{"type":"identify","userId":"u1","timestamp":"2026-01-01T00:00:05","messageId":"m7","traits":{"plan":"late","logins":3}}"#,
    r#"{"type":"track","event":"Product Viewed","userId":"u1","timestamp":"2026-01-01T00:00:02","messageId":"m8"}"#,
];

fn install(h: &mut Harness) {
    h.create(plans::SOURCE, plans::source(), true);
    for (id, _, plan) in plans::views() {
        h.create(id, plan.typ(), false);
        h.install(id, plan, Output::Materialized { arrange: true, reconcile: false });
    }
}

#[test]
fn six_views_of_json_agree_with_what_they_say() {
    for workers in [1, 2] {
        let mut h = Harness::new(workers);
        install(&mut h);
        for event in EVENTS {
            h.tick(&[(plans::SOURCE, vec![record(event)])]);
        }
        let now = h.now;
        let views = plans::views();
        views.iter().for_each(|(id, ..)| h.wait(*id, now));
        let of = |name: &str| text_of(&h, views.iter().find(|v| v.1 == name).unwrap().0, now);
        assert_eq!(
            of("w1_a"),
            [
                r#"[Text("page"), Text("2026-01-01T00:00"), Int64(1)]"#,
                r#"[Text("track"), Text("2026-01-01T00:00"), Int64(3)]"#,
                r#"[Text("track"), Text("2026-01-01T00:01"), Int64(1)]"#,
                r#"[Text("identify"), Text("2026-01-01T00:00"), Int64(3)]"#,
            ]
        );
        assert_eq!(of("w1_b"), [r#"[Text("u1"), Numeric(10.75), Int64(2)]"#]);
        assert_eq!(of("w1_c"), [r#"[Text("u1"), Text("pro"), Int64(5)]"#]);
        assert_eq!(of("w1_d").len(), 2);
        assert_eq!(of("w1_e"), [r#"[Int64(2), Int64(0), Int64(0)]"#]);
        assert_eq!(of("w1_f"), [r#"[Text("pro"), Numeric(10.75), Numeric(2)]"#]);
    }
}

#[test]
fn a_reader_that_comes_later_sees_the_same() {
    let mut h = Harness::new(2);
    install(&mut h);
    for event in &EVENTS[..4] {
        h.tick(&[(plans::SOURCE, vec![record(event)])]);
    }
    // Another view over other parts of the documents, between ticks.
    let (_, _, c) = plans::views().swap_remove(2);
    let late = id(90);
    h.install(late, c.clone(), Output::Materialized { arrange: false, reconcile: false });
    for event in &EVENTS[4..] {
        h.tick(&[(plans::SOURCE, vec![record(event)])]);
    }
    let now = h.now;
    h.wait(late, now);
    h.wait(id(4), now);
    assert_eq!(h.changes[&late].at(now), h.changes[&id(4)].at(now));
    // Readers go, and the rest still reads its parts.
    for (id, ..) in plans::views() {
        h.send(Command::Drop(id));
    }
    let last = h.tick(&[(plans::SOURCE, vec![record(&EVENTS[0].replace("u1", "u7"))])]);
    h.wait(late, last);
    assert_eq!(h.changes[&late].at(last).len(), 2);
    assert_eq!(h.once(c).unwrap(), h.changes[&late].at(last));
}

#[test]
fn a_document_that_is_not_json_is_an_error_only_where_it_is_read() {
    let mut h = Harness::new(2);
    install(&mut h);
    let all = RelationExpr::get(plans::SOURCE, plans::source());
    h.create(id(50), plans::source(), true);
    h.install(id(50), all, Output::Materialized { arrange: false, reconcile: false });
    let time =
        h.tick(&[(plans::SOURCE, vec![record(EVENTS[0]), record("{\"type\": nothing}"), record(EVENTS[1])])]);
    for (id, ..) in plans::views() {
        h.wait(id, time);
        let errors = h.changes[&id].errors_at(time);
        assert!(!errors.is_empty(), "{id}");
        assert!(errors.iter().all(|e| e.code().as_str() == "22P02"), "{errors:?}");
    }
    h.wait(id(50), time);
    assert_eq!(h.changes[&id(50)].errors_at(time), []);
    assert_eq!(h.changes[&id(50)].at(time).len(), 3);
}
