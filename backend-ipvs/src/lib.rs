//! Kubernetes Services by IPVS: nftables decides which clients reach which pool and marks their packets, IPVS picks the
//! endpoint and translates.
//!
//! ```text
//!                ┌─ render ─► marks ─► virtual servers ─ plan: diff ─► make … unmake ─► IPVS
//!  ServiceState ─┤              │                                    │
//!                └──────────────┴─► tables of backend-nft ───────────┘ committed in between
//! ```
//!
//! Virtual servers are keyed by a packet mark, never by an address, and no address is bound to any device. So clients
//! are told apart, refused and remembered by the same rules as in the nftables backend.
//!
//! ```no_run
//! # use backend_api as switchyard_api;
//! use switchyard_api::*;
//! use switchyard_ipvs::{IpvsDataplane, Namespace, Options};
//!
//! # async fn program() -> Result<(), Box<dyn std::error::Error>> {
//! // How a pod is told from other clients, and the node's addresses, which carry node ports.
//! let pods = PerFamily::new(LocalTraffic::Source("10.244.0.0/16".parse()?), LocalTraffic::Unknown);
//! let node = NodeNetwork::new(pods, ["192.168.67.8".parse()?]);
//!
//! let web = ServicePort {
//!     frontends: vec![Frontend::cluster_ip("10.96.0.10".parse()?, Protocol::Tcp, 80)],
//!     endpoints: vec![Endpoint::here("10.244.0.4:8080".parse()?), Endpoint::elsewhere("10.244.1.2:8080".parse()?)],
//!     scheduler: Some(Scheduler::Lc),
//!     ..ServicePort::new(Family::V4, Protocol::Tcp)
//! };
//! let mut state = ServiceState::new(node);
//! state.upsert(Service::new(ServiceName::new("default", "web"), vec![web]))?;
//!
//! // Without `namespace` it is the calling thread's: on a host, the host's own.
//! let options = Options::default().namespace(Namespace::of_path("/run/netns/node")?);
//! let mut dataplane = IpvsDataplane::open(options).await?;
//! let report = dataplane.sync(&state, Scope::All).await?;
//! for failure in &report.failed {
//!     eprintln!("{}: {}", failure.service, failure.reason);
//! }
//! // As long as nothing changes: `drifted` returns when another program changed something, and a sync repairs it.
//! dataplane.drifted().await;
//! dataplane.sync(&state, Scope::All).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | type | for |
//! |---|---|
//! | [`IpvsDataplane`] | programming; implements [`Dataplane`](backend_api::Dataplane) |
//! | [`Host`] | setting the node up before, by a process that may write sysctls |
//! | [`Leaving`] | another backend that takes over: connections of IPVS go on until they end |
//!
//! What stays true:
//!
//! - A virtual server whose key is not a mark of ours is never touched
//!   (`tests/dataplane.rs::others_virtual_servers_are_left_alone`).
//! - An established TCP connection is not cut before its deadline, also over a restart
//!   (`diff::tests::nothing_established_is_cut_before_its_time`, `tests/dataplane.rs::a_deadline_survives_a_restart`).
//! - A restarted process that finds what it wants writes nothing
//!   (`tests/dataplane.rs::syncing_again_writes_nothing_in_this_process_and_the_next`).
//! - What the node's settings were before is remembered in the kernel, and [`Host::restore`] and
//!   [`Dataplane::remove_all`](backend_api::Dataplane::remove_all) put it back
//!   (`tests/host.rs::a_host_is_established_once_and_restored`).
//!
//! Needs Linux with `CONFIG_IP_VS` and nf_tables, `CAP_NET_ADMIN` in the network namespace, a /proc/sys that can be
//! written (or sysctls that are right already), and a tokio runtime.

mod belief;
mod dataplane;
mod diff;
mod drain;
mod errors;
#[cfg(test)]
mod fake;
mod host;
mod leaving;
mod marks;
mod options;
mod plan;
mod port;
mod programmer;
mod render;
mod schedulers;
mod servers;

pub use backend_nft::Others;
pub use dataplane::IpvsDataplane;
pub use host::Host;
pub use leaving::Leaving;
pub use netlink::Namespace;
pub use options::{Options, Timeouts};
