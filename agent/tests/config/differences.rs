//! Which parts have to act when a setting changes.

use std::collections::BTreeSet;

use switchyard_agent::config::Config;
use switchyard_agent::process::{Part, Views};

use super::given::quiet;

fn changes(before: &Config, after: &Config) -> BTreeSet<Part> {
    Views::from(before).changes(&Views::from(after))
}

#[test]
fn every_setting_names_the_parts_that_have_to_act() {
    use Part::*;
    for (flags, expected) in [
        ("", vec![]),
        ("--hostname-override=m", vec![Source, Settings]),
        ("--bind-address 10.0.0.1", vec![Settings]),
        ("--backend ipvs", vec![Backend]),
        ("--ipvs-scheduler lc", vec![]), // the nftables backend has none
        ("--backend ipvs --ipvs-scheduler lc", vec![Backend]),
        ("--cluster-cidr 10.0.0.0/8", vec![Settings]),
        ("--nodeport-addresses all", vec![Settings]),
        ("--nodeport-addresses primary,localhost", vec![Settings, Localhost]),
        ("--masquerade-all", vec![Settings]),
        ("--flowtable-after 9", vec![Settings]),
        ("--source /s", vec![Source]),
        ("--kubeconfig /k", vec![Source]),
        ("--healthz-port 1", vec![Servers]),
        ("--connections-by-service 1", vec![Servers]),
        ("--conntrack-min 1", vec![Host]),
        ("--oom-score-adj 1", vec![Host]),
        ("--cleanup-kube-proxy=false", vec![KubeProxy]),
        ("--announce=on", vec![Source, Announcing]),
        ("--announce-on-stop leave", vec![Announcing]),
        ("--announce-failback", vec![Announcing]),
        ("--load-balancer-namespace pools", vec![Announcing]), // nothing is read of it while announcing is off
        ("--load-balancer-class example.com/class", vec![Announcing]),
        ("--load-balancer-pool 192.0.2.0/24", vec![Announcing]),
        ("-v 5", vec![LogLevel]),
    ] {
        let parts = changes(&quiet(""), &quiet(flags));
        assert_eq!(parts, BTreeSet::from_iter(expected), "{flags}");
    }
    let (one, other) = (quiet("--backend ipvs"), quiet("--backend ipvs --ipvs-scheduler lc"));
    assert_eq!(changes(&one, &other), BTreeSet::from([Backend]));
}
