//! What makes no sense costs itself alone, and is named with its object and field.

use super::given::given;

fn check(spec: &str, ingress: &str, routes: &[&str], warnings: &[&str]) {
    let outcome = given().load_balancer(spec, ingress).slice("10.0.0.1").resolved();
    assert_eq!(outcome.routes(), routes, "{spec}");
    let warnings: Vec<_> = warnings.iter().map(|warning| format!("Service default/web: {warning}")).collect();
    assert_eq!(outcome.warnings, warnings, "{spec}");
}

#[test]
fn a_bad_part_of_a_service_costs_that_part() {
    let own = "10.96.0.1:80/TCP cluster";
    check(
        "clusterIP: 10.96.0.1, ports: [{port: 80}, {name: b, port: 70000}, {name: c, port: -1}, {name: d}]",
        "",
        &[own],
        &[
            "spec.ports[1].port: 70000 is no port, 1 to 65535",
            "spec.ports[2].port: -1 is no port, 1 to 65535",
            "spec.ports[3].port: 0 is no port, 1 to 65535",
        ],
    );
    check(
        "clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 99999}]",
        "",
        &[own],
        &["spec.ports[0].nodePort: 99999 is no port, 1 to 65535"],
    );
    check(
        "clusterIP: 10.96.0.1, ports: [{name: a, port: 80, protocol: HTTP}, {port: 80}]",
        "",
        &[own],
        &["spec.ports[0].protocol: \"HTTP\" is unknown, the port is left out"],
    );
    check(
        "clusterIP: 10.96.0.1, externalIPs: [banana, 127.0.0.1, 192.0.2.1], ports: [{port: 80}]",
        "{ip: 300.0.0.1}, {ip: 192.0.2.2, ipMode: Magic}",
        &[own, "192.0.2.1:80/TCP cluster"],
        &[
            "status.loadBalancer.ingress[0].ip: \"300.0.0.1\" is no address",
            "status.loadBalancer.ingress[1].ipMode: \"Magic\" is unknown, connections to the address are left alone",
            "spec.externalIPs[0]: \"banana\" is no address",
            "spec.externalIPs[1]: 127.0.0.1 is unspecified, loopback, multicast or broadcast",
        ],
    );
    check(
        "type: Imaginary, clusterIPs: [10.96.0.1, banana], internalTrafficPolicy: Near, externalTrafficPolicy: Far, ports: [{port: 80}]",
        "",
        &[own],
        &[
            "spec.type: \"Imaginary\" is unknown, the service is treated by its fields alone",
            "spec.clusterIPs[1]: \"banana\" is no address",
            "spec.internalTrafficPolicy: \"Near\" is unknown, read as Cluster",
            "spec.externalTrafficPolicy: \"Far\" is unknown, read as Cluster",
        ],
    );
    check(
        "clusterIPs: [10.96.0.1, 10.96.0.2], ports: [{port: 80}]",
        "",
        &[own],
        &["spec.clusterIPs[1]: 10.96.0.2 is the second cluster address of its family"],
    );
    check("clusterIP: banana, ports: [{port: 80}]", "", &[], &["spec.clusterIP: \"banana\" is no address"]);
}

#[test]
fn ports_that_cannot_be_told_apart_cost_the_later_one() {
    let own = "10.96.0.1:80/TCP cluster";
    check(
        "clusterIP: 10.96.0.1, ports: [{port: 80}, {port: 81}]",
        "",
        &[own],
        &["spec.ports[1].name: \"\" is the name of spec.ports[0] too"],
    );
    check(
        "clusterIP: 10.96.0.1, ports: [{port: 80}, {name: b, port: 80}]",
        "",
        &[own],
        &["spec.ports[1].port: 80 is that of spec.ports[0] too"],
    );
    check(
        "clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30080}]",
        "",
        &[own, "node port 30080/TCP (IPv4) cluster", "10.96.0.1:81/TCP reject"],
        &["spec.ports[1].nodePort: 30080 is that of spec.ports[0] too"],
    );
}

#[test]
fn a_bad_part_of_a_slice_costs_that_part_and_is_named_once() {
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
                 metadata: {name: s, labels: {kubernetes.io/service-name: web}}, \
                 endpoints: [{addresses: [10.0.0.1]}, {addresses: [banana]}, {addresses: []}, {addresses: null}, \
                 {addresses: ['fd00::1']}, {addresses: [127.0.0.1]}], \
                 ports: [{name: a, port: 80}, {name: b, port: 70000}, {name: c, port: 80, protocol: HTTP}, {name: b, port: 81}]}";
    let outcome = given()
        .service("clusterIP: 10.96.0.1, ports: [{name: a, port: 80}, {name: b, port: 81}]")
        .object(slice)
        .resolved();
    assert_eq!(outcome.endpoints(), "10.0.0.1:80 C; 10.0.0.1:81 C");
    assert_eq!(
        outcome.warnings,
        [
            "EndpointSlice default/s: ports[1].port: 70000 is no port, 1 to 65535",
            "EndpointSlice default/s: ports[2].protocol: \"HTTP\" is unknown, the port is left out",
            "EndpointSlice default/s: endpoints[1].addresses[0]: \"banana\" is no address",
            "EndpointSlice default/s: endpoints[2].addresses[0]: \"\" is no address",
            "EndpointSlice default/s: endpoints[3].addresses[0]: \"\" is no address",
            "EndpointSlice default/s: endpoints[4].addresses[0]: fd00::1 is not IPv4",
            "EndpointSlice default/s: endpoints[5].addresses[0]: 127.0.0.1 is unspecified, loopback, multicast or broadcast",
        ]
    );
}

#[test]
fn a_slice_of_an_unknown_address_type_costs_itself() {
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPX, ports: [{port: 80}], \
                 metadata: {name: s, labels: {kubernetes.io/service-name: web}}, endpoints: [{addresses: [10.0.0.1]}]}";
    let outcome =
        given().service("clusterIP: 10.96.0.1, ports: [{port: 80}]").object(slice).slice("10.0.0.2").resolved();
    assert_eq!(outcome.endpoints(), "10.0.0.2:80 C");
    assert_eq!(
        outcome.warnings,
        ["EndpointSlice default/s: addressType: \"IPX\" is unknown, no endpoint of it is used"]
    );
}
