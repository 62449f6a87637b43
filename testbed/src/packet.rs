//! IP packets as bytes: what the sink reads and writes.
//!
//! Pure. Kept apart from the sink because it is all about formats (RFC 791, 8200, 9293, 768, 792, 4443) and nothing
//! about worlds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::sctp;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// Where everything is taken and nothing is answered (RFC 863).
const DISCARD: u16 = 9;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
/// Initial sequence number of every answer.
const FIRST: u32 = 0x5359_0000;

/// An IP packet's ends and what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// From where.
    pub source: IpAddr,
    /// To where.
    pub destination: IpAddr,
    protocol: u8,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads an IPv4 packet that is no fragment, or an IPv6 packet without extension headers.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let header = usize::from(bytes[0] & 0xf) * 4;
                let fragment = be16(bytes, 6)? & 0x3fff != 0;
                let payload = bytes.get(header..usize::from(be16(bytes, 2)?)).filter(|_| !fragment)?;
                let (source, destination) = (address4(bytes, 12)?, address4(bytes, 16)?);
                Some(Self { source, destination, protocol: *bytes.get(9)?, payload })
            }
            6 => {
                let payload = bytes.get(40..40 + usize::from(be16(bytes, 4)?))?;
                let (source, destination) = (address6(bytes, 8)?, address6(bytes, 24)?);
                Some(Self { source, destination, protocol: bytes[6], payload })
            }
            _ => None,
        }
    }

    /// What the machine that owns every address and listens on every port but [`DISCARD`] says to this, `answer` telling
    /// its words to a peer. It remembers nothing.
    pub(super) fn response(&self, answer: impl Fn(SocketAddr) -> String) -> Option<Vec<u8>> {
        if matches!(self.protocol, TCP | UDP | SCTP) && be16(self.payload, 2) == Some(DISCARD) {
            return None;
        }
        let payload = match self.protocol {
            TCP => tcp_response(self.payload, &(answer(self.peer()?) + "\n"))?,
            UDP => datagram(self.payload.get(..8)?, &answer(self.peer()?)),
            SCTP => sctp::Packet::decode(self.payload)?.response(&answer(self.peer()?))?.encode(),
            // Echo requests (RFC 792, RFC 4443) become echo replies.
            ICMP if self.payload.first() == Some(&8) => echo(0, self.payload),
            ICMPV6 if self.payload.first() == Some(&128) => echo(129, self.payload),
            _ => return None,
        };
        Some(self.reverse(payload))
    }

    /// The source with its port, where the protocol has ports.
    fn peer(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.source, be16(self.payload, 0)?))
    }

    /// A packet back, with the checksums in place.
    fn reverse(&self, mut payload: Vec<u8>) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("answers are short");
        let (pseudo, header) = match (self.destination, self.source) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (pseudo4(from, to), header4(from, to, self.protocol, length)),
            (IpAddr::V6(from), IpAddr::V6(to)) => (pseudo6(from, to), header6(from, to, self.protocol, length)),
            _ => unreachable!("both ends of a packet are of one family"),
        };
        let covered = [pseudo, vec![0, self.protocol], length.to_be_bytes().to_vec()].concat();
        let (at, covered) = match self.protocol {
            TCP => (16, covered),
            UDP => (6, covered),
            ICMPV6 => (2, covered),
            ICMP => (2, Vec::new()),
            _ => return [header, payload].concat(),
        };
        let sum = checksum(&[covered, payload.clone()].concat());
        payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        [header, payload].concat()
    }
}

/// Sends the line when a handshake is complete and for each segment with text, and answers FIN with FIN.
fn tcp_response(segment: &[u8], line: &str) -> Option<Vec<u8>> {
    let (sequence, acknowledged) = (be32(segment, 4)?, be32(segment, 8)?);
    let flags = *segment.get(13)?;
    let text = segment.get(usize::from(segment[12] >> 4) * 4..)?;
    let after = sequence.wrapping_add(u32::try_from(text.len()).ok()?);
    let (flags, sequence, acknowledge, line) = if flags & RST != 0 {
        return None;
    } else if flags & SYN != 0 {
        (SYN | ACK, FIRST, sequence.wrapping_add(1), "")
    } else if flags & FIN != 0 {
        (FIN | ACK, acknowledged, after.wrapping_add(1), "")
    } else if !text.is_empty() || acknowledged == FIRST.wrapping_add(1) {
        (PSH | ACK, acknowledged, after, line)
    } else {
        return None;
    };
    let ports = [&segment[2..4], &segment[0..2]].concat();
    let window = 0x7fff_u16.to_be_bytes();
    let numbers = [sequence.to_be_bytes(), acknowledge.to_be_bytes()].concat();
    Some([&ports[..], &numbers, &[0x50, flags], &window, &[0; 4], line.as_bytes()].concat())
}

fn datagram(request: &[u8], answer: &str) -> Vec<u8> {
    let length = u16::try_from(answer.len() + 8).expect("answers are short");
    [&request[2..4], &request[0..2], &length.to_be_bytes(), &[0; 2], answer.as_bytes()].concat()
}

fn echo(kind: u8, request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply[..4.min(request.len())].fill(0);
    reply[0] = kind;
    reply
}

fn header4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, length: u16) -> Vec<u8> {
    let total = (length + 20).to_be_bytes();
    let mut header =
        [&[0x45, 0], &total[..], &[0, 0, 0x40, 0, 64, protocol, 0, 0], &from.octets(), &to.octets()].concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

fn header6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, length: u16) -> Vec<u8> {
    [&[0x60, 0, 0, 0], &length.to_be_bytes()[..], &[protocol, 64], &from.octets(), &to.octets()].concat()
}

fn pseudo4(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    [from.octets(), to.octets()].concat()
}

fn pseudo6(from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    [from.octets(), to.octets()].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn address4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?.into())
}

fn address6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?.into())
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_sums_to_zero() {
        let header = header4([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), UDP, 8);
        assert_eq!(checksum(&header), 0);
        // RFC 1071, section 3.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn an_answer_goes_back_to_where_the_question_came_from() {
        for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let question = Packet { source: to, destination: from, protocol: UDP, payload: &[0, 7, 0, 80, 0, 8, 0, 0] };
            let bytes = question.response(|peer| format!("x {peer}")).unwrap();
            let answer = Packet::decode(&bytes).unwrap();
            assert_eq!((answer.source, answer.destination, answer.protocol), (from, to, UDP));
            assert_eq!(answer.payload[..4], [0, 80, 0, 7]);
            assert_eq!(&answer.payload[8..], format!("x {}", SocketAddr::new(to, 7)).as_bytes());
        }
    }

    #[test]
    fn short_packets_get_no_answer() {
        let full = header4([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), TCP, 20);
        for length in 0..full.len() {
            assert_eq!(Packet::decode(&full[..length]), None);
        }
    }
}
