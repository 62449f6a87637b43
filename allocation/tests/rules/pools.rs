//! Which pool serves a service, and what happens when pools change.

use super::*;

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
    let manual = [Pool { assign: Assign::OnRequest, ..pool("manual", &["10.0.0.1-10.0.0.9"]) }];
    check(&manual, &[service("a")], &["PoolForbids"]);
    problem(&manual, &[service("a")], "pool manual: only for services that ask for it (autoAssign)");
    check(&manual, &[asks_pool(service("a"), "manual")], &["10.0.0.1 from manual"]);
    check(&manual, &[asks(service("a"), "10.0.0.7")], &["10.0.0.7 from manual"]);
    check(&manual, &[holds(service("a"), "10.0.0.7")], &["10.0.0.7 from manual"]);
}

#[test]
fn an_address_that_ends_with_0_or_255_is_not_given_where_it_is_avoided() {
    let careful = [Pool { avoid: Avoid::Buggy, ..pool("p", &["10.0.0.254-10.0.1.1"]) }];
    let given = ["10.0.0.254 from p", "10.0.1.1 from p", "PoolExhausted"];
    check(&careful, &["a", "b", "c"].map(service), &given);
    check(&careful, &[asks(service("a"), "10.0.1.0")], &["PoolForbids"]);
    problem(&careful, &[asks(service("a"), "10.0.1.0")], "pool p: never gives 10.0.1.0 (avoidBuggyIPs)");
    check(&careful, &[holds(service("a"), "10.0.0.255")], &["10.0.0.254 from p"]);
    check(&[pool("p", &["10.0.0.0/24"])], &[service("a")], &["10.0.0.0 from p"]);
}

#[test]
fn the_first_address_of_an_ipv6_block_is_given_only_if_it_is_asked_for() {
    let [a, b] = ["a", "b"].map(|text| Service { demand: Demand::single(Family::V6), ..service(text) });
    check(&[pool("p", &["fd00::/112"])], &[a.clone(), b], &["fd00::1 from p", "fd00::2 from p"]);
    check(&[pool("p", &["fd00::/112"])], &[asks(a.clone(), "fd00::")], &["fd00:: from p"]);
    check(&[pool("p", &["fd00::/127"])], &[a], &["fd00:: from p"]);
}

#[test]
fn pools_for_chosen_services_come_first_by_priority_and_then_by_name() {
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

fn pinned(name: &str, priority: u32, ranges: &[&str]) -> Pool {
    let service_allocation = Some(ServiceAllocation { priority, ..ServiceAllocation::default() });
    Pool { service_allocation, ..pool(name, ranges) }
}

#[test]
fn a_pool_is_for_the_namespaces_and_labels_that_it_names() {
    let any = ServiceAllocation::default();
    let by_name = ServiceAllocation { namespaces: vec!["gold".to_owned()], ..any.clone() };
    let by_label = ServiceAllocation { namespace_selectors: selects("tin"), ..any.clone() };
    let either = ServiceAllocation { namespace_selectors: selects("tin"), ..by_name.clone() };
    let labelled = ServiceAllocation { service_selectors: selects("web"), ..any.clone() };
    let and = ServiceAllocation { service_selectors: selects("web"), ..by_name.clone() };
    let (given, refused) = ("192.168.67.240 from office", "PoolForbids");
    for (allocation, service, expected) in [
        (&any, service("tin/a"), given),
        (&by_name, service("gold/a"), given),
        (&by_name, service("tin/a"), refused),
        (&by_label, service("tin/a"), given),
        (&by_label, service("gold/a"), refused),
        (&by_label, service("unknown/a"), refused),
        (&either, service("gold/a"), given),
        (&either, service("tin/a"), given),
        (&either, service("other/a"), refused),
        (&labelled, web("any/a"), given),
        (&labelled, service("any/a"), refused),
        (&and, web("gold/a"), given),
        (&and, web("tin/a"), refused),
        (&and, service("gold/a"), refused),
        // Neither a request nor what it holds gets round it.
        (&by_name, asks(service("tin/a"), "192.168.67.244"), refused),
        (&by_name, asks_pool(service("tin/a"), "office"), refused),
        (&by_name, holds(service("tin/a"), "192.168.67.244"), refused),
    ] {
        check(&[office_for(allocation)], &[service], &[expected]);
    }
    problem(&[office_for(&by_name)], &[service("tin/a")], "pool office: not for the service's namespace");
    problem(&[office_for(&labelled)], &[service("a")], "pool office: not for the service's labels");
}

fn office_for(allocation: &ServiceAllocation) -> Pool {
    Pool { service_allocation: Some(allocation.clone()), ..office() }
}

fn web(text: &str) -> Service {
    Service { labels: tier("web"), ..service(text) }
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
    let mut allocator = deleted_until(late);
    let waits = allocator.apply([Edit::Service(service("b"))], second);
    assert_eq!(told(&waits[0]), "NoPool", "a pool that is gone gives nothing");
    let decisions = allocator.apply([Edit::Pool(office())], second);
    assert_eq!(decisions.iter().map(told).collect::<Vec<_>>(), ["192.168.67.240 from office"], "a has no news");
    assert_eq!(allocator.apply([], late), []);

    let mut allocator = deleted_until(late);
    let decisions = allocator.apply([], late);
    assert_eq!((told(&decisions[0]).as_str(), allocator.next_deadline()), ("NoPool", None));

    // Another pool that has the address decides at once.
    let mut allocator = deleted_until(late);
    let renamed = Pool { name: "renamed".into(), ..office() };
    let decisions = allocator.apply([Edit::Pool(renamed)], second);
    assert_eq!(told(&decisions[0]), "192.168.67.244 from renamed");

    let mut without = Options::default();
    without.grace = Duration::ZERO;
    let mut allocator = Allocator::new(without);
    allocator.apply([Edit::Pool(office()), Edit::Service(service("a"))], Duration::ZERO);
    assert_eq!(told(&allocator.apply([Edit::PoolGone("office".into())], Duration::ZERO)[0]), "NoPool");
}

/// A service holds an address of a pool that is deleted, which counts from the deadline on.
fn deleted_until(deadline: Duration) -> Allocator {
    let mut allocator = Allocator::new(Options::default());
    let edits = [Edit::Pool(office()), Edit::Service(holds(service("a"), "192.168.67.244"))];
    allocator.apply(edits, Duration::ZERO);
    assert_eq!(allocator.apply([Edit::PoolGone("office".into())], Duration::ZERO), []);
    assert_eq!(allocator.next_deadline(), Some(deadline));
    allocator
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
