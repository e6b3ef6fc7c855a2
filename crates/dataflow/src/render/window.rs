//! Windows: the rows of each partition in order, each with the values of its calls. A change looks again at the rows whose
//! frames it may have touched, and at no others.
//!
//! ```text
//!   partition = chunk ─ entry entry … entry     each: the row and what its calls gave
//!               chunk ─ …                       each with what its rows add to an aggregate, so that a frame that begins
//!               chunk ─ …                       far away is summed by chunks
//! ```
//!
//! | frame of a call | rows that one change looks at |
//! |---|---|
//! | `lag`, `lead`, ROWS with both ends near | the neighbours within the distance |
//! | GROUPS, RANGE around the current row | the peers and the rows within the distance |
//! | from the beginning up to the current row | that row and those after it |
//! | the whole partition, `ntile`, `percent_rank`, `cume_dist` | all of the partition |

use std::cmp::Ordering;
use std::ops::Range;
use std::rc::Rc;

use differential_dataflow::consolidation::consolidate;
use hashbrown::hash_table::Entry as Place;
use hashbrown::{HashMap, HashTable};
use plan::func::window::{Bound, Call, Units, Windowed};
use plan::func::{AggKind, AggRef, aggregate};
use plan::{AggregateExpr, ScalarExpr};
use repr::{Datum, Diff, EvalError, Row, RowRef, ScalarType, SqlState, Timestamp};

use super::accumulate::{Aggregate, State};
use super::bag::RowOrder;
use super::keyed::{Keyed, keyed};
use super::top_k::{Gather, Partial};
use super::{Context, Flow};
use crate::work;

/// How many entries a chunk has at most.
const CHUNK: usize = 256;

/// Two stretches of rows to look at with fewer than this between them are looked at as one.
const NEAR: usize = 16;

/// Renders what `windowed` says; the column of the list is NULL.
pub fn window<'s>(context: &mut Context<'_, 's>, windowed: &Windowed<'_>) -> Flow<'s> {
    let mut flow = context.render(windowed.input);
    let aggregate = windowed.aggregate;
    let order = aggregate.order_by.iter().map(|(e, _)| e.clone());
    let arguments = aggregate.args[2..].iter().cloned();
    let fields = windowed.fields.iter().cloned();
    flow.apply(windowed.group_key.iter().cloned().chain(order).chain(fields).chain(arguments));
    let keys = windowed.group_key.len();
    let shape = Shape::new(windowed);
    let arity = shape.columns.len() + windowed.fields.len() + shape.calls.len();
    let partials = flow.feed(context, "Window", Gather::all(keys));
    let (rows, errs) = keyed(partials, "Window", Partitions { shape: Rc::new(shape), all: HashTable::new() });
    context.errs.push(errs);
    Flow::new(rows, arity, false)
}

/// What is the same for all partitions. An entry's row is: what it is sorted by, fields, arguments, what makes peers.
struct Shape {
    order: RowOrder,
    /// Where the fields are.
    fields: Range<usize>,
    /// Where the columns are that make peers.
    peers: Range<usize>,
    calls: Vec<Planned>,
    /// The columns of the key that come out; None: the list of rows, which nobody reads.
    columns: Vec<Option<usize>>,
}

/// A call, and where its arguments are.
struct Planned {
    call: Call,
    filter: Option<usize>,
    args: Range<usize>,
    /// Of an aggregate: the function, its type, and how it is kept (None: computed from the rows of each frame).
    aggregate: Option<(AggRef, ScalarType, Option<Aggregate>)>,
    reach: Reach,
}

/// Where the rows are that a row's value depends on, from the row; None: all in that direction.
#[derive(Clone, Copy)]
enum Reach {
    Rows(Option<i64>, Option<i64>),
    /// In groups of peers.
    Groups(Option<i64>, Option<i64>),
    /// In values of the sort key, the row itself among them.
    Values,
    All,
}

impl Shape {
    fn new(windowed: &Windowed<'_>) -> Shape {
        let by = &windowed.aggregate.order_by;
        let order =
            by.iter().enumerate().map(|(column, (_, by))| plan::ColumnOrder { column, ..*by }).collect();
        let fields = by.len()..by.len() + windowed.fields.len();
        let mut next = fields.end;
        let ScalarType::List(record) = &windowed.aggregate.ty else {
            unreachable!("the planner gives windows a list of records")
        };
        let ScalarType::Record(types) = &**record else {
            unreachable!("the planner gives windows a list of records")
        };
        let mut calls = vec![];
        for (i, call) in windowed.calls.iter().enumerate() {
            let filter = call.filter.then_some(next);
            let args = next + usize::from(call.filter)..next + usize::from(call.filter) + call.args;
            next = args.end + call.limits();
            let ty = types[windowed.fields.len() + i].1.scalar.clone();
            let literal = |at: usize| {
                let offset = fields.end;
                windowed.aggregate.args.get(2 + args.start + at - offset).filter(|_| at < args.len())
            };
            let kept = call.aggregate.then(|| {
                let func = aggregate(&call.name).expect("the planner describes aggregates of the table");
                let monotonic = call.frame.start == Bound::UnboundedPreceding;
                let expr = AggregateExpr {
                    func,
                    args: args.clone().map(ScalarExpr::Column).collect(),
                    distinct: false,
                    order_by: vec![],
                    filter: filter.map(ScalarExpr::Column),
                    ty: ty.clone(),
                };
                let keep = func.0.kind != AggKind::Collect;
                (func, ty, keep.then(|| Aggregate::new(&expr, monotonic)))
            });
            let reach = reach(call, literal);
            calls.push(Planned { call: call.clone(), filter, args, aggregate: kept, reach });
        }
        let keys = windowed.group_key.len();
        let columns = windowed.columns.iter().map(|c| Some(*c).filter(|c| *c < keys)).collect();
        Shape { order: RowOrder::new(order), fields, peers: next..next + windowed.keys, calls, columns }
    }
}

/// What a call reads, given its arguments.
fn reach<'a>(call: &Call, argument: impl Fn(usize) -> Option<&'a ScalarExpr>) -> Reach {
    let from = |b: Bound| match b {
        Bound::UnboundedPreceding | Bound::UnboundedFollowing => None,
        Bound::CurrentRow => Some(0),
        Bound::Preceding(n) => Some(-i64::try_from(n).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)),
        Bound::Following(n) => Some(i64::try_from(n).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)),
    };
    let frame = call.frame;
    if call.aggregate || ["first_value", "last_value", "nth_value"].contains(&call.name.as_str()) {
        let (start, end) = (from(frame.start), from(frame.end));
        return match frame.units {
            Units::Rows => Reach::Rows(start, end),
            Units::Groups => Reach::Groups(start, end),
            Units::Range if call.limits() == 0 => Reach::Groups(start, end),
            Units::Range => match (frame.start, frame.end) {
                (Bound::Following(_), _) | (_, Bound::Preceding(_)) => Reach::All,
                _ => Reach::Values,
            },
        };
    }
    match call.name.as_str() {
        "row_number" => Reach::Rows(None, Some(0)),
        "rank" | "dense_rank" => Reach::Groups(None, Some(0)),
        "lag" if call.ignore_nulls => Reach::Rows(None, Some(0)),
        "lead" if call.ignore_nulls => Reach::Rows(Some(0), None),
        "lag" | "lead" => {
            let distance = match argument(1).map(ScalarExpr::as_literal) {
                None => Some(1),
                Some(Some(Datum::Null)) => Some(0),
                Some(Some(d)) => Some(d.int().clamp(i64::MIN / 4, i64::MAX / 4)),
                Some(None) => None,
            };
            match distance {
                None => Reach::All,
                Some(n) if call.name == "lag" => Reach::Rows(Some(-n.max(0)), Some(-n.min(0))),
                Some(n) => Reach::Rows(Some(n.min(0)), Some(n.max(0))),
            }
        }
        _ => Reach::All,
    }
}

/// A row and what its calls gave; None: not computed yet.
struct Entry {
    row: Row,
    values: Option<Result<Row, EvalError>>,
}

#[derive(Default)]
struct Chunk {
    entries: Vec<Entry>,
    /// What the entries add to each call's aggregate, where that was asked for.
    sums: Vec<Option<State>>,
}

/// The rows of a partition in order. No chunk is empty.
#[derive(Default)]
struct Partition {
    chunks: Vec<Chunk>,
    /// Where each chunk begins, and the end: as of the last change.
    starts: Vec<usize>,
    /// Rows that went before they came, within one time.
    owed: HashMap<Row, Diff>,
}

impl Partition {
    /// The chunk and the place in it where the row is, or would be.
    fn find(&self, row: RowRef<'_>, order: &RowOrder) -> (usize, usize) {
        let before = |e: &Entry| order.cmp(e.row.as_ref(), row) == Ordering::Less;
        let last = |chunk: &Chunk| chunk.entries.last().is_some_and(before);
        let at = self.chunks.partition_point(last);
        let at = at.min(self.chunks.len().saturating_sub(1));
        (at, self.chunks.get(at).map_or(0, |c| c.entries.partition_point(before)))
    }

    fn insert(&mut self, row: &Row, order: &RowOrder) {
        let (at, i) = self.find(row.as_ref(), order);
        if self.chunks.is_empty() {
            self.chunks.push(Chunk::default());
        }
        let chunk = &mut self.chunks[at];
        chunk.sums.clear();
        chunk.entries.insert(i, Entry { row: row.clone(), values: None });
        work::keep(1);
        if chunk.entries.len() > CHUNK {
            // A chunk that grows at its end stays full.
            let keep = if i + 1 == chunk.entries.len() { CHUNK } else { CHUNK / 2 };
            let entries = chunk.entries.split_off(keep);
            self.chunks.insert(at + 1, Chunk { entries, sums: vec![] });
        }
    }

    /// Takes one such row out, with what was shown for it; None: there is none.
    fn remove(&mut self, row: &Row, order: &RowOrder) -> Option<Entry> {
        let (at, i) = self.find(row.as_ref(), order);
        let chunk = self.chunks.get_mut(at)?;
        if chunk.entries.get(i)?.row != *row {
            return None;
        }
        chunk.sums.clear();
        let entry = chunk.entries.remove(i);
        work::keep(-1);
        if chunk.entries.is_empty() {
            self.chunks.remove(at);
        }
        Some(entry)
    }

    /// After changes: where each chunk begins.
    fn number(&mut self) {
        self.starts.clear();
        self.starts.push(0);
        let mut n = 0;
        for chunk in &self.chunks {
            n += chunk.entries.len();
            self.starts.push(n);
        }
    }

    fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn place(&self, i: usize) -> (usize, usize) {
        let at = self.starts.partition_point(|s| *s <= i) - 1;
        (at, i - self.starts[at])
    }

    fn entry(&self, i: usize) -> &Entry {
        let (at, i) = self.place(i);
        &self.chunks[at].entries[i]
    }

    /// A column of a row.
    fn column(&self, i: usize, column: usize) -> Datum<'_> {
        let mut datums = self.entry(i).row.iter();
        (0..column).for_each(|_| {
            datums.skip_one();
        });
        datums.next().unwrap_or(Datum::Null)
    }

    /// Whether two rows are peers.
    fn peers(&self, i: usize, j: usize, columns: &Range<usize>) -> bool {
        let of = |i: usize| self.entry(i).row.iter().skip(columns.start).take(columns.len());
        of(i).eq(of(j))
    }

    fn group_start(&self, mut i: usize, peers: &Range<usize>) -> usize {
        while i > 0 && self.peers(i - 1, i, peers) {
            i -= 1;
        }
        i
    }

    fn group_end(&self, mut i: usize, peers: &Range<usize>) -> usize {
        while i + 1 < self.len() && self.peers(i, i + 1, peers) {
            i += 1;
        }
        i + 1
    }

    /// The start of the group `k` groups before the one that begins at `start`; None: there are not so many.
    fn groups_before(&self, mut start: usize, k: u64, peers: &Range<usize>) -> Option<usize> {
        for _ in 0..k {
            start = self.group_start(start.checked_sub(1)?, peers);
        }
        Some(start)
    }

    /// The end of the group `k` groups after the one that ends at `end`; None: there are not so many.
    fn groups_after(&self, mut end: usize, k: u64, peers: &Range<usize>) -> Option<usize> {
        for _ in 0..k {
            if end >= self.len() {
                return None;
            }
            end = self.group_end(end, peers);
        }
        Some(end)
    }

    /// The frame of row `i`, whose peers are `group`.
    fn frame(&self, i: usize, group: &Range<usize>, planned: &Planned, peers: &Range<usize>) -> Range<usize> {
        let (n, frame) = (self.len(), planned.call.frame);
        let limits = planned.args.end;
        let limited = planned.call.limits() > 0;
        let within = |i: i128| i.clamp(0, n as i128) as usize;
        let from = match (frame.units, frame.start) {
            (_, Bound::UnboundedPreceding) => 0,
            (_, Bound::UnboundedFollowing) => n,
            (Units::Rows, b) => within(i as i128 + offset(b)),
            (_, Bound::CurrentRow) => group.start,
            (Units::Range, _) if limited => match self.column(i, limits).is_null() {
                true => group.start,
                false => self.value_place(limits, self.column(i, limits + 1), planned.call.desc, false),
            },
            (_, Bound::Preceding(k)) => self.groups_before(group.start, k, peers).unwrap_or(0),
            (_, Bound::Following(0)) => group.start,
            (_, Bound::Following(k)) => self.groups_after(group.end, k - 1, peers).unwrap_or(n),
        };
        let to = match (frame.units, frame.end) {
            (_, Bound::UnboundedPreceding) => 0,
            (_, Bound::UnboundedFollowing) => n,
            (Units::Rows, b) => within(i as i128 + offset(b) + 1),
            (_, Bound::CurrentRow) => group.end,
            (Units::Range, _) if limited => match self.column(i, limits).is_null() {
                true => group.end,
                false => {
                    let at = limits + planned.call.limits() - 1;
                    self.value_place(limits, self.column(i, at), planned.call.desc, true)
                }
            },
            (_, Bound::Preceding(0)) => group.end,
            (_, Bound::Preceding(k)) => self.groups_before(group.start, k - 1, peers).unwrap_or(0),
            (_, Bound::Following(k)) => self.groups_after(group.end, k, peers).unwrap_or(n),
        };
        from..to.max(from)
    }

    /// The first row whose sort key (in this column) is not before `limit`, or, `after`, is behind it. Rows with NULL
    /// stand together at one end and are on no side.
    fn value_place(&self, column: usize, limit: Datum<'_>, desc: bool, after: bool) -> usize {
        let n = self.len();
        let nulls_first = n > 0 && self.column(0, column).is_null();
        let (mut low, mut high) = (0, n);
        while low < high {
            let middle = (low + high) / 2;
            let key = self.column(middle, column);
            let left = match (key.is_null(), after) {
                (true, _) => nulls_first,
                (_, false) => {
                    if desc {
                        key > limit
                    } else {
                        key < limit
                    }
                }
                (_, true) => !(if desc { key < limit } else { key > limit }),
            };
            if left { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The rows to look at again for a call after rows came at `touched`, or went where it is empty.
    fn affected(&self, touched: &Range<usize>, planned: &Planned, peers: &Range<usize>) -> Range<usize> {
        let n = self.len();
        // What went may have stood between the neighbours.
        let (first, last) = (touched.start.saturating_sub(1), touched.end.min(n.saturating_sub(1)));
        match planned.reach {
            Reach::All => 0..n,
            Reach::Rows(from, to) => {
                let low = to.map_or(0, |to| (first as i64).saturating_sub(to.max(0)).max(0) as usize);
                let high = from.map_or(n, |from| (last as i64).saturating_sub(from.min(0)) as usize + 1);
                low.min(n)..high.min(n)
            }
            Reach::Groups(from, to) => {
                let start = self.group_start(first, peers);
                let end = self.group_end(last, peers);
                let low = to.map_or(0, |to| self.groups_before(start, to.max(0) as u64, peers).unwrap_or(0));
                let high = from
                    .map_or(n, |from| self.groups_after(end, from.min(0).unsigned_abs(), peers).unwrap_or(n));
                low..high
            }
            Reach::Values => {
                let frame = |i: usize| {
                    let group = self.group_start(i, peers)..self.group_end(i, peers);
                    self.frame(i, &group, planned, peers)
                };
                let (mut low, mut high) = (first, last + 1);
                while low > 0 && frame(low - 1).end > first {
                    low -= 1;
                }
                while high < n && frame(high).start <= last {
                    high += 1;
                }
                low..high
            }
        }
    }
}

fn offset(b: Bound) -> i128 {
    match b {
        Bound::Preceding(n) => -i128::from(n),
        Bound::Following(n) => i128::from(n),
        _ => 0,
    }
}

/// The aggregate over a frame that moves forward.
struct Moving {
    state: State,
    frame: Range<usize>,
}

impl Partition {
    /// Adds what rows give to an aggregate, or takes it away.
    fn add(&self, state: &mut State, kept: &Aggregate, planned: &Planned, rows: Range<usize>, diff: Diff) {
        work::touch(rows.len());
        for i in rows {
            let row = &self.entry(i).row;
            add_row(state, kept, planned, row, diff);
        }
    }

    /// Moves a frame to where it is for the next row.
    fn move_to(
        &mut self,
        moving: &mut Moving,
        at: usize,
        planned: &Planned,
        kept: &Aggregate,
        to: Range<usize>,
    ) {
        let Range { start, end } = moving.frame;
        moving.frame = to.clone();
        // A short way row by row, a long one by chunks.
        let forward = start <= to.start && end <= to.end && to.start <= end;
        if forward && to.start - start + to.end - end <= CHUNK {
            self.add(&mut moving.state, kept, planned, start..to.start, -1);
            self.add(&mut moving.state, kept, planned, end..to.end, 1);
            return;
        }
        moving.state = kept.start();
        let mut i = to.start;
        while i < to.end {
            let (chunk, first) = self.place(i);
            let size = self.chunks[chunk].entries.len();
            let whole = first == 0 && i + size <= to.end && !matches!(moving.state, State::Bag(_));
            if !whole {
                let next = to.end.min(i + size - first);
                self.add(&mut moving.state, kept, planned, i..next, 1);
                i = next;
                continue;
            }
            let Chunk { entries, sums } = &mut self.chunks[chunk];
            if sums.len() <= at {
                sums.resize_with(at + 1, || None);
            }
            let sum = sums[at].get_or_insert_with(|| {
                let mut sum = kept.nothing();
                entries.iter().for_each(|e| add_row(&mut sum, kept, planned, &e.row, 1));
                sum
            });
            kept.merge(&mut moving.state, sum.clone());
            work::touch(1);
            i += size;
        }
    }

    /// The values of a call for some rows.
    fn values(
        &mut self,
        at: usize,
        shape: &Shape,
        rows: Range<usize>,
        out: &mut Vec<Result<Row, EvalError>>,
    ) {
        let (planned, peers) = (&shape.calls[at], &shape.peers);
        let (mut moving, mut last): (Option<Moving>, Option<Range<usize>>) = (None, None);
        let mut group = 0..0;
        let mut dense = None;
        for i in rows {
            if !group.contains(&i) {
                group = self.group_start(i, peers)..self.group_end(i, peers);
            }
            let Some((func, ty, kept)) = &planned.aggregate else {
                out.push(self.pure(at, shape, i, &group, &mut dense));
                continue;
            };
            let frame = self.frame(i, &group, planned, peers);
            if last.as_ref() == Some(&frame)
                && let Some(same) = out.last()
            {
                out.push(same.clone());
                continue;
            }
            let value = match kept {
                Some(kept) => {
                    let moving = moving.get_or_insert_with(|| Moving { state: kept.start(), frame: 0..0 });
                    self.move_to(moving, at, planned, kept, frame.clone());
                    kept.read(&moving.state, frame.len() as i64)
                }
                None => {
                    let keep = |i: &usize| {
                        planned.filter.is_none_or(|f| matches!(self.column(*i, f), Datum::Bool(true)))
                    };
                    let args = |i: usize| {
                        Row::pack(self.entry(i).row.iter().skip(planned.args.start).take(planned.args.len()))
                    };
                    let rows: Vec<Row> = frame.clone().filter(keep).map(args).collect();
                    match rows.is_empty() {
                        true => Ok(Row::pack([func.over_nothing()])),
                        false => func.evaluate(&rows, ty),
                    }
                }
            };
            out.push(value);
            last = Some(frame);
        }
    }

    /// The value of a function that only windows have. `dense`: the number of the group of the row before.
    fn pure(
        &self,
        at: usize,
        shape: &Shape,
        i: usize,
        group: &Range<usize>,
        dense: &mut Option<i64>,
    ) -> Result<Row, EvalError> {
        let (planned, n) = (&shape.calls[at], self.len());
        let one = |d: Datum<'_>| Ok(Row::pack([d]));
        let number = |n: usize| Ok(Row::pack([Datum::Int64(n as i64)]));
        let args = &planned.args;
        let int = |at: usize, default: i64| match self.column(i, args.start + at) {
            _ if at >= args.len() => Some(default),
            Datum::Null => None,
            d => Some(d.int()),
        };
        let value = |i: usize| self.column(i, args.start);
        let invalid = |code: &'static str, message: String| Err(EvalError::new(SqlState::new(code), message));
        match planned.call.name.as_str() {
            "row_number" => number(i + 1),
            "rank" => number(group.start + 1),
            "dense_rank" => {
                let before = match (*dense, i) {
                    (Some(n), _) => n,
                    (None, 0) => 0,
                    (None, _) => match &self.entry(i - 1).values {
                        Some(Ok(values)) => values.iter().nth(at).map_or(0, |d| d.int()),
                        // A call failed for it, so its number is not there.
                        _ => (1..i).filter(|j| !self.peers(j - 1, *j, &shape.peers)).count() as i64 + 1,
                    },
                };
                let now = before + i64::from(group.start == i);
                *dense = Some(now);
                one(Datum::Int64(now))
            }
            "percent_rank" => {
                one(Datum::Float64(if n > 1 { group.start as f64 / (n - 1) as f64 } else { 0.0 }))
            }
            "cume_dist" => one(Datum::Float64(group.end as f64 / n as f64)),
            "ntile" => match int(0, 1) {
                None => one(Datum::Null),
                Some(k) if k <= 0 => invalid("22014", "argument of ntile must be greater than zero".into()),
                Some(k) => {
                    let k = k as usize;
                    let (size, larger) = (n / k, n % k);
                    // The first buckets take one more each.
                    let edge = larger * (size + 1);
                    let bucket = if i < edge { i / (size + 1) } else { larger + (i - edge) / size.max(1) };
                    one(Datum::Int32(bucket as i32 + 1))
                }
            },
            "lag" | "lead" => {
                let Some(distance) = int(1, 1) else { return one(Datum::Null) };
                let step = if planned.call.name == "lag" { distance.saturating_neg() } else { distance };
                let found = if planned.call.ignore_nulls && step != 0 {
                    let seen = |j: &usize| !value(*j).is_null();
                    let count = step.unsigned_abs() as usize - 1;
                    match step < 0 {
                        true => (0..i).rev().filter(seen).nth(count),
                        false => (i + 1..n).filter(seen).nth(count),
                    }
                } else {
                    usize::try_from((i as i64).saturating_add(step)).ok().filter(|j| *j < n)
                };
                match found {
                    Some(j) => one(value(j)),
                    None if args.len() > 2 => one(self.column(i, args.start + 2)),
                    None => one(Datum::Null),
                }
            }
            "first_value" | "last_value" | "nth_value" => {
                let mut frame = self.frame(i, group, planned, &shape.peers);
                let seen = |j: &usize| !planned.call.ignore_nulls || !value(*j).is_null();
                let found = match planned.call.name.as_str() {
                    "first_value" => frame.find(seen),
                    "last_value" => frame.rev().find(seen),
                    _ => match int(1, 1) {
                        None => None,
                        Some(k) if k <= 0 => {
                            return invalid(
                                "22016",
                                "argument of nth_value must be greater than zero".into(),
                            );
                        }
                        Some(k) if planned.call.ignore_nulls => frame.filter(seen).nth(k as usize - 1),
                        Some(k) => {
                            Some(frame.start.saturating_add(k as usize - 1)).filter(|j| *j < frame.end)
                        }
                    },
                };
                one(found.map_or(Datum::Null, value))
            }
            other => invalid("0A000", format!("window function {other} is not supported")),
        }
    }

    /// Applies changes of rows, none twice. `emit` gets what is shown for a row from then on, and what no longer.
    /// Returns at how many rows it looked again.
    fn apply(
        &mut self,
        mut changes: Vec<(Row, Diff)>,
        shape: &Shape,
        emit: &mut dyn FnMut(&Row, &Result<Row, EvalError>, Diff),
    ) -> usize {
        for (row, diff) in &mut changes {
            if let Some(owed) = self.owed.remove(row) {
                *diff += owed;
            }
            for _ in 0..*diff {
                self.insert(row, &shape.order);
            }
            while *diff < 0 {
                let Some(entry) = self.remove(row, &shape.order) else {
                    self.owed.insert(row.clone(), *diff);
                    break;
                };
                *diff += 1;
                if let Some(values) = &entry.values {
                    emit(&entry.row, values, -1);
                }
            }
        }
        self.number();
        let mut looked = 0;
        for stretch in self.stretches(&changes, shape) {
            looked += stretch.len();
            let mut values: Vec<Vec<Result<Row, EvalError>>> = vec![];
            for at in 0..shape.calls.len() {
                let mut of_call = Vec::with_capacity(stretch.len());
                let outcome = plan::scalar::guarded(|| {
                    self.values(at, shape, stretch.clone(), &mut of_call);
                    Ok(())
                });
                if let Err(e) = outcome {
                    // Evaluation panicked: a fault of the program that costs the rows, not the process.
                    of_call.clear();
                    of_call.resize(stretch.len(), Err(e));
                }
                values.push(of_call);
            }
            for (k, i) in stretch.enumerate() {
                let joined = values.iter().try_fold(Row::default(), |mut row, of_call| {
                    row.extend_packed(of_call[k].as_ref().map_err(Clone::clone)?.as_ref());
                    Ok(row)
                });
                let (at, place) = self.place(i);
                let entry = &mut self.chunks[at].entries[place];
                if entry.values.as_ref() == Some(&joined) {
                    continue;
                }
                if let Some(before) = &entry.values {
                    emit(&entry.row, before, -1);
                }
                emit(&entry.row, &joined, 1);
                entry.values = Some(joined);
            }
        }
        looked
    }

    /// The rows to look at again after changes, apart from each other and in order.
    fn stretches(&self, changes: &[(Row, Diff)], shape: &Shape) -> Vec<Range<usize>> {
        let n = self.len();
        let whole = 0..n;
        if n == 0 {
            return vec![];
        }
        // Where much changed, all is looked at.
        if changes.len() > n / 4 {
            return vec![whole];
        }
        let mut all: Vec<Range<usize>> = vec![];
        for (row, diff) in changes {
            let (at, i) = self.find(row.as_ref(), &shape.order);
            let start = self.starts[at] + i;
            let touched = start..start + usize::try_from(*diff).unwrap_or(0);
            let mut wide = touched.start.min(n)..touched.end.min(n);
            for planned in &shape.calls {
                let more = self.affected(&touched, planned, &shape.peers);
                wide = wide.start.min(more.start)..wide.end.max(more.end);
            }
            all.push(wide);
            if all.last() == Some(&whole) {
                return vec![whole];
            }
        }
        all.sort_by_key(|r| r.start);
        let mut apart: Vec<Range<usize>> = vec![];
        for next in all {
            match apart.last_mut() {
                Some(last) if next.start <= last.end + NEAR => last.end = last.end.max(next.end),
                _ => apart.push(next),
            }
        }
        apart
    }
}

fn add_row(state: &mut State, kept: &Aggregate, planned: &Planned, row: &Row, diff: Diff) {
    let datums: Vec<Datum<'_>> =
        row.iter().skip(planned.filter.unwrap_or(planned.args.start)).take(planned.call.args + 1).collect();
    // Arguments first, then the filter.
    let own = usize::from(planned.filter.is_some());
    let column = |i: usize| if i + 1 == kept.width() && own == 1 { datums[0] } else { datums[own + i] };
    match state {
        State::Bag(_) => {
            let mut more = kept.nothing();
            kept.add(&mut more, column, diff);
            kept.merge(state, more);
        }
        plain => kept.add(plain, column, diff),
    }
}

struct Group {
    hash: u64,
    key: Row,
    partition: Partition,
}

struct Partitions {
    shape: Rc<Shape>,
    all: HashTable<Group>,
}

impl Keyed for Partitions {
    type In = Partial;

    fn hash(partial: &Partial) -> u64 {
        partial.hash
    }

    fn time(partial: &Partial) -> Timestamp {
        partial.time
    }

    fn shrink(&self, partials: &mut Vec<Partial>) {
        Partial::shrink(partials, |kept, more| kept.append(more));
    }

    fn apply(
        &mut self,
        time: Timestamp,
        partials: Vec<Partial>,
        rows: &mut Vec<(Row, Timestamp, Diff)>,
        errs: &mut Vec<(Row, Timestamp, Diff)>,
    ) {
        let shape = self.shape.clone();
        let mut changed = vec![];
        for Partial { hash, key, rows: changes, .. } in partials {
            let mut changes = changes.into_vec();
            consolidate(&mut changes);
            let found = self.all.entry(hash, |g| g.hash == hash && g.key == key, |g| g.hash);
            let mut place = match found {
                Place::Occupied(place) => place,
                Place::Vacant(free) => free.insert(Group { hash, key, partition: Partition::default() }),
            };
            let Group { key, partition, .. } = place.get_mut();
            let keys = key.unpack();
            let mut emit = |row: &Row, values: &Result<Row, EvalError>, diff: Diff| match values {
                Ok(values) => {
                    let mut out = Row::pack(shape.columns.iter().map(|c| c.map_or(Datum::Null, |c| keys[c])));
                    let fields = row.iter().skip(shape.fields.start).take(shape.fields.len());
                    fields.for_each(|d| out.push(d));
                    out.extend_packed(values.as_ref());
                    changed.push((out, time, diff));
                }
                Err(e) => errs.push((e.to_row(), time, diff)),
            };
            work::touch(partition.apply(changes, &shape, &mut emit));
            if partition.len() == 0 && partition.owed.is_empty() {
                place.remove();
            }
        }
        rows.append(&mut changed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use plan::func::window::{Exclude, Frame, description, window as window_aggregate};
    use plan::func::{FuncRef, ids};
    use plan::{ColumnOrder, RelationExpr};
    use repr::Arena;

    use super::*;

    /// Rows (id, key, value), ordered by key and id, where rows of one key are peers.
    type Rows = BTreeMap<(i64, i64), Option<i64>>;

    fn call(name: &str, units: Units, start: Bound, end: Bound) -> Call {
        let aggregate = !["row_number", "rank", "dense_rank", "percent_rank", "cume_dist"].contains(&name)
            && !["ntile", "lag", "lead", "first_value", "last_value", "nth_value"].contains(&name);
        let args = match name {
            "row_number" | "rank" | "dense_rank" | "percent_rank" | "cume_dist" => 0,
            "nth_value" => 2,
            _ => 1,
        };
        let (name, frame) = (name.into(), Frame { units, start, end, exclude: Exclude::NoOthers });
        Call { name, aggregate, args, filter: false, ignore_nulls: false, frame, desc: false }
    }

    fn type_of(name: &str) -> ScalarType {
        match name {
            "percent_rank" | "cume_dist" => ScalarType::Float64,
            "ntile" => ScalarType::Int32,
            "sum" => ScalarType::Numeric { scale: None },
            "array_agg" => ScalarType::Array(ScalarType::Int64.into()),
            _ => ScalarType::Int64,
        }
    }

    /// What a call takes from a row: its arguments, then its limits.
    fn arguments(call: &Call, key: i64, value: Option<i64>) -> Vec<Datum<'static>> {
        let value = value.map_or(Datum::Null, Datum::Int64);
        let mut all = match (call.name.as_str(), call.args) {
            (_, 0) => vec![],
            ("ntile", _) => vec![Datum::Int64(3)],
            ("nth_value", _) => vec![value, Datum::Int64(2)],
            _ => vec![value],
        };
        if call.limits() > 0 {
            all.push(Datum::Int64(key));
            for bound in [call.frame.start, call.frame.end] {
                match bound {
                    Bound::Preceding(n) => all.push(Datum::Int64(key - n as i64)),
                    Bound::Following(n) => all.push(Datum::Int64(key + n as i64)),
                    _ => {}
                }
            }
        }
        all
    }

    struct Case {
        calls: Vec<Call>,
        text: String,
        shape: Shape,
        ty: ScalarType,
        partition: Partition,
        rows: Rows,
        shown: BTreeMap<Row, Diff>,
    }

    impl Case {
        fn new(calls: Vec<Call>) -> Case {
            let fields = calls.iter().map(|c| type_of(&c.name));
            let fields = [ScalarType::Int64].into_iter().chain(fields);
            let ty = ScalarType::List(Box::new(ScalarType::Record(
                fields.map(|ty| (String::new(), ty.nullable(true))).collect(),
            )));
            let text = description(&calls, 1);
            let literal = |d: Datum<'_>, ty| ScalarExpr::literal(d, ty);
            let id = vec![ScalarExpr::Column(0)];
            let row = ScalarExpr::call(FuncRef::of(ids::ROW), id.clone(), ScalarType::Record(vec![]));
            let mut args = vec![literal(Datum::Text(&text), ScalarType::Text), row];
            for call in &calls {
                let all = arguments(call, 0, Some(0));
                args.extend((0..all.len()).map(ScalarExpr::Column));
            }
            args.push(ScalarExpr::Column(1));
            let by = |column| {
                (ScalarExpr::Column(column), ColumnOrder { column: 0, desc: false, nulls_first: false })
            };
            let aggregate = AggregateExpr {
                func: window_aggregate(),
                args,
                distinct: false,
                order_by: vec![by(1), by(0)],
                filter: None,
                ty: ty.clone(),
            };
            let input = RelationExpr::constant([], vec![]);
            let shape = Shape::new(&Windowed {
                input: &input,
                group_key: &[],
                aggregate: &aggregate,
                fields: &id,
                keys: 1,
                calls: calls.clone(),
                columns: vec![0],
            });
            let (partition, rows, shown) = Default::default();
            Case { calls, text, shape, ty, partition, rows, shown }
        }

        fn packed(&self, (key, id): (i64, i64), value: Option<i64>) -> Row {
            let own = [Datum::Int64(key), Datum::Int64(id), Datum::Int64(id)];
            let arguments = self.calls.iter().flat_map(|c| arguments(c, key, value));
            Row::pack(own.into_iter().chain(arguments).chain([Datum::Int64(key)]))
        }

        /// Changes rows to these, None: away. Returns how many rows were looked at again.
        fn change(&mut self, rows: &[((i64, i64), Option<Option<i64>>)]) -> usize {
            let mut changes = vec![];
            for (place, value) in rows {
                if let Some(before) = self.rows.remove(place) {
                    changes.push((self.packed(*place, before), -1));
                }
                if let Some(value) = value {
                    self.rows.insert(*place, *value);
                    changes.push((self.packed(*place, *value), 1));
                }
            }
            consolidate(&mut changes);
            let shown = &mut self.shown;
            let mut emit = |row: &Row, values: &Result<Row, EvalError>, diff: Diff| {
                let mut out = Row::pack([row.iter().nth(2).unwrap()]);
                out.extend_packed(values.as_ref().unwrap().as_ref());
                *shown.entry(out).or_default() += diff;
            };
            let looked = self.partition.apply(changes, &self.shape, &mut emit);
            shown.retain(|_, n| *n != 0);
            looked
        }

        /// What is shown is what the window computes of all rows at once.
        fn check(&self) {
            let arena = Arena::new();
            let whole = |(place, value): (&(i64, i64), &Option<i64>)| {
                let packed = self.packed(*place, *value);
                let own = [Datum::Text(&self.text), arena.record([Datum::Int64(place.1)])];
                Row::pack(own.into_iter().chain(packed.iter().skip(3)))
            };
            let rows: Vec<Row> = self.rows.iter().map(whole).collect();
            let mut expected: BTreeMap<Row, Diff> = BTreeMap::new();
            if !rows.is_empty() {
                let list = window_aggregate().evaluate(&rows, &self.ty).unwrap();
                let Some(Datum::List(list)) = list.iter().next() else { panic!("a list") };
                for record in list.iter() {
                    let Datum::Record(record) = record else { panic!("a record") };
                    *expected.entry(Row::pack(record.iter())).or_default() += 1;
                }
            }
            assert_eq!(self.shown, expected, "{}", self.text);
        }
    }

    /// 0..n, always the same ones.
    fn dice(state: &mut u64, n: u64) -> u64 {
        *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*state >> 33) % n
    }

    #[test]
    fn a_partition_kept_through_changes_is_what_it_would_be_at_once() {
        use Bound::*;
        let frames = [
            (UnboundedPreceding, CurrentRow),
            (UnboundedPreceding, UnboundedFollowing),
            (CurrentRow, UnboundedFollowing),
            (Preceding(2), CurrentRow),
            (Preceding(1), Following(2)),
            (Following(1), Following(3)),
            (Preceding(3), Preceding(1)),
            (UnboundedPreceding, Preceding(1)),
            (UnboundedPreceding, Following(1)),
            (CurrentRow, CurrentRow),
        ];
        let names = [
            "sum",
            "count",
            "min",
            "max",
            "avg",
            "array_agg",
            "row_number",
            "rank",
            "dense_rank",
            "percent_rank",
            "cume_dist",
            "ntile",
            "lag",
            "lead",
            "first_value",
            "last_value",
            "nth_value",
        ];
        let mut seed = 7;
        for units in [Units::Rows, Units::Groups, Units::Range] {
            for (start, end) in frames {
                for name in names {
                    let mut calls = vec![call(name, units, start, end)];
                    if dice(&mut seed, 2) == 0 {
                        calls.push(call("rank", Units::Range, UnboundedPreceding, CurrentRow));
                    }
                    let mut case = Case::new(calls);
                    for round in 0..12 {
                        let n = if round == 3 { 40 } else { 1 + dice(&mut seed, 3) };
                        let mut changes = BTreeMap::new();
                        for _ in 0..n {
                            let place = (dice(&mut seed, 20) as i64, dice(&mut seed, 3) as i64);
                            let value = match dice(&mut seed, 5) {
                                0 | 1 => None,
                                2 => Some(None),
                                _ => Some(Some(dice(&mut seed, 9) as i64)),
                            };
                            changes.insert(place, value);
                        }
                        case.change(&changes.into_iter().collect::<Vec<_>>());
                        case.check();
                    }
                    case.change(&case.rows.keys().map(|k| (*k, None)).collect::<Vec<_>>());
                    case.check();
                }
            }
        }
    }

    #[test]
    fn a_change_looks_at_its_neighbourhood_where_the_frame_allows_it() {
        use Bound::*;
        let n = 5_000;
        // A call, and at how many rows a change in the middle and one at the end look at most.
        let cases = [
            (call("lag", Units::Rows, UnboundedPreceding, CurrentRow), 8, 8),
            (call("sum", Units::Rows, Preceding(3), CurrentRow), 10, 10),
            (call("max", Units::Groups, Preceding(1), Following(1)), 10, 10),
            (call("sum", Units::Range, Preceding(5), Following(5)), 20, 20),
            (call("sum", Units::Range, UnboundedPreceding, CurrentRow), 2_505, 8),
            (call("row_number", Units::Rows, UnboundedPreceding, CurrentRow), 2_505, 8),
            (call("dense_rank", Units::Rows, UnboundedPreceding, CurrentRow), 2_505, 8),
            (call("sum", Units::Rows, UnboundedPreceding, UnboundedFollowing), 5_005, 5_005),
        ];
        for (call, middle, end) in cases {
            let mut case = Case::new(vec![call]);
            case.change(&(0..n).map(|i| ((i, 0), Some(Some(1)))).collect::<Vec<_>>());
            let looked = case.change(&[((n / 2, 1), Some(Some(7)))]);
            assert!(looked <= middle, "{}: {looked} in the middle", case.text);
            let looked = case.change(&[((n / 2, 1), None)]);
            assert!(looked <= middle, "{}: {looked} in the middle", case.text);
            let looked = case.change(&[((n, 0), Some(Some(7)))]);
            assert!(looked <= end, "{}: {looked} at the end", case.text);
            case.check();
        }
    }
}
