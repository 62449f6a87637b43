//! What of a service is on this node: where load balancers ask, what they are told, and which Local policies miss.

use super::given::{Given, given, objects, settings, slice_text};
use backend_api::PerFamily;
use switchyard_kubernetes::resolve::{HealthCheck, NoLocalEndpoints, Resolver};

const LOCAL: &str = "type: LoadBalancer, externalTrafficPolicy: Local, clusterIP: 10.96.0.1, \
                     ports: [{port: 80, nodePort: 30080}]";

fn balanced(spec: &str) -> Given {
    given().load_balancer(spec, "{ip: 192.0.2.1}")
}

#[track_caller]
fn check(given: Given, expected: Option<(u16, Option<usize>, Option<usize>)>) {
    let found = given.resolved().on_node.health_check;
    let expected = expected.map(|(port, v4, v6)| HealthCheck { port, local_endpoints: PerFamily { v4, v6 } });
    assert_eq!(found, expected);
}

#[test]
fn only_a_load_balancer_with_policy_local_and_a_port_is_asked_about() {
    let with = |spec: &str| balanced(spec).slice("10.0.0.1@here");
    let asked = format!("{LOCAL}, healthCheckNodePort: 31000");
    check(with(&asked), Some((31000, Some(1), None)));
    check(with(LOCAL), None);
    check(with(&asked.replace("LoadBalancer", "NodePort")), None);
    check(with(&asked.replace("externalTrafficPolicy: Local", "externalTrafficPolicy: Cluster")), None);
    check(with(&asked.replace("10.96.0.1", "None")), None);
}

#[test]
fn a_port_that_is_none_is_a_warning() {
    let outcome = balanced(&format!("{LOCAL}, healthCheckNodePort: 70000")).resolved();
    assert_eq!(outcome.on_node.health_check, None);
    assert_eq!(outcome.warnings, ["Service default/web: spec.healthCheckNodePort: 70000 is no port, 1 to 65535"]);
}

#[test]
fn ready_addresses_on_this_node_count_once_whatever_their_ports() {
    let spec = format!("{LOCAL}, healthCheckNodePort: 31000");
    let given = balanced(&spec)
        .slice("10.0.0.1@here 10.0.0.2@there 10.0.0.3@here/draining 10.0.0.4@here/not-ready 10.0.0.5@here/published-draining")
        .slice_with_ports("10.0.0.1@here 10.0.0.6@here", "{name: more, port: 81}")
        .slice_with_ports("10.0.0.7@here", "");
    check(given, Some((31000, Some(3), None)));
}

#[test]
fn each_family_of_the_service_has_its_own_count() {
    let spec = format!("{LOCAL}, healthCheckNodePort: 31000")
        .replace("clusterIP: 10.96.0.1", "clusterIPs: [10.96.0.1, 'fd00::1']");
    check(balanced(&spec).slice("fd01::1@here fd01::2@here"), Some((31000, Some(0), Some(2))));
}

#[test]
fn a_local_policy_misses_where_endpoints_are_elsewhere_only() {
    let missed =
        |spec: &str, endpoints: &str| given().service(spec).slice(endpoints).resolved().on_node.no_local_endpoints.v4;
    let (both, external, internal) = (
        "type: NodePort, externalTrafficPolicy: Local, internalTrafficPolicy: Local, clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 30080}]",
        "type: NodePort, externalTrafficPolicy: Local, clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 30080}]",
        "internalTrafficPolicy: Local, clusterIP: 10.96.0.1, ports: [{port: 80}]",
    );
    let says = |internal, external| NoLocalEndpoints { internal, external };
    assert_eq!(missed(both, "10.0.0.1@there"), says(true, true));
    assert_eq!(missed(external, "10.0.0.1@there"), says(false, true));
    assert_eq!(missed(internal, "10.0.0.1@there"), says(true, false));
    assert_eq!(missed(both, "10.0.0.1@here"), says(false, false));
    assert_eq!(missed(both, ""), says(false, false), "refused, not dropped");
}

#[test]
fn what_goes_is_told_as_nothing() {
    let service = objects(&super::given::service_text(&format!("{LOCAL}, healthCheckNodePort: 31000"), "")).remove(0);
    let mut resolver = Resolver::new(settings());
    resolver.upsert(&service);
    assert!(resolver.resolve().on_node.into_values().all(|on_node| on_node.health_check.is_some()));
    resolver.remove(&service.key());
    let gone = resolver.resolve().on_node;
    assert_eq!(gone.len(), 1);
    assert!(gone.into_values().all(|on_node| on_node == Default::default()));
}

#[test]
fn a_slices_trigger_is_told_once_and_not_for_a_slice_that_is_the_same() {
    let trigger = |time: &str| {
        let annotations =
            format!("annotations: {{endpoints.kubernetes.io/last-change-trigger-time: \"{time}\"}}, labels");
        objects(&slice_text("s", "10.0.0.1", "{port: 80}").replace("labels", &annotations)).remove(0)
    };
    let mut resolver = Resolver::new(settings());
    let mut told = |slice: &switchyard_kubernetes::objects::Object| {
        resolver.upsert(slice);
        let triggers = resolver.resolve().triggers;
        (triggers.v4.len(), triggers.v6.len())
    };
    assert_eq!(told(&trigger("2026-05-01T08:00:00Z")), (1, 0));
    assert_eq!(told(&trigger("2026-05-01T08:00:00Z")), (0, 0));
    assert_eq!(told(&trigger("2026-05-01T08:00:01Z")), (1, 0));
    assert_eq!(told(&objects(&slice_text("s", "10.0.0.1", "{port: 80}")).remove(0)), (0, 0));
}
