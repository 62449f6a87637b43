//! Runs the whole suite in one process and prints a table: `cargo run -p conformance --bin suite`.

use std::process::ExitCode;

use agent::backend::Backend;
use clap::Parser;
use conformance::{Subject, run};

/// Plays every conformance scenario on this machine's kernel, in network namespaces of its own.
#[derive(Debug, Parser)]
#[command(name = "suite")]
struct Flags {
    /// Only scenarios whose `topic/claim` contains this.
    #[arg(default_value = "")]
    filter: String,
    /// Who is tested.
    #[arg(long, default_value = "nftables")]
    backend: Backend,
    /// Worlds at a time; by default two a processor, for a scenario mostly waits.
    #[arg(long, short)]
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    match run(&Subject::of(flags.backend), &flags.filter, flags.jobs.unwrap_or(2 * processors)) {
        Ok(summary) => {
            for failure in summary.failures() {
                println!("{failure}\n");
            }
            println!("{summary}");
            if summary.failures().next().is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
