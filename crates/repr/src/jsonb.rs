//! JSON as packed bytes.

use std::cmp::Ordering;

/// A packed JSON value: objects with sorted keys and a skip length per element.
#[derive(Clone, Copy, Debug)]
pub struct Jsonb<'a>(&'a [u8]);

impl<'a> Jsonb<'a> {
    /// Views bytes that this module or [`crate::json`] packed before.
    pub fn new(bytes: &'a [u8]) -> Jsonb<'a> {
        Jsonb(bytes)
    }

    /// The packed bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl Ord for Jsonb<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(other.0)
    }
}
impl PartialOrd for Jsonb<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Jsonb<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Jsonb<'_> {}
