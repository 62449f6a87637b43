//! networking.k8s.io/v1 ServiceCIDR (KEP-1880).

use serde::Deserialize;

use super::metadata::or_default;
use super::{Kind, Metadata, ObjectKey};

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
