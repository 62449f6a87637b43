//! The seam between the loop and the code that watches it: health, metrics, events, listeners on localhost.
//!
//! Kept apart from the loop, which works without witnesses. A witness is told, is never asked, and must not wait. Each
//! piece of news says what changed, so that hearing it costs no more than the change.

use std::time::Duration;

use backend_api::{Conflict, Report, Scope, ServiceName, ServiceState, SyncError};

use crate::Desired;

/// Code that is told what the loop does, in the order in which the loop does it.
pub trait Witness<D: Desired + ?Sized>: Send {
    /// Takes a piece of news. Called on the loop's own task: work that takes long belongs on another one.
    fn hear<'a>(&mut self, news: &News<'a, D::Note<'a>>);
}

/// What the loop does.
#[derive(Clone, Copy, Debug)]
pub enum News<'a, N> {
    /// A note of the [`Desired`]: what it was told, or what that was resolved to.
    Noted(N),
    /// Two services newly claim one frontend.
    Conflict(&'a Conflict),
    /// What was resolved changes nothing in the state, and nothing else waits: the kernel is as it should be.
    Unchanged,
    /// A sync begins, with everything that was told until now.
    Syncing,
    /// A sync succeeded: the kernel holds `state`, of which `scope` had changed, but for what `report` says.
    Synced {
        /// What is programmed.
        state: &'a ServiceState,
        /// What was looked at.
        scope: Scope<'a>,
        /// What was done.
        report: &'a Report,
        /// How long it took.
        took: Duration,
    },
    /// A sync failed as a whole, and is tried again.
    NotSynced {
        /// Why.
        error: &'a SyncError,
        /// What was looked at.
        scope: Scope<'a>,
        /// How long it took.
        took: Duration,
    },
    /// A service cannot be programmed: since this sync, or for another reason than before.
    Failed {
        /// Which.
        service: &'a ServiceName,
        /// Why.
        reason: &'a str,
    },
    /// Another program changed what is ours.
    Drifted,
    /// From now on another dataplane programs the kernel.
    Succeeded {
        /// Its name.
        dataplane: &'static str,
    },
}

/// Ignores all news.
impl<D: Desired + ?Sized> Witness<D> for () {
    fn hear<'a>(&mut self, _: &News<'a, D::Note<'a>>) {}
}

/// Tells each witness, one after the other.
impl<D: Desired + ?Sized> Witness<D> for Vec<Box<dyn Witness<D>>> {
    fn hear<'a>(&mut self, news: &News<'a, D::Note<'a>>) {
        self.iter_mut().for_each(|witness| witness.hear(news));
    }
}
