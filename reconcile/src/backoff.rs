//! How long to wait after a failure.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(30);

/// Waits that double from 0.1 s to 30 s, each shortened by chance by up to a half, so that the nodes of a cluster that
/// fail together do not retry together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after one more failure.
    pub fn after_failure(&mut self) -> Duration {
        self.after(chance())
    }

    /// Forgets all failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn after(&mut self, chance: f64) -> Duration {
        let whole = FIRST.saturating_mul(2u32.saturating_pow(self.failures)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        let half = whole / 2;
        half + half.mul_f64(chance)
    }
}

/// A number from 0 to 1 by chance.
pub fn chance() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.after(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
        backoff.reset();
        assert_eq!(backoff.after(1.0).as_millis(), 100);
    }

    #[test]
    fn chance_takes_at_most_a_half() {
        assert_eq!(Backoff::default().after(0.0).as_millis(), 50);
        for _ in 0..100 {
            let wait = Backoff::default().after_failure();
            assert!((FIRST / 2..=FIRST).contains(&wait), "{wait:?}");
        }
    }
}
