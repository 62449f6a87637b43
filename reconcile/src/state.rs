//! A desired state that is told service by service, for programs that resolve their services themselves.
//!
//! ```text
//! StateSender ──► batches of StateChange ──► StateReceiver (a ServiceState) ──► run ──► Dataplane::sync
//! ```

use std::collections::BTreeSet;

use backend_api::{FlawedService, NodeNetwork, Service, ServiceName, ServiceState};
use tokio::sync::mpsc;

use crate::{Desired, InputEnded, Pending, Witness};

/// Batches that may wait before a sender waits too.
const BATCHES: usize = 64;

/// A change of the desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateChange {
    /// The service is there, in this form.
    Upsert(Service),
    /// The service is gone.
    Remove(ServiceName),
    /// The node's own network.
    Network(NodeNetwork),
    /// Everything is told again. What was told before holds until [`StateChange::Listed`]; services that were not told
    /// again by then are gone.
    Anew,
    /// Everything that is there has been told. Nothing is programmed before the first one.
    Listed,
}

/// Tells changes. Changes that belong together are one batch: they are programmed together.
#[derive(Clone, Debug)]
pub struct StateSender(mpsc::Sender<Vec<StateChange>>);

/// Why a batch was not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotTold {
    /// No dataplane can program one of its services. Mend or remove it, and tell the batch again.
    #[error(transparent)]
    Flawed(#[from] FlawedService),
    /// The loop has ended.
    #[error("reconcile loop: ended")]
    LoopEnded,
}

/// The state that the changes come to.
#[derive(Debug)]
pub struct StateReceiver {
    changes: mpsc::Receiver<Vec<StateChange>>,
    state: ServiceState,
    pending: Pending,
    /// Services that were told before [`StateChange::Anew`] and not since.
    doubtful: BTreeSet<ServiceName>,
    is_listed: bool,
    has_news: bool,
}

/// A state that starts without services, on this node.
pub fn state_channel(node: NodeNetwork) -> (StateSender, StateReceiver) {
    let (sender, changes) = mpsc::channel(BATCHES);
    let receiver = StateReceiver {
        changes,
        state: ServiceState::new(node),
        pending: Pending::nothing(),
        doubtful: BTreeSet::new(),
        is_listed: false,
        has_news: false,
    };
    (StateSender(sender), receiver)
}

impl StateSender {
    /// Tells a batch. Waits while 64 batches wait.
    ///
    /// # Errors
    /// When a service of the batch has a flaw, and when the loop has ended. Nothing of the batch was told then.
    pub async fn tell(&self, batch: Vec<StateChange>) -> Result<(), NotTold> {
        for change in &batch {
            if let StateChange::Upsert(service) = change {
                FlawedService::check(service)?;
            }
        }
        self.0.send(batch).await.map_err(|_| NotTold::LoopEnded)
    }
}

impl StateReceiver {
    fn take(&mut self, batch: Vec<StateChange>) {
        self.has_news = true;
        for change in batch {
            match change {
                StateChange::Upsert(service) => {
                    self.doubtful.remove(&service.name);
                    let changed = self.state.upsert(service).expect("`StateSender::tell` sends no service with a flaw");
                    self.pending.add(Pending::Services(changed.touched));
                }
                StateChange::Remove(name) => self.remove(&name),
                StateChange::Network(node) => {
                    if self.state.set_node(node) {
                        self.pending = Pending::All;
                    }
                }
                StateChange::Anew => {
                    self.doubtful = self.state.services().map(|service| service.name.clone()).collect()
                }
                StateChange::Listed => {
                    for name in std::mem::take(&mut self.doubtful) {
                        self.remove(&name);
                    }
                    self.is_listed = true;
                }
            }
        }
    }

    fn remove(&mut self, name: &ServiceName) {
        self.doubtful.remove(name);
        let changed = self.state.remove(name);
        self.pending.add(Pending::Services(changed.touched));
    }
}

impl Desired for StateReceiver {
    type Note<'a> = ();

    async fn hear(&mut self, _: &mut dyn Witness<Self>) -> Result<(), InputEnded> {
        let batch = self.changes.recv().await.ok_or(InputEnded("desired state"))?;
        self.take(batch);
        Ok(())
    }

    fn hear_all(&mut self, _: &mut dyn Witness<Self>) -> bool {
        let waiting = self.changes.len();
        for _ in 0..waiting {
            if let Ok(batch) = self.changes.try_recv() {
                self.take(batch);
            }
        }
        waiting > 0
    }

    fn is_complete(&self) -> bool {
        self.is_listed
    }

    fn has_news(&self) -> bool {
        self.has_news
    }

    fn resolve(&mut self, _: &mut dyn Witness<Self>) -> Pending {
        self.has_news = false;
        std::mem::replace(&mut self.pending, Pending::nothing())
    }

    fn state(&self) -> &ServiceState {
        &self.state
    }
}
