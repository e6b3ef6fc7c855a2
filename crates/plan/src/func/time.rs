//! Dates, times and intervals: arithmetic, fields, zones. What they compute is in [`repr::time`].

use repr::error::code;
use repr::time::{self, Fielded, Unit, Zone};
use repr::{Datum, EvalError, Interval, Numeric};

use super::ids;
use super::numeric::{float, int4};
use super::registry::{FAILS, MAYBE, PURE, Table};

pub(super) fn interval(d: &Datum<'_>) -> Interval {
    match d {
        Datum::Interval(i) => *i,
        other => panic!("expected an interval, found {other:?}"),
    }
}

fn date(d: &Datum<'_>) -> i32 {
    match d {
        Datum::Date(n) => *n,
        other => panic!("expected a date, found {other:?}"),
    }
}

fn field<'a>(n: Numeric, as_float: bool) -> Datum<'a> {
    if as_float { Datum::Float64(n.to_f64()) } else { Datum::Numeric(n) }
}

/// Microseconds to so many digits of a second, halves away from zero.
fn round_micros(micros: i64, digits: i32) -> i64 {
    let unit = 10_i64.pow(6 - digits.clamp(0, 6) as u32);
    let half = if micros < 0 { -unit / 2 } else { unit / 2 };
    micros.saturating_add(half) / unit * unit
}

pub(super) fn register(t: &mut Table) {
    use Datum::{Date, Int32, Time, Timestamp, TimestampTz};

    t.add("date_add_int4", "date + int4 -> date; int4 + date -> date", FAILS, |a, _, _| match (a[0], a[1]) {
        (Date(d), Int32(n)) | (Int32(n), Date(d)) => time::date_add(d, n).map(Date),
        _ => panic!("expected a date and an integer"),
    });
    t.add("date_sub_int4", "date - int4 -> date", FAILS, |a, _, _| {
        time::date_sub_days(date(&a[0]), int4(&a[1])).map(Date)
    });
    t.add("date_sub_date", "date - date -> int4 -- days", PURE, |a, _, _| {
        Ok(Int32(time::date_sub(date(&a[0]), date(&a[1]))))
    });
    t.add(
        "date_add_interval",
        "date + interval -> timestamp; interval + date -> timestamp",
        FAILS,
        |a, _, _| match (a[0], a[1]) {
            (Date(d), Datum::Interval(i)) | (Datum::Interval(i), Date(d)) => {
                time::date_add_interval(d, i).map(Timestamp)
            }
            _ => panic!("expected a date and an interval"),
        },
    );
    t.add("date_sub_interval", "date - interval -> timestamp", FAILS, |a, _, _| {
        time::date_sub_interval(date(&a[0]), interval(&a[1])).map(Timestamp)
    });
    t.add("date_add_time", "date + time -> timestamp; time + date -> timestamp", FAILS, |a, _, _| {
        match (a[0], a[1]) {
            (Date(d), Time(n)) | (Time(n), Date(d)) => time::date_time_to_timestamp(d, n).map(Timestamp),
            _ => panic!("expected a date and a time"),
        }
    });
    t.add("time_add_interval", "time + interval -> time; interval + time -> time", PURE, |a, _, _| {
        match (a[0], a[1]) {
            (Time(n), Datum::Interval(i)) | (Datum::Interval(i), Time(n)) => Ok(Time(time::time_add(n, i))),
            _ => panic!("expected a time and an interval"),
        }
    });
    t.add("time_sub_interval", "time - interval -> time", PURE, |a, _, _| {
        Ok(Time(time::time_sub_interval(a[0].int(), interval(&a[1]))))
    });
    t.add("time_sub_time", "time - time -> interval", PURE, |a, _, _| {
        Ok(Datum::Interval(time::time_sub(a[0].int(), a[1].int())))
    });
    macro_rules! timestamps {
        ($($name:literal $variant:ident;)*) => {$(
            t.add(
                concat!($name, "_add_interval"),
                concat!($name, " + interval -> ", $name, "; interval + ", $name, " -> ", $name),
                FAILS,
                |a, _, _| match (a[0], a[1]) {
                    ($variant(n), Datum::Interval(i)) | (Datum::Interval(i), $variant(n)) => {
                        time::timestamp_add(n, i).map($variant)
                    }
                    _ => panic!(concat!("expected a ", $name, " and an interval")),
                },
            );
            t.add(concat!($name, "_sub_interval"), concat!($name, " - interval -> ", $name), FAILS, |a, _, _| {
                time::timestamp_sub_interval(a[0].int(), interval(&a[1])).map($variant)
            });
            t.add(concat!($name, "_sub"), concat!($name, " - ", $name, " -> interval"), PURE, |a, _, _| {
                Ok(Datum::Interval(time::timestamp_sub(a[0].int(), a[1].int())))
            });
            t.add(concat!($name, "_age"), concat!("age(", $name, ", ", $name, ") -> interval -- by the calendar"), PURE, |a, _, _| {
                Ok(Datum::Interval(time::age(a[0].int(), a[1].int())))
            });
            t.add(
                concat!($name, "_bin"),
                concat!("date_bin(interval, ", $name, ", ", $name, ") -> ", $name, "; date_bin(interval, ", $name, ") -> ", $name,
                    " -- the start of the bin, counted from the origin (1970)"),
                FAILS,
                |a, _, _| time::date_bin(interval(&a[0]), a[1].int(), a.get(2).map_or(0, Datum::int)).map($variant),
            );
            t.add(concat!($name, "_diff"), concat!("datediff(text, ", $name, ", ", $name, ") -> int8 -- boundaries of a unit between"), FAILS, |a, _, _| {
                let unit = Unit::parse(a[0].text(), Fielded::$variant)?;
                time::date_diff(unit, a[1].int(), a[2].int()).map(Datum::Int64)
            });
            t.add(
                concat!($name, "_overlaps"),
                concat!("overlaps(", $name, ", ", $name, ", ", $name, ", ", $name, ") -> bool"),
                PURE,
                |a, _, _| {
                    let span = |x: i64, y: i64| (x.min(y), x.max(y));
                    let (a, b) = (span(a[0].int(), a[1].int()), span(a[2].int(), a[3].int()));
                    Ok(Datum::Bool(if a.0 == b.0 { true } else if a.0 < b.0 { b.0 < a.1 } else { a.0 < b.1 }))
                },
            );
            t.rows(
                concat!($name, "_bin_hopping"),
                concat!("date_bin_hopping(interval, interval, ", $name, ") -> ", $name, "; date_bin_hopping(interval, interval, ",
                    $name, ", ", $name, ") -> ", $name, " -- the starts of all windows (hop, width) that hold a time"),
                true,
                |a, _, emit| {
                    let (hop, width) = (interval(&a[0]), interval(&a[1]));
                    let at = a[2].int();
                    let origin = a.get(3).map_or(0, Datum::int);
                    let mut start = time::date_bin(hop, at, origin)?;
                    let width = i64::try_from(width.length())
                        .ok()
                        .filter(|w| width.months == 0 && *w > 0 && i128::from(*w) / hop.length().max(1) <= 100_000)
                        .ok_or_else(|| EvalError::new(code::INVALID_PARAMETER_VALUE, "window width is out of range"))?;
                    while start > at.saturating_sub(width) {
                        emit(&[$variant(start)]);
                        start = time::timestamp_sub_interval(start, hop)?;
                    }
                    Ok(())
                },
            );
        )*};
    }
    timestamps! { "timestamp" Timestamp; "timestamptz" TimestampTz; }

    t.add("interval_add", "interval + interval -> interval", FAILS, |a, _, _| {
        interval(&a[0]).add(interval(&a[1])).map(Datum::Interval)
    });
    t.add("interval_sub", "interval - interval -> interval", FAILS, |a, _, _| {
        interval(&a[0]).sub(interval(&a[1])).map(Datum::Interval)
    });
    t.add("interval_neg", "- interval -> interval", FAILS, |a, _, _| {
        interval(&a[0]).neg().map(Datum::Interval)
    });
    t.add(
        "interval_mul",
        "interval * float8 -> interval; float8 * interval -> interval",
        FAILS,
        |a, _, _| match (a[0], a[1]) {
            (Datum::Interval(i), Datum::Float64(x)) | (Datum::Float64(x), Datum::Interval(i)) => {
                i.mul(x).map(Datum::Interval)
            }
            _ => panic!("expected an interval and a number"),
        },
    );
    t.add("interval_div", "interval / float8 -> interval", FAILS, |a, _, _| {
        interval(&a[0]).div(float(&a[1])).map(Datum::Interval)
    });
    macro_rules! interval_comparison {
        ($($id:literal $op:literal $method:ident;)*) => {$(
            t.add(concat!("interval_", $id), concat!("interval ", $op, " interval -> bool"), PURE, |a, _, _| {
                Ok(Datum::Bool(interval(&a[0]).cmp_length(interval(&a[1])).$method()))
            });
        )*};
    }
    interval_comparison! {
        "eq" "=" is_eq; "ne" "<>" is_ne; "lt" "<" is_lt; "le" "<=" is_le; "gt" ">" is_gt; "ge" ">=" is_ge;
    }
    t.also("interval_ne", "interval != interval -> bool");
    macro_rules! justify {
        ($($name:ident)*) => {$(
            t.add(stringify!($name), concat!(stringify!($name), "(interval) -> interval"), FAILS, |a, _, _| {
                interval(&a[0]).$name().map(Datum::Interval)
            });
        )*};
    }
    justify! { justify_hours justify_days justify_interval }

    // mz_timestamp counts milliseconds; months and days go by the calendar in UTC.
    t.add(
        "mz_timestamp_add_interval",
        "mz_timestamp + interval -> mz_timestamp; interval + mz_timestamp -> mz_timestamp",
        FAILS,
        |a, _, _| match (a[0], a[1]) {
            (Datum::MzTimestamp(ms), Datum::Interval(i)) | (Datum::Interval(i), Datum::MzTimestamp(ms)) => {
                millis(time::timestamp_add(time::timestamp_from_millis(ms)?, i)?)
            }
            _ => panic!("expected an mz_timestamp and an interval"),
        },
    );
    t.add("mz_timestamp_sub_interval", "mz_timestamp - interval -> mz_timestamp", FAILS, |a, _, _| {
        match a[0] {
            Datum::MzTimestamp(ms) => {
                millis(time::timestamp_sub_interval(time::timestamp_from_millis(ms)?, interval(&a[1]))?)
            }
            _ => panic!("expected an mz_timestamp"),
        }
    });

    macro_rules! fields {
        ($($id:literal $ty:literal $kind:ident $function:ident $get:expr;)*) => {$(
            t.add(concat!("extract_", $id), concat!("extract(text, ", $ty, ") -> numeric"), FAILS, |a, _, _| {
                let unit = Unit::parse(a[0].text(), Fielded::$kind)?;
                time::$function(unit, $get(&a[1])).map(|n| field(n, false))
            });
            // `date_part` of dates is below.
            if $id != "date" {
                t.add(concat!("date_part_", $id), concat!("date_part(text, ", $ty, ") -> float8"), FAILS, |a, _, _| {
                    let unit = Unit::parse(a[0].text(), Fielded::$kind)?;
                    time::$function(unit, $get(&a[1])).map(|n| field(n, true))
                });
            }
        )*};
    }
    fields! {
        "date" "date" Date extract_date date;
        "time" "time" Time extract_time Datum::int;
        "timestamp" "timestamp" Timestamp extract_timestamp Datum::int;
        "timestamptz" "timestamptz" TimestampTz extract_timestamptz Datum::int;
        "interval" "interval" Interval extract_interval interval;
    }
    // Of a date, `date_part` knows also the fields of its midnight.
    t.add("date_part_date", "date_part(text, date) -> float8", FAILS, |a, _, _| {
        let unit = Unit::parse(a[0].text(), Fielded::Timestamp)?;
        time::extract_timestamp(unit, time::date_to_timestamp(date(&a[1]))?).map(|n| field(n, true))
    });
    t.add(
        "date_trunc_timestamp",
        "date_trunc(text, timestamp) -> timestamp -- cut to a unit",
        FAILS,
        |a, _, _| time::date_trunc(Unit::parse(a[0].text(), Fielded::Timestamp)?, a[1].int()).map(Timestamp),
    );
    t.add("date_trunc_timestamptz", "date_trunc(text, timestamptz) -> timestamptz", FAILS, |a, _, _| {
        time::date_trunc(Unit::parse(a[0].text(), Fielded::TimestampTz)?, a[1].int()).map(TimestampTz)
    });
    t.add("date_trunc_in", "date_trunc(text, timestamptz, text) -> timestamptz", FAILS, |a, _, _| {
        let unit = Unit::parse(a[0].text(), Fielded::TimestampTz)?;
        time::date_trunc_in(unit, a[1].int(), Zone::parse(a[2].text())?).map(TimestampTz)
    });
    t.add("date_trunc_interval", "date_trunc(text, interval) -> interval", FAILS, |a, _, _| {
        let unit = Unit::parse(a[0].text(), Fielded::Interval)?;
        time::date_trunc_interval(unit, interval(&a[1])).map(Datum::Interval)
    });

    t.add(ids::TIME_ROUND, "", PURE, |a, _, _| {
        let Datum::Time(t) = a[0] else { return Ok(a[0]) };
        Ok(Datum::Time(round_micros(t, int4(&a[1]))))
    });
    t.add(ids::INTERVAL_ROUND, "", PURE, |a, _, _| {
        let i = interval(&a[0]);
        Ok(Datum::Interval(Interval { micros: round_micros(i.micros, int4(&a[1])), ..i }))
    });
    t.add(
        "timezone_timestamptz",
        "timezone(text, timestamptz) -> timestamp -- AT TIME ZONE",
        FAILS,
        |a, _, _| time::utc_to_local(a[1].int(), Zone::parse(a[0].text())?).map(Timestamp),
    );
    t.add("timezone_timestamp", "timezone(text, timestamp) -> timestamptz", FAILS, |a, _, _| {
        time::local_to_utc(a[1].int(), Zone::parse(a[0].text())?).map(TimestampTz)
    });
    t.add(
        "timezone_interval_timestamptz",
        "timezone(interval, timestamptz) -> timestamp",
        FAILS,
        |a, _, _| time::utc_to_local(a[1].int(), Zone::from_interval(interval(&a[0]))?).map(Timestamp),
    );
    t.add("timezone_interval_timestamp", "timezone(interval, timestamp) -> timestamptz", FAILS, |a, _, _| {
        time::local_to_utc(a[1].int(), Zone::from_interval(interval(&a[0]))?).map(TimestampTz)
    });

    t.add("to_timestamp", "to_timestamp(float8) -> timestamptz -- seconds since 1970", FAILS, |a, _, _| {
        time::timestamp_from_seconds(float(&a[0])).map(TimestampTz)
    });
    t.add("make_date", "make_date(int4, int4, int4) -> date", FAILS, |a, _, _| {
        time::make_date(int4(&a[0]), int4(&a[1]), int4(&a[2])).map(Date)
    });
    t.add("make_time", "make_time(int4, int4, float8) -> time", FAILS, |a, _, _| {
        time::make_time(int4(&a[0]), int4(&a[1]), float(&a[2])).map(Time)
    });
    t.add(
        "make_timestamp",
        "make_timestamp(int4, int4, int4, int4, int4, float8) -> timestamp",
        FAILS,
        |a, _, _| made(a).map(Timestamp),
    );
    t.add(
        "make_timestamptz",
        "make_timestamptz(int4, int4, int4, int4, int4, float8) -> timestamptz; \
         make_timestamptz(int4, int4, int4, int4, int4, float8, text) -> timestamptz",
        FAILS,
        |a, _, _| {
            let local = made(a)?;
            let zone = a.get(6).map_or(Ok(Zone::UTC), |z| Zone::parse(z.text()))?;
            time::local_to_utc(local, zone).map(TimestampTz)
        },
    );
    t.add(
        "make_interval",
        "make_interval(int4) -> interval; make_interval(int4, int4) -> interval; make_interval(int4, int4, int4) -> interval; \
         make_interval(int4, int4, int4, int4) -> interval; make_interval(int4, int4, int4, int4, int4) -> interval; \
         make_interval(int4, int4, int4, int4, int4, int4) -> interval; \
         make_interval(int4, int4, int4, int4, int4, int4, float8) -> interval -- years, months, weeks, days, hours, minutes, seconds",
        FAILS,
        |a, _, _| {
            let n = |i: usize| a.get(i).map_or(0, int4);
            Interval::make(n(0), n(1), n(2), n(3), n(4), n(5), a.get(6).map_or(0.0, float)).map(Datum::Interval)
        },
    );
    t.add(
        "isfinite",
        "isfinite(timestamp) -> bool; isfinite(timestamptz) -> bool; isfinite(date) -> bool; isfinite(interval) -> bool",
        PURE,
        |_, _, _| Ok(Datum::Bool(true)),
    );
    t.add(
        "try_parse_monotonic_iso8601_timestamp",
        "try_parse_monotonic_iso8601_timestamp(text) -> timestamp -- of the form 2024-02-29T12:34:56.789Z, else NULL",
        MAYBE,
        |a, _, m| {
            let s = a[0].text();
            let shape = b"dddd-dd-ddTdd:dd:dd.dddZ";
            let fits = s.len() == shape.len()
                && s.bytes().zip(shape).all(|(b, p)| if *p == b'd' { b.is_ascii_digit() } else { b == *p });
            if !fits {
                return Ok(Datum::Null);
            }
            let ty = repr::ScalarType::Timestamp { precision: None };
            Ok(repr::text::parse(&s[..s.len() - 1], &ty, m).unwrap_or(Datum::Null))
        },
    );
    t.add(
        "try_parse_timestamptz",
        "try_parse_timestamptz(text) -> timestamptz -- a time in whatever shape a client wrote it, else NULL",
        MAYBE,
        |a, _, _| Ok(time::try_parse_timestamptz(a[0].text()).map_or(Datum::Null, Datum::TimestampTz)),
    );
    t.add(
        "to_char_timestamp",
        "to_char(timestamp, text) -> text; to_char(timestamptz, text) -> text -- by a template",
        PURE,
        |a, _, m| {
            let zone = if matches!(a[0], TimestampTz(_)) { "UTC" } else { "" };
            Ok(Datum::Text(m.text(&super::format::print_timestamp(a[0].int(), zone, a[1].text()))))
        },
    );
    t.add("to_char_interval", "to_char(interval, text) -> text", PURE, |a, _, m| {
        Ok(Datum::Text(m.text(&super::format::print_interval(interval(&a[0]), a[1].text()))))
    });
    t.add(
        "to_timestamp_text",
        "to_timestamp(text, text) -> timestamptz -- by a template",
        FAILS,
        |a, _, _| super::format::parse_timestamp(a[0].text(), a[1].text()).map(TimestampTz),
    );
    t.add("to_date", "to_date(text, text) -> date -- by a template", FAILS, |a, _, _| {
        Ok(Date(time::timestamp_to_date(super::format::parse_timestamp(a[0].text(), a[1].text())?)))
    });
    t.add(
        "to_char_numeric",
        "to_char(numeric, text) -> text; to_char(float8, text) -> text; to_char(float4, text) -> text; \
         to_char(int4, text) -> text; to_char(int8, text) -> text",
        FAILS,
        |a, _, m| {
            let n = match a[0] {
                Datum::Numeric(n) => n,
                Datum::Float64(x) => Numeric::from_f64(x)?,
                Datum::Float32(x) => Numeric::from_f32(x)?,
                other => Numeric::from_i64(other.int()),
            };
            super::format::print_number(n, a[1].text()).map(|s| Datum::Text(m.text(&s)))
        },
    );
    t.add("to_number", "to_number(text, text) -> numeric -- by a template", FAILS, |a, _, _| {
        super::format::parse_number(a[0].text(), a[1].text()).map(Datum::Numeric)
    });
}

fn made(a: &[Datum<'_>]) -> Result<i64, EvalError> {
    let n = |i: usize| int4(&a[i]);
    time::make_timestamp(n(0), n(1), n(2), n(3), n(4), float(&a[5]))
}

/// The engine's time for microseconds since 1970, rounded down.
pub(super) fn millis<'a>(micros: i64) -> Result<Datum<'a>, EvalError> {
    u64::try_from(micros.div_euclid(1000))
        .map(Datum::MzTimestamp)
        .map_err(|_| EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, "mz_timestamp out of range"))
}

#[cfg(test)]
mod tests {
    use crate::func::resolve::tests::{error, run};

    #[test]
    fn months_end_where_the_calendar_says() {
        assert_eq!(run("+", &["2024-01-31::timestamp", "1 month"]), "2024-02-29 00:00:00");
        assert_eq!(run("-", &["2024-03-31::timestamptz", "1 month::interval"]), "2024-02-29 00:00:00+00");
        assert_eq!(run("-", &["2024-03-01::date", "2024-02-01::date"]), "29");
        assert_eq!(run("+", &["2024-02-28::date", "2::int4"]), "2024-03-01");
        assert_eq!(run("*", &["1 day::interval", "1.5::float8"]), "1 day 12:00:00");
        assert_eq!(run("=", &["1 month::interval", "30 days::interval"]), "t");
        assert_eq!(error("/", &["1 day::interval", "0::float8"]), "22012 division by zero");
    }

    #[test]
    fn fields_and_units() {
        assert_eq!(run("extract", &["year", "2024-02-29::date"]), "2024");
        assert_eq!(run("date_part", &["epoch", "1970-01-01 00:00:01.5::timestamp"]), "1.5");
        assert_eq!(run("date_trunc", &["hour", "2024-02-29 12:34:56::timestamp"]), "2024-02-29 12:00:00");
        assert_eq!(
            run("date_trunc", &["day", "2024-02-29 03:00:00+00::timestamptz", "America/New_York"]),
            "2024-02-28 05:00:00+00"
        );
        assert_eq!(run("date_bin", &["15 minutes", "2024-02-29 12:34:56::timestamp"]), "2024-02-29 12:30:00");
        assert_eq!(
            run("timezone", &["Europe/Berlin", "2024-07-01 12:00:00+00::timestamptz"]),
            "2024-07-01 14:00:00"
        );
        assert_eq!(error("extract", &["fortnight", "2024-02-29::date"])[..5], *"22023");
        assert_eq!(run("age", &["2024-03-01::timestamp", "2023-02-28::timestamp"]), "1 year 1 day");
    }

    #[test]
    fn strict_iso_timestamps() {
        let f = "try_parse_monotonic_iso8601_timestamp";
        assert_eq!(run(f, &["2024-02-29T12:34:56.789Z"]), "2024-02-29 12:34:56.789");
        assert_eq!(run(f, &["2024-02-29T12:34:56Z"]), "NULL");
        assert_eq!(run(f, &["2024-02-30T12:34:56.789Z"]), "NULL");
    }
}
