//! Sinks: which stored changes they send, how far they have come, and what they could not send.
//!
//! A sink reads the stored changes of its object up to a time that is complete and durable, so that what it sent it reads
//! the same after a crash. How far it has come goes to storage as a source's offsets do, in one frame with its dead
//! letters, which are a relation: `<sink>_errors`. A dry run's calls are another: `<sink>_calls`.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plan::hir::HirRelationExpr;
use repr::error::code;
use repr::{Arena, Datum, EvalError, GlobalId, RelationDesc, Row, RowBlock, ScalarType, SqlError, Timestamp};
use sink::feed::{Group, Said, SinkHandle, Start};
use sink::kafka::{Encoder, Envelope, Format, KafkaSink, NewTopic};
use sink::segment::{Call, DeadLetter, Delivery, Event, Gate, Letters, Mapping, SegmentSink};
use sql::plan::{
    ConnectionPlan, KafkaSinkPlan, MessageFormat, SegmentSinkPlan, SinkCall, SinkEnvelope, SinkInto, SinkPlan,
};
use sql::{CatalogItem, ObjectName};
use storage::{BlockKind, ShardId, Storage};

use crate::command::Command;
use crate::coordinator::{State, shard_of};
use crate::introspection;

/// What is kept with a sink's record: when it was made, and a number of its own.
const MADE_AT: i32 = 0;
const MADE_UNIQUE: i32 = 1;

/// What a sink's progress holds: the time up to which all is delivered, and where a topic holds the record of that.
const DELIVERED: i32 = 0;
const OFFSET: i32 = 1;

/// What is kept with the record of a sink that is made now.
pub(crate) fn made(now: Timestamp) -> BTreeMap<i32, i64> {
    let unique = RandomState::new().build_hasher().finish() >> 1;
    [(MADE_AT, now as i64), (MADE_UNIQUE, unique as i64)].into()
}

/// What the loop knows of a sink.
pub(crate) struct Sink {
    plan: SinkPlan,
    /// The object's columns.
    desc: RelationDesc,
    /// The collection of its dead letters.
    errors: GlobalId,
    /// That of a dry run's calls.
    calls: Option<GlobalId>,
    /// Shared by all sinks of the connection.
    gate: Arc<Gate>,
    /// Dead letters that are on their way again, by their hashes.
    replaying: BTreeSet<u64>,
    /// Those that have left lately, and when: a statement may have read them before.
    gone: BTreeMap<u64, Instant>,
    /// A number that no sink of any engine has.
    unique: i64,
    /// When it was created.
    first: Timestamp,
    /// All up to here is delivered or dead.
    delivered: Option<Timestamp>,
    /// The offset of the record of it in a progress topic.
    offset: Option<i64>,
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

/// Whether a sink only shows what it would send.
pub(crate) fn is_dry_run(plan: &SinkPlan) -> bool {
    match &plan.into {
        SinkInto::Segment(plan) => plan.dry_run,
        SinkInto::Kafka(_) => false,
    }
}

/// The columns of a dry run's calls.
fn calls_desc() -> RelationDesc {
    RelationDesc::new([
        ("occurred_at", ScalarType::TimestampTz { precision: None }.nullable(false)),
        ("message_id", ScalarType::Text.nullable(false)),
        ("body", ScalarType::Jsonb.nullable(false)),
    ])
}

/// The relation of a dry run's calls: it comes and goes with the sink.
pub(crate) fn calls_item(number: u64, mut name: ObjectName, calls: GlobalId) -> CatalogItem {
    name.item = format!("{}_calls", name.item);
    let desc = calls_desc();
    let definition = HirRelationExpr::Get { id: calls, typ: desc.types() };
    let mut item = introspection::errors_item(number, name, GlobalId::User(number), definition, desc);
    item.id = introspection::progress_id(number);
    item
}

/// So long it is remembered that a letter has left; a statement that sends letters again reads them within this time.
const REMEMBERED: Duration = Duration::from_secs(600);

fn hash(row: &Row) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    row.bytes().hash(&mut hasher);
    hasher.finish()
}

/// What the client is told of a replay.
pub(crate) fn replay_notice((sent, left): (usize, usize)) -> SqlError {
    let notice = SqlError::new(repr::SqlState::new("00000"), format!("{sent} calls are sent again"));
    if left == 0 {
        return notice;
    }
    notice
        .with_detail(format!(
            "{left} stay: they were never sent, since Segment would drop them, or are on their way."
        ))
        .with_hint("Correct the view: the corrected rows are sent as new calls.")
}

impl State {
    /// Puts a sink in place; [`State::start_sink`] starts it. `made`: when it was made, and its own number; `progress`: how
    /// far it had come before a restart.
    pub(crate) fn add_sink(
        &mut self,
        number: u64,
        errors: GlobalId,
        calls: Option<GlobalId>,
        plan: SinkPlan,
        made: &BTreeMap<i32, i64>,
        progress: &BTreeMap<i32, i64>,
    ) -> Result<(), SqlError> {
        let first = made.get(&MADE_AT).map_or(0, |t| *t as u64);
        let unique = made.get(&MADE_UNIQUE).copied().unwrap_or_default();
        let delivered = progress.get(&DELIVERED).map(|t| *t as u64);
        let offset = progress.get(&OFFSET).copied();
        let id = GlobalId::User(number);
        let desc = self.catalog.items.get(&plan.from).and_then(|i| i.desc.clone());
        let desc = desc.ok_or_else(|| SqlError::internal("a sink's object has no rows"))?;
        // Letters leave when they are sent again.
        self.add_collection(errors, errors_desc().types(), false, None);
        if let Some(calls) = calls {
            self.add_collection(calls, calls_desc().types(), true, None);
        }
        let same = self.sinks.values().find(|s| s.plan.connection == plan.connection);
        let gate = same.map(|s| s.gate.clone()).unwrap_or_default();
        let delivered = delivered.or((!plan.snapshot).then_some(first));
        let sink = Sink {
            plan,
            desc,
            errors,
            calls,
            gate,
            replaying: BTreeSet::new(),
            gone: BTreeMap::new(),
            unique,
            first,
            delivered,
            offset,
            told: 0,
            epoch: 0,
            running: None,
        };
        self.sinks.insert(id, sink);
        Ok(())
    }

    /// Takes a sink away with its dead letters.
    pub(crate) fn drop_sink(&mut self, id: GlobalId, number: u64) {
        if let Some(sink) = self.sinks.remove(&id) {
            self.drop_collection(sink.errors);
            sink.calls.into_iter().for_each(|calls| self.drop_collection(calls));
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
        sink.replaying.clear();
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
            SinkInto::Segment(plan) => {
                let letters = plan.dead_letters.as_ref().map(|(connection, topic)| {
                    let producer = self.shared.producers.of(&self.catalog, *connection)?;
                    let sink = self.catalog.items.get(&id).map_or_else(String::new, |i| i.name.item.clone());
                    Ok::<_, SqlError>(Letters { producer, topic: topic.clone(), sink })
                });
                letters.transpose().and_then(|letters: Option<Letters>| {
                    let (mapping, delivery) = segment(&self.catalog, sink, plan, number)?;
                    let dry_run = plan.dry_run;
                    Ok(SegmentSink { mapping, delivery, dry_run, letters, start }.start())
                })
            }
            SinkInto::Kafka(plan) => kafka(&self.catalog, sink, plan, start).map(KafkaSink::start),
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

    /// Sends rows of a sink's errors relation again: how many go, and how many cannot.
    /// `began`: before the rows were read.
    pub(crate) fn replay(
        &mut self,
        id: GlobalId,
        letters: Vec<Row>,
        began: Instant,
    ) -> Result<(usize, usize), SqlError> {
        let now = self.instant();
        if now - began > REMEMBERED {
            let message = "the letters took too long to read";
            return Err(SqlError::new(code::QUERY_CANCELED, message).with_hint("Name fewer with WHERE."));
        }
        let gone = || SqlError::new(code::UNDEFINED_OBJECT, "the sink was dropped");
        let sink = self.sinks.get_mut(&id).ok_or_else(gone)?;
        let running =
            sink.running.as_ref().filter(|r| r.replays() && sink.calls.is_none()).ok_or_else(|| {
                SqlError::new(code::OBJECT_NOT_IN_PREREQUISITE_STATE, "the sink sends nothing").with_hint(
                    "Dry runs, sinks that stand still and engines that run offline replay nothing.",
                )
            })?;
        let all = letters.len();
        let mut calls = vec![];
        for letter in letters {
            let datums = letter.unpack();
            let (Datum::Text(message_id), Datum::Int32(1..), body) = (datums[1], datums[4], datums[5]) else {
                continue;
            };
            let mut text = String::new();
            repr::text::print(body, &ScalarType::Jsonb, &mut text);
            let call = Event::again(message_id, &text);
            if !sink.gone.contains_key(&hash(&letter)) && sink.replaying.insert(hash(&letter)) {
                calls.push((letter, call));
            }
        }
        let sent = calls.len();
        running.replay(calls);
        Ok((sent, all - sent))
    }

    /// A sink says something.
    pub(crate) fn sink_said(&mut self, id: GlobalId, epoch: u64, said: Said) {
        let (now, instant) = (self.now(), self.instant());
        let Some(sink) = self.sinks.get_mut(&id).filter(|s| s.epoch == epoch) else { return };
        let status = self.sink_statuses.entry(id).or_default();
        match said {
            Said::Status(error) => {
                if status.error != error {
                    status.since = now;
                }
                status.error = error;
            }
            Said::Delivered { upto, messages, bytes, dead, offset } => {
                status.messages += messages;
                status.bytes += bytes;
                let GlobalId::User(number) = id else { return };
                if let Some(upto) = upto {
                    sink.delivered = Some(upto);
                    let upto = i64::try_from(upto).unwrap_or(i64::MAX);
                    let progress = self.pending.progress.entry(number).or_default();
                    progress.insert(DELIVERED, upto);
                    if let Some(offset) = offset {
                        sink.offset = Some(offset);
                        progress.insert(OFFSET, offset);
                    }
                }
                let errors = (sink.errors, dead.iter().map(|d| (dead_letter(d, now), 1)).collect());
                self.sink_rows([errors]);
            }
            Said::Replayed { sent, returned } => {
                status.messages += sent.len() as u64;
                let mut rows: Vec<(Row, i64)> = vec![];
                rows.extend(returned.iter().map(|(_, dead)| (dead_letter(dead, now), 1)));
                rows.extend(
                    sent.into_iter().chain(returned.into_iter().map(|(row, _)| row)).map(|r| (r, -1)),
                );
                sink.gone.retain(|_, at| instant - *at <= REMEMBERED);
                for (row, _) in rows.iter().filter(|(_, diff)| *diff < 0) {
                    sink.replaying.remove(&hash(row));
                    sink.gone.insert(hash(row), instant);
                }
                let errors = (sink.errors, rows);
                self.sink_rows([errors]);
            }
            Said::Shown { upto, calls, dead } => {
                let (GlobalId::User(number), Some(shown)) = (id, sink.calls) else { return };
                sink.delivered = Some(upto);
                let at = i64::try_from(upto).unwrap_or(i64::MAX);
                self.pending.progress.entry(number).or_default().insert(DELIVERED, at);
                let call = |event: &Event| {
                    let arena = Arena::new();
                    let body = repr::text::parse(&event.json, &ScalarType::Jsonb, &arena);
                    Row::pack([
                        Datum::TimestampTz(at.saturating_mul(1_000)),
                        Datum::Text(&event.id),
                        body.unwrap_or(Datum::Jsonb(repr::Jsonb::NULL)),
                    ])
                };
                let calls = (shown, calls.iter().map(|c| (call(c), 1)).collect());
                let errors = (sink.errors, dead.iter().map(|d| (dead_letter(d, now), 1)).collect());
                self.sink_rows([calls, errors]);
            }
        }
    }
}

impl State {
    /// Rows of the relations that sinks write, for the next tick.
    fn sink_rows<const N: usize>(&mut self, rows: [(GlobalId, Vec<(Row, i64)>); N]) {
        for (id, rows) in rows.into_iter().filter(|(_, rows)| !rows.is_empty()) {
            let mut block = RowBlock::default();
            rows.iter().for_each(|(row, diff)| block.push(row.as_ref(), *diff));
            self.pending.bytes += block.byte_len();
            self.pending.blocks.push((id, Arc::new(block)));
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
        connection_rate: connection.rate,
        gate: sink.gate.clone(),
        lanes: plan.lanes,
        retry_for: plan.retry_for,
    };
    Ok((mapping, delivery))
}

/// A sink into Kafka, to be started.
fn kafka(
    catalog: &crate::catalog::CatalogState,
    sink: &Sink,
    plan: &KafkaSinkPlan,
    start: Start,
) -> Result<KafkaSink, SqlError> {
    let format = |format: &MessageFormat| match format {
        MessageFormat::Json => Format::Json,
        MessageFormat::Text => Format::Text,
        MessageFormat::Bytes => Format::Bytes,
    };
    let encoder = Encoder {
        desc: sink.desc.clone(),
        key: plan.key.as_ref().map(|(columns, f)| (columns.clone(), format(f))),
        value: format(&plan.value),
        headers: plan.headers,
        envelope: match plan.envelope {
            SinkEnvelope::Upsert => Envelope::Upsert,
            SinkEnvelope::Debezium => Envelope::Debezium,
        },
        partition_by: plan
            .partition_by
            .clone()
            .map(|e| -> sink::kafka::PartitionBy { Box::new(move |row| partition_number(&e, row)) }),
    };
    let (connection, topic, progress) = kafka_topics(catalog, sink.plan.connection, plan)?;
    let id = format!("{:016x}", sink.unique);
    let prefixed = |prefix: &Option<String>| match prefix {
        Some(prefix) => format!("{prefix}-{id}"),
        None => format!("deltamill-sink-{id}"),
    };
    Ok(KafkaSink {
        connection,
        topic,
        progress,
        id: prefixed(&plan.transactional_id_prefix),
        group: prefixed(&plan.group_id_prefix),
        compression: plan.compression.into(),
        encoder,
        committed: sink.offset,
        start,
    })
}

/// The cluster of a sink, its topic, and that of its progress.
pub(crate) fn kafka_topics(
    catalog: &crate::catalog::CatalogState,
    connection: GlobalId,
    plan: &KafkaSinkPlan,
) -> Result<(source::KafkaConnection, NewTopic, NewTopic), SqlError> {
    let found = catalog.items.get(&connection).and_then(|i| i.connection.as_ref());
    let Some(ConnectionPlan::Kafka(kafka)) = found else {
        return Err(SqlError::internal("a sink has no connection"));
    };
    let topic = NewTopic {
        name: plan.topic.clone(),
        partitions: plan.partitions,
        replication: plan.replication,
        config: plan.topic_config.clone(),
    };
    let progress = NewTopic {
        name: kafka.progress_topic.clone().unwrap_or_else(|| progress_topic(connection)),
        partitions: Some(1),
        replication: kafka.progress_replication,
        config: vec![("cleanup.policy".into(), "compact".into())],
    };
    Ok((catalog.kafka_connection(kafka)?, topic, progress))
}

/// The topic in which sinks of a connection note how far they are, unless it names one.
pub(crate) fn progress_topic(connection: GlobalId) -> String {
    format!("_deltamill-progress-{connection}")
}

/// The value of PARTITION BY, without its sign, as Kafka's own partitioner does it with hashes.
fn partition_number(e: &plan::ScalarExpr, row: &Row) -> Result<Option<u64>, String> {
    let arena = Arena::new();
    let value = plan::scalar::guarded(|| {
        let value = e.eval(&row.unpack(), &arena)?;
        Ok(match value {
            Datum::Null => None,
            Datum::UInt64(n) => Some(n),
            Datum::Int32(n) => Some((n & i32::MAX) as u64),
            n => Some((n.int() & i64::MAX) as u64),
        })
    });
    value.map_err(|e: repr::EvalError| format!("PARTITION BY: {e}"))
}

/// The stored changes after a time and up to another, time by time.
fn changes(
    storage: &Storage,
    shard: ShardId,
    after: u64,
    upto: u64,
) -> Result<Box<dyn Iterator<Item = Result<Group, String>>>, String> {
    let mut scan = storage.scan(shard, after + 1, upto).map_err(|e| e.to_string())?.peekable();
    let mut errors: BTreeMap<EvalError, i64> = BTreeMap::new();
    Ok(Box::new(std::iter::from_fn(move || {
        let mut group: Option<Group> = None;
        // Blocks come in the order of times; several may have the same. Times with errors go on to where these are gone.
        while let Some(block) = scan.next_if(|b| match (b, &group) {
            (Ok((time, ..)), Some((of, _))) => time == of || !errors.is_empty(),
            _ => true,
        }) {
            let (time, kind, block) = match block {
                Err(e) => return Some(Err(e.to_string())),
                Ok(block) => block,
            };
            let (of, rows) = group.get_or_insert_with(|| (time, vec![]));
            *of = time;
            match kind {
                BlockKind::Rows => rows.extend(block.iter().map(|(row, diff)| (row.to_row(), diff))),
                BlockKind::Errors => {
                    for (row, diff) in block.iter() {
                        *errors.entry(EvalError::from_row(row)).or_default() += diff;
                    }
                    errors.retain(|_, n| *n != 0);
                }
            }
        }
        if let Some((error, _)) = errors.pop_first() {
            errors.clear();
            return Some(Err(format!("the object has an error, so that its rows are not known: {error}")));
        }
        group.map(Ok)
    })))
}

/// All sinks by identity, as the loop keeps them.
pub(crate) type Sinks = BTreeMap<GlobalId, Sink>;
