//! Elements of our sets and maps: everything that a service is in the kernel.

use std::fmt;
use std::net::IpAddr;

use backend_api::{Cidr, EndpointAddress, Family, FrontendKey};

use super::chain::ChainName;
use super::code::{Code, remembered};
use super::delivery::Mark;
use super::name::SetName;
use super::rule::protocol_text;

/// One element. Ordered by family and set first, as a transaction sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// In which of the two tables.
    pub family: Family,
    /// In which set or map.
    pub set: SetName,
    /// Its key, unique in the set.
    pub key: Key,
    /// What it maps to.
    pub value: Value,
}

/// The key of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A frontend.
    Frontend(FrontendKey),
    /// A frontend and a number below the size of its pool; from 65,536 on in the node's own.
    Slot(FrontendKey, u32),
    /// A frontend and the slot that its client is remembered to have.
    Remembered(FrontendKey, u16),
    /// A frontend and a range of sources.
    Source(FrontendKey, Cidr),
    /// A number.
    Code(Code),
    /// An address.
    Address(IpAddr),
    /// An address as source and destination.
    Itself(IpAddr),
}

/// What an element maps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Nothing: an element of a set.
    None,
    /// A number.
    Code(Code),
    /// An endpoint.
    Endpoint(EndpointAddress),
    /// A virtual server.
    Mark(Mark),
    /// `goto`
    Goto(ChainName),
}

impl Element {
    /// An element of a set.
    pub fn member(family: Family, set: SetName, key: Key) -> Self {
        Self { family, set, key, value: Value::None }
    }

    /// An element of a map.
    pub fn maps(family: Family, set: SetName, key: Key, value: Value) -> Self {
        Self { family, set, key, value }
    }

    /// What is unique about it.
    pub fn place(&self) -> (Family, SetName, Key) {
        (self.family, self.set, self.key)
    }

    /// Whether several services may need the same one.
    pub fn is_shared(&self) -> bool {
        matches!(self.set, SetName::ClusterIps | SetName::Hairpin)
    }
}

/// As nft prints it between the braces.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Value::None => self.key.fmt(f),
            Value::Code(code) => write!(f, "{} : {code}", self.key),
            Value::Endpoint(endpoint) => write!(f, "{} : {} . {}", self.key, endpoint.ip, endpoint.port),
            Value::Mark(mark) => write!(f, "{} : {mark}", self.key),
            Value::Goto(chain) => write!(f, "{} : goto {chain}", self.key),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Frontend(frontend) => f.write_str(&frontend_text(frontend)),
            Self::Slot(frontend, slot) => write!(f, "{} . {slot}", frontend_text(frontend)),
            Self::Remembered(frontend, slot) => write!(f, "{} . {}", frontend_text(frontend), remembered(slot)),
            Self::Source(frontend, range) => write!(f, "{} . {}", frontend_text(frontend), range_text(range)),
            Self::Code(code) => code.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Itself(address) => write!(f, "{address} . {address}"),
        }
    }
}

fn frontend_text(frontend: FrontendKey) -> String {
    let protocol = protocol_text(frontend.protocol());
    match frontend {
        FrontendKey::Address { address, port, .. } => format!("{address} . {protocol} . {port}"),
        FrontendKey::NodePort { port, .. } => format!("{protocol} . {port}"),
    }
}

fn range_text(range: Cidr) -> String {
    if range.prefix() == range.family().bits() { range.network().to_string() } else { range.to_string() }
}
