//! The example cluster: its world, its objects, and a deployment whose replicas can change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use backend_api::{Family, NodeNetwork, ServiceName, ServiceState};

use kubernetes::objects::{Address, Conditions, EndpointSlice, Item, Object, SliceEndpoint, read};
use kubernetes::resolve::{Applied, Resolver};
use kubernetes::settings::Settings;
use kubernetes::settings::{LocalDetector, NodePortSelection};
use testbed::{Listen, Placement, PodPlan, WorldPlan, of_family};

/// The example as `kubectl get -o yaml` prints it.
const OBJECTS: &[(&str, &str)] = &[
    ("ingress-nginx.yaml", include_str!("../../../deploy/examples/seed/ingress-nginx.yaml")),
    ("kube-dns.yaml", include_str!("../../../deploy/examples/seed/kube-dns.yaml")),
    ("kubernetes.yaml", include_str!("../../../deploy/examples/seed/kubernetes.yaml")),
    ("myblog.yaml", include_str!("../../../deploy/examples/seed/myblog.yaml")),
    ("nginx-clusterip.yaml", include_str!("../../../deploy/examples/seed/nginx-clusterip.yaml")),
    ("nginx-headless.yaml", include_str!("../../../deploy/examples/seed/nginx-headless.yaml")),
    ("nginx-loadbalancer.yaml", include_str!("../../../deploy/examples/seed/nginx-loadbalancer.yaml")),
    ("nginx-nodeport.yaml", include_str!("../../../deploy/examples/seed/nginx-nodeport.yaml")),
    ("nodes.yaml", include_str!("../../../deploy/examples/seed/nodes.yaml")),
    ("service-cidr.yaml", include_str!("../../../deploy/examples/seed/service-cidr.yaml")),
    ("whoami-external.yaml", include_str!("../../../deploy/examples/seed/whoami-external.yaml")),
    ("whoami.yaml", include_str!("../../../deploy/examples/seed/whoami.yaml")),
];

/// The services in front of the nginx deployment, which change together.
const NGINX: [&str; 3] = ["nginx-deploy-clusterip-svc", "nginx-deploy-nodeport-svc", "nginx-deploy-lb-svc"];

/// The objects, and the state that they resolve to on `node2`.
#[derive(Debug)]
pub(super) struct Cluster {
    resolver: Resolver,
    state: ServiceState,
    /// The slices of [`NGINX`].
    slices: BTreeMap<ServiceName, Arc<EndpointSlice>>,
    pods: Vec<PodPlan>,
}

/// The example's world, and two more replicas of nginx that no service has at first.
pub(super) fn plan() -> WorldPlan {
    let mut plan = WorldPlan::example();
    plan.pods.push(spare("nginx-4", [10, 244, 1, 6], Placement::Remote));
    plan.pods.push(spare("nginx-5", [10, 244, 2, 7], Placement::Bridge));
    plan.node.listens = vec![Listen::tcp(30673)];
    plan
}

fn spare(name: &str, address: [u8; 4], placement: Placement) -> PodPlan {
    PodPlan { name: name.into(), addresses: vec![address.into()], placement, listens: vec![Listen::tcp(80)] }
}

impl Cluster {
    /// Reads the objects, and resolves them for a node that owns `addresses`.
    ///
    /// # Errors
    /// One of them cannot be read; it says which.
    pub(super) fn load(plan: &WorldPlan, addresses: &BTreeSet<IpAddr>) -> Result<Self, String> {
        let mut resolver = Resolver::new(settings());
        let mut slices = BTreeMap::new();
        for (file, text) in OBJECTS {
            for item in read(text) {
                let object = match item {
                    Item::Object(object) => object,
                    Item::Foreign { line, kind } => return Err(format!("{file}:{line}: {kind}: no object of a proxy")),
                    Item::Refused(refused) => return Err(format!("{file}:{}: {}", refused.line, refused.reason)),
                };
                if let Object::EndpointSlice(slice) = &object {
                    slices.extend(nginx_service(slice).map(|service| (service, slice.clone())));
                }
                resolver.upsert(&object);
            }
        }
        resolver.set_addresses(addresses.clone());
        let mut state = ServiceState::new(NodeNetwork::unknown());
        resolver.resolve().apply(&mut state);
        Ok(Self { resolver, state, slices, pods: plan.pods.clone() })
    }

    /// What the dataplane is to program.
    pub(super) fn state(&self) -> &ServiceState {
        &self.state
    }

    /// Gives the nginx deployment exactly these pods, as its controller would.
    pub(super) fn scale(&mut self, pods: &BTreeSet<&str>) -> Applied {
        let endpoints: Box<[SliceEndpoint]> =
            self.pods.iter().filter(|pod| pods.contains(pod.name.as_str())).filter_map(endpoint).collect();
        for slice in self.slices.values_mut() {
            let changed = EndpointSlice { endpoints: endpoints.clone(), ..(**slice).clone() };
            *slice = Arc::new(changed);
            self.resolver.upsert(&Object::EndpointSlice(slice.clone()));
        }
        self.resolver.resolve().apply(&mut self.state)
    }
}

/// As the original's kube-proxy was set up.
fn settings() -> Settings {
    Settings {
        node_name: "node2".parse().expect("a name"),
        local_traffic: LocalDetector::ClusterCidrs("10.244.0.0/16".parse().expect("a range")),
        node_ports: NodePortSelection::All,
        node_address: None,
        masquerade_all: false,
        flowtable_after: None,
        budget: kubernetes::settings::Budget::default(),
    }
}

fn nginx_service(slice: &EndpointSlice) -> Option<ServiceName> {
    let service = slice.metadata.labels.service_name.as_deref()?;
    NGINX.contains(&service).then(|| ServiceName::new("default", service))
}

fn endpoint(pod: &PodPlan) -> Option<SliceEndpoint> {
    let address = of_family(&pod.addresses, Family::V4)?;
    let IpAddr::V4(v4) = address else { return None };
    // The example's pod ranges: 10.244.<number of the node>.0/24.
    let node = ["ctrlnode", "node1", "node2"].get(usize::from(v4.octets()[2]))?;
    Some(SliceEndpoint {
        address: Some(Address::Ip(address)),
        conditions: Conditions { ready: Some(true), serving: Some(true), terminating: Some(false) },
        node_name: Some((*node).into()),
        hints: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Cluster {
        let world = plan();
        Cluster::load(&world, &world.node.addresses.iter().copied().collect()).unwrap()
    }

    #[test]
    fn the_example_resolves_without_a_warning() {
        let cluster = example();
        assert_eq!(cluster.resolver.warnings().collect::<Vec<_>>(), Vec::<&kubernetes::resolve::Warning>::new());
        let names: Vec<String> = cluster.state.services().map(|service| service.name.to_string()).collect();
        let expected = [
            "default/kubernetes",
            "default/nginx-deploy-clusterip-svc",
            "default/nginx-deploy-lb-svc",
            "default/nginx-deploy-nodeport-svc",
            "default/whoami",
            "ingress-nginx/ingress-nginx-controller",
            "kube-system/kube-dns",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn scaling_changes_three_services_and_scaling_to_the_same_none() {
        let mut cluster = example();
        let pods = BTreeSet::from(["nginx-1", "nginx-2", "nginx-3"]);
        assert_eq!(cluster.scale(&pods).touched.len(), 0);
        let pods = BTreeSet::from(["nginx-3", "nginx-5"]);
        let applied = cluster.scale(&pods);
        assert_eq!((applied.touched.len(), applied.node_changed), (3, false));
        let service = cluster.state.service(&ServiceName::new("default", NGINX[0])).unwrap();
        assert!(service.ports[0].endpoints.iter().all(|endpoint| endpoint.on_this_node));
        assert_eq!(service.ports[0].endpoints.len(), 2);
    }
}
