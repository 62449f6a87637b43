//! The nftables dataplane: ruleset values, render, diff, netlink.

pub mod kernel;
