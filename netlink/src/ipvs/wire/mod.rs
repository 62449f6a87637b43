//! Between values and the bytes of generic netlink, both ways, pure and total.
//!
//! Numbers are in the machine's order, but for ports, IPv4 netmasks and addresses. An object that lacks what makes it
//! one is none; whatever else it lacks has the kernel's default, and what it has besides is skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Family;
use crate::attr::{Attr, Attrs, put, put_be16, put_ne16, put_ne32, put_nested, put_str};
use crate::message::{self, Message};

use super::abi::*;
use super::operation::{Operation, Timeouts};
use super::server::*;

impl Operation {
    /// Appends the operation as one message that asks for an acknowledgement: what [`super::Ipvs::execute`] sends.
    /// `family` is the number that generic netlink gave to IPVS, and becomes the type of the message.
    pub fn put(&self, bytes: &mut Vec<u8>, family: u16) {
        let start = message::begin_generic(bytes, family, command(self), IPVS_GENL_VERSION);
        message::flag(bytes, start, NLM_F_ACK);
        match self {
            Operation::AddVirtual(server) | Operation::EditVirtual(server) => put_virtual(bytes, server),
            Operation::RemoveVirtual(key) | Operation::Zero(key) => put_key(bytes, key),
            Operation::AddReal(key, server) | Operation::EditReal(key, server) => {
                put_key(bytes, key);
                put_real(bytes, server);
            }
            Operation::RemoveReal(key, address) => {
                put_key(bytes, key);
                put_nested(bytes, IPVS_CMD_ATTR_DEST, |bytes| put_endpoint(bytes, *address));
            }
            Operation::ZeroAll | Operation::Flush => {}
            Operation::SetTimeouts(timeouts) => put_timeouts(bytes, *timeouts),
        }
        message::end(bytes, start);
    }
}

impl VirtualServerEntry {
    /// Decodes a message of a dump of virtual servers (`IPVS_CMD_GET_SERVICE`). None if it has no key. The type and the
    /// command of the message are not looked at.
    pub fn decode(message: &Message<'_>) -> Option<Self> {
        read_virtual(message.attrs())
    }
}

impl RealServerEntry {
    /// Decodes a message of a dump of real servers (`IPVS_CMD_GET_DEST`). None if it has no address or port.
    /// `virtual_family` is the family of the virtual server, which is the real server's where the kernel does not tell
    /// (before Linux 3.18).
    pub fn decode(message: &Message<'_>, virtual_family: Family) -> Option<Self> {
        read_real(message.attrs(), virtual_family)
    }
}

/// A request that has no object, or one virtual server as its object.
pub(super) fn request(family: u16, command: u8, object: Option<&VirtualKey>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = message::begin_generic(&mut bytes, family, command, IPVS_GENL_VERSION);
    if let Some(key) = object {
        put_key(&mut bytes, key);
    }
    message::end(&mut bytes, start);
    bytes
}

/// Asks for the id of a family of generic netlink.
pub(super) fn family_request(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = message::begin_generic(&mut bytes, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_VERSION);
    put_str(&mut bytes, CTRL_ATTR_FAMILY_NAME, name);
    message::end(&mut bytes, start);
    bytes
}

/// The id of a family, from the answer to [`family_request`].
pub(super) fn read_family(attrs: Attrs<'_>) -> Option<u16> {
    attrs.find(CTRL_ATTR_FAMILY_ID)?.ne16()
}

fn command(operation: &Operation) -> u8 {
    match operation {
        Operation::AddVirtual(_) => IPVS_CMD_NEW_SERVICE,
        Operation::EditVirtual(_) => IPVS_CMD_SET_SERVICE,
        Operation::RemoveVirtual(_) => IPVS_CMD_DEL_SERVICE,
        Operation::AddReal(..) => IPVS_CMD_NEW_DEST,
        Operation::EditReal(..) => IPVS_CMD_SET_DEST,
        Operation::RemoveReal(..) => IPVS_CMD_DEL_DEST,
        Operation::Zero(_) | Operation::ZeroAll => IPVS_CMD_ZERO,
        Operation::Flush => IPVS_CMD_FLUSH,
        Operation::SetTimeouts(_) => IPVS_CMD_SET_CONFIG,
    }
}

fn put_key(bytes: &mut Vec<u8>, key: &VirtualKey) {
    put_nested(bytes, IPVS_CMD_ATTR_SERVICE, |bytes| put_key_parts(bytes, key));
}

fn put_key_parts(bytes: &mut Vec<u8>, key: &VirtualKey) {
    put_ne16(bytes, IPVS_SVC_ATTR_AF, abi_family(key.family()));
    match *key {
        VirtualKey::Address { protocol, address, port } => {
            put_ne16(bytes, IPVS_SVC_ATTR_PROTOCOL, protocol);
            put_address(bytes, IPVS_SVC_ATTR_ADDR, address);
            put_be16(bytes, IPVS_SVC_ATTR_PORT, port);
        }
        VirtualKey::Mark { mark, .. } => put_ne32(bytes, IPVS_SVC_ATTR_FWMARK, mark),
    }
}

fn put_virtual(bytes: &mut Vec<u8>, server: &VirtualServer) {
    put_nested(bytes, IPVS_CMD_ATTR_SERVICE, |bytes| {
        put_key_parts(bytes, &server.key);
        put_str(bytes, IPVS_SVC_ATTR_SCHED_NAME, &server.scheduler);
        if let Some(engine) = &server.engine {
            put_str(bytes, IPVS_SVC_ATTR_PE_NAME, engine);
        }
        let (persistent, timeout, clients) = match server.persistence {
            Some(Persistence { timeout, clients }) => (IP_VS_SVC_F_PERSISTENT, timeout, clients),
            None => (0, 0, ClientMask::address(server.key.family())),
        };
        // `struct ip_vs_flags`: the flags, and which of them to set.
        let [a, b, c, d] = (server.flags.abi() | persistent).to_ne_bytes();
        put(bytes, IPVS_SVC_ATTR_FLAGS, &[a, b, c, d, 0xff, 0xff, 0xff, 0xff]);
        put_ne32(bytes, IPVS_SVC_ATTR_TIMEOUT, timeout);
        match clients {
            ClientMask::V4(mask) => put(bytes, IPVS_SVC_ATTR_NETMASK, &mask.octets()),
            ClientMask::V6(prefix) => put_ne32(bytes, IPVS_SVC_ATTR_NETMASK, prefix),
        }
    });
}

fn put_real(bytes: &mut Vec<u8>, server: &RealServer) {
    put_nested(bytes, IPVS_CMD_ATTR_DEST, |bytes| {
        put_endpoint(bytes, server.address);
        put_ne32(bytes, IPVS_DEST_ATTR_FWD_METHOD, server.forwarding.abi());
        put_ne32(bytes, IPVS_DEST_ATTR_WEIGHT, server.weight);
        put_ne32(bytes, IPVS_DEST_ATTR_U_THRESH, server.thresholds.upper);
        put_ne32(bytes, IPVS_DEST_ATTR_L_THRESH, server.thresholds.lower);
    });
}

fn put_endpoint(bytes: &mut Vec<u8>, address: SocketAddr) {
    put_address(bytes, IPVS_DEST_ATTR_ADDR, address.ip());
    put_be16(bytes, IPVS_DEST_ATTR_PORT, address.port());
    put_ne16(bytes, IPVS_DEST_ATTR_ADDR_FAMILY, abi_family(Family::of(address.ip())));
}

fn put_timeouts(bytes: &mut Vec<u8>, timeouts: Timeouts) {
    put_ne32(bytes, IPVS_CMD_ATTR_TIMEOUT_TCP, timeouts.tcp);
    put_ne32(bytes, IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, timeouts.tcp_fin);
    put_ne32(bytes, IPVS_CMD_ATTR_TIMEOUT_UDP, timeouts.udp);
}

/// `union nf_inet_addr`: 16 bytes for either family.
fn put_address(bytes: &mut Vec<u8>, kind: u16, address: IpAddr) {
    let mut union = [0; 16];
    match address {
        IpAddr::V4(address) => union[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => union = address.octets(),
    }
    put(bytes, kind, &union);
}

fn abi_family(family: Family) -> u16 {
    match family {
        Family::Ipv4 => AF_INET,
        Family::Ipv6 => AF_INET6,
    }
}

/// The virtual server in a message.
pub(super) fn read_virtual(attrs: Attrs<'_>) -> Option<VirtualServerEntry> {
    let attrs = attrs.find(IPVS_CMD_ATTR_SERVICE)?.nested();
    let key = read_key(attrs)?;
    let flags = number(attrs, IPVS_SVC_ATTR_FLAGS);
    let persistence = (flags & IP_VS_SVC_F_PERSISTENT != 0).then(|| Persistence {
        timeout: number(attrs, IPVS_SVC_ATTR_TIMEOUT),
        clients: read_mask(attrs, key.family()),
    });
    let server = VirtualServer {
        key,
        scheduler: text(attrs, IPVS_SVC_ATTR_SCHED_NAME).unwrap_or_default(),
        flags: Flags::from_abi(flags),
        persistence,
        engine: text(attrs, IPVS_SVC_ATTR_PE_NAME),
    };
    Some(VirtualServerEntry { server, statistics: read_statistics(attrs, IPVS_SVC_ATTR_STATS64, IPVS_SVC_ATTR_STATS) })
}

fn read_key(attrs: Attrs<'_>) -> Option<VirtualKey> {
    let family = attrs.find(IPVS_SVC_ATTR_AF)?.ne16()?;
    if let Some(mark) = attrs.find(IPVS_SVC_ATTR_FWMARK) {
        return Some(VirtualKey::Mark { family: read_abi_family(family)?, mark: mark.ne32()? });
    }
    Some(VirtualKey::Address {
        protocol: attrs.find(IPVS_SVC_ATTR_PROTOCOL)?.ne16()?,
        address: read_address(attrs.find(IPVS_SVC_ATTR_ADDR)?, read_abi_family(family)?)?,
        port: attrs.find(IPVS_SVC_ATTR_PORT)?.be16()?,
    })
}

fn read_mask(attrs: Attrs<'_>, family: Family) -> ClientMask {
    let mask = attrs.find(IPVS_SVC_ATTR_NETMASK);
    let read = match family {
        Family::Ipv4 => mask.and_then(Attr::be32).map(|mask| ClientMask::V4(Ipv4Addr::from_bits(mask))),
        Family::Ipv6 => mask.and_then(Attr::ne32).map(ClientMask::V6),
    };
    read.unwrap_or(ClientMask::address(family))
}

/// The real server in a message; its family is the virtual server's where the kernel does not say (before Linux 3.18).
pub(super) fn read_real(attrs: Attrs<'_>, virtual_family: Family) -> Option<RealServerEntry> {
    let attrs = attrs.find(IPVS_CMD_ATTR_DEST)?.nested();
    let family = match attrs.find(IPVS_DEST_ATTR_ADDR_FAMILY) {
        Some(family) => read_abi_family(family.ne16()?)?,
        None => virtual_family,
    };
    let server = RealServer {
        address: SocketAddr::new(
            read_address(attrs.find(IPVS_DEST_ATTR_ADDR)?, family)?,
            attrs.find(IPVS_DEST_ATTR_PORT)?.be16()?,
        ),
        forwarding: Forwarding::from_abi(number(attrs, IPVS_DEST_ATTR_FWD_METHOD)),
        weight: number(attrs, IPVS_DEST_ATTR_WEIGHT),
        thresholds: Thresholds {
            upper: number(attrs, IPVS_DEST_ATTR_U_THRESH),
            lower: number(attrs, IPVS_DEST_ATTR_L_THRESH),
        },
    };
    let connections = Connections {
        active: number(attrs, IPVS_DEST_ATTR_ACTIVE_CONNS),
        inactive: number(attrs, IPVS_DEST_ATTR_INACT_CONNS),
        persistent: number(attrs, IPVS_DEST_ATTR_PERSIST_CONNS),
    };
    let statistics = read_statistics(attrs, IPVS_DEST_ATTR_STATS64, IPVS_DEST_ATTR_STATS);
    Some(RealServerEntry { server, connections, statistics })
}

/// Timeouts, from the answer to `IPVS_CMD_GET_CONFIG`.
pub(super) fn read_timeouts(attrs: Attrs<'_>) -> Timeouts {
    Timeouts {
        tcp: number(attrs, IPVS_CMD_ATTR_TIMEOUT_TCP),
        tcp_fin: number(attrs, IPVS_CMD_ATTR_TIMEOUT_TCP_FIN),
        udp: number(attrs, IPVS_CMD_ATTR_TIMEOUT_UDP),
    }
}

/// IPVS's version and the size of its connection table, from the answer to `IPVS_CMD_GET_INFO`.
pub(super) fn read_version(attrs: Attrs<'_>) -> Option<(u32, u32)> {
    Some((attrs.find(IPVS_INFO_ATTR_VERSION)?.ne32()?, attrs.find(IPVS_INFO_ATTR_CONN_TAB_SIZE)?.ne32()?))
}

/// The wide statistics if there are any; in the narrow ones packets and connections have 32 bits, bytes 64.
fn read_statistics(attrs: Attrs<'_>, wide: u16, narrow: u16) -> Statistics {
    let Some(statistics) = attrs.find(wide).or(attrs.find(narrow)).map(Attr::nested) else {
        return Statistics::default();
    };
    Statistics {
        connections: count(statistics, IPVS_STATS_ATTR_CONNS),
        packets_in: count(statistics, IPVS_STATS_ATTR_INPKTS),
        packets_out: count(statistics, IPVS_STATS_ATTR_OUTPKTS),
        bytes_in: count(statistics, IPVS_STATS_ATTR_INBYTES),
        bytes_out: count(statistics, IPVS_STATS_ATTR_OUTBYTES),
    }
}

/// A number of 64 bits, or of 32; 0 if there is none.
fn count(attrs: Attrs<'_>, kind: u16) -> u64 {
    attrs.find(kind).and_then(|attr| attr.ne64().or(attr.ne32().map(u64::from))).unwrap_or_default()
}

/// A number of 32 bits; 0 if there is none.
fn number(attrs: Attrs<'_>, kind: u16) -> u32 {
    attrs.find(kind).and_then(Attr::ne32).unwrap_or_default()
}

fn text(attrs: Attrs<'_>, kind: u16) -> Option<String> {
    attrs.find(kind).and_then(Attr::str).map(str::to_owned)
}

fn read_address(attr: Attr<'_>, family: Family) -> Option<IpAddr> {
    match family {
        Family::Ipv4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(attr.payload.get(..4)?).ok()?).into()),
        Family::Ipv6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(attr.payload.get(..16)?).ok()?).into()),
    }
}

fn read_abi_family(family: u16) -> Option<Family> {
    match family {
        AF_INET => Some(Family::Ipv4),
        AF_INET6 => Some(Family::Ipv6),
        _ => None,
    }
}

#[cfg(test)]
mod laws;
