//! What came together counts by its end: of the events of one object the last one is told.

use std::collections::HashSet;

use crate::objects::ObjectKey;
use crate::source::Event;

/// Leaves out every event that a later one of the same object makes void. The order of those that are left stays.
pub(super) fn coalesce(mut events: Vec<Event>) -> Vec<Event> {
    if events.len() < 2 {
        return events;
    }
    let mut later: HashSet<ObjectKey> = HashSet::with_capacity(events.len());
    let mut kept = Vec::with_capacity(events.len());
    while let Some(event) = events.pop() {
        let is_last = match &event {
            Event::Changed(object) => later.insert(object.key()),
            Event::Deleted(key) => later.insert(key.clone()),
            Event::Anew | Event::Listed | Event::Trouble(_) => true,
        };
        if is_last {
            kept.push(event);
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Item, Kind, read};

    fn changed(name: &str, port: u16) -> Event {
        let text = format!("{{kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: {port}}}]}}}}");
        let text = text.replacen('{', "{apiVersion: v1, ", 1);
        let Item::Object(object) = read(&text).remove(0) else { panic!("{text}") };
        Event::Changed(object)
    }

    fn deleted(name: &str) -> Event {
        Event::Deleted(ObjectKey { kind: Kind::Service, namespace: "default".into(), name: name.into() })
    }

    #[test]
    fn the_last_event_of_each_object_is_told() {
        let events =
            vec![changed("a", 1), deleted("b"), changed("a", 2), changed("b", 3), changed("c", 4), deleted("c")];
        assert_eq!(coalesce(events), [changed("a", 2), changed("b", 3), deleted("c")]);
    }

    #[test]
    fn what_is_no_object_stays_where_it_is() {
        let events = vec![changed("a", 1), Event::Listed, changed("a", 2), Event::Anew];
        assert_eq!(coalesce(events), [Event::Listed, changed("a", 2), Event::Anew]);
        assert_eq!(coalesce(vec![]), []);
    }
}
