//! Elements that say what the node is.

use backend_api::{Family, NodeNetwork};

use crate::ruleset::{Element, Key, SetName};

/// The node's elements. Where every address carries node ports the kernel's routing tables decide who is served; what leaves
/// again is told from others' translations by these all the same.
pub(crate) fn node_elements(node: &NodeNetwork) -> Vec<Element> {
    let of_family = |family| {
        node.node_port_addresses(family)
            .map(move |address| Element::member(family, SetName::NodeAddresses, Key::Address(address)))
    };
    Family::ALL.into_iter().flat_map(of_family).collect()
}
