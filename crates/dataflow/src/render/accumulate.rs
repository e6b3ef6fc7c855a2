//! What a group keeps of its rows for each aggregate, and what comes out of it.
//!
//! | aggregate | state |
//! |---|---|
//! | count, sum, avg, stddev, variance, bool_and, bool_or | numbers, whatever the number of rows |
//! | min, max | the value, where rows only come; else all values in order |
//! | array_agg, string_agg, jsonb_agg … | all argument rows in order |
//! | any of them with DISTINCT | how often each argument occurs, and the state over the different ones |

use differential_dataflow::consolidation::consolidate;
use hashbrown::HashMap;
use plan::func::{AggKind, AggRef};
use plan::{AggregateExpr, ColumnOrder};
use repr::{Datum, Diff, EvalError, Row, RowRef, ScalarType, error::code};
use serde::{Deserialize, Serialize};

use super::bag::{Bag, RowOrder};
use super::total::Total;
use crate::work;

/// How to keep one aggregate.
pub struct Aggregate {
    func: AggRef,
    kind: Kind,
    ty: ScalarType,
    distinct: bool,
    /// How many of its columns are sort keys; they come first.
    order_columns: usize,
    /// How many are arguments; they follow.
    args: usize,
    /// Whether one more column says which rows take part.
    filtered: bool,
    order: RowOrder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Counts all rows of the group: no state of its own.
    Rows,
    Count,
    Sum,
    Avg,
    Variance {
        sample: bool,
        root: bool,
    },
    BoolAnd,
    BoolOr,
    /// The first value in the order, where values only come.
    First,
    /// The first value in the order.
    FirstOfAll,
    Collect,
}

/// The state of one aggregate; also what one batch of rows adds to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum State {
    /// Nothing.
    None,
    /// Values that are not NULL.
    Count(i64),
    /// How many, and their sum.
    Sum(i64, Total),
    /// How many, their sum, that of their squares.
    Moments(Box<(i64, Total, Total)>),
    /// True ones, false ones.
    Bools(i64, i64),
    /// The best value yet.
    First(Option<Row>),
    /// Argument rows in no order: what a batch adds.
    Values(Vec<(Row, Diff)>),
    /// Argument rows in order.
    #[serde(skip)]
    Bag(Bag),
    /// Argument rows with how often they occur, and the state over them.
    #[serde(skip)]
    Distinct(Box<(HashMap<Row, Diff>, State)>),
}

impl Aggregate {
    /// Plans an aggregate. Its columns are those of [`Aggregate::columns`], in that order.
    pub fn new(expr: &AggregateExpr, monotonic: bool) -> Aggregate {
        let constant = expr.args.iter().all(|a| a.as_literal().is_some_and(|d| !d.is_null()));
        // Only different values can be least or greatest, so DISTINCT changes nothing there.
        let extreme = matches!(expr.func.0.kind, AggKind::Min | AggKind::Max);
        let distinct = expr.distinct && !extreme;
        let kind = match expr.func.0.kind {
            AggKind::Count if constant && !distinct && expr.filter.is_none() => Kind::Rows,
            AggKind::Count => Kind::Count,
            AggKind::Sum => Kind::Sum,
            AggKind::Avg => Kind::Avg,
            AggKind::Variance { sample, root } => Kind::Variance { sample, root },
            AggKind::BoolAnd => Kind::BoolAnd,
            AggKind::BoolOr => Kind::BoolOr,
            AggKind::Min | AggKind::Max if monotonic => Kind::First,
            AggKind::Min | AggKind::Max => Kind::FirstOfAll,
            AggKind::Collect => Kind::Collect,
        };
        let order = match expr.func.0.kind {
            AggKind::Max => vec![ColumnOrder { column: 0, desc: true, nulls_first: false }],
            AggKind::Min => vec![ColumnOrder { column: 0, desc: false, nulls_first: false }],
            _ => (expr.order_by.iter().enumerate())
                .map(|(column, (_, by))| ColumnOrder { column, ..*by })
                .collect(),
        };
        let ordered = kind == Kind::Collect;
        Aggregate {
            func: expr.func,
            kind,
            ty: expr.ty.clone(),
            distinct,
            order_columns: if ordered { expr.order_by.len() } else { 0 },
            args: if kind == Kind::Rows { 0 } else { expr.args.len() },
            filtered: expr.filter.is_some(),
            order: RowOrder::new(order),
        }
    }

    /// The expressions over a row that it needs: sort keys, arguments, filter.
    pub fn columns(&self, expr: &AggregateExpr) -> Vec<plan::ScalarExpr> {
        let keys = expr.order_by.iter().take(self.order_columns).map(|(e, _)| e.clone());
        keys.chain(expr.args.iter().take(self.args).cloned()).chain(expr.filter.clone()).collect()
    }

    /// How many columns [`Aggregate::columns`] gives.
    pub fn width(&self) -> usize {
        self.order_columns + self.args + usize::from(self.filtered)
    }

    /// Whether reading the result costs more than a few instructions.
    pub fn is_costly(&self) -> bool {
        self.kind == Kind::Collect
    }

    /// What no rows add.
    pub fn nothing(&self) -> State {
        if self.distinct {
            return State::Values(vec![]);
        }
        match self.kind {
            Kind::FirstOfAll | Kind::Collect => State::Values(vec![]),
            _ => self.plain(),
        }
    }

    /// The state of a group that has no rows yet.
    pub fn start(&self) -> State {
        let plain = match self.kind {
            Kind::FirstOfAll | Kind::Collect => State::Bag(Bag::default()),
            _ => self.plain(),
        };
        match self.distinct {
            true => State::Distinct(Box::new((HashMap::new(), plain))),
            false => plain,
        }
    }

    fn plain(&self) -> State {
        match self.kind {
            Kind::Rows | Kind::FirstOfAll | Kind::Collect => State::None,
            Kind::Count => State::Count(0),
            Kind::Sum | Kind::Avg => State::Sum(0, Total::default()),
            Kind::Variance { .. } => State::Moments(Box::default()),
            Kind::BoolAnd | Kind::BoolOr => State::Bools(0, 0),
            Kind::First => State::First(None),
        }
    }

    /// Adds one row to what a batch adds. `column(i)` is its `i`th column.
    #[inline]
    pub fn add<'a>(&self, state: &mut State, column: impl Fn(usize) -> Datum<'a>, diff: Diff) {
        if self.filtered && !matches!(column(self.width() - 1), Datum::Bool(true)) {
            return;
        }
        match state {
            State::None => {}
            State::Values(values) => {
                // NULL is never counted, summed or compared; only collections see it.
                if self.kind == Kind::Collect || !column(0).is_null() {
                    values.push((Row::pack((0..self.order_columns + self.args).map(column)), diff));
                }
            }
            plain => self.add_plain(plain, column(0), diff),
        }
    }

    /// Adds a value to a state that keeps no rows.
    #[inline]
    fn add_plain(&self, state: &mut State, value: Datum<'_>, diff: Diff) {
        if value.is_null() {
            return;
        }
        match state {
            State::Count(n) => *n += diff,
            State::Sum(n, total) => {
                *n += diff;
                total.add(value, diff, false);
            }
            State::Moments(moments) => {
                moments.0 += diff;
                moments.1.add(value, diff, false);
                moments.2.add(value, diff, true);
            }
            State::Bools(yes, no) => *(if value.bool() { yes } else { no }) += diff,
            State::First(best) => {
                let better = match best.as_ref().and_then(|b| b.iter().next()) {
                    None => true,
                    Some(b) if self.descends() => value > b,
                    Some(b) => value < b,
                };
                if better {
                    *best = Some(Row::pack([value]));
                }
            }
            _ => {}
        }
    }

    fn descends(&self) -> bool {
        self.func.0.kind == AggKind::Max
    }

    /// Sums equal values of what a batch adds.
    pub fn shrink(state: &mut State) {
        if let State::Values(values) = state {
            consolidate(values);
        }
    }

    /// Puts what one batch adds to what another adds, or to a group's state.
    pub fn merge(&self, state: &mut State, more: State) {
        match (state, more) {
            (State::Count(a), State::Count(b)) => *a += b,
            (State::Sum(n, a), State::Sum(m, b)) => {
                *n += m;
                a.merge(b);
            }
            (State::Moments(a), State::Moments(b)) => {
                let (n, sum, squares) = *b;
                a.0 += n;
                a.1.merge(sum);
                a.2.merge(squares);
            }
            (State::Bools(a, b), State::Bools(c, d)) => {
                *a += c;
                *b += d;
            }
            (first @ State::First(_), State::First(Some(row))) => {
                self.add_plain(first, row.iter().next().unwrap_or(Datum::Null), 1)
            }
            (State::Values(a), State::Values(b)) => a.extend(b),
            (State::Bag(bag), State::Values(values)) => {
                values.into_iter().for_each(|(row, diff)| bag.update(row, diff, &self.order))
            }
            (State::Distinct(state), State::Values(values)) => {
                let (counts, inner) = &mut **state;
                for (row, diff) in values {
                    let count = counts.get(&row).copied().unwrap_or(0);
                    let now = count + diff;
                    match i64::from(now > 0) - i64::from(count > 0) {
                        0 => {}
                        change => self.change_distinct(inner, &row, change),
                    }
                    let known = match now {
                        0 => counts.remove(&row).is_some(),
                        n => counts.insert(row, n).is_some(),
                    };
                    work::keep(i64::from(now != 0) - i64::from(known));
                }
            }
            _ => {}
        }
    }

    /// A value has come or gone.
    fn change_distinct(&self, inner: &mut State, row: &Row, change: Diff) {
        match inner {
            State::Bag(bag) => bag.update(row.clone(), change, &self.order),
            plain => self.add_plain(plain, row.iter().next().unwrap_or(Datum::Null), change),
        }
    }

    /// The result over a group of `rows` rows.
    pub fn read(&self, state: &State, rows: i64) -> Result<Row, EvalError> {
        let one = |d: Datum<'_>| Ok(Row::pack([d]));
        match (state, self.kind) {
            (State::Distinct(state), _) => self.read(&state.1, rows),
            (State::None, _) => one(Datum::Int64(rows)),
            (State::Count(n), _) => one(Datum::Int64(*n)),
            (State::Sum(0, _), _) => one(Datum::Null),
            (State::Sum(n, total), Kind::Avg) => one(total.average(*n, &self.ty)?),
            (State::Sum(_, total), _) => one(total.sum(&self.ty)?),
            (State::Moments(moments), Kind::Variance { sample, root }) => {
                let (n, sum, squares) = &**moments;
                one(sum.variance(squares, *n, sample, root, &self.ty)?)
            }
            (State::Bools(0, 0), _) => one(Datum::Null),
            (State::Bools(_, no), Kind::BoolAnd) => one(Datum::Bool(*no == 0)),
            (State::Bools(yes, _), _) => one(Datum::Bool(*yes != 0)),
            (State::First(best), _) => Ok(best.clone().unwrap_or_else(|| Row::pack([Datum::Null]))),
            (State::Bag(bag), Kind::FirstOfAll) => match bag.iter().find(|(_, n)| *n > 0) {
                Some((row, _)) => Ok(row.clone()),
                None => one(Datum::Null),
            },
            (State::Bag(bag), _) => {
                let mut all = vec![];
                for (row, n) in bag.iter() {
                    let args = args_of(row.as_ref(), self.order_columns);
                    (0..n).for_each(|_| all.push(args.clone()));
                }
                work::touch(all.len());
                self.func.evaluate(&all, &self.ty)
            }
            _ => Err(EvalError::new(code::INTERNAL_ERROR, "an aggregate's state is of another kind")),
        }
    }
}

/// A row without its first columns.
fn args_of(row: RowRef<'_>, skip: usize) -> Row {
    let mut datums = row.iter();
    (0..skip).for_each(|_| {
        datums.skip_one();
    });
    Row::from_bytes(datums.rest())
}

#[cfg(test)]
mod tests {
    use plan::ScalarExpr;
    use plan::func::resolve::{Implementation, function};
    use repr::{Interval, Numeric};

    use super::*;

    fn expr(name: &str, ty: ScalarType) -> AggregateExpr {
        let resolved = function(name, &[Some(ty)]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let Implementation::Aggregate(func) = resolved.imp else { panic!("{name} is no aggregate") };
        let args = vec![ScalarExpr::Column(0)];
        AggregateExpr { func, args, distinct: false, order_by: vec![], filter: None, ty: resolved.ret }
    }

    /// A value of a type, from a number that looks random.
    fn value(ty: &ScalarType, n: u64) -> Datum<'static> {
        let small = (n % 2001) as i64 - 1000;
        match ty {
            _ if n.is_multiple_of(11) => Datum::Null,
            ScalarType::Bool => Datum::Bool(!n.is_multiple_of(7)),
            ScalarType::Int16 => Datum::Int16(small as i16),
            ScalarType::Int32 => Datum::Int32(small as i32 * 1_000_003),
            ScalarType::Int64 => Datum::Int64(small.wrapping_mul(9_007_199_254_740_993)),
            ScalarType::UInt64 => Datum::UInt64(n),
            ScalarType::Float32 => Datum::Float32(small as f32 / 8.0),
            ScalarType::Float64 => Datum::Float64(small as f64 / 1024.0),
            ScalarType::Numeric { .. } => Datum::Numeric(Numeric::from_fixed(small.into(), (n % 5) as u32)),
            ScalarType::Interval => {
                Datum::Interval(Interval { months: 0, days: small as i32, micros: small * 7 })
            }
            other => panic!("no values of {other:?}"),
        }
    }

    #[test]
    fn a_state_kept_through_changes_reads_as_its_group_computed_at_once() {
        use ScalarType::*;
        let numeric = Numeric { scale: None };
        let numbers = [Int16, Int32, Int64, UInt64, Float32, Float64, numeric];
        let mut cases: Vec<(&str, ScalarType)> =
            vec![("bool_and", Bool), ("bool_or", Bool), ("sum", Interval)];
        for name in
            ["count", "sum", "avg", "min", "max", "stddev", "stddev_pop", "variance", "var_pop", "array_agg"]
        {
            cases.extend(numbers.iter().map(|t| (name, t.clone())));
        }
        for (name, ty) in cases {
            for distinct in [false, true] {
                let mut expr = expr(name, ty.clone());
                expr.distinct = distinct;
                let plan = Aggregate::new(&expr, false);
                let mut state = plan.start();
                let mut rows: Vec<Row> = vec![];
                let mut random = 1u64;
                for _ in 0..12 {
                    // A batch of changes, summed before it reaches the group.
                    let mut batch = plan.nothing();
                    for _ in 0..9 {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let n = random >> 33;
                        if n.is_multiple_of(3) && !rows.is_empty() {
                            let gone = rows.swap_remove(n as usize % rows.len());
                            plan.add(&mut batch, |_| gone.iter().next().unwrap(), -1);
                        } else {
                            let datum = value(&ty, n);
                            rows.push(Row::pack([datum]));
                            plan.add(&mut batch, |_| datum, 1);
                        }
                    }
                    Aggregate::shrink(&mut batch);
                    plan.merge(&mut state, batch);
                    rows.sort();
                    let mut group = rows.clone();
                    if distinct {
                        group.dedup();
                    }
                    let expected = expr.func.evaluate(&group, &expr.ty);
                    let found = plan.read(&state, rows.len() as i64);
                    let close = |a: &Row, b: &Row| match (a.unpack()[0], b.unpack()[0]) {
                        // The reference rounds in between.
                        (Datum::Float64(a), Datum::Float64(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
                        (Datum::Float32(a), Datum::Float32(b)) => (a - b).abs() <= 1e-3 * a.abs().max(1.0),
                        _ => false,
                    };
                    let same =
                        found == expected || matches!((&found, &expected), (Ok(a), Ok(b)) if close(a, b));
                    assert!(same, "{name}({ty}), distinct {distinct}: {found:?} is not {expected:?}");
                }
            }
        }
    }

    #[test]
    fn values_that_only_come_leave_the_best_alone() {
        for name in ["min", "max"] {
            let expr = expr(name, ScalarType::Int64);
            let plan = Aggregate::new(&expr, true);
            let mut state = plan.start();
            for n in [5, 3, 9, 7] {
                let mut batch = plan.nothing();
                plan.add(&mut batch, |_| Datum::Int64(n), 1);
                plan.merge(&mut state, batch);
            }
            let best = if name == "min" { 3 } else { 9 };
            assert_eq!(plan.read(&state, 4).unwrap(), Row::pack([Datum::Int64(best)]));
            assert!(matches!(state, State::First(_)));
        }
    }
}
