//! What the operator decides, as far as it concerns resolving: each value in a type that refuses what makes no sense.

mod local_traffic;
mod names;
mod node_ports;

use std::net::IpAddr;
use std::num::NonZeroU32;

pub use local_traffic::{ClusterCidrs, LocalDetector};
pub use names::{InterfaceName, NameError, NodeName};
pub use node_ports::{NodePortSelection, SelectionError};

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
}
