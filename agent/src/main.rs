//! The `switchyard` binary: flags in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use switchyard_agent::command::CommandLine;

fn main() -> ExitCode {
    CommandLine::parse().execute()
}
