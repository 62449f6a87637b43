//! What IPVS needs of the node, against a real kernel. What needs IPVS itself is in `tests/host.rs`.
//!
//! Each test runs on a thread of its own in a fresh network namespace, which goes away with the thread.

use std::fs;
use std::process::Command;
use std::time::Duration;

use backend_api::{Family, SyncError};
use futures_util::TryStreamExt;
use netlink::Namespace;
use netlink::nftables::{Batch, Nftables, Table};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion, LinkUnspec};

use super::originals::{self, OriginalsTable};
use super::routing::Routing;
use super::rules::{LOOPBACK, PROTOCOL, Place, TABLE, route};
use super::settings::Values;
use super::sysctls::{Sysctls, Unwritten};

/// Runs a test in a network namespace of its own.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F + Send + 'static) {
    if testbed::privilege::skip() {
        return;
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            test(Node { handle }).await;
        });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The namespace, as another program sees it.
struct Node {
    handle: Handle,
}

/// Every rule, and every route of every table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    rules: Vec<RuleMessage>,
    routes: Vec<RouteMessage>,
}

impl Node {
    async fn rules(&self, version: IpVersion) -> Vec<RuleMessage> {
        self.handle.rule().get(version).execute().try_collect().await.unwrap()
    }

    async fn seen(&self) -> Seen {
        let mut rules = self.rules(IpVersion::V4).await;
        rules.extend(self.rules(IpVersion::V6).await);
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut all = RouteMessage::default();
            all.header.address_family = family;
            let mut found: Vec<_> = self.handle.route().get(all).execute().try_collect().await.unwrap();
            // Ages.
            for route in &mut found {
                route.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::CacheInfo(_)));
            }
            routes.extend(found);
        }
        Seen { rules, routes }
    }

    async fn add(&self, rule: RuleMessage) {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule;
        request.execute().await.unwrap();
    }

    async fn set_loopback(&self, is_up: bool) {
        let lo = LinkUnspec::new_with_index(LOOPBACK);
        let lo = if is_up { lo.up() } else { lo.down() };
        self.handle.link().set(lo.build()).execute().await.unwrap();
    }
}

/// How many writes it takes from nothing: lo, and in each family a route and three rules.
const WRITES: usize = 1 + 2 * 4;

/// A test that waits longer waits in vain.
const DEADLINE: Duration = Duration::from_secs(10);

#[test]
fn rules_and_routes_come_once_and_go_without_a_trace() {
    in_namespace(async |node| {
        node.set_loopback(true).await;
        let before = node.seen().await;
        let mut routing = Routing::open(&Namespace::Current).unwrap();
        assert_eq!(routing.establish().await.unwrap(), WRITES - 1);
        assert_eq!(routing.establish().await.unwrap(), 0);
        let mut restarted = Routing::open(&Namespace::Current).unwrap();
        assert_eq!(restarted.establish().await.unwrap(), 0);
        assert_ne!(node.seen().await, before);
        assert_eq!(restarted.remove().await.unwrap(), WRITES - 1);
        assert_eq!(node.seen().await, before);
        assert_eq!(restarted.remove().await.unwrap(), 0);
    });
}

/// Against another reader than our own, so that a mistake made both in writing and in reading is seen.
#[test]
fn the_kernel_lists_the_rules_that_are_documented() {
    in_namespace(async |_| {
        Routing::open(&Namespace::Current).unwrap().establish().await.unwrap();
        for family in ["-4", "-6"] {
            let ours: Vec<_> = listed(family, "rule").into_iter().filter(|rule| rule.starts_with("10")).collect();
            let expected = [
                "100: from all iif lo goto 103 proto 83",
                "101: from all fwmark 0x53000000/0xff000000 lookup 21337 proto 83",
                "103: from all nop proto 83",
            ];
            assert_eq!(ours, expected, "{family}");
            let routes = listed(family, "route show table 21337");
            let expected = match family {
                "-4" => "local default dev lo proto 83 scope host",
                _ => "local default dev lo proto 83 metric 1024 pref medium",
            };
            assert_eq!(routes, [expected]);
        }
    });
}

/// What `ip` lists, with single spaces.
fn listed(family: &str, arguments: &str) -> Vec<String> {
    let lines = ip(&format!("{family} {arguments}"));
    lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The rules' meaning: what the kernel decides for a packet with the mark, and one without.
#[test]
fn marked_packets_are_delivered_but_not_the_nodes_own() {
    in_namespace(async |_| {
        Routing::open(&Namespace::Current).unwrap().establish().await.unwrap();
        ip("link add other type veth peer name peer");
        ip("link set peer up");
        ip("link set other up");
        ip("address add 10.9.0.1/24 dev other");
        ip("route add default via 10.9.0.2");
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let stranger = "route get 198.51.100.7 from 10.9.0.5 iif other";
        assert!(ip(&format!("{stranger} mark 0x53000001")).starts_with("local 198.51.100.7"), "not delivered");
        assert!(ip(&format!("{stranger} mark 0x53800000")).starts_with("local 198.51.100.7"), "not delivered");
        assert!(ip(&format!("{stranger} mark 0x54000001")).contains("via 10.9.0.2"), "delivered without our mark");
        assert!(ip(stranger).contains("via 10.9.0.2"), "delivered without a mark");
        let own = ip("route get 198.51.100.7 mark 0x53000001");
        assert!(own.contains("via 10.9.0.2"), "the node's own was delivered");
    });
}

#[test]
fn leftovers_of_ours_in_another_form_are_replaced() {
    in_namespace(async |node| {
        let mut routing = Routing::open(&Namespace::Current).unwrap();
        routing.establish().await.unwrap();
        let right = node.seen().await;
        routing.remove().await.unwrap();
        for family in Family::ALL {
            // A goto to somewhere else, the right one behind it, a wider mask, a route that is narrower.
            let mut goto = Place::Own.rule(family);
            goto.attributes.retain(|attribute| !matches!(attribute, RuleAttribute::Goto(_)));
            goto.attributes.push(RuleAttribute::Goto(104));
            node.add(goto).await;
            let mut marked = Place::Marked.rule(family);
            marked.attributes.retain(|attribute| !matches!(attribute, RuleAttribute::FwMask(_)));
            marked.attributes.push(RuleAttribute::FwMask(0xf000_0000));
            node.add(marked).await;
            node.add(Place::Marked.rule(family)).await;
            let mut narrow = route(family);
            narrow.header.destination_prefix_length = 8;
            let ten = match family {
                Family::V4 => std::net::Ipv4Addr::new(10, 0, 0, 0).into(),
                Family::V6 => "fd00::".parse::<std::net::Ipv6Addr>().unwrap().into(),
            };
            narrow.attributes.push(RouteAttribute::Destination(ten));
            node.handle.route().add(narrow).execute().await.unwrap();
        }
        let mut restarted = Routing::open(&Namespace::Current).unwrap();
        assert!(restarted.establish().await.unwrap() > 0);
        assert_eq!(node.seen().await, right);
    });
}

#[test]
fn what_others_put_in_the_same_places_stays() {
    in_namespace(async |node| {
        node.set_loopback(true).await;
        for place in Place::ALL {
            // Something else, and the very same but for whose it is.
            let mut others = RuleMessage::default();
            others.header.family = AddressFamily::Inet;
            others.header.action = RuleAction::ToTable;
            others.attributes = vec![RuleAttribute::Priority(place.priority()), RuleAttribute::Table(TABLE)];
            let mut same = place.rule(Family::V4);
            same.attributes.retain(|attribute| !matches!(attribute, RuleAttribute::Protocol(_)));
            for mut rule in [others, same] {
                rule.attributes.push(RuleAttribute::Protocol(RouteProtocol::Static));
                node.add(rule).await;
            }
        }
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.destination_prefix_length = 8;
        route.header.protocol = RouteProtocol::Static;
        route.header.scope = RouteScope::Host;
        route.header.kind = RouteType::Local;
        route.attributes = vec![
            RouteAttribute::Table(TABLE),
            RouteAttribute::Oif(LOOPBACK),
            RouteAttribute::Destination(std::net::Ipv4Addr::new(11, 0, 0, 0).into()),
        ];
        node.handle.route().add(route).execute().await.unwrap();
        let before = node.seen().await;
        let mut routing = Routing::open(&Namespace::Current).unwrap();
        assert_eq!(routing.establish().await.unwrap(), WRITES - 1);
        let after = node.seen().await;
        let mut theirs = after.rules;
        theirs.retain(|rule| !rule.attributes.contains(&RuleAttribute::Protocol(PROTOCOL)));
        assert_eq!(theirs, before.rules);
        routing.remove().await.unwrap();
        assert_eq!(node.seen().await, before);
    });
}

#[test]
fn without_ipv6_there_is_ipv4() {
    in_namespace(async |node| {
        fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1").unwrap();
        let before = node.rules(IpVersion::V6).await;
        let mut routing = Routing::open(&Namespace::Current).unwrap();
        assert_eq!(routing.establish().await.unwrap(), 1 + 4);
        assert_eq!(node.rules(IpVersion::V6).await, before);
        // IPv4's route stays when lo goes down, and no notification speaks of it.
        node.set_loopback(false).await;
        noticed(&mut routing, "lo down").await;
        assert_eq!(routing.establish().await.unwrap(), 1);
        fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0").unwrap();
        assert_eq!(routing.establish().await.unwrap(), 4);
        // Its rules stay when it is switched off, and go with the others all the same.
        fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1").unwrap();
        routing.remove().await.unwrap();
        assert_eq!(node.rules(IpVersion::V6).await, before);
    });
}

async fn noticed(routing: &mut Routing, what: &str) {
    match tokio::time::timeout(DEADLINE, routing.changed()).await {
        Ok(outcome) => outcome.unwrap(),
        Err(_) => panic!("{what}: not noticed"),
    }
}

#[test]
fn whatever_is_taken_away_is_noticed_and_comes_back() {
    in_namespace(async |node| {
        let mut routing = Routing::open(&Namespace::Current).unwrap();
        routing.establish().await.unwrap();
        let right = node.seen().await;
        for family in Family::ALL {
            for place in Place::ALL {
                node.handle.rule().del(place.any(family)).execute().await.unwrap();
                noticed(&mut routing, &format!("{family:?} {place:?}")).await;
                assert_eq!(routing.establish().await.unwrap(), 1);
                assert_eq!(node.seen().await, right);
            }
            node.handle.route().del(route(family)).execute().await.unwrap();
            noticed(&mut routing, &format!("{family:?} route")).await;
            assert_eq!(routing.establish().await.unwrap(), 1);
            assert_eq!(node.seen().await, right);
        }
        // Up again before we look: the routes over it are gone all the same.
        node.set_loopback(false).await;
        node.set_loopback(true).await;
        noticed(&mut routing, "lo down and up").await;
        assert!(routing.establish().await.unwrap() > 0);
        assert_eq!(node.seen().await.routes, right.routes);
        node.set_loopback(false).await;
        noticed(&mut routing, "lo down").await;
        assert!(routing.establish().await.unwrap() > 1);
        assert_eq!(node.seen().await.routes, right.routes);
    });
}

#[test]
fn what_others_do_elsewhere_is_not_noticed() {
    in_namespace(async |node| {
        let mut routing = Routing::open(&Namespace::Current).unwrap();
        routing.establish().await.unwrap();
        let mut others = RuleMessage::default();
        others.header.family = AddressFamily::Inet;
        others.header.action = RuleAction::ToTable;
        others.attributes = vec![RuleAttribute::Priority(100), RuleAttribute::Table(77)];
        node.add(others.clone()).await;
        node.handle.rule().del(others).execute().await.unwrap();
        // Ours once more, by another program: it is there again when we look.
        node.handle.rule().del(Place::Marked.any(Family::V4)).execute().await.unwrap();
        node.add(Place::Marked.rule(Family::V4)).await;
        // The kernel has told of it all by now: notifications are queued within each request.
        let noticed = tokio::time::timeout(Duration::from_millis(200), routing.changed()).await;
        assert!(noticed.is_err(), "noticed though nothing is missing");
        // What we take away ourselves is not missed.
        routing.remove().await.unwrap();
        let noticed = tokio::time::timeout(Duration::from_millis(200), routing.changed()).await;
        assert!(noticed.is_err(), "noticed what was removed by ourselves");
    });
}

#[test]
fn a_cancelled_watch_misses_nothing() {
    in_namespace(async |node| {
        let mut routing = Routing::open(&Namespace::Current).unwrap();
        routing.establish().await.unwrap();
        node.handle.rule().del(Place::Marked.any(Family::V4)).execute().await.unwrap();
        // One poll has no time to look: the suspicion must outlive it.
        for _ in 0..10 {
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(std::pin::pin!(routing.changed()).poll(context).is_pending())
            });
            assert!(polled.await, "one poll was enough, nothing was cancelled");
            tokio::task::yield_now().await;
        }
        noticed(&mut routing, "a rule that was removed").await;
    });
}

async fn read(table: &mut OriginalsTable) -> Values {
    table.read().await.unwrap()
}

#[test]
fn originals_outlive_the_process() {
    in_namespace(async |_| {
        let first: Values = [("ip_forward", 0), ("timeout/tcp", 900)].into();
        let mut table = OriginalsTable::open(&Namespace::Current).unwrap();
        assert_eq!(read(&mut table).await, Values::new());
        assert_eq!(table.write(&Values::new()).await.unwrap(), 0, "a table for nothing");
        assert_eq!(table.write(&first).await.unwrap(), 1);
        assert_eq!(table.write(&first).await.unwrap(), 0);
        let mut restarted = OriginalsTable::open(&Namespace::Current).unwrap();
        assert_eq!(read(&mut restarted).await, first);
        assert_eq!(restarted.write(&first).await.unwrap(), 0);
        let more: Values = [("ip_forward", 0), ("timeout/tcp", 900), ("vs/conntrack", 0)].into();
        assert_eq!(restarted.write(&more).await.unwrap(), 1);
        let listing = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
        let expected = "table ip switchyard-originals {\n\t\
            comment \"switchyard originals: ip_forward=0 timeout/tcp=900 vs/conntrack=0\"\n}\n";
        assert_eq!(String::from_utf8(listing.stdout).unwrap(), expected);
        assert_eq!(restarted.write(&Values::new()).await.unwrap(), 1);
        let listing = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
        assert_eq!(String::from_utf8(listing.stdout).unwrap(), "");
    });
}

#[test]
fn originals_come_back_after_a_flush_while_we_live() {
    in_namespace(async |_| {
        let originals: Values = [("ip_forward", 0)].into();
        let mut table = OriginalsTable::open(&Namespace::Current).unwrap();
        read(&mut table).await;
        table.write(&originals).await.unwrap();
        assert!(Command::new("nft").args(["flush", "ruleset"]).status().unwrap().success());
        assert_eq!(read(&mut table).await, originals);
        assert_eq!(table.write(&originals).await.unwrap(), 1);
        assert_eq!(read(&mut OriginalsTable::open(&Namespace::Current).unwrap()).await, originals);
    });
}

#[test]
fn a_table_of_another_program_is_left_alone() {
    in_namespace(async |_| {
        let mut nftables = Nftables::open(originals::TABLE).unwrap();
        let mut batch = Batch::new(originals::TABLE);
        batch.put_table(0, &Table::new(netlink::nftables::Family::Ipv4));
        nftables.commit(&mut batch).await.unwrap();
        let mut table = OriginalsTable::open(&Namespace::Current).unwrap();
        let refused = table.read().await.unwrap_err();
        assert!(matches!(&refused, SyncError::Refused { object, .. } if object == "table ip switchyard-originals"));
    });
}

#[test]
fn sysctls_are_those_of_the_namespace_that_they_were_opened_in() {
    in_namespace(async |_| {
        assert_eq!(arp_ignore(), "0");
        let sysctls = Sysctls::open(&Namespace::Current).unwrap();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            assert_eq!(sysctls.write(&[("conf/all/arp_ignore", 1)].into()), []);
            assert_eq!(sysctls.all()["conf/all/arp_ignore"], 1);
            assert_eq!(Sysctls::open(&Namespace::Current).unwrap().all()["conf/all/arp_ignore"], 0);
        })
        .join()
        .unwrap();
        assert_eq!(arp_ignore(), "1");
    });
}

#[test]
fn another_namespace_than_the_threads_can_be_named() {
    in_namespace(async |node| {
        let before = node.seen().await;
        let another = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Namespace::current().unwrap()
        });
        let another = another.join().unwrap();
        let mut routing = Routing::open(&another).unwrap();
        let sysctls = Sysctls::open(&another).unwrap();
        let mut originals = OriginalsTable::open(&another).unwrap();
        assert_eq!(routing.establish().await.unwrap(), WRITES);
        assert_eq!(sysctls.write(&[("conf/all/arp_ignore", 1)].into()), []);
        read(&mut originals).await;
        assert_eq!(originals.write(&[("conf/all/arp_ignore", 0)].into()).await.unwrap(), 1);
        assert_eq!((node.seen().await, arp_ignore()), (before, "0".to_owned()), "it is not this thread's");
        assert_eq!(read(&mut OriginalsTable::open(&Namespace::Current).unwrap()).await, Values::new());
        another.run(|| assert_eq!(arp_ignore(), "1")).unwrap();
        assert!(another.run(|| ip("rule")).unwrap().contains("fwmark 0x53000000/0xff000000 lookup 21337"));
        another.run(|| ip("rule delete priority 100")).unwrap();
        noticed(&mut routing, "a rule that was removed there").await;
    });
}

fn arp_ignore() -> String {
    fs::read_to_string("/proc/sys/net/ipv4/conf/all/arp_ignore").unwrap().trim().to_owned()
}

#[test]
fn a_sysctl_that_cannot_be_written_is_named_and_the_others_are_set() {
    in_namespace(async |_| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        make_read_only("/proc/sys/net/ipv4/conf");
        let sysctls = Sysctls::open(&Namespace::Current).unwrap();
        let unwritten = sysctls.write(&[("conf/all/arp_ignore", 1), ("ip_forward", 1)].into());
        let expected = Unwritten {
            name: "conf/all/arp_ignore",
            sysctl: "net.ipv4.conf.all.arp_ignore".to_owned(),
            value: 1,
            reason: "Read-only file system (os error 30)".to_owned(),
        };
        assert_eq!(unwritten, [expected]);
        let all = sysctls.all();
        assert_eq!((all["conf/all/arp_ignore"], all["ip_forward"]), (0, 1));
    });
}

/// For this thread alone.
fn make_read_only(folder: &str) {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some(folder), folder, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, folder, none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none).unwrap();
}
