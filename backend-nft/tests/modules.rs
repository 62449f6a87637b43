//! The library's modules use each other without a circle, so that each can be read after those that it uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Used by tests alone.
const FOR_TESTS: [&str; 3] = ["fake", "golden", "netns"];

/// Which top-level modules each uses, its tests left out.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let mut uses = BTreeMap::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name != "lib" && !FOR_TESTS.contains(&&*name) {
            let mut used = BTreeSet::new();
            collect(&path, &mut used);
            used.remove(&name);
            uses.insert(name, used);
        }
    }
    uses
}

fn collect(path: &Path, used: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), used);
        }
    } else if path.file_stem().is_some_and(|name| name != "tests") {
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for rest in lines.flat_map(|line| line.split("crate::").skip(1)) {
            used.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
}

#[test]
fn the_modules_use_each_other_without_a_circle() {
    let mut left = uses();
    assert!(left["plan"].contains("render") && left["render"].contains("ruleset"), "{left:#?}");
    // Takes away what uses nothing that is left, until there is nothing, or only circles.
    while !left.is_empty() {
        let known: BTreeSet<String> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, used| used.iter().any(|name| known.contains(name)));
        assert!(left.len() < before, "circles among {left:#?}");
    }
}
