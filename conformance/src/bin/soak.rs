//! The soak test: `cargo run --release -p switchyard-conformance --bin soak -- --minutes 60`.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agent::command::CommandLine;
use clap::Parser;
use switchyard_conformance::soak::{Plan, run};

/// Runs an agent for a while in network namespaces of its own, changes its cluster and dials its services all the
/// time, and prints a line each minute.
///
/// Needs root. The exit code is 1 if a dial failed, memory or descriptors grew, the kernel's tables are not at rest
/// what they were at first, or the agent logged a warning or an error.
#[derive(Debug, Parser)]
#[command(name = "soak")]
struct Flags {
    /// How long it lasts.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Changes a second.
    #[arg(long, default_value_t = 500)]
    changes: u32,
    /// Dials a second.
    #[arg(long, default_value_t = 500)]
    dials: u32,
    /// Services beside the 296 that are dialled, or come and go.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(..=2000))]
    services: u16,
    /// The agent's program [default: this one, which has the agent's code]
    #[arg(long)]
    agent: Option<PathBuf>,
}

fn main() -> ExitCode {
    // As the agent it is called like the agent.
    if env::args().nth(1).as_deref() == Some("run") {
        return CommandLine::parse().execute();
    }
    match soak(&Flags::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(flags: &Flags) -> Result<ExitCode, String> {
    let own = env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    let plan = Plan {
        lasts: Duration::try_from_secs_f64(flags.minutes * 60.0).map_err(|error| format!("--minutes: {error}"))?,
        changes: flags.changes.max(1),
        dials: flags.dials.max(1),
        services: flags.services.into(),
        agent: flags.agent.clone().unwrap_or(own),
    };
    let verdict = run(&plan, &|line| println!("{line}"))?;
    println!("{verdict}");
    Ok(if verdict.faults().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
