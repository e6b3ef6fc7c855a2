//! Packs JSON values in one pass.

use super::{Jsonb, MAX_DEPTH, tag};
use crate::error::code;
use crate::{Arena, EvalError, Numeric};

/// Packs a value part by part: scalars, and `begin`s and `end`s of arrays and objects around them. Keys may come in any
/// order and more than once; the last of equal keys wins.
///
/// Calls must fit together (an object holds keys and values in turn, everything begun is ended); what results
/// otherwise is not defined, but is no memory fault.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    out: Vec<u8>,
    open: Vec<Open>,
    /// The entries of all open objects, those of the innermost last.
    entries: Vec<Entry>,
    scratch: Vec<u8>,
    /// Whether arrays or objects came in from outside, so that the depth is not known.
    foreign: bool,
}

/// An array or object that is not ended yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Where its tag is in the output.
    start: usize,
    /// Where its entries begin.
    entries: usize,
    /// Whether keys have risen so far.
    rising: bool,
}

/// A member of an open object: where it starts, where its key is, and, once the object ends, where it ends.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    key: usize,
    key_end: usize,
    end: usize,
}

impl Builder {
    /// Continues behind what `out` holds; [`Builder::into_bytes`] gives it back.
    pub fn onto(out: Vec<u8>) -> Builder {
        Builder { out, ..Builder::default() }
    }

    /// For a value of about this many bytes.
    pub fn with_capacity(bytes: usize) -> Builder {
        Builder {
            out: Vec::with_capacity(bytes),
            open: Vec::with_capacity(16),
            entries: Vec::with_capacity(64),
            ..Builder::default()
        }
    }

    /// Exchanges the output and keeps all other memory.
    pub(crate) fn swap(&mut self, out: &mut Vec<u8>) {
        std::mem::swap(&mut self.out, out);
    }

    /// Empties it for another value and keeps the memory, also after a value that was given up.
    pub fn clear(&mut self) {
        self.out.clear();
        self.abandon(0);
    }

    /// Forgets everything from this length of the output on.
    pub(crate) fn abandon(&mut self, length: usize) {
        self.out.truncate(length);
        self.open.clear();
        self.entries.clear();
        self.foreign = false;
    }

    /// The bytes so far, with those given to [`Builder::onto`].
    pub(crate) fn packed(&self) -> &[u8] {
        &self.out
    }

    /// How many arrays and objects are open.
    #[inline]
    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether the innermost open one is an object.
    #[inline]
    pub(crate) fn in_object(&self) -> bool {
        self.open.last().is_some_and(|o| self.out[o.start] == tag::OBJECT)
    }

    /// JSON null.
    #[inline]
    pub fn null(&mut self) {
        self.out.push(tag::NULL);
    }

    /// true or false.
    #[inline]
    pub fn boolean(&mut self, b: bool) {
        self.out.push(if b { tag::TRUE } else { tag::FALSE });
    }

    /// A number; NaN and infinities, which JSON lacks, become strings.
    #[inline]
    pub fn number(&mut self, n: Numeric) {
        if !n.is_finite() {
            return self.string(&n.to_string());
        }
        let mut buffer = [0; Numeric::MAX_BYTES];
        let bytes = n.encode(&mut buffer);
        self.out.push(tag::NUMBER | bytes.len() as u8);
        self.out.extend_from_slice(bytes);
    }

    /// A string.
    #[inline]
    pub fn string(&mut self, s: &str) {
        if s.len() < 0x80 {
            self.out.push(tag::SHORT | s.len() as u8);
        } else {
            self.out.push(tag::STRING);
            put_len(&mut self.out, s.len());
        }
        self.out.extend_from_slice(s.as_bytes());
    }

    /// Any value, copied.
    #[inline]
    pub fn value(&mut self, j: Jsonb<'_>) {
        self.foreign |= matches!(j.bytes()[0], tag::ARRAY | tag::OBJECT);
        self.out.extend_from_slice(j.bytes());
    }

    /// Opens an array: elements follow, then [`Builder::end_array`].
    #[inline]
    pub fn begin_array(&mut self) {
        self.begin(tag::ARRAY)
    }

    /// Opens an object: keys and values follow in turn, then [`Builder::end_object`].
    #[inline]
    pub fn begin_object(&mut self) {
        self.begin(tag::OBJECT)
    }

    #[inline]
    fn begin(&mut self, tag: u8) {
        self.open.push(Open { start: self.out.len(), entries: self.entries.len(), rising: true });
        // Most lengths take the one byte that is set aside here.
        self.out.extend_from_slice(&[tag, 0]);
    }

    /// The key of the next value.
    #[inline]
    pub fn key(&mut self, key: &str) {
        let start = self.out.len();
        put_len(&mut self.out, key.len());
        let at = self.out.len();
        self.out.extend_from_slice(key.as_bytes());
        if let Some(open) = self.open.last_mut()
            && let [.., last] = &self.entries[open.entries..]
        {
            open.rising &= self.out[last.key..last.key_end] < *key.as_bytes();
        }
        self.entries.push(Entry { start, key: at, key_end: self.out.len(), end: 0 });
    }

    /// Closes the innermost array.
    #[inline]
    pub fn end_array(&mut self) {
        if let Some(open) = self.open.pop() {
            self.close(open.start);
        }
    }

    /// Closes the innermost object.
    #[inline]
    pub fn end_object(&mut self) {
        let Some(open) = self.open.pop() else { return };
        if !open.rising {
            self.sort(open);
        }
        self.entries.truncate(open.entries);
        self.close(open.start);
    }

    /// Puts an object's entries in the order of keys and drops all but the last of equal keys.
    fn sort(&mut self, open: Open) {
        let mut next = self.out.len();
        for e in self.entries[open.entries..].iter_mut().rev() {
            e.end = next;
            next = e.start;
        }
        let out = &self.out;
        let entries = &mut self.entries[open.entries..];
        entries.sort_unstable_by(|a, b| {
            out[a.key..a.key_end].cmp(&out[b.key..b.key_end]).then(a.start.cmp(&b.start))
        });
        self.scratch.clear();
        for (i, e) in entries.iter().enumerate() {
            let replaced = entries.get(i + 1).is_some_and(|n| out[n.key..n.key_end] == out[e.key..e.key_end]);
            if !replaced {
                self.scratch.extend_from_slice(&out[e.start..e.end]);
            }
        }
        self.out.truncate(open.start + 2);
        self.out.extend_from_slice(&self.scratch);
    }

    /// Writes the length of what stands behind the tag at `start` and the byte set aside.
    #[inline]
    fn close(&mut self, start: usize) {
        let body = start + 2;
        let len = self.out.len() - body;
        if len < 0x80 {
            self.out[start + 1] = len as u8;
        } else {
            self.close_long(start, len);
        }
    }

    fn close_long(&mut self, start: usize, len: usize) {
        let mut head = Vec::with_capacity(10);
        put_len(&mut head, len);
        let body = start + 2;
        let more = head.len() - 1;
        self.out.resize(self.out.len() + more, 0);
        self.out.copy_within(body..body + len, body + more);
        self.out[start + 1..start + 1 + head.len()].copy_from_slice(&head);
    }

    /// The finished value, in `arena`; the builder is empty afterwards.
    ///
    /// Errors: 54001 if values that came in whole nest too deep together.
    pub fn finish<'a>(&mut self, arena: &'a Arena) -> Result<Jsonb<'a>, EvalError> {
        let checked = self.check_depth(0);
        let j = Jsonb::new(arena.bytes(&self.out));
        self.clear();
        checked.map(|()| j)
    }

    /// The bytes of the finished value, behind those given to [`Builder::onto`].
    ///
    /// Errors: 54001 if values that came in whole nest too deep together.
    pub fn into_bytes(self) -> Result<Vec<u8>, EvalError> {
        // Bytes from before are values of their own, one level high at the least; they were checked when made.
        self.check_depth(0)?;
        Ok(self.out)
    }

    fn check_depth(&self, start: usize) -> Result<(), EvalError> {
        let bytes = &self.out[start..];
        // A level takes two bytes, so that small values need no walk.
        if self.foreign && bytes.len() > 2 * MAX_DEPTH && Jsonb::new(bytes).depth() > MAX_DEPTH {
            return Err(too_deep());
        }
        Ok(())
    }
}

/// A value nests deeper than [`MAX_DEPTH`].
pub(crate) fn too_deep() -> EvalError {
    EvalError::new(code::STATEMENT_TOO_COMPLEX, "JSON value is nested too deeply")
        .with_detail(format!("At most {MAX_DEPTH} arrays and objects may nest."))
}

#[inline]
fn put_len(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
