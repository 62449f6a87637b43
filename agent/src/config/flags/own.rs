//! Flags that override the file: Switchyard's own, and those that kube-proxy treats so.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::on;
use crate::config::duration::GoDuration;
use crate::config::ipvs::DrainTimeout;
use crate::config::settings::Written;
use crate::config::words::{LoadBalancerClass, PoolNamespace, PoolRange, Switch, Unless};
use crate::config::{Announce, Backend, ByService, KubeProxyRules, OnStop};
use kubernetes::settings::NodeName;
use kubernetes::source::{ServerUrl, ServerUrlError};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options that override --config")]
pub(super) struct OwnFlags {
    /// Folder of YAML or JSON files with Services, EndpointSlices, Endpoints, Nodes and ServiceCIDRs, as
    /// `kubectl get -o yaml` prints them, in place of the Kubernetes API. The folder is watched [default: the
    /// Kubernetes API]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,

    /// Which backend programs the kernel; overrides --proxy-mode [default: nftables]
    #[arg(long, value_name = "NAME", ignore_case = true)]
    backend: Option<Backend>,

    /// Name of this node's Node object [default: the host's name]
    #[arg(long, value_name = "NAME")]
    hostname_override: Option<Unless<NodeName>>,

    /// URLs of the cluster's API servers, in place of the one in the kubeconfig; if one does not answer, the next is
    /// tried
    #[arg(long, value_name = "URL[,URL...]")]
    master: Option<Masters>,

    /// An API server that sends nothing for this long is not reachable, and the connection is closed; 0 is the default
    /// [default: 90s]
    #[arg(long, value_name = "DURATION")]
    api_silence: Option<GoDuration>,

    /// Remove the rules that kube-proxy left, after Switchyard's are in place [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cleanup_kube_proxy: Option<Switch>,

    /// Count connections by service in the metrics, for at most this many services by name; all others share one sum. 0
    /// turns it off [default: 0]
    #[arg(long, value_name = "COUNT")]
    connections_by_service: Option<usize>,

    /// Hand established TCP connections through services to the kernel's flowtable, where they pass no rule of this
    /// node any more. Each packet triggers it with probability 1/PACKETS; 0 turns it off. Has no effect with the IPVS
    /// backend [default: 0]
    #[arg(long, value_name = "PACKETS", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    flowtable_after: Option<u32>,

    /// The most elements that one service may need: each address and port counts as one, and as many as it has
    /// endpoints. A larger service is refused; 0 allows any size [default: 250000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    max_service_elements: Option<u32>,

    /// The most elements that all services may need together. Where they need more, the largest are refused; 0 allows
    /// any number [default: 1000000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    max_elements: Option<u32>,

    /// IPVS: how long TCP connections to a removed endpoint may continue; 0 cuts them within seconds [default: 24h]
    #[arg(long, value_name = "DURATION")]
    ipvs_drain_timeout: Option<DrainTimeout>,

    /// Answer ARP and neighbour discovery for the addresses of LoadBalancer services that this node forwards and that
    /// an L2Advertisement selects. Needs CAP_NET_RAW [default: off]
    #[arg(long, value_name = "WHETHER", ignore_case = true)]
    announce: Option<Announce>,

    /// What becomes of the addresses that this node holds when the agent is told to end [default: pause]
    #[arg(long, value_name = "WHAT", ignore_case = true)]
    announce_on_stop: Option<OnStop>,

    /// Take an address back from a node that is as good, if this one is the first in MetalLB's order. Each time that a
    /// node comes back, connections break then [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    announce_failback: Option<Switch>,

    /// Namespace whose IPAddressPools and L2Advertisements count [default: metallb-system]
    #[arg(long, value_name = "NAME")]
    load_balancer_namespace: Option<PoolNamespace>,

    /// Announce addresses of services of this class, and of no others [default: services without a class]
    #[arg(long, alias = "lb-class", value_name = "CLASS")]
    load_balancer_class: Option<LoadBalancerClass>,

    /// Announce these addresses, 192.0.2.0/24 or 192.0.2.10-192.0.2.20, on all interfaces, without an IPAddressPool and
    /// an L2Advertisement. May be there several times
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    load_balancer_pool: Vec<PoolRange>,
}

/// URLs; none if empty.
#[derive(Clone, Debug)]
struct Masters(Vec<ServerUrl>);

impl OwnFlags {
    pub(super) fn written(&self) -> Written {
        Written {
            source: self.source.clone(),
            backend: self.backend,
            node_name: self.hostname_override.clone().and_then(Unless::said),
            masters: self.master.clone().map(|Masters(urls)| urls).filter(|urls| !urls.is_empty()),
            silence: self.api_silence.map(GoDuration::into),
            kube_proxy: on(self.cleanup_kube_proxy).map(KubeProxyRules::cleanup),
            by_service: self.connections_by_service.map(ByService::at_most),
            flowtable_after: self.flowtable_after,
            max_service_elements: self.max_service_elements,
            max_elements: self.max_elements,
            drain: self.ipvs_drain_timeout,
            announce: self.announce,
            announce_on_stop: self.announce_on_stop,
            announce_failback: on(self.announce_failback),
            load_balancer_namespace: self.load_balancer_namespace.clone(),
            load_balancer_class: self.load_balancer_class.clone(),
            load_balancer_pool: Some(self.load_balancer_pool.clone()).filter(|pool| !pool.is_empty()),
            ..Written::default()
        }
    }
}

impl FromStr for Masters {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
        Ok(Self(urls.map(str::parse).collect::<Result<_, _>>()?))
    }
}
