//! The rules, one table each: pools and services, and what each service has in the end.

mod order;
mod pools;
mod service;
mod sharing;

use std::net::IpAddr;
use std::time::Duration;

use backend_api::{Age, Family, PerFamily, Protocol, ServiceName};
use switchyard_allocation::{
    AddressRange, Allocator, Assign, Avoid, Decision, Demand, Edit, EventKind, FamilyPolicy, Labels, Options,
    OutsidePools, Pool, Requested, Selector, Service, ServiceAllocation, Sharing, SharingKey, plan,
};

fn pool(name: &str, ranges: &[&str]) -> Pool {
    Pool::new(name, ranges.iter().map(|text| AddressRange::parse(text).unwrap().0).collect())
}

fn office() -> Pool {
    pool("office", &["192.168.67.240-192.168.67.250"])
}

fn both() -> Pool {
    pool("both", &["10.0.0.1-10.0.0.2", "fd00::1-fd00::2"])
}

fn name(text: &str) -> ServiceName {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    ServiceName::new(namespace, name)
}

fn service(text: &str) -> Service {
    Service::new(name(text))
}

fn aged(service: Service, age: i128) -> Service {
    Service { age: Age(age), ..service }
}

fn dual(text: &str, policy: FamilyPolicy) -> Service {
    Service { demand: Demand::dual(policy), ..service(text) }
}

fn parse(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(|address| address.parse().unwrap()).collect()
}

fn holds(service: Service, addresses: &str) -> Service {
    Service { held: parse(addresses), ..service }
}

fn asks(service: Service, addresses: &str) -> Service {
    Service { addresses: Requested::These(parse(addresses)), ..service }
}

fn asks_pool(service: Service, pool: &str) -> Service {
    Service { pool: Some(pool.into()), ..service }
}

fn shares(service: Service, key: &str, backends: &str, port: (Protocol, u16)) -> Service {
    let backends = if backends.is_empty() { Labels::new() } else { tier(backends) };
    Service { sharing: Some(SharingKey { key: key.to_owned(), backends }), ports: vec![port], ..service }
}

fn tier(value: &str) -> Labels {
    Labels::from([("tier".to_owned(), value.to_owned())])
}

fn selects(value: &str) -> Vec<Selector> {
    vec![Selector { match_labels: tier(value), ..Selector::default() }]
}

/// `10.0.0.1 fd00::1 from both`, with the reason where there is a problem.
fn told(decision: &Decision) -> String {
    let mut words: Vec<String> = decision.verdict.addresses.iter().map(ToString::to_string).collect();
    words.extend(decision.verdict.pool.iter().map(|pool| format!("from {pool}")));
    words.extend(decision.verdict.problem.iter().map(|problem| problem.reason().to_owned()));
    words.join(" ")
}

#[track_caller]
fn check_with(options: Options, pools: &[Pool], services: &[Service], expected: &[&str]) {
    let namespaces = [("gold".to_owned(), tier("gold")), ("tin".to_owned(), tier("tin"))];
    let plan = plan(options, pools.to_vec(), services.to_vec(), namespaces.clone());
    let found: Vec<_> = services.iter().map(|service| told(&plan.decisions[&service.name])).collect();
    assert_eq!(found, expected);
}

#[track_caller]
fn check(pools: &[Pool], services: &[Service], expected: &[&str]) {
    check_with(Options::default(), pools, services, expected);
}

#[track_caller]
fn problem(pools: &[Pool], services: &[Service], expected: &str) {
    let plan = plan(Options::default(), pools.to_vec(), services.to_vec(), []);
    let decision = &plan.decisions[&services.last().unwrap().name];
    assert_eq!(decision.verdict.problem.as_ref().map(ToString::to_string).as_deref(), Some(expected));
}
