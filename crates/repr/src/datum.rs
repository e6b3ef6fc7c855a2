//! One value of SQL, borrowed from a row, a batch or an arena.

use std::cmp::Ordering;

use crate::row::{ArrayRef, ElementsRef, RangeRef};
use crate::{Interval, Jsonb, Numeric, Timestamp};

/// A value. Which variant a type uses: strings of every kind are `Text`; oid and reg* types are `UInt32`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum Datum<'a> {
    Null,
    Bool(bool),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    UInt16(u16),
    UInt32(u32),
    UInt64(u64),
    Float32(f32),
    Float64(f64),
    Numeric(Numeric),
    Text(&'a str),
    Bytes(&'a [u8]),
    Jsonb(Jsonb<'a>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01 00:00:00, no zone.
    Timestamp(i64),
    /// Microseconds since the Unix epoch.
    TimestampTz(i64),
    Interval(Interval),
    Uuid([u8; 16]),
    MzTimestamp(Timestamp),
    Array(ArrayRef<'a>),
    List(ElementsRef<'a>),
    /// Keys (text) and values in turn, keys rising.
    Map(ElementsRef<'a>),
    Record(ElementsRef<'a>),
    Range(RangeRef<'a>),
}

impl<'a> Datum<'a> {
    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }

    /// The string; panics on any other kind, which the planner rules out.
    pub fn text(&self) -> &'a str {
        match self {
            Datum::Text(s) => s,
            other => panic!("expected text, found {other:?}"),
        }
    }

    /// The truth value; panics on any other kind, which the planner rules out.
    pub fn bool(&self) -> bool {
        match self {
            Datum::Bool(b) => *b,
            other => panic!("expected bool, found {other:?}"),
        }
    }

    /// The integer of any width and of the time types; panics on any other kind, which the planner rules out.
    pub fn int(&self) -> i64 {
        match self {
            Datum::Int16(n) => i64::from(*n),
            Datum::Int32(n) | Datum::Date(n) => i64::from(*n),
            Datum::Int64(n) | Datum::Time(n) | Datum::Timestamp(n) | Datum::TimestampTz(n) => *n,
            Datum::UInt16(n) => i64::from(*n),
            Datum::UInt32(n) => i64::from(*n),
            other => panic!("expected an integer, found {other:?}"),
        }
    }

    /// The document; panics on any other kind, which the planner rules out.
    pub fn jsonb(&self) -> Jsonb<'a> {
        match self {
            Datum::Jsonb(j) => *j,
            other => panic!("expected jsonb, found {other:?}"),
        }
    }
}

/// Floats in Postgres' order: NaN is equal to itself and greater than everything; the zeros are equal.
fn cmp_float(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// SQL's order within one type; NULL is greatest, as in an ascending `ORDER BY`. Across types the order is fixed but
/// means nothing.
impl Ord for Datum<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        use Datum::*;
        match (self, other) {
            (Null, Null) => Ordering::Equal,
            (Null, _) => Ordering::Greater,
            (_, Null) => Ordering::Less,
            (Bool(a), Bool(b)) => a.cmp(b),
            (Int16(a), Int16(b)) => a.cmp(b),
            (Int32(a), Int32(b)) | (Date(a), Date(b)) => a.cmp(b),
            (Int64(a), Int64(b)) | (Time(a), Time(b)) | (Timestamp(a), Timestamp(b)) => a.cmp(b),
            (TimestampTz(a), TimestampTz(b)) => a.cmp(b),
            (UInt16(a), UInt16(b)) => a.cmp(b),
            (UInt32(a), UInt32(b)) => a.cmp(b),
            (UInt64(a), UInt64(b)) | (MzTimestamp(a), MzTimestamp(b)) => a.cmp(b),
            (Float32(a), Float32(b)) => cmp_float(f64::from(*a), f64::from(*b)),
            (Float64(a), Float64(b)) => cmp_float(*a, *b),
            (Numeric(a), Numeric(b)) => a.cmp(b),
            (Text(a), Text(b)) => a.cmp(b),
            (Bytes(a), Bytes(b)) => a.cmp(b),
            (Jsonb(a), Jsonb(b)) => a.cmp(b),
            (Interval(a), Interval(b)) => a.cmp(b),
            (Uuid(a), Uuid(b)) => a.cmp(b),
            (Array(a), Array(b)) => a.cmp(b),
            (List(a), List(b)) | (Map(a), Map(b)) | (Record(a), Record(b)) => a.cmp(b),
            (Range(a), Range(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl Datum<'_> {
    fn rank(&self) -> u8 {
        use Datum::*;
        match self {
            Null => 0,
            Bool(_) => 1,
            Int16(_) => 2,
            Int32(_) => 3,
            Int64(_) => 4,
            UInt16(_) => 5,
            UInt32(_) => 6,
            UInt64(_) => 7,
            Float32(_) => 8,
            Float64(_) => 9,
            Numeric(_) => 10,
            Text(_) => 11,
            Bytes(_) => 12,
            Jsonb(_) => 13,
            Date(_) => 14,
            Time(_) => 15,
            Timestamp(_) => 16,
            TimestampTz(_) => 17,
            Interval(_) => 18,
            Uuid(_) => 19,
            MzTimestamp(_) => 20,
            Array(_) => 21,
            List(_) => 22,
            Map(_) => 23,
            Record(_) => 24,
            Range(_) => 25,
        }
    }
}

impl PartialOrd for Datum<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Datum<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Datum<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datums_stay_small() {
        assert_eq!(std::mem::size_of::<Datum<'_>>(), 24);
    }

    #[test]
    fn floats_are_in_the_order_of_postgres() {
        let [nan, other_nan] = [f64::NAN, -f64::NAN].map(Datum::Float64);
        assert_eq!(nan, other_nan);
        assert!(nan > Datum::Float64(f64::INFINITY));
        assert_eq!(Datum::Float64(0.0), Datum::Float64(-0.0));
    }
}
