//! The examples for embedders do what they say.
#![allow(clippy::duplicate_mod, reason = "each example has the guard as a module of its own")]

#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../examples/embed.rs"]
mod embed;
mod netns;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../examples/reconcile.rs"]
mod reconcile;

use std::time::Duration;

use backend_api::{Dataplane, Family, FrontendKey, Protocol};
use switchyard_nft::{NftDataplane, Options, Others};

fn web() -> FrontendKey {
    FrontendKey::address([10, 96, 0, 10].into(), Protocol::Tcp, 80)
}

async fn observed() -> Vec<FrontendKey> {
    let mut dataplane = NftDataplane::open(Options::default().others(Others::LetIn)).await.unwrap();
    dataplane.observe().await.unwrap().frontends.into_keys().collect()
}

#[test]
fn the_embedding_example_programs_its_service() {
    netns::isolated(|| async {
        let report = embed::embed().await.unwrap();
        assert!(report.writes > 0);
        assert_eq!(report.warnings, Vec::<String>::new());
        assert_eq!(observed().await, [web(), FrontendKey::node_port(Family::V4, Protocol::Tcp, 30080)]);
    });
}

#[test]
fn the_reconciling_example_keeps_its_service_programmed() {
    netns::isolated(|| async {
        let there = async {
            while observed().await != [web()] {
                tokio::task::yield_now().await;
            }
        };
        let stop = async { tokio::time::timeout(Duration::from_secs(60), there).await.expect("a programmed service") };
        reconcile::keep(stop).await.unwrap();
        assert_eq!(observed().await, [web()], "what is programmed stays");
    });
}

#[test]
fn the_examples_refuse_the_machines_own_namespace_unless_told() {
    let refused = embed::guard::check(true, false).unwrap_err();
    assert!(refused.contains("unshare --net") && refused.contains("--here"), "{refused}");
    assert_eq!(embed::guard::check(true, true), Ok(()));
    assert_eq!(embed::guard::check(false, false), Ok(()));
}
