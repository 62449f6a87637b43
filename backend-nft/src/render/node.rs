//! Elements that say what the node is.

use std::net::IpAddr;

use backend_api::{Family, NodeNetwork};

use crate::ruleset::{Delivery, Element, Key, SetName};

/// The node's elements. Where every address carries node ports the kernel's routing tables decide who is served; what leaves
/// again is told from others' translations by these all the same.
pub(crate) fn node_elements(node: &NodeNetwork, delivery: Delivery) -> Vec<Element> {
    let of_family = |family| {
        node.node_port_addresses(family)
            .map(move |address| Element::member(family, SetName::NodeAddresses, Key::Address(address)))
    };
    let mut elements: Vec<Element> = Family::ALL.into_iter().flat_map(of_family).collect();
    if delivery == Delivery::Mark {
        let own =
            |address: &IpAddr| Element::member(Family::of(*address), SetName::OwnAddresses, Key::Address(*address));
        elements.extend(node.addresses.iter().map(own));
    }
    elements
}
