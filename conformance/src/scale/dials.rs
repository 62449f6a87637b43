//! First packets of new connections, through several kinds of rules in turns.
//!
//! Each connection is refused by its endpoint. The answer comes within the same system call, so what is timed is the way
//! of two packets through the node: no listener, no queue that overflows, no other task.
//!
//! In turns, because machines have moods: what is compared was measured in the same second.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cluster::{Cluster, FRONTEND_PORT};
use super::place::Place;
use super::spread::{Percentiles, Spread};

/// How long each kind of rules is dialled at a time.
const TURN: Duration = Duration::from_millis(250);
/// Services that are dialled, one after another.
const DIALLED: u32 = 1000;

/// What came of dialling one kind of rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dialled {
    /// Of each round: how long the tenth part of the connections took at most, in seconds. It moves less than the
    /// median, which holds what else the machine did.
    pub rounds: Vec<f64>,
    /// From the first packet to its answer, in all rounds.
    pub latency: Percentiles,
}

/// A kind of rules that can be dialled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) place: &'a Place,
    /// How many services of the cluster it has.
    pub(super) services: u32,
}

/// Dials every target in each round, each round beginning with another one.
///
/// # Errors
/// A sentence: a connection was not refused, for example.
pub(super) fn dial_in_turns(cluster: Cluster, targets: &[Target<'_>], rounds: usize) -> Result<Vec<Dialled>, String> {
    let mut spreads: Vec<_> = targets.iter().map(|_| Spread::new()).collect();
    let mut all = vec![Dialled::default(); targets.len()];
    // The first round fills caches and neighbour tables, and does not count.
    for round in 0..=rounds {
        for turn in 0..targets.len() {
            let index = (round + turn) % targets.len();
            let dialled = dial(cluster, targets[index])?;
            if round > 0 {
                all[index].rounds.push(dialled.percentile(10));
                spreads[index].merge(&dialled);
            }
        }
    }
    for (dialled, spread) in all.iter_mut().zip(&spreads) {
        dialled.latency = spread.percentiles().unwrap_or_default();
    }
    Ok(all)
}

impl Dialled {
    /// The median round.
    pub fn seconds(&self) -> f64 {
        median(self.rounds.clone())
    }

    /// How many times as long as `other`: the median of the rounds' ratios.
    pub fn ratio(&self, other: &Self) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(one, other)| one / other).collect())
    }
}

/// The middle one; 0 of none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn dial(cluster: Cluster, target: Target<'_>) -> Result<Spread, String> {
    let services = spread_over(target.services);
    target.place.client.run(|| {
        let mut spread = Spread::new();
        let start = Instant::now();
        for service in services.iter().cycle() {
            let to = SocketAddr::from((cluster.frontend(*service), FRONTEND_PORT));
            let dialled = Instant::now();
            match TcpStream::connect(to) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => spread.add(dialled.elapsed()),
                Err(error) => return Err(format!("dialling {to}: {error}")),
                Ok(_) => return Err(format!("dialling {to}: answered, and nothing should listen")),
            }
            if start.elapsed() >= TURN {
                break;
            }
        }
        Ok(spread)
    })
}

/// Services all over the cluster.
fn spread_over(services: u32) -> Vec<u32> {
    let count = services.min(DIALLED);
    (0..count).map(|number| (u64::from(number) * u64::from(services) / u64::from(count)) as u32).collect()
}

/// One connection, to see that rules are there.
pub(super) fn answers(place: &Place, to: Ipv4Addr) -> bool {
    let to = SocketAddr::from((to, FRONTEND_PORT));
    place.client.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_ok())
}
