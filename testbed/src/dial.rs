//! What to dial, and how. Plain data: probes, places and loads take it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use backend_api::Protocol;

/// What to dial, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The protocol.
    pub protocol: Protocol,
    /// The address and port to dial.
    pub to: SocketAddr,
    /// From where; the kernel chooses an unspecified address or a port 0, as bind(2) has it.
    pub from: SocketAddr,
    /// How long silence is waited for.
    pub deadline: Duration,
}

impl Dial {
    /// From an address and port of the kernel's choice, waiting for a second.
    pub fn new(protocol: Protocol, to: SocketAddr) -> Self {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        Self { protocol, to, from: SocketAddr::new(any, 0), deadline: Duration::from_secs(1) }
    }

    /// From this address and port.
    #[must_use]
    pub fn from(self, from: SocketAddr) -> Self {
        Self { from, ..self }
    }

    /// Waiting so long.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}
