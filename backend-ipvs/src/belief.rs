//! What we believe to be in the kernel: what was programmed last, and nothing that can be rendered again.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use backend_api::{Family, FrontendKey, Service, ServiceName, ServicePort};
use backend_nft::marking::{Mark, Marks, Target};
use netlink::ipvs::{RealServer, VirtualKey};

use crate::diff::Change;
use crate::marks::EXHAUSTED;
use crate::render::{Role, render};
use crate::schedulers::Schedulers;
use crate::servers::{Server, Servers, key, our_mark};

/// The virtual servers that were programmed last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Belief {
    /// Every service, as it was programmed.
    pub(crate) services: BTreeMap<ServiceName, Programmed>,
    /// Those that are left out, and why.
    pub(crate) unfit: BTreeMap<ServiceName, String>,
    /// Marks that a service's virtual servers have, and in which family.
    pub(crate) taken: HashMap<Mark, Family>,
    /// What drains: real servers of services' virtual servers, and virtual servers that belong to no service any more.
    /// Only those real servers that drain.
    pub(crate) draining: Servers,
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
    pub(crate) fn servers(&self, schedulers: &Schedulers) -> Servers {
        let mut servers = Servers::new();
        for wanted in render(&self.service, schedulers) {
            if let Some(mark) = self.marks.get(&wanted.role) {
                servers.insert(wanted.role.key(*mark), wanted.server(*mark));
            }
        }
        servers
    }
}

impl Belief {
    /// Whether the virtual server is a service's.
    pub(crate) fn is_taken(&self, of: VirtualKey) -> bool {
        our_mark(of).is_some_and(|mark| self.taken.get(&mark).is_some_and(|family| key(*family, mark) == of))
    }

    /// Notes that a service is left out because no mark is free, and frees those that it had got.
    pub(crate) fn leave_out(&mut self, service: &ServiceName, marks: &Assigned) {
        self.unfit.insert(service.clone(), EXHAUSTED.to_owned());
        for mark in marks.values() {
            self.taken.remove(mark);
        }
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
        let taken = self.taken.iter().map(|(mark, family)| key(*family, *mark));
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
