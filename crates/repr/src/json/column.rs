//! The values of one slot over a batch of documents, in a column.

use super::{SlotKind, SlotPath};
use crate::{Datum, EvalError, Jsonb};

/// The values of one slot over the documents of a batch, in order.
///
/// All values stand end to end in one piece of memory; an entry is where its value ends and what it is. Reading one
/// takes a slice and checks nothing again.
#[derive(Clone, Debug)]
pub struct SlotColumn {
    kind: SlotKind,
    /// The values of a text column.
    pub(super) text: String,
    /// The values of a jsonb column.
    pub(super) bytes: Vec<u8>,
    /// For each entry, the end of its value times four, plus what it is.
    entries: Vec<u64>,
    /// The entries that are errors, by their number, rising.
    errors: Vec<(usize, EvalError)>,
}

const VALUE: u64 = 0;
const NULL: u64 = 1;
const ERROR: u64 = 2;

impl SlotColumn {
    /// An empty column.
    pub fn new(kind: SlotKind) -> SlotColumn {
        SlotColumn { kind, text: String::new(), bytes: vec![], entries: vec![], errors: vec![] }
    }

    /// One empty column for each path.
    pub fn for_paths(paths: &[SlotPath]) -> Vec<SlotColumn> {
        paths.iter().map(|p| SlotColumn::new(p.kind)).collect()
    }

    /// In which form values are held.
    pub fn kind(&self) -> SlotKind {
        self.kind
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes all entries and keeps the memory for the next batch.
    pub fn clear(&mut self) {
        self.text.clear();
        self.bytes.clear();
        self.entries.clear();
        self.errors.clear();
    }

    /// The bytes of memory in use, errors apart.
    pub fn byte_len(&self) -> usize {
        self.text.len() + self.bytes.len() + 8 * self.entries.len()
    }

    /// Appends NULL (for a document that is NULL itself).
    #[inline]
    pub fn push_null(&mut self) {
        self.end(NULL);
    }

    /// Appends a text; for text columns.
    pub fn push_text(&mut self, text: &str) {
        debug_assert_eq!(self.kind, SlotKind::Text);
        self.text.push_str(text);
        self.end(VALUE);
    }

    /// Appends a value in the column's form: as `->>` or as `->` gives it.
    pub fn push_jsonb(&mut self, value: Jsonb<'_>) {
        let there = match self.kind {
            SlotKind::Text => value.write_text(&mut self.text),
            SlotKind::Jsonb => {
                self.bytes.extend_from_slice(value.bytes());
                true
            }
        };
        self.end(if there { VALUE } else { NULL });
    }

    /// Appends an error.
    pub fn push_error(&mut self, error: EvalError) {
        self.errors.push((self.len(), error));
        self.end(ERROR);
    }

    /// Ends the value that was just appended to `text` or `bytes`.
    #[inline]
    pub(super) fn push_value(&mut self) {
        self.end(VALUE);
    }

    #[inline]
    fn end(&mut self, what: u64) {
        let end = match self.kind {
            SlotKind::Text => self.text.len(),
            SlotKind::Jsonb => self.bytes.len(),
        };
        self.entries.push((end as u64) << 2 | what);
    }

    #[inline]
    fn span(&self, i: usize) -> std::ops::Range<usize> {
        let start = if i == 0 { 0 } else { self.entries[i - 1] >> 2 };
        start as usize..(self.entries[i] >> 2) as usize
    }

    /// The value for document `i`: text or jsonb by the column's kind, NULL, or why the document is not one. Panics
    /// beyond [`SlotColumn::len`].
    #[inline]
    pub fn get(&self, i: usize) -> Result<Datum<'_>, &EvalError> {
        match (self.entries[i] & 3, self.kind) {
            (VALUE, SlotKind::Text) => Ok(Datum::Text(&self.text[self.span(i)])),
            (VALUE, SlotKind::Jsonb) => Ok(Datum::Jsonb(Jsonb::new(&self.bytes[self.span(i)]))),
            (NULL, _) => Ok(Datum::Null),
            _ => Err(self.error(i).expect("an entry marked as an error has one")),
        }
    }

    /// Whether entry `i` is NULL.
    #[inline]
    pub fn is_null(&self, i: usize) -> bool {
        self.entries[i] & 3 == NULL
    }

    /// Whether entry `i` is an error.
    #[inline]
    pub fn is_error(&self, i: usize) -> bool {
        self.entries[i] & 3 == ERROR
    }

    /// The error at entry `i`, if it is one.
    pub fn error(&self, i: usize) -> Option<&EvalError> {
        let at = self.errors.binary_search_by_key(&i, |(n, _)| *n).ok()?;
        Some(&self.errors[at].1)
    }

    /// The entries that are errors, by their number, rising.
    pub fn errors(&self) -> &[(usize, EvalError)] {
        &self.errors
    }

    /// The bytes of entry `i` (text or packed jsonb), none for NULL and errors: for comparisons over a whole column.
    #[inline]
    pub fn raw(&self, i: usize) -> Option<&[u8]> {
        let bytes = match self.kind {
            SlotKind::Text => self.text.as_bytes(),
            SlotKind::Jsonb => &self.bytes,
        };
        (self.entries[i] & 3 == VALUE).then(|| &bytes[self.span(i)])
    }
}
