//! Scenarios, worlds, probes.
