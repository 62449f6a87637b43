//! What a list and watch has told of one kind of objects.

use std::collections::BTreeSet;

use kubernetes::objects::ObjectKey;
use kubernetes::source::Event;
use kubernetes::source::list_watch::{Failure, ListWatch, Refusal, Resource};

pub(super) struct Told {
    pub(super) list_watch: ListWatch,
    objects: BTreeSet<ObjectKey>,
}

impl Told {
    /// Of the kind that the first byte says, and what follows it.
    pub(super) fn of_kind(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, rest) = bytes.split_first()?;
        let resource = match kind % 4 {
            0 => Resource::services(),
            1 => Resource::slices(),
            2 => Resource::node(&"node1".parse().expect("a name")),
            _ => Resource::service_cidrs(),
        };
        Some((Self { list_watch: ListWatch::new(resource, "API".to_owned()), objects: BTreeSet::new() }, rest))
    }

    /// What is told to be gone was told before.
    pub(super) fn take(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Changed(object) => drop(self.objects.insert(object.key())),
                Event::Deleted(key) => assert!(self.objects.remove(&key), "{key} was never told"),
                Event::Trouble(trouble) => assert!(!trouble.to_string().is_empty()),
                Event::Anew | Event::Listed => unreachable!("a kind of objects is no source"),
            }
        }
        assert!(self.list_watch.request(300).starts_with('/'));
    }

    /// An empty list leaves nothing.
    pub(super) fn end(mut self) {
        let mut events = Vec::new();
        self.list_watch.failed(&Failure::Refused(Refusal::read(410, b"")));
        let kind = self.list_watch.resource().kind().as_str();
        let empty = format!(r#"{{"kind":"{kind}List","metadata":{{"resourceVersion":"9"}},"items":[]}}"#);
        self.list_watch.page(empty.as_bytes(), &mut events).expect("a list of nothing");
        self.take(events);
        assert_eq!(self.objects, BTreeSet::new(), "an empty list leaves nothing");
    }
}
