//! `EXPLAIN WHY object`: why an object is empty, behind or failing, from its sources on, and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use repr::{Datum, GlobalId, SqlError, Timestamp};
use sql::ItemKind;
use sql::plan::SourceFrom;
use tokio::sync::oneshot;

use crate::catalog::SourceItem;
use crate::command::Command;
use crate::coordinator::{Object, ObjectKind, State, shard_of, shutting_down};
use crate::introspection::SourceStatus;
use crate::rows::Outcome;
use crate::session::Session;

/// How long the errors of one object may take to be found.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many partitions of a source are listed, those that lag most.
const PARTITIONS: usize = 8;
/// An object is behind when it lags so many milliseconds.
const BEHIND: Timestamp = 2_000;

/// What is said of one object.
#[derive(Debug, Default)]
pub struct Part {
    /// How many objects lie above it in the chain.
    pub depth: usize,
    /// What it is, its name, and how it is.
    pub head: String,
    /// What is known of it.
    pub lines: Vec<String>,
    /// What to do.
    pub advice: Vec<String>,
    /// The relation that may list its errors.
    pub errors: Option<String>,
}

impl Session {
    /// The lines of `EXPLAIN WHY`.
    pub(crate) async fn why(&mut self, id: GlobalId) -> Result<Vec<String>, SqlError> {
        let (reply, answer) = oneshot::channel();
        self.handle.send(Command::Why(id, reply))?;
        let parts = answer.await.map_err(|_| shutting_down())?;
        let mut out = vec![];
        for mut part in parts {
            if let Some(relation) = part.errors.take() {
                let found = tokio::time::timeout(PATIENCE, self.errors_of(&relation)).await;
                match found {
                    Ok(Ok(None)) => {}
                    Ok(Ok(Some(line))) => {
                        part.lines.push(line);
                        part.advice.push(format!(
                            "SELECT * FROM {relation} lists the records. TRY_CAST, CASE or ON ERROR = QUARANTINE keep the \
                             rest readable; ALTER SOURCE … REPLAY ERRORS decodes what is stored again."
                        ));
                    }
                    Ok(Err(e)) => part.lines.push(format!("errors: cannot be read: {}", e.message)),
                    Err(_) => part.lines.push(format!("errors: not counted within {} s", PATIENCE.as_secs())),
                }
            }
            let indent = "  ".repeat(part.depth);
            out.push(format!("{indent}{}", part.head));
            out.extend(part.lines.iter().map(|line| format!("{indent}    {line}")));
            out.extend(part.advice.iter().map(|line| format!("{indent}    do: {line}")));
        }
        Ok(out)
    }

    /// How many errors there are, and one of them.
    async fn errors_of(&mut self, relation: &str) -> Result<Option<String>, SqlError> {
        let query = format!(
            "SELECT count(*) OVER (), sqlstate, reason, partition, \"offset\" FROM {relation} \
             ORDER BY partition, \"offset\" LIMIT 1"
        );
        let outcome = Box::pin(self.run(&query)).await?;
        let Outcome::Rows { rows, .. } = outcome else { return Ok(None) };
        let rows = rows.collect().await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let datums = row.unpack();
        let text = |d: &Datum<'_>| match d {
            Datum::Text(text) => text.to_string(),
            _ => String::new(),
        };
        let n = datums[0].int();
        let place = match (&datums[3], &datums[4]) {
            (Datum::Int32(p), Datum::UInt64(o)) => format!(" (partition {p}, offset {o})"),
            _ => String::new(),
        };
        let s = if n == 1 { "" } else { "s" };
        Ok(Some(format!("{n} error{s}, the first: {} {}{place}", text(&datums[1]), text(&datums[2]))))
    }
}

impl State {
    /// The object and all below it, each once.
    pub(crate) fn why(&self, id: GlobalId) -> Vec<Part> {
        let mut parts = vec![];
        self.why_of(id, 0, &mut BTreeSet::new(), &mut parts);
        parts
    }

    fn why_of(&self, id: GlobalId, depth: usize, seen: &mut BTreeSet<GlobalId>, parts: &mut Vec<Part>) {
        let id = self.catalog.source_of_raw(id).unwrap_or(id);
        let Some(item) = self.catalog.items.get(&id) else { return };
        let what = format!("{} {}", sql::kind_name(item.kind), item.name);
        if !seen.insert(id) {
            let head = format!("{what}: see above");
            return parts.push(Part { depth, head, ..Part::default() });
        }
        let mut below: Vec<GlobalId> = item.uses.clone();
        below.extend(item.index.iter().map(|(on, _)| *on));
        let mut part = Part { depth, ..Part::default() };
        let state = match (item.kind, self.objects.get(&id), self.catalog.sources.get(&id)) {
            (_, _, Some(source)) => {
                part.errors = self.errors_relation(id);
                self.why_source(id, source, &mut part)
            }
            (_, Some(object), _) => self.why_object(id, object, &below, &mut part),
            (ItemKind::Table, ..) => {
                let rows = self.rows_of(id).unwrap_or(0);
                if rows == 0 { "empty: nothing was inserted".into() } else { rows_text(rows) }
            }
            (ItemKind::View, ..) => "computed when it is read: how it is depends on what is below".into(),
            (ItemKind::Sink, ..) => match self.sink_statuses.get(&id).and_then(|s| s.error.clone()) {
                Some(error) => format!("stalled: {error}"),
                None => "running".into(),
            },
            _ => "not something with rows".into(),
        };
        part.head = format!("{what}: {state}");
        parts.push(part);
        // Connections and secrets have nothing to say that their sources do not.
        let has_rows = |used: &GlobalId| {
            let item = self.catalog.items.get(used);
            self.catalog.source_of_raw(*used).is_some() || item.is_some_and(|i| i.desc.is_some())
        };
        below.retain(has_rows);
        below.dedup();
        for used in below {
            self.why_of(used, depth + 1, seen, parts);
        }
    }

    fn errors_relation(&self, id: GlobalId) -> Option<String> {
        let GlobalId::User(number) = id else { return None };
        let errors = self.catalog.items.get(&crate::introspection::errors_id(number))?;
        Some(sql::quoted(&errors.name))
    }

    /// How many rows are stored; none: it is not stored.
    fn rows_of(&self, id: GlobalId) -> Option<i64> {
        let stored = self.catalog.sources.get(&id).map_or(id, |s| s.raw);
        let is_stored = self.raws.contains(&stored)
            || matches!(self.objects.get(&stored), Some(Object { kind: ObjectKind::View { .. }, .. }));
        is_stored.then(|| self.storage.shard_stats(shard_of(stored)).map_or(0, |s| s.rows))
    }

    fn why_object(&self, id: GlobalId, object: &Object, below: &[GlobalId], part: &mut Part) -> String {
        let stats = match object.kind {
            ObjectKind::View { .. } => self.storage.shard_stats(shard_of(id)),
            ObjectKind::Index { .. } => None,
        };
        let lag = self.now().saturating_sub(object.frontier.saturating_sub(1));
        let waits = object.frontier <= self.last_tick;
        part.lines.push(format!(
            "complete before {}, durable before {}, the newest data is at {}",
            object.frontier,
            if stats.is_some() { object.stored_upper.min(self.durable() + 1) } else { self.durable() + 1 },
            self.last_tick,
        ));
        if stats.as_ref().is_some_and(|s| s.errors > 0) {
            part.errors = self.errors_relation(id);
        }
        if !object.caught_up {
            for h in &object.hydration {
                let read = h.read.load(Ordering::Relaxed).min(h.total);
                let name = self.catalog.items.get(&self.catalog.source_of_raw(h.input).unwrap_or(h.input));
                let name = name.map_or_else(String::new, |i| i.name.item.clone());
                part.lines.push(format!("has read {read} of {} stored changes of \"{name}\"", h.total));
            }
            part.advice.push(
                "wait: it is built from what is stored; mz_internal.mz_hydration_statuses says when.".into(),
            );
            return "still being built".into();
        }
        if let Some(stats) = &stats
            && stats.errors > 0
        {
            let s = if stats.errors == 1 { "" } else { "s" };
            return format!("failing: {} error{s} beside {}", stats.errors, rows_text(stats.rows));
        }
        if waits && lag > BEHIND {
            part.advice.push("wait, or take work away: it computes slower than data comes.".into());
            return format!("behind: it lags {:.1} s", lag as f64 / 1_000.0);
        }
        match stats {
            Some(stats) if stats.rows == 0 => {
                let rows: i64 = below.iter().filter_map(|used| self.rows_of(*used)).sum();
                if rows == 0 {
                    "empty: nothing has come to what it reads".into()
                } else {
                    part.advice
                        .push("read its inputs with its conditions one by one: which leaves no row?".into());
                    format!("empty: none of {} that it reads pass its query", rows_text(rows))
                }
            }
            Some(stats) => format!("up to date, {}", rows_text(stats.rows)),
            None => "up to date".into(),
        }
    }

    fn why_source(&self, id: GlobalId, source: &SourceItem, part: &mut Part) -> String {
        let none = SourceStatus::default();
        let status = self.statuses.get(&id).unwrap_or(&none);
        if let SourceFrom::Kafka { topic, .. } = &source.from {
            part.lines.push(format!("topic \"{topic}\""));
        }
        let committed = |p: &i32| status.committed.get(p).copied();
        let partitions: BTreeSet<i32> = status.known.keys().chain(status.committed.keys()).copied().collect();
        let lag = |p: &i32| status.known.get(p).map_or(0, |known| known - committed(p).unwrap_or(0)).max(0);
        let mut shown: Vec<i32> = partitions.iter().copied().collect();
        shown.sort_by_key(|p| (-lag(p), *p));
        let offset = |o: Option<i64>| o.map_or_else(|| "unknown".to_string(), |o| o.to_string());
        for p in shown.iter().take(PARTITIONS) {
            part.lines.push(format!(
                "partition {p}: offset known {}, committed {}",
                offset(status.known.get(p).copied()),
                offset(committed(p)),
            ));
        }
        if shown.len() > PARTITIONS {
            part.lines.push(format!("and {} partitions more", shown.len() - PARTITIONS));
        }
        let rows = self.rows_of(id).unwrap_or(0);
        let behind: i64 = partitions.iter().map(lag).sum();
        part.lines.push(format!("{} records stored, {} since this start", rows, status.messages_received));
        let since = since(self.now(), status.since);
        match (status.status.as_str(), &status.error) {
            ("stalled" | "failed", cause) => {
                part.advice.push(advice(cause.as_deref().unwrap_or("")).into());
                format!("{} {since}: {}", status.status, cause.as_deref().unwrap_or("the cause is not known"))
            }
            ("starting" | "created" | "", _) => {
                part.advice
                    .push("wait: it has not heard from outside yet; stalled would come with a cause.".into());
                format!("starting {since}")
            }
            (status, _) if behind > 0 => format!("{status}, {behind} records behind"),
            (status, _) if rows == 0 => {
                part.advice.push("nothing was produced yet: check the topic's name and the producer.".into());
                format!("{status}, empty: there is nothing to read")
            }
            (status, _) => format!("{status}, has read all there is"),
        }
    }
}

fn since(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.saturating_sub(then) / 1_000;
    format!("for {seconds} s")
}

fn rows_text(rows: i64) -> String {
    if rows == 1 { "1 row".into() } else { format!("{rows} rows") }
}

/// What to do about a cause; the words are those of the readers and of librdkafka.
fn advice(cause: &str) -> &'static str {
    let advice: BTreeMap<&str, &str> = BTreeMap::from([
        (
            "SKIP GAP",
            "ALTER SOURCE … SKIP GAP gives the missing records up; nothing else brings them back but a restored topic.",
        ),
        ("made anew", "DROP and CREATE the source: the old records stay readable until then."),
        ("recreated or cut off", "DROP and CREATE the source, or restore the topic."),
        ("does not exist", "create the topic, or correct its name; reading begins by itself."),
        ("uthentication", "correct the user or the password: ALTER SECRET reaches the running source."),
        ("certificate", "correct SSL CERTIFICATE AUTHORITY of the connection."),
        ("no space left", "make room on the disk; reading goes on by itself."),
        ("down", "start the broker, or correct its address; reading goes on by itself."),
        ("refused", "start the broker, or correct its address; reading goes on by itself."),
    ]);
    let found = advice.iter().find(|(part, _)| cause.contains(**part));
    found.map_or("repair the cause; reading goes on by itself.", |(_, advice)| advice)
}
