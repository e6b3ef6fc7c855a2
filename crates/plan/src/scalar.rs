//! Scalar expressions over the columns of one row, and the one evaluator: constants, one-off reads and dataflows use it.

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

impl ScalarExpr {
    /// The value for one row. `columns[i]` is column `i`.
    pub fn eval<'a>(&'a self, _columns: &[Datum<'a>], _arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
        Ok(Datum::Null)
    }

    /// The type, given those of the columns.
    pub fn typ(&self, _columns: &[ColumnType]) -> ColumnType {
        ScalarType::Text.nullable(true)
    }

    /// A literal.
    pub fn literal(datum: Datum<'_>, ty: ScalarType) -> ScalarExpr {
        let nullable = datum.is_null();
        ScalarExpr::Literal(Ok(Row::pack([datum])), ty.nullable(nullable))
    }
}
