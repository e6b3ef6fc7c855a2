//! `CREATE CONNECTION … TO KAFKA (…)`, `… TO SEGMENT (…)` and `VALIDATE CONNECTION …`.
//!
//! The options are Materialize's; the same connection can be written as librdkafka's settings in the old source form
//! (see [`KafkaConnectionPlan`] and `source.rs`).

use repr::error::code;
use repr::{GlobalId, SqlError};
use sqlparser::ast::ObjectName;

use super::names;
use crate::ast::{OptionValue, WithOption};
use crate::catalog::ItemKind;
use crate::parse::Heads;
use crate::plan::{
    ConnectionPlan, CreateItem, CreatePlan, KafkaConnectionPlan, Plan, SegmentConnectionPlan, StringOrSecret,
    unsupported,
};
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Create {
        name: ObjectName,
        if_not_exists: bool,
        to: String,
        options: Vec<WithOption>,
        with: Vec<WithOption>,
        tail: String,
    },
    Validate(ObjectName),
}

/// Behind `CREATE CONNECTION`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let if_not_exists = p.if_not_exists();
    let name = p.object_name()?;
    let from = p.here();
    if !p.word("to") {
        p.expect("for")?;
    }
    let to = p.ident()?.value.to_uppercase();
    let options = p.options()?;
    let tail = p.since(from).to_string();
    let with = p.with_options()?;
    Ok(Statement::Create { name, if_not_exists, to, options, with, tail })
}

/// From `VALIDATE CONNECTION`.
pub(crate) fn parse_validate(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    p.expect("validate connection")?;
    Ok(Statement::Validate(p.object_name()?))
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    match statement {
        Statement::Validate(name) => {
            Ok(Plan::ValidateConnection(names::existing(planner, &name, ItemKind::Connection)?.id))
        }
        Statement::Create { name, if_not_exists, to, options, with, tail } => {
            if to != "KAFKA" && to != "SEGMENT" {
                let instead = "Connections go TO KAFKA or TO SEGMENT.";
                return Err(unsupported(&format!("a connection to {to}"), instead));
            }
            let name = names::new_name(planner, &name)?;
            let mut validate = true;
            for option in &with {
                match option.name.as_str() {
                    "VALIDATE" => validate = boolean(option)?,
                    _ => return Err(unknown_option(option)),
                }
            }
            let mut uses = vec![];
            let connection = match to.as_str() {
                "SEGMENT" => ConnectionPlan::Segment(segment_options(planner, &options, &mut uses)?),
                _ => ConnectionPlan::Kafka(kafka_options(planner, &options, &mut uses)?),
            };
            let create_sql =
                format!("CREATE CONNECTION {} {}", names::quoted(&name), planner.canonical_tail(&tail));
            Ok(Plan::Create(Box::new(CreatePlan {
                name,
                create_sql,
                replace: None,
                if_not_exists,
                temporary: false,
                uses,
                retain_history: None,
                desc: None,
                item: CreateItem::Connection { connection, validate },
            })))
        }
    }
}

/// The options of `TO SEGMENT (…)`.
fn segment_options(
    planner: &Planner<'_>,
    options: &[WithOption],
    uses: &mut Vec<GlobalId>,
) -> Result<SegmentConnectionPlan, SqlError> {
    let (mut url, mut write_key, mut rate) = (None, None, 1_000.0);
    for option in options {
        match option.name.as_str() {
            "WRITE KEY" => write_key = Some(secret(planner, option, uses)?),
            "URL" => {
                let text = text(option)?;
                if !(text.starts_with("https://") || text.starts_with("http://")) {
                    return Err(SqlError::new(
                        code::INVALID_PARAMETER_VALUE,
                        format!("invalid URL: \"{text}\" does not begin with https://"),
                    ));
                }
                url = Some(text);
            }
            "RATE LIMIT" => {
                rate = text(option)?.parse().unwrap_or(f64::NAN);
                if !(0.01..=100_000.0).contains(&rate) {
                    let message = "invalid RATE LIMIT: a number from 0.01 to 100000 is needed";
                    return Err(SqlError::new(code::INVALID_PARAMETER_VALUE, message));
                }
            }
            _ => return Err(unknown_option(option)),
        }
    }
    match write_key {
        Some(StringOrSecret::Secret(write_key)) => Ok(SegmentConnectionPlan { url, write_key, rate }),
        _ => Err(SqlError::new(code::INVALID_PARAMETER_VALUE, "must specify WRITE KEY")
            .with_hint("Create a secret and write WRITE KEY = SECRET name.")),
    }
}

/// The options of `TO KAFKA (…)`.
fn kafka_options(
    planner: &Planner<'_>,
    options: &[WithOption],
    uses: &mut Vec<GlobalId>,
) -> Result<KafkaConnectionPlan, SqlError> {
    let mut plan = KafkaConnectionPlan::default();
    let mut protocol = None;
    for option in options {
        // `SECURITY PROTOCOL SASL_SSL`: words without `=` run into the name.
        let (name, value) = match ["SECURITY PROTOCOL ", "SASL MECHANISMS ", "SASL USERNAME "]
            .iter()
            .find_map(|n| Some((n.trim(), option.name.strip_prefix(n)?)))
        {
            Some((name, word)) if option.value.is_none() => (name, Some(OptionValue::Word(word.into()))),
            _ => (option.name.as_str(), option.value.clone()),
        };
        let option = WithOption { name: name.into(), value, at: option.at };
        match name {
            "BROKER" => plan.brokers = vec![text(&option)?],
            "BROKERS" => match &option.value {
                Some(OptionValue::List(list)) => {
                    let items =
                        list.iter().map(|v| text(&WithOption { value: Some(v.clone()), ..option.clone() }));
                    plan.brokers = items.collect::<Result<_, _>>()?;
                }
                _ => plan.brokers = text(&option)?.split(',').map(|b| b.trim().to_string()).collect(),
            },
            "SECURITY PROTOCOL" => protocol = Some(text(&option)?.to_uppercase()),
            "SASL MECHANISMS" => plan.sasl_mechanism = Some(text(&option)?.to_uppercase()),
            "SASL USERNAME" => plan.sasl_username = Some(text_or_secret(planner, &option, uses)?),
            "SASL PASSWORD" => plan.sasl_password = Some(secret(planner, &option, uses)?),
            "SSL CERTIFICATE AUTHORITY" => plan.ssl_ca = Some(text_or_secret(planner, &option, uses)?),
            "SSL CERTIFICATE" => plan.ssl_certificate = Some(text_or_secret(planner, &option, uses)?),
            "SSL KEY" => plan.ssl_key = Some(secret(planner, &option, uses)?),
            "PROGRESS TOPIC" => plan.progress_topic = Some(text(&option)?),
            "PROGRESS TOPIC REPLICATION FACTOR" => {
                let n: i32 = text(&option)?.parse().unwrap_or(0);
                if n != -1 && n < 1 {
                    let message = format!("invalid {name}: a number from 1 is needed");
                    return Err(SqlError::new(code::INVALID_PARAMETER_VALUE, message));
                }
                plan.progress_replication = Some(n).filter(|n| *n > 0);
            }
            "SSH TUNNEL" | "AWS CONNECTION" | "AWS PRIVATELINK" => {
                return Err(unsupported(&option.name, "Give the broker's own address."));
            }
            _ => return Err(unknown_option(&option)),
        }
    }
    if plan.brokers.is_empty() {
        return Err(SqlError::new(code::INVALID_PARAMETER_VALUE, "must specify a broker")
            .with_hint("Add BROKER 'host:port'."));
    }
    finish(planner, &mut plan, protocol)?;
    Ok(plan)
}

/// The protocol that the options imply, and whether they fit it.
pub(crate) fn finish(
    planner: &Planner<'_>,
    plan: &mut KafkaConnectionPlan,
    protocol: Option<String>,
) -> Result<(), SqlError> {
    let sasl = plan.sasl_mechanism.is_some() || plan.sasl_username.is_some() || plan.sasl_password.is_some();
    let given = protocol.is_some();
    plan.security_protocol = protocol.unwrap_or_else(|| if sasl { "SASL_SSL" } else { "SSL" }.into());
    if !["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"].contains(&plan.security_protocol.as_str()) {
        return Err(SqlError::new(
            code::INVALID_PARAMETER_VALUE,
            format!("unknown security protocol: {}", plan.security_protocol),
        )
        .with_hint("PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL are known."));
    }
    if !given && plan.security_protocol == "SSL" && plan.ssl_ca.is_none() {
        planner.notice(
            SqlError::new(repr::SqlState::new("00000"), "the connection uses SSL, the default")
                .with_hint("For a local broker without encryption add SECURITY PROTOCOL PLAINTEXT."),
        );
    }
    if plan.security_protocol.starts_with("SASL") {
        let missing = match (&plan.sasl_mechanism, &plan.sasl_username, &plan.sasl_password) {
            (None, ..) => Some("SASL MECHANISMS"),
            (_, None, _) => Some("SASL USERNAME"),
            (_, _, None) => Some("SASL PASSWORD"),
            _ => None,
        };
        if let Some(missing) = missing {
            return Err(SqlError::new(code::INVALID_PARAMETER_VALUE, format!("{missing} must be specified")));
        }
    }
    match plan.sasl_mechanism.as_deref() {
        None | Some("PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512") => Ok(()),
        Some("GSSAPI") => {
            Err(SqlError::new(code::FEATURE_NOT_SUPPORTED, "No provider for SASL mechanism GSSAPI"))
        }
        Some(other) => {
            Err(SqlError::new(code::INVALID_PARAMETER_VALUE, format!("Unsupported SASL mechanism: {other}"))
                .with_hint("PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 are supported."))
        }
    }
}

/// An option's value as text.
pub(crate) fn text(option: &WithOption) -> Result<String, SqlError> {
    match &option.value {
        Some(OptionValue::String(s) | OptionValue::Word(s) | OptionValue::Number(s)) => Ok(s.clone()),
        _ => Err(SqlError::new(
            code::INVALID_PARAMETER_VALUE,
            format!("invalid {}: a string is needed", option.name),
        )),
    }
}

/// An option's value as a truth value; without a value it is true.
pub(crate) fn boolean(option: &WithOption) -> Result<bool, SqlError> {
    let word = match &option.value {
        None => return Ok(true),
        Some(OptionValue::String(s) | OptionValue::Word(s) | OptionValue::Number(s)) => s.to_lowercase(),
        Some(_) => String::new(),
    };
    match word.as_str() {
        "true" | "on" | "1" | "yes" => Ok(true),
        "false" | "off" | "0" | "no" => Ok(false),
        _ => Err(SqlError::new(
            code::INVALID_PARAMETER_VALUE,
            format!("invalid {}: true or false is needed", option.name),
        )),
    }
}

fn text_or_secret(
    planner: &Planner<'_>,
    option: &WithOption,
    uses: &mut Vec<GlobalId>,
) -> Result<StringOrSecret, SqlError> {
    match &option.value {
        Some(OptionValue::Secret(_)) => secret(planner, option, uses),
        _ => Ok(StringOrSecret::String(text(option)?)),
    }
}

fn secret(
    planner: &Planner<'_>,
    option: &WithOption,
    uses: &mut Vec<GlobalId>,
) -> Result<StringOrSecret, SqlError> {
    let Some(OptionValue::Secret(name)) = &option.value else {
        return Err(SqlError::new(
            code::INVALID_PARAMETER_VALUE,
            format!("invalid {}: must provide a secret value", option.name),
        )
        .with_hint(format!("Create a secret and write {} = SECRET name.", option.name)));
    };
    let id = names::existing(planner, name, ItemKind::Secret)?.id;
    uses.push(id);
    Ok(StringOrSecret::Secret(id))
}

/// The error for an option that nobody knows.
pub(crate) fn unknown_option(option: &WithOption) -> SqlError {
    SqlError::new(code::SYNTAX_ERROR, format!("unknown option {}", option.name))
}
