//! Elements to and from the bytes of their keys and values.
//!
//! Fields of a concatenation follow each other, each padded to 4 bytes: addresses and ports in network order, numbers
//! in the machine's.
//!
//! **Invariant:** what is written is read back the same (`tests::every_element_is_read_back`).

use std::net::IpAddr;

use backend_api::{Cidr, EndpointAddress, Family, FrontendKey, Protocol};

use super::chain::ChainName;
use super::code::{Code, remembered, slot_of};
use super::delivery::Mark;
use super::element::{Element, Key, Value};
use super::name::{By, SetName};
use netlink::nftables as kernel;
use netlink::nftables::{Bound, Verdict};

/// The bytes of one element, in a buffer that is used again for the next.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    key: Vec<u8>,
    key_end: Vec<u8>,
    value: Vec<u8>,
    chain: String,
}

impl Encoder {
    /// The element as the kernel's; it borrows from this encoder.
    pub(crate) fn encode(&mut self, element: &Element) -> kernel::Element<'_> {
        self.key.clear();
        self.key_end.clear();
        self.value.clear();
        put_key(&mut self.key, &mut self.key_end, element.key);
        let value = match element.value {
            Value::None => kernel::Value::None,
            Value::Code(code) => {
                put_number(&mut self.value, code.0);
                kernel::Value::Bytes(&self.value)
            }
            Value::Endpoint(endpoint) => {
                put_address(&mut self.value, endpoint.ip);
                put_port(&mut self.value, endpoint.port);
                kernel::Value::Bytes(&self.value)
            }
            Value::Mark(mark) => {
                put_number(&mut self.value, mark.0);
                kernel::Value::Bytes(&self.value)
            }
            Value::Goto(chain) => {
                self.chain = chain.to_string();
                kernel::Value::Verdict(Verdict::Goto(&self.chain))
            }
        };
        let key_end = (!self.key_end.is_empty()).then_some(&*self.key_end);
        kernel::Element { key: &self.key, key_end, value, ..kernel::Element::key(&[]) }
    }
}

/// The bytes of a key alone.
pub(crate) fn key_bytes(key: Key) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_key(&mut bytes, &mut Vec::new(), key);
    bytes
}

/// The element that the kernel shows in `set`; none if it is none that we could have put there.
pub(crate) fn decode(family: Family, set: SetName, element: &kernel::Element<'_>) -> Option<Element> {
    if element.bound != Bound::Start || element.timeout.is_some() {
        return None;
    }
    let key = take_key(family, set, element)?;
    let value = match (set, element.value) {
        (
            SetName::Policies(_) | SetName::StickySlots(_) | SetName::MasqueradePolicies,
            kernel::Value::Verdict(verdict),
        ) => match verdict {
            Verdict::Goto(chain) => Value::Goto(ChainName::parse(chain)?),
            _ => return None,
        },
        (SetName::Endpoints(_) | SetName::StickyEndpoints(_), kernel::Value::Bytes(bytes)) if bytes.len() == 4 => {
            Value::Mark(Mark(Reader(bytes).number()?))
        }
        (SetName::Endpoints(_) | SetName::StickyEndpoints(_), kernel::Value::Bytes(bytes)) => {
            let mut rest = Reader(bytes);
            let endpoint = EndpointAddress { ip: rest.address(family)?, port: rest.port()? };
            rest.end(Value::Endpoint(endpoint))?
        }
        (_, kernel::Value::Bytes(bytes)) => {
            let mut rest = Reader(bytes);
            let code = Code(rest.number()?);
            rest.end(Value::Code(code))?
        }
        (_, kernel::Value::None) => Value::None,
        (_, kernel::Value::Verdict(_)) => return None,
    };
    Some(Element { family, set, key, value })
}

fn put_key(out: &mut Vec<u8>, end: &mut Vec<u8>, key: Key) {
    match key {
        Key::Frontend(frontend) => put_frontend(out, frontend),
        Key::Slot(frontend, slot) => {
            put_frontend(out, frontend);
            put_number(out, slot);
        }
        Key::Remembered(frontend, slot) => {
            put_frontend(out, frontend);
            put_number(out, remembered(slot).0);
        }
        Key::Source(frontend, range) => {
            put_frontend(out, frontend);
            put_address(out, range.network());
            put_frontend(end, frontend);
            put_address(end, range.last());
        }
        Key::Code(code) => put_number(out, code.0),
        Key::Address(address) => put_address(out, address),
        Key::Itself(address) => {
            put_address(out, address);
            put_address(out, address);
        }
    }
}

fn put_frontend(out: &mut Vec<u8>, frontend: FrontendKey) {
    if let FrontendKey::Address { address, .. } = frontend {
        put_address(out, address);
    }
    out.extend_from_slice(&[frontend.protocol().number(), 0, 0, 0]);
    put_port(out, frontend.port());
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
}

fn put_port(out: &mut Vec<u8>, port: u16) {
    let [high, low] = port.to_be_bytes();
    out.extend_from_slice(&[high, low, 0, 0]);
}

fn put_number(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_ne_bytes());
}

fn take_key(family: Family, set: SetName, element: &kernel::Element<'_>) -> Option<Key> {
    let mut rest = Reader(element.key);
    let key = match set {
        SetName::Services(by)
        | SetName::Inside(by)
        | SetName::Outside(by)
        | SetName::AffinityIds(by)
        | SetName::Restricted(by)
        | SetName::Masquerade(by) => Key::Frontend(rest.frontend(family, by)?),
        SetName::Endpoints(by) | SetName::StickyPicks(by) => Key::Slot(rest.frontend(family, by)?, rest.number()?),
        SetName::StickyEndpoints(by) => Key::Remembered(rest.frontend(family, by)?, slot_of(Code(rest.number()?))?),
        SetName::Allowed(by) => {
            let frontend = rest.frontend(family, by)?;
            let first = rest.address(family)?;
            let last = match element.key_end {
                Some(end) => {
                    let mut end = Reader(end);
                    if end.frontend(family, by)? != frontend {
                        return None;
                    }
                    end.address(family)?
                }
                None => first,
            };
            Key::Source(frontend, range(first, last)?)
        }
        SetName::Policies(_) | SetName::StickySlots(_) | SetName::MasqueradePolicies => Key::Code(Code(rest.number()?)),
        SetName::ClusterIps | SetName::NodeAddresses | SetName::OwnAddresses => Key::Address(rest.address(family)?),
        SetName::Hairpin => {
            let address = rest.address(family)?;
            if rest.address(family)? != address {
                return None;
            }
            Key::Itself(address)
        }
        SetName::Affinity => return None,
    };
    rest.end(key)
}

/// The range between two addresses, if a prefix says it.
fn range(first: IpAddr, last: IpAddr) -> Option<Cidr> {
    let bits = Family::of(first).bits();
    let common = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        _ => return None,
    };
    let range = Cidr::new(first, u8::try_from(common).ok()?.min(bits)).ok()?;
    (range.network() == first && range.last() == last).then_some(range)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn word(&mut self) -> Option<[u8; 4]> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*word)
    }

    fn number(&mut self) -> Option<u32> {
        self.word().map(u32::from_ne_bytes)
    }

    fn port(&mut self) -> Option<u16> {
        self.word().map(|[high, low, ..]| u16::from_be_bytes([high, low]))
    }

    fn address(&mut self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.word().map(IpAddr::from),
            Family::V6 => {
                let (address, rest) = self.0.split_first_chunk::<16>()?;
                self.0 = rest;
                Some(IpAddr::from(*address))
            }
        }
    }

    fn frontend(&mut self, family: Family, by: By) -> Option<FrontendKey> {
        let address = match by {
            By::Address => Some(self.address(family)?),
            By::NodePort => None,
        };
        let [number, ..] = self.word()?;
        let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.number() == number)?;
        let port = self.port()?;
        Some(match address {
            Some(address) => FrontendKey::Address { address, protocol, port },
            None => FrontendKey::NodePort { family, protocol, port },
        })
    }

    /// `what`, if nothing is left over.
    fn end<T>(self, what: T) -> Option<T> {
        self.0.is_empty().then_some(what)
    }
}

#[cfg(test)]
mod tests;
