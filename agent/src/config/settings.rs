//! Every setting: its value in effect ([`Config`]), what was written of it ([`Written`]), and its default.
//!
//! Flags and files parse into the same `Written`. One is laid over the other, and defaults are applied in one place,
//! [`Written::config`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use announce::election::Incumbency;
use backend_api::{Family, Scheduler};
use kubernetes::settings::{Budget, ClusterCidrs, LocalDetector, NodeName, NodePortSelection};
use kubernetes::source::{ApiConfig, ServerUrl, SourceConfig};

use super::announcing::{Announce, AnnounceConfig, OnStop};
use super::backend::Backend;
use super::findings::{ConfigError, Mistake, Place};
use super::ipvs::{DEFAULT_SCHEDULER, DrainTimeout, IpvsConfig, IpvsTimeouts, KernelTimeout};
use super::verbosity::Verbosity;
use super::words::{BindAddress, LoadBalancerClass, PoolNamespace, PoolRange, ServerAddress};

/// A node agent's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of this node's Node object.
    pub node_name: NodeName,
    /// The node's own address, in place of the first of its family in the Node object.
    pub node_address: Option<IpAddr>,
    /// Which backend programs the kernel.
    pub backend: Backend,
    /// Options of the IPVS backend; the nftables backend ignores them.
    pub ipvs: IpvsConfig,
    /// How connections of local pods are told from others.
    pub local_traffic: LocalDetector,
    /// Which of the node's addresses carry node ports.
    pub node_ports: NodePortSelection,
    /// Whether every connection to a cluster address gets the node's address as source.
    pub masquerade_all: bool,
    /// An established connection is handed to a flowtable with probability 1 in this many packets; never if `None`.
    pub flowtable_after: Option<NonZeroU32>,
    /// How many elements services may have.
    pub budget: Budget,
    /// Where objects come from.
    pub source: SourceConfig,
    /// Health and metrics.
    pub servers: ServersConfig,
    /// What is set on the node at start.
    pub host: HostConfig,
    /// What happens to the rules of a kube-proxy that ran on this node before.
    pub kube_proxy: KubeProxyRules,
    /// Whether and how addresses of LoadBalancer services are announced.
    pub announcing: AnnounceConfig,
    /// How much is logged.
    pub verbosity: Verbosity,
}

impl Config {
    /// Every default, for the node `node_name`; objects come from the Kubernetes API.
    pub fn new(node_name: NodeName) -> Self {
        Written::default().of_node(node_name)
    }
}

/// What happens to the rules that kube-proxy left in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KubeProxyRules {
    /// They are removed after the agent's own rules are programmed.
    #[default]
    Removed,
    /// They stay.
    Left,
}

impl KubeProxyRules {
    /// As `--cleanup-kube-proxy` says it.
    pub(super) fn cleanup(wanted: bool) -> Self {
        if wanted { Self::Removed } else { Self::Left }
    }
}

/// The agent's own servers, for health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServersConfig {
    /// Address of `/healthz` and `/livez`; with `None` they are not served.
    pub healthz: Option<SocketAddr>,
    /// Address of `/metrics`, `/proxyMode` and `/configz`; with `None` they are not served.
    pub metrics: Option<SocketAddr>,
    /// What happens if one of these addresses cannot be bound.
    pub unbound: Unbound,
    /// Whether connections are counted for each service. Each service is a time series then.
    pub connections_by_service: ByService,
}

/// What happens if an address of the agent's own servers cannot be bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unbound {
    /// It is logged and tried again.
    #[default]
    Retried,
    /// The agent ends with an error.
    Fatal,
}

/// How finely connections are counted in metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByService {
    /// Not at all.
    #[default]
    No,
    /// For the first services by name, at most this many; all others share one sum.
    AtMost(usize),
}

impl Unbound {
    /// As `--bind-address-hard-fail` says it.
    pub(super) fn hard_fail(fatal: bool) -> Self {
        if fatal { Self::Fatal } else { Self::Retried }
    }
}

impl ByService {
    /// For at most this many services; 0 is not at all.
    pub(super) fn at_most(services: usize) -> Self {
        if services == 0 { Self::No } else { Self::AtMost(services) }
    }
}

impl Default for ServersConfig {
    fn default() -> Self {
        Self {
            healthz: Some((Ipv4Addr::UNSPECIFIED, 10256).into()),
            metrics: Some((Ipv4Addr::LOCALHOST, 10249).into()),
            unbound: Unbound::Retried,
            connections_by_service: ByService::No,
        }
    }
}

/// What the agent sets on the node for itself, not for a service: connection tracking, and its own OOM score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Size and timeouts of connection tracking.
    pub conntrack: ConntrackConfig,
    /// `oom_score_adj` of the agent, −1000 to 1000; `None` leaves it as it is.
    pub oom_score_adj: Option<i16>,
}

/// kube-proxy's `conntrack` section. `None` leaves the kernel's own value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConntrackConfig {
    /// Entries for each processor.
    pub max_per_core: Option<u32>,
    /// Least number of entries, for any number of processors.
    pub min: Option<u32>,
    /// `nf_conntrack_tcp_timeout_established`.
    pub tcp_established_timeout: Option<Duration>,
    /// `nf_conntrack_tcp_timeout_close_wait`.
    pub tcp_close_wait_timeout: Option<Duration>,
    /// `nf_conntrack_tcp_be_liberal`: set where this is true, and never reset.
    pub tcp_be_liberal: bool,
    /// `nf_conntrack_udp_timeout`.
    pub udp_timeout: Option<Duration>,
    /// `nf_conntrack_udp_timeout_stream`.
    pub udp_stream_timeout: Option<Duration>,
}

impl HostConfig {
    /// Nothing is set on the node: for an agent inside another program.
    pub fn untouched() -> Self {
        let conntrack = ConntrackConfig {
            max_per_core: None,
            min: None,
            tcp_established_timeout: None,
            tcp_close_wait_timeout: None,
            ..ConntrackConfig::default()
        };
        Self { conntrack, oom_score_adj: None }
    }
}

impl Default for HostConfig {
    fn default() -> Self {
        Self { conntrack: ConntrackConfig::default(), oom_score_adj: Some(-999) }
    }
}

/// As kube-proxy's.
impl Default for ConntrackConfig {
    fn default() -> Self {
        Self {
            max_per_core: Some(32 * 1024),
            min: Some(128 * 1024),
            tcp_established_timeout: Some(Duration::from_secs(24 * 3600)),
            tcp_close_wait_timeout: Some(Duration::from_secs(3600)),
            tcp_be_liberal: false,
            udp_timeout: None,
            udp_stream_timeout: None,
        }
    }
}

/// A struct of options, of which one can be laid over another.
macro_rules! settings {
    ($($(#[$doc:meta])* $setting:ident: $value:ty,)*) => {
        /// What was written of each setting.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(super) struct Written {
            $($(#[$doc])* pub(super) $setting: Option<$value>,)*
        }

        impl Written {
            /// What is written here; where nothing is, what is written `below`.
            pub(super) fn over(self, below: Self) -> Self {
                Self { $($setting: self.$setting.or(below.$setting),)* }
            }
        }
    };
}

settings! {
    node_name: NodeName,
    bind_address: BindAddress,
    backend: Backend,
    scheduler: Scheduler,
    strict_arp: bool,
    ipvs_tcp: KernelTimeout,
    ipvs_tcp_fin: KernelTimeout,
    ipvs_udp: KernelTimeout,
    drain: DrainTimeout,
    local_traffic: LocalDetector,
    node_ports: NodePortSelection,
    /// Whether 127.0.0.1 carries node ports, unless `node_ports` leaves it out.
    localhost_node_ports: bool,
    masquerade_all: bool,
    flowtable_after: u32,
    max_service_elements: u32,
    max_elements: u32,
    source: PathBuf,
    kubeconfig: PathBuf,
    masters: Vec<ServerUrl>,
    silence: Duration,
    healthz: ServerAddress,
    metrics: ServerAddress,
    unbound: Unbound,
    by_service: ByService,
    max_per_core: u32,
    min: u32,
    tcp_established: Duration,
    tcp_close_wait: Duration,
    tcp_be_liberal: bool,
    udp: Duration,
    udp_stream: Duration,
    oom_score_adj: i16,
    kube_proxy: KubeProxyRules,
    announce: Announce,
    announce_on_stop: OnStop,
    announce_failback: bool,
    load_balancer_namespace: PoolNamespace,
    load_balancer_class: LoadBalancerClass,
    load_balancer_pool: Vec<PoolRange>,
    verbosity: Verbosity,
}

const HEALTHZ_PORT: u16 = 10256;
const METRICS_PORT: u16 = 10249;

impl Written {
    /// The configuration that this comes to.
    ///
    /// # Errors
    /// If the node is not named, and the host's own name cannot be a node's.
    pub(super) fn config(self) -> Result<Config, ConfigError> {
        let node_name = match self.node_name.clone() {
            Some(name) => name,
            None => NodeName::of_host().map_err(|error| Mistake {
                place: Place::Flag("hostname-override".into()),
                reason: format!("missing, and {error}"),
            })?,
        };
        Ok(self.of_node(node_name))
    }

    fn of_node(self, node_name: NodeName) -> Config {
        Config {
            node_name,
            node_address: self.bind_address.map(|BindAddress(address)| address).filter(|ip| !ip.is_unspecified()),
            backend: self.backend.unwrap_or_default(),
            ipvs: self.ipvs(),
            local_traffic: match &self.local_traffic {
                Some(detector) => detector.clone(),
                None => LocalDetector::ClusterCidrs(ClusterCidrs::default()),
            },
            node_ports: self.node_ports(),
            masquerade_all: self.masquerade_all.unwrap_or(false),
            flowtable_after: self.flowtable_after.and_then(NonZeroU32::new),
            budget: self.budget(),
            servers: self.servers(),
            host: self.host(),
            kube_proxy: self.kube_proxy.unwrap_or_default(),
            announcing: self.announcing(),
            verbosity: self.verbosity.unwrap_or(Verbosity::AGENT),
            source: self.source(),
        }
    }

    fn budget(&self) -> Budget {
        let usual = Budget::default();
        let at_most =
            |said: Option<u32>, usual| said.map_or(usual, |said| NonZeroU32::new(said).unwrap_or(NonZeroU32::MAX));
        Budget {
            of_service: at_most(self.max_service_elements, usual.of_service),
            in_all: at_most(self.max_elements, usual.in_all),
        }
    }

    fn ipvs(&self) -> IpvsConfig {
        let timeouts = IpvsTimeouts {
            tcp: self.ipvs_tcp.and_then(|KernelTimeout(tcp)| tcp),
            tcp_fin: self.ipvs_tcp_fin.and_then(|KernelTimeout(tcp_fin)| tcp_fin),
            udp: self.ipvs_udp.and_then(|KernelTimeout(udp)| udp),
        };
        IpvsConfig {
            scheduler: self.scheduler.unwrap_or(DEFAULT_SCHEDULER),
            strict_arp: self.strict_arp.unwrap_or(false),
            timeouts,
            drain: self.drain.map_or(IpvsConfig::default().drain, |DrainTimeout(drain)| drain),
        }
    }

    /// As kube-proxy's iptables mode: it answers on localhost if the addresses contain it, and without addresses all
    /// are meant.
    fn node_ports(&self) -> NodePortSelection {
        let covered = self.node_ports.as_ref().is_none_or(|selection| selection.names(Ipv4Addr::LOCALHOST.into()));
        let selection = self.node_ports.clone().unwrap_or_default();
        if self.localhost_node_ports == Some(true) && covered {
            selection.with_localhost(Family::V4)
        } else {
            selection
        }
    }

    /// Servers without addresses of their own listen in the family of the node's address.
    fn servers(&self) -> ServersConfig {
        let (everywhere, here): (IpAddr, IpAddr) = match self.bind_address {
            Some(BindAddress(IpAddr::V6(_))) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
            _ => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
        };
        ServersConfig {
            healthz: self.healthz.unwrap_or_default().place((everywhere, HEALTHZ_PORT).into()),
            metrics: self.metrics.unwrap_or_default().place((here, METRICS_PORT).into()),
            unbound: self.unbound.unwrap_or_default(),
            connections_by_service: self.by_service.unwrap_or_default(),
        }
    }

    fn announcing(&self) -> AnnounceConfig {
        let usual = AnnounceConfig::default();
        AnnounceConfig {
            announce: self.announce.unwrap_or(usual.announce),
            on_stop: self.announce_on_stop.unwrap_or(usual.on_stop),
            incumbency: if self.announce_failback == Some(true) { Incumbency::Failback } else { usual.incumbency },
            namespace: match &self.load_balancer_namespace {
                Some(PoolNamespace(namespace)) => namespace.as_str().into(),
                None => usual.namespace,
            },
            class: self.load_balancer_class.clone().map(|LoadBalancerClass(class)| class.into()),
            pool: self.load_balancer_pool.iter().flatten().map(|PoolRange(range)| *range).collect(),
        }
    }

    fn host(&self) -> HostConfig {
        let usual = ConntrackConfig::default();
        HostConfig {
            conntrack: ConntrackConfig {
                max_per_core: unless_zero(self.max_per_core, usual.max_per_core),
                min: unless_zero(self.min, usual.min),
                tcp_established_timeout: unless_zero(self.tcp_established, usual.tcp_established_timeout),
                tcp_close_wait_timeout: unless_zero(self.tcp_close_wait, usual.tcp_close_wait_timeout),
                tcp_be_liberal: self.tcp_be_liberal.unwrap_or(usual.tcp_be_liberal),
                udp_timeout: unless_zero(self.udp, usual.udp_timeout),
                udp_stream_timeout: unless_zero(self.udp_stream, usual.udp_stream_timeout),
            },
            oom_score_adj: self.oom_score_adj.map_or(HostConfig::default().oom_score_adj, Some),
        }
    }

    fn source(self) -> SourceConfig {
        match self.source {
            Some(folder) => SourceConfig::Folder(folder),
            None => SourceConfig::Kubernetes(ApiConfig {
                kubeconfig: self.kubeconfig,
                masters: self.masters.unwrap_or_default(),
                silence: self.silence.filter(|silence| *silence > Duration::ZERO),
            }),
        }
    }
}

/// 0 leaves the kernel's own value. What is not written has kube-proxy's default.
fn unless_zero<T: Default + PartialEq>(written: Option<T>, usual: Option<T>) -> Option<T> {
    match written {
        Some(value) => Some(value).filter(|value| *value != T::default()),
        None => usual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_has_kube_proxys_default() {
        let config = Written::default().config().unwrap();
        assert_eq!(config.servers, ServersConfig::default());
        assert_eq!(config.host, HostConfig::default());
        assert_eq!(config.ipvs, IpvsConfig::default());
        assert_eq!(config.node_ports, NodePortSelection::default());
        assert_eq!(config.source, SourceConfig::Kubernetes(ApiConfig::default()));
    }

    #[test]
    fn servers_listen_in_the_family_of_the_nodes_address() {
        for address in ["::", "fd00::8"] {
            let written = Written { bind_address: Some(address.parse().unwrap()), ..Written::default() };
            let servers = written.config().unwrap().servers;
            assert_eq!(servers.healthz, Some("[::]:10256".parse().unwrap()));
            assert_eq!(servers.metrics, Some("[::1]:10249".parse().unwrap()));
        }
    }

    #[test]
    fn localhost_carries_node_ports_as_in_kube_proxys_iptables_mode() {
        for (addresses, wanted, localhost) in [
            (None, None, false),
            (None, Some(false), false),
            (None, Some(true), true),
            (Some("primary"), Some(true), false),
            (Some("192.168.0.0/16"), Some(true), false),
            (Some("0.0.0.0/0"), Some(true), true),
            (Some("0.0.0.0/0"), None, false),
            (Some("all"), Some(true), true),
            (Some("localhost"), Some(false), true),
        ] {
            let written = Written {
                node_ports: addresses.map(|text| text.parse().unwrap()),
                localhost_node_ports: wanted,
                ..Written::default()
            };
            let selection = written.config().unwrap().node_ports;
            assert_eq!(selection.asks_for_localhost(Family::V4), localhost, "{addresses:?} {wanted:?}");
        }
    }
}
