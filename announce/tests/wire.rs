//! Laws of the wire formats, and the checks that the RFCs demand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use switchyard_announce::wire::heartbeat::*;
use switchyard_announce::wire::*;

const MAC: Mac = Mac([2, 0x53, 0, 0, 0, 7]);
const ASKER: Mac = Mac([2, 0x53, 0, 0, 0, 9]);

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<[u8; 16]>().prop_map(|mut octets| {
        octets[0] &= 0x3f; // no group
        octets.into()
    })
}

fn arp() -> impl Strategy<Value = Arp> {
    let operation = prop_oneof![Just(ArpOperation::Request), Just(ArpOperation::Reply)];
    (operation, mac(), any::<Ipv4Addr>(), mac(), any::<Ipv4Addr>()).prop_map(
        |(operation, sender_mac, sender, target_mac, target)| Arp { operation, sender_mac, sender, target_mac, target },
    )
}

fn ndp() -> impl Strategy<Value = Ndp> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (v6(), v6(), v6(), option::of(mac()), option::of(flags)).prop_map(|(source, destination, target, mac, flags)| {
        match flags {
            None => Ndp::Solicitation(Solicitation { source, destination, target, source_mac: mac }),
            Some((router, solicited, overrides)) => Ndp::Advertisement(Advertisement {
                source,
                destination,
                target,
                router,
                solicited,
                overrides,
                target_mac: mac,
            }),
        }
    })
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9.äß-]{1,40}".prop_map(|text| Name::new(&text).unwrap())
}

fn bid() -> impl Strategy<Value = Bid> {
    let state = prop_oneof![Just(State::Candidate), Just(State::Probing), Just(State::Blocked), Just(State::Holding)];
    let standing = prop_oneof![
        Just(Standing::Leaving),
        Just(Standing::Doubtful),
        Just(Standing::LastResort),
        Just(Standing::Sound)
    ];
    (state, standing, any::<u32>(), any::<u32>(), any::<u64>())
        .prop_map(|(state, standing, preference, term, key)| Bid { state, standing, preference, term, key })
}

fn body() -> impl Strategy<Value = Body> {
    let address = any::<IpAddr>;
    let wanted = prop_oneof![Just(Wanted::Life), Just(Wanted::Table)];
    prop_oneof![
        Just(Body::Hello),
        Just(Body::Gone),
        (option::of(name()), wanted).prop_map(|(node, wanted)| Body::Ask { node, wanted }),
        vec((address(), option::of(bid())), 0..20).prop_map(Body::Changes),
        (address(), address(), vec((address(), bid()), 0..20)).prop_map(|(first, last, bids)| Body::Range {
            first,
            last,
            bids
        }),
        (name(), any::<u32>(), mac(), any::<u32>(), vec((address(), any::<u32>()), 0..20)).prop_map(
            |(node, interface, mac, remaining, held)| {
                let remaining = Duration::from_millis(remaining.into());
                Body::Kept { node, interface, mac, remaining, held }
            }
        ),
        any::<u32>().prop_map(|bound| Body::Paused(Duration::from_millis(bound.into()))),
    ]
}

prop_compose! {
    fn message()(
        (cluster, node) in (name(), name()),
        (interface, incarnation, sequence) in any::<(u32, u64, u64)>(),
        (interval, bids, digest) in any::<(u16, u32, u64)>(),
        (resuming, settled, api) in any::<(bool, bool, bool)>(),
        body in body(),
    ) -> Message {
        Message {
            sender: Sender { cluster, node, interface, incarnation },
            sequence,
            interval: Duration::from_millis(interval.into()),
            status: Status { resuming, settled, api },
            table: Summary { bids, digest },
            body,
        }
    }
}

/// What a receiver does with bytes from the segment.
fn read(bytes: &[u8], key: Option<&Key>) {
    let _ = decode(bytes, key);
    let _ = Arp::decode(bytes);
    let _ = Ndp::decode(bytes);
    if let Some(frame) = Frame::decode(bytes)
        && let Some(Packet::Heartbeat(heartbeat)) = Packet::decode(&frame)
    {
        let _ = decode(heartbeat, key);
    }
}

proptest! {
    #[test]
    fn arp_is_read_as_it_was_written(arp in arp(), padding in vec(any::<u8>(), 0..30)) {
        let bytes = [arp.encode(), padding].concat();
        prop_assert_eq!(Arp::decode(&bytes), Some(arp));
    }

    #[test]
    fn ndp_is_read_as_it_was_written(ndp in ndp(), padding in vec(any::<u8>(), 0..30)) {
        let bytes = [ndp.encode(), padding].concat();
        prop_assert_eq!(Ndp::decode(&bytes), Some(ndp));
    }

    #[test]
    fn a_heartbeat_is_read_as_it_was_written(message in message(), secret in option::of(any::<[u8; 32]>())) {
        let key = secret.map(|secret| Key::new(&secret));
        for transport in [Transport::Multicast, Transport::Broadcast] {
            let mut bytes = transport.wrap(MAC, Ipv4Addr::UNSPECIFIED, &encode(&message, key.as_ref()));
            bytes.resize(bytes.len().max(60), 0); // as Ethernet pads
            let frame = Frame::decode(&bytes).unwrap();
            let Some(Packet::Heartbeat(heartbeat)) = Packet::decode(&frame) else { panic!("a heartbeat") };
            prop_assert_eq!(decode(heartbeat, key.as_ref()), Ok(message.clone()));
        }
    }

    #[test]
    fn any_bytes_can_be_read(bytes in vec(any::<u8>(), 0..200)) {
        read(&bytes, None);
        read(&bytes, Some(&Key::new(b"secret")));
    }

    #[test]
    fn what_was_cut_or_changed_can_be_read(message in message(), cut in 0..2000_usize, at in 0..2000_usize, to: u8) {
        let key = Key::new(b"secret");
        for (bytes, key) in [(encode(&message, None), None), (encode(&message, Some(&key)), Some(&key))] {
            let mut bytes = bytes;
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            read(&bytes, key);
        }
    }

    #[test]
    fn as_many_bids_as_there_is_room_for_fit(message in message(), bid in bid(), address: [u8; 16]) {
        let bids = vec![(IpAddr::from(address), bid); room(&message.sender)];
        let first = IpAddr::from(address);
        let message = Message { body: Body::Range { first, last: first, bids }, ..message };
        let bytes = encode(&message, Some(&Key::new(b"secret")));
        prop_assert!(bytes.len() <= MAX_MESSAGE);
    }
}

fn hello() -> Message {
    Message {
        sender: Sender {
            cluster: Name::new("kubernetes").unwrap(),
            node: Name::new("node-1").unwrap(),
            interface: 2,
            incarnation: 7,
        },
        sequence: 9,
        interval: Duration::from_millis(200),
        status: Status::default(),
        table: Summary::default(),
        body: Body::Hello,
    }
}

#[test]
fn a_key_is_needed_on_both_sides_and_covers_every_byte() {
    let (key, other) = (Key::new(b"secret"), Key::new(b"other"));
    let bytes = encode(&hello(), Some(&key));
    assert_eq!(decode(&bytes, Some(&key)), Ok(hello()));
    assert_eq!(decode(&bytes, Some(&other)), Err(Refused::Unauthenticated));
    assert_eq!(decode(&bytes, None), Err(Refused::Sealed));
    assert_eq!(decode(&encode(&hello(), None), Some(&key)), Err(Refused::Unauthenticated));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(decode(&changed, Some(&key)).is_err(), "byte {at}");
    }
    assert_eq!(format!("{key:?}"), "Key");
}

#[test]
fn a_name_is_bounded_and_printable() {
    for (name, fits) in
        [("", false), ("node-1", true), ("a\nb", false), (&"x".repeat(253), true), (&"x".repeat(254), false)]
    {
        assert_eq!(Name::new(name).is_some(), fits, "{name:?}");
    }
}

#[test]
fn a_heartbeat_that_a_router_forwarded_is_none() {
    let bytes = Transport::Multicast.wrap(MAC, Ipv4Addr::LOCALHOST, b"hello");
    assert!(is_heartbeat(&bytes));
    for (at, what) in [(22, "time to live"), (33, "group"), (36, "port"), (40, "checksum"), (24, "header checksum")] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(!is_heartbeat(&changed), "{what}");
    }
}

fn is_heartbeat(frame: &[u8]) -> bool {
    matches!(Packet::decode(&Frame::decode(frame).unwrap()), Some(Packet::Heartbeat(_)))
}

#[test]
fn frames_with_a_tag_or_from_a_group_are_none() {
    let bytes = Transport::Broadcast.wrap(MAC, Ipv4Addr::UNSPECIFIED, b"hello");
    assert!(Frame::decode(&bytes).is_some());
    let mut tagged = bytes.clone();
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    assert_eq!(Frame::decode(&tagged), None);
    let mut group = bytes;
    group[6] |= 1;
    assert_eq!(Frame::decode(&group), None);
}

#[test]
fn a_request_is_answered_to_its_asker() {
    let address = Ipv4Addr::new(192, 168, 67, 240);
    let asker = Ipv4Addr::new(192, 168, 67, 1);
    let request = Arp { sender_mac: ASKER, sender: asker, ..Arp::probe(ASKER, address) };
    let answer = request.answer(MAC);
    assert_eq!(answer.operation, ArpOperation::Reply);
    assert_eq!((answer.sender_mac, answer.sender), (MAC, address));
    assert_eq!((answer.target_mac, answer.target), (ASKER, asker));
    assert!(Arp::probe(ASKER, address).is_probe() && !request.is_probe());
    // The reply's target is its sender: within its lock time Linux takes no other form of a reply.
    let [request, reply] = Arp::gratuitous(MAC, address);
    assert_eq!((request.target_mac, reply.target_mac), (Mac::UNKNOWN, MAC));
    assert!([request, reply].iter().all(|arp| (arp.sender, arp.target, arp.sender_mac) == (address, address, MAC)));
}

#[test]
fn a_solicitation_is_answered_to_its_asker_or_to_all() {
    let (target, asker): (Ipv6Addr, Ipv6Addr) = ("fd00::240".parse().unwrap(), "fd00::1".parse().unwrap());
    let all: Ipv6Addr = "ff02::1".parse().unwrap();
    let asked = Solicitation { source: asker, destination: target, target, source_mac: None };
    let answer = asked.answer(MAC);
    assert_eq!((answer.destination, answer.solicited, answer.overrides), (asker, true, true));
    let Ndp::Solicitation(probe) = Ndp::probe(target) else { panic!("a solicitation") };
    let answer = probe.answer(MAC);
    assert_eq!((answer.destination, answer.solicited, answer.overrides), (all, false, true));
    assert_eq!(multicast_mac(probe.destination), Mac([0x33, 0x33, 0xff, 0, 0x02, 0x40]));
}

/// RFC 4861 §7.1.1.
#[test]
fn solicitations_that_break_a_rule_are_none() {
    let (target, asker): (Ipv6Addr, Ipv6Addr) = ("fd00::240".parse().unwrap(), "fd00::1".parse().unwrap());
    let asked = Solicitation { source: asker, destination: solicited_node(target), target, source_mac: Some(ASKER) };
    let good = Ndp::Solicitation(asked).encode();
    assert!(Ndp::decode(&good).is_some());
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 8] = [
        ("hop limit", |bytes| bytes[7] = 64),
        ("code", |bytes| bytes[41] = 1),
        ("checksum", |bytes| bytes[43] ^= 1),
        ("group as target", |bytes| bytes[48] = 0xff),
        ("option of length zero", |bytes| bytes[65] = 0),
        ("option longer than the packet", |bytes| bytes[65] = 2),
        ("shorter than a solicitation", |bytes| bytes[5] = 16),
        ("longer than the frame", |bytes| bytes[5] = 48),
    ];
    for (rule, change) in changes {
        let mut bytes = good.clone();
        change(&mut bytes);
        if rule != "checksum" {
            mend_checksum(&mut bytes);
        }
        assert_eq!(Ndp::decode(&bytes), None, "{rule}");
    }
    // From nowhere: without option, and to the group of the target.
    for (destination, source_mac, fits) in
        [(solicited_node(target), None, true), (solicited_node(target), Some(ASKER), false), (target, None, false)]
    {
        let asked = Solicitation { source: Ipv6Addr::UNSPECIFIED, destination, target, source_mac };
        assert_eq!(Ndp::decode(&Ndp::Solicitation(asked).encode()).is_some(), fits, "{asked:?}");
    }
}

/// So that the broken rule is the only one.
fn mend_checksum(packet: &mut [u8]) {
    packet[42..44].copy_from_slice(&[0, 0]);
    let length = usize::from(packet[5]).min(packet.len() - 40);
    let mut words: u32 =
        packet[8..40 + length].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    words += u32::from(packet[5]) + 58;
    while words > 0xffff {
        words = (words & 0xffff) + (words >> 16);
    }
    let sum = !(words as u16);
    packet[42..44].copy_from_slice(&sum.to_be_bytes());
}
