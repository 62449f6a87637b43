//! What is written is read back equal, and no bytes make a reader panic.

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::Family;
use crate::attr::put_nested;
use crate::message::Messages;

use super::*;

const FAMILY: u16 = 0x1d;

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn key() -> impl Strategy<Value = VirtualKey> {
    prop_oneof![
        (any::<u16>(), address(), any::<u16>()).prop_map(|(protocol, address, port)| VirtualKey::Address {
            protocol,
            address,
            port
        }),
        (family(), any::<u32>()).prop_map(|(family, mark)| VirtualKey::Mark { family, mark }),
    ]
}

fn virtual_server() -> impl Strategy<Value = VirtualServer> {
    let names = ("[a-z]{1,15}", option::of("[a-z]{1,15}"));
    (key(), names, any::<u32>(), option::of(any::<(u32, u32)>())).prop_map(|(key, names, flags, persistence)| {
        let clients = |mask| match key.family() {
            Family::Ipv4 => ClientMask::V4(Ipv4Addr::from_bits(mask)),
            Family::Ipv6 => ClientMask::V6(mask),
        };
        let persistence = persistence.map(|(timeout, mask)| Persistence { timeout, clients: clients(mask) });
        let (scheduler, engine) = names;
        VirtualServer { key, scheduler, flags: Flags::from_abi(flags), persistence, engine }
    })
}

fn real_server() -> impl Strategy<Value = RealServer> {
    (address(), any::<u16>(), 0u32..8, any::<u32>(), any::<(u32, u32)>()).prop_map(
        |(ip, port, forwarding, weight, (upper, lower))| RealServer {
            address: SocketAddr::new(ip, port),
            forwarding: Forwarding::from_abi(forwarding),
            weight,
            thresholds: Thresholds { upper, lower },
        },
    )
}

/// What the kernel would see of an operation.
fn sent(operation: &Operation, check: impl FnOnce(u8, Attrs<'_>)) {
    let mut bytes = Vec::new();
    operation.put(&mut bytes, FAMILY);
    assert_eq!(bytes.len() % 4, 0);
    let messages: Vec<_> = Messages(&bytes).collect();
    assert_eq!(messages.len(), 1);
    assert_eq!((messages[0].kind, messages[0].flags & NLM_F_ACK), (FAMILY, NLM_F_ACK));
    check(messages[0].command(), messages[0].attrs());
}

proptest! {
    #[test]
    fn a_virtual_server_survives(server in virtual_server()) {
        sent(&Operation::AddVirtual(server.clone()), |command, attrs| {
            assert_eq!(command, IPVS_CMD_NEW_SERVICE);
            let entry = VirtualServerEntry { server, statistics: Statistics::default() };
            assert_eq!(read_virtual(attrs), Some(entry));
        });
    }

    #[test]
    fn a_real_server_survives(key in key(), server in real_server()) {
        sent(&Operation::AddReal(key, server), |command, attrs| {
            assert_eq!(command, IPVS_CMD_NEW_DEST);
            assert_eq!(read_real(attrs, key.family()).map(|entry| entry.server), Some(server));
            assert_eq!(read_key(attrs.find(IPVS_CMD_ATTR_SERVICE).unwrap().nested()), Some(key));
        });
    }

    #[test]
    fn what_is_removed_is_named(key in key(), server in real_server()) {
        sent(&Operation::RemoveReal(key, server.address), |command, attrs| {
            assert_eq!(command, IPVS_CMD_DEL_DEST);
            assert_eq!(read_real(attrs, key.family()).map(|entry| entry.server.address), Some(server.address));
        });
        sent(&Operation::RemoveVirtual(key), |command, attrs| {
            assert_eq!(command, IPVS_CMD_DEL_SERVICE);
            assert_eq!(read_virtual(attrs).map(|entry| entry.server.key), Some(key));
        });
    }

    #[test]
    fn timeouts_survive(tcp in any::<u32>(), tcp_fin in any::<u32>(), udp in any::<u32>()) {
        let timeouts = Timeouts { tcp, tcp_fin, udp };
        sent(&Operation::SetTimeouts(timeouts), |command, attrs| {
            assert_eq!((command, read_timeouts(attrs)), (IPVS_CMD_SET_CONFIG, timeouts));
        });
    }

    #[test]
    fn any_bytes_are_some_object_or_none(bytes in vec(any::<u8>(), 0..300), family in family()) {
        let attrs = Attrs(&bytes);
        let _ = (read_family(attrs), read_virtual(attrs), read_real(attrs, family), read_timeouts(attrs));
        let _ = read_version(attrs);
        // The outer attribute too is there by chance alone; with it the inner ones are reached.
        for outer in [IPVS_CMD_ATTR_SERVICE, IPVS_CMD_ATTR_DEST] {
            let mut message = Vec::new();
            put_nested(&mut message, outer, |message| message.extend_from_slice(&bytes));
            let _ = (read_virtual(Attrs(&message)), read_real(Attrs(&message), family));
        }
    }

    /// Damage to a real message reaches the readers that random bytes do not.
    #[test]
    fn a_damaged_server_is_still_read(
        virtual_server in virtual_server(),
        real_server in real_server(),
        at in any::<prop::sample::Index>(),
        damage in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        put_virtual(&mut bytes, &virtual_server);
        put_real(&mut bytes, &real_server);
        let at = at.index(bytes.len());
        bytes[at] ^= damage;
        let _ = (read_virtual(Attrs(&bytes)), read_real(Attrs(&bytes), Family::Ipv4));
    }
}

#[test]
fn wide_statistics_go_before_narrow_ones() {
    let narrow = |bytes: &mut Vec<u8>| {
        put_nested(bytes, IPVS_SVC_ATTR_STATS, |bytes| {
            put_ne32(bytes, IPVS_STATS_ATTR_CONNS, 7);
            put(bytes, IPVS_STATS_ATTR_INBYTES, &(1u64 << 40).to_ne_bytes());
        });
    };
    let mut bytes = Vec::new();
    narrow(&mut bytes);
    let statistics = read_statistics(Attrs(&bytes), IPVS_SVC_ATTR_STATS64, IPVS_SVC_ATTR_STATS);
    assert_eq!(statistics, Statistics { connections: 7, bytes_in: 1 << 40, ..Statistics::default() });
    put_nested(&mut bytes, IPVS_SVC_ATTR_STATS64, |bytes| {
        put(bytes, IPVS_STATS_ATTR_CONNS, &(7u64 + (1 << 32)).to_ne_bytes());
    });
    let statistics = read_statistics(Attrs(&bytes), IPVS_SVC_ATTR_STATS64, IPVS_SVC_ATTR_STATS);
    assert_eq!(statistics, Statistics { connections: 7 + (1 << 32), ..Statistics::default() });
}

/// linux/ip_vs.h and net/netfilter/ipvs/ip_vs_ctl.c: what a full virtual server must carry, byte for byte.
#[test]
fn a_virtual_server_is_the_bytes_that_the_kernel_reads() {
    let server = VirtualServer {
        key: VirtualKey::Address { protocol: 6, address: Ipv4Addr::new(10, 0, 0, 1).into(), port: 80 },
        scheduler: "rr".to_owned(),
        flags: Flags::HASH_PORT,
        persistence: Some(Persistence { timeout: 300, clients: ClientMask::V4(Ipv4Addr::new(255, 255, 0, 0)) }),
        engine: None,
    };
    let mut bytes = Vec::new();
    put_virtual(&mut bytes, &server);
    let found: Vec<(u16, Vec<u8>)> =
        Attrs(&bytes).next().unwrap().nested().map(|attr| (attr.kind, attr.payload.to_vec())).collect();
    let mut address = vec![10, 0, 0, 1];
    address.resize(16, 0);
    let expected = [
        (1, 2u16.to_ne_bytes().to_vec()),
        (2, 6u16.to_ne_bytes().to_vec()),
        (3, address),
        (4, vec![0, 80]),
        (6, b"rr\0".to_vec()),
        (7, [0x11u32.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat()),
        (8, 300u32.to_ne_bytes().to_vec()),
        (9, vec![255, 255, 0, 0]),
    ];
    assert_eq!(found, expected);
}
