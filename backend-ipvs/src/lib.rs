//! The IPVS dataplane: nftables decides who is balanced how, IPVS picks the endpoint and translates.
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
mod errors;
#[cfg(test)]
mod fake;
#[doc(hidden)] // for the tests, and no promise: types of the netlink libraries show through
pub mod host;
mod leaving;
mod marks;
mod plan;
mod port;
mod programmer;
mod render;
mod rounds;
mod schedulers;

pub use dataplane::{IpvsDataplane, Options};
pub use host::Timeouts;
pub use leaving::Leaving;
