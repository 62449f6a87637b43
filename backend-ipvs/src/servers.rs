//! Virtual and real servers as values, and the border between the types of services and those of the kernel.
//!
//! Services speak of [`Family`], [`Mark`] and [`EndpointAddress`]; IPVS of [`VirtualKey`] and socket addresses. They
//! are translated here and nowhere else.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use backend_api::{EndpointAddress, Family, Scheduler};
use backend_nft::marking::{Mark, kernel_family};
use netlink::ipvs::{Flags, Forwarding, RealServer, Thresholds, VirtualKey, VirtualServer};

/// A virtual server with its real servers, as it is or as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) server: VirtualServer,
    pub(crate) reals: BTreeMap<SocketAddr, RealServer>,
}

/// Virtual servers by their keys.
pub(crate) type Servers = BTreeMap<VirtualKey, Server>;

/// What names the virtual server of this mark.
pub(crate) fn key(family: Family, mark: Mark) -> VirtualKey {
    VirtualKey::Mark { family: kernel_family(family), mark: mark.0 }
}

/// The mark of a virtual server of ours, whichever process made it; none for one of another program.
pub(crate) fn our_mark(key: VirtualKey) -> Option<Mark> {
    match key {
        VirtualKey::Mark { mark, .. } => Some(Mark(mark)).filter(|mark| mark.is_ours()),
        VirtualKey::Address { .. } => None,
    }
}

/// Where packets to an endpoint go.
pub(crate) fn socket_address(endpoint: EndpointAddress) -> SocketAddr {
    endpoint.into()
}

/// Which endpoint a real server is.
pub(crate) fn endpoint(real: &RealServer) -> EndpointAddress {
    real.address.into()
}

/// The virtual server of this key.
pub(crate) fn virtual_server(key: VirtualKey, scheduler: Scheduler) -> VirtualServer {
    let flags = match scheduler {
        // Without it clients whose real server has weight 0 are dropped.
        Scheduler::Sh | Scheduler::Mh => Flags::HASH_FALLBACK,
        Scheduler::Rr
        | Scheduler::Wrr
        | Scheduler::Lc
        | Scheduler::Wlc
        | Scheduler::Fo
        | Scheduler::Ovf
        | Scheduler::Lblc
        | Scheduler::Lblcr
        | Scheduler::Dh
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Twos => Flags::NONE,
    };
    VirtualServer { key, scheduler: scheduler.name().to_owned(), flags, persistence: None, engine: None }
}

/// The real server that an endpoint is.
pub(crate) fn real_server(endpoint: EndpointAddress, weight: u32) -> RealServer {
    let address = socket_address(endpoint);
    RealServer { address, forwarding: Forwarding::Masquerade, weight, thresholds: Thresholds::default() }
}

/// Whether one real server does what the other does. Some kernels say of an endpoint on this machine how packets get
/// there.
pub(crate) fn is_same(there: &RealServer, wanted: &RealServer) -> bool {
    without_local(there) == without_local(wanted)
}

fn without_local(real: &RealServer) -> RealServer {
    match real.forwarding {
        Forwarding::Local => RealServer { forwarding: Forwarding::Masquerade, ..*real },
        _ => *real,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedulers_that_hash_fall_back() {
        for scheduler in Scheduler::ALL {
            let hashes = matches!(scheduler, Scheduler::Sh | Scheduler::Mh);
            let server = virtual_server(key(Family::V4, Mark(1)), scheduler);
            assert_eq!(server.flags == Flags::HASH_FALLBACK, hashes, "{scheduler}");
        }
    }

    #[test]
    fn a_virtual_server_is_ours_by_its_mark() {
        let of = |mark| our_mark(key(Family::V6, Mark(mark)));
        assert_eq!(of(0x5300_0001), Some(Mark(0x5300_0001)));
        assert_eq!(of(0x53ff_ffff), Some(Mark(0x53ff_ffff)));
        assert_eq!(of(0x5400_0001), None);
        assert_eq!(of(Mark::DELIVER.0), None, "no virtual server has it");
        let by_address = VirtualKey::Address { protocol: 6, address: [10, 96, 0, 1].into(), port: 80 };
        assert_eq!(our_mark(by_address), None);
    }
}
