//! Durations by the million in a few kilobytes: a histogram whose buckets are 1 % wide.
//!
//! Kept instead of a list, because a list would grow in the process whose memory is measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets for each power of two.
const FINE: u32 = 64;
/// `log2(FINE)`.
const BITS: u32 = FINE.ilog2();

/// How durations are spread.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    buckets: Vec<u32>,
    count: u64,
    max: u64,
}

/// A spread in four numbers, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// A tenth took no longer.
    #[serde(default)]
    pub p10: f64,
    /// Half took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; bucket(u64::MAX) + 1], count: 0, max: 0 }
    }

    pub(crate) fn add(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// Adds all that `other` has.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// Nothing where nothing was added.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        (self.count > 0).then(|| Percentiles {
            p10: self.percentile(10),
            p50: self.percentile(50),
            p99: self.percentile(99),
            max: self.max as f64 / 1e9,
        })
    }

    /// So many of a hundred took no longer; in seconds, 0 of none.
    pub(crate) fn percentile(&self, percent: u64) -> f64 {
        let mut left = (self.count * percent).div_ceil(100);
        for (index, count) in self.buckets.iter().enumerate() {
            left = left.saturating_sub(u64::from(*count));
            if left == 0 {
                return floor(index).min(self.max) as f64 / 1e9;
            }
        }
        self.max as f64 / 1e9
    }
}

/// Exact up to `2 × FINE`, then `FINE` for each power of two.
fn bucket(value: u64) -> usize {
    let shift = (value | 1).ilog2().saturating_sub(BITS);
    ((shift * FINE) as u64 + (value >> shift)) as usize
}

/// The least value in a bucket.
fn floor(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / u64::from(FINE)).saturating_sub(1);
    (bucket - shift * u64::from(FINE)) << shift
}

impl Default for Spread {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_at_most_two_percent_below_its_values() {
        for value in (0..100_000).chain([1 << 40, (1 << 40) + 12_345, u64::MAX]) {
            let below = floor(bucket(value));
            assert!(below <= value && (value - below) as f64 <= value as f64 / f64::from(FINE), "{value}: {below}");
        }
    }

    #[test]
    fn percentiles_are_of_what_was_added() {
        let mut spread = Spread::new();
        assert_eq!(spread.percentiles(), None);
        (1..=100).for_each(|n| spread.add(Duration::from_nanos(n)));
        assert_eq!(spread.percentiles(), Some(Percentiles { p10: 10e-9, p50: 50e-9, p99: 99e-9, max: 100e-9 }));
    }
}
