//! switchyard.dev/v1 ServiceAddresses: the status of a LoadBalancer service where no API server keeps it.

use serde::Deserialize;

use super::metadata::or_default;
use super::metallb::UnservedLabels;
use super::{Kind, LoadBalancerStatus, Metadata, ObjectKey};

/// The addresses of the Service that has the same namespace and name. Only a folder has it: the source puts it into the
/// Service and tells that.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAddresses {
    /// `metadata`.
    pub metadata: Metadata<UnservedLabels>,
    /// `loadBalancer`: in place of `status.loadBalancer` of the Service.
    #[serde(default, deserialize_with = "or_default")]
    pub load_balancer: LoadBalancerStatus,
}

impl ServiceAddresses {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key(Kind::ServiceAddresses)
    }
}
