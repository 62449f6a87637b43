//! How large services may be, one and all of them.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::given::{objects, service_text, settings, slice_text};
use backend_api::{NodeNetwork, ServiceName, ServiceState};
use proptest::prelude::*;
use switchyard_kubernetes::objects::Object;
use switchyard_kubernetes::resolve::{Changes, Limit, Refusal, Resolver};
use switchyard_kubernetes::settings::{Budget, Settings};

fn limited(of_service: u32, in_all: u32) -> Settings {
    let at_most = |elements| NonZeroU32::new(elements).unwrap();
    Settings { budget: Budget { of_service: at_most(of_service), in_all: at_most(in_all) }, ..settings() }
}

fn name(name: &str) -> ServiceName {
    ServiceName::new("default", name)
}

/// The elements of service `default/web` of this `spec` with slices of these endpoints, each with port 80.
fn size(spec: &str, slices: &[&str]) -> u32 {
    let mut resolver = Resolver::new(limited(1, 1));
    resolver.upsert(&objects(&service_text(spec, "")).remove(0));
    for (i, endpoints) in slices.iter().enumerate() {
        resolver.upsert(&objects(&slice_text(&format!("s{i}"), endpoints, "{port: 80}")).remove(0));
    }
    resolver.resolve().refused.get(&name("web")).map_or(0, |refusal| refusal.elements)
}

#[test]
fn every_address_has_every_port_and_each_of_these_every_endpoint() {
    let three = "10.0.0.1 10.0.0.2 10.0.0.3";
    for (spec, slices, expected) in [
        ("clusterIP: 10.96.0.1, ports: [{port: 80}]", &[three][..], 4),
        ("clusterIP: 10.96.0.1, ports: [{port: 80}]", &[three, "10.0.0.4 10.0.0.5", "fd00::1"], 6),
        ("clusterIP: 10.96.0.1, ports: [{port: 80}, {port: 81, name: b}]", &[three], 8),
        (
            "clusterIP: 10.96.0.1, externalIPs: [192.0.2.1, 192.0.2.2], ports: [{port: 80}, {port: 81, name: b}]",
            &[three],
            24,
        ),
        ("clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 30080}]", &[three], 8),
        ("clusterIP: 10.96.0.1, sessionAffinity: ClientIP, ports: [{port: 80}]", &[three], 43),
        ("clusterIP: 10.96.0.1, externalTrafficPolicy: Local, ports: [{port: 80}]", &[three], 7),
        ("clusterIPs: [10.96.0.1, 'fd00:96::1'], ports: [{port: 80}]", &[three, "fd00::1"], 6),
        ("clusterIP: 10.96.0.1, externalIPs: ['fd00::7'], ports: [{port: 80}, {port: 81, name: b}]", &[], 2),
        ("clusterIP: None, ports: [{port: 80}]", &[three], 0),
        ("clusterIP: 10.96.0.1, type: ExternalName, ports: [{port: 80}]", &[three], 0),
    ] {
        assert_eq!(size(spec, slices), expected, "{spec} {slices:?}");
    }
    let ports: Vec<_> = (1..=65_535).map(|port| format!("{{port: {port}, name: p{port}}}")).collect();
    let addresses: Vec<_> = (0..=65_535).map(|i| format!("192.0.{}.{}", i / 256, i % 256)).collect();
    let spec = format!("clusterIP: 10.96.0.1, externalIPs: [{}], ports: [{}]", addresses.join(", "), ports.join(", "));
    assert_eq!(size(&spec, &[three]), u32::MAX);
}

fn service(called: &str) -> Object {
    let spec = format!("clusterIP: 10.96.0.{}, ports: [{{port: 80}}]", called.len());
    objects(&service_text(&spec, "").replace("name: web", &format!("name: {called}"))).remove(0)
}

/// So many endpoints for a service: one element more in all.
fn slice(of: &str, endpoints: usize) -> Object {
    let endpoints: Vec<_> = (0..endpoints).map(|last| format!("10.0.0.{last}")).collect();
    let text = slice_text(of, &endpoints.join(" "), "{port: 80}");
    objects(&text.replace("service-name: web", &format!("service-name: {of}"))).remove(0)
}

/// Which services are newly refused, and which of those that changed are programmed.
fn told(changes: &Changes) -> (Vec<&str>, Vec<&str>) {
    let programmed = changes.services.iter().filter(|(_, service)| service.is_some());
    (changes.refused.keys().map(|name| &*name.name).collect(), programmed.map(|(name, _)| &*name.name).collect())
}

#[test]
fn a_service_that_is_too_large_is_refused_by_name_and_comes_back_when_it_shrinks() {
    let mut resolver = Resolver::new(limited(10, 1000));
    for object in [service("a"), service("bb"), slice("a", 10), slice("bb", 9)] {
        resolver.upsert(&object);
    }
    let mut state = ServiceState::new(NodeNetwork::unknown());
    let changes = resolver.resolve();
    assert_eq!(told(&changes), (vec!["a"], vec!["bb"]));
    assert_eq!(changes.refused[&name("a")], Refusal { elements: 11, limit: Limit::OfService(10) });
    let words = "needs 11 elements, one service may have 10 (--max-service-elements)";
    assert_eq!((changes.refused[&name("a")].to_string().as_str(), changes.refused_in_all), (words, 1));
    changes.apply(&mut state);
    resolver.upsert(&slice("a", 200));
    let changes = resolver.resolve();
    assert_eq!((told(&changes), changes.refused_in_all), ((vec![], vec![]), 1), "said once");
    resolver.upsert(&slice("a", 9));
    let changes = resolver.resolve();
    assert_eq!((told(&changes), changes.refused_in_all), ((vec![], vec!["a"]), 0));
    changes.apply(&mut state);
    resolver.upsert(&slice("a", 10));
    assert_eq!(resolver.resolve().apply(&mut state).touched, BTreeSet::from([name("a")]));
    assert_eq!(state.len(), 1);
    resolver.set_settings(limited(11, 1000));
    assert_eq!(told(&resolver.resolve()).1, ["a", "bb"]);
}

#[test]
fn where_all_are_too_many_the_largest_go_without() {
    let mut resolver = Resolver::new(limited(100, 20));
    for object in [service("a"), service("bb"), service("ccc"), slice("a", 9), slice("bb", 5)] {
        resolver.upsert(&object);
    }
    assert_eq!(told(&resolver.resolve()), (vec![], vec!["a", "bb", "ccc"]), "10 + 6 + 1");
    resolver.upsert(&slice("bb", 8));
    assert_eq!(told(&resolver.resolve()), (vec![], vec!["bb"]), "10 + 9 + 1");
    resolver.upsert(&slice("ccc", 1));
    let changes = resolver.resolve();
    assert_eq!(told(&changes), (vec!["a"], vec!["ccc"]), "10 + 9 + 2");
    let words = "needs 10 elements, and all services together may have 20 (--max-elements): the largest go without";
    assert_eq!(changes.refused[&name("a")].to_string(), words);
    resolver.remove(&service("bb").key());
    assert_eq!(told(&resolver.resolve()), (vec![], vec!["a"]), "10 + 2");
}

proptest! {
    /// Of all services the largest go without, and no more of them than must: whatever they were before, and in
    /// whatever order they came.
    #[test]
    fn the_largest_go_without_in_whatever_order_they_came(
        history in prop::collection::vec((0..6_usize, 0..12_usize, any::<bool>()), 0..40),
    ) {
        let names = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"];
        let mut lived = (Resolver::new(limited(10, 25)), ServiceState::new(NodeNetwork::unknown()));
        names.iter().for_each(|called| lived.0.upsert(&service(called)));
        let mut endpoints = [0; 6];
        for (of, now, resolve) in history {
            endpoints[of] = now;
            lived.0.upsert(&slice(names[of], now));
            if resolve {
                lived.0.resolve().apply(&mut lived.1);
            }
        }
        let changes = lived.0.resolve();
        let refused_in_all = changes.refused_in_all;
        changes.apply(&mut lived.1);
        let mut sizes: Vec<_> = names.iter().zip(endpoints).map(|(called, endpoints)| (endpoints + 1, *called)).collect();
        sizes.sort_unstable();
        let mut sum = 0;
        let admitted: BTreeSet<_> = sizes
            .into_iter()
            .filter(|(size, _)| *size <= 10)
            .take_while(|(size, _)| { sum += size; sum <= 25 })
            .map(|(_, called)| name(called))
            .collect();
        let programmed: BTreeSet<_> = lived.1.services().map(|service| service.name.clone()).collect();
        prop_assert_eq!(&programmed, &admitted);
        prop_assert_eq!(refused_in_all, 6 - admitted.len());
    }
}
