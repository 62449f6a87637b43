//! From what we believe to be in the kernel: the cost is the size of the change.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use backend_api::{Scope, ServiceName, ServiceState};
use backend_nft::marking::Mark;
use netlink::ipvs::VirtualKey;

use super::{Plan, Terms, changed_names, unfit};
use crate::belief::{Assigned, Belief, Programmed};
use crate::diff::diff;
use crate::marks::choose;
use crate::render::{Wanted, render};
use crate::servers::Servers;

impl Plan {
    /// What leads from `belief` to `desired`.
    pub(crate) fn onward(belief: Belief, desired: &ServiceState, scope: Scope<'_>, terms: Terms<'_>) -> Self {
        let all;
        let names = match scope {
            Scope::Services(names) => names,
            Scope::All => {
                all = changed_names(&belief, desired);
                &all
            }
        };
        let mut onward = Onward { plan: Plan { belief, ..Plan::default() }, left: HashSet::new(), terms };
        for name in names {
            onward.add(name, desired);
        }
        onward.plan
    }
}

struct Onward<'a> {
    plan: Plan,
    /// Marks that this plan takes from a virtual server: no other gets them before the plan is carried out.
    left: HashSet<Mark>,
    terms: Terms<'a>,
}

impl Onward<'_> {
    /// Adds what leads to the desired form of a service.
    fn add(&mut self, name: &ServiceName, desired: &ServiceState) {
        let mut service = desired.service(name);
        let before = self.plan.belief.services.remove(name);
        self.plan.belief.unfit.remove(name);
        if let Some(reason) = service.and_then(|service| unfit(service, self.terms)) {
            self.plan.belief.unfit.insert(name.clone(), reason);
            service = None;
        }
        if let (Some(before), Some(service)) = (&before, service)
            && Arc::ptr_eq(&before.service, service)
        {
            self.plan.belief.services.insert(name.clone(), before.clone());
            return;
        }
        let mut wanted = service.map(|service| render(service, self.terms.schedulers)).unwrap_or_default();
        let mut there = before.as_ref().map(|before| before.servers(self.terms.schedulers)).unwrap_or_default();
        for (key, server) in &mut there {
            server.reals.extend(self.plan.belief.draining_of(*key));
        }
        let marks = self.assign(name, before.as_ref(), &wanted).unwrap_or_else(|| {
            (service, wanted) = (None, Vec::new());
            Assigned::new()
        });
        let wanted: Servers = wanted
            .iter()
            .map(|wanted| wanted.server(marks[&wanted.role]))
            .map(|server| (server.server.key, server))
            .collect();
        for key in wanted.keys() {
            // One that drains, and that belonged to no service.
            if !there.contains_key(key)
                && let Some(server) = self.plan.belief.draining.get(key)
            {
                there.insert(*key, server.clone());
            }
        }
        let keys: BTreeSet<VirtualKey> = there.keys().chain(wanted.keys()).copied().collect();
        for key in keys {
            let (before, after) = (there.get(&key), wanted.get(&key));
            let change = diff(before, after, self.terms.deadline);
            if let Some(server) = after.or(before) {
                self.plan.belief.note(server, &change);
            }
            self.plan.extend(name, change);
        }
        if let Some(service) = service {
            self.plan.belief.services.insert(name.clone(), Programmed { service: service.clone(), marks });
        }
    }

    /// The marks of the service's next form. A virtual server that had a mark keeps it. None if too few are free: then
    /// the service is left out.
    fn assign(&mut self, name: &ServiceName, before: Option<&Programmed>, wanted: &[Wanted]) -> Option<Assigned> {
        let had = before.map(|before| &before.marks);
        let mut marks = Assigned::new();
        for Wanted { role, .. } in wanted {
            if let Some(mark) = had.and_then(|had| had.get(role)) {
                marks.insert(role.clone(), *mark);
            }
        }
        for (role, mark) in had.into_iter().flatten() {
            if !marks.contains_key(role) {
                self.plan.belief.taken.remove(mark);
                self.left.insert(*mark);
            }
        }
        for Wanted { role, .. } in wanted {
            if !marks.contains_key(role) {
                let belief = &self.plan.belief;
                let mark = choose(
                    name,
                    role,
                    |mark| belief.taken.contains_key(&mark) || self.left.contains(&mark),
                    |key| belief.draining.contains_key(&key),
                );
                let Some(mark) = mark else {
                    self.left.extend(marks.values());
                    self.plan.belief.leave_out(name, &marks);
                    return None;
                };
                self.plan.belief.taken.insert(mark, role.port.family);
                marks.insert(role.clone(), mark);
            }
        }
        Some(marks)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use backend_api::{
        Endpoint, EndpointAddress, Family, Frontend, NodeNetwork, Protocol, Scheduler, Service, ServicePort,
    };

    use super::*;
    use crate::drain::Deadline;
    use crate::marks::EXHAUSTED;
    use crate::schedulers::Schedulers;

    #[test]
    fn a_service_that_no_mark_is_left_for_is_refused_by_its_name() {
        let port = ServicePort {
            frontends: vec![Frontend::cluster_ip([10, 96, 0, 1].into(), Protocol::Tcp, 80)],
            endpoints: vec![Endpoint::elsewhere(EndpointAddress::new([10, 244, 0, 1].into(), 80))],
            ..ServicePort::new(Family::V4, Protocol::Tcp)
        };
        let name = ServiceName::new("default", "late");
        let mut desired = ServiceState::new(NodeNetwork::unknown());
        desired.upsert(Service::new(name.clone(), vec![port])).unwrap();
        let mut belief = Belief::default();
        // Every mark of TCP that there can be, and two more.
        let numbers = (0..1 << 20).map(|number| (number >> 13) << 16 | number & 0x1fff);
        belief.taken.extend(numbers.map(|number| (Mark(Mark::PREFIX | number), Family::V4)));
        let taken = belief.taken.len();
        let (schedulers, refused) = (Schedulers::new(Scheduler::Wrr), BTreeMap::new());
        let deadline = Deadline::after(0, Duration::ZERO);
        let terms = Terms { schedulers: &schedulers, deadline, refused: &refused };
        let plan = Plan::onward(belief, &desired, Scope::All, terms);
        assert_eq!(plan.belief.unfit, BTreeMap::from([(name, EXHAUSTED.to_owned())]));
        assert!(plan.make.is_empty() && plan.unmake.is_empty() && plan.belief.services.is_empty());
        assert_eq!(plan.belief.taken.len(), taken);
    }
}
