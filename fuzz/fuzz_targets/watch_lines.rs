//! A watch as an API server sends it, line by line: nothing panics, and what is told to be gone was told before.

#![no_main]

use std::collections::BTreeSet;

use kubernetes::objects::ObjectKey;
use kubernetes::source::Event;
use kubernetes::source::list_watch::{Failure, ListWatch, Refusal, Resource};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let node = Resource::node(&"node1".parse().expect("a name"));
    for resource in [Resource::services(), Resource::slices(), node, Resource::service_cidrs()] {
        let mut watch = ListWatch::new(resource, "API".to_owned());
        let mut told = BTreeSet::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            let mut events = Vec::new();
            if let Err(failure) = watch.line(line, &mut events) {
                watch.failed(&failure);
            }
            mirror(&events, &mut told);
            assert!(watch.request(300).starts_with('/'));
        }
        watch.ended();
        watch.failed(&Failure::Cut);
        let mut events = Vec::new();
        watch.failed(&Failure::Refused(Refusal::read(410, b"")));
        let kind = watch.resource().kind().as_str();
        let empty = format!(r#"{{"kind":"{kind}List","metadata":{{"resourceVersion":"9"}},"items":[]}}"#);
        watch.page(empty.as_bytes(), &mut events).expect("a list of nothing");
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
