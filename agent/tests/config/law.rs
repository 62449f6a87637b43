//! What is written of a configuration is read as the same configuration.

use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use allocation::AddressRange;
use announce::election::Incumbency;
use backend_api::Scheduler;
use kubernetes::settings::{Budget, LocalDetector};
use kubernetes::source::{ApiConfig, SourceConfig};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value};
use switchyard_agent::backend::Backend;
use switchyard_agent::config::reference::fields;
use switchyard_agent::config::{
    Announce, AnnounceConfig, ByService, Config, ConntrackConfig, HostConfig, IpvsConfig, IpvsTimeouts, KubeProxyRules,
    OnStop, ServersConfig, Unbound, Verbosity, configz, parse_file, yaml,
};

use super::given::{file_with, quiet};

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug> + Clone + std::fmt::Debug + 'static>(
    texts: &[&str],
) -> impl Strategy<Value = T> + use<T> {
    select(texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<T>>())
}

fn seconds(most: u64) -> impl Strategy<Value = Option<Duration>> {
    of((1..most).prop_map(Duration::from_secs))
}

fn ipvs() -> impl Strategy<Value = IpvsConfig> {
    let timeouts = (seconds(2_147_483), seconds(2_147_483), seconds(2_147_483));
    let timeouts = timeouts.prop_map(|(tcp, tcp_fin, udp)| IpvsTimeouts { tcp, tcp_fin, udp });
    (select(&Scheduler::ALL[..]), any::<bool>(), timeouts, 0..315_360_000_u64).prop_map(
        |(scheduler, strict_arp, timeouts, drain)| IpvsConfig {
            scheduler,
            strict_arp,
            timeouts,
            drain: Duration::from_secs(drain),
        },
    )
}

fn local_traffic() -> impl Strategy<Value = LocalDetector> {
    prop_oneof![
        parsed(&["", "10.244.0.0/16", "fd00::/56", "10.244.0.0/16,fd00::/56"]).prop_map(LocalDetector::ClusterCidrs),
        Just(LocalDetector::NodeCidrs),
        parsed(&["cni0", "123", "true", "a:"]).prop_map(LocalDetector::Bridge),
        parsed(&["veth", "~", "1e3"]).prop_map(LocalDetector::InterfacePrefix),
    ]
}

fn servers() -> impl Strategy<Value = ServersConfig> {
    let address = || of(parsed(&["0.0.0.0:10256", "[::]:1", "127.0.0.1:65535", "[fd00::1]:80"]));
    let by_service = prop_oneof![Just(ByService::No), (1..100_000_usize).prop_map(ByService::AtMost)];
    (address(), address(), select(vec![Unbound::Retried, Unbound::Fatal]), by_service).prop_map(
        |(healthz, metrics, unbound, connections_by_service)| ServersConfig {
            healthz,
            metrics,
            unbound,
            connections_by_service,
        },
    )
}

fn host() -> impl Strategy<Value = HostConfig> {
    let count = || of(1..=i32::MAX as u32);
    let nanoseconds = || of((1..=i64::MAX as u64).prop_map(Duration::from_nanos));
    let times = (nanoseconds(), nanoseconds(), nanoseconds(), nanoseconds());
    (count(), count(), times, any::<bool>(), -1000..=1000_i16).prop_map(
        |(max_per_core, min, (established, close_wait, udp, udp_stream), tcp_be_liberal, score)| HostConfig {
            conntrack: ConntrackConfig {
                max_per_core,
                min,
                tcp_established_timeout: established,
                tcp_close_wait_timeout: close_wait,
                tcp_be_liberal,
                udp_timeout: udp,
                udp_stream_timeout: udp_stream,
            },
            oom_score_adj: Some(score),
        },
    )
}

fn source() -> impl Strategy<Value = SourceConfig> {
    let urls = proptest::collection::vec(parsed(&["https://a:6443", "http://[fd00::1]:8080/x"]), 0..3);
    let nanoseconds = of((1..1_u64 << 40).prop_map(Duration::from_nanos));
    prop_oneof![
        parsed(&["/s", "relative folder", "yes"]).prop_map(SourceConfig::Folder),
        (of(parsed(&["/k", "123"])), urls, nanoseconds).prop_map(|(kubeconfig, masters, silence)| {
            SourceConfig::Kubernetes(ApiConfig { kubeconfig, masters, silence })
        }),
    ]
}

fn budget() -> impl Strategy<Value = Budget> {
    let limit = || (1..=i32::MAX as u32).prop_map(|limit| NonZeroU32::new(limit).unwrap());
    (limit(), limit()).prop_map(|(of_service, in_all)| Budget { of_service, in_all })
}

fn announcing() -> impl Strategy<Value = AnnounceConfig> {
    let ranges = ["192.0.2.0/24", "192.0.2.10-192.0.2.20", "fd00::/64", "192.0.2.1/32"];
    let range = select(ranges.map(|text| AddressRange::parse(text).unwrap().0).to_vec());
    (
        select(vec![Announce::Off, Announce::On]),
        select(vec![OnStop::Pause, OnStop::Leave]),
        select(vec![Incumbency::Sticky, Incumbency::Failback]),
        select(vec!["metallb-system", "123", "null"]),
        of(select(vec!["example.com/class", "1e3"])),
        proptest::collection::vec(range, 0..3),
    )
        .prop_map(|(announce, on_stop, incumbency, namespace, class, pool)| AnnounceConfig {
            announce,
            on_stop,
            incumbency,
            namespace: namespace.into(),
            class: class.map(Into::into),
            pool,
        })
}

fn configuration() -> impl Strategy<Value = Config> {
    let node = (parsed(&["n", "ctrl-1.example", "123", "true", "null", "1e3"]), of(parsed(&["10.0.0.1", "fd00::1"])));
    let selections =
        ["primary", "all", "localhost", "all,localhost", "127.0.0.1/32", "primary,::1/128", "0.0.0.0/0,127.0.0.0/8"];
    let rest = (
        (select(vec![KubeProxyRules::Removed, KubeProxyRules::Left]), announcing()),
        (0..=10_u8).prop_map(|level| Verbosity::new(level).unwrap()),
        any::<bool>(),
        ((0..=i32::MAX as u32).prop_map(NonZeroU32::new), budget()),
        select(vec![Backend::Nftables, Backend::Ipvs]),
    );
    (node, ipvs(), local_traffic(), parsed(&selections), source(), servers(), host(), rest).prop_map(
        |((node_name, node_address), ipvs, local_traffic, node_ports, source, servers, host, rest)| {
            let ((kube_proxy, announcing), verbosity, masquerade_all, (flowtable_after, budget), backend) = rest;
            Config {
                node_name,
                node_address,
                backend,
                ipvs,
                local_traffic,
                node_ports,
                masquerade_all,
                flowtable_after,
                budget,
                source,
                servers,
                host,
                kube_proxy,
                announcing,
                verbosity,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same_configuration(config in configuration()) {
        let (read, remarks) = file_with(&yaml(&config).unwrap(), &[]).unwrap();
        prop_assert_eq!(read, config.clone());
        prop_assert_eq!(remarks, Vec::<String>::new());
        let (read, _) = file_with(&configz(&config).to_string(), &[]).unwrap();
        prop_assert_eq!(read, config);
    }
}

/// Values of every kind, some of which suit a field.
const VALUES: [&str; 30] = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "2147483648",
    "1.5",
    "\"\"",
    "\"0s\"",
    "\"1h\"",
    "\"-1s\"",
    "\"999999h\"",
    "\"10.0.0.0/8\"",
    "\"::/0,10.0.0.0/8\"",
    "\"::\"",
    "\"[::1]:80\"",
    "\"127.0.0.1\"",
    "\"ipvs\"",
    "\"NodeCIDR\"",
    "\"BridgeInterface\"",
    "\"cni0\"",
    "\"é\"",
    "[]",
    "[7]",
    "[\"localhost\", \"all\"]",
    "[\"https://a\"]",
    "[\"healthz\"]",
    "{}",
    "{\"a\": true}",
];

/// A document with some fields, each with any value.
fn document() -> impl Strategy<Value = String> {
    let paths: Vec<&str> = fields().iter().map(|field| field.path).filter(|path| !HEADER.contains_key(*path)).collect();
    proptest::collection::vec((select(paths), select(&VALUES[..])), 0..8).prop_map(|written| {
        let mut document: Map<String, Value> = HEADER.clone();
        for (path, value) in written {
            let value = serde_json::from_str(value).unwrap();
            match path.split_once('.') {
                None => document.insert(path.to_owned(), value),
                Some((section, name)) => {
                    let section = document.entry(section).or_insert_with(|| Map::new().into());
                    section.as_object_mut().and_then(|section| section.insert(name.to_owned(), value))
                }
            };
        }
        Value::Object(document).to_string()
    })
}

static HEADER: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let header = [("apiVersion", "kubeproxy.config.k8s.io/v1alpha1"), ("kind", "KubeProxyConfiguration")];
    header.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect()
});

proptest! {
    #[test]
    fn any_fields_with_any_values_are_refused_or_mean_what_is_written_of_them(document in document()) {
        if let Ok((config, _)) = parse_file("file", &document) {
            prop_assert_eq!(parse_file("file", &yaml(&config).unwrap()), Ok((config, Vec::new())));
        }
    }

    #[test]
    fn any_text_is_refused_or_a_configuration(text in "(?s).{0,100}") {
        let header = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        for text in [text.clone(), format!("{header}{text}")] {
            if let Ok((config, _)) = parse_file("file", &text) {
                prop_assert_eq!(parse_file("file", &yaml(&config).unwrap()), Ok((config, Vec::new())));
            }
        }
    }
}

#[test]
fn every_field_of_kube_proxy_is_written() {
    let form = configz(&quiet(""));
    for path in [
        "/apiVersion",
        "/kind",
        "/featureGates",
        "/clientConnection/kubeconfig",
        "/clientConnection/acceptContentTypes",
        "/clientConnection/contentType",
        "/clientConnection/qps",
        "/clientConnection/burst",
        "/logging/format",
        "/logging/flushFrequency",
        "/logging/verbosity",
        "/logging/vmodule",
        "/logging/options",
        "/hostnameOverride",
        "/bindAddress",
        "/healthzBindAddress",
        "/metricsBindAddress",
        "/bindAddressHardFail",
        "/enableProfiling",
        "/showHiddenMetricsForVersion",
        "/mode",
        "/iptables/masqueradeBit",
        "/iptables/masqueradeAll",
        "/iptables/localhostNodePorts",
        "/iptables/syncPeriod",
        "/iptables/minSyncPeriod",
        "/ipvs/syncPeriod",
        "/ipvs/minSyncPeriod",
        "/ipvs/scheduler",
        "/ipvs/excludeCIDRs",
        "/ipvs/strictARP",
        "/ipvs/tcpTimeout",
        "/ipvs/tcpFinTimeout",
        "/ipvs/udpTimeout",
        "/nftables/masqueradeBit",
        "/nftables/masqueradeAll",
        "/nftables/syncPeriod",
        "/nftables/minSyncPeriod",
        "/winkernel/networkName",
        "/winkernel/sourceVip",
        "/winkernel/enableDSR",
        "/winkernel/rootHnsEndpointName",
        "/winkernel/forwardHealthCheckVip",
        "/detectLocalMode",
        "/detectLocal/bridgeInterface",
        "/detectLocal/interfaceNamePrefix",
        "/clusterCIDR",
        "/nodePortAddresses",
        "/oomScoreAdj",
        "/conntrack/maxPerCore",
        "/conntrack/min",
        "/conntrack/tcpEstablishedTimeout",
        "/conntrack/tcpCloseWaitTimeout",
        "/conntrack/tcpBeLiberal",
        "/conntrack/udpTimeout",
        "/conntrack/udpStreamTimeout",
        "/configSyncPeriod",
        "/portRange",
        "/windowsRunAsService",
    ] {
        assert!(form.pointer(path).is_some(), "{path} is not in {form:#}");
    }
}

#[test]
fn a_file_that_is_written_can_serve_other_nodes() {
    let (config, _) = super::given::read(&[]).unwrap();
    assert!(yaml(&config).unwrap().contains("hostnameOverride: \"\"\n"), "{}", yaml(&config).unwrap());
    assert_eq!(configz(&config)["hostnameOverride"], config.node_name.as_str());
}
