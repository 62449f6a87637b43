//! For a backend that lets IPVS translate: the same tables, marking where [`crate::NftDataplane`] translates.
//!
//! ```text
//!  Marks: which mark stands for which target ─┐
//!  ServiceState ──────────────────────────────┴─► MarkingTables::sync ─► kernel, one batch for both families
//!  when this backend goes ───────────────────────► LeavingTables::establish: established connections go on
//! ```
//!
//! A public module on purpose: `switchyard-ipvs` is made of it. Source ranges, refusals, session affinity and
//! masquerading are decided by the rules of this crate for both backends; IPVS picks an endpoint and translates.

mod leaving;
mod tables;

pub use crate::marks::{Marked, Marks, Target};
pub use crate::ownership::foreign_table;
pub use crate::ruleset::Mark;
pub use crate::ruleset::lower::kernel_family;
pub use leaving::{LEAVING_TABLE, LeavingTables};
pub use tables::{MarkingTables, Synced};
