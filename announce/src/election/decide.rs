//! What a node does with one address, given its own bid and those of its rivals.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::machine::{Election, Mode};
use super::order::{Rank, order_key};
use super::peers::Slot;
use super::timing::{DEAF, Moment};
use super::{Event, Output, Progress, Reason, Wish};
use crate::wire::Mac;
use crate::wire::heartbeat::{Bid, Name, Standing, State};

/// An address for which this node bids.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) wish: Wish,
    pub(super) key: u64,
    /// As it is sent.
    pub(super) preference: u32,
    pub(super) phase: Phase,
    /// The bids of living peers.
    pub(super) rivals: BTreeMap<Slot, Bid>,
    /// The last holder is known to have ended, so nothing foreign can have it.
    pub(super) freed: bool,
    /// The last term that was seen.
    pub(super) term: u32,
    /// Since when no node holds it.
    pub(super) vacant: Option<Moment>,
    /// Since when this node is better than the holder.
    challenge: Option<Moment>,
    /// Another holds it too, and is worse.
    pub(super) contest: Option<Contest>,
    /// A paused node, and the address with which to answer for it.
    pub(super) stands_in: Option<(Name, Mac)>,
    pub(super) defended: Option<Moment>,
    /// When a peer first claimed it that does not say that it holds.
    pub(super) odd_claim: Option<Moment>,
    /// The station of which was told that it blocks.
    pub(super) blocked_by: Option<Mac>,
    pub(super) due: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting,
    Probing { since: Moment, sent: u32 },
    Blocked { mac: Mac, retry: Moment },
    Holding { since: Moment, term: u32 },
}

/// Two nodes hold, and this one is the better: the other should end, unless it hears nothing.
#[derive(Debug)]
pub(super) struct Contest {
    /// When the other is asked by ARP or neighbour discovery.
    check: Moment,
    sent: u32,
    /// The last probe that was answered, and how many were.
    answered: u32,
    answers: u32,
}

impl Contest {
    /// The other claimed the address, which may be an answer to the last probe.
    pub(super) fn take_claim(&mut self) {
        if self.answered < self.sent {
            self.answered = self.sent;
            self.answers += 1;
        }
    }
}

/// So many probes of three must be answered: its gratuitous packets come less often than probes.
const ANSWERS: u32 = 2;

const PROBES: u32 = 3;

impl Address {
    pub(super) fn new(wish: Wish, key: u64, preference: u32, rivals: BTreeMap<Slot, Bid>) -> Self {
        Self {
            wish,
            key,
            preference,
            phase: Phase::Waiting,
            rivals,
            freed: false,
            term: 0,
            vacant: None,
            challenge: None,
            contest: None,
            stands_in: None,
            defended: None,
            odd_claim: None,
            blocked_by: None,
            due: None,
        }
    }

    pub(super) fn holds(&self) -> bool {
        matches!(self.phase, Phase::Holding { .. })
    }

    fn bid(&self, at_most: Standing) -> Bid {
        let (state, term) = match self.phase {
            Phase::Waiting => (State::Candidate, 0),
            Phase::Probing { .. } => (State::Probing, 0),
            Phase::Blocked { .. } => (State::Blocked, 0),
            Phase::Holding { term, .. } => (State::Holding, term),
        };
        let standing = self.wish.standing.min(at_most);
        Bid { state, standing, preference: self.preference, term, key: self.key }
    }
}

impl Election {
    /// Decides for each address of which something changed, and tells the bids that changed by it.
    pub(super) fn decide(&mut self, now: Moment) {
        let dirty: Vec<IpAddr> = std::mem::take(&mut self.dirty).into_iter().collect();
        if dirty.is_empty() {
            return;
        }
        let known = self.tables_known_at();
        for address in &dirty {
            let next = self.decide_one(now, known, *address);
            self.set_timer(*address, next);
        }
        self.publish(now, dirty);
    }

    /// What this node bids; nothing while it listens, unless it holds.
    pub(super) fn own_bid(&self, address: IpAddr) -> Option<Bid> {
        let own = self.own.get(&address)?;
        let bid = own.bid(self.standing);
        let bids = self.mode == Mode::Active && bid.standing > Standing::Leaving;
        (bids || own.holds()).then_some(bid)
    }

    pub(super) fn progress_of(&self, own: &Address) -> Progress {
        if let Some((node, _)) = &own.stands_in {
            return Progress::StandingIn(node.clone());
        }
        match (own.phase, self.mode) {
            (Phase::Holding { since, .. }, _) => Progress::Holding(since),
            (_, Mode::Down | Mode::Ended) => Progress::Down,
            (_, Mode::Listening { .. }) => Progress::Listening,
            (Phase::Probing { .. }, _) => Progress::Probing,
            (Phase::Blocked { mac, .. }, _) => Progress::Blocked(mac),
            (Phase::Waiting, _) => {
                let holder = own.rivals.iter().find(|(_, bid)| bid.state == State::Holding);
                Progress::Following(
                    holder.and_then(|(slot, _)| self.peers.get(*slot)).map(|peer| peer.bidder.node.clone()),
                )
            }
        }
    }

    /// Stops answering.
    pub(super) fn release(&mut self, address: IpAddr, to: Option<Slot>) {
        let to = to.and_then(|slot| self.peers.get(slot)).map(|peer| peer.bidder.node.clone());
        let Some(own) = self.own.get_mut(&address) else { return };
        let Phase::Holding { term, .. } = own.phase else {
            own.phase = Phase::Waiting;
            return;
        };
        own.phase = Phase::Waiting;
        own.term = own.term.max(term);
        own.freed = to.is_none();
        own.contest = None;
        self.tell(Event::Yields { address, to });
    }

    fn set_timer(&mut self, address: IpAddr, next: Option<Moment>) {
        let Some(own) = self.own.get_mut(&address) else { return };
        if own.due != next {
            if let Some(due) = own.due {
                self.timers.remove(&(due, address));
            }
            if let Some(next) = next {
                self.timers.insert((next, address));
            }
            own.due = next;
        }
    }

    /// Until when to wait for tables that are not known yet; a peer that never tells its own does not stop the others.
    fn tables_known_at(&self) -> Option<Moment> {
        self.peers.iter().filter_map(|(_, peer)| Some(peer.differs? + self.timing.listen())).max()
    }

    /// Returns when to look again, if nothing happens before.
    fn decide_one(&mut self, now: Moment, known: Option<Moment>, address: IpAddr) -> Option<Moment> {
        let view = self.view(address)?;
        if matches!(self.mode, Mode::Down | Mode::Ended) {
            return None;
        }
        let own = self.own.get_mut(&address)?;
        own.stands_in = None;
        if let Some((_, holder)) = view.holder {
            own.vacant = None;
            own.blocked_by = None;
            own.term = own.term.max(holder.term);
        }
        match (own.phase, view.holder) {
            (Phase::Holding { .. }, None) => {
                own.contest = None;
                None
            }
            (Phase::Holding { .. }, Some(holder)) => self.settle(now, address, &view, holder),
            (_, Some((slot, holder))) => {
                own.phase = Phase::Waiting;
                own.freed = false;
                self.challenge(now, known, address, &view, (slot, holder))
            }
            (_, None) => {
                own.challenge = None;
                self.claim(now, known, address, &view)
            }
        }
    }

    /// The rivals of an address, judged.
    fn view(&self, address: IpAddr) -> Option<View> {
        let own = self.own.get(&address)?;
        let bid = own.bid(self.standing);
        let mine = Rank::new(&bid, &self.bidder);
        let holders = own.rivals.iter().filter(|(_, bid)| bid.state == State::Holding);
        let holder = holders.max_by_key(|(slot, bid)| self.rank(**slot, bid)).map(|(slot, bid)| (*slot, *bid));
        let better = own.rivals.iter().filter(|(slot, bid)| {
            bid.state != State::Holding && self.rank(**slot, bid).is_some_and(|rank| rank > mine)
        });
        let (mut ahead, mut busy) = (0, false);
        for (_, bid) in better {
            ahead += 1;
            busy |= matches!(bid.state, State::Probing | State::Blocked);
        }
        Some(View {
            bid,
            wins: holder.is_none_or(|(slot, bid)| self.rank(slot, &bid).is_none_or(|rank| mine > rank)),
            relieves: holder.is_some_and(|(_, bid)| mine.relieves(&bid)),
            holder,
            ahead,
            busy,
        })
    }

    fn rank(&self, slot: Slot, bid: &Bid) -> Option<Rank<'_>> {
        Some(Rank::new(bid, &self.peers.get(slot)?.bidder))
    }

    /// Both hold: the worse one ends.
    fn settle(&mut self, now: Moment, address: IpAddr, view: &View, (slot, _): (Slot, Bid)) -> Option<Moment> {
        if !view.wins {
            self.release(address, Some(slot));
            return None;
        }
        let interval = self.peers.get(slot).map_or(self.timing.interval, |peer| peer.interval);
        let patience = self.timing.dead(Moment::ZERO, interval);
        let own = self.own.get_mut(&address)?;
        let Some(contest) = &mut own.contest else {
            own.contest = Some(Contest { check: now + patience, sent: 0, answered: 0, answers: 0 });
            self.bursts.insert(address);
            return Some(now + patience);
        };
        if contest.answers >= ANSWERS {
            // It hears requests, and not this node: it cannot yield.
            if let Some(peer) = self.peers.get_mut(slot) {
                peer.deaf = now + DEAF;
            }
            self.release(address, Some(slot));
            return None;
        }
        if now < contest.check {
            return Some(contest.check);
        }
        if contest.sent < PROBES {
            contest.sent += 1;
            contest.check = now + self.timing.probe();
            self.outputs.push(Output::Probe(address));
        } else {
            // It hears nothing at all, so no request either.
            *contest = Contest { check: now + DEAF, sent: 0, answered: 0, answers: 0 };
            self.bursts.insert(address);
        }
        own.contest.as_ref().map(|contest| contest.check)
    }

    /// Another holds: relieve it, if this node is the best of those that are better.
    fn challenge(
        &mut self,
        now: Moment,
        known: Option<Moment>,
        address: IpAddr,
        view: &View,
        (slot, holder): (Slot, Bid),
    ) -> Option<Moment> {
        let deaf = self.peers.get(slot).map_or(now, |peer| peer.deaf);
        let may = self.mode == Mode::Active && view.relieves && view.ahead == 0 && now >= deaf;
        let own = self.own.get_mut(&address)?;
        if !may {
            own.challenge = None;
            return (now < deaf).then_some(deaf);
        }
        let patience = match holder.standing {
            Standing::Leaving => Moment::ZERO,
            _ => self.timing.patience(),
        };
        let at = (*own.challenge.get_or_insert(now) + patience).max(known.unwrap_or_default());
        if now < at {
            return Some(at);
        }
        own.challenge = None;
        self.hold(now, address, holder.term.saturating_add(1), Reason::Relieved);
        // Both hold now, until the other hears of it.
        let view = self.view(address)?;
        self.settle(now, address, &view, (slot, holder))
    }

    /// No node holds it.
    fn claim(&mut self, now: Moment, known: Option<Moment>, address: IpAddr, view: &View) -> Option<Moment> {
        if self.settled
            && let Some(term) = self.resumed.remove(&address)
        {
            self.hold(now, address, term, Reason::Resumed);
            return None;
        }
        if self.mode != Mode::Active {
            return None;
        }
        let kept =
            self.kept.iter().filter(|(_, kept)| kept.held.contains_key(&address)).max_by_key(|(_, kept)| kept.until);
        let kept = kept.map(|(bidder, kept)| (bidder.node.clone(), kept.mac));
        let own = self.own.get_mut(&address)?;
        if view.bid.standing == Standing::Leaving {
            own.phase = Phase::Waiting;
            return None;
        }
        if let Some(kept) = kept {
            own.phase = Phase::Waiting;
            // The best two: one of them may not know that it is kept, or may have died.
            own.stands_in = (view.ahead < 2).then_some(kept);
            return None; // its end makes the address dirty
        }
        let vacant = *own.vacant.get_or_insert(now);
        if view.busy {
            own.phase = Phase::Waiting;
            return None;
        }
        match own.phase {
            Phase::Probing { since, sent } => return self.probe(now, address, since, sent),
            Phase::Blocked { retry, .. } if now < retry => return Some(retry),
            Phase::Blocked { .. } => return self.probe(now, address, now, 0),
            Phase::Waiting | Phase::Holding { .. } => {}
        }
        let at = (vacant + self.timing.stagger() * view.ahead).max(known.unwrap_or_default());
        if now < at {
            return Some(at);
        }
        if self.silence_forbids(address) {
            return None; // what it depends on makes all addresses dirty
        }
        let own = self.own.get_mut(&address)?;
        if own.freed {
            let term = own.term.saturating_add(1);
            self.hold(now, address, term, Reason::Succeeded);
            return None;
        }
        self.probe(now, address, now, 0)
    }

    /// Peers are expected and none was ever heard: heartbeats do not pass, so the order among the expected decides.
    fn silence_forbids(&self, address: IpAddr) -> bool {
        let Some(own) = self.own.get(&address) else { return false };
        if self.heard_any || self.expected.is_empty() || own.freed {
            return false;
        }
        let ours = (own.key, &self.config.node);
        self.api_away.is_some()
            || self.expected.iter().any(|node| (order_key(node.as_str(), own.wish.first), node) < ours)
    }

    fn probe(&mut self, now: Moment, address: IpAddr, since: Moment, sent: u32) -> Option<Moment> {
        let next = since + self.timing.probe() * sent;
        let own = self.own.get_mut(&address)?;
        if now < next {
            return Some(next);
        }
        if sent == PROBES {
            let term = own.term.saturating_add(1);
            self.hold(now, address, term, Reason::Unclaimed);
            return None;
        }
        own.phase = Phase::Probing { since, sent: sent + 1 };
        self.outputs.push(Output::Probe(address));
        Some(next + self.timing.probe())
    }

    fn hold(&mut self, now: Moment, address: IpAddr, term: u32, reason: Reason) {
        let Some(own) = self.own.get_mut(&address) else { return };
        own.phase = Phase::Holding { since: now, term };
        own.term = own.term.max(term);
        own.freed = false;
        own.vacant = None;
        own.blocked_by = None;
        self.bursts.insert(address);
        self.tell(Event::Holds { address, reason });
    }
}

/// The rivals of an address, judged.
#[derive(Debug)]
struct View {
    bid: Bid,
    /// The best other holder.
    holder: Option<(Slot, Bid)>,
    /// This node's bid is better than the holder's.
    wins: bool,
    /// So much better that it relieves the holder.
    relieves: bool,
    /// Candidates that are better.
    ahead: u32,
    /// One of them is about to hold, or is kept from it.
    busy: bool,
}
