//! Which node answers for an address on one segment: a pure state machine, with time and messages passed in.
//!
//! ```text
//!  Input ─► late? ─► take ─► time ─► decide ─► speak ─► Output
//!  message, bids,    │      peers,   per       Changes, │  Send, Burst, Probe, Defend, Flush, Tell
//!  link, station     │      tables   address   Hello    │
//!                    └► not heard for too long: answer nothing, listen again
//! ```
//!
//! There is one [`Election`] for each interface. For each address for which a node bids it is in one of these states:
//!
//! ```text
//! Listening ─► Following ─► Probing ─► Holding      Probing ─► Blocked: a foreign station answers
//!                  │                      ▲ │       Holding ─► Following: a better holding is heard
//!                  └─ holder fell silent ─┘ └──►    Following ─► StandingIn: the holder paused
//! ```
//!
//! What the rules are, and why:
//!
//! - **Every message is a sign of life with a promise.** It says within which time the next one comes, and after three
//!   times that its sender is dead. There is one kind of heartbeat, not one for holders and one for candidates; holders
//!   promise 200 ms, others a second.
//! - **A table of bids is summarised in 12 bytes** of each message. A receiver whose copy differs asks for the table.
//!   Parts of it are ranges of addresses that can be taken one by one, so that a lost part is asked for again without
//!   losing the others. Heartbeats do not grow with the number of addresses.
//! - **Messages older than the newest are dropped,** not sorted into a window: the state that they tell is old, and a
//!   copied message has no second effect. On a segment packets of one sender stay in order. What is kept for another
//!   node is no state of the sender, and counts although it was overtaken.
//! - **The best bid holds**: standing, then preference, then a holding before a wish, then the older of two holdings,
//!   then MetalLB's order. An older holding stays because the younger one began for want of hearing it: lost messages
//!   and a healed split move nothing that need not move. The age is a term that grows with each holding, so no clocks
//!   are compared.
//! - **Before a silent holder is dead, it is asked.** Its candidates ask for a sign of life once two of its promises are
//!   broken. Lost messages rarely lead to a second holder.
//! - **Who relieves a holder says so first,** and the holder ends when it hears that: there is no gap. Leaving is a
//!   standing that every other relieves at once. Other differences must last for half a second, because nodes learn of
//!   a change at different moments.
//! - **A pause is kept by the peers.** They keep what the pausing node held, tell it when it comes back, and meanwhile
//!   the best of them answers *with the paused node's hardware address*: its kernel goes on forwarding, so an update
//!   moves nothing and leaves no client without an answer.
//! - **A winner that is not heard yields.** If the worse of two holders does not end although its messages are heard, the
//!   better one asks for the address on the segment. If the other answers, it hears requests and not heartbeats: the
//!   better one yields. If not, it hears nothing, and the better one stays.
//! - **Two interfaces in one segment** are two bidders, so one of them holds, and no rule is needed for them.
//! - **No answer after a late turn.** A holder that was stopped has broken its promise, so others may hold: it forgets what
//!   it held, drops the requests that wait, and listens.
//!
//! A virtual machine whose clock stands still while it is paused does not notice. It answers until it hears the other
//! holder, within one interval, and then the older holding stays: its own.
//!
//! **Invariant:** nothing here reads a clock or does I/O; `tests/simulation` plays it with millions of inputs.

mod decide;
mod hear;
mod machine;
mod order;
mod peers;
mod speak;
mod timing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

pub use machine::Election;
pub use order::{Bidder, order_key};
pub use timing::{Moment, Timing};

use crate::wire::Mac;
use crate::wire::heartbeat::{Message, Name, Standing};

/// How an election is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Nodes of other clusters are not listened to.
    pub cluster: Name,
    /// This node.
    pub node: Name,
    /// The index of the interface.
    pub interface: u32,
    /// Greater with each start, for example the time since 1970 in microseconds.
    pub incarnation: u64,
    /// How fast it is.
    pub timing: Timing,
    /// Whether a holder stays.
    pub incumbency: Incumbency,
    /// If no [`Input::Ticked`] comes for as long, this node is doubtful. Never, without.
    pub watchdog: Option<Duration>,
}

/// What becomes of an address when a node with an equal preference comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Incumbency {
    /// The holder stays: connections live on.
    #[default]
    Sticky,
    /// The first in the order holds, as with MetalLB.
    Failback,
}

/// That this node bids for an address, and how good its bid is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// More decides before the order. At most 2^20 - 1 counts.
    pub preference: u32,
    /// [`Standing::Sound`], or [`Standing::LastResort`] where there is no endpoint anywhere.
    pub standing: Standing,
    /// The first address of the oldest service that has the address: decides the order, see [`order_key`].
    pub first: IpAddr,
}

/// What an election is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The interface can send and receive from this hardware address, or not at all.
    Link(Option<Mac>),
    /// All that this node bids for.
    Bids(BTreeMap<IpAddr, Wish>),
    /// A heartbeat, and from which hardware address.
    Message(Mac, Box<Message>),
    /// A station was heard that speaks of an address, by ARP or neighbour discovery.
    Station {
        /// Of which address.
        address: IpAddr,
        /// Its hardware address.
        mac: Mac,
        /// What it says.
        said: Said,
    },
    /// The other nodes that live by the Kubernetes API, and have an address in this segment.
    Expected(BTreeSet<Name>),
    /// Whether the Kubernetes API can be reached.
    Api(bool),
    /// What decides the bids is alive: see [`Config::watchdog`].
    Ticked,
    /// Hold on until others have taken over, and take nothing.
    Leave,
    /// No longer leave.
    Stay,
    /// End, and be back within this time: what is held is to be kept.
    Pause(Duration),
    /// End for good.
    End,
}

/// What a station says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// That it has it.
    Claim,
    /// It asks whether another has it (RFC 5227, RFC 4862), to take it otherwise.
    Probe,
}

/// What an election wants to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a heartbeat.
    Send(Message),
    /// Say to all that this station has the address, at once and some times more.
    Burst(IpAddr),
    /// Ask whether a station has the address.
    Probe(IpAddr),
    /// Say to all once that this station has the address.
    Defend(IpAddr),
    /// Drop what was received and is not processed: it is old.
    Flush,
    /// Something happened that an operator may want to know.
    Tell(Event),
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This node answers for the address from now on.
    Holds {
        /// Which address.
        address: IpAddr,
        /// Why.
        reason: Reason,
    },
    /// This node does not answer any more.
    Yields {
        /// Which address.
        address: IpAddr,
        /// The node that holds it now, if it is another's.
        to: Option<Name>,
    },
    /// A station has the address, so it is not held.
    Blocked {
        /// Which address.
        address: IpAddr,
        /// Its hardware address.
        mac: Mac,
        /// What is known of it.
        station: Station,
    },
    /// A station claims an address that this node holds, and goes on holding.
    Conflict {
        /// Which address.
        address: IpAddr,
        /// Its hardware address.
        mac: Mac,
        /// What is known of it.
        station: Station,
    },
    /// A node is heard.
    PeerHeard(Bidder),
    /// A node is not heard any more.
    PeerLost(Bidder),
    /// Expected nodes are not heard: the segment may filter heartbeats. Addresses go to the first in the order.
    SegmentSilent {
        /// How many nodes are expected.
        expected: usize,
    },
    /// This process was stopped for longer than its promise, and listens again.
    Stalled(Duration),
    /// Another cluster is in this segment.
    ForeignCluster {
        /// Its name.
        cluster: Name,
        /// Its node.
        node: Name,
        /// From which hardware address.
        mac: Mac,
    },
    /// Another process sends in the name of this node and interface.
    DuplicateNode(Mac),
    /// There are more nodes than are listened to.
    TooManyPeers,
}

/// Why an address is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No station had it.
    Unclaimed,
    /// Its holder fell silent, or gave it up.
    Succeeded,
    /// Its holder is worse.
    Relieved,
    /// It was held before a pause.
    Resumed,
}

/// What is known of a station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Station {
    /// A node of this cluster, so another program there.
    Peer(Name),
    /// A node of another cluster.
    Cluster {
        /// The cluster.
        cluster: Name,
        /// Its node.
        node: Name,
    },
    /// Nothing.
    Unknown,
}

/// How far this node is with an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The interface is down.
    Down,
    /// It listens first.
    Listening,
    /// Another node is better, or holds it.
    Following(Option<Name>),
    /// Another node has paused; this one answers in its place.
    StandingIn(Name),
    /// It asks whether a station has it.
    Probing,
    /// A station has it.
    Blocked(Mac),
    /// It answers, since then.
    Holding(Moment),
}
