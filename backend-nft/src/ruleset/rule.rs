//! Rules as statements, in nft's words.
//!
//! Kept apart from the kernel's expressions ([`super::lower`]), because a reviewer reads nft, and because a rule is
//! compared, counted and printed more often than it is encoded.

use std::fmt;
use std::num::NonZeroU32;

use backend_api::{Cidr, Family, Protocol};

use super::chain::ChainName;
use super::code::Code;
use super::delivery::{Label, Mark};
use super::name::{FLOWTABLE, SetName};

/// A rule: statements from left to right; the first that does not hold ends it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule(pub Vec<Statement>);

/// One field of a key, loaded from the packet or its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
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
    /// Who dials: `ip saddr`; in IPv6 a hash of it, because nft 1.0.6 cannot load a key of more than 16 bytes beside a
    /// value in `update @map`. Two clients of one hash are remembered as one, which harms neither.
    Client,
}

/// One statement of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statement {
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
    /// `update @affinity { ip saddr . meta priority timeout 3h : 5357:5 }`
    Remember {
        /// What the client is remembered to have, unless it has something already.
        code: Code,
        /// Seconds from now.
        timeout: u32,
    },
    /// `delete @affinity { ip saddr . meta priority : 5357:5 }`; the value says nothing, but the kernel wants one.
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
    /// The line of nft, in a table of `family`.
    pub fn text(&self, family: Family) -> impl fmt::Display + '_ {
        RuleText { rule: self, family }
    }
}

struct RuleText<'a> {
    rule: &'a Rule,
    family: Family,
}

impl fmt::Display for RuleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, statement) in self.rule.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { " " })?;
            statement_text(f, statement, self.family)?;
        }
        Ok(())
    }
}

fn statement_text(f: &mut fmt::Formatter<'_>, statement: &Statement, family: Family) -> fmt::Result {
    let ip = keyword(family);
    let fields = |fields: &[Field]| fields_text(fields, family);
    match statement {
        Statement::ProtocolIs(protocol) => write!(f, "meta l4proto {}", protocol_text(*protocol)),
        Statement::SourceIn(cidr) => write!(f, "{ip} saddr {}", cidr_text(*cidr)),
        Statement::DestinationIn(cidr) => write!(f, "{ip} daddr {}", cidr_text(*cidr)),
        Statement::DestinationNotLoopback => write!(f, "{ip} daddr != {}", cidr_text(loopback(family))),
        Statement::EnteredThrough(name) => write!(f, "iifname \"{name}\""),
        Statement::EnteredThroughPrefix(prefix) => write!(f, "iifname \"{prefix}*\""),
        Statement::NotLeavingThroughLo => f.write_str("oifname != \"lo\""),
        Statement::SourceIsLocal => f.write_str("fib saddr type local"),
        Statement::DestinationIsLocal => f.write_str("fib daddr type local"),
        Statement::DestinationIsNotLocal => f.write_str("fib daddr type != local"),
        Statement::Labelled(Label(label)) => write!(f, "ct label {label}"),
        Statement::SetLabel(Label(label)) => write!(f, "ct label set {label}"),
        Statement::FromClient => f.write_str("ct direction original"),
        Statement::FromServer => f.write_str("ct direction reply"),
        Statement::IsNew => f.write_str("ct state new"),
        Statement::IsEstablished => f.write_str("ct state established"),
        Statement::FlipSourcePort => f.write_str("th sport set th sport ^ 65535"),
        Statement::NotTranslated => f.write_str("ct status ! dnat"),
        Statement::NotDrawn(of) => write!(f, "numgen random mod {of} != 0"),
        Statement::Marked => write!(f, "meta mark & {:#010x} == {}", Mark::MASK, Mark::DELIVER),
        Statement::NotMarked => write!(f, "meta mark & {:#010x} != {}", Mark::MASK, Mark::DELIVER),
        Statement::MarkIs(mark) => write!(f, "meta mark {mark}"),
        Statement::PriorityIs(code) => write!(f, "meta priority {code}"),
        Statement::In(key, set) => write!(f, "{} @{set}", fields(key)),
        Statement::NotIn(key, set) => write!(f, "{} != @{set}", fields(key)),
        Statement::SetPriority(code) => write!(f, "meta priority set {code}"),
        Statement::SetPriorityLowBit => f.write_str("meta priority set meta priority | 0:1"),
        Statement::SetPriorityFrom(key, map) => write!(f, "meta priority set {} map @{map}", fields(key)),
        Statement::Follow(map) => write!(f, "meta priority vmap @{map}"),
        Statement::Remember { code, timeout } => {
            let key = fields(&REMEMBERED_BY);
            write!(f, "update @{} {{ {key} timeout {timeout}s : {code} }}", SetName::Affinity)
        }
        Statement::Forget { code } => {
            write!(f, "delete @{} {{ {} : {code} }}", SetName::Affinity, fields(&REMEMBERED_BY))
        }
        Statement::Translate(key, map) => write!(f, "dnat {ip} to {} map @{map}", fields(key)),
        Statement::SetMark(mark) => write!(f, "meta mark set {mark}"),
        Statement::SetMarkFrom(key, map) => write!(f, "meta mark set {} map @{map}", fields(key)),
        Statement::Masquerade => f.write_str("masquerade fully-random"),
        Statement::HandOver => write!(f, "flow add @{FLOWTABLE}"),
        Statement::RejectWithReset => f.write_str("reject with tcp reset"),
        Statement::Reject => f.write_str("reject"),
        Statement::Accept => f.write_str("accept"),
        Statement::Counter => f.write_str("counter"),
        Statement::Drop => f.write_str("drop"),
        Statement::Goto(chain) => write!(f, "goto {chain}"),
        Statement::Jump(chain) => write!(f, "jump {chain}"),
    }
}

/// The key of [`SetName::Affinity`].
pub const REMEMBERED_BY: [Field; 2] = [Field::Client, Field::Priority];

/// Of `jhash ip6 saddr`; any number would do, but every rule must use the same one.
pub const CLIENT_SEED: u32 = 0x5357_5357;

/// Of `jhash ip6 saddr`: every number but one.
pub const CLIENT_MODULUS: u32 = u32::MAX;

/// The addresses of `lo`.
pub fn loopback(family: Family) -> Cidr {
    let (network, prefix) = match family {
        Family::V4 => (std::net::Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        Family::V6 => (std::net::Ipv6Addr::LOCALHOST.into(), 128),
    };
    Cidr::new(network, prefix).expect("a prefix within the address")
}

/// `ip` or `ip6`.
pub fn keyword(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// `tcp`, `udp` or `sctp`.
pub fn protocol_text(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// As nft prints a range: a single address without its length.
fn cidr_text(cidr: Cidr) -> String {
    if cidr.prefix() == cidr.family().bits() { cidr.network().to_string() } else { cidr.to_string() }
}

fn fields_text(fields: &[Field], family: Family) -> String {
    let texts: Vec<String> = fields.iter().map(|field| field_text(*field, family)).collect();
    texts.join(" . ")
}

fn field_text(field: Field, family: Family) -> String {
    let ip = keyword(family);
    match (field, family) {
        (Field::Source, _) | (Field::Client, Family::V4) => format!("{ip} saddr"),
        (Field::Destination, _) => format!("{ip} daddr"),
        (Field::Protocol, _) => "meta l4proto".to_owned(),
        (Field::Port, _) => "th dport".to_owned(),
        (Field::OriginalDestination, _) => format!("ct original {ip} daddr"),
        (Field::OriginalPort, _) => "ct original proto-dst".to_owned(),
        (Field::Priority, _) => "meta priority".to_owned(),
        (Field::Random { modulus, offset: 0 }, _) => format!("numgen random mod {modulus}"),
        (Field::Random { modulus, offset }, _) => format!("numgen random mod {modulus} offset {offset}"),
        (Field::Client, Family::V6) => format!("jhash ip6 saddr mod {CLIENT_MODULUS} seed {CLIENT_SEED:#x}"),
    }
}
