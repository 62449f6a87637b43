//! The node agent: from Kubernetes objects to a programmed kernel.
//!
//! ```text
//! source/ ──► resolve/ ──► reconcile/ ──► backend/ (Dataplane::sync) ──► kernel
//! files, API   pure         one loop       nftables, IPVS
//!              ▲               │ News
//! node, config/                └──► serving/, metrics/, events/, localhost/, migration/
//! ```
//!
//! [`process`] puts them together.
//!
//! Everything is a library, so that another program can embed the whole agent or a part of it; the `switchyard`
//! binary is [`command`] and nothing else.

pub mod backend;
pub mod command;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod events;
pub mod host;
pub mod localhost;
pub mod metrics;
pub mod migration;
pub mod node;
pub mod process;
pub mod serving;
