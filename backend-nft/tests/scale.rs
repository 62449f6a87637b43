//! Numbers: how long a first sync, an adoption and one change take.
//! `cargo test --release -- --ignored --nocapture scale`.

mod netns;
mod sample;

use std::time::{Duration, Instant};

use backend_api::{Dataplane, Scope, ServiceState};
use netns::isolated;
use switchyard_nft::{NftDataplane, Options};

#[test]
#[ignore = "measures; says nothing about right or wrong"]
fn scale() {
    for (count, width) in [(100, 3), (1000, 3), (10_000, 3), (50_000, 3), (44_125, 1), (5_006, 50)] {
        isolated(move || async move {
            let mut state = ServiceState::new(sample::node());
            let endpoints: Vec<u8> = (1..=width).collect();
            for n in 0..count {
                state.upsert(sample::plain_service(n, &endpoints)).unwrap();
            }
            let before = resident();
            let mut dataplane = NftDataplane::open(Options::default()).await.unwrap();
            let (start, cpu) = (Instant::now(), on_cpu());
            let report = dataplane.sync(&state, Scope::All).await.unwrap();
            let (first, first_cpu) = (start.elapsed(), on_cpu() - cpu);
            let start = Instant::now();
            dataplane.sync(&state, Scope::All).await.unwrap();
            let again = start.elapsed();
            let (mut changes, mut writes) = (Vec::new(), 0);
            for n in 0..200u8 {
                let mut changed = endpoints.clone();
                changed[0] += width * (1 - n % 2);
                let change = state.upsert(sample::plain_service(count / 2, &changed)).unwrap();
                let start = Instant::now();
                writes = dataplane.sync(&state, Scope::Services(&change.touched)).await.unwrap().writes;
                changes.push(start.elapsed());
            }
            changes.sort();
            let more = resident() - before;
            drop(dataplane);
            let mut next = NftDataplane::open(Options::default()).await.unwrap();
            let (start, cpu) = (Instant::now(), on_cpu());
            let adopted = next.sync(&state, Scope::All).await.unwrap();
            let (adoption, adoption_cpu) = (start.elapsed(), on_cpu() - cpu);
            println!(
                "{count} services of {width}: first {first:.3?} (cpu {first_cpu:.3?}, {} writes), same again {again:.3?}, one change median {:.3?} p99 {:.3?} ({writes} writes), adoption {adoption:.3?} (cpu {adoption_cpu:.3?}, {} writes), {more} kB more",
                report.writes, changes[100], changes[197], adopted.writes
            );
        });
    }
}

/// `VmRSS` of this process in kB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Processor time of this thread until now, the kernel's included: tells work from waiting on a busy machine.
fn on_cpu() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedstat.split_whitespace().next().unwrap().parse().unwrap())
}
