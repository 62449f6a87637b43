//! What nft prints for rules, sets and elements: the reviewer's language. For golden listings; nothing else prints
//! them.

use std::fmt;

use backend_api::{Cidr, Family, FrontendKey, Protocol};

use super::code::remembered;
use super::delivery::{Delivery, Label, Mark};
use super::element::{Element, Key, Value};
use super::name::{FLOWTABLE, SetName, keyword};
use super::rule::{CLIENT_SEED, CLIENTS, Field, REMEMBERED_BY, Rule, Statement, loopback};
use super::spec::{AFFINITY_SIZE, Declared, Maps, Part};

impl Rule {
    /// The line of nft, in a table of `family`.
    pub(crate) fn text(&self, family: Family) -> impl fmt::Display + '_ {
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
        Statement::In(key, set) => write!(f, "{} @{set}", fields_text(key, family)),
        Statement::NotIn(key, set) => write!(f, "{} != @{set}", fields_text(key, family)),
        Statement::SetPriority(code) => write!(f, "meta priority set {code}"),
        Statement::SetPriorityLowBit => f.write_str("meta priority set meta priority | 0:1"),
        Statement::SetPriorityFrom(key, map) => write!(f, "meta priority set {} map @{map}", fields_text(key, family)),
        Statement::Follow(map) => write!(f, "meta priority vmap @{map}"),
        Statement::Remember { code, timeout } => {
            let key = fields_text(&REMEMBERED_BY, family);
            write!(f, "update @{} {{ {key} timeout {timeout}s : {code} }}", SetName::Affinity)
        }
        Statement::Forget { code } => {
            write!(f, "delete @{} {{ {} : {code} }}", SetName::Affinity, fields_text(&REMEMBERED_BY, family))
        }
        Statement::Translate(key, map) => write!(f, "dnat {ip} to {} map @{map}", fields_text(key, family)),
        Statement::SetMark(mark) => write!(f, "meta mark set {mark}"),
        Statement::SetMarkFrom(key, map) => write!(f, "meta mark set {} map @{map}", fields_text(key, family)),
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

impl SetName {
    /// The lines of nft that declare it, without indentation.
    pub(crate) fn declaration(self, family: Family, delivery: Delivery) -> Vec<String> {
        let spec = self.spec(delivery);
        let words = spec.key.iter().map(|part| match spec.declared {
            Declared::Typeof => part.expression(family),
            Declared::Type => part.type_name(family).to_owned(),
        });
        let words = words.collect::<Vec<_>>().join(" . ");
        let key = match spec.declared {
            Declared::Typeof => format!("typeof {words}"),
            Declared::Type => format!("type {words}"),
        };
        let maps = match spec.maps {
            Maps::Nothing => String::new(),
            Maps::Code if spec.declared == Declared::Type => " : classid".to_owned(),
            Maps::Code => " : meta priority".to_owned(),
            Maps::Endpoint => format!(" : {} daddr . tcp dport", keyword(family)),
            Maps::Mark => " : meta mark".to_owned(),
            Maps::Verdict => " : verdict".to_owned(),
        };
        let mut lines = vec![key + &maps];
        match self {
            Self::Affinity => lines.extend([format!("size {AFFINITY_SIZE}"), "flags dynamic,timeout".to_owned()]),
            _ if self.is_interval() => lines.push("flags interval".to_owned()),
            _ if self.counts() => lines.push("counter".to_owned()),
            _ => {}
        }
        lines
    }

    /// `map` or `set`.
    pub(crate) fn noun(self) -> &'static str {
        if self.spec(Delivery::Translate).maps == Maps::Nothing { "set" } else { "map" }
    }
}

impl Part {
    fn type_name(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Source | Self::Destination, Family::V4) => "ipv4_addr",
            (Self::Source | Self::Destination, Family::V6) => "ipv6_addr",
            (Self::Protocol, _) => "inet_proto",
            (Self::Port, _) => "inet_service",
            (Self::Number, _) => "integer",
            (Self::Code, _) => "classid",
            (Self::Mark, _) => "mark",
        }
    }

    fn expression(self, family: Family) -> String {
        match self {
            Self::Source => format!("{} saddr", keyword(family)),
            Self::Destination => format!("{} daddr", keyword(family)),
            Self::Protocol => "meta l4proto".to_owned(),
            Self::Port => "tcp dport".to_owned(),
            Self::Number => "numgen random mod 2".to_owned(),
            Self::Code => "meta priority".to_owned(),
            Self::Mark => "meta mark".to_owned(),
        }
    }
}

/// As nft prints it between the braces.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Value::None => self.key.fmt(f),
            Value::Code(code) => write!(f, "{} : {code}", self.key),
            Value::Endpoint(endpoint) => write!(f, "{} : {} . {}", self.key, endpoint.ip, endpoint.port),
            Value::Mark(mark) => write!(f, "{} : {mark}", self.key),
            Value::Goto(chain) => write!(f, "{} : goto {chain}", self.key),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Frontend(frontend) => f.write_str(&frontend_text(frontend)),
            Self::Slot(frontend, slot) => write!(f, "{} . {slot}", frontend_text(frontend)),
            Self::Remembered(frontend, slot) => write!(f, "{} . {}", frontend_text(frontend), remembered(slot)),
            Self::Source(frontend, range) => write!(f, "{} . {}", frontend_text(frontend), cidr_text(range)),
            Self::Code(code) => code.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Itself(address) => write!(f, "{address} . {address}"),
        }
    }
}

fn frontend_text(frontend: FrontendKey) -> String {
    let protocol = protocol_text(frontend.protocol());
    match frontend {
        FrontendKey::Address { address, port, .. } => format!("{address} . {protocol} . {port}"),
        FrontendKey::NodePort { port, .. } => format!("{protocol} . {port}"),
    }
}

/// `tcp`, `udp` or `sctp`.
fn protocol_text(protocol: Protocol) -> &'static str {
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
        (Field::Source, _) => format!("{ip} saddr"),
        (Field::Destination, _) => format!("{ip} daddr"),
        (Field::Protocol, _) => "meta l4proto".to_owned(),
        (Field::Port, _) => "th dport".to_owned(),
        (Field::OriginalDestination, _) => format!("ct original {ip} daddr"),
        (Field::OriginalPort, _) => "ct original proto-dst".to_owned(),
        (Field::Priority, _) => "meta priority".to_owned(),
        (Field::Random { modulus, offset: 0 }, _) => format!("numgen random mod {modulus}"),
        (Field::Random { modulus, offset }, _) => format!("numgen random mod {modulus} offset {offset}"),
        (Field::Client, _) => format!("jhash {ip} saddr mod {CLIENTS} seed {CLIENT_SEED:#x}"),
    }
}
