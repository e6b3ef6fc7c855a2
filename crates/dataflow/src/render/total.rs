//! Sums that do not depend on the order of their terms and can be taken back: exact decimals and exact floats.
//!
//! A decimal sum is an integer of 64 bits with a scale as long as that holds it. What does not fit, and every float,
//! goes into *bins*: `Σ binᵢ · radixⁱ` with radix 10⁹ (decimals) or 2³² (floats). A bin is an `i128` that passes what
//! outgrows it on to the next one, so nothing overflows and nothing is ever rounded until the sum is read.

use repr::error::code;
use repr::{Datum, Diff, EvalError, Interval, Numeric, ScalarType};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// The sum of any number of values of one type.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Total {
    /// `value` · 10^-`scale`.
    Fixed {
        /// Digits behind the point.
        scale: u8,
        /// The sum, scaled.
        value: i64,
    },
    /// Decimals of any size.
    Decimal(Box<Bins>),
    /// Floats.
    Float(Box<Bins>),
    /// Months, days, microseconds.
    Interval(Box<[i128; 3]>),
}

/// A number as digits of a large radix, and how many terms were no numbers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Bins {
    bins: SmallVec<[(i16, i128); 2]>,
    nan: i64,
    infinity: i64,
    neg_infinity: i64,
}

const DECIMAL: i128 = 1_000_000_000;
const BINARY: i128 = 1 << 32;
/// Bins beyond this pass on what is above the radix.
const FULL: i128 = 1 << 100;
/// The exponent of the least float: bin 0 of floats is in units of 2^-1074 (of its square for squares).
const LEAST: i32 = 1074;

impl Default for Total {
    fn default() -> Self {
        Total::Fixed { scale: 0, value: 0 }
    }
}

fn pow10(n: u32) -> i64 {
    10i64.pow(n)
}

impl Total {
    /// Adds a value that is not NULL, `diff` times. `square`: its square instead.
    #[inline]
    pub fn add(&mut self, datum: Datum<'_>, diff: Diff, square: bool) {
        match datum {
            Datum::Int16(n) => self.add_int(n.into(), diff, square),
            Datum::Int32(n) => self.add_int(n.into(), diff, square),
            Datum::Int64(n) => self.add_int(n.into(), diff, square),
            Datum::UInt16(n) => self.add_int(n.into(), diff, square),
            Datum::UInt32(n) => self.add_int(n.into(), diff, square),
            Datum::UInt64(n) => self.add_int(n.into(), diff, square),
            Datum::Numeric(n) => self.add_numeric(n, diff, square),
            Datum::Float32(x) => self.add_float(x.into(), diff, square),
            Datum::Float64(x) => self.add_float(x, diff, square),
            Datum::Interval(i) => {
                if !matches!(self, Total::Interval(_)) {
                    *self = Total::Interval(Box::new([0; 3]));
                }
                if let Total::Interval(parts) = self {
                    let terms = [i128::from(i.months), i128::from(i.days), i128::from(i.micros)];
                    for (part, term) in parts.iter_mut().zip(terms) {
                        *part = part.saturating_add(term * i128::from(diff));
                    }
                }
            }
            other => panic!("{other:?} cannot be summed"),
        }
    }

    #[inline]
    fn add_int(&mut self, n: i128, diff: Diff, square: bool) {
        // The square of any 64-bit integer fits an unsigned word pair, its sign is positive.
        if square {
            let n = n.unsigned_abs();
            match i64::try_from(n * n) {
                Ok(small) => self.add_fixed(small.into(), 0, diff),
                Err(_) => self.add_magnitude(false, n * n, 0, diff),
            }
        } else {
            self.add_fixed(n, 0, diff)
        }
    }

    fn add_numeric(&mut self, n: Numeric, diff: Diff, square: bool) {
        if !n.is_finite() {
            let positive = square || !n.is_negative();
            let bins = self.wide();
            return match () {
                () if n.is_nan() => bins.nan += diff,
                () if positive => bins.infinity += diff,
                () => bins.neg_infinity += diff,
            };
        }
        let scale = n.scale();
        match n.to_fixed(scale) {
            Some(value) if !square => self.add_fixed(value, scale, diff),
            Some(value) if value.unsigned_abs() < 1 << 31 && scale < 64 => {
                self.add_fixed(value * value, 2 * scale, diff)
            }
            _ => {
                let mut buffer = [0; 39];
                let Some((negative, digits, exponent)) = n.digits(&mut buffer) else { return };
                let digits: Vec<u8> =
                    digits.iter().map(|d| if *d >= b'0' { *d - b'0' } else { *d }).collect();
                let bins = self.wide();
                if square {
                    // Digit by digit: at most 39², and rare.
                    for (i, a) in digits.iter().rev().enumerate() {
                        for (j, b) in digits.iter().rev().enumerate() {
                            let product = i128::from(*a) * i128::from(*b) * i128::from(diff);
                            bins.add_decimal(product, 2 * exponent + (i + j) as i32);
                        }
                    }
                } else {
                    let sign = if negative { -1 } else { 1 };
                    for (i, d) in digits.iter().rev().enumerate() {
                        bins.add_decimal(sign * i128::from(*d) * i128::from(diff), exponent + i as i32);
                    }
                }
            }
        }
    }

    /// Adds `n` · 10^-`scale`, `diff` times.
    #[inline]
    fn add_fixed(&mut self, n: i128, scale: u32, diff: Diff) {
        if let Total::Fixed { scale: own, value } = self
            && let Ok(n) = i64::try_from(n)
            && let Some(n) = n.checked_mul(diff)
            && scale <= 18
        {
            let own_scale = u32::from(*own);
            let sum = if scale <= own_scale {
                // At most 10^18, as no scale is more.
                n.checked_mul(pow10(own_scale - scale)).and_then(|n| value.checked_add(n))
            } else {
                value.checked_mul(pow10(scale - own_scale)).and_then(|v| v.checked_add(n))
            };
            if let Some(sum) = sum {
                *value = sum;
                *own = (*own).max(scale as u8);
                return;
            }
        }
        self.add_magnitude(n < 0, n.unsigned_abs(), scale, diff)
    }

    fn add_magnitude(&mut self, negative: bool, mut n: u128, scale: u32, diff: Diff) {
        let sign = if negative { -1 } else { 1 };
        let bins = self.wide();
        let mut exponent = -(scale as i32);
        while n > 0 {
            let piece = (n % DECIMAL as u128) as i128;
            bins.add_decimal(sign * piece * i128::from(diff), exponent);
            n /= DECIMAL as u128;
            exponent += 9;
        }
    }

    /// The bins of decimals, into which a sum of 64 bits moves when they are asked for.
    fn wide(&mut self) -> &mut Bins {
        if let Total::Fixed { scale, value } = *self {
            *self = Total::Decimal(Box::default());
            self.add_magnitude(value < 0, u128::from(value.unsigned_abs()), scale.into(), 1);
        }
        match self {
            Total::Decimal(bins) | Total::Float(bins) => bins,
            _ => panic!("intervals and numbers are never in one sum"),
        }
    }

    fn add_float(&mut self, x: f64, diff: Diff, square: bool) {
        if !matches!(self, Total::Float(_)) {
            *self = Total::Float(Box::default());
        }
        let Total::Float(bins) = self else { return };
        if !x.is_finite() {
            return match () {
                () if x.is_nan() => bins.nan += diff,
                () if x > 0.0 || square => bins.infinity += diff,
                () => bins.neg_infinity += diff,
            };
        }
        let bits = x.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        let (mantissa, exponent) = match exponent {
            0 => (fraction, -LEAST),
            e => (fraction | 1 << 52, e - 1075),
        };
        let sign = if x < 0.0 && !square { -1 } else { 1 };
        let (mut n, mut bit) = match square {
            false => (u128::from(mantissa), exponent + LEAST),
            true => (u128::from(mantissa) * u128::from(mantissa), 2 * exponent + 2 * LEAST),
        };
        while n > 0 {
            let piece = (n & 0xffff_ffff) as i128;
            bins.add(
                (bit.div_euclid(32)) as i16,
                sign * (piece << bit.rem_euclid(32)) * i128::from(diff),
                BINARY,
            );
            n >>= 32;
            bit += 32;
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Total) {
        match other {
            Total::Fixed { value: 0, .. } => {}
            Total::Fixed { scale, value } => self.add_fixed(value.into(), scale.into(), 1),
            Total::Decimal(more) => self.wide().merge(&more, DECIMAL),
            Total::Float(more) => {
                if !matches!(self, Total::Float(_)) {
                    *self = Total::Float(Box::default());
                }
                if let Total::Float(bins) = self {
                    bins.merge(&more, BINARY)
                }
            }
            Total::Interval(more) => {
                if !matches!(self, Total::Interval(_)) {
                    *self = Total::Interval(Box::new([0; 3]));
                }
                if let Total::Interval(parts) = self {
                    parts.iter_mut().zip(more.iter()).for_each(|(a, b)| *a = a.saturating_add(*b));
                }
            }
        }
    }

    /// The sum as an integer of 64 bits.
    fn integer(&self) -> Option<i128> {
        match self {
            Total::Fixed { scale: 0, value } => Some((*value).into()),
            Total::Fixed { .. } => None,
            other => other.numeric().ok()?.to_fixed(0),
        }
    }

    /// The sum as a numeric. Errors: 22003 when it has too many digits.
    pub fn numeric(&self) -> Result<Numeric, EvalError> {
        match self {
            Total::Fixed { scale, value } => Ok(Numeric::from_fixed((*value).into(), (*scale).into())),
            Total::Decimal(bins) => match bins.special() {
                Some(x) if x.is_nan() => Ok(Numeric::NAN),
                Some(x) if x > 0.0 => Ok(Numeric::INFINITY),
                Some(_) => Ok(Numeric::NEG_INFINITY),
                None => Numeric::parse(&bins.decimal_text()),
            },
            Total::Float(_) => Numeric::from_f64(self.float()),
            Total::Interval(_) => Err(out_of_range("numeric")),
        }
    }

    /// The sum as the nearest float.
    pub fn float(&self) -> f64 {
        match self {
            Total::Float(bins) => bins.float(LEAST),
            other => other.numeric().map_or(f64::NAN, Numeric::to_f64),
        }
    }

    /// The sum of squares of floats as the nearest float.
    fn float_of_squares(&self) -> f64 {
        match self {
            Total::Float(bins) => bins.float(2 * LEAST),
            other => other.float(),
        }
    }

    /// `sum`: as a value of its result type.
    pub fn sum(&self, ty: &ScalarType) -> Result<Datum<'static>, EvalError> {
        let int = || self.integer().ok_or_else(|| out_of_range(&ty.name()));
        let range = |ok: Option<Datum<'static>>| ok.ok_or_else(|| out_of_range(&ty.name()));
        match ty {
            ScalarType::Int16 => range(i16::try_from(int()?).ok().map(Datum::Int16)),
            ScalarType::Int32 => range(i32::try_from(int()?).ok().map(Datum::Int32)),
            ScalarType::Int64 => range(i64::try_from(int()?).ok().map(Datum::Int64)),
            ScalarType::UInt64 => range(u64::try_from(int()?).ok().map(Datum::UInt64)),
            ScalarType::Float32 => finite(self, self.float() as f32 as f64).map(|x| Datum::Float32(x as f32)),
            ScalarType::Float64 => finite(self, self.float()).map(Datum::Float64),
            ScalarType::Interval => match self {
                Total::Interval(p) => interval(**p),
                _ => Ok(Datum::Interval(Interval::default())),
            },
            _ => self.numeric().map(Datum::Numeric),
        }
    }

    /// `avg` of `n` values.
    pub fn average(&self, n: i64, ty: &ScalarType) -> Result<Datum<'static>, EvalError> {
        match ty {
            ScalarType::Float32 | ScalarType::Float64 => {
                let x = finite(self, self.float() / n as f64)?;
                Ok(if *ty == ScalarType::Float32 { Datum::Float32(x as f32) } else { Datum::Float64(x) })
            }
            ScalarType::Interval => match self {
                Total::Interval(p) => {
                    let [months, days, micros] = **p;
                    let n = i128::from(n);
                    let days = days + months % n * 30;
                    interval([months / n, days / n, (micros + days % n * 86_400_000_000) / n])
                }
                _ => Ok(Datum::Interval(Interval::default())),
            },
            _ => self.numeric()?.div(Numeric::from_i64(n)).map(Datum::Numeric),
        }
    }

    /// Variance (or with `root` its root) of `n` values with this sum; NULL for too few.
    pub fn variance(
        &self,
        squares: &Total,
        n: i64,
        sample: bool,
        root: bool,
        ty: &ScalarType,
    ) -> Result<Datum<'static>, EvalError> {
        if n < 1 || sample && n < 2 {
            return Ok(Datum::Null);
        }
        let below = if sample { n - 1 } else { n };
        if matches!(ty, ScalarType::Float32 | ScalarType::Float64) {
            let (sum, squares) = (self.float(), squares.float_of_squares());
            let x = ((squares - sum * (sum / n as f64)) / below as f64).max(0.0);
            let x = if (sum + squares).is_finite() { x } else { f64::NAN };
            let x = if root { x.sqrt() } else { x };
            return Ok(if *ty == ScalarType::Float32 { Datum::Float32(x as f32) } else { Datum::Float64(x) });
        }
        let (sum, squares) = (self.numeric()?, squares.numeric()?);
        let (n, below) = (Numeric::from_i64(n), Numeric::from_i64(below));
        let x = n.mul(squares)?.sub(sum.mul(sum)?)?.div(n.mul(below)?)?;
        let x = if x.is_negative() { Numeric::ZERO } else { x };
        Ok(Datum::Numeric(if root { x.sqrt()? } else { x }))
    }
}

fn out_of_range(ty: &str) -> EvalError {
    EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, format!("{ty} out of range"))
}

/// An infinity that came from finite terms is an error, as in Postgres.
fn finite(total: &Total, x: f64) -> Result<f64, EvalError> {
    let given = matches!(total, Total::Float(bins) | Total::Decimal(bins) if bins.special().is_some());
    match x.is_infinite() && !given {
        true => Err(EvalError::new(code::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")),
        false => Ok(x),
    }
}

fn interval([months, days, micros]: [i128; 3]) -> Result<Datum<'static>, EvalError> {
    let error = || out_of_range("interval");
    Ok(Datum::Interval(Interval {
        months: i32::try_from(months).map_err(|_| error())?,
        days: i32::try_from(days).map_err(|_| error())?,
        micros: i64::try_from(micros).map_err(|_| error())?,
    }))
}

impl Bins {
    /// Adds `n` · 10^`exponent`; |n| < 10^9 · 2^63.
    fn add_decimal(&mut self, n: i128, exponent: i32) {
        self.add(exponent.div_euclid(9) as i16, n * i128::from(pow10(exponent.rem_euclid(9) as u32)), DECIMAL)
    }

    fn add(&mut self, bin: i16, n: i128, radix: i128) {
        if n == 0 {
            return;
        }
        let at = match self.bins.iter().position(|(b, _)| *b == bin) {
            Some(at) => at,
            None => {
                self.bins.push((bin, 0));
                self.bins.len() - 1
            }
        };
        let sum = self.bins[at].1 + n;
        if sum.abs() > FULL {
            self.bins[at].1 = sum % radix;
            self.add(bin + 1, sum / radix, radix);
        } else {
            self.bins[at].1 = sum;
        }
    }

    fn merge(&mut self, other: &Bins, radix: i128) {
        other.bins.iter().for_each(|(bin, n)| self.add(*bin, *n, radix));
        self.nan += other.nan;
        self.infinity += other.infinity;
        self.neg_infinity += other.neg_infinity;
    }

    /// NaN or an infinity, if any term makes the sum that.
    fn special(&self) -> Option<f64> {
        match (self.nan != 0, self.infinity != 0, self.neg_infinity != 0) {
            (true, _, _) | (_, true, true) => Some(f64::NAN),
            (_, true, _) => Some(f64::INFINITY),
            (_, _, true) => Some(f64::NEG_INFINITY),
            _ => None,
        }
    }

    /// The sign (true: negative), the digits from the least on, and the bin of the first one.
    fn digits(&self, radix: i128) -> (bool, Vec<u64>, i32) {
        let mut bins = self.bins.clone();
        bins.sort_unstable();
        let (Some(first), Some(last)) = (bins.first().map(|b| b.0), bins.last().map(|b| b.0)) else {
            return (false, vec![], 0);
        };
        let run = |sign: i128| {
            let (mut digits, mut carry, mut next) = (vec![], 0i128, bins.iter().peekable());
            let mut at = i32::from(first);
            while at <= i32::from(last) || carry > 0 {
                let own = next.next_if(|(b, _)| i32::from(*b) == at).map_or(0, |(_, n)| *n);
                let sum = sign * own + carry;
                digits.push(sum.rem_euclid(radix) as u64);
                carry = sum.div_euclid(radix);
                at += 1;
            }
            (carry, digits)
        };
        match run(1) {
            (0, digits) => (false, digits, first.into()),
            // What is left to carry is negative: the same from the other side.
            _ => (true, run(-1).1, first.into()),
        }
    }

    fn decimal_text(&self) -> String {
        let (negative, digits, first) = self.digits(DECIMAL);
        let mut text = String::from(if negative { "-" } else { "" });
        digits.iter().rev().for_each(|d| text.push_str(&format!("{d:09}")));
        if digits.is_empty() {
            text.push('0');
        }
        format!("{text}e{}", first * 9)
    }

    /// The nearest float, ties to even; `bias`: what the exponents of bin 0 begin at, negated.
    fn float(&self, bias: i32) -> f64 {
        if let Some(x) = self.special() {
            return x;
        }
        let (negative, digits, first) = self.digits(BINARY);
        let Some(top) = digits.iter().rposition(|d| *d != 0) else { return 0.0 };
        // Three digits hold more than 64 bits of the value; what is below only says whether something is left.
        let digit = |i: usize| u128::from(digits[i]);
        let low = top.saturating_sub(2);
        let mut n = (low..=top).rev().fold(0, |n, i| n << 32 | digit(i));
        let mut exponent = (first + low as i32) * 32 - bias;
        let mut rest = digits[..low].iter().any(|d| *d != 0);
        // To 53 bits, or fewer where the float is subnormal.
        let bits = 128 - n.leading_zeros() as i32;
        let drop = (bits - 53).max(-LEAST - exponent);
        if drop > 0 {
            if drop > 127 {
                return if negative { -0.0 } else { 0.0 };
            }
            let (half, below) = (1u128 << (drop - 1), n & ((1 << drop) - 1));
            rest |= below & (half - 1) != 0;
            let up = below & half != 0 && (rest || n >> drop & 1 == 1);
            n = (n >> drop) + u128::from(up);
            exponent += drop;
        }
        let x = scale(n as f64, exponent);
        if negative { -x } else { x }
    }
}

/// `x` · 2^`exponent`, exact where the result is a float.
fn scale(mut x: f64, mut exponent: i32) -> f64 {
    let power = |e: i32| f64::from_bits(((e + 1023) as u64) << 52);
    while exponent > 1000 {
        x *= power(1000);
        exponent -= 1000;
    }
    // First down to where the last step, which alone may become subnormal, is exact.
    while exponent < -1000 {
        x *= power(-500);
        exponent += 500;
    }
    x * power(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float_sum(terms: &[f64]) -> f64 {
        let mut total = Total::default();
        terms.iter().for_each(|x| total.add(Datum::Float64(*x), 1, false));
        total.float()
    }

    #[test]
    fn a_single_float_is_its_own_sum() {
        for x in [0.0, 1.0, -1.5, 0.1, f64::MAX, f64::MIN_POSITIVE, 5e-324, -2.5e-310, 1e300, 123456.789] {
            assert_eq!(float_sum(&[x]), x);
        }
    }

    #[test]
    fn floats_are_summed_without_rounding_in_between() {
        assert_eq!(float_sum(&[1e300, 1.0, -1e300]), 1.0);
        assert_eq!(float_sum(&[0.1; 10]), 1.0);
        assert_eq!(float_sum(&[f64::MAX, f64::MAX, -f64::MAX]), f64::MAX);
        assert!(float_sum(&[f64::MAX, f64::MAX]).is_infinite());
        assert!(float_sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert_eq!(float_sum(&[9007199254740992.0, 1.0, 1e-30]), 9007199254740994.0);
        assert_eq!(float_sum(&[9007199254740992.0, 1.0]), 9007199254740992.0);
    }

    #[test]
    fn infinities_can_be_taken_back() {
        let mut total = Total::default();
        total.add(Datum::Float64(f64::INFINITY), 1, false);
        total.add(Datum::Float64(2.5), 1, false);
        total.add(Datum::Float64(f64::INFINITY), -1, false);
        assert_eq!(total.float(), 2.5);
    }

    #[test]
    fn decimals_of_different_scales_add_up() {
        let numeric = |s: &str| Datum::Numeric(Numeric::parse(s).unwrap());
        let mut total = Total::default();
        for s in ["49.99", "0.01", "1000000000000000000000000000000000", "-0.000000000000000000000000000001"]
        {
            total.add(numeric(s), 1, false);
        }
        total.add(numeric("1000000000000000000000000000000000"), -1, false);
        assert_eq!(total.numeric().unwrap().to_string(), "49.999999999999999999999999999999");
        total.add(numeric("-0.000000000000000000000000000001"), -1, false);
        assert_eq!(total.numeric().unwrap().to_string(), "50");
    }

    #[test]
    fn sums_beyond_their_type_are_errors() {
        let mut total = Total::default();
        total.add(Datum::Int64(i64::MAX), 1, false);
        assert!(total.sum(&ScalarType::Int64).is_ok());
        total.add(Datum::Int64(1), 1, false);
        let error = total.sum(&ScalarType::Int64).unwrap_err();
        assert_eq!((error.code().as_str(), error.message()), ("22003", "bigint out of range"));
        assert_eq!(total.numeric().unwrap().to_string(), "9223372036854775808");
        total.add(Datum::Int64(1), -1, false);
        assert!(total.sum(&ScalarType::Int64).is_ok());
    }

    #[test]
    fn negative_sums_keep_their_sign() {
        let mut total = Total::default();
        total.add(Datum::Int64(i64::MIN), 3, false);
        assert_eq!(total.numeric().unwrap().to_string(), "-27670116110564327424");
        assert_eq!(float_sum(&[-1e20, 1.0]), -1e20);
    }

    #[test]
    fn variances_come_from_exact_sums() {
        let (mut sum, mut squares) = (Total::default(), Total::default());
        for n in [2, 4, 4, 4, 5, 5, 7, 9] {
            sum.add(Datum::Int32(n), 1, false);
            squares.add(Datum::Int32(n), 1, true);
        }
        let ty = ScalarType::Numeric { scale: None };
        let pop = sum.variance(&squares, 8, false, true, &ty).unwrap();
        assert_eq!(pop, Datum::Numeric(Numeric::from_i64(2)));
        assert!(sum.variance(&squares, 1, true, false, &ty).unwrap().is_null());
    }
}
