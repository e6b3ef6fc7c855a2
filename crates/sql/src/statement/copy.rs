//! `COPY … TO STDOUT` and `COPY … FROM STDIN`.

use repr::SqlError;
use repr::error::code;
use sqlparser::ast::{Ident, ObjectName};
use sqlparser::tokenizer::Token;

use super::{names, subscribe};
use crate::ast::{OptionValue, Query, WithOption};
use crate::catalog::ItemKind;
use crate::parse::{Heads, fold};
use crate::plan::{CopyFormat, Plan};
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one a statement")]
pub(crate) enum Statement {
    Query { query: Query, options: Vec<WithOption> },
    Subscribe { subscribe: subscribe::Statement, options: Vec<WithOption> },
    Table { name: ObjectName, columns: Vec<Ident>, options: Vec<WithOption> },
    From { table: ObjectName, columns: Vec<Ident>, options: Vec<WithOption> },
}

/// Behind `COPY`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    if p.token(&Token::LParen) {
        let subscribe = if p.word("subscribe") || p.word("tail") { Some(subscribe::parse(p)?) } else { None };
        let query = if subscribe.is_none() { Some(p.query()?) } else { None };
        p.expect_token(&Token::RParen)?;
        p.expect("to")?;
        p.expect("stdout")?;
        let options = options(p)?;
        return Ok(match (subscribe, query) {
            (Some(subscribe), _) => Statement::Subscribe { subscribe, options },
            (None, Some(query)) => Statement::Query { query, options },
            (None, None) => return Err(p.error("a query")),
        });
    }
    p.word("into");
    let table = p.object_name()?;
    let columns = if *p.peek() == Token::LParen { p.parenthesized(|p| p.ident())? } else { vec![] };
    if p.word("to") {
        p.expect("stdout")?;
        return Ok(Statement::Table { name: table, columns, options: options(p)? });
    }
    p.expect("from")?;
    p.expect("stdin")?;
    Ok(Statement::From { table, columns, options: options(p)? })
}

/// `[WITH] (FORMAT …)`, or the old `[WITH] CSV HEADER`.
fn options(p: &mut Heads<'_>) -> Result<Vec<WithOption>, SqlError> {
    p.word("with");
    if *p.peek() == Token::LParen {
        return p.options();
    }
    let mut options = vec![];
    loop {
        let at = p.here();
        let Some(word) =
            p.one_of(&["csv", "text", "binary", "header", "delimiter", "null", "quote", "escape"])
        else {
            return Ok(options);
        };
        p.word("as");
        let (name, value) = match word {
            "csv" | "text" | "binary" => ("FORMAT", Some(OptionValue::Word(word.into()))),
            "header" => ("HEADER", None),
            _ => (word, Some(OptionValue::String(p.string()?))),
        };
        options.push(WithOption { name: name.to_uppercase(), value, at });
    }
}

fn format(options: &[WithOption]) -> Result<CopyFormat, SqlError> {
    let mut format = String::from("text");
    let (mut delimiter, mut null, mut quote, mut escape, mut header) = (None, None, None, None, false);
    for option in options {
        let character = || {
            let text = super::connection::text(option)?;
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) if c.is_ascii() && c != '\n' && c != '\r' => Ok(Some(c)),
                _ => Err(SqlError::new(
                    code::FEATURE_NOT_SUPPORTED,
                    format!("COPY {} must be a single one-byte character", option.name.to_lowercase()),
                )),
            }
        };
        match option.name.as_str() {
            "FORMAT" => format = super::connection::text(option)?.to_lowercase(),
            // `FORMAT CSV`, without `=`, runs into the name.
            "FORMAT TEXT" => format = "text".into(),
            "FORMAT CSV" => format = "csv".into(),
            "FORMAT BINARY" => format = "binary".into(),
            "DELIMITER" => delimiter = character()?,
            "NULL" => null = Some(super::connection::text(option)?),
            "QUOTE" => quote = character()?,
            "ESCAPE" => escape = character()?,
            "HEADER" => header = super::connection::boolean(option)?,
            "HEADER TRUE" | "HEADER ON" => header = true,
            "HEADER FALSE" | "HEADER OFF" => header = false,
            "ENCODING" => {}
            other => {
                return Err(SqlError::new(
                    code::SYNTAX_ERROR,
                    format!("option \"{}\" not recognized", other.to_lowercase()),
                ));
            }
        }
    }
    match format.as_str() {
        "text" => Ok(CopyFormat::Text {
            delimiter: delimiter.unwrap_or('\t'),
            null: null.unwrap_or_else(|| "\\N".into()),
        }),
        "csv" => {
            let quote = quote.unwrap_or('"');
            Ok(CopyFormat::Csv {
                delimiter: delimiter.unwrap_or(','),
                quote,
                escape: escape.unwrap_or(quote),
                null: null.unwrap_or_default(),
                header,
            })
        }
        "binary" => Ok(CopyFormat::Binary),
        other => Err(SqlError::new(
            code::INVALID_PARAMETER_VALUE,
            format!("COPY format \"{other}\" not recognized"),
        )),
    }
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    match statement {
        Statement::Query { query, options } => {
            let from = Box::new(Plan::Select(planner.plan_select(&query)?));
            Ok(Plan::CopyTo { from, format: format(&options)? })
        }
        Statement::Subscribe { subscribe, options } => {
            let from = Box::new(subscribe::plan(planner, subscribe)?);
            Ok(Plan::CopyTo { from, format: format(&options)? })
        }
        Statement::Table { name, columns, options } => {
            let list = if columns.is_empty() {
                "*".to_string()
            } else {
                columns.iter().map(|c| crate::parse::quote(&fold(c))).collect::<Vec<_>>().join(", ")
            };
            let parts: Vec<String> = names::parts(&name).iter().map(|p| crate::parse::quote(p)).collect();
            let sql = format!("SELECT {list} FROM {}", parts.join("."));
            let from = Box::new(Plan::Select(planner.plan_text(&sql)?));
            Ok(Plan::CopyTo { from, format: format(&options)? })
        }
        Statement::From { table, columns, options } => {
            let item = names::find(planner, &table)?.ok_or_else(|| {
                let shown = names::parts(&table).join(".");
                SqlError::new(code::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"))
            })?;
            if item.kind != ItemKind::Table {
                return Err(SqlError::new(
                    code::WRONG_OBJECT_TYPE,
                    format!("cannot copy to {} \"{}\"", names::kind_name(item.kind), item.name.item),
                ));
            }
            let desc = item.desc.as_ref().ok_or_else(|| SqlError::internal("a table has columns"))?;
            let position = |name: &Ident| {
                let name = fold(name);
                desc.columns.iter().position(|c| c.name == name).ok_or_else(|| {
                    SqlError::new(
                        code::UNDEFINED_COLUMN,
                        format!("column \"{name}\" of relation \"{}\" does not exist", item.name.item),
                    )
                })
            };
            let columns: Vec<usize> = if columns.is_empty() {
                (0..desc.arity()).collect()
            } else {
                columns.iter().map(position).collect::<Result<_, _>>()?
            };
            let mut defaults = vec![];
            for i in (0..desc.arity()).filter(|i| !columns.contains(i)) {
                if item.defaults.get(i).is_some_and(Option::is_some) {
                    defaults.push((i, crate::hirs::to_scalar(super::write::default(planner, item, i)?)?));
                }
            }
            Ok(Plan::CopyFrom { table: item.id, columns, defaults, format: format(&options)? })
        }
    }
}
