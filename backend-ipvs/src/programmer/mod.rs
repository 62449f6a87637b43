//! Makes the kernel equal to a state: believe or look, plan, make, commit the tables, unmake; and if the kernel
//! refuses a service, leave that service out.
//!
//! ```text
//!  sync ─► belief? ── yes ─► onward ─► make ─► tables ─► unmake ─► done
//!             │ no                      │ refused          │ refused
//!             ▼                         ▼                  ▼
//!      look ─► adopt ─► make ─► tables ─► unmake ─► done, without refused services
//! ```
//!
//! What if we die here? While making, the tables lead where they led; while unmaking, to what is there. What is left
//! over belongs to no service, and the next process looks and retires it.

mod learn;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use watch::{Rounds, Seen, until_drained_again};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backend_api::{EndpointAddress, Report, Scheduler, Scope, ServiceName, ServiceState, SyncError};
use backend_nft::marking::Mark;
use netlink::ipvs::{Operation, Refusal};
use nix::errno::Errno;

use crate::belief::Belief;
use crate::drain::Deadline;
use crate::errors::{from_read, from_refusal, unsupported};
use crate::plan::{Plan, Recalled, Terms};
use crate::port::{Port, Tables, execute, our_servers};
use crate::schedulers::Schedulers;
use crate::servers::{Server, Servers, endpoint, our_mark};

/// How often the kernel is looked at before it is said that another program changes it at the same time.
const ATTEMPTS: usize = 4;

/// Programs our virtual servers through a port, and remembers what it programmed.
#[derive(Debug)]
pub(crate) struct Programmer<P> {
    pub(crate) port: P,
    schedulers: Schedulers,
    /// How long what leaves may keep its connections.
    drain: Duration,
    belief: Option<Belief>,
    /// Services for which a warning said that their scheduler is not there.
    told: BTreeSet<ServiceName>,
    /// The service whose virtual servers were compared last.
    compared: Option<ServiceName>,
}

/// What syncs of the tables did, and all together for the caller.
#[derive(Debug)]
pub(crate) struct Outcome<S> {
    pub(crate) report: Report,
    pub(crate) synced: Vec<S>,
}

/// How far a plan came.
enum Carried<S> {
    /// To its end.
    Out(S),
    /// The tables lead where they should, but something that was to go was gone already.
    Raced(S),
    /// Not to the tables: these operations of services were refused.
    Refused(Vec<(ServiceName, Refusal)>),
}

impl<P: Port> Programmer<P> {
    /// One that believes nothing, and what leaves drains for so long.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`] where the kernel has no such scheduler.
    pub(crate) async fn new(port: P, default: Scheduler, drain: Duration) -> Result<Self, SyncError> {
        let schedulers = Schedulers::new(default);
        let (belief, told) = (None, BTreeSet::new());
        let mut programmer = Self { port, schedulers, drain, belief, told, compared: None };
        if let Some(reason) = programmer.lacks(default).await? {
            return Err(unsupported(&format!("IPVS scheduler {default} (module {})", default.module()), reason));
        }
        Ok(programmer)
    }

    /// Believes nothing any more: the next sync looks.
    pub(crate) fn forget(&mut self) {
        self.belief = None;
    }

    /// Makes the kernel equal to `desired`, the tables included.
    pub(crate) async fn sync<T: Tables>(
        &mut self,
        tables: &mut T,
        desired: &ServiceState,
        scope: Scope<'_>,
    ) -> Result<Outcome<T::Synced>, SyncError> {
        self.learn(desired, scope).await?;
        let mut outcome = Outcome { report: Report::default(), synced: Vec::new() };
        // Taken, not borrowed: if something fails we no longer claim to know the kernel.
        if let Some(belief) = self.belief.take() {
            let refused = BTreeMap::new();
            let plan = Plan::onward(belief, desired, scope, self.terms(&refused));
            match self.carry_out(plan, tables, desired, scope).await? {
                Carried::Out(synced) => return Ok(outcome.and::<T>(synced)),
                Carried::Raced(synced) => outcome = outcome.and::<T>(synced),
                Carried::Refused(refused) => {
                    let first = refused.first().map(|(_, refusal)| refusal.to_string()).unwrap_or_default();
                    tracing::warn!(
                        refused = refused.len(),
                        error = first,
                        "kernel refused changes of virtual servers, looking again"
                    );
                }
            }
        }
        self.adopt(tables, desired, outcome).await
    }

    async fn adopt<T: Tables>(
        &mut self,
        tables: &mut T,
        desired: &ServiceState,
        mut outcome: Outcome<T::Synced>,
    ) -> Result<Outcome<T::Synced>, SyncError> {
        let mut refused = BTreeMap::new();
        for _ in 0..ATTEMPTS {
            // The tables may hold other marks than were believed.
            tables.forget();
            let recalled = Recalled::new(tables.marks().await?);
            let found = self.look().await?;
            let plan = Plan::adopt(found, &recalled, desired, self.terms(&refused));
            match self.carry_out(plan, tables, desired, Scope::All).await? {
                Carried::Out(synced) => return Ok(outcome.and::<T>(synced)),
                Carried::Raced(synced) => outcome = outcome.and::<T>(synced),
                Carried::Refused(more) => {
                    for (service, refusal) in more.into_iter().filter(|(_, refusal)| !is_race(refusal)) {
                        refused.entry(service).or_insert_with(|| refusal.to_string());
                    }
                }
            }
        }
        Err(SyncError::Raced { object: "virtual servers".to_owned() })
    }

    /// Does what a plan says, and believes it from then on.
    async fn carry_out<T: Tables>(
        &mut self,
        plan: Plan,
        tables: &mut T,
        desired: &ServiceState,
        scope: Scope<'_>,
    ) -> Result<Carried<T::Synced>, SyncError> {
        self.belief = None;
        let Plan { make, unmake, belief } = plan;
        let (services, make): (Vec<ServiceName>, Vec<Operation>) = make.into_iter().unzip();
        let refusals = execute(&mut self.port, &make).await?;
        if !refusals.is_empty() {
            let refused = refusals.into_iter().map(|refusal| (services[refusal.operation].clone(), refusal));
            return Ok(Carried::Refused(refused.collect()));
        }
        let mut synced = tables.sync(desired, scope, &belief).await?;
        T::report(&mut synced).writes += make.len() + unmake.len();
        let refusals = execute(&mut self.port, &unmake).await?;
        if refusals.is_empty() {
            self.belief = Some(belief);
            return Ok(Carried::Out(synced));
        }
        only_races(refusals)?;
        Ok(Carried::Raced(synced))
    }

    /// Everything of ours that the kernel has.
    async fn look(&mut self) -> Result<Servers, SyncError> {
        let mut found = Servers::new();
        for server in our_servers(&mut self.port).await? {
            let reals = self.port.real_servers(&server.key).await.map_err(from_read)?;
            let reals = reals.into_iter().map(|entry| (entry.server.address, entry.server)).collect();
            found.insert(server.key, Server { server, reals });
        }
        Ok(found)
    }

    /// Which endpoints get new connections of each mark, with shares.
    pub(crate) async fn shares(&mut self) -> Result<BTreeMap<Mark, BTreeMap<EndpointAddress, u32>>, SyncError> {
        let mut shares = BTreeMap::<Mark, BTreeMap<EndpointAddress, u32>>::new();
        for (key, server) in self.look().await? {
            let Some(mark) = our_mark(key) else { continue };
            let live = server.reals.values().filter(|real| real.weight > 0);
            shares.entry(mark).or_default().extend(live.map(|real| (endpoint(real), real.weight)));
        }
        Ok(shares)
    }

    /// Removes every virtual server of ours; their connections end.
    pub(crate) async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.belief = None;
        let servers = our_servers(&mut self.port).await?;
        let remove: Vec<_> = servers.into_iter().map(|server| Operation::RemoveVirtual(server.key)).collect();
        only_races(execute(&mut self.port, &remove).await?)
    }

    fn terms<'a>(&'a self, refused: &'a BTreeMap<ServiceName, String>) -> Terms<'a> {
        Terms { schedulers: &self.schedulers, deadline: Deadline::after(self.port.now(), self.drain), refused }
    }
}

impl<S> Outcome<S> {
    /// With one more sync of the tables. Services that failed are those of the last one.
    fn and<T: Tables<Synced = S>>(mut self, mut synced: S) -> Self {
        let report = std::mem::take(T::report(&mut synced));
        self.report.writes += report.writes;
        self.report.failed = report.failed;
        self.report.warnings = report.warnings;
        self.synced.push(synced);
        self
    }
}

/// Nothing, if refusals say no more than that another program was faster.
///
/// # Errors
/// The first other refusal.
fn only_races(refusals: Vec<Refusal>) -> Result<(), SyncError> {
    match refusals.into_iter().find(|refusal| !is_race(refusal)) {
        None => Ok(()),
        Some(refusal) => Err(from_refusal(refusal)),
    }
}

/// Whether a refusal says that another program changed what we believed or saw.
fn is_race(refusal: &Refusal) -> bool {
    matches!(refusal.errno, Errno::EEXIST | Errno::ENOENT | Errno::ESRCH)
}
