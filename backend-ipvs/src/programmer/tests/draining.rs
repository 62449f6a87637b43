//! What leaves drains, and what returns revives.

use super::*;

#[test]
fn an_endpoint_that_leaves_drains_and_one_that_returns_revives() {
    let mut world = World::new();
    world.kernel(|kernel| kernel.is_busy = true);
    let mut state = state([tcp(1, &[1, 2])]);
    world.sync(&state, Scope::All);
    world.upsert(&mut state, tcp(1, &[1]));
    assert_eq!(world.reals(), [(1, 1, false), (2, 0, true)]);
    assert_eq!(world.poll(), Seen::AsBelieved);
    assert_eq!(world.reals().len(), 2, "it has a connection");
    world.upsert(&mut state, tcp(1, &[1, 2]));
    assert_eq!(world.reals(), [(1, 1, false), (2, 1, false)]);
    world.upsert(&mut state, tcp(1, &[1]));
    world.end_connections();
    assert_eq!(world.poll(), Seen::AsBelieved);
    assert_eq!(world.reals(), [(1, 1, false)]);
}

#[test]
fn a_service_that_goes_drains_and_its_return_revives_it() {
    let mut world = World::new();
    world.kernel(|kernel| kernel.is_busy = true);
    let mut state = state([tcp(1, &[1])]);
    world.sync(&state, Scope::All);
    let keys = world.keys();
    world.remove(&mut state, &name(1));
    assert_eq!((world.keys(), world.reals()), (keys.clone(), vec![(1, 0, true)]));
    world.upsert(&mut state, tcp(1, &[1, 2]));
    assert_eq!((world.keys(), world.reals()), (keys, vec![(1, 1, false), (2, 1, false)]));
    world.remove(&mut state, &name(1));
    world.kernel(|kernel| kernel.now += 3599);
    world.poll();
    assert_eq!(world.reals().len(), 2, "not yet");
    world.kernel(|kernel| kernel.now += 1);
    world.poll();
    assert_eq!(world.keys(), [], "its time is up");
    assert_eq!(world.kernel(|kernel| kernel.cut.len()), 2);
}

#[test]
fn a_deadline_survives_a_restart() {
    let mut world = World::new();
    world.kernel(|kernel| kernel.is_busy = true);
    let mut state = state([tcp(1, &[1, 2]), tcp(2, &[3])]);
    world.sync(&state, Scope::All);
    world.upsert(&mut state, tcp(1, &[1]));
    world.remove(&mut state, &name(2));
    world.kernel(|kernel| kernel.now += 3000);
    let mut next = world.restarted();
    assert_eq!(next.sync(&state, Scope::All).writes, 0);
    next.kernel(|kernel| kernel.now += 600);
    next.poll();
    assert_eq!(next.reals(), [(1, 1, false)]);
}

#[test]
fn udp_is_cut_with_its_endpoint() {
    let mut world = World::new();
    let mut state = state([udp(1, &[1, 2])]);
    world.sync(&state, Scope::All);
    world.upsert(&mut state, udp(1, &[1]));
    assert_eq!(world.reals(), [(1, 1, false)]);
    world.remove(&mut state, &name(1));
    assert_eq!(world.keys(), []);
}

#[test]
fn udp_is_cut_with_its_frontend() {
    for restarts in [false, true] {
        let mut world = World::new();
        let mut state = state([with_external(udp(1, &[1]), 1), with_external(tcp(2, &[2]), 2)]);
        world.sync(&state, Scope::All);
        let before = world.keys();
        assert_eq!(before.len(), 3, "UDP has one for each frontend");
        if restarts {
            world = world.restarted();
        }
        let mut change = state.upsert(udp(1, &[1])).unwrap().touched;
        change.extend(state.upsert(tcp(2, &[2])).unwrap().touched);
        world.sync(&state, Scope::Services(&change));
        let after = world.keys();
        assert!(after.len() == 2 && after.iter().all(|key| before.contains(key)), "{before:?} {after:?}");
        assert_eq!(after.iter().filter(|key| cuts(our_mark(**key).unwrap())).count(), 1, "the other frontend's");
        assert_eq!(world.restarted().sync(&state, Scope::All).writes, 0);
    }
}

#[test]
fn a_terminating_endpoint_gets_nothing_new_and_no_deadline() {
    let mut world = World::new();
    let mut state = state([tcp(1, &[1, 2])]);
    world.sync(&state, Scope::All);
    let mut terminating = tcp(1, &[1, 2]);
    terminating.ports[0].endpoints[0].weight = 0;
    terminating.ports[0].endpoints[1].pools = Pools::NONE;
    world.upsert(&mut state, terminating);
    world.poll();
    assert_eq!(world.reals(), [(1, 0, false), (2, 0, false)]);
}
