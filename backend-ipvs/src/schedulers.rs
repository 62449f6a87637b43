//! Which scheduler a service port gets: what it asks for where the kernel has it, else the default.
//!
//! Kept apart from rendering because what the kernel has is found out by trying, once for each.

use std::collections::{BTreeMap, BTreeSet};

use backend_api::{Affinity, Scheduler, ServicePort};

/// The default, and what was found out about the others.
#[derive(Clone, Debug)]
pub(crate) struct Schedulers {
    default: Scheduler,
    /// Whether ports can get it, of those that were tried.
    tried: BTreeMap<Scheduler, bool>,
}

impl Schedulers {
    /// With this default, which the kernel has.
    pub(crate) fn new(default: Scheduler) -> Self {
        Self { default, tried: BTreeMap::from([(default, true)]) }
    }

    /// The one of this port.
    pub(crate) fn of(&self, port: &ServicePort) -> Scheduler {
        match (port.affinity, port.scheduler) {
            // The tables choose; a virtual server of one real server has nothing to schedule.
            (Affinity::ClientIp { .. }, _) | (Affinity::None, None) => self.default,
            (Affinity::None, Some(wanted)) if self.tried.get(&wanted) == Some(&true) => wanted,
            (Affinity::None, Some(_)) => self.default,
        }
    }

    /// Those that `ports` ask for and that were not tried yet.
    pub(crate) fn untried<'a>(&self, ports: impl IntoIterator<Item = &'a ServicePort>) -> BTreeSet<Scheduler> {
        let asked = ports.into_iter().filter_map(|port| port.scheduler);
        asked.filter(|scheduler| !self.tried.contains_key(scheduler)).collect()
    }

    /// The one that the port asks for and cannot get.
    pub(crate) fn missing(&self, port: &ServicePort) -> Option<Scheduler> {
        port.scheduler.filter(|scheduler| self.tried.get(scheduler) == Some(&false))
    }

    /// Why no port gets this one, though the kernel may have it.
    pub(crate) fn flaw(scheduler: Scheduler) -> Option<&'static str> {
        match scheduler {
            // An address keeps its bucket, so while the endpoint in it drains the address is not answered.
            Scheduler::Dh => Some("it finds no way round an endpoint that drains"),
            Scheduler::Rr
            | Scheduler::Wrr
            | Scheduler::Lc
            | Scheduler::Wlc
            | Scheduler::Fo
            | Scheduler::Ovf
            | Scheduler::Lblc
            | Scheduler::Lblcr
            | Scheduler::Sh
            | Scheduler::Mh
            | Scheduler::Sed
            | Scheduler::Nq
            | Scheduler::Twos => None,
        }
    }

    /// Remembers whether ports can get it.
    pub(crate) fn learn(&mut self, scheduler: Scheduler, is_there: bool) {
        self.tried.insert(scheduler, is_there);
    }

    /// The default.
    pub(crate) fn default(&self) -> Scheduler {
        self.default
    }
}
