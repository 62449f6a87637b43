//! Messages that docs/operating.md quotes are in the sources.

use std::fs;
use std::path::Path;

use super::{at_top, read};

/// Messages that are put together at run time, so that no source has the whole text; what each is made of.
const PUT_TOGETHER: [(&str, &[&str]); 4] = [
    ("CAP_NET_ADMIN: not available", &["\"CAP_NET_ADMIN\"", "{feature}: not available: {reason}"]),
    ("netlink (netfilter): not available", &["\"netlink (netfilter)\"", "{feature}: not available: {reason}"]),
    (
        "CONFIG_IP_VS (module ip_vs): not available",
        &["\"CONFIG_IP_VS (module ip_vs)\"", "{feature}: not available: {reason}"],
    ),
    ("sysctl net.ipv4.vs.conntrack", &["\"sysctl {}\"", "\"vs/conntrack\""]),
];

/// The text of every source of the workspace, with lines that `\` breaks put together.
fn sources() -> String {
    let mut text = String::new();
    for entry in fs::read_dir(at_top(".")).unwrap() {
        let source = entry.unwrap().path().join("src");
        if source.is_dir() {
            gather(&source, &mut text);
        }
    }
    let mut joined = String::new();
    for (i, piece) in text.split("\\\n").enumerate() {
        joined.push_str(if i == 0 { piece } else { piece.trim_start() });
    }
    joined
}

fn gather(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// What the first column of the tables below `heading` has in backticks.
fn quoted(page: &str, heading: &str) -> Vec<String> {
    let section = page.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

#[test]
fn every_message_and_event_that_operating_md_quotes_is_in_a_source() {
    let (page, sources) = (read("docs/operating.md"), sources());
    let mut messages = quoted(&page, "Log messages");
    assert!(messages.len() > 60, "only {} messages were found", messages.len());
    let mut missing = Vec::new();
    messages.extend(quoted(&page, "Events"));
    for message in &messages {
        let is_there = match PUT_TOGETHER.iter().find(|(whole, _)| whole == message) {
            Some((_, pieces)) => pieces.iter().all(|piece| sources.contains(piece)),
            None => sources.contains(message),
        };
        if !is_there {
            missing.push(message);
        }
    }
    assert!(missing.is_empty(), "no source has: {missing:#?}");
}
