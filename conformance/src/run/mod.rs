//! Plays scenarios: each in a world of its own, through the agent's own code, against any backend.
//!
//! ```text
//! Scenario ──► play ──► NodeAgent (files, API ► source ► resolve ► reconcile ► Recorder ► Dataplane)
//!                │
//!                └────► Stage (World) ──► probes ──► judge ──► ok, or a Failure that tells everything
//! ```

mod agent;
mod failure;
mod foreign;
mod judge;
mod listing;
mod patience;
mod play;
mod probes;
mod publish;
mod recorder;
mod stage;
mod subject;
mod summary;

use ::agent::backend::Backend;
use netlink::ipvs::Ipvs;

use crate::scenario::scenarios;

pub use failure::Failure;
pub use patience::PATIENCE;
pub use play::{Counts, play};
pub use stage::{plan, pod_addresses};
pub use subject::{BACKEND, Gap, Promise, Source, Subject, SuiteError, under_test};
pub use summary::{Outcome, Summary, Verdict, judge};

/// What this machine's kernel lacks for `backend`; its scenarios run in the virtual machine then.
pub fn lacking(backend: Backend) -> Option<String> {
    match backend {
        Backend::Nftables => None,
        Backend::Ipvs => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let open = async { Ipvs::open().await.err().map(|error| error.to_string()) };
            runtime.map_or_else(|error| Some(error.to_string()), |runtime| runtime.block_on(open))
        }
    }
}

/// Plays every scenario whose name contains `filter`, on as many threads as `jobs` says, and returns what came of each;
/// `told` is called with each verdict as soon as it is known. Blocks. Needs root and a kernel; nothing outside network
/// namespaces of its own is touched.
///
/// # Errors
/// A scenario that cannot be read, or a gap that names none; nothing is played then.
pub fn run(
    subject: &Subject,
    filter: &str,
    jobs: usize,
    told: &(dyn Fn(&Verdict) + Sync),
) -> Result<Summary, SuiteError> {
    let files = scenarios();
    subject.check_against(&files)?;
    let chosen = files.iter().filter(|file| file.name().contains(filter));
    let scenarios = chosen.map(|file| file.load()).collect::<Result<Vec<_>, _>>()?;
    let verdicts = summary::collect(&scenarios, jobs, |scenario| summary::judge(subject, scenario), told);
    Ok(Summary { unkept: subject.unkept().clone(), ..verdicts })
}
