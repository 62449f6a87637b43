//! Every field of KubeProxyConfiguration, and our own, each once.

use std::path::PathBuf;

use super::section::{Field, Section};
use super::tree::{Node, Value};
use super::{API_VERSION, KIND};
use crate::config::findings::{Findings, Mistake, Place};
use crate::config::flags::{DetectLocalMode, detector};
use crate::config::mode::ProxyMode;
use crate::config::words::{AnyText, ServerAddress};
use crate::config::written::Written;
use crate::config::{ByService, KubeProxyRules, Unbound, Verbosity, duration::GoDuration, ipvs::SchedulerName};
use kubernetes::settings::{ClusterCidrs, InterfaceName, LocalDetector, NodePortSelection};

/// Numbers that kube-proxy has in 32 bits and that are not negative.
const COUNT: std::ops::RangeInclusive<i64> = 0..=i32::MAX as i64;

/// What the document says.
pub(super) fn read(file: &str, document: &Node, above: &Written, findings: &mut Findings) -> Written {
    let mut root = Section::root(file, document, findings);
    if !is_ours(file, &mut root, findings) {
        return Written::default(); // it is about something else
    }
    let mode = mode(&mut root, above, findings);
    let mut written = Written {
        node_name: root.parsed("hostnameOverride", findings),
        bind_address: root.parsed("bindAddress", findings),
        backend: mode.backend(),
        local_traffic: local_traffic(&mut root, findings),
        node_ports: node_ports(&mut root, findings),
        healthz: root.parsed("healthzBindAddress", findings),
        metrics: root.parsed("metricsBindAddress", findings),
        unbound: root.switch("bindAddressHardFail", findings).map(Unbound::hard_fail),
        oom_score_adj: root.whole("oomScoreAdj", -1000..=1000, findings),
        ..Written::default()
    };
    client_connection(&mut root, &mut written, findings);
    conntrack(&mut root, &mut written, findings);
    tables(&mut root, mode, &mut written, findings);
    ipvs(&mut root, &mut written, findings);
    logging(&mut root, &mut written, findings);
    windows(&mut root, findings);
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
    switchyard(&mut root, &mut written, findings);
    root.end(findings);
    written
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

fn mode(root: &mut Section<'_>, above: &Written, findings: &mut Findings) -> ProxyMode {
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

fn local_traffic(root: &mut Section<'_>, findings: &mut Findings) -> Option<LocalDetector> {
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

fn node_ports(root: &mut Section<'_>, findings: &mut Findings) -> Option<NodePortSelection> {
    let selections: Vec<NodePortSelection> = root.list("nodePortAddresses", findings)?;
    selections.into_iter().reduce(NodePortSelection::and)
}

fn client_connection(root: &mut Section<'_>, written: &mut Written, findings: &mut Findings) {
    let mut section = root.section("clientConnection", findings);
    written.kubeconfig = section.parsed("kubeconfig", findings).map(|AnyText(path)| PathBuf::from(path));
    for name in ["acceptContentTypes", "contentType", "qps", "burst"] {
        section.idle(name, findings);
    }
    section.end(findings);
}

fn conntrack(root: &mut Section<'_>, written: &mut Written, findings: &mut Findings) {
    let mut section = root.section("conntrack", findings);
    let mut duration = |name| section.duration(name, findings).map(|GoDuration(duration)| duration);
    written.tcp_established = duration("tcpEstablishedTimeout");
    written.tcp_close_wait = duration("tcpCloseWaitTimeout");
    written.udp = duration("udpTimeout");
    written.udp_stream = duration("udpStreamTimeout");
    written.max_per_core = section.whole("maxPerCore", COUNT, findings);
    written.min = section.whole("min", COUNT, findings);
    written.tcp_be_liberal = section.switch("tcpBeLiberal", findings);
    section.idle("max", findings);
    section.end(findings);
}

/// The sections `iptables` and `nftables`: kube-proxy reads one of them, and so do we, but for a mode that does not say.
fn tables(root: &mut Section<'_>, mode: ProxyMode, written: &mut Written, findings: &mut Findings) {
    let mut iptables = root.section("iptables", findings);
    let in_iptables = iptables.switch("masqueradeAll", findings);
    written.localhost_node_ports = iptables.switch("localhostNodePorts", findings);
    let mut nftables = root.section("nftables", findings);
    let in_nftables = nftables.switch("masqueradeAll", findings);
    for mut section in [iptables, nftables] {
        for name in ["masqueradeBit", "syncPeriod", "minSyncPeriod"] {
            section.idle(name, findings);
        }
        section.end(findings);
    }
    written.masquerade_all = match mode {
        ProxyMode::Nftables => in_nftables,
        ProxyMode::Iptables | ProxyMode::Ipvs => in_iptables,
        ProxyMode::Unsaid => in_iptables.filter(|all| *all).or(in_nftables),
    };
}

fn ipvs(root: &mut Section<'_>, written: &mut Written, findings: &mut Findings) {
    let mut section = root.section("ipvs", findings);
    written.scheduler = section.parsed("scheduler", findings).map(|SchedulerName(scheduler)| scheduler);
    written.strict_arp = section.switch("strictARP", findings);
    written.ipvs_tcp = section.duration("tcpTimeout", findings);
    written.ipvs_tcp_fin = section.duration("tcpFinTimeout", findings);
    written.ipvs_udp = section.duration("udpTimeout", findings);
    for name in ["syncPeriod", "minSyncPeriod", "excludeCIDRs"] {
        section.idle(name, findings);
    }
    section.end(findings);
}

/// kube-proxy's level 0 is what it logs unless told otherwise, and so it is here.
fn logging(root: &mut Section<'_>, written: &mut Written, findings: &mut Findings) {
    let mut section = root.section("logging", findings);
    let level: Option<u8> = section.whole("verbosity", 0..=10, findings);
    written.verbosity = level.filter(|level| *level > 0).and_then(|level| Verbosity::new(level).ok());
    for name in ["format", "flushFrequency", "vmodule", "options"] {
        section.idle(name, findings);
    }
    section.end(findings);
}

fn windows(root: &mut Section<'_>, findings: &mut Findings) {
    let mut section = root.section("winkernel", findings);
    for name in ["networkName", "sourceVip", "enableDSR", "rootHnsEndpointName", "forwardHealthCheckVip"] {
        section.idle(name, findings);
    }
    section.end(findings);
}

/// Our own section; kube-proxy says that it does not know it, and goes on.
fn switchyard(root: &mut Section<'_>, written: &mut Written, findings: &mut Findings) {
    let mut section = root.section("switchyard", findings);
    written.source = section.parsed("source", findings).map(|AnyText(path)| PathBuf::from(path));
    written.masters = section.list("masters", findings);
    written.silence = section.duration("apiSilence", findings).map(|GoDuration(silence)| silence);
    written.drain = section.duration("ipvsDrainTimeout", findings);
    let at_most: Option<usize> = section.whole("connectionsByService", COUNT, findings);
    written.by_service = at_most.map(ByService::at_most);
    written.flowtable_after = section.whole("flowtableAfter", COUNT, findings);
    let cleanup = section.switch("cleanupKubeProxy", findings);
    written.kube_proxy = cleanup.map(KubeProxyRules::cleanup);
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
