//! Answers that are none, and answers without an end: they are said, they cost a bounded amount of memory, and what was
//! told holds.

use std::time::Duration;

use switchyard_conformance::api::{Api, Offered, Refusing, Resource, Saying};
use tokio::time::Instant;

use crate::followed::{Followed, node, service, slice, until};

async fn filled() -> Api {
    let api = Api::local().await.unwrap();
    for object in [service("web", 80), slice("web", &["10.244.2.2"]), node("node2")] {
        api.put(object);
    }
    api
}

/// A source that is answered like this, from its start or after a list, says so within seconds, deletes nothing, and
/// goes on when that is over.
async fn check(matching: &str, status: u16, saying: Saying, expected: &str) {
    for (streams, listed) in [(Offered::Yes, true), (Offered::Yes, false), (Offered::No, false)] {
        let api = filled().await;
        api.set(|abilities| abilities.streams = streams);
        let mut followed = Followed::of(api);
        if listed {
            followed.until("listed").await;
            until("a watch", || followed.api.watches(Resource::Services) == 1).await;
        }
        followed.api.refuse(Refusing::saying(matching, status, saying.clone()));
        followed.api.cut();
        let started = Instant::now();
        let mut told = followed.until(expected).await;
        assert!(started.elapsed() < Duration::from_secs(10), "{expected}: {:?}", started.elapsed());
        let longest = told.iter().map(String::len).max();
        assert!(longest < Some(1000), "{expected}: {longest:?}");
        followed.api.relent();
        followed.api.put(service("web", 81));
        told.extend(followed.until("web:81").await);
        let gone: Vec<_> = told.iter().filter(|word| word.starts_with("-")).collect();
        assert!(gone.is_empty(), "{expected}: {gone:?}");
    }
}

fn text(text: &str) -> Saying {
    Saying::Text(text.to_owned())
}

fn endless(first: &str, again: &str) -> Saying {
    Saying::Endless { first: first.to_owned(), again: again.repeat((64 << 10) / again.len().max(1)) }
}

#[tokio::test]
async fn what_is_no_answer_is_said_with_how_it_begins() {
    for (answer, expected) in [
        ("<html>\n<body>maintenance\u{1b}[31m", r#"it begins with "<html>\n<body>maintenance\u{1b}[31m""#),
        ("{}", r#"it begins with "{}""#),
        ("null", r#"it begins with "null""#),
        ("", r#"it begins with """#),
        (r#"{"items":[]}"#, "kind is not"),
        (r#"{"kind":"List","apiVersion":"v1","metadata":{},"items":[]}"#, "kind is not"),
    ] {
        check("GET", 200, text(answer), expected).await;
    }
    let no_version = r#"{"kind":"ServiceList","apiVersion":"v1","metadata":{},"items":[]}"#;
    check("/services", 200, text(no_version), "no metadata.resourceVersion").await;
}

#[tokio::test]
async fn a_refusal_in_many_words_is_said_in_few() {
    let status = format!(r#"{{"kind":"Status","message":"{}","code":403}}"#, "no\\n".repeat(3 << 20));
    check("GET", 403, Saying::Text(status), "403: ").await;
    check("GET", 500, endless("out of order ", "and "), "500: out of order").await;
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up_and_said() {
    check("/services", 200, endless(r#"{"type":"ADDED","object":{"a":""#, "x"), "is longer than").await;
    check("/services", 200, endless("", " "), "is longer than").await;
    check("/services", 200, endless("", "\n"), "longer than").await;
}

#[tokio::test]
async fn a_list_that_goes_on_for_ever_with_what_it_held_before_is_given_up_and_said() {
    let page = r#"{"kind":"ServiceList","metadata":{"resourceVersion":"9000","continue":"more"},"items":[
        {"metadata":{"name":"web","namespace":"default"},"spec":{"clusterIP":"10.96.0.80"}}]}"#;
    let api = filled().await;
    api.set(|abilities| abilities.streams = Offered::No);
    api.refuse(Refusing::saying("/services?limit=500", 200, text(page)));
    let mut followed = Followed::of(api);
    followed.until("nothing new").await;
    followed.api.relent();
    followed.until("listed").await;
}

#[tokio::test]
async fn a_flood_of_changes_is_told_by_its_last_ones() {
    let mut followed = Followed::listed(filled().await).await;
    until("a watch", || followed.api.watches(Resource::Services) == 1).await;
    followed.api.go_silent(None);
    for round in 0..1000 {
        followed.api.put(service("web", 1000 + round));
        followed.api.put(service("other", 1000 + round));
    }
    followed.api.delete(Resource::Services, "default", "other");
    followed.api.put(service("last", 1));
    followed.api.speak();
    let told = followed.until("last").await;
    assert!(told.len() < 200, "{} events", told.len());
    assert_eq!(told.iter().rfind(|word| word.contains("web")).unwrap(), "web:1999");
    assert_eq!(told.iter().rfind(|word| word.contains("other")).unwrap(), "-Service default/other");
}
