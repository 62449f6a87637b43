//! The flags of `switchyard run`, with kube-proxy's names and meanings.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::ipvs::IpvsFlags;
use super::{
    ClusterCidrs, Config, HostConfig, InterfaceName, KubeProxyRules, LocalDetector, NameError, NodeName,
    NodePortSelection, ServersConfig, SourceConfig, Verbosity,
};
use crate::backend::Backend;

/// Flags of `switchyard run`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)] // the last one counts, as for kube-proxy
pub struct RunFlags {
    /// Folder of YAML or JSON files with Services, EndpointSlices, Endpoints, Nodes and ServiceCIDRs, as
    /// `kubectl get -o yaml` prints them. It is watched: a change is in the kernel within milliseconds
    #[arg(long, value_name = "DIR")]
    source: PathBuf,

    /// Who programs the kernel
    #[arg(long, alias = "proxy-mode", value_name = "NAME", default_value = "nftables", ignore_case = true)]
    backend: Backend,

    /// Name of this node's Node object, if it is not the host name
    #[arg(long, value_name = "NAME")]
    hostname_override: Option<NodeName>,

    /// Ranges of the cluster's pods, one for each family, separated by commas: 10.244.0.0/16,fd00:10:244::/56
    #[arg(long, value_name = "CIDR[,CIDR]", default_value = "", hide_default_value = true)]
    cluster_cidr: ClusterCidrs,

    /// How a connection from a local pod is told from others
    #[arg(long, value_name = "MODE", default_value = "ClusterCIDR", ignore_case = true)]
    detect_local_mode: DetectLocalMode,

    /// The bridge that local pods' packets enter through, for --detect-local-mode BridgeInterface
    #[arg(long, value_name = "NAME", required_if_eq("detect_local_mode", "BridgeInterface"))]
    pod_bridge_interface: Option<InterfaceName>,

    /// How the names of the interfaces begin that local pods' packets enter through, for --detect-local-mode
    /// InterfaceNamePrefix
    #[arg(long, value_name = "PREFIX", required_if_eq("detect_local_mode", "InterfaceNamePrefix"))]
    pod_interface_name_prefix: Option<InterfaceName>,

    /// Which of the node's addresses carry node ports: `primary` (those of its Node object), `all`, or ranges
    /// separated by commas
    #[arg(long, value_name = "primary|all|CIDR[,CIDR...]", default_value = "primary")]
    nodeport_addresses: NodePortSelection,

    /// Rewrite the source of every connection to a cluster address, whoever dials
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(action = ArgAction::Set, default_value_t = false, default_missing_value = "true")]
    masquerade_all: bool,

    #[command(flatten)]
    ipvs: IpvsFlags,
}

/// How much is logged; for every command.
#[derive(Clone, Debug, Args)]
pub struct LogFlags {
    /// How much to log on stderr, 0 to 10: from 3 on decisions too, from 6 on every object [default: 2 for `run`, else 0]
    #[arg(short, long = "v", value_name = "LEVEL", global = true)]
    pub v: Option<Verbosity>,
}

/// The values of `--detect-local-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DetectLocalMode {
    /// By its source address: in --cluster-cidr
    #[value(name = "ClusterCIDR")]
    ClusterCidr,
    /// By its source address: in a pod range of this node's Node object
    #[value(name = "NodeCIDR")]
    NodeCidr,
    /// By the bridge it enters through
    #[value(name = "BridgeInterface")]
    BridgeInterface,
    /// By the name of the interface it enters through
    #[value(name = "InterfaceNamePrefix")]
    InterfaceNamePrefix,
}

impl RunFlags {
    /// The configuration that these flags mean.
    ///
    /// # Errors
    /// Where no `--hostname-override` is given and the host's own name cannot be a node's.
    pub fn config(self) -> Result<Config, NameError> {
        let local_traffic = self.local_traffic();
        Ok(Config {
            node_name: self.hostname_override.map_or_else(NodeName::of_host, Ok)?,
            backend: self.backend,
            ipvs: self.ipvs.config(),
            local_traffic,
            node_ports: self.nodeport_addresses,
            masquerade_all: self.masquerade_all,
            source: SourceConfig::Folder(self.source),
            servers: ServersConfig::default(),
            host: HostConfig::default(),
            kube_proxy: KubeProxyRules::default(),
        })
    }

    fn local_traffic(&self) -> LocalDetector {
        let given = "clap requires it with this mode";
        match self.detect_local_mode {
            DetectLocalMode::ClusterCidr => LocalDetector::ClusterCidrs(self.cluster_cidr.clone()),
            DetectLocalMode::NodeCidr => LocalDetector::NodeCidrs,
            DetectLocalMode::BridgeInterface => LocalDetector::Bridge(self.pod_bridge_interface.clone().expect(given)),
            DetectLocalMode::InterfaceNamePrefix => {
                LocalDetector::InterfacePrefix(self.pod_interface_name_prefix.clone().expect(given))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::IpvsConfig;
    use super::*;
    use backend_api::Scheduler;
    use clap::Parser;

    #[derive(Debug, Parser)]
    #[command(args_override_self = true)]
    struct Line {
        #[command(flatten)]
        run: RunFlags,
        #[command(flatten)]
        log: LogFlags,
    }

    fn parse(flags: &str) -> Result<Config, String> {
        let line = format!("switchyard --source /s --hostname-override n {flags}");
        let line = Line::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        Ok(line.run.config().unwrap())
    }

    #[test]
    fn defaults_are_those_of_kube_proxys_nftables_mode() {
        let config = parse("").unwrap();
        assert_eq!(config.backend, Backend::Nftables);
        assert_eq!(config.local_traffic, LocalDetector::ClusterCidrs(ClusterCidrs::default()));
        assert_eq!(config.node_ports, "primary".parse().unwrap());
        assert!(!config.masquerade_all);
        assert_eq!(config.ipvs, IpvsConfig::default());
    }

    #[test]
    fn node_names_are_trimmed_and_lower_cased() {
        assert_eq!(parse("--hostname-override=CtrlNode").unwrap().node_name.as_str(), "ctrlnode");
    }

    #[test]
    fn every_detector_can_be_chosen() {
        let bridge = parse("--detect-local-mode BridgeInterface --pod-bridge-interface cni0").unwrap();
        assert_eq!(bridge.local_traffic, LocalDetector::Bridge("cni0".parse().unwrap()));
        let prefix = parse("--detect-local-mode interfacenameprefix --pod-interface-name-prefix veth").unwrap();
        assert_eq!(prefix.local_traffic, LocalDetector::InterfacePrefix("veth".parse().unwrap()));
        assert_eq!(parse("--detect-local-mode NodeCIDR").unwrap().local_traffic, LocalDetector::NodeCidrs);
    }

    #[test]
    fn booleans_are_written_as_kube_proxy_takes_them() {
        for (flags, expected) in
            [("--masquerade-all", true), ("--masquerade-all=true", true), ("--masquerade-all=false", false)]
        {
            assert_eq!(parse(flags).unwrap().masquerade_all, expected, "{flags}");
        }
    }

    #[test]
    fn proxy_mode_is_another_name_of_backend() {
        let config = parse("--proxy-mode ipvs --ipvs-scheduler lc").unwrap();
        assert_eq!((config.backend, config.ipvs.scheduler), (Backend::Ipvs, Scheduler::Lc));
    }

    #[test]
    fn a_refused_value_is_named_with_its_flag_and_what_is_allowed() {
        let cases = [
            ("--backend iptables", "--backend <NAME>", "iptables", "nftables, ipvs"),
            ("--detect-local-mode pods", "--detect-local-mode <MODE>", "pods", "NodeCIDR"),
            ("--detect-local-mode BridgeInterface", "--pod-bridge-interface <NAME>", "not provided", ""),
            ("--detect-local-mode bridgeinterface", "--pod-bridge-interface <NAME>", "not provided", ""),
            ("--detect-local-mode InterfaceNamePrefix", "--pod-interface-name-prefix <PREFIX>", "not provided", ""),
            ("--cluster-cidr 10.0.0.0", "--cluster-cidr", "10.0.0.0", "prefix length"),
            ("--nodeport-addresses localhost", "--nodeport-addresses", "localhost", "`primary`, `all` or ranges"),
            ("--pod-bridge-interface far-too-long-a-name", "--pod-bridge-interface", "far-too-long", "15 bytes"),
            ("-v 11", "--v <LEVEL>", "11", "0 to 10"),
        ];
        for (flags, flag, value, allowed) in cases {
            let error = parse(flags).unwrap_err();
            for part in [flag, value, allowed] {
                assert!(error.contains(part), "{flags}: {part:?} is not in: {error}");
            }
        }
    }
}
