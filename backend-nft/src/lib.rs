//! The nftables dataplane: ruleset values, render, diff, netlink.
