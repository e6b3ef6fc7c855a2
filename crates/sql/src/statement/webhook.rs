//! `FROM WEBHOOK` and `FROM SEGMENT`: records that others post, and what a request must fulfil to be taken.
//!
//! ```text
//!   FROM WEBHOOK BODY FORMAT {TEXT | JSON [ARRAY] | BYTES}
//!     [INCLUDE HEADER 'h' AS column [BYTES]] … [INCLUDE HEADERS [([NOT] 'h', …)]]
//!     [CHECK ([WITH (BODY [AS a] [BYTES], HEADERS [AS a] [BYTES], SECRET s [AS a] [BYTES], …)] condition)]
//!   FROM SEGMENT [(WRITE KEY = SECRET k, STRICT, FAIL RATE = 0.1, STATUS = 429, RETRY AFTER = '2 s', DELAY = '1 s')]
//! ```
//!
//! The condition is planned over one row, whose columns are what `WITH` names.

use std::rc::Rc;

use plan::ScalarExpr;
use plan::scalar::Context;
use repr::error::code;
use repr::{GlobalId, ScalarType, SqlError};
use sqlparser::ast::{Expr, Ident, ObjectName};
use sqlparser::tokenizer::Token;

use super::connection::{boolean, text, unknown_option};
use super::names;
use super::source::{interval, no_effect};
use crate::ast::{OptionValue, WithOption};
use crate::catalog::ItemKind;
use crate::expr::Ctx;
use crate::hirs;
use crate::parse::{Heads, fold, quote, quote_string};
use crate::plan::{
    BodyFormat, Check, CheckInput, HeaderFilter, SegmentFaults, SegmentPlan, WebhookPlan, unsupported,
};
use crate::planner::Planner;
use crate::scope::{Env, Scope, ScopeTable};

/// As written.
#[derive(Debug)]
pub(super) struct Webhook {
    format: BodyFormat,
    mapped: Vec<Mapped>,
    headers: HeaderFilter,
    check: Option<(Vec<Input>, Box<Expr>)>,
}

/// `INCLUDE HEADER 'h' AS column [BYTES]`.
#[derive(Debug)]
struct Mapped {
    header: String,
    column: Ident,
    bytes: bool,
}

/// What `CHECK (WITH (…))` names.
#[derive(Debug)]
struct Input {
    what: Named,
    alias: Option<Ident>,
    bytes: bool,
}

#[derive(Debug)]
enum Named {
    Body,
    Headers,
    Secret(ObjectName),
}

/// Behind `FROM WEBHOOK`.
pub(super) fn parse(p: &mut Heads<'_>) -> Result<Webhook, SqlError> {
    p.expect("body format")?;
    let format = match p.one_of(&["text", "json", "bytes"]) {
        Some("text") => BodyFormat::Text,
        Some("bytes") => BodyFormat::Bytes,
        Some(_) => BodyFormat::Json { array: p.word("array") },
        None => return Err(p.error("TEXT, JSON or BYTES")),
    };
    let (mut mapped, mut headers) = (vec![], HeaderFilter::None);
    loop {
        let comma = p.token(&Token::Comma);
        if !p.word("include") {
            if comma {
                return Err(p.error("INCLUDE"));
            }
            break;
        }
        if p.word("header") {
            let header = p.string()?.to_lowercase();
            p.expect("as")?;
            let column = p.ident()?;
            mapped.push(Mapped { header, column, bytes: p.word("bytes") });
            continue;
        }
        p.expect("headers")?;
        headers = HeaderFilter::Except(vec![]);
        if *p.peek() == Token::LParen {
            let names = p.parenthesized(|p| Ok((p.word("not"), p.string()?.to_lowercase())))?;
            let not = |(not, _): &(bool, String)| *not;
            headers = match (names.iter().all(not), names.iter().any(not)) {
                (true, _) => HeaderFilter::Except(names.into_iter().map(|(_, n)| n).collect()),
                // What is named is kept; with that, NOT takes nothing away that would be there.
                (false, _) => HeaderFilter::Only(names.into_iter().filter(|n| !n.0).map(|n| n.1).collect()),
            };
        }
    }
    let check = if p.word("check") { Some(parse_check(p)?) } else { None };
    Ok(Webhook { format, mapped, headers, check })
}

fn parse_check(p: &mut Heads<'_>) -> Result<(Vec<Input>, Box<Expr>), SqlError> {
    p.expect_token(&Token::LParen)?;
    let mut inputs = vec![];
    if p.word("with") {
        inputs = p.parenthesized(|p| {
            let what = match p.one_of(&["body", "headers", "secret"]) {
                Some("body") => Named::Body,
                Some("headers") => Named::Headers,
                Some(_) => Named::Secret(p.object_name()?),
                None => return Err(p.error("BODY, HEADERS or SECRET")),
            };
            let alias = if p.word("as") { Some(p.ident()?) } else { None };
            Ok(Input { what, alias, bytes: p.word("bytes") })
        })?;
    } else {
        inputs.extend([Named::Body, Named::Headers].map(|what| Input { what, alias: None, bytes: false }));
    }
    let condition = p.expr()?;
    p.expect_token(&Token::RParen)?;
    Ok((inputs, Box::new(condition)))
}

impl Webhook {
    /// The query over raw records that makes its columns.
    pub(super) fn definition(&self) -> String {
        let text = "convert_from(value, 'utf8')";
        let mut columns = vec![match self.format {
            BodyFormat::Text => format!("{text} AS body"),
            BodyFormat::Json { .. } => format!("CAST({text} AS jsonb) AS body"),
            BodyFormat::Bytes => "value AS body".into(),
        }];
        if self.headers != HeaderFilter::None {
            // Headers that are kept only for a column of their own do not belong to the map.
            let apart = self.mapped.iter().filter(|m| !self.headers.admits(&m.header));
            let apart: Vec<String> = apart.map(|m| quote_string(&m.header)).collect();
            columns.push(format!("header_map(headers, ARRAY[{}]::text[]) AS headers", apart.join(", ")));
        }
        for m in &self.mapped {
            let function = if m.bytes { "header_bytes" } else { "header_text" };
            let header = quote_string(&m.header);
            columns.push(format!("{function}(headers, {header}) AS {}", quote(&fold(&m.column))));
        }
        format!("SELECT {} FROM mz_internal.raw", columns.join(", "))
    }

    /// Looks up what it names and plans its condition. The secrets are used by the source.
    pub(super) fn plan(
        &self,
        planner: &Planner<'_>,
        uses: &mut Vec<GlobalId>,
    ) -> Result<WebhookPlan, SqlError> {
        let check = self.check.as_ref().map(|(inputs, condition)| check(planner, inputs, condition, uses));
        Ok(WebhookPlan {
            format: self.format,
            headers: self.headers.clone(),
            mapped: self.mapped.iter().map(|m| m.header.clone()).collect(),
            check: check.transpose()?,
        })
    }
}

fn check(
    planner: &Planner<'_>,
    written: &[Input],
    condition: &Expr,
    uses: &mut Vec<GlobalId>,
) -> Result<Check, SqlError> {
    let (mut inputs, mut columns) = (vec![], vec![]);
    for Input { what, alias, bytes } in written {
        let bytes = *bytes;
        let one = if bytes { ScalarType::Bytes } else { ScalarType::Text };
        let (input, name, ty) = match what {
            Named::Body => (CheckInput::Body { bytes }, "body".into(), one),
            Named::Headers => {
                (CheckInput::Headers { bytes }, "headers".into(), ScalarType::Map(Box::new(one)))
            }
            Named::Secret(secret) => {
                let item = names::existing(planner, secret, ItemKind::Secret)?;
                uses.push(item.id);
                (CheckInput::Secret { id: item.id, bytes }, item.name.item.clone(), one)
            }
        };
        inputs.push(input);
        columns.push((alias.as_ref().map_or(name, fold), ty.nullable(false)));
    }
    let table = ScopeTable { alias: "request".into(), schema: None, scalar: false, hidden: None };
    let (scope, env) = (Rc::new(Scope::of(table, columns)), Env::default());
    let planned = planner.plan_bool(&Ctx::plain(&scope, &env, "CHECK"), condition, "CHECK")?;
    let condition = planner.at(condition, hirs::to_scalar(planned))?;
    let (mut constant, mut foreign) = (true, None);
    condition.walk(&mut |e| match e {
        ScalarExpr::Column(_) => constant = false,
        ScalarExpr::Context(c) if *c != Context::Now => foreign = Some(c.name()),
        _ => {}
    });
    if let Some(name) = foreign {
        return Err(unsupported(&format!("{name} in CHECK"), "Of its kind only now() is known."));
    }
    if constant && !inputs.is_empty() {
        return Err(SqlError::new(
            code::INVALID_PARAMETER_VALUE,
            "CHECK does not reference any columns from BODY, HEADERS or SECRET",
        ));
    }
    Ok(Check { inputs, condition })
}

/// The columns of events that came over Segment's Tracking API: each is stored as Segment's destinations get it.
pub(super) const SEGMENT: &str = "SELECT body->>'messageId' AS message_id, body->>'type' AS type,
        body->>'userId' AS user_id, body->>'anonymousId' AS anonymous_id, body->>'event' AS event,
        received_at, try_parse_timestamptz(body->>'sentAt') AS sent_at,
        try_parse_timestamptz(body->>'originalTimestamp') AS original_timestamp,
        try_parse_timestamptz(body->>'timestamp') AS \"timestamp\", body, over_limits
    FROM (SELECT CAST(convert_from(value, 'utf8') AS jsonb) AS body, \"timestamp\" AS received_at,
                 header_text(headers, 'over-limits') AS over_limits
          FROM mz_internal.raw) AS event";

/// The options of `FROM SEGMENT`.
pub(super) fn segment(
    planner: &Planner<'_>,
    options: &[WithOption],
    uses: &mut Vec<GlobalId>,
) -> Result<SegmentPlan, SqlError> {
    let invalid = |option: &WithOption, what: &str| {
        SqlError::new(code::INVALID_PARAMETER_VALUE, format!("invalid {}: {what} is needed", option.name))
    };
    let mut plan = SegmentPlan::default();
    let mut faults = SegmentFaults { status: 500, ..SegmentFaults::default() };
    for option in options {
        match option.name.as_str() {
            "WRITE KEY" | "WRITE KEYS" => {
                let values = match &option.value {
                    Some(OptionValue::List(list)) => list.clone(),
                    Some(one) => vec![one.clone()],
                    None => vec![],
                };
                for value in values {
                    let OptionValue::Secret(name) = &value else {
                        return Err(invalid(option, "a secret")
                            .with_hint("Create a secret and write WRITE KEY = SECRET name."));
                    };
                    let id = names::existing(planner, name, ItemKind::Secret)?.id;
                    uses.push(id);
                    plan.write_keys.push(id);
                }
            }
            "STRICT" => plan.strict = boolean(option)?,
            "FAIL RATE" => {
                let rate: f64 = text(option)?.parse().unwrap_or(f64::NAN);
                if !(0.0..=1.0).contains(&rate) {
                    return Err(invalid(option, "a number from 0 to 1"));
                }
                faults.failing = (rate * 1e6).round() as u32;
            }
            "STATUS" => {
                let status = text(option)?.parse().ok().filter(|s| (200..600).contains(s));
                faults.status = status.ok_or_else(|| invalid(option, "an HTTP status from 200 to 599"))?;
            }
            "RETRY AFTER" => {
                let text = text(option)?;
                let seconds =
                    text.parse().ok().map_or_else(|| Ok(interval(option)?.as_secs()), Ok::<u64, SqlError>);
                faults.retry_after = Some(seconds?);
            }
            "DELAY" => faults.delay = interval(option)?,
            _ => return Err(unknown_option(option)),
        }
    }
    if faults.failing == 0 && options.iter().any(|o| ["STATUS", "RETRY AFTER"].contains(&o.name.as_str())) {
        no_effect(planner, "STATUS or RETRY AFTER without FAIL RATE");
    }
    plan.faults = faults;
    Ok(plan)
}
