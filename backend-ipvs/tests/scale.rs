//! Numbers, and how they compare with `ipvsadm -R` restoring the same virtual servers. Where there is IPVS: `cargo
//! test --release -p switchyard-ipvs --test scale --no-run`, then in the machine (`vm -- PROGRAM --ignored
//! --nocapture`).

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backend_api::*;
use nix::sched::{CloneFlags, unshare};
use switchyard_ipvs::{IpvsDataplane, Options};

#[test]
#[ignore = "measures; says nothing about right or wrong"]
fn scale() {
    for count in [100, 1000, 10_000] {
        isolated(move || async move {
            let mut state = ServiceState::new(NodeNetwork::unknown());
            (0..count).for_each(|number| drop(state.upsert(service(number, [1, 2, 3])).unwrap()));
            let mut dataplane = IpvsDataplane::open(Options::default()).await.unwrap();
            let (report, first) = timed(dataplane.sync(&state, Scope::All)).await;
            let writes = report.unwrap().writes;
            let (_, again) = timed(dataplane.sync(&state, Scope::All)).await;
            let (mut changes, mut few) = (Vec::new(), 0);
            for turn in 0..200 {
                let change = state.upsert(service(count / 2, [1, 2, 3 + turn % 2])).unwrap();
                let (report, took) = timed(dataplane.sync(&state, Scope::Services(&change.touched))).await;
                few = report.unwrap().writes;
                changes.push(took);
            }
            changes.sort();
            drop(dataplane);
            let mut next = IpvsDataplane::open(Options::default()).await.unwrap();
            let (adopted, adoption) = timed(next.sync(&state, Scope::All)).await;
            println!(
                "{count} services: first sync {first:.3?} ({writes} writes), same again {again:.3?}, one change median {:.3?} p99 {:.3?} ({few} writes), adoption {adoption:.3?} ({} writes)",
                changes[100],
                changes[197],
                adopted.unwrap().writes
            );
            drop(next);
            restore(count, first);
        });
    }
}

/// What `ipvsadm` needs for the same virtual and real servers, without any table.
fn restore(count: usize, first: Duration) {
    let Ok(saved) = Command::new("ipvsadm").args(["-S", "-n"]).output() else {
        return println!("{count} services: no ipvsadm to compare with");
    };
    assert!(Command::new("ipvsadm").arg("-C").status().unwrap().success());
    let start = Instant::now();
    let mut restoring = Command::new("ipvsadm").arg("-R").stdin(Stdio::piped()).spawn().unwrap();
    restoring.stdin.take().unwrap().write_all(&saved.stdout).unwrap();
    assert!(restoring.wait().unwrap().success());
    let took = start.elapsed();
    let lines = saved.stdout.split(|byte| *byte == b'\n').count() - 1;
    println!(
        "{count} services: ipvsadm -R {took:.3?} for {lines} lines; our first sync, tables included, takes {:.2} of that",
        first.as_secs_f64() / took.as_secs_f64()
    );
}

fn service(number: usize, endpoints: [usize; 3]) -> Service {
    let [.., high, low] = (number as u32).to_be_bytes();
    let port = ServicePort {
        frontends: vec![Frontend::cluster_ip([10, 96, high, low].into(), Protocol::Tcp, 80)],
        endpoints: endpoints
            .map(|host| Endpoint::elsewhere(EndpointAddress::new([10, 240 + host as u8, high, low].into(), 8080)))
            .to_vec(),
        ..ServicePort::new(Family::V4, Protocol::Tcp)
    };
    Service::new(ServiceName::new("default", &format!("web-{number}")), vec![port])
}

async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    (future.await, start.elapsed())
}

/// Runs a measurement in a network namespace of its own.
fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
