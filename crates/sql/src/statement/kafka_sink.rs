//! `CREATE SINK … FROM v INTO KAFKA CONNECTION c (…)`: changes of a stored object as messages in a topic.
//!
//! ```text
//!   CREATE SINK [IF NOT EXISTS] s FROM v INTO KAFKA CONNECTION c
//!     (TOPIC 't' [, COMPRESSION TYPE none | gzip | snappy | lz4 | zstd] [, PARTITION BY = expression]
//!      [, TOPIC PARTITION COUNT n] [, TOPIC REPLICATION FACTOR n] [, TOPIC CONFIG MAP['name' => 'value', …]]
//!      [, TRANSACTIONAL ID PREFIX 'p'] [, PROGRESS GROUP ID PREFIX 'p'])
//!     [KEY (column, …) [NOT ENFORCED]] [HEADERS column]
//!     FORMAT f | KEY FORMAT f VALUE FORMAT f        -- f: JSON, TEXT, BYTES
//!     ENVELOPE UPSERT | DEBEZIUM [WITH (SNAPSHOT = false)]
//! ```

use std::rc::Rc;

use plan::ScalarExpr;
use repr::error::code;
use repr::{ColumnType, RelationDesc, ScalarType, SqlError};
use sqlparser::ast::{Expr, Ident, ObjectName};
use sqlparser::tokenizer::Token;

use super::connection::{text, unknown_option};
use crate::ast::{OptionValue, WithOption};
use crate::catalog::CatalogItem;
use crate::expr::Ctx;
use crate::hirs;
use crate::parse::{Heads, fold};
use crate::plan::{KafkaSinkPlan, MessageFormat, SinkEnvelope, unsupported};
use crate::planner::Planner;
use crate::scope::{Env, Scope, ScopeTable};

/// What stands behind `INTO KAFKA CONNECTION`.
#[derive(Debug)]
pub(crate) struct IntoKafka {
    pub(crate) connection: ObjectName,
    options: Vec<KafkaOption>,
    key: Vec<Ident>,
    not_enforced: bool,
    headers: Option<Ident>,
    key_format: Option<Ident>,
    format: Option<Ident>,
    envelope: Option<Ident>,
}

#[derive(Debug)]
enum KafkaOption {
    PartitionBy(Expr),
    Other(WithOption),
}

/// Behind `INTO KAFKA`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<IntoKafka, SqlError> {
    if p.is("broker") {
        return Err(unsupported(
            "INTO KAFKA BROKER",
            "Write CREATE CONNECTION k TO KAFKA (BROKER 'host:port', …), then INTO KAFKA CONNECTION k (TOPIC 't').",
        ));
    }
    p.expect("connection")?;
    let connection = p.object_name()?;
    let options = p.parenthesized(|p| {
        if p.word("partition by") {
            p.token(&Token::Eq);
            return Ok(KafkaOption::PartitionBy(p.expr()?));
        }
        p.option().map(KafkaOption::Other)
    })?;
    let (mut key, mut not_enforced) = (vec![], false);
    if p.is("key") && !p.is("key format") {
        p.expect("key")?;
        key = p.parenthesized(|p| p.ident())?;
        not_enforced = p.word("not enforced");
    }
    let headers = if p.word("headers") { Some(p.ident()?) } else { None };
    let (mut key_format, mut format) = (None, None);
    if p.word("key format") {
        key_format = Some(p.ident()?);
        p.expect("value format")?;
        format = Some(p.ident()?);
    } else if p.word("format") {
        format = Some(p.ident()?);
    }
    let envelope = if p.word("envelope") { Some(p.ident()?) } else { None };
    Ok(IntoKafka { connection, options, key, not_enforced, headers, key_format, format, envelope })
}

impl IntoKafka {
    /// How the rows of `from` become messages.
    pub(crate) fn plan(
        &self,
        planner: &Planner<'_>,
        from: &CatalogItem,
        desc: &RelationDesc,
    ) -> Result<KafkaSinkPlan, SqlError> {
        let column = |name: &Ident| {
            let message = || format!("column \"{}\" does not exist in {}", fold(name), from.name.item);
            let found = desc.columns.iter().position(|c| c.name == fold(name));
            found.ok_or_else(|| planner.error(name.span, code::UNDEFINED_COLUMN, message()))
        };
        let key = self.key.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let headers = self.headers.as_ref().map(column).transpose()?;
        if let (Some(h), Some(name)) = (headers, &self.headers) {
            let of_texts = |ty: &ScalarType| matches!(ty, ScalarType::Text | ScalarType::Bytes);
            if !matches!(&desc.columns[h].ty.scalar, ScalarType::Map(e) if of_texts(e)) {
                let message = format!("HEADERS column \"{}\" is not a map[text=>text]", fold(name));
                return Err(planner.error(name.span, code::DATATYPE_MISMATCH, message).with_hint(
                    "Make one in the view: MAP['source' => source] or a cast to map[text=>text].",
                ));
            }
            if key.contains(&h) {
                let message = "the column of HEADERS cannot be part of the key";
                return Err(planner.error(name.span, code::INVALID_PARAMETER_VALUE, message));
            }
        }
        let (value, key_format) = match (&self.format, &self.key_format) {
            (None, _) => {
                return Err(SqlError::new(code::SYNTAX_ERROR, "a sink into Kafka needs FORMAT")
                    .with_hint("Add FORMAT JSON."));
            }
            (Some(value), key) => {
                (self.format(planner, value)?, self.format(planner, key.as_ref().unwrap_or(value))?)
            }
        };
        let envelope = match self.envelope.as_ref().map(fold).as_deref() {
            Some("upsert") => SinkEnvelope::Upsert,
            Some("debezium") => SinkEnvelope::Debezium,
            None => {
                return Err(SqlError::new(code::SYNTAX_ERROR, "a sink into Kafka needs ENVELOPE")
                    .with_hint("Add ENVELOPE UPSERT (with KEY (…)) or ENVELOPE DEBEZIUM."));
            }
            Some(other) => {
                return Err(unsupported(
                    &format!("ENVELOPE {}", other.to_uppercase()),
                    "Use ENVELOPE UPSERT or ENVELOPE DEBEZIUM.",
                ));
            }
        };
        self.check_key(planner, from, desc, &key, envelope)?;
        let values: Vec<usize> = (0..desc.arity()).filter(|c| Some(*c) != headers).collect();
        if envelope == SinkEnvelope::Debezium && value != MessageFormat::Json {
            return Err(unsupported("ENVELOPE DEBEZIUM with this FORMAT", "Use FORMAT JSON for the value."));
        }
        one_column("value", value, &values, desc)?;
        if !key.is_empty() {
            one_column("key", key_format, &key, desc)?;
        }
        let mut plan = KafkaSinkPlan {
            topic: String::new(),
            key: Some((key, key_format)).filter(|(k, _)| !k.is_empty()),
            value,
            headers,
            envelope,
            compression: "lz4",
            partition_by: None,
            partitions: None,
            replication: None,
            topic_config: vec![],
            transactional_id_prefix: None,
            group_id_prefix: None,
        };
        self.options(planner, from, desc, &mut plan)?;
        if plan.topic.is_empty() {
            return Err(SqlError::new(code::INVALID_PARAMETER_VALUE, "must specify TOPIC")
                .with_hint("Write INTO KAFKA CONNECTION k (TOPIC 't')."));
        }
        Ok(plan)
    }

    fn format(&self, planner: &Planner<'_>, name: &Ident) -> Result<MessageFormat, SqlError> {
        match fold(name).as_str() {
            "json" => Ok(MessageFormat::Json),
            "text" => Ok(MessageFormat::Text),
            "bytes" => Ok(MessageFormat::Bytes),
            _ => Err(planner.text.at(
                name.span,
                unsupported(&format!("FORMAT {}", name.value.to_uppercase()), "Use JSON, TEXT or BYTES."),
            )),
        }
    }

    /// An upsert needs a key that no two rows share.
    fn check_key(
        &self,
        planner: &Planner<'_>,
        from: &CatalogItem,
        desc: &RelationDesc,
        key: &[usize],
        envelope: SinkEnvelope,
    ) -> Result<(), SqlError> {
        if envelope != SinkEnvelope::Upsert {
            return Ok(());
        }
        let Some(first) = self.key.first() else {
            return Err(SqlError::new(
                code::SYNTAX_ERROR,
                "ENVELOPE UPSERT requires that KEY (...) be specified",
            ));
        };
        if self.not_enforced || from.keys.iter().any(|k| k.iter().all(|c| key.contains(c))) {
            return Ok(());
        }
        let known: Vec<String> = from
            .keys
            .iter()
            .map(|k| k.iter().map(|c| desc.columns[*c].name.as_str()).collect::<Vec<_>>().join(", "))
            .map(|k| format!("({k})"))
            .collect();
        let known = match &known[..] {
            [] => "no unique key is known".to_string(),
            known => format!("its known unique keys are {}", known.join(" and ")),
        };
        Err(planner
            .error(first.span, code::INVALID_PARAMETER_VALUE, "upsert key could not be validated as unique")
            .with_detail(format!("It cannot be proved that no two rows of {} share this key: {known}.", from.name.item))
            .with_hint("If you know that it is unique, write KEY (…) NOT ENFORCED; else group by it, or use DISTINCT ON."))
    }

    fn options(
        &self,
        planner: &Planner<'_>,
        from: &CatalogItem,
        desc: &RelationDesc,
        plan: &mut KafkaSinkPlan,
    ) -> Result<(), SqlError> {
        for option in &self.options {
            let option = match option {
                KafkaOption::PartitionBy(e) => {
                    plan.partition_by = Some(partition_by(planner, from, desc, e)?);
                    continue;
                }
                KafkaOption::Other(option) => option,
            };
            // `COMPRESSION TYPE gzip`: a word without `=` runs into the name.
            let name = option.name.as_str();
            let (name, word) = match name.strip_prefix("COMPRESSION TYPE ") {
                Some(word) if option.value.is_none() => ("COMPRESSION TYPE", Some(word.to_lowercase())),
                _ => (name, None),
            };
            let count = || {
                let n: i32 = text(option)?.parse().unwrap_or(0);
                let message = || format!("invalid {name}: a number from 1 is needed");
                let count = (n >= 1 || n == -1).then_some(n);
                count.ok_or_else(|| SqlError::new(code::INVALID_PARAMETER_VALUE, message()))
            };
            match name {
                "TOPIC" => plan.topic = text(option)?,
                "COMPRESSION TYPE" => {
                    let given = word.map_or_else(|| text(option).map(|t| t.to_lowercase()), Ok)?;
                    let known = ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().find(|k| *k == given);
                    plan.compression = known.ok_or_else(|| {
                        SqlError::new(
                            code::INVALID_PARAMETER_VALUE,
                            format!("invalid COMPRESSION TYPE: {given}"),
                        )
                        .with_hint("Use none, gzip, snappy, lz4 or zstd.")
                    })?;
                }
                "TOPIC PARTITION COUNT" => plan.partitions = Some(count()?).filter(|n| *n > 0),
                "TOPIC REPLICATION FACTOR" => plan.replication = Some(count()?).filter(|n| *n > 0),
                "TRANSACTIONAL ID PREFIX" => plan.transactional_id_prefix = Some(text(option)?),
                "PROGRESS GROUP ID PREFIX" => plan.group_id_prefix = Some(text(option)?),
                "TOPIC METADATA REFRESH INTERVAL" => planner.no_effect(name),
                "TOPIC CONFIG" | "TOPIC CONFIG MAP" => {
                    let entries = match &option.value {
                        Some(OptionValue::Map(entries)) => entries.as_slice(),
                        Some(OptionValue::List(list)) if list.is_empty() => &[],
                        _ => {
                            let message = "invalid TOPIC CONFIG: a map is needed";
                            return Err(SqlError::new(code::INVALID_PARAMETER_VALUE, message)
                                .with_hint("Write TOPIC CONFIG MAP['retention.ms' => '86400000']."));
                        }
                    };
                    for (key, value) in entries {
                        let value = text(&WithOption { value: Some(value.clone()), ..option.clone() })?;
                        plan.topic_config.push((key.clone(), value));
                    }
                }
                _ => return Err(unknown_option(option)),
            }
        }
        Ok(())
    }
}

/// TEXT and BYTES hold one column.
fn one_column(
    what: &str,
    format: MessageFormat,
    columns: &[usize],
    desc: &RelationDesc,
) -> Result<(), SqlError> {
    let name = match format {
        MessageFormat::Json => return Ok(()),
        MessageFormat::Text => "TEXT",
        MessageFormat::Bytes => "BYTES",
    };
    let [column] = columns else {
        let message = format!("FORMAT {name} needs one column for the {what}, there are {}", columns.len());
        return Err(SqlError::new(code::INVALID_PARAMETER_VALUE, message)
            .with_hint("Use FORMAT JSON, or KEY FORMAT TEXT VALUE FORMAT JSON."));
    };
    let ty = &desc.columns[*column].ty.scalar;
    if format == MessageFormat::Bytes && !matches!(ty, ScalarType::Bytes | ScalarType::Text) {
        let message = format!("FORMAT BYTES needs a {what} of type bytea or text, not {}", ty.name());
        return Err(SqlError::new(code::DATATYPE_MISMATCH, message));
    }
    Ok(())
}

/// The number that says a message's partition.
fn partition_by(
    planner: &Planner<'_>,
    from: &CatalogItem,
    desc: &RelationDesc,
    e: &Expr,
) -> Result<ScalarExpr, SqlError> {
    let table = ScopeTable {
        alias: from.name.item.clone(),
        schema: Some((from.name.database.clone(), from.name.schema.clone())),
        scalar: false,
        hidden: None,
    };
    let columns = desc.columns.iter().map(|c| (c.name.clone(), c.ty.clone()));
    let (scope, env) = (Rc::new(Scope::of(table, columns)), Env::default());
    let (planned, ColumnType { scalar: ty, .. }) =
        planner.plan_known(&Ctx::plain(&scope, &env, "PARTITION BY"), e)?;
    let scalar = planner.at(e, hirs::to_scalar(planned))?;
    let of_numbers = matches!(
        ty,
        ScalarType::Int16
            | ScalarType::Int32
            | ScalarType::Int64
            | ScalarType::UInt16
            | ScalarType::UInt32
            | ScalarType::UInt64
    );
    if !of_numbers {
        let message = format!("PARTITION BY must be an integer, not {}", ty.name());
        return planner.at(
            e,
            Err(SqlError::new(code::DATATYPE_MISMATCH, message)
                .with_hint("Hash a column: PARTITION BY = seahash(user_id).")),
        );
    }
    Ok(scalar)
}
