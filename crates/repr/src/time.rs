//! Dates, times and intervals.

/// A span of time in Postgres' three parts, which do not convert into each other exactly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interval {
    /// Calendar months.
    pub months: i32,
    /// Days, of 24 hours except where a zone says otherwise.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl Interval {
    /// Months, days, microseconds, little endian.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut b = [0; 16];
        b[..4].copy_from_slice(&self.months.to_le_bytes());
        b[4..8].copy_from_slice(&self.days.to_le_bytes());
        b[8..].copy_from_slice(&self.micros.to_le_bytes());
        b
    }

    /// Reads [`Interval::to_bytes`].
    pub fn from_bytes(b: [u8; 16]) -> Interval {
        let [m, d] = [&b[..4], &b[4..8]].map(|x| i32::from_le_bytes(x.try_into().expect("four bytes")));
        Interval { months: m, days: d, micros: i64::from_le_bytes(b[8..].try_into().expect("eight bytes")) }
    }

    /// What Postgres compares by: a month of 30 days of 24 hours, in microseconds.
    fn order(self) -> i128 {
        (i128::from(self.months) * 30 + i128::from(self.days)) * 86_400_000_000 + i128::from(self.micros)
    }
}

impl Ord for Interval {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}
impl PartialOrd for Interval {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Interval {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}
impl Eq for Interval {}
