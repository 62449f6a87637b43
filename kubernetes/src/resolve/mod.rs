//! Kubernetes' judgements: objects in, desired state out. Pure.
//!
//! ```text
//! all of a service ──► budget (may it be programmed at all?)
//! Service ──► selection ──► shared (addresses, source_ranges), ports ──┐
//! EndpointSlice, Endpoints ──► endpoints ──► topology ──► policies ────┴► service ──► backend_api::Service
//! Node, ServiceCIDR, the node's addresses ──► node ─────────────────────────────────► backend_api::NodeNetwork
//! ```
//!
//! [`service::resolve`] answers for one service; [`Resolver`] knows all objects and resolves what a change
//! concerns. Nothing here fails: a value that makes no sense costs itself alone, and is a [`Warning`].
//!
//! **Invariant:** what comes out depends on the objects alone, not on the order in which they came
//! (`tests/resolve/resolver.rs::order_of_arrival_decides_nothing`). This node's own Node object is the exception: what
//! it said last holds when it is deleted, and some of it while it says nothing ([`LastSaid`]).

mod addresses;
mod budget;
mod endpoints;
mod node;
mod notation;
mod on_node;
mod policies;
mod ports;
mod resolver;
mod selection;
pub mod service;
mod shared;
mod source_ranges;
mod topology;
mod warning;

pub use budget::{Limit, Refusal};
pub use node::{InKernel, LastSaid, NodeFacts, NodeResolution, resolve_node};
pub use on_node::{HealthCheck, NoLocalEndpoints, OnNode};
pub use resolver::{Applied, Changes, Resolver};
pub use selection::Skip;
pub use service::Resolution;
pub(crate) use shared::YOUNGEST;
pub use warning::{Problem, Warning};
