//! What each set and map is made of: its key, its value, how nft declares it.

use std::time::Duration;

use backend_api::Family;

use super::declared::userdata;
use super::delivery::Delivery;
use super::name::{By, SetName};
use super::rule::keyword;
use netlink::nftables::object::{SET_CONCAT, SET_EVAL, SET_INTERVAL, SET_TIMEOUT};
use netlink::nftables::{Counter, Expr, Set, SetData};

/// The most clients that are remembered at a time. When it is full, the next ones are not remembered, and served.
pub const AFFINITY_SIZE: u32 = 262_144;

/// What a key or a value consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Source,
    Destination,
    Protocol,
    Port,
    /// `numgen random mod 2`: a number.
    Number,
    /// `meta priority`: a code.
    Code,
    /// `meta mark`: a virtual server.
    Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maps {
    Nothing,
    Code,
    Endpoint,
    Mark,
    Verdict,
}

/// How nft learns the types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// `typeof ip daddr`
    Typeof,
    /// `type ipv4_addr`: rules look it up by `ct original`, which nft cannot tell the type of.
    Type,
}

pub(super) struct Spec {
    pub(super) key: Vec<Part>,
    pub(super) maps: Maps,
    pub(super) declared: Declared,
}

impl SetName {
    fn spec(self, family: Family, delivery: Delivery) -> Spec {
        use Part::{Code, Destination, Number, Port, Protocol, Source};
        let frontend = |by, more: &[Part]| {
            let mut key = match by {
                By::Address => vec![Destination, Protocol, Port],
                By::NodePort => vec![Protocol, Port],
            };
            key.extend(more);
            key
        };
        let spec = |key, maps| Spec { key, maps, declared: Declared::Typeof };
        let answers = match delivery {
            Delivery::Translate => Maps::Endpoint,
            Delivery::Mark => Maps::Mark,
        };
        match self {
            Self::Services(by) | Self::Inside(by) | Self::Outside(by) | Self::AffinityIds(by) => {
                spec(frontend(by, &[]), Maps::Code)
            }
            Self::Policies(_) | Self::StickySlots(_) | Self::MasqueradePolicies => spec(vec![Code], Maps::Verdict),
            Self::Endpoints(by) => spec(frontend(by, &[Number]), answers),
            Self::StickyPicks(by) => spec(frontend(by, &[Number]), Maps::Code),
            Self::StickyEndpoints(by) => spec(frontend(by, &[Code]), answers),
            Self::Restricted(by) => spec(frontend(by, &[]), Maps::Nothing),
            Self::Allowed(by) => spec(frontend(by, &[Source]), Maps::Nothing),
            Self::Masquerade(by) => Spec { declared: Declared::Type, ..spec(frontend(by, &[]), Maps::Code) },
            Self::Affinity => match family {
                Family::V4 => spec(vec![Source, Code], Maps::Code),
                Family::V6 => spec(vec![Number, Code], Maps::Code),
            },
            Self::ClusterIps | Self::NodeAddresses | Self::OwnAddresses => spec(vec![Destination], Maps::Nothing),
            Self::Hairpin => spec(vec![Source, Destination], Maps::Nothing),
        }
    }

    /// Whether each element counts the connections that found it.
    pub fn counts(self) -> bool {
        matches!(self, Self::Services(_))
    }

    /// Whether it holds ranges.
    pub fn is_interval(self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// The set as the kernel is given it, in the table of `family`.
    pub fn kernel_set(self, family: Family, delivery: Delivery) -> Set {
        let spec = self.spec(family, delivery);
        let (flags, size) = match self {
            Self::Affinity => (SET_TIMEOUT | SET_EVAL, AFFINITY_SIZE),
            _ if self.is_interval() => (SET_INTERVAL | SET_CONCAT, 0),
            _ => (0, 0),
        };
        Set {
            name: self.as_str().to_owned(),
            flags,
            key_type: nft_type(&spec.key, family),
            key_len: spec.key.iter().map(|part| padded(part.len(family))).sum(),
            fields: match self.is_interval() {
                true => spec.key.iter().map(|part| part.len(family)).collect(),
                false => Vec::new(),
            },
            data: spec.maps.kernel_data(family),
            timeout: Duration::ZERO,
            size,
            userdata: userdata(&spec, family),
            exprs: if self.counts() { vec![Expr::Counter(Counter::default())] } else { Vec::new() },
        }
    }

    /// The lines of nft that declare it, without indentation.
    pub fn declaration(self, family: Family, delivery: Delivery) -> Vec<String> {
        let spec = self.spec(family, delivery);
        let join =
            |word: &dyn Fn(Part) -> String| spec.key.iter().map(|part| word(*part)).collect::<Vec<_>>().join(" . ");
        let key = match spec.declared {
            Declared::Typeof => format!("typeof {}", join(&|part| part.expression(family))),
            Declared::Type => format!("type {}", join(&|part| part.type_name(family).to_owned())),
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
    pub fn noun(self) -> &'static str {
        if self.spec(Family::V4, Delivery::Translate).maps == Maps::Nothing { "set" } else { "map" }
    }
}

/// nft's numbers of types (`enum datatypes`, nftables `include/datatype.h`), 6 bits for each field of a concatenation.
fn nft_type(key: &[Part], family: Family) -> u32 {
    key.iter().fold(0, |number, part| number << 6 | part.nft_type(family))
}

fn padded(len: u32) -> u32 {
    len.next_multiple_of(4)
}

impl Maps {
    pub(super) fn parts(self) -> &'static [Part] {
        match self {
            Self::Nothing | Self::Verdict => &[],
            Self::Code => &[Part::Code],
            Self::Mark => &[Part::Mark],
            Self::Endpoint => &[Part::Destination, Part::Port],
        }
    }

    fn kernel_data(self, family: Family) -> Option<SetData> {
        match self {
            Self::Nothing => None,
            Self::Verdict => Some(SetData::Verdict),
            Self::Code | Self::Endpoint | Self::Mark => Some(SetData::Value {
                kind: nft_type(self.parts(), family),
                len: self.parts().iter().map(|part| padded(part.len(family))).sum(),
            }),
        }
    }
}

impl Part {
    fn len(self, family: Family) -> u32 {
        match self {
            Self::Source | Self::Destination => u32::from(family.bits()) / 8,
            Self::Protocol => 1,
            Self::Port => 2,
            Self::Number | Self::Code | Self::Mark => 4,
        }
    }

    fn nft_type(self, family: Family) -> u32 {
        match (self, family) {
            (Self::Source | Self::Destination, Family::V4) => 7,
            (Self::Source | Self::Destination, Family::V6) => 8,
            (Self::Protocol, _) => 12,
            (Self::Port, _) => 13,
            (Self::Number, _) => 4,
            (Self::Mark, _) => 19,
            (Self::Code, _) => 23,
        }
    }

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
