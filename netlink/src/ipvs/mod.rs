//! IPVS over generic netlink: virtual servers and real servers as values.
//!
//! ```text
//!  VirtualServer, RealServer ──► Operation… ──► wire ──► Ipvs::execute ──► kernel
//!       values                                                               │
//!       ▲───────── wire ◄── Ipvs::{virtual_servers, real_servers} ◄──────────┘
//! ```
//!
//! Layouts are those of linux/ip_vs.h and linux/genetlink.h. Encoding and decoding are pure and total; only [`Ipvs`]
//! does I/O.

mod abi;
mod connection;
mod error;
mod operation;
mod server;
mod wire;

pub use connection::{Ipvs, Version};
pub use error::{OpenError, Refusal};
pub use operation::{Operation, Timeouts};
pub use server::{
    ClientMask, Connections, Flags, Forwarding, Persistence, RealServer, RealServerEntry, Statistics, Thresholds,
    VirtualKey, VirtualServer, VirtualServerEntry,
};
