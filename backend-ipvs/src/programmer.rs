//! Makes the kernel equal to a state: believe or look, plan, make, commit the tables, unmake; and if the kernel refuses,
//! leave out whom it refuses.
//!
//! ```text
//!  sync ─► belief? ── yes ─► onward ─► make ─► tables ─► unmake ─► done
//!             │ no                      │ refused          │ refused
//!             ▼                         ▼                  ▼
//!      look ─► adopt ─► make ─► tables ─► unmake ─► done, without those who were refused
//! ```
//!
//! What if we die here? While making, the tables lead where they led; while unmaking, to what is there. What is left
//! over is nobody's, and who comes next looks and retires it.

mod learn;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use watch::Seen;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backend_api::{EndpointAddress, Report, Scheduler, Scope, ServiceName, ServiceState, SyncError};
use backend_nft::marking::Mark;
use nix::errno::Errno;

use crate::belief::Belief;
use crate::errors::{from_read, from_refusals, from_socket};
use crate::marks::ours;
use crate::plan::{Found, Plan, Recalled, Terms};
use crate::port::{Port, Tables};
use crate::render::Server;
use crate::schedulers::Schedulers;
use netlink::ipvs::{Operation, Refusal};

/// How often the kernel is looked at before somebody else is thought to work against us.
const ROUNDS: usize = 4;

/// Programs our virtual servers through a port, and remembers what it programmed.
#[derive(Debug)]
pub(crate) struct Programmer<P> {
    pub(crate) port: P,
    schedulers: Schedulers,
    /// How long what leaves may keep its connections.
    drain: Duration,
    belief: Option<Belief>,
    /// Services that were told that their scheduler is not there.
    told: BTreeSet<ServiceName>,
    /// Whose virtual servers were compared last.
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
    Astray(S),
    /// Nobody leads anywhere new.
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
            let reason = reason.to_owned();
            let feature = format!("IPVS scheduler {default} (module {})", default.module());
            return Err(SyncError::Unsupported { feature, reason });
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
            match self.carry_out(plan, tables, (desired, scope)).await? {
                Carried::Out(synced) => return Ok(outcome.and::<T>(synced)),
                Carried::Astray(synced) => outcome = outcome.and::<T>(synced),
                Carried::Refused(refused) => {
                    let first = refused.first().map(|(_, refusal)| refusal.to_string()).unwrap_or_default();
                    tracing::warn!(refused = refused.len(), error = first, "looking again");
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
        for _ in 0..ROUNDS {
            // Whoever looks may find other marks than were believed.
            tables.forget();
            let recalled = Recalled::new(tables.marks().await?);
            let found = self.look().await?;
            let plan = Plan::adopt(found, &recalled, desired, self.terms(&refused));
            match self.carry_out(plan, tables, (desired, Scope::All)).await? {
                Carried::Out(synced) => return Ok(outcome.and::<T>(synced)),
                Carried::Astray(synced) => outcome = outcome.and::<T>(synced),
                Carried::Refused(more) => {
                    for (service, refusal) in more.into_iter().filter(|(_, refusal)| !is_astray(refusal)) {
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
        sync: (&ServiceState, Scope<'_>),
    ) -> Result<Carried<T::Synced>, SyncError> {
        let Plan { make, unmake, belief } = plan;
        let carried = self.carry(make, unmake, &belief, (tables, sync.0, sync.1)).await?;
        self.belief = matches!(carried, Carried::Out(_)).then_some(belief);
        Ok(carried)
    }

    async fn carry<T: Tables>(
        &mut self,
        make: Vec<(ServiceName, Operation)>,
        unmake: Vec<Operation>,
        belief: &Belief,
        (tables, desired, scope): (&mut T, &ServiceState, Scope<'_>),
    ) -> Result<Carried<T::Synced>, SyncError> {
        let (services, make): (Vec<ServiceName>, Vec<Operation>) = make.into_iter().unzip();
        let refusals = self.execute(&make).await?;
        if !refusals.is_empty() {
            let of_service = |refusal: Refusal| (services[refusal.operation].clone(), refusal);
            return Ok(Carried::Refused(refusals.into_iter().map(of_service).collect()));
        }
        let mut synced = tables.sync(desired, scope, belief).await?;
        T::report(&mut synced).writes += make.len() + unmake.len();
        let refusals = self.execute(&unmake).await?;
        if refusals.is_empty() {
            return Ok(Carried::Out(synced));
        }
        match refusals.into_iter().find(|refusal| !is_astray(refusal)) {
            None => Ok(Carried::Astray(synced)),
            Some(Refusal { object, errno, .. }) => Err(SyncError::Refused { object, reason: errno.desc().to_owned() }),
        }
    }

    /// Executes, and fails where it is nobody's fault. What was refused otherwise.
    async fn execute(&mut self, operations: &[Operation]) -> Result<Vec<Refusal>, SyncError> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        let refusals = self.port.execute(operations).await.map_err(|error| from_socket(&error))?;
        from_refusals(&refusals).map_or(Ok(refusals), Err)
    }

    /// Everything of ours that the kernel has.
    async fn look(&mut self) -> Result<Found, SyncError> {
        let mut found = Found::new();
        for entry in self.port.virtual_servers().await.map_err(from_read)? {
            let key = entry.server.key;
            if ours(key).is_some() {
                let reals = self.port.real_servers(&key).await.map_err(from_read)?;
                let reals = reals.into_iter().map(|entry| (entry.server.address, entry.server));
                found.insert(key, Server { server: entry.server, reals: reals.collect() });
            }
        }
        Ok(found)
    }

    /// Who gets new connections of each mark, with shares.
    pub(crate) async fn shares(&mut self) -> Result<BTreeMap<Mark, BTreeMap<EndpointAddress, u32>>, SyncError> {
        let mut shares = BTreeMap::<Mark, BTreeMap<EndpointAddress, u32>>::new();
        for (key, server) in self.look().await? {
            let Some(mark) = ours(key) else { continue };
            let live =
                server.reals.values().filter(|real| real.weight > 0).map(|real| (real.address.into(), real.weight));
            shares.entry(mark).or_default().extend(live);
        }
        Ok(shares)
    }

    /// Removes every virtual server of ours; their connections end.
    pub(crate) async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.belief = None;
        let servers = self.port.virtual_servers().await.map_err(from_read)?;
        let keys = servers.into_iter().map(|entry| entry.server.key).filter(|key| ours(*key).is_some());
        let remove: Vec<Operation> = keys.map(Operation::RemoveVirtual).collect();
        let refusals = self.execute(&remove).await?;
        match refusals.into_iter().find(|refusal| !is_astray(refusal)) {
            None => Ok(()),
            Some(Refusal { object, errno, .. }) => Err(SyncError::Refused { object, reason: errno.desc().to_owned() }),
        }
    }

    fn terms<'a>(&'a self, refused: &'a BTreeMap<ServiceName, String>) -> Terms<'a> {
        let drain = u32::try_from(self.drain.as_secs()).unwrap_or(u32::MAX);
        Terms { schedulers: &self.schedulers, deadline: self.port.now().saturating_add(drain), refused }
    }
}

impl<S> Outcome<S> {
    /// With one more sync of the tables. Who failed is who failed last.
    fn and<T: Tables<Synced = S>>(mut self, mut synced: S) -> Self {
        let report = std::mem::take(T::report(&mut synced));
        self.report.writes += report.writes;
        self.report.failed = report.failed;
        self.report.warnings = report.warnings;
        self.synced.push(synced);
        self
    }
}

/// Whether a refusal says that somebody else changed what we believed or saw.
fn is_astray(refusal: &Refusal) -> bool {
    matches!(refusal.errno, Errno::EEXIST | Errno::ENOENT | Errno::ESRCH)
}
