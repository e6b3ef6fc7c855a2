//! The one table of functions, operators, casts, aggregates and table functions.
//!
//! An entry says how a function is called (name, argument types, result), how it treats NULL, and how it is computed.
//! The planner resolves calls against it by Postgres' rules, the evaluator runs it, `pg_proc` and the docs list it.

pub mod resolve;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use repr::{Arena, Datum, EvalError, Row, ScalarType};

/// A scalar function, operator or cast. Compared by [`ScalarFunc::id`].
pub struct ScalarFunc {
    /// Unique in the table, stable between versions, readable: `text_lower`, `int8_add`, `cast_text_numeric`.
    pub id: &'static str,
    /// NULL if any argument is.
    pub strict: bool,
    /// Whether it can fail for arguments of the right types.
    pub can_fail: bool,
    /// Whether the result is never NULL for arguments that are not NULL.
    pub never_null: bool,
    /// Computes it. `ty` is the result type at this call, with its modifier.
    pub eval: for<'a> fn(args: &[Datum<'a>], ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError>,
}

/// A reference into the table.
#[derive(Clone, Copy)]
pub struct FuncRef(pub &'static ScalarFunc);

/// How an aggregate keeps its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggKind {
    /// `count(x)`: x is not NULL.
    Count,
    /// `sum` of integers, floats, numerics.
    Sum,
    /// `avg`.
    Avg,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// All true.
    BoolAnd,
    /// Any true.
    BoolOr,
    /// `stddev_samp`, `stddev_pop`, `var_samp`, `var_pop`: sample or population, root or not.
    Variance {
        /// Divide by n − 1.
        sample: bool,
        /// Take the root.
        root: bool,
    },
    /// The whole group at once: `array_agg`, `string_agg`, `jsonb_agg`, `jsonb_object_agg` …
    Collect,
}

/// An aggregate function. Compared by [`AggFunc::id`].
pub struct AggFunc {
    /// Unique in the table.
    pub id: &'static str,
    /// How its state is kept.
    pub kind: AggKind,
    /// For [`AggKind::Collect`]: the result for the group's argument rows in order, each as often as it occurs.
    pub collect: Option<fn(rows: &[Row], ty: &ScalarType) -> Result<Row, EvalError>>,
}

/// A reference into the table.
#[derive(Clone, Copy)]
pub struct AggRef(pub &'static AggFunc);

/// A function that returns rows. Compared by [`TableFunc::id`].
pub struct TableFunc {
    /// Unique in the table.
    pub id: &'static str,
    /// No rows if any argument is NULL.
    pub strict: bool,
    /// Gives each row, one after the other, to `emit`.
    #[allow(clippy::type_complexity)]
    pub eval: for<'a> fn(
        args: &[Datum<'a>],
        arena: &'a Arena,
        emit: &mut dyn FnMut(&[Datum<'a>]),
    ) -> Result<(), EvalError>,
}

/// A reference into the table.
#[derive(Clone, Copy)]
pub struct TableFuncRef(pub &'static TableFunc);

macro_rules! by_id {
    ($($name:ident)*) => {$(
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool { self.0.id == other.0.id }
        }
        impl Eq for $name {}
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> { Some(self.cmp(other)) }
        }
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering { self.0.id.cmp(other.0.id) }
        }
        impl Hash for $name {
            fn hash<H: Hasher>(&self, h: &mut H) { self.0.id.hash(h) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.0.id) }
        }
    )*};
}
by_id!(FuncRef AggRef TableFuncRef);
