//! Relational expressions as SQL means them: columns of outer queries, subqueries in scalars, outer joins.

use repr::{ColumnType, Diff, EvalError, GlobalId, Row, ScalarType};

use crate::func::{AggRef, FuncRef, TableFuncRef};
use crate::scalar::Context;
use crate::{ColumnOrder, LocalId, Side};

/// A column of this query (level 0) or of one around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnRef {
    /// How many queries outwards.
    pub level: usize,
    /// The position there.
    pub column: usize,
}

/// A scalar expression that may hold subqueries. See [`crate::ScalarExpr`] for what the shared variants mean.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "as in ScalarExpr")]
pub enum HirScalarExpr {
    Column(ColumnRef),
    Literal(Result<Row, EvalError>, ColumnType),
    Call {
        func: FuncRef,
        args: Vec<HirScalarExpr>,
        ty: ScalarType,
    },
    And(Vec<HirScalarExpr>),
    Or(Vec<HirScalarExpr>),
    Coalesce(Vec<HirScalarExpr>),
    If {
        cond: Box<HirScalarExpr>,
        then: Box<HirScalarExpr>,
        els: Box<HirScalarExpr>,
    },
    Try(Box<HirScalarExpr>),
    Context(Context),
    Parameter(usize, ScalarType),
    /// Whether the query gives any row.
    Exists(Box<HirRelationExpr>),
    /// The one column of the one row; NULL for none, error 21000 for more.
    Scalar(Box<HirRelationExpr>),
}

/// How rows without a partner are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum JoinKind {
    Inner,
    LeftOuter,
    RightOuter,
    FullOuter,
}

/// A relational expression that may refer to outer columns.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "as in RelationExpr")]
pub enum HirRelationExpr {
    Constant {
        rows: Result<Vec<(Row, Diff)>, EvalError>,
        typ: Vec<ColumnType>,
    },
    Get {
        id: GlobalId,
        typ: Vec<ColumnType>,
    },
    LocalGet {
        id: LocalId,
        typ: Vec<ColumnType>,
    },
    Let {
        id: LocalId,
        value: Box<HirRelationExpr>,
        body: Box<HirRelationExpr>,
    },
    LetRec {
        bindings: Vec<(LocalId, HirRelationExpr, Vec<ColumnType>)>,
        limit: Option<(u64, bool)>,
        body: Box<HirRelationExpr>,
    },
    Project {
        input: Box<HirRelationExpr>,
        columns: Vec<usize>,
    },
    Map {
        input: Box<HirRelationExpr>,
        scalars: Vec<HirScalarExpr>,
    },
    Filter {
        input: Box<HirRelationExpr>,
        predicates: Vec<HirScalarExpr>,
    },
    FlatMap {
        input: Box<HirRelationExpr>,
        func: TableFuncRef,
        args: Vec<HirScalarExpr>,
        typ: Vec<ColumnType>,
    },
    /// `right` is lateral: its level-1 columns are those of `left` (its level 2 is what is level 1 here), always, also
    /// where SQL did not say LATERAL; then it just has no such columns. `on` sees the columns of both end to end.
    Join {
        left: Box<HirRelationExpr>,
        right: Box<HirRelationExpr>,
        on: Box<HirScalarExpr>,
        kind: JoinKind,
    },
    Reduce {
        input: Box<HirRelationExpr>,
        group_key: Vec<usize>,
        aggregates: Vec<HirAggregateExpr>,
    },
    Distinct {
        input: Box<HirRelationExpr>,
    },
    TopK {
        input: Box<HirRelationExpr>,
        group_key: Vec<usize>,
        order_key: Vec<ColumnOrder>,
        limit: Option<u64>,
        offset: u64,
    },
    Negate {
        input: Box<HirRelationExpr>,
    },
    Threshold {
        input: Box<HirRelationExpr>,
    },
    Union {
        inputs: Vec<HirRelationExpr>,
    },
    Catch {
        input: Box<HirRelationExpr>,
        side: Side,
    },
}

impl HirRelationExpr {
    /// Reads another object in the place of one, wherever a relation stands (not in subqueries of scalars).
    pub fn replace_id(&mut self, from: GlobalId, to: GlobalId) {
        crate::decorrelate::change_relation(self, 0, &mut |rel, _| match rel {
            HirRelationExpr::Get { id, .. } if *id == from => *id = to,
            _ => {}
        });
    }
}

/// An aggregate whose parts may hold subqueries. An empty `group_key` gives one row also over no input, as SQL wants.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "as in AggregateExpr")]
pub struct HirAggregateExpr {
    pub func: AggRef,
    pub args: Vec<HirScalarExpr>,
    pub distinct: bool,
    pub order_by: Vec<(HirScalarExpr, ColumnOrder)>,
    pub filter: Option<HirScalarExpr>,
    pub ty: ScalarType,
}
