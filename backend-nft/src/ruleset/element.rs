//! Elements of our sets and maps: everything that a service is in the kernel.

use std::net::IpAddr;

use backend_api::{Cidr, EndpointAddress, Family, FrontendKey};

use super::chain::ChainName;
use super::code::Code;
use super::delivery::Mark;
use super::name::SetName;

/// One element. Ordered by family and set first, as a transaction sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Element {
    /// In which of the two tables.
    pub(crate) family: Family,
    /// In which set or map.
    pub(crate) set: SetName,
    /// Its key, unique in the set.
    pub(crate) key: Key,
    /// What it maps to.
    pub(crate) value: Value,
}

/// The key of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
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
pub(crate) enum Value {
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

impl Key {
    /// The frontend that it is about, if it is about one.
    pub(crate) fn frontend(&self) -> Option<FrontendKey> {
        match *self {
            Key::Frontend(frontend)
            | Key::Slot(frontend, _)
            | Key::Remembered(frontend, _)
            | Key::Source(frontend, _) => Some(frontend),
            Key::Code(_) | Key::Address(_) | Key::Itself(_) => None,
        }
    }
}

impl Element {
    /// An element of a set.
    pub(crate) fn member(family: Family, set: SetName, key: Key) -> Self {
        Self { family, set, key, value: Value::None }
    }

    /// An element of a map.
    pub(crate) fn maps(family: Family, set: SetName, key: Key, value: Value) -> Self {
        Self { family, set, key, value }
    }

    /// What is unique about it.
    pub(crate) fn place(&self) -> (Family, SetName, Key) {
        (self.family, self.set, self.key)
    }

    /// Whether several services may need the same one.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.set, SetName::ClusterIps | SetName::Hairpin)
    }
}

/// The value of the element at `place`; none if there is none. `elements` are in order.
pub(crate) fn value_at(elements: &[Element], place: (Family, SetName, Key)) -> Option<Value> {
    let at = elements.binary_search_by(|element| element.place().cmp(&place)).ok()?;
    Some(elements[at].value)
}
