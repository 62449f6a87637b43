//! The scale benchmark: `cargo run --release -p switchyard-conformance --bin scale -- --services 100,1000,10000`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use agent::backend::Backend;
use clap::Parser;
use switchyard_conformance::scale::{self, Cluster, Measured, PART, Plan, Rate, Table, measure, plot};

/// Measures what so many services cost, in network namespaces of its own, side by side with other ways to program the
/// same.
///
/// Needs root and `nft` (for IPVS: `ipvsadm`, and the kernel's IPVS; where it has none, build with
/// `cargo build --release -p switchyard-conformance --bins` and run
/// `vm --kernel <release> -- …/scale --backend ipvs …`). With SWITCHYARD_PEER=/path/to/kube-proxy and
/// SWITCHYARD_PEER_KUBECONFIG that program's first sync is timed too.
#[derive(Debug, Parser)]
#[command(name = "scale")]
struct Flags {
    /// The backend to measure.
    #[arg(long, default_value = "nftables")]
    backend: Backend,
    /// Services; several sizes, separated by commas, are measured one after another.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000")]
    services: Vec<u32>,
    /// Endpoints of each service.
    #[arg(long, default_value_t = 3)]
    endpoints: u32,
    /// Endpoints that are changed, one at a time.
    #[arg(long, default_value_t = 1000)]
    changes: u64,
    /// Changes per second at a steady rate, afterwards.
    #[arg(long, requires = "seconds")]
    rate: Option<u32>,
    /// For how long.
    #[arg(long)]
    seconds: Option<u32>,
    /// Rounds of first packets, of a quarter of a second for each kind of rules; 0 for none.
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Rounds of one bulk connection each with and without the flowtable, of eight seconds; 0 for none.
    #[arg(long, default_value_t = 0)]
    throughput: usize,
    /// Sizes above this are measured without the rivals, which need minutes and more there.
    #[arg(long, default_value_t = 10_000)]
    rivals_up_to: u32,
    /// One JSON object for each size instead of table and plot.
    #[arg(long)]
    json: bool,
    /// Where scale.json, scale.png and scale.svg go.
    #[arg(long, default_value = ".")]
    into: PathBuf,
}

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let outcome = match (arguments.next(), arguments.next()) {
        (Some(flag), Some(order)) if flag == PART => scale::part(&order).map(|found| println!("{found}")),
        _ => all(&Flags::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn all(flags: &Flags) -> Result<(), String> {
    let program = env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    let mut measured = Vec::new();
    for services in &flags.services {
        let plan = Plan {
            backend: flags.backend,
            cluster: Cluster { services: *services, endpoints: flags.endpoints },
            changes: flags.changes,
            rate: flags.rate.zip(flags.seconds).map(|(per_second, seconds)| Rate { per_second, seconds }),
            rounds: flags.rounds,
            throughput: flags.throughput,
            rivals_up_to: flags.rivals_up_to,
            program: program.clone(),
        };
        let one = measure(&plan, &|doing| eprintln!("{doing}"))?;
        if flags.json {
            println!("{}", serde_json::to_string(&one).expect("numbers and names are JSON"));
        }
        measured.push(one);
    }
    if flags.json { Ok(()) } else { show(&measured, &flags.into) }
}

fn show(measured: &[Measured], into: &Path) -> Result<(), String> {
    println!("{}", Table(measured));
    let path = into.join("scale.json");
    let json = serde_json::to_string_pretty(measured).expect("numbers and names are JSON");
    fs::create_dir_all(into)
        .and_then(|()| fs::write(&path, json + "\n"))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    plot(measured, into).map_err(|error| error.to_string())?;
    println!("written: scale.json, scale.png, scale.svg in {}", into.display());
    Ok(())
}
