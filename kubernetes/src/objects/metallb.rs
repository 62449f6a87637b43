//! Objects of metallb.io: IPAddressPool and L2Advertisement, and the kinds that are not served.

use allocation::Labels;
use serde::Deserialize;

use super::labels::AllLabels;
use super::metadata::or_default;
use super::{Kind, Metadata, ObjectKey};

/// metallb.io/v1beta1 IPAddressPool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IpAddressPool {
    /// `metadata`.
    pub metadata: Metadata<AllLabels>,
    /// `spec`.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: IpAddressPoolSpec,
    /// `status`.
    #[serde(default, deserialize_with = "or_default")]
    pub status: IpAddressPoolStatus,
}

/// `spec` of an IPAddressPool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IpAddressPoolSpec {
    /// `addresses`: blocks, or `first-last`.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Box<[Box<str>]>,
    /// `autoAssign`; missing means true.
    pub auto_assign: Option<bool>,
    /// `avoidBuggyIPs`; missing means false.
    #[serde(rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: Option<bool>,
    /// `serviceAllocation`.
    pub service_allocation: Option<ServiceAllocationSpec>,
}

/// `spec.serviceAllocation` of an IPAddressPool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceAllocationSpec {
    /// `priority`; 0 and missing come last.
    #[serde(deserialize_with = "or_default")]
    pub priority: i64,
    /// `namespaces`.
    #[serde(deserialize_with = "or_default")]
    pub namespaces: Box<[Box<str>]>,
    /// `namespaceSelectors`.
    #[serde(deserialize_with = "or_default")]
    pub namespace_selectors: Box<[LabelSelector]>,
    /// `serviceSelectors`.
    #[serde(deserialize_with = "or_default")]
    pub service_selectors: Box<[LabelSelector]>,
}

/// `status` of an IPAddressPool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IpAddressPoolStatus {
    /// `assignedIPv4`.
    #[serde(rename = "assignedIPv4")]
    pub assigned_v4: Option<i64>,
    /// `assignedIPv6`.
    #[serde(rename = "assignedIPv6")]
    pub assigned_v6: Option<i64>,
    /// `availableIPv4`.
    #[serde(rename = "availableIPv4")]
    pub available_v4: Option<i64>,
    /// `availableIPv6`.
    #[serde(rename = "availableIPv6")]
    pub available_v6: Option<i64>,
}

/// metallb.io/v1beta1 L2Advertisement.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct L2Advertisement {
    /// `metadata`.
    pub metadata: Metadata<AllLabels>,
    /// `spec`.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: L2AdvertisementSpec,
}

/// `spec` of an L2Advertisement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct L2AdvertisementSpec {
    /// `ipAddressPools`: pools by name.
    #[serde(deserialize_with = "or_default")]
    pub ip_address_pools: Box<[Box<str>]>,
    /// `ipAddressPoolSelectors`: pools by their labels. With neither names nor these: all.
    #[serde(deserialize_with = "or_default")]
    pub ip_address_pool_selectors: Box<[LabelSelector]>,
    /// `nodeSelectors`: nodes that may announce; any, if empty.
    #[serde(deserialize_with = "or_default")]
    pub node_selectors: Box<[LabelSelector]>,
    /// `interfaces`; all, if empty.
    #[serde(deserialize_with = "or_default")]
    pub interfaces: Box<[Box<str>]>,
    /// `serviceSelectors`; all services, if empty.
    #[serde(deserialize_with = "or_default")]
    pub service_selectors: Box<[LabelSelector]>,
    /// `preferredNodeSelectors`.
    #[serde(deserialize_with = "or_default")]
    pub preferred_node_selectors: Box<[PreferredNode]>,
}

/// One of `spec.preferredNodeSelectors` of an L2Advertisement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PreferredNode {
    /// `weight`, 1 to 100.
    #[serde(deserialize_with = "or_default")]
    pub weight: i64,
    /// `preference`: the nodes that it is for.
    #[serde(deserialize_with = "or_default")]
    pub preference: LabelSelector,
}

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// `matchLabels`.
    #[serde(deserialize_with = "or_default")]
    pub match_labels: Labels,
    /// `matchExpressions`.
    #[serde(deserialize_with = "or_default")]
    pub match_expressions: Box<[LabelRequirement]>,
}

/// One of `matchExpressions` of a label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LabelRequirement {
    /// `key`.
    pub key: Box<str>,
    /// `operator`: `In`, `NotIn`, `Exists`, `DoesNotExist`.
    pub operator: Box<str>,
    /// `values`.
    #[serde(deserialize_with = "or_default")]
    pub values: Box<[Box<str>]>,
}

/// An object of metallb.io that is read to be named, since nothing here does what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// Its kind.
    pub kind: UnservedKind,
    /// `metadata`.
    pub metadata: Metadata<UnservedLabels>,
}

/// Kinds of metallb.io that are not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnservedKind {
    /// A session with a router.
    BgpPeer,
    /// What is announced to routers.
    BgpAdvertisement,
    /// How fast the failure of a router is noticed.
    BfdProfile,
    /// Names of BGP communities.
    Community,
}

/// Of an object whose labels mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct UnservedLabels {}

/// All that is read of an [`Unserved`].
#[derive(Deserialize)]
pub(super) struct UnservedForm {
    metadata: Metadata<UnservedLabels>,
}

impl UnservedForm {
    pub(super) fn of_kind(self, kind: UnservedKind) -> Unserved {
        Unserved { kind, metadata: self.metadata }
    }
}

impl UnservedKind {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::BgpPeer, Self::BgpAdvertisement, Self::BfdProfile, Self::Community];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::BgpPeer => "BGPPeer",
            Self::BgpAdvertisement => "BGPAdvertisement",
            Self::BfdProfile => "BFDProfile",
            Self::Community => "Community",
        }
    }

    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::BgpPeer => "metallb.io/v1beta2",
            Self::BgpAdvertisement | Self::BfdProfile | Self::Community => "metallb.io/v1beta1",
        }
    }
}

impl IpAddressPool {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key(Kind::IpAddressPool)
    }
}

impl L2Advertisement {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key(Kind::L2Advertisement)
    }
}

impl Unserved {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key(Kind::Unserved(self.kind))
    }
}
