//! What is there at the start, and how it is asked for.

use switchyard_conformance::api::{Api, Offered, Resource};

use crate::followed::{Followed, node, service, service_cidr, slice};

/// A double with one object of each kind.
async fn filled() -> Api {
    let api = Api::local().await.unwrap();
    for object in [service("web", 80), slice("web", &["10.244.2.2"]), node("node2"), service_cidr("10.96.0.0/16")] {
        api.put(object);
    }
    api
}

#[tokio::test]
async fn everything_there_is_told_before_listed() {
    let mut followed = Followed::of(filled().await);
    let mut told = followed.until("listed").await;
    assert_eq!(told.pop().as_deref(), Some("listed"));
    told.sort();
    assert_eq!(told, ["EndpointSlice default/web-1", "Node node2", "ServiceCIDR kubernetes", "web:80"]);
}

#[tokio::test]
async fn an_empty_cluster_is_listed() {
    let mut followed = Followed::of(Api::local().await.unwrap());
    assert_eq!(followed.until("listed").await, ["listed"]);
}

#[tokio::test]
async fn lists_are_streamed_where_the_server_can() {
    let followed = Followed::listed(filled().await).await;
    for plural in ["services", "endpointslices", "nodes", "servicecidrs"] {
        let asked = followed.asked(plural);
        assert_eq!(asked.len(), 1, "{asked:?}");
        for part in ["sendInitialEvents=true", "resourceVersionMatch=NotOlderThan", "allowWatchBookmarks=true"] {
            assert!(asked[0].contains(part), "{asked:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_cannot_stream_is_asked_for_pages_and_watched_from_their_version() {
    let api = Api::local().await.unwrap();
    api.set(|abilities| abilities.streams = Offered::No);
    for number in 0..1200 {
        api.put(service(&format!("s{number}"), 80));
    }
    let mut followed = Followed::of(api);
    assert_eq!(followed.until("listed").await.len(), 1201);
    let asked = followed.asked("services");
    let pages: Vec<_> = asked.iter().filter(|line| line.contains("limit=500")).collect();
    assert_eq!(pages.len(), 3, "{asked:?}");
    followed.api.put(service("late", 81));
    assert_eq!(followed.until("late").await, ["late:81"]);
    assert!(followed.asked("services").last().unwrap().contains("resourceVersion=1200"), "{asked:?}");
}

#[tokio::test]
async fn objects_that_are_not_for_this_proxy_are_not_asked_for() {
    let api = filled().await;
    let mut headless = service("headless", 80);
    headless["spec"]["clusterIP"] = "None".into();
    let mut foreign = service("foreign", 80);
    foreign["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"] = "other".into();
    let mut unwanted = slice("headless", &["10.244.2.3"]);
    unwanted["metadata"]["labels"]["service.kubernetes.io/headless"] = "".into();
    for object in [headless, foreign, unwanted, node("node1")] {
        api.put(object);
    }
    let mut followed = Followed::of(api);
    let mut told = followed.until("listed").await;
    told.sort();
    assert_eq!(told, ["EndpointSlice default/web-1", "Node node2", "ServiceCIDR kubernetes", "listed", "web:80"]);
}

#[tokio::test]
async fn a_label_that_hides_an_object_takes_it_away_and_its_removal_brings_it_back() {
    let mut followed = Followed::listed(filled().await).await;
    let mut foreign = service("web", 80);
    foreign["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"] = "other".into();
    followed.api.put(foreign);
    assert_eq!(followed.until("-").await, ["-Service default/web"]);
    followed.api.put(service("web", 81));
    assert_eq!(followed.until("web").await, ["web:81"]);
    let mut headless = slice("web", &["10.244.2.2"]);
    headless["metadata"]["labels"]["service.kubernetes.io/headless"] = "".into();
    followed.api.put(headless);
    assert_eq!(followed.until("-").await, ["-EndpointSlice default/web-1"]);
}

#[tokio::test]
async fn changes_are_told_in_their_order_and_those_that_come_together_by_their_end() {
    let mut followed = Followed::listed(filled().await).await;
    for port in 81..=99 {
        followed.api.put(service("web", port));
    }
    followed.api.delete(Resource::Services, "default", "web");
    followed.api.put(service("web", 100));
    let told = followed.until("web:100").await;
    let all = (81..=99).map(|port| format!("web:{port}"));
    let mut all = all.chain(["-Service default/web".to_owned(), "web:100".to_owned()]);
    assert!(told.iter().all(|word| all.any(|next| next == *word)), "{told:?}");
}

#[tokio::test]
async fn another_node_name_lists_again_and_tells_the_other_node() {
    let api = filled().await;
    api.put(node("node3"));
    let mut followed = Followed::listed(api).await;
    followed.choice.send_modify(|choice| choice.node_name = "node3".parse().unwrap());
    let told = followed.until("listed").await;
    assert_eq!(told[0], "anew");
    assert_eq!(told.iter().filter(|word| word.contains("Node")).collect::<Vec<_>>(), ["Node node3"]);
    followed.api.put(node("node2"));
    followed.api.put(node("node3"));
    assert_eq!(followed.until("node3").await, ["Node node3"]);
}
