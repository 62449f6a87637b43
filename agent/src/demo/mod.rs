//! `switchyard demo`: the example cluster on one machine, forwarded for real, in front of your eyes.
//!
//! ```text
//! cluster (YAML → ServiceState) ──► stage (world, dataplane) ──► itinerary (who dials what) ──► verdict ──► page
//!                                                           └──► churn (endpoints change under load) ──┘
//! ```
//!
//! It takes the same way from objects to the kernel as the agent does. **Invariant:** it configures nothing outside
//! namespaces that it makes (see [`testbed::Namespace`]).

mod churn;
mod cluster;
mod itinerary;
mod page;
mod show;
mod stage;
mod verdict;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args as ClapArgs;

use crate::backend::Backend;
use page::{Audience, Page, Style};
use show::{Ending, Failure};

/// Flags of `switchyard demo`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Who programs the kernel
    #[arg(long, alias = "proxy-mode", value_name = "NAME", default_value = "nftables", ignore_case = true)]
    backend: Backend,

    /// Leave the world up until Ctrl-C, and say how to enter it
    #[arg(long)]
    keep: bool,

    /// Connections to open to each address that is shown
    #[arg(long, value_name = "N", default_value = "300", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
}

/// Some of what the demo showed was not as expected; it says what.
const MISMATCH: u8 = 1;
/// It could not be shown here; it says what is missing.
const NOT_HERE: u8 = 2;
/// Somebody pressed Ctrl-C; by convention 128 and the number of the signal.
const INTERRUPTED: u8 = 130;

/// Runs the demo, and blocks until it is over. The exit code is 0 if everything was as expected, 1 if not, 2 if it could
/// not be shown here, 130 after Ctrl-C.
pub fn run(args: &Args) -> ExitCode {
    let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
    // https://no-color.org: set and not empty.
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let style = if out && !no_colour { Style::Coloured } else { Style::Plain };
    let audience = if out && err { Audience::Watching } else { Audience::Absent };
    let mut page = Page::new(Box::new(std::io::stdout()), style, audience);
    match show::show(&mut page, args, Box::pin(args.backend.open())) {
        Ok(Ending::AsExpected) => ExitCode::SUCCESS,
        Ok(Ending::Mismatched) => ExitCode::from(MISMATCH),
        Ok(Ending::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(failure) => {
            page.done();
            eprintln!("{}", explain(&failure, args.backend));
            ExitCode::from(NOT_HERE)
        }
    }
}

/// What is missing here, in one line; in another, where it can be had.
fn explain(failure: &Failure, backend: Backend) -> String {
    let need = if failure.is_privilege() { "needs root, to make network namespaces: " } else { "" };
    let elsewhere = if failure.is_unsupported() { elsewhere(backend) } else { String::new() };
    format!("switchyard demo: {need}{failure}{elsewhere}")
}

/// How to see the same on a kernel that has everything. The machine sees this one's files, this program too.
fn elsewhere(backend: Backend) -> String {
    let program = std::env::current_exe().map_or_else(|_| "switchyard".to_owned(), |path| path.display().to_string());
    format!(
        "\nTo see it on a kernel that has it, in an emulated machine, run this in Switchyard's source tree:\n    \
         cargo run -p switchyard-conformance --bin vm -- --kernel 6.12 -- {program} demo --backend {}",
        backend.name()
    )
}

#[cfg(test)]
mod tests;
