//! `EXPLAIN`.

use plan::hir::HirRelationExpr;
use repr::error::code;
use repr::{GlobalId, SqlError};
use sqlparser::ast::Spanned;
use sqlparser::tokenizer::Token;

use super::names::kind_name;
use crate::ast::{self, Explain, ExplainStage, Explained};
use crate::catalog::ItemKind;
use crate::parse::Heads;
use crate::plan::{CreateItem, Plan};
use crate::planner::Planner;
use crate::query::QueryPlan;
use crate::scope::Env;
use crate::text::Text;

/// Behind `EXPLAIN`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Explain, SqlError> {
    if p.word("timestamp") {
        let json = form(p)?;
        p.word("for");
        return Ok(Explain {
            stage: ExplainStage::Timestamp,
            json,
            of: Explained::Statement(Box::new(super::parse(p)?)),
        });
    }
    if p.word("query") && !p.is("plan") {
        return Err(p.error("PLAN"));
    }
    let stage = match p.one_of(&["raw", "decorrelated", "locally optimized", "optimized", "physical"]) {
        Some("raw") => ExplainStage::Raw,
        Some("decorrelated") => ExplainStage::Decorrelated,
        Some("physical") => ExplainStage::Physical,
        _ => ExplainStage::Optimized,
    };
    if p.word("why") {
        return Ok(Explain { stage, json: false, of: Explained::Why(p.object_name()?) });
    }
    p.word("analyze");
    p.word("verbose");
    if p.word("plan") {
        p.with_options()?;
    } else if *p.peek() == Token::LParen
        && !p.nth_is(1, "select")
        && !p.nth_is(1, "with")
        && !p.nth_is(1, "values")
    {
        // Postgres' options say nothing that is of use here.
        p.options()?;
    }
    let json = form(p)?;
    let explicit = p.word("for");
    let of = match p.one_of(&["materialized view", "view", "index"]) {
        Some("materialized view") if explicit => Explained::MaterializedView(p.object_name()?),
        Some("view") if explicit => Explained::View(p.object_name()?),
        Some("index") if explicit => Explained::Index(p.object_name()?),
        Some(_) => return Err(p.error("FOR")),
        None if p.word("explain") => return Err(p.error("a statement that has a plan")),
        None => Explained::Statement(Box::new(super::parse(p)?)),
    };
    Ok(Explain { stage, json, of })
}

/// `[AS [VERBOSE] TEXT | JSON]`: whether it is JSON.
fn form(p: &mut Heads<'_>) -> Result<bool, SqlError> {
    if !p.word("as") {
        return Ok(false);
    }
    p.word("verbose");
    match p.one_of(&["json", "text"]) {
        Some(form) => Ok(form == "json"),
        None => Err(p.error("TEXT or JSON")),
    }
}

/// A tree as text, each level two blanks further in, as JSON: `{"node": line, "inputs": [...]}`; several roots are a list.
fn as_json(text: &str) -> String {
    fn nodes<'t>(
        lines: &mut std::iter::Peekable<impl Iterator<Item = &'t str>>,
        depth: usize,
    ) -> Vec<serde_json::Value> {
        let indent = |l: &str| l.len() - l.trim_start().len();
        let mut all = vec![];
        while lines.peek().is_some_and(|l| indent(l) >= depth) {
            let Some(line) = lines.next() else { break };
            let inputs = nodes(lines, indent(line) + 1);
            all.push(match inputs.is_empty() {
                true => serde_json::json!({ "node": line.trim() }),
                false => serde_json::json!({ "node": line.trim(), "inputs": inputs }),
            });
        }
        all
    }
    // What comes last stands above the tree.
    let below = text.strip_prefix("Finish ").and_then(|rest| rest.split_once('\n'));
    let indented = below.map(|(head, tree)| {
        let tree: Vec<String> = tree.lines().map(|l| format!("  {l}")).collect();
        format!("Finish {head}\n{}", tree.join("\n"))
    });
    let text = indented.as_deref().unwrap_or(text);
    let mut lines = text.lines().filter(|l| !l.trim().is_empty()).peekable();
    let mut all = nodes(&mut lines, 0);
    let whole = if all.len() == 1 { all.remove(0) } else { serde_json::Value::Array(all) };
    serde_json::to_string_pretty(&whole).expect("JSON values always serialize")
}

pub(crate) fn plan(planner: &Planner<'_>, s: Explain) -> Result<Plan, SqlError> {
    let stage = s.stage;
    if stage == ExplainStage::Timestamp {
        let Explained::Statement(statement) = s.of else {
            return Err(SqlError::internal("a time is that of a query"));
        };
        let ast::Statement::Query(query) = *statement else {
            return Err(crate::plan::unsupported(
                "EXPLAIN TIMESTAMP of this statement",
                "Use it with a query.",
            ));
        };
        return Ok(Plan::ExplainTimestamp { select: Box::new(planner.plan_select(&query)?), json: s.json });
    }
    let named = |name: &sqlparser::ast::ObjectName, kind: ItemKind| -> Result<String, SqlError> {
        let item = planner.resolve_kind(name, kind, kind_name(kind))?;
        explain_create(planner, stage, &item.create_sql)
    };
    let text = match s.of {
        Explained::Why(name) => {
            let item = planner.resolve(&name)?;
            if !matches!(item.id, GlobalId::User(_)) {
                let message = format!("\"{}\" is part of the system", item.name.item);
                return Err(planner.error(name.span(), code::WRONG_OBJECT_TYPE, message));
            }
            return Ok(Plan::ExplainWhy(item.id));
        }
        Explained::View(name) => named(&name, ItemKind::View)?,
        Explained::MaterializedView(name) => named(&name, ItemKind::MaterializedView)?,
        Explained::Index(name) => named(&name, ItemKind::Index)?,
        Explained::Statement(statement) => match *statement {
            ast::Statement::Query(query) => {
                let mut plan = planner.plan_query(&query.body, &Env::default())?;
                plan.take_volatile();
                let finishing = finishing(&plan);
                format!("{finishing}{}", relation(planner, stage, plan.rel)?)
            }
            ast::Statement::CreateView(view) => create_view(planner, stage, view)?,
            ast::Statement::CreateIndex(index) => {
                let on = planner.resolve(&index.on)?;
                relation(planner, stage, planner.get(on)?)?
            }
            _ => {
                return Err(crate::plan::unsupported(
                    "EXPLAIN of this statement",
                    "Explain the query in it.",
                ));
            }
        },
    };
    Ok(Plan::Explain(if s.json { as_json(&text) } else { text }))
}

/// The plan of an object, from the statement that made it.
fn explain_create(planner: &Planner<'_>, stage: ExplainStage, create_sql: &str) -> Result<String, SqlError> {
    let text = Text::new(create_sql, 0);
    let inner = Planner::new(planner.catalog, &text, &[]);
    match crate::parse::parse(&text)? {
        ast::Statement::CreateView(view) => create_view(&inner, stage, view),
        ast::Statement::CreateIndex(index) => {
            let on = inner.resolve(&index.on)?;
            relation(planner, stage, inner.get(on)?)
        }
        _ => Err(SqlError::internal("views and indexes have plans")),
    }
}

/// The plan that a view would have.
fn create_view(
    planner: &Planner<'_>,
    stage: ExplainStage,
    view: ast::CreateView,
) -> Result<String, SqlError> {
    match super::view::plan(planner, view)? {
        Plan::Create(create) => match create.item {
            CreateItem::View { hir } | CreateItem::MaterializedView { hir, .. } => {
                relation(planner, stage, hir)
            }
            _ => Err(SqlError::internal("a view is planned as a view")),
        },
        _ => Err(SqlError::internal("a view is planned as a view")),
    }
}

/// What happens after the plan, if anything does.
fn finishing(plan: &QueryPlan) -> String {
    let mut parts = vec![];
    let named = |column: usize| {
        let place = plan.project.iter().position(|c| *c == column);
        place.map_or_else(|| format!("#{column}"), |i| format!("#{column}{{{}}}", plan.columns[i].0))
    };
    if !plan.order_by.is_empty() {
        let order: Vec<String> = plan
            .order_by
            .iter()
            .map(|o| {
                let nulls = if o.nulls_first { "first" } else { "last" };
                format!("{} {} nulls {nulls}", named(o.column), if o.desc { "desc" } else { "asc" })
            })
            .collect();
        parts.push(format!("order_by=[{}]", order.join(", ")));
    }
    match (plan.limit, &plan.limit_expr) {
        (Some(n), _) => parts.push(format!("limit={n}")),
        (None, Some(_)) => parts.push("limit=?".into()),
        (None, None) => {}
    }
    if plan.offset > 0 {
        parts.push(format!("offset={}", plan.offset));
    }
    if parts.is_empty() && plan.project.iter().copied().eq(0..plan.arity) {
        return String::new();
    }
    let output: Vec<String> = plan.project.iter().map(|c| named(*c)).collect();
    parts.push(format!("output=[{}]", output.join(", ")));
    format!("Finish {}\n", parts.join(" "))
}

fn relation(planner: &Planner<'_>, stage: ExplainStage, rel: HirRelationExpr) -> Result<String, SqlError> {
    let item = |id: GlobalId| planner.catalog.item_by_id(id);
    let name = |id: GlobalId| item(id).map_or_else(|| id.to_string(), |i| i.name.to_string());
    let columns = |id: GlobalId| {
        let desc = item(id).and_then(|i| i.desc.as_ref());
        desc.map_or_else(Vec::new, |d| d.columns.iter().map(|c| c.name.clone()).collect())
    };
    Ok(match stage {
        ExplainStage::Raw => crate::hir_text::explain(&rel, &name),
        ExplainStage::Decorrelated => {
            plan::explain::explain(&plan::decorrelate::decorrelate(rel)?, &name, &columns)
        }
        ExplainStage::Optimized | ExplainStage::Physical | ExplainStage::Timestamp => {
            plan::explain::explain(&crate::query::lower(rel)?, &name, &columns)
        }
    })
}
