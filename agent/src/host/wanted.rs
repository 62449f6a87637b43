//! Which settings a configuration leads to on a node of this size, and which of them have to be made.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::config::{ConntrackConfig, HostConfig};

/// A setting of the node, without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Knob {
    /// How many connections are tracked at most.
    ConntrackMax,
    /// Into how many lists they are hashed.
    ConntrackBuckets,
    /// Seconds for which an established TCP connection is remembered.
    TcpEstablished,
    /// Seconds for which a TCP connection is remembered that one side has closed.
    TcpCloseWait,
    /// Whether TCP packets outside of the window belong to their connection.
    TcpBeLiberal,
    /// Seconds for which a UDP flow is remembered that had no answer.
    Udp,
    /// Seconds for which a UDP flow is remembered that had answers.
    UdpStream,
    /// How likely the kernel kills this process when memory is short.
    OomScoreAdj,
}

/// A knob and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    /// Which.
    pub knob: Knob,
    /// Its value.
    pub value: i64,
}

/// What is set now, as far as it can be read.
pub type Present = BTreeMap<Knob, i64>;

/// The most that kube-proxy derives from the number of processors, since 1.36: an entry takes some 300 bytes that the
/// kernel never swaps.
const SCALED_AT_MOST: u64 = 1 << 20;

/// Connections in one list, on average, when the table is full.
const CONNECTIONS_IN_A_BUCKET: i64 = 4;

/// The settings to make, in this order, on a node with so many processors. What is as it should be is not among them.
pub fn wanted(config: &HostConfig, cores: u32, present: &Present) -> Vec<Setting> {
    let mut all = conntrack(&config.conntrack, cores, present);
    all.extend(config.oom_score_adj.map(|value| Setting { knob: Knob::OomScoreAdj, value: value.into() }));
    all.retain(|setting| present.get(&setting.knob) != Some(&setting.value));
    all
}

/// What `config` leads to and is not set, because the node has more: another program, or the operator, made room for
/// more connections.
pub(super) fn kept(config: &HostConfig, cores: u32, present: &Present) -> Option<Setting> {
    let value = most(&config.conntrack, cores)?;
    let more = present.get(&Knob::ConntrackMax).is_some_and(|now| *now > value);
    more.then_some(Setting { knob: Knob::ConntrackMax, value })
}

fn conntrack(config: &ConntrackConfig, cores: u32, present: &Present) -> Vec<Setting> {
    let max = most(config, cores);
    let raised = max.filter(|least| present.get(&Knob::ConntrackMax).is_none_or(|now| now < least));
    // Fewer lists than these make every packet slower when the table is full; more of them do no harm.
    let buckets = max.map(|max| max / CONNECTIONS_IN_A_BUCKET);
    let buckets = buckets.filter(|least| present.get(&Knob::ConntrackBuckets).is_some_and(|now| now < least));
    let values = [
        (Knob::ConntrackMax, raised),
        (Knob::ConntrackBuckets, buckets),
        (Knob::TcpEstablished, seconds(config.tcp_established_timeout)),
        (Knob::TcpCloseWait, seconds(config.tcp_close_wait_timeout)),
        (Knob::TcpBeLiberal, config.tcp_be_liberal.then_some(1)),
        (Knob::Udp, seconds(config.udp_timeout)),
        (Knob::UdpStream, seconds(config.udp_stream_timeout)),
    ];
    values.into_iter().filter_map(|(knob, value)| Some(Setting { knob, value: value? })).collect()
}

/// How many connections are tracked at most; none leaves it. The bound holds for the number that follows from the
/// processors, not for a configured minimum.
fn most(config: &ConntrackConfig, cores: u32) -> Option<i64> {
    let per_core = config.max_per_core.filter(|per_core| *per_core > 0)?;
    let scaled = (u64::from(per_core) * u64::from(cores)).min(SCALED_AT_MOST);
    let most = scaled.max(config.min.unwrap_or(0).into());
    i64::try_from(most).ok()
}

/// Whole seconds, which is what the kernel counts in. Zero leaves it; less than a second is one.
fn seconds(timeout: Option<Duration>) -> Option<i64> {
    let timeout = timeout.filter(|timeout| !timeout.is_zero())?;
    i64::try_from(timeout.as_secs().max(1)).ok()
}

impl Knob {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::ConntrackMax,
        Self::ConntrackBuckets,
        Self::TcpEstablished,
        Self::TcpCloseWait,
        Self::TcpBeLiberal,
        Self::Udp,
        Self::UdpStream,
        Self::OomScoreAdj,
    ];

    /// Its file, below the root.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ConntrackMax => "proc/sys/net/netfilter/nf_conntrack_max",
            // Beside its siblings since Linux 4.8. The same number as /sys/module/nf_conntrack/parameters/hashsize,
            // which is read-only in more containers.
            Self::ConntrackBuckets => "proc/sys/net/netfilter/nf_conntrack_buckets",
            Self::TcpEstablished => "proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established",
            Self::TcpCloseWait => "proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait",
            Self::TcpBeLiberal => "proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal",
            Self::Udp => "proc/sys/net/netfilter/nf_conntrack_udp_timeout",
            Self::UdpStream => "proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream",
            Self::OomScoreAdj => "proc/self/oom_score_adj",
        }
    }
}

/// As sysctl(8) knows it: `net.netfilter.nf_conntrack_max`.
impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path().strip_prefix("proc/sys/") {
            Some(path) => f.write_str(&path.replace('/', ".")),
            None => f.write_str("oom_score_adj"),
        }
    }
}

/// `net.netfilter.nf_conntrack_max=131072`
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.knob, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: ConntrackConfig = ConntrackConfig {
        max_per_core: None,
        min: None,
        tcp_established_timeout: None,
        tcp_close_wait_timeout: None,
        tcp_be_liberal: false,
        udp_timeout: None,
        udp_stream_timeout: None,
    };

    fn check(conntrack: ConntrackConfig, cores: u32, present: &[(Knob, i64)], expected: &[(Knob, i64)]) {
        let config = HostConfig { conntrack, oom_score_adj: None };
        let settings = wanted(&config, cores, &present.iter().copied().collect());
        let found: Vec<_> = settings.iter().map(|setting| (setting.knob, setting.value)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_table_grows_with_the_processors_between_two_bounds() {
        let sized = |max_per_core, min| ConntrackConfig { max_per_core, min, ..NOTHING };
        let usual = sized(Some(32_768), Some(131_072));
        for (config, cores, expected) in [
            (usual.clone(), 1, Some(131_072)),
            (usual.clone(), 4, Some(131_072)),
            (usual.clone(), 6, Some(196_608)),
            (usual.clone(), 32, Some(1_048_576)),
            (usual, 128, Some(1_048_576)),
            (sized(Some(32_768), Some(2_000_000)), 128, Some(2_000_000)),
            (sized(Some(u32::MAX), None), u32::MAX, Some(1_048_576)),
            (sized(Some(1_000), None), 2, Some(2_000)),
            (sized(Some(0), Some(131_072)), 4, None),
            (sized(None, Some(131_072)), 4, None),
        ] {
            let expected: Vec<_> = expected.map(|value| (Knob::ConntrackMax, value)).into_iter().collect();
            check(config, cores, &[], &expected);
        }
    }

    #[test]
    fn room_for_more_connections_is_kept() {
        let config = ConntrackConfig { max_per_core: Some(1_000), ..NOTHING };
        check(config.clone(), 4, &[(Knob::ConntrackMax, 3_999)], &[(Knob::ConntrackMax, 4_000)]);
        let config = HostConfig { conntrack: config, oom_score_adj: None };
        for (now, expected) in [(3_999, None), (4_000, None), (262_144, Some(4_000))] {
            let present = [(Knob::ConntrackMax, now)].into();
            let kept = kept(&config, 4, &present).map(|setting| setting.value);
            assert_eq!((kept, wanted(&config, 4, &present).is_empty()), (expected, now >= 4_000), "{now}");
        }
    }

    #[test]
    fn buckets_are_added_and_never_taken() {
        let config = ConntrackConfig { max_per_core: Some(1_000), ..NOTHING };
        let max = (Knob::ConntrackMax, 4_000);
        check(config.clone(), 4, &[(Knob::ConntrackBuckets, 999)], &[max, (Knob::ConntrackBuckets, 1_000)]);
        check(config.clone(), 4, &[(Knob::ConntrackBuckets, 1_000)], &[max]);
        check(config, 4, &[(Knob::ConntrackBuckets, 65_536), max], &[]);
    }

    #[test]
    fn what_is_right_is_left_and_what_is_not_said_is_left() {
        let hour = Some(Duration::from_secs(3600));
        let config = ConntrackConfig { tcp_close_wait_timeout: hour, udp_timeout: Some(Duration::ZERO), ..NOTHING };
        check(config.clone(), 1, &[(Knob::TcpCloseWait, 3600), (Knob::TcpBeLiberal, 1)], &[]);
        check(config.clone(), 1, &[(Knob::TcpCloseWait, 60)], &[(Knob::TcpCloseWait, 3600)]);
        check(config, 1, &[], &[(Knob::TcpCloseWait, 3600)]);
        let brief = ConntrackConfig { udp_timeout: Some(Duration::from_millis(300)), tcp_be_liberal: true, ..NOTHING };
        check(brief, 1, &[(Knob::TcpBeLiberal, 0)], &[(Knob::TcpBeLiberal, 1), (Knob::Udp, 1)]);
    }
}
