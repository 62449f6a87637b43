//! Elections against a virtual clock and network: loss, duplication, reordering, partitions, restarts, stalls, drift.
//!
//! ```text
//! seed ─► Faults ─► World: nodes with clocks of their own, a queue of deliveries ─► after every step: Checks
//! ```
//!
//! A failure prints the seed; `SEED=… cargo test -p switchyard-announce --test simulation` plays it alone.

mod checks;
mod faults;
mod random;
mod world;

use std::env;

use checks::Checks;
use faults::Faults;
use random::Random;
use world::World;

/// Turns of nodes in one run, on average about 12,000.
const SECONDS: u64 = 120;

/// Plays one world; returns how many turns its nodes had.
fn play(seed: u64) -> u64 {
    let (world, broken) = play_until_broken(seed, false);
    if broken.is_some() {
        let (world, broken) = play_until_broken(seed, true);
        panic!("seed {seed} at {} µs: {}\n{}", world.now, broken.unwrap_or_default(), world.log());
    }
    world.turns
}

fn play_until_broken(seed: u64, logged: bool) -> (World, Option<String>) {
    let mut random = Random::new(seed);
    let mut world = World::random(&mut random);
    if logged {
        world.keep_log();
    }
    let mut checks = Checks::default();
    let mut faults = Faults::new(&mut random);
    while world.now < SECONDS * 1_000_000 {
        let next = faults.next().min(world.next());
        world.now = next;
        if faults.next() == next {
            faults.strike(&mut random, &mut world, &mut checks);
        } else {
            world.step(&mut random);
        }
        if let Err(broken) = checks.look(&world) {
            return (world, Some(broken));
        }
    }
    (world, None)
}

#[test]
fn at_least_a_million_turns_keep_every_promise() {
    if let Ok(seed) = env::var("SEED") {
        play(seed.parse().unwrap());
        return;
    }
    let (mut turns, mut seed) = (0, 0);
    while turns < 1_000_000 {
        turns += play(seed);
        seed += 1;
    }
    println!("seeds 0 to {}: {turns} turns", seed - 1);
}

/// More seeds than CI has time for: `FROM=1000 TO=2000`.
#[test]
#[ignore = "takes as long as it is told"]
fn a_range_of_seeds() {
    let [from, to] = ["FROM", "TO"].map(|name| env::var(name).unwrap_or_default().parse().unwrap_or(0));
    let turns: u64 = (from..to).map(play).sum();
    println!("seeds {from} to {to}: {turns} turns");
}

/// How long no node answers, by cause: 50 %, 99 % and the longest of 1,000 runs each, in milliseconds.
#[test]
#[ignore = "a measurement"]
fn how_long_no_node_answers() {
    for (cause, loss) in world::CAUSES.iter().flat_map(|cause| [0, 10].map(|loss| (*cause, loss))) {
        let mut gaps: Vec<u64> = (0..1000).map(|seed| world::gap(seed, cause, loss)).collect();
        gaps.sort_unstable();
        let [half, most, all] = [500, 990, 999].map(|at| gaps[at] as f64 / 1000.0);
        println!("| {cause:?} | {loss} % | {half:.0} | {most:.0} | {all:.0} |");
    }
}

/// Updates and drains, one node after the other, in a network without faults.
#[test]
fn planned_changes_leave_no_instant_without_an_answer() {
    for seed in 0..100 {
        for cause in [world::Cause::Leave, world::Cause::Pause, world::Cause::Preference, world::Cause::Doubt] {
            let gap = world::gap(seed, cause, 0);
            // The farewell is on its way.
            let most = if cause == world::Cause::Pause { 5_000 } else { 0 };
            assert!(gap <= most, "seed {seed}, {cause:?}: no answer for {gap} µs");
        }
    }
}

#[test]
fn a_minute_with_thirty_percent_loss_moves_an_address_at_most_once() {
    for seed in 0..50 {
        let moves = world::moves(seed, 30);
        assert!(moves <= 1, "seed {seed}: {moves} moves");
    }
}

/// The message to be sent within a promise, twice its clock's drift, and the stagger.
#[test]
fn a_silent_death_is_repaired_within_a_second() {
    for seed in 0..200 {
        for cause in [world::Cause::Kill, world::Cause::Stall, world::Cause::Link] {
            let gap = world::gap(seed, cause, 0);
            assert!(gap < 800_000, "seed {seed}, {cause:?}: no answer for {gap} µs");
        }
    }
}
