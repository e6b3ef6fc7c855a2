//! Which function a call means: Postgres' rules of overload resolution and implicit casts, over the one table.

use repr::{ScalarType, SqlError};

use super::{AggRef, FuncRef, TableFuncRef};
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
pub fn function(_name: &str, _args: &[Option<ScalarType>]) -> Result<Resolved, SqlError> {
    Err(SqlError::internal("not yet"))
}

/// Resolves an operator (`+`, `->>`, `~~` …); one argument: prefix.
pub fn operator(_op: &str, _args: &[Option<ScalarType>]) -> Result<Resolved, SqlError> {
    Err(SqlError::internal("not yet"))
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
pub fn cast(_from: &ScalarType, _to: &ScalarType, _context: CastContext) -> Option<Cast> {
    None
}

/// The common type of `CASE`, `COALESCE`, `VALUES`, `UNION`, `GREATEST` arms, by Postgres' rules; unknown everywhere: text.
pub fn common_type(_types: &[Option<ScalarType>], _what: &str) -> Result<ScalarType, SqlError> {
    Err(SqlError::internal("not yet"))
}

/// The type with this name (as in a cast or a column definition; `modifiers` as in `numeric(10,2)`), aliases included.
pub fn type_by_name(_name: &str, _modifiers: &[i64]) -> Option<ScalarType> {
    None
}
