//! The interfaces of this network namespace, from rtnetlink.
//!
//! A notification only says that something changed; the value is then read anew. So nothing depends on the order or
//! the completeness of notifications.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBond, InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{MsgFlags, recv};

use crate::wire::Mac;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    /// Up, with a carrier.
    pub(super) mac: Option<Mac>,
    /// Of Ethernet, with ARP, and no part of a bond, a team or a bridge: those are to be announced on.
    pub(super) can_announce: bool,
    pub(super) addresses: Vec<(IpAddr, u8)>,
    /// Of a bond: with another one a switch hears us at another port.
    pub(super) active_port: Option<u32>,
}

impl Link {
    /// Its first IPv4 address, from which heartbeats come; unspecified if it has none.
    pub(super) fn source(&self) -> Ipv4Addr {
        let mut addresses = self.addresses.iter();
        addresses
            .find_map(|(address, _)| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
            .unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Whether what was announced must be announced again.
    pub(super) fn moved(&self, before: &Self) -> bool {
        self.active_port != before.active_port
    }
}

/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR`, linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Notifications of changes.
#[derive(Debug)]
pub(super) struct Changes(Socket);

impl Changes {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Reads whatever has come; an overrun is a change too.
    pub(super) fn drain(&self) -> bool {
        let (mut buffer, mut changed) = ([0; 8192], false);
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(nix::Error::ENOBUFS) => changed = true,
                Err(_) => return changed,
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// All interfaces by index.
pub(super) fn read() -> io::Result<BTreeMap<u32, Link>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut messages = Vec::new();
    for answer in dump(&socket, RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
        if let RouteNetlinkMessage::NewLink(message) = answer {
            messages.push(message);
        }
    }
    let mut links: BTreeMap<u32, Link> =
        messages.iter().map(|message| (message.header.index, link(message, &messages))).collect();
    for answer in dump(&socket, RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
        if let RouteNetlinkMessage::NewAddress(message) = answer
            && let Some(link) = links.get_mut(&message.header.index)
        {
            link.addresses.extend(own_address(&message).map(|address| (address, message.header.prefix_len)));
        }
    }
    Ok(links)
}

fn dump(socket: &Socket, request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            let length = (answer.header.length as usize).next_multiple_of(4);
            match answer.payload {
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => answers.push(message),
                _ => {}
            }
            rest = rest.get(length..).filter(|_| length > 0).unwrap_or_default();
        }
    }
}

fn is_vrf(index: u32, all: &[LinkMessage]) -> bool {
    let link = all.iter().find(|link| link.header.index == index);
    link.is_some_and(|link| link_info(link).any(|info| *info == LinkInfo::Kind(InfoKind::Vrf)))
}

fn link(message: &LinkMessage, all: &[LinkMessage]) -> Link {
    let flags = message.header.flags;
    let mut link = Link::default();
    let (mut mac, mut is_part) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name.clone(),
            LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().ok().map(Mac),
            // A part of a VRF is an interface as any other.
            LinkAttribute::Controller(master) => is_part = *master != 0 && !is_vrf(*master, all),
            _ => {}
        }
    }
    let works = flags.contains(LinkFlags::Up) && flags.contains(LinkFlags::LowerUp);
    link.mac = mac.filter(|mac| works && mac.is_station());
    link.can_announce = message.header.link_layer_type == LinkLayerType::Ether
        && flags.contains(LinkFlags::Broadcast)
        && !flags.intersects(LinkFlags::Noarp | LinkFlags::Loopback)
        && !is_part;
    link.active_port = link_info(message).find_map(|info| match info {
        LinkInfo::Data(InfoData::Bond(bond)) => bond.iter().find_map(|info| match info {
            InfoBond::ActivePort(port) => Some(*port),
            _ => None,
        }),
        _ => None,
    });
    link
}

fn link_info(message: &LinkMessage) -> impl Iterator<Item = &LinkInfo> {
    message.attributes.iter().flat_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(all) => all.as_slice(),
        _ => &[],
    })
}

/// On a point-to-point interface `IFA_ADDRESS` is the peer's.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}
