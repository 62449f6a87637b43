//! The IPVS dataplane: nftables decides which clients are balanced over which pool, IPVS picks the endpoint and translates.
//!
//! ```text
//!                ┌─ render ─► marks ─► virtual servers ─ plan: diff ─► make … unmake ─► IPVS
//!  ServiceState ─┤              │                                    │
//!                └──────────────┴─► tables of backend-nft ───────────┘ committed in between
//! ```
//!
//! **Invariant:** a virtual server whose key is not a mark of ours is never touched
//! (`tests/dataplane.rs::others_virtual_servers_are_left_alone`).

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
mod plan;
mod port;
mod programmer;
mod render;
mod schedulers;
mod servers;

pub use backend_nft::Others;
pub use dataplane::{IpvsDataplane, Options};
pub use host::{Host, Timeouts};
pub use leaving::Leaving;
pub use netlink::Namespace;
