//! Options of the IPVS backend, and the values that they may have.

use std::str::FromStr;
use std::time::Duration;

use backend_api::{Scheduler, UnknownScheduler};

use super::duration::{DurationError, GoDuration};

/// The configuration of the IPVS backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpvsConfig {
    /// Scheduler of service ports that name none.
    pub scheduler: Scheduler,
    /// Whether the node answers ARP only on the interface that has the address.
    pub strict_arp: bool,
    /// How long IPVS keeps connections.
    pub timeouts: IpvsTimeouts,
    /// How long TCP connections to a removed endpoint may continue.
    pub drain: Duration,
}

/// IPVS's timeouts of connections, in whole seconds; `None` leaves the choice to the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpvsTimeouts {
    /// Idle established TCP connections.
    pub tcp: Option<Duration>,
    /// TCP connections after a FIN.
    pub tcp_fin: Option<Duration>,
    /// UDP flows.
    pub udp: Option<Duration>,
}

/// If `--ipvs-scheduler` is empty. kube-proxy's is `rr`, which is the same for endpoints of equal weight; `wrr` uses
/// other weights too.
pub(super) const DEFAULT_SCHEDULER: Scheduler = Scheduler::Wrr;

/// A day: as long as conntrack remembers an idle connection where kube-proxy sets it up.
const DEFAULT_DRAIN: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for IpvsConfig {
    fn default() -> Self {
        let timeouts = IpvsTimeouts::default();
        Self { scheduler: DEFAULT_SCHEDULER, strict_arp: false, timeouts, drain: DEFAULT_DRAIN }
    }
}

/// A timeout that the kernel can be told: 0 for none, or whole seconds, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelTimeout(pub(super) Option<Duration>);

/// How long a drain may take, in whole seconds, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DrainTimeout(pub(super) Duration);

/// A scheduler's name, or nothing for the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SchedulerName(pub(super) Scheduler);

/// A duration that makes no sense where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PeriodError {
    #[error(transparent)]
    Duration(#[from] DurationError),
    #[error("must be at most {0}")]
    TooLong(&'static str),
}

impl KernelTimeout {
    /// `INT_MAX / HZ` seconds (`ip_vs_set_timeout`), where HZ is 1000.
    const MAX: Duration = Duration::from_secs(i32::MAX as u64 / 1000);
    const MAX_TEXT: &'static str = "596h31m23s";
}

impl DrainTimeout {
    /// Ten years: with the time since boot it still fits a threshold of IPVS.
    const MAX: Duration = Duration::from_secs(87_600 * 3600);
    const MAX_TEXT: &'static str = "87600h";
}

impl FromStr for SchedulerName {
    type Err = UnknownScheduler;

    fn from_str(text: &str) -> Result<Self, UnknownScheduler> {
        if text.is_empty() { Ok(Self(DEFAULT_SCHEDULER)) } else { text.parse().map(Self) }
    }
}

/// Whole seconds, rounded up: half a second is not 0.
fn seconds(text: &str) -> Result<Duration, DurationError> {
    let GoDuration(duration) = text.parse()?;
    Ok(Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0)))
}

impl FromStr for KernelTimeout {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        match seconds(text)? {
            Duration::ZERO => Ok(Self(None)),
            timeout if timeout <= Self::MAX => Ok(Self(Some(timeout))),
            _ => Err(PeriodError::TooLong(Self::MAX_TEXT)),
        }
    }
}

impl FromStr for DrainTimeout {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        match seconds(text)? {
            timeout if timeout <= Self::MAX => Ok(Self(timeout)),
            _ => Err(PeriodError::TooLong(Self::MAX_TEXT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_scheduler_is_the_default_and_every_name_is_taken() {
        assert_eq!("".parse(), Ok(SchedulerName(Scheduler::Wrr)));
        for scheduler in Scheduler::ALL {
            assert_eq!(scheduler.name().parse(), Ok(SchedulerName(scheduler)));
        }
    }

    #[test]
    fn kernel_timeouts_are_whole_seconds_up_to_what_the_kernel_can_count() {
        for (text, seconds) in
            [("0s", None), ("1h30m", Some(5400)), ("1500ms", Some(2)), ("596h31m23s", Some(2_147_483))]
        {
            assert_eq!(text.parse::<KernelTimeout>().unwrap().0, seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!("596h31m24s".parse::<KernelTimeout>(), Err(PeriodError::TooLong("596h31m23s")));
    }

    #[test]
    fn a_drain_takes_as_long_as_told_or_no_time() {
        for (text, hours) in [("0", 0), ("24h", 24), ("87600h", 87_600)] {
            assert_eq!(text.parse(), Ok(DrainTimeout(Duration::from_secs(hours * 3600))), "{text}");
        }
        assert_eq!("87600h1s".parse::<DrainTimeout>(), Err(PeriodError::TooLong("87600h")));
    }
}
