//! What we believe to be in the kernel: what was programmed last, and nothing that can be rendered again.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use backend_api::{FrontendKey, Service, ServiceName, ServicePort};

use crate::diff::Change;
use crate::marks::ours;
use crate::render::{Role, Server, render};
use crate::schedulers::Schedulers;
use backend_nft::marking::{Mark, Marks, Target};
use netlink::Family;
use netlink::ipvs::{RealServer, VirtualKey};

/// The virtual servers that were programmed last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Belief {
    /// Every service, as it was programmed.
    pub(crate) services: BTreeMap<ServiceName, Programmed>,
    /// Those that are left out, and why.
    pub(crate) unfit: BTreeMap<ServiceName, String>,
    /// Marks that a service's virtual servers have, and in which family.
    pub(crate) taken: HashMap<Mark, Family>,
    /// What drains: real servers of services' virtual servers, and virtual servers that are nobody's any more. Only
    /// those real servers that drain.
    pub(crate) draining: BTreeMap<VirtualKey, Server>,
}

/// A service as it was programmed.
#[derive(Clone, Debug)]
pub(crate) struct Programmed {
    /// In which form.
    pub(crate) service: Arc<Service>,
    /// Under which marks.
    pub(crate) marks: Assigned,
}

/// The marks of a service's virtual servers.
pub(crate) type Assigned = BTreeMap<Role, Mark>;

impl Programmed {
    /// Its virtual servers, but for what drains.
    pub(crate) fn servers(&self, schedulers: &Schedulers) -> BTreeMap<VirtualKey, Server> {
        let server = |mark: &Mark, wanted: &crate::render::Wanted| (wanted.role.key(*mark), wanted.server(*mark));
        let wanted = render(&self.service, schedulers);
        wanted.iter().filter_map(|wanted| Some(server(self.marks.get(&wanted.role)?, wanted))).collect()
    }
}

impl Belief {
    /// Whether the virtual server is a service's.
    pub(crate) fn is_taken(&self, key: VirtualKey) -> bool {
        ours(key).is_some_and(|mark| self.taken.get(&mark) == Some(&key.family()))
    }

    /// Notes what drains of the virtual server that `server` is, after a change.
    pub(crate) fn note(&mut self, server: &Server, change: &Change) {
        let key = server.server.key;
        if change.draining.is_empty() {
            self.draining.remove(&key);
        } else {
            let draining = Server { server: server.server.clone(), reals: change.draining.clone() };
            self.draining.insert(key, draining);
        }
    }

    /// What drains of a virtual server.
    pub(crate) fn draining_of(&self, key: VirtualKey) -> BTreeMap<SocketAddr, RealServer> {
        self.draining.get(&key).map(|server| server.reals.clone()).unwrap_or_default()
    }

    /// Every virtual server that should be there.
    pub(crate) fn keys(&self) -> impl Iterator<Item = VirtualKey> + '_ {
        let taken = self.taken.iter().map(|(mark, family)| VirtualKey::Mark { family: *family, mark: mark.0 });
        taken.chain(self.draining.keys().copied().filter(|key| !self.is_taken(*key)))
    }
}

impl Marks for Belief {
    fn mark(&self, service: &ServiceName, port: &ServicePort, frontend: FrontendKey, target: Target) -> Option<Mark> {
        self.services.get(service)?.marks.get(&Role::of(port, frontend, target)).copied()
    }

    fn unfit(&self, service: &ServiceName) -> Option<String> {
        self.unfit.get(service).cloned()
    }
}
