//! Plays scenarios: each in a world of its own, through the agent's own code, against any backend.
//!
//! ```text
//! Scenario ──► play ──► NodeAgent (files ► source ► resolve ► reconcile ► Recorder ► Dataplane)
//!                │
//!                └────► Stage (World) ──► probes ──► judge ──► ok, or a Failure that tells everything
//! ```

mod agent;
mod failure;
mod foreign;
mod judge;
mod listing;
mod play;
mod probes;
mod recorder;
mod stage;
mod subject;
mod summary;

use std::path::{Path, PathBuf};

use crate::scenario::{ParseError, load_all};

pub use failure::Failure;
pub use play::{Counts, play};
pub use stage::{plan, pod_addresses};
pub use subject::{Gap, Open, Opening, Subject};
pub use summary::{Outcome, Summary, Verdict, judge};

/// The folder of the suite's own scenarios.
pub fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Plays every scenario whose name contains `filter`, on as many threads as `jobs` says, and returns what came of each.
/// Blocks. Needs root and a kernel; nothing outside network namespaces of its own is touched.
///
/// # Errors
/// A scenario file that cannot be read; nothing is played then.
pub fn run(subject: &Subject, filter: &str, jobs: usize) -> Result<Summary, ParseError> {
    let scenarios = load_all(&scenarios())?;
    let chosen: Vec<_> = scenarios.iter().filter(|scenario| scenario.name().contains(filter)).collect();
    Ok(summary::collect(&chosen, jobs, |scenario| summary::judge(subject, scenario)))
}
