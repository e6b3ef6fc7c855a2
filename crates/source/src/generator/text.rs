//! Text into a buffer, without the machinery of `format!`: the generator's speed is the speed of demos and benches.

/// A decimal.
pub fn int(out: &mut Vec<u8>, n: u64) {
    padded(out, n, 1);
}

/// A decimal with zeros in front, at least `width` digits.
pub fn padded(out: &mut Vec<u8>, mut n: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while n > 0 {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

/// Lower-case hexadecimal, exactly `width` digits.
pub fn hex(out: &mut Vec<u8>, n: u64, width: u32) {
    for i in (0..width).rev() {
        out.push(b"0123456789abcdef"[(n >> (4 * i)) as usize & 15]);
    }
}

/// The form of a random UUID.
pub fn uuid(out: &mut Vec<u8>, a: u64, b: u64) {
    hex(out, a >> 32, 8);
    out.push(b'-');
    hex(out, a >> 16, 4);
    out.extend_from_slice(b"-4");
    hex(out, a, 3);
    out.push(b'-');
    hex(out, 8 | b >> 62, 1);
    hex(out, b >> 48, 3);
    out.push(b'-');
    hex(out, b, 12);
}

/// An amount of money in cents, with its two decimals.
pub fn money(out: &mut Vec<u8>, cents: u64) {
    int(out, cents / 100);
    out.push(b'.');
    padded(out, cents % 100, 2);
}

/// A time in ms since the epoch as `2026-11-01T00:00:00.000Z`.
pub fn time(out: &mut Vec<u8>, ms: u64) {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    // Days are counted in years that begin in March, so that the leap day is the last of its year.
    let day = days + 719_468;
    let (era, in_era) = (day / 146_097, day % 146_097);
    let year = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let of_month = in_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    padded(out, year + era * 400 + carry, 4);
    for (before, n, width) in [
        (b'-', month, 2),
        (b'-', of_month, 2),
        (b'T', in_day / 3_600_000, 2),
        (b':', in_day / 60_000 % 60, 2),
        (b':', in_day / 1_000 % 60, 2),
        (b'.', in_day % 1_000, 3),
    ] {
        out.push(before);
        padded(out, n, width);
    }
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = vec![];
        f(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn texts_are_what_they_should_be() {
        assert_eq!(text(|o| int(o, 0)), "0");
        assert_eq!(text(|o| int(o, u64::MAX)), "18446744073709551615");
        assert_eq!(text(|o| padded(o, 42, 5)), "00042");
        assert_eq!(text(|o| money(o, 1_905)), "19.05");
        assert_eq!(text(|o| uuid(o, u64::MAX, 0)), "ffffffff-ffff-4fff-8000-000000000000");
        assert_eq!(text(|o| time(o, 0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(|o| time(o, 951_782_399_999)), "2000-02-28T23:59:59.999Z");
        assert_eq!(text(|o| time(o, 951_782_400_000)), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(|o| time(o, 1_793_491_200_123)), "2026-11-01T00:00:00.123Z");
    }
}
