//! v1 Service.

use std::sync::Arc;

use allocation::{FamilyPolicy, Labels};
use backend_api::{Protocol, Scheduler, ServiceName};
use serde::Deserialize;

use super::labels::{ServiceAnnotations, ServiceLabels};
use super::metadata::or_default;
use super::text::repeated;
use super::{Address, Keyword, Kind, Metadata, ObjectKey, Uid, Word};

/// v1 Service. What only matters for the address of a LoadBalancer is kept of a LoadBalancer alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenService")]
pub struct Service {
    /// `metadata`.
    pub metadata: Metadata<ServiceLabels, ServiceAnnotations, Uid>,
    /// `spec`.
    pub spec: ServiceSpec,
    /// `status`.
    pub status: ServiceStatus,
}

/// A Service, with all that was written.
#[derive(Deserialize)]
struct WrittenService {
    metadata: Metadata<ServiceLabels, ServiceAnnotations, Uid>,
    #[serde(default, deserialize_with = "or_default")]
    spec: ServiceSpec,
    #[serde(default, deserialize_with = "or_default")]
    status: ServiceStatus,
}

impl From<WrittenService> for Service {
    fn from(WrittenService { mut metadata, mut spec, status }: WrittenService) -> Self {
        let is_load_balancer = spec.service_type == Some(Word::Known(ServiceType::LoadBalancer));
        if !is_load_balancer {
            (metadata.labels.all, spec.selector) = (None, None);
        }
        Self { metadata, spec, status }
    }
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `type`; missing means ClusterIP.
    #[serde(rename = "type", default)]
    pub service_type: Option<Word<ServiceType>>,
    /// `clusterIP`: an address, `None`, or empty.
    #[serde(rename = "clusterIP", default)]
    pub cluster_ip: Option<Address>,
    /// `clusterIPs`, at most one of each family.
    #[serde(rename = "clusterIPs", default, deserialize_with = "or_default")]
    pub cluster_ips: Box<[Address]>,
    /// `externalIPs`.
    #[serde(rename = "externalIPs", default, deserialize_with = "or_default")]
    pub external_ips: Box<[Address]>,
    /// `ports`.
    #[serde(default, deserialize_with = "or_default")]
    pub ports: Box<[ServicePort]>,
    /// `sessionAffinity`; missing means None.
    #[serde(default)]
    pub session_affinity: Option<Word<AffinityKind>>,
    /// `sessionAffinityConfig`.
    #[serde(default)]
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// `internalTrafficPolicy`; missing means Cluster.
    #[serde(default)]
    pub internal_traffic_policy: Option<Word<TrafficPolicy>>,
    /// `externalTrafficPolicy`; missing means Cluster.
    #[serde(default)]
    pub external_traffic_policy: Option<Word<TrafficPolicy>>,
    /// `loadBalancerSourceRanges`, as written.
    #[serde(default, deserialize_with = "or_default")]
    pub load_balancer_source_ranges: Box<[Box<str>]>,
    /// `healthCheckNodePort`; missing and 0 mean none.
    #[serde(default, deserialize_with = "or_default")]
    pub health_check_node_port: i64,
    /// `selector`, of a LoadBalancer only.
    #[serde(default)]
    pub selector: Option<Box<Labels>>,
    /// `ipFamilyPolicy`; missing means SingleStack.
    #[serde(default)]
    pub ip_family_policy: Option<Word<FamilyPolicy>>,
    /// `loadBalancerIP`, as written.
    #[serde(rename = "loadBalancerIP", default)]
    pub load_balancer_ip: Option<Box<str>>,
    /// `loadBalancerClass`.
    #[serde(default)]
    pub load_balancer_class: Option<Box<str>>,
}

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// A cluster address, or none.
    ClusterIp,
    /// Besides, a port on every node.
    NodePort,
    /// Besides, addresses that something outside announces.
    LoadBalancer,
    /// A name in the DNS and nothing else.
    ExternalName,
}

/// `spec.sessionAffinity` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffinityKind {
    /// Each connection chooses anew.
    None,
    /// By the client's address.
    ClientIp,
}

/// `spec.internalTrafficPolicy` or `spec.externalTrafficPolicy` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Endpoints anywhere.
    Cluster,
    /// Endpoints on the node that the connection meets.
    Local,
}

/// One of `spec.ports` of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// `name`; missing and empty are the same.
    #[serde(default, deserialize_with = "repeated")]
    pub name: Option<Arc<str>>,
    /// `protocol`; missing means TCP.
    #[serde(default)]
    pub protocol: Option<Word<Protocol>>,
    /// `port`.
    #[serde(default, deserialize_with = "or_default")]
    pub port: i64,
    /// `nodePort`; missing and 0 mean none.
    #[serde(default, deserialize_with = "or_default")]
    pub node_port: i64,
}

/// `spec.sessionAffinityConfig` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionAffinityConfig {
    /// `clientIP`.
    #[serde(rename = "clientIP", default)]
    pub client_ip: Option<ClientIpConfig>,
}

/// `spec.sessionAffinityConfig.clientIP` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientIpConfig {
    /// `timeoutSeconds`; missing means 10800.
    #[serde(default)]
    pub timeout_seconds: Option<i64>,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// `loadBalancer`.
    #[serde(default, deserialize_with = "or_default")]
    pub load_balancer: LoadBalancerStatus,
}

/// `status.loadBalancer` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct LoadBalancerStatus {
    /// `ingress`.
    #[serde(default, deserialize_with = "or_default")]
    pub ingress: Box<[IngressIp]>,
}

/// One of `status.loadBalancer.ingress` of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressIp {
    /// `ip`; missing or empty where the load balancer is known by a hostname.
    #[serde(default)]
    pub ip: Option<Address>,
    /// `ipMode`; missing means VIP (KEP-1860).
    #[serde(default)]
    pub ip_mode: Option<Word<IpMode>>,
}

/// `ipMode` of an ingress address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpMode {
    /// Connections arrive with the address still on them, and the node may answer in its place.
    Vip,
    /// The load balancer rewrites the address: clients inside have to go out to it.
    Proxy,
}

impl Service {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key(Kind::Service)
    }

    /// Its namespace and name.
    pub fn service_name(&self) -> ServiceName {
        ServiceName { namespace: self.metadata.namespace.clone(), name: self.metadata.name.clone() }
    }
}

impl Keyword for ServiceType {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "ClusterIP" | "" => Some(Self::ClusterIp),
            "NodePort" => Some(Self::NodePort),
            "LoadBalancer" => Some(Self::LoadBalancer),
            "ExternalName" => Some(Self::ExternalName),
            _ => None,
        }
    }
}

impl Keyword for FamilyPolicy {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "SingleStack" | "" => Some(Self::SingleStack),
            "PreferDualStack" => Some(Self::PreferDualStack),
            "RequireDualStack" => Some(Self::RequireDualStack),
            _ => None,
        }
    }
}

impl Keyword for AffinityKind {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "None" | "" => Some(Self::None),
            "ClientIP" => Some(Self::ClientIp),
            _ => None,
        }
    }
}

impl Keyword for Scheduler {
    fn from_word(word: &str) -> Option<Self> {
        word.parse().ok()
    }
}

impl Keyword for TrafficPolicy {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "Cluster" | "" => Some(Self::Cluster),
            "Local" => Some(Self::Local),
            _ => None,
        }
    }
}

impl Keyword for IpMode {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "VIP" => Some(Self::Vip),
            "Proxy" => Some(Self::Proxy),
            _ => None,
        }
    }
}
