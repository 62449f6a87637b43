//! What rules ask of a packet: which frontend it is for, whether a local pod sent it, whether it is for the node.

use backend_api::{Family, LocalTraffic, NodeNetwork, NodePortAddresses};

use crate::ruleset::{By, Field, SetName, Statement};

/// The fields of a frontend's key.
pub(super) fn frontend(by: By) -> Vec<Field> {
    match by {
        By::Address => vec![Field::Destination, Field::Protocol, Field::Port],
        By::NodePort => vec![Field::Protocol, Field::Port],
    }
}

/// The fields of a frontend's key, and one more.
pub(super) fn frontend_and(by: By, field: Field) -> Vec<Field> {
    let mut fields = frontend(by);
    fields.push(field);
    fields
}

/// How a local pod is told from others; none where it cannot be.
pub(super) fn from_pod(node: &NodeNetwork, family: Family) -> Option<Statement> {
    match node.local_traffic.of(family) {
        LocalTraffic::Unknown => None,
        LocalTraffic::Source(range) => (range.family() == family).then_some(Statement::SourceIn(*range)),
        LocalTraffic::Bridge(name) => could_be_interface(name).then(|| Statement::EnteredThrough(name.clone())),
        LocalTraffic::InterfacePrefix(prefix) => {
            could_be_interface(prefix).then(|| Statement::EnteredThroughPrefix(prefix.clone()))
        }
    }
}

/// The kernel compares at most 15 characters; no interface has a longer name.
fn could_be_interface(name: &str) -> bool {
    (1..=15).contains(&name.len())
}

/// That the packet was sent to an address that carries node ports.
pub(super) fn to_node(node: &NodeNetwork, family: Family) -> Vec<Statement> {
    match node.node_ports.of(family) {
        NodePortAddresses::All => vec![Statement::DestinationIsLocal, Statement::DestinationNotLoopback],
        NodePortAddresses::These(_) => vec![Statement::In(vec![Field::Destination], SetName::NodeAddresses)],
    }
}
