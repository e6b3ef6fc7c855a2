//! Looking into scalar expressions: parts, columns, what can fail, what cannot be NULL.

use std::collections::BTreeSet;

use repr::Datum;

use crate::scalar::Context;
use crate::{ScalarExpr, known};

/// Each direct part, in order of evaluation.
pub(crate) fn for_each_child<'a>(e: &'a ScalarExpr, f: &mut dyn FnMut(&'a ScalarExpr)) {
    match e {
        ScalarExpr::Column(_)
        | ScalarExpr::Literal(..)
        | ScalarExpr::Context(_)
        | ScalarExpr::Parameter(..) => {}
        ScalarExpr::Call { args, .. }
        | ScalarExpr::And(args)
        | ScalarExpr::Or(args)
        | ScalarExpr::Coalesce(args) => args.iter().for_each(f),
        ScalarExpr::If { cond, then, els } => {
            f(cond);
            f(then);
            f(els);
        }
        ScalarExpr::Try(inner) => f(inner),
    }
}

/// Each direct part, to be changed.
pub(crate) fn for_each_child_mut(e: &mut ScalarExpr, f: &mut dyn FnMut(&mut ScalarExpr)) {
    match e {
        ScalarExpr::Column(_)
        | ScalarExpr::Literal(..)
        | ScalarExpr::Context(_)
        | ScalarExpr::Parameter(..) => {}
        ScalarExpr::Call { args, .. }
        | ScalarExpr::And(args)
        | ScalarExpr::Or(args)
        | ScalarExpr::Coalesce(args) => args.iter_mut().for_each(f),
        ScalarExpr::If { cond, then, els } => {
            f(cond);
            f(then);
            f(els);
        }
        ScalarExpr::Try(inner) => f(inner),
    }
}

/// Whether it depends on the time at which it is read.
pub(crate) fn is_temporal(e: &ScalarExpr) -> bool {
    let mut found = false;
    e.walk(&mut |e| found |= matches!(e, ScalarExpr::Context(Context::MzNow)));
    found
}

/// Columns that are not NULL wherever the expression is true.
pub(crate) fn not_null_if_true(e: &ScalarExpr) -> BTreeSet<usize> {
    match e {
        ScalarExpr::And(args) => args.iter().flat_map(not_null_if_true).collect(),
        ScalarExpr::Or(args) => {
            let mut sets = args.iter().map(not_null_if_true);
            let first = sets.next().unwrap_or_default();
            sets.fold(first, |a, b| a.intersection(&b).copied().collect())
        }
        other => match known::is_not_null_of(other) {
            Some(inner) => not_null_if_not_null(inner),
            None => not_null_if_not_null(other),
        },
    }
}

/// Columns that are not NULL wherever the expression is not.
pub(crate) fn not_null_if_not_null(e: &ScalarExpr) -> BTreeSet<usize> {
    match e {
        ScalarExpr::Column(c) => [*c].into(),
        ScalarExpr::Call { func, args, .. } if func.0.strict => {
            args.iter().flat_map(not_null_if_not_null).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// The column, if the predicate says that a column equals a literal.
pub(crate) fn column_is_literal(e: &ScalarExpr) -> Option<usize> {
    match known::eq_args(e)? {
        (ScalarExpr::Column(c), l) | (l, ScalarExpr::Column(c)) if l.as_literal().is_some() => Some(*c),
        _ => None,
    }
}

/// The conditions that must all be true for this one to be.
pub(crate) fn conjuncts(e: ScalarExpr, out: &mut Vec<ScalarExpr>) {
    match e {
        ScalarExpr::And(args) => args.into_iter().for_each(|a| conjuncts(a, out)),
        other => out.push(other),
    }
}

/// Adds the columns it reads.
pub(crate) fn add_columns(e: &ScalarExpr, out: &mut BTreeSet<usize>) {
    e.walk(&mut |e| {
        if let ScalarExpr::Column(c) = e {
            out.insert(*c);
        }
    });
}

/// The same with columns renumbered.
pub(crate) fn renumbered(e: &ScalarExpr, to: &dyn Fn(usize) -> usize) -> ScalarExpr {
    let mut e = e.clone();
    e.map_columns(&mut |c| to(c));
    e
}

/// Whether it is false or NULL: a filter by it keeps nothing.
pub(crate) fn is_never_true(e: &ScalarExpr) -> bool {
    matches!(e.as_literal(), Some(Datum::Bool(false) | Datum::Null))
}
