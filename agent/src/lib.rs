//! The node agent: from Kubernetes objects to a programmed kernel.
//!
//! ```text
//! source/ ──► resolve/ ──► reconcile/ ──► backend/ (Dataplane::sync) ──► kernel
//! files, API   pure         one loop       nftables, IPVS
//!              ▲               │ News
//! node, config/                └──► serving/, metrics/, events/, localhost/, migration/
//! ```
//!
//! [`process::Agent`] puts them together, with a dataplane, witnesses and a source of an embedding program if it has
//! any.
//!
//! Everything is a library; the `switchyard` binary is [`command`] and nothing else.

pub mod allocate;
pub mod announce;
pub mod backend;
pub mod command;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod descriptors;
pub mod events;
pub mod host;
pub mod localhost;
mod log;
pub mod metrics;
pub mod migration;
pub mod node;
pub mod process;
pub mod serving;
