//! Elements that say what the node is.

use backend_api::{Family, NodeNetwork};

use crate::ruleset::{Delivery, Element, Key, SetName};

/// The node's elements. Where every address carries node ports, the kernel's routing tables decide which packets are
/// for them; what leaves again is told from translations by others by these elements all the same.
pub(crate) fn node_elements(node: &NodeNetwork, delivery: Delivery) -> Vec<Element> {
    let mut elements = Vec::new();
    for family in Family::ALL {
        for address in node.node_port_addresses(family) {
            elements.push(Element::member(family, SetName::NodeAddresses, Key::Address(address)));
        }
    }
    if delivery == Delivery::Mark {
        for address in &node.addresses {
            elements.push(Element::member(Family::of(*address), SetName::OwnAddresses, Key::Address(*address)));
        }
    }
    elements
}
