//! Where the time of a sync goes, told by the backend's own spans.
//!
//! Kept apart from the measurements: it knows nothing but the names of spans, and sums up how long each was entered. A
//! backend that has no such spans has no such times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Names of the spans, in the order in which they follow each other.
const NAMES: [&str; 5] = ["look", "render", "diff", "encode", "kernel"];

/// Seconds of each phase of a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// Kubernetes objects → desired state.
    pub resolve: f64,
    /// What is there is read from the kernel; after a restart alone.
    pub look: f64,
    /// Desired state → rules and elements.
    pub render: f64,
    /// Wanted and present elements → transaction.
    pub diff: f64,
    /// Transaction → netlink messages.
    pub encode: f64,
    /// The kernel's own work on them.
    pub kernel: f64,
}

/// Sums up how long each phase was entered, on whichever thread.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    zero: Instant,
    /// Of each phase: when it was entered last, and how long it was in all, in nanoseconds.
    phases: [(AtomicU64, AtomicU64); NAMES.len()],
}

impl Clock {
    /// The clock of this process from now on.
    ///
    /// # Panics
    /// If the process listens to spans already.
    pub(super) fn install() -> Self {
        let clock = Self { shared: Arc::new(Shared { zero: Instant::now(), phases: Default::default() }) };
        tracing::subscriber::set_global_default(clock.clone()).expect("a measuring process has one clock");
        clock
    }

    /// What was summed up since it was asked last; `resolve` is not a span's.
    pub(super) fn take(&self) -> Phases {
        let [look, render, diff, encode, kernel] = self
            .shared
            .phases
            .each_ref()
            .map(|(_, sum)| Duration::from_nanos(sum.swap(0, Ordering::Relaxed)).as_secs_f64());
        Phases { resolve: 0.0, look, render, diff, encode, kernel }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.shared.zero.elapsed().as_nanos()).expect("a process does not live for centuries")
    }

    fn phase(&self, id: &Id) -> &(AtomicU64, AtomicU64) {
        &self.shared.phases[id.into_u64() as usize - 1]
    }
}

impl Subscriber for Clock {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("switchyard_") && NAMES.contains(&metadata.name())
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let name = span.metadata().name();
        let index = NAMES.iter().position(|known| *known == name).expect("no other span is enabled");
        Id::from_u64(index as u64 + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, id: &Id) {
        self.phase(id).0.store(self.now(), Ordering::Relaxed);
    }

    fn exit(&self, id: &Id) {
        let (entered, sum) = self.phase(id);
        sum.fetch_add(self.now() - entered.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
