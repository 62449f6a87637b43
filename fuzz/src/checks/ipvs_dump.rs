//! Any bytes are some virtual and real servers or none, and what was decoded is the same after it was encoded.

use netlink::Family;
use netlink::ipvs::{Operation, RealServerEntry, VirtualKey, VirtualServerEntry};
use netlink::message::{Message, Messages};

/// What generic netlink calls IPVS on some machine.
const FAMILY_ID: u16 = 0x1d;

pub(super) fn check(bytes: &[u8]) {
    for message in Messages(bytes) {
        if let Some(found) = VirtualServerEntry::decode(&message) {
            let encoded = encoded(&Operation::AddVirtual(found.server.clone()));
            let again = VirtualServerEntry::decode(&only(&encoded)).expect("what was encoded can be decoded");
            assert_eq!(again.server, found.server);
        }
        for family in [Family::Ipv4, Family::Ipv6] {
            if let Some(found) = RealServerEntry::decode(&message, family) {
                let key = VirtualKey::Mark { family, mark: 1 };
                let encoded = encoded(&Operation::AddReal(key, found.server));
                let again = RealServerEntry::decode(&only(&encoded), family).expect("what was encoded can be decoded");
                assert_eq!(again.server, found.server);
            }
        }
    }
}

fn encoded(operation: &Operation) -> Vec<u8> {
    let mut bytes = Vec::new();
    operation.put(&mut bytes, FAMILY_ID);
    bytes
}

fn only(bytes: &[u8]) -> Message<'_> {
    Messages(bytes).next().expect("an operation is one message")
}
