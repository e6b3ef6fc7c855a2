//! `SET`, `RESET`, `DISCARD` (from the first word).

use repr::{RelationDesc, ScalarType, SqlError};
use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, SelectItem, SetExpr};
use sqlparser::tokenizer::Token;

use crate::ast::Query;
use crate::hirs;
use crate::parse::{Heads, fold};
use crate::plan::Plan;
use crate::planner::Planner;

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    Set {
        name: String,
        value: Option<String>,
        local: bool,
    },
    ResetAll,
    /// `SET TRANSACTION …`.
    Transaction,
    Discard,
}

pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    if p.word("discard") {
        if p.one_of(&["all", "plans", "sequences", "temporary", "temp"]).is_none() {
            return Err(p.error("ALL"));
        }
        return Ok(Statement::Discard);
    }
    if p.word("reset all") {
        return Ok(Statement::ResetAll);
    }
    if p.word("reset") {
        let name = name(p)?;
        return Ok(Statement::Set { name, value: None, local: false });
    }
    p.expect("set")?;
    if p.word("transaction") || p.word("session characteristics as transaction") {
        super::transaction::modes(p)?;
        return Ok(Statement::Transaction);
    }
    let local = p.word("local");
    if !local {
        p.word("session");
    }
    if p.word("time zone") {
        let value = value(p)?;
        return Ok(Statement::Set { name: "timezone".into(), value, local });
    }
    if p.word("names") {
        let value = value(p)?;
        return Ok(Statement::Set { name: "client_encoding".into(), value, local });
    }
    if p.word("schema") {
        let value = value(p)?;
        return Ok(Statement::Set { name: "search_path".into(), value, local });
    }
    let name = name(p)?;
    if !p.token(&Token::Eq) {
        p.expect("to")?;
    }
    let value = value(p)?;
    Ok(Statement::Set { name, value, local })
}

fn name(p: &mut Heads<'_>) -> Result<String, SqlError> {
    let mut name = fold(&p.ident()?);
    while p.token(&Token::Period) {
        name = format!("{name}.{}", fold(&p.ident()?));
    }
    Ok(name)
}

/// Words, strings and numbers with commas between, as one text; none for DEFAULT.
fn value(p: &mut Heads<'_>) -> Result<Option<String>, SqlError> {
    if p.word("default") {
        return Ok(None);
    }
    let parts = p.comma_separated(|p| match p.peek() {
        Token::Word(_) => Ok(fold(&p.ident()?)),
        Token::Number(..) | Token::Minus => p.number(),
        _ => p.string(),
    })?;
    Ok(Some(parts.join(", ")))
}

/// `SELECT set_config(name, value, is_local), …` without anything else.
pub(crate) fn plan_set_config(planner: &Planner<'_>, query: &Query) -> Result<Option<Plan>, SqlError> {
    let SetExpr::Select(select) = &*query.body.body else { return Ok(None) };
    let mut settings = vec![];
    let mut columns = vec![];
    for item in &select.projection {
        let (call, name) = match item {
            SelectItem::UnnamedExpr(Expr::Function(f)) => (f, "set_config".to_string()),
            SelectItem::ExprWithAlias { expr: Expr::Function(f), alias } => (f, fold(alias)),
            _ => return Ok(None),
        };
        let parts = planner.parts(&call.name)?;
        if !matches!(&parts[..], [f] | [_, f] if f == "set_config") {
            return Ok(None);
        }
        let FunctionArguments::List(list) = &call.args else { return Ok(None) };
        let args = list.args.iter().map(|a| match a {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
            _ => None,
        });
        let args = args.collect::<Option<Vec<&Expr>>>().unwrap_or_default();
        let [setting, value, local] = args[..] else { return Ok(None) };
        let one = |e: &Expr, ty: &ScalarType| {
            let planned = planner.plan_constant_of(e, ty, "set_config")?;
            planner.at(e, hirs::to_scalar(planned))
        };
        let text = ScalarType::Text;
        settings.push([one(setting, &text)?, one(value, &text)?, one(local, &ScalarType::Bool)?]);
        columns.push((name, text.nullable(true)));
    }
    let alone = select.from.is_empty() && select.selection.is_none() && query.body.with.is_none();
    if settings.is_empty() || !alone {
        return Ok(None);
    }
    Ok(Some(Plan::SetConfig(settings, RelationDesc::new(columns))))
}

/// `SELECT pg_sleep(seconds)` or `mz_sleep`, without anything else: the session waits, nothing else does.
pub(crate) fn plan_sleep(planner: &Planner<'_>, query: &Query) -> Result<Option<Plan>, SqlError> {
    let SetExpr::Select(select) = &*query.body.body else { return Ok(None) };
    let (call, alias) = match &select.projection[..] {
        [SelectItem::UnnamedExpr(Expr::Function(f))] => (f, None),
        [SelectItem::ExprWithAlias { expr: Expr::Function(f), alias }] => (f, Some(fold(alias))),
        _ => return Ok(None),
    };
    let name = planner.parts(&call.name)?.pop().unwrap_or_default();
    let alone = select.from.is_empty() && select.selection.is_none() && query.body.with.is_none();
    if !alone || !["pg_sleep", "mz_sleep"].contains(&name.as_str()) {
        return Ok(None);
    }
    let FunctionArguments::List(list) = &call.args else { return Ok(None) };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(e))] = &list.args[..] else { return Ok(None) };
    let seconds = planner.plan_constant_of(e, &ScalarType::Float64, "pg_sleep")?;
    let seconds = planner.at(e, hirs::to_scalar(seconds))?;
    let desc = RelationDesc::new([(alias.unwrap_or(name), ScalarType::Text.nullable(true))]);
    Ok(Some(Plan::Sleep(seconds, desc)))
}

pub(crate) fn plan(_planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    Ok(match statement {
        Statement::Set { name, value, local } => Plan::SetVariable { name, value, local },
        Statement::ResetAll => Plan::ResetAll,
        Statement::Transaction => Plan::NoOp("SET"),
        Statement::Discard => Plan::Discard,
    })
}
