//! Kubernetes Services in nftables: makes the kernel equal to a [`ServiceState`](backend_api::ServiceState).
//!
//! A service is elements of maps, in two tables `switchyard`, one in `ip` and one in `ip6`. Programming it costs the
//! size of the change.
//!
//! ```text
//!  ServiceState ─► render ─► elements ─┐
//!                                      ├─ plan: diff ─► Transaction ─► encode ─► kernel, one batch for both families
//!  belief, or what was read ───────────┘
//! ```
//!
//! [`NftDataplane`] is a [`Dataplane`](backend_api::Dataplane); what it is opened with is in [`Options`]:
//!
//! ```no_run
//! # extern crate backend_api as switchyard_api;
//! use switchyard_api::*;
//! use switchyard_nft::{NftDataplane, Options};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // How a pod is told from other clients, and the node's addresses, which carry node ports.
//! let pods = PerFamily::new(LocalTraffic::Source("10.244.0.0/16".parse()?), LocalTraffic::Unknown);
//! let mut state = ServiceState::new(NodeNetwork::new(pods, ["192.168.67.8".parse()?]));
//! let web = ServicePort {
//!     frontends: vec![Frontend::cluster_ip("10.96.0.10".parse()?, Protocol::Tcp, 80)],
//!     endpoints: vec![Endpoint::here("10.244.0.4:8080".parse()?), Endpoint::elsewhere("10.244.1.2:8080".parse()?)],
//!     ..ServicePort::new(Family::V4, Protocol::Tcp)
//! };
//! state.upsert(Service::new(ServiceName::new("default", "web"), vec![web]))?;
//!
//! // Programs the network namespace of this thread. `Options::namespace` names another.
//! let mut dataplane = NftDataplane::open(Options::default()).await?;
//! let report = dataplane.sync(&state, Scope::All).await?;
//! assert_eq!(report.failed, []);
//! # Ok(())
//! # }
//! ```
//!
//! The crate `switchyard-reconcile` has the loop that retries, repairs and tries failed services again
//! (`examples/reconcile.rs`). [`RefusedConnections`] reads counters beside a dataplane that runs. [`marking`] is for a
//! backend that lets IPVS translate; an embedder does not need it.
//!
//! **Invariants**
//!
//! - The number of chains, rules, sets and maps does not depend on the number of services
//!   (`tests/kernel.rs::the_number_of_objects_does_not_depend_on_the_number_of_services`).
//! - A sync of the same state writes nothing, in the same process and in a new one
//!   (`tests/kernel.rs::syncing_again_writes_nothing_in_this_process_and_the_next`).
//! - A packet of an established connection meets none of our rules
//!   (`tests/established.rs::an_established_packet_evaluates_none_of_our_rules`).
//! - The modules use each other without a circle: `ruleset` and `marks` at the bottom, then `render`, `plan`,
//!   `programmer`, `tables`, and at the top `dataplane` and `marking`
//!   (`tests/modules.rs::the_modules_use_each_other_without_a_circle`).

mod ahead;
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
mod half_open;
mod kernel;
mod likely;
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
mod read;
mod refused;
mod render;
mod ruleset;
#[cfg(test)]
#[path = "../tests/sample/mod.rs"]
mod sample;
mod tables;
mod transaction;

pub use dataplane::NftDataplane;
pub use netlink::Namespace;
pub use options::{Options, Others};
pub use refused::RefusedConnections;
