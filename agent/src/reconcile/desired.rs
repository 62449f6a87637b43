//! What the kernel should hold, as far as sources have told.

use std::collections::BTreeSet;
use std::net::IpAddr;

use backend_api::ServiceState;
use tracing::{debug, trace, warn};

use super::pending::Pending;
use crate::resolve::{Applied, Resolver, Settings};
use crate::source::Event;

/// Objects that were told, and the state that they come to.
#[derive(Debug)]
pub struct Desired {
    resolver: Resolver,
    state: ServiceState,
    heard: Heard,
}

/// Whether what the state is made of is all there.
#[derive(Debug, Default)]
struct Heard {
    every_object: bool,
    addresses: bool,
    /// Something is told and not resolved.
    news: bool,
}

impl Desired {
    /// Nothing, before any source has told.
    pub fn new(settings: Settings) -> Self {
        Self { resolver: Resolver::new(settings), state: ServiceState::default(), heard: Heard::default() }
    }

    /// The state, as of the last [`Desired::resolve`].
    pub(super) fn state(&self) -> &ServiceState {
        &self.state
    }

    /// Whether everything that is there at the start has been told. Before that the state is not to be programmed: what a
    /// process before us programmed would be removed.
    pub(super) fn is_complete(&self) -> bool {
        self.heard.every_object && self.heard.addresses
    }

    /// Whether there is something to resolve.
    pub(super) fn has_news(&self) -> bool {
        self.heard.news
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
                Event::Listed => {
                    debug!("source has told everything that was there at the start");
                    self.heard.every_object = true;
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

    /// Brings the state up to date, and returns what that changed in it.
    pub(super) fn resolve(&mut self) -> Pending {
        self.heard.news = false;
        let changes = self.resolver.resolve();
        for warning in &changes.warnings {
            warn!("{warning}");
        }
        let Applied { touched, node_changed } = changes.apply(&mut self.state);
        if node_changed { Pending::All } else { Pending::Services(touched) }
    }
}
