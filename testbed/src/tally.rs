//! Many outcomes counted: how often each place answered, with which source, and whether that is even.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::outcome::Outcome;

/// Outcomes, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by name.
    pub answers: BTreeMap<String, usize>,
    /// Answers by name and by the client's address as the answerer saw it.
    pub sources: BTreeMap<(String, IpAddr), usize>,
    /// Everything that was no answer, in order.
    pub failures: Vec<Outcome>,
    /// How long each answer took, in order.
    pub latencies: Vec<Duration>,
}

/// Whether shares are what they should be, by Pearson's chi-square test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evenness {
    /// The sum of squared deviations, each over what was expected.
    pub deviation: f64,
    /// What it does not exceed by chance, but once in fifty million times.
    pub bound: f64,
}

/// Standard deviations that the bound lies above the mean, in the transformed scale: a one-sided false alarm of 2·10⁻⁸,
/// so that fifty judgements together stay below 10⁻⁶.
const SIGMAS: f64 = 5.5;

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Answered(answer) => {
                *self.answers.entry(answer.name.clone()).or_default() += 1;
                *self.sources.entry((answer.name, answer.source.ip())).or_default() += 1;
                self.latencies.push(answer.latency);
            }
            failure => self.failures.push(failure),
        }
    }

    /// Counts another's too.
    pub fn merge(&mut self, other: Self) {
        for (name, count) in other.answers {
            *self.answers.entry(name).or_default() += count;
        }
        for (seen, count) in other.sources {
            *self.sources.entry(seen).or_default() += count;
        }
        self.failures.extend(other.failures);
        self.latencies.extend(other.latencies);
    }

    /// How many outcomes there were.
    pub fn total(&self) -> usize {
        self.latencies.len() + self.failures.len()
    }

    /// The latency that half of the answers did not exceed.
    pub fn median(&self) -> Option<Duration> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// The longest latency.
    pub fn slowest(&self) -> Option<Duration> {
        self.latencies.iter().max().copied()
    }

    /// Whether the answers are shared out by these weights; nothing to judge with fewer than two names, or with no
    /// answers.
    pub fn evenness(&self, weights: &BTreeMap<String, u32>) -> Option<Evenness> {
        let answers: usize = self.answers.values().sum();
        let whole: u32 = weights.values().sum();
        if weights.len() < 2 || answers == 0 || whole == 0 {
            return None;
        }
        let mut deviation = 0.0;
        for (name, weight) in weights.iter().filter(|(_, weight)| **weight > 0) {
            let expected = answers as f64 * f64::from(*weight) / f64::from(whole);
            let got = self.answers.get(name).copied().unwrap_or(0) as f64;
            deviation += (got - expected).powi(2) / expected;
        }
        Some(Evenness { deviation, bound: bound(weights.len() - 1) })
    }
}

impl Evenness {
    /// Whether chance explains the deviation.
    pub fn is_even(self) -> bool {
        self.deviation <= self.bound
    }
}

impl FromIterator<Outcome> for Tally {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            tally.add(outcome);
        }
        tally
    }
}

/// Upper quantile of the chi-square distribution by Wilson and Hilferty's cube root; for one and two degrees of freedom
/// it errs on the generous side.
fn bound(degrees: usize) -> f64 {
    let degrees = degrees as f64;
    let spread = 2.0 / (9.0 * degrees);
    degrees * (1.0 - spread + SIGMAS * spread.sqrt()).powi(3)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::outcome::Answer;
    use super::*;

    fn tally(counts: &[(&str, usize)]) -> Tally {
        let source: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let answer = |name: &str| Answer { name: name.into(), source, latency: Duration::from_micros(9) };
        counts.iter().flat_map(|(name, count)| (0..*count).map(|_| Outcome::Answered(answer(name)))).collect()
    }

    fn even(names: &[&str]) -> BTreeMap<String, u32> {
        names.iter().map(|name| ((*name).to_owned(), 1)).collect()
    }

    #[test]
    fn chance_passes_and_a_missing_endpoint_does_not() {
        let names = even(&["a", "b", "c"]);
        for (counts, expected) in [
            (vec![("a", 100), ("b", 100), ("c", 100)], true),
            (vec![("a", 120), ("b", 95), ("c", 85)], true),
            (vec![("a", 150), ("b", 150)], false),
            (vec![("a", 200), ("b", 50), ("c", 50)], false),
            // Ten connections prove nothing.
            (vec![("a", 10)], true),
        ] {
            assert_eq!(tally(&counts).evenness(&names).unwrap().is_even(), expected, "{counts:?}");
        }
    }

    /// The next number of a linear congruential generator (Knuth's MMIX), of which the upper bits are good.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*state >> 33).unwrap()
    }

    #[test]
    fn ten_thousand_fair_draws_raise_no_alarm_and_a_tenth_more_for_one_does_in_the_long_run() {
        let names = ["a", "b", "c"];
        let mut state = 1;
        for _ in 0..10_000 {
            let mut counts = [0; 3];
            (0..100).for_each(|_| counts[next(&mut state) % 3] += 1);
            let counts: Vec<_> = names.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect();
            let shares =
                Tally { answers: counts.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect(), ..tally(&[("a", 1)]) };
            assert!(shares.evenness(&even(&names)).unwrap().is_even(), "{counts:?}");
        }
        assert!(!tally(&[("a", 4_000), ("b", 3_000), ("c", 3_000)]).evenness(&even(&names)).unwrap().is_even());
    }

    #[test]
    fn weights_count() {
        let weights = BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 1)]);
        assert!(tally(&[("a", 300), ("b", 100)]).evenness(&weights).unwrap().is_even());
        assert!(!tally(&[("a", 200), ("b", 200)]).evenness(&weights).unwrap().is_even());
    }

    #[test]
    fn the_bound_is_above_the_true_quantile() {
        // For one degree the square of a normal quantile, for two −2 ln p; p = 1.9·10⁻⁸.
        assert!(bound(1) >= SIGMAS.powi(2));
        assert!(bound(2) >= -2.0 * 1.9e-8_f64.ln());
    }

    #[test]
    fn what_is_no_answer_is_kept() {
        let mut tally = tally(&[("a", 2)]);
        tally.add(Outcome::Silent);
        assert_eq!((tally.total(), tally.failures.clone()), (3, vec![Outcome::Silent]));
    }
}
