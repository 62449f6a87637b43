//! Random numbers that depend on the seed alone (xorshift64*).

#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1);
        for _ in 0..4 {
            random.number();
        }
        random
    }

    fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From `low` to `high`, without `high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + (self.number() >> 11) % (high - low)
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.between(0, length as u64) as usize
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.between(0, 100) < percent
    }
}
