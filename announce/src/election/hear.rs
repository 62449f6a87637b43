//! What each message of a peer changes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Event;
use super::machine::{Election, Kept, Mode};
use super::order::Bidder;
use super::peers::{Changed, Heard, MAX_BIDS, Slot};
use super::timing::{LONGEST_PAUSE, Moment};
use crate::wire::Mac;
use crate::wire::heartbeat::{Bid, Body, Message, Name, State, Wanted};

/// How many paused nodes are remembered.
const MAX_KEPT: usize = 64;
/// How many addresses are remembered that were held before a pause.
const MAX_RESUMED: usize = 65_536;

impl Election {
    pub(super) fn take_message(&mut self, now: Moment, mac: Mac, message: Message) {
        let Message { sender, .. } = &message;
        if self.mode == Mode::Down {
            return;
        }
        if sender.cluster != self.config.cluster {
            let event = Event::ForeignCluster { cluster: sender.cluster.clone(), node: sender.node.clone(), mac };
            self.peers.remember(now, mac, &sender.cluster, &sender.node);
            return self.tell_oddity(now, event);
        }
        if sender.node == self.config.node && sender.interface == self.config.interface {
            if sender.incarnation > self.config.incarnation {
                self.tell_oddity(now, Event::DuplicateNode(mac));
            }
            return;
        }
        self.peers.remember(now, mac, &sender.cluster, &sender.node);
        if matches!(message.body, Body::Gone | Body::Paused(_)) && !self.is_newest(&message) {
            return;
        }
        match self.peers.hear(now, mac, &message) {
            Heard::Repeated => {}
            Heard::Late => {
                // What is kept for another node is true whichever message came first.
                if let Body::Kept { node, interface, mac, remaining, held } = message.body {
                    self.take_kept(now, Bidder { node, interface }, mac, remaining, held);
                }
            }
            Heard::Full => self.tell_oddity(now, Event::TooManyPeers),
            Heard::Peer { slot, new, replaced } => {
                self.heard_any = true;
                if let Some((slot, bids)) = replaced {
                    self.void(slot, bids);
                }
                if new {
                    self.tell(Event::PeerHeard(Bidder { node: sender.node.clone(), interface: sender.interface }));
                }
                self.take_body(now, slot, message);
            }
        }
    }

    /// A farewell of a peer that is not known changes nothing.
    fn is_newest(&self, message: &Message) -> bool {
        self.peers.iter().any(|(_, peer)| {
            peer.bidder.node == message.sender.node
                && peer.bidder.interface == message.sender.interface
                && peer.incarnation <= message.sender.incarnation
        })
    }

    fn take_body(&mut self, now: Moment, slot: Slot, message: Message) {
        match message.body {
            Body::Hello => {}
            Body::Ask { node, wanted: Wanted::Life } if self.is_asked(node.as_ref()) => {
                self.speaker.answer_life(now, &self.timing)
            }
            Body::Ask { node, wanted: Wanted::Table } if self.is_asked(node.as_ref()) => {
                self.speaker.answer_table(now, &self.timing)
            }
            Body::Ask { node, wanted } => {
                // Another asks already, and the answer goes to all.
                let again = now + self.timing.ask_again();
                for peer in self.peers.iter_mut().filter(|peer| Some(&peer.bidder.node) == node.as_ref()) {
                    match wanted {
                        Wanted::Life => peer.ask_life = peer.ask_life.max(again),
                        Wanted::Table => peer.ask_table = peer.ask_table.max(again),
                    }
                }
            }
            Body::Changes(changes) => {
                let changed = self.peers.change(slot, changes);
                self.rivals_changed(slot, changed);
            }
            Body::Range { first, last, bids } => {
                let changed = self.peers.replace(slot, first, last, bids);
                self.rivals_changed(slot, changed);
            }
            Body::Kept { node, interface, mac, remaining, held } => {
                self.take_kept(now, Bidder { node, interface }, mac, remaining, held);
            }
            Body::Paused(bound) => return self.peer_paused(now, slot, bound.min(LONGEST_PAUSE)),
            Body::Gone => return self.peer_gone(slot),
        }
        self.peers.compare(now, slot, self.speaker.jitter(&self.timing));
        self.release_if_back(slot);
    }

    /// Whether a question to this node, or to all if there is none, is for us.
    fn is_asked(&self, node: Option<&Name>) -> bool {
        node.is_none_or(|node| *node == self.config.node)
    }

    fn rivals_changed(&mut self, slot: Slot, changed: Vec<Changed>) {
        for Changed { address, before, now } in changed {
            let Some(own) = self.own.get_mut(&address) else { continue };
            match now {
                Some(bid) => own.rivals.insert(slot, bid),
                None => own.rivals.remove(&slot),
            };
            let [held, holds] = [before, now].map(|bid| bid.is_some_and(|bid| bid.state == State::Holding));
            own.freed |= held && !holds;
            self.dirty.insert(address);
        }
    }

    /// A peer's bids do not count any more, and what it held is free.
    fn void(&mut self, slot: Slot, bids: Vec<(IpAddr, Bid)>) {
        for (address, bid) in bids {
            if let Some(own) = self.own.get_mut(&address) {
                own.rivals.remove(&slot);
                own.freed |= bid.state == State::Holding;
                own.term = own.term.max(bid.term);
                self.dirty.insert(address);
            }
        }
    }

    pub(super) fn peer_gone(&mut self, slot: Slot) {
        if let Some((peer, bids)) = self.peers.remove(slot) {
            self.void(slot, bids);
            self.tell(Event::PeerLost(peer.bidder));
        }
    }

    fn peer_paused(&mut self, now: Moment, slot: Slot, bound: Moment) {
        let Some(peer) = self.peers.get(slot) else { return };
        let (bidder, mac) = (peer.bidder.clone(), peer.mac);
        let held: BTreeMap<IpAddr, u32> = self.peers.holdings(slot).collect();
        if !held.is_empty() && self.kept.len() < MAX_KEPT {
            self.kept.insert(bidder, Kept { until: now + bound, mac, held });
        }
        self.peer_gone(slot);
    }

    /// A peer says what is kept for a node: for this one, or for one that paused before this one listened.
    fn take_kept(&mut self, now: Moment, bidder: Bidder, mac: Mac, remaining: Moment, held: Vec<(IpAddr, u32)>) {
        self.dirty.extend(held.iter().map(|(address, _)| *address));
        if bidder == self.bidder {
            if self.resuming && self.resumed.len() < MAX_RESUMED {
                self.resumed.extend(held);
            }
            return;
        }
        let is_back = self.peers.iter().any(|(_, peer)| peer.bidder == bidder && !peer.status.resuming);
        if is_back || (self.kept.len() >= MAX_KEPT && !self.kept.contains_key(&bidder)) {
            return;
        }
        let until = now + remaining.min(LONGEST_PAUSE);
        let kept = self.kept.entry(bidder).or_insert(Kept { until, mac, held: BTreeMap::new() });
        if kept.held.len() < MAX_BIDS.0 {
            kept.held.extend(held);
        }
    }

    /// Once a node that is back knows its bids, nothing is kept for it any more.
    fn release_if_back(&mut self, slot: Slot) {
        let Some(peer) = self.peers.get(slot) else { return };
        if !peer.status.resuming && peer.differs.is_none() {
            let bidder = peer.bidder.clone();
            self.release_kept(&bidder);
        }
    }

    pub(super) fn release_kept(&mut self, bidder: &Bidder) {
        for (address, term) in self.kept.remove(bidder).map(|kept| kept.held).unwrap_or_default() {
            if let Some(own) = self.own.get_mut(&address) {
                own.freed = true;
                own.term = own.term.max(term);
                self.dirty.insert(address);
            }
        }
    }
}
