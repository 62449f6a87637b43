//! The nftables dataplane: ruleset values, render, diff, netlink.

pub mod assign;
pub mod kernel;
pub mod render;
pub mod ruleset;
