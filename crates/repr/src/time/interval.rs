//! Spans of time: their parts, order, arithmetic and text.

use std::fmt;

use super::{DAY, HOUR, MINUTE, SECOND, Unit, interval_out_of_range};
use crate::EvalError;
use crate::error::{SqlState, code};

/// A span of time in Postgres' three parts, which do not convert into each other exactly.
///
/// A row keeps the parts as they are, since `1 month` and `30 days` print and add differently. So rows tell apart what
/// SQL's `=` finds equal, and `Eq` and `Ord` follow the rows: by [`Interval::length`], and parts decide between
/// intervals of one length. SQL's comparison operators compare lengths ([`Interval::cmp_length`]); `GROUP BY`,
/// `DISTINCT` and joins keep `1 month` and `30 days` apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interval {
    /// Calendar months.
    pub months: i32,
    /// Days, of 24 hours except where a zone says otherwise.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

#[allow(clippy::should_implement_trait, reason = "these can fail, and operators cannot")]
impl Interval {
    /// Months, days, microseconds, little endian.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut b = [0; 16];
        b[..4].copy_from_slice(&self.months.to_le_bytes());
        b[4..8].copy_from_slice(&self.days.to_le_bytes());
        b[8..].copy_from_slice(&self.micros.to_le_bytes());
        b
    }

    /// Reads [`Interval::to_bytes`].
    pub fn from_bytes(b: [u8; 16]) -> Interval {
        let [m, d] = [&b[..4], &b[4..8]].map(|x| i32::from_le_bytes(x.try_into().expect("four bytes")));
        Interval { months: m, days: d, micros: i64::from_le_bytes(b[8..].try_into().expect("eight bytes")) }
    }

    /// What SQL compares by: microseconds, with months of 30 days of 24 hours.
    pub fn length(self) -> i128 {
        (i128::from(self.months) * 30 + i128::from(self.days)) * i128::from(DAY) + i128::from(self.micros)
    }

    /// SQL's comparison, for which `1 month` and `30 days` are equal.
    pub fn cmp_length(self, other: Interval) -> std::cmp::Ordering {
        self.length().cmp(&other.length())
    }

    /// The sum of each part. Errors: 22008.
    pub fn add(self, other: Interval) -> Result<Interval, EvalError> {
        let sum = || {
            Some(Interval {
                months: self.months.checked_add(other.months)?,
                days: self.days.checked_add(other.days)?,
                micros: self.micros.checked_add(other.micros)?,
            })
        };
        sum().ok_or_else(interval_out_of_range)
    }

    /// The difference of each part. Errors: 22008.
    pub fn sub(self, other: Interval) -> Result<Interval, EvalError> {
        let difference = || {
            Some(Interval {
                months: self.months.checked_sub(other.months)?,
                days: self.days.checked_sub(other.days)?,
                micros: self.micros.checked_sub(other.micros)?,
            })
        };
        difference().ok_or_else(interval_out_of_range)
    }

    /// The negative of each part. Errors: 22008.
    pub fn neg(self) -> Result<Interval, EvalError> {
        Interval::default().sub(self)
    }

    /// The negative of an interval that is known to be far from the limits.
    pub(super) fn neg_wrapping(self) -> Interval {
        Interval {
            months: self.months.wrapping_neg(),
            days: self.days.wrapping_neg(),
            micros: self.micros.wrapping_neg(),
        }
    }

    /// Times a factor. Fractions of months become days, and fractions of days become time. Errors: 22008.
    pub fn mul(self, factor: f64) -> Result<Interval, EvalError> {
        self.scaled(|x| x * factor)
    }

    /// Divided by a number, with fractions as for [`Interval::mul`]. Errors: 22012, 22008.
    pub fn div(self, divisor: f64) -> Result<Interval, EvalError> {
        if divisor == 0.0 {
            return Err(EvalError::new(code::DIVISION_BY_ZERO, "division by zero"));
        }
        self.scaled(|x| x / divisor)
    }

    fn scaled(self, scale: impl Fn(f64) -> f64) -> Result<Interval, EvalError> {
        // Floats leave dust below a microsecond, which must not reach the next part.
        let clean = |seconds: f64| (seconds * 1e6).round_ties_even() / 1e6;
        let (months, days) = (scale(self.months.into()), scale(self.days.into()));
        let months_left = clean((months - months.trunc()) * 30.0);
        let mut seconds = clean((days - days.trunc() + months_left - months_left.trunc()) * 86_400.0);
        let mut whole_days = days.trunc() + months_left.trunc();
        if seconds.abs() >= 86_400.0 {
            let more = (seconds / 86_400.0).trunc();
            whole_days += more;
            seconds -= more * 86_400.0;
        }
        let micros = (scale(self.micros as f64) + seconds * 1e6).round_ties_even();
        Ok(Interval { months: to_i32(months.trunc())?, days: to_i32(whole_days)?, micros: to_i64(micros)? })
    }

    /// `justify_hours`: 24 hours become a day. Errors: 22008.
    pub fn justify_hours(self) -> Result<Interval, EvalError> {
        let mut days = i64::from(self.days) + self.micros / DAY;
        let mut micros = self.micros % DAY;
        if days > 0 && micros < 0 {
            micros += DAY;
            days -= 1;
        } else if days < 0 && micros > 0 {
            micros -= DAY;
            days += 1;
        }
        Ok(Interval { days: days.try_into().map_err(|_| interval_out_of_range())?, micros, ..self })
    }

    /// `justify_days`: 30 days become a month. Errors: 22008.
    pub fn justify_days(self) -> Result<Interval, EvalError> {
        let mut months = i64::from(self.months) + i64::from(self.days / 30);
        let mut days = self.days % 30;
        if months > 0 && days < 0 {
            days += 30;
            months -= 1;
        } else if months < 0 && days > 0 {
            days -= 30;
            months += 1;
        }
        Ok(Interval { months: months.try_into().map_err(|_| interval_out_of_range())?, days, ..self })
    }

    /// `justify_interval`: both, and all parts of one sign. Errors: 22008.
    pub fn justify_interval(self) -> Result<Interval, EvalError> {
        // All in one number and apart again gives every part the sign of the whole.
        let total = self.length();
        let (day, month) = (i128::from(DAY), i128::from(DAY) * 30);
        Ok(Interval {
            months: i32::try_from(total / month).map_err(|_| interval_out_of_range())?,
            days: (total % month / day) as i32,
            micros: (total % day) as i64,
        })
    }

    /// `make_interval`. Errors: 22008.
    pub fn make(
        years: i32,
        months: i32,
        weeks: i32,
        days: i32,
        hours: i32,
        minutes: i32,
        seconds: f64,
    ) -> Result<Interval, EvalError> {
        let months = i64::from(years) * 12 + i64::from(months);
        let days = i64::from(weeks) * 7 + i64::from(days);
        let micros = i64::from(hours) * HOUR + i64::from(minutes) * MINUTE;
        let seconds = to_i64((seconds * 1e6).round_ties_even())?;
        Ok(Interval {
            months: months.try_into().map_err(|_| interval_out_of_range())?,
            days: days.try_into().map_err(|_| interval_out_of_range())?,
            micros: micros.checked_add(seconds).ok_or_else(interval_out_of_range)?,
        })
    }

    /// Rounds the seconds to `precision` digits, 0 to 6.
    pub fn round(self, precision: u8) -> Interval {
        Interval { micros: super::round_micros(self.micros, precision), ..self }
    }

    /// Appends the text: `1 year 2 months 3 days 04:05:06.789`, `-1 days +02:03:00`, `00:00:00`.
    pub fn print(self, out: &mut String) {
        use fmt::Write;
        let start = out.len();
        let mut negative = false;
        let parts = [(self.months / 12, "year"), (self.months % 12, "month"), (self.days, "day")];
        for (n, name) in parts {
            if n == 0 {
                continue;
            }
            if out.len() > start {
                out.push(' ');
            }
            // A part that changes the sign says so.
            let plus = if negative && n > 0 { "+" } else { "" };
            write!(out, "{plus}{n} {name}{}", if n == 1 { "" } else { "s" })
                .expect("strings take everything");
            negative = n < 0;
        }
        if self.micros == 0 && out.len() > start {
            return;
        }
        if out.len() > start {
            out.push(' ');
        }
        match self.micros {
            n if n < 0 => out.push('-'),
            _ if negative => out.push('+'),
            _ => {}
        }
        let micros = self.micros.unsigned_abs();
        let (hour, minute) = (micros / HOUR as u64, micros / MINUTE as u64 % 60);
        write!(out, "{hour:02}:{minute:02}:{:02}", micros / SECOND as u64 % 60)
            .expect("strings take everything");
        super::put_fraction((micros % SECOND as u64) as u32, out);
    }
}

fn to_i32(x: f64) -> Result<i32, EvalError> {
    if x >= i32::MIN.into() && x <= i32::MAX.into() { Ok(x as i32) } else { Err(interval_out_of_range()) }
}

fn to_i64(x: f64) -> Result<i64, EvalError> {
    // The float nearest to the greatest i64 is one more than that.
    if x >= i64::MIN as f64 && x < i64::MAX as f64 { Ok(x as i64) } else { Err(interval_out_of_range()) }
}

impl Ord for Interval {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.cmp_length(*other).then_with(|| (self.months, self.days).cmp(&(other.months, other.days)))
    }
}
impl PartialOrd for Interval {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = String::new();
        self.print(&mut s);
        f.write_str(&s)
    }
}

/// Reads an interval: `1 year 2 mons -3 days 04:05:06.789`, `1.5h ago`, `1-2 3 04:05:06`, `P1Y2M3DT4H5M6S`. A number
/// without a unit is seconds.
///
/// Errors: 22007 on syntax, 22015 out of range.
pub fn parse_interval(text: &str) -> Result<Interval, EvalError> {
    parse_interval_as(text, Unit::Second)
}

/// As [`parse_interval`], where a number without a unit at the end means `unit`, as in `INTERVAL '1' DAY`.
pub fn parse_interval_as(text: &str, unit: Unit) -> Result<Interval, EvalError> {
    let mut sum = Sum::default();
    let trimmed = text.trim();
    let read = match trimmed.strip_prefix('P') {
        Some(rest) => iso8601(rest, &mut sum),
        None => verbose(trimmed, unit, &mut sum),
    };
    match read.and_then(|()| sum.finish()) {
        Ok(interval) => Ok(interval),
        Err(Fault::Syntax) => {
            let message = format!("invalid input syntax for type interval: \"{text}\"");
            Err(EvalError::new(code::INVALID_DATETIME_FORMAT, message))
        }
        Err(Fault::Range) => {
            let message = format!("interval field value out of range: \"{text}\"");
            Err(EvalError::new(INTERVAL_FIELD_OVERFLOW, message))
        }
    }
}

const INTERVAL_FIELD_OVERFLOW: SqlState = SqlState::new("22015");

enum Fault {
    Syntax,
    Range,
}

/// What was read so far; wide enough that only the end need check.
#[derive(Clone, Copy, Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

impl Sum {
    /// Adds `n` units, whose fraction goes to the shorter parts.
    fn add(&mut self, n: Number, unit: Unit) {
        let (whole, fraction) = (i128::from(n.whole), n.fraction);
        let months = |sum: &mut Sum, per: i128| {
            sum.months += whole * per + (fraction * per as f64).round_ties_even() as i128;
        };
        let days = |sum: &mut Sum, whole_days: i128, fraction: f64| {
            sum.days += whole_days + fraction.trunc() as i128;
            sum.micros += (fraction.fract() * DAY as f64).round_ties_even() as i128;
        };
        let micros = |sum: &mut Sum, per: i64| {
            sum.micros += whole * i128::from(per) + (fraction * per as f64).round_ties_even() as i128;
        };
        match unit {
            Unit::Millennium => months(self, 12_000),
            Unit::Century => months(self, 1200),
            Unit::Decade => months(self, 120),
            Unit::Year => months(self, 12),
            Unit::Month => {
                self.months += whole;
                days(self, 0, fraction * 30.0);
            }
            Unit::Week => days(self, whole * 7, fraction * 7.0),
            Unit::Day => days(self, whole, fraction),
            Unit::Hour => micros(self, HOUR),
            Unit::Minute => micros(self, MINUTE),
            Unit::Milliseconds => micros(self, 1000),
            Unit::Microseconds => micros(self, 1),
            _ => micros(self, SECOND),
        }
    }

    fn finish(self) -> Result<Interval, Fault> {
        Ok(Interval {
            months: self.months.try_into().map_err(|_| Fault::Range)?,
            days: self.days.try_into().map_err(|_| Fault::Range)?,
            micros: self.micros.try_into().map_err(|_| Fault::Range)?,
        })
    }
}

/// A signed decimal in two parts of the same sign.
#[derive(Clone, Copy)]
struct Number {
    whole: i64,
    fraction: f64,
}

/// Takes a sign.
fn take_sign(s: &mut &str) -> Option<bool> {
    let sign = match s.as_bytes().first()? {
        b'-' => true,
        b'+' => false,
        _ => return None,
    };
    *s = &s[1..];
    Some(sign)
}

/// Takes the digits at the front.
fn take_digits<'a>(s: &mut &'a str) -> &'a str {
    let end = s.bytes().take_while(u8::is_ascii_digit).count();
    let (head, tail) = s.split_at(end);
    *s = tail;
    head
}

/// Takes digits with an optional fraction; the sign was taken before.
fn take_number(s: &mut &str, negative: bool) -> Result<Number, Fault> {
    let whole = take_digits(s);
    let mut fraction = "";
    if let Some(rest) = s.strip_prefix('.') {
        *s = rest;
        fraction = take_digits(s);
    }
    if whole.is_empty() && fraction.is_empty() {
        return Err(Fault::Syntax);
    }
    let mut n: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| Fault::Range)? };
    let mut f: f64 =
        if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().map_err(|_| Fault::Syntax)? };
    if negative {
        (n, f) = (-n, -f);
    }
    Ok(Number { whole: n, fraction: f })
}

fn verbose(text: &str, default_unit: Unit, sum: &mut Sum) -> Result<(), Fault> {
    let mut s = text.trim_start_matches(|c: char| c == '@' || c.is_ascii_whitespace());
    if s.is_empty() {
        return Err(Fault::Syntax);
    }
    let mut seen = false;
    let mut pending: Option<Number> = None;
    let mut ago = false;
    loop {
        s = s.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        let Some(first) = s.chars().next() else { break };
        if first.is_ascii_alphabetic() {
            let end = s.bytes().take_while(u8::is_ascii_alphabetic).count();
            let word = s[..end].to_ascii_lowercase();
            s = &s[end..];
            match pending.take() {
                Some(n) => sum.add(n, Unit::of_length(&word).ok_or(Fault::Syntax)?),
                None if word == "ago" && seen && s.trim().is_empty() => ago = true,
                None => return Err(Fault::Syntax),
            }
            continue;
        }
        // '1-2' with a sign in the middle is years and months; a second number ends the one before it.
        let sign = take_sign(&mut s);
        if sign.is_some() {
            s = s.trim_start();
        }
        let negative = sign.unwrap_or(false);
        if let Some(n) = pending.take() {
            // Only a time of day can follow days without a unit: '3 04:05:06'.
            let is_time = s.find(|c: char| !c.is_ascii_digit()).is_some_and(|i| s[i..].starts_with(':'));
            if !is_time {
                return Err(Fault::Syntax);
            }
            sum.add(n, Unit::Day);
            time_of_day(&mut s, negative, default_unit, sum)?;
            continue;
        }
        seen = true;
        let digits = s.bytes().take_while(u8::is_ascii_digit).count();
        match s.as_bytes().get(digits) {
            Some(b':') => time_of_day(&mut s, negative, default_unit, sum)?,
            Some(b'-') if digits > 0 && s.as_bytes().get(digits + 1).is_some_and(u8::is_ascii_digit) => {
                let years = take_number(&mut s, negative)?;
                s = &s[1..];
                let months = take_number(&mut s, negative)?;
                if months.fraction != 0.0 || months.whole.abs() > 11 {
                    return Err(Fault::Range);
                }
                sum.add(years, Unit::Year);
                sum.add(months, Unit::Month);
            }
            _ => pending = Some(take_number(&mut s, negative)?),
        }
    }
    if let Some(n) = pending {
        sum.add(n, default_unit);
    }
    if !seen {
        return Err(Fault::Syntax);
    }
    if ago {
        *sum = Sum { months: -sum.months, days: -sum.days, micros: -sum.micros };
    }
    Ok(())
}

/// Takes `hh:mm`, `hh:mm:ss.f`, or `mm:ss.f`, which a fraction or `… TO SECOND` without hours tells.
fn time_of_day(s: &mut &str, negative: bool, default_unit: Unit, sum: &mut Sum) -> Result<(), Fault> {
    let part = |s: &mut &str| -> Result<Number, Fault> {
        if s.starts_with('.') { Err(Fault::Syntax) } else { take_number(s, negative) }
    };
    let first = part(s)?;
    *s = s.strip_prefix(':').ok_or(Fault::Syntax)?;
    let second = part(s)?;
    let (hours, minutes, seconds) = match s.strip_prefix(':') {
        Some(rest) => {
            *s = rest;
            if second.fraction != 0.0 {
                return Err(Fault::Syntax);
            }
            (Some(first), second, Some(part(s)?))
        }
        None if second.fraction != 0.0 || default_unit == Unit::Minute => (None, first, Some(second)),
        None => (Some(first), second, None),
    };
    let fits = |n: &Number, below: i64| n.whole.abs() < below;
    if !fits(&minutes, 60) || seconds.as_ref().is_some_and(|n| !fits(n, 61)) {
        return Err(Fault::Range);
    }
    if first.fraction != 0.0 {
        return Err(Fault::Syntax);
    }
    if let Some(h) = hours {
        sum.add(h, Unit::Hour);
    }
    sum.add(minutes, Unit::Minute);
    if let Some(n) = seconds {
        sum.add(n, Unit::Second);
    }
    Ok(())
}

/// What stands after the `P`: designators (`1Y2M3DT4H5M6S`, `2W`) or the alternative form (`0001-02-03T04:05:06`).
fn iso8601(text: &str, sum: &mut Sum) -> Result<(), Fault> {
    let mut s = text;
    let (mut in_time, mut any) = (false, false);
    while !s.is_empty() {
        if let Some(rest) = s.strip_prefix('T') {
            if in_time {
                return Err(Fault::Syntax);
            }
            (s, in_time) = (rest, true);
            continue;
        }
        let negative = take_sign(&mut s).unwrap_or(false);
        let n = take_number(&mut s, negative)?;
        any = true;
        let designator = s.bytes().next();
        let unit = match (designator, in_time) {
            (Some(b'Y'), false) => Unit::Year,
            (Some(b'M'), false) => Unit::Month,
            (Some(b'W'), false) => Unit::Week,
            (Some(b'D'), false) => Unit::Day,
            (Some(b'H'), true) => Unit::Hour,
            (Some(b'M'), true) => Unit::Minute,
            (Some(b'S'), true) => Unit::Second,
            (Some(b'-'), false) => {
                sum.add(n, Unit::Year);
                for (unit, last) in [(Unit::Month, false), (Unit::Day, true)] {
                    s = match s.strip_prefix('-') {
                        Some(rest) => rest,
                        None if last => break,
                        None => return Err(Fault::Syntax),
                    };
                    let n = take_number(&mut s, negative)?;
                    sum.add(n, unit);
                }
                continue;
            }
            (Some(b':'), true) => {
                sum.add(n, Unit::Hour);
                for unit in [Unit::Minute, Unit::Second] {
                    let Some(rest) = s.strip_prefix(':') else { break };
                    s = rest;
                    let n = take_number(&mut s, negative)?;
                    sum.add(n, unit);
                }
                continue;
            }
            _ => return Err(Fault::Syntax),
        };
        s = &s[1..];
        sum.add(n, unit);
    }
    if any { Ok(()) } else { Err(Fault::Syntax) }
}
