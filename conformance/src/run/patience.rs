//! How patient probes are on this machine: every deadline, and every silence, by one declared factor.
//!
//! An emulated processor is an order of magnitude slower than the one that the deadlines were written for. What is
//! awaited stays the same; only how long it may take, and how long silence must last, grow.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

/// The variable that declares the factor; 1 without it. The virtual machine sets it.
pub const PATIENCE: &str = "SWITCHYARD_PATIENCE";

/// Seconds; no scenario waits longer for a client to be forgotten.
const LONGEST_AWAITED: u64 = 5;

/// How long to wait on this machine for what takes `duration` at most on a machine of its own.
///
/// # Panics
/// If the declared factor is not a whole number above 0: a typing error must not make silence shorter.
pub(super) fn patient(duration: Duration) -> Duration {
    duration * declared()
}

/// Stretches a Service's affinity timeout by the same factor, so that clients that come and pause, which do so more
/// slowly too, meet what they would elsewhere. Only where a scenario can wait for its end.
///
/// # Panics
/// As [`patient`] does.
pub(super) fn stretch_affinity(object: &mut Value) {
    if let Some(timeout) = object.pointer_mut("/spec/sessionAffinityConfig/clientIP/timeoutSeconds")
        && let Some(seconds) = timeout.as_u64().filter(|seconds| *seconds <= LONGEST_AWAITED)
    {
        *timeout = (seconds * u64::from(declared())).into();
    }
}

fn declared() -> u32 {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    *FACTOR.get_or_init(|| factor(std::env::var(PATIENCE).ok().as_deref()))
}

fn factor(declared: Option<&str>) -> u32 {
    let Some(declared) = declared else { return 1 };
    let factor = declared.parse().ok().filter(|factor| *factor > 0);
    factor.unwrap_or_else(|| panic!("{PATIENCE}={declared}: not a whole number above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_declared_factor_nothing_is_stretched() {
        assert_eq!((factor(None), factor(Some("4"))), (1, 4));
    }

    #[test]
    #[should_panic(expected = "not a whole number above 0")]
    fn a_factor_that_makes_no_sense_is_an_error() {
        factor(Some("0"));
    }
}
