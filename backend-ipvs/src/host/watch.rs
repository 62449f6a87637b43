//! Tells when rules or routes of ours may have been changed.
//!
//! On a socket of its own: notifications come unasked. They only raise a suspicion, and then what is there is read.
//! So nothing depends on their order or completeness, and our own writes need not be told from others'.

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::rules::{LOOPBACK, is_our_route, place};

/// Beyond what the kernel puts into one datagram.
const DATAGRAM: usize = 64 << 10;

/// Links because of lo: when it goes down, IPv6 tells that its route goes too; IPv4's stays.
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];

/// A subscription to rtnetlink's notifications.
pub(crate) struct Watch {
    socket: TokioSocket,
    datagram: Vec<u8>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Subscribes in the network namespace of this thread. Within a tokio runtime.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let groups = GROUPS.iter().fold(0, |groups, group| groups | 1 << (*group as u32 - 1));
        socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
        Ok(Self { socket, datagram: Vec::with_capacity(DATAGRAM) })
    }

    /// Resolves when something of ours may have been changed, or when notifications were lost. What has been queued
    /// until then is reported once. Cancel-safe.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) async fn suspicion(&mut self) -> io::Result<()> {
        loop {
            self.datagram.clear();
            match self.socket.recv(&mut self.datagram).await {
                Ok(()) if concerns_us(&self.datagram) => break,
                Ok(()) => {}
                Err(error) if is_overrun(&error) => break,
                Err(error) => return Err(error),
            }
        }
        loop {
            self.datagram.clear();
            match self.socket.socket_ref().recv(&mut self.datagram, MsgFlags::MSG_DONTWAIT.bits()) {
                Ok(_) => {}
                Err(error) if is_overrun(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

/// Whether a datagram speaks of lo, or of a rule or route of ours. What cannot be read may.
fn concerns_us(mut datagram: &[u8]) -> bool {
    while !datagram.is_empty() {
        let Ok(length) = NetlinkBuffer::new_checked(datagram).map(|buffer| buffer.length() as usize) else {
            return true;
        };
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram) else { return true };
        let concerns_us = match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => link.header.index == LOOPBACK,
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRule(rule) | RouteNetlinkMessage::DelRule(rule)) => {
                place(&rule).is_some()
            }
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
            ) => is_our_route(&route),
            NetlinkPayload::Overrun(_) => true,
            _ => false,
        };
        if concerns_us {
            return true;
        }
        // NLMSG_ALIGN
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}
