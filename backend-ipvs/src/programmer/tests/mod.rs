//! What programming promises, on a fake kernel. The fake tables see to it that every mark leads to a real server.

mod any_history;
mod draining;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use backend_api::*;
use backend_nft::marking::{Marked, Target};
use netlink::ipvs::{Connections, Flags, Operation, VirtualKey, VirtualServer};
use nix::errno::Errno;

use super::{Programmer, Seen};
use crate::drain::drains;
use crate::fake::{FakeIpvs, FakeKernel, FakeTables};
use crate::marks::{TRIAL, choose, cuts};
use crate::render::Role;
use crate::servers::{endpoint, key, our_mark, socket_address};

/// An hour.
const DRAIN: Duration = Duration::from_secs(3600);

/// A kernel, and a process that programs it.
struct World {
    ipvs: FakeIpvs,
    tables: FakeTables,
    programmer: Programmer<FakeIpvs>,
}

impl World {
    fn new() -> Self {
        let ipvs = FakeIpvs::default();
        let tables = FakeTables::new(&ipvs);
        Self { programmer: programmer(&ipvs), tables, ipvs }
    }

    /// Another process, after this one.
    fn restarted(&self) -> Self {
        Self { ipvs: self.ipvs.clone(), tables: self.tables.clone(), programmer: programmer(&self.ipvs) }
    }

    fn sync(&mut self, state: &ServiceState, scope: Scope<'_>) -> Report {
        self.try_sync(state, scope).unwrap()
    }

    fn try_sync(&mut self, state: &ServiceState, scope: Scope<'_>) -> Result<Report, SyncError> {
        self.tables.forget_if(self.programmer.belief.is_none());
        run(self.programmer.sync(&mut self.tables, state, scope)).map(|outcome| outcome.report)
    }

    fn upsert(&mut self, state: &mut ServiceState, service: Service) -> Report {
        let change = state.upsert(service).unwrap();
        self.sync(state, Scope::Services(&change.touched))
    }

    fn remove(&mut self, state: &mut ServiceState, name: &ServiceName) -> Report {
        let change = state.remove(name);
        self.sync(state, Scope::Services(&change.touched))
    }

    fn poll(&mut self) -> Seen {
        run(self.programmer.remove_drained()).unwrap()
    }

    fn kernel<T>(&self, look: impl FnOnce(&mut FakeKernel) -> T) -> T {
        self.ipvs.with(look)
    }

    fn keys(&self) -> Vec<VirtualKey> {
        self.kernel(|kernel| kernel.servers.keys().copied().collect())
    }

    /// Real servers of all virtual servers: last byte of the address, weight, and whether it drains.
    fn reals(&self) -> Vec<(u8, u32, bool)> {
        self.kernel(|kernel| {
            let reals = kernel.servers.values().flat_map(|(_, reals)| reals.values());
            reals
                .map(|entry| (last_byte(entry.server.address.ip()), entry.server.weight, drains(&entry.server)))
                .collect()
        })
    }

    /// All connections end.
    fn end_connections(&self) {
        self.kernel(|kernel| {
            let entries = kernel.servers.values_mut().flat_map(|(_, reals)| reals.values_mut());
            entries.for_each(|entry| entry.connections = Connections::default());
        });
    }
}

fn programmer(ipvs: &FakeIpvs) -> Programmer<FakeIpvs> {
    run(Programmer::new(ipvs.clone(), Scheduler::Wrr, DRAIN)).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn last_byte(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    }
}

fn name(host: u8) -> ServiceName {
    ServiceName::new("default", &format!("s{host}"))
}

fn endpoint_at(host: u8) -> Endpoint {
    Endpoint::elsewhere(EndpointAddress::new([10, 244, 0, host].into(), 8080))
}

/// A service at `10.96.0.host` with these endpoints.
fn service(host: u8, protocol: Protocol, endpoints: &[u8]) -> Service {
    let port = ServicePort {
        frontends: vec![Frontend::cluster_ip([10, 96, 0, host].into(), protocol, 80)],
        endpoints: endpoints.iter().map(|host| endpoint_at(*host)).collect(),
        ..ServicePort::new(Family::V4, protocol)
    };
    Service::new(name(host), vec![port])
}

fn tcp(host: u8, endpoints: &[u8]) -> Service {
    service(host, Protocol::Tcp, endpoints)
}

fn udp(host: u8, endpoints: &[u8]) -> Service {
    service(host, Protocol::Udp, endpoints)
}

fn state(services: impl IntoIterator<Item = Service>) -> ServiceState {
    let mut state = ServiceState::new(NodeNetwork::unknown());
    for service in services {
        state.upsert(service).unwrap();
    }
    state
}

fn failed(report: &Report) -> Vec<&ServiceName> {
    report.failed.iter().map(|failure| &failure.service).collect()
}

/// With a frontend at `10.240.0.host` beside its own.
fn with_external(mut service: Service, host: u8) -> Service {
    let port = &mut service.ports[0];
    port.frontends.push(Frontend::external([10, 240, 0, host].into(), port.protocol, 80));
    service
}

/// Two services whose marks begin alike, in order of names.
fn rivals() -> [ServiceName; 2] {
    let port = &tcp(1, &[1]).ports[0];
    let role = Role::of(port, port.frontends[0].key, Target::Pool(Pool::Cluster));
    let mut first = BTreeMap::new();
    for number in 0u32.. {
        let name = ServiceName::new("default", &format!("rival-{number:05}"));
        let mark = choose(&name, &role, |_| false, |_| false);
        if let Some(other) = first.insert(mark, name.clone()) {
            return [other, name];
        }
    }
    unreachable!("there are fewer marks than numbers")
}

#[test]
fn a_virtual_server_keeps_its_mark_whatever_the_order_of_names() {
    let [early, late] = rivals();
    let mut world = World::new();
    let mut state = state([Service { name: late, ..tcp(1, &[1]) }]);
    world.sync(&state, Scope::All);
    world.upsert(&mut state, Service { name: early, ..tcp(2, &[2]) });
    assert_eq!(world.keys().len(), 2);
    world.programmer.forget();
    assert_eq!(world.sync(&state, Scope::All).writes, 0);
    let mut next = world.restarted();
    assert_eq!(next.sync(&state, Scope::All).writes, 0, "the tables know");
    // Without tables both are found, though perhaps each the other's.
    let mut alone = World { tables: FakeTables::new(&world.ipvs), ..world.restarted() };
    alone.sync(&state, Scope::All);
    assert_leads(&alone, &state);
    assert_eq!(alone.keys(), world.keys());
}

#[test]
fn others_virtual_servers_are_left_alone() {
    let mut world = World::new();
    let theirs = [
        VirtualKey::Address { protocol: 6, address: [10, 96, 0, 1].into(), port: 80 },
        VirtualKey::Mark { family: netlink::Family::Ipv4, mark: 0x5400_0001 },
    ];
    let add = theirs.map(|key| {
        let (scheduler, flags) = ("rr".to_owned(), Flags::NONE);
        Operation::AddVirtual(VirtualServer { key, scheduler, flags, persistence: None, engine: None })
    });
    run(crate::port::Port::execute(&mut world.ipvs, &add)).unwrap();
    world.sync(&state([tcp(1, &[1])]), Scope::All);
    assert_eq!(world.keys().len(), 3);
    run(world.programmer.remove_all()).unwrap();
    assert_eq!(world.keys(), theirs);
}

#[test]
fn a_refused_service_fails_alone() {
    let mut world = World::new();
    world.kernel(|kernel| kernel.refuses = BTreeSet::from([[10, 244, 0, 7].into()]));
    let state = state((1..10).map(|host| tcp(host, &[host])));
    let report = world.sync(&state, Scope::All);
    assert_eq!(failed(&report), [&name(7)]);
    assert!(report.failed[0].reason.contains("Invalid argument"), "{}", report.failed[0].reason);
    assert_eq!(world.tables.marked().len(), 8);
    assert_eq!(world.keys().len(), 8, "what was made of it is gone");
    world.kernel(|kernel| kernel.refuses.clear());
    assert!(failed(&world.sync(&state, Scope::All)).is_empty(), "tried again");
    assert_eq!(world.keys().len(), 9);
}

#[test]
fn a_wrong_belief_is_corrected() {
    for damage in [
        (|kernel| kernel.servers.clear()) as fn(&mut FakeKernel),
        |kernel| kernel.servers.values_mut().for_each(|(_, reals)| reals.clear()),
        |kernel| drop(kernel.servers.pop_first()),
    ] {
        let mut world = World::new();
        let mut state = state([tcp(1, &[1, 2]), tcp(2, &[3]), udp(3, &[4, 5])]);
        world.sync(&state, Scope::All);
        world.tables.is_lenient = true;
        world.kernel(damage);
        let mut change = state.upsert(tcp(1, &[2])).unwrap().touched;
        change.extend(state.upsert(udp(3, &[4])).unwrap().touched);
        world.sync(&state, Scope::Services(&change));
        // Not everything shows; what does not is noticed in time.
        for _ in 0..3 {
            if run(world.programmer.compare_some()).unwrap() == Seen::Otherwise {
                world.programmer.forget();
            }
        }
        world.sync(&state, Scope::All);
        assert_eq!(world.restarted().sync(&state, Scope::All).writes, 0);
        assert_leads(&world, &state);
    }
}

#[test]
fn a_failure_is_looked_after_next_time() {
    let mut world = World::new();
    let mut state = state([tcp(1, &[1])]);
    world.sync(&state, Scope::All);
    let change = state.upsert(tcp(1, &[2])).unwrap();
    world.kernel(|kernel| kernel.breaks = Some(Errno::ENOMEM));
    let error = world.try_sync(&state, Scope::Services(&change.touched)).unwrap_err();
    assert!(matches!(error, SyncError::Transient { .. }), "{error}");
    world.sync(&state, Scope::Services(&BTreeSet::new()));
    assert_leads(&world, &state);
    let change = state.upsert(tcp(1, &[3])).unwrap();
    world.tables.breaks = Some(SyncError::Raced { object: "tables".to_owned() });
    world.try_sync(&state, Scope::Services(&change.touched)).unwrap_err();
    world.sync(&state, Scope::Services(&BTreeSet::new()));
    assert_leads(&world, &state);
}

#[test]
fn what_others_remove_is_noticed() {
    let mut world = World::new();
    let state = state((1..6).map(|host| tcp(host, &[host])));
    world.sync(&state, Scope::All);
    assert_eq!(compare(&mut world), (vec![Seen::AsBelieved; 6], Seen::AsBelieved));
    let last = world.keys()[4];
    world.kernel(|kernel| kernel.servers.get_mut(&last).unwrap().1.clear());
    let (seen, all) = compare(&mut world);
    assert!(seen.contains(&Seen::Otherwise));
    assert_eq!(all, Seen::AsBelieved, "only virtual servers are counted");
    world.kernel(|kernel| kernel.servers.remove(&last));
    assert_eq!(compare(&mut world).1, Seen::Otherwise);
    world.kernel(|kernel| kernel.servers.clear());
    assert_eq!(run(world.programmer.compare_some()).unwrap(), Seen::Otherwise, "a flush at once");
}

/// What a round of comparing some brings, and what comparing all brings.
fn compare(world: &mut World) -> (Vec<Seen>, Seen) {
    let some = (0..6).map(|_| run(world.programmer.compare_some()).unwrap()).collect();
    (some, run(world.programmer.compare_all()).unwrap())
}

#[test]
fn a_scheduler_that_cannot_be_used_is_replaced_by_the_default() {
    let mut world = World::new();
    world.kernel(|kernel| kernel.schedulers = BTreeSet::from(["wrr", "mh"]));
    let services = [tcp_by(1, Scheduler::Twos), tcp_by(2, Scheduler::Mh), tcp(3, &[3]), tcp_by(4, Scheduler::Dh)];
    let mut state = state(services);
    assert!(failed(&world.sync(&state, Scope::All)).is_empty());
    let [wrr, mh] = [("wrr", Flags::NONE), ("mh", Flags::HASH_FALLBACK)].map(|(name, flags)| (name.to_owned(), flags));
    assert_eq!(schedulers(&world), [(1, wrr.clone()), (2, mh.clone()), (3, wrr.clone()), (4, wrr)].into());
    assert_eq!(world.upsert(&mut state, tcp_by(3, Scheduler::Mh)).writes, 1, "edited, not made anew");
    assert_eq!(schedulers(&world)[&3], mh);
    assert!(world.keys().iter().all(|key| our_mark(*key) != Some(TRIAL)));
}

/// A service with one endpoint that asks for a scheduler.
fn tcp_by(host: u8, scheduler: Scheduler) -> Service {
    let mut service = tcp(host, &[host]);
    service.ports[0].scheduler = Some(scheduler);
    service
}

/// Scheduler and flags of each virtual server, by its first real server.
fn schedulers(world: &World) -> BTreeMap<u8, (String, Flags)> {
    let mut found = BTreeMap::new();
    world.kernel(|kernel| {
        for (server, reals) in kernel.servers.values() {
            let host = last_byte(reals.keys().next().unwrap().ip());
            found.insert(host, (server.scheduler.clone(), server.flags));
        }
    });
    found
}

#[test]
fn a_default_scheduler_that_cannot_be_used_is_named_with_its_module() {
    let ipvs = FakeIpvs::default();
    ipvs.with(|kernel| kernel.schedulers.clear());
    let error = run(Programmer::new(ipvs, Scheduler::Mh, DRAIN)).unwrap_err();
    assert!(matches!(&error, SyncError::Unsupported { feature, .. } if feature.contains("ip_vs_mh")), "{error}");
    let error = run(Programmer::new(FakeIpvs::default(), Scheduler::Dh, DRAIN)).unwrap_err();
    assert!(error.to_string().contains("drains"), "{error}");
}

#[test]
fn a_cancelled_poll_loses_nothing() {
    let mut world = World::new();
    let mut state = state([tcp(1, &[1, 2])]);
    world.sync(&state, Scope::All);
    world.upsert(&mut state, tcp(1, &[1]));
    for mut steps in 0..4 {
        world.kernel(|kernel| kernel.pauses = true);
        {
            let mut poll = pin!(world.programmer.remove_drained());
            let mut is_pending = || poll.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
            while steps > 0 && is_pending() {
                steps -= 1;
            }
        }
        world.kernel(|kernel| kernel.pauses = false);
    }
    world.poll();
    assert_eq!(world.reals(), [(1, 1, false)]);
    assert_eq!(run(world.programmer.compare_all()).unwrap(), Seen::AsBelieved);
    assert_eq!(world.upsert(&mut state, tcp(1, &[1, 2])).failed, []);
    assert_leads(&world, &state);
}

/// Everything leads where `state` says, and nothing else has weight.
fn assert_leads(world: &World, state: &ServiceState) {
    let mut expected = BTreeMap::<FrontendKey, BTreeSet<(EndpointAddress, u32)>>::new();
    for port in state.services().flat_map(|service| &service.ports) {
        for frontend in &port.frontends {
            let answers = match frontend.route {
                Route::Everyone(answer) => vec![answer],
                Route::Split { inside, outside } => vec![inside, outside],
            };
            for answer in answers {
                let Answer::Balance(pool) = answer else { continue };
                let live = expected.entry(frontend.key).or_default();
                for endpoint in port.pool(pool) {
                    let weight = match port.affinity {
                        Affinity::None => u32::from(endpoint.weight),
                        Affinity::ClientIp { .. } => 65_535,
                    };
                    live.insert((endpoint.address, weight));
                }
            }
        }
    }
    expected.retain(|_, live| !live.is_empty());
    let mut found = BTreeMap::<FrontendKey, BTreeSet<(EndpointAddress, u32)>>::new();
    let mut led = BTreeSet::new();
    for Marked { frontend, mark, .. } in world.tables.marked() {
        let key = key(frontend.family(), mark);
        led.insert(key);
        let live = world.kernel(|kernel| {
            let live = kernel.servers[&key].1.values().map(|entry| entry.server).filter(|real| real.weight > 0);
            live.map(|real| (endpoint(&real), real.weight)).collect::<Vec<_>>()
        });
        found.entry(frontend).or_default().extend(live);
    }
    assert_eq!(found, expected);
    world.kernel(|kernel| {
        for (key, (_, reals)) in &kernel.servers {
            assert!(!reals.is_empty(), "{key} has real servers");
            let is_live = reals.values().any(|entry| entry.server.weight > 0);
            assert!(led.contains(key) || !is_live, "{key}: no mark leads there");
        }
    });
}
