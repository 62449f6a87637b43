//! From objects to the allocator's values, and which addresses a node announces.

use std::net::IpAddr;
use std::time::Duration;

use allocation::{AddressRange, Allocator, Demand, Edit, FamilyPolicy, Options, Pool, Requested};
use backend_api::{Family, Protocol};
use switchyard_kubernetes::load_balancer::{
    AddressObjects, AdvertisedObjects, Interfaces, NoteKind, Taken, advertisement, pool, service,
};
use switchyard_kubernetes::objects::{Item, Object, ObjectKey, read};
use switchyard_kubernetes::source::Event;

fn objects(text: &str) -> Vec<Object> {
    read(text).into_iter().map(only_object).collect()
}

fn only_object(item: Item) -> Object {
    match item {
        Item::Object(object) => object,
        other => panic!("{other:?}"),
    }
}

fn object(text: &str) -> Object {
    objects(text).remove(0)
}

fn pool_text(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {{name: {name}, namespace: metallb-system, \
         labels: {{tier: {name}}}}}\nspec: {spec}\n"
    )
}

fn advertisement_text(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: metallb.io/v1beta1\nkind: L2Advertisement\nmetadata: {{name: {name}, namespace: \
         metallb-system}}\nspec: {spec}\n"
    )
}

fn service_text(name: &str, annotations: &str, spec: &str, addresses: &[&str]) -> String {
    let ingress: Vec<_> = addresses.iter().map(|address| format!("{{ip: {address}}}")).collect();
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, labels: {{app: {name}}}, annotations: {{{annotations}}}, \
         creationTimestamp: \"2026-05-01T08:00:00Z\"}}\nspec: {{type: LoadBalancer, clusterIPs: [10.96.0.1], ports: [{{port: 80}}], \
         {spec}}}\nstatus: {{loadBalancer: {{ingress: [{}]}}}}\n",
        ingress.join(", ")
    )
}

fn as_service(text: &str, class: Option<&str>) -> Option<(allocation::Service, Vec<String>)> {
    let Object::Service(object) = object(text) else { panic!("{text}") };
    let (service, deprecated) = service(&object, class)?;
    Some((service, deprecated.into_iter().map(|annotation| annotation.written).collect()))
}

fn mistakes(text: &str) -> Vec<String> {
    let mistakes = match object(text) {
        Object::IpAddressPool(object) => pool(&object).map(|_| ()),
        Object::L2Advertisement(object) => advertisement(&object).map(|_| ()),
        other => panic!("{other:?}"),
    };
    mistakes.unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_pool_is_what_its_fields_say() {
    let text = pool_text(
        "office",
        "{addresses: [192.168.67.240-192.168.67.250, 10.0.0.9/24], autoAssign: false, avoidBuggyIPs: true, \
         serviceAllocation: {priority: 7, namespaces: [a], namespaceSelectors: [{matchLabels: {x: y}}], \
         serviceSelectors: [{matchExpressions: [{key: app, operator: NotIn, values: [b]}]}]}}",
    );
    let Object::IpAddressPool(object) = object(&text) else { panic!("no pool") };
    let form = pool(&object).unwrap();
    let ranges: Vec<_> = form.pool.ranges.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["192.168.67.240-192.168.67.250", "10.0.0.0/24"]);
    assert_eq!(form.masked[0].to_string(), "range 10.0.0.9/24: is read as the block 10.0.0.0/24");
    assert_eq!((form.pool.assign, form.pool.avoid), (allocation::Assign::OnRequest, allocation::Avoid::Buggy));
    let allocation = form.pool.service_allocation.unwrap();
    assert_eq!((allocation.priority, allocation.namespaces), (7, vec!["a".to_owned()]));
    assert!(!allocation.service_selectors[0].matches(&[("app".to_owned(), "b".to_owned())].into()));
}

#[test]
fn what_is_wrong_with_an_object_is_named_by_its_field() {
    let selector = "[{matchExpressions: [{key: a, operator: Is}, {key: a, operator: In}, {key: a, operator: Exists, values: [x]}]}]";
    for (text, expected) in [
        (
            pool_text("p", "{addresses: [10.0.0.1, 10.0.0.9-10.0.0.1]}"),
            vec![
                "spec.addresses[0]: range 10.0.0.1: a lone address is no range, write 10.0.0.1/32",
                "spec.addresses[1]: range \"10.0.0.9-10.0.0.1\": ends before it begins",
            ],
        ),
        (pool_text("p", "{}"), vec!["spec.addresses: a pool without addresses"]),
        (
            pool_text("p", "{addresses: [10.0.0.0/24], serviceAllocation: {priority: -1}}"),
            vec!["spec.serviceAllocation.priority: -1 is no priority, 0 or more"],
        ),
        (
            advertisement_text("a", &format!("{{nodeSelectors: {selector}}}")),
            vec![
                "spec.nodeSelectors[0].matchExpressions[0].operator: \"Is\" is none of In, NotIn, Exists, DoesNotExist",
                "spec.nodeSelectors[0].matchExpressions[1].values: none, and the operator needs some",
                "spec.nodeSelectors[0].matchExpressions[2].values: the operator takes none",
            ],
        ),
        (
            advertisement_text("a", "{preferredNodeSelectors: [{weight: 101}]}"),
            vec!["spec.preferredNodeSelectors[0].weight: 101 is no weight, 1 to 100"],
        ),
    ] {
        assert_eq!(mistakes(&text), expected);
    }
}

#[test]
fn a_service_asks_by_its_annotations_under_both_names() {
    let (service, deprecated) =
        ask("metallb.io/loadBalancerIPs: \"10.0.0.1, fd00::1\", metallb.io/address-pool: p", "");
    assert_eq!((service.addresses, service.pool.as_deref()), (these("10.0.0.1 fd00::1"), Some("p")));
    assert!(deprecated.is_empty());

    let old = "metallb.universe.tf/loadBalancerIPs: 10.0.0.1, metallb.universe.tf/address-pool: p, \
               metallb.universe.tf/allow-shared-ip: k";
    let (service, deprecated) = ask(old, "");
    assert_eq!((service.addresses, service.pool.as_deref()), (these("10.0.0.1"), Some("p")));
    assert_eq!((service.sharing.unwrap().key.as_str(), deprecated.len()), ("k", 3));

    let both = "metallb.universe.tf/address-pool: old, metallb.io/address-pool: new";
    assert_eq!(ask(both, "").0.pool.as_deref(), Some("new"));
    assert_eq!(ask("metallb.universe.tf/address-pool: old, metallb.io/address-pool: \"\"", "").0.pool, None);

    assert_eq!(ask("", "loadBalancerIP: 10.0.0.7").0.addresses, these("10.0.0.7"));
    assert_eq!(ask("", "loadBalancerIP: \"\"").0.addresses, Requested::Any);
    for (annotations, spec, expected) in [
        (
            "metallb.io/loadBalancerIPs: 10.0.0.1",
            "loadBalancerIP: 10.0.0.1",
            "annotation metallb.io/loadBalancerIPs and spec.loadBalancerIP are both set: remove one",
        ),
        ("", "loadBalancerIP: x", "spec.loadBalancerIP: \"x\" is no address, and no list of addresses"),
        (
            "metallb.io/loadBalancerIPs: \"10.0.0.1,\"",
            "",
            "annotation metallb.io/loadBalancerIPs: \"10.0.0.1,\" is no address, and no list of addresses",
        ),
    ] {
        assert_eq!(ask(annotations, spec).0.addresses, Requested::Unreadable(expected.to_owned()));
    }
}

fn ask(annotations: &str, spec: &str) -> (allocation::Service, Vec<String>) {
    as_service(&service_text("web", annotations, spec, &[]), None).unwrap()
}

fn these(addresses: &str) -> Requested {
    Requested::These(addresses.split(' ').map(|text| text.parse().unwrap()).collect())
}

#[test]
fn a_service_is_what_decides_its_address() {
    let spec = "externalTrafficPolicy: Local, selector: {app: web}, ipFamilyPolicy: PreferDualStack, \
                ports: [{port: 53, protocol: UDP}, {port: 53}, {port: 53}, {port: 70000}, {port: 1, protocol: QUIC}]";
    let text =
        service_text("web", "metallb.io/allow-shared-ip: k", spec, &["10.0.0.1", "banana", "\"::ffff:10.0.0.2\""]);
    let text = text
        .replace("ports: [{port: 80}], ", "")
        .replace("clusterIPs: [10.96.0.1]", "clusterIPs: [\"fd00::1\", 10.96.0.1]");
    let (service, _) = as_service(&text, None).unwrap();
    let families = vec![Family::V6, Family::V4];
    assert_eq!(service.demand, Demand::OneOfEach { families, policy: FamilyPolicy::PreferDualStack });
    assert_eq!(service.ports, [(Protocol::Udp, 53), (Protocol::Tcp, 53)]);
    assert_eq!(service.sharing.unwrap().backends, [("app".to_owned(), "web".to_owned())].into());
    assert_eq!(service.held, ["10.0.0.1", "10.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap()));
    assert_eq!(service.labels, [("app".to_owned(), "web".to_owned())].into());
    let cluster = text.replace("externalTrafficPolicy: Local", "externalTrafficPolicy: Cluster");
    assert!(as_service(&cluster, None).unwrap().0.sharing.unwrap().backends.is_empty());
}

#[test]
fn the_class_must_be_exactly_the_one() {
    for (written, class, expected) in [
        ("", None, true),
        ("loadBalancerClass: a/b", None, false),
        ("loadBalancerClass: a/b", Some("a/b"), true),
        ("loadBalancerClass: a/b", Some("a/c"), false),
        ("", Some("a/b"), false),
    ] {
        let text = service_text("web", "", written, &["10.0.0.1"]);
        assert_eq!(as_service(&text, class).is_some(), expected, "{written} {class:?}");
    }
    // The class goes together with the type, and the address is released all the same.
    let [was_one, never_was] = ["metallb.io/ip-allocated-from-pool: p", ""].map(|annotations| {
        service_text("web", annotations, "", &["10.0.0.1"]).replace("type: LoadBalancer", "type: ClusterIP")
    });
    let (released, _) = as_service(&was_one, Some("a/b")).unwrap();
    assert_eq!((released.demand, released.held.len()), (Demand::Nothing, 1));
    assert_eq!(as_service(&never_was, None), None, "never had one");
}

fn changed(text: &str) -> Vec<Event> {
    objects(text).into_iter().map(Event::Changed).collect()
}

fn deleted(text: &str) -> Vec<Event> {
    vec![Event::Deleted(object(text).key())]
}

struct Controller {
    objects: AddressObjects,
    allocator: Allocator,
}

impl Controller {
    fn new() -> Self {
        Self { objects: AddressObjects::new("metallb-system", None), allocator: Allocator::new(Options::default()) }
    }

    /// What services get, and what is said.
    fn take(&mut self, events: Vec<Event>) -> (Vec<String>, Vec<String>) {
        let Taken { edits, notes } = self.objects.take(events);
        let decisions = self.allocator.apply(edits, Duration::ZERO);
        let given =
            decisions.into_iter().map(|decision| format!("{} {:?}", decision.service, decision.verdict.addresses));
        (given.collect(), notes.iter().map(ToString::to_string).collect())
    }
}

#[test]
fn a_bad_object_keeps_its_last_good_form_and_stops_no_other() {
    let mut controller = Controller::new();
    let all = pool_text("p", "{addresses: [10.0.0.0/30]}")
        + &pool_text("bad", "{addresses: [10.0.0.1]}")
        + &service_text("web", "", "", &[])
        + "---\napiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata: {name: r, namespace: metallb-system}\nspec: {myASN: 1}\n";
    let (given, said) = controller.take(changed(&all));
    assert_eq!(given, ["default/web [10.0.0.0]"]);
    assert_eq!(
        said,
        [
            "IPAddressPool metallb-system/bad: spec.addresses[0]: range 10.0.0.1: a lone address is no range, write \
             10.0.0.1/32; its last good form holds, if there was one",
            "BGPPeer metallb-system/r: not served: addresses are announced in their segment, and not by BGP",
        ]
    );
    // It goes bad, and nothing moves; nothing is said twice.
    let bad = pool_text("p", "{addresses: [10.0.0.0/40]}");
    let (given, said) = controller.take(changed(&bad));
    assert_eq!((given.len(), said.len()), (0, 1));
    assert_eq!(controller.take(changed(&bad)), (vec![], vec![]));
    let (given, _) = controller.take(changed(&service_text("dns", "", "", &[])));
    assert_eq!(given, ["default/dns [10.0.0.1]"]);
}

#[test]
fn pools_of_another_namespace_are_told_and_do_not_count() {
    let mut controller = Controller::new();
    let elsewhere = pool_text("p", "{addresses: [10.0.0.0/30]}").replace("metallb-system", "other");
    let (given, said) = controller.take(changed(&(elsewhere.clone() + &service_text("web", "", "", &[]))));
    assert_eq!(given, ["default/web []"]);
    assert_eq!(said, ["IPAddressPool other/p: ignored: only objects in namespace metallb-system count"]);
    assert_eq!(controller.take(deleted(&elsewhere)), (vec![], vec![]));
}

#[test]
fn deprecated_annotations_are_told_once() {
    let mut controller = Controller::new();
    let text = service_text("web", "metallb.universe.tf/address-pool: p", "", &[]);
    let taken = controller.objects.take(changed(&text));
    assert!(matches!(&taken.notes[0].kind, NoteKind::Deprecated(_)));
    assert_eq!(controller.objects.take(changed(&text)).notes, []);
}

#[test]
fn what_another_source_does_not_tell_is_gone_when_it_has_listed() {
    let mut objects = AddressObjects::new("metallb-system", None);
    let (pool, web) = (pool_text("p", "{addresses: [10.0.0.0/30]}"), service_text("web", "", "", &[]));
    objects.take(changed(&(pool.clone() + &web)));
    assert!(!objects.is_complete());
    objects.take(vec![Event::Listed, Event::Anew]);
    assert!(objects.is_complete());
    assert_eq!(objects.take(changed(&web)).edits.len(), 1);
    assert_eq!(objects.take(vec![Event::Listed]).edits, [Edit::PoolGone("p".into())]);
}

// Who announces.

fn node_text(labels: &str, conditions: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: node1, labels: {{{labels}}}}}\nstatus: {{conditions: [{conditions}]}}\n"
    )
}

/// How node1 announces 10.0.0.1: `score interfaces key`, or why it does not.
fn announced(advertisements: &[&str], node: &str, services: &str) -> String {
    let mut objects = AdvertisedObjects::new("node1", "metallb-system", None);
    let mut text = pool_text("p", "{addresses: [10.0.0.0/30]}") + &pool_text("q", "{addresses: [10.0.1.0/30]}");
    for (index, spec) in advertisements.iter().enumerate() {
        text += &advertisement_text(&format!("ad-{index}"), spec);
    }
    assert!(objects.take(&changed(&(text + node + services))));
    match &objects.announced()[&"10.0.0.1".parse::<IpAddr>().unwrap()] {
        Err(why) => why.to_string(),
        Ok(announced) => {
            let interfaces = match &announced.interfaces {
                Interfaces::All => "all".to_owned(),
                Interfaces::These(names) => names.iter().map(|name| &**name).collect::<Vec<_>>().join("+"),
            };
            format!("{} {interfaces} {}", announced.score, announced.order_key)
        }
    }
}

#[test]
fn a_node_announces_what_advertisements_select() {
    let web = service_text("web", "", "", &["10.0.0.1"]);
    let shared = service_text("web", "metallb.io/allow-shared-ip: k", "", &["10.0.0.1"]);
    let gold = node_text("tier: gold, zone: a", "");
    let unannounced = "no L2Advertisement selects pool p: it is given and not announced";
    for (advertisements, node, services, expected) in [
        (vec![], &gold, &web, unannounced),
        (vec!["{}"], &gold, &web, "0 all 10.0.0.1"),
        (vec!["{ipAddressPools: [p]}"], &gold, &web, "0 all 10.0.0.1"),
        (vec!["{ipAddressPools: [q]}"], &gold, &web, unannounced),
        (vec!["{ipAddressPoolSelectors: [{matchLabels: {tier: p}}]}"], &gold, &web, "0 all 10.0.0.1"),
        (
            vec!["{ipAddressPools: [q], ipAddressPoolSelectors: [{matchLabels: {tier: p}}]}"],
            &gold,
            &web,
            "0 all 10.0.0.1",
        ),
        (vec!["{ipAddressPoolSelectors: [{matchLabels: {tier: q}}]}"], &gold, &web, unannounced),
        (vec!["{nodeSelectors: [{matchLabels: {tier: gold}}]}"], &gold, &web, "0 all 10.0.0.1"),
        (
            vec!["{nodeSelectors: [{matchLabels: {tier: tin}}]}"],
            &gold,
            &web,
            "L2Advertisements of pool p select other nodes",
        ),
        (vec!["{nodeSelectors: [{matchLabels: {tier: tin}}]}", "{}"], &gold, &web, "0 all 10.0.0.1"),
        (vec!["{serviceSelectors: [{matchLabels: {app: web}}]}"], &gold, &web, "0 all 10.0.0.1"),
        (
            vec!["{serviceSelectors: [{matchLabels: {app: dns}}]}"],
            &gold,
            &web,
            "L2Advertisements of pool p select other services",
        ),
        // Of services that share none is chosen alone.
        (
            vec!["{serviceSelectors: [{matchLabels: {app: web}}]}"],
            &gold,
            &shared,
            "L2Advertisements of pool p select other services",
        ),
        (vec!["{interfaces: [eth1]}", "{interfaces: [eth0]}"], &gold, &web, "0 eth0+eth1 10.0.0.1"),
        (vec!["{interfaces: [eth1]}", "{}"], &gold, &web, "0 all 10.0.0.1"),
        // Weights add up, and only of advertisements that select the node.
        (
            vec![
                "{preferredNodeSelectors: [{weight: 10, preference: {matchLabels: {tier: gold}}}, \
                 {weight: 5, preference: {matchLabels: {zone: a}}}, {weight: 1, preference: {matchLabels: {zone: b}}}]}",
                "{preferredNodeSelectors: [{weight: 100, preference: {matchLabels: {zone: a}}}], \
                 nodeSelectors: [{matchLabels: {tier: tin}}]}",
                "{preferredNodeSelectors: [{weight: 20, preference: {}}]}",
            ],
            &gold,
            &web,
            "35 all 10.0.0.1",
        ),
        (
            vec!["{}"],
            &node_text("node.kubernetes.io/exclude-from-external-load-balancers: \"\"", ""),
            &web,
            "the node has the label node.kubernetes.io/exclude-from-external-load-balancers",
        ),
        (
            vec!["{}"],
            &node_text("", "{type: NetworkUnavailable, status: \"True\"}"),
            &web,
            "the node has the condition NetworkUnavailable",
        ),
        (
            vec!["{}"],
            &node_text("", "{type: NetworkUnavailable, status: \"False\"}, {type: Ready, status: \"False\"}"),
            &web,
            "0 all 10.0.0.1",
        ),
    ] {
        assert_eq!(announced(&advertisements, node, services), expected, "{advertisements:?}");
    }
}

#[test]
fn services_of_one_address_have_one_order_key_that_of_the_oldest() {
    let young = service_text("a", "", "", &["10.0.0.2", "10.0.0.1"]).replace("2026-05-01", "2026-06-01");
    let old = service_text("b", "", "", &["10.0.0.3", "10.0.0.1"]);
    assert_eq!(announced(&["{}"], &node_text("", ""), &(young + &old)), "0 all 10.0.0.3");
}

#[test]
fn an_address_behind_a_load_balancer_outside_or_of_no_pool_is_not_announced() {
    let mut objects = AdvertisedObjects::new("node1", "metallb-system", None);
    let proxied = service_text("web", "", "", &["10.0.0.1, ipMode: Proxy"]);
    objects.take(&changed(&(proxied + &service_text("dns", "", "", &["10.9.9.9"]) + &advertisement_text("a", "{}"))));
    let announced = objects.announced();
    let why: Vec<_> =
        announced.iter().map(|(address, how)| format!("{address} {}", how.as_ref().unwrap_err())).collect();
    assert_eq!(why, ["10.9.9.9 no pool has the address"]);
}

/// Each address, and whether it is announced.
fn announced_words(objects: &AdvertisedObjects) -> Vec<String> {
    objects.announced().iter().map(|(address, how)| format!("{address} {}", how.is_ok())).collect()
}

#[test]
fn a_pool_without_an_object_is_announced_and_a_class_can_change() {
    let mut objects = AdvertisedObjects::new("node1", "metallb-system", None);
    let text = service_text("web", "", "", &["10.0.0.1"]) + &service_text("dns", "", "", &["10.9.9.9"]);
    objects.take(&changed(&text));
    let range = AddressRange::parse("10.0.0.0/30").unwrap().0;
    objects.set_own_pool(Some(Pool::new("own", vec![range])));
    assert_eq!(announced_words(&objects), ["10.0.0.1 true", "10.9.9.9 false"]);
    objects.set_class(Some("other"));
    assert_eq!(announced_words(&objects), Vec::<String>::new());
    objects.set_class(None);
    objects.set_own_pool(None);
    assert_eq!(announced_words(&objects), ["10.0.0.1 false", "10.9.9.9 false"]);
}

#[test]
fn only_what_matters_is_news_to_an_announcer() {
    let mut objects = AdvertisedObjects::new("node1", "metallb-system", None);
    let all = pool_text("p", "{addresses: [10.0.0.0/30]}") + &advertisement_text("a", "{}") + &node_text("", "");
    assert!(objects.take(&changed(&all)));
    assert!(!objects.take(&changed(&all)));
    assert!(!objects.take(&changed(&all.replace("10.0.0.0/30", "nonsense"))), "the last good form holds");
    assert!(!objects.take(&changed(&all.replace("name: node1", "name: node2"))));
    assert!(!objects.take(&changed(&service_text("web", "", "", &[]))), "it has no address");
    let other = ObjectKey { name: "other".into(), ..object(&all).key() };
    assert!(!objects.take(&[Event::Deleted(other)]));
    assert!(objects.take(&deleted(&all)));
}

// The definitions.

/// What the schema says of a field, by the path to it.
fn fields(schema: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        if field["properties"].is_object() && field["x-kubernetes-map-type"].is_null() {
            fields(field, &path, found);
        }
        found.push(path);
    }
}

/// A document in which one field is a number, and is none of its schema's.
fn with_wrong_field(kind: &str, path: &str) -> String {
    let names: Vec<&str> = path.split('/').skip(1).collect();
    let wrong = if names.last().is_some_and(|name| name.contains("IPv") || *name == "priority") { "[]" } else { "7" };
    let nested = names.iter().rev().fold(wrong.to_owned(), |inner, name| format!("{{{name}: {inner}}}"));
    let body = &nested[1..nested.len() - 1];
    format!("{{apiVersion: metallb.io/v1beta1, kind: {kind}, metadata: {{name: x}}, {body}}}\n")
}

#[test]
fn every_field_of_the_definitions_is_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kubernetes/metallb-crds");
    for (file, kind, count) in
        [("ipaddresspools.yaml", "IPAddressPool", 14), ("l2advertisements.yaml", "L2Advertisement", 7)]
    {
        let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        let definition: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let version = &definition["spec"]["versions"][0];
        assert_eq!((&version["name"], &definition["spec"]["names"]["kind"]), (&"v1beta1".into(), &kind.into()));
        let mut found = Vec::new();
        let schema = &version["schema"]["openAPIV3Schema"]["properties"];
        fields(
            &serde_json::json!({"properties": {"spec": schema["spec"], "status": schema["status"]}}),
            "",
            &mut found,
        );
        found.retain(|path| path != "/status" || kind == "IPAddressPool");
        assert_eq!(found.len(), count, "{found:?}");
        for path in found {
            let items = read(&with_wrong_field(kind, &path));
            assert!(matches!(items[..], [Item::Refused(_)]), "{kind} {path}: {items:?}");
        }
    }
}
