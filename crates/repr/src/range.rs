//! Ranges: their canonical form, which makes equal ranges equal bytes.

use crate::error::{SqlState, code};
use crate::row::RangeRef;
use crate::{Arena, Datum, EvalError};

const EMPTY: u8 = 1;
const LOWER_INCLUSIVE: u8 = 2;
const UPPER_INCLUSIVE: u8 = 4;

const DATA_EXCEPTION: SqlState = SqlState::new("22000");

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<'a> {
    /// NULL: the range has no end there.
    pub value: Datum<'a>,
    /// Whether the value itself belongs to the range.
    pub inclusive: bool,
}

/// The range that holds nothing.
pub fn empty(arena: &Arena) -> Datum<'_> {
    arena.range(EMPTY, Datum::Null, Datum::Null)
}

/// The range between two bounds. Ranges of integers and dates always include the lower bound and exclude the upper.
///
/// Errors: 22000 when the lower bound is greater, 22003 and 22008 when a bound has no successor.
pub fn make<'a>(arena: &'a Arena, lower: Bound<'a>, upper: Bound<'a>) -> Result<Datum<'a>, EvalError> {
    let (mut lower, mut upper) = (lower, upper);
    for bound in [&mut lower, &mut upper] {
        bound.inclusive &= !bound.value.is_null();
    }
    if !lower.value.is_null() && !upper.value.is_null() && lower.value > upper.value {
        let message = "range lower bound must be less than or equal to range upper bound";
        return Err(EvalError::new(DATA_EXCEPTION, message));
    }
    if is_discrete(lower.value) && !lower.inclusive {
        lower = Bound { value: successor(lower.value)?, inclusive: true };
    }
    if is_discrete(upper.value) && upper.inclusive {
        upper = Bound { value: successor(upper.value)?, inclusive: false };
    }
    let bounded = !lower.value.is_null() && !upper.value.is_null();
    if bounded
        && (lower.value > upper.value || lower.value == upper.value && !(lower.inclusive && upper.inclusive))
    {
        return Ok(empty(arena));
    }
    let flags =
        if lower.inclusive { LOWER_INCLUSIVE } else { 0 } | if upper.inclusive { UPPER_INCLUSIVE } else { 0 };
    Ok(arena.range(flags, lower.value, upper.value))
}

/// Both ends; none for the empty range.
pub fn bounds(range: RangeRef<'_>) -> Option<(Bound<'_>, Bound<'_>)> {
    if range.is_empty() {
        return None;
    }
    let ((lower, lower_inclusive), (upper, upper_inclusive)) = (range.lower(), range.upper());
    Some((
        Bound { value: lower, inclusive: lower_inclusive },
        Bound { value: upper, inclusive: upper_inclusive },
    ))
}

fn is_discrete(d: Datum<'_>) -> bool {
    matches!(d, Datum::Int32(_) | Datum::Int64(_) | Datum::Date(_))
}

fn successor(d: Datum<'_>) -> Result<Datum<'_>, EvalError> {
    let overflow = |ty: &str| EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, format!("{ty} out of range"));
    Ok(match d {
        Datum::Int32(n) => Datum::Int32(n.checked_add(1).ok_or_else(|| overflow("integer"))?),
        Datum::Int64(n) => Datum::Int64(n.checked_add(1).ok_or_else(|| overflow("bigint"))?),
        Datum::Date(n) => Datum::Date(crate::time::date_add(n, 1)?),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discrete_ranges_have_one_form() {
        let arena = Arena::new();
        let int = |n| Datum::Int32(n);
        let range =
            |l, li, u, ui| make(&arena, Bound { value: l, inclusive: li }, Bound { value: u, inclusive: ui });
        assert_eq!(range(int(1), false, int(3), true), range(int(2), true, int(4), false));
        assert_eq!(range(int(1), true, int(1), true), range(int(1), true, int(2), false));
        assert_eq!(range(int(1), false, int(1), true), Ok(empty(&arena)));
        assert_eq!(range(int(1), true, int(1), false), Ok(empty(&arena)));
        assert_eq!(range(int(1), false, int(2), false), Ok(empty(&arena)));
        assert_eq!(range(Datum::Null, true, int(1), false), range(Datum::Null, false, int(1), false));
        assert!(range(int(2), true, int(1), true).is_err());
        assert!(range(int(1), true, int(i32::MAX), true).is_err());
        let x = |x| Datum::Float64(x);
        assert_ne!(range(x(1.0), true, x(2.0), true), range(x(1.0), true, x(2.0), false));
        assert_eq!(range(x(1.0), false, x(1.0), false), Ok(empty(&arena)));
    }
}
