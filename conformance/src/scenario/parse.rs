//! Reads scenario files, and says file, line and key of what is wrong with one.
//!
//! The suite's own are part of the program: a crate from a registry has no folder.

use std::fs;
use std::path::{Path, PathBuf};

use serde_saphyr::Spanned;

use super::embedded::SCENARIOS;
use super::{Open, Probe, Scenario, Script, Step};

/// The backends that a scenario may be restricted to.
const BACKENDS: [&str; 2] = ["ipvs", "nftables"];

/// Why a scenario file cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}:{line}: {reason}", file.display())]
pub struct ParseError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 where none can be named.
    pub line: u64,
    /// What is wrong.
    pub reason: String,
}

/// A scenario's file, not parsed yet: one of hundreds can be played without parsing all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioFile {
    /// Where it is; for those of the suite, in the sources of this crate.
    pub file: PathBuf,
    /// The folder that it is in.
    pub topic: String,
    /// Its name: the claim.
    pub claim: String,
    /// As it is written.
    pub text: String,
}

/// The suite's own scenarios, in order of topics and claims.
pub fn scenarios() -> Vec<ScenarioFile> {
    let files = SCENARIOS.iter().map(|(topic, name, text)| {
        let file = Path::new("conformance/scenarios").join(topic).join(name);
        ScenarioFile::new(file, (*text).to_owned())
    });
    files.collect()
}

/// Every scenario's file under `folder`, in order of topics and claims.
///
/// # Errors
/// A folder or a file that cannot be read.
pub fn files(folder: &Path) -> Result<Vec<ScenarioFile>, ParseError> {
    let mut files = Vec::new();
    for topic in entries(folder)? {
        for file in entries(&topic)? {
            let text = fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
            files.push(ScenarioFile::new(file, text));
        }
    }
    Ok(files)
}

impl ScenarioFile {
    fn new(file: PathBuf, text: String) -> Self {
        Self { topic: stem(file.parent()), claim: stem(Some(&file)), file, text }
    }

    /// `topic/claim`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.topic, self.claim)
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is not a scenario.
    pub fn load(&self) -> Result<Scenario, ParseError> {
        let Self { topic, claim, file, text } = self.clone();
        let script = parse(&file, &text)?;
        Ok(Scenario { topic, claim, file, script, text })
    }

    /// Why it is not for `backend`, if it says that it is not. Costs no parsing where it does not say so.
    ///
    /// # Errors
    /// As [`ScenarioFile::load`].
    pub fn not_for(&self, backend: &str) -> Result<Option<String>, ParseError> {
        if !self.text.lines().any(|line| line.starts_with("only-on:")) {
            return Ok(None);
        }
        Ok(parse(&self.file, &self.text)?.not_for(backend))
    }
}

fn stem(path: Option<&Path>) -> String {
    path.and_then(Path::file_stem).unwrap_or_default().to_string_lossy().into_owned()
}

/// A scenario file's content. `file` is for errors.
///
/// # Errors
/// The first key or value that is no part of a scenario, with its line.
pub fn parse(file: &Path, text: &str) -> Result<Script, ParseError> {
    let options = serde_saphyr::options! { with_snippet: false };
    let script: Script = serde_saphyr::from_str_with_options(text, options).map_err(|error| ParseError {
        file: file.to_owned(),
        line: error.location().map_or(0, |location| location.line()),
        reason: error.to_string(),
    })?;
    check(file, &script.steps)?;
    if script.description.trim().is_empty() {
        return Err(wrong(file, "description: empty".into()));
    }
    match script.only_on.iter().find(|(backend, reason)| !BACKENDS.contains(&backend.as_str()) || reason.is_empty()) {
        Some((backend, _)) => {
            Err(wrong(file, format!("only-on: {backend}: one of {}, with a reason", BACKENDS.join(", "))))
        }
        None => Ok(script),
    }
}

/// An error of the file as a whole.
fn wrong(file: &Path, reason: String) -> ParseError {
    ParseError { file: file.to_owned(), line: 0, reason }
}

fn check(file: &Path, steps: &[Spanned<Step>]) -> Result<(), ParseError> {
    for step in steps {
        let reason = match &step.value {
            Step::Probe(probe) => contradiction(probe),
            Step::Open(open) => empty(open),
            Step::WhileDown(inner) => {
                check(file, inner)?;
                None
            }
            _ => None,
        };
        if let Some(reason) = reason {
            return Err(ParseError { file: file.to_owned(), line: step.referenced.line(), reason: reason.to_owned() });
        }
    }
    Ok(())
}

/// What makes a probe meaningless.
fn contradiction(probe: &Probe) -> Option<&'static str> {
    let expectations = [probe.answered_by.is_some(), probe.answered_by_one_of.is_some(), probe.expect.is_some()];
    let answered = probe.expect.is_none();
    let of_answers = probe.source.is_some()
        || probe.shares.is_some()
        || probe.same_endpoint
        || probe.remember.is_some()
        || probe.same_endpoint_as.is_some()
        || probe.another_endpoint_than.is_some();
    if expectations.into_iter().filter(|given| *given).count() != 1 {
        Some("probe: give exactly one of answered-by, answered-by-one-of, expect")
    } else if of_answers && !answered {
        Some("probe: source, shares and endpoints are of answers, and none is expected")
    } else if probe.times == Some(0) {
        Some("probe: times is 0")
    } else {
        None
    }
}

fn empty(open: &Open) -> Option<&'static str> {
    open.answered_by_one_of.is_empty().then_some("open: answered-by-one-of is empty")
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ParseError> {
    let read = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut paths = read
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(folder, &error))?;
    paths.sort();
    Ok(paths)
}

fn unreadable(path: &Path, error: &std::io::Error) -> ParseError {
    wrong(path, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(Path::new("topic/claim.yaml"), text).expect_err("no scenario").to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_file_and_line() {
        let text =
            error("description: x\nsteps:\n- probe:\n    from: node\n    to: 10.96.0.1:80/TCP\n    answerd-by: [a]\n");
        assert!(text.starts_with("topic/claim.yaml:6: "), "{text}");
        assert!(text.contains("answerd-by"), "{text}");
    }

    #[test]
    fn a_probe_without_an_expectation_is_named_with_its_line() {
        let text = error("description: x\nsteps:\n- probe: {from: node, to: '10.96.0.1:80/TCP'}\n");
        assert_eq!(text, "topic/claim.yaml:3: probe: give exactly one of answered-by, answered-by-one-of, expect");
    }

    #[test]
    fn a_malformed_target_is_named_with_its_line() {
        let text = error("description: x\nsteps:\n- probe: {from: node, to: web, expect: refused}\n");
        assert!(text.starts_with("topic/claim.yaml:3: ") && text.contains("target \"web\""), "{text}");
    }

    #[test]
    fn every_file_of_the_suite_is_a_scenario() {
        let files = scenarios();
        assert!(!files.is_empty());
        for file in files {
            file.load().unwrap();
        }
    }

    #[test]
    fn what_is_embedded_is_what_a_folder_holds() {
        let folder = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).unwrap();
        let embedded = scenarios();
        assert_eq!(folder.len(), embedded.len());
        for (file, embedded) in folder.iter().zip(&embedded) {
            assert_eq!((file.name(), &file.text), (embedded.name(), &embedded.text));
        }
    }

    #[test]
    fn a_scenario_may_be_restricted_to_a_backend_with_a_reason() {
        let script = parse(Path::new("topic/claim.yaml"), &restricted("{ipvs: schedulers are its own}")).unwrap();
        assert_eq!(script.not_for("ipvs"), None);
        assert_eq!(script.not_for("nftables").as_deref(), Some("only on ipvs: schedulers are its own"));
        assert!(error(&restricted("{iptables: x}")).contains("only-on: iptables"));
        assert!(error(&restricted("{ipvs: ''}")).contains("with a reason"));
    }

    fn restricted(only_on: &str) -> String {
        format!("description: x\nonly-on: {only_on}\nsteps: []\n")
    }
}
