//! What happens to a world, drawn from its seed.

use std::time::Duration;

use switchyard_announce::election::Input;
use switchyard_announce::wire::heartbeat::Standing;

use super::checks::Checks;
use super::random::Random;
use super::world::{Micros, World};

#[derive(Debug)]
pub(crate) struct Faults {
    /// When the next one strikes.
    at: Micros,
    /// What ends by itself.
    ends: Vec<(Micros, End)>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Stop(usize),
    Unnoticed(usize),
    Restart(usize),
    Settle(usize),
    Link(usize),
    Cut,
    Loss,
    Kill(usize),
    Foreign,
}

impl Faults {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self { at: random.between(100_000, 6_000_000), ends: Vec::new() }
    }

    pub(crate) fn next(&self) -> Micros {
        self.ends.iter().map(|(at, _)| *at).min().unwrap_or(u64::MAX).min(self.at)
    }

    pub(crate) fn strike(&mut self, random: &mut Random, world: &mut World, checks: &mut Checks) {
        if let Some(at) = self.ends.iter().position(|(at, _)| *at <= world.now) {
            let (_, end) = self.ends.swap_remove(at);
            return self.end(random, world, checks, end);
        }
        // Some quiet in between, so that what holds in quiet times is checked.
        self.at = world.now
            + if random.percent(60) { random.between(50_000, 2_000_000) } else { random.between(4_000_000, 9_000_000) };
        let node = random.index(world.nodes.len());
        let lasts = world.now + random.between(50_000, 4_000_000);
        let runs = world.is_awake(node);
        match random.between(0, 15) {
            0 if runs => {
                world.kill(node);
                checks.node_is_lost(world, node);
                self.ends.push((lasts, End::Restart(node)));
            }
            1 if runs => {
                world.turn(random, node, Input::Pause(Duration::from_secs(10)));
                world.kill(node);
                checks.node_pauses(world, node);
                self.ends.push((lasts, End::Restart(node)));
            }
            2 if runs => {
                world.turn(random, node, Input::Leave);
                checks.node_is_lost(world, node);
                self.ends.push((lasts, End::Kill(node)));
            }
            3 if runs => {
                world.set_link(random, node, false);
                checks.node_is_lost(world, node);
                self.ends.push((lasts, End::Link(node)));
            }
            4 | 5 if runs => {
                world.stop(node, lasts, false);
                checks.node_is_lost(world, node);
                self.ends.push((lasts, End::Stop(node)));
            }
            6 if runs => {
                world.stop(node, lasts, true);
                checks.network_changes(world);
                self.ends.push((lasts, End::Unnoticed(node)));
            }
            7 | 8 => {
                let one_way = random.percent(40);
                let halves: Vec<bool> = world.nodes.iter().map(|_| random.percent(50)).collect();
                for from in 0..halves.len() {
                    for to in 0..halves.len() {
                        if halves[from] && !halves[to] {
                            world.cut.insert((from, to));
                            if !one_way {
                                world.cut.insert((to, from));
                            }
                        }
                    }
                }
                world.note(format_args!("cut {:?}", world.cut));
                checks.network_changes(world);
                self.ends.push((lasts + 2_000_000, End::Cut));
            }
            9 => {
                world.loss = random.between(5, 35);
                world.note(format_args!("lose {} %", world.loss));
                checks.network_changes(world);
                self.ends.push((lasts, End::Loss));
            }
            10 => world.twice = random.between(0, 50),
            11 => {
                let address = world.addresses[random.index(world.addresses.len())];
                if world.nodes[node].wishes.remove(&address).is_none() {
                    world.nodes[node].wishes.insert(address, super::world::wish(address));
                    checks.bid_is_given(world, address);
                } else {
                    checks.bid_is_lost(world, node, address);
                }
                world.note(format_args!(
                    "node {node} bids for {address}: {}",
                    world.nodes[node].wishes.contains_key(&address)
                ));
                world.settle(random, node);
            }
            12 => {
                let address = world.addresses[random.index(world.addresses.len())];
                let (preference, standing) = match random.between(0, 3) {
                    0 => (random.between(0, 3) as u32, Standing::Sound),
                    1 => (0, Standing::LastResort),
                    _ => (0, Standing::Sound),
                };
                if let Some(wish) = world.nodes[node].wishes.get_mut(&address) {
                    (wish.preference, wish.standing) = (preference, standing);
                    world.note(format_args!("node {node} bids {preference} {standing:?} for {address}"));
                    checks.bids_change(world, address);
                    world.settle(random, node);
                }
            }
            13 => {
                let address = world.addresses[random.index(world.addresses.len())];
                world.note(format_args!("foreign station at {address}"));
                world.foreign.insert(address);
                checks.bids_change(world, address);
                self.ends.push((lasts, End::Foreign));
            }
            _ => {}
        }
    }

    fn end(&mut self, random: &mut Random, world: &mut World, checks: &mut Checks, end: End) {
        match end {
            End::Stop(node) | End::Unnoticed(node) => {
                if matches!(end, End::Unnoticed(_)) {
                    checks.network_changes(world);
                }
                if world.nodes[node].stopped.is_some() {
                    checks.node_starts(world, node);
                    world.resume(random, node);
                }
            }
            End::Restart(node) => {
                if world.nodes[node].election.is_none() {
                    checks.node_starts(world, node);
                    world.start(random, node);
                    self.ends.push((world.now + random.between(1, 2_000_000), End::Settle(node)));
                }
            }
            End::Settle(node) => {
                checks.node_starts(world, node);
                world.settle(random, node);
            }
            End::Link(node) => {
                checks.node_starts(world, node);
                world.set_link(random, node, true);
            }
            End::Cut => {
                world.note(format_args!("heal"));
                world.cut.clear();
                checks.network_changes(world);
            }
            End::Loss => {
                world.note(format_args!("lose nothing"));
                world.loss = 0;
                checks.network_changes(world);
            }
            End::Kill(node) => {
                world.turn(random, node, Input::End);
                world.kill(node);
                checks.node_is_lost(world, node);
                self.ends.push((world.now + random.between(100_000, 2_000_000), End::Restart(node)));
            }
            End::Foreign => {
                world.note(format_args!("foreign stations leave"));
                world.foreign.clear();
                for address in world.addresses.clone() {
                    checks.bids_change(world, address);
                }
            }
        }
    }
}
