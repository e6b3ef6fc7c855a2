//! The Postgres text form of every type, both ways.

use crate::{Arena, Datum, EvalError, ScalarType};

/// Appends the text form, as Postgres (Materialize where §4.4 of its research page says so) prints it. NULL is the
/// caller's business.
pub fn print(_datum: Datum<'_>, _ty: &ScalarType, _out: &mut String) {}

/// Reads the text form.
pub fn parse<'a>(_text: &str, _ty: &ScalarType, _arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    Ok(Datum::Null)
}
