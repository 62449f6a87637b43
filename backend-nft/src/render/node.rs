//! Elements that say what the node is.

use backend_api::{Family, NodeNetwork, NodePortAddresses};

use crate::ruleset::{Element, Key, SetName};

/// The node's elements. None where any of its addresses carries node ports: then the kernel's routing tables are asked.
pub(crate) fn node_elements(node: &NodeNetwork) -> Vec<Element> {
    let mut elements = Vec::new();
    for family in Family::ALL {
        let NodePortAddresses::These(addresses) = node.node_ports.of(family) else { continue };
        let ours = addresses.iter().filter(|address| Family::of(**address) == family && !address.is_loopback());
        elements.extend(ours.map(|address| Element::member(family, SetName::NodeAddresses, Key::Address(*address))));
    }
    elements
}
