//! What must be done to one virtual server for it to become what it shall be.
//!
//! In two parts, because the tables are committed in between: what the tables will lead to is there before, and what
//! they led to goes after. Who leaves is not removed but drained: weight 0, and a deadline in the upper threshold, which
//! means nothing to the kernel while the weight is 0 and survives us. Connections of marks that cut end at once.
//!
//! **Invariants:** applied in order, both parts lead from any virtual server to any other
//! (`tests::any_virtual_server_becomes_any_other`); none of TCP is cut (`tests::nothing_established_is_cut_before_its_time`).

use std::collections::BTreeMap;

use backend_api::EndpointAddress;

use crate::kernel::{Forwarding, Operation, RealServer, Thresholds};
use crate::marks::{cuts, ours};
use crate::render::Server;

/// Operations of one virtual server, in both parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Before the tables lead there.
    pub(crate) make: Vec<Operation>,
    /// When the tables do not lead there any more.
    pub(crate) unmake: Vec<Operation>,
    /// The real servers that drain from then on.
    pub(crate) draining: BTreeMap<EndpointAddress, RealServer>,
}

/// What leads from `before` to `wanted`, of which one at least is there and both have one key. Who leaves now drains
/// until `deadline`, in seconds since boot.
pub(crate) fn diff(before: Option<&Server>, wanted: Option<&Server>, deadline: u32) -> Change {
    match (before, wanted) {
        (None, None) => Change::default(),
        (None, Some(wanted)) => Change { make: add(wanted), ..Change::default() },
        (Some(before), None) => retire(before, deadline),
        (Some(before), Some(wanted)) => alter(before, wanted, deadline),
    }
}

fn add(wanted: &Server) -> Vec<Operation> {
    let key = wanted.server.key;
    let mut operations = vec![Operation::AddVirtual(wanted.server.clone())];
    operations.extend(wanted.reals.values().map(|real| Operation::AddReal(key, *real)));
    operations
}

fn retire(before: &Server, deadline: u32) -> Change {
    let mut change = Change::default();
    let key = before.server.key;
    if before.reals.is_empty() || ours(key).is_none_or(cuts) {
        change.unmake.push(Operation::RemoveVirtual(key));
        return change;
    }
    for real in before.reals.values() {
        drain(before, real, deadline, &mut change);
    }
    change
}

fn alter(before: &Server, wanted: &Server, deadline: u32) -> Change {
    let mut change = Change::default();
    let key = wanted.server.key;
    if before.server != wanted.server {
        change.make.push(Operation::EditVirtual(wanted.server.clone()));
    }
    for (address, real) in &wanted.reals {
        match before.reals.get(address) {
            None => change.make.push(Operation::AddReal(key, *real)),
            Some(there) if is_same(there, real) => {}
            Some(_) if real.weight > 0 => change.make.push(Operation::EditReal(key, *real)),
            Some(_) => change.unmake.push(Operation::EditReal(key, *real)),
        }
    }
    let leaving = before.reals.iter().filter(|(address, _)| !wanted.reals.contains_key(address));
    for (address, real) in leaving {
        match ours(key).is_none_or(cuts) {
            true => change.unmake.push(Operation::RemoveReal(key, *address)),
            false => drain(before, real, deadline, &mut change),
        }
    }
    change
}

/// Gives a real server nothing new. One that drains already keeps its deadline.
fn drain(of: &Server, real: &RealServer, deadline: u32, change: &mut Change) {
    let mut real = *real;
    if !drains(&real) {
        real = RealServer { weight: 0, thresholds: Thresholds { upper: deadline.max(1), lower: 0 }, ..real };
        change.unmake.push(Operation::EditReal(of.server.key, real));
    }
    change.draining.insert(real.address, real);
}

/// Whether a real server has a deadline.
pub(crate) fn drains(real: &RealServer) -> bool {
    real.weight == 0 && real.thresholds.upper > 0
}

/// Whether one does what the other does. Some kernels say of an endpoint on this machine how packets get there.
pub(crate) fn is_same(there: &RealServer, wanted: &RealServer) -> bool {
    let plain = |real: &RealServer| match real.forwarding {
        Forwarding::Local => RealServer { forwarding: Forwarding::Masquerade, ..*real },
        _ => *real,
    };
    plain(there) == plain(wanted)
}
