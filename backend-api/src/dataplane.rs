//! The seam between backends and the programs that drive them: [`Dataplane`] says what a backend owes.

use core::time::Duration;
use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;

use crate::{Family, Observed, PerFamily, ServiceName, ServiceState};

/// A way to make the kernel forward service traffic.
///
/// # What a backend owes
///
/// The conformance suite plays scenarios with real packets against any implementation. Each obligation names scenarios
/// (`topic/claim`, files in `conformance/scenarios`) that prove it, or says where its tests are.
/// [`crate::oracle::judge`] says what any single packet must meet.
///
/// What a sync does:
///
/// - **State, not history.** What the kernel does depends on the state that was synced last, not on the states before
///   it. `restart/what-changed-meanwhile-is-caught-up-with`, `churn/a-rolling-update-is-followed-step-by-step`
/// - **Adoption.** A new process reads what is there and writes only the difference: nothing if nothing changed.
///   `restart/a-new-process-changes-nothing`, `affinity/it-survives-a-restart-of-the-agent`
/// - **Its own objects alone.** It changes and removes only objects that say that they are this backend's, in a process
///   without memory too. The suite plants foreign objects in every scenario and compares them afterwards.
/// - **Only what differs.** A sync leaves alone what is right, and established connections survive it, even if their
///   own endpoint is removed. `churn/connections-survive-changes-of-other-services`,
///   `churn/connections-survive-the-removal-of-their-own-endpoint`
/// - **Stale flows.** Conntrack entries that lead to an endpoint that is gone, or past a frontend that is new, are
///   deleted within about a second, beside the syncs; of TCP only those that are unanswered.
///   [`crate::StaleFlows`] decides which, and [`Dataplane::settle`] waits for it.
///   `stale-flows/a-tcp-client-from-before-the-service-is-let-in`,
///   `stale-flows/a-client-with-a-fixed-port-follows-its-endpoint`,
///   `stale-flows/a-client-from-before-the-service-is-served`, `stale-flows/sctp-associations-to-gone-endpoints-end`,
///   `stale-flows/endpoints-that-went-while-the-agent-was-down-are-cleaned`,
///   `stale-flows/flows-to-endpoints-that-stay-are-not-cut`
/// - **Failed services.** A service that cannot be programmed is absent, in every form that it had, and named in
///   [`Report::failed`]; all others are programmed. Each sync that looks at it tries it again.
///   No scenario, since no Kubernetes object makes one: `programmer/tests.rs` of both backends.
/// - **Warnings.** Each of [`ServiceState::unmet`] is in [`Report::warnings`].
///   No scenario: tests of [`crate::Fake`] and of the backends.
/// - **The scope is a hint.** A backend looks at every service that the scope names. It may look at others and need
///   not: a scope that leaves out a changed service is the caller's mistake, and the next [`Scope::All`] repairs it.
///   [`crate::Fake`] refuses such a scope in debug builds. A changed node needs [`Scope::All`].
/// - **No flaws to check.** A [`ServiceState`] holds no service with a [`Flaw`](crate::Flaw).
///
/// What packets meet:
///
/// - **Guard before translation.** Source ranges are compared with the client's address and the address that it
///   dialled, before either is rewritten. A client outside is dropped without an answer.
///   `source-ranges/only-sources-inside-may-dial-the-load-balancer-address`,
///   `source-ranges/sources-outside-get-silence-not-a-refusal`, `source-ranges/pods-and-the-node-are-restricted-too`
/// - **Affinity.** Clients are remembered by (service, port name, protocol, pool), so all frontends of a port share
///   what is remembered, in each family. An endpoint that is in the pool no more is forgotten.
///   `affinity/every-way-into-a-service-port-shares-it`, `affinity/ports-of-one-service-are-remembered-apart`,
///   `affinity/strangers-keep-to-this-node-s-endpoints`, `affinity/a-client-whose-endpoint-goes-is-given-another`
/// - **Classes.** [`crate::Route::Split`] answers pods and the node in one way and other clients in another.
///   `short-circuit/pods-meet-every-endpoint-of-a-load-balancer-address`,
///   `external-policy/strangers-meet-this-node-s-endpoints-and-keep-their-source`
/// - **Masquerading.** The endpoint sees the node's address where [`crate::Masquerade`] says so.
///   `masquerade/cluster-cidr-tells-pods-by-their-address`
/// - **Hairpin.** A pod that reaches itself through a service always sees the node's address.
///   `hairpin/a-pod-reaches-itself-through-its-cluster-address`, `hairpin/only-the-pod-itself-is-masqueraded`
/// - **Node ports** are dialled at the addresses that [`crate::NodePortAddresses`] selects, and at no others.
///   `node-port/other-addresses-of-the-node-do-not-carry-it-by-default`, `node-port/a-new-address-carries-it-at-once`
/// - **No answer.** A frontend without endpoints refuses. So does another port of a cluster address. An address of a
///   service range that no service has is dropped.
///   `no-endpoints/a-cluster-address-refuses`, `wrong-port/another-port-of-a-cluster-address-is-refused`,
///   `service-cidr/an-unallocated-address-is-dropped`, `external-policy/without-a-local-endpoint-strangers-are-dropped`
/// - **Counters.** Each frontend counts the connections that were opened to it, and keeps its count when its service
///   changes. What is turned away is counted by reason. Both are read by [`Dataplane::observe`], of which
///   [`Observed::expected`] says what it returns for a state.
///   No scenario: `tests/refused.rs` and `programmer/tests.rs` of the nftables backend.
///
/// And beside syncs:
///
/// - **Drift.** [`Dataplane::drifted`] resolves when another program has changed the backend's objects, where the
///   kernel tells. A sync of [`Scope::All`] then repairs everything. `restart/rules-that-vanished-are-written-again`
/// - **Dropping changes nothing.** What is programmed stays when the dataplane is dropped or its process dies.
///   `restart/traffic-goes-on-while-the-agent-is-away`
/// - **[`Dataplane::remove_all`]** removes everything that the backend owns, of older versions too, and nothing else.
///   Every scenario ends with it.
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

    /// Does at once what a sync leaves for a moment later, and returns when it is done: deleting connection-tracking entries
    /// that became stale. What that came to is returned; what was done without this is in the next report. For a program
    /// that ends after a sync, and for tests; the loop need not call it. By default nothing is left.
    async fn settle(&mut self) -> PerFamily<Option<Cleaning>> {
        PerFamily::default()
    }

    /// Resolves when another program has changed the backend's objects in the kernel: the caller syncs with
    /// [`Scope::All`] at once. Cancel-safe. Pends for ever where the kernel prevents such changes or does not tell of
    /// them, and by default.
    async fn drifted(&mut self) {
        std::future::pending().await
    }
}

/// What may have changed since the last sync. A backend may look at more, never at less.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Anything: compare everything, with the kernel itself if there is doubt.
    All,
    /// These services and nothing else. One that is not in the state has been removed from it.
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
    /// Services that failed individually; all others are programmed. They are tried again at each [`Scope::All`], and
    /// when they change.
    pub failed: Vec<Failure>,
    /// What is not as desired although every service is programmed. What still holds is in every report.
    pub warnings: Vec<String>,
    /// Something besides services could not be done, such as deleting stale flows: sync again later, with
    /// [`Scope::All`].
    pub unfinished: bool,
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
    /// Another program changed the kernel during the sync: sync again at once.
    #[error("{object}: changed by another program during the sync")]
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
    /// The kernel refused an object that every state needs, or its answer cannot be read: retrying the same does not
    /// help, a changed state or kernel may.
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
