//! Where untranslated packets end: it answers "sink" for every address, port and protocol.
//!
//! Untouched is not silence. With a sink, silence means that the packet was dropped, except at port 9 (discard, RFC
//! 863), where the sink is as silent as a machine that is not there. It answers packets that its own kernel ignores
//! because they are for other addresses, so it needs neither addresses nor listeners.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto, socket};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::runtime;
use tokio::task::AbortHandle;

use super::namespace::Namespace;
use super::packet::Packet;
use super::responder::answer;

/// What it answers.
pub const NAME: &str = "sink";

/// For us, as opposed to multicast or our own (`PACKET_HOST`, linux/if_packet.h).
const PACKET_HOST: u8 = 0;

/// A sink, until it is dropped.
#[derive(Debug)]
pub struct Sink(AbortHandle);

impl Sink {
    /// Answers everything that `namespace` receives but what is for `own` addresses, on threads of `runtime`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn start(runtime: &runtime::Handle, namespace: &Namespace, own: Vec<IpAddr>) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket =
            namespace.run(|| socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll))?;
        let _context = runtime.enter();
        // A packet socket in a UDP socket's clothes: tokio has no safe name for it, and readiness is the same.
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self(runtime.spawn(swallow(socket, own)).abort_handle()))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn swallow(socket: UdpSocket, own: Vec<IpAddr>) {
    let mut buffer = [0; 2048];
    loop {
        let Ok(()) = socket.readable().await else { return };
        let received = socket.try_io(Interest::READABLE, || Ok(recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer)?));
        let Ok((length, Some(sender))) = received else { continue };
        let Some(packet) = Packet::decode(&buffer[..length]) else { continue };
        if sender.pkttype() != PACKET_HOST || own.contains(&packet.destination) {
            continue;
        }
        if let Some(response) = packet.response(|peer| answer(NAME, peer)) {
            let _ = sendto(socket.as_raw_fd(), &response, &sender, MsgFlags::empty());
        }
    }
}
