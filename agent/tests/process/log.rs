//! The log: one line is one line, and its reader holds up nothing.

use std::io::{Read, Write, pipe};

use super::given::{HEALTH, Node, service};

/// What a terminal obeys, what looks like another line, and what reorders.
const FOREIGN: &str = "a\n2026-01-01T00:00:00.000000Z ERROR forged\r\u{1b}[2J\u{7}\u{85}\u{202e}\u{200b}z";

#[test]
fn nothing_that_is_logged_can_look_like_a_line() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    node.put(&format!("{FOREIGN}.yaml"), "kind: [\n");
    let quoted = serde_json::to_string(FOREIGN).unwrap();
    node.put("named.yaml", &service(&quoted, "10.96.0.10", ""));
    node.put("typed.yaml", &service("typed", "10.96.0.11", &format!("type: {quoted}, sessionAffinity: {quoted}")));
    node.put("addressed.yaml", &service("addressed", &quoted, ""));
    node.put("web.yaml", &service("web", "10.96.0.12", ""));
    let mut agent = node.start(&[], &["-v=10"]);
    agent.until("a service to be programmed", || node.status().contains("10.96.0.12:80/TCP"));
    agent.terminate();
    let log = agent.log();
    assert!(log.contains("ERROR forged"), "none of it was logged:\n{log}");
    for line in log.split_terminator('\n') {
        let time = line.split_once(' ').map(|(time, _)| time).unwrap_or_default();
        assert!(time.ends_with('Z') && time.len() == 27 && !line.starts_with("2026-01-01"), "{line:?}");
        let strange = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{200b}');
        assert!(!line.contains(strange), "{line:?}");
    }
}

#[test]
fn a_reader_that_has_stopped_stops_nothing() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    node.put("web.yaml", &service("web", "10.96.0.10", ""));
    let (mut reader, mut writer) = pipe().unwrap();
    // As much as a pipe takes (pipe(7)).
    let full = vec![b'x'; 65_536];
    writer.write_all(&full).unwrap();
    let mut agent = node.start_logging_to(writer, &["-v=10"]);
    agent.until("the service", || node.status().contains("10.96.0.10:80/TCP"));
    node.put("late.yaml", &service("late", "10.96.0.99", ""));
    agent.until("a change", || node.status().contains("10.96.0.99:80/TCP"));
    assert_eq!(node.ask(HEALTH, "/livez").as_deref(), Some("200"));
    assert_eq!(agent.terminate().code(), Some(0));
    let mut found = Vec::new();
    reader.read_to_end(&mut found).unwrap();
    assert!(found.starts_with(&full));
}

#[test]
fn the_last_lines_are_written_before_the_process_ends() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    node.put("web.yaml", &service("web", "10.96.0.10", ""));
    let mut agent = node.start(&[], &[]);
    agent.until("the service", || node.status().contains("10.96.0.10:80/TCP"));
    assert_eq!(agent.terminate().code(), Some(0));
    assert!(agent.log().trim_end().ends_with("`switchyard cleanup` removes them"), "{}", agent.log());
}

#[test]
fn a_reader_that_has_gone_stops_nothing() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut agent = node.start_logging_to(writer, &["-v=10"]);
    node.put("web.yaml", &service("web", "10.96.0.10", ""));
    agent.until("the service", || node.status().contains("10.96.0.10:80/TCP"));
    assert_eq!(agent.terminate().code(), Some(0));
}
