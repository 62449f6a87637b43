//! What listens, as a pure function of the state.

use std::collections::{BTreeMap, BTreeSet};

use backend_api::{
    Answer, Family, NodeNetwork, PerFamily, Protocol, Route, Scope, ServiceName, ServiceState, SourceRanges,
};
use switchyard_agent::localhost::{NodePort, Plan, PortEndpoints};

use proptest::prelude::*;

use super::given::{COMBINATIONS, NODE_PORT, service, web};

fn port(port: u16) -> impl Fn((Family, Protocol)) -> NodePort {
    move |(family, protocol)| NodePort { family, protocol, port }
}

#[test]
fn only_touched_services_are_looked_at() {
    let mut state = ServiceState::new(NodeNetwork::unknown());
    let mut plan = Plan::default();
    let touched: BTreeSet<_> = state.upsert(web(&["nginx-1"])).unwrap().touched;
    state.upsert(service("other", 30_081, &["nginx-1"])).unwrap();
    let changes = plan.update(&state, Scope::Services(&touched));
    assert_eq!(changes.into_keys().collect::<Vec<_>>(), COMBINATIONS.map(port(NODE_PORT)));
    let changes = plan.update(&state, Scope::All);
    assert_eq!(changes.into_keys().collect::<Vec<_>>(), COMBINATIONS.map(port(30_081)));
    assert!(plan.update(&state, Scope::All).is_empty());
    state.remove(&ServiceName::new("default", "web"));
    let gone = plan.update(&state, Scope::All);
    assert!(gone.values().all(Option::is_none) && gone.len() == 4, "{gone:?}");
}

#[test]
fn a_port_that_goes_to_another_service_is_not_closed() {
    for (older, younger) in [("a", "b"), ("b", "a")] {
        let mut state = ServiceState::new(NodeNetwork::unknown());
        let mut plan = Plan::default();
        let mut first = service(older, NODE_PORT, &["nginx-1"]);
        let mut second = service(younger, NODE_PORT, &["nginx-2"]);
        (first.age, second.age) = (backend_api::Age(1), backend_api::Age(2));
        state.upsert(first).unwrap();
        state.upsert(second).unwrap();
        plan.update(&state, Scope::All);
        let touched = state.remove(&ServiceName::new("default", older)).touched;
        assert_eq!(touched.len(), 2);
        let changes = plan.update(&state, Scope::Services(&touched));
        let to = |answerer: &Option<PortEndpoints>| answerer.as_ref().map(|one| one.service().name.to_string());
        assert!(changes.len() == 4 && changes.values().all(|one| to(one).as_deref() == Some(younger)), "{changes:?}");
    }
}

#[test]
fn nothing_listens_where_a_client_on_the_node_is_not_answered() {
    let answered = |edit: &dyn Fn(&mut backend_api::ServicePort)| {
        let mut state = ServiceState::new(NodeNetwork::unknown());
        let mut web = web(&["nginx-1"]);
        web.ports.iter_mut().for_each(edit);
        state.upsert(web).unwrap();
        Plan::default().update(&state, Scope::All).len()
    };
    assert_eq!(answered(&|_| ()), 4);
    assert_eq!(answered(&|port| port.endpoints.clear()), 0);
    assert_eq!(answered(&|port| port.endpoints[0].weight = 0), 0);
    assert_eq!(answered(&|port| port.frontends[0].route = Route::Everyone(Answer::Drop)), 0);
    for (v4, v6, expected) in
        [("10.0.0.0/8", "2001:db8::/32", 0), ("127.0.0.0/8", "2001:db8::/32", 2), ("127.0.0.0/8", "::1/128", 4)]
    {
        let ranges = PerFamily { v4, v6 }.map(|range| SourceRanges::Only(vec![range.parse().unwrap()]));
        let limited = answered(&|port| port.frontends[0].source_ranges = ranges.of(port.family).clone());
        assert_eq!(limited, expected, "{v4} {v6}");
    }
}

/// A service of this name and node port with so many endpoints, or none of this name any more.
#[derive(Clone, Debug)]
enum Step {
    Put {
        name: usize,
        port: u16,
        endpoints: usize,
        age: i128,
    },
    Remove(usize),
    /// Look at everything.
    Resync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let put = (0..4usize, 30_080..30_083u16, 0..3usize, 0..3i128).prop_map(|(name, port, endpoints, age)| Step::Put {
        name,
        port,
        endpoints,
        age,
    });
    proptest::collection::vec(
        prop_oneof![6 => put, 2 => (0..4usize).prop_map(Step::Remove), 1 => Just(Step::Resync)],
        0..30,
    )
}

proptest! {
    /// Services that fight over three ports: whatever happened on the way, what listens is what the state says.
    #[test]
    fn changes_add_up_to_what_the_state_says(steps in steps()) {
        let mut state = ServiceState::new(NodeNetwork::unknown());
        let mut plan = Plan::default();
        let mut listening: BTreeMap<NodePort, PortEndpoints> = BTreeMap::new();
        for step in steps {
            let touched = match step {
                Step::Put { name, port, endpoints, age } => {
                    let pods = &["nginx-1", "nginx-2"][..endpoints];
                    let mut service = service(&format!("s{name}"), port, pods);
                    service.age = backend_api::Age(age);
                    Some(state.upsert(service).unwrap().touched)
                }
                Step::Remove(name) => Some(state.remove(&ServiceName::new("default", &format!("s{name}"))).touched),
                Step::Resync => None,
            };
            let scope = touched.as_ref().map_or(Scope::All, Scope::Services);
            for (port, answerer) in plan.update(&state, scope) {
                match answerer {
                    Some(answerer) => listening.insert(port, answerer),
                    None => listening.remove(&port),
                };
            }
        }
        let expected = Plan::default().update(&state, Scope::All);
        prop_assert_eq!(listening, expected.into_iter().filter_map(|(port, one)| Some((port, one?))).collect::<BTreeMap<_, _>>());
    }
}
