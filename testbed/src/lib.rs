//! Worlds for tests with real packets: a node, its pods and its neighbours as network namespaces of one machine.
//!
//! ```text
//! WorldPlan ──► World::build ──► namespaces, links, responders, the sink
//!  (data)                            ▲
//! Dial ──────► World::dial ──────────┘──► Outcome (answered by a name, refused, silent, …)
//! ```
//!
//! Every place answers with its name and with the source address that it saw. Packets that leave the node untranslated
//! end in the sink, which answers for every address: so silence means that a packet was dropped.
//!
//! ```no_run
//! use std::error::Error;
//! use switchyard_testbed::{Dial, Protocol, World, WorldPlan};
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     let world = World::build(&WorldPlan::example())?;
//!     // Program the node: everything in here happens in its namespace, on a thread of its own.
//!     let rules = "table ip test { chain c { type nat hook prerouting priority -100; ip daddr 10.96.0.1 dnat to 10.244.0.4; } }";
//!     world.node().namespace.run(|| std::process::Command::new("nft").arg(rules).status())?;
//!     // Dial from a pod, and see which pod answers, and which source it saw.
//!     let outcome = world.dial("mytools", &Dial::new(Protocol::Tcp, "10.96.0.1:80".parse()?));
//!     assert_eq!(outcome.name(), Some("nginx-1"));
//!     Ok(())
//! }
//! ```
//!
//! | to | use |
//! |---|---|
//! | describe a world | [`WorldPlan`]; [`WorldPlan::example`] is the cluster of the demo |
//! | build it | [`World::build`]; everything goes when it is dropped, in a panic too |
//! | dial once, many times, and hold a connection | [`World::dial`], [`World::dial_many`], [`World::open`] |
//! | dial all the time beside something else | [`Load`] |
//! | count answers, and judge whether shares are even | [`Tally`] |
//! | run code or a runtime inside one namespace | [`Namespace::run`], [`Namespace::executor`] |
//! | skip a test where there is no root | [`privilege::skip`] |
//!
//! Needs root, or the capabilities to create network namespaces and to mount them.
//!
//! **Invariant:** the host's own namespace is never configured: a [`Namespace`] is always one that was created here
//! (`namespace::tests::a_namespace_is_never_the_callers_own`).

mod association;
mod dial;
mod error;
pub mod links;
mod load;
mod namespace;
mod numbering;
mod outcome;
mod packet;
mod place;
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

pub use backend_api::{Family, Protocol};
pub use dial::Dial;
pub use error::WorldError;
pub use load::Load;
pub use namespace::{Executor, Inside, Namespace, NamespaceError};
pub use outcome::{Answer, Outcome, Refusal};
pub use place::Place;
pub use plan::{HostPlan, Listen, NodePlan, Placement, PodPlan, WorldPlan, of_family};
pub use probe::{Begun, Held};
pub use tally::{Evenness, Tally};
pub use topology::World;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
