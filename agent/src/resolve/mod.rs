//! Kubernetes' judgements: objects in, desired state out. Pure.
//!
//! ```text
//! Service ──► selection ──► addresses, source_ranges ──────────────┐
//! EndpointSlice, Endpoints ──► candidates ─► endpoints ─► topology ─► policies ──► backend_api::Service
//! Node, ServiceCIDR, the node's addresses ──► node ────────────────┴───────────► backend_api::NodeNetwork
//! ```
//!
//! [`service::resolve`] answers for one service; [`Resolver`] knows all objects and resolves what a change
//! concerns. Nothing here fails: a value that makes no sense costs itself alone, and is a [`Warning`].
//!
//! **Invariant:** what comes out depends on the objects alone, not on the order in which they came
//! (`tests/resolve/resolver.rs::order_of_arrival_decides_nothing`).

mod addresses;
mod affinity;
mod age;
mod candidates;
mod endpoints;
mod masquerade;
mod node;
mod notation;
mod on_node;
mod policies;
mod resolver;
mod scheduler;
mod selection;
pub mod service;
mod source_ranges;
mod topology;
mod warning;

pub use node::{InKernel, NodeFacts, NodeResolution, resolve_node};
pub use on_node::{HealthCheck, NoLocalEndpoints, OnNode};
pub use resolver::{Applied, Changes, Resolver};
pub use selection::Skip;
pub use service::Resolution;
pub use warning::{Problem, Warning};

use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::config::{Config, LocalDetector, NodeName, NodePortSelection};

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
    /// Whether connections to cluster addresses carry the node's address whoever dials.
    pub masquerade_all: bool,
    /// After about how many packets an established connection is handed to a flowtable; never if `None`.
    pub flowtable_after: Option<NonZeroU32>,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            node_name: config.node_name.clone(),
            node_address: config.node_address,
            local_traffic: config.local_traffic.clone(),
            node_ports: config.node_ports.clone(),
            masquerade_all: config.masquerade_all,
            flowtable_after: config.flowtable_after,
        }
    }
}
