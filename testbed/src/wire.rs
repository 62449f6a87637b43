//! A client's sockets: opening them, and waiting on them until a deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use backend_api::Protocol;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, getsockname, getsockopt, recv,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::dial::Dial;
use super::outcome::Outcome;

/// What becomes of ICMP errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errors {
    /// Each is reported, and queued (`IP_RECVERR`).
    Reported,
    /// The kernel takes those that are not fatal for a hint.
    Hinted,
}

pub(super) fn open_socket(dial: &Dial) -> nix::Result<OwnedFd> {
    let (kind, number) = match dial.protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        Protocol::Sctp => (SockType::Raw, SockProtocol::Sctp),
    };
    let family = if dial.to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, number)?;
    if dial.protocol == Protocol::Tcp {
        // Closing resets: no port stays behind in TIME_WAIT, thousands can be opened.
        setsockopt(&fd, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    // Errors that are not fatal in the kernel's view are reported too, and queued.
    report_errors(&fd, dial.to, Errors::Reported)?;
    let from = if dial.protocol == Protocol::Sctp { SocketAddr::new(dial.from.ip(), 0) } else { dial.from };
    if !from.ip().is_unspecified() || from.port() != 0 {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(from))?;
    }
    Ok(fd)
}

pub(super) fn report_errors(socket: &OwnedFd, to: SocketAddr, errors: Errors) -> nix::Result<()> {
    let queued = errors == Errors::Reported;
    match to {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4RecvErr, &queued),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvErr, &queued),
    }
}

/// Whether an ICMP error is queued: resets are not (ip(7), `IP_RECVERR`).
pub(super) fn icmp_waits(socket: &OwnedFd) -> bool {
    let mut buffer = [0; 128];
    recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT).is_ok()
}

/// The destination as connect(2) wants it: raw sockets know no ports.
pub(super) fn portless(dial: &Dial) -> SocketAddr {
    match dial.protocol {
        Protocol::Tcp | Protocol::Udp => dial.to,
        Protocol::Sctp => SocketAddr::new(dial.to.ip(), 0),
    }
}

pub(super) fn arm(socket: &OwnedFd, timeout: Duration) -> nix::Result<()> {
    let timeout = TimeVal::new(timeout.as_secs() as i64, i64::from(timeout.subsec_micros()));
    setsockopt(socket, sockopt::SendTimeout, &timeout)
}

pub(super) fn set_nonblocking(socket: &OwnedFd, nonblocking: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, nonblocking);
    fcntl(socket, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Waits until a connection that was begun stands; one that does not by then is `EINPROGRESS`, as of connect(2).
pub(super) fn connected(socket: &OwnedFd, deadline: Instant) -> nix::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], timeout)? {
        0 => Err(Errno::EINPROGRESS),
        _ => match getsockopt(socket, sockopt::SocketError)? {
            0 => Ok(()),
            error => Err(Errno::from_raw(error)),
        },
    }
}

pub(super) fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let storage: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    let v6 = || storage.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port())));
    v4.or_else(v6).ok_or_else(|| io::Error::other("a socket without an address"))
}

/// Sends a question and waits for the answer.
pub(super) fn exchange(socket: &UdpSocket, deadline: Instant) -> Result<String, Outcome> {
    send(socket, b"?")?;
    let mut buffer = [0; 2048];
    let length = receive(socket, &mut buffer, deadline)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// A packet that the own node's output hook drops or rejects is EPERM to its sender; whether it was a rejection is
/// known by the ICMP error that follows.
pub(super) fn send(socket: &UdpSocket, bytes: &[u8]) -> Result<(), Outcome> {
    match socket.send(bytes) {
        Err(error) if error.raw_os_error() != Some(Errno::EPERM as i32) => Err(Outcome::of_error(&error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8], deadline: Instant) -> Result<usize, Outcome> {
    socket.set_read_timeout(Some(remaining(deadline)?)).map_err(|error| Outcome::of_error(&error))?;
    socket.recv(buffer).map_err(|error| Outcome::of_error(&error))
}

pub(super) fn ask_line(stream: &mut TcpStream, deadline: Instant) -> Result<String, Outcome> {
    stream.write_all(b"?\n").map_err(|error| Outcome::of_error(&error))?;
    read_line(stream, deadline)
}

pub(super) fn read_line(stream: &mut TcpStream, deadline: Instant) -> Result<String, Outcome> {
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
