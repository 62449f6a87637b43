//! Connection tracking: which flows there are, and how to forget one.

use std::net::IpAddr;

use super::error::ReadError;
use super::expr::Family;

/// A connection to ctnetlink.
#[derive(Debug)]
pub struct Conntrack {}

/// A tracked flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its family.
    pub family: Family,
    /// Its protocol: `IPPROTO_UDP` is 17.
    pub protocol: u8,
    /// What its first packet had, before any rewrite.
    pub original: Tuple,
    /// What its answers have: the source is who really answers.
    pub reply: Tuple,
    /// `IPS_*` (linux/netfilter/nf_conntrack_common.h).
    pub status: u32,
    /// Its zone; 0 unless somebody uses zones.
    pub zone: u16,
    /// The kernel's name for exactly this flow: a later one with the same addresses has another.
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

impl Conntrack {
    /// Opens the socket in the network namespace of this thread.
    ///
    /// # Errors
    /// The socket's.
    pub fn open() -> std::io::Result<Self> {
        Ok(Conntrack {})
    }

    /// Shows every flow of a family and a protocol to `each`.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn flows(&mut self, _family: Family, _protocol: u8, _each: impl FnMut(Flow)) -> Result<(), ReadError> {
        todo!()
    }

    /// Forgets exactly this flow. False if it was gone already.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn delete(&mut self, _flow: &Flow) -> Result<bool, ReadError> {
        todo!()
    }
}
