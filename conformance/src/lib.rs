//! Scenarios, worlds, probes.

pub mod vm;
