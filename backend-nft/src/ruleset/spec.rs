//! What each set and map is made of: its key, its value, how nft learns their types.

use backend_api::Family;

use super::delivery::Delivery;
use super::name::{By, SetName};

/// The most clients that are remembered at a time: those of 32 pools that are full, see
/// [`CLIENTS`](super::rule::CLIENTS). When it is full, the next ones are not remembered, and served.
pub(crate) const AFFINITY_SIZE: u32 = 262_144;

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

/// What a set's elements map to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maps {
    /// Nothing: it is a set.
    Nothing,
    /// A code.
    Code,
    /// An endpoint.
    Endpoint,
    /// A virtual server.
    Mark,
    /// A verdict.
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

/// What a set or a map is made of.
pub(super) struct Spec {
    pub(super) key: Vec<Part>,
    pub(super) maps: Maps,
    pub(super) declared: Declared,
}

impl SetName {
    /// What it is made of.
    pub(super) fn spec(self, delivery: Delivery) -> Spec {
        use Part::{Code, Destination, Number, Source};
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
            Self::Affinity => spec(vec![Number, Code], Maps::Code),
            Self::ClusterIps | Self::NodeAddresses | Self::OwnAddresses => spec(vec![Destination], Maps::Nothing),
            Self::Hairpin => spec(vec![Source, Destination], Maps::Nothing),
        }
    }

    /// Whether each element counts the connections that found it.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::Services(_))
    }

    /// Whether it holds ranges.
    pub(crate) fn is_interval(self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// The key of a set that is looked up by a frontend, and by `more` behind it.
fn frontend(by: By, more: &[Part]) -> Vec<Part> {
    let mut key = match by {
        By::Address => vec![Part::Destination, Part::Protocol, Part::Port],
        By::NodePort => vec![Part::Protocol, Part::Port],
    };
    key.extend(more);
    key
}

fn spec(key: Vec<Part>, maps: Maps) -> Spec {
    Spec { key, maps, declared: Declared::Typeof }
}

impl Maps {
    /// What the value consists of; nothing where that is not data.
    pub(super) fn parts(self) -> &'static [Part] {
        match self {
            Self::Nothing | Self::Verdict => &[],
            Self::Code => &[Part::Code],
            Self::Mark => &[Part::Mark],
            Self::Endpoint => &[Part::Destination, Part::Port],
        }
    }
}

impl Part {
    /// Bytes, before padding.
    pub(super) fn len(self, family: Family) -> u32 {
        match self {
            Self::Source | Self::Destination => u32::from(family.bits()) / 8,
            Self::Protocol => 1,
            Self::Port => 2,
            Self::Number | Self::Code | Self::Mark => 4,
        }
    }

    /// nft's number of its type (`enum datatypes`, nftables `include/datatype.h`).
    pub(super) fn nft_type(self, family: Family) -> u32 {
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
}
