//! The `switchyard` binary: flags in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use agent::command::CommandLine;
use clap::Parser;

fn main() -> ExitCode {
    CommandLine::parse().execute()
}
