//! User data: the TLVs that nft keeps beside tables, rules and sets, which the kernel carries and never reads.
//!
//! nft 1.0.6 lists a map whose key has no type of its own (`numgen`, `meta priority`) only if the map says how the
//! key came about. Layout: one byte kind, one byte length, the payload; nested without padding; numbers in the
//! machine's order (libnftnl `udata.h`, `include/udata.h`).

/// Appends a TLV. A payload beyond 255 bytes is a mistake of the caller.
pub fn put(bytes: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    put_nested(bytes, kind, |bytes| bytes.extend_from_slice(payload));
}

/// Appends a number.
pub fn put_u32(bytes: &mut Vec<u8>, kind: u8, value: u32) {
    put(bytes, kind, &value.to_ne_bytes());
}

/// Appends a text with its closing 0: a comment.
pub fn put_str(bytes: &mut Vec<u8>, kind: u8, text: &str) {
    put_nested(bytes, kind, |bytes| {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    });
}

/// Appends a TLV that holds what `body` appends.
pub fn put_nested(bytes: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[kind, 0]);
    body(bytes);
    let length = bytes.len() - start - 2;
    debug_assert!(length <= u8::MAX as usize, "user data of {length} bytes");
    bytes[start + 1] = length as u8;
}

/// The payload of the first TLV of a kind. None if there is none, or if the TLVs before it cannot be read.
pub fn find(mut bytes: &[u8], kind: u8) -> Option<&[u8]> {
    while let [found, length, rest @ ..] = bytes {
        let payload = rest.get(..usize::from(*length))?;
        if *found == kind {
            return Some(payload);
        }
        bytes = &rest[payload.len()..];
    }
    None
}

/// The text of the first TLV of a kind, up to its closing 0, which must be there.
pub fn find_str(bytes: &[u8], kind: u8) -> Option<&str> {
    std::str::from_utf8(find(bytes, kind)?).ok()?.strip_suffix('\0')
}

/// `NFTNL_UDATA_TABLE_COMMENT`
pub const TABLE_COMMENT: u8 = 0;
/// `NFTNL_UDATA_RULE_COMMENT`
pub const RULE_COMMENT: u8 = 0;
/// `NFTNL_UDATA_SET_KEYBYTEORDER`
pub const SET_KEY_BYTEORDER: u8 = 0;
/// `NFTNL_UDATA_SET_DATABYTEORDER`
pub const SET_DATA_BYTEORDER: u8 = 1;
/// `NFTNL_UDATA_SET_MERGE_ELEMENTS`
pub const SET_MERGE_ELEMENTS: u8 = 2;
/// `NFTNL_UDATA_SET_KEY_TYPEOF`
pub const SET_KEY_TYPEOF: u8 = 3;
/// `NFTNL_UDATA_SET_DATA_TYPEOF`
pub const SET_DATA_TYPEOF: u8 = 4;
/// `NFTNL_UDATA_SET_EXPR`
pub const SET_EXPR: u8 = 5;
/// `NFTNL_UDATA_SET_DATA_INTERVAL`
pub const SET_DATA_INTERVAL: u8 = 6;
/// `NFTNL_UDATA_SET_COMMENT`
pub const SET_COMMENT: u8 = 7;
/// `NFTNL_UDATA_SET_TYPEOF_EXPR`: nft's number of the expression.
pub const TYPEOF_EXPR: u8 = 0;
/// `NFTNL_UDATA_SET_TYPEOF_DATA`: what the expression needs.
pub const TYPEOF_DATA: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_can_be_searched(bytes in proptest::collection::vec(any::<u8>(), 0..40), kind in any::<u8>()) {
            let _ = (find(&bytes, kind), find_str(&bytes, kind));
        }

        #[test]
        fn what_is_written_is_found(before in "[a-z]{0,9}", text in "[a-z]{0,9}") {
            let mut bytes = Vec::new();
            put_str(&mut bytes, SET_EXPR, &before);
            put_str(&mut bytes, SET_COMMENT, &text);
            prop_assert_eq!(find_str(&bytes, SET_COMMENT), Some(text.as_str()));
            prop_assert_eq!(find(&bytes, SET_KEY_TYPEOF), None);
            prop_assert_eq!(find_str(&bytes[..bytes.len() - 1], SET_COMMENT), None);
        }
    }

    /// What nft 1.0.6 writes for `typeof ip daddr`'s table comment and a payload expression.
    #[test]
    fn nested_lengths_count_payload_only() {
        let mut bytes = Vec::new();
        put_str(&mut bytes, TABLE_COMMENT, "hi");
        put_nested(&mut bytes, SET_KEY_TYPEOF, |bytes| {
            put_u32(bytes, TYPEOF_EXPR, 7);
            put_nested(bytes, TYPEOF_DATA, |bytes| put(bytes, 0, &[12]));
        });
        let seven = 7u32.to_ne_bytes();
        let mut expected = vec![0, 3, b'h', b'i', 0, 3, 11, 0, 4];
        expected.extend_from_slice(&seven);
        expected.extend_from_slice(&[1, 3, 0, 1, 12]);
        assert_eq!(bytes, expected);
    }
}
