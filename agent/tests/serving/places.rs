//! Where servers are, what happens when they cannot be there, and what clients cannot do to them.

use std::io::{Read, Write};
use std::net::TcpListener;

use switchyard_agent::config::{ServersConfig, Unbound};
use switchyard_agent::metrics::{Afresh, Metrics};
use switchyard_agent::serving::Health;
use testbed::Namespace;

use super::given::{Answer, HEALTH, METRICS, Node, servers};

#[test]
fn servers_follow_their_addresses() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    assert_eq!(node.ask(HEALTH, "/healthz").status, 200);
    assert_eq!(node.ask(METRICS, "/healthz").body, "ok");
    let healthz = Some("127.0.0.1:20256".parse().unwrap());
    node.config.send_modify(|config| *config = ServersConfig { healthz, metrics: None, ..servers() });
    assert_eq!(node.ask("127.0.0.1:20256", "/healthz").status, 200);
    node.until("the old address to close", || node.try_ask(HEALTH, "/healthz").is_none());
    node.until("metrics to close", || node.try_ask(METRICS, "/healthz").is_none());
    node.config.send_modify(|config| *config = servers());
    assert_eq!(node.ask(METRICS, "/healthz").status, 200);
}

#[test]
fn nothing_listens_where_no_address_is_given() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::configured(ServersConfig { healthz: None, ..servers() });
    assert_eq!(node.ask(METRICS, "/healthz").status, 200);
    assert!(node.try_ask(HEALTH, "/healthz").is_none());
}

fn taken(unbound: Unbound) -> (TcpListener, Node) {
    let namespace = Namespace::create("serving").unwrap();
    let taken = namespace.run(|| TcpListener::bind("0.0.0.0:10256").unwrap());
    let metrics = Metrics::new("nftables", Box::new(Afresh));
    let config = ServersConfig { unbound, ..servers() };
    (taken, Node::inside(namespace, Health::PATIENCE, config, metrics))
}

#[test]
fn an_address_that_is_taken_is_tried_again() {
    if testbed::privilege::skip() {
        return;
    }
    let (taken, node) = taken(Unbound::Retried);
    assert_eq!(node.ask(METRICS, "/healthz").status, 200, "the other server does not care");
    drop(taken);
    assert_eq!(node.ask(HEALTH, "/healthz").status, 200);
}

#[test]
fn an_address_that_is_taken_ends_the_agent_if_so_configured() {
    if testbed::privilege::skip() {
        return;
    }
    let (_taken, mut node) = taken(Unbound::Fatal);
    let error = node.end();
    assert!(error.starts_with("health server: 0.0.0.0:10256 cannot be bound: "), "{error}");
}

#[test]
fn clients_that_hold_connections_open_do_not_block_others() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    node.ask(HEALTH, "/healthz");
    // More than are served at the same time, each in the middle of a request.
    let held: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = node.connect(HEALTH);
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").unwrap();
            stream
        })
        .collect();
    assert_eq!(node.ask(HEALTH, "/healthz").status, 200);
    let closed = held.into_iter().filter_map(|mut stream| {
        stream.set_nonblocking(true).unwrap();
        match stream.read(&mut [0; 1]) {
            Ok(0) => Some(()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Some(()),
            _ => None,
        }
    });
    assert!(closed.count() >= 150, "the oldest are closed");
}

#[test]
fn nonsense_is_refused_and_other_clients_are_served() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    node.ask(HEALTH, "/healthz");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    for nonsense in ["\r\n\r\n\r\n", "banana\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{0}\u{1}\u{2}\r\n", &long, &headers]
    {
        let mut stream = node.connect(HEALTH);
        // The server may close before it has read everything.
        let _ = stream.write_all(nonsense.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(node.ask(HEALTH, "/healthz").status, 200);
}

#[test]
fn a_connection_may_ask_often() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    node.ask(HEALTH, "/livez");
    let mut stream = node.connect(HEALTH);
    for _ in 0..3 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(char::from(byte[0]));
        }
        let answer = Answer::read(&head).unwrap();
        assert_eq!(answer.status, 200);
        let mut body = vec![0; answer.header("content-length").parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
    }
}
