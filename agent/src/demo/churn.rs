//! Endpoints are added and removed while connections run, and no connection fails.
//!
//! Every pod keeps running, so any connection that fails, new or held, is the dataplane's fault.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use backend_api::Protocol;

use super::cluster::Cluster;
use super::failure::{Failure, Interrupt};
use super::page::{self, Page};
use super::stage::Stage;
use testbed::{Dial, Held, Load, Outcome, Tally};

/// What is dialled from where all the time.
const CLIENTS: [(&str, &str); 3] =
    [("mytools", "10.105.145.136:8080"), ("outsider", "192.168.67.10:30673"), ("outsider", "192.168.67.240:8082")];

/// Connections that each client holds.
const HELD: usize = 30;
/// Connections that are dialled after each change, to see which pods answer.
const SAMPLE: usize = 60;
/// What each client dials at least while a step lasts.
const NEW: usize = 50;
/// Changes of the storm.
const STORM: usize = 100;

/// What the deployment is scaled to, in this order. `nginx-3` is always among them.
const STEPS: [(&str, &[&str]); 5] = [
    ("nginx-4 is added", &["nginx-1", "nginx-2", "nginx-3", "nginx-4"]),
    ("nginx-5 is added", &["nginx-1", "nginx-2", "nginx-3", "nginx-4", "nginx-5"]),
    ("nginx-1 is removed", &["nginx-2", "nginx-3", "nginx-4", "nginx-5"]),
    ("only nginx-3 is left", &["nginx-3"]),
    ("nginx-1 and nginx-2 are back", &["nginx-1", "nginx-2", "nginx-3"]),
];

/// A connection, and the pod that it was opened to.
struct Connection {
    held: Held,
    name: String,
}

/// Runs the chapter; returns every mismatch.
pub(super) fn show(
    page: &mut Page,
    (stage, cluster): (&mut Stage, &mut Cluster),
    interrupt: &Interrupt,
) -> Result<Vec<String>, Failure> {
    page.heading("Endpoints change while connections run")?;
    let mut connections = hold(stage)?;
    let count = connections.len();
    page.line(&format!("    {count} connections held, {} clients dialling all the time", CLIENTS.len()))?;
    let loads = start(stage)?;
    let mut mismatches = Vec::new();
    for (what, pods) in STEPS {
        interrupt.check()?;
        page.doing(what);
        let pods: BTreeSet<&str> = pods.iter().copied().collect();
        let touched = cluster.scale(&pods).touched;
        let synced = stage.program_changes(cluster.state(), touched)?;
        keep_dialling(&loads)?;
        let sampled = sample(stage);
        let mut found = wrong(&sampled, &pods);
        found.extend(broken(&mut connections, |name| pods.contains(name)));
        let shares: Vec<String> = sampled.answers.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let (took, writes) = (page::brief(synced.took), synced.report.writes);
        let mark = page.style().mark(found.is_empty());
        let cost = page.style().dim(&format!("{took:>8}, {writes:>3} writes"));
        page.line(&format!("  {mark} {what:<30}{cost}   {}", shares.join(", ")))?;
        mismatches.extend(found.into_iter().map(|mismatch| format!("{what}: {mismatch}")));
    }
    mismatches.extend(storm(page, (stage, cluster), interrupt)?);
    mismatches.extend(finish(page, loads, &mut connections)?);
    Ok(mismatches)
}

fn hold(stage: &Stage) -> Result<Vec<Connection>, Failure> {
    let mut connections = Vec::new();
    for (from, to) in CLIENTS {
        for _ in 0..HELD {
            let (held, answer) = stage
                .world
                .open(from, &dial(to))
                .map_err(|outcome| Failure::Control(format!("{from} dialling {to}: {outcome}")))?;
            connections.push(Connection { held, name: answer.name });
        }
    }
    Ok(connections)
}

fn start(stage: &Stage) -> Result<Vec<Load>, Failure> {
    let mut loads = Vec::new();
    for (from, to) in CLIENTS {
        let place = stage.world.place(from).expect("the example has its clients");
        loads.push(Load::start(place, &dial(to)).map_err(Failure::Thread)?);
    }
    Ok(loads)
}

/// As fast as the dataplane can: each change takes one of two replicas out and brings the other back.
fn storm(
    page: &mut Page,
    (stage, cluster): (&mut Stage, &mut Cluster),
    interrupt: &Interrupt,
) -> Result<Vec<String>, Failure> {
    let mut spent = Vec::with_capacity(STORM);
    for round in 0..STORM {
        interrupt.check()?;
        page.doing(format_args!("change {} of {STORM}", round + 1));
        let other = if round % 2 == 0 { "nginx-4" } else { "nginx-1" };
        let touched = cluster.scale(&BTreeSet::from([other, "nginx-3"])).touched;
        spent.push(stage.program_changes(cluster.state(), touched)?.took);
    }
    let pods = BTreeSet::from(["nginx-1", "nginx-2", "nginx-3"]);
    let touched = cluster.scale(&pods).touched;
    stage.program_changes(cluster.state(), touched)?;
    let found = wrong(&sample(stage), &pods);
    spent.sort_unstable();
    let (median, slowest) = (page::brief(spent[STORM / 2]), page::brief(spent[STORM - 1]));
    let mark = page.style().mark(found.is_empty());
    let cost = page.style().dim(&format!("median {median}, slowest {slowest}, three services each"));
    page.line(&format!("  {mark} {STORM} changes in a row{:<11}{cost}", ""))?;
    Ok(found.into_iter().map(|mismatch| format!("after {STORM} changes: {mismatch}")).collect())
}

fn finish(page: &mut Page, loads: Vec<Load>, connections: &mut [Connection]) -> Result<Vec<String>, Failure> {
    let mut tally = Tally::default();
    for load in loads {
        tally.merge(load.finish().map_err(Failure::Thread)?);
    }
    let mut found: Vec<String> = broken(connections, |_| true).collect();
    let mark = page.style().mark(found.is_empty());
    let alive = connections.len() - found.len();
    page.line(&format!(
        "  {mark} {alive} of {} held connections still reach the pod that they reached first",
        connections.len()
    ))?;
    let failed = tally.failures.len();
    let mark = page.style().mark(failed == 0);
    let slowest = page::brief(tally.slowest().unwrap_or_default());
    page.line(&format!("  {mark} {failed} of {} new connections failed; the slowest took {slowest}", tally.total()))?;
    found.extend(tally.failures.first().map(|first| format!("{failed} new connections failed, the first: {first}")));
    Ok(found)
}

/// Waits until every client has dialled some more.
fn keep_dialling(loads: &[Load]) -> Result<(), Failure> {
    let wanted: Vec<usize> = loads.iter().map(|load| load.dialled() + NEW).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while loads.iter().zip(&wanted).any(|(load, wanted)| load.dialled() < *wanted) {
        if Instant::now() > deadline {
            return Err(Failure::Control(format!("{NEW} new connections of each client awaited for 30 s")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn sample(stage: &Stage) -> Tally {
    let (from, to) = CLIENTS[0];
    stage.world.dial_many(from, &dial(to), SAMPLE).into_iter().collect()
}

/// What is wrong with new connections while these pods are the service's.
fn wrong(sample: &Tally, pods: &BTreeSet<&str>) -> Vec<String> {
    let strange = sample.answers.keys().filter(|name| !pods.contains(name.as_str()));
    let strange = strange.map(|name| format!("{name} answered, which is no endpoint now"));
    let failed = sample.failures.iter().map(|outcome| format!("a new connection was {outcome}"));
    let weights = pods.iter().map(|pod| ((*pod).to_owned(), 1)).collect();
    let uneven = sample.evenness(&weights).filter(|evenness| !evenness.is_even());
    let uneven = uneven.map(|_| format!("shares are uneven: {:?}", sample.answers));
    strange.chain(failed).chain(uneven).collect()
}

/// The connections to the pods that `concerns` selects and that are not what they were.
fn broken(connections: &mut [Connection], concerns: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    let concerned = connections.iter_mut().filter(move |connection| concerns(&connection.name));
    concerned.filter_map(|Connection { held, name }| match held.ask() {
        Outcome::Answered(answer) if answer.name == *name => None,
        other => Some(format!("a held connection to {name}: {other}")),
    })
}

fn dial(to: &str) -> Dial {
    let to: SocketAddr = to.parse().expect("an address and a port");
    Dial::new(Protocol::Tcp, to).within(Duration::from_secs(10))
}
