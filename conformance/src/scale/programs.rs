//! Programs that the benchmark runs in a namespace: `nft`, `ipvsadm`, and itself.
//!
//! Rivals are programs, so they are started as such; the agent's own part is this program again, so that its memory is
//! measured alone.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use testbed::Namespace;

use super::pipeline::{Order, Programmed, carry_out};

/// The hidden flag by which this program knows that it is the child.
pub const PART: &str = "--part";

/// Runs the pipeline in a process of its own inside `node`.
///
/// # Errors
/// What the process said on its standard error.
pub(super) fn run_pipeline(node: &Namespace, program: &std::path::Path, order: &Order) -> Result<Programmed, String> {
    let order = serde_json::to_string(order).expect("an order is plain data");
    let output = node.run(|| Command::new(program).args([PART, &order]).stderr(Stdio::inherit()).output());
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("measuring process: {}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("measuring process: what it says: {error}"))
}

/// The child's side: carries out an order, and returns what is to be printed.
///
/// # Errors
/// A sentence.
pub fn part(order: &str) -> Result<String, String> {
    let order: Order = serde_json::from_str(order).map_err(|error| format!("order: {error}"))?;
    Ok(serde_json::to_string(&carry_out(&order)?).expect("what was found is plain data"))
}

/// Runs a program inside `namespace` with `input`; how long it took, and what it printed.
///
/// # Errors
/// It is not there, or it failed: what it said.
pub(super) fn run(namespace: &Namespace, program: &[&str], input: &str) -> Result<(Duration, String), String> {
    let start = Instant::now();
    let output = namespace.run(|| spawn(program, input)).map_err(|error| format!("{}: {error}", program[0]))?;
    let took = start.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{}: {}: {}",
            program.join(" "),
            output.status,
            said.lines().take(3).collect::<Vec<_>>().join(" ")
        ));
    }
    Ok((took, String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn spawn(program: &[&str], input: &str) -> io::Result<Output> {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("it was piped");
    std::thread::scope(|scope| {
        // Beside the reading, because neither pipe holds everything.
        let writing = scope.spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output();
        match writing.join() {
            // It ended without reading all: its exit code says why.
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => output,
        }
    })
}
