//! Changed copies of JSON values: `||`, `-`, `#-`, `jsonb_set`, `jsonb_insert`, `jsonb_strip_nulls`.

use super::{Builder, Jsonb, JsonbKind, JsonbValue};
use crate::error::code;
use crate::{Arena, EvalError};

/// What to do at the end of a path.
#[derive(Clone, Copy)]
enum Edit<'a> {
    Delete,
    Set { new: Jsonb<'a>, create: bool },
    Insert { new: Jsonb<'a>, after: bool },
}

impl<'a> Jsonb<'a> {
    /// An array of values.
    ///
    /// Errors: 54001 if it nests too deep.
    pub fn array<'b>(
        elements: impl IntoIterator<Item = Jsonb<'b>>,
        arena: &'a Arena,
    ) -> Result<Jsonb<'a>, EvalError> {
        let mut b = Builder::default();
        b.begin_array();
        elements.into_iter().for_each(|e| b.value(e));
        b.end_array();
        b.finish(arena)
    }

    /// An object of keys and values in any order; the last of equal keys wins.
    ///
    /// Errors: 54001 if it nests too deep.
    pub fn object<'b>(
        entries: impl IntoIterator<Item = (&'b str, Jsonb<'b>)>,
        arena: &'a Arena,
    ) -> Result<Jsonb<'a>, EvalError> {
        let mut b = Builder::default();
        b.begin_object();
        for (k, v) in entries {
            b.key(k);
            b.value(v);
        }
        b.end_object();
        b.finish(arena)
    }

    /// `||`: two objects merge, the right one wins; otherwise arrays are joined, scalars as arrays of one. None where
    /// an object meets a scalar.
    ///
    /// Errors: 54001 if it nests too deep.
    pub fn concat(self, other: Jsonb<'_>, arena: &'a Arena) -> Result<Option<Jsonb<'a>>, EvalError> {
        use JsonbKind::*;
        match (self.kind(), other.kind()) {
            (Object, Object) => Jsonb::object(self.entries().chain(other.entries()), arena).map(Some),
            (Object, k) | (k, Object) if k != Array => Ok(None),
            _ => {
                let mut b = Builder::default();
                b.begin_array();
                for side in [self, other] {
                    match side.value() {
                        JsonbValue::Array(elements) => elements.for_each(|e| b.value(e)),
                        _ => b.value(side),
                    }
                }
                b.end_array();
                b.finish(arena).map(Some)
            }
        }
    }

    /// `- text`: without the member of this key, or without the elements that are this string. None for scalars.
    pub fn delete_key(self, key: &str, arena: &'a Arena) -> Option<Jsonb<'a>> {
        let mut b = Builder::default();
        match self.value() {
            JsonbValue::Object(entries) => {
                b.begin_object();
                for (k, v) in entries.filter(|(k, _)| *k != key) {
                    b.key(k);
                    b.value(v);
                }
                b.end_object();
            }
            JsonbValue::Array(elements) => {
                b.begin_array();
                elements.filter(|e| e.as_str() != Some(key)).for_each(|e| b.value(e));
                b.end_array();
            }
            _ => return None,
        }
        Some(Jsonb::new(arena.bytes(b.packed())))
    }

    /// `- int`: without the element at this index, from the end if negative. None unless this is an array.
    pub fn delete_index(self, index: i64, arena: &'a Arena) -> Option<Jsonb<'a>> {
        let length = self.array_length()?;
        let Some(index) = position(index, length) else { return Some(self) };
        let mut b = Builder::default();
        b.begin_array();
        for (i, e) in self.elements().enumerate() {
            if i != index {
                b.value(e);
            }
        }
        b.end_array();
        Some(Jsonb::new(arena.bytes(b.packed())))
    }

    /// `#-`: without what is at the path; the value itself if nothing is there.
    ///
    /// Errors: 22P02 for a step into an array that is no integer.
    pub fn delete_path(self, path: &[&str], arena: &'a Arena) -> Result<Jsonb<'a>, EvalError> {
        self.edited(path, Edit::Delete, arena)
    }

    /// `jsonb_set`: with `new` at the path, added if absent and `create`. All steps but the last must exist, otherwise
    /// nothing changes; an index beyond an array's ends adds at that end.
    ///
    /// Errors: 22023 for scalars, 22P02 for a step into an array that is no integer, 54001 if it nests too deep.
    pub fn set(
        self,
        path: &[&str],
        new: Jsonb<'_>,
        create: bool,
        arena: &'a Arena,
    ) -> Result<Jsonb<'a>, EvalError> {
        if self.kind() < JsonbKind::Array {
            return Err(EvalError::new(code::INVALID_PARAMETER_VALUE, "cannot set path in scalar"));
        }
        self.edited(path, Edit::Set { new, create }, arena)
    }

    /// `jsonb_insert`: with `new` as a new member, or before (or `after`) the element at the path.
    ///
    /// Errors: as [`Jsonb::set`], and 22023 if the key is there already.
    pub fn insert(
        self,
        path: &[&str],
        new: Jsonb<'_>,
        after: bool,
        arena: &'a Arena,
    ) -> Result<Jsonb<'a>, EvalError> {
        if self.kind() < JsonbKind::Array {
            return Err(EvalError::new(code::INVALID_PARAMETER_VALUE, "cannot set path in scalar"));
        }
        self.edited(path, Edit::Insert { new, after }, arena)
    }

    fn edited(self, path: &[&str], edit: Edit<'_>, arena: &'a Arena) -> Result<Jsonb<'a>, EvalError> {
        // Nothing goes from where nothing is, whatever the path says.
        let nothing = || matches!(self.value(), JsonbValue::Array(all) if all.count() == 0);
        if path.is_empty() || matches!(edit, Edit::Delete) && nothing() {
            return Ok(self);
        }
        let mut b = Builder::default();
        self.edit(path, 0, edit, &mut b)?;
        b.finish(arena)
    }

    fn edit(self, path: &[&str], at: usize, edit: Edit<'_>, b: &mut Builder) -> Result<(), EvalError> {
        let last = at + 1 == path.len();
        match self.value() {
            JsonbValue::Object(entries) => {
                let step = path[at];
                b.begin_object();
                let mut found = false;
                for (k, v) in entries {
                    if k != step {
                        b.key(k);
                        b.value(v);
                        continue;
                    }
                    found = true;
                    match edit {
                        Edit::Delete if last => {}
                        Edit::Set { new, .. } if last => {
                            b.key(k);
                            b.value(new);
                        }
                        Edit::Insert { .. } if last => {
                            return Err(EvalError::new(
                                code::INVALID_PARAMETER_VALUE,
                                "cannot replace existing key",
                            )
                            .with_hint("Try using the function jsonb_set to replace key value."));
                        }
                        _ => {
                            b.key(k);
                            v.edit(path, at + 1, edit, b)?;
                        }
                    }
                }
                if let (false, true, Edit::Set { new, create: true } | Edit::Insert { new, .. }) =
                    (found, last, edit)
                {
                    b.key(step);
                    b.value(new);
                }
                b.end_object();
            }
            JsonbValue::Array(elements) => {
                let index: i64 = path[at].parse().map_err(|_| {
                    EvalError::new(
                        code::INVALID_TEXT_REPRESENTATION,
                        format!("path element at position {} is not an integer: \"{}\"", at + 1, path[at]),
                    )
                })?;
                let place = position(index, elements.count());
                let new_at_end = match edit {
                    Edit::Set { new, create: true } | Edit::Insert { new, .. } if last && place.is_none() => {
                        Some(new)
                    }
                    _ => None,
                };
                b.begin_array();
                if let (Some(new), true) = (new_at_end, index < 0) {
                    b.value(new);
                }
                for (i, e) in elements.enumerate() {
                    if Some(i) != place {
                        b.value(e);
                        continue;
                    }
                    match edit {
                        Edit::Delete if last => {}
                        Edit::Set { new, .. } if last => b.value(new),
                        Edit::Insert { new, after } if last => {
                            let [first, second] = if after { [e, new] } else { [new, e] };
                            b.value(first);
                            b.value(second);
                        }
                        _ => e.edit(path, at + 1, edit, b)?,
                    }
                }
                if let (Some(new), false) = (new_at_end, index < 0) {
                    b.value(new);
                }
                b.end_array();
            }
            _ => b.value(self),
        }
        Ok(())
    }

    /// `jsonb_strip_nulls`: without members that are null, at all depths; null elements of arrays stay.
    pub fn strip_nulls(self, arena: &'a Arena) -> Jsonb<'a> {
        let mut b = Builder::default();
        self.strip(&mut b);
        Jsonb::new(arena.bytes(b.packed()))
    }

    fn strip(self, b: &mut Builder) {
        match self.value() {
            JsonbValue::Object(entries) => {
                b.begin_object();
                for (k, v) in entries.filter(|(_, v)| !v.is_json_null()) {
                    b.key(k);
                    v.strip(b);
                }
                b.end_object();
            }
            JsonbValue::Array(elements) => {
                b.begin_array();
                elements.for_each(|e| e.strip(b));
                b.end_array();
            }
            _ => b.value(self),
        }
    }
}

/// The index from the front that an index from either end means, if it is within the array.
fn position(index: i64, length: usize) -> Option<usize> {
    let index = match usize::try_from(index) {
        Ok(i) => i,
        Err(_) => length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
    };
    (index < length).then_some(index)
}
