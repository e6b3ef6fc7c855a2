//! Casts. The target's modifier (scale, length, precision) is applied by every cast to a type that has one.

use repr::error::{SqlState, code};
use repr::jsonb::JsonbKind;
use repr::{Arena, Datum, EvalError, Numeric, ScalarType, text, time};

use super::array::{array, element_type, made_map};
use super::compare::{elements, print_value, type_of_value};
use super::numeric::out_of_range;
use super::registry::{FAILS, Nature, PURE, Table};
use super::resolve::{Cast, CastContext, cast, type_by_name, type_by_oid};
use CastContext::{Assignment, Explicit, Implicit};

pub(super) fn register(t: &mut Table) {
    numbers(t);
    texts(t);
    times(t);
    jsonb(t);
    catalog(t);
    containers(t);
}

// ---- numbers

const INTS: [&str; 6] = ["int2", "int4", "int8", "uint2", "uint4", "uint8"];

fn numbers(t: &mut Table) {
    // Rank by width; a cast to a later one of these is implicit and loses nothing but a float's last digits.
    let signed = ["int2", "int4", "int8"];
    for from in INTS {
        for to in INTS {
            if from == to {
                continue;
            }
            let widens = match (from, to) {
                ("uint2", "uint4" | "uint8" | "int4" | "int8") | ("uint4", "uint8" | "int8") => true,
                _ => {
                    let rank = |n: &str| signed.iter().position(|s| *s == n);
                    matches!((rank(from), rank(to)), (Some(a), Some(b)) if a < b)
                }
            };
            let (context, nature) = if widens { (Implicit, PURE) } else { (Assignment, FAILS) };
            t.cast(from, to, context, nature, number);
        }
        t.cast(from, "numeric", Implicit, PURE, number);
        t.cast(from, "float8", Implicit, PURE, number);
        t.cast(from, "float4", Implicit, PURE, number);
        t.cast("numeric", from, Assignment, FAILS, number);
        t.cast("float8", from, Assignment, FAILS, number);
        t.cast("float4", from, Assignment, FAILS, number);
    }
    t.cast("numeric", "float8", Implicit, PURE, number);
    t.cast("numeric", "float4", Implicit, FAILS, number);
    t.cast("float4", "float8", Implicit, PURE, number);
    t.cast("float8", "float4", Assignment, FAILS, number);
    t.cast("float4", "numeric", Assignment, FAILS, number);
    t.cast("float8", "numeric", Assignment, FAILS, number);
    t.cast("numeric", "numeric", Implicit, FAILS, number);
    for int in ["int2", "int4", "int8"] {
        t.cast("bool", int, Explicit, PURE, |a, ty, _| {
            let n = i64::from(a[0].bool());
            Ok(match ty {
                ScalarType::Int16 => Datum::Int16(n as i16),
                ScalarType::Int64 => Datum::Int64(n),
                _ => Datum::Int32(n as i32),
            })
        });
        t.cast(int, "bool", Explicit, PURE, |a, _, _| Ok(Datum::Bool(a[0].int() != 0)));
    }
}

enum Number {
    Int(i128),
    Float(f64),
    Numeric(Numeric),
}

/// Any number to any other; the target is `ty`.
fn number<'a>(a: &[Datum<'a>], ty: &ScalarType, _: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let n = match a[0] {
        Datum::UInt64(n) => Number::Int(n.into()),
        Datum::Float64(x) => Number::Float(x),
        Datum::Float32(x) => match ty {
            // The digits of the float4, not those of the float8 next to it.
            ScalarType::Numeric { .. } => Number::Numeric(Numeric::from_f32(x)?),
            _ => Number::Float(x.into()),
        },
        Datum::Numeric(n) => Number::Numeric(n),
        d => Number::Int(d.int().into()),
    };
    to_number(n, ty)
}

fn to_number<'a>(n: Number, ty: &ScalarType) -> Result<Datum<'a>, EvalError> {
    let int = |n: &Number| -> Result<i128, EvalError> {
        let what = ty.name();
        match n {
            Number::Int(n) => Ok(*n),
            Number::Float(x) if x.is_finite() && x.abs() < 1e30 => Ok(x.round_ties_even() as i128),
            Number::Float(_) => Err(out_of_range(&what)),
            Number::Numeric(n) if n.is_nan() => {
                Err(EvalError::new(code::FEATURE_NOT_SUPPORTED, format!("cannot convert NaN to {what}")))
            }
            Number::Numeric(n) if !n.is_finite() => {
                Err(EvalError::new(code::FEATURE_NOT_SUPPORTED, format!("cannot convert infinity to {what}")))
            }
            Number::Numeric(n) => n.to_i128().ok_or_else(|| out_of_range(&what)),
        }
    };
    macro_rules! fit {
        ($variant:ident $rust:ty) => {
            <$rust>::try_from(int(&n)?).map(Datum::$variant).map_err(|_| out_of_range(&ty.name()))
        };
    }
    match ty {
        ScalarType::Int16 => fit!(Int16 i16),
        ScalarType::Int32 => fit!(Int32 i32),
        ScalarType::Int64 => fit!(Int64 i64),
        ScalarType::UInt16 => fit!(UInt16 u16),
        ScalarType::UInt32 => fit!(UInt32 u32),
        ScalarType::UInt64 => fit!(UInt64 u64),
        ScalarType::Float64 => Ok(Datum::Float64(match n {
            Number::Int(n) => n as f64,
            Number::Float(x) => x,
            Number::Numeric(n) => n.to_f64(),
        })),
        ScalarType::Float32 => {
            let (x, finite, zero) = match n {
                Number::Int(n) => (n as f32, true, n == 0),
                Number::Float(x) => (x as f32, x.is_finite(), x == 0.0),
                Number::Numeric(n) => (n.to_f32(), n.is_finite(), n.is_zero()),
            };
            if x.is_infinite() && finite {
                return Err(EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
            }
            if x == 0.0 && !zero {
                return Err(EvalError::new(
                    code::NUMERIC_VALUE_OUT_OF_RANGE,
                    "value out of range: underflow",
                ));
            }
            Ok(Datum::Float32(x))
        }
        ScalarType::Numeric { scale } => {
            let n = match n {
                Number::Int(n) => Numeric::from_i128(n),
                Number::Float(x) => Numeric::from_f64(x)?,
                Number::Numeric(n) => n,
            };
            Ok(Datum::Numeric(match scale {
                Some(s) => n.rescale(*s)?,
                None => n,
            }))
        }
        other => panic!("{other} is no number"),
    }
}

// ---- text

/// A string as the target keeps it; explicit casts cut what is too long.
fn fit<'a>(s: &str, ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let cut = match ty {
        ScalarType::VarChar { length } => text::fit_varchar(s, *length, true)?,
        ScalarType::Char { length } => text::fit_char(s, *length, true)?,
        ScalarType::Name => name(s),
        ScalarType::PgChar => first(s),
        _ => s,
    };
    Ok(Datum::Text(arena.text(cut)))
}

fn first(s: &str) -> &str {
    &s[..s.chars().next().map_or(0, char::len_utf8)]
}

/// Names have at most 63 bytes.
fn name(s: &str) -> &str {
    let mut end = s.len().min(63);
    while !s.is_char_boundary(end) {
        end -= 1;
    }
    &s[..end]
}

fn texts(t: &mut Table) {
    t.cast("text", "varchar", Implicit, PURE, |a, ty, m| fit(a[0].text(), ty, m));
    t.cast("text", "bpchar", Implicit, PURE, |a, ty, m| fit(a[0].text(), ty, m));
    t.cast("text", "name", Implicit, PURE, |a, _, _| Ok(Datum::Text(name(a[0].text()))));
    t.cast("text", "char", Assignment, PURE, |a, _, _| Ok(Datum::Text(first(a[0].text()))));
    t.add("assign_text_varchar", "", FAILS, |a, ty, _| {
        let ScalarType::VarChar { length } = ty else { return Ok(a[0]) };
        text::fit_varchar(a[0].text(), *length, false).map(Datum::Text)
    });
    t.add("assign_text_bpchar", "", FAILS, |a, ty, _| {
        let ScalarType::Char { length } = ty else { return Ok(a[0]) };
        text::fit_char(a[0].text(), *length, false).map(Datum::Text)
    });
    t.cast("char", "int4", Explicit, PURE, |a, _, _| {
        Ok(Datum::Int32(a[0].text().bytes().next().map_or(0, |b| i32::from(b as i8))))
    });
    t.cast("int4", "char", Explicit, FAILS, |a, _, m| match u8::try_from(a[0].int()) {
        Ok(0) => Ok(Datum::Text("")),
        Ok(b) if b.is_ascii() => Ok(Datum::Text(m.text(char::from(b).encode_utf8(&mut [0; 4])))),
        _ => Err(out_of_range("\"char\"")),
    });

    // From and to text by the types' own text forms; to text also where a value is stored.
    const TYPES: [&str; 26] = [
        "bool",
        "int2",
        "int4",
        "int8",
        "uint2",
        "uint4",
        "uint8",
        "float4",
        "float8",
        "numeric",
        "bytea",
        "jsonb",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "uuid",
        "oid",
        "mz_timestamp",
        "array",
        "list",
        "map",
        "range",
        "int2vector",
        "record",
    ];
    for ty in TYPES {
        if ty != "record" {
            t.cast("text", ty, Explicit, FAILS, |a, ty, m| text::parse(a[0].text(), ty, m));
        }
        match ty {
            "bool" => t.cast(ty, "text", Assignment, PURE, |a, ty, m| {
                fit(if a[0].bool() { "true" } else { "false" }, ty, m)
            }),
            "int2vector" => t.cast(ty, "text", Assignment, PURE, |a, ty, m| {
                let mut out = String::new();
                text::print(a[0], &ScalarType::Int2Vector, &mut out);
                fit(&out, ty, m)
            }),
            _ => t.cast(ty, "text", Assignment, PURE, |a, ty, m| {
                let mut out = String::new();
                print_value(a[0], &mut out);
                fit(&out, ty, m)
            }),
        }
    }
}

// ---- dates and times, all in UTC

fn rounded<'a>(t: i64, ty: &ScalarType) -> Result<Datum<'a>, EvalError> {
    let round = |p: &Option<u8>| p.map_or(Ok(t), |p| time::round_timestamp(t, p));
    match ty {
        ScalarType::Timestamp { precision } => round(precision).map(Datum::Timestamp),
        ScalarType::TimestampTz { precision } => round(precision).map(Datum::TimestampTz),
        other => panic!("{other} is no timestamp"),
    }
}

fn times(t: &mut Table) {
    for (from, to, context) in [
        ("timestamp", "timestamp", Implicit),
        ("timestamptz", "timestamptz", Implicit),
        ("timestamp", "timestamptz", Implicit),
        ("timestamptz", "timestamp", Assignment),
    ] {
        t.cast(from, to, context, FAILS, |a, ty, _| rounded(a[0].int(), ty));
    }
    for to in ["timestamp", "timestamptz"] {
        t.cast("date", to, Implicit, FAILS, |a, ty, _| {
            rounded(time::date_to_timestamp(a[0].int() as i32)?, ty)
        });
        t.cast(to, "date", Assignment, PURE, |a, _, _| Ok(Datum::Date(time::timestamp_to_date(a[0].int()))));
        t.cast(to, "time", Assignment, PURE, |a, _, _| Ok(Datum::Time(time::timestamp_to_time(a[0].int()))));
    }
    t.cast("time", "interval", Implicit, PURE, |a, _, _| {
        Ok(Datum::Interval(time::time_to_interval(a[0].int())))
    });
    t.cast("interval", "time", Assignment, PURE, |a, _, _| {
        Ok(Datum::Time(time::interval_to_time(super::time::interval(&a[0]))))
    });

    for from in ["timestamp", "timestamptz"] {
        t.cast(from, "mz_timestamp", Implicit, FAILS, |a, _, _| super::time::millis(a[0].int()));
        t.cast("mz_timestamp", from, Assignment, FAILS, |a, ty, _| match a[0] {
            Datum::MzTimestamp(ms) => rounded(time::timestamp_from_millis(ms)?, ty),
            _ => panic!("expected an mz_timestamp"),
        });
    }
    t.cast("date", "mz_timestamp", Implicit, FAILS, |a, _, _| {
        super::time::millis(time::date_to_timestamp(a[0].int() as i32)?)
    });
    for from in INTS.into_iter().chain(["numeric"]) {
        t.cast(from, "mz_timestamp", Implicit, FAILS, |a, _, m| {
            match number(a, &ScalarType::UInt64, m).map_err(|_| out_of_range("mz_timestamp"))? {
                Datum::UInt64(ms) => Ok(Datum::MzTimestamp(ms)),
                other => Ok(other),
            }
        });
    }
    for to in ["int8", "uint8", "numeric"] {
        t.cast("mz_timestamp", to, Explicit, FAILS, |a, ty, _| match a[0] {
            Datum::MzTimestamp(ms) => to_number(Number::Int(ms.into()), ty),
            _ => panic!("expected an mz_timestamp"),
        });
    }
}

// ---- jsonb

fn jsonb(t: &mut Table) {
    for to in ["int2", "int4", "int8", "float4", "float8", "numeric"] {
        t.cast("jsonb", to, Explicit, FAILS, |a, ty, _| match a[0].jsonb().as_number() {
            Some(n) => to_number(Number::Numeric(n), ty),
            None => Err(wrong_json(a[0].jsonb().kind(), ty)),
        });
    }
    t.cast("jsonb", "bool", Explicit, FAILS, |a, ty, _| match a[0].jsonb().as_bool() {
        Some(b) => Ok(Datum::Bool(b)),
        None => Err(wrong_json(a[0].jsonb().kind(), ty)),
    });
}

fn wrong_json(kind: JsonbKind, ty: &ScalarType) -> EvalError {
    EvalError::new(
        code::INVALID_PARAMETER_VALUE,
        format!("cannot cast jsonb {} to type {}", kind.name(), ty.name()),
    )
}

// ---- oids and what is looked up in the catalog

const REGS: [&str; 3] = ["regclass", "regproc", "regtype"];

fn catalog(t: &mut Table) {
    fn oid<'a>(a: &[Datum<'a>], _: &ScalarType, _: &'a Arena) -> Result<Datum<'a>, EvalError> {
        // Negative integers are the upper half, as in Postgres.
        let n = a[0].int();
        let oid = i32::try_from(n).map(|n| n as u32).or_else(|_| u32::try_from(n));
        oid.map(Datum::UInt32)
            .map_err(|_| EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, "OID out of range"))
    }
    for to in REGS.into_iter().chain(["oid"]) {
        t.cast("int2", to, Implicit, PURE, oid);
        t.cast("int4", to, Implicit, PURE, oid);
        t.cast("int8", to, Implicit, FAILS, oid);
        t.same("uint4", to, Explicit);
        t.cast(to, "int4", Assignment, PURE, |a, _, _| Ok(Datum::Int32(a[0].int() as u32 as i32)));
        t.cast(to, "int8", Assignment, PURE, |a, _, _| Ok(Datum::Int64(a[0].int())));
    }
    for reg in REGS {
        t.same(reg, "oid", Implicit);
        t.same("oid", reg, Implicit);
    }
    t.cast("text", "regtype", Explicit, FAILS, |a, ty, m| {
        let s = a[0].text();
        match type_by_name(s, &[]) {
            Some(found) => Ok(Datum::UInt32(found.oid())),
            None => text::parse(s, ty, m)
                .map_err(|_| EvalError::new(code::UNDEFINED_OBJECT, format!("type \"{s}\" does not exist"))),
        }
    });
    t.cast("regtype", "text", Assignment, PURE, |a, ty, m| {
        let oid = a[0].int() as u32;
        fit(&type_by_oid(oid, -1).map_or_else(|| oid.to_string(), |t| t.name()), ty, m)
    });
    // Names of relations and functions are the planner's to look up; here they are their numbers.
    for reg in ["regclass", "regproc"] {
        t.cast("text", reg, Explicit, FAILS, |a, ty, m| {
            text::parse(a[0].text(), ty, m).map_err(|_| {
                EvalError::new(code::UNDEFINED_OBJECT, format!("\"{}\" does not exist", a[0].text()))
                    .with_hint("Only a literal can be looked up by name here.")
            })
        });
        t.cast(reg, "text", Assignment, PURE, |a, ty, m| fit(&a[0].int().to_string(), ty, m));
    }
}

// ---- containers

/// One element, by the cast between its type and the target's.
fn element<'a>(d: Datum<'a>, to: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    if d.is_null() {
        return Ok(d);
    }
    let from = type_of_value(&d);
    match cast(&from, to, Explicit) {
        Some(Cast::Same) => Ok(d),
        Some(Cast::Func(f)) => (f.0.eval)(&[d], to, arena),
        None => Err(EvalError::new(
            code::CANNOT_COERCE,
            format!("cannot cast type {} to {}", from.name(), to.name()),
        )),
    }
}

fn all<'a>(d: Datum<'a>, to: &ScalarType, arena: &'a Arena) -> Result<Vec<Datum<'a>>, EvalError> {
    elements(d).map(|d| element(d, to, arena)).collect()
}

fn containers(t: &mut Table) {
    let add = |t: &mut Table, id: &'static str, nature: Nature, eval: super::registry::Eval| {
        t.add(id, "", nature, eval)
    };
    add(t, "cast_array_array", FAILS, |a, ty, m| {
        let dims: Vec<(i32, i32)> = array(&a[0]).dims().collect();
        Ok(m.array(&dims, all(a[0], element_type(ty), m)?))
    });
    add(t, "cast_list_list", FAILS, |a, ty, m| Ok(m.list(all(a[0], element_type(ty), m)?)));
    add(t, "cast_array_list", FAILS, |a, ty, m| {
        if array(&a[0]).dims().len() > 1 {
            return Err(EvalError::new(
                code::FEATURE_NOT_SUPPORTED,
                "casting multi-dimensional array to list",
            ));
        }
        Ok(m.list(all(a[0], element_type(ty), m)?))
    });
    add(t, "cast_list_array", FAILS, |a, ty, m| Ok(m.array1(&all(a[0], element_type(ty), m)?)));
    add(t, "cast_map_map", FAILS, |a, ty, m| {
        let (mut pairs, mut all) = (vec![], elements(a[0]));
        while let (Some(k), Some(v)) = (all.next(), all.next()) {
            pairs.push((k.text(), element(v, element_type(ty), m)?));
        }
        Ok(made_map(pairs, m))
    });
    add(t, "cast_record_record", FAILS, |a, ty, m| {
        let ScalarType::Record(fields) = ty else {
            return Err(EvalError::new(SqlState::new("42846"), "not a record type"));
        };
        let cast = elements(a[0]).zip(fields).map(|(d, (_, ty))| element(d, &ty.scalar, m));
        Ok(m.record(cast.collect::<Result<Vec<_>, _>>()?))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::func::resolve::tests::cast_text as to;

    #[test]
    fn numbers_round_and_are_checked() {
        assert_eq!(to("2.5", "numeric", "int4"), "3");
        assert_eq!(to("-2.5", "numeric", "int4"), "-3");
        assert_eq!(to("2.5", "float8", "int4"), "2");
        assert_eq!(to("32768", "int4", "int2"), "22003 smallint out of range");
        assert_eq!(to("3000000000", "int8", "int4"), "22003 integer out of range");
        assert_eq!(to("1e20", "float8", "int8"), "22003 bigint out of range");
        assert_eq!(to("-1", "int4", "uint4"), "22003 uint4 out of range");
        assert_eq!(to("NaN", "float8", "int4"), "22003 integer out of range");
        assert_eq!(to("NaN", "numeric", "int4"), "0A000 cannot convert NaN to integer");
        assert_eq!(to("1e300", "float8", "float4"), "22003 value out of range: overflow");
        assert_eq!(to("1.1", "float4", "numeric"), "1.1");
        assert_eq!(to("1.005", "numeric", "numeric(10,2)"), "1.01");
        assert_eq!(to("7", "int4", "numeric(10,2)"), "7");
        assert_eq!(to("t", "bool", "int4"), "1");
        assert_eq!(to("5", "int4", "bool"), "t");
        assert_eq!(to("1", "bool", "float8"), "none");
    }

    #[test]
    fn text_goes_everywhere_and_back() {
        assert_eq!(to("t", "bool", "text"), "true");
        assert_eq!(to("12x", "text", "int4"), "22P02 invalid input syntax for type integer: \"12x\"");
        assert_eq!(to("{\"a\": 1}", "text", "jsonb"), "{\"a\":1}");
        assert_eq!(to("hello", "text", "varchar(3)"), "hel");
        assert_eq!(to("ab", "text", "char(4)"), "ab  ");
        assert_eq!(to("ab  ", "char(4)", "text"), "ab");
        assert_eq!(to("123", "int4", "varchar(2)"), "12");
        assert_eq!(to("{1,2}", "text", "int4[]"), "{1,2}");
        assert_eq!(to("{1,2}", "int4[]", "text"), "{1,2}");
        assert_eq!(to("{1,2}", "int4[]", "text[]"), "{1,2}");
        assert_eq!(to("{1,x}", "text[]", "int4[]"), "22P02 invalid input syntax for type integer: \"x\"");
        assert_eq!(to("{1,2}", "int4[]", "int8 list"), "{1,2}");
        assert_eq!(to("int4", "text", "regtype"), "23");
        assert_eq!(to("23", "regtype", "text"), "integer");
    }

    #[test]
    fn json_scalars_become_their_types_only() {
        assert_eq!(to("1.5", "jsonb", "numeric"), "1.5");
        assert_eq!(to("1.5", "jsonb", "int4"), "2");
        assert_eq!(to("true", "jsonb", "bool"), "t");
        assert_eq!(to("\"1\"", "jsonb", "int4"), "22023 cannot cast jsonb string to type integer");
        assert_eq!(to("null", "jsonb", "int4"), "22023 cannot cast jsonb null to type integer");
        assert_eq!(to("\"x\"", "jsonb", "text"), "\"x\"");
    }

    #[test]
    fn times_keep_to_utc() {
        assert_eq!(
            to("2024-02-29 12:00:00.123456", "timestamp", "timestamptz(3)"),
            "2024-02-29 12:00:00.123+00"
        );
        assert_eq!(to("2024-02-29 12:00:00+02", "timestamptz", "date"), "2024-02-29");
        assert_eq!(to("2024-02-29", "date", "timestamp"), "2024-02-29 00:00:00");
        assert_eq!(to("1970-01-01 00:00:01+00", "timestamptz", "mz_timestamp"), "1000");
        assert_eq!(to("1969-01-01", "timestamp", "mz_timestamp"), "22003 mz_timestamp out of range");
        assert_eq!(to("1000", "mz_timestamp", "timestamptz"), "1970-01-01 00:00:01+00");
    }

    #[test]
    fn storing_is_stricter_than_casting() {
        let (text, short) = (ScalarType::Text, type_by_name("varchar(3)", &[]).unwrap());
        let Some(Cast::Func(f)) = cast(&text, &short, Assignment) else { panic!("no cast") };
        let arena = Arena::new();
        let e = (f.0.eval)(&[Datum::Text("hello")], &short, &arena).unwrap_err();
        assert_eq!(e.message(), "value too long for type character varying(3)");
        assert_eq!((f.0.eval)(&[Datum::Text("hel  ")], &short, &arena).unwrap(), Datum::Text("hel"));
        assert!(cast(&ScalarType::Int64, &ScalarType::Int32, Implicit).is_none());
        assert!(cast(&ScalarType::Int64, &ScalarType::Int32, Assignment).is_some());
        assert!(cast(&ScalarType::Text, &ScalarType::Int32, Assignment).is_none());
    }
}
