//! kube-proxy's flags that are ignored with --config, because the file has fields for them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::on;
use crate::config::Unbound;
use crate::config::backend::ProxyMode;
use crate::config::duration::GoDuration;
use crate::config::findings::{Findings, Mistake, Place};
use crate::config::ipvs::{KernelTimeout, SchedulerName};
use crate::config::settings::Written;
use crate::config::words::{AnyText, BindAddress, DetectLocalMode, ServerAddress, Switch, Unless, detector};
use kubernetes::settings::{ClusterCidrs, InterfaceName, LocalDetector, NodePortSelection};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of kube-proxy, ignored with --config")]
pub(super) struct KubeProxyFlags {
    /// kubeconfig file of the cluster [default: the service account of this pod]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<Unless<AnyText>>,

    /// Which backend programs the kernel, in kube-proxy's words: nftables, ipvs or iptables; iptables uses the nftables
    /// backend [default: nftables]
    #[arg(long, value_name = "MODE")]
    proxy_mode: Option<ProxyMode>,

    /// The node's own address, in place of the address of its family in the Node object. 0.0.0.0 and :: keep that one;
    /// servers without addresses of their own listen in this family
    #[arg(long, value_name = "IP")]
    bind_address: Option<Unless<BindAddress>>,

    /// End with an error if an address of health or metrics cannot be bound; without it, log and try again [default:
    /// false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    bind_address_hard_fail: Option<Switch>,

    /// Address of /healthz and /livez; empty turns them off [default: 0.0.0.0:10256]
    #[arg(long, value_name = "IP[:PORT]")]
    healthz_bind_address: Option<ServerAddress>,

    /// Port of --healthz-bind-address, if that has none; 0 turns the server off. Deprecated by kube-proxy
    #[arg(long, value_name = "PORT")]
    healthz_port: Option<u16>,

    /// Address of /metrics, /proxyMode and /configz; empty turns them off [default: 127.0.0.1:10249]
    #[arg(long, value_name = "IP[:PORT]")]
    metrics_bind_address: Option<ServerAddress>,

    /// Port of --metrics-bind-address, if that has none; 0 turns the server off. Deprecated by kube-proxy
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,

    /// Ranges of the cluster's pods, one for each family, separated by commas: 10.244.0.0/16,fd00:10:244::/56
    #[arg(long, value_name = "CIDR[,CIDR]")]
    cluster_cidr: Option<ClusterCidrs>,

    /// How connections of pods are recognised. ClusterCIDR: the source address is in --cluster-cidr. NodeCIDR: it is in
    /// a pod range of this node's Node object. BridgeInterface: they enter by --pod-bridge-interface.
    /// InterfaceNamePrefix: they enter by an interface whose name begins with --pod-interface-name-prefix [default:
    /// ClusterCIDR]
    #[arg(long, value_name = "MODE")]
    detect_local_mode: Option<Unless<DetectLocalMode>>,

    /// The bridge by which packets of local pods enter, for --detect-local-mode BridgeInterface
    #[arg(long, value_name = "NAME")]
    pod_bridge_interface: Option<Unless<InterfaceName>>,

    /// What the names of the interfaces begin with by which packets of local pods enter, for --detect-local-mode
    /// InterfaceNamePrefix
    #[arg(long, value_name = "PREFIX")]
    pod_interface_name_prefix: Option<Unless<InterfaceName>>,

    /// Which of the node's addresses carry node ports: `primary` (those of its Node object), `all`, `localhost`, or
    /// ranges, separated by commas [default: primary]
    #[arg(long, value_name = "primary|all|localhost|CIDR[,...]", action = clap::ArgAction::Append)]
    nodeport_addresses: Vec<NodePortSelection>,

    /// Serve node ports on 127.0.0.1 too, unless --nodeport-addresses leaves it out [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    iptables_localhost_nodeports: Option<Switch>,

    /// Replace the source address of every connection to a cluster address with the node's [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    masquerade_all: Option<Switch>,

    /// oom_score_adj of this process, -1000 to 1000: the lower, the later the kernel ends it when memory is short
    /// [default: -999]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i16).range(-1000..=1000))]
    oom_score_adj: Option<i16>,

    /// Connections that the kernel can track, for each processor; 0 keeps the kernel's own number [default: 32768]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=MOST))]
    conntrack_max_per_core: Option<u32>,

    /// Least number of connections that the kernel can track; 0 sets no least number [default: 131072]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=MOST))]
    conntrack_min: Option<u32>,

    /// How long the kernel tracks an idle TCP connection; 0 keeps the kernel's own time [default: 24h]
    #[arg(long, value_name = "DURATION")]
    conntrack_tcp_timeout_established: Option<GoDuration>,

    /// How long the kernel tracks a TCP connection that one side has closed; 0 keeps the kernel's own time [default:
    /// 1h]
    #[arg(long, value_name = "DURATION")]
    conntrack_tcp_timeout_close_wait: Option<GoDuration>,

    /// Let the kernel track TCP packets outside the window too [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    conntrack_tcp_be_liberal: Option<Switch>,

    /// How long the kernel tracks a UDP flow without an answer; 0 keeps the kernel's own time [default: 0s]
    #[arg(long, value_name = "DURATION")]
    conntrack_udp_timeout: Option<GoDuration>,

    /// How long the kernel tracks an answered UDP flow; 0 keeps the kernel's own time [default: 0s]
    #[arg(long, value_name = "DURATION")]
    conntrack_udp_timeout_stream: Option<GoDuration>,

    /// IPVS: the scheduler of services without the annotation `switchyard.dev/scheduler`: rr, wrr, lc, wlc, fo, ovf,
    /// lblc, lblcr, sh, mh, sed, nq or twos, as far as the kernel has them. dh is not used, because it cannot pass over
    /// an endpoint that drains. Empty is the default; wrr is rr if all endpoints have the same weight [default: wrr]
    #[arg(long, value_name = "NAME")]
    ipvs_scheduler: Option<SchedulerName>,

    /// IPVS: answer ARP only on the interface that has the address (arp_ignore=1, arp_announce=2) [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipvs_strict_arp: Option<Switch>,

    /// IPVS: how long it keeps an idle TCP connection, such as 15m or 1h30m. 0 raises the kernel's own time to
    /// nf_conntrack_tcp_timeout_established, and never lowers it [default: 0s]
    #[arg(long, value_name = "DURATION")]
    ipvs_tcp_timeout: Option<KernelTimeout>,

    /// IPVS: how long it keeps a TCP connection after a FIN; 0 keeps the kernel's own time [default: 0s]
    #[arg(long, value_name = "DURATION")]
    ipvs_tcpfin_timeout: Option<KernelTimeout>,

    /// IPVS: how long it keeps a UDP flow; 0 keeps the kernel's own time [default: 0s]
    #[arg(long, value_name = "DURATION")]
    ipvs_udp_timeout: Option<KernelTimeout>,
}

/// kube-proxy counts in 32 bits with a sign.
const MOST: i64 = i32::MAX as i64;

impl KubeProxyFlags {
    /// What the flags say; `above` overrides them.
    pub(super) fn written(&self, above: &Written, findings: &mut Findings) -> Written {
        if self.proxy_mode == Some(ProxyMode::Iptables) && above.backend.is_none() {
            findings.remark(Place::Flag("proxy-mode".into()), ProxyMode::IPTABLES);
        }
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
            tcp_established: self.conntrack_tcp_timeout_established.map(Duration::from),
            tcp_close_wait: self.conntrack_tcp_timeout_close_wait.map(Duration::from),
            tcp_be_liberal: on(self.conntrack_tcp_be_liberal),
            udp: self.conntrack_udp_timeout.map(Duration::from),
            udp_stream: self.conntrack_udp_timeout_stream.map(Duration::from),
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
        match found {
            Ok(detector) => Some(detector),
            Err(lacking) => {
                let place = Place::Flag("detect-local-mode".into());
                findings.mistake(Mistake { place, reason: lacking.flag().into() });
                None
            }
        }
    }
}
