//! Finds out which schedulers there are, each once, by trying it.

use backend_api::{Family, Scheduler, Scope, Service, ServiceState, SyncError};
use netlink::ipvs::{Flags, Operation, VirtualServer};
use nix::errno::Errno;

use super::Programmer;
use crate::errors::from_refusal;
use crate::marks::TRIAL;
use crate::port::{Port, execute};
use crate::schedulers::Schedulers;
use crate::servers::key;

/// Why most schedulers are not used.
const MISSING: &str = "not in this kernel, and could not be loaded";

impl<P: Port> Programmer<P> {
    /// Finds out which schedulers there are of those that are asked for.
    pub(super) async fn learn(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<(), SyncError> {
        let services: Vec<&Service> = match scope {
            Scope::Services(names) if self.belief.is_some() => {
                names.iter().filter_map(|name| desired.service(name)).map(|service| &**service).collect()
            }
            Scope::Services(_) | Scope::All => desired.services().map(|service| &**service).collect(),
        };
        for scheduler in self.schedulers.untried(services.iter().flat_map(|service| &service.ports)) {
            let reason = self.lacks(scheduler).await?;
            self.schedulers.learn(scheduler, reason.is_none());
        }
        for service in services {
            let missing = service.ports.iter().find_map(|port| self.schedulers.missing(port));
            if let Some(scheduler) = missing
                && self.told.insert(service.name.clone())
            {
                let (default, module) = (self.schedulers.default(), scheduler.module());
                let reason = Schedulers::flaw(scheduler).unwrap_or(MISSING);
                tracing::warn!(service = %service.name, %scheduler, module, %default, reason, "scheduler is not used");
            }
        }
        Ok(())
    }

    /// Why a scheduler cannot be used, if so. To find out whether the kernel has it, a virtual server that no packet is
    /// marked for gets it, for an instant.
    pub(super) async fn lacks(&mut self, scheduler: Scheduler) -> Result<Option<&'static str>, SyncError> {
        if let Some(flaw) = Schedulers::flaw(scheduler) {
            return Ok(Some(flaw));
        }
        let key = key(Family::V4, TRIAL);
        let scheduler = scheduler.name().to_owned();
        let trial = VirtualServer { key, scheduler, flags: Flags::NONE, persistence: None, engine: None };
        // Removed first: a process that tried before may have died in between.
        let operations = [Operation::RemoveVirtual(key), Operation::AddVirtual(trial), Operation::RemoveVirtual(key)];
        let refusals = execute(&mut self.port, &operations).await?;
        match refusals.into_iter().find(|refusal| refusal.operation == 1) {
            None => Ok(None),
            Some(refusal) if refusal.errno == Errno::ENOENT => Ok(Some(MISSING)),
            Some(refusal) => Err(from_refusal(refusal)),
        }
    }
}
