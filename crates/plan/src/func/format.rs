//! Templates of `to_char`, `to_timestamp`, `to_date` and `to_number`.

use repr::error::{SqlState, code};
use repr::time::{self, DAY, DAYS, HOUR, MINUTE, MONTHS, SECOND, Unit};
use repr::{EvalError, Interval, Numeric};

// ---- dates and times

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(String),
    /// A keyword in upper case, the spelling it had, and its modifiers.
    Field {
        key: &'static str,
        written: String,
        fill: bool,
        ordinal: Option<bool>,
    },
}

/// Longest first where one begins another.
const KEYS: &[&str] = &[
    "SSSSS", "SSSS", "Y,YYY", "IYYY", "YYYY", "IDDD", "MONTH", "HH24", "HH12", "A.M.", "P.M.", "A.D.",
    "B.C.", "IYY", "YYY", "DAY", "DDD", "MON", "TZH", "TZM", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "IY",
    "YY", "DD", "DY", "ID", "IW", "WW", "HH", "MI", "MM", "SS", "MS", "US", "AM", "PM", "AD", "BC", "CC",
    "RM", "TZ", "OF", "I", "Y", "D", "W", "J", "Q",
];

const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

fn pieces(template: &str) -> Vec<Piece> {
    let mut out: Vec<Piece> = vec![];
    let mut rest = template;
    let mut fill = true;
    let literal = |out: &mut Vec<Piece>, s: &str| match out.last_mut() {
        Some(Piece::Literal(l)) => l.push_str(s),
        _ => out.push(Piece::Literal(s.into())),
    };
    // Keys are upper or lower case throughout; names may also begin with a capital.
    let starts = |s: &str, key: &str| {
        s.get(..key.len()).is_some_and(|p| {
            let capital = || {
                let mut rest = p.chars();
                rest.next().is_some_and(char::is_uppercase) && rest.all(char::is_lowercase)
            };
            p.eq_ignore_ascii_case(key)
                && (!p.contains(char::is_lowercase)
                    || !p.contains(char::is_uppercase)
                    || matches!(key, "MONTH" | "MON" | "DAY" | "DY") && capital())
        })
    };
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            rest = &rest[1..];
            while let Some(c) = rest.chars().next() {
                rest = &rest[c.len_utf8()..];
                match c {
                    '"' => break,
                    '\\' => {
                        if let Some(next) = rest.chars().next() {
                            literal(&mut out, &rest[..next.len_utf8()]);
                            rest = &rest[next.len_utf8()..];
                        }
                    }
                    c => literal(&mut out, c.encode_utf8(&mut [0; 4])),
                }
            }
        } else if starts(rest, "FM") {
            fill = false;
            rest = &rest[2..];
        } else if starts(rest, "FX") || starts(rest, "TM") {
            rest = &rest[2..];
        } else if let Some(key) = KEYS.iter().copied().find(|k| starts(rest, k)) {
            let written = rest[..key.len()].to_string();
            rest = &rest[key.len()..];
            let ordinal = if rest.starts_with("TH") || rest.starts_with("th") {
                let upper = rest.starts_with("TH");
                rest = &rest[2..];
                Some(upper)
            } else {
                None
            };
            out.push(Piece::Field { key, written, fill, ordinal });
            fill = true;
        } else {
            literal(&mut out, &rest[..c.len_utf8()]);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// A number with as many digits at least, its sign in front.
fn padded(n: i64, width: usize, fill: bool) -> String {
    let digits = n.unsigned_abs().to_string();
    let zeros = if fill { width.saturating_sub(digits.len()) } else { 0 };
    format!("{}{}{digits}", if n < 0 { "-" } else { "" }, "0".repeat(zeros))
}

fn ordinal_suffix(n: i64) -> &'static str {
    match (n.abs() % 100, n.abs() % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

/// A name in the case that the key was written in.
fn cased(name: &str, written: &str) -> String {
    let mut letters = written.chars().filter(char::is_ascii_alphabetic);
    match (letters.next(), letters.next()) {
        (Some(a), Some(b)) if a.is_uppercase() && b.is_uppercase() => name.to_uppercase(),
        (Some(a), _) if a.is_uppercase() => name.to_string(),
        _ => name.to_lowercase(),
    }
}

/// What a template asks of a time. For intervals the calendar's fields have no value.
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    /// Microseconds of the day; of an interval, all of its time.
    micros: i64,
    /// The moment, where there is one.
    at: Option<i64>,
}

/// `to_char` of a timestamp; `zone` is what TZ prints.
pub(super) fn print_timestamp(t: i64, zone: &str, template: &str) -> String {
    let (year, month, day) = time::date_of(t.div_euclid(DAY));
    let f = Fields { year, month: month.into(), day: day.into(), micros: t.rem_euclid(DAY), at: Some(t) };
    print(&f, zone, template)
}

/// `to_char` of an interval.
pub(super) fn print_interval(i: Interval, template: &str) -> String {
    let f = Fields {
        year: i64::from(i.months / 12),
        month: i64::from(i.months % 12),
        day: i.days.into(),
        micros: i.micros,
        at: None,
    };
    print(&f, "", template)
}

fn print(f: &Fields, zone: &str, template: &str) -> String {
    let mut out = String::new();
    let part = |unit: Unit| {
        let found = f.at.and_then(|t| time::extract_timestamp(unit, t).ok());
        found.and_then(|n| n.to_i64()).unwrap_or(0)
    };
    let hour = f.micros / HOUR;
    let twelve = if f.at.is_none() && hour == 0 { 0 } else { (hour + 11).rem_euclid(12) + 1 };
    // Years before 1 are counted from 1 BC.
    let year = if f.at.is_some() && f.year <= 0 { 1 - f.year } else { f.year };
    let iso_year = part(Unit::IsoYear);
    let fraction = (f.micros % SECOND).abs();
    for piece in pieces(template) {
        let (key, written, fill, ordinal) = match piece {
            Piece::Literal(s) => {
                out.push_str(&s);
                continue;
            }
            Piece::Field { key, written, fill, ordinal } => (key, written, fill, ordinal),
        };
        let number = |n: i64, width: usize| (Some(n), padded(n, width, fill));
        let text = |s: String| (None, s);
        let name = |s: &str, width: usize| {
            let s = cased(s, &written);
            let blanks = if fill { width.saturating_sub(s.len()) } else { 0 };
            (None, s + &" ".repeat(blanks))
        };
        let tail = |y: i64, digits: u32| number(y.rem_euclid(10i64.pow(digits)), digits as usize);
        let (n, s) = match key {
            "HH" | "HH12" => number(twelve, 2),
            "HH24" => number(hour, 2),
            "MI" => number(f.micros % HOUR / MINUTE, 2),
            "SS" => number(f.micros % MINUTE / SECOND, 2),
            "MS" => text(format!("{:03}", fraction / 1000)),
            "US" => text(format!("{fraction:06}")),
            "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => {
                let digits = usize::from(key.as_bytes()[2] - b'0');
                text(format!("{fraction:06}")[..digits].to_string())
            }
            "SSSS" | "SSSSS" => number(f.micros / SECOND, 0),
            "AM" | "PM" => text(cased_exact(if hour % 24 >= 12 { "PM" } else { "AM" }, &written)),
            "A.M." | "P.M." => text(cased_exact(if hour % 24 >= 12 { "P.M." } else { "A.M." }, &written)),
            "AD" | "BC" => text(cased_exact(if f.year > 0 { "AD" } else { "BC" }, &written)),
            "A.D." | "B.C." => text(cased_exact(if f.year > 0 { "A.D." } else { "B.C." }, &written)),
            "Y,YYY" => (Some(year), format!("{},{:03}", year / 1000, year % 1000)),
            "YYYY" => number(year, 4),
            "YYY" => tail(year, 3),
            "YY" => tail(year, 2),
            "Y" => tail(year, 1),
            "IYYY" => number(iso_year, 4),
            "IYY" => tail(iso_year, 3),
            "IY" => tail(iso_year, 2),
            "I" => tail(iso_year, 1),
            "MM" => number(f.month, 2),
            "DD" => number(f.day, 2),
            "MONTH" | "MON" | "RM" if !(1..=12).contains(&f.month) => text(String::new()),
            "MONTH" => name(MONTHS[f.month as usize - 1], 9),
            "MON" => name(&MONTHS[f.month as usize - 1][..3], 0),
            "RM" => name_exact(ROMAN[f.month as usize - 1], &written, if fill { 4 } else { 0 }),
            "DAY" => name(DAYS[part(Unit::DayOfWeek).rem_euclid(7) as usize], 9),
            "DY" => name(&DAYS[part(Unit::DayOfWeek).rem_euclid(7) as usize][..3], 0),
            "DDD" => number(part(Unit::DayOfYear), 3),
            "IDDD" => number((part(Unit::Week) - 1) * 7 + part(Unit::IsoDayOfWeek), 3),
            "D" => number(part(Unit::DayOfWeek) + 1, 0),
            "ID" => number(part(Unit::IsoDayOfWeek), 0),
            "W" => number((f.day - 1) / 7 + 1, 0),
            "WW" => number((part(Unit::DayOfYear) - 1) / 7 + 1, 2),
            "IW" => number(part(Unit::Week), 2),
            "CC" => number(part(Unit::Century), 2),
            "J" => number(f.at.map_or(0, |t| t.div_euclid(DAY) + 2_440_588), 0),
            "Q" => number(part(Unit::Quarter), 0),
            "TZ" => text(if written.starts_with('t') { zone.to_lowercase() } else { zone.to_string() }),
            "OF" => text("+00".into()),
            "TZH" => text("+00".into()),
            "TZM" => text("00".into()),
            _ => text(String::new()),
        };
        out.push_str(&s);
        if let (Some(n), Some(upper)) = (n, ordinal) {
            let suffix = ordinal_suffix(n);
            out.push_str(&if upper { suffix.to_uppercase() } else { suffix.to_string() });
        }
    }
    out
}

/// Abbreviations are lower case only where written so.
fn cased_exact(s: &str, written: &str) -> String {
    if written.starts_with(char::is_lowercase) { s.to_lowercase() } else { s.to_string() }
}

fn name_exact(s: &str, written: &str, width: usize) -> (Option<i64>, String) {
    let s = cased_exact(s, written);
    let blanks = width.saturating_sub(s.len());
    (None, s + &" ".repeat(blanks))
}

fn bad_value(value: &str, key: &str) -> EvalError {
    EvalError::new(code::INVALID_DATETIME_FORMAT, format!("invalid value \"{value}\" for \"{key}\""))
        .with_detail("Value must be an integer.")
}

/// `to_timestamp(text, template)`, in UTC unless the text has an offset. Errors: 22007, 22008.
pub(super) fn parse_timestamp(text: &str, template: &str) -> Result<i64, EvalError> {
    let pieces = pieces(template);
    let mut rest = text.trim_start();
    let (mut year, mut month, mut day) = (None::<i64>, 1i64, 1i64);
    let (mut hour, mut minute, mut second, mut micros) = (0i64, 0i64, 0i64, 0i64);
    let (mut pm, mut bc, mut day_of_year, mut offset, mut epoch_day) =
        (None::<bool>, false, None, 0i64, None);
    let (mut iso_year, mut iso_week, mut iso_day) = (None, None, 1i64);
    for (i, piece) in pieces.iter().enumerate() {
        let (key, written) = match piece {
            Piece::Literal(s) => {
                // A separator stands for any separator; letters must only be as many.
                for c in s.chars() {
                    let skip =
                        |r: &str| r.chars().next().filter(|x| !x.is_ascii_digit() || c.is_alphanumeric());
                    if c.is_whitespace() {
                        rest = rest.trim_start();
                    } else if let Some(found) = skip(rest) {
                        rest = &rest[found.len_utf8()..];
                    }
                }
                continue;
            }
            Piece::Field { key, written, .. } => (*key, written),
        };
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        // Digits right behind belong to the next field when that is one of digits.
        let next_is_field = matches!(pieces.get(i + 1), Some(Piece::Field { .. }));
        let mut int = |width: usize| -> Result<i64, EvalError> {
            let signed = usize::from(rest.starts_with(['-', '+']) && !next_is_field);
            let digits = rest[signed..].bytes().take_while(u8::is_ascii_digit).count();
            let take = signed + if next_is_field || width <= 3 { digits.min(width) } else { digits };
            if take == signed {
                let shown: String = rest.chars().take(width).collect();
                return Err(bad_value(&shown, written));
            }
            let n = rest[..take].parse().map_err(|_| bad_value(&rest[..take], written))?;
            rest = &rest[take..];
            Ok(n)
        };
        match key {
            "YYYY" | "IYYY" => {
                let y = int(4)?;
                if key == "YYYY" { year = Some(y) } else { iso_year = Some(y) }
            }
            "Y,YYY" => {
                let thousands = int(3)?;
                rest = rest.strip_prefix(',').unwrap_or(rest);
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count().min(3);
                let low: i64 = rest[..digits].parse().map_err(|_| bad_value(rest, written))?;
                rest = &rest[digits..];
                year = Some(thousands * 1000 + low);
            }
            "YYY" | "YY" | "Y" => {
                let y = int(key.len())?;
                // Towards the years around 2020.
                year = Some(match y {
                    0..=69 => 2000 + y,
                    70..=99 => 1900 + y,
                    100..=519 => 2000 + y,
                    520..=999 => 1000 + y,
                    y => y,
                });
            }
            "MM" => month = int(2)?,
            "DD" => day = int(2)?,
            "DDD" => day_of_year = Some(int(3)?),
            "IW" | "WW" => iso_week = Some(int(2)?),
            "ID" => iso_day = int(1)?,
            "D" | "W" | "Q" => drop(int(1)?),
            "CC" => drop(int(2)?),
            "J" => epoch_day = Some(int(7)? - 2_440_588),
            "HH" | "HH12" => {
                hour = int(2)?;
                if !(1..=12).contains(&hour) {
                    return Err(EvalError::new(
                        code::INVALID_DATETIME_FORMAT,
                        format!("hour \"{hour}\" is invalid for the 12-hour clock"),
                    )
                    .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."));
                }
                pm.get_or_insert(false);
            }
            "HH24" => hour = int(2)?,
            "MI" => minute = int(2)?,
            "SS" => second = int(2)?,
            "SSSS" | "SSSSS" => {
                let n = int(5)?;
                (hour, minute, second) = (n / 3600, n / 60 % 60, n % 60);
            }
            "MS" | "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let width = match key {
                    "MS" => 3,
                    "US" => 6,
                    k => usize::from(k.as_bytes()[2] - b'0'),
                };
                let take = digits.min(width);
                let n: i64 = rest[..take].parse().map_err(|_| bad_value(rest, written))?;
                micros += n * 10i64.pow(6 - take as u32);
                rest = &rest[take..];
            }
            "AM" | "PM" | "A.M." | "P.M." | "AD" | "BC" | "A.D." | "B.C." => {
                let letter = rest.chars().next().unwrap_or(' ').to_ascii_uppercase();
                match (key.contains('M'), letter) {
                    (true, 'A' | 'P') => pm = Some(letter == 'P'),
                    (false, 'A' | 'B') => bc = letter == 'B',
                    _ => return Err(bad_value(&rest[..rest.len().min(key.len())], written)),
                }
                let n = rest.chars().take(key.len()).map(char::len_utf8).sum();
                rest = &rest[n..];
            }
            "MONTH" | "MON" => {
                let found = MONTHS
                    .iter()
                    .position(|m| rest.get(..3).is_some_and(|r| r.eq_ignore_ascii_case(&m[..3])));
                let Some(i) = found else {
                    let shown: String = rest.chars().take(key.len()).collect();
                    return Err(EvalError::new(
                        code::INVALID_DATETIME_FORMAT,
                        format!("invalid value \"{shown}\" for \"{written}\""),
                    )
                    .with_detail("The given value did not match any of the allowed values for this field."));
                };
                month = i as i64 + 1;
                let whole = rest.get(..MONTHS[i].len()).is_some_and(|r| r.eq_ignore_ascii_case(MONTHS[i]));
                rest = &rest[if whole && key == "MONTH" { MONTHS[i].len() } else { 3 }..];
            }
            "DAY" | "DY" => {
                let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
                rest = &rest[if key == "DY" { letters.min(3) } else { letters }..];
            }
            "RM" => {
                let letters = rest.find(|c: char| !"IVXivx".contains(c)).unwrap_or(rest.len());
                let found = ROMAN.iter().position(|r| r.eq_ignore_ascii_case(&rest[..letters]));
                month = found.ok_or_else(|| bad_value(&rest[..letters], written))? as i64 + 1;
                rest = &rest[letters..];
            }
            "TZH" | "OF" => {
                let sign = if rest.starts_with('-') { -1 } else { 1 };
                rest = rest.trim_start_matches(['+', '-']);
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count().min(2);
                let n: i64 = rest[..digits].parse().map_err(|_| bad_value(rest, written))?;
                rest = &rest[digits..];
                offset = sign * n * HOUR;
                if key == "OF"
                    && let Some(after) = rest.strip_prefix(':')
                {
                    let digits = after.bytes().take_while(u8::is_ascii_digit).count().min(2);
                    offset += sign * after[..digits].parse::<i64>().unwrap_or(0) * MINUTE;
                    rest = &after[digits..];
                }
            }
            "TZM" => {
                let n = int(2)?;
                offset += if offset < 0 { -n } else { n } * MINUTE;
            }
            "TZ" => {
                let letters = rest.find(|c: char| c.is_whitespace()).unwrap_or(rest.len());
                let zone = repr::time::Zone::parse(&rest[..letters])?;
                rest = &rest[letters..];
                offset = i64::from(zone.offset_at(0)) * SECOND;
            }
            _ => {}
        }
    }
    if let Some(pm) = pm {
        hour = hour % 12 + if pm { 12 } else { 0 };
    }
    let mut y = year.or(iso_year).unwrap_or(if bc { 1 } else { 0 });
    if bc {
        y = -y;
    }
    let y = i32::try_from(y).map_err(|_| out_of_range())?;
    let small = |n: i64| i32::try_from(n).map_err(|_| out_of_range());
    let date = match (epoch_day, day_of_year, iso_year, iso_week) {
        (Some(d), ..) => time::check_date(d)?,
        // Without a year, the first of our era's counting, as in Postgres.
        _ if y == 0 => {
            time::check_date(time::days_of(0, month.clamp(1, 12) as u32, day.clamp(1, 31) as u32))?
        }
        (_, Some(n), ..) => time::check_date(i64::from(time::make_date(y, 1, 1)?) + n - 1)?,
        (_, _, Some(_), Some(week)) => {
            // The week of January 4 is the first.
            let fourth = i64::from(time::make_date(y, 1, 4)?);
            let monday = fourth - (fourth + 3).rem_euclid(7);
            time::check_date(monday + (week - 1) * 7 + iso_day - 1)?
        }
        _ => time::make_date(y, small(month)?, small(day)?)?,
    };
    if !(0..=24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return Err(EvalError::new(
            code::DATETIME_FIELD_OVERFLOW,
            format!("date/time field value out of range: \"{text}\""),
        ));
    }
    let t = i128::from(date) * i128::from(DAY)
        + i128::from(hour * HOUR + minute * MINUTE + second * SECOND + micros - offset);
    time::check_timestamp(t)
}

fn out_of_range() -> EvalError {
    EvalError::new(code::DATETIME_FIELD_OVERFLOW, "date/time field value out of range")
}

// ---- numbers

#[derive(Clone, Debug, PartialEq)]
enum Mark {
    Digit {
        zero: bool,
    },
    Point,
    Group(&'static str),
    /// Where digits go on that a power of ten shifts in.
    Shift,
    Sign(&'static str),
    Ordinal {
        upper: bool,
    },
    Literal(String),
}

struct NumberTemplate {
    marks: Vec<Mark>,
    fill: bool,
    exponent: bool,
    roman: Option<bool>,
    brackets: bool,
}

fn number_template(template: &str) -> NumberTemplate {
    let mut t = NumberTemplate { marks: vec![], fill: true, exponent: false, roman: None, brackets: false };
    let mut rest = template;
    while let Some(c) = rest.chars().next() {
        let upper = rest.get(..2).map(str::to_ascii_uppercase).unwrap_or_default();
        let take = match (c.to_ascii_uppercase(), upper.as_str()) {
            (_, "FM") => {
                t.fill = false;
                2
            }
            (_, "MI") => {
                t.marks.push(Mark::Sign("MI"));
                2
            }
            (_, "PL") => {
                t.marks.push(Mark::Sign("PL"));
                2
            }
            (_, "SG") => {
                t.marks.push(Mark::Sign("SG"));
                2
            }
            (_, "PR") => {
                t.brackets = true;
                2
            }
            (_, "RN") => {
                t.roman = Some(rest.starts_with('R'));
                2
            }
            (_, "TH") => {
                t.marks.push(Mark::Ordinal { upper: rest.starts_with('T') });
                2
            }
            (_, "EE") if rest.get(..4).is_some_and(|e| e.eq_ignore_ascii_case("EEEE")) => {
                t.exponent = true;
                4
            }
            ('9', _) => {
                t.marks.push(Mark::Digit { zero: false });
                1
            }
            ('0', _) => {
                t.marks.push(Mark::Digit { zero: true });
                1
            }
            ('.' | 'D', _) => {
                t.marks.push(Mark::Point);
                1
            }
            (',' | 'G', _) => {
                t.marks.push(Mark::Group(","));
                1
            }
            ('V', _) => {
                t.marks.push(Mark::Shift);
                1
            }
            ('S', _) => {
                t.marks.push(Mark::Sign("S"));
                1
            }
            ('L', _) => {
                t.marks.push(Mark::Group(" "));
                1
            }
            ('"', _) => {
                let inner = rest[1..].split('"').next().unwrap_or("");
                t.marks.push(Mark::Literal(inner.to_string()));
                (inner.len() + 2).min(rest.len())
            }
            (_, _) => {
                t.marks.push(Mark::Literal(c.to_string()));
                c.len_utf8()
            }
        };
        rest = &rest[take..];
    }
    t
}

/// `to_char` of a number.
pub(super) fn print_number(n: Numeric, template: &str) -> Result<String, EvalError> {
    let t = number_template(template);
    if let Some(upper) = t.roman {
        return Ok(roman(n, upper, t.fill));
    }
    // Digits before and behind the point, and those that a V shifts in.
    let (mut whole, mut fraction, mut shifted) = (0usize, 0usize, 0usize);
    let (mut behind, mut shift) = (false, false);
    for m in &t.marks {
        match m {
            Mark::Digit { .. } if shift => shifted += 1,
            Mark::Digit { .. } if behind => fraction += 1,
            Mark::Digit { .. } => whole += 1,
            Mark::Point => behind = true,
            Mark::Shift => shift = true,
            _ => {}
        }
    }
    if t.exponent {
        return Ok(scientific(n, fraction, &t));
    }
    let negative = n.is_negative();
    let n =
        if shifted > 0 { n.mul(Numeric::from_i64(10).pow(Numeric::from_i64(shifted as i64))?)? } else { n };
    let rounded = n.round(fraction as i32)?.abs();
    let text = rounded.to_string();
    let (int, frac) = text.split_once('.').unwrap_or((&text, ""));
    let int = if int == "0" { "" } else { int };
    let places = whole + shifted;
    let overflow = !rounded.is_finite() || int.len() > places;
    let negative = negative && (overflow || !rounded.is_zero());
    let frac = format!("{frac:0<fraction$}");

    // The digits of the integer part with blanks in front, zeros from the first 0 of the template on.
    let first_zero = t
        .marks
        .iter()
        .filter(|m| matches!(m, Mark::Digit { .. }))
        .position(|m| *m == Mark::Digit { zero: true });
    let mut int_digits: Vec<char> = format!("{int:>places$}").chars().collect();
    if overflow {
        int_digits = vec!['#'; places];
    }
    if let Some(from) = first_zero.filter(|z| *z < places) {
        for d in &mut int_digits[from..] {
            if *d == ' ' {
                *d = '0';
            }
        }
    } else if int.is_empty() && fraction == 0 && places > 0 && !overflow {
        int_digits[places - 1] = '0';
    }
    // With FM zeros at the end go, down to the last 0 of the template.
    let mut kept_fraction = fraction;
    if !t.fill {
        let zeros: Vec<bool> = t
            .marks
            .iter()
            .skip_while(|m| **m != Mark::Point)
            .filter_map(|m| if let Mark::Digit { zero } = m { Some(*zero) } else { None })
            .collect();
        let last_zero = zeros.iter().rposition(|z| *z).map_or(0, |i| i + 1);
        let digits = frac.trim_end_matches('0').len();
        kept_fraction = digits.max(last_zero);
    }

    // A template without digits shows no sign.
    let explicit_sign =
        places + fraction == 0 || t.brackets || t.marks.iter().any(|m| matches!(m, Mark::Sign(_)));
    let mut out = String::new();
    let mut blanks = 0usize;
    let mut sign_done = explicit_sign && !t.brackets;
    let (mut i, mut j, mut behind) = (0, 0, false);
    let leading = |out: &mut String, blanks: &mut usize, sign_done: &mut bool| {
        if !*sign_done {
            *sign_done = true;
            let sign = match (t.brackets, negative) {
                (true, true) => "<",
                (false, true) => "-",
                (_, false) if t.fill => " ",
                _ => "",
            };
            out.push_str(&" ".repeat(*blanks));
            out.push_str(sign);
        } else {
            out.push_str(&" ".repeat(*blanks));
        }
        *blanks = 0;
    };
    let signed_first = matches!(t.marks.first(), Some(Mark::Sign("S")));
    let mut pending_sign = signed_first;
    for (k, m) in t.marks.iter().enumerate() {
        match m {
            Mark::Digit { .. } if !behind => {
                let d = int_digits[i];
                i += 1;
                if d == ' ' {
                    blanks += usize::from(t.fill);
                    continue;
                }
                leading(&mut out, &mut blanks, &mut sign_done);
                if std::mem::take(&mut pending_sign) {
                    out.push(if negative { '-' } else { '+' });
                }
                out.push(d);
            }
            Mark::Digit { .. } => {
                if j < kept_fraction {
                    out.push(if overflow { '#' } else { frac.as_bytes()[j].into() });
                }
                j += 1;
            }
            Mark::Point => {
                leading(&mut out, &mut blanks, &mut sign_done);
                if std::mem::take(&mut pending_sign) {
                    out.push(if negative { '-' } else { '+' });
                }
                behind = true;
                if kept_fraction > 0 || t.fill || fraction > 0 {
                    out.push('.');
                }
            }
            Mark::Group(g) => {
                let begun = int_digits[..i.min(int_digits.len())].iter().any(|d| *d != ' ');
                if begun || behind {
                    out.push_str(g);
                } else {
                    blanks += usize::from(t.fill);
                }
            }
            Mark::Shift => {}
            Mark::Sign("S") if k == 0 => {}
            Mark::Sign("S" | "SG") => out.push(if negative { '-' } else { '+' }),
            Mark::Sign("MI") => match (negative, t.fill) {
                (true, _) => out.push('-'),
                (false, true) => out.push(' '),
                _ => {}
            },
            Mark::Sign(_) => match (negative, t.fill) {
                (false, _) => out.push('+'),
                (true, true) => out.push(' '),
                _ => {}
            },
            Mark::Ordinal { upper } => {
                let s = ordinal_suffix(rounded.to_i64().unwrap_or(0));
                if fraction == 0 {
                    out.push_str(&if *upper { s.to_uppercase() } else { s.to_string() });
                }
            }
            Mark::Literal(s) => {
                leading_literal(&mut out, &mut blanks, s);
            }
        }
    }
    if !sign_done || blanks > 0 {
        leading(&mut out, &mut blanks, &mut sign_done);
    }
    if t.brackets && places + fraction > 0 {
        match (negative, t.fill) {
            (true, _) => out.push('>'),
            (false, true) => out.push(' '),
            _ => {}
        }
    }
    Ok(out)
}

fn leading_literal(out: &mut String, blanks: &mut usize, s: &str) {
    out.push_str(&" ".repeat(std::mem::take(blanks)));
    out.push_str(s);
}

fn scientific(n: Numeric, fraction: usize, t: &NumberTemplate) -> String {
    let x = n.to_f64();
    let text = format!("{x:.fraction$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let e: i32 = exponent.parse().unwrap_or(0);
    let sign = if x < 0.0 || !t.fill { "" } else { " " };
    format!("{sign}{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
}

fn roman(n: Numeric, upper: bool, fill: bool) -> String {
    const PARTS: [(i64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let n = n.round(0).ok().and_then(|n| n.to_i64()).unwrap_or(0);
    let text = if (1..4000).contains(&n) {
        let (mut rest, mut out) = (n, String::new());
        for (value, letters) in PARTS {
            while rest >= value {
                out.push_str(letters);
                rest -= value;
            }
        }
        if upper { out } else { out.to_lowercase() }
    } else {
        "#".repeat(15)
    };
    if fill { format!("{text:>15}") } else { text }
}

/// `to_number`: digits where the template has them; everything else of the text is looked over. Errors: 22P02.
pub(super) fn parse_number(text: &str, template: &str) -> Result<Numeric, EvalError> {
    let t = number_template(template);
    let (mut negative, mut digits, mut point) = (false, String::new(), false);
    for c in text.chars() {
        match c {
            '-' | '<' => negative = true,
            '0'..='9' => digits.push(c),
            '.' if !point && t.marks.contains(&Mark::Point) => {
                point = true;
                digits.push('.');
            }
            _ => {}
        }
    }
    if !digits.contains(|c: char| c.is_ascii_digit()) {
        return Err(EvalError::new(
            SqlState::new("22P02"),
            format!("invalid input syntax for type numeric: \"{text}\""),
        ));
    }
    let n = Numeric::parse(&digits)?;
    Ok(if negative { n.neg() } else { n })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::func::resolve::tests::{error, run};

    #[test]
    fn timestamps_print_by_template() {
        let t = "2024-02-09 15:04:05.678901::timestamp";
        for (template, expected) in [
            ("YYYY-MM-DD HH24:MI:SS.MS", "2024-02-09 15:04:05.678"),
            ("Day, DD Month YYYY", "Friday   , 09 February  2024"),
            ("FMDay, FMDD FMMonth", "Friday, 9 February"),
            ("DDth Mon", "09th Feb"),
            ("HH12:MI am", "03:04 pm"),
            ("HH:MI P.M.", "03:04 P.M."),
            ("IYYY-IW-ID", "2024-06-5"),
            ("DDD Q J CC", "040 1 2460350 21"),
            ("\"YYYY:\" YY", "YYYY: 24"),
            ("US FF3 SSSS", "678901 678 54245"),
            ("DY dy RM", "FRI fri II  "),
        ] {
            assert_eq!(run("to_char", &[t, template]), expected, "{template}");
        }
        assert_eq!(run("to_char", &["2024-02-09 15:04:05+00::timestamptz", "YYYY TZ OF"]), "2024 UTC +00");
        assert_eq!(run("to_char", &["15 hours 2 minutes 12 seconds::interval", "HH24:MI:SS"]), "15:02:12");
    }

    #[test]
    fn timestamps_are_read_by_template() {
        for (text, template, expected) in [
            ("05 Dec 2000", "DD Mon YYYY", "2000-12-05 00:00:00+00"),
            ("2024-02-29 13:04:05.5", "YYYY-MM-DD HH24:MI:SS.MS", "2024-02-29 13:04:05.5+00"),
            ("20240229130405", "YYYYMMDDHH24MISS", "2024-02-29 13:04:05+00"),
            ("2024/02/29 1:04 PM", "YYYY-MM-DD HH:MI AM", "2024-02-29 13:04:00+00"),
            ("2024-060", "YYYY-DDD", "2024-02-29 00:00:00+00"),
            ("2024-02-29T13:04:05+02", "YYYY-MM-DD\"T\"HH24:MI:SSTZH", "2024-02-29 11:04:05+00"),
        ] {
            assert_eq!(run("to_timestamp", &[text, template]), expected, "{text}");
        }
        assert_eq!(run("to_date", &["29 February 2024", "DD Month YYYY"]), "2024-02-29");
        assert_eq!(error("to_date", &["2023-02-30", "YYYY-MM-DD"])[..5], *"22008");
        assert_eq!(error("to_timestamp", &["x", "YYYY"]), "22007 invalid value \"x\" for \"YYYY\"");
    }

    #[test]
    fn numbers_print_by_template() {
        for (n, template, expected) in [
            ("-12", "999", " -12"),
            ("12", "999", "  12"),
            ("485", "999", " 485"),
            ("1485", "9,999", " 1,485"),
            ("148.5", "999.999", " 148.500"),
            ("148.5", "FM999.999", "148.5"),
            ("148.5", "FM999.990", "148.500"),
            ("0.1", "99.99", "   .10"),
            ("-0.1", "0.9", "-0.1"),
            ("0.1", "0.9", " 0.1"),
            ("0", "9", " 0"),
            ("12", "0999", " 0012"),
            ("485", "999MI", "485 "),
            ("-485", "999MI", "485-"),
            ("485", "S999", "+485"),
            ("-485", "999PR", "<485>"),
            ("485", "999th", " 485th"),
            ("482", "999th", " 482nd"),
            ("485", "RN", "        CDLXXXV"),
            ("5.2", "FMRN", "V"),
            ("12.4", "99V999", " 12400"),
            ("1234567.891", "FM9,999,999.00", "1,234,567.89"),
            ("12345", "999", " ###"),
        ] {
            assert_eq!(
                print_number(Numeric::parse(n).unwrap(), template).unwrap(),
                expected,
                "{n} {template}"
            );
        }
        assert_eq!(run("to_number", &["12,454.8-", "99G999D9S"]), "-12454.8");
    }
}
