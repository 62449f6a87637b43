//! What our table is, as values: names, rules, sets, elements, each with the text that nft prints for it.
//!
//! ```text
//!  name, chain, code ◄── rule ──► lower ──► kernel::Expr
//!       ▲    ◄── spec ─────────────► kernel::Set
//!       └─────── element ─► layout ► key and value bytes
//! ```
//!
//! **Invariant:** nothing here decides anything about services, and nothing here can fail.

pub mod chain;
pub mod code;
mod declared;
pub mod delivery;
pub mod element;
pub mod layout;
pub mod lower;
pub mod name;
pub mod rule;
pub mod spec;

pub use chain::ChainName;
pub use code::{Code, Policy};
pub use delivery::{Delivery, Label, Mark};
pub use element::{Element, Key, Value};
pub use name::{By, FLOWTABLE, LOCAL_STICKY_SLOT, SetName, TABLE, Tag};
pub use rule::{Field, Rule, Statement};
