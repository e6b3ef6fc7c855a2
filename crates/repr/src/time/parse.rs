//! Reads dates and times from text: ISO 8601 by a direct path, everything else that Postgres takes by tokens.

use super::zone::{self, Zone, local_to_utc};
use super::{
    DAY, HOUR, JULIAN_EPOCH, MINUTE, SECOND, check_date, check_timestamp, date_out_of_range, days_in_month,
    days_of,
};
use crate::EvalError;
use crate::error::{SqlState, code};

/// Reads a `timestamp`. A zone in the text is ignored.
///
/// Errors: 22007 on syntax, 22008 for fields or results out of range.
pub fn parse_timestamp(text: &str) -> Result<i64, EvalError> {
    if let Some((local, _)) = iso8601(text.as_bytes()) {
        return check_timestamp(local.into());
    }
    read(text, "timestamp", |p| {
        check_timestamp(
            i128::from(p.date.ok_or(Fault::Syntax)?) * i128::from(DAY) + i128::from(p.time.unwrap_or(0)),
        )
        .map_err(|_| Fault::Range("timestamp"))
    })
}

/// Reads a `timestamptz`. Without a zone in the text it is UTC.
///
/// Errors: 22007 on syntax, 22008 for fields or results out of range, 22023 for unknown zones.
pub fn parse_timestamptz(text: &str) -> Result<i64, EvalError> {
    if let Some((local, offset)) = iso8601(text.as_bytes()) {
        return check_timestamp(i128::from(local) - i128::from(offset.unwrap_or(0)) * i128::from(SECOND));
    }
    read(text, "timestamp with time zone", |p| {
        let local =
            i128::from(p.date.ok_or(Fault::Syntax)?) * i128::from(DAY) + i128::from(p.time.unwrap_or(0));
        let local = check_timestamp(local).map_err(|_| Fault::Range("timestamp"))?;
        local_to_utc(local, p.zone.unwrap_or(Zone::UTC)).map_err(|_| Fault::Range("timestamp"))
    })
}

/// Reads a `date`. A time in the text is ignored.
///
/// Errors: 22007 on syntax, 22008 out of range.
pub fn parse_date(text: &str) -> Result<i32, EvalError> {
    if let Some((local, _)) = iso8601(text.as_bytes()) {
        return Ok(super::timestamp_to_date(local));
    }
    read(text, "date", |p| check_date(p.date.ok_or(Fault::Syntax)?).map_err(|_| Fault::Range("date")))
}

/// Reads a `time`. A date and a zone in the text are ignored.
///
/// Errors: 22007 on syntax, 22008 out of range.
pub fn parse_time(text: &str) -> Result<i64, EvalError> {
    if let Some((local, _)) = iso8601(text.as_bytes())
        && text.len() > 10
    {
        return Ok(super::timestamp_to_time(local));
    }
    // Bare digits are a time here, where they would be a date or a year elsewhere.
    let trimmed = text.trim();
    let run = digits(trimmed);
    let bare = matches!(run, 4 | 6) && !trimmed[run..].starts_with([':', '-', '/']);
    if bare {
        let marked = format!("T{trimmed}");
        return read(&marked, "time", |p| p.time.ok_or(Fault::Syntax))
            .or_else(|_| read(text, "time", |_| Err(Fault::Syntax)));
    }
    read(text, "time", |p| p.time.ok_or(Fault::Syntax))
}

/// A point in time in whatever shape a client wrote it: what [`parse_timestamptz`] reads and begins with a digit, and
/// Unix times of ten (seconds) or thirteen digits (milliseconds); none if the text is anything else.
pub fn try_parse_timestamptz(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.len() {
            10 => text.parse::<i64>().ok()?.checked_mul(SECOND),
            13 => text.parse::<i64>().ok()?.checked_mul(1_000),
            _ => parse_timestamptz(text).ok(),
        };
    }
    // Words such as `now` would mean another time whenever they are read.
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    parse_timestamptz(text).ok()
}

/// Microseconds since the Unix epoch of an ISO 8601 timestamp with or without zone (UTC); none if the text is anything
/// else.
pub fn try_parse_iso8601(text: &str) -> Option<i64> {
    let (local, offset) = iso8601(text.as_bytes())?;
    local.checked_sub(i64::from(offset.unwrap_or(0)) * SECOND)
}

/// Materialize's `try_parse_monotonic_iso8601_timestamp`: exactly `YYYY-MM-DDThh:mm:ss.sssZ`, whose texts sort as their
/// times do; none if the text is anything else.
pub fn parse_monotonic_iso8601(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    if b.len() != 24 || b[10] != b'T' || b[19] != b'.' || b[23] != b'Z' {
        return None;
    }
    iso8601(b).map(|(t, _)| t)
}

/// `YYYY-MM-DD`, then nothing or `[T ]hh:mm:ss[.fraction]`, then nothing, `Z`, `±hh`, `±hhmm` or `±hh:mm`: the local
/// microseconds and the seconds east. None for all else, which may still be a timestamp.
#[inline]
fn iso8601(b: &[u8]) -> Option<(i64, Option<i32>)> {
    let two = |at: usize| -> Option<u32> {
        let (hi, lo) = (b.get(at)?.wrapping_sub(b'0'), b.get(at + 1)?.wrapping_sub(b'0'));
        (hi < 10 && lo < 10).then_some(u32::from(hi) * 10 + u32::from(lo))
    };
    if b.len() < 10 || b[4] != b'-' || b[7] != b'-' {
        return None;
    }
    let (year, month, day) = (i64::from(two(0)? * 100 + two(2)?), two(5)?, two(8)?);
    if year == 0 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let midnight = days_of(year, month, day) * DAY;
    if b.len() == 10 {
        return Some((midnight, None));
    }
    if b.len() < 19 || !matches!(b[10], b'T' | b' ' | b't') || b[13] != b':' || b[16] != b':' {
        return None;
    }
    let (hour, minute, second) = (i64::from(two(11)?), i64::from(two(14)?), i64::from(two(17)?));
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = midnight + hour * HOUR + minute * MINUTE + second * SECOND;
    let mut rest = &b[19..];
    if let [b'.', fraction @ ..] = rest {
        let n = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
        if n == 0 {
            return None;
        }
        micros += fraction_micros(&fraction[..n]);
        rest = &fraction[n..];
    }
    match rest {
        [] => Some((micros, None)),
        [b'Z' | b'z'] => Some((micros, Some(0))),
        [sign @ (b'+' | b'-'), zone @ ..] if matches!(zone.len(), 2 | 4 | 5) => {
            let (seconds, rest) = zone::offset(std::str::from_utf8(zone).ok()?)?;
            rest.is_empty().then_some((micros, Some(if *sign == b'-' { -seconds } else { seconds })))
        }
        _ => None,
    }
}

/// The microseconds of a fraction's digits, rounded at the seventh.
fn fraction_micros(digits: &[u8]) -> i64 {
    let digit = |i: usize| digits.get(i).map_or(0, |d| i64::from(d - b'0'));
    (0..6).fold(0, |n, i| n * 10 + digit(i)) + i64::from(digit(6) >= 5)
}

enum Fault {
    Syntax,
    /// A field has a value that it never has.
    Field,
    /// The type does not reach that far.
    Range(&'static str),
    Displacement,
    Zone(String),
}

const INVALID_TIME_ZONE_DISPLACEMENT: SqlState = SqlState::new("22009");

fn read<T>(text: &str, ty: &str, finish: impl Fn(Parts) -> Result<T, Fault>) -> Result<T, EvalError> {
    tokens(text).and_then(finish).map_err(|fault| match fault {
        Fault::Syntax => EvalError::new(
            code::INVALID_DATETIME_FORMAT,
            format!("invalid input syntax for type {ty}: \"{text}\""),
        ),
        Fault::Field => {
            let message = format!("date/time field value out of range: \"{text}\"");
            EvalError::new(code::DATETIME_FIELD_OVERFLOW, message)
        }
        Fault::Range("date") => {
            EvalError::new(date_out_of_range().code(), format!("date out of range: \"{text}\""))
        }
        Fault::Range(what) => {
            EvalError::new(code::DATETIME_FIELD_OVERFLOW, format!("{what} out of range: \"{text}\""))
        }
        Fault::Displacement => {
            let message = format!("time zone displacement out of range: \"{text}\"");
            EvalError::new(INVALID_TIME_ZONE_DISPLACEMENT, message)
        }
        Fault::Zone(name) => {
            EvalError::new(code::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"))
        }
    })
}

/// What a text says.
struct Parts {
    /// Days since 1970-01-01.
    date: Option<i64>,
    /// Microseconds since midnight, up to 24:00.
    time: Option<i64>,
    zone: Option<Zone>,
}

/// The number of a month's name or abbreviation, in lower case.
pub(super) fn month_number(word: &str) -> Option<u32> {
    let index = MONTHS.iter().position(|m| m[..3].eq_ignore_ascii_case(word) || m.eq_ignore_ascii_case(word));
    index.map(|i| i as u32 + 1).or((word == "sept").then_some(9))
}

/// The months' English names, from January.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The weekdays' English names, from Sunday.
pub const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn is_weekday(word: &str) -> bool {
    let named = DAYS.iter().any(|d| d[..3].eq_ignore_ascii_case(word) || d.eq_ignore_ascii_case(word));
    named || matches!(word, "tues" | "wednes" | "weds" | "thur" | "thurs")
}

#[derive(Default)]
struct Fields {
    year: Option<i64>,
    /// The year was written with one or two digits.
    short_year: bool,
    month: Option<u32>,
    day: Option<u32>,
    julian: Option<i64>,
    bc: bool,
    time: Option<i64>,
    pm: Option<bool>,
    zone: Option<Zone>,
}

impl Fields {
    fn has_date(&self) -> bool {
        self.julian.is_some() || (self.year.is_some() && self.month.is_some() && self.day.is_some())
    }

    fn set_year(&mut self, digits: &str) -> Result<(), Fault> {
        if self.year.is_some() {
            return Err(Fault::Syntax);
        }
        self.year = Some(digits.parse().map_err(|_| Fault::Field)?);
        self.short_year = digits.len() <= 2;
        Ok(())
    }

    fn set_month(&mut self, month: u32) -> Result<(), Fault> {
        if self.month.replace(month).is_some() { Err(Fault::Syntax) } else { Ok(()) }
    }

    fn set_day(&mut self, digits: &str) -> Result<(), Fault> {
        let day = digits.parse().map_err(|_| Fault::Field)?;
        if self.day.replace(day).is_some() { Err(Fault::Syntax) } else { Ok(()) }
    }

    fn set_time(&mut self, hour: i64, minute: i64, second: i64, micros: i64) -> Result<(), Fault> {
        if self.time.is_some() {
            return Err(Fault::Syntax);
        }
        let time = hour * HOUR + minute * MINUTE + second * SECOND + micros;
        if minute > 59 || second > 60 || time > DAY {
            return Err(Fault::Field);
        }
        self.time = Some(time);
        Ok(())
    }

    fn finish(self) -> Result<Parts, Fault> {
        let time = match (self.time, self.pm) {
            (None, Some(_)) => return Err(Fault::Syntax),
            (Some(t), Some(_)) if t >= 13 * HOUR => return Err(Fault::Field),
            // Twelve o'clock is where the halves of the day start.
            (Some(t), Some(pm)) => Some(t % (12 * HOUR) + if pm { 12 * HOUR } else { 0 }),
            (t, None) => t,
        };
        let date = match (self.julian, self.year, self.month, self.day) {
            (Some(julian), None, None, None) => Some(julian - JULIAN_EPOCH),
            (None, Some(mut year), Some(month), Some(day)) => {
                if self.bc {
                    if year == 0 {
                        return Err(Fault::Field);
                    }
                    year = 1 - year;
                } else if self.short_year {
                    year += if year < 70 { 2000 } else { 1900 };
                } else if year == 0 {
                    return Err(Fault::Field);
                }
                if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
                    return Err(Fault::Field);
                }
                // Beyond this no type reaches, and the arithmetic stays far from the limits of 64 bits.
                if year > 6_000_000 {
                    return Err(Fault::Field);
                }
                Some(days_of(year, month, day))
            }
            (None, None, None, None) => None,
            _ => return Err(Fault::Syntax),
        };
        Ok(Parts { date, time, zone: self.zone })
    }
}

fn tokens(text: &str) -> Result<Parts, Fault> {
    let mut f = Fields::default();
    let mut s = text.trim();
    // After the T of ISO 8601 even plain digits are a time.
    let mut after_t = false;
    if s.eq_ignore_ascii_case("epoch") {
        return Ok(Parts { date: Some(0), time: Some(0), zone: Some(Zone::UTC) });
    }
    loop {
        s = s.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        let Some(&first) = s.as_bytes().first() else { break };
        match first {
            b'0'..=b'9' => {
                let n = digits(s);
                let (run, rest) = s.split_at(n);
                match rest.as_bytes() {
                    [b':', ..] => s = clock(s, &mut f)?,
                    // Day and year after a month's name: 'Jan-02-2024'.
                    [b'-' | b'/', b'0'..=b'9', ..] if f.month.is_some() && f.day.is_none() => {
                        f.set_day(run)?;
                        s = &rest[1..];
                    }
                    [b'-' | b'/' | b'.', next, ..]
                        if !after_t && !f.has_date() && (next.is_ascii_alphanumeric()) =>
                    {
                        s = separated_date(s, &mut f)?;
                    }
                    _ => s = bare_number(run, rest, after_t, &mut f)?,
                }
            }
            b'+' | b'-' if f.time.is_some() || f.has_date() => {
                if f.zone.is_some() || !s[1..].starts_with(|c: char| c.is_ascii_digit()) {
                    return Err(Fault::Syntax);
                }
                let (seconds, rest) = zone::offset(&s[1..]).ok_or(Fault::Displacement)?;
                f.zone = Some(Zone::Fixed(if first == b'-' { -seconds } else { seconds }));
                s = rest;
            }
            b't' | b'T' if s.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => {
                if !f.has_date() && text.trim().len() != s.len() {
                    return Err(Fault::Syntax);
                }
                after_t = true;
                s = &s[1..];
            }
            b'j' | b'J' if s.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => {
                let n = digits(&s[1..]);
                if f.has_date() || n > 9 {
                    return Err(Fault::Syntax);
                }
                f.julian = s[1..=n].parse().ok();
                s = &s[1 + n..];
            }
            c if c.is_ascii_alphabetic() => s = word(s, &mut f)?,
            _ => return Err(Fault::Syntax),
        }
    }
    f.finish()
}

fn digits(s: &str) -> usize {
    s.bytes().take_while(u8::is_ascii_digit).count()
}

/// `hh:mm[:ss[.fraction]]` at the front.
fn clock<'a>(mut s: &'a str, f: &mut Fields) -> Result<&'a str, Fault> {
    let mut part = [0i64; 3];
    let mut count = 0;
    loop {
        let n = digits(s);
        if n == 0 {
            return Err(Fault::Syntax);
        }
        part[count] = s[..n].parse::<u32>().map_err(|_| Fault::Field)?.into();
        s = &s[n..];
        count += 1;
        match s.strip_prefix(':') {
            Some(rest) if count < 3 => s = rest,
            _ => break,
        }
    }
    let mut micros = 0;
    if count == 3
        && let Some(rest) = s.strip_prefix('.')
    {
        let n = digits(rest);
        micros = fraction_micros(&rest.as_bytes()[..n]);
        s = &rest[n..];
    }
    f.set_time(part[0], part[1], part[2], micros)?;
    Ok(s)
}

/// A date of three parts with `-`, `/` or `.` between, the month in digits or letters, at the front.
fn separated_date<'a>(s: &'a str, f: &mut Fields) -> Result<&'a str, Fault> {
    let n = digits(s);
    let (first, rest) = s.split_at(n);
    let separator = &rest[..1];
    let rest = &rest[1..];
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let n = if letters > 0 { letters } else { digits(rest) };
    let (second, rest) = rest.split_at(n);
    let rest = match rest.strip_prefix(separator) {
        Some(rest) => rest,
        // '2 Jan-2024' has none; a year and a day of it is not read.
        None => return Err(Fault::Syntax),
    };
    let n = digits(rest);
    if n == 0 {
        return Err(Fault::Syntax);
    }
    let (third, rest) = rest.split_at(n);
    let number = |s: &str| s.parse::<u32>().map_err(|_| Fault::Field);
    if letters > 0 {
        f.set_month(month_number(&second.to_ascii_lowercase()).ok_or(Fault::Syntax)?)?;
        if first.len() > 2 {
            f.set_year(first)?;
            f.set_day(third)?;
        } else {
            f.set_day(first)?;
            f.set_year(third)?;
        }
    } else if first.len() > 2 {
        f.set_year(first)?;
        f.set_month(number(second)?)?;
        f.set_day(third)?;
    } else {
        // Without a year in front it is the order of the default DateStyle: month, day, year.
        f.set_month(number(first)?)?;
        f.set_day(second)?;
        f.set_year(third)?;
    }
    Ok(rest)
}

/// Digits that stand alone: a packed date or time, or a part of a date whose month is a word.
fn bare_number<'a>(run: &str, rest: &'a str, after_t: bool, f: &mut Fields) -> Result<&'a str, Fault> {
    let part = |from: usize, to: usize| run[from..to].parse::<i64>().map_err(|_| Fault::Syntax);
    if (after_t || f.has_date()) && f.time.is_none() {
        let (h, m, s) = match run.len() {
            6 => (part(0, 2)?, part(2, 4)?, part(4, 6)?),
            4 if after_t => (part(0, 2)?, part(2, 4)?, 0),
            2 if after_t => (part(0, 2)?, 0, 0),
            _ => return Err(Fault::Syntax),
        };
        let (mut micros, mut rest) = (0, rest);
        if run.len() == 6
            && let Some(tail) = rest.strip_prefix('.')
        {
            let n = digits(tail);
            micros = fraction_micros(&tail.as_bytes()[..n]);
            rest = &tail[n..];
        }
        f.set_time(h, m, s, micros)?;
        return Ok(rest);
    }
    if f.has_date() {
        return Err(Fault::Syntax);
    }
    let untouched = f.year.is_none() && f.month.is_none() && f.day.is_none();
    match run.len() {
        8 if untouched => {
            f.set_year(&run[..4])?;
            f.month = Some(part(4, 6)? as u32);
            f.set_day(&run[6..])?;
        }
        6 if untouched => {
            f.set_year(&run[..2])?;
            f.month = Some(part(2, 4)? as u32);
            f.set_day(&run[4..])?;
        }
        1 | 2 if f.day.is_none() => f.set_day(run)?,
        n if n <= 9 => f.set_year(run)?,
        _ => return Err(Fault::Field),
    }
    Ok(rest)
}

/// A word at the front: a month, a weekday, half of the day, an era, or a zone.
fn word<'a>(s: &'a str, f: &mut Fields) -> Result<&'a str, Fault> {
    let letters = s.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (word, rest) = s.split_at(letters);
    let lower = word.to_ascii_lowercase();
    if let Some(month) = month_number(&lower) {
        f.set_month(month)?;
        // 'Jan-02-2024'
        return Ok(rest.strip_prefix('-').unwrap_or(rest));
    }
    if is_weekday(&lower) {
        return Ok(rest.strip_prefix('.').unwrap_or(rest));
    }
    match lower.as_str() {
        "am" | "pm" => {
            if f.pm.replace(lower == "pm").is_some() {
                return Err(Fault::Syntax);
            }
            return Ok(rest);
        }
        "ad" => return Ok(rest),
        "bc" => {
            f.bc = true;
            return Ok(rest);
        }
        "allballs" if f.time.is_none() => {
            (f.time, f.zone) = (Some(0), Some(Zone::UTC));
            return Ok(rest);
        }
        // The T between date and time may stand apart.
        "t" if f.has_date() && f.time.is_none() && !rest.trim_start().is_empty() => return Ok(rest),
        _ => {}
    }
    if f.zone.is_some() || !(f.time.is_some() || f.has_date()) {
        return Err(Fault::Syntax);
    }
    let end = s
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '+' | '-' | ':')))
        .unwrap_or(s.len());
    let name = &s[..end];
    match Zone::named(name) {
        Some(zone) => f.zone = Some(zone),
        None if name.contains('/') || name.len() == letters => return Err(unknown_zone(name)),
        None => return Err(Fault::Syntax),
    }
    Ok(&s[end..])
}

/// Postgres takes any unknown word for bad syntax, but a name with a slash for an unknown zone.
fn unknown_zone(name: &str) -> Fault {
    if name.contains('/') { Fault::Zone(name.to_ascii_lowercase()) } else { Fault::Syntax }
}
