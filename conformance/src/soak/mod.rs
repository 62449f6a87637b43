//! The soak test: an agent in a process of its own, changes and dials at a steady rate, for as long as it is told.
//!
//! ```text
//! Plan ──► run ──► World: pods that answer, a client pod, an outsider, the node
//!            ├──► changes: the API double, so many changes a second ──HTTP──► the agent ──► kernel
//!            ├──► dials: cluster addresses and node ports, TCP and UDP, each judged by who may answer
//!            ├──► agent: memory, descriptors, processor, log, metrics         ▼
//!            └──► each minute a Sample, at the end a Verdict ◄── elements and connections of the kernel
//! ```
//!
//! It judges what no single change shows: that nothing is lost, and that nothing grows.

mod agent;
mod changes;
mod cluster;
mod dials;
mod verdict;

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use netlink::nftables::{Family, Nftables};
use testbed::{Executor, World};

use self::agent::Agent;
use self::changes::Changes;
use self::cluster::Cluster;
use self::dials::Dials;
use crate::api::Api;

pub use self::verdict::{Elements, Sample, Verdict};

/// The name of our tables.
const TABLE: &str = "switchyard";
/// How long the kernel may take to hold what the objects say, when they have stopped to change.
const SETTLED: Duration = Duration::from_secs(60);
/// How many samples there are, unless they come to more than a minute each.
const SAMPLES: u32 = 10;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For how long.
    pub lasts: Duration,
    /// Changes a second.
    pub changes: u32,
    /// Dials a second.
    pub dials: u32,
    /// Services beside those that are dialled.
    pub services: usize,
    /// The agent: a program that takes `switchyard`'s arguments.
    pub agent: PathBuf,
}

/// Does it in network namespaces of its own. What is seen on the way is told to `progress`, a line each.
///
/// # Errors
/// A sentence: the world could not be built, or the agent programmed nothing.
pub fn run(plan: &Plan, progress: &(dyn Fn(&str) + Sync)) -> Result<Verdict, String> {
    let cluster = Cluster { background: plan.services };
    let world = World::build(&cluster.world()).map_err(|error| error.to_string())?;
    let node = &world.node().namespace;
    let executor = node.executor().map_err(|error| format!("runtime: {error}"))?;
    let api = executor.run(async { Api::local().await }).map_err(|error| format!("API server: {error}"))?;
    for object in cluster.objects() {
        api.put(object);
    }
    let mut agent = Agent::start(node, &plan.agent, &api.urls()[0])?;
    let settled = || agent.gauge("switchyard_services") == Some(cluster.services() as f64);
    if !within(SETTLED, settled) {
        return Err(format!("the agent has not programmed {} services: {}", cluster.services(), agent.said()));
    }
    let mut verdict = Verdict { elements: elements(&executor), ..Verdict::default() };
    progress(&Sample::headings());

    let changes = Changes::start(api, cluster, plan.changes);
    let dials = Dials::start(&world, plan.dials, changes.tenants())?;
    let begun = Instant::now();
    let every = (plan.lasts / SAMPLES).min(Duration::from_secs(60));
    while begun.elapsed() < plan.lasts {
        thread::sleep(every.min(plan.lasts.saturating_sub(begun.elapsed())));
        let sample = Sample {
            after: begun.elapsed(),
            changes: changes.made(),
            dialled: dials.take(),
            process: agent.look()?,
            tracked: tracked(&world),
            elements: elements(&executor).values().sum(),
        };
        sample.dialled.failed.iter().for_each(|failure| progress(failure));
        progress(&sample.to_string());
        verdict.samples.push(sample);
    }
    let tail = dials.finish()?;
    // It serves until the agent has ended.
    let _api = changes.finish();
    // What is there at rest is what was there at first.
    within(SETTLED, || settled() && elements(&executor) == verdict.elements);
    verdict.elements_at_rest = elements(&executor);
    verdict.services_at_rest = (cluster.services(), agent.gauge("switchyard_services").unwrap_or_default() as usize);
    verdict.tail = tail;
    verdict.metrics = agent.metrics().map_err(|error| format!("metrics: {error}"))?;
    verdict.end = Some(agent.terminate());
    Ok(verdict)
}

/// Looks again until it holds, or the time is over; whether it holds.
fn within(time: Duration, holds: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

/// How many elements each set and map of our tables has; nothing where the kernel does not count them (before Linux
/// 6.16).
fn elements(executor: &Executor) -> Elements {
    let counted = executor.run(async {
        let mut nftables = Nftables::open(TABLE).ok()?;
        let mut all = Elements::new();
        for family in Family::ALL {
            for (set, count) in nftables.counts(*family).await.ok()? {
                all.insert(format!("{set} of {family:?}"), count?);
            }
        }
        Some(all)
    });
    counted.unwrap_or_default()
}

/// Connections that the node's kernel tracks.
fn tracked(world: &World) -> u64 {
    let count = world.node().namespace.run(|| fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count"));
    count.ok().and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}
