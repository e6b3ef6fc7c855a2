//! Exact decimals of up to 39 digits, as Materialize and libdecnumber have them.

use std::cmp::Ordering;

/// A reduced decimal (no trailing zeros in the coefficient), or NaN, or an infinity.
#[derive(Clone, Copy, Debug)]
pub struct Numeric(pub(crate) dec::Decimal<13>);

impl Numeric {
    /// The longest encoding, in bytes.
    pub const MAX_BYTES: usize = 32;

    /// The canonical bytes, within `buffer`.
    pub fn encode(self, buffer: &mut [u8; Self::MAX_BYTES]) -> &[u8] {
        buffer
    }

    /// Reads [`Numeric::encode`].
    pub fn decode(_bytes: &[u8]) -> Numeric {
        Numeric(dec::Decimal::zero())
    }
}

impl Ord for Numeric {
    fn cmp(&self, _other: &Self) -> Ordering {
        Ordering::Equal
    }
}
impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Numeric {}
