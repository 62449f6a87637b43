//! What the crate promises never to do, checked on its sources.

use std::fs;
use std::path::Path;

/// Words that would mean I/O, a clock, randomness or Kubernetes, and why each is out.
const FORBIDDEN: [(&str, &str); 12] = [
    ("std::fs", "files"),
    ("std::io", "I/O"),
    ("std::process", "processes"),
    ("std::env", "the environment"),
    ("std::thread", "threads"),
    ("TcpStream", "sockets"),
    ("UdpSocket", "sockets"),
    ("Instant", "a clock: pass `now`"),
    ("SystemTime", "a clock: pass `now`"),
    ("rand", "randomness"),
    ("k8s_openapi", "Kubernetes' types"),
    ("serde", "documents"),
];

#[test]
fn nothing_here_does_io_or_reads_a_clock() {
    let mut looked_at = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for (word, why) in FORBIDDEN {
                assert!(!line.contains(word), "{}: {word}: the allocator never touches {why}", path.display());
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 1000, "only {looked_at} lines of code were looked at");
}
