//! Which services share an address.

use super::*;

#[test]
fn two_services_share_an_address_if_keys_and_backends_are_equal_and_no_port_is_in_both() {
    let (tcp, udp) = ((Protocol::Tcp, 53), (Protocol::Udp, 53));
    let given = "192.168.67.240 from office";
    for (second, expected) in [
        (shares(asking("ns/b"), "key", "", udp), given),
        (shares(asking("other/b"), "key", "", udp), given),
        (shares(asking("ns/b"), "key", "", tcp), "SharingRefused"),
        (shares(asking("ns/b"), "other", "", udp), "SharingRefused"),
        (shares(asking("ns/b"), "key", "gold", udp), "SharingRefused"),
        (asking("ns/b"), "AddressInUse"),
    ] {
        let held = holds(shares(service("ns/a"), "key", "", tcp), "192.168.67.240");
        check(&[office()], &[held, second], &[given, expected]);
    }
    check(&[office()], &[local("a", "gold", tcp), local("b", "gold", udp)], &[given, given]);
    check(&[office()], &[local("a", "gold", tcp), local("b", "tin", udp)], &[given, "SharingRefused"]);
    let words = "address 192.168.67.240 is asked for, and service default/a has it: the selectors differ, and \
                 externalTrafficPolicy is Local";
    problem(&[office()], &[local("a", "gold", tcp), local("b", "tin", udp)], words);
    let words = "address 192.168.67.240 is asked for, and service default/a has it: both have port 53/TCP";
    problem(&[office()], &[local("a", "", tcp), local("b", "", tcp)], words);
}

fn asking(name: &str) -> Service {
    asks(service(name), "192.168.67.240")
}

fn local(name: &str, backends: &str, port: (Protocol, u16)) -> Service {
    shares(asking(name), "key", backends, port)
}

fn sharer(name: &str, port: u16) -> Service {
    shares(service(name), "key", "", (Protocol::Tcp, port))
}

#[test]
fn sharing_can_be_kept_inside_a_namespace() {
    let mut options = Options::default();
    options.sharing = Sharing::Namespace;
    let services = [sharer("gold/a", 1), sharer("gold/b", 2), sharer("tin/c", 3)];
    let expected = ["192.168.67.240 from office", "192.168.67.240 from office", "192.168.67.241 from office"];
    check_with(options, &[office()], &services, &expected);
    check(&[office()], &services, &[expected[0]; 3]);
}

#[test]
fn a_sharing_service_gets_the_first_address_that_it_can_share() {
    let services = [sharer("a", 80), sharer("b", 80), sharer("c", 443), sharer("d", 443), sharer("e", 443)];
    let expected = ["240", "241", "240", "241", "242"].map(|last| format!("192.168.67.{last} from office"));
    check(&[office()], &services, &expected.each_ref().map(String::as_str));
}

#[test]
fn a_port_that_comes_free_on_a_shared_address_can_be_had_again() {
    let mut allocator = Allocator::new(Options::default());
    let edits = [sharer("a", 80), sharer("b", 80), sharer("c", 443)].map(Edit::Service);
    allocator.apply([Edit::Pool(office())].into_iter().chain(edits), Duration::ZERO);
    allocator.apply([Edit::ServiceGone(name("a"))], Duration::ZERO);
    let given = allocator.apply([Edit::Service(sharer("d", 80))], Duration::ZERO);
    assert_eq!(told(&given[0]), "192.168.67.240 from office");
}

#[test]
fn an_address_is_free_when_its_last_user_has_gone() {
    let mut allocator = Allocator::new(Options::default());
    let single = pool("p", &["10.0.0.1/32"]);
    let waits = aged(service("waits"), 1);
    let edits = [sharer("a", 1), sharer("b", 2), waits].map(Edit::Service);
    allocator.apply([Edit::Pool(single)].into_iter().chain(edits), Duration::ZERO);
    assert_eq!(allocator.apply([Edit::ServiceGone(name("a"))], Duration::ZERO), []);
    let freed = allocator.apply([Edit::ServiceGone(name("b"))], Duration::ZERO);
    assert_eq!((freed[0].service.clone(), told(&freed[0])), (name("waits"), "10.0.0.1 from p".to_owned()));
}

#[test]
fn the_older_of_two_that_share_no_more_keeps_the_address() {
    let expected = ["192.168.67.240 from office", "192.168.67.241 from office"];
    let older = holder("a", "key", 80);
    for younger in [holder("b", "key", 80), holder("b", "other", 443), holds(service("b"), "192.168.67.240")] {
        check(&[office()], &[older.clone(), younger], &expected);
    }
    // It is the older one that changes, and the younger that moves.
    let mut allocator = Allocator::new(Options::default());
    let edits = [older, holder("b", "key", 443)].map(Edit::Service);
    allocator.apply([Edit::Pool(office())].into_iter().chain(edits), Duration::ZERO);
    let decisions = allocator.apply([Edit::Service(holder("a", "key", 443))], Duration::ZERO);
    assert_eq!((decisions.len(), told(&decisions[0]).as_str()), (1, expected[1]));
    let words = "address 192.168.67.240: the older service default/a has it, both have port 443/TCP";
    assert_eq!(decisions[0].lost[0].to_string(), words);
}

fn holder(name: &str, key: &str, port: u16) -> Service {
    holds(shares(service(name), key, "", (Protocol::Tcp, port)), "192.168.67.240")
}

#[test]
fn a_service_alone_on_its_address_changes_its_key_in_place() {
    let mut allocator = Allocator::new(Options::default());
    let [before, after] = ["one", "two"].map(|key| shares(service("a"), key, "", (Protocol::Tcp, 80)));
    let before = holds(before, "192.168.67.244");
    allocator.apply([Edit::Pool(office()), Edit::Service(before)], Duration::ZERO);
    assert_eq!(allocator.apply([Edit::Service(holds(after, "192.168.67.244"))], Duration::ZERO), []);
    let joins = asks(shares(service("b"), "two", "", (Protocol::Tcp, 443)), "192.168.67.244");
    let decisions = allocator.apply([Edit::Service(joins)], Duration::ZERO);
    assert_eq!(told(&decisions[0]), "192.168.67.244 from office");
}
