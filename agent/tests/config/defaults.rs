//! Defaults.

use kubernetes::settings::LocalDetector;
use switchyard_agent::backend::Backend;
use switchyard_agent::config::{HostConfig, IpvsConfig, KubeProxyRules, ServersConfig, Verbosity};

use super::given::{fields, quiet};

#[test]
fn defaults_are_those_of_kube_proxys_nftables_mode() {
    let config = quiet("");
    assert_eq!(config.backend, Backend::Nftables);
    assert_eq!(config.local_traffic, LocalDetector::ClusterCidrs("".parse().unwrap()));
    assert_eq!(config.node_ports, "primary".parse().unwrap());
    assert_eq!(config.node_address, None);
    assert!(!config.masquerade_all);
    assert_eq!(config.flowtable_after, None);
    assert_eq!(config.ipvs, IpvsConfig::default());
    assert_eq!(config.servers, ServersConfig::default());
    assert_eq!(config.host, HostConfig::default());
    assert_eq!(config.kube_proxy, KubeProxyRules::Removed);
    assert_eq!(config.verbosity, Verbosity::AGENT);
}

#[test]
fn an_empty_file_means_what_no_flags_mean() {
    assert_eq!(fields("").unwrap(), (quiet(""), Vec::new()));
}
