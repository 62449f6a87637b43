//! Values that are texts in the API and mean something narrower: read into what they mean, kept as written where they
//! mean nothing. And texts that many objects repeat, such as names of nodes and zones: a cluster with 250,000 endpoints
//! has some thousand of them, and each is in memory once, mostly.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use backend_api::Protocol;
use serde::de::{Deserialize, Deserializer, Visitor};

/// An address, or what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// In today's notation.
    Ip(IpAddr),
    /// Anything else: leading zeros, `None`, a hostname, nonsense.
    Text(Box<str>),
}

/// A word of a fixed vocabulary, or another one: of a newer API, or a typing error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word<T> {
    /// One that we know.
    Known(T),
    /// Another.
    Unknown(Box<str>),
}

/// A vocabulary.
pub trait Keyword: Sized {
    /// The meaning of `word`, which is case-sensitive.
    fn from_word(word: &str) -> Option<Self>;
}

impl Keyword for Protocol {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Text(text.into()), Self::Ip)
    }
}

impl<T: Keyword> From<&str> for Word<T> {
    fn from(text: &str) -> Self {
        T::from_word(text).map_or_else(|| Self::Unknown(text.into()), Self::Known)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(PhantomData))
    }
}

impl<'de, T: Keyword> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(PhantomData))
    }
}

/// Reads a text that is shared afterwards.
pub(super) fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    deserializer.deserialize_str(Text(PhantomData))
}

/// Reads a text without allocating it first.
struct Text<T>(PhantomData<T>);

impl<T: for<'a> From<&'a str>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::from(text))
    }
}

/// How many texts are looked at to find one that is the same; a text has one slot.
const SLOTS: usize = 8192;

/// The texts that were read last, by their hashes. Two that have the same slot take turns: then some are in memory
/// twice, which is all that can happen. Bounded, so nothing has to be taken out of it.
static LAST: LazyLock<LastTexts> = LazyLock::new(LastTexts::default);

struct LastTexts {
    hashes: RandomState,
    texts: Mutex<Box<[Option<Arc<str>>]>>,
}

impl Default for LastTexts {
    fn default() -> Self {
        Self { hashes: RandomState::new(), texts: Mutex::new(vec![None; SLOTS].into()) }
    }
}

impl LastTexts {
    fn share(&self, text: &str) -> Arc<str> {
        let at = self.hashes.hash_one(text) as usize % SLOTS;
        match &mut self.texts.lock().unwrap_or_else(PoisonError::into_inner)[at] {
            Some(known) if **known == *text => known.clone(),
            slot => slot.insert(text.into()).clone(),
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
        let last = LastTexts::default();
        let (first, again, other) = (last.share("node1"), last.share("node1"), last.share("node2"));
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!((&*first, &*other), ("node1", "node2"));
    }

    #[test]
    fn texts_in_one_slot_stay_what_they_are() {
        let last = LastTexts::default();
        let texts: Vec<_> = (0..3 * SLOTS).map(|n| n.to_string()).collect();
        let shared: Vec<_> = texts.iter().map(|text| last.share(text)).collect();
        assert!(texts.iter().zip(&shared).all(|(text, shared)| **text == **shared));
    }
}
