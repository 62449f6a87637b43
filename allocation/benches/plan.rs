//! What allocation costs: a whole cluster, and one change in it.
//!
//! `cargo bench -p switchyard-allocation`

use std::time::Duration;

use backend_api::{Age, Protocol, ServiceName};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use switchyard_allocation::{
    AddressRange, Allocator, Demand, Edit, FamilyPolicy, Labels, Options, Pool, Service, SharingKey, plan,
};

const SERVICES: u32 = 10_000;

/// What it is called, the pool, and a service by its number.
type Case = (&'static str, Pool, fn(u32) -> Service);

/// The younger, the higher its number.
fn service(number: u32) -> Service {
    let name = ServiceName::new(&format!("team-{}", number % 50), &format!("web-{number}"));
    let demand = Demand::dual(FamilyPolicy::PreferDualStack);
    Service { age: Age(number.into()), demand, ..Service::new(name) }
}

fn shared(number: u32) -> Service {
    let sharing = Some(SharingKey { key: "all".to_owned(), backends: Labels::new() });
    Service { sharing, ..service(number) }
}

/// All on one address, each with a port of its own.
fn packed(number: u32) -> Service {
    Service { ports: vec![(Protocol::Tcp, number as u16)], ..shared(number) }
}

fn services(of: fn(u32) -> Service) -> Vec<Service> {
    (0..SERVICES).map(of).collect()
}

fn pool(ranges: [&str; 2]) -> Pool {
    Pool::new("all", ranges.map(|text| AddressRange::parse(text).expect("a range").0).to_vec())
}

/// Two addresses for each service, out of 2^80.
fn large() -> Pool {
    pool(["10.0.0.0/8", "fd00:67::/48"])
}

/// Addresses for half of the services.
fn small() -> Pool {
    pool(["10.0.0.0-10.0.19.135", "fd00:67::-fd00:67::1387"])
}

fn filled(pool: Pool, of: fn(u32) -> Service) -> Allocator {
    let mut allocator = Allocator::new(Options::default());
    let edits = std::iter::once(Edit::Pool(pool)).chain(services(of).into_iter().map(Edit::Service));
    allocator.apply(edits, Duration::ZERO);
    allocator
}

fn from_scratch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("10,000 dual-stack services from scratch");
    group.sample_size(20);
    let cases: [Case; 4] = [
        ("given", large(), service),
        ("given, one sharing key and one port", large(), shared),
        ("given, all share one address", large(), packed),
        ("given to half, the pool is full", small(), service),
    ];
    for (name, pool, of) in cases {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (pool.clone(), services(of)),
                |(pool, services)| plan(Options::default(), [pool], services, []),
                BatchSize::LargeInput,
            );
        });
    }
    let first = plan(Options::default(), [large()], services(service), []);
    let mut held = services(service);
    held.iter_mut().for_each(|service| service.held = first.decisions[&service.name].verdict.addresses.clone());
    group.bench_function("adopted", |bencher| {
        bencher.iter_batched(
            || (large(), held.clone()),
            |(pool, services)| plan(Options::default(), [pool], services, []),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn one_change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one of 10,000 services");
    let cases: [Case; 3] = [
        ("comes and goes", large(), service),
        ("comes and goes, one sharing key and one port", large(), shared),
        ("comes and goes, 5,000 wait", small(), service),
    ];
    for (name, pool, of) in cases {
        let mut allocator = filled(pool, of);
        let mut number = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // What it had comes free, and goes to the oldest that waits: the one that came last.
                number = (number + 1) % (SERVICES / 2);
                let gone = allocator.apply([Edit::ServiceGone(of(number).name)], Duration::ZERO);
                let come = allocator.apply([Edit::Service(of(number))], Duration::ZERO);
                (gone, come)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, from_scratch, one_change);
criterion_main!(benches);
