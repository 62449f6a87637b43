//! Bytes ⇄ values: Ethernet frames, ARP, neighbour discovery and the heartbeats of the election.
//!
//! ```text
//! frame bytes ─► Frame::decode ─► Packet::decode ─► Arp | Ndp | heartbeat bytes ─► Message::decode
//! ```
//!
//! Every parser is total: any bytes give a value or nothing, and never a panic
//! (`tests/wire.rs::any_bytes_can_be_read`). `decode(encode(x)) == x` holds for every value.

mod arp;
mod checksum;
mod ethernet;
pub mod heartbeat;
mod ndp;
mod packet;

use std::fmt;

pub use arp::{Arp, ArpOperation};
pub use ethernet::{EtherType, Frame, HEADER as ETHERNET_HEADER};
pub use ndp::{Advertisement, Ndp, Solicitation, multicast_mac, solicited_node};
pub use packet::{HEARTBEAT_GROUP, HEARTBEAT_PORT, Packet, Transport};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// To every station.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// In an ARP request, where it is not known.
    pub const UNKNOWN: Self = Self([0; 6]);

    /// Whether it is one station's address: neither a group's, nor the broadcast address, nor zero.
    pub fn is_station(self) -> bool {
        self.0[0] & 1 == 0 && self != Self::UNKNOWN
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first `N` bytes of `bytes` at `offset`, if there are as many.
fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}
