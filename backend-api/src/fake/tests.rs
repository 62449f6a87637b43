//! The fake keeps the contract that a real backend must keep.

use std::time::Duration;

use super::*;
use crate::{Endpoint, Family, Frontend, Protocol, ServicePort};

fn name(name: &str) -> ServiceName {
    ServiceName::new("default", name)
}

fn service(called: &str, last: u8, endpoints: &[&str]) -> Service {
    let port = ServicePort {
        frontends: vec![Frontend::cluster_ip([10, 96, 0, last].into(), Protocol::Udp, 53)],
        endpoints: endpoints.iter().map(|at| Endpoint::elsewhere(at.parse().unwrap())).collect(),
        ..ServicePort::new(Family::V4, Protocol::Udp)
    };
    Service::new(name(called), vec![port])
}

fn state(services: &[Service]) -> ServiceState {
    let mut state = ServiceState::new(NodeNetwork::unknown());
    services.iter().for_each(|service| drop(state.upsert(service.clone()).unwrap()));
    state
}

fn programmed(fake: &Fake) -> Vec<String> {
    fake.services().iter().map(|service| service.name.name.to_string()).collect()
}

fn transient() -> SyncError {
    SyncError::Transient { object: "batch".into(), reason: "ENOBUFS".into() }
}

#[tokio::test]
async fn writes_are_differences() {
    let mut fake = Fake::default();
    let (one, two) = (service("one", 1, &["10.244.0.1:53"]), service("two", 2, &["10.244.0.2:53"]));
    let both = state(&[one.clone(), two]);
    assert_eq!(fake.sync(&both, Scope::All).await.unwrap().writes, 2);
    assert_eq!(fake.sync(&both, Scope::All).await.unwrap().writes, 0);
    let mut masqueraded = state(&[one]);
    masqueraded.set_node(NodeNetwork { masquerade_all: true, ..NodeNetwork::unknown() });
    assert_eq!(fake.sync(&masqueraded, Scope::All).await.unwrap().writes, 2, "a frontend less, another network");
    assert_eq!(fake.observe().await.unwrap(), Observed::expected(&masqueraded));
    fake.remove_all().await.unwrap();
    assert_eq!(fake.observe().await.unwrap(), Observed::default());
}

#[tokio::test]
async fn a_scope_that_is_too_small_is_refused_in_debug_builds_and_ignored_in_others() {
    let mut fake = Fake::default();
    fake.sync(&state(&[]), Scope::All).await.unwrap();
    let both = state(&[service("one", 1, &[]), service("two", 2, &[])]);
    let one = [name("one")].into();
    let mut moved = both.clone();
    moved.set_node(NodeNetwork { masquerade_all: true, ..NodeNetwork::unknown() });
    for (desired, reason) in [
        (&both, "scope: kernel refused: does not name default/two, which has changed since the last sync"),
        (&moved, "scope: kernel refused: is not All, and the node's network has changed"),
    ] {
        let outcome = fake.sync(desired, Scope::Services(&one)).await;
        if cfg!(debug_assertions) {
            assert_eq!(outcome.unwrap_err().to_string(), reason);
            assert_eq!(fake.last, None, "the next sync looks at everything");
        } else {
            assert_eq!(outcome.unwrap().failed, []);
        }
        fake.sync(&both, Scope::All).await.unwrap();
        assert_eq!(programmed(&fake), ["one", "two"]);
    }
}

#[tokio::test]
async fn after_an_error_the_next_sync_looks_at_everything() {
    let mut fake = Fake::default();
    fake.sync(&state(&[]), Scope::All).await.unwrap();
    let both = state(&[service("one", 1, &[]), service("two", 2, &[])]);
    fake.fail_once(transient());
    let (one, two) = ([name("one")].into(), [name("two")].into());
    assert_eq!(fake.sync(&both, Scope::Services(&one)).await, Err(transient()));
    assert_eq!(programmed(&fake), [""; 0]);
    fake.sync(&both, Scope::Services(&two)).await.unwrap();
    assert_eq!(programmed(&fake), ["one", "two"]);
    fake.fail_once(transient());
    assert_eq!(fake.observe().await, Err(transient()));
    fake.fail_once(transient());
    assert_eq!(fake.remove_all().await, Err(transient()));
}

#[tokio::test]
async fn one_refused_service_fails_alone() {
    let mut fake = Fake::default();
    let old = state(&[service("one", 1, &["10.244.0.1:53"]), service("two", 2, &[])]);
    fake.sync(&old, Scope::All).await.unwrap();
    fake.refuse(name("one"), "element refused");
    let new = state(&[service("one", 1, &["10.244.0.9:53"]), service("two", 2, &["10.244.0.2:53"])]);
    let failed = fake.sync(&new, Scope::All).await.unwrap().failed;
    assert_eq!(failed, [Failure::new(name("one"), FailureKind::Refused, "element refused")]);
    assert_eq!(fake.services(), [new.service(&name("two")).unwrap().clone()], "absent, and no older form is left");

    fake.accept(&name("one"));
    assert_eq!(fake.sync(&new, Scope::All).await.unwrap().failed, []);
    assert_eq!(fake.services()[0], *new.service(&name("one")).unwrap());
}

#[tokio::test]
async fn what_the_node_does_not_offer_is_in_every_report() {
    let mut fake = Fake::default();
    let state = state(&[service("one", 1, &[]), service("two", 2, &[])]);
    let expected = "frontend 10.96.0.1:53/UDP of default/one, and others: pods are to keep their source addresses, and \
                    IPv4 pods cannot be told from other clients";
    for _ in 0..2 {
        assert_eq!(fake.sync(&state, Scope::Services(&BTreeSet::new())).await.unwrap().warnings, [expected]);
    }
}

#[tokio::test]
async fn a_refused_service_makes_room_for_another() {
    let mut fake = Fake::default();
    fake.sync(&state(&[service("young", 1, &[])]), Scope::All).await.unwrap();
    fake.refuse(name("young"), "element refused");
    let mut both = state(&[service("young", 1, &[])]);
    let change = both.upsert(Service { age: crate::Age(-1), ..service("old", 1, &["10.244.0.1:53"]) }).unwrap();
    fake.sync(&both, Scope::Services(&change.touched)).await.unwrap();
    assert_eq!(fake.observe().await.unwrap(), Observed::expected(&state(&[service("old", 1, &["10.244.0.1:53"])])));
}

#[tokio::test]
async fn stale_flows_go_and_others_stay() {
    let fake = &mut Fake::default();
    let flow = |reply_source: &str| Flow {
        protocol: Protocol::Udp,
        source: "10.244.0.7:40000".parse().unwrap(),
        destination: "10.96.0.1:53".parse().unwrap(),
        reply_source: reply_source.parse().unwrap(),
        answered: true,
    };
    let (a, b) = (flow("10.244.0.1:53"), flow("10.244.0.2:53"));
    [a, b].into_iter().for_each(|flow| fake.track(flow));
    let both = state(&[service("one", 1, &["10.244.0.1:53", "10.244.0.2:53"])]);
    assert_eq!(fake.sync(&both, Scope::All).await.unwrap().flows_deleted, 0);
    let less = state(&[service("one", 1, &["10.244.0.2:53"])]);
    assert_eq!(fake.sync(&less, Scope::Services(&[name("one")].into())).await.unwrap().flows_deleted, 1);
    assert_eq!(fake.flows(), [b]);
    fake.track(a);
    assert_eq!(
        fake.clone().sync(&less, Scope::All).await.unwrap().flows_deleted,
        1,
        "a new process looks at all flows"
    );
}

#[tokio::test]
async fn a_flush_is_noticed_and_repaired() {
    let mut fake = Fake::default();
    let one = state(&[service("one", 1, &[])]);
    fake.sync(&one, Scope::All).await.unwrap();
    let another_program = fake.clone();
    let noticed = tokio::spawn(async move {
        fake.drifted().await;
        fake
    });
    tokio::task::yield_now().await;
    another_program.flush();
    let mut fake = tokio::time::timeout(Duration::from_secs(5), noticed).await.expect("the flush is noticed").unwrap();
    assert_eq!(fake.sync(&one, Scope::Services(&BTreeSet::new())).await.unwrap().writes, 1);
    let again = tokio::time::timeout(Duration::from_millis(1), fake.drifted()).await;
    assert!(again.is_err(), "one flush is one drift");
}
