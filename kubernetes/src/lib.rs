//! Kubernetes objects to the desired state of one node.
//!
//! ```text
//! source/ ──► batches of Event ──► ClusterState: Desired ──► reconcile::run
//! files, API                          │ objects/ ► resolve/ ► ServiceState
//! [I/O]        settings, addresses ───┘ [pure]
//! ```
//!
//! **Invariant:** `objects`, `resolve` and `settings` do no I/O, but for `settings::NodeName::of_host`.

mod cluster_state;
pub mod objects;
pub mod resolve;
pub mod settings;
pub mod source;

pub use cluster_state::{Addresses, ClusterState, Inputs, Links, News, Note};
