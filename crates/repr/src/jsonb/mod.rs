//! JSON as packed bytes: one value, one encoding, so equality and hashing are those of the bytes.
//!
//! ```text
//!   value   = 00 null │ 01 false │ 02 true
//!           │ 40+n  n bytes of Numeric::encode
//!           │ 80+n  string of n < 128 bytes
//!           │ 04 len string            a longer one
//!           │ 05 len value …           array
//!           │ 06 len (len key value) … object, keys rising in byte order, each once
//!   len     = bytes of what follows, LEB128
//! ```
//!
//! Each value says how long it is, so that `data->'context'->>'ip'` steps over everything before `context` and before
//! `ip` without looking inside. Nothing is nested deeper than [`MAX_DEPTH`]: the parser and [`Builder::finish`] see to
//! it, and what is recursive here rests on it.
//!
//! Accessors on the wrong kind of value give none, never an error, as in Materialize.

mod build;
mod edit;
mod print;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use crate::{Arena, Numeric};

pub use build::Builder;
pub(crate) use build::too_deep;
pub use print::write_string;

/// How deep arrays and objects may nest; deeper documents are errors (54001).
pub const MAX_DEPTH: usize = 512;

mod tag {
    pub const NULL: u8 = 0;
    pub const FALSE: u8 = 1;
    pub const TRUE: u8 = 2;
    pub const STRING: u8 = 4;
    pub const ARRAY: u8 = 5;
    pub const OBJECT: u8 = 6;
    pub const NUMBER: u8 = 0x40;
    pub const SHORT: u8 = 0x80;
}

/// A packed JSON value, borrowed.
#[derive(Clone, Copy)]
pub struct Jsonb<'a>(&'a [u8]);

/// The kinds of JSON values, in Postgres' order of values of different kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of JSON")]
pub enum JsonbKind {
    Null,
    String,
    Number,
    Boolean,
    Array,
    Object,
}

impl JsonbKind {
    /// As `jsonb_typeof` names it.
    pub fn name(self) -> &'static str {
        match self {
            JsonbKind::Null => "null",
            JsonbKind::String => "string",
            JsonbKind::Number => "number",
            JsonbKind::Boolean => "boolean",
            JsonbKind::Array => "array",
            JsonbKind::Object => "object",
        }
    }
}

/// A value taken apart by one level.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are those of JSON")]
pub enum JsonbValue<'a> {
    Null,
    Boolean(bool),
    Number(Numeric),
    String(&'a str),
    Array(Elements<'a>),
    Object(Entries<'a>),
}

impl<'a> Jsonb<'a> {
    /// JSON null, which is not SQL's NULL.
    pub const NULL: Jsonb<'static> = Jsonb(&[tag::NULL]);
    /// JSON true.
    pub const TRUE: Jsonb<'static> = Jsonb(&[tag::TRUE]);
    /// JSON false.
    pub const FALSE: Jsonb<'static> = Jsonb(&[tag::FALSE]);
    /// `[]`
    pub const EMPTY_ARRAY: Jsonb<'static> = Jsonb(&[tag::ARRAY, 0]);
    /// `{}`
    pub const EMPTY_OBJECT: Jsonb<'static> = Jsonb(&[tag::OBJECT, 0]);

    /// Views bytes that this module or [`crate::json`] packed before.
    pub fn new(bytes: &'a [u8]) -> Jsonb<'a> {
        Jsonb(if bytes.is_empty() { &[tag::NULL] } else { bytes })
    }

    /// The packed bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// true or false.
    pub fn boolean(b: bool) -> Jsonb<'static> {
        if b { Jsonb::TRUE } else { Jsonb::FALSE }
    }

    /// A string.
    pub fn string(s: &str, arena: &'a Arena) -> Jsonb<'a> {
        let mut b = Builder::default();
        b.string(s);
        Jsonb(arena.bytes(b.packed()))
    }

    /// A number; NaN and infinities, which JSON lacks, become strings, as in Postgres.
    pub fn number(n: Numeric, arena: &'a Arena) -> Jsonb<'a> {
        let mut b = Builder::default();
        b.number(n);
        Jsonb(arena.bytes(b.packed()))
    }

    /// What kind of value this is.
    #[inline]
    pub fn kind(self) -> JsonbKind {
        match self.0[0] {
            tag::NULL => JsonbKind::Null,
            tag::FALSE | tag::TRUE => JsonbKind::Boolean,
            tag::ARRAY => JsonbKind::Array,
            tag::OBJECT => JsonbKind::Object,
            t if t & 0xc0 == tag::NUMBER => JsonbKind::Number,
            _ => JsonbKind::String,
        }
    }

    /// Takes the value apart by one level.
    pub fn value(self) -> JsonbValue<'a> {
        match self.0[0] {
            tag::NULL => JsonbValue::Null,
            tag::FALSE => JsonbValue::Boolean(false),
            tag::TRUE => JsonbValue::Boolean(true),
            tag::ARRAY => JsonbValue::Array(Elements(self.payload())),
            tag::OBJECT => JsonbValue::Object(Entries(self.payload())),
            t if t & 0xc0 == tag::NUMBER => JsonbValue::Number(Numeric::decode(self.payload())),
            _ => JsonbValue::String(text(self.payload())),
        }
    }

    /// What follows the tag and the length.
    #[inline]
    fn payload(self) -> &'a [u8] {
        match self.0[0] {
            tag::STRING | tag::ARRAY | tag::OBJECT => split_len(&self.0[1..]).1,
            _ => &self.0[1..],
        }
    }

    /// Whether this is JSON null.
    pub fn is_json_null(self) -> bool {
        self.0[0] == tag::NULL
    }

    /// The string, if it is one.
    pub fn as_str(self) -> Option<&'a str> {
        (self.kind() == JsonbKind::String).then(|| text(self.payload()))
    }

    /// The number, if it is one.
    pub fn as_number(self) -> Option<Numeric> {
        (self.kind() == JsonbKind::Number).then(|| Numeric::decode(self.payload()))
    }

    /// The truth value, if it is one.
    pub fn as_bool(self) -> Option<bool> {
        match self.0[0] {
            tag::TRUE => Some(true),
            tag::FALSE => Some(false),
            _ => None,
        }
    }

    /// The elements in order; none unless this is an array.
    #[inline]
    pub fn elements(self) -> Elements<'a> {
        Elements(if self.0[0] == tag::ARRAY { self.payload() } else { &[] })
    }

    /// Keys and values, keys rising in byte order; none unless this is an object.
    #[inline]
    pub fn entries(self) -> Entries<'a> {
        Entries(if self.0[0] == tag::OBJECT { self.payload() } else { &[] })
    }

    /// `jsonb_array_length`: how many elements; none unless this is an array.
    pub fn array_length(self) -> Option<usize> {
        (self.0[0] == tag::ARRAY).then(|| self.elements().count())
    }

    /// `-> text`: the member with this key.
    pub fn get(self, key: &str) -> Option<Jsonb<'a>> {
        for (k, v) in self.entries().raw() {
            match k.cmp(key.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => return Some(v),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// `-> int`: the element at an index from 0, or from the end if negative.
    pub fn get_index(self, index: i64) -> Option<Jsonb<'a>> {
        let index = match usize::try_from(index) {
            Ok(i) => i,
            Err(_) => self.array_length()?.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
        };
        self.elements().nth(index)
    }

    /// `#>`: follows a path; a step is a key of an object or the decimal index of an array's element.
    pub fn get_path<'p>(self, path: impl IntoIterator<Item = &'p str>) -> Option<Jsonb<'a>> {
        path.into_iter().try_fold(self, |j, step| match j.kind() {
            JsonbKind::Object => j.get(step),
            JsonbKind::Array => j.get_index(step.parse().ok()?),
            _ => None,
        })
    }

    /// `->>`: the text of the value, strings without quotes, in `arena` unless it is there already; none for JSON null.
    pub fn as_text(self, arena: &'a Arena) -> Option<&'a str> {
        match self.0[0] {
            tag::NULL => None,
            tag::FALSE => Some("false"),
            tag::TRUE => Some("true"),
            t if t == tag::STRING || t >= tag::SHORT => Some(text(self.payload())),
            _ => Some(arena.text(&self.to_string())),
        }
    }

    /// Appends what [`Jsonb::as_text`] gives; false and nothing for JSON null.
    pub fn write_text(self, out: &mut String) -> bool {
        match self.as_str() {
            Some(s) => out.push_str(s),
            None if self.is_json_null() => return false,
            None => self.write_json(out),
        }
        true
    }

    /// `?`: whether a string is a key of this object, an element of this array, or this string.
    pub fn exists(self, key: &str) -> bool {
        match self.value() {
            JsonbValue::Object(_) => self.get(key).is_some(),
            JsonbValue::Array(mut elements) => elements.any(|e| e.as_str() == Some(key)),
            JsonbValue::String(s) => s == key,
            _ => false,
        }
    }

    /// `@>`: whether all of `other` is found in this value at the same places; elements of arrays in any order. An
    /// array also contains a scalar that is one of its elements.
    pub fn contains(self, other: Jsonb<'_>) -> bool {
        if self.kind() == JsonbKind::Array && other.kind() < JsonbKind::Array {
            return self.elements().any(|e| e == other);
        }
        self.contains_nested(other)
    }

    fn contains_nested(self, other: Jsonb<'_>) -> bool {
        match (self.value(), other.value()) {
            (JsonbValue::Object(mut mine), JsonbValue::Object(theirs)) => {
                // Both rise, so one walk over mine finds all of theirs.
                theirs.into_iter().all(|(key, value)| {
                    mine.find(|(k, _)| *k >= key).is_some_and(|(k, v)| k == key && v.contains_nested(value))
                })
            }
            (JsonbValue::Array(mine), JsonbValue::Array(mut theirs)) => {
                theirs.all(|t| mine.into_iter().any(|m| m.contains_nested(t)))
            }
            _ => self.0 == other.0,
        }
    }

    /// How deep arrays and objects nest: 0 for scalars.
    pub(crate) fn depth(self) -> usize {
        let (mut open, mut deepest) = (vec![], 0);
        let mut at = 0;
        while at < self.0.len() {
            while open.last().is_some_and(|(end, _)| *end <= at) {
                open.pop();
            }
            if let Some((_, true)) = open.last() {
                let (key, _) = split_len(&self.0[at..]);
                at += key;
            }
            let size = value_size(&self.0[at..]);
            match self.0[at] {
                t @ (tag::ARRAY | tag::OBJECT) => {
                    let body = split_len(&self.0[at + 1..at + size]).1.len();
                    open.push((at + size, t == tag::OBJECT));
                    deepest = deepest.max(open.len());
                    at += size - body;
                }
                _ => at += size,
            }
        }
        deepest
    }
}

/// Text that this module packed.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("strings were text when they were packed")
}

/// Reads a length and gives the size of both together, and what has that length.
#[inline]
fn split_len(bytes: &[u8]) -> (usize, &[u8]) {
    if bytes[0] < 0x80 {
        let end = 1 + usize::from(bytes[0]);
        return (end, &bytes[1..end]);
    }
    let (mut n, mut shift, mut at) = (0usize, 0, 0);
    loop {
        let b = bytes[at];
        at += 1;
        n |= usize::from(b & 0x7f) << shift;
        if b < 0x80 {
            return (at + n, &bytes[at..at + n]);
        }
        shift += 7;
    }
}

/// The size of the value at the front.
#[inline]
fn value_size(bytes: &[u8]) -> usize {
    match bytes[0] {
        tag::STRING | tag::ARRAY | tag::OBJECT => 1 + split_len(&bytes[1..]).0,
        t if t >= tag::SHORT => 1 + usize::from(t & 0x7f),
        t if t >= tag::NUMBER => 1 + usize::from(t & 0x3f),
        _ => 1,
    }
}

/// The elements of an array.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Jsonb<'a>;
    #[inline]
    fn next(&mut self) -> Option<Jsonb<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let (head, tail) = self.0.split_at(value_size(self.0));
        self.0 = tail;
        Some(Jsonb(head))
    }
}

/// The keys and values of an object.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    /// With keys as bytes, which are not checked to be text.
    #[inline]
    fn raw(mut self) -> impl Iterator<Item = (&'a [u8], Jsonb<'a>)> {
        std::iter::from_fn(move || self.next_raw())
    }

    #[inline]
    fn next_raw(&mut self) -> Option<(&'a [u8], Jsonb<'a>)> {
        if self.0.is_empty() {
            return None;
        }
        let (size, key) = split_len(self.0);
        let (head, tail) = self.0[size..].split_at(value_size(&self.0[size..]));
        self.0 = tail;
        Some((key, Jsonb(head)))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, Jsonb<'a>);
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.next_raw().map(|(k, v)| (text(k), v))
    }
}

/// Postgres' order: objects, arrays, booleans, numbers, strings, null, the greatest first. The longer of two arrays or
/// objects is the greater; then elements decide, or key, value, key, value and so on.
impl Ord for Jsonb<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.0 == other.0 {
            return Ordering::Equal;
        }
        match (self.value(), other.value()) {
            (JsonbValue::String(a), JsonbValue::String(b)) => a.cmp(b),
            (JsonbValue::Number(a), JsonbValue::Number(b)) => a.cmp(&b),
            (JsonbValue::Boolean(a), JsonbValue::Boolean(b)) => a.cmp(&b),
            (JsonbValue::Array(a), JsonbValue::Array(b)) => a.count().cmp(&b.count()).then_with(|| a.cmp(b)),
            (JsonbValue::Object(a), JsonbValue::Object(b)) => {
                a.raw().count().cmp(&b.raw().count()).then_with(|| a.raw().cmp(b.raw()))
            }
            _ => self.kind().cmp(&other.kind()),
        }
    }
}

impl PartialOrd for Jsonb<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Jsonb<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Jsonb<'_> {}

impl Hash for Jsonb<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state)
    }
}

#[cfg(test)]
mod tests;
