//! What answers lead to, answer by answer.

use std::time::Duration;

use super::answer::{Answered, Item};
use super::*;
use crate::objects::{Kind, Object, ObjectKey, read};

fn object(name: &str) -> Object {
    let text = format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}}}");
    let crate::objects::Item::Object(object) = read(&text).remove(0) else { panic!("{text}") };
    object
}

fn key(name: &str) -> ObjectKey {
    ObjectKey { kind: Kind::Service, namespace: "default".into(), name: name.into() }
}

fn unreadable(name: &str) -> Answered {
    Answered { item: Item::Unreadable { key: Some(key(name)), reason: "ports are no list".into() }, length: 10 }
}

fn readable(name: &str) -> Answered {
    Answered { item: Item::Object(object(name)), length: 10 }
}

fn changed(item: Answered) -> Line {
    Line::Changed { item, version: Some("11".into()) }
}

fn fresh() -> ListWatch {
    ListWatch::new(Resource::services(), "api".into())
}

/// Events in short: `a` told, `-a` gone, `! …` a trouble.
fn words(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| match event {
        Event::Changed(object) => object.key().name.to_string(),
        Event::Deleted(key) => format!("-{}", key.name),
        Event::Anew => unreachable!("one API is one source"),
        Event::Listed => "listed".into(),
        Event::Trouble(trouble) => format!("! {trouble}"),
    };
    events.iter().map(word).collect()
}

fn page(services: &mut ListWatch, names: &[&str], rest: Option<&str>) -> Vec<String> {
    let mut events = Vec::new();
    let items = names.iter().map(|name| readable(name)).collect();
    services.take_page(Page { items, version: "3".into(), rest: rest.map(str::to_owned) }, &mut events).unwrap();
    words(&events)
}

fn line(services: &mut ListWatch, line: Line) -> Vec<String> {
    let mut events = Vec::new();
    services.take_line(line, &mut events).unwrap();
    words(&events)
}

fn told(services: &mut ListWatch, name: &str) -> Vec<String> {
    line(services, changed(readable(name)))
}

fn bookmark(services: &mut ListWatch, version: &str, initial: Initial) -> Vec<String> {
    line(services, Line::Bookmark { version: version.into(), initial })
}

fn refusal(code: u16) -> Failure {
    Failure::Refused(Refusal { code, message: "no".into(), retry_after: None })
}

fn first_page() -> Ask {
    Ask::Page { from: None, size: Size::PAGE }
}

fn check(version: &str) -> Ask {
    Ask::Check { since: version.into() }
}

/// The answer to a check, by a server whose version of today is this.
fn checked(services: &mut ListWatch, version: &str) -> Result<(), Failure> {
    let text = format!(r#"{{"kind":"ServiceList","metadata":{{"resourceVersion":"{version}"}},"items":[]}}"#);
    services.page(text.as_bytes(), &mut Vec::new())
}

fn since(version: &str) -> Ask {
    Ask::Watch { since: version.into() }
}

/// A list of `names` that is complete and watched.
fn watching(names: &[&str]) -> ListWatch {
    let mut services = fresh();
    for name in names {
        told(&mut services, name);
    }
    bookmark(&mut services, "9", Initial::Complete);
    services
}

#[test]
fn a_stream_becomes_a_watch_when_everything_was_told() {
    let mut services = fresh();
    assert_eq!(services.ask, Ask::Stream);
    assert_eq!(told(&mut services, "a"), ["a"]);
    assert_eq!(bookmark(&mut services, "4", Initial::Unsaid), [""; 0]);
    assert_eq!((&services.ask, services.completeness()), (&Ask::Stream, Completeness::Listing));
    assert_eq!(bookmark(&mut services, "9", Initial::Complete), [""; 0]);
    assert_eq!((&services.ask, services.completeness()), (&since("9"), Completeness::Listed));
}

#[test]
fn a_watch_goes_on_after_the_last_version_that_it_told() {
    let mut services = watching(&["a"]);
    told(&mut services, "b");
    assert_eq!(services.ask, since("11"));
    bookmark(&mut services, "12", Initial::Unsaid);
    assert_eq!(services.ask, since("12"));
    let gone = Line::Deleted { key: key("a"), version: Some("13".into()) };
    assert_eq!(line(&mut services, gone), ["-a"]);
    services.ended();
    assert_eq!(services.ask, since("13"));
    // Cut, it asks first whether that version was there.
    assert_eq!((services.failed(&Failure::Cut), &services.ask), (Remedy::Later, &check("13")));
    assert_eq!((checked(&mut services, "13"), &services.ask), (Ok(()), &since("13")));
}

#[test]
fn a_server_that_cannot_stream_is_asked_for_pages() {
    let mut services = fresh();
    assert_eq!(services.failed(&refusal(422)), Remedy::Now);
    assert_eq!(services.ask, first_page());
    assert_eq!(page(&mut services, &["a"], Some("next")), ["a"]);
    assert_eq!(services.ask, Ask::Page { from: Some("next".into()), size: Size::PAGE });
    assert_eq!(page(&mut services, &["b"], None), ["b"]);
    assert_eq!((&services.ask, services.completeness()), (&since("3"), Completeness::Listed));
    // Later lists do not ask for a stream again, until there is another server.
    services.failed(&refusal(410));
    assert_eq!(services.ask, first_page());
    services.meet_another_server();
    services.failed(&refusal(410));
    assert_eq!(services.ask, Ask::Stream);
}

#[test]
fn what_is_missing_is_gone_after_the_whole_list() {
    let mut services = watching(&["a", "b", "c"]);
    services.failed(&refusal(410));
    assert_eq!(services.ask, Ask::Stream);
    assert_eq!(told(&mut services, "b"), ["b"]);
    // Cut in the middle: nothing is gone, and the list begins anew.
    assert_eq!(services.failed(&Failure::Cut), Remedy::Later);
    assert_eq!(told(&mut services, "c"), ["c"]);
    assert_eq!(bookmark(&mut services, "20", Initial::Complete), ["-a", "-b"]);
}

#[test]
fn what_goes_while_it_is_listed_is_gone() {
    let mut services = fresh();
    told(&mut services, "a");
    let gone = Line::Deleted { key: key("a"), version: None };
    assert_eq!(line(&mut services, gone), ["-a"]);
    assert_eq!(bookmark(&mut services, "9", Initial::Complete), [""; 0]);
}

#[test]
fn a_list_whose_pages_expire_is_asked_for_whole_once() {
    let mut services = fresh();
    services.failed(&refusal(422));
    page(&mut services, &["a"], Some("next"));
    assert_eq!(services.failed(&refusal(410)), Remedy::Now);
    assert_eq!(services.ask, Ask::Page { from: None, size: Size::Whole });
    page(&mut services, &["a", "b"], None);
    services.failed(&refusal(410));
    assert_eq!(services.ask, first_page());
}

#[test]
fn an_object_that_cannot_be_read_costs_itself_alone_and_is_told_once() {
    let mut services = watching(&["a"]);
    let trouble = "! api: Service default/a: ports are no list; its last good state is kept";
    assert_eq!(line(&mut services, changed(unreadable("a"))), [trouble]);
    assert_eq!(line(&mut services, changed(unreadable("a"))), [""; 0]);
    let never = "! api: Service default/x: ports are no list; it is ignored";
    assert_eq!(line(&mut services, changed(unreadable("x"))), [never]);
    // A list that holds it unreadable holds it.
    services.failed(&refusal(410));
    line(&mut services, changed(unreadable("a")));
    assert_eq!(bookmark(&mut services, "10", Initial::Complete), [""; 0]);
    // What was never told is not told to be gone.
    assert_eq!(line(&mut services, Line::Deleted { key: key("x"), version: None }), [""; 0]);
    assert_eq!(told(&mut services, "a"), ["a"]);
    assert_eq!(line(&mut services, changed(unreadable("a"))), [trouble]);
}

#[test]
fn a_stream_that_does_not_come_to_its_end_is_given_up() {
    for stop in [
        |services: &mut ListWatch| services.ended(),
        |services: &mut ListWatch| drop(services.failed(&Failure::Silent)),
    ] {
        let mut services = fresh();
        told(&mut services, "a");
        stop(&mut services);
        assert_eq!(services.ask, first_page());
    }
}

#[test]
fn a_version_that_keeps_failing_is_given_up() {
    for failure in [Failure::Cut, Failure::Silent, refusal(500)] {
        let mut services = watching(&["a"]);
        for _ in 0..2 {
            services.failed(&failure);
            assert_eq!(services.ask, check("9"), "{failure:?}");
            // How often a server is away meanwhile says nothing about the version.
            services.failed(&failure);
            services.failed(&Failure::Unreachable("refused".into()));
            checked(&mut services, "9").unwrap();
        }
        assert!(matches!(services.failed(&failure), Remedy::Away { .. }), "{failure:?}");
        assert_eq!(services.ask, Ask::Stream, "{failure:?}");
    }
    let mut services = watching(&["a"]);
    services.failed(&Failure::Nonsense("no JSON".into()));
    assert_eq!(services.ask, Ask::Stream);
}

#[test]
fn a_server_that_is_away_is_asked_for_the_same_as_long_as_it_takes() {
    let mut services = watching(&["a"]);
    for _ in 0..10 {
        let away = Remedy::Away { reason: "connection refused".into(), not_before: Duration::ZERO };
        assert_eq!(services.failed(&Failure::Unreachable("connection refused".into())), away);
    }
    let busy = Refusal { code: 429, message: "slow down".into(), retry_after: Some(Duration::from_secs(7)) };
    let away = Remedy::Away { reason: "it answers 429: slow down".into(), not_before: Duration::from_secs(7) };
    assert_eq!(services.failed(&Failure::Refused(busy)), away);
    assert!(matches!(services.failed(&refusal(401)), Remedy::Away { .. }));
    assert_eq!(services.ask, check("9"));
    services.failed(&Failure::Nonsense("<html>".into()));
    assert_eq!(services.ask, check("9"));
}

#[test]
fn a_version_that_went_back_is_noticed_before_it_is_watched_and_while() {
    let mut services = watching(&["a"]);
    services.failed(&Failure::Unreachable("connection refused".into()));
    let failure = checked(&mut services, "8").unwrap_err();
    assert!(failure.to_string().starts_with("the server's resourceVersion went back from 9 to 8"), "{failure}");
    assert!(matches!(services.failed(&failure), Remedy::Away { .. }));
    assert_eq!(services.ask, Ask::Stream);
    assert_eq!(bookmark(&mut services, "8", Initial::Complete), ["-a"]);

    let back = Line::Bookmark { version: "7".into(), initial: Initial::Unsaid };
    let failure = services.take_line(back, &mut Vec::new()).unwrap_err();
    services.failed(&failure);
    assert_eq!(services.ask, Ask::Stream);
    // What is no number has no order.
    bookmark(&mut services, "9", Initial::Complete);
    bookmark(&mut services, "x7", Initial::Unsaid);
    assert_eq!(services.ask, since("x7"));
}

#[test]
fn a_selector_that_the_server_does_not_know_is_left_out() {
    for mut services in [fresh(), watching(&["a"])] {
        let before = services.ask.clone();
        assert!(services.request(300).contains("fieldSelector"));
        assert_eq!((services.failed(&refusal(400)), &services.ask), (Remedy::Now, &before));
        assert!(!services.request(300).contains("fieldSelector"));
        services.failed(&Failure::Unreachable("connection refused".into()));
        assert!(services.request(300).contains("fieldSelector"), "another version may come back");
    }
    let mut node = ListWatch::new(Resource::node(&"node2".parse().unwrap()), "api".into());
    assert_eq!(node.failed(&refusal(400)), Remedy::Now);
    assert!(node.request(300).contains("fieldSelector"), "another node is never asked for");
}

#[test]
fn a_list_that_always_breaks_off_is_read_in_pages_and_ever_smaller_ones() {
    for failure in [Failure::Cut, Failure::Nonsense("<html>".into()), Failure::TooLong("a line".into())] {
        let mut services = fresh();
        services.failed(&failure);
        services.failed(&failure);
        assert_eq!(services.ask, Ask::Stream, "{failure:?}");
        let Remedy::Away { reason, .. } = services.failed(&failure) else { panic!("{failure:?}") };
        assert!(failure != Failure::Cut || reason.ends_with("asking for it in pages"), "{reason}");
        assert!(matches!(services.ask, Ask::Page { from: None, .. }), "{failure:?}");
    }
    let mut services = fresh();
    services.failed(&refusal(422));
    for size in [125, 31, 7, 1, 1] {
        assert!(matches!(services.failed(&Failure::Cut), Remedy::Away { .. }));
        assert_eq!(services.ask, Ask::Page { from: None, size: Size::Page(size) });
    }
}

#[test]
fn what_is_forbidden_or_not_there_is_no_outage() {
    let denied = Remedy::Denied { reason: "403: no".into() };
    let unknown = Remedy::Unknown { reason: "404: no".into() };
    for (code, expected) in [(403, denied), (404, unknown)] {
        let mut services = fresh();
        assert_eq!(services.failed(&refusal(code)), expected);
        assert_eq!(services.completeness(), Completeness::Listing);
        services.go_without();
        assert_eq!(services.completeness(), Completeness::Listed);
    }
}
