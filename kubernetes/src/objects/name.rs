//! Texts that many objects repeat: names of nodes and zones, namespaces, names of ports.
//!
//! Kept apart from other texts because a cluster with 250,000 endpoints has some thousand of them: each is in memory once,
//! mostly.

use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde::{Deserialize, Deserializer};

use super::text::Text;

/// How many texts are looked at to find one that is the same; a text has one place.
const PLACES: usize = 8192;

/// The texts that were read last, by their hashes. Two that have the same place take turns: then some are in memory
/// twice, which is all that can happen. Bounded, so nothing has to be taken out of it.
static LAST: LazyLock<Last> = LazyLock::new(Last::default);

struct Last {
    hashes: RandomState,
    texts: Mutex<Box<[Option<Arc<str>>]>>,
}

impl Default for Last {
    fn default() -> Self {
        Self { hashes: RandomState::new(), texts: Mutex::new(vec![None; PLACES].into()) }
    }
}

impl Last {
    fn share(&self, text: &str) -> Arc<str> {
        let place = self.hashes.hash_one(text) as usize % PLACES;
        let place = &mut self.texts.lock().unwrap_or_else(PoisonError::into_inner)[place];
        match place {
            Some(known) if **known == *text => known.clone(),
            _ => place.insert(text.into()).clone(),
        }
    }
}

/// A text that is in memory once, mostly.
#[derive(Clone, Debug)]
pub(super) struct Repeated(pub(super) Arc<str>);

impl From<&str> for Repeated {
    fn from(text: &str) -> Self {
        Self(LAST.share(text))
    }
}

impl<'de> Deserialize<'de> for Repeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(PhantomData))
    }
}

/// Reads a name that other objects repeat; none where null stands.
pub(super) fn repeated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
    Ok(Option::<Repeated>::deserialize(deserializer)?.map(|name| name.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_in_memory_once() {
        let last = Last::default();
        let (first, again, other) = (last.share("node1"), last.share("node1"), last.share("node2"));
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!((&*first, &*other), ("node1", "node2"));
    }

    #[test]
    fn texts_in_one_place_stay_what_they_are() {
        let last = Last::default();
        let texts: Vec<_> = (0..3 * PLACES).map(|n| n.to_string()).collect();
        let shared: Vec<_> = texts.iter().map(|text| last.share(text)).collect();
        assert!(texts.iter().zip(&shared).all(|(text, shared)| **text == **shared));
    }
}
