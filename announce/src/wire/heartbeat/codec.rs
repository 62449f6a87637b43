//! Heartbeats as bytes. All numbers are in network order.
//!
//! ```text
//! "SY" version kind flags interval:2 interface:4 incarnation:8 sequence:8 bids:4 digest:8 cluster node body [tag:32]
//! ```

use std::net::IpAddr;
use std::time::Duration;

use super::super::Mac;
use super::key::TAG;
use super::{Bid, Body, Key, Message, Name, Sender, Standing, State, Status, Summary, Wanted};

/// Fits into a frame of 1,500 bytes with the headers of IPv4 and UDP.
pub const MAX_MESSAGE: usize = 1472;

const MAGIC: [u8; 3] = [b'S', b'Y', 1];
/// Up to the names.
const FIXED: usize = 3 + 1 + 1 + 2 + 4 + 8 + 8 + 4 + 8;
/// The longest body beside its bids: a `Kept` with the longest name.
const BODY: usize = 1 + 253 + 4 + 6 + 4;
/// A bid with its address, at most.
pub(super) const BID: usize = 17 + 1 + 18;

const RESUMING: u8 = 1;
const SETTLED: u8 = 2;
const API: u8 = 4;
const SEALED: u8 = 8;

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It is not one, or one of another version.
    #[error("no heartbeat of this version")]
    Malformed,
    /// We have a key, and it has none, or another.
    #[error("not authenticated by our key")]
    Unauthenticated,
    /// It is authenticated, and we have no key.
    #[error("authenticated by a key that is not configured here")]
    Sealed,
}

/// How many bids surely fit into one message of this sender.
pub fn room(sender: &Sender) -> usize {
    let names = 2 + sender.cluster.as_str().len() + sender.node.as_str().len();
    (MAX_MESSAGE - TAG - FIXED - BODY - names) / BID
}

/// The bytes, authenticated if there is a key.
pub fn encode(message: &Message, key: Option<&Key>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend(MAGIC);
    out.push(kind(&message.body));
    let Status { resuming, settled, api } = message.status;
    let flags = [(resuming, RESUMING), (settled, SETTLED), (api, API), (key.is_some(), SEALED)];
    out.push(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
    out.extend((message.interval.as_millis().min(u128::from(u16::MAX)) as u16).to_be_bytes());
    out.extend(message.sender.interface.to_be_bytes());
    out.extend(message.sender.incarnation.to_be_bytes());
    out.extend(message.sequence.to_be_bytes());
    out.extend(message.table.bids.to_be_bytes());
    out.extend(message.table.digest.to_be_bytes());
    put_name(&mut out, &message.sender.cluster);
    put_name(&mut out, &message.sender.node);
    put_body(&mut out, &message.body);
    if let Some(key) = key {
        let tag = key.tag(&out);
        out.extend(tag);
    }
    out
}

/// The message in `bytes`, all of which belong to it.
///
/// # Errors
/// [`Refused`].
pub fn decode(bytes: &[u8], key: Option<&Key>) -> Result<Message, Refused> {
    if bytes.len() > MAX_MESSAGE || !bytes.starts_with(&MAGIC) {
        return Err(Refused::Malformed);
    }
    let sealed = bytes.get(4).ok_or(Refused::Malformed)? & SEALED != 0;
    let bytes = match (key, sealed) {
        (None, false) => bytes,
        (None, true) => return Err(Refused::Sealed),
        (Some(_), false) => return Err(Refused::Unauthenticated),
        (Some(key), true) => {
            let (bytes, tag) = bytes.split_at_checked(bytes.len().saturating_sub(TAG)).ok_or(Refused::Malformed)?;
            if !key.accepts(bytes, tag) {
                return Err(Refused::Unauthenticated);
            }
            bytes
        }
    };
    let mut reader = Reader(&bytes[MAGIC.len().min(bytes.len())..]);
    reader.message().filter(|_| reader.0.is_empty()).ok_or(Refused::Malformed)
}

/// FNV-1a of the bid's bytes, stirred: equal on every node and in every version of this protocol.
pub(super) fn hash(address: IpAddr, bid: &Bid) -> u64 {
    let mut bytes = Vec::with_capacity(BID);
    put_address(&mut bytes, address);
    put_bid(&mut bytes, bid);
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    // A sum of plain FNV values would let swapped bytes cancel out (finaliser of splitmix64).
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn kind(body: &Body) -> u8 {
    match body {
        Body::Hello => 0,
        Body::Ask { wanted: Wanted::Life, .. } => 1,
        Body::Ask { wanted: Wanted::Table, .. } => 2,
        Body::Changes(_) => 3,
        Body::Range { .. } => 4,
        Body::Kept { .. } => 5,
        Body::Paused(_) => 6,
        Body::Gone => 7,
    }
}

fn put_body(out: &mut Vec<u8>, body: &Body) {
    match body {
        Body::Hello | Body::Gone => {}
        Body::Ask { node, .. } => {
            if let Some(node) = node {
                put_name(out, node);
            }
        }
        Body::Changes(changes) => {
            for (address, bid) in changes {
                put_address(out, *address);
                match bid {
                    Some(bid) => put_bid(out, bid),
                    None => out.push(NONE),
                }
            }
        }
        Body::Range { first, last, bids } => {
            put_address(out, *first);
            put_address(out, *last);
            for (address, bid) in bids {
                put_address(out, *address);
                put_bid(out, bid);
            }
        }
        Body::Kept { node, interface, mac, remaining, held } => {
            put_name(out, node);
            out.extend(interface.to_be_bytes());
            out.extend(mac.0);
            put_millis(out, *remaining);
            for (address, term) in held {
                put_address(out, *address);
                out.extend(term.to_be_bytes());
            }
        }
        Body::Paused(bound) => put_millis(out, *bound),
    }
}

fn put_millis(out: &mut Vec<u8>, time: Duration) {
    out.extend((time.as_millis().min(u128::from(u32::MAX)) as u32).to_be_bytes());
}

fn put_name(out: &mut Vec<u8>, name: &Name) {
    out.push(name.as_str().len() as u8);
    out.extend(name.as_str().as_bytes());
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend(address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend(address.octets());
        }
    }
}

/// In place of a state: there is no bid.
const NONE: u8 = 0xff;

fn put_bid(out: &mut Vec<u8>, bid: &Bid) {
    out.push(match bid.state {
        State::Candidate => 0,
        State::Probing => 1,
        State::Blocked => 2,
        State::Holding => 3,
    });
    out.push(match bid.standing {
        Standing::Leaving => 0,
        Standing::Doubtful => 1,
        Standing::LastResort => 2,
        Standing::Sound => 3,
    });
    out.extend(bid.preference.to_be_bytes());
    out.extend(bid.term.to_be_bytes());
    out.extend(bid.key.to_be_bytes());
}

/// What is not read yet.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn message(&mut self) -> Option<Message> {
        let kind = self.byte()?;
        let flags = self.byte()?;
        if flags & !(RESUMING | SETTLED | API | SEALED) != 0 {
            return None;
        }
        let interval = Duration::from_millis(u64::from(u16::from_be_bytes(self.array()?)));
        let interface = self.number()?;
        let incarnation = u64::from_be_bytes(self.array()?);
        let sequence = u64::from_be_bytes(self.array()?);
        let table = Summary { bids: self.number()?, digest: u64::from_be_bytes(self.array()?) };
        let sender = Sender { cluster: self.name()?, node: self.name()?, interface, incarnation };
        let status = Status { resuming: flags & RESUMING != 0, settled: flags & SETTLED != 0, api: flags & API != 0 };
        Some(Message { sender, sequence, interval, status, table, body: self.body(kind)? })
    }

    fn body(&mut self, kind: u8) -> Option<Body> {
        Some(match kind {
            0 => Body::Hello,
            1 | 2 => Body::Ask {
                node: if self.0.is_empty() { None } else { Some(self.name()?) },
                wanted: if kind == 1 { Wanted::Life } else { Wanted::Table },
            },
            3 => Body::Changes(self.all(|reader| Some((reader.address()?, reader.change()?)))?),
            4 => Body::Range {
                first: self.address()?,
                last: self.address()?,
                bids: self.all(|reader| Some((reader.address()?, reader.change()??)))?,
            },
            5 => Body::Kept {
                node: self.name()?,
                interface: self.number()?,
                mac: Mac(self.array()?),
                remaining: self.millis()?,
                held: self.all(|reader| Some((reader.address()?, reader.number()?)))?,
            },
            6 => Body::Paused(self.millis()?),
            7 => Body::Gone,
            _ => return None,
        })
    }

    /// Items up to the end.
    fn all<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        while !self.0.is_empty() {
            items.push(item(self)?);
        }
        Some(items)
    }

    fn change(&mut self) -> Option<Option<Bid>> {
        let state = match self.byte()? {
            0 => State::Candidate,
            1 => State::Probing,
            2 => State::Blocked,
            3 => State::Holding,
            NONE => return Some(None),
            _ => return None,
        };
        let standing = match self.byte()? {
            0 => Standing::Leaving,
            1 => Standing::Doubtful,
            2 => Standing::LastResort,
            3 => Standing::Sound,
            _ => return None,
        };
        let (preference, term) = (self.number()?, self.number()?);
        Some(Some(Bid { state, standing, preference, term, key: u64::from_be_bytes(self.array()?) }))
    }

    fn address(&mut self) -> Option<IpAddr> {
        match self.byte()? {
            4 => Some(IpAddr::from(self.array::<4>()?)),
            6 => Some(IpAddr::from(self.array::<16>()?)),
            _ => None,
        }
    }

    fn name(&mut self) -> Option<Name> {
        let length = usize::from(self.byte()?);
        let (name, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Name::new(std::str::from_utf8(name).ok()?)
    }

    fn millis(&mut self) -> Option<Duration> {
        self.number().map(|millis| Duration::from_millis(millis.into()))
    }

    fn number(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }
}
