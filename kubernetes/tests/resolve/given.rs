//! A short way to write objects and to read what they come to.

use std::collections::BTreeSet;
use std::fmt::Write;

use backend_api::{
    Affinity, Answer, Endpoint, Frontend, FrontendKind, Masquerade, NodeNetwork, Pool, Route, Service, SourceRanges,
};
use switchyard_kubernetes::objects::{Item, Object, read};
use switchyard_kubernetes::resolve::{Changes, OnNode, Resolver};
use switchyard_kubernetes::settings::Settings;

/// Objects and settings; this node is `here`.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    settings: Settings,
    texts: Vec<String>,
    addresses: BTreeSet<std::net::IpAddr>,
}

/// What the service `default/web`, and the node, come to.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) service: Option<Service>,
    pub(crate) on_node: OnNode,
    pub(crate) network: NodeNetwork,
    pub(crate) warnings: Vec<String>,
}

/// Reads objects that must be right.
pub(crate) fn objects(text: &str) -> Vec<Object> {
    let object = |item| match item {
        Item::Object(object) => object,
        other => panic!("{other:?} in\n{text}"),
    };
    read(text).into_iter().map(object).collect()
}

/// Settings of the node `here` without a local-traffic detector.
pub(crate) fn settings() -> Settings {
    Settings {
        node_name: "here".parse().unwrap(),
        local_traffic: switchyard_kubernetes::settings::LocalDetector::ClusterCidrs("".parse().unwrap()),
        node_ports: "primary".parse().unwrap(),
        node_address: None,
        masquerade_all: false,
        flowtable_after: None,
        budget: switchyard_kubernetes::settings::Budget::default(),
    }
}

/// The YAML of service `default/web` with this `spec` and `status.loadBalancer.ingress`, in flow style.
pub(crate) fn service_text(spec: &str, ingress: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{{spec}}}, \
         status: {{loadBalancer: {{ingress: [{ingress}]}}}}}}"
    )
}

/// The YAML of a slice of `default/web`. Endpoints are words: `ADDRESS[@NODE][/STATE][+ZONE][~NODE]`, the last two
/// hints; states are those of [`conditions`].
pub(crate) fn slice_text(name: &str, endpoints: &str, ports: &str) -> String {
    let address_type = if endpoints.contains("::") { "IPv6" } else { "IPv4" };
    let endpoints: Vec<_> = endpoints.split_whitespace().map(endpoint_text).collect();
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: {address_type}, \
         metadata: {{name: {name}, labels: {{kubernetes.io/service-name: web}}}}, \
         endpoints: [{}], ports: [{ports}]}}",
        endpoints.join(", ")
    )
}

fn endpoint_text(word: &str) -> String {
    let mut rest = word;
    let mut cut = |mark: char| {
        let (before, after) = rest.rsplit_once(mark).map_or((rest, None), |(before, after)| (before, Some(after)));
        rest = before;
        after
    };
    let (node_hint, zone_hint, state, node) = (cut('~'), cut('+'), cut('/'), cut('@'));
    let mut text = format!("addresses: [\"{rest}\"], conditions: {}", conditions(state.unwrap_or("ready")));
    if let Some(node) = node {
        write!(text, ", nodeName: {node}").unwrap();
    }
    let hints: Vec<_> = [("forZones", zone_hint), ("forNodes", node_hint)]
        .into_iter()
        .filter_map(|(kind, hint)| Some(format!("{kind}: [{{name: {}}}]", hint?)))
        .collect();
    if !hints.is_empty() {
        write!(text, ", hints: {{{}}}", hints.join(", ")).unwrap();
    }
    format!("{{{text}}}")
}

fn conditions(state: &str) -> &'static str {
    match state {
        "unset" => "{}",
        "ready" => "{ready: true, serving: true, terminating: false}",
        "not-ready" => "{ready: false, serving: false, terminating: false}",
        "serving" => "{ready: false, serving: true, terminating: false}",
        "draining" => "{ready: false, serving: true, terminating: true}",
        "draining-unset" => "{ready: false, terminating: true}",
        "gone" => "{ready: false, serving: false, terminating: true}",
        "published" => "{ready: true, serving: false, terminating: false}",
        "published-draining" => "{ready: true, serving: true, terminating: true}",
        other => panic!("{other}: no state"),
    }
}

/// Starts with nothing but settings.
pub(crate) fn given() -> Given {
    Given { settings: settings(), texts: Vec::new(), addresses: BTreeSet::new() }
}

impl Given {
    pub(crate) fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub(crate) fn object(mut self, text: impl Into<String>) -> Self {
        self.texts.push(text.into());
        self
    }

    /// Service `default/web`.
    pub(crate) fn service(self, spec: &str) -> Self {
        self.object(service_text(spec, ""))
    }

    /// Service `default/web` with load-balancer addresses.
    pub(crate) fn load_balancer(self, spec: &str, ingress: &str) -> Self {
        self.object(service_text(spec, ingress))
    }

    /// A slice of `default/web` with an unnamed port 80/TCP.
    pub(crate) fn slice(self, endpoints: &str) -> Self {
        self.slice_with_ports(endpoints, "{port: 80}")
    }

    pub(crate) fn slice_with_ports(self, endpoints: &str, ports: &str) -> Self {
        let name = format!("web-{}", self.texts.len());
        self.object(slice_text(&name, endpoints, ports))
    }

    /// Node `here` in zone `a`, with these addresses.
    pub(crate) fn node(self, addresses: &str) -> Self {
        let addresses: Vec<_> = addresses
            .split_whitespace()
            .map(|address| format!("{{type: InternalIP, address: \"{address}\"}}"))
            .collect();
        self.object(format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: here, labels: {{topology.kubernetes.io/zone: a}}}}, \
             status: {{addresses: [{}]}}}}",
            addresses.join(", ")
        ))
    }

    /// Addresses that the kernel has.
    pub(crate) fn kernel(mut self, addresses: &str) -> Self {
        self.addresses.extend(addresses.split_whitespace().map(|address| address.parse::<std::net::IpAddr>().unwrap()));
        self
    }

    pub(crate) fn resolved(self) -> Resolved {
        let mut resolver = Resolver::new(self.settings);
        resolver.set_addresses(self.addresses);
        for text in &self.texts {
            objects(text).iter().for_each(|object| resolver.upsert(object));
        }
        let Changes { node, mut services, mut on_node, warnings, .. } = resolver.resolve();
        Resolved {
            service: services.remove(&backend_api::ServiceName::new("default", "web")).flatten(),
            on_node: on_node.remove(&backend_api::ServiceName::new("default", "web")).unwrap_or_default(),
            network: node.expect("the first time resolves the node"),
            warnings: warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Resolved {
    /// One line for each frontend: `10.96.0.1:80/TCP cluster-ip: cluster, never masqueraded`.
    pub(crate) fn frontends(&self) -> Vec<String> {
        self.all_frontends().map(frontend).collect()
    }

    /// What each frontend is answered with: `10.96.0.1:80/TCP cluster`.
    pub(crate) fn routes(&self) -> Vec<String> {
        self.all_frontends().map(|frontend| format!("{} {}", frontend.key, route(frontend.route))).collect()
    }

    /// Whose connections are masqueraded: `10.96.0.1:80/TCP never`.
    pub(crate) fn masquerades(&self) -> Vec<String> {
        self.all_frontends().map(|frontend| format!("{} {}", frontend.key, masquerade(frontend.masquerade))).collect()
    }

    /// Which clients may dial: `10.96.0.1:80/TCP any`.
    pub(crate) fn sources(&self) -> Vec<String> {
        self.all_frontends().map(|frontend| format!("{} {}", frontend.key, sources(&frontend.source_ranges))).collect()
    }

    /// The endpoints of each port, in one text: `10.0.0.1:80 C L here, 10.0.0.2:80 C; …`; pools are C and L.
    pub(crate) fn endpoints(&self) -> String {
        let of_port = |port: &backend_api::ServicePort| {
            let endpoints: Vec<_> = port.endpoints.iter().map(endpoint).collect();
            endpoints.join(", ")
        };
        let ports: Vec<_> = self.service.iter().flat_map(|service| &service.ports).map(of_port).collect();
        ports.join("; ")
    }

    pub(crate) fn affinities(&self) -> Vec<Affinity> {
        self.service.iter().flat_map(|service| &service.ports).map(|port| port.affinity).collect()
    }

    fn all_frontends(&self) -> impl Iterator<Item = &Frontend> {
        self.service.iter().flat_map(|service| service.ports.iter().flat_map(|port| &port.frontends))
    }
}

fn endpoint(endpoint: &Endpoint) -> String {
    assert_eq!(endpoint.weight, 1);
    let mut text = endpoint.address.to_string();
    for (word, applies) in
        [(" C", endpoint.pools.cluster), (" L", endpoint.pools.local), (" here", endpoint.on_this_node)]
    {
        text.push_str(if applies { word } else { "" });
    }
    text
}

fn frontend(frontend: &Frontend) -> String {
    let kind = match frontend.kind {
        FrontendKind::ClusterIp => "cluster-ip",
        FrontendKind::External => "external",
        FrontendKind::NodePort => "node-port",
    };
    format!("{} {kind}: {}, {}", frontend.key, route(frontend.route), masquerade(frontend.masquerade))
}

fn route(route: Route) -> String {
    let answer = |answer| match answer {
        Answer::Balance(Pool::Cluster) => "cluster",
        Answer::Balance(Pool::Local) => "local",
        Answer::Reject => "reject",
        Answer::Drop => "drop",
    };
    match route {
        Route::Everyone(everyone) => answer(everyone).to_owned(),
        Route::Split { inside, outside } => format!("inside {} outside {}", answer(inside), answer(outside)),
    }
}

fn masquerade(masquerade: Masquerade) -> &'static str {
    match masquerade {
        Masquerade::Never => "never",
        Masquerade::Always => "always",
        Masquerade::UnlessPod => "unless-pod",
        Masquerade::FromNode => "from-node",
    }
}

fn sources(ranges: &SourceRanges) -> String {
    match ranges {
        SourceRanges::Any => "any".to_owned(),
        SourceRanges::Only(ranges) if ranges.is_empty() => "none".to_owned(),
        SourceRanges::Only(ranges) => {
            let ranges: Vec<_> = ranges.iter().map(ToString::to_string).collect();
            ranges.join(" ")
        }
    }
}
