//! `SUBSCRIBE [TO] …`, and `TAIL …` as the old binary called it.

use repr::SqlError;
use repr::error::code;
use sqlparser::ast::{Expr, Ident, ObjectName};
use sqlparser::tokenizer::Token;

use crate::ast::{AsOf, Query, WithOption};
use crate::parse::{Heads, fold};
use crate::plan::{Plan, SubscribeOutput, SubscribePlan};
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Subscribe(Box<Subscribe>),
}

/// A subscription as written.
#[derive(Debug)]
pub(crate) struct Subscribe {
    of: Of,
    output: Output,
    with: Vec<WithOption>,
    as_of: Option<AsOf>,
    up_to: Option<Expr>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one a statement")]
enum Of {
    Name(ObjectName),
    Query(Query),
}

#[derive(Debug)]
enum Output {
    Diffs,
    Upsert(Vec<Ident>),
    Debezium(Vec<Ident>),
    OrderBy(Vec<(Expr, bool, Option<bool>)>),
}

/// Behind `SUBSCRIBE` or `TAIL`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    p.word("to");
    let of = if p.token(&Token::LParen) {
        let query = p.query()?;
        p.expect_token(&Token::RParen)?;
        Of::Query(query)
    } else {
        Of::Name(p.object_name()?)
    };
    let mut output = Output::Diffs;
    if p.word("envelope") {
        let Some(kind) = p.one_of(&["upsert", "debezium"]) else { return Err(p.error("UPSERT or DEBEZIUM")) };
        p.expect_token(&Token::LParen)?;
        p.expect("key")?;
        let key = p.parenthesized(|p| p.ident())?;
        p.expect_token(&Token::RParen)?;
        output = if kind == "upsert" { Output::Upsert(key) } else { Output::Debezium(key) };
    } else if p.word("within timestamp order by") {
        output = Output::OrderBy(p.comma_separated(|p| {
            let expr = p.expr()?;
            let desc = p.one_of(&["asc", "desc"]) == Some("desc");
            let nulls_first = p.one_of(&["nulls first", "nulls last"]).map(|n| n == "nulls first");
            Ok((expr, desc, nulls_first))
        })?);
    }
    let with = p.known_options(&["SNAPSHOT", "PROGRESS"])?;
    let as_of = p.as_of()?;
    let up_to = if p.word("up to") { Some(p.expr()?) } else { None };
    Ok(Statement::Subscribe(Box::new(Subscribe { of, output, with, as_of, up_to })))
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    let Statement::Subscribe(s) = statement;
    let (mut snapshot, mut progress) = (true, false);
    for option in &s.with {
        match option.name.as_str() {
            "SNAPSHOT" => snapshot = super::connection::boolean(option)?,
            "PROGRESS" => progress = super::connection::boolean(option)?,
            _ => return Err(super::connection::unknown_option(option)),
        }
    }
    let select = match s.of {
        Of::Query(query) => planner.plan_maintained(&query)?,
        Of::Name(name) => planner.plan_maintained_object(&name)?,
    };
    let (relation, desc) = select;
    let position = |name: &Ident| {
        let name = fold(name);
        desc.columns
            .iter()
            .position(|c| c.name == name)
            .ok_or_else(|| SqlError::new(code::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist")))
    };
    let positions = |key: &[Ident]| key.iter().map(position).collect::<Result<Vec<usize>, SqlError>>();
    let output = match &s.output {
        Output::Diffs => SubscribeOutput::Diffs,
        Output::Upsert(key) => SubscribeOutput::Upsert(positions(key)?),
        Output::Debezium(key) => SubscribeOutput::Debezium(positions(key)?),
        Output::OrderBy(order) => {
            let mut columns = vec![];
            for (expr, desc, nulls_first) in order {
                let Expr::Identifier(name) = expr else {
                    return Err(crate::plan::unsupported(
                        "WITHIN TIMESTAMP ORDER BY of an expression",
                        "Order by a column of the subscription.",
                    ));
                };
                columns.push(plan::ColumnOrder {
                    column: position(name)?,
                    desc: *desc,
                    nulls_first: nulls_first.unwrap_or(*desc),
                });
            }
            SubscribeOutput::WithinTimestampOrderBy(columns)
        }
    };
    let as_of = s.as_of.map(|a| {
        Ok::<_, SqlError>(crate::plan::AsOf { time: planner.plan_constant(&a.time)?, at_least: a.at_least })
    });
    let up_to = s.up_to.map(|e| planner.plan_constant(&e)).transpose()?;
    Ok(Plan::Subscribe(SubscribePlan {
        relation,
        desc,
        snapshot,
        progress,
        as_of: as_of.transpose()?,
        up_to,
        output,
    }))
}
