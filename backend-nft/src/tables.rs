//! What both kinds of our tables need around their programmer: sockets, the watch for changes by other programs, stale
//! flows.

use std::collections::HashSet;

use backend_api::{Cleaning, FrontendKey, PerFamily, ServiceState, SyncError};

use crate::ahead::Ahead;
use crate::cleaner::Cleaner;
use crate::errors::from_open;
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
    /// Deletes stale flows beside the syncs.
    cleaner: Cleaner,
    /// Frontends whose stale flows may not be looked for yet.
    owed: HashSet<FrontendKey>,
}

impl Tables {
    /// Opens them in the network namespace that `options` name; nothing is written.
    pub(crate) async fn open(options: Options, delivery: Delivery) -> Result<Self, SyncError> {
        let mut nftables = Nftables::open_in(&options.namespace, TABLE).map_err(from_open)?;
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
        Ok(Self { programmer, cleaner, owed: HashSet::new() })
    }

    /// Bytes that were sent to the kernel since they were opened, but for the watch and the looks for stale flows.
    pub(crate) fn sent(&self) -> u64 {
        self.programmer.port.nftables.sent()
    }

    /// Has the flows deleted soon that a sync made stale. What all looks came to since the last sync.
    pub(crate) fn clean_up_after(&mut self, before: &Before, desired: &ServiceState) -> PerFamily<Option<Cleaning>> {
        match before {
            Before::Looked(held) => self.cleaner.restarted(held.iter().copied(), desired),
            Before::Believed(changed) => {
                let services = self.programmer.belief().map(|belief| &belief.services);
                let changes = changed.iter().map(|(name, before)| {
                    let now = services.and_then(|services| services.get(name)).map(|programmed| &programmed.service);
                    (before.as_ref(), now)
                });
                self.cleaner.changed(desired, changes);
            }
        }
        self.cleaner.suspect(self.owed.drain().chain(self.programmer.take_unclear()), desired);
        self.cleaner.take_cleanings()
    }

    /// Notes whose flows a sync may have made stale, for one that does more before they can be deleted.
    pub(crate) fn owe(&mut self, before: &Before) {
        self.owed.extend(before.frontends());
    }

    /// Deletes at once the flows that syncs made stale; what that came to.
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
