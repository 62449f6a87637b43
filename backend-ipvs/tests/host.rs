//! What IPVS needs of the node, with IPVS. Where the kernel has none each test is reported as ignored; the machine of
//! `cargo run -p switchyard-conformance --bin vm -- --tests backend-ipvs` has it. What needs no IPVS is in
//! `src/host/tests.rs`.

mod isolated;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use backend_api::{NodeNetwork, Scope, ServiceState};
use isolated::in_namespace;
use netlink::ipvs::Ipvs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use switchyard_ipvs::{Host, Leaving, Options, Timeouts};

fn main() {
    isolated::run(&[
        ("a_host_is_established_once_and_restored", a_host_is_established_once_and_restored),
        ("a_restart_keeps_the_first_originals", a_restart_keeps_the_first_originals),
        ("what_is_chosen_no_more_goes_back", what_is_chosen_no_more_goes_back),
        ("chosen_timeouts_are_set_and_tcp_lives_as_long_as_in_conntrack", chosen_timeouts_are_set),
        ("read_only_sysctls_matter_only_if_they_are_wrong", read_only_sysctls_matter_only_if_they_are_wrong),
        ("read_only_sysctls_keep_no_rules_and_routes", read_only_sysctls_keep_no_rules_and_routes),
        ("a_host_tells_of_changes", a_host_tells_of_changes),
    ]);
}

/// How many writes it takes from nothing: lo, and in each family a route and three rules.
const WRITES: usize = 1 + 2 * 4;

/// A test that waits longer waits in vain.
const DEADLINE: Duration = Duration::from_secs(20);

/// Everything that a host may change.
async fn settings() -> BTreeMap<&'static str, u32> {
    let mut all = BTreeMap::new();
    for name in ["vs/conntrack", "vs/expire_nodest_conn", "ip_forward", "conf/all/arp_ignore", "conf/all/arp_announce"]
    {
        all.insert(name, fs::read_to_string(sysctl(name)).unwrap().trim().parse().unwrap());
    }
    let timeouts = Ipvs::open().await.unwrap().timeouts().await.unwrap();
    all.extend([("tcp", timeouts.tcp), ("tcp-fin", timeouts.tcp_fin), ("udp", timeouts.udp)]);
    all
}

fn sysctl(name: &str) -> String {
    format!("/proc/sys/net/ipv4/{name}")
}

fn set(name: &str, value: u32) {
    fs::write(sysctl(name), value.to_string()).unwrap();
}

/// Every rule and route, as another program sees them.
fn routing() -> Vec<String> {
    ["-4 rule", "-6 rule", "-4 route show table all", "-6 route show table all"]
        .map(|arguments| run("ip", arguments))
        .into()
}

fn ruleset() -> String {
    run("nft", "list ruleset")
}

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// As in a container without privileges. For this thread alone.
fn make_sysctls_read_only() {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("/proc/sys"), "/proc/sys", none, MsFlags::MS_BIND, none).unwrap();
    mount(none, "/proc/sys", none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none).unwrap();
}

fn make_sysctls_writable_again() {
    umount2("/proc/sys", MntFlags::MNT_DETACH).unwrap();
}

async fn open(options: Options) -> Host {
    Host::open(&options).await.unwrap()
}

fn strict() -> Options {
    Options::default().strict_arp(true)
}

fn a_host_is_established_once_and_restored() {
    in_namespace(async || {
        run("ip", "link set lo up");
        for name in ["vs/conntrack", "vs/expire_nodest_conn", "ip_forward"] {
            set(name, 0);
        }
        let before = (settings().await, routing());
        let mut host = open(strict()).await;
        assert_eq!((settings().await, routing()), before, "opening wrote something");
        // Five sysctls, TCP's timeout, and the table that remembers them.
        assert_eq!(host.establish().await.unwrap(), WRITES - 1 + 5 + 1 + 1);
        assert_eq!(host.establish().await.unwrap(), 0);
        let now = settings().await;
        for (name, value) in [
            ("vs/conntrack", 1),
            ("vs/expire_nodest_conn", 1),
            ("ip_forward", 1),
            ("conf/all/arp_ignore", 1),
            ("conf/all/arp_announce", 2),
            ("tcp", 432_000),
        ] {
            assert_eq!(now[name], value, "{name}");
        }
        assert_eq!((now["tcp-fin"], now["udp"]), (before.0["tcp-fin"], before.0["udp"]));
        let mut restarted = open(strict()).await;
        assert_eq!(restarted.establish().await.unwrap(), 0);
        restarted.restore().await.unwrap();
        assert_eq!((settings().await, routing()), before);
        assert_eq!(ruleset(), "");
        restarted.restore().await.unwrap();
    });
}

fn a_restart_keeps_the_first_originals() {
    in_namespace(async || {
        set("ip_forward", 0);
        let before = settings().await;
        open(strict()).await.establish().await.unwrap();
        // Whatever others do meanwhile.
        set("conf/all/arp_ignore", 2);
        set("ip_forward", 0);
        let mut restarted = open(strict()).await;
        assert_eq!(restarted.establish().await.unwrap(), 2);
        restarted.restore().await.unwrap();
        assert_eq!(settings().await, before);
    });
}

fn what_is_chosen_no_more_goes_back() {
    in_namespace(async || {
        let before = settings().await;
        let udp = Timeouts { udp: Some(Duration::from_secs(77)), ..Timeouts::default() };
        open(strict().timeouts(udp)).await.establish().await.unwrap();
        assert_eq!(settings().await["udp"], 77);
        let mut restarted = open(Options::default()).await;
        // Two sysctls, the timeout, and what is remembered.
        assert_eq!(restarted.establish().await.unwrap(), 4);
        assert_eq!(restarted.establish().await.unwrap(), 0);
        let now = settings().await;
        for name in ["conf/all/arp_ignore", "conf/all/arp_announce", "udp"] {
            assert_eq!(now[name], before[name], "{name}");
        }
        // Another program may set it: it is not ours any more.
        set("conf/all/arp_ignore", 1);
        assert_eq!(restarted.establish().await.unwrap(), 0);
        assert_eq!(settings().await["conf/all/arp_ignore"], 1);
    });
}

fn chosen_timeouts_are_set() {
    in_namespace(async || {
        set("../netfilter/nf_conntrack_tcp_timeout_established", 5000);
        let [tcp, tcp_fin, udp] = [60, 10, 20].map(|seconds| Some(Duration::from_secs(seconds)));
        let chosen = Timeouts { tcp, tcp_fin, udp };
        open(Options::default().timeouts(chosen)).await.establish().await.unwrap();
        let now = settings().await;
        assert_eq!([now["tcp"], now["tcp-fin"], now["udp"]], [60, 10, 20]);
        open(Options::default()).await.establish().await.unwrap();
        assert_eq!(settings().await["tcp"], 5000);
        // What is longer stays.
        set("../netfilter/nf_conntrack_tcp_timeout_established", 4000);
        assert_eq!(open(Options::default()).await.establish().await.unwrap(), 0);
        assert_eq!(settings().await["tcp"], 5000);
    });
}

fn read_only_sysctls_matter_only_if_they_are_wrong() {
    in_namespace(async || {
        for name in ["vs/conntrack", "vs/expire_nodest_conn"] {
            set(name, 1);
        }
        set("ip_forward", 0);
        let conntrack = writable("vs/conntrack");
        make_sysctls_read_only();
        let mut host = open(strict()).await;
        // Not ip_forward, not ARP: they are warned of. TCP's timeout and its original are no sysctls.
        assert_eq!(host.establish().await.unwrap(), WRITES + 2);
        assert_eq!(host.establish().await.unwrap(), 0);
        assert_eq!(settings().await["ip_forward"], 0);
        host.restore().await.unwrap();
        conntrack.write_all_at(b"0", 0).unwrap();
        let refused = Host::open(&strict()).await.unwrap_err().to_string();
        assert_eq!(refused, "sysctl net.ipv4.vs.conntrack: not available: is 0, Read-only file system (os error 30)");
    });
}

/// Opened while it can still be written.
fn writable(name: &str) -> File {
    OpenOptions::new().write(true).open(sysctl(name)).unwrap()
}

/// The agent in a container, after another backend has taken over.
fn read_only_sysctls_keep_no_rules_and_routes() {
    in_namespace(async || {
        run("ip", "link set lo up");
        set("vs/conntrack", 0);
        let (before, routing_before) = (settings().await, routing());
        open(strict()).await.establish().await.unwrap();
        let established = settings().await;
        assert!(established["vs/conntrack"] == 1 && established != before && routing() != routing_before);
        make_sysctls_read_only();
        let mut leaving = Leaving::find(&Options::default()).await.unwrap().expect("rules and routes are there");
        leaving.hold(&ServiceState::new(NodeNetwork::unknown()), Scope::All).await.unwrap();
        leaving.taken_over();
        tokio::time::timeout(DEADLINE, leaving.over()).await.expect("nothing keeps it");
        assert_eq!(routing(), routing_before);
        let after = settings().await;
        assert_eq!(after["conf/all/arp_announce"], 2, "it cannot be written");
        assert_eq!([after["tcp"], after["udp"]], [before["tcp"], before["udp"]], "no sysctl keeps these");
        let remembered = ruleset();
        assert!(remembered.contains("switchyard originals:") && remembered.contains("vs/conntrack=0"), "{remembered}");
        assert!(!remembered.contains("switchyard-leaving"), "{remembered}");
        assert!(Leaving::find(&Options::default()).await.unwrap().is_none(), "a restarted process has nothing to do");
        // What `switchyard cleanup` does on the node.
        make_sysctls_writable_again();
        open(strict()).await.restore().await.unwrap();
        assert_eq!((settings().await, ruleset()), (before, String::new()));
    });
}

fn a_host_tells_of_changes() {
    in_namespace(async || {
        let mut host = open(Options::default()).await;
        host.establish().await.unwrap();
        run("ip", "rule delete priority 100");
        tokio::time::timeout(DEADLINE, host.changed()).await.expect("noticed");
        assert_eq!(host.establish().await.unwrap(), 1);
    });
}
