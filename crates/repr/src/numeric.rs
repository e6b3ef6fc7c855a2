//! Exact decimals of up to 39 digits, as Materialize and libdecnumber have them.
//!
//! A value is `± coefficient · 10^exponent`, reduced: the coefficient has no trailing zeros, so `1.0` and `1` are one
//! value with one encoding and print the same. At most 39 digits stand before the point and at most 39 behind it.
//! What arithmetic gives beyond that is rounded half away from zero behind the point, and is an error before it.
//!
//! Addition, multiplication, comparison, text and bytes work on plain integers. Only what needs more than 128 bits,
//! division and the transcendental functions go through libdecnumber, with 81 digits, and round once at the end.
//!
//! ```text
//!   bytes = exponent (i8)  coefficient (two's complement, little endian, as few bytes as hold it, 0 to 16)
//!           with 39 digits: exponent, the lower 38 digits in 16 bytes, the first digit with the sign in bit 7
//!           127 NaN, 126 infinity, 125 -infinity
//! ```

use std::cmp::Ordering;
use std::fmt;

use dec::{Context, Decimal};

use crate::EvalError;
use crate::error::{SqlState, code};

/// A reduced decimal (no trailing zeros in the coefficient), or NaN, or an infinity.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Numeric {
    /// The coefficient's lower 38 digits, as 128 bits in two words so that the type needs no 16-byte alignment.
    low: u64,
    high: u64,
    /// The coefficient's 39th digit.
    top: u8,
    /// -39 to 38; 0 for zero.
    exponent: i8,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Positive,
    Negative,
    NaN,
    Infinity,
    NegInfinity,
}

const MAX_DIGITS: i32 = 39;

const POW10: [u128; 39] = {
    let mut p = [1u128; 39];
    let mut i = 1;
    while i < 39 {
        p[i] = p[i - 1] * 10;
        i += 1;
    }
    p
};

/// One more than the largest value of the lower 38 digits.
const LOW: u128 = POW10[38];

/// Wide enough for any sum, product or remainder of two values without rounding.
type Wide = Decimal<27>;

fn overflow() -> EvalError {
    EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow")
        .with_detail("A numeric holds at most 39 digits before the decimal point.")
}

fn bad_syntax(text: &str) -> EvalError {
    EvalError::new(
        code::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type numeric: \"{text}\""),
    )
}

fn division_by_zero() -> EvalError {
    EvalError::new(code::DIVISION_BY_ZERO, "division by zero")
}

const INVALID_ARGUMENT_FOR_LOG: SqlState = SqlState::new("2201E");
const INVALID_ARGUMENT_FOR_POWER: SqlState = SqlState::new("2201F");

#[allow(clippy::should_implement_trait, reason = "these can fail, and operators cannot")]
impl Numeric {
    /// The longest encoding, in bytes.
    pub const MAX_BYTES: usize = 32;
    /// Zero.
    pub const ZERO: Numeric = Numeric { low: 0, high: 0, top: 0, exponent: 0, kind: Kind::Positive };
    /// One.
    pub const ONE: Numeric = Numeric { low: 1, ..Numeric::ZERO };
    /// Not a number: greater than all others and equal to itself.
    pub const NAN: Numeric = Numeric { kind: Kind::NaN, ..Numeric::ZERO };
    /// Positive infinity.
    pub const INFINITY: Numeric = Numeric { kind: Kind::Infinity, ..Numeric::ZERO };
    /// Negative infinity.
    pub const NEG_INFINITY: Numeric = Numeric { kind: Kind::NegInfinity, ..Numeric::ZERO };

    /// Reads Postgres' text form, spaces around it allowed. Digits beyond the 39th behind the point are rounded off.
    ///
    /// Errors: 22P02 on syntax, 22003 from 10^39 on.
    pub fn parse(text: &str) -> Result<Numeric, EvalError> {
        if let Some(n) = Numeric::parse_small(text.as_bytes()) {
            return Ok(n);
        }
        Numeric::parse_general(text, false)
    }

    /// As [`Numeric::parse`], but a number that would have to be rounded is 22003 too: for JSON, whose numbers keep all
    /// their digits or fail.
    pub fn parse_exact(text: &str) -> Result<Numeric, EvalError> {
        if let Some(n) = Numeric::parse_small(text.as_bytes()) {
            return Ok(n);
        }
        Numeric::parse_general(text, true)
    }

    /// Reads a short plain decimal, such as `49.99` or `-3`: an optional minus, up to 18 digits, an optional point.
    /// None for everything else, which may still be a number.
    #[inline]
    pub fn parse_small(text: &[u8]) -> Option<Numeric> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        if digits.is_empty() || digits.len() > 19 {
            return None;
        }
        let (mut coefficient, mut point, mut count) = (0u64, None, 0);
        for (i, b) in digits.iter().enumerate() {
            match b {
                b'0'..=b'9' => {
                    coefficient = coefficient * 10 + u64::from(b - b'0');
                    count += 1;
                }
                b'.' if point.is_none() => point = Some(i),
                _ => return None,
            }
        }
        if count == 0 || count > 18 {
            return None;
        }
        let scale = point.map_or(0, |p| digits.len() - p - 1);
        Some(Numeric::reduced_small(negative, coefficient, -(scale as i32)))
    }

    /// A value whose coefficient fits a word; `exponent` from -39 to 19 so that nothing can overflow.
    #[inline]
    fn reduced_small(negative: bool, mut coefficient: u64, mut exponent: i32) -> Numeric {
        if coefficient == 0 {
            return Numeric::ZERO;
        }
        // A trailing decimal zero needs an even coefficient, which half of all values fail at once.
        while coefficient & 1 == 0 && coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent += 1;
        }
        Numeric { low: coefficient, high: 0, top: 0, exponent: exponent as i8, kind: sign(negative) }
    }

    fn parse_general(text: &str, exact: bool) -> Result<Numeric, EvalError> {
        let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        let (negative, body) = match trimmed.as_bytes() {
            [b'-', ..] => (true, &trimmed[1..]),
            [b'+', ..] => (false, &trimmed[1..]),
            _ => (false, trimmed),
        };
        if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            let is = |word: &str| body.eq_ignore_ascii_case(word);
            return match () {
                () if is("nan") && body.len() == trimmed.len() => Ok(Numeric::NAN),
                () if is("infinity") || is("inf") => {
                    Ok(if negative { Numeric::NEG_INFINITY } else { Numeric::INFINITY })
                }
                () => Err(bad_syntax(text)),
            };
        }

        let (mantissa, exponent) = match body.find(['e', 'E']) {
            Some(at) => (&body[..at], parse_exponent(&body[at + 1..]).ok_or_else(|| bad_syntax(text))?),
            None => (body, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(bad_syntax(text));
        }

        // The value is 0.d₁d₂… · 10^magnitude with d₁ ≠ 0.
        let digits = || whole.bytes().chain(fraction.bytes()).skip_while(|b| *b == b'0').map(|b| b - b'0');
        let significant = digits().count();
        let leading = (whole.len() + fraction.len() - significant) as i64;
        let magnitude = exponent + whole.len() as i64 - leading;
        if significant == 0 {
            return Ok(Numeric::ZERO);
        }
        if magnitude > i64::from(MAX_DIGITS) {
            return Err(overflow());
        }
        let keep = (magnitude + i64::from(MAX_DIGITS)).min(i64::from(MAX_DIGITS));
        if exact && digits().enumerate().any(|(i, d)| d != 0 && i as i64 >= keep) {
            return Err(overflow().with_detail("A numeric holds at most 39 digits."));
        }
        let Ok(keep) = usize::try_from(keep) else { return Ok(Numeric::ZERO) };
        let taken = keep.min(significant);
        let mut coefficient = Coefficient::default();
        for (i, d) in digits().take(taken + 1).enumerate() {
            if i < taken {
                coefficient.append(d);
            } else if d >= 5 {
                coefficient.increment();
            }
        }
        coefficient.finish(negative, (magnitude - taken as i64) as i32)
    }

    /// From an integer.
    #[inline]
    pub fn from_i64(n: i64) -> Numeric {
        Numeric::reduced_small(n < 0, n.unsigned_abs(), 0)
    }

    /// From an integer.
    #[inline]
    pub fn from_u64(n: u64) -> Numeric {
        Numeric::reduced_small(false, n, 0)
    }

    /// From an integer; every `i128` fits.
    pub fn from_i128(n: i128) -> Numeric {
        Numeric::from_fixed(n, 0)
    }

    /// From the shortest digits that name the float; 22003 from 10^39 on, zero below 10^-39.
    pub fn from_f64(x: f64) -> Result<Numeric, EvalError> {
        match x {
            x if x.is_nan() => Ok(Numeric::NAN),
            f64::INFINITY => Ok(Numeric::INFINITY),
            f64::NEG_INFINITY => Ok(Numeric::NEG_INFINITY),
            x => Numeric::parse(&format!("{x:e}")),
        }
    }

    /// As [`Numeric::from_f64`], with the fewer digits that name a `real`.
    pub fn from_f32(x: f32) -> Result<Numeric, EvalError> {
        if x.is_finite() { Numeric::parse(&format!("{x:e}")) } else { Numeric::from_f64(x.into()) }
    }

    /// The nearest float.
    pub fn to_f64(self) -> f64 {
        match self.kind {
            Kind::NaN => f64::NAN,
            Kind::Infinity => f64::INFINITY,
            Kind::NegInfinity => f64::NEG_INFINITY,
            // Both operands are exact, so one operation rounds once.
            _ if self.top == 0
                && self.high == 0
                && self.low < 1 << 53
                && (-22..=22).contains(&self.exponent) =>
            {
                let power = 10f64.powi(i32::from(self.exponent.abs()));
                let x = if self.exponent < 0 { self.low as f64 / power } else { self.low as f64 * power };
                if self.is_negative() { -x } else { x }
            }
            _ => self.to_string().parse().expect("a decimal in plain notation is a float in Rust's syntax"),
        }
    }

    /// The nearest `real`.
    pub fn to_f32(self) -> f32 {
        if self.is_finite() {
            self.to_string().parse().expect("a decimal in plain notation is a float in Rust's syntax")
        } else {
            self.to_f64() as f32
        }
    }

    /// The nearest integer, halves away from zero; none when it is out of range, or not a number.
    pub fn to_i64(self) -> Option<i64> {
        self.to_i128().and_then(|n| n.try_into().ok())
    }

    /// The nearest integer, halves away from zero; none when it is out of range, or not a number.
    pub fn to_i128(self) -> Option<i128> {
        if !self.is_finite() {
            return None;
        }
        self.round_to(0, Rounding::HalfUp).ok()?.to_fixed(0)
    }

    /// The value times 10^`scale` where that is an integer that fits; NaN and infinities have none.
    ///
    /// Sums are kept in this form: adding integers is exact whatever the order.
    #[inline]
    pub fn to_fixed(self, scale: u32) -> Option<i128> {
        if !self.is_finite() {
            return None;
        }
        if self.is_zero() {
            return Some(0);
        }
        let shift = usize::try_from(i64::from(self.exponent) + i64::from(scale)).ok()?;
        let magnitude = self.coefficient()?.checked_mul(*POW10.get(shift)?)?;
        let n = i128::try_from(magnitude).ok()?;
        Some(if self.is_negative() { -n } else { n })
    }

    /// `n` · 10^-`scale`, rounded to 39 digits behind the point.
    pub fn from_fixed(n: i128, scale: u32) -> Numeric {
        let exponent = i32::try_from(scale).map_or(i32::MIN / 2, |s| -s);
        Numeric::from_parts(n < 0, n.unsigned_abs(), exponent).expect("39 digits hold 127 bits")
    }

    /// Whether this is NaN.
    pub fn is_nan(self) -> bool {
        self.kind == Kind::NaN
    }

    /// Whether this is neither NaN nor an infinity.
    pub fn is_finite(self) -> bool {
        matches!(self.kind, Kind::Positive | Kind::Negative)
    }

    /// Whether this is one of the infinities.
    pub fn is_infinite(self) -> bool {
        matches!(self.kind, Kind::Infinity | Kind::NegInfinity)
    }

    /// Whether this is zero.
    pub fn is_zero(self) -> bool {
        self == Numeric::ZERO
    }

    /// Whether this is below zero; NaN is not.
    pub fn is_negative(self) -> bool {
        matches!(self.kind, Kind::Negative | Kind::NegInfinity)
    }

    /// Whether this is finite and without a fraction.
    pub fn is_integer(self) -> bool {
        self.is_finite() && self.exponent >= 0
    }

    /// Digits behind the point; 0 for NaN and infinities.
    pub fn scale(self) -> u32 {
        (-i32::from(self.exponent)).max(0) as u32
    }

    /// -1, 0 or 1; NaN stays.
    pub fn signum(self) -> Numeric {
        match self.kind {
            Kind::NaN => self,
            _ if self.is_zero() => self,
            _ if self.is_negative() => Numeric::from_i64(-1),
            _ => Numeric::ONE,
        }
    }

    /// Sum. `Infinity - Infinity` is NaN.
    pub fn add(self, other: Numeric) -> Result<Numeric, EvalError> {
        if !(self.is_finite() && other.is_finite()) {
            return Ok(match (self.kind, other.kind) {
                (Kind::NaN, _) | (_, Kind::NaN) => Numeric::NAN,
                (Kind::Infinity, Kind::NegInfinity) | (Kind::NegInfinity, Kind::Infinity) => Numeric::NAN,
                (Kind::Infinity | Kind::NegInfinity, _) => self,
                _ => other,
            });
        }
        if let Some((a, b, exponent)) = align(self, other)
            && let Some(n) = a.checked_add(b)
        {
            return Numeric::from_parts(n < 0, n.unsigned_abs(), exponent);
        }
        self.wide(|cx, a| cx.add(a, &other.to_wide()))
    }

    /// Difference.
    pub fn sub(self, other: Numeric) -> Result<Numeric, EvalError> {
        self.add(other.neg())
    }

    /// Product. Zero times infinity is NaN.
    pub fn mul(self, other: Numeric) -> Result<Numeric, EvalError> {
        if !(self.is_finite() && other.is_finite()) {
            return Ok(match () {
                () if self.is_nan() || other.is_nan() || self.is_zero() || other.is_zero() => Numeric::NAN,
                () if self.is_negative() == other.is_negative() => Numeric::INFINITY,
                () => Numeric::NEG_INFINITY,
            });
        }
        if let (Some(a), Some(b)) = (self.coefficient(), other.coefficient())
            && let Some(n) = a.checked_mul(b)
        {
            let exponent = i32::from(self.exponent) + i32::from(other.exponent);
            return Numeric::from_parts(self.is_negative() != other.is_negative(), n, exponent);
        }
        self.wide(|cx, a| cx.mul(a, &other.to_wide()))
    }

    /// Quotient, to 39 digits. Errors: 22012 by zero.
    pub fn div(self, other: Numeric) -> Result<Numeric, EvalError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if other.is_zero() {
            return Err(division_by_zero());
        }
        if !(self.is_finite() && other.is_finite()) {
            return Ok(match () {
                () if self.is_finite() => Numeric::ZERO,
                () if other.is_infinite() => Numeric::NAN,
                () if self.is_negative() == other.is_negative() => Numeric::INFINITY,
                () => Numeric::NEG_INFINITY,
            });
        }
        self.wide(|cx, a| cx.div(a, &other.to_wide()))
    }

    /// Quotient without its fraction. Errors: 22012 by zero.
    pub fn div_integer(self, other: Numeric) -> Result<Numeric, EvalError> {
        if !(self.is_finite() && other.is_finite()) || other.is_zero() {
            return self.div(other);
        }
        self.wide(|cx, a| cx.div_integer(a, &other.to_wide()))
    }

    /// Remainder with the sign of `self`. Errors: 22012 by zero.
    pub fn rem(self, other: Numeric) -> Result<Numeric, EvalError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if other.is_zero() {
            return Err(division_by_zero());
        }
        if !self.is_finite() {
            return Ok(Numeric::NAN);
        }
        if !other.is_finite() {
            return Ok(self);
        }
        if let Some((a, b, exponent)) = align(self, other) {
            let n = a % b;
            return Numeric::from_parts(n < 0, n.unsigned_abs(), exponent);
        }
        self.wide(|cx, a| cx.rem(a, &other.to_wide()))
    }

    /// The negative; NaN stays.
    pub fn neg(self) -> Numeric {
        let kind = match self.kind {
            Kind::Positive if !self.is_zero() => Kind::Negative,
            Kind::Negative => Kind::Positive,
            Kind::Infinity => Kind::NegInfinity,
            Kind::NegInfinity => Kind::Infinity,
            other => other,
        };
        Numeric { kind, ..self }
    }

    /// The distance from zero.
    pub fn abs(self) -> Numeric {
        if self.is_negative() { self.neg() } else { self }
    }

    /// To `scale` digits behind the point (before it, if negative), halves away from zero. Errors: 22003 when the
    /// rounding reaches 10^39.
    pub fn round(self, scale: i32) -> Result<Numeric, EvalError> {
        self.round_to(scale, Rounding::HalfUp)
    }

    /// Cuts after `scale` digits behind the point (before it, if negative).
    pub fn trunc(self, scale: i32) -> Numeric {
        self.round_to(scale, Rounding::Down).expect("cutting digits off does not grow the value")
    }

    /// The least integer that is not below. Errors: 22003 when it is 10^39.
    pub fn ceil(self) -> Result<Numeric, EvalError> {
        self.round_to(0, if self.is_negative() { Rounding::Down } else { Rounding::Up })
    }

    /// The greatest integer that is not above. Errors: 22003 when it is -10^39.
    pub fn floor(self) -> Result<Numeric, EvalError> {
        self.round_to(0, if self.is_negative() { Rounding::Up } else { Rounding::Down })
    }

    /// Rounds to the scale of a `numeric(p, scale)`. The precision is not checked, as in Materialize.
    pub fn rescale(self, scale: u8) -> Result<Numeric, EvalError> {
        if -i32::from(self.exponent) <= i32::from(scale) { Ok(self) } else { self.round(scale.into()) }
    }

    /// Square root. Errors: 2201F of a negative number.
    pub fn sqrt(self) -> Result<Numeric, EvalError> {
        match self.kind {
            Kind::NaN | Kind::Infinity => Ok(self),
            Kind::Negative | Kind::NegInfinity => Err(EvalError::new(
                INVALID_ARGUMENT_FOR_POWER,
                "cannot take square root of a negative number",
            )),
            Kind::Positive => self.wide(|cx, a| cx.sqrt(a)),
        }
    }

    fn log_argument(self) -> Result<(), EvalError> {
        let message = match () {
            () if self.is_negative() => "cannot take logarithm of a negative number",
            () if self.is_zero() => "cannot take logarithm of zero",
            () => return Ok(()),
        };
        Err(EvalError::new(INVALID_ARGUMENT_FOR_LOG, message))
    }

    /// Natural logarithm. Errors: 2201E of what is not positive.
    pub fn ln(self) -> Result<Numeric, EvalError> {
        self.log_argument()?;
        if self.is_finite() { self.wide(|cx, a| cx.ln(a)) } else { Ok(self) }
    }

    /// Logarithm to base 10. Errors: 2201E of what is not positive.
    pub fn log10(self) -> Result<Numeric, EvalError> {
        self.log_argument()?;
        if self.is_finite() { self.wide(|cx, a| cx.log10(a)) } else { Ok(self) }
    }

    /// Logarithm to another base, as SQL's `log(base, self)`. Errors: 2201E of what is not positive, 22012 to base 1.
    pub fn log(self, base: Numeric) -> Result<Numeric, EvalError> {
        base.log_argument()?;
        self.log_argument()?;
        if base == Numeric::ONE {
            return Err(division_by_zero());
        }
        if !(self.is_finite() && base.is_finite()) {
            return self.ln()?.div(base.ln()?);
        }
        self.wide(|cx, a| {
            let mut b = base.to_wide();
            cx.ln(a);
            cx.ln(&mut b);
            cx.div(a, &b);
        })
    }

    /// e to the power of this. Errors: 22003.
    pub fn exp(self) -> Result<Numeric, EvalError> {
        match self.kind {
            Kind::NaN | Kind::Infinity => Ok(self),
            Kind::NegInfinity => Ok(Numeric::ZERO),
            _ => self.wide(|cx, a| cx.exp(a)),
        }
    }

    /// This to the power of `n`. Errors: 2201F where the result is not real or not defined, 22003.
    pub fn pow(self, n: Numeric) -> Result<Numeric, EvalError> {
        let undefined = |message| Err(EvalError::new(INVALID_ARGUMENT_FOR_POWER, message));
        if n.is_zero() || self == Numeric::ONE {
            return Ok(Numeric::ONE);
        }
        if self.is_nan() || n.is_nan() {
            return Ok(Numeric::NAN);
        }
        if self.is_zero() && n.is_negative() {
            return undefined("zero raised to a negative power is undefined");
        }
        if self.is_negative() && n.is_finite() && !n.is_integer() {
            return undefined("a negative number raised to a non-integer power yields a complex result");
        }
        if self.is_zero() {
            return Ok(self);
        }
        if n.is_infinite() {
            // Whether |self|^n grows or vanishes. Minus one stays one, as in Postgres.
            return Ok(match self.abs().cmp(&Numeric::ONE) {
                Ordering::Equal => Numeric::ONE,
                o if (o == Ordering::Greater) != n.is_negative() => Numeric::INFINITY,
                _ => Numeric::ZERO,
            });
        }
        if self.is_infinite() {
            let odd = !n.rem(Numeric::from_i64(2))?.is_zero();
            return Ok(match () {
                () if n.is_negative() => Numeric::ZERO,
                () if self.is_negative() && odd => Numeric::NEG_INFINITY,
                () => Numeric::INFINITY,
            });
        }
        self.wide(|cx, a| cx.pow(a, &n.to_wide()))
    }

    /// The canonical bytes, within `buffer`.
    #[inline]
    pub fn encode(self, buffer: &mut [u8; Self::MAX_BYTES]) -> &[u8] {
        buffer[0] = match self.kind {
            Kind::NaN => 127,
            Kind::Infinity => 126,
            Kind::NegInfinity => 125,
            _ => self.exponent as u8,
        };
        if self.high == 0 && self.low <= i64::MAX as u64 && self.top == 0 {
            let n = if self.is_negative() { -(self.low as i64) } else { self.low as i64 };
            let bits = if n < 0 { 65 - n.leading_ones() } else { 65 - n.leading_zeros() };
            let len = if n == 0 { 0 } else { bits.div_ceil(8) as usize };
            buffer[1..9].copy_from_slice(&n.to_le_bytes());
            return &buffer[..1 + len];
        }
        let low = self.low_digits() as i128;
        let n = if self.is_negative() { -low } else { low };
        buffer[1..17].copy_from_slice(&n.to_le_bytes());
        if self.top != 0 {
            // The sign is kept apart, since the lower digits may be zero.
            buffer[17] = self.top | (u8::from(self.is_negative()) << 7);
            return &buffer[..18];
        }
        let bits = if n < 0 { 129 - n.leading_ones() } else { 129 - n.leading_zeros() };
        &buffer[..1 + bits.div_ceil(8) as usize]
    }

    /// Reads [`Numeric::encode`].
    #[inline]
    pub fn decode(bytes: &[u8]) -> Numeric {
        let Some((&exponent, rest)) = bytes.split_first() else { return Numeric::ZERO };
        match exponent {
            127 => return Numeric::NAN,
            126 => return Numeric::INFINITY,
            125 => return Numeric::NEG_INFINITY,
            _ => {}
        }
        let exponent = exponent as i8;
        if rest.len() <= 8 {
            let mut raw = [0; 8];
            raw[..rest.len()].copy_from_slice(rest);
            let shift = 64 - 8 * rest.len() as u32;
            let n = if rest.is_empty() { 0 } else { (i64::from_le_bytes(raw) << shift) >> shift };
            return Numeric { low: n.unsigned_abs(), high: 0, top: 0, exponent, kind: sign(n < 0) };
        }
        let len = rest.len().min(16);
        let mut raw = [0; 16];
        raw[..len].copy_from_slice(&rest[..len]);
        let shift = 128 - 8 * len as u32;
        let n = (i128::from_le_bytes(raw) << shift) >> shift;
        let (negative, top) = match rest.get(16) {
            Some(b) => (b & 0x80 != 0, b & 0x7f),
            None => (n < 0, 0),
        };
        let low = n.unsigned_abs();
        Numeric { low: low as u64, high: (low >> 64) as u64, top, exponent, kind: sign(negative) }
    }

    /// The sign (true: negative), the decimal digits of the coefficient, and the exponent of its last digit; none for
    /// NaN and infinities.
    pub fn digits(self, buffer: &mut [u8; 39]) -> Option<(bool, &[u8], i32)> {
        if !self.is_finite() {
            return None;
        }
        let mut at = buffer.len();
        let mut put = |mut chunk: u64, pad: usize| {
            let stop = at - pad;
            while chunk != 0 || at > stop {
                at -= 1;
                buffer[at] = b'0' + (chunk % 10) as u8;
                chunk /= 10;
            }
        };
        let mut low = self.low_digits();
        const CHUNK: u128 = POW10[18];
        if self.top != 0 {
            put((low % CHUNK) as u64, 18);
            put((low / CHUNK % CHUNK) as u64, 18);
            put((low / CHUNK / CHUNK) as u64, 2);
            put(self.top.into(), 1);
        } else {
            while low >= CHUNK {
                put((low % CHUNK) as u64, 18);
                low /= CHUNK;
            }
            put(low as u64, 1);
        }
        Some((self.is_negative(), &buffer[at..], self.exponent.into()))
    }

    /// The lower 38 digits of the coefficient.
    #[inline]
    fn low_digits(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }

    /// The coefficient, if it fits.
    #[inline]
    fn coefficient(self) -> Option<u128> {
        match self.top {
            0 => Some(self.low_digits()),
            top @ 1..=3 => (u128::from(top) * LOW).checked_add(self.low_digits()),
            _ => None,
        }
    }

    /// How many digits the coefficient has; 1 for zero.
    fn digit_count(self) -> i32 {
        if self.top != 0 { MAX_DIGITS } else { self.low_digits().checked_ilog10().unwrap_or(0) as i32 + 1 }
    }

    /// Any magnitude that fits 128 bits, reduced and rounded.
    fn from_parts(negative: bool, magnitude: u128, exponent: i32) -> Result<Numeric, EvalError> {
        if let Ok(small) = u64::try_from(magnitude)
            && (-MAX_DIGITS..=19).contains(&exponent)
        {
            return Ok(Numeric::reduced_small(negative, small, exponent));
        }
        Coefficient { top: (magnitude / LOW) as u8, low: magnitude % LOW }.finish(negative, exponent)
    }

    fn round_to(self, scale: i32, rounding: Rounding) -> Result<Numeric, EvalError> {
        if !self.is_finite() {
            return Ok(self);
        }
        let surplus = -i64::from(scale) - i64::from(self.exponent);
        if surplus <= 0 {
            return Ok(self);
        }
        let surplus = surplus.min(40) as u32;
        let c = Coefficient { top: self.top, low: self.low_digits() }.without_digits(surplus, rounding);
        c.finish(self.is_negative(), i32::from(self.exponent) + surplus as i32)
    }

    fn to_wide(self) -> Wide {
        let mut units = [0u16; 27];
        const CHUNK: u128 = POW10[18];
        let low = self.low_digits();
        let mut put = |at: usize, mut chunk: u64, n: usize| {
            for unit in &mut units[at..at + n] {
                *unit = (chunk % 1000) as u16;
                chunk /= 1000;
            }
        };
        put(0, (low % CHUNK) as u64, 6);
        put(6, (low / CHUNK % CHUNK) as u64, 6);
        put(12, (low / CHUNK / CHUNK) as u64 + u64::from(self.top) * 100, 1);
        // Bit 7 is libdecnumber's sign.
        let sign = u8::from(self.is_negative()) << 7;
        Decimal::from_raw_parts(self.digit_count() as u32, self.exponent.into(), sign, units)
    }

    /// Runs an operation of libdecnumber with 81 digits on a finite value, and rounds its result.
    fn wide(self, operation: impl FnOnce(&mut Context<Wide>, &mut Wide)) -> Result<Numeric, EvalError> {
        let mut cx = Context::<Wide>::default();
        // The widest exponents with which libdecnumber does logarithms.
        cx.set_max_exponent(999_999).expect("within libdecnumber's limits");
        cx.set_min_exponent(-999_999).expect("within libdecnumber's limits");
        let mut n = self.to_wide();
        operation(&mut cx, &mut n);
        if n.is_nan() || n.is_infinite() {
            return Err(overflow());
        }
        let surplus = (n.digits() as i32 - MAX_DIGITS).max(-MAX_DIGITS - n.exponent());
        if surplus > 0 {
            if surplus > n.digits() as i32 {
                return Ok(Numeric::ZERO);
            }
            let exponent = n.exponent() + surplus;
            cx.rescale(&mut n, &Wide::from(exponent));
        }
        cx.reduce(&mut n);
        if n.is_zero() {
            return Ok(Numeric::ZERO);
        }
        if n.is_nan() || n.digits() as i32 + n.exponent() > MAX_DIGITS {
            return Err(overflow());
        }
        let units = n.coefficient_units();
        let chunk = |from: usize, to: usize| {
            units
                .get(from..to.min(units.len()))
                .unwrap_or(&[])
                .iter()
                .rev()
                .fold(0u128, |n, u| n * 1000 + u128::from(*u))
        };
        let (a, b, c) = (chunk(0, 6), chunk(6, 12), chunk(12, 13));
        let low = a + POW10[18] * b + POW10[36] * (c % 100);
        Coefficient { top: (c / 100) as u8, low }.finish(n.is_negative(), n.exponent())
    }
}

fn sign(negative: bool) -> Kind {
    if negative { Kind::Negative } else { Kind::Positive }
}

/// Both signed coefficients at the smaller exponent, where that fits.
#[inline]
fn align(a: Numeric, b: Numeric) -> Option<(i128, i128, i32)> {
    let signed = |n: Numeric, shift: i32| {
        let m = n.coefficient()?.checked_mul(*POW10.get(shift as usize)?)?;
        let m = i128::try_from(m).ok()?;
        Some(if n.is_negative() { -m } else { m })
    };
    let (ea, eb) = (i32::from(a.exponent), i32::from(b.exponent));
    let exponent = ea.min(eb);
    Some((signed(a, ea - exponent)?, signed(b, eb - exponent)?, exponent))
}

/// The digits after `e`, with an optional sign; far exponents saturate.
fn parse_exponent(s: &str) -> Option<i64> {
    let digits = s.strip_prefix(['+', '-']).unwrap_or(s);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n = digits.bytes().fold(0i64, |n, b| (n * 10 + i64::from(b - b'0')).min(1_000_000_000_000));
    Some(if s.starts_with('-') { -n } else { n })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    /// Towards zero.
    Down,
    /// Away from zero.
    Up,
    /// To the nearest, halves away from zero.
    HalfUp,
}

/// A magnitude of up to 39 digits on its way to a [`Numeric`]; `top` may be 10 after a carry.
#[derive(Clone, Copy, Default)]
struct Coefficient {
    top: u8,
    low: u128,
}

impl Coefficient {
    /// Appends a digit at the end; at most 39 may be.
    fn append(&mut self, digit: u8) {
        debug_assert!(self.top == 0);
        self.top = (self.low / POW10[37]) as u8;
        self.low = self.low % POW10[37] * 10 + u128::from(digit);
    }

    fn increment(&mut self) {
        self.low += 1;
        if self.low == LOW {
            self.low = 0;
            self.top += 1;
        }
    }

    /// Drops `n` digits from the end, at least one.
    fn without_digits(self, n: u32, rounding: Rounding) -> Coefficient {
        let (mut low, first_dropped_high, any) = match n {
            1..=38 => {
                let p = POW10[n as usize];
                let rest = self.low % p;
                // Ten to the 38th is divisible by p, so the top digit only moves down.
                (self.low / p + u128::from(self.top) * POW10[38 - n as usize], rest >= p / 2, rest != 0)
            }
            39 => (0, self.top >= 5, self.top != 0 || self.low != 0),
            _ => (0, false, self.top != 0 || self.low != 0),
        };
        let up = match rounding {
            Rounding::Down => false,
            Rounding::Up => any,
            Rounding::HalfUp => first_dropped_high,
        };
        low += u128::from(up);
        Coefficient { top: (low / LOW) as u8, low: low % LOW }
    }

    /// Reduces, rounds to 39 digits behind the point, and checks those before it.
    fn finish(mut self, negative: bool, mut exponent: i32) -> Result<Numeric, EvalError> {
        if exponent < -MAX_DIGITS {
            let surplus = (-MAX_DIGITS - exponent).min(40);
            self = self.without_digits(surplus as u32, Rounding::HalfUp);
            exponent = -MAX_DIGITS;
        }
        if self.top == 0 && self.low == 0 {
            return Ok(Numeric::ZERO);
        }
        if self.low.is_multiple_of(10) {
            self.low = self.low / 10 + u128::from(self.top) * POW10[37];
            self.top = 0;
            exponent += 1;
        }
        if self.top == 0 {
            while self.low > u128::from(u64::MAX) && self.low & 1 == 0 && self.low.is_multiple_of(10) {
                self.low /= 10;
                exponent += 1;
            }
            if let Ok(mut small) = u64::try_from(self.low) {
                while small & 1 == 0 && small.is_multiple_of(10) {
                    small /= 10;
                    exponent += 1;
                }
                self.low = small.into();
            }
        }
        let n = Numeric {
            low: self.low as u64,
            high: (self.low >> 64) as u64,
            top: self.top,
            exponent: 0,
            kind: sign(negative),
        };
        if n.digit_count() + exponent > MAX_DIGITS {
            return Err(overflow());
        }
        Ok(Numeric { exponent: exponent as i8, ..n })
    }
}

impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |n: &Numeric| match n.kind {
            Kind::NegInfinity => 0,
            Kind::Negative => 1,
            Kind::Positive if n.is_zero() => 2,
            Kind::Positive => 3,
            Kind::Infinity => 4,
            Kind::NaN => 5,
        };
        rank(self).cmp(&rank(other)).then_with(|| match self.kind {
            Kind::Positive => cmp_magnitude(*self, *other),
            Kind::Negative => cmp_magnitude(*other, *self),
            _ => Ordering::Equal,
        })
    }
}

fn cmp_magnitude(a: Numeric, b: Numeric) -> Ordering {
    if a.exponent == b.exponent {
        return (a.top, a.high, a.low).cmp(&(b.top, b.high, b.low));
    }
    let size = |n: Numeric| n.digit_count() + i32::from(n.exponent);
    size(a).cmp(&size(b)).then_with(|| {
        // As many digits before the point, so the one with the smaller exponent has more digits in all.
        if a.exponent > b.exponent {
            return cmp_magnitude(b, a).reverse();
        }
        let shift = (b.exponent - a.exponent) as usize;
        match a.top {
            0 => a.low_digits().cmp(&(b.low_digits() * POW10[shift])),
            // 39 digits are too many to scale up to; compare the first 38, then the last with zero.
            top => {
                let first = u128::from(top) * POW10[37] + a.low_digits() / 10;
                first.cmp(&(b.low_digits() * POW10[shift - 1])).then((a.low_digits() % 10).cmp(&0))
            }
        }
    })
}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<i32> for Numeric {
    fn from(n: i32) -> Numeric {
        Numeric::from_i64(n.into())
    }
}

impl std::str::FromStr for Numeric {
    type Err = EvalError;
    fn from_str(s: &str) -> Result<Numeric, EvalError> {
        Numeric::parse(s)
    }
}

/// Plain notation without trailing zeros: `0.001`, `1000`, `NaN`, `-Infinity`.
impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; 39];
        let Some((negative, digits, exponent)) = self.digits(&mut buffer) else {
            return f.write_str(match self.kind {
                Kind::Infinity => "Infinity",
                Kind::NegInfinity => "-Infinity",
                _ => "NaN",
            });
        };
        // Sign, "0.", 39 zeros and 39 digits are the most.
        let mut out = [b'0'; 96];
        let mut at = 0;
        if negative {
            out[0] = b'-';
            at = 1;
        }
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        const ZEROS: &[u8; 39] = &[b'0'; 39];
        if exponent >= 0 {
            put(digits);
            put(&ZEROS[..exponent as usize]);
        } else {
            let behind = exponent.unsigned_abs() as usize;
            if digits.len() > behind {
                let (whole, fraction) = digits.split_at(digits.len() - behind);
                put(whole);
                put(b".");
                put(fraction);
            } else {
                put(b"0.");
                put(&ZEROS[..behind - digits.len()]);
                put(digits);
            }
        }
        f.write_str(std::str::from_utf8(&out[..at]).expect("digits are ASCII"))
    }
}

impl fmt::Debug for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(s: &str) -> Numeric {
        Numeric::parse(s).unwrap_or_else(|e| panic!("{s}: {e}"))
    }

    fn shown(r: Result<Numeric, EvalError>) -> String {
        r.map_or_else(|e| format!("{} {e}", e.code().as_str()), |n| n.to_string())
    }

    const NINES: &str = "999999999999999999999999999999999999999";

    #[test]
    fn text_comes_back_without_trailing_zeros() {
        for (text, printed) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.000", "0"),
            ("49.99", "49.99"),
            ("1.0", "1"),
            ("100", "100"),
            ("-100.50", "-100.5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("+7", "7"),
            ("  12 ", "12"),
            ("1e3", "1000"),
            ("1.5E-3", "0.0015"),
            ("12345678901234567890.5", "12345678901234567890.5"),
            (NINES, NINES),
            ("1e38", "100000000000000000000000000000000000000"),
            ("1e-39", "0.000000000000000000000000000000000000001"),
            ("6e-40", "0.000000000000000000000000000000000000001"),
            ("1e-400", "0"),
            ("1e-99999999999999999999", "0"),
            ("NaN", "NaN"),
            ("-infinity", "-Infinity"),
            ("inf", "Infinity"),
            ("0.0000000000000000000000000000000000000000000000000000000001", "0"),
            ("00000000000000000000000000000000000000000000000000000000001", "1"),
        ] {
            assert_eq!(n(text).to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_refused_with_the_code_of_postgres() {
        for text in [
            "", " ", ".", "-", "e5", "1e", "1e+", "1 2", "0x1", "1_000", "--1", "+-1", "-NaN", "١", "1e5.5",
            "nano",
        ] {
            let message = format!("22P02 invalid input syntax for type numeric: \"{text}\"");
            assert_eq!(shown(Numeric::parse(text)), message);
        }
        for text in ["1e39", "-1e39", &format!("{NINES}.5"), "1e999999999999999999999", &format!("{NINES}0")]
        {
            assert_eq!(shown(Numeric::parse(text)), "22003 numeric field overflow", "{text}");
        }
    }

    #[test]
    fn exact_parsing_refuses_to_round() {
        assert!(Numeric::parse_exact("4.9E-324").is_err());
        assert!(Numeric::parse_exact("0.1234567890123456789012345678901234567891").is_err());
        assert_eq!(shown(Numeric::parse_exact("1.00000000000000000000000000000000000000000000")), "1");
        assert_eq!(shown(Numeric::parse_exact("1e-39")), n("1e-39").to_string());
    }

    /// Every interesting shape: zeros, words, 38 and 39 digits, both ends of the exponents, specials.
    fn samples() -> Vec<Numeric> {
        let texts = [
            "0",
            "1",
            "2",
            "7",
            "127",
            "128",
            "255",
            "256",
            "32767",
            "32768",
            "0.1",
            "49.99",
            "1e-39",
            "1e38",
            "9.99",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999999999999999999",
            "100000000000000000000000000000000000001",
            "170141183460469231731687303715884105727",
            "170141183460469231731687303715884105729",
            "340282366920938463463374607431768211455",
            "340282366920938463463374607431768211456",
            "500000000000000000000000000000000000003",
            NINES,
            "0.999999999999999999999999999999999999999",
            "12345678901234567890.1234567890123456789",
            "0.333333333333333333333333333333333333333",
        ];
        let mut all: Vec<Numeric> = texts.iter().flat_map(|t| [n(t), n(t).neg()]).collect();
        all.extend([Numeric::NAN, Numeric::INFINITY, Numeric::NEG_INFINITY]);
        all
    }

    #[test]
    fn bytes_come_back_and_are_equal_exactly_for_equal_values() {
        let all = samples();
        let bytes = |x: Numeric| x.encode(&mut [0; Numeric::MAX_BYTES]).to_vec();
        for a in &all {
            assert_eq!(Numeric::decode(&bytes(*a)), *a);
            assert_eq!(n(&a.to_string()), *a);
            for b in &all {
                assert_eq!(bytes(*a) == bytes(*b), a.cmp(b).is_eq(), "{a} {b}");
            }
        }
        assert_eq!(bytes(n("0")).len(), 1);
        assert_eq!(bytes(n("49.99")).len(), 3);
        assert_eq!(bytes(n(NINES)).len(), 18);
    }

    #[test]
    fn order_agrees_with_subtraction_and_puts_nan_last() {
        let all = samples();
        for a in &all {
            for b in &all {
                if let Ok(d) = a.sub(*b)
                    && a.is_finite()
                    && b.is_finite()
                    // Differences of numbers far apart round, but never to zero.
                    && (!d.is_zero() || a == b)
                {
                    assert_eq!(a.cmp(b), d.cmp(&Numeric::ZERO), "{a} {b}");
                }
                assert_eq!(a.cmp(b), b.cmp(a).reverse());
            }
            assert!(
                *a <= Numeric::NAN && (a.is_nan() || *a <= Numeric::INFINITY) && *a >= Numeric::NEG_INFINITY
            );
        }
        assert!(n("2") < n("10") && n("-2") > n("-10") && n("0.1") > n("0.09") && n("1e38") < n(NINES));
    }

    #[test]
    fn fast_and_wide_arithmetic_agree() {
        let all: Vec<Numeric> = samples().into_iter().filter(|n| n.is_finite()).collect();
        for a in &all {
            for b in &all {
                assert_eq!(shown(a.add(*b)), shown(a.wide(|cx, x| cx.add(x, &b.to_wide()))), "{a} + {b}");
                assert_eq!(shown(a.mul(*b)), shown(a.wide(|cx, x| cx.mul(x, &b.to_wide()))), "{a} * {b}");
                if !b.is_zero() {
                    assert_eq!(shown(a.rem(*b)), shown(a.wide(|cx, x| cx.rem(x, &b.to_wide()))), "{a} % {b}");
                }
            }
        }
    }

    #[test]
    fn arithmetic_as_in_sql() {
        assert_eq!(shown(n("0.1").add(n("0.2"))), "0.3");
        assert_eq!(shown(n("1").div(n("3"))), "0.333333333333333333333333333333333333333");
        assert_eq!(shown(n("1").div(n("300"))), "0.003333333333333333333333333333333333333");
        assert_eq!(shown(n("2").div(n("3"))), "0.666666666666666666666666666666666666667");
        assert_eq!(shown(n("10").div(n("4"))), "2.5");
        assert_eq!(shown(n("1").div(n("0"))), "22012 division by zero");
        assert_eq!(shown(n("1").rem(n("0"))), "22012 division by zero");
        assert_eq!(shown(n("-7").rem(n("2"))), "-1");
        assert_eq!(shown(n("7.5").rem(n("-2"))), "1.5");
        assert_eq!(shown(n("-7").div_integer(n("2"))), "-3");
        assert_eq!(shown(n(NINES).add(n("1"))), "22003 numeric field overflow");
        assert_eq!(shown(n("1e20").mul(n("1e20"))), "22003 numeric field overflow");
        assert_eq!(shown(n("1e-20").mul(n("1e-20"))), "0");
        assert_eq!(shown(Numeric::INFINITY.sub(Numeric::INFINITY)), "NaN");
        assert_eq!(shown(Numeric::INFINITY.mul(Numeric::ZERO)), "NaN");
        assert_eq!(shown(n("1").div(Numeric::INFINITY)), "0");
        assert_eq!(shown(Numeric::NEG_INFINITY.div(n("-2"))), "Infinity");
        assert_eq!(shown(n("5").rem(Numeric::INFINITY)), "5");
    }

    #[test]
    fn rounding_goes_half_away_from_zero() {
        assert_eq!(shown(n("2.5").round(0)), "3");
        assert_eq!(shown(n("-2.5").round(0)), "-3");
        assert_eq!(shown(n("2.449").round(1)), "2.4");
        assert_eq!(shown(n("1250").round(-2)), "1300");
        assert_eq!(shown(n("49").round(-2)), "0");
        assert_eq!(shown(n("50").round(-2)), "100");
        assert_eq!(shown(n("1e-39").round(0)), "0");
        assert_eq!(shown(n("0.999999999999999999999999999999999999999").round(0)), "1");
        assert_eq!(shown(n("0.999999999999999999999999999999999999999").round(38)), "1");
        assert_eq!(shown(n(NINES).round(-1)), "22003 numeric field overflow");
        assert_eq!(shown(n(NINES).round(-100)), "0");
        assert_eq!(n("-2.99").trunc(0).to_string(), "-2");
        assert_eq!(n("2.999").trunc(2).to_string(), "2.99");
        assert_eq!(n("299").trunc(-2).to_string(), "200");
        assert_eq!(shown(n("-2.1").floor()), "-3");
        assert_eq!(shown(n("-2.1").ceil()), "-2");
        assert_eq!(shown(n("2.1").ceil()), "3");
        assert_eq!(shown(n("2.999").rescale(2)), "3");
        assert_eq!(shown(n("0.001").ceil()), "1");
        assert_eq!(shown(Numeric::NAN.round(2)), "NaN");
    }

    #[test]
    fn functions_give_39_digits() {
        assert_eq!(shown(n("2").sqrt()), "1.41421356237309504880168872420969807857");
        assert_eq!(shown(n("4").sqrt()), "2");
        assert_eq!(shown(n("1").exp()), "2.71828182845904523536028747135266249776");
        assert_eq!(shown(n("2").ln()), "0.693147180559945309417232121458176568076");
        assert_eq!(shown(n("1000").log10()), "3");
        assert_eq!(shown(n("8").log(n("2"))), "3");
        assert_eq!(shown(n("2").pow(n("100"))), "1267650600228229401496703205376");
        assert_eq!(shown(n("2").pow(n("-1"))), "0.5");
        assert_eq!(shown(n("2").pow(n("0.5"))), "1.41421356237309504880168872420969807857");
        assert_eq!(shown(n("-2").pow(n("3"))), "-8");
        assert_eq!(shown(n("0").pow(n("0"))), "1");
        assert_eq!(shown(n("-1").sqrt()), "2201F cannot take square root of a negative number");
        assert_eq!(shown(n("0").ln()), "2201E cannot take logarithm of zero");
        assert_eq!(shown(n("-1").log10()), "2201E cannot take logarithm of a negative number");
        assert_eq!(shown(n("0").pow(n("-1"))), "2201F zero raised to a negative power is undefined");
        assert_eq!(
            shown(n("-2").pow(n("0.5"))),
            "2201F a negative number raised to a non-integer power yields a complex result"
        );
        assert_eq!(shown(n("10").pow(n("39"))), "22003 numeric field overflow");
        assert_eq!(shown(n("1e38").pow(n("1e38"))), "22003 numeric field overflow");
        assert_eq!(shown(n("1e38").exp()), "22003 numeric field overflow");
        assert_eq!(shown(n("-1e38").exp()), "0");
        assert_eq!(shown(n("-1").pow(Numeric::INFINITY)), "1");
        assert_eq!(shown(n("0.5").pow(Numeric::INFINITY)), "0");
        assert_eq!(shown(Numeric::NEG_INFINITY.pow(n("3"))), "-Infinity");
    }

    #[test]
    fn integers_and_floats_convert_both_ways() {
        for x in [0, 1, -1, i64::MAX, i64::MIN, 1_000_000] {
            assert_eq!(Numeric::from_i64(x).to_i64(), Some(x));
            assert_eq!(Numeric::from_i64(x).to_string(), x.to_string());
        }
        for x in [i128::MAX, i128::MIN, 10i128.pow(38), -10i128.pow(38)] {
            assert_eq!(Numeric::from_i128(x).to_string(), x.to_string());
            assert_eq!(n(&x.to_string()), Numeric::from_i128(x));
        }
        assert_eq!(Numeric::from_i128(i128::MAX).to_i128(), Some(i128::MAX));
        assert_eq!(Numeric::from_u64(u64::MAX).to_string(), u64::MAX.to_string());
        assert_eq!(n("9223372036854775807.5").to_i64(), None);
        assert_eq!(n("-0.5").to_i64(), Some(-1));
        assert_eq!(Numeric::NAN.to_i64(), None);
        for x in [0.0, 0.1, -1.5, 1e22, 1e-20, 123456.789, 1.7976931348623157e38, 5e-39] {
            assert_eq!(Numeric::from_f64(x).map(|n| n.to_f64()), Ok(x));
        }
        assert_eq!(shown(Numeric::from_f64(0.1)), "0.1");
        assert_eq!(shown(Numeric::from_f32(0.1)), "0.1");
        assert_eq!(shown(Numeric::from_f64(1e39)), "22003 numeric field overflow");
        assert!(Numeric::NAN.to_f64().is_nan());
    }

    #[test]
    fn fixed_point_is_exact_or_refused() {
        assert_eq!(n("49.99").to_fixed(2), Some(4999));
        assert_eq!(n("49.99").to_fixed(4), Some(499_900));
        assert_eq!(n("49.99").to_fixed(1), None);
        assert_eq!(n("-1e38").to_fixed(0), Some(-(10i128.pow(38))));
        assert_eq!(n("2e38").to_fixed(0), None);
        assert_eq!(n("1").to_fixed(39), None);
        assert_eq!(n("0").to_fixed(1000), Some(0));
        assert_eq!(Numeric::from_fixed(4990, 2).to_string(), "49.9");
        assert_eq!(Numeric::from_fixed(-1, 39).to_string(), "-0.000000000000000000000000000000000000001");
        assert_eq!(Numeric::from_fixed(1, u32::MAX).to_string(), "0");
        assert_eq!(Numeric::from_fixed(i128::MIN, 0).to_string(), i128::MIN.to_string());
    }
}
