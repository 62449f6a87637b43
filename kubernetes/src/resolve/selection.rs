//! Which objects a proxy has to do with at all.

use std::fmt;

use crate::objects::{Address, EndpointSlice, Endpoints, Service, ServiceType, Word};

/// Why a proxy does nothing for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// Label `service.kubernetes.io/service-proxy-name`: another proxy's (KEP-2447).
    OtherProxy,
    /// A name in the DNS and nothing else, even if a cluster address is left from an earlier type.
    ExternalName,
    /// No cluster address: DNS names the pods themselves.
    Headless,
}

/// Whether a proxy leaves this service alone, and why.
pub(super) fn skip(service: &Service) -> Option<Skip> {
    let spec = &service.spec;
    if service.metadata.labels.service_proxy_name {
        Some(Skip::OtherProxy)
    } else if spec.service_type == Some(Word::Known(ServiceType::ExternalName)) {
        Some(Skip::ExternalName)
    } else if cluster_ips(service).next().is_none() {
        Some(Skip::Headless)
    } else {
        None
    }
}

/// Where a cluster address is written: in the list, or alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClusterIpField(Option<usize>);

impl fmt::Display for ClusterIpField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(f, "spec.clusterIPs[{index}]"),
            None => f.write_str("spec.clusterIP"),
        }
    }
}

/// The service's cluster addresses as written, each with its field; none for a headless one.
pub(super) fn cluster_ips(service: &Service) -> impl Iterator<Item = (ClusterIpField, &Address)> {
    let spec = &service.spec;
    let listed = spec.cluster_ips.iter().enumerate().map(|(i, address)| (ClusterIpField(Some(i)), address));
    // Without the list: written by hand, or before dual stack.
    let single = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.is_empty());
    let headless = spec.cluster_ip.as_ref().is_some_and(is_none);
    let all = listed.chain(single.map(|address| (ClusterIpField(None), address)));
    all.filter(move |(_, address)| !headless && !is_empty(address) && !is_none(address))
}

/// Whether a slice's endpoints are for proxies.
pub(super) fn takes_slice(slice: &EndpointSlice) -> bool {
    !slice.metadata.labels.headless
}

/// Whether an Endpoints is for proxies; to be asked only where the service has no EndpointSlice at all.
pub(super) fn takes_endpoints(endpoints: &Endpoints) -> bool {
    !endpoints.metadata.labels.headless
}

fn is_empty(address: &Address) -> bool {
    matches!(address, Address::Text(text) if text.is_empty())
}

fn is_none(address: &Address) -> bool {
    matches!(address, Address::Text(text) if **text == *"None")
}
