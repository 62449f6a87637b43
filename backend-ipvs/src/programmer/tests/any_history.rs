//! Whatever happened before, the kernel leads where the state says.

use proptest::prelude::*;

use super::*;

/// A service with all the variety that matters here, of a few frontends.
fn any_service() -> impl Strategy<Value = Service> {
    let answer = prop_oneof![
        4 => Just(Answer::Balance(Pool::Cluster)),
        2 => Just(Answer::Balance(Pool::Local)),
        1 => Just(Answer::Reject),
    ];
    let route = prop_oneof![
        answer.clone().prop_map(Route::Everyone),
        (answer.clone(), answer).prop_map(|(inside, outside)| Route::Split { inside, outside }),
    ];
    let share = (0u16..3, any::<(bool, bool, bool)>());
    let endpoints = prop::collection::btree_map(1u8..6, share, 0..5);
    let affinity = prop_oneof![
        3 => Just(Affinity::None),
        1 => Just(Affinity::ClientIp { timeout: NonZeroU32::MIN }),
    ];
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    let scheduler = prop::sample::select(vec![None, Some(Scheduler::Rr), Some(Scheduler::Sh)]);
    let frontends = prop::collection::btree_map(1u8..6, route, 0..3);
    (1u8..4, frontends, endpoints, affinity, protocol, scheduler).prop_map(
        |(host, frontends, endpoints, affinity, protocol, scheduler)| {
            let mut port = ServicePort { affinity, scheduler, ..ServicePort::new(Family::V4, protocol) };
            for (address, route) in frontends {
                let frontend = Frontend::external([10, 240, 0, address].into(), protocol, 53);
                port.frontends.push(Frontend { route, ..frontend });
            }
            for (host, (weight, (cluster, local, on_this_node))) in endpoints {
                let pools = Pools { cluster, local };
                port.endpoints.push(Endpoint { weight, pools, on_this_node, ..endpoint_at(host) });
            }
            Service::new(name(host), vec![port])
        },
    )
}

/// What happens beside a change.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nothing,
    Forgets,
    Restarts,
    Fails,
    TablesFail,
    ConnectionsEnd,
    Flushes,
    TimePasses,
}

fn beside() -> impl Strategy<Value = Beside> {
    use Beside::*;
    prop::sample::select(vec![
        Nothing,
        Nothing,
        Nothing,
        Forgets,
        Restarts,
        Fails,
        TablesFail,
        ConnectionsEnd,
        Flushes,
        TimePasses,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happened before, marks lead where the last state says, and a restarted process finds nothing to do. No
    /// connection of TCP is cut before its deadline, and no flow of UDP outlives its endpoint.
    #[test]
    fn history_decides_nothing(changes in prop::collection::vec((any_service(), any::<bool>(), beside()), 1..14)) {
        let mut world = World::new();
        world.kernel(|kernel| kernel.is_busy = true);
        let mut state = ServiceState::new(NodeNetwork::unknown());
        for (service, removes, beside) in changes {
            let mut change = if removes { state.remove(&service.name) } else { state.upsert(service).unwrap() };
            let mut scope = Scope::Services(&change.touched);
            match beside {
                Beside::Nothing => {}
                Beside::Forgets => world.programmer.forget(),
                Beside::Restarts => world = world.restarted(),
                Beside::Fails => {
                    world.kernel(|kernel| kernel.breaks = Some(Errno::ENOMEM));
                    let _ = world.try_sync(&state, scope);
                    world.kernel(|kernel| kernel.breaks = None);
                }
                Beside::TablesFail => {
                    world.tables.breaks = Some(SyncError::Raced { object: "tables".to_owned() });
                    let _ = world.try_sync(&state, scope);
                    world.tables.breaks = None;
                }
                Beside::ConnectionsEnd => world.end_connections(),
                Beside::Flushes => {
                    world.kernel(|kernel| kernel.servers.clear());
                    world.programmer.forget();
                }
                Beside::TimePasses => world.kernel(|kernel| kernel.now += 1000),
            }
            if world.programmer.belief.is_none() {
                change.touched.clear();
                scope = Scope::Services(&change.touched);
            }
            let report = world.sync(&state, scope);
            prop_assert_eq!(&report.failed, &[]);
            assert_leads(&world, &state);
            prop_assert_eq!(world.poll(), Seen::AsBelieved);
            assert_leads(&world, &state);
            for (key, real) in world.kernel(|kernel| std::mem::take(&mut kernel.cut)) {
                let now = world.kernel(|kernel| kernel.now);
                prop_assert!(cuts(our_mark(key).unwrap()) || (drains(&real) && real.thresholds.upper <= now), "{key}");
            }
            let endpoints = state.services().flat_map(|service| &service.ports).flat_map(|port| &port.endpoints);
            let listed: BTreeSet<_> = endpoints.map(|endpoint| socket_address(endpoint.address)).collect();
            for (key, (_, reals)) in world.kernel(|kernel| kernel.servers.clone()) {
                let is_cut = cuts(our_mark(key).unwrap());
                prop_assert!(!is_cut || reals.keys().all(|address| listed.contains(address)), "{key}");
            }
            prop_assert_eq!(run(world.programmer.compare_all()).unwrap(), Seen::AsBelieved);
            prop_assert_eq!(world.sync(&state, Scope::All).writes, 0);
            prop_assert_eq!(world.restarted().sync(&state, Scope::All).writes, 0);
        }
    }
}
