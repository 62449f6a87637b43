//! Which endpoints are usable: ready ones, else terminating ones that still serve (A3.1 to A3.4).

use super::given::given;

fn check(endpoints: &str, expected: &str) {
    let spec =
        "type: NodePort, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30080}]";
    assert_eq!(given().service(spec).slice(endpoints).resolved().endpoints(), expected, "{endpoints}");
}

#[test]
fn conditions_that_are_missing_mean_ready_and_serving() {
    check("10.0.0.1@here/unset", "10.0.0.1:80 C L here");
    check("10.0.0.1@here/draining-unset", "10.0.0.1:80 C L here");
}

#[test]
fn ready_endpoints_are_used_and_no_others() {
    check(
        "10.0.0.1@here 10.0.0.2@here/serving 10.0.0.3@here/not-ready 10.0.0.4@here/draining 10.0.0.5@here/gone",
        "10.0.0.1:80 C L here, 10.0.0.2:80 here, 10.0.0.4:80 here",
    );
}

#[test]
fn a_ready_endpoint_is_used_even_if_it_terminates_or_does_not_serve() {
    check("10.0.0.1@here/published 10.0.0.2@here/published-draining", "10.0.0.1:80 C L here, 10.0.0.2:80 C L here");
}

#[test]
fn terminating_endpoints_that_serve_are_the_last_resort() {
    check(
        "10.0.0.1@here/serving 10.0.0.2@here/not-ready 10.0.0.3@here/draining 10.0.0.4@here/gone",
        "10.0.0.1:80 here, 10.0.0.3:80 C L here",
    );
    check("10.0.0.1/serving 10.0.0.2/not-ready 10.0.0.4/gone", "10.0.0.1:80");
}

#[test]
fn the_node_falls_back_by_itself_while_others_are_ready_elsewhere() {
    check("10.0.0.1@here/draining 10.0.0.2@there", "10.0.0.1:80 L here, 10.0.0.2:80 C");
    check(
        "10.0.0.1@here/draining 10.0.0.2@here 10.0.0.3@there/draining",
        "10.0.0.1:80 here, 10.0.0.2:80 C L here, 10.0.0.3:80",
    );
    check("10.0.0.1@here/draining 10.0.0.2@there/draining", "10.0.0.1:80 C L here, 10.0.0.2:80 C");
}

#[test]
fn endpoints_without_a_node_are_on_none() {
    check("10.0.0.1", "10.0.0.1:80 C");
}

#[test]
fn pools_that_no_frontend_uses_are_empty() {
    let cases = [
        ("", "10.0.0.1:80 C here, 10.0.0.2:80 C"),
        // externalTrafficPolicy has no meaning without an external frontend.
        ("externalTrafficPolicy: Local", "10.0.0.1:80 C here, 10.0.0.2:80 C"),
        ("internalTrafficPolicy: Local", "10.0.0.1:80 L here, 10.0.0.2:80"),
        ("internalTrafficPolicy: Local, externalIPs: [192.0.2.1]", "10.0.0.1:80 C L here, 10.0.0.2:80 C"),
        ("externalTrafficPolicy: Local, externalIPs: [192.0.2.1]", "10.0.0.1:80 C L here, 10.0.0.2:80 C"),
        ("externalIPs: [192.0.2.1]", "10.0.0.1:80 C here, 10.0.0.2:80 C"),
    ];
    for (policies, expected) in cases {
        let spec = format!("clusterIP: 10.96.0.1, ports: [{{port: 80}}], {policies}");
        let outcome = given().service(&spec).slice("10.0.0.1@here 10.0.0.2@there").resolved();
        assert_eq!(outcome.endpoints(), expected, "{policies}");
    }
}
