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
    manifest_path: PathBuf,
    profile: Profile,
    target: Target,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Programs of the workspace, built.
#[derive(Debug)]
pub struct Programs(Vec<Program>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Program {
    /// The name of its package's folder: shorter than the package's own.
    package: String,
    name: String,
    is_test: bool,
    file: PathBuf,
}

impl Programs {
    /// Builds every program and test of the workspace. Of one package alone the features would be others, and all that
    /// it depends on would be built again.
    ///
    /// # Errors
    ///
    /// [`VmError::Unavailable`] where cargo could not build them; cargo has said why.
    pub fn build() -> Result<Self, VmError> {
        const WORDS: [&str; 6] =
            ["test", "--workspace", "--no-run", "--quiet", "--message-format", "json-render-diagnostics"];
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let what = format!("cargo {}", WORDS.join(" "));
        let mut command = Command::new(cargo);
        command.args(WORDS).stdin(Stdio::null()).stderr(Stdio::inherit());
        let built = command.output().map_err(VmError::io(&what))?;
        if !built.status.success() {
            return Err(VmError::unavailable(what, built.status.to_string()));
        }
        let mut programs: Vec<_> = String::from_utf8_lossy(&built.stdout).lines().filter_map(program).collect();
        // Cargo names them as their builds end.
        programs.sort();
        Ok(Self(programs))
    }

    /// The test programs of a package.
    ///
    /// # Errors
    ///
    /// There are none.
    pub fn tests(&self, package: &str) -> Result<Vec<PathBuf>, VmError> {
        self.found(&format!("tests of {package}"), |program| program.is_test && program.package == package)
    }

    /// One test program of a package.
    ///
    /// # Errors
    ///
    /// There is none of that name.
    pub fn test(&self, package: &str, name: &str) -> Result<PathBuf, VmError> {
        let mut found = self
            .found(&format!("test {name} of {package}"), |it| it.is_test && it.package == package && it.name == name)?;
        Ok(found.remove(0))
    }

    /// The program of this name that is no test.
    ///
    /// # Errors
    ///
    /// There is none of that name.
    pub fn binary(&self, name: &str) -> Result<PathBuf, VmError> {
        Ok(self.found(&format!("program {name}"), |program| !program.is_test && program.name == name)?.remove(0))
    }

    fn found(&self, what: &str, wanted: impl Fn(&Program) -> bool) -> Result<Vec<PathBuf>, VmError> {
        let found: Vec<_> = self.0.iter().filter(|it| wanted(it)).map(|program| program.file.clone()).collect();
        if found.is_empty() { Err(VmError::unavailable(what, "not in this workspace")) } else { Ok(found) }
    }
}

fn program(line: &str) -> Option<Program> {
    let message: Message = serde_json::from_str(line).ok()?;
    let folder = message.manifest_path.parent()?.file_name()?;
    Some(Program {
        package: folder.to_string_lossy().into_owned(),
        name: message.target.name,
        is_test: message.profile.test,
        file: message.executable.filter(|_| message.reason == "compiler-artifact")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_all_else_that_cargo_says() {
        assert_eq!(program(&line("compiler-artifact", true, r#""/t/suite""#)), Some(artifact(true)));
        assert_eq!(program(&line("compiler-artifact", false, r#""/t/suite""#)), Some(artifact(false)));
        assert_eq!(program(&line("compiler-artifact", true, "null")), None);
        assert_eq!(program(r#"{"reason":"build-finished","success":true}"#), None);
    }

    fn line(reason: &str, test: bool, executable: &str) -> String {
        format!(
            r#"{{"reason":"{reason}","manifest_path":"/w/conformance/Cargo.toml","target":{{"name":"suite"}},
                "profile":{{"test":{test}}},"executable":{executable},"fresh":true}}"#
        )
    }

    fn artifact(is_test: bool) -> Program {
        Program { package: "conformance".into(), name: "suite".into(), is_test, file: "/t/suite".into() }
    }
}
