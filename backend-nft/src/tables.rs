//! What both kinds of our tables need around their programmer: sockets, the watch for changes by other programs, stale
//! flows.

use std::collections::HashSet;

use backend_api::{Cleaning, FrontendKey, HalfOpen, PerFamily, ServiceState, StaleFlows, SyncError};

use crate::ahead::Ahead;
use crate::errors::from_open;
use crate::flows::delete_stale;
use crate::half_open::Cleaner;
use crate::kernel::Kernel;
use crate::options::{Options, Others};
use crate::ownership::ownership;
use crate::probe::probe;
use crate::programmer::{Before, Programmer};
use crate::ruleset::{Delivery, TABLE};
use netlink::conntrack::Conntrack;
use netlink::nftables::{Nftables, Ownership};

/// The tables of one network namespace.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) programmer: Programmer<Kernel>,
    conntrack: Conntrack,
    /// Ends half-open connections beside the syncs.
    cleaner: Cleaner,
    /// Frontends whose stale flows could not be deleted yet.
    owed: HashSet<FrontendKey>,
}

impl Tables {
    /// Opens them in the network namespace that `options` name; nothing is written.
    pub(crate) async fn open(options: Options, delivery: Delivery) -> Result<Self, SyncError> {
        let mut nftables = Nftables::open_in(&options.namespace, TABLE).map_err(from_open)?;
        let conntrack = Conntrack::open_in(&options.namespace).map_err(from_open)?;
        let cleaner = Cleaner::start(Conntrack::open_in(&options.namespace).map_err(from_open)?);
        probe(&mut nftables, delivery).await?;
        let owned = ownership(&mut nftables, options.others).await?;
        if (options.others, owned) == (Others::KeptOut, Ownership::None) {
            tracing::info!("kernel cannot keep other programs off the tables; what they change is repaired");
        }
        // Before anything is looked at, so that nothing happens unseen in between.
        let watch = match owned {
            Ownership::Kept => None,
            Ownership::None => Some(nftables.watch().map_err(from_open)?),
        };
        let ahead = Ahead::start(options.namespace);
        let programmer = Programmer::new(Kernel { nftables, watch, ownership: owned, ahead }, delivery);
        Ok(Self { programmer, conntrack, cleaner, owed: HashSet::new() })
    }

    /// Bytes that were sent to the kernel since they were opened, the watch excepted.
    pub(crate) fn sent(&self) -> u64 {
        self.programmer.port.nftables.sent() + self.conntrack.sent()
    }

    /// Deletes the flows that a sync made stale, but for half-open connections: those are looked for soon. Logs a failure and makes up for it next time. What all looks came to since the last sync.
    pub(crate) async fn delete_stale_flows(
        &mut self,
        before: &Before,
        desired: &ServiceState,
    ) -> PerFamily<Option<Cleaning>> {
        let mut cleanings = self.cleaner.take_cleanings();
        let mut stale = self.stale(before, desired);
        stale.suspect(self.owed.drain().chain(self.programmer.take_unclear()));
        if !stale.is_empty()
            && let Err(error) = delete_stale(&mut self.conntrack, &stale, &mut cleanings).await
        {
            tracing::warn!(%error, "stale flows may be left, trying again soon");
            self.owed = stale.suspects();
        }
        cleanings
    }

    /// Whether stale flows may be left that could not be deleted.
    pub(crate) fn owes_flows(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Notes whose flows a sync may have made stale, for one that cannot delete them before it does more.
    pub(crate) fn owe(&mut self, before: &Before) {
        self.owed.extend(before.frontends());
    }

    fn stale<'a>(&self, before: &Before, desired: &'a ServiceState) -> StaleFlows<'a> {
        let (node, changed) = match before {
            Before::Looked(held) => {
                self.cleaner.begin_anew(HalfOpen::after_restart(held.iter().copied(), desired));
                return StaleFlows::after_restart(held.iter().copied(), desired);
            }
            Before::Believed(node, changed) => (node, changed),
        };
        let services = self.programmer.belief().map(|belief| &belief.services);
        let changes = changed.iter().map(|(name, before)| {
            let now = services.and_then(|services| services.get(name)).map(|programmed| &programmed.service);
            (before.as_ref(), now)
        });
        self.cleaner.services_changed(desired.node(), changes.clone());
        let mut stale = StaleFlows::new(node, desired);
        for (before, now) in changes {
            stale.service_changed(before.map(|before| &**before), now.map(|now| &**now));
        }
        stale
    }

    /// Deletes at once the half-open connections that syncs made stale; what that came to.
    pub(crate) async fn settle(&self) -> PerFamily<Option<Cleaning>> {
        self.cleaner.settle().await;
        self.cleaner.take_cleanings()
    }

    /// Resolves when another program has changed them; the next sync reads the kernel. Cancel-safe.
    pub(crate) async fn drifted(&mut self) {
        let Some(watch) = &mut self.programmer.port.watch else { return std::future::pending().await };
        if let Err(error) = watch.changed().await {
            tracing::warn!(%error, "changes by other programs are not noticed any more");
            return std::future::pending().await;
        }
        self.programmer.forget();
    }
}
