//! What our tables are, as values: names, rules, sets, elements.
//!
//! ```text
//!  name, chain, code ◄── rule ──────────► lower ────► kernel::Expr
//!       ▲    ◄────────── spec ──────────► declared ─► kernel::Set
//!       └─────────────── element ───────► layout ───► key and value bytes
//!                        all three ─────► text: what nft prints, for golden listings
//! ```
//!
//! **Invariant:** nothing here decides anything about services, and nothing here can fail.

pub(crate) mod chain;
pub(crate) mod code;
mod declared;
pub(crate) mod delivery;
pub(crate) mod element;
pub(crate) mod layout;
pub(crate) mod lower;
pub(crate) mod name;
pub(crate) mod rule;
mod spec;
#[cfg(test)]
mod text;

pub(crate) use chain::ChainName;
pub(crate) use code::{Code, Policy};
pub use delivery::Mark;
pub(crate) use delivery::{Delivery, Label};
pub(crate) use element::{Element, Key, Value, value_at};
pub(crate) use name::{By, FLOWTABLE, LOCAL_STICKY_SLOT, SetName, TABLE, Tag};
pub(crate) use rule::{Field, Rule, Statement};
pub(crate) use spec::AFFINITY_SIZE;
