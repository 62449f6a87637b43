//! The example for embedders does what it says.

#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../examples/embed.rs"]
mod example;
mod netns;

use backend_api::{Dataplane, FrontendKey, Protocol};
use switchyard_nft::{NftDataplane, Options};

#[test]
fn the_embedding_example_programs_its_service() {
    netns::isolated(|| async {
        assert!(example::embed().await.unwrap().writes > 0);
        let observed = NftDataplane::open(Options::default()).await.unwrap().observe().await.unwrap();
        let web = FrontendKey::address([10, 96, 0, 10].into(), Protocol::Tcp, 80);
        assert_eq!(observed.frontends.keys().collect::<Vec<_>>(), [&web]);
    });
}
