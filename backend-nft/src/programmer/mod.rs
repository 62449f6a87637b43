//! Makes the kernel equal to a state: believe or look, plan, commit; if the kernel refuses, find the services it
//! refuses.
//!
//! ```text
//!  sync ─► belief? ── yes ─► onward ─► commit ──► done
//!             │ no                        │ refused
//!             ▼                           ▼
//!           look ─► adopt ─► commit ─► without the suspects ─► the suspects by halves ─► done, with failures
//! ```
//!
//! What if we die here? Before the commit nothing has happened, after it everything has; the next process looks.

mod devices;
mod isolate;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backend_api::{
    Failure, Family, FrontendKey, NodeNetwork, Observed, Offload, PerFamily, Report, Scope, Service, ServiceName,
    ServiceState, SyncError,
};
use nix::errno::Errno;
use tracing::{Instrument, trace_span};

use crate::belief::Belief;
use crate::content::{Content, Found};
use crate::errors::{from_commit, from_read};
use crate::marks::Marks;
use crate::observe::{Servers, observe, offload};
use crate::ownership::{Layout, Whose, foreign_table};
use crate::plan::{Plan, Terms};
use crate::port::{Counters, Port};
use crate::refused::refused;
use crate::ruleset::lower::kernel_family;
use crate::ruleset::{AFFINITY_SIZE, Delivery, TABLE};
use crate::transaction::Transaction;
use netlink::nftables::{CommitError, Ownership, Table};

/// How long what is known of session affinity's map counts.
const CROWDED: Duration = Duration::from_secs(60);

/// Programs our tables through a port, and remembers what it programmed.
#[derive(Debug)]
pub(crate) struct Programmer<P> {
    pub(crate) port: P,
    delivery: Delivery,
    belief: Option<Belief>,
    /// What was there before commits that failed.
    unclear: HashSet<FrontendKey>,
    /// The netlink port of another process that owns our tables.
    other_owner: Option<u32>,
    /// Why this kernel can hand nothing to a flowtable, once it was asked.
    lacking: Option<Option<String>>,
    /// What every device in our flowtables is there for; none where that is not known.
    joined: Option<Offload>,
    /// When it was asked last how many clients session affinity remembers, and what there is to say about it.
    crowded: Option<(Instant, Vec<String>)>,
}

/// What a sync did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// For the caller.
    pub(crate) report: Report,
    /// What was there before.
    pub(crate) before: Before,
}

/// What was there before a sync.
#[derive(Debug)]
pub(crate) enum Before {
    /// The frontends that were read from the kernel.
    Looked(Vec<FrontendKey>),
    /// What was believed: of the services that changed, and of the node.
    Believed(Arc<NodeNetwork>, Vec<(ServiceName, Option<Arc<Service>>)>),
}

impl Before {
    /// Every frontend that a change from this may have removed or changed.
    pub(crate) fn frontends(&self) -> Vec<FrontendKey> {
        match self {
            Self::Looked(held) => held.clone(),
            Self::Believed(_, changed) => {
                let ports =
                    changed.iter().filter_map(|(_, service)| service.as_ref()).flat_map(|service| &service.ports);
                ports.flat_map(|port| &port.frontends).map(|frontend| frontend.key).collect()
            }
        }
    }
}

impl<P: Port> Programmer<P> {
    /// One that believes nothing.
    pub(crate) fn new(port: P, delivery: Delivery) -> Self {
        let unclear = HashSet::new();
        Self { port, delivery, belief: None, unclear, other_owner: None, lacking: None, joined: None, crowded: None }
    }

    /// What is believed to be programmed.
    pub(crate) fn belief(&self) -> Option<&Belief> {
        self.belief.as_ref()
    }

    /// Believes nothing any more: the next sync looks.
    pub(crate) fn forget(&mut self) {
        self.belief = None;
    }

    /// Makes the kernel equal to `desired`; `marks` for tables that mark, and only for them.
    pub(crate) async fn sync(
        &mut self,
        desired: &ServiceState,
        scope: Scope<'_>,
        marks: Option<&dyn Marks>,
    ) -> Result<Outcome, SyncError> {
        let (terms, lacking) = self.terms(desired, marks).await?;
        debug_assert_eq!(terms.delivery(), self.delivery);
        let mut outcome = self.program(desired, scope, &terms).await?;
        outcome.report.warnings.extend(lacking);
        outcome.report.warnings.extend(desired.unmet().map(|unmet| unmet.to_string()));
        outcome.report.warnings.extend(overlaps(desired.node()));
        outcome.report.warnings.extend(self.crowded().await.iter().cloned());
        self.join_devices(terms.node.offload.as_ref(), &mut outcome.report).await;
        Ok(outcome)
    }

    /// Everything but devices.
    async fn program(
        &mut self,
        desired: &ServiceState,
        scope: Scope<'_>,
        terms: &Terms<'_>,
    ) -> Result<Outcome, SyncError> {
        // Taken, not borrowed: if the commit fails we no longer claim to know the tables.
        if let Some(belief) = self.belief.take() {
            let node = belief.node.clone();
            let mut plan = Plan::onward(belief, desired, scope, terms, &BTreeSet::new());
            let before = Before::Believed(node, std::mem::take(&mut plan.changed));
            match self.carry_out(plan).await? {
                Ok(report) => return Ok(Outcome { report, before }),
                Err(CommitError::Refused(refusals)) => {
                    // Perhaps the kernel is not what we believed.
                    tracing::warn!(refused = refusals.len(), error = %CommitError::Refused(refusals), "kernel refused a change, looking again");
                }
                Err(error) => return Err(self.not_committed(&before, error)),
            }
        }
        self.joined = None;
        let found = self.look(Counters::Earlier).instrument(trace_span!("look")).await?;
        let frontends = [&found.v4, &found.v6].into_iter().filter_map(Found::content).flat_map(Content::frontends);
        let before = Before::Looked(frontends.collect());
        let plan = Plan::adopt(&found, desired, terms, &BTreeSet::new());
        let report = match self.carry_out(plan).await? {
            Ok(report) => report,
            Err(CommitError::Refused(refusals)) => {
                let isolated = self.isolate(&found, desired, terms, refusals).await;
                isolated.inspect_err(|_| self.unclear.extend(before.frontends()))?
            }
            Err(error) => return Err(self.not_committed(&before, error)),
        };
        Ok(Outcome { report, before })
    }

    /// A commit failed. Perhaps it was done, or a part of it: then what was there before cannot be read any more.
    fn not_committed(&mut self, before: &Before, error: CommitError) -> SyncError {
        self.unclear.extend(before.frontends());
        from_commit(error)
    }

    /// The frontends that commits which failed may have removed or changed all the same.
    pub(crate) fn take_unclear(&mut self) -> HashSet<FrontendKey> {
        std::mem::take(&mut self.unclear)
    }

    /// Families whose session affinity can remember no further client, where the kernel tells.
    async fn crowded(&mut self) -> &[String] {
        if self.crowded.as_ref().is_none_or(|(asked, _)| asked.elapsed() >= CROWDED) {
            let mut warnings = Vec::new();
            for family in Family::ALL {
                // What cannot be read now is asked again, and matters to no service.
                let Ok(Some(remembered)) = self.port.remembered(family).await else { continue };
                if remembered >= AFFINITY_SIZE {
                    let what =
                        format!("session affinity ({family}): {remembered} clients are remembered, which is all");
                    warnings.push(format!("{what}; new ones are served by any endpoint until others are forgotten"));
                }
            }
            self.crowded = Some((Instant::now(), warnings));
        }
        self.crowded.as_ref().map_or(&[], |(_, warnings)| warnings)
    }

    /// What the kernel holds.
    pub(crate) async fn observe(&mut self, servers: &Servers<'_>) -> Result<Observed, SyncError> {
        Ok(observed(&self.look(Counters::Current).await?, servers))
    }

    /// Removes our tables, of any layout.
    pub(crate) async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.belief = None;
        let tables = self.port.tables().await.map_err(from_read)?;
        let remove_tables: Vec<Family> =
            Family::ALL.into_iter().filter(|family| self.has_ours(&tables, *family)).collect();
        if remove_tables.is_empty() {
            return Ok(());
        }
        let transaction = Transaction { remove_tables, ..Transaction::default() };
        self.port.commit(&transaction).await.map_err(from_commit)
    }

    /// Whether the table of `family` is ours, of any layout.
    fn has_ours(&self, tables: &[Table], family: Family) -> bool {
        in_family(tables, family).is_some_and(|table| Layout::from(self.delivery).whose(table) != Whose::Foreign)
    }

    /// Commits a plan and believes it from then on.
    async fn carry_out(&mut self, plan: Plan) -> Result<Result<Report, CommitError>, SyncError> {
        let Plan { mut transaction, belief, failed, changed: _ } = plan;
        let writes = transaction.len();
        if !transaction.is_empty() {
            let recounted = transaction.recounted();
            if !recounted.is_empty() {
                let counters = self.port.counters(&recounted).await.map_err(from_read)?;
                transaction.counters = recounted
                    .into_iter()
                    .zip(counters)
                    .filter_map(|(place, counter)| Some((place, counter?)))
                    .collect();
            }
            match self.port.commit(&transaction).await {
                Ok(()) => {}
                Err(error) => match self.other_owner {
                    Some(port) if is_forbidden(&error) => {
                        let reason = format!("owned by another process (netlink port {port}); does a second one run?");
                        return Err(SyncError::Refused { object: format!("tables {TABLE}"), reason });
                    }
                    _ => return Ok(Err(error)),
                },
            }
        }
        self.belief = Some(belief);
        let mut report = Report::default();
        (report.writes, report.failed) = (writes, failed);
        Ok(Ok(report))
    }

    /// Reads everything under our name.
    pub(crate) async fn look(&mut self, counters: Counters) -> Result<PerFamily<Found>, SyncError> {
        let tables = self.port.tables().await.map_err(from_read)?;
        self.other_owner = None;
        let mut found = PerFamily { v4: Found::Nothing, v6: Found::Nothing };
        for family in Family::ALL {
            let Some(table) = in_family(&tables, family) else { continue };
            let (port, ownership) = self.port.owner();
            *found.of_mut(family) = match Layout::from(self.delivery).whose(table) {
                // Tables that can have an owner are not watched, and one that never had any cannot get one.
                Whose::Ours if ownership == Ownership::Kept && !table.is_kept() => Found::OfOld,
                Whose::Ours => {
                    self.other_owner = self.other_owner.or(table.owner.filter(|owner| *owner != port));
                    let is_orphan = ownership == Ownership::Kept && table.is_orphaned();
                    Found::Table(Content { is_orphan, ..self.port.content(family, counters).await.map_err(from_read)? })
                }
                Whose::OursOfOld => Found::OfOld,
                Whose::Foreign => return Err(foreign_table(family, TABLE)),
            };
        }
        Ok(found)
    }
}

/// Ranges of service addresses that hold addresses of the node: what no service has in them is dropped.
fn overlaps(node: &NodeNetwork) -> impl Iterator<Item = String> {
    node.service_cidrs.iter().filter_map(|range| {
        let own = node.addresses.iter().find(|address| range.contains(**address))?;
        Some(format!(
            "service range {range}: holds {own} of this node, neighbours in it that are no service are cut off"
        ))
    })
}

fn in_family(tables: &[Table], family: Family) -> Option<&Table> {
    tables.iter().find(|table| table.family == kernel_family(family))
}

fn is_forbidden(error: &CommitError) -> bool {
    match error {
        CommitError::Refused(refusals) => refusals.iter().any(|refusal| refusal.errno == Errno::EPERM),
        CommitError::Whole { errno, .. } => *errno == Errno::EPERM,
        _ => false,
    }
}

fn observed(found: &PerFamily<Found>, servers: &Servers<'_>) -> Observed {
    let mut observed = Observed::default();
    for family in Family::ALL {
        if let Some(content) = found.of(family).content() {
            observe(content, family, servers, &mut observed);
            *observed.offload.of_mut(family) = offload(content);
            refused(&content.rules, &mut observed.refused);
        }
    }
    observed
}

/// In order of names, each once.
fn sorted(mut failed: Vec<Failure>) -> Vec<Failure> {
    failed.sort_by(|one, other| one.service.cmp(&other.service));
    failed.dedup_by(|one, other| one.service == other.service);
    failed
}
