//! A cluster of any size, as the objects that a Kubernetes API would list. Pure.
//!
//! Every address is a function of numbers, so that any part of the cluster can be written down, dialled or changed
//! without the rest being kept.

use std::net::Ipv4Addr;

use kubernetes::objects::{Item, Object, read};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Where cluster addresses begin: 10.96.0.0/12.
const FRONTENDS: u32 = 0x0a60_0001;
/// Where endpoints begin: 10.128.0.0/9.
const ENDPOINTS: u32 = 0x0a80_0001;
/// Where endpoints are that take another's place: the last eighth of the same range.
const STAND_INS: u32 = 0x0af0_0001;
/// What holds every endpoint.
pub(super) const ENDPOINT_RANGE: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 128, 0, 0), 9);
/// The range of the cluster's pods, clients included.
pub(super) const POD_RANGE: &str = "10.64.0.0/10";
/// The port that services are dialled at.
pub(super) const FRONTEND_PORT: u16 = 80;
/// The port that endpoints listen on.
pub(super) const ENDPOINT_PORT: u16 = 8080;
/// As Kubernetes fills slices unless told otherwise.
const SLICE: u32 = 100;

/// So many services with a cluster address, each with so many endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Services, of one port each.
    pub services: u32,
    /// Endpoints of each service.
    pub endpoints: u32,
}

/// Where the first endpoint of a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Where it was at the start.
    Home,
    /// Elsewhere: its pod was replaced.
    StandIn,
}

impl Cluster {
    /// The most services and endpoints that the address plan has room for.
    pub const ROOM: (u32, u32) = (1_000_000, STAND_INS - ENDPOINTS);

    /// Whether the address plan has room for it.
    pub fn fits(self) -> bool {
        let endpoints = self.services.checked_mul(self.endpoints);
        self.services <= Self::ROOM.0 && endpoints.is_some_and(|endpoints| endpoints <= Self::ROOM.1)
    }

    /// The address of a service.
    pub(super) fn frontend(self, service: u32) -> Ipv4Addr {
        Ipv4Addr::from(FRONTENDS + service)
    }

    /// The address of an endpoint.
    pub(super) fn endpoint(self, service: u32, index: u32, first: First) -> Ipv4Addr {
        match (index, first) {
            (0, First::StandIn) => Ipv4Addr::from(STAND_INS + service),
            _ => Ipv4Addr::from(ENDPOINTS + service * self.endpoints + index),
        }
    }

    /// Everything about a service.
    pub(super) fn objects(self, service: u32) -> impl Iterator<Item = Object> {
        let slices = (0..self.endpoints.div_ceil(SLICE)).map(move |slice| self.slice(service, slice, First::Home));
        std::iter::once(object(&service_text(service, self.frontend(service)))).chain(slices)
    }

    /// The slice that holds the first endpoint of a service.
    pub(super) fn first_slice(self, service: u32, first: First) -> Object {
        self.slice(service, 0, first)
    }

    fn slice(self, service: u32, slice: u32, first: First) -> Object {
        let indices = slice * SLICE..((slice + 1) * SLICE).min(self.endpoints);
        let endpoints: Vec<_> = indices
            .map(|index| {
                json!({
                    "addresses": [self.endpoint(service, index, first)],
                    "conditions": {"ready": true, "serving": true, "terminating": false},
                    "nodeName": format!("node{}", (service + index) % 100),
                    "targetRef": {"kind": "Pod", "name": format!("s{service}-{index}"), "namespace": "scale"},
                })
            })
            .collect();
        let text = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("s{service}-{slice}"),
                "namespace": "scale",
                "labels": {"kubernetes.io/service-name": format!("s{service}")},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": ENDPOINT_PORT, "protocol": "TCP"}],
            "endpoints": endpoints,
        });
        object(&text.to_string())
    }
}

fn service_text(service: u32, address: Ipv4Addr) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": format!("s{service}"),
            "namespace": "scale",
            "uid": format!("00000000-0000-4000-8000-{service:012x}"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "selector": {"app": format!("s{service}")},
            "ports": [{"name": "http", "port": FRONTEND_PORT, "protocol": "TCP", "targetPort": ENDPOINT_PORT}],
        },
    })
    .to_string()
}

fn object(text: &str) -> Object {
    match read(text).pop() {
        Some(Item::Object(object)) => object,
        other => unreachable!("our own text is an object: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_endpoints_share_an_address() {
        let cluster = Cluster { services: 50, endpoints: 3 };
        let mut seen = BTreeSet::new();
        for service in 0..cluster.services {
            for index in 0..cluster.endpoints {
                assert!(seen.insert(cluster.endpoint(service, index, First::Home)));
            }
            assert!(seen.insert(cluster.endpoint(service, 0, First::StandIn)));
        }
    }

    #[test]
    fn a_service_of_many_endpoints_has_slices_as_kubernetes_makes_them() {
        let cluster = Cluster { services: 1, endpoints: 250 };
        let sizes: Vec<_> = cluster
            .objects(0)
            .filter_map(|object| match object {
                Object::EndpointSlice(slice) => Some(slice.endpoints.len()),
                _ => None,
            })
            .collect();
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn what_has_no_address_does_not_fit() {
        for (services, endpoints, expected) in
            [(44_125, 1, true), (5_006, 50, true), (1_000_000, 3, true), (1_000_001, 1, false), (100_000, 100, false)]
        {
            assert_eq!(Cluster { services, endpoints }.fits(), expected, "{services} × {endpoints}");
        }
    }
}
