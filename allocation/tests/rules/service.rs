//! One service: what it asks for, what it holds, and its families.

use super::*;

#[test]
fn a_service_that_wants_no_address_gives_back_what_it_has() {
    let nothing = holds(Service { demand: Demand::Nothing, ..service("a") }, "192.168.67.240");
    check(&[office()], &[nothing.clone(), service("b")], &["", "192.168.67.240 from office"]);
    let plan = plan(Options::default(), [office()], [nothing], []);
    let lost = &plan.decisions[&name("a")].lost;
    assert_eq!(lost[0].to_string(), "address 192.168.67.240: the service wants none");
}

#[test]
fn without_a_pool_or_a_cluster_address_there_is_no_address() {
    let headless = Demand::OneOfEach { families: vec![], policy: FamilyPolicy::SingleStack };
    let headless = [Service { demand: headless, ..service("a") }];
    let half = Demand::OneOfEach { families: vec![Family::V4], policy: FamilyPolicy::RequireDualStack };
    let half = Service { demand: half, ..service("a") };
    check(&[], &[service("a")], &["NoPool"]);
    check(&[], &[holds(service("a"), "10.0.0.1")], &["NoPool"]);
    check(&[office()], &headless, &["FamilyMissing"]);
    check(&[office()], &[holds(half.clone(), "192.168.67.240")], &["FamilyMissing"]);
    problem(&[], &[service("a")], "there is no pool");
    problem(&[office()], &headless, "the service has no cluster address");
    let words = "RequireDualStack, and the service has one cluster address only";
    problem(&[office()], &[half], words);
}

#[test]
fn of_what_is_held_only_what_is_wanted_stays() {
    let v6 = Service { demand: Demand::single(Family::V6), ..service("a") };
    check(&[both()], &[holds(service("a"), "fd00::2 10.0.0.2")], &["10.0.0.2 from both"]);
    check(&[both()], &[holds(service("a"), "10.0.0.2 10.0.0.1")], &["10.0.0.2 from both"]);
    check(&[both()], &[holds(v6, "10.0.0.2")], &["fd00::1 from both"]);
    check(&[both()], &[holds(service("a"), "10.0.9.9")], &["10.0.0.1 from both"]);
}

#[test]
fn a_request_is_granted_or_refused_with_a_reason() {
    let taken = holds(service("0"), "192.168.67.240");
    for (request, expected, words) in [
        (asking("192.168.67.245"), "192.168.67.245 from office", ""),
        (asking("192.168.67.240"), "AddressInUse", "address 192.168.67.240 is asked for, and service default/0 has it"),
        (asking("10.0.0.1"), "AddressOutsidePools", "address 10.0.0.1 is asked for, and no pool has it"),
        (asking("fd00::1"), "BadRequest", "asked for fd00::1: not the families of the service"),
        (
            asking("192.168.67.245 192.168.67.246"),
            "BadRequest",
            "asked for 192.168.67.245, 192.168.67.246: not the families of the service",
        ),
        (asks_pool(service("a"), "office"), "192.168.67.241 from office", ""),
        (asks_pool(service("a"), "home"), "NoPool", "there is no pool home"),
        (asks_pool(asking("192.168.67.245"), "office"), "192.168.67.245 from office", ""),
        (
            asks_pool(asking("192.168.67.245"), "other"),
            "BadRequest",
            "asked for address 192.168.67.245 and for pool other: the address is of pool office",
        ),
        (
            Service { addresses: Requested::Unreadable("two requests".to_owned()), ..service("a") },
            "BadRequest",
            "two requests",
        ),
    ] {
        let pools = [office(), pool("other", &["10.1.0.0/32"])];
        check(&pools, &[taken.clone(), request.clone()], &["192.168.67.240 from office", expected]);
        if !words.is_empty() {
            problem(&pools, &[taken.clone(), request], words);
        }
    }
    let two = asks(dual("a", FamilyPolicy::RequireDualStack), "10.0.0.2 fd00::2");
    check(&[both()], std::slice::from_ref(&two), &["10.0.0.2 fd00::2 from both"]);
    let apart = [pool("v4", &["10.0.0.2/32"]), pool("v6", &["fd00::2/128"])];
    check(&apart, std::slice::from_ref(&two), &["BadRequest"]);
    problem(&apart, &[two], "asked for addresses of two pools, v4 and v6: they must be of one");
    let one = asks(dual("a", FamilyPolicy::PreferDualStack), "fd00::2");
    check(&[both()], &[one], &["10.0.0.1 fd00::2 from both"]);
}

fn asking(addresses: &str) -> Service {
    asks(service("a"), addresses)
}

#[test]
fn the_old_address_stays_until_the_new_one_is_granted() {
    let pools = [office(), pool("other", &["10.1.0.0/32"])];
    for (request, expected) in [
        (asks(service("a"), "192.168.67.240"), "192.168.67.241 from office AddressInUse"),
        (asks(service("a"), "192.168.67.242"), "192.168.67.242 from office"),
        (asks(service("a"), "10.9.9.9"), "192.168.67.241 from office AddressOutsidePools"),
        (asks_pool(service("a"), "other"), "10.1.0.0 from other"),
        (asks_pool(service("a"), "absent"), "192.168.67.241 from office NoPool"),
        (
            Service { addresses: Requested::Unreadable(String::new()), ..service("a") },
            "192.168.67.241 from office BadRequest",
        ),
        // No request any more: what it has is as good as any.
        (service("a"), "192.168.67.241 from office"),
    ] {
        let services = [holds(service("0"), "192.168.67.240"), holds(request, "192.168.67.241")];
        check(&pools, &services, &["192.168.67.240 from office", expected]);
    }
}

#[test]
fn two_that_ask_for_what_the_other_waits_for_move_in_turn() {
    let older = asks(holds(service("a"), "10.0.0.1"), "10.0.0.2");
    let younger = asks(holds(service("b"), "10.0.0.2"), "10.0.0.3");
    let pools = [pool("p", &["10.0.0.1-10.0.0.3"])];
    check(&pools, &[older.clone(), younger], &["10.0.0.2 from p", "10.0.0.3 from p"]);
    // A circle stays as it is.
    let back = asks(holds(service("b"), "10.0.0.2"), "10.0.0.1");
    check(&pools, &[older, back], &["10.0.0.1 from p AddressInUse", "10.0.0.2 from p AddressInUse"]);
}

#[test]
fn each_family_policy_gets_what_it_says() {
    use FamilyPolicy::{PreferDualStack, RequireDualStack};
    for (pools, service, expected) in [
        (vec![v4(), both()], service("a"), "10.1.0.1 from a-v4"),
        (vec![v4(), both()], dual("a", RequireDualStack), "10.0.0.1 fd00::1 from both"),
        (vec![v4(), v6()], dual("a", RequireDualStack), "FamilyMissing"),
        (vec![v4(), both()], dual("a", PreferDualStack), "10.0.0.1 fd00::1 from both"),
        (vec![v4(), v6()], dual("a", PreferDualStack), "10.1.0.1 from a-v4 FamilyMissing"),
        (vec![v6()], dual("a", PreferDualStack), "fd01::1 from b-v6 FamilyMissing"),
        // What one has of two is kept, and the other is added from the same pool, if there is one.
        (vec![both(), v4()], holds(dual("a", PreferDualStack), "10.0.0.2"), "10.0.0.2 fd00::1 from both"),
        (vec![both(), v4()], holds(dual("a", PreferDualStack), "10.1.0.1"), "10.1.0.1 from a-v4 FamilyMissing"),
        (vec![both(), v4()], holds(dual("a", RequireDualStack), "10.1.0.1"), "10.1.0.1 from a-v4 FamilyMissing"),
        (vec![both(), v6()], holds(dual("a", PreferDualStack), "10.0.0.2 fd01::1"), "10.0.0.2 fd00::1 from both"),
        (vec![both()], holds(dual("a", RequireDualStack), "10.0.0.2 fd00::9"), "10.0.0.2 fd00::1 from both"),
        (vec![both()], holds(dual("a", PreferDualStack), "10.0.0.9 fd00::2"), "10.0.0.1 fd00::2 from both"),
    ] {
        check(&pools, &[service], &[expected]);
    }
    let reversed = Demand::OneOfEach { families: vec![Family::V6, Family::V4], policy: RequireDualStack };
    check(&[both()], &[Service { demand: reversed, ..service("a") }], &["fd00::1 10.0.0.1 from both"]);
    let words = "no IPv6 address: pool a-v4: no IPv6 range";
    problem(&[v4()], &[dual("a", PreferDualStack)], words);
}

fn v4() -> Pool {
    pool("a-v4", &["10.1.0.1/32"])
}

fn v6() -> Pool {
    pool("b-v6", &["fd01::1/128"])
}

#[test]
fn a_pool_that_is_extended_gives_the_second_address_and_the_first_stays() {
    let mut allocator = Allocator::new(Options::default());
    let prefers = dual("a", FamilyPolicy::PreferDualStack);
    let v4 = pool("p", &["10.0.0.1-10.0.0.9"]);
    let first = allocator.apply([Edit::Pool(v4.clone()), Edit::Service(prefers)], Duration::ZERO);
    assert_eq!(told(&first[0]), "10.0.0.1 from p FamilyMissing");
    let extended = pool("p", &["10.0.0.1-10.0.0.9", "fd00::1/128"]);
    let second = allocator.apply([Edit::Pool(extended)], Duration::ZERO);
    assert_eq!((told(&second[0]).as_str(), &second[0].given), ("10.0.0.1 fd00::1 from p", &parse("fd00::1")));
    let third = allocator.apply([Edit::Pool(v4)], Duration::ZERO);
    assert_eq!(told(&third[0]), "10.0.0.1 from p FamilyMissing");
    assert_eq!(third[0].lost[0].to_string(), "address fd00::1: no pool has it");
}
