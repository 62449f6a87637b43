//! The classic BPF program of the sockets: what is not for the announcer never wakes it.
//!
//! A packet socket sees every frame of its interface. Of ARP only what speaks of addresses that are bid for passes, so
//! other stations' ARP costs some instructions in the kernel and no turn of the thread.

use std::net::{IpAddr, Ipv4Addr};

use socket2::SockFilter;

use crate::wire::{HEARTBEAT_GROUP, HEARTBEAT_PORT};

/// Ranges of addresses in a program; more are merged.
const MAX_RANGES: usize = 32;

// linux/bpf_common.h, linux/filter.h
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
/// `SKF_AD_OFF + SKF_AD_PKTTYPE`
const PACKET_TYPE: u32 = 0xffff_f004;
/// `SKF_AD_OFF + SKF_AD_VLAN_TAG`
const VLAN_TAG: u32 = 0xffff_f02c;
/// `PACKET_MULTICAST`, linux/if_packet.h: greater ones are for other stations, or sent by this one.
const TO_US: u32 = 2;

const TAKE: u32 = 0x4_0000;
const DROP: u32 = 0;

/// Takes nothing: until the socket is bound it would see every interface.
pub(super) fn nothing() -> Vec<SockFilter> {
    vec![SockFilter::new(RETURN, 0, 0, DROP)]
}

/// Takes heartbeats, neighbour discovery, and ARP that speaks of an address in `ranges`.
pub(super) fn program(ranges: &[(Ipv4Addr, Ipv4Addr)]) -> Vec<SockFilter> {
    instructions(ranges).into_iter().map(|(code, yes, no, k)| SockFilter::new(code, yes, no, k)).collect()
}

type Instruction = (u16, u8, u8, u32);

fn instructions(ranges: &[(Ipv4Addr, Ipv4Addr)]) -> Vec<Instruction> {
    let mut program = head();
    for offset in [38, 28] {
        // ARP's target, then its sender
        program.push((LOAD_WORD, 0, 0, offset));
        for (first, last) in ranges {
            program.push((IF_AT_LEAST, 0, 2, first.to_bits()));
            program.push((IF_GREATER, 1, 0, last.to_bits()));
            program.push((RETURN, 0, 0, TAKE));
        }
    }
    program.push((RETURN, 0, 0, DROP));
    program
}

/// All but ARP, which goes on after it.
fn head() -> Vec<Instruction> {
    vec![
        (LOAD_BYTE, 0, 0, PACKET_TYPE),
        (IF_GREATER, 0, 1, TO_US),
        (RETURN, 0, 0, DROP),
        // The frame of a VLAN shows here too, without its tag. An id of zero is only a priority.
        (LOAD_WORD, 0, 0, VLAN_TAG),
        (AND, 0, 0, 0x0fff),
        (IF_EQUAL, 1, 0, 0),
        (RETURN, 0, 0, DROP),
        (LOAD_HALF, 0, 0, 12),
        (IF_EQUAL, 0, 1, 0x88b5),
        (RETURN, 0, 0, TAKE),
        // ICMPv6 135 and 136
        (IF_EQUAL, 0, 7, 0x86dd),
        (LOAD_BYTE, 0, 0, 20),
        (IF_EQUAL, 1, 0, 58),
        (RETURN, 0, 0, DROP),
        (LOAD_BYTE, 0, 0, 54),
        (IF_EQUAL, 1, 0, 135),
        (IF_EQUAL, 0, 1, 136),
        (RETURN, 0, 0, TAKE),
        // An IPv6 packet of another type is none of the following.
        (IF_EQUAL, 0, 8, 0x0800),
        (LOAD_BYTE, 0, 0, 23),
        (IF_EQUAL, 0, 5, 17),
        (LOAD_WORD, 0, 0, 30),
        (IF_EQUAL, 0, 3, HEARTBEAT_GROUP.to_bits()),
        (LOAD_HALF, 0, 0, 36),
        (IF_EQUAL, 0, 1, HEARTBEAT_PORT as u32),
        (RETURN, 0, 0, TAKE),
        (RETURN, 0, 0, DROP),
        (IF_EQUAL, 1, 0, 0x0806),
        (RETURN, 0, 0, DROP),
    ]
}

/// The IPv4 addresses as few ranges, at most [`MAX_RANGES`]: then the smallest gaps are taken in.
pub(super) fn ranges(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let mut addresses: Vec<u32> = addresses
        .into_iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(address.to_bits()),
            IpAddr::V6(_) => None,
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut gaps: Vec<u32> = addresses.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 1).collect();
    gaps.sort_unstable();
    let kept = gaps.len().saturating_sub(MAX_RANGES - 1);
    let closed = if kept == 0 { 1 } else { gaps[kept - 1] };
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for address in addresses {
        match ranges.last_mut() {
            Some((_, last)) if address - *last <= closed => *last = address,
            _ => ranges.push((address, address)),
        }
    }
    ranges.into_iter().map(|(first, last)| (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Arp, EtherType, Frame, Mac, Ndp, Transport};

    /// What the kernel does with the program (Documentation/networking/filter.rst), for a packet type and VLAN tag.
    fn run(program: &[Instruction], frame: &[u8], packet_type: u32, tag: u32) -> bool {
        let (mut a, mut at) = (0_u32, 0);
        loop {
            let (code, yes, no, k) = program[at];
            at += 1;
            match code {
                LOAD_BYTE if k == PACKET_TYPE => a = packet_type,
                LOAD_WORD if k == VLAN_TAG => a = tag,
                LOAD_BYTE | LOAD_HALF | LOAD_WORD => {
                    let size = [(LOAD_BYTE, 1), (LOAD_HALF, 2), (LOAD_WORD, 4)];
                    let size = size.iter().find(|(load, _)| *load == code).unwrap().1;
                    let Some(bytes) = frame.get(k as usize..k as usize + size) else { return false };
                    a = bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
                }
                AND => a &= k,
                IF_EQUAL => at += usize::from(if a == k { yes } else { no }),
                IF_GREATER => at += usize::from(if a > k { yes } else { no }),
                IF_AT_LEAST => at += usize::from(if a >= k { yes } else { no }),
                RETURN => return k != DROP,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn ethernet(ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
        Frame { destination: Mac::BROADCAST, source: MAC, ether_type, payload }.encode()
    }

    fn address(last: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(0xc0a8_4300 + last)
    }

    fn probe(target: u32) -> Vec<u8> {
        ethernet(EtherType::Arp, &Arp::probe(MAC, address(target)).encode())
    }

    fn claim(sender: u32) -> Vec<u8> {
        ethernet(EtherType::Arp, &Arp::gratuitous(MAC, address(sender))[0].encode())
    }

    fn neighbor(message: Ndp) -> Vec<u8> {
        ethernet(EtherType::Ipv6, &message.encode())
    }

    #[test]
    fn what_is_for_the_announcer_passes_and_nothing_else() {
        let program = instructions(&[(address(240), address(250)), (address(7), address(7))]);
        let v6 = "fd00::1".parse().unwrap();
        let echo = {
            let mut bytes = neighbor(Ndp::probe(v6));
            bytes[54] = 128;
            bytes
        };
        let other_port = {
            let mut bytes = Transport::Multicast.wrap(MAC, address(1), b"hello");
            bytes[37] ^= 1;
            bytes
        };
        let cases = [
            (probe(240), true),
            (probe(250), true),
            (probe(251), false),
            (probe(239), false),
            (probe(7), true),
            (claim(245), true),
            (claim(9), false),
            (neighbor(Ndp::probe(v6)), true),
            (neighbor(Ndp::unsolicited(MAC, v6)), true),
            (echo, false),
            (Transport::Multicast.wrap(MAC, address(1), b"hello"), true),
            (Transport::Broadcast.wrap(MAC, address(1), b"hello"), true),
            (other_port, false),
            (probe(240)[..30].to_vec(), false),
            (Vec::new(), false),
        ];
        for (at, (frame, passes)) in cases.iter().enumerate() {
            for (packet_type, tag, lets) in
                [(0, 0, true), (1, 0, true), (2, 0xe000, true), (3, 0, false), (4, 0, false), (1, 5, false)]
            {
                assert_eq!(run(&program, frame, packet_type, tag), *passes && lets, "case {at}, {packet_type}, {tag}");
            }
        }
    }

    #[test]
    fn ranges_hold_every_address_and_are_few() {
        for (numbers, expected) in [(&[][..], &[][..]), (&[3, 1, 2, 2, 7], &[(1, 3), (7, 7)])] {
            let found = ranges(numbers.iter().map(|number| IpAddr::V4(address(*number))));
            let expected: Vec<_> = expected.iter().map(|(first, last)| (address(*first), address(*last))).collect();
            assert_eq!(found, expected);
        }
        let scattered: Vec<u32> = (0..1000).map(|at| at * at).collect();
        let found = ranges(scattered.iter().map(|number| IpAddr::V4(address(*number))));
        assert_eq!(found.len(), MAX_RANGES);
        assert!(scattered.iter().all(|number| found.iter().any(|(a, b)| (*a..=*b).contains(&address(*number)))));
    }
}
