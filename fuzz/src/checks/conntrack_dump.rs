//! Any bytes are some flows or none, and a flow's addresses are of its family.

use netlink::Family;
use netlink::conntrack::Flow;
use netlink::message::Messages;

pub(super) fn check(bytes: &[u8]) {
    for message in Messages(bytes) {
        let Some(flow) = Flow::decode(&message) else { continue };
        for tuple in [flow.original, flow.reply] {
            assert_eq!(Family::of(tuple.source), flow.family);
            assert_eq!(Family::of(tuple.destination), flow.family);
        }
    }
}
