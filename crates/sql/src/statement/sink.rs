//! `CREATE SINK …`: changes of a stored object go elsewhere. Those INTO KAFKA are told of in `kafka_sink`; as calls to
//! Segment they are written so:
//!
//! ```text
//!   CREATE SINK [IF NOT EXISTS] s FROM v INTO SEGMENT CONNECTION c
//!     (CALL TRACK | IDENTIFY | GROUP | PAGE | SCREEN | ALIAS | AUDIENCE | FROM COLUMN column
//!      [, AUDIENCE KEY 'a'] [, FLUSH INTERVAL '100 ms'] [, MAX BATCH BYTES n] [, MAX BATCH EVENTS n]
//!      [, RATE LIMIT n] [, LANES n] [, RETRY MAX '12 h']
//!      [, DEAD LETTER TOPIC 't', DEAD LETTER CONNECTION k])
//!     [KEY (column, …) [NOT ENFORCED]] [ENVELOPE UPSERT] [WITH (SNAPSHOT = false, DRY RUN)]
//! ```

use std::time::Duration;

use repr::error::code;
use repr::{GlobalId, RelationDesc, SqlError};
use sqlparser::ast::{Ident, ObjectName};

use super::connection::{boolean, text, unknown_option};
use super::kafka_sink::{self, IntoKafka};
use super::source::{interval, no_effect};
use super::{names, names::kind_name};
use crate::ast::WithOption;
use crate::catalog::{CatalogItem, ItemKind};
use crate::parse::{Heads, fold};
use crate::plan::{
    ConnectionPlan, CreateItem, CreatePlan, Plan, SegmentSinkPlan, SinkCall, SinkInto, SinkPlan, unsupported,
};
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Create(Box<CreateSink>),
}

/// A sink as written.
#[derive(Debug)]
pub(crate) struct CreateSink {
    name: ObjectName,
    if_not_exists: bool,
    cluster: Option<Ident>,
    from: ObjectName,
    into: Into,
    with: Vec<WithOption>,
    /// The text behind the name of what it reads.
    tail: String,
}

#[derive(Debug)]
enum Into {
    Kafka(IntoKafka),
    Segment(IntoSegment),
}

/// What stands behind `INTO SEGMENT CONNECTION`.
#[derive(Debug)]
struct IntoSegment {
    connection: ObjectName,
    options: Vec<WithOption>,
    key: Vec<Ident>,
    envelope: Option<String>,
}

/// Behind `CREATE SINK`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let if_not_exists = p.if_not_exists();
    let name = p.object_name()?;
    let cluster = if p.word("in cluster") { Some(p.ident()?) } else { None };
    p.expect("from")?;
    let from = p.object_name()?;
    let start = p.here();
    p.expect("into")?;
    let into = match p.word("kafka") {
        true => Into::Kafka(kafka_sink::parse(p)?),
        false => Into::Segment(parse_segment(p)?),
    };
    let with = p.with_options()?;
    let tail = p.since(start).to_string();
    Ok(Statement::Create(Box::new(CreateSink { name, if_not_exists, cluster, from, into, with, tail })))
}

fn parse_segment(p: &mut Heads<'_>) -> Result<IntoSegment, SqlError> {
    p.expect("segment connection")?;
    let connection = p.object_name()?;
    let options = p.options()?;
    let mut key = vec![];
    if p.word("key") {
        key = p.parenthesized(|p| p.ident())?;
        p.word("not enforced");
    }
    let envelope = if p.word("envelope") { Some(p.ident()?.value.to_uppercase()) } else { None };
    Ok(IntoSegment { connection, options, key, envelope })
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    let Statement::Create(s) = statement;
    let name = names::new_name(planner, &s.name)?;
    if let Some(cluster) = &s.cluster {
        no_effect(planner, &format!("IN CLUSTER {}", fold(cluster)));
    }
    let from = planner.resolve(&s.from)?;
    let desc = match (from.kind, &from.desc) {
        (ItemKind::MaterializedView | ItemKind::Table, Some(desc)) => desc,
        // One that keeps its rows, not its raw records.
        (ItemKind::Source, Some(desc)) if from.definition.is_none() => desc,
        _ => {
            let message =
                format!("{} is a {}, which stores no rows of its own", from.name.item, kind_name(from.kind));
            return Err(SqlError::new(code::WRONG_OBJECT_TYPE, message).with_hint(
                "A sink sends the changes of a materialized view, a table or an ENVELOPE UPSERT source.",
            ));
        }
    };
    let (mut snapshot, mut dry_run) = (true, false);
    let mut uses = vec![];
    for option in &s.with {
        match option.name.as_str() {
            "SNAPSHOT" => snapshot = boolean(option)?,
            "DRY RUN" => dry_run = boolean(option)?,
            "SIZE" => no_effect(planner, "WITH (SIZE = …)"),
            _ => return Err(unknown_option(option)),
        }
    }
    let (connection, into) = match &s.into {
        Into::Kafka(_) if dry_run => {
            return Err(unsupported(
                "DRY RUN of a sink into Kafka",
                "Use SUBSCRIBE to see what would be sent.",
            ));
        }
        Into::Kafka(into) => (&into.connection, SinkInto::Kafka(into.plan(planner, from, desc)?)),
        Into::Segment(into) => {
            let plan = into.plan(planner, from, desc, dry_run, &mut uses)?;
            (&into.connection, SinkInto::Segment(plan))
        }
    };
    let connection = names::existing(planner, connection, ItemKind::Connection)?;
    let wrong = match (&into, &connection.connection) {
        (SinkInto::Kafka(_), Some(ConnectionPlan::Kafka(_))) => None,
        (SinkInto::Segment(_), Some(ConnectionPlan::Segment(_))) => None,
        (SinkInto::Kafka(_), _) => Some("Kafka"),
        (SinkInto::Segment(_), _) => Some("Segment"),
    };
    if let Some(wanted) = wrong {
        let message = format!("\"{}\" is not a connection to {wanted}", connection.name.item);
        return Err(SqlError::new(code::WRONG_OBJECT_TYPE, message));
    }
    let tail = planner.canonical_tail(&s.tail);
    let create_sql =
        format!("CREATE SINK {} FROM {} {tail}", names::quoted(&name), names::quoted(&from.name));
    Ok(Plan::Create(Box::new(CreatePlan {
        name,
        create_sql,
        replace: None,
        if_not_exists: s.if_not_exists,
        temporary: false,
        uses: [from.id, connection.id].into_iter().chain(uses).collect(),
        retain_history: None,
        desc: None,
        item: CreateItem::Sink(Box::new(SinkPlan {
            from: from.id,
            connection: connection.id,
            snapshot,
            into,
        })),
    })))
}

impl IntoSegment {
    /// How the rows of `from` become calls.
    fn plan(
        &self,
        planner: &Planner<'_>,
        from: &CatalogItem,
        desc: &RelationDesc,
        dry_run: bool,
        uses: &mut Vec<GlobalId>,
    ) -> Result<SegmentSinkPlan, SqlError> {
        let column = |name: &str| {
            desc.columns.iter().position(|c| c.name == name).ok_or_else(|| {
                SqlError::new(
                    code::UNDEFINED_COLUMN,
                    format!("column \"{name}\" does not exist in {}", from.name.item),
                )
            })
        };
        let mut plan = SegmentSinkPlan {
            call: SinkCall::Always("track"),
            key: self.key.iter().map(|k| column(&fold(k))).collect::<Result<_, _>>()?,
            flush_interval: Duration::from_millis(100),
            batch_bytes: 475_000,
            batch_events: 2_500,
            rate: 1_000.0,
            lanes: 4,
            retry_for: Duration::from_secs(12 * 3600),
            dead_letters: None,
            dry_run,
        };
        let (mut called, mut audience_key) = (false, None);
        let (mut letters_topic, mut letters_connection) = (None, None);
        for option in &self.options {
            let number = |least: f64, most: f64| {
                let n: f64 = text(option)?.parse().unwrap_or(f64::NAN);
                if (least..=most).contains(&n) {
                    return Ok(n);
                }
                let message = format!("invalid {}: a number from {least} to {most} is needed", option.name);
                Err(SqlError::new(code::INVALID_PARAMETER_VALUE, message))
            };
            match option.name.as_str() {
                "AUDIENCE KEY" => audience_key = Some(text(option)?),
                "FLUSH INTERVAL" => plan.flush_interval = interval(option)?,
                "MAX BATCH BYTES" => plan.batch_bytes = number(40_000.0, 500_000.0)? as usize,
                "MAX BATCH EVENTS" => plan.batch_events = number(1.0, 2_500.0)? as usize,
                "RATE LIMIT" => plan.rate = number(0.01, 100_000.0)?,
                "LANES" => plan.lanes = number(1.0, 64.0)? as usize,
                "DEAD LETTER TOPIC" => letters_topic = Some(text(option)?),
                "DEAD LETTER CONNECTION" => {
                    let name = ObjectName::from(vec![Ident::with_quote('"', text(option)?)]);
                    let kafka = names::existing(planner, &name, ItemKind::Connection)?;
                    if !matches!(kafka.connection, Some(ConnectionPlan::Kafka(_))) {
                        let message = format!("\"{}\" is not a connection to Kafka", kafka.name.item);
                        return Err(SqlError::new(code::WRONG_OBJECT_TYPE, message));
                    }
                    uses.push(kafka.id);
                    letters_connection = Some(kafka.id);
                }
                "RETRY MAX" => plan.retry_for = interval(option)?,
                call if call == "CALL" || call.starts_with("CALL ") => {
                    let written = text(option).unwrap_or_default();
                    let words =
                        format!("{} {written}", call.strip_prefix("CALL").unwrap_or_default()).to_lowercase();
                    let words: Vec<&str> = words.split_whitespace().collect();
                    called = true;
                    plan.call = match words[..] {
                        ["track"] => SinkCall::Always("track"),
                        ["identify"] => SinkCall::Always("identify"),
                        ["group"] => SinkCall::Always("group"),
                        ["page"] => SinkCall::Always("page"),
                        ["screen"] => SinkCall::Always("screen"),
                        ["alias"] => SinkCall::Always("alias"),
                        ["audience"] => SinkCall::Audience(String::new()),
                        ["from", "column", name] => SinkCall::Column(column(name)?),
                        _ => {
                            let message = format!("invalid CALL: {}", words.join(" ").to_uppercase());
                            return Err(SqlError::new(code::INVALID_PARAMETER_VALUE, message).with_hint(
                            "Use TRACK, IDENTIFY, GROUP, PAGE, SCREEN, ALIAS, AUDIENCE or FROM COLUMN name.",
                        ));
                        }
                    };
                }
                _ => return Err(unknown_option(option)),
            }
        }
        if !called {
            return Err(SqlError::new(code::SYNTAX_ERROR, "a sink into Segment needs CALL")
                .with_hint("Add CALL TRACK."));
        }
        match (&mut plan.call, audience_key) {
            (SinkCall::Audience(audience), Some(key)) => *audience = key,
            (SinkCall::Audience(_), None) => {
                return Err(SqlError::new(code::SYNTAX_ERROR, "CALL AUDIENCE needs AUDIENCE KEY")
                    .with_hint("AUDIENCE KEY 'vip' sets the trait \"vip\" of who enters and leaves."));
            }
            (_, Some(_)) => {
                return Err(SqlError::new(code::SYNTAX_ERROR, "AUDIENCE KEY belongs to CALL AUDIENCE"));
            }
            _ => {}
        }
        plan.dead_letters = match (letters_connection, letters_topic) {
            (Some(connection), Some(topic)) => Some((connection, topic)),
            (None, None) => None,
            _ => {
                let message = "DEAD LETTER TOPIC and DEAD LETTER CONNECTION belong together";
                return Err(SqlError::new(code::SYNTAX_ERROR, message)
                    .with_hint("Write DEAD LETTER TOPIC 'topic', DEAD LETTER CONNECTION kafka_connection."));
            }
        };
        match self.envelope.as_deref() {
            None => {}
            Some("UPSERT") if plan.key.is_empty() => {
                return Err(SqlError::new(
                    code::SYNTAX_ERROR,
                    "ENVELOPE UPSERT requires that KEY (...) be specified",
                ));
            }
            Some("UPSERT") => {}
            Some(other) => {
                return Err(unsupported(&format!("ENVELOPE {other}"), "Use ENVELOPE UPSERT, or none."));
            }
        }
        let known = ["user_id", "anonymous_id"];
        if !desc.columns.iter().any(|c| known.contains(&c.name.as_str())) {
            return Err(SqlError::new(
                code::INVALID_PARAMETER_VALUE,
                format!("{} has neither a column user_id nor anonymous_id", from.name.item),
            )
            .with_hint("Every call to Segment names a user: rename a column in the view."));
        }
        Ok(plan)
    }
}
