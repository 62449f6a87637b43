//! Every field of KubeProxyConfiguration, and of the section `switchyard`: how it is read and how it is written.
//!
//! Both stand side by side, so that a field that is read is written back too. [`EFFECTS`] describes the fields for the
//! documentation.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use backend_api::Family;
use kubernetes::settings::{ClusterCidrs, InterfaceName, LocalDetector, NodePortSelection};
use kubernetes::source::{ApiConfig, SourceConfig};
use serde_json::{Map, Value as Json, json};

use super::section::{Field, Section};
use super::tree::{Node, Value};
use super::{API_VERSION, KIND};
use crate::config::announcing::{AnnounceWord, OnStopWord, write_announcing};
use crate::config::backend::ProxyMode;
use crate::config::duration::GoDuration;
use crate::config::findings::{Findings, Mistake, Place};
use crate::config::idle::IDLE;
use crate::config::ipvs::{IpvsConfig, SchedulerName};
use crate::config::settings::{Config, HostConfig, KubeProxyRules, ServersConfig, Unbound, Written};
use crate::config::words::{AnyText, DetectLocalMode, ServerAddress, detector};
use crate::config::{ByService, Verbosity};

/// Every field that has an effect, the flag that has the same, and what else is to be said. Fields without effect are
/// in [`IDLE`].
pub(in crate::config) const EFFECTS: [(&str, Option<&str>, &str); 48] = [
    ("apiVersion", None, "Must be `kubeproxy.config.k8s.io/v1alpha1`"),
    ("kind", None, "Must be `KubeProxyConfiguration`"),
    ("mode", Some("proxy-mode"), ""),
    ("hostnameOverride", Some("hostname-override"), ""),
    ("bindAddress", Some("bind-address"), ""),
    ("bindAddressHardFail", Some("bind-address-hard-fail"), ""),
    (
        "healthzBindAddress",
        Some("healthz-bind-address"),
        "Empty is the default here; `switchyard.serversOff` turns the server off",
    ),
    (
        "metricsBindAddress",
        Some("metrics-bind-address"),
        "Empty is the default here; `switchyard.serversOff` turns the server off",
    ),
    ("clusterCIDR", Some("cluster-cidr"), ""),
    ("detectLocalMode", Some("detect-local-mode"), ""),
    ("detectLocal.bridgeInterface", Some("pod-bridge-interface"), ""),
    ("detectLocal.interfaceNamePrefix", Some("pod-interface-name-prefix"), ""),
    ("nodePortAddresses", Some("nodeport-addresses"), ""),
    ("oomScoreAdj", Some("oom-score-adj"), ""),
    ("clientConnection.kubeconfig", Some("kubeconfig"), ""),
    ("conntrack.maxPerCore", Some("conntrack-max-per-core"), ""),
    ("conntrack.min", Some("conntrack-min"), ""),
    ("conntrack.tcpEstablishedTimeout", Some("conntrack-tcp-timeout-established"), ""),
    ("conntrack.tcpCloseWaitTimeout", Some("conntrack-tcp-timeout-close-wait"), ""),
    ("conntrack.tcpBeLiberal", Some("conntrack-tcp-be-liberal"), ""),
    ("conntrack.udpTimeout", Some("conntrack-udp-timeout"), ""),
    ("conntrack.udpStreamTimeout", Some("conntrack-udp-timeout-stream"), ""),
    ("iptables.masqueradeAll", Some("masquerade-all"), "Read if `mode` is `iptables`, `ipvs` or empty"),
    ("iptables.localhostNodePorts", Some("iptables-localhost-nodeports"), ""),
    ("nftables.masqueradeAll", Some("masquerade-all"), "Read if `mode` is `nftables` or empty"),
    ("ipvs.scheduler", Some("ipvs-scheduler"), ""),
    ("ipvs.strictARP", Some("ipvs-strict-arp"), ""),
    ("ipvs.tcpTimeout", Some("ipvs-tcp-timeout"), ""),
    ("ipvs.tcpFinTimeout", Some("ipvs-tcpfin-timeout"), ""),
    ("ipvs.udpTimeout", Some("ipvs-udp-timeout"), ""),
    ("logging.verbosity", Some("v"), "0 is the default, 2"),
    ("switchyard.source", Some("source"), ""),
    ("switchyard.masters", Some("master"), ""),
    ("switchyard.apiSilence", Some("api-silence"), ""),
    ("switchyard.cleanupKubeProxy", Some("cleanup-kube-proxy"), ""),
    ("switchyard.connectionsByService", Some("connections-by-service"), ""),
    ("switchyard.flowtableAfter", Some("flowtable-after"), ""),
    ("switchyard.maxServiceElements", Some("max-service-elements"), ""),
    ("switchyard.maxElements", Some("max-elements"), ""),
    ("switchyard.ipvsDrainTimeout", Some("ipvs-drain-timeout"), ""),
    ("switchyard.announce", Some("announce"), ""),
    ("switchyard.announceOnStop", Some("announce-on-stop"), ""),
    ("switchyard.announceFailback", Some("announce-failback"), ""),
    ("switchyard.loadBalancerNamespace", Some("load-balancer-namespace"), ""),
    ("switchyard.loadBalancerClass", Some("load-balancer-class"), ""),
    ("switchyard.loadBalancerPool", Some("load-balancer-pool"), "A list"),
    ("switchyard.serversOff", None, "Servers that do not listen: `healthz`, `metrics`"),
    ("switchyard.verbosity", Some("v"), "Overrides `logging.verbosity`; 0 is 0 here"),
];

/// Numbers that kube-proxy has in 32 bits and that are not negative.
const COUNT: RangeInclusive<i64> = 0..=i32::MAX as i64;

/// What the document says.
pub(super) fn read(file: &str, document: &Node, above: &Written, findings: &mut Findings) -> Written {
    let mut root = Section::root(file, document, findings);
    if !is_ours(file, &mut root, findings) {
        return Written::default(); // another kind of document
    }
    let mode = read_mode(&mut root, above, findings);
    let mut written = Written {
        node_name: root.parsed("hostnameOverride", findings),
        bind_address: root.parsed("bindAddress", findings),
        backend: mode.backend(),
        local_traffic: read_local_traffic(&mut root, findings),
        node_ports: read_node_ports(&mut root, findings),
        healthz: root.parsed("healthzBindAddress", findings),
        metrics: root.parsed("metricsBindAddress", findings),
        unbound: root.switch("bindAddressHardFail", findings).map(Unbound::hard_fail),
        oom_score_adj: root.whole("oomScoreAdj", -1000..=1000, findings),
        ..Written::default()
    };
    read_client_connection(&mut root, &mut written, findings);
    read_conntrack(&mut root, &mut written, findings);
    read_tables(&mut root, mode, &mut written, findings);
    read_ipvs(&mut root, &mut written, findings);
    read_logging(&mut root, &mut written, findings);
    let windows = ["networkName", "sourceVip", "enableDSR", "rootHnsEndpointName", "forwardHealthCheckVip"];
    root.section_of_idle("winkernel", &windows, findings).end(findings);
    for name in [
        "featureGates",
        "enableProfiling",
        "showHiddenMetricsForVersion",
        "configSyncPeriod",
        "portRange",
        "windowsRunAsService",
        "udpIdleTimeout",
        "resourceContainer",
    ] {
        root.idle(name, findings);
    }
    read_switchyard(&mut root, &mut written, findings);
    root.end(findings);
    written
}

/// The configuration as the document: complete, with the values in effect; of fields without effect, kube-proxy's
/// defaults.
pub(super) fn write(config: &Config) -> Json {
    let mut form = write_idle();
    for part in [
        write_root(config),
        write_local_traffic(&config.local_traffic),
        write_servers(&config.servers),
        write_source(&config.source),
        write_host(&config.host),
        write_ipvs(&config.ipvs),
        write_switchyard(config),
        write_announcing(&config.announcing),
    ] {
        merge(&mut form, part);
    }
    form
}

/// Whether the document is what it should be.
fn is_ours(file: &str, root: &mut Section<'_>, findings: &mut Findings) -> bool {
    let before = findings.mistakes.len();
    for (name, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match root.field(name) {
            Some(Field { value: Value::Text(text), .. }) if text == expected => {}
            Some(field) => {
                field.refuse::<()>(&format!("must be {expected}"), findings);
            }
            None => findings.mistake(Mistake {
                place: Place::File { file: file.to_owned(), line: None },
                reason: format!("{name}: missing: must be {expected}"),
            }),
        }
    }
    findings.mistakes.len() == before
}

fn read_mode(root: &mut Section<'_>, above: &Written, findings: &mut Findings) -> ProxyMode {
    let place = root.field("mode").and_then(|field| field.text(findings));
    let Some((place, text)) = place else { return ProxyMode::Unsaid };
    match text.parse() {
        Ok(ProxyMode::Iptables) => {
            if above.backend.is_none() {
                findings.remark(place, ProxyMode::IPTABLES);
            }
            ProxyMode::Iptables
        }
        Ok(mode) => mode,
        Err(error) => {
            findings.mistake(Mistake::of(place, text, error));
            ProxyMode::Unsaid
        }
    }
}

fn write_root(config: &Config) -> Json {
    let address = config.node_address.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "mode": config.backend.name(),
        "hostnameOverride": config.node_name.as_str(),
        "bindAddress": address.to_string(),
        "nodePortAddresses": config.node_ports.words(),
        "iptables": {
            "masqueradeAll": config.masquerade_all,
            "localhostNodePorts": config.node_ports.asks_for_localhost(Family::V4),
        },
        "nftables": {"masqueradeAll": config.masquerade_all},
        "logging": {"verbosity": config.verbosity.number()},
    })
}

fn read_local_traffic(root: &mut Section<'_>, findings: &mut Findings) -> Option<LocalDetector> {
    let ranges: Option<ClusterCidrs> = root.parsed("clusterCIDR", findings);
    let mut interfaces = root.section("detectLocal", findings);
    let bridge: Option<InterfaceName> = interfaces.parsed("bridgeInterface", findings);
    let prefix: Option<InterfaceName> = interfaces.parsed("interfaceNamePrefix", findings);
    interfaces.end(findings);
    let (place, text) = match root.field("detectLocalMode").and_then(|field| field.text(findings)) {
        Some((place, text)) => (Some(place), text),
        None => (None, DetectLocalMode::USUAL),
    };
    let found = match text.parse::<DetectLocalMode>() {
        Ok(mode) => detector(mode, ranges.unwrap_or_default(), bridge, prefix).map_err(|lacking| lacking.field()),
        Err(error) => Err(error),
    };
    found.map_err(|reason| findings.mistakes.extend(place.map(|place| Mistake::of(place, text, reason)))).ok()
}

fn write_local_traffic(detector: &LocalDetector) -> Json {
    let (mut ranges, mut bridge, mut prefix) = (String::new(), String::new(), String::new());
    let mode = match detector {
        LocalDetector::ClusterCidrs(cidrs) => {
            ranges = cidrs.to_string();
            "ClusterCIDR"
        }
        LocalDetector::NodeCidrs => "NodeCIDR",
        LocalDetector::Bridge(name) => {
            bridge = name.to_string();
            "BridgeInterface"
        }
        LocalDetector::InterfacePrefix(name) => {
            prefix = name.to_string();
            "InterfaceNamePrefix"
        }
    };
    json!({
        "detectLocalMode": mode,
        "clusterCIDR": ranges,
        "detectLocal": {"bridgeInterface": bridge, "interfaceNamePrefix": prefix},
    })
}

fn read_node_ports(root: &mut Section<'_>, findings: &mut Findings) -> Option<NodePortSelection> {
    let selections: Vec<NodePortSelection> = root.list("nodePortAddresses", findings)?;
    selections.into_iter().reduce(NodePortSelection::and)
}

fn write_servers(ServersConfig { healthz, metrics, unbound, connections_by_service }: &ServersConfig) -> Json {
    let off: Vec<_> = [("healthz", healthz), ("metrics", metrics)]
        .into_iter()
        .filter(|(_, address)| address.is_none())
        .map(|(server, _)| server)
        .collect();
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

fn read_client_connection(root: &mut Section<'_>, written: &mut Written, findings: &mut Findings) {
    let idle = ["acceptContentTypes", "contentType", "qps", "burst"];
    let mut section = root.section_of_idle("clientConnection", &idle, findings);
    written.kubeconfig = section.parsed("kubeconfig", findings).map(|AnyText(path)| PathBuf::from(path));
    section.end(findings);
}

fn write_source(source: &SourceConfig) -> Json {
    let (folder, kubernetes) = match source {
        SourceConfig::Folder(folder) => (folder.display().to_string(), &ApiConfig::default()),
        SourceConfig::Kubernetes(kubernetes) => (String::new(), kubernetes),
    };
    let ApiConfig { kubeconfig, masters, silence } = kubernetes;
    json!({
        "clientConnection": {
            "kubeconfig": kubeconfig.as_ref().map_or_else(String::new, |path| path.display().to_string()),
        },
        "switchyard": {"source": folder, "masters": masters.iter().map(ToString::to_string).collect::<Vec<_>>(), "apiSilence": duration(*silence)},
    })
}

fn read_conntrack(root: &mut Section<'_>, written: &mut Written, findings: &mut Findings) {
    let mut section = root.section_of_idle("conntrack", &["max"], findings);
    for (name, timeout) in [
        ("tcpEstablishedTimeout", &mut written.tcp_established),
        ("tcpCloseWaitTimeout", &mut written.tcp_close_wait),
        ("udpTimeout", &mut written.udp),
        ("udpStreamTimeout", &mut written.udp_stream),
    ] {
        *timeout = section.duration(name, findings).map(GoDuration::into);
    }
    written.max_per_core = section.whole("maxPerCore", COUNT, findings);
    written.min = section.whole("min", COUNT, findings);
    written.tcp_be_liberal = section.switch("tcpBeLiberal", findings);
    section.end(findings);
}

fn write_host(HostConfig { conntrack, oom_score_adj }: &HostConfig) -> Json {
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

/// The sections `iptables` and `nftables`. kube-proxy reads the one of its mode; without a mode both are read here.
fn read_tables(root: &mut Section<'_>, mode: ProxyMode, written: &mut Written, findings: &mut Findings) {
    let idle = ["masqueradeBit", "syncPeriod", "minSyncPeriod"];
    let mut iptables = root.section("iptables", findings);
    let in_iptables = iptables.switch("masqueradeAll", findings);
    written.localhost_node_ports = iptables.switch("localhostNodePorts", findings);
    let mut nftables = root.section("nftables", findings);
    let in_nftables = nftables.switch("masqueradeAll", findings);
    for mut section in [iptables, nftables] {
        section.all_idle(&idle, findings);
        section.end(findings);
    }
    written.masquerade_all = match mode {
        ProxyMode::Nftables => in_nftables,
        ProxyMode::Iptables | ProxyMode::Ipvs => in_iptables,
        ProxyMode::Unsaid => in_iptables.filter(|all| *all).or(in_nftables),
    };
}

fn read_ipvs(root: &mut Section<'_>, written: &mut Written, findings: &mut Findings) {
    let mut section = root.section("ipvs", findings);
    written.scheduler = section.parsed("scheduler", findings).map(|SchedulerName(scheduler)| scheduler);
    written.strict_arp = section.switch("strictARP", findings);
    written.ipvs_tcp = section.duration("tcpTimeout", findings);
    written.ipvs_tcp_fin = section.duration("tcpFinTimeout", findings);
    written.ipvs_udp = section.duration("udpTimeout", findings);
    section.all_idle(&["syncPeriod", "minSyncPeriod", "excludeCIDRs"], findings);
    section.end(findings);
}

fn write_ipvs(IpvsConfig { scheduler, strict_arp, timeouts, drain }: &IpvsConfig) -> Json {
    json!({
        "ipvs": {
            "scheduler": scheduler.name(),
            "strictARP": strict_arp,
            "tcpTimeout": duration(timeouts.tcp),
            "tcpFinTimeout": duration(timeouts.tcp_fin),
            "udpTimeout": duration(timeouts.udp),
        },
        "switchyard": {"ipvsDrainTimeout": GoDuration(*drain).to_string()},
    })
}

/// kube-proxy's level 0 is what it logs by default, and so it is here.
fn read_logging(root: &mut Section<'_>, written: &mut Written, findings: &mut Findings) {
    let mut section = root.section("logging", findings);
    let level: Option<u8> = section.whole("verbosity", 0..=10, findings);
    written.verbosity = level.filter(|level| *level > 0).and_then(|level| Verbosity::new(level).ok());
    section.all_idle(&["format", "flushFrequency", "vmodule", "options"], findings);
    section.end(findings);
}

/// Switchyard's own section. kube-proxy logs that it does not know it, and continues.
fn read_switchyard(root: &mut Section<'_>, written: &mut Written, findings: &mut Findings) {
    let mut section = root.section("switchyard", findings);
    written.source = section.parsed("source", findings).map(|AnyText(path)| PathBuf::from(path));
    written.masters = section.list("masters", findings);
    written.silence = section.duration("apiSilence", findings).map(GoDuration::into);
    written.drain = section.duration("ipvsDrainTimeout", findings);
    written.by_service = section.whole("connectionsByService", COUNT, findings).map(ByService::at_most);
    written.flowtable_after = section.whole("flowtableAfter", COUNT, findings);
    written.max_service_elements = section.whole("maxServiceElements", COUNT, findings);
    written.max_elements = section.whole("maxElements", COUNT, findings);
    written.kube_proxy = section.switch("cleanupKubeProxy", findings).map(KubeProxyRules::cleanup);
    written.announce = section.parsed("announce", findings).map(|AnnounceWord(announce)| announce);
    written.announce_on_stop = section.parsed("announceOnStop", findings).map(|OnStopWord(on_stop)| on_stop);
    written.announce_failback = section.switch("announceFailback", findings);
    written.load_balancer_namespace = section.parsed("loadBalancerNamespace", findings);
    written.load_balancer_class = section.parsed("loadBalancerClass", findings);
    written.load_balancer_pool = section.list("loadBalancerPool", findings);
    let level: Option<u8> = section.whole("verbosity", 0..=10, findings);
    written.verbosity = level.and_then(|level| Verbosity::new(level).ok()).or(written.verbosity);
    for server in section.list::<Server>("serversOff", findings).unwrap_or_default() {
        match server {
            Server::Healthz => written.healthz = Some(ServerAddress::Nowhere),
            Server::Metrics => written.metrics = Some(ServerAddress::Nowhere),
        }
    }
    section.end(findings);
}

/// The fields of the section that no other part writes.
fn write_switchyard(config: &Config) -> Json {
    json!({
        "switchyard": {
            "verbosity": config.verbosity.number(),
            "cleanupKubeProxy": config.kube_proxy == KubeProxyRules::Removed,
            "flowtableAfter": config.flowtable_after.map_or(0, NonZeroU32::get),
            "maxServiceElements": limit(config.budget.of_service),
            "maxElements": limit(config.budget.in_all),
        },
    })
}

/// 0 where any number is allowed.
fn limit(at_most: NonZeroU32) -> u32 {
    if at_most == NonZeroU32::MAX { 0 } else { at_most.get() }
}

/// A server of the agent, in `switchyard.serversOff`: an empty address means the default in kube-proxy's file.
#[derive(Clone, Copy)]
enum Server {
    Healthz,
    Metrics,
}

impl std::str::FromStr for Server {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "healthz" => Ok(Self::Healthz),
            "metrics" => Ok(Self::Metrics),
            _ => Err("must be healthz or metrics"),
        }
    }
}

/// The fields without effect.
fn write_idle() -> Json {
    let mut form = Json::Object(Map::new());
    for idle in &IDLE {
        let usual = idle.usual_json();
        if usual.is_null() {
            continue; // kube-proxy does not have it any more
        }
        for field in idle.fields {
            merge(&mut form, field.rsplit('.').fold(usual.clone(), |value, name| json!({ name: value })));
        }
    }
    form
}

/// 0 where there is none.
fn duration(duration: Option<std::time::Duration>) -> String {
    GoDuration(duration.unwrap_or_default()).to_string()
}

/// Adds the fields of `more`, section by section.
pub(super) fn merge(form: &mut Json, more: Json) {
    match (form, more) {
        (Json::Object(form), Json::Object(more)) => {
            more.into_iter().for_each(|(name, value)| merge(form.entry(name).or_insert(Json::Null), value));
        }
        (form, more) => *form = more,
    }
}
