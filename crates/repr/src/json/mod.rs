//! JSON text: the parser, and the scanner that reads only the paths somebody wants.
//!
//! Both accept the same documents and give the same values: RFC 8259, UTF-8, one document, at most
//! [`MAX_DEPTH`] levels, numbers that a numeric holds exactly, no `\u0000`, no lone surrogate. Of equal keys the last
//! one wins. Everything is checked, also what nobody reads.
//!
//! How the [`Scanner`] works, for `data->>'type'` and `data->'context'->>'ip'`:
//!
//! ```text
//!  nodes (what is wanted)          places and keys (what was seen, learned while reading)
//!
//!  root ─┬─ type      → slot 0     {"anonymousId":  ⟶  ,"context":  ⟶  ,"type":  ⟶  ,"userId":
//!        └─ context ─── ip → 1                            │   └ node of type
//!                                                         └ {"library":  ⟶  ,"ip":  ⟶  …
//!
//!  {"anonymousId":"54620574","context":{"library":{…},"ip":"10.0.5.180"},"type":"track","userId":null}
//!  └──────┬──────┘└────┬───┘└────┬────┘                                 └──┬───┘└──┬──┘
//!     one compare    skipped   one compare                             one compare  a span for slot 0
//! ```
//!
//! 1. *One pass over the bytes.* Strings are searched for their end eight bytes at a time, and their UTF-8 is checked if
//!    that search saw more than ASCII; outside of strings there is nothing else. Of a wanted value only the span is kept; at the end of the document, and only if all of it is
//!    valid, spans become entries of columns: so the last of equal keys wins, and a bad document leaves nothing behind.
//! 2. *Predicted keys.* From the end of a value to the start of the next, the text (`,"context":`, with whatever white
//!    space) is mostly what followed last time. Each key remembers up to four such texts; a guess is confirmed by one
//!    comparison of 32 bytes and says at once which node the value belongs to. Any other key is read letter by letter
//!    and learned, within limits.
//! 3. *Doubt goes the slow way.* On anything that is not plainly valid the scanner gives the document to [`parse`] and
//!    reads the columns from the packed form. Errors have one source, and the fast path may be conservative.
//!
//! [`MAX_DEPTH`]: crate::jsonb::MAX_DEPTH

mod column;
mod lex;
mod pack;
mod scan;

use std::borrow::Cow;

use crate::error::code;
use crate::jsonb::Builder;
use crate::{Arena, Datum, EvalError, Jsonb};

pub use column::SlotColumn;
pub(crate) use lex::special;
pub use scan::Scanner;

/// Parses one JSON document into the packed form, kept in `arena`.
///
/// Errors: 22P02 on bad syntax and lone surrogates, 22P05 for `\u0000`, 22003 for numbers that a numeric cannot hold
/// exactly, 54001 beyond [`crate::jsonb::MAX_DEPTH`] levels. Details have the byte offset.
pub fn parse<'a>(text: &str, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let mut b = Builder::with_capacity(text.len());
    pack::document(text, &mut b)?;
    Ok(Datum::Jsonb(Jsonb::new(arena.bytes(b.packed()))))
}

/// Parses one JSON document and appends the packed form to `builder`, as a value of its own or as the next one of what
/// is open there. Errors as [`parse`]; the builder must then be cleared.
pub fn parse_into(text: &str, builder: &mut Builder) -> Result<(), EvalError> {
    pack::document(text, builder)
}

/// Whether [`parse`] accepts the text: `IS JSON`.
pub fn is_json(text: &str) -> bool {
    let bytes = text.as_bytes();
    match lex::skip(bytes, lex::white(bytes, 0), 0) {
        Some(end) => lex::white(bytes, end) == bytes.len(),
        None => false,
    }
}

/// The documents of a text that holds any number of them, with or without white space between: each as it stands there.
/// Errors as [`parse`].
pub fn documents(text: &str) -> Result<Vec<&str>, EvalError> {
    let bytes = text.as_bytes();
    let (mut all, mut at) = (vec![], lex::white(bytes, 0));
    while at < bytes.len() {
        let Some(end) = lex::skip(bytes, at, 0) else {
            return Err(parse(&text[at..], &Arena::new())
                .err()
                .unwrap_or_else(|| EvalError::new(code::INVALID_TEXT_REPRESENTATION, "invalid JSON")));
        };
        all.push(&text[at..end]);
        at = lex::white(bytes, end);
    }
    Ok(all)
}

/// The elements of a valid document that is an array, each as it stands there; none if it is no array.
pub fn elements(document: &str) -> Option<Vec<&str>> {
    parts(document, b'[', |document, at| {
        let end = lex::skip(document.as_bytes(), at, 1)?;
        Some((&document[at..end], end))
    })
}

/// The members of a valid document that is an object, in order: keys without escapes, values as they stand there. None
/// if it is no object.
pub fn members(document: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    parts(document, b'{', |document, at| {
        let bytes = document.as_bytes();
        let (end, escaped) = lex::string::<true>(bytes, at + 1)?;
        let inside = &document[at + 1..end - 1];
        let key = if escaped {
            let mut key = String::new();
            lex::unescape(inside, &mut key);
            Cow::Owned(key)
        } else {
            Cow::Borrowed(inside)
        };
        let start = lex::white(bytes, lex::white(bytes, end) + 1);
        let end = lex::skip(bytes, start, 1)?;
        Some(((key, &document[start..end]), end))
    })
}

/// Whether no object in a valid document has two members of one name: `IS JSON WITH UNIQUE KEYS`.
pub fn has_unique_keys(document: &str) -> bool {
    if let Some(all) = members(document) {
        let mut keys: Vec<&str> = all.iter().map(|(key, _)| key.as_ref()).collect();
        keys.sort_unstable();
        return keys.windows(2).all(|two| two[0] != two[1]) && all.iter().all(|(_, v)| has_unique_keys(v));
    }
    elements(document).is_none_or(|all| all.iter().all(|v| has_unique_keys(v)))
}

/// What stands between brackets, separated by commas.
fn parts<'a, T>(
    document: &'a str,
    open: u8,
    part: impl Fn(&'a str, usize) -> Option<(T, usize)>,
) -> Option<Vec<T>> {
    let bytes = document.as_bytes();
    let start = lex::white(bytes, 0);
    if bytes.get(start) != Some(&open) {
        return None;
    }
    let (mut all, mut at) = (vec![], lex::white(bytes, start + 1));
    while !matches!(bytes.get(at)?, b']' | b'}') {
        let (one, end) = part(document, at)?;
        all.push(one);
        at = lex::white(bytes, end);
        if bytes.get(at) == Some(&b',') {
            at = lex::white(bytes, at + 1);
        }
    }
    Some(all)
}

/// `convert_from(bytes, 'utf8')`: bytes as text.
///
/// Errors: 22021, naming the bytes, where they are not UTF-8 or hold a zero byte.
pub fn decode_utf8(bytes: &[u8]) -> Result<&str, EvalError> {
    let (text, bad) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(e) => (std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or(""), Some(e.valid_up_to())),
    };
    let Some(at) = memchr::memchr(0, text.as_bytes()).or(bad) else { return Ok(text) };
    // As many bytes as the first one promises.
    let promised = match bytes[at] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    let shown: Vec<String> = bytes[at..].iter().take(promised).map(|b| format!("0x{b:02x}")).collect();
    Err(EvalError::new(
        code::CHARACTER_NOT_IN_REPERTOIRE,
        format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
    )
    .with_detail(format!("The bytes are at offset {at}.")))
}

/// One step from a document to a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The member of an object.
    Key(String),
    /// The element of an array, from the end if negative.
    Index(i64),
}

/// How a slot's value is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotKind {
    /// As `->>` gives it: text, NULL for JSON null and for what is absent.
    Text,
    /// As `->` gives it: jsonb, NULL for what is absent.
    Jsonb,
}

/// A part of a document that some reader wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotPath {
    /// From the document inwards; empty: the whole document.
    pub steps: Vec<Step>,
    /// In which form.
    pub kind: SlotKind,
}

impl SlotPath {
    /// The part of a parsed document that this path leads to; none where there is nothing.
    pub fn follow<'a>(&self, document: Jsonb<'a>) -> Option<Jsonb<'a>> {
        self.steps.iter().try_fold(document, |j, step| match step {
            Step::Key(key) => j.get(key),
            Step::Index(index) => j.get_index(*index),
        })
    }
}

#[cfg(test)]
mod tests;
