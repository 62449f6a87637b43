//! What an operator reads of it: lines of the log, each said once, and Kubernetes Events.

use announce::election::{Event, Station};
use announce::kernel::Told;
use tracing::{debug, info, warn};

use super::{NoBid, Plan, Shared};
use crate::events::{Notice, Outbox};

/// Says why addresses are not announced, where that is new.
pub(super) fn reasons(plan: &mut Plan) {
    for (address, reason) in plan.take_new_reasons() {
        match reason {
            NoBid::NotAnnounced(_) => info!(%address, %reason, "address is not announced by this node"),
            NoBid::NotProgrammed | NoBid::NoEndpointHere => {
                debug!(%address, %reason, "address is not announced by this node");
            }
        }
    }
}

/// Says what the announcer told.
pub(super) fn say(told: &Told, shared: &Shared, outbox: &Outbox) {
    let interface = told.interface.as_str();
    match &told.event {
        Event::Holds { address, reason } => {
            info!(%address, interface, ?reason, "this node answers for the address");
            leave_for(shared, *address, outbox, |service| Notice::NodeAssigned {
                service,
                address: *address,
                interface: interface.to_owned(),
            });
        }
        Event::Yields { address, to: Some(to) } => {
            info!(%address, interface, %to, "another node answers for the address");
        }
        Event::Yields { address, to: None } => info!(%address, interface, "this node answers for the address no more"),
        Event::Blocked { address, mac, station } => {
            let station = words(station);
            warn!(%address, interface, %mac, station, "a foreign station has the address, it is not taken");
            leave_for(shared, *address, outbox, |service| Notice::AddressConflict {
                service,
                address: *address,
                reason: format!("{mac} on {interface}, {station}, has it already: this node does not take it"),
            });
        }
        Event::Conflict { address, mac, station } => {
            let station = words(station);
            warn!(%address, interface, %mac, station, "a foreign station claims the address, this node goes on");
            leave_for(shared, *address, outbox, |service| Notice::AddressConflict {
                service,
                address: *address,
                reason: format!("{mac} on {interface}, {station}, claims it too: this node goes on answering"),
            });
        }
        Event::PeerHeard(peer) => info!(node = %peer.node, interface, "another announcing node is heard"),
        Event::PeerLost(peer) => warn!(node = %peer.node, interface, "an announcing node is heard no more"),
        Event::SegmentSilent { expected } => {
            warn!(interface, expected, "none of the other nodes is heard: the network may filter their heartbeats");
        }
        Event::Stalled(stalled) => {
            warn!(interface, ?stalled, "this process was stopped, and takes part in the election anew");
        }
        Event::ForeignCluster { cluster, node, mac } => {
            warn!(%cluster, %node, %mac, interface, "another cluster announces in this segment");
        }
        Event::DuplicateNode(mac) => {
            warn!(%mac, interface, "another process announces in this node's name: give each node a name of its own");
        }
        Event::TooManyPeers => {
            warn!(interface, "more nodes announce in this segment than can be listened to");
        }
        other => debug!(interface, event = ?other, "the announcer said"),
    }
}

fn leave_for(
    shared: &Shared,
    address: std::net::IpAddr,
    outbox: &Outbox,
    notice: impl Fn(backend_api::ServiceName) -> Notice,
) {
    let services: Vec<_> = shared.plan().services(address).cloned().collect();
    services.into_iter().for_each(|service| outbox.leave(notice(service)));
}

fn words(station: &Station) -> String {
    match station {
        Station::Peer(node) => format!("another program on node {node}"),
        Station::Cluster { cluster, node } => format!("node {node} of cluster {cluster}"),
        Station::Unknown => "not a node of this cluster".to_owned(),
    }
}
