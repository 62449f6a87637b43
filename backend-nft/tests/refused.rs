//! Connections that are turned away are counted by reason: with packets, in network namespaces of the tests' own.

mod netns;

use std::collections::BTreeMap;
use std::net::UdpSocket;

use backend_api::*;
use netns::{isolated, nft};
use switchyard_nft::{NftDataplane, Options, Others, RefusedConnections};

/// Sends so many datagrams from a socket each: first packets, as far as they are turned away.
fn send(to: &str, times: u64) {
    for _ in 0..times {
        // What is dropped at the output hook is an error here.
        let _ = UdpSocket::bind("10.1.0.1:0").unwrap().send_to(b"?", to);
    }
}

fn frontend(last: u8, change: impl FnOnce(&mut Frontend)) -> Service {
    let mut frontend = Frontend::cluster_ip([10, 96, 0, last].into(), Protocol::Udp, 53);
    change(&mut frontend);
    let port = ServicePort { frontends: vec![frontend], ..ServicePort::new(Family::V4, Protocol::Udp) };
    Service::new(ServiceName::new("default", &format!("dns-{last}")), vec![port])
}

fn state() -> ServiceState {
    let range: Cidr = "10.96.0.0/12".parse().unwrap();
    let mut state = ServiceState::new(NodeNetwork { service_cidrs: [range].into(), ..NodeNetwork::unknown() });
    state.upsert(frontend(1, |_| ())).unwrap();
    state
        .upsert(frontend(2, |frontend| {
            frontend.source_ranges = SourceRanges::Only(vec!["192.0.2.0/24".parse().unwrap()]);
        }))
        .unwrap();
    state.upsert(frontend(3, |frontend| frontend.route = Route::Everyone(Answer::Drop))).unwrap();
    state
}

/// Addresses to dial from, and a way out; none where there is no `ip`.
fn wire() -> Option<()> {
    let steps = [
        vec!["link", "set", "lo", "up"],
        vec!["addr", "add", "10.1.0.1/32", "dev", "lo"],
        vec!["route", "add", "10.96.0.0/12", "dev", "lo"],
    ];
    for step in steps {
        let done = std::process::Command::new("ip").args(&step).status().ok()?;
        assert!(done.success(), "ip {step:?}");
    }
    Some(())
}

#[test]
fn what_is_turned_away_is_counted_by_reason_and_a_restart_loses_no_count() {
    isolated(|| async {
        let Some(()) = wire() else { return };
        let mut dataplane = NftDataplane::open(Options::default()).await.unwrap();
        dataplane.sync(&state(), Scope::All).await.unwrap();
        let mut counters = RefusedConnections::open().unwrap();
        assert_eq!(counters.read().await.unwrap(), BTreeMap::new());
        for (to, times) in [
            ("10.96.0.1:53", 1),
            ("10.96.0.2:53", 2),
            ("10.96.0.3:53", 3),
            ("10.96.0.1:54", 4),
            ("10.96.0.99:53", 5),
            ("10.1.0.1:53", 6),
        ] {
            send(to, times);
        }
        let expected = BTreeMap::from([
            (TurnedAway::NoEndpoints, 1),
            (TurnedAway::SourceRanges, 2),
            (TurnedAway::NoLocalEndpoints, 3),
            (TurnedAway::WrongPort, 4),
            (TurnedAway::UnallocatedAddress, 5),
        ]);
        assert_eq!(counters.read().await.unwrap(), expected);
        assert_eq!(dataplane.observe().await.unwrap().refused, expected);

        drop(dataplane);
        let mut next = NftDataplane::open(Options::default()).await.unwrap();
        assert_eq!(next.sync(&state(), Scope::All).await.unwrap().writes, 0, "what was counted is no difference");
        assert_eq!(counters.read().await.unwrap(), expected);
    });
}

/// As they were before anything was counted: the same layout, because what is to be changed is changed in place.
#[test]
fn tables_that_do_not_count_are_taken_over_in_place() {
    isolated(|| async {
        let Some(()) = wire() else { return };
        let options = Options::default().others(Others::LetIn);
        let mut dataplane = NftDataplane::open(options.clone()).await.unwrap();
        dataplane.sync(&state(), Scope::All).await.unwrap();
        drop(dataplane);
        let before = "delete element ip switchyard policies { 5350:0 }\n\
                      delete element ip switchyard policies { 5350:1 }\n\
                      add element ip switchyard policies { 5350:0 : goto refuse }\n\
                      add element ip switchyard policies { 5350:1 : drop }\n\
                      flush chain ip switchyard undelivered\n\
                      add rule ip switchyard undelivered ip daddr @cluster-ips fib daddr type != local goto refuse\n";
        let Some(loaded) = nft(&["-f", "-"], before) else { return };
        loaded.unwrap();
        send("10.96.0.1:53", 7);
        let counted = |observed: &Observed| {
            let key = FrontendKey::address([10, 96, 0, 1].into(), Protocol::Udp, 53);
            observed.frontends[&key].connections
        };
        let mut next = NftDataplane::open(options).await.unwrap();
        assert_eq!(counted(&next.observe().await.unwrap()), 7);
        assert!(next.sync(&state(), Scope::All).await.unwrap().writes > 0);
        send("10.96.0.1:53", 1);
        let observed = next.observe().await.unwrap();
        assert_eq!(counted(&observed), 8, "the tables are the same");
        assert_eq!(observed.refused, BTreeMap::from([(TurnedAway::NoEndpoints, 1)]));
        assert_eq!(next.sync(&state(), Scope::All).await.unwrap().writes, 0);
    });
}
