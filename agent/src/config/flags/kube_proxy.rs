//! kube-proxy's flags that a configuration file takes the place of.

use std::path::PathBuf;

use clap::Args;

use super::detect::{DetectLocalMode, detector};
use super::on;
use crate::config::Unbound;
use crate::config::duration::GoDuration;
use crate::config::findings::{Findings, Mistake, Place};
use crate::config::ipvs::{KernelTimeout, SchedulerName};
use crate::config::mode::ProxyMode;
use crate::config::words::{AnyText, BindAddress, ServerAddress, Switch, Unless};
use crate::config::written::Written;
use kubernetes::settings::{ClusterCidrs, InterfaceName, LocalDetector, NodePortSelection};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of kube-proxy, in place of which --config counts")]
pub(super) struct KubeProxyFlags {
    /// kubeconfig file of the cluster; without it, the service account of this pod
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<Unless<AnyText>>,

    /// Who programs the kernel, in kube-proxy's words: nftables, ipvs or iptables (nftables does it then)
    #[arg(long, value_name = "MODE")]
    proxy_mode: Option<ProxyMode>,

    /// The node's own address, in place of that of its family in the Node object; 0.0.0.0 and :: leave that
    #[arg(long, value_name = "IP")]
    bind_address: Option<Unless<BindAddress>>,

    /// End with an error where an address of health or metrics cannot be bound, and do not try again
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    bind_address_hard_fail: Option<Switch>,

    /// Where /healthz and /livez are; empty is nowhere [default: 0.0.0.0:10256]
    #[arg(long, value_name = "IP[:PORT]")]
    healthz_bind_address: Option<ServerAddress>,

    /// Port of --healthz-bind-address, where that names none; 0 is nowhere. Deprecated by kube-proxy
    #[arg(long, value_name = "PORT")]
    healthz_port: Option<u16>,

    /// Where /metrics, /proxyMode and /configz are; empty is nowhere [default: 127.0.0.1:10249]
    #[arg(long, value_name = "IP[:PORT]")]
    metrics_bind_address: Option<ServerAddress>,

    /// Port of --metrics-bind-address, where that names none; 0 is nowhere. Deprecated by kube-proxy
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,

    /// Ranges of the cluster's pods, one for each family, separated by commas: 10.244.0.0/16,fd00:10:244::/56
    #[arg(long, value_name = "CIDR[,CIDR]")]
    cluster_cidr: Option<ClusterCidrs>,

    /// How a connection from a local pod is told from others: by its source address, in --cluster-cidr (ClusterCIDR) or
    /// in a pod range of this node's Node object (NodeCIDR); or by where it enters, the bridge (BridgeInterface) or the name
    /// of the interface (InterfaceNamePrefix) [default: ClusterCIDR]
    #[arg(long, value_name = "MODE")]
    detect_local_mode: Option<Unless<DetectLocalMode>>,

    /// The bridge that local pods' packets enter through, for --detect-local-mode BridgeInterface
    #[arg(long, value_name = "NAME")]
    pod_bridge_interface: Option<Unless<InterfaceName>>,

    /// How the names of the interfaces begin that local pods' packets enter through, for --detect-local-mode
    /// InterfaceNamePrefix
    #[arg(long, value_name = "PREFIX")]
    pod_interface_name_prefix: Option<Unless<InterfaceName>>,

    /// Which of the node's addresses carry node ports: `primary` (those of its Node object), `all`, `localhost`, or
    /// ranges, separated by commas [default: primary]
    #[arg(long, value_name = "primary|all|localhost|CIDR[,...]", action = clap::ArgAction::Append)]
    nodeport_addresses: Vec<NodePortSelection>,

    /// Node ports on 127.0.0.1 too, where --nodeport-addresses does not leave it out [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    iptables_localhost_nodeports: Option<Switch>,

    /// Rewrite the source of every connection to a cluster address, whoever dials
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    masquerade_all: Option<Switch>,

    /// How readily the kernel ends this process where memory is short, -1000 to 1000 [default: -999]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i16).range(-1000..=1000))]
    oom_score_adj: Option<i16>,

    /// Connections that the kernel can track, for each processor; 0 leaves the kernel's own number [default: 32768]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=MOST))]
    conntrack_max_per_core: Option<u32>,

    /// Connections that the kernel can track at least [default: 131072]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=MOST))]
    conntrack_min: Option<u32>,

    /// How long the kernel remembers an idle TCP connection; 0 leaves the kernel's own time [default: 24h]
    #[arg(long, value_name = "DURATION")]
    conntrack_tcp_timeout_established: Option<GoDuration>,

    /// How long the kernel remembers a TCP connection that one side has closed; 0 leaves the kernel's own time [default: 1h]
    #[arg(long, value_name = "DURATION")]
    conntrack_tcp_timeout_close_wait: Option<GoDuration>,

    /// Let the kernel track TCP packets outside the window too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    conntrack_tcp_be_liberal: Option<Switch>,

    /// How long the kernel remembers a UDP flow without an answer; 0 leaves the kernel's own time
    #[arg(long, value_name = "DURATION")]
    conntrack_udp_timeout: Option<GoDuration>,

    /// How long the kernel remembers an answered UDP flow; 0 leaves the kernel's own time
    #[arg(long, value_name = "DURATION")]
    conntrack_udp_timeout_stream: Option<GoDuration>,

    /// Who chooses the endpoint, where a service's annotation `switchyard.dev/scheduler` names nobody: rr, wrr, lc, wlc, fo,
    /// ovf, lblc, lblcr, sh, mh, sed, nq or twos, as far as the kernel has them. (Not dh, which finds no way round an endpoint
    /// that drains.) Empty is wrr, which is rr where all endpoints weigh the same
    #[arg(long, value_name = "NAME")]
    ipvs_scheduler: Option<SchedulerName>,

    /// Answer ARP on the interface alone that has the address (arp_ignore=1, arp_announce=2)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipvs_strict_arp: Option<Switch>,

    /// How long an idle TCP connection is remembered by IPVS, such as 15m or 1h30m. 0 raises the kernel's own to
    /// nf_conntrack_tcp_timeout_established, and never lowers it
    #[arg(long, value_name = "DURATION")]
    ipvs_tcp_timeout: Option<KernelTimeout>,

    /// How long a TCP connection is remembered by IPVS after a FIN. 0 leaves the kernel's own
    #[arg(long, value_name = "DURATION")]
    ipvs_tcpfin_timeout: Option<KernelTimeout>,

    /// How long a UDP flow is remembered by IPVS. 0 leaves the kernel's own
    #[arg(long, value_name = "DURATION")]
    ipvs_udp_timeout: Option<KernelTimeout>,
}

/// kube-proxy counts in 32 bits with a sign.
const MOST: i64 = i32::MAX as i64;

impl KubeProxyFlags {
    /// What the flags say; `above` is what counts more.
    pub(super) fn written(&self, above: &Written, findings: &mut Findings) -> Written {
        if self.proxy_mode == Some(ProxyMode::Iptables) && above.backend.is_none() {
            findings.remark(Place::Flag("proxy-mode".into()), ProxyMode::IPTABLES);
        }
        let time = |written: Option<GoDuration>| written.map(|GoDuration(duration)| duration);
        Written {
            kubeconfig: self.kubeconfig.clone().and_then(Unless::said).map(|AnyText(path)| PathBuf::from(path)),
            backend: self.proxy_mode.and_then(ProxyMode::backend),
            bind_address: self.bind_address.clone().and_then(Unless::said),
            unbound: on(self.bind_address_hard_fail).map(Unbound::hard_fail),
            healthz: ServerAddress::of(self.healthz_bind_address, self.healthz_port),
            metrics: ServerAddress::of(self.metrics_bind_address, self.metrics_port),
            local_traffic: self.local_traffic(findings),
            node_ports: self.nodeport_addresses.iter().cloned().reduce(NodePortSelection::and),
            localhost_node_ports: on(self.iptables_localhost_nodeports),
            masquerade_all: on(self.masquerade_all),
            oom_score_adj: self.oom_score_adj,
            max_per_core: self.conntrack_max_per_core,
            min: self.conntrack_min,
            tcp_established: time(self.conntrack_tcp_timeout_established),
            tcp_close_wait: time(self.conntrack_tcp_timeout_close_wait),
            tcp_be_liberal: on(self.conntrack_tcp_be_liberal),
            udp: time(self.conntrack_udp_timeout),
            udp_stream: time(self.conntrack_udp_timeout_stream),
            scheduler: self.ipvs_scheduler.map(|SchedulerName(scheduler)| scheduler),
            strict_arp: on(self.ipvs_strict_arp),
            ipvs_tcp: self.ipvs_tcp_timeout,
            ipvs_tcp_fin: self.ipvs_tcpfin_timeout,
            ipvs_udp: self.ipvs_udp_timeout,
            ..Written::default()
        }
    }

    fn local_traffic(&self, findings: &mut Findings) -> Option<LocalDetector> {
        let mode = self.detect_local_mode.clone().and_then(Unless::said).unwrap_or(DetectLocalMode::ClusterCidr);
        let bridge = self.pod_bridge_interface.clone().and_then(Unless::said);
        let prefix = self.pod_interface_name_prefix.clone().and_then(Unless::said);
        let found = detector(mode, self.cluster_cidr.clone().unwrap_or_default(), bridge, prefix);
        let place = || Place::Flag("detect-local-mode".into());
        found.map_err(|lacking| findings.mistake(Mistake { place: place(), reason: lacking.flag().into() })).ok()
    }
}
