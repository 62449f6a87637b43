//! Heartbeats: how nodes on one segment tell each other that they live, which addresses they bid for and hold.
//!
//! ```text
//! Message ─► encode ─► bytes (─► HMAC) ─► Transport::wrap ─► segment ─► Packet::decode ─► decode ─► Message
//! ```
//!
//! Every message is a sign of life, says how soon the next one comes, and summarises the sender's table of bids in 12
//! bytes. A receiver whose copy differs asks for the table. So a heartbeat's size and rate do not depend on the number
//! of addresses.

mod codec;
mod key;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Mac;

pub use codec::{MAX_MESSAGE, Refused, decode, encode, room};
pub use key::Key;

/// A node's or a cluster's name: 1 to 253 bytes without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// From which station of which cluster a message is. The same node has another `interface` on each of its links, and
/// another `incarnation` after each start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Messages of other clusters are not listened to.
    pub cluster: Name,
    /// The node.
    pub node: Name,
    /// The index of the interface that it is sent from.
    pub interface: u32,
    /// Grows with each start of the process, for example the time of the start.
    pub incarnation: u64,
}

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// From where.
    pub sender: Sender,
    /// Grows by one with each message of an incarnation.
    pub sequence: u64,
    /// The next message comes within this time; whole milliseconds, at most 65 s.
    pub interval: Duration,
    /// What it says of itself.
    pub status: Status,
    /// What its table of bids is, once `body` is taken into account.
    pub table: Summary,
    /// What else it says.
    pub body: Body,
}

/// What a sender says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// It wants to know which addresses are kept for it.
    pub resuming: bool,
    /// It knows what it wants to bid for.
    pub settled: bool,
    /// It has a connection to the Kubernetes API.
    pub api: bool,
}

/// A table of bids in short: equal tables have equal summaries, and different ones with near certainty others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many there are.
    pub bids: u32,
    /// The sum of hashes of the bids.
    pub digest: u64,
}

/// What a message says beside that its sender lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Hello,
    /// Wants a message from a node, or from every node.
    Ask {
        /// From which; every one, if none is named.
        node: Option<Name>,
        /// What for.
        wanted: Wanted,
    },
    /// The sender's bids for these addresses are now these; without a bid, there is none any more.
    Changes(Vec<(IpAddr, Option<Bid>)>),
    /// The sender's only bids for addresses from `first` to `last`.
    Range {
        /// The first address.
        first: IpAddr,
        /// The last one, itself included.
        last: IpAddr,
        /// All bids in between.
        bids: Vec<(IpAddr, Bid)>,
    },
    /// These addresses were held by a node before it paused, and are kept for it.
    Kept {
        /// For which node.
        node: Name,
        /// On which of its interfaces.
        interface: u32,
        /// That interface's hardware address.
        mac: Mac,
        /// For how much longer; whole milliseconds.
        remaining: Duration,
        /// The addresses, with the term of the holding.
        held: Vec<(IpAddr, u32)>,
    },
    /// The sender ends and comes back within this time: what it holds is to be kept for it. Whole milliseconds.
    Paused(Duration),
    /// The sender ends. All its bids are void.
    Gone,
}

/// What a node is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Any message, to know that it lives.
    Life,
    /// Its table of bids.
    Table,
}

/// What a node bids for an address, and whether it holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bid {
    /// How far it is.
    pub state: State,
    /// How much its forwarding can be relied on; more decides before all else.
    pub standing: Standing,
    /// What the operator prefers: more decides next.
    pub preference: u32,
    /// While held: one more than that of the holding before. The older one of two holdings stays.
    pub term: u32,
    /// Decides at last, less wins: see [`order_key`](crate::election::order_key).
    pub key: u64,
}

/// How far a bidder is with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It would hold it if it were the best.
    Candidate,
    /// It asks whether a foreign station has it.
    Probing,
    /// A foreign station has it, or another program of a node.
    Blocked,
    /// It answers for it.
    Holding,
}

/// How much the forwarding of a node can be relied on. In rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It wants to be relieved.
    Leaving,
    /// What it forwards to may be out of date.
    Doubtful,
    /// It would only refuse: there is no endpoint anywhere.
    LastResort,
    /// It forwards.
    Sound,
}

impl Name {
    /// Nothing, if it is empty, too long, or has control characters.
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=253).contains(&name.len()) && !name.contains(char::is_control);
        fits.then(|| Self(name.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Summary {
    /// Takes a bid into account.
    pub fn add(&mut self, address: IpAddr, bid: &Bid) {
        self.bids = self.bids.wrapping_add(1);
        self.digest = self.digest.wrapping_add(codec::hash(address, bid));
    }

    /// Takes a bid out again.
    pub fn remove(&mut self, address: IpAddr, bid: &Bid) {
        self.bids = self.bids.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(codec::hash(address, bid));
    }
}
