//! One interface: its packet socket, its election, and its bursts.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{MsgFlags, SockaddrLike, bind, recv};
use socket2::{Domain, Protocol, Socket, Type};

use super::bursts::Bursts;
use super::{Counters, Settings, Told, filter};
use crate::election::{Config, Election, Event, Input, Moment, Output, Said, Wish};
use crate::wire::heartbeat::{decode, encode};
use crate::wire::{Arp, ArpOperation, EtherType, Frame, Mac, Ndp, Packet, multicast_mac};

/// `ETH_P_ALL` in network order, linux/if_ether.h. The frames of one kind alone would do, but a socket has one kind.
const ALL: i32 = 0x0003_u16.to_be() as i32;

/// What waits to be read: more than a second of a busy segment's requests.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Frames that are read before the timers are looked at again.
const FRAMES: usize = 256;

#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) mac: Mac,
    /// From which heartbeats come.
    pub(super) source: Ipv4Addr,
    pub(super) election: Election,
    pub(super) counters: Counters,
    socket: Socket,
    bursts: Bursts,
    ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
    settings: Settings,
    pub(super) told: Vec<Told>,
}

impl Port {
    /// # Errors
    /// The kernel's: the process has no `NET_RAW`, or the interface is gone.
    pub(super) fn open(now: Moment, settings: &Settings, index: u32, name: String) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL)))?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&filter::nothing())?;
        // nix makes no link-level address, and has those of the interfaces. Their protocol is 0: the socket's stays.
        let address = getifaddrs()?
            .filter_map(|interface| interface.address)
            .find(|address| address.as_link_addr().is_some_and(|link| link.ifindex() == index as usize))
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such interface"))?;
        let address = address.as_link_addr().expect("it was found by its link-level address");
        bind(socket.as_raw_fd(), address as &dyn SockaddrLike)?;
        // The kernel may refuse so much; what it gives will do.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        let config = Config {
            cluster: settings.cluster.clone(),
            node: settings.node.clone(),
            interface: index,
            incarnation: settings.incarnation,
            timing: settings.timing,
            incumbency: settings.incumbency,
            watchdog: settings.watchdog,
        };
        let port = Self {
            name,
            mac: Mac::UNKNOWN,
            source: Ipv4Addr::UNSPECIFIED,
            election: Election::new(now, config),
            counters: Counters::default(),
            socket,
            bursts: Bursts::default(),
            ranges: Vec::new(),
            settings: settings.clone(),
            told: Vec::new(),
        };
        port.drain();
        port.socket.attach_filter(&filter::program(&[]))?;
        Ok(port)
    }

    /// The addresses for which this node bids here.
    pub(super) fn bid(&mut self, now: Moment, wishes: BTreeMap<IpAddr, Wish>) {
        let ranges = filter::ranges(wishes.keys().copied());
        // If the kernel refuses it, the filter before stays, and is tried again with the next bids.
        if self.ranges != ranges && self.socket.attach_filter(&filter::program(&ranges)).is_ok() {
            self.ranges = ranges;
        }
        self.handle(now, Input::Bids(wishes));
    }

    /// Announces all that is held once more.
    pub(super) fn announce_all(&mut self, now: Moment) {
        let held: Vec<IpAddr> = self.election.held().collect();
        held.into_iter().for_each(|address| self.bursts.start(now, address));
    }

    pub(super) fn next(&self) -> Option<Moment> {
        [self.election.next(), self.bursts.next()].into_iter().flatten().min()
    }

    pub(super) fn handle(&mut self, now: Moment, input: Input) {
        for output in self.election.handle(now, input) {
            match output {
                Output::Send(message) => {
                    let heartbeat = encode(&message, self.settings.key.as_ref());
                    let frame = self.settings.transport.wrap(self.mac, self.source, &heartbeat);
                    self.counters.heartbeats_sent += 1;
                    self.send(&frame);
                }
                Output::Burst(address) => self.bursts.start(now, address),
                Output::Probe(address) => self.probe(address),
                Output::Defend(address) => self.announce(address),
                Output::Flush => self.drain(),
                Output::Tell(event) => {
                    if let Event::Yields { address, .. } = &event {
                        self.bursts.stop(*address);
                    }
                    self.told.push(Told { interface: self.name.clone(), event });
                }
            }
        }
    }

    /// Timers that are due.
    pub(super) fn tick(&mut self, now: Moment) {
        if self.election.next().is_some_and(|next| next <= now) {
            self.handle(now, Input::Tick);
        }
        for address in self.bursts.take(now) {
            if self.election.holds(address) {
                self.announce(address);
            } else {
                self.bursts.stop(address);
            }
        }
    }

    /// Reads frames, and answers; some wait for the next turn if there are many.
    pub(super) fn receive(&mut self, clock: impl Fn() -> Moment) {
        let mut buffer = [0; 2048];
        for _ in 0..FRAMES {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    self.counters.received += 1;
                    self.take_frame(clock(), &buffer[..length]);
                }
                Err(nix::Error::EINTR) => {}
                Err(_) => return, // nothing is there, or the interface is down, which rtnetlink tells
            }
        }
    }

    fn take_frame(&mut self, now: Moment, bytes: &[u8]) {
        let Some(frame) = Frame::decode(bytes) else { return };
        match Packet::decode(&frame) {
            Some(Packet::Heartbeat(heartbeat)) => match decode(heartbeat, self.settings.key.as_ref()) {
                Ok(message) => {
                    self.counters.heartbeats_heard += 1;
                    self.handle(now, Input::Message(frame.source, Box::new(message)));
                }
                Err(_) => self.counters.heartbeats_refused += 1,
            },
            Some(Packet::Arp(arp)) => self.take_arp(now, &frame, &arp),
            Some(Packet::Ndp(ndp)) => self.take_ndp(now, &frame, &ndp),
            None => {}
        }
    }

    fn take_arp(&mut self, now: Moment, frame: &Frame<'_>, arp: &Arp) {
        if arp.is_probe() {
            self.station(now, arp.target.into(), arp.sender_mac, Said::Probe);
        } else if !arp.sender.is_unspecified() {
            self.station(now, arp.sender.into(), arp.sender_mac, Said::Claim);
        }
        let asks = arp.operation == ArpOperation::Request && arp.sender != arp.target;
        if let Some(mac) = self.election.answer(arp.target.into()).filter(|_| asks) {
            let answer = arp.answer(mac).encode();
            self.counters.answered += 1;
            self.send_payload(frame.source, EtherType::Arp, &answer);
        }
    }

    fn take_ndp(&mut self, now: Moment, frame: &Frame<'_>, ndp: &Ndp) {
        match ndp {
            Ndp::Advertisement(message) => {
                let mac = message.target_mac.unwrap_or(frame.source);
                self.station(now, message.target.into(), mac, Said::Claim);
            }
            Ndp::Solicitation(message) => {
                if message.source.is_unspecified() {
                    self.station(now, message.target.into(), frame.source, Said::Probe);
                } else {
                    self.station(now, message.source.into(), frame.source, Said::Claim);
                }
                let Some(mac) = self.election.answer(message.target.into()) else { return };
                let answer = message.answer(mac);
                let to = match answer.destination.is_multicast() {
                    true => multicast_mac(answer.destination),
                    false => frame.source,
                };
                self.counters.answered += 1;
                self.send_payload(to, EtherType::Ipv6, &Ndp::Advertisement(answer).encode());
            }
        }
    }

    fn station(&mut self, now: Moment, address: IpAddr, mac: Mac, said: Said) {
        if mac.is_station() && mac != self.mac {
            self.handle(now, Input::Station { address, mac, said });
        }
    }

    fn probe(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                let probe = Arp::probe(self.mac, address).encode();
                self.send_payload(Mac::BROADCAST, EtherType::Arp, &probe);
            }
            IpAddr::V6(address) => {
                let group = multicast_mac(crate::wire::solicited_node(address));
                self.send_payload(group, EtherType::Ipv6, &Ndp::probe(address).encode());
            }
        }
    }

    fn announce(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                for arp in Arp::gratuitous(self.mac, address) {
                    self.counters.gratuitous += 1;
                    self.send_payload(Mac::BROADCAST, EtherType::Arp, &arp.encode());
                }
            }
            IpAddr::V6(address) => {
                self.counters.gratuitous += 1;
                let all_nodes = Mac([0x33, 0x33, 0, 0, 0, 1]);
                self.send_payload(all_nodes, EtherType::Ipv6, &Ndp::unsolicited(self.mac, address).encode());
            }
        }
    }

    fn send_payload(&mut self, destination: Mac, ether_type: EtherType, payload: &[u8]) {
        let frame = Frame { destination, source: self.mac, ether_type, payload }.encode();
        self.send(&frame);
    }

    /// A frame that is lost here is as one that is lost on the segment.
    fn send(&mut self, frame: &[u8]) {
        if self.socket.send(frame).is_err() {
            self.counters.send_errors += 1;
        }
    }

    fn drain(&self) {
        let mut buffer = [0; 64];
        while recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
