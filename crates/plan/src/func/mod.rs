//! The one table of functions, operators, casts, aggregates and table functions.
//!
//! An entry says how a function is called (name, argument types, result), how it treats NULL, and how it is computed.
//! The planner resolves calls against it by Postgres' rules, the evaluator runs it, `pg_proc` and the docs list it.
//!
//! ```text
//!   text.rs numeric.rs time.rs …  ──►  registry  ──►  resolve (name + types → FuncRef)  ──►  ScalarExpr::Call
//!       entries, by topic              one table  └►  signatures() (pg_proc, docs)
//! ```
//!
//! What the planner writes by itself, because it is syntax rather than a call:
//!
//! | SQL | becomes |
//! |---|---|
//! | `a AND b`, `OR`, `CASE`, `COALESCE`, `TRY_CAST` | variants of [`crate::ScalarExpr`] |
//! | `NOT a`, `a IS NULL`, `a IS TRUE`, `a IS DISTINCT FROM b` | [`ids::NOT`], [`ids::IS_NULL`], [`ids::IS_TRUE`] …, [`ids::IS_DISTINCT`] by [`scalar`] |
//! | `nullif(a, b)`, `greatest(…)`, `least(…)` | [`resolve::function`] |
//! | `a op ANY (array)`, `a op ALL (array)` | [`resolve::quantified`]: one function of (a, array) |
//! | `ARRAY[…]`, `LIST[…]`, `MAP[…]`, `ROW(…)` | [`ids::ARRAY`], [`ids::LIST`], [`ids::MAP`], [`ids::ROW`] of elements cast to one type; nested `ARRAY[ARRAY[…]]`: [`ids::ARRAY_NEST`] |
//! | `a[i]`, `a[i:j]` | [`resolve::subscript`], [`resolve::subscripts`], [`resolve::slice`] |
//! | `(r).field` | [`ids::RECORD_GET`] of (r, its position from 0 as int4) |
//! | `position(a IN b)` | `strpos(b, a)` |
//! | `substring(a FROM b FOR c)`, `trim(BOTH a FROM b)`, `overlay(…)`, `extract(f FROM x)` | `substring(a, b, c)`, `btrim(b, a)`, `overlay(…)`, `extract('f', x)` |
//! | `a AT TIME ZONE z` | `timezone(z, a)` |
//! | `a LIKE b ESCAPE c` | `a ~~ like_escape(b, c)` |
//! | `a SIMILAR TO b`, `x IS JSON` | `a ~ similar_to_escape(b)`, `is_json(x, 'value')` |
//! | a record where JSON is wanted (`to_jsonb(t)`, `jsonb_agg(t)`) | the argument wrapped by [`resolve::jsonb_argument`], which knows the field names |

mod aggregate;
mod array;
mod bytes;
mod cast;
mod compare;
mod format;
mod jsonb;
mod jsonpath;
mod numeric;
mod pattern;
mod registry;
pub mod resolve;
pub mod rows_from;
mod schema;
mod system;
mod table;
mod text;
mod time;
pub mod window;

pub use pattern::group_names;
pub use registry::{FunctionKind, Signature, casts, signatures};
pub use text::quote_ident;

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
    /// Whether each call gives another result. Plans keep such calls out of dataflows: they are made when rows go out.
    pub volatile: bool,
    /// Computes it. `ty` is the result type at this call, with its modifier.
    pub eval:
        for<'a> fn(args: &[Datum<'a>], ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError>,
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
    #[allow(clippy::type_complexity)]
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

/// The scalar function with this id.
pub fn scalar(id: &str) -> Option<FuncRef> {
    registry::table().scalars.get(id).map(|f| FuncRef(f))
}

/// The aggregate with this id.
pub fn aggregate(id: &str) -> Option<AggRef> {
    registry::table().aggregates.get(id).map(|f| AggRef(f))
}

/// The table function with this id.
pub fn table_function(id: &str) -> Option<TableFuncRef> {
    registry::table().tables.get(id).map(|f| TableFuncRef(f))
}

impl FuncRef {
    /// The function with an id of [`ids`].
    pub fn of(id: &'static str) -> FuncRef {
        scalar(id).expect("the table has every id of `ids`; a test says so")
    }
}

impl AggRef {
    /// The aggregate with an id of [`ids`].
    pub fn of(id: &'static str) -> AggRef {
        aggregate(id).expect("the table has every id of `ids`; a test says so")
    }

    /// The value over no rows: 0 for counts, else NULL.
    pub fn over_nothing(self) -> Datum<'static> {
        AggRef::nothing(self.0.id)
    }

    fn nothing(id: &str) -> Datum<'static> {
        match id {
            ids::COUNT | ids::APPROX_COUNT_DISTINCT | "regr_count" => Datum::Int64(0),
            _ => Datum::Null,
        }
    }

    /// The value for a group, computed from all its argument rows at once: the reference for incremental states, and
    /// what windows use.
    pub fn evaluate(self, rows: &[Row], ty: &ScalarType) -> Result<Row, EvalError> {
        aggregate::evaluate(self.0, rows, ty)
    }
}

/// The ids that planner, optimizer and dataflow know by name.
#[allow(missing_docs, reason = "each names a function of SQL")]
pub mod ids {
    /// A time, and the digits of a second to round it to.
    pub const TIME_ROUND: &str = "time_round";
    /// The same of an interval.
    pub const INTERVAL_ROUND: &str = "interval_round";
    pub const NOT: &str = "not";
    pub const IS_NULL: &str = "is_null";
    pub const IS_NOT_NULL: &str = "is_not_null";
    pub const IS_TRUE: &str = "is_true";
    pub const IS_NOT_TRUE: &str = "is_not_true";
    pub const IS_FALSE: &str = "is_false";
    pub const IS_NOT_FALSE: &str = "is_not_false";
    /// `IS DISTINCT FROM`, over two values of one type.
    pub const IS_DISTINCT: &str = "is_distinct";
    /// `IS NOT DISTINCT FROM`.
    pub const IS_NOT_DISTINCT: &str = "is_not_distinct";
    /// Equality of two values of one type, whichever; so for the others of its kind.
    pub const EQ: &str = "eq";
    pub const NE: &str = "ne";
    pub const LT: &str = "lt";
    pub const LE: &str = "le";
    pub const GT: &str = "gt";
    pub const GE: &str = "ge";
    pub const NULLIF: &str = "nullif";
    pub const GREATEST: &str = "greatest";
    pub const LEAST: &str = "least";
    /// The error that its first argument (SQLSTATE) and second (message) say; for planned run-time checks. Its result
    /// has whatever type the call says.
    pub const RAISE: &str = "raise";

    /// `convert_from(bytea, encoding)`.
    pub const CONVERT_FROM: &str = "convert_from";
    pub const CAST_TEXT_JSONB: &str = "cast_text_jsonb";
    /// `jsonb -> text`.
    pub const JSONB_GET: &str = "jsonb_get";
    /// `jsonb ->> text`.
    pub const JSONB_GET_TEXT: &str = "jsonb_get_text";
    /// `jsonb -> int4`.
    pub const JSONB_GET_INDEX: &str = "jsonb_get_index";
    /// `jsonb ->> int4`.
    pub const JSONB_GET_INDEX_TEXT: &str = "jsonb_get_index_text";
    /// `jsonb #> text[]`.
    pub const JSONB_GET_PATH: &str = "jsonb_get_path";
    /// `jsonb #>> text[]`.
    pub const JSONB_GET_PATH_TEXT: &str = "jsonb_get_path_text";
    pub const JSONB_TYPEOF: &str = "jsonb_typeof";
    pub const TO_JSONB: &str = "to_jsonb";
    pub const RECORD_TO_JSONB: &str = "record_to_jsonb";

    pub const CAST_TEXT_BOOL: &str = "cast_text_bool";
    pub const CAST_TEXT_INT2: &str = "cast_text_int2";
    pub const CAST_TEXT_INT4: &str = "cast_text_int4";
    pub const CAST_TEXT_INT8: &str = "cast_text_int8";
    pub const CAST_TEXT_FLOAT4: &str = "cast_text_float4";
    pub const CAST_TEXT_FLOAT8: &str = "cast_text_float8";
    pub const CAST_TEXT_NUMERIC: &str = "cast_text_numeric";
    pub const CAST_TEXT_TIMESTAMP: &str = "cast_text_timestamp";
    pub const CAST_TEXT_TIMESTAMPTZ: &str = "cast_text_timestamptz";
    pub const CAST_TEXT_DATE: &str = "cast_text_date";
    pub const CAST_TEXT_UUID: &str = "cast_text_uuid";
    pub const CAST_JSONB_NUMERIC: &str = "cast_jsonb_numeric";
    pub const CAST_JSONB_TEXT: &str = "cast_jsonb_text";
    /// Casts to the engine's time: what temporal filters compare with.
    pub const CAST_TIMESTAMPTZ_MZ_TIMESTAMP: &str = "cast_timestamptz_mz_timestamp";
    pub const CAST_TIMESTAMP_MZ_TIMESTAMP: &str = "cast_timestamp_mz_timestamp";
    /// `mz_timestamp + interval`, `mz_timestamp - interval`.
    pub const MZ_TIMESTAMP_ADD_INTERVAL: &str = "mz_timestamp_add_interval";
    pub const MZ_TIMESTAMP_SUB_INTERVAL: &str = "mz_timestamp_sub_interval";
    pub const TIMESTAMPTZ_ADD_INTERVAL: &str = "timestamptz_add_interval";
    pub const TIMESTAMPTZ_SUB_INTERVAL: &str = "timestamptz_sub_interval";
    pub const TIMESTAMP_ADD_INTERVAL: &str = "timestamp_add_interval";
    pub const TIMESTAMP_SUB_INTERVAL: &str = "timestamp_sub_interval";

    /// `ARRAY[…]`: elements of one type.
    pub const ARRAY: &str = "array";
    /// `ARRAY[ARRAY[…], …]`: arrays of the same shape become one array of one more dimension.
    pub const ARRAY_NEST: &str = "array_nest";
    pub const LIST: &str = "list";
    /// `MAP[k => v, …]`: keys and values in turn.
    pub const MAP: &str = "map";
    pub const ROW: &str = "row";
    /// (record, position from 0 as int4) → the field.
    pub const RECORD_GET: &str = "record_get";

    pub const COUNT: &str = "count";
    pub const SUM: &str = "sum";
    pub const AVG: &str = "avg";
    pub const MIN: &str = "min";
    pub const MAX: &str = "max";
    pub const BOOL_AND: &str = "bool_and";
    pub const BOOL_OR: &str = "bool_or";
    pub const ARRAY_AGG: &str = "array_agg";
    pub const LIST_AGG: &str = "list_agg";
    pub const STRING_AGG: &str = "string_agg";
    pub const JSONB_AGG: &str = "jsonb_agg";
    pub const APPROX_COUNT_DISTINCT: &str = "approx_count_distinct";

    pub const UNNEST: &str = "unnest";
    pub const GENERATE_SERIES_INT8: &str = "generate_series_int8";
}

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
