//! Rules as statements, in nft's words.
//!
//! Kept apart from the kernel's expressions ([`super::lower`]), because a reviewer reads nft, and because a rule is
//! compared, counted and printed more often than it is encoded.

use std::num::NonZeroU32;

use backend_api::{Cidr, Family, Protocol};

use super::chain::ChainName;
use super::code::Code;
use super::delivery::{Delivery, Label, Mark};
use super::name::SetName;

/// A rule: statements from left to right; the first that does not hold ends it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rule(pub(crate) Vec<Statement>);

/// One field of a key, loaded from the packet or its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Field {
    /// `ip saddr`
    Source,
    /// `ip daddr`
    Destination,
    /// `meta l4proto`
    Protocol,
    /// `th dport`
    Port,
    /// `ct original ip daddr`
    OriginalDestination,
    /// `ct original proto-dst`; the rule must have matched the protocol before.
    OriginalPort,
    /// `meta priority`
    Priority,
    /// `numgen random mod 3 offset 65536`
    Random {
        /// How many numbers.
        modulus: u32,
        /// The smallest.
        offset: u32,
    },
    /// The client, as one of [`CLIENTS`] numbers: a hash of its address. So forged addresses cannot make one service port
    /// fill the map; clients of one number share an endpoint, which harms none. And nft 1.0.6 cannot load a key of more
    /// than 16 bytes beside a value in `update @map`, as an IPv6 address would make it.
    Client,
}

/// One statement of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Statement {
    /// `meta l4proto tcp`
    ProtocolIs(Protocol),
    /// `ip saddr 10.244.0.0/16`
    SourceIn(Cidr),
    /// `ip daddr 10.96.0.0/12`
    DestinationIn(Cidr),
    /// `ip daddr != 127.0.0.0/8`
    DestinationNotLoopback,
    /// `iifname "cni0"`
    EnteredThrough(String),
    /// `iifname "veth*"`
    EnteredThroughPrefix(String),
    /// `oifname != "lo"`
    NotLeavingThroughLo,
    /// `fib saddr type local`
    SourceIsLocal,
    /// `fib daddr type local`
    DestinationIsLocal,
    /// `fib daddr type != local`
    DestinationIsNotLocal,
    /// `ct direction original`
    FromClient,
    /// `ct direction reply`
    FromServer,
    /// `ct state new`
    IsNew,
    /// `ct state established`: not an ICMP error about the connection, which is `related`.
    IsEstablished,
    /// `ct label 117`
    Labelled(Label),
    /// `ct status ! dnat`
    NotTranslated,
    /// `numgen random mod 16 != 0`: all but one in so many.
    NotDrawn(NonZeroU32),
    /// `meta mark & 0xff000000 == 0x53000000`
    Marked,
    /// `meta mark & 0xff000000 != 0x53000000`
    NotMarked,
    /// `meta mark 0x53000000`
    MarkIs(Mark),
    /// `meta priority 5351:0`
    PriorityIs(Code),
    /// `ip daddr @cluster-ips`
    In(Vec<Field>, SetName),
    /// `ip daddr . ip saddr != @allowed`
    NotIn(Vec<Field>, SetName),
    /// `meta priority set 5357:5`
    SetPriority(Code),
    /// `meta priority set meta priority | 0:1`
    SetPriorityLowBit,
    /// `meta priority set ip daddr . meta l4proto . th dport map @services`
    SetPriorityFrom(Vec<Field>, SetName),
    /// `meta priority vmap @policies`
    Follow(SetName),
    /// `update @affinity { jhash ip saddr mod 8192 … . meta priority timeout 3h : 5357:5 }`
    Remember {
        /// What the client is remembered to have, unless it has something already.
        code: Code,
        /// Seconds from now.
        timeout: u32,
    },
    /// `delete @affinity { jhash ip saddr mod 8192 … . meta priority : 5357:5 }`; the value says nothing, but the kernel
    /// wants one.
    Forget {
        /// Any.
        code: Code,
    },
    /// `dnat ip to ip daddr . … map @endpoints`
    Translate(Vec<Field>, SetName),
    /// `meta mark set 0x53000000`
    SetMark(Mark),
    /// `ct label set 117`
    SetLabel(Label),
    /// `th sport set th sport ^ 65535`: hides it, and a second time shows it again. Checksums stay as they are.
    FlipSourcePort,
    /// `meta mark set ip daddr . … map @endpoints`
    SetMarkFrom(Vec<Field>, SetName),
    /// `masquerade fully-random`
    Masquerade,
    /// `flow add @fastpath`: the connection is forwarded by the flowtable from now on.
    HandOver,
    /// `reject with tcp reset`
    RejectWithReset,
    /// `reject`
    Reject,
    /// `counter`
    Counter,
    /// `accept`
    Accept,
    /// `drop`
    Drop,
    /// `goto refuse`
    Goto(ChainName),
    /// `jump services`
    Jump(ChainName),
}

impl Rule {
    /// Hands the packet to the endpoint that `map` has for `key`: translated, or marked for IPVS to translate.
    pub(crate) fn hand_over(key: Vec<Field>, map: SetName, delivery: Delivery) -> Self {
        match delivery {
            Delivery::Translate => Self(vec![Statement::Translate(key, map)]),
            // meta mark set ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints accept
            Delivery::Mark => Self(vec![Statement::SetMarkFrom(key, map), Statement::Accept]),
        }
    }
}

/// The key of [`SetName::Affinity`].
pub(crate) const REMEMBERED_BY: [Field; 2] = [Field::Client, Field::Priority];

/// Of `jhash ip saddr`; any number would do, but every rule must use the same one.
pub(crate) const CLIENT_SEED: u32 = 0x5357_5357;

/// How many clients a service port tells apart, in each pool that its frontends balance over.
pub(crate) const CLIENTS: u32 = 1 << 13;

/// The addresses of `lo`.
pub(crate) fn loopback(family: Family) -> Cidr {
    let (network, prefix) = match family {
        Family::V4 => (std::net::Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        Family::V6 => (std::net::Ipv6Addr::LOCALHOST.into(), 128),
    };
    Cidr::new(network, prefix).expect("a prefix within the address")
}
