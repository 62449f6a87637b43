//! A service built by hand, programmed into this network namespace, once. Needs root.
//!
//! Try it where it can do no harm: `unshare --net target/debug/examples/embed`. It refuses the machine's own network
//! namespace, unless `--here` is given.

pub(crate) mod guard;

use std::error::Error;

use backend_api::*;
use switchyard_nft::{NftDataplane, Options};

/// Programs one service and answers what it took.
pub(crate) async fn embed() -> Result<Report, Box<dyn Error>> {
    // How a pod is told from other clients, and the node's addresses, which carry node ports.
    let pods = PerFamily::new(LocalTraffic::Source("10.244.0.0/16".parse()?), LocalTraffic::Unknown);
    let node = NodeNetwork::new(pods, ["192.168.67.8".parse()?]);

    let web = ServicePort {
        frontends: vec![
            Frontend::cluster_ip("10.96.0.10".parse()?, Protocol::Tcp, 80),
            Frontend::node_port(Family::V4, Protocol::Tcp, 30080),
        ],
        endpoints: vec![Endpoint::here("10.244.0.4:8080".parse()?), Endpoint::elsewhere("10.244.1.2:8080".parse()?)],
        ..ServicePort::new(Family::V4, Protocol::Tcp)
    };
    let mut state = ServiceState::new(node);
    state.upsert(Service::new(ServiceName::new("default", "web"), vec![web]))?;

    let mut dataplane = NftDataplane::open(Options::default()).await?;
    Ok(dataplane.sync(&state, Scope::All).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Err(reason) = guard::check_namespace() {
        eprintln!("{reason}");
        std::process::exit(1);
    }
    let report = embed().await?;
    println!("{} writes; `nft list table ip switchyard` shows them", report.writes);
    Ok(())
}
