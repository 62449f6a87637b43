//! Servers inside namespaces: each answers with its name and the client's address as it sees it.
//!
//! The answer is one line, `name address:port`: over TCP once when a connection opens and again for each line received,
//! so that connections can be held and asked; over UDP for each datagram; over SCTP in the state cookie and in
//! heartbeats.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use backend_api::Protocol;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::namespace::Namespace;
use super::plan::Listen;
use super::sctp;

/// A server, until it is dropped; its connections end with it.
#[derive(Debug)]
pub struct Server {
    /// Dropped to stop it.
    _stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Opens each of `listens` inside `namespace`, to answer as `name` on threads of `runtime`. One thread goes inside
    /// for all of them: a world has a hundred servers.
    ///
    /// # Errors
    /// The kernel's: the address is not there, or the port is taken.
    pub fn start_all(
        runtime: &runtime::Handle,
        namespace: &Namespace,
        name: &str,
        listens: &[(IpAddr, Listen)],
    ) -> io::Result<Vec<Self>> {
        let sockets = namespace.run(|| {
            let sockets = listens.iter().map(|(address, listen)| Ok((*listen, open_named(name, *address, *listen)?)));
            sockets.collect::<io::Result<Vec<_>>>()
        })?;
        let name: Arc<str> = name.into();
        sockets.into_iter().map(|(listen, socket)| Self::start(runtime, name.clone(), listen, socket)).collect()
    }

    fn start(runtime: &runtime::Handle, name: Arc<str>, listen: Listen, socket: OwnedFd) -> io::Result<Self> {
        // Sockets that become tokio's want its context.
        let _context = runtime.enter();
        let (stop, stopped) = oneshot::channel();
        let task = match listen.protocol {
            Protocol::Tcp => runtime.spawn(accept(TcpListener::from_std(socket.into())?, name, stopped)),
            Protocol::Udp => {
                let socket = UdpSocket::from_std(socket.into())?;
                runtime.spawn(until(stopped, answer_datagrams(socket, name)))
            }
            Protocol::Sctp => {
                let socket = UdpSocket::from_std(socket.into())?;
                runtime.spawn(until(stopped, answer_sctp(socket, name, listen.port)))
            }
        };
        Ok(Self { _stop: stop, task })
    }

    /// Ends it, and returns when its port is closed and so are its connections.
    pub async fn stop(self) {
        let Self { _stop: stop, task } = self;
        drop(stop);
        // An error is a panic of the task or the end of its runtime: it has ended anyway.
        let _ = task.await;
    }
}

/// What a server named `name` says to `peer`.
pub fn answer(name: &str, peer: SocketAddr) -> String {
    format!("{name} {peer}")
}

/// Reads what [`answer`] wrote.
pub fn parse(text: &str) -> Option<(String, SocketAddr)> {
    let (name, peer) = text.trim_end().rsplit_once(' ')?;
    Some((name.to_owned(), peer.parse().ok()?))
}

fn open_named(name: &str, address: IpAddr, Listen { protocol, port }: Listen) -> io::Result<OwnedFd> {
    let local = SocketAddr::new(address, port);
    open(protocol, local)
        .map_err(|error| io::Error::new(error.kind(), format!("{name} listening on {local}/{protocol}: {error}")))
}

/// A socket of the calling thread's namespace, bound to `local`; of SCTP a raw one, that sees every port of the
/// address.
fn open(protocol: Protocol, local: SocketAddr) -> io::Result<OwnedFd> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        Protocol::Sctp => (SockType::Raw, SockProtocol::Sctp),
    };
    let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, number)?;
    match protocol {
        Protocol::Tcp => {
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?;
            listen(&fd, Backlog::MAXALLOWABLE)?;
        }
        Protocol::Udp => bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?,
        Protocol::Sctp => {
            let all_ports = SocketAddr::new(local.ip(), 0);
            bind(fd.as_raw_fd(), &SockaddrStorage::from(all_ports))?;
        }
    }
    Ok(fd)
}

/// Runs `work` until the sender of `stopped` is dropped.
async fn until(stopped: oneshot::Receiver<()>, work: impl Future<Output = ()>) {
    tokio::select! {
        _ = stopped => {}
        () = work => {}
    }
}

async fn accept(listener: TcpListener, name: Arc<str>, mut stopped: oneshot::Receiver<()>) {
    // Owned here, so that the connections end with the server.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, peer)) = listener.accept() => {
                connections.spawn(converse(stream, answer(&name, peer)));
            }
            Some(_ended) = connections.join_next() => {}
            _ = &mut stopped => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Ends when the client does or the connection breaks; the error is not needed.
async fn converse(stream: TcpStream, answer: String) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let line = answer + "\n";
    write.write_all(line.as_bytes()).await?;
    let mut asked = BufReader::new(read).lines();
    while asked.next_line().await?.is_some() {
        write.write_all(line.as_bytes()).await?;
    }
    Ok(())
}

async fn answer_datagrams(socket: UdpSocket, name: Arc<str>) {
    let mut buffer = [0; 2048];
    loop {
        // An error here is an ICMP error that an earlier answer met: its client has gone.
        if let Ok((_length, peer)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(answer(&name, peer).as_bytes(), peer).await;
        }
    }
}

async fn answer_sctp(socket: UdpSocket, name: Arc<str>, port: u16) {
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(packet) = sctp::Packet::decode(transport(peer.ip(), &buffer[..length])) else { continue };
        if packet.destination != port {
            continue;
        }
        let seen = SocketAddr::new(peer.ip(), packet.source);
        if let Some(response) = packet.response(&answer(&name, seen)) {
            let _ = socket.send_to(&response.encode(), SocketAddr::new(peer.ip(), 0)).await;
        }
    }
}

/// What follows the IP header in what a raw socket received: IPv4's comes with the header, IPv6's without (raw(7)).
pub fn transport(peer: IpAddr, received: &[u8]) -> &[u8] {
    match peer {
        IpAddr::V4(_) => {
            let header = received.first().map_or(0, |first| usize::from(first & 0xf) * 4);
            received.get(header..).unwrap_or_default()
        }
        IpAddr::V6(_) => received,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_as_it_was_written() {
        for peer in ["10.0.0.1:80", "[fd00::1]:80"] {
            let peer: SocketAddr = peer.parse().unwrap();
            assert_eq!(parse(&(answer("nginx-1", peer) + "\n")), Some(("nginx-1".to_owned(), peer)));
        }
        assert_eq!(parse("nginx-1"), None);
    }
}
