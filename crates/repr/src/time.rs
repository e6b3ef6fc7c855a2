//! Dates, times and intervals: the calendar, arithmetic, fields and text.
//!
//! | SQL | held as |
//! |---|---|
//! | `date` | `i32` days since 1970-01-01 |
//! | `time` | `i64` microseconds since midnight |
//! | `timestamp` | `i64` microseconds since 1970-01-01 00:00:00, of no zone |
//! | `timestamptz` | `i64` microseconds since 1970-01-01 00:00:00 UTC |
//! | `interval` | [`Interval`] |
//!
//! The calendar is the Gregorian one, also before it existed. Years are counted with a year 0, which is 1 BC. The
//! session's zone is always UTC, so arithmetic on `timestamptz` is that on `timestamp`, and one function serves both.
//! There are no infinite dates. Every function that can leave the range of its type says so with 22008.

mod format;
mod interval;
mod parse;
mod zone;

pub use format::{Format, interval_to_char, to_char, to_char_tz, to_date, to_timestamp};
pub use interval::{Interval, parse_interval, parse_interval_as};
pub use parse::{
    DAYS, MONTHS, parse_date, parse_monotonic_iso8601, parse_time, parse_timestamp, parse_timestamptz,
    try_parse_iso8601, try_parse_timestamptz,
};
pub use zone::{Zone, local_to_utc, utc_to_local};

use crate::error::code;
use crate::{EvalError, Numeric};

/// Microseconds of a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds of a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Microseconds of an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Microseconds of a day.
pub const DAY: i64 = 24 * HOUR;

/// The first date, 4714-11-24 BC: day 0 of the Julian count.
pub const MIN_DATE: i32 = -JULIAN_EPOCH as i32;
/// The last date, 5874897-12-31.
pub const MAX_DATE: i32 = days_of(5_874_897, 12, 31) as i32;
/// The first timestamp, at the start of [`MIN_DATE`].
pub const MIN_TIMESTAMP: i64 = MIN_DATE as i64 * DAY;
/// The last timestamp, at the end of the year 294246: the last whole year that 64 bits reach.
pub const MAX_TIMESTAMP: i64 = days_of(294_247, 1, 1) * DAY - 1;

/// The Julian day of 1970-01-01.
const JULIAN_EPOCH: i64 = 2_440_588;
/// Days from 1970-01-01 to 2000-01-01, where Postgres' binary forms start.
pub const POSTGRES_EPOCH_DAYS: i32 = 10_957;

/// Days since 1970-01-01 of a date; month 1 to 12, day from 1 (beyond the month's end counts on).
pub const fn days_of(year: i64, month: u32, day: u32) -> i64 {
    // Years from March, so that the leap day is the last of its year; 400 years are one period of the calendar.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let from_march = (month as i64 + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day as i64 - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
pub const fn date_of(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * from_march + 2) / 5 + 1) as u32;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 } as u32;
    (year + era * 400 + (month <= 2) as i64, month, day)
}

/// Days of a month.
pub const fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// 0 (Sunday) to 6.
fn weekday(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

/// The year and week by ISO 8601: weeks start on Monday and belong to the year of their Thursday.
fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - (days + 3).rem_euclid(7) + 3;
    let (year, _, _) = date_of(thursday);
    (year, (thursday - days_of(year, 1, 1)) / 7 + 1)
}

/// The Monday of week 1.
fn iso_year_start(year: i64) -> i64 {
    let fourth = days_of(year, 1, 4);
    fourth - (fourth + 3).rem_euclid(7)
}

pub(crate) fn timestamp_out_of_range() -> EvalError {
    EvalError::new(code::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

pub(crate) fn date_out_of_range() -> EvalError {
    EvalError::new(code::DATETIME_FIELD_OVERFLOW, "date out of range")
}

pub(crate) fn interval_out_of_range() -> EvalError {
    EvalError::new(code::DATETIME_FIELD_OVERFLOW, "interval out of range")
}

/// The timestamp, if it is one.
pub fn check_timestamp(micros: i128) -> Result<i64, EvalError> {
    match i64::try_from(micros) {
        Ok(t) if (MIN_TIMESTAMP..=MAX_TIMESTAMP).contains(&t) => Ok(t),
        _ => Err(timestamp_out_of_range()),
    }
}

/// The date, if it is one.
pub fn check_date(days: i64) -> Result<i32, EvalError> {
    match i32::try_from(days) {
        Ok(d) if (MIN_DATE..=MAX_DATE).contains(&d) => Ok(d),
        _ => Err(date_out_of_range()),
    }
}

/// Days since the epoch, and microseconds of the day.
fn split(t: i64) -> (i64, i64) {
    (t.div_euclid(DAY), t.rem_euclid(DAY))
}

// ---------------------------------------------------------------------------------------------------- conversions

/// Midnight of a date. Errors: 22008.
pub fn date_to_timestamp(date: i32) -> Result<i64, EvalError> {
    check_timestamp(i128::from(date) * i128::from(DAY))
        .map_err(|_| EvalError::new(code::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp"))
}

/// The date of a timestamp.
pub fn timestamp_to_date(t: i64) -> i32 {
    split(t).0 as i32
}

/// The time of day of a timestamp.
pub fn timestamp_to_time(t: i64) -> i64 {
    split(t).1
}

/// The time of day that an interval ends at, from midnight.
pub fn interval_to_time(i: Interval) -> i64 {
    i.micros.rem_euclid(DAY)
}

/// A time of day as an interval.
pub fn time_to_interval(time: i64) -> Interval {
    Interval { micros: time, ..Interval::default() }
}

/// Rounds to `precision` digits of a second's fraction, 0 to 6, halves away from 1970 (of no use beyond 6).
pub fn round_micros(t: i64, precision: u8) -> i64 {
    let step = 10i64.pow(6u32.saturating_sub(precision.into()));
    let rest = t % step;
    let towards_zero = t - rest;
    if rest.abs() * 2 >= step { towards_zero.saturating_add(step * rest.signum()) } else { towards_zero }
}

/// Rounds a timestamp to the precision of its type. Errors: 22008.
pub fn round_timestamp(t: i64, precision: u8) -> Result<i64, EvalError> {
    check_timestamp(round_micros(t, precision).into())
}

/// `to_timestamp(seconds)`: seconds since the Unix epoch. Errors: 22008.
pub fn timestamp_from_seconds(seconds: f64) -> Result<i64, EvalError> {
    let out =
        || EvalError::new(code::DATETIME_FIELD_OVERFLOW, format!("timestamp out of range: \"{seconds}\""));
    let micros = seconds * SECOND as f64;
    // Also false for NaN. The float nearest to the greatest i64 is one more than that.
    if !(micros >= MIN_TIMESTAMP as f64 && micros < MAX_TIMESTAMP as f64) {
        return Err(out());
    }
    Ok(micros.round_ties_even() as i64)
}

/// A timestamp from milliseconds since the Unix epoch, as the engine's clock counts. Errors: 22008.
pub fn timestamp_from_millis(millis: u64) -> Result<i64, EvalError> {
    check_timestamp(i128::from(millis) * 1000)
}

/// `make_date`; `year` is negative for BC. Errors: 22008.
pub fn make_date(year: i32, month: i32, day: i32) -> Result<i32, EvalError> {
    let out = || {
        let message = format!("date field value out of range: {year}-{month:02}-{day:02}");
        EvalError::new(code::DATETIME_FIELD_OVERFLOW, message)
    };
    let y = if year < 0 { i64::from(year) + 1 } else { i64::from(year) };
    if year == 0 || !(1..=12).contains(&month) || day < 1 || day as u32 > days_in_month(y, month as u32) {
        return Err(out());
    }
    check_date(days_of(y, month as u32, day as u32)).map_err(|_| out())
}

/// `make_time`. Errors: 22008.
pub fn make_time(hour: i32, minute: i32, second: f64) -> Result<i64, EvalError> {
    let whole_day = hour == 24 && minute == 0 && second == 0.0;
    let valid = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60.0).contains(&second);
    if !valid && !whole_day {
        let message = format!("time field value out of range: {hour}:{minute:02}:{second:02}");
        return Err(EvalError::new(code::DATETIME_FIELD_OVERFLOW, message));
    }
    let micros = (second * SECOND as f64).round_ties_even() as i64;
    Ok(i64::from(hour) * HOUR + i64::from(minute) * MINUTE + micros)
}

/// `make_timestamp`. Errors: 22008.
pub fn make_timestamp(
    year: i32,
    month: i32,
    day: i32,
    hour: i32,
    minute: i32,
    second: f64,
) -> Result<i64, EvalError> {
    let date = make_date(year, month, day)?;
    date_time_to_timestamp(date, make_time(hour, minute, second)?)
}

/// The timestamp of a date and a time of day, SQL's `date + time`. Errors: 22008.
pub fn date_time_to_timestamp(date: i32, time: i64) -> Result<i64, EvalError> {
    check_timestamp(i128::from(date) * i128::from(DAY) + i128::from(time))
}

// ----------------------------------------------------------------------------------------------------- arithmetic

/// `timestamp + interval`: months first, where a day beyond the month's end becomes its last day, then days, then time.
/// Errors: 22008.
pub fn timestamp_add(t: i64, i: Interval) -> Result<i64, EvalError> {
    add_parts(t, i.months.into(), i.days.into(), i.micros.into())
}

/// `timestamp - interval`. Errors: 22008.
pub fn timestamp_sub_interval(t: i64, i: Interval) -> Result<i64, EvalError> {
    add_parts(t, -i64::from(i.months), -i64::from(i.days), -i128::from(i.micros))
}

fn add_parts(t: i64, months: i64, days: i64, micros: i128) -> Result<i64, EvalError> {
    let mut t = i128::from(t);
    if months != 0 {
        let (day, time) = split(t as i64);
        t = i128::from(add_months(day, months)) * i128::from(DAY) + i128::from(time);
        check_timestamp(t)?;
    }
    if days != 0 {
        t += i128::from(days) * i128::from(DAY);
        check_timestamp(t)?;
    }
    check_timestamp(t + micros)
}

fn add_months(days: i64, months: i64) -> i64 {
    let (year, month, day) = date_of(days);
    let total = year * 12 + i64::from(month) - 1 + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
    days_of(year, month, day.min(days_in_month(year, month)))
}

/// `timestamp - timestamp`: days and time, both of the difference's sign.
pub fn timestamp_sub(a: i64, b: i64) -> Interval {
    let micros = i128::from(a) - i128::from(b);
    let day = i128::from(DAY);
    Interval { months: 0, days: (micros / day) as i32, micros: (micros % day) as i64 }
}

/// `date + integer`. Errors: 22008.
pub fn date_add(date: i32, days: i32) -> Result<i32, EvalError> {
    check_date(i64::from(date) + i64::from(days))
}

/// `date - integer`. Errors: 22008.
pub fn date_sub_days(date: i32, days: i32) -> Result<i32, EvalError> {
    check_date(i64::from(date) - i64::from(days))
}

/// `date - date`, in days.
pub fn date_sub(a: i32, b: i32) -> i32 {
    // The range of dates is less than 2^31 days long.
    a.wrapping_sub(b)
}

/// `date + interval`, which is a timestamp. Errors: 22008.
pub fn date_add_interval(date: i32, i: Interval) -> Result<i64, EvalError> {
    timestamp_add(date_to_timestamp(date)?, i)
}

/// `date - interval`, which is a timestamp. Errors: 22008.
pub fn date_sub_interval(date: i32, i: Interval) -> Result<i64, EvalError> {
    timestamp_sub_interval(date_to_timestamp(date)?, i)
}

/// `time + interval`, around midnight.
pub fn time_add(time: i64, i: Interval) -> i64 {
    (time + i.micros % DAY).rem_euclid(DAY)
}

/// `time - interval`, around midnight.
pub fn time_sub_interval(time: i64, i: Interval) -> i64 {
    (time - i.micros % DAY).rem_euclid(DAY)
}

/// `time - time`.
pub fn time_sub(a: i64, b: i64) -> Interval {
    Interval { micros: a - b, ..Interval::default() }
}

/// `age(a, b)`: years, months and days by the calendar rather than by length.
pub fn age(a: i64, b: i64) -> Interval {
    if a < b {
        return age_between(b, a, a).neg_wrapping();
    }
    age_between(a, b, b)
}

/// The age at `late` since `early`; a month borrowed has the length of `borrow`'s month, which Postgres takes from the
/// second argument, or from the first if that is the earlier.
fn age_between(late: i64, early: i64, borrow: i64) -> Interval {
    let ((d1, t1), (d2, t2)) = (split(late), split(early));
    let ((y1, m1, day1), (y2, m2, day2)) = (date_of(d1), date_of(d2));
    let mut micros = t1 - t2;
    let mut days = i64::from(day1) - i64::from(day2);
    let mut months = (y1 - y2) * 12 + i64::from(m1) - i64::from(m2);
    if micros < 0 {
        micros += DAY;
        days -= 1;
    }
    let (by, bm, _) = date_of(split(borrow).0);
    while days < 0 {
        days += i64::from(days_in_month(by, bm));
        months -= 1;
    }
    Interval { months: months as i32, days: days as i32, micros }
}

/// `date_bin(stride, t, origin)`: the start of the bin that `t` is in. Errors: 0A000 for strides with months, 22008 for
/// strides that are not positive.
pub fn date_bin(stride: Interval, t: i64, origin: i64) -> Result<i64, EvalError> {
    if stride.months != 0 {
        let message = "timestamps cannot be binned into intervals containing months or years";
        return Err(EvalError::new(code::FEATURE_NOT_SUPPORTED, message));
    }
    let step = i128::from(stride.days) * i128::from(DAY) + i128::from(stride.micros);
    if step <= 0 {
        return Err(EvalError::new(code::DATETIME_FIELD_OVERFLOW, "stride must be greater than zero"));
    }
    if step > i128::from(i64::MAX) {
        return Err(interval_out_of_range());
    }
    let from_origin = i128::from(t) - i128::from(origin);
    check_timestamp(i128::from(origin) + from_origin.div_euclid(step) * step)
}

// --------------------------------------------------------------------------------------------------------- fields

/// A field of `extract`, `date_part` and `date_trunc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum Unit {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    IsoYear,
    Julian,
    Epoch,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

/// The type whose fields are asked for; decides which there are, and what errors call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum Fielded {
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
}

impl Fielded {
    fn name(self) -> &'static str {
        match self {
            Fielded::Date => "date",
            Fielded::Time => "time without time zone",
            Fielded::Timestamp => "timestamp without time zone",
            Fielded::TimestampTz => "timestamp with time zone",
            Fielded::Interval => "interval",
        }
    }
}

impl Unit {
    /// The unit with this name, in any case, or one of Postgres' abbreviations.
    ///
    /// Errors: 22023. `of` is only for the message.
    pub fn parse(name: &str, of: Fielded) -> Result<Unit, EvalError> {
        use Unit::*;
        let lower = name.to_ascii_lowercase();
        let calendar = match lower.as_str() {
            "dow" => Some(DayOfWeek),
            "isodow" => Some(IsoDayOfWeek),
            "doy" => Some(DayOfYear),
            "isoyear" => Some(IsoYear),
            "julian" | "jd" | "j" => Some(Julian),
            "epoch" => Some(Epoch),
            "quarter" | "qtr" => Some(Quarter),
            "timezone" => Some(Timezone),
            "timezone_hour" | "timezone_h" => Some(TimezoneHour),
            "timezone_minute" | "timezone_m" => Some(TimezoneMinute),
            _ => Unit::of_length(&lower),
        };
        calendar.ok_or_else(|| {
            let message = format!("unit \"{lower}\" not recognized for type {}", of.name());
            EvalError::new(code::INVALID_PARAMETER_VALUE, message)
        })
    }

    /// The units that intervals are written in; `name` in lower case.
    pub(crate) fn of_length(name: &str) -> Option<Unit> {
        use Unit::*;
        Some(match name {
            "microsecond" | "microseconds" | "microsecon" | "us" | "usec" | "usecs" | "usecond"
            | "useconds" => Microseconds,
            "millisecond" | "milliseconds" | "millisecon" | "ms" | "msec" | "msecs" | "msecond"
            | "mseconds" => Milliseconds,
            "second" | "seconds" | "s" | "sec" | "secs" => Second,
            "minute" | "minutes" | "m" | "min" | "mins" => Minute,
            "hour" | "hours" | "h" | "hr" | "hrs" => Hour,
            "day" | "days" | "d" => Day,
            "week" | "weeks" | "w" => Week,
            "month" | "months" | "mon" | "mons" => Month,
            "year" | "years" | "y" | "yr" | "yrs" => Year,
            "decade" | "decades" | "dec" | "decs" => Decade,
            "century" | "centuries" | "c" | "cent" => Century,
            "millennium" | "millennia" | "mil" | "mils" => Millennium,
            _ => return None,
        })
    }

    /// The name as errors and `EXPLAIN` print it.
    pub fn name(self) -> &'static str {
        use Unit::*;
        match self {
            Microseconds => "microseconds",
            Milliseconds => "milliseconds",
            Second => "second",
            Minute => "minute",
            Hour => "hour",
            Day => "day",
            Week => "week",
            Month => "month",
            Quarter => "quarter",
            Year => "year",
            Decade => "decade",
            Century => "century",
            Millennium => "millennium",
            DayOfWeek => "dow",
            IsoDayOfWeek => "isodow",
            DayOfYear => "doy",
            IsoYear => "isoyear",
            Julian => "julian",
            Epoch => "epoch",
            Timezone => "timezone",
            TimezoneHour => "timezone_hour",
            TimezoneMinute => "timezone_minute",
        }
    }

    /// For functions that need a length. Only zones count as known there.
    fn no_length(self, of: Fielded) -> EvalError {
        match self {
            Unit::Timezone | Unit::TimezoneHour | Unit::TimezoneMinute => self.unsupported(of),
            _ => {
                let message = format!("unit \"{}\" not recognized for type {}", self.name(), of.name());
                EvalError::new(code::INVALID_PARAMETER_VALUE, message)
            }
        }
    }

    fn unsupported(self, of: Fielded) -> EvalError {
        let message = format!("unit \"{}\" not supported for type {}", self.name(), of.name());
        EvalError::new(code::FEATURE_NOT_SUPPORTED, message)
    }
}

/// The year as people count it: there is no year 0.
fn year_shown(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

/// The fields that a date has: everything of a day and longer. None for shorter ones and zones.
fn date_field(unit: Unit, days: i64) -> Option<i64> {
    use Unit::*;
    let (year, month, day) = date_of(days);
    Some(match unit {
        Day => day.into(),
        Month => month.into(),
        Quarter => i64::from(month - 1) / 3 + 1,
        Year => year_shown(year),
        // Decades count from year 0; centuries and millennia from year 1.
        Decade => year.div_euclid(10),
        Century if year > 0 => (year + 99) / 100,
        Century => -((100 - year) / 100),
        Millennium if year > 0 => (year + 999) / 1000,
        Millennium => -((1000 - year) / 1000),
        DayOfWeek => weekday(days),
        IsoDayOfWeek => (days + 3).rem_euclid(7) + 1,
        DayOfYear => days - days_of(year, 1, 1) + 1,
        IsoYear => year_shown(iso_week(days).0),
        Week => iso_week(days).1,
        Julian => days + JULIAN_EPOCH,
        _ => return None,
    })
}

/// The fields that a time of day has.
fn time_field(unit: Unit, time: i64) -> Option<Numeric> {
    use Unit::*;
    Some(match unit {
        Microseconds => Numeric::from_i64(time % MINUTE),
        Milliseconds => Numeric::from_fixed((time % MINUTE).into(), 3),
        Second => Numeric::from_fixed((time % MINUTE).into(), 6),
        Minute => Numeric::from_i64(time / MINUTE % 60),
        Hour => Numeric::from_i64(time / HOUR),
        _ => return None,
    })
}

/// `extract(unit from date)`. Errors: 0A000 for units shorter than a day.
pub fn extract_date(unit: Unit, date: i32) -> Result<Numeric, EvalError> {
    match unit {
        Unit::Epoch => Ok(Numeric::from_i64(i64::from(date) * 86_400)),
        _ => date_field(unit, date.into())
            .map(Numeric::from_i64)
            .ok_or_else(|| unit.unsupported(Fielded::Date)),
    }
}

/// `extract(unit from time)`. Errors: 0A000 for units of a day and longer.
pub fn extract_time(unit: Unit, time: i64) -> Result<Numeric, EvalError> {
    match unit {
        Unit::Epoch => Ok(Numeric::from_fixed(time.into(), 6)),
        _ => time_field(unit, time).ok_or_else(|| unit.unsupported(Fielded::Time)),
    }
}

/// `extract(unit from timestamp)`. Errors: 0A000 for zones.
pub fn extract_timestamp(unit: Unit, t: i64) -> Result<Numeric, EvalError> {
    let (days, time) = split(t);
    match unit {
        Unit::Epoch => Ok(Numeric::from_fixed(t.into(), 6)),
        Unit::Julian => {
            let fraction = Numeric::from_i64(time).div(Numeric::from_i64(DAY))?;
            Numeric::from_i64(days + JULIAN_EPOCH).add(fraction)
        }
        _ => time_field(unit, time)
            .or_else(|| date_field(unit, days).map(Numeric::from_i64))
            .ok_or_else(|| unit.unsupported(Fielded::Timestamp)),
    }
}

/// `extract(unit from timestamptz)`; the zone is UTC.
pub fn extract_timestamptz(unit: Unit, t: i64) -> Result<Numeric, EvalError> {
    match unit {
        Unit::Timezone | Unit::TimezoneHour | Unit::TimezoneMinute => Ok(Numeric::ZERO),
        _ => extract_timestamp(unit, t),
    }
}

/// `extract(unit from interval)`. Hours are not cut at a day. Errors: 0A000 for units of the calendar.
pub fn extract_interval(unit: Unit, i: Interval) -> Result<Numeric, EvalError> {
    use Unit::*;
    let (years, months) = (i64::from(i.months) / 12, i64::from(i.months) % 12);
    let n = match unit {
        Microseconds | Milliseconds | Second => {
            return time_field(unit, i.micros).ok_or_else(|| unit.unsupported(Fielded::Interval));
        }
        Minute => i.micros / MINUTE % 60,
        Hour => i.micros / HOUR,
        Day => i.days.into(),
        Month => months,
        Quarter => months / 3 + 1,
        Year => years,
        Decade => years / 10,
        Century => years / 100,
        Millennium => years / 1000,
        Epoch => {
            // A year counts 365.25 days here, a month 30.
            let days = i128::from(years) * 36_525 + i128::from(months) * 3_000 + i128::from(i.days) * 100;
            return Ok(Numeric::from_fixed(days * 864_000_000 + i128::from(i.micros), 6));
        }
        _ => return Err(unit.unsupported(Fielded::Interval)),
    };
    Ok(Numeric::from_i64(n))
}

/// `date_trunc(unit, timestamp)`. Errors: 22023 for units that are no length, 22008.
pub fn date_trunc(unit: Unit, t: i64) -> Result<i64, EvalError> {
    truncated(unit, t, Fielded::Timestamp)
}

fn truncated(unit: Unit, t: i64, of: Fielded) -> Result<i64, EvalError> {
    use Unit::*;
    let (days, time) = split(t);
    let midnight = days * DAY;
    let day = match unit {
        Microseconds => return Ok(t),
        Milliseconds => return Ok(midnight + time / 1000 * 1000),
        Second => return Ok(midnight + time / SECOND * SECOND),
        Minute => return Ok(midnight + time / MINUTE * MINUTE),
        Hour => return Ok(midnight + time / HOUR * HOUR),
        Day => days,
        Week => days - (days + 3).rem_euclid(7),
        Month | Quarter | Year | Decade | Century | Millennium => {
            let (year, month, _) = date_of(days);
            let (year, month) = match unit {
                Month => (year, month),
                Quarter => (year, (month - 1) / 3 * 3 + 1),
                Decade => (year.div_euclid(10) * 10, 1),
                // The first century starts with year 1, and so does every other with a year that ends in 01.
                Century => ((year - 1).div_euclid(100) * 100 + 1, 1),
                Millennium => ((year - 1).div_euclid(1000) * 1000 + 1, 1),
                _ => (year, 1),
            };
            days_of(year, month, 1)
        }
        _ => return Err(unit.no_length(of)),
    };
    check_timestamp(i128::from(day) * i128::from(DAY))
}

/// `date_trunc(unit, timestamptz, zone)`: by the clocks of a zone.
pub fn date_trunc_in(unit: Unit, t: i64, zone: Zone) -> Result<i64, EvalError> {
    local_to_utc(truncated(unit, utc_to_local(t, zone)?, Fielded::TimestampTz)?, zone)
}

/// `date_trunc(unit, interval)`. Errors: 0A000 for weeks, 22023 for units that are no length.
pub fn date_trunc_interval(unit: Unit, i: Interval) -> Result<Interval, EvalError> {
    use Unit::*;
    let micros = |step: i64| Interval { micros: i.micros / step * step, ..i };
    let months = |step: i32| Interval { months: i.months / step * step, days: 0, micros: 0 };
    Ok(match unit {
        Microseconds => i,
        Milliseconds => micros(1000),
        Second => micros(SECOND),
        Minute => micros(MINUTE),
        Hour => micros(HOUR),
        Day => Interval { micros: 0, ..i },
        Month => months(1),
        Quarter => months(3),
        Year => months(12),
        Decade => months(120),
        Century => months(1200),
        Millennium => months(12_000),
        Week => return Err(unit.unsupported(Fielded::Interval)),
        _ => return Err(unit.no_length(Fielded::Interval)),
    })
}

/// `datediff(unit, a, b)`: how many boundaries of the unit lie between, negative if `b` is earlier. Errors: 22023 for
/// units that are no length.
pub fn date_diff(unit: Unit, a: i64, b: i64) -> Result<i64, EvalError> {
    use Unit::*;
    let per = |step: i64| b.div_euclid(step) - a.div_euclid(step);
    let ((year_a, month_a, _), (year_b, month_b, _)) = (date_of(split(a).0), date_of(split(b).0));
    let years = |n: i64| (year_b - 1).div_euclid(n) - (year_a - 1).div_euclid(n);
    let months = |y: i64, m: u32, n: i64| (y * 12 + i64::from(m) - 1).div_euclid(n);
    Ok(match unit {
        Microseconds => b.checked_sub(a).ok_or_else(timestamp_out_of_range)?,
        Milliseconds => per(1000),
        Second => per(SECOND),
        Minute => per(MINUTE),
        Hour => per(HOUR),
        Day => per(DAY),
        // Weeks start on Sunday here.
        Week => (split(b).0 + 4).div_euclid(7) - (split(a).0 + 4).div_euclid(7),
        Month => months(year_b, month_b, 1) - months(year_a, month_a, 1),
        Quarter => months(year_b, month_b, 3) - months(year_a, month_a, 3),
        Year => year_b - year_a,
        Decade => year_b.div_euclid(10) - year_a.div_euclid(10),
        Century => years(100),
        Millennium => years(1000),
        _ => return Err(unit.no_length(Fielded::Timestamp)),
    })
}

// ----------------------------------------------------------------------------------------------------------- text

/// Two digits.
fn put2(n: u32, out: &mut String) {
    out.push(char::from(b'0' + (n / 10 % 10) as u8));
    out.push(char::from(b'0' + (n % 10) as u8));
}

/// Appends `year-month-day` with the year as people count it; true: BC.
fn put_date(days: i64, out: &mut String) -> bool {
    use std::fmt::Write;
    let (year, month, day) = date_of(days);
    let shown = if year > 0 { year } else { 1 - year };
    if shown <= 9999 {
        put2(shown as u32 / 100, out);
        put2(shown as u32 % 100, out);
    } else {
        write!(out, "{shown}").expect("strings take everything");
    }
    out.push('-');
    put2(month, out);
    out.push('-');
    put2(day, out);
    year <= 0
}

/// Appends `hh:mm:ss` and the fraction without trailing zeros.
pub fn print_time(time: i64, out: &mut String) {
    put2((time / HOUR) as u32, out);
    out.push(':');
    put2((time / MINUTE % 60) as u32, out);
    out.push(':');
    put2((time / SECOND % 60) as u32, out);
    put_fraction((time % SECOND) as u32, out);
}

/// Appends a point and six digits of microseconds without trailing zeros; nothing for 0.
fn put_fraction(mut micros: u32, out: &mut String) {
    if micros != 0 {
        out.push('.');
        while micros != 0 {
            out.push(char::from(b'0' + (micros / 100_000) as u8));
            micros = micros % 100_000 * 10;
        }
    }
}

/// Appends a date: `2024-02-29`, `0044-03-15 BC`.
pub fn print_date(date: i32, out: &mut String) {
    if put_date(date.into(), out) {
        out.push_str(" BC");
    }
}

/// Appends a timestamp: `2024-02-29 23:59:59.5`.
pub fn print_timestamp(t: i64, out: &mut String) {
    let (days, time) = split(t);
    let bc = put_date(days, out);
    out.push(' ');
    print_time(time, out);
    if bc {
        out.push_str(" BC");
    }
}

/// Appends a timestamp in UTC: `2024-02-29 23:59:59.5+00`.
pub fn print_timestamptz(t: i64, out: &mut String) {
    let (days, time) = split(t);
    let bc = put_date(days, out);
    out.push(' ');
    print_time(time, out);
    out.push_str("+00");
    if bc {
        out.push_str(" BC");
    }
}

#[cfg(test)]
mod tests;
