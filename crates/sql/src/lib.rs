//! SQL text to resolved, typed plans.
//!
//! ```text
//!   text ──► parse (own statement heads + sqlparser) ──► Statement ──► plan (names, types) ──► Plan
//! ```
//!
//! Planning reads the catalog through the [`Catalog`] trait and changes nothing; the coordinator carries plans out.

mod ast;
pub mod catalog;
mod dialect;
mod expr;
mod from;
mod hir_text;
mod hirs;
mod hypothetical;
mod lookups;
mod parse;
pub mod plan;
mod planner;
mod query;
mod scope;
mod statement;
mod text;
mod window;

pub use catalog::{Catalog, CatalogItem, ItemKind, ObjectName};
pub use plan::Plan;
pub use statement::errors::errors_name;
pub use statement::names::{kind_name, quoted};
pub use statement::show::redacted;

use repr::{RelationDesc, ScalarType, SqlError};

/// A parsed statement with its text.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The statement's own text, without the semicolon.
    pub text: String,
    /// Where it begins in the whole text, in characters from 0 (to place errors).
    pub offset: usize,
}

/// Splits a text into statements. Caps (DESIGN §5): bytes, nesting, operators; beyond them error 54001. Run it, and
/// [`plan()`], on a thread with a large stack ([`STACK_BYTES`]).
pub fn parse(text: &str) -> Result<Vec<Statement>, SqlError> {
    let statements = parse::split(text)?;
    for s in &statements {
        parse::parse(&text::Text::new(&s.text, s.offset))?;
    }
    Ok(statements)
}

/// The stack that parsing and planning may need under the caps.
pub const STACK_BYTES: usize = 256 << 20;

/// Plans one statement. `parameters[i]` is the type a client declared for `$i+1`, if it did.
pub fn plan(
    statement: &Statement,
    catalog: &dyn Catalog,
    parameters: &[Option<ScalarType>],
) -> Result<Planned, SqlError> {
    let text = text::Text::new(&statement.text, statement.offset);
    let ast = parse::parse(&text)?;
    let planner = planner::Planner::new(catalog, &text, parameters);
    let plan = statement::plan(&planner, ast)?;
    let parameters = planner.parameter_types()?;
    Ok(Planned { columns: columns(&plan), plan, parameters, notices: planner.take_notices() })
}

/// The statement that made an object, with other names for some objects. The catalog still has the old ones.
pub fn renamed(
    create_sql: &str,
    catalog: &dyn Catalog,
    renames: &[(ObjectName, ObjectName)],
) -> Result<String, SqlError> {
    let text = text::Text::new(create_sql, 0);
    let ast = parse::parse(&text)?;
    let planner = planner::Planner::new(catalog, &text, &[]).renaming(renames);
    match statement::plan(&planner, ast)? {
        Plan::Create(create) => Ok(create.create_sql),
        _ => Err(SqlError::internal("the statement creates nothing")),
    }
}

/// What comes back, as far as the plan alone says it: a cursor's columns only the session knows.
fn columns(plan: &Plan) -> Option<RelationDesc> {
    let text = |names: &[&str]| {
        Some(RelationDesc::new(names.iter().map(|n| (*n, ScalarType::Text.nullable(false)))))
    };
    match plan {
        Plan::Select(select) => Some(select.desc.clone()),
        Plan::Insert { returning: Some((_, desc)), .. }
        | Plan::ReadThenWrite { returning: Some((_, desc)), .. }
        | Plan::SetConfig(_, desc)
        | Plan::Sleep(_, desc) => Some(desc.clone()),
        Plan::ShowVariable(name) => text(&[name]),
        Plan::ShowAllVariables => text(&["name", "setting", "description"]),
        Plan::Explain(_) => text(&["Optimized Plan"]),
        Plan::ExplainWhy(_) => text(&["why"]),
        Plan::ExplainTimestamp { .. } => text(&["Timestamp"]),
        _ => None,
    }
}

/// A plan and what a client is told about it before it runs.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What to do.
    pub plan: Plan,
    /// The types of `$1 …`, declared or inferred.
    pub parameters: Vec<ScalarType>,
    /// The columns that come back, if any do.
    pub columns: Option<RelationDesc>,
    /// Notices to send, such as options that have no effect here.
    pub notices: Vec<SqlError>,
}
