//! What the kernel holds after a sync, in network namespaces of the tests' own.

mod netns;
mod sample;

use std::collections::BTreeSet;

use backend_api::{Dataplane, Observed, Scope, ServiceState};
use backend_nft::{NftDataplane, Options, Others};
use netns::{isolated, nft};

async fn open() -> NftDataplane {
    NftDataplane::open(Options::default()).await.unwrap()
}

fn state(services: impl IntoIterator<Item = backend_api::Service>) -> ServiceState {
    let mut state = ServiceState::new(sample::node());
    for service in services {
        state.upsert(service);
    }
    state
}

fn assert_same(observed: &Observed, expected: &Observed) {
    assert_eq!(
        observed.frontends.keys().collect::<Vec<_>>(),
        expected.frontends.keys().collect::<Vec<_>>(),
        "frontends"
    );
    for (key, expected) in &expected.frontends {
        let observed = &observed.frontends[key];
        assert!(observed.forwards_like(expected), "{key}: {observed:#?} instead of {expected:#?}");
    }
}

#[test]
fn what_is_programmed_is_observed() {
    isolated(|| async {
        let state = sample::everything();
        let mut dataplane = open().await;
        let report = dataplane.sync(&state, Scope::All).await.unwrap();
        assert_eq!(report.failed, []);
        assert_same(&dataplane.observe().await.unwrap(), &Observed::expected(&state));
    });
}

#[test]
fn syncing_again_writes_nothing_in_this_process_and_the_next() {
    isolated(|| async {
        let state = sample::everything();
        let mut dataplane = open().await;
        assert!(dataplane.sync(&state, Scope::All).await.unwrap().writes > 0);
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().writes, 0);
        drop(dataplane);
        assert_eq!(open().await.sync(&state, Scope::All).await.unwrap().writes, 0);
    });
}

#[test]
fn nft_lists_the_tables_and_loads_what_it_lists() {
    isolated(|| async {
        // A table of an owner goes with nft, who would own what it loads.
        let mut dataplane = NftDataplane::open(Options { others: Others::LetIn }).await.unwrap();
        dataplane.sync(&sample::everything(), Scope::All).await.unwrap();
        let Some(listing) = nft(&["list", "ruleset"], "") else { return };
        let listing = listing.unwrap();
        dataplane.remove_all().await.unwrap();
        nft(&["-c", "-f", "-"], &listing).unwrap().unwrap();
        nft(&["-f", "-"], &listing).unwrap().unwrap();
        let again = nft(&["list", "ruleset"], "").unwrap().unwrap();
        // Elements come in no order. nft 1.0.6 puts a match for TCP in front of the first use of a map by `tcp dport`.
        let (again, listing) = (again.replace("tcp dport", "th dport"), listing.replace("tcp dport", "th dport"));
        assert_eq!(chains(&again), chains(&listing));
    });
}

#[test]
fn one_change_writes_a_few_elements() {
    isolated(|| async {
        let mut state = state(sample::plain(200));
        let mut dataplane = open().await;
        dataplane.sync(&state, Scope::All).await.unwrap();
        let change = state.upsert(sample::plain_service(7, &[1, 2, 4]));
        let report = dataplane.sync(&state, Scope::Services(&change.touched)).await.unwrap();
        assert_eq!(report.writes, 2, "one endpoint goes, one comes");
        let nothing = BTreeSet::new();
        assert_eq!(dataplane.sync(&state, Scope::Services(&nothing)).await.unwrap().writes, 0);
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().writes, 0);
        assert_same(&dataplane.observe().await.unwrap(), &Observed::expected(&state));
    });
}

/// The chains of a listing, with their rules.
fn chains(listing: &str) -> Vec<&str> {
    let mut inside = false;
    let is_of_chain = |line: &&str| {
        inside = (inside || line.starts_with("\tchain")) && **line != *"\t}";
        inside
    };
    listing.lines().filter(is_of_chain).collect()
}
