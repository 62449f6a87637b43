//! Pages of a list as an API server sends them, one after the other, separated by a byte 0: nothing panics, and a later
//! list deletes exactly what was told and is missing.

#![no_main]

use std::collections::BTreeSet;

use kubernetes::objects::ObjectKey;
use kubernetes::source::Event;
use kubernetes::source::list_watch::{Failure, ListWatch, Refusal, Resource};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let node = Resource::node(&"node1".parse().expect("a name"));
    for resource in [Resource::services(), Resource::slices(), node, Resource::service_cidrs()] {
        let mut list = ListWatch::new(resource, "API".to_owned());
        let mut told = BTreeSet::new();
        for page in bytes.split(|byte| *byte == 0) {
            let mut events = Vec::new();
            if let Err(failure) = list.page(page, &mut events) {
                list.failed(&failure);
            }
            list.failed(&Failure::Refused(Refusal::read(0, page)));
            mirror(&events, &mut told);
            assert!(list.request(300).starts_with('/'));
        }
        let mut events = Vec::new();
        list.failed(&Failure::Refused(Refusal::read(410, b"")));
        let kind = list.resource().kind().as_str();
        let empty = format!(r#"{{"kind":"{kind}List","metadata":{{"resourceVersion":"9"}},"items":[]}}"#);
        list.page(empty.as_bytes(), &mut events).expect("a list of nothing");
        mirror(&events, &mut told);
        assert_eq!(told, BTreeSet::new(), "an empty list leaves nothing");
    }
});

fn mirror(events: &[Event], told: &mut BTreeSet<ObjectKey>) {
    for event in events {
        match event {
            Event::Changed(object) => drop(told.insert(object.key())),
            Event::Deleted(key) => assert!(told.remove(key), "{key} was never told"),
            Event::Trouble(trouble) => assert!(!trouble.to_string().is_empty()),
            Event::Anew | Event::Listed => unreachable!("a kind of objects is no source"),
        }
    }
}
