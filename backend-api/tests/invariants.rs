//! What the crate promises never to do, checked on its sources and its dependencies.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that would mean I/O, a clock, Kubernetes or netlink, and why each is out.
const FORBIDDEN: [(&str, &str); 16] = [
    ("std::fs", "files"),
    ("std::io", "I/O"),
    ("std::process", "processes"),
    ("std::env", "the environment"),
    ("std::thread", "threads"),
    ("TcpStream", "sockets"),
    ("TcpListener", "sockets"),
    ("UdpSocket", "sockets"),
    ("UnixStream", "sockets"),
    ("ToSocketAddrs", "name resolution"),
    ("::now(", "a clock: pass `now`"),
    (".elapsed(", "a clock: pass `now`"),
    ("Instant", "a clock: pass `now`"),
    ("netlink_", "netlink"),
    ("k8s_openapi", "Kubernetes' types"),
    ("unsafe ", "unsafe code"),
];

/// What an embedder links besides std, and nothing more.
const DEPENDENCIES: [&str; 2] = ["async-trait", "thiserror"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    found.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Code without comments and without tests: both may speak of what the code must not do.
fn product_code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_here_does_io_or_reads_a_clock() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let product = sources.iter().filter(|path| !path.ends_with("tests.rs"));
    let mut looked_at = 0;
    for path in product {
        let code = product_code(path);
        for (word, why) in FORBIDDEN {
            assert!(!code.contains(word), "{}: {word}: the contract never touches {why}", path.display());
        }
        looked_at += code.lines().count();
    }
    assert!(looked_at > 1000, "only {looked_at} lines of code were looked at");
}

#[test]
fn an_embedder_links_nothing_that_does_io() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).expect("the manifest has dependencies");
    let names: Vec<_> = section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect();
    assert_eq!(names, DEPENDENCIES);
}
