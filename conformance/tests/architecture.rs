//! What ARCHITECTURE.md says of the crates, and that the pages name scenarios that exist. Needs no root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// No crate may hold more of the workspace's lines, in percent.
const LARGEST_SHARE: usize = 30;

/// Crates by the names of their folders, each with the crates of the workspace that it uses.
type Arrows = BTreeMap<String, BTreeSet<String>>;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The workspace's packages, as cargo describes them: by name, with the manifest's folder.
fn packages() -> Vec<(Value, PathBuf)> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            (package.clone(), manifest.parent().unwrap().to_owned())
        })
        .collect()
}

fn folder_name(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn the_arrows_between_crates_are_those_of_the_page() {
    let members = packages();
    let folders: BTreeMap<&str, String> =
        members.iter().map(|(package, folder)| (package["name"].as_str().unwrap(), folder_name(folder))).collect();
    let mut arrows = Arrows::new();
    for (package, folder) in &members {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
        let used = normal.filter_map(|dependency| folders.get(dependency["name"].as_str().unwrap()).cloned());
        arrows.insert(folder_name(folder), used.collect());
    }
    let page = fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    assert_eq!(arrows, written(&page));
}

/// The first code block of the page that has lines `crate -> crate, crate (feature …)`.
fn written(page: &str) -> Arrows {
    let block = page.split("```").skip(1).step_by(2).find(|block| block.contains("->")).expect("a block with arrows");
    let lines = block.lines().filter_map(|line| line.split_once("->"));
    lines
        .map(|(from, to)| {
            let names = to.split(',').filter_map(|word| word.split_whitespace().next()).map(str::to_owned);
            (from.trim().to_owned(), names.collect())
        })
        .collect()
}

#[test]
fn no_crate_is_too_large() {
    let lines: BTreeMap<String, usize> =
        packages().into_iter().map(|(_, folder)| (folder_name(&folder), lines(&folder))).collect();
    let all: usize = lines.values().sum();
    for (name, own) in &lines {
        assert!(own * 100 <= all * LARGEST_SHARE, "{name}: {own} of {all} lines; all: {lines:?}");
    }
}

#[test]
fn no_public_module_is_hidden_from_the_docs() {
    for (_, folder) in packages() {
        for file in sources(&folder.join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            let mut hidden = false;
            for line in text.lines().map(str::trim) {
                assert!(!(hidden && line.starts_with("pub mod ")), "{}: {line}", file.display());
                hidden = line.contains("#[doc(hidden)]") || (hidden && line.starts_with('#'));
            }
        }
    }
}

#[test]
fn every_scenario_that_a_page_names_exists() {
    let suite = switchyard_conformance::scenarios();
    let names: BTreeSet<String> = suite.iter().map(|file| file.name()).collect();
    let topics: BTreeSet<&str> = suite.iter().map(|file| file.topic.as_str()).collect();
    let mut pages = files(workspace(), "md");
    pages.push(workspace().join("backend-api/src/dataplane.rs"));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for word in text.split('`').skip(1).step_by(2) {
            let Some((topic, claim)) = word.split_once('/') else { continue };
            let is_claim = !claim.is_empty() && claim.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            assert!(
                !(topics.contains(topic) && is_claim) || names.contains(word),
                "{}: there is no scenario {word}",
                page.display()
            );
        }
    }
}

fn lines(folder: &Path) -> usize {
    sources(folder).iter().map(|file| fs::read_to_string(file).unwrap().lines().count()).sum()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    files(folder, "rs")
}

/// Every file under a folder whose name ends so, but for what cargo and git put there.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with(".git") {
                found.extend(files(&path, extension));
            }
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found
}
