//! Answers of a kernel, recorded once: decoded whole and cut short. Needs no root.
//!
//! `cargo test -p switchyard-netlink --test kernel record -- --ignored`, as root, records them again.

use switchyard_netlink::message::{Ack, Messages};
use switchyard_netlink::nftables::{Action, Notification, Notifications, Object};

const REFUSALS: &[u8] = include_bytes!("recorded/refusals");
const ELEMENTS: &[u8] = include_bytes!("recorded/elements");
const NOTIFICATIONS: &[u8] = include_bytes!("recorded/notifications");

/// The datagrams of a recording: each is its length in four bytes, and its bytes.
fn datagrams(recording: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = recording;
    let mut datagrams = Vec::new();
    while let [a, b, c, d, behind @ ..] = rest {
        let (datagram, behind) = behind.split_at(u32::from_le_bytes([*a, *b, *c, *d]) as usize);
        datagrams.push(datagram.to_vec());
        rest = behind;
    }
    datagrams
}

fn decoded(datagram: &[u8]) -> Vec<Notification<'_>> {
    Notifications(Messages(datagram)).collect()
}

#[cfg(target_endian = "little")]
#[test]
fn refusals_carry_their_error_their_place_and_their_words() {
    let recorded = datagrams(REFUSALS);
    let messages = recorded.iter().flat_map(|datagram| Messages(datagram));
    let acks: Vec<Ack> = messages.filter_map(|message| message.ack()).collect();
    let errors: Vec<_> = acks.iter().map(|ack| ack.errno).collect();
    const ENOENT: i32 = 2;
    const ERANGE: i32 = 34;
    assert_eq!(errors, [ENOENT, ERANGE], "{acks:?}");
    assert!(acks.iter().all(|ack| ack.offset.is_some()), "{acks:?}");
    assert_eq!((acks[0].text.as_str(), acks[1].text.as_str()), ("", "Attribute failed policy validation"));
}

#[cfg(target_endian = "little")]
#[test]
fn a_dump_holds_every_element() {
    let recorded = datagrams(ELEMENTS);
    let mut keys = Vec::new();
    for notification in recorded.iter().flat_map(|datagram| decoded(datagram)) {
        let Notification::Object { table: "t", object: Object::Elements { set: "s", elements }, .. } = notification
        else {
            panic!("{notification:?}")
        };
        keys.extend(elements.iter().map(|element| element.key.to_vec()));
    }
    keys.sort();
    let expected: Vec<_> = (0..20u32).map(|number| number.to_be_bytes().to_vec()).collect();
    assert_eq!(keys, expected);
}

#[cfg(target_endian = "little")]
#[test]
fn a_commit_is_announced_operation_by_operation_and_then_its_generation() {
    let recorded = datagrams(NOTIFICATIONS);
    let all: Vec<_> = recorded.iter().flat_map(|datagram| decoded(datagram)).collect();
    let kinds: Vec<_> = all
        .iter()
        .map(|notification| match notification {
            Notification::Object { action: Action::Put, object: Object::Table(_), .. } => "table",
            Notification::Object { action: Action::Put, object: Object::Set(_), .. } => "set",
            Notification::Object { action: Action::Put, object: Object::Elements { .. }, .. } => "elements",
            Notification::Generation { .. } => "generation",
            _ => "another",
        })
        .collect();
    assert_eq!(kinds[..2], ["table", "set"]);
    assert_eq!(kinds.last(), Some(&"generation"));
    assert!(kinds[2..kinds.len() - 1].iter().all(|kind| *kind == "elements"), "{kinds:?}");
}

/// As the kernel cuts a datagram that is larger than the buffer (`MSG_TRUNC`): whole messages remain, and nothing else
/// is made up.
#[cfg(target_endian = "little")]
#[test]
fn a_datagram_that_was_cut_is_read_up_to_its_last_whole_message() {
    for (name, recording) in [("elements", ELEMENTS), ("notifications", NOTIFICATIONS), ("refusals", REFUSALS)] {
        for datagram in datagrams(recording) {
            let whole = decoded(&datagram);
            let acks: Vec<_> = Messages(&datagram).filter_map(|message| message.ack()).collect();
            let last = datagram.len() - 1;
            assert!(Messages(&datagram[..last]).count() < Messages(&datagram).count(), "{name} cut to {last}");
            for length in 0..datagram.len() {
                let cut = decoded(&datagram[..length]);
                assert_eq!(cut[..], whole[..cut.len()], "{name} cut to {length}");
                let acks_of_cut: Vec<_> = Messages(&datagram[..length]).filter_map(|message| message.ack()).collect();
                assert_eq!(acks_of_cut[..], acks[..acks_of_cut.len()], "{name} cut to {length}");
            }
        }
    }
}

#[test]
#[ignore = "records again what the other tests read"]
fn record() {
    use switchyard_netlink::attr::put_str;
    use switchyard_netlink::nftables::{Batch, Chain, DataType, Element, Family, Monitor, Nftables, Set, Table};
    use switchyard_netlink::{Socket, message};

    const NETLINK_NETFILTER: isize = 12;
    const GET_ELEMENTS: u16 = 10 << 8 | 13;
    const NLM_F_DUMP: u16 = 0x300;

    fn save(name: &str, datagrams: &[Vec<u8>]) {
        let framed: Vec<_> = datagrams
            .iter()
            .flat_map(|one| [(one.len() as u32).to_le_bytes().to_vec(), one.clone()])
            .flatten()
            .collect();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/recorded");
        std::fs::write(folder.join(name), framed).unwrap();
    }

    fn pending(socket: &mut Socket) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while let Some(Messages(bytes)) = socket.pending().unwrap() {
            datagrams.push(bytes.to_vec());
        }
        datagrams
    }

    crate::isolated::isolated(|| async {
        let mut monitor = Monitor::open().unwrap();
        let mut batch = Batch::new("t");
        batch.put_table(0, &Table::new(Family::Ipv4));
        batch.put_set(1, Family::Ipv4, &Set::new("s", DataType::MARK));
        let mut put = batch.put_elements(Family::Ipv4, "s");
        (0..20u32).for_each(|number| put.push(2, &Element::key(&number.to_be_bytes())));
        drop(put);
        Nftables::open("t").unwrap().commit(&mut batch).await.unwrap();
        let mut heard = Vec::new();
        let mut is_complete = false;
        while !is_complete {
            let mut notifications = monitor.receive().await.unwrap();
            heard.push(notifications.0.0.to_vec());
            is_complete = notifications.any(|notification| matches!(notification, Notification::Generation { .. }));
        }
        save("notifications", &heard);

        let mut socket = Socket::open(NETLINK_NETFILTER).unwrap();
        let mut refused = Batch::new("t");
        refused.remove_chain(0, Family::Ipv4, "absent");
        refused.put_chain(1, Family::Ipv4, &Chain::new("c".repeat(300)));
        socket.send(refused.encoded(1)).unwrap();
        save("refusals", &pending(&mut socket));

        let mut request = Vec::new();
        let start = message::begin(&mut request, GET_ELEMENTS, NLM_F_DUMP, Family::Ipv4.abi() as u8);
        put_str(&mut request, 1, "t");
        put_str(&mut request, 2, "s");
        message::end(&mut request, start);
        socket.send(&request).unwrap();
        save("elements", &pending(&mut socket));
    });
}
