//! The desired state of a node, made from a cluster's objects.
//!
//! ```text
//! objects ────────► Resolver ──► Changes ──► ServiceState
//! addresses, links ──┤
//! settings ──────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use backend_api::{FlawedService, NodeNetwork, ServiceName, ServiceState};
use reconcile::{Desired, InputEnded, Line, LineRate, Pending, Witness};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, error, trace, warn};

use crate::objects::ObjectKey;
use crate::resolve::{Applied, Changes, Resolver};
use crate::settings::{LocalDetector, Settings};
use crate::source::Event;

/// Every address of the node, loopback excepted; `None` until they have been read once.
pub type Addresses = Option<BTreeSet<IpAddr>>;

/// Names of the node's links by their index, loopback excepted; `None` until they have been read once.
pub type Links = Option<BTreeMap<u32, String>>;

/// The objects of a cluster, and the [`ServiceState`] that they come to: the [`Desired`] of [`reconcile::run`].
///
/// It is fed through [`Inputs`]. A source of this crate sends the events, or a program with informers of its own:
///
/// ```
/// # extern crate backend_api as switchyard_api;
/// # extern crate reconcile as switchyard_reconcile;
/// # use std::collections::BTreeSet;
/// # use switchyard_api::Fake;
/// # use switchyard_kubernetes::settings::{LocalDetector, Settings};
/// # use tokio::sync::watch;
/// use serde::de::DeserializeSeed;
/// use switchyard_kubernetes::objects::Kind;
/// use switchyard_kubernetes::source::{Event, channel};
/// use switchyard_kubernetes::{ClusterState, Inputs};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_addresses, addresses) = watch::channel(Some(BTreeSet::new()));
/// # let settings = Settings::new("node1".parse()?, LocalDetector::NodeCidrs);
/// let (told, objects) = channel();
/// let cluster = ClusterState::new(settings, Inputs::new(objects, addresses));
///
/// // An informer has listed one Service: JSON as the API has it, or any other serde format.
/// let json = serde_json::json!({"metadata": {"name": "web", "namespace": "shop"},
///                               "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}});
/// let web = Kind::Service.deserialize(json)?;
/// told.send(vec![Event::Changed(web.clone()), Event::Listed]).await?;
/// # let dataplane = Fake::default();
/// # let programmed = dataplane.clone();
/// # let stop = async { while programmed.services().is_empty() { tokio::task::yield_now().await } };
/// # switchyard_reconcile::run(Box::new(dataplane), cluster, None, &mut (), stop).await?;
///
/// // Later, when it is deleted:
/// # let (told, _objects) = channel();
/// told.send(vec![Event::Deleted(web.key())]).await?;
/// # Ok(())
/// # }
/// ```
///
/// - Send every Service, EndpointSlice and ServiceCIDR, and this node's Node. More does no harm: services that are not
///   a proxy's are skipped. v1 Endpoints are needed only where there are no slices.
/// - [`Event::Listed`] once, when all that was there at the start has been sent. Before it, nothing is programmed.
/// - After a list from the beginning (a watch that could not go on): what is missing is deleted only if you send
///   [`Event::Anew`] before the list and [`Event::Listed`] after it, or `Deleted` for each.
/// - Objects that are the same as before cost a comparison, and no sync.
#[derive(Debug)]
pub struct ClusterState {
    inputs: Inputs,
    resolver: Resolver,
    state: ServiceState,
    heard: Heard,
    /// What is to be said while there is no Node object of this node.
    without_node: WithoutNode,
    /// Whether the state depends on the node's links.
    needs_links: bool,
    rate: LineRate<Topic>,
}

/// What a line in the log is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Topic {
    Object(ObjectKey),
    Service(ServiceName),
    Place(String),
}

/// What the state is made from. When the sender of `objects` or `addresses` is dropped, the loop ends with an error.
#[derive(Debug)]
pub struct Inputs {
    /// Events of a source; one batch is one change. [`crate::source::channel`] makes both ends.
    pub objects: mpsc::Receiver<Vec<Event>>,
    /// The node's own addresses. Nothing is programmed before they are known.
    ///
    /// Send `Some` of all addresses of all links, except loopback's, and send it again whenever one comes or goes: they
    /// decide where node ports are dialled, and that the node's own addresses are not taken for a service's. The kernel
    /// tells by rtnetlink: subscribe to `RTNLGRP_IPV4_IFADDR` and `RTNLGRP_IPV6_IFADDR` first, then dump `RTM_GETADDR`,
    /// and dump again after each notification. This crate does not read them, so that it needs no netlink and no
    /// network namespace.
    pub addresses: watch::Receiver<Addresses>,
    /// The node's links, if connections may be handed to a flowtable ([`Settings::flowtable_after`]). Where that is
    /// wanted nothing is programmed before they are known. Fed like `addresses`, by `RTNLGRP_LINK` and `RTM_GETLINK`.
    pub links: Option<watch::Receiver<Links>>,
    /// What the operator decides, if that may change.
    pub settings: Option<watch::Receiver<Settings>>,
}

/// What witnesses are told of a cluster, beside what the loop does.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    /// A batch of events has come; from now on a change may wait to be programmed.
    Told(&'a [Event]),
    /// The events so far were resolved. The state does not hold the changes yet.
    Resolved(&'a Changes),
}

/// What the loop tells witnesses where the desired state is a [`ClusterState`].
pub type News<'a> = reconcile::News<'a, Note<'a>>;

/// What the log is told while there is no Node object of this node.
#[derive(Debug)]
struct WithoutNode {
    /// If there never was one: what does not work.
    unknown: Option<String>,
    /// If there was one.
    gone: String,
}

/// Which inputs have come.
#[derive(Debug, Default)]
struct Heard {
    every_object: bool,
    addresses: bool,
    links: bool,
    /// An input has come that is not resolved yet.
    news: bool,
}

impl Inputs {
    /// Objects and addresses; settings stay as they are, and there is no flowtable.
    pub fn new(objects: mpsc::Receiver<Vec<Event>>, addresses: watch::Receiver<Addresses>) -> Self {
        Self { objects, addresses, links: None, settings: None }
    }
}

impl ClusterState {
    /// Knows no object yet. Addresses and links that are known already are taken at once.
    pub fn new(settings: Settings, mut inputs: Inputs) -> Self {
        let links = inputs.links.as_mut().and_then(|links| links.borrow_and_update().clone());
        let mut cluster = Self {
            inputs,
            without_node: WithoutNode::new(&settings),
            needs_links: settings.flowtable_after.is_some(),
            resolver: Resolver::new(settings),
            state: ServiceState::new(NodeNetwork::unknown()),
            heard: Heard::default(),
            rate: LineRate::new(Instant::now()),
        };
        cluster.take_addresses();
        cluster.take_links(links);
        cluster
    }

    fn take(&mut self, events: Vec<Event>, witness: &mut dyn Witness<Self>) {
        witness.hear(&News::Noted(Note::Told(&events)));
        for event in events {
            match event {
                Event::Changed(object) => {
                    trace!(object = %object.key(), "object changed");
                    self.resolver.upsert(&object);
                    self.heard.news = true;
                }
                Event::Deleted(key) => {
                    trace!(object = %key, "object deleted");
                    self.resolver.remove(&key);
                    self.heard.news = true;
                }
                Event::Anew => self.resolver.doubt(),
                Event::Listed => {
                    debug!("source has told everything that was there at the start");
                    self.resolver.remove_doubtful();
                    self.heard.every_object = true;
                    self.heard.news = true;
                }
                Event::Trouble(trouble) => {
                    let topic = match &trouble.object {
                        Some(object) => Topic::Object(object.clone()),
                        None => Topic::Place(trouble.place.clone()),
                    };
                    if let Some(line) = self.line(topic) {
                        warn!("{trouble}{line}");
                    }
                }
            }
        }
    }

    /// What to say behind a line about this, if it is to be logged now.
    fn line(&mut self, topic: Topic) -> Option<Line> {
        Some(self.rate.line(&topic, Instant::now())).filter(|line| *line != Line::HeldBack)
    }

    fn take_addresses(&mut self) {
        let addresses = self.inputs.addresses.borrow_and_update().clone();
        if let Some(addresses) = addresses {
            self.resolver.set_addresses(addresses);
            self.heard.addresses = true;
            self.heard.news = true;
        }
    }

    fn take_links(&mut self, links: Links) {
        if let Some(links) = links {
            self.resolver.set_links(links);
            self.heard.links = true;
            self.heard.news = true;
        }
    }

    fn take_settings(&mut self, settings: Settings) {
        self.without_node = WithoutNode::new(&settings);
        self.needs_links = settings.flowtable_after.is_some();
        self.resolver.set_settings(settings);
        self.heard.news = true;
    }
}

impl Desired for ClusterState {
    type Note<'a> = Note<'a>;

    async fn hear(&mut self, witness: &mut dyn Witness<Self>) -> Result<(), InputEnded> {
        // Each of these takes nothing unless it is the one that ends.
        tokio::select! {
            biased;
            events = self.inputs.objects.recv() => self.take(events.ok_or(InputEnded("source"))?, witness),
            changed = self.inputs.addresses.changed() => {
                changed.map_err(|_| InputEnded("node addresses"))?;
                self.take_addresses();
            }
            links = changed(&mut self.inputs.links) => self.take_links(links),
            settings = changed(&mut self.inputs.settings) => self.take_settings(settings),
        }
        Ok(())
    }

    fn hear_all(&mut self, witness: &mut dyn Witness<Self>) -> bool {
        let waiting = self.inputs.objects.len();
        for _ in 0..waiting {
            match self.inputs.objects.try_recv() {
                Ok(events) => self.take(events, witness),
                Err(_) => break,
            }
        }
        let has_addresses = self.inputs.addresses.has_changed().unwrap_or(false);
        if has_addresses {
            self.take_addresses();
        }
        waiting > 0 || has_addresses
    }

    fn is_complete(&self) -> bool {
        self.heard.every_object && self.heard.addresses && (self.heard.links || !self.needs_links)
    }

    fn has_news(&self) -> bool {
        self.heard.news
    }

    fn resolve(&mut self, witness: &mut dyn Witness<Self>) -> Pending {
        self.heard.news = false;
        let changes = self.resolver.resolve();
        witness.hear(&News::Noted(Note::Resolved(&changes)));
        for warning in &changes.warnings {
            if let Some(line) = self.line(Topic::Object(warning.object.clone())) {
                warn!("{warning}{line}");
            }
        }
        for (service, refusal) in &changes.refused {
            let reason = refusal.to_string();
            witness.hear(&News::Failed { service, reason: &reason });
            if let Some(line) = self.line(Topic::Service(service.clone())) {
                warn!(%service, reason, "service cannot be programmed until it is smaller; all others are{line}");
            }
        }
        let Applied { touched, node_changed, flawed } = changes.apply(&mut self.state);
        for FlawedService { service, flaw, .. } in flawed {
            error!(%service, reason = %flaw, "service refused: not programmed until one of its objects changes");
        }
        if node_changed { Pending::All } else { Pending::Services(touched) }
    }

    fn state(&self) -> &ServiceState {
        &self.state
    }

    fn missing(&self) -> Option<&str> {
        match self.resolver.node() {
            None => self.without_node.unknown.as_deref(),
            Some(_) => self.resolver.node_is_gone().then_some(&self.without_node.gone),
        }
    }
}

/// The value after its next change; pends for ever where there is none.
async fn changed<T: Clone>(values: &mut Option<watch::Receiver<T>>) -> T {
    if let Some(values) = values
        && values.changed().await.is_ok()
    {
        return values.borrow_and_update().clone();
    }
    std::future::pending().await
}

impl WithoutNode {
    fn new(settings: &Settings) -> Self {
        let node_ports = settings.node_ports.needs_node_object();
        let detector = settings.local_traffic == LocalDetector::NodeCidrs;
        let consequences = [
            node_ports.then_some("no primary address carries node ports (--nodeport-addresses)"),
            detector.then_some("pods cannot be told from others (--detect-local-mode NodeCIDR)"),
        ];
        let consequences: Vec<_> = consequences.into_iter().flatten().collect();
        let name = settings.node_name.as_str();
        Self {
            unknown: (!consequences.is_empty())
                .then(|| format!("Node {name}: no such object; {}", consequences.join("; "))),
            gone: format!("Node {name}: no such object any more; the addresses, pod ranges and zone that it had hold"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Item, read};
    use crate::settings::Budget;

    fn cluster(local_traffic: LocalDetector, node_ports: &str) -> ClusterState {
        let (_, objects) = mpsc::channel(1);
        let (_, addresses) = watch::channel(None);
        let settings = Settings {
            node_name: "node2".parse().unwrap(),
            local_traffic,
            node_ports: node_ports.parse().unwrap(),
            node_address: None,
            masquerade_all: false,
            flowtable_after: None,
            budget: Budget::default(),
        };
        ClusterState::new(settings, Inputs::new(objects, addresses))
    }

    #[test]
    fn a_missing_node_object_is_named_with_what_does_not_work() {
        let cluster = cluster(LocalDetector::NodeCidrs, "primary");
        let expected = "Node node2: no such object; no primary address carries node ports (--nodeport-addresses); \
                        pods cannot be told from others (--detect-local-mode NodeCIDR)";
        assert_eq!(cluster.missing().unwrap(), expected);
    }

    #[test]
    fn a_node_object_is_missed_only_where_it_is_needed_and_not_there() {
        let bridge = LocalDetector::Bridge("cni0".parse().unwrap());
        assert_eq!(cluster(bridge.clone(), "all").missing(), None);
        let mut cluster = cluster(bridge, "primary");
        let Item::Object(node) = read("{apiVersion: v1, kind: Node, metadata: {name: node2}}").remove(0) else {
            unreachable!()
        };
        cluster.take(vec![Event::Changed(node)], &mut ());
        assert_eq!(cluster.missing(), None);
    }
}
