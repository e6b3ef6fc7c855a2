//! Arithmetic, bits, and the functions of numbers.

use repr::error::{SqlState, code};
use repr::{Datum, EvalError, Numeric};

use super::registry::{FAILS, MAYBE, PURE, Table};

pub(super) fn out_of_range(what: &str) -> EvalError {
    EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, format!("{what} out of range"))
}

pub(super) fn division_by_zero() -> EvalError {
    EvalError::new(code::DIVISION_BY_ZERO, "division by zero")
}

pub(super) fn float(d: &Datum<'_>) -> f64 {
    match d {
        Datum::Float64(x) => *x,
        Datum::Float32(x) => f64::from(*x),
        other => panic!("expected a float, found {other:?}"),
    }
}

fn float4(d: &Datum<'_>) -> f32 {
    match d {
        Datum::Float32(x) => *x,
        other => panic!("expected a float4, found {other:?}"),
    }
}

pub(super) fn num(d: &Datum<'_>) -> Numeric {
    match d {
        Datum::Numeric(n) => *n,
        other => panic!("expected a numeric, found {other:?}"),
    }
}

/// An int4 argument.
pub(super) fn int4(d: &Datum<'_>) -> i32 {
    match d {
        Datum::Int32(n) => *n,
        other => panic!("expected an integer, found {other:?}"),
    }
}

/// What every width of integer has. `$sql` names the type in entries, `$long` in errors; shifts are computed in `$wide`.
macro_rules! integers {
    ($t:ident: $($sql:literal $long:literal $variant:ident $get:ident $rust:ty, $wide:ty;)*) => {$(
        fn $get(d: &Datum<'_>) -> $rust {
            match d {
                Datum::$variant(n) => *n,
                other => panic!(concat!("expected ", $sql, ", found {:?}"), other),
            }
        }
        $t.add(concat!($sql, "_add"), concat!($sql, " + ", $sql, " -> ", $sql), FAILS, |a, _, _| {
            $get(&a[0]).checked_add($get(&a[1])).map(Datum::$variant).ok_or_else(|| out_of_range($long))
        });
        $t.add(concat!($sql, "_sub"), concat!($sql, " - ", $sql, " -> ", $sql), FAILS, |a, _, _| {
            $get(&a[0]).checked_sub($get(&a[1])).map(Datum::$variant).ok_or_else(|| out_of_range($long))
        });
        $t.add(concat!($sql, "_mul"), concat!($sql, " * ", $sql, " -> ", $sql), FAILS, |a, _, _| {
            $get(&a[0]).checked_mul($get(&a[1])).map(Datum::$variant).ok_or_else(|| out_of_range($long))
        });
        $t.add(concat!($sql, "_div"), concat!($sql, " / ", $sql, " -> ", $sql), FAILS, |a, _, _| {
            match $get(&a[1]) {
                0 => Err(division_by_zero()),
                b => $get(&a[0]).checked_div(b).map(Datum::$variant).ok_or_else(|| out_of_range($long)),
            }
        });
        $t.add(
            concat!($sql, "_mod"),
            concat!($sql, " % ", $sql, " -> ", $sql, "; mod(", $sql, ", ", $sql, ") -> ", $sql, " -- remainder"),
            FAILS,
            |a, _, _| match $get(&a[1]) {
                0 => Err(division_by_zero()),
                b => Ok(Datum::$variant($get(&a[0]).wrapping_rem(b))),
            },
        );
        $t.add(concat!($sql, "_and"), concat!($sql, " & ", $sql, " -> ", $sql), PURE, |a, _, _| {
            Ok(Datum::$variant($get(&a[0]) & $get(&a[1])))
        });
        $t.add(concat!($sql, "_or"), concat!($sql, " | ", $sql, " -> ", $sql), PURE, |a, _, _| {
            Ok(Datum::$variant($get(&a[0]) | $get(&a[1])))
        });
        $t.add(concat!($sql, "_xor"), concat!($sql, " # ", $sql, " -> ", $sql), PURE, |a, _, _| {
            Ok(Datum::$variant($get(&a[0]) ^ $get(&a[1])))
        });
        $t.add(concat!($sql, "_not"), concat!("~ ", $sql, " -> ", $sql), PURE, |a, _, _| {
            Ok(Datum::$variant(!$get(&a[0])))
        });
        $t.add(concat!($sql, "_shl"), concat!($sql, " << int4 -> ", $sql), PURE, |a, _, _| {
            Ok(Datum::$variant(<$wide>::from($get(&a[0])).wrapping_shl(int4(&a[1]) as u32) as $rust))
        });
        $t.add(concat!($sql, "_shr"), concat!($sql, " >> int4 -> ", $sql), PURE, |a, _, _| {
            Ok(Datum::$variant(<$wide>::from($get(&a[0])).wrapping_shr(int4(&a[1]) as u32) as $rust))
        });
        $t.add(concat!($sql, "_plus"), concat!("+ ", $sql, " -> ", $sql), PURE, |a, _, _| Ok(a[0]));
    )*};
}

/// What only signed integers have.
macro_rules! signed {
    ($t:ident: $($sql:literal $long:literal $variant:ident $get:ident;)*) => {$(
        $t.add(concat!($sql, "_neg"), concat!("- ", $sql, " -> ", $sql), FAILS, |a, _, _| {
            $get(&a[0]).checked_neg().map(Datum::$variant).ok_or_else(|| out_of_range($long))
        });
        $t.add(
            concat!($sql, "_abs"),
            concat!("abs(", $sql, ") -> ", $sql, "; @ ", $sql, " -> ", $sql, " -- distance from zero"),
            FAILS,
            |a, _, _| $get(&a[0]).checked_abs().map(Datum::$variant).ok_or_else(|| out_of_range($long)),
        );
    )*};
}

/// An operation of floats that must not leave their range by itself.
fn checked(x: f64, finite_inputs: bool, zero_is_underflow: bool) -> Result<f64, EvalError> {
    if x.is_infinite() && finite_inputs {
        return Err(EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
    }
    if x == 0.0 && zero_is_underflow {
        return Err(EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow"));
    }
    Ok(x)
}

fn float_op(op: u8, a: f64, b: f64) -> Result<f64, EvalError> {
    let finite = a.is_finite() && b.is_finite();
    match op {
        b'+' => checked(a + b, finite, false),
        b'-' => checked(a - b, finite, false),
        b'*' => checked(a * b, finite, a != 0.0 && b != 0.0 && finite),
        _ if b == 0.0 && !a.is_nan() => Err(division_by_zero()),
        _ => checked(a / b, a.is_finite(), a != 0.0 && finite),
    }
}

/// The same in single precision.
fn float4_op(op: u8, a: f32, b: f32) -> Result<f32, EvalError> {
    let finite = a.is_finite() && b.is_finite();
    let (x, inputs, zero) = match op {
        b'+' => (a + b, finite, false),
        b'-' => (a - b, finite, false),
        b'*' => (a * b, finite, a != 0.0 && b != 0.0 && finite),
        _ if b == 0.0 && !a.is_nan() => return Err(division_by_zero()),
        _ => (a / b, a.is_finite(), a != 0.0 && finite),
    };
    checked(f64::from(x), inputs, zero)?;
    Ok(x)
}

fn power(a: f64, b: f64) -> Result<f64, EvalError> {
    const BAD_POWER: SqlState = SqlState::new("2201F");
    if a == 0.0 && b < 0.0 {
        return Err(EvalError::new(BAD_POWER, "zero raised to a negative power is undefined"));
    }
    if a < 0.0 && b.is_finite() && b.fract() != 0.0 {
        return Err(EvalError::new(
            BAD_POWER,
            "a negative number raised to a non-integer power yields a complex result",
        ));
    }
    let finite = a.is_finite() && b.is_finite();
    checked(a.powf(b), finite, a != 0.0 && finite)
}

/// The library's own squares its argument, which overflows.
fn asinh(x: f64) -> f64 {
    if x.abs() > 1e150 && x.is_finite() {
        (x.abs().ln() + std::f64::consts::LN_2).copysign(x)
    } else {
        x.asinh()
    }
}

/// Angles that are whole multiples of 30 or 45 degrees come out exactly.
fn arc_exact(degrees: f64) -> f64 {
    let near = (degrees / 15.0).round() * 15.0;
    if (degrees - near).abs() < 1e-12 { near } else { degrees }
}

/// Euclid's; NaN where one is not finite.
fn numeric_gcd(mut a: Numeric, mut b: Numeric) -> Result<Numeric, EvalError> {
    if !a.is_finite() || !b.is_finite() {
        return Numeric::parse("NaN");
    }
    while !b.is_zero() {
        (a, b) = (b, a.rem(b)?);
    }
    Ok(a.abs())
}

fn log_domain(x: f64) -> Result<f64, EvalError> {
    const BAD_LOG: SqlState = SqlState::new("2201E");
    match x {
        0.0 => Err(EvalError::new(BAD_LOG, "cannot take logarithm of zero")),
        x if x < 0.0 => Err(EvalError::new(BAD_LOG, "cannot take logarithm of a negative number")),
        x => Ok(x),
    }
}

fn input_out_of_range() -> EvalError {
    EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range")
}

/// Functions of one float8 that are defined for all finite numbers unless `$domain` says otherwise.
macro_rules! trigonometry {
    ($t:ident: $($name:literal, $domain:expr, $f:expr;)*) => {$(
        $t.add($name, concat!($name, "(float8) -> float8"), FAILS, |a, _, _| {
            let (x, domain, f): (f64, fn(f64) -> bool, fn(f64) -> f64) = (float(&a[0]), $domain, $f);
            if x.is_nan() {
                return Ok(Datum::Float64(x));
            }
            if !domain(x) {
                return Err(input_out_of_range());
            }
            Ok(Datum::Float64(f(x)))
        });
    )*};
}

pub(super) fn register(t: &mut Table) {
    integers! { t:
        "int2" "smallint" Int16 get_int2 i16, i32;
        "int4" "integer" Int32 get_int4 i32, i32;
        "int8" "bigint" Int64 get_int8 i64, i64;
        "uint2" "uint2" UInt16 get_uint2 u16, u32;
        "uint4" "uint4" UInt32 get_uint4 u32, u32;
        "uint8" "uint8" UInt64 get_uint8 u64, u64;
    }
    signed! { t:
        "int2" "smallint" Int16 get_int2;
        "int4" "integer" Int32 get_int4;
        "int8" "bigint" Int64 get_int8;
    }

    macro_rules! float_ops {
        ($($name:literal $op:literal $byte:literal;)*) => {$(
            t.add(concat!("float8_", $name), concat!("float8 ", $op, " float8 -> float8"), FAILS, |a, _, _| {
                float_op($byte, float(&a[0]), float(&a[1])).map(Datum::Float64)
            });
            t.add(concat!("float4_", $name), concat!("float4 ", $op, " float4 -> float4"), FAILS, |a, _, _| {
                float4_op($byte, float4(&a[0]), float4(&a[1])).map(Datum::Float32)
            });
        )*};
    }
    float_ops! { "add" "+" b'+'; "sub" "-" b'-'; "mul" "*" b'*'; "div" "/" b'/'; }
    t.add("float8_neg", "- float8 -> float8", PURE, |a, _, _| Ok(Datum::Float64(-float(&a[0]))));
    t.add("float4_neg", "- float4 -> float4", PURE, |a, _, _| Ok(Datum::Float32(-float4(&a[0]))));
    t.add("float8_plus", "+ float8 -> float8", PURE, |a, _, _| Ok(a[0]));
    t.add("float4_plus", "+ float4 -> float4", PURE, |a, _, _| Ok(a[0]));
    t.add("float8_abs", "abs(float8) -> float8; @ float8 -> float8", PURE, |a, _, _| {
        Ok(Datum::Float64(float(&a[0]).abs()))
    });
    t.add("float4_abs", "abs(float4) -> float4; @ float4 -> float4", PURE, |a, _, _| {
        Ok(Datum::Float32(float4(&a[0]).abs()))
    });

    macro_rules! numeric_ops {
        ($($name:literal $signature:literal $method:ident;)*) => {$(
            t.add(concat!("numeric_", $name), $signature, FAILS, |a, _, _| {
                num(&a[0]).$method(num(&a[1])).map(Datum::Numeric)
            });
        )*};
    }
    numeric_ops! {
        "add" "numeric + numeric -> numeric" add;
        "sub" "numeric - numeric -> numeric" sub;
        "mul" "numeric * numeric -> numeric" mul;
        "div" "numeric / numeric -> numeric" div;
        "mod" "numeric % numeric -> numeric; mod(numeric, numeric) -> numeric -- remainder" rem;
        "div_integer" "div(numeric, numeric) -> numeric -- quotient without its fraction" div_integer;
        "power" "power(numeric, numeric) -> numeric; pow(numeric, numeric) -> numeric; numeric ^ numeric -> numeric" pow;
    }
    t.add("numeric_neg", "- numeric -> numeric", PURE, |a, _, _| Ok(Datum::Numeric(num(&a[0]).neg())));
    t.add("numeric_plus", "+ numeric -> numeric", PURE, |a, _, _| Ok(a[0]));
    t.add("numeric_abs", "abs(numeric) -> numeric; @ numeric -> numeric", PURE, |a, _, _| {
        Ok(Datum::Numeric(num(&a[0]).abs()))
    });
    macro_rules! numeric_functions {
        ($($name:literal $signature:literal $method:ident $($arg:expr)?;)*) => {$(
            t.add(concat!("numeric_", $name), $signature, FAILS, |a, _, _| {
                num(&a[0]).$method($($arg)?).map(Datum::Numeric)
            });
        )*};
    }
    numeric_functions! {
        "round" "round(numeric) -> numeric -- to an integer, halves away from zero" round 0;
        "ceil" "ceil(numeric) -> numeric; ceiling(numeric) -> numeric -- the least integer not below" ceil;
        "floor" "floor(numeric) -> numeric -- the greatest integer not above" floor;
        "sqrt" "sqrt(numeric) -> numeric" sqrt;
        "ln" "ln(numeric) -> numeric" ln;
        "log10" "log(numeric) -> numeric; log10(numeric) -> numeric" log10;
        "exp" "exp(numeric) -> numeric" exp;
    }
    t.add("numeric_log", "log(numeric, numeric) -> numeric -- to the base of the first", FAILS, |a, _, _| {
        num(&a[1]).log(num(&a[0])).map(Datum::Numeric)
    });
    t.add("numeric_round_to", "round(numeric, int4) -> numeric", FAILS, |a, _, _| {
        num(&a[0]).round(int4(&a[1])).map(Datum::Numeric)
    });
    t.add("numeric_trunc", "trunc(numeric) -> numeric -- cut towards zero", PURE, |a, _, _| {
        Ok(Datum::Numeric(num(&a[0]).trunc(0)))
    });
    t.add("numeric_trunc_to", "trunc(numeric, int4) -> numeric", PURE, |a, _, _| {
        Ok(Datum::Numeric(num(&a[0]).trunc(int4(&a[1]))))
    });
    t.add("numeric_sign", "sign(numeric) -> numeric", PURE, |a, _, _| {
        Ok(Datum::Numeric(num(&a[0]).signum()))
    });
    t.add("numeric_scale", "scale(numeric) -> int4 -- digits behind the point", MAYBE, |a, _, _| {
        let n = num(&a[0]);
        let finite = !n.is_nan() && !n.is_infinite();
        Ok(if finite { Datum::Int32(n.scale() as i32) } else { Datum::Null })
    });
    t.also("numeric_plus", "trim_scale(numeric) -> numeric");
    // Zeros at the end are not kept, so there are never more digits than are needed.
    t.also("numeric_scale", "min_scale(numeric) -> int4");

    macro_rules! float_functions {
        ($($name:literal $signature:literal $f:expr;)*) => {$(
            t.add(concat!("float8_", $name), $signature, PURE, |a, _, _| {
                let f: fn(f64) -> f64 = $f;
                Ok(Datum::Float64(f(float(&a[0]))))
            });
        )*};
    }
    float_functions! {
        "round" "round(float8) -> float8 -- to an integer, halves to even" f64::round_ties_even;
        "ceil" "ceil(float8) -> float8; ceiling(float8) -> float8" f64::ceil;
        "floor" "floor(float8) -> float8" f64::floor;
        "trunc" "trunc(float8) -> float8" f64::trunc;
        "sign" "sign(float8) -> float8" |x| if x == 0.0 || x.is_nan() { 0.0 } else { x.signum() };
        "cbrt" "cbrt(float8) -> float8; ||/ float8 -> float8" f64::cbrt;
        "radians" "radians(float8) -> float8" f64::to_radians;
        "sinh" "sinh(float8) -> float8" f64::sinh;
        "cosh" "cosh(float8) -> float8" f64::cosh;
        "tanh" "tanh(float8) -> float8" f64::tanh;
        "asinh" "asinh(float8) -> float8" asinh;
        "atan" "atan(float8) -> float8" f64::atan;
        "sind" "sind(float8) -> float8 -- of degrees" |x| degrees_exact(x, 0.0);
        "cosd" "cosd(float8) -> float8 -- of degrees" |x| degrees_exact(x, 90.0);
        "tand" "tand(float8) -> float8 -- of degrees" |x| match (x % 180.0 + 180.0) % 180.0 {
            45.0 => 1.0,
            135.0 => -1.0,
            x => degrees_exact(x, 0.0) / degrees_exact(x, 90.0),
        };
        "acosd" "acosd(float8) -> float8 -- in degrees" |x| arc_exact(x.acos().to_degrees());
        "asind" "asind(float8) -> float8 -- in degrees" |x| arc_exact(x.asin().to_degrees());
        "atand" "atand(float8) -> float8 -- in degrees" |x| x.atan().to_degrees();
    }
    t.add("float8_degrees", "degrees(float8) -> float8", FAILS, |a, _, _| {
        let x = float(&a[0]);
        checked(x.to_degrees(), x.is_finite(), false).map(Datum::Float64)
    });
    t.add("float8_sqrt", "sqrt(float8) -> float8; |/ float8 -> float8", FAILS, |a, _, _| {
        match float(&a[0]) {
            x if x < 0.0 => {
                Err(EvalError::new(SqlState::new("2201F"), "cannot take square root of a negative number"))
            }
            x => Ok(Datum::Float64(x.sqrt())),
        }
    });
    t.add(
        "float8_power",
        "power(float8, float8) -> float8; pow(float8, float8) -> float8; float8 ^ float8 -> float8",
        FAILS,
        |a, _, _| power(float(&a[0]), float(&a[1])).map(Datum::Float64),
    );
    t.add("float8_exp", "exp(float8) -> float8", FAILS, |a, _, _| {
        let x = float(&a[0]);
        checked(x.exp(), x.is_finite(), x.is_finite()).map(Datum::Float64)
    });
    t.add("float8_ln", "ln(float8) -> float8 -- natural logarithm", FAILS, |a, _, _| {
        Ok(Datum::Float64(log_domain(float(&a[0]))?.ln()))
    });
    t.add("float8_log10", "log(float8) -> float8; log10(float8) -> float8", FAILS, |a, _, _| {
        Ok(Datum::Float64(log_domain(float(&a[0]))?.log10()))
    });
    trigonometry! { t:
        "sin", f64::is_finite, f64::sin;
        "cos", f64::is_finite, f64::cos;
        "tan", f64::is_finite, f64::tan;
        "cot", f64::is_finite, |x| 1.0 / x.tan();
        "asin", |x| (-1.0..=1.0).contains(&x), f64::asin;
        "acos", |x| (-1.0..=1.0).contains(&x), f64::acos;
        "acosh", |x| x >= 1.0, |x| if x > 1e150 { x.ln() + std::f64::consts::LN_2 } else { x.acosh() };
        "atanh", |x| (-1.0..=1.0).contains(&x), f64::atanh;
    }
    t.add("atan2", "atan2(float8, float8) -> float8", PURE, |a, _, _| {
        Ok(Datum::Float64(float(&a[0]).atan2(float(&a[1]))))
    });
    t.add("pi", "pi() -> float8", PURE, |_, _, _| Ok(Datum::Float64(std::f64::consts::PI)));

    t.add("int4_gcd", "gcd(int4, int4) -> int4 -- greatest common divisor", FAILS, |a, _, _| {
        let n = gcd(i128::from(int4(&a[0])), i128::from(int4(&a[1])));
        i32::try_from(n).map(Datum::Int32).map_err(|_| out_of_range("integer"))
    });
    t.add("int8_gcd", "gcd(int8, int8) -> int8", FAILS, |a, _, _| {
        let n = gcd(a[0].int().into(), a[1].int().into());
        i64::try_from(n).map(Datum::Int64).map_err(|_| out_of_range("bigint"))
    });
    t.add("int4_lcm", "lcm(int4, int4) -> int4 -- least common multiple", FAILS, |a, _, _| {
        let n = lcm(i128::from(int4(&a[0])), i128::from(int4(&a[1])));
        i32::try_from(n).map(Datum::Int32).map_err(|_| out_of_range("integer"))
    });
    t.add("int8_lcm", "lcm(int8, int8) -> int8", FAILS, |a, _, _| {
        let n = lcm(a[0].int().into(), a[1].int().into());
        i64::try_from(n).map(Datum::Int64).map_err(|_| out_of_range("bigint"))
    });
    t.add("numeric_gcd", "gcd(numeric, numeric) -> numeric", FAILS, |a, _, _| {
        numeric_gcd(num(&a[0]), num(&a[1])).map(Datum::Numeric)
    });
    t.add("numeric_lcm", "lcm(numeric, numeric) -> numeric", FAILS, |a, _, _| {
        let (x, y) = (num(&a[0]), num(&a[1]));
        if x.is_finite() && y.is_finite() && (x.is_zero() || y.is_zero()) {
            return Ok(Datum::Numeric(Numeric::ZERO));
        }
        let gcd = numeric_gcd(x, y)?;
        if gcd.is_nan() {
            return Ok(Datum::Numeric(gcd));
        }
        x.div(gcd)?.mul(y).map(|n| Datum::Numeric(n.abs()))
    });
    t.add("factorial", "factorial(int8) -> numeric", FAILS, |a, _, _| match a[0].int() {
        n if n < 0 => Err(EvalError::new(
            code::NUMERIC_VALUE_OUT_OF_RANGE,
            "factorial of a negative number is undefined",
        )),
        n => (2..=n.min(100)).try_fold(Numeric::ONE, |p, i| p.mul(Numeric::from_i64(i))).map(Datum::Numeric),
    });
    t.add(
        "width_bucket_float8",
        "width_bucket(float8, float8, float8, int4) -> int4 -- the bucket of a histogram",
        FAILS,
        |a, _, _| {
            let [x, low, high] = [0, 1, 2].map(|i| float(&a[i]));
            if x.is_nan() || low.is_nan() || high.is_nan() {
                return Err(bad_bucket("operand, lower bound, and upper bound cannot be NaN"));
            }
            if low.is_infinite() || high.is_infinite() {
                return Err(bad_bucket("lower and upper bounds must be finite"));
            }
            bucket(x, low, high, int4(&a[3]), |x, low, high, n| {
                Some(((x - low) / (high - low) * f64::from(n)) as i32)
            })
        },
    );
    t.add(
        "width_bucket_numeric",
        "width_bucket(numeric, numeric, numeric, int4) -> int4",
        FAILS,
        |a, _, _| {
            let [x, low, high] = [0, 1, 2].map(|i| num(&a[i]));
            if !(x.is_finite() && low.is_finite() && high.is_finite()) {
                return Err(bad_bucket("operand, lower bound, and upper bound must be finite"));
            }
            bucket(x, low, high, int4(&a[3]), |x, low, high, n| {
                let scaled = x.sub(low).ok()?.mul(Numeric::from_i64(n.into())).ok()?;
                scaled.div_integer(high.sub(low).ok()?).ok()?.to_i64().map(|n| n as i32)
            })
        },
    );
    t.add("to_hex_int4", "to_hex(int4) -> text", PURE, |a, _, m| {
        Ok(Datum::Text(m.text(&format!("{:x}", int4(&a[0])))))
    });
    t.add("to_hex_int8", "to_hex(int8) -> text", PURE, |a, _, m| {
        Ok(Datum::Text(m.text(&format!("{:x}", a[0].int()))))
    });
}

/// The sine of `x + shift` degrees, exact where it is a half or a whole.
fn degrees_exact(x: f64, shift: f64) -> f64 {
    let x = (x % 360.0 + shift + 360.0) % 360.0;
    match x {
        0.0 | 180.0 => 0.0,
        30.0 | 150.0 => 0.5,
        90.0 => 1.0,
        210.0 | 330.0 => -0.5,
        270.0 => -1.0,
        x => x.to_radians().sin(),
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn lcm(a: i128, b: i128) -> i128 {
    if a == 0 || b == 0 { 0 } else { (a / gcd(a, b) * b).abs() }
}

fn bad_bucket(message: &str) -> EvalError {
    EvalError::new(SqlState::new("2201G"), message)
}

/// The bucket from 1 to n of `x` between the bounds, 0 below, n + 1 above; the bounds may fall.
fn bucket<'a, T: PartialOrd + Copy>(
    x: T,
    low: T,
    high: T,
    n: i32,
    place: fn(T, T, T, i32) -> Option<i32>,
) -> Result<Datum<'a>, EvalError> {
    if n <= 0 {
        return Err(bad_bucket("count must be greater than zero"));
    }
    if low == high {
        return Err(bad_bucket("lower bound cannot equal upper bound"));
    }
    let (below, above) = if low < high { (x < low, x >= high) } else { (x > low, x <= high) };
    let bucket = if below {
        0
    } else if above {
        n.checked_add(1).ok_or_else(|| out_of_range("integer"))?
    } else {
        place(x, low, high, n).ok_or_else(|| out_of_range("integer"))?.min(n - 1) + 1
    };
    Ok(Datum::Int32(bucket))
}

#[cfg(test)]
mod tests {
    use crate::func::resolve::tests::{error, run};

    #[test]
    fn integers_overflow_as_in_postgres() {
        assert_eq!(error("+", &["2147483647::int4", "1::int4"]), "22003 integer out of range");
        assert_eq!(error("-", &["-32768::int2", "1::int2"]), "22003 smallint out of range");
        assert_eq!(error("*", &["9223372036854775807::int8", "2::int8"]), "22003 bigint out of range");
        assert_eq!(error("-", &["-2147483648::int4"]), "22003 integer out of range");
        assert_eq!(error("-", &["0::uint4", "1::uint4"]), "22003 uint4 out of range");
        assert_eq!(error("/", &["-2147483648::int4", "-1::int4"]), "22003 integer out of range");
        assert_eq!(run("%", &["-2147483648::int4", "-1::int4"]), "0");
        assert_eq!(run("+", &["2147483647::int4", "1::int8"]), "2147483648");
    }

    #[test]
    fn division_by_zero_is_22012_for_every_type() {
        for ty in ["int2", "int4", "int8", "uint8", "float4", "float8", "numeric"] {
            let (one, zero) = (format!("1::{ty}"), format!("0::{ty}"));
            assert_eq!(error("/", &[&one, &zero]), "22012 division by zero", "{ty}");
        }
        assert_eq!(error("%", &["1::int4", "0::int4"]), "22012 division by zero");
        assert_eq!(run("/", &["-7::int4", "2::int4"]), "-3");
        assert_eq!(run("%", &["-7::int4", "2::int4"]), "-1");
    }

    #[test]
    fn floats_neither_overflow_nor_vanish_in_silence() {
        assert_eq!(error("*", &["1e300::float8", "1e300::float8"]), "22003 value out of range: overflow");
        assert_eq!(error("*", &["1e-300::float8", "1e-300::float8"]), "22003 value out of range: underflow");
        assert_eq!(run("*", &["Infinity::float8", "2::float8"]), "Infinity");
        assert_eq!(run("/", &["NaN::float8", "0::float8"]), "NaN");
    }

    #[test]
    fn rounding_is_away_from_zero_for_numerics_and_to_even_for_floats() {
        assert_eq!(run("round", &["2.5::numeric"]), "3");
        assert_eq!(run("round", &["2.5::float8"]), "2");
        assert_eq!(run("round", &["-2.675::numeric", "2::int4"]), "-2.68");
        assert_eq!(run("trunc", &["-2.7::float8"]), "-2");
        assert_eq!(run("ceil", &["-0.5::float8"]), "-0");
    }

    #[test]
    fn buckets_work_both_ways() {
        assert_eq!(
            run("width_bucket", &["5.35::numeric", "0.024::numeric", "10.06::numeric", "5::int4"]),
            "3"
        );
        assert_eq!(run("width_bucket", &["10::float8", "10::float8", "0::float8", "5::int4"]), "1");
        assert_eq!(run("width_bucket", &["-1::float8", "0::float8", "10::float8", "5::int4"]), "0");
        assert_eq!(run("gcd", &["-12::int4", "18::int4"]), "6");
    }
}
