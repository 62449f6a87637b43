//! Kubernetes objects, of which only what a service proxy reads is kept.
//!
//! ```text
//! text ──► document::read ──► Item::Object(Object) ──► resolve
//!                        └──► Item::Refused (file, line, object: for the log)
//! ```
//!
//! Our own types instead of a full client's: an endpoint takes a seventh of the memory, and whatever else an object
//! holds (managedFields, conditions, selectors) is skipped while reading.
//!
//! **Invariant:** what the API would accept is accepted: null and missing mean the same, unknown fields are nobody's
//! business, and a value that makes no sense (port 70000, address "banana") is kept as written, so that
//! `resolve` drops only that part and can say where it stood.

mod document;
mod endpoints;
mod metadata;
mod node;
mod service;
mod service_cidr;
mod slice;
mod text;

use std::fmt;
use std::sync::Arc;

pub use document::{Item, Refused, read};
pub use endpoints::{Endpoints, EndpointsAddress, EndpointsSubset};
pub use metadata::Metadata;
pub use node::{Node, NodeAddress, NodeLabels, NodeSpec, NodeStatus};
pub use service::{
    AffinityKind, ClientIpConfig, IngressIp, IpMode, LoadBalancerStatus, Service, ServiceLabels, ServicePort,
    ServiceSpec, ServiceStatus, ServiceType, SessionAffinityConfig, TrafficPolicy,
};
pub use service_cidr::{ServiceCidr, ServiceCidrLabels, ServiceCidrSpec};
pub use slice::{AddressType, Conditions, EndpointPort, EndpointSlice, Hints, SliceEndpoint, SliceLabels};
pub use text::{Address, Keyword, Word};

/// An object of one of the kinds that a proxy reads. Cheap to clone: whoever keeps it shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// v1 Service.
    Service(Arc<Service>),
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// v1 Endpoints.
    Endpoints(Arc<Endpoints>),
    /// v1 Node.
    Node(Arc<Node>),
    /// networking.k8s.io/v1 ServiceCIDR.
    ServiceCidr(Arc<ServiceCidr>),
}

/// The kind of an [`Object`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// v1 Service.
    Service,
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice,
    /// v1 Endpoints.
    Endpoints,
    /// v1 Node.
    Node,
    /// networking.k8s.io/v1 ServiceCIDR.
    ServiceCidr,
}

/// Which object: unique in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds that have none.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Object {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Service(service) => service.key(),
            Self::EndpointSlice(slice) => slice.key(),
            Self::Endpoints(endpoints) => endpoints.key(),
            Self::Node(node) => node.key(),
            Self::ServiceCidr(cidr) => cidr.key(),
        }
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Service, Self::EndpointSlice, Self::Endpoints, Self::Node, Self::ServiceCidr];

    /// As `kind:` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Endpoints => "Endpoints",
            Self::Node => "Node",
            Self::ServiceCidr => "ServiceCIDR",
        }
    }

    /// The API group, empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Service | Self::Endpoints | Self::Node => "",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::ServiceCidr => "networking.k8s.io",
        }
    }

    /// Whether its objects live in a namespace.
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::Service | Self::EndpointSlice | Self::Endpoints => true,
            Self::Node | Self::ServiceCidr => false,
        }
    }
}

/// `Service default/web`, `Node node1`.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.is_namespaced() {
            write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
        } else {
            write!(f, "{} {}", self.kind.as_str(), self.name)
        }
    }
}
