//! Which endpoint is in which slot of its pool.
//!
//! The kernel draws a number below the size of the pool, so slots have no holes; and a change should move as few as it
//! can. That makes slots the one thing here that depends on the past. What the past was comes from the caller: from
//! what was programmed last, or from the kernel.
//!
//! **Invariant:** the result holds exactly the live endpoints, each as often as its share says
//! (`tests::slots_hold_exactly_the_live`).

use std::collections::{BTreeMap, HashSet};

use backend_api::{Affinity, EndpointAddress, Pool, ServicePort};

use crate::ruleset::LOCAL_STICKY_SLOT;

/// The slots of one pool of one service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slots {
    /// Nothing is remembered: slot 0 and so on, an endpoint with a larger share several times.
    Plain(Vec<EndpointAddress>),
    /// Clients are remembered by slot.
    Sticky(Sticky),
}

/// Slots that keep their number for as long as their endpoint lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sticky {
    /// Slot → endpoint, from the first slot of the pool on; holes are given to the next endpoints that come.
    pub(crate) endpoints: Vec<Option<EndpointAddress>>,
    /// Drawn number → slot, without holes; counted from the first slot of the pool.
    pub(crate) picks: Vec<u16>,
}

/// An endpoint that gets new connections, and its share: its weight, divided by what divides all of them.
pub(crate) type Live = (EndpointAddress, u32);

/// The endpoints of `pool` that get new connections, with their shares.
pub(crate) fn live(port: &ServicePort, pool: Pool) -> Vec<Live> {
    let common = port.pool(pool).fold(0, |common, endpoint| gcd(common, endpoint.weight.into()));
    port.pool(pool).map(|endpoint| (endpoint.address, u32::from(endpoint.weight) / common)).collect()
}

/// The slots of `pool`, as few as possible changed from what they were.
pub(crate) fn assign(before: Option<&Slots>, port: &ServicePort, pool: Pool) -> Slots {
    let endpoints = live(port, pool);
    match (port.affinity, before) {
        (Affinity::None, Some(Slots::Plain(before))) => Slots::Plain(dense(before, &endpoints)),
        (Affinity::None, _) => Slots::Plain(dense(&[], &endpoints)),
        (Affinity::ClientIp { .. }, Some(Slots::Sticky(before))) => Slots::Sticky(sticky(before, &endpoints)),
        (Affinity::ClientIp { .. }, _) => Slots::Sticky(sticky(&Sticky::default(), &endpoints)),
    }
}

/// First slot of a pool that remembers clients.
pub(crate) fn first_sticky_slot(pool: Pool) -> u16 {
    match pool {
        Pool::Cluster => 0,
        Pool::Local => LOCAL_STICKY_SLOT,
    }
}

/// First slot of a pool that does not.
pub(crate) fn first_slot(pool: Pool) -> u32 {
    match pool {
        Pool::Cluster => 0,
        Pool::Local => 1 << 16,
    }
}

impl Slots {
    /// How many numbers are drawn from.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Plain(slots) => slots.len(),
            Self::Sticky(sticky) => sticky.picks.len(),
        }
    }
}

/// Keeps those that stay; fills the holes with the last ones, then with those that come.
fn dense<T: Copy + Ord>(before: &[T], wanted: &[(T, u32)]) -> Vec<T> {
    let mut missing: BTreeMap<T, u32> = wanted.iter().copied().collect();
    let size: usize = wanted.iter().map(|(_, share)| *share as usize).sum();
    let mut slots: Vec<Option<T>> = before
        .iter()
        .map(|old| {
            let share = missing.get_mut(old).filter(|share| **share > 0)?;
            *share -= 1;
            Some(*old)
        })
        .collect();
    let displaced: Vec<T> = slots.drain(size.min(before.len())..).flatten().collect();
    slots.resize(size, None);
    let coming = missing.into_iter().flat_map(|(one, share)| std::iter::repeat_n(one, share as usize));
    let mut next = displaced.into_iter().chain(coming);
    slots.into_iter().map(|slot| slot.or_else(|| next.next()).expect("as many endpoints as slots")).collect()
}

fn sticky(before: &Sticky, live: &[Live]) -> Sticky {
    let mut endpoints: Vec<Option<EndpointAddress>> =
        before.endpoints.iter().map(|slot| slot.filter(|old| share(live, *old).is_some())).collect();
    let stay: HashSet<EndpointAddress> = endpoints.iter().flatten().copied().collect();
    let mut no_hole_before = 0;
    for (endpoint, _) in live.iter().filter(|(endpoint, _)| !stay.contains(endpoint)) {
        match endpoints[no_hole_before..].iter().position(Option::is_none) {
            Some(hole) => {
                no_hole_before += hole;
                endpoints[no_hole_before] = Some(*endpoint);
            }
            None => {
                no_hole_before = endpoints.len();
                endpoints.push(Some(*endpoint));
            }
        }
        no_hole_before += 1;
    }
    while endpoints.last() == Some(&None) {
        endpoints.pop();
    }
    let wanted: Vec<(u16, u32)> =
        (0..).zip(&endpoints).filter_map(|(slot, endpoint)| Some((slot, share(live, (*endpoint)?)?))).collect();
    Sticky { picks: dense(&before.picks, &wanted), endpoints }
}

/// The share of `endpoint`; none if it is not live. A port's endpoints are in order of addresses.
fn share(live: &[Live], endpoint: EndpointAddress) -> Option<u32> {
    let at = live.binary_search_by_key(&endpoint, |(live, _)| *live).ok()?;
    Some(live[at].1)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn endpoint(n: u8) -> EndpointAddress {
        EndpointAddress { ip: Ipv4Addr::new(10, 0, 0, n).into(), port: 80 }
    }

    fn check(before: &str, wanted: &str, expected: &str) {
        let before: Vec<char> = before.chars().collect();
        let mut shares = BTreeMap::new();
        for one in wanted.chars() {
            *shares.entry(one).or_insert(0) += 1;
        }
        let wanted: Vec<_> = shares.into_iter().collect();
        assert_eq!(dense(&before, &wanted).into_iter().collect::<String>(), expected);
    }

    #[test]
    fn a_change_moves_as_few_as_it_can() {
        check("", "abc", "abc");
        check("abc", "ac", "ac");
        check("abcd", "acd", "adc");
        check("abcd", "ad", "ad");
        check("abcd", "abcde", "abcde");
        check("abcd", "axcd", "axcd");
        check("abcd", "xyz", "xyz");
        check("aab", "abb", "abb");
        check("aab", "", "");
    }

    #[test]
    fn a_remembered_slot_outlives_the_others() {
        let of = |live: &[u8]| live.iter().map(|n| (endpoint(*n), 1)).collect::<Vec<_>>();
        let three = sticky(&Sticky::default(), &of(&[1, 2, 3]));
        let two = sticky(&three, &of(&[1, 3]));
        assert_eq!(two.endpoints, [Some(endpoint(1)), None, Some(endpoint(3))]);
        assert_eq!(two.picks, [0, 2]);
        let again = sticky(&two, &of(&[1, 3, 4]));
        assert_eq!(again.endpoints, [Some(endpoint(1)), Some(endpoint(4)), Some(endpoint(3))]);
    }

    proptest! {
        #[test]
        fn slots_hold_exactly_the_live(
            before in prop::collection::vec(0u8..12, 0..12),
            wanted in prop::collection::btree_map(0u8..12, 1u32..4, 0..8),
        ) {
            let wanted: Vec<(u8, u32)> = wanted.into_iter().collect();
            let slots = dense(&before, &wanted);
            let mut held = BTreeMap::new();
            for one in &slots {
                *held.entry(*one).or_insert(0u32) += 1;
            }
            prop_assert_eq!(held, wanted.iter().copied().collect::<BTreeMap<_, _>>());

            let live: Vec<Live> = wanted.iter().map(|(n, share)| (endpoint(*n), *share)).collect();
            let first = sticky(&Sticky::default(), &live);
            let after = sticky(&first, &live[..live.len() / 2]);
            for (slot, kept) in after.endpoints.iter().enumerate().filter(|(_, kept)| kept.is_some()) {
                prop_assert_eq!(first.endpoints[slot], *kept);
            }
            prop_assert_eq!(sticky(&after, &live[..live.len() / 2]), after);
        }
    }
}
