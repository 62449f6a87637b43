//! Each scenario that `Dataplane` names as proof of an obligation is there.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_scenario_that_the_trait_names_exists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scenarios = folder.join("../conformance/scenarios");
    if !scenarios.exists() {
        eprintln!("skipped: the packaged crate comes without the conformance suite");
        return;
    }
    let text = std::fs::read_to_string(folder.join("src/dataplane.rs")).unwrap();
    let docs = text.lines().filter_map(|line| line.trim_start().strip_prefix("///")).collect::<Vec<_>>().join("\n");
    let named: BTreeSet<&str> = docs.split('`').skip(1).step_by(2).filter(|code| is_scenario(code)).collect();
    for name in &named {
        assert!(scenarios.join(format!("{name}.yaml")).is_file(), "{name}: no such scenario");
    }
    assert!(named.len() > 20, "only {} scenarios are named: {named:?}", named.len());
}

/// `topic/claim`, each of words with hyphens.
fn is_scenario(code: &str) -> bool {
    let is_of_words = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let parts: Vec<&str> = code.split('/').collect();
    parts.len() == 2 && parts[1].contains('-') && parts.iter().all(|part| part.chars().all(is_of_words))
}
