//! The Postgres binary form of every type, both ways.
//!
//! All integers are big endian. Dates and timestamps count from 2000. What Postgres lacks:
//!
//! | type | form |
//! |---|---|
//! | `uint2`, `uint4`, `uint8`, `mz_timestamp` | 2, 4, 8, 8 bytes |
//! | list | as a one-dimensional array |
//! | map | number of entries (`i32`), then key and value of each with their lengths, as hstore has it |

use crate::error::code;
use crate::range::{self, Bound};
use crate::row::{ArrayRef, RangeRef};
use crate::text::{fit_char, fit_name, fit_varchar};
use crate::time::{DAY, POSTGRES_EPOCH_DAYS, check_date, check_timestamp};
use crate::{Arena, Datum, EvalError, Interval, Numeric, Row, ScalarType, json};

/// Microseconds from 1970 to 2000.
const POSTGRES_EPOCH: i64 = POSTGRES_EPOCH_DAYS as i64 * DAY;

/// The most dimensions of an array.
const MAX_DIMENSIONS: i32 = 6;

// Postgres' flags of ranges.
const RANGE_EMPTY: u8 = 1;
const RANGE_LOWER_INCLUSIVE: u8 = 2;
const RANGE_UPPER_INCLUSIVE: u8 = 4;
const RANGE_LOWER_INFINITE: u8 = 8;
const RANGE_UPPER_INFINITE: u8 = 16;

// Postgres' signs of numerics.
const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xC000;
const NUMERIC_INFINITY: u16 = 0xD000;
const NUMERIC_NEG_INFINITY: u16 = 0xF000;

/// Appends the binary form, without the length in front. NULL is the caller's business.
pub fn write(datum: Datum<'_>, ty: &ScalarType, out: &mut Vec<u8>) {
    // What stands in for the type of an element where value and type disagree.
    const ANY: ScalarType = ScalarType::Text;
    match datum {
        Datum::Null => {}
        Datum::Bool(b) => out.push(b.into()),
        Datum::Int16(n) => out.extend_from_slice(&n.to_be_bytes()),
        Datum::Int32(n) => out.extend_from_slice(&n.to_be_bytes()),
        Datum::Int64(n) => out.extend_from_slice(&n.to_be_bytes()),
        Datum::UInt16(n) => out.extend_from_slice(&n.to_be_bytes()),
        Datum::UInt32(n) => out.extend_from_slice(&n.to_be_bytes()),
        Datum::UInt64(n) | Datum::MzTimestamp(n) => out.extend_from_slice(&n.to_be_bytes()),
        Datum::Float32(x) => out.extend_from_slice(&x.to_be_bytes()),
        Datum::Float64(x) => out.extend_from_slice(&x.to_be_bytes()),
        Datum::Numeric(n) => write_numeric(n, out),
        Datum::Text(s) => {
            out.extend_from_slice(s.as_bytes());
            match ty {
                ScalarType::Char { length: Some(n) } => {
                    let missing = (*n as usize).saturating_sub(s.chars().count());
                    out.extend(std::iter::repeat_n(b' ', missing));
                }
                // One byte always; none is written as zero.
                ScalarType::PgChar if s.is_empty() => out.push(0),
                _ => {}
            }
        }
        Datum::Bytes(b) => out.extend_from_slice(b),
        Datum::Jsonb(j) => {
            let mut text = String::from("\u{1}");
            j.write_json(&mut text);
            out.extend_from_slice(text.as_bytes());
        }
        Datum::Date(d) => out.extend_from_slice(&d.wrapping_sub(POSTGRES_EPOCH_DAYS).to_be_bytes()),
        Datum::Time(t) => out.extend_from_slice(&t.to_be_bytes()),
        Datum::Timestamp(t) | Datum::TimestampTz(t) => {
            out.extend_from_slice(&t.wrapping_sub(POSTGRES_EPOCH).to_be_bytes())
        }
        Datum::Interval(i) => {
            out.extend_from_slice(&i.micros.to_be_bytes());
            out.extend_from_slice(&i.days.to_be_bytes());
            out.extend_from_slice(&i.months.to_be_bytes());
        }
        Datum::Uuid(u) => out.extend_from_slice(&u),
        Datum::Array(a) => {
            let element = match ty {
                ScalarType::Array(e) => e,
                ScalarType::Int2Vector => &ScalarType::Int16,
                _ => &ANY,
            };
            write_array(a, element, out)
        }
        Datum::List(elements) => {
            let element = if let ScalarType::List(e) = ty { e } else { &ANY };
            let dims = [(elements.iter().count() as i32, 1)];
            let dims: &[_] = if dims[0].0 == 0 { &[] } else { &dims };
            write_array_head(dims, elements.iter().any(|d| d.is_null()), element, out);
            elements.iter().for_each(|d| write_element(d, element, out));
        }
        Datum::Map(entries) => {
            let value = if let ScalarType::Map(v) = ty { v } else { &ANY };
            out.extend_from_slice(&((entries.iter().count() / 2) as i32).to_be_bytes());
            for (i, d) in entries.iter().enumerate() {
                write_element(d, if i % 2 == 0 { &ScalarType::Text } else { value }, out);
            }
        }
        Datum::Record(fields) => {
            let types = if let ScalarType::Record(f) = ty { f.as_slice() } else { &[] };
            out.extend_from_slice(&(fields.iter().count() as i32).to_be_bytes());
            for (i, d) in fields.iter().enumerate() {
                let ty = types.get(i).map_or(&ANY, |(_, t)| &t.scalar);
                out.extend_from_slice(&ty.oid().to_be_bytes());
                write_element(d, ty, out);
            }
        }
        Datum::Range(r) => {
            let element = if let ScalarType::Range(e) = ty { e } else { &ANY };
            write_range(r, element, out)
        }
    }
}

/// A length and the form, or -1 for NULL.
fn write_element(d: Datum<'_>, ty: &ScalarType, out: &mut Vec<u8>) {
    if d.is_null() {
        return out.extend_from_slice(&(-1i32).to_be_bytes());
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(d, ty, out);
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn write_array_head(dims: &[(i32, i32)], has_null: bool, ty: &ScalarType, out: &mut Vec<u8>) {
    out.extend_from_slice(&(dims.len() as i32).to_be_bytes());
    out.extend_from_slice(&i32::from(has_null).to_be_bytes());
    out.extend_from_slice(&ty.oid().to_be_bytes());
    for (length, lower) in dims {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&lower.to_be_bytes());
    }
}

fn write_array(a: ArrayRef<'_>, ty: &ScalarType, out: &mut Vec<u8>) {
    let dims: Vec<(i32, i32)> = a.dims().collect();
    write_array_head(&dims, a.elements().iter().any(|d| d.is_null()), ty, out);
    a.elements().iter().for_each(|d| write_element(d, ty, out));
}

fn write_range(r: RangeRef<'_>, ty: &ScalarType, out: &mut Vec<u8>) {
    let Some((lower, upper)) = range::bounds(r) else { return out.push(RANGE_EMPTY) };
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(
        flag(lower.inclusive, RANGE_LOWER_INCLUSIVE)
            | flag(upper.inclusive, RANGE_UPPER_INCLUSIVE)
            | flag(lower.value.is_null(), RANGE_LOWER_INFINITE)
            | flag(upper.value.is_null(), RANGE_UPPER_INFINITE),
    );
    for bound in [lower, upper] {
        if !bound.value.is_null() {
            write_element(bound.value, ty, out);
        }
    }
}

/// Groups of four decimal digits, aligned with the point: count, weight of the first, sign, digits behind the point.
fn write_numeric(n: Numeric, out: &mut Vec<u8>) {
    let mut head = |count: i16, weight: i16, sign: u16, scale: u16| {
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&weight.to_be_bytes());
        out.extend_from_slice(&sign.to_be_bytes());
        out.extend_from_slice(&scale.to_be_bytes());
    };
    let mut buffer = [0; 39];
    let Some((negative, digits, exponent)) = n.digits(&mut buffer) else {
        let sign = match () {
            () if n.is_nan() => NUMERIC_NAN,
            () if n.is_negative() => NUMERIC_NEG_INFINITY,
            () => NUMERIC_INFINITY,
        };
        // Postgres gives infinities this scale.
        return head(0, 0, sign, if n.is_nan() { 0 } else { 0x20 });
    };
    if n.is_zero() {
        return head(0, 0, 0, 0);
    }
    let whole = digits.len() as i32 + exponent;
    let weight = (whole - 1).div_euclid(4);
    // Zeros in front of the first digit and behind the last fill their groups.
    let front = ((weight + 1) * 4 - whole) as usize;
    let count = (front + digits.len()).div_ceil(4);
    head(count as i16, weight as i16, if negative { NUMERIC_NEGATIVE } else { 0 }, n.scale() as u16);
    let digit =
        |i: usize| i.checked_sub(front).and_then(|i| digits.get(i)).map_or(0, |d| i16::from(d - b'0'));
    for group in 0..count {
        let value = (0..4).fold(0, |n, i| n * 10 + digit(group * 4 + i));
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Reads the binary form; a modifier of the type is applied as in an assignment.
///
/// Errors: 22P03 where the bytes are not that form, 22021 for text that is not UTF-8, 22003 and 22008 out of range,
/// 22001 for strings that are too long.
pub fn read<'a>(bytes: &[u8], ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let mut r = Reader { rest: bytes };
    let datum = read_value(&mut r, ty, arena)?;
    if !r.rest.is_empty() {
        return Err(malformed(ty, "There are bytes left over."));
    }
    Ok(datum)
}

fn malformed(ty: &ScalarType, detail: impl Into<String>) -> EvalError {
    let message = format!("incorrect binary data format for type {}", ty.name());
    EvalError::new(code::INVALID_BINARY_REPRESENTATION, message).with_detail(detail)
}

/// The bytes not read yet. Everything returns none where there are too few.
struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (head, tail) = self.rest.split_at_checked(n)?;
        self.rest = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn all(&mut self) -> &'b [u8] {
        std::mem::take(&mut self.rest)
    }
}

fn read_value<'a>(r: &mut Reader<'_>, ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let short = || malformed(ty, "There are too few bytes.");
    Ok(match ty {
        ScalarType::Bool => match r.array().ok_or_else(short)? {
            [0] => Datum::Bool(false),
            [_] => Datum::Bool(true),
        },
        ScalarType::Int16 => Datum::Int16(r.i16().ok_or_else(short)?),
        ScalarType::Int32 => Datum::Int32(r.i32().ok_or_else(short)?),
        ScalarType::Int64 => Datum::Int64(r.i64().ok_or_else(short)?),
        ScalarType::UInt16 => Datum::UInt16(r.u16().ok_or_else(short)?),
        ScalarType::UInt32
        | ScalarType::Oid
        | ScalarType::RegClass
        | ScalarType::RegProc
        | ScalarType::RegType => Datum::UInt32(r.array().map(u32::from_be_bytes).ok_or_else(short)?),
        ScalarType::UInt64 => Datum::UInt64(r.array().map(u64::from_be_bytes).ok_or_else(short)?),
        ScalarType::MzTimestamp => Datum::MzTimestamp(r.array().map(u64::from_be_bytes).ok_or_else(short)?),
        ScalarType::Float32 => Datum::Float32(r.array().map(f32::from_be_bytes).ok_or_else(short)?),
        ScalarType::Float64 => Datum::Float64(r.array().map(f64::from_be_bytes).ok_or_else(short)?),
        ScalarType::Numeric { scale } => {
            let n = read_numeric(r, ty)?;
            Datum::Numeric(scale.map_or(Ok(n), |s| n.rescale(s))?)
        }
        ScalarType::Text => Datum::Text(arena.text(json::decode_utf8(r.all())?)),
        ScalarType::VarChar { length } => {
            Datum::Text(arena.text(fit_varchar(json::decode_utf8(r.all())?, *length, false)?))
        }
        ScalarType::Char { length } => {
            Datum::Text(arena.text(fit_char(json::decode_utf8(r.all())?, *length, false)?))
        }
        ScalarType::PgChar => match r.array().ok_or_else(short)? {
            [0] => Datum::Text(""),
            [b] if b.is_ascii() => Datum::Text(arena.text(char::from(b).encode_utf8(&mut [0; 4]))),
            _ => return Err(malformed(ty, "The byte is not ASCII.")),
        },
        ScalarType::Name => Datum::Text(arena.text(fit_name(json::decode_utf8(r.all())?))),
        ScalarType::Bytes => Datum::Bytes(arena.bytes(r.all())),
        ScalarType::Jsonb => match r.array() {
            Some([1]) => json::parse(json::decode_utf8(r.all())?, arena)?,
            Some([version]) => {
                return Err(malformed(ty, format!("unsupported jsonb version number {version}")));
            }
            None => return Err(short()),
        },
        ScalarType::Date => {
            let days = i64::from(r.i32().ok_or_else(short)?) + i64::from(POSTGRES_EPOCH_DAYS);
            Datum::Date(check_date(days)?)
        }
        ScalarType::Time => match r.i64().ok_or_else(short)? {
            t if (0..=DAY).contains(&t) => Datum::Time(t),
            _ => return Err(EvalError::new(code::DATETIME_FIELD_OVERFLOW, "time out of range")),
        },
        ScalarType::Timestamp { precision } => {
            Datum::Timestamp(read_timestamp(r, *precision).ok_or_else(short)??)
        }
        ScalarType::TimestampTz { precision } => {
            Datum::TimestampTz(read_timestamp(r, *precision).ok_or_else(short)??)
        }
        ScalarType::Interval => {
            let mut parts = || Some((r.i64()?, r.i32()?, r.i32()?));
            let (micros, days, months) = parts().ok_or_else(short)?;
            Datum::Interval(Interval { months, days, micros })
        }
        ScalarType::Uuid => Datum::Uuid(r.array().ok_or_else(short)?),
        ScalarType::Array(element) => {
            let (dims, row) = read_array(r, ty, element)?;
            arena.array(&dims, arena.row(&row).iter())
        }
        ScalarType::Int2Vector => {
            let (dims, row) = read_array(r, ty, &ScalarType::Int16)?;
            if dims.len() > 1 {
                return Err(malformed(ty, "There is more than one dimension."));
            }
            arena.array(&dims, arena.row(&row).iter())
        }
        ScalarType::List(element) => {
            let (dims, row) = read_array(r, ty, element)?;
            if dims.len() > 1 {
                return Err(malformed(ty, "There is more than one dimension."));
            }
            arena.list(arena.row(&row).iter())
        }
        ScalarType::Map(value) => {
            let count = r.i32().ok_or_else(short)?;
            // Sorted, and of two entries with one key the last wins.
            let mut entries = std::collections::BTreeMap::new();
            for _ in 0..count {
                let key = match read_element(r, ty, &ScalarType::Text, arena)? {
                    Datum::Text(key) => key,
                    _ => return Err(malformed(ty, "A key is NULL.")),
                };
                entries.insert(key, read_element(r, ty, value, arena)?);
            }
            arena.map(entries)
        }
        ScalarType::Record(types) => {
            let count = r.i32().ok_or_else(short)?;
            if usize::try_from(count) != Ok(types.len()) {
                return Err(malformed(ty, format!("There are {count} columns instead of {}.", types.len())));
            }
            let mut row = Row::default();
            for (_, field) in types {
                let oid = r.array().map(u32::from_be_bytes).ok_or_else(short)?;
                check_oid(oid, ty, &field.scalar)?;
                row.push(read_element(r, ty, &field.scalar, arena)?);
            }
            arena.record(arena.row(&row).iter())
        }
        ScalarType::Range(element) => read_range(r, ty, element, arena)?,
    })
}

fn read_timestamp(r: &mut Reader<'_>, precision: Option<u8>) -> Option<Result<i64, EvalError>> {
    let t = i128::from(r.i64()?) + i128::from(POSTGRES_EPOCH);
    Some(check_timestamp(t).and_then(|t| precision.map_or(Ok(t), |p| crate::time::round_timestamp(t, p))))
}

/// A value with its length in front; NULL for -1. The value must take all its bytes.
fn read_element<'a>(
    r: &mut Reader<'_>,
    whole: &ScalarType,
    ty: &ScalarType,
    arena: &'a Arena,
) -> Result<Datum<'a>, EvalError> {
    let short = || malformed(whole, "There are too few bytes.");
    match r.i32().ok_or_else(short)? {
        -1 => Ok(Datum::Null),
        length => {
            let length = usize::try_from(length).map_err(|_| malformed(whole, "A length is negative."))?;
            read(r.take(length).ok_or_else(short)?, ty, arena)
        }
    }
}

/// Refuses bytes made for another type. Strings are alike whatever their type is called, and 0 is unknown.
fn check_oid(found: u32, whole: &ScalarType, ty: &ScalarType) -> Result<(), EvalError> {
    let string_oids = [ScalarType::Text.oid(), 705, 1042, 1043, ScalarType::Name.oid()];
    if found == ty.oid() || found == 0 || (ty.is_string() && string_oids.contains(&found)) {
        return Ok(());
    }
    let detail = format!("The element type has oid {found} instead of {} ({}).", ty.oid(), ty.name());
    Err(malformed(whole, detail))
}

type Dims = Vec<(i32, i32)>;

fn read_array(r: &mut Reader<'_>, whole: &ScalarType, ty: &ScalarType) -> Result<(Dims, Row), EvalError> {
    let short = || malformed(whole, "There are too few bytes.");
    let mut head = || Some((r.i32()?, r.i32()?, r.array().map(u32::from_be_bytes)?));
    let (count, flags, oid) = head().ok_or_else(short)?;
    if !(0..=MAX_DIMENSIONS).contains(&count) {
        return Err(malformed(
            whole,
            format!("There are {count} dimensions, and at most {MAX_DIMENSIONS} are allowed."),
        ));
    }
    if !(0..=1).contains(&flags) {
        return Err(malformed(whole, "The flags are invalid."));
    }
    check_oid(oid, whole, ty)?;
    let mut dims = vec![];
    let mut elements = 1usize;
    for _ in 0..count {
        let mut dim = || Some((r.i32()?, r.i32()?));
        let (length, lower) = dim().ok_or_else(short)?;
        let length_checked =
            usize::try_from(length).map_err(|_| malformed(whole, "A length is negative."))?;
        if lower.checked_add(length).is_none() {
            return Err(malformed(whole, "A bound is out of range."));
        }
        elements = elements.checked_mul(length_checked).ok_or_else(short)?;
        dims.push((length, lower));
    }
    // Each element takes four bytes at least, so this also bounds the work.
    if count > 0 && elements > r.rest.len() / 4 {
        return Err(short());
    }
    let mut row = Row::default();
    if elements == 0 || count == 0 {
        return Ok((vec![], row));
    }
    for _ in 0..elements {
        let arena = Arena::new();
        row.push(read_element(r, whole, ty, &arena)?);
    }
    Ok((dims, row))
}

fn read_range<'a>(
    r: &mut Reader<'_>,
    whole: &ScalarType,
    ty: &ScalarType,
    arena: &'a Arena,
) -> Result<Datum<'a>, EvalError> {
    let [flags] = r.array().ok_or_else(|| malformed(whole, "There are too few bytes."))?;
    if flags & RANGE_EMPTY != 0 {
        return Ok(range::empty(arena));
    }
    let mut bound = |infinite: u8, inclusive: u8| -> Result<Bound<'a>, EvalError> {
        let value = if flags & infinite != 0 { Datum::Null } else { read_element(r, whole, ty, arena)? };
        if value.is_null() && flags & infinite == 0 {
            return Err(malformed(whole, "A bound is NULL."));
        }
        Ok(Bound { value, inclusive: flags & inclusive != 0 })
    };
    let lower = bound(RANGE_LOWER_INFINITE, RANGE_LOWER_INCLUSIVE)?;
    let upper = bound(RANGE_UPPER_INFINITE, RANGE_UPPER_INCLUSIVE)?;
    range::make(arena, lower, upper)
}

fn read_numeric(r: &mut Reader<'_>, ty: &ScalarType) -> Result<Numeric, EvalError> {
    let short = || malformed(ty, "There are too few bytes.");
    let mut head = || Some((r.u16()?, r.i16()?, r.u16()?, r.u16()?));
    let (count, weight, sign, scale) = head().ok_or_else(short)?;
    match sign {
        NUMERIC_NAN => return Ok(Numeric::NAN),
        NUMERIC_INFINITY => return Ok(Numeric::INFINITY),
        NUMERIC_NEG_INFINITY => return Ok(Numeric::NEG_INFINITY),
        0 | NUMERIC_NEGATIVE => {}
        _ => return Err(malformed(ty, "The sign is invalid.")),
    }
    if scale > 0x3fff {
        return Err(malformed(ty, "The scale is invalid."));
    }
    use std::fmt::Write;
    let mut text = String::from(if sign == NUMERIC_NEGATIVE { "-0" } else { "0" });
    for _ in 0..count {
        let group = r.u16().ok_or_else(short)?;
        if group > 9999 {
            return Err(malformed(ty, "A group of digits is invalid."));
        }
        write!(text, "{group:04}").expect("strings take everything");
    }
    write!(text, "e{}", (i32::from(weight) - i32::from(count) + 1) * 4).expect("strings take everything");
    Ok(Numeric::parse(&text)?.trunc(scale.into()))
}

#[cfg(test)]
mod tests;
