//! The conformance suite: scenarios as data, worlds of real network namespaces, probes with real packets.
//!
//! ```text
//! scenarios/<topic>/<claim>.yaml ──► scenario (parse) ──► run (world, agent, steps, probes) ──► Summary
//! ```
//!
//! Whoever has a [`backend_api::Dataplane`] of their own runs the suite against it with [`run`]; what it cannot do is
//! declared as a [`Gap`]. Objects reach the agent as files or through [`api`], an API server of our own. [`vm`] runs the same on other kernels.
//!
//! **Invariant:** scenarios assert packets alone, never chains, maps or servers.

pub mod api;
mod run;
pub mod scale;
pub mod scenario;
pub mod vm;

pub use run::{
    BACKEND, Counts, Failure, Gap, Open, Opening, Outcome, PATIENCE, Source, Subject, Summary, Verdict, judge, lacking,
    plan, play, pod_addresses, run, scenarios, under_test,
};
