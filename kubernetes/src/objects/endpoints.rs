//! v1 Endpoints: what came before EndpointSlices and people still write by hand.

use std::sync::Arc;

use serde::Deserialize;

use super::metadata::or_default;
use super::name::repeated;
use super::{Address, EndpointPort, Kind, Metadata, ObjectKey, SliceLabels};

/// v1 Endpoints; it belongs to the service of its own name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Endpoints {
    /// `metadata`.
    pub metadata: Metadata<SliceLabels>,
    /// `subsets`.
    #[serde(default, deserialize_with = "or_default")]
    pub subsets: Box<[EndpointsSubset]>,
}

/// One of `subsets` of an Endpoints: every address offers every port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointsSubset {
    /// `addresses`, which are ready.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Box<[EndpointsAddress]>,
    /// `notReadyAddresses`.
    #[serde(deserialize_with = "or_default")]
    pub not_ready_addresses: Box<[EndpointsAddress]>,
    /// `ports`.
    #[serde(deserialize_with = "or_default")]
    pub ports: Box<[EndpointPort]>,
}

/// One address of an Endpoints, of either family.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointsAddress {
    /// `ip`.
    pub ip: Address,
    /// `nodeName`.
    #[serde(default, deserialize_with = "repeated")]
    pub node_name: Option<Arc<str>>,
}

impl Endpoints {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key(Kind::Endpoints)
    }
}
