//! Any bytes can be walked as messages, attributes and user data, and nothing is read beyond them.

use netlink::attr::{Attrs, HEADER};
use netlink::message::Messages;
use netlink::nftables::udata;

pub(super) fn check(bytes: &[u8]) {
    walk(Attrs(bytes));
    for message in Messages(bytes) {
        let _ = (message.family(), message.command());
        if let Some(ack) = message.ack() {
            assert!(ack.text.len() <= bytes.len());
        }
        walk(message.attrs());
    }
    for kind in [udata::TABLE_COMMENT, udata::SET_COMMENT, udata::SET_KEY_TYPEOF] {
        if let Some(payload) = udata::find(bytes, kind) {
            assert!(payload.len() + 2 <= bytes.len());
            let _ = udata::find_str(bytes, kind);
        }
    }
}

fn walk(attrs: Attrs<'_>) {
    let whole = attrs.0.len();
    let mut read = 0;
    for attr in attrs {
        read += HEADER + attr.payload.len();
        let _ = (attr.u8(), attr.be16(), attr.be32(), attr.be64(), attr.ne16(), attr.ne32(), attr.ne64());
        assert!(attr.str().is_none_or(|text| text.len() <= attr.payload.len()));
        // Each level is shorter than the one around it by a header, so this ends.
        walk(attr.nested());
    }
    assert!(read <= whole);
}
