//! Ethernet II frames without a VLAN tag.

use super::{Mac, array};

/// Bytes before the payload.
pub const HEADER: usize = 14;

/// What a frame carries, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtherType {
    /// 0x0806, RFC 826.
    Arp,
    /// 0x0800.
    Ipv4,
    /// 0x86DD.
    Ipv6,
    /// 0x88B5, "Local Experimental Ethertype 1" of IEEE 802: heartbeats, where IPv4 multicast does not pass.
    Heartbeat,
}

/// A frame: the payload may have padding after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// To which station or group.
    pub destination: Mac,
    /// From which station.
    pub source: Mac,
    /// What is in it.
    pub ether_type: EtherType,
    /// Padded to 46 bytes by most senders.
    pub payload: &'a [u8],
}

impl EtherType {
    fn number(self) -> u16 {
        match self {
            Self::Arp => 0x0806,
            Self::Ipv4 => 0x0800,
            Self::Ipv6 => 0x86dd,
            Self::Heartbeat => 0x88b5,
        }
    }
}

impl<'a> Frame<'a> {
    /// Nothing, if it is too short, tagged, of another type, or does not come from one station.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let number = u16::from_be_bytes(array(bytes, 12)?);
        let types = [EtherType::Arp, EtherType::Ipv4, EtherType::Ipv6, EtherType::Heartbeat];
        let ether_type = types.into_iter().find(|ether_type| ether_type.number() == number)?;
        let source = Mac(array(bytes, 6)?);
        source.is_station().then_some(Self {
            destination: Mac(array(bytes, 0)?),
            source,
            ether_type,
            payload: bytes.get(HEADER..)?,
        })
    }

    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend(self.destination.0);
        bytes.extend(self.source.0);
        bytes.extend(self.ether_type.number().to_be_bytes());
        bytes.extend(self.payload);
        bytes
    }
}
