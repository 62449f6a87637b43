//! Linux's netfilter over netlink: nf_tables, connection tracking, IP sets and IPVS, as values, a codec and sockets.
//!
//! ```text
//!  nftables   Table, Chain, Rule(Expr…), Set, Element ──► Batch ──► Nftables::commit ──┐
//!             Notification ◄────────────────────────────── Monitor ◄───────────────────┤
//!  conntrack  Flow ◄────────────────────────────────────── Conntrack::{flows, delete} ─┤ Socket ──► kernel
//!  ipvs       VirtualServer, RealServer ──► Operation… ──► Ipvs::execute ──────────────┤ in a Namespace
//!  ipset      names ◄───────────────────────────────────── IpSets::{names, destroy} ───┘
//!                  all of them: message (frames), attr (attributes)
//! ```
//!
//! A table that decides by a verdict map what happens to a port, in one transaction:
//!
//! ```no_run
//! use switchyard_netlink::nftables::expr::{Membership, PayloadBase};
//! use switchyard_netlink::nftables::{
//!     Base, Batch, Chain, CommitError, DataType, Element, Expr, Family, Hook, Nftables, Reg, Rule, Set, Table, Verdict,
//! };
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let ip = Family::Ipv4;
//! let mut batch = Batch::new("web");
//! // The numbers are the caller's own: a refusal comes back with the number of its operation.
//! batch.put_table(0, &Table::new(ip).with_comment("by example"));
//! batch.put_chain(1, ip, &Chain::new("closed"));
//! batch.append_rule(2, ip, &Rule::new("closed", vec![Expr::Verdict(Verdict::Drop)]));
//!
//! // map ports { type inet_service : verdict; elements = { 80 : accept, 81 : goto closed } }
//! batch.put_set(3, ip, &Set::verdict_map("ports", DataType::INET_SERVICE));
//! let mut ports = batch.put_elements(ip, "ports");
//! ports.push(4, &Element::verdict(&80u16.to_be_bytes(), Verdict::Accept));
//! ports.push(5, &Element::verdict(&81u16.to_be_bytes(), Verdict::Goto("closed")));
//! drop(ports);
//!
//! // chain input { type filter hook input priority 0; th dport vmap @ports }
//! batch.put_chain(6, ip, &Chain::with_base("input", Base::new("filter", Hook::Input, 0)));
//! let port = Reg::word(0);
//! let rule = vec![
//!     Expr::Payload { base: PayloadBase::Transport, offset: 2, len: 2, dreg: port },
//!     Expr::Lookup {
//!         set: "ports".to_owned(),
//!         sreg: port,
//!         dreg: Some(Reg::VERDICT),
//!         expect: Membership::Present,
//!     },
//! ];
//! batch.append_rule(7, ip, &Rule::new("input", rule));
//!
//! let mut nftables = Nftables::open("web")?;
//! match nftables.commit(&mut batch).await {
//!     Ok(()) => {}
//!     Err(CommitError::Refused(refusals)) => {
//!         for refusal in refusals {
//!             eprintln!("operation {:?}: {refusal}", refusal.operations);
//!         }
//!     }
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Sockets belong to the tokio runtime in which they are opened, and to a network namespace for life: that of the
//! calling thread, or a given [`Namespace`]. Writing needs `CAP_NET_ADMIN` there.
//!
//! Nothing here knows what a service is, or Kubernetes.
//!
//! **Invariants**
//!
//! - Decoding never panics and never reads past what was received, whatever the bytes
//!   (`attr::tests::any_bytes_can_be_read`, and the fuzz targets of the repository).
//! - What this crate writes is read back equal from the kernel (`tests/kernel/round_trip.rs`).
//! - A form that this crate does not know is kept as bytes ([`nftables::Expr::Unknown`]) and is never taken for one
//!   that it knows.

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

pub use error::{ReadError, is_passing};
pub use namespace::Namespace;
pub use nftables::Family;
pub use socket::Socket;
