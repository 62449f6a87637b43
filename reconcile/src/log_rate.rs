//! How often the log is told of one subject: what changes all the time fills no log, and hides no other subject.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Lines about one subject that pass at once.
const BURST: u32 = 20;

/// After which time one more passes.
const EVERY: Duration = Duration::from_secs(10);

/// Above this many subjects, those that may say everything again are forgotten.
const REMEMBERED: usize = 1024;

/// Lets lines about each subject pass: twenty at once, and one more every ten seconds.
#[derive(Debug)]
pub struct LogRate<K> {
    subjects: HashMap<K, Subject>,
    /// At how many subjects it is looked which of them can be forgotten.
    crowded: usize,
}

#[derive(Debug)]
struct Subject {
    /// The burst that is used up: above 0 until this time, less by one each [`EVERY`].
    used_until: Instant,
    left_out: u32,
}

impl<K> Default for LogRate<K> {
    fn default() -> Self {
        Self { subjects: HashMap::new(), crowded: REMEMBERED }
    }
}

impl<K: Eq + Hash> LogRate<K> {
    /// Whether a line about `subject` passes at `now`; if so, how many have not since the last one that did.
    pub fn admits(&mut self, subject: K, now: Instant) -> Option<u32> {
        if self.subjects.len() >= self.crowded {
            self.subjects.retain(|_, subject| subject.used_until > now);
            self.crowded = REMEMBERED.max(2 * self.subjects.len());
        }
        let subject = self.subjects.entry(subject).or_insert(Subject { used_until: now, left_out: 0 });
        let used_until = subject.used_until.max(now) + EVERY;
        if used_until > now + EVERY * BURST {
            subject.left_out = subject.left_out.saturating_add(1);
            return None;
        }
        subject.used_until = used_until;
        Some(std::mem::take(&mut subject.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_subject_passes_at_a_rate_and_says_what_was_left_out() {
        let (mut rate, start) = (LogRate::default(), Instant::now());
        let passed = |rate: &mut LogRate<&str>, at| (0..1000).filter_map(|_| rate.admits("a", at)).collect::<Vec<_>>();
        assert_eq!(passed(&mut rate, start), [0; 20]);
        assert_eq!(passed(&mut rate, start + EVERY), [980]);
        assert_eq!(passed(&mut rate, start + 30 * EVERY)[..2], [999, 0]);
    }

    #[test]
    fn subjects_do_not_hold_up_each_other_and_are_forgotten() {
        let (mut rate, start) = (LogRate::default(), Instant::now());
        for number in 0..100_000_u32 {
            assert_eq!(rate.admits(number, start + Duration::from_millis(10) * number), Some(0));
        }
        assert!(rate.subjects.len() < 4 * REMEMBERED, "{}", rate.subjects.len());
    }
}
