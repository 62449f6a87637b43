//! Dials from inside a namespace, and says what came of it.
//!
//! Every wait has a deadline and ends when something arrives; nothing sleeps.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use backend_api::Protocol;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, socket};

use super::association::{Association, ephemeral};
use super::dial::Dial;
use super::namespace::Namespace;
use super::outcome::{Answer, Outcome};
use super::wire::{
    Errors, arm, ask_line, connected, exchange, icmp_waits, local_address, open_socket, portless, read_line, receive,
    report_errors, send, set_nonblocking,
};

/// A connection, association or flow that is held open, to be asked again.
#[derive(Debug)]
pub struct Held {
    dial: Dial,
    local: SocketAddr,
    wire: Wire,
}

#[derive(Debug)]
enum Wire {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Sctp(Association),
}

/// A TCP client whose first packet is sent, and that waits for an answer.
#[derive(Debug)]
pub struct Begun {
    dial: Dial,
    socket: OwnedFd,
    started: Instant,
}

/// Sends the first packet of a TCP connection, from the calling thread's namespace.
///
/// # Errors
/// What was met instead of a packet on its way.
pub fn begin_here(dial: &Dial) -> Result<Begun, Outcome> {
    let started = Instant::now();
    let socket = open_socket(dial).map_err(|error| Outcome::Failed(format!("{}: {error}", dial.from)))?;
    set_nonblocking(&socket, true).map_err(|error| Outcome::of_error(&error))?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(dial.to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(Begun { dial: *dial, socket, started }),
        Err(errno) => Err(Outcome::of_connect(errno, || icmp_waits(&socket))),
    }
}

impl Begun {
    /// Waits until the dial's deadline for what comes of it.
    pub fn finish(self) -> Outcome {
        let Self { dial, socket, started } = self;
        let deadline = started + dial.deadline;
        match connected(&socket, deadline) {
            Ok(()) => {}
            Err(errno) => return Outcome::of_connect(errno, || icmp_waits(&socket)),
        }
        if let Err(error) = set_nonblocking(&socket, false) {
            return Outcome::of_error(&error);
        }
        let read = read_line(&mut socket.into(), deadline).and_then(|text| Answer::read(&text, started));
        read.map_or_else(|outcome| outcome, Outcome::Answered)
    }
}

/// Dials once from `namespace`.
pub fn dial(namespace: &Namespace, dial: &Dial) -> Outcome {
    namespace.run(|| dial_here(dial))
}

/// Dials `count` times, one after another.
pub fn dial_many(namespace: &Namespace, dial: &Dial, count: usize) -> Vec<Outcome> {
    namespace.run(|| (0..count).map(|_| dial_here(dial)).collect())
}

/// Dials and holds what was answered.
///
/// # Errors
/// What was met instead of an answer.
pub fn open(namespace: &Namespace, dial: &Dial) -> Result<(Held, Answer), Outcome> {
    namespace.run(|| open_here(dial))
}

/// Dials from the calling thread's namespace: for threads that are inside one already.
pub fn dial_here(dial: &Dial) -> Outcome {
    match open_here(dial) {
        Ok((_held, answer)) => Outcome::Answered(answer),
        Err(outcome) => outcome,
    }
}

/// As [`open`], from the calling thread's namespace.
///
/// # Errors
/// What was met instead of an answer.
pub fn open_here(dial: &Dial) -> Result<(Held, Answer), Outcome> {
    let started = Instant::now();
    let socket = open_socket(dial).map_err(|error| Outcome::Failed(format!("{}: {error}", dial.from)))?;
    // A blocking connect of TCP ends with the send timeout (socket(7)).
    arm(&socket, dial.deadline).map_err(|error| Outcome::Failed(error.to_string()))?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(portless(dial)))
        .map_err(|errno| Outcome::of_connect(errno, || icmp_waits(&socket)))?;
    if dial.protocol == Protocol::Tcp {
        // A connection that stands shall take ICMP errors as any other does, for a hint.
        report_errors(&socket, dial.to, Errors::Hinted).map_err(|error| Outcome::Failed(error.to_string()))?;
    }
    let local = local_address(&socket).map_err(|error| Outcome::Failed(error.to_string()))?;
    let mut held = match dial.protocol {
        Protocol::Tcp => Held { dial: *dial, local, wire: Wire::Tcp(socket.into()) },
        Protocol::Udp => Held { dial: *dial, local, wire: Wire::Udp(socket.into()) },
        Protocol::Sctp => {
            let port = if dial.from.port() == 0 { ephemeral() } else { dial.from.port() };
            let ports = (port, dial.to.port());
            let local = SocketAddr::new(local.ip(), port);
            let own = u32::from(port) | 0x5300_0000;
            let association = Association { socket: socket.into(), remote: dial.to.ip(), ports, own, peer: 0 };
            Held { dial: *dial, local, wire: Wire::Sctp(association) }
        }
    };
    let text = match &mut held.wire {
        Wire::Tcp(stream) => read_line(stream, started + dial.deadline)?,
        Wire::Udp(socket) => exchange(socket, started + dial.deadline)?,
        Wire::Sctp(association) => association.open(started + dial.deadline)?,
    };
    let answer = Answer::read(&text, started)?;
    Ok((held, answer))
}

impl Held {
    /// Asks the other side again, over the same connection or with the same ports.
    pub fn ask(&mut self) -> Outcome {
        let started = Instant::now();
        let deadline = started + self.dial.deadline;
        let text = match &mut self.wire {
            Wire::Tcp(stream) => ask_line(stream, deadline),
            Wire::Udp(socket) => exchange(socket, deadline),
            Wire::Sctp(association) => association.ask(deadline),
        };
        match text.and_then(|text| Answer::read(&text, started)) {
            Ok(answer) => Outcome::Answered(answer),
            Err(outcome) => outcome,
        }
    }

    /// The client's own address and port.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// What was dialled.
    pub fn dialled(&self) -> &Dial {
        &self.dial
    }
}

/// Asks the owner of `to` for an echo (ICMP, ICMPv6). The answer's name is the address, and its source is not known.
pub fn ping(namespace: &Namespace, to: IpAddr, deadline: Duration) -> Outcome {
    namespace.run(|| ping_here(to, Instant::now() + deadline).unwrap_or_else(|outcome| outcome))
}

fn ping_here(to: IpAddr, deadline: Instant) -> Result<Outcome, Outcome> {
    let started = Instant::now();
    let (family, protocol, request) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128),
    };
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol).map_err(Outcome::of)?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, 0))).map_err(Outcome::of)?;
    let socket = UdpSocket::from(fd);
    // Identifier and checksum are the kernel's to fill in (icmp(7)).
    send(&socket, &[request, 0, 0, 0, 0, 0, 0, 1])?;
    receive(&socket, &mut [0; 64], deadline)?;
    let answer = Answer { name: to.to_string(), source: SocketAddr::new(to, 0), latency: started.elapsed() };
    Ok(Outcome::Answered(answer))
}
