//! Windows: `row_number() <= k` needs only the first k rows of each partition, columns that nobody reads need not go
//! through a window, and a partition of one row needs none.
//!
//! ```text
//!   Filter row_number <= k                     Filter row_number <= k
//!     FlatMap window_rows             ──►        FlatMap window_rows
//!       Reduce by p → window(…)                    Reduce by p → window(…)
//!         input                                      TopK by p order … limit k
//!                                                      input
//! ```

use std::collections::BTreeSet;

use repr::Datum;

use crate::func::{ids, window};
use crate::mfp::Mfp;
use crate::{AggregateExpr, ColumnOrder, RelationExpr, ScalarExpr, known};

/// Bottom up.
pub(super) fn run(plan: &mut RelationExpr) {
    plan.for_each_child_mut(&mut run);
    limit(plan);
}

/// The one window that a plan computes: the Reduce's parts, if the plan is but a projection of it.
struct Window<'a> {
    input: &'a mut RelationExpr,
    group_key: &'a mut Vec<ScalarExpr>,
    aggregate: &'a mut AggregateExpr,
    calls: Vec<window::Call>,
}

fn window_of(plan: &mut RelationExpr) -> Option<Window<'_>> {
    match plan {
        RelationExpr::Project { input, .. } => window_of(input),
        RelationExpr::Reduce { input, group_key, aggregates } => {
            let [aggregate] = &mut aggregates[..] else { return None };
            if aggregate.func != window::window() || aggregate.filter.is_some() || aggregate.distinct {
                return None;
            }
            let Some(Datum::Text(text)) = aggregate.args.first()?.as_literal() else { return None };
            let (_, calls) = window::parse(text)?;
            Some(Window { input, group_key, aggregate, calls })
        }
        _ => None,
    }
}

fn is_row_number(call: &window::Call) -> bool {
    !call.aggregate && call.name == "row_number" && !call.filter
}

/// The fields of the row that goes through the window.
fn fields(aggregate: &AggregateExpr) -> Option<&[ScalarExpr]> {
    known::args_of(aggregate.args.get(1)?, ids::ROW)
}

/// Puts a TopK below a window whose row numbers are asked to be small.
fn limit(plan: &mut RelationExpr) {
    let RelationExpr::Filter { input, predicates } = plan else { return };
    let RelationExpr::FlatMap { input, func, args, .. } = &mut **input else { return };
    if *func != window::window_rows() || !matches!(args[..], [ScalarExpr::Column(_)]) {
        return;
    }
    let width = input.arity();
    let Some(w) = window_of(input) else { return };
    let Some(fields) = fields(w.aggregate) else { return };
    // Other functions see rows beyond the first ones.
    if !w.calls.iter().all(is_row_number) {
        return;
    }
    let numbers = width + fields.len()..width + fields.len() + w.calls.len();
    let Some(k) = predicates.iter().filter_map(|p| at_most(p, &numbers)).min() else { return };
    let (_, below) = Mfp::extract_as_written(w.input);
    if matches!(below, RelationExpr::TopK { limit: Some(n), .. } if *n <= k) {
        return;
    }
    let n = w.input.arity();
    let mut maps: Vec<ScalarExpr> = vec![];
    let mut column = |e: &ScalarExpr| match e {
        ScalarExpr::Column(c) => *c,
        e => {
            maps.push(e.clone());
            n + maps.len() - 1
        }
    };
    let group_key = w.group_key.iter().map(&mut column).collect();
    let order = w.aggregate.order_by.iter();
    let order_key = order.map(|(e, o)| ColumnOrder { column: column(e), ..*o }).collect();
    *w.input = w.input.take().map(maps).top_k(group_key, order_key, Some(k), 0).project(0..n);
}

/// `k`, if the condition says that a row number is at most that.
fn at_most(p: &ScalarExpr, numbers: &std::ops::Range<usize>) -> Option<u64> {
    let ScalarExpr::Call { func, args, .. } = p else { return None };
    let (id, column, bound) = match &args[..] {
        [ScalarExpr::Column(c), bound] => (func.0.id, c, bound),
        [bound, ScalarExpr::Column(c)] => {
            let id = match func.0.id {
                ids::GE => ids::LE,
                ids::GT => ids::LT,
                ids::EQ => ids::EQ,
                _ => return None,
            };
            (id, c, bound)
        }
        _ => return None,
    };
    let Some(Datum::Int64(n)) = bound.as_literal() else { return None };
    let n = u64::try_from(n).unwrap_or(0);
    match id {
        _ if !numbers.contains(column) => None,
        ids::LE | ids::EQ => Some(n),
        ids::LT => Some(n.saturating_sub(1)),
        _ => None,
    }
}

/// What of `FlatMap window_rows` over `input` is worth keeping, for its needed columns (`width` of them are the input's,
/// `list` among those holds the window's result). Columns that are not needed become NULL; where each partition has one
/// row the whole plan is replaced, which is what is returned.
pub(super) fn prune(input: &mut RelationExpr, list: usize, needed: &BTreeSet<usize>) -> Option<RelationExpr> {
    let columns: Vec<usize> = projected(input);
    let width = columns.len();
    let w = window_of(input)?;
    let typ = w.input.typ();
    let n = fields(w.aggregate)?.len();
    let given = |c: &usize| w.group_key.contains(&ScalarExpr::Column(*c));
    if !needed.contains(&list)
        && w.calls.iter().all(is_row_number)
        && w.input.keys().iter().any(|key| key.iter().all(given))
    {
        let one = ScalarExpr::literal(Datum::Int64(1), repr::ScalarType::Int64);
        let mut maps = w.group_key.clone();
        maps.push(ScalarExpr::null(w.aggregate.ty.clone()));
        let k = maps.len();
        maps.extend(fields(w.aggregate)?.iter().cloned());
        maps.extend(w.calls.iter().map(|_| one.clone()));
        let at = typ.len();
        let total = maps.len();
        let project = columns.iter().map(|c| at + c).chain(at + k..at + total);
        return Some(w.input.take().map(maps).project(project));
    }
    if let ScalarExpr::Call { args, .. } = &mut w.aggregate.args[1] {
        for (i, arg) in args.iter_mut().enumerate().take(n) {
            if !needed.contains(&(width + i)) {
                *arg = ScalarExpr::null(arg.typ(&typ).scalar);
            }
        }
    }
    None
}

/// Which columns of the Reduce below its projections come out.
fn projected(plan: &RelationExpr) -> Vec<usize> {
    match plan {
        RelationExpr::Project { input, columns } => {
            let below = projected(input);
            columns.iter().map(|c| below[*c]).collect()
        }
        other => (0..other.arity()).collect(),
    }
}
