//! What was written of each setting, in flags or in a file, and what the whole comes to.
//!
//! Kept apart from where it was written: flags and files parse into the same value, one is laid over the other, and what
//! nobody has written gets its default in one place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use backend_api::{Family, Scheduler};
use kubernetes::settings::{ClusterCidrs, LocalDetector, NodeName, NodePortSelection};
use kubernetes::source::{ApiConfig, SourceConfig};

use super::findings::{ConfigError, Mistake, Place};
use super::host::{ConntrackConfig, HostConfig};
use super::ipvs::{DEFAULT_SCHEDULER, DrainTimeout, IpvsConfig, IpvsTimeouts, KernelTimeout};
use super::words::{BindAddress, Master, ServerAddress};
use super::{ByService, Config, KubeProxyRules, ServersConfig, Unbound, Verbosity};
use crate::backend::Backend;

/// A struct of options, one laid over the other.
macro_rules! settings {
    ($($(#[$doc:meta])* $setting:ident: $value:ty,)*) => {
        /// What was written of each setting.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(super) struct Written {
            $($(#[$doc])* pub(super) $setting: Option<$value>,)*
        }

        impl Written {
            /// What is written here, and what is written `below` where nothing is.
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
    /// Whether IPv4's localhost is among them, where it may be.
    localhost_node_ports: bool,
    masquerade_all: bool,
    flowtable_after: u32,
    source: PathBuf,
    kubeconfig: PathBuf,
    masters: Vec<Master>,
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
    verbosity: Verbosity,
}

const HEALTHZ_PORT: u16 = 10256;
const METRICS_PORT: u16 = 10249;

impl Written {
    /// The configuration that this comes to.
    ///
    /// # Errors
    /// Where nobody has named the node and the host's own name cannot be a node's.
    pub(super) fn config(self) -> Result<Config, ConfigError> {
        let node_name = match self.node_name.clone() {
            Some(name) => name,
            None => NodeName::of_host().map_err(|error| Mistake {
                place: Place::Flag("hostname-override".into()),
                reason: format!("missing, and {error}"),
            })?,
        };
        Ok(Config {
            node_name,
            node_address: self.bind_address.map(|BindAddress(address)| address).filter(|ip| !ip.is_unspecified()),
            backend: self.backend.unwrap_or(Backend::Nftables),
            ipvs: self.ipvs(),
            local_traffic: self
                .local_traffic
                .clone()
                .unwrap_or_else(|| LocalDetector::ClusterCidrs(ClusterCidrs::default())),
            node_ports: self.node_ports(),
            masquerade_all: self.masquerade_all.unwrap_or(false),
            flowtable_after: self.flowtable_after.and_then(NonZeroU32::new),
            servers: self.servers(),
            host: self.host(),
            kube_proxy: self.kube_proxy.unwrap_or_default(),
            verbosity: self.verbosity.unwrap_or(Verbosity::AGENT),
            source: self.source(),
        })
    }

    fn ipvs(&self) -> IpvsConfig {
        let timeout = |written: Option<KernelTimeout>| written.and_then(|KernelTimeout(timeout)| timeout);
        let timeouts = IpvsTimeouts {
            tcp: timeout(self.ipvs_tcp),
            tcp_fin: timeout(self.ipvs_tcp_fin),
            udp: timeout(self.ipvs_udp),
        };
        IpvsConfig {
            scheduler: self.scheduler.unwrap_or(DEFAULT_SCHEDULER),
            strict_arp: self.strict_arp.unwrap_or(false),
            timeouts,
            drain: self.drain.map_or(IpvsConfig::default().drain, |DrainTimeout(drain)| drain),
        }
    }

    /// kube-proxy's iptables mode answers on localhost where that is among the addresses, and all are unless some are named.
    fn node_ports(&self) -> NodePortSelection {
        let covered = self.node_ports.as_ref().is_none_or(|selection| selection.names(Ipv4Addr::LOCALHOST.into()));
        let selection = self.node_ports.clone().unwrap_or_default();
        if self.localhost_node_ports == Some(true) && covered {
            selection.with_localhost(Family::V4)
        } else {
            selection
        }
    }

    /// Without addresses of their own, servers listen in the family of the node's.
    fn servers(&self) -> ServersConfig {
        let (everywhere, here): (IpAddr, IpAddr) = match self.bind_address {
            Some(BindAddress(IpAddr::V6(_))) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
            _ => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
        };
        let place = |written: Option<ServerAddress>, ip, port| {
            written.unwrap_or(ServerAddress::At { ip: None, port: None }).place((ip, port).into())
        };
        ServersConfig {
            healthz: place(self.healthz, everywhere, HEALTHZ_PORT),
            metrics: place(self.metrics, here, METRICS_PORT),
            unbound: self.unbound.unwrap_or_default(),
            connections_by_service: self.by_service.unwrap_or_default(),
        }
    }

    fn host(&self) -> HostConfig {
        let usual = ConntrackConfig::default();
        // 0 leaves what the kernel has, nothing is kube-proxy's default.
        let count = |written: Option<u32>, usual| written.map_or(usual, |count| Some(count).filter(|count| *count > 0));
        let time = |written: Option<Duration>, usual| {
            written.map_or(usual, |time| Some(time).filter(|time| *time > Duration::ZERO))
        };
        HostConfig {
            conntrack: ConntrackConfig {
                max_per_core: count(self.max_per_core, usual.max_per_core),
                min: count(self.min, usual.min),
                tcp_established_timeout: time(self.tcp_established, usual.tcp_established_timeout),
                tcp_close_wait_timeout: time(self.tcp_close_wait, usual.tcp_close_wait_timeout),
                tcp_be_liberal: self.tcp_be_liberal.unwrap_or(usual.tcp_be_liberal),
                udp_timeout: time(self.udp, usual.udp_timeout),
                udp_stream_timeout: time(self.udp_stream, usual.udp_stream_timeout),
            },
            oom_score_adj: self.oom_score_adj.map_or(HostConfig::default().oom_score_adj, Some),
        }
    }

    fn source(self) -> SourceConfig {
        match self.source {
            Some(folder) => SourceConfig::Folder(folder),
            None => SourceConfig::Kubernetes(ApiConfig {
                kubeconfig: self.kubeconfig,
                masters: self.masters.unwrap_or_default().into_iter().map(|Master(url)| url).collect(),
                silence: self.silence.filter(|silence| *silence > Duration::ZERO),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_written_is_kube_proxys_default() {
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
    fn localhost_node_ports_are_where_kube_proxys_iptables_mode_has_them() {
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
