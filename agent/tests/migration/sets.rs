//! The IP sets of its IPVS mode.

use switchyard_agent::migration::{self, Left, Removed};
use testbed::Namespace;

use crate::node::{call, have, have_iptables};

#[test]
fn ip_sets_go_with_the_rules_that_use_them_and_others_stay() {
    if testbed::privilege::skip() {
        return;
    }
    if !have("ipset") || !have_iptables() {
        return;
    }
    const RULES: &str = "*nat\n:KUBE-SERVICES - [0:0]\n:MINE - [0:0]\n\
        -A PREROUTING -j KUBE-SERVICES\n-A PREROUTING -j MINE\n\
        -A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT\n\
        -A KUBE-SERVICES -m set --match-set KUBE-NODE-PORT-TCP dst -j ACCEPT\n\
        -A MINE -m set --match-set KUBE-NODE-PORT-TCP dst -j ACCEPT\nCOMMIT\n";
    let namespace = Namespace::create("sets").unwrap();
    let sets = [
        "KUBE-CLUSTER-IP hash:ip,port",
        "KUBE-6-LOOP-BACK hash:ip,port,ip family inet6",
        "KUBE-NODE-PORT-TCP bitmap:port range 0-65535",
        "KUBE-SRC-ABCDEFGHIJ234567 hash:ip",
    ];
    sets.iter().for_each(|set| drop(call(&namespace, &format!("ipset create {set}"), "")));
    call(&namespace, "iptables-nft-restore", RULES);

    let report = namespace.executor().unwrap().run(migration::remove_all());
    assert_eq!(report.failed, []);
    assert!(report.removed.contains(&Removed::IpSets(2)), "{report:?}");
    assert_eq!(report.left, [Left::IpSet("KUBE-NODE-PORT-TCP".into())]);
    let mut left: Vec<_> = call(&namespace, "ipset list -n", "").lines().map(str::to_owned).collect();
    left.sort();
    assert_eq!(left, ["KUBE-NODE-PORT-TCP", "KUBE-SRC-ABCDEFGHIJ234567"]);
}
