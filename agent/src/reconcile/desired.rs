//! What the kernel should hold, as far as sources have told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use backend_api::ServiceState;
use tracing::{debug, trace, warn};

use super::pending::Pending;
use super::witness::{News, Witness};
use crate::config::LocalDetector;
use crate::resolve::{Applied, Resolver, Settings};
use crate::source::Event;

/// Objects that were told, and the state that they come to.
#[derive(Debug)]
pub struct Desired {
    resolver: Resolver,
    state: ServiceState,
    heard: Heard,
    /// What is wrong as long as this node's Node object is not known.
    without_node: Option<String>,
    /// Whether the state depends on the node's links.
    needs_links: bool,
}

/// Whether what the state is made of is all there.
#[derive(Debug, Default)]
struct Heard {
    every_object: bool,
    addresses: bool,
    links: bool,
    /// Something is told and not resolved.
    news: bool,
}

impl Desired {
    /// Nothing, before any source has told.
    pub fn new(settings: Settings) -> Self {
        Self {
            without_node: without_node(&settings),
            needs_links: settings.flowtable_after.is_some(),
            resolver: Resolver::new(settings),
            state: ServiceState::default(),
            heard: Heard::default(),
        }
    }

    /// The state, as of the last [`Desired::resolve`].
    pub(super) fn state(&self) -> &ServiceState {
        &self.state
    }

    /// Whether everything that is there at the start has been told. Before that the state is not to be programmed: what a
    /// process before us programmed would be removed.
    pub(super) fn is_complete(&self) -> bool {
        self.heard.every_object && self.heard.addresses && (self.heard.links || !self.needs_links)
    }

    /// Whether there is something to resolve.
    pub(super) fn has_news(&self) -> bool {
        self.heard.news
    }

    /// What does not work because this node's Node object is not known.
    pub(super) fn missing(&self) -> Option<&String> {
        self.without_node.as_ref().filter(|_| self.resolver.node().is_none())
    }

    /// Takes what a source tells.
    pub(super) fn hear(&mut self, events: Vec<Event>) {
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
                Event::Trouble(trouble) => warn!("{trouble}"),
            }
        }
    }

    /// Takes the node's addresses.
    pub(super) fn hear_addresses(&mut self, addresses: BTreeSet<IpAddr>) {
        self.resolver.set_addresses(addresses);
        self.heard.addresses = true;
        self.heard.news = true;
    }

    /// Takes the node's links.
    pub(super) fn hear_links(&mut self, links: BTreeMap<u32, String>) {
        self.resolver.set_links(links);
        self.heard.links = true;
        self.heard.news = true;
    }

    /// Takes what the operator decides now.
    pub(super) fn hear_settings(&mut self, settings: Settings) {
        self.without_node = without_node(&settings);
        self.needs_links = settings.flowtable_after.is_some();
        self.resolver.set_settings(settings);
        self.heard.news = true;
    }

    /// Brings the state up to date, and returns what that changed in it.
    pub(super) fn resolve(&mut self, witness: &mut dyn Witness) -> Pending {
        self.heard.news = false;
        let changes = self.resolver.resolve();
        witness.hear(&News::Resolved(&changes));
        for warning in &changes.warnings {
            warn!("{warning}");
        }
        let Applied { touched, node_changed } = changes.apply(&mut self.state);
        if node_changed { Pending::All } else { Pending::Services(touched) }
    }
}

fn without_node(settings: &Settings) -> Option<String> {
    let node_ports = settings.node_ports.needs_node_object();
    let detector = settings.local_traffic == LocalDetector::NodeCidrs;
    let consequences = [
        node_ports.then_some("no primary address carries node ports (--nodeport-addresses)"),
        detector.then_some("pods cannot be told from others (--detect-local-mode NodeCIDR)"),
    ];
    let consequences: Vec<_> = consequences.into_iter().flatten().collect();
    let name = settings.node_name.as_str();
    (!consequences.is_empty()).then(|| format!("Node {name}: no such object; {}", consequences.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Item, read};

    fn desired(local_traffic: LocalDetector, node_ports: &str) -> Desired {
        let node_name = "node2".parse().unwrap();
        Desired::new(Settings {
            node_name,
            local_traffic,
            node_ports: node_ports.parse().unwrap(),
            node_address: None,
            masquerade_all: false,
            flowtable_after: None,
        })
    }

    #[test]
    fn a_missing_node_object_is_named_with_what_does_not_work() {
        let desired = desired(LocalDetector::NodeCidrs, "primary");
        let expected = "Node node2: no such object; no primary address carries node ports (--nodeport-addresses); \
                        pods cannot be told from others (--detect-local-mode NodeCIDR)";
        assert_eq!(desired.missing().unwrap(), expected);
    }

    #[test]
    fn a_node_object_is_missed_only_where_it_is_needed_and_not_there() {
        let bridge = LocalDetector::Bridge("cni0".parse().unwrap());
        assert_eq!(desired(bridge.clone(), "all").missing(), None);
        let mut desired = desired(bridge, "primary");
        let Item::Object(node) = read("{apiVersion: v1, kind: Node, metadata: {name: node2}}").remove(0) else {
            unreachable!()
        };
        desired.hear(vec![Event::Changed(node)]);
        assert_eq!(desired.missing(), None);
    }
}
