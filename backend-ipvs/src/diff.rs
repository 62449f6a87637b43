//! What must be done to one virtual server for it to become what it shall be.
//!
//! In two parts, because the tables are committed in between: what the tables will lead to is there before, and what
//! they led to goes after. A real server that leaves is not removed but drained ([`crate::drain`]). Connections of
//! marks that cut end at once.
//!
//! **Invariants:** applied in order, both parts lead from any virtual server to any other
//! (`tests::any_virtual_server_becomes_any_other`); none of TCP is cut
//! (`tests::nothing_established_is_cut_before_its_time`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use netlink::ipvs::{Operation, RealServer, VirtualKey};

use crate::drain::{Deadline, draining, drains};
use crate::marks::cuts;
use crate::servers::{Server, is_same, our_mark};

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

/// What leads from `before` to `wanted`, of which one at least is there and both have one key. A real server that
/// leaves now drains until `deadline`.
pub(crate) fn diff(before: Option<&Server>, wanted: Option<&Server>, deadline: Deadline) -> Change {
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

fn retire(before: &Server, deadline: Deadline) -> Change {
    let mut change = Change::default();
    let key = before.server.key;
    if before.reals.is_empty() || is_cut(key) {
        change.unmake.push(Operation::RemoveVirtual(key));
        return change;
    }
    for real in before.reals.values() {
        drain(key, real, deadline, &mut change);
    }
    change
}

fn alter(before: &Server, wanted: &Server, deadline: Deadline) -> Change {
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
    for (address, real) in &before.reals {
        if wanted.reals.contains_key(address) {
            continue;
        }
        match is_cut(key) {
            true => change.unmake.push(Operation::RemoveReal(key, *address)),
            false => drain(key, real, deadline, &mut change),
        }
    }
    change
}

/// Gives a real server nothing new. One that drains already keeps its deadline.
fn drain(of: VirtualKey, real: &RealServer, deadline: Deadline, change: &mut Change) {
    let mut real = *real;
    if !drains(&real) {
        real = draining(&real, deadline);
        change.unmake.push(Operation::EditReal(of, real));
    }
    change.draining.insert(real.address, real);
}

/// Whether connections of a virtual server end with their real server.
fn is_cut(key: VirtualKey) -> bool {
    our_mark(key).is_none_or(cuts)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use backend_api::Family;
    use backend_nft::marking::Mark;
    use netlink::ipvs::{Flags, Forwarding, Thresholds, VirtualServer};
    use proptest::prelude::*;

    use super::*;
    use crate::fake::FakeIpvs;
    use crate::port::Port;
    use crate::servers::key;

    /// In seconds since boot.
    const NOW: u32 = 1000;
    const DRAIN: Duration = Duration::from_secs(3600);

    fn reals() -> impl Strategy<Value = BTreeMap<SocketAddr, RealServer>> {
        prop::collection::btree_map(1u8..6, (0u32..3, 0u32..2), 0..5).prop_map(move |reals| {
            let mut all = BTreeMap::new();
            for (host, (weight, upper)) in reals {
                let address = SocketAddr::new([10, 244, 0, host].into(), 80);
                let thresholds = Thresholds { upper: upper * 100, lower: 0 };
                all.insert(address, RealServer { address, forwarding: Forwarding::Masquerade, weight, thresholds });
            }
            all
        })
    }

    fn server(mark: u32) -> impl Strategy<Value = Server> {
        let scheduler = prop::sample::select(vec!["rr", "wrr"]);
        let key = key(Family::V4, Mark(mark));
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

    /// As a service wants it: with real servers, none of which has a deadline.
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
            let change = diff(before.as_ref(), wanted.as_ref(), Deadline::after(NOW, DRAIN));
            let mut kernel = holding(before.as_ref());
            execute(&mut kernel, &change.make);
            // The tables lead there now: all that is wanted with weight is there, and no connection has lost its real
            // server.
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
                    expected.reals = wanted.as_ref().map(|wanted| wanted.reals.clone()).unwrap_or_default();
                    expected.reals.extend(change.draining.clone());
                    Some(expected)
                }
            };
            prop_assert_eq!(content(&kernel), expected.clone());
            // Again: nothing.
            let again = diff(expected.as_ref(), wanted.as_ref(), Deadline::after(NOW + 7, DRAIN));
            prop_assert_eq!((again.make, again.unmake), (vec![], vec![]));
        }

        #[test]
        fn nothing_established_is_cut_before_its_time((before, wanted) in cases()) {
            let change = diff(before.as_ref(), wanted.as_ref(), Deadline::after(NOW, DRAIN));
            let Some(before) = before else { return Ok(()) };
            let removes = change.make.iter().chain(&change.unmake).any(|operation| {
                matches!(operation, Operation::RemoveReal(..) | Operation::RemoveVirtual(_))
            });
            let is_cut = is_cut(before.server.key);
            prop_assert!(!removes || is_cut || before.reals.is_empty());
            prop_assert!(!is_cut || change.draining.is_empty());
            for (address, real) in &change.draining {
                let was = before.reals[address];
                prop_assert!(drains(real) && !wanted.as_ref().is_some_and(|wanted| wanted.reals.contains_key(address)));
                let upper = if drains(&was) { was.thresholds.upper } else { 4600 };
                prop_assert_eq!(real.thresholds.upper, upper, "a deadline is not put off");
            }
        }
    }
}
