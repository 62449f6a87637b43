//! The binary before anything is programmed: help, refusals, exit codes.

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
        (vec!["run", "--help"], "This program has no profiler"),
        (vec!["run", "--version"], env!("CARGO_PKG_VERSION")),
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
fn a_command_line_that_cannot_be_parsed_exits_with_2_and_the_reason() {
    for (line, words) in [
        (vec!["run", "--source", "/x", "--backend", "iptables"], "[possible values: nftables, ipvs]"),
        (vec!["run", "--source", "/x", "--nodeport-addresses", "eth0"], "`primary`, `all`, `localhost` or ranges"),
        (vec!["run", "--source", "/x", "--ipvs-scheduler", "rrr"], "rr, wrr, lc, wlc"),
        (vec!["status", "--output", "yaml"], "[possible values: table, json]"),
    ] {
        let output = switchyard(&line);
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        assert!(text(&output.stderr).contains(words), "{line:?}: {}", text(&output.stderr));
    }
}

#[test]
fn mistakes_of_a_file_are_all_told_and_exit_with_2() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("config.conf");
    std::fs::write(
        &file,
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: x\noomScoreAdj: y\n",
    )
    .unwrap();
    let output = switchyard(&["run", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    for words in ["config.conf:3: mode: ", "config.conf:4: oomScoreAdj: "] {
        assert!(text(&output.stderr).contains(words), "{words}: {}", text(&output.stderr));
    }
}

/// The log goes to stderr: without a reader of it the agent must go on as if there were one.
#[test]
fn a_log_that_is_not_read_stops_nothing() {
    let (reader, unread) = std::io::pipe().unwrap();
    drop(reader);
    let mut run = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    let status = run.args(["run", "--config", "/nowhere"]).stderr(unread).status().unwrap();
    assert_eq!(status.code(), Some(2), "a panic exits with 101");
}

#[test]
fn a_configuration_is_written_and_can_be_read() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, other) = (format!("--write-config-to={}", file("one")), format!("--write-config-to={}", file("other")));
    let written = switchyard(&["run", "--proxy-mode=ipvs", "--cluster-cidr=10.244.0.0/16", &one]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    let again = switchyard(&["run", "--config", &file("one"), &other]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    assert!(read("one").contains("mode: ipvs") && read("one").contains("10.244.0.0/16"), "{}", read("one"));
    assert_eq!(read("one"), read("other"));
}

#[cfg(not(feature = "ipvs"))]
#[test]
fn a_backend_that_this_build_lacks_is_refused_by_name() {
    let output = switchyard(&["run", "--source", "/x", "--proxy-mode", "ipvs"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("backend ipvs: not part of this build, which has nftables"));
}
