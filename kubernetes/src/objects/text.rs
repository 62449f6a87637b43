//! Values that are texts in the API and mean something narrower: read into what they mean, kept as written where
//! they mean nothing.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

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
pub(super) struct Text<T>(pub(super) PhantomData<T>);

impl<T: for<'a> From<&'a str>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::from(text))
    }
}
