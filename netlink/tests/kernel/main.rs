//! The crate against the real kernel, each test in a network namespace of its own: needs root.
//!
//! What [`recorded`] holds was said by a kernel once, and needs none.

mod conntrack;
mod examples;
mod isolated;
mod listing;
mod namespaces;
mod nftables;
mod recorded;
mod round_trip;
mod speed;
