//! `switchyard demo` as a program: its exit codes, and that it leaves nothing behind.
#![cfg(all(feature = "demo", feature = "nftables", feature = "ipvs"))]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.arg("demo").args(arguments);
    command
}

/// The namespaces that the process of this id has made and not removed.
fn left_by(process: u32) -> Vec<String> {
    let prefix = format!("sy-{process}-");
    let names = Path::new("/run/netns").read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with(&prefix)).collect()
}

/// Starts the demo, and waits for a line that contains `text`.
fn start_and_await(arguments: &[&str], text: &str) -> (Child, impl Iterator<Item = String>) {
    let mut child = demo(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains(text)), "{text:?} awaited, not shown");
    (child, lines)
}

fn interrupt(child: &Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
}

#[test]
fn the_example_works_and_piped_text_has_no_escapes() {
    if testbed::privilege::skip() {
        return;
    }
    let output = demo(&["--connections", "30"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains('\x1b') && output.stderr.is_empty());
    assert!(text.contains("✓ 90 of 90 held connections"), "{text}");
}

#[test]
fn ipvs_is_shown_or_what_is_missing_is_named_and_where_it_is_not() {
    if testbed::privilege::skip() {
        return;
    }
    let output = demo(&["--backend", "ipvs", "--connections", "30"]).output().unwrap();
    let (text, reason) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    match output.status.code() {
        Some(0) => assert!(text.contains("✓ 90 of 90 held connections"), "{text}"),
        Some(2) => {
            assert!(reason.starts_with("switchyard demo: backend ipvs: CONFIG_IP_VS (module ip_vs): "), "{reason}");
            let command = reason.lines().last().unwrap().trim();
            let program = env!("CARGO_BIN_EXE_switchyard");
            let expected = format!(
                "cargo run -p switchyard-conformance --bin vm -- --kernel 6.12 -- {program} demo --backend ipvs"
            );
            assert_eq!(command, expected);
        }
        code => panic!("{code:?}: {text}{reason}"),
    }
}

#[test]
fn a_demo_without_a_reader_ends_and_leaves_nothing() {
    if testbed::privilege::skip() {
        return;
    }
    let (mut child, lines) = start_and_await(&["--connections", "3"], "places built");
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert_eq!(left_by(child.id()), Vec::<String>::new());
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    if testbed::privilege::skip() {
        return;
    }
    let (mut child, lines) = start_and_await(&[], "places built");
    assert!(!left_by(child.id()).is_empty());
    interrupt(&child);
    assert!(!lines.into_iter().any(|line| line.contains("Everything was as expected")));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(left_by(child.id()), Vec::<String>::new());
}

#[test]
fn a_kept_world_can_be_entered_until_ctrl_c() {
    if testbed::privilege::skip() {
        return;
    }
    let (mut child, mut lines) = start_and_await(&["--keep", "--connections", "3"], "stays up until Ctrl-C");
    let entrance = lines.find(|line| line.contains("mytools")).unwrap();
    let name = entrance.split_whitespace().find(|word| word.starts_with("sy-")).unwrap();
    assert!(left_by(child.id()).contains(&name.to_owned()));
    interrupt(&child);
    assert!(lines.any(|line| line.contains("Everything was as expected")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(left_by(child.id()), Vec::<String>::new());
}
