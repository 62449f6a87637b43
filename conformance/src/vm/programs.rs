//! Finds programs by asking cargo, so that what runs in the machine is what runs here.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::VmError;

/// One line of cargo's `--message-format json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds the tests of these packages and returns their programs.
///
/// # Errors
///
/// [`VmError::Unavailable`] where cargo could not build them; cargo has said why.
pub fn tests(packages: &[String]) -> Result<Vec<PathBuf>, VmError> {
    let packages = packages.iter().flat_map(|package| ["-p", package]);
    build(&["test", "--no-run"].into_iter().chain(packages).collect::<Vec<_>>(), test_program)
}

/// Builds the suite and returns its program.
///
/// # Errors
///
/// [`VmError::Unavailable`] where cargo could not build it; cargo has said why.
pub fn suite() -> Result<PathBuf, VmError> {
    let programs = build(&["build", "-p", "conformance", "--bin", "suite"], program)?;
    Ok(programs.into_iter().next().expect("one was asked for, and there is at least one"))
}

fn build(arguments: &[&str], wanted: fn(&str) -> Option<PathBuf>) -> Result<Vec<PathBuf>, VmError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let what = format!("cargo {}", arguments.join(" "));
    let mut command = Command::new(cargo);
    command.args(arguments).args(["--quiet", "--message-format", "json-render-diagnostics"]);
    let built = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(VmError::io(&what))?;
    if !built.status.success() {
        return Err(VmError::unavailable(what, built.status.to_string()));
    }
    let mut programs: Vec<PathBuf> = String::from_utf8_lossy(&built.stdout).lines().filter_map(wanted).collect();
    // Cargo names them as their builds end.
    programs.sort();
    if programs.is_empty() {
        return Err(VmError::unavailable(what, "no programs"));
    }
    Ok(programs)
}

fn test_program(line: &str) -> Option<PathBuf> {
    artifact(line).filter(|message| message.profile.as_ref().is_some_and(|profile| profile.test))?.executable
}

fn program(line: &str) -> Option<PathBuf> {
    artifact(line)?.executable
}

fn artifact(line: &str) -> Option<Message> {
    serde_json::from_str(line).ok().filter(|message: &Message| message.reason == "compiler-artifact")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_taken() {
        let line = |reason: &str, test: bool, executable: &str| {
            format!(r#"{{"reason":"{reason}","profile":{{"test":{test}}},"executable":{executable},"fresh":true}}"#)
        };
        assert_eq!(test_program(&line("compiler-artifact", true, r#""/t/scenarios""#)), Some("/t/scenarios".into()));
        assert_eq!(test_program(&line("compiler-artifact", false, r#""/t/vm""#)), None);
        assert_eq!(test_program(&line("compiler-artifact", true, "null")), None);
        assert_eq!(test_program(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
