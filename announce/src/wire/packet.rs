//! What a frame means here: ARP, neighbour discovery, or a heartbeat in one of its two wrappings.

use std::net::Ipv4Addr;

use super::checksum::Sum;
use super::{Arp, EtherType, Frame, Mac, Ndp, array};

/// "RFC3692-style experiment" of RFC 4727 §2.4.2, in the range that switches with IGMP snooping forward to all ports
/// (RFC 4541 §2.1.2).
pub const HEARTBEAT_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);

/// "RFC3692-style experiment" of RFC 4727 §6, for UDP.
pub const HEARTBEAT_PORT: u16 = 1021;

/// The group's hardware address (RFC 1112 §6.4).
const GROUP_MAC: Mac = Mac([0x01, 0x00, 0x5e, 0x00, 0x00, 0xfe]);

const UDP: u8 = 17;
const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// How heartbeats are wrapped. A receiver understands both, so nodes may differ.
///
/// There is no third wrapping in IPv6: a heartbeat is about the segment, not about a family, and one with source
/// 0.0.0.0 passes on a segment of which no station has an IPv4 address. Switches with MLD snooping may withhold any
/// IPv6 group but `ff02::1`; 224.0.0.x they must not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// UDP to [`HEARTBEAT_GROUP`], port [`HEARTBEAT_PORT`], with time to live 255.
    #[default]
    Multicast,
    /// EtherType 0x88B5 to every station: passes wherever ARP does, unless the type is filtered.
    Broadcast,
}

/// What the payload of a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// ARP.
    Arp(Arp),
    /// A neighbour solicitation or advertisement.
    Ndp(Ndp),
    /// A heartbeat that is not decoded yet.
    Heartbeat(&'a [u8]),
}

impl<'a> Packet<'a> {
    /// Nothing, if it is none of these, or wrong.
    pub fn decode(frame: &Frame<'a>) -> Option<Self> {
        match frame.ether_type {
            EtherType::Arp => Arp::decode(frame.payload).map(Self::Arp),
            EtherType::Ipv6 => Ndp::decode(frame.payload).map(Self::Ndp),
            EtherType::Ipv4 => datagram(frame.payload).map(Self::Heartbeat),
            EtherType::Heartbeat => {
                let length = usize::from(u16::from_be_bytes(array(frame.payload, 0)?));
                frame.payload.get(2..2 + length).map(Self::Heartbeat)
            }
        }
    }
}

impl Transport {
    /// The frame that carries `heartbeat` from the station `mac`, whose IPv4 address may be unspecified.
    pub fn wrap(self, mac: Mac, source: Ipv4Addr, heartbeat: &[u8]) -> Vec<u8> {
        match self {
            Self::Multicast => {
                let payload = &wrapped(source, heartbeat);
                Frame { destination: GROUP_MAC, source: mac, ether_type: EtherType::Ipv4, payload }.encode()
            }
            Self::Broadcast => {
                let mut payload = (heartbeat.len() as u16).to_be_bytes().to_vec(); // Ethernet pads, so it is said
                payload.extend(heartbeat);
                let ether_type = EtherType::Heartbeat;
                Frame { destination: Mac::BROADCAST, source: mac, ether_type, payload: &payload }.encode()
            }
        }
    }
}

/// The payload of a datagram to our group and port that no router has forwarded.
fn datagram(packet: &[u8]) -> Option<&[u8]> {
    let header: [u8; IPV4_HEADER] = array(packet, 0)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    let destination: Ipv4Addr = array::<4>(&header, 16)?.into();
    let ours = header[0] == 0x45 && header[8] == 255 && header[9] == UDP && destination == HEARTBEAT_GROUP;
    if !ours || fragment != 0 || Sum::default().bytes(&header).complement() != 0 {
        return None;
    }
    let udp = packet.get(IPV4_HEADER..length)?;
    if udp.len() < UDP_HEADER || u16::from_be_bytes([udp[2], udp[3]]) != HEARTBEAT_PORT {
        return None;
    }
    let source: Ipv4Addr = array::<4>(&header, 12)?.into();
    let sum = Sum::ipv4(source, destination, udp.len(), UDP).bytes(udp);
    let whole = usize::from(u16::from_be_bytes([udp[4], udp[5]])) == udp.len();
    (whole && sum.complement() == 0).then_some(&udp[UDP_HEADER..])
}

fn wrapped(source: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let udp_length = UDP_HEADER + payload.len();
    let length = (IPV4_HEADER + udp_length) as u16;
    let mut packet = vec![0x45, 0xc0]; // DSCP 48: network control, as routing protocols use
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 255, UDP, 0, 0]);
    packet.extend(source.octets());
    packet.extend(HEARTBEAT_GROUP.octets());
    let sum = Sum::default().bytes(&packet).complement();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(HEARTBEAT_PORT.to_be_bytes());
    packet.extend(HEARTBEAT_PORT.to_be_bytes());
    packet.extend((udp_length as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    let udp = &packet[IPV4_HEADER..];
    let sum = Sum::ipv4(source, HEARTBEAT_GROUP, udp_length, UDP).bytes(udp).complement();
    let sum = if sum == 0 { 0xffff } else { sum }; // zero means "none" (RFC 768)
    packet[IPV4_HEADER + 6..IPV4_HEADER + 8].copy_from_slice(&sum.to_be_bytes());
    packet
}
