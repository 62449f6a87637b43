//! The codec against a real kernel. Where the kernel has no IPVS each test is reported as ignored; the machine of
//! `cargo run -p switchyard-conformance --bin vm -- --tests netlink::ipvs` has it.
//!
//! Each test runs on a thread of its own in a fresh network namespace, which goes away with the thread.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use switchyard_netlink::Family;
use switchyard_netlink::ipvs::*;

fn main() {
    let may_isolate = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok()).join().is_ok_and(|may| may);
    let root_required = std::env::var("SWITCHYARD_REQUIRE_ROOT").is_ok_and(|value| value == "1");
    assert!(may_isolate || !root_required, "cannot create a network namespace");
    let is_possible = may_isolate && runtime().block_on(Ipvs::open()).is_ok();
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
        .with_ignored_flag(!is_possible)
    };
    let trials = vec![
        trial("every_kind_of_virtual_server_comes_back_equal", every_kind_of_virtual_server_comes_back_equal),
        trial("every_kind_of_real_server_comes_back_equal", every_kind_of_real_server_comes_back_equal),
        trial("the_kernel_lists_what_was_written", the_kernel_lists_what_was_written),
        trial("each_refusal_names_its_operation", each_refusal_names_its_operation),
        trial("an_unknown_scheduler_is_refused_by_name", an_unknown_scheduler_is_refused_by_name),
        trial("thousands_of_operations_fit", thousands_of_operations_fit),
        trial("a_dump_is_whole_whatever_other_namespaces_do", a_dump_is_whole_whatever_other_namespaces_do),
        trial("one_virtual_server_can_be_asked_for", one_virtual_server_can_be_asked_for),
        trial("an_edit_changes_everything_but_the_key", an_edit_changes_everything_but_the_key),
        trial("timeouts_are_kept", timeouts_are_kept),
        trial("a_flush_leaves_nothing", a_flush_leaves_nothing),
        trial("the_version_is_known", the_version_is_known),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Runs a test in a network namespace of its own.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce(Ipvs) -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        runtime().block_on(async {
            raise_loopback().await;
            test(Ipvs::open().await.unwrap()).await;
        });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// IPVS refuses every real server of IPv4 (`EINVAL`) in a namespace that never had an address.
async fn raise_loopback() {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    let connection = tokio::spawn(connection);
    handle.link().set(rtnetlink::LinkUnspec::new_with_name("lo").up().build()).execute().await.unwrap();
    connection.abort();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Does operations that the kernel accepts.
async fn done(ipvs: &mut Ipvs, operations: &[Operation]) {
    if let Some(refusal) = ipvs.execute(operations).await.unwrap().first() {
        panic!("operation {}: {refusal}", refusal.operation);
    }
}

fn sorted<T: Ord + Debug>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort();
    values
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(protocol: u16, ip: &str, port: u16) -> VirtualKey {
    VirtualKey::Address { protocol, address: address(ip), port }
}

fn server(key: VirtualKey) -> VirtualServer {
    VirtualServer { key, scheduler: "rr".to_owned(), flags: Flags::NONE, persistence: None, engine: None }
}

fn real(ip: &str, port: u16) -> RealServer {
    RealServer {
        address: SocketAddr::new(address(ip), port),
        forwarding: Forwarding::Masquerade,
        weight: 1,
        thresholds: Thresholds::default(),
    }
}

fn every_kind_of_virtual_server_comes_back_equal() {
    let persistent = |timeout, clients| Some(Persistence { timeout, clients });
    let wanted = vec![
        server(at(6, "10.96.0.1", 80)),
        server(at(17, "10.96.0.1", 80)),
        server(at(132, "10.96.0.1", 80)),
        server(at(6, "fd00::a", 65535)),
        server(at(132, "fd00::a", 1)),
        server(VirtualKey::Mark { family: Family::Ipv4, mark: 7 }),
        server(VirtualKey::Mark { family: Family::Ipv6, mark: 7 }),
        server(VirtualKey::Mark { family: Family::Ipv4, mark: u32::MAX }),
        VirtualServer { flags: Flags::ONE_PACKET, ..server(at(17, "10.96.0.2", 53)) },
        VirtualServer {
            scheduler: "mh".to_owned(),
            flags: Flags::HASH_PORT.with(Flags::HASH_FALLBACK),
            ..server(at(6, "10.96.0.3", 80))
        },
        VirtualServer { scheduler: "sh".to_owned(), flags: Flags::SCHEDULER_3, ..server(at(6, "10.96.0.4", 80)) },
        VirtualServer {
            persistence: persistent(10800, ClientMask::V4(Ipv4Addr::BROADCAST)),
            ..server(at(6, "10.96.0.5", 80))
        },
        VirtualServer {
            persistence: persistent(1, ClientMask::V4(Ipv4Addr::new(255, 255, 240, 0))),
            ..server(VirtualKey::Mark { family: Family::Ipv4, mark: 8 })
        },
        VirtualServer { persistence: persistent(86400, ClientMask::V6(64)), ..server(at(6, "fd00::b", 80)) },
    ];
    in_namespace(async move |mut ipvs| {
        let add: Vec<_> = wanted.iter().cloned().map(Operation::AddVirtual).collect();
        done(&mut ipvs, &add).await;
        let found = ipvs.virtual_servers().await.unwrap().into_iter().map(|entry| entry.server);
        assert_eq!(sorted(found), sorted(wanted.clone()));
    });
}

fn every_kind_of_real_server_comes_back_equal() {
    let wanted = vec![
        real("10.244.0.4", 8080),
        real("10.244.0.4", 8081),
        RealServer { weight: 0, ..real("10.244.0.5", 8080) },
        RealServer { weight: i32::MAX as u32, ..real("10.244.0.6", 8080) },
        RealServer { thresholds: Thresholds { upper: 10, lower: 5 }, ..real("10.244.0.7", 8080) },
        RealServer { forwarding: Forwarding::Direct, ..real("10.244.0.8", 80) },
    ];
    let wanted_v6 = vec![real("fd01::4", 8080), RealServer { weight: 9, ..real("fd01::5", 8080) }];
    in_namespace(async move |mut ipvs| {
        let keys = [at(6, "10.96.0.1", 80), VirtualKey::Mark { family: Family::Ipv4, mark: 9 }];
        for key in keys {
            done(&mut ipvs, &[Operation::AddVirtual(server(key))]).await;
            let add: Vec<_> = wanted.iter().map(|server| Operation::AddReal(key, *server)).collect();
            done(&mut ipvs, &add).await;
        }
        let v6 = at(132, "fd00::a", 80);
        done(&mut ipvs, &[Operation::AddVirtual(server(v6))]).await;
        let add: Vec<_> = wanted_v6.iter().map(|server| Operation::AddReal(v6, *server)).collect();
        done(&mut ipvs, &add).await;
        for (key, wanted) in [(keys[0], &wanted), (keys[1], &wanted), (v6, &wanted_v6)] {
            let found = ipvs.real_servers(&key).await.unwrap();
            assert_eq!(sorted(found.iter().map(|entry| entry.server)), sorted(wanted.clone()));
            assert!(found.iter().all(|entry| entry.connections == Connections::default()));
            assert!(found.iter().all(|entry| entry.statistics == Statistics::default()));
        }
        assert_eq!(ipvs.real_servers(&at(6, "10.96.0.99", 80)).await.unwrap(), []);
    });
}

/// Against the kernel's own listing, so that a mistake made both in writing and in reading is seen.
fn the_kernel_lists_what_was_written() {
    in_namespace(async |mut ipvs| {
        let web = VirtualServer { scheduler: "wrr".to_owned(), ..server(at(6, "10.96.0.1", 80)) };
        let dns = VirtualServer { flags: Flags::ONE_PACKET, ..server(at(17, "10.96.0.2", 53)) };
        let six = server(at(132, "fd00::a", 53));
        let marked = server(VirtualKey::Mark { family: Family::Ipv4, mark: 0x5350_0001 });
        let heavy = RealServer { weight: 7, ..real("10.244.0.4", 8080) };
        let direct = RealServer { forwarding: Forwarding::Direct, ..real("fd01::4", 53) };
        for (server, real) in [(&web, heavy), (&dns, heavy), (&six, direct), (&marked, heavy)] {
            done(&mut ipvs, &[Operation::AddVirtual(server.clone()), Operation::AddReal(server.key, real)]).await;
        }
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let listing = || std::fs::read_to_string("/proc/thread-self/net/ip_vs").unwrap();
        let listed = || sorted(listing().lines().skip(3).map(words));
        let expected = [
            "-> 0AF40004:1F90 Masq 7 0 0",
            "-> 0AF40004:1F90 Masq 7 0 0",
            "-> 0AF40004:1F90 Masq 7 0 0",
            "-> [fd01:0000:0000:0000:0000:0000:0000:0004]:0035 Route 1 0 0",
            "FWM 53500001 rr",
            "SCTP [fd00:0000:0000:0000:0000:0000:0000:000a]:0035 rr",
            "TCP 0A600001:0050 wrr",
            "UDP 0A600002:0035 rr ops",
        ];
        // Other namespaces' writers disturb this listing as they disturb a dump.
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut found = listed();
        while found != expected && Instant::now() < deadline {
            found = listed();
        }
        assert_eq!(found, expected);
    });
}

fn each_refusal_names_its_operation() {
    in_namespace(async |mut ipvs| {
        let key = at(6, "10.96.0.1", 80);
        let absent = at(17, "fd00::1", 53);
        let refused = ipvs
            .execute(&[
                Operation::AddVirtual(server(key)),
                Operation::AddVirtual(server(key)),
                Operation::AddReal(key, real("10.244.0.4", 8080)),
                Operation::AddReal(key, real("10.244.0.4", 8080)),
                Operation::RemoveReal(key, real("10.244.0.5", 8080).address),
                Operation::EditReal(key, real("10.244.0.6", 8080)),
                Operation::AddReal(absent, real("fd01::4", 53)),
                Operation::RemoveVirtual(absent),
                Operation::AddReal(key, real("10.244.0.7", 8080)),
            ])
            .await
            .unwrap();
        let found: Vec<_> = refused.iter().map(|refusal| (refusal.operation, refusal.errno)).collect();
        let expected = [
            (1, Errno::EEXIST),
            (3, Errno::EEXIST),
            (4, Errno::ENOENT),
            (5, Errno::ENOENT),
            (6, Errno::ESRCH),
            (7, Errno::ESRCH),
        ];
        assert_eq!(found, expected);
        assert_eq!(refused[1].object, "virtual server 10.96.0.1:80/TCP, real server 10.244.0.4:8080");
        assert_eq!(refused[5].to_string(), "virtual server [fd00::1]:53/UDP: kernel refused it: No such process");
        assert_eq!(ipvs.real_servers(&key).await.unwrap().len(), 2);
    });
}

fn an_unknown_scheduler_is_refused_by_name() {
    in_namespace(async |mut ipvs| {
        let unknown = VirtualServer { scheduler: "nosuch".to_owned(), ..server(at(6, "10.96.0.1", 80)) };
        let refused = ipvs.execute(&[Operation::AddVirtual(unknown)]).await.unwrap();
        assert_eq!(refused[0].errno, Errno::ENOENT);
        assert_eq!(refused[0].object, "virtual server 10.96.0.1:80/TCP, scheduler nosuch");
    });
}

fn thousands_of_operations_fit() {
    in_namespace(async |mut ipvs| {
        let keys: Vec<_> =
            (0..2000u16).map(|index| at(6, &format!("10.96.{}.{}", index / 250, index % 250 + 1), 80)).collect();
        let mut operations = Vec::new();
        for key in &keys {
            operations.push(Operation::AddVirtual(server(*key)));
            operations.extend(["10.244.0.1", "10.244.0.2"].map(|ip| Operation::AddReal(*key, real(ip, 80))));
        }
        done(&mut ipvs, &operations).await;
        let found = ipvs.virtual_servers().await.unwrap();
        assert_eq!(sorted(found.iter().map(|entry| entry.server.key)), sorted(keys.clone()));
        for key in &keys {
            assert_eq!(ipvs.real_servers(key).await.unwrap().len(), 2);
        }
        // Everything again: 6000 refusals, each with its own index.
        let refused = ipvs.execute(&operations).await.unwrap();
        assert!(refused.iter().enumerate().all(|(index, refusal)| refusal.operation == index));
        assert_eq!(refused.len(), operations.len());
    });
}

/// The kernel keeps the virtual servers of all namespaces in one table, and a dump goes on by counting: a write
/// in another namespace makes a plain dump skip entries or show them twice.
fn a_dump_is_whole_whatever_other_namespaces_do() {
    let done_reading = Arc::new(AtomicBool::new(false));
    let (stop, stopped) = (Arc::clone(&done_reading), done_reading);
    let other = std::thread::spawn(move || {
        in_namespace(async move |mut ipvs| {
            let keys: Vec<_> = (1..=50).map(|port| at(17, "10.97.0.1", port)).collect();
            let add: Vec<_> = keys.iter().map(|key| Operation::AddVirtual(server(*key))).collect();
            let remove: Vec<_> = keys.iter().map(|key| Operation::RemoveVirtual(*key)).collect();
            while !stopped.load(Ordering::Relaxed) {
                done(&mut ipvs, &add).await;
                done(&mut ipvs, &remove).await;
            }
        });
    });
    in_namespace(async move |mut ipvs| {
        let keys: Vec<_> = (1..=200).map(|port| at(6, "10.96.0.1", port)).collect();
        let add: Vec<_> = keys.iter().map(|key| Operation::AddVirtual(server(*key))).collect();
        done(&mut ipvs, &add).await;
        let mut dumps = Vec::new();
        for _ in 0..10 {
            dumps.push(ipvs.virtual_servers().await);
        }
        stop.store(true, Ordering::Relaxed);
        for dump in dumps {
            assert_eq!(sorted(dump.unwrap().iter().map(|entry| entry.server.key)), sorted(keys.clone()));
        }
    });
    other.join().unwrap();
}

fn one_virtual_server_can_be_asked_for() {
    in_namespace(async |mut ipvs| {
        let key = VirtualKey::Mark { family: Family::Ipv6, mark: 0x1f };
        assert_eq!(ipvs.virtual_server(&key).await.unwrap(), None);
        done(&mut ipvs, &[Operation::AddVirtual(server(key))]).await;
        assert_eq!(ipvs.virtual_server(&key).await.unwrap().map(|entry| entry.server), Some(server(key)));
        let other_family = VirtualKey::Mark { family: Family::Ipv4, mark: 0x1f };
        assert_eq!(ipvs.virtual_server(&other_family).await.unwrap(), None);
    });
}

fn an_edit_changes_everything_but_the_key() {
    in_namespace(async |mut ipvs| {
        let key = at(6, "10.96.0.1", 80);
        let clients = ClientMask::V4(Ipv4Addr::BROADCAST);
        let sticky = VirtualServer {
            scheduler: "mh".to_owned(),
            flags: Flags::HASH_PORT,
            persistence: Some(Persistence { timeout: 60, clients }),
            ..server(key)
        };
        let heavy = RealServer { weight: 7, thresholds: Thresholds { upper: 9, lower: 3 }, ..real("10.244.0.4", 80) };
        let before = [Operation::AddVirtual(server(key)), Operation::AddReal(key, real("10.244.0.4", 80))];
        done(&mut ipvs, &before).await;
        done(&mut ipvs, &[Operation::EditVirtual(sticky.clone()), Operation::EditReal(key, heavy)]).await;
        assert_eq!(ipvs.virtual_server(&key).await.unwrap().unwrap().server, sticky);
        assert_eq!(ipvs.real_servers(&key).await.unwrap()[0].server, heavy);
        let back = [Operation::EditVirtual(server(key)), Operation::Zero(key), Operation::ZeroAll];
        done(&mut ipvs, &back).await;
        assert_eq!(ipvs.virtual_server(&key).await.unwrap().unwrap().server, server(key));
        done(&mut ipvs, &[Operation::RemoveReal(key, heavy.address), Operation::RemoveVirtual(key)]).await;
        assert_eq!(ipvs.virtual_servers().await.unwrap(), []);
    });
}

fn timeouts_are_kept() {
    in_namespace(async |mut ipvs| {
        let timeouts = Timeouts { tcp: 901, tcp_fin: 121, udp: 301 };
        done(&mut ipvs, &[Operation::SetTimeouts(timeouts)]).await;
        assert_eq!(ipvs.timeouts().await.unwrap(), timeouts);
        done(&mut ipvs, &[Operation::SetTimeouts(Timeouts { udp: 30, ..Timeouts::default() })]).await;
        assert_eq!(ipvs.timeouts().await.unwrap(), Timeouts { udp: 30, ..timeouts });
    });
}

fn a_flush_leaves_nothing() {
    in_namespace(async |mut ipvs| {
        let keys = [at(6, "10.96.0.1", 80), at(17, "fd00::1", 53), VirtualKey::Mark { family: Family::Ipv4, mark: 1 }];
        done(&mut ipvs, &keys.map(|key| Operation::AddVirtual(server(key)))).await;
        done(&mut ipvs, &[Operation::Flush]).await;
        assert_eq!(ipvs.virtual_servers().await.unwrap(), []);
    });
}

fn the_version_is_known() {
    in_namespace(async |mut ipvs| {
        let version = ipvs.version().await.unwrap();
        assert_eq!(version.to_string(), "1.2.1");
        assert!(version.connection_buckets.is_power_of_two());
    });
}
