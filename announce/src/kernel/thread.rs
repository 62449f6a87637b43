//! The loop: what happened, to which port it matters, and until when to wait.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::{error, info, warn};

use super::groups::Groups;
use super::links::{self, Changes, Link};
use super::port::Port;
use super::{AddressState, Bid, Command, Settings, Snapshot, Told, clock};
use crate::election::{Input, Moment, Wish};
use crate::wire::heartbeat::Name;
use crate::wire::solicited_node;

/// An interface that comes up brings several notifications: they lead to one reading.
const SETTLE: Duration = Duration::from_millis(2);
/// An interface that could not be opened is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Thread {
    settings: Settings,
    woken: UnixStream,
    commands: Receiver<Command>,
    tell: SyncSender<Told>,
    changes: Changes,
    links: BTreeMap<u32, Link>,
    ports: BTreeMap<u32, Port>,
    groups: Groups,
    bids: BTreeMap<IpAddr, Bid>,
    expected: BTreeMap<Name, BTreeSet<IpAddr>>,
    api: bool,
    leaving: bool,
    /// When to read the links.
    read_links: Option<Moment>,
    ended: bool,
}

impl Thread {
    pub(super) fn open(
        settings: Settings,
        woken: UnixStream,
        commands: Receiver<Command>,
        tell: SyncSender<Told>,
    ) -> io::Result<Self> {
        Ok(Self {
            settings,
            woken,
            commands,
            tell,
            changes: Changes::open()?,
            links: links::read()?,
            ports: BTreeMap::new(),
            groups: Groups::default(),
            bids: BTreeMap::new(),
            expected: BTreeMap::new(),
            api: true,
            leaving: false,
            read_links: None,
            ended: false,
        })
    }

    pub(super) fn run(mut self) {
        while !self.ended {
            self.wait();
            let now = clock::now();
            // First, so that a port that is late drops what waits instead of answering it.
            self.ports.values_mut().for_each(|port| port.handle(now, Input::Tick));
            self.take_commands(now);
            if self.changes.drain() {
                self.read_links.get_or_insert(now + SETTLE);
            }
            if self.read_links.is_some_and(|due| now >= due) {
                self.read(now);
            }
            for port in self.ports.values_mut() {
                port.receive(clock::now);
            }
            let now = clock::now();
            self.ports.values_mut().for_each(|port| port.tick(now));
            self.report();
        }
        self.report();
    }

    fn wait(&mut self) {
        let ports = self.ports.values().filter_map(Port::next);
        let due = ports.chain(self.read_links).min();
        let timeout = match due {
            // Rounded up, so that it is due when the wait ends.
            Some(due) => {
                let left = due.saturating_sub(clock::now()).as_nanos().div_ceil(1_000_000);
                PollTimeout::try_from(left.min(60_000) as i32).unwrap_or(PollTimeout::ZERO)
            }
            None => PollTimeout::NONE,
        };
        let mut descriptors = vec![
            PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
        ];
        descriptors.extend(self.ports.values().map(|port| PollFd::new(port.as_fd(), PollFlags::POLLIN)));
        // An interrupted wait is a short one.
        let _ = poll(&mut descriptors, timeout);
    }

    fn take_commands(&mut self, now: Moment) {
        let mut buffer = [0; 64];
        while matches!((&self.woken).read(&mut buffer), Ok(length) if length > 0) {}
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Bids(bids) => {
                    self.bids = bids;
                    self.arrange(now);
                }
                Command::Expected(nodes) => {
                    self.expected = nodes;
                    self.tell_expected(now);
                }
                Command::Api(reachable) => {
                    self.api = reachable;
                    self.tell_all(now, &Input::Api(reachable));
                }
                Command::Tick => self.tell_all(now, &Input::Ticked),
                Command::Leave => {
                    self.leaving = true;
                    self.tell_all(now, &Input::Leave);
                }
                Command::Stay => {
                    self.leaving = false;
                    self.tell_all(now, &Input::Stay);
                }
                Command::Look(answer) => {
                    // If it does not wait any more, it does not want it.
                    let _ = answer.try_send(self.look());
                }
                Command::Pause(bound) => {
                    self.tell_all(now, &Input::Pause(bound));
                    self.ended = true;
                }
                Command::End => {
                    self.tell_all(now, &Input::End);
                    self.ended = true;
                }
            }
        }
    }

    fn tell_all(&mut self, now: Moment, input: &Input) {
        self.ports.values_mut().for_each(|port| port.handle(now, input.clone()));
    }

    fn read(&mut self, now: Moment) {
        self.read_links = None;
        match links::read() {
            Ok(links) => {
                let before = std::mem::replace(&mut self.links, links);
                for (index, port) in &mut self.ports {
                    let (before, link) = (before.get(index), self.links.get(index));
                    if let (Some(before), Some(link)) = (before, link)
                        && link.moved(before)
                    {
                        port.announce_all(now);
                    }
                }
                if before != self.links {
                    self.arrange(now);
                }
            }
            Err(error) => {
                warn!(%error, "interfaces: cannot be read, trying again");
                self.read_links = Some(now + TRY_AGAIN);
            }
        }
    }

    /// Opens and closes ports, and tells each of its link and its bids.
    fn arrange(&mut self, now: Moment) {
        let mut wanted: BTreeMap<u32, BTreeMap<IpAddr, Wish>> = BTreeMap::new();
        for (address, bid) in &self.bids {
            for (index, link) in &self.links {
                if bid.interfaces.select(*address, link) {
                    wanted.entry(*index).or_default().insert(*address, bid.wish);
                }
            }
        }
        self.close_unwanted(now, &wanted);
        self.open_wanted(now, &wanted);
        let interfaces: Vec<u32> = self.ports.keys().copied().collect();
        self.groups.heartbeats(&interfaces);
        self.groups.solicited(&solicited(&wanted));
        for (index, wishes) in wanted {
            if let (Some(port), Some(link)) = (self.ports.get_mut(&index), self.links.get(&index)) {
                port.name.clone_from(&link.name);
                port.source = link.source();
                if let Some(mac) = link.mac {
                    port.mac = mac;
                }
                port.handle(now, Input::Link(link.mac));
                port.bid(now, wishes);
            }
        }
        self.tell_expected(now);
    }

    fn close_unwanted(&mut self, now: Moment, wanted: &BTreeMap<u32, BTreeMap<IpAddr, Wish>>) {
        let unwanted: Vec<u32> = self.ports.keys().filter(|index| !wanted.contains_key(index)).copied().collect();
        for index in unwanted {
            if let Some(mut port) = self.ports.remove(&index) {
                port.handle(now, Input::End);
                info!(interface = port.name, "interface: nothing is announced there any more");
                self.forward(port.told);
            }
        }
    }

    fn open_wanted(&mut self, now: Moment, wanted: &BTreeMap<u32, BTreeMap<IpAddr, Wish>>) {
        for index in wanted.keys().filter(|index| !self.ports.contains_key(index)).copied().collect::<Vec<_>>() {
            let name = self.links.get(&index).map(|link| link.name.clone()).unwrap_or_default();
            match Port::open(now, &self.settings, index, name.clone()) {
                Ok(mut port) => {
                    info!(interface = name, "interface: addresses are announced there");
                    port.handle(now, Input::Api(self.api));
                    if self.leaving {
                        port.handle(now, Input::Leave);
                    }
                    self.ports.insert(index, port);
                }
                Err(error) => {
                    error!(
                        interface = name,
                        %error,
                        "interface: cannot be opened to announce addresses, trying again; needs the capability NET_RAW"
                    );
                    self.read_links = Some(now + TRY_AGAIN);
                }
            }
        }
    }

    /// To each port those nodes that have an address of its network.
    fn tell_expected(&mut self, now: Moment) {
        for (index, port) in &mut self.ports {
            let Some(link) = self.links.get(index) else { continue };
            let near = self.expected.iter().filter(|(_, all)| all.iter().any(|address| link.reaches(*address)));
            let nodes = near.map(|(node, _)| node.clone()).collect();
            port.handle(now, Input::Expected(nodes));
        }
    }

    fn report(&mut self) {
        let told: Vec<Told> = self.ports.values_mut().flat_map(|port| std::mem::take(&mut port.told)).collect();
        self.forward(told);
    }

    fn forward(&self, told: Vec<Told>) {
        for event in told {
            // What is not read in time is dropped: the snapshot has the state.
            let _ = self.tell.try_send(event);
        }
    }

    fn look(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for port in self.ports.values() {
            let peers = port.election.heard().count();
            snapshot.interfaces.insert(port.name.clone(), super::Counters { peers, ..port.counters });
            for (address, progress) in port.election.progress() {
                let interface = port.name.clone();
                snapshot.addresses.push(AddressState { address, interface, mac: port.mac, progress });
            }
        }
        let selected: BTreeSet<IpAddr> = snapshot.addresses.iter().map(|state| state.address).collect();
        snapshot.without_interface = self.bids.keys().filter(|address| !selected.contains(address)).copied().collect();
        snapshot
    }
}

fn solicited(wanted: &BTreeMap<u32, BTreeMap<IpAddr, Wish>>) -> Vec<(u32, Ipv6Addr)> {
    let mut groups = BTreeSet::new();
    for (index, wishes) in wanted {
        groups.extend(wishes.keys().filter_map(|address| match address {
            IpAddr::V6(address) => Some((*index, solicited_node(*address))),
            IpAddr::V4(_) => None,
        }));
    }
    groups.into_iter().collect()
}
