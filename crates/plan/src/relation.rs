//! Relational expressions, as dataflows run them: no outer columns, no subqueries, every column known by position.

use std::collections::{BTreeMap, BTreeSet};

use repr::{ColumnType, Datum, Diff, EvalError, GlobalId, Row, ScalarType};

use crate::func::{AggKind, AggRef, TableFuncRef};
use crate::{ScalarExpr, walk};

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
    /// One side of the (rows, errors) pair of a plan that reads no binding of another: errors go no further. For objects
    /// that set errors aside, and for the relations that show them. Every pass sees it as an object of its own.
    Catch {
        /// From.
        input: Box<RelationExpr>,
        /// Which side.
        side: Side,
    },
    /// The same rows, arranged by keys so that others can use the index. The optimizer adds it.
    ArrangeBy {
        /// From.
        input: Box<RelationExpr>,
        /// Each a key.
        keys: Vec<Vec<ScalarExpr>>,
    },
}

/// A side of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// What was computed.
    Rows,
    /// What could not be: rows of [`EvalError::desc`].
    Errors,
}

impl Side {
    /// The columns, over an input with these.
    pub fn typ(self, input: impl FnOnce() -> Vec<ColumnType>) -> Vec<ColumnType> {
        match self {
            Side::Rows => input(),
            Side::Errors => EvalError::desc().types(),
        }
    }
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

/// Making plans.
impl RelationExpr {
    /// Rows that never change, each once.
    pub fn constant(rows: impl IntoIterator<Item = Row>, typ: Vec<ColumnType>) -> RelationExpr {
        RelationExpr::Constant { rows: Ok(rows.into_iter().map(|r| (r, 1)).collect()), typ }
    }

    /// One row without columns: what a query without FROM reads.
    pub fn unit() -> RelationExpr {
        RelationExpr::constant([Row::default()], vec![])
    }

    /// No rows.
    pub fn empty(typ: Vec<ColumnType>) -> RelationExpr {
        RelationExpr::Constant { rows: Ok(vec![]), typ }
    }

    /// An object of the catalog.
    pub fn get(id: GlobalId, typ: Vec<ColumnType>) -> RelationExpr {
        RelationExpr::Get { id, typ }
    }

    /// Keeps the rows for which all are true.
    pub fn filter(self, predicates: impl IntoIterator<Item = ScalarExpr>) -> RelationExpr {
        let predicates: Vec<_> = predicates.into_iter().collect();
        if predicates.is_empty() {
            return self;
        }
        RelationExpr::Filter { input: Box::new(self), predicates }
    }

    /// Appends computed columns.
    pub fn map(self, scalars: impl IntoIterator<Item = ScalarExpr>) -> RelationExpr {
        let scalars: Vec<_> = scalars.into_iter().collect();
        if scalars.is_empty() {
            return self;
        }
        RelationExpr::Map { input: Box::new(self), scalars }
    }

    /// Keeps these columns in this order.
    pub fn project(self, columns: impl IntoIterator<Item = usize>) -> RelationExpr {
        let columns: Vec<_> = columns.into_iter().collect();
        if columns.len() == self.arity() && columns.iter().enumerate().all(|(i, c)| i == *c) {
            return self;
        }
        RelationExpr::Project { input: Box::new(self), columns }
    }

    /// For each row, the row followed by each row of a table function.
    pub fn flat_map(self, func: TableFuncRef, args: Vec<ScalarExpr>, typ: Vec<ColumnType>) -> RelationExpr {
        RelationExpr::FlatMap { input: Box::new(self), func, args, typ }
    }

    /// All combinations for which the expressions of each class are equal.
    pub fn join(inputs: Vec<RelationExpr>, equivalences: Vec<Vec<ScalarExpr>>) -> RelationExpr {
        RelationExpr::Join { inputs, equivalences }
    }

    /// All combinations with `other`; the unit relation adds nothing.
    pub fn product(self, other: RelationExpr) -> RelationExpr {
        if self.is_unit() {
            other
        } else if other.is_unit() {
            self
        } else {
            RelationExpr::join(vec![self, other], vec![])
        }
    }

    /// One row a group.
    pub fn reduce(self, group_key: Vec<ScalarExpr>, aggregates: Vec<AggregateExpr>) -> RelationExpr {
        RelationExpr::Reduce { input: Box::new(self), group_key, aggregates }
    }

    /// Each different row once.
    pub fn distinct(self) -> RelationExpr {
        let keys = (0..self.arity()).map(ScalarExpr::Column).collect();
        self.reduce(keys, vec![])
    }

    /// The first rows of each group.
    pub fn top_k(
        self,
        group_key: Vec<usize>,
        order_key: Vec<ColumnOrder>,
        limit: Option<u64>,
        offset: u64,
    ) -> RelationExpr {
        RelationExpr::TopK { input: Box::new(self), group_key, order_key, limit, offset }
    }

    /// Each row with the sign of its count turned.
    pub fn negate(self) -> RelationExpr {
        RelationExpr::Negate { input: Box::new(self) }
    }

    /// Only rows that occur a positive number of times.
    pub fn threshold(self) -> RelationExpr {
        RelationExpr::Threshold { input: Box::new(self) }
    }

    /// One side of the collection, its errors going no further.
    pub fn catch(self, side: Side) -> RelationExpr {
        RelationExpr::Catch { input: Box::new(self), side }
    }

    /// The sum of both multisets.
    pub fn union(self, other: RelationExpr) -> RelationExpr {
        RelationExpr::Union { inputs: vec![self, other] }
    }

    /// Binds `value` to `id` in `self`.
    pub fn let_in(self, id: LocalId, value: RelationExpr) -> RelationExpr {
        RelationExpr::Let { id, value: Box::new(value), body: Box::new(self) }
    }
}

/// What is known about a plan.
impl RelationExpr {
    /// The types of the columns. `nullable` is false only where NULL cannot occur.
    pub fn typ(&self) -> Vec<ColumnType> {
        match self {
            RelationExpr::Constant { typ, .. }
            | RelationExpr::Get { typ, .. }
            | RelationExpr::LocalGet { typ, .. } => typ.clone(),
            RelationExpr::Let { body, .. } | RelationExpr::LetRec { body, .. } => body.typ(),
            RelationExpr::Project { input, columns } => {
                let typ = input.typ();
                columns.iter().map(|c| typ[*c].clone()).collect()
            }
            RelationExpr::Map { input, scalars } => {
                let mut typ = input.typ();
                for s in scalars {
                    let t = s.typ(&typ);
                    typ.push(t);
                }
                typ
            }
            RelationExpr::Filter { input, predicates } => {
                let mut typ = input.typ();
                for p in predicates {
                    for c in walk::not_null_if_true(p) {
                        typ[c].nullable = false;
                    }
                }
                typ
            }
            RelationExpr::FlatMap { input, typ, .. } => {
                let mut all = input.typ();
                all.extend(typ.iter().cloned());
                all
            }
            RelationExpr::Join { inputs, equivalences } => {
                let mut typ: Vec<ColumnType> = inputs.iter().flat_map(RelationExpr::typ).collect();
                for e in equivalences.iter().flatten() {
                    for c in walk::not_null_if_not_null(e) {
                        typ[c].nullable = false;
                    }
                }
                typ
            }
            RelationExpr::Reduce { input, group_key, aggregates } => {
                let typ = input.typ();
                let keys = group_key.iter().map(|k| k.typ(&typ));
                keys.chain(aggregates.iter().map(|a| a.typ(&typ))).collect()
            }
            RelationExpr::Catch { input, side } => side.typ(|| input.typ()),
            RelationExpr::TopK { input, .. }
            | RelationExpr::Negate { input }
            | RelationExpr::Threshold { input }
            | RelationExpr::ArrangeBy { input, .. } => input.typ(),
            RelationExpr::Union { inputs } => {
                let mut typ = inputs[0].typ();
                for other in &inputs[1..] {
                    for (t, o) in typ.iter_mut().zip(other.typ()) {
                        t.nullable |= o.nullable;
                    }
                }
                typ
            }
        }
    }

    /// How many columns there are.
    pub fn arity(&self) -> usize {
        match self {
            RelationExpr::Constant { typ, .. }
            | RelationExpr::Get { typ, .. }
            | RelationExpr::LocalGet { typ, .. } => typ.len(),
            RelationExpr::Let { body, .. } | RelationExpr::LetRec { body, .. } => body.arity(),
            RelationExpr::Project { columns, .. } => columns.len(),
            RelationExpr::Map { input, scalars } => input.arity() + scalars.len(),
            RelationExpr::FlatMap { input, typ, .. } => input.arity() + typ.len(),
            RelationExpr::Join { inputs, .. } => inputs.iter().map(RelationExpr::arity).sum(),
            RelationExpr::Reduce { group_key, aggregates, .. } => group_key.len() + aggregates.len(),
            RelationExpr::Catch { input, side: Side::Rows }
            | RelationExpr::Filter { input, .. }
            | RelationExpr::TopK { input, .. }
            | RelationExpr::Negate { input }
            | RelationExpr::Threshold { input }
            | RelationExpr::ArrangeBy { input, .. } => input.arity(),
            RelationExpr::Catch { .. } => self.typ().len(),
            RelationExpr::Union { inputs } => inputs[0].arity(),
        }
    }

    /// Sets of columns, none within another, by each of which no two rows agree. Rows then also occur at most once. An
    /// empty set: there is at most one row. Only what can be proved from the plan alone.
    pub fn keys(&self) -> Vec<Vec<usize>> {
        self.keys_within(&mut BTreeMap::new())
    }

    /// [`RelationExpr::keys`] below bindings whose keys are known.
    pub fn keys_within(&self, bound: &mut BTreeMap<LocalId, Vec<Vec<usize>>>) -> Vec<Vec<usize>> {
        match self {
            RelationExpr::Constant { rows: Ok(rows), typ } => constant_keys(rows, typ.len()),
            RelationExpr::Constant { rows: Err(_), .. } => vec![vec![]],
            RelationExpr::LocalGet { id, .. } => bound.get(id).cloned().unwrap_or_default(),
            RelationExpr::Let { id, value, body } => {
                let keys = value.keys_within(bound);
                bound.insert(*id, keys);
                let keys = body.keys_within(bound);
                bound.remove(id);
                keys
            }
            RelationExpr::LetRec { body, .. } => body.keys_within(bound),
            RelationExpr::Project { input, columns } => {
                let keys = input.keys_within(bound);
                let place = |c: &usize| columns.iter().position(|p| p == c);
                minimal(keys.iter().filter_map(|k| k.iter().map(place).collect::<Option<Vec<_>>>()))
            }
            RelationExpr::Map { input, scalars } => {
                let mut keys = input.keys_within(bound);
                // A copy of a column is as good as the column.
                let arity = input.arity();
                for (i, s) in scalars.iter().enumerate() {
                    if let ScalarExpr::Column(c) = s {
                        let copies: Vec<_> = keys
                            .iter()
                            .filter(|k| k.contains(c))
                            .map(|k| k.iter().map(|x| if x == c { arity + i } else { *x }).collect())
                            .collect();
                        keys.extend(copies);
                    }
                }
                minimal(keys)
            }
            RelationExpr::Filter { input, predicates } => {
                let mut keys = input.keys_within(bound);
                for c in predicates.iter().filter_map(walk::column_is_literal) {
                    keys.iter_mut().for_each(|k| k.retain(|x| *x != c));
                }
                minimal(keys)
            }
            RelationExpr::Join { inputs, equivalences } => {
                let keys: Vec<_> = inputs.iter().map(|i| i.keys_within(bound)).collect();
                let arities: Vec<_> = inputs.iter().map(RelationExpr::arity).collect();
                join_keys(&keys, &arities, equivalences)
            }
            RelationExpr::Reduce { input, group_key, .. } => {
                let mut keys = vec![(0..group_key.len()).collect::<Vec<_>>()];
                // A key of the input stays one if all of it is grouped by.
                let place = |c: &usize| group_key.iter().position(|k| *k == ScalarExpr::Column(*c));
                let below = input.keys_within(bound);
                keys.extend(below.iter().filter_map(|k| k.iter().map(place).collect::<Option<Vec<_>>>()));
                minimal(keys)
            }
            RelationExpr::TopK { input, group_key, limit, .. } => {
                let mut keys = input.keys_within(bound);
                if *limit == Some(1) {
                    keys.push(group_key.clone());
                }
                minimal(keys)
            }
            RelationExpr::Threshold { input }
            | RelationExpr::ArrangeBy { input, .. }
            | RelationExpr::Catch { input, side: Side::Rows } => input.keys_within(bound),
            RelationExpr::Union { inputs } => padded_keys(inputs, bound),
            RelationExpr::Get { .. }
            | RelationExpr::FlatMap { .. }
            | RelationExpr::Negate { .. }
            | RelationExpr::Catch { .. } => vec![],
        }
    }

    /// Whether rows only ever come and never go, given which stored collections are such. Renderers use cheaper
    /// operators over such inputs (`min`, `max`, DISTINCT ON and TopK without the rows that lost).
    pub fn monotonic(&self, append_only: &dyn Fn(GlobalId) -> bool) -> bool {
        self.monotonic_within(append_only, &mut BTreeMap::new())
    }

    /// [`RelationExpr::monotonic`] below bindings for which it is known.
    pub fn monotonic_within(
        &self,
        append_only: &dyn Fn(GlobalId) -> bool,
        bound: &mut BTreeMap<LocalId, bool>,
    ) -> bool {
        match self {
            RelationExpr::Constant { rows, .. } => {
                rows.as_ref().is_ok_and(|r| r.iter().all(|(_, d)| *d >= 0))
            }
            RelationExpr::Get { id, .. } => append_only(*id),
            RelationExpr::LocalGet { id, .. } => bound.get(id).copied().unwrap_or(false),
            RelationExpr::Let { id, value, body } => {
                let value = value.monotonic_within(append_only, bound);
                bound.insert(*id, value);
                let body = body.monotonic_within(append_only, bound);
                bound.remove(id);
                body
            }
            // A round may take back what the one before gave.
            RelationExpr::LetRec { .. } => false,
            // Rows leave through a temporal filter.
            RelationExpr::Filter { input, predicates } => {
                !predicates.iter().any(walk::is_temporal) && input.monotonic_within(append_only, bound)
            }
            RelationExpr::Project { input, .. }
            | RelationExpr::Map { input, .. }
            | RelationExpr::FlatMap { input, .. }
            | RelationExpr::Threshold { input }
            | RelationExpr::Catch { input, side: Side::Rows }
            | RelationExpr::ArrangeBy { input, .. } => input.monotonic_within(append_only, bound),
            RelationExpr::Join { inputs, .. } | RelationExpr::Union { inputs } => {
                inputs.iter().all(|i| i.monotonic_within(append_only, bound))
            }
            RelationExpr::Reduce { input, aggregates, .. } => {
                aggregates.is_empty() && input.monotonic_within(append_only, bound)
            }
            RelationExpr::TopK { input, limit, offset, .. } => {
                limit.is_none() && *offset == 0 && input.monotonic_within(append_only, bound)
            }
            RelationExpr::Negate { .. } | RelationExpr::Catch { .. } => false,
        }
    }

    /// The objects of the catalog that it reads.
    pub fn depends_on(&self) -> BTreeSet<GlobalId> {
        let mut ids = BTreeSet::new();
        self.visit_pre(&mut |e| {
            if let RelationExpr::Get { id, .. } = e {
                ids.insert(*id);
            }
        });
        ids
    }

    /// The bindings of others that it reads.
    pub fn free_locals(&self) -> BTreeSet<LocalId> {
        fn go(e: &RelationExpr, bound: &mut Vec<LocalId>, out: &mut BTreeSet<LocalId>) {
            match e {
                RelationExpr::LocalGet { id, .. } => {
                    if !bound.contains(id) {
                        out.insert(*id);
                    }
                }
                RelationExpr::Let { id, value, body } => {
                    go(value, bound, out);
                    bound.push(*id);
                    go(body, bound, out);
                    bound.pop();
                }
                RelationExpr::LetRec { bindings, body, .. } => {
                    let before = bound.len();
                    bound.extend(bindings.iter().map(|b| b.0));
                    bindings.iter().for_each(|b| go(&b.1, bound, out));
                    go(body, bound, out);
                    bound.truncate(before);
                }
                other => other.for_each_child(&mut |c| go(c, bound, out)),
            }
        }
        let mut out = BTreeSet::new();
        go(self, &mut vec![], &mut out);
        out
    }

    /// Reads other objects in the place of those read now.
    pub fn replace_ids(&mut self, with: &dyn Fn(GlobalId) -> GlobalId) {
        self.visit_pre_mut(&mut |e| {
            if let RelationExpr::Get { id, .. } = e {
                *id = with(*id);
            }
        });
    }

    /// Whether it is the one row without columns.
    pub fn is_unit(&self) -> bool {
        matches!(self, RelationExpr::Constant { rows: Ok(rows), typ } if typ.is_empty() && rows.len() == 1 && rows[0].1 == 1)
    }

    /// Whether it is known to have no rows and no error.
    pub fn is_empty(&self) -> bool {
        matches!(self, RelationExpr::Constant { rows: Ok(rows), .. } if rows.is_empty())
    }
}

/// Walking plans.
impl RelationExpr {
    /// Each direct input, in order; of bindings the values, then the body.
    pub fn for_each_child<'a>(&'a self, f: &mut dyn FnMut(&'a RelationExpr)) {
        match self {
            RelationExpr::Constant { .. } | RelationExpr::Get { .. } | RelationExpr::LocalGet { .. } => {}
            RelationExpr::Let { value, body, .. } => {
                f(value);
                f(body);
            }
            RelationExpr::LetRec { bindings, body, .. } => {
                bindings.iter().for_each(|b| f(&b.1));
                f(body);
            }
            RelationExpr::Project { input, .. }
            | RelationExpr::Map { input, .. }
            | RelationExpr::Filter { input, .. }
            | RelationExpr::FlatMap { input, .. }
            | RelationExpr::Reduce { input, .. }
            | RelationExpr::TopK { input, .. }
            | RelationExpr::Negate { input }
            | RelationExpr::Threshold { input }
            | RelationExpr::Catch { input, .. }
            | RelationExpr::ArrangeBy { input, .. } => f(input),
            RelationExpr::Join { inputs, .. } | RelationExpr::Union { inputs } => inputs.iter().for_each(f),
        }
    }

    /// Each direct input, to be changed.
    pub fn for_each_child_mut(&mut self, f: &mut dyn FnMut(&mut RelationExpr)) {
        match self {
            RelationExpr::Constant { .. } | RelationExpr::Get { .. } | RelationExpr::LocalGet { .. } => {}
            RelationExpr::Let { value, body, .. } => {
                f(value);
                f(body);
            }
            RelationExpr::LetRec { bindings, body, .. } => {
                bindings.iter_mut().for_each(|b| f(&mut b.1));
                f(body);
            }
            RelationExpr::Project { input, .. }
            | RelationExpr::Map { input, .. }
            | RelationExpr::Filter { input, .. }
            | RelationExpr::FlatMap { input, .. }
            | RelationExpr::Reduce { input, .. }
            | RelationExpr::TopK { input, .. }
            | RelationExpr::Negate { input }
            | RelationExpr::Threshold { input }
            | RelationExpr::Catch { input, .. }
            | RelationExpr::ArrangeBy { input, .. } => f(input),
            RelationExpr::Join { inputs, .. } | RelationExpr::Union { inputs } => {
                inputs.iter_mut().for_each(f)
            }
        }
    }

    /// Every part of the plan, parents first.
    pub fn visit_pre<'a>(&'a self, f: &mut dyn FnMut(&'a RelationExpr)) {
        f(self);
        self.for_each_child(&mut |c| c.visit_pre(f));
    }

    /// Every part of the plan, inputs first.
    pub fn visit_post<'a>(&'a self, f: &mut dyn FnMut(&'a RelationExpr)) {
        self.for_each_child(&mut |c| c.visit_post(f));
        f(self);
    }

    /// Changes every part of the plan, parents first.
    pub fn visit_pre_mut(&mut self, f: &mut dyn FnMut(&mut RelationExpr)) {
        f(self);
        self.for_each_child_mut(&mut |c| c.visit_pre_mut(f));
    }

    /// Changes every part of the plan, inputs first.
    pub fn visit_post_mut(&mut self, f: &mut dyn FnMut(&mut RelationExpr)) {
        self.for_each_child_mut(&mut |c| c.visit_post_mut(f));
        f(self);
    }

    /// The scalar expressions that this part of the plan holds (not those of its inputs).
    pub fn for_each_scalar<'a>(&'a self, f: &mut dyn FnMut(&'a ScalarExpr)) {
        match self {
            RelationExpr::Map { scalars, .. } => scalars.iter().for_each(f),
            RelationExpr::Filter { predicates, .. } => predicates.iter().for_each(f),
            RelationExpr::FlatMap { args, .. } => args.iter().for_each(f),
            RelationExpr::Join { equivalences, .. } => equivalences.iter().flatten().for_each(f),
            RelationExpr::Reduce { group_key, aggregates, .. } => {
                group_key.iter().for_each(&mut *f);
                aggregates.iter().for_each(|a| a.for_each_scalar(f));
            }
            RelationExpr::ArrangeBy { keys, .. } => keys.iter().flatten().for_each(f),
            _ => {}
        }
    }

    /// The same, to be changed.
    pub fn for_each_scalar_mut(&mut self, f: &mut dyn FnMut(&mut ScalarExpr)) {
        match self {
            RelationExpr::Map { scalars, .. } => scalars.iter_mut().for_each(f),
            RelationExpr::Filter { predicates, .. } => predicates.iter_mut().for_each(f),
            RelationExpr::FlatMap { args, .. } => args.iter_mut().for_each(f),
            RelationExpr::Join { equivalences, .. } => equivalences.iter_mut().flatten().for_each(f),
            RelationExpr::Reduce { group_key, aggregates, .. } => {
                group_key.iter_mut().for_each(&mut *f);
                aggregates.iter_mut().for_each(|a| a.for_each_scalar_mut(f));
            }
            RelationExpr::ArrangeBy { keys, .. } => keys.iter_mut().flatten().for_each(f),
            _ => {}
        }
    }

    /// Every scalar expression of the whole plan, to be changed: where a statement's [`crate::scalar::Context`] and
    /// parameters are filled in before it runs.
    pub fn visit_scalars_mut(&mut self, f: &mut dyn FnMut(&mut ScalarExpr)) {
        self.visit_pre_mut(&mut |e| e.for_each_scalar_mut(f));
    }

    /// Takes the plan out and leaves an empty one without columns.
    pub fn take(&mut self) -> RelationExpr {
        std::mem::replace(self, RelationExpr::empty(vec![]))
    }
}

impl AggregateExpr {
    /// What it returns for a group that has rows, given the columns of the input.
    pub fn typ(&self, columns: &[ColumnType]) -> ColumnType {
        let nullable = match self.func.0.kind {
            AggKind::Count => false,
            AggKind::Sum
            | AggKind::Avg
            | AggKind::Min
            | AggKind::Max
            | AggKind::BoolAnd
            | AggKind::BoolOr => self.filter.is_some() || self.args.iter().any(|a| a.typ(columns).nullable),
            AggKind::Variance { .. } | AggKind::Collect => true,
        };
        self.ty.clone().nullable(nullable)
    }

    /// Its expressions over a row of the input.
    pub fn for_each_scalar<'a>(&'a self, f: &mut dyn FnMut(&'a ScalarExpr)) {
        self.args.iter().chain(self.order_by.iter().map(|o| &o.0)).chain(&self.filter).for_each(f)
    }

    /// The same, to be changed.
    pub fn for_each_scalar_mut(&mut self, f: &mut dyn FnMut(&mut ScalarExpr)) {
        let order = self.order_by.iter_mut().map(|o| &mut o.0);
        self.args.iter_mut().chain(order).chain(&mut self.filter).for_each(f)
    }

    /// The value over no rows at all: 0 for counts, else NULL.
    pub fn over_nothing(&self) -> ScalarExpr {
        ScalarExpr::literal(self.func.over_nothing(), self.ty.clone())
    }
}

/// Drops sets that hold another.
fn minimal(keys: impl IntoIterator<Item = Vec<usize>>) -> Vec<Vec<usize>> {
    let mut keys: Vec<Vec<usize>> = keys.into_iter().collect();
    for k in &mut keys {
        k.sort_unstable();
        k.dedup();
    }
    keys.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    keys.dedup();
    let mut kept: Vec<Vec<usize>> = vec![];
    for k in keys {
        // Few keys are ever of use; many make planning slow.
        if kept.len() < 8 && !kept.iter().any(|small| small.iter().all(|c| k.contains(c))) {
            kept.push(k);
        }
    }
    kept
}

fn constant_keys(rows: &[(Row, Diff)], arity: usize) -> Vec<Vec<usize>> {
    if rows.is_empty() || (rows.len() == 1 && rows[0].1 == 1) {
        return vec![vec![]];
    }
    // Beyond a few hundred rows the search costs more than a key is worth.
    if rows.len() > 500 || rows.iter().any(|(_, d)| *d != 1) {
        return vec![];
    }
    let unpacked: Vec<Vec<Datum<'_>>> = rows.iter().map(|(r, _)| r.unpack()).collect();
    let single = (0..arity).filter(|c| {
        let values: BTreeSet<_> = unpacked.iter().map(|r| r[*c]).collect();
        values.len() == rows.len()
    });
    let single: Vec<Vec<usize>> = single.map(|c| vec![c]).collect();
    let all: BTreeSet<_> = rows.iter().map(|(r, _)| r).collect();
    if single.is_empty() && all.len() == rows.len() { vec![(0..arity).collect()] } else { minimal(single) }
}

/// Keys of a join: a key of one input, widened by keys of those inputs that it does not determine.
fn join_keys(
    keys: &[Vec<Vec<usize>>],
    arities: &[usize],
    equivalences: &[Vec<ScalarExpr>],
) -> Vec<Vec<usize>> {
    if keys.iter().any(Vec::is_empty) {
        return vec![];
    }
    let offsets: Vec<usize> = arities
        .iter()
        .scan(0, |sum, a| {
            *sum += a;
            Some(*sum - a)
        })
        .collect();
    let mut found = vec![];
    for first in 0..keys.len() {
        for start in &keys[first] {
            let mut key: BTreeSet<usize> = start.iter().map(|c| c + offsets[first]).collect();
            let mut determined: BTreeSet<usize> = (0..arities[first]).map(|c| c + offsets[first]).collect();
            let mut done: BTreeSet<usize> = [first].into();
            while done.len() < keys.len() {
                let mut grown = false;
                for class in equivalences {
                    let known = class.iter().any(|e| e.columns().is_subset(&determined));
                    for e in class.iter().filter(|_| known) {
                        if let ScalarExpr::Column(c) = e {
                            grown |= determined.insert(*c);
                        }
                    }
                }
                for i in 0..keys.len() {
                    let has = |k: &Vec<usize>| k.iter().all(|c| determined.contains(&(c + offsets[i])));
                    if !done.contains(&i) && keys[i].iter().any(has) {
                        done.insert(i);
                        determined.extend((0..arities[i]).map(|c| c + offsets[i]));
                        grown = true;
                    }
                }
                if !grown {
                    let Some(i) = (0..keys.len()).find(|i| !done.contains(i)) else { break };
                    key.extend(keys[i][0].iter().map(|c| c + offsets[i]));
                    determined.extend((0..arities[i]).map(|c| c + offsets[i]));
                    done.insert(i);
                }
            }
            found.push(key.into_iter().collect());
        }
    }
    minimal(found)
}

/// The keys of `A ∪ (B − π(A)) × constants`, which is how a row is added for every key of B that A lacks: those of A's
/// keys that B also has. Other unions have none.
fn padded_keys(inputs: &[RelationExpr], bound: &mut BTreeMap<LocalId, Vec<Vec<usize>>>) -> Vec<Vec<usize>> {
    let live: Vec<_> = inputs.iter().filter(|i| !i.is_empty()).collect();
    match live.as_slice() {
        [] => vec![vec![]],
        [one] => one.keys_within(bound),
        [a, RelationExpr::Map { input, scalars }] if scalars.iter().all(|s| s.as_literal().is_some()) => {
            let RelationExpr::Union { inputs: parts } = &**input else { return vec![] };
            let [b, RelationExpr::Negate { input: taken }] = parts.as_slice() else { return vec![] };
            let width = b.arity();
            let from_a = match &**taken {
                RelationExpr::Project { input, columns } => {
                    **input == **a && columns.iter().copied().eq(0..width)
                }
                other => other == *a,
            };
            if !from_a {
                return vec![];
            }
            let (of_a, of_b) = (a.keys_within(bound), b.keys_within(bound));
            let whole = |k: &Vec<usize>| k.iter().all(|c| *c < width);
            minimal(
                of_a.into_iter().filter(|k| whole(k) && of_b.iter().any(|b| b.iter().all(|c| k.contains(c)))),
            )
        }
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use repr::ScalarType;

    fn get(n: usize) -> RelationExpr {
        RelationExpr::get(GlobalId::User(1), vec![ScalarType::Int64.nullable(true); n])
    }

    fn col(i: usize) -> ScalarExpr {
        ScalarExpr::Column(i)
    }

    #[test]
    fn grouping_columns_are_a_key_and_projections_keep_it() {
        let r = get(3).reduce(vec![col(0), col(2)], vec![]);
        assert_eq!(r.keys(), [vec![0, 1]]);
        assert_eq!(r.clone().project([1, 0, 1]).keys(), [vec![0, 1]]);
        assert_eq!(r.project([1]).keys(), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn a_join_on_a_key_keeps_the_other_sides_key() {
        let many = get(2).distinct();
        let one = get(2).reduce(vec![col(0)], vec![]).map([col(0)]);
        let join = RelationExpr::join(vec![many, one], vec![vec![col(1), col(2)]]);
        assert_eq!(join.keys(), [vec![0, 1]]);
        let cross = RelationExpr::join(vec![get(1).distinct(), get(1).distinct()], vec![]);
        assert_eq!(cross.keys(), [vec![0, 1]]);
    }

    #[test]
    fn joined_columns_are_not_null() {
        let join = RelationExpr::join(vec![get(1), get(2)], vec![vec![col(0), col(2)]]);
        let nullable: Vec<bool> = join.typ().iter().map(|t| t.nullable).collect();
        assert_eq!(nullable, [false, true, false]);
    }

    #[test]
    fn only_growing_inputs_give_growing_outputs() {
        let append_only = |id| id == GlobalId::User(1);
        assert!(get(2).project([1]).distinct().monotonic(&append_only));
        assert!(!get(2).negate().monotonic(&append_only));
        assert!(!get(2).top_k(vec![], vec![], Some(1), 0).monotonic(&append_only));
        assert!(!get(2).monotonic(&|_| false));
        assert!(!get(1).filter([ScalarExpr::Context(crate::scalar::Context::MzNow)]).monotonic(&append_only));
    }

    #[test]
    fn locals_bound_inside_are_not_free() {
        let x = |n| RelationExpr::LocalGet { id: LocalId(n), typ: vec![] };
        let plan = x(1).union(x(2)).let_in(LocalId(1), x(3));
        assert_eq!(plan.free_locals(), [LocalId(2), LocalId(3)].into());
    }
}
