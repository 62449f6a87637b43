//! The rules, one table each: pools and services, and what each service has in the end.

use std::net::IpAddr;
use std::time::Duration;

use backend_api::{Age, Family, PerFamily, Protocol, ServiceName};
use switchyard_allocation::{
    AddressRange, Allocator, Assign, Avoid, Decision, Demand, Edit, EventKind, FamilyPolicy, Labels, Options,
    OutsidePools, Pool, Requested, Selector, Service, ServiceAllocation, Sharing, SharingKey, plan,
};

fn pool(name: &str, ranges: &[&str]) -> Pool {
    Pool::new(name, ranges.iter().map(|text| AddressRange::parse(text).unwrap().0).collect())
}

fn office() -> Pool {
    pool("office", &["192.168.67.240-192.168.67.250"])
}

fn both() -> Pool {
    pool("both", &["10.0.0.1-10.0.0.2", "fd00::1-fd00::2"])
}

fn name(text: &str) -> ServiceName {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    ServiceName::new(namespace, name)
}

fn service(text: &str) -> Service {
    Service::new(name(text))
}

fn dual(text: &str, policy: FamilyPolicy) -> Service {
    Service { demand: Demand::dual(policy), ..service(text) }
}

fn parse(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(|address| address.parse().unwrap()).collect()
}

fn holds(service: Service, addresses: &str) -> Service {
    Service { held: parse(addresses), ..service }
}

fn asks(service: Service, addresses: &str) -> Service {
    Service { addresses: Requested::These(parse(addresses)), ..service }
}

fn asks_pool(service: Service, pool: &str) -> Service {
    Service { pool: Some(pool.into()), ..service }
}

fn shares(service: Service, key: &str, backends: &str, port: (Protocol, u16)) -> Service {
    let backends = if backends.is_empty() { Labels::new() } else { tier(backends) };
    Service { sharing: Some(SharingKey { key: key.to_owned(), backends }), ports: vec![port], ..service }
}

fn tier(value: &str) -> Labels {
    Labels::from([("tier".to_owned(), value.to_owned())])
}

fn selects(value: &str) -> Vec<Selector> {
    vec![Selector { match_labels: tier(value), ..Selector::default() }]
}

/// `10.0.0.1 fd00::1 from both`, with the reason where there is a problem.
fn told(decision: &Decision) -> String {
    let mut words: Vec<String> = decision.verdict.addresses.iter().map(ToString::to_string).collect();
    words.extend(decision.verdict.pool.iter().map(|pool| format!("from {pool}")));
    words.extend(decision.verdict.problem.iter().map(|problem| problem.reason().to_owned()));
    words.join(" ")
}

#[track_caller]
fn check_with(options: Options, pools: &[Pool], services: &[Service], expected: &[&str]) {
    let namespaces = [("gold".to_owned(), tier("gold")), ("tin".to_owned(), tier("tin"))];
    let plan = plan(options, pools.to_vec(), services.to_vec(), namespaces.clone());
    let of = |service: &Service| told(&plan.decisions[&service.name]);
    assert_eq!(services.iter().map(of).collect::<Vec<_>>(), expected);
}

#[track_caller]
fn check(pools: &[Pool], services: &[Service], expected: &[&str]) {
    check_with(Options::default(), pools, services, expected);
}

#[track_caller]
fn problem(pools: &[Pool], services: &[Service], expected: &str) {
    let plan = plan(Options::default(), pools.to_vec(), services.to_vec(), []);
    let decision = &plan.decisions[&services.last().unwrap().name];
    assert_eq!(decision.verdict.problem.as_ref().map(ToString::to_string).as_deref(), Some(expected));
}

// Pools.

#[test]
fn the_lowest_free_address_of_the_first_range_is_given() {
    let two = pool("two", &["10.0.0.8/31", "10.0.0.0-10.0.0.1"]);
    let services = ["a", "b", "c", "d", "e"].map(service);
    let expected =
        ["10.0.0.8 from two", "10.0.0.9 from two", "10.0.0.0 from two", "10.0.0.1 from two", "PoolExhausted"];
    check(&[two], &services, &expected);
    check(&[office()], &[service("a"), service("b")], &["192.168.67.240 from office", "192.168.67.241 from office"]);
}

#[test]
fn a_pool_on_request_is_used_for_those_that_ask() {
    let manual = || Pool { assign: Assign::OnRequest, ..pool("manual", &["10.0.0.1-10.0.0.9"]) };
    check(&[manual()], &[service("a")], &["PoolForbids"]);
    problem(&[manual()], &[service("a")], "pool manual: only for services that ask for it (autoAssign)");
    check(&[manual()], &[asks_pool(service("a"), "manual")], &["10.0.0.1 from manual"]);
    check(&[manual()], &[asks(service("a"), "10.0.0.7")], &["10.0.0.7 from manual"]);
    check(&[manual()], &[holds(service("a"), "10.0.0.7")], &["10.0.0.7 from manual"]);
}

#[test]
fn an_address_that_ends_with_0_or_255_is_not_given_where_it_is_avoided() {
    let buggy = || Pool { avoid: Avoid::Buggy, ..pool("p", &["10.0.0.254-10.0.1.1"]) };
    let given = ["10.0.0.254 from p", "10.0.1.1 from p", "PoolExhausted"];
    check(&[buggy()], &["a", "b", "c"].map(service), &given);
    check(&[buggy()], &[asks(service("a"), "10.0.1.0")], &["PoolForbids"]);
    problem(&[buggy()], &[asks(service("a"), "10.0.1.0")], "pool p: never gives 10.0.1.0 (avoidBuggyIPs)");
    check(&[buggy()], &[holds(service("a"), "10.0.0.255")], &["10.0.0.254 from p"]);
    check(&[pool("p", &["10.0.0.0/24"])], &[service("a")], &["10.0.0.0 from p"]);
}

#[test]
fn the_first_address_of_an_ipv6_block_is_given_only_if_it_is_asked_for() {
    let v6 = |text: &str| Service { demand: Demand::single(Family::V6), ..service(text) };
    check(&[pool("p", &["fd00::/112"])], &[v6("a"), v6("b")], &["fd00::1 from p", "fd00::2 from p"]);
    check(&[pool("p", &["fd00::/112"])], &[asks(v6("a"), "fd00::")], &["fd00:: from p"]);
    check(&[pool("p", &["fd00::/127"])], &[v6("a")], &["fd00:: from p"]);
}

#[test]
fn pools_for_chosen_services_come_first_by_priority_and_then_by_name() {
    let pinned = |name: &str, priority, ranges: &[&str]| {
        let service_allocation = Some(ServiceAllocation { priority, ..ServiceAllocation::default() });
        Pool { service_allocation, ..pool(name, ranges) }
    };
    let pools = [
        pool("a", &["10.0.0.1/32"]),
        pool("b", &["10.0.0.2/32"]),
        pinned("c", 0, &["10.0.0.3/32"]),
        pinned("d", 5, &["10.0.0.4/32"]),
        pinned("e", 1, &["10.0.0.5/32"]),
        pinned("f", 1, &["10.0.0.6/32"]),
    ];
    let services = ["1", "2", "3", "4", "5", "6"].map(service);
    let expected = [
        "10.0.0.5 from e",
        "10.0.0.6 from f",
        "10.0.0.4 from d",
        "10.0.0.3 from c",
        "10.0.0.1 from a",
        "10.0.0.2 from b",
    ];
    check(&pools, &services, &expected);
}

#[test]
fn a_pool_is_for_the_namespaces_and_labels_that_it_names() {
    let only = |service_allocation| Pool { service_allocation: Some(service_allocation), ..office() };
    let any = ServiceAllocation::default;
    let by_name = || ServiceAllocation { namespaces: vec!["gold".to_owned()], ..any() };
    let by_label = || ServiceAllocation { namespace_selectors: selects("tin"), ..any() };
    let either = || ServiceAllocation { namespace_selectors: selects("tin"), ..by_name() };
    let labelled = || ServiceAllocation { service_selectors: selects("web"), ..any() };
    let and = || ServiceAllocation { service_selectors: selects("web"), ..by_name() };
    let web = |text: &str| Service { labels: tier("web"), ..service(text) };
    let (given, refused) = ("192.168.67.240 from office", "PoolForbids");
    for (allocation, service, expected) in [
        (any(), service("tin/a"), given),
        (by_name(), service("gold/a"), given),
        (by_name(), service("tin/a"), refused),
        (by_label(), service("tin/a"), given),
        (by_label(), service("gold/a"), refused),
        (by_label(), service("unknown/a"), refused),
        (either(), service("gold/a"), given),
        (either(), service("tin/a"), given),
        (either(), service("other/a"), refused),
        (labelled(), web("any/a"), given),
        (labelled(), service("any/a"), refused),
        (and(), web("gold/a"), given),
        (and(), web("tin/a"), refused),
        (and(), service("gold/a"), refused),
        // Neither a request nor what it holds gets round it.
        (by_name(), asks(service("tin/a"), "192.168.67.244"), refused),
        (by_name(), asks_pool(service("tin/a"), "office"), refused),
        (by_name(), holds(service("tin/a"), "192.168.67.244"), refused),
    ] {
        check(&[only(allocation)], &[service], &[expected]);
    }
    problem(&[only(by_name())], &[service("tin/a")], "pool office: not for the service's namespace");
    problem(&[only(labelled())], &[service("a")], "pool office: not for the service's labels");
}

#[test]
fn of_two_pools_the_older_keeps_what_both_list() {
    let old = Pool { age: Age(1), assign: Assign::OnRequest, ..pool("old", &["10.0.0.0/31"]) };
    let young = Pool { age: Age(2), ..pool("a-young-one", &["10.0.0.0/30"]) };
    let plan = plan(Options::default(), [young, old], ["a", "b", "c"].map(service), []);
    let given: Vec<_> = plan.decisions.values().map(told).collect();
    assert_eq!(given, ["10.0.0.2 from a-young-one", "10.0.0.3 from a-young-one", "PoolExhausted"]);
    let overlap = "pool a-young-one: range 10.0.0.0/31 is of the older pool old, which keeps it";
    assert_eq!(plan.overlaps[0].to_string(), overlap);
}

#[test]
fn counts_of_a_huge_pool_end_at_the_largest_number() {
    let huge = pool("huge", &["10.0.0.0/24", "::/0"]);
    let services =
        [dual("a", FamilyPolicy::RequireDualStack), asks(dual("b", FamilyPolicy::PreferDualStack), "8000::")];
    let plan = plan(Options::default(), [huge], services, []);
    let counts = plan.counts["huge"];
    assert_eq!((counts.assigned, counts.available), (PerFamily::new(2, 2), PerFamily::new(254, i64::MAX)));
    let given: Vec<_> = plan.decisions.values().map(told).collect();
    assert_eq!(given, ["10.0.0.0 ::1 from huge", "10.0.0.1 8000:: from huge"]);
}

// One service.

#[test]
fn a_service_that_wants_no_address_gives_back_what_it_has() {
    let nothing = || holds(Service { demand: Demand::Nothing, ..service("a") }, "192.168.67.240");
    check(&[office()], &[nothing(), service("b")], &["", "192.168.67.240 from office"]);
    let plan = plan(Options::default(), [office()], [nothing()], []);
    let lost = &plan.decisions[&name("a")].lost;
    assert_eq!(lost[0].to_string(), "address 192.168.67.240: the service wants none");
}

#[test]
fn without_a_pool_or_a_cluster_address_there_is_no_address() {
    let headless = || Demand::OneOfEach { families: vec![], policy: FamilyPolicy::SingleStack };
    let half = || Demand::OneOfEach { families: vec![Family::V4], policy: FamilyPolicy::RequireDualStack };
    check(&[], &[service("a")], &["NoPool"]);
    check(&[], &[holds(service("a"), "10.0.0.1")], &["NoPool"]);
    check(&[office()], &[Service { demand: headless(), ..service("a") }], &["FamilyMissing"]);
    check(&[office()], &[holds(Service { demand: half(), ..service("a") }, "192.168.67.240")], &["FamilyMissing"]);
    problem(&[], &[service("a")], "there is no pool");
    problem(&[office()], &[Service { demand: headless(), ..service("a") }], "the service has no cluster address");
    let words = "RequireDualStack, and the service has one cluster address only";
    problem(&[office()], &[Service { demand: half(), ..service("a") }], words);
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
    let taken = || holds(service("0"), "192.168.67.240");
    let asking = |addresses: &str| asks(service("a"), addresses);
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
        check(&pools, &[taken(), request.clone()], &["192.168.67.240 from office", expected]);
        if !words.is_empty() {
            problem(&pools, &[taken(), request], words);
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

#[test]
fn the_old_address_stays_until_the_new_one_is_granted() {
    let other = || pool("other", &["10.1.0.0/32"]);
    let taken = || holds(service("0"), "192.168.67.240");
    let held = |service| holds(service, "192.168.67.241");
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
        check(&[office(), other()], &[taken(), held(request)], &["192.168.67.240 from office", expected]);
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

// Dual stack.

#[test]
fn each_family_policy_gets_what_it_says() {
    use FamilyPolicy::{PreferDualStack, RequireDualStack};
    let v4 = || pool("a-v4", &["10.1.0.1/32"]);
    let v6 = || pool("b-v6", &["fd01::1/128"]);
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

// Sharing.

#[test]
fn two_services_share_an_address_if_keys_and_backends_are_equal_and_no_port_is_in_both() {
    let (tcp, udp) = ((Protocol::Tcp, 53), (Protocol::Udp, 53));
    let first = || shares(service("ns/a"), "key", "", tcp);
    let asking = |name: &str| asks(service(name), "192.168.67.240");
    let given = "192.168.67.240 from office";
    for (second, expected) in [
        (shares(asking("ns/b"), "key", "", udp), given),
        (shares(asking("other/b"), "key", "", udp), given),
        (shares(asking("ns/b"), "key", "", tcp), "SharingRefused"),
        (shares(asking("ns/b"), "other", "", udp), "SharingRefused"),
        (shares(asking("ns/b"), "key", "gold", udp), "SharingRefused"),
        (asking("ns/b"), "AddressInUse"),
    ] {
        let held = holds(first(), "192.168.67.240");
        check(&[office()], &[held, second], &[given, expected]);
    }
    let local = |name: &str, backends: &str, port| shares(asking(name), "key", backends, port);
    check(&[office()], &[local("a", "gold", tcp), local("b", "gold", udp)], &[given, given]);
    check(&[office()], &[local("a", "gold", tcp), local("b", "tin", udp)], &[given, "SharingRefused"]);
    let words = "address 192.168.67.240 is asked for, and service default/a has it: the selectors differ, and \
                 externalTrafficPolicy is Local";
    problem(&[office()], &[local("a", "gold", tcp), local("b", "tin", udp)], words);
    let words = "address 192.168.67.240 is asked for, and service default/a has it: both have port 53/TCP";
    problem(&[office()], &[local("a", "", tcp), local("b", "", tcp)], words);
}

#[test]
fn sharing_can_be_kept_inside_a_namespace() {
    let mut options = Options::default();
    options.sharing = Sharing::Namespace;
    let sharer = |name: &str, port| shares(service(name), "key", "", (Protocol::Tcp, port));
    let services = [sharer("gold/a", 1), sharer("gold/b", 2), sharer("tin/c", 3)];
    let expected = ["192.168.67.240 from office", "192.168.67.240 from office", "192.168.67.241 from office"];
    check_with(options, &[office()], &services, &expected);
    check(&[office()], &services, &[expected[0]; 3]);
}

#[test]
fn a_sharing_service_gets_the_first_address_that_it_can_share() {
    let sharer = |name: &str, port| shares(service(name), "key", "", (Protocol::Tcp, port));
    let services = [sharer("a", 80), sharer("b", 80), sharer("c", 443), sharer("d", 443), sharer("e", 443)];
    let expected = ["240", "241", "240", "241", "242"].map(|last| format!("192.168.67.{last} from office"));
    check(&[office()], &services, &expected.each_ref().map(String::as_str));
}

#[test]
fn a_port_that_comes_free_on_a_shared_address_can_be_had_again() {
    let sharer = |name: &str, port| Edit::Service(shares(service(name), "key", "", (Protocol::Tcp, port)));
    let mut allocator = Allocator::new(Options::default());
    let edits = [Edit::Pool(office()), sharer("a", 80), sharer("b", 80), sharer("c", 443)];
    allocator.apply(edits, Duration::ZERO);
    allocator.apply([Edit::ServiceGone(name("a"))], Duration::ZERO);
    let given = allocator.apply([sharer("d", 80)], Duration::ZERO);
    assert_eq!(told(&given[0]), "192.168.67.240 from office");
}

#[test]
fn an_address_is_free_when_its_last_user_has_gone() {
    let sharer = |name: &str, port| shares(service(name), "key", "", (Protocol::Tcp, port));
    let mut allocator = Allocator::new(Options::default());
    let single = pool("p", &["10.0.0.1/32"]);
    let waits = Service { age: Age(1), ..service("waits") };
    let edits = [sharer("a", 1), sharer("b", 2), waits].map(Edit::Service);
    allocator.apply([Edit::Pool(single)].into_iter().chain(edits), Duration::ZERO);
    assert_eq!(allocator.apply([Edit::ServiceGone(name("a"))], Duration::ZERO), []);
    let freed = allocator.apply([Edit::ServiceGone(name("b"))], Duration::ZERO);
    assert_eq!((freed[0].service.clone(), told(&freed[0])), (name("waits"), "10.0.0.1 from p".to_owned()));
}

#[test]
fn the_older_of_two_that_share_no_more_keeps_the_address() {
    let sharer =
        |name: &str, key: &str, port| holds(shares(service(name), key, "", (Protocol::Tcp, port)), "192.168.67.240");
    let expected = ["192.168.67.240 from office", "192.168.67.241 from office"];
    let older = || sharer("a", "key", 80);
    for younger in [sharer("b", "key", 80), sharer("b", "other", 443), holds(service("b"), "192.168.67.240")] {
        check(&[office()], &[older(), younger], &expected);
    }
    // It is the older one that changes, and the younger that moves.
    let mut allocator = Allocator::new(Options::default());
    let edits = [older(), sharer("b", "key", 443)].map(Edit::Service);
    allocator.apply([Edit::Pool(office())].into_iter().chain(edits), Duration::ZERO);
    let decisions = allocator.apply([Edit::Service(sharer("a", "key", 443))], Duration::ZERO);
    assert_eq!((decisions.len(), told(&decisions[0]).as_str()), (1, expected[1]));
    let words = "address 192.168.67.240: the older service default/a has it, both have port 443/TCP";
    assert_eq!(decisions[0].lost[0].to_string(), words);
}

#[test]
fn a_service_alone_on_its_address_changes_its_key_in_place() {
    let mut allocator = Allocator::new(Options::default());
    let with = |key: &str| holds(shares(service("a"), key, "", (Protocol::Tcp, 80)), "192.168.67.244");
    allocator.apply([Edit::Pool(office()), Edit::Service(with("one"))], Duration::ZERO);
    assert_eq!(allocator.apply([Edit::Service(with("two"))], Duration::ZERO), []);
    let joins = asks(shares(service("b"), "two", "", (Protocol::Tcp, 443)), "192.168.67.244");
    let decisions = allocator.apply([Edit::Service(joins)], Duration::ZERO);
    assert_eq!(told(&decisions[0]), "192.168.67.244 from office");
}

// Pools that change.

#[test]
fn an_address_that_no_pool_has_is_replaced_or_kept() {
    let outside = holds(service("a"), "10.0.0.1");
    check(&[office()], std::slice::from_ref(&outside), &["192.168.67.240 from office"]);
    let mut keep = Options::default();
    keep.outside_pools = OutsidePools::Keep;
    check_with(keep, &[office()], std::slice::from_ref(&outside), &["10.0.0.1 OutsidePools"]);
    check_with(keep, &[office()], &[asks(outside, "192.168.67.244")], &["192.168.67.244 from office"]);
    let two = holds(dual("a", FamilyPolicy::PreferDualStack), "10.0.0.2 fd09::1");
    check_with(keep, &[both()], &[two], &["10.0.0.2 fd09::1 from both OutsidePools"]);
}

#[test]
fn a_pool_that_is_deleted_and_created_again_takes_no_address_from_a_service() {
    let (second, late) = (Duration::from_secs(1), Duration::from_secs(5));
    let filled = || {
        let mut allocator = Allocator::new(Options::default());
        let edits = [Edit::Pool(office()), Edit::Service(holds(service("a"), "192.168.67.244"))];
        allocator.apply(edits, Duration::ZERO);
        assert_eq!(allocator.apply([Edit::PoolGone("office".into())], Duration::ZERO), []);
        assert_eq!(allocator.next_deadline(), Some(late));
        allocator
    };
    let mut allocator = filled();
    let waits = allocator.apply([Edit::Service(service("b"))], second);
    assert_eq!(told(&waits[0]), "NoPool", "a pool that is gone gives nothing");
    let decisions = allocator.apply([Edit::Pool(office())], second);
    assert_eq!(decisions.iter().map(told).collect::<Vec<_>>(), ["192.168.67.240 from office"], "a has no news");
    assert_eq!(allocator.apply([], late), []);

    let mut allocator = filled();
    let decisions = allocator.apply([], late);
    assert_eq!((told(&decisions[0]).as_str(), allocator.next_deadline()), ("NoPool", None));

    // Another pool that has the address decides at once.
    let mut allocator = filled();
    let renamed = Pool { name: "renamed".into(), ..office() };
    let decisions = allocator.apply([Edit::Pool(renamed)], second);
    assert_eq!(told(&decisions[0]), "192.168.67.244 from renamed");

    let mut without = Options::default();
    without.grace = Duration::ZERO;
    let mut allocator = Allocator::new(without);
    allocator.apply([Edit::Pool(office()), Edit::Service(service("a"))], Duration::ZERO);
    assert_eq!(told(&allocator.apply([Edit::PoolGone("office".into())], Duration::ZERO)[0]), "NoPool");
}

#[test]
fn a_pool_that_shrinks_moves_those_alone_that_it_has_no_more() {
    let mut allocator = Allocator::new(Options::default());
    let edits = ["a", "b", "c"].map(|name| Edit::Service(service(name)));
    allocator.apply([Edit::Pool(office())].into_iter().chain(edits), Duration::ZERO);
    let decisions = allocator.apply([Edit::Pool(pool("office", &["192.168.67.241-192.168.67.249"]))], Duration::ZERO);
    assert_eq!(decisions.iter().map(told).collect::<Vec<_>>(), ["192.168.67.243 from office"]);
    assert_eq!(decisions[0].service, name("a"));
}

// Order, and what is told.

#[test]
fn of_two_that_hold_one_address_the_older_keeps_it() {
    let holder = |name: &str, age| Service { age: Age(age), ..holds(service(name), "192.168.67.244") };
    let services = [holder("a", 2), holder("b", 1), holder("c", 2)];
    let expected = ["240", "244", "241"].map(|last| format!("192.168.67.{last} from office"));
    check(&[office()], &services, &expected.each_ref().map(String::as_str));
}

#[test]
fn a_pending_service_takes_nothing_that_a_younger_one_holds() {
    let pending = Service { age: Age(1), ..service("pending") };
    let holder = Service { age: Age(2), ..holds(service("holder"), "10.0.0.1") };
    let asking = Service { age: Age(0), ..asks(service("asking"), "10.0.0.1") };
    let single = pool("p", &["10.0.0.1/32"]);
    check(&[single], &[pending, holder, asking], &["PoolExhausted", "10.0.0.1 from p", "AddressInUse"]);
}

#[test]
fn what_is_asked_for_is_given_before_the_rest() {
    let asking = Service { age: Age(2), ..asks(service("asking"), "192.168.67.240") };
    let older = Service { age: Age(1), ..service("older") };
    check(&[office()], &[older, asking], &["192.168.67.241 from office", "192.168.67.240 from office"]);
}

#[test]
fn an_address_that_comes_free_goes_to_the_oldest_that_waits_and_to_it_alone() {
    let mut allocator = Allocator::new(Options::default());
    let aged = |name: &str, age| Edit::Service(Service { age: Age(age), ..service(name) });
    let edits = [Edit::Pool(pool("p", &["10.0.0.1/32"])), aged("a", 0), aged("b", 2), aged("c", 1)];
    let all = allocator.apply(edits, Duration::ZERO);
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), ["10.0.0.1 from p", "PoolExhausted", "PoolExhausted"]);
    let freed = allocator.apply([Edit::ServiceGone(name("a"))], Duration::ZERO);
    assert_eq!((freed.len(), &freed[0].service), (1, &name("c")));
}

#[test]
fn each_address_that_comes_free_goes_to_one_that_waits_and_those_that_cannot_have_it_stop_no_other() {
    let mut allocator = Allocator::new(Options::default());
    let aged = |text: &str, age| Service { age: Age(age), ..service(text) };
    // Older than the others, and it cannot have what comes free: the pool has no second family.
    let needs_two = Service { demand: Demand::dual(FamilyPolicy::RequireDualStack), ..aged("needs-two", 0) };
    let services = [aged("a", 1), aged("b", 2), needs_two, aged("c", 3), aged("d", 4), aged("e", 5)];
    let pool = pool("p", &["10.0.0.1-10.0.0.2", "fd00::1/128"]);
    let takes_v6 = Service { demand: Demand::single(Family::V6), ..holds(aged("v6", 9), "fd00::1") };
    let edits = services.into_iter().chain([takes_v6]).map(Edit::Service);
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
    let dual = |policy| dual("a", policy);
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
            holds(dual(FamilyPolicy::PreferDualStack), "10.0.0.2 fd00::1"),
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
        (dual(FamilyPolicy::RequireDualStack), vec![(warning, "AllocationFailed", "pool p: no IPv6 range")]),
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
