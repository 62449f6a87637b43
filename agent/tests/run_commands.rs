//! The binary as an operator meets it before anything is programmed: help, refusals, exit codes.

use std::process::{Command, Output};

fn switchyard(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchyard")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn every_command_explains_itself() {
    for (command, words) in [
        (vec!["--help"], "Forwards the traffic of Kubernetes Services"),
        (vec!["run", "--help"], "--nodeport-addresses"),
        (vec!["run", "--help"], "--ipvs-drain-timeout"),
        (vec!["status", "--help"], "--output"),
        (vec!["cleanup", "--help"], "touches nothing else"),
        (vec!["demo", "--help"], "--keep"),
        (vec!["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = switchyard(&command);
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        assert!(text(&output.stdout).contains(words), "{command:?}: {}", text(&output.stdout));
    }
}

#[test]
fn a_line_that_makes_no_sense_exits_with_2_and_says_why() {
    for (line, words) in [
        (vec!["run"], "--source <DIR>"),
        (vec!["run", "--source", "/x", "--backend", "iptables"], "[possible values: nftables, ipvs]"),
        (vec!["run", "--source", "/x", "--nodeport-addresses", "eth0"], "`primary`, `all` or ranges"),
        (vec!["run", "--source", "/x", "--ipvs-scheduler", "rrr"], "rr, wrr, lc, wlc"),
        (vec!["status", "--output", "yaml"], "[possible values: table, json]"),
    ] {
        let output = switchyard(&line);
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        assert!(text(&output.stderr).contains(words), "{line:?}: {}", text(&output.stderr));
    }
}

#[cfg(not(feature = "ipvs"))]
#[test]
fn a_backend_that_this_build_lacks_is_refused_by_name() {
    let output = switchyard(&["run", "--source", "/x", "--proxy-mode", "ipvs"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("backend ipvs: not part of this build, which has nftables"));
}
