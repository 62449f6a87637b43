//! What the kernel holds after a sync. Where it has no IPVS each test is reported as ignored; the machine of
//! `cargo run -p switchyard-conformance --bin vm -- --tests backend-ipvs` has it.

mod isolated;
#[path = "../../backend-nft/tests/sample/mod.rs"]
mod sample;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use backend_api::*;
use isolated::in_namespace;
use netlink::ipvs::{
    Flags, Ipvs, Operation, RealServer, RealServerEntry, VirtualKey, VirtualServer, VirtualServerEntry,
};
use switchyard_ipvs::{IpvsDataplane, Options};

fn main() {
    isolated::run(&[
        ("what_is_programmed_is_observed", what_is_programmed_is_observed),
        ("syncing_again_writes_nothing_in_this_process_and_the_next", syncing_again_writes_nothing),
        ("one_change_writes_a_little", one_change_writes_a_little),
        ("others_virtual_servers_are_left_alone", others_virtual_servers_are_left_alone),
        ("everything_of_ours_is_removed", everything_of_ours_is_removed),
        ("a_refused_service_fails_alone", a_refused_service_fails_alone),
        ("a_flush_by_another_program_is_noticed_and_repaired", a_flush_is_noticed_and_repaired),
        ("an_endpoint_that_leaves_drains_and_goes_when_idle", an_endpoint_that_leaves_drains_and_goes_when_idle),
        ("a_deadline_survives_a_restart", a_deadline_survives_a_restart),
        ("a_service_goes_and_comes_back_to_its_virtual_server", a_service_comes_back_to_its_virtual_server),
        ("every_scheduler_that_drains_is_taken", every_scheduler_that_drains_is_taken),
        ("a_thousand_services_are_found_again", a_thousand_services_are_found_again),
    ]);
}

async fn open() -> IpvsDataplane {
    IpvsDataplane::open(Options::default()).await.unwrap()
}

fn state(services: impl IntoIterator<Item = Service>) -> ServiceState {
    let mut state = ServiceState::new(sample::node());
    for service in services {
        state.upsert(service).unwrap();
    }
    state
}

async fn assert_forwards(dataplane: &mut IpvsDataplane, state: &ServiceState) {
    let (observed, expected) = (dataplane.observe().await.unwrap(), Observed::expected(state));
    assert!(observed.frontends.keys().eq(expected.frontends.keys()), "{observed:#?} instead of {expected:#?}");
    for (key, expected) in &expected.frontends {
        let observed = &observed.frontends[key];
        assert!(observed.forwards_like(expected), "{key}: {observed:#?} instead of {expected:#?}");
    }
}

/// Every virtual server, as another program sees it.
async fn servers() -> Vec<(VirtualServer, Vec<RealServer>)> {
    let mut ipvs = Ipvs::open().await.unwrap();
    let mut servers = Vec::new();
    for VirtualServerEntry { server, .. } in ipvs.virtual_servers().await.unwrap() {
        let reals = ipvs.real_servers(&server.key).await.unwrap();
        let mut reals: Vec<_> = reals.into_iter().map(|RealServerEntry { server, .. }| server).collect();
        reals.sort();
        servers.push((server, reals));
    }
    servers
}

fn what_is_programmed_is_observed() {
    in_namespace(async || {
        let state = sample::everything();
        let mut dataplane = open().await;
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().failed, []);
        assert_forwards(&mut dataplane, &state).await;
    });
}

fn syncing_again_writes_nothing() {
    in_namespace(async || {
        let state = sample::everything();
        let mut dataplane = open().await;
        assert!(dataplane.sync(&state, Scope::All).await.unwrap().writes > 0);
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().writes, 0);
        drop(dataplane);
        assert_eq!(open().await.sync(&state, Scope::All).await.unwrap().writes, 0);
    });
}

fn one_change_writes_a_little() {
    in_namespace(async || {
        let mut state = state(sample::plain(100));
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        let change = state.upsert(sample::plain_service(7, &[1, 2, 4])).unwrap();
        let report = dataplane.sync(&state, Scope::Services(&change.touched)).await.unwrap();
        assert_eq!(report.writes, 2, "one endpoint drains, one comes; the tables stay");
        assert_eq!(dataplane.sync(&state, Scope::Services(&BTreeSet::new())).await.unwrap().writes, 0);
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().writes, 0);
        assert_forwards(&mut dataplane, &state).await;
    });
}

fn others_virtual_servers_are_left_alone() {
    in_namespace(async || {
        let theirs = [
            VirtualKey::Address { protocol: 6, address: [10, 96, 0, 1].into(), port: 80 },
            VirtualKey::Mark { family: netlink::Family::Ipv4, mark: 0x5400_0001 },
        ]
        .map(|key| VirtualServer {
            key,
            scheduler: "rr".to_owned(),
            flags: Flags::NONE,
            persistence: None,
            engine: None,
        });
        let add: Vec<_> = theirs.iter().cloned().map(Operation::AddVirtual).collect();
        assert_eq!(Ipvs::open().await.unwrap().execute(&add).await.unwrap(), []);
        let mut dataplane = open().await;
        dataplane.sync(&sample::everything(), Scope::All).await.unwrap();
        assert!(servers().await.len() > 2);
        dataplane.remove_all().await.unwrap();
        let left: Vec<_> = servers().await.into_iter().map(|(server, _)| server).collect();
        assert_eq!(left, theirs);
    });
}

fn everything_of_ours_is_removed() {
    in_namespace(async || {
        let nothing = sight();
        let mut dataplane = open().await;
        dataplane.sync(&sample::everything(), Scope::All).await.unwrap();
        assert!(sight() != nothing && !servers().await.is_empty());
        drop(dataplane);
        let mut next = open().await;
        next.remove_all().await.unwrap();
        assert_eq!(servers().await, []);
        assert_eq!(sight(), nothing);
        next.remove_all().await.unwrap();
        assert!(next.sync(&sample::everything(), Scope::All).await.unwrap().writes > 0, "and back");
        assert_forwards(&mut next, &sample::everything()).await;
    });
}

/// What an operator sees of tables and rules; nothing where the tools are not installed.
fn sight() -> Vec<String> {
    let listings = ["nft list tables", "ip rule", "ip route show table 21337"].map(|command| {
        let words: Vec<_> = command.split(' ').collect();
        let output = Command::new(words[0]).args(&words[1..]).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    });
    listings.into_iter().flatten().collect()
}

fn a_refused_service_fails_alone() {
    in_namespace(async || {
        let mut services = sample::plain(20);
        // IPVS has no link-local real servers.
        let bad = ServicePort {
            frontends: vec![Frontend::cluster_ip("fd00:60::7".parse().unwrap(), Protocol::Tcp, 80)],
            endpoints: vec![Endpoint::elsewhere("[fe80::7]:80".parse().unwrap())],
            ..ServicePort::new(Family::V6, Protocol::Tcp)
        };
        let bad = Service::new(ServiceName::new("default", "bad"), vec![bad]);
        services.push(bad.clone());
        let mut state = state(services);
        let mut dataplane = open().await;
        let report = dataplane.sync(&state, Scope::All).await.unwrap();
        let failed: Vec<_> = report.failed.iter().map(|failure| &failure.service).collect();
        assert_eq!(failed, [&bad.name]);
        assert!(report.failed[0].reason.contains("[fe80::7]:80"), "{}", report.failed[0].reason);
        state.remove(&bad.name);
        assert_forwards(&mut dataplane, &state).await;
        assert_eq!(servers().await.len(), 20);
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().failed, []);
    });
}

fn a_flush_is_noticed_and_repaired() {
    in_namespace(async || {
        let state = sample::everything();
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        let before = servers().await;
        Ipvs::open().await.unwrap().execute(&[Operation::Flush]).await.unwrap();
        let noticed = tokio::time::timeout(Duration::from_secs(10), dataplane.drifted()).await;
        assert!(noticed.is_ok(), "waited 10 s for the dataplane to notice");
        assert!(dataplane.sync(&state, Scope::All).await.unwrap().writes > 0);
        assert_eq!(servers().await, before, "under the same marks");
        assert_forwards(&mut dataplane, &state).await;
        assert_eq!(open().await.sync(&state, Scope::All).await.unwrap().writes, 0);
    });
}

fn an_endpoint_that_leaves_drains_and_goes_when_idle() {
    in_namespace(async || {
        let mut state = state([sample::plain_service(1, &[1, 2])]);
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        let change = state.upsert(sample::plain_service(1, &[1])).unwrap();
        dataplane.sync(&state, Scope::Services(&change.touched)).await.unwrap();
        let reals = servers().await.remove(0).1;
        assert_eq!(reals.iter().map(|real| real.weight).collect::<Vec<_>>(), [1, 0]);
        assert!(reals[1].thresholds.upper > 24 * 60 * 60, "a deadline after boot");
        wait_for_servers(&mut dataplane, "one real server", |servers| servers[0].1.len() == 1).await;
        let change = state.remove(&ServiceName::new("default", "service-1"));
        dataplane.sync(&state, Scope::Services(&change.touched)).await.unwrap();
        assert_eq!(servers().await.len(), 1, "it drains");
        wait_for_servers(&mut dataplane, "no virtual server", <[_]>::is_empty).await;
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().writes, 0);
    });
}

/// Lets time pass for the dataplane until the servers are as they should be.
async fn wait_for_servers(
    dataplane: &mut IpvsDataplane,
    what: &str,
    is_so: impl Fn(&[(VirtualServer, Vec<RealServer>)]) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let servers = servers().await;
        if is_so(&servers) {
            return;
        }
        assert!(Instant::now() < deadline, "waited 20 s for {what}: {servers:#?}");
        let drifted = tokio::time::timeout(Duration::from_millis(200), dataplane.drifted()).await;
        assert!(drifted.is_err(), "nothing was changed");
    }
}

fn a_deadline_survives_a_restart() {
    in_namespace(async || {
        let mut state = state([sample::plain_service(1, &[1, 2]), sample::plain_service(2, &[3])]);
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        let mut change = state.upsert(sample::plain_service(1, &[1])).unwrap().touched;
        change.extend(state.remove(&ServiceName::new("default", "service-2")).touched);
        dataplane.sync(&state, Scope::Services(&change)).await.unwrap();
        let before = servers().await;
        drop(dataplane);
        let mut next = open().await;
        assert_eq!(next.sync(&state, Scope::All).await.unwrap().writes, 0);
        assert_eq!(servers().await, before);
        wait_for_servers(&mut next, "what drained to go", |servers| servers.len() == 1 && servers[0].1.len() == 1)
            .await;
    });
}

fn a_service_comes_back_to_its_virtual_server() {
    in_namespace(async || {
        let service = sample::plain_service(1, &[1, 2]);
        let mut state = state([service.clone()]);
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        let before = servers().await;
        let change = state.remove(&service.name);
        dataplane.sync(&state, Scope::Services(&change.touched)).await.unwrap();
        let change = state.upsert(service).unwrap();
        assert_eq!(dataplane.sync(&state, Scope::Services(&change.touched)).await.unwrap().failed, []);
        assert_eq!(servers().await, before);
        assert_forwards(&mut dataplane, &state).await;
    });
}

fn every_scheduler_that_drains_is_taken() {
    in_namespace(async || {
        let state = state((0..).zip(Scheduler::ALL).map(|(number, scheduler)| {
            let mut service = sample::plain_service(number, &[1, 2]);
            service.ports[0].scheduler = Some(scheduler);
            service
        }));
        let mut dataplane = open().await;
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().failed, []);
        assert_forwards(&mut dataplane, &state).await;
        let found: BTreeSet<String> = servers().await.into_iter().map(|(server, _)| server.scheduler).collect();
        // One that this kernel lacks is replaced by the default, and so is `dh`.
        for module in std::fs::read_to_string("/proc/modules").unwrap_or_default().lines() {
            let name = module.split_whitespace().next().and_then(|name| name.strip_prefix("ip_vs_"));
            let scheduler = name.and_then(|name| name.parse::<Scheduler>().ok());
            let Some(scheduler) = scheduler.filter(|scheduler| *scheduler != Scheduler::Dh) else { continue };
            assert!(found.contains(scheduler.name()), "{scheduler:?}: {found:?}");
        }
        assert_eq!(open().await.sync(&state, Scope::All).await.unwrap().writes, 0);
    });
}

fn a_thousand_services_are_found_again() {
    in_namespace(async || {
        let mut state = state(sample::plain(1000));
        let begin = Instant::now();
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        let first = begin.elapsed();
        let begin = Instant::now();
        drop(dataplane);
        let mut next = open().await;
        assert_eq!(next.sync(&state, Scope::All).await.unwrap().writes, 0);
        let adopted = begin.elapsed();
        let begin = Instant::now();
        let change = state.upsert(sample::plain_service(7, &[1, 2, 4])).unwrap();
        next.sync(&state, Scope::Services(&change.touched)).await.unwrap();
        println!("1000 services: first {first:?}, adopted {adopted:?}, one change {:?}", begin.elapsed());
    });
}
