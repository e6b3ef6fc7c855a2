//! JSON text to packed form, in one pass without recursion.

use super::lex::{self, Fault};
use crate::jsonb::{Builder, MAX_DEPTH};
use crate::{EvalError, Numeric};

/// Packs a whole document.
pub(super) fn document(text: &str, b: &mut Builder) -> Result<(), EvalError> {
    let bytes = text.as_bytes();
    let packed = value(text, lex::white(bytes, 0), b).and_then(|end| match lex::white(bytes, end) {
        end if end == bytes.len() => Ok(()),
        end => Err((Fault::Expected("end of input"), end)),
    });
    packed.map_err(|(fault, at)| lex::error(text, fault, at))
}

/// Packs the value that starts at `at` and returns the position behind it, or what is wrong and where.
pub(super) fn value(text: &str, mut at: usize, b: &mut Builder) -> Result<usize, (Fault, usize)> {
    let bytes = text.as_bytes();
    let outer = b.depth();
    let mut scratch = String::new();
    'value: loop {
        match bytes.get(at) {
            Some(b'"') => at = string(text, at, &mut scratch, |s| b.string(s))?,
            Some(b'-' | b'0'..=b'9') => {
                let (end, _) = lex::number(bytes, at).ok_or_else(|| (lex::number_fault(bytes, at), at))?;
                b.number(Numeric::parse_exact(&text[at..end]).map_err(|_| (Fault::Range, at))?);
                at = end;
            }
            Some(b'{') => {
                if b.depth() - outer == MAX_DEPTH {
                    return Err((Fault::Depth, at));
                }
                at = lex::white(bytes, at + 1);
                b.begin_object();
                if bytes.get(at) != Some(&b'}') {
                    at = key(text, at, &mut scratch, b, "string or \"}\"")?;
                    continue 'value;
                }
                b.end_object();
                at += 1;
            }
            Some(b'[') => {
                if b.depth() - outer == MAX_DEPTH {
                    return Err((Fault::Depth, at));
                }
                at = lex::white(bytes, at + 1);
                b.begin_array();
                if bytes.get(at) != Some(&b']') {
                    continue 'value;
                }
                b.end_array();
                at += 1;
            }
            Some(c) => {
                let word = c.is_ascii_alphanumeric() || *c >= 0x80;
                let fault = if word { Fault::Token } else { Fault::Expected("JSON value") };
                let end = lex::literal(bytes, at).ok_or((fault, at))?;
                match c {
                    b't' => b.boolean(true),
                    b'f' => b.boolean(false),
                    _ => b.null(),
                }
                at = end;
            }
            None => return Err((Fault::End, at)),
        }
        while b.depth() > outer {
            at = lex::white(bytes, at);
            match (b.in_object(), bytes.get(at)) {
                (true, Some(b',')) => {
                    at = key(text, lex::white(bytes, at + 1), &mut scratch, b, "string")?;
                    continue 'value;
                }
                (false, Some(b',')) => {
                    at = lex::white(bytes, at + 1);
                    continue 'value;
                }
                (true, Some(b'}')) => b.end_object(),
                (false, Some(b']')) => b.end_array(),
                (_, None) => return Err((Fault::End, at)),
                (true, _) => return Err((Fault::Expected("\",\" or \"}\""), at)),
                (false, _) => return Err((Fault::Expected("\",\" or \"]\""), at)),
            }
            at += 1;
        }
        return Ok(at);
    }
}

/// Packs a key, from its opening quote, and steps over the colon.
fn key(
    text: &str,
    at: usize,
    scratch: &mut String,
    b: &mut Builder,
    expected: &'static str,
) -> Result<usize, (Fault, usize)> {
    let bytes = text.as_bytes();
    match bytes.get(at) {
        Some(b'"') => {}
        None => return Err((Fault::End, at)),
        Some(_) => return Err((Fault::Expected(expected), at)),
    }
    let at = lex::white(bytes, string(text, at, scratch, |s| b.key(s))?);
    match bytes.get(at) {
        Some(b':') => Ok(lex::white(bytes, at + 1)),
        None => Err((Fault::End, at)),
        Some(_) => Err((Fault::Expected("\":\""), at)),
    }
}

/// Hands on a string, from its opening quote, without escapes.
#[inline]
fn string(
    text: &str,
    at: usize,
    scratch: &mut String,
    put: impl FnOnce(&str),
) -> Result<usize, (Fault, usize)> {
    let bytes = text.as_bytes();
    let (end, escaped) =
        lex::string::<false>(bytes, at + 1).ok_or_else(|| lex::string_fault(bytes, at + 1))?;
    let inside = &text[at + 1..end - 1];
    if escaped {
        scratch.clear();
        lex::unescape(inside, scratch);
        put(scratch);
    } else {
        put(inside);
    }
    Ok(end)
}
