//! Any datagrams are some notifications or none, however they are cut: each takes two bytes of length and what follows.

use netlink::message::Messages;
use netlink::nftables::{Notification, Notifications, Object};

pub(super) fn check(bytes: &[u8]) {
    let mut rest = bytes;
    while let [low, high, behind @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (datagram, behind) = behind.split_at(length);
        read(datagram);
        rest = behind;
    }
}

fn read(datagram: &[u8]) {
    let all: Vec<_> = Notifications(Messages(datagram)).collect();
    let one_by_one = Messages(datagram).filter_map(|message| Notification::decode(&message));
    assert!(one_by_one.eq(all.iter().cloned()));
    for notification in all {
        match notification {
            Notification::Generation { program, .. } => assert!(program.len() <= datagram.len()),
            Notification::Object { table, object, .. } => {
                assert!(table.len() <= datagram.len());
                if let Object::Elements { elements, .. } = object {
                    assert!(elements.iter().count() <= datagram.len() / 4);
                }
            }
            _ => {}
        }
    }
}
