//! As the nftables dataplane's test of that name: a call on a netlink socket fails, and what comes of it is what an
//! undisturbed process leaves. The emulated machine is slow, so every tenth call meets a fault there; all of them with
//! `SWITCHYARD_EVERY_FAULT=1`.

#[path = "../../backend-nft/tests/faults/calls.rs"]
mod calls;
mod isolated;
#[path = "../../backend-nft/tests/faults/sweep.rs"]
mod sweep;

use std::collections::BTreeSet;

use backend_api::SyncError;
use netlink::ipvs::{Ipvs, VirtualServerEntry};
use sweep::{Subject, sweep, tables_and_flows};
use switchyard_ipvs::{IpvsDataplane, Options};

/// How many calls pass between two faults.
const STEP: usize = 10;

struct OfIpvs;

impl Subject for OfIpvs {
    type Dataplane = IpvsDataplane;

    async fn open() -> Result<IpvsDataplane, SyncError> {
        IpvsDataplane::open(Options::default()).await
    }

    async fn listing() -> BTreeSet<String> {
        let mut listing = tables_and_flows().await;
        let mut ipvs = Ipvs::open().await.unwrap();
        for VirtualServerEntry { server, .. } in ipvs.virtual_servers().await.unwrap() {
            for real in ipvs.real_servers(&server.key).await.unwrap() {
                // One that drains is there for as long as it has connections.
                if real.server.weight > 0 {
                    listing.insert(format!("{:?} {:?}", server.key, real.server));
                }
            }
            listing.insert(format!("{server:?}"));
        }
        listing
    }
}

fn main() {
    isolated::run(&[("whichever_call_fails_the_end_is_that_of_an_undisturbed_process", whichever_call_fails)]);
}

fn whichever_call_fails() {
    let all = std::env::var_os("SWITCHYARD_EVERY_FAULT").is_some();
    sweep::<OfIpvs>(|number, faults| match number {
        _ if all => faults,
        number if number % STEP == 0 => vec![faults[number / STEP % faults.len()]],
        _ => Vec::new(),
    });
}
