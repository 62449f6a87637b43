//! Where the agent answers health checks and tells its metrics.

use std::net::{Ipv4Addr, SocketAddr};

/// The agent's own servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServersConfig {
    /// Where `/healthz` and `/livez` are; none: nowhere.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics`, `/proxyMode` and `/configz` are; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// What it means when one of these addresses cannot be bound.
    pub unbound: Unbound,
    /// Whether metrics tell connections service by service. Each service is a time series then.
    pub connections_by_service: ByService,
}

/// What it means when an address of the agent's own servers cannot be bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unbound {
    /// It is logged and tried again.
    #[default]
    Retried,
    /// The agent ends with an error.
    Fatal,
}

/// How finely connections are counted in metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByService {
    /// Not at all.
    #[default]
    No,
    /// So many services at most, in order of names; the others' are one sum.
    AtMost(usize),
}

impl Unbound {
    /// As `--bind-address-hard-fail` says it.
    pub(super) fn hard_fail(fatal: bool) -> Self {
        if fatal { Self::Fatal } else { Self::Retried }
    }
}

impl ByService {
    /// So many services; 0 is not at all.
    pub(super) fn at_most(services: usize) -> Self {
        if services == 0 { Self::No } else { Self::AtMost(services) }
    }
}

impl Default for ServersConfig {
    fn default() -> Self {
        Self {
            healthz: Some((Ipv4Addr::UNSPECIFIED, 10256).into()),
            metrics: Some((Ipv4Addr::LOCALHOST, 10249).into()),
            unbound: Unbound::Retried,
            connections_by_service: ByService::No,
        }
    }
}
