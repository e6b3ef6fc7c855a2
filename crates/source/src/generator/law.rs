//! Chance out of a seed, and the laws that traffic follows.

use std::sync::OnceLock;

/// A stream of random numbers that is given by its key alone, so that event number a million needs none before it.
pub struct Dice(u64);

impl Dice {
    /// The stream of a key.
    pub fn new(seed: u64, what: u64, number: u64) -> Dice {
        Dice(mix(mix(seed ^ 0x9E37_79B9_7F4A_7C15).wrapping_add(what)).wrapping_add(number.wrapping_mul(ODD)))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// From 0 up to, without, 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From 0 up to, without, `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// True as often as `p` says.
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.unit() < p
    }

    /// An item by its share.
    pub fn share<'a, T>(&mut self, items: &'a [(f64, T)]) -> &'a T {
        let mut x = self.unit() * items.iter().map(|(w, _)| w).sum::<f64>();
        for (weight, item) in items {
            x -= weight;
            if x < 0.0 {
                return item;
            }
        }
        &items[items.len() - 1].1
    }
}

const ODD: u64 = 0xD1B5_4A32_D192_ED03;

/// Scatters bits (the finaliser of splitmix64).
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Items with weights `1 / (rank + offset) ^ exponent`: few are frequent, many are rare.
pub struct LongTail(Vec<f64>);

impl LongTail {
    /// The law of `n` items.
    pub fn new(n: usize, offset: f64, exponent: f64) -> LongTail {
        let mut sum = 0.0;
        let mut sums: Vec<f64> = (0..n)
            .map(|rank| {
                sum += (rank as f64 + offset).powf(-exponent);
                sum
            })
            .collect();
        sums.iter_mut().for_each(|s| *s /= sum);
        LongTail(sums)
    }

    /// The rank of an item.
    pub fn draw(&self, dice: &mut Dice) -> usize {
        let x = dice.unit();
        self.0.partition_point(|s| *s <= x).min(self.0.len() - 1)
    }
}

/// How many users there are.
pub const USERS: usize = 50_000;

/// The law of users: the first makes 1.4 % of all sessions.
pub fn users() -> &'static LongTail {
    static LAW: OnceLock<LongTail> = OnceLock::new();
    LAW.get_or_init(|| LongTail::new(USERS, 10.0, 1.05))
}

/// The law of track events by rank.
pub fn events(n: usize) -> &'static LongTail {
    static LAW: OnceLock<LongTail> = OnceLock::new();
    LAW.get_or_init(|| LongTail::new(n, 1.0, 0.8))
}
