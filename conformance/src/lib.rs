//! The conformance suite: what a node does with service traffic, as files that are played with real packets.
//!
//! ```text
//! scenarios/<topic>/<claim>.yaml ──► scenario (parse) ──► run (world, agent, steps, probes) ──► Summary
//!                                                              ▲
//! Subject (opens a Dataplane; gaps, promises) ─────────────────┘
//! ```
//!
//! A backend of any maker is a [`Subject`]: [`run`] plays every scenario against it, `property::run` (feature
//! `property`) random states, and [`weights::run`] endpoint weights. What it cannot do is declared, see
//! [`Subject::with_gap`] and [`Subject::without`].
//!
//! ```no_run
//! use backend_api::{Fake, SyncError};
//! use switchyard_conformance::{Subject, run};
//!
//! let subject = Subject::new("mine", |_flags| async { Ok::<_, SyncError>(Fake::default()) });
//! println!("{}", run(&subject, "cluster-ip/", 4, &|verdict| println!("{verdict}"))?);
//! # Ok::<(), switchyard_conformance::SuiteError>(())
//! ```
//!
//! Objects reach the agent as files, or through `api`, an API server of our own (feature `kube`). `vm` runs the same on
//! other kernels (feature `vm`). The scenarios are part of the program.
//!
//! **Invariant:** scenarios assert packets alone, never chains, maps or servers.

#[cfg(feature = "kube")]
pub mod api;
#[cfg(feature = "vm")]
pub mod debian;
#[cfg(feature = "property")]
pub mod property;
mod run;
#[cfg(feature = "scale")]
pub mod scale;
pub mod scenario;
#[cfg(all(feature = "kube", feature = "scale"))]
pub mod soak;
#[cfg(feature = "vm")]
pub mod vm;
pub mod weights;

pub use run::{
    BACKEND, Counts, Failure, Gap, Outcome, PATIENCE, Promise, Source, Subject, SuiteError, Summary, Verdict, judge,
    lacking, plan, play, pod_addresses, run, under_test,
};
pub use scenario::scenarios;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
