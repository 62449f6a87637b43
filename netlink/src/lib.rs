//! Linux's netfilter over netlink: nf_tables, connection tracking, IP sets and IPVS, as values, a codec and sockets.
//!
//! ```text
//!  nftables/  Table, Chain, Rule(Expr…), Set, Element ──► Batch ──► Nftables::commit ──┐
//!  conntrack  Flow ◄───────────────────────────────────── Conntrack::{flows, delete} ──┤ socket ──► kernel
//!  ipvs/      VirtualServer, RealServer ──► Operation… ── Ipvs::execute ───────────────┘
//!                       all of them: message (frames), attr (attributes)
//! ```
//!
//! Nothing here knows what a service is, or Kubernetes.
//!
//! **Invariant:** reading never panics and never reads past what was received, whatever the bytes
//! (`attr::tests::any_bytes_can_be_read`).

mod abi;
pub mod attr;
pub mod conntrack;
mod error;
pub mod ipset;
pub mod ipvs;
pub mod message;
mod namespace;
pub mod nftables;
mod socket;

pub use error::ReadError;
pub use namespace::Namespace;
pub use nftables::Family;
pub use socket::Socket;
