//! Dials from inside a namespace, and says what came of it.
//!
//! Every wait has a deadline and ends when something arrives; nothing sleeps.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use backend_api::Protocol;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, getsockname, recv,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::namespace::Namespace;
use super::responder::{parse, transport};
use super::sctp::{Chunk, Packet, tagged, untagged};

/// What to dial, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The protocol.
    pub protocol: Protocol,
    /// Whom.
    pub to: SocketAddr,
    /// From where; the kernel chooses an unspecified address or a port 0, as bind(2) has it.
    pub from: SocketAddr,
    /// How long silence is waited for.
    pub deadline: Duration,
}

/// What a client met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody answered.
    Answered(Answer),
    /// Refused.
    Refused(Refusal),
    /// A router or the own kernel said that there is no way (ICMP host or network unreachable, prohibited).
    Unreachable,
    /// Nothing came before the deadline.
    Silent,
    /// A connection that stood was closed by the other side.
    Closed,
    /// The probe itself could not be made: its source is not there, its port is taken. Says nothing about the network.
    Failed(String),
}

/// Who answered, and what they saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The answerer's name.
    pub name: String,
    /// The client as the answerer saw it.
    pub source: SocketAddr,
    /// From dialling to the answer.
    pub latency: Duration,
}

/// How a refusal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// TCP's RST, SCTP's ABORT.
    Reset,
    /// ICMP port unreachable.
    PortUnreachable,
}

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

/// A raw socket's half of an association.
#[derive(Debug)]
struct Association {
    socket: UdpSocket,
    remote: IpAddr,
    ports: (u16, u16),
    own: u32,
    peer: u32,
}

impl Dial {
    /// From wherever the kernel likes, waiting for a second.
    pub fn new(protocol: Protocol, to: SocketAddr) -> Self {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        Self { protocol, to, from: SocketAddr::new(any, 0), deadline: Duration::from_secs(1) }
    }

    /// From this address and port.
    #[must_use]
    pub fn from(self, from: SocketAddr) -> Self {
        Self { from, ..self }
    }

    /// Waiting so long.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
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
        report_errors(&socket, dial.to, false).map_err(|error| Outcome::Failed(error.to_string()))?;
    }
    let local = local(&socket).map_err(|error| Outcome::Failed(error.to_string()))?;
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

impl Answer {
    fn read(text: &str, started: Instant) -> Result<Self, Outcome> {
        let latency = started.elapsed();
        match parse(text) {
            Some((name, source)) => Ok(Self { name, source, latency }),
            None => Err(Outcome::Failed(format!("answer {text:?}: not a name and an address"))),
        }
    }
}

impl Outcome {
    /// Who answered, if anybody did.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// Who answered by name, if anybody did.
    pub fn name(&self) -> Option<&str> {
        self.answer().map(|answer| answer.name.as_str())
    }

    fn of_connect(errno: Errno, by_icmp: impl Fn() -> bool) -> Self {
        match errno {
            Errno::EADDRNOTAVAIL | Errno::EADDRINUSE => Self::Failed(errno.to_string()),
            // What a timeout of connect is called (connect(2)).
            Errno::EINPROGRESS => Self::Silent,
            Errno::ECONNREFUSED if by_icmp() => Self::Refused(Refusal::PortUnreachable),
            Errno::ECONNREFUSED => Self::Refused(Refusal::Reset),
            other => Self::of(other),
        }
    }

    fn of(errno: Errno) -> Self {
        match errno {
            Errno::EAGAIN | Errno::ETIMEDOUT => Self::Silent,
            Errno::ECONNREFUSED => Self::Refused(Refusal::PortUnreachable),
            Errno::ECONNRESET | Errno::EPIPE => Self::Closed,
            Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EACCES | Errno::ENOPROTOOPT | Errno::EPROTO => {
                Self::Unreachable
            }
            other => Self::Failed(other.to_string()),
        }
    }

    fn of_error(error: &io::Error) -> Self {
        error.raw_os_error().map_or_else(|| Self::Failed(error.to_string()), |raw| Self::of(Errno::from_raw(raw)))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(answer) => write!(f, "answered by {}, which saw {}", answer.name, answer.source),
            Self::Refused(Refusal::Reset) => f.write_str("refused by reset"),
            Self::Refused(Refusal::PortUnreachable) => f.write_str("refused by ICMP port unreachable"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Silent => f.write_str("silent"),
            Self::Closed => f.write_str("closed"),
            Self::Failed(reason) => write!(f, "probe failed: {reason}"),
        }
    }
}

impl Association {
    fn open(&mut self, deadline: Instant) -> Result<String, Outcome> {
        self.say(0, Chunk::Init(self.own))?;
        let cookie = loop {
            match self.hear(deadline)? {
                Chunk::InitAck(tag, cookie) => {
                    self.peer = tag;
                    break cookie;
                }
                Chunk::Abort => return Err(Outcome::Refused(Refusal::Reset)),
                _ => {}
            }
        };
        let text = untagged(&cookie).unwrap_or_default().to_owned();
        self.say(self.peer, Chunk::CookieEcho(cookie))?;
        while self.hear(deadline)? != Chunk::CookieAck {}
        Ok(text)
    }

    fn ask(&mut self, deadline: Instant) -> Result<String, Outcome> {
        self.say(self.peer, Chunk::Heartbeat(tagged(self.own, "")))?;
        loop {
            match self.hear(deadline)? {
                Chunk::HeartbeatAck(content) => return Ok(untagged(&content).unwrap_or_default().to_owned()),
                Chunk::Abort => return Err(Outcome::Closed),
                _ => {}
            }
        }
    }

    fn say(&self, tag: u32, chunk: Chunk) -> Result<(), Outcome> {
        let packet = Packet { source: self.ports.0, destination: self.ports.1, tag, chunk };
        send(&self.socket, &packet.encode())
    }

    /// The next chunk of this association; a raw socket hears everything from the peer's address.
    fn hear(&self, deadline: Instant) -> Result<Chunk, Outcome> {
        let mut buffer = [0; 2048];
        loop {
            let length = receive(&self.socket, &mut buffer, deadline)?;
            let packet = Packet::decode(transport(self.remote, &buffer[..length]));
            match packet {
                Some(packet) if (packet.destination, packet.source) == self.ports && packet.tag == self.own => {
                    return Ok(packet.chunk);
                }
                _ => {}
            }
        }
    }
}

fn open_socket(dial: &Dial) -> nix::Result<OwnedFd> {
    let (kind, number) = match dial.protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        Protocol::Sctp => (SockType::Raw, SockProtocol::Sctp),
    };
    let family = if dial.to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, number)?;
    if dial.protocol == Protocol::Tcp {
        // Closing resets: no port stays behind in TIME_WAIT, thousands can be opened.
        setsockopt(&socket, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    // Errors that are not fatal in the kernel's view are reported too, and queued.
    report_errors(&socket, dial.to, true)?;
    let from = if dial.protocol == Protocol::Sctp { SocketAddr::new(dial.from.ip(), 0) } else { dial.from };
    if !from.ip().is_unspecified() || from.port() != 0 {
        bind(socket.as_raw_fd(), &SockaddrStorage::from(from))?;
    }
    Ok(socket)
}

fn report_errors(socket: &OwnedFd, to: SocketAddr, wanted: bool) -> nix::Result<()> {
    match to {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4RecvErr, &wanted),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvErr, &wanted),
    }
}

/// Whether an ICMP error is queued: resets are not (ip(7), `IP_RECVERR`).
fn icmp_waits(socket: &OwnedFd) -> bool {
    let mut buffer = [0; 128];
    recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT).is_ok()
}

/// The destination as connect(2) wants it: raw sockets know no ports.
fn portless(dial: &Dial) -> SocketAddr {
    match dial.protocol {
        Protocol::Tcp | Protocol::Udp => dial.to,
        Protocol::Sctp => SocketAddr::new(dial.to.ip(), 0),
    }
}

fn arm(socket: &OwnedFd, timeout: Duration) -> nix::Result<()> {
    let timeout = TimeVal::new(timeout.as_secs() as i64, i64::from(timeout.subsec_micros()));
    setsockopt(socket, sockopt::SendTimeout, &timeout)
}

fn local(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let storage: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    let v6 = || storage.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port())));
    v4.or_else(v6).ok_or_else(|| io::Error::other("a socket without an address"))
}

/// A source port that the kernel does not choose for raw sockets: the next of a process-wide round.
fn ephemeral() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    40_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 20_000
}

/// Sends a question and waits for the answer.
fn exchange(socket: &UdpSocket, deadline: Instant) -> Result<String, Outcome> {
    send(socket, b"?")?;
    let mut buffer = [0; 2048];
    let length = receive(socket, &mut buffer, deadline)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// A packet that the own node's output hook drops or rejects is EPERM to its sender; whether it was a rejection is known
/// by the ICMP error that follows.
fn send(socket: &UdpSocket, bytes: &[u8]) -> Result<(), Outcome> {
    match socket.send(bytes) {
        Err(error) if error.raw_os_error() != Some(Errno::EPERM as i32) => Err(Outcome::of_error(&error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8], deadline: Instant) -> Result<usize, Outcome> {
    socket.set_read_timeout(Some(remaining(deadline)?)).map_err(|error| Outcome::of_error(&error))?;
    socket.recv(buffer).map_err(|error| Outcome::of_error(&error))
}

fn ask_line(stream: &mut TcpStream, deadline: Instant) -> Result<String, Outcome> {
    stream.write_all(b"?\n").map_err(|error| Outcome::of_error(&error))?;
    read_line(stream, deadline)
}

fn read_line(stream: &mut TcpStream, deadline: Instant) -> Result<String, Outcome> {
    let mut line = Vec::new();
    let mut buffer = [0; 256];
    while !line.ends_with(b"\n") {
        stream.set_read_timeout(Some(remaining(deadline)?)).map_err(|error| Outcome::of_error(&error))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(Outcome::Closed),
            Ok(length) => line.extend_from_slice(&buffer[..length]),
            Err(error) => return Err(Outcome::of_error(&error)),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// What is left; zero would mean for ever.
fn remaining(deadline: Instant) -> Result<Duration, Outcome> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Outcome::Silent) } else { Ok(left) }
}

/// Asks whoever has `to` for an echo (ICMP, ICMPv6). The answer's name is the address, and its source is not known.
pub fn ping(namespace: &Namespace, to: IpAddr, deadline: Duration) -> Outcome {
    namespace.run(|| ping_here(to, Instant::now() + deadline).unwrap_or_else(|outcome| outcome))
}

fn ping_here(to: IpAddr, deadline: Instant) -> Result<Outcome, Outcome> {
    let started = Instant::now();
    let (family, protocol, request) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128),
    };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol).map_err(Outcome::of)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, 0))).map_err(Outcome::of)?;
    let socket = UdpSocket::from(socket);
    // Identifier and checksum are the kernel's to fill in (icmp(7)).
    send(&socket, &[request, 0, 0, 0, 0, 0, 0, 1])?;
    receive(&socket, &mut [0; 64], deadline)?;
    let answer = Answer { name: to.to_string(), source: SocketAddr::new(to, 0), latency: started.elapsed() };
    Ok(Outcome::Answered(answer))
}
