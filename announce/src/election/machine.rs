//! The election's state, and what each input changes in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::decide::{Address, Phase};
use super::order::{Bidder, order_key, preference};
use super::peers::Peers;
use super::speak::Speaker;
use super::timing::{API_GRACE, DEFEND, LONGEST_PAUSE, Moment, SILENCE, Timing};
use super::{Config, Event, Input, Output, Progress, Said, Station, Wish};
use crate::wire::Mac;
use crate::wire::heartbeat::{Body, Name, Standing, State, Wanted};

/// The election on one interface. See the module's documentation.
#[derive(Debug)]
pub struct Election {
    pub(super) config: Config,
    pub(super) timing: Timing,
    pub(super) bidder: Bidder,
    pub(super) mode: Mode,
    pub(super) mac: Mac,
    pub(super) peers: Peers,
    pub(super) own: BTreeMap<IpAddr, Address>,
    /// Bids were told.
    pub(super) settled: bool,
    /// It wants to know what was kept for it.
    pub(super) resuming: bool,
    pub(super) kept: BTreeMap<Bidder, Kept>,
    /// What peers kept for this node, with the term.
    pub(super) resumed: BTreeMap<IpAddr, u32>,
    leaving: bool,
    ticked: Moment,
    pub(super) api_away: Option<Moment>,
    /// No bid is better than this.
    pub(super) standing: Standing,
    pub(super) expected: BTreeSet<Name>,
    /// Since the link is up.
    pub(super) heard_any: bool,
    silence: Option<Moment>,
    pub(super) speaker: Speaker,
    pub(super) dirty: BTreeSet<IpAddr>,
    pub(super) timers: BTreeSet<(Moment, IpAddr)>,
    /// The next turn was asked for by then.
    promised: Option<Moment>,
    /// After a late turn, messages wait to be read: until then no peer is taken for dead.
    blind: Moment,
    pub(super) outputs: Vec<Output>,
    /// To be asked for after the bids have been sent.
    pub(super) bursts: BTreeSet<IpAddr>,
    last_oddity: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Down,
    Listening { until: Moment, ask: Moment },
    Active,
    Ended,
}

/// What a paused node held.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) until: Moment,
    pub(super) mac: Mac,
    pub(super) held: BTreeMap<IpAddr, u32>,
}

impl Election {
    /// An election on an interface that is down, and without bids.
    pub fn new(now: Moment, config: Config) -> Self {
        Self {
            timing: config.timing,
            bidder: Bidder { node: config.node.clone(), interface: config.interface },
            speaker: Speaker::new(now, &config.node),
            config,
            mode: Mode::Down,
            mac: Mac::UNKNOWN,
            peers: Peers::default(),
            own: BTreeMap::new(),
            settled: false,
            resuming: true,
            kept: BTreeMap::new(),
            resumed: BTreeMap::new(),
            leaving: false,
            ticked: now,
            api_away: None,
            standing: Standing::Sound,
            expected: BTreeSet::new(),
            heard_any: false,
            silence: None,
            dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
            promised: None,
            blind: Moment::ZERO,
            outputs: Vec::new(),
            bursts: BTreeSet::new(),
            last_oddity: None,
        }
    }

    /// Takes an input, and whatever time has brought. `now` never goes back.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Output> {
        self.check_lateness(now);
        self.take(now, input);
        self.let_time_pass(now);
        self.decide(now);
        self.speak(now);
        if self.resuming && self.settled && self.mode == Mode::Active {
            // Only now, because peers keep nothing any more once they read this: every holding has been told.
            self.resuming = false;
            self.resumed.clear();
            self.speaker.hasten(now);
        }
        self.promised = self.next();
        std::mem::take(&mut self.outputs)
    }

    /// With which hardware address a request for `address` is to be answered: this station's, or that of a node that
    /// has paused.
    pub fn answer(&self, address: IpAddr) -> Option<Mac> {
        let own = self.own.get(&address)?;
        match own.phase {
            Phase::Holding { .. } => Some(self.mac),
            _ => own.stands_in.as_ref().map(|(_, mac)| *mac),
        }
    }

    /// Whether this node holds `address`.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.own.get(&address).is_some_and(|own| own.holds())
    }

    /// The addresses that this node holds.
    pub fn held(&self) -> impl Iterator<Item = IpAddr> {
        self.own.iter().filter(|(_, own)| own.holds()).map(|(address, _)| *address)
    }

    /// How far it is with each address for which it bids.
    pub fn progress(&self) -> impl Iterator<Item = (IpAddr, Progress)> {
        self.own.iter().map(|(address, own)| (*address, self.progress_of(own)))
    }

    /// The nodes that are heard.
    pub fn heard(&self) -> impl Iterator<Item = &Bidder> {
        self.peers.iter().map(|(_, peer)| &peer.bidder)
    }

    /// How many peers and bids of them are remembered.
    pub fn remembered(&self) -> (usize, usize) {
        self.peers.size()
    }

    /// When it wants the next input at the latest.
    pub fn next(&self) -> Option<Moment> {
        if matches!(self.mode, Mode::Down | Mode::Ended) {
            return None;
        }
        let listening = match self.mode {
            Mode::Listening { until, ask } => Some(until.min(ask)),
            _ => None,
        };
        let peers = self.peers.iter().map(|(_, peer)| {
            let dead = self.timing.dead(peer.heard, peer.interval).max(self.blind);
            let life = self.life_asked_at(peer.heard, peer.interval, peer.ask_life);
            let life = if peer.holds > 0 { life } else { dead };
            let table = if peer.differs.is_some() { peer.ask_table } else { dead };
            dead.min(life).min(table)
        });
        let watchdog = self.config.watchdog.filter(|_| self.standing > Standing::Doubtful);
        [
            listening,
            peers.min(),
            self.timers.first().map(|(due, _)| *due),
            self.kept.values().map(|kept| kept.until).min(),
            watchdog.map(|longest| self.ticked + longest),
            self.api_away.filter(|_| self.standing > Standing::Doubtful).map(|since| since + API_GRACE),
            self.silence,
            Some(self.speaker.due()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn life_asked_at(&self, heard: Moment, interval: Moment, again: Moment) -> Moment {
        (self.timing.doubt(heard, interval) + self.speaker.jitter(&self.timing)).max(again)
    }

    /// Its promise to send is broken, so others may hold: answer nothing before listening.
    fn check_lateness(&mut self, now: Moment) {
        let Some(promised) = self.promised else { return };
        if now > promised + self.timing.ask_again() {
            self.blind = now + self.timing.ask_again();
        }
        if matches!(self.mode, Mode::Down | Mode::Ended) || now <= promised + self.timing.late() {
            return;
        }
        self.tell(Event::Stalled(now - promised));
        self.outputs.push(Output::Flush);
        self.listen(now);
    }

    /// Holds nothing, knows nothing, and asks.
    fn listen(&mut self, now: Moment) {
        self.mode = Mode::Listening { until: now + self.timing.listen(), ask: now };
        self.peers.clear();
        let addresses: Vec<IpAddr> = self.own.keys().copied().collect();
        for address in addresses {
            self.release(address, None);
            let own = self.own.get_mut(&address).expect("it was there");
            own.rivals.clear();
            own.vacant = None;
            own.stands_in = None;
            self.dirty.insert(address);
        }
        self.speaker.forget(now);
        self.resuming = true;
        self.resumed.clear();
    }

    fn take(&mut self, now: Moment, input: Input) {
        if self.mode == Mode::Ended {
            return;
        }
        match input {
            Input::Tick => {}
            Input::Link(mac) => self.take_link(now, mac),
            Input::Bids(wishes) => self.take_bids(wishes),
            Input::Message(mac, message) => self.take_message(now, mac, *message),
            Input::Station { address, mac, said } => self.take_station(now, address, mac, said),
            Input::Expected(nodes) => {
                self.expected = nodes;
                self.expected.remove(&self.config.node);
                self.all_dirty();
            }
            Input::Api(true) => self.api_away = None,
            Input::Api(false) => {
                self.api_away.get_or_insert(now);
            }
            Input::Ticked => self.ticked = now,
            Input::Leave => self.leaving = true,
            Input::Stay => self.leaving = false,
            Input::Pause(bound) => self.end(now, Body::Paused(bound.min(LONGEST_PAUSE))),
            Input::End => self.end(now, Body::Gone),
        }
    }

    fn take_link(&mut self, now: Moment, mac: Option<Mac>) {
        match (self.mode, mac) {
            (Mode::Down, Some(mac)) => {
                self.mac = mac;
                self.heard_any = false;
                self.silence = Some(now + SILENCE);
                self.listen(now);
                for own in self.own.values_mut() {
                    own.freed = false;
                }
            }
            (_, Some(mac)) => {
                if self.mac != mac {
                    self.mac = mac;
                    self.bursts = self.held().collect();
                    self.speaker.hasten(now);
                }
            }
            (_, None) => {
                self.listen(now);
                self.mode = Mode::Down;
                self.kept.clear();
            }
        }
    }

    fn take_bids(&mut self, wishes: BTreeMap<IpAddr, Wish>) {
        if !self.settled {
            self.settled = true;
            self.dirty.extend(wishes.keys());
        }
        let gone: Vec<IpAddr> = self.own.keys().filter(|address| !wishes.contains_key(address)).copied().collect();
        for address in gone {
            self.release(address, None);
            self.own.remove(&address);
            self.dirty.insert(address);
        }
        for (address, wish) in wishes {
            let known = self.own.get_mut(&address);
            if known.as_ref().is_some_and(|own| own.wish == wish) {
                continue;
            }
            let key = order_key(self.config.node.as_str(), wish.first);
            let preference = preference(wish.preference, key, self.config.incumbency);
            self.dirty.insert(address);
            match known {
                Some(own) => (own.wish, own.key, own.preference) = (wish, key, preference),
                None => {
                    let rivals = self.peers.bids(address).collect();
                    self.own.insert(address, Address::new(wish, key, preference, rivals));
                }
            }
        }
    }

    fn take_station(&mut self, now: Moment, address: IpAddr, mac: Mac, said: Said) {
        let kept = self.kept.values().any(|kept| kept.mac == mac && kept.held.contains_key(&address));
        if mac == self.mac || kept || self.mode == Mode::Down {
            return;
        }
        let Some(own) = self.own.get_mut(&address) else { return };
        let peer = own.rivals.iter().find(|(slot, _)| self.peers.get(**slot).is_some_and(|peer| peer.mac == mac));
        if peer.is_some_and(|(_, bid)| bid.state == State::Holding) {
            if let (Some(contest), Said::Claim) = (&mut own.contest, said) {
                contest.take_claim();
                self.dirty.insert(address);
            }
            return;
        }
        let owner = self.peers.owner(mac);
        let is_peer = owner.is_some_and(|owner| owner.cluster == self.config.cluster);
        if said == Said::Probe && is_peer {
            return; // it does what this node does
        }
        own.freed = false;
        let again = own.defended.is_none_or(|defended| now >= defended + DEFEND);
        let station = match owner {
            Some(owner) if is_peer => Station::Peer(owner.node.clone()),
            Some(owner) => Station::Cluster { cluster: owner.cluster.clone(), node: owner.node.clone() },
            None => Station::Unknown,
        };
        match own.phase {
            Phase::Probing { .. } => {
                own.phase = Phase::Blocked { mac, retry: now + self.timing.blocked() };
                self.dirty.insert(address);
                if own.blocked_by != Some(mac) {
                    own.blocked_by = Some(mac);
                    self.tell(Event::Blocked { address, mac, station });
                }
            }
            // What it says may be behind its packets, so only a claim that is repeated counts.
            Phase::Holding { .. } if is_peer && own.odd_claim.is_none_or(|first| now > first + DEFEND) => {
                own.odd_claim = Some(now);
            }
            Phase::Holding { .. }
                if is_peer && own.odd_claim.is_some_and(|first| now < first + self.timing.interval) => {}
            Phase::Holding { .. } if said == Said::Claim && again => {
                own.defended = Some(now);
                self.outputs.push(Output::Defend(address));
                self.tell(Event::Conflict { address, mac, station });
            }
            Phase::Holding { .. } | Phase::Waiting | Phase::Blocked { .. } => {}
        }
    }

    fn end(&mut self, now: Moment, farewell: Body) {
        if self.mode != Mode::Down {
            // A lost one would cost the time of a silent death.
            for _ in 0..3 {
                self.send(now, farewell.clone());
            }
        }
        let held: Vec<IpAddr> = self.held().collect();
        for address in held {
            self.release(address, None);
        }
        self.mode = Mode::Ended;
        self.own.clear();
        self.dirty.clear();
        self.timers.clear();
    }

    fn let_time_pass(&mut self, now: Moment) {
        if matches!(self.mode, Mode::Down | Mode::Ended) {
            return;
        }
        if let Mode::Listening { until, ask } = self.mode {
            if now >= until {
                self.mode = Mode::Active;
                self.speaker.hasten(now);
                self.all_dirty();
            } else if now >= ask {
                self.mode = Mode::Listening { until, ask: now + self.timing.interval };
                self.send(now, Body::Ask { node: None, wanted: Wanted::Table });
            }
        }
        if now >= self.blind {
            for slot in self.peers.dead(now, &self.timing) {
                self.peer_gone(slot);
            }
        }
        self.ask(now);
        let over: Vec<Bidder> =
            self.kept.iter().filter(|(_, kept)| now >= kept.until).map(|(bidder, _)| bidder.clone()).collect();
        for bidder in over {
            self.release_kept(&bidder);
        }
        while let Some((due, address)) = self.timers.first().copied()
            && due <= now
        {
            self.timers.pop_first();
            if let Some(own) = self.own.get_mut(&address) {
                own.due = None;
                self.dirty.insert(address);
            }
        }
        self.judge_itself(now);
    }

    /// Asks silent holders for a sign of life, and peers of which our copy differs for their table.
    fn ask(&mut self, now: Moment) {
        let mut questions = Vec::new();
        let (timing, jitter) = (self.timing, self.speaker.jitter(&self.timing));
        for peer in self.peers.iter_mut() {
            let node = Some(peer.bidder.node.clone());
            if peer.differs.is_some() && now >= peer.ask_table {
                peer.ask_table = now + timing.interval;
                questions.push(Body::Ask { node, wanted: Wanted::Table });
            } else if peer.holds > 0 && now >= (timing.doubt(peer.heard, peer.interval) + jitter).max(peer.ask_life) {
                peer.ask_life = now + timing.ask_again();
                questions.push(Body::Ask { node, wanted: Wanted::Life });
            }
        }
        for question in questions {
            self.send(now, question);
        }
    }

    /// What this node thinks of itself, and of the segment.
    fn judge_itself(&mut self, now: Moment) {
        let hangs = self.config.watchdog.is_some_and(|longest| now >= self.ticked + longest);
        let cut_off = self.api_away.is_some_and(|since| now >= since + API_GRACE)
            && self.peers.iter().any(|(_, peer)| peer.status.api);
        let standing = match (self.leaving, hangs || cut_off) {
            (true, _) => Standing::Leaving,
            (false, true) => Standing::Doubtful,
            (false, false) => Standing::Sound,
        };
        if self.standing != standing {
            self.standing = standing;
            self.all_dirty();
        }
        if self.heard_any {
            self.silence = None;
        }
        if self.silence.is_some_and(|until| now >= until) {
            self.silence = None;
            if !self.expected.is_empty() {
                self.tell(Event::SegmentSilent { expected: self.expected.len() });
            }
        }
    }

    fn all_dirty(&mut self) {
        self.dirty.extend(self.own.keys());
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.outputs.push(Output::Tell(event));
    }

    /// Of what any station can cause, one in ten seconds is told.
    pub(super) fn tell_oddity(&mut self, now: Moment, event: Event) {
        if self.last_oddity.is_none_or(|last| now >= last + DEFEND) {
            self.last_oddity = Some(now);
            self.tell(event);
        }
    }
}
