//! As much SCTP as a dialogue needs, for kernels without an SCTP stack: INIT, INIT ACK whose state cookie carries the
//! answer, then heartbeats that do.
//!
//! Pure. Source: RFC 9260. Connection tracking verifies the checksums and the verification tags, so both are real.

/// A packet with one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Verification tag: the receiver's; 0 with INIT.
    pub tag: u32,
    /// What it says.
    pub chunk: Chunk,
}

/// What a packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Opens an association; the tag is the sender's own.
    Init(u32),
    /// Answers it, with the sender's tag and a cookie.
    InitAck(u32, Vec<u8>),
    /// Asks whether the other is there.
    Heartbeat(Vec<u8>),
    /// Says so.
    HeartbeatAck(Vec<u8>),
    /// There is no such association, nor will there be.
    Abort,
    /// Returns the cookie: the association stands.
    CookieEcho(Vec<u8>),
    /// Agrees.
    CookieAck,
}

/// Verification tag of every responder.
const RESPONDER: u32 = 0x5359_0001;
/// Parameters: a state cookie, a heartbeat's content.
const STATE_COOKIE: u16 = 7;
const HEARTBEAT_INFO: u16 = 1;

impl Packet {
    /// As it is on the wire, after the IP header.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.destination.to_be_bytes());
        bytes.extend(self.tag.to_be_bytes());
        bytes.extend([0; 4]);
        self.chunk.encode(&mut bytes);
        let checksum = crc32c(&bytes);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a packet that has a right checksum and a first chunk that we know.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, chunk) = bytes.split_at_checked(12)?;
        let mut unsigned = bytes.to_vec();
        unsigned[8..12].fill(0);
        if crc32c(&unsigned).to_le_bytes() != header[8..12] {
            return None;
        }
        Some(Self {
            source: be16(header, 0)?,
            destination: be16(header, 2)?,
            tag: be32(header, 4)?,
            chunk: Chunk::decode(chunk)?,
        })
    }

    /// What a responder says to this, whose answer is `answer`. It remembers nothing: cookies and heartbeats begin with
    /// the client's tag.
    pub(super) fn response(&self, answer: &str) -> Option<Self> {
        let (tag, chunk) = match &self.chunk {
            Chunk::Init(client) => (*client, Chunk::InitAck(RESPONDER, tagged(*client, answer))),
            Chunk::CookieEcho(cookie) => (be32(cookie, 0)?, Chunk::CookieAck),
            Chunk::Heartbeat(content) => (be32(content, 0)?, Chunk::HeartbeatAck(tagged(be32(content, 0)?, answer))),
            Chunk::InitAck(..) | Chunk::HeartbeatAck(_) | Chunk::Abort | Chunk::CookieAck => return None,
        };
        Some(Self { source: self.destination, destination: self.source, tag, chunk })
    }
}

/// A tag and a text behind it.
pub(super) fn tagged(tag: u32, text: &str) -> Vec<u8> {
    [&tag.to_be_bytes(), text.as_bytes()].concat()
}

/// The text behind a tag.
pub(super) fn untagged(content: &[u8]) -> Option<&str> {
    std::str::from_utf8(content.get(4..)?).ok()
}

impl Chunk {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let (kind, body) = match self {
            Self::Init(tag) => (1, opening(*tag)),
            Self::InitAck(tag, cookie) => (2, [opening(*tag), parameter(STATE_COOKIE, cookie)].concat()),
            Self::Heartbeat(content) => (4, parameter(HEARTBEAT_INFO, content)),
            Self::HeartbeatAck(content) => (5, parameter(HEARTBEAT_INFO, content)),
            Self::Abort => (6, Vec::new()),
            Self::CookieEcho(cookie) => (10, cookie.clone()),
            Self::CookieAck => (11, Vec::new()),
        };
        bytes.extend([kind, 0]);
        bytes.extend(length(&body).to_be_bytes());
        bytes.extend(body);
        pad(bytes);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let body = bytes.get(4..usize::from(be16(bytes, 2)?))?;
        match bytes[0] {
            1 => Some(Self::Init(be32(body, 0)?)),
            2 => Some(Self::InitAck(be32(body, 0)?, content(body.get(16..)?, STATE_COOKIE)?)),
            4 => Some(Self::Heartbeat(content(body, HEARTBEAT_INFO)?)),
            5 => Some(Self::HeartbeatAck(content(body, HEARTBEAT_INFO)?)),
            6 => Some(Self::Abort),
            10 => Some(Self::CookieEcho(body.to_vec())),
            11 => Some(Self::CookieAck),
            _ => None,
        }
    }
}

/// The fixed part of INIT and INIT ACK: tag, window, streams out and in, first sequence number.
fn opening(tag: u32) -> Vec<u8> {
    let (window, streams, sequence) = (0x1_0000_u32, 1_u16, 1_u32);
    [
        &tag.to_be_bytes()[..],
        &window.to_be_bytes(),
        &streams.to_be_bytes(),
        &streams.to_be_bytes(),
        &sequence.to_be_bytes(),
    ]
    .concat()
}

fn parameter(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = [&kind.to_be_bytes(), &length(content).to_be_bytes(), content].concat();
    pad(&mut bytes);
    bytes
}

fn content(parameter: &[u8], kind: u16) -> Option<Vec<u8>> {
    let end = usize::from(be16(parameter, 2)?);
    (be16(parameter, 0)? == kind).then(|| parameter.get(4..end).map(<[u8]>::to_vec))?
}

/// A header's length field, the 4 bytes of the header included.
fn length(body: &[u8]) -> u16 {
    u16::try_from(body.len() + 4).expect("answers are short")
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// RFC 9260, appendix A; the polynomial is reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of CRC-32C.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn what_is_written_reads_the_same_and_nothing_damaged_does() {
        let chunks = [
            Chunk::Init(7),
            Chunk::InitAck(8, tagged(7, "nginx-1 10.0.0.1:9")),
            Chunk::Heartbeat(tagged(7, "")),
            Chunk::HeartbeatAck(tagged(7, "x")),
            Chunk::Abort,
            Chunk::CookieEcho(tagged(7, "abcd")),
            Chunk::CookieAck,
        ];
        for chunk in chunks {
            let packet = Packet { source: 1, destination: 2, tag: 3, chunk };
            let bytes = packet.encode();
            assert_eq!(Packet::decode(&bytes), Some(packet));
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert_eq!(Packet::decode(&damaged), None);
                assert_eq!(Packet::decode(&bytes[..at]), None);
            }
        }
    }

    #[test]
    fn a_responder_speaks_to_the_clients_tag() {
        let ask = |chunk| Packet { source: 1000, destination: 80, tag: 0, chunk };
        let answer = ask(Chunk::Init(7)).response("me you").unwrap();
        assert_eq!((answer.source, answer.destination, answer.tag), (80, 1000, 7));
        let Chunk::InitAck(RESPONDER, cookie) = answer.chunk else { panic!("{answer:?}") };
        assert_eq!(untagged(&cookie), Some("me you"));
        assert_eq!(ask(Chunk::CookieEcho(cookie)).response("").map(|a| (a.tag, a.chunk)), Some((7, Chunk::CookieAck)));
        assert_eq!(ask(Chunk::Abort).response(""), None);
    }
}
