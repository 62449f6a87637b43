//! The nftables dataplane: ruleset values, render, diff, netlink.

pub mod assign;
mod belief;
pub mod content;
mod dataplane;
pub mod diff;
mod errors;
#[cfg(test)]
mod fake;
mod flows;
#[cfg(test)]
mod golden;
pub mod kernel;
mod observe;
mod plan;
mod port;
mod programmer;
pub mod render;
pub mod ruleset;
pub mod transaction;

pub use dataplane::{NftDataplane, Options, Others};
