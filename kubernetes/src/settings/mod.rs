//! What the operator decides, as far as it concerns resolving: each value is of a type that refuses nonsense.

mod budget;
mod local_traffic;
mod names;
mod node_ports;

use std::net::IpAddr;
use std::num::NonZeroU32;

pub use budget::Budget;
pub use local_traffic::{ClusterCidrs, LocalDetector};
pub use names::{InterfaceName, NameError, NodeName};
pub use node_ports::{NodePortSelection, PrimaryAddress, SelectionError};

/// What the operator decided, as far as it concerns resolving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of this node's Node object.
    pub node_name: NodeName,
    /// The node's own address, in place of the first of its family in the Node object.
    pub node_address: Option<IpAddr>,
    /// How local pods are told from others.
    pub local_traffic: LocalDetector,
    /// Which of the node's addresses carry node ports.
    pub node_ports: NodePortSelection,
    /// Whether connections to cluster addresses carry the node's address, whatever their source.
    pub masquerade_all: bool,
    /// After about how many packets an established connection is handed to a flowtable; never if `None`.
    pub flowtable_after: Option<NonZeroU32>,
    /// How many elements services may have.
    pub budget: Budget,
}

impl Settings {
    /// For the node of this name, with kube-proxy's defaults: node ports at the node's primary addresses, and no
    /// masquerading but where a pod could not be answered otherwise.
    pub fn new(node_name: NodeName, local_traffic: LocalDetector) -> Self {
        Self {
            node_name,
            node_address: None,
            local_traffic,
            node_ports: NodePortSelection::default(),
            masquerade_all: false,
            flowtable_after: None,
            budget: Budget::default(),
        }
    }
}
