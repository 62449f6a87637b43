//! How long to wait after a failure.
//!
//! **Invariant:** pure: how long something has failed is passed, and chance too.
//!
//! A wait is a part of the time for which something has failed already: what has just failed is asked again soon, what
//! fails for long seldom, and what comes back is noticed after a small part of its absence. All are shortened by chance
//! by up to a half, because all nodes of a cluster fail together.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);

/// The part of the time.
const PART: u32 = 8;

/// The longest wait between two attempts to reach an API that is away. A server that is back, after a second or an hour,
/// is found within it.
pub(super) const SCOUT: Duration = Duration::from_millis(1500);

/// The longest wait where the credentials are refused: each attempt costs a handshake, and files that change are seen.
pub(super) const UNAUTHORIZED: Duration = Duration::from_secs(10);

/// The longest wait where others are answered, or ask for us.
pub(super) const LONG: Duration = Duration::from_secs(30);

/// The longest wait for a kind that a cluster need not have, and the only one where the server does not know it.
pub(super) const OPTIONAL: Duration = Duration::from_secs(1200);

/// The longest wait that a server may demand; API servers demand up to 32 seconds.
pub(super) const DEMANDED: Duration = Duration::from_secs(32);

/// The wait after one more failure of what has failed for this long.
pub(super) fn after(failing_for: Duration, longest: Duration, chance: f64) -> Duration {
    spread((failing_for / PART).clamp(FIRST, longest), chance)
}

/// This long, or less by chance.
pub(super) fn spread(longest: Duration, chance: f64) -> Duration {
    let half = longest / 2;
    half + half.mul_f64(chance)
}

/// What a server demands, up to a bound; somewhat more by chance, because it sends many clients away together.
pub(super) fn demanded(by_server: Duration, chance: f64) -> Duration {
    let demanded = by_server.min(DEMANDED);
    demanded + demanded.mul_f64(chance / 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts until `end`, and when the first one after it is.
    fn attempts(end: Duration, longest: Duration, chance: f64) -> (u32, Duration) {
        let (mut now, mut count) = (Duration::ZERO, 0);
        while now < end {
            now += after(now, longest, chance);
            count += 1;
        }
        (count, now - end)
    }

    #[test]
    fn a_server_that_is_back_is_found_within_two_seconds_after_any_outage() {
        for seconds in [0.1, 0.5, 2.0, 10.0, 30.0, 60.0, 600.0, 3600.0] {
            for chance in [0.0, 0.5, 1.0] {
                let (_, late) = attempts(Duration::from_secs_f64(seconds), SCOUT, chance);
                assert!(late <= Duration::from_millis(1500), "{seconds} s: {late:?}");
            }
        }
    }

    #[test]
    fn what_fails_for_long_is_asked_seldom() {
        let hour = Duration::from_secs(3600);
        for (longest, most) in [(SCOUT, 5000), (UNAUTHORIZED, 850), (LONG, 350), (OPTIONAL, 160)] {
            let (count, _) = attempts(hour, longest, 0.0);
            assert!(count <= most, "{longest:?}: {count}");
        }
    }

    #[test]
    fn many_nodes_do_not_ask_together() {
        let waits: Vec<_> = (0..=10).map(|tenth| after(LONG, SCOUT, f64::from(tenth) / 10.0)).collect();
        assert!(waits.is_sorted());
        assert_eq!((waits[0], waits[10]), (SCOUT / 2, SCOUT));
    }

    #[test]
    fn what_a_server_demands_is_kept_within_a_bound() {
        let demand = |seconds| demanded(Duration::from_secs(seconds), 1.0);
        assert_eq!(demand(0), Duration::ZERO);
        assert_eq!(demand(8), Duration::from_secs(9));
        assert_eq!(demand(u64::MAX), Duration::from_secs(36));
    }
}
