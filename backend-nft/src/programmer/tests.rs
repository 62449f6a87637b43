//! What programming promises, on a fake kernel.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use backend_api::*;
use nix::errno::Errno;
use proptest::prelude::*;

use super::Programmer;
use crate::fake::{FakeKernel, FakeTable, SERVICES};
use crate::ruleset::{By, ChainName, Delivery, Key, SetName, Tag};
use netlink::nftables::Counter;
use netlink::nftables::udata;

type OnFake = Programmer<FakeKernel>;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn sync(programmer: &mut OnFake, state: &ServiceState, scope: Scope<'_>) -> Report {
    run(programmer.sync(state, scope, None)).unwrap().report
}

fn address(host: u8) -> FrontendKey {
    FrontendKey::address([10, 96, 0, host].into(), Protocol::Tcp, 80)
}

/// A service at `10.96.0.host` with these endpoints.
fn service(host: u8, endpoints: &[u8]) -> Service {
    let port = ServicePort {
        frontends: vec![Frontend::cluster_ip([10, 96, 0, host].into(), Protocol::Tcp, 80)],
        endpoints: endpoints
            .iter()
            .map(|endpoint| Endpoint::elsewhere(EndpointAddress::new([10, 244, host, *endpoint].into(), 80)))
            .collect(),
        ..ServicePort::new(Family::V4, Protocol::Tcp)
    };
    Service::new(ServiceName::new("default", &format!("s{host}")), vec![port])
}

fn state_of(services: impl IntoIterator<Item = Service>) -> ServiceState {
    let mut state = ServiceState::new(NodeNetwork::unknown());
    for service in services {
        state.upsert(service).unwrap();
    }
    state
}

fn name(host: u8) -> ServiceName {
    ServiceName::new("default", &format!("s{host}"))
}

fn assert_forwards(programmer: &mut OnFake, state: &ServiceState) {
    let observed = run(programmer.observe(&|_| BTreeMap::new())).unwrap();
    let expected = Observed::expected(state);
    assert!(observed.frontends.keys().eq(expected.frontends.keys()), "{observed:#?} instead of {expected:#?}");
    for (key, expected) in &expected.frontends {
        let observed = &observed.frontends[key];
        assert!(observed.forwards_like(expected), "{key}: {observed:#?} instead of {expected:#?}");
    }
}

fn failed(report: &Report) -> Vec<&ServiceName> {
    report.failed.iter().map(|failure| &failure.service).collect()
}

#[test]
fn a_refused_service_keeps_no_other_out() {
    for is_vague in [false, true] {
        let refuses = [3, 7].map(|host| Key::Frontend(address(host))).to_vec();
        let mut programmer =
            OnFake::new(FakeKernel { refuses, is_vague, ..FakeKernel::default() }, Delivery::Translate);
        let state = state_of((0..20).map(|host| service(host, &[1, 2])));
        let report = sync(&mut programmer, &state, Scope::All);
        assert_eq!(failed(&report), [&name(3), &name(7)]);
        assert!(report.failed[0].reason.contains("Invalid argument"), "{}", report.failed[0].reason);
        let observed = run(programmer.observe(&|_| BTreeMap::new())).unwrap();
        assert_eq!(observed.frontends.len(), 18, "all the others");
        assert!(programmer.port.commits < 30, "{} commits", programmer.port.commits);

        programmer.port.refuses.clear();
        assert!(failed(&sync(&mut programmer, &state, Scope::All)).is_empty(), "tried again");
        assert_forwards(&mut programmer, &state);
    }
}

#[test]
fn a_refused_chain_is_laid_to_the_services_that_need_it() {
    let mut sticky = service(2, &[1]);
    sticky.ports[0].affinity = Affinity::ClientIp { timeout: NonZeroU32::MIN };
    let refuses_chain = Some(ChainName::Slot(By::Address, Tag { slot: 0, timeout: 1 }));
    let mut programmer = OnFake::new(FakeKernel { refuses_chain, ..FakeKernel::default() }, Delivery::Translate);
    let report = sync(&mut programmer, &state_of([service(1, &[1]), sticky, service(3, &[1])]), Scope::All);
    assert_eq!(failed(&report), [&name(2)]);
    assert_eq!(run(programmer.observe(&|_| BTreeMap::new())).unwrap().frontends.len(), 2);
}

#[test]
fn sources_are_checked_once_a_service_restricts_them() {
    let guards = |programmer: &OnFake| {
        let chains = &programmer.port.tables.v4.as_ref().unwrap().chains;
        ChainName::GUARDS.map(|chain| chains.get(&chain.to_string()).map(|(_, rules)| rules.clone()))
    };
    let mut restricted = service(2, &[1]);
    restricted.ports[0].frontends[0].source_ranges = SourceRanges::Only(vec!["192.0.2.0/24".parse().unwrap()]);
    let mut state = state_of([service(1, &[1]), service(2, &[1])]);
    let mut programmer = OnFake::new(FakeKernel::default(), Delivery::Translate);
    sync(&mut programmer, &state, Scope::All);
    assert_eq!(guards(&programmer), [None, None, None], "no connection pays for what no service needs");

    state.upsert(restricted).unwrap();
    sync(&mut programmer, &state, Scope::Services(&[name(2)].into()));
    let before = guards(&programmer);
    assert!(before.iter().all(|rules| rules.as_ref().is_some_and(|rules| !rules.is_empty())), "{before:?}");
    let node_ports = PerFamily { v4: NodePortAddresses::All, ..NodeNetwork::unknown().node_ports };
    state.set_node(NodeNetwork { node_ports, ..NodeNetwork::unknown() });
    sync(&mut programmer, &state, Scope::All);
    assert_ne!(guards(&programmer), before, "node ports are at other addresses");
    assert_eq!(sync(&mut programmer, &state, Scope::All).writes, 0);

    state.upsert(service(2, &[1])).unwrap();
    sync(&mut programmer, &state, Scope::All);
    assert!(!guards(&programmer).contains(&None), "what is there stays");
    let mut next = OnFake::new(programmer.port, Delivery::Translate);
    assert_eq!(sync(&mut next, &state, Scope::All).writes, 0);
}

#[test]
fn what_is_too_large_is_reported_and_absent() {
    let heavy = |weights: [u16; 2]| {
        let mut heavy = service(1, &[1, 2]);
        for (endpoint, weight) in heavy.ports[0].endpoints.iter_mut().zip(weights) {
            endpoint.weight = weight;
        }
        heavy
    };
    let mut programmer = OnFake::new(FakeKernel::default(), Delivery::Translate);
    let mut state_of_two = state_of([heavy([65535, 13107]), service(2, &[1])]);
    assert!(sync(&mut programmer, &state_of_two, Scope::All).failed.is_empty());
    let change = state_of_two.upsert(heavy([65535, 65534])).unwrap();
    let report = sync(&mut programmer, &state_of_two, Scope::Services(&change.touched));
    assert_eq!((failed(&report), report.failed[0].kind), (vec![&name(1)], FailureKind::Limit));
    let observed = run(programmer.observe(&|_| BTreeMap::new())).unwrap();
    assert_eq!(observed.frontends.keys().collect::<Vec<_>>(), [&address(2)]);
    assert_eq!(failed(&sync(&mut programmer, &state_of_two, Scope::All)), [&name(1)], "still");
    assert!(sync(&mut programmer, &state_of([heavy([65535, 13107])]), Scope::All).failed.is_empty());
}

#[test]
fn what_the_node_does_not_offer_is_in_every_report() {
    let mut programmer = OnFake::new(FakeKernel::default(), Delivery::Translate);
    let desired = state_of([service(1, &[1])]);
    let unmet: Vec<_> = desired.unmet().map(|unmet| unmet.to_string()).collect();
    assert_eq!(unmet.len(), 1, "its frontend asks for pods, and the node cannot tell them");
    for scope in [Scope::All, Scope::Services(&Default::default())] {
        assert_eq!(sync(&mut programmer, &desired, scope).warnings, unmet);
    }
}

#[test]
fn a_failed_commit_is_looked_after_next_time() {
    let mut programmer = OnFake::new(FakeKernel::default(), Delivery::Translate);
    let mut state = state_of([service(1, &[1])]);
    sync(&mut programmer, &state, Scope::All);
    let change = state.upsert(service(1, &[2])).unwrap();
    programmer.port.breaks = Some(Errno::ENOMEM);
    let error = run(programmer.sync(&state, Scope::Services(&change.touched), None)).unwrap_err();
    assert!(matches!(error, SyncError::Transient { .. }), "{error}");
    assert_eq!(sync(&mut programmer, &state, Scope::Services(&Default::default())).writes, 2, "works as Scope::All");
    assert_forwards(&mut programmer, &state);
}

#[test]
fn a_wrong_belief_is_corrected() {
    let mut programmer = OnFake::new(FakeKernel::default(), Delivery::Translate);
    let mut state = state_of([service(1, &[1, 2]), service(2, &[1])]);
    sync(&mut programmer, &state, Scope::All);
    programmer.port.tables.v4.as_mut().unwrap().set(SetName::Endpoints(By::Address)).clear();
    let change = state.upsert(service(1, &[1])).unwrap();
    assert!(sync(&mut programmer, &state, Scope::Services(&change.touched)).failed.is_empty());
    assert_forwards(&mut programmer, &state);
}

#[test]
fn a_strange_table_is_left_alone() {
    let mut userdata = Vec::new();
    udata::put_str(&mut userdata, udata::TABLE_COMMENT, "another program's");
    let strange = FakeTable { userdata, ..FakeTable::default() };
    let mut programmer = OnFake::new(FakeKernel::default(), Delivery::Translate);
    programmer.port.tables.v6 = Some(strange.clone());
    let error = run(programmer.sync(&state_of([service(1, &[1])]), Scope::All, None)).unwrap_err();
    assert!(matches!(&error, SyncError::Refused { object, .. } if object == "table ip6 switchyard"), "{error}");
    run(programmer.remove_all()).unwrap();
    assert_eq!(programmer.port.tables, PerFamily { v4: None, v6: Some(strange) });
}

#[test]
fn a_table_of_another_layout_is_made_anew() {
    let mut userdata = Vec::new();
    udata::put_str(&mut userdata, udata::TABLE_COMMENT, "switchyard layout 0");
    let mut programmer = OnFake::new(FakeKernel::default(), Delivery::Translate);
    programmer.port.tables.v4 = Some(FakeTable { userdata, ..FakeTable::default() });
    let state = state_of([service(1, &[1])]);
    sync(&mut programmer, &state, Scope::All);
    assert_eq!(programmer.port.commits, 1, "in one batch");
    assert_forwards(&mut programmer, &state);
}

#[test]
fn connections_stay_counted_when_the_number_of_endpoints_changes() {
    let mut programmer = OnFake::new(FakeKernel::default(), Delivery::Translate);
    let mut state = state_of([service(1, &[1])]);
    sync(&mut programmer, &state, Scope::All);
    let counter = Counter { packets: 7, bytes: 420 };
    programmer.port.tables.v4.as_mut().unwrap().set(SERVICES).get_mut(&Key::Frontend(address(1))).unwrap().1 = counter;
    let change = state.upsert(service(1, &[1, 2])).unwrap();
    sync(&mut programmer, &state, Scope::Services(&change.touched));
    assert_eq!(run(programmer.observe(&|_| BTreeMap::new())).unwrap().frontends[&address(1)].connections, 7);
}

#[test]
fn a_frontend_can_move_to_another_service() {
    let mut programmer = OnFake::new(FakeKernel::default(), Delivery::Translate);
    let mut state = state_of([service(1, &[1])]);
    sync(&mut programmer, &state, Scope::All);
    let mut older = service(1, &[9]);
    older.name = name(99);
    older.age = Age(-1);
    let change = state.upsert(older).unwrap();
    assert!(sync(&mut programmer, &state, Scope::Services(&change.touched)).failed.is_empty());
    assert_forwards(&mut programmer, &state);
    let change = state.remove(&name(99));
    sync(&mut programmer, &state, Scope::Services(&change.touched));
    assert_forwards(&mut programmer, &state);
}

/// Frontends at a few addresses with all the variety that a service can have.
fn any_service() -> impl Strategy<Value = Service> {
    let answer = prop_oneof![
        4 => Just(Answer::Balance(Pool::Cluster)),
        2 => Just(Answer::Balance(Pool::Local)),
        1 => Just(Answer::Reject),
        1 => Just(Answer::Drop),
    ];
    let route = prop_oneof![
        answer.clone().prop_map(Route::Everyone),
        (answer.clone(), answer).prop_map(|(inside, outside)| Route::Split { inside, outside }),
    ];
    let masquerade =
        prop::sample::select(vec![Masquerade::Never, Masquerade::Always, Masquerade::UnlessPod, Masquerade::FromNode]);
    let ranges = prop_oneof![
        2 => Just(SourceRanges::Any),
        1 => prop::collection::vec(prop::sample::select(vec!["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "11.0.0.1/32"]), 0..3)
            .prop_map(|ranges| SourceRanges::Only(ranges.iter().map(|range| range.parse().unwrap()).collect())),
    ];
    let endpoint = (1u8..6, 0u16..3, any::<(bool, bool, bool)>());
    let endpoints = prop::collection::btree_map(1u8..6, endpoint, 0..5);
    let affinity = prop_oneof![
        2 => Just(Affinity::None),
        1 => (1u32..3).prop_map(|timeout| Affinity::ClientIp { timeout: NonZeroU32::new(timeout * 10).unwrap() }),
    ];
    (1u8..6, route, masquerade, ranges, endpoints, affinity, 0u8..3).prop_map(
        |(host, route, masquerade, source_ranges, endpoints, affinity, kind)| {
            let plain = match kind {
                0 => Frontend::cluster_ip([10, 96, 0, host].into(), Protocol::Udp, 53),
                1 => Frontend::external([10, 240, 0, host].into(), Protocol::Udp, 53),
                _ => Frontend::node_port(Family::V4, Protocol::Udp, 30000 + u16::from(host)),
            };
            let endpoints: BTreeMap<u8, _> = endpoints;
            let port = ServicePort {
                affinity,
                frontends: vec![Frontend { route, masquerade, source_ranges, ..plain }],
                endpoints: endpoints
                    .into_iter()
                    .map(|(host, (_, weight, (cluster, local, on_this_node)))| Endpoint {
                        address: EndpointAddress::new([10, 244, 0, host].into(), 53),
                        weight,
                        pools: Pools { cluster, local },
                        on_this_node,
                    })
                    .collect(),
                ..ServicePort::new(Family::V4, Protocol::Udp)
            };
            Service::new(name(host), vec![port])
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happened before, the kernel forwards as the last state says; a newcomer finds nothing to do.
    #[test]
    fn history_decides_nothing(
        changes in prop::collection::vec((any_service(), any::<bool>(), 0u8..6), 1..12),
        masquerade_all in any::<bool>(),
    ) {
        let mut state = ServiceState::new(NodeNetwork::unknown());
        let mut programmer = OnFake::new(FakeKernel::default(), Delivery::Translate);
        for (service, removes, extra) in changes {
            let change = if removes { state.remove(&service.name) } else { state.upsert(service).unwrap() };
            match extra {
                0 => programmer.forget(),
                1 => {
                    state.set_node(NodeNetwork { masquerade_all, ..NodeNetwork::unknown() });
                }
                _ => {}
            }
            let report = sync(&mut programmer, &state, Scope::Services(&change.touched));
            prop_assert_eq!(&report.failed, &[]);
            assert_forwards(&mut programmer, &state);
            let mut newcomer = OnFake::new(std::mem::take(&mut programmer.port), Delivery::Translate);
            prop_assert_eq!(sync(&mut newcomer, &state, Scope::All).writes, 0);
            programmer.port = newcomer.port;
        }
        sync(&mut programmer, &ServiceState::new(NodeNetwork::unknown()), Scope::All);
        assert_forwards(&mut programmer, &ServiceState::new(NodeNetwork::unknown()));
    }
}

#[test]
fn a_service_range_over_the_nodes_network_is_warned_of() {
    let mut programmer = OnFake::new(FakeKernel::default(), Delivery::Translate);
    let mut node = NodeNetwork { addresses: ["192.168.67.8".parse().unwrap()].into(), ..NodeNetwork::unknown() };
    node.service_cidrs = ["10.96.0.0/12".parse().unwrap()].into();
    assert_eq!(sync(&mut programmer, &ServiceState::new(node.clone()), Scope::All).warnings, Vec::<String>::new());
    node.service_cidrs.insert("192.168.0.0/16".parse().unwrap());
    let report = sync(&mut programmer, &ServiceState::new(node), Scope::All);
    let expected = "service range 192.168.0.0/16: holds 192.168.67.8 of this node, neighbours in it that are no service are cut off";
    assert_eq!(report.warnings, [expected]);
}

#[test]
fn affinity_that_is_full_is_warned_of() {
    let full = PerFamily { v4: Some(262_143), v6: Some(262_144) };
    let mut programmer = OnFake::new(FakeKernel { remembered: full, ..FakeKernel::default() }, Delivery::Translate);
    let state = ServiceState::new(NodeNetwork::unknown());
    for _ in 0..2 {
        let report = sync(&mut programmer, &state, Scope::All);
        let [warning] = report.warnings.as_slice() else { panic!("{report:?}") };
        assert!(
            warning.starts_with("session affinity (IPv6): 262144 clients are remembered, which is all"),
            "{warning}"
        );
    }
}
