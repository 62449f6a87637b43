//! Runs the whole suite in one process and prints a table: `cargo run -p switchyard-conformance --bin suite`.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use agent::backend::Backend;
use clap::Parser;
use switchyard_conformance::scenario::Flag;
use switchyard_conformance::{Outcome, Source, Subject, Summary, Verdict, run};

/// Plays every conformance scenario on this machine's kernel, in network namespaces of its own.
#[derive(Debug, Parser)]
#[command(name = "suite")]
struct Flags {
    /// Only scenarios whose `topic/claim` contains this.
    #[arg(default_value = "")]
    filter: String,
    /// The backend under test.
    #[arg(long, default_value = "nftables")]
    backend: Backend,
    /// Where the agent reads objects.
    #[arg(long, default_value = "files")]
    source: Source,
    /// With connections handed to a flowtable after about so many packets.
    #[arg(long, value_name = "PACKETS")]
    flowtable_after: Option<u32>,
    /// Worlds at a time; by default two a processor and at least four, for a scenario mostly waits.
    #[arg(long, short)]
    jobs: Option<usize>,
}

/// How often a long run says how far it has come. Long silence looks like a hang.
const PACE: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    let flags = Flags::parse();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let progress = Mutex::new(Progress::new());
    let jobs = flags.jobs.unwrap_or((2 * processors).max(4));
    let mut subject = Subject::of(flags.backend).through(flags.source);
    if let Some(after) = flags.flowtable_after {
        subject = subject.with_flag("flowtable-after", Flag::Number(after.into()));
    }
    let summary = run(&subject, &flags.filter, jobs, &|verdict| {
        progress.lock().expect("printing does not panic").tell(verdict);
    });
    match summary {
        Ok(summary) => conclude(&summary),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn conclude(summary: &Summary) -> ExitCode {
    println!("{summary}");
    for verdict in summary.verdicts.iter().filter(|verdict| matches!(verdict.outcome, Outcome::NotMeant(_))) {
        println!("{verdict}");
    }
    let failed: Vec<_> = summary.failures().map(|verdict| verdict.scenario.as_str()).collect();
    match (failed.as_slice(), summary.verdicts.as_slice()) {
        (_, []) => println!("no scenario of that name"),
        ([], _) => return ExitCode::SUCCESS,
        (failed, _) => println!("failed:\n  {}", failed.join("\n  ")),
    }
    ExitCode::FAILURE
}

/// Prints failures as they come, and now and then how far it is.
struct Progress {
    played: usize,
    failed: usize,
    said: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { played: 0, failed: 0, said: Instant::now() }
    }

    fn tell(&mut self, verdict: &Verdict) {
        self.played += 1;
        if let Outcome::Failed(_) = verdict.outcome {
            self.failed += 1;
            println!("{verdict}\n");
        }
        if self.said.elapsed() >= PACE {
            println!("{} scenarios played, {} failed", self.played, self.failed);
            self.said = Instant::now();
        }
    }
}
