//! Connection tracking: which flows there are, and how to delete one.
//!
//! Beside nf_tables because NAT is decided once for each flow: a rule that was removed still applies to flows that
//! began before (linux/netfilter/nfnetlink_conntrack.h).
//!
//! ```no_run
//! # async fn example() -> Result<(), switchyard_netlink::ReadError> {
//! use switchyard_netlink::conntrack::Conntrack;
//! use switchyard_netlink::Family;
//!
//! const UDP: u8 = 17;
//! let mut conntrack = Conntrack::open()?;
//! let mut to_dns = Vec::new();
//! conntrack.flows(Family::Ipv4, UDP, |flow| {
//!     if flow.original.destination_port == 53 {
//!         to_dns.push(flow);
//!     }
//! }).await?;
//! let deleted = conntrack.delete(&to_dns).await?;
//! println!("{deleted} of {} flows deleted", to_dns.len());
//! # Ok(())
//! # }
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::errno::Errno;

use crate::abi::*;
use crate::attr::{Attr, Attrs, put, put_be16, put_be32, put_nested, put_u8};
use crate::error::ReadError;
use crate::message::{self, Message};
use crate::namespace::Namespace;
use crate::nftables::Family;
use crate::socket::Socket;

/// A connection to ctnetlink of one network namespace.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
    filter: Filter,
}

/// What picks the protocol out of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    /// The kernel (`CTA_FILTER`, Linux 5.8).
    Kernel,
    /// This crate alone: the kernel refused the filter.
    Ours,
}

/// Which flows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    All,
    Unanswered,
}

/// A tracked flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its family.
    pub family: Family,
    /// Its protocol: `IPPROTO_UDP` is 17.
    pub protocol: u8,
    /// What its first packet had, before any rewrite.
    pub original: Tuple,
    /// What its answers have: their source is the endpoint that really answers.
    pub reply: Tuple,
    /// `IPS_*` (linux/netfilter/nf_conntrack_common.h).
    pub status: u32,
    /// Its zone (`CTA_ZONE`); 0 where zones are not used.
    pub zone: u16,
    /// The kernel's number of exactly this flow (`CTA_ID`): a later flow with the same addresses has another.
    pub id: u32,
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port; 0 where the protocol has none.
    pub source_port: u16,
    /// Destination port; 0 where the protocol has none.
    pub destination_port: u16,
}

// linux/netfilter/nfnetlink_conntrack.h
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
/// Linux 5.18; older kernels overlook it and show flows of every status.
const CTA_STATUS_MASK: u16 = 26;
/// linux/netfilter/nf_conntrack_common.h
const IPS_SEEN_REPLY: u32 = 1 << 1;
count_up!(u16, 1 => CTA_TUPLE_IP, CTA_TUPLE_PROTO);
count_up!(u16, 1 => CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST);
count_up!(u16, 1 => CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT);
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// The bits are the kernel's own (`include/net/netfilter/nf_conntrack_core.h` has no UAPI twin):
/// net/netfilter/nf_conntrack_netlink.c, `CTA_FILTER_F_CTA_PROTO_NUM`.
const CTA_FILTER_F_CTA_PROTO_NUM: u32 = 1 << 3;

/// Flows deleted at a time: their acknowledgements must fit into the receive buffer.
const FLOWS_AT_A_TIME: usize = 256;

impl Conntrack {
    /// Opens the socket in the network namespace of this thread. Within a tokio runtime.
    ///
    /// # Errors
    /// The socket's.
    pub fn open() -> io::Result<Self> {
        Self::open_in(&Namespace::Current)
    }

    /// Opens the socket in a network namespace. Within a tokio runtime.
    ///
    /// # Errors
    /// The socket's, and those of [`Namespace::run`].
    pub fn open_in(namespace: &Namespace) -> io::Result<Self> {
        Ok(Conntrack { socket: Socket::netfilter(namespace)?, filter: Filter::Kernel })
    }

    /// Bytes that were sent to the kernel since this was opened.
    pub fn sent(&self) -> u64 {
        self.socket.sent()
    }

    /// Shows every flow of a family and a protocol to `each`. One that comes or goes meanwhile may or may not be
    /// shown, and one may be shown twice.
    ///
    /// The kernel walks its whole table for this, flows of other network namespaces included: 11 ms for 262,144 empty
    /// buckets, 0.3 µs for each flow that it passes over, 3 µs for each that it shows. One question for many addresses
    /// is cheaper than many.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn flows(&mut self, family: Family, protocol: u8, each: impl FnMut(Flow)) -> Result<(), ReadError> {
        self.dump(family, protocol, Shown::All, each).await
    }

    /// As [`Conntrack::flows`], without those that a packet has answered: of TCP, what is left are connections that
    /// wait for the other side's first packet.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn unanswered(&mut self, family: Family, protocol: u8, each: impl FnMut(Flow)) -> Result<(), ReadError> {
        self.dump(family, protocol, Shown::Unanswered, each).await
    }

    async fn dump(
        &mut self,
        family: Family,
        protocol: u8,
        shown: Shown,
        mut each: impl FnMut(Flow),
    ) -> Result<(), ReadError> {
        loop {
            let request = dump_request(family, protocol, shown, self.filter);
            // No accumulator: a dump of flows is never begun again.
            let dumped = self
                .socket
                .dump(
                    "conntrack",
                    request,
                    || (),
                    |(), message| {
                        if let Some(flow) = Flow::decode(&message)
                            && (flow.family, flow.protocol) == (family, protocol)
                            && (shown == Shown::All || !flow.is_answered())
                        {
                            each(flow);
                        }
                    },
                )
                .await;
            match dumped {
                Err(ReadError::Refused { errno, .. }) if self.filter == Filter::Kernel && errno != Errno::EPERM => {
                    self.filter = Filter::Ours;
                }
                dumped => return dumped,
            }
        }
    }

    /// Deletes exactly these flows: a new flow with the same addresses is not hit (`CTA_ID`). Returns how many were
    /// still there.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn delete(&mut self, flows: &[Flow]) -> Result<usize, ReadError> {
        let mut deleted = 0;
        for flows in flows.chunks(FLOWS_AT_A_TIME) {
            let mut requests = Vec::new();
            flows.iter().for_each(|flow| put_delete(&mut requests, flow));
            let mut failed = None;
            self.socket
                .ask(requests, |_, message| match message.ack() {
                    Some(ack) if ack.errno == 0 => deleted += 1,
                    Some(ack) if ack.errno == Errno::ENOENT as i32 => {}
                    Some(ack) => failed = Some(ack),
                    None => {}
                })
                .await?;
            if let Some(ack) = failed {
                let object = "conntrack".to_owned();
                return Err(ReadError::Refused { object, errno: Errno::from_raw(ack.errno), text: ack.text });
            }
        }
        Ok(deleted)
    }
}

fn dump_request(family: Family, protocol: u8, shown: Shown, filter: Filter) -> Vec<u8> {
    let mut request = Vec::new();
    let start = begin(&mut request, IPCTNL_MSG_CT_GET, 0, family);
    if filter == Filter::Kernel {
        put_nested(&mut request, CTA_TUPLE_ORIG, |request| {
            put_nested(request, CTA_TUPLE_PROTO, |request| put_u8(request, CTA_PROTO_NUM, protocol));
        });
        put_nested(&mut request, CTA_FILTER, |request| {
            // In the machine's order, unlike its neighbours.
            put(request, CTA_FILTER_ORIG_FLAGS, &CTA_FILTER_F_CTA_PROTO_NUM.to_ne_bytes());
        });
        if shown == Shown::Unanswered {
            put_be32(&mut request, CTA_STATUS, 0);
            put_be32(&mut request, CTA_STATUS_MASK, IPS_SEEN_REPLY);
        }
    }
    message::end(&mut request, start);
    request
}

/// Without a tuple this message would empty the whole table, so the tuple is not optional anywhere on the way here.
fn put_delete(requests: &mut Vec<u8>, flow: &Flow) {
    let start = begin(requests, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, flow.family);
    put_nested(requests, CTA_TUPLE_ORIG, |requests| put_tuple(requests, flow.protocol, &flow.original));
    put_be32(requests, CTA_ID, flow.id);
    if flow.zone != 0 {
        put_be16(requests, CTA_ZONE, flow.zone);
    }
    message::end(requests, start);
}

fn begin(bytes: &mut Vec<u8>, kind: u16, flags: u16, family: Family) -> usize {
    message::begin(bytes, (NFNL_SUBSYS_CTNETLINK << 8) | kind, flags, family.abi() as u8)
}

fn put_tuple(bytes: &mut Vec<u8>, protocol: u8, tuple: &Tuple) {
    put_nested(bytes, CTA_TUPLE_IP, |bytes| {
        put_address(bytes, tuple.source, CTA_IP_V4_SRC, CTA_IP_V6_SRC);
        put_address(bytes, tuple.destination, CTA_IP_V4_DST, CTA_IP_V6_DST);
    });
    put_nested(bytes, CTA_TUPLE_PROTO, |bytes| {
        put_u8(bytes, CTA_PROTO_NUM, protocol);
        put_be16(bytes, CTA_PROTO_SRC_PORT, tuple.source_port);
        put_be16(bytes, CTA_PROTO_DST_PORT, tuple.destination_port);
    });
}

fn put_address(bytes: &mut Vec<u8>, address: IpAddr, v4: u16, v6: u16) {
    match address {
        IpAddr::V4(address) => put(bytes, v4, &address.octets()),
        IpAddr::V6(address) => put(bytes, v6, &address.octets()),
    }
}

impl Flow {
    /// Whether a packet came back.
    pub fn is_answered(&self) -> bool {
        self.status & IPS_SEEN_REPLY != 0
    }

    /// Decodes a message of a dump or a notification of ctnetlink. None for what is no flow of IPv4 or IPv6, lacks a
    /// tuple, the status or the id, or has addresses of another family. The type of the message is not looked at.
    pub fn decode(message: &Message<'_>) -> Option<Self> {
        let attrs = message.attrs();
        let (protocol, original) = read_tuple(attrs.find(CTA_TUPLE_ORIG)?.nested())?;
        let (_, reply) = read_tuple(attrs.find(CTA_TUPLE_REPLY)?.nested())?;
        let family = Family::from_abi(message.family().into())?;
        let addresses = [original.source, original.destination, reply.source, reply.destination];
        addresses.iter().all(|address| Family::of(*address) == family).then_some(())?;
        Some(Flow {
            family,
            protocol,
            original,
            reply,
            status: attrs.find(CTA_STATUS)?.be32()?,
            zone: attrs.find(CTA_ZONE).and_then(Attr::be16).unwrap_or_default(),
            id: attrs.find(CTA_ID)?.be32()?,
        })
    }
}

fn read_tuple(attrs: Attrs<'_>) -> Option<(u8, Tuple)> {
    let addresses = attrs.find(CTA_TUPLE_IP)?.nested();
    let protocol = attrs.find(CTA_TUPLE_PROTO)?.nested();
    let tuple = Tuple {
        source: read_address(addresses, CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
        destination: read_address(addresses, CTA_IP_V4_DST, CTA_IP_V6_DST)?,
        source_port: protocol.find(CTA_PROTO_SRC_PORT).and_then(Attr::be16).unwrap_or_default(),
        destination_port: protocol.find(CTA_PROTO_DST_PORT).and_then(Attr::be16).unwrap_or_default(),
    };
    Some((protocol.find(CTA_PROTO_NUM)?.u8()?, tuple))
}

fn read_address(attrs: Attrs<'_>, v4: u16, v6: u16) -> Option<IpAddr> {
    match (attrs.find(v4), attrs.find(v6)) {
        (Some(attr), _) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(attr.payload).ok()?).into()),
        (None, Some(attr)) => Some(Ipv6Addr::from(<[u8; 16]>::try_from(attr.payload).ok()?).into()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Messages;
    use proptest::prelude::*;

    fn tuple() -> impl Strategy<Value = Tuple> {
        any::<([u8; 4], [u8; 4], u16, u16)>().prop_map(|(source, destination, source_port, destination_port)| Tuple {
            source: Ipv4Addr::from(source).into(),
            destination: Ipv4Addr::from(destination).into(),
            source_port,
            destination_port,
        })
    }

    proptest! {
        #[test]
        fn a_tuple_survives(tuple in tuple(), protocol in any::<u8>()) {
            let mut bytes = Vec::new();
            put_tuple(&mut bytes, protocol, &tuple);
            prop_assert_eq!(read_tuple(Attrs(&bytes)), Some((protocol, tuple)));
        }

        #[test]
        fn any_bytes_are_a_flow_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut message = Vec::new();
            let start = begin(&mut message, IPCTNL_MSG_CT_GET, 0, Family::Ipv4);
            message.extend_from_slice(&bytes);
            message::end(&mut message, start);
            let _ = Flow::decode(&Messages(&message).next().unwrap());
        }
    }
}
