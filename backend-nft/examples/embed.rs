//! How a CNI embeds Switchyard: a service built by hand, programmed into this network namespace. Needs root.
//!
//! Try it where it can do no harm: `unshare -n cargo run --example embed`.

use backend_api::*;
use switchyard_nft::{NftDataplane, Options};

/// Programs one service and says what it took.
pub(crate) async fn embed() -> Result<Report, Box<dyn std::error::Error>> {
    let web = ServicePort {
        frontends: vec![Frontend::cluster_ip("10.96.0.10".parse()?, Protocol::Tcp, 80)],
        endpoints: vec![Endpoint::here("10.244.0.4:8080".parse()?), Endpoint::elsewhere("10.244.1.2:8080".parse()?)],
        ..ServicePort::new(Family::V4, Protocol::Tcp)
    };
    // How a pod is told from other clients, and the node's addresses, which carry node ports.
    let pods = PerFamily::new(LocalTraffic::Source("10.244.0.0/16".parse()?), LocalTraffic::Unknown);
    let mut state = ServiceState::new(NodeNetwork::new(pods, ["192.168.67.8".parse()?]));
    state.upsert(Service::new(ServiceName::new("default", "web"), vec![web]))?;

    let mut dataplane = NftDataplane::open(Options::default()).await?;
    Ok(dataplane.sync(&state, Scope::All).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let report = embed().await?;
    println!("{} writes; `nft list table ip switchyard` shows them", report.writes);
    Ok(())
}
