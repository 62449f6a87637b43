//! A configuration as KubeProxyConfiguration: complete, with the values that are in effect.

use std::num::NonZeroU32;

use backend_api::Family;
use serde_json::{Map, Value, json};

use super::{API_VERSION, KIND};
use crate::config::duration::GoDuration;
use crate::config::idle::IDLE;
use crate::config::{ByService, Config, HostConfig, IpvsConfig, KubeProxyRules, ServersConfig, Unbound};
use kubernetes::settings::{LocalDetector, NodeName};
use kubernetes::source::{ApiConfig, SourceConfig};

/// The configuration in the form of KubeProxyConfiguration; of fields that have no effect, kube-proxy's defaults.
pub fn configz(config: &Config) -> Value {
    let mut form = idle();
    merge(&mut form, root(config));
    merge(&mut form, json!({"ipvs": ipvs(&config.ipvs)}));
    merge(&mut form, host(&config.host));
    merge(&mut form, local_traffic(&config.local_traffic));
    merge(&mut form, servers(&config.servers));
    merge(&mut form, source(&config.source));
    form
}

/// The same as a YAML file. A node's name that is its host's is left out, so that the file can serve other nodes too.
pub fn yaml(config: &Config) -> String {
    let mut form = configz(config);
    if NodeName::of_host().as_ref() == Ok(&config.node_name) {
        merge(&mut form, json!({"hostnameOverride": ""}));
    }
    let text = serde_saphyr::to_string(&form).expect("JSON values can be written as YAML");
    format!("{}\n", text.trim_end())
}

fn root(config: &Config) -> Value {
    let Config { node_name, node_address, backend, node_ports, masquerade_all, kube_proxy, verbosity, .. } = config;
    let unspecified = || std::net::Ipv4Addr::UNSPECIFIED.into();
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "mode": backend.name(),
        "hostnameOverride": node_name.as_str(),
        "bindAddress": node_address.unwrap_or_else(unspecified).to_string(),
        "nodePortAddresses": node_ports.words(),
        "iptables": {"masqueradeAll": masquerade_all, "localhostNodePorts": node_ports.asks_for_localhost(Family::V4)},
        "nftables": {"masqueradeAll": masquerade_all},
        "logging": {"verbosity": verbosity.number()},
        "switchyard": {
            "verbosity": verbosity.number(),
            "cleanupKubeProxy": *kube_proxy == KubeProxyRules::Removed,
            "flowtableAfter": config.flowtable_after.map_or(0, NonZeroU32::get),
            "ipvsDrainTimeout": GoDuration(config.ipvs.drain).to_string(),
        },
    })
}

fn ipvs(IpvsConfig { scheduler, strict_arp, timeouts, drain: _ }: &IpvsConfig) -> Value {
    json!({
        "scheduler": scheduler.name(),
        "strictARP": strict_arp,
        "tcpTimeout": duration(timeouts.tcp),
        "tcpFinTimeout": duration(timeouts.tcp_fin),
        "udpTimeout": duration(timeouts.udp),
    })
}

fn host(HostConfig { conntrack, oom_score_adj }: &HostConfig) -> Value {
    json!({
        "conntrack": {
            "maxPerCore": conntrack.max_per_core.unwrap_or(0),
            "min": conntrack.min.unwrap_or(0),
            "tcpEstablishedTimeout": duration(conntrack.tcp_established_timeout),
            "tcpCloseWaitTimeout": duration(conntrack.tcp_close_wait_timeout),
            "tcpBeLiberal": conntrack.tcp_be_liberal,
            "udpTimeout": duration(conntrack.udp_timeout),
            "udpStreamTimeout": duration(conntrack.udp_stream_timeout),
        },
        "oomScoreAdj": oom_score_adj,
    })
}

fn local_traffic(detector: &LocalDetector) -> Value {
    let form = |mode: &str, ranges: String, bridge: String, prefix: String| {
        json!({
            "detectLocalMode": mode,
            "clusterCIDR": ranges,
            "detectLocal": {"bridgeInterface": bridge, "interfaceNamePrefix": prefix},
        })
    };
    let none = String::new;
    match detector {
        LocalDetector::ClusterCidrs(ranges) => form("ClusterCIDR", ranges.to_string(), none(), none()),
        LocalDetector::NodeCidrs => form("NodeCIDR", none(), none(), none()),
        LocalDetector::Bridge(name) => form("BridgeInterface", none(), name.to_string(), none()),
        LocalDetector::InterfacePrefix(prefix) => form("InterfaceNamePrefix", none(), none(), prefix.to_string()),
    }
}

fn servers(ServersConfig { healthz, metrics, unbound, connections_by_service }: &ServersConfig) -> Value {
    let off = [("healthz", healthz), ("metrics", metrics)];
    let off: Vec<_> = off.into_iter().filter(|(_, address)| address.is_none()).map(|(server, _)| server).collect();
    json!({
        "healthzBindAddress": healthz.map_or_else(String::new, |address| address.to_string()),
        "metricsBindAddress": metrics.map_or_else(String::new, |address| address.to_string()),
        "bindAddressHardFail": *unbound == Unbound::Fatal,
        "switchyard": {
            "serversOff": off,
            "connectionsByService": match connections_by_service {
                ByService::No => 0,
                ByService::AtMost(services) => *services,
            },
        },
    })
}

fn source(source: &SourceConfig) -> Value {
    let (folder, kubernetes) = match source {
        SourceConfig::Folder(folder) => (folder.display().to_string(), &ApiConfig::default()),
        SourceConfig::Kubernetes(kubernetes) => (String::new(), kubernetes),
    };
    let ApiConfig { kubeconfig, masters, silence } = kubernetes;
    json!({
        "clientConnection": {
            "kubeconfig": kubeconfig.as_ref().map_or_else(String::new, |path| path.display().to_string()),
        },
        "switchyard": {"source": folder, "masters": masters, "apiSilence": duration(*silence)},
    })
}

/// 0 where there is none.
fn duration(duration: Option<std::time::Duration>) -> String {
    GoDuration(duration.unwrap_or_default()).to_string()
}

/// The fields that have no effect.
fn idle() -> Value {
    let mut form = Value::Object(Map::new());
    for idle in &IDLE {
        let usual: Value = serde_json::from_str(idle.usual).expect("the table's defaults are JSON");
        if usual.is_null() {
            continue; // kube-proxy has it no more
        }
        for field in idle.fields {
            merge(&mut form, field.rsplit('.').fold(usual.clone(), |value, name| json!({ name: value })));
        }
    }
    form
}

/// Adds the fields of `more`, section by section.
fn merge(form: &mut Value, more: Value) {
    match (form, more) {
        (Value::Object(form), Value::Object(more)) => {
            more.into_iter().for_each(|(name, value)| merge(form.entry(name).or_insert(Value::Null), value));
        }
        (form, more) => *form = more,
    }
}
