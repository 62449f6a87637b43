//! Announces addresses on a network segment: answers ARP and neighbour discovery, and elects which node does.
//!
//! ```text
//!                 bids ──► kernel::Announcer ──► one thread ──► events, snapshot
//!                                                  │    ▲
//!    segment ─► frames ─► wire ─► Message, Arp, Ndp ┘    └── Output
//!                                        └──► election::Election (pure) ──┘
//! ```
//!
//! | module | what it is | what it must never hold |
//! |---|---|---|
//! | [`wire`] | bytes ⇄ values | sockets |
//! | [`election`] | which node answers | sockets, clocks |
//! | [`kernel`] | sockets, rtnetlink, one thread | decisions |
//!
//! **Invariants**
//!
//! - No bytes from the segment make it panic (`tests/wire.rs::any_bytes_can_be_read`).
//! - What is heard does not grow its memory without bound
//!   (`tests/election.rs::a_flood_of_forged_names_does_not_grow_memory`).
//! - In one segment at most one node answers with its own hardware address, but for the time that a message takes, or
//!   that nodes could not hear each other (`tests/simulation`).

pub mod election;
pub mod kernel;
pub mod wire;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
