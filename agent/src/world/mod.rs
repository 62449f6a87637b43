//! Worlds: a node, its pods and its neighbours as network namespaces of one machine, and probes with real packets.
//!
//! ```text
//! WorldPlan ──► World::build ──► namespaces, links, servers, the sink
//!  (data)                            ▲
//! Dial ──────► probe ────────────────┘──► Outcome
//! ```
//!
//! The demo and the conformance suite stand on it. **Invariant:** the host's own namespace is never configured
//! (`namespace::tests::a_namespace_is_never_the_callers_own`).

pub mod links;
mod load;
mod namespace;
mod packet;
mod plan;
pub mod probe;
pub mod responder;
mod sctp;
pub mod sink;
mod tally;
mod topology;

pub use load::Load;
pub use namespace::{Executor, Inside, Namespace, NamespaceError};
pub use plan::{HostPlan, Listen, NodePlan, Placement, PodPlan, WorldPlan, of_family};
pub use probe::{Answer, Dial, Held, Outcome, Refusal};
pub use tally::{Evenness, Tally};
pub use topology::{Place, World, WorldError};

#[cfg(test)]
mod tests;
