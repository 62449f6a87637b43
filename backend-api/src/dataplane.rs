//! The seam: what a backend promises to whoever drives it.
//!
//! Three promises hold for every implementation, and the conformance suite checks them after every step. *Level, not
//! edge:* the kernel depends on the state last synced, not on the way there. *Ours alone:* nothing that is not provably
//! ours is touched, after a restart without memory too. *No flap:* what is right already is left alone, and established
//! connections to an endpoint that stays survive every sync.

use core::time::Duration;
use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;

use crate::{Family, Observed, PerFamily, ServiceName, ServiceState};

/// A way to make the kernel forward service traffic.
#[async_trait]
pub trait Dataplane: Debug + Send {
    /// Short name for logs, metrics and `--backend`: `nftables`, `ipvs`.
    fn name(&self) -> &'static str;

    /// Makes the kernel equal to `desired`. The first sync of a process, and the first after an error, may be given any
    /// scope and works as [`Scope::All`].
    ///
    /// Not cancel-safe: a caller that drops the future must treat it as an error.
    ///
    /// # Errors
    /// The kernel's state is unknown, or as it was before; the next sync looks. A service that failed alone is
    /// no error but an entry in [`Report::failed`].
    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<Report, SyncError>;

    /// What the kernel holds now, read back from it.
    ///
    /// # Errors
    /// As [`Dataplane::sync`].
    async fn observe(&mut self) -> Result<Observed, SyncError>;

    /// Removes everything that this backend owns, present or past. Idempotent.
    ///
    /// # Errors
    /// As [`Dataplane::sync`].
    async fn remove_all(&mut self) -> Result<(), SyncError>;

    /// Resolves when somebody else has changed what is ours in the kernel: the caller syncs with [`Scope::All`] at once.
    /// Cancel-safe. Pends for ever where nobody can, or where the kernel does not tell; so it does unless a backend says
    /// otherwise.
    async fn drifted(&mut self) {
        std::future::pending().await
    }
}

/// What may have changed since the last sync. A hint: a backend may look at more, never at less.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Anything: compare everything, with the kernel itself if there is doubt.
    All,
    /// These services and nothing else; gone from the state means removed.
    Services(&'a BTreeSet<ServiceName>),
}

/// What a sync did. A backend starts from [`Report::default`] and fills in what applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Changes that the kernel was told: elements, rules, chains, virtual and real servers. 0 means that nothing
    /// was sent.
    pub writes: usize,
    /// Bytes that were sent to the kernel in messages, questions included.
    pub bytes_sent: u64,
    /// Stale connection-tracking entries that were deleted.
    pub flows_deleted: usize,
    /// Of each family, what looking for such entries came to; none where there was no reason to look.
    pub cleanings: PerFamily<Option<Cleaning>>,
    /// Services that could not be programmed, by themselves; everything else is. They are tried again at
    /// each [`Scope::All`], and when they change.
    pub failed: Vec<Failure>,
    /// What is not as desired, and harms no service. As of now: what still holds is in every report.
    pub warnings: Vec<String>,
}

/// A look through the tracked connections of a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// Stale entries that were deleted.
    pub deleted: usize,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Takes what looking for stale entries came to.
    pub fn add_cleanings(&mut self, cleanings: PerFamily<Option<Cleaning>>) {
        for family in Family::ALL {
            let Some(Cleaning { deleted, took }) = *cleanings.of(family) else { continue };
            let sum = self.cleanings.of_mut(family).get_or_insert_default();
            sum.deleted += deleted;
            sum.took += took;
            self.flows_deleted += deleted;
        }
    }
}

/// A service that could not be programmed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// Which.
    pub service: ServiceName,
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// A sentence that names the object and carries the kernel's own text.
    pub reason: String,
}

/// Why a service could not be programmed. A [`Flaw`](crate::Flaw) is none of these: no state holds a service with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The kernel refused it, tried alone.
    Refused,
    /// The kernel refused it together with others, and refused so many that not each was tried alone.
    Suspected,
    /// It is larger than the backend can express.
    Limit,
}

impl Failure {
    /// The failure of `service`.
    pub fn new(service: ServiceName, kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { service, kind, reason: reason.into() }
    }
}

/// Why a sync failed as a whole, by what the caller can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// Somebody changed the kernel while we did: sync again at once.
    #[error("{object}: changed by somebody else meanwhile")]
    Raced {
        /// What was being written or read.
        object: String,
    },
    /// The kernel is short of memory or buffers, or the socket failed: sync again later.
    #[error("{object}: {reason}")]
    Transient {
        /// What was being written or read.
        object: String,
        /// The kernel's error and extended-ack text.
        reason: String,
    },
    /// The kernel refused what every state needs, or answered what we cannot read: retrying the same does not help, a
    /// changed state or kernel may.
    #[error("{object}: kernel refused: {reason}")]
    Refused {
        /// What was being written or read.
        object: String,
        /// The kernel's error and extended-ack text.
        reason: String,
    },
    /// This kernel or process cannot run the backend at all: a feature or a privilege is missing.
    #[error("{feature}: not available: {reason}")]
    Unsupported {
        /// What is missing.
        feature: String,
        /// The kernel's error.
        reason: String,
    },
}
