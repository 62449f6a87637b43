//! What only a kernel can tell: the bytes that it was sent, and the connections that it counted.

use std::collections::{BTreeMap, BTreeSet};

use backend_api::{Dataplane, NodeNetwork, Observed, Scope, ServiceName, ServiceState};
use kubernetes::objects::{Item, read};
use kubernetes::resolve::Resolver;
use switchyard_agent::backend::Backend;
use switchyard_agent::metrics::{Afresh, Observer};
use testbed::Namespace;

use super::given::{balanced, settings, slice};

/// Syncs everything, then nothing that has changed, then one service; what was sent, and what another process sees
/// then.
async fn bytes(mut dataplane: Box<dyn Dataplane>) -> ([u64; 3], Observed, ServiceState) {
    let mut resolver = Resolver::new(settings());
    let upsert = |resolver: &mut Resolver, text: &str| match read(text).remove(0) {
        Item::Object(object) => resolver.upsert(&object),
        other => panic!("{other:?}"),
    };
    upsert(&mut resolver, &balanced("web", 31000));
    upsert(&mut resolver, &slice("web", "10.0.0.1@here"));
    let mut state = ServiceState::new(NodeNetwork::unknown());
    resolver.resolve().apply(&mut state);
    let all = dataplane.sync(&state, Scope::All).await.unwrap().bytes_sent;
    let nothing = dataplane.sync(&state, Scope::Services(&BTreeSet::new())).await.unwrap().bytes_sent;
    upsert(&mut resolver, &slice("web", "10.0.0.1@here 10.0.0.2@here"));
    resolver.resolve().apply(&mut state);
    let web = BTreeSet::from([ServiceName::new("default", "web")]);
    let one = dataplane.sync(&state, Scope::Services(&web)).await.unwrap().bytes_sent;
    assert_eq!(Afresh.refused().await, Ok(BTreeMap::new()), "no client has dialled");
    let seen = Afresh.observe(dataplane.name()).await.unwrap();
    ([all, nothing, one], seen, state)
}

fn check(backend: Backend) {
    let namespace = Namespace::create("bytes").unwrap();
    let executor = namespace.executor().unwrap();
    let dataplane = match executor.run(backend.open()) {
        Err(error) if error.is_unsupported() => return eprintln!("not tested: {error}"),
        opened => opened.unwrap(),
    };
    let ([all, nothing, one], seen, state) = executor.run(bytes(dataplane));
    assert!(all > one && one > 0 && nothing == 0, "{all} {nothing} {one}");
    let expected: Vec<_> = Observed::expected(&state).frontends.into_keys().collect();
    assert_eq!(seen.frontends.into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn syncs_tell_the_bytes_that_they_sent_and_others_see_what_they_programmed_with_nftables() {
    if testbed::privilege::skip() {
        return;
    }
    check(Backend::Nftables);
}

#[test]
fn syncs_tell_the_bytes_that_they_sent_and_others_see_what_they_programmed_with_ipvs() {
    if testbed::privilege::skip() {
        return;
    }
    check(Backend::Ipvs);
}
