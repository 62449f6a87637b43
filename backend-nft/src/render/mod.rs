//! Desired state → what our tables hold. Pure and total.
//!
//! ```text
//!  NodeNetwork ──► skeleton: chains and their rules, a fixed number
//!              ──► fastpath: a chain and a flowtable more, where asked for
//!              ──► node: elements that say what the node is
//!  Service, slots ──► service: elements that are the service
//! ```
//!
//! **Invariant:** `skeleton` never sees a service, so no chain, rule, set or map can depend on one.

mod affinity;
mod conditions;
mod fastpath;
mod masquerade;
mod node;
mod ranges;
mod service;
mod skeleton;
#[cfg(test)]
mod tests;

pub(crate) use fastpath::{fastpath, flowtable};
pub(crate) use node::node_elements;
pub(crate) use service::{Assignment, beyond_limits, service_elements};
pub(crate) use skeleton::{INITIAL_SIZE, base, constant_elements, initial_chains, rules, sized_element};
