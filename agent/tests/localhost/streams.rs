//! TCP connections through localhost behave as direct ones do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use backend_api::{Endpoint, Family, Protocol, Service};
use switchyard_agent::backend::Backend;
use switchyard_agent::localhost::Limits;
use testbed::{Outcome, Refusal};

use super::given::{NODE_PORT, Node, PATIENCE, dial, localhost, until, web};

const SERVER: &str = "10.244.2.3:7000";
const V4: (Family, Protocol) = (Family::V4, Protocol::Tcp);

/// A service whose only endpoint is a port of the pod `mytools`, where nothing listens unless a test does.
fn own() -> Service {
    let mut web = web(&[]);
    web.ports[0].endpoints = vec![Endpoint::here(SERVER.parse().unwrap())];
    web
}

/// Accepts one connection in the pod, and does `serve` with it.
fn serve_once<T: Send + 'static>(
    node: &Node,
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> thread::JoinHandle<std::io::Result<T>> {
    let pod = &node.world.place("mytools").unwrap().namespace;
    let listener = pod.run(|| TcpListener::bind(SERVER).unwrap());
    pod.spawn("server", move || serve(listener.accept().unwrap().0)).unwrap()
}

fn connect(node: &Node) -> TcpStream {
    let stream = node.world.node().namespace.run(|| TcpStream::connect(localhost(Family::V4, NODE_PORT)).unwrap());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn serving(limits: Limits) -> Node {
    let mut node = Node::with(Backend::Nftables, limits).unwrap();
    node.put(own());
    until("the port to be open", || node.listeners().0 == 1);
    node
}

#[test]
fn half_close_is_passed_on_both_ways() {
    if testbed::privilege::skip() {
        return;
    }
    let node = serving(Limits::default());
    // The client ends first, and the server answers after that.
    let server = serve_once(&node, |mut stream| {
        let mut asked = String::new();
        stream.read_to_string(&mut asked).unwrap();
        stream.write_all(format!("{asked} answered").as_bytes()).unwrap();
    });
    let mut client = connect(&node);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "question answered");
    server.join().unwrap().unwrap();
    // The server ends first, and the client goes on.
    let server = serve_once(&node, |mut stream| {
        stream.write_all(b"greeting").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        rest
    });
    let mut client = connect(&node);
    let mut greeting = String::new();
    client.read_to_string(&mut greeting).unwrap();
    client.write_all(b"thanks").unwrap();
    drop(client);
    assert_eq!((greeting.as_str(), server.join().unwrap().unwrap().as_str()), ("greeting", "thanks"));
    until("both connections to be over", || node.counts.connections() == 0);
}

#[test]
fn a_server_that_does_not_read_stops_the_client() {
    if testbed::privilege::skip() {
        return;
    }
    let node = serving(Limits::default());
    let (go_on, told) = mpsc::channel::<()>();
    let server = serve_once(&node, move |mut stream| {
        told.recv().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap()
    });
    let mut client = connect(&node);
    client.set_nonblocking(true).unwrap();
    let chunk = vec![7; 64 * 1024];
    // Full when nothing is taken for a while: only the kernel's buffers and ours hold something.
    let (mut sent, mut idle) = (0, 0);
    while idle < 20 {
        match client.write(&chunk) {
            Ok(written) => (sent, idle) = (sent + written, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                idle += 1;
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 256 << 20, "{sent} bytes were taken and none were read");
    }
    go_on.send(()).unwrap();
    client.set_nonblocking(false).unwrap();
    client.write_all(&chunk).unwrap();
    drop(client);
    assert_eq!(server.join().unwrap().unwrap(), sent + chunk.len());
}

#[test]
fn a_reset_is_passed_on_both_ways() {
    if testbed::privilege::skip() {
        return;
    }
    let node = serving(Limits::default());
    let server = serve_once(&node, |mut stream| {
        stream.write_all(b"x").unwrap();
        set_linger(&stream);
    });
    let mut client = connect(&node);
    let mut bytes = Vec::new();
    let error = client.read_to_end(&mut bytes).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    server.join().unwrap().unwrap();

    let server = serve_once(&node, |mut stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        stream.write_all(b"x").unwrap();
        stream.read_to_end(&mut bytes).map_err(|error| error.kind())
    });
    let mut client = connect(&node);
    client.read_exact(&mut [0]).unwrap();
    set_linger(&client);
    drop(client);
    assert_eq!(server.join().unwrap().unwrap(), Err(std::io::ErrorKind::ConnectionReset));
}

/// Makes closing it a RST.
fn set_linger(stream: &TcpStream) {
    use nix::sys::socket::{setsockopt, sockopt};
    setsockopt(stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
}

#[test]
fn an_endpoint_that_refuses_resets_the_client_and_is_counted() {
    if testbed::privilege::skip() {
        return;
    }
    let node = serving(Limits::default());
    let outcome = node.dial(V4.0, V4.1);
    assert!(matches!(outcome, Outcome::Closed | Outcome::Refused(Refusal::Reset)), "{outcome}");
    assert_eq!((node.counts.rejected(V4.0, V4.1), node.counts.rejected(V4.0, Protocol::Udp)), (1, 0));
}

#[test]
fn one_connection_too_many_is_reset_and_room_is_made_again() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = serving(Limits { connections: 2, ..Limits::default() });
    node.put(web(&["nginx-1"]));
    node.until_answered(V4, &["nginx-1"]);
    until("the dials before to be over", || node.counts.connections() == 0);
    let open = || node.world.open("node2", &dial(V4.0, V4.1));
    let before = node.counts.rejected(V4.0, V4.1);
    let (first, second) = (open().unwrap(), open().unwrap());
    let outcome = open().unwrap_err();
    assert!(matches!(outcome, Outcome::Closed | Outcome::Refused(Refusal::Reset)), "{outcome}");
    assert_eq!((node.counts.connections(), node.counts.rejected(V4.0, V4.1)), (2, before + 1));
    drop((first, second));
    node.until_answered(V4, &["nginx-1"]);
}

#[test]
fn held_connections_go_on_when_their_endpoint_leaves() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    node.put(web(&["nginx-1"]));
    for family in Family::ALL {
        node.until_answered((family, Protocol::Tcp), &["nginx-1"]);
    }
    let mut held = Family::ALL.map(|family| node.world.open("node2", &dial(family, Protocol::Tcp)).unwrap().0);
    let mut go_on = |when: &str| {
        for held in &mut held {
            let outcome = held.ask();
            assert_eq!(outcome.name(), Some("nginx-1"), "{when}: {outcome}");
        }
    };
    node.put(web(&["nginx-2"]));
    node.until_answered(V4, &["nginx-2"]);
    go_on("another endpoint");
    node.put(web(&[]));
    node.until_refused(V4);
    go_on("no endpoint");
    node.remove("web");
    node.until_refused((Family::V6, Protocol::Tcp));
    go_on("no service");
}
