//! Which service comes first, and what is told.

use super::*;

#[test]
fn of_two_that_hold_one_address_the_older_keeps_it() {
    let services = [("a", 2), ("b", 1), ("c", 2)];
    let services = services.map(|(name, age)| aged(holds(service(name), "192.168.67.244"), age));
    let expected = ["240", "244", "241"].map(|last| format!("192.168.67.{last} from office"));
    check(&[office()], &services, &expected.each_ref().map(String::as_str));
}

#[test]
fn a_pending_service_takes_nothing_that_a_younger_one_holds() {
    let pending = aged(service("pending"), 1);
    let holder = aged(holds(service("holder"), "10.0.0.1"), 2);
    let asking = aged(asks(service("asking"), "10.0.0.1"), 0);
    let single = pool("p", &["10.0.0.1/32"]);
    check(&[single], &[pending, holder, asking], &["PoolExhausted", "10.0.0.1 from p", "AddressInUse"]);
}

#[test]
fn what_is_asked_for_is_given_before_the_rest() {
    let asking = aged(asks(service("asking"), "192.168.67.240"), 2);
    let older = aged(service("older"), 1);
    check(&[office()], &[older, asking], &["192.168.67.241 from office", "192.168.67.240 from office"]);
}

#[test]
fn an_address_that_comes_free_goes_to_the_oldest_that_waits_and_to_it_alone() {
    let mut allocator = Allocator::new(Options::default());
    let services = [("a", 0), ("b", 2), ("c", 1)].map(|(name, age)| Edit::Service(aged(service(name), age)));
    let pool = Edit::Pool(pool("p", &["10.0.0.1/32"]));
    let all = allocator.apply([pool].into_iter().chain(services), Duration::ZERO);
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), ["10.0.0.1 from p", "PoolExhausted", "PoolExhausted"]);
    let freed = allocator.apply([Edit::ServiceGone(name("a"))], Duration::ZERO);
    assert_eq!((freed.len(), &freed[0].service), (1, &name("c")));
}

#[test]
fn each_address_that_comes_free_goes_to_one_that_waits_and_those_that_cannot_have_it_stop_no_other() {
    let mut allocator = Allocator::new(Options::default());
    // Older than the others, and it cannot have what comes free: the pool has no second family.
    let needs_two = Service { demand: Demand::dual(FamilyPolicy::RequireDualStack), ..aged(service("needs-two"), 0) };
    let others = [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)].map(|(name, age)| aged(service(name), age));
    let pool = pool("p", &["10.0.0.1-10.0.0.2", "fd00::1/128"]);
    let takes_v6 = Service { demand: Demand::single(Family::V6), ..holds(aged(service("v6"), 9), "fd00::1") };
    let edits = [needs_two].into_iter().chain(others).chain([takes_v6]).map(Edit::Service);
    allocator.apply([Edit::Pool(pool)].into_iter().chain(edits), Duration::ZERO);
    let freed = allocator.apply(["a", "b"].map(|gone| Edit::ServiceGone(name(gone))), Duration::ZERO);
    let given: Vec<_> = freed.iter().map(|decision| (&*decision.service.name, told(decision))).collect();
    assert_eq!(given, [("c", "10.0.0.1 from p".to_owned()), ("d", "10.0.0.2 from p".to_owned())]);
}

#[test]
fn the_reason_that_is_told_is_todays() {
    let mut allocator = Allocator::new(Options::default());
    let reversed = Demand::OneOfEach { families: vec![Family::V6, Family::V4], policy: FamilyPolicy::RequireDualStack };
    let asking = asks(Service { demand: reversed, age: Age(9), ..service("asking") }, "10.0.0.1 fd00::1");
    let holder = holds(service("v4"), "10.0.0.1");
    allocator.apply([Edit::Pool(both()), Edit::Service(holder), Edit::Service(asking)], Duration::ZERO);
    let v6 = Service { demand: Demand::single(Family::V6), ..holds(service("v6"), "fd00::1") };
    let decisions = allocator.apply([Edit::Service(v6)], Duration::ZERO);
    let words = "address fd00::1 is asked for, and service default/v6 has it";
    let told = decisions.iter().find(|decision| decision.service == name("asking")).unwrap();
    assert_eq!(told.verdict.problem.as_ref().unwrap().to_string(), words);
}

#[test]
fn events_have_the_names_that_alerts_match() {
    let headless = Demand::OneOfEach { families: vec![], policy: FamilyPolicy::SingleStack };
    let unreadable = Requested::Unreadable("loadBalancerIPs \"x\": not an address".to_owned());
    let (normal, warning) = (EventKind::Normal, EventKind::Warning);
    for (service, expected) in [
        (service("a"), vec![(normal, "IPAllocated", "assigned 10.0.0.1")]),
        (holds(service("a"), "10.0.0.2"), vec![]),
        (
            holds(service("a"), "10.9.9.9"),
            vec![
                (normal, "ClearAssignment", "address 10.9.9.9: no pool has it"),
                (normal, "IPAllocated", "assigned 10.0.0.1"),
            ],
        ),
        (
            holds(dual("a", FamilyPolicy::PreferDualStack), "10.0.0.2 fd00::1"),
            vec![
                (normal, "ClearAssignment", "address fd00::1: no pool has it"),
                (normal, "AdditionalAssignFailed", "no IPv6 address: pool p: no IPv6 range"),
            ],
        ),
        (
            holds(service("a"), "10.0.0.2 10.0.0.1"),
            vec![(warning, "nolbIPsIPFamily", "address 10.0.0.1: the service has another address of this family")],
        ),
        (
            asks(holds(service("a"), "10.0.0.2"), "10.9.9.9"),
            vec![(warning, "AllocationFailed", "address 10.9.9.9 is asked for, and no pool has it; keeps 10.0.0.2")],
        ),
        (
            Service { addresses: unreadable, ..service("a") },
            vec![(warning, "LoadBalancerFailed", "loadBalancerIPs \"x\": not an address")],
        ),
        (
            Service { demand: headless, ..service("a") },
            vec![(warning, "noclusterIPsIPFamily", "the service has no cluster address")],
        ),
        (dual("a", FamilyPolicy::RequireDualStack), vec![(warning, "AllocationFailed", "pool p: no IPv6 range")]),
        (asks(holds(service("a"), "10.0.0.2"), "10.0.0.1"), vec![(normal, "IPAllocated", "assigned 10.0.0.1")]),
    ] {
        let plan = plan(Options::default(), [pool("p", &["10.0.0.1-10.0.0.2"])], [service], []);
        let events = plan.decisions[&name("a")].events();
        let told: Vec<_> = events.iter().map(|event| (event.kind, event.reason, event.message.as_str())).collect();
        assert_eq!(told, expected);
    }
}

#[test]
fn what_many_pools_refuse_is_told_in_one_line() {
    let pools: Vec<Pool> = (0..100).map(|number| pool(&format!("pool-{number:02}"), &["fd00::/64"])).collect();
    let refused = plan(Options::default(), pools, [service("a")], []);
    let problem = refused.decisions[&name("a")].verdict.problem.as_ref().unwrap().to_string();
    assert!(problem.starts_with("pool pool-00: no IPv4 range, pool pool-01") && problem.ends_with("and 92 more"));
}
