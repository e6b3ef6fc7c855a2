//! Text of numbers, truth values, bytes, uuids, and strings of limited length.

use std::fmt::{LowerExp, Write};

use crate::EvalError;
use crate::error::code;

fn bad_syntax(ty: &str, text: &str) -> EvalError {
    let message = format!("invalid input syntax for type {ty}: \"{text}\"");
    EvalError::new(code::INVALID_TEXT_REPRESENTATION, message)
}

fn is_space(c: char) -> bool {
    // What C calls space; Rust's ASCII whitespace leaves out the vertical tab.
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Reads a truth value: `true`, `yes`, `on`, `1` and their opposites, in any case, or a beginning that only one of them
/// has. Errors: 22P02.
pub fn parse_bool(text: &str) -> Result<bool, EvalError> {
    let s = text.trim_matches(is_space);
    let starts = |word: &str, least: usize| {
        s.len() >= least
            && s.len() <= word.len()
            && word.as_bytes()[..s.len()].eq_ignore_ascii_case(s.as_bytes())
    };
    match () {
        () if s == "1" || starts("true", 1) || starts("yes", 1) || starts("on", 2) => Ok(true),
        () if s == "0" || starts("false", 1) || starts("no", 1) || starts("off", 2) => Ok(false),
        () => Err(bad_syntax("boolean", text)),
    }
}

/// Reads an integer of any type here into the widest.
fn parse_int(text: &str, ty: &str, min: i128, max: i128) -> Result<i128, EvalError> {
    let s = text.trim_matches(is_space);
    let (negative, digits) = match s.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad_syntax(ty, text));
    }
    let magnitude =
        digits.iter().fold(0i128, |n, d| n.saturating_mul(10).saturating_add(i128::from(d - b'0')));
    let n = if negative { -magnitude } else { magnitude };
    if n < min || n > max {
        let message = format!("value \"{text}\" is out of range for type {ty}");
        return Err(EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    Ok(n)
}

macro_rules! integers {
    ($($function:ident $ty:ident $name:literal),*) => {$(
        #[doc = concat!("Reads a `", $name, "`. Errors: 22P02 on syntax, 22003 out of range.")]
        pub fn $function(text: &str) -> Result<$ty, EvalError> {
            // Short and plain is the common case.
            if text.len() < 10
                && let Ok(n) = text.parse()
            {
                return Ok(n);
            }
            parse_int(text, $name, $ty::MIN.into(), $ty::MAX.into()).map(|n| n as $ty)
        }
    )*};
}
integers!(
    parse_i16 i16 "smallint",
    parse_i32 i32 "integer",
    parse_i64 i64 "bigint",
    parse_u16 u16 "uint2",
    parse_u32 u32 "uint4",
    parse_u64 u64 "uint8"
);

/// Reads an oid, or one of the `reg…` types, called `ty` in errors, as a number. A negative one counts down from 2^32.
/// Errors: 22P02, 22003.
pub fn parse_oid(text: &str, ty: &str) -> Result<u32, EvalError> {
    parse_int(text, ty, i32::MIN.into(), u32::MAX.into()).map(|n| n as u32)
}

/// Reads a `double precision`. Errors: 22P02 on syntax, 22003 where it is too large, or too small but not zero.
pub fn parse_f64(text: &str) -> Result<f64, EvalError> {
    parse_float(text, "double precision", f64::is_infinite, |x| *x == 0.0)
}

/// Reads a `real`. Errors: 22P02 on syntax, 22003 where it is too large, or too small but not zero.
pub fn parse_f32(text: &str) -> Result<f32, EvalError> {
    parse_float(text, "real", |x: f32| x.is_infinite(), |x| *x == 0.0)
}

fn parse_float<T: std::str::FromStr + Copy>(
    text: &str,
    ty: &str,
    is_infinite: impl Fn(T) -> bool,
    is_zero: impl Fn(&T) -> bool,
) -> Result<T, EvalError> {
    let s = text.trim_matches(is_space);
    let x: T = s.parse().map_err(|_| bad_syntax(ty, text))?;
    // A word names a special value; digits must not become one.
    let has_digits = s.bytes().any(|b| b.is_ascii_digit());
    let mantissa = s.split(['e', 'E']).next().unwrap_or(s);
    let lost = is_zero(&x) && mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if has_digits && (is_infinite(x) || lost) {
        let message = format!("\"{text}\" is out of range for type {ty}");
        return Err(EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    Ok(x)
}

/// Appends a `double precision`: the fewest digits that name it, with an exponent from 1e15 on and below 1e-4.
pub fn print_f64(x: f64, out: &mut String) {
    if !print_special(x, out) {
        print_float(x, 15, out)
    }
}

/// Appends a `real`: the fewest digits that name it, with an exponent from 1e6 on and below 1e-4.
pub fn print_f32(x: f32, out: &mut String) {
    if !print_special(x.into(), out) {
        print_float(x, 6, out)
    }
}

fn print_special(x: f64, out: &mut String) -> bool {
    let word = match x {
        x if x.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => return false,
    };
    out.push_str(word);
    true
}

fn print_float<T: LowerExp>(x: T, fixed_below: i32, out: &mut String) {
    let start = out.len();
    write!(out, "{x:e}").expect("strings take everything");
    // `-d.ddde-x` so far. The longest is 24 bytes, so what is rewritten fits a small buffer.
    let mut buffer = [0u8; 32];
    let len = out.len() - start;
    buffer[..len].copy_from_slice(&out.as_bytes()[start..]);
    let written = std::str::from_utf8(&buffer[..len]).expect("a number is ASCII");
    let (mantissa, exponent) = written.split_once('e').unwrap_or((written, "0"));
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    out.truncate(start);
    if !(-4..fixed_below).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(out, "{mantissa}e{sign}{:02}", exponent.abs()).expect("strings take everything");
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(m) => ("-", m),
        None => ("", mantissa),
    };
    out.push_str(sign);
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
        out.push_str(first);
        out.push_str(rest);
        return;
    }
    let whole = exponent as usize;
    out.push_str(first);
    if rest.len() <= whole {
        out.push_str(rest);
        out.extend(std::iter::repeat_n('0', whole - rest.len()));
    } else {
        out.push_str(&rest[..whole]);
        out.push('.');
        out.push_str(&rest[whole..]);
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn push_hex(b: u8, out: &mut String) {
    out.push(char::from(HEX[usize::from(b >> 4)]));
    out.push(char::from(HEX[usize::from(b & 15)]));
}

/// Appends bytes as `\x` and hexadecimal digits.
pub fn print_bytes(bytes: &[u8], out: &mut String) {
    out.reserve(2 + 2 * bytes.len());
    out.push_str("\\x");
    bytes.iter().for_each(|b| push_hex(*b, out));
}

fn hex_digit(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).map(|d| d as u8)
}

/// Reads bytes: `\x` and hexadecimal digits, or characters with `\\` and `\ooo` escapes.
///
/// Errors: 22023 on bad digits, 22P02 on bad escapes.
pub fn parse_bytes(text: &str) -> Result<Vec<u8>, EvalError> {
    let Some(hex) = text.strip_prefix("\\x") else { return unescape(text) };
    let mut out = Vec::with_capacity(hex.len() / 2);
    let mut rest = hex.chars();
    while let Some(c) = rest.next() {
        if is_space(c) {
            continue;
        }
        let digit = |c: char| {
            let d = u8::try_from(c).ok().and_then(hex_digit);
            d.ok_or_else(|| {
                EvalError::new(code::INVALID_PARAMETER_VALUE, format!("invalid hexadecimal digit: \"{c}\""))
            })
        };
        let high = digit(c)?;
        let low = rest.next().ok_or_else(|| {
            EvalError::new(code::INVALID_PARAMETER_VALUE, "invalid hexadecimal data: odd number of digits")
        })?;
        out.push(high << 4 | digit(low)?);
    }
    Ok(out)
}

fn unescape(text: &str) -> Result<Vec<u8>, EvalError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                out.push(b'\\');
                tail
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            (b'\\', _) => {
                return Err(EvalError::new(
                    code::INVALID_TEXT_REPRESENTATION,
                    "invalid input syntax for type bytea",
                ));
            }
            (b, tail) => {
                out.push(*b);
                tail
            }
        };
    }
    Ok(out)
}

/// Appends a uuid: 8, 4, 4, 4 and 12 digits.
pub fn print_uuid(uuid: [u8; 16], out: &mut String) {
    for (i, b) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        push_hex(*b, out);
    }
}

/// Reads a uuid: 32 hexadecimal digits, a hyphen allowed after every fourth, braces around it allowed. Errors: 22P02.
pub fn parse_uuid(text: &str) -> Result<[u8; 16], EvalError> {
    let read = || {
        let mut s = text.as_bytes();
        if let [b'{', inner @ .., b'}'] = s {
            s = inner;
        }
        let mut uuid = [0; 16];
        for (i, byte) in uuid.iter_mut().enumerate() {
            let [high, low, rest @ ..] = s else { return None };
            *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
            s = match rest {
                [b'-', rest @ ..] if i % 2 == 1 && i < 15 => rest,
                rest => rest,
            };
        }
        s.is_empty().then_some(uuid)
    };
    read().ok_or_else(|| bad_syntax("uuid", text))
}

/// The string within `varchar(length)`. What is too long is cut if it is blanks or in an explicit cast, else 22001.
pub fn fit_varchar(text: &str, length: Option<u32>, explicit: bool) -> Result<&str, EvalError> {
    match length {
        Some(n) => fit(text, n, explicit, "character varying"),
        None => Ok(text),
    }
}

/// The string within `char(length)`, without the blanks at its end, which do not count. What is too long is cut in an
/// explicit cast, else 22001.
pub fn fit_char(text: &str, length: Option<u32>, explicit: bool) -> Result<&str, EvalError> {
    let trimmed = text.trim_end_matches(' ');
    match length {
        Some(n) => fit(trimmed, n, explicit, "character").map(|s| s.trim_end_matches(' ')),
        None => Ok(trimmed),
    }
}

/// The first 63 bytes, as Postgres cuts names, without half a character.
pub fn fit_name(text: &str) -> &str {
    let mut end = text.len().min(63);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn fit<'t>(text: &'t str, length: u32, explicit: bool, ty: &str) -> Result<&'t str, EvalError> {
    let length = length as usize;
    if text.len() <= length {
        return Ok(text);
    }
    let Some((end, _)) = text.char_indices().nth(length) else { return Ok(text) };
    if explicit || text[end..].bytes().all(|b| b == b' ') {
        return Ok(&text[..end]);
    }
    Err(EvalError::new(code::STRING_DATA_RIGHT_TRUNCATION, format!("value too long for type {ty}({length})")))
}
