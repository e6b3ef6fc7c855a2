//! `CREATE INDEX` and `CREATE DEFAULT INDEX`.

use std::rc::Rc;

use plan::ScalarExpr;
use repr::SqlError;
use sqlparser::ast::Spanned;
use sqlparser::tokenizer::Token;

use super::names::kind_name;
use crate::ast::CreateIndex;
use crate::catalog::ObjectName;
use crate::expr::Ctx;
use crate::hirs;
use crate::parse::{Heads, fold, quote};
use crate::plan::{CreateItem, CreatePlan, Plan};
use crate::planner::{Planner, full_name};
use crate::scope::{Env, Scope, ScopeTable};

/// Behind `INDEX`.
pub(crate) fn parse(p: &mut Heads<'_>, default: bool) -> Result<CreateIndex, SqlError> {
    let if_not_exists = p.if_not_exists();
    let name = if !p.is("on") && !p.is("in cluster") { Some(p.ident()?) } else { None };
    let mut cluster = if p.word("in cluster") { Some(p.ident()?) } else { None };
    p.expect("on")?;
    let on = p.object_name()?;
    if cluster.is_none() && p.word("in cluster") {
        cluster = Some(p.ident()?);
    }
    if p.word("using") && !p.word("arrangement") && !p.word("btree") && !p.word("hash") {
        return Err(p.error("ARRANGEMENT"));
    }
    let from = p.here();
    let key = if default && *p.peek() != Token::LParen { vec![] } else { p.parenthesized(|p| p.expr())? };
    let to = p.behind();
    let options = p.with_options()?;
    Ok(CreateIndex { name, default, if_not_exists, cluster, on, key, options, from, to })
}

pub(crate) fn plan(planner: &Planner<'_>, s: CreateIndex) -> Result<Plan, SqlError> {
    planner.forbid_parameters();
    let on = planner.resolve(&s.on)?;
    let rel = planner.get(on).map_err(|e| planner.text.at(s.on.span(), e))?;
    let desc = on.desc.as_ref().expect("`get` wants one");
    planner.check_maintained(&rel, &format!("{} \"{}\"", kind_name(on.kind), on.name.item))?;
    if s.cluster.is_some() {
        planner.no_effect("IN CLUSTER");
    }
    let (retain_history, with) = super::source::history(planner, &s.options)?;
    let table = ScopeTable {
        alias: on.name.item.clone(),
        schema: Some((on.name.database.clone(), on.name.schema.clone())),
        scalar: false,
        hidden: None,
    };
    let columns = desc.columns.iter().map(|c| (c.name.clone(), c.ty.clone()));
    let (scope, env) = (Rc::new(Scope::of(table, columns)), Env::default());
    let ctx = Ctx::plain(&scope, &env, "index expressions");
    let mut key = vec![];
    let mut names = vec![];
    for e in &s.key {
        // As in ORDER BY, a number would be a constant; here that makes no sense either.
        let (planned, _) = planner.plan_known(&ctx, e)?;
        let scalar = planner.at(e, hirs::to_scalar(planned))?;
        names.push(match &scalar {
            ScalarExpr::Column(c) => desc.columns[*c].name.clone(),
            _ => "expr".to_string(),
        });
        key.push(scalar);
    }
    if s.default && key.is_empty() {
        key = (0..desc.arity()).map(ScalarExpr::Column).collect();
    }
    let taken = |item: &str| planner.catalog.item(&on.name.database, &on.name.schema, item).is_some();
    let item = match &s.name {
        Some(ident) => fold(ident),
        None => {
            let base = if s.default {
                format!("{}_primary_idx", on.name.item)
            } else {
                format!("{}_{}_idx", on.name.item, names.join("_"))
            };
            let numbered = (1..).map(|n| format!("{base}{n}"));
            std::iter::once(base.clone())
                .chain(numbered)
                .find(|n| s.if_not_exists || !taken(n))
                .unwrap_or(base)
        }
    };
    let name = ObjectName { database: on.name.database.clone(), schema: on.name.schema.clone(), item };
    let name = planner.renamed(&name).clone();
    let text = if s.key.is_empty() {
        let all: Vec<String> = desc.columns.iter().map(|c| quote(&c.name)).collect();
        format!("({})", all.join(", "))
    } else {
        planner.canonical(s.from, s.to)
    };
    let create_sql = format!(
        "CREATE INDEX {} ON {} {text}{with}",
        quote(&name.item),
        full_name(planner.renamed(&on.name))
    );
    let relation = crate::query::lower(rel)?;
    Ok(Plan::Create(Box::new(CreatePlan {
        name,
        create_sql,
        replace: None,
        if_not_exists: s.if_not_exists,
        temporary: false,
        uses: planner.uses(),
        retain_history,
        desc: None,
        item: CreateItem::Index { on: on.id, key, relation },
    })))
}
