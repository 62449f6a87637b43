//! Flaws of a service: combinations that public fields allow and that no kernel can forward.
//!
//! Kept apart from the types so that they stay plain data. Sources that build services from Kubernetes objects never
//! make one of these; a service built by hand may.

use std::collections::BTreeSet;

use crate::{
    Cidr, EndpointAddress, Family, Frontend, FrontendKey, FrontendKind, Service, ServiceName, ServicePort, SourceRanges,
};

/// Why no dataplane can program a service: [`crate::ServiceState::upsert`] refuses it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// A frontend is of another family or protocol than its port.
    #[error("frontend {0}: not of its port's family and protocol")]
    ForeignFrontend(FrontendKey),
    /// A frontend's port is 0.
    #[error("frontend {0}: port is 0")]
    FrontendWithoutPort(FrontendKey),
    /// A node port that is not [`FrontendKind::NodePort`], or the reverse.
    #[error("frontend {0}: its kind does not fit")]
    KindOfAnother(FrontendKey),
    /// A source range is of another family than its frontend.
    #[error("frontend {frontend}: source range {range} is of another family")]
    ForeignRange {
        /// The frontend.
        frontend: FrontendKey,
        /// The range.
        range: Cidr,
    },
    /// An endpoint is of another family than its port.
    #[error("endpoint {0}: not of its port's family")]
    ForeignEndpoint(EndpointAddress),
    /// An endpoint's port is 0.
    #[error("endpoint {0}: port is 0")]
    EndpointWithoutPort(EndpointAddress),
    /// Two ports have one name, family and protocol: session affinity could not tell them apart.
    #[error("port {name:?} ({family}): twice")]
    PortTwice {
        /// The name, and the protocol.
        name: String,
        /// The family.
        family: Family,
    },
}

/// A service with a flaw, where several services were given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("service {service}: {flaw}")]
#[non_exhaustive]
pub struct FlawedService {
    /// Its name.
    pub service: ServiceName,
    /// The flaw.
    pub flaw: Flaw,
}

impl FlawedService {
    /// This service, with this flaw.
    pub fn new(service: ServiceName, flaw: Flaw) -> Self {
        Self { service, flaw }
    }

    /// Whether `service` has no flaw.
    ///
    /// # Errors
    /// The first [`Flaw`] of [`Service::check`].
    pub fn check(service: &Service) -> Result<(), Self> {
        service.check().map_err(|flaw| Self::new(service.name.clone(), flaw))
    }
}

impl Service {
    /// Whether a dataplane can program it at all. A [`crate::ServiceState`] holds no service with a flaw, so no backend
    /// has to ask.
    ///
    /// # Errors
    /// The first [`Flaw`], in order of ports.
    pub fn check(&self) -> Result<(), Flaw> {
        let mut seen = BTreeSet::new();
        for port in &self.ports {
            if !seen.insert((&port.name, port.family, port.protocol)) {
                return Err(Flaw::PortTwice { name: format!("{}/{}", port.name, port.protocol), family: port.family });
            }
            port.frontends.iter().try_for_each(|frontend| check_frontend(port, frontend))?;
            for address in port.endpoints.iter().map(|endpoint| endpoint.address) {
                if Family::of(address.ip) != port.family {
                    return Err(Flaw::ForeignEndpoint(address));
                }
                if address.port == 0 {
                    return Err(Flaw::EndpointWithoutPort(address));
                }
            }
        }
        Ok(())
    }
}

fn check_frontend(port: &ServicePort, frontend: &Frontend) -> Result<(), Flaw> {
    let key = frontend.key;
    if (key.family(), key.protocol()) != (port.family, port.protocol) {
        return Err(Flaw::ForeignFrontend(key));
    }
    if key.port() == 0 {
        return Err(Flaw::FrontendWithoutPort(key));
    }
    match (key, frontend.kind) {
        (FrontendKey::Address { .. }, FrontendKind::ClusterIp | FrontendKind::External)
        | (FrontendKey::NodePort { .. }, FrontendKind::NodePort) => {}
        _ => return Err(Flaw::KindOfAnother(key)),
    }
    let ranges = match &frontend.source_ranges {
        SourceRanges::Any => return Ok(()),
        SourceRanges::Only(ranges) => ranges,
    };
    match ranges.iter().find(|range| range.family() != port.family) {
        Some(range) => Err(Flaw::ForeignRange { frontend: key, range: *range }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endpoint, Protocol};

    fn web() -> Service {
        let port = ServicePort {
            frontends: vec![Frontend::cluster_ip([10, 96, 0, 1].into(), Protocol::Tcp, 80)],
            endpoints: vec![Endpoint::here("10.244.0.4:80".parse().unwrap())],
            ..ServicePort::new(Family::V4, Protocol::Tcp)
        };
        Service::new(ServiceName::new("default", "web"), vec![port])
    }

    #[test]
    fn a_flaw_names_what_is_wrong() {
        let check = |change: fn(&mut Service), expected: &str| {
            let mut service = web();
            change(&mut service);
            assert_eq!(service.check().unwrap_err().to_string(), expected);
        };
        assert_eq!(web().check(), Ok(()));
        check(
            |web| web.ports[0].protocol = Protocol::Udp,
            "frontend 10.96.0.1:80/TCP: not of its port's family and protocol",
        );
        check(
            |web| web.ports[0].frontends[0] = Frontend::cluster_ip([10, 96, 0, 1].into(), Protocol::Tcp, 0),
            "frontend 10.96.0.1:0/TCP: port is 0",
        );
        check(
            |web| web.ports[0].frontends[0].kind = FrontendKind::NodePort,
            "frontend 10.96.0.1:80/TCP: its kind does not fit",
        );
        check(
            |web| web.ports[0].frontends[0].source_ranges = SourceRanges::Only(vec!["::/0".parse().unwrap()]),
            "frontend 10.96.0.1:80/TCP: source range ::/0 is of another family",
        );
        check(
            |web| web.ports[0].endpoints[0].address = "[fd00::4]:80".parse().unwrap(),
            "endpoint [fd00::4]:80: not of its port's family",
        );
        check(|web| web.ports[0].endpoints[0].address.port = 0, "endpoint 10.244.0.4:0: port is 0");
        check(|web| web.ports.push(ServicePort::new(Family::V4, Protocol::Tcp)), "port \"/TCP\" (IPv4): twice");
    }
}
