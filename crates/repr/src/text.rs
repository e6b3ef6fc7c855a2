//! The Postgres text form of every type, both ways.
//!
//! Where Materialize prints differently it is followed: numerics have no trailing zeros, jsonb no spaces, intervals
//! whole words. Strings with blank padding (`char(n)`) are kept without it and padded when printed.

mod composite;
mod scalar;

pub use scalar::{
    fit_char, fit_name, fit_varchar, parse_bool, parse_bytes, parse_f32, parse_f64, parse_i16, parse_i32,
    parse_i64, parse_oid, parse_u16, parse_u32, parse_u64, parse_uuid, print_bytes, print_f32, print_f64,
    print_uuid,
};

use std::fmt::Write;

use crate::error::code;
use crate::{Arena, Datum, EvalError, Numeric, ScalarType, time};

/// What stands in for the element type where value and type disagree.
const ANY: ScalarType = ScalarType::Text;

/// Appends the text form, as Postgres (Materialize where §4.4 of its research page says so) prints it. NULL is the
/// caller's business.
pub fn print(datum: Datum<'_>, ty: &ScalarType, out: &mut String) {
    match datum {
        Datum::Null => {}
        Datum::Bool(b) => out.push(if b { 't' } else { 'f' }),
        Datum::Int16(n) => int(n.into(), out),
        Datum::Int32(n) => int(n.into(), out),
        Datum::Int64(n) => int(n, out),
        Datum::UInt16(n) => int(n.into(), out),
        Datum::UInt32(n) => int(n.into(), out),
        Datum::UInt64(n) | Datum::MzTimestamp(n) => write!(out, "{n}").expect("strings take everything"),
        Datum::Float32(x) => print_f32(x, out),
        Datum::Float64(x) => print_f64(x, out),
        Datum::Numeric(n) => write!(out, "{n}").expect("strings take everything"),
        Datum::Text(s) => {
            out.push_str(s);
            if let ScalarType::Char { length: Some(n) } = ty {
                let missing = (*n as usize).saturating_sub(s.chars().count());
                out.extend(std::iter::repeat_n(' ', missing));
            }
        }
        Datum::Bytes(b) => print_bytes(b, out),
        Datum::Jsonb(j) => j.write_json(out),
        Datum::Date(d) => time::print_date(d, out),
        Datum::Time(t) => time::print_time(t, out),
        Datum::Timestamp(t) => time::print_timestamp(t, out),
        Datum::TimestampTz(t) => time::print_timestamptz(t, out),
        Datum::Interval(i) => i.print(out),
        Datum::Uuid(u) => print_uuid(u, out),
        Datum::Array(a) if *ty == ScalarType::Int2Vector => {
            for (i, d) in a.elements().iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                print(d, &ScalarType::Int16, out);
            }
        }
        Datum::Array(a) => {
            let element = if let ScalarType::Array(e) = ty { e } else { &ANY };
            composite::print_array(a, element, out)
        }
        Datum::List(e) => {
            let element = if let ScalarType::List(e) = ty { e } else { &ANY };
            composite::print_list(e, element, out)
        }
        Datum::Map(e) => {
            let value = if let ScalarType::Map(v) = ty { v } else { &ANY };
            composite::print_map(e, value, out)
        }
        Datum::Record(e) => {
            let fields = if let ScalarType::Record(f) = ty { f.as_slice() } else { &[] };
            composite::print_record(e, fields, out)
        }
        Datum::Range(r) => {
            let element = if let ScalarType::Range(e) = ty { e } else { &ANY };
            composite::print_range(r, element, out)
        }
    }
}

/// Appends an integer without the detour of the formatting machinery.
fn int(n: i64, out: &mut String) {
    let mut buffer = [0; 20];
    let mut at = buffer.len();
    let mut rest = n.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if n < 0 {
        out.push('-');
    }
    out.push_str(std::str::from_utf8(&buffer[at..]).expect("digits are ASCII"));
}

/// Reads the text form; a modifier of the type (scale, length, precision) is applied as in an assignment.
///
/// Errors: 22P02 on syntax, 22003, 22007 and 22008 by type, 22001 where a string is too long.
pub fn parse<'a>(text: &str, ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    Ok(match ty {
        ScalarType::Bool => Datum::Bool(parse_bool(text)?),
        ScalarType::Int16 => Datum::Int16(parse_i16(text)?),
        ScalarType::Int32 => Datum::Int32(parse_i32(text)?),
        ScalarType::Int64 => Datum::Int64(parse_i64(text)?),
        ScalarType::UInt16 => Datum::UInt16(parse_u16(text)?),
        ScalarType::UInt32 => Datum::UInt32(parse_u32(text)?),
        ScalarType::UInt64 => Datum::UInt64(parse_u64(text)?),
        ScalarType::Float32 => Datum::Float32(parse_f32(text)?),
        ScalarType::Float64 => Datum::Float64(parse_f64(text)?),
        ScalarType::Numeric { scale: None } => Datum::Numeric(Numeric::parse(text)?),
        ScalarType::Numeric { scale: Some(scale) } => Datum::Numeric(Numeric::parse(text)?.rescale(*scale)?),
        ScalarType::Text => Datum::Text(arena.text(text)),
        ScalarType::VarChar { length } => Datum::Text(arena.text(fit_varchar(text, *length, false)?)),
        ScalarType::Char { length } => Datum::Text(arena.text(fit_char(text, *length, false)?)),
        ScalarType::PgChar => {
            let end = text.chars().next().map_or(0, char::len_utf8);
            Datum::Text(arena.text(&text[..end]))
        }
        ScalarType::Name => Datum::Text(arena.text(fit_name(text))),
        ScalarType::Bytes => Datum::Bytes(arena.bytes(&parse_bytes(text)?)),
        ScalarType::Jsonb => crate::json::parse(text, arena)?,
        ScalarType::Date => Datum::Date(time::parse_date(text)?),
        ScalarType::Time => Datum::Time(time::parse_time(text)?),
        ScalarType::Timestamp { precision } => {
            let t = time::parse_timestamp(text)?;
            Datum::Timestamp(precision.map_or(Ok(t), |p| time::round_timestamp(t, p))?)
        }
        ScalarType::TimestampTz { precision } => {
            let t = time::parse_timestamptz(text)?;
            Datum::TimestampTz(precision.map_or(Ok(t), |p| time::round_timestamp(t, p))?)
        }
        ScalarType::Interval => Datum::Interval(time::parse_interval(text)?),
        ScalarType::Uuid => Datum::Uuid(parse_uuid(text)?),
        ScalarType::Oid | ScalarType::RegClass | ScalarType::RegProc | ScalarType::RegType => {
            Datum::UInt32(parse_oid(text, &ty.name())?)
        }
        ScalarType::MzTimestamp => Datum::MzTimestamp(parse_mz_timestamp(text)?),
        ScalarType::Array(element) => composite::parse_array(text, element, arena)?,
        ScalarType::List(element) => composite::parse_list(text, element, arena)?,
        ScalarType::Map(value) => composite::parse_map(text, value, arena)?,
        ScalarType::Record(fields) => composite::parse_record(text, fields, arena)?,
        ScalarType::Range(element) => composite::parse_range(text, element, arena)?,
        ScalarType::Int2Vector => {
            let numbers = text.split_ascii_whitespace().map(|n| parse_i16(n).map(Datum::Int16));
            let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
            // The catalog counts these from 0.
            let dims = [(numbers.len() as i32, 0)];
            arena.array(if numbers.is_empty() { &[] } else { &dims }, numbers)
        }
    })
}

/// A time of the engine's clock: milliseconds, or a timestamp in words.
fn parse_mz_timestamp(text: &str) -> Result<u64, EvalError> {
    if let Ok(n) = text.trim().parse() {
        return Ok(n);
    }
    let bad = || {
        let message = format!("invalid input syntax for type mz_timestamp: \"{text}\"");
        EvalError::new(code::INVALID_TEXT_REPRESENTATION, message)
    };
    let micros = time::parse_timestamptz(text).map_err(|_| bad())?;
    u64::try_from(micros.div_euclid(1000)).map_err(|_| bad())
}

#[cfg(test)]
mod tests;
