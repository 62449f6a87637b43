//! Neighbour solicitations and advertisements (RFC 4861 §4.3, §4.4) as whole IPv6 packets.

use std::net::Ipv6Addr;

use super::checksum::Sum;
use super::{Mac, array};

const IPV6_HEADER: usize = 40;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Type, code, checksum, flags, target.
const FIXED: usize = 24;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// All nodes of the link, `ff02::1`.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// One of the two messages that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ndp {
    /// Asks for a target.
    Solicitation(Solicitation),
    /// Says where a target is.
    Advertisement(Advertisement),
}

/// Asks where `target` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// The asker; unspecified while it checks for a duplicate (RFC 4862 §5.4).
    pub source: Ipv6Addr,
    /// The target's solicited-node group, or the target itself.
    pub destination: Ipv6Addr,
    /// The address that is asked for.
    pub target: Ipv6Addr,
    /// The asker's hardware address, if it says so.
    pub source_mac: Option<Mac>,
}

/// Says that `target` is at `target_mac`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// From which address.
    pub source: Ipv6Addr,
    /// The asker, or all nodes.
    pub destination: Ipv6Addr,
    /// The address that it is about.
    pub target: Ipv6Addr,
    /// R: its sender is a router.
    pub router: bool,
    /// S: it answers a solicitation.
    pub solicited: bool,
    /// O: it replaces another hardware address.
    pub overrides: bool,
    /// Where the target is.
    pub target_mac: Option<Mac>,
}

/// The group that those listen to who have `address` (RFC 4291 §2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The hardware address of an IPv6 group (RFC 2464 §7).
pub fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

impl Ndp {
    /// Nothing, unless every check of RFC 4861 §7.1.1 and §7.1.2 holds: hop limit, code, checksum, lengths, target,
    /// options, and what a solicitation from nowhere may hold.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let header: [u8; IPV6_HEADER] = array(packet, 0)?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        // An extension header would stand in place of ICMPv6: RFC 6980 forbids fragments, nothing else is in use.
        if header[0] >> 4 != 6 || header[6] != ICMPV6 || header[7] != 255 || length < FIXED {
            return None;
        }
        let source: Ipv6Addr = array::<16>(&header, 8)?.into();
        let destination: Ipv6Addr = array::<16>(&header, 24)?.into();
        let message = packet.get(IPV6_HEADER..IPV6_HEADER + length)?;
        let sum = Sum::ipv6(source, destination, length, ICMPV6).bytes(message);
        let target: Ipv6Addr = array::<16>(message, 8)?.into();
        if message[1] != 0 || sum.complement() != 0 || target.is_multicast() || source.is_multicast() {
            return None;
        }
        let options = &message[FIXED..];
        match message[0] {
            SOLICITATION => solicitation(source, destination, target, options).map(Self::Solicitation),
            ADVERTISEMENT => advertisement(source, destination, target, message[4], options).map(Self::Advertisement),
            _ => None,
        }
    }

    /// The IPv6 packet, with hop limit 255.
    pub fn encode(&self) -> Vec<u8> {
        let (source, destination, target, kind, flags, option) = match self {
            Self::Solicitation(Solicitation { source, destination, target, source_mac }) => {
                (source, destination, target, SOLICITATION, 0, source_mac.map(|mac| (SOURCE_LINK_LAYER, mac)))
            }
            Self::Advertisement(message) => {
                let flags = [(message.router, ROUTER), (message.solicited, SOLICITED), (message.overrides, OVERRIDE)];
                let flags = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum();
                let option = message.target_mac.map(|mac| (TARGET_LINK_LAYER, mac));
                (&message.source, &message.destination, &message.target, ADVERTISEMENT, flags, option)
            }
        };
        let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
        message.extend(target.octets());
        if let Some((kind, mac)) = option {
            message.extend([kind, 1]);
            message.extend(mac.0);
        }
        let sum = Sum::ipv6(*source, *destination, message.len(), ICMPV6).bytes(&message).complement();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = Vec::with_capacity(IPV6_HEADER + message.len());
        packet.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, 255]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(message);
        packet
    }

    /// Asks whether a station has `address`, as duplicate address detection does (RFC 4862 §5.4.2).
    pub fn probe(address: Ipv6Addr) -> Self {
        let destination = solicited_node(address);
        Self::Solicitation(Solicitation {
            source: Ipv6Addr::UNSPECIFIED,
            destination,
            target: address,
            source_mac: None,
        })
    }

    /// Says to all nodes that `address` is at `mac`. S=0, O=1: measured, Linux takes it at once.
    pub fn unsolicited(mac: Mac, address: Ipv6Addr) -> Self {
        Self::Advertisement(Advertisement {
            source: address,
            destination: ALL_NODES,
            target: address,
            router: false,
            solicited: false,
            overrides: true,
            target_mac: Some(mac),
        })
    }
}

impl Solicitation {
    /// Answers it: the target is at `mac`.
    ///
    /// S=1, O=1: measured, S=1, O=0 does not replace another address that Linux has cached. A station that checks
    /// for a duplicate has no address yet, so all nodes are told (RFC 4861 §7.2.4).
    pub fn answer(&self, mac: Mac) -> Advertisement {
        let checks = self.source.is_unspecified();
        Advertisement {
            source: self.target,
            destination: if checks { ALL_NODES } else { self.source },
            target: self.target,
            router: false,
            solicited: !checks,
            overrides: true,
            target_mac: Some(mac),
        }
    }
}

fn solicitation(source: Ipv6Addr, destination: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Option<Solicitation> {
    let source_mac = link_layer(options, SOURCE_LINK_LAYER)?;
    if source.is_unspecified() && (source_mac.is_some() || destination != solicited_node(target)) {
        return None;
    }
    Some(Solicitation { source, destination, target, source_mac })
}

fn advertisement(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    flags: u8,
    options: &[u8],
) -> Option<Advertisement> {
    let solicited = flags & SOLICITED != 0;
    if solicited && destination.is_multicast() {
        return None;
    }
    Some(Advertisement {
        source,
        destination,
        target,
        router: flags & ROUTER != 0,
        solicited,
        overrides: flags & OVERRIDE != 0,
        target_mac: link_layer(options, TARGET_LINK_LAYER)?,
    })
}

/// The hardware address in the first option of this kind. Outer `None`: an option's length is zero or goes too far.
fn link_layer(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let length = usize::from(units) * 8;
        if length == 0 {
            return None;
        }
        let option = options.get(..length)?;
        if kind == wanted && length == 8 {
            found = found.or(Some(Mac(array(option, 2)?)));
        }
        options = &options[length..];
    }
    options.is_empty().then_some(found)
}
