//! Which of several bids is the best.

use std::cmp::Reverse;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::wire::heartbeat::{Bid, Name, Standing, State};

/// A node on one of its interfaces: two interfaces of a node in one segment are two bidders, and so one of them holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bidder {
    /// The node.
    pub node: Name,
    /// The interface's index there.
    pub interface: u32,
}

/// The last of the criteria: less is better. The first 8 bytes of MetalLB's order, `sha256(node + "#" + address)`, so
/// that a switch from MetalLB moves nothing.
///
/// `first` is the first address of the oldest service that has the address that is bid for.
pub fn order_key(node: &str, first: IpAddr) -> u64 {
    let hash = Sha256::digest(format!("{node}#{first}"));
    hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// How good a bid is: more is better. A total order on what the bids say, so two nodes that heard each other agree.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    standing: Standing,
    preference: u32,
    holds: bool,
    // Of two holdings the older one stays: the younger began because its node did not hear the older one.
    term: Reverse<u32>,
    key: Reverse<u64>,
    bidder: Reverse<&'a Bidder>,
}

impl<'a> Rank<'a> {
    pub(super) fn new(bid: &Bid, bidder: &'a Bidder) -> Self {
        let holds = bid.state == State::Holding;
        Self {
            standing: bid.standing,
            preference: bid.preference,
            holds,
            term: Reverse(if holds { bid.term } else { 0 }),
            key: Reverse(bid.key),
            bidder: Reverse(bidder),
        }
    }

    /// Whether it is so much better that it relieves a holder: an equal one stays.
    pub(super) fn relieves(&self, holder: &Bid) -> bool {
        (self.standing, self.preference) > (holder.standing, holder.preference)
    }
}

/// Bits of the preference that hold the order, if holders do not stay.
const ORDER_BITS: u32 = 12;

/// The preference as it is sent. If holders do not stay, the order is a part of it, and so a reason to move.
pub(super) fn preference(wished: u32, key: u64, incumbency: super::Incumbency) -> u32 {
    let high = wished.min(u32::MAX >> ORDER_BITS) << ORDER_BITS;
    match incumbency {
        super::Incumbency::Sticky => high,
        super::Incumbency::Failback => high | (!key >> (64 - ORDER_BITS)) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_metallbs() {
        // printf 'node2#192.168.67.240' | sha256sum
        assert_eq!(order_key("node2", "192.168.67.240".parse().unwrap()), NODE2);
    }

    const NODE2: u64 = 0x79017c17a8730b17;

    #[test]
    fn standing_decides_before_preference_before_holding_before_age_before_the_key() {
        let bidder = Bidder { node: Name::new("a").unwrap(), interface: 2 };
        let later = Bidder { node: Name::new("b").unwrap(), interface: 1 };
        let worst = Bid { state: State::Candidate, standing: Standing::Leaving, preference: 0, term: 0, key: 9 };
        let rising = [
            (worst, &later),
            (worst, &bidder),
            (Bid { key: 8, ..worst }, &later),
            (Bid { state: State::Holding, term: 7, ..worst }, &later),
            (Bid { state: State::Holding, term: 6, ..worst }, &later),
            (Bid { preference: 1, ..worst }, &later),
            (Bid { standing: Standing::Doubtful, ..worst }, &later),
            (Bid { standing: Standing::LastResort, ..worst }, &later),
            (Bid { standing: Standing::Sound, ..worst }, &later),
        ];
        for pair in rising.windows(2) {
            let [less, more] = [0, 1].map(|at| Rank::new(&pair[at].0, pair[at].1));
            assert!(less < more, "{less:?} < {more:?}");
        }
    }

    #[test]
    fn the_order_is_a_reason_to_move_only_with_failback() {
        use super::super::Incumbency::{Failback, Sticky};
        assert_eq!(preference(1, 0, Sticky), preference(1, u64::MAX, Sticky));
        assert!(preference(1, 0, Failback) > preference(1, u64::MAX, Failback));
        assert!(preference(2, u64::MAX, Failback) > preference(1, 0, Failback));
        assert!(preference(u32::MAX, 0, Failback) >= preference(u32::MAX, 0, Sticky));
    }
}
