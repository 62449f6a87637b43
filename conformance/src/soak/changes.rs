//! Changes to the cluster at a steady rate, and who a changing service's tenants are.
//!
//! What is changed goes round: of ten changes four replace the tenant of a dialled service, three an endpoint of
//! another, two bring or take a service, one turns session affinity on or off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::cluster::{
    Affinity, CHANGING, COMING, Cluster, Dialled, TENANTS, background, background_slice, coming, coming_name,
    is_there_at_rest, tenant,
};
use crate::api::{Api, Resource};

/// So many past changes are enough for a watch to be told them, and few enough not to fill the memory.
const REMEMBERED: usize = 5_000;
/// A tenant that is one.
const STAYS: u64 = u64::MAX;

/// The changes, until they are finished.
#[derive(Debug)]
pub(super) struct Changes {
    made: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tenants: Arc<Tenants>,
    thread: JoinHandle<Api>,
}

/// When each pod was last a tenant of each changing service.
#[derive(Debug)]
pub(super) struct Tenants {
    start: Instant,
    /// In milliseconds since the start; [`STAYS`] for one that is.
    left: Vec<[AtomicU64; TENANTS]>,
}

impl Changes {
    /// Begins with so many a second.
    pub(super) fn start(api: Api, cluster: Cluster, rate: u32) -> Self {
        let (made, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let tenants = Arc::new(Tenants::at_first());
        let mut writer = Writer { api, cluster, tenants: tenants.clone(), turns: vec![0; CHANGING], number: 0 };
        let (counted, stopped) = (made.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let start = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                writer.change();
                counted.fetch_add(1, Ordering::Relaxed);
                let due = start + Duration::from_secs_f64(writer.number as f64 / f64::from(rate));
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            writer.restore();
            writer.api
        });
        Self { made, stop, tenants, thread }
    }

    pub(super) fn tenants(&self) -> Arc<Tenants> {
        self.tenants.clone()
    }

    /// How many so far.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Ends them, and makes everything as it was at first.
    pub(super) fn finish(self) -> Api {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Tenants {
    fn at_first() -> Self {
        Self { start: Instant::now(), left: (0..CHANGING).map(|_| first_tenants()).collect() }
    }

    fn joins(&self, service: usize, pod: usize) {
        self.left[service][pod].store(STAYS, Ordering::Relaxed);
    }

    fn leaves(&self, service: usize, pod: usize) {
        self.left[service][pod].store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// For how long this pod had not been a tenant at `then`.
    pub(super) fn gone_at(&self, service: usize, pod: usize, then: Instant) -> Duration {
        let then = then.saturating_duration_since(self.start).as_millis() as u64;
        Duration::from_millis(then.saturating_sub(self.left[service][pod].load(Ordering::Relaxed)))
    }
}

struct Writer {
    api: Api,
    cluster: Cluster,
    tenants: Arc<Tenants>,
    /// Of each changing service.
    turns: Vec<usize>,
    number: usize,
}

impl Writer {
    fn change(&mut self) {
        let (round, kind) = (self.number / 10, self.number % 10);
        match kind {
            0..4 => self.replace_tenant((round * 4 + kind) % CHANGING),
            4..7 if self.cluster.background > 0 => {
                let turn = round * 3 + kind - 4;
                let (index, turn) = (turn % self.cluster.background, turn / self.cluster.background + 1);
                self.api.put(background_slice(index, turn));
            }
            7..9 => self.come_or_go((round * 2 + kind - 7) % COMING),
            9 if self.cluster.background > 0 => {
                let (index, turn) = (round % self.cluster.background, round / self.cluster.background);
                let affinity = if turn.is_multiple_of(2) { Affinity::ClientIp } else { Affinity::None };
                self.api.put(background(index, affinity));
            }
            _ => {}
        }
        self.number += 1;
        if self.number.is_multiple_of(REMEMBERED) {
            self.api.forget(REMEMBERED);
        }
    }

    fn replace_tenant(&mut self, index: usize) {
        let before = self.turns[index];
        self.turns[index] += 1;
        self.tenants.joins(index, tenant(before + 1));
        self.api.put(Dialled::Changing(index).slice(before + 1));
        self.tenants.leaves(index, tenant(before));
    }

    fn come_or_go(&mut self, index: usize) {
        let (service, slice) = (coming_name(index), format!("{}-1", coming_name(index)));
        if self.api.delete(Resource::Services, "soak", &service) {
            self.api.delete(Resource::EndpointSlices, "soak", &slice);
        } else {
            for object in coming(index) {
                self.api.put(object);
            }
        }
    }

    fn restore(&mut self) {
        let gone: Vec<_> = (0..COMING).filter(|index| !is_there_at_rest(*index) && self.is_there(*index)).collect();
        gone.into_iter().for_each(|index| self.come_or_go(index));
        for object in self.cluster.objects() {
            self.api.put(object);
        }
    }

    fn is_there(&self, index: usize) -> bool {
        self.api.object(Resource::Services, "soak", &coming_name(index)).is_some()
    }
}

/// Of one service at the start: no pod but its first tenant has been one.
fn first_tenants() -> [AtomicU64; TENANTS] {
    std::array::from_fn(|pod| AtomicU64::new(if pod == tenant(0) { STAYS } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_has_left_is_gone_and_one_that_joined_is_not() {
        let tenants = Tenants::at_first();
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(tenants.gone_at(0, 0, later), Duration::ZERO);
        tenants.joins(0, 1);
        tenants.leaves(0, 0);
        assert!(tenants.gone_at(0, 0, later) > Duration::from_secs(50));
        assert_eq!(tenants.gone_at(0, 1, later), Duration::ZERO);
    }
}
