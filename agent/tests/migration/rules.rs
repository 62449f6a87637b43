//! The rules of its nftables mode, and of its iptables mode where iptables writes nf_tables.

use std::collections::BTreeSet;
use std::time::Instant;

use switchyard_agent::backend::Backend;
use switchyard_agent::migration::{self, CleanupReport, Left, Need, Removed};
use testbed::{Load, Namespace};

use crate::node::{Node, PATIENCE, call, dial, have_iptables};

/// What a mode left, and what others have. Lines of kube-proxy's begin with `| `.
const IPTABLES: [(&str, &str); 2] =
    [("iptables-nft-restore", include_str!("iptables.txt")), ("ip6tables-nft-restore", include_str!("ip6tables.txt"))];
const NFTABLES: [(&str, &str); 1] = [("nft -f -", include_str!("nftables.txt"))];

/// Everything.
fn whole(text: &str) -> String {
    text.lines().map(|line| line.strip_prefix("| ").unwrap_or(line)).fold(String::new(), |all, line| all + line + "\n")
}

/// What is not kube-proxy's.
fn of_others(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("| ")).fold(String::new(), |all, line| all + line + "\n")
}

/// The ruleset without ours and without counters, as nft shows it.
fn listing(namespace: &Namespace) -> String {
    shown(namespace, "nft -s list")
}

/// Every rule and chain of others with its handle: one that was made anew has another.
fn handles(namespace: &Namespace) -> BTreeSet<String> {
    let numbered = shown(namespace, "nft -a -s list");
    numbered.lines().filter(|line| line.contains("# handle ")).map(|line| line.trim().to_owned()).collect()
}

fn shown(namespace: &Namespace, list: &str) -> String {
    let tables = call(namespace, "nft list tables", "");
    let others = tables.lines().filter(|table| !table.contains(" switchyard"));
    others.map(|table| call(namespace, &format!("{list} {table}"), "")).collect()
}

/// The listing of a namespace in which only the foreign rules exist.
fn as_if_alone(restores: &[(&str, &str)]) -> String {
    let alone = Namespace::create("alone").unwrap();
    restores.iter().for_each(|(restore, text)| drop(call(&alone, restore, &of_others(text))));
    listing(&alone)
}

const CLUSTER_IP: &str = "10.108.154.253:8080";
const NODE_PORT: &str = "192.168.67.10:30673";
/// Clients, what they dial, and the names that answer by our rules. By the old ones it is always `whoami-1`.
const WAYS: [(&str, &str, &str); 3] =
    [("mytools", CLUSTER_IP, "whoami-"), ("outsider", NODE_PORT, "nginx-"), ("node2", CLUSTER_IP, "whoami-")];

fn takes_over(backend: Backend, restores: &[(&str, &str)], check: impl Fn(&CleanupReport)) {
    let node = Node::new();
    if !node.can_run(backend) {
        return;
    }
    let namespace = &*node.world.node().namespace;
    restores.iter().for_each(|(restore, text)| drop(node.call(restore, &whole(text))));
    let before = handles(namespace);
    for (from, to, _) in WAYS {
        assert_eq!(node.answers(from, to, 8), ["whoami-1"], "{from} → {to}, by the old rules");
    }
    let mut held: Vec<_> = WAYS.iter().map(|(from, to, _)| node.world.open(from, &dial(to)).unwrap().0).collect();
    let start = |&(from, to, _): &(&str, &str, &str)| Load::start(node.world.place(from).unwrap(), &dial(to)).unwrap();
    let loads: Vec<_> = WAYS.iter().map(start).collect();

    let mut agent = node.take_over(backend);
    let report = agent.pass();
    check(&report);
    assert_eq!(report.failed, []);
    let already: Vec<_> = loads.iter().map(Load::dialled).collect();
    let deadline = Instant::now() + PATIENCE;
    while loads.iter().zip(&already).any(|(load, before)| load.dialled() < before + 50) {
        assert!(Instant::now() < deadline, "waited in vain for each client to dial 50 times more");
        std::thread::yield_now();
    }

    for (load, (from, to, answers)) in loads.into_iter().zip(WAYS) {
        let tally = load.finish().unwrap();
        assert_eq!(tally.failures, [], "{from} → {to}, of {}", tally.total());
        assert!(tally.answers.keys().filter(|name| name.starts_with(answers)).count() >= 3, "{from} → {to}: {tally:?}");
        assert!(tally.answers.contains_key("whoami-1"), "the load began before: {tally:?}");
    }
    agent.succeed();
    let by = if backend == Backend::Ipvs { "0x53000000/0xff000000" } else { "" };
    let deadline = Instant::now() + PATIENCE;
    while !node.call("ip rule", "").contains(by) {
        assert!(Instant::now() < deadline, "waited in vain for IPVS to take over");
    }
    for (from, to, answers) in WAYS {
        let now = node.answers(from, to, 60);
        assert_eq!(now.len(), 3, "{from} → {to}: {now:?}");
        assert!(now.iter().all(|name| name.starts_with(answers)), "{from} → {to}: {now:?}");
    }
    for (held, (from, to, _)) in held.iter_mut().zip(WAYS) {
        let later = held.ask();
        assert_eq!(later.name(), Some("whoami-1"), "{from} → {to}, a connection from before: {later}");
    }
    assert_eq!(listing(namespace), as_if_alone(restores));
    let rewritten: Vec<_> = handles(namespace).difference(&before).cloned().collect();
    assert_eq!(rewritten, Vec::<String>::new(), "made anew");
    // Nothing more to do.
    let again = node.executor.run(migration::remove_all());
    assert_eq!((again.removed, again.failed), (vec![], vec![]));
}

fn removed_chains(report: &CleanupReport) {
    let chains = |name: &str, chains, jumps| Removed::Chains { table: name.to_owned(), chains, jumps };
    let of = |family: &str| {
        [
            chains(&format!("{family} nat"), 8, 3),
            chains(&format!("{family} filter"), 4, 3),
            chains(&format!("{family} mangle"), 1, 0),
        ]
    };
    assert_eq!(report.removed, [of("ip"), of("ip6")].concat());
    assert_eq!(report.left, []);
}

#[test]
fn chains_of_iptables_go_when_nftables_is_programmed() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    if have_iptables() {
        takes_over(Backend::Nftables, &IPTABLES, removed_chains);
    }
}

#[test]
fn chains_of_iptables_go_when_ipvs_is_programmed() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    if have_iptables() {
        takes_over(Backend::Ipvs, &IPTABLES, removed_chains);
    }
}

#[test]
fn tables_of_nftables_mode_go_when_nftables_is_programmed() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    takes_over(Backend::Nftables, &NFTABLES, |report| assert_eq!(report.removed, [Removed::Tables(2)]));
}

#[test]
fn tables_of_nftables_mode_go_when_ipvs_is_programmed() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    takes_over(Backend::Ipvs, &NFTABLES, |report| assert_eq!(report.removed, [Removed::Tables(2)]));
}

#[test]
fn chains_that_foreign_rules_need_stay_and_are_reported() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    const RULES: &str = "
        table ip nat {
            chain KUBE-MARK-MASQ { meta mark set meta mark | 0x4000; }
            chain KUBE-POSTROUTING { meta mark & 0x4000 == 0x4000 masquerade; }
            chain KUBE-SERVICES { ip daddr 10.96.0.1 jump KUBE-MARK-MASQ; }
            chain KUBE-HP-ABCDEFGHIJ234567 { ip saddr 10.244.2.9 jump KUBE-MARK-MASQ; }
            chain PREROUTING { type nat hook prerouting priority dstnat; jump KUBE-SERVICES; jump KUBE-HP-ABCDEFGHIJ234567; }
            chain POSTROUTING { type nat hook postrouting priority srcnat; jump KUBE-POSTROUTING; }
        }
        table ip filter {
            chain KUBE-FORWARD { ct state established,related accept; }
            chain KUBE-SERVICES { ip daddr 10.96.0.9 reject; }
            chain FORWARD { type filter hook forward priority filter; policy drop; jump KUBE-FORWARD; jump KUBE-SERVICES; }
        }";
    let namespace = Namespace::create("needed").unwrap();
    call(&namespace, "nft -f -", RULES);
    let report = namespace.executor().unwrap().run(migration::remove_all());
    assert_eq!(report.failed, []);
    let left = |table: &str, chain: &str, need| Left::Chain { table: table.into(), chain: chain.into(), need };
    assert_eq!(
        report.left,
        [
            left("ip nat", "KUBE-MARK-MASQ", Need::UsedBy("KUBE-HP-ABCDEFGHIJ234567".into())),
            left("ip filter", "KUBE-FORWARD", Need::AcceptsFor("FORWARD".into())),
        ]
    );
    let gone = ["chain KUBE-SERVICES {", "jump KUBE-SERVICES"];
    let now = listing(&namespace);
    assert!(gone.iter().all(|gone| !now.contains(gone)), "{now}");
    for stays in
        ["jump KUBE-POSTROUTING", "jump KUBE-HP-ABCDEFGHIJ234567", "jump KUBE-FORWARD", "masquerade", "policy drop"]
    {
        assert!(now.contains(stays), "{stays}: {now}");
    }
}

#[test]
fn thousands_of_services_go_in_one_transaction() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    const SERVICES: usize = 2_000;
    let (mut chains, mut jumps) = (String::new(), String::new());
    for number in 0..SERVICES {
        let hash = format!("{number:0>16b}").replace('0', "A").replace('1', "B");
        let hash = &hash[hash.len() - 16..];
        chains += &format!(
            "chain KUBE-SEP-{hash} {{ ip saddr 10.244.0.5 jump KUBE-MARK-MASQ; ip protocol tcp dnat to 10.244.0.5:80; }}\n\
             chain KUBE-SVC-{hash} {{ jump KUBE-SEP-{hash}; }}\n"
        );
        jumps += &format!("ip daddr 10.97.{}.{} tcp dport 80 jump KUBE-SVC-{hash};\n", number / 256, number % 256);
    }
    let rules = format!(
        "table ip nat {{\nchain KUBE-MARK-MASQ {{ meta mark set meta mark | 0x4000; }}\n{chains}chain KUBE-SERVICES {{\n{jumps}}}\n\
         chain PREROUTING {{ type nat hook prerouting priority dstnat; jump KUBE-SERVICES; }}\n}}\n"
    );
    let namespace = Namespace::create("large").unwrap();
    call(&namespace, "nft -f -", &rules);
    let started = Instant::now();
    let report = namespace.executor().unwrap().run(migration::remove_all());
    eprintln!("{} chains removed in {:?}", 2 * SERVICES + 2, started.elapsed());
    let all = Removed::Chains { table: "ip nat".into(), chains: 2 * SERVICES + 2, jumps: 1 };
    assert_eq!((report.removed, report.failed), (vec![all], vec![]));
    assert!(!listing(&namespace).contains("KUBE-"));
}

#[test]
fn the_command_removes_the_rules_and_none_of_ours() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    let namespace = Namespace::create("command").unwrap();
    let ours = "table ip switchyard {\n    chain services { counter; }\n}\n";
    call(&namespace, "nft -f -", &(whole(NFTABLES[0].1) + ours));
    let command = format!("{} cleanup --kube-proxy", env!("CARGO_BIN_EXE_switchyard"));
    assert_eq!(call(&namespace, &command, ""), "nftables tables kube-proxy: 2 removed\n");
    assert_eq!(listing(&namespace), as_if_alone(&NFTABLES));
    assert!(call(&namespace, "nft list tables", "").contains("table ip switchyard\n"));
    assert_eq!(call(&namespace, &command, ""), "kube-proxy: clean; nothing was there to be removed\n");
}
