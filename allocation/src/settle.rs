//! The passes of a change: who takes part is decided, the oldest first.
//!
//! **Invariant:** nothing is given before everything that is held has been adopted
//! (`tests/laws.rs::what_is_held_is_adopted_before_anything_is_given`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use backend_api::Family;

use crate::find::in_order;
use crate::layout::Rank;
use crate::waiting::{Needs, Pass, Place, Turn};
use crate::{Allocator, Decision, Lost, LostBecause, OutsidePools, Refusal, RefusedBecause, Service, Verdict};

/// The services that take part, and what has happened to them.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) adopt: BTreeSet<Turn>,
    requests: Queue,
    rest: Queue,
    explain: BTreeSet<Turn>,
    /// Addresses that have other users than before.
    pub(crate) changed: BTreeSet<IpAddr>,
    /// Those of them that a service which waits may get now.
    pub(crate) opened: BTreeSet<IpAddr>,
}

/// Services that have a turn in a pass.
#[derive(Debug, Default)]
struct Queue {
    turns: BTreeSet<Turn>,
    /// Those of them that waited at a place: after them the next has a turn that waits there.
    woken: BTreeSet<(Turn, Place)>,
}

impl Round {
    fn queue(&mut self, pass: Pass) -> &mut Queue {
        match pass {
            Pass::Requests => &mut self.requests,
            Pass::Rest => &mut self.rest,
        }
    }
}

impl Allocator {
    /// Decides for all that take part, and says what is news.
    pub(crate) fn settle(&mut self, mut round: Round) -> Vec<Decision> {
        while let Some(turn) = round.adopt.pop_first() {
            self.adopt(turn, &mut round);
        }
        loop {
            // What came free may be what an older service asks for: it has its turn again.
            self.wake(&mut round);
            let Some(turn) = round.requests.turns.pop_first() else { break };
            self.request(turn.clone(), &mut round);
            self.wake_others(&turn, Pass::Requests, &mut round);
        }
        while let Some(turn) = round.rest.turns.pop_first() {
            self.provide(turn.clone(), &mut round);
            self.wake_others(&turn, Pass::Rest, &mut round);
        }
        self.explain(round)
    }

    /// Keeps of what a service holds what is legal. Only older services can stand against it.
    fn adopt(&mut self, turn: Turn, round: &mut Round) {
        let service = turn.0.clone();
        let held = self.current(&service.name).to_vec();
        self.withdraw_all(&turn, round);
        let (kept, lost) = self.legal(&service, &held);
        for address in &kept {
            for displaced in self.claims.clashing(*address, &service) {
                self.withdraw(*address, &displaced.name, round);
                round.adopt.insert(Turn(displaced));
            }
            self.claim(*address, &service, round);
        }
        self.waiting.remove(&turn);
        let entry = self.entry(&service.name);
        entry.held.get_or_insert(held);
        entry.lost.extend(lost);
        entry.current = kept;
        self.line_up(turn.clone(), round);
        round.explain.insert(turn);
    }

    /// What of `held` the service may keep, in the order of its families, and why it may not keep the others.
    fn legal(&self, service: &Service, held: &[IpAddr]) -> (Vec<IpAddr>, Vec<Lost>) {
        let (mut kept, mut lost) = (Vec::new(), Vec::new());
        let mut ordered = held.to_vec();
        in_order(service, &mut ordered);
        for address in ordered {
            match self.illegal(service, &kept, address) {
                None => kept.push(address),
                Some(because) => lost.push(Lost { address, because }),
            }
        }
        (kept, lost)
    }

    fn illegal(&self, service: &Service, kept: &[IpAddr], address: IpAddr) -> Option<LostBecause> {
        let (family, wanted) = (Family::of(address), service.demand.wanted());
        if wanted.is_empty() {
            return Some(LostBecause::Unwanted);
        }
        if !wanted.contains(&family) {
            return Some(LostBecause::Family);
        }
        if kept.iter().any(|kept| Family::of(*kept) == family) {
            return Some(LostBecause::Duplicate);
        }
        match self.layout.pool_of(address) {
            None if self.options.outside_pools == OutsidePools::Readdress => return Some(LostBecause::OutsidePools),
            None => {}
            Some(rank) => {
                if let Err(because) = self.refuses(rank, service, Some(address)) {
                    return Some(LostBecause::Refused(self.refusal(rank, because)));
                }
                if kept.iter().filter_map(|kept| self.layout.pool_of(*kept)).any(|first| first != rank) {
                    return Some(LostBecause::OtherPool(self.layout.placed(rank).pool.name.clone()));
                }
            }
        }
        let oldest = self.claims.clashing(address, service).into_iter().next();
        let older = oldest.filter(|user| user.cmp_age(service).is_lt())?;
        let clash = self.claims.clash(&older, service).expect("they clash");
        Some(LostBecause::Taken { by: older.name.clone(), clash })
    }

    /// Whether a pool lets the service have an address, if it is not taken; `None`: any.
    pub(crate) fn refuses(&self, rank: Rank, service: &Service, address: Option<IpAddr>) -> Result<(), RefusedBecause> {
        let placed = self.layout.placed(rank);
        let namespace = self.namespace(&service.name.namespace);
        placed.pool.accepts(service, namespace).map_err(RefusedBecause::Unfit)?;
        match address {
            Some(address) if placed.avoids(address) => Err(RefusedBecause::Avoided(address)),
            _ => Ok(()),
        }
    }

    pub(crate) fn refusal(&self, rank: Rank, because: RefusedBecause) -> Refusal {
        Refusal { pool: self.layout.placed(rank).pool.name.clone(), because }
    }

    /// A service gets what it asks for by address or pool, or keeps what it has.
    fn request(&mut self, turn: Turn, round: &mut Round) {
        self.waiting.remove(&turn);
        let current = self.current(&turn.0.name).to_vec();
        match self.find_requested(&turn.0, &current) {
            Ok(found) => {
                self.replace(&turn, found, round);
                self.line_up(turn, round);
            }
            Err(problem) => {
                self.waiting.add(&turn, Pass::Requests, &problem);
                round.explain.insert(turn);
            }
        }
    }

    /// A service gets what is missing.
    fn provide(&mut self, turn: Turn, round: &mut Round) {
        self.waiting.remove(&turn);
        let current = self.current(&turn.0.name).to_vec();
        match self.find_missing(&turn.0, &current) {
            Ok(found) => {
                self.replace(&turn, found, round);
                // PreferDualStack: it may have got one of two.
                if let Some(problem) = self.problem(&turn.0) {
                    self.waiting.add(&turn, Pass::Rest, &problem);
                }
            }
            Err(problem) => self.waiting.add(&turn, Pass::Rest, &problem),
        }
        round.explain.insert(turn);
    }

    /// Gives a service these addresses instead of what it has.
    fn replace(&mut self, turn: &Turn, addresses: Vec<IpAddr>, round: &mut Round) {
        let name = &turn.0.name;
        let before = self.current(name).to_vec();
        for address in addresses.iter().filter(|address| !before.contains(address)) {
            self.claim(*address, &turn.0, round);
        }
        for address in before.iter().filter(|address| !addresses.contains(address)) {
            self.withdraw(*address, name, round);
            self.entry(name).lost.push(Lost { address: *address, because: LostBecause::Replaced });
        }
        let entry = self.entry(name);
        entry.held.get_or_insert(before);
        entry.current = addresses;
        round.explain.insert(turn.clone());
    }

    /// Puts a service where it has its next turn, if it wants more than it has.
    fn line_up(&self, turn: Turn, round: &mut Round) {
        let current = self.current(&turn.0.name);
        if self.asks(&turn.0, current) {
            round.requests.turns.insert(turn);
        } else if self.missing(&turn.0, current).next().is_some() {
            round.rest.turns.insert(turn);
        }
    }

    /// Services that wait for what came free have another turn.
    fn wake(&mut self, round: &mut Round) {
        let opened = std::mem::take(&mut round.opened);
        let mut pools: Vec<Rank> = opened.iter().filter_map(|address| self.layout.pool_of(*address)).collect();
        pools.sort_unstable();
        pools.dedup();
        for place in opened.into_iter().map(Place::Address) {
            self.waiting.at(&place).for_each(|turn| self.line_up(turn.clone(), round));
        }
        for rank in pools {
            for place in Place::of_pool(&self.layout.placed(rank).pool.name) {
                match &place {
                    Place::Pool { needs: Needs::Sharable, .. } => {
                        self.waiting.at(&place).for_each(|turn| self.line_up(turn.clone(), round));
                    }
                    _ => self.wake_next(place, None, round),
                }
            }
        }
    }

    /// The oldest of those that wait at a place has a turn, or the next after another one. The others have to wait for
    /// it: there may be nothing left for them.
    fn wake_next(&self, place: Place, after: Option<&Turn>, round: &mut Round) {
        let next = match after {
            Some(turn) => self.waiting.after(&place, turn),
            None => self.waiting.at(&place).next(),
        };
        if let (Place::Pool { pass, .. }, Some(next)) = (&place, next.filter(|_| self.has(&place))) {
            self.line_up(next.clone(), round);
            round.queue(*pass).woken.insert((next.clone(), place));
        }
    }

    /// After the turn of a service, those have one that wait where it waited.
    fn wake_others(&self, turn: &Turn, pass: Pass, round: &mut Round) {
        while round.queue(pass).woken.first().is_some_and(|(woken, _)| woken <= turn) {
            let (woken, place) = round.queue(pass).woken.pop_first().expect("there is a first");
            self.wake_next(place, Some(&woken), round);
        }
    }

    /// Whether a pool has what services wait for there.
    fn has(&self, place: &Place) -> bool {
        let Place::Pool { pool, needs, .. } = place else { return true };
        let Some(rank) = self.layout.rank(pool) else { return false };
        let free = self.layout.placed(rank).available.map(|count| count > 0);
        match needs {
            Needs::Free(family) => *free.of(*family),
            Needs::Either => free.v4 || free.v6,
            Needs::Both => free.v4 && free.v6,
            Needs::Sharable => true,
        }
    }

    /// What each service that took part has now, and why it has no more.
    fn explain(&mut self, mut round: Round) -> Vec<Decision> {
        for address in &round.changed {
            round.explain.extend(self.waiting.at(&Place::Address(*address)).cloned());
        }
        let mut decisions = Vec::new();
        for turn in std::mem::take(&mut round.explain) {
            decisions.extend(self.decide(&turn));
        }
        decisions
    }

    fn decide(&mut self, turn: &Turn) -> Option<Decision> {
        let name = &turn.0.name;
        let problem = self.problem(&turn.0);
        let addresses = self.current(name).to_vec();
        let pool = addresses.iter().find_map(|address| self.layout.pool_of(*address));
        let pool = pool.map(|rank| self.layout.placed(rank).pool.name.clone());
        let verdict = Verdict { addresses, pool, problem };
        let entry = self.entry(name);
        let (held, lost) =
            (entry.held.take().unwrap_or_else(|| verdict.addresses.clone()), std::mem::take(&mut entry.lost));
        let is_news = held != verdict.addresses || entry.verdict.as_ref() != Some(&verdict);
        entry.verdict = Some(verdict.clone());
        is_news.then(|| Decision {
            service: name.clone(),
            given: verdict.addresses.iter().filter(|address| !held.contains(address)).copied().collect(),
            lost,
            verdict,
        })
    }
}
