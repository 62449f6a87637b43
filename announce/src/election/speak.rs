//! What a node says: when, in which parts, and what it said of its bids.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Output;
use super::machine::{Election, Mode};
use super::order::{Bidder, order_key};
use super::timing::{Moment, Timing};
use crate::wire::heartbeat::{Bid, Body, Message, Name, Sender, Status, Summary, room};

/// What was said, and when the next is due.
#[derive(Debug)]
pub(super) struct Speaker {
    sequence: u64,
    /// The bids that peers know of.
    published: BTreeMap<IpAddr, Bid>,
    summary: Summary,
    sent: Option<Moment>,
    hello: Moment,
    table: Option<Moment>,
    table_sent: Option<Moment>,
    /// A part of a stagger that differs between nodes, in 1/256.
    share: u32,
}

impl Speaker {
    pub(super) fn new(now: Moment, node: &Name) -> Self {
        Self {
            sequence: 0,
            published: BTreeMap::new(),
            summary: Summary::default(),
            sent: None,
            hello: now,
            table: None,
            table_sent: None,
            share: (order_key(node.as_str(), Ipv4Addr::UNSPECIFIED.into()) & 0xff) as u32,
        }
    }

    /// When something is to be said.
    pub(super) fn due(&self) -> Moment {
        self.table.map_or(self.hello, |table| table.min(self.hello))
    }

    /// By how much this node asks later than the first, so that not all ask at once.
    pub(super) fn jitter(&self, timing: &Timing) -> Moment {
        timing.stagger() * self.share / 256
    }

    /// Say something at once.
    pub(super) fn hasten(&mut self, now: Moment) {
        self.hello = now;
    }

    /// Nothing is bid for any more; one message says so.
    pub(super) fn forget(&mut self, now: Moment) {
        self.published.clear();
        self.summary = Summary::default();
        self.table = Some(now);
    }

    /// A sign of life is wanted; one that was just given will do.
    pub(super) fn answer_life(&mut self, now: Moment, timing: &Timing) {
        let earliest = self.sent.map_or(now, |sent| sent + timing.interval / 10);
        self.hello = self.hello.min(earliest.max(now));
    }

    /// The table is wanted; all who want it within some time get it at once.
    pub(super) fn answer_table(&mut self, now: Moment, timing: &Timing) {
        let earliest = self.table_sent.map_or(now, |sent| sent + timing.interval / 2);
        self.table.get_or_insert(earliest.max(now));
    }
}

impl Election {
    /// Sends what changed and what is due.
    pub(super) fn speak(&mut self, now: Moment) {
        if matches!(self.mode, Mode::Down | Mode::Ended) {
            self.bursts.clear();
            return;
        }
        if self.speaker.table.is_some_and(|due| now >= due) {
            self.speaker.table = None;
            self.speaker.table_sent = Some(now);
            // The table last: of messages that overtake each other the newest counts, and it must not be the other.
            self.send_kept(now);
            self.send_table(now);
        }
        if now >= self.speaker.hello {
            self.send(now, Body::Hello);
        }
        let bursts = std::mem::take(&mut self.bursts);
        self.outputs.extend(bursts.into_iter().map(Output::Burst));
    }

    /// Tells the bids for these addresses, as far as they are others than before.
    pub(super) fn publish(&mut self, now: Moment, addresses: Vec<IpAddr>) {
        let changes: Vec<(IpAddr, Option<Bid>)> = addresses
            .into_iter()
            .map(|address| (address, self.own_bid(address)))
            .filter(|(address, bid)| self.speaker.published.get(address) != bid.as_ref())
            .collect();
        if matches!(self.mode, Mode::Down | Mode::Ended) {
            return;
        }
        let room = room(&self.sender());
        for part in changes.chunks(room) {
            for (address, bid) in part {
                if let Some(before) = self.speaker.published.remove(address) {
                    self.speaker.summary.remove(*address, &before);
                }
                if let Some(bid) = bid {
                    self.speaker.published.insert(*address, *bid);
                    self.speaker.summary.add(*address, bid);
                }
            }
            self.send(now, Body::Changes(part.to_vec()));
        }
    }

    fn send_table(&mut self, now: Moment) {
        let bids: Vec<(IpAddr, Bid)> = self.speaker.published.iter().map(|(address, bid)| (*address, *bid)).collect();
        let mut first = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let room = room(&self.sender());
        let parts = bids.len().div_ceil(room).max(1);
        for part in 0..parts {
            let bids = bids[part * room..bids.len().min((part + 1) * room)].to_vec();
            let last = match bids.last() {
                Some((last, _)) if part + 1 < parts => *last,
                _ => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
            };
            self.send(now, Body::Range { first, last, bids });
            first = after(last);
        }
    }

    /// What is kept for nodes that paused is told with the table: a node that asks for that may be one of them, or
    /// may not know of them.
    fn send_kept(&mut self, now: Moment) {
        let room = room(&self.sender());
        let mut bodies = Vec::new();
        for (Bidder { node, interface }, kept) in &self.kept {
            let held: Vec<(IpAddr, u32)> = kept.held.iter().map(|(address, term)| (*address, *term)).collect();
            bodies.extend(held.chunks(room).map(|part| Body::Kept {
                node: node.clone(),
                interface: *interface,
                mac: kept.mac,
                remaining: kept.until.saturating_sub(now),
                held: part.to_vec(),
            }));
        }
        for body in bodies {
            self.send(now, body);
        }
    }

    pub(super) fn send(&mut self, now: Moment, body: Body) {
        let interval = if self.own.values().any(|own| own.holds()) {
            self.timing.holding(self.peers.holders() + 1)
        } else {
            self.timing.idle(self.peers.len() + 1)
        };
        self.speaker.sequence += 1;
        self.speaker.sent = Some(now);
        self.speaker.hello = now + interval;
        let status = Status { resuming: self.resuming, settled: self.settled, api: self.api_away.is_none() };
        self.outputs.push(Output::Send(Message {
            sender: self.sender(),
            sequence: self.speaker.sequence,
            interval,
            status,
            table: self.speaker.summary,
            body,
        }));
    }

    fn sender(&self) -> Sender {
        Sender {
            cluster: self.config.cluster.clone(),
            node: self.config.node.clone(),
            interface: self.config.interface,
            incarnation: self.config.incarnation,
        }
    }
}

/// The next address; of the last one, itself.
fn after(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() + 1)),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits().saturating_add(1))),
    }
}
