//! What the operator decided about IPVS: kube-proxy's `--ipvs-…` flags, and the drain's.
//!
//! Kept apart from the other flags because one backend alone reads them, and because some are taken for kube-proxy's sake
//! only.

use std::str::FromStr;
use std::time::Duration;

use backend_api::{Cidr, CidrError, Scheduler, UnknownScheduler};
use clap::{ArgAction, Args};

use super::duration::{DurationError, GoDuration};

/// The configuration of the IPVS backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpvsConfig {
    /// Of service ports that name none.
    pub scheduler: Scheduler,
    /// Whether the node answers ARP on the interface alone that has the address.
    pub strict_arp: bool,
    /// How long the kernel remembers connections.
    pub timeouts: IpvsTimeouts,
    /// How long TCP connections to an endpoint that is gone may go on.
    pub drain: Duration,
}

/// The kernel's timeouts for connections of IPVS, in whole seconds; none leaves the choice to the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpvsTimeouts {
    /// Idle established TCP connections.
    pub tcp: Option<Duration>,
    /// TCP connections after a FIN.
    pub tcp_fin: Option<Duration>,
    /// UDP flows.
    pub udp: Option<Duration>,
}

/// Where `--ipvs-scheduler` is empty. kube-proxy's is `rr`, which is the same among endpoints of equal weight; this one
/// minds the others' too.
const DEFAULT_SCHEDULER: Scheduler = Scheduler::Wrr;

/// A day: as long as conntrack remembers an idle connection where kube-proxy sets it up.
const DEFAULT_DRAIN: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for IpvsConfig {
    fn default() -> Self {
        let timeouts = IpvsTimeouts::default();
        Self { scheduler: DEFAULT_SCHEDULER, strict_arp: false, timeouts, drain: DEFAULT_DRAIN }
    }
}

/// Flags of the IPVS backend.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of --backend ipvs")]
pub(super) struct IpvsFlags {
    /// Who chooses the endpoint, where a service's annotation `switchyard.dev/scheduler` names nobody: rr, wrr, lc, wlc, fo,
    /// ovf, lblc, lblcr, sh, mh, sed, nq or twos, as far as the kernel has them. (Not dh, which finds no way round an endpoint
    /// that drains.) Empty is wrr, which is rr where all endpoints weigh the same
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = scheduler)]
    ipvs_scheduler: Scheduler,

    /// Answer ARP on the interface alone that has the address (arp_ignore=1, arp_announce=2)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(action = ArgAction::Set, default_value_t = false, default_missing_value = "true")]
    ipvs_strict_arp: bool,

    /// How long an idle TCP connection is remembered, such as 15m or 1h30m. 0 raises the kernel's own to
    /// nf_conntrack_tcp_timeout_established, and never lowers it
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    ipvs_tcp_timeout: KernelTimeout,

    /// How long a TCP connection is remembered after a FIN. 0 leaves the kernel's own
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    ipvs_tcpfin_timeout: KernelTimeout,

    /// How long a UDP flow is remembered. 0 leaves the kernel's own
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    ipvs_udp_timeout: KernelTimeout,

    /// How long TCP connections to an endpoint that is gone may go on. 0 cuts them within seconds
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    ipvs_drain_timeout: DrainTimeout,

    /// Ranges of other software's virtual servers. Has no effect: virtual servers of other software are never touched,
    /// because ours are known by their marks
    #[arg(long, value_name = "CIDR[,CIDR...]", default_value = "", hide_default_value = true)]
    ipvs_exclude_cidrs: ExcludedCidrs,

    /// How often everything is written again. Has no effect: changes are written as they come, and what others undo is
    /// noticed
    #[arg(long, value_name = "DURATION", default_value = "30s", hide_default_value = true)]
    ipvs_sync_period: SyncPeriod,

    /// How long changes are held back. Has no effect: a change costs what it changes, and those that come during
    /// a sync are taken together
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    ipvs_min_sync_period: GoDuration,
}

/// A timeout that the kernel can be told: 0 for none, or whole seconds, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KernelTimeout(Option<Duration>);

/// How long a drain may take, in whole seconds, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DrainTimeout(Duration);

/// Above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SyncPeriod;

/// Ranges, none if empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ExcludedCidrs;

/// A duration that makes no sense where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum PeriodError {
    #[error(transparent)]
    Duration(#[from] DurationError),
    #[error("must be greater than 0")]
    Zero,
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

impl IpvsFlags {
    /// The configuration that these flags mean.
    pub(super) fn config(&self) -> IpvsConfig {
        let timeouts = IpvsTimeouts {
            tcp: self.ipvs_tcp_timeout.0,
            tcp_fin: self.ipvs_tcpfin_timeout.0,
            udp: self.ipvs_udp_timeout.0,
        };
        IpvsConfig {
            scheduler: self.ipvs_scheduler,
            strict_arp: self.ipvs_strict_arp,
            timeouts,
            drain: self.ipvs_drain_timeout.0,
        }
    }
}

/// Empty means the default, as for kube-proxy.
fn scheduler(text: &str) -> Result<Scheduler, UnknownScheduler> {
    if text.is_empty() { Ok(DEFAULT_SCHEDULER) } else { text.parse() }
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

impl FromStr for SyncPeriod {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        match text.parse()? {
            GoDuration(Duration::ZERO) => Err(PeriodError::Zero),
            _ => Ok(Self),
        }
    }
}

impl FromStr for ExcludedCidrs {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let ranges = text.split(',').map(str::trim).filter(|range| !range.is_empty());
        ranges.map(str::parse::<Cidr>).try_for_each(|range| range.map(drop))?;
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    #[command(args_override_self = true)]
    struct Line {
        #[command(flatten)]
        ipvs: IpvsFlags,
    }

    fn parse(flags: &str) -> Result<IpvsConfig, String> {
        let line = Line::try_parse_from(format!("switchyard {flags}").split_whitespace());
        line.map(|line| line.ipvs.config()).map_err(|error| error.to_string())
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn without_flags_the_configuration_is_the_default() {
        let config = parse("").unwrap();
        assert_eq!(config, IpvsConfig::default());
        assert_eq!((config.scheduler, config.drain), (Scheduler::Wrr, minutes(24 * 60)));
    }

    #[test]
    fn an_empty_scheduler_is_the_default_and_every_name_is_taken() {
        assert_eq!(parse("--ipvs-scheduler=").unwrap().scheduler, Scheduler::Wrr);
        for scheduler in Scheduler::ALL {
            assert_eq!(parse(&format!("--ipvs-scheduler {scheduler}")).unwrap().scheduler, scheduler);
        }
    }

    #[test]
    fn timeouts_are_set_one_by_one_and_0_sets_none() {
        let expected = IpvsTimeouts { tcp: Some(minutes(90)), tcp_fin: None, udp: Some(Duration::from_secs(2)) };
        let config = parse("--ipvs-tcp-timeout=1h30m --ipvs-tcpfin-timeout 0s --ipvs-udp-timeout 1500ms").unwrap();
        assert_eq!(config.timeouts, expected);
        let expected = IpvsTimeouts { tcp_fin: Some(minutes(2)), ..IpvsTimeouts::default() };
        assert_eq!(parse("--ipvs-tcpfin-timeout 2m").unwrap().timeouts, expected);
        let longest = parse("--ipvs-tcp-timeout 596h31m23s").unwrap().timeouts.tcp;
        assert_eq!(longest, Some(KernelTimeout::MAX));
    }

    #[test]
    fn a_drain_takes_as_long_as_told_or_no_time() {
        assert_eq!(parse("--ipvs-drain-timeout 15m").unwrap().drain, minutes(15));
        assert_eq!(parse("--ipvs-drain-timeout 0").unwrap().drain, Duration::ZERO);
        assert_eq!(parse("--ipvs-drain-timeout 87600h").unwrap().drain, DrainTimeout::MAX);
    }

    #[test]
    fn strict_arp_is_written_as_kube_proxy_takes_it() {
        for (flags, expected) in
            [("--ipvs-strict-arp", true), ("--ipvs-strict-arp=true", true), ("--ipvs-strict-arp=false", false)]
        {
            assert_eq!(parse(flags).unwrap().strict_arp, expected, "{flags}");
        }
    }

    #[test]
    fn what_has_no_effect_is_taken_all_the_same() {
        let flags = "--ipvs-exclude-cidrs 10.0.0.0/8,fd00::/8 --ipvs-sync-period 1m --ipvs-min-sync-period 5s";
        assert_eq!(parse(flags).unwrap(), IpvsConfig::default());
        assert_eq!(parse("--ipvs-exclude-cidrs=").unwrap(), IpvsConfig::default());
    }

    #[test]
    fn a_refused_value_is_named_with_its_flag_and_what_is_allowed() {
        let duration = "must be a duration such as 0s, 15m or 1h30m";
        let cases = [
            ("--ipvs-scheduler maglev", "--ipvs-scheduler <NAME>", "maglev", "rr, wrr, lc, wlc, fo, ovf"),
            ("--ipvs-tcp-timeout 15", "--ipvs-tcp-timeout <DURATION>", "15", duration),
            ("--ipvs-tcpfin-timeout=-1s", "--ipvs-tcpfin-timeout <DURATION>", "-1s", "must not be negative"),
            ("--ipvs-udp-timeout 597h", "--ipvs-udp-timeout <DURATION>", "597h", "at most 596h31m23s"),
            ("--ipvs-drain-timeout 1d", "--ipvs-drain-timeout <DURATION>", "1d", duration),
            ("--ipvs-drain-timeout 87600h1s", "--ipvs-drain-timeout <DURATION>", "87600h1s", "at most 87600h"),
            ("--ipvs-sync-period 0s", "--ipvs-sync-period <DURATION>", "0s", "greater than 0"),
            ("--ipvs-min-sync-period=-5s", "--ipvs-min-sync-period <DURATION>", "-5s", "must not be negative"),
            ("--ipvs-exclude-cidrs 10.0.0.0/8,lb", "--ipvs-exclude-cidrs", "lb", "prefix length"),
            ("--ipvs-strict-arp=maybe", "--ipvs-strict-arp", "maybe", "true, false"),
        ];
        for (flags, flag, value, allowed) in cases {
            let error = parse(flags).unwrap_err();
            for part in [flag, value, allowed] {
                assert!(error.contains(part), "{flags}: {part:?} is not in: {error}");
            }
        }
    }
}
