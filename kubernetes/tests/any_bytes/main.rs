//! Whatever stands in a file, and whatever an API server sends: nothing panics, and what was told can be taken back.
//!
//! The inputs are real ones with some bytes changed. `PROPTEST_CASES=100000` tries more of them.

use std::collections::BTreeSet;

use backend_api::{NodeNetwork, ServiceState};
use proptest::prelude::*;
use proptest::sample::Index;
use switchyard_kubernetes::objects::{Item, ObjectKey, read};
use switchyard_kubernetes::resolve::Resolver;
use switchyard_kubernetes::settings::{LocalDetector, Settings};
use switchyard_kubernetes::source::Event;
use switchyard_kubernetes::source::list_watch::{Failure, ListWatch, Refusal, Resource};

const FILES: [&str; 2] = [include_str!("seeds/list.yaml"), include_str!("seeds/service.json")];

const PAGES: [&str; 3] = [
    include_str!("seeds/page_services.json"),
    include_str!("seeds/page_endpointslices.json"),
    include_str!("seeds/page_nodes.json"),
];

const WATCHES: [&str; 3] = [
    include_str!("seeds/watch_services.txt"),
    include_str!("seeds/watch_endpointslices.txt"),
    include_str!("seeds/watch_nodes.txt"),
];

/// Pieces that mean something to a parser.
const PIECES: [&str; 20] = [
    "", "\n", "---\n", "- ", ": ", "{", "}", "[", "]", "\"", ",", "null", "7", "-1", "70000", "1e99", "é", "&a ", "*a",
    "\0",
];

/// In place of some bytes, a piece.
#[derive(Clone, Debug)]
struct Edit {
    at: Index,
    removed: usize,
    piece: &'static str,
}

fn edited(seeds: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<Index>(), prop_oneof![0..4usize, 0..200usize], prop::sample::select(&PIECES[..]))
        .prop_map(|(at, removed, piece)| Edit { at, removed, piece });
    (prop::sample::select(seeds), prop::collection::vec(edit, 1..6)).prop_map(|(seed, edits)| {
        let mut bytes = seed.as_bytes().to_vec();
        for Edit { at, removed, piece } in edits {
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + removed);
            bytes.splice(at..end, piece.bytes());
        }
        bytes
    })
}

fn kinds() -> [Resource; 4] {
    let node = Resource::node(&"node1".parse().unwrap());
    [Resource::services(), Resource::slices(), node, Resource::service_cidrs()]
}

/// Every object that was told and is not gone.
#[derive(Default)]
struct Mirror(BTreeSet<ObjectKey>);

impl Mirror {
    fn take(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Changed(object) => drop(self.0.insert(object.key())),
                Event::Deleted(key) => assert!(self.0.remove(key), "{key} was never told"),
                Event::Trouble(trouble) => assert!(!trouble.to_string().is_empty()),
                Event::Anew | Event::Listed => unreachable!("a kind of objects is no source"),
            }
        }
    }

    /// What a list without any object leaves.
    fn after_an_empty_list(mut self, list: &mut ListWatch) -> BTreeSet<ObjectKey> {
        let mut events = Vec::new();
        list.failed(&Failure::Refused(Refusal::read(410, b"")));
        let kind = list.resource().kind().as_str();
        let empty = format!(r#"{{"kind":"{kind}List","metadata":{{"resourceVersion":"9"}},"items":[]}}"#);
        list.page(empty.as_bytes(), &mut events).unwrap();
        self.take(&events);
        self.0
    }
}

proptest! {
    #[test]
    fn any_file_is_resolved_and_leaves_nothing_when_its_objects_go(bytes in edited(&FILES)) {
        let settings = Settings::new("node1".parse().unwrap(), LocalDetector::NodeCidrs);
        let (mut resolver, mut state) = (Resolver::new(settings), ServiceState::new(NodeNetwork::unknown()));
        let mut keys = Vec::new();
        for item in read(&String::from_utf8_lossy(&bytes)) {
            match item {
                Item::Object(object) => {
                    keys.push(object.key());
                    resolver.upsert(&object);
                }
                Item::Foreign { line, .. } => prop_assert!(line > 0),
                Item::Refused(refused) => prop_assert!(refused.line > 0),
            }
        }
        prop_assert_eq!(resolver.resolve().apply(&mut state).flawed, []);
        prop_assert!(resolver.resolve().is_empty());
        keys.iter().for_each(|key| resolver.remove(key));
        resolver.resolve().apply(&mut state);
        prop_assert!(resolver.has_no_services() && state.is_empty());
    }

    #[test]
    fn any_page_is_read_or_refused_and_an_empty_list_takes_it_back(bytes in edited(&PAGES)) {
        for resource in kinds() {
            let (mut list, mut mirror) = (ListWatch::new(resource, "API".to_owned()), Mirror::default());
            let mut events = Vec::new();
            if let Err(failure) = list.page(&bytes, &mut events) {
                list.failed(&failure);
            }
            list.failed(&Failure::Refused(Refusal::read(0, &bytes)));
            mirror.take(&events);
            prop_assert_eq!(mirror.after_an_empty_list(&mut list), BTreeSet::new());
        }
    }

    #[test]
    fn any_watch_is_read_or_refused_and_an_empty_list_takes_it_back(bytes in edited(&WATCHES)) {
        for resource in kinds() {
            let (mut watch, mut mirror) = (ListWatch::new(resource, "API".to_owned()), Mirror::default());
            for line in bytes.split(|byte| *byte == b'\n') {
                let mut events = Vec::new();
                if let Err(failure) = watch.line(line, &mut events) {
                    watch.failed(&failure);
                }
                mirror.take(&events);
            }
            watch.ended();
            prop_assert_eq!(mirror.after_an_empty_list(&mut watch), BTreeSet::new());
        }
    }
}
