//! The cluster that is soaked: its world, its objects, and which pods a service has. Pure.
//!
//! | services | endpoints | what happens to them |
//! |---|---|---|
//! | `steady-…` | three pods that answer | nothing; they are dialled |
//! | `changing-…` | two such pods that stay, and a tenant | the tenant is replaced; they are dialled |
//! | `background-…` | addresses of no pod | an endpoint is replaced, session affinity comes and goes |
//! | `coming-…` | addresses of no pod | they come and go, with their node ports |

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use testbed::{HostPlan, Listen, Placement, PodPlan, WorldPlan};

/// Pods that answer; the first half stays in its services, the second half are tenants.
pub(super) const PODS: usize = 16;
/// Of these, tenants.
pub(super) const TENANTS: usize = PODS / 2;
pub(super) const STEADY: usize = 32;
pub(super) const CHANGING: usize = 64;
pub(super) const COMING: usize = 200;
/// Where the clients are.
pub(super) const CLIENT: &str = "client";
pub(super) const OUTSIDER: &str = "outsider";
/// The cluster's pods, for the agent.
pub(super) const POD_RANGE: &str = "10.244.0.0/16";

const PORT: u16 = 80;
const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 67, 10);

/// As large as it is told to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cluster {
    pub(super) background: usize,
}

/// A service that is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialled {
    Steady(usize),
    Changing(usize),
}

/// Whether there is session affinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affinity {
    None,
    ClientIp,
}

impl Cluster {
    pub(super) fn world(self) -> WorldPlan {
        let client = PodPlan {
            name: CLIENT.to_owned(),
            addresses: vec![IpAddr::from([10, 244, 2, 3])],
            placement: Placement::Bridge,
            listens: Vec::new(),
        };
        WorldPlan {
            pods: (0..PODS).map(pod).chain([client]).collect(),
            hosts: vec![HostPlan {
                name: OUTSIDER.to_owned(),
                addresses: vec![IpAddr::from([192, 168, 67, 100])],
                listens: Vec::new(),
            }],
            ..WorldPlan::default()
        }
    }

    /// How many services there are at first and at rest.
    pub(super) fn services(self) -> usize {
        STEADY + CHANGING + self.background + COMING / 2
    }

    /// Everything that is there at first and at rest.
    pub(super) fn objects(self) -> impl Iterator<Item = Value> {
        let dialled = (0..STEADY).map(Dialled::Steady).chain((0..CHANGING).map(Dialled::Changing));
        let node = json!({
            "kind": "Node", "metadata": {"name": WorldPlan::default().node.name},
            "status": {"addresses": [{"type": "InternalIP", "address": NODE}]},
        });
        std::iter::once(node)
            .chain(dialled.flat_map(|service| [service.service(), service.slice(0)]))
            .chain(
                (0..self.background)
                    .flat_map(|index| [background(index, affinity_at_rest(index)), background_slice(index, 0)]),
            )
            .chain((0..COMING).filter(|index| is_there_at_rest(*index)).flat_map(coming))
    }
}

impl Dialled {
    /// The service that the dial of this number goes to.
    pub(super) fn of(number: usize) -> Self {
        match number % (STEADY + CHANGING) {
            steady if steady < STEADY => Self::Steady(steady),
            changing => Self::Changing(changing - STEADY),
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Steady(index) => format!("steady-{index}"),
            Self::Changing(index) => format!("changing-{index}"),
        }
    }

    pub(super) fn cluster_address(self) -> SocketAddr {
        let [third, last] = match self {
            Self::Steady(index) => [0, index],
            Self::Changing(index) => [1, index],
        };
        ([10, 96, third as u8, last as u8 + 1], PORT).into()
    }

    pub(super) fn node_address(self) -> SocketAddr {
        (NODE, self.node_port()).into()
    }

    fn node_port(self) -> u16 {
        match self {
            Self::Steady(index) => 30_000 + index as u16,
            Self::Changing(index) => 30_100 + index as u16,
        }
    }

    /// The pods that are its endpoints as long as it lives.
    pub(super) fn residents(self) -> Vec<usize> {
        let stay = PODS - TENANTS;
        match self {
            Self::Steady(index) => [0, 3, 5].map(|step| (index + step) % stay).into(),
            Self::Changing(index) => [0, 3].map(|step| (index + step) % stay).into(),
        }
    }

    pub(super) fn service(self) -> Value {
        let ports = ["TCP", "UDP"].map(|protocol| {
            json!({"name": protocol.to_lowercase(), "port": PORT, "protocol": protocol, "nodePort": self.node_port()})
        });
        service(&self.name(), self.cluster_address().ip(), &json!({"type": "NodePort", "ports": ports}))
    }

    /// With the tenant of this turn.
    pub(super) fn slice(self, turn: usize) -> Value {
        let tenant = match self {
            Self::Steady(_) => None,
            Self::Changing(_) => Some(PODS - TENANTS + tenant(turn)),
        };
        let addresses: Vec<_> = self.residents().into_iter().chain(tenant).map(pod_address).collect();
        let ports =
            ["TCP", "UDP"].map(|protocol| json!({"name": protocol.to_lowercase(), "port": PORT, "protocol": protocol}));
        slice(&self.name(), &addresses, &json!(ports))
    }
}

/// Which of the tenants it is at this turn.
pub(super) fn tenant(turn: usize) -> usize {
    turn % TENANTS
}

/// What the pod of this number answers.
pub(super) fn pod_name(number: usize) -> String {
    format!("pod-{number}")
}

/// The number of the pod that answers this.
pub(super) fn pod_number(name: &str) -> Option<usize> {
    name.strip_prefix("pod-")?.parse().ok()
}

/// The first one has it: the chains that all such services share are made once, and stay.
fn affinity_at_rest(background: usize) -> Affinity {
    if background == 0 { Affinity::ClientIp } else { Affinity::None }
}

pub(super) fn background(index: usize, affinity: Affinity) -> Value {
    let affinity = match affinity {
        Affinity::None => "None",
        Affinity::ClientIp => "ClientIP",
    };
    let ports = json!([{"name": "http", "port": PORT, "protocol": "TCP"}]);
    let address = IpAddr::from([10, 97, (index / 250) as u8, (index % 250) as u8 + 1]);
    let spec = json!({"type": "ClusterIP", "ports": ports, "sessionAffinity": affinity});
    service(&background_name(index), address, &spec)
}

/// With another last endpoint at each turn.
pub(super) fn background_slice(index: usize, turn: usize) -> Value {
    let addresses = [(64, 0), (65, 0), (66 + turn % 8, 0)]
        .map(|(third, _)| IpAddr::from([10, 245, third as u8 + (index / 250) as u8 * 10, (index % 250) as u8 + 1]));
    slice(&background_name(index), &addresses, &json!([{"name": "http", "port": 8080, "protocol": "TCP"}]))
}

pub(super) fn coming_name(index: usize) -> String {
    format!("coming-{index}")
}

pub(super) fn is_there_at_rest(coming: usize) -> bool {
    coming.is_multiple_of(2)
}

/// A service that comes and goes, and its slice.
pub(super) fn coming(index: usize) -> [Value; 2] {
    let ports = json!([{"name": "http", "port": PORT, "protocol": "TCP", "nodePort": 31_000 + index}]);
    let name = coming_name(index);
    let spec = json!({"type": "NodePort", "ports": ports, "externalTrafficPolicy": "Cluster"});
    let addresses = [1, 2, 3].map(|third| IpAddr::from([10, 246, third, index as u8 + 1]));
    let ports = json!([{"name": "http", "port": 8080, "protocol": "TCP"}]);
    [service(&name, IpAddr::from([10, 98, 0, index as u8 + 1]), &spec), slice(&name, &addresses, &ports)]
}

fn background_name(index: usize) -> String {
    format!("background-{index}")
}

fn pod(number: usize) -> PodPlan {
    let placement = if is_of_this_node(number) { Placement::Bridge } else { Placement::Remote };
    let listens = vec![Listen::tcp(PORT), Listen::udp(PORT)];
    PodPlan { name: pod_name(number), addresses: vec![pod_address(number)], placement, listens }
}

fn pod_address(number: usize) -> IpAddr {
    let third = if is_of_this_node(number) { 2 } else { 0 };
    IpAddr::from([10, 244, third, 10 + number as u8])
}

fn is_of_this_node(pod: usize) -> bool {
    pod.is_multiple_of(4)
}

fn service(name: &str, address: IpAddr, rest: &Value) -> Value {
    let mut spec =
        json!({"clusterIP": address, "clusterIPs": [address], "ipFamilies": ["IPv4"], "selector": {"app": name}});
    let more = rest.as_object().expect("what is written above is an object").clone();
    spec.as_object_mut().expect("so is this").extend(more);
    json!({"kind": "Service", "metadata": {"name": name, "namespace": "soak"}, "spec": spec})
}

fn slice(name: &str, addresses: &[IpAddr], ports: &Value) -> Value {
    let endpoints: Vec<_> = addresses
        .iter()
        .map(|address| json!({"addresses": [address], "conditions": {"ready": true}, "nodeName": "elsewhere"}))
        .collect();
    json!({
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-1"), "namespace": "soak", "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_service_has_an_address_a_node_port_and_pods_of_its_own() {
        let all: Vec<_> = (0..STEADY + CHANGING).map(Dialled::of).collect();
        let addresses: BTreeSet<_> = all.iter().map(|service| service.cluster_address()).collect();
        let ports: BTreeSet<_> = all.iter().map(|service| service.node_port()).collect();
        assert_eq!([addresses.len(), ports.len()], [STEADY + CHANGING; 2]);
        for service in all {
            let residents: BTreeSet<_> = service.residents().into_iter().collect();
            assert_eq!(residents.len(), service.residents().len(), "{service:?}");
            assert!(residents.iter().all(|pod| *pod < PODS - TENANTS));
        }
    }

    #[test]
    fn there_are_as_many_services_as_are_told() {
        let cluster = Cluster { background: 7 };
        let services = cluster.objects().filter(|object| object["kind"] == "Service").count();
        assert_eq!(services, cluster.services());
    }
}
