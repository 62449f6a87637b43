//! The index of all objects: what a change concerns, what it leaves, and that order decides nothing.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use super::given::{objects, service_text, settings, slice_text};
use backend_api::{NodeNetwork, Scope, ServiceName, ServiceState};
use proptest::prelude::*;
use switchyard_kubernetes::objects::{Kind, Object, ObjectKey};
use switchyard_kubernetes::resolve::{Changes, Resolver};

fn object(text: &str) -> Object {
    objects(text).remove(0)
}

fn service(name: &str) -> Object {
    let spec = format!("clusterIP: 10.96.0.{}, ports: [{{port: 80}}]", name.len());
    object(&service_text(&spec, "").replace("name: web", &format!("name: {name}")))
}

fn slice_of(service: &str, name: &str, endpoints: &str) -> Object {
    let text = slice_text(name, endpoints, "{port: 80}");
    object(&text.replace("service-name: web", &format!("service-name: {service}")))
}

fn node(zone: &str, address: &str) -> Object {
    object(&format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: here, labels: {{topology.kubernetes.io/zone: {zone}}}}}, \
         status: {{addresses: [{{type: InternalIP, address: {address}}}]}}}}"
    ))
}

/// The services that changed, each with its number of endpoints, `-` if it is not to be programmed.
fn changed(changes: &Changes) -> Vec<String> {
    let endpoints = |service: &Option<backend_api::Service>| match service {
        Some(service) => service.ports[0].endpoints.len().to_string(),
        None => "-".to_owned(),
    };
    changes.services.iter().map(|(name, service)| format!("{} {}", name.name, endpoints(service))).collect()
}

struct Followed(Resolver);

impl Followed {
    fn new(objects: &[Object]) -> Self {
        let mut resolver = Resolver::new(settings());
        objects.iter().for_each(|object| resolver.upsert(object));
        resolver.resolve();
        Self(resolver)
    }

    fn upsert(&mut self, object: Object) -> Vec<String> {
        self.0.upsert(&object);
        changed(&self.0.resolve())
    }

    fn remove(&mut self, key: &ObjectKey) -> Vec<String> {
        self.0.remove(key);
        changed(&self.0.resolve())
    }
}

#[test]
fn a_change_concerns_its_own_service_alone() {
    let mut known = Followed::new(&[service("a"), service("bb"), slice_of("bb", "s", "10.0.0.1")]);
    assert_eq!(known.upsert(slice_of("a", "t", "10.0.0.1 10.0.0.2")), ["a 2"]);
    assert_eq!(known.upsert(slice_of("a", "t", "10.0.0.1")), ["a 1"]);
    assert_eq!(known.remove(&slice_of("a", "t", "").key()), ["a 0"]);
    assert_eq!(known.remove(&service("bb").key()), ["bb -"]);
}

#[test]
fn the_same_object_again_is_no_change() {
    let all = [service("a"), slice_of("a", "s", "10.0.0.1"), node("a", "192.0.2.1")];
    let mut known = Followed::new(&all);
    for object in all {
        known.0.upsert(&object);
        assert!(known.0.resolve().is_empty(), "{object:?}");
    }
    known.0.remove(&service("unknown").key());
    known.0.remove(&slice_of("a", "unknown", "").key());
    assert!(known.0.resolve().is_empty());
}

#[test]
fn endpoints_wait_for_their_service_and_survive_it() {
    let mut known = Followed::new(&[]);
    assert_eq!(known.upsert(slice_of("a", "s", "10.0.0.1")), ["a -"]);
    assert_eq!(known.upsert(service("a")), ["a 1"]);
    assert_eq!(known.remove(&service("a").key()), ["a -"]);
    assert_eq!(known.upsert(service("a")), ["a 1"]);
}

#[test]
fn a_slice_that_moves_leaves_its_old_service() {
    let mut known = Followed::new(&[service("a"), service("bb"), slice_of("a", "s", "10.0.0.1")]);
    assert_eq!(known.upsert(slice_of("bb", "s", "10.0.0.1")), ["a 0", "bb 1"]);
    let unowned =
        slice_text("s", "10.0.0.1", "{port: 80}").replace("labels: {kubernetes.io/service-name: web}", "labels: {}");
    assert_eq!(known.upsert(object(&unowned)), ["bb 0"]);
    assert_eq!(known.upsert(slice_of("a", "s", "10.0.0.1")), ["a 1"]);
}

#[test]
fn nothing_is_left_when_the_last_object_is_gone() {
    let endpoints = object("{apiVersion: v1, kind: Endpoints, metadata: {name: a}}");
    let all = [service("a"), slice_of("a", "s", "10.0.0.1"), endpoints, slice_of("bb", "t", "10.0.0.1")];
    let mut known = Followed::new(&all);
    known.upsert(slice_of("ccc", "t", "10.0.0.1"));
    for object in &all {
        assert!(!known.0.has_no_services());
        known.remove(&object.key());
    }
    assert!(known.0.has_no_services());
}

#[test]
fn slices_of_one_name_in_two_namespaces_are_two() {
    let elsewhere = |text: &str| object(&text.replace("{name: ", "{namespace: other, name: "));
    let mut known = Followed::new(&[service("web"), slice_of("web", "s", "10.0.0.1")]);
    assert_eq!(known.upsert(elsewhere(&slice_text("s", "10.0.0.2", "{port: 80}"))), ["web -"]);
    assert_eq!(known.remove(&elsewhere(&slice_text("s", "", "")).key()), ["web -"]);
    assert_eq!(known.upsert(slice_of("web", "t", "10.0.0.3")), ["web 2"]);
}

#[test]
fn a_node_that_changes_what_services_depend_on_concerns_all() {
    let mut known = Followed::new(&[service("a"), service("bb"), node("a", "192.0.2.1")]);
    assert_eq!(known.upsert(node("b", "192.0.2.1")), ["a 0", "bb 0"]);
    assert_eq!(known.upsert(node("b", "192.0.2.2")), ["a 0", "bb 0"]);
    assert_eq!(known.remove(&node("b", "192.0.2.2").key()), [""; 0], "what it said last holds");
}

#[test]
fn a_node_that_changes_nothing_for_services_is_told_by_itself() {
    let mut known = Followed::new(&[service("a"), node("a", "192.0.2.1")]);
    let cidr = object(
        "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: c}, spec: {cidrs: [10.96.0.0/12]}}",
    );
    known.0.upsert(&cidr);
    let changes = known.0.resolve();
    assert_eq!(changed(&changes), [""; 0]);
    assert_eq!(changes.node.unwrap().service_cidrs.len(), 1);
    known.0.remove(&cidr.key());
    assert_eq!(known.0.resolve().node.unwrap().service_cidrs.len(), 0);
    known.0.set_addresses(BTreeSet::from(["192.0.2.1".parse().unwrap()]));
    assert_eq!(known.0.resolve().node.unwrap().addresses.len(), 1);
    known.0.set_addresses(BTreeSet::from(["192.0.2.1".parse().unwrap()]));
    assert!(known.0.resolve().is_empty());
}

#[test]
fn a_warning_is_told_once_and_stands_until_mended() {
    let bad = |endpoints| slice_of("a", "s", endpoints);
    let mut known = Followed::new(&[service("a")]);
    let told = |known: &mut Followed, object: Object| {
        known.0.upsert(&object);
        let told = known.0.resolve().warnings.len();
        (told, known.0.warnings().count())
    };
    assert_eq!(told(&mut known, bad("banana")), (1, 1));
    assert_eq!(told(&mut known, bad("banana 10.0.0.1")), (0, 1));
    assert_eq!(told(&mut known, bad("banana apple")), (1, 2));
    assert_eq!(told(&mut known, bad("10.0.0.1")), (0, 0));
    assert_eq!(told(&mut known, bad("banana")), (1, 1));
}

#[test]
fn changes_are_applied_to_a_state_with_what_they_touched() {
    let mut state = ServiceState::new(NodeNetwork::unknown());
    let mut resolver = Resolver::new(settings());
    let names = |applied: switchyard_kubernetes::resolve::Applied| {
        applied.touched.iter().map(|name| name.name.to_string()).collect::<Vec<_>>()
    };
    resolver.upsert(&service("a"));
    resolver.upsert(&node("a", "192.0.2.1"));
    let applied = resolver.resolve().apply(&mut state);
    assert!(applied.node_changed);
    assert!(matches!(applied.scope(), Scope::All));
    assert_eq!(names(applied), ["a"]);
    resolver.upsert(&slice_of("a", "s", "10.0.0.1"));
    let applied = resolver.resolve().apply(&mut state);
    assert!(matches!(applied.scope(), Scope::Services(_)));
    assert_eq!(names(applied), ["a"]);
    resolver.remove(&service("a").key());
    assert_eq!(names(resolver.resolve().apply(&mut state)), ["a"]);
    assert!(state.service(&ServiceName::new("default", "a")).is_none());
}

#[test]
fn links_are_the_nodes_only_where_connections_are_handed_over() {
    let links = |names: &[&str]| (2..).zip(names.iter().map(|name| (*name).to_owned())).collect();
    let mut resolver = Resolver::new(settings());
    resolver.set_links(links(&["eth0"]));
    assert_eq!(resolver.resolve().node.unwrap().offload, None);
    resolver.set_links(links(&["eth0", "veth1"]));
    assert!(resolver.resolve().is_empty());
    resolver
        .set_settings(switchyard_kubernetes::settings::Settings { flowtable_after: NonZeroU32::new(16), ..settings() });
    let offload = |resolver: &mut Resolver| resolver.resolve().node.unwrap().offload.unwrap();
    assert_eq!(offload(&mut resolver).devices, links(&["eth0", "veth1"]));
    resolver.set_links(links(&["eth0"]));
    let now = offload(&mut resolver);
    assert_eq!((now.after.get(), now.devices), (16, links(&["eth0"])));
}

#[test]
fn the_example_cluster_resolves_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/seed");
    let mut resolver = Resolver::new(settings());
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        objects(&text).iter().for_each(|object| resolver.upsert(object));
    }
    let changes = resolver.resolve();
    assert_eq!(changes.warnings, []);
    let served: Vec<_> =
        changes.services.iter().filter(|(_, service)| service.is_some()).map(|(name, _)| name.to_string()).collect();
    assert_eq!(
        served,
        [
            "default/kubernetes",
            "default/nginx-deploy-clusterip-svc",
            "default/nginx-deploy-lb-svc",
            "default/nginx-deploy-nodeport-svc",
            "default/whoami",
            "ingress-nginx/ingress-nginx-controller",
            "kube-system/kube-dns",
        ]
    );
}

/// Objects with few names, so that they meet.
fn any_object() -> impl Strategy<Value = Object> {
    let name = prop::sample::select(vec!["a", "bb", "ccc"]);
    let slice_name = prop::sample::select(vec!["s", "t"]);
    let endpoint = (
        1..4u8,
        prop::sample::select(vec!["", "@here", "@there"]),
        prop::sample::select(vec!["", "/draining", "/serving", "/gone"]),
        prop::sample::select(vec!["", "+a", "+b"]),
    );
    let endpoints = prop::collection::vec(endpoint, 0..4).prop_map(|endpoints| {
        let words = endpoints.iter().map(|(last, node, state, hint)| format!("10.0.0.{last}{node}{state}{hint}"));
        words.collect::<Vec<_>>().join(" ")
    });
    prop_oneof![
        name.clone().prop_map(service),
        (name.clone(), slice_name, endpoints).prop_map(|(service, name, endpoints)| slice_of(service, name, &endpoints)),
        (name, 1..4u8).prop_map(|(name, last)| object(&format!(
            "{{apiVersion: v1, kind: Endpoints, metadata: {{name: {name}}}, subsets: [{{addresses: [{{ip: 10.1.0.{last}}}], ports: [{{port: 80}}]}}]}}"
        ))),
        prop::sample::select(vec!["a", "b"]).prop_map(|zone| node(zone, "192.0.2.1")),
    ]
}

/// A history of objects that come, change and go; one that is left out at the end is removed.
#[derive(Clone, Debug)]
enum Event {
    Upsert(Object),
    Remove(ObjectKey),
    Resolve,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => any_object().prop_map(Event::Upsert),
        // What this node's own object said last holds after its end.
        2 => any_object()
            .prop_filter("not the node", |object| object.key().kind != Kind::Node)
            .prop_map(|object| Event::Remove(object.key())),
        1 => Just(Event::Resolve),
    ]
}

fn state_of(
    resolver: &mut Resolver,
    state: &mut ServiceState,
) -> (Vec<backend_api::Service>, NodeNetwork, BTreeSet<String>) {
    resolver.resolve().apply(state);
    let services = state.services().map(|service| (**service).clone()).collect();
    (services, (**state.node()).clone(), resolver.warnings().map(ToString::to_string).collect())
}

proptest! {
    /// However objects came, changed and went: the outcome is that of telling those that are left, in any order.
    #[test]
    fn order_of_arrival_decides_nothing(events in prop::collection::vec(any_event(), 0..40), seed in any::<u64>()) {
        let mut left = std::collections::BTreeMap::new();
        let mut lived = (Resolver::new(settings()), ServiceState::new(NodeNetwork::unknown()));
        for event in events {
            match event {
                Event::Upsert(object) => {
                    lived.0.upsert(&object);
                    left.insert(object.key(), object);
                }
                Event::Remove(key) => {
                    lived.0.remove(&key);
                    left.remove(&key);
                }
                Event::Resolve => {
                    lived.0.resolve().apply(&mut lived.1);
                }
            }
        }
        let mut order: Vec<_> = left.into_values().collect();
        let len = order.len();
        if len > 0 {
            order.rotate_left((seed % len as u64) as usize);
            if seed & 1 == 1 {
                order.reverse();
            }
        }
        let mut fresh = (Resolver::new(settings()), ServiceState::new(NodeNetwork::unknown()));
        order.iter().for_each(|object| fresh.0.upsert(object));
        prop_assert_eq!(state_of(&mut lived.0, &mut lived.1), state_of(&mut fresh.0, &mut fresh.1));
    }
}
