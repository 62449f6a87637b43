//! What the pure steps of a sync cost: render, diff, encode. `cargo bench -p switchyard-nft`.
//!
//! These steps are private, and a public name for the sake of measuring would be one more to keep. So this program is
//! made of the same files as the library.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "the library's files, of which this uses some")]

#[path = "../src/assign.rs"]
mod assign;
#[path = "../src/belief.rs"]
mod belief;
#[path = "../src/content.rs"]
mod content;
#[path = "../src/diff.rs"]
mod diff;
#[path = "../src/encode.rs"]
mod encode;
#[path = "../src/errors.rs"]
mod errors;
#[path = "../src/marks.rs"]
mod marks;
#[path = "../src/options.rs"]
mod options;
#[path = "../src/ownership.rs"]
mod ownership;
#[path = "../src/plan/mod.rs"]
mod plan;
#[path = "../src/render/mod.rs"]
mod render;
#[path = "../src/ruleset/mod.rs"]
mod ruleset;
#[path = "../tests/sample/mod.rs"]
mod sample;
#[path = "../src/transaction.rs"]
mod transaction;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use backend_api::{Family, PerFamily, Scope, ServiceState};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use netlink::nftables::{Chain, Ownership};

use content::{Content, Found};
use encode::encode;
use plan::{Plan, Terms};
use render::{Assignment, base, service_elements};
use ruleset::lower::kernel_rule;
use ruleset::{SetName, TABLE};

const SERVICES: u32 = 1_000;

fn state() -> ServiceState {
    let mut state = ServiceState::new(sample::node());
    for service in sample::plain(SERVICES) {
        state.upsert(service).expect("services without flaws");
    }
    state
}

fn terms(state: &ServiceState) -> Terms<'static> {
    Terms { marks: None, node: state.node().clone() }
}

fn adopt(found: &PerFamily<Found>, state: &ServiceState) -> Plan {
    Plan::adopt(found, state, &terms(state), &BTreeSet::new())
}

const NOTHING: PerFamily<Found> = PerFamily { v4: Found::Nothing, v6: Found::Nothing };

/// What the kernel shows after the transaction of a first sync.
fn content(plan: &Plan, family: Family) -> Content {
    let transaction = &plan.transaction;
    let mut content = Content {
        sets: SetName::of(transaction.delivery).map(|set| set.kernel_set(family, transaction.delivery)).collect(),
        ..Content::default()
    };
    for (_, chain) in transaction.add_chains.iter().filter(|(of, _)| *of == family) {
        content.chains.push(Chain { name: chain.to_string(), base: base(*chain, transaction.delivery) });
    }
    for (_, chain, rule) in transaction.add_rules.iter().filter(|(of, ..)| *of == family) {
        content.rules.push(kernel_rule(&chain.to_string(), rule, family));
    }
    content.elements = transaction.add_elements.iter().filter(|element| element.family == family).copied().collect();
    content.elements.sort_unstable();
    content
}

fn render(criterion: &mut Criterion) {
    let state = state();
    let mut group = criterion.benchmark_group("render");
    group.throughput(Throughput::Elements(SERVICES.into()));
    group.bench_function("1000 services", |bencher| {
        bencher.iter(|| {
            let mut elements = Vec::new();
            for service in state.services_unordered() {
                let slots = Assignment::new(service, |_, _| None, None);
                service_elements(service, &slots, state.node(), |element| elements.push(element));
            }
            elements
        });
    });
    group.finish();
}

fn diff_one(criterion: &mut Criterion) {
    let mut state = state();
    let belief = adopt(&NOTHING, &state).belief;
    let change = state.upsert(sample::plain_service(SERVICES / 2, &[1, 2, 4])).expect("a service without flaws");
    let terms = terms(&state);
    criterion.bench_function("plan/1 changed of 1000 services", |bencher| {
        bencher.iter_batched(
            || belief.clone(),
            |belief| Plan::onward(belief, &state, Scope::Services(&change.touched), &terms, &BTreeSet::new()),
            BatchSize::LargeInput,
        );
    });
}

fn diff_all(criterion: &mut Criterion) {
    let state = state();
    let first = adopt(&NOTHING, &state);
    let there = PerFamily { v4: content(&first, Family::V4), v6: content(&first, Family::V6) };
    let found = PerFamily { v4: Found::Table(there.v4), v6: Found::Table(there.v6) };
    assert_eq!(adopt(&found, &state).transaction.len(), 0, "what is there is what is wanted");
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Elements(SERVICES.into()));
    group.bench_function("first sync of 1000 services", |bencher| {
        bencher.iter_with_large_drop(|| adopt(black_box(&NOTHING), &state));
    });
    group.bench_function("restart with 1000 services, nothing changed", |bencher| {
        bencher.iter_with_large_drop(|| adopt(black_box(&found), &state));
    });
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let transaction = adopt(&NOTHING, &state()).transaction;
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(transaction.len() as u64));
    group.bench_function("first sync of 1000 services", |bencher| {
        bencher.iter_with_large_drop(|| encode(&transaction, TABLE, Ownership::Kept));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = render, diff_one, diff_all, encoding
}
criterion_main!(benches);
