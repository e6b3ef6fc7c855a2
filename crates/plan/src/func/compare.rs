//! Comparison, NOT, IS …, and what is built on comparing: nullif, greatest, least, `op ANY`, `op ALL`.
//!
//! One function serves all types: arguments were cast to one type, and datums compare in SQL's order.

use std::cmp::Ordering;

use repr::error::SqlState;
use repr::{Arena, Datum, EvalError, ScalarType};

use super::pattern;
use super::registry::{LAX, LAX_FAILS, LAX_MAYBE, LAX_NULLABLE, PURE, Table};

/// Types with comparison operators of their own; others get there by implicit casts (varchar,
/// char and name by text; intervals compare by length, in the time module).
macro_rules! for_comparable {
    ($op:literal) => {
        for_comparable!(@ $op, "bool" "int2" "int4" "int8" "uint2" "uint4" "uint8" "float4" "float8" "numeric" "text"
            "bytea" "jsonb" "date" "time" "timestamp" "timestamptz" "uuid" "oid" "mz_timestamp"
            "anyarray" "anylist" "anymap" "anyrange" "record" "int2vector")
    };
    (@ $op:literal, $($ty:literal)*) => {
        concat!($($ty, " ", $op, " ", $ty, " -> bool; "),*)
    };
}

pub(super) fn register(t: &mut Table) {
    t.add("eq", for_comparable!("="), PURE, |a, _, _| Ok(Datum::Bool(a[0] == a[1])));
    t.add("ne", for_comparable!("<>"), PURE, |a, _, _| Ok(Datum::Bool(a[0] != a[1])));
    t.also("ne", for_comparable!("!="));
    t.add("lt", for_comparable!("<"), PURE, |a, _, _| Ok(Datum::Bool(a[0] < a[1])));
    t.add("le", for_comparable!("<="), PURE, |a, _, _| Ok(Datum::Bool(a[0] <= a[1])));
    t.add("gt", for_comparable!(">"), PURE, |a, _, _| Ok(Datum::Bool(a[0] > a[1])));
    t.add("ge", for_comparable!(">="), PURE, |a, _, _| Ok(Datum::Bool(a[0] >= a[1])));

    t.add("not", "not(bool) -> bool", PURE, |a, _, _| Ok(Datum::Bool(!a[0].bool())));
    // These are never NULL, also for NULL, but `never_null` speaks only of arguments that are not.
    t.add("is_null", "", LAX, |a, _, _| Ok(Datum::Bool(a[0].is_null())));
    t.add("is_not_null", "", LAX, |a, _, _| Ok(Datum::Bool(!a[0].is_null())));
    t.add("is_true", "", LAX, |a, _, _| Ok(Datum::Bool(matches!(a[0], Datum::Bool(true)))));
    t.add("is_not_true", "", LAX, |a, _, _| Ok(Datum::Bool(!matches!(a[0], Datum::Bool(true)))));
    t.add("is_false", "", LAX, |a, _, _| Ok(Datum::Bool(matches!(a[0], Datum::Bool(false)))));
    t.add("is_not_false", "", LAX, |a, _, _| Ok(Datum::Bool(!matches!(a[0], Datum::Bool(false)))));
    t.add("is_distinct", "", LAX, |a, _, _| Ok(Datum::Bool(a[0] != a[1])));
    t.add("is_not_distinct", "", LAX, |a, _, _| Ok(Datum::Bool(a[0] == a[1])));
    t.add("same", "", LAX, |a, _, _| Ok(a[0]));
    t.add("nullif", "", LAX_MAYBE, |a, _, _| {
        Ok(if a[0].is_null() || (!a[1].is_null() && a[0] == a[1]) { Datum::Null } else { a[0] })
    });
    t.add(
        "greatest",
        "greatest(variadic anycompatible) -> anycompatible -- the greatest that is not NULL",
        LAX,
        |a, _, _| Ok(a.iter().copied().filter(|d| !d.is_null()).max().unwrap_or(Datum::Null)),
    );
    t.add(
        "least",
        "least(variadic anycompatible) -> anycompatible -- the least that is not NULL",
        LAX,
        |a, _, _| Ok(a.iter().copied().filter(|d| !d.is_null()).min().unwrap_or(Datum::Null)),
    );
    t.add("num_nulls", "num_nulls(variadic any) -> int4 -- how many arguments are NULL", LAX, |a, _, _| {
        Ok(Datum::Int32(a.iter().filter(|d| d.is_null()).count() as i32))
    });
    t.add(
        "num_nonnulls",
        "num_nonnulls(variadic any) -> int4 -- how many arguments are not NULL",
        LAX,
        |a, _, _| Ok(Datum::Int32(a.iter().filter(|d| !d.is_null()).count() as i32)),
    );
    t.add(
        "mz_error_if_null",
        "mz_error_if_null(jsonb, text) -> jsonb -- the first argument; where it is NULL, an error with the text",
        LAX_FAILS,
        |a, _, _| match (a[0], a[1]) {
            (Datum::Null, Datum::Text(text)) => {
                Err(EvalError::new(repr::error::code::NULL_VALUE_NOT_ALLOWED, text))
            }
            (Datum::Null, _) => Err(EvalError::new(repr::error::code::NULL_VALUE_NOT_ALLOWED, "null value")),
            (value, _) => Ok(value),
        },
    );
    t.add("raise", "", LAX_FAILS, |a, _, _| {
        let text = |d: &Datum<'_>| if let Datum::Text(s) = d { s.to_string() } else { String::new() };
        let code =
            <[u8; 5]>::try_from(text(&a[0]).as_bytes()).map_or(repr::error::code::INTERNAL_ERROR, SqlState);
        Err(EvalError::new(code, text(&a[1])))
    });

    macro_rules! quantified {
        ($($name:literal $op:ident;)*) => {$(
            t.add(concat!("any_", $name), "", LAX_NULLABLE, |a, _, m| any::<{ Op::$op as u8 }>(a, m));
            t.add(concat!("all_", $name), "", LAX_NULLABLE, |a, _, m| all::<{ Op::$op as u8 }>(a, m));
        )*};
    }
    quantified! {
        "eq" Eq; "ne" Ne; "lt" Lt; "le" Le; "gt" Gt; "ge" Ge;
        "like" Like; "not_like" NotLike; "ilike" ILike; "not_ilike" NotILike;
    }
    macro_rules! quantified_regex {
        ($($name:literal $op:ident;)*) => {$(
            t.add(concat!("any_", $name), "", LAX_MAYBE, |a, _, m| any::<{ Op::$op as u8 }>(a, m));
            t.add(concat!("all_", $name), "", LAX_MAYBE, |a, _, m| all::<{ Op::$op as u8 }>(a, m));
        )*};
    }
    quantified_regex! {
        "regex" Regex; "not_regex" NotRegex; "iregex" IRegex; "not_iregex" NotIRegex;
    }
}

/// The operators that take ANY and ALL, and the ids of the functions that do it.
pub(super) fn quantified_id(op: &str, all: bool) -> Option<&'static str> {
    Some(match (op, all) {
        ("=", false) => "any_eq",
        ("=", true) => "all_eq",
        ("<>" | "!=", false) => "any_ne",
        ("<>" | "!=", true) => "all_ne",
        ("<", false) => "any_lt",
        ("<", true) => "all_lt",
        ("<=", false) => "any_le",
        ("<=", true) => "all_le",
        (">", false) => "any_gt",
        (">", true) => "all_gt",
        (">=", false) => "any_ge",
        (">=", true) => "all_ge",
        ("~~", false) => "any_like",
        ("~~", true) => "all_like",
        ("!~~", false) => "any_not_like",
        ("!~~", true) => "all_not_like",
        ("~~*", false) => "any_ilike",
        ("~~*", true) => "all_ilike",
        ("!~~*", false) => "any_not_ilike",
        ("!~~*", true) => "all_not_ilike",
        ("~", false) => "any_regex",
        ("~", true) => "all_regex",
        ("!~", false) => "any_not_regex",
        ("!~", true) => "all_not_regex",
        ("~*", false) => "any_iregex",
        ("~*", true) => "all_iregex",
        ("!~*", false) => "any_not_iregex",
        ("!~*", true) => "all_not_iregex",
        _ => return None,
    })
}

#[derive(Clone, Copy)]
enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Like,
    NotLike,
    ILike,
    NotILike,
    Regex,
    NotRegex,
    IRegex,
    NotIRegex,
}

const OPS: [Op; 14] = [
    Op::Eq,
    Op::Ne,
    Op::Lt,
    Op::Le,
    Op::Gt,
    Op::Ge,
    Op::Like,
    Op::NotLike,
    Op::ILike,
    Op::NotILike,
    Op::Regex,
    Op::NotRegex,
    Op::IRegex,
    Op::NotIRegex,
];

fn holds(op: Op, a: Datum<'_>, b: Datum<'_>) -> Result<bool, EvalError> {
    Ok(match op {
        Op::Eq => a == b,
        Op::Ne => a != b,
        Op::Lt => a.cmp(&b) == Ordering::Less,
        Op::Le => a.cmp(&b) != Ordering::Greater,
        Op::Gt => a.cmp(&b) == Ordering::Greater,
        Op::Ge => a.cmp(&b) != Ordering::Less,
        Op::Like => pattern::like(a.text(), b.text(), false)?,
        Op::NotLike => !pattern::like(a.text(), b.text(), false)?,
        Op::ILike => pattern::like(a.text(), b.text(), true)?,
        Op::NotILike => !pattern::like(a.text(), b.text(), true)?,
        Op::Regex => pattern::regex_matches(a.text(), b.text(), false)?,
        Op::NotRegex => !pattern::regex_matches(a.text(), b.text(), false)?,
        Op::IRegex => pattern::regex_matches(a.text(), b.text(), true)?,
        Op::NotIRegex => !pattern::regex_matches(a.text(), b.text(), true)?,
    })
}

/// The elements of an array or a list.
pub(super) fn elements(d: Datum<'_>) -> repr::row::DatumIter<'_> {
    match d {
        Datum::Array(a) => a.elements().iter(),
        Datum::List(e) | Datum::Record(e) | Datum::Map(e) => e.iter(),
        other => panic!("expected an array or a list, found {other:?}"),
    }
}

fn any<'a, const OP: u8>(args: &[Datum<'a>], _arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    if args[1].is_null() {
        return Ok(Datum::Null);
    }
    // Over no elements the left side does not matter, not even if it is NULL.
    let mut null = false;
    for e in elements(args[1]) {
        if e.is_null() || args[0].is_null() {
            null = true;
        } else if holds(OPS[usize::from(OP)], args[0], e)? {
            return Ok(Datum::Bool(true));
        }
    }
    Ok(if null { Datum::Null } else { Datum::Bool(false) })
}

fn all<'a, const OP: u8>(args: &[Datum<'a>], _arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    if args[1].is_null() {
        return Ok(Datum::Null);
    }
    // Over no elements the left side does not matter, not even if it is NULL.
    let mut null = false;
    for e in elements(args[1]) {
        if e.is_null() || args[0].is_null() {
            null = true;
        } else if !holds(OPS[usize::from(OP)], args[0], e)? {
            return Ok(Datum::Bool(false));
        }
    }
    Ok(if null { Datum::Null } else { Datum::Bool(true) })
}

/// The type of a value, as far as the value tells: what `any` functions print and convert by.
pub(super) fn type_of_value(d: &Datum<'_>) -> ScalarType {
    let element = |mut e: repr::row::DatumIter<'_>| {
        Box::new(e.find(|d| !d.is_null()).map_or(ScalarType::Text, |d| type_of_value(&d)))
    };
    match d {
        Datum::Null | Datum::Text(_) => ScalarType::Text,
        Datum::Bool(_) => ScalarType::Bool,
        Datum::Int16(_) => ScalarType::Int16,
        Datum::Int32(_) => ScalarType::Int32,
        Datum::Int64(_) => ScalarType::Int64,
        Datum::UInt16(_) => ScalarType::UInt16,
        Datum::UInt32(_) => ScalarType::UInt32,
        Datum::UInt64(_) => ScalarType::UInt64,
        Datum::Float32(_) => ScalarType::Float32,
        Datum::Float64(_) => ScalarType::Float64,
        Datum::Numeric(_) => ScalarType::Numeric { scale: None },
        Datum::Bytes(_) => ScalarType::Bytes,
        Datum::Jsonb(_) => ScalarType::Jsonb,
        Datum::Date(_) => ScalarType::Date,
        Datum::Time(_) => ScalarType::Time,
        Datum::Timestamp(_) => ScalarType::Timestamp { precision: None },
        Datum::TimestampTz(_) => ScalarType::TimestampTz { precision: None },
        Datum::Interval(_) => ScalarType::Interval,
        Datum::Uuid(_) => ScalarType::Uuid,
        Datum::MzTimestamp(_) => ScalarType::MzTimestamp,
        Datum::Array(a) => ScalarType::Array(element(a.elements().iter())),
        Datum::List(e) => ScalarType::List(element(e.iter())),
        Datum::Map(e) => {
            let value = e.iter().skip(1).step_by(2).find(|d| !d.is_null());
            ScalarType::Map(Box::new(value.map_or(ScalarType::Text, |d| type_of_value(&d))))
        }
        Datum::Record(e) => ScalarType::Record(
            e.iter()
                .enumerate()
                .map(|(i, d)| (format!("f{}", i + 1), type_of_value(&d).nullable(true)))
                .collect(),
        ),
        Datum::Range(r) => {
            let (lower, upper) = (r.lower().0, r.upper().0);
            ScalarType::Range(Box::new(type_of_value(if lower.is_null() { &upper } else { &lower })))
        }
    }
}

/// Appends the text of any value by what the value tells of its type.
pub(super) fn print_value(d: Datum<'_>, out: &mut String) {
    if !d.is_null() {
        repr::text::print(d, &type_of_value(&d), out);
    }
}
