//! What the kernel holds after a sync, in network namespaces of the tests' own.

mod netns;
mod sample;

use std::collections::BTreeSet;
use std::time::Duration;

use backend_api::{Dataplane, LocalTraffic, NodePortAddresses, Observed, PerFamily, Scope, ServiceState};
use netlink::nftables as kernel;
use netlink::nftables::{Nftables, Ownership};
use netns::{isolated, nft};
use switchyard_nft::{NftDataplane, Options, Others};

async fn open() -> NftDataplane {
    NftDataplane::open(Options::default()).await.unwrap()
}

fn state_of(services: impl IntoIterator<Item = backend_api::Service>) -> ServiceState {
    let mut state = ServiceState::new(sample::node());
    for service in services {
        state.upsert(service).unwrap();
    }
    state
}

fn assert_same(observed: &Observed, expected: &Observed) {
    assert_eq!(
        observed.frontends.keys().collect::<Vec<_>>(),
        expected.frontends.keys().collect::<Vec<_>>(),
        "frontends"
    );
    for (key, expected) in &expected.frontends {
        let observed = &observed.frontends[key];
        assert!(observed.forwards_like(expected), "{key}: {observed:#?} instead of {expected:#?}");
    }
}

#[test]
fn what_is_programmed_is_observed() {
    isolated(|| async {
        let state = sample::everything();
        let mut dataplane = open().await;
        let report = dataplane.sync(&state, Scope::All).await.unwrap();
        assert_eq!(report.failed, []);
        assert_same(&dataplane.observe().await.unwrap(), &Observed::expected(&state));
    });
}

#[test]
fn syncing_again_writes_nothing_in_this_process_and_the_next() {
    isolated(|| async {
        let state = sample::everything();
        let mut dataplane = open().await;
        assert!(dataplane.sync(&state, Scope::All).await.unwrap().writes > 0);
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().writes, 0);
        drop(dataplane);
        assert_eq!(open().await.sync(&state, Scope::All).await.unwrap().writes, 0);
    });
}

#[test]
fn nft_lists_the_tables_and_loads_what_it_lists() {
    isolated(|| async {
        // A table of an owner goes with nft, which would own what it loads.
        let mut dataplane = NftDataplane::open(Options::default().others(Others::LetIn)).await.unwrap();
        dataplane.sync(&sample::everything(), Scope::All).await.unwrap();
        let Some(listing) = nft(&["list", "ruleset"], "") else { return };
        let listing = listing.unwrap();
        let ours = comparable(sets().await);
        dataplane.remove_all().await.unwrap();
        nft(&["-c", "-f", "-"], &listing).unwrap().unwrap();
        nft(&["-f", "-"], &listing).unwrap().unwrap();
        assert_eq!(comparable(sets().await), ours, "what nft makes of its listing is declared as ours is");
        let again = nft(&["list", "ruleset"], "").unwrap().unwrap();
        // Elements come in no order. nft 1.0.6 puts a match for TCP in front of the first use of a map by `tcp dport`.
        let (again, listing) = (again.replace("tcp dport", "th dport"), listing.replace("tcp dport", "th dport"));
        assert_eq!(chains(&again), chains(&listing));
    });
}

#[test]
fn one_change_writes_a_few_elements() {
    isolated(|| async {
        let mut state = state_of(sample::plain(200));
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        let change = state.upsert(sample::plain_service(7, &[1, 2, 4])).unwrap();
        let report = dataplane.sync(&state, Scope::Services(&change.touched)).await.unwrap();
        assert_eq!(report.writes, 2, "one endpoint goes, one comes");
        let nothing = BTreeSet::new();
        assert_eq!(dataplane.sync(&state, Scope::Services(&nothing)).await.unwrap().writes, 0);
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().writes, 0);
        assert_same(&dataplane.observe().await.unwrap(), &Observed::expected(&state));
    });
}

/// Every set of both families as the kernel has it, by name.
async fn sets() -> Vec<kernel::Set> {
    let mut nftables = Nftables::open("switchyard").unwrap();
    let mut sets = nftables.sets(kernel::Family::Ipv4).await.unwrap();
    sets.sort_by(|one, other| one.name.cmp(&other.name));
    let mut six = nftables.sets(kernel::Family::Ipv6).await.unwrap();
    six.sort_by(|one, other| one.name.cmp(&other.name));
    sets.extend(six);
    sets
}

/// The chains of a listing, with their rules.
fn chains(listing: &str) -> Vec<&str> {
    let mut inside = false;
    let is_of_chain = |line: &&str| {
        inside = (inside || line.starts_with("\tchain")) && **line != *"\t}";
        inside
    };
    listing.lines().filter(is_of_chain).collect()
}

#[test]
fn the_number_of_objects_does_not_depend_on_the_number_of_services() {
    isolated(|| async {
        let mut counts = Vec::new();
        for services in [10, 10_000] {
            let mut dataplane = open().await;
            dataplane.sync(&state_of(sample::plain(services)), Scope::All).await.unwrap();
            counts.push(objects().await);
            dataplane.remove_all().await.unwrap();
        }
        assert!(counts[0].iter().all(|count| *count > 10), "{counts:?}");
        assert_eq!(counts[0], counts[1], "chains, rules, sets");
    });
}

/// Chains, rules and sets in both families.
async fn objects() -> [usize; 3] {
    let mut nftables = Nftables::open("switchyard").unwrap();
    let mut count = [0; 3];
    for family in [kernel::Family::Ipv4, kernel::Family::Ipv6] {
        count[0] += nftables.chains(family).await.unwrap().len();
        count[1] += nftables.rules(family).await.unwrap().len();
        count[2] += nftables.sets(family).await.unwrap().len();
    }
    count
}

#[test]
fn a_flush_by_another_program_is_noticed_and_repaired() {
    isolated(|| async {
        let state = sample::everything();
        let mut dataplane = NftDataplane::open(Options::default().others(Others::LetIn)).await.unwrap();
        dataplane.sync(&state, Scope::All).await.unwrap();
        for damage in [
            "flush ruleset",
            "flush chain ip switchyard services",
            "delete element ip6 switchyard cluster-ips { fd00:60::1 }",
            "add element ip switchyard cluster-ips { 1.2.3.4 }",
            "add rule ip switchyard guard tcp dport 22 drop",
            "add chain ip switchyard mine; add rule ip switchyard mine accept; add rule ip switchyard guard jump mine",
            "add set ip6 switchyard mine { type ipv6_addr; }",
            "add element ip switchyard masquerades { 1.2.3.4 . icmp . 7 : 5356:0 }",
        ] {
            let Some(done) = nft(&["-f", "-"], damage) else { return };
            done.unwrap();
            let noticed = tokio::time::timeout(Duration::from_secs(10), dataplane.drifted()).await;
            assert!(noticed.is_ok(), "{damage}: waited 10 s for the dataplane to notice");
            assert!(dataplane.sync(&state, Scope::All).await.unwrap().writes > 0, "{damage}");
            assert_same(&dataplane.observe().await.unwrap(), &Observed::expected(&state));
            assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().writes, 0, "{damage}");
            let mut again = NftDataplane::open(Options::default().others(Others::LetIn)).await.unwrap();
            assert_eq!(again.sync(&state, Scope::All).await.unwrap().writes, 0, "{damage}: all of it repaired");
        }
    });
}

#[test]
fn an_owned_table_is_passed_over_by_a_flush() {
    isolated(|| async {
        let state = sample::everything();
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        let Some(flushed) = nft(&["flush", "ruleset"], "") else { return };
        let kept = Nftables::open("probe").unwrap().ownership().await.unwrap() == Ownership::Kept;
        if kept {
            assert_same(&dataplane.observe().await.unwrap(), &Observed::expected(&state));
            assert!(nft(&["delete", "table", "ip", "switchyard"], "").unwrap().is_err());
        } else {
            flushed.unwrap();
        }
        // The next process adopts it, and owns it from then on.
        drop(dataplane);
        let mut next = open().await;
        let written = next.sync(&state, Scope::All).await.unwrap().writes;
        if kept {
            assert_eq!(written, 0);
            assert!(nft(&["delete", "table", "ip", "switchyard"], "").unwrap().is_err());
            let mut emptied = state.clone();
            emptied.replace_all([]).unwrap();
            let error = open_beside().await.sync(&emptied, Scope::All).await.unwrap_err();
            assert!(error.to_string().contains("owned by another process"), "{error}");
        }
    });
}

#[test]
fn everything_of_ours_is_removed_and_nothing_else() {
    isolated(|| async {
        let Some(loaded) = nft(&["-f", "-"], "table ip mine { chain a { accept; }; }; table inet switchyard { }")
        else {
            return;
        };
        loaded.unwrap();
        let before = nft(&["list", "ruleset"], "").unwrap().unwrap();
        let mut dataplane = open().await;
        dataplane.sync(&sample::everything(), Scope::All).await.unwrap();
        dataplane.remove_all().await.unwrap();
        assert_eq!(nft(&["list", "ruleset"], "").unwrap().unwrap(), before);
        dataplane.remove_all().await.unwrap();
        // Not even where it has our name.
        nft(&["-f", "-"], "table ip switchyard { set mine { type ipv4_addr; }; }").unwrap().unwrap();
        let error = dataplane.sync(&sample::everything(), Scope::All).await.unwrap_err();
        assert!(error.to_string().contains("table ip switchyard"), "{error}");
        dataplane.remove_all().await.unwrap();
        assert!(nft(&["list", "ruleset"], "").unwrap().unwrap().contains("set mine"));
    });
}

#[test]
fn a_changed_node_changes_rules_and_what_depends_on_them() {
    isolated(|| async {
        let mut state = sample::everything();
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        let mut node = sample::node();
        node.masquerade_all = true;
        node.node_ports = PerFamily { v4: NodePortAddresses::All, v6: NodePortAddresses::All };
        node.local_traffic.v4 = LocalTraffic::Bridge("cni0".to_owned());
        node.local_traffic.v6 = LocalTraffic::Unknown;
        for node in [node, sample::node()] {
            state.set_node(node);
            assert!(dataplane.sync(&state, Scope::Services(&BTreeSet::new())).await.unwrap().writes > 0);
            assert_same(&dataplane.observe().await.unwrap(), &Observed::expected(&state));
            let again = open_beside().await.sync(&state, Scope::All).await.unwrap();
            assert_eq!(again.writes, 0, "the same as if it had been so from the start");
        }
    });
}

/// A second dataplane, to look only: whatever it wrote would be refused.
async fn open_beside() -> NftDataplane {
    NftDataplane::open(Options::default().others(Others::LetIn)).await.unwrap()
}

#[test]
fn pools_beyond_the_initial_sizes_get_their_chains() {
    isolated(|| async {
        let many: Vec<u8> = (0..100).collect();
        let mut state = state_of([sample::plain_service(0, &many)]);
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        assert_same(&dataplane.observe().await.unwrap(), &Observed::expected(&state));
        let change = state.upsert(sample::plain_service(0, &many[..90])).unwrap();
        dataplane.sync(&state, Scope::Services(&change.touched)).await.unwrap();
        assert_same(&dataplane.observe().await.unwrap(), &Observed::expected(&state));
        assert_eq!(open_beside().await.sync(&state, Scope::All).await.unwrap().writes, 0, "pick-100 is kept");
    });
}

#[test]
fn one_operation_that_the_kernel_refuses_changes_nothing() {
    isolated(|| async {
        let state = state_of(sample::plain(10));
        let mut dataplane = NftDataplane::open(Options::default().others(Others::LetIn)).await.unwrap();
        dataplane.sync(&state, Scope::All).await.unwrap();
        // Another program takes a place that a service will need; we do not look between notice and sync.
        let Some(done) = nft(&["-f", "-"], "add element ip switchyard services { 10.96.0.11 . tcp . 80 : 5350:1 }")
        else {
            return;
        };
        done.unwrap();
        let mut more = state.clone();
        let change = more.upsert(sample::plain_service(10, &[1])).unwrap();
        let report = dataplane.sync(&more, Scope::Services(&change.touched)).await.unwrap();
        assert_eq!(report.failed, [], "looked again, and put right");
        assert_same(&dataplane.observe().await.unwrap(), &Observed::expected(&more));
    });
}

/// As long as any program listens for notifications, every commit in every namespace costs kernel memory.
#[test]
fn what_has_an_owner_is_not_listened_for() {
    isolated(|| async {
        let mut dataplane = open().await;
        dataplane.sync(&state_of(sample::plain(3)), Scope::All).await.unwrap();
        let expected = match Nftables::open("switchyard").unwrap().ownership().await.unwrap() {
            Ownership::Kept => 0,
            Ownership::None => 1,
        };
        assert_eq!(listeners(), expected);
        let let_in = NftDataplane::open(Options::default().others(Others::LetIn)).await.unwrap();
        assert_eq!(listeners(), expected + 1, "{let_in:?}");
    });
}

/// Sockets of this network namespace that get notifications of nf_tables (netlink(7), `/proc/net/netlink`).
fn listeners() -> usize {
    const NETLINK_NETFILTER: &str = "12";
    const NFNLGRP_NFTABLES: u32 = 7;
    let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let mut count = 0;
    for line in sockets.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let groups = u32::from_str_radix(fields[3], 16).unwrap_or_default();
        count += usize::from(fields[1] == NETLINK_NETFILTER && groups & (1 << (NFNLGRP_NFTABLES - 1)) != 0);
    }
    count
}

/// An earlier process let others in: its tables cannot get an owner, and what others change would not be
/// noticed.
#[test]
fn tables_that_cannot_get_an_owner_are_made_anew() {
    isolated(|| async {
        let state = state_of(sample::plain(3));
        let mut let_in = NftDataplane::open(Options::default().others(Others::LetIn)).await.unwrap();
        let_in.sync(&state, Scope::All).await.unwrap();
        drop(let_in);
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        let mut nftables = Nftables::open("switchyard").unwrap();
        if nftables.ownership().await.unwrap() == Ownership::Kept {
            assert!(nftables.tables().await.unwrap().iter().all(kernel::Table::is_kept));
        }
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().writes, 0);
        assert_same(&dataplane.observe().await.unwrap(), &Observed::expected(&state));
    });
}

/// How a set was declared is for nft alone. We declare it as 1.0.6 does; later ones differ in details.
fn comparable(mut sets: Vec<kernel::Set>) -> Vec<kernel::Set> {
    if !nft(&["--version"], "").unwrap().unwrap().contains("v1.0.6") {
        sets.iter_mut().for_each(|set| set.userdata.clear());
    }
    sets
}
