//! `to_char`, `to_timestamp` and `to_date`: text by Postgres' template patterns.

use std::fmt::Write;

use super::parse::{DAYS, MONTHS};
use super::{
    DAY, HOUR, Interval, JULIAN_EPOCH, MINUTE, SECOND, Zone, check_date, check_timestamp, date_of,
    days_in_month, days_of, iso_week, iso_year_start, local_to_utc, split, weekday,
};
use crate::EvalError;
use crate::error::{SqlState, code};

/// A template, read once and used for many values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Node>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// Characters that stand for themselves.
    Literal(String),
    Field {
        field: Field,
        /// `FM`: neither zeros in front nor blanks behind.
        fill: bool,
        /// `TH` or `th` behind: the ending of an ordinal number, in capitals or not.
        ordinal: Option<bool>,
    },
}

/// How letters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Upper,
    Title,
    Lower,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Hour12,
    Hour24,
    Minute,
    Second,
    Milli,
    Micro,
    /// `FF1` to `FF6`.
    Fraction(u8),
    SecondsOfDay,
    /// Whether with points, whether in capitals.
    Meridiem(bool, bool),
    Era(bool, bool),
    /// With a comma before the last three digits.
    YearComma,
    /// The last digits of the year.
    Year(u8),
    IsoYear(u8),
    MonthName(Case),
    MonthShort(Case),
    Month,
    DayName(Case),
    DayShort(Case),
    DayOfYear,
    IsoDayOfYear,
    Day,
    DayOfWeek,
    IsoDayOfWeek,
    WeekOfMonth,
    WeekOfYear,
    IsoWeek,
    Century,
    Julian,
    Quarter,
    Roman(bool),
    /// The zone's name, in capitals or not.
    Zone(bool),
    ZoneHour,
    ZoneMinute,
    ZoneOffset,
}

/// The patterns; of two that fit, the longer one stands first.
const PATTERNS: &[(&str, Field)] = {
    use Case::*;
    use Field::*;
    &[
        ("A.D.", Era(true, true)),
        ("a.d.", Era(true, false)),
        ("A.M.", Meridiem(true, true)),
        ("a.m.", Meridiem(true, false)),
        ("AD", Era(false, true)),
        ("ad", Era(false, false)),
        ("AM", Meridiem(false, true)),
        ("am", Meridiem(false, false)),
        ("B.C.", Era(true, true)),
        ("b.c.", Era(true, false)),
        ("BC", Era(false, true)),
        ("bc", Era(false, false)),
        ("CC", Century),
        ("cc", Century),
        ("DAY", DayName(Upper)),
        ("Day", DayName(Title)),
        ("day", DayName(Lower)),
        ("DDD", DayOfYear),
        ("ddd", DayOfYear),
        ("DD", Day),
        ("dd", Day),
        ("DY", DayShort(Upper)),
        ("Dy", DayShort(Title)),
        ("dy", DayShort(Lower)),
        ("D", DayOfWeek),
        ("d", DayOfWeek),
        ("FF1", Fraction(1)),
        ("FF2", Fraction(2)),
        ("FF3", Fraction(3)),
        ("FF4", Fraction(4)),
        ("FF5", Fraction(5)),
        ("FF6", Fraction(6)),
        ("ff1", Fraction(1)),
        ("ff2", Fraction(2)),
        ("ff3", Fraction(3)),
        ("ff4", Fraction(4)),
        ("ff5", Fraction(5)),
        ("ff6", Fraction(6)),
        ("HH24", Hour24),
        ("hh24", Hour24),
        ("HH12", Hour12),
        ("hh12", Hour12),
        ("HH", Hour12),
        ("hh", Hour12),
        ("IDDD", IsoDayOfYear),
        ("iddd", IsoDayOfYear),
        ("ID", IsoDayOfWeek),
        ("id", IsoDayOfWeek),
        ("IW", IsoWeek),
        ("iw", IsoWeek),
        ("IYYY", IsoYear(4)),
        ("iyyy", IsoYear(4)),
        ("IYY", IsoYear(3)),
        ("iyy", IsoYear(3)),
        ("IY", IsoYear(2)),
        ("iy", IsoYear(2)),
        ("I", IsoYear(1)),
        ("i", IsoYear(1)),
        ("J", Julian),
        ("j", Julian),
        ("MI", Minute),
        ("mi", Minute),
        ("MM", Month),
        ("mm", Month),
        ("MONTH", MonthName(Upper)),
        ("Month", MonthName(Title)),
        ("month", MonthName(Lower)),
        ("MON", MonthShort(Upper)),
        ("Mon", MonthShort(Title)),
        ("mon", MonthShort(Lower)),
        ("MS", Milli),
        ("ms", Milli),
        ("OF", ZoneOffset),
        ("of", ZoneOffset),
        ("P.M.", Meridiem(true, true)),
        ("p.m.", Meridiem(true, false)),
        ("PM", Meridiem(false, true)),
        ("pm", Meridiem(false, false)),
        ("Q", Quarter),
        ("q", Quarter),
        ("RM", Roman(true)),
        ("rm", Roman(false)),
        ("SSSSS", SecondsOfDay),
        ("sssss", SecondsOfDay),
        ("SSSS", SecondsOfDay),
        ("ssss", SecondsOfDay),
        ("SS", Second),
        ("ss", Second),
        ("TZH", ZoneHour),
        ("tzh", ZoneHour),
        ("TZM", ZoneMinute),
        ("tzm", ZoneMinute),
        ("TZ", Zone(true)),
        ("tz", Zone(false)),
        ("US", Micro),
        ("us", Micro),
        ("WW", WeekOfYear),
        ("ww", WeekOfYear),
        ("W", WeekOfMonth),
        ("w", WeekOfMonth),
        ("Y,YYY", YearComma),
        ("y,yyy", YearComma),
        ("YYYY", Year(4)),
        ("yyyy", Year(4)),
        ("YYY", Year(3)),
        ("yyy", Year(3)),
        ("YY", Year(2)),
        ("yy", Year(2)),
        ("Y", Year(1)),
        ("y", Year(1)),
    ]
};

/// `to_char(timestamp, format)`.
pub fn to_char(t: i64, format: &str) -> String {
    let mut out = String::new();
    Format::parse(format).print(t, &mut out);
    out
}

/// `to_char(timestamptz, format)`, in UTC.
pub fn to_char_tz(t: i64, format: &str) -> String {
    let mut out = String::new();
    Format::parse(format).print_tz(t, &mut out);
    out
}

/// `to_char(interval, format)`.
pub fn interval_to_char(i: Interval, format: &str) -> String {
    let mut out = String::new();
    Format::parse(format).print_interval(i, &mut out);
    out
}

/// `to_timestamp(text, format)`, in UTC. Errors: 22007, 22008.
pub fn to_timestamp(text: &str, format: &str) -> Result<i64, EvalError> {
    Format::parse(format).read(text)
}

/// `to_date(text, format)`. Errors: 22007, 22008.
pub fn to_date(text: &str, format: &str) -> Result<i32, EvalError> {
    Format::parse(format).read_date(text)
}

/// The fields of a moment as a template sees them.
struct Moment {
    year: i64,
    /// Negative for some intervals.
    month: i64,
    day: u32,
    days: i64,
    /// Hours are not cut at a day for intervals.
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    interval: bool,
    zoned: bool,
}

impl Moment {
    fn of(t: i64, zoned: bool) -> Moment {
        let (days, time) = split(t);
        let (year, month, day) = date_of(days);
        Moment {
            year,
            month: month.into(),
            day,
            days,
            hour: time / HOUR,
            minute: time / MINUTE % 60,
            second: time / SECOND % 60,
            micros: time % SECOND,
            interval: false,
            zoned,
        }
    }
}

impl Format {
    /// Reads a template. Every text is one: what is no pattern stands for itself.
    pub fn parse(template: &str) -> Format {
        let mut nodes: Vec<Node> = vec![];
        let mut s = template;
        let (mut fill, mut quoted) = (false, false);
        while let Some(c) = s.chars().next() {
            if !quoted {
                // There is one language, so TM only takes the padding off, as FM does. FX changes nothing: reading is lenient.
                if let Some(rest) = strip_prefix_any(s, &["FM", "fm", "TM", "tm"]) {
                    (s, fill) = (rest, true);
                    continue;
                }
                if let Some(rest) = strip_prefix_any(s, &["FX", "fx"]) {
                    s = rest;
                    continue;
                }
                if let Some((pattern, field)) = PATTERNS.iter().find(|(p, _)| s.starts_with(p)) {
                    s = &s[pattern.len()..];
                    let ordinal = match () {
                        () if s.starts_with("TH") => Some(true),
                        () if s.starts_with("th") => Some(false),
                        () => None,
                    };
                    if ordinal.is_some() {
                        s = &s[2..];
                    }
                    nodes.push(Node::Field { field: *field, fill, ordinal });
                    fill = false;
                    continue;
                }
            }
            let mut rest = &s[c.len_utf8()..];
            let mut literal = c;
            if c == '"' {
                quoted = !quoted;
                s = rest;
                continue;
            }
            if c == '\\'
                && (quoted || rest.starts_with('"'))
                && let Some(next) = rest.chars().next()
            {
                literal = next;
                rest = &rest[next.len_utf8()..];
            }
            match nodes.last_mut() {
                Some(Node::Literal(l)) => l.push(literal),
                _ => nodes.push(Node::Literal(literal.to_string())),
            }
            s = rest;
        }
        Format(nodes)
    }

    /// Appends a `timestamp`, which has no zone to name.
    pub fn print(&self, t: i64, out: &mut String) {
        self.print_moment(&Moment::of(t, false), out)
    }

    /// Appends a `timestamptz`, in UTC.
    pub fn print_tz(&self, t: i64, out: &mut String) {
        self.print_moment(&Moment::of(t, true), out)
    }

    /// Appends an interval: years, months and days are its own, hours are not cut at a day.
    pub fn print_interval(&self, i: Interval, out: &mut String) {
        let moment = Moment {
            year: i64::from(i.months / 12),
            month: (i.months % 12).into(),
            day: i.days.unsigned_abs(),
            days: i.days.into(),
            hour: i.micros / HOUR,
            minute: i.micros / MINUTE % 60,
            second: i.micros / SECOND % 60,
            micros: i.micros % SECOND,
            interval: true,
            zoned: false,
        };
        self.print_moment(&moment, out)
    }

    fn print_moment(&self, m: &Moment, out: &mut String) {
        for node in &self.0 {
            match node {
                Node::Literal(l) => out.push_str(l),
                Node::Field { field, fill, ordinal } => {
                    let start = out.len();
                    print_field(*field, *fill, m, out);
                    if let Some(upper) = ordinal {
                        let ending = ordinal_ending(&out[start..]);
                        if *upper { out.push_str(&ending.to_ascii_uppercase()) } else { out.push_str(ending) }
                    }
                }
            }
        }
    }
}

fn strip_prefix_any<'a>(s: &'a str, prefixes: &[&str]) -> Option<&'a str> {
    prefixes.iter().find_map(|p| s.strip_prefix(p))
}

fn ordinal_ending(number: &str) -> &'static str {
    match number.as_bytes() {
        [.., b'1', _] => "th",
        [.., b'1'] => "st",
        [.., b'2'] => "nd",
        [.., b'3'] => "rd",
        _ => "th",
    }
}

fn cased(name: &str, case: Case) -> String {
    match case {
        Case::Upper => name.to_ascii_uppercase(),
        Case::Title => name.to_string(),
        Case::Lower => name.to_ascii_lowercase(),
    }
}

const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

fn print_field(field: Field, fill: bool, m: &Moment, out: &mut String) {
    // Padded with zeros; a sign stands in front of them.
    macro_rules! number {
        ($n:expr, $width:expr) => {{
            let n: i64 = $n;
            let width = if fill { 0 } else { $width + usize::from(n < 0) };
            write!(out, "{n:0width$}").expect("strings take everything")
        }};
    }
    // Here the sign takes the place of a zero.
    let plain = |n: i64, width: usize| format!("{n:0w$}", w = if fill { 0 } else { width });
    // Postgres counts BC years from 1 here and shows no sign, since the era is asked for apart.
    let year = if m.interval || m.year > 0 { m.year } else { 1 - m.year };
    let iso_year = |m: &Moment| {
        let y = iso_week(m.days).0;
        if y > 0 { y } else { 1 - y }
    };
    let last_digits = |y: i64, n: u8| if n == 4 { y } else { y % 10i64.pow(n.into()) };
    let name = |name: &str, case: Case, width: usize| {
        let width = if fill { 0 } else { width };
        format!("{:width$}", cased(name, case))
    };
    let month = MONTHS.get(usize::try_from(m.month - 1).unwrap_or(12));
    let weekday_name = DAYS[weekday(m.days) as usize];
    match field {
        Field::Hour12 => number!(if m.hour % 12 == 0 { 12 } else { m.hour % 12 }, 2),
        Field::Hour24 => number!(m.hour, 2),
        Field::Minute => number!(m.minute, 2),
        Field::Second => number!(m.second, 2),
        // These two keep their zeros: they are fractions.
        Field::Milli => write!(out, "{:03}", m.micros / 1000).expect("strings take everything"),
        Field::Micro => write!(out, "{:06}", m.micros).expect("strings take everything"),
        Field::Fraction(n) => {
            let width = usize::from(n);
            let n = m.micros / 10i64.pow(6 - u32::from(n));
            write!(out, "{n:0width$}").expect("strings take everything");
        }
        Field::SecondsOfDay => number!(m.hour * 3600 + m.minute * 60 + m.second, 0),
        Field::Meridiem(points, upper) => out.push_str(match (m.hour % 24 >= 12, points, upper) {
            (true, true, true) => "P.M.",
            (true, true, false) => "p.m.",
            (true, false, true) => "PM",
            (true, false, false) => "pm",
            (false, true, true) => "A.M.",
            (false, true, false) => "a.m.",
            (false, false, true) => "AM",
            (false, false, false) => "am",
        }),
        // Postgres refuses eras of intervals; here they have none.
        Field::Era(..) if m.interval => {}
        Field::Era(points, upper) => out.push_str(match (m.year <= 0, points, upper) {
            (true, true, true) => "B.C.",
            (true, true, false) => "b.c.",
            (true, false, true) => "BC",
            (true, false, false) => "bc",
            (false, true, true) => "A.D.",
            (false, true, false) => "a.d.",
            (false, false, true) => "AD",
            (false, false, false) => "ad",
        }),
        Field::YearComma => {
            let (thousands, rest) = (year / 1000, year % 1000);
            write!(out, "{thousands},{rest:03}").expect("strings take everything");
        }
        Field::Year(n) => number!(last_digits(year, n), usize::from(n)),
        Field::IsoYear(n) => number!(last_digits(iso_year(m), n), usize::from(n)),
        Field::MonthName(case) => {
            if let Some(month) = month {
                out.push_str(&name(month, case, 9));
            }
        }
        Field::MonthShort(case) => {
            if let Some(month) = month {
                out.push_str(&cased(&month[..3], case));
            }
        }
        Field::Month => number!(m.month, 2),
        Field::DayName(_) | Field::DayShort(_) if m.interval => {}
        Field::DayName(case) => out.push_str(&name(weekday_name, case, 9)),
        Field::DayShort(case) => out.push_str(&cased(&weekday_name[..3], case)),
        Field::DayOfYear if m.interval => out.push_str(&plain(m.year * 360 + m.month * 30 + m.days, 3)),
        Field::DayOfYear => number!(m.days - days_of(m.year, 1, 1) + 1, 3),
        Field::IsoDayOfYear => number!(m.days - iso_year_start(iso_week(m.days).0) + 1, 3),
        Field::Day if m.interval => out.push_str(&plain(m.days, 2)),
        Field::Day => number!(m.day.into(), 2),
        Field::DayOfWeek => number!(weekday(m.days) + 1, 0),
        Field::IsoDayOfWeek => number!((m.days + 3).rem_euclid(7) + 1, 0),
        Field::WeekOfMonth => number!((i64::from(m.day) - 1) / 7 + 1, 0),
        Field::WeekOfYear if m.interval => number!((m.days - 1) / 7 + 1, 2),
        Field::WeekOfYear => number!((m.days - days_of(m.year, 1, 1)) / 7 + 1, 2),
        Field::IsoWeek => number!(iso_week(m.days).1, 2),
        Field::Century => {
            let century = match m.year {
                y if m.interval => y / 100,
                y if y > 0 => (y + 99) / 100,
                y => -((100 - y) / 100),
            };
            number!(century, 2)
        }
        Field::Julian if m.interval => number!(m.year * 360 + m.month * 30 + m.days, 0),
        Field::Julian => number!(m.days + JULIAN_EPOCH, 0),
        Field::Quarter => {
            if m.month != 0 {
                number!((m.month - 1) / 3 + 1, 0)
            }
        }
        Field::Roman(upper) => {
            if m.month != 0 {
                let roman = ROMAN[(m.month - 1).rem_euclid(12) as usize];
                out.push_str(&name(roman, if upper { Case::Upper } else { Case::Lower }, 4));
            }
        }
        Field::Zone(_) if !m.zoned => {}
        Field::Zone(upper) => out.push_str(if upper { "UTC" } else { "utc" }),
        Field::ZoneHour | Field::ZoneOffset => out.push_str("+00"),
        Field::ZoneMinute => out.push_str("00"),
    }
}

/// What a template found in a text.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    /// How many digits `year` stands for; fewer than four are completed to the nearest of 2020.
    year_digits: u8,
    iso: bool,
    bc: bool,
    century: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    /// 1 (Monday) to 7.
    iso_day_of_week: Option<i64>,
    week: Option<i64>,
    week_of_month: Option<i64>,
    julian: Option<i64>,
    hour: i64,
    /// The hour is one of the clock's twelve.
    twelve: bool,
    pm: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
    seconds_of_day: Option<i64>,
    zone: Option<Zone>,
    zone_sign: i32,
    zone_hour: i32,
    zone_minute: i32,
}

const DATETIME_VALUE_OUT_OF_RANGE: SqlState = code::DATETIME_FIELD_OVERFLOW;

impl Format {
    /// Reads a timestamp in UTC. Characters that stand for themselves match any character, and blanks of the text are
    /// skipped, as Postgres does it.
    ///
    /// Errors: 22007 where a pattern finds nothing to read, 22008 out of range.
    pub fn read(&self, text: &str) -> Result<i64, EvalError> {
        let found = self.find(text)?;
        let zone = match found.zone {
            Some(zone) => zone,
            None => {
                let sign = if found.zone_sign < 0 { -1 } else { 1 };
                Zone::Fixed(sign * (found.zone_hour * 3600 + found.zone_minute * 60))
            }
        };
        let time = found.time(text)?;
        let t = check_timestamp(i128::from(found.date(text)?) * i128::from(DAY) + i128::from(time))?;
        local_to_utc(t, zone)
    }

    /// Reads a date. Errors: as [`Format::read`].
    pub fn read_date(&self, text: &str) -> Result<i32, EvalError> {
        let found = self.find(text)?;
        found.time(text)?;
        check_date(found.date(text)?)
    }

    fn find(&self, text: &str) -> Result<Found, EvalError> {
        let mut f = Found::default();
        let mut s = text;
        for (i, node) in self.0.iter().enumerate() {
            match node {
                Node::Literal(l) => {
                    for c in l.chars() {
                        if is_separator(c) {
                            // Separators match any separators, or none.
                            s = s.trim_start();
                            if let Some(next) = s.chars().next()
                                && is_separator(next)
                                && !(next == '-' || next == '+') | (c != ' ')
                            {
                                s = &s[next.len_utf8()..];
                            }
                        } else if let Some(next) = s.chars().next() {
                            s = &s[next.len_utf8()..];
                        }
                    }
                }
                Node::Field { field, fill, ordinal } => {
                    s = s.trim_start();
                    if s.is_empty() {
                        // What the text does not reach keeps its default.
                        break;
                    }
                    // Without a separator behind, the next digits belong to the next pattern.
                    let next_is_digits = matches!(self.0.get(i + 1), Some(Node::Field { .. }))
                        || matches!(self.0.get(i + 1), Some(Node::Literal(l)) if l.starts_with(|c: char| c.is_ascii_digit()));
                    read_field(*field, !*fill && next_is_digits, &mut s, &mut f)?;
                    if ordinal.is_some() {
                        s = s.get(2..).unwrap_or("");
                    }
                }
            }
        }
        Ok(f)
    }
}

fn is_separator(c: char) -> bool {
    c.is_ascii_whitespace() || c.is_ascii_punctuation()
}

fn bad_value(s: &str, pattern: &str) -> EvalError {
    let word: String = s.chars().take_while(|c| !c.is_ascii_whitespace()).take(10).collect();
    EvalError::new(code::INVALID_DATETIME_FORMAT, format!("invalid value \"{word}\" for \"{pattern}\""))
}

/// Takes a number of up to `width` digits, or of any length if `fixed` is false.
fn take_int(s: &mut &str, width: usize, fixed: bool, pattern: &str) -> Result<(i64, usize), EvalError> {
    let (negative, body) = match s.as_bytes().first() {
        Some(b'-') => (true, &s[1..]),
        Some(b'+') => (false, &s[1..]),
        _ => (false, *s),
    };
    let mut n = body.bytes().take_while(u8::is_ascii_digit).count();
    if fixed {
        n = n.min(width);
    }
    if n == 0 {
        return Err(bad_value(s, pattern).with_detail("Value must be an integer."));
    }
    let value: i64 = body[..n].parse().ok().filter(|v| *v <= i64::from(i32::MAX)).ok_or_else(|| {
        let message = format!("value for \"{pattern}\" in source string is out of range");
        EvalError::new(DATETIME_VALUE_OUT_OF_RANGE, message)
    })?;
    *s = &body[n..];
    Ok((if negative { -value } else { value }, n))
}

/// Takes one of the words, in any case, as whole names or by their first three letters.
fn take_word(s: &mut &str, words: &[&str], short: bool, pattern: &str) -> Result<usize, EvalError> {
    for (i, word) in words.iter().enumerate() {
        let word = if short { &word[..3] } else { word };
        if s.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)) {
            *s = &s[word.len()..];
            return Ok(i);
        }
    }
    let detail = "The given value did not match any of the allowed values for this field.";
    Err(bad_value(s, pattern).with_detail(detail))
}

fn read_field(field: Field, fixed: bool, s: &mut &str, f: &mut Found) -> Result<(), EvalError> {
    let int = |s: &mut &str, width: usize, pattern: &str| take_int(s, width, fixed, pattern).map(|(n, _)| n);
    // Digits of a fraction: "5" is five tenths.
    let fraction = |s: &mut &str, width: usize, pattern: &str| -> Result<i64, EvalError> {
        let (n, digits) = take_int(s, width, fixed, pattern)?;
        let scaled =
            if digits <= 6 { n * 10i64.pow(6 - digits as u32) } else { n / 10i64.pow(digits as u32 - 6) };
        Ok(scaled)
    };
    match field {
        Field::Hour12 => (f.hour, f.twelve) = (int(s, 2, "HH12")?, true),
        Field::Hour24 => f.hour = int(s, 2, "HH24")?,
        Field::Minute => f.minute = int(s, 2, "MI")?,
        Field::Second => f.second = int(s, 2, "SS")?,
        Field::Milli => f.micros += fraction(s, 3, "MS")?,
        Field::Micro => f.micros += fraction(s, 6, "US")?,
        Field::Fraction(n) => f.micros += fraction(s, n.into(), "FF")?,
        Field::SecondsOfDay => f.seconds_of_day = Some(int(s, 5, "SSSS")?),
        Field::Meridiem(points, _) => {
            let words: &[&str] = if points { &["a.m.", "p.m."] } else { &["am", "pm"] };
            f.pm = Some(take_word(s, words, false, "AM")? == 1);
            f.twelve = true;
        }
        Field::Era(points, _) => {
            let words: &[&str] = if points { &["a.d.", "b.c."] } else { &["ad", "bc"] };
            f.bc = take_word(s, words, false, "AD")? == 1;
        }
        Field::YearComma => {
            let thousands = take_int(s, 9, false, "Y,YYY")?.0;
            *s = s.strip_prefix(',').ok_or_else(|| bad_value(s, "Y,YYY"))?;
            let rest = take_int(s, 3, true, "Y,YYY")?.0;
            (f.year, f.year_digits) = (Some(thousands * 1000 + rest), 4);
        }
        Field::Year(width) | Field::IsoYear(width) => {
            let (n, digits) = take_int(s, width.into(), fixed, "YYYY")?;
            f.year = Some(n);
            // Too few digits for YYYY are the whole year; for the others the century is missing.
            f.year_digits = if width == 4 { 4 } else { digits as u8 };
            f.iso |= matches!(field, Field::IsoYear(_));
        }
        Field::MonthName(_) => f.month = Some(take_word(s, &MONTHS, false, "MONTH")? as i64 + 1),
        Field::MonthShort(_) => f.month = Some(take_word(s, &MONTHS, true, "MON")? as i64 + 1),
        Field::Month => f.month = Some(int(s, 2, "MM")?),
        Field::DayName(_) => {
            take_word(s, &DAYS, false, "DAY")?;
        }
        Field::DayShort(_) => {
            take_word(s, &DAYS, true, "DY")?;
        }
        Field::DayOfYear => f.day_of_year = Some(int(s, 3, "DDD")?),
        Field::IsoDayOfYear => (f.day_of_year, f.iso) = (Some(int(s, 3, "IDDD")?), true),
        Field::Day => f.day = Some(int(s, 2, "DD")?),
        Field::DayOfWeek => {
            let n = int(s, 1, "D")?;
            f.iso_day_of_week = Some((n + 5).rem_euclid(7) + 1);
        }
        Field::IsoDayOfWeek => f.iso_day_of_week = Some(int(s, 1, "ID")?),
        Field::WeekOfMonth => f.week_of_month = Some(int(s, 1, "W")?),
        Field::WeekOfYear => f.week = Some(int(s, 2, "WW")?),
        Field::IsoWeek => (f.week, f.iso) = (Some(int(s, 2, "IW")?), true),
        Field::Century => f.century = Some(int(s, 2, "CC")?),
        Field::Julian => f.julian = Some(int(s, 7, "J")?),
        // Read and ignored, as in Postgres.
        Field::Quarter => {
            int(s, 1, "Q")?;
        }
        Field::Roman(_) => {
            let letters = s.bytes().take_while(u8::is_ascii_alphabetic).count();
            let at = ROMAN.iter().position(|r| r.eq_ignore_ascii_case(&s[..letters]));
            f.month = Some(at.ok_or_else(|| bad_value(s, "RM"))? as i64 + 1);
            *s = &s[letters..];
        }
        Field::Zone(_) => {
            let n = s.bytes().take_while(|b| b.is_ascii_alphabetic() || matches!(b, b'/' | b'_')).count();
            f.zone = Some(Zone::named(&s[..n]).ok_or_else(|| bad_value(s, "TZ"))?);
            *s = &s[n..];
        }
        Field::ZoneHour | Field::ZoneOffset => {
            f.zone_sign = if s.starts_with('-') { -1 } else { 1 };
            f.zone_hour = take_int(s, 2, true, "TZH")?.0.unsigned_abs() as i32;
            if field == Field::ZoneOffset
                && let Some(mut rest) = s.strip_prefix(':')
            {
                f.zone_minute = take_int(&mut rest, 2, true, "OF")?.0.unsigned_abs() as i32;
                *s = rest;
            }
        }
        Field::ZoneMinute => f.zone_minute = take_int(s, 2, true, "TZM")?.0.unsigned_abs() as i32,
    }
    Ok(())
}

impl Found {
    fn out_of_range(text: &str) -> EvalError {
        let message = format!("date/time field value out of range: \"{text}\"");
        EvalError::new(DATETIME_VALUE_OUT_OF_RANGE, message)
    }

    fn time(&self, text: &str) -> Result<i64, EvalError> {
        let out = || Found::out_of_range(text);
        if let Some(n) = self.seconds_of_day {
            return if (0..86_400).contains(&n) { Ok(n * SECOND + self.micros) } else { Err(out()) };
        }
        let mut hour = self.hour;
        if self.twelve {
            if !(1..=12).contains(&hour) {
                let message = format!("hour \"{hour}\" is invalid for the 12-hour clock");
                let hint = "Use the 24-hour clock, or give an hour between 1 and 12.";
                return Err(EvalError::new(code::INVALID_DATETIME_FORMAT, message).with_hint(hint));
            }
            hour = hour % 12 + if self.pm == Some(true) { 12 } else { 0 };
        }
        if !(0..24).contains(&hour) || !(0..60).contains(&self.minute) || !(0..60).contains(&self.second) {
            return Err(out());
        }
        if !(0..=SECOND).contains(&self.micros) {
            return Err(out());
        }
        Ok(hour * HOUR + self.minute * MINUTE + self.second * SECOND + self.micros)
    }

    fn date(&self, text: &str) -> Result<i64, EvalError> {
        let out = || Found::out_of_range(text);
        if let Some(julian) = self.julian {
            return Ok(julian - JULIAN_EPOCH);
        }
        let mut year = match (self.year, self.century) {
            (Some(y), Some(century)) if self.year_digits <= 2 => {
                (century - 1) * 100 + if y == 0 { 100 } else { y }
            }
            (Some(y), _) => complete_year(y, self.year_digits),
            (None, Some(century)) => (century - 1) * 100 + 1,
            (None, None) => 0,
        };
        if self.bc && year > 0 {
            year = 1 - year;
        } else if year < 0 {
            year += 1;
        }
        if year.abs() > 6_000_000 {
            return Err(out());
        }
        if self.iso {
            let start = iso_year_start(year);
            return Ok(match (self.week, self.day_of_year) {
                (Some(week), _) if (1..=53).contains(&week) => {
                    start + (week - 1) * 7 + self.iso_day_of_week.unwrap_or(1) - 1
                }
                (Some(_), _) => return Err(out()),
                (None, Some(day)) if (1..=371).contains(&day) => start + day - 1,
                (None, Some(_)) => return Err(out()),
                (None, None) => start,
            });
        }
        if let (Some(n), None) = (self.day_of_year, self.month) {
            let length = days_of(year + 1, 1, 1) - days_of(year, 1, 1);
            return if (1..=length).contains(&n) { Ok(days_of(year, 1, 1) + n - 1) } else { Err(out()) };
        }
        if let (Some(week), None, None) = (self.week, self.month, self.day) {
            let in_range = (1..=53).contains(&week);
            return if in_range { Ok(days_of(year, 1, 1) + (week - 1) * 7) } else { Err(out()) };
        }
        let month = self.month.unwrap_or(1);
        let day =
            self.day.or(self.week_of_month.map(|w| (w.saturating_sub(1)).saturating_mul(7) + 1)).unwrap_or(1);
        if !(1..=12).contains(&month) || day < 1 || day > i64::from(days_in_month(year, month as u32)) {
            return Err(out());
        }
        Ok(days_of(year, month as u32, day as u32))
    }
}

/// Fewer than four digits are the year nearest to 2020.
fn complete_year(year: i64, digits: u8) -> i64 {
    match digits {
        1 | 2 if year < 70 => year + 2000,
        1 | 2 if year < 100 => year + 1900,
        3 if year < 520 => year + 2000,
        3 if year < 1000 => year + 1000,
        _ => year,
    }
}
