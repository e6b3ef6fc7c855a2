//! Time zones: offsets, abbreviations and the names of the IANA database.

use chrono::{DateTime, Offset, TimeZone};

use super::{DAY, Interval, SECOND, check_timestamp};
use crate::EvalError;
use crate::error::code;

/// A rule that gives every moment an offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// A zone of the IANA database, with its changes.
    Named(chrono_tz::Tz),
}

/// Abbreviations that Postgres knows by default and that people write, with their hours east of UTC in quarters.
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("acdt", 42),
    ("acst", 38),
    ("aedt", 44),
    ("aest", 40),
    ("akdt", -32),
    ("akst", -36),
    ("art", -12),
    ("awst", 32),
    ("bst", 4),
    ("brt", -12),
    ("cdt", -20),
    ("cest", 8),
    ("cet", 4),
    ("cst", -24),
    ("edt", -16),
    ("eest", 12),
    ("eet", 8),
    ("est", -20),
    ("gmt", 0),
    ("hkt", 32),
    ("hst", -40),
    ("ist", 8),
    ("jst", 36),
    ("kst", 36),
    ("mdt", -24),
    ("mest", 8),
    ("met", 4),
    ("msk", 12),
    ("mst", -28),
    ("nzdt", 52),
    ("nzst", 48),
    ("pdt", -28),
    ("pkt", 20),
    ("pst", -32),
    ("sast", 8),
    ("sgt", 32),
    ("uct", 0),
    ("ut", 0),
    ("utc", 0),
    ("wet", 0),
    ("wetdst", 4),
    ("z", 0),
    ("zulu", 0),
];

impl Zone {
    /// Universal time.
    pub const UTC: Zone = Zone::Fixed(0);

    /// The zone that `AT TIME ZONE` and `timezone` name: an IANA name, an abbreviation, or an offset, which counts
    /// *westwards* in such a string, as POSIX and Postgres have it: `'+02'` is two hours behind UTC.
    ///
    /// Errors: 22023.
    pub fn parse(name: &str) -> Result<Zone, EvalError> {
        let trimmed = name.trim();
        let unknown =
            || EvalError::new(code::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"));
        if trimmed.starts_with(['+', '-']) || trimmed.starts_with(|c: char| c.is_ascii_digit()) {
            let east = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
            let (seconds, rest) = offset(east).ok_or_else(unknown)?;
            if !rest.is_empty() {
                return Err(unknown());
            }
            return Ok(Zone::Fixed(if trimmed.starts_with('-') { seconds } else { -seconds }));
        }
        Zone::named(trimmed).ok_or_else(unknown)
    }

    /// An abbreviation, an IANA name in any case, or an abbreviation with an offset in POSIX' sense (`UTC+2`).
    pub fn named(name: &str) -> Option<Zone> {
        if let Some((_, quarters)) = ABBREVIATIONS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            return Some(Zone::Fixed(quarters * 900));
        }
        if let Ok(tz) = name.parse::<chrono_tz::Tz>() {
            return Some(Zone::Named(tz));
        }
        if let Some(tz) = chrono_tz::TZ_VARIANTS.iter().find(|tz| tz.name().eq_ignore_ascii_case(name)) {
            return Some(Zone::Named(*tz));
        }
        let at = name.find(['+', '-'])?;
        if at < 3 || !name[..at].bytes().all(|b| b.is_ascii_alphabetic()) {
            return None;
        }
        // A run of four digits is an offset as ISO 8601 has it, with the other sign: refused rather than misread.
        if name[at + 1..].bytes().take_while(u8::is_ascii_digit).count() > 2 {
            return None;
        }
        let (seconds, rest) = offset(&name[at + 1..])?;
        rest.is_empty().then_some(Zone::Fixed(if name[at..].starts_with('-') { seconds } else { -seconds }))
    }

    /// The zone that an interval stands for: its time, eastwards. Errors: 22023 when it has months or days.
    pub fn from_interval(i: Interval) -> Result<Zone, EvalError> {
        if i.months != 0 || i.days != 0 {
            let message = format!("interval time zone \"{i}\" must not include months or days");
            return Err(EvalError::new(code::INVALID_PARAMETER_VALUE, message));
        }
        if i.micros.unsigned_abs() >= DAY as u64 {
            let message = format!("time zone \"{i}\" is out of range");
            return Err(EvalError::new(code::INVALID_PARAMETER_VALUE, message));
        }
        Ok(Zone::Fixed((i.micros / SECOND) as i32))
    }

    /// Seconds east of UTC at a moment.
    pub fn offset_at(self, utc: i64) -> i32 {
        match self {
            Zone::Fixed(seconds) => seconds,
            Zone::Named(tz) => {
                // Beyond the library's years the rules are those at its end.
                let utc = match DateTime::from_timestamp_micros(utc) {
                    Some(t) => t,
                    None if utc < 0 => DateTime::<chrono::Utc>::MIN_UTC,
                    None => DateTime::<chrono::Utc>::MAX_UTC,
                };
                tz.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc()
            }
        }
    }

    /// The name, or the offset as `+02:00`.
    pub fn name(self) -> String {
        match self {
            Zone::Named(tz) => tz.name().to_string(),
            Zone::Fixed(0) => "UTC".to_string(),
            Zone::Fixed(s) => {
                let sign = if s < 0 { '-' } else { '+' };
                format!("{sign}{:02}:{:02}", s.abs() / 3600, s.abs() / 60 % 60)
            }
        }
    }
}

/// Reads `hh[:mm[:ss]]` or `hhmm` without sign; seconds, and what follows.
pub(super) fn offset(s: &str) -> Option<(i32, &str)> {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let number = |s: &str| s.parse::<i32>().ok();
    let n = digits(s);
    let hours;
    let (mut minutes, mut seconds) = (0, 0);
    let mut rest = &s[n..];
    match n {
        1 | 2 => {
            hours = number(&s[..n])?;
            for part in [&mut minutes, &mut seconds] {
                let Some(tail) = rest.strip_prefix(':') else { break };
                if digits(tail) != 2 {
                    return None;
                }
                *part = number(&tail[..2])?;
                rest = &tail[2..];
            }
        }
        3 | 4 => {
            hours = number(&s[..n - 2])?;
            minutes = number(&s[n - 2..n])?;
        }
        6 => {
            hours = number(&s[..2])?;
            minutes = number(&s[2..4])?;
            seconds = number(&s[4..6])?;
        }
        _ => return None,
    }
    (hours <= 15 && minutes < 60 && seconds < 60).then_some((hours * 3600 + minutes * 60 + seconds, rest))
}

/// `timestamptz AT TIME ZONE zone`: what the clocks of the zone show. Errors: 22008.
pub fn utc_to_local(utc: i64, zone: Zone) -> Result<i64, EvalError> {
    check_timestamp(i128::from(utc) + i128::from(zone.offset_at(utc)) * i128::from(SECOND))
}

/// `timestamp AT TIME ZONE zone`: the moment at which the clocks of the zone show it. A time that clocks show twice is
/// the later one, and one that they skip is read with the offset from before, as Postgres does. Errors: 22008.
pub fn local_to_utc(local: i64, zone: Zone) -> Result<i64, EvalError> {
    let at = |offset: i32| local.saturating_sub(i64::from(offset) * SECOND);
    let before = zone.offset_at(local.saturating_sub(DAY));
    let after = zone.offset_at(local.saturating_add(DAY));
    let offset = if before == after || zone.offset_at(at(after)) != after { before } else { after };
    check_timestamp(i128::from(local) - i128::from(offset) * i128::from(SECOND))
}
