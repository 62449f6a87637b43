//! The demo's story, from an empty world to an empty world.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backend_api::{Protocol, ServiceState, SyncError};
use tokio::signal::unix::{SignalKind, signal};

use super::Args;
use super::churn;
use super::cluster::{self, Cluster};
use super::itinerary::itinerary;
use super::page::{self, Page};
use super::stage::{Opening, Stage};
use super::verdict::mismatches;
use crate::backend::{Backend, OpenError};
use testbed::{Dial, NamespaceError, Tally, World, WorldError, sink};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Everything was as expected.
    AsExpected,
    /// Not everything was.
    Mismatched,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

/// Why it could not be shown here.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    World(#[from] WorldError),
    #[error(transparent)]
    Backend(OpenError),
    #[error("{0}")]
    Sync(SyncError),
    #[error("service {0}: {1}")]
    Service(String, String),
    #[error("example: {0}")]
    Example(String),
    #[error("thread: {0}")]
    Thread(io::Error),
    #[error("control probe: {0}")]
    Control(String),
    #[error("output: {0}")]
    Output(#[from] io::Error),
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Whether the process is not allowed to build a world.
    pub(super) fn is_privilege(&self) -> bool {
        match self {
            Self::World(WorldError::Namespace(NamespaceError::Privilege { .. })) => true,
            Self::World(WorldError::Setup { source, .. }) => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Whether another kernel may have what the backend needs.
    pub(super) fn is_unsupported(&self) -> bool {
        match self {
            Self::Backend(error) => error.is_unsupported(),
            _ => false,
        }
    }
}

/// Whether somebody pressed Ctrl-C, or told the process to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

/// Shows everything on `page`, with the dataplane that `opening` opens.
pub(super) fn show(page: &mut Page, args: &Args, opening: Opening) -> Result<Ending, Failure> {
    match tell(page, args, opening) {
        Err(Failure::Interrupted) => Ok(Ending::Interrupted),
        other => other,
    }
}

fn tell(page: &mut Page, args: &Args, opening: Opening) -> Result<Ending, Failure> {
    page.doing("building the world");
    let started = Instant::now();
    let plan = cluster::plan();
    let mut stage = Stage::set(&plan, opening)?;
    let backend = args.backend.name();
    page.line(
        &page.style().bold(&format!("Switchyard shows the example cluster, seen from node2, forwarded by {backend}")),
    )?;
    let interrupt = Interrupt::follow(&stage.world)?;
    let places = stage.world.places().count();
    page.line(&format!("    {places} places built in {}", page::brief(started.elapsed())))?;
    let mut cluster = Cluster::load(&plan, stage.world.node_addresses()).map_err(Failure::Example)?;
    control(&stage.world)?;
    program(page, &mut stage, cluster.state())?;

    let mut found = visit_all(page, &stage, args, &interrupt)?;
    if found.is_empty() {
        found.extend(churn::show(page, (&mut stage, &mut cluster), &interrupt)?);
    }
    if args.keep {
        keep(page, (&stage.world, args.backend), &interrupt)?;
    }
    stage.clear()?;
    found.extend(untranslated(&stage.world).err().map(|met| format!("after everything was removed: {met}")));
    conclude(page, &found)
}

/// The world works without a service: pods are reached, service addresses lead to the sink.
fn control(world: &World) -> Result<(), Failure> {
    for (from, to, name) in [
        ("mytools", "10.244.0.4:80", "nginx-1"),
        ("mytools", "10.244.2.2:80", "nginx-3"),
        ("outsider", "10.244.2.2:80", "nginx-3"),
        ("node2", "10.244.1.2:80", "nginx-2"),
    ] {
        let met = world.dial(from, &dial(to));
        if met.name() != Some(name) {
            return Err(Failure::Control(format!("{from} dialling {name} at {to}: {met}")));
        }
    }
    untranslated(world).map_err(Failure::Control)
}

/// Nobody translates service addresses.
fn untranslated(world: &World) -> Result<(), String> {
    let to = "10.105.145.136:8080";
    let met = world.dial("mytools", &dial(to));
    if met.name() == Some(sink::NAME) {
        Ok(())
    } else {
        Err(format!("mytools dialling {to}: {met}, expected the sink"))
    }
}

fn program(page: &mut Page, stage: &mut Stage, state: &ServiceState) -> Result<(), Failure> {
    page.doing("programming the services");
    let first = stage.program(state)?;
    let again = stage.program(state)?;
    let services = state.len();
    let (took, writes) = (page::brief(first.took), first.report.writes);
    page.line(&format!(
        "    {services} services programmed in {took}: {writes} writes; once more: {} writes",
        again.report.writes
    ))?;
    Ok(())
}

fn visit_all(page: &mut Page, stage: &Stage, args: &Args, interrupt: &Interrupt) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for chapter in itinerary() {
        page.heading(chapter.title)?;
        for visit in &chapter.visits {
            interrupt.check()?;
            page.doing(format_args!("{} dials {}", visit.from, visit.address()));
            let wanted = usize::try_from(args.connections).expect("a small number");
            let outcomes = stage.world.dial_many(visit.from, &visit.dial(), visit.connections(wanted));
            let tally: Tally = outcomes.into_iter().collect();
            let wrong = mismatches(visit, &tally, &stage.world);
            for line in page::visit(visit, (&tally, &wrong), &stage.world, page.style()) {
                page.line(&line)?;
            }
            let named = |wrong| format!("{} → {}, {}: {wrong}", visit.from, visit.service, visit.address());
            found.extend(wrong.into_iter().map(named));
        }
    }
    Ok(found)
}

/// Says how to enter each namespace, and waits.
fn keep(page: &mut Page, (world, backend): (&World, Backend), interrupt: &Interrupt) -> Result<(), Failure> {
    page.heading("The world stays up until Ctrl-C")?;
    for place in world.places().filter(|place| !place.shares_namespace() || place.name == "remote") {
        page.line(&format!("    {:<11}{}", place.name, place.entrance()))?;
    }
    page.line("  where remote has the pods of other nodes, and lan the bridge to the other machines; for example:")?;
    let (node, mytools) =
        (world.node().namespace.name(), &world.place("mytools").expect("the example has it").namespace);
    page.line(&format!("    ip netns exec {} bash -c 'head -1 < /dev/tcp/10.105.145.136/8080'", mytools.name()))?;
    page.line(&format!("    ip netns exec {node} nft list ruleset"))?;
    match backend {
        Backend::Nftables => {}
        Backend::Ipvs => page.line(&format!("    ip netns exec {node} cat /proc/net/ip_vs"))?,
    }
    while interrupt.check().is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn conclude(page: &mut Page, found: &[String]) -> Result<Ending, Failure> {
    let style = page.style();
    if found.is_empty() {
        page.heading("Everything was as expected, and everything is removed")?;
        return Ok(Ending::AsExpected);
    }
    page.heading(&format!("Not as expected, {} times", found.len()))?;
    for mismatch in found {
        page.line(&style.red(&format!("  ✗ {mismatch}")))?;
    }
    Ok(Ending::Mismatched)
}

fn dial(to: &str) -> Dial {
    let to: SocketAddr = to.parse().expect("an address and a port");
    Dial::new(Protocol::Tcp, to).within(Duration::from_secs(5))
}

impl Interrupt {
    /// Listens on the world's threads; from now on a signal ends the demo in order, and the world with it.
    fn follow(world: &World) -> Result<Self, Failure> {
        let interrupt = Self::default();
        let _context = world.runtime().enter();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let mut signals = signal(kind).map_err(Failure::Thread)?;
            let raised = interrupt.0.clone();
            world.runtime().spawn(async move {
                signals.recv().await;
                raised.store(true, Ordering::Relaxed);
            });
        }
        Ok(interrupt)
    }

    /// # Errors
    /// [`Failure::Interrupted`] if so.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }
}
