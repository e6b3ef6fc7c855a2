//! Aggregates and the names of window functions.
//!
//! How sums, counts and extremes are kept incrementally is the dataflow's business; here is what they mean, computed
//! from a whole group, and the aggregates that need the whole group anyway.

use std::collections::BTreeMap;

use repr::error::{SqlState, code};
use repr::jsonb::Builder;
use repr::{Arena, Datum, EvalError, Numeric, Row, ScalarType};

use super::array::made_map;
use super::numeric::{float, num, out_of_range};
use super::registry::Table;
use super::time::interval;
use super::{AggFunc, AggKind, AggRef, jsonb};

pub(super) fn register(t: &mut Table) {
    t.aggregate("count", "count(any) -> int8 -- how many are not NULL", AggKind::Count, None);
    t.aggregate(
        "sum",
        "sum(int2) -> int8; sum(int4) -> int8; sum(int8) -> numeric; sum(uint2) -> uint8; sum(uint4) -> uint8; \
         sum(uint8) -> numeric; sum(float4) -> float4; sum(float8) -> float8; sum(numeric) -> numeric; \
         sum(interval) -> interval",
        AggKind::Sum,
        None,
    );
    t.aggregate(
        "avg",
        "avg(int2) -> numeric; avg(int4) -> numeric; avg(int8) -> numeric; avg(uint2) -> numeric; avg(uint4) -> numeric; \
         avg(uint8) -> numeric; avg(float4) -> float8; avg(float8) -> float8; avg(numeric) -> numeric; \
         avg(interval) -> interval",
        AggKind::Avg,
        None,
    );
    t.aggregate("min", "min(anyelement) -> anyelement", AggKind::Min, None);
    t.aggregate("max", "max(anyelement) -> anyelement", AggKind::Max, None);
    t.aggregate("bool_and", "bool_and(bool) -> bool; every(bool) -> bool", AggKind::BoolAnd, None);
    t.aggregate("bool_or", "bool_or(bool) -> bool", AggKind::BoolOr, None);
    macro_rules! variances {
        ($($id:literal $($name:literal)+, $sample:literal $root:literal;)*) => {$(
            t.aggregate(
                $id,
                concat!($(
                    $name, "(int2) -> numeric; ", $name, "(int4) -> numeric; ", $name, "(int8) -> numeric; ",
                    $name, "(numeric) -> numeric; ", $name, "(float4) -> float8; ", $name, "(float8) -> float8; ",
                    $name, "(uint2) -> numeric; ", $name, "(uint4) -> numeric; ", $name, "(uint8) -> numeric; "
                ),+),
                AggKind::Variance { sample: $sample, root: $root },
                None,
            );
        )*};
    }
    variances! {
        "stddev_samp" "stddev_samp" "stddev", true true;
        "stddev_pop" "stddev_pop", false true;
        "var_samp" "var_samp" "variance", true false;
        "var_pop" "var_pop", false false;
    }

    let collect = AggKind::Collect;
    t.aggregate(
        "array_agg",
        "array_agg(anynonarray) -> anyarray; array_agg(anyarray) -> anyarray",
        collect,
        Some(array_agg),
    );
    t.aggregate(
        "list_agg",
        "list_agg(any) -> anylist",
        collect,
        Some(|rows, _| {
            let arena = Arena::new();
            Ok(Row::pack([arena.list(rows.iter().map(first))]))
        }),
    );
    t.aggregate(
        "map_agg",
        "map_agg(text, anyelement) -> anymap",
        collect,
        Some(|rows, _| {
            let arena = Arena::new();
            let pairs = rows.iter().filter_map(|r| match (first(r), second(r)) {
                (Datum::Text(k), v) => Some((k, v)),
                _ => None,
            });
            Ok(Row::pack([made_map(pairs.collect(), &arena)]))
        }),
    );
    t.aggregate(
        "string_agg",
        "string_agg(text, text) -> text; string_agg(bytea, bytea) -> bytea -- joined, with the second between",
        collect,
        Some(string_agg),
    );
    t.aggregate(
        "jsonb_agg",
        "jsonb_agg(any) -> jsonb; json_agg(any) -> jsonb -- as an array",
        collect,
        Some(|rows, _| {
            let mut b = Builder::default();
            b.begin_array();
            for row in rows {
                jsonb::build(first(row), &mut b)?;
            }
            b.end_array();
            let arena = Arena::new();
            Ok(Row::pack([Datum::Jsonb(b.finish(&arena)?)]))
        }),
    );
    t.aggregate(
        "jsonb_object_agg",
        "jsonb_object_agg(any, any) -> jsonb; json_object_agg(any, any) -> jsonb -- keys and values as an object",
        collect,
        Some(|rows, _| {
            let mut b = Builder::default();
            b.begin_object();
            for row in rows {
                if first(row).is_null() {
                    return Err(EvalError::new(code::INVALID_PARAMETER_VALUE, "field name must not be null"));
                }
                jsonb::key(first(row), &mut b);
                jsonb::build(second(row), &mut b)?;
            }
            b.end_object();
            let arena = Arena::new();
            Ok(Row::pack([Datum::Jsonb(b.finish(&arena)?)]))
        }),
    );
    t.aggregate(
        "any_value",
        "any_value(anyelement) -> anyelement -- some value that is not NULL",
        collect,
        Some(|rows, _| {
            Ok(Row::pack([rows.iter().map(first).filter(|d| !d.is_null()).min().unwrap_or(Datum::Null)]))
        }),
    );
    t.aggregate(
        "min_by",
        "min_by(anyelement, any) -> anyelement -- the first where the second is least",
        collect,
        Some(|rows, _| {
            let known = rows.iter().filter(|r| !second(r).is_null());
            Ok(Row::pack([known.min_by_key(|r| (second(r), first(r))).map_or(Datum::Null, first)]))
        }),
    );
    t.aggregate(
        "max_by",
        "max_by(anyelement, any) -> anyelement -- the first where the second is greatest",
        collect,
        Some(|rows, _| {
            let known = rows.iter().filter(|r| !second(r).is_null());
            Ok(Row::pack([known.max_by_key(|r| (second(r), first(r))).map_or(Datum::Null, first)]))
        }),
    );
    t.aggregate(
        "approx_count_distinct",
        "approx_count_distinct(any) -> int8 -- how many different values; here exact",
        collect,
        Some(|rows, _| {
            let different: std::collections::BTreeSet<&Row> =
                rows.iter().filter(|r| !first(r).is_null()).collect();
            Ok(Row::pack([Datum::Int64(different.len() as i64)]))
        }),
    );
    macro_rules! bits {
        ($($id:literal $op:tt;)*) => {$(
            t.aggregate(
                $id,
                concat!($id, "(int2) -> int2; ", $id, "(int4) -> int4; ", $id, "(int8) -> int8"),
                collect,
                Some(|rows, ty| {
                    let all = rows.iter().map(first).filter(|d| !d.is_null()).map(|d| d.int());
                    Ok(Row::pack([all.reduce(|a, b| a $op b).map_or(Datum::Null, |n| int_of(n, ty))]))
                }),
            );
        )*};
    }
    bits! { "bit_and" &; "bit_or" |; "bit_xor" ^; }

    // Ordered-set aggregates: `f(fraction) WITHIN GROUP (ORDER BY x)` is planned as f(fraction, x).
    t.aggregate(
        "percentile_cont",
        "percentile_cont(float8, float8) -> float8; percentile_cont(float8, interval) -> interval; \
         percentile_cont(float8[], float8) -> float8[]; percentile_cont(float8[], interval) -> interval[] -- between the neighbours",
        collect,
        Some(|rows, _| percentile(rows, interpolated)),
    );
    t.aggregate(
        "percentile_disc",
        "percentile_disc(float8, anyelement) -> anyelement; percentile_disc(float8[], anyelement) -> anyarray \
         -- the first value at the fraction",
        collect,
        Some(|rows, _| {
            percentile(rows, |fraction, values| {
                Ok(values[((fraction * values.len() as f64).ceil() as usize).max(1) - 1])
            })
        }),
    );
    t.aggregate(
        "mode",
        "mode(anyelement) -> anyelement -- the most frequent value",
        collect,
        Some(|rows, _| {
            let mut times: BTreeMap<Datum<'_>, usize> = BTreeMap::new();
            for d in rows.iter().map(first).filter(|d| !d.is_null()) {
                *times.entry(d).or_default() += 1;
            }
            let most = times.iter().rev().max_by_key(|(_, n)| **n);
            Ok(Row::pack([most.map_or(Datum::Null, |(d, _)| *d)]))
        }),
    );
    macro_rules! regressions {
        ($($id:literal $f:expr;)*) => {$(
            t.aggregate($id, concat!($id, "(float8, float8) -> float8"), collect, Some(|rows, _| {
                let f: fn(&Moments) -> Option<f64> = $f;
                let m = Moments::of(rows);
                Ok(Row::pack([(if m.n == 0.0 { None } else { f(&m) }).map_or(Datum::Null, Datum::Float64)]))
            }));
        )*};
    }
    regressions! {
        "corr" |m| (m.sxx != 0.0 && m.syy != 0.0).then(|| m.sxy / (m.sxx * m.syy).sqrt());
        "covar_pop" |m| Some(m.sxy / m.n);
        "covar_samp" |m| (m.n > 1.0).then(|| m.sxy / (m.n - 1.0));
        "regr_slope" |m| (m.sxx != 0.0).then(|| m.sxy / m.sxx);
        "regr_intercept" |m| (m.sxx != 0.0).then(|| m.y - m.sxy / m.sxx * m.x);
        "regr_r2" |m| match (m.sxx == 0.0, m.syy == 0.0) {
            (true, _) => None,
            (_, true) => Some(1.0),
            _ => Some(m.sxy * m.sxy / (m.sxx * m.syy)),
        };
        "regr_avgx" |m| Some(m.x);
        "regr_avgy" |m| Some(m.y);
        "regr_sxx" |m| Some(m.sxx);
        "regr_syy" |m| Some(m.syy);
        "regr_sxy" |m| Some(m.sxy);
    }
    t.aggregate(
        "regr_count",
        "regr_count(float8, float8) -> int8",
        collect,
        Some(|rows, _| Ok(Row::pack([Datum::Int64(Moments::of(rows).n as i64)]))),
    );

    for (name, signatures) in [
        ("row_number", "row_number() -> int8 -- from 1, in order"),
        ("rank", "rank() -> int8 -- with gaps after equals"),
        ("dense_rank", "dense_rank() -> int8 -- without gaps"),
        ("percent_rank", "percent_rank() -> float8"),
        ("cume_dist", "cume_dist() -> float8"),
        ("ntile", "ntile(int4) -> int4 -- which of so many equal parts"),
        (
            "lag",
            "lag(anyelement) -> anyelement; lag(anyelement, int4) -> anyelement; \
             lag(anycompatible, int4, anycompatible) -> anycompatible -- the value so many rows before",
        ),
        (
            "lead",
            "lead(anyelement) -> anyelement; lead(anyelement, int4) -> anyelement; \
             lead(anycompatible, int4, anycompatible) -> anycompatible -- the value so many rows after",
        ),
        ("first_value", "first_value(anyelement) -> anyelement -- of the frame"),
        ("last_value", "last_value(anyelement) -> anyelement -- of the frame"),
        ("nth_value", "nth_value(anyelement, int4) -> anyelement -- of the frame"),
    ] {
        t.window(name, signatures);
    }
}

fn first(row: &Row) -> Datum<'_> {
    row.iter().next().unwrap_or(Datum::Null)
}

fn second(row: &Row) -> Datum<'_> {
    row.iter().nth(1).unwrap_or(Datum::Null)
}

fn int_of<'a>(n: i64, ty: &ScalarType) -> Datum<'a> {
    match ty {
        ScalarType::Int16 => Datum::Int16(n as i16),
        ScalarType::Int32 => Datum::Int32(n as i32),
        _ => Datum::Int64(n),
    }
}

fn array_agg(rows: &[Row], _: &ScalarType) -> Result<Row, EvalError> {
    let arena = Arena::new();
    if !rows.iter().any(|r| matches!(first(r), Datum::Array(_))) {
        let all: Vec<Datum<'_>> = rows.iter().map(first).collect();
        return Ok(Row::pack([arena.array1(&all)]));
    }
    // Arrays become the inner dimensions.
    let mut shape: Option<Vec<(i32, i32)>> = None;
    let mut all = vec![];
    for row in rows {
        let Datum::Array(a) = first(row) else {
            return Err(EvalError::new(SqlState::new("22004"), "cannot accumulate null arrays"));
        };
        let dims: Vec<(i32, i32)> = a.dims().collect();
        if dims.is_empty() {
            return Err(EvalError::new(SqlState::new("2202E"), "cannot accumulate empty arrays"));
        }
        if *shape.get_or_insert_with(|| dims.clone()) != dims {
            return Err(EvalError::new(
                SqlState::new("2202E"),
                "cannot accumulate arrays of different dimensionality",
            ));
        }
        all.extend(a.elements().iter());
    }
    let mut dims = vec![(rows.len() as i32, 1)];
    dims.extend(shape.unwrap_or_default());
    Ok(Row::pack([arena.array(&dims, all)]))
}

fn string_agg(rows: &[Row], _: &ScalarType) -> Result<Row, EvalError> {
    let part = |d: Datum<'_>| match d {
        Datum::Text(s) => s.as_bytes().to_vec(),
        Datum::Bytes(b) => b.to_vec(),
        _ => vec![],
    };
    let mut out: Option<Vec<u8>> = None;
    let mut text = true;
    for row in rows {
        let value = first(row);
        text &= !matches!(value, Datum::Bytes(_));
        match (&mut out, value.is_null()) {
            (_, true) => {}
            (None, false) => out = Some(part(value)),
            (Some(out), false) => {
                out.extend(part(second(row)));
                out.extend(part(value));
            }
        }
    }
    Ok(match out {
        None => Row::pack([Datum::Null]),
        Some(bytes) if text => Row::pack([Datum::Text(&String::from_utf8_lossy(&bytes))]),
        Some(bytes) => Row::pack([Datum::Bytes(&bytes)]),
    })
}

/// The values at a fraction, or at each of an array of them, among the values in order; NULL without values.
fn percentile(
    rows: &[Row],
    at: for<'a> fn(f64, &[Datum<'a>]) -> Result<Datum<'a>, EvalError>,
) -> Result<Row, EvalError> {
    // In the order that the call asked for, which may be descending: rows come sorted where it has one.
    let mut values: Vec<Datum<'_>> = rows.iter().map(second).filter(|d| !d.is_null()).collect();
    if !values.is_sorted_by(|a, b| a >= b) {
        values.sort_unstable();
    }
    let one = |fraction: Datum<'_>| -> Result<Datum<'_>, EvalError> {
        if fraction.is_null() {
            return Ok(Datum::Null);
        }
        let fraction = float(&fraction);
        if !(0.0..=1.0).contains(&fraction) {
            return Err(EvalError::new(
                code::NUMERIC_VALUE_OUT_OF_RANGE,
                format!("percentile value {fraction} is not between 0 and 1"),
            ));
        }
        if values.is_empty() { Ok(Datum::Null) } else { at(fraction, &values) }
    };
    let arena = Arena::new();
    Ok(Row::pack([match rows.iter().map(first).find(|d| !d.is_null()) {
        None => Datum::Null,
        Some(_) if values.is_empty() => Datum::Null,
        Some(Datum::Array(fractions)) => {
            let found = fractions.elements().iter().map(one).collect::<Result<Vec<_>, _>>()?;
            let dims: Vec<(i32, i32)> = fractions.dims().collect();
            arena.array(&dims, found)
        }
        Some(fraction) => one(fraction)?,
    }]))
}

/// Between the neighbours of the fraction.
fn interpolated<'a>(fraction: f64, values: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let at = fraction * (values.len() - 1) as f64;
    let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
    let part = at - at.floor();
    Ok(match (low, high) {
        (Datum::Interval(a), Datum::Interval(b)) => Datum::Interval(a.add(b.sub(a)?.mul(part)?)?),
        (a, _) if part == 0.0 => a,
        (a, b) => Datum::Float64(float(&a) + (float(&b) - float(&a)) * part),
    })
}

/// Sums of pairs (y, x), as the regression functions take them.
struct Moments {
    n: f64,
    x: f64,
    y: f64,
    sxx: f64,
    syy: f64,
    sxy: f64,
}

impl Moments {
    fn of(rows: &[Row]) -> Moments {
        let mut pairs: Vec<(f64, f64)> = rows
            .iter()
            .map(|r| (first(r), second(r)))
            .filter(|(y, x)| !y.is_null() && !x.is_null())
            .map(|(y, x)| (float(&y), float(&x)))
            .collect();
        // Floats add up differently in another order, and the order of rows must not show.
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let n = pairs.len() as f64;
        let mean = |f: fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>() / n;
        let (y, x) = (mean(|p| p.0), mean(|p| p.1));
        let mut m = Moments { n, x, y, sxx: 0.0, syy: 0.0, sxy: 0.0 };
        for (py, px) in &pairs {
            m.sxx += (px - x) * (px - x);
            m.syy += (py - y) * (py - y);
            m.sxy += (px - x) * (py - y);
        }
        m
    }
}

/// The value for a whole group.
pub(super) fn evaluate(func: &AggFunc, rows: &[Row], ty: &ScalarType) -> Result<Row, EvalError> {
    if let Some(collect) = func.collect {
        if rows.is_empty() {
            return Ok(Row::pack([AggRef::nothing(func.id)]));
        }
        return collect(rows, ty);
    }
    let values = || rows.iter().map(first).filter(|d| !d.is_null());
    let n = values().count();
    let result = match func.kind {
        AggKind::Count => return Ok(Row::pack([Datum::Int64(n as i64)])),
        _ if n == 0 => Datum::Null,
        AggKind::Min => values().min().unwrap_or(Datum::Null),
        AggKind::Max => values().max().unwrap_or(Datum::Null),
        AggKind::BoolAnd => Datum::Bool(values().all(|d| d.bool())),
        AggKind::BoolOr => Datum::Bool(values().any(|d| d.bool())),
        AggKind::Sum | AggKind::Avg => {
            let sum = sum(values())?;
            match (func.kind, sum) {
                (AggKind::Sum, Sum::Int(n)) => match ty {
                    ScalarType::Int64 => Datum::Int64(i64::try_from(n).map_err(|_| out_of_range("bigint"))?),
                    ScalarType::UInt64 => Datum::UInt64(u64::try_from(n).map_err(|_| out_of_range("uint8"))?),
                    _ => Datum::Numeric(Numeric::from_i128(n)),
                },
                (AggKind::Sum, Sum::Float(x)) if *ty == ScalarType::Float32 => Datum::Float32(x as f32),
                (AggKind::Sum, Sum::Float(x)) => Datum::Float64(x),
                (AggKind::Sum, Sum::Numeric(n)) => Datum::Numeric(n),
                (AggKind::Sum, Sum::Interval(i)) => Datum::Interval(i),
                (_, Sum::Int(s)) => Datum::Numeric(Numeric::from_i128(s).div(Numeric::from_u64(n as u64))?),
                (_, Sum::Float(x)) => Datum::Float64(x / n as f64),
                (_, Sum::Numeric(s)) => Datum::Numeric(s.div(Numeric::from_u64(n as u64))?),
                (_, Sum::Interval(i)) => Datum::Interval(i.div(n as f64)?),
            }
        }
        AggKind::Variance { sample, root } => variance(values().collect(), sample, root)?,
        AggKind::Collect => Datum::Null,
    };
    Ok(Row::pack([result]))
}

enum Sum {
    Int(i128),
    Float(f64),
    Numeric(Numeric),
    Interval(repr::Interval),
}

fn sum<'a>(values: impl Iterator<Item = Datum<'a>>) -> Result<Sum, EvalError> {
    let mut total: Option<Sum> = None;
    for d in values {
        total = Some(match (total, d) {
            (None, Datum::Float32(_) | Datum::Float64(_)) => Sum::Float(float(&d)),
            (None, Datum::Numeric(n)) => Sum::Numeric(n),
            (None, Datum::Interval(i)) => Sum::Interval(i),
            (None, Datum::UInt64(n)) => Sum::Int(n.into()),
            (None, d) => Sum::Int(d.int().into()),
            (Some(Sum::Float(x)), d) => Sum::Float(x + float(&d)),
            (Some(Sum::Numeric(n)), d) => Sum::Numeric(n.add(num(&d))?),
            (Some(Sum::Interval(i)), d) => Sum::Interval(i.add(interval(&d))?),
            (Some(Sum::Int(n)), Datum::UInt64(m)) => Sum::Int(n + i128::from(m)),
            (Some(Sum::Int(n)), d) => Sum::Int(n + i128::from(d.int())),
        });
    }
    Ok(total.unwrap_or(Sum::Int(0)))
}

fn variance<'a>(values: Vec<Datum<'a>>, sample: bool, root: bool) -> Result<Datum<'a>, EvalError> {
    let n = values.len();
    if sample && n == 1 {
        return Ok(Datum::Null);
    }
    let divisor = n - usize::from(sample);
    if matches!(values[0], Datum::Float64(_) | Datum::Float32(_)) {
        let mut xs: Vec<f64> = values.iter().map(float).collect();
        xs.sort_by(f64::total_cmp);
        let mean = xs.iter().sum::<f64>() / n as f64;
        let v = xs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / divisor as f64;
        return Ok(Datum::Float64(if root { v.sqrt() } else { v }));
    }
    let (mut s, mut s2) = (Numeric::ZERO, Numeric::ZERO);
    for d in &values {
        let x = match d {
            Datum::Numeric(n) => *n,
            Datum::UInt64(n) => Numeric::from_u64(*n),
            d => Numeric::from_i64(d.int()),
        };
        s = s.add(x)?;
        s2 = s2.add(x.mul(x)?)?;
    }
    let n = Numeric::from_u64(n as u64);
    let v = n.mul(s2)?.sub(s.mul(s)?)?.div(n.mul(Numeric::from_u64(divisor as u64))?)?;
    // Rounding may leave a trace below zero where all values are equal.
    let v = if v.is_negative() { Numeric::ZERO } else { v };
    Ok(Datum::Numeric(if root { v.sqrt()? } else { v }))
}

#[cfg(test)]
mod tests {
    use crate::func::aggregate;
    use repr::{Arena, Datum, Numeric, Row, ScalarType};

    fn run(id: &str, rows: &[&[Datum<'_>]], ty: &ScalarType) -> String {
        let rows: Vec<Row> = rows.iter().map(|r| Row::pack(r.iter().copied())).collect();
        match aggregate(id).unwrap().evaluate(&rows, ty) {
            Err(e) => format!("{} {}", e.code().as_str(), e.message()),
            Ok(row) => match row.iter().next().unwrap() {
                Datum::Null => "NULL".into(),
                d => {
                    let mut out = String::new();
                    super::super::compare::print_value(d, &mut out);
                    out
                }
            },
        }
    }

    #[test]
    fn nothing_gives_null_but_for_counts() {
        assert_eq!(run("count", &[], &ScalarType::Int64), "0");
        assert_eq!(run("sum", &[], &ScalarType::Int64), "NULL");
        assert_eq!(run("array_agg", &[], &ScalarType::Text), "NULL");
        assert_eq!(run("sum", &[&[Datum::Null]], &ScalarType::Int64), "NULL");
    }

    #[test]
    fn sums_and_averages_of_integers_are_exact() {
        let int = |n: i32| [Datum::Int32(n)];
        let rows = [int(1), int(2), int(4)];
        let rows: Vec<&[Datum<'_>]> = rows.iter().map(|r| &r[..]).collect();
        let numeric = ScalarType::Numeric { scale: None };
        assert_eq!(run("sum", &rows, &ScalarType::Int64), "7");
        assert!(run("avg", &rows, &numeric).starts_with("2.33333333333333333333333333333333333333"));
        assert_eq!(
            run(
                "var_pop",
                &[&[Datum::Numeric(Numeric::from_i64(1))], &[Datum::Numeric(Numeric::from_i64(3))]],
                &numeric
            ),
            "1"
        );
        assert_eq!(run("stddev_samp", &[&[Datum::Float64(2.0)]], &ScalarType::Float64), "NULL");
        let big = [Datum::Int64(i64::MAX)];
        assert_eq!(run("sum", &[&big, &big], &numeric), "18446744073709551614");
    }

    #[test]
    fn collections_keep_or_drop_null_as_in_postgres() {
        let text = |s: &'static str| Datum::Text(s);
        let comma = Datum::Text(",");
        assert_eq!(
            run(
                "string_agg",
                &[&[text("a"), comma], &[Datum::Null, comma], &[text("b"), comma]],
                &ScalarType::Text
            ),
            "a,b"
        );
        assert_eq!(run("array_agg", &[&[text("a")], &[Datum::Null]], &ScalarType::Text), "{a,NULL}");
        assert_eq!(run("jsonb_agg", &[&[Datum::Int32(1)], &[Datum::Null]], &ScalarType::Jsonb), "[1,null]");
        assert_eq!(
            run(
                "jsonb_object_agg",
                &[&[text("b"), Datum::Int32(1)], &[text("a"), Datum::Null]],
                &ScalarType::Jsonb
            ),
            "{\"a\":null,\"b\":1}"
        );
        assert_eq!(
            run("jsonb_object_agg", &[&[Datum::Null, Datum::Null]], &ScalarType::Jsonb),
            "22023 field name must not be null"
        );
        let arena = Arena::new();
        let a = arena.array1(&[Datum::Int32(1), Datum::Int32(2)]);
        assert_eq!(run("array_agg", &[&[a], &[a]], &ScalarType::Text), "{{1,2},{1,2}}");
    }

    #[test]
    fn percentiles_interpolate_or_choose() {
        let half = Datum::Float64(0.5);
        let x = |n: f64| Datum::Float64(n);
        let rows: [&[Datum<'_>]; 4] = [&[half, x(1.0)], &[half, x(4.0)], &[half, x(2.0)], &[half, x(3.0)]];
        assert_eq!(run("percentile_cont", &rows, &ScalarType::Float64), "2.5");
        assert_eq!(run("percentile_disc", &rows, &ScalarType::Float64), "2");
        assert_eq!(run("mode", &[&[x(1.0)], &[x(2.0)], &[x(2.0)]], &ScalarType::Float64), "2");
        assert_eq!(run("percentile_cont", &[&[x(2.0), x(1.0)]], &ScalarType::Float64)[..5], *"22003");
        assert_eq!(run("corr", &[&[x(1.0), x(2.0)], &[x(2.0), x(4.0)]], &ScalarType::Float64), "1");
        assert_eq!(run("max_by", &[&[x(1.0), x(9.0)], &[x(7.0), Datum::Null]], &ScalarType::Float64), "1");
    }
}
