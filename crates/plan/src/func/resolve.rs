//! Which function a call means: Postgres' rules of overload resolution and implicit casts, over the one table.
//!
//! ```text
//!   name, argument types ─► overloads with that many parameters ─► exact match? ─► those that implicit casts reach
//!     ─► most exact matches ─► most preferred types ─► a guess at what unknown literals are ─► one, or 42725
//! ```

use std::fmt::Write;

use repr::error::code;
use repr::{ColumnType, Row, ScalarType, SqlError};

use super::registry::{Entry, FunctionKind, Overload, Param, short_name, table, type_of};
use super::{AggKind, AggRef, FuncRef, TableFuncRef, compare, ids};
use crate::hir::HirScalarExpr;
use crate::scalar::Context;

/// What a call turned out to be.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What to run.
    pub imp: Implementation,
    /// What each argument must be cast to (implicitly; see [`cast`]), in order.
    pub args: Vec<ScalarType>,
    /// What it returns.
    pub ret: ScalarType,
}

/// The kinds of functions.
#[derive(Clone, Debug)]
pub enum Implementation {
    /// One value from one row.
    Scalar(FuncRef),
    /// One value from a group.
    Aggregate(AggRef),
    /// Rows; with the names and types of their columns.
    Table(TableFuncRef, Vec<(String, ScalarType)>),
    /// Known when the statement runs.
    Context(Context),
    /// A pure window function (`row_number`, `rank`, `lag` …), by name.
    Window(&'static str),
}

/// Resolves a function call. `args[i]` is `None` for an argument of unknown type (an uncast string literal, NULL, or a
/// parameter). `name` is lower case without its schema. No such function: 42883 with Postgres' message and, where names
/// are near, a hint.
pub fn function(name: &str, args: &[Option<ScalarType>]) -> Result<Resolved, SqlError> {
    if name == "nullif" && args.len() == 2 {
        // Compared as `=` compares; the result is the first argument.
        let eq = operator("=", args)?;
        // A string of another kind is the same string.
        let ret = match &args[0] {
            Some(left) if left.is_string() => base(left),
            _ => eq.args[0].clone(),
        };
        return Ok(Resolved { imp: Implementation::Scalar(FuncRef::of(ids::NULLIF)), args: eq.args, ret });
    }
    if (name == "greatest" || name == "least") && !args.is_empty() {
        let ret = common_type(args, &name.to_uppercase())?;
        let id = if name == "greatest" { ids::GREATEST } else { ids::LEAST };
        let args = vec![ret.clone(); args.len()];
        return Ok(Resolved { imp: Implementation::Scalar(FuncRef::of(id)), args, ret });
    }
    let t = table();
    let overloads: Vec<&Overload> =
        t.functions.get(name).into_iter().flatten().map(|i| &t.overloads[*i]).collect();
    let refused = match choose(&overloads, args, false) {
        Ok(resolved) => return Ok(resolved),
        Err(refused) => refused,
    };
    // `text(x)`, `date(x)`, `int4(x)`: a cast written as a call.
    if let [arg] = args
        && let Some(to) = type_of(name)
    {
        let from = arg.clone().unwrap_or(ScalarType::Text);
        let f = cast(&from, &to, CastContext::Explicit).map(|c| match c {
            Cast::Func(f) => f,
            Cast::Same => FuncRef::of("same"),
        });
        if let Some(f) = f {
            return Ok(Resolved { imp: Implementation::Scalar(f), args: vec![from], ret: to });
        }
    }
    let call = format!("{name}({})", list(args));
    Err(match refused {
        Refused::Ambiguous => {
            SqlError::new(code::AMBIGUOUS_FUNCTION, format!("function {call} is not unique")).with_hint(
                "Could not choose a best candidate function. You might need to add explicit type casts.",
            )
        }
        Refused::None => {
            let near = if overloads.is_empty() { near_names(name) } else { vec![] };
            let mut hint = String::from(
                "No function matches the given name and argument types. You might need to add explicit type casts.",
            );
            if !near.is_empty() {
                hint = format!(
                    "No function matches the given name. Perhaps you meant {}.",
                    near.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(" or ")
                );
            } else if !overloads.is_empty() {
                let known: Vec<String> = overloads.iter().take(6).map(|o| signature_text(o)).collect();
                let _ = write!(hint, " There is {}.", known.join(", "));
            }
            SqlError::new(code::UNDEFINED_FUNCTION, format!("function {call} does not exist")).with_hint(hint)
        }
    })
}

/// Resolves an operator (`+`, `->>`, `~~` …); one argument: prefix.
pub fn operator(op: &str, args: &[Option<ScalarType>]) -> Result<Resolved, SqlError> {
    // A real beside any other number is computed in double precision.
    if let [Some(l), Some(r)] = args
        && (*l == ScalarType::Float32) != (*r == ScalarType::Float32)
        && [l, r]
            .into_iter()
            .all(|t| category(t) == 'N' && cast(t, &ScalarType::Float64, CastContext::Implicit).is_some())
    {
        return operator(op, &[Some(ScalarType::Float64), Some(ScalarType::Float64)]);
    }
    let t = table();
    let overloads: Vec<&Overload> =
        t.operators.get(op).into_iter().flatten().map(|i| &t.overloads[*i]).collect();
    let refused = match choose(&overloads, args, true) {
        Ok(resolved) => return Ok(resolved),
        Err(refused) => refused,
    };
    let words: Vec<String> = args.iter().map(type_text).collect();
    let call = match &words[..] {
        [right] => format!("{op} {right}"),
        _ => words.join(&format!(" {op} ")),
    };
    Err(match refused {
        Refused::Ambiguous => SqlError::new(code::AMBIGUOUS_FUNCTION, format!("operator is not unique: {call}"))
            .with_hint("Could not choose a best candidate operator. You might need to add explicit type casts."),
        Refused::None => SqlError::new(code::UNDEFINED_FUNCTION, format!("operator does not exist: {call}"))
            .with_hint(if args.len() == 1 {
                "No operator matches the given name and argument type. You might need to add an explicit type cast."
            } else {
                "No operator matches the given name and argument types. You might need to add explicit type casts."
            }),
    })
}

/// Resolves `left op ANY (right)` (`all`: `ALL`) over an array or a list: one function of both.
///
/// Errors: 42809 where the right side is neither, 0A000 for operators that cannot be quantified, else as [`operator`].
pub fn quantified(
    op: &str,
    left: &Option<ScalarType>,
    right: &ScalarType,
    all: bool,
) -> Result<Resolved, SqlError> {
    let element = match right {
        ScalarType::Array(e) | ScalarType::List(e) => (**e).clone(),
        ScalarType::Int2Vector => ScalarType::Int16,
        _ => {
            return Err(SqlError::new(
                code::WRONG_OBJECT_TYPE,
                "op ANY/ALL (array) requires array on right side",
            ));
        }
    };
    let id = compare::quantified_id(op, all).ok_or_else(|| {
        SqlError::unsupported(format!("the operator {op} with ANY or ALL"), "Use EXISTS over unnest(…).")
    })?;
    let one = operator(op, &[left.clone(), Some(element)])?;
    let mut args = one.args;
    let element = Box::new(args.pop().expect("an operator with two arguments"));
    args.push(match right {
        ScalarType::List(_) => ScalarType::List(element),
        _ => ScalarType::Array(element),
    });
    Ok(Resolved { imp: Implementation::Scalar(FuncRef::of(id)), args, ret: ScalarType::Bool })
}

/// Resolves `x[i]` of arrays and lists, `x['key']` of jsonb and maps: a function of the value and the subscript.
pub fn subscript(of: &ScalarType) -> Result<Resolved, SqlError> {
    match of {
        ScalarType::Jsonb | ScalarType::Map(_) => operator("->", &[Some(of.clone()), Some(ScalarType::Text)]),
        _ => subscripts(of, 1),
    }
}

/// Resolves `x[i][j]…` with `n` subscripts, which are int8: a function of the value and all of them. For arrays that is
/// not the same as one after the other.
pub fn subscripts(of: &ScalarType, n: usize) -> Result<Resolved, SqlError> {
    let (id, ret) = match of {
        ScalarType::Array(e) => ("array_get", (**e).clone()),
        ScalarType::Int2Vector => ("int2vector_get", ScalarType::Int16),
        ScalarType::List(_) => {
            let mut ret = of;
            for _ in 0..n {
                match ret {
                    ScalarType::List(e) => ret = e,
                    _ => return Err(not_subscriptable(of)),
                }
            }
            ("list_get", ret.clone())
        }
        _ => return Err(not_subscriptable(of)),
    };
    let args = std::iter::once(of.clone()).chain(vec![ScalarType::Int64; n]).collect();
    Ok(Resolved { imp: Implementation::Scalar(FuncRef::of(id)), args, ret })
}

/// Resolves `x[i:j]`: the function takes the value, then lower and upper bound (int8, NULL where left out).
pub fn slice(of: &ScalarType) -> Result<Resolved, SqlError> {
    slices(of, 1)
}

/// Resolves `x[i:j][k:l]…` over so many dimensions, as [`slice()`] with two bounds for each.
pub fn slices(of: &ScalarType, dimensions: usize) -> Result<Resolved, SqlError> {
    let id = match of {
        ScalarType::Array(_) => "array_slice",
        ScalarType::List(_) if dimensions == 1 => "list_slice",
        ScalarType::Int2Vector => {
            return slices(&ScalarType::Array(Box::new(ScalarType::Int16)), dimensions);
        }
        _ => return Err(not_subscriptable(of)),
    };
    let args = std::iter::once(of.clone()).chain(vec![ScalarType::Int64; 2 * dimensions]).collect();
    Ok(Resolved { imp: Implementation::Scalar(FuncRef::of(id)), args, ret: of.clone() })
}

fn not_subscriptable(of: &ScalarType) -> SqlError {
    SqlError::new(
        code::DATATYPE_MISMATCH,
        format!("cannot subscript type {} because it does not support subscripting", of.name()),
    )
}

/// Where a record becomes JSON its field names are needed, which values do not carry: wraps an argument whose type holds
/// records, so that it is jsonb with those names; others stay as they are. With the type of what comes out.
pub fn jsonb_argument(e: HirScalarExpr, ty: &ScalarType) -> (HirScalarExpr, ScalarType) {
    match jsonb_shape(ty) {
        None => (e, ty.clone()),
        Some((func, shape)) => {
            let shape = HirScalarExpr::Literal(Ok(shape), ScalarType::Jsonb.nullable(false));
            (HirScalarExpr::Call { func, args: vec![shape, e], ty: ScalarType::Jsonb }, ScalarType::Jsonb)
        }
    }
}

/// For a type that holds records: the function (of a description and the value) that makes jsonb of it, and the
/// description.
pub fn jsonb_shape(ty: &ScalarType) -> Option<(FuncRef, Row)> {
    fn describe(ty: &ScalarType, out: &mut String) -> bool {
        match ty {
            ScalarType::Record(fields) => {
                out.push_str("{\"r\":[");
                for (i, (name, field)) in fields.iter().enumerate() {
                    out.push_str(if i > 0 { ",[" } else { "[" });
                    repr::jsonb::write_string(name, out);
                    out.push(',');
                    describe(&field.scalar, out);
                    out.push(']');
                }
                out.push_str("]}");
                true
            }
            ScalarType::Array(e) | ScalarType::List(e) | ScalarType::Map(e) => {
                out.push_str("{\"e\":");
                let found = describe(e, out);
                out.push('}');
                found
            }
            _ => {
                out.push_str("null");
                false
            }
        }
    }
    let mut text = String::new();
    if !describe(ty, &mut text) {
        return None;
    }
    let arena = repr::Arena::new();
    let description = repr::json::parse(&text, &arena).ok()?;
    Some((FuncRef::of(ids::RECORD_TO_JSONB), Row::pack([description])))
}

/// Whether the function makes JSON of its arguments, so that records among them go through [`jsonb_argument`].
pub fn makes_json(imp: &Implementation) -> bool {
    match imp {
        Implementation::Scalar(f) => {
            matches!(f.0.id, "to_jsonb" | "jsonb_build_object" | "jsonb_build_array")
        }
        Implementation::Aggregate(f) => matches!(f.0.id, "jsonb_agg" | "jsonb_object_agg"),
        _ => false,
    }
}

/// Whether any kind of function has this name.
pub fn is_function(name: &str) -> bool {
    table().functions.contains_key(name) || matches!(name, "nullif" | "coalesce")
}

/// Whether an aggregate has this name.
pub fn is_aggregate(name: &str) -> bool {
    has_kind(name, FunctionKind::Aggregate)
}

/// Whether a table function has this name.
pub fn is_table_function(name: &str) -> bool {
    has_kind(name, FunctionKind::Table)
}

/// Whether a pure window function has this name.
pub fn is_window_function(name: &str) -> bool {
    has_kind(name, FunctionKind::Window)
}

fn has_kind(name: &str, kind: FunctionKind) -> bool {
    let t = table();
    t.functions.get(name).into_iter().flatten().any(|i| t.overloads[*i].kind == kind)
}

enum Refused {
    None,
    Ambiguous,
}

/// An overload with its parameters laid out for the number of arguments at hand.
struct Candidate<'t> {
    overload: &'t Overload,
    params: Vec<&'t Param>,
}

fn choose(
    overloads: &[&Overload],
    args: &[Option<ScalarType>],
    is_operator: bool,
) -> Result<Resolved, Refused> {
    let mut candidates: Vec<Candidate<'_>> = vec![];
    for overload in overloads {
        let n = overload.params.len();
        let fits = n == args.len() || (overload.variadic && args.len() >= n);
        if fits {
            let params = (0..args.len()).map(|i| &overload.params[i.min(n.max(1) - 1)]).collect();
            candidates.push(Candidate { overload, params });
        }
    }
    // An exact match; for an operator also one that takes an unknown side for the type of the other.
    let guess: Vec<Option<ScalarType>> = match args {
        [Some(l), None] if is_operator => vec![Some(l.clone()), Some(l.clone())],
        [None, Some(r)] if is_operator => vec![Some(r.clone()), Some(r.clone())],
        _ => args.to_vec(),
    };
    if let Some(exact) = candidates.iter().find(|c| {
        c.params.iter().zip(&guess).all(|(p, a)| a.as_ref().is_some_and(|a| is_exact(p, a)))
            && bind(&c.params, &guess).is_some()
    }) {
        return finish(exact, &guess).ok_or(Refused::None);
    }
    candidates.retain(|c| bind(&c.params, args).is_some());
    if candidates.is_empty() {
        return Err(Refused::None);
    }
    keep_best(&mut candidates, |c| count(c, args, is_exact));
    if candidates.len() > 1 {
        keep_best(&mut candidates, |c| {
            count(c, args, |p, a| {
                is_exact(p, a)
                    || matches!(p, Param::Exact(t) if is_preferred(t) && category(t) == category(a))
            })
        });
    }
    if candidates.len() > 1 && args.iter().any(Option::is_none) {
        guess_unknowns(&mut candidates, args);
    }
    match &candidates[..] {
        [one] => finish(one, args).ok_or(Refused::None),
        _ => Err(Refused::Ambiguous),
    }
}

fn count(c: &Candidate<'_>, args: &[Option<ScalarType>], f: impl Fn(&Param, &ScalarType) -> bool) -> usize {
    c.params.iter().zip(args).filter(|(p, a)| a.as_ref().is_some_and(|a| f(p, a))).count()
}

fn keep_best(candidates: &mut Vec<Candidate<'_>>, score: impl Fn(&Candidate<'_>) -> usize) {
    let best = candidates.iter().map(&score).max().unwrap_or(0);
    candidates.retain(|c| score(c) == best);
}

/// Postgres' last resort: strings where a string would do, else the one category that all candidates agree on; failing
/// that, the type of the known arguments.
fn guess_unknowns(candidates: &mut Vec<Candidate<'_>>, args: &[Option<ScalarType>]) {
    let mut wanted: Vec<Option<(char, bool)>> = vec![None; args.len()];
    let mut all_found = true;
    for (i, _) in args.iter().enumerate().filter(|(_, a)| a.is_none()) {
        let takes: Vec<(char, bool)> = candidates.iter().map(|c| param_category(c.params[i])).collect();
        let category = match takes.iter().find(|(c, _)| *c == 'S') {
            Some(_) => Some('S'),
            None if takes.iter().all(|(c, _)| *c == takes[0].0) => Some(takes[0].0),
            None => None,
        };
        match category {
            Some(c) => {
                let preferred = takes.iter().any(|(k, p)| *k == c && *p);
                wanted[i] = Some((c, preferred));
            }
            None => all_found = false,
        }
    }
    if all_found {
        let fits = |c: &Candidate<'_>| {
            wanted.iter().enumerate().all(|(i, w)| match w {
                Some((category, preferred)) => {
                    let (c, p) = param_category(c.params[i]);
                    c == *category && (!preferred || p)
                }
                None => true,
            })
        };
        if candidates.iter().any(fits) {
            candidates.retain(fits);
        }
        if candidates.len() == 1 {
            return;
        }
    }
    let mut known = args.iter().flatten();
    if let Some(first) = known.next()
        && known.all(|k| base(k) == base(first))
    {
        let filled: Vec<Option<ScalarType>> =
            args.iter().map(|a| a.clone().or_else(|| Some(first.clone()))).collect();
        let fits = |c: &Candidate<'_>| bind(&c.params, &filled).is_some();
        if candidates.iter().filter(|c| fits(c)).count() == 1 {
            candidates.retain(fits);
        }
    }
}

/// What the polymorphic parameters of a call stand for.
#[derive(Default)]
struct Binding {
    element: Option<ScalarType>,
    compatible: Option<ScalarType>,
}

/// Whether implicit casts lead from the arguments to the parameters, and what that makes of polymorphic ones.
fn bind(params: &[&Param], args: &[Option<ScalarType>]) -> Option<Binding> {
    // Anything that is a time turns into an mz_timestamp, but only beside one: `date = integer` must stay an error.
    let engine_time = args.iter().flatten().any(|a| *a == ScalarType::MzTimestamp);
    let mut element: Option<ScalarType> = None;
    let mut unify = |ty: &ScalarType| {
        let ty = base(ty);
        match &element {
            None => element = Some(ty),
            Some(e) if *e == ty => {}
            Some(e) if e.is_string() && ty.is_string() => element = Some(ScalarType::Text),
            // A record made on the spot has other names than one from a table.
            Some(ScalarType::Record(a)) if matches!(&ty, ScalarType::Record(b) if a.len() == b.len()) => {}
            Some(_) => return false,
        }
        true
    };
    let mut compatible = vec![];
    for (param, arg) in params.iter().zip(args) {
        let Some(arg) = arg else { continue };
        let fits = match (param, arg) {
            (Param::Exact(t), a) => {
                base(a) == base(t)
                    || ((*t != ScalarType::MzTimestamp || engine_time)
                        && cast(a, t, CastContext::Implicit).is_some())
            }
            (Param::Any, _) => true,
            (Param::Element, a) => unify(a),
            (Param::NonArray, ScalarType::Array(_)) => false,
            (Param::NonArray, a) => unify(a),
            (Param::Array, ScalarType::Array(e)) => unify(e),
            (Param::Array, ScalarType::Int2Vector) => unify(&ScalarType::Int16),
            (Param::List, ScalarType::List(e)) => unify(e),
            (Param::Map, ScalarType::Map(e)) => unify(e),
            (Param::Range, ScalarType::Range(e)) => unify(e),
            (Param::AnyRecord, ScalarType::Record(fields)) => unify(&ScalarType::Record(fields.clone())),
            (Param::Compatible, a) => {
                compatible.push(Some(a.clone()));
                true
            }
            (Param::CompatibleArray, ScalarType::Array(e)) | (Param::CompatibleList, ScalarType::List(e)) => {
                compatible.push(Some((**e).clone()));
                true
            }
            _ => false,
        };
        if !fits {
            return None;
        }
    }
    let compatible = match compatible.is_empty() {
        true => None,
        false => Some(base(&common_type(&compatible, "").ok()?)),
    };
    Some(Binding { element, compatible })
}

impl Binding {
    /// The type that a parameter or result stands for; `arg` is what was given, for `any`.
    fn resolve(&self, param: &Param, arg: Option<&ScalarType>) -> ScalarType {
        let element = || self.element.clone().unwrap_or(ScalarType::Text);
        let compatible = || self.compatible.clone().unwrap_or(ScalarType::Text);
        match param {
            Param::Exact(t) => t.clone(),
            Param::Any => arg.cloned().unwrap_or(ScalarType::Text),
            Param::Element | Param::NonArray => element(),
            Param::Array => ScalarType::Array(Box::new(element())),
            Param::List => ScalarType::List(Box::new(element())),
            Param::Map => ScalarType::Map(Box::new(element())),
            Param::Range => ScalarType::Range(Box::new(element())),
            Param::Compatible => compatible(),
            Param::CompatibleArray => ScalarType::Array(Box::new(compatible())),
            Param::CompatibleList => ScalarType::List(Box::new(compatible())),
            Param::AnyRecord => match arg.cloned().or_else(|| self.element.clone()) {
                Some(r @ ScalarType::Record(_)) => r,
                _ => ScalarType::Record(vec![]),
            },
        }
    }
}

fn finish(c: &Candidate<'_>, args: &[Option<ScalarType>]) -> Option<Resolved> {
    let binding = bind(&c.params, args)?;
    let o = c.overload;
    let mut types: Vec<ScalarType> =
        c.params.iter().zip(args).map(|(p, a)| binding.resolve(p, a.as_ref())).collect();
    let columns: Vec<(String, ScalarType)> =
        o.columns.iter().map(|(name, p)| ((*name).to_string(), binding.resolve(p, None))).collect();
    let ret = match (&columns[..], &o.ret) {
        ([_, _, ..], _) => {
            ScalarType::Record(columns.iter().map(|(n, t)| (n.clone(), t.clone().nullable(true))).collect())
        }
        (_, ret) => binding.resolve(ret, None),
    };
    let imp = match o.entry {
        Entry::Scalar(f) => Implementation::Scalar(FuncRef(f)),
        Entry::Aggregate(f) => {
            // Variances are computed from numerics and floats alone.
            if matches!(f.kind, AggKind::Variance { .. }) && matches!(ret, ScalarType::Numeric { .. }) {
                types = vec![ScalarType::Numeric { scale: None }];
            }
            Implementation::Aggregate(AggRef(f))
        }
        Entry::Table(f) => Implementation::Table(TableFuncRef(f), columns),
        Entry::Window(name) => Implementation::Window(name),
        Entry::Context(c) => Implementation::Context(c),
    };
    Some(Resolved { imp, args: types, ret })
}

fn is_exact(param: &Param, arg: &ScalarType) -> bool {
    match (param, arg) {
        (Param::Exact(t), a) => base(t) == base(a),
        (Param::AnyRecord, ScalarType::Record(_)) => true,
        _ => false,
    }
}

/// The type without modifiers, also inside containers.
pub fn base(ty: &ScalarType) -> ScalarType {
    match ty {
        ScalarType::Array(e) => ScalarType::Array(Box::new(base(e))),
        ScalarType::List(e) => ScalarType::List(Box::new(base(e))),
        ScalarType::Map(e) => ScalarType::Map(Box::new(base(e))),
        ScalarType::Range(e) => ScalarType::Range(Box::new(base(e))),
        ScalarType::Record(fields) => ScalarType::Record(
            fields
                .iter()
                .map(|(n, t)| (n.clone(), ColumnType { scalar: base(&t.scalar), nullable: t.nullable }))
                .collect(),
        ),
        other => other.without_modifier(),
    }
}

/// `pg_type.typcategory`.
pub fn category(ty: &ScalarType) -> char {
    use ScalarType::*;
    match ty {
        Bool => 'B',
        Int16
        | Int32
        | Int64
        | UInt16
        | UInt32
        | UInt64
        | Float32
        | Float64
        | Numeric { .. }
        | Oid
        | RegClass
        | RegProc
        | RegType => 'N',
        Text | VarChar { .. } | Char { .. } | Name | PgChar => 'S',
        Date | Time | Timestamp { .. } | TimestampTz { .. } => 'D',
        Interval => 'T',
        Array(_) | Int2Vector => 'A',
        Record(_) => 'P',
        Range(_) => 'R',
        Bytes | Jsonb | Uuid | MzTimestamp | List(_) | Map(_) => 'U',
    }
}

/// `pg_type.typispreferred`.
pub fn is_preferred(ty: &ScalarType) -> bool {
    use ScalarType::*;
    matches!(ty, Bool | Float64 | Oid | Text | TimestampTz { .. } | Interval)
}

fn param_category(param: &Param) -> (char, bool) {
    match param {
        Param::Exact(t) => (category(t), is_preferred(t)),
        _ => ('P', false),
    }
}

fn type_text(ty: &Option<ScalarType>) -> String {
    ty.as_ref().map_or_else(|| "unknown".into(), ScalarType::name)
}

fn list(args: &[Option<ScalarType>]) -> String {
    args.iter().map(type_text).collect::<Vec<_>>().join(", ")
}

fn signature_text(o: &Overload) -> String {
    let mut params: Vec<String> = o.params.iter().map(Param::name).collect();
    if o.variadic
        && let Some(last) = params.last_mut()
    {
        *last = format!("VARIADIC {last}");
    }
    format!("{}({})", o.name, params.join(", "))
}

/// Names of the table that a slip of the hand may have meant, nearest first.
fn near_names(name: &str) -> Vec<&'static str> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    let mut near: Vec<(usize, &'static str)> =
        table().functions.keys().map(|n| (distance(name, n), *n)).filter(|(d, _)| *d <= limit).collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, n)| n).collect()
}

/// Levenshtein's distance.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (diagonal + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

/// Where a cast is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CastContext {
    /// Anywhere.
    Implicit,
    /// Storing into a column.
    Assignment,
    /// `CAST(x AS t)`, `x::t`.
    Explicit,
}

/// How to turn a type into another.
#[derive(Clone, Debug)]
pub enum Cast {
    /// The bytes are the same already.
    Same,
    /// A function of one argument; its `ty` is the target with its modifier.
    Func(FuncRef),
}

/// The cast, if there is one in this context. A modifier on the target (`varchar(3)`, `numeric(10,2)`) makes it a
/// function even between equal types.
pub fn cast(from: &ScalarType, to: &ScalarType, context: CastContext) -> Option<Cast> {
    use ScalarType::*;
    let func = |id: &'static str| Some(Cast::Func(FuncRef::of(id)));
    if from == to {
        return Some(Cast::Same);
    }
    let elements = |a: &ScalarType, b: &ScalarType, id: &'static str| match cast(a, b, context)? {
        Cast::Same => Some(Cast::Same),
        Cast::Func(_) => func(id),
    };
    match (from, to) {
        (Array(a), Array(b)) => return elements(a, b, "cast_array_array"),
        (List(a), List(b)) => return elements(a, b, "cast_list_list"),
        (Map(a), Map(b)) => return elements(a, b, "cast_map_map"),
        (Range(a), Range(b)) => return (base(a) == base(b)).then_some(Cast::Same),
        (Array(a), List(b)) if context == CastContext::Explicit => {
            cast(a, b, context)?;
            return func("cast_array_list");
        }
        (List(a), Array(b)) if context == CastContext::Explicit => {
            cast(a, b, context)?;
            return func("cast_list_array");
        }
        (Int2Vector, Array(b)) if matches!(**b, Int16) => return Some(Cast::Same),
        (Int2Vector, Array(_)) => return cast(&Array(Box::new(Int16)), to, context),
        (Array(a), Int2Vector) if matches!(**a, Int16) => return Some(Cast::Same),
        (Record(a), Record(b)) => {
            if b.is_empty() {
                return Some(Cast::Same);
            }
            if a.len() != b.len() {
                return None;
            }
            let mut same = true;
            for ((_, a), (_, b)) in a.iter().zip(b) {
                same &= matches!(cast(&a.scalar, &b.scalar, context)?, Cast::Same);
            }
            return if same { Some(Cast::Same) } else { func("cast_record_record") };
        }
        _ => {}
    }
    if base(from) == base(to) {
        return match to {
            Numeric { scale: Some(_) } => func("cast_numeric_numeric"),
            Timestamp { precision: Some(_) } => func("cast_timestamp_timestamp"),
            TimestampTz { precision: Some(_) } => func("cast_timestamptz_timestamptz"),
            VarChar { length: Some(_) } if context != CastContext::Explicit => func("assign_text_varchar"),
            VarChar { length: Some(_) } => func("cast_text_varchar"),
            Char { length: Some(_) } if context != CastContext::Explicit => func("assign_text_bpchar"),
            Char { length: Some(_) } => func("cast_text_bpchar"),
            _ => Some(Cast::Same),
        };
    }
    // Between strings: what PG calls binary coercible, but for lengths.
    if from.is_string() && to.is_string() {
        return match to {
            VarChar { length: Some(_) } if context != CastContext::Explicit => func("assign_text_varchar"),
            VarChar { length: Some(_) } => func("cast_text_varchar"),
            Char { length: Some(_) } if context != CastContext::Explicit => func("assign_text_bpchar"),
            Char { length: Some(_) } => func("cast_text_bpchar"),
            PgChar if context == CastContext::Implicit => None,
            PgChar => func("cast_text_char"),
            Name if matches!(from, PgChar) => Some(Cast::Same),
            Name => func("cast_text_name"),
            Char { .. } => func("cast_text_bpchar"),
            _ => Some(Cast::Same),
        };
    }
    let casts = &table().casts;
    let entry = casts.get(&(short_name(from), short_name(to)));
    // Every string goes where text goes; but `"char"` is no string to casts.
    let string = |ty: &ScalarType| ty.is_string() && *ty != PgChar;
    let entry = entry.or_else(|| if string(from) { casts.get(&("text", short_name(to))) } else { None });
    let entry = entry.or_else(|| if string(to) { casts.get(&(short_name(from), "text")) } else { None });
    let entry = entry?;
    if entry.context > context {
        return None;
    }
    Some(entry.func.map_or(Cast::Same, |f| Cast::Func(FuncRef(f))))
}

/// Why there is no cast, as Postgres says it. Storing into a column has a message of its own.
pub fn cannot_cast(from: &ScalarType, to: &ScalarType) -> SqlError {
    SqlError::new(code::CANNOT_COERCE, format!("cannot cast type {} to {}", from.name(), to.name()))
}

/// The common type of `CASE`, `COALESCE`, `VALUES`, `UNION`, `GREATEST` arms, by Postgres' rules; unknown everywhere: text.
pub fn common_type(types: &[Option<ScalarType>], what: &str) -> Result<ScalarType, SqlError> {
    let mut known = types.iter().flatten();
    let Some(first) = known.next() else { return Ok(ScalarType::Text) };
    if known.clone().all(|t| t == first) {
        return Ok(first.clone());
    }
    let mut chosen = base(first);
    for ty in known {
        let ty = base(ty);
        if ty == chosen {
            continue;
        }
        if category(&ty) != category(&chosen) {
            return Err(SqlError::new(
                code::DATATYPE_MISMATCH,
                format!("{what} types {} and {} cannot be matched", chosen.name(), ty.name()),
            ));
        }
        let implicit = |a: &ScalarType, b: &ScalarType| cast(a, b, CastContext::Implicit).is_some();
        if !is_preferred(&chosen) && implicit(&chosen, &ty) && !implicit(&ty, &chosen) {
            chosen = ty;
        }
    }
    // Strings of different kinds reach each other both ways; the preferred one is text.
    if chosen.is_string() && types.iter().flatten().any(|t| base(t) != chosen) {
        let all_bpchar = types.iter().flatten().all(|t| matches!(t, ScalarType::Char { .. }));
        chosen = if all_bpchar { ScalarType::Char { length: None } } else { ScalarType::Text };
    }
    for ty in types.iter().flatten() {
        if cast(ty, &chosen, CastContext::Implicit).is_none() {
            return Err(SqlError::new(
                code::CANNOT_COERCE,
                format!("{what} could not convert type {} to {}", ty.name(), chosen.name()),
            ));
        }
    }
    Ok(chosen)
}

/// The type with this name (as in a cast or a column definition; `modifiers` as in `numeric(10,2)`), aliases included.
pub fn type_by_name(name: &str, modifiers: &[i64]) -> Option<ScalarType> {
    let name = name.trim();
    let name = name.strip_prefix("pg_catalog.").or_else(|| name.strip_prefix("mz_catalog.")).unwrap_or(name);
    if let Some(element) = name.strip_suffix("[]") {
        let element = type_by_name(element, modifiers)?;
        // Arrays of any number of dimensions are one type.
        return Some(if matches!(element, ScalarType::Array(_)) {
            element
        } else {
            ScalarType::Array(Box::new(element))
        });
    }
    if let Some(element) = name.strip_suffix(" list") {
        return Some(ScalarType::List(Box::new(type_by_name(element, modifiers)?)));
    }
    if let Some(value) = name.strip_prefix("map[").and_then(|r| r.strip_suffix(']')) {
        let (key, value) = value.split_once("=>")?;
        type_by_name(key, &[]).filter(|k| *k == ScalarType::Text)?;
        return Some(ScalarType::Map(Box::new(type_by_name(value, &[])?)));
    }
    // `timestamp(3) with time zone`, where the modifier stands inside.
    if let Some((before, rest)) = name.split_once('(')
        && let Some((inside, after)) = rest.split_once(')')
    {
        let modifiers = inside.split(',').map(|m| m.trim().parse().ok()).collect::<Option<Vec<i64>>>()?;
        return type_by_name(&format!("{}{after}", before.trim_end()), &modifiers);
    }
    let length = || match modifiers {
        [] => Some(None),
        [n] if (1..=10_485_760).contains(n) => Some(Some(*n as u32)),
        _ => None,
    };
    let precision = || match modifiers {
        [] => Some(None),
        [p] if *p >= 0 => Some(Some((*p).min(6) as u8)),
        _ => None,
    };
    let plain = |ty: ScalarType| modifiers.is_empty().then_some(ty);
    use ScalarType::*;
    match name {
        "numeric" | "decimal" | "dec" => {
            let scale = match modifiers {
                [] => None,
                [p] if (1..=1000).contains(p) => Some(0),
                [p, s] if (1..=1000).contains(p) && (0..=39).contains(s) => Some(*s as u8),
                _ => return None,
            };
            Some(Numeric { scale })
        }
        "varchar" | "character varying" | "nvarchar" | "char varying" => Some(VarChar { length: length()? }),
        "char" | "character" | "nchar" => Some(Char { length: length()?.or(Some(1)) }),
        "bpchar" => Some(Char { length: length()? }),
        "timestamp" | "timestamp without time zone" | "datetime" => {
            Some(Timestamp { precision: precision()? })
        }
        "timestamptz" | "timestamp with time zone" => Some(TimestampTz { precision: precision()? }),
        "time" | "time without time zone" => precision().map(|_| Time),
        "interval" => precision().map(|_| Interval),
        "float" => match modifiers {
            [] => Some(Float64),
            [p] if (1..=24).contains(p) => Some(Float32),
            [p] if (25..=53).contains(p) => Some(Float64),
            _ => None,
        },
        "bool" | "boolean" => plain(Bool),
        "int2" | "smallint" => plain(Int16),
        "int4" | "int" | "integer" => plain(Int32),
        "int8" | "bigint" => plain(Int64),
        "uint2" => plain(UInt16),
        "uint4" | "uint" => plain(UInt32),
        "uint8" => plain(UInt64),
        "float4" | "real" => plain(Float32),
        "float8" | "double precision" | "double" => plain(Float64),
        "text" | "string" | "citext" | "pg_node_tree" | "aclitem" | "mz_aclitem" | "unknown" | "cstring" => {
            plain(Text)
        }
        "\"char\"" => plain(PgChar),
        "name" | "sql_identifier" | "information_schema.sql_identifier" => plain(Name),
        "bytea" | "bytes" | "blob" => plain(Bytes),
        "jsonb" | "json" => plain(Jsonb),
        "date" => plain(Date),
        "uuid" => plain(Uuid),
        "oid" | "xid" | "cid" | "regnamespace" | "regrole" => plain(Oid),
        "regclass" => plain(RegClass),
        "regproc" | "regprocedure" => plain(RegProc),
        "regtype" => plain(RegType),
        "mz_timestamp" => plain(MzTimestamp),
        "int2vector" => plain(Int2Vector),
        "oidvector" => plain(Array(Box::new(Oid))),
        "record" => plain(Record(vec![])),
        "int4range" | "int8range" | "numrange" | "daterange" | "tsrange" | "tstzrange" => {
            plain(type_of(name)?)
        }
        _ => {
            let element = name.strip_prefix('_')?;
            Some(Array(Box::new(type_by_name(element, modifiers)?)))
        }
    }
}

/// The type with this oid and, where its values carry one, this `typmod` (−1: none).
pub fn type_by_oid(oid: u32, typmod: i32) -> Option<ScalarType> {
    const NAMES: &[&str] = &[
        "bool",
        "bytea",
        "char",
        "name",
        "int8",
        "int2",
        "int2vector",
        "int4",
        "regproc",
        "text",
        "oid",
        "float4",
        "float8",
        "bpchar",
        "varchar",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "numeric",
        "regclass",
        "regtype",
        "uuid",
        "jsonb",
        "int4range",
        "numrange",
        "tsrange",
        "tstzrange",
        "daterange",
        "int8range",
        "uint2",
        "uint4",
        "uint8",
        "mz_timestamp",
    ];
    if oid == 114 {
        return Some(ScalarType::Jsonb);
    }
    if oid == 2249 {
        return Some(ScalarType::Record(vec![]));
    }
    let plain = NAMES.iter().filter_map(|n| type_of(n));
    for ty in plain {
        if ty.oid() == oid {
            return Some(with_typmod(ty, typmod));
        }
        let array = ScalarType::Array(Box::new(with_typmod(ty, typmod)));
        if oid != 2277 && array.oid() == oid {
            return Some(array);
        }
    }
    None
}

fn with_typmod(ty: ScalarType, typmod: i32) -> ScalarType {
    if typmod < 0 {
        return ty;
    }
    match ty {
        ScalarType::Numeric { .. } => {
            ScalarType::Numeric { scale: Some(((typmod - 4).max(0) & 0x7ff).min(39) as u8) }
        }
        ScalarType::VarChar { .. } => ScalarType::VarChar { length: Some((typmod - 4).max(0) as u32) },
        ScalarType::Char { .. } => ScalarType::Char { length: Some((typmod - 4).max(0) as u32) },
        ScalarType::Timestamp { .. } => ScalarType::Timestamp { precision: Some(typmod.min(6) as u8) },
        ScalarType::TimestampTz { .. } => ScalarType::TimestampTz { precision: Some(typmod.min(6) as u8) },
        other => other,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ScalarExpr;
    use repr::{Arena, Datum};

    /// `text::type` is a typed argument (`NULL::type` a NULL), anything else an unknown literal.
    fn argument(spec: &str) -> (Option<ScalarType>, Option<String>) {
        match spec.rsplit_once("::").and_then(|(v, t)| Some((v, type_by_name(t, &[])?))) {
            Some(("NULL", ty)) => (Some(ty), None),
            Some((value, ty)) => (Some(ty), Some(value.to_string())),
            None => (None, Some(spec.to_string())),
        }
    }

    fn literal(text: Option<&str>, ty: &ScalarType) -> ScalarExpr {
        let arena = Arena::new();
        match text {
            None => ScalarExpr::null(ty.clone()),
            Some(text) => match repr::text::parse(text, ty, &arena) {
                Ok(d) => ScalarExpr::literal(d, ty.clone()),
                Err(e) => panic!("{text:?} is no {ty}: {e}"),
            },
        }
    }

    pub(crate) fn call(name: &str, specs: &[&str]) -> Result<(ScalarExpr, ScalarType), SqlError> {
        let parsed: Vec<_> = specs.iter().map(|s| argument(s)).collect();
        let types: Vec<_> = parsed.iter().map(|(t, _)| t.clone()).collect();
        let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let r = if is_name { function(name, &types)? } else { operator(name, &types)? };
        let Implementation::Scalar(func) = r.imp else { panic!("{name} is not scalar") };
        let args = parsed.iter().zip(&r.args).map(|((from, text), to)| match from {
            None => literal(text.as_deref(), to),
            Some(from) => match cast(from, to, CastContext::Implicit) {
                Some(Cast::Same) => literal(text.as_deref(), from),
                Some(Cast::Func(f)) => ScalarExpr::call(f, vec![literal(text.as_deref(), from)], to.clone()),
                None => panic!("{name}: no implicit cast from {from} to {to}"),
            },
        });
        let args = args.collect();
        Ok((ScalarExpr::call(func, args, r.ret.clone()), r.ret))
    }

    pub(crate) fn show(e: &ScalarExpr, ty: &ScalarType) -> Result<String, repr::EvalError> {
        let arena = Arena::new();
        let d = e.eval(&[], &arena)?;
        let mut out = String::new();
        match d {
            Datum::Null => out.push_str("NULL"),
            d => repr::text::print(d, ty, &mut out),
        }
        Ok(out)
    }

    /// Resolves, casts, evaluates and prints.
    pub(crate) fn run(name: &str, specs: &[&str]) -> String {
        let (e, ty) = call(name, specs).unwrap_or_else(|e| panic!("{name}{specs:?}: {e}"));
        show(&e, &ty).unwrap_or_else(|e| panic!("{name}{specs:?}: {e}"))
    }

    /// The SQLSTATE and message that the call fails with.
    pub(crate) fn error(name: &str, specs: &[&str]) -> String {
        match call(name, specs) {
            Err(e) => format!("{} {}", e.code.as_str(), e.message),
            Ok((e, ty)) => match show(&e, &ty) {
                Err(e) => format!("{} {}", e.code().as_str(), e.message()),
                Ok(value) => panic!("{name}{specs:?} is {value}"),
            },
        }
    }

    /// A cast's result or its error.
    pub(crate) fn cast_text(value: &str, from: &str, to: &str) -> String {
        let (from, to) = (type_by_name(from, &[]).unwrap(), type_by_name(to, &[]).unwrap());
        match cast(&from, &to, CastContext::Explicit) {
            None => "none".into(),
            Some(Cast::Same) => show(&literal(Some(value), &from), &to).unwrap(),
            Some(Cast::Func(f)) => {
                let e = ScalarExpr::call(f, vec![literal(Some(value), &from)], to.clone());
                show(&e, &to).unwrap_or_else(|e| format!("{} {}", e.code().as_str(), e.message()))
            }
        }
    }

    fn types(names: &[&str]) -> Vec<Option<ScalarType>> {
        names.iter().map(|n| type_by_name(n, &[]).filter(|_| *n != "unknown")).collect()
    }

    fn chosen(name: &str, args: &[&str]) -> String {
        let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let r = if is_name { function(name, &types(args)) } else { operator(name, &types(args)) };
        match r {
            Err(e) => format!("{} {}", e.code.as_str(), e.message),
            Ok(r) => {
                let args: Vec<String> = r.args.iter().map(|t| short_name(t).to_string()).collect();
                format!("({}) {}", args.join(","), r.ret.name())
            }
        }
    }

    #[test]
    fn operators_resolve_as_in_postgres() {
        for (op, args, expected) in [
            ("+", &["int4", "int4"][..], "(int4,int4) integer"),
            ("+", &["int2", "int4"], "(int4,int4) integer"),
            ("+", &["int4", "int8"], "(int8,int8) bigint"),
            ("+", &["int4", "numeric"], "(numeric,numeric) numeric"),
            ("+", &["numeric", "float8"], "(float8,float8) double precision"),
            ("+", &["float4", "int4"], "(float8,float8) double precision"),
            ("+", &["int4", "unknown"], "(int4,int4) integer"),
            ("+", &["int4", "bool"], "42883 operator does not exist: integer + boolean"),
            ("+", &["unknown", "unknown"], "42725 operator is not unique: unknown + unknown"),
            ("+", &["date", "interval"], "(date,interval) timestamp without time zone"),
            ("+", &["date", "int4"], "(date,int4) date"),
            ("-", &["timestamptz", "interval"], "(timestamptz,interval) timestamp with time zone"),
            ("-", &["timestamptz", "date"], "(timestamptz,timestamptz) interval"),
            ("*", &["interval", "int4"], "(interval,float8) interval"),
            ("=", &["date", "timestamp"], "(timestamp,timestamp) boolean"),
            ("=", &["timestamp", "timestamptz"], "(timestamptz,timestamptz) boolean"),
            ("=", &["text", "unknown"], "(text,text) boolean"),
            ("=", &["varchar", "unknown"], "(text,text) boolean"),
            ("=", &["name", "text"], "(text,text) boolean"),
            ("=", &["unknown", "unknown"], "(text,text) boolean"),
            ("=", &["int4", "text"], "42883 operator does not exist: integer = text"),
            ("=", &["date", "int4"], "42883 operator does not exist: date = integer"),
            ("=", &["oid", "int4"], "(oid,oid) boolean"),
            ("=", &["oid", "regclass"], "(oid,oid) boolean"),
            ("=", &["uuid", "unknown"], "(uuid,uuid) boolean"),
            ("=", &["int4[]", "int4[]"], "(array,array) boolean"),
            ("<=", &["mz_timestamp", "timestamptz"], "(mz_timestamp,mz_timestamp) boolean"),
            (">", &["int8", "mz_timestamp"], "(mz_timestamp,mz_timestamp) boolean"),
            ("->", &["jsonb", "unknown"], "(jsonb,text) jsonb"),
            ("->>", &["jsonb", "text"], "(jsonb,text) text"),
            ("->>", &["jsonb", "int4"], "(jsonb,int4) text"),
            ("->", &["map[text=>bytea]", "unknown"], "(map,text) bytea"),
            ("@>", &["jsonb", "unknown"], "(jsonb,jsonb) boolean"),
            ("-", &["jsonb", "unknown"], "(jsonb,text) jsonb"),
            ("||", &["text", "int4"], "(text,int4) text"),
            ("||", &["unknown", "int4"], "(text,int4) text"),
            ("||", &["int4[]", "int8"], "(array,int8) bigint[]"),
            ("||", &["int4[]", "int4[]"], "(array,array) integer[]"),
            ("||", &["jsonb", "unknown"], "(jsonb,jsonb) jsonb"),
            ("||", &["unknown", "unknown"], "(text,text) text"),
            ("~~", &["varchar", "unknown"], "(text,text) boolean"),
            ("-", &["unknown"], "42725 operator is not unique: - unknown"),
            ("%", &["int4", "float8"], "42883 operator does not exist: integer % double precision"),
        ] {
            assert_eq!(chosen(op, args), expected, "{op} {args:?}");
        }
    }

    #[test]
    fn functions_resolve_as_in_postgres() {
        for (name, args, expected) in [
            ("round", &["int4"][..], "(float8) double precision"),
            ("round", &["numeric", "int4"], "(numeric,int4) numeric"),
            ("abs", &["int2"], "(int2) smallint"),
            ("length", &["unknown"], "(text) integer"),
            ("length", &["bytea"], "(bytea) integer"),
            ("lower", &["varchar"], "(text) text"),
            ("sum", &["int4"], "(int4) bigint"),
            ("sum", &["int8"], "(int8) numeric"),
            ("avg", &["int4"], "(int4) numeric"),
            ("avg", &["float4"], "(float4) double precision"),
            ("stddev", &["int4"], "(numeric) numeric"),
            ("max", &["varchar"], "(varchar) character varying"),
            ("array_agg", &["numeric"], "(numeric) numeric[]"),
            ("count", &["unknown"], "(text) bigint"),
            ("date_trunc", &["unknown", "timestamp"], "(text,timestamp) timestamp without time zone"),
            ("date_trunc", &["unknown", "date"], "(text,timestamptz) timestamp with time zone"),
            ("substring", &["text", "int4", "int4"], "(text,int4,int4) text"),
            ("substring", &["unknown", "unknown"], "(text,text) text"),
            ("concat", &["int4", "unknown", "jsonb"], "(int4,text,jsonb) text"),
            ("generate_series", &["int4", "int8"], "(int8,int8) bigint"),
            (
                "generate_series",
                &["date", "date", "unknown"],
                "(timestamptz,timestamptz,interval) timestamp with time zone",
            ),
            ("unnest", &["text[]"], "(array) text"),
            ("lag", &["int8", "int4", "int4"], "(int8,int4,int8) bigint"),
            ("nullif", &["int4", "unknown"], "(int4,int4) integer"),
            ("greatest", &["int4", "float8"], "(float8,float8) double precision"),
            ("array_position", &["int8[]", "int4"], "(array,int8) integer"),
            ("array_append", &["unknown", "int4"], "(array,int4) integer[]"),
            ("date", &["timestamptz"], "(timestamptz) date"),
            ("foo", &["int4", "text"], "42883 function foo(integer, text) does not exist"),
            ("lower", &["int4"], "42883 function lower(integer) does not exist"),
            ("jsonb_typeof", &["unknown"], "(jsonb) text"),
        ] {
            assert_eq!(chosen(name, args), expected, "{name} {args:?}");
        }
        let hint = function("lowr", &types(&["text"])).unwrap_err().hint.unwrap();
        assert!(hint.contains("\"lower\""), "{hint}");
    }

    #[test]
    fn quantified_operators_take_arrays() {
        let r =
            quantified("=", &Some(ScalarType::Int32), &type_by_name("int8[]", &[]).unwrap(), false).unwrap();
        assert_eq!(r.args, [ScalarType::Int64, type_by_name("int8[]", &[]).unwrap()]);
        let r =
            quantified("=", &Some(ScalarType::Name), &type_by_name("name[]", &[]).unwrap(), false).unwrap();
        assert_eq!(r.args, [ScalarType::Text, type_by_name("text[]", &[]).unwrap()]);
        let e = quantified("=", &Some(ScalarType::Int32), &ScalarType::Int32, false).unwrap_err();
        assert_eq!(e.message, "op ANY/ALL (array) requires array on right side");
    }

    #[test]
    fn common_types_follow_postgres() {
        let common = |names: &[&str]| match common_type(&types(names), "CASE") {
            Ok(t) => t.name(),
            Err(e) => format!("{} {}", e.code.as_str(), e.message),
        };
        assert_eq!(common(&["int4", "numeric"]), "numeric");
        assert_eq!(common(&["int4", "float8", "numeric"]), "double precision");
        assert_eq!(common(&["unknown", "unknown"]), "text");
        assert_eq!(common(&["date", "timestamptz"]), "timestamp with time zone");
        assert_eq!(common(&["varchar", "text"]), "text");
        assert_eq!(common(&["int4[]", "int8[]"]), "bigint[]");
        assert_eq!(common(&["int4", "text"]), "42804 CASE types integer and text cannot be matched");
        assert_eq!(common(&["uuid", "jsonb"]), "42846 CASE could not convert type jsonb to uuid");
    }

    #[test]
    fn types_have_their_aliases() {
        for (name, modifiers, expected) in [
            ("string", &[][..], "text"),
            ("double", &[], "double precision"),
            ("bytes", &[], "bytea"),
            ("uint8", &[], "uint8"),
            ("numeric", &[10, 2], "numeric(39,2)"),
            ("decimal", &[5], "numeric(39,0)"),
            ("timestamp with time zone", &[], "timestamp with time zone"),
            ("timestamp(3) with time zone", &[], "timestamp(3) with time zone"),
            ("varchar", &[7], "character varying(7)"),
            ("char", &[], "character(1)"),
            ("\"char\"", &[], "\"char\""),
            ("int4[][]", &[], "integer[]"),
            ("_text", &[], "text[]"),
            ("text list", &[], "text list"),
            ("map[text=>int4]", &[], "map[text=>integer]"),
            ("float", &[24], "real"),
            ("pg_catalog.int4", &[], "integer"),
        ] {
            assert_eq!(
                type_by_name(name, modifiers).map(|t| t.to_string()).as_deref(),
                Some(expected),
                "{name}"
            );
        }
        assert_eq!(type_by_name("nonsense", &[]), None);
        assert_eq!(type_by_name("varchar", &[0]), None);
        for oid in [16, 17, 20, 23, 25, 114, 701, 1007, 1009, 1043, 1114, 1184, 1700, 2950, 3802, 3904] {
            let ty = type_by_oid(oid, -1).unwrap_or_else(|| panic!("oid {oid}"));
            assert!(oid == 114 || ty.oid() == oid, "{oid} {ty}");
        }
    }

    #[test]
    fn ids_are_there_and_signatures_fit_what_computes_them() {
        for id in [
            ids::NOT,
            ids::IS_NULL,
            ids::IS_NOT_NULL,
            ids::IS_TRUE,
            ids::IS_NOT_TRUE,
            ids::IS_FALSE,
            ids::IS_NOT_FALSE,
            ids::IS_DISTINCT,
            ids::IS_NOT_DISTINCT,
            ids::EQ,
            ids::NE,
            ids::LT,
            ids::LE,
            ids::GT,
            ids::GE,
            ids::NULLIF,
            ids::GREATEST,
            ids::LEAST,
            ids::RAISE,
            ids::CONVERT_FROM,
            ids::CAST_TEXT_JSONB,
            ids::JSONB_GET,
            ids::JSONB_GET_TEXT,
            ids::JSONB_GET_INDEX,
            ids::JSONB_GET_INDEX_TEXT,
            ids::JSONB_GET_PATH,
            ids::JSONB_GET_PATH_TEXT,
            ids::JSONB_TYPEOF,
            ids::TO_JSONB,
            ids::RECORD_TO_JSONB,
            ids::CAST_TEXT_BOOL,
            ids::CAST_TEXT_INT2,
            ids::CAST_TEXT_INT4,
            ids::CAST_TEXT_INT8,
            ids::CAST_TEXT_FLOAT4,
            ids::CAST_TEXT_FLOAT8,
            ids::CAST_TEXT_NUMERIC,
            ids::CAST_TEXT_TIMESTAMP,
            ids::CAST_TEXT_TIMESTAMPTZ,
            ids::CAST_TEXT_DATE,
            ids::CAST_TEXT_UUID,
            ids::CAST_JSONB_NUMERIC,
            ids::CAST_JSONB_TEXT,
            ids::CAST_TIMESTAMPTZ_MZ_TIMESTAMP,
            ids::CAST_TIMESTAMP_MZ_TIMESTAMP,
            ids::MZ_TIMESTAMP_ADD_INTERVAL,
            ids::MZ_TIMESTAMP_SUB_INTERVAL,
            ids::TIMESTAMPTZ_ADD_INTERVAL,
            ids::TIMESTAMPTZ_SUB_INTERVAL,
            ids::TIMESTAMP_ADD_INTERVAL,
            ids::TIMESTAMP_SUB_INTERVAL,
            ids::ARRAY,
            ids::ARRAY_NEST,
            ids::LIST,
            ids::MAP,
            ids::ROW,
            ids::RECORD_GET,
            "array_get",
            "int2vector_get",
            "list_get",
            "array_slice",
            "list_slice",
            "cast_array_array",
            "cast_list_list",
            "cast_map_map",
            "cast_array_list",
            "cast_list_array",
            "cast_record_record",
            "cast_numeric_numeric",
            "cast_timestamp_timestamp",
            "cast_timestamptz_timestamptz",
            "assign_text_varchar",
            "cast_text_varchar",
            "assign_text_bpchar",
            "cast_text_bpchar",
            "cast_text_char",
            "cast_text_name",
        ] {
            assert_eq!(super::super::scalar(id).map(|f| f.0.id), Some(id), "{id}");
        }
        for id in [
            ids::COUNT,
            ids::SUM,
            ids::AVG,
            ids::MIN,
            ids::MAX,
            ids::BOOL_AND,
            ids::BOOL_OR,
            ids::ARRAY_AGG,
            ids::LIST_AGG,
            ids::STRING_AGG,
            ids::JSONB_AGG,
            ids::APPROX_COUNT_DISTINCT,
        ] {
            assert_eq!(super::super::aggregate(id).map(|f| f.0.id), Some(id), "{id}");
        }
        for id in [ids::UNNEST, ids::GENERATE_SERIES_INT8] {
            assert_eq!(super::super::table_function(id).map(|f| f.0.id), Some(id), "{id}");
        }
        for op in ["=", "<>", "<", "<=", ">", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*"] {
            for all in [false, true] {
                let id = compare::quantified_id(op, all).expect(op);
                assert!(super::super::scalar(id).is_some(), "{id}");
            }
        }
    }

    /// Every scalar signature is called with sample values of its types: whatever it answers, it must not panic, which
    /// it does when it takes another number or kind of arguments than its signature says.
    #[test]
    fn every_signature_takes_its_arguments() {
        let arena = Arena::new();
        let sample = |ty: &ScalarType, which: usize| -> Datum<'_> {
            let text = match ty {
                ScalarType::Bool => ["t", "f"],
                ScalarType::Text
                | ScalarType::VarChar { .. }
                | ScalarType::Char { .. }
                | ScalarType::Name => ["1", "utf8"],
                ScalarType::PgChar => ["a", "b"],
                ScalarType::Bytes => ["\\x6162", "\\x"],
                ScalarType::Jsonb => ["{\"a\": [1, null]}", "[1]"],
                ScalarType::Date => ["2024-02-29", "1999-12-31"],
                ScalarType::Time => ["12:34:56", "00:00:00"],
                ScalarType::Timestamp { .. } => ["2024-02-29 12:34:56.789", "1999-12-31 23:59:59"],
                ScalarType::TimestampTz { .. } => ["2024-02-29 12:34:56.789+00", "1999-12-31 23:59:59+00"],
                ScalarType::Interval => ["1 day 02:03:04", "3 hours"],
                ScalarType::Uuid => {
                    ["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "00000000-0000-0000-0000-000000000000"]
                }
                ScalarType::Array(e) if e.is_string() => ["{a,b}", "{}"],
                ScalarType::Array(e) if **e == ScalarType::Jsonb => ["{1,2}", "{}"],
                ScalarType::Array(_) => ["{1,2}", "{}"],
                ScalarType::List(_) => ["{1,2}", "{}"],
                ScalarType::Map(_) => ["{a=>1}", "{}"],
                ScalarType::Range(_) => ["empty", "empty"],
                _ => ["1", "2"],
            };
            if let ScalarType::Record(_) = ty {
                return arena.record([Datum::Int32(1), Datum::Text("x")]);
            }
            if let ScalarType::Int2Vector = ty {
                return arena.array1(&[Datum::Int16(1)]);
            }
            repr::text::parse(text[which % 2], ty, &arena).unwrap_or(Datum::Null)
        };
        let int = ScalarType::Int32;
        let concrete = |p: &Param| match p {
            Param::Exact(t) => t.clone(),
            Param::Any | Param::Element | Param::NonArray | Param::Compatible => int.clone(),
            Param::Array | Param::CompatibleArray => ScalarType::Array(Box::new(int.clone())),
            Param::List | Param::CompatibleList => ScalarType::List(Box::new(int.clone())),
            Param::Map => ScalarType::Map(Box::new(int.clone())),
            Param::Range => ScalarType::Range(Box::new(int.clone())),
            Param::AnyRecord => ScalarType::Record(vec![]),
        };
        let mut called = 0;
        for o in &table().overloads {
            for which in 0..2 {
                let args: Vec<Datum<'_>> =
                    o.params.iter().enumerate().map(|(i, p)| sample(&concrete(p), which + i)).collect();
                match o.entry {
                    Entry::Scalar(f) => {
                        if f.strict && args.iter().any(Datum::is_null) {
                            panic!("{}: no sample for {:?}", o.name, o.params);
                        }
                        let _ = (f.eval)(&args, &concrete(&o.ret), &arena);
                        let nulls = vec![Datum::Null; args.len()];
                        if !f.strict {
                            let _ = (f.eval)(&nulls, &concrete(&o.ret), &arena);
                        }
                        called += 1;
                    }
                    Entry::Table(f) => {
                        let width = o.columns.len();
                        let mut rows = 0;
                        let _ = (f.eval)(&args, &arena, &mut |row| {
                            assert_eq!(row.len(), width, "{}", o.name);
                            rows += 1;
                        });
                    }
                    Entry::Aggregate(f) => {
                        let row = Row::pack(args);
                        let _ = AggRef(f).evaluate(&[row.clone(), row], &concrete(&o.ret));
                    }
                    Entry::Window(_) | Entry::Context(_) => {}
                }
            }
        }
        assert!(called > 600, "{called}");
    }
}
