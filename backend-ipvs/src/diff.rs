//! What must be done to one virtual server for it to become what it shall be.
//!
//! In two parts, because the tables are committed in between: what the tables will lead to is there before, and what
//! they led to goes after. Who leaves is not removed but drained: weight 0, and a deadline in the upper threshold, which
//! means nothing to the kernel while the weight is 0 and survives us. Connections of marks that cut end at once.
//!
//! **Invariants:** applied in order, both parts lead from any virtual server to any other
//! (`tests::any_virtual_server_becomes_any_other`); none of TCP is cut (`tests::nothing_established_is_cut_before_its_time`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::marks::{cuts, ours};
use crate::render::Server;
use netlink::ipvs::{Forwarding, Operation, RealServer, Thresholds};

/// Operations of one virtual server, in both parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Before the tables lead there.
    pub(crate) make: Vec<Operation>,
    /// When the tables do not lead there any more.
    pub(crate) unmake: Vec<Operation>,
    /// The real servers that drain from then on.
    pub(crate) draining: BTreeMap<SocketAddr, RealServer>,
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

#[cfg(test)]
mod tests {
    use netlink::Family;
    use proptest::prelude::*;

    use super::*;
    use crate::fake::FakeIpvs;
    use crate::port::Port;
    use netlink::ipvs::{Flags, VirtualKey, VirtualServer};

    const DEADLINE: u32 = 4600;

    fn reals() -> impl Strategy<Value = BTreeMap<SocketAddr, RealServer>> {
        let real = |(host, (weight, upper)): (u8, (u32, u32))| {
            let address = SocketAddr::new([10, 244, 0, host].into(), 80);
            let thresholds = Thresholds { upper: upper * 100, lower: 0 };
            (address, RealServer { address, forwarding: Forwarding::Masquerade, weight, thresholds })
        };
        let reals = prop::collection::btree_map(1u8..6, (0u32..3, 0u32..2), 0..5);
        reals.prop_map(move |reals| reals.into_iter().map(real).collect())
    }

    fn server(mark: u32) -> impl Strategy<Value = Server> {
        let scheduler = prop::sample::select(vec!["rr", "wrr"]);
        let key = VirtualKey::Mark { family: Family::Ipv4, mark };
        (scheduler, reals()).prop_map(move |(scheduler, reals)| Server {
            server: VirtualServer {
                key,
                scheduler: scheduler.to_owned(),
                flags: Flags::NONE,
                persistence: None,
                engine: None,
            },
            reals,
        })
    }

    /// As a service wants it: somebody is there, and nobody has a deadline.
    fn wanted(mark: u32) -> impl Strategy<Value = Server> {
        server(mark).prop_filter_map("a virtual server has real servers", |mut server| {
            server.reals.values_mut().for_each(|real| real.thresholds.upper = 0);
            (!server.reals.is_empty()).then_some(server)
        })
    }

    fn cases() -> impl Strategy<Value = (Option<Server>, Option<Server>)> {
        prop::sample::select(vec![0x5300_0007, 0x5380_0007])
            .prop_flat_map(|mark| (prop::option::of(server(mark)), prop::option::of(wanted(mark))))
    }

    fn execute(kernel: &mut FakeIpvs, operations: &[Operation]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let refusals = runtime.block_on(kernel.execute(operations)).unwrap();
        assert!(refusals.is_empty(), "{refusals:?}");
    }

    fn holding(server: Option<&Server>) -> FakeIpvs {
        let mut kernel = FakeIpvs::default();
        if let Some(server) = server {
            execute(&mut kernel, &add(server));
        }
        kernel
    }

    fn content(kernel: &FakeIpvs) -> Option<Server> {
        kernel.with(|kernel| {
            let (server, reals) = kernel.servers.values().next()?;
            let reals = reals.iter().map(|(address, entry)| (*address, entry.server)).collect();
            Some(Server { server: server.clone(), reals })
        })
    }

    proptest! {
        #[test]
        fn any_virtual_server_becomes_any_other((before, wanted) in cases()) {
            let change = diff(before.as_ref(), wanted.as_ref(), DEADLINE);
            let mut kernel = holding(before.as_ref());
            execute(&mut kernel, &change.make);
            // The tables lead there now: whoever is wanted with weight is there, and nobody has lost anything.
            let between = content(&kernel);
            for (address, real) in wanted.iter().flat_map(|wanted| &wanted.reals).filter(|(_, real)| real.weight > 0) {
                prop_assert_eq!(between.as_ref().unwrap().reals.get(address), Some(real));
            }
            for address in before.iter().flat_map(|before| before.reals.keys()) {
                prop_assert!(between.as_ref().unwrap().reals.contains_key(address));
            }
            execute(&mut kernel, &change.unmake);
            let expected = match (&wanted, change.draining.is_empty()) {
                (None, true) => None,
                (wanted, _) => {
                    let mut expected = wanted.clone().or(before.clone()).unwrap();
                    expected.reals.retain(|address, _| wanted.as_ref().is_some_and(|wanted| wanted.reals.contains_key(address)));
                    expected.reals.extend(change.draining.clone());
                    Some(expected)
                }
            };
            prop_assert_eq!(content(&kernel), expected.clone());
            // Again: nothing.
            let again = diff(expected.as_ref(), wanted.as_ref(), DEADLINE + 7);
            prop_assert_eq!((again.make, again.unmake), (vec![], vec![]));
        }

        #[test]
        fn nothing_established_is_cut_before_its_time((before, wanted) in cases()) {
            let change = diff(before.as_ref(), wanted.as_ref(), DEADLINE);
            let Some(before) = before else { return Ok(()) };
            let removes = change.make.iter().chain(&change.unmake).any(|operation| {
                matches!(operation, Operation::RemoveReal(..) | Operation::RemoveVirtual(_))
            });
            let is_cut = cuts(ours(before.server.key).unwrap());
            prop_assert!(!removes || is_cut || before.reals.is_empty());
            prop_assert!(!is_cut || change.draining.is_empty());
            for (address, real) in &change.draining {
                let was = before.reals[address];
                prop_assert!(drains(real) && !wanted.as_ref().is_some_and(|wanted| wanted.reals.contains_key(address)));
                let upper = if drains(&was) { was.thresholds.upper } else { DEADLINE };
                prop_assert_eq!(real.thresholds.upper, upper, "a deadline is not put off");
            }
        }
    }
}
