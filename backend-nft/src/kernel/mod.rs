//! The kernel: nf_tables and conntrack over netlink, and nothing about services.
//!
//! ```text
//!  Table, Chain, Rule(Expr…), Set, Element ──► Batch ──► Nftables::commit ──► kernel
//!        values                                bytes      one socket, for life
//!        ▲─────────────── Nftables::{tables, chains, rules, sets, elements} ◄──┘
//!  Nftables::watch ─► Watch::changed: somebody else wrote.      Conntrack::{flows, delete}
//! ```
//!
//! The only folder of this crate that does I/O. Layouts are those of linux/netlink.h, linux/netfilter/nfnetlink.h,
//! nf_tables.h and nfnetlink_conntrack.h. Encoding and decoding are pure and total.

mod abi;
mod aside;
pub mod attr;
mod batch;
mod commit;
mod conntrack;
mod error;
pub mod expr;
mod ipset;
mod nftables;
mod notify;
mod numbers;
pub mod object;
mod socket;
mod survey;
pub mod udata;
mod wire;

pub use batch::{Batch, Elements};
pub use commit::Ownership;
pub use conntrack::{Conntrack, Flow, Tuple};
pub use error::{CommitError, ReadError, Refusal};
pub use expr::{Counter, Expr, Family, Reg, Verdict};
pub use ipset::{Destroyed, IpSets};
pub use nftables::Nftables;
pub use notify::Watch;
pub use object::{Base, Bound, Chain, Element, Flowtable, Hook, Rule, Set, SetData, Table, Value};
pub use socket::Socket;
pub use survey::{Entry, ForeignChain, ForeignObject, Jump, Policy};
pub use wire::message;
