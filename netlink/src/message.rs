//! The frame of a message: `struct nlmsghdr`, then `struct nfgenmsg` or `struct genlmsghdr`, then attributes.

use crate::abi::*;
use crate::attr::{Attrs, align};

/// Begins a message; the answer goes to [`end`].
pub fn begin(bytes: &mut Vec<u8>, kind: u16, flags: u16, family: u8) -> usize {
    begin_for(bytes, kind, flags, family, 0)
}

/// Begins a message with a resource id: a batch names its subsystem there.
pub fn begin_for(bytes: &mut Vec<u8>, kind: u16, flags: u16, family: u8, resource: u16) -> usize {
    let [high, low] = resource.to_be_bytes();
    begin_with(bytes, kind, flags, [family, NFNETLINK_V0, high, low])
}

/// Begins a message of generic netlink (`struct genlmsghdr`, linux/genetlink.h); its kind is the family's id.
pub fn begin_generic(bytes: &mut Vec<u8>, kind: u16, command: u8, version: u8) -> usize {
    begin_with(bytes, kind, 0, [command, version, 0, 0])
}

fn begin_with(bytes: &mut Vec<u8>, kind: u16, flags: u16, head: [u8; NFGENMSG_LEN]) -> usize {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&head);
    start
}

/// Ends a message: writes its length.
pub fn end(bytes: &mut [u8], start: usize) {
    let length = (bytes.len() - start) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// Numbers a message.
pub fn number(bytes: &mut [u8], start: usize, sequence: u32) {
    bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
}

/// Numbers every message, one after the other.
pub fn number_all(bytes: &mut [u8], first: u32) {
    let (mut start, mut sequence) = (0, first);
    while let Some(length) = u32_at(bytes, start).filter(|length| *length as usize >= NLMSG_HDRLEN) {
        number(bytes, start, sequence);
        start += align(length as usize);
        sequence = sequence.wrapping_add(1);
    }
}

/// Adds flags to a message.
pub fn flag(bytes: &mut [u8], start: usize, flags: u16) {
    let [low, high] = flags.to_ne_bytes();
    bytes[start + 6] |= low;
    bytes[start + 7] |= high;
}

/// The messages of one datagram.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a>(pub &'a [u8]);

/// A message that was received, or that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`
    pub kind: u16,
    /// `nlmsg_flags`
    pub flags: u16,
    /// `nlmsg_seq`
    pub sequence: u32,
    /// `nlmsg_pid`: in a notification, the port of the socket that caused it.
    pub port: u32,
    /// What follows the header.
    body: &'a [u8],
}

impl Messages<'_> {
    /// Whether the datagram ends where its last message does.
    pub fn is_whole(mut self) -> bool {
        self.by_ref().for_each(drop);
        self.0.is_empty()
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let bytes = self.0;
        let u16_at = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let length = u32_at(bytes, 0)? as usize;
        let body = bytes.get(NLMSG_HDRLEN..length)?;
        self.0 = bytes.get(align(length)..).unwrap_or_default();
        Some(Message {
            kind: u16_at(4)?,
            flags: u16_at(6)?,
            sequence: u32_at(bytes, 8)?,
            port: u32_at(bytes, 12)?,
            body,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// What the kernel says of a request: done, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// 0, or an error's number.
    pub errno: i32,
    /// Where in the request the culprit is (`NLMSGERR_ATTR_OFFS`), from the request's header on.
    pub offset: Option<u32>,
    /// `NLMSGERR_ATTR_MSG`
    pub text: String,
}

impl<'a> Message<'a> {
    /// The address family of `struct nfgenmsg`.
    pub fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or_default()
    }

    /// The command of `struct genlmsghdr`.
    pub fn command(&self) -> u8 {
        self.family()
    }

    /// The attributes behind `struct nfgenmsg` or `struct genlmsghdr`, which are of one size.
    pub fn attrs(&self) -> Attrs<'a> {
        Attrs(self.body.get(NFGENMSG_LEN..).unwrap_or_default())
    }

    /// The kernel's answer to a request, if the message is one: `NLMSG_ERROR`, or the end of a dump.
    pub fn ack(&self) -> Option<Ack> {
        if self.kind != NLMSG_ERROR && self.kind != NLMSG_DONE {
            return None;
        }
        let errno = u32_at(self.body, 0).map_or(0, |error| (error as i32).wrapping_neg());
        let behind = match self.kind {
            NLMSG_DONE => 4,
            // The request comes back whole with an error, unless the socket wants it capped.
            _ if errno != 0 && self.flags & NLM_F_CAPPED == 0 => 4 + align(u32_at(self.body, 4).unwrap_or(0) as usize),
            _ => 4 + NLMSG_HDRLEN,
        };
        let attrs = Attrs(self.body.get(behind..).unwrap_or_default());
        Some(Ack {
            errno,
            offset: attrs.find(NLMSGERR_ATTR_OFFS).and_then(|attr| attr.ne32()),
            text: attrs.find(NLMSGERR_ATTR_MSG).and_then(|attr| attr.str()).unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_datagram_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0u8..120) {
            let mut bytes = bytes;
            if bytes.len() > 6 {
                bytes[..4].copy_from_slice(&u32::from(length).to_ne_bytes());
                bytes[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
            }
            for message in Messages(&bytes) {
                let _ = (message.ack(), message.family(), message.attrs().count());
            }
        }
    }

    #[test]
    fn a_written_message_is_read() {
        let mut bytes = Vec::new();
        let start = begin_for(&mut bytes, 7, 0x400, 2, 10);
        crate::attr::put_be32(&mut bytes, 3, 9);
        end(&mut bytes, start);
        number(&mut bytes, start, 77);
        flag(&mut bytes, start, NLM_F_ACK);
        let message = Messages(&bytes).next().unwrap();
        assert_eq!((message.kind, message.flags, message.sequence), (7, 0x400 | NLM_F_ACK | NLM_F_REQUEST, 77));
        assert_eq!((message.family(), message.attrs().find(3).unwrap().be32()), (2, Some(9)));
        assert_eq!(message.ack(), None);
    }

    #[test]
    fn a_datagram_without_its_end_is_not_whole() {
        let mut bytes = Vec::new();
        for kind in [7, 8] {
            let start = begin(&mut bytes, kind, 0, 2);
            crate::attr::put_be32(&mut bytes, 3, 9);
            end(&mut bytes, start);
        }
        let one = bytes.len() / 2;
        for length in 0..=bytes.len() {
            assert_eq!(Messages(&bytes[..length]).is_whole(), length % one == 0, "{length}");
        }
    }
}
