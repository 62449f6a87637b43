//! What is known of the other nodes on the segment: whether they live, and their tables of bids.
//!
//! **Invariant:** memory is bounded, whatever is heard
//! (`tests/election.rs::a_flood_of_forged_names_does_not_grow_memory`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::order::Bidder;
use super::timing::{Moment, Timing};
use crate::wire::Mac;
use crate::wire::heartbeat::{Bid, Message, Name, State, Status, Summary};

/// Names are not listened to once there are as many.
pub(super) const MAX_PEERS: usize = 1024;
/// Bids of one peer, and of all together.
pub(super) const MAX_BIDS: (usize, usize) = (8192, 262_144);
/// How many messages may overtake one that does not speak of its sender's table.
const LATE: u64 = 64;
/// Hardware addresses whose owner is remembered.
const MAX_STATIONS: usize = 2048;

/// A peer, for as long as it lives: a number, because a bid of it is looked up often.
pub(super) type Slot = u32;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) bidder: Bidder,
    pub(super) incarnation: u64,
    sequence: u64,
    pub(super) mac: Mac,
    pub(super) status: Status,
    pub(super) heard: Moment,
    pub(super) interval: Duration,
    /// What it said that its table is, and what our copy is.
    told: Summary,
    known: Summary,
    bids: BTreeMap<IpAddr, Bid>,
    /// How many of its bids are holdings.
    pub(super) holds: usize,
    /// Since when our copy is not its table.
    pub(super) differs: Option<Moment>,
    pub(super) ask_life: Moment,
    pub(super) ask_table: Moment,
    /// Until when it is taken to hear nothing.
    pub(super) deaf: Moment,
}

#[derive(Debug, Default)]
pub(super) struct Peers {
    slots: BTreeMap<Bidder, Slot>,
    peers: BTreeMap<Slot, Peer>,
    next: Slot,
    entries: usize,
    stations: BTreeMap<Mac, Owner>,
}

/// Which node sends from a hardware address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) cluster: Name,
    pub(super) node: Name,
    heard: Moment,
}

/// Of a message that was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It counts. `replaced` are the bids of the node's incarnation before.
    Peer { slot: Slot, new: bool, replaced: Option<(Slot, Vec<(IpAddr, Bid)>)> },
    /// It was overtaken, or was heard already, not long ago.
    Late,
    /// It is old.
    Repeated,
    /// There are too many peers.
    Full,
}

/// A bid of a peer that is another now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) address: IpAddr,
    pub(super) before: Option<Bid>,
    pub(super) now: Option<Bid>,
}

impl Peers {
    /// Takes note of a message's head.
    pub(super) fn hear(&mut self, now: Moment, mac: Mac, message: &Message) -> Heard {
        let bidder = Bidder { node: message.sender.node.clone(), interface: message.sender.interface };
        let incarnation = message.sender.incarnation;
        let mut replaced = None;
        if let Some(slot) = self.slots.get(&bidder).copied() {
            let peer = self.peers.get_mut(&slot).expect("every slot has its peer");
            if incarnation == peer.incarnation && message.sequence <= peer.sequence {
                let late = peer.sequence - message.sequence < LATE;
                return if late { Heard::Late } else { Heard::Repeated };
            }
            if incarnation < peer.incarnation {
                return Heard::Repeated;
            }
            if incarnation == peer.incarnation {
                peer.sequence = message.sequence;
                peer.mac = mac;
                peer.status = message.status;
                peer.heard = now;
                peer.interval = message.interval;
                peer.told = message.table;
                return Heard::Peer { slot, new: false, replaced };
            }
            replaced = self.remove(slot).map(|(_, bids)| (slot, bids));
        }
        if self.peers.len() >= MAX_PEERS {
            return Heard::Full;
        }
        let slot = self.next;
        self.next += 1;
        self.slots.insert(bidder.clone(), slot);
        let peer = Peer {
            bidder,
            incarnation,
            sequence: message.sequence,
            mac,
            status: message.status,
            heard: now,
            interval: message.interval,
            told: message.table,
            known: Summary::default(),
            bids: BTreeMap::new(),
            holds: 0,
            differs: None,
            ask_life: now,
            ask_table: now,
            deaf: Moment::ZERO,
        };
        self.peers.insert(slot, peer);
        Heard::Peer { slot, new: true, replaced }
    }

    /// Compares our copy of the table with what the peer said of it; `jitter` passes before it is asked for.
    pub(super) fn compare(&mut self, now: Moment, slot: Slot, jitter: Duration) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        if peer.known == peer.told {
            peer.differs = None;
        } else if peer.differs.is_none() {
            peer.differs = Some(now);
            peer.ask_table = peer.ask_table.max(now + jitter);
        }
    }

    /// Changes bids of a peer; what exceeds the bounds is left out, and so the copy differs.
    pub(super) fn change(
        &mut self,
        slot: Slot,
        changes: impl IntoIterator<Item = (IpAddr, Option<Bid>)>,
    ) -> Vec<Changed> {
        let mut changed = Vec::new();
        let Some(peer) = self.peers.get_mut(&slot) else { return changed };
        for (address, bid) in changes {
            let fits = peer.bids.len() < MAX_BIDS.0 && self.entries < MAX_BIDS.1;
            let before = match bid {
                Some(bid) if fits || peer.bids.contains_key(&address) => peer.bids.insert(address, bid),
                Some(_) => continue,
                None => peer.bids.remove(&address),
            };
            if let Some(before) = &before {
                peer.known.remove(address, before);
                peer.holds -= usize::from(before.state == State::Holding);
                self.entries -= 1;
            }
            if let Some(bid) = &bid {
                peer.known.add(address, bid);
                peer.holds += usize::from(bid.state == State::Holding);
                self.entries += 1;
            }
            if before != bid {
                changed.push(Changed { address, before, now: bid });
            }
        }
        changed
    }

    /// Replaces a peer's bids from `first` to `last`.
    pub(super) fn replace(
        &mut self,
        slot: Slot,
        first: IpAddr,
        last: IpAddr,
        bids: Vec<(IpAddr, Bid)>,
    ) -> Vec<Changed> {
        let Some(peer) = self.peers.get(&slot) else { return Vec::new() };
        if first > last {
            return Vec::new();
        }
        let wanted: BTreeMap<IpAddr, Bid> =
            bids.into_iter().filter(|(address, _)| (first..=last).contains(address)).collect();
        let gone: Vec<IpAddr> = peer
            .bids
            .range(first..=last)
            .map(|(address, _)| *address)
            .filter(|old| !wanted.contains_key(old))
            .collect();
        let gone = gone.into_iter().map(|address| (address, None));
        self.change(slot, gone.chain(wanted.into_iter().map(|(address, bid)| (address, Some(bid)))))
    }

    /// Forgets a peer; returns it with its bids.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<(Peer, Vec<(IpAddr, Bid)>)> {
        let mut peer = self.peers.remove(&slot)?;
        self.slots.remove(&peer.bidder);
        let bids: Vec<(IpAddr, Bid)> = std::mem::take(&mut peer.bids).into_iter().collect();
        self.entries -= bids.len();
        Some((peer, bids))
    }

    /// Forgets all peers, but not which hardware addresses are whose.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.peers.clear();
        self.entries = 0;
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Peer> {
        self.peers.get(&slot)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Peer> {
        self.peers.get_mut(&slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Peer)> {
        self.peers.iter().map(|(slot, peer)| (*slot, peer))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.values_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// The bids of all peers for an address.
    pub(super) fn bids(&self, address: IpAddr) -> impl Iterator<Item = (Slot, Bid)> {
        self.iter().filter_map(move |(slot, peer)| Some((slot, *peer.bids.get(&address)?)))
    }

    /// What a peer holds, with the terms.
    pub(super) fn holdings(&self, slot: Slot) -> impl Iterator<Item = (IpAddr, u32)> {
        let bids = self.peers.get(&slot).into_iter().flat_map(|peer| &peer.bids);
        bids.filter(|(_, bid)| bid.state == State::Holding).map(|(address, bid)| (*address, bid.term))
    }

    /// How many peers hold something.
    pub(super) fn holders(&self) -> usize {
        self.peers.values().filter(|peer| peer.holds > 0).count()
    }

    /// The peers that have been silent for too long.
    pub(super) fn dead(&self, now: Moment, timing: &Timing) -> Vec<Slot> {
        self.iter().filter(|(_, peer)| now >= timing.dead(peer.heard, peer.interval)).map(|(slot, _)| slot).collect()
    }

    /// Remembers whose hardware address it is.
    pub(super) fn remember(&mut self, now: Moment, mac: Mac, cluster: &Name, node: &Name) {
        if let Some(owner) = self.stations.get_mut(&mac) {
            owner.heard = now;
            if owner.node != *node || owner.cluster != *cluster {
                *owner = Owner { cluster: cluster.clone(), node: node.clone(), heard: now };
            }
            return;
        }
        if self.stations.len() >= MAX_STATIONS {
            self.stations.retain(|_, owner| now < owner.heard + Duration::from_secs(60));
        }
        if self.stations.len() < MAX_STATIONS {
            self.stations.insert(mac, Owner { cluster: cluster.clone(), node: node.clone(), heard: now });
        }
    }

    pub(super) fn owner(&self, mac: Mac) -> Option<&Owner> {
        self.stations.get(&mac)
    }

    /// The peers, and the bids of them all.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.peers.len(), self.entries)
    }
}
