//! The `switchyard` binary: flags in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use switchyard_agent::command::CommandLine;

fn main() -> ExitCode {
    CommandLine::given().execute()
}
