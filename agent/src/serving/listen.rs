//! Sockets that listen, as kube-proxy's do.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel accepts before we do.
const BACKLOG: u32 = 256;

/// Which families a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// That of its address.
    OneFamily,
    /// Both, on every address of the node.
    Everyone,
}

/// Listens at `address`; on every address of both families if it is unspecified, as Go's `net.Listen` does, by which
/// kube-proxy's 0.0.0.0 means IPv6 too.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_unspecified() {
        return open(address, Reach::OneFamily);
    }
    let everyone = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
    match open(everyone, Reach::Everyone) {
        // A kernel without IPv6.
        Err(error) if address.is_ipv4() && error.kind() != io::ErrorKind::AddrInUse => open(address, Reach::OneFamily),
        outcome => outcome,
    }
}

/// Listens at `address` in its own family alone.
pub(super) fn listen_in_family(address: SocketAddr) -> io::Result<TcpListener> {
    open(address, Reach::OneFamily)
}

fn open(address: SocketAddr, reach: Reach) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            setsockopt(&socket, sockopt::Ipv6V6Only, &(reach == Reach::OneFamily))?;
            socket
        }
    };
    // Or a restart would wait for connections of the process before to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
