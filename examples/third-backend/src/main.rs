//! Runs the conformance suite against the example: `cargo run -p switchyard-third-backend -- [FILTER]`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let jobs = 2 * std::thread::available_parallelism().map_or(1, usize::from);
    match conformance::run(&switchyard_third_backend::subject(), &filter, jobs, &|verdict| println!("{verdict}")) {
        Ok(summary) => {
            println!("{summary}");
            if summary.failures().next().is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
