//! From what was read from the kernel: everything is looked at, and only what is wrong is written.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use backend_api::{FrontendKey, Pool, Service, ServicePort, ServiceState};
use backend_nft::marking::{Mark, Marked, Target};

use super::{Plan, Terms, unfit};
use crate::belief::{Assigned, Programmed};
use crate::diff::diff;
use crate::marks::{choose, recall};
use crate::render::{PortId, Role, Wanted, render};
use crate::servers::{Servers, socket_address};

/// Which marks virtual servers had, as the tables say it.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    /// Which marks a frontend leads to.
    by_frontend: HashMap<FrontendKey, BTreeSet<(Option<Pool>, Mark)>>,
}

impl Recalled {
    /// From what the tables say.
    pub(crate) fn new(tables: Vec<Marked>) -> Self {
        let mut recalled = Self::default();
        for Marked { frontend, pool, mark } in tables {
            recalled.by_frontend.entry(frontend).or_default().insert((pool, mark));
        }
        recalled
    }
}

impl Plan {
    /// What leads from `found` to `desired`.
    pub(crate) fn adopt(mut found: Servers, recalled: &Recalled, desired: &ServiceState, terms: Terms<'_>) -> Self {
        let mut plan = Plan::default();
        for Marking { service, wanted, marks } in assign(&mut plan, &found, recalled, desired, terms) {
            for wanted in wanted {
                let wanted = wanted.server(marks[&wanted.role]);
                let before = found.remove(&wanted.server.key);
                let change = diff(before.as_ref(), Some(&wanted), terms.deadline);
                plan.belief.note(&wanted, &change);
                plan.extend(&service.name, change);
            }
            plan.belief.services.insert(service.name.clone(), Programmed { service: service.clone(), marks });
        }
        for orphan in found.values() {
            let change = diff(Some(orphan), None, terms.deadline);
            plan.belief.note(orphan, &change);
            plan.unmake.extend(change.unmake);
        }
        plan
    }
}

/// A service, its virtual servers, and their marks.
struct Marking<'a> {
    service: &'a Arc<Service>,
    wanted: Vec<Wanted>,
    marks: Assigned,
}

/// Virtual servers that had a mark get it back, before the others choose.
fn assign<'a>(
    plan: &mut Plan,
    found: &Servers,
    recalled: &Recalled,
    desired: &'a ServiceState,
    terms: Terms<'_>,
) -> Vec<Marking<'a>> {
    let mut services = Vec::new();
    for service in desired.services() {
        if let Some(reason) = unfit(service, terms) {
            plan.belief.unfit.insert(service.name.clone(), reason);
            continue;
        }
        let mut marking = Marking { service, wanted: render(service, terms.schedulers), marks: Assigned::new() };
        marking.recall(plan, found, recalled);
        services.push(marking);
    }
    services.retain_mut(|marking| marking.choose(plan, found));
    services
}

impl Marking<'_> {
    /// Gives each virtual server the mark that it had, if that is known.
    fn recall(&mut self, plan: &mut Plan, found: &Servers, recalled: &Recalled) {
        for port in &self.service.ports {
            let memory = Memory { port, found, recalled };
            let id = PortId::of(port);
            for Wanted { role, .. } in self.wanted.iter().filter(|wanted| wanted.role.port == id) {
                let taken = &plan.belief.taken;
                let mark =
                    recall(&self.service.name, role, |mark| memory.knows(role, mark) && !taken.contains_key(&mark));
                if let Some(mark) = mark {
                    plan.belief.taken.insert(mark, role.port.family);
                    self.marks.insert(role.clone(), mark);
                }
            }
        }
    }

    /// Gives a mark to each virtual server that has none. Whether there were enough; if not, the service is left out.
    fn choose(&mut self, plan: &mut Plan, found: &Servers) -> bool {
        for Wanted { role, .. } in &self.wanted {
            if !self.marks.contains_key(role) {
                let taken = &plan.belief.taken;
                let mark =
                    choose(&self.service.name, role, |mark| taken.contains_key(&mark), |key| found.contains_key(&key));
                let Some(mark) = mark else {
                    plan.belief.leave_out(&self.service.name, &self.marks);
                    return false;
                };
                plan.belief.taken.insert(mark, role.port.family);
                self.marks.insert(role.clone(), mark);
            }
        }
        true
    }
}

/// What is known of a port's marks.
struct Memory<'a> {
    port: &'a ServicePort,
    found: &'a Servers,
    recalled: &'a Recalled,
}

impl Memory<'_> {
    /// Whether `mark` was this virtual server's, and may stay its mark.
    fn knows(&self, role: &Role, mark: Mark) -> bool {
        let frontends = self.port.frontends.iter().map(|frontend| frontend.key);
        let mut of_role = frontends.filter(|frontend| role.frontend.is_none_or(|own| own == *frontend));
        of_role.any(|frontend| self.hints(role, frontend, mark))
    }

    fn hints(&self, role: &Role, frontend: FrontendKey, mark: Mark) -> bool {
        let Some(hints) = self.recalled.by_frontend.get(&frontend) else { return false };
        match role.target {
            Target::Pool(pool) => hints.contains(&(Some(pool), mark)),
            Target::Endpoint(endpoint) => {
                let server = self.found.get(&role.key(mark));
                hints.contains(&(None, mark))
                    && server.is_some_and(|server| server.reals.contains_key(&socket_address(endpoint)))
            }
        }
    }
}
