//! How often notices are posted: neither one cause that comes and goes nor ten thousand causes may flood the API.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Notice, Subject};

/// How many notices pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How long after a notice the next one of the same reason and subject passes.
    pub again: Duration,
    /// Notices that pass at once, of any kind.
    pub burst: u32,
    /// After which time one more passes.
    pub every: Duration,
}

impl Default for Rate {
    fn default() -> Self {
        Self { again: Duration::from_secs(60), burst: 25, every: Duration::from_secs(5) }
    }
}

/// Lets notices pass at a [`Rate`].
#[derive(Clone, Debug)]
pub struct RateLimiter {
    rate: Rate,
    /// When each last passed.
    passed: HashMap<(Subject, &'static str), Instant>,
    /// The burst that is used up: above 0 until this time, less by one each `every`.
    used_until: Instant,
}

impl RateLimiter {
    /// Nothing has passed before `now`.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, passed: HashMap::new(), used_until: now }
    }

    /// Whether `notice` passes at `now`.
    pub fn admits(&mut self, notice: &Notice, now: Instant) -> bool {
        // Older ones are forgotten, so no more is remembered than can pass in `again`.
        self.passed.retain(|_, at| now < *at + self.rate.again);
        let used = self.used_until.max(now) + self.rate.every;
        let key = (notice.subject(), notice.reason());
        if used > now + self.rate.every * self.rate.burst || self.passed.contains_key(&key) {
            return false;
        }
        self.used_until = used;
        self.passed.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use backend_api::ServiceName;

    use super::*;

    const RATE: Rate = Rate { again: Duration::from_secs(60), burst: 3, every: Duration::from_secs(5) };

    fn refused(service: &str, reason: &str) -> Notice {
        Notice::ServiceRefused { service: ServiceName::new("default", service), reason: reason.to_owned() }
    }

    #[test]
    fn a_cause_that_comes_and_goes_passes_once_in_a_minute() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(RATE, start);
        for (seconds, expected) in [(0..60, 1), (60..120, 1), (300..420, 2)] {
            let passed = seconds
                .clone()
                .map(|second| start + Duration::from_secs(second))
                .filter(|at| limiter.admits(&refused("web", &format!("{at:?}")), *at));
            assert_eq!(passed.count(), expected, "{seconds:?}");
        }
    }

    #[test]
    fn subjects_and_reasons_do_not_hold_up_each_other() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(RATE, start);
        assert!(limiter.admits(&refused("web", ""), start));
        assert!(limiter.admits(&refused("other", ""), start));
        assert!(limiter.admits(&Notice::Started, start));
    }

    #[test]
    fn many_at_once_pass_no_faster_than_the_rate() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(RATE, start);
        let mut passed = |second, first| {
            let at = start + Duration::from_secs(second);
            (first..first + 1000).filter(|i| limiter.admits(&refused(&format!("web-{i}"), ""), at)).count()
        };
        assert_eq!(passed(0, 0), 3);
        assert_eq!(passed(4, 10_000), 0);
        assert_eq!(passed(5, 20_000), 1);
        assert_eq!(passed(15, 30_000), 2);
        assert_eq!(passed(1000, 40_000), 3);
        assert!(limiter.passed.len() <= 3, "nothing is remembered for longer than needed");
    }
}
