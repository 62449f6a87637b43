//! Nodes with clocks of their own, and the segment between them.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::env;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use switchyard_announce::election::{Config, Election, Event, Incumbency, Input, Moment, Output, Said, Timing, Wish};
use switchyard_announce::wire::Mac;
use switchyard_announce::wire::heartbeat::{Body, Message, Name, Standing};

use super::random::Random;

/// Microseconds of true time.
pub(crate) type Micros = u64;

/// A delivery takes at most as long.
const SLOWEST: Micros = 5_000;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Micros,
    pub(crate) nodes: Vec<Node>,
    pub(crate) addresses: Vec<IpAddr>,
    /// Which cannot be heard by which.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    pub(crate) loss: u64,
    pub(crate) twice: u64,
    /// Stations that are no nodes, by address.
    pub(crate) foreign: BTreeSet<IpAddr>,
    pub(crate) turns: u64,
    queue: BinaryHeap<Reverse<(Micros, u64, usize)>>,
    deliveries: BTreeMap<u64, Delivery>,
    serial: u64,
    /// Writing takes most of the time, so a world that fails is played again.
    logged: bool,
    log: RefCell<VecDeque<String>>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) election: Option<Election>,
    pub(crate) wishes: BTreeMap<IpAddr, Wish>,
    /// Its clock's time is this much, and grows at this rate in thousandths.
    clock: (Micros, Micros, u64),
    incarnation: u64,
    pub(crate) link: bool,
    /// Until when it is stopped.
    pub(crate) stopped: Option<Micros>,
    waiting: VecDeque<Delivery>,
    pub(crate) failback: bool,
}

#[derive(Clone, Debug)]
enum Delivery {
    Wake,
    Heartbeat(Mac, Box<Message>),
    Asked(usize, IpAddr),
    Station(IpAddr, Mac, Said),
}

const FOREIGN: Mac = Mac([0x06, 0, 0, 0, 0, 0x99]);

fn mac(node: usize) -> Mac {
    Mac([0x02, 0, 0, 0, 0, node as u8])
}

impl World {
    pub(crate) fn random(random: &mut Random) -> Self {
        let (nodes, addresses) = (random.between(2, 6) as usize, random.between(1, 4) as usize);
        let failback = random.percent(10);
        Self::new(random, nodes, addresses, failback)
    }

    pub(crate) fn new(random: &mut Random, nodes: usize, addresses: usize, failback: bool) -> Self {
        let addresses: Vec<IpAddr> = (0..addresses)
            .map(|at| match at % 2 {
                0 => IpAddr::from([192, 168, 67, 240 + at as u8]),
                _ => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, at as u16]),
            })
            .collect();
        let mut world = Self {
            now: 0,
            nodes: Vec::new(),
            addresses,
            cut: BTreeSet::new(),
            loss: 0,
            twice: 0,
            foreign: BTreeSet::new(),
            turns: 0,
            queue: BinaryHeap::new(),
            deliveries: BTreeMap::new(),
            serial: 0,
            logged: env::var("LOG").is_ok(),
            log: RefCell::default(),
        };
        for _ in 0..nodes {
            let wishes = world.addresses.iter().map(|address| (*address, wish(*address))).collect();
            let clock = (0, random.between(0, 1_000_000_000), random.between(900, 1100));
            let waiting = VecDeque::new();
            let node =
                Node { election: None, wishes, clock, incarnation: 0, link: true, stopped: None, waiting, failback };
            world.nodes.push(node);
        }
        for node in 0..nodes {
            world.start(random, node);
            world.settle(random, node);
        }
        world
    }

    pub(crate) fn keep_log(&mut self) {
        self.logged = true;
    }

    pub(crate) fn log(&self) -> String {
        self.log.borrow().iter().cloned().collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn note(&self, line: fmt::Arguments<'_>) {
        if !self.logged {
            return;
        }
        let mut log = self.log.borrow_mut();
        if log.len() == 400 {
            log.pop_front();
        }
        log.push_back(format!("{:>10} {line}", self.now));
    }

    /// When something is to happen.
    pub(crate) fn next(&self) -> Micros {
        self.queue.peek().map_or(u64::MAX, |Reverse((at, ..))| *at)
    }

    pub(crate) fn step(&mut self, random: &mut Random) {
        let Some(Reverse((_, serial, node))) = self.queue.pop() else { return };
        let delivery = self.deliveries.remove(&serial).expect("every delivery is queued once");
        if self.nodes[node].stopped.is_some_and(|until| self.now < until) {
            // Woken later; the rest waits in its sockets.
            if !matches!(delivery, Delivery::Wake) {
                self.nodes[node].waiting.push_back(delivery);
            }
            return;
        }
        self.deliver(random, node, delivery);
    }

    fn deliver(&mut self, random: &mut Random, node: usize, delivery: Delivery) {
        if self.nodes[node].election.is_none() || !self.nodes[node].link {
            return;
        }
        match delivery {
            Delivery::Wake => {
                let due = self.nodes[node].election.as_ref().and_then(Election::next);
                // Otherwise a later turn has asked for another time.
                if due.is_some_and(|due| due <= self.local(node)) {
                    self.turn(random, node, Input::Tick);
                }
            }
            Delivery::Heartbeat(from, message) => self.turn(random, node, Input::Message(from, message)),
            Delivery::Station(address, mac, said) => {
                self.turn(random, node, Input::Station { address, mac, said });
            }
            Delivery::Asked(asker, address) => {
                let probe = Input::Station { address, mac: mac(asker), said: Said::Probe };
                self.turn(random, node, probe);
                if let Some(mac) = self.nodes[node].election.as_ref().and_then(|election| election.answer(address)) {
                    self.deliver_to(random, node, asker, Delivery::Station(address, mac, Said::Claim));
                }
            }
        }
    }

    /// One input to a node, and what follows from it.
    pub(crate) fn turn(&mut self, random: &mut Random, node: usize, input: Input) {
        let now = self.local(node);
        let Some(election) = &mut self.nodes[node].election else { return };
        self.turns += 1;
        for output in election.handle(now, input) {
            self.act(random, node, output);
        }
        self.wake(node);
    }

    fn act(&mut self, random: &mut Random, node: usize, output: Output) {
        match output {
            Output::Send(message) => {
                if !matches!(message.body, Body::Hello) {
                    self.note(format_args!("node {node} sends {:?}", message.body));
                }
                self.tell_all(random, node, &Delivery::Heartbeat(mac(node), Box::new(message)));
            }
            Output::Burst(address) | Output::Defend(address) => {
                self.tell_all(random, node, &Delivery::Station(address, mac(node), Said::Claim));
                if self.foreign.contains(&address) {
                    self.push(node, self.now + 500, Delivery::Station(address, FOREIGN, Said::Claim));
                }
            }
            Output::Probe(address) => {
                self.tell_all(random, node, &Delivery::Asked(node, address));
                if self.foreign.contains(&address) {
                    self.push(node, self.now + 500, Delivery::Station(address, FOREIGN, Said::Claim));
                }
            }
            Output::Flush => self.nodes[node].waiting.clear(),
            Output::Tell(event) => {
                if !matches!(event, Event::PeerHeard(_)) {
                    self.note(format_args!("node {node}: {event:?}"));
                }
            }
        }
    }

    fn tell_all(&mut self, random: &mut Random, from: usize, delivery: &Delivery) {
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            self.deliver_to(random, from, to, delivery.clone());
        }
    }

    fn deliver_to(&mut self, random: &mut Random, from: usize, to: usize, delivery: Delivery) {
        if self.cut.contains(&(from, to)) || !self.nodes[from].link {
            return;
        }
        for _ in 0..if random.percent(self.twice) { 2 } else { 1 } {
            if !random.percent(self.loss) {
                let at = self.now + random.between(50, SLOWEST);
                self.push(to, at, delivery.clone());
            }
        }
    }

    fn push(&mut self, to: usize, at: Micros, delivery: Delivery) {
        self.serial += 1;
        self.queue.push(Reverse((at, self.serial, to)));
        self.deliveries.insert(self.serial, delivery);
    }

    fn wake(&mut self, node: usize) {
        let Some(due) = self.nodes[node].election.as_ref().and_then(Election::next) else { return };
        let at = self.nodes[node].true_time(due).max(self.now + 1);
        self.push(node, at, Delivery::Wake);
    }

    fn local(&self, node: usize) -> Moment {
        self.nodes[node].local(self.now)
    }

    // What is done to it.

    /// A new process, which does not know its bids yet.
    pub(crate) fn start(&mut self, random: &mut Random, node: usize) {
        self.note(format_args!("start node {node}"));
        let now = self.local(node);
        let started = &mut self.nodes[node];
        started.incarnation += 1;
        started.waiting.clear();
        started.stopped = None;
        let config = Config {
            cluster: Name::new("kubernetes").unwrap(),
            node: Name::new(&format!("node-{node}")).unwrap(),
            interface: 2,
            incarnation: started.incarnation,
            timing: Timing::default(),
            incumbency: if started.failback { Incumbency::Failback } else { Incumbency::Sticky },
            watchdog: None,
        };
        started.election = Some(Election::new(now, config));
        if self.nodes[node].link {
            self.turn(random, node, Input::Link(Some(mac(node))));
        }
    }

    /// It knows its bids.
    pub(crate) fn settle(&mut self, random: &mut Random, node: usize) {
        let wishes = self.nodes[node].wishes.clone();
        if self.nodes[node].stopped.is_none() {
            self.turn(random, node, Input::Bids(wishes));
        }
    }

    pub(crate) fn kill(&mut self, node: usize) {
        self.note(format_args!("kill node {node}"));
        self.nodes[node].election = None;
        self.nodes[node].stopped = None;
    }

    pub(crate) fn set_link(&mut self, random: &mut Random, node: usize, up: bool) {
        self.note(format_args!("link of node {node} up: {up}"));
        self.nodes[node].link = up;
        self.turn(random, node, Input::Link(up.then(|| mac(node))));
    }

    /// Stopped until then. If `unnoticed`, its clock stands still too, and it receives nothing.
    pub(crate) fn stop(&mut self, node: usize, until: Micros, unnoticed: bool) {
        self.note(format_args!("stop node {node} until {until}, unnoticed: {unnoticed}"));
        if unnoticed {
            let now = self.now;
            let node = &mut self.nodes[node];
            node.clock = (until, node.local(now).as_micros() as u64, node.clock.2);
        }
        self.nodes[node].stopped = Some(until);
        let _ = unnoticed;
    }

    /// Goes on, with what waits in its sockets.
    pub(crate) fn resume(&mut self, random: &mut Random, node: usize) {
        self.note(format_args!("go on, node {node}"));
        self.nodes[node].stopped = None;
        self.turn(random, node, Input::Tick);
        while let Some(delivery) = self.nodes[node].waiting.pop_front() {
            self.deliver(random, node, delivery);
        }
        let wishes = self.nodes[node].wishes.clone();
        self.turn(random, node, Input::Bids(wishes));
    }

    // What is seen of it.

    /// It runs and can answer.
    pub(crate) fn is_awake(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        node.election.is_some() && node.link && node.stopped.is_none()
    }

    /// The nodes that answer with an address of their own.
    pub(crate) fn holders(&self, address: IpAddr) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|node| self.is_awake(*node))
            .filter(|node| {
                self.nodes[*node].election.as_ref().is_some_and(|election| election.answer(address) == Some(mac(*node)))
            })
            .collect()
    }

    /// Whether some node answers, with whichever hardware address.
    pub(crate) fn is_answered(&self, address: IpAddr) -> bool {
        (0..self.nodes.len())
            .filter(|node| self.is_awake(*node))
            .any(|node| self.nodes[node].election.as_ref().is_some_and(|election| election.answer(address).is_some()))
    }

    pub(crate) fn hear_each_other(&self, one: usize, other: usize) -> bool {
        !self.cut.contains(&(one, other)) && !self.cut.contains(&(other, one))
    }
}

impl Node {
    fn local(&self, now: Micros) -> Moment {
        let (from, value, rate) = self.clock;
        Duration::from_micros(value + now.saturating_sub(from) * rate / 1000)
    }

    fn true_time(&self, local: Moment) -> Micros {
        let (from, value, rate) = self.clock;
        let micros = local.as_nanos().div_ceil(1000) as u64;
        from + (micros.saturating_sub(value) * 1000).div_ceil(rate)
    }
}

pub(crate) fn wish(address: IpAddr) -> Wish {
    Wish { preference: 0, standing: Standing::Sound, first: address }
}

/// Why a holder ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its process or node is gone, without a word.
    Kill,
    /// Its process is stopped.
    Stall,
    /// Its link is down, and it sees that.
    Link,
    /// It is drained.
    Leave,
    /// Its process is updated: another comes within three seconds.
    Pause,
    /// Another node is preferred.
    Preference,
    /// Its endpoints are gone, and others have some.
    Doubt,
}

pub(crate) const CAUSES: [Cause; 7] =
    [Cause::Kill, Cause::Stall, Cause::Link, Cause::Leave, Cause::Pause, Cause::Preference, Cause::Doubt];

/// How long no node answers when the holder of an address ends for this cause, among three nodes.
pub(crate) fn gap(seed: u64, cause: Cause, loss: u64) -> Micros {
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random, 3, 1, false);
    let address = world.addresses[0];
    let start = 6_000_000 + random.between(0, 1_000_000);
    run_until(&mut world, &mut random, 4_000_000);
    world.loss = loss;
    run_until(&mut world, &mut random, start);
    let [holder, ..] = world.holders(address)[..] else { panic!("seed {seed}: one holder\n{}", world.log()) };
    strike(&mut world, &mut random, cause, holder);
    let end = world.now + 5_000_000;
    let (mut silent, mut since, mut restart) = (0, None, (cause == Cause::Pause).then_some(world.now + 3_000_000));
    while world.now < end {
        match (since, world.is_answered(address)) {
            (None, false) => since = Some(world.now),
            (Some(began), true) => {
                silent += world.now - began;
                since = None;
            }
            _ => {}
        }
        world.now = world.next().min(end).min(restart.unwrap_or(end));
        if restart == Some(world.now) {
            restart = None;
            world.start(&mut random, holder);
            world.settle(&mut random, holder);
        } else if world.next() <= world.now {
            world.step(&mut random);
        }
    }
    if cause == Cause::Pause && loss == 0 {
        assert_eq!(world.holders(address), [holder], "seed {seed}: an update moves nothing\n{}", world.log());
    }
    let silent = silent + since.map_or(0, |began| end - began);
    if env::var("LOG").is_ok() {
        println!("seed {seed}, {cause:?}: {silent}\n{}", world.log());
    }
    silent
}

/// How often another node than before holds an address alone for a tenth of a second, in a minute with such loss.
pub(crate) fn moves(seed: u64, loss: u64) -> usize {
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random, 3, 1, false);
    let address = world.addresses[0];
    run_until(&mut world, &mut random, 4_000_000);
    world.loss = loss;
    let (mut holder, mut moves) = (world.holders(address)[0], 0);
    let mut rising = (holder, world.now);
    while world.now < 64_000_000 {
        world.now = world.next();
        world.step(&mut random);
        match world.holders(address)[..] {
            [alone] if alone == rising.0 && world.now > rising.1 + 100_000 => {
                moves += usize::from(alone != holder);
                holder = alone;
            }
            [alone] if alone == rising.0 => {}
            [alone] => rising = (alone, world.now),
            _ => rising.1 = world.now,
        }
    }
    moves
}

fn strike(world: &mut World, random: &mut Random, cause: Cause, holder: usize) {
    let address = world.addresses[0];
    match cause {
        Cause::Kill => world.kill(holder),
        Cause::Stall => world.stop(holder, u64::MAX, false),
        Cause::Link => world.set_link(random, holder, false),
        Cause::Leave => world.turn(random, holder, Input::Leave),
        Cause::Pause => {
            world.turn(random, holder, Input::Pause(Duration::from_secs(10)));
            world.kill(holder);
        }
        Cause::Preference => {
            let other = (holder + 1) % world.nodes.len();
            world.nodes[other].wishes.get_mut(&address).unwrap().preference = 7;
            world.settle(random, other);
        }
        Cause::Doubt => {
            world.nodes[holder].wishes.get_mut(&address).unwrap().standing = Standing::LastResort;
            world.settle(random, holder);
        }
    }
}

fn run_until(world: &mut World, random: &mut Random, end: Micros) {
    while world.next() < end {
        world.now = world.next();
        world.step(random);
    }
    world.now = end;
}
