//! The reconcile loop of `switchyard-reconcile` around the nftables dataplane: it retries, repairs what other programs
//! change, and tries services again that failed. Needs root; refuses the machine's own network namespace, unless
//! `--here` is given.
//!
//! Try it: `unshare --net target/debug/examples/reconcile`, and `nft flush ruleset` in that namespace.

mod guard;

use std::error::Error;
use std::future::Future;

use backend_api::*;
use reconcile::{StateChange, run, state_channel};
use switchyard_nft::{NftDataplane, Options};

/// Keeps one service programmed until `stop`. An embedder tells its changes to the sender, for as long as it runs.
pub(crate) async fn keep(stop: impl Future<Output = ()>) -> Result<(), Box<dyn Error>> {
    let pods = PerFamily::new(LocalTraffic::Source("10.244.0.0/16".parse()?), LocalTraffic::Unknown);
    let (sender, desired) = state_channel(NodeNetwork::new(pods, ["192.168.67.8".parse()?]));
    let web = ServicePort {
        frontends: vec![Frontend::cluster_ip("10.96.0.10".parse()?, Protocol::Tcp, 80)],
        endpoints: vec![Endpoint::here("10.244.0.4:8080".parse()?)],
        ..ServicePort::new(Family::V4, Protocol::Tcp)
    };
    let web = Service::new(ServiceName::new("default", "web"), vec![web]);
    // Nothing is written before everything is told.
    sender.tell(vec![StateChange::Upsert(web), StateChange::Listed]).await?;
    let dataplane = NftDataplane::open(Options::default()).await?;
    run(Box::new(dataplane), desired, None, &mut (), stop).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Err(reason) = guard::check_namespace() {
        eprintln!("{reason}");
        std::process::exit(1);
    }
    println!("running until interrupted; the service stays programmed");
    keep(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await
}
