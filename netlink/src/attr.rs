//! Netlink attributes (`struct nlattr`, linux/netlink.h): written into a growing message, read from a slice.
//!
//! Kept apart from what the attributes mean, because here alone is arithmetic on lengths.
//!
//! **Invariant:** reading never panics and never reads past its slice, whatever the bytes
//! (`tests::any_bytes_can_be_read`).

/// `sizeof(struct nlattr)`.
pub const HEADER: usize = 4;

/// `NLA_F_NESTED`: the payload is attributes.
const NLA_F_NESTED: u16 = 1 << 15;

/// `NLA_TYPE_MASK`: the kind without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const NLA_TYPE_MASK: u16 = !(3 << 14);

/// Rounds up to `NLA_ALIGNTO`.
pub const fn align(length: usize) -> usize {
    (length + 3) & !3
}

/// Appends an attribute. A payload beyond the 64 KiB that a length can say is a mistake of the caller.
pub fn put(message: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length = HEADER + payload.len();
    debug_assert!(length <= u16::MAX as usize, "an attribute of {length} bytes");
    message.extend_from_slice(&head(length, kind));
    message.extend_from_slice(payload);
    const PADDING: [u8; 3] = [0; 3];
    message.extend_from_slice(&PADDING[..align(length) - length]);
}

/// Appends a byte.
pub fn put_u8(message: &mut Vec<u8>, kind: u16, value: u8) {
    put(message, kind, &[value]);
}

/// Appends a number in network order, as nearly all of nfnetlink wants it.
pub fn put_be16(message: &mut Vec<u8>, kind: u16, value: u16) {
    put(message, kind, &value.to_be_bytes());
}

/// Appends a number in network order.
pub fn put_be32(message: &mut Vec<u8>, kind: u16, value: u32) {
    put(message, kind, &value.to_be_bytes());
}

/// Appends a number in network order.
pub fn put_be64(message: &mut Vec<u8>, kind: u16, value: u64) {
    put(message, kind, &value.to_be_bytes());
}

/// Appends a number in the machine's order, as generic netlink wants it.
pub fn put_ne16(message: &mut Vec<u8>, kind: u16, value: u16) {
    put(message, kind, &value.to_ne_bytes());
}

/// Appends a number in the machine's order.
pub fn put_ne32(message: &mut Vec<u8>, kind: u16, value: u32) {
    put(message, kind, &value.to_ne_bytes());
}

/// Appends a name with its closing 0.
pub fn put_str(message: &mut Vec<u8>, kind: u16, value: &str) {
    let length = HEADER + value.len() + 1;
    let end = message.len() + align(length);
    message.extend_from_slice(&head(length, kind));
    message.extend_from_slice(value.as_bytes());
    message.resize(end, 0);
}

/// Appends an attribute that holds what `body` appends.
pub fn put_nested(message: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let nest = open(message, kind);
    body(message);
    close(message, nest);
}

/// Begins a nested attribute; the answer goes to [`close`].
pub fn open(message: &mut Vec<u8>, kind: u16) -> usize {
    let nest = message.len();
    message.extend_from_slice(&head(HEADER, kind | NLA_F_NESTED));
    nest
}

/// Ends a nested attribute: writes its length.
pub fn close(message: &mut [u8], nest: usize) {
    let length = message.len() - nest;
    debug_assert!(length <= u16::MAX as usize, "a nested attribute of {length} bytes");
    message[nest..nest + 2].copy_from_slice(&(length as u16).to_ne_bytes());
}

fn head(length: usize, kind: u16) -> [u8; HEADER] {
    let [a, b] = (length as u16).to_ne_bytes();
    let [c, d] = kind.to_ne_bytes();
    [a, b, c, d]
}

/// The attributes in a slice. Ends at the first one whose length cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attrs<'a>(pub &'a [u8]);

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// Its kind, without flags.
    pub kind: u16,
    /// What it holds, without padding.
    pub payload: &'a [u8],
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Attr<'a>;

    fn next(&mut self) -> Option<Attr<'a>> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?) & NLA_TYPE_MASK;
        let payload = self.0.get(HEADER..length)?;
        // The last one may lack its padding.
        self.0 = self.0.get(align(length)..).unwrap_or_default();
        Some(Attr { kind, payload })
    }
}

impl<'a> Attrs<'a> {
    /// The first attribute of a kind.
    pub fn find(mut self, kind: u16) -> Option<Attr<'a>> {
        Iterator::find(&mut self, |attr| attr.kind == kind)
    }
}

impl<'a> Attr<'a> {
    /// A byte.
    pub fn u8(self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// A number in network order.
    pub fn be16(self) -> Option<u16> {
        Some(u16::from_be_bytes(self.payload.get(..2)?.try_into().ok()?))
    }

    /// A number in network order.
    pub fn be32(self) -> Option<u32> {
        Some(u32::from_be_bytes(self.payload.get(..4)?.try_into().ok()?))
    }

    /// A number in network order.
    pub fn be64(self) -> Option<u64> {
        Some(u64::from_be_bytes(self.payload.get(..8)?.try_into().ok()?))
    }

    /// A number in the machine's order: netlink itself and generic netlink, not nfnetlink.
    pub fn ne16(self) -> Option<u16> {
        Some(u16::from_ne_bytes(self.payload.get(..2)?.try_into().ok()?))
    }

    /// A number in the machine's order.
    pub fn ne32(self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.payload.get(..4)?.try_into().ok()?))
    }

    /// A number in the machine's order.
    pub fn ne64(self) -> Option<u64> {
        Some(u64::from_ne_bytes(self.payload.get(..8)?.try_into().ok()?))
    }

    /// A name, up to its closing 0.
    pub fn str(self) -> Option<&'a str> {
        let end = self.payload.iter().position(|byte| *byte == 0).unwrap_or(self.payload.len());
        std::str::from_utf8(&self.payload[..end]).ok()
    }

    /// The attributes in it.
    pub fn nested(self) -> Attrs<'a> {
        Attrs(self.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut read = 0;
            for attr in Attrs(&bytes) {
                read += HEADER + attr.payload.len();
                let _ = (attr.u8(), attr.be16(), attr.be32(), attr.be64(), attr.ne32(), attr.str());
                let _ = (attr.ne16(), attr.ne64());
                for inner in attr.nested() {
                    prop_assert!(inner.payload.len() + HEADER <= attr.payload.len());
                }
            }
            prop_assert!(read <= bytes.len());
        }

        #[test]
        fn what_is_written_is_read(
            attrs in proptest::collection::vec((0u16..64, proptest::collection::vec(any::<u8>(), 0..40)), 0..8)
        ) {
            let mut message = Vec::new();
            put_nested(&mut message, 7, |message| {
                for (kind, payload) in &attrs {
                    put(message, *kind, payload);
                }
            });
            prop_assert_eq!(message.len() % 4, 0);
            let outer: Vec<_> = Attrs(&message).collect();
            prop_assert_eq!(outer.len(), 1);
            prop_assert_eq!(outer[0].kind, 7);
            let inner: Vec<_> = outer[0].nested().map(|attr| (attr.kind, attr.payload.to_vec())).collect();
            prop_assert_eq!(inner, attrs);
        }

        #[test]
        fn names_end_with_their_zero(name in "[a-z-]{0,20}") {
            let mut message = Vec::new();
            put_str(&mut message, 3, &name);
            let attr = Attrs(&message).next().unwrap();
            prop_assert_eq!((attr.kind, attr.payload.len(), attr.str()), (3, name.len() + 1, Some(name.as_str())));
            prop_assert_eq!(message.len() % 4, 0);
        }
    }
}
