//! A client's half of an SCTP association, over a raw socket.

use std::net::{IpAddr, UdpSocket};
use std::time::Instant;

use super::outcome::{Outcome, Refusal};
use super::responder::transport;
use super::sctp::{Chunk, Packet, tagged, untagged};
use super::wire::{receive, send};

/// A raw socket's half of an association.
#[derive(Debug)]
pub(super) struct Association {
    pub(super) socket: UdpSocket,
    pub(super) remote: IpAddr,
    pub(super) ports: (u16, u16),
    pub(super) own: u32,
    pub(super) peer: u32,
}

impl Association {
    pub(super) fn open(&mut self, deadline: Instant) -> Result<String, Outcome> {
        self.say(0, Chunk::Init(self.own))?;
        let cookie = loop {
            match self.hear(deadline)? {
                Chunk::InitAck(tag, cookie) => {
                    self.peer = tag;
                    break cookie;
                }
                Chunk::Abort => return Err(Outcome::Refused(Refusal::Reset)),
                _ => {}
            }
        };
        let text = untagged(&cookie).unwrap_or_default().to_owned();
        self.say(self.peer, Chunk::CookieEcho(cookie))?;
        while self.hear(deadline)? != Chunk::CookieAck {}
        Ok(text)
    }

    pub(super) fn ask(&mut self, deadline: Instant) -> Result<String, Outcome> {
        self.say(self.peer, Chunk::Heartbeat(tagged(self.own, "")))?;
        loop {
            match self.hear(deadline)? {
                Chunk::HeartbeatAck(content) => return Ok(untagged(&content).unwrap_or_default().to_owned()),
                Chunk::Abort => return Err(Outcome::Closed),
                _ => {}
            }
        }
    }

    fn say(&self, tag: u32, chunk: Chunk) -> Result<(), Outcome> {
        let packet = Packet { source: self.ports.0, destination: self.ports.1, tag, chunk };
        send(&self.socket, &packet.encode())
    }

    /// The next chunk of this association; a raw socket hears everything from the peer's address.
    fn hear(&self, deadline: Instant) -> Result<Chunk, Outcome> {
        let mut buffer = [0; 2048];
        loop {
            let length = receive(&self.socket, &mut buffer, deadline)?;
            let packet = Packet::decode(transport(self.remote, &buffer[..length]));
            match packet {
                Some(packet) if (packet.destination, packet.source) == self.ports && packet.tag == self.own => {
                    return Ok(packet.chunk);
                }
                _ => {}
            }
        }
    }
}

/// A source port that the kernel does not choose for raw sockets: the next of a process-wide round.
pub(super) fn ephemeral() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    40_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 20_000
}
