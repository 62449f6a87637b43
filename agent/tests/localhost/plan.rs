//! What listens, as a pure function of the state.

use std::collections::BTreeSet;

use agent::localhost::{NodePort, Plan};
use backend_api::{Answer, Family, NodeNetwork, Protocol, Route, Scope, ServiceName, ServiceState, SourceRanges};

use super::given::{COMBINATIONS, NODE_PORT, service, web};

fn port(port: u16) -> impl Fn((Family, Protocol)) -> NodePort {
    move |(family, protocol)| NodePort { family, protocol, port }
}

#[test]
fn what_is_looked_at_is_what_changed() {
    let mut state = ServiceState::new(NodeNetwork::default());
    let mut plan = Plan::default();
    let touched: BTreeSet<_> = state.upsert(web(&["nginx-1"])).touched;
    state.upsert(service("other", 30_081, &["nginx-1"]));
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
fn a_port_that_changes_hands_is_not_closed_whatever_the_names() {
    for (older, younger) in [("a", "b"), ("b", "a")] {
        let mut state = ServiceState::new(NodeNetwork::default());
        let mut plan = Plan::default();
        let mut first = service(older, NODE_PORT, &["nginx-1"]);
        let mut second = service(younger, NODE_PORT, &["nginx-2"]);
        (first.age, second.age) = (backend_api::Age(1), backend_api::Age(2));
        state.upsert(first);
        state.upsert(second);
        plan.update(&state, Scope::All);
        let touched = state.remove(&ServiceName::new("default", older)).touched;
        assert_eq!(touched.len(), 2);
        let changes = plan.update(&state, Scope::Services(&touched));
        let to =
            |answerer: &Option<agent::localhost::Answerer>| answerer.as_ref().map(|one| one.service().name.to_string());
        assert!(changes.len() == 4 && changes.values().all(|one| to(one).as_deref() == Some(younger)), "{changes:?}");
    }
}

#[test]
fn nothing_listens_where_a_client_on_the_node_is_not_answered() {
    let answered = |edit: &dyn Fn(&mut backend_api::ServicePort)| {
        let mut state = ServiceState::new(NodeNetwork::default());
        let mut web = web(&["nginx-1"]);
        web.ports.iter_mut().for_each(edit);
        state.upsert(web);
        Plan::default().update(&state, Scope::All).len()
    };
    assert_eq!(answered(&|_| ()), 4);
    assert_eq!(answered(&|port| port.endpoints.clear()), 0);
    assert_eq!(answered(&|port| port.endpoints[0].weight = 0), 0);
    assert_eq!(answered(&|port| port.frontends[0].route = Route::Everyone(Answer::Drop)), 0);
    let ranges = SourceRanges::Only(vec!["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(answered(&|port| port.frontends[0].source_ranges = ranges.clone()), 0);
    let ranges = SourceRanges::Only(vec!["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(answered(&|port| port.frontends[0].source_ranges = ranges.clone()), 2);
}
