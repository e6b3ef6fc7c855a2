//! Table functions that belong to no other topic: series.

use repr::error::code;
use repr::time;
use repr::{Datum, EvalError, Interval, Numeric};

use super::numeric::num;
use super::registry::Table;
use super::time::interval;

/// A series may have this many rows at most; it is made whole, in memory.
const MAX_SERIES: i128 = 100_000_000;

fn step_is_zero() -> EvalError {
    EvalError::new(code::INVALID_PARAMETER_VALUE, "step size cannot equal zero")
}

fn too_long() -> EvalError {
    EvalError::new(code::PROGRAM_LIMIT_EXCEEDED, "generate_series would give too many rows")
        .with_hint(format!("At most {MAX_SERIES} rows are given."))
}

/// start, start + step … up to stop.
fn integers(start: i64, stop: i64, step: i64, mut give: impl FnMut(i64)) -> Result<(), EvalError> {
    if step == 0 {
        return Err(step_is_zero());
    }
    if (i128::from(stop) - i128::from(start)) / i128::from(step) >= MAX_SERIES {
        return Err(too_long());
    }
    let mut n = start;
    while if step > 0 { n <= stop } else { n >= stop } {
        give(n);
        match n.checked_add(step) {
            Some(next) => n = next,
            None => break,
        }
    }
    Ok(())
}

fn times(start: i64, stop: i64, step: Interval, mut give: impl FnMut(i64)) -> Result<(), EvalError> {
    let length = step.length();
    if length == 0 {
        return Err(step_is_zero());
    }
    if (i128::from(stop) - i128::from(start)) / length >= MAX_SERIES {
        return Err(too_long());
    }
    let mut t = start;
    while if length > 0 { t <= stop } else { t >= stop } {
        give(t);
        let next = time::timestamp_add(t, step)?;
        // A step of mixed signs may stand still at the end of a month.
        if if length > 0 { next <= t } else { next >= t } {
            return Err(step_is_zero());
        }
        t = next;
    }
    Ok(())
}

pub(super) fn register(t: &mut Table) {
    // `csv_extract(n, text)` is planned as this and its fields.
    t.rows(
        "csv_fields",
        "csv_fields(text) -> text[] -- the fields of each line of CSV",
        true,
        |a, m, emit| {
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .from_reader(a[0].text().as_bytes());
            for record in reader.records() {
                let record =
                    record.map_err(|e| EvalError::new(code::INVALID_TEXT_REPRESENTATION, e.to_string()))?;
                let fields: Vec<Datum<'_>> = record.iter().map(|f| Datum::Text(m.text(f))).collect();
                emit(&[m.array1(&fields)]);
            }
            Ok(())
        },
    );
    t.rows(
        "generate_series_int4",
        "generate_series(int4, int4) -> int4; generate_series(int4, int4, int4) -> int4 -- start, stop, step",
        true,
        |a, _, emit| {
            integers(a[0].int(), a[1].int(), a.get(2).map_or(1, Datum::int), |n| {
                emit(&[Datum::Int32(n as i32)]);
            })
        },
    );
    t.rows(
        "generate_series_int8",
        "generate_series(int8, int8) -> int8; generate_series(int8, int8, int8) -> int8",
        true,
        |a, _, emit| {
            integers(a[0].int(), a[1].int(), a.get(2).map_or(1, Datum::int), |n| emit(&[Datum::Int64(n)]))
        },
    );
    t.rows(
        "generate_series_numeric",
        "generate_series(numeric, numeric) -> numeric; generate_series(numeric, numeric, numeric) -> numeric",
        true,
        |a, _, emit| {
            let (start, stop, step) = (num(&a[0]), num(&a[1]), a.get(2).map_or(Numeric::ONE, num));
            if !(start.is_finite() && stop.is_finite() && step.is_finite()) {
                return Err(EvalError::new(
                    code::INVALID_PARAMETER_VALUE,
                    "start, stop and step must be finite numbers",
                ));
            }
            if step.is_zero() {
                return Err(step_is_zero());
            }
            let rows = stop.sub(start)?.div_integer(step)?;
            if rows > Numeric::from_i64(MAX_SERIES as i64) {
                return Err(too_long());
            }
            let mut n = start;
            while if step.is_negative() { n >= stop } else { n <= stop } {
                emit(&[Datum::Numeric(n)]);
                n = n.add(step)?;
            }
            Ok(())
        },
    );
    t.rows(
        "generate_series_timestamp",
        "generate_series(timestamp, timestamp, interval) -> timestamp",
        true,
        |a, _, emit| times(a[0].int(), a[1].int(), interval(&a[2]), |t| emit(&[Datum::Timestamp(t)])),
    );
    t.rows(
        "generate_series_timestamptz",
        "generate_series(timestamptz, timestamptz, interval) -> timestamptz",
        true,
        |a, _, emit| times(a[0].int(), a[1].int(), interval(&a[2]), |t| emit(&[Datum::TimestampTz(t)])),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::func::table_function;
    use repr::Arena;

    fn series(id: &str, args: &[Datum<'static>]) -> Result<Vec<String>, EvalError> {
        let arena = Arena::new();
        let mut rows = vec![];
        let args: Vec<Datum<'_>> = args.to_vec();
        (table_function(id).unwrap().0.eval)(&args, &arena, &mut |row| {
            let mut out = String::new();
            super::super::compare::print_value(row[0], &mut out);
            rows.push(out);
        })?;
        Ok(rows)
    }

    #[test]
    fn series_end_where_they_should() {
        let int = |n| Datum::Int32(n);
        assert_eq!(series("generate_series_int4", &[int(1), int(3)]).unwrap(), ["1", "2", "3"]);
        assert_eq!(series("generate_series_int4", &[int(3), int(1)]).unwrap(), [""; 0]);
        assert_eq!(series("generate_series_int4", &[int(3), int(1), int(-1)]).unwrap(), ["3", "2", "1"]);
        assert_eq!(series("generate_series_int4", &[int(i32::MAX), int(i32::MAX)]).unwrap().len(), 1);
        let big = |n| Datum::Int64(n);
        assert_eq!(
            series("generate_series_int8", &[big(i64::MAX - 1), big(i64::MAX), big(1)]).unwrap().len(),
            2
        );
        let error = |r: Result<Vec<String>, EvalError>| r.unwrap_err().message().to_string();
        assert_eq!(
            error(series("generate_series_int4", &[int(1), int(2), int(0)])),
            "step size cannot equal zero"
        );
        assert!(series("generate_series_int8", &[big(0), big(i64::MAX)]).is_err());
        let day = Datum::Interval(Interval { months: 1, days: 0, micros: 0 });
        let ts = |d: i64| Datum::Timestamp(d * time::DAY);
        assert_eq!(
            series("generate_series_timestamp", &[ts(0), ts(60), day]).unwrap(),
            ["1970-01-01 00:00:00", "1970-02-01 00:00:00", "1970-03-01 00:00:00"]
        );
    }
}
