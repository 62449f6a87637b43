//! Kubernetes Events on the Node and on Services: what an operator finds with `kubectl describe`.
//!
//! ```text
//! News ──► EventWitness (which notices) ──┐
//! start, host, health checks, migration ──┴──► Outbox (bounded) ──► RateLimiter ──► the API
//!              Uids ◄── News::Noted(Told)                                          `kubernetes`
//! ```
//!
//! Events are for people and nothing depends on them: no part of the agent waits to leave a notice, a cause that comes
//! and goes is reported once a minute, and what cannot be posted is dropped.
//!
//! Notices are plain data and part of every build; posting them needs the feature `kubernetes`.

mod notice;
#[cfg(feature = "kubernetes")]
mod post;
mod rate;
mod witness;

use tokio::sync::mpsc;

pub use notice::{Notice, Severity, Subject};
#[cfg(feature = "kubernetes")]
pub use post::post;
pub use rate::{Rate, RateLimiter};
pub use witness::{EventWitness, Uids, notices};

/// Notices that may wait to be posted; one more is dropped.
const WAITING: usize = 128;

/// Takes notices. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox(mpsc::Sender<Notice>);

/// An outbox, and the receiver of its notices.
pub fn channel() -> (Outbox, mpsc::Receiver<Notice>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Outbox(sender), receiver)
}

impl Outbox {
    /// Leaves a notice. It is dropped if too many wait, or if the receiver is gone.
    pub fn leave(&self, notice: Notice) {
        if let Err(dropped) = self.0.try_send(notice) {
            tracing::debug!(notice = ?dropped.into_inner(), "event dropped: too many wait, or none are posted");
        }
    }
}
