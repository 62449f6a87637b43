//! The agent's pipeline, measured from inside its own process: objects → resolve → reconcile → backend → kernel.
//!
//! ```text
//! parent: Order ──► child, in the node's namespace: feed the loop, hear its witness ──► Programmed ──► parent
//! ```
//!
//! A process of its own, so that its memory is the agent's and not the benchmark's. It runs the agent's own loop
//! ([`reconcile::run`]); what is left out is the connection to an API server.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use agent::backend::Backend;
use clap::ValueEnum;
use kubernetes::settings::LocalDetector;
use kubernetes::settings::Settings;
use kubernetes::source::{Event, channel};
use kubernetes::{ClusterState, Inputs, News};
use reconcile::{Witness, run};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{mpsc, oneshot, watch};

use super::cluster::{Cluster, First, POD_RANGE};
use super::memory::{self, Resident};
use super::phases::{Clock, Phases};
use super::rate::{self, Rate, Sustained};
use super::spread::{Percentiles, Spread};

/// Services whose objects are told at once, about as many as a page of an API server's list.
const PAGE: u32 = 250;

/// What a measuring process is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// Name of the backend.
    pub(super) backend: String,
    /// What is programmed.
    pub(super) cluster: Cluster,
    /// How many endpoints are changed, one at a time.
    pub(super) changes: u64,
    /// Changes at a steady rate, afterwards.
    pub(super) rate: Option<Rate>,
}

/// What a measuring process found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Programmed {
    /// The first sync of the process.
    pub(super) first: FirstSync,
    /// Each endpoint that was changed, from the object to the commit.
    pub(super) changes: Option<Percentiles>,
    /// The most that one of them wrote.
    pub(super) change_writes: usize,
    /// Of the process.
    pub(super) resident: Resident,
    /// Kernel memory that is used more after the first sync than before.
    pub(super) kernel_bytes: u64,
    /// Changes at a steady rate.
    pub(super) sustained: Option<Sustained>,
}

/// A first sync.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct FirstSync {
    /// From when the backend is open and the first object is told to the commit.
    pub(super) seconds: f64,
    /// Where they went.
    pub(super) phases: Phases,
    /// Changes that the kernel was told.
    pub(super) writes: usize,
    /// Bytes that it was told them in.
    pub(super) netlink_bytes: u64,
}

/// Carries out an order in the network namespace of this process.
///
/// # Errors
/// A sentence: the backend does not open, or a sync fails.
pub(super) fn carry_out(order: &Order) -> Result<Programmed, String> {
    let clock = Clock::install();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("runtime: {error}"))?;
    runtime.block_on(measure(order, clock))
}

async fn measure(order: &Order, clock: Clock) -> Result<Programmed, String> {
    let pages = pages(order.cluster);
    let kernel_before = memory::of_kernel();
    let backend = Backend::from_str(&order.backend, true)?;
    let dataplane = backend.open().await.map_err(|error| error.to_string())?;
    // At the end of its opening a backend begins to read what is in the kernel.
    let start = Instant::now();
    let (objects, received) = channel();
    // None of the node's addresses matters here: no service has a node port.
    let (_addresses, mut known) = watch::channel(Some(BTreeSet::new()));
    known.mark_changed();
    let inputs = Inputs { objects: received, addresses: known, links: None, settings: None };
    let (told, heard) = unbounded_channel();
    let mut witness = Teller { told, clock, begun: None };
    let (stop, stopped) = oneshot::channel::<()>();
    let desired = ClusterState::new(settings(), inputs);
    let stopped = async { drop(stopped.await) };
    let mut client = Client { objects, heard };
    let work = async {
        let measured = client.measure(order, (pages, start), kernel_before).await;
        drop(stop);
        measured
    };
    let (ended, measured) = tokio::join!(run(dataplane, desired, None, &mut witness, stopped), work);
    ended.map_err(|error| error.to_string())?;
    measured
}

/// The objects of a cluster as they come. Parsed beforehand: how fast an API server talks is not measured.
fn pages(cluster: Cluster) -> Vec<Vec<Event>> {
    let pages = (0..cluster.services.div_ceil(PAGE)).map(|page| {
        let services = page * PAGE..((page + 1) * PAGE).min(cluster.services);
        services.flat_map(|service| cluster.objects(service)).map(Event::Changed).collect()
    });
    pages.collect()
}

fn settings() -> Settings {
    let range = POD_RANGE.parse().expect("our own range is one");
    Settings {
        node_name: "node0".parse().expect("our own name is one"),
        local_traffic: LocalDetector::ClusterCidrs(range),
        node_ports: "all".parse().expect("the word is known"),
        masquerade_all: false,
        flowtable_after: None,
        budget: kubernetes::settings::Budget::UNLIMITED,
        node_address: None,
    }
}

/// Feeds the loop, and waits for what it does.
struct Client {
    objects: mpsc::Sender<Vec<Event>>,
    heard: UnboundedReceiver<Result<Synced, String>>,
}

impl Client {
    async fn measure(
        &mut self,
        order: &Order,
        (pages, start): (Vec<Vec<Event>>, Instant),
        kernel_before: u64,
    ) -> Result<Programmed, String> {
        let cluster = order.cluster;
        let first = self.first_sync(pages, start).await?;
        let kernel_bytes = memory::of_kernel().saturating_sub(kernel_before);
        let after_sync = memory::resident();
        let (changes, change_writes) = self.change(cluster, order.changes).await?;
        let after_changes = memory::resident();
        let resident = Resident { after_sync, after_changes, peak: memory::peak() };
        let sustained = match order.rate {
            Some(rate) => Some(rate::sustain(rate, cluster, &self.objects, &mut self.heard).await?),
            None => None,
        };
        Ok(Programmed { first, changes, change_writes, resident, kernel_bytes, sustained })
    }

    async fn first_sync(&mut self, pages: Vec<Vec<Event>>, start: Instant) -> Result<FirstSync, String> {
        for page in pages {
            self.tell(page).await?;
        }
        self.tell(vec![Event::Listed]).await?;
        let synced = self.synced().await?;
        Ok(FirstSync {
            seconds: (synced.at - start).as_secs_f64(),
            phases: Phases { resolve: (synced.began - start).as_secs_f64(), ..synced.phases },
            writes: synced.writes,
            netlink_bytes: synced.netlink_bytes,
        })
    }

    async fn change(&mut self, cluster: Cluster, count: u64) -> Result<(Option<Percentiles>, usize), String> {
        let (mut spread, mut writes) = (Spread::new(), 0);
        let mut moves = Moves::of(cluster);
        for _ in 0..count {
            let slice = moves.next();
            let start = Instant::now();
            self.tell(vec![slice]).await?;
            let synced = self.synced().await?;
            spread.add(synced.at - start);
            writes = writes.max(synced.writes);
        }
        // As at the start again, for the next measurement.
        let back: Vec<_> = moves.back();
        if !back.is_empty() {
            self.tell(back).await?;
            self.synced().await?;
        }
        Ok((spread.percentiles(), writes))
    }

    async fn tell(&self, events: Vec<Event>) -> Result<(), String> {
        self.objects.send(events).await.map_err(|_| "reconcile: ended early".to_owned())
    }

    async fn synced(&mut self) -> Result<Synced, String> {
        self.heard.recv().await.ok_or("reconcile: ended early")?
    }
}

/// Pods that are replaced, all over the cluster.
#[derive(Debug)]
pub(super) struct Moves {
    cluster: Cluster,
    made: u64,
    away: BTreeSet<u32>,
}

impl Moves {
    pub(super) fn of(cluster: Cluster) -> Self {
        Self { cluster, made: 0, away: BTreeSet::new() }
    }

    /// The next one: a slice with one endpoint that is another than before.
    pub(super) fn next(&mut self) -> Event {
        // A prime, so that neighbours in time are no neighbours in memory.
        let service = self.made.wrapping_mul(7919) % u64::from(self.cluster.services);
        let service = u32::try_from(service).expect("less than a u32");
        self.made += 1;
        let first = if self.away.remove(&service) {
            First::Home
        } else {
            self.away.insert(service);
            First::StandIn
        };
        Event::Changed(self.cluster.first_slice(service, first))
    }

    /// Puts back whatever is away.
    pub(super) fn back(self) -> Vec<Event> {
        let services = self.away.iter().copied();
        services.map(|service| Event::Changed(self.cluster.first_slice(service, First::Home))).collect()
    }
}

/// A sync that succeeded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Synced {
    began: Instant,
    at: Instant,
    phases: Phases,
    writes: usize,
    netlink_bytes: u64,
}

/// Tells of each sync.
struct Teller {
    told: UnboundedSender<Result<Synced, String>>,
    clock: Clock,
    begun: Option<Instant>,
}

impl Witness<ClusterState> for Teller {
    fn hear(&mut self, news: &News<'_>) {
        let told = match news {
            News::Syncing => {
                self.begun = Some(Instant::now());
                return;
            }
            News::Synced { report, took, .. } => match report.failed.first() {
                Some(failed) => Err(format!("{}: {}", failed.service, failed.reason)),
                None => {
                    let at = Instant::now();
                    let began = self.begun.take().unwrap_or(at - *took);
                    let (writes, netlink_bytes) = (report.writes, report.bytes_sent);
                    Ok(Synced { began, at, phases: self.clock.take(), writes, netlink_bytes })
                }
            },
            News::Unchanged => Err("a change that was told changed nothing".to_owned()),
            News::NotSynced { error, .. } => Err(error.to_string()),
            News::Drifted => Err("rules were changed by another program meanwhile".to_owned()),
            _ => return,
        };
        // The receiver is gone once the measurement has ended.
        let _ = self.told.send(told);
    }
}

/// The processor time that this thread has taken.
pub(super) fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0))
}
