//! Laws of the state and of the oracle, against models that are too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use proptest::prelude::*;
use switchyard_api::oracle::{Arrival, Packet, Payload, Verdict, judge};
use switchyard_api::{
    Age, Answer, Conflict, Dataplane, Endpoint, EndpointAddress, Fake, Family, Flow, Frontend, FrontendKey,
    FrontendKind, LocalTraffic, Masquerade, Need, NodeNetwork, NodePortAddresses, Observed, PerFamily, Pool, Pools,
    Protocol, Route, Scope, Service, ServiceName, ServicePort, ServiceState, SourceRanges, StaleFlows,
};

const NODE: [[u8; 4]; 2] = [[192, 168, 67, 8], [192, 168, 68, 8]];

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Upsert(Service),
    Remove(ServiceName),
}

fn name() -> impl Strategy<Value = ServiceName> {
    (0..5u8).prop_map(|number| ServiceName::new("default", &format!("service-{number}")))
}

/// Few keys, so that services collide; the node's address is both dialled by itself and by node port.
fn key() -> impl Strategy<Value = FrontendKey> {
    prop_oneof![
        (0..3u8).prop_map(|last| FrontendKey::address([10, 96, 0, last].into(), Protocol::Udp, 53)),
        (0..2u16).prop_map(|port| FrontendKey::node_port(Family::V4, Protocol::Udp, 30000 + port)),
        Just(FrontendKey::address(NODE[0].into(), Protocol::Udp, 30000)),
    ]
}

fn frontend() -> impl Strategy<Value = Frontend> {
    let pool = prop_oneof![Just(Pool::Cluster), Just(Pool::Local)];
    let answer = prop_oneof![3 => pool.prop_map(Answer::Balance), 1 => Just(Answer::Reject), 1 => Just(Answer::Drop)];
    let split = (answer.clone(), answer.clone()).prop_map(|(inside, outside)| Route::Split { inside, outside });
    let route = prop_oneof![answer.prop_map(Route::Everyone), split];
    let masquerade = prop::sample::select(vec![Masquerade::Never, Masquerade::UnlessPod, Masquerade::FromNode]);
    (key(), route, masquerade).prop_map(|(key, route, masquerade)| {
        let kind = match key {
            FrontendKey::Address { .. } => FrontendKind::ClusterIp,
            FrontendKey::NodePort { .. } => FrontendKind::NodePort,
        };
        Frontend { key, kind, route, masquerade, source_ranges: SourceRanges::Any }
    })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let pools = prop::sample::select(vec![Pools::NONE, Pools::CLUSTER, Pools::LOCAL, Pools::BOTH]);
    (0..4u8, 0..3u16, pools, any::<bool>()).prop_map(|(last, weight, pools, on_this_node)| Endpoint {
        address: EndpointAddress::new([10, 244, 0, last].into(), 53),
        weight,
        pools,
        on_this_node,
    })
}

fn service() -> impl Strategy<Value = Service> {
    let port = (prop::collection::vec(frontend(), 0..3), prop::collection::vec(endpoint(), 0..4)).prop_map(
        |(frontends, endpoints)| ServicePort { frontends, endpoints, ..ServicePort::new(Family::V4, Protocol::Udp) },
    );
    // Three ages for five names: equals are settled by name.
    (name(), 0..3i128, prop::collection::vec(port, 0..3)).prop_map(|(name, age, mut ports)| {
        ports.iter_mut().enumerate().for_each(|(at, port)| port.name = at.to_string().into());
        Service { name, age: Age(age), ports }
    })
}

/// A node with two addresses, of which some carry node ports.
fn node() -> impl Strategy<Value = NodeNetwork> {
    let selected = prop::sample::subsequence(NODE.to_vec(), 0..=2);
    let these = selected.prop_map(|these| NodePortAddresses::These(these.into_iter().map(IpAddr::from).collect()));
    (prop_oneof![these, Just(NodePortAddresses::All)], any::<bool>()).prop_map(|(v4, pods)| NodeNetwork {
        addresses: NODE.map(IpAddr::from).into(),
        node_ports: PerFamily { v4, ..PerFamily::default() },
        local_traffic: PerFamily {
            v4: if pods { LocalTraffic::Source("10.244.0.0/16".parse().unwrap()) } else { LocalTraffic::Unknown },
            ..PerFamily::default()
        },
        service_cidrs: ["10.96.0.0/30".parse().unwrap()].into(),
        ..NodeNetwork::unknown()
    })
}

/// Every packet that can make a difference: who sends, and what is dialled.
fn packets() -> impl Iterator<Item = Packet> {
    let sources = [[192, 168, 67, 1], [10, 244, 0, 1], NODE[0]].map(IpAddr::from);
    let cluster = (0..4u8).flat_map(|last| [53, 30000].map(|port| (IpAddr::from([10, 96, 0, last]), port)));
    let node = NODE.into_iter().flat_map(|address| [30000, 30001, 53].map(|port| (IpAddr::from(address), port)));
    let stranger = [(IpAddr::from([8, 8, 8, 8]), 30000)];
    let destinations: Vec<_> = cluster.chain(node).chain(stranger).collect();
    sources.into_iter().flat_map(move |source| {
        destinations.clone().into_iter().map(move |(destination, port)| Packet {
            arrival: Arrival::Interface("eth0".to_owned()),
            source,
            destination,
            payload: Payload::Transport(Protocol::Udp, port),
        })
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
                let mut endpoints = BTreeMap::new();
                for endpoint in &port.endpoints {
                    endpoints.entry(endpoint.address).or_insert(*endpoint);
                }
                port.endpoints = endpoints.into_values().collect();
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
        Step::Upsert(service) => state.upsert(service.clone()).unwrap().touched,
        Step::Remove(name) => state.remove(name).touched,
    }
}

/// What is unmet, found by looking at every frontend.
fn unmet(state: &ServiceState) -> Vec<(Need, FrontendKey, ServiceName, bool)> {
    let mut unmet = Vec::new();
    for (need, family) in [Need::Pods, Need::NodePorts].into_iter().flat_map(|need| Family::ALL.map(|of| (need, of))) {
        let offered = match need {
            Need::Pods => state.node().local_traffic.of(family).is_known(),
            _ => {
                *state.node().node_ports.of(family) == NodePortAddresses::All
                    || state.node().node_port_addresses(family).next().is_some()
            }
        };
        let mut asking = BTreeMap::new();
        for service in state.services().filter(|_| !offered) {
            for frontend in service.ports.iter().flat_map(|port| &port.frontends) {
                let asks = match need {
                    Need::Pods => frontend.masquerade == Masquerade::UnlessPod,
                    _ => matches!(frontend.key, FrontendKey::NodePort { .. }),
                };
                if asks && frontend.key.family() == family {
                    asking.insert(frontend.key, service.name.clone());
                }
            }
        }
        let others = asking.len() > 1;
        unmet.extend(asking.into_iter().next().map(|(key, service)| (need, key, service, others)));
    }
    unmet
}

proptest! {
    /// After each change of a service or of the node, what is unmet is what a look at every frontend finds.
    #[test]
    fn what_is_unmet_is_known_after_each_change(
        steps in prop::collection::vec((prop::option::of(node()), history()), 1..4),
    ) {
        let mut state = ServiceState::new(NodeNetwork::unknown());
        for (node, steps) in steps {
            if let Some(node) = node {
                state.set_node(node);
            }
            for step in &steps {
                apply(&mut state, step);
                let known: Vec<_> = state
                    .unmet()
                    .map(|unmet| (unmet.need, unmet.frontend, unmet.service, unmet.others))
                    .collect();
                prop_assert_eq!(known, unmet(&state));
            }
        }
    }

    /// A service with a flaw changes nothing, alone or among others.
    #[test]
    fn a_flawed_service_is_refused_and_changes_nothing(steps in history(), mut flawed in service()) {
        let mut state = ServiceState::new(NodeNetwork::unknown());
        for step in &steps {
            apply(&mut state, step);
        }
        let (before, pointers_before) = (state.clone(), pointers(&state));
        let foreign = Frontend::cluster_ip("fd00::1".parse().unwrap(), Protocol::Udp, 53);
        flawed.ports.push(ServicePort { frontends: vec![foreign], ..ServicePort::new(Family::V4, Protocol::Udp) });
        let sound = Service { ports: Vec::new(), ..flawed.clone() };
        prop_assert!(state.upsert(flawed.clone()).is_err());
        prop_assert_eq!(state.replace_all([sound, flawed.clone()]).unwrap_err().service, flawed.name);
        prop_assert_eq!(&state, &before);
        prop_assert!(pointers(&state).iter().all(|(name, service)| Arc::ptr_eq(service, &pointers_before[name])));
    }

    /// Any history leaves what its survivors give when they come oldest first, and what they give youngest first.
    #[test]
    fn order_never_decides(steps in history()) {
        let (mut state, mut model) = (ServiceState::new(NodeNetwork::unknown()), Model::default());
        for step in &steps {
            apply(&mut state, step);
            model.take(step);
        }
        let survivors = model.by_age();
        let mut oldest_first = ServiceState::new(NodeNetwork::unknown());
        survivors.iter().for_each(|service| drop(oldest_first.upsert((*service).clone()).unwrap()));
        let mut youngest_first = ServiceState::new(NodeNetwork::unknown());
        survivors.iter().rev().for_each(|service| drop(youngest_first.upsert((*service).clone()).unwrap()));
        prop_assert_eq!(&state, &oldest_first);
        prop_assert_eq!(&state, &youngest_first);
        let mut replaced = state.clone();
        let change = replaced.replace_all(survivors.into_iter().cloned()).unwrap();
        prop_assert!(change.touched.is_empty());
        prop_assert_eq!(replaced, state);
    }

    /// After each step: the older wins, the younger is reported, none is forgotten.
    #[test]
    fn the_older_wins(steps in history()) {
        let (mut state, mut model) = (ServiceState::new(NodeNetwork::unknown()), Model::default());
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
        let mut state = ServiceState::new(NodeNetwork::unknown());
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
            prop_assert!(touched.iter().all(|name| before.contains_key(name) || after.contains_key(name)));
            prop_assert!(apply(&mut state, step).is_empty(), "the same again changes nothing");
        }
    }

    /// A dataplane that looks only at what `touched` names ends where one that looks at everything does.
    #[test]
    fn touched_is_hint_enough(steps in history()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut fake, mut state) = (Fake::default(), ServiceState::new(NodeNetwork::unknown()));
        for step in &steps {
            let touched = apply(&mut state, step);
            runtime.block_on(fake.sync(&state, Scope::Services(&touched))).unwrap();
            prop_assert_eq!(runtime.block_on(fake.observe()).unwrap(), Observed::expected(&state));
            prop_assert_eq!(runtime.block_on(fake.sync(&state, Scope::All)).unwrap().writes, 0);
        }
    }

    /// Whatever a state made of a packet: after a change its flow is stale exactly if it does not lead where flows of
    /// its destination may lead now.
    #[test]
    fn flows_are_stale_exactly_if_they_lead_astray(
        before in (node(), history()),
        after in (node(), history()),
        same_node in any::<bool>(),
    ) {
        let mut was = ServiceState::new(before.0.clone());
        before.1.iter().for_each(|step| drop(apply(&mut was, step)));
        let mut is = was.clone();
        is.set_node(if same_node { before.0 } else { after.0 });
        let touched: BTreeSet<_> = after.1.iter().flat_map(|step| apply(&mut is, step)).collect();
        let mut stale = StaleFlows::new(was.node().clone());
        stale.node_changed(&is);
        for name in &touched {
            stale.service_changed(was.service(name), is.service(name), &is);
        }
        let mut restart = StaleFlows::new(is.node().clone());
        restart.restarted(Observed::expected(&was).frontends.into_keys(), &is);
        for packet in packets() {
            for flow in flows(&was, &packet) {
                let serving = serving(&is, &packet);
                let translated = flow.reply_source != flow.destination;
                let astray = match &serving {
                    Some(endpoints) => !endpoints.contains(&flow.reply_source.into()),
                    None => translated,
                };
                prop_assert_eq!(stale.is_stale(&flow), astray, "{:?}", flow);
                prop_assert!(!stale.is_empty() || !astray);
                let answered = Flow { answered: true, ..flow };
                prop_assert!(flow.protocol != Protocol::Tcp || !stale.is_stale(&answered));
                // Without memory of the node's addresses: a node port that moved away from one is not recognised.
                let is_stale = restart.is_stale(&flow);
                prop_assert!(!is_stale || astray, "{:?}", flow);
                prop_assert!(is_stale || !astray || !same_node, "{:?}", flow);
            }
        }
    }

    /// No endpoint answers that may not, chances add up to one, and what is remembered only narrows the choice.
    #[test]
    fn candidates_are_of_the_pool(network in node(), steps in history()) {
        let mut state = ServiceState::new(network);
        steps.iter().for_each(|step| drop(apply(&mut state, step)));
        for packet in packets() {
            let judgement = judge(&state, &packet, None);
            let candidates = judgement.verdict.candidates();
            if !matches!(judgement.verdict, Verdict::Balanced { .. }) {
                prop_assert!(candidates.is_empty());
                continue;
            }
            let sum: f64 = candidates.iter().map(|one| judgement.verdict.probability(one.endpoint)).sum();
            prop_assert!((sum - 1.0).abs() < 1e-9);
            let (_, port, _) = state.find(&judgement.frontend.unwrap().0).unwrap();
            for candidate in candidates {
                let serves = |one: &Endpoint| one.address == candidate.endpoint && one.weight == candidate.weight;
                prop_assert!(candidate.weight > 0 && port.endpoints.iter().any(serves));
            }
        }
    }
}

/// The flows that `packet` may have become in `state`.
fn flows(state: &ServiceState, packet: &Packet) -> Vec<Flow> {
    let Payload::Transport(protocol, port) = packet.payload else { return Vec::new() };
    let destination = SocketAddr::new(packet.destination, port);
    let source = SocketAddr::new(packet.source, 40000);
    let flow = |reply_source| Flow { protocol, source, destination, reply_source, answered: false };
    match judge(state, packet, None).verdict {
        Verdict::Untouched => vec![flow(destination)],
        Verdict::Rejected | Verdict::Dropped => Vec::new(),
        Verdict::Balanced { candidates, .. } => candidates.iter().map(|one| flow(one.endpoint.into())).collect(),
    }
}

/// The endpoints to which flows of this packet's destination may lead, if it is a frontend.
fn serving(state: &ServiceState, packet: &Packet) -> Option<BTreeSet<EndpointAddress>> {
    let (frontend, _) = judge(state, packet, None).frontend?;
    Some(state.find(&frontend)?.1.endpoints.iter().map(|endpoint| endpoint.address).collect())
}

#[test]
fn a_network_that_is_the_same_is_no_change() {
    let mut state = ServiceState::new(NodeNetwork::unknown());
    let other = NodeNetwork { masquerade_all: true, ..NodeNetwork::unknown() };
    assert!(!state.set_node(NodeNetwork::unknown()));
    assert!(state.set_node(other.clone()) && !state.set_node(other));
}
