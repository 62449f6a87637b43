//! Flags: all of kube-proxy's are accepted. Each does what kube-proxy's does, or says that it has no effect.

use std::num::NonZeroU32;
use std::time::Duration;

use backend_api::Scheduler;
use kubernetes::settings::{LocalDetector, NodePortSelection};
use kubernetes::source::{ApiConfig, SourceConfig};
use switchyard_agent::backend::Backend;
use switchyard_agent::config::{Action, ByService, Config, KubeProxyRules, Order, Unbound, Verbosity, configz, yaml};
use switchyard_agent::localhost::OnLocalhost;

use super::given::{file_with, line, order, quiet};

/// Every flag of kube-proxy 1.36 with a value that differs from its default, and whether it has an effect.
const KUBE_PROXYS: [(&str, &str); 55] = [
    ("--bind-address=192.168.67.8", ""),
    ("--bind-address-hard-fail", ""),
    ("--cleanup", ""),
    ("--cluster-cidr=10.244.0.0/16,fd00:10:244::/56", ""),
    ("--config=/nowhere", ""),
    ("--config-sync-period=10m", "when a watch ends"),
    ("--conntrack-max-per-core=1", ""),
    ("--conntrack-min=1", ""),
    ("--conntrack-tcp-be-liberal", ""),
    ("--conntrack-tcp-timeout-close-wait=1s", ""),
    ("--conntrack-tcp-timeout-established=1s", ""),
    ("--conntrack-udp-timeout=1s", ""),
    ("--conntrack-udp-timeout-stream=1s", ""),
    ("--detect-local-mode=NodeCIDR", ""),
    ("--feature-gates=A=true,B=false", "no feature gates"),
    ("--healthz-bind-address=127.0.0.1:1", ""),
    ("--healthz-port=1", ""),
    ("--hostname-override=n", ""),
    ("--init-only", ""),
    ("--iptables-localhost-nodeports", ""),
    ("--iptables-masquerade-bit=15", "no packet is marked"),
    ("--iptables-min-sync-period=5s", "written together"),
    ("--iptables-sync-period=1m", "no periodic sync"),
    ("--ipvs-exclude-cidrs=10.0.0.0/8,fd00::/8", "never touched"),
    ("--ipvs-min-sync-period=5s", "written together"),
    ("--ipvs-scheduler=lc", ""),
    ("--ipvs-strict-arp", ""),
    ("--ipvs-sync-period=1m", "no periodic sync"),
    ("--ipvs-tcp-timeout=1s", ""),
    ("--ipvs-tcpfin-timeout=1s", ""),
    ("--ipvs-udp-timeout=1s", ""),
    ("--kube-api-burst=20", "one request for each kind"),
    ("--kube-api-content-type=application/json", "as JSON"),
    ("--kube-api-qps=7.5", "one request for each kind"),
    ("--kubeconfig=/k", ""),
    ("--log-flush-frequency=1s", "one format"),
    ("--log-json-info-buffer-size=1", "one format"),
    ("--log-json-split-stream", "one format"),
    ("--log-text-info-buffer-size=1", "one format"),
    ("--log-text-split-stream", "one format"),
    ("--logging-format=json", "one format"),
    ("--masquerade-all", ""),
    ("--master=https://m:6443", ""),
    ("--metrics-bind-address=127.0.0.1:1", ""),
    ("--metrics-port=1", ""),
    ("--nodeport-addresses=192.168.0.0/16", ""),
    ("--oom-score-adj=-1", ""),
    ("--pod-bridge-interface=cni0", ""),
    ("--pod-interface-name-prefix=veth", ""),
    ("--profiling", "no profiler"),
    ("--proxy-mode=ipvs", ""),
    ("--show-hidden-metrics-for-version=1.35", "no metric is hidden"),
    ("--v=4", ""),
    ("--vmodule=proxier=4", "one log level"),
    ("--write-config-to=/nowhere", ""),
];

#[test]
fn every_flag_of_kube_proxy_is_taken_and_says_so_where_it_has_no_effect() {
    for (flag, why) in KUBE_PROXYS {
        let asked = order(&["--source=/s", "--hostname-override=n", flag]).unwrap_or_else(|error| panic!("{error}"));
        if flag.starts_with("--config=") {
            assert!(asked.unwrap_err().to_string().starts_with("/nowhere: "));
            continue;
        }
        let Order { remarks, .. } = asked.unwrap();
        let name = flag.split('=').next().unwrap();
        match (why, remarks.as_slice()) {
            ("", []) => {}
            ("", remarks) => panic!("{flag}: {remarks:?}"),
            (why, [remark]) => {
                let text = remark.to_string();
                assert!(text.starts_with(&format!("{name}: has no effect: ")) && text.contains(why), "{text}");
            }
            (_, remarks) => panic!("{flag}: {remarks:?}"),
        }
    }
}

/// How a flag changes the configuration.
type Change = fn(&mut Config);

#[test]
fn every_flag_changes_its_own_setting_and_no_other() {
    let cases: [(&str, Change); 49] = [
        ("", |_| {}),
        ("--source /s", |config| config.source = SourceConfig::Folder("/s".into())),
        ("--kubeconfig /k", |config| kubernetes(config).kubeconfig = Some("/k".into())),
        ("--kubeconfig=", |_| {}),
        ("--master https://a:6443", |config| kubernetes(config).masters = vec!["https://a:6443".parse().unwrap()]),
        ("--master https://a,b:6443", |config| {
            kubernetes(config).masters = ["https://a", "https://b:6443"].map(|url| url.parse().unwrap()).into()
        }),
        ("--api-silence 20s", |config| kubernetes(config).silence = Some(Duration::from_secs(20))),
        ("--api-silence 0s", |_| {}),
        ("--backend ipvs", |config| config.backend = Backend::Ipvs),
        ("--proxy-mode ipvs", |config| config.backend = Backend::Ipvs),
        ("--proxy-mode=", |_| {}),
        ("--proxy-mode nftables --backend ipvs", |config| config.backend = Backend::Ipvs),
        ("--hostname-override=CtrlNode", |config| config.node_name = "ctrlnode".parse().unwrap()),
        ("--bind-address 192.168.67.8", |config| config.node_address = Some("192.168.67.8".parse().unwrap())),
        ("--bind-address 0.0.0.0", |_| {}),
        ("--bind-address-hard-fail", |config| config.servers.unbound = Unbound::Fatal),
        ("--healthz-bind-address 127.0.0.1", |config| config.servers.healthz = Some(at("127.0.0.1:10256"))),
        ("--healthz-bind-address=", |config| config.servers.healthz = None),
        ("--healthz-port 80", |config| config.servers.healthz = Some(at("0.0.0.0:80"))),
        ("--healthz-port 0", |config| config.servers.healthz = None),
        ("--metrics-bind-address [::]:1", |config| config.servers.metrics = Some(at("[::]:1"))),
        ("--metrics-bind-address ::1 --metrics-port 2", |config| config.servers.metrics = Some(at("[::1]:2"))),
        ("--metrics-bind-address=", |config| config.servers.metrics = None),
        ("--connections-by-service 100", |config| config.servers.connections_by_service = ByService::AtMost(100)),
        ("--connections-by-service 0", |_| {}),
        ("--flowtable-after 16", |config| config.flowtable_after = NonZeroU32::new(16)),
        ("--flowtable-after 0", |_| {}),
        ("--cleanup-kube-proxy=false", |config| config.kube_proxy = KubeProxyRules::Left),
        ("--cluster-cidr 10.0.0.0/8", |config| {
            config.local_traffic = LocalDetector::ClusterCidrs("10.0.0.0/8".parse().unwrap())
        }),
        ("--detect-local-mode nodecidr", |config| config.local_traffic = LocalDetector::NodeCidrs),
        ("--detect-local-mode BridgeInterface --pod-bridge-interface cni0", |config| {
            config.local_traffic = LocalDetector::Bridge("cni0".parse().unwrap())
        }),
        ("--detect-local-mode InterfaceNamePrefix --pod-interface-name-prefix veth", |config| {
            config.local_traffic = LocalDetector::InterfacePrefix("veth".parse().unwrap())
        }),
        ("--detect-local-mode=", |_| {}),
        ("--nodeport-addresses all", |config| config.node_ports = NodePortSelection::All),
        ("--nodeport-addresses 10.0.0.0/8 --nodeport-addresses fd00::/8", |config| {
            config.node_ports = "10.0.0.0/8,fd00::/8".parse().unwrap()
        }),
        ("--masquerade-all", |config| config.masquerade_all = true),
        ("--masquerade_all", |config| config.masquerade_all = true),
        ("--masquerade-all=T --masquerade-all=false", |_| {}),
        ("--oom-score-adj -998", |config| config.host.oom_score_adj = Some(-998)),
        ("--conntrack-max-per-core 0 --conntrack-min 7", |config| {
            config.host.conntrack.max_per_core = None;
            config.host.conntrack.min = Some(7);
        }),
        ("--conntrack-tcp-timeout-established 0s", |config| config.host.conntrack.tcp_established_timeout = None),
        ("--conntrack-tcp-timeout-close-wait 90s", |config| {
            config.host.conntrack.tcp_close_wait_timeout = Some(Duration::from_secs(90))
        }),
        ("--conntrack-tcp-be-liberal", |config| config.host.conntrack.tcp_be_liberal = true),
        ("--conntrack-udp-timeout 9s --conntrack-udp-timeout-stream 10s", |config| {
            config.host.conntrack.udp_timeout = Some(Duration::from_secs(9));
            config.host.conntrack.udp_stream_timeout = Some(Duration::from_secs(10));
        }),
        ("--ipvs-scheduler lc --ipvs-strict-arp=true", |config| {
            config.ipvs.scheduler = Scheduler::Lc;
            config.ipvs.strict_arp = true;
        }),
        ("--ipvs-tcp-timeout 1h30m --ipvs-tcpfin-timeout 0s --ipvs-udp-timeout 1500ms", |config| {
            config.ipvs.timeouts.tcp = Some(Duration::from_secs(5400));
            config.ipvs.timeouts.udp = Some(Duration::from_secs(2));
        }),
        ("--ipvs-drain-timeout 15m", |config| config.ipvs.drain = Duration::from_secs(900)),
        ("-v 5", |config| config.verbosity = Verbosity::new(5).unwrap()),
        ("-v=0", |config| config.verbosity = Verbosity::QUIET),
    ];
    let usual = quiet("");
    for (flags, change) in cases {
        let mut expected = usual.clone();
        change(&mut expected);
        assert_eq!(quiet(flags), expected, "{flags}");
    }
}

fn kubernetes(config: &mut Config) -> &mut ApiConfig {
    match &mut config.source {
        SourceConfig::Kubernetes(kubernetes) => kubernetes,
        SourceConfig::Folder(folder) => panic!("{}", folder.display()),
    }
}

fn at(address: &str) -> std::net::SocketAddr {
    address.parse().unwrap()
}

#[test]
fn localhost_node_ports_are_asked_for_by_word_by_range_and_by_kube_proxys_flag() {
    for (flags, v4, v6) in [
        ("", false, false),
        ("--nodeport-addresses all", false, false),
        ("--nodeport-addresses primary,localhost", true, true),
        ("--nodeport-addresses 127.0.0.0/8", true, false),
        ("--nodeport-addresses ::1/128", false, true),
        ("--iptables-localhost-nodeports", true, false),
        ("--iptables-localhost-nodeports=false", false, false),
        ("--iptables-localhost-nodeports --nodeport-addresses all", true, false),
        ("--iptables-localhost-nodeports --nodeport-addresses 192.168.0.0/16", false, false),
    ] {
        let open = OnLocalhost::of(&quiet(flags).node_ports);
        assert_eq!((open.v4 == OnLocalhost::Open, open.v6 == OnLocalhost::Open), (v4, v6), "{flags}");
    }
}

#[test]
fn iptables_mode_is_taken_and_said_to_be_nftables() {
    let (config, remarks) = line("--proxy-mode iptables").unwrap();
    assert_eq!(config.backend, Backend::Nftables);
    let expected = "--proxy-mode: iptables: the nftables backend is used, which does the same for services; there is no iptables \
                    backend here";
    assert_eq!(remarks, [expected]);
    assert_eq!(line("--proxy-mode iptables --backend ipvs").unwrap().1, Vec::<String>::new());
}

#[test]
fn a_refused_value_is_named_with_its_flag_and_what_is_allowed() {
    let duration = "must be a duration such as 0s, 15m or 1h30m";
    for (flags, flag, value, allowed) in [
        ("--backend iptables", "--backend <NAME>", "iptables", "nftables, ipvs"),
        ("--proxy-mode kernelspace", "--proxy-mode <MODE>", "kernelspace", "Windows"),
        ("--proxy-mode userspace", "--proxy-mode <MODE>", "userspace", "nftables, ipvs or iptables"),
        ("--detect-local-mode pods", "--detect-local-mode <MODE>", "pods", "NodeCIDR"),
        ("--cluster-cidr 10.0.0.0", "--cluster-cidr", "10.0.0.0", "prefix length"),
        ("--nodeport-addresses eth0", "--nodeport-addresses", "eth0", "`primary`, `all`, `localhost` or ranges"),
        ("--pod-bridge-interface far-too-long-a-name", "--pod-bridge-interface", "far-too-long", "15 bytes"),
        ("--bind-address eth0", "--bind-address <IP>", "eth0", "must be an IP address"),
        ("--healthz-bind-address :80", "--healthz-bind-address", ":80", "IP:port"),
        ("--metrics-bind-address 0.0.0.0:0", "--metrics-bind-address", "0.0.0.0:0", "from 1 to 65535"),
        ("--oom-score-adj 1001", "--oom-score-adj <SCORE>", "1001", "-1000..=1000"),
        ("--conntrack-min=-1", "--conntrack-min", "-1", "invalid"),
        ("--conntrack-udp-timeout 1d", "--conntrack-udp-timeout", "1d", duration),
        ("--masquerade-all=maybe", "--masquerade-all", "maybe", "must be true or false"),
        ("--ipvs-scheduler maglev", "--ipvs-scheduler <NAME>", "maglev", "rr, wrr, lc, wlc, fo, ovf"),
        ("--ipvs-tcp-timeout 15", "--ipvs-tcp-timeout <DURATION>", "15", duration),
        ("--ipvs-tcpfin-timeout=-1s", "--ipvs-tcpfin-timeout <DURATION>", "-1s", "must not be negative"),
        ("--ipvs-udp-timeout 597h", "--ipvs-udp-timeout <DURATION>", "597h", "at most 596h31m23s"),
        ("--ipvs-drain-timeout 87600h1s", "--ipvs-drain-timeout <DURATION>", "87600h1s", "at most 87600h"),
        ("--master https://", "--master", "https://", "must be URLs"),
        ("--ipvs-exclude-cidrs 10.0.0.0/8,lb", "--ipvs-exclude-cidrs", "lb", "ranges of addresses"),
        ("--iptables-masquerade-bit 32", "--iptables-masquerade-bit", "32", "0 to 31"),
        ("--config-sync-period=-5s", "--config-sync-period", "-5s", "a duration of 0 or more"),
        ("--feature-gates A", "--feature-gates", "A", "SomeFeature=true"),
        ("-v 11", "--v <LEVEL>", "11", "0 to 10"),
    ] {
        let flags: Vec<_> = flags.split_whitespace().collect();
        let error = order(&flags).unwrap_err();
        for part in [flag, value, allowed] {
            assert!(error.contains(part), "{flags:?}: {part:?} is not in: {error}");
        }
    }
}

#[test]
fn a_detector_without_its_interface_is_refused() {
    for (flags, mistake) in [
        ("--detect-local-mode BridgeInterface", "needs --pod-bridge-interface, which is not given"),
        ("--detect-local-mode interfacenameprefix", "needs --pod-interface-name-prefix, which is not given"),
        (
            "--detect-local-mode BridgeInterface --pod-bridge-interface=",
            "needs --pod-bridge-interface, which is not given",
        ),
    ] {
        assert_eq!(line(flags).unwrap_err(), [format!("--detect-local-mode: {mistake}")]);
    }
}

#[test]
fn a_run_needs_to_know_where_objects_come_from() {
    let error = order(&["--hostname-override=n"]).unwrap().unwrap_err().to_string();
    assert!(error.starts_with("--source: missing: give --source, --kubeconfig, --master"), "{error}");
    for way in ["--source=/s", "--kubeconfig=/k", "--master=https://m"] {
        let Order { action, remarks } = order(&["--hostname-override=n", way]).unwrap().unwrap();
        assert!(matches!(action, Action::Run { file: None, .. }), "{action:?}");
        assert_eq!(remarks, []);
    }
}

#[test]
fn what_is_to_be_done_is_told_by_flags_and_writing_goes_first() {
    let action = |flags: &[&str]| order(flags).unwrap().unwrap().action;
    assert_eq!(action(&["--cleanup"]), Action::CleanUp);
    assert_eq!(action(&["--cleanup", "--init-only", "--config=/nowhere"]), Action::CleanUp);
    assert!(matches!(action(&["--init-only", "--cleanup=false"]), Action::InitOnly(_)));
    assert!(matches!(action(&["--init-only=true", "--cleanup", "--write-config-to=/f"]), Action::WriteConfig { .. }));
}

#[test]
fn a_password_of_a_server_is_not_shown() {
    let config = quiet("--master=https://user:hunter2@a:6443");
    assert_eq!(configz(&config)["switchyard"]["masters"][0], "https://***@a:6443");
    let refused = yaml(&config).unwrap_err();
    let expected =
        "--write-config-to: https://***@a:6443 holds a password, which no file is to show: put it into a kubeconfig";
    assert_eq!(refused.to_string(), expected);
    assert!(!format!("{config:?} {} {refused:?}", config.source).contains("hunter2"));
    let mistakes = file_with(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
         switchyard: {masters: ['https://user:hunter2@']}\n",
        &[],
    );
    let mistakes = mistakes.unwrap_err().join("; ");
    assert!(mistakes.contains("must be URLs such as") && !mistakes.contains("hunter2"), "{mistakes}");
}
