//! Kubernetes objects, of which only what a service proxy reads is kept.
//!
//! ```text
//! text ──► document::read ──► Item::Object(Object) ──► resolve
//!                        └──► Item::Refused (file, line, object: for the log)
//! ```
//!
//! Our own types instead of a full client's: an endpoint takes a seventh of the memory, and whatever else an object
//! holds (managedFields, conditions, most labels) is skipped while reading.
//!
//! **Invariant:** what the API would accept is accepted: null and missing mean the same, unknown fields are
//! ignored, and a value that makes no sense (port 70000, address "banana") is kept as written, so that
//! `resolve` drops only that part and can say where it stood. Names that the API would refuse are refused from files.

mod addresses;
mod apparent;
mod cluster;
mod document;
mod endpoints;
mod header;
mod labels;
mod likeness;
mod metadata;
mod metallb;
mod names;
mod service;
mod text;
pub mod yaml;

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer};

pub use addresses::ServiceAddresses;
pub use cluster::{
    Namespace, Node, NodeAddress, NodeSpec, NodeStatus, ServiceCidr, ServiceCidrLabels, ServiceCidrSpec, Taint,
};
pub use document::{Item, Refused, read};
pub use endpoints::{
    AddressType, Conditions, EndpointPort, EndpointSlice, Endpoints, EndpointsAddress, EndpointsSubset, Hints,
    SliceAnnotations, SliceEndpoint, SliceLabels,
};
pub use labels::{AllLabels, NodeLabels, ServiceAnnotations, ServiceLabels};
pub use metadata::{Metadata, NoAnnotations, NoUid, Uid};
pub use metallb::{
    IpAddressPool, IpAddressPoolSpec, IpAddressPoolStatus, L2Advertisement, L2AdvertisementSpec, LabelRequirement,
    LabelSelector, PreferredNode, ServiceAllocationSpec, Unserved, UnservedKind, UnservedLabels,
};
pub use service::{
    AffinityKind, ClientIpConfig, IngressIp, IpMode, LoadBalancerStatus, Service, ServicePort, ServiceSpec,
    ServiceStatus, ServiceType, SessionAffinityConfig, TrafficPolicy,
};
pub use text::{Address, Keyword, Word};

/// An object of one of the kinds that a proxy reads. Cheap to clone: clones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// v1 Service.
    Service(Arc<Service>),
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// v1 Endpoints.
    Endpoints(Arc<Endpoints>),
    /// v1 Node.
    Node(Arc<Node>),
    /// networking.k8s.io/v1 ServiceCIDR.
    ServiceCidr(Arc<ServiceCidr>),
    /// v1 Namespace.
    Namespace(Arc<Namespace>),
    /// metallb.io/v1beta1 IPAddressPool.
    IpAddressPool(Arc<IpAddressPool>),
    /// metallb.io/v1beta1 L2Advertisement.
    L2Advertisement(Arc<L2Advertisement>),
    /// One of metallb.io that is not served.
    Unserved(Arc<Unserved>),
    /// switchyard.dev/v1 ServiceAddresses.
    ServiceAddresses(Arc<ServiceAddresses>),
}

/// The kind of an [`Object`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// v1 Service.
    Service,
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice,
    /// v1 Endpoints.
    Endpoints,
    /// v1 Node.
    Node,
    /// networking.k8s.io/v1 ServiceCIDR.
    ServiceCidr,
    /// v1 Namespace.
    Namespace,
    /// metallb.io/v1beta1 IPAddressPool.
    IpAddressPool,
    /// metallb.io/v1beta1 L2Advertisement.
    L2Advertisement,
    /// One of metallb.io that is not served.
    Unserved(UnservedKind),
    /// switchyard.dev/v1 ServiceAddresses.
    ServiceAddresses,
}

/// Which object: unique in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds that have none.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Endpoints(_) => Kind::Endpoints,
            Self::Node(_) => Kind::Node,
            Self::ServiceCidr(_) => Kind::ServiceCidr,
            Self::Namespace(_) => Kind::Namespace,
            Self::IpAddressPool(_) => Kind::IpAddressPool,
            Self::L2Advertisement(_) => Kind::L2Advertisement,
            Self::Unserved(unserved) => Kind::Unserved(unserved.kind),
            Self::ServiceAddresses(_) => Kind::ServiceAddresses,
        }
    }

    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Service(service) => service.key(),
            Self::EndpointSlice(slice) => slice.key(),
            Self::Endpoints(endpoints) => endpoints.key(),
            Self::Node(node) => node.key(),
            Self::ServiceCidr(cidr) => cidr.key(),
            Self::Namespace(namespace) => namespace.key(),
            Self::IpAddressPool(pool) => pool.key(),
            Self::L2Advertisement(advertisement) => advertisement.key(),
            Self::Unserved(unserved) => unserved.key(),
            Self::ServiceAddresses(addresses) => addresses.key(),
        }
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Service,
        Self::EndpointSlice,
        Self::Endpoints,
        Self::Node,
        Self::ServiceCidr,
        Self::Namespace,
        Self::IpAddressPool,
        Self::L2Advertisement,
        Self::Unserved(UnservedKind::BgpPeer),
        Self::Unserved(UnservedKind::BgpAdvertisement),
        Self::Unserved(UnservedKind::BfdProfile),
        Self::Unserved(UnservedKind::Community),
        Self::ServiceAddresses,
    ];

    /// As `kind:` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Endpoints => "Endpoints",
            Self::Node => "Node",
            Self::ServiceCidr => "ServiceCIDR",
            Self::Namespace => "Namespace",
            Self::IpAddressPool => "IPAddressPool",
            Self::L2Advertisement => "L2Advertisement",
            Self::Unserved(kind) => kind.as_str(),
            Self::ServiceAddresses => "ServiceAddresses",
        }
    }

    /// The API group, empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Service | Self::Endpoints | Self::Node | Self::Namespace => "",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::ServiceCidr => "networking.k8s.io",
            Self::IpAddressPool | Self::L2Advertisement | Self::Unserved(_) => "metallb.io",
            Self::ServiceAddresses => "switchyard.dev",
        }
    }

    /// As `apiVersion:` spells it.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Service | Self::Endpoints | Self::Node | Self::Namespace => "v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
            Self::ServiceCidr => "networking.k8s.io/v1",
            Self::IpAddressPool | Self::L2Advertisement => "metallb.io/v1beta1",
            Self::Unserved(kind) => kind.api_version(),
            Self::ServiceAddresses => "switchyard.dev/v1",
        }
    }

    /// Whether its objects live in a namespace.
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::Service | Self::EndpointSlice | Self::Endpoints => true,
            Self::IpAddressPool | Self::L2Advertisement | Self::Unserved(_) | Self::ServiceAddresses => true,
            Self::Node | Self::ServiceCidr | Self::Namespace => false,
        }
    }
}

/// Reads one object of this kind, whose own `kind` and `apiVersion` do not count.
impl<'de> DeserializeSeed<'de> for Kind {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        Ok(match self {
            Self::Service => Object::Service(Arc::new(Service::deserialize(deserializer)?)),
            Self::EndpointSlice => Object::EndpointSlice(Arc::new(EndpointSlice::deserialize(deserializer)?)),
            Self::Endpoints => Object::Endpoints(Arc::new(Endpoints::deserialize(deserializer)?)),
            Self::Node => Object::Node(Arc::new(Node::deserialize(deserializer)?)),
            Self::ServiceCidr => Object::ServiceCidr(Arc::new(ServiceCidr::deserialize(deserializer)?)),
            Self::Namespace => Object::Namespace(Arc::new(Namespace::deserialize(deserializer)?)),
            Self::IpAddressPool => Object::IpAddressPool(Arc::new(IpAddressPool::deserialize(deserializer)?)),
            Self::L2Advertisement => Object::L2Advertisement(Arc::new(L2Advertisement::deserialize(deserializer)?)),
            Self::ServiceAddresses => Object::ServiceAddresses(Arc::new(ServiceAddresses::deserialize(deserializer)?)),
            Self::Unserved(kind) => {
                Object::Unserved(Arc::new(metallb::UnservedForm::deserialize(deserializer)?.of_kind(kind)))
            }
        })
    }
}

/// `Service default/web`, `Node node1`.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.is_namespaced() {
            write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
        } else {
            write!(f, "{} {}", self.kind.as_str(), self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use backend_api::Scheduler;

    use super::*;

    fn only(text: &str) -> Object {
        let mut items = read(text);
        assert_eq!(items.len(), 1, "{items:?}");
        match items.remove(0) {
            Item::Object(object) => object,
            other => panic!("{other:?}"),
        }
    }

    /// As `kubectl get -o json --show-managed-fields` prints it, nulls of other clients included.
    const SERVICE: &str = r#"{
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "annotations": {"a": "b", "switchyard.dev/scheduler": "lc"}, "creationTimestamp": "2026-05-01T08:00:00Z", "finalizers": null,
            "labels": {"app": "web"}, "name": "web", "namespace": "default", "resourceVersion": "7", "uid": "u",
            "managedFields": [{"fieldsV1": {"f:spec": {"f:ports": {".": {}, "k:{\"port\":80}": {"f:name": {}}}}}}]
        },
        "spec": {
            "allocateLoadBalancerNodePorts": true, "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "externalIPs": null, "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"appProtocol": "http", "name": "http", "nodePort": 30080, "port": 80, "protocol": "TCP",
                       "targetPort": "web"}],
            "selector": {"app": "web"}, "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}, "type": "LoadBalancer"
        },
        "status": {
            "conditions": [], "loadBalancer": {"ingress": [
                {"ip": "192.0.2.1", "ipMode": "VIP", "ports": [{"port": 80, "protocol": "TCP"}]},
                {"hostname": "lb.example.org"}
            ]}
        }
    }"#;

    #[test]
    fn a_service_as_kubectl_prints_it_is_read() {
        let Object::Service(service) = only(SERVICE) else { panic!("no service") };
        assert_eq!(service.key().to_string(), "Service default/web");
        assert_eq!(service.metadata.creation_timestamp.as_deref(), Some("2026-05-01T08:00:00Z"));
        assert_eq!(service.metadata.annotations.scheduler, Some(Word::Known(Scheduler::Lc)));
        let spec = &service.spec;
        assert_eq!(spec.service_type, Some(Word::Known(ServiceType::LoadBalancer)));
        assert_eq!(*spec.cluster_ips, ["10.96.0.9".into()]);
        assert_eq!(*spec.external_ips, []);
        assert_eq!(spec.external_traffic_policy, Some(Word::Known(TrafficPolicy::Local)));
        assert_eq!(
            (spec.ports[0].name.as_deref(), spec.ports[0].port, spec.ports[0].node_port),
            (Some("http"), 80, 30080)
        );
        let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        assert_eq!(config.and_then(|client_ip| client_ip.timeout_seconds), Some(10_800));
        let ingress = &service.status.load_balancer.ingress;
        assert_eq!((ingress[0].ip.clone(), ingress[1].ip.clone()), (Some("192.0.2.1".into()), None));
        assert_eq!(ingress[0].ip_mode, Some(Word::Known(IpMode::Vip)));
    }

    #[test]
    fn a_slice_is_the_same_in_yaml_and_json_alone_and_in_a_list() {
        let yaml = "addressType: IPv4\napiVersion: discovery.k8s.io/v1\nendpoints:\n- addresses:\n  - 10.0.0.1\n  - 10.0.0.2\n  \
                    conditions:\n    ready: true\n    serving: null\n  hints:\n    forZones:\n    - name: a\n  nodeName: n\n  \
                    targetRef:\n    kind: Pod\n  zone: a\n- addresses: null\n  conditions: null\n  nodeName: null\nkind: EndpointSlice\n\
                    metadata:\n  labels:\n    kubernetes.io/service-name: web\n    service.kubernetes.io/headless: \"\"\n  \
                    name: s\nports:\n- appProtocol: null\n  name: \"\"\n  port: 80\n  protocol: TCP\n";
        let json = r#"{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "s", "namespace": "default",
                         "labels": {"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}},
            "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.2"], "conditions": {"ready": true},
                           "hints": {"forZones": [{"name": "a"}]}, "nodeName": "n"}, {"addresses": []}],
            "ports": [{"name": "", "protocol": "TCP", "port": 80}]}"#;
        let list = format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{json}]}}");
        let Object::EndpointSlice(slice) = only(yaml) else { panic!("no slice") };
        assert_eq!(slice.endpoints[0].address, Some("10.0.0.1".into()));
        assert_eq!(slice.endpoints[0].hints.as_ref().unwrap().for_zones, ["a".into()].into());
        assert_eq!(slice.endpoints[1], SliceEndpoint::default());
        assert!(slice.metadata.labels.headless);
        assert_eq!(only(yaml), only(json));
        assert_eq!(only(json), only(&list));
    }

    #[test]
    fn what_health_depends_on_is_read() {
        let Object::Service(service) = only(SERVICE) else { panic!("no service") };
        assert_eq!(service.spec.health_check_node_port, 31000);
        let node = |more: &str| match only(&format!("{{apiVersion: v1, kind: Node, metadata: {{name: n, {more}}}")) {
            Object::Node(node) => (node.metadata.is_being_deleted, node.spec.taints.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!(node("deletionTimestamp: null}, spec: {taints: null}"), (false, 0));
        let tainted = "deletionTimestamp: \"2026-05-01T08:00:00Z\"}, spec: {taints: [{key: a, effect: NoSchedule}]}";
        assert_eq!(node(tainted), (true, 1));
    }

    #[test]
    fn the_time_of_a_slices_change_is_read_if_it_is_one() {
        let trigger = |annotations: &str| {
            let text = format!(
                "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
                 metadata: {{name: s, annotations: {annotations}}}}}"
            );
            let Object::EndpointSlice(slice) = only(&text) else { panic!("no slice") };
            slice.metadata.annotations.last_change_trigger_time
        };
        let name = "endpoints.kubernetes.io/last-change-trigger-time";
        let expected = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1500);
        assert_eq!(trigger(&format!("{{{name}: \"1970-01-01T00:00:01.5Z\", other: x}}")), Some(expected));
        for nothing in ["null".to_owned(), "{}".to_owned(), format!("{{{name}: banana}}")] {
            assert_eq!(trigger(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn an_endpoint_is_small() {
        assert!(size_of::<SliceEndpoint>() <= 56, "{}", size_of::<SliceEndpoint>());
    }
}
