//! What the agent sets on the node once, whatever its services: connection tracking, and how the kernel picks whom to kill.

use std::time::Duration;

/// What is set on the node at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// How large connection tracking may grow, and how long it remembers.
    pub conntrack: ConntrackConfig,
    /// `oom_score_adj` of the agent, −1000 to 1000; none leaves it.
    pub oom_score_adj: Option<i16>,
}

/// kube-proxy's `conntrack` section. Nothing given, or zero, leaves the kernel's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConntrackConfig {
    /// Entries for each processor.
    pub max_per_core: Option<u32>,
    /// Entries at least, whatever the number of processors.
    pub min: Option<u32>,
    /// `nf_conntrack_tcp_timeout_established`.
    pub tcp_established_timeout: Option<Duration>,
    /// `nf_conntrack_tcp_timeout_close_wait`.
    pub tcp_close_wait_timeout: Option<Duration>,
    /// `nf_conntrack_tcp_be_liberal`: set where this is true, and never reset.
    pub tcp_be_liberal: bool,
    /// `nf_conntrack_udp_timeout`.
    pub udp_timeout: Option<Duration>,
    /// `nf_conntrack_udp_timeout_stream`.
    pub udp_stream_timeout: Option<Duration>,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self { conntrack: ConntrackConfig::default(), oom_score_adj: Some(-999) }
    }
}

/// As kube-proxy's.
impl Default for ConntrackConfig {
    fn default() -> Self {
        Self {
            max_per_core: Some(32 * 1024),
            min: Some(128 * 1024),
            tcp_established_timeout: Some(Duration::from_secs(24 * 3600)),
            tcp_close_wait_timeout: Some(Duration::from_secs(3600)),
            tcp_be_liberal: false,
            udp_timeout: None,
            udp_stream_timeout: None,
        }
    }
}
