//! What is counted, as plain numbers that metrics read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use backend_api::{Family, PerFamily, Protocol};

/// Numbers since the start; all but listeners, connections and flows only grow.
#[derive(Debug, Default)]
pub struct Counts {
    listeners: PerFamily<AtomicU64>,
    failures: PerFamily<AtomicU64>,
    rejected: PerFamily<PerTransport>,
    connections: AtomicU64,
    flows: AtomicU64,
}

#[derive(Debug, Default)]
struct PerTransport {
    tcp: AtomicU64,
    udp: AtomicU64,
    sctp: AtomicU64,
}

/// Counts one more, for as long as this lives.
#[derive(Debug)]
pub(super) struct Counted<'a>(&'a AtomicU64);

impl Counts {
    /// Ports that are listened on now (`kubeproxy_nftables_localhost_nodeport_listeners`).
    pub fn listeners(&self, family: Family) -> u64 {
        self.listeners.of(family).load(Relaxed)
    }

    /// Ports that could not be listened on, each once until it could
    /// (`kubeproxy_nftables_localhost_nodeport_listener_creation_failures_total`).
    pub fn failures(&self, family: Family) -> u64 {
        self.failures.of(family).load(Relaxed)
    }

    /// Connections reset and datagrams dropped by the agent: too many at the same time, or no endpoint took them. What
    /// the kernel refuses because nothing listens is not counted, so SCTP's are always 0
    /// (`kubeproxy_nftables_localhost_nodeport_rejected_packets_total`).
    pub fn rejected(&self, family: Family, protocol: Protocol) -> u64 {
        self.rejected_of(family, protocol).load(Relaxed)
    }

    /// TCP connections that are forwarded now, or for which an endpoint is dialled.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// UDP flows that are forwarded now.
    pub fn flows(&self) -> u64 {
        self.flows.load(Relaxed)
    }

    pub(super) fn failed_one(&self, family: Family) {
        self.failures.of(family).fetch_add(1, Relaxed);
    }

    pub(super) fn rejected_one(&self, family: Family, protocol: Protocol) {
        self.rejected_of(family, protocol).fetch_add(1, Relaxed);
    }

    pub(super) fn listener(&self, family: Family) -> Counted<'_> {
        Counted::one_more(self.listeners.of(family))
    }

    pub(super) fn connection(&self) -> Counted<'_> {
        Counted::one_more(&self.connections)
    }

    pub(super) fn flow(&self) -> Counted<'_> {
        Counted::one_more(&self.flows)
    }

    fn rejected_of(&self, family: Family, protocol: Protocol) -> &AtomicU64 {
        let PerTransport { tcp, udp, sctp } = self.rejected.of(family);
        match protocol {
            Protocol::Tcp => tcp,
            Protocol::Udp => udp,
            Protocol::Sctp => sctp,
        }
    }
}

impl<'a> Counted<'a> {
    fn one_more(number: &'a AtomicU64) -> Self {
        number.fetch_add(1, Relaxed);
        Self(number)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
