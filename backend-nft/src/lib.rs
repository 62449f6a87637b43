//! The nftables dataplane: services as elements of two tables of constant size, one in `ip` and one in `ip6`.
//!
//! ```text
//!  ServiceState ─► render ─► elements ─┐
//!                                      ├─ plan: diff ─► Transaction ─► port ─► kernel, one batch for both families
//!  belief, or what was read ───────────┘
//! ```
//!
//! To embed it, [`NftDataplane::open`] and [`backend_api::Dataplane::sync`] are all there is (`examples/embed.rs`). The modules are
//! reachable for the backend that shares these tables; they speak of the kernel, and change with it.
//!
//! **Invariant:** the number of chains, rules, sets and maps does not depend on the number of services
//! (`tests/kernel.rs::the_number_of_objects_does_not_depend_on_the_number_of_services`).

mod assign;
mod belief;
mod content;
mod dataplane;
mod diff;
mod encode;
mod errors;
#[cfg(test)]
mod fake;
mod flows;
#[cfg(test)]
mod golden;
mod kernel;
pub mod marking;
mod marks;
#[cfg(test)]
#[path = "../tests/netns/mod.rs"]
mod netns;
mod observe;
mod options;
mod ownership;
mod plan;
mod port;
mod probe;
mod programmer;
mod refused;
mod render;
mod ruleset;
mod tables;
mod transaction;

pub use dataplane::NftDataplane;
pub use netlink::Namespace;
pub use options::{Options, Others};
pub use refused::RefusedConnections;
