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
    /// Brings the state up to date with a batch.
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
                    self.doubtful = self.state.services_unordered().map(|service| service.name.clone()).collect()
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

#[cfg(test)]
mod tests {
    use backend_api::Scope;

    use super::*;

    /// `+web` is told, `-web` is gone; `anew` and `listed` are themselves, `node` is another network.
    fn change(word: &str) -> StateChange {
        let name = |name: &str| ServiceName::new("default", name);
        match (word, word.split_at(1)) {
            ("anew", _) => StateChange::Anew,
            ("listed", _) => StateChange::Listed,
            ("node", _) => StateChange::Network(NodeNetwork { masquerade_all: true, ..NodeNetwork::unknown() }),
            (_, ("+", service)) => StateChange::Upsert(Service::new(name(service), Vec::new())),
            (_, ("-", service)) => StateChange::Remove(name(service)),
            _ => panic!("{word}"),
        }
    }

    fn names<'a>(names: impl Iterator<Item = &'a ServiceName>) -> String {
        names.map(|name| &*name.name).collect::<Vec<_>>().join(" ")
    }

    /// What a receiver holds, and what is pending, after batches that are separated by `|`.
    #[test]
    fn batches_come_to_a_state_and_to_what_changed_in_it() {
        for (batches, services, pending, is_complete) in [
            ("", "", "", false),
            ("+a +b", "a b", "a b", false),
            ("+a | listed", "a", "a", true),
            ("+a | +a | +b", "a b", "a b", false),
            ("+a +b | -a", "b", "a b", false),
            ("-a", "", "", false),
            ("+a node | +b", "a b", "all", false),
            ("node node", "", "all", false),
            // What was told before stays until everything has been told again.
            ("+a +b listed | anew | +b", "a b", "a b", true),
            ("+a +b listed | anew | +b | listed", "b", "a b", true),
            ("+a listed | anew -a | +a | listed", "a", "a", true),
            ("+a listed | anew anew | listed listed", "", "a", true),
        ] {
            let (_sender, mut receiver) = state_channel(NodeNetwork::unknown());
            for batch in batches.split('|') {
                receiver.take(batch.split_whitespace().map(change).collect());
            }
            let held: Vec<_> = receiver.state().services().map(|service| service.name.clone()).collect();
            assert_eq!(names(held.iter()), services, "{batches}");
            assert_eq!(receiver.is_complete(), is_complete, "{batches}");
            let waiting = receiver.resolve(&mut ());
            let scope = match waiting.scope() {
                Scope::All => "all".to_owned(),
                Scope::Services(services) => names(services.iter()),
            };
            assert_eq!(scope, pending, "{batches}");
            assert!(!receiver.has_news() && receiver.resolve(&mut ()).is_empty(), "{batches}: taken once");
        }
    }

    #[tokio::test]
    async fn batches_that_wait_are_taken_together_and_in_order() {
        let (sender, mut receiver) = state_channel(NodeNetwork::unknown());
        for batch in [["+a", "+b"], ["-a", "+c"], ["+a", "-b"]] {
            sender.tell(batch.map(change).into()).await.unwrap();
        }
        assert!(!receiver.has_news());
        assert!(receiver.hear_all(&mut ()) && receiver.has_news());
        assert!(!receiver.hear_all(&mut ()), "nothing waits any more");
        let held: Vec<_> = receiver.state().services().map(|service| service.name.clone()).collect();
        assert_eq!(names(held.iter()), "a c");
    }
}
