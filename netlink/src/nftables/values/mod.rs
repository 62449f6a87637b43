//! What nf_tables holds, as plain values without I/O.
//!
//! ```text
//!  object   Table, Chain, Rule, Set, Element, Flowtable
//!  expr     what a rule is made of; its enumerations are in numbers, its text in display
//!  udata    what nft keeps beside tables, rules and sets
//! ```

mod display;
pub mod expr;
mod numbers;
pub mod object;
pub mod udata;
