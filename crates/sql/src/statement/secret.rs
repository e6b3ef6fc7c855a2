//! `CREATE SECRET name AS value | FROM ENV 'X' | FROM FILE 'p'`.
//!
//! With `FROM ENV` and `FROM FILE` no secret need stand in a file of statements: the value is read when it is used.

use repr::error::code;
use repr::{Arena, Datum, SqlError};
use sqlparser::ast::{Expr, ObjectName};

use super::names;
use crate::parse::{Heads, quote_string};
use crate::plan::{CreateItem, CreatePlan, Plan, SecretValue};
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Create { name: ObjectName, if_not_exists: bool, value: Value },
}

/// Where the value comes from.
#[derive(Debug)]
pub(crate) enum Value {
    Expr(Box<Expr>),
    Env(String),
    File(String),
}

/// Behind `CREATE SECRET`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let if_not_exists = p.if_not_exists();
    let name = p.object_name()?;
    Ok(Statement::Create { name, if_not_exists, value: parse_value(p)? })
}

/// `AS expr`, `FROM ENV 'X'`, `FROM FILE 'p'`.
pub(crate) fn parse_value(p: &mut Heads<'_>) -> Result<Value, SqlError> {
    if p.word("from env") {
        return Ok(Value::Env(p.string()?));
    }
    if p.word("from file") {
        return Ok(Value::File(p.string()?));
    }
    p.expect("as")?;
    Ok(Value::Expr(Box::new(p.expr()?)))
}

/// The value; a literal is evaluated now.
pub(crate) fn plan_value(planner: &Planner<'_>, value: Value) -> Result<SecretValue, SqlError> {
    match value {
        Value::Env(variable) => Ok(SecretValue::Env(variable)),
        Value::File(path) => Ok(SecretValue::File(path)),
        Value::Expr(expr) => {
            let expr = planner.plan_constant(&expr)?;
            let arena = Arena::new();
            match expr.eval(&[], &arena)? {
                Datum::Text(s) => Ok(SecretValue::Literal(s.as_bytes().to_vec())),
                Datum::Bytes(b) => Ok(SecretValue::Literal(b.to_vec())),
                Datum::Null => Err(SqlError::new(code::NOT_NULL_VIOLATION, "secret value cannot be null")),
                _ => Err(SqlError::new(
                    code::DATATYPE_MISMATCH,
                    format!("AS must have type bytea, not type {}", expr.typ(&[]).scalar),
                )),
            }
        }
    }
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    let Statement::Create { name, if_not_exists, value } = statement;
    let name = names::new_name(planner, &name)?;
    let from = match &value {
        Value::Env(variable) => format!("FROM ENV {}", quote_string(variable)),
        Value::File(path) => format!("FROM FILE {}", quote_string(path)),
        Value::Expr(_) => "AS '<redacted>'".to_string(),
    };
    let create_sql = format!("CREATE SECRET {} {from}", names::quoted(&name));
    let item = CreateItem::Secret(plan_value(planner, value)?);
    Ok(Plan::Create(Box::new(CreatePlan {
        name,
        create_sql,
        replace: None,
        if_not_exists,
        temporary: false,
        uses: vec![],
        retain_history: None,
        desc: None,
        item,
    })))
}
