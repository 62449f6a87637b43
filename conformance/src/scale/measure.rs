//! Measures one size: the pipeline, its rivals, and packets through all of them.

use std::fs;
use std::path::PathBuf;

use agent::backend::Backend;
use testbed::Namespace;

use super::cluster::{Cluster, First};
use super::dials::{Target, answers, dial_in_turns, median};
use super::measured::{Compared, Connect, Measured};
use super::peer;
use super::pipeline::{FirstSync, Order};
use super::place::Place;
use super::programs::{run, run_pipeline};
use super::rate::Rate;
use super::rivals;
use super::throughput::throughput;

/// Changes of the chain-per-service shape that are timed: each is a process, and slow.
const RIVAL_CHANGES: u32 = 10;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The backend.
    pub backend: Backend,
    /// What is programmed.
    pub cluster: Cluster,
    /// How many endpoints are changed, one at a time.
    pub changes: u64,
    /// Changes at a steady rate, afterwards.
    pub rate: Option<Rate>,
    /// Rounds of first packets; none are sent where it is 0.
    pub rounds: usize,
    /// Rounds of bulk connections; none are made where it is 0.
    pub throughput: usize,
    /// The largest number of services for which rivals are loaded.
    pub rivals_up_to: u32,
    /// This program, which is started again with [`super::PART`].
    pub program: PathBuf,
}

/// Measures it in network namespaces of its own. What it is doing is told to `progress`.
///
/// # Errors
/// A sentence: the backend does not run here, for example. A rival that does not run is left out, and said.
pub fn measure(plan: &Plan, progress: &dyn Fn(&str)) -> Result<Measured, String> {
    let Plan { backend, cluster, changes, rate, .. } = *plan;
    if !cluster.fits() {
        return Err(format!("{} services of {}: more than there are addresses", cluster.services, cluster.endpoints));
    }
    let load_before = load();
    let mut ours = Place::build("ours")?;
    let order = Order { backend: backend.name().to_owned(), cluster, changes, rate };
    progress(&format!("{} services of {}: first sync and {changes} changes", cluster.services, cluster.endpoints));
    let programmed = run_pipeline(&ours.node, &plan.program, &order)?;
    progress("restart");
    let restarted = run_pipeline(&ours.node, &plan.program, &Order { changes: 0, rate: None, ..order })?;
    let mut compared = Compared::default();
    let mut single = Place::build("single")?;
    run(&single.node, &["nft", "-f", "-"], &rivals::single_dnat(cluster))?;
    let mut for_all = Place::build("for-all")?;
    run(&for_all.node, &["nft", "-f", "-"], &rivals::single_dnat_for_all(cluster))?;
    let mut chains = compare(plan, &ours.node, &mut compared, progress)?;
    let connected = match plan.rounds {
        0 => None,
        rounds => {
            progress("first packets");
            Some(connect(cluster, [&mut ours, &mut single, &mut for_all], chains.as_mut(), rounds)?)
        }
    };
    let carried = match plan.throughput {
        0 => None,
        rounds => {
            progress("one connection in bulk");
            Some(throughput(backend, rounds)?)
        }
    };
    let FirstSync { seconds, phases, writes, netlink_bytes } = programmed.first;
    Ok(Measured {
        backend: backend.name().to_owned(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        services: cluster.services,
        endpoints: cluster.endpoints,
        first_sync_seconds: seconds,
        sync_phases: phases,
        first_sync_writes: writes,
        change_seconds: programmed.changes,
        change_writes: programmed.change_writes,
        changes,
        restart_seconds: restarted.first.seconds,
        restart_phases: restarted.first.phases,
        restart_writes: restarted.first.writes,
        rss_bytes: programmed.resident,
        kernel_bytes: programmed.kernel_bytes,
        netlink_bytes,
        connect: connected,
        throughput: carried,
        sustained: programmed.sustained,
        compared,
        load: load_before,
    })
}

/// The same state by other means; the place whose node has a chain for each service, if it came to that.
fn compare(
    plan: &Plan,
    ours: &Namespace,
    compared: &mut Compared,
    progress: &dyn Fn(&str),
) -> Result<Option<Place>, String> {
    let cluster = plan.cluster;
    if cluster.services > plan.rivals_up_to {
        compared.left_out.push(format!("rivals: only up to {} services", plan.rivals_up_to));
        return Ok(None);
    }
    progress("the same state as text");
    match as_text(plan.backend, ours) {
        Ok(seconds) => compared.as_text_seconds = Some(seconds),
        Err(reason) => compared.left_out.push(reason),
    }
    progress("a chain for each service");
    let chains = Place::build("chains")?;
    let (took, _) = run(&chains.node, &["nft", "-f", "-"], &rivals::chain_per_service(cluster))?;
    compared.chain_per_service_load_seconds = Some(took.as_secs_f64());
    let mut times = Vec::new();
    for number in 0..RIVAL_CHANGES.min(cluster.services) {
        let service = cluster.services / RIVAL_CHANGES.min(cluster.services) * number;
        for first in [First::StandIn, First::Home] {
            let (took, _) = run(&chains.node, &["nft", "-f", "-"], &rivals::change(cluster, service, first))?;
            times.push(took.as_secs_f64());
        }
    }
    compared.chain_per_service_change_seconds = Some(median(times));
    match peer::first_sync(cluster, progress) {
        Ok(seconds) => compared.peer_first_sync_seconds = seconds,
        Err(reason) => compared.left_out.push(reason),
    }
    Ok(Some(chains))
}

/// Loads into an empty node what is in this one, by the tool of the field.
fn as_text(backend: Backend, node: &Namespace) -> Result<f64, String> {
    // A node with addresses: IPVS takes no real server where there never was one.
    let empty = Place::build("text")?;
    let took = match backend {
        Backend::Nftables => {
            let (_, listed) = run(node, &["nft", "list", "ruleset"], "")?;
            run(&empty.node, &["nft", "-f", "-"], &loadable(&listed))?.0
        }
        Backend::Ipvs => {
            let (_, saved) = run(node, &["ipvsadm", "-S", "-n"], "")?;
            run(&empty.node, &["ipvsadm", "-R"], &saved)?.0
        }
    };
    Ok(took.as_secs_f64())
}

/// A listing without the line of flags, of which nft 1.0.6 prints one that it cannot read.
fn loadable(listed: &str) -> String {
    listed.lines().filter(|line| !line.trim_start().starts_with("flags persist") && line.trim() != "flags").fold(
        String::with_capacity(listed.len()),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    )
}

fn connect(
    cluster: Cluster,
    [ours, single, for_all]: [&mut Place; 3],
    mut chains: Option<&mut Place>,
    rounds: usize,
) -> Result<Connect, String> {
    for (name, place) in [("ours", &mut *ours), ("static rule", &mut *single), ("static rule for all", &mut *for_all)]
        .into_iter()
        .chain(chains.as_mut().map(|place| ("chains", &mut **place)))
    {
        if !answers(place, cluster.frontend(0)) {
            return Err(format!("{name}: the first service does not answer"));
        }
        place.refuse();
    }
    let services = cluster.services;
    let mut targets = vec![
        Target { place: ours, services },
        Target { place: single, services: 1 },
        Target { place: for_all, services },
    ];
    targets.extend(chains.as_deref().map(|place| Target { place, services }));
    let dialled = dial_in_turns(cluster, &targets, rounds)?;
    Ok(Connect::of(&dialled[0], [&dialled[1], &dialled[2]], dialled.get(3)))
}

/// The machine's load of the last minute.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0.0)
}
