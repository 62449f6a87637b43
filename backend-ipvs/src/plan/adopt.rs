//! From what was read from the kernel: everything is looked at, and only what is wrong is written.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use backend_api::{FrontendKey, Pool, Service, ServicePort, ServiceState};

use super::{Found, Plan, Terms, unfit};
use crate::belief::{Assigned, Programmed};
use crate::diff::diff;
use crate::marks::{choose, recall};
use crate::render::{Role, Wanted, render};
use backend_nft::marking::{Mark, Marked, Target, kernel_family};
use netlink::ipvs::VirtualKey;

/// What the tables say of the marks that virtual servers had.
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
    pub(crate) fn adopt(mut found: Found, recalled: &Recalled, desired: &ServiceState, terms: Terms<'_>) -> Self {
        let mut plan = Plan::default();
        let services = marks(&mut plan, &found, recalled, desired, terms);
        for (service, wanted, marks) in services {
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
type Marking<'a> = (&'a Arc<Service>, Vec<Wanted>, Assigned);

/// Who had a mark gets it back, before the others choose.
fn marks<'a>(
    plan: &mut Plan,
    found: &Found,
    recalled: &Recalled,
    desired: &'a ServiceState,
    terms: Terms<'_>,
) -> Vec<Marking<'a>> {
    let mut services: Vec<Marking<'a>> = Vec::new();
    for service in desired.services() {
        if let Some(reason) = unfit(service, terms) {
            plan.belief.unfit.insert(service.name.clone(), reason);
            continue;
        }
        let wanted = render(service, terms.schedulers);
        let mut marks = Assigned::new();
        for port in &service.ports {
            let remembered = Remembered { port, found, recalled };
            for Wanted { role, .. } in wanted.iter().filter(|wanted| is_of(&wanted.role, port)) {
                let knows = |mark| remembered.knows(role, mark) && !plan.belief.taken.contains_key(&mark);
                if let Some(mark) = recall(&service.name, role, knows) {
                    plan.belief.taken.insert(mark, kernel_family(role.port.family));
                    marks.insert(role.clone(), mark);
                }
            }
        }
        services.push((service, wanted, marks));
    }
    for (service, wanted, marks) in &mut services {
        for Wanted { role, .. } in wanted.iter() {
            if !marks.contains_key(role) {
                let is_taken = |mark| plan.belief.taken.contains_key(&mark);
                let mark = choose(&service.name, role, is_taken, |key| found.contains_key(&key));
                plan.belief.taken.insert(mark, kernel_family(role.port.family));
                marks.insert(role.clone(), mark);
            }
        }
    }
    services
}

fn is_of(role: &Role, port: &ServicePort) -> bool {
    (&role.port.name, role.port.family, role.port.protocol) == (&port.name, port.family, port.protocol)
}

/// What is known of a port's marks.
struct Remembered<'a> {
    port: &'a ServicePort,
    found: &'a Found,
    recalled: &'a Recalled,
}

impl Remembered<'_> {
    /// Whether `mark` was this virtual server's, and may go on being it.
    fn knows(&self, role: &Role, mark: Mark) -> bool {
        let of_role = |frontend: &FrontendKey| role.frontend.is_none_or(|own| own == *frontend);
        let mut frontends = self.port.frontends.iter().map(|frontend| frontend.key).filter(of_role);
        frontends.any(|frontend| self.hints(role, frontend, mark))
    }

    fn hints(&self, role: &Role, frontend: FrontendKey, mark: Mark) -> bool {
        let Some(hints) = self.recalled.by_frontend.get(&frontend) else { return false };
        match role.target {
            Target::Pool(pool) => hints.contains(&(Some(pool), mark)),
            Target::Endpoint(endpoint) => {
                let leads_there = |key: VirtualKey| self.found.get(&key)?.reals.get(&endpoint.into());
                hints.contains(&(None, mark)) && leads_there(role.key(mark)).is_some()
            }
        }
    }
}
