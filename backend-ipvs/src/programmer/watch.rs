//! Looks after what time changes: what has drained is removed, and what others have removed is noticed. IPVS tells nobody
//! anything, so it is asked.
//!
//! Each may be dropped half-way: what was removed and not noted any more is found gone the next time.

use std::ops::Bound;

use backend_api::SyncError;

use super::{Programmer, is_astray};
use crate::belief::Belief;
use crate::diff::{drains, is_same};
use crate::errors::{from_read, from_refusals, from_socket};
use crate::marks::ours;
use crate::port::Port;
use crate::render::Server;
use netlink::ipvs::{Operation, RealServerEntry, VirtualKey};

/// What a look brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The kernel is as we believe, as far as was looked.
    AsBelieved,
    /// Somebody else has changed something.
    Otherwise,
}

/// How many virtual servers are compared at a time.
const COMPARED_AT_A_TIME: usize = 8;

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
            if !operations.is_empty() {
                let refusals = port.execute(&operations).await.map_err(|error| from_socket(&error))?;
                if let Some(error) = from_refusals(&refusals) {
                    return Err(error);
                }
                if !refusals.iter().all(is_astray) {
                    return Ok(Seen::Otherwise);
                }
            }
            match left.reals.is_empty() {
                true => belief.draining.remove(&key),
                false => belief.draining.insert(key, left),
            };
        }
        Ok(Seen::AsBelieved)
    }

    /// Compares the first service's virtual servers with the kernel's, and those of one service more, each time the next:
    /// a flush is noticed at once, everything else in time.
    pub(crate) async fn compare_some(&mut self) -> Result<Seen, SyncError> {
        let Self { port, belief: Some(belief), schedulers, compared, .. } = self else { return Ok(Seen::AsBelieved) };
        let first = belief.services.iter().find(|(_, programmed)| !programmed.marks.is_empty());
        let after = compared.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = belief.services.range::<backend_api::ServiceName, _>((after, Bound::Unbounded));
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
        let there = port.virtual_servers().await.map_err(from_read)?;
        let mut there: Vec<VirtualKey> = there.into_iter().map(|entry| entry.server.key).collect();
        there.retain(|key| ours(*key).is_some());
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
        let is_idle = entry.connections.active == 0 && entry.connections.inactive == 0;
        if is_idle || entry.server.thresholds.upper <= now {
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
    let as_wanted = |entry: &RealServerEntry| {
        wanted.reals.get(&entry.server.address).is_some_and(|wanted| is_same(&entry.server, wanted))
    };
    there.len() == wanted.reals.len() && there.iter().all(as_wanted)
}
