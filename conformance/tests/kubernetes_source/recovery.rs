//! How soon a source is right again when the API was away, and what it asks meanwhile.
//!
//! Where outages last an hour the clock is the test's, and sockets are real.

use std::time::Duration;

use switchyard_conformance::api::{Api, Offered, Refusing, Resource};
use tokio::time::{Instant, sleep};

use crate::followed::{Followed, node, service, service_cidr, slice, until};

const KINDS: [Resource; 4] = [Resource::Services, Resource::EndpointSlices, Resource::Nodes, Resource::ServiceCidrs];

async fn filled() -> Api {
    let api = Api::local().await.unwrap();
    for object in [service("web", 80), slice("web", &["10.244.2.2"]), node("node2"), service_cidr("10.96.0.0/16")] {
        api.put(object);
    }
    api
}

/// Troubles among what was told.
fn troubles(told: &[String]) -> Vec<&str> {
    told.iter().map(String::as_str).filter(|word| word.starts_with("! ")).collect()
}

/// Waits until every kind is watched, as long as virtual time stands still.
async fn until_all_watch(followed: &Followed) {
    until("every watch", || KINDS.iter().all(|kind| followed.api.watches(*kind) == 1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_back_after_a_second_or_a_minute_is_followed_within_two_seconds() {
    for seconds in [0.3, 2.0, 10.0, 60.0] {
        for forgets in [false, true] {
            let mut followed = Followed::listed(filled().await).await;
            until_all_watch(&followed).await;
            followed.api.stop();
            sleep(Duration::from_secs_f64(seconds)).await;
            followed.rest();
            followed.api.put(service("web", 81));
            followed.api.delete(Resource::EndpointSlices, "default", "web-1");
            if forgets {
                followed.api.compact();
            }
            followed.api.resume().await.unwrap();
            let back = Instant::now();
            let mut told = followed.until("web:81").await;
            if !told.contains(&"-EndpointSlice default/web-1".to_owned()) {
                told.extend(followed.until("-EndpointSlice").await);
            }
            until_all_watch(&followed).await;
            let took = back.elapsed();
            assert!(took <= Duration::from_secs(2), "{seconds} s, versions forgotten: {forgets}: {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_for_an_hour_is_asked_by_one_kind_for_all() {
    let mut followed = Followed::listed(filled().await).await;
    until_all_watch(&followed).await;
    followed.api.refuse(Refusing::always("GET", 503));
    followed.api.cut();
    let before = followed.api.requests().len();
    sleep(Duration::from_secs(3600)).await;
    let asked = followed.api.requests().split_off(before);
    assert!((2000..6500).contains(&asked.len()), "{} requests", asked.len());
    assert!(asked.iter().all(|line| line.contains("limit=1&") || line.ends_with("limit=1") || line.contains("watch=")));
    assert!(asked.iter().filter(|line| line.contains("watch=")).count() <= 8, "no list while it starts");
    let told = followed.rest();
    assert_eq!(troubles(&told).len(), 1, "{told:?}");
    followed.api.put(service("web", 81));
    followed.api.relent();
    let back = Instant::now();
    followed.until("web:81").await;
    until_all_watch(&followed).await;
    assert!(back.elapsed() <= Duration::from_secs(2), "{:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_fails_alone_is_asked_ever_more_seldom() {
    let followed = Followed::listed(filled().await).await;
    until_all_watch(&followed).await;
    followed.api.refuse(Refusing::always("/endpointslices", 500));
    followed.api.cut();
    let before = followed.asked("endpointslices").len();
    sleep(Duration::from_secs(3600)).await;
    let asked = followed.asked("endpointslices").len() - before;
    assert!((100..500).contains(&asked), "{asked} requests");
    assert!(followed.asked("services").len() < 30, "{:?}", followed.asked("services"));
}

#[tokio::test]
async fn a_storage_that_was_restored_to_an_older_revision_is_listed_again_at_once() {
    let api = filled().await;
    let backup = api.put(service("old", 70));
    api.put(service("new", 90));
    api.skip_versions(1000);
    api.put(service("old", 71));
    let mut followed = Followed::listed(api).await;
    let started = Instant::now();
    followed.api.restore(backup);
    let mut told = followed.until("-Service default/new").await;
    if !told.contains(&"old:70".to_owned()) {
        told.extend(followed.until("old:70").await);
    }
    assert!(troubles(&told).iter().any(|trouble| trouble.contains("went back from 1007 to 5")), "{told:?}");
    followed.api.put(service("web", 81));
    followed.until("web:81").await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let mut asked = followed.asked("services").into_iter();
    let lost = asked.find(|line| line.contains("watch=true") && line.contains("resourceVersion=1007"));
    assert_eq!(lost, None, "a version that the storage has lost is not watched from");
}

#[tokio::test]
async fn a_starting_server_that_denies_what_is_optional_is_asked_again_within_a_second() {
    let api = filled().await;
    api.refuse(Refusing { times: 3, ..Refusing::once("/servicecidrs", 403) });
    let mut followed = Followed::of(api);
    let started = Instant::now();
    let told = followed.until("listed").await;
    assert_eq!(troubles(&told).len(), 1, "{told:?}");
    if !told.contains(&"ServiceCIDR kubernetes".to_owned()) {
        followed.until("ServiceCIDR kubernetes").await;
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_cluster_that_comes_back_with_service_cidrs_is_asked_for_them() {
    let api = filled().await;
    api.set(|abilities| abilities.service_cidrs = Offered::No);
    let mut followed = Followed::listed(api).await;
    followed.api.stop();
    followed.until("refused").await;
    // As long as it takes until nothing answers.
    sleep(Duration::from_millis(500)).await;
    followed.api.set(|abilities| abilities.service_cidrs = Offered::Yes);
    followed.api.resume().await.unwrap();
    followed.until("ServiceCIDR kubernetes").await;
}

#[tokio::test]
async fn another_reason_of_an_outage_is_told_too() {
    let mut followed = Followed::listed(filled().await).await;
    followed.api.stop();
    followed.until("refused").await;
    followed.api.set(|abilities| abilities.token = Some("another".to_owned()));
    followed.api.resume().await.unwrap();
    let told = followed.until("401").await;
    assert!(troubles(&told)[0].contains("refuses the credentials (401)"), "{told:?}");
    followed.api.set(|abilities| abilities.token = None);
    followed.api.put(service("web", 81));
    assert_eq!(troubles(&followed.until("web:81").await), [""; 0]);
}

#[tokio::test]
async fn a_streamed_list_that_is_always_cut_is_read_in_pages_and_that_is_said() {
    let api = filled().await;
    api.set(|abilities| abilities.streams = Offered::Broken);
    let started = Instant::now();
    let mut followed = Followed::of(api);
    let told = followed.until("listed").await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let said = troubles(&told);
    assert!(
        said.iter().any(|trouble| trouble.contains("3 times in the middle of a list; asking for it in pages")),
        "{told:?}"
    );
    assert!(followed.asked("services").iter().any(|line| line.contains("limit=500")));
    followed.api.put(service("web", 81));
    assert_eq!(followed.until("web:81").await.last().unwrap(), "web:81");
}

#[tokio::test]
async fn the_oldest_server_that_is_supported_is_served() {
    let api = filled().await;
    let mut headless = service("headless", 80);
    headless["spec"]["clusterIP"] = "None".into();
    headless["spec"]["clusterIPs"] = serde_json::json!(["None"]);
    api.put(headless);
    // Kubernetes 1.21: discovery.k8s.io/v1 is new, all else is not there yet.
    api.set(|abilities| {
        abilities.streams = Offered::No;
        abilities.service_cidrs = Offered::No;
        abilities.cluster_ip_fields = Offered::No;
    });
    let mut followed = Followed::of(api);
    let told = followed.until("listed").await;
    assert!(told.contains(&"web:80".to_owned()), "{told:?}");
    let said = troubles(&told);
    assert!(said.len() == 1 && said[0].contains("ServiceCIDRs cannot be listed: 404"), "{told:?}");
    followed.api.put(service("web", 81));
    followed.until("web:81").await;
    followed.api.cut();
    followed.api.put(service("web", 82));
    followed.until("web:82").await;
}
