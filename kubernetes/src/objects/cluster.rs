//! The objects that belong to no namespace: v1 Node and Namespace, and networking.k8s.io/v1 ServiceCIDR (KEP-1880).

use serde::{Deserialize, Deserializer};

use super::labels::{AllLabels, NodeLabels};
use super::metadata::or_default;
use super::{Address, Kind, Metadata, ObjectKey};

/// v1 Node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Node {
    /// `metadata`.
    pub metadata: Metadata<NodeLabels>,
    /// `spec`.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: NodeSpec,
    /// `status`.
    #[serde(default, deserialize_with = "or_default")]
    pub status: NodeStatus,
}

/// `spec` of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// `podCIDR`; the first of `podCIDRs` where both are there.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<Box<str>>,
    /// `podCIDRs`, at most one of each family.
    #[serde(rename = "podCIDRs", deserialize_with = "or_default")]
    pub pod_cidrs: Box<[Box<str>]>,
    /// `taints`.
    #[serde(deserialize_with = "or_default")]
    pub taints: Box<[Taint]>,
}

/// One of `spec.taints` of a Node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Taint {
    /// `key`.
    pub key: Box<str>,
}

/// `status` of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// `addresses`.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Box<[NodeAddress]>,
    /// Whether the condition `NetworkUnavailable` is true. Of the others nothing is kept: they change each minute.
    #[serde(rename = "conditions", deserialize_with = "network_unavailable")]
    pub network_unavailable: bool,
}

fn network_unavailable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Condition {
        #[serde(rename = "type", deserialize_with = "or_default")]
        condition_type: String,
        #[serde(deserialize_with = "or_default")]
        status: String,
    }
    let conditions: Vec<Condition> = or_default(deserializer)?;
    Ok(conditions
        .iter()
        .any(|condition| condition.condition_type == "NetworkUnavailable" && condition.status == "True"))
}

/// One of `status.addresses` of a Node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NodeAddress {
    /// `type`: `InternalIP`, `ExternalIP`, `Hostname`, …
    #[serde(rename = "type")]
    pub address_type: Box<str>,
    /// `address`.
    pub address: Address,
}

/// v1 Namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Namespace {
    /// `metadata`.
    pub metadata: Metadata<AllLabels>,
}

impl Namespace {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key(Kind::Namespace)
    }
}

impl Node {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key(Kind::Node)
    }
}

/// networking.k8s.io/v1 ServiceCIDR.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServiceCidr {
    /// `metadata`.
    pub metadata: Metadata<ServiceCidrLabels>,
    /// `spec`.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: ServiceCidrSpec,
}

/// The labels of a ServiceCIDR that a proxy reads: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ServiceCidrLabels {}

/// `spec` of a ServiceCIDR.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServiceCidrSpec {
    /// `cidrs`: one of each family, or one.
    #[serde(deserialize_with = "or_default")]
    pub cidrs: Box<[Box<str>]>,
}

impl ServiceCidr {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key(Kind::ServiceCidr)
    }
}
