//! Kubernetes Events on the Node and on Services: what an operator finds with `kubectl describe`.
//!
//! ```text
//! News ──► Herald (pure: which notices) ──┐
//! start, host, health checks ─────────────┴──► Outbox (bounded, drops) ──► Gate (how often) ──► the API
//!                                 Uids ◄── News::Told                                        `kubernetes`
//! ```
//!
//! Events are for people and nothing depends on them: whoever leaves a notice never waits, a cause that flaps is told
//! once in a while, and what cannot be posted is dropped.
//!
//! Notices are plain data and part of every build; posting them needs the feature `kubernetes`.

mod gate;
mod herald;
mod notice;
#[cfg(feature = "kubernetes")]
mod post;
mod uids;

use tokio::sync::mpsc;

pub use gate::{Gate, Rate};
pub use herald::{Herald, notices};
pub use notice::{Notice, Severity, Subject};
#[cfg(feature = "kubernetes")]
pub use post::post;
pub use uids::Uids;

/// Notices that may wait to be posted; one more is dropped.
const WAITING: usize = 128;

/// Where notices are left. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox(mpsc::Sender<Notice>);

/// An outbox, and where what is left in it comes out.
pub fn channel() -> (Outbox, mpsc::Receiver<Notice>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Outbox(sender), receiver)
}

impl Outbox {
    /// Leaves a notice. It is dropped where too many wait, or nobody posts.
    pub fn leave(&self, notice: Notice) {
        if let Err(dropped) = self.0.try_send(notice) {
            tracing::debug!(notice = ?dropped.into_inner(), "notice dropped: too many wait to be posted");
        }
    }
}
