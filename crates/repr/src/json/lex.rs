//! The pieces of JSON text, shared by parser and scanner.
//!
//! What reads a piece takes the position of its first byte and returns the position behind it, or none where the piece
//! is not plainly valid. The parser finds out why with [`string_fault`] and its like; the scanner does not ask.

use crate::error::code;
use crate::jsonb::{MAX_DEPTH, too_deep};
use crate::{EvalError, Numeric};

/// Steps over white space.
#[inline]
pub(super) fn white(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The same byte eight times.
const fn all(b: u8) -> u64 {
    u64::from_ne_bytes([b; 8])
}

/// The position of the first quote, backslash or control character from `at` on, or the end.
#[inline]
pub(crate) fn special(bytes: &[u8], at: usize) -> usize {
    special_and_ascii(bytes, at).0
}

/// Also whether all bytes before it are ASCII; false is possible where it is only close by that they are not.
#[inline(always)]
fn special_and_ascii(bytes: &[u8], mut at: usize) -> (usize, bool) {
    let mut seen = 0;
    while let Some(chunk) = bytes.get(at..).and_then(|b| b.first_chunk::<8>()) {
        let x = u64::from_le_bytes(*chunk);
        // In a byte below 0x80: x ^ 2 is below 0x21 for the quote (0x22) and for all below 0x20, and for them only. A
        // borrow can spoil bytes only above one that is rightly found, and the lowest is what counts.
        let quote_or_control = (x ^ all(2)).wrapping_sub(all(0x21));
        let backslash = (x ^ all(b'\\')).wrapping_sub(all(1));
        let found = (quote_or_control | backslash) & !x & all(0x80);
        seen |= x;
        if found != 0 {
            return (at + (found.trailing_zeros() / 8) as usize, seen & all(0x80) == 0);
        }
        at += 8;
    }
    while let Some(b) = bytes.get(at) {
        if matches!(b, b'"' | b'\\' | 0..0x20) {
            break;
        }
        seen |= u64::from(*b);
        at += 1;
    }
    (at, seen & all(0x80) == 0)
}

/// A string, from behind its opening quote to behind the closing one, and whether it has escapes. If `CHECK`, it must
/// be UTF-8; otherwise the caller knows that it is.
#[inline(always)]
pub(super) fn string<const CHECK: bool>(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let (end, ascii) = special_and_ascii(bytes, at);
    match bytes.get(end) {
        Some(b'"') if ascii || !CHECK => Some((end + 1, false)),
        Some(b'"') => std::str::from_utf8(&bytes[at..end]).ok().map(|_| (end + 1, false)),
        Some(b'\\') => {
            let end = string_with_escapes(bytes, end)?;
            (!CHECK || std::str::from_utf8(&bytes[at..end]).is_ok()).then_some((end, true))
        }
        _ => None,
    }
}

#[cold]
fn string_with_escapes(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = escape(bytes, at).ok()?.1,
            _ => return None,
        }
        at = special(bytes, at);
    }
}

/// An escape from its backslash: the character and the position behind it.
fn escape(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let c = match *bytes.get(at + 1).ok_or(Fault::End)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\x08',
        b'f' => '\x0c',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let unit = |at: usize| {
                let digits = bytes.get(at..).unwrap_or(&[]);
                let digits = digits.first_chunk::<4>().ok_or(Fault::Hex)?;
                digits
                    .iter()
                    .try_fold(0u32, |n, d| Ok(n << 4 | char::from(*d).to_digit(16).ok_or(Fault::Hex)?))
            };
            let high = unit(at + 2)?;
            return match high {
                0 => Err(Fault::NulEscape),
                0xd800..0xdc00 if bytes.get(at + 6..at + 8) == Some(b"\\u") => {
                    let low = unit(at + 8)?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(Fault::Surrogate);
                    }
                    let c = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    Ok((char::from_u32(c).ok_or(Fault::Surrogate)?, at + 12))
                }
                _ => Ok((char::from_u32(high).ok_or(Fault::Surrogate)?, at + 6)),
            };
        }
        _ => return Err(Fault::Escape),
    };
    Ok((c, at + 2))
}

/// Appends what stands between the quotes of a valid string, escapes replaced.
pub(super) fn unescape(inside: &str, out: &mut String) {
    let bytes = inside.as_bytes();
    let mut done = 0;
    while let Some(next) = memchr::memchr(b'\\', &bytes[done..]) {
        out.push_str(&inside[done..done + next]);
        let (c, end) = escape(bytes, done + next).expect("the string was checked");
        out.push(c);
        done = end;
    }
    out.push_str(&inside[done..]);
}

/// A number, and whether its text is the one that `Numeric` prints.
#[inline]
pub(super) fn number(bytes: &[u8], start: usize) -> Option<(usize, bool)> {
    let (end, plain, canonical) = number_shape(bytes, start)?;
    // With so few digits and no exponent it is in range for sure.
    if plain && end - start <= 38 {
        return Some((end, canonical));
    }
    let text = std::str::from_utf8(&bytes[start..end]).ok()?;
    Numeric::parse_exact(text).ok().map(|_| (end, false))
}

/// The end of a number of any size, whether it has no exponent, and whether it prints as it stands if it is in range.
#[inline]
fn number_shape(bytes: &[u8], start: usize) -> Option<(usize, bool, bool)> {
    let digits = |mut at: usize| {
        while let Some(b'0'..=b'9') = bytes.get(at) {
            at += 1;
        }
        at
    };
    let whole = start + usize::from(bytes.get(start) == Some(&b'-'));
    let mut end = digits(whole);
    if end == whole || (bytes[whole] == b'0' && end > whole + 1) {
        return None;
    }
    let mut canonical = whole == start || bytes[whole] != b'0';
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits(fraction);
        if end == fraction {
            return None;
        }
        canonical = bytes[end - 1] != b'0';
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let power = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = digits(power);
        return (end > power).then_some((end, false, false));
    }
    Some((end, true, canonical))
}

/// `true`, `false` or `null`.
#[inline]
pub(super) fn literal(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    if rest.starts_with(b"true") || rest.starts_with(b"null") {
        Some(at + 4)
    } else if rest.starts_with(b"false") {
        Some(at + 5)
    } else {
        None
    }
}

/// Any value at this depth, checked and thrown away. Nesting takes no stack.
pub(super) fn skip(bytes: &[u8], mut at: usize, depth: usize) -> Option<usize> {
    // A bit a level: whether it is an object.
    let mut objects = [0u64; MAX_DEPTH / 64];
    let mut level = depth;
    'value: loop {
        match *bytes.get(at)? {
            b'"' => at = string::<true>(bytes, at + 1)?.0,
            b'-' | b'0'..=b'9' => at = number(bytes, at)?.0,
            open @ (b'{' | b'[') => {
                if level == MAX_DEPTH {
                    return None;
                }
                let (word, bit) = (level / 64, 1 << (level % 64));
                level += 1;
                at = white(bytes, at + 1);
                if open == b'{' {
                    objects[word] |= bit;
                    if bytes.get(at) != Some(&b'}') {
                        at = skip_key(bytes, at)?;
                        continue 'value;
                    }
                } else {
                    objects[word] &= !bit;
                    if bytes.get(at) != Some(&b']') {
                        continue 'value;
                    }
                }
                level -= 1;
                at += 1;
            }
            _ => at = literal(bytes, at)?,
        }
        while level > depth {
            at = white(bytes, at);
            let object = objects[(level - 1) / 64] >> ((level - 1) % 64) & 1 != 0;
            match *bytes.get(at)? {
                b',' => {
                    at = white(bytes, at + 1);
                    if object {
                        at = skip_key(bytes, at)?;
                    }
                    continue 'value;
                }
                b'}' if object => {}
                b']' if !object => {}
                _ => return None,
            }
            level -= 1;
            at += 1;
        }
        return Some(at);
    }
}

/// A key, its colon and the white space around it.
#[inline]
fn skip_key(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let at = white(bytes, string::<true>(bytes, at + 1)?.0);
    (bytes.get(at) == Some(&b':')).then(|| white(bytes, at + 1))
}

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It stops in the middle.
    End,
    /// Something else should stand here.
    Expected(&'static str),
    /// A word or number that JSON does not know.
    Token,
    /// A control character in a string.
    Control,
    /// A backslash before a wrong letter.
    Escape,
    /// `\u` without four hexadecimal digits.
    Hex,
    /// `\u0000`.
    NulEscape,
    /// Half a surrogate pair.
    Surrogate,
    /// A number that a numeric cannot hold exactly.
    Range,
    /// Too many levels.
    Depth,
}

/// Why a string, from behind its opening quote, is not valid, and where.
pub(super) fn string_fault(bytes: &[u8], mut at: usize) -> (Fault, usize) {
    loop {
        at = special(bytes, at);
        match bytes.get(at) {
            None => return (Fault::End, at),
            Some(b'\\') => match escape(bytes, at) {
                Ok((_, end)) => at = end,
                Err(fault) => return (fault, at),
            },
            Some(b'"') => at += 1,
            Some(_) => return (Fault::Control, at),
        }
    }
}

/// Why a number is not valid: its shape or its size.
pub(super) fn number_fault(bytes: &[u8], at: usize) -> Fault {
    if number_shape(bytes, at).is_some() { Fault::Range } else { Fault::Token }
}

/// The word or number at a place: what a reader would take for one token.
fn token(bytes: &[u8], at: usize) -> &str {
    let rest = &bytes[at..];
    let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'+' | b'-') || *b >= 0x80;
    let end = rest.iter().position(|b| !word(b)).unwrap_or(rest.len()).max(1).min(rest.len());
    std::str::from_utf8(&rest[..end]).unwrap_or("")
}

/// The error that a user sees.
#[cold]
pub(super) fn error(text: &str, fault: Fault, at: usize) -> EvalError {
    let bytes = text.as_bytes();
    let place = format!("at byte {at}");
    let found = || {
        let token = if at < bytes.len() { token(bytes, at) } else { "" };
        match token.char_indices().nth(32) {
            Some((cut, _)) => format!("\"{}…\"", &token[..cut]),
            None => format!("\"{token}\""),
        }
    };
    let syntax = |detail: String| {
        EvalError::new(code::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
            .with_detail(detail)
    };
    match fault {
        Fault::End => syntax(format!("The input string ended unexpectedly {place}.")),
        Fault::Expected(what) if at >= bytes.len() => {
            syntax(format!("Expected {what}, but the input string ended {place}."))
        }
        Fault::Expected(what) => syntax(format!("Expected {what}, but found {} {place}.", found())),
        Fault::Token => syntax(format!("Token {} {place} is invalid.", found())),
        Fault::Control => {
            let b = bytes.get(at).copied().unwrap_or(0);
            syntax(format!("Character with value 0x{b:02x} {place} must be escaped."))
        }
        Fault::Escape => {
            let c = text.get(at + 1..).and_then(|s| s.chars().next()).unwrap_or('\\');
            syntax(format!("Escape sequence \"\\{c}\" {place} is invalid."))
        }
        Fault::Hex => syntax(format!("\"\\u\" {place} must be followed by four hexadecimal digits.")),
        Fault::Surrogate => syntax(format!("The escape {place} is half of a surrogate pair.")),
        Fault::NulEscape => {
            EvalError::new(code::UNTRANSLATABLE_CHARACTER, "unsupported Unicode escape sequence")
                .with_detail(format!("\\u0000 {place} cannot be converted to text."))
        }
        Fault::Range => {
            let end = number_shape(bytes, at).map_or(at, |(end, ..)| end);
            let why = Numeric::parse_exact(&text[at..end]).err();
            let detail =
                why.as_ref().and_then(|e| e.detail()).unwrap_or("A numeric holds at most 39 digits.");
            EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow")
                .with_detail(format!("{detail} The number is {place}."))
        }
        Fault::Depth => too_deep(),
    }
}
