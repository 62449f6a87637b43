//! What a Switchyard dataplane is: the desired state, the trait that programs it, and the oracle that says what
//! a packet must meet.
//!
//! ```text
//! Service ──► ServiceState ──► Dataplane::sync ──► the kernel
//!             (conflicts        (one per backend)
//!              settled)    └──► oracle::judge ──► what a packet must meet, for tests and explanations
//! ```
//!
//! - [`Service`], [`ServicePort`], [`Frontend`], [`Endpoint`]: a service as plain values.
//! - [`NodeNetwork`]: how pods are told from other clients, and which addresses carry node ports.
//! - [`ServiceState`]: everything that is to be programmed. It refuses services with a [`Flaw`], gives a frontend that
//!   two services claim to the older one, and says which needs of services the node does not meet ([`Unmet`]).
//! - [`Dataplane`]: what a backend owes. [`Fake`] is one in memory.
//! - [`oracle`]: what a packet must meet in a state, without a kernel. [`StaleFlows`]: which tracked flows
//!   must end.
//!
//! Kept apart from every backend, so that a program can build a state by hand and all backends agree on its meaning.
//!
//! A state by hand, and what a pod must meet in it:
//!
//! ```
//! use switchyard_api::oracle::{Arrival, Packet, Payload, judge};
//! use switchyard_api::*;
//!
//! let pods = PerFamily::new(LocalTraffic::Source("10.244.0.0/16".parse()?), LocalTraffic::Unknown);
//! let node = NodeNetwork::new(pods, ["192.168.67.8".parse()?]);
//! let web = ServicePort {
//!     frontends: vec![Frontend::cluster_ip("10.105.145.136".parse()?, Protocol::Tcp, 8080)],
//!     endpoints: vec![Endpoint::here("10.244.2.2:80".parse()?), Endpoint::elsewhere("10.244.1.2:80".parse()?)],
//!     ..ServicePort::new(Family::V4, Protocol::Tcp)
//! };
//! let mut state = ServiceState::new(node);
//! state.upsert(Service::new(ServiceName::new("default", "web"), vec![web]))?;
//! // Any `Dataplane` takes it from here: `dataplane.sync(&state, Scope::All).await?`; for tests there is `Fake`.
//!
//! let packet = Packet {
//!     arrival: Arrival::Interface("cni0".to_owned()),
//!     source: "10.244.2.3".parse()?,
//!     destination: "10.105.145.136".parse()?,
//!     payload: Payload::Transport(Protocol::Tcp, 8080),
//! };
//! let verdict = judge(&state, &packet, None).verdict;
//! assert_eq!(verdict.to_string(), "balanced over 10.244.1.2:80 (50 %), 10.244.2.2:80 (50 %)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
mod scheduler;
mod service;
mod stale;
mod state;
mod unmet;

pub use async_trait::async_trait;
pub use dataplane::{Cleaning, Dataplane, Failure, FailureKind, Report, Scope, SyncError};
pub use fake::Fake;
pub use flaw::{Flaw, FlawedService};
pub use network::{Cidr, CidrError, Family, LocalTraffic, NodeNetwork, NodePortAddresses, Offload, PerFamily};
pub use observed::{Observed, ObservedAnswer, ObservedFrontend, ObservedOffload, ObservedRoute, TurnedAway};
pub use scheduler::{Scheduler, UnknownScheduler};
pub use service::{
    Affinity, Age, Answer, Endpoint, EndpointAddress, Frontend, FrontendKey, FrontendKind, Masquerade, Pool, Pools,
    PortName, Protocol, Route, Service, ServiceName, ServicePort, SourceRanges, TrafficClass,
};
pub use stale::{Flow, StaleFlows};
pub use state::{Change, Conflict, ServiceState};
pub use unmet::{Need, Unmet};
