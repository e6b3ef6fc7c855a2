//! Window functions: a partition's rows go in as one group, and come out with a value for each.
//!
//! ```text
//!   Reduce by the partition, window(description, row, arguments …, sort keys …) ──► list of (row, values)
//!   FlatMap window_rows ──► the rows again, each with its values
//! ```

use std::collections::BTreeSet;

use repr::{Arena, Datum, EvalError, Row, ScalarType, SqlState};

use super::{AggFunc, AggKind, AggRef, TableFunc, TableFuncRef, aggregate, ids};
use crate::{AggregateExpr, RelationExpr, ScalarExpr, known};

/// Its arguments: a [`description`], the row as a record, for each call its filter (if it has one) and arguments, then
/// the sort keys. Its result: a list of records, the row's fields followed by the calls' values.
static WINDOW: AggFunc = AggFunc { id: "window", kind: AggKind::Collect, collect: Some(collect) };

/// The fields of each record of a list, as columns.
static WINDOW_ROWS: TableFunc = TableFunc { id: "window_rows", strict: true, eval: rows };

/// The aggregate that computes windows.
pub fn window() -> AggRef {
    AggRef(&WINDOW)
}

/// The table function that takes its result apart.
pub fn window_rows() -> TableFuncRef {
    TableFuncRef(&WINDOW_ROWS)
}

/// How a frame counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum Units {
    Rows,
    Range,
    Groups,
}

/// An end of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum Bound {
    UnboundedPreceding,
    Preceding(u64),
    CurrentRow,
    Following(u64),
    UnboundedFollowing,
}

/// `EXCLUDE …`: what a frame leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum Exclude {
    #[default]
    NoOthers,
    CurrentRow,
    Group,
    Ties,
}

/// Which rows of the partition a call sees from each row. Ends of RANGE that are neither unbounded nor the current row's
/// peers are values that the call's arguments hold, see [`Call::limits`]; the number in the bound says nothing then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the ends count.
    pub units: Units,
    /// From.
    pub start: Bound,
    /// To, inclusive.
    pub end: Bound,
    /// Less these.
    pub exclude: Exclude,
}

/// A call over a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `row_number`, `lag` …; for an aggregate its id.
    pub name: String,
    /// Whether it is an aggregate.
    pub aggregate: bool,
    /// How many arguments it has.
    pub args: usize,
    /// Whether a condition comes before them.
    pub filter: bool,
    /// `IGNORE NULLS`.
    pub ignore_nulls: bool,
    /// What it sees.
    pub frame: Frame,
    /// Whether the sort key of a RANGE frame with limits descends.
    pub desc: bool,
}

impl Frame {
    /// Which ends are limits of the sort key.
    fn limited(&self) -> [bool; 2] {
        let given = |b| self.units == Units::Range && matches!(b, Bound::Preceding(_) | Bound::Following(_));
        [given(self.start), given(self.end)]
    }
}

impl Call {
    /// How many arguments behind its own hold the limits of a RANGE frame: the sort key, then the least or greatest
    /// value of it for each end that is one; all of one type.
    pub fn limits(&self) -> usize {
        match self.frame.limited() {
            [false, false] => 0,
            [start, end] => 1 + usize::from(start) + usize::from(end),
        }
    }

    /// All it takes: filter, arguments, limits.
    fn width(&self) -> usize {
        usize::from(self.filter) + self.args + self.limits()
    }
}

/// The first argument of [`window`], for calls over one window with so many sort keys.
pub fn description(calls: &[Call], keys: usize) -> String {
    let bound = |b: Bound| match b {
        Bound::UnboundedPreceding => "up".to_string(),
        Bound::Preceding(n) => format!("p{n}"),
        Bound::CurrentRow => "c".into(),
        Bound::Following(n) => format!("f{n}"),
        Bound::UnboundedFollowing => "uf".into(),
    };
    let call = |c: &Call| {
        let units = match c.frame.units {
            Units::Rows => "rows",
            Units::Range => "range",
            Units::Groups => "groups",
        };
        format!(
            "{} {} {} {} {} {} {units} {} {} {}",
            if c.aggregate { "aggregate" } else { "window" },
            c.name,
            c.args,
            u8::from(c.filter),
            u8::from(c.ignore_nulls),
            u8::from(c.desc),
            bound(c.frame.start),
            bound(c.frame.end),
            match c.frame.exclude {
                Exclude::NoOthers => "none",
                Exclude::CurrentRow => "row",
                Exclude::Group => "group",
                Exclude::Ties => "ties",
            }
        )
    };
    let calls: Vec<String> = calls.iter().map(call).collect();
    format!("{keys};{}", calls.join(";"))
}

/// Reads what [`description`] wrote: how many sort keys, and the calls.
pub(crate) fn parse(text: &str) -> Option<(usize, Vec<Call>)> {
    let bound = |s: &str| {
        Some(match s {
            "up" => Bound::UnboundedPreceding,
            "c" => Bound::CurrentRow,
            "uf" => Bound::UnboundedFollowing,
            s if s.starts_with('p') => Bound::Preceding(s[1..].parse().ok()?),
            s => Bound::Following(s[1..].parse().ok()?),
        })
    };
    let mut parts = text.split(';');
    let keys = parts.next()?.parse().ok()?;
    let call = |text: &str| {
        let mut w = text.split(' ');
        let aggregate = w.next()? == "aggregate";
        let name = w.next()?.to_string();
        let args = w.next()?.parse().ok()?;
        let (filter, ignore_nulls, desc) = (w.next()? == "1", w.next()? == "1", w.next()? == "1");
        let units = match w.next()? {
            "rows" => Units::Rows,
            "range" => Units::Range,
            _ => Units::Groups,
        };
        let (start, end) = (bound(w.next()?)?, bound(w.next()?)?);
        let exclude = match w.next()? {
            "none" => Exclude::NoOthers,
            "row" => Exclude::CurrentRow,
            "group" => Exclude::Group,
            _ => Exclude::Ties,
        };
        let frame = Frame { units, start, end, exclude };
        Some(Call { name, aggregate, args, filter, ignore_nulls, frame, desc })
    };
    Some((keys, parts.map(call).collect::<Option<Vec<Call>>>()?))
}

fn rows<'a>(args: &[Datum<'a>], _: &'a Arena, emit: &mut dyn FnMut(&[Datum<'a>])) -> Result<(), EvalError> {
    let Some(Datum::List(list)) = args.first() else { return Ok(()) };
    let mut fields = vec![];
    for record in list.iter() {
        if let Datum::Record(r) = record {
            fields.clear();
            fields.extend(r.iter());
            emit(&fields);
        }
    }
    Ok(())
}

/// A plan that is a window and its rows: `FlatMap window_rows` over a projection of a Reduce with nothing but
/// [`window`]. Its columns are those of the projection, then the fields, then the calls' values.
pub struct Windowed<'a> {
    /// What the window is over.
    pub input: &'a RelationExpr,
    /// The partition, over the input's columns.
    pub group_key: &'a [ScalarExpr],
    /// The window.
    pub aggregate: &'a AggregateExpr,
    /// The fields of the rows that go through it, over the input's columns.
    pub fields: &'a [ScalarExpr],
    /// How many of the arguments at the end say which rows are peers.
    pub keys: usize,
    /// What is computed.
    pub calls: Vec<Call>,
    /// The projection: which columns of the Reduce come out, those of `group_key`, then the list.
    pub columns: Vec<usize>,
}

impl<'a> Windowed<'a> {
    /// Reads a plan; None if it is anything else.
    pub fn of(plan: &'a RelationExpr) -> Option<Windowed<'a>> {
        let RelationExpr::FlatMap { input, func, args, .. } = plan else { return None };
        let [ScalarExpr::Column(list)] = args[..] else { return None };
        if *func != window_rows() {
            return None;
        }
        let mut columns: Vec<usize> = (0..input.arity()).collect();
        let mut below = &**input;
        while let RelationExpr::Project { input, columns: own } = below {
            columns.iter_mut().for_each(|c| *c = own[*c]);
            below = input;
        }
        let RelationExpr::Reduce { input, group_key, aggregates } = below else { return None };
        let [aggregate] = &aggregates[..] else { return None };
        if aggregate.func != window() || aggregate.filter.is_some() || aggregate.distinct {
            return None;
        }
        if columns[list] != group_key.len() {
            return None;
        }
        let Some(Datum::Text(text)) = aggregate.args.first()?.as_literal() else { return None };
        let (keys, calls) = parse(text)?;
        let fields = known::args_of(aggregate.args.get(1)?, ids::ROW)?;
        let arguments: usize = calls.iter().map(Call::width).sum();
        let fits = aggregate.args.len() == 2 + arguments + keys;
        fits.then_some(Windowed { input, group_key, aggregate, fields, keys, calls, columns })
    }

    /// The columns that are the list.
    pub fn lists(&self) -> BTreeSet<usize> {
        let list = |c: &usize| self.columns[*c] == self.group_key.len();
        (0..self.columns.len()).filter(list).collect()
    }
}

/// A partition: its rows in order, and which of them are peers.
struct Partition {
    /// For each row the number of its group of peers.
    group: Vec<usize>,
    /// Where each group begins, and the end.
    starts: Vec<usize>,
}

impl Partition {
    /// The frame of row `i` by values: from, to (exclusive). `limits` is where [`Call::limits`] begin.
    fn range(&self, i: usize, call: &Call, limits: usize, all: &[Vec<Datum<'_>>]) -> (usize, usize) {
        let frame = call.frame;
        let [start, end] = frame.limited();
        let peers = (self.starts[self.group[i]], self.starts[self.group[i] + 1]);
        let key = |j: usize| all[j][limits];
        let null = key(i).is_null();
        // NULLs stand together at one end, and only their peers are near them.
        let valued = |from: usize, to: usize| (from..to).filter(|j| !key(*j).is_null());
        let before = |a: Datum<'_>, b: Datum<'_>| if call.desc { a > b } else { a < b };
        let n = all.len();
        let from = match (frame.start, start) {
            (_, true) if null => peers.0,
            (_, true) => {
                let limit = all[i][limits + 1];
                valued(0, n).find(|j| !before(key(*j), limit)).unwrap_or(n)
            }
            (Bound::UnboundedPreceding, _) => 0,
            _ => peers.0,
        };
        let to = match (frame.end, end) {
            (_, true) if null => peers.1,
            (_, true) => {
                let limit = all[i][limits + 1 + usize::from(start)];
                valued(0, n).rev().find(|j| !before(limit, key(*j))).map_or(0, |j| j + 1)
            }
            (Bound::UnboundedFollowing, _) => n,
            _ => peers.1,
        };
        (from, to.max(from))
    }

    /// Whether row `j` stays in the frame of row `i`.
    fn stays(&self, i: usize, j: usize, exclude: Exclude) -> bool {
        match exclude {
            Exclude::NoOthers => true,
            Exclude::CurrentRow => i != j,
            Exclude::Group => self.group[i] != self.group[j],
            Exclude::Ties => i == j || self.group[i] != self.group[j],
        }
    }

    /// The frame of row `i` before anything is excluded: from, to (exclusive).
    fn frame(&self, i: usize, call: &Call, args: usize, all: &[Vec<Datum<'_>>]) -> (usize, usize) {
        let frame = call.frame;
        if call.limits() > 0 {
            return self.range(i, call, args + call.args, all);
        }
        let n = self.group.len();
        let groups = self.starts.len() - 1;
        let at = |unit: i128| -> i128 { unit };
        let from = match (frame.units, frame.start) {
            (_, Bound::UnboundedPreceding) => 0,
            (_, Bound::UnboundedFollowing) => n,
            (Units::Rows, b) => clamp(at(i as i128) + offset(b), n),
            (_, b) => {
                let g = self.group[i] as i128 + offset(b);
                if g < 0 {
                    0
                } else if g >= groups as i128 {
                    n
                } else {
                    self.starts[g as usize]
                }
            }
        };
        let to = match (frame.units, frame.end) {
            (_, Bound::UnboundedPreceding) => 0,
            (_, Bound::UnboundedFollowing) => n,
            (Units::Rows, b) => clamp(at(i as i128) + offset(b) + 1, n),
            (_, b) => {
                let g = self.group[i] as i128 + offset(b);
                if g < 0 {
                    0
                } else if g >= groups as i128 {
                    n
                } else {
                    self.starts[g as usize + 1]
                }
            }
        };
        (from, to.max(from))
    }
}

fn offset(b: Bound) -> i128 {
    match b {
        Bound::Preceding(n) => -i128::from(n),
        Bound::Following(n) => i128::from(n),
        _ => 0,
    }
}

fn clamp(i: i128, n: usize) -> usize {
    i.clamp(0, n as i128) as usize
}

fn collect(rows: &[Row], ty: &ScalarType) -> Result<Row, EvalError> {
    let internal = || EvalError::new(SqlState::new("XX000"), "a window's description is damaged");
    let mut all: Vec<Vec<Datum<'_>>> = rows.iter().map(Row::unpack).collect();
    let Some(Datum::Text(text)) = all.first().and_then(|r| r.first()) else {
        return Ok(Row::pack([Datum::Null]));
    };
    let (keys, calls) = parse(text).ok_or_else(internal)?;
    let ScalarType::List(record) = ty else { return Err(internal()) };
    let ScalarType::Record(fields) = &**record else { return Err(internal()) };
    let width = fields.len().checked_sub(calls.len()).ok_or_else(internal)?;
    let arguments: usize = calls.iter().map(Call::width).sum();
    if all.iter().any(|r| r.len() != 2 + arguments + keys) {
        return Err(internal());
    }
    let key = 2 + arguments;
    let mut partition = Partition { group: vec![], starts: vec![] };
    for i in 0..all.len() {
        if i == 0 || all[i][key..] != all[i - 1][key..] {
            partition.starts.push(i);
        }
        partition.group.push(partition.starts.len() - 1);
    }
    partition.starts.push(all.len());
    let arena = Arena::new();
    let mut values: Vec<Vec<Row>> = vec![];
    let mut first = 2;
    for (i, call) in calls.iter().enumerate() {
        let filter = call.filter.then_some(first);
        first += usize::from(call.filter);
        let args = first..first + call.args;
        first = args.end + call.limits();
        let ty = &fields[width + i].1.scalar;
        values.push(if call.aggregate {
            over_frames(call, filter, args, &all, &partition, ty)?
        } else {
            pure(call, args, &all, &partition)?
        });
    }
    let records: Vec<Datum<'_>> = all
        .iter_mut()
        .enumerate()
        .map(|(i, row)| {
            let own: Vec<Datum<'_>> = match row[1] {
                Datum::Record(r) => r.iter().collect(),
                _ => vec![],
            };
            let computed = values.iter().filter_map(|v| arena.row(&v[i]).iter().next());
            arena.record(own.into_iter().chain(computed))
        })
        .collect();
    Ok(Row::pack([arena.list(records)]))
}

/// An aggregate over each row's frame; equal frames are computed once.
fn over_frames(
    call: &Call,
    filter: Option<usize>,
    args: std::ops::Range<usize>,
    all: &[Vec<Datum<'_>>],
    partition: &Partition,
    ty: &ScalarType,
) -> Result<Vec<Row>, EvalError> {
    let func = aggregate(&call.name).expect("the planner describes aggregates of the table");
    let keep = |row: &Vec<Datum<'_>>| filter.is_none_or(|f| matches!(row[f], Datum::Bool(true)));
    let packed: Vec<Option<Row>> =
        all.iter().map(|r| keep(r).then(|| Row::pack(r[args.clone()].iter().copied()))).collect();
    let mut out: Vec<Row> = vec![];
    let mut last = None;
    for i in 0..all.len() {
        let (from, to) = partition.frame(i, call, args.start, all);
        let exclude = call.frame.exclude;
        if last == Some((from, to)) && exclude == Exclude::NoOthers {
            out.push(out[i - 1].clone());
            continue;
        }
        last = Some((from, to));
        let inside = (from..to).filter(|j| partition.stays(i, *j, exclude));
        let frame: Vec<Row> = inside.filter_map(|j| packed[j].clone()).collect();
        out.push(match frame.is_empty() {
            true => Row::pack([func.over_nothing()]),
            false => func.evaluate(&frame, ty)?,
        });
    }
    Ok(out)
}

/// A function that only windows have.
fn pure(
    call: &Call,
    args: std::ops::Range<usize>,
    all: &[Vec<Datum<'_>>],
    partition: &Partition,
) -> Result<Vec<Row>, EvalError> {
    let n = all.len();
    let group = |i: usize| partition.group[i];
    let start = |i: usize| partition.starts[group(i)];
    let one = |d: Datum<'_>| Row::pack([d]);
    let int = |i: usize, at: usize, default: i64| -> Option<i64> {
        match all[i].get(args.start + at).filter(|_| at < args.len()) {
            None => Some(default),
            Some(Datum::Null) => None,
            Some(d) => Some(d.int()),
        }
    };
    let value = |i: usize| all[i][args.start];
    let invalid = |code: &'static str, message: &str| EvalError::new(SqlState::new(code), message);
    (0..n)
        .map(|i| {
            Ok(match call.name.as_str() {
                "row_number" => one(Datum::Int64(i as i64 + 1)),
                "rank" => one(Datum::Int64(start(i) as i64 + 1)),
                "dense_rank" => one(Datum::Int64(group(i) as i64 + 1)),
                "percent_rank" => {
                    one(Datum::Float64(if n > 1 { start(i) as f64 / (n - 1) as f64 } else { 0.0 }))
                }
                "cume_dist" => one(Datum::Float64(partition.starts[group(i) + 1] as f64 / n as f64)),
                "ntile" => match int(i, 0, 1) {
                    None => one(Datum::Null),
                    Some(k) if k <= 0 => {
                        return Err(invalid("22014", "argument of ntile must be greater than zero"));
                    }
                    Some(k) => {
                        let k = k as usize;
                        let (size, larger) = (n / k, n % k);
                        // The first buckets take one more each.
                        let edge = larger * (size + 1);
                        let bucket =
                            if i < edge { i / (size + 1) } else { larger + (i - edge) / size.max(1) };
                        one(Datum::Int32(bucket as i32 + 1))
                    }
                },
                "lag" | "lead" => {
                    let Some(distance) = int(i, 1, 1) else { return Ok(one(Datum::Null)) };
                    let step = if call.name == "lag" { -distance } else { distance };
                    let found = if call.ignore_nulls && step != 0 {
                        let seen = |j: &usize| !value(*j).is_null();
                        let count = step.unsigned_abs() as usize - 1;
                        if step < 0 {
                            (0..i).rev().filter(seen).nth(count)
                        } else {
                            (i + 1..n).filter(seen).nth(count)
                        }
                    } else {
                        usize::try_from(i as i64 + step).ok().filter(|j| *j < n)
                    };
                    match found {
                        Some(j) => one(value(j)),
                        None if args.len() > 2 => one(all[i][args.start + 2]),
                        None => one(Datum::Null),
                    }
                }
                "first_value" | "last_value" | "nth_value" => {
                    let (from, to) = partition.frame(i, call, args.start, all);
                    let seen = |j: &usize| {
                        partition.stays(i, *j, call.frame.exclude)
                            && (!call.ignore_nulls || !value(*j).is_null())
                    };
                    let found = match call.name.as_str() {
                        "first_value" => (from..to).find(seen),
                        "last_value" => (from..to).rev().find(seen),
                        _ => match int(i, 1, 1) {
                            None => None,
                            Some(k) if k <= 0 => {
                                return Err(invalid(
                                    "22016",
                                    "argument of nth_value must be greater than zero",
                                ));
                            }
                            Some(k) => (from..to).filter(seen).nth(k as usize - 1),
                        },
                    };
                    one(found.map_or(Datum::Null, value))
                }
                other => return Err(invalid("0A000", &format!("window function {other} is not supported"))),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, frame: Frame, rows: &[(i64, Option<i64>)]) -> Vec<String> {
        let call = Call {
            name: name.into(),
            aggregate: false,
            args: 1,
            filter: false,
            ignore_nulls: false,
            frame,
            desc: false,
        };
        let text = description(&[call], 1);
        let arena = Arena::new();
        let rows: Vec<Row> = rows
            .iter()
            .map(|(key, value)| {
                let value = value.map_or(Datum::Null, Datum::Int64);
                Row::pack([Datum::Text(&text), arena.record([value]), value, Datum::Int64(*key)])
            })
            .collect();
        let int = || ScalarType::Int64.nullable(true);
        let ty =
            ScalarType::List(Box::new(ScalarType::Record(vec![("a".into(), int()), ("w".into(), int())])));
        let out = collect(&rows, &ty).unwrap();
        let Some(Datum::List(list)) = out.iter().next() else { panic!("a list") };
        let value = |d: Datum<'_>| match d {
            Datum::Record(r) => format!("{:?}", r.iter().nth(1).unwrap()),
            other => panic!("{other:?}"),
        };
        list.iter().map(value).collect()
    }

    #[test]
    fn peers_share_rank_and_range_frames() {
        let exclude = Exclude::NoOthers;
        let range =
            Frame { units: Units::Range, start: Bound::UnboundedPreceding, end: Bound::CurrentRow, exclude };
        let rows = [(1, Some(10)), (2, Some(20)), (2, Some(30)), (3, None)];
        assert_eq!(run("rank", range, &rows), ["Int64(1)", "Int64(2)", "Int64(2)", "Int64(4)"]);
        assert_eq!(run("dense_rank", range, &rows), ["Int64(1)", "Int64(2)", "Int64(2)", "Int64(3)"]);
        assert_eq!(run("last_value", range, &rows), ["Int64(10)", "Int64(30)", "Int64(30)", "Null"]);
        let around =
            Frame { units: Units::Rows, start: Bound::Preceding(1), end: Bound::Following(1), exclude };
        assert_eq!(run("last_value", around, &rows), ["Int64(20)", "Int64(30)", "Null", "Null"]);
        let ties = Frame { exclude: Exclude::Ties, ..range };
        assert_eq!(run("last_value", ties, &rows), ["Int64(10)", "Int64(20)", "Int64(30)", "Null"]);
        let group = Frame { exclude: Exclude::Group, ..range };
        assert_eq!(run("last_value", group, &rows), ["Null", "Int64(10)", "Int64(10)", "Int64(30)"]);
        assert_eq!(run("lag", range, &rows), ["Null", "Int64(10)", "Int64(20)", "Int64(30)"]);
    }
}
