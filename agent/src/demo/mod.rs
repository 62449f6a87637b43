//! `switchyard demo`: the example cluster on one machine, forwarded by the kernel, dialled and compared.
//!
//! ```text
//! cluster (YAML → ServiceState) ──► stage (world, dataplane) ──► itinerary (what is dialled) ──► verdict ──► page
//!                                                           └──► churn (endpoints change under load) ──┘
//! ```
//!
//! It takes the same way from objects to the kernel as the agent does. **Invariant:** it configures nothing outside
//! namespaces that it makes (see [`testbed::Namespace`]).

mod churn;
mod cluster;
mod failure;
mod itinerary;
mod page;
mod show;
mod stage;
mod verdict;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Args as ClapArgs;

use crate::backend::Backend;
use failure::Failure;
use page::{Audience, Page, Style};
use show::Ending;

/// Flags of `switchyard demo`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Which backend programs the kernel
    #[arg(long, alias = "proxy-mode", value_name = "NAME", default_value = "nftables", ignore_case = true)]
    backend: Backend,

    /// Leave the example up until Ctrl-C, and print how to enter it
    #[arg(long)]
    keep: bool,

    /// How many connections to open to each address
    #[arg(long, value_name = "N", default_value = "300", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
}

/// Some results were not as expected; the output names them.
const MISMATCH: u8 = 1;
/// The demo cannot run here; the last line names what is missing.
const NOT_HERE: u8 = 2;
/// After Ctrl-C; by convention 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;
/// The reader of the output has gone, so that nothing can be said; by convention 128 and the number of SIGPIPE.
const UNREAD: u8 = 141;

/// Runs the demo, and blocks until it is over. The exit code is 0 if everything was as expected, 1 if not, 2 if it
/// cannot run here, 130 after Ctrl-C, 141 if the reader of the output has gone.
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
        Ok(Ending::Unread) => ExitCode::from(UNREAD),
        Err(failure) => {
            page.done();
            // Without a reader of stderr the exit code says it alone.
            let _ = writeln!(std::io::stderr(), "{}", explain(&failure, args.backend));
            ExitCode::from(NOT_HERE)
        }
    }
}

/// What is missing here, and in a second line how to run it elsewhere.
fn explain(failure: &Failure, backend: Backend) -> String {
    let need = if failure.is_privilege() { "needs root, to make network namespaces: " } else { "" };
    let elsewhere = if failure.is_unsupported() { elsewhere(backend) } else { String::new() };
    format!("switchyard demo: {need}{failure}{elsewhere}")
}

/// How to run the same on a kernel that has everything. The emulated machine has this one's files, and this program.
fn elsewhere(backend: Backend) -> String {
    let program = std::env::current_exe().map_or_else(|_| "switchyard".to_owned(), |path| path.display().to_string());
    format!(
        "\nTo run it on a kernel that has it, in an emulated machine, enter this in Switchyard's source tree:\n    \
         cargo run -p switchyard-conformance --bin vm -- --kernel 6.12 -- {program} demo --backend {}",
        backend.name()
    )
}

#[cfg(test)]
mod tests;
