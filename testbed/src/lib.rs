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

mod association;
mod error;
pub mod links;
mod load;
mod namespace;
mod numbering;
mod outcome;
mod packet;
mod plan;
mod population;
pub mod privilege;
pub mod probe;
pub mod responder;
mod sctp;
mod settings;
pub mod sink;
mod tally;
mod topology;
mod wire;
mod wiring;

pub use error::WorldError;
pub use load::Load;
pub use namespace::{Executor, Inside, Namespace, NamespaceError};
pub use outcome::{Answer, Outcome, Refusal};
pub use plan::{HostPlan, Listen, NodePlan, Placement, PodPlan, WorldPlan, of_family};
pub use probe::{Dial, Held};
pub use tally::{Evenness, Tally};
pub use topology::{Place, World};

#[cfg(test)]
mod tests;
