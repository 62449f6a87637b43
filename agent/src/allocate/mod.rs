//! Gives addresses to the LoadBalancer services of a folder, and writes them into a file of it.
//!
//! ```text
//! folder ─► AddressObjects ─► Allocator ─► Decision: the log
//!    ▲                            │
//!    └──── addresses.yaml ◄───────┘  which is the memory: what it says is what services hold
//! ```
//!
//! The file has objects of the kind ServiceAddresses; an agent that reads the folder finds them in the services.

mod file;

use std::path::PathBuf;
use std::time::Duration;

use allocation::{AddressRange, Allocator, Decision, Edit, EventKind, Options, Pool};
use backend_api::Age;
use kubernetes::load_balancer::{AddressObjects, Taken};
use kubernetes::source::{Event, channel, files::watch_folder};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use self::file::AddressFile;
use crate::config::POOL_NAMESPACE;

/// When a file that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What to allocate, and from what.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FolderAllocation {
    /// Services and pools.
    pub source: PathBuf,
    /// A file in that folder, which this alone writes.
    pub write: PathBuf,
    /// A pool beside those of the folder; one of them that lists the same addresses has them.
    pub pool: Option<Pool>,
    /// The namespace whose pools count.
    pub namespace: String,
    /// The class whose services count; none: those without.
    pub class: Option<String>,
    /// What else decides.
    pub options: Options,
}

impl FolderAllocation {
    /// Of services without a class, from pools in MetalLB's namespace.
    pub fn new(source: PathBuf, write: PathBuf) -> Self {
        let namespace = POOL_NAMESPACE.to_owned();
        Self { source, write, pool: None, namespace, class: None, options: Options::default() }
    }

    /// Gives addresses until `stop`. What was given stays.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { source, write, pool, namespace, class, options } = self;
        let (sender, mut told) = channel();
        let watching = tokio::spawn(watch_folder(source, sender));
        let mut allocation = Allocation {
            objects: AddressObjects::new(&namespace, class.as_deref()),
            allocator: Allocator::new(options),
            waiting: pool.map(Edit::Pool).into_iter().collect(),
            file: AddressFile::new(write),
            began: Instant::now(),
            again: None,
        };
        tokio::pin!(stop);
        loop {
            let due = allocation.due();
            tokio::select! {
                () = &mut stop => break,
                events = told.recv() => match events {
                    Some(events) => allocation.take(events),
                    None => break,
                },
                () = until(due) => allocation.settle(),
            }
        }
        watching.abort();
    }
}

/// The pool of `--load-balancer-pool`, if there is one. The youngest of all: what IPAddressPools list is theirs.
pub(crate) fn own_pool(ranges: Vec<AddressRange>) -> Option<Pool> {
    let pool = Pool { age: Age(i128::MAX), ..Pool::new("load-balancer-pool", ranges) };
    Some(pool).filter(|pool| !pool.ranges.is_empty())
}

struct Allocation {
    objects: AddressObjects,
    allocator: Allocator,
    /// Edits that are not applied yet: not everything has been listed.
    waiting: Vec<Edit>,
    file: AddressFile,
    began: Instant,
    /// When the file is to be written again.
    again: Option<Instant>,
}

impl Allocation {
    fn take(&mut self, events: Vec<Event>) {
        for event in &events {
            if let Event::Trouble(trouble) = event {
                warn!("{trouble}");
            }
        }
        let Taken { edits, notes } = self.objects.take(events);
        notes.iter().for_each(|note| warn!("{note}"));
        self.waiting.extend(edits);
        if self.objects.is_complete() {
            self.settle();
        }
    }

    /// Decides, and writes what is decided.
    fn settle(&mut self) {
        let edits = std::mem::take(&mut self.waiting);
        let overlaps = self.allocator.overlaps().to_vec();
        self.allocator.apply(edits, self.began.elapsed()).iter().for_each(log);
        for overlap in self.allocator.overlaps().iter().filter(|overlap| !overlaps.contains(overlap)) {
            warn!("{overlap}");
        }
        self.again = None;
        if let Err(error) = self.file.write(self.allocator.verdicts()) {
            error!(file = %self.file.path().display(), %error, "addresses cannot be written, trying again");
            self.again = Some(Instant::now() + AGAIN);
        }
    }

    fn due(&self) -> Option<Instant> {
        let deadline = self.allocator.next_deadline().map(|deadline| self.began + deadline);
        [deadline, self.again].into_iter().flatten().min()
    }
}

fn log(decision: &Decision) {
    for event in decision.events() {
        let (service, reason) = (&decision.service, event.reason);
        match event.kind {
            EventKind::Normal => info!(%service, reason, "{}", event.message),
            EventKind::Warning => warn!(%service, reason, "{}", event.message),
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
