//! The scale benchmark: what a cluster of any size costs, side by side with other ways to program the same.
//!
//! ```text
//! Plan ──► measure ──► place (client, node, server) ──► pipeline, in a process of its own ─► first sync, changes, restart
//!                                 │                ──► rivals by nft and ipvsadm       ─► load, one change
//!                                 ├──► dials: first packets through all of them, in turns
//!                                 └──► throughput: what one connection carries, with and without the flowtable
//! Vec<Measured> ──► table, plot, JSON
//! ```
//!
//! It measures and judges nothing: machines differ, and its own test asserts counts, no times
//! (`tests/scale_smoke.rs`).

mod cluster;
mod dials;
mod measure;
mod measured;
mod memory;
mod peer;
mod phases;
mod pipeline;
mod place;
mod plot;
mod programs;
mod rate;
mod rivals;
mod spread;
mod table;
mod throughput;

pub use cluster::Cluster;
pub use dials::Dialled;
pub use measure::{Plan, measure};
pub use measured::{Compared, Connect, Measured};
pub use memory::Resident;
pub use phases::Phases;
pub use plot::{PlotError, plot};
pub use programs::{PART, part};
pub use rate::{Rate, Sustained};
pub use spread::Percentiles;
pub(crate) use spread::Spread;
pub use table::Table;
pub(crate) use table::time;
pub use throughput::Throughput;
