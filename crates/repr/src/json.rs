//! JSON text: the parser, the path scanner, the printer.

use crate::{Arena, Datum, EvalError};

/// Parses one JSON document into the packed form, kept in `arena`.
pub fn parse<'a>(_text: &str, _arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    Ok(Datum::Null)
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

/// The values of one slot over the documents of a batch, in order.
#[derive(Clone, Debug)]
pub struct SlotColumn {
    kind: SlotKind,
    errors: Vec<EvalError>,
}

impl SlotColumn {
    /// An empty column.
    pub fn new(kind: SlotKind) -> SlotColumn {
        SlotColumn { kind, errors: vec![] }
    }

    /// Appends NULL (for a document that is NULL itself).
    pub fn push_null(&mut self) {}

    /// The value for document `i`: text or jsonb by the column's kind, NULL, or why the document is not one.
    pub fn get(&self, _i: usize) -> Result<Datum<'_>, &EvalError> {
        let _ = (&self.kind, &self.errors);
        Ok(Datum::Null)
    }
}

/// Reads documents once for all the paths that are wanted of them, and checks the syntax of all the rest.
#[derive(Clone, Debug)]
pub struct Scanner {}

impl Scanner {
    /// A scanner for these paths; column `i` of [`Scanner::scan`] belongs to `paths[i]`.
    pub fn new(_paths: &[SlotPath]) -> Scanner {
        Scanner {}
    }

    /// Reads one document (bytes that should be UTF-8 JSON) and appends exactly one entry to every column: where the
    /// document is not valid UTF-8 or JSON, the error to each.
    pub fn scan(&mut self, _document: &[u8], _columns: &mut [SlotColumn]) {}
}
