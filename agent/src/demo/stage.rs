//! The world and the dataplane that acts on its node.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use backend_api::{Dataplane, Family, Report, Scope, ServiceName, ServiceState, SyncError};

use super::failure::Failure;
use super::verdict::Geography;
use crate::backend::OpenError;
use testbed::{Executor, World, WorldPlan};

/// Opens a dataplane in the namespace where it is awaited.
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Box<dyn Dataplane>, OpenError>> + Send>>;

/// The world, and the dataplane inside its node.
#[derive(Debug)]
pub(super) struct Stage {
    // First, so that it is dropped before the namespace that it is in.
    executor: Executor,
    /// Taken while it works.
    dataplane: Option<Box<dyn Dataplane>>,
    pub(super) world: World,
}

/// A sync, and how long it took.
#[derive(Clone, Debug)]
pub(super) struct Synced {
    pub(super) report: Report,
    pub(super) took: Duration,
}

impl Stage {
    /// Builds the world and opens the dataplane inside its node.
    pub(super) fn set(plan: &WorldPlan, opening: Opening) -> Result<Self, Failure> {
        let world = World::build(plan)?;
        let executor = world.node().namespace.executor().map_err(Failure::Thread)?;
        let dataplane = executor.run(opening).map_err(Failure::Backend)?;
        Ok(Self { executor, dataplane: Some(dataplane), world })
    }

    /// Programs everything.
    pub(super) fn program(&mut self, state: &ServiceState) -> Result<Synced, Failure> {
        self.sync(state, None)
    }

    /// Programs what has changed.
    pub(super) fn program_changes(
        &mut self,
        state: &ServiceState,
        touched: BTreeSet<ServiceName>,
    ) -> Result<Synced, Failure> {
        self.sync(state, Some(touched))
    }

    /// Removes everything that the dataplane owns.
    pub(super) fn clear(&mut self) -> Result<(), Failure> {
        self.act(|mut dataplane| async move {
            let outcome = dataplane.remove_all().await;
            (dataplane, outcome)
        })
    }

    fn sync(&mut self, state: &ServiceState, touched: Option<BTreeSet<ServiceName>>) -> Result<Synced, Failure> {
        let state = state.clone();
        let synced = self.act(|mut dataplane| async move {
            let scope = touched.as_ref().map_or(Scope::All, Scope::Services);
            let started = Instant::now();
            let outcome = dataplane.sync(&state, scope).await;
            let took = started.elapsed();
            (dataplane, outcome.map(|report| Synced { report, took }))
        })?;
        match synced.report.failed.first() {
            Some(failed) => Err(Failure::Service(failed.service.to_string(), failed.reason.clone())),
            None => Ok(synced),
        }
    }

    /// Lets the dataplane do something on a thread inside the node.
    fn act<T: Send + 'static, F>(&mut self, act: impl FnOnce(Box<dyn Dataplane>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = (Box<dyn Dataplane>, Result<T, SyncError>)> + Send + 'static,
    {
        let dataplane = self.dataplane.take().expect("it is put back after each act");
        let (dataplane, outcome) = self.executor.run(act(dataplane));
        self.dataplane = Some(dataplane);
        outcome.map_err(Failure::Sync)
    }
}

impl Geography for World {
    fn sources(&self, client: &str, answerer: &str) -> Option<(IpAddr, IpAddr)> {
        let own = self.place(client)?.address(Family::V4)?;
        Some((own, self.node_address_towards(answerer, Family::V4)?))
    }
}
