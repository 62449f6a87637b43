//! Which endpoints a slice has (A1.8, A1.9), a v1 Endpoints has, and which counts where both are there.

use super::given::given;

const SPEC: &str = "clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1'], ports: [{port: 80}]";

#[test]
fn the_first_address_of_an_endpoint_counts() {
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{port: 80}], \
                 metadata: {name: s, labels: {kubernetes.io/service-name: web}}, \
                 endpoints: [{addresses: [10.0.0.2, 10.0.0.1]}, {addresses: [10.0.0.3]}]}";
    let outcome = given().service(SPEC).object(slice).resolved();
    assert_eq!(outcome.endpoints(), "10.0.0.2:80 C, 10.0.0.3:80 C; ");
}

#[test]
fn slices_count_in_their_own_family() {
    let outcome = given().service(SPEC).slice("10.0.0.1").slice("fd00:1::1").resolved();
    assert_eq!(outcome.endpoints(), "10.0.0.1:80 C; [fd00:1::1]:80 C");
}

#[test]
fn names_are_no_endpoints() {
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: FQDN, ports: [{port: 80}], \
                 metadata: {name: s, labels: {kubernetes.io/service-name: web}}, \
                 endpoints: [{addresses: [example.org]}]}";
    let outcome = given().service(SPEC).object(slice).resolved();
    assert_eq!((outcome.endpoints().as_str(), outcome.warnings.len()), ("; ", 0));
}

#[test]
fn an_address_in_several_slices_is_one_endpoint_and_the_more_useful_description_counts() {
    let cases = [
        ("10.0.0.1@here", "10.0.0.1@here", "10.0.0.1:80 C L here"),
        ("10.0.0.1@there/gone", "10.0.0.1@here", "10.0.0.1:80 C L here"),
        ("10.0.0.1@here", "10.0.0.1@there/draining", "10.0.0.1:80 C L here"),
        ("10.0.0.1@there/published-draining", "10.0.0.1@here/serving", "10.0.0.1:80 here"),
        ("10.0.0.1@there/not-ready", "10.0.0.1@here", "10.0.0.1:80 C L here"),
        ("10.0.0.1@there/not-ready", "10.0.0.1@here/serving", "10.0.0.1:80 here"),
        ("10.0.0.1@there", "10.0.0.1@here", "10.0.0.1:80 C"),
        ("10.0.0.1@here 10.0.0.1@there", "", "10.0.0.1:80 C L here"),
    ];
    for (first, second, expected) in cases {
        let spec =
            "type: NodePort, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30080}]";
        let outcome = given().service(spec).slice(first).slice(second).resolved();
        assert_eq!(outcome.endpoints(), expected, "{first} and {second}");
    }
}

#[test]
fn one_address_on_two_ports_is_two_endpoints() {
    let outcome = given()
        .service("clusterIP: 10.96.0.1, ports: [{port: 80}]")
        .slice_with_ports("10.0.0.1", "{port: 80}")
        .slice_with_ports("10.0.0.1", "{port: 81}")
        .resolved();
    assert_eq!(outcome.endpoints(), "10.0.0.1:80 C, 10.0.0.1:81 C");
}

#[test]
fn endpoints_are_sorted_whatever_their_order_in_the_objects() {
    let outcome = given()
        .service("clusterIP: 10.96.0.1, ports: [{port: 80}]")
        .slice("10.0.0.9 10.0.0.10 10.0.0.2")
        .slice("10.0.0.1")
        .resolved();
    assert_eq!(outcome.endpoints(), "10.0.0.1:80 C, 10.0.0.2:80 C, 10.0.0.9:80 C, 10.0.0.10:80 C");
}

const TWO_PORTS: &str = "clusterIPs: [10.96.0.1, 'fd00::1'], ports: [{name: a, port: 80}, {name: b, port: 81}]";

const ENDPOINTS: &str = "{apiVersion: v1, kind: Endpoints, metadata: {name: web}, subsets: [\
    {addresses: [{ip: 10.0.0.1, nodeName: here, targetRef: {kind: Pod}}, {ip: 'fd00:1::1'}], \
     notReadyAddresses: [{ip: 10.0.0.9}], ports: [{name: a, port: 8080}]}, \
    {addresses: [{ip: 010.0.0.2}, {ip: banana}], notReadyAddresses: null, ports: [{name: b, port: 8081, protocol: TCP}]}]}";

#[test]
fn every_subset_and_family_counts() {
    let outcome = given().service(TWO_PORTS).object(ENDPOINTS).resolved();
    assert_eq!(outcome.endpoints(), "10.0.0.1:8080 C here; [fd00:1::1]:8080 C; 10.0.0.2:8081 C; ");
    assert_eq!(
        outcome.warnings,
        [
            "Endpoints default/web: subsets[1].addresses[0].ip: \"010.0.0.2\" is not in today's notation, read as 10.0.0.2",
            "Endpoints default/web: subsets[1].addresses[1].ip: \"banana\" is no address",
        ]
    );
}

#[test]
fn any_slice_of_the_service_wins_even_one_that_is_not_for_proxies() {
    let slice =
        given().service(TWO_PORTS).object(ENDPOINTS).slice_with_ports("10.0.0.3", "{name: a, port: 80}").resolved();
    assert_eq!(slice.endpoints(), "10.0.0.3:80 C; ; ; ");
    let headless = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: s, \
                    labels: {kubernetes.io/service-name: web, service.kubernetes.io/headless: ''}}}";
    assert_eq!(given().service(TWO_PORTS).object(ENDPOINTS).object(headless).resolved().endpoints(), "; ; ; ");
}

#[test]
fn endpoints_of_headless_services_and_of_others_do_not_count() {
    let headless = ENDPOINTS.replace("{name: web}", "{name: web, labels: {service.kubernetes.io/headless: ''}}");
    let other = ENDPOINTS.replace("{name: web}", "{name: other}");
    let elsewhere = ENDPOINTS.replace("{name: web}", "{name: web, namespace: other}");
    for text in [headless, other, elsewhere] {
        assert_eq!(given().service(TWO_PORTS).object(&text).resolved().endpoints(), "; ; ; ", "{text}");
    }
}

#[test]
fn no_subsets_are_no_endpoints() {
    let none = "{apiVersion: v1, kind: Endpoints, metadata: {name: web}, subsets: null}";
    assert_eq!(given().service(TWO_PORTS).object(none).resolved().endpoints(), "; ; ; ");
}
