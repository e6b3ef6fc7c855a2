//! `CREATE [MATERIALIZED] SOURCE …`, in today's form and in that of the old binary.
//!
//! A source stores its records raw. What makes columns of them is a query over the raw records, made here as text and
//! planned as any other (`FORMAT JSON` is a cast, `INCLUDE OFFSET` a column), so that formats need nothing of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use plan::func::ids;
use repr::error::code;
use repr::{Datum, GlobalId, RelationDesc, ScalarType, SqlError};
use sqlparser::ast::{Ident, ObjectName};
use sqlparser::tokenizer::Token;

use super::connection::{boolean, finish, text, unknown_option};
use super::{CreateModifiers, errors, names, webhook};
use crate::ast::{OptionValue, WithOption};
use crate::catalog::{Catalog, CatalogItem, ItemKind};
use crate::hirs;
use crate::parse::{Heads, fold, quote, quote_string};
use crate::plan::{
    CreateItem, CreatePlan, KafkaConnectionPlan, OnError, Plan, RAW_SELF, REFUSED_SELF, Retention,
    SourceFrom, SourcePlan, StringOrSecret, unsupported,
};
use crate::planner::Planner;
use crate::text::Text;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Create(Box<CreateSource>),
}

/// A source as written.
#[derive(Debug)]
pub(crate) struct CreateSource {
    name: ObjectName,
    if_not_exists: bool,
    replace: bool,
    columns: Vec<Ident>,
    cluster: Option<Ident>,
    from: From,
    key_format: Option<Format>,
    format: Option<Format>,
    include: Vec<Include>,
    envelope: Option<String>,
    /// `VALUE DECODING ERRORS = INLINE`: the column that says why a value did not decode.
    inline: Option<String>,
    progress: Option<ObjectName>,
    with: Vec<WithOption>,
    /// The text behind the name,
    tail: String,
    /// and its parts but for `with`: up to the format, the format, what follows it.
    parts: [String; 3],
}

/// What `ALTER SOURCE` does.
#[derive(Debug)]
pub(crate) enum Alter {
    SkipGap,
    /// `REPLAY ERRORS [FORMAT …] [WITH (ON ERROR = …)]`: the text of the format, and the options.
    Replay {
        format: Option<String>,
        with: Vec<WithOption>,
    },
}

/// Behind the name in `ALTER SOURCE name`; none: it is something else.
pub(crate) fn parse_alter(p: &mut Heads<'_>) -> Result<Option<Alter>, SqlError> {
    if p.word("skip gap") {
        return Ok(Some(Alter::SkipGap));
    }
    if p.word("replay errors") {
        let start = p.here();
        let format = match parse_formats(p)? {
            (_, Some(_)) => Some(p.since(start).to_string()),
            _ => None,
        };
        return Ok(Some(Alter::Replay { format, with: p.with_options()? }));
    }
    Ok(None)
}

/// `[KEY FORMAT f VALUE] FORMAT f`.
fn parse_formats(p: &mut Heads<'_>) -> Result<(Option<Format>, Option<Format>), SqlError> {
    let mut key = None;
    if p.word("key format") {
        key = Some(parse_format(p)?);
        p.expect("value format")?;
    } else if !p.word("format") {
        return Ok((None, None));
    }
    Ok((key, Some(parse_format(p)?)))
}

/// `ALTER SOURCE`.
pub(crate) fn plan_alter(planner: &Planner<'_>, item: &CatalogItem, alter: Alter) -> Result<Plan, SqlError> {
    let id = item.id;
    let (format, with) = match alter {
        Alter::SkipGap => return Ok(Plan::SkipGap(id)),
        Alter::Replay { format, with } => (format, with),
    };
    if format.is_none() && with.is_empty() {
        return Ok(Plan::DecodeAgain { id, change: None });
    }
    if let Some(other) = with.iter().find(|o| o.name != "ON ERROR") {
        return Err(unknown_option(other));
    }
    // The statement that makes the source as it is to be.
    let old = Text::new(&item.create_sql, 0);
    let crate::ast::Statement::Source(Statement::Create(old)) = crate::parse::parse(&old)? else {
        return Err(SqlError::internal("a source was not made by CREATE SOURCE"));
    };
    if matches!(old.from, From::Webhook(_) | From::Segment(_)) {
        return Err(unsupported(
            "REPLAY ERRORS of a source that is posted to",
            "Its bodies are stored as they came: a view decodes them again.",
        ));
    }
    if old.envelope.as_deref().is_some_and(|e| e != "NONE") {
        return Err(unsupported(
            "another format of a source with an envelope",
            "Drop and create the source.",
        ));
    }
    let [from, old_format, rest] = &old.parts;
    let format = format.unwrap_or_else(|| old_format.clone());
    let replaced = |o: &&WithOption| !with.iter().any(|new| new.name == o.name);
    let mut options = vec![];
    for option in old.with.iter().filter(replaced).chain(&with) {
        let value = if option.value.is_some() {
            format!(" = {}", quote_string(&text(option)?))
        } else {
            String::new()
        };
        options.push(format!("{}{value}", option.name));
    }
    let with = if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
    let create = format!("CREATE SOURCE {} {from} {format} {rest}{with}", names::quoted(&item.name));
    let new = Text::new(&create, 0);
    let crate::ast::Statement::Source(new_statement) = crate::parse::parse(&new)? else {
        return Err(SqlError::internal("a source's statement changed its kind"));
    };
    match plan(&Planner::new(planner.catalog, &new, &[]), new_statement)? {
        Plan::Create(create) => Ok(Plan::DecodeAgain { id, change: Some(create) }),
        _ => Err(SqlError::internal("a source is planned as a source")),
    }
}

#[derive(Debug)]
enum From {
    Kafka { connection: ObjectName, options: Vec<WithOption> },
    OldKafka { broker: String, topic: String, with: Vec<WithOption> },
    File { path: String, compression: Option<String> },
    Generator { kind: String, options: Vec<WithOption> },
    Webhook(webhook::Webhook),
    Segment(Vec<WithOption>),
}

#[derive(Clone, Debug, PartialEq)]
enum Format {
    Bytes,
    Text,
    Json,
    /// Names of columns or their number; delimiter; whether the first line is a header.
    Csv {
        names: Vec<String>,
        delimiter: String,
        header: bool,
    },
}

impl Format {
    /// As a statement names it.
    fn name(&self) -> &'static str {
        match self {
            Format::Bytes => "BYTES",
            Format::Text => "TEXT",
            Format::Json => "JSON",
            Format::Csv { .. } => "CSV",
        }
    }
}

#[derive(Debug)]
struct Include {
    /// `KEY`, `PARTITION`, `OFFSET`, `TIMESTAMP`, `HEADERS`, `HEADER`.
    item: &'static str,
    alias: Option<Ident>,
    /// Of one header: its name, and whether its value stays as bytes.
    header: Option<(String, bool)>,
}

/// Behind `CREATE [MATERIALIZED] SOURCE`.
pub(crate) fn parse(p: &mut Heads<'_>, modifiers: CreateModifiers) -> Result<Statement, SqlError> {
    let if_not_exists = p.if_not_exists();
    let name = p.object_name()?;
    let start = p.here();
    let columns = if *p.peek() == Token::LParen { p.parenthesized(|p| p.ident())? } else { vec![] };
    let cluster = if p.word("in cluster") { Some(p.ident()?) } else { None };
    p.expect("from")?;
    let from = parse_from(p)?;
    let mut parts = [p.since(start).to_string(), String::new(), String::new()];
    let mut with = p.with_options()?;
    let here = p.here();
    let (key_format, format) = parse_formats(p)?;
    parts[1] = p.since(here).to_string();
    let here = p.here();
    let mut include = vec![];
    if p.word("include") {
        include = p.comma_separated(|p| {
            let Some(item) = p.one_of(&["key", "partition", "offset", "timestamp", "headers", "header"])
            else {
                return Err(p.error("KEY, PARTITION, OFFSET, TIMESTAMP, HEADERS or HEADER"));
            };
            if item == "header" {
                let name = p.string()?;
                p.expect("as")?;
                let alias = Some(p.ident()?);
                return Ok(Include { item, alias, header: Some((name, p.word("bytes"))) });
            }
            let alias = if p.word("as") { Some(p.ident()?) } else { None };
            Ok(Include { item, alias, header: None })
        })?;
    }
    let (mut envelope, mut inline) = (None, None);
    if p.word("envelope") {
        envelope = Some(p.ident()?.value.to_uppercase());
        if *p.peek() == Token::LParen {
            inline = Some(parse_inline(p)?);
        }
    }
    let progress = if p.word("expose progress as") { Some(p.object_name()?) } else { None };
    parts[2] = p.since(here).to_string();
    with.extend(p.with_options()?);
    let tail = p.since(start).to_string();
    Ok(Statement::Create(Box::new(CreateSource {
        name,
        if_not_exists,
        replace: modifiers.replace,
        columns,
        cluster,
        from,
        key_format,
        format,
        include,
        envelope,
        inline,
        progress,
        with,
        tail,
        parts,
    })))
}

/// `(VALUE DECODING ERRORS = INLINE)`, or `= (INLINE AS column)`.
fn parse_inline(p: &mut Heads<'_>) -> Result<String, SqlError> {
    p.expect_token(&Token::LParen)?;
    p.expect("value decoding errors")?;
    p.token(&Token::Eq);
    let bracket = p.token(&Token::LParen);
    p.expect("inline")?;
    let column = if p.word("as") { fold(&p.ident()?) } else { "error".into() };
    if bracket {
        p.expect_token(&Token::RParen)?;
    }
    p.expect_token(&Token::RParen)?;
    Ok(column)
}

fn parse_from(p: &mut Heads<'_>) -> Result<From, SqlError> {
    if p.word("kafka connection") {
        let connection = p.object_name()?;
        return Ok(From::Kafka { connection, options: p.options()? });
    }
    if p.word("kafka broker") {
        let broker = p.string()?;
        p.expect("topic")?;
        let topic = p.string()?;
        return Ok(From::OldKafka { broker, topic, with: p.with_options()? });
    }
    if p.word("file") {
        let path = p.string()?;
        let compression = if p.word("compression") { Some(p.ident()?.value.to_uppercase()) } else { None };
        return Ok(From::File { path, compression });
    }
    if p.word("load generator") {
        let kind = p.ident()?.value.to_uppercase();
        let options = if *p.peek() == Token::LParen { p.options()? } else { vec![] };
        return Ok(From::Generator { kind, options });
    }
    if p.word("webhook") {
        return Ok(From::Webhook(webhook::parse(p)?));
    }
    if p.word("segment") {
        return Ok(From::Segment(if *p.peek() == Token::LParen { p.options()? } else { vec![] }));
    }
    if p.is("postgres") || p.is("mysql") || p.is("sql server") {
        return Err(unsupported("change data capture from a database", "Use a Kafka topic."));
    }
    Err(p.error("KAFKA CONNECTION, KAFKA BROKER, WEBHOOK, SEGMENT, FILE or LOAD GENERATOR"))
}

fn parse_format(p: &mut Heads<'_>) -> Result<Format, SqlError> {
    let Some(word) = p.one_of(&["bytes", "text", "json", "csv", "avro", "protobuf", "regex"]) else {
        return Err(p.error("BYTES, TEXT, JSON or CSV"));
    };
    match word {
        "bytes" => Ok(Format::Bytes),
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        "csv" => {
            p.expect("with")?;
            let (names, header) = if p.word("header") {
                let names = if *p.peek() == Token::LParen { p.parenthesized(|p| p.ident())? } else { vec![] };
                (names.iter().map(fold).collect(), true)
            } else {
                let n: usize = p.number()?.parse().map_err(|_| p.error("a number of columns"))?;
                if !p.word("columns") {
                    p.expect("column")?;
                }
                ((1..=n.min(1_600)).map(|i| format!("column{i}")).collect(), false)
            };
            let delimiter = if p.word("delimited by") { p.string()? } else { ",".into() };
            Ok(Format::Csv { names, delimiter, header })
        }
        other => Err(unsupported(
            &format!("FORMAT {}", other.to_uppercase()),
            "Use BYTES, TEXT, JSON or CSV; BYTES can be decoded by a view.",
        )),
    }
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    let Statement::Create(s) = statement;
    let name = names::new_name(planner, &s.name)?;
    if let Some(cluster) = &s.cluster {
        no_effect(planner, &format!("IN CLUSTER {}", fold(cluster)));
    }
    let upsert = match s.envelope.as_deref() {
        None | Some("NONE") => false,
        Some(envelope @ ("UPSERT" | "DEBEZIUM")) if s.key_format.is_none() => {
            return Err(SqlError::new(
                code::SYNTAX_ERROR,
                format!(
                    "ENVELOPE {envelope} requires specifying KEY FORMAT .. VALUE FORMAT, got bare FORMAT"
                ),
            ));
        }
        Some("DEBEZIUM") if s.format != Some(Format::Json) => {
            return Err(unsupported("ENVELOPE DEBEZIUM of this format", "Use VALUE FORMAT JSON."));
        }
        Some("UPSERT" | "DEBEZIUM") => true,
        Some(other) => {
            return Err(unsupported(
                &format!("ENVELOPE {other}"),
                "Use ENVELOPE NONE, UPSERT or DEBEZIUM, and take the record apart in a view.",
            ));
        }
    };
    if s.inline.is_some() && s.envelope.as_deref() != Some("UPSERT") {
        return Err(unsupported(
            "VALUE DECODING ERRORS without ENVELOPE UPSERT",
            "Use WITH (ON ERROR = NULL).",
        ));
    }
    let mut on_error = OnError::Fail;
    let mut tail_file = false;
    let (mut retention, mut retain_history) = (None, None);
    for option in &s.with {
        match option.name.as_str() {
            "SIZE" | "TIMESTAMP INTERVAL" => {
                no_effect(planner, &format!("WITH ({} = …)", option.name));
            }
            "TAIL" => tail_file = boolean(option)?,
            "ON ERROR" => on_error = errors::on_error(&text(option)?)?,
            "RETENTION" => retention = Some(parse_retention(option)?),
            _ if is_history(option) => retain_history = Some(interval(option)?),
            _ => return Err(unknown_option(option)),
        }
    }
    let mut uses = vec![];
    let (from, default_format) = match &s.from {
        From::Kafka { connection, options } => {
            let connection = names::existing(planner, connection, ItemKind::Connection)?.id;
            uses.push(connection);
            (kafka(Some(connection), None, None, options)?, None)
        }
        From::OldKafka { broker, topic, with } => {
            let (inline, rest) = old_options(planner, broker, with)?;
            (kafka(None, Some(inline), Some(topic.clone()), &rest)?, None)
        }
        From::File { path, compression } => {
            let from =
                SourceFrom::File { path: path.clone(), tail: tail_file, compression: compression.clone() };
            (from, Some(Format::Text))
        }
        From::Generator { kind, options } => (generator(kind, options)?, Some(Format::Bytes)),
        From::Webhook(webhook) => {
            (SourceFrom::Webhook(webhook.plan(planner, &mut uses)?.into()), Some(Format::Bytes))
        }
        From::Segment(options) => {
            (SourceFrom::Segment(webhook::segment(planner, options, &mut uses)?), Some(Format::Bytes))
        }
    };
    let pushed = matches!(from, SourceFrom::Webhook(_) | SourceFrom::Segment(_));
    if pushed
        && (s.format.is_some() || s.key_format.is_some() || s.envelope.is_some() || !s.include.is_empty())
    {
        return Err(SqlError::new(
            code::SYNTAX_ERROR,
            "FORMAT, INCLUDE and ENVELOPE do not belong to a source that is posted to",
        )
        .with_hint("A webhook has BODY FORMAT, INCLUDE HEADER and INCLUDE HEADERS before CHECK."));
    }
    let counter = match &from {
        SourceFrom::GeneratorCounter { max_cardinality, .. } => Some(*max_cardinality),
        _ => None,
    };
    let Some(format) = s.format.clone().or(default_format) else {
        return Err(SqlError::new(code::SYNTAX_ERROR, "Source format must be specified")
            .with_hint("Add FORMAT BYTES, TEXT, JSON or CSV."));
    };
    let file = matches!(from, SourceFrom::File { .. });
    if !file && matches!(format, Format::Csv { header: true, .. }) {
        return Err(unsupported(
            "CSV WITH HEADER of messages",
            "Only a file has a first line; name the columns behind the source's name, with WITH n COLUMNS.",
        ));
    }
    let select = |on_error, inline: Option<&str>| match &s.from {
        From::Webhook(webhook) => Ok(webhook.definition()),
        From::Segment(_) => Ok(webhook::SEGMENT.into()),
        _ => definition(&s, &format, file, counter, on_error, inline),
    };
    let over = || if upsert { latest(planner).map(|latest| vec![latest]) } else { Ok(vec![]) };
    let inline = s.inline.as_deref();
    let (mut definition, mut desc) = plan_over(planner, over()?, &select(on_error, inline)?)?;
    if let Some(inline) = inline {
        definition = as_description(definition, &mut desc, inline);
    }
    let strict = match (on_error, inline) {
        (OnError::Fail, None) => definition.clone(),
        _ => plan_over(planner, over()?, &select(OnError::Fail, None)?)?.0,
    };
    let stored = if upsert { Some(crate::query::lower(definition.clone())?) } else { None };
    let topic = match &from {
        SourceFrom::Kafka { topic, .. } => Some(topic.as_str()),
        _ => None,
    };
    let posted = matches!(from, SourceFrom::Webhook(_) | SourceFrom::Segment(_));
    let errors = errors::of_source(planner, strict, topic, posted)?;
    if !s.columns.is_empty() {
        if s.columns.len() != desc.arity() {
            return Err(SqlError::new(
                code::SYNTAX_ERROR,
                format!("source has {} columns, but {} names are given", desc.arity(), s.columns.len()),
            ));
        }
        desc.columns.iter_mut().zip(&s.columns).for_each(|(c, n)| c.name = fold(n));
    }
    let progress_name = match &s.progress {
        Some(progress) => names::new_name(planner, progress)?.item,
        None => format!("{}_progress", name.item),
    };
    let replace = if s.replace { names::find(planner, &s.name)?.map(|i| i.id) } else { None };
    let create_sql = format!("CREATE SOURCE {} {}", names::quoted(&name), planner.canonical_tail(&s.tail));
    Ok(Plan::Create(Box::new(CreatePlan {
        name,
        create_sql,
        replace,
        if_not_exists: s.if_not_exists,
        temporary: false,
        uses,
        retain_history,
        desc: Some(desc),
        item: CreateItem::Source(Box::new(SourcePlan {
            from,
            definition,
            stored,
            headers: s.include.iter().any(|i| i.item.starts_with("header")),
            errors,
            progress_name,
            retention,
        })),
    })))
}

/// Tells that something is accepted and does nothing.
pub(crate) fn no_effect(planner: &Planner<'_>, what: &str) {
    planner.notice(SqlError::new(repr::SqlState::new("00000"), format!("{what} has no effect here")));
}

/// The query over raw records that makes the source's columns.
fn definition(
    s: &CreateSource,
    format: &Format,
    file: bool,
    counter: Option<Option<u64>>,
    on_error: OnError,
    inline: Option<&str>,
) -> Result<String, SqlError> {
    if let Some(max_cardinality) = counter {
        let newest =
            max_cardinality.map_or(String::new(), |n| format!(" ORDER BY \"offset\" DESC LIMIT {n}"));
        return Ok(format!(
            "SELECT CAST(convert_from(value, 'utf8') AS int8) AS counter FROM mz_internal.raw{newest}"
        ));
    }
    let mut columns = vec![];
    // A tombstone has no value; without an envelope that gives it meaning it is no row.
    let mut filter = "value IS NOT NULL".to_string();
    if file && matches!(format, Format::Csv { header: true, .. }) {
        filter.push_str(" AND \"offset\" > 0");
    }
    let mut decode = |column: &str, format: &Format, name: String| -> Result<(), SqlError> {
        let decoded = decoded(column, format, name)?;
        if let (Some(inline), "value") = (inline, column) {
            let fails = decoded
                .whole
                .map_or("FALSE".into(), |(expr, ty)| format!("TRY_CAST({expr} AS {ty}) IS NULL"));
            columns.extend(
                decoded
                    .columns
                    .into_iter()
                    .map(|(expr, ty, name)| format!("TRY_CAST({expr} AS {ty}) AS {}", quote(&name))),
            );
            let what = format!("the value does not decode as {}", format.name());
            columns.push(format!("CASE WHEN {fails} THEN {} END AS {}", quote_string(&what), quote(inline)));
            return Ok(());
        }
        if let (OnError::Quarantine, Some((expr, ty))) = (on_error, decoded.whole) {
            filter.push_str(&format!(" AND ({column} IS NULL OR TRY_CAST({expr} AS {ty}) IS NOT NULL)"));
        }
        columns.extend(decoded.columns.into_iter().map(|(expr, ty, name)| match on_error {
            OnError::Null => format!("TRY_CAST({expr} AS {ty}) AS {}", quote(&name)),
            OnError::Fail | OnError::Quarantine => format!("CAST({expr} AS {ty}) AS {}", quote(&name)),
        }));
        Ok(())
    };
    let key_alias = s.include.iter().find(|i| i.item == "key");
    let debezium = s.envelope.as_deref() == Some("DEBEZIUM");
    let upsert = debezium || s.envelope.as_deref() == Some("UPSERT");
    match (&s.key_format, key_alias) {
        (Some(key), include) => {
            // Rows of an upsert have their key always; else it is decoded where somebody asks for it.
            if include.is_some() || upsert {
                let alias = include.and_then(|i| i.alias.as_ref());
                decode("key", key, alias.map_or("key".into(), fold))?;
            }
        }
        (None, Some(_)) => {
            return Err(SqlError::new(
                code::SYNTAX_ERROR,
                "INCLUDE KEY requires specifying KEY FORMAT .. VALUE FORMAT, got bare FORMAT",
            ));
        }
        (None, None) => {}
    }
    let default = match format {
        Format::Text => "text",
        _ => "data",
    };
    if debezium {
        let (after, sound) = debezium_after(on_error);
        columns.push(format!("{after} AS {}", quote(default)));
        filter.push_str(&sound);
    } else {
        decode("value", format, default.into())?;
    }
    for include in &s.include {
        if let (Some((header, bytes)), Some(alias)) = (&include.header, &include.alias) {
            // The last of several of the name counts.
            let value = format!("header_bytes(headers, '{}')", header.replace('\'', "''"));
            let expr = if *bytes { value } else { format!("convert_from({value}, 'utf8')") };
            columns.push(format!("{expr} AS {}", quote(&fold(alias))));
            continue;
        }
        let (expr, name) = match include.item {
            "partition" => ("partition", "partition"),
            "offset" => ("CAST(\"offset\" AS uint8)", "offset"),
            "timestamp" => ("\"timestamp\" AT TIME ZONE 'UTC'", "timestamp"),
            "headers" => ("headers", "headers"),
            _ => continue,
        };
        let name = include.alias.as_ref().map_or(name.to_string(), fold);
        columns.push(format!("{expr} AS {}", quote(&name)));
    }
    let from = if upsert { "latest" } else { "raw" };
    Ok(format!("SELECT {} FROM mz_internal.{from} WHERE {filter}", columns.join(", ")))
}

/// The row after a change as Debezium writes it, with or without the schema around it, and the condition (`AND …`) that there
/// is one: after a deletion it is JSON's null. A record without it is no change and an error.
fn debezium_after(on_error: OnError) -> (String, String) {
    let within = |cast: &str| {
        let document = format!("{cast}(convert_from(value, 'utf8') AS jsonb)");
        format!("(COALESCE({document} -> 'payload', {document}) -> 'after')")
    };
    let tried = within("TRY_CAST");
    let after = match on_error {
        OnError::Null => tried.clone(),
        OnError::Fail | OnError::Quarantine => {
            format!(
                "mz_error_if_null({}, 'not a change of Debezium: the record has no \"after\"')",
                within("CAST")
            )
        }
    };
    let sound = match on_error {
        OnError::Fail => String::new(),
        OnError::Null | OnError::Quarantine => format!(" AND {tried} IS NOT NULL"),
    };
    let there = format!("{sound} AND {after} <> CAST('null' AS jsonb)");
    (after, there)
}

/// Makes records `(description)` of a column of texts.
fn as_description(
    definition: plan::hir::HirRelationExpr,
    desc: &mut RelationDesc,
    name: &str,
) -> plan::hir::HirRelationExpr {
    let Some(at) = desc.columns.iter().position(|c| c.name == name) else { return definition };
    let record = ScalarType::Record(vec![("description".into(), ScalarType::Text.nullable(true))]);
    let text = || hirs::column(at);
    let made = hirs::call(ids::ROW, vec![text()], record.clone());
    let made = hirs::if_then(hirs::is_null(text()), hirs::literal(Datum::Null, record.clone()), made);
    desc.columns[at].ty.scalar = record;
    let arity = desc.arity();
    let columns = (0..arity).map(|i| if i == at { arity } else { i }).collect();
    hirs::project(hirs::map(definition, vec![made]), columns, arity + 1)
}

/// The newest record of each key, as `mz_internal.latest`; one that has a value and no key is an error, until a newer one
/// without key has no value either (as Materialize has it). A key is in one partition, so offsets tell which is newest.
fn latest(planner: &Planner<'_>) -> Result<CatalogItem, SqlError> {
    let newest = "SELECT DISTINCT ON (key) value, key, partition, \"offset\", \"timestamp\", headers \
                  FROM mz_internal.raw ORDER BY key, \"offset\" DESC";
    let (newest, desc) = plan_over(planner, vec![], newest)?;
    let text = |s: &str| hirs::literal(Datum::Text(s), ScalarType::Text);
    let bool = |b: bool| hirs::literal(Datum::Bool(b), ScalarType::Bool);
    let raise = hirs::call(
        ids::RAISE,
        vec![text(code::NULL_VALUE_NOT_ALLOWED.as_str()), text("record with NULL key in UPSERT source")],
        ScalarType::Bool,
    );
    let [value, key] = [0, 1].map(|c| hirs::is_null(hirs::column(c)));
    let sound = hirs::if_then(value, bool(false), hirs::if_then(key, raise, bool(true)));
    Ok(raw_item("latest", desc, Some(hirs::filter(newest, vec![sound]))))
}

/// What a format makes of one raw column, as SQL.
struct Decoded {
    /// Expression, type and name of each column.
    columns: Vec<(String, &'static str, String)>,
    /// An expression (and its type) that fails where any column does, and is never NULL else. None: nothing fails.
    whole: Option<(String, &'static str)>,
}

fn decoded(column: &str, format: &Format, name: String) -> Result<Decoded, SqlError> {
    let text = format!("convert_from({column}, 'utf8')");
    Ok(match format {
        Format::Bytes => Decoded { columns: vec![(column.into(), "bytea", name)], whole: None },
        Format::Text => Decoded { columns: vec![(text.clone(), "text", name)], whole: Some((text, "text")) },
        Format::Json => {
            Decoded { columns: vec![(text.clone(), "jsonb", name)], whole: Some((text, "jsonb")) }
        }
        Format::Csv { names, delimiter, .. } => {
            if names.is_empty() {
                return Err(SqlError::new(
                    code::SYNTAX_ERROR,
                    "CSV WITH HEADER needs the names of the columns",
                )
                .with_hint("Write CSV WITH HEADER (a, b, c)."));
            }
            let fields = format!("csv_fields({text}, {})", quote_string(delimiter));
            let column = |(i, n): (usize, &String)| (format!("({fields})[{}]", i + 1), "text", n.clone());
            Decoded {
                columns: names.iter().enumerate().map(column).collect(),
                whole: Some((fields, "text[]")),
            }
        }
    })
}

/// A relation that only the query in a source's definition can name, in schema `mz_internal`.
pub(crate) fn raw_item(
    name: &str,
    desc: RelationDesc,
    definition: Option<plan::hir::HirRelationExpr>,
) -> CatalogItem {
    CatalogItem {
        id: RAW_SELF,
        name: crate::ObjectName {
            database: "materialize".into(),
            schema: "mz_internal".into(),
            item: name.into(),
        },
        kind: ItemKind::Table,
        desc: Some(desc),
        definition,
        create_sql: String::new(),
        uses: vec![],
        index: None,
        defaults: vec![],
        keys: vec![],
        sink: None,
        connection: None,
    }
}

/// Plans a query in a catalog that has the raw records as `mz_internal.raw`, and these relations.
pub(crate) fn plan_over(
    planner: &Planner<'_>,
    mut items: Vec<CatalogItem>,
    select: &str,
) -> Result<(plan::hir::HirRelationExpr, RelationDesc), SqlError> {
    let header = ScalarType::Record(vec![
        ("key".into(), ScalarType::Text.nullable(false)),
        ("value".into(), ScalarType::Bytes.nullable(true)),
    ]);
    let desc = RelationDesc::new([
        ("value", ScalarType::Bytes.nullable(true)),
        ("key", ScalarType::Bytes.nullable(true)),
        ("partition", ScalarType::Int32.nullable(false)),
        ("offset", ScalarType::Int64.nullable(false)),
        ("timestamp", ScalarType::TimestampTz { precision: None }.nullable(true)),
        ("headers", ScalarType::List(Box::new(header)).nullable(true)),
    ]);
    items.push(raw_item("raw", desc, None));
    let catalog = WithRaw { inner: planner.catalog, items };
    let text = Text::new(select, 0);
    let crate::ast::Statement::Query(query) = crate::parse::parse(&text)? else {
        return Err(SqlError::internal("a source's definition is a query"));
    };
    let inner = Planner::new(&catalog, &text, &[]);
    inner.plan_view_query(&query)
}

/// A catalog with the relations of [`plan_over`].
struct WithRaw<'a> {
    inner: &'a dyn Catalog,
    items: Vec<CatalogItem>,
}

impl Catalog for WithRaw<'_> {
    fn current_database(&self) -> &str {
        self.inner.current_database()
    }
    fn search_path(&self) -> Vec<String> {
        self.inner.search_path()
    }
    fn schema_exists(&self, database: &str, schema: &str) -> bool {
        schema == "mz_internal" || self.inner.schema_exists(database, schema)
    }
    fn item(&self, database: &str, schema: &str, item: &str) -> Option<&CatalogItem> {
        let own = || self.items.iter().find(|i| i.name.item == item);
        if schema == "mz_internal" { own() } else { None }.or_else(|| self.inner.item(database, schema, item))
    }
    fn item_by_id(&self, id: GlobalId) -> Option<&CatalogItem> {
        match id {
            RAW_SELF => self.items.last(),
            REFUSED_SELF => self.items.iter().find(|i| i.id == id),
            _ => self.inner.item_by_id(id),
        }
    }
    fn item_names(&self) -> Vec<crate::ObjectName> {
        self.inner.item_names()
    }
    fn variable(&self, name: &str) -> Option<String> {
        self.inner.variable(name)
    }
    fn items(&self) -> &BTreeMap<GlobalId, CatalogItem> {
        self.inner.items()
    }
}

/// The options of a topic.
fn kafka(
    connection: Option<GlobalId>,
    inline: Option<KafkaConnectionPlan>,
    topic: Option<String>,
    options: &[WithOption],
) -> Result<SourceFrom, SqlError> {
    let mut topic = topic;
    let mut start_offsets = vec![];
    let (mut start_timestamp, mut group_id_prefix, mut metadata_refresh) = (None, None, None);
    for option in options {
        match option.name.as_str() {
            "TOPIC" => topic = Some(text(option)?),
            "START OFFSET" | "START_OFFSET" => {
                let values = match &option.value {
                    Some(OptionValue::List(list)) => list.clone(),
                    Some(one) => vec![one.clone()],
                    None => vec![],
                };
                for value in values {
                    let offset = text(&WithOption { value: Some(value), ..option.clone() })?;
                    start_offsets.push(integer(&option.name, offset.trim_matches(['[', ']']))?);
                }
                if start_offsets.iter().any(|o| *o < 0) {
                    return Err(SqlError::new(
                        code::INVALID_PARAMETER_VALUE,
                        "START OFFSET must be nonnegative",
                    ));
                }
            }
            "START TIMESTAMP" | "KAFKA_TIME_OFFSET" => {
                start_timestamp = Some(integer(&option.name, &text(option)?)?);
            }
            "GROUP ID PREFIX" | "GROUP_ID_PREFIX" => group_id_prefix = Some(text(option)?),
            "TOPIC METADATA REFRESH INTERVAL" => metadata_refresh = Some(interval(option)?),
            "TOPIC_METADATA_REFRESH_INTERVAL_MS" => {
                let ms = integer(&option.name, &text(option)?)?;
                metadata_refresh = Some(Duration::from_millis(ms.clamp(1, 3_600_000) as u64));
            }
            _ => return Err(unknown_option(option)),
        }
    }
    let topic = topic.ok_or_else(|| SqlError::new(code::SYNTAX_ERROR, "KAFKA CONNECTION without TOPIC"))?;
    if start_timestamp.is_some() && !start_offsets.is_empty() {
        return Err(SqlError::new(
            code::INVALID_PARAMETER_VALUE,
            "START OFFSET and START TIMESTAMP cannot be used together",
        ));
    }
    Ok(SourceFrom::Kafka {
        connection,
        inline,
        topic,
        start_offsets,
        start_timestamp,
        group_id_prefix,
        metadata_refresh,
    })
}

/// The old binary's `WITH (…)`: a connection, and what belongs to the topic.
fn old_options(
    planner: &Planner<'_>,
    broker: &str,
    with: &[WithOption],
) -> Result<(KafkaConnectionPlan, Vec<WithOption>), SqlError> {
    let mut plan = KafkaConnectionPlan {
        brokers: broker.split(',').map(|b| b.trim().to_string()).collect(),
        ..KafkaConnectionPlan::default()
    };
    let mut protocol = None;
    let mut rest = vec![];
    let given = |s: String| Some(StringOrSecret::String(s));
    for option in with {
        match option.name.as_str() {
            "SECURITY_PROTOCOL" => protocol = Some(text(option)?.to_uppercase()),
            "SASL_MECHANISMS" | "SASL_MECHANISM" => plan.sasl_mechanism = Some(text(option)?.to_uppercase()),
            "SASL_USERNAME" => plan.sasl_username = given(text(option)?),
            "SASL_PASSWORD" => plan.sasl_password = given(text(option)?),
            "SASL_PASSWORD_ENV" => {
                let variable = text(option)?;
                let value = std::env::var(&variable).map_err(|_| {
                    SqlError::new(
                        code::INVALID_PARAMETER_VALUE,
                        format!("the environment variable {variable} is not set"),
                    )
                })?;
                plan.sasl_password = given(value);
            }
            "SSL_CA_LOCATION"
            | "SSL_CERTIFICATE_LOCATION"
            | "SSL_KEY_LOCATION"
            | "SSL_KEY_PASSWORD"
            | "CLIENT_ID"
            | "FETCH_MESSAGE_MAX_BYTES"
            | "ISOLATION_LEVEL" => {
                let setting = option.name.to_lowercase().replace('_', ".");
                plan.extra.push((setting, text(option)?));
            }
            "TIMESTAMP_FREQUENCY_MS"
            | "ENABLE_AUTO_COMMIT"
            | "STATISTICS_INTERVAL_MS"
            | "IGNORE_SOURCE_KEYS"
            | "CACHE" => no_effect(planner, &format!("WITH ({} = …)", option.name.to_lowercase())),
            "SIZE" => no_effect(planner, "WITH (SIZE = …)"),
            _ => rest.push(option.clone()),
        }
    }
    // Today's default is SSL; the old form's was no encryption.
    let sasl = plan.sasl_mechanism.is_some() || plan.sasl_username.is_some();
    let old_default = if sasl { "SASL_SSL" } else { "PLAINTEXT" };
    finish(planner, &mut plan, Some(protocol.unwrap_or_else(|| old_default.into())))?;
    Ok((plan, rest))
}

/// Events a second of a generator that is given neither a rate nor a number of events; `RATE 0` is as fast as it goes.
const DEFAULT_RATE: u64 = 1_000;

fn generator(kind: &str, options: &[WithOption]) -> Result<SourceFrom, SqlError> {
    let number = |option: &WithOption| {
        let n = integer(&option.name, &text(option)?)?;
        u64::try_from(n).map_err(|_| {
            SqlError::new(code::INVALID_PARAMETER_VALUE, format!("{} must not be negative", option.name))
        })
    };
    match kind {
        "SEGMENT" => {
            let (mut seed, mut rate, mut events, mut unlimited) = (0, None, None, false);
            for option in options {
                match option.name.as_str() {
                    "SEED" => seed = number(option)?,
                    "RATE" => {
                        rate = Some(number(option)?).filter(|r| *r > 0);
                        unlimited = rate.is_none();
                    }
                    "TICK INTERVAL" => {
                        let each = interval(option)?.as_secs_f64().max(1e-6);
                        rate = Some(((1.0 / each).round() as u64).max(1));
                    }
                    "EVENTS" | "UP TO" => events = Some(number(option)?),
                    _ => return Err(unknown_option(option)),
                }
            }
            // Without a bound of its own it must not fill the disk as fast as it can.
            if rate.is_none() && events.is_none() && !unlimited {
                rate = Some(DEFAULT_RATE);
            }
            Ok(SourceFrom::GeneratorSegment { seed, rate, events })
        }
        "COUNTER" => {
            let (mut every, mut max_cardinality) = (Duration::from_secs(1), None);
            for option in options {
                match option.name.as_str() {
                    "TICK INTERVAL" => every = interval(option)?,
                    "MAX CARDINALITY" => max_cardinality = Some(number(option)?),
                    _ => return Err(unknown_option(option)),
                }
            }
            Ok(SourceFrom::GeneratorCounter { interval: every, max_cardinality })
        }
        other => Err(unsupported(&format!("LOAD GENERATOR {other}"), "SEGMENT and COUNTER are there.")),
    }
}

fn integer(name: &str, value: &str) -> Result<i64, SqlError> {
    value.trim().parse().map_err(|_| {
        SqlError::new(code::INVALID_PARAMETER_VALUE, format!("invalid {name}: \"{value}\" is not an integer"))
    })
}

/// `RETAIN HISTORY FOR '…'`, whose value is an interval: how far back the object can be read.
pub(crate) fn is_history(option: &WithOption) -> bool {
    matches!(option.name.as_str(), "RETAIN HISTORY FOR" | "RETAIN HISTORY")
}

/// The options of an object that has only `RETAIN HISTORY FOR`; others have no effect. And how a statement says it.
pub(crate) fn history(
    planner: &Planner<'_>,
    options: &[WithOption],
) -> Result<(Option<Duration>, String), SqlError> {
    let mut found = (None, String::new());
    for option in options {
        if is_history(option) {
            let value = quote_string(&text(option)?);
            found = (Some(interval(option)?), format!(" WITH (RETAIN HISTORY FOR {value})"));
        } else {
            planner.no_effect(&format!("WITH ({})", option.name));
        }
    }
    Ok(found)
}

/// An option's value as a span of time.
pub(crate) fn interval(option: &WithOption) -> Result<Duration, SqlError> {
    let value = text(option)?;
    duration(&value).ok_or_else(|| {
        SqlError::new(
            code::INVALID_PARAMETER_VALUE,
            format!("invalid {}: \"{value}\" is not an interval", option.name),
        )
    })
}

/// `'7 days'`, or a number of bytes: `'10 GB'`, `5000000`.
fn parse_retention(option: &WithOption) -> Result<Retention, SqlError> {
    let value = text(option)?;
    let invalid = || {
        SqlError::new(
            code::INVALID_PARAMETER_VALUE,
            format!("invalid {}: \"{value}\" is neither an interval nor a number of bytes", option.name),
        )
        .with_hint("Write RETENTION = '7 days' or RETENTION = '10 GB'.")
    };
    let digits = value.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match value.trim()[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => Some(1),
        "KB" => Some(1 << 10),
        "MB" => Some(1 << 20),
        "GB" => Some(1 << 30),
        "TB" => Some(1 << 40),
        _ => None,
    };
    let bytes = unit.zip(digits.trim().parse::<u64>().ok());
    let retention = match bytes {
        Some((unit, n)) => Retention::Bytes(n.checked_mul(unit).ok_or_else(invalid)?),
        None => Retention::Age(duration(&value).ok_or_else(invalid)?),
    };
    match retention {
        Retention::Bytes(0) | Retention::Age(Duration::ZERO) => Err(invalid()),
        retention => Ok(retention),
    }
}

/// An interval of no months as a span of time.
pub(crate) fn duration(value: &str) -> Option<Duration> {
    let interval = repr::time::parse_interval(value).ok()?;
    let micros = i64::from(interval.days).checked_mul(86_400_000_000)?.checked_add(interval.micros)?;
    if interval.months != 0 { None } else { Some(Duration::from_micros(u64::try_from(micros).ok()?)) }
}
