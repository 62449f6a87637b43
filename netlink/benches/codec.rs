//! What the codec costs without a kernel: `cargo bench -p switchyard-netlink`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use switchyard_netlink::message::Messages;
use switchyard_netlink::nftables::{Batch, Element, Family, Notification, Notifications, Object};

const ELEMENTS: u32 = 1_000;

/// A batch that adds elements to a map: address, protocol, port, slot to address, port.
fn batch() -> Batch {
    let mut batch = Batch::new("t");
    let mut elements = batch.put_elements(Family::Ipv4, "endpoints");
    for number in 0..ELEMENTS {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&(0x0a60_0000 + number / 3).to_be_bytes());
        key[4] = 6;
        key[9] = 80;
        key[12..].copy_from_slice(&(number % 3).to_be_bytes());
        elements.push(number, &Element::pair(&key, &[10, 0, 0, 1, 0, 80, 0, 0]));
    }
    drop(elements);
    batch
}

/// Reads a dump to its last byte, as a program that compares elements does.
fn decode(dump: &[u8]) -> usize {
    let mut count = 0;
    for notification in Notifications(Messages(dump)) {
        if let Notification::Object { object: Object::Elements { elements, .. }, .. } = notification {
            for element in elements.iter() {
                black_box(element);
                count += 1;
            }
        }
    }
    count
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(ELEMENTS.into()));
    group.bench_function("encode a batch of 1,000 elements", |bencher| {
        bencher.iter(|| batch().encoded(1).len());
    });
    // The kernel's dump has the same messages.
    let dump = batch().encoded(1).to_vec();
    assert_eq!(decode(&dump), ELEMENTS as usize);
    group.bench_function("decode a dump of 1,000 elements", |bencher| {
        bencher.iter(|| decode(black_box(&dump)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = codec
}
criterion_main!(benches);
