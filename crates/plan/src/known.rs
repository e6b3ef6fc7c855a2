//! The few functions that planning itself recognises or writes.

use repr::{Arena, Datum, EvalError, ScalarType};

use crate::ScalarExpr;
use crate::func::{AggFunc, AggKind, AggRef, FuncRef, ScalarFunc, ids};

/// Makes a value that equals another exactly when both are equal or both are NULL: joins of keys that may be NULL.
static NULL_SAFE: ScalarFunc = ScalarFunc {
    id: "null_safe_key",
    strict: false,
    can_fail: false,
    never_null: true,
    volatile: false,
    eval: null_safe_eval,
};

fn null_safe_eval<'a>(args: &[Datum<'a>], _: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    Ok(arena.record(args.iter().copied()))
}

/// The value of a group that has one.
static ANY_VALUE: AggFunc = AggFunc { id: "any_value", kind: AggKind::Min, collect: None };

/// The arguments of a call of the function with this id.
pub(crate) fn args_of<'a>(e: &'a ScalarExpr, id: &str) -> Option<&'a [ScalarExpr]> {
    match e {
        ScalarExpr::Call { func, args, .. } if func.0.id == id => Some(args),
        _ => None,
    }
}

fn arg_of<'a>(e: &'a ScalarExpr, id: &str) -> Option<&'a ScalarExpr> {
    args_of(e, id)?.first()
}

fn call(id: &'static str, args: Vec<ScalarExpr>) -> ScalarExpr {
    ScalarExpr::Call { func: FuncRef::of(id), args, ty: ScalarType::Bool }
}

/// The two sides of `a = b`.
pub(crate) fn eq_args(e: &ScalarExpr) -> Option<(&ScalarExpr, &ScalarExpr)> {
    match args_of(e, ids::EQ)? {
        [a, b] => Some((a, b)),
        _ => None,
    }
}

/// `a = b`.
pub(crate) fn eq(a: ScalarExpr, b: ScalarExpr) -> ScalarExpr {
    call(ids::EQ, vec![a, b])
}

/// `e IS NULL`.
pub(crate) fn is_null(e: ScalarExpr) -> ScalarExpr {
    call(ids::IS_NULL, vec![e])
}

/// `e IS NOT NULL`.
pub(crate) fn is_not_null(e: ScalarExpr) -> ScalarExpr {
    call(ids::IS_NOT_NULL, vec![e])
}

/// `NOT e`.
pub(crate) fn not(e: ScalarExpr) -> ScalarExpr {
    call(ids::NOT, vec![e])
}

/// `x`, if the expression is `x IS NULL`.
pub(crate) fn is_null_of(e: &ScalarExpr) -> Option<&ScalarExpr> {
    arg_of(e, ids::IS_NULL).or_else(|| arg_of(not_of(e)?, ids::IS_NOT_NULL))
}

/// `x`, if the expression is `NOT x`.
pub(crate) fn not_of(e: &ScalarExpr) -> Option<&ScalarExpr> {
    arg_of(e, ids::NOT)
}

/// `x`, if the expression is `x IS NOT NULL`.
pub(crate) fn is_not_null_of(e: &ScalarExpr) -> Option<&ScalarExpr> {
    arg_of(e, ids::IS_NOT_NULL).or_else(|| arg_of(not_of(e)?, ids::IS_NULL))
}

/// A value that is equal for equal values and for NULLs.
pub(crate) fn null_safe(e: ScalarExpr) -> ScalarExpr {
    ScalarExpr::Call { func: FuncRef(&NULL_SAFE), args: vec![e], ty: ScalarType::Record(vec![]) }
}

/// `x`, if the expression is `null_safe(x)`.
pub(crate) fn null_safe_of(e: &ScalarExpr) -> Option<&ScalarExpr> {
    arg_of(e, NULL_SAFE.id)
}

/// The aggregate `count`.
pub(crate) fn count() -> AggRef {
    AggRef::of(ids::COUNT)
}

/// An aggregate that gives the value of a group with one row.
pub(crate) fn any_value() -> AggRef {
    AggRef(&ANY_VALUE)
}

/// The error with this code and message, where a value of type `ty` is wanted.
pub(crate) fn error(error: EvalError, ty: ScalarType) -> ScalarExpr {
    ScalarExpr::Literal(Err(error), ty.nullable(true))
}
