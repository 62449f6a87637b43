//! The chapters of the demo in their order, from building the world to removing it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use backend_api::{Protocol, ServiceState};

use super::Args;
use super::churn;
use super::cluster::{self, Cluster};
use super::failure::{Failure, Interrupt};
use super::itinerary::itinerary;
use super::page::{self, Page};
use super::stage::{Opening, Stage};
use super::verdict::mismatches;
use crate::backend::Backend;
use testbed::{Dial, Tally, World, sink};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Everything was as expected.
    AsExpected,
    /// Not everything was.
    Mismatched,
    /// SIGINT (Ctrl-C) or SIGTERM came.
    Interrupted,
    /// The reader of the output has gone.
    Unread,
}

/// Shows everything on `page`, with the dataplane that `opening` opens.
pub(super) fn show(page: &mut Page, args: &Args, opening: Opening) -> Result<Ending, Failure> {
    match tell(page, args, opening) {
        Err(Failure::Interrupted) => Ok(Ending::Interrupted),
        Err(failure) if failure.is_unread() => Ok(Ending::Unread),
        other => other,
    }
}

fn tell(page: &mut Page, args: &Args, opening: Opening) -> Result<Ending, Failure> {
    page.doing("building the world");
    let started = Instant::now();
    let plan = cluster::plan();
    let mut stage = Stage::set(&plan, opening)?;
    let backend = args.backend.name();
    page.line(&page.style().bold(&format!("The example cluster on its node node2, with the {backend} backend")))?;
    let interrupt = Interrupt::on_signals(&stage.world)?;
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

/// Checks the world without services: pods answer, and packets to service addresses go to the sink.
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

/// Checks that nothing translates service addresses.
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
        "    {services} services programmed in {took}: {writes} writes; the same again: {} writes",
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
            let place = format!("{} → {}, {}", visit.from, visit.service, visit.address());
            found.extend(wrong.into_iter().map(|wrong| format!("{place}: {wrong}")));
        }
    }
    Ok(found)
}

/// Says how to enter each namespace, and waits.
fn keep(page: &mut Page, (world, backend): (&World, Backend), interrupt: &Interrupt) -> Result<(), Failure> {
    page.heading("The example stays up until Ctrl-C")?;
    for place in world.places().filter(|place| !place.shares_namespace() || place.name == "remote") {
        page.line(&format!("    {:<11}{}", place.name, place.entrance()))?;
    }
    page.line("  remote has the pods of other nodes, and lan has the bridge to the other machines. For example:")?;
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
    page.heading(&format!("{} results were not as expected", found.len()))?;
    for mismatch in found {
        page.line(&style.red(&format!("  ✗ {mismatch}")))?;
    }
    Ok(Ending::Mismatched)
}

fn dial(to: &str) -> Dial {
    let to: SocketAddr = to.parse().expect("an address and a port");
    Dial::new(Protocol::Tcp, to).within(Duration::from_secs(5))
}
