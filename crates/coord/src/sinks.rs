//! Sinks: which stored changes they send, how far they have come, and what they could not send.
//!
//! A sink reads the stored changes of its object up to a time that is complete and durable, so that what it sent it reads
//! the same after a crash. How far it has come goes to storage as a source's offsets do, in one frame with its dead
//! letters, which are a relation: `<sink>_errors`.

use std::collections::BTreeMap;
use std::sync::Arc;

use plan::hir::HirRelationExpr;
use repr::{Arena, Datum, GlobalId, RelationDesc, Row, RowBlock, ScalarType, SqlError, Timestamp};
use sink::feed::{Group, Said, SinkHandle, Start};
use sink::segment::{Call, DeadLetter, Delivery, Mapping, SegmentSink};
use sql::plan::{ConnectionPlan, SegmentSinkPlan, SinkCall, SinkInto, SinkPlan};
use sql::{CatalogItem, ObjectName};
use storage::{BlockKind, ShardId, Storage};

use crate::command::Command;
use crate::coordinator::{State, shard_of};
use crate::introspection;

/// What the loop knows of a sink.
pub(crate) struct Sink {
    plan: SinkPlan,
    /// The object's columns.
    desc: RelationDesc,
    /// The collection of its dead letters.
    errors: GlobalId,
    /// When it was created.
    first: Timestamp,
    /// All up to here is delivered or dead.
    delivered: Option<Timestamp>,
    /// How far it was told that it can read.
    told: Timestamp,
    epoch: u64,
    running: Option<SinkHandle>,
}

/// What a sink does.
#[derive(Clone, Debug, Default)]
pub struct SinkStatus {
    /// Why it stands still, if it does.
    pub error: Option<String>,
    /// Since when, ms.
    pub since: Timestamp,
    /// Calls that were taken, since the start of the process,
    pub messages: u64,
    /// and their bytes.
    pub bytes: u64,
}

/// The columns of dead letters.
fn errors_desc() -> RelationDesc {
    RelationDesc::new([
        ("occurred_at", ScalarType::TimestampTz { precision: None }.nullable(false)),
        ("message_id", ScalarType::Text.nullable(false)),
        ("reason", ScalarType::Text.nullable(false)),
        ("status", ScalarType::Int32.nullable(true)),
        ("attempts", ScalarType::Int32.nullable(false)),
        ("body", ScalarType::Jsonb.nullable(false)),
    ])
}

/// The relation of a sink's dead letters: it comes and goes with the sink.
pub(crate) fn errors_item(number: u64, mut name: ObjectName, errors: GlobalId) -> CatalogItem {
    name.item = sql::errors_name(&name.item);
    let desc = errors_desc();
    let definition = HirRelationExpr::Get { id: errors, typ: desc.types() };
    introspection::errors_item(number, name, GlobalId::User(number), definition, desc)
}

impl State {
    /// Puts a sink in place; [`State::start_sink`] starts it. `delivered`: how far it had come before a restart.
    pub(crate) fn add_sink(
        &mut self,
        number: u64,
        raw: u64,
        plan: SinkPlan,
        first: Timestamp,
        delivered: Option<Timestamp>,
    ) -> Result<(), SqlError> {
        let (id, errors) = (GlobalId::User(number), GlobalId::User(raw));
        let desc = self.catalog.items.get(&plan.from).and_then(|i| i.desc.clone());
        let desc = desc.ok_or_else(|| SqlError::internal("a sink's object has no rows"))?;
        self.add_collection(errors, errors_desc().types(), true, None);
        let delivered = delivered.or((!plan.snapshot).then_some(first));
        let sink = Sink { plan, desc, errors, first, delivered, told: 0, epoch: 0, running: None };
        self.sinks.insert(id, sink);
        Ok(())
    }

    /// Takes a sink away with its dead letters.
    pub(crate) fn drop_sink(&mut self, id: GlobalId, number: u64) {
        if let Some(sink) = self.sinks.remove(&id) {
            self.drop_collection(sink.errors);
        }
        self.sink_statuses.remove(&id);
        self.pending.drop_progress.push(number);
    }

    /// Starts a sink where it stopped.
    pub(crate) fn start_sink(&mut self, id: GlobalId) {
        let epoch = self.epoch();
        let (now, offline) = (self.now(), self.is_offline());
        let status = self.sink_statuses.entry(id).or_default();
        (status.since, status.error) = (now, None);
        if offline {
            return;
        }
        let Some(sink) = self.sinks.get_mut(&id) else { return };
        (sink.epoch, sink.told) = (epoch, 0);
        let GlobalId::User(number) = id else { return };
        let (commands, clock) = (self.commands.clone(), self.shared.clock.clone());
        let (storage, shard) = (self.storage.clone(), shard_of(sink.plan.from));
        let start = Start {
            feed: Box::new(move |after, upto| changes(&storage, shard, after, upto)),
            after: sink.delivered,
            first: sink.first,
            now: Box::new(move || clock.now()),
            say: Box::new(move |said| commands.send(Command::Sink { id, epoch, said }).is_ok()),
        };
        let started = match &sink.plan.into {
            SinkInto::Segment(plan) => segment(&self.catalog, sink, plan, number)
                .map(|(mapping, delivery)| SegmentSink { mapping, delivery, start }.start()),
        };
        let unstarted = |e: std::io::Error| format!("no thread could be started: {e}");
        match started.map_err(|e| e.message).and_then(|s| s.map_err(unstarted)) {
            Ok(handle) => sink.running = Some(handle),
            Err(e) => (sink.running, status.error) = (None, Some(e)),
        }
    }

    /// The earliest time whose changes a sink still needs from storage.
    pub(crate) fn unsent(&self) -> Option<Timestamp> {
        self.sinks.values().map(|s| s.delivered.unwrap_or(s.first)).min()
    }

    /// Starts sinks again that use a secret which has changed.
    pub(crate) fn restart_sinks(&mut self) {
        let all: Vec<GlobalId> = self.sinks.keys().copied().collect();
        all.into_iter().for_each(|id| self.start_sink(id));
    }

    /// Tells sinks what can be read now.
    pub(crate) fn wake_sinks(&mut self) {
        let readable: Vec<(GlobalId, Timestamp)> =
            self.sinks.iter().map(|(id, s)| (*id, self.stored_upto(s.plan.from))).collect();
        for (id, time) in readable {
            let Some(sink) = self.sinks.get_mut(&id) else { continue };
            if time > sink.told
                && let Some(running) = &sink.running
            {
                running.readable(time);
                sink.told = time;
            }
        }
    }

    /// A sink says something.
    pub(crate) fn sink_said(&mut self, id: GlobalId, epoch: u64, said: Said) {
        let now = self.now();
        let Some(sink) = self.sinks.get_mut(&id).filter(|s| s.epoch == epoch) else { return };
        let status = self.sink_statuses.entry(id).or_default();
        match said {
            Said::Status(error) => {
                if status.error != error {
                    status.since = now;
                }
                status.error = error;
            }
            Said::Delivered { upto, messages, bytes, dead } => {
                status.messages += messages;
                status.bytes += bytes;
                let GlobalId::User(number) = id else { return };
                if let Some(upto) = upto {
                    sink.delivered = Some(upto);
                    let upto = i64::try_from(upto).unwrap_or(i64::MAX);
                    self.pending.progress.entry(number).or_default().insert(0, upto);
                }
                if !dead.is_empty() {
                    let mut block = RowBlock::default();
                    dead.iter().for_each(|d| block.push(dead_letter(d, now).as_ref(), 1));
                    self.pending.bytes += block.byte_len();
                    self.pending.blocks.push((sink.errors, Arc::new(block)));
                }
            }
        }
    }
}

fn dead_letter(d: &DeadLetter, now: Timestamp) -> Row {
    let arena = Arena::new();
    let body = repr::text::parse(&d.body, &ScalarType::Jsonb, &arena);
    Row::pack([
        Datum::TimestampTz(i64::try_from(now).unwrap_or(i64::MAX).saturating_mul(1_000)),
        Datum::Text(&d.message_id),
        Datum::Text(&d.reason),
        d.status.map_or(Datum::Null, |s| Datum::Int32(s.into())),
        Datum::Int32(i32::try_from(d.attempts).unwrap_or(i32::MAX)),
        body.unwrap_or(Datum::Jsonb(repr::Jsonb::NULL)),
    ])
}

/// How a sink into Segment makes calls, and sends them: its connection with the secret, and its own settings.
fn segment(
    catalog: &crate::catalog::CatalogState,
    sink: &Sink,
    plan: &SegmentSinkPlan,
    number: u64,
) -> Result<(Mapping, Delivery), SqlError> {
    let connection = catalog.items.get(&sink.plan.connection).and_then(|i| i.connection.as_ref());
    let Some(ConnectionPlan::Segment(connection)) = connection else {
        return Err(SqlError::internal("a sink has no connection"));
    };
    let write_key = String::from_utf8_lossy(&catalog.secret(connection.write_key)?).trim_end().to_string();
    let call = match plan.call.clone() {
        SinkCall::Always(kind) => Call::Always(kind),
        SinkCall::Column(c) => Call::Column(c),
        SinkCall::Audience(name) => Call::Audience(name),
    };
    let mapping = Mapping { sink: number, desc: sink.desc.clone(), call, key: plan.key.clone() };
    let delivery = Delivery {
        url: connection.url.clone().unwrap_or(Delivery::default().url),
        write_key,
        flush_interval: plan.flush_interval,
        batch_bytes: plan.batch_bytes,
        batch_events: plan.batch_events,
        rate: plan.rate,
        retry_for: plan.retry_for,
    };
    Ok((mapping, delivery))
}

/// The stored changes after a time and up to another, time by time.
fn changes(
    storage: &Storage,
    shard: ShardId,
    after: u64,
    upto: u64,
) -> Result<Box<dyn Iterator<Item = Result<Group, String>>>, String> {
    let mut scan = storage.scan(shard, after + 1, upto).map_err(|e| e.to_string())?.peekable();
    Ok(Box::new(std::iter::from_fn(move || {
        let mut group: Option<Group> = None;
        // Blocks come in the order of times; several may have the same.
        while let Some(block) = scan.next_if(|b| match (b, &group) {
            (Ok((time, ..)), Some((of, _))) => time == of,
            _ => true,
        }) {
            match block {
                Err(e) => return Some(Err(e.to_string())),
                Ok((_, BlockKind::Errors, _)) => {
                    return Some(Err("the object has an error, so that its rows are not known".into()));
                }
                Ok((time, BlockKind::Rows, block)) => {
                    let rows = &mut group.get_or_insert_with(|| (time, vec![])).1;
                    rows.extend(block.iter().map(|(row, diff)| (row.to_row(), diff)));
                }
            }
        }
        group.map(Ok)
    })))
}

/// All sinks by identity, as the loop keeps them.
pub(crate) type Sinks = BTreeMap<GlobalId, Sink>;
