//! What an object does with rows that cannot be computed (`WITH (ON ERROR = …)`), and `<name>_errors`, which shows them.
//!
//! Errors are never stored as rows: a source's errors relation is what its format makes of the stored records now, so a
//! record that decodes after an upgrade or under another format leaves it by itself.

use plan::Side;
use plan::hir::{HirRelationExpr, HirScalarExpr};
use repr::error::code;
use repr::{EvalError, RelationDesc, SqlError};

use super::source::{plan_over, raw_item};
use crate::catalog::CatalogItem;
use crate::hirs;
use crate::parse::quote_string;
use crate::plan::{OnError, RAW_SELF, REFUSED_SELF, refused_desc};
use crate::planner::Planner;

/// A relation that belongs to another object.
pub(crate) type Defined = (HirRelationExpr, RelationDesc);

/// The name of the errors relation of an object.
pub fn errors_name(object: &str) -> String {
    format!("{object}_errors")
}

/// From the word of the option.
pub(crate) fn on_error(word: &str) -> Result<OnError, SqlError> {
    match word.to_ascii_uppercase().as_str() {
        "FAIL" => Ok(OnError::Fail),
        "QUARANTINE" => Ok(OnError::Quarantine),
        "NULL" => Ok(OnError::Null),
        _ => {
            let message = format!("invalid value for ON ERROR: \"{word}\"");
            Err(SqlError::new(code::INVALID_PARAMETER_VALUE, message)
                .with_hint("Use FAIL, QUARANTINE or NULL."))
        }
    }
}

/// The records of a source that `definition` cannot decode, and the requests that it refused, if it is posted to.
pub(crate) fn of_source(
    planner: &Planner<'_>,
    definition: HirRelationExpr,
    topic: Option<&str>,
    posted: bool,
) -> Result<Defined, SqlError> {
    let caught = HirRelationExpr::Catch { input: Box::new(definition), side: Side::Errors };
    let errors = raw_item("errors", EvalError::desc(), Some(caught));
    let topic = topic.map_or("NULL".into(), quote_string);
    let mut items = vec![errors];
    let (mut status, mut refused) = ("", "");
    if posted {
        items.push(CatalogItem { id: REFUSED_SELF, ..raw_item("refused", refused_desc(), None) });
        status = ", CAST(NULL AS int4) AS status";
        refused = " UNION ALL SELECT \"time\", NULL, NULL, NULL, NULL, body, headers, reason, NULL, status \
                   FROM mz_internal.refused";
    }
    let select = format!(
        "SELECT r.\"timestamp\" AS \"time\", CAST({topic} AS text) AS topic, e.partition, \
         CAST(e.\"offset\" AS uint8) AS \"offset\", r.key, r.value, r.headers, e.message AS reason, e.sqlstate{status} \
         FROM mz_internal.errors AS e \
         LEFT JOIN mz_internal.raw AS r ON r.partition = e.partition AND r.\"offset\" = e.\"offset\"{refused}"
    );
    plan_over(planner, items, &select)
}

/// The rows of a materialized view that cannot be computed.
pub(crate) fn of_view(planner: &Planner<'_>, view: &RelationDesc) -> Result<Defined, SqlError> {
    let stored = HirRelationExpr::Get { id: RAW_SELF, typ: view.types() };
    let caught = HirRelationExpr::Catch { input: Box::new(stored), side: Side::Errors };
    let errors = raw_item("errors", EvalError::desc(), Some(caught));
    let select = "SELECT partition, CAST(\"offset\" AS uint8) AS \"offset\", message AS reason, detail, hint, sqlstate \
                  FROM mz_internal.errors";
    plan_over(planner, vec![errors], select)
}

/// Columns of the outermost SELECT, and of those it stands on directly, are NULL where they cannot be computed.
pub(crate) fn null_on_error(rel: &mut HirRelationExpr, desc: &mut RelationDesc) {
    fn go(rel: &mut HirRelationExpr) {
        match rel {
            HirRelationExpr::Map { input, scalars } => {
                for scalar in scalars {
                    let inner = std::mem::replace(scalar, HirScalarExpr::And(vec![]));
                    *scalar = HirScalarExpr::Try(Box::new(inner));
                }
                go(input);
            }
            HirRelationExpr::Project { input, .. } => go(input),
            _ => {}
        }
    }
    go(rel);
    for (column, typ) in desc.columns.iter_mut().zip(hirs::types(rel, &[])) {
        column.ty.nullable |= typ.nullable;
    }
}
