//! nf_tables over netlink: tables, chains, rules, sets, maps, elements and flowtables as values.
//!
//! ```text
//!  Table, Chain, Rule(Expr…), Set, Element ──► Batch ──► Nftables::commit ──► kernel
//!        values                                bytes      one socket, for life
//!        ▲─────────────── Nftables::{tables, chains, rules, sets, elements} ◄──┘
//!  Nftables::watch ─► Watch::changed: another program wrote.
//! ```
//!
//! Layouts are those of linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h. Encoding and decoding are pure and
//! total; only [`Nftables`] and [`Watch`] do I/O.

mod aside;
mod batch;
mod commit;
mod connection;
mod error;
pub mod expr;
mod notify;
mod numbers;
pub mod object;
mod survey;
pub mod udata;
mod wire;

pub use batch::{Batch, Elements};
pub use commit::Ownership;
pub use connection::Nftables;
pub use error::{CommitError, Refusal};
pub use expr::{Counter, Expr, Family, Reg, Verdict};
pub use notify::Watch;
pub use object::{Base, Bound, Chain, DataType, Element, Flowtable, Hook, Rule, Set, SetData, Table, Value};
pub use survey::{Entry, ForeignChain, ForeignObject, Jump, Policy};
