//! Expressions: names to columns, overloads to functions, literals and parameters to types.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use plan::func::resolve::{self, Cast, CastContext, Implementation};
use plan::func::window::Exclude;
use plan::func::{AggRef, FuncRef, ids};
use plan::hir::{ColumnRef, HirAggregateExpr, HirRelationExpr, HirScalarExpr};
use plan::{ColumnOrder, scalar::Context};
use repr::error::code;
use repr::{Arena, ColumnType, Datum, Row, ScalarType, SqlError, SqlState};
use sqlparser::ast::{
    self as sp, AccessExpr, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned,
    Subscript, UnaryOperator, Value,
};
use sqlparser::tokenizer::{Location, Span};

use crate::dialect;
use crate::hirs::{self, boolean, call, column, literal};
use crate::lookups::REGCLASS_NAME;
use crate::parse::fold;
use crate::planner::Planner;
use crate::scope::{Env, Name, Scope, resolve as resolve_name};

/// A planned expression whose type may still be open.
#[derive(Clone, Debug)]
pub(crate) enum Ex {
    Known(HirScalarExpr, ColumnType),
    /// A string literal without a type, and its place.
    Str(String, Span),
    Null,
    /// A parameter whose type nothing has settled yet.
    Param(usize),
    /// `ROW(…)`, `(a, b)`.
    Row(Vec<Ex>),
}

/// Columns from here on stand for aggregates until the query knows where they end up; see [`Calls`].
pub(crate) const AGGREGATES: usize = 1 << 40;
/// The same for windows, set-returning functions and `GROUPING`.
pub(crate) const WINDOWS: usize = 2 << 40;
pub(crate) const SETS: usize = 3 << 40;
pub(crate) const GROUPINGS: usize = 4 << 40;

/// The calls of a SELECT that are more than a function of a row. They stand in expressions as columns beyond
/// [`AGGREGATES`] and so on, by their index here.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub aggregates: RefCell<Vec<HirAggregateExpr>>,
    pub windows: RefCell<Vec<WindowCall>>,
    pub sets: RefCell<Vec<SetCall>>,
    /// `GROUPING(…)`: its arguments.
    pub groupings: RefCell<Vec<Vec<HirScalarExpr>>>,
    /// For each own column: where it is first named, and how.
    pub named: RefCell<BTreeMap<usize, (Option<usize>, String)>>,
}

/// A call with OVER.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WindowCall {
    pub func: WindowFunc,
    pub args: Vec<HirScalarExpr>,
    pub arg_types: Vec<ColumnType>,
    pub filter: Option<HirScalarExpr>,
    pub partition_by: Vec<HirScalarExpr>,
    pub order_by: Vec<(HirScalarExpr, ColumnOrder)>,
    pub frame: plan::func::window::Frame,
    /// What [`plan::func::window::Call::limits`] asks for.
    pub limits: Vec<HirScalarExpr>,
    pub ignore_nulls: bool,
    pub ty: ScalarType,
}

/// What is called over a window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WindowFunc {
    Pure(&'static str),
    Aggregate(AggRef, bool),
}

/// A call that returns rows, in a SELECT list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SetCall {
    pub func: plan::func::TableFuncRef,
    pub args: Vec<HirScalarExpr>,
    pub columns: Vec<(String, ScalarType)>,
    /// Where its first column begins among the columns of all calls.
    pub first: usize,
}

/// Where an expression stands.
#[derive(Clone, Copy)]
pub(crate) struct Ctx<'c> {
    pub scope: &'c Rc<Scope>,
    pub env: &'c Env,
    /// As errors name it: `WHERE`, `JOIN conditions`.
    pub clause: &'static str,
    /// Where aggregates and the like go; none: they are not allowed here.
    pub calls: Option<&'c Rc<Calls>>,
    /// Windows and set-returning functions too.
    pub projection: bool,
    pub in_aggregate: bool,
    pub windows: &'c [sp::NamedWindowDefinition],
}

impl<'c> Ctx<'c> {
    /// Where only plain expressions are allowed.
    pub fn plain(scope: &'c Rc<Scope>, env: &'c Env, clause: &'static str) -> Ctx<'c> {
        Ctx { scope, env, clause, calls: None, projection: false, in_aggregate: false, windows: &[] }
    }

    /// The surroundings of a subquery here.
    fn inner(&self) -> Env {
        let mut env = self.env.within(self.scope.clone(), true);
        let frame = env.frames.last_mut().expect("it was just pushed");
        frame.calls = self.calls.cloned();
        frame.clause = self.clause;
        env
    }
}

fn grouping_error(message: impl Into<String>) -> SqlError {
    SqlError::new(code::GROUPING_ERROR, message)
}

impl Ex {
    /// The type, if it is settled.
    pub fn ty(&self) -> Option<ScalarType> {
        match self {
            Ex::Known(_, ty) => Some(ty.scalar.clone()),
            _ => None,
        }
    }

    pub fn known(expr: HirScalarExpr, ty: ScalarType, nullable: bool) -> Ex {
        Ex::Known(expr, ty.nullable(nullable))
    }
}

impl Planner<'_> {
    /// Plans an expression that must have this type; `what` says in errors what it is an argument of.
    pub fn plan_bool(&self, ctx: &Ctx<'_>, e: &Expr, what: &str) -> Result<HirScalarExpr, SqlError> {
        let ex = self.plan_expr(ctx, e)?;
        self.at(e, self.to_bool(ex, what))
    }

    pub fn to_bool(&self, ex: Ex, what: &str) -> Result<HirScalarExpr, SqlError> {
        if let Some(ty) = ex.ty()
            && ty != ScalarType::Bool
        {
            let message = format!("argument of {what} must be type boolean, not type {}", ty.name());
            return Err(SqlError::new(code::DATATYPE_MISMATCH, message));
        }
        Ok(self.coerce(ex, &ScalarType::Bool, CastContext::Implicit)?.0)
    }

    /// Plans an expression of known type; what is open becomes text.
    pub fn plan_known(&self, ctx: &Ctx<'_>, e: &Expr) -> Result<(HirScalarExpr, ColumnType), SqlError> {
        let ex = self.plan_expr(ctx, e)?;
        self.at(e, self.settle(ex))
    }

    /// Plans an expression that reads no columns and casts it.
    pub fn plan_constant_of(
        &self,
        e: &Expr,
        to: &ScalarType,
        clause: &'static str,
    ) -> Result<HirScalarExpr, SqlError> {
        let (scope, env) = (Rc::default(), Env::default());
        let ex = self.plan_expr(&Ctx::plain(&scope, &env, clause), e)?;
        Ok(self.at(e, self.coerce(ex, to, CastContext::Assignment))?.0)
    }

    /// What is open becomes text, rows become records.
    pub fn settle(&self, ex: Ex) -> Result<(HirScalarExpr, ColumnType), SqlError> {
        match ex {
            Ex::Known(e, ty) => Ok((e, ty)),
            Ex::Row(parts) => {
                let parts = parts.into_iter().map(|p| self.settle(p)).collect::<Result<Vec<_>, _>>()?;
                let fields = parts
                    .iter()
                    .enumerate()
                    .map(|(i, (_, ty))| (format!("f{}", i + 1), ty.clone()))
                    .collect();
                let ty = ScalarType::Record(fields);
                let args = parts.into_iter().map(|p| p.0).collect();
                Ok((call(ids::ROW, args, ty.clone()), ty.nullable(false)))
            }
            open => self.coerce(open, &ScalarType::Text, CastContext::Implicit),
        }
    }

    /// Makes an expression have a type, by a cast of the context if it has another.
    pub fn coerce(
        &self,
        ex: Ex,
        to: &ScalarType,
        context: CastContext,
    ) -> Result<(HirScalarExpr, ColumnType), SqlError> {
        match ex {
            Ex::Null => Ok((literal(Datum::Null, to.clone()), to.clone().nullable(true))),
            Ex::Param(n) => {
                // Another use may have settled it since.
                let ty = match self.parameter(n)? {
                    Some(ty) => ty,
                    None => {
                        let ty = to.without_modifier();
                        self.set_parameter(n, ty.clone());
                        ty
                    }
                };
                let e = HirScalarExpr::Parameter(n, ty.clone());
                self.coerce(Ex::known(e, ty, true), to, context)
            }
            Ex::Str(s, span) => {
                let text = literal(Datum::Text(&s), ScalarType::Text);
                if let ScalarType::RegClass | ScalarType::RegType | ScalarType::RegProc = to {
                    return self.text_to_reg(text, to).map_err(|e| self.text.at(span, e));
                }
                if *to == ScalarType::Array(Box::new(ScalarType::RegType)) {
                    let e = self.types_by_name(&s, to).map_err(|e| self.text.at(span, e))?;
                    return Ok((e, to.clone().nullable(false)));
                }
                if *to == ScalarType::Text {
                    return Ok((text, ScalarType::Text.nullable(false)));
                }
                // Postgres reads a literal by its type's input function, which no context forbids.
                let e = match resolve::cast(&ScalarType::Text, to, CastContext::Explicit) {
                    Some(Cast::Same) => text,
                    Some(Cast::Func(func)) => HirScalarExpr::Call { func, args: vec![text], ty: to.clone() },
                    None => {
                        let message = format!("cannot cast type text to {}", to.name());
                        return Err(self.error(span, code::CANNOT_COERCE, message));
                    }
                };
                match hirs::evaluate(&e) {
                    Some(Ok(row)) => {
                        let nullable = row.iter().next().is_none_or(|d| d.is_null());
                        let ty = to.clone().nullable(nullable);
                        Ok((HirScalarExpr::Literal(Ok(row), ty.clone()), ty))
                    }
                    Some(Err(error)) => Err(self.text.at(span, error.into())),
                    None => Ok((e, to.clone().nullable(true))),
                }
            }
            Ex::Row(parts) => match to {
                ScalarType::Record(fields) if fields.len() == parts.len() => {
                    let mut args = vec![];
                    for (part, (_, ty)) in parts.into_iter().zip(fields) {
                        args.push(self.coerce(part, &ty.scalar, context)?.0);
                    }
                    Ok((call(ids::ROW, args, to.clone()), to.clone().nullable(false)))
                }
                _ => {
                    let (e, ty) = self.settle(Ex::Row(parts))?;
                    self.coerce(Ex::Known(e, ty), to, context)
                }
            },
            Ex::Known(e, ty) => {
                if ty.scalar == *to {
                    return Ok((e, ty));
                }
                let reg = |t: &ScalarType| {
                    matches!(t, ScalarType::RegClass | ScalarType::RegType | ScalarType::RegProc)
                };
                if reg(to) && ty.scalar.is_string() && context == CastContext::Explicit {
                    return self.text_to_reg(e, to);
                }
                if reg(&ty.scalar) && to.is_string() && context >= CastContext::Assignment {
                    return self.reg_to_text(e, &ty.scalar, to);
                }
                match resolve::cast(&ty.scalar, to, context) {
                    Some(Cast::Same) => Ok((retyped(e, to), to.clone().nullable(ty.nullable))),
                    Some(Cast::Func(func)) => {
                        let nullable = ty.nullable || !func.0.never_null;
                        Ok((
                            HirScalarExpr::Call { func, args: vec![e], ty: to.clone() },
                            to.clone().nullable(nullable),
                        ))
                    }
                    None => {
                        let message = format!("cannot cast type {} to {}", ty.scalar.name(), to.name());
                        let code = if context == CastContext::Explicit {
                            code::CANNOT_COERCE
                        } else {
                            code::DATATYPE_MISMATCH
                        };
                        Err(SqlError::new(code, message))
                    }
                }
            }
        }
    }

    /// Makes expressions have one type, as arms of `what` do.
    pub fn unify(&self, exs: Vec<Ex>, what: &str) -> Result<(Vec<HirScalarExpr>, ColumnType), SqlError> {
        let types: Vec<_> = exs.iter().map(Ex::ty).collect();
        let common = if exs.iter().any(|e| matches!(e, Ex::Row(_))) {
            self.settle(exs[0].clone())?.1.scalar
        } else {
            resolve::common_type(&types, what)?
        };
        let mut nullable = false;
        let mut out = vec![];
        for ex in exs {
            let (e, ty) = self.coerce(ex, &common, CastContext::Implicit)?;
            nullable |= ty.nullable;
            out.push(e);
        }
        Ok((out, common.nullable(nullable)))
    }

    /// A call of a function that the table knows, arguments cast to what it takes.
    fn scalar_call(
        &self,
        func: FuncRef,
        args: Vec<Ex>,
        types: &[ScalarType],
        ret: ScalarType,
    ) -> Result<Ex, SqlError> {
        let mut nullable = !func.0.never_null;
        let json = resolve::makes_json(&Implementation::Scalar(func));
        let mut out = vec![];
        for (arg, ty) in args.into_iter().zip(types) {
            let (e, t) = self.coerce(arg, ty, CastContext::Implicit)?;
            nullable |= t.nullable;
            out.push(if json { resolve::jsonb_argument(e, &t.scalar).0 } else { e });
        }
        Ok(Ex::known(HirScalarExpr::Call { func, args: out, ty: ret.clone() }, ret, nullable))
    }

    /// A function by name that must be a plain one: syntax that stands for a call.
    /// `x[i]`.
    pub fn subscripted(&self, of: Ex, i: Ex) -> Result<Ex, SqlError> {
        let r = resolve::subscript(&of.ty().unwrap_or(ScalarType::Text))?;
        match r.imp {
            Implementation::Scalar(func) => self.scalar_call(func, vec![of, i], &r.args, r.ret),
            _ => Err(SqlError::internal("a subscript is a scalar function")),
        }
    }

    /// A scalar function by its name.
    pub fn named_call(&self, name: &str, args: Vec<Ex>) -> Result<Ex, SqlError> {
        let args = args.into_iter().map(|a| self.row_to_known(a)).collect::<Result<Vec<_>, _>>()?;
        let types: Vec<_> = args.iter().map(Ex::ty).collect();
        let r = resolve::function(name, &types)?;
        match r.imp {
            Implementation::Scalar(func) => self.scalar_call(func, args, &r.args, r.ret),
            _ => Err(SqlError::internal(format!("{name} is not a scalar function"))),
        }
    }

    fn row_to_known(&self, ex: Ex) -> Result<Ex, SqlError> {
        match ex {
            Ex::Row(_) => self.settle(ex).map(|(e, t)| Ex::Known(e, t)),
            other => Ok(other),
        }
    }

    /// An operator.
    pub fn operator(&self, op: &str, args: Vec<Ex>) -> Result<Ex, SqlError> {
        if let [Ex::Row(l), Ex::Row(r)] = &args[..] {
            return self.compare_rows(op, l.clone(), r.clone());
        }
        let args = args.into_iter().map(|a| self.row_to_known(a)).collect::<Result<Vec<_>, _>>()?;
        let types: Vec<_> = args.iter().map(Ex::ty).collect();
        let r = resolve::operator(op, &types)?;
        match r.imp {
            Implementation::Scalar(func) => self.scalar_call(func, args, &r.args, r.ret),
            _ => Err(SqlError::internal(format!("operator {op} is not a scalar function"))),
        }
    }

    /// `(a, b) op (c, d)`, part by part.
    fn compare_rows(&self, op: &str, left: Vec<Ex>, right: Vec<Ex>) -> Result<Ex, SqlError> {
        if left.len() != right.len() {
            return Err(SqlError::new(code::SYNTAX_ERROR, "unequal number of entries in row expressions"));
        }
        let pair = |op: &str, l: &Ex, r: &Ex| {
            let ex = self.operator(op, vec![l.clone(), r.clone()])?;
            self.to_bool(ex, op)
        };
        let pairs: Vec<(Ex, Ex)> = left.into_iter().zip(right).collect();
        let e = match op {
            "=" => hirs::and(pairs.iter().map(|(l, r)| pair("=", l, r)).collect::<Result<_, _>>()?),
            "<>" => hirs::or(pairs.iter().map(|(l, r)| pair("<>", l, r)).collect::<Result<_, _>>()?),
            "<" | "<=" | ">" | ">=" => {
                // From the last part outwards: a < c OR (a = c AND rest).
                let strict = &op[..1];
                let mut rest: Option<HirScalarExpr> = None;
                for (l, r) in pairs.iter().rev() {
                    rest = Some(match rest {
                        None => pair(op, l, r)?,
                        Some(rest) => {
                            hirs::or(vec![pair(strict, l, r)?, hirs::and(vec![pair("=", l, r)?, rest])])
                        }
                    });
                }
                rest.unwrap_or_else(|| boolean(op.len() == 2))
            }
            _ => {
                return Err(SqlError::new(
                    code::FEATURE_NOT_SUPPORTED,
                    format!("operator {op} is not supported for rows"),
                ));
            }
        };
        Ok(Ex::known(e, ScalarType::Bool, true))
    }

    /// `a IS [NOT] DISTINCT FROM b`.
    fn distinct(&self, left: Ex, right: Ex, negated: bool) -> Result<HirScalarExpr, SqlError> {
        if let (Ex::Row(l), Ex::Row(r)) = (&left, &right) {
            if l.len() != r.len() {
                return Err(SqlError::new(
                    code::SYNTAX_ERROR,
                    "unequal number of entries in row expressions",
                ));
            }
            let parts = l.iter().zip(r).map(|(l, r)| self.distinct(l.clone(), r.clone(), negated));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            return Ok(if negated { hirs::and(parts) } else { hirs::or(parts) });
        }
        if matches!(left, Ex::Null) || matches!(right, Ex::Null) {
            let other = if matches!(left, Ex::Null) { right } else { left };
            let id = if negated { ids::IS_NULL } else { ids::IS_NOT_NULL };
            return Ok(call(id, vec![self.settle(other)?.0], ScalarType::Bool));
        }
        let r = resolve::operator("=", &[left.ty(), right.ty()])?;
        let [lt, rt] = &r.args[..] else { return Err(SqlError::internal("equality takes two")) };
        let l = self.coerce(left, lt, CastContext::Implicit)?.0;
        let r = self.coerce(right, rt, CastContext::Implicit)?.0;
        let id = if negated { ids::IS_NOT_DISTINCT } else { ids::IS_DISTINCT };
        Ok(call(id, vec![l, r], ScalarType::Bool))
    }

    /// Plans an expression.
    pub fn plan_expr(&self, ctx: &Ctx<'_>, e: &Expr) -> Result<Ex, SqlError> {
        self.deeper(|| self.plan_expr_inner(ctx, e))
    }

    fn plan_all<'e>(
        &self,
        ctx: &Ctx<'_>,
        es: impl IntoIterator<Item = &'e Expr>,
    ) -> Result<Vec<Ex>, SqlError> {
        es.into_iter().map(|e| self.plan_expr(ctx, e)).collect()
    }

    fn plan_expr_inner(&self, ctx: &Ctx<'_>, e: &Expr) -> Result<Ex, SqlError> {
        let is = |id: &'static str, inner: &Expr| {
            let (e, _) = if matches!(id, ids::IS_NULL | ids::IS_NOT_NULL) {
                self.plan_known(ctx, inner)?
            } else {
                (self.plan_bool(ctx, inner, "IS")?, ScalarType::Bool.nullable(true))
            };
            Ok(Ex::known(call(id, vec![e], ScalarType::Bool), ScalarType::Bool, false))
        };
        match e {
            Expr::Nested(inner) => self.plan_expr(ctx, inner),
            Expr::Identifier(ident) => self.plan_name(ctx, std::slice::from_ref(ident)),
            Expr::CompoundIdentifier(idents) => self.plan_name(ctx, idents),
            Expr::CompoundFieldAccess { root, access_chain } => self.plan_access(ctx, root, access_chain),
            Expr::Value(v) => self.plan_value(&v.value, v.span),
            Expr::TypedString(t) => {
                let ty = self.data_type(&t.data_type)?;
                let ex = self.plan_value(&t.value.value, t.value.span)?;
                Ok(rounded(self.explicit_cast(ex, &ty)?, &t.data_type))
            }
            Expr::Interval(i) => self.plan_interval(ctx, i),
            Expr::IsNull(inner) => self.plan_is_null(ctx, inner, false),
            Expr::IsNotNull(inner) => self.plan_is_null(ctx, inner, true),
            Expr::IsTrue(inner) => is(ids::IS_TRUE, inner),
            Expr::IsNotTrue(inner) => is(ids::IS_NOT_TRUE, inner),
            Expr::IsFalse(inner) => is(ids::IS_FALSE, inner),
            Expr::IsNotFalse(inner) => is(ids::IS_NOT_FALSE, inner),
            Expr::IsUnknown(inner) | Expr::IsNotUnknown(inner) => {
                let e1 = self.plan_bool(ctx, inner, "IS UNKNOWN")?;
                let id = if matches!(e, Expr::IsUnknown(_)) { ids::IS_NULL } else { ids::IS_NOT_NULL };
                Ok(Ex::known(call(id, vec![e1], ScalarType::Bool), ScalarType::Bool, false))
            }
            Expr::IsDistinctFrom(l, r) | Expr::IsNotDistinctFrom(l, r) => {
                let (l, r) = (self.plan_expr(ctx, l)?, self.plan_expr(ctx, r)?);
                let negated = matches!(e, Expr::IsNotDistinctFrom(..));
                let d = self.at(e, self.distinct(l, r, negated))?;
                Ok(Ex::known(d, ScalarType::Bool, false))
            }
            Expr::IsJson { expr, kind, unique_keys, negated } => {
                let arg = self.plan_expr(ctx, expr)?;
                let mut kind = kind.map_or("value".into(), |k| k.to_string().to_lowercase());
                if matches!(unique_keys, Some(sp::JsonKeyUniqueness::WithUniqueKeys)) {
                    kind.push_str(" with unique keys");
                }
                let kind = Ex::known(literal(Datum::Text(&kind), ScalarType::Text), ScalarType::Text, false);
                let ex = self.at(e, self.named_call("is_json", vec![arg, kind]))?;
                self.negate_if(ex, *negated)
            }
            Expr::InList { expr, list, negated } => {
                let ex = self.plan_in_list(ctx, expr, list)?;
                self.negate_if(ex, *negated)
            }
            Expr::InSubquery { expr, subquery, negated } => {
                let ex = self.plan_quantified(ctx, expr, "=", subquery, false, e.span())?;
                self.negate_if(ex, *negated)
            }
            Expr::Between { expr, negated, low, high } => {
                let ex = self.plan_expr(ctx, expr)?;
                let (low, high) = (self.plan_expr(ctx, low)?, self.plan_expr(ctx, high)?);
                let ex = self.at(e, self.between(ex, low, high))?;
                self.negate_if(ex, *negated)
            }
            Expr::BinaryOp { left, op, right } => self.plan_binary(ctx, e, left, op, right),
            Expr::Like { negated, any, expr, pattern, escape_char } => {
                let op = if *negated { "!~~" } else { "~~" };
                self.plan_like(ctx, e, op, *any, expr, pattern, escape_char.as_deref())
            }
            Expr::ILike { negated, any, expr, pattern, escape_char } => {
                let op = if *negated { "!~~*" } else { "~~*" };
                self.plan_like(ctx, e, op, *any, expr, pattern, escape_char.as_deref())
            }
            Expr::SimilarTo { negated, expr, pattern, escape_char } => {
                let mut args = vec![self.plan_expr(ctx, pattern)?];
                if let Some(escape) = escape_char {
                    args.push(self.plan_expr(ctx, escape)?);
                }
                let pattern = self.at(e, self.named_call("similar_to_escape", args))?;
                let expr = self.plan_expr(ctx, expr)?;
                self.at(e, self.operator(if *negated { "!~" } else { "~" }, vec![expr, pattern]))
            }
            Expr::AnyOp { left, compare_op, right, .. } => {
                self.plan_any_all(ctx, e, left, &operator_name(compare_op)?, right, false)
            }
            Expr::AllOp { left, compare_op, right } => {
                self.plan_any_all(ctx, e, left, &operator_name(compare_op)?, right, true)
            }
            Expr::UnaryOp { op, expr } => self.plan_unary(ctx, e, op, expr),
            Expr::Cast { kind, expr, data_type, format: None } => {
                let ty = self.at(e, self.data_type(data_type))?;
                if let Some(ex) = self.at(e, self.cast_to_registered(expr, data_type))? {
                    return Ok(ex);
                }
                let ex = match (strip(expr), &ty) {
                    (Expr::Array(array), ScalarType::Array(elem)) => {
                        self.plan_array(ctx, e, &array.elem, Some(elem))?
                    }
                    _ => self.plan_expr(ctx, expr)?,
                };
                if matches!(kind, sp::CastKind::TryCast | sp::CastKind::SafeCast) {
                    // A literal must fail softly too.
                    let ex = match ex {
                        Ex::Str(s, _) => {
                            Ex::known(literal(Datum::Text(&s), ScalarType::Text), ScalarType::Text, false)
                        }
                        other => other,
                    };
                    let (cast, ty) = self.at(e, self.coerce(ex, &ty, CastContext::Explicit))?;
                    return Ok(Ex::known(HirScalarExpr::Try(Box::new(cast)), ty.scalar, true));
                }
                let cast = self.at(e, self.explicit_cast(ex, &ty))?;
                Ok(rounded(cast, data_type))
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                let (ts, tz) = (self.plan_expr(ctx, timestamp)?, self.plan_expr(ctx, time_zone)?);
                self.at(e, self.named_call("timezone", vec![tz, ts]))
            }
            Expr::Extract { field, expr, .. } => {
                let field = field.to_string().trim_matches(['\'', '"']).to_lowercase();
                let field =
                    Ex::known(literal(Datum::Text(&field), ScalarType::Text), ScalarType::Text, false);
                let x = self.plan_expr(ctx, expr)?;
                self.at(e, self.named_call("extract", vec![field, x]))
            }
            Expr::Ceil { expr, field } | Expr::Floor { expr, field } => {
                let mut args = vec![self.plan_expr(ctx, expr)?];
                match field {
                    sp::CeilFloorKind::DateTimeField(sp::DateTimeField::NoDateTime) => {}
                    sp::CeilFloorKind::Scale(v) => args.push(self.plan_value(&v.value, v.span)?),
                    _ => {
                        return Err(self.unsupported(
                            e.span(),
                            "rounding to a field of a time",
                            "Use date_trunc.",
                        ));
                    }
                }
                self.at(
                    e,
                    self.named_call(if matches!(e, Expr::Ceil { .. }) { "ceil" } else { "floor" }, args),
                )
            }
            Expr::Position { expr, r#in } => {
                let (needle, hay) = (self.plan_expr(ctx, expr)?, self.plan_expr(ctx, r#in)?);
                let name = if hay.ty() == Some(ScalarType::Bytes) { "position" } else { "strpos" };
                self.at(e, self.named_call(name, vec![hay, needle]))
            }
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let mut args = vec![self.plan_expr(ctx, expr)?];
                match (substring_from, substring_for) {
                    (Some(from), None) => args.push(self.plan_expr(ctx, from)?),
                    (from, Some(length)) => {
                        args.push(match from {
                            Some(from) => self.plan_expr(ctx, from)?,
                            None => Ex::known(
                                literal(Datum::Int32(1), ScalarType::Int32),
                                ScalarType::Int32,
                                false,
                            ),
                        });
                        args.push(self.plan_expr(ctx, length)?);
                    }
                    (None, None) => {}
                }
                self.at(e, self.named_call("substring", args))
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    Some(sp::TrimWhereField::Leading) => "ltrim",
                    Some(sp::TrimWhereField::Trailing) => "rtrim",
                    _ => "btrim",
                };
                let mut args = vec![self.plan_expr(ctx, expr)?];
                if let Some(what) = trim_what {
                    args.push(self.plan_expr(ctx, what)?);
                }
                args.extend(self.plan_all(ctx, trim_characters.iter().flatten())?);
                self.at(e, self.named_call(name, args))
            }
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let parts = [expr, overlay_what, overlay_from].into_iter().chain(overlay_for).map(|e| &**e);
                let args = self.plan_all(ctx, parts)?;
                self.at(e, self.named_call("overlay", args))
            }
            Expr::Collate { expr, collation } => {
                let parts = self.parts(collation)?;
                let name = parts.last().map_or("", |p| p);
                if !["C", "POSIX", "default", "ucs_basic", "c", "posix"].contains(&name) {
                    let message = format!("collation \"{name}\" for encoding \"UTF8\" does not exist");
                    return Err(self
                        .error(collation.span(), code::UNDEFINED_OBJECT, message)
                        .with_hint("Text is compared by its bytes: use COLLATE \"C\"."));
                }
                self.plan_expr(ctx, expr)
            }
            Expr::Function(f) => self.plan_function(ctx, e, f),
            Expr::Case { operand, conditions, else_result, .. } => {
                let operand = operand.as_ref().map(|o| self.plan_expr(ctx, o)).transpose()?;
                if conditions.len() > 1_000 {
                    return Err(SqlError::new(code::STATEMENT_TOO_COMPLEX, "statement is too complex")
                        .with_detail("A CASE has more than 1000 branches."));
                }
                let mut conds = vec![];
                let mut arms = vec![];
                for when in conditions {
                    conds.push(match &operand {
                        None => self.plan_bool(ctx, &when.condition, "CASE/WHEN")?,
                        Some(operand) => {
                            let value = self.plan_expr(ctx, &when.condition)?;
                            let eq =
                                self.at(&when.condition, self.operator("=", vec![operand.clone(), value]))?;
                            self.to_bool(eq, "CASE/WHEN")?
                        }
                    });
                    arms.push(self.plan_expr(ctx, &when.result)?);
                }
                // Postgres finds the common type from the ELSE on.
                arms.insert(0, else_result.as_ref().map_or(Ok(Ex::Null), |e| self.plan_expr(ctx, e))?);
                let (mut arms, ty) = self.at(e, self.unify(arms, "CASE"))?;
                let mut out = arms.remove(0);
                for (cond, then) in conds.into_iter().zip(arms).rev() {
                    out = hirs::if_then(cond, then, out);
                }
                Ok(Ex::Known(out, ty))
            }
            Expr::Exists { subquery, negated } => {
                let plan = self.plan_query(subquery, &ctx.inner())?;
                let (rel, _) = self.relation_of(plan)?;
                let e = HirScalarExpr::Exists(Box::new(rel));
                let e = if *negated { hirs::not(e) } else { e };
                Ok(Ex::known(e, ScalarType::Bool, false))
            }
            Expr::Subquery(query) => {
                let plan = self.plan_query(query, &ctx.inner())?;
                let (rel, types) = self.relation_of(plan)?;
                let [ty] = &types[..] else {
                    return Err(self.error(
                        e.span(),
                        code::SYNTAX_ERROR,
                        "subquery must return only one column",
                    ));
                };
                Ok(Ex::known(HirScalarExpr::Scalar(Box::new(rel)), ty.scalar.clone(), true))
            }
            Expr::Tuple(parts) => Ok(Ex::Row(self.plan_all(ctx, parts)?)),
            Expr::Array(array) => self.plan_array(ctx, e, &array.elem, None),
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
                Err(self.error(e.span(), code::SYNTAX_ERROR, "grouping sets are allowed only in GROUP BY"))
            }
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => {
                Err(self.error(e.span(), code::SYNTAX_ERROR, "syntax error at or near \"*\""))
            }
            other => Err(self.unsupported(
                other.span(),
                &format!("the expression {}", shorten(&other.to_string())),
                "",
            )),
        }
    }

    fn negate_if(&self, ex: Ex, negated: bool) -> Result<Ex, SqlError> {
        match ex {
            Ex::Known(e, ty) if negated => Ok(Ex::Known(hirs::not(e), ty)),
            other => Ok(other),
        }
    }

    /// A cast that SQL asked for.
    fn explicit_cast(&self, ex: Ex, ty: &ScalarType) -> Result<Ex, SqlError> {
        let (e, ty) = self.coerce(ex, ty, CastContext::Explicit)?;
        Ok(Ex::Known(e, ty))
    }

    fn plan_is_null(&self, ctx: &Ctx<'_>, inner: &Expr, negated: bool) -> Result<Ex, SqlError> {
        let ex = self.plan_expr(ctx, inner)?;
        let id = if negated { ids::IS_NOT_NULL } else { ids::IS_NULL };
        // Of a row: each of its parts.
        if let Ex::Row(parts) = ex {
            let mut tests = vec![];
            for part in parts {
                tests.push(call(id, vec![self.settle(part)?.0], ScalarType::Bool));
            }
            return Ok(Ex::known(hirs::and(tests), ScalarType::Bool, false));
        }
        let (e, _) = self.settle(ex)?;
        Ok(Ex::known(call(id, vec![e], ScalarType::Bool), ScalarType::Bool, false))
    }

    // ---- names

    fn plan_name(&self, ctx: &Ctx<'_>, idents: &[sp::Ident]) -> Result<Ex, SqlError> {
        let path: Vec<String> = idents.iter().map(fold).collect();
        let span = idents.first().map_or_else(Span::empty, |i| i.span);
        let name = match resolve_name(ctx.scope, ctx.env, &path) {
            Ok(name) => name,
            // sqlparser takes some functions without parentheses for names.
            Err(error) => match &path[..] {
                [name] if idents[0].quote_style.is_none() && BARE_FUNCTIONS.contains(&name.as_str()) => {
                    return self.named_context(name);
                }
                _ => return Err(self.text.at(span, error)),
            },
        };
        match name {
            Name::Column(found) => {
                if let (0, Some(calls), false) = (found.level, ctx.calls, ctx.in_aggregate) {
                    let place =
                        || (self.text.position(span.start), self.column_name(ctx.scope, found.position));
                    calls.named.borrow_mut().entry(found.position).or_insert_with(place);
                }
                let c = HirScalarExpr::Column(ColumnRef { level: found.level, column: found.position });
                Ok(Ex::Known(c, found.ty))
            }
            Name::Row(level, columns) => {
                let fields = columns.iter().map(|(name, _, ty)| (name.clone(), ty.clone())).collect();
                let ty = ScalarType::Record(fields);
                let args = columns
                    .iter()
                    .map(|(_, position, _)| HirScalarExpr::Column(ColumnRef { level, column: *position }))
                    .collect();
                if let (0, Some(calls), false) = (level, ctx.calls, ctx.in_aggregate) {
                    for (_, position, _) in &columns {
                        let place =
                            || (self.text.position(span.start), self.column_name(ctx.scope, *position));
                        calls.named.borrow_mut().entry(*position).or_insert_with(place);
                    }
                }
                Ok(Ex::known(call(ids::ROW, args, ty.clone()), ty, false))
            }
        }
    }

    /// `table.column`, for errors.
    pub fn column_name(&self, scope: &Scope, position: usize) -> String {
        match scope.columns.iter().find(|c| c.position == position) {
            Some(c) => match c.table {
                Some(t) if !scope.tables[t].alias.is_empty() => {
                    format!("{}.{}", scope.tables[t].alias, c.name)
                }
                _ => c.name.clone(),
            },
            None => "?column?".into(),
        }
    }

    /// `current_user` and such, written without parentheses.
    fn named_context(&self, name: &str) -> Result<Ex, SqlError> {
        let r = resolve::function(name, &[])?;
        match r.imp {
            Implementation::Context(c) => {
                Ok(Ex::known(HirScalarExpr::Context(c), r.ret, context_nullable(c)))
            }
            Implementation::Scalar(func) => self.scalar_call(func, vec![], &r.args, r.ret),
            _ => Err(SqlError::internal(format!("{name} is not a value"))),
        }
    }

    /// `a[1]`, `a[1:2]`, `data['k']`, `(r).field`, and names that sqlparser cut into such.
    fn plan_access(&self, ctx: &Ctx<'_>, root: &Expr, chain: &[AccessExpr]) -> Result<Ex, SqlError> {
        let mut chain = chain.iter().peekable();
        let mut path: Vec<sp::Ident> = match root {
            Expr::Identifier(i) => vec![i.clone()],
            Expr::CompoundIdentifier(is) => is.clone(),
            _ => vec![],
        };
        let mut ex = if path.is_empty() {
            self.plan_expr(ctx, root)?
        } else {
            while let Some(AccessExpr::Dot(Expr::Identifier(i))) = chain.peek() {
                path.push(i.clone());
                chain.next();
            }
            self.plan_name(ctx, &path)?
        };
        while let Some(access) = chain.next() {
            let (e, ty) = self.settle(ex)?;
            ex = match access {
                AccessExpr::Dot(Expr::Identifier(field)) => {
                    let name = fold(field);
                    let ScalarType::Record(fields) = &ty.scalar else {
                        let message = format!(
                            "column notation .{name} applied to type {}, which is not a composite type",
                            ty.scalar.name()
                        );
                        return Err(self.error(field.span, code::WRONG_OBJECT_TYPE, message));
                    };
                    let Some(n) = fields.iter().position(|f| f.0 == name) else {
                        let message = format!("could not identify column \"{name}\" in record data type");
                        return Err(self.error(field.span, code::UNDEFINED_COLUMN, message));
                    };
                    let field = fields[n].1.clone();
                    let n = literal(Datum::Int32(n as i32), ScalarType::Int32);
                    let e = call(ids::RECORD_GET, vec![e, n], field.scalar.clone());
                    Ex::known(e, field.scalar, true)
                }
                AccessExpr::Dot(other) => {
                    return Err(self.error(
                        other.span(),
                        code::SYNTAX_ERROR,
                        "a field's name is expected after \".\"",
                    ));
                }
                AccessExpr::Subscript(first) => {
                    // `a[1][2]` is one access of an array; of jsonb each is one.
                    let mut subscripts = vec![first];
                    if !matches!(ty.scalar, ScalarType::Jsonb | ScalarType::Map(_)) {
                        while let Some(AccessExpr::Subscript(next)) = chain.peek() {
                            subscripts.push(next);
                            chain.next();
                        }
                    }
                    let ex = self.plan_subscripts(ctx, Ex::Known(e, ty), &subscripts);
                    self.at(root, ex)?
                }
            };
        }
        Ok(ex)
    }

    fn plan_subscripts(&self, ctx: &Ctx<'_>, of: Ex, subscripts: &[&Subscript]) -> Result<Ex, SqlError> {
        let ty = of.ty().unwrap_or(ScalarType::Text);
        let sliced = subscripts.iter().any(|s| matches!(s, Subscript::Slice { .. }));
        let mut args = vec![of];
        for s in subscripts {
            match s {
                Subscript::Index { index } if !sliced => args.push(self.plan_expr(ctx, index)?),
                // Among slices an index is the slice from 1.
                Subscript::Index { index } => {
                    args.push(Ex::known(
                        literal(Datum::Int64(1), ScalarType::Int64),
                        ScalarType::Int64,
                        false,
                    ));
                    args.push(self.plan_expr(ctx, index)?);
                }
                Subscript::Slice { lower_bound, upper_bound, stride: None } => {
                    for bound in [lower_bound, upper_bound] {
                        args.push(bound.as_ref().map_or(Ok(Ex::Null), |b| self.plan_expr(ctx, b))?);
                    }
                }
                Subscript::Slice { .. } => return Err(SqlError::unsupported("a slice with a step", "")),
            }
        }
        let r = if sliced {
            resolve::slices(&ty, subscripts.len())?
        } else if let ScalarType::Jsonb | ScalarType::Map(_) = ty {
            return self.operator("->", args);
        } else {
            resolve::subscripts(&ty, subscripts.len())?
        };
        match r.imp {
            Implementation::Scalar(func) => {
                // Positions of any integer type; Postgres takes what can be assigned.
                let mut coerced = vec![];
                for (arg, ty) in args.into_iter().zip(&r.args) {
                    let (e, t) = self.coerce(arg, ty, CastContext::Assignment)?;
                    coerced.push(Ex::Known(e, t));
                }
                self.scalar_call(func, coerced, &r.args, r.ret)
            }
            _ => Err(SqlError::internal("a subscript is a scalar function")),
        }
    }

    // ---- literals

    fn plan_value(&self, value: &Value, span: Span) -> Result<Ex, SqlError> {
        match value {
            Value::Number(n, _) => self.text_number(n).map_err(|e| self.text.at(span, e)),
            Value::SingleQuotedString(s)
            | Value::EscapedStringLiteral(s)
            | Value::UnicodeStringLiteral(s)
            | Value::NationalStringLiteral(s) => self.string(s, span),
            Value::DollarQuotedString(s) => self.string(&s.value, span),
            Value::Boolean(b) => Ok(Ex::known(boolean(*b), ScalarType::Bool, false)),
            Value::Null => Ok(Ex::Null),
            Value::Placeholder(p) => {
                let n = p
                    .strip_prefix('$')
                    .and_then(|n| n.parse::<usize>().ok())
                    .filter(|n| (1..=65_535).contains(n));
                let Some(n) = n else {
                    return Err(self.error(
                        span,
                        code::UNDEFINED_PARAMETER,
                        format!("there is no parameter {p}"),
                    ));
                };
                match self.parameter(n - 1).map_err(|e| self.text.at(span, e))? {
                    Some(ty) => Ok(Ex::known(HirScalarExpr::Parameter(n - 1, ty.clone()), ty, true)),
                    None => Ok(Ex::Param(n - 1)),
                }
            }
            Value::HexStringLiteral(_) => Err(self.unsupported(span, "a bit string", "Use '\\x…'::bytea.")),
            other => Err(self.unsupported(span, &format!("the literal {}", shorten(&other.to_string())), "")),
        }
    }

    fn string(&self, s: &str, span: Span) -> Result<Ex, SqlError> {
        if s.contains('\0') {
            let message = "invalid byte sequence for encoding \"UTF8\": 0x00";
            return Err(self.error(span, code::CHARACTER_NOT_IN_REPERTOIRE, message));
        }
        Ok(Ex::Str(s.into(), span))
    }

    /// A number takes the smallest of int4, int8 and numeric that holds it.
    fn text_number(&self, n: &str) -> Result<Ex, SqlError> {
        let n = n.replace('_', "");
        if let Ok(i) = n.parse::<i32>() {
            return Ok(Ex::known(literal(Datum::Int32(i), ScalarType::Int32), ScalarType::Int32, false));
        }
        if let Ok(i) = n.parse::<i64>() {
            return Ok(Ex::known(literal(Datum::Int64(i), ScalarType::Int64), ScalarType::Int64, false));
        }
        // What is beyond a numeric's 39 digits is a float.
        let numeric = repr::Numeric::parse(&n);
        if numeric.as_ref().map_or(true, |x| x.is_zero())
            && let Ok(x) = n.parse::<f64>()
            && x.is_finite()
            && x != 0.0
        {
            return Ok(Ex::known(
                literal(Datum::Float64(x), ScalarType::Float64),
                ScalarType::Float64,
                false,
            ));
        }
        let (e, ty) = self.coerce(
            Ex::Str(n, Span::empty()),
            &ScalarType::Numeric { scale: None },
            CastContext::Explicit,
        )?;
        Ok(Ex::Known(e, ty))
    }

    fn plan_interval(&self, ctx: &Ctx<'_>, i: &sp::Interval) -> Result<Ex, SqlError> {
        let ex = self.plan_expr(ctx, &i.value)?;
        let (mut text, span) = match ex {
            Ex::Str(s, span) => (s, span),
            _ => return Err(self.error(i.value.span(), code::SYNTAX_ERROR, "INTERVAL takes a string")),
        };
        // `'1' DAY`: the field is the unit of a bare number.
        if let Some(field) = i.last_field.as_ref().or(i.leading_field.as_ref())
            && text.trim().parse::<f64>().is_ok()
        {
            text = format!("{} {}", text.trim(), field.to_string().to_lowercase());
        }
        let (e, ty) = self.coerce(Ex::Str(text, span), &ScalarType::Interval, CastContext::Explicit)?;
        Ok(Ex::Known(e, ty))
    }

    fn plan_array(
        &self,
        ctx: &Ctx<'_>,
        e: &Expr,
        elements: &[Expr],
        expected: Option<&ScalarType>,
    ) -> Result<Ex, SqlError> {
        if elements.is_empty() {
            let Some(elem) = expected else {
                return Err(self
                    .error(e.span(), code::INDETERMINATE_DATATYPE, "cannot determine type of empty array")
                    .with_hint("Explicitly cast to the desired type, for example ARRAY[]::integer[]."));
            };
            let ty = ScalarType::Array(Box::new(elem.clone()));
            return Ok(Ex::known(call(ids::ARRAY, vec![], ty.clone()), ty, false));
        }
        let mut exs = vec![];
        for element in elements {
            exs.push(match element {
                Expr::Array(a) => self.plan_array(ctx, element, &a.elem, expected)?,
                other => self.plan_expr(ctx, other)?,
            });
        }
        let nested = exs.iter().any(|e| matches!(e.ty(), Some(ScalarType::Array(_))));
        if let (Some(elem), false) = (expected, nested) {
            let mut args = vec![];
            for ex in exs {
                args.push(self.at(e, self.coerce(ex, elem, CastContext::Explicit))?.0);
            }
            let ty = ScalarType::Array(Box::new(elem.clone()));
            return Ok(Ex::known(call(ids::ARRAY, args, ty.clone()), ty, false));
        }
        let (args, ty) = self.at(e, self.unify(exs, "ARRAY"))?;
        let (id, ty) = match ty.scalar {
            ScalarType::Array(_) => (ids::ARRAY_NEST, ty.scalar),
            elem => (ids::ARRAY, ScalarType::Array(Box::new(elem.without_modifier()))),
        };
        Ok(Ex::known(call(id, args, ty.clone()), ty, false))
    }

    // ---- operators

    fn plan_unary(&self, ctx: &Ctx<'_>, e: &Expr, op: &UnaryOperator, inner: &Expr) -> Result<Ex, SqlError> {
        let name = match op {
            UnaryOperator::Not => {
                let b = self.plan_bool(ctx, inner, "NOT")?;
                return Ok(Ex::known(hirs::not(b), ScalarType::Bool, true));
            }
            UnaryOperator::Plus => "+",
            UnaryOperator::Minus => "-",
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGAbs => "@",
            UnaryOperator::PGSquareRoot => "|/",
            UnaryOperator::PGCubeRoot => "||/",
            other => {
                let message = format!("operator does not exist: {other}");
                return Err(self.error(e.span(), code::UNDEFINED_FUNCTION, message));
            }
        };
        // The least integers have no positive counterpart of their type.
        if let (UnaryOperator::Minus, Expr::Value(v)) = (op, inner)
            && let Value::Number(n, _) = &v.value
        {
            return self.text_number(&format!("-{n}")).map_err(|err| self.text.at(e.span(), err));
        }
        let ex = self.plan_expr(ctx, inner)?;
        let is_literal = matches!(ex, Ex::Known(HirScalarExpr::Literal(..), _));
        let ex = self.operator(name, vec![ex]).map_err(|err| self.operator_error(e, None, err))?;
        Ok(match ex {
            Ex::Known(e, ty) if is_literal => Ex::Known(hirs::folded(e, &ty), ty),
            other => other,
        })
    }

    fn plan_binary(
        &self,
        ctx: &Ctx<'_>,
        e: &Expr,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
    ) -> Result<Ex, SqlError> {
        if let BinaryOperator::And | BinaryOperator::Or = op {
            // Chains lean left: walk them without recursion.
            let mut parts = vec![right];
            let mut rest = left;
            while let Expr::BinaryOp { left, op: inner, right } = rest
                && inner == op
            {
                parts.push(right);
                rest = left;
            }
            parts.push(rest);
            let what = if *op == BinaryOperator::And { "AND" } else { "OR" };
            let parts = parts.into_iter().rev().map(|p| self.plan_bool(ctx, p, what));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            let e = if *op == BinaryOperator::And { hirs::and(parts) } else { hirs::or(parts) };
            return Ok(Ex::known(e, ScalarType::Bool, true));
        }
        let name = operator_name(op).map_err(|err| self.text.at(e.span(), err))?;
        let l = self.plan_expr(ctx, left)?;
        // A row against a subquery of several columns.
        if let (Ex::Row(_), Expr::Subquery(q)) = (&l, strip(right))
            && is_comparison(&name)
        {
            return self.row_against_subquery(ctx, l, &name, q);
        }
        let r = self.plan_expr(ctx, right)?;
        if let (BinaryOperator::Overlaps, Ex::Row(l), Ex::Row(r)) = (op, &l, &r)
            && let ([a, b], [c, d]) = (&l[..], &r[..])
        {
            return self.at(e, self.overlaps([a, b].map(Clone::clone), [c, d].map(Clone::clone)));
        }
        self.operator(&name, vec![l, r]).map_err(|err| self.operator_error(e, Some(left), err))
    }

    /// Postgres points at the operator, which stands behind its left operand, or before its only one.
    fn operator_error(&self, e: &Expr, left: Option<&Expr>, error: SqlError) -> SqlError {
        if error.position.is_some() || error.code != code::UNDEFINED_FUNCTION {
            return self.text.at(e.span(), error);
        }
        let (text, start) = (self.text.text, Location::new(1, 1));
        let byte = match left {
            Some(left) => {
                let behind = self.text.byte(left.span().end);
                let blank = |c: char| c.is_whitespace() || matches!(c, ')' | '(');
                text.len() - text[behind..].trim_start_matches(blank).len()
            }
            None => {
                let before = text[..self.text.byte(e.span().start)]
                    .trim_end_matches(|c: char| c.is_whitespace() || c == '(');
                before.len().saturating_sub(before.chars().next_back().map_or(0, char::len_utf8))
            }
        };
        match self.text.position(start) {
            Some(first) => error.at(first + text[..byte].chars().count()),
            None => error,
        }
    }

    /// `(start, end) OVERLAPS (start, end)`; an end may be a length, and a NULL end is not known.
    fn overlaps(&self, first: [Ex; 2], second: [Ex; 2]) -> Result<Ex, SqlError> {
        let bool = |e: HirScalarExpr| Ex::known(e, ScalarType::Bool, true);
        let plain = |ex: Ex| self.to_bool(ex, "OVERLAPS");
        let ends = |[a, b]: [Ex; 2]| -> Result<[Ex; 2], SqlError> {
            let b = match b.ty() {
                Some(ScalarType::Interval) => self.operator("+", vec![a.clone(), b])?,
                _ => b,
            };
            let start = self.named_call("least", vec![a.clone(), b.clone()])?;
            let (end, ty) = self.settle(self.named_call("greatest", vec![a.clone(), b.clone()])?)?;
            let open = hirs::or(vec![hirs::is_null(self.settle(a)?.0), hirs::is_null(self.settle(b)?.0)]);
            let null = literal(Datum::Null, ty.scalar.clone());
            Ok([start, Ex::known(hirs::if_then(open, null, end), ty.scalar, true)])
        };
        let ([s1, e1], [s2, e2]) = (ends(first)?, ends(second)?);
        let unknown_if_null = |ex: &Ex, otherwise: HirScalarExpr| -> Result<HirScalarExpr, SqlError> {
            let null = literal(Datum::Null, ScalarType::Bool);
            Ok(hirs::if_then(hirs::is_null(self.settle(ex.clone())?.0), null, otherwise))
        };
        let meets = |start: &Ex, end: &Ex, other: &Ex| -> Result<HirScalarExpr, SqlError> {
            let before = plain(self.operator("<", vec![start.clone(), end.clone()])?)?;
            Ok(hirs::or(vec![before, unknown_if_null(other, boolean(false))?]))
        };
        let later = plain(self.operator(">", vec![s1.clone(), s2.clone()])?)?;
        let earlier = plain(self.operator("<", vec![s1.clone(), s2.clone()])?)?;
        let same = plain(self.operator("=", vec![s1.clone(), s2.clone()])?)?;
        let same = unknown_if_null(&e1, unknown_if_null(&e2, same)?)?;
        let e = hirs::if_then(earlier, meets(&s2, &e1, &e2)?, same);
        Ok(bool(hirs::if_then(later, meets(&s1, &e2, &e1)?, e)))
    }

    fn row_against_subquery(
        &self,
        ctx: &Ctx<'_>,
        row: Ex,
        op: &str,
        query: &sp::Query,
    ) -> Result<Ex, SqlError> {
        let parts = self.row_of_subquery(ctx, query)?;
        self.operator(op, vec![row, Ex::Row(parts)])
    }

    /// The columns of a subquery's one row.
    pub fn row_of_subquery(&self, ctx: &Ctx<'_>, query: &sp::Query) -> Result<Vec<Ex>, SqlError> {
        // One subquery per column would be evaluated twice, so take its row as a record.
        let plan = self.plan_query(query, &ctx.inner())?;
        let (rel, types) = self.relation_of(plan)?;
        let fields: Vec<_> =
            types.iter().enumerate().map(|(i, t)| (format!("f{}", i + 1), t.clone())).collect();
        let ty = ScalarType::Record(fields);
        let record = call(ids::ROW, (0..types.len()).map(column).collect(), ty.clone());
        let arity = types.len();
        let rel = hirs::project(hirs::map(rel, vec![record]), vec![arity], arity + 1);
        let scalar = HirScalarExpr::Scalar(Box::new(rel));
        let parts = types.into_iter().enumerate().map(|(i, t)| {
            let n = literal(Datum::Int32(i as i32), ScalarType::Int32);
            Ex::known(call(ids::RECORD_GET, vec![scalar.clone(), n], t.scalar.clone()), t.scalar, true)
        });
        Ok(parts.collect())
    }

    fn between(&self, ex: Ex, low: Ex, high: Ex) -> Result<Ex, SqlError> {
        let a = self.operator(">=", vec![ex.clone(), low])?;
        let b = self.operator("<=", vec![ex, high])?;
        let both = vec![self.to_bool(a, "BETWEEN")?, self.to_bool(b, "BETWEEN")?];
        Ok(Ex::known(hirs::and(both), ScalarType::Bool, true))
    }

    #[allow(clippy::too_many_arguments, reason = "they are the parts of LIKE")]
    fn plan_like(
        &self,
        ctx: &Ctx<'_>,
        e: &Expr,
        op: &str,
        any: bool,
        expr: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
    ) -> Result<Ex, SqlError> {
        if any {
            return self.plan_any_all(ctx, e, expr, op, pattern, false);
        }
        let left = expr;
        let expr = self.plan_expr(ctx, expr)?;
        let mut pattern = self.plan_expr(ctx, pattern)?;
        if let Some(escape) = escape {
            let escape = self.plan_expr(ctx, escape)?;
            pattern = self.at(e, self.named_call("like_escape", vec![pattern, escape]))?;
        }
        self.operator(op, vec![expr, pattern]).map_err(|err| self.operator_error(e, Some(left), err))
    }

    fn plan_in_list(&self, ctx: &Ctx<'_>, expr: &Expr, list: &[Expr]) -> Result<Ex, SqlError> {
        let left = self.plan_expr(ctx, expr)?;
        let exs = self.plan_all(ctx, list)?;
        if let (true, Some(_)) = (exs.len() > 1, left.ty())
            && exs.iter().all(|e| !matches!(e, Ex::Row(_)))
        {
            // Postgres gives all items one type, together with the left side.
            let types: Vec<_> = std::iter::once(left.ty()).chain(exs.iter().map(Ex::ty)).collect();
            if let Ok(common) = resolve::common_type(&types, "IN") {
                let mut items = vec![];
                for (ex, e) in exs.into_iter().zip(list) {
                    let (item, ty) = self.at(e, self.coerce(ex, &common, CastContext::Implicit))?;
                    items.push(Ex::Known(item, ty));
                }
                if let Some(array) = array_of_many(&items, &common) {
                    return self.at(expr, self.quantified(left, "=", array, false));
                }
                return self.any_equal(left, items, expr);
            }
            let exs = self.plan_all(ctx, list)?;
            return self.any_equal(left, exs, expr);
        }
        self.any_equal(left, exs, expr)
    }

    fn any_equal(&self, left: Ex, items: Vec<Ex>, at: &Expr) -> Result<Ex, SqlError> {
        let mut parts = vec![];
        for item in items {
            let eq = self.at(at, self.operator("=", vec![left.clone(), item]))?;
            parts.push(self.to_bool(eq, "IN")?);
        }
        Ok(Ex::known(hirs::or(parts), ScalarType::Bool, true))
    }

    fn plan_any_all(
        &self,
        ctx: &Ctx<'_>,
        e: &Expr,
        left: &Expr,
        op: &str,
        right: &Expr,
        all: bool,
    ) -> Result<Ex, SqlError> {
        if let Expr::Subquery(query) = strip(right) {
            return self.plan_quantified(ctx, left, op, query, all, e.span());
        }
        let l = self.plan_expr(ctx, left)?;
        let mut r = self.plan_expr(ctx, right)?;
        if r.ty().is_none() {
            // An array of what stands on the left.
            let elem = l.ty().unwrap_or(ScalarType::Text).without_modifier();
            let (a, ty) =
                self.at(right, self.coerce(r, &ScalarType::Array(Box::new(elem)), CastContext::Implicit))?;
            r = Ex::Known(a, ty);
        }
        self.at(e, self.quantified(l, op, r, all))
    }

    /// `x op ANY (array)`, `x op ALL (array)`.
    fn quantified(&self, left: Ex, op: &str, array: Ex, all: bool) -> Result<Ex, SqlError> {
        let ty = array.ty().unwrap_or(ScalarType::Text);
        let q = resolve::quantified(op, &left.ty(), &ty, all)?;
        match q.imp {
            Implementation::Scalar(func) => self.scalar_call(func, vec![left, array], &q.args, q.ret),
            _ => Err(SqlError::internal("a quantified operator is a scalar function")),
        }
    }

    /// `x op ANY (query)`, `x op ALL (query)`, `x IN (query)`, with SQL's three values.
    fn plan_quantified(
        &self,
        ctx: &Ctx<'_>,
        left: &Expr,
        op: &str,
        query: &sp::Query,
        all: bool,
        span: Span,
    ) -> Result<Ex, SqlError> {
        let left = self.plan_expr(ctx, left)?;
        let plan = self.plan_query(query, &ctx.inner())?;
        let (rel, types) = self.relation_of(plan)?;
        let wanted = if let Ex::Row(parts) = &left { parts.len() } else { 1 };
        if types.len() != wanted {
            let message = if types.len() > wanted {
                "subquery has too many columns"
            } else {
                "subquery has too few columns"
            };
            return Err(self.error(span, code::SYNTAX_ERROR, message));
        }
        let column_of = |i: usize| Ex::Known(column(i), types[i].clone());
        let right = match &left {
            Ex::Row(parts) => Ex::Row((0..parts.len()).map(column_of).collect()),
            _ => column_of(0),
        };
        let left_nullable = match &left {
            Ex::Known(_, ty) => ty.nullable,
            Ex::Str(..) => false,
            _ => true,
        };
        // Inside the subquery the left side is one level further out.
        let moved = move_inwards(left.clone());
        let compared = self.operator(op, vec![moved, right]).map_err(|e| self.text.at(span, e))?;
        let compared = self.to_bool(compared, op)?;
        let exists = |predicate: HirScalarExpr| {
            HirScalarExpr::Exists(Box::new(hirs::filter(rel.clone(), vec![predicate])))
        };
        let nullable = left_nullable || types.iter().any(|t| t.nullable) || wanted > 1;
        let null = literal(Datum::Null, ScalarType::Bool);
        // x op ALL (q) is NOT (x not-op ANY (q)).
        let decisive = if all { exists(hirs::not(compared.clone())) } else { exists(compared.clone()) };
        if !nullable {
            let e = if all { hirs::not(decisive) } else { decisive };
            return Ok(Ex::known(e, ScalarType::Bool, false));
        }
        let unknown = if op == "=" && !all && wanted == 1 {
            // Equalities alone are cheap to maintain, so say the rest without comparing.
            let mut cases = vec![];
            if left_nullable {
                let (l, _) = self.settle(left)?;
                cases.push(hirs::and(vec![hirs::is_null(l), HirScalarExpr::Exists(Box::new(rel.clone()))]));
            }
            if types[0].nullable {
                cases.push(exists(hirs::is_null(column(0))));
            }
            hirs::or(cases)
        } else {
            exists(hirs::is_null(compared))
        };
        let e = hirs::if_then(decisive, boolean(!all), hirs::if_then(unknown, null, boolean(all)));
        Ok(Ex::known(e, ScalarType::Bool, true))
    }

    // ---- calls

    fn plan_function(&self, ctx: &Ctx<'_>, e: &Expr, f: &sp::Function) -> Result<Ex, SqlError> {
        let name = self.function_name(&f.name)?;
        let span = f.name.span();
        if let (FunctionArguments::Subquery(query), "array" | "list" | "map") = (&f.args, name.as_str()) {
            return self.plan_subquery_as(ctx, query, &name);
        }
        let (args, distinct, order_by) = self.function_args(f)?;
        // A star stands for itself in count(*) alone.
        let mut star = false;
        let mut exprs: Vec<&Expr> = vec![];
        let zero = Expr::Value(Value::Number("0".into(), false).into());
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => exprs.push(e),
                FunctionArg::Named { name: argument, arg: FunctionArgExpr::Expr(e), .. }
                    if !parameter_names(&name).is_empty() =>
                {
                    let argument = fold(argument);
                    let names = parameter_names(&name);
                    let Some(i) = names.iter().position(|n| *n == argument) else {
                        let message = format!("function {name} has no argument named \"{argument}\"");
                        return Err(self.error(span, code::UNDEFINED_FUNCTION, message));
                    };
                    while exprs.len() <= i {
                        exprs.push(&zero);
                    }
                    exprs[i] = e;
                }
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard | FunctionArgExpr::WildcardWithOptions(_)) => {
                    star = true
                }
                FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(_)) if name == "count" => star = true,
                FunctionArg::Named { arg: FunctionArgExpr::Expr(_), .. } | FunctionArg::ExprNamed { .. } => {
                    return Err(self.unsupported(span, "a named argument", "Give the arguments in order."));
                }
                _ => return Err(self.unsupported(span, "this kind of argument", "")),
            }
        }
        let ranks = ["rank", "dense_rank", "percent_rank", "cume_dist"];
        if !f.within_group.is_empty() && f.over.is_none() && ranks.contains(&name.as_str()) {
            let Some(ranked) = crate::hypothetical::expr(&name, &exprs, f) else {
                let message =
                    format!("function {name} needs as many arguments as WITHIN GROUP has sort keys");
                return Err(self.error(span, code::UNDEFINED_FUNCTION, message));
            };
            return self.plan_expr(ctx, &ranked);
        }
        // `agg(…) WITHIN GROUP (ORDER BY x)`: x is an argument too.
        exprs.extend(f.within_group.iter().map(|o| &o.expr));
        match name.as_str() {
            "current_date" | "localtimestamp" | "current_time" | "localtime" if exprs.is_empty() => {
                let now = HirScalarExpr::Context(Context::Now);
                let now = Ex::known(now, ScalarType::TimestampTz { precision: None }, false);
                let to = match name.as_str() {
                    "current_date" => ScalarType::Date,
                    "localtimestamp" => ScalarType::Timestamp { precision: None },
                    _ => ScalarType::Time,
                };
                let (e, ty) = self.at(e, self.coerce(now, &to, CastContext::Explicit))?;
                return Ok(Ex::Known(e, ty));
            }
            "coalesce" if f.over.is_none() => {
                let exs = self.plan_all(ctx, exprs.iter().copied())?;
                if exs.is_empty() {
                    return Err(self.error(span, code::SYNTAX_ERROR, "coalesce takes at least one argument"));
                }
                let some_not_null = exs
                    .iter()
                    .any(|e| matches!(e, Ex::Str(..)) || matches!(e, Ex::Known(_, t) if !t.nullable));
                let (mut parts, ty) = self.at(e, self.unify(exs, "COALESCE"))?;
                let nullable = ty.nullable && !some_not_null;
                let e = if parts.len() == 1 { parts.remove(0) } else { HirScalarExpr::Coalesce(parts) };
                return Ok(Ex::known(e, ty.scalar, nullable));
            }
            "row" => return Ok(Ex::Row(self.plan_all(ctx, exprs.iter().copied())?)),
            dialect::BETWEEN_SYMMETRIC | dialect::NOT_BETWEEN_SYMMETRIC => {
                let exs = self.plan_all(ctx, exprs.iter().copied())?;
                let [x, a, b] = &exs[..] else { return Err(SqlError::internal("BETWEEN takes three")) };
                let one = self.at(e, self.between(x.clone(), a.clone(), b.clone()))?;
                let other = self.at(e, self.between(x.clone(), b.clone(), a.clone()))?;
                let either = hirs::or(vec![self.to_bool(one, "BETWEEN")?, self.to_bool(other, "BETWEEN")?]);
                let ex = Ex::known(either, ScalarType::Bool, true);
                return self.negate_if(ex, name == dialect::NOT_BETWEEN_SYMMETRIC);
            }
            dialect::LIST => {
                let exs = self.plan_all(ctx, exprs.iter().copied())?;
                let (args, ty) = self.at(e, self.unify(exs, "LIST"))?;
                let ty = ScalarType::List(Box::new(ty.scalar));
                return Ok(Ex::known(call(ids::LIST, args, ty.clone()), ty, false));
            }
            dialect::MAP => {
                let (mut keys, mut values) = (vec![], vec![]);
                for (i, ex) in self.plan_all(ctx, exprs.iter().copied())?.into_iter().enumerate() {
                    if i % 2 == 0 { keys.push(ex) } else { values.push(ex) }
                }
                let (values, ty) = self.at(e, self.unify(values, "MAP"))?;
                let mut args = vec![];
                for (key, value) in keys.into_iter().zip(values) {
                    args.push(self.at(e, self.coerce(key, &ScalarType::Text, CastContext::Implicit))?.0);
                    args.push(value);
                }
                let ty = ScalarType::Map(Box::new(ty.scalar));
                return Ok(Ex::known(call(ids::MAP, args, ty.clone()), ty, false));
            }
            "grouping" => return self.plan_grouping(ctx, e, &exprs),
            "current_setting" => return self.plan_current_setting(ctx, e, &exprs),
            _ => {}
        }
        // Arguments are planned once; an aggregate's may not hold another.
        let aggregate = self.is_aggregate(&name);
        let inner = if aggregate && f.over.is_none() {
            Ctx { calls: None, in_aggregate: true, projection: false, ..*ctx }
        } else {
            *ctx
        };
        let mut exs = self.plan_all(&inner, exprs.iter().copied())?;
        for (ex, e) in exs.iter_mut().zip(&exprs) {
            let known = self.at(*e, self.row_to_known(ex.clone()))?;
            *ex = known;
        }
        if star {
            if !exs.is_empty() || name != "count" {
                return Err(self.error(span, code::SYNTAX_ERROR, "syntax error at or near \"*\""));
            }
            exs.push(Ex::known(boolean(true), ScalarType::Bool, false));
        }
        if let ("pg_typeof", [ex]) = (name.as_str(), &exs[..]) {
            // The type that planning found, not that of a value.
            const UNKNOWN: u32 = 705;
            let ty = ex.ty();
            let odd = matches!(ty, Some(ScalarType::List(_) | ScalarType::Map(_) | ScalarType::Record(_)));
            let oid = ty.as_ref().map_or(UNKNOWN, ScalarType::oid);
            // Types that share an oid with others of their kind have their name only.
            if let (true, Some(ty)) = (odd || oid == 2277, &ty) {
                let name = ty.name();
                return Ok(Ex::known(literal(Datum::Text(&name), ScalarType::Text), ScalarType::Text, false));
            }
            let regtype = ScalarType::RegType;
            return Ok(Ex::known(literal(Datum::UInt32(oid), regtype.clone()), regtype, false));
        }
        if let ("list_n_layers", [ex]) = (name.as_str(), &exs[..]) {
            let (mut layers, mut ty) = (0, ex.ty());
            while let Some(ScalarType::List(element)) = ty {
                layers += 1;
                ty = Some(*element);
            }
            if layers > 0 {
                return Ok(Ex::known(
                    literal(Datum::Int32(layers), ScalarType::Int32),
                    ScalarType::Int32,
                    false,
                ));
            }
        }
        if let Some(ex) = self.at(e, self.catalog_function(&name, &exs))? {
            return Ok(ex);
        }
        let types: Vec<_> = exs.iter().map(Ex::ty).collect();
        let r = resolve::function(&name, &types).map_err(|err| self.text.at(span, err))?;
        if let Implementation::Scalar(_) | Implementation::Table(..) | Implementation::Context(_) = r.imp {
            if distinct {
                let message = format!("DISTINCT specified, but {name} is not an aggregate function");
                return Err(self.error(span, code::WRONG_OBJECT_TYPE, message));
            }
            if !order_by.is_empty() {
                let message = format!("ORDER BY specified, but {name} is not an aggregate function");
                return Err(self.error(span, code::WRONG_OBJECT_TYPE, message));
            }
            if f.filter.is_some() {
                let message = format!("FILTER specified, but {name} is not an aggregate function");
                return Err(self.error(span, code::WRONG_OBJECT_TYPE, message));
            }
            if f.over.is_some() {
                let message =
                    format!("OVER specified, but {name} is not a window function nor an aggregate function");
                return Err(self.error(span, code::WRONG_OBJECT_TYPE, message));
            }
        }
        match r.imp {
            Implementation::Scalar(func) => self.at(e, self.scalar_call(func, exs, &r.args, r.ret)),
            Implementation::Context(c) => {
                Ok(Ex::known(HirScalarExpr::Context(c), r.ret, context_nullable(c)))
            }
            Implementation::Table(func, columns) => {
                let Some(calls) = ctx.calls.filter(|_| ctx.projection) else {
                    let message = format!("set-returning functions are not allowed in {}", ctx.clause);
                    return Err(self.error(span, code::FEATURE_NOT_SUPPORTED, message));
                };
                let mut args = vec![];
                for (ex, ty) in exs.into_iter().zip(&r.args) {
                    args.push(self.at(e, self.coerce(ex, ty, CastContext::Implicit))?.0);
                }
                let mut sets = calls.sets.borrow_mut();
                let first = sets.last().map_or(0, |s| s.first + s.columns.len());
                let call_ = SetCall { func, args, columns: columns.clone(), first };
                sets.push(call_);
                if let [(_, ty)] = &columns[..] {
                    return Ok(Ex::known(column(SETS + first), ty.clone(), true));
                }
                let fields = columns.iter().map(|(n, t)| (n.clone(), t.clone().nullable(true))).collect();
                let ty = ScalarType::Record(fields);
                let parts = (0..columns.len()).map(|i| column(SETS + first + i)).collect();
                Ok(Ex::known(call(ids::ROW, parts, ty.clone()), ty, true))
            }
            Implementation::Aggregate(func) => {
                let json = resolve::makes_json(&r.imp);
                let order_by: Vec<&sp::OrderByExpr> = order_by.iter().chain(&f.within_group).collect();
                let mut args = vec![];
                let mut arg_types = vec![];
                for (ex, ty) in exs.into_iter().zip(&r.args) {
                    let (a, t) = self.at(e, self.coerce(ex, ty, CastContext::Implicit))?;
                    args.push(if json { resolve::jsonb_argument(a, &t.scalar).0 } else { a });
                    arg_types.push(t);
                }
                if let Some(over) = &f.over {
                    let func = WindowFunc::Aggregate(func, distinct);
                    return self.plan_window(ctx, e, f, over, func, args, arg_types, r.ret, &order_by);
                }
                let filter = f.filter.as_ref().map(|p| self.plan_bool(&inner, p, "FILTER")).transpose()?;
                let order_by = self.plan_order(&inner, &order_by)?;
                if distinct && !order_by.is_empty() && order_by.iter().any(|(e, _)| !args.contains(e)) {
                    let message =
                        "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
                    return Err(self.error(span, SqlState::new("42P10"), message));
                }
                let nullable = func.over_nothing().is_null();
                let mut aggregate =
                    HirAggregateExpr { func, args, distinct, order_by, filter, ty: r.ret.clone() };
                let level = level_of(&mut aggregate);
                let frame = ctx.env.frames.len().checked_sub(level).and_then(|i| ctx.env.frames.get(i));
                let refused = |clause: &str| {
                    let message = format!("aggregate functions are not allowed in {clause}");
                    Err(self.text.at(span, grouping_error(message)))
                };
                let calls = match (frame.filter(|_| level > 0), ctx.calls) {
                    (Some(frame), _) => {
                        let Some(outer) = &frame.calls else { return refused(frame.clause) };
                        for _ in 0..level {
                            parts_mut(&mut aggregate).for_each(hirs::outwards);
                        }
                        outer
                    }
                    (None, Some(own)) => own,
                    (None, None) if ctx.in_aggregate => {
                        let message = "aggregate function calls cannot be nested";
                        return Err(self.text.at(span, grouping_error(message)));
                    }
                    (None, None) => return refused(ctx.clause),
                };
                let level = if ctx.calls.is_some_and(|own| Rc::ptr_eq(own, calls)) { 0 } else { level };
                let mut aggregates = calls.aggregates.borrow_mut();
                let index = aggregates.iter().position(|a| *a == aggregate).unwrap_or_else(|| {
                    aggregates.push(aggregate);
                    aggregates.len() - 1
                });
                let place = ColumnRef { level, column: AGGREGATES + index };
                Ok(Ex::known(HirScalarExpr::Column(place), r.ret, nullable))
            }
            Implementation::Window(pure) => {
                let Some(over) = &f.over else {
                    let message = format!("window function {name} requires an OVER clause");
                    return Err(self.error(span, code::WRONG_OBJECT_TYPE, message));
                };
                let mut args = vec![];
                let mut arg_types = vec![];
                for (ex, ty) in exs.into_iter().zip(&r.args) {
                    let (a, t) = self.at(e, self.coerce(ex, ty, CastContext::Implicit))?;
                    args.push(a);
                    arg_types.push(t);
                }
                self.plan_window(ctx, e, f, over, WindowFunc::Pure(pure), args, arg_types, r.ret, &[])
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "they are the parts of a window call")]
    fn plan_window(
        &self,
        ctx: &Ctx<'_>,
        e: &Expr,
        f: &sp::Function,
        over: &sp::WindowType,
        func: WindowFunc,
        args: Vec<HirScalarExpr>,
        arg_types: Vec<ColumnType>,
        ret: ScalarType,
        order_in_call: &[&sp::OrderByExpr],
    ) -> Result<Ex, SqlError> {
        let span = f.name.span();
        let Some(calls) = ctx.calls.filter(|_| ctx.projection) else {
            let message = format!("window functions are not allowed in {}", ctx.clause);
            return Err(self.error(span, SqlState::new("42P20"), message));
        };
        if !order_in_call.is_empty() {
            return Err(self.unsupported(
                span,
                "ORDER BY inside a window function's arguments",
                "Use OVER (ORDER BY …).",
            ));
        }
        if let WindowFunc::Aggregate(_, true) = func {
            return Err(self.error(
                span,
                code::FEATURE_NOT_SUPPORTED,
                "DISTINCT is not implemented for window functions",
            ));
        }
        let mut spec = self.window_spec(ctx, over)?;
        let mut exclude = Exclude::NoOthers;
        spec.order_by.retain(|o| match &o.expr {
            Expr::Identifier(i) => match i.value.strip_prefix(dialect::EXCLUDE) {
                Some(what) => {
                    exclude = match what {
                        "row" => Exclude::CurrentRow,
                        "group" => Exclude::Group,
                        "ties" => Exclude::Ties,
                        _ => Exclude::NoOthers,
                    };
                    false
                }
                None => true,
            },
            _ => true,
        });
        let inner = Ctx { projection: false, clause: "window definitions", ..*ctx };
        let mut partition_by = vec![];
        for p in &spec.partition_by {
            partition_by.push(self.plan_known(&inner, p)?.0);
        }
        let mut keys = vec![];
        for (i, o) in spec.order_by.iter().enumerate() {
            let (key, ty) = self.plan_known(&inner, &o.expr)?;
            keys.push((key, ty, self.column_order(i, &o.options)?));
        }
        let (frame, limits) = self.window_frame(spec.window_frame.as_ref(), exclude, &keys, e)?;
        let order_by = keys.into_iter().map(|(key, _, order)| (key, order)).collect();
        let filter = f.filter.as_ref().map(|p| self.plan_bool(&inner, p, "FILTER")).transpose()?;
        let nullable = !matches!(
            func,
            WindowFunc::Pure("row_number" | "rank" | "dense_rank" | "ntile" | "percent_rank" | "cume_dist")
        ) && !matches!(func, WindowFunc::Aggregate(f, _) if !f.over_nothing().is_null());
        let ignore_nulls = matches!(f.null_treatment, Some(sp::NullTreatment::IgnoreNulls));
        let window = WindowCall {
            func,
            args,
            arg_types,
            filter,
            partition_by,
            order_by,
            frame,
            limits,
            ignore_nulls,
            ty: ret.clone(),
        };
        let mut windows = calls.windows.borrow_mut();
        let index = windows.iter().position(|w| *w == window).unwrap_or_else(|| {
            windows.push(window);
            windows.len() - 1
        });
        Ok(Ex::known(column(WINDOWS + index), ret, nullable))
    }

    /// The window's definition, with what the named window it builds on says.
    fn window_spec(&self, ctx: &Ctx<'_>, over: &sp::WindowType) -> Result<sp::WindowSpec, SqlError> {
        let named = |ident: &sp::Ident| {
            let name = fold(ident);
            let found = ctx.windows.iter().find(|w| fold(&w.0) == name);
            let Some(found) = found else {
                let message = format!("window \"{name}\" does not exist");
                return Err(self.error(ident.span, code::UNDEFINED_OBJECT, message));
            };
            match &found.1 {
                sp::NamedWindowExpr::WindowSpec(spec) => Ok(spec.clone()),
                sp::NamedWindowExpr::NamedWindow(_) => Err(self.unsupported(
                    ident.span,
                    "a window that only names another",
                    "Define it with parentheses.",
                )),
            }
        };
        let mut spec = match over {
            sp::WindowType::NamedWindow(ident) => named(ident)?,
            sp::WindowType::WindowSpec(spec) => spec.clone(),
        };
        if let Some(base) = spec.window_name.take() {
            let base = named(&base)?;
            spec.partition_by = base.partition_by;
            if spec.order_by.is_empty() {
                spec.order_by = base.order_by;
            }
        }
        Ok(spec)
    }

    /// Sort keys inside an aggregate or window.
    fn plan_order(
        &self,
        ctx: &Ctx<'_>,
        order_by: &[&sp::OrderByExpr],
    ) -> Result<Vec<(HirScalarExpr, ColumnOrder)>, SqlError> {
        let mut out = vec![];
        for (i, o) in order_by.iter().enumerate() {
            let (e, _) = self.plan_known(ctx, &o.expr)?;
            out.push((e, self.column_order(i, &o.options)?));
        }
        Ok(out)
    }

    /// `ASC | DESC | USING op`, `NULLS FIRST | LAST`.
    pub fn column_order(&self, column: usize, options: &sp::OrderByOptions) -> Result<ColumnOrder, SqlError> {
        let desc = match &options.sort {
            None | Some(sp::OrderBySort::Asc) => false,
            Some(sp::OrderBySort::Desc) => true,
            Some(sp::OrderBySort::Using(op)) => match op.to_string().trim_start_matches("USING ").trim() {
                ">" => true,
                "<" => false,
                _ => return Err(SqlError::unsupported("this operator for sorting", "Use ASC or DESC.")),
            },
        };
        Ok(ColumnOrder { column, desc, nulls_first: options.nulls_first.unwrap_or(desc) })
    }

    fn plan_grouping(&self, ctx: &Ctx<'_>, e: &Expr, exprs: &[&Expr]) -> Result<Ex, SqlError> {
        let Some(calls) = ctx.calls else {
            let message = format!("grouping operations are not allowed in {}", ctx.clause);
            return Err(self.text.at(e.span(), grouping_error(message)));
        };
        let mut args = vec![];
        for e in exprs {
            args.push(self.plan_known(&Ctx { calls: None, ..*ctx }, e)?.0);
        }
        let mut groupings = calls.groupings.borrow_mut();
        groupings.push(args);
        Ok(Ex::known(column(GROUPINGS + groupings.len() - 1), ScalarType::Int32, false))
    }

    fn plan_current_setting(&self, ctx: &Ctx<'_>, e: &Expr, exprs: &[&Expr]) -> Result<Ex, SqlError> {
        let exs = self.plan_all(ctx, exprs.iter().copied())?;
        let Some(Ex::Str(name, span)) = exs.first() else {
            let found = self.at(e, self.catalog_function("current_setting", &exs))?;
            return found.ok_or_else(|| self.unsupported(e.span(), "current_setting of this", ""));
        };
        let missing_ok = matches!(exs.get(1), Some(Ex::Known(e, _)) if hirs::is_true(e));
        match self.catalog.variable(&name.to_lowercase()) {
            Some(value) => {
                Ok(Ex::known(literal(Datum::Text(&value), ScalarType::Text), ScalarType::Text, false))
            }
            None if missing_ok => {
                Ok(Ex::known(literal(Datum::Null, ScalarType::Text), ScalarType::Text, true))
            }
            None => {
                let message = format!("unrecognized configuration parameter \"{name}\"");
                Err(self.error(*span, code::UNDEFINED_OBJECT, message))
            }
        }
    }

    /// `ARRAY(query)`, `LIST(query)`, `MAP(query)`: all its rows as one value.
    fn plan_subquery_as(&self, ctx: &Ctx<'_>, query: &sp::Query, what: &str) -> Result<Ex, SqlError> {
        let (aggregate, empty, width) = match what {
            "array" => ("array_agg", ids::ARRAY, 1),
            "list" => ("list_agg", ids::LIST, 1),
            _ => ("map_agg", ids::MAP, 2),
        };
        let plan = self.plan_query(query, &ctx.inner())?;
        if plan.columns.len() != width {
            let number = if width == 1 { "one column" } else { "two columns" };
            let message = format!("subquery must return only {number}");
            return Err(self.error(query.span(), code::SYNTAX_ERROR, message));
        }
        let order = plan.order_by.clone();
        let (rel, columns, order, types) = if plan.limit.is_none() && plan.offset == 0 {
            let types: Vec<ColumnType> = plan.columns.iter().map(|c| c.1.clone()).collect();
            (plan.rel, plan.project, order, types)
        } else {
            let (rel, types) = self.relation_of(plan)?;
            (rel, (0..width).collect(), vec![], types)
        };
        let known: Vec<_> = types.iter().map(|ty| Some(ty.scalar.clone())).collect();
        let r = self.at(query, resolve::function(aggregate, &known))?;
        let Implementation::Aggregate(func) = r.imp else {
            return Err(SqlError::internal("it is an aggregate"));
        };
        let order_by = order
            .into_iter()
            .enumerate()
            .map(|(i, o)| (column(o.column), ColumnOrder { column: i, ..o }))
            .collect();
        let mut args = vec![];
        for ((c, from), to) in columns.into_iter().zip(types).zip(&r.args) {
            args.push(self.coerce(Ex::Known(column(c), from), to, CastContext::Implicit)?.0);
        }
        let aggregate =
            HirAggregateExpr { func, args, distinct: false, order_by, filter: None, ty: r.ret.clone() };
        let rel =
            HirRelationExpr::Reduce { input: Box::new(rel), group_key: vec![], aggregates: vec![aggregate] };
        let empty = call(empty, vec![], r.ret.clone());
        let e = HirScalarExpr::Coalesce(vec![HirScalarExpr::Scalar(Box::new(rel)), empty]);
        Ok(Ex::known(e, r.ret, false))
    }

    /// The bare name of a function in one of the schemas that have functions.
    pub fn function_name(&self, name: &sp::ObjectName) -> Result<String, SqlError> {
        let parts = self.parts(name)?;
        let (item, schema) = match &parts[..] {
            [item] => (item, None),
            [.., schema, item] => (item, Some(schema)),
            [] => return Err(SqlError::internal("a function without a name")),
        };
        let schemas = ["pg_catalog", "mz_catalog", "mz_internal", "mz_unsafe", "information_schema"];
        if let Some(schema) = schema
            && !schemas.contains(&schema.as_str())
        {
            if !self.catalog.schema_exists(self.catalog.current_database(), schema) {
                let message = format!("schema \"{schema}\" does not exist");
                return Err(self.error(name.span(), code::INVALID_SCHEMA_NAME, message));
            }
            let message = format!("function {}() does not exist", parts.join("."));
            return Err(self.error(name.span(), code::UNDEFINED_FUNCTION, message));
        }
        Ok(item.clone())
    }

    /// Arguments, DISTINCT, and ORDER BY inside the parentheses.
    #[allow(clippy::type_complexity, reason = "three parts of one thing")]
    pub fn function_args<'f>(
        &self,
        f: &'f sp::Function,
    ) -> Result<(&'f [FunctionArg], bool, Vec<sp::OrderByExpr>), SqlError> {
        let list = match &f.args {
            FunctionArguments::None => return Ok((&[], false, vec![])),
            FunctionArguments::Subquery(q) => {
                return Err(self.unsupported(
                    q.span(),
                    "a bare subquery as an argument",
                    "Put it in parentheses.",
                ));
            }
            FunctionArguments::List(list) => list,
        };
        let distinct = matches!(list.duplicate_treatment, Some(sp::DuplicateTreatment::Distinct));
        let mut order_by = vec![];
        for clause in &list.clauses {
            match clause {
                sp::FunctionArgumentClause::OrderBy(o) => order_by.extend(o.iter().cloned()),
                sp::FunctionArgumentClause::IgnoreOrRespectNulls(_) => {}
                _ => return Err(self.unsupported(f.name.span(), "this clause in a call", "")),
            }
        }
        Ok((&list.args, distinct, order_by))
    }

    fn is_aggregate(&self, name: &str) -> bool {
        plan::func::resolve::is_aggregate(name)
    }

    // ---- reg* types: names of catalog objects, looked up when the statement runs

    /// The query `SELECT result FROM pg_catalog.relation WHERE column = value` as a scalar.
    fn catalog_lookup(
        &self,
        relation: &str,
        column_name: &str,
        value: HirScalarExpr,
        result: &str,
    ) -> Result<Option<(HirScalarExpr, ScalarType)>, SqlError> {
        let database = self.catalog.current_database().to_string();
        let Some(item) = self.catalog.item(&database, "pg_catalog", relation) else { return Ok(None) };
        let Some(desc) = &item.desc else { return Ok(None) };
        let position = |name: &str| desc.columns.iter().position(|c| c.name == name);
        let (Some(key), Some(out)) = (position(column_name), position(result)) else { return Ok(None) };
        let key_type = desc.columns[key].ty.clone();
        let ty = desc.columns[out].ty.scalar.clone();
        let rel = self.get(item)?;
        let key = self.coerce(Ex::Known(column(key), key_type), &ScalarType::Text, CastContext::Explicit)?.0;
        let value = hirs::inwards(value, 1);
        let eq = call(ids::EQ, vec![key, value], ScalarType::Bool);
        let rel = hirs::filter(rel, vec![eq]);
        // Names of one schema only are unique; the first will do.
        let rel = HirRelationExpr::TopK {
            input: Box::new(rel),
            group_key: vec![],
            order_key: vec![],
            limit: Some(1),
            offset: 0,
        };
        let rel = hirs::project(rel, vec![out], desc.arity());
        Ok(Some((HirScalarExpr::Scalar(Box::new(rel)), ty)))
    }

    /// `'name'::regnamespace`, `'name'::regrole`: their numbers.
    fn cast_to_registered(&self, e: &Expr, ty: &sp::DataType) -> Result<Option<Ex>, SqlError> {
        let sp::DataType::Custom(name, _) = ty else { return Ok(None) };
        let (relation, column) = match self.parts(name)?.last().map(String::as_str) {
            Some("regnamespace") => ("pg_namespace", "nspname"),
            Some("regrole") => ("pg_roles", "rolname"),
            _ => return Ok(None),
        };
        let Expr::Value(v) = strip(e) else { return Ok(None) };
        let Value::SingleQuotedString(text) = &v.value else { return Ok(None) };
        if text.parse::<u32>().is_ok() {
            return Ok(None);
        }
        let text = literal(Datum::Text(text.trim_matches('"')), ScalarType::Text);
        let found = self.catalog_lookup(relation, column, text, "oid")?;
        Ok(found.map(|(e, _)| Ex::known(retyped(e, &ScalarType::Oid), ScalarType::Oid, true)))
    }

    fn text_to_reg(
        &self,
        text: HirScalarExpr,
        to: &ScalarType,
    ) -> Result<(HirScalarExpr, ColumnType), SqlError> {
        let literal_text = match &text {
            HirScalarExpr::Literal(Ok(row), _) => match row.iter().next() {
                Some(Datum::Text(s)) => Some(s.to_string()),
                _ => None,
            },
            _ => None,
        };
        let mut name = text;
        if let Some(s) = &literal_text {
            if let Ok(oid) = s.parse::<u32>() {
                return Ok((literal(Datum::UInt32(oid), to.clone()), to.clone().nullable(false)));
            }
            if *to == ScalarType::RegType {
                // Types are the same in every catalog.
                if let Some(oid) = crate::lookups::type_oid(s) {
                    return Ok((literal(Datum::UInt32(oid), to.clone()), to.clone().nullable(false)));
                }
                return Err(crate::planner::unknown_type(s));
            }
            let last = s.rsplit('.').next().unwrap_or(s).trim_matches('"');
            if *to == ScalarType::RegClass {
                let parts: Vec<sp::Ident> = s
                    .split('.')
                    .map(|p| match p.strip_prefix('"').and_then(|p| p.strip_suffix('"')) {
                        Some(quoted) => sp::Ident::with_quote('"', quoted),
                        None => sp::Ident::new(p),
                    })
                    .collect();
                let object = sp::ObjectName::from(parts);
                let Some(item) = self.find(&object)? else {
                    return Err(self.unknown_object(&object, "relation"));
                };
                let oid = Datum::UInt32(crate::catalog::oid(item.id));
                return Ok((literal(oid, to.clone()), to.clone().nullable(false)));
            }
            if *to == ScalarType::RegProc && !plan::func::signatures().any(|f| f.name == last) {
                let message = format!("function \"{s}\" does not exist");
                return Err(SqlError::new(code::UNDEFINED_FUNCTION, message));
            }
            name = literal(Datum::Text(last), ScalarType::Text);
        }
        let (relation, column_name) = if *to == ScalarType::RegProc {
            ("pg_proc", "proname")
        } else if *to == ScalarType::RegType {
            ("pg_type", "typname")
        } else {
            ("pg_class", "relname")
        };
        match self.catalog_lookup(relation, column_name, name, "oid")? {
            Some((e, _)) => Ok((retyped(e, to), to.clone().nullable(true))),
            None => Err(SqlError::unsupported(format!("a cast of text to {}", to.name()), "")),
        }
    }

    /// The name of what a number of the catalog stands for; the number where nothing does.
    pub fn reg_to_text(
        &self,
        e: HirScalarExpr,
        from: &ScalarType,
        to: &ScalarType,
    ) -> Result<(HirScalarExpr, ColumnType), SqlError> {
        let number =
            self.coerce(Ex::known(e, ScalarType::Oid, true), &ScalarType::Text, CastContext::Explicit)?.0;
        let found = match from {
            ScalarType::RegType => {
                let oid = match resolve::cast(&ScalarType::Text, &ScalarType::Oid, CastContext::Explicit) {
                    Some(Cast::Func(func)) => {
                        HirScalarExpr::Call { func, args: vec![number.clone()], ty: ScalarType::Oid }
                    }
                    _ => number.clone(),
                };
                let null = Ex::known(literal(Datum::Null, ScalarType::Int32), ScalarType::Int32, true);
                match self.named_call("format_type", vec![Ex::known(oid, ScalarType::Oid, true), null])? {
                    Ex::Known(e, t) => Some((e, t.scalar)),
                    _ => None,
                }
            }
            ScalarType::RegProc => self.catalog_lookup("pg_proc", "oid", number.clone(), "proname")?,
            // With the schema where the name alone would mean another relation or none.
            _ => match self
                .catalog_function(REGCLASS_NAME, &[Ex::known(number.clone(), ScalarType::Text, true)])?
            {
                Some(Ex::Known(e, ty)) => Some((e, ty.scalar)),
                _ => self.catalog_lookup("pg_class", "oid", number.clone(), "relname")?,
            },
        };
        let e = match found {
            Some((e, ty)) => {
                let e = self.coerce(Ex::known(e, ty, true), &ScalarType::Text, CastContext::Explicit)?.0;
                HirScalarExpr::Coalesce(vec![e, number])
            }
            None => number,
        };
        self.coerce(Ex::known(e, ScalarType::Text, true), to, CastContext::Explicit)
    }
}

/// A time or interval of a type with a precision: it is kept by no column, but a cast rounds.
fn rounded(ex: Ex, ty: &sp::DataType) -> Ex {
    let (id, precision) = match ty {
        sp::DataType::Time(Some(p), sp::TimezoneInfo::None | sp::TimezoneInfo::WithoutTimeZone) => {
            (ids::TIME_ROUND, *p)
        }
        sp::DataType::Interval { precision: Some(p), .. } => (ids::INTERVAL_ROUND, *p),
        _ => return ex,
    };
    match ex {
        Ex::Known(e, ty) => {
            let precision = literal(Datum::Int32(precision.min(6) as i32), ScalarType::Int32);
            let scalar = ty.scalar.clone();
            Ex::Known(hirs::folded(call(id, vec![e, precision], scalar), &ty), ty)
        }
        other => other,
    }
}

/// Every expression in an aggregate.
fn parts_mut(a: &mut HirAggregateExpr) -> impl Iterator<Item = &mut HirScalarExpr> {
    a.args.iter_mut().chain(a.order_by.iter_mut().map(|(e, _)| e)).chain(&mut a.filter)
}

/// The level of the innermost columns that an aggregate reads; 0 without any.
fn level_of(a: &mut HirAggregateExpr) -> usize {
    let mut least: Option<usize> = None;
    for e in parts_mut(a) {
        hirs::rewrite(e, 0, &mut |e, depth| {
            if let HirScalarExpr::Column(c) = e
                && c.level >= depth
            {
                let level = c.level - depth;
                least = Some(least.map_or(level, |l| l.min(level)));
            }
            false
        });
    }
    least.unwrap_or(0)
}

/// What may be written without parentheses and is no keyword to sqlparser.
const BARE_FUNCTIONS: [&str; 11] = [
    "current_user",
    "current_role",
    "session_user",
    "user",
    "current_catalog",
    "current_schema",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
];

fn context_nullable(c: Context) -> bool {
    matches!(c, Context::CurrentSchema)
}

/// A literal or call with another type over the same bytes.
fn retyped(e: HirScalarExpr, to: &ScalarType) -> HirScalarExpr {
    match e {
        HirScalarExpr::Literal(row, ty) => HirScalarExpr::Literal(row, to.clone().nullable(ty.nullable)),
        other => other,
    }
}

/// Inside a subquery, what stands outside is one level further out.
fn move_inwards(ex: Ex) -> Ex {
    match ex {
        Ex::Known(e, ty) => Ex::Known(hirs::inwards(e, 1), ty),
        Ex::Row(parts) => Ex::Row(parts.into_iter().map(move_inwards).collect()),
        other => other,
    }
}

/// An expression without the parentheses around it.
pub(crate) fn strip(e: &Expr) -> &Expr {
    match e {
        Expr::Nested(inner) => strip(inner),
        other => other,
    }
}

fn is_comparison(op: &str) -> bool {
    matches!(op, "=" | "<>" | "<" | "<=" | ">" | ">=")
}

fn shorten(s: &str) -> String {
    if s.chars().count() > 60 { s.chars().take(57).chain("...".chars()).collect() } else { s.into() }
}

/// The operator's name in the table.
pub(crate) fn operator_name(op: &BinaryOperator) -> Result<String, SqlError> {
    Ok(match op {
        BinaryOperator::Plus => "+",
        BinaryOperator::Minus => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulo => "%",
        BinaryOperator::StringConcat => "||",
        BinaryOperator::Gt => ">",
        BinaryOperator::Lt => "<",
        BinaryOperator::GtEq => ">=",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "<>",
        BinaryOperator::BitwiseOr => "|",
        BinaryOperator::BitwiseAnd => "&",
        BinaryOperator::PGBitwiseXor | BinaryOperator::BitwiseXor => "#",
        BinaryOperator::PGBitwiseShiftLeft => "<<",
        BinaryOperator::PGBitwiseShiftRight => ">>",
        BinaryOperator::PGExp => "^",
        BinaryOperator::PGOverlap => "&&",
        BinaryOperator::PGRegexMatch => "~",
        BinaryOperator::PGRegexIMatch => "~*",
        BinaryOperator::PGRegexNotMatch => "!~",
        BinaryOperator::PGRegexNotIMatch => "!~*",
        BinaryOperator::PGLikeMatch => "~~",
        BinaryOperator::PGILikeMatch => "~~*",
        BinaryOperator::PGNotLikeMatch => "!~~",
        BinaryOperator::PGNotILikeMatch => "!~~*",
        BinaryOperator::PGStartsWith => "^@",
        BinaryOperator::Arrow => "->",
        BinaryOperator::LongArrow => "->>",
        BinaryOperator::HashArrow => "#>",
        BinaryOperator::HashLongArrow => "#>>",
        BinaryOperator::AtAt => "@@",
        BinaryOperator::AtArrow => "@>",
        BinaryOperator::ArrowAt => "<@",
        BinaryOperator::HashMinus => "#-",
        BinaryOperator::AtQuestion => "@?",
        BinaryOperator::Question => "?",
        BinaryOperator::QuestionAnd => "?&",
        BinaryOperator::QuestionPipe => "?|",
        BinaryOperator::AndLt => "&<",
        BinaryOperator::AndGt => "&>",
        BinaryOperator::Overlaps => "overlaps",
        BinaryOperator::PGCustomBinaryOperator(parts) => {
            return parts.last().cloned().ok_or_else(|| SqlError::internal("an operator without a name"));
        }
        other => return Ok(other.to_string()),
    }
    .to_string())
}

/// The parameters of functions that are called by name. Those left out are 0.
fn parameter_names(function: &str) -> &'static [&'static str] {
    match function {
        "make_interval" => &["years", "months", "weeks", "days", "hours", "mins", "secs"],
        "make_date" => &["year", "month", "day"],
        "make_time" => &["hour", "min", "sec"],
        "make_timestamp" | "make_timestamptz" => &["year", "month", "mday", "hour", "min", "sec"],
        _ => &[],
    }
}

/// How many constants make an IN list an array: a long chain of ORs takes long to plan.
const MANY: usize = 32;

/// Many constants as one array; none if they are few, one is not constant, or one fails.
fn array_of_many(items: &[Ex], ty: &ScalarType) -> Option<Ex> {
    if items.len() < MANY || matches!(ty, ScalarType::Array(_)) {
        return None;
    }
    let constant = |item: &Ex| match item {
        Ex::Known(HirScalarExpr::Literal(row, _), _) => row.clone().ok(),
        Ex::Known(e, _) => hirs::evaluate(e)?.ok(),
        _ => None,
    };
    let rows = items.iter().map(constant).collect::<Option<Vec<Row>>>()?;
    let arena = Arena::new();
    let length = i32::try_from(rows.len()).ok()?;
    let array = arena.array(&[(length, 1)], rows.iter().flat_map(Row::iter));
    let ty = ScalarType::Array(Box::new(ty.clone()));
    Some(Ex::known(literal(array, ty.clone()), ty, false))
}
