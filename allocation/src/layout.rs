//! Which pool has which address, and which address of a pool is the lowest free one.
//!
//! Ranges become spans that do not overlap: of an address that two pools claim the older has it. A span remembers how far
//! it was looked through, and what came free before that place, so that a search costs the same in a pool of any size.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use backend_api::{Family, PerFamily};

use crate::claims::Claims;
use crate::range::{address, bits, is_buggy};
use crate::{AddressRange, Avoid, Overlap, Pool, PoolCounts, PoolName, Service};

/// A pool's place in the order in which pools are tried.
pub(crate) type Rank = usize;

/// Which pool has which address, where that is all that is asked.
#[derive(Debug, Default)]
pub struct PoolMap(Layout);

impl PoolMap {
    /// Of these pools.
    pub fn new<'a>(pools: impl IntoIterator<Item = &'a Pool>) -> Self {
        let pools = pools.into_iter().map(|pool| (Arc::new(pool.clone()), Standing::Serving));
        Self(Layout::new(pools.collect()))
    }

    /// The pool that has this address: the oldest of those that list it.
    pub fn pool_of(&self, address: IpAddr) -> Option<&PoolName> {
        self.0.pool_of(address).map(|rank| &self.0.placed(rank).pool.name)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// In the order in which they are tried.
    pools: Vec<Placed>,
    by_name: HashMap<PoolName, Rank>,
    /// By their first addresses.
    pieces: BTreeMap<IpAddr, Piece>,
    overlaps: Vec<Overlap>,
}

#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) pool: Arc<Pool>,
    pub(crate) standing: Standing,
    /// In the order of the pool's ranges.
    spans: Vec<Span>,
    /// First addresses of its IPv6 blocks: given only if they are asked for.
    anycast: Vec<IpAddr>,
    assigned: PerFamily<u128>,
    /// How many addresses are free that are given unasked.
    pub(crate) available: PerFamily<u128>,
}

/// Whether a pool gives addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Serving,
    /// It is gone, and what was given from it stays for a while.
    Leaving,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    last: IpAddr,
    pool: Rank,
    span: usize,
}

/// Addresses in a row of one pool.
#[derive(Debug)]
struct Span {
    family: Family,
    first: u128,
    last: u128,
    /// No address below is free, but for those in `freed`; `None`: there is none above.
    frontier: Option<u128>,
    freed: BTreeSet<u128>,
}

impl Layout {
    pub(crate) fn new(mut pools: Vec<(Arc<Pool>, Standing)>) -> Self {
        pools.sort_by(|(one, _), (other, _)| one.cmp_tried(other));
        let by_name = pools.iter().enumerate().map(|(rank, (pool, _))| (pool.name.clone(), rank)).collect();
        let pools: Vec<_> = pools.into_iter().map(|(pool, standing)| Placed::new(pool, standing)).collect();
        let mut by_age: Vec<Rank> = (0..pools.len()).collect();
        by_age.sort_by_key(|&rank| {
            let Placed { pool, standing, .. } = &pools[rank];
            (*standing == Standing::Leaving, pool.age, pool.name.clone())
        });
        let mut layout = Self { pools, by_name, pieces: BTreeMap::new(), overlaps: Vec::new() };
        for rank in by_age {
            for range in layout.pools[rank].pool.clone().ranges.iter() {
                layout.place(rank, *range);
            }
        }
        layout
    }

    /// Gives a pool what of the range no pool has yet.
    fn place(&mut self, rank: Rank, range: AddressRange) {
        let mut next = Some(range.first());
        for (first, piece) in self.pieces_in(range) {
            let begin = first.max(range.first());
            let shared = AddressRange::new(begin, piece.last.min(range.last())).expect("both overlap");
            if self.pools[rank].standing == Standing::Serving {
                let [pool, older] = [rank, piece.pool].map(|rank| self.pools[rank].pool.name.clone());
                self.overlaps.push(Overlap { pool, older, range: shared });
            }
            if let Some(next) = next.filter(|next| *next < begin) {
                let before = address(range.family(), bits(begin) - 1).expect("an address is below");
                self.add_piece(rank, next, before);
            }
            next = bits(shared.last()).checked_add(1).and_then(|bits| address(range.family(), bits));
        }
        if let Some(next) = next.filter(|next| *next <= range.last()) {
            self.add_piece(rank, next, range.last());
        }
    }

    /// Pieces that overlap the range, the lowest first.
    fn pieces_in(&self, range: AddressRange) -> Vec<(IpAddr, Piece)> {
        let below = self.pieces.range(..=range.last()).rev();
        let mut found: Vec<_> =
            below.take_while(|(_, piece)| piece.last >= range.first()).map(|(first, piece)| (*first, *piece)).collect();
        found.reverse();
        found
    }

    fn add_piece(&mut self, rank: Rank, first: IpAddr, last: IpAddr) {
        let placed = &mut self.pools[rank];
        let family = Family::of(first);
        let span = placed.spans.len();
        let (from, to) = (bits(first), bits(last));
        placed.spans.push(Span { family, first: from, last: to, frontier: Some(from), freed: BTreeSet::new() });
        let buggy = match (family, placed.pool.avoid) {
            (Family::V4, Avoid::Buggy) => buggy_between(from, to),
            _ => 0,
        };
        let anycast = placed.anycast.iter().filter(|anycast| first <= **anycast && **anycast <= last).count();
        let available = placed.available.of_mut(family);
        *available = available.saturating_add((to - from).saturating_add(1) - buggy - anycast as u128);
        self.pieces.insert(first, Piece { last, pool: rank, span });
    }

    /// The pool that has this address, be it one that is leaving.
    pub(crate) fn pool_of(&self, address: IpAddr) -> Option<Rank> {
        self.piece_of(address).map(|piece| piece.pool)
    }

    fn piece_of(&self, address: IpAddr) -> Option<Piece> {
        let (_, piece) = self.pieces.range(..=address).next_back()?;
        (address <= piece.last).then_some(*piece)
    }

    pub(crate) fn rank(&self, name: &str) -> Option<Rank> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn placed(&self, rank: Rank) -> &Placed {
        &self.pools[rank]
    }

    /// Pools that give addresses, in the order in which they are tried.
    pub(crate) fn serving(&self) -> impl Iterator<Item = Rank> {
        (0..self.pools.len()).filter(|rank| self.pools[*rank].standing == Standing::Serving)
    }

    pub(crate) fn overlaps(&self) -> &[Overlap] {
        &self.overlaps
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = (PoolName, PoolCounts)> {
        let serving = self.pools.iter().filter(|placed| placed.standing == Standing::Serving);
        serving.map(|placed| (placed.pool.name.clone(), placed.counts()))
    }

    /// An address gets its first user.
    pub(crate) fn occupy(&mut self, address: IpAddr) {
        let Some(piece) = self.piece_of(address) else { return };
        let placed = &mut self.pools[piece.pool];
        placed.spans[piece.span].freed.remove(&bits(address));
        let family = Family::of(address);
        *placed.assigned.of_mut(family) += 1;
        if placed.gives_unasked(address) {
            let available = placed.available.of_mut(family);
            *available = available.saturating_sub(1);
        }
    }

    /// An address loses its last user.
    pub(crate) fn vacate(&mut self, address: IpAddr) {
        let Some(piece) = self.piece_of(address) else { return };
        let placed = &mut self.pools[piece.pool];
        let family = Family::of(address);
        *placed.assigned.of_mut(family) -= 1;
        if placed.gives_unasked(address) {
            let available = placed.available.of_mut(family);
            *available = available.saturating_add(1);
            let span = &mut placed.spans[piece.span];
            if span.frontier.is_none_or(|frontier| bits(address) < frontier) {
                span.freed.insert(bits(address));
            }
        }
    }

    /// The lowest address of a pool and family that is free, or that others have and share with the service; ranges as
    /// listed.
    pub(crate) fn lowest(
        &mut self,
        rank: Rank,
        family: Family,
        service: &Service,
        claims: &mut Claims,
    ) -> Option<IpAddr> {
        let placed = &mut self.pools[rank];
        for index in 0..placed.spans.len() {
            if placed.spans[index].family != family {
                continue;
            }
            let free = placed.free_in(index, claims);
            let (first, last) = placed.spans[index].ends();
            let sharable = claims.sharable(service, first, free.unwrap_or(last));
            if let Some(found) = sharable.or(free) {
                return Some(found);
            }
        }
        None
    }
}

impl Placed {
    fn new(pool: Arc<Pool>, standing: Standing) -> Self {
        let anycast: BTreeSet<IpAddr> = pool.ranges.iter().filter_map(|range| range.anycast()).collect();
        Self {
            pool,
            standing,
            spans: Vec::new(),
            anycast: anycast.into_iter().collect(),
            assigned: PerFamily::default(),
            available: PerFamily::default(),
        }
    }

    pub(crate) fn avoids(&self, address: IpAddr) -> bool {
        self.pool.avoid == Avoid::Buggy && is_buggy(address)
    }

    fn gives_unasked(&self, address: IpAddr) -> bool {
        !self.avoids(address) && !self.anycast.contains(&address)
    }

    fn free_in(&mut self, index: usize, claims: &Claims) -> Option<IpAddr> {
        let span = &self.spans[index];
        let (family, last) = (span.family, span.last);
        if let Some(freed) = span.freed.first() {
            return address(family, *freed);
        }
        let mut next = span.frontier;
        let mut found = None;
        while let Some(candidate) = next.filter(|next| *next <= last) {
            let candidate_address = address(family, candidate).expect("a span has addresses of its family");
            if self.gives_unasked(candidate_address) && !claims.is_used(candidate_address) {
                found = Some(candidate_address);
                break;
            }
            next = candidate.checked_add(1);
        }
        self.spans[index].frontier = next;
        found
    }

    fn counts(&self) -> PoolCounts {
        PoolCounts { assigned: self.assigned.map(at_most_max), available: self.available.map(at_most_max) }
    }
}

fn at_most_max(count: u128) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Span {
    fn ends(&self) -> (IpAddr, IpAddr) {
        let Self { family, first, last, .. } = *self;
        [first, last].map(|bits| address(family, bits).expect("a span has addresses of its family")).into()
    }
}

/// How many IPv4 addresses from `first` to `last` end with 0 or 255.
fn buggy_between(first: u128, last: u128) -> u128 {
    buggy_below(last + 1) - buggy_below(first)
}

fn buggy_below(end: u128) -> u128 {
    let (with_0, with_255) = (end.div_ceil(256), end / 256);
    with_0 + with_255
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::is_buggy;

    fn range(text: &str) -> AddressRange {
        AddressRange::parse(text).unwrap().0
    }

    #[test]
    fn addresses_with_the_last_octet_0_or_255_are_counted_without_looking_at_each() {
        for (first, last) in [(0, 0), (0, 255), (1, 254), (255, 256), (0, 1023), (77, 900), (256, 256), (255, 255)] {
            let one_by_one = (first..=last).filter(|bits| is_buggy(address(Family::V4, *bits).unwrap())).count();
            assert_eq!(buggy_between(first, last), one_by_one as u128, "{first}-{last}");
        }
    }

    #[test]
    fn the_older_pool_keeps_what_two_claim_and_the_younger_has_the_rest() {
        let layout = Layout::new(vec![
            serving("young", 2, &["10.0.0.0/24", "::/0"]),
            serving("old", 1, &["10.0.0.10-10.0.0.20", "10.0.0.15-10.0.0.30", "::/1"]),
        ]);
        let layout = PoolMap(layout);
        for (address, expected) in [
            ("10.0.0.0", Some("young")),
            ("10.0.0.9", Some("young")),
            ("10.0.0.10", Some("old")),
            ("10.0.0.30", Some("old")),
            ("10.0.0.31", Some("young")),
            ("10.0.0.255", Some("young")),
            ("10.0.1.0", None),
            ("9.255.255.255", None),
            ("::", Some("old")),
            ("8000::", Some("young")),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("young")),
        ] {
            let owner = layout.pool_of(address.parse().unwrap()).map(ToString::to_string);
            assert_eq!(owner.as_deref(), expected, "{address}");
        }
        let told: Vec<_> = layout.0.overlaps().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "pool old: range 10.0.0.15-10.0.0.20 is listed twice",
                "pool young: range 10.0.0.10-10.0.0.20 is of the older pool old, which keeps it",
                "pool young: range 10.0.0.21-10.0.0.30 is of the older pool old, which keeps it",
                "pool young: range ::/1 is of the older pool old, which keeps it",
            ]
        );
        let counts: BTreeMap<_, _> = layout.0.counts().collect();
        assert_eq!(counts["young"].available, PerFamily::new(256 - 21, i64::MAX));
        assert_eq!(counts["old"].available, PerFamily::new(21, i64::MAX));
    }

    fn serving(name: &str, age: i128, ranges: &[&str]) -> (Arc<Pool>, Standing) {
        let pool = Pool::new(name, ranges.iter().map(|text| range(text)).collect());
        (Arc::new(Pool { age: backend_api::Age(age), ..pool }), Standing::Serving)
    }
}
