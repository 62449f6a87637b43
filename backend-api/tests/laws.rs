//! Laws of the state and of the oracle, against models that are too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backend_api::{
    Age, Conflict, Endpoint, EndpointAddress, Family, Frontend, FrontendKey, NodeNetwork, Protocol, Service,
    ServiceName, ServicePort, ServiceState,
};
use proptest::prelude::*;

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Upsert(Service),
    Remove(ServiceName),
}

fn name() -> impl Strategy<Value = ServiceName> {
    (0..5u8).prop_map(|number| ServiceName::new("default", &format!("service-{number}")))
}

/// Few keys, so that services collide.
fn frontend() -> impl Strategy<Value = Frontend> {
    prop_oneof![
        (0..4u8).prop_map(|last| Frontend::cluster_ip([10, 96, 0, last].into(), Protocol::Tcp, 80)),
        (0..2u16).prop_map(|port| Frontend::node_port(Family::V4, Protocol::Udp, 30000 + port)),
    ]
}

fn service() -> impl Strategy<Value = Service> {
    let endpoint = (0..3u8).prop_map(|last| Endpoint::elsewhere(EndpointAddress::new([10, 244, 0, last].into(), 80)));
    let port = (prop::collection::vec(frontend(), 0..3), prop::collection::vec(endpoint, 0..3)).prop_map(
        |(frontends, endpoints)| ServicePort { frontends, endpoints, ..ServicePort::new(Family::V4, Protocol::Tcp) },
    );
    // Three ages for five names: equals are settled by name.
    (name(), 0..3i128, prop::collection::vec(port, 0..3)).prop_map(|(name, age, ports)| Service {
        name,
        age: Age(age),
        ports,
    })
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![4 => service().prop_map(Step::Upsert), 1 => name().prop_map(Step::Remove)];
    prop::collection::vec(step, 0..24)
}

/// What a history leaves, and who gets what: oldest first, first come first served.
#[derive(Default)]
struct Model {
    claimed: BTreeMap<ServiceName, Service>,
}

impl Model {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Upsert(service) => self.claimed.insert(service.name.clone(), service.clone()),
            Step::Remove(name) => self.claimed.remove(name),
        };
    }

    fn by_age(&self) -> Vec<&Service> {
        let mut services: Vec<_> = self.claimed.values().collect();
        services.sort_by_key(|service| (service.age, service.name.clone()));
        services
    }

    fn granted(&self) -> (BTreeMap<ServiceName, Service>, BTreeSet<Conflict>) {
        let (mut owners, mut conflicts) = (BTreeMap::<FrontendKey, ServiceName>::new(), BTreeSet::new());
        let mut granted = BTreeMap::new();
        for service in self.by_age() {
            let mut service = service.clone();
            for port in &mut service.ports {
                port.endpoints.sort();
                port.endpoints.dedup();
            }
            let (name, mut own) = (service.name.clone(), BTreeSet::new());
            for port in &mut service.ports {
                port.frontends.retain(|frontend| match owners.get(&frontend.key).cloned() {
                    None => {
                        owners.insert(frontend.key, name.clone());
                        own.insert(frontend.key)
                    }
                    Some(owner) => {
                        conflicts.insert(Conflict { frontend: frontend.key, owner, loser: name.clone() });
                        false
                    }
                });
            }
            granted.insert(name, service);
        }
        (granted, conflicts)
    }
}

fn pointers(state: &ServiceState) -> BTreeMap<ServiceName, Arc<Service>> {
    state.services().map(|service| (service.name.clone(), service.clone())).collect()
}

fn apply(state: &mut ServiceState, step: &Step) -> BTreeSet<ServiceName> {
    match step {
        Step::Upsert(service) => state.upsert(service.clone()).touched,
        Step::Remove(name) => state.remove(name).touched,
    }
}

proptest! {
    /// Any history leaves what its survivors give when they come oldest first, and what they give youngest first.
    #[test]
    fn order_never_decides(steps in history()) {
        let (mut state, mut model) = (ServiceState::default(), Model::default());
        for step in &steps {
            apply(&mut state, step);
            model.take(step);
        }
        let survivors = model.by_age();
        let mut oldest_first = ServiceState::default();
        survivors.iter().for_each(|service| drop(oldest_first.upsert((*service).clone())));
        let mut youngest_first = ServiceState::default();
        survivors.iter().rev().for_each(|service| drop(youngest_first.upsert((*service).clone())));
        prop_assert_eq!(&state, &oldest_first);
        prop_assert_eq!(&state, &youngest_first);
        let mut replaced = state.clone();
        let change = replaced.replace_all(survivors.into_iter().cloned());
        prop_assert!(change.touched.is_empty());
        prop_assert_eq!(replaced, state);
    }

    /// After each step: the older wins, the younger is reported, nobody is forgotten.
    #[test]
    fn the_older_wins(steps in history()) {
        let (mut state, mut model) = (ServiceState::default(), Model::default());
        for step in &steps {
            apply(&mut state, step);
            model.take(step);
            let (granted, conflicts) = model.granted();
            let services: BTreeMap<_, _> = state.services().map(|s| (s.name.clone(), (**s).clone())).collect();
            prop_assert_eq!(services, granted);
            let reported: Vec<_> = state.conflicts().collect();
            prop_assert_eq!(reported, conflicts.into_iter().collect::<Vec<_>>());
            for service in state.services() {
                for frontend in service.ports.iter().flat_map(|port| &port.frontends) {
                    prop_assert_eq!(state.find(&frontend.key).unwrap().2, frontend);
                }
            }
        }
    }

    /// `touched` names exactly the services whose granted form changed; all others keep their very `Arc`.
    #[test]
    fn only_touched_services_change(steps in history()) {
        let mut state = ServiceState::default();
        for step in &steps {
            let before = pointers(&state);
            let touched = apply(&mut state, step);
            let after = pointers(&state);
            for name in before.keys().chain(after.keys()) {
                match (before.get(name), after.get(name)) {
                    (Some(before), Some(after)) if !touched.contains(name) => prop_assert!(Arc::ptr_eq(before, after)),
                    (before, after) => prop_assert!(touched.contains(name) && before != after, "{name}"),
                }
            }
            let nobody_else = touched.iter().all(|name| before.contains_key(name) || after.contains_key(name));
            prop_assert!(nobody_else);
            prop_assert!(apply(&mut state, step).is_empty(), "the same again changes nothing");
        }
    }
}

#[test]
fn a_network_that_is_the_same_is_no_change() {
    let mut state = ServiceState::new(NodeNetwork::default());
    let other = NodeNetwork { masquerade_all: true, ..NodeNetwork::default() };
    assert!(!state.set_node(NodeNetwork::default()));
    assert!(state.set_node(other.clone()) && !state.set_node(other));
}
