//! What a source survives: servers that go away, forget, refuse, fall silent, or say nonsense.

use std::time::Duration;

use switchyard_conformance::api::{Api, Expires, Offered, Pace, Refusing, Resource};

use crate::followed::{Followed, node, service, slice, until};

/// A double with a service and its endpoints.
async fn filled() -> Api {
    let api = Api::local().await.unwrap();
    for object in [service("web", 80), slice("web", &["10.244.2.2"]), node("node2")] {
        api.put(object);
    }
    api
}

/// How often a trouble was told that contains `words`.
fn troubles(told: &[String], words: &str) -> usize {
    told.iter().filter(|word| word.starts_with("! ") && word.contains(words)).count()
}

/// Deletions among what was told.
fn deletions(told: &[String]) -> Vec<&str> {
    told.iter().map(String::as_str).filter(|word| word.starts_with('-')).collect()
}

#[tokio::test]
async fn a_cut_watch_goes_on_where_it_was_without_a_list() {
    let mut followed = Followed::listed(filled().await).await;
    followed.api.put(service("web", 81));
    followed.until("web:81").await;
    followed.api.cut();
    followed.api.put(service("web", 82));
    assert_eq!(followed.until("web:82").await, ["web:82"]);
    let asked = followed.asked("services");
    assert_eq!(asked.iter().filter(|line| line.contains("sendInitialEvents")).count(), 1, "{asked:?}");
    assert!(asked.last().unwrap().contains("resourceVersion=4"), "{asked:?}");
}

#[tokio::test]
async fn bookmarks_move_the_version_from_which_a_watch_goes_on() {
    let api = filled().await;
    api.set(|abilities| abilities.bookmarks = Duration::from_millis(20));
    let mut followed = Followed::listed(api).await;
    followed.api.skip_versions(1000);
    // Of each kind the second one, before which the first has been sent.
    let before = followed.api.bookmarks();
    until("bookmarks", || followed.api.bookmarks() >= before + 12).await;
    followed.api.compact();
    followed.api.cut();
    followed.api.put(service("web", 81));
    assert_eq!(followed.until("web:81").await, ["web:81"]);
    let asked = followed.asked("services");
    assert!(asked.last().unwrap().contains("resourceVersion=1003"), "{asked:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_one_trouble_and_all_that_was_told_holds() {
    let mut followed = Followed::listed(filled().await).await;
    followed.api.stop();
    let told = followed.until("! ").await;
    assert!(told.last().unwrap().ends_with("trying again, objects told before are kept"), "{told:?}");
    followed.api.put(service("web", 81));
    followed.api.delete(Resource::EndpointSlices, "default", "web-1");
    assert_eq!(followed.rest(), [""; 0]);
    followed.api.resume().await.unwrap();
    let mut told = followed.until("web:81").await;
    if deletions(&told).is_empty() {
        told.extend(followed.until("-EndpointSlice").await);
    }
    assert_eq!(troubles(&told, ""), 0, "{told:?}");
    // It is over when every kind is back. Again, and it is said again.
    let kinds = [Resource::Services, Resource::EndpointSlices, Resource::Nodes, Resource::ServiceCidrs];
    until("every watch", || kinds.iter().all(|kind| followed.api.watches(*kind) == 1)).await;
    followed.api.put(service("web", 82));
    followed.until("web:82").await;
    followed.api.stop();
    assert_eq!(troubles(&followed.until("! ").await, "trying again"), 1);
}

#[tokio::test]
async fn what_goes_while_versions_are_forgotten_is_gone_after_the_next_list() {
    for (streams, expires) in [
        (Offered::Yes, Expires::InWatch),
        (Offered::Yes, Expires::AtOnce),
        (Offered::No, Expires::InWatch),
        (Offered::No, Expires::AtOnce),
    ] {
        let api = filled().await;
        api.set(|abilities| {
            abilities.streams = streams;
            abilities.expires = expires;
        });
        let mut followed = Followed::listed(api).await;
        followed.api.stop();
        followed.until("! ").await;
        followed.api.delete(Resource::Services, "default", "web");
        followed.api.put(service("other", 90));
        followed.api.compact();
        followed.api.resume().await.unwrap();
        let told = followed.until("-Service default/web").await;
        let order: Vec<_> = told.iter().filter(|word| word.contains("other") || word.starts_with('-')).collect();
        assert_eq!(order, ["other:90", "-Service default/web"], "{streams:?} {expires:?}");
        assert!(!told.contains(&"listed".to_owned()), "once is enough");
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_takes_nothing_away() {
    let api = filled().await;
    for number in 0..40 {
        api.put(service(&format!("s{number}"), 80));
    }
    let mut followed = Followed::listed(api).await;
    followed.api.stop();
    followed.until("! ").await;
    followed.api.skip_versions(1);
    followed.api.compact();
    followed.api.flow(Some(Pace { bytes: 2000, pause: Duration::from_millis(50) }));
    followed.api.resume().await.unwrap();
    // In the middle of the list.
    let mut told = followed.until("s1").await;
    followed.api.cut();
    followed.api.flow(None);
    followed.api.put(service("late", 81));
    told.extend(followed.until("late:81").await);
    assert_eq!(deletions(&told), [""; 0]);
    assert!(followed.asked("services").iter().filter(|line| line.contains("sendInitialEvents")).count() >= 3);
}

#[tokio::test]
async fn pages_that_expire_are_read_anew() {
    let api = Api::local().await.unwrap();
    api.set(|abilities| abilities.streams = Offered::No);
    for number in 0..600 {
        api.put(service(&format!("s{number}"), 80));
    }
    api.refuse(Refusing::once("continue=", 410));
    let mut followed = Followed::of(api);
    let told = followed.until("listed").await;
    assert_eq!(deletions(&told), [""; 0]);
    followed.api.put(service("late", 81));
    assert_eq!(followed.until("late:81").await, ["late:81"]);
    assert_eq!(troubles(&told, ""), 0, "{told:?}");
}

#[tokio::test]
async fn a_server_that_asks_for_patience_is_left_alone_for_that_long() {
    let api = filled().await;
    let wait = Duration::from_secs(1);
    api.refuse(Refusing { retry_after: Some(wait), ..Refusing::once("/services", 429) });
    let started = tokio::time::Instant::now();
    let mut followed = Followed::of(api);
    let told = followed.until("listed").await;
    assert!(started.elapsed() >= wait, "{:?}", started.elapsed());
    assert_eq!(troubles(&told, "429"), 1, "{told:?}");
    assert_eq!(followed.asked("services").len(), 2);
}

#[tokio::test]
async fn a_server_that_fails_is_asked_again() {
    for status in [500, 503, 504] {
        let api = filled().await;
        api.refuse(Refusing { times: 3, ..Refusing::once("GET", status) });
        let mut followed = Followed::of(api);
        let told = followed.until("listed").await;
        assert_eq!(troubles(&told, &status.to_string()), 1, "{told:?}");
        assert_eq!(troubles(&told, ""), 1, "{told:?}");
    }
}

#[tokio::test]
async fn what_is_forbidden_is_said_once_and_asked_for_again() {
    let api = filled().await;
    api.refuse(Refusing::always("/endpointslices", 403));
    let mut followed = Followed::of(api);
    followed.until("EndpointSlices cannot be listed").await;
    until("several requests", || followed.asked("endpointslices").len() > 3).await;
    assert_eq!(troubles(&followed.rest(), "cannot be listed"), 0);
    followed.api.relent();
    assert!(followed.until("listed").await.contains(&"EndpointSlice default/web-1".to_owned()));
}

#[tokio::test]
async fn a_cluster_without_service_cidrs_is_said_once_and_served() {
    let api = filled().await;
    api.set(|abilities| abilities.service_cidrs = Offered::No);
    let mut followed = Followed::of(api);
    let told = followed.until("listed").await;
    assert_eq!(troubles(&told, "ServiceCIDRs cannot be listed: 404"), 1, "{told:?}");
    assert_eq!(troubles(&told, "going on without"), 1, "{told:?}");
    followed.api.refuse(Refusing::always("/servicecidrs", 403));
    followed.api.cut();
    followed.api.put(service("web", 81));
    assert_eq!(followed.until("web:81").await, ["web:81"]);
    assert_eq!(followed.asked("servicecidrs").len(), 1);
}

#[tokio::test]
async fn slow_bytes_are_no_silence() {
    let api = filled().await;
    for number in 0..20 {
        api.put(service(&format!("s{number}"), 80));
    }
    // 8 kB at 400 bytes in 20 ms take longer than the silence that is allowed.
    api.flow(Some(Pace { bytes: 400, pause: Duration::from_millis(20) }));
    let mut followed = Followed::with(api, |config| config.silence = Some(Duration::from_millis(300)));
    let told = followed.until("listed").await;
    assert_eq!(troubles(&told, ""), 0, "{told:?}");
    assert_eq!(followed.asked("services").iter().filter(|line| line.contains("limit=")).count(), 0);
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up() {
    let api = filled().await;
    api.set(|abilities| abilities.bookmarks = Duration::from_millis(50));
    let mut followed = Followed::with(api, |config| config.silence = Some(Duration::from_millis(500)));
    followed.until("listed").await;
    let before = followed.asked("services").len();
    // Bookmarks keep an idle watch alive.
    let bookmarks = followed.api.bookmarks();
    until("twice the time of silence", || followed.api.bookmarks() >= bookmarks + 4 * 20).await;
    assert_eq!(followed.asked("services").len(), before);
    let connections = followed.api.connections();
    followed.api.go_silent(None);
    followed.api.put(service("web", 81));
    until("other connections", || followed.api.connections() > connections).await;
    followed.api.speak();
    followed.until("web:81").await;
    until("another watch", || followed.asked("services").len() > before).await;
}

#[tokio::test]
async fn a_stream_that_never_comes_to_its_end_is_replaced_by_pages() {
    let api = filled().await;
    api.set(|abilities| abilities.streams = Offered::Endless);
    let mut followed = Followed::with(api, |config| config.silence = Some(Duration::from_millis(300)));
    let told = followed.until("listed").await;
    assert_eq!(troubles(&told, ""), 0, "{told:?}");
    assert!(followed.asked("services").iter().any(|line| line.contains("limit=500")));
}

#[tokio::test]
async fn an_object_that_cannot_be_read_keeps_its_last_good_state() {
    let mut followed = Followed::listed(filled().await).await;
    let mut broken = service("web", 81);
    broken["spec"]["ports"] = "eighty".into();
    followed.api.put(broken);
    let told = followed.until("! ").await;
    assert_eq!(troubles(&told, "Service default/web"), 1, "{told:?}");
    followed.api.put(service("other", 90));
    assert_eq!(followed.until("other").await, ["other:90"]);
    // A new list that holds it says nothing new.
    followed.api.stop();
    followed.until("objects told before are kept").await;
    followed.api.skip_versions(1);
    followed.api.compact();
    followed.api.resume().await.unwrap();
    let told = followed.until("other:90").await;
    assert_eq!((deletions(&told), troubles(&told, "")), (vec![], 0), "{told:?}");
    followed.api.put(service("web", 82));
    assert_eq!(followed.until("web:82").await.last().unwrap(), "web:82");
}

#[tokio::test]
async fn nonsense_in_a_watch_leads_to_a_new_list() {
    let mut followed = Followed::listed(filled().await).await;
    followed.api.interject(Resource::Services, r#"{"type":"MODIFIED","obj"#);
    until("a new list", || lists(&followed) == 2).await;
    followed.api.put(service("web", 81));
    followed.until("web:81").await;
    followed
        .api
        .interject(Resource::Services, r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#);
    until("a new list", || lists(&followed) == 3).await;
    followed.api.interject(Resource::Services, r#"{"type":"SPARKLE","object":{}}"#);
    followed.api.put(service("web", 82));
    followed.until("web:82").await;
    assert_eq!(lists(&followed), 3);
}

fn lists(followed: &Followed) -> usize {
    followed.asked("services").iter().filter(|line| line.contains("sendInitialEvents")).count()
}

#[tokio::test]
async fn an_agent_that_starts_before_its_api_server_waits_for_it() {
    let mut api = filled().await;
    api.stop();
    let mut followed = Followed::of(api);
    assert_eq!(troubles(&followed.until("! ").await, "refused"), 1);
    followed.api.resume().await.unwrap();
    assert!(followed.until("listed").await.contains(&"web:80".to_owned()));
}

#[tokio::test]
async fn what_comes_together_is_one_batch_and_each_object_once() {
    let mut followed = Followed::listed(filled().await).await;
    followed.api.go_silent(None);
    for port in 81..=90 {
        followed.api.put(service("web", port));
    }
    // What was held back comes at once.
    followed.api.speak();
    assert_eq!(followed.batch().await, ["web:90"]);
}
