//! How a real server that leaves keeps its connections: weight 0, and a deadline in the upper threshold.
//!
//! The upper threshold means nothing to the kernel while the weight is 0, and it outlives this process. So a restarted
//! process finds the deadline where this one wrote it.

use std::time::Duration;

use backend_api::Protocol;
use netlink::ipvs::{RealServer, RealServerEntry, Thresholds};

/// When connections of a real server are cut, in seconds since boot. Never 0: that means no deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(u32);

impl Deadline {
    /// That of a real server that begins to drain `now` (seconds since boot), for the time of `drain`.
    pub(crate) fn after(now: u32, drain: Duration) -> Self {
        let seconds = u32::try_from(drain.as_secs()).unwrap_or(u32::MAX);
        Self(now.saturating_add(seconds).max(1))
    }
}

/// Whether connections of this protocol end with their frontend and their endpoint. Those of TCP go on until they are
/// done, as in the nftables backend, where only entries of the others are deleted from conntrack.
pub(crate) fn ends_at_once(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Tcp => false,
        Protocol::Udp | Protocol::Sctp => true,
    }
}

/// The same real server, draining from now on.
pub(crate) fn draining(real: &RealServer, Deadline(upper): Deadline) -> RealServer {
    RealServer { weight: 0, thresholds: Thresholds { upper, lower: 0 }, ..*real }
}

/// Whether a real server has a deadline.
pub(crate) fn drains(real: &RealServer) -> bool {
    real.weight == 0 && real.thresholds.upper > 0
}

/// Whether a real server that gets nothing new can go: it has no connection, or its deadline is over.
pub(crate) fn is_done(entry: &RealServerEntry, now: u32) -> bool {
    let is_idle = entry.connections.active == 0 && entry.connections.inactive == 0;
    is_idle || (drains(&entry.server) && entry.server.thresholds.upper <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_none_and_never_wraps() {
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(Deadline::after(100, day), Deadline(86_500));
        assert_eq!(Deadline::after(0, Duration::ZERO), Deadline(1));
        assert_eq!(Deadline::after(100, Duration::MAX), Deadline(u32::MAX));
    }
}
