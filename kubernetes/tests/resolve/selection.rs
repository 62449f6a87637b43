//! Which services and slices a proxy has to do with (A1.1 to A1.3).

use super::given::{given, objects, service_text, settings, slice_text};
use switchyard_kubernetes::resolve::Resolver;

const SPEC: &str = "clusterIP: 10.96.0.1, ports: [{port: 80}]";

#[test]
fn services_without_a_cluster_address_are_left_to_the_dns() {
    let cases = [
        ("clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{port: 80}]", true),
        ("clusterIP: 10.96.0.1, ports: [{port: 80}]", true),
        ("clusterIPs: [10.96.0.1], ports: [{port: 80}]", true),
        ("clusterIP: None, clusterIPs: [None], ports: [{port: 80}]", false),
        ("clusterIP: None, clusterIPs: [10.96.0.1], ports: [{port: 80}]", false),
        ("clusterIP: '', ports: [{port: 80}]", false),
        ("clusterIP: null, clusterIPs: null, ports: [{port: 80}]", false),
        ("ports: [{port: 80}]", false),
        ("type: ExternalName, externalName: example.org", false),
        ("type: ExternalName, externalName: example.org, clusterIP: 10.96.0.1, ports: [{port: 80}]", false),
        ("clusterIP: 10.96.0.1, ports: []", false),
        ("clusterIP: 10.96.0.1, ports: null", false),
    ];
    for (spec, served) in cases {
        let outcome = given().service(spec).slice("10.0.0.1").resolved();
        assert_eq!(outcome.service.is_some(), served, "{spec}");
        assert_eq!(outcome.warnings, [""; 0], "{spec}");
    }
}

#[test]
fn services_of_another_proxy_are_left_to_it_whatever_its_name() {
    for value in ["other", "\"\"", "null"] {
        let text = service_text(SPEC, "").replace(
            "{name: web}",
            &format!("{{name: web, labels: {{service.kubernetes.io/service-proxy-name: {value}}}}}"),
        );
        assert_eq!(given().object(text).slice("10.0.0.1").resolved().service, None, "{value}");
    }
}

#[test]
fn a_label_on_a_live_service_takes_it_away_and_gives_it_back() {
    let plain = service_text(SPEC, "");
    let labelled =
        plain.replace("{name: web}", "{name: web, labels: {service.kubernetes.io/service-proxy-name: other}}");
    let mut resolver = Resolver::new(settings());
    let mut served = |text: &str| {
        objects(text).iter().for_each(|object| resolver.upsert(object));
        resolver.resolve().services.into_values().next().expect("the service has changed").is_some()
    };
    assert_eq!([served(&plain), served(&labelled), served(&plain)], [true, false, true]);
}

#[test]
fn slices_for_headless_services_are_not_for_proxies_whatever_the_label_says() {
    for value in ["\"\"", "anything", "null"] {
        let text = slice_text("s", "10.0.0.1", "{port: 80}").replace(
            "kubernetes.io/service-name: web",
            &format!("kubernetes.io/service-name: web, service.kubernetes.io/headless: {value}"),
        );
        let outcome = given().service(SPEC).object(text).resolved();
        assert_eq!(outcome.endpoints(), "", "{value}");
        assert_eq!(outcome.routes(), ["10.96.0.1:80/TCP reject"], "{value}");
    }
}

#[test]
fn slices_of_other_services_and_namespaces_and_of_none_do_not_count() {
    let text = slice_text("s", "10.0.0.1", "{port: 80}");
    let cases = [
        text.replace("service-name: web", "service-name: other"),
        text.replace("{name: s,", "{name: s, namespace: other,"),
        text.replace("labels: {kubernetes.io/service-name: web}", "labels: {}"),
        text.replace("service-name: web", "service-name: ''"),
        text.replace("labels: {kubernetes.io/service-name: web}", "labels: null"),
    ];
    for text in cases {
        assert_eq!(given().service(SPEC).object(&text).resolved().endpoints(), "", "{text}");
    }
}
