//! What a Switchyard dataplane is: the desired state, the trait that programs it, and the oracle that says what
//! a packet must meet.
//!
//! ```text
//! Service ──► ServiceState ──► Dataplane::sync ──► the kernel
//!   (who)     (conflicts        (one per backend)
//!              settled)    └──► oracle::judge ──► what the same packet must meet, for tests and `trace`
//! ```
//!
//! Kept apart from every backend so that an embedder can build a state by hand, and so that the backends cannot
//! grow opinions of their own.
//!
//! **Invariant:** nothing here does I/O, reads a clock, or knows Kubernetes' types or netlink
//! (`tests/invariants.rs`).

mod construct;
mod dataplane;
mod fake;
mod flaw;
mod network;
mod observed;
pub mod oracle;
mod service;
mod stale;
mod state;

pub use dataplane::{Dataplane, Failure, Report, Scope, SyncError};
pub use fake::Fake;
pub use flaw::Flaw;
pub use network::{Cidr, CidrError, Family, LocalTraffic, NodeNetwork, NodePortAddresses, PerFamily};
pub use observed::{Observed, ObservedAnswer, ObservedFrontend, ObservedRoute};
pub use service::{
    Affinity, Age, Answer, Endpoint, EndpointAddress, Frontend, FrontendKey, FrontendKind, Masquerade, Pool, Pools,
    PortName, Protocol, Route, Service, ServiceName, ServicePort, SourceRanges, TrafficClass,
};
pub use stale::{Flow, StaleFlows};
pub use state::{Change, Claim, Conflict, ServiceState};
