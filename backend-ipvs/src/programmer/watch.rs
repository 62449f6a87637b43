//! Looks after what time changes: what has drained is removed, and what other programs have removed is noticed. IPVS
//! sends no notifications, so it is asked, each look in its own turn.
//!
//! Each look may be dropped half-way: what was removed and not noted is found missing the next time.

use std::ops::Bound;
use std::time::Duration;

use backend_api::{ServiceName, SyncError};
use netlink::ipvs::{Operation, RealServerEntry, VirtualKey};
use tokio::time::{Instant, sleep_until};

use super::{Programmer, is_race};
use crate::belief::Belief;
use crate::drain::{drains, is_done};
use crate::errors::from_read;
use crate::port::{Port, execute, our_servers};
use crate::servers::{Server, is_same};

/// How often draining real servers are asked for their connections, up to [`MANY`] virtual servers that have such.
const DRAINING: Duration = Duration::from_secs(5);

/// How often a few virtual servers are compared: how long a flush goes unnoticed.
const SOME: Duration = Duration::from_secs(1);

/// How often it is compared which virtual servers there are, up to [`MANY`] of them.
const ALL: Duration = Duration::from_secs(30);

/// From this many virtual servers on, less often in proportion: looking always costs the same share of the time.
const MANY: usize = 2_000;

/// How many virtual servers are compared at a time.
const COMPARED_AT_A_TIME: usize = 8;

/// The next time of each look. Survives a cancelled wait.
#[derive(Debug)]
pub(crate) struct Rounds {
    draining: Instant,
    some: Instant,
    all: Instant,
}

/// What a look brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The kernel is as we believe, as far as was looked.
    AsBelieved,
    /// Another program has changed something.
    Otherwise,
}

/// How long draining real servers are left alone between two looks, where so many virtual servers have such.
pub(crate) fn until_drained_again(servers: usize) -> Duration {
    DRAINING * turns(servers)
}

fn turns(servers: usize) -> u32 {
    u32::try_from(servers / MANY + 1).unwrap_or(u32::MAX)
}

impl Rounds {
    /// From now on.
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self { draining: now + DRAINING, some: now + SOME, all: now + ALL }
    }

    /// Waits for the next look, and looks. Cancel-safe.
    pub(crate) async fn next<P: Port>(&mut self, programmer: &mut Programmer<P>) -> Seen {
        sleep_until(self.draining.min(self.some).min(self.all)).await;
        let now = Instant::now();
        let seen = if self.draining <= now {
            self.draining = now + until_drained_again(programmer.draining());
            programmer.remove_drained().await
        } else if self.all <= now {
            self.all = now + ALL * turns(programmer.len());
            programmer.compare_all().await
        } else {
            self.some = now + SOME;
            programmer.compare_some().await
        };
        seen.unwrap_or_else(|error| {
            tracing::warn!(%error, "virtual servers could not be read, the next sync reads all of them again");
            Seen::Otherwise
        })
    }
}

impl<P: Port> Programmer<P> {
    /// How many virtual servers there should be.
    pub(crate) fn len(&self) -> usize {
        self.belief.as_ref().map_or(0, |belief| belief.keys().count())
    }

    /// How many virtual servers have real servers that drain.
    pub(crate) fn draining(&self) -> usize {
        self.belief.as_ref().map_or(0, |belief| belief.draining.len())
    }

    /// Removes what has drained, or has had its time.
    pub(crate) async fn remove_drained(&mut self) -> Result<Seen, SyncError> {
        let Self { port, belief: Some(belief), .. } = self else { return Ok(Seen::AsBelieved) };
        let now = port.now();
        for key in belief.draining.keys().copied().collect::<Vec<_>>() {
            let entries = port.real_servers(&key).await.map_err(from_read)?;
            let Some((operations, left)) = drained(belief, key, &entries, now) else { return Ok(Seen::Otherwise) };
            if !execute(port, &operations).await?.iter().all(is_race) {
                return Ok(Seen::Otherwise);
            }
            match left.reals.is_empty() {
                true => belief.draining.remove(&key),
                false => belief.draining.insert(key, left),
            };
        }
        Ok(Seen::AsBelieved)
    }

    /// Compares the first service's virtual servers with the kernel's, and those of one service more, each time the
    /// next: a flush is noticed at once, everything else in time.
    pub(crate) async fn compare_some(&mut self) -> Result<Seen, SyncError> {
        let Self { port, belief: Some(belief), schedulers, compared, .. } = self else { return Ok(Seen::AsBelieved) };
        let first = belief.services.iter().find(|(_, programmed)| !programmed.marks.is_empty());
        let after = compared.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = belief.services.range::<ServiceName, _>((after, Bound::Unbounded));
        let next = rest.find(|(_, programmed)| !programmed.marks.is_empty());
        *compared = next.map(|(name, _)| name.clone());
        for (_, programmed) in first.into_iter().chain(next) {
            for (key, mut wanted) in programmed.servers(schedulers).into_iter().take(COMPARED_AT_A_TIME) {
                wanted.reals.extend(belief.draining_of(key));
                let Some(there) = port.virtual_server(&key).await.map_err(from_read)? else {
                    return Ok(Seen::Otherwise);
                };
                let reals = port.real_servers(&key).await.map_err(from_read)?;
                if there.server != wanted.server || !has_exactly(&reals, &wanted) {
                    return Ok(Seen::Otherwise);
                }
            }
        }
        Ok(Seen::AsBelieved)
    }

    /// Compares which virtual servers of ours there are.
    pub(crate) async fn compare_all(&mut self) -> Result<Seen, SyncError> {
        let Self { port, belief: Some(belief), .. } = self else { return Ok(Seen::AsBelieved) };
        let mut there: Vec<VirtualKey> = our_servers(port).await?.into_iter().map(|server| server.key).collect();
        let mut believed: Vec<VirtualKey> = belief.keys().collect();
        there.sort_unstable();
        believed.sort_unstable();
        Ok(if there == believed { Seen::AsBelieved } else { Seen::Otherwise })
    }
}

/// What to remove of a virtual server, and what drains of it then. None if it is not as believed.
fn drained(
    belief: &Belief,
    key: VirtualKey,
    entries: &[RealServerEntry],
    now: u32,
) -> Option<(Vec<Operation>, Server)> {
    let mut left = belief.draining.get(&key)?.clone();
    let mut operations = Vec::new();
    for address in left.reals.keys().copied().collect::<Vec<_>>() {
        let Some(entry) = entries.iter().find(|entry| entry.server.address == address) else {
            left.reals.remove(&address);
            continue;
        };
        if !drains(&entry.server) {
            return None;
        }
        if is_done(entry, now) {
            left.reals.remove(&address);
            operations.push(Operation::RemoveReal(key, address));
        }
    }
    if left.reals.is_empty() && !belief.is_taken(key) {
        operations = vec![Operation::RemoveVirtual(key)];
    }
    Some((operations, left))
}

fn has_exactly(there: &[RealServerEntry], wanted: &Server) -> bool {
    there.len() == wanted.reals.len()
        && there.iter().all(|RealServerEntry { server, .. }| {
            wanted.reals.get(&server.address).is_some_and(|wanted| is_same(server, wanted))
        })
}
