//! v1 Endpoints, and who wins where slices are there too.

use super::given::given;

const SPEC: &str = "clusterIPs: [10.96.0.1, 'fd00::1'], ports: [{name: a, port: 80}, {name: b, port: 81}]";

const ENDPOINTS: &str = "{apiVersion: v1, kind: Endpoints, metadata: {name: web}, subsets: [\
    {addresses: [{ip: 10.0.0.1, nodeName: here, targetRef: {kind: Pod}}, {ip: 'fd00:1::1'}], \
     notReadyAddresses: [{ip: 10.0.0.9}], ports: [{name: a, port: 8080}]}, \
    {addresses: [{ip: 010.0.0.2}, {ip: banana}], notReadyAddresses: null, ports: [{name: b, port: 8081, protocol: TCP}]}]}";

#[test]
fn every_subset_and_family_counts() {
    let outcome = given().service(SPEC).object(ENDPOINTS).resolved();
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
    let slice = given().service(SPEC).object(ENDPOINTS).slice_with_ports("10.0.0.3", "{name: a, port: 80}").resolved();
    assert_eq!(slice.endpoints(), "10.0.0.3:80 C; ; ; ");
    let headless = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: s, \
                    labels: {kubernetes.io/service-name: web, service.kubernetes.io/headless: ''}}}";
    assert_eq!(given().service(SPEC).object(ENDPOINTS).object(headless).resolved().endpoints(), "; ; ; ");
}

#[test]
fn endpoints_of_headless_services_and_of_others_do_not_count() {
    let headless = ENDPOINTS.replace("{name: web}", "{name: web, labels: {service.kubernetes.io/headless: ''}}");
    let other = ENDPOINTS.replace("{name: web}", "{name: other}");
    let elsewhere = ENDPOINTS.replace("{name: web}", "{name: web, namespace: other}");
    for text in [headless, other, elsewhere] {
        assert_eq!(given().service(SPEC).object(&text).resolved().endpoints(), "; ; ; ", "{text}");
    }
}

#[test]
fn no_subsets_are_no_endpoints() {
    let none = "{apiVersion: v1, kind: Endpoints, metadata: {name: web}, subsets: null}";
    assert_eq!(given().service(SPEC).object(none).resolved().endpoints(), "; ; ; ");
}
