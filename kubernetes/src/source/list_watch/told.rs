//! What was told of one kind of objects, and what of it the list that is being read holds.
//!
//! **Invariant:** bounded, whatever a server sends: [`MOST_OBJECTS`] and [`MOST_BYTES`], of one kind.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::{Answered, Item};
use super::{Event, Failure, Trouble};
use crate::objects::ObjectKey;

/// How many objects of one kind there may be: some ten times what the largest clusters have.
const MOST_OBJECTS: usize = 1 << 20;

/// How much text all objects of one kind may be, as the API prints them.
const MOST_BYTES: usize = 1 << 30;

/// Of how many objects that cannot be read it is known what was said of them; of more, nothing is said.
const MOST_UNREADABLE: usize = 1 << 10;

/// Everything that was told, and is not gone.
#[derive(Debug)]
pub(super) struct Told {
    /// Which API it is, for troubles.
    place: String,
    /// Every object, with the length of its text.
    objects: BTreeMap<ObjectKey, usize>,
    /// The sum of those lengths.
    bytes: usize,
    /// Those of the list that is being read.
    seen: BTreeSet<ObjectKey>,
    /// What was said of objects that cannot be read; without a key: of the last one that has no name.
    unreadable: BTreeMap<Option<ObjectKey>, String>,
}

impl Told {
    pub(super) fn new(place: String) -> Self {
        Self { place, objects: BTreeMap::new(), bytes: 0, seen: BTreeSet::new(), unreadable: BTreeMap::new() }
    }

    /// A list begins, from its beginning.
    pub(super) fn list_begins(&mut self) {
        self.seen.clear();
    }

    /// Tells of an object, which a list holds or a watch has changed. Returns its key, if it has one.
    ///
    /// # Errors
    /// [`Failure::TooLong`].
    pub(super) fn tell(&mut self, answered: Answered, events: &mut Vec<Event>) -> Result<Option<ObjectKey>, Failure> {
        let Answered { item, length } = answered;
        let object = match item {
            Item::Object(object) => object,
            Item::Unreadable { key, reason } => {
                self.say_unreadable(key.clone(), reason, events);
                return Ok(key);
            }
        };
        let key = object.key();
        self.read_again(&key);
        // Taken out first, because the new key shares its texts with the new object.
        let former = self.objects.remove(&key).unwrap_or_default();
        self.bytes = self.bytes - former + length;
        self.objects.insert(key.clone(), length);
        events.push(Event::Changed(object));
        self.check(&key)?;
        Ok(Some(key))
    }

    /// The list that is being read holds this one. Whether that is new.
    ///
    /// # Errors
    /// [`Failure::TooLong`].
    pub(super) fn see(&mut self, key: ObjectKey) -> Result<bool, Failure> {
        self.check(&key)?;
        Ok(self.seen.insert(key))
    }

    /// It is gone.
    pub(super) fn gone(&mut self, key: &ObjectKey, events: &mut Vec<Event>) {
        self.seen.remove(key);
        self.read_again(key);
        if let Some((key, length)) = self.objects.remove_entry(key) {
            self.bytes -= length;
            events.push(Event::Deleted(key));
        }
    }

    /// The list is complete: what it does not hold is gone.
    pub(super) fn list_ends(&mut self, events: &mut Vec<Event>) {
        let seen = std::mem::take(&mut self.seen);
        let missing: Vec<_> = self.objects.keys().filter(|key| !seen.contains(key)).cloned().collect();
        self.unreadable.retain(|key, _| key.as_ref().is_some_and(|key| seen.contains(key)));
        for key in &missing {
            self.gone(key, events);
        }
    }

    fn check(&self, key: &ObjectKey) -> Result<(), Failure> {
        let kind = key.kind.as_str();
        if self.objects.len() > MOST_OBJECTS || self.seen.len() > MOST_OBJECTS {
            return Err(Failure::TooLong(format!("there are more than {MOST_OBJECTS} objects of kind {kind}")));
        }
        if self.bytes > MOST_BYTES {
            return Err(Failure::TooLong(format!("objects of kind {kind} are more than {} MiB", MOST_BYTES >> 20)));
        }
        Ok(())
    }

    fn read_again(&mut self, key: &ObjectKey) {
        if !self.unreadable.is_empty() {
            self.unreadable.remove(&Some(key.clone()));
        }
    }

    fn say_unreadable(&mut self, key: Option<ObjectKey>, reason: String, events: &mut Vec<Event>) {
        if self.unreadable.get(&key) == Some(&reason) || self.unreadable.len() >= MOST_UNREADABLE {
            return;
        }
        let holds = key.as_ref().is_some_and(|key| self.objects.contains_key(key));
        let consequence = if holds { "its last good state is kept" } else { "it is ignored" };
        let place = self.place.clone();
        let said = format!("{reason}; {consequence}");
        events.push(Event::Trouble(Trouble { place, line: None, object: key.clone(), reason: said }));
        self.unreadable.insert(key, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Kind;

    fn of_size(name: &str, length: usize) -> Answered {
        let text = format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}}}");
        let crate::objects::Item::Object(object) = crate::objects::read(&text).remove(0) else { panic!("{text}") };
        Answered { item: Item::Object(object), length }
    }

    fn unreadable(name: Option<&str>, reason: &str) -> Answered {
        let key = name.map(|name| ObjectKey { kind: Kind::Service, namespace: "".into(), name: name.into() });
        Answered { item: Item::Unreadable { key, reason: reason.into() }, length: 1 }
    }

    #[test]
    fn objects_have_a_bound_together_and_give_back_what_they_took() {
        let (mut told, mut events) = (Told::new("api".into()), Vec::new());
        let half = MOST_BYTES / 2;
        for _ in 0..3 {
            assert!(told.tell(of_size("a", half), &mut events).is_ok());
        }
        assert!(told.tell(of_size("b", half), &mut events).is_ok());
        let failure = told.tell(of_size("c", 1), &mut events).unwrap_err();
        assert_eq!(failure.to_string(), "objects of kind Service are more than 1024 MiB");
        let key = ObjectKey { kind: Kind::Service, namespace: "default".into(), name: "b".into() };
        told.gone(&key, &mut events);
        assert!(told.tell(of_size("c", 1), &mut events).is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_said_once_and_no_more_often_than_is_known() {
        let (mut told, mut events) = (Told::new("api".into()), Vec::new());
        for _ in 0..3 {
            told.tell(unreadable(None, "no name"), &mut events).unwrap();
            told.tell(unreadable(Some("a"), "no list"), &mut events).unwrap();
        }
        assert_eq!(events.len(), 2);
        for number in 0..2 * MOST_UNREADABLE {
            told.tell(unreadable(Some(&number.to_string()), "no list"), &mut events).unwrap();
        }
        assert_eq!(events.len(), MOST_UNREADABLE);
    }
}
