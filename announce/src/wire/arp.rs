//! ARP for IPv4 over Ethernet (RFC 826), with the forms that claim, ask and answer (RFC 5227).

use std::net::Ipv4Addr;

use super::{Mac, array};

/// Ethernet, IPv4, lengths 6 and 4.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Whether it asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOperation {
    /// 1.
    Request,
    /// 2.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Whether it asks or answers.
    pub operation: ArpOperation,
    /// The sender's hardware address.
    pub sender_mac: Mac,
    /// The sender's address; 0.0.0.0 in a probe.
    pub sender: Ipv4Addr,
    /// The target's hardware address; zero in a request.
    pub target_mac: Mac,
    /// The address that is asked for, or to which is answered.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Nothing, if it is too short, or not about IPv4 over Ethernet.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if array(bytes, 0)? != KIND {
            return None;
        }
        let operation = match array(bytes, 6)? {
            [0, 1] => ArpOperation::Request,
            [0, 2] => ArpOperation::Reply,
            _ => return None,
        };
        Some(Self {
            operation,
            sender_mac: Mac(array(bytes, 8)?),
            sender: array::<4>(bytes, 14)?.into(),
            target_mac: Mac(array(bytes, 18)?),
            target: array::<4>(bytes, 24)?.into(),
        })
    }

    /// The 28 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let operation = match self.operation {
            ArpOperation::Request => [0, 1],
            ArpOperation::Reply => [0, 2],
        };
        let mut bytes = Vec::with_capacity(28);
        bytes.extend(KIND);
        bytes.extend(operation);
        bytes.extend(self.sender_mac.0);
        bytes.extend(self.sender.octets());
        bytes.extend(self.target_mac.0);
        bytes.extend(self.target.octets());
        bytes
    }

    /// Asks whether a station has `address`, and changes no cache (RFC 5227 §2.1).
    pub fn probe(mac: Mac, address: Ipv4Addr) -> Self {
        Self {
            operation: ArpOperation::Request,
            sender_mac: mac,
            sender: Ipv4Addr::UNSPECIFIED,
            target_mac: Mac::UNKNOWN,
            target: address,
        }
    }

    /// Says that `mac` has `address`, as a request and as a reply.
    ///
    /// Measured: with `arp_accept=0`, Linux takes a reply within its `locktime` of one second only if the target
    /// hardware address is the sender's; the request form overrides at once. Neither makes an entry that is not there.
    pub fn gratuitous(mac: Mac, address: Ipv4Addr) -> [Self; 2] {
        let request = Self {
            operation: ArpOperation::Request,
            sender_mac: mac,
            sender: address,
            target_mac: Mac::UNKNOWN,
            target: address,
        };
        [request, Self { operation: ArpOperation::Reply, target_mac: mac, ..request }]
    }

    /// Answers this request: its target is at `mac`.
    pub fn answer(&self, mac: Mac) -> Self {
        Self {
            operation: ArpOperation::Reply,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }

    /// Whether it asks without claiming: its sender has no address yet.
    pub fn is_probe(&self) -> bool {
        self.operation == ArpOperation::Request && self.sender.is_unspecified()
    }
}
