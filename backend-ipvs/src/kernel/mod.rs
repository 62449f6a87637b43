//! The kernel: IPVS over generic netlink, and nothing about services.
//!
//! ```text
//!  VirtualServer, RealServer ──► Operation… ──► Ipvs::execute ──► kernel
//!       values                    wire::put                         │
//!       ▲──────────── Ipvs::{virtual_servers, real_servers} ◄───────┘
//!                                 wire::read
//! ```
//!
//! The only folder of this crate that does I/O. Layouts are those of linux/ip_vs.h and linux/genetlink.h. Encoding and
//! decoding are pure and total. The socket and the attributes are those of `backend-nft`.

mod abi;
mod error;
mod ipvs;
mod operation;
mod server;
mod wire;

pub use error::{OpenError, Refusal};
pub use ipvs::{Ipvs, Version};
pub use operation::{Operation, Timeouts};
pub use server::{
    ClientMask, Connections, Flags, Forwarding, Persistence, RealServer, RealServerEntry, Statistics, Thresholds,
    VirtualKey, VirtualServer, VirtualServerEntry,
};
