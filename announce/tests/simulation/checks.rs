//! What must be true of a world after every step.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::world::{Micros, World};

/// How long after the last change of the network, or of the bids, two nodes that hear each other may both hold.
const SETTLED: Micros = 1_000_000;
/// How long two may hold where nothing but a handover explains it: a delivery, and a turn.
const HANDOVER: Micros = 30_000;
/// How long after the last change no node may answer: a silent death, or a start with listening and probes.
const ANSWERED: Micros = 2_500_000;
/// After so long a change explains no move any more.
const EXCUSED: Micros = 4_000_000;

/// What has happened, and when.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// The network, or a clock: excuses two holders for a while.
    network: Micros,
    /// A node that may have known what is kept is lost, or cut off.
    witness: Micros,
    /// Anything.
    change: Micros,
    /// A node is lost, or its bids are: its addresses may move.
    lost: BTreeMap<usize, Micros>,
    /// The bids for an address: it may move.
    bids: BTreeMap<IpAddr, Micros>,
    paused: BTreeMap<usize, Micros>,
    /// Which single node held last.
    holder: BTreeMap<IpAddr, (usize, Micros)>,
    rising: BTreeMap<IpAddr, (usize, Micros)>,
    double: BTreeMap<IpAddr, Micros>,
}

impl Checks {
    pub(crate) fn network_changes(&mut self, world: &World) {
        self.network = world.now;
        self.witness = world.now;
        self.change = world.now;
    }

    pub(crate) fn node_is_lost(&mut self, world: &World, node: usize) {
        self.lost.insert(node, world.now);
        self.witness = world.now;
        self.change = world.now;
    }

    pub(crate) fn node_pauses(&mut self, world: &World, node: usize) {
        let heard = (0..world.nodes.len())
            .any(|other| other != node && world.is_awake(other) && world.hear_each_other(node, other));
        if !heard || world.loss > 0 {
            return self.node_is_lost(world, node);
        }
        self.paused.insert(node, world.now);
        self.change = world.now;
    }

    pub(crate) fn node_starts(&mut self, world: &World, _node: usize) {
        self.change = world.now;
    }

    pub(crate) fn bid_is_lost(&mut self, world: &World, node: usize, _address: IpAddr) {
        self.lost.insert(node, world.now);
        self.change = world.now;
    }

    pub(crate) fn bid_is_given(&mut self, world: &World, address: IpAddr) {
        self.bids.insert(address, world.now);
        self.change = world.now;
    }

    pub(crate) fn bids_change(&mut self, world: &World, address: IpAddr) {
        self.bids.insert(address, world.now);
        self.change = world.now;
    }

    pub(crate) fn look(&mut self, world: &World) -> Result<(), String> {
        for address in &world.addresses {
            let holders = world.holders(*address);
            self.at_most_one(world, *address, &holders)?;
            self.at_least_one(world, *address, &holders)?;
            self.no_move_without_cause(world, *address, &holders)?;
        }
        Ok(())
    }

    /// Whether the network is, or was for some time, such that nodes may not know of each other.
    fn network_excuses(&self, world: &World, time: Micros) -> bool {
        world.loss > 0 || world.now < self.network + time
    }

    fn at_most_one(&mut self, world: &World, address: IpAddr, holders: &[usize]) -> Result<(), String> {
        let both = holders
            .iter()
            .enumerate()
            .any(|(at, one)| holders[at + 1..].iter().any(|other| world.hear_each_other(*one, *other)));
        if !both {
            self.double.remove(&address);
            return Ok(());
        }
        let since = *self.double.entry(address).or_insert(world.now);
        let lasts = world.now - since;
        // One-way cuts elsewhere may keep a third node from learning what the two have settled.
        let excused = self.network_excuses(world, SETTLED) || !world.cut.is_empty() && lasts < 2 * SETTLED;
        if lasts > HANDOVER && !excused {
            return Err(format!("{address}: {holders:?} hold for {lasts} µs"));
        }
        Ok(())
    }

    fn at_least_one(&self, world: &World, address: IpAddr, holders: &[usize]) -> Result<(), String> {
        let may =
            (0..world.nodes.len()).any(|node| world.is_awake(node) && world.nodes[node].wishes.contains_key(&address));
        let excused = world.loss > 0 || world.foreign.contains(&address) || world.now < self.change + ANSWERED;
        let leaving = self.lost.values().any(|at| world.now < at + EXCUSED);
        if may && !excused && !leaving && holders.is_empty() && !world.is_answered(address) {
            return Err(format!("{address}: no node answers"));
        }
        Ok(())
    }

    fn no_move_without_cause(&mut self, world: &World, address: IpAddr, holders: &[usize]) -> Result<(), String> {
        let [holder] = *holders else { return Ok(()) };
        // Of two that begin at once, one ends as soon as it hears the other: that is no move.
        let (rising, since) = *self.rising.entry(address).or_insert((holder, world.now));
        if rising != holder {
            self.rising.insert(address, (holder, world.now));
        }
        if rising != holder || world.now < since + 2 * HANDOVER {
            return Ok(());
        }
        let (before, held_since) = *self.holder.entry(address).or_insert((holder, since));
        if before == holder {
            return Ok(());
        }
        self.holder.insert(address, (holder, since));
        let [wish, wish_before] = [holder, before].map(|node| world.nodes[node].wishes.get(&address));
        let cause = wish.map(|wish| (wish.standing, wish.preference))
            > wish_before.map(|wish| (wish.standing, wish.preference))
            || world.nodes[holder].failback
            || self.network_excuses(world, EXCUSED)
            || !world.cut.is_empty()
            || !world.is_awake(before) && !self.paused.contains_key(&before)
            // What a paused node held is kept by nodes that live.
            || self.paused.get(&before).is_some_and(|at| *at < self.witness && world.now < at + 12_000_000)
            || self.lost.get(&before).is_some_and(|at| *at >= held_since)
            || self.bids.get(&address).is_some_and(|at| world.now < at + EXCUSED)
            // Held by hand of the pause's bound, or given up for want of a bid after it.
            || self.paused.get(&before).is_some_and(|at| world.now > at + 6_000_000);
        if !cause {
            return Err(format!("{address} moved from {before} to {holder} without cause"));
        }
        Ok(())
    }
}
