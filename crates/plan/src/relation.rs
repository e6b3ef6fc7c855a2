//! Relational expressions, as dataflows run them: no outer columns, no subqueries, every column known by position.

use repr::{ColumnType, Diff, EvalError, GlobalId, Row, ScalarType};

use crate::ScalarExpr;
use crate::func::{AggRef, TableFuncRef};

/// A name bound by [`RelationExpr::Let`], unique in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalId(pub u64);

/// A relation: a multiset of rows that changes over time. Beside rows each carries errors; see the dataflow crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelationExpr {
    /// Rows that never change, or an error instead.
    Constant {
        /// With how often each occurs.
        rows: Result<Vec<(Row, Diff)>, EvalError>,
        /// Column types.
        typ: Vec<ColumnType>,
    },
    /// An object of the catalog.
    Get {
        /// Which.
        id: GlobalId,
        /// Its column types.
        typ: Vec<ColumnType>,
    },
    /// What a surrounding [`RelationExpr::Let`] bound.
    LocalGet {
        /// Which.
        id: LocalId,
        /// Its column types.
        typ: Vec<ColumnType>,
    },
    /// Binds `value` for `body`.
    Let {
        /// The name.
        id: LocalId,
        /// What it stands for.
        value: Box<RelationExpr>,
        /// Where it is used.
        body: Box<RelationExpr>,
    },
    /// Mutual recursion: all of `bindings` may name each other, each a fixed point.
    LetRec {
        /// Name, definition, and column types.
        bindings: Vec<(LocalId, RelationExpr, Vec<ColumnType>)>,
        /// Stop after so many rounds: with an error if the flag is set, else as they are.
        limit: Option<(u64, bool)>,
        /// Where they are used.
        body: Box<RelationExpr>,
    },
    /// Keeps these columns, in this order.
    Project {
        /// From.
        input: Box<RelationExpr>,
        /// Positions.
        columns: Vec<usize>,
    },
    /// Appends columns; each may use those before it.
    Map {
        /// From.
        input: Box<RelationExpr>,
        /// The new columns.
        scalars: Vec<ScalarExpr>,
    },
    /// Keeps the rows for which all are true.
    Filter {
        /// From.
        input: Box<RelationExpr>,
        /// The conditions.
        predicates: Vec<ScalarExpr>,
    },
    /// For each row, the row followed by each row of a table function's result.
    FlatMap {
        /// From.
        input: Box<RelationExpr>,
        /// The function.
        func: TableFuncRef,
        /// Its arguments over the row.
        args: Vec<ScalarExpr>,
        /// The types of the columns it appends.
        typ: Vec<ColumnType>,
    },
    /// All combinations (columns end to end) for which the expressions of each class are equal and not NULL.
    Join {
        /// In order of columns.
        inputs: Vec<RelationExpr>,
        /// Each class has at least two expressions over the joined columns.
        equivalences: Vec<Vec<ScalarExpr>>,
    },
    /// One row a group: the keys, then the aggregates. Without keys no input gives no row (SQL's one row over nothing
    /// is planned above it).
    Reduce {
        /// From.
        input: Box<RelationExpr>,
        /// What groups are.
        group_key: Vec<ScalarExpr>,
        /// What is computed of each; none: DISTINCT.
        aggregates: Vec<AggregateExpr>,
    },
    /// The first rows of each group. Ties go by the rows' bytes.
    TopK {
        /// From.
        input: Box<RelationExpr>,
        /// Columns that make the groups.
        group_key: Vec<usize>,
        /// The order within a group.
        order_key: Vec<ColumnOrder>,
        /// How many; none: all.
        limit: Option<u64>,
        /// After so many.
        offset: u64,
    },
    /// Each row as often as before, with the sign turned.
    Negate {
        /// From.
        input: Box<RelationExpr>,
    },
    /// Only rows that occur a positive number of times.
    Threshold {
        /// From.
        input: Box<RelationExpr>,
    },
    /// The sum of multisets; the inputs have the same columns.
    Union {
        /// At least one.
        inputs: Vec<RelationExpr>,
    },
    /// The same rows, arranged by keys so that others can use the index. The optimizer adds it.
    ArrangeBy {
        /// From.
        input: Box<RelationExpr>,
        /// Each a key.
        keys: Vec<Vec<ScalarExpr>>,
    },
}

/// An aggregate over the rows of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AggregateExpr {
    /// Which.
    pub func: AggRef,
    /// Its arguments over a row. `FILTER` is planned as a CASE that gives NULL, `count(*)` as a count of a constant.
    pub args: Vec<ScalarExpr>,
    /// Only different arguments count.
    pub distinct: bool,
    /// For aggregates that keep an order: expressions over a row and how they sort. Empty: by the values' bytes.
    pub order_by: Vec<(ScalarExpr, ColumnOrder)>,
    /// For collection aggregates with FILTER: rows for which it is not true are left out.
    pub filter: Option<ScalarExpr>,
    /// What it returns.
    pub ty: ScalarType,
}

/// How one column sorts. In [`AggregateExpr`] `column` counts the expressions of its `order_by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnOrder {
    /// Position.
    pub column: usize,
    /// Descending.
    pub desc: bool,
    /// NULLs before everything else.
    pub nulls_first: bool,
}
