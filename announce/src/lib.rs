//! Announces addresses on a segment.
pub mod election;
pub mod wire;
