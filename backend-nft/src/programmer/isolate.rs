//! One service that the kernel refuses must not keep the others out.
//!
//! The kernel says which operations it refused, and operations belong to services by their frontends. Everything but
//! those services is programmed first; then they are tried by halves, until each that is refused stands alone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use backend_api::{
    Failure, FailureKind, Frontend, FrontendKey, FrontendKind, PerFamily, Report, Scope, ServiceName, ServicePort,
    ServiceState, SyncError,
};

use super::{Programmer, sorted};
use crate::content::Found;
use crate::errors::from_commit;
use crate::marks::Marks;
use crate::plan::{Plan, Terms, needed_chains, unfit};
use crate::port::Port;
use crate::render::{Assignment, service_elements};
use crate::ruleset::{ChainName, Element, Key};
use crate::transaction::{Operation, Transaction};
use netlink::nftables::{CommitError, Refusal};

/// After so many refusals the rest of the suspects is reported without having been tried alone.
const MOST_REFUSALS: usize = 64;

impl<P: Port> Programmer<P> {
    /// Programs every service but those that the kernel refuses.
    pub(super) async fn isolate(
        &mut self,
        found: &PerFamily<Found>,
        desired: &ServiceState,
        terms: &Terms<'_>,
        refusals: Vec<Refusal>,
    ) -> Result<Report, SyncError> {
        let mut excluded = BTreeSet::new();
        let mut refusals = refusals;
        let mut report = loop {
            let refused = Plan::adopt(found, desired, terms, &excluded).transaction;
            let known = excluded.len();
            excluded.extend(suspects(&refused, &refusals, desired, terms.marks));
            if excluded.len() == known {
                // Not a service's fault: what every state needs was refused.
                return Err(from_commit(CommitError::Refused(refusals)));
            }
            match self.carry_out(Plan::adopt(found, desired, terms, &excluded)).await? {
                Ok(report) => break report,
                Err(CommitError::Refused(more)) => refusals = more,
                Err(error) => return Err(from_commit(error)),
            }
        };
        self.introduce(desired, terms, excluded, &mut report).await?;
        report.failed = sorted(report.failed);
        Ok(report)
    }

    /// Adds the suspects to what is programmed, by halves.
    async fn introduce(
        &mut self,
        desired: &ServiceState,
        terms: &Terms<'_>,
        suspects: BTreeSet<ServiceName>,
        report: &mut Report,
    ) -> Result<(), SyncError> {
        let mut waiting = vec![suspects.clone()];
        let mut count = 0;
        let mut reason = String::new();
        while let Some(some) = waiting.pop() {
            if count >= MOST_REFUSALS {
                for service in some {
                    report.failed.push(Failure::new(service, FailureKind::Suspected, reason.clone()));
                }
                continue;
            }
            let Some(belief) = self.belief.clone() else { break };
            let plan = Plan::onward(belief, desired, Scope::Services(&some), terms, &BTreeSet::new());
            match self.carry_out(plan).await? {
                Ok(done) => {
                    report.writes += done.writes;
                    report.failed.extend(done.failed);
                }
                Err(CommitError::Refused(refusals)) => {
                    count += 1;
                    reason = CommitError::Refused(refusals).to_string();
                    let names: Vec<ServiceName> = some.into_iter().collect();
                    match names.as_slice() {
                        [one] => {
                            report.failed.push(Failure::new(one.clone(), FailureKind::Refused, reason.clone()));
                        }
                        several => {
                            let (first, second) = several.split_at(several.len() / 2);
                            waiting.extend([second, first].map(|half| half.iter().cloned().collect()));
                        }
                    }
                }
                Err(error) => {
                    self.belief = None;
                    return Err(from_commit(error));
                }
            }
        }
        Ok(())
    }
}

/// The services that the refused operations are about.
fn suspects(
    transaction: &Transaction,
    refusals: &[Refusal],
    desired: &ServiceState,
    marks: Option<&dyn Marks>,
) -> BTreeSet<ServiceName> {
    let refused: BTreeSet<u32> = refusals.iter().flat_map(|refusal| refusal.operations.iter().copied()).collect();
    let operations = (0u32..).zip(transaction.operations()).filter(|(number, _)| refused.contains(number));
    operations
        .flat_map(|(_, operation)| match operation {
            Operation::AddChain(_, chain) | Operation::AddRule(_, chain, _) => by_chain(chain, desired, marks),
            Operation::AddElement(element) | Operation::RemoveElement(element) => owners(element, desired),
            _ => Vec::new(),
        })
        .collect()
}

fn owners(element: &Element, desired: &ServiceState) -> Vec<ServiceName> {
    match element.key {
        Key::Frontend(frontend) | Key::Slot(frontend, _) | Key::Remembered(frontend, _) | Key::Source(frontend, _) => {
            desired.owner(&frontend).cloned().into_iter().collect()
        }
        Key::Address(address) => {
            by_port(desired, |port| port.frontends.iter().any(|frontend| is_cluster_ip(frontend, address)))
        }
        Key::Itself(address) => {
            by_port(desired, |port| port.endpoints.iter().any(|endpoint| endpoint.address.ip == address))
        }
        Key::Code(_) => Vec::new(),
    }
}

fn is_cluster_ip(frontend: &Frontend, address: IpAddr) -> bool {
    frontend.kind == FrontendKind::ClusterIp
        && matches!(frontend.key, FrontendKey::Address { address: of, .. } if of == address)
}

/// The services that need a chain which is not always there.
fn by_chain(chain: ChainName, desired: &ServiceState, marks: Option<&dyn Marks>) -> Vec<ServiceName> {
    let mut names = Vec::new();
    for service in desired.services().filter(|service| unfit(service, marks).is_none()) {
        let mut elements = Vec::new();
        let slots = Assignment::new(service, |_, _| None, marks);
        service_elements(service, &slots, desired.node(), |element| elements.push(element));
        let chains = needed_chains(&elements);
        if chains.v4.contains(&chain) || chains.v6.contains(&chain) {
            names.push(service.name.clone());
        }
    }
    names
}

fn by_port(desired: &ServiceState, is_meant: impl Fn(&ServicePort) -> bool) -> Vec<ServiceName> {
    let meant = desired.services().filter(|service| service.ports.iter().any(&is_meant));
    meant.map(|service| service.name.clone()).collect()
}
