//! Scalar expressions over the columns of one row, and the one evaluator: constants, one-off reads and dataflows use it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use repr::error::code;
use repr::{Arena, ColumnType, Datum, EvalError, Row, ScalarType};

use crate::func::FuncRef;

/// An expression over one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScalarExpr {
    /// The value of an input column, from 0.
    Column(usize),
    /// A constant: a row of one datum, or the error that evaluating it gave.
    Literal(Result<Row, EvalError>, ColumnType),
    /// A function, operator or cast of the table in [`crate::func`]. Arguments are evaluated first, in order; a strict
    /// function with a NULL argument is NULL.
    Call {
        /// Which.
        func: FuncRef,
        /// Its arguments, already cast to what it takes.
        args: Vec<ScalarExpr>,
        /// What it returns here (polymorphic functions and casts return what the planner resolved).
        ty: ScalarType,
    },
    /// All true. False wins over NULL and over errors, in any order.
    And(Vec<ScalarExpr>),
    /// Any true. True wins over NULL and over errors, in any order.
    Or(Vec<ScalarExpr>),
    /// The first that is not NULL; later ones are not evaluated.
    Coalesce(Vec<ScalarExpr>),
    /// `CASE`: only the chosen branch is evaluated.
    If {
        /// NULL counts as false.
        cond: Box<ScalarExpr>,
        /// If true.
        then: Box<ScalarExpr>,
        /// If not.
        els: Box<ScalarExpr>,
    },
    /// `TRY_CAST` and friends: NULL where the argument is an error.
    Try(Box<ScalarExpr>),
    /// A value that only the execution of a statement knows, such as `now()`. Replaced by a literal before anything
    /// runs; never in a maintained plan, but for [`Context::MzNow`] in temporal filters.
    Context(Context),
    /// A statement's parameter, from 0, replaced by a literal at bind time.
    Parameter(usize, ScalarType),
}

/// Values that belong to a statement's execution rather than to its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Context {
    /// `now()`: timestamptz, when the transaction began.
    Now,
    /// `mz_now()`: mz_timestamp, the time at which the statement reads.
    MzNow,
    /// `current_user` and its names.
    CurrentUser,
    /// `current_database()`.
    CurrentDatabase,
    /// `current_schema()`.
    CurrentSchema,
    /// `current_schemas(true)`: `name[]`.
    CurrentSchemas,
    /// `pg_backend_pid()`: int4.
    BackendPid,
    /// `version()`.
    Version,
    /// `mz_version()`.
    MzVersion,
}

/// Calls with more arguments than this collect them on the heap.
const INLINE_ARGS: usize = 4;

impl ScalarExpr {
    /// The value for one row. `columns[i]` is column `i`.
    ///
    /// Errors are those of the row's data. A bug in a function panics: callers run whole batches under [`guarded`].
    pub fn eval<'a>(&'a self, columns: &[Datum<'a>], arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
        match self {
            ScalarExpr::Column(i) => Ok(columns[*i]),
            ScalarExpr::Literal(Ok(row), _) => Ok(row.iter().next().unwrap_or(Datum::Null)),
            ScalarExpr::Literal(Err(e), _) => Err(e.clone()),
            ScalarExpr::Call { func, args, ty } => {
                let mut inline = [Datum::Null; INLINE_ARGS];
                let spilled: Vec<Datum<'a>>;
                let mut any_null = false;
                let datums: &[Datum<'a>] = if args.len() <= INLINE_ARGS {
                    for (slot, arg) in inline.iter_mut().zip(args) {
                        *slot = arg.eval(columns, arena)?;
                        any_null |= slot.is_null();
                    }
                    &inline[..args.len()]
                } else {
                    spilled = args.iter().map(|a| a.eval(columns, arena)).collect::<Result<_, _>>()?;
                    any_null = spilled.iter().any(Datum::is_null);
                    &spilled
                };
                if any_null && func.0.strict {
                    return Ok(Datum::Null);
                }
                (func.0.eval)(datums, ty, arena)
            }
            ScalarExpr::And(terms) => connect(terms, false, columns, arena),
            ScalarExpr::Or(terms) => connect(terms, true, columns, arena),
            ScalarExpr::Coalesce(arms) => {
                for arm in arms {
                    let value = arm.eval(columns, arena)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Datum::Null)
            }
            ScalarExpr::If { cond, then, els } => match cond.eval(columns, arena)? {
                Datum::Bool(true) => then.eval(columns, arena),
                _ => els.eval(columns, arena),
            },
            ScalarExpr::Try(e) => Ok(e.eval(columns, arena).unwrap_or(Datum::Null)),
            ScalarExpr::Context(c) => Err(EvalError::new(
                code::INTERNAL_ERROR,
                format!("{} was not replaced before it was evaluated", c.name()),
            )),
            ScalarExpr::Parameter(n, _) => {
                Err(EvalError::new(code::UNDEFINED_PARAMETER, format!("there is no parameter ${}", n + 1)))
            }
        }
    }

    /// The type, given those of the columns.
    pub fn typ(&self, columns: &[ColumnType]) -> ColumnType {
        match self {
            ScalarExpr::Column(i) => columns[*i].clone(),
            ScalarExpr::Literal(_, ty) => ty.clone(),
            ScalarExpr::Call { func, args, ty } => {
                let never = func.0.never_null && !args.iter().any(|a| a.nullable(columns));
                ty.clone().nullable(!never)
            }
            ScalarExpr::And(_) | ScalarExpr::Or(_) => ScalarType::Bool.nullable(self.nullable(columns)),
            ScalarExpr::Coalesce(arms) => {
                let scalar = arms.first().map_or(ScalarType::Text, |a| a.typ(columns).scalar);
                scalar.nullable(self.nullable(columns))
            }
            ScalarExpr::If { then, els, .. } => {
                let mut ty = then.typ(columns);
                ty.nullable |= els.nullable(columns);
                ty
            }
            ScalarExpr::Try(e) => e.typ(columns).scalar.nullable(self.nullable(columns)),
            ScalarExpr::Context(c) => c.scalar_type().nullable(c.nullable()),
            ScalarExpr::Parameter(_, ty) => ty.clone().nullable(true),
        }
    }

    /// Whether NULL can come out, given the columns' types.
    pub fn nullable(&self, columns: &[ColumnType]) -> bool {
        match self {
            ScalarExpr::Column(i) => columns[*i].nullable,
            ScalarExpr::Literal(_, ty) => ty.nullable,
            ScalarExpr::Call { func, args, .. } => {
                !func.0.never_null || args.iter().any(|a| a.nullable(columns))
            }
            ScalarExpr::And(terms) | ScalarExpr::Or(terms) => terms.iter().any(|t| t.nullable(columns)),
            ScalarExpr::Coalesce(arms) => arms.iter().all(|a| a.nullable(columns)),
            ScalarExpr::If { then, els, .. } => then.nullable(columns) || els.nullable(columns),
            ScalarExpr::Try(e) => e.nullable(columns) || e.can_fail(),
            ScalarExpr::Context(c) => c.nullable(),
            ScalarExpr::Parameter(..) => true,
        }
    }

    /// A literal.
    pub fn literal(datum: Datum<'_>, ty: ScalarType) -> ScalarExpr {
        let nullable = datum.is_null();
        ScalarExpr::Literal(Ok(Row::pack([datum])), ty.nullable(nullable))
    }

    /// The literal `true` or `false`.
    pub fn bool(value: bool) -> ScalarExpr {
        ScalarExpr::literal(Datum::Bool(value), ScalarType::Bool)
    }

    /// The literal NULL of a type.
    pub fn null(ty: ScalarType) -> ScalarExpr {
        ScalarExpr::literal(Datum::Null, ty)
    }

    /// A call; the arguments must have the types that the function takes.
    pub fn call(func: FuncRef, args: Vec<ScalarExpr>, ty: ScalarType) -> ScalarExpr {
        ScalarExpr::Call { func, args, ty }
    }

    /// The literal's value.
    pub fn as_literal(&self) -> Option<Datum<'_>> {
        match self {
            ScalarExpr::Literal(Ok(row), _) => row.iter().next(),
            _ => None,
        }
    }

    /// Whether this is the literal `true`.
    pub fn is_literal_true(&self) -> bool {
        matches!(self.as_literal(), Some(Datum::Bool(true)))
    }

    /// Whether this is the literal `false`.
    pub fn is_literal_false(&self) -> bool {
        matches!(self.as_literal(), Some(Datum::Bool(false)))
    }

    /// Whether this is a literal NULL.
    pub fn is_literal_null(&self) -> bool {
        matches!(self.as_literal(), Some(Datum::Null))
    }

    /// The error, if this is a literal error.
    pub fn as_literal_err(&self) -> Option<&EvalError> {
        match self {
            ScalarExpr::Literal(Err(e), _) => Some(e),
            _ => None,
        }
    }

    /// Whether the function with this id (see [`crate::func::ids`]) is called.
    pub fn is_call(&self, id: &str) -> bool {
        matches!(self, ScalarExpr::Call { func, .. } if func.0.id == id)
    }

    /// The direct parts, in order of evaluation.
    pub fn children(&self) -> Vec<&ScalarExpr> {
        match self {
            ScalarExpr::Column(_)
            | ScalarExpr::Literal(..)
            | ScalarExpr::Context(_)
            | ScalarExpr::Parameter(..) => vec![],
            ScalarExpr::Call { args, .. } => args.iter().collect(),
            ScalarExpr::And(x) | ScalarExpr::Or(x) | ScalarExpr::Coalesce(x) => x.iter().collect(),
            ScalarExpr::If { cond, then, els } => vec![cond, then, els],
            ScalarExpr::Try(e) => vec![e],
        }
    }

    /// The direct parts, to change.
    pub fn children_mut(&mut self) -> Vec<&mut ScalarExpr> {
        match self {
            ScalarExpr::Column(_)
            | ScalarExpr::Literal(..)
            | ScalarExpr::Context(_)
            | ScalarExpr::Parameter(..) => vec![],
            ScalarExpr::Call { args, .. } => args.iter_mut().collect(),
            ScalarExpr::And(x) | ScalarExpr::Or(x) | ScalarExpr::Coalesce(x) => x.iter_mut().collect(),
            ScalarExpr::If { cond, then, els } => vec![cond, then, els],
            ScalarExpr::Try(e) => vec![e],
        }
    }

    /// Visits this and all its parts, parts first.
    pub fn walk<'e>(&'e self, visit: &mut dyn FnMut(&'e ScalarExpr)) {
        self.children().into_iter().for_each(|c| c.walk(visit));
        visit(self);
    }

    /// Visits this and all its parts, parts first, to change them.
    pub fn walk_mut(&mut self, visit: &mut dyn FnMut(&mut ScalarExpr)) {
        self.children_mut().into_iter().for_each(|c| c.walk_mut(visit));
        visit(self);
    }

    /// Visits this before its parts; parts of what `visit` answers false for are left out.
    pub fn walk_down<'e>(&'e self, visit: &mut dyn FnMut(&'e ScalarExpr) -> bool) {
        if visit(self) {
            self.children().into_iter().for_each(|c| c.walk_down(visit));
        }
    }

    /// The columns that are used anywhere.
    pub fn columns(&self) -> BTreeSet<usize> {
        let mut columns = BTreeSet::new();
        self.walk(&mut |e| {
            if let ScalarExpr::Column(i) = e {
                columns.insert(*i);
            }
        });
        columns
    }

    /// How many nodes.
    pub fn size(&self) -> usize {
        let mut n = 0;
        self.walk(&mut |_| n += 1);
        n
    }

    /// Renames every column.
    pub fn map_columns(&mut self, f: &mut dyn FnMut(usize) -> usize) {
        self.walk_mut(&mut |e| {
            if let ScalarExpr::Column(i) = e {
                *i = f(*i);
            }
        });
    }

    /// Column `i` becomes `i + by`.
    pub fn shift_columns(&mut self, by: isize) {
        self.map_columns(&mut |i| i.checked_add_signed(by).expect("columns are not shifted below 0"));
    }

    /// Column `i` becomes `to[i]`.
    pub fn permute(&mut self, to: &[usize]) {
        self.map_columns(&mut |i| to[i]);
    }

    /// Every column is replaced by what `f` says of it, if it says something.
    pub fn substitute(&mut self, f: &mut dyn FnMut(usize) -> Option<ScalarExpr>) {
        self.walk_mut(&mut |e| {
            if let ScalarExpr::Column(i) = e
                && let Some(new) = f(*i)
            {
                *e = new;
            }
        });
    }

    /// Whether the value is the same for every row and every execution.
    pub fn is_constant(&self) -> bool {
        let mut constant = true;
        self.walk(&mut |e| {
            constant &=
                !matches!(e, ScalarExpr::Column(_) | ScalarExpr::Context(_) | ScalarExpr::Parameter(..))
        });
        constant
    }

    /// Whether the statement's execution decides the value, in part at least.
    pub fn has_context(&self) -> bool {
        let mut found = false;
        self.walk(&mut |e| found |= matches!(e, ScalarExpr::Context(_)));
        found
    }

    /// Whether some row could make this an error. Parts that only a guard (`CASE`, `COALESCE`) lets run count.
    pub fn can_fail(&self) -> bool {
        match self {
            ScalarExpr::Literal(value, _) => value.is_err(),
            ScalarExpr::Try(_) => false,
            ScalarExpr::Call { func, args, .. } => func.0.can_fail || args.iter().any(ScalarExpr::can_fail),
            other => other.children().into_iter().any(ScalarExpr::can_fail),
        }
    }

    /// Evaluates what is constant, once, and drops branches that a constant rules out. An error becomes a literal error
    /// where it stood: what `CASE`, `COALESCE`, `AND` and `OR` guard stays guarded, and rows that never reach it never
    /// see it. `columns` are the types of the columns, as for [`ScalarExpr::typ`].
    pub fn fold(&mut self, columns: &[ColumnType]) {
        for child in self.children_mut() {
            child.fold(columns);
        }
        let replacement = match self {
            ScalarExpr::Literal(..)
            | ScalarExpr::Column(_)
            | ScalarExpr::Context(_)
            | ScalarExpr::Parameter(..) => None,
            ScalarExpr::Call { func, args, ty } => {
                if args.iter().all(|a| matches!(a, ScalarExpr::Literal(..))) {
                    Some(self.run(columns))
                } else if let Some(ScalarExpr::Literal(Err(e), _)) = args.first() {
                    Some(ScalarExpr::Literal(Err(e.clone()), ty.clone().nullable(true)))
                } else if func.0.strict
                    && args.iter().any(ScalarExpr::is_literal_null)
                    && !args.iter().any(|a| a.as_literal_err().is_some())
                {
                    Some(ScalarExpr::null(ty.clone()))
                } else {
                    None
                }
            }
            ScalarExpr::And(terms) => fold_connective(terms, false),
            ScalarExpr::Or(terms) => fold_connective(terms, true),
            ScalarExpr::Coalesce(arms) => {
                // The type of the whole must not change with its arms.
                let ty = arms.first().map_or(ScalarType::Text, |a| a.typ(columns).scalar);
                arms.retain(|a| !a.is_literal_null());
                if let Some(last) = arms.iter().position(|a| !a.nullable(columns)) {
                    arms.truncate(last + 1);
                }
                match arms.len() {
                    0 => Some(ScalarExpr::null(ty)),
                    1 => arms.pop(),
                    _ => None,
                }
            }
            ScalarExpr::If { cond, then, els } => match &**cond {
                ScalarExpr::Literal(Ok(_), _) => {
                    let chosen = if cond.is_literal_true() { then } else { els };
                    Some(std::mem::replace(&mut **chosen, ScalarExpr::bool(false)))
                }
                ScalarExpr::Literal(Err(e), _) => {
                    Some(ScalarExpr::Literal(Err(e.clone()), then.typ(columns).scalar.nullable(true)))
                }
                _ if then == els && !cond.can_fail() => {
                    Some(std::mem::replace(&mut **then, ScalarExpr::bool(false)))
                }
                _ => None,
            },
            ScalarExpr::Try(e) => match &mut **e {
                ScalarExpr::Literal(Err(_), ty) => Some(ScalarExpr::null(ty.scalar.clone())),
                e if !e.can_fail() => Some(std::mem::replace(e, ScalarExpr::bool(false))),
                _ => None,
            },
        };
        if let Some(new) = replacement {
            *self = new;
        }
    }

    /// The literal that evaluating without columns gives.
    fn run(&self, columns: &[ColumnType]) -> ScalarExpr {
        let arena = Arena::new();
        let scalar = self.typ(columns).scalar;
        match guarded(|| self.eval(&[], &arena).map(|d| (Row::pack([d]), d.is_null()))) {
            Ok((row, null)) => ScalarExpr::Literal(Ok(row), scalar.nullable(null)),
            Err(e) => ScalarExpr::Literal(Err(e), scalar.nullable(true)),
        }
    }
}

/// AND (`decisive` false) or OR (`decisive` true): the decisive value wins over NULL and errors wherever it stands.
fn connect<'a>(
    terms: &'a [ScalarExpr],
    decisive: bool,
    columns: &[Datum<'a>],
    arena: &'a Arena,
) -> Result<Datum<'a>, EvalError> {
    let (mut null, mut error) = (false, None);
    for term in terms {
        match term.eval(columns, arena) {
            Ok(Datum::Null) => null = true,
            Ok(d) if d.bool() == decisive => return Ok(Datum::Bool(decisive)),
            Ok(_) => {}
            Err(e) => {
                error.get_or_insert(e);
            }
        }
    }
    match error {
        Some(e) => Err(e),
        None if null => Ok(Datum::Null),
        None => Ok(Datum::Bool(!decisive)),
    }
}

fn fold_connective(terms: &mut Vec<ScalarExpr>, decisive: bool) -> Option<ScalarExpr> {
    let is = |t: &ScalarExpr, b: bool| matches!(t.as_literal(), Some(Datum::Bool(x)) if x == b);
    if terms.iter().any(|t| is(t, decisive)) {
        return Some(ScalarExpr::bool(decisive));
    }
    terms.retain(|t| !is(t, !decisive));
    match terms.len() {
        0 => Some(ScalarExpr::bool(!decisive)),
        1 => terms.pop(),
        _ => None,
    }
}

impl Context {
    /// The type of the value.
    pub fn scalar_type(self) -> ScalarType {
        match self {
            Context::Now => ScalarType::TimestampTz { precision: None },
            Context::MzNow => ScalarType::MzTimestamp,
            Context::CurrentUser | Context::CurrentDatabase | Context::CurrentSchema => ScalarType::Name,
            Context::CurrentSchemas => ScalarType::Array(Box::new(ScalarType::Name)),
            Context::BackendPid => ScalarType::Int32,
            Context::Version | Context::MzVersion => ScalarType::Text,
        }
    }

    /// Whether it can be NULL.
    pub fn nullable(self) -> bool {
        self == Context::CurrentSchema
    }

    /// The function that gives it in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Context::Now => "now()",
            Context::MzNow => "mz_now()",
            Context::CurrentUser => "current_user",
            Context::CurrentDatabase => "current_database()",
            Context::CurrentSchema => "current_schema()",
            Context::CurrentSchemas => "current_schemas()",
            Context::BackendPid => "pg_backend_pid()",
            Context::Version => "version()",
            Context::MzVersion => "mz_version()",
        }
    }
}

thread_local!(static GUARDED: Cell<u32> = const { Cell::new(0) });

/// Runs the evaluation of a row or a batch, and turns a panic in it into an XX000 error. A panic hook asks
/// [`is_guarded`] to tell such a panic, which costs one row its value, from one that must end the process.
pub fn guarded<T>(f: impl FnOnce() -> Result<T, EvalError>) -> Result<T, EvalError> {
    GUARDED.set(GUARDED.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(GUARDED.get() - 1);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(EvalError::new(code::INTERNAL_ERROR, format!("evaluation failed: {text}"))
            .with_hint("This is a fault of the program; please report it with the expression."))
    })
}

/// Whether this thread is inside [`guarded`].
pub fn is_guarded() -> bool {
    GUARDED.get() > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::func::ids;

    fn int(n: i32) -> ScalarExpr {
        ScalarExpr::literal(Datum::Int32(n), ScalarType::Int32)
    }

    fn binary(id: &'static str, a: ScalarExpr, b: ScalarExpr, ty: ScalarType) -> ScalarExpr {
        let func = crate::func::scalar(id).unwrap_or_else(|| panic!("{id}"));
        ScalarExpr::call(func, vec![a, b], ty)
    }

    /// Fails with 22012 where the column is 0.
    fn inverse(column: usize) -> ScalarExpr {
        binary("int4_div", int(1), ScalarExpr::Column(column), ScalarType::Int32)
    }

    /// An error of type bool that is only seen when it is evaluated.
    fn failing() -> ScalarExpr {
        binary(ids::EQ, inverse(0), int(1), ScalarType::Bool)
    }

    fn show(e: &ScalarExpr, columns: &[Datum<'_>]) -> String {
        let arena = Arena::new();
        let row = Row::pack(columns.iter().copied());
        match e.eval(&row.unpack(), &arena) {
            Ok(d) => format!("{d:?}"),
            Err(e) => e.message().to_string(),
        }
    }

    fn folded(mut e: ScalarExpr) -> ScalarExpr {
        e.fold(&[ScalarType::Int32.nullable(false)]);
        e
    }

    fn bool_null() -> ScalarExpr {
        ScalarExpr::null(ScalarType::Bool)
    }

    #[test]
    fn the_decisive_value_wins_over_null_and_errors_in_any_order() {
        let (yes, no) = (ScalarExpr::bool(true), ScalarExpr::bool(false));
        let zero = [Datum::Int32(0)];
        for order in [[failing(), bool_null(), no.clone()], [no.clone(), failing(), bool_null()]] {
            assert_eq!(show(&ScalarExpr::And(order.to_vec()), &zero), "Bool(false)");
        }
        for order in [[failing(), bool_null(), yes.clone()], [yes.clone(), failing(), bool_null()]] {
            assert_eq!(show(&ScalarExpr::Or(order.to_vec()), &zero), "Bool(true)");
        }
        assert_eq!(show(&ScalarExpr::And(vec![bool_null(), failing()]), &zero), "division by zero");
        assert_eq!(show(&ScalarExpr::And(vec![bool_null(), yes.clone()]), &zero), "Null");
        assert_eq!(show(&ScalarExpr::Or(vec![bool_null(), no]), &zero), "Null");
        assert_eq!(show(&ScalarExpr::And(vec![]), &zero), "Bool(true)");
        assert_eq!(show(&ScalarExpr::Or(vec![]), &zero), "Bool(false)");
    }

    #[test]
    fn guards_keep_errors_away() {
        let zero = [Datum::Int32(0)];
        let is_zero = binary(ids::EQ, ScalarExpr::Column(0), int(0), ScalarType::Bool);
        let case = ScalarExpr::If { cond: is_zero.into(), then: int(7).into(), els: inverse(0).into() };
        assert_eq!(show(&case, &zero), "Int32(7)");
        assert_eq!(show(&ScalarExpr::Coalesce(vec![int(3), inverse(0)]), &zero), "Int32(3)");
        assert_eq!(show(&ScalarExpr::Try(inverse(0).into()), &zero), "Null");
        assert_eq!(show(&inverse(0), &zero), "division by zero");
        assert!(case.can_fail() && !ScalarExpr::Try(case.clone().into()).can_fail());
    }

    #[test]
    fn strict_functions_of_null_are_null_but_arguments_still_fail() {
        let sum = binary("int4_add", ScalarExpr::null(ScalarType::Int32), inverse(0), ScalarType::Int32);
        assert_eq!(show(&sum, &[Datum::Int32(1)]), "Null");
        assert_eq!(show(&sum, &[Datum::Int32(0)]), "division by zero");
    }

    #[test]
    fn a_function_of_a_constant_null_is_not_computed() {
        let sum = |x| binary("int4_add", ScalarExpr::null(ScalarType::Int32), x, ScalarType::Int32);
        assert_eq!(folded(sum(inverse(0))), ScalarExpr::null(ScalarType::Int32));
        let error = folded(sum(binary("int4_div", int(1), int(0), ScalarType::Int32)));
        assert_eq!(error.as_literal_err().map(|e| e.message()), Some("division by zero"));
    }

    #[test]
    fn folding_keeps_what_rows_would_see() {
        let sum = binary("int4_add", int(1), int(2), ScalarType::Int32);
        assert_eq!(folded(sum), int(3));
        // An error becomes a literal error and stays behind its guard.
        let error = binary("int4_div", int(1), int(0), ScalarType::Int32);
        let e = folded(error.clone());
        assert_eq!(e.as_literal_err().map(|e| e.message()), Some("division by zero"));
        let unknown = binary(ids::EQ, ScalarExpr::Column(0), int(0), ScalarType::Bool);
        let case =
            ScalarExpr::If { cond: unknown.clone().into(), then: int(7).into(), els: error.clone().into() };
        let case = folded(case);
        assert_eq!(show(&case, &[Datum::Int32(0)]), "Int32(7)");
        assert_eq!(show(&case, &[Datum::Int32(1)]), "division by zero");
        let case = ScalarExpr::If {
            cond: ScalarExpr::bool(true).into(),
            then: int(7).into(),
            els: error.clone().into(),
        };
        assert_eq!(folded(case), int(7));
        assert_eq!(folded(ScalarExpr::Coalesce(vec![int(7), error.clone()])), int(7));
        assert!(folded(ScalarExpr::Try(error.clone().into())).is_literal_null());
        // FALSE AND error is FALSE; an error that may matter stays.
        let fails = binary(ids::EQ, error, int(1), ScalarType::Bool);
        assert!(folded(ScalarExpr::And(vec![fails.clone(), ScalarExpr::bool(false)])).is_literal_false());
        let both = folded(ScalarExpr::And(vec![fails, ScalarExpr::bool(true), unknown.clone()]));
        assert_eq!(show(&both, &[Datum::Int32(1)]), "Bool(false)");
        assert_eq!(show(&both, &[Datum::Int32(0)]), "division by zero");
        assert_eq!(folded(ScalarExpr::And(vec![unknown.clone(), ScalarExpr::bool(true)])), unknown);
        // What the execution decides is not constant.
        let now = ScalarExpr::Context(Context::Now);
        assert_eq!(folded(now.clone()), now);
    }

    #[test]
    fn types_know_where_null_can_occur() {
        let columns = [ScalarType::Int32.nullable(true), ScalarType::Int32.nullable(false)];
        let sum = |c: usize| binary("int4_add", ScalarExpr::Column(c), int(1), ScalarType::Int32);
        assert!(sum(0).typ(&columns).nullable && !sum(1).typ(&columns).nullable);
        assert!(!ScalarExpr::Coalesce(vec![sum(0), int(0)]).typ(&columns).nullable);
        assert!(ScalarExpr::Try(sum(1).into()).typ(&columns).nullable);
    }

    #[test]
    fn columns_are_moved_and_replaced() {
        let mut e = binary("int4_add", ScalarExpr::Column(1), ScalarExpr::Column(3), ScalarType::Int32);
        assert_eq!(e.columns().into_iter().collect::<Vec<_>>(), [1, 3]);
        e.shift_columns(2);
        e.permute(&[9, 9, 9, 0, 9, 1]);
        assert_eq!(e.columns().into_iter().collect::<Vec<_>>(), [0, 1]);
        e.substitute(&mut |i| (i == 1).then(|| int(5)));
        assert_eq!(show(&e, &[Datum::Int32(2)]), "Int32(7)");
        assert!(!e.is_constant() && int(1).is_constant());
    }

    #[test]
    fn panics_under_guard_are_errors_with_a_flag_for_hooks() {
        assert!(!is_guarded());
        let e = guarded(|| {
            assert!(is_guarded());
            // A column that is not there: a fault of the planner.
            let arena = Arena::new();
            ScalarExpr::Column(7).eval(&[], &arena).map(|_| ())
        });
        assert_eq!(e.unwrap_err().code(), code::INTERNAL_ERROR);
        assert!(!is_guarded());
    }
}
