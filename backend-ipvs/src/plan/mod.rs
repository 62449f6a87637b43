//! From what is there to what is wanted: pure, whether what is there is believed or was just read.
//!
//! ```text
//!  Belief, desired ──────────► Plan::onward   (the size of the change)
//!  Servers, Recalled, desired ► Plan::adopt   (everything, once)
//!                                └──► what to make and what to unmake, and the Belief that holds once it is done
//! ```

mod adopt;
mod onward;

pub(crate) use adopt::Recalled;

use std::collections::{BTreeMap, BTreeSet};

use backend_api::{Service, ServiceName, ServiceState};
use netlink::ipvs::Operation;

use crate::belief::Belief;
use crate::diff::Change;
use crate::drain::Deadline;
use crate::schedulers::Schedulers;

/// What to do, and what will be.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Before the tables are committed, each for a service.
    pub(crate) make: Vec<(ServiceName, Operation)>,
    /// After it.
    pub(crate) unmake: Vec<Operation>,
    /// What will be then.
    pub(crate) belief: Belief,
}

/// What a plan depends on besides the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    /// Which scheduler a port gets.
    pub(crate) schedulers: &'a Schedulers,
    /// That of what begins to drain now.
    pub(crate) deadline: Deadline,
    /// Services that the kernel refused, and why.
    pub(crate) refused: &'a BTreeMap<ServiceName, String>,
}

impl Plan {
    fn extend(&mut self, service: &ServiceName, change: Change) {
        self.make.extend(change.make.into_iter().map(|operation| (service.clone(), operation)));
        self.unmake.extend(change.unmake);
    }
}

/// Why a service is left out.
fn unfit(service: &Service, terms: Terms<'_>) -> Option<String> {
    terms.refused.get(&service.name).cloned()
}

/// Services that were programmed in another form, that are new, or that are gone.
fn changed_names(belief: &Belief, desired: &ServiceState) -> BTreeSet<ServiceName> {
    let mut changed = BTreeSet::new();
    let mut believed = belief.services.iter().peekable();
    for service in desired.services() {
        while let Some((gone, _)) = believed.next_if(|(name, _)| **name < service.name) {
            changed.insert(gone.clone());
        }
        match believed.next_if(|(name, _)| **name == service.name) {
            Some((_, programmed)) if programmed.service == *service => {}
            _ => {
                changed.insert(service.name.clone());
            }
        }
    }
    changed.extend(believed.map(|(gone, _)| gone.clone()));
    changed.extend(belief.unfit.keys().cloned());
    changed
}
