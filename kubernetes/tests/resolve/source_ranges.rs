//! Which clients may dial load-balancer addresses (A7). The node is 192.168.0.1 and fd00:2::1.

use super::given::given;

/// Checks both load-balancer addresses, 192.0.2.2 and 2001:db8::2.
fn check(ranges: &str, v4: &str, v6: &str, warnings: &[&str]) {
    let spec = format!(
        "type: LoadBalancer, clusterIPs: [10.96.0.1, 'fd00::1'], ports: [{{port: 80, nodePort: 30080}}], \
         externalIPs: [192.0.2.1], loadBalancerSourceRanges: {ranges}"
    );
    let outcome =
        given().node("192.168.0.1 fd00:2::1").load_balancer(&spec, "{ip: 192.0.2.2}, {ip: '2001:db8::2'}").resolved();
    assert_eq!(
        outcome.sources(),
        [
            "10.96.0.1:80/TCP any".to_owned(),
            format!("192.0.2.2:80/TCP {v4}"),
            "192.0.2.1:80/TCP any".to_owned(),
            "node port 30080/TCP (IPv4) any".to_owned(),
            "[fd00::1]:80/TCP any".to_owned(),
            format!("[2001:db8::2]:80/TCP {v6}"),
            "node port 30080/TCP (IPv6) any".to_owned(),
        ],
        "{ranges}"
    );
    let warnings: Vec<_> = warnings.iter().map(|warning| format!("Service default/web: {warning}")).collect();
    assert_eq!(outcome.warnings, warnings, "{ranges}");
}

#[test]
fn no_list_is_no_restriction() {
    check("[]", "any", "any", &[]);
    check("null", "any", "any", &[]);
}

#[test]
fn ranges_hold_for_load_balancer_addresses_of_their_family_alone() {
    check(
        "[203.0.113.0/24, '2001:db8:1::/48', 198.51.100.7/32]",
        "198.51.100.7/32 203.0.113.0/24",
        "2001:db8:1::/48",
        &[],
    );
}

#[test]
fn white_space_duplicates_and_host_bits_do_not_matter() {
    check("[' 203.0.113.9/24', \"203.0.113.0/24\\t\", ' 2001:db8:1::/48 ']", "203.0.113.0/24", "2001:db8:1::/48", &[]);
}

#[test]
fn a_range_of_everything_is_no_restriction_in_its_family() {
    check("[203.0.113.0/24, 0.0.0.0/0, '2001:db8:1::/48']", "any", "2001:db8:1::/48", &[]);
    check("[203.0.113.0/24, '::/0']", "203.0.113.0/24", "any", &[]);
}

#[test]
fn the_nodes_range_lets_the_addresses_in_too() {
    check("[192.168.0.0/16, 'fd00:2::/64']", "192.0.2.2/32 192.168.0.0/16", "2001:db8::2/128 fd00:2::/64", &[]);
}

#[test]
fn a_family_without_range_is_closed() {
    let closed = |family| {
        format!(
            "spec.loadBalancerSourceRanges: no range for {family}: no client may dial the service's {family} load-balancer addresses"
        )
    };
    check("[203.0.113.0/24]", "203.0.113.0/24", "none", &[&closed("IPv6")]);
    check("['2001:db8:1::/48']", "none", "2001:db8:1::/48", &[&closed("IPv4")]);
    check("[0.0.0.0/0]", "any", "none", &[&closed("IPv6")]);
}

#[test]
fn a_list_of_nonsense_lets_no_client_in() {
    check(
        "[banana, 10.0.0.0/33]",
        "none",
        "none",
        &[
            "spec.loadBalancerSourceRanges[0]: \"banana\" is no range",
            "spec.loadBalancerSourceRanges[1]: \"10.0.0.0/33\" is no range",
            "spec.loadBalancerSourceRanges: no range for IPv4: no client may dial the service's IPv4 load-balancer addresses",
            "spec.loadBalancerSourceRanges: no range for IPv6: no client may dial the service's IPv6 load-balancer addresses",
        ],
    );
}

#[test]
fn old_notations_are_read_and_reported() {
    check(
        "[0203.000.113.0/24, '::ffff:198.51.100.0/120', '::/0']",
        "198.51.100.0/24 203.0.113.0/24",
        "any",
        &[
            "spec.loadBalancerSourceRanges[0]: \"0203.000.113.0/24\" is not in today's notation, read as 203.0.113.0/24",
            "spec.loadBalancerSourceRanges[1]: \"::ffff:198.51.100.0/120\" is not in today's notation, read as 198.51.100.0/24",
        ],
    );
}

#[test]
fn an_address_that_is_external_too_is_guarded() {
    let spec = "clusterIP: 10.96.0.1, ports: [{port: 80}], externalIPs: [192.0.2.2], loadBalancerSourceRanges: [203.0.113.0/24]";
    let outcome = given().load_balancer(spec, "{ip: 192.0.2.2}").resolved();
    assert_eq!(outcome.sources(), ["10.96.0.1:80/TCP any", "192.0.2.2:80/TCP 203.0.113.0/24"]);
}

#[test]
fn a_list_without_load_balancer_address_closes_nothing_and_is_not_reported() {
    let spec = "clusterIP: 10.96.0.1, ports: [{port: 80}], loadBalancerSourceRanges: ['2001:db8::/32']";
    let outcome = given().service(spec).resolved();
    assert_eq!((outcome.sources(), outcome.warnings.len()), (vec!["10.96.0.1:80/TCP any".to_owned()], 0));
}
