//! Whole agents: what the API holds is what is programmed, in memory and, where it matters most, in the kernel.

use agent::backend::Backend;
use backend_api::{Dataplane, Fake};
use switchyard_conformance::api::{Api, Resource};
use testbed::World;

use crate::agents::{Agent, answers, until_answers};
use crate::followed::{node, service, slice};

const WEB: &str = "10.96.0.80:80/TCP";

async fn filled() -> Api {
    let api = Api::local().await.unwrap();
    for object in [service("web", 80), slice("web", &["10.244.2.2", "10.244.1.2"]), node("node2")] {
        api.put(object);
    }
    api
}

/// A service that has gone and one that has come while no agent ran.
async fn life_of_an_agent(dataplane: &mut dyn Dataplane, open: impl AsyncFn() -> Box<dyn Dataplane>) {
    let mut api = filled().await;
    let agent = Agent::start(api.urls(), open().await);
    until_answers(dataplane, &[(WEB, "10.244.1.2:80 10.244.2.2:80")]).await;
    api.put(slice("web", &["10.244.2.2"]));
    until_answers(dataplane, &[(WEB, "10.244.2.2:80")]).await;

    // Its API is away and the agent starts anew: what was programmed stays.
    agent.stop().await;
    api.stop();
    let agent = Agent::start(api.urls(), open().await);
    api.delete(Resource::Services, "default", "web");
    api.delete(Resource::EndpointSlices, "default", "web-1");
    let mut other = service("other", 90);
    other["spec"]["clusterIP"] = "10.96.0.90".into();
    other["spec"]["clusterIPs"] = serde_json::json!(["10.96.0.90"]);
    api.put(other);
    api.put(slice("other", &["10.244.2.9"]));
    assert_eq!(answers(&dataplane.observe().await.unwrap()).get(WEB).map(String::as_str), Some("10.244.2.2:80"));

    // It is back: what was deleted meanwhile goes, and what came comes.
    api.resume().await.unwrap();
    until_answers(dataplane, &[("10.96.0.90:90/TCP", "10.244.2.9:80")]).await;

    // Away again, for a running agent, with everything forgotten.
    api.stop();
    api.delete(Resource::EndpointSlices, "default", "other-1");
    api.put(slice("other", &["10.244.2.8"]));
    api.skip_versions(1);
    api.compact();
    api.resume().await.unwrap();
    until_answers(dataplane, &[("10.96.0.90:90/TCP", "10.244.2.8:80")]).await;
    agent.stop().await;
}

#[tokio::test]
async fn deletions_while_the_agent_was_down_take_effect_after_the_first_list_and_not_before() {
    let kernel = Fake::default();
    life_of_an_agent(&mut kernel.clone(), async || Box::new(kernel.clone()) as Box<dyn Dataplane>).await;
}

#[test]
fn in_the_kernel_deletions_while_the_agent_was_down_take_effect_after_the_first_list_and_not_before() {
    if testbed::privilege::skip() {
        return;
    }
    let world = World::build(&switchyard_conformance::plan()).unwrap();
    let executor = world.node().namespace.executor().unwrap();
    executor.run(async {
        let mut kernel = Backend::Nftables.open().await.unwrap();
        life_of_an_agent(&mut *kernel, async || Backend::Nftables.open().await.unwrap()).await;
    });
}

#[tokio::test]
async fn endpoints_wait_for_their_service_and_labels_take_services_away_and_bring_them_back() {
    let kernel = Fake::default();
    let mut seen = kernel.clone();
    let api = Api::local().await.unwrap();
    api.put(slice("web", &["10.244.2.2"]));
    let agent = Agent::start(api.urls(), Box::new(kernel));
    api.put(service("marker", 70));
    until_keys(&mut seen, &["10.96.0.80:70/TCP"]).await;
    api.put(service("web", 80));
    api.delete(Resource::Services, "default", "marker");
    until_answers(&mut seen, &[(WEB, "10.244.2.2:80")]).await;
    let mut foreign = service("web", 80);
    foreign["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"] = "other".into();
    api.put(foreign);
    until_answers(&mut seen, &[]).await;
    api.put(service("web", 80));
    until_answers(&mut seen, &[(WEB, "10.244.2.2:80")]).await;
    // A slice that moves to another service leaves nothing behind.
    let mut moved = slice("web", &["10.244.2.2"]);
    moved["metadata"]["labels"]["kubernetes.io/service-name"] = "other".into();
    api.put(moved);
    let mut other = service("other", 90);
    other["spec"]["clusterIP"] = "10.96.0.90".into();
    other["spec"]["clusterIPs"] = serde_json::json!(["10.96.0.90"]);
    api.put(other);
    let mut expected = vec![(WEB, "Reject"), ("10.96.0.90:90/TCP", "10.244.2.2:80")];
    until_answers(&mut seen, &expected).await;
    api.delete(Resource::Services, "default", "web");
    expected.remove(0);
    until_answers(&mut seen, &expected).await;
    agent.stop().await;
}

/// Waits until exactly these frontends are there, with any endpoints.
async fn until_keys(kernel: &mut Fake, expected: &[&str]) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let found = answers(&kernel.observe().await.unwrap());
        if found.keys().eq(expected) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {expected:?}; there is {found:?}");
        tokio::task::yield_now().await;
    }
}
