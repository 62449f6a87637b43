//! Finds test programs by asking cargo, so that what runs in the machine is what runs here.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::VmError;

/// One line of `cargo test --no-run --message-format json`, as far as it matters here.
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

/// Builds tests and returns the programs. `selection` is cargo's own, such as `-p conformance --test scenarios`.
///
/// # Errors
///
/// [`VmError::Unavailable`] where cargo could not build them; cargo has said why.
pub fn build(selection: &[String]) -> Result<Vec<PathBuf>, VmError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let what = format!("cargo test --no-run {}", selection.join(" "));
    let mut command = Command::new(cargo);
    command.args(["test", "--quiet", "--no-run", "--message-format", "json-render-diagnostics"]).args(selection);
    let built = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(VmError::io(&what))?;
    if !built.status.success() {
        return Err(VmError::unavailable(what, built.status.to_string()));
    }
    let mut programs: Vec<PathBuf> = String::from_utf8_lossy(&built.stdout).lines().filter_map(test_program).collect();
    // Cargo names them as their builds end.
    programs.sort();
    if programs.is_empty() {
        return Err(VmError::unavailable(what, "no test programs"));
    }
    Ok(programs)
}

fn test_program(line: &str) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    let is_test = message.reason == "compiler-artifact" && message.profile.is_some_and(|profile| profile.test);
    message.executable.filter(|_| is_test)
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
