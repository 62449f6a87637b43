//! nf_tables over netlink: tables, chains, rules, sets, maps, elements and flowtables as values.
//!
//! ```text
//!  values ──► wire ──► Batch ──► Nftables::commit ──► kernel
//!    ▲                                                  │
//!    ├── wire ◄── Nftables::{tables, chains, rules, sets, elements, find}
//!    ├── wire ◄── Notification ◄── Monitor: every change, decoded
//!    └─────────── Watch: another program changed a table of this name
//! ```
//!
//! Layouts are those of linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h. Encoding and decoding are pure and
//! total; only [`Nftables`], [`Watch`] and [`Monitor`] do I/O.
//!
//! [`Batch`] and [`Nftables`] are about the tables of one name, one in each family, `ip` and `ip6`. Families `inet`,
//! `arp`, `bridge` and `netdev` cannot be written, and tables of those families are not listed.

mod abi;
mod batch;
mod connection;
mod error;
mod notification;
mod values;
mod watch;
mod wire;

pub use batch::{Batch, Elements};
pub use connection::{Entry, ForeignChain, ForeignObject, Jump, Nftables, Ownership, Policy};
pub use error::{CommitError, Refusal};
pub use expr::{Counter, Expr, Family, Reg, Verdict};
pub use notification::{Action, ElementList, Monitor, Notification, Notifications, Object};
pub use object::{Base, Bound, Chain, DataType, Element, Flowtable, Hook, Rule, Set, SetData, Table, Value};
pub use values::{expr, object, udata};
pub use watch::Watch;
