//! The configuration file: every field once, what is refused, what is remarked.

use std::num::NonZeroU32;
use std::time::Duration;

use backend_api::{PerFamily, Scheduler};
use kubernetes::settings::{LocalDetector, NodePortSelection};
use kubernetes::source::SourceConfig;
use switchyard_agent::backend::Backend;
use switchyard_agent::config::{ByService, Config, KubeProxyRules, Unbound, Verbosity};
use switchyard_agent::localhost::OnLocalhost;

use super::given::{fields, file_with, quiet};

/// How a field changes the configuration.
type Change = fn(&mut Config);

#[test]
fn every_field_with_an_effect_changes_its_own_setting_and_no_other() {
    let cases: [(&str, Change); 52] = [
        ("bindAddress: 192.168.67.8", |config| config.node_address = Some("192.168.67.8".parse().unwrap())),
        ("bindAddress: '::'", |config| {
            config.servers.healthz = Some("[::]:10256".parse().unwrap());
            config.servers.metrics = Some("[::1]:10249".parse().unwrap());
        }),
        ("healthzBindAddress: 127.0.0.1", |config| config.servers.healthz = Some("127.0.0.1:10256".parse().unwrap())),
        ("metricsBindAddress: '[::]:80'", |config| config.servers.metrics = Some("[::]:80".parse().unwrap())),
        ("bindAddressHardFail: true", |config| config.servers.unbound = Unbound::Fatal),
        ("mode: ipvs", |config| config.backend = Backend::Ipvs),
        ("mode: nftables", |_| {}),
        ("clusterCIDR: 10.0.0.0/8,fd00::/8", |config| {
            config.local_traffic = LocalDetector::ClusterCidrs("10.0.0.0/8,fd00::/8".parse().unwrap())
        }),
        ("detectLocalMode: NodeCIDR", |config| config.local_traffic = LocalDetector::NodeCidrs),
        ("detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}", |config| {
            config.local_traffic = LocalDetector::Bridge("cni0".parse().unwrap())
        }),
        ("detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}", |config| {
            config.local_traffic = LocalDetector::InterfacePrefix("veth".parse().unwrap())
        }),
        ("nodePortAddresses: [primary]", |_| {}),
        ("nodePortAddresses: []", |_| {}),
        ("nodePortAddresses: [0.0.0.0/0, '::/0']", |config| config.node_ports = NodePortSelection::All),
        ("nodePortAddresses:\n- 10.0.0.0/8\n- localhost", |config| {
            config.node_ports = "10.0.0.0/8,localhost".parse().unwrap()
        }),
        ("iptables: {localhostNodePorts: true}", |config| config.node_ports = "primary,127.0.0.0/8".parse().unwrap()),
        ("iptables: {localhostNodePorts: false}", |_| {}),
        ("iptables: {masqueradeAll: true}", |config| config.masquerade_all = true),
        ("nftables: {masqueradeAll: true}", |config| config.masquerade_all = true),
        ("mode: nftables\nnftables: {masqueradeAll: yes}", |config| config.masquerade_all = true),
        ("mode: nftables\niptables: {masqueradeAll: true}", |_| {}),
        ("mode: ipvs\niptables: {masqueradeAll: true}", |config| {
            config.backend = Backend::Ipvs;
            config.masquerade_all = true;
        }),
        ("ipvs: {scheduler: lc}", |config| config.ipvs.scheduler = Scheduler::Lc),
        ("ipvs: {strictARP: true}", |config| config.ipvs.strict_arp = true),
        ("ipvs: {tcpTimeout: 1h}", |config| config.ipvs.timeouts.tcp = Some(Duration::from_secs(3600))),
        ("ipvs: {tcpFinTimeout: 2m}", |config| config.ipvs.timeouts.tcp_fin = Some(Duration::from_secs(120))),
        ("ipvs: {udpTimeout: 3s}", |config| config.ipvs.timeouts.udp = Some(Duration::from_secs(3))),
        ("oomScoreAdj: -998", |config| config.host.oom_score_adj = Some(-998)),
        ("oomScoreAdj: 0", |config| config.host.oom_score_adj = Some(0)),
        ("conntrack: {maxPerCore: 0}", |config| config.host.conntrack.max_per_core = None),
        ("conntrack: {min: 7}", |config| config.host.conntrack.min = Some(7)),
        ("conntrack: {tcpEstablishedTimeout: 0s}", |config| config.host.conntrack.tcp_established_timeout = None),
        ("conntrack: {tcpCloseWaitTimeout: 90s}", |config| {
            config.host.conntrack.tcp_close_wait_timeout = Some(Duration::from_secs(90))
        }),
        ("conntrack: {tcpBeLiberal: true}", |config| config.host.conntrack.tcp_be_liberal = true),
        ("conntrack: {udpTimeout: 9s}", |config| config.host.conntrack.udp_timeout = Some(Duration::from_secs(9))),
        ("conntrack: {udpStreamTimeout: 9s}", |config| {
            config.host.conntrack.udp_stream_timeout = Some(Duration::from_secs(9))
        }),
        ("clientConnection: {kubeconfig: /k}", |config| match &mut config.source {
            SourceConfig::Kubernetes(kubernetes) => kubernetes.kubeconfig = Some("/k".into()),
            SourceConfig::Folder(_) => unreachable!(),
        }),
        ("logging: {verbosity: 5}", |config| config.verbosity = Verbosity::new(5).unwrap()),
        ("logging: {verbosity: 0}", |_| {}),
        ("switchyard: {verbosity: 0}", |config| config.verbosity = Verbosity::QUIET),
        ("switchyard: {source: /s}", |config| config.source = SourceConfig::Folder("/s".into())),
        ("switchyard: {masters: ['https://a', 'b:6443']}", |config| match &mut config.source {
            SourceConfig::Kubernetes(way) => {
                way.masters = ["https://a", "https://b:6443"].map(|url| url.parse().unwrap()).into()
            }
            SourceConfig::Folder(_) => unreachable!(),
        }),
        ("switchyard: {apiSilence: 20s}", |config| match &mut config.source {
            SourceConfig::Kubernetes(kubernetes) => kubernetes.silence = Some(Duration::from_secs(20)),
            SourceConfig::Folder(_) => unreachable!(),
        }),
        ("switchyard: {cleanupKubeProxy: false}", |config| config.kube_proxy = KubeProxyRules::Left),
        ("switchyard: {connectionsByService: 9}", |config| {
            config.servers.connections_by_service = ByService::AtMost(9)
        }),
        ("switchyard: {ipvsDrainTimeout: 15m}", |config| config.ipvs.drain = Duration::from_secs(900)),
        ("switchyard: {flowtableAfter: 16}", |config| config.flowtable_after = NonZeroU32::new(16)),
        ("switchyard: {flowtableAfter: 0}", |_| {}),
        ("switchyard: {serversOff: [healthz]}", |config| config.servers.healthz = None),
        ("switchyard: {serversOff: [metrics]}", |config| config.servers.metrics = None),
        ("switchyard:", |_| {}),
        ("conntrack: {}\nipvs: null", |_| {}),
    ];
    let usual = quiet("");
    for (text, change) in cases {
        let mut expected = usual.clone();
        change(&mut expected);
        assert_eq!(fields(text), Ok((expected, Vec::new())), "{text}");
    }
}

#[test]
fn the_nodes_name_is_the_files_unless_a_flag_says_another() {
    let text =
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nhostnameOverride: CtrlNode\n";
    let name = |flags: &[&str]| file_with(text, flags).unwrap().0.node_name.to_string();
    assert_eq!(name(&[]), "ctrlnode");
    assert_eq!(name(&["--hostname-override=other"]), "other");
    assert_eq!(name(&["--hostname-override="]), "ctrlnode");
}

#[test]
fn json_is_read_as_yaml_is() {
    let text = "{\n\t\"apiVersion\": \"kubeproxy.config.k8s.io/v1alpha1\",\n\t\"kind\": \"KubeProxyConfiguration\",\n\t\"mode\": \
                \"ipvs\",\n\t\"conntrack\": {\"min\": \"7\"}\n}";
    let expected = ["FILE:5: conntrack.min: \"7\": must be a whole number, 0 to 2147483647"];
    assert_eq!(file_with(text, &[]).unwrap_err(), expected);
    let (config, remarks) = file_with(&text.replace("\"7\"", "7"), &[]).unwrap();
    assert_eq!((config.backend, config.host.conntrack.min), (Backend::Ipvs, Some(7)));
    assert_eq!(remarks, Vec::<String>::new());
}

#[test]
fn a_field_without_effect_says_so_and_why_where_it_is_not_kube_proxys_default() {
    for (text, path, why) in [
        ("featureGates: {SomeGate: true}", "featureGates", "no feature gates"),
        ("clientConnection: {contentType: application/json}", "clientConnection.contentType", "as JSON"),
        ("clientConnection: {acceptContentTypes: x}", "clientConnection.acceptContentTypes", "as JSON"),
        ("clientConnection: {qps: 50}", "clientConnection.qps", "one request"),
        ("clientConnection: {burst: 100}", "clientConnection.burst", "one request"),
        ("enableProfiling: true", "enableProfiling", "no profiler"),
        ("showHiddenMetricsForVersion: '1.35'", "showHiddenMetricsForVersion", "no metric is hidden"),
        ("iptables: {masqueradeBit: 15}", "iptables.masqueradeBit", "no packet is marked"),
        ("iptables: {syncPeriod: 1m}", "iptables.syncPeriod", "no periodic sync"),
        ("iptables: {minSyncPeriod: 5s}", "iptables.minSyncPeriod", "written together"),
        ("nftables: {masqueradeBit: 15}", "nftables.masqueradeBit", "no packet is marked"),
        ("nftables: {syncPeriod: 1m}", "nftables.syncPeriod", "no periodic sync"),
        ("nftables: {minSyncPeriod: 5s}", "nftables.minSyncPeriod", "written together"),
        ("ipvs: {syncPeriod: 1m}", "ipvs.syncPeriod", "no periodic sync"),
        ("ipvs: {minSyncPeriod: 5s}", "ipvs.minSyncPeriod", "written together"),
        ("ipvs: {excludeCIDRs: [10.0.0.0/8]}", "ipvs.excludeCIDRs", "never touched"),
        ("configSyncPeriod: 10m", "configSyncPeriod", "when a watch ends"),
        ("portRange: 300-2000", "portRange", "user-space mode"),
        ("windowsRunAsService: true", "windowsRunAsService", "Windows"),
        ("winkernel: {networkName: x}", "winkernel.networkName", "Windows"),
        ("winkernel: {sourceVip: x}", "winkernel.sourceVip", "Windows"),
        ("winkernel: {enableDSR: true}", "winkernel.enableDSR", "Windows"),
        ("winkernel: {rootHnsEndpointName: x}", "winkernel.rootHnsEndpointName", "Windows"),
        ("winkernel: {forwardHealthCheckVip: true}", "winkernel.forwardHealthCheckVip", "Windows"),
        ("logging: {format: json}", "logging.format", "one format"),
        ("logging: {flushFrequency: 1000}", "logging.flushFrequency", "one format"),
        ("logging: {vmodule: [{filePattern: proxier, verbosity: 4}]}", "logging.vmodule", "one log level"),
        ("logging: {options: {json: {splitStream: true}}}", "logging.options", "one format"),
        ("udpIdleTimeout: 250ms", "udpIdleTimeout", "kube-proxy itself does not have it any more"),
        ("resourceContainer: /kube-proxy", "resourceContainer", "kube-proxy itself does not have it any more"),
        ("conntrack: {max: 7}", "conntrack.max", "kube-proxy itself does not have it any more"),
    ] {
        let (config, remarks) = fields(text).unwrap();
        assert_eq!(config, quiet(""), "{text}");
        let [remark] = remarks.as_slice() else { panic!("{text}: {remarks:?}") };
        assert!(remark.starts_with(&format!("FILE:3: {path}: has no effect: ")), "{remark}");
        assert!(remark.contains(why), "{remark}");
    }
}

#[test]
fn kube_proxys_own_defaults_are_not_worth_a_word() {
    let text = "clientConnection: {qps: 5.0, burst: 10}\niptables: {masqueradeBit: 14, syncPeriod: 30s, minSyncPeriod: 1s}\n\
                ipvs: {syncPeriod: 0m30s, excludeCIDRs: []}\nconfigSyncPeriod: 15m\nlogging: {format: text, flushFrequency: 5s}\n";
    assert_eq!(fields(text), Ok((quiet(""), Vec::new())));
}

#[test]
fn unknown_fields_and_fields_that_are_there_twice_are_remarked_with_their_lines() {
    let text = "conntrack:\n  min: 5\n  mim: 6\n  min: 7\nmodus: ipvs\nswitchyard:\n  frobnicate:\n    deep: 1\n";
    let (config, remarks) = fields(text).unwrap();
    assert_eq!(config.host.conntrack.min, Some(7));
    assert_eq!(
        remarks,
        [
            "FILE:4: conntrack.min: is there twice: line 6 counts",
            "FILE:5: conntrack.mim: unknown field; it has no effect",
            "FILE:9: switchyard.frobnicate: unknown field; it has no effect",
            "FILE:7: modus: unknown field; it has no effect",
        ]
    );
}

#[test]
fn every_wrong_value_is_told_at_once_with_what_is_allowed() {
    let text = "\
mode: kernelspace
hostnameOverride: 7
bindAddress: eth0
healthzBindAddress: localhost:1
metricsBindAddress: 127.0.0.1:0
bindAddressHardFail: 'true'
clusterCIDR: 10.0.0.0
detectLocalMode: Pods
detectLocal: {bridgeInterface: a/b}
nodePortAddresses: [primary, eth0, 7]
oomScoreAdj: 1001
conntrack: {tcpEstablishedTimeout: 1d, udpTimeout: -1s, maxPerCore: -1, min: many}
iptables: {masqueradeBit: 32, syncPeriod: often}
ipvs: {scheduler: maglev, tcpTimeout: 597h, excludeCIDRs: [lb]}
nftables: all
logging: {verbosity: 11}
clientConnection: {burst: -1}
featureGates: {A: maybe}
portRange: x
switchyard: {masters: ['https://'], serversOff: [all], connectionsByService: -1}
";
    let expected = [
        "3: mode: \"kernelspace\": is kube-proxy's mode on Windows; on Linux it must be nftables, ipvs or iptables, or empty for nftables",
        "4: hostnameOverride: 7: must be text, in quotes if it looks like something else",
        "5: bindAddress: \"eth0\": must be an IP address such as 192.168.67.8, or 0.0.0.0 or :: for that of the Node object",
        "9: clusterCIDR: \"10.0.0.0\": range \"10.0.0.0\": not an address and a prefix length",
        "11: detectLocal.bridgeInterface: \"a/b\": interface name \"a/b\": must be 1 to 15 bytes, without `/` and white space",
        "10: detectLocalMode: \"Pods\": must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix",
        "12: nodePortAddresses[1]: \"eth0\": must be `primary`, `all`, `localhost` or ranges such as 192.168.0.0/16, separated by commas",
        "12: nodePortAddresses[2]: 7: must be text, in quotes if it looks like something else",
        "6: healthzBindAddress: \"localhost:1\": must be IP:port or an IP address, such as 0.0.0.0:10256 or [::]:10256, with a port from 1 to 65535",
        "7: metricsBindAddress: \"127.0.0.1:0\": must be IP:port or an IP address, such as 0.0.0.0:10256 or [::]:10256, with a port from 1 to 65535",
        "8: bindAddressHardFail: \"true\": must be true or false",
        "13: oomScoreAdj: 1001: must be a whole number, -1000 to 1000",
        "19: clientConnection.burst: -1: must be a whole number, 0 to 2147483647",
        "14: conntrack.tcpEstablishedTimeout: \"1d\": must be a duration such as 0s, 15m or 1h30m",
        "14: conntrack.udpTimeout: \"-1s\": must not be negative",
        "14: conntrack.maxPerCore: -1: must be a whole number, 0 to 2147483647",
        "14: conntrack.min: \"many\": must be a whole number, 0 to 2147483647",
        "17: nftables: \"all\": must be a section",
        "15: iptables.masqueradeBit: 32: must be a whole number, 0 to 31",
        "15: iptables.syncPeriod: \"often\": must be a duration of 0 or more such as 0s, 15m or 1h30m",
        "16: ipvs.scheduler: \"maglev\" is no scheduler, which are rr, wrr, lc, wlc, fo, ovf, lblc, lblcr, dh, sh, mh, sed, nq, twos",
        "16: ipvs.tcpTimeout: \"597h\": must be at most 596h31m23s",
        "16: ipvs.excludeCIDRs: a list: must be ranges of addresses such as 10.0.0.0/8",
        "18: logging.verbosity: 11: must be a whole number, 0 to 10",
        "20: featureGates: a section: must be names with true or false, such as SomeFeature=true",
        "21: portRange: \"x\": must be a range of ports such as 300-2000, or empty",
        "22: switchyard.masters[0]: \"https://\": must be URLs such as https://192.168.67.1:6443, separated by commas",
        "22: switchyard.connectionsByService: -1: must be a whole number, 0 to 2147483647",
        "22: switchyard.serversOff[0]: \"all\": must be healthz or metrics",
    ];
    let mistakes = fields(text).unwrap_err();
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert_eq!(*mistake, format!("FILE:{expected}"));
    }
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
}

#[test]
fn another_kind_of_document_is_refused_for_that_alone() {
    for (text, expected) in [
        (
            "apiVersion: kubeproxy.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmode: 7\n",
            vec![
                "FILE:1: apiVersion: \"kubeproxy.config.k8s.io/v1beta1\": must be kubeproxy.config.k8s.io/v1alpha1",
                "FILE:2: kind: \"KubeletConfiguration\": must be KubeProxyConfiguration",
            ],
        ),
        (
            "",
            vec![
                "FILE: apiVersion: missing: must be kubeproxy.config.k8s.io/v1alpha1",
                "FILE: kind: missing: must be KubeProxyConfiguration",
            ],
        ),
    ] {
        assert_eq!(file_with(text, &[]).unwrap_err(), expected);
    }
}

#[test]
fn what_is_no_document_is_refused_with_its_line() {
    let [mistake] = fields("conntrack:\n  min: 5\n max: 6\n").unwrap_err().try_into().unwrap();
    assert!(mistake.starts_with("FILE:5: "), "{mistake}");
    let mistakes = file_with("just words\n", &[]).unwrap_err();
    assert_eq!(mistakes[0], "FILE:1: \"just words\": must be a section");
}

#[test]
fn a_detector_without_its_interface_is_refused() {
    let mistakes = fields("detectLocalMode: BridgeInterface\n").unwrap_err();
    let expected =
        "FILE:3: detectLocalMode: \"BridgeInterface\": needs detectLocal.bridgeInterface, which is not given";
    assert_eq!(mistakes, [expected]);
}

#[test]
fn iptables_mode_is_taken_and_said_to_be_nftables_unless_a_flag_says_otherwise() {
    let (config, remarks) = fields("mode: iptables\n").unwrap();
    assert_eq!(config.backend, Backend::Nftables);
    assert!(remarks[0].starts_with("FILE:3: mode: iptables: the nftables backend is used"), "{remarks:?}");
    let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n";
    let (config, remarks) = file_with(text, &["--backend=ipvs"]).unwrap();
    assert_eq!((config.backend, remarks), (Backend::Ipvs, Vec::new()));
}

#[test]
fn flags_that_the_file_takes_the_place_of_are_ignored_by_name_and_ours_count_more() {
    let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\nlogging: {verbosity: \
                5}\nswitchyard: {source: /file, cleanupKubeProxy: true}\n";
    let flags = [
        "--proxy-mode=nftables",
        "--cluster-cidr=10.0.0.0/8",
        "--masquerade-all=false",
        "--profiling",
        "--hostname-override=n",
        "--source=/flag",
        "--cleanup-kube-proxy=false",
        "-v=3",
    ];
    let (config, remarks) = file_with(text, &flags).unwrap();
    let ignored: Vec<_> = remarks.iter().map(|remark| remark.split(": is ignored").next().unwrap()).collect();
    assert_eq!(ignored, ["--proxy-mode", "--cluster-cidr", "--masquerade-all", "--profiling"]);
    let mut expected = quiet("--backend ipvs --source /flag --cleanup-kube-proxy=false");
    expected.verbosity = Verbosity::new(3).unwrap();
    assert_eq!(config, expected);
}

#[test]
fn localhost_node_ports_are_in_the_file_too() {
    let (config, _) = fields("nodePortAddresses: [primary, '::1/128']\n").unwrap();
    assert_eq!(OnLocalhost::of(&config.node_ports), PerFamily { v4: OnLocalhost::Closed, v6: OnLocalhost::Open });
}
